/*
 * What the routers of a job do together: multicasts and reductions along a tree of nodes, and
 * quiescence. On one node none of it is used: PEs do it among themselves (meeting.h).
 *
 * Everything runs in the plane's thread, under its lock. It is a shell around pure cores: fan.h (the
 * shape of trees), gather.h (reductions), quiet.h (quiescence) and combine.h (two parts become one).
 *
 * Multicasts. A PE that sends to many gives its router one block with C4P_MULTICAST, beside those for
 * the PEs of its own node. A small body goes straight to each node, in the direct streams. A large one
 * goes along the tree, in the relay streams, and a C4P_MARK in its place in each direct stream: a node
 * that has the mark and not yet the body handles nothing more of that stream, one that has the body
 * keeps it until the mark comes. So messages from one endpoint to another never change their order.
 * Nothing in a relay stream ever waits for a mark or for anything else but memory.
 *
 * Reductions. When all contributions of a node are combined (meeting.h), whose PE came last sends the
 * node's part to its router, with what is needed to go on without Python: how many contributions there
 * are in all and in whose hands, which operation, and where the result goes. Routers combine parts of
 * numbers and arrays in C and pass one part up; at the root the result becomes a message to its target.
 * What C cannot combine (custom reducers, gather, objects, sizes that do not match) is passed on as a
 * list of parts, and combined by the PE that is the target, or has it.
 *
 * Quiescence. The last PE of a node to fall asleep tells its router (C4P_IDLE). Node 0 collects the
 * nodes' counters in waves (C4P_WAVE): two waves that read the same counts, with as many messages
 * handled as sent, have an instant between them at which nothing was under way (Mattern 1987).
 */
#ifndef C4P_DAEMON_ROUTER_COLLECTIVES_H
#define C4P_DAEMON_ROUTER_COLLECTIVES_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/router/plane.h"
#include "proto/region.h"
#include "proto/segment.h"

struct collectives;

enum collectives_stream { STREAM_DIRECT = 0, STREAM_RELAY };

/* What the router does for them. None of it calls back. */
struct collectives_host {
    /* Send a block, from any region of the segment, to another node; it is the router's from now on. */
    void (*send)(void *context, uint32_t node, enum collectives_stream stream, uint64_t offset);
    /* To a local endpoint: PE, or client; its target says which. */
    void (*deliver)(void *context, uint64_t offset);
    /* Done with a block. */
    void (*release)(void *context, uint64_t offset);
    /* A stream that was held up (COLLECTIVES_LATER) can go on. */
    void (*resume)(void *context, uint32_t node);
    /* Call collectives_tick() at this time (clock_ms()) at the latest; replaces the one before. */
    void (*wake_at)(void *context, int64_t at);
    /* A PE, or another node, does what no correct one does: the job is to end, with this sentence. */
    void (*broken)(void *context, const char *what);
    void *context;
};

/* NULL with errno ENOMEM. `region` is the router's own. Destroy is NULL-safe. */
struct collectives *collectives_create(const struct segment *segment, struct region *region,
                                       const struct router_nodes *nodes,
                                       const struct collectives_host *host);
void collectives_destroy(struct collectives *collectives);

enum collectives_answer {
    COLLECTIVES_TAKEN, /* the block is theirs */
    COLLECTIVES_LATER  /* not now: offer it again after resume(), and nothing behind it before */
};

/*
 * A block whose target is this router, or which has C4P_MULTICAST. `from` is the node that it came
 * from, this one for blocks of local endpoints (whose source was checked). `envelope` is a checked copy.
 */
enum collectives_answer collectives_take(struct collectives *collectives, uint32_t from,
                                         enum collectives_stream stream, uint64_t offset,
                                         const struct c4p_envelope *envelope, int64_t now);
void collectives_tick(struct collectives *collectives, int64_t now);
/* Something that comes finds no memory: give back what waits for anything but PEs; then try again. */
void collectives_make_room(struct collectives *collectives);

#endif
