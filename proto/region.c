#include "proto/region.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GRANULE CACHE_LINE
#define SPAN_GRANULES (REGION_SPAN / GRANULE)
#define NO_SPAN UINT32_MAX
#define CLASSES 15
#define BINS 128

static const uint16_t class_size[CLASSES] = {128,  192,  256,  384,  512,  768,   1024, 1536,
                                             2048, 3072, 4096, 6144, 8192, 12288, 16384};

/* What a span is. A run's first span carries its length; its last one too while it is free. */
enum span_kind {
    SPAN_UNUSED = 0,
    SPAN_SMALL,
    SPAN_EMPTY, /* was SPAN_SMALL, all its blocks are free: about to become a run */
    SPAN_RUN,
    SPAN_RUN_INNER,
    SPAN_FREE,
    SPAN_FREE_INNER
};

struct span {
    uint8_t kind;  /* enum span_kind */
    uint8_t class; /* of SPAN_SMALL */
    uint32_t length;
    uint32_t previous, next; /* of SPAN_FREE: its bin */
};

/* A class's free blocks, last freed on top, as offsets in units of GRANULE. */
struct stack {
    uint32_t *items;
    uint32_t count;
    uint32_t total, room; /* blocks of the class in all spans; room >= total: pushing never fails */
};

struct region {
    const struct segment *segment;
    uint32_t slot;
    uint64_t start;    /* offset of the region in the segment */
    uint32_t spans;    /* spans in the region */
    uint32_t frontier; /* spans from here on were never used, or merged back */
    uint64_t used;     /* bytes allocated */
    uint64_t returned; /* blocks that others have given back, ever */
    struct stack free[CLASSES];
    uint32_t bins[BINS]; /* heads of the lists of free runs */
    uint64_t filled[2];  /* bit set: that bin is not empty */
    struct span *span;
    uint64_t *allocated; /* one bit a granule: a block starts here and is allocated */
};

/* The smallest class for so many granules. */
static const uint8_t class_of_size[REGION_MAX_SMALL / GRANULE + 1] = {
    [0 ... 2] = 0,    [3] = 1,          [4] = 2,           [5 ... 6] = 3,      [7 ... 8] = 4,
    [9 ... 12] = 5,   [13 ... 16] = 6,  [17 ... 24] = 7,   [25 ... 32] = 8,    [33 ... 48] = 9,
    [49 ... 64] = 10, [65 ... 96] = 11, [97 ... 128] = 12, [129 ... 192] = 13, [193 ... 256] = 14,
};

/* Lengths 1..31 have a bin each; above, four bins for each doubling. Rounds down. */
static unsigned bin_of_length(uint32_t length)
{
    unsigned log;

    if (length < 32)
        return length;
    log = 31u - (unsigned)__builtin_clz(length);
    return 32 + (log - 5) * 4 + ((length >> (log - 2)) & 3);
}

struct region *region_create(const struct segment *segment, uint32_t slot)
{
    struct region *region = calloc(1, sizeof(*region));

    if (region == NULL)
        return NULL;
    region->segment = segment;
    region->slot = slot;
    region->start = segment->geometry.regions + slot * segment->geometry.region_size;
    region->spans = (uint32_t)(segment->geometry.region_size / REGION_SPAN);
    memset(region->bins, 0xff, sizeof(region->bins));
    /* calloc() of these sizes maps zero pages: only what is used is ever touched. */
    region->span = calloc(region->spans, sizeof(*region->span));
    region->allocated = calloc(region->spans, SPAN_GRANULES / 8);
    if (region->span == NULL || region->allocated == NULL) {
        region_destroy(region);
        errno = ENOMEM;
        return NULL;
    }
    return region;
}

void region_destroy(struct region *region)
{
    if (region == NULL)
        return;
    for (unsigned class = 0; class < CLASSES; class ++)
        free(region->free[class].items);
    free(region->span);
    free(region->allocated);
    free(region);
}

static void region_used_add(struct region *region, int64_t bytes)
{
    region->used += (uint64_t)bytes;
    atomic_store_explicit(&segment_endpoint(region->segment, region->slot)->used, region->used,
                          memory_order_relaxed);
}

static void granule_set(struct region *region, uint64_t granule)
{
    region->allocated[granule / 64] |= 1ull << (granule % 64);
}

static void granule_clear(struct region *region, uint64_t granule)
{
    region->allocated[granule / 64] &= ~(1ull << (granule % 64));
}

static bool granule_is_set(const struct region *region, uint64_t granule)
{
    return region->allocated[granule / 64] >> (granule % 64) & 1;
}

/* ---- runs of spans ---- */

static void run_unlink(struct region *region, uint32_t first)
{
    struct span *span = &region->span[first];
    unsigned bin = bin_of_length(span->length);

    if (span->previous != NO_SPAN)
        region->span[span->previous].next = span->next;
    else
        region->bins[bin] = span->next;
    if (span->next != NO_SPAN)
        region->span[span->next].previous = span->previous;
    if (region->bins[bin] == NO_SPAN)
        region->filled[bin / 64] &= ~(1ull << (bin % 64));
}

/* Mark [first, first + length) free and put it into its bin. */
static void run_link(struct region *region, uint32_t first, uint32_t length)
{
    struct span *span = &region->span[first];
    unsigned bin = bin_of_length(length);

    region->span[first + length - 1].kind = SPAN_FREE_INNER;
    region->span[first + length - 1].length = length;
    span->kind = SPAN_FREE;
    span->length = length;
    span->previous = NO_SPAN;
    span->next = region->bins[bin];
    if (span->next != NO_SPAN)
        region->span[span->next].previous = first;
    region->bins[bin] = first;
    region->filled[bin / 64] |= 1ull << (bin % 64);
}

/* Give spans back: merge with free neighbours, or with the untouched rest of the region. */
static void run_free(struct region *region, uint32_t first, uint32_t length)
{
    uint32_t after = first + length;

    if (after < region->frontier && region->span[after].kind == SPAN_FREE) {
        uint32_t more = region->span[after].length;

        run_unlink(region, after);
        region->span[after].kind = SPAN_UNUSED;
        length += more;
    }
    if (first > 0) {
        const struct span *before = &region->span[first - 1];

        if (before->kind == SPAN_FREE || before->kind == SPAN_FREE_INNER) {
            uint32_t more = before->length;

            run_unlink(region, first - more);
            first -= more;
            length += more;
        }
    }
    if (first + length == region->frontier) {
        region->span[first].kind = SPAN_UNUSED;
        region->span[first + length - 1].kind = SPAN_UNUSED;
        region->frontier = first;
        return;
    }
    run_link(region, first, length);
}

/* The most recently freed run of the best bin that can hold `length`. */
static uint32_t run_find(struct region *region, uint32_t length)
{
    unsigned bin = bin_of_length(length);

    /* A bin above 31 holds lengths from its own lower bound on, so look at each. */
    for (uint32_t first = region->bins[bin]; first != NO_SPAN; first = region->span[first].next)
        if (region->span[first].length >= length)
            return first;
    for (bin++; bin < BINS; bin++) {
        uint64_t rest = region->filled[bin / 64] >> (bin % 64);

        if (rest == 0) {
            bin |= 63;
            continue;
        }
        bin += (unsigned)__builtin_ctzll(rest);
        return region->bins[bin];
    }
    return NO_SPAN;
}

static uint32_t run_take(struct region *region, uint32_t length)
{
    uint32_t first = run_find(region, length);
    uint32_t rest;

    if (first != NO_SPAN) {
        run_unlink(region, first);
        rest = region->span[first].length - length;
        if (rest > 0)
            run_link(region, first + length, rest);
        return first;
    }
    if (length > region->spans - region->frontier)
        return NO_SPAN;
    first = region->frontier;
    region->frontier += length;
    return first;
}

/* Drop the blocks of empty spans from the stacks of free blocks. */
static void stacks_filter(struct region *region)
{
    for (unsigned class = 0; class < CLASSES; class ++) {
        struct stack *stack = &region->free[class];
        uint32_t kept = 0;

        for (uint32_t i = 0; i < stack->count; i++)
            if (region->span[stack->items[i] / SPAN_GRANULES].kind == SPAN_SMALL)
                stack->items[kept++] = stack->items[i];
        stack->count = kept;
    }
}

/* Make runs again of the spans whose small blocks are all free. Returns whether there were any. */
static bool small_spans_recover(struct region *region)
{
    bool found = false;

    for (uint32_t i = 0; i < region->frontier; i++) {
        struct span *span = &region->span[i];
        const uint64_t *allocated = &region->allocated[(size_t)i * (SPAN_GRANULES / 64)];
        uint64_t any = 0;

        if (span->kind != SPAN_SMALL)
            continue;
        for (unsigned word = 0; word < SPAN_GRANULES / 64; word++)
            any |= allocated[word];
        if (any != 0)
            continue;
        span->kind = SPAN_EMPTY;
        region->free[span->class].total -= REGION_SPAN / class_size[span->class];
        found = true;
    }
    if (!found)
        return false;
    stacks_filter(region);
    for (uint32_t i = 0; i < region->frontier; i++)
        if (region->span[i].kind == SPAN_EMPTY) {
            region->span[i].kind = SPAN_UNUSED;
            run_free(region, i, 1);
        }
    return true;
}

/* Empty spans of small blocks are looked for only when nothing else is left: it takes a while. */
static uint32_t run_alloc(struct region *region, uint32_t length)
{
    uint32_t first = run_take(region, length);

    if (first == NO_SPAN && small_spans_recover(region))
        first = run_take(region, length);
    return first;
}

/* ---- small blocks ---- */

static int stack_reserve(struct stack *stack, uint32_t total)
{
    uint32_t room = stack->room ? stack->room : 512;
    uint32_t *items;

    while (room < total)
        room *= 2;
    if (room == stack->room)
        return 0;
    items = realloc(stack->items, room * sizeof(*items));
    if (items == NULL)
        return -1;
    stack->items = items;
    stack->room = room;
    return 0;
}

/* Cut a span into blocks of a class. */
static int class_refill(struct region *region, unsigned class)
{
    struct stack *stack = &region->free[class];
    uint32_t count = REGION_SPAN / class_size[class];
    uint32_t first, base;

    if (stack_reserve(stack, stack->total + count) != 0)
        return -1;
    first = run_alloc(region, 1);
    if (first == NO_SPAN)
        return -1;
    stack->total += count;
    region->span[first].kind = SPAN_SMALL;
    region->span[first].class = (uint8_t) class;
    base = first * SPAN_GRANULES;
    /* Highest first, so that the lowest address is handed out first. */
    for (uint32_t i = count; i-- > 0;)
        stack->items[stack->count++] = base + i * (class_size[class] / GRANULE);
    return 0;
}

static uint64_t small_alloc(struct region *region, unsigned class)
{
    struct stack *stack = &region->free[class];
    uint32_t granule;

    if (stack->count == 0) {
        region_reclaim(region);
        if (stack->count == 0 && class_refill(region, class) != 0) {
            errno = ENOMEM;
            return 0;
        }
    }
    granule = stack->items[--stack->count];
    granule_set(region, granule);
    region_used_add(region, class_size[class]);
    return region->start + (uint64_t)granule * GRANULE;
}

static uint64_t large_alloc(struct region *region, size_t size)
{
    uint32_t length, first;

    if (size > region_limit(region)) {
        errno = EFBIG;
        return 0;
    }
    length = (uint32_t)((size + REGION_SPAN - 1) / REGION_SPAN);
    region_reclaim(region);
    first = run_alloc(region, length);
    if (first == NO_SPAN) {
        errno = ENOMEM;
        return 0;
    }
    region->span[first].kind = SPAN_RUN;
    region->span[first].length = length;
    if (length > 1)
        region->span[first + length - 1].kind = SPAN_RUN_INNER;
    granule_set(region, (uint64_t)first * SPAN_GRANULES);
    region_used_add(region, (int64_t)length * REGION_SPAN);
    return region->start + (uint64_t)first * REGION_SPAN;
}

uint64_t region_alloc(struct region *region, size_t size)
{
    if (size <= REGION_MAX_SMALL)
        return small_alloc(region, class_of_size[(size + GRANULE - 1) / GRANULE]);
    return large_alloc(region, size);
}

size_t region_block_size(const struct region *region, uint64_t offset)
{
    uint64_t inside = offset - region->start;
    const struct span *span;

    if (offset < region->start || inside >= region->segment->geometry.region_size ||
        inside % GRANULE != 0 || !granule_is_set(region, inside / GRANULE))
        return 0;
    span = &region->span[inside / REGION_SPAN];
    return span->kind == SPAN_SMALL ? class_size[span->class] : (size_t)span->length * REGION_SPAN;
}

/* Free a block if the offset is one. */
static bool region_release(struct region *region, uint64_t offset)
{
    size_t size = region_block_size(region, offset);
    uint64_t inside = offset - region->start;
    const struct span *span;

    if (size == 0)
        return false;
    granule_clear(region, inside / GRANULE);
    region_used_add(region, -(int64_t)size);
    span = &region->span[inside / REGION_SPAN];
    if (span->kind == SPAN_SMALL) {
        struct stack *stack = &region->free[span->class];

        stack->items[stack->count++] = (uint32_t)(inside / GRANULE);
    } else {
        run_free(region, (uint32_t)(inside / REGION_SPAN), span->length);
    }
    return true;
}

void region_free(struct region *region, uint64_t offset)
{
    region_release(region, offset);
}

/* Take in a block of the list, and those that it carries. Returns the offset of the next. */
static uint64_t returned_take(struct region *region, uint64_t offset, bool *refused)
{
    struct region_returned copy;

    *refused = true;
    if (!segment_offset_valid(region->segment, offset))
        return 0;
    memcpy(&copy, region->segment->base + offset, sizeof(copy));
    /* Somebody may still write there: the copy is what is looked at. */
    __asm__ volatile("" ::: "memory");
    if (copy.count >= REGION_RETURNS_BATCH || !region_release(region, offset))
        return 0;
    for (uint32_t i = 0; i < copy.count; i++)
        if (!region_release(region, region->start + (uint64_t)copy.granules[i] * GRANULE))
            return 0;
    region->returned += 1 + copy.count;
    *refused = false;
    return copy.next;
}

unsigned region_reclaim(struct region *region)
{
    struct segment_endpoint *endpoint = segment_endpoint(region->segment, region->slot);
    uint64_t offset;
    bool refused = false;

    if (atomic_load_explicit(&endpoint->returns, memory_order_relaxed) == 0)
        return 0;
    offset = atomic_exchange_explicit(&endpoint->returns, 0, memory_order_acquire);
    /* A circle ends the walk: it runs into a block that is free already. */
    while (offset != 0)
        offset = returned_take(region, offset, &refused);
    atomic_store_explicit(&endpoint->returned, region->returned, memory_order_relaxed);
    return refused;
}

uint64_t region_used(const struct region *region)
{
    return region->used;
}

uint64_t region_limit(const struct region *region)
{
    return (uint64_t)region->spans * REGION_SPAN;
}

/* ---- returning blocks to others ---- */

int region_returns_init(struct region_returns *returns, const struct segment *segment)
{
    returns->segment = segment;
    returns->pending = 0;
    returns->chains = calloc(segment->geometry.slots, sizeof(*returns->chains));
    return returns->chains == NULL ? -1 : 0;
}

void region_returns_free(struct region_returns *returns)
{
    free(returns->chains);
    returns->chains = NULL;
}

static struct region_returned *returned_block(const struct segment *segment, uint64_t offset)
{
    return (struct region_returned *)(void *)(segment->base + offset);
}

static void chain_flush(struct region_returns *returns, uint32_t slot)
{
    struct return_chain *chain = &returns->chains[slot];
    struct segment_endpoint *endpoint = segment_endpoint(returns->segment, slot);
    struct region_returned *block = returned_block(returns->segment, chain->first);
    uint64_t head = atomic_load_explicit(&endpoint->returns, memory_order_relaxed);
    uint32_t carried = chain->count - 1;

    block->count = carried;
    memcpy(block->granules, chain->granules, carried * sizeof(*chain->granules));
    do
        block->next = head;
    while (!atomic_compare_exchange_weak_explicit(&endpoint->returns, &head, chain->first,
                                                  memory_order_release, memory_order_relaxed));
    returns->pending -= chain->count;
    chain->count = 0;
}

void region_returns_add(struct region_returns *returns, uint64_t offset, bool now)
{
    const struct segment_geometry *geometry = &returns->segment->geometry;
    uint64_t inside = offset - geometry->regions;
    uint32_t slot = (uint32_t)(inside / geometry->region_size);
    struct return_chain *chain = &returns->chains[slot];

    if (chain->count == 0)
        chain->first = offset;
    else
        chain->granules[chain->count - 1] =
            (uint32_t)((inside - slot * geometry->region_size) / GRANULE);
    chain->count++;
    returns->pending++;
    if (now || chain->count == REGION_RETURNS_BATCH)
        chain_flush(returns, slot);
}

void region_returns_flush(struct region_returns *returns)
{
    for (uint32_t slot = 0; returns->pending > 0 && slot < returns->segment->geometry.slots; slot++)
        if (returns->chains[slot].count > 0)
            chain_flush(returns, slot);
}
