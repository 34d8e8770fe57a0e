#define _GNU_SOURCE
#include "daemon/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/jobs/spawn.h"
#include "daemon/package.h"
#include "daemon/router/plane.h"
#include "daemon/service.h"
#include "daemon/signals.h"

/* ---- descriptors ---- */

/* As many descriptors as we may have; the PEs get back what the user had. */
static void files_limit_raise(struct rlimit *before)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, before) != 0) {
        before->rlim_cur = before->rlim_max = 1024;
        return;
    }
    limit = *before;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* Move it to SPAWN_FIRST_FREE_FD, from above or below. */
static int descriptor_move(int fd)
{
    if (fd < SPAWN_FIRST_FREE_FD)
        fd = fcntl(fd, F_DUPFD_CLOEXEC, SPAWN_FIRST_FREE_FD);
    if (fd == SPAWN_FIRST_FREE_FD)
        return fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? fd : -1;
    return fd < 0 ? -1 : dup3(fd, SPAWN_FIRST_FREE_FD, O_CLOEXEC);
}

int process_descriptors_arrange(int keep)
{
    int moved = keep < 0 ? 0 : descriptor_move(keep);

    if (moved < 0)
        return -1;
    for (int fd = STDERR_FILENO + 1; fd < SPAWN_FIRST_FREE_FD; fd++)
        close(fd);
    close_range(SPAWN_FIRST_FREE_FD + (keep >= 0), ~0u, 0);
    return spawn_reserve_fds() == 0 ? moved : -1;
}

/* ---- the loop ---- */

static void place_find(struct process *process)
{
    if (gethostname(process->host, sizeof(process->host)) != 0)
        snprintf(process->host, sizeof(process->host), "localhost");
    files_limit_raise(&process->place.files);
    process->place.base = process->base;
    process->place.host = process->host;
    if (package_find(process->package_dir, sizeof(process->package_dir)))
        process->place.package_dir = process->package_dir;
}

int process_open(struct process *process, char *error, size_t size)
{
    memset(process, 0, sizeof(*process));
    /* Whoever hung up, and a file that may not grow, are errors like others. PEs do not inherit it. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    process->base = event_base_new();
    if (process->base == NULL) {
        snprintf(error, size, "the event loop cannot be made: %s", strerror(errno));
        return -1;
    }
    process->signals = signals_create(process->base);
    if (process->signals == NULL) {
        snprintf(error, size, "signals cannot be taken: %s", strerror(errno));
        return -1;
    }
    place_find(process);
    return 0;
}

int process_make_plane(struct process *process, const struct plane_settings *settings, char *error,
                       size_t size)
{
    struct plane_settings own = settings != NULL ? *settings : (struct plane_settings){.zmq = NULL};
    char sentence[PLANE_ERROR_SIZE];
    struct plane *plane;

    own.base = process->base;
    plane = plane_create(&own, sentence);
    if (plane == NULL) {
        snprintf(error, size, "%s", sentence);
        return -1;
    }
    if (process->place.plane != NULL)
        process->earlier = process->place.plane;
    process->place.plane = plane;
    return 0;
}

void process_drop_plane(struct process *process)
{
    plane_destroy(process->place.plane);
    process->place.plane = process->earlier;
    process->earlier = NULL;
}

void process_close(struct process *process)
{
    process_drop_plane(process);
    process_drop_plane(process); /* the earlier one */
    for (unsigned i = 0; i < process->used; i++)
        event_free(process->events[i]);
    process->used = 0;
    signals_destroy(process->signals);
    process->signals = NULL;
    if (process->base != NULL)
        event_base_free(process->base);
    process->base = NULL;
}

struct event *process_watch(struct process *process, int number, short what,
                            event_callback_fn callback, void *context, char *error, size_t size)
{
    struct event *event = NULL;

    if (process->used < PROCESS_MAX_EVENTS)
        event = event_new(process->base, number, number >= 0 ? what | EV_PERSIST : 0, callback,
                          context);
    if (event == NULL || (number >= 0 && event_add(event, NULL) != 0)) {
        snprintf(error, size, "the event loop refuses events: %s", strerror(errno));
        if (event != NULL)
            event_free(event);
        return NULL;
    }
    process->events[process->used++] = event;
    return event;
}

/* ---- children ---- */

static void on_child(evutil_socket_t number, short what, void *argument)
{
    struct process *process = argument;
    siginfo_t info;

    (void)number;
    (void)what;
    for (;;) {
        info.si_pid = 0;
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
            return;
        if (!service_child_died(process->service, info.si_pid))
            waitpid(info.si_pid, NULL, 0);
    }
}

void process_watch_children(struct process *process, struct service *service)
{
    process->service = service;
    signals_watch(process->signals, SIGCHLD, on_child, process);
}

void process_watch_signal(struct process *process, int number, event_callback_fn callback,
                          void *context)
{
    signals_watch(process->signals, number, callback, context);
}
