/*
 * The places of clients in a segment: who sits where, and what is left of who
 * went.
 *
 * A client may die at any instant, with messages in its inbox that were sent
 * by PEs, and with messages of its own in the hands of PEs. The first are given
 * back to their owners here, by the link that the client shows (`mail`) and the
 * inbox. The second are still read: only when as many blocks have come back as
 * the client had handed out is its place given to another one, whose allocator
 * knows nothing of them. A client that is killed between the two lines that
 * count a block and send it takes its place with it.
 *
 * The segment is hostile. All that a wrong count or link does is to keep a place
 * or to give back a block that its owner does not believe in.
 */
#ifndef C4P_DAEMON_ROUTER_CLIENTS_H
#define C4P_DAEMON_ROUTER_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/region.h"
#include "proto/segment.h"

struct router_clients {
    const struct segment *segment;
    struct region_returns *returns; /* the router's */
    uint64_t longest;               /* messages that can be in a chain */
    struct client_place {
        uint32_t next;     /* number of the next client that sits here */
        uint32_t endpoint; /* who does now; 0: nobody */
        bool dirty;        /* somebody did, and not everything has come back */
    } places[SEGMENT_CLIENT_SLOTS];
};

void router_clients_init(struct router_clients *clients, const struct segment *segment,
                         struct region_returns *returns, uint64_t longest);

/* The endpoint of a new client, or 0 with errno ENOSPC. `remote`: it does not map the segment. */
uint32_t router_clients_enter(struct router_clients *clients, bool remote);
/* It is gone. An endpoint that is not there is ignored. */
void router_clients_leave(struct router_clients *clients, uint32_t endpoint);
/* Take in what came late; to be called now and then. */
void router_clients_clean(struct router_clients *clients);
/* A message at a valid offset is done with: give its block, and its part of a shared body, back. */
void router_clients_give_back(struct router_clients *clients, uint64_t offset);

#endif
