#define _GNU_SOURCE
#include "client/cli/private_daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LIFELINE_FD 3
#define END_MS 10000

extern char **environ;

/* The path of c4pd. -1 with a sentence. */
static int daemon_find(char path[PATH_MAX], char error[PRIVATE_DAEMON_ERROR_SIZE])
{
    const char *chosen = getenv("C4PD");
    char self[PATH_MAX];
    ssize_t length;

    if (chosen != NULL && *chosen != '\0') {
        snprintf(path, PATH_MAX, "%s", chosen);
    } else {
        length = readlink("/proc/self/exe", self, sizeof(self) - 1);
        if (length <= 0) {
            snprintf(error, PRIVATE_DAEMON_ERROR_SIZE,
                     "c4pd: /proc is not mounted (set C4PD to its path)");
            return -1;
        }
        self[length] = '\0';
        *strrchr(self, '/') = '\0';
        if (snprintf(path, PATH_MAX, "%s/c4pd", self) >= PATH_MAX)
            path[0] = '\0';
    }
    if (access(path, X_OK) == 0)
        return 0;
    snprintf(error, PRIVATE_DAEMON_ERROR_SIZE, "%.250s: %s (the daemon; set C4PD to its path)",
             path, strerror(errno));
    return -1;
}

static int daemon_spawn(struct private_daemon *daemon, const char *path, int lifeline,
                        char *const *argv)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    int error;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, lifeline, LIFELINE_FD);
    posix_spawnattr_init(&attributes);
    /* A group of its own: Ctrl-C is for us to pass on. */
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
    error = posix_spawn(&daemon->pid, path, &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    errno = error;
    return error == 0 ? 0 : -1;
}

int private_daemon_start(struct private_daemon *daemon, const char *log_level,
                         char error[PRIVATE_DAEMON_ERROR_SIZE])
{
    char path[PATH_MAX], level[64];
    char *argv[] = {path, (char *)(uintptr_t) "--embedded=3", level, NULL};
    int pair[2];

    memset(daemon, 0, sizeof(*daemon));
    daemon->lifeline = -1;
    snprintf(level, sizeof(level), "--log-level=%s", log_level != NULL ? log_level : "warning");
    if (daemon_find(path, error) != 0)
        return -1;
    daemon->others = waitpid(-1, NULL, WNOHANG) >= 0;
    /* Orphans of the job become our children, to be found when it is over. */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0 ||
        daemon_spawn(daemon, path, pair[1], argv) != 0) {
        snprintf(error, PRIVATE_DAEMON_ERROR_SIZE, "%.250s: cannot be started: %s", path,
                 strerror(errno));
        daemon->pid = 0;
        return -1;
    }
    close(pair[1]);
    daemon->lifeline = pair[0];
    return 0;
}

/* Kill every child that we have. False if there is none, or they cannot be listed. */
static bool children_kill(void)
{
    char path[64];
    FILE *list;
    bool any = false;
    int pid;

    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    list = fopen(path, "re");
    while (list != NULL && fscanf(list, "%d", &pid) == 1) {
        kill(pid, SIGKILL);
        any = true;
    }
    if (list != NULL)
        fclose(list);
    return any;
}

/* Processes of the job that outlived everybody who should have ended them. Killing one may show more. */
static void orphans_end(void)
{
    while (waitpid(-1, NULL, WNOHANG) >= 0 || errno == EINTR)
        if (children_kill())
            waitpid(-1, NULL, 0);
        else
            return;
}

void private_daemon_end(struct private_daemon *daemon)
{
    struct pollfd poller = {daemon->lifeline, POLLIN, 0};
    char rest[64];

    if (daemon->pid <= 0)
        return;
    if (daemon->lifeline >= 0) {
        shutdown(daemon->lifeline, SHUT_WR);
        /* Its end of the pair closes when it exits. */
        while (poll(&poller, 1, END_MS) > 0 && read(daemon->lifeline, rest, sizeof(rest)) > 0)
            continue;
        if (!(poller.revents & (POLLIN | POLLHUP)))
            kill(daemon->pid, SIGKILL);
        close(daemon->lifeline);
        daemon->lifeline = -1;
    }
    while (waitpid(daemon->pid, &daemon->status, 0) < 0 && errno == EINTR)
        continue;
    daemon->pid = 0;
    if (!daemon->others)
        orphans_end();
}
