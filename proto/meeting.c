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

/* Find the reduction's first partial. *link is the field that holds its offset. */
static struct c4p_envelope *bucket_find(const struct segment *segment,
                                        struct segment_bucket *bucket,
                                        uint64_t collection, uint32_t sequence,
                                        struct c4p_envelope **before, bool *corrupt)
{
    uint64_t offset = atomic_load_explicit(&bucket->first, memory_order_relaxed);

    *before = NULL;
    while (offset != 0) {
        struct c4p_envelope *block;

        if (!segment_offset_valid(segment, offset)) {
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

/* Turn the partials of one reduction, linked by `body`, into a chain linked by `next`. */
static uint64_t chain_by_next(const struct segment *segment, uint64_t offset)
{
    uint64_t first = offset;

    while (offset != 0 && segment_offset_valid(segment, offset)) {
        struct c4p_envelope *block = segment_block(segment, offset);

        offset = block->body;
        block->next = offset;
        block->body = 0;
    }
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
    if (corrupt)
        errno = EBADMSG;
    if (complete)
        *others = chain_by_next(segment, *others);
    return complete;
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
