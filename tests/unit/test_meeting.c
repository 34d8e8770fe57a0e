#include "tests/unit/unit.h"

#include "proto/meeting.h"
#include "proto/region.h"

#define MIB (1ull << 20)
#define PES 4
#define MOST 5

static int set_up(void **state)
{
    struct segment *segment = malloc(sizeof(*segment));

    watchdog_start(state);
    test_segment_create(segment, PES, 4 * MIB);
    *state = segment;
    return 0;
}

static int tear_down(void **state)
{
    segment_close(*state);
    free(*state);
    return watchdog_stop(state);
}

#define meeting_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

/* Make the i-th block of the first region a partial of a reduction. */
static uint64_t partial(const struct segment *segment, unsigned i, uint64_t collection,
                        uint32_t sequence)
{
    uint64_t offset = segment->geometry.regions + 128 * i;
    struct c4p_envelope *block = segment_block(segment, offset);

    memset(block, 0, sizeof(*block));
    block->version = C4P_ENVELOPE_VERSION;
    block->kind = C4P_PARTIAL;
    block->collection = collection;
    block->sequence = sequence;
    return offset;
}

static bool table_is_empty(const struct segment *segment)
{
    for (unsigned i = 0; i < SEGMENT_BUCKETS; i++)
        if (segment_buckets(segment)[i].first != 0 || segment_buckets(segment)[i].lock != 0)
            return false;
    return true;
}

/* The chain holds exactly these blocks, each once, fit for use as messages. */
static void assert_chain_is(const struct segment *segment, uint64_t chain, const uint64_t *blocks,
                            unsigned count)
{
    bool seen[64] = {false};
    unsigned found = 0;

    for (; chain != 0; chain = segment_block(segment, chain)->next) {
        unsigned i = 0;

        while (i < count && blocks[i] != chain)
            i++;
        assert_true(i < count);
        assert_false(seen[i]);
        assert_int_equal(segment_block(segment, chain)->body, 0);
        seen[i] = true;
        found++;
    }
    assert_int_equal(found, count);
}

/* ---- orders of arrival ---- */

/* Next permutation in lexicographic order; false after the last. */
static bool permute(unsigned *order, unsigned count)
{
    unsigned i = count - 1, j = count - 1, k;

    while (i > 0 && order[i - 1] >= order[i])
        i--;
    if (i == 0)
        return false;
    while (order[j] <= order[i - 1])
        j--;
    k = order[i - 1], order[i - 1] = order[j], order[j] = k;
    for (j = count - 1; i < j; i++, j--)
        k = order[i], order[i] = order[j], order[j] = k;
    return true;
}

/* The one that arrives as the last gets all others, the earlier ones nothing. */
static void arrive_in_order(const struct segment *segment, const unsigned *order, unsigned count,
                            const uint64_t *counts, bool ask_first)
{
    uint64_t blocks[MOST], others, expected = 0;

    for (unsigned i = 0; i < count; i++) {
        blocks[i] = partial(segment, order[i], 1ull << 32 | 7, 3);
        expected += counts[order[i]];
    }
    for (unsigned i = 0; i < count; i++) {
        bool last = i == count - 1;

        if (ask_first) {
            assert_int_equal(
                meeting_is_last(segment, 1ull << 32 | 7, 3, counts[order[i]], expected, &others),
                last);
            assert_int_equal(errno, 0);
            if (last)
                break;
        }
        assert_int_equal(meeting_arrive(segment, blocks[i], counts[order[i]], expected, &others),
                         last);
        assert_int_equal(errno, 0);
        if (!last)
            assert_int_equal(others, 0);
    }
    assert_chain_is(segment, others, blocks, count - 1);
    assert_true(table_is_empty(segment));
}

static void whoever_comes_last_gets_all_others(void **state)
{
    static const uint64_t counts[][MOST] = {
        {1, 1, 1, 1, 1}, {1, 2, 3, 4, 5}, {7, 1, 1, 1, 1}, {1ull << 40, 1, 1ull << 33, 2, 1000000}};

    for (size_t set = 0; set < sizeof(counts) / sizeof(*counts); set++)
        for (unsigned count = 1; count <= MOST; count++) {
            unsigned order[MOST] = {0, 1, 2, 3, 4};

            do {
                arrive_in_order(*state, order, count, counts[set], false);
                arrive_in_order(*state, order, count, counts[set], true);
            } while (permute(order, count));
        }
}

static void who_brings_everything_completes_alone(void **state)
{
    const struct segment *segment = *state;
    uint64_t others = 99;

    assert_true(meeting_arrive(segment, partial(segment, 0, 1, 1), 5, 5, &others));
    assert_int_equal(others, 0);
    others = 99;
    assert_true(meeting_is_last(segment, 1, 1, 5, 5, &others));
    assert_int_equal(others, 0);
    assert_true(table_is_empty(segment));
}

static void asking_leaves_nothing_behind(void **state)
{
    const struct segment *segment = *state;
    uint64_t block = partial(segment, 0, 1, 1), others;

    assert_false(meeting_is_last(segment, 1, 1, 2, 4, &others));
    assert_true(table_is_empty(segment));
    assert_false(meeting_arrive(segment, block, 1, 4, &others));
    for (unsigned i = 0; i < 5; i++)
        assert_false(meeting_is_last(segment, 1, 1, 2, 4, &others));
    assert_true(meeting_is_last(segment, 1, 1, 3, 4, &others));
    assert_chain_is(segment, others, &block, 1);
    assert_true(table_is_empty(segment));
}

static void reductions_differ_by_collection_and_by_sequence(void **state)
{
    const struct segment *segment = *state;
    static const uint64_t collections[] = {1, 2, 1ull << 32 | 1, 1ull << 32, 0x7fffffffull << 32};
    uint64_t first[5][5], others;

    for (unsigned i = 0; i < 5; i++)
        for (uint32_t j = 0; j < 5; j++) {
            first[i][j] = partial(segment, 5 * i + j, collections[i], j);
            assert_false(meeting_arrive(segment, first[i][j], 1, 2, &others));
        }
    for (unsigned i = 0; i < 5; i++)
        for (uint32_t j = 0; j < 5; j++) {
            uint64_t second = partial(segment, 100, collections[i], j);

            assert_true(meeting_arrive(segment, second, 1, 2, &others));
            assert_chain_is(segment, others, &first[i][j], 1);
        }
    assert_true(table_is_empty(segment));
}

/* More reductions than buckets, so that several share one; completed in a random order. */
static void reductions_in_one_bucket_do_not_disturb_each_other(void **state)
{
    enum { REDUCTIONS = 3 * SEGMENT_BUCKETS };
    const struct segment *segment = *state;
    struct dice dice = dice_seeded(first_seed());
    uint32_t order[REDUCTIONS];
    uint64_t others;

    for (uint32_t i = 0; i < REDUCTIONS; i++) {
        order[i] = i;
        for (unsigned j = 0; j < 2; j++)
            assert_false(meeting_arrive(segment, partial(segment, 3 * i + j, 5, i), 1, 3, &others));
    }
    for (uint32_t i = REDUCTIONS - 1; i > 0; i--) {
        uint32_t j = (uint32_t)dice_below(&dice, i + 1), swapped = order[i];

        order[i] = order[j];
        order[j] = swapped;
    }
    for (uint32_t i = 0; i < REDUCTIONS; i++) {
        uint64_t blocks[2] = {segment->geometry.regions + 128 * (3 * order[i]),
                              segment->geometry.regions + 128 * (3 * order[i] + 1)};

        assert_true(meeting_arrive(segment, partial(segment, 3 * order[i] + 2, 5, order[i]), 1, 3,
                                   &others));
        assert_chain_is(segment, others, blocks, 2);
    }
    assert_true(table_is_empty(segment));
}

static void a_reduction_can_be_used_again_when_it_is_over(void **state)
{
    const struct segment *segment = *state;
    uint64_t others;

    for (unsigned i = 0; i < 10; i++) {
        uint64_t first = partial(segment, 0, 1, 1);

        assert_false(meeting_arrive(segment, first, 1, 2, &others));
        assert_true(meeting_arrive(segment, partial(segment, 1, 1, 1), 1, 2, &others));
        assert_chain_is(segment, others, &first, 1);
    }
}

/* ---- corrupt tables ---- */

static struct segment_bucket *bucket_in_use(const struct segment *segment)
{
    for (unsigned i = 0; i < SEGMENT_BUCKETS; i++)
        if (segment_buckets(segment)[i].first != 0)
            return &segment_buckets(segment)[i];
    fail_msg("no bucket is in use");
    return NULL;
}

static void assert_arrival_is_corrupt(const struct segment *segment, uint64_t expected)
{
    uint64_t others = 99;

    assert_false(meeting_arrive(segment, partial(segment, 50, 1, 1), 1, expected, &others));
    assert_int_equal(errno, EBADMSG);
    assert_int_equal(others, 0);
    /* The lock is not left behind. */
    errno = 0;
    assert_false(meeting_is_last(segment, 1, 1, 1, expected, &others));
    for (unsigned i = 0; i < SEGMENT_BUCKETS; i++)
        assert_int_equal(segment_buckets(segment)[i].lock, 0);
}

static void wrong_offsets(const struct segment *segment, uint64_t *wrong)
{
    const uint64_t offsets[] = {1,
                                64,
                                segment->geometry.regions - 64,
                                segment->geometry.regions + 8,
                                segment->geometry.size - 64,
                                UINT64_MAX};

    memcpy(wrong, offsets, sizeof(offsets));
}

static void a_bucket_that_holds_no_offset_is_found(void **state)
{
    const struct segment *segment = *state;
    uint64_t wrong[6], others;

    wrong_offsets(segment, wrong);
    for (unsigned i = 0; i < 6; i++) {
        struct segment_bucket *bucket;

        assert_false(meeting_arrive(segment, partial(segment, 0, 1, 1), 1, 3, &others));
        bucket = bucket_in_use(segment);
        bucket->first = wrong[i];
        assert_arrival_is_corrupt(segment, 3);
        bucket->first = segment->geometry.regions;
        segment_block(segment, segment->geometry.regions)->sequence = 99;
        segment_block(segment, segment->geometry.regions)->next = wrong[i];
        assert_arrival_is_corrupt(segment, 3);
        bucket->first = 0;
    }
}

/* Other reductions in the same bucket, linked into a circle that begins anywhere. */
static void a_circle_in_a_bucket_is_found(void **state)
{
    const struct segment *segment = *state;
    uint64_t others;

    for (unsigned length = 1; length < 20; length++)
        for (unsigned back = 0; back < length; back++) {
            struct segment_bucket *bucket;

            assert_false(meeting_arrive(segment, partial(segment, 0, 1, 1), 1, 3, &others));
            bucket = bucket_in_use(segment);
            for (unsigned i = 0; i < length; i++) {
                struct c4p_envelope *block = segment_block(segment, partial(segment, i, 1, 99));

                block->next = segment->geometry.regions + 128 * (i + 1 < length ? i + 1 : back);
            }
            assert_arrival_is_corrupt(segment, 3);
            bucket->first = 0;
        }
}

static void a_reduction_whose_partials_are_no_offsets_is_found(void **state)
{
    const struct segment *segment = *state;
    uint64_t wrong[6], others;

    wrong_offsets(segment, wrong);
    for (unsigned i = 0; i < 6; i++)
        for (unsigned behind = 1; behind < 4; behind++) {
            for (unsigned j = 0; j < behind; j++)
                assert_false(
                    meeting_arrive(segment, partial(segment, j, 1, 1), 1, behind + 1, &others));
            segment_block(segment, segment->geometry.regions + 128 * (behind > 1))->body = wrong[i];
            assert_arrival_is_corrupt(segment, behind + 1);
            assert_true(table_is_empty(segment));
        }
}

static void a_circle_of_partials_is_found(void **state)
{
    const struct segment *segment = *state;
    uint64_t others;

    for (unsigned length = 1; length < 20; length++)
        for (unsigned back = 0; back < length; back++) {
            assert_false(
                meeting_arrive(segment, partial(segment, 0, 1, 1), length, length + 1, &others));
            for (unsigned i = 0; i < length; i++)
                segment_block(segment, segment->geometry.regions + 128 * i)->body =
                    segment->geometry.regions + 128 * (i + 1 < length ? i + 1 : back);
            assert_arrival_is_corrupt(segment, length + 1);
            assert_true(table_is_empty(segment));
            memset(segment->base + segment->geometry.regions, 0, 128 * 20);
        }
}

/* ---- many at once ---- */

/* Kept in the last region, which nobody allocates from: it is shared by processes as well. */
static _Atomic uint32_t *completions(const struct segment *segment, uint32_t reductions)
{
    uint64_t room = segment->geometry.region_size;

    require(reductions * sizeof(uint32_t) <= room);
    return (_Atomic uint32_t *)(void *)(segment->base + segment->geometry.size - room);
}

/* Every participant brings one partial to every reduction, each in an order of its own. */
struct participant {
    const struct segment *segment;
    uint32_t number;
    uint32_t reductions;
    _Atomic uint32_t *completed; /* how often each reduction was completed, shared by all */
};

static uint64_t value_of(uint32_t participant, uint32_t reduction)
{
    return (uint64_t)(participant + 1) * 1000003 + reduction;
}

static void combine(const struct participant *own, uint32_t reduction, uint64_t others,
                    struct region_returns *returns)
{
    const struct segment *segment = own->segment;
    bool seen[PES] = {false};
    unsigned count = 1;

    seen[own->number] = true;
    while (others != 0) {
        struct c4p_envelope *block = segment_block(segment, others);
        uint64_t next = block->next;

        require(block->sequence == reduction && block->collection == 42);
        require(block->source < PES && !seen[block->source]);
        require(*(uint64_t *)(void *)(block + 1) == value_of(block->source, reduction));
        require(block->body == 0);
        seen[block->source] = true;
        count++;
        region_returns_add(returns, others, false);
        others = next;
    }
    require(count == PES);
    require(atomic_fetch_add(&own->completed[reduction], 1) == 0);
}

static uint64_t make_partial(const struct participant *own, struct region *region,
                             uint32_t reduction)
{
    struct c4p_envelope *block;
    uint64_t offset = region_alloc(region, sizeof(*block) + sizeof(uint64_t));

    require(offset != 0);
    block = segment_block(own->segment, offset);
    memset(block, 0, sizeof(*block));
    block->source = own->number;
    block->collection = 42;
    block->sequence = reduction;
    *(uint64_t *)(void *)(block + 1) = value_of(own->number, reduction);
    return offset;
}

static void participate(const struct participant *own)
{
    struct region *region = region_create(own->segment, own->number);
    struct dice dice = dice_seeded(first_seed() * 1000 + own->number);
    struct region_returns returns;

    require(region != NULL && region_returns_init(&returns, own->segment) == 0);
    /* In windows of 16, the order inside one is random: many are open at once. */
    for (uint32_t i = 0; i < own->reductions; i += 16) {
        uint32_t turn = (uint32_t)dice_below(&dice, 16);

        for (uint32_t j = 0; j < 16; j++) {
            uint32_t reduction = i + (j * 5 + turn) % 16;
            uint64_t offset, others, count = 1 + own->number, expected = PES * (PES + 1) / 2;

            if (turn % 2 == 0 &&
                meeting_is_last(own->segment, 42, reduction, count, expected, &others)) {
                combine(own, reduction, others, &returns);
                continue;
            }
            require(errno == 0 || turn % 2 != 0);
            offset = make_partial(own, region, reduction);
            if (meeting_arrive(own->segment, offset, count, expected, &others)) {
                combine(own, reduction, others, &returns);
                region_free(region, offset);
            }
            require(errno == 0);
        }
        region_returns_flush(&returns);
    }
    region_returns_free(&returns);
    region_destroy(region);
}

static void *participate_in_thread(void *argument)
{
    participate(argument);
    return NULL;
}

static void participate_in_child(const struct segment *segment, void *argument)
{
    struct participant own = *(struct participant *)argument;

    own.segment = segment;
    own.completed = completions(segment, own.reductions);
    participate(&own);
}

static void assert_each_completed_once(const struct segment *segment, uint32_t reductions)
{
    for (uint32_t i = 0; i < reductions; i++)
        assert_int_equal(completions(segment, reductions)[i], 1);
    assert_true(table_is_empty(segment));
}

static uint32_t reductions_of_the_stress(void)
{
    uint64_t most = (4 * MIB) / 128 / 16 * 16; /* a region has room for all of one participant */
    uint64_t count = stress(32000);

    return (uint32_t)(count < most ? count : most);
}

static void each_reduction_of_many_threads_is_completed_by_exactly_one(void **state)
{
    const struct segment *segment = *state;
    uint32_t reductions = reductions_of_the_stress();
    struct participant participants[PES];
    pthread_t threads[PES];

    for (uint32_t i = 0; i < PES; i++) {
        participants[i] =
            (struct participant){segment, i, reductions, completions(segment, reductions)};
        threads[i] = thread_start(participate_in_thread, &participants[i]);
    }
    for (uint32_t i = 0; i < PES; i++)
        thread_join(threads[i]);
    assert_each_completed_once(segment, reductions);
}

static void each_reduction_of_many_processes_is_completed_by_exactly_one(void **state)
{
    const struct segment *segment = *state;
    uint32_t reductions = reductions_of_the_stress();
    pid_t children[PES];

    for (uint32_t i = 0; i < PES; i++) {
        struct participant own = {segment, i, reductions, completions(segment, reductions)};

        children[i] = child_start(participate_in_child, segment, &own);
    }
    for (uint32_t i = 0; i < PES; i++)
        child_join(children[i]);
    assert_each_completed_once(segment, reductions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        meeting_test(whoever_comes_last_gets_all_others),
        meeting_test(who_brings_everything_completes_alone),
        meeting_test(asking_leaves_nothing_behind),
        meeting_test(reductions_differ_by_collection_and_by_sequence),
        meeting_test(reductions_in_one_bucket_do_not_disturb_each_other),
        meeting_test(a_reduction_can_be_used_again_when_it_is_over),
        meeting_test(a_bucket_that_holds_no_offset_is_found),
        meeting_test(a_circle_in_a_bucket_is_found),
        meeting_test(a_reduction_whose_partials_are_no_offsets_is_found),
        meeting_test(a_circle_of_partials_is_found),
        meeting_test(each_reduction_of_many_threads_is_completed_by_exactly_one),
        meeting_test(each_reduction_of_many_processes_is_completed_by_exactly_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
