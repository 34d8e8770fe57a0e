/*
 * The daemon's end of the bridges: one ZeroMQ socket through which clients that do not map their
 * job's segment exchange messages with it, as streams (proto/stream.h).
 *
 * A client is admitted first (bridge_admit): it is an endpoint of the job then, and has a ticket
 * with which it says HELLO at the socket. It is no client of the bridge any more when its endpoint
 * leaves the router, for whatever reason: its owner need not tell the bridge.
 *
 * A client that ends its stream with BYE gets one back as soon as all that it sent is in the
 * segment. One that breaks the rules is told why, and its owner too, who is to end it.
 *
 * Memory: of each client at most STREAM_WINDOW and a frame wait here; the socket, and ZeroMQ's
 * threads, are there from the first client on.
 */
#ifndef C4P_DAEMON_ROUTER_BRIDGE_H
#define C4P_DAEMON_ROUTER_BRIDGE_H

#include <stdint.h>

#include "daemon/router/router.h"
#include "proto/stream.h"

/* For HELLO. */
#define BRIDGE_TICKET_SECONDS 20

#define BRIDGE_ERROR_SIZE 320

struct bridge;
struct event_base;

struct bridge_listener {
    /* This client (bridge_admit) breaks the rules, or memory is short; why is in the log. From the
     * event loop: the client may be ended here. */
    void (*failed)(void *context, uint64_t client);
    void *context;
};

struct bridge_ticket {
    uint32_t endpoint;
    uint8_t ticket[STREAM_TICKET_SIZE];
    struct segment_geometry geometry; /* of the job */
    const char *address;              /* of the socket; the bridge's */
};

/*
 * `address` (ipc://..., copied) is bound when the first client is admitted; NULL: one of our own
 * that leaves no file. NULL with errno ENOMEM. Destroy is NULL-safe: clients that are here leave
 * their routers.
 */
struct bridge *bridge_create(struct event_base *base, const char *address,
                             const struct bridge_listener *listener);
void bridge_destroy(struct bridge *bridge);

/* Let a client into a job. `client` is its number to the listener. -1 with a sentence. */
int bridge_admit(struct bridge *bridge, struct router *router, uint64_t client,
                 struct bridge_ticket *ticket, char error[BRIDGE_ERROR_SIZE]);

/* Clients that are admitted. */
unsigned bridge_count(const struct bridge *bridge);

#endif
