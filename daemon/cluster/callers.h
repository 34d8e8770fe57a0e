/*
 * Who connects to a socket that is bound, by the events of its monitor: so that those who fail
 * before anybody is asked (no CURVE, no ZeroMQ at all) are counted and logged with their address.
 */
#ifndef C4P_DAEMON_CLUSTER_CALLERS_H
#define C4P_DAEMON_CLUSTER_CALLERS_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/cluster/refusals.h"

struct callers;
struct event_base;

/* NULL with errno. Destroy it before its socket is closed. NULL-safe. `heard`: callers_spoke() is said
 * of those who speak; else who goes after its handshake is taken for one of those. */
struct callers *callers_create(struct event_base *base, void *zmq, void *socket, bool heard,
                               struct refusals *refusals);
void callers_destroy(struct callers *callers);

/* A message came over this connection (ZMQ_SRCFD): it is none of those. */
void callers_spoke(struct callers *callers, int fd);
/* All messages that have arrived were taken. */
void callers_judge(struct callers *callers);

#endif
