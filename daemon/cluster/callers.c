#include "daemon/cluster/callers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <zmq.h>

#include "daemon/cluster/monitor.h"
#include "daemon/cluster/strangers.h"

#define ADDRESS_SIZE (INET6_ADDRSTRLEN + 10)

/* A handshake may take five of these: HANDSHAKE_IVL of the sockets. */
#define TICK_S 1

/* Who has no address any more, or none that is known. */
#define SOMEBODY "somebody"

#define EVENTS                                                                                     \
    (ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED |                 \
     ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |                  \
     ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)

struct callers {
    struct refusals *refusals;
    struct monitor *monitor;
    struct strangers *strangers;
    struct event *tick; /* while somebody is in doubt */
};

static void on_stranger(void *context, const char *address, const char *why)
{
    const struct callers *callers = context;

    refusals_add(callers->refusals, "%s: %s", address != NULL ? address : SOMEBODY,
                 why != NULL ? why
                             : "it is no node: what it says is not ZeroMQ's, or an old one's");
}

/* Of whoever has the descriptor by now. */
static void address_find(int fd, char text[ADDRESS_SIZE])
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    char host[INET6_ADDRSTRLEN + 1], port[8];

    if (getpeername(fd, (struct sockaddr *)&address, &size) == 0 &&
        getnameinfo((struct sockaddr *)&address, size, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        snprintf(text, ADDRESS_SIZE, "%s:%s", host, port);
    else
        snprintf(text, ADDRESS_SIZE, SOMEBODY);
}

/* An end is told before the descriptor is closed: if none has been, it was not closed yet. */
static void on_accepted(const struct callers *callers, int fd)
{
    char address[ADDRESS_SIZE];

    address_find(fd, address);
    strangers_came(callers->strangers, fd, address, !monitor_waits(callers->monitor));
}

static void on_disconnected(const struct callers *callers, int fd)
{
    char address[ADDRESS_SIZE];

    address_find(fd, address);
    strangers_went(callers->strangers, fd, address);
}

static void doubt_watch(const struct callers *callers)
{
    if (strangers_doubt(callers->strangers) && !event_pending(callers->tick, EV_TIMEOUT, NULL))
        event_add(callers->tick, &(struct timeval){TICK_S, 0});
}

static void on_tick(evutil_socket_t fd, short what, void *argument)
{
    const struct callers *callers = argument;

    (void)fd, (void)what;
    strangers_tick(callers->strangers);
    doubt_watch(callers);
}

static void on_event(void *context, uint16_t event, int value)
{
    const struct callers *callers = context;
    struct strangers *strangers = callers->strangers;

    switch (event) {
    case ZMQ_EVENT_ACCEPTED:
        on_accepted(callers, value);
        break;
    case ZMQ_EVENT_DISCONNECTED:
        on_disconnected(callers, value);
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        strangers_failed(strangers, "it does not come under CURVE, or means another host");
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        strangers_failed(strangers, "it connected and did not say who it is");
        break;
    default:
        /* Those whose key was refused, zap.c has logged, and they go when they have heard of it. */
        strangers_vouched(strangers);
        break;
    }
    doubt_watch(callers);
}

struct callers *callers_create(struct event_base *base, void *zmq, void *socket,
                               struct refusals *refusals)
{
    struct callers *callers = calloc(1, sizeof(*callers));
    int saved;

    if (callers == NULL)
        return NULL;
    callers->refusals = refusals;
    callers->strangers = strangers_create(on_stranger, callers);
    callers->tick = event_new(base, -1, 0, on_tick, callers);
    if (callers->strangers != NULL && callers->tick != NULL)
        callers->monitor = monitor_create(base, zmq, socket, EVENTS, on_event, callers);
    if (callers->monitor != NULL)
        return callers;
    saved = errno;
    callers_destroy(callers);
    errno = saved;
    return NULL;
}

void callers_destroy(struct callers *callers)
{
    if (callers == NULL)
        return;
    monitor_destroy(callers->monitor);
    if (callers->tick != NULL)
        event_free(callers->tick);
    strangers_destroy(callers->strangers);
    free(callers);
}
