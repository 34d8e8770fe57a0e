#define _GNU_SOURCE
#include "daemon/start.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/lasting.h"

/* Never returns: the child is the daemon now. */
static _Noreturn void background_run(const struct options *options, const struct config *config,
                                     int report)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    /* Whoever reads our output must see its end when the command ends. */
    for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++)
        dup2(null, fd);
    setsid();
    exit(lasting_run(options, config, report));
}

/* Everything that comes, up to the end. */
static void report_read(int fd, char *text, size_t size)
{
    size_t used = 0;
    ssize_t rc;

    while (used < size - 1 &&
           ((rc = read(fd, text + used, size - 1 - used)) > 0 || (rc < 0 && errno == EINTR)))
        used += rc > 0 ? (size_t)rc : 0;
    text[used] = '\0';
}

/* The report is "CODE sentence"; without one the daemon has died. */
static int report_tell(const char *report, pid_t pid)
{
    char *text;
    long code = strtol(report, &text, 10);
    int status;

    if (text == report || *text != ' ') {
        if (waitpid(pid, &status, 0) == pid && WIFSIGNALED(status))
            fprintf(stderr, "c4pd: the daemon was killed at its start by signal %d (%s)\n",
                    WTERMSIG(status), strsignal(WTERMSIG(status)));
        else
            fprintf(stderr, "c4pd: the daemon ended at its start (its log may say why)\n");
        return EXIT_CODE_FAILED;
    }
    if (code == EXIT_CODE_OK) {
        printf("%s\n", text + 1);
        return EXIT_CODE_OK;
    }
    fprintf(stderr, "c4pd: %s\n", text + 1);
    waitpid(pid, NULL, 0); /* it ends, and holds the lock until then: the next start may be soon */
    return (int)code;
}

static int background_start(const struct options *options, const struct config *config)
{
    char report[LASTING_REPORT_SIZE];
    int ends[2];
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) != 0) {
        fprintf(stderr, "c4pd: a pipe cannot be made: %s\n", strerror(errno));
        return EXIT_CODE_FAILED;
    }
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        close(ends[0]);
        background_run(options, config, ends[1]);
    }
    close(ends[1]);
    if (pid < 0) {
        fprintf(stderr, "c4pd: a process cannot be made: %s\n", strerror(errno));
        close(ends[0]);
        return EXIT_CODE_FAILED;
    }
    report_read(ends[0], report, sizeof(report));
    close(ends[0]);
    return report_tell(report, pid);
}

int start_main(const struct options *options)
{
    struct config config;
    int code = options_config(options, &config);

    if (code != EXIT_CODE_OK)
        return code;
    if (options->foreground)
        return lasting_run(options, &config, -1);
    return background_start(options, &config);
}
