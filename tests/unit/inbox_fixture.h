/*
 * A segment of some producers, a PE that reads and a router.
 */
#ifndef C4P_TESTS_INBOX_FIXTURE_H
#define C4P_TESTS_INBOX_FIXTURE_H

#include "tests/unit/unit.h"

#include "proto/inbox.h"

#define MIB (1ull << 20)
#define PRODUCERS 3

/* Slots of the test segment: producers first, then the PE that reads, then the router. */
#define READER PRODUCERS
#define ROUTER (PRODUCERS + 1)

static inline int set_up(void **state)
{
    struct segment *segment = malloc(sizeof(*segment));

    watchdog_start(state);
    test_segment_create(segment, PRODUCERS + 1, 4 * MIB);
    *state = segment;
    return 0;
}

static inline int tear_down(void **state)
{
    segment_close(*state);
    free(*state);
    return watchdog_stop(state);
}

#define inbox_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

/* The i-th block of the first region, for tests that need no allocator. */
static inline uint64_t place(const struct segment *segment, unsigned i)
{
    return segment->geometry.regions + 128 * i;
}

static inline uint64_t eventfd_take(const struct segment *segment)
{
    uint64_t count = 0;

    return read(segment->router_wake, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

#endif
