/*
 * A segment that somebody hostile writes to, and the functions that c4pd, or a PE, uses on it. The
 * input is a program: it fills inbox words, return lists, buckets of the meeting table and blocks
 * with what it likes, and calls in between. Nothing may crash or fail to end, and the allocator of
 * c4pd must never hand out a byte twice, whatever is returned to it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "proto/envelope.h"
#include "proto/inbox.h"
#include "proto/meeting.h"
#include "proto/region.h"
#include "proto/segment.h"

#define EPOCH 7
#define PES 2
#define ROUTER PES
#define BLOCKS 64
#define STEPS 2000
#define LONGEST 100000 /* more than an input can link */

#define require(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);              \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t left;
};

/* c4pd's side: its allocator, what it has handed out and what it returns to others. */
struct run {
    struct input input;
    struct region *region;
    struct region_returns returns;
    uint64_t blocks[BLOCKS];
};

static struct segment segment;

static uint64_t take(struct input *input, size_t bytes)
{
    uint64_t value = 0;

    if (bytes > input->left)
        bytes = input->left;
    memcpy(&value, input->data, bytes);
    input->data += bytes;
    input->left -= bytes;
    return value;
}

/* An offset: into the first pages of a PE's or the router's region, a block of c4pd's, or anything. */
static uint64_t take_offset(struct run *run)
{
    uint64_t place = take(&run->input, 1), regions = segment.geometry.regions;

    switch (take(&run->input, 1) % 8) {
    case 0:
        return take(&run->input, 8);
    case 1:
        return 0;
    case 2:
    case 3:
        return run->blocks[place % BLOCKS];
    case 4:
        return regions + ROUTER * segment.geometry.region_size + place * 64;
    case 5:
        return segment.geometry.size - place * 64;
    default:
        return regions + place * 64;
    }
}

/* The same, of a block that a caller may name by contract. */
static uint64_t take_valid_offset(struct run *run)
{
    uint64_t offset = take_offset(run);

    return segment_offset_valid(&segment, offset) ? offset : segment.geometry.regions;
}

/* ---- what a hostile process does ---- */

static void write_words(struct run *run)
{
    struct segment_endpoint *router = segment_endpoint(&segment, ROUTER);
    uint64_t value = take_offset(run);

    /* Not the lock of a bucket: who takes it and keeps it stops the job's PEs, by design. */
    switch (take(&run->input, 1) % 3) {
    case 0:
        atomic_store(&router->inbox, value);
        break;
    case 1:
        atomic_store(&router->returns, value);
        break;
    default:
        for (unsigned i = 0; i < SEGMENT_BUCKETS; i++)
            atomic_store(&segment_buckets(&segment)[i].first, value);
    }
}

static void write_link(struct run *run)
{
    struct c4p_envelope *block = segment_block(&segment, take_valid_offset(run));
    uint64_t value = take_offset(run);

    if (take(&run->input, 1) % 2)
        block->next = value;
    else
        block->body = value;
}

static void write_bytes(struct run *run)
{
    uint64_t offset = take_valid_offset(run);
    size_t size = take(&run->input, 1);

    if (size > run->input.left)
        size = run->input.left;
    if (size > segment_room(&segment, offset))
        size = segment_room(&segment, offset);
    memcpy(segment.base + offset, run->input.data, size);
    run->input.data += size;
    run->input.left -= size;
}

static void push(struct run *run)
{
    inbox_push(&segment, ROUTER, take_valid_offset(run));
}

static void add_to_returns(struct run *run)
{
    uint64_t offset = take_valid_offset(run);

    region_returns_add(&run->returns, offset, take(&run->input, 1) % 2);
}

/* ---- what c4pd does ---- */

static void mail_take(struct run *run)
{
    uint64_t first = inbox_take(&segment, ROUTER), offset = first;
    unsigned long count = 0;

    require(errno == 0 || (errno == EBADMSG && first == 0));
    /* Looked at alone: returning a block, below, would break up a circle. */
    for (; offset != 0; offset = inbox_next(&segment, offset))
        require(++count <= LONGEST);
    /* Returning writes into blocks, and hostile ones overlap: that may close a circle now. So no
     * more are handled than there were, as in c4pd. */
    for (offset = first; offset != 0 && count > 0; count--) {
        struct c4p_envelope copy;
        uint64_t next = inbox_next(&segment, offset);

        if (envelope_check(segment_block(&segment, offset), segment_room(&segment, offset), EPOCH,
                           &copy) == C4P_ENVELOPE_OK &&
            copy.body == 0)
            require(copy.body_size <= segment_room(&segment, offset) - C4P_ENVELOPE_SIZE);
        region_returns_add(&run->returns, offset, false);
        offset = next;
    }
}

static void sleep_announced(struct run *run)
{
    (void)run;
    if (inbox_announce_sleep(&segment, ROUTER))
        inbox_announce_awake(&segment, ROUTER);
}

static void block_alloc(struct run *run)
{
    size_t size = take(&run->input, 3);
    uint64_t offset = region_alloc(run->region, size % (2 * segment.geometry.region_size));
    size_t real;
    unsigned i = 0, empty = BLOCKS;

    if (offset == 0)
        return;
    real = region_block_size(run->region, offset);
    require(segment_offset_valid(&segment, offset));
    require(segment_owner(&segment, offset) == ROUTER && real <= segment_room(&segment, offset));
    for (; i < BLOCKS; i++) {
        size_t other = run->blocks[i] ? region_block_size(run->region, run->blocks[i]) : 0;

        if (other == 0) {
            empty = i;
            continue;
        }
        /* It may be the same one: that was returned, by who had no right to. */
        if (run->blocks[i] == offset)
            empty = i;
        else
            require(run->blocks[i] + other <= offset || offset + real <= run->blocks[i]);
    }
    if (empty < BLOCKS)
        run->blocks[empty] = offset;
    else
        region_free(run->region, offset);
}

static void block_free(struct run *run)
{
    region_free(run->region, take_offset(run));
}

static void reclaim(struct run *run)
{
    region_reclaim(run->region);
    require(region_used(run->region) <= region_limit(run->region));
}

static void flush(struct run *run)
{
    region_returns_flush(&run->returns);
}

/* ---- what a PE does ---- */

static void others_walk(uint64_t offset)
{
    unsigned long count = 0;

    for (; offset != 0; offset = segment_block(&segment, offset)->next) {
        require(segment_offset_valid(&segment, offset));
        require(++count <= LONGEST);
    }
}

static void arrive(struct run *run)
{
    uint64_t offset = take_valid_offset(run), others;

    if (meeting_arrive(&segment, offset, take(&run->input, 1), take(&run->input, 1), &others))
        others_walk(others);
    else
        require(others == 0);
}

static void ask(struct run *run)
{
    uint64_t collection = take(&run->input, 1), others;

    if (meeting_is_last(&segment, collection, 0, take(&run->input, 1), take(&run->input, 1),
                        &others))
        others_walk(others);
    else
        require(others == 0);
}

static void (*const steps[])(struct run *) = {
    write_words, write_link, write_bytes, push,  add_to_returns, mail_take, sleep_announced,
    block_alloc, block_free, reclaim,     flush, arrive,         ask,
};

static void segment_make(void)
{
    struct segment_geometry geometry = {
        .epoch = EPOCH,
        .pes = PES,
        .local_pes = PES,
        .nodes = 1,
        .region_size = SEGMENT_MIN_REGION,
    };

    require(segment_create(&segment, &geometry, NULL) == 0);
}

static void segment_clear(void)
{
    uint8_t *slots = segment.base + SEGMENT_ENDPOINTS_OFFSET;
    uint8_t *regions = segment.base + segment.geometry.regions;

    memset(slots, 0, (size_t)((uint8_t *)(segment_buckets(&segment) + SEGMENT_BUCKETS) - slots));
    require(madvise(regions, segment.geometry.size - segment.geometry.regions, MADV_REMOVE) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run run = {.input = {data, size}};

    if (segment.base == NULL)
        segment_make();
    else
        segment_clear();
    run.region = region_create(&segment, ROUTER);
    require(run.region != NULL && region_returns_init(&run.returns, &segment) == 0);
    for (unsigned i = 0; i < STEPS && run.input.left > 0; i++)
        steps[take(&run.input, 1) % (sizeof(steps) / sizeof(*steps))](&run);
    mail_take(&run);
    reclaim(&run);
    region_returns_free(&run.returns);
    region_destroy(run.region);
    return 0;
}
