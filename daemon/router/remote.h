/*
 * Clients that do not map the segment: their places in it, and the way in and out.
 *
 * For others such a client is one like any other: its place has an inbox and an address. But the
 * router takes what is in that inbox, when somebody asks for it, and whoever wakes the sleeper there
 * wakes the router. What the client sends is put into blocks of the router's own region, and counted
 * as sent in the client's slot.
 *
 * The functions are those that a stream (proto/stream.h) asks its owner for. Both sides are hostile:
 * the client, whose messages are of certain kinds only and come from nobody but itself, and the
 * segment.
 */
#ifndef C4P_DAEMON_ROUTER_REMOTE_H
#define C4P_DAEMON_ROUTER_REMOTE_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/router/clients.h"
#include "proto/region.h"
#include "proto/segment.h"
#include "proto/stream.h"

struct router_remote_listener {
    /* There may be mail. */
    void (*mail)(void *context);
    /* The client has left, or the router goes: it is to be used no more for this one. */
    void (*gone)(void *context);
    void *context;
};

/* The way to other nodes of the job; all NULL if there is none. */
struct router_elsewhere {
    /* Is it the router that carries this message on? */
    bool (*reaches)(void *context, const struct c4p_envelope *envelope);
    /* Then here it is. */
    void (*send)(void *context, uint64_t offset);
    /* A block for what comes: as region_alloc(). */
    uint64_t (*alloc)(void *context, size_t size);
    void *context;
};

struct router_remotes {
    struct router_elsewhere elsewhere;
    const struct segment *segment;
    struct region *region;
    struct region_returns *returns;
    struct router_clients *clients;
    uint64_t longest; /* messages that can be in a chain */
    uint64_t dropped;
    const char *corrupt; /* what is wrong with a place's queue, with %s for whose; NULL: nothing */
    uint32_t corrupt_slot;
    unsigned count;
    struct remote_place {
        uint32_t endpoint; /* 0: no remote client sits here */
        struct router_remote_listener listener;
        uint64_t pending;   /* next message of the chain taken last, 0: none */
        uint64_t handled;   /* messages of that chain so far */
        uint64_t sending;   /* the message that next() gave, 0: none */
        uint64_t receiving; /* the block that begin() made, 0: none */
    } places[SEGMENT_CLIENT_SLOTS];
};

void router_remotes_init(struct router_remotes *remotes, struct region *region,
                         struct router_clients *clients);

/* The endpoint of a new client, or 0 with errno ENOSPC. */
uint32_t router_remotes_enter(struct router_remotes *remotes,
                              const struct router_remote_listener *listener);
/* It is gone: *listener is who is to be told so. An endpoint that is not a remote client's is ignored,
 * and *listener too. */
void router_remotes_leave(struct router_remotes *remotes, uint32_t endpoint,
                          struct router_remote_listener *listener);
/* Somebody rang: tell the listeners. */
void router_remotes_wake(struct router_remotes *remotes);

/* For a stream, see there. Of an endpoint that is not there nothing comes, and all is refused. */
bool router_remotes_next(struct router_remotes *remotes, uint32_t endpoint,
                         struct c4p_envelope *envelope, const void **body);
void router_remotes_sent(struct router_remotes *remotes, uint32_t endpoint);
enum stream_answer router_remotes_begin(struct router_remotes *remotes, uint32_t endpoint,
                                        const struct c4p_envelope *envelope, void **body);
void router_remotes_end(struct router_remotes *remotes, uint32_t endpoint);

#endif
