/*
 * What happens to the connections of a ZeroMQ socket, told in the event loop.
 */
#ifndef C4P_DAEMON_CLUSTER_MONITOR_H
#define C4P_DAEMON_CLUSTER_MONITOR_H

#include <stdbool.h>
#include <stdint.h>

struct monitor;
struct event_base;

/* `event` is ZMQ_EVENT_..., `value` what zmq_socket_monitor(3) says of it. It must not destroy the
 * monitor. */
typedef void monitor_happened(void *context, uint16_t event, int value);

/* NULL with errno. Destroy it before its socket is closed. NULL-safe. */
struct monitor *monitor_create(struct event_base *base, void *zmq, void *socket, int events,
                               monitor_happened *happened, void *context);
/* Something has happened that was not told yet. */
bool monitor_waits(const struct monitor *monitor);
void monitor_destroy(struct monitor *monitor);

#endif
