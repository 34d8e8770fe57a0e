/*
 * Where the elements of a collection are: computed, never asked for. PEs use it for each element,
 * routers to know how many contributions to a reduction come from a part of the tree.
 */
#ifndef C4P_PROTO_PLACEMENT_H
#define C4P_PROTO_PLACEMENT_H

#include <stdint.h>

/* Numbers on the wire: of proxies (proto/README.md) and parts of reductions. */
enum placement {
    PLACE_EACH = 0, /* one on each PE */
    PLACE_BLOCK, /* flattened row-major, in contiguous blocks; the first total % P PEs one more */
    PLACE_ON     /* all on one PE */
};

/* The position of the first element on PE `pe` of `pes`; of those before PE `pes`: all. */
static inline uint64_t placement_block_first(uint64_t total, uint32_t pes, uint32_t pe)
{
    uint64_t each = total / pes, rest = total % pes;

    return pe * each + (pe < rest ? pe : rest);
}

/* The PE that a position is on. */
static inline uint32_t placement_block_pe(uint64_t total, uint32_t pes, uint64_t flat)
{
    uint64_t each = total / pes, rest = total % pes;

    if (flat < rest * (each + 1))
        return (uint32_t)(flat / (each + 1));
    return (uint32_t)(rest + (flat - rest * (each + 1)) / each);
}

/* Elements on PEs first .. end - 1 of a collection that is on several PEs (not PLACE_ON). */
static inline uint64_t placement_count(enum placement placement, uint64_t total, uint32_t pes,
                                       uint32_t first, uint32_t end)
{
    if (placement == PLACE_EACH)
        return end - first;
    return placement_block_first(total, pes, end) - placement_block_first(total, pes, first);
}

/* PEs that have elements of such a collection: so many from 0 on. */
static inline uint32_t placement_pes(enum placement placement, uint64_t total, uint32_t pes)
{
    return placement == PLACE_BLOCK && total < pes ? (uint32_t)total : pes;
}

#endif
