#define _GNU_SOURCE
#include "daemon/testbed.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/clock.h"

/* How long a node may take to serve, or to end. */
#define START_MS 20000
#define STOP_MS 10000
#define LOOK_US 20000

#define TOKEN_SIZE 1024
#define MAX_WORDS 16

struct node {
    char state_dir[128];
    char name[16], listen[32];
    pid_t pid;
};

struct testbed {
    char directory[96];
    char program[PATH_MAX]; /* c4pd itself */
    struct node nodes[TESTBED_MAX_NODES];
    uint32_t count;
    const char *pes;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

/* ---- children ---- */

/* Start c4pd with these words; what it says goes to `out` (-1: where ours goes). */
static pid_t child_start(const struct testbed *testbed, const char *const *words, int out, int err)
{
    pid_t parent = getpid(), pid = fork();

    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setpgid(0, 0); /* Ctrl-C is for us: we end them in order */
    if (getppid() != parent)
        _exit(EXIT_CODE_FAILED);
    if ((out >= 0 && dup2(out, STDOUT_FILENO) < 0) || (err >= 0 && dup2(err, STDERR_FILENO) < 0))
        _exit(EXIT_CODE_FAILED);
    execv(testbed->program, (char *const *)(uintptr_t)words);
    _exit(EXIT_CODE_FAILED);
}

static int child_wait(pid_t pid)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Run a command of c4pd on a node to its end: its exit code. `text`: what it printed, one line. */
static int node_command(const struct testbed *testbed, const struct node *node,
                        const char *const *words, char text[TOKEN_SIZE], bool quiet)
{
    const char *all[MAX_WORDS + 4] = {"c4pd", words[0], "--state-dir", node->state_dir};
    int pipes[2], null = open("/dev/null", O_RDWR | O_CLOEXEC), code;
    size_t size = 0;
    ssize_t rc;
    pid_t pid;

    for (size_t i = 1; i < MAX_WORDS && words[i] != NULL; i++)
        all[i + 3] = words[i];
    if (null < 0 || pipe2(pipes, O_CLOEXEC) != 0)
        return -1;
    pid = child_start(testbed, all, pipes[1], quiet ? null : -1);
    close(pipes[1]);
    close(null);
    while (pid > 0 && size < TOKEN_SIZE - 1 &&
           (rc = read(pipes[0], text + size, TOKEN_SIZE - 1 - size)) > 0)
        size += (size_t)rc;
    close(pipes[0]);
    code = pid > 0 ? child_wait(pid) : -1;
    text[size] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return code;
}

/* ---- nodes ---- */

/* Its log goes with the testbed: the last of it is shown. */
static void log_show(const char *name, const char *path)
{
    char line[512], last[512] = "";
    FILE *log = fopen(path, "re");

    while (log != NULL && fgets(line, sizeof(line), log) != NULL)
        memcpy(last, line, sizeof(last));
    if (log != NULL)
        fclose(log);
    last[strcspn(last, "\n")] = '\0';
    fprintf(stderr, "c4pd: testbed: %s does not start: %s\n", name, last);
}

static int node_start(struct testbed *testbed, struct node *node)
{
    const char *const words[] = {"c4pd",          "start",    "--foreground", "--state-dir",
                                 node->state_dir, "--listen", node->listen,   "--pes",
                                 testbed->pes,    NULL};
    const char *const status[] = {"nodes", NULL}; /* it needs a daemon that answers */
    char path[160], text[TOKEN_SIZE];
    int64_t deadline = clock_ms() + START_MS;
    int log;

    snprintf(path, sizeof(path), "%s.log", node->state_dir);
    log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    node->pid = log < 0 ? -1 : child_start(testbed, words, log, log);
    if (log >= 0)
        close(log);
    while (node->pid > 0 && !interrupted && clock_ms() < deadline &&
           waitpid(node->pid, NULL, WNOHANG) == 0) {
        if (node_command(testbed, node, status, text, true) == 0)
            return 0;
        usleep(LOOK_US);
    }
    if (!interrupted)
        log_show(node->name, path);
    return -1;
}

static bool port_free(uint32_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_free;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    is_free = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
    if (fd >= 0)
        close(fd);
    return is_free;
}

/* The first of so many ports in a row that nobody has: another testbed may run. 0: there are none. */
static uint32_t ports_find(uint32_t count)
{
    uint32_t first = TESTBED_PORT, run = 0;

    for (uint32_t port = first; port < TESTBED_LAST_PORT && run < count; port++) {
        run = port_free(port) ? run + 1 : 0;
        first = run > 0 ? first : port + 1;
    }
    return run == count ? first : 0;
}

static void node_name(struct node *node, const char *directory, uint32_t number, uint32_t port)
{
    snprintf(node->name, sizeof(node->name), "node%u", number + 1);
    snprintf(node->state_dir, sizeof(node->state_dir), "%.95s/%s", directory, node->name);
    snprintf(node->listen, sizeof(node->listen), "127.0.0.1:%u", port + 2 * number);
}

/* From nothing to a member of the cluster that runs. */
static int node_make(struct testbed *testbed, uint32_t number)
{
    struct node *node = &testbed->nodes[number];
    const char *const init[] = {"init", "--name", "testbed", "--node", node->name, NULL};
    const char *const token[] = {"token", NULL};
    char text[TOKEN_SIZE], ignored[TOKEN_SIZE];
    const char *const join[] = {"join", text, "--name", node->name, NULL};
    int code;

    if (number == 0)
        code = node_command(testbed, node, init, ignored, false);
    else if ((code = node_command(testbed, &testbed->nodes[0], token, text, false)) == 0)
        code = node_command(testbed, node, join, ignored, false);
    return code == 0 ? node_start(testbed, node) : -1;
}

static void node_end(struct testbed *testbed, struct node *node)
{
    const char *const stop[] = {"stop", "--now", "--timeout", "10s", NULL};
    char text[TOKEN_SIZE];

    if (node->pid <= 0)
        return;
    if (node_command(testbed, node, stop, text, true) != 0)
        kill(node->pid, SIGKILL);
    child_wait(node->pid);
    node->pid = 0;
}

/* ---- the whole ---- */

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status, (void)type, (void)ftw;
    return remove(path);
}

static void testbed_end(struct testbed *testbed)
{
    for (uint32_t i = testbed->count; i-- > 0;)
        node_end(testbed, &testbed->nodes[i]);
    if (testbed->directory[0] != '\0' &&
        nftw(testbed->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
        fprintf(stderr, "c4pd: testbed: %s cannot be removed: %s\n", testbed->directory,
                strerror(errno));
}

static int testbed_begin(struct testbed *testbed, const struct options *options)
{
    const char *parent = getenv("TMPDIR");
    char directory[sizeof(testbed->directory)];
    uint32_t wanted = options->nodes > 0 ? options->nodes : TESTBED_NODES;
    uint32_t port = ports_find(2 * wanted);
    ssize_t size = readlink("/proc/self/exe", testbed->program, sizeof(testbed->program) - 1);

    if (snprintf(directory, sizeof(directory), "%s/c4p-testbed-XXXXXX",
                 parent != NULL && *parent ? parent : "/tmp") >= 64)
        snprintf(directory, sizeof(directory), "/tmp/c4p-testbed-XXXXXX");
    if (size <= 0 || mkdtemp(directory) == NULL) {
        fprintf(stderr, "c4pd: testbed: %s: %s\n", directory, strerror(errno));
        return -1;
    }
    snprintf(testbed->directory, sizeof(testbed->directory), "%s", directory);
    testbed->pes = options->pes != NULL ? options->pes : "2";
    if (port == 0) {
        fprintf(stderr, "c4pd: testbed: %u ports in a row are not free between %d and %d\n",
                2 * wanted, TESTBED_PORT, TESTBED_LAST_PORT);
        return -1;
    }
    for (uint32_t i = 0; i < TESTBED_MAX_NODES; i++)
        node_name(&testbed->nodes[i], directory, i, port);
    for (; testbed->count < wanted && !interrupted; testbed->count++)
        if (node_make(testbed, testbed->count) != 0) {
            testbed->count++; /* it may run all the same */
            return -1;
        }
    return interrupted ? -1 : 0;
}

static void testbed_tell(const struct testbed *testbed)
{
    printf("%u nodes with %s PEs each run until this ends (Ctrl-C). To be on one of them, in "
           "another terminal:\n\n",
           testbed->count, testbed->pes);
    for (uint32_t i = 0; i < testbed->count; i++)
        printf("  export C4P_STATE_DIR=%-28s # %s\n", testbed->nodes[i].state_dir,
               testbed->nodes[i].name);
    printf(
        "\nThen: c4pd nodes; c4py submit -n %u app.py. To lose a node: kill -9 its c4pd, or stop "
        "it: c4pd stop.\n",
        testbed->count * (unsigned)atoi(testbed->pes));
    fflush(stdout);
}

/* A command that is on the first node: its exit code. */
static int command_run(const struct testbed *testbed, char *const *command)
{
    pid_t pid;

    setenv("C4P_STATE_DIR", testbed->nodes[0].state_dir, 1);
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execvp(command[0], command);
        fprintf(stderr, "c4pd: testbed: %s: %s\n", command[0], strerror(errno));
        _exit(127);
    }
    return pid > 0 ? child_wait(pid) : EXIT_CODE_FAILED;
}

/* Until a signal comes. It was blocked before the last look, so that none is missed. */
static void interruption_wait(void)
{
    sigset_t blocked, before;

    sigemptyset(&blocked);
    sigaddset(&blocked, SIGINT);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGHUP);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    while (!interrupted)
        sigsuspend(&before);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

int testbed_main(const struct options *options)
{
    const struct sigaction action = {.sa_handler = on_signal};
    struct testbed testbed = {0};
    int code = EXIT_CODE_FAILED;

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    if (testbed_begin(&testbed, options) == 0) {
        code = EXIT_CODE_OK;
        if (options->command[0] != NULL) {
            code = command_run(&testbed, options->command);
        } else {
            testbed_tell(&testbed);
            interruption_wait();
        }
    } else if (interrupted) {
        code = EXIT_CODE_OK;
    }
    testbed_end(&testbed);
    return code;
}
