/*
 * The allocator of one endpoint's region of the segment.
 *
 * Only the owner allocates, and everything it knows about its blocks it keeps
 * in private memory: a process that scribbles over the segment cannot lead the
 * allocator astray, and no line of metadata moves between cores. Who is done
 * with somebody else's block pushes it onto the owner's return list, a
 * lock-free stack (segment_endpoint.returns), alone or as a chain; the owner
 * takes the whole stack when it runs short. A returned offset is believed only
 * if it is the start of a block that is allocated now.
 *
 * Blocks up to 16 KiB come from classes of 64 KiB spans, larger ones are runs
 * of spans, coalesced when freed, most recently freed first, so that warm
 * pages are used again (a fresh page costs nine copies of it). The tail of a
 * run that is not touched costs no memory.
 */
#ifndef C4P_PROTO_REGION_H
#define C4P_PROTO_REGION_H

#include "proto/segment.h"

#define REGION_SPAN (64u << 10)
#define REGION_MAX_SMALL (16u << 10)

struct region;

/* The allocator of slot `slot`; NULL with errno ENOMEM. Destroy is NULL-safe. */
struct region *region_create(const struct segment *segment, uint32_t slot);
void region_destroy(struct region *region);

/*
 * Allocate `size` bytes (at least an envelope), 64-byte aligned. Returns the
 * offset in the segment, or 0 with errno ENOMEM: the region is exhausted now,
 * or EFBIG: it could never hold that much. Takes returned blocks in by itself.
 */
uint64_t region_alloc(struct region *region, size_t size);

/* Give back a block of one's own. */
void region_free(struct region *region, uint64_t offset);

/*
 * Take in what others have returned. Returns 0, or 1 if something on the list is no block in use:
 * what is behind it is not looked at, and stays allocated.
 */
unsigned region_reclaim(struct region *region);

/* Bytes allocated now, and the largest size that region_alloc() could ever give. */
uint64_t region_used(const struct region *region);
uint64_t region_limit(const struct region *region);

/* Bytes that a block of the region really has. 0 if the offset is not an allocated block. */
size_t region_block_size(const struct region *region, uint64_t offset);

/*
 * Blocks on their way back to other owners, gathered so that one exchange
 * returns many. Flush before sleeping.
 *
 * One block of a batch carries the places of the others, so that nobody writes
 * to, and the owner need not read, what all the others hold: their memory stays
 * where it is until it is used again.
 */
#define REGION_RETURNS_BATCH 30

/* What is in the first 128 bytes of a block on the return list; no block is smaller. */
struct region_returned {
    uint64_t next;                               /* offset of the next on the list, 0 ends it */
    uint32_t count;                              /* blocks that it carries besides itself */
    uint32_t granules[REGION_RETURNS_BATCH - 1]; /* where: bytes / 64 from the region's start */
};

_Static_assert(sizeof(struct region_returned) == 128, "fits the smallest block");

struct region_returns {
    struct return_chain {
        uint64_t first; /* the block that will carry the others */
        uint32_t count; /* with the first */
        uint32_t granules[REGION_RETURNS_BATCH - 1];
    } * chains; /* one for each slot */
    const struct segment *segment;
    uint32_t pending;
};

int region_returns_init(struct region_returns *returns, const struct segment *segment);
void region_returns_free(struct region_returns *returns);
/* Return a valid offset to its owner, now or with the next flush. `now` for large blocks. */
void region_returns_add(struct region_returns *returns, uint64_t offset, bool now);
void region_returns_flush(struct region_returns *returns);

#endif
