#define _GNU_SOURCE
#include "daemon/embedded.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/package.h"
#include "daemon/rundir.h"
#include "daemon/service.h"

struct embedded {
    struct event_base *base;
    struct service *service;
    struct rundir rundir;
    struct job_place place;
    struct event *lifeline, *child, *term, *interrupt;
    int lifeline_fd;
    bool client_gone, stopping;
    char host[HOST_NAME_MAX + 1];
    char package_dir[PATH_MAX];
};

static void on_greeted(void *context)
{
    struct embedded *daemon = context;

    rundir_remove(&daemon->rundir);
}

static void on_ended(void *context)
{
    struct embedded *daemon = context;

    /* A client that is there closes the lifeline when it has read the news. */
    if (daemon->client_gone)
        event_base_loopbreak(daemon->base);
}

/* End what runs; the loop goes on until it has ended. */
static void daemon_stop(struct embedded *daemon, bool kill)
{
    daemon->stopping = true;
    if (service_is_idle(daemon->service))
        event_base_loopbreak(daemon->base);
    else
        service_stop(daemon->service, kill);
}

static void on_lifeline(evutil_socket_t fd, short what, void *argument)
{
    struct embedded *daemon = argument;
    char ignored[64];
    ssize_t rc = read(fd, ignored, sizeof(ignored));

    (void)what;
    if (rc > 0 || (rc < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    event_del(daemon->lifeline);
    daemon->client_gone = true;
    daemon_stop(daemon, true);
    service_abandon(daemon->service);
}

static void on_signal(evutil_socket_t number, short what, void *argument)
{
    struct embedded *daemon = argument;

    (void)what;
    log_write(LOG_INFO, "c4pd", "signal %d: stopping", (int)number);
    daemon_stop(daemon, daemon->stopping);
}

static void on_child(evutil_socket_t number, short what, void *argument)
{
    struct embedded *daemon = argument;
    siginfo_t info;

    (void)number;
    (void)what;
    for (;;) {
        info.si_pid = 0;
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
            return;
        if (!service_child_died(daemon->service, info.si_pid))
            waitpid(info.si_pid, NULL, 0);
    }
}

/* ---- start and end ---- */

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

static struct event *event_start(struct embedded *daemon, int fd, short what,
                                 event_callback_fn callback)
{
    struct event *event = event_new(daemon->base, fd, what | EV_PERSIST, callback, daemon);

    if (event != NULL && event_add(event, NULL) == 0)
        return event;
    if (event != NULL)
        event_free(event);
    return NULL;
}

/* Events of the loop; the service is there already, since they use it. */
static int events_open(struct embedded *daemon)
{
    daemon->lifeline = event_start(daemon, daemon->lifeline_fd, EV_READ, on_lifeline);
    daemon->child = event_start(daemon, SIGCHLD, EV_SIGNAL, on_child);
    daemon->term = event_start(daemon, SIGTERM, EV_SIGNAL, on_signal);
    daemon->interrupt = event_start(daemon, SIGINT, EV_SIGNAL, on_signal);
    if (daemon->lifeline == NULL || daemon->child == NULL || daemon->term == NULL ||
        daemon->interrupt == NULL)
        return -1;
    return 0;
}

static void place_find(struct embedded *daemon)
{
    if (gethostname(daemon->host, sizeof(daemon->host)) != 0)
        snprintf(daemon->host, sizeof(daemon->host), "localhost");
    files_limit_raise(&daemon->place.files);
    daemon->place.base = daemon->base;
    daemon->place.host = daemon->host;
    if (package_find(daemon->package_dir, sizeof(daemon->package_dir)))
        daemon->place.package_dir = daemon->package_dir;
}

static int embedded_open(struct embedded *daemon, char *error, size_t size)
{
    const struct service_listener listener = {on_greeted, on_ended, daemon};
    mode_t before;

    daemon->base = event_base_new();
    if (daemon->base == NULL) {
        snprintf(error, size, "the event loop cannot be made: %s", strerror(errno));
        return -1;
    }
    place_find(daemon);
    if (rundir_create(&daemon->rundir, error, size) != 0)
        return -1;
    before = umask(0177); /* the socket is ours alone, as is its directory */
    daemon->service = service_create(&daemon->place, daemon->rundir.address, &listener);
    umask(before);
    if (daemon->service == NULL) {
        snprintf(error, size, "%s: cannot be bound: %s", daemon->rundir.address, strerror(errno));
        return -1;
    }
    if (events_open(daemon) != 0) {
        snprintf(error, size, "the event loop refuses events: %s", strerror(errno));
        return -1;
    }
    return 0;
}

static void embedded_close(struct embedded *daemon)
{
    struct event *events[] = {daemon->lifeline, daemon->child, daemon->term, daemon->interrupt};

    rundir_remove(&daemon->rundir);
    service_destroy(daemon->service);
    for (size_t i = 0; i < sizeof(events) / sizeof(*events); i++)
        if (events[i] != NULL)
            event_free(events[i]);
    if (daemon->base != NULL)
        event_base_free(daemon->base);
    close(daemon->lifeline_fd);
}

static void lifeline_tell(int fd, const char *word, const char *text)
{
    char line[512];
    int size = snprintf(line, sizeof(line), "%s %s\n", word, text);

    if (size > 0 && (size_t)size < sizeof(line) && write(fd, line, (size_t)size) != size)
        log_write(LOG_WARNING, "c4pd", "the client went away at once");
}

int embedded_run(int lifeline)
{
    struct embedded daemon = {.lifeline_fd = lifeline};
    char error[300];
    int rc = 1;

    signal(SIGPIPE, SIG_IGN);
    if (embedded_open(&daemon, error, sizeof(error)) == 0) {
        lifeline_tell(lifeline, "ready", daemon.rundir.address);
        event_base_dispatch(daemon.base);
        rc = 0;
    } else {
        lifeline_tell(lifeline, "error", error);
    }
    embedded_close(&daemon);
    return rc;
}
