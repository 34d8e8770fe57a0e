#define _GNU_SOURCE
#include "daemon/embedded.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
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

/* The one client is gone: so are we, and what it ran. */
static void on_deserted(void *context)
{
    struct embedded *daemon = context;

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

/* The service is there already, since they use it. */
static void signals_open(struct embedded *daemon)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP};

    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        process_watch_signal(&daemon->process, numbers[i], on_signal, daemon);
    process_watch_children(&daemon->process, daemon->service);
}

static int embedded_open(struct embedded *daemon, char *error, size_t size)
{
    static const struct service_settings settings = {
        .jobs = {.output_limit = TRANSCRIPT_MIN_LIMIT, .queue_limit = 1024, .keep = KEEP},
        .max_clients = 1,
        .session_ttl_ms = 0, /* its client is its only one */
        .version = C4P_VERSION,
    };
    const struct service_listener listener = {
        .greeted = on_greeted,
        .deserted = on_deserted,
        .idle = on_idle,
        .changed = on_nothing,
        .context = daemon,
    };
    char reason[SERVICE_ERROR_SIZE];
    enum store_open_result result;

    if (process_open(&daemon->process, error, size) != 0 ||
        process_make_plane(&daemon->process, NULL, error, size) != 0)
        return -1;
    if (rundir_create(&daemon->rundir, error, size) != 0)
        return -1;
    daemon->service = service_create(&daemon->process.place, daemon->rundir.address, &settings,
                                     &listener, &result, reason);
    if (daemon->service == NULL) {
        snprintf(error, size, "%s", reason);
        return -1;
    }
    signals_open(daemon);
    return 0;
}

static void embedded_close(struct embedded *daemon)
{
    rundir_remove(&daemon->rundir);
    service_destroy(daemon->service);
    process_close(&daemon->process);
}

/* The answer to the client's first packet, which has come or is about to. */
static void lifeline_refuse(int fd, char *reason)
{
    C4p__Door door = C4P__DOOR__INIT;
    uint8_t packet[2 * SERVICE_ERROR_SIZE];

    door.refused = reason;
    if (send(fd, packet, c4p__door__pack(&door, packet), MSG_NOSIGNAL) < 0)
        log_write(LOG_WARNING, "c4pd", "the client went away at once");
}

int embedded_run(int lifeline)
{
    struct embedded daemon = {.stopping = false};
    char error[SERVICE_ERROR_SIZE];
    int rc = 1;

    if (embedded_open(&daemon, error, sizeof(error)) != 0) {
        lifeline_refuse(lifeline, error);
        close(lifeline);
    } else if (service_adopt(daemon.service, lifeline, error) != 0) {
        lifeline_refuse(lifeline, error);
    } else {
        event_base_dispatch(daemon.process.base);
        rc = 0;
    }
    embedded_close(&daemon);
    return rc;
}
