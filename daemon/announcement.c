#define _GNU_SOURCE
#include "daemon/announcement.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <time.h>
#include <unistd.h>

#include "proto/place.h"

#ifndef C4P_VERSION
#define C4P_VERSION "unknown"
#endif

#define BOOT_ID_SIZE 40

/* When a process was started, in clock ticks since the machine was; 0: there is no such process. */
static unsigned long long process_start(pid_t pid)
{
    char path[64], stat[1024], *field;
    unsigned long long start = 0;
    size_t size;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (file == NULL)
        return 0;
    size = fread(stat, 1, sizeof(stat) - 1, file);
    fclose(file);
    stat[size] = '\0';
    /* "pid (name) state ...": the name may hold anything; the time of the start is field 22. */
    field = strrchr(stat, ')');
    for (int number = 2; field != NULL && number < 22; number++)
        field = strchr(field + 1, ' ');
    if (field != NULL)
        start = strtoull(field + 1, NULL, 10);
    return start;
}

/* Which start of the machine this is; empty where the kernel does not tell. */
static void boot_read(char boot[BOOT_ID_SIZE])
{
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

    if (file == NULL || fscanf(file, "%39s", boot) != 1)
        boot[0] = '\0';
    if (file != NULL)
        fclose(file);
}

static int path_join(char path[PATH_MAX], const char *directory, const char *name)
{
    int size = snprintf(path, PATH_MAX, "%s/%s", directory, name);

    if (size < PATH_MAX)
        return 0;
    errno = ENAMETOOLONG;
    return -1;
}

/* ---- writing ---- */

static void text_write(FILE *file, const struct config *config)
{
    static int64_t since;
    char boot[BOOT_ID_SIZE];

    if (since == 0)
        since = time(NULL);
    boot_read(boot);
    fprintf(file, "%d\nstart %llu %s\nsince %" PRId64 "\nversion %s\n", (int)getpid(),
            process_start(getpid()), boot[0] != '\0' ? boot : "-", since, C4P_VERSION);
    /* Source and line of each value; the file that the lines are of comes last. */
    for (unsigned key = 0; key < CONFIG_KEYS; key++)
        fprintf(file, "%s %" PRIu64 " %s %u %u\n", config_rows[key].key, config->values[key].number,
                config->values[key].text[0] != '\0' ? config->values[key].text : "-",
                (unsigned)config->values[key].source, config->values[key].line);
    fprintf(file, "file %s\n", config->path);
}

int announcement_write(const char *directory, const struct config *config)
{
    char path[PATH_MAX], draft[PATH_MAX];
    int fd, error = 0;
    FILE *file;

    if (path_join(path, directory, PLACE_PID) != 0 ||
        path_join(draft, directory, ANNOUNCEMENT_DRAFT) != 0)
        return -1;
    fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || (file = fdopen(fd, "w")) == NULL)
        return -1;
    text_write(file, config);
    if (fflush(file) != 0)
        error = errno;
    fclose(file);
    if (error == 0 && rename(draft, path) == 0)
        return 0;
    error = error != 0 ? error : errno;
    unlink(draft);
    errno = error;
    return -1;
}

/* ---- reading ---- */

/* That of a daemon of another version may have other keys. */
static bool config_scan(FILE *file, struct config *config)
{
    memset(config, 0, sizeof(*config));
    for (unsigned key = 0; key < CONFIG_KEYS; key++) {
        struct config_value *value = &config->values[key];
        unsigned source;
        char name[40];

        if (fscanf(file, " %39s %" SCNu64 " %95s %u %u", name, &value->number, value->text, &source,
                   &value->line) != 5 ||
            strcmp(name, config_rows[key].key) != 0 || source > CONFIG_COMMAND_LINE)
            return false;
        if (!value_is_text(config_rows[key].type))
            value->text[0] = '\0';
        value->source = (enum config_source)source;
    }
    return fscanf(file, " file%*1[ ]%4095[^\n]", config->path) >= 0;
}

/* A process that nobody has reaped yet still looks like one. */
static bool has_ended(int pidfd)
{
    struct pollfd poller = {pidfd, POLLIN, 0};

    return poll(&poller, 1, 0) != 0;
}

/* The very process that was started then? The descriptor comes first: what is read after it of
 * /proc/PID is of the same process, or that has ended, and a signal reaches nobody. */
static bool daemon_open(struct announcement *daemon, unsigned long long start,
                        const char *boot_then)
{
    char boot[BOOT_ID_SIZE];

    daemon->pidfd = pidfd_open(daemon->pid, 0);
    if (daemon->pidfd < 0)
        return false;
    boot_read(boot);
    if (process_start(daemon->pid) == start && (boot[0] == '\0' || strcmp(boot, boot_then) == 0) &&
        !has_ended(daemon->pidfd))
        return true;
    close(daemon->pidfd);
    daemon->pidfd = -1;
    return false;
}

bool announcement_find(const char *directory, struct announcement *daemon)
{
    char path[PATH_MAX], boot[BOOT_ID_SIZE] = "";
    unsigned long long start = 0;
    bool complete = false;
    int pid = 0;
    FILE *file;

    *daemon = (struct announcement){.pidfd = -1};
    if (path_join(path, directory, PLACE_PID) != 0 || (file = fopen(path, "re")) == NULL)
        return false;
    if (fscanf(file, "%d start %llu %39s since %" SCNd64 " version %31s", &pid, &start, boot,
               &daemon->since, daemon->version) == 5)
        complete = pid > 0;
    daemon->config_known = complete && config_scan(file, &daemon->config);
    fclose(file);
    daemon->pid = pid;
    return complete && daemon_open(daemon, start, boot);
}
