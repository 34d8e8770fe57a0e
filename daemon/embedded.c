#define _GNU_SOURCE
#include "daemon/embedded.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/process.h"
#include "daemon/rundir.h"
#include "daemon/service.h"

#ifndef C4P_VERSION
#define C4P_VERSION "unknown"
#endif

/* Jobs that are over which a client can still ask for. */
#define KEEP 16

struct embedded {
    struct process process;
    struct service *service;
    struct rundir rundir;
    struct event *lifeline;
    int lifeline_fd;
    bool client_gone, stopping;
};

static void on_greeted(void *context)
{
    struct embedded *daemon = context;

    rundir_remove(&daemon->rundir);
}

static void on_idle(void *context)
{
    struct embedded *daemon = context;

    /* A client that is there closes the lifeline when it has read the news. */
    if (daemon->client_gone)
        event_base_loopbreak(daemon->process.base);
}

static void on_nothing(void *context)
{
    (void)context;
}

/* End what runs; the loop goes on until it has ended. */
static void daemon_stop(struct embedded *daemon, bool kill)
{
    daemon->stopping = true;
    if (service_is_idle(daemon->service))
        event_base_loopbreak(daemon->process.base);
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
}

static void on_signal(evutil_socket_t number, short what, void *argument)
{
    struct embedded *daemon = argument;

    (void)what;
    log_write(LOG_INFO, "c4pd", "signal %d: stopping", (int)number);
    daemon_stop(daemon, daemon->stopping);
}

/* ---- start and end ---- */

/* Events of the loop; the service is there already, since they use it. */
static int events_open(struct embedded *daemon, char *error, size_t size)
{
    struct process *process = &daemon->process;

    daemon->lifeline =
        process_watch(process, daemon->lifeline_fd, EV_READ, on_lifeline, daemon, error, size);
    if (daemon->lifeline == NULL ||
        process_watch(process, SIGTERM, EV_SIGNAL, on_signal, daemon, error, size) == NULL ||
        process_watch(process, SIGINT, EV_SIGNAL, on_signal, daemon, error, size) == NULL)
        return -1;
    return process_watch_children(process, daemon->service, error, size);
}

static int embedded_open(struct embedded *daemon, char *error, size_t size)
{
    static const struct service_settings settings = {
        .jobs = {.output_limit = TRANSCRIPT_MIN_LIMIT, .queue_limit = 1024, .keep = KEEP},
        .max_clients = 1,
        .session_ttl_ms = 0, /* its client is its only one */
        .version = C4P_VERSION,
    };
    const struct service_listener listener = {on_greeted, on_nothing, on_idle, on_nothing, daemon};
    char reason[SERVICE_ERROR_SIZE];
    enum store_open_result result;

    if (process_open(&daemon->process, error, size) != 0)
        return -1;
    if (rundir_create(&daemon->rundir, error, size) != 0)
        return -1;
    daemon->service = service_create(&daemon->process.place, daemon->rundir.address, &settings,
                                     &listener, &result, reason);
    if (daemon->service == NULL) {
        snprintf(error, size, "%s", reason);
        return -1;
    }
    return events_open(daemon, error, size);
}

static void embedded_close(struct embedded *daemon)
{
    rundir_remove(&daemon->rundir);
    service_destroy(daemon->service);
    process_close(&daemon->process);
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
    char error[SERVICE_ERROR_SIZE];
    int rc = 1;

    if (embedded_open(&daemon, error, sizeof(error)) == 0) {
        lifeline_tell(lifeline, "ready", daemon.rundir.address);
        event_base_dispatch(daemon.process.base);
        rc = 0;
    } else {
        lifeline_tell(lifeline, "error", error);
    }
    embedded_close(&daemon);
    return rc;
}
