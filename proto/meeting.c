#include "proto/meeting.h"

#include <errno.h>
#include <sched.h>

/*
 * Fields of a block that waits here: `next` links the first partials of the
 * different reductions in a bucket; `body` links the partials of one reduction
 * and `future` of the first one adds up their counts. The partial's body
 * always follows its envelope, so both fields are free.
 */
static struct segment_bucket *bucket_of(const struct segment *segment, uint64_t collection,
                                        uint32_t sequence)
{
    uint64_t hash = (collection ^ ((uint64_t)sequence << 40)) * 0x9e3779b97f4a7c15u;

    return segment_buckets(segment) + (hash >> 54) % SEGMENT_BUCKETS;
}

static void bucket_lock(struct segment_bucket *bucket)
{
    unsigned tries = 0;

    while (atomic_exchange_explicit(&bucket->lock, 1, memory_order_acquire) != 0)
        if (++tries > 64)
            sched_yield(); /* its holder may need this core */
}

static void bucket_unlock(struct segment_bucket *bucket)
{
    atomic_store_explicit(&bucket->lock, 0, memory_order_release);
}

/* A walk along links that anybody may have written: it ends, also when they form a circle. */
struct walk {
    uint64_t mark; /* a block passed earlier (Brent's algorithm: at each power of two steps) */
    uint64_t steps, next_mark;
};

/* May the walk go on to `offset`? */
static bool walk_step(const struct segment *segment, struct walk *walk, uint64_t offset)
{
    if (!segment_offset_valid(segment, offset) || offset == walk->mark)
        return false;
    if (walk->steps++ == walk->next_mark) {
        walk->mark = offset;
        walk->next_mark = 2 * walk->steps;
    }
    return true;
}

/* Find the reduction's first partial. *before is the one ahead of it in the bucket, NULL if none. */
static struct c4p_envelope *bucket_find(const struct segment *segment,
                                        struct segment_bucket *bucket, uint64_t collection,
                                        uint32_t sequence, struct c4p_envelope **before,
                                        bool *corrupt)
{
    uint64_t offset = atomic_load_explicit(&bucket->first, memory_order_relaxed);
    struct walk walk = {0};

    *before = NULL;
    while (offset != 0) {
        struct c4p_envelope *block;

        if (!walk_step(segment, &walk, offset)) {
            *corrupt = true;
            return NULL;
        }
        block = segment_block(segment, offset);
        if (block->collection == collection && block->sequence == sequence)
            return block;
        *before = block;
        offset = block->next;
    }
    return NULL;
}

/* Turn the partials of one reduction, linked by `body`, into a chain linked by `next`. 0: corrupt. */
static uint64_t chain_by_next(const struct segment *segment, uint64_t first)
{
    struct walk walk = {0};

    for (uint64_t offset = first; offset != 0;) {
        struct c4p_envelope *block;

        if (!walk_step(segment, &walk, offset))
            return 0;
        block = segment_block(segment, offset);
        offset = block->body;
        block->next = offset;
    }
    for (uint64_t offset = first; offset != 0; offset = segment_block(segment, offset)->next)
        segment_block(segment, offset)->body = 0;
    return first;
}

/* Take a reduction's partials out of its bucket. */
static uint64_t bucket_unlink(struct segment_bucket *bucket, struct c4p_envelope *before,
                              const struct c4p_envelope *first)
{
    uint64_t offset;

    if (before != NULL) {
        offset = before->next;
        before->next = first->next;
    } else {
        offset = atomic_load_explicit(&bucket->first, memory_order_relaxed);
        atomic_store_explicit(&bucket->first, first->next, memory_order_relaxed);
    }
    return offset;
}

/* `offset` 0: leave nothing here if it is not complete. */
static bool meeting_join(const struct segment *segment, uint64_t collection, uint32_t sequence,
                         uint64_t offset, uint64_t count, uint64_t expected, uint64_t *others)
{
    struct c4p_envelope *own = offset != 0 ? segment_block(segment, offset) : NULL;
    struct segment_bucket *bucket = bucket_of(segment, collection, sequence);
    struct c4p_envelope *first, *before;
    bool corrupt = false, complete = false;

    *others = 0;
    errno = 0;
    if (count >= expected)
        return true;
    bucket_lock(bucket);
    first = bucket_find(segment, bucket, collection, sequence, &before, &corrupt);
    if (first != NULL && first->future + count >= expected) {
        *others = bucket_unlink(bucket, before, first);
        complete = true;
    } else if (first != NULL && own != NULL) {
        first->future += count;
        own->body = first->body;
        first->body = offset;
    } else if (!corrupt && own != NULL) {
        own->future = count;
        own->body = 0;
        own->next = atomic_load_explicit(&bucket->first, memory_order_relaxed);
        atomic_store_explicit(&bucket->first, offset, memory_order_relaxed);
    }
    bucket_unlock(bucket);
    if (complete) {
        *others = chain_by_next(segment, *others);
        corrupt = *others == 0;
    }
    if (corrupt)
        errno = EBADMSG;
    return complete && !corrupt;
}

bool meeting_arrive(const struct segment *segment, uint64_t offset, uint64_t count,
                    uint64_t expected, uint64_t *others)
{
    const struct c4p_envelope *own = segment_block(segment, offset);

    return meeting_join(segment, own->collection, own->sequence, offset, count, expected, others);
}

bool meeting_is_last(const struct segment *segment, uint64_t collection, uint32_t sequence,
                     uint64_t count, uint64_t expected, uint64_t *others)
{
    return meeting_join(segment, collection, sequence, 0, count, expected, others);
}
