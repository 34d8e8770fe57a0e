/*
 * What the files of collectives.c share.
 */
#ifndef C4P_DAEMON_ROUTER_COLLECTIVES_PARTS_H
#define C4P_DAEMON_ROUTER_COLLECTIVES_PARTS_H

#include "daemon/router/collectives.h"
#include "daemon/router/gather.h"
#include "daemon/router/quiet.h"

/* How long we wait for memory, or for more to happen before counters are looked at, ms. */
#define COLLECTIVES_PAUSE 1

/* A body that came along a tree and waits for its mark. */
struct collectives_body {
    struct collectives_body *next;
    uint32_t origin;              /* node whose multicast it is */
    uint32_t number;              /* of it */
    uint64_t place;               /* in the segment, or aside */
    struct c4p_envelope envelope; /* checked copy */
};

/* One of our own multicasts along a tree that some nodes do not have yet. */
struct collectives_sent {
    struct collectives_sent *next;
    uint32_t number, due; /* nodes that have not said that it has come */
    uint64_t size;
};

/* A message that we made ourselves and have no memory to send yet. */
struct collectives_unsent {
    struct collectives_unsent *next;
    uint64_t place;
};

struct collectives {
    const struct segment *segment;
    struct region *region;
    struct segment_endpoint *own; /* the router's: what it sends and handles is counted there */
    struct collectives_host host;
    uint32_t nodes, self, pes;
    uint32_t *first_pes; /* nodes + 1 */
    /* memory */
    bool *starved;                     /* nodes whose messages wait for it */
    int64_t starved_at, idle_at;       /* next tick for each; 0: none */
    int64_t wake_at;                   /* what the host was told last; 0: nothing */
    bool pressed;                      /* what came has found no memory: parts go aside */
    uint64_t aside_bytes, aside_limit; /* of blocks that wait outside of the segment */
    struct collectives_unsent *unsent, **unsent_last; /* what we made */
    /* multicasts */
    uint32_t number;      /* of our last one along a tree */
    uint64_t tree_limit;  /* bytes that a node's multicasts along trees may have under way */
    uint64_t tree_used;   /* those of ours */
    uint64_t *tree_bytes; /* by origin: bodies here that wait for their mark */
    struct collectives_body *bodies;
    struct collectives_sent *sent;
    /* reductions */
    struct gather *gather;
    /* quiescence */
    struct quiet *quiet;          /* of node 0 */
    struct quiet_counts reported; /* what was told last */
    bool idle_forced;             /* tell it again though it is the same */
    struct quiet_step step;       /* what node 0 has no memory to send yet */
};

/* ---- collectives.c ---- */

uint32_t collectives_node_of(const struct collectives *collectives, uint32_t pe);
/* This node's PEs among first .. first + count - 1: how many, from *from on. */
uint32_t collectives_local(const struct collectives *collectives, uint32_t first, uint32_t count,
                           uint32_t *from);
/* A block of ours with such an envelope and room for a body; 0: no memory now. */
uint64_t collectives_block(struct collectives *collectives, const struct c4p_envelope *envelope,
                           uint64_t size);
/* So many blocks without a body, linked by `next`; 0: no memory now, for none of them. */
uint64_t collectives_chain(struct collectives *collectives, const struct c4p_envelope *envelope,
                           uint32_t count);
/* Write the envelope of a block that is ours alone. */
void collectives_envelope_write(const struct collectives *collectives, struct c4p_envelope *block,
                                const struct c4p_envelope *like, uint64_t size);
/* Take the first block off such a chain. */
uint64_t collectives_unchain(struct collectives *collectives, uint64_t *chain);
/* Offer what comes from `node` again when there may be memory. */
enum collectives_answer collectives_later(struct collectives *collectives, uint32_t node,
                                          int64_t now);
void collectives_schedule(struct collectives *collectives);
enum collectives_answer collectives_broken(struct collectives *collectives, uint64_t offset,
                                           const char *what);

/* ---- collectives_own.c ---- */

/* A block's place is its offset in the segment, or, an odd number, outside: aside. */
bool place_is_aside(uint64_t place);
struct c4p_envelope *collectives_at(const struct collectives *collectives, uint64_t place);
/* Done with it, wherever it is. */
void collectives_drop(struct collectives *collectives, uint64_t place);
/* Move a block of our region, which nobody else uses, aside; it stays if that cannot be. Its place. */
uint64_t aside_put(struct collectives *collectives, uint64_t offset);
/* Move it back: its offset, or 0: no memory now, it stays. */
uint64_t aside_return(struct collectives *collectives, uint64_t place);
/* The segment goes: free it if it is aside. For gather_destroy(). */
void aside_forget(void *context, uint64_t place);
/* Are parts to be put aside as they come? */
bool collectives_pressed(struct collectives *collectives);
/* A block for what we make ourselves, aside if there is no room; 0: there is no memory at all. */
uint64_t collectives_make(struct collectives *collectives, const struct c4p_envelope *envelope,
                          uint64_t size);
/* Send what we made where its envelope says, after what we made before it; counted at once. */
void own_send(struct collectives *collectives, uint64_t place, int64_t now);
void own_retry(struct collectives *collectives, int64_t now);
void own_destroy(struct collectives *collectives);

/* ---- collectives_multicast.c ---- */

enum collectives_answer multicast_take(struct collectives *collectives, uint32_t from,
                                       enum collectives_stream stream, uint64_t offset,
                                       const struct c4p_envelope *envelope, int64_t now);
enum collectives_answer multicast_mark_take(struct collectives *collectives, uint32_t from,
                                            uint64_t offset, const struct c4p_envelope *envelope,
                                            int64_t now);
/* Our own message to many, and to the PEs of this node. False: no memory now. */
bool multicast_send_own(struct collectives *collectives, uint64_t offset);
void multicast_destroy(struct collectives *collectives);

/* ---- collectives_reduce.c ---- */

enum collectives_answer reduce_take(struct collectives *collectives, uint32_t from, uint64_t offset,
                                    const struct c4p_envelope *envelope, int64_t now);

/* ---- collectives_idle.c ---- */

enum collectives_answer idle_take(struct collectives *collectives, uint32_t from, uint64_t offset,
                                  const struct c4p_envelope *envelope, int64_t now);
enum collectives_answer wave_take(struct collectives *collectives, uint32_t from, uint64_t offset,
                                  const struct c4p_envelope *envelope, int64_t now);
enum collectives_answer quiescent_take(struct collectives *collectives, uint32_t from,
                                       uint64_t offset, const struct c4p_envelope *envelope,
                                       int64_t now);
/* Our own counters have changed: look at them soon. */
void idle_expect(struct collectives *collectives, int64_t now);
void idle_tick(struct collectives *collectives, int64_t now);

#endif
