/*
 * What a node's part of a reduction says of it, so that routers can go on without Python: how many
 * contributions there are and in whose hands, which operation, and where the result goes.
 *
 * It stands behind the arguments, the last 72 bytes of the body of a C4P_PARTIAL to a router, or of
 * a C4P_NODE_PART: the result becomes a message to its target by leaving it away. Little-endian, no
 * padding, at any address: it is copied, in and out.
 */
#ifndef C4P_PROTO_TAIL_H
#define C4P_PROTO_TAIL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "proto/envelope.h"
#include "proto/placement.h"

enum reducer_op {
    OP_NOP,
    OP_SUM,
    OP_PRODUCT,
    OP_MAX,
    OP_MIN,
    OP_AND,
    OP_OR,
    OP_XOR,
    OP_GATHER,
    OP_CUSTOM,
    OP_COUNT
};

enum tail_target {
    TARGET_ALL = 0, /* an allreduce: every PE that has contributors */
    TARGET_FUTURE,
    TARGET_ELEMENT, /* a method of one chare */
    TARGET_METHOD,  /* of all chares of a collection */
    TARGET_COUNT
};

struct c4p_tail {
    uint64_t total;              /*  0 contributions in all */
    uint64_t count;              /*  8 of these, in this part */
    uint64_t id;                 /* 16 of the target: the future's number, the collection */
    uint32_t owner;              /* 24 its endpoint; of TARGET_METHOD the first of its PEs */
    uint32_t pes;                /* 28 TARGET_METHOD: how many PEs */
    uint32_t method;             /* 32 hash of the method's name */
    uint32_t origin;             /* 36 the lowest PE of those whose contributions these are */
    uint8_t placement;           /* 40 enum placement: where the contributors are; not PLACE_ON */
    uint8_t operation;           /* 41 enum reducer_op */
    uint8_t target;              /* 42 enum tail_target */
    uint8_t ndims;               /* 43 of TARGET_ELEMENT */
    int32_t index[C4P_MAX_DIMS]; /* 44 */
    uint32_t source;             /* 68 the PE that made it: who is asked for classes */
};

#define C4P_TAIL_SIZE 72
_Static_assert(sizeof(struct c4p_tail) == C4P_TAIL_SIZE, "no padding");

/* The tail of a body, checked by itself; false: that is none, of a job with so many PEs. */
static inline bool tail_read(const uint8_t *body, uint64_t size, uint32_t pes,
                             struct c4p_tail *tail)
{
    if (size < C4P_TAIL_SIZE)
        return false;
    memcpy(tail, body + size - C4P_TAIL_SIZE, C4P_TAIL_SIZE);
    if (tail->placement > PLACE_BLOCK || tail->operation >= OP_COUNT ||
        tail->target >= TARGET_COUNT || tail->ndims > C4P_MAX_DIMS)
        return false;
    if (tail->count == 0 || tail->count > tail->total || tail->origin >= pes ||
        tail->source >= pes || (tail->placement == PLACE_EACH && tail->total != pes))
        return false;
    return tail->target != TARGET_METHOD || (tail->owner < pes && tail->pes <= pes - tail->owner);
}

/*
 * The PE that combines what routers cannot: that of the target, or the first, which has contributors
 * always. It is the one for custom reducers: it has one registered that it has used.
 */
static inline uint32_t tail_combiner(const struct c4p_tail *tail, uint32_t pes)
{
    bool one = tail->target == TARGET_FUTURE || tail->target == TARGET_ELEMENT;

    return one && tail->owner < pes && tail->operation != OP_CUSTOM ? tail->owner : 0;
}

static inline void tail_write(uint8_t *body, uint64_t size, const struct c4p_tail *tail)
{
    memcpy(body + size - C4P_TAIL_SIZE, tail, C4P_TAIL_SIZE);
}

#endif
