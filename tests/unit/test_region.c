#include "tests/unit/region_fixture.h"

#include <sched.h>

#include "proto/inbox.h"
#include "tests/unit/stepper.h"

#define READERS 3

/* ---- sizes and limits ---- */

static void a_block_is_aligned_and_has_what_was_asked_for(void **state)
{
    struct fixture *f = *state;

    for (size_t size = 0; size < 300000; size = size < 20000 ? size + 31 : size + 5000) {
        uint64_t offset = region_alloc(f->region, size);
        size_t real = region_block_size(f->region, offset);

        assert_int_not_equal(offset, 0);
        assert_int_equal(offset % 64, 0);
        assert_true(segment_offset_valid(&f->segment, offset));
        assert_int_equal(segment_owner(&f->segment, offset), OWNER);
        assert_true(real >= size && real >= C4P_ENVELOPE_SIZE);
        /* Never much more than was asked for. */
        assert_true(real <= 128 || real <= size + size / 2 + 64 ||
                    (size > REGION_MAX_SMALL && real < size + REGION_SPAN));
        assert_int_equal(region_used(f->region), real);
        region_free(f->region, offset);
        assert_int_equal(region_used(f->region), 0);
    }
    assert_all_free_and_whole(f->region);
}

static void a_block_larger_than_the_region_is_refused_for_good(void **state)
{
    static const size_t sizes[] = {REGION + 1, 2 * REGION,   1ull << 32,
                                   1ull << 48, SIZE_MAX / 2, SIZE_MAX - REGION_SPAN,
                                   SIZE_MAX};
    struct fixture *f = *state;

    assert_int_equal(region_limit(f->region), REGION);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        errno = 0;
        assert_int_equal(region_alloc(f->region, sizes[i]), 0);
        assert_int_equal(errno, EFBIG);
    }
    assert_all_free_and_whole(f->region);
}

static void an_exhausted_region_says_so_and_works_again_when_something_is_freed(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {100, 5000, 16384, 16385, 100000, MIB};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        uint64_t *blocks = calloc(GRANULES, sizeof(*blocks));
        size_t count = 0;

        while ((blocks[count] = region_alloc(f->region, sizes[i])) != 0)
            count++;
        assert_int_equal(errno, ENOMEM);
        assert_true(region_used(f->region) > REGION * 9 / 10);
        assert_true(region_used(f->region) <= REGION);
        region_free(f->region, blocks[count / 2]);
        assert_int_equal(region_alloc(f->region, sizes[i]), blocks[count / 2]);
        assert_int_equal(region_alloc(f->region, sizes[i]), 0);
        while (count > 0)
            region_free(f->region, blocks[--count]);
        assert_all_free_and_whole(f->region);
        free(blocks);
    }
}

static void the_last_byte_of_the_largest_region_can_be_had(void **state)
{
    struct segment_geometry geometry = {
        .pes = 1, .local_pes = 1, .nodes = 1, .region_size = SEGMENT_MAX_REGION};
    struct segment segment;
    struct region *region;
    uint64_t rest, last = 0, offset;

    (void)state;
    if (segment_create(&segment, &geometry, NULL) != 0)
        skip(); /* a sanitizer, or a limit of the system, leaves too little of the address space */
    region = region_create(&segment, 15);
    require(region != NULL);
    rest = region_alloc(region, SEGMENT_MAX_REGION - REGION_SPAN);
    assert_int_not_equal(rest, 0);
    while ((offset = region_alloc(region, REGION_MAX_SMALL)) != 0)
        last = offset;
    assert_int_equal(last, segment.geometry.regions + 16 * SEGMENT_MAX_REGION - REGION_MAX_SMALL);
    assert_int_equal(region_block_size(region, last), REGION_MAX_SMALL);
    region_destroy(region);
    segment_close(&segment);
}

static void what_is_freed_is_used_again_first(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {96, 1000, 20000, MIB};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        uint64_t first = region_alloc(f->region, sizes[i]);
        uint64_t second = region_alloc(f->region, sizes[i]);
        uint64_t third = region_alloc(f->region, sizes[i]);

        region_free(f->region, second);
        assert_int_equal(region_alloc(f->region, sizes[i]), second);
        region_free(f->region, third);
        region_free(f->region, first);
        assert_int_equal(region_alloc(f->region, sizes[i]), first);
        region_free(f->region, first);
        region_free(f->region, second);
    }
}

static void small_blocks_that_are_free_make_room_for_a_large_one(void **state)
{
    struct fixture *f = *state;
    uint64_t *blocks = calloc(GRANULES, sizeof(*blocks));
    size_t count = 0, kept;

    while ((blocks[count] = region_alloc(f->region, 96)) != 0)
        count++;
    for (size_t i = 0; i < count; i++)
        region_returns_add(&f->returns, blocks[i], false);
    region_returns_flush(&f->returns);
    assert_all_free_and_whole(f->region);

    /* One that is still in use keeps its span, and no other. */
    for (count = 0; (blocks[count] = region_alloc(f->region, 96)) != 0;)
        count++;
    kept = count / 3;
    for (size_t i = 0; i < count; i++)
        if (i != kept)
            region_free(f->region, blocks[i]);
    assert_int_equal(region_used(f->region), 128);
    assert_int_equal(region_alloc(f->region, REGION), 0);
    assert_int_equal(errno, ENOMEM);
    assert_int_not_equal(region_alloc(f->region, REGION / 2), 0);
    assert_int_equal(region_block_size(f->region, blocks[kept]), 128);
    /* And its neighbours there can be had. */
    assert_int_not_equal(region_alloc(f->region, 96), 0);
    free(blocks);
}

static void one_size_of_small_blocks_makes_room_for_another(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {96, 16384, 200, 3000, 96};
    uint64_t *blocks = calloc(GRANULES, sizeof(*blocks));

    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        size_t count = 0;

        while ((blocks[count] = region_alloc(f->region, sizes[i])) != 0)
            count++;
        assert_true(count * sizes[i] > REGION / 2);
        while (count > 0)
            region_free(f->region, blocks[--count]);
    }
    assert_all_free_and_whole(f->region);
    free(blocks);
}

static void the_bytes_in_use_are_published_in_the_slot(void **state)
{
    struct fixture *f = *state;
    _Atomic uint64_t *used = &segment_endpoint(&f->segment, OWNER)->used;
    uint64_t small = region_alloc(f->region, 96), large = region_alloc(f->region, 100000);

    assert_int_equal(atomic_load(used), 128 + 2 * REGION_SPAN);
    region_free(f->region, small);
    assert_int_equal(atomic_load(used), 2 * REGION_SPAN);
    region_free(f->region, large);
    assert_int_equal(atomic_load(used), 0);
}

/* ---- returning ---- */

static void returns_are_gathered_and_pushed_together(void **state)
{
    struct fixture *f = *state;
    uint64_t blocks[REGION_RETURNS_BATCH];

    for (unsigned i = 0; i < REGION_RETURNS_BATCH; i++)
        blocks[i] = region_alloc(f->region, 96);
    for (unsigned i = 0; i < REGION_RETURNS_BATCH - 1; i++)
        region_returns_add(&f->returns, blocks[i], false);
    assert_int_equal(f->returns.pending, REGION_RETURNS_BATCH - 1);
    assert_int_equal(atomic_load(returns_word(f)), 0);
    assert_int_equal(region_reclaim(f->region), 0);
    assert_int_equal(region_used(f->region), REGION_RETURNS_BATCH * 128);

    region_returns_add(&f->returns, blocks[REGION_RETURNS_BATCH - 1], false);
    assert_int_equal(f->returns.pending, 0);
    assert_int_not_equal(atomic_load(returns_word(f)), 0);
    assert_int_equal(region_reclaim(f->region), 0);
    assert_int_equal(region_used(f->region), 0);
}

static void a_batch_is_one_block_that_carries_the_places_of_the_others(void **state)
{
    struct fixture *f = *state;
    uint64_t before = region_alloc(f->region, 96), blocks[3];
    const uint8_t expected[] = "\x00\x00\xa0\x00\x00\x00\x00\x00" /* next: the one before */
                               "\x02\x00\x00\x00"                 /* carries 2 */
                               "\x00\x04\x00\x00"                 /* 64 KiB / 64 */
                               "\x04\x00\x00\x00";                /* 256 / 64 */

    blocks[0] = region_alloc(f->region, 96);
    blocks[1] = region_alloc(f->region, 100000);
    blocks[2] = region_alloc(f->region, 96);
    assert_int_equal(before, 2 * MIB + REGION);
    region_returns_add(&f->returns, before, true);
    for (unsigned i = 0; i < 3; i++)
        region_returns_add(&f->returns, blocks[i], false);
    region_returns_flush(&f->returns);
    assert_int_equal(atomic_load(returns_word(f)), blocks[0]);
    assert_memory_equal(f->segment.base + blocks[0], expected, sizeof(expected) - 1);
    assert_all_free_and_whole(f->region);
}

static void a_flush_returns_what_was_gathered_for_every_owner(void **state)
{
    struct fixture *f = *state;
    struct region *other = region_create(&f->segment, 0);
    struct region *router = region_create(&f->segment, segment_router_slot(&f->segment));

    region_returns_flush(&f->returns);
    region_returns_add(&f->returns, region_alloc(f->region, 96), false);
    region_returns_add(&f->returns, region_alloc(other, 5000), false);
    region_returns_add(&f->returns, region_alloc(router, 50000), false);
    region_returns_add(&f->returns, region_alloc(other, 96), false);
    assert_int_equal(f->returns.pending, 4);
    region_returns_flush(&f->returns);
    assert_int_equal(f->returns.pending, 0);
    assert_all_free_and_whole(f->region);
    assert_all_free_and_whole(other);
    assert_all_free_and_whole(router);
    region_destroy(other);
    region_destroy(router);
}

static void a_block_can_be_returned_at_once_with_all_gathered_before(void **state)
{
    struct fixture *f = *state;

    region_returns_add(&f->returns, region_alloc(f->region, 96), false);
    region_returns_add(&f->returns, region_alloc(f->region, MIB), true);
    assert_int_equal(f->returns.pending, 0);
    assert_all_free_and_whole(f->region);
}

static void an_allocation_takes_returned_blocks_in_by_itself(void **state)
{
    struct fixture *f = *state;
    uint64_t large = region_alloc(f->region, REGION);

    assert_int_equal(region_alloc(f->region, 96), 0);
    region_returns_add(&f->returns, large, true);
    assert_int_not_equal(region_alloc(f->region, 96), 0);
    assert_int_equal(region_used(f->region), 128);
}

/* ---- hostile return lists ---- */

static void offsets_that_are_no_blocks_in_use_are_refused(void **state)
{
    struct fixture *f = *state;
    uint64_t small = region_alloc(f->region, 1000), large = region_alloc(f->region, 200000);
    uint64_t freed = region_alloc(f->region, 1000), freed_large = region_alloc(f->region, 100000);
    uint64_t used;
    const uint64_t wrong[] = {1,
                              64,
                              4096,
                              f->segment.geometry.regions - 64,
                              f->segment.geometry.regions,
                              region_start(f) - 64,
                              region_start(f) + REGION,
                              f->segment.geometry.size,
                              f->segment.geometry.size - 64,
                              UINT64_MAX,
                              UINT64_MAX - 63,
                              small + 8,
                              small + 64,
                              small + 1024,
                              large + 64,
                              large + REGION_SPAN,
                              large + 200000,
                              freed,
                              freed_large,
                              region_start(f) + REGION - 128};

    region_free(f->region, freed);
    region_free(f->region, freed_large);
    used = region_used(f->region);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        return_raw(f, wrong[i]);
        assert_int_equal(region_reclaim(f->region), 1);
        assert_int_equal(region_used(f->region), used);
        region_free(f->region, wrong[i]);
        assert_int_equal(region_used(f->region), used);
        assert_int_equal(region_block_size(f->region, wrong[i]), 0);
    }
    assert_int_equal(region_block_size(f->region, small), 1024);
    assert_int_equal(region_block_size(f->region, large), 4 * REGION_SPAN);
    region_free(f->region, small);
    region_free(f->region, large);
    assert_all_free_and_whole(f->region);
}

static void a_block_returned_twice_is_freed_once(void **state)
{
    struct fixture *f = *state;
    uint64_t first = region_alloc(f->region, 96), second = region_alloc(f->region, 96);

    returned_raw(f, first, second);
    returned_raw(f, second, first);
    return_raw(f, first);
    assert_int_equal(region_reclaim(f->region), 1);
    assert_int_equal(region_used(f->region), 0);
    first = region_alloc(f->region, 96);
    second = region_alloc(f->region, 96);
    assert_int_not_equal(first, second);

    returned_raw(f, first, first);
    return_raw(f, first);
    assert_int_equal(region_reclaim(f->region), 1);
    assert_int_equal(region_used(f->region), 128);
    region_free(f->region, second);
    assert_all_free_and_whole(f->region);
}

static void what_is_in_front_of_a_wrong_offset_is_freed(void **state)
{
    struct fixture *f = *state;
    uint64_t first = region_alloc(f->region, 96), behind = region_alloc(f->region, 96);

    returned_raw(f, first, first + 64);
    return_raw(f, first);
    assert_int_equal(region_reclaim(f->region), 1);
    assert_int_equal(region_used(f->region), 128);
    assert_int_equal(region_block_size(f->region, behind), 128);
}

/* What a block carries: itself, a free one, the middle of one, a place outside. */
static void a_carried_place_that_is_no_block_in_use_is_refused(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 5; i++) {
        uint64_t first = region_alloc(f->region, 96), good = region_alloc(f->region, 1000);
        uint64_t behind = region_alloc(f->region, 96), free = region_alloc(f->region, 96);
        const uint32_t wrong[] = {granule_of(f, first), granule_of(f, free),
                                  granule_of(f, behind) + 1, GRANULES, UINT32_MAX};
        struct region_returned *block = returned_raw(f, first, behind);

        region_free(f->region, free);
        block->count = 3;
        block->granules[0] = granule_of(f, good);
        block->granules[1] = wrong[i];
        block->granules[2] = granule_of(f, behind);
        returned_raw(f, behind, 0);
        return_raw(f, first);
        assert_int_equal(region_reclaim(f->region), 1);
        assert_int_equal(region_block_size(f->region, first), 0);
        assert_int_equal(region_block_size(f->region, good), 0);
        assert_int_equal(region_block_size(f->region, behind), 128);
        region_free(f->region, behind);
        assert_all_free_and_whole(f->region);
    }
}

static void more_carried_places_than_a_block_has_are_refused(void **state)
{
    static const uint32_t counts[] = {REGION_RETURNS_BATCH, REGION_RETURNS_BATCH + 1, 1u << 30,
                                      UINT32_MAX};
    struct fixture *f = *state;
    uint64_t block = region_alloc(f->region, 96);

    for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
        returned_raw(f, block, 0)->count = counts[i];
        return_raw(f, block);
        assert_int_equal(region_reclaim(f->region), 1);
        assert_int_equal(region_block_size(f->region, block), 128);
    }
    region_free(f->region, block);
    assert_all_free_and_whole(f->region);
}

/* ---- returns from elsewhere ---- */

/* Reads what the owner sends it, checks it, gives it back; ends with a message of no body. */
static void read_and_return(const struct segment *segment, uint32_t slot)
{
    struct region_returns returns;
    bool last = false;

    require(region_returns_init(&returns, segment) == 0);
    while (!last) {
        uint64_t offset = inbox_take(segment, slot);

        require(errno == 0);
        while (offset != 0) {
            struct c4p_envelope *block = segment_block(segment, offset);
            uint64_t next = inbox_next(segment, offset);
            const uint8_t *body = (const uint8_t *)(block + 1);

            last = block->body_size == 0;
            for (uint64_t i = 0; i < block->body_size; i += 61)
                require(body[i] == (uint8_t)block->sequence);
            region_returns_add(&returns, offset, block->body_size > REGION_SPAN);
            offset = next;
        }
        if (!last && inbox_announce_sleep(segment, slot)) {
            region_returns_flush(&returns);
            require(inbox_sleep(segment, slot, -1) == 0);
        }
    }
    region_returns_flush(&returns);
    region_returns_free(&returns);
}

static uint32_t reader_slot(unsigned reader)
{
    return reader < OWNER ? reader : reader + 1;
}

static void send_bytes(const struct fixture *f, unsigned reader, uint64_t size, uint32_t number)
{
    struct c4p_envelope *block;
    uint64_t offset;

    while ((offset = region_alloc(f->region, C4P_ENVELOPE_SIZE + size)) == 0) {
        require(errno == ENOMEM);
        sched_yield();
    }
    block = segment_block(&f->segment, offset);
    block->body_size = size;
    block->sequence = number;
    memset(block + 1, (uint8_t)number, size);
    inbox_push(&f->segment, reader_slot(reader), offset);
}

static void send_to_readers(const struct fixture *f)
{
    struct dice dice = dice_seeded(first_seed());

    for (uint32_t i = 0; i < stress(20000); i++) {
        uint64_t size = 1 + dice_below(&dice, i % 50 == 0 ? MIB : i % 5 == 0 ? 20000 : 500);

        send_bytes(f, (unsigned)dice_below(&dice, READERS), size, i);
    }
    for (unsigned i = 0; i < READERS; i++)
        send_bytes(f, i, 0, 0);
}

struct reader {
    const struct segment *segment;
    uint32_t slot;
};

static void *reader_thread(void *argument)
{
    const struct reader *reader = argument;

    read_and_return(reader->segment, reader->slot);
    return NULL;
}

static void blocks_come_back_from_other_threads(void **state)
{
    struct fixture *f = *state;
    struct reader readers[READERS];
    pthread_t threads[READERS];

    for (unsigned i = 0; i < READERS; i++) {
        readers[i] = (struct reader){&f->segment, reader_slot(i)};
        threads[i] = thread_start(reader_thread, &readers[i]);
    }
    send_to_readers(f);
    for (unsigned i = 0; i < READERS; i++)
        thread_join(threads[i]);
    assert_all_free_and_whole(f->region);
}

static void reader_process(const struct segment *segment, void *argument)
{
    read_and_return(segment, *(uint32_t *)argument);
}

static void blocks_come_back_from_other_processes(void **state)
{
    struct fixture *f = *state;
    pid_t children[READERS];

    for (unsigned i = 0; i < READERS; i++) {
        uint32_t slot = reader_slot(i);

        children[i] = child_start(reader_process, &f->segment, &slot);
    }
    send_to_readers(f);
    for (unsigned i = 0; i < READERS; i++)
        child_join(children[i]);
    assert_all_free_and_whole(f->region);
}

static void *region_of_a_thread(void *argument)
{
    const struct reader *reader = argument;
    struct region *region = region_create(reader->segment, reader->slot);

    require(region != NULL);
    for (size_t size = 0; size < 100000; size += 97) {
        uint64_t offset = region_alloc(region, size);

        require(offset != 0 && segment_owner(reader->segment, offset) == reader->slot);
        region_free(region, offset);
    }
    region_destroy(region);
    return NULL;
}

static void regions_of_different_threads_have_nothing_in_common(void **state)
{
    struct fixture *f = *state;
    struct reader owners[READERS];
    pthread_t threads[READERS];

    for (unsigned i = 0; i < READERS; i++) {
        owners[i] = (struct reader){&f->segment, reader_slot(i)};
        threads[i] = thread_start(region_of_a_thread, &owners[i]);
    }
    for (unsigned i = 0; i < READERS; i++)
        thread_join(threads[i]);
}

/* ---- returners that are killed ---- */

#define HELD 3

/* Takes the message that carries the offsets to be returned. */
static void *return_prepare(const struct segment *segment)
{
    struct region_returns *returns = calloc(1, sizeof(*returns));

    require(region_returns_init(returns, segment) == 0);
    return returns;
}

static void return_act(const struct segment *segment, void *prepared)
{
    struct region_returns *returns = prepared;
    uint64_t start = segment->geometry.regions + OWNER * REGION;

    for (unsigned i = 0; i < HELD; i++)
        region_returns_add(returns, start + 128 * i, false);
    region_returns_flush(returns);
}

static void return_reset(const struct segment *segment, void *argument)
{
    struct fixture *f = argument;

    for (unsigned i = 0; i < HELD; i++)
        require(region_alloc(f->region, 96) ==
                segment->geometry.regions + OWNER * REGION + 128 * i);
    require(region_used(f->region) == HELD * 128);
}

static void return_check(const struct segment *segment, void *argument, bool survived)
{
    struct fixture *f = argument;

    (void)segment;
    require(region_reclaim(f->region) == 0);
    require(region_used(f->region) == 0 || (!survived && region_used(f->region) == HELD * 128));
    /* Afresh, so that the next child finds its blocks in the same places. */
    region_destroy(f->region);
    f->region = region_create(&f->segment, OWNER);
    require(f->region != NULL);
}

static void a_return_cut_off_between_any_two_instructions_has_happened_or_not(void **state)
{
    static const struct stepped giving_back = {return_prepare, return_act};
    struct fixture *f = *state;

    kill_at_every_instruction(&giving_back, &f->segment, return_reset, return_check, f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        region_test(a_block_is_aligned_and_has_what_was_asked_for),
        region_test(a_block_larger_than_the_region_is_refused_for_good),
        region_test(an_exhausted_region_says_so_and_works_again_when_something_is_freed),
        watched_test(the_last_byte_of_the_largest_region_can_be_had),
        region_test(what_is_freed_is_used_again_first),
        region_test(small_blocks_that_are_free_make_room_for_a_large_one),
        region_test(one_size_of_small_blocks_makes_room_for_another),
        region_test(the_bytes_in_use_are_published_in_the_slot),
        region_test(returns_are_gathered_and_pushed_together),
        region_test(a_batch_is_one_block_that_carries_the_places_of_the_others),
        region_test(a_flush_returns_what_was_gathered_for_every_owner),
        region_test(a_block_can_be_returned_at_once_with_all_gathered_before),
        region_test(an_allocation_takes_returned_blocks_in_by_itself),
        region_test(offsets_that_are_no_blocks_in_use_are_refused),
        region_test(a_block_returned_twice_is_freed_once),
        region_test(what_is_in_front_of_a_wrong_offset_is_freed),
        region_test(a_carried_place_that_is_no_block_in_use_is_refused),
        region_test(more_carried_places_than_a_block_has_are_refused),
        region_test(blocks_come_back_from_other_threads),
        region_test(blocks_come_back_from_other_processes),
        region_test(regions_of_different_threads_have_nothing_in_common),
        region_test(a_return_cut_off_between_any_two_instructions_has_happened_or_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
