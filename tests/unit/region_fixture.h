/*
 * A segment, the allocator of one region of it and somebody who returns blocks to it.
 */
#ifndef C4P_TESTS_REGION_FIXTURE_H
#define C4P_TESTS_REGION_FIXTURE_H

#include "tests/unit/unit.h"

#include "proto/region.h"

#define MIB (1ull << 20)
#define REGION (8 * MIB)
#define GRANULES (REGION / 64)
#define OWNER 1u

struct fixture {
    struct segment segment;
    struct region *region;
    struct region_returns returns;
};

static inline int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    watchdog_start(state);
    test_segment_create(&f->segment, 4, REGION);
    f->region = region_create(&f->segment, OWNER);
    require(f->region != NULL);
    require(region_returns_init(&f->returns, &f->segment) == 0);
    *state = f;
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;

    region_returns_free(&f->returns);
    region_destroy(f->region);
    segment_close(&f->segment);
    free(f);
    return watchdog_stop(state);
}

#define region_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

static inline uint64_t region_start(const struct fixture *f)
{
    return f->segment.geometry.regions + OWNER * REGION;
}

static inline _Atomic uint64_t *returns_word(const struct fixture *f)
{
    return &segment_endpoint(&f->segment, OWNER)->returns;
}

/* Everything is free: one block can have it all. */
static inline void assert_all_free_and_whole(struct region *region)
{
    uint64_t offset;

    region_reclaim(region);
    assert_int_equal(region_used(region), 0);
    offset = region_alloc(region, region_limit(region));
    assert_int_not_equal(offset, 0);
    region_free(region, offset);
    assert_int_equal(region_used(region), 0);
}

/* Put a list there that nobody has checked. */
static inline void return_raw(const struct fixture *f, uint64_t offset)
{
    atomic_store(returns_word(f), offset);
}

/* Make a block of such a list: it links to another, and carries none. */
static inline struct region_returned *returned_raw(const struct fixture *f, uint64_t offset,
                                                   uint64_t next)
{
    struct region_returned *block = (void *)(f->segment.base + offset);

    block->next = next;
    block->count = 0;
    return block;
}

static inline uint32_t granule_of(const struct fixture *f, uint64_t offset)
{
    return (uint32_t)((offset - region_start(f)) / 64);
}

#endif
