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
    uint32_t origin; /* node whose multicast it is */
    uint32_t number; /* of it */
    uint64_t offset;
    struct c4p_envelope envelope; /* checked copy */
};

/* One of our own multicasts along a tree that some nodes do not have yet. */
struct collectives_sent {
    struct collectives_sent *next;
    uint32_t number, due; /* nodes that have not said that it has come */
    uint64_t size;
};

/* A message to many that we made ourselves and have no memory to send yet. */
struct collectives_unsent {
    struct collectives_unsent *next;
    uint64_t offset;
};

struct collectives {
    const struct segment *segment;
    struct region *region;
    struct segment_endpoint *own; /* the router's: what it sends and handles is counted there */
    struct collectives_host host;
    uint32_t nodes, self, pes;
    uint32_t *first_pes; /* nodes + 1 */
    /* memory */
    bool *starved;               /* nodes whose messages wait for it */
    int64_t starved_at, idle_at; /* next tick for each; 0: none */
    int64_t wake_at;             /* what the host was told last; 0: nothing */
    /* multicasts */
    uint32_t number;      /* of our last one along a tree */
    uint64_t tree_limit;  /* bytes that a node's multicasts along trees may have under way */
    uint64_t tree_used;   /* those of ours */
    uint64_t *tree_bytes; /* by origin: bodies here that wait for their mark */
    struct collectives_body *bodies;
    struct collectives_sent *sent;
    struct collectives_unsent *unsent, **unsent_last;
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
/* Take the first block off such a chain. */
uint64_t collectives_unchain(struct collectives *collectives, uint64_t *chain);
/* To an endpoint, wherever it is; counted if it is a PE. */
void collectives_route(struct collectives *collectives, uint64_t offset, uint32_t target);
/* Offer what comes from `node` again when there may be memory. */
enum collectives_answer collectives_later(struct collectives *collectives, uint32_t node,
                                          int64_t now);
void collectives_schedule(struct collectives *collectives);
enum collectives_answer collectives_broken(struct collectives *collectives, uint64_t offset,
                                           const char *what);

/* ---- collectives_multicast.c ---- */

enum collectives_answer multicast_take(struct collectives *collectives, uint32_t from,
                                       enum collectives_stream stream, uint64_t offset,
                                       const struct c4p_envelope *envelope, int64_t now);
enum collectives_answer multicast_mark_take(struct collectives *collectives, uint32_t from,
                                            uint64_t offset, const struct c4p_envelope *envelope,
                                            int64_t now);
/* Our own message to many, and to the PEs of this node. Sooner or later; counted at once. */
void multicast_start(struct collectives *collectives, uint64_t offset, int64_t now);
void multicast_retry(struct collectives *collectives, int64_t now);
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
