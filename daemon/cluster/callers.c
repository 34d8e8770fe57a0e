#include "daemon/cluster/callers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <zmq.h>

#include <uthash.h>

#include "daemon/cluster/monitor.h"

/* Connections that are known at a time; more are served, but not known by their addresses. */
#define LIMIT 16384
#define ADDRESS_SIZE (INET6_ADDRSTRLEN + 10)

#define EVENTS                                                                                     \
    (ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |          \
     ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)

struct caller {
    UT_hash_handle hh;
    int fd;
    bool spoke, gone;
    char address[ADDRESS_SIZE];
};

struct callers {
    struct refusals *refusals;
    struct monitor *monitor;
    struct caller *known;
    uint16_t failure; /* the event before: the end of the connection that it is about comes next */
    unsigned gone;
    bool heard;
};

static void caller_forget(struct callers *callers, struct caller *caller)
{
    callers->gone -= caller->gone;
    HASH_DEL(callers->known, caller);
    free(caller);
}

static struct caller *caller_find(struct callers *callers, int fd)
{
    struct caller *caller;

    HASH_FIND_INT(callers->known, &fd, caller);
    return caller;
}

/* By now the descriptor may be another connection's: then it is that one's address. */
static void caller_locate(struct caller *caller)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    char host[INET6_ADDRSTRLEN + 1], port[8];

    if (getpeername(caller->fd, (struct sockaddr *)&address, &size) == 0 &&
        getnameinfo((struct sockaddr *)&address, size, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0)
        snprintf(caller->address, sizeof(caller->address), "%s:%s", host, port);
    else
        snprintf(caller->address, sizeof(caller->address), "somebody");
}

static const char *failure_describe(uint16_t failure)
{
    switch (failure) {
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        return "it does not come under CURVE, or means another host";
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        return "it connected and did not say who it is";
    default:
        return "it is no node: what it says is not ZeroMQ's";
    }
}

static void caller_refuse(struct callers *callers, const struct caller *caller, uint16_t failure)
{
    refusals_add(callers->refusals, "%s: %s", caller->address, failure_describe(failure));
}

static void on_accepted(struct callers *callers, int fd)
{
    struct caller *caller = caller_find(callers, fd);

    if (caller != NULL) {
        if (!caller->spoke)
            caller_refuse(callers, caller, 0);
        caller_forget(callers, caller);
    }
    if (HASH_COUNT(callers->known) >= LIMIT)
        return;
    caller = calloc(1, sizeof(*caller));
    if (caller == NULL)
        return;
    caller->fd = fd;
    caller->spoke = !callers->heard;
    caller_locate(caller);
    HASH_ADD_INT(callers->known, fd, caller);
}

static void on_disconnected(struct callers *callers, int fd)
{
    struct caller *caller = caller_find(callers, fd);
    uint16_t failure = callers->failure;

    callers->failure = 0;
    if (caller == NULL)
        return;
    if (failure == 0 && !caller->spoke) {
        /* What it said may still lie in the socket. */
        caller->gone = true;
        callers->gone++;
        return;
    }
    /* Those whose key was refused, zap.c has logged. */
    if (failure != 0 && failure != ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)
        caller_refuse(callers, caller, failure);
    caller_forget(callers, caller);
}

static void on_event(void *context, uint16_t event, int value)
{
    struct callers *callers = context;

    switch (event) {
    case ZMQ_EVENT_ACCEPTED:
        on_accepted(callers, value);
        break;
    case ZMQ_EVENT_DISCONNECTED:
        on_disconnected(callers, value);
        break;
    default:
        callers->failure = event;
        break;
    }
}

void callers_spoke(struct callers *callers, int fd)
{
    struct caller *caller = caller_find(callers, fd);

    if (caller != NULL)
        caller->spoke = true;
}

void callers_judge(struct callers *callers)
{
    struct caller *caller, *next;

    if (callers->gone == 0)
        return;
    for (caller = callers->known; caller != NULL; caller = next) {
        next = caller->hh.next;
        if (!caller->gone)
            continue;
        if (!caller->spoke)
            caller_refuse(callers, caller, 0);
        caller_forget(callers, caller);
    }
}

struct callers *callers_create(struct event_base *base, void *zmq, void *socket, bool heard,
                               struct refusals *refusals)
{
    struct callers *callers = calloc(1, sizeof(*callers));

    if (callers == NULL)
        return NULL;
    callers->refusals = refusals;
    callers->heard = heard;
    callers->monitor = monitor_create(base, zmq, socket, EVENTS, on_event, callers);
    if (callers->monitor != NULL)
        return callers;
    free(callers);
    return NULL;
}

void callers_destroy(struct callers *callers)
{
    struct caller *caller, *next;

    if (callers == NULL)
        return;
    monitor_destroy(callers->monitor);
    for (caller = callers->known; caller != NULL; caller = next) {
        next = caller->hh.next;
        caller_forget(callers, caller);
    }
    free(callers);
}
