/*
 * Who connects to a socket that is bound, by the events of its monitor: so that those who fail
 * before anybody is asked (no CURVE, no ZeroMQ at all) are counted and logged with their address.
 */
#ifndef C4P_DAEMON_CLUSTER_CALLERS_H
#define C4P_DAEMON_CLUSTER_CALLERS_H

#include "daemon/cluster/refusals.h"

struct callers;
struct event_base;

/* NULL with errno. The context has one thread for I/O: what happens is told in order. Destroy it before
 * its socket is closed. NULL-safe. */
struct callers *callers_create(struct event_base *base, void *zmq, void *socket,
                               struct refusals *refusals);
void callers_destroy(struct callers *callers);

#endif
