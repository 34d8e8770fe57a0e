#include "daemon/cluster/monitor.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "daemon/mail.h"

/* Events taken before the event loop gets its turn again. */
#define BATCH 64

struct monitor {
    void *watched;
    void *socket;
    struct event *readable;
    struct event *again; /* what the descriptor does not tell of, when others had their turn */
    monitor_happened *happened;
    void *context;
};

/* An event: a frame of 16 bits of event and 32 of value, and one with an address, which does not
 * interest us: it is the one that was bound or connected to. */
static bool monitor_take(struct monitor *monitor)
{
    uint8_t frame[6];
    char address[1];
    uint16_t event;
    int32_t value;

    if (zmq_recv(monitor->socket, frame, sizeof(frame), ZMQ_DONTWAIT) != (int)sizeof(frame) ||
        zmq_recv(monitor->socket, address, sizeof(address), ZMQ_DONTWAIT) < 0)
        return false;
    memcpy(&event, frame, sizeof(event));
    memcpy(&value, frame + sizeof(event), sizeof(value));
    monitor->happened(monitor->context, event, value);
    return true;
}

/* ZeroMQ's descriptor tells of changes only: go on until there is nothing, or come back. */
static void monitor_on_readable(evutil_socket_t fd, short what, void *argument)
{
    struct monitor *monitor = argument;

    (void)fd;
    (void)what;
    for (unsigned taken = 0; taken < BATCH; taken++)
        if (!mail_waits(monitor->socket) || !monitor_take(monitor))
            return;
    event_add(monitor->again, &(struct timeval){0, 0});
}

static int monitor_open(struct monitor *monitor, struct event_base *base, void *zmq, int events)
{
    static unsigned number;
    char address[64];
    const int linger = 0;
    int fd = -1;
    size_t size = sizeof(fd);

    snprintf(address, sizeof(address), "inproc://c4p-monitor-%u", number++);
    if (zmq_socket_monitor(monitor->watched, address, events) != 0)
        return -1;
    monitor->socket = zmq_socket(zmq, ZMQ_PAIR);
    if (monitor->socket == NULL ||
        zmq_setsockopt(monitor->socket, ZMQ_LINGER, &linger, sizeof(linger)) != 0 ||
        zmq_connect(monitor->socket, address) != 0 ||
        zmq_getsockopt(monitor->socket, ZMQ_FD, &fd, &size) != 0)
        return -1;
    monitor->readable = event_new(base, fd, EV_READ | EV_PERSIST, monitor_on_readable, monitor);
    monitor->again = event_new(base, -1, 0, monitor_on_readable, monitor);
    errno = ENOMEM;
    if (monitor->readable == NULL || monitor->again == NULL ||
        event_add(monitor->readable, NULL) != 0)
        return -1;
    event_add(monitor->again, &(struct timeval){0, 0});
    return 0;
}

struct monitor *monitor_create(struct event_base *base, void *zmq, void *socket, int events,
                               monitor_happened *happened, void *context)
{
    struct monitor *monitor = calloc(1, sizeof(*monitor));
    int saved;

    if (monitor == NULL)
        return NULL;
    monitor->watched = socket;
    monitor->happened = happened;
    monitor->context = context;
    if (monitor_open(monitor, base, zmq, events) == 0)
        return monitor;
    saved = errno;
    monitor_destroy(monitor);
    errno = saved;
    return NULL;
}

bool monitor_waits(const struct monitor *monitor)
{
    return mail_waits(monitor->socket);
}

void monitor_destroy(struct monitor *monitor)
{
    if (monitor == NULL)
        return;
    /* First the end that writes: it would wait for ever for one that does not read. */
    zmq_socket_monitor(monitor->watched, NULL, 0);
    if (monitor->readable != NULL)
        event_free(monitor->readable);
    if (monitor->again != NULL)
        event_free(monitor->again);
    if (monitor->socket != NULL)
        zmq_close(monitor->socket);
    free(monitor);
}
