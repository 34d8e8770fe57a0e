/*
 * Reductions over nodes: what has come of each, and from whom.
 *
 * The nodes that have contributors form a tree (fan.h) with the lowest of them at its root. A node
 * waits for the part of its own PEs, and for those of the subtrees below it. Everything that is needed
 * to know how many contributions that makes is in the parts themselves (proto/tail.h), so whichever
 * part comes first opens a reduction, and the one that completes the count closes it. Who combines
 * the parts does so in the order of their origins: the result does not depend on who came first.
 *
 * A pure core: parts are numbers to it, which mean something to its caller.
 */
#ifndef C4P_DAEMON_ROUTER_GATHER_H
#define C4P_DAEMON_ROUTER_GATHER_H

#include <stdint.h>

#include "proto/tail.h"

#define GATHER_ARITY 4
/* Reductions that a node may have parts of at a time; PEs that go on contributing need not wait. */
#define GATHER_MAX_OPEN (1u << 20)

struct gather;

/* `first_pes`: nodes + 1 of them, the last is the number of PEs; copied. NULL: no memory. */
struct gather *gather_create(const uint32_t *first_pes, uint32_t nodes, uint32_t self);

/* NULL-safe; the parts that are left are given to `drop`, if there is one. */
void gather_destroy(struct gather *gather, void (*drop)(void *context, uint64_t part),
                    void *context);

enum gather_answer {
    GATHER_HELD,     /* others are to come */
    GATHER_COMPLETE, /* here they are */
    GATHER_WRONG,    /* no correct node sends this; nothing was taken */
    GATHER_NO_MEMORY /* nothing was taken */
};

struct gather_part {
    uint32_t origin; /* the lowest PE of it */
    uint64_t count;
    uint64_t part;
};

/* All parts that a node waits for, in ascending order of origin. */
struct gather_done {
    bool root;       /* there is nobody above us */
    uint32_t parent; /* else: to whom it goes */
    uint64_t count;  /* contributions in it */
    uint32_t parts_count;
    struct gather_part *parts; /* free() them */
};

/* A part has come from a node; `tail` was checked by itself (tail_read). */
enum gather_answer gather_add(struct gather *gather, uint32_t from, uint64_t collection,
                              uint32_t sequence, const struct c4p_tail *tail, uint64_t part,
                              struct gather_done *done);

/* All parts that wait; `visit` may give them other numbers. */
void gather_each(struct gather *gather, void (*visit)(void *context, uint64_t *part),
                 void *context);

/* Reductions that wait for parts. */
uint32_t gather_open(const struct gather *gather);

#endif
