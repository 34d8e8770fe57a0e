#define _GNU_SOURCE
#include "daemon/jobs/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

int spawn_reserve_fds(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd < SPAWN_FIRST_FREE_FD);
    if (fd < 0)
        return -1;
    close(fd);
    return 0;
}

int spawn_find(const char *name, char *const *env, char *path, size_t size)
{
    const char *directories = "/usr/local/bin:/usr/bin:/bin";
    int error = ENOENT;

    if (strchr(name, '/') != NULL) {
        if ((size_t)snprintf(path, size, "%s", name) < size)
            return 0;
        errno = ENAMETOOLONG;
        return -1;
    }
    for (; *env != NULL; env++)
        if (strncmp(*env, "PATH=", 5) == 0)
            directories = *env + 5;
    while (*name != '\0') {
        size_t length = strcspn(directories, ":");
        int written =
            snprintf(path, size, "%.*s%s%s", (int)length, directories, length > 0 ? "/" : "", name);

        if (written > 0 && (size_t)written < size) {
            if (access(path, X_OK) == 0)
                return 0;
            if (errno == EACCES)
                error = EACCES;
        }
        if (directories[length] == '\0')
            break;
        directories += length + 1;
    }
    errno = error;
    return -1;
}

/* What the child shares with its parent until it runs its own program. */
struct child {
    const struct spawn *spawn;
    char *const *shell_argv; /* for a script without #! */
    pid_t parent;
    volatile int error;
    const char *volatile what;
};

static _Noreturn void child_fail(struct child *child, const char *what)
{
    child->error = errno;
    child->what = what;
    _exit(127);
}

/* Runs in the parent's memory, so it changes nothing but `child`. */
static _Noreturn void child_run(struct child *child)
{
    const struct spawn *spawn = child->spawn;
    const int from[] = {spawn->in, spawn->out, spawn->err, spawn->segment, spawn->wake};
    sigset_t none;

    sigemptyset(&none);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != child->parent)
        _exit(127); /* it died before the line above */
    for (int fd = 0; fd < SPAWN_FIRST_FREE_FD; fd++)
        if (dup2(from[fd], fd) < 0)
            child_fail(child, "its descriptors");
    close_range(SPAWN_FIRST_FREE_FD, ~0u, CLOSE_RANGE_CLOEXEC);
    setrlimit(RLIMIT_NOFILE, &spawn->files);
    if (chdir(spawn->cwd) != 0)
        child_fail(child, spawn->cwd);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(spawn->path, spawn->argv, spawn->env);
    if (errno == ENOEXEC)
        execve("/bin/sh", child->shell_argv, spawn->env);
    child_fail(child, spawn->path);
}

/* By itself, so that nothing of the caller lives in registers across vfork(). */
static __attribute__((noinline)) pid_t child_start(struct child *child)
{
    pid_t pid = vfork();

    if (pid == 0)
        child_run(child);
    return pid;
}

/* "sh path arguments...", for a script without an interpreter line. */
static char **shell_argv_create(const struct spawn *spawn)
{
    size_t arguments = 0;
    char **shell_argv;

    while (spawn->argv[arguments] != NULL)
        arguments++;
    shell_argv = calloc(arguments + 2, sizeof(*shell_argv));
    if (shell_argv == NULL)
        return NULL;
    shell_argv[0] = (char *)(uintptr_t) "sh";
    shell_argv[1] = (char *)(uintptr_t)spawn->path;
    for (size_t i = 1; i < arguments; i++)
        shell_argv[i + 1] = spawn->argv[i];
    return shell_argv;
}

pid_t spawn_process(const struct spawn *spawn, const char **what)
{
    char **shell_argv = shell_argv_create(spawn);
    struct child child = {.spawn = spawn, .shell_argv = shell_argv, .parent = getpid()};
    sigset_t all, before;
    pid_t pid;

    if (shell_argv == NULL) {
        *what = "memory";
        return -1;
    }
    /* No signal may run a handler of ours in the child, which shares our memory until it execs. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid = child_start(&child);
    if (pid < 0) {
        child.error = errno;
        child.what = "a process";
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    free(shell_argv);
    if (child.error == 0)
        return pid;
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    errno = child.error;
    *what = child.what;
    return -1;
}
