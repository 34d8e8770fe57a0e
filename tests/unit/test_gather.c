#include "tests/unit/unit.h"

#include "daemon/router/gather.h"

#define MOST_NODES 60

/* A job: the first PEs of its nodes, and a core on each. */
struct job {
    uint32_t nodes;
    uint32_t first_pes[MOST_NODES + 1];
    struct gather *gather[MOST_NODES];
};

static void job_open(struct job *job, uint32_t nodes, const uint32_t *pes)
{
    job->nodes = nodes;
    job->first_pes[0] = 0;
    for (uint32_t i = 0; i < nodes; i++)
        job->first_pes[i + 1] = job->first_pes[i] + pes[i];
    for (uint32_t i = 0; i < nodes; i++)
        require((job->gather[i] = gather_create(job->first_pes, nodes, i)) != NULL);
}

static void job_close(struct job *job)
{
    for (uint32_t i = 0; i < job->nodes; i++) {
        require(gather_open(job->gather[i]) == 0);
        gather_destroy(job->gather[i], NULL, NULL);
    }
}

static uint32_t job_pes(const struct job *job)
{
    return job->first_pes[job->nodes];
}

static struct c4p_tail own_tail(const struct job *job, uint32_t node, enum placement placement,
                                uint64_t total)
{
    return (struct c4p_tail){.total = total,
                             .count =
                                 placement_count(placement, total, job_pes(job),
                                                 job->first_pes[node], job->first_pes[node + 1]),
                             .placement = (uint8_t)placement,
                             .operation = OP_SUM,
                             .origin = job->first_pes[node]};
}

/* Parts on their way. */
struct parcel {
    uint32_t from, to;
    struct c4p_tail tail;
};

static struct parcel parcels[4 * MOST_NODES];
static unsigned parcel_count;

static void parcel_send(uint32_t from, uint32_t to, const struct c4p_tail *tail)
{
    require(parcel_count < sizeof(parcels) / sizeof(*parcels));
    parcels[parcel_count++] = (struct parcel){from, to, *tail};
}

/* Parts go on, in any order, until the root has all: then they are in order, and each is there once.
 * Some nodes do not combine what they get. */
static void job_reduce(struct job *job, enum placement placement, uint64_t total, uint32_t sequence,
                       struct dice *dice)
{
    uint64_t arrived = 0;

    parcel_count = 0;
    for (uint32_t i = 0; i < job->nodes; i++) {
        struct c4p_tail tail = own_tail(job, i, placement, total);

        if (tail.count > 0)
            parcel_send(i, i, &tail);
    }
    while (parcel_count > 0) {
        uint64_t which = dice_below(dice, parcel_count);
        struct parcel parcel = parcels[which];
        struct gather_done done;

        parcels[which] = parcels[--parcel_count];
        if (gather_add(job->gather[parcel.to], parcel.from, 7, sequence, &parcel.tail,
                       parcel.tail.origin, &done) == GATHER_HELD)
            continue;
        require(done.parts_count > 0);
        for (uint32_t i = 1; i < done.parts_count; i++)
            require(done.parts[i - 1].origin < done.parts[i].origin);
        if (done.root) {
            require(arrived == 0 && done.count == total);
            arrived = done.count;
        } else if (dice_below(dice, 3) == 0) {
            for (uint32_t i = 0; i < done.parts_count; i++) {
                parcel.tail.origin = done.parts[i].origin;
                parcel.tail.count = done.parts[i].count;
                parcel_send(parcel.to, done.parent, &parcel.tail);
            }
        } else {
            parcel.tail.origin = done.parts[0].origin;
            parcel.tail.count = done.count;
            parcel_send(parcel.to, done.parent, &parcel.tail);
        }
        free(done.parts);
    }
    require(arrived == total);
}

static void all_contributions_reach_the_root_whatever_the_order_and_the_shape(void **state)
{
    uint64_t seed = first_seed();

    (void)state;
    for (unsigned long round = 0; round < stress(2000); round++) {
        struct dice dice = dice_seeded(seed_in_use = seed + round);
        uint32_t nodes = 2 + (uint32_t)dice_below(&dice, MOST_NODES - 2), pes[MOST_NODES];
        struct job job;

        for (uint32_t i = 0; i < nodes; i++)
            pes[i] = 1 + (uint32_t)dice_below(&dice, 4);
        if (dice_below(&dice, 3) == 0)
            pes[0] = 0; /* a home without PEs */
        job_open(&job, nodes, pes);
        for (uint32_t sequence = 0; sequence < 3; sequence++) {
            bool each = dice_below(&dice, 2);
            uint64_t total = each ? job_pes(&job) : 1 + dice_below(&dice, 3ull * job_pes(&job));

            job_reduce(&job, each ? PLACE_EACH : PLACE_BLOCK, total, sequence, &dice);
        }
        job_close(&job);
    }
}

static const uint32_t three[] = {2, 1, 3};

static void parts_of_different_reductions_do_not_meet(void **state)
{
    struct gather_done done;
    struct job job;

    (void)state;
    job_open(&job, 3, three);
    for (uint32_t sequence = 0; sequence < 100; sequence++) {
        struct c4p_tail tail = own_tail(&job, 0, PLACE_EACH, 6);

        assert_int_equal(gather_add(job.gather[0], 0, 1, sequence, &tail, sequence, &done),
                         GATHER_HELD);
    }
    assert_int_equal(gather_open(job.gather[0]), 100);
    for (uint32_t sequence = 100; sequence-- > 0;) {
        struct c4p_tail one = own_tail(&job, 1, PLACE_EACH, 6);
        struct c4p_tail two = own_tail(&job, 2, PLACE_EACH, 6);

        assert_int_equal(gather_add(job.gather[0], 1, 1, sequence, &one, 1000, &done), GATHER_HELD);
        assert_int_equal(gather_add(job.gather[0], 2, 1, sequence, &two, 2000, &done),
                         GATHER_COMPLETE);
        assert_true(done.root);
        assert_int_equal(done.parts_count, 3);
        assert_int_equal(done.parts[0].part, sequence);
        assert_int_equal(done.parts[1].part, 1000);
        assert_int_equal(done.parts[2].part, 2000);
        free(done.parts);
    }
    job_close(&job);
}

static void assert_wrong(struct gather *gather, uint32_t from, struct c4p_tail tail)
{
    struct gather_done done;
    uint32_t before = gather_open(gather);

    assert_int_equal(gather_add(gather, from, 1, 0, &tail, 1, &done), GATHER_WRONG);
    assert_int_equal(gather_open(gather), before);
}

static void what_no_correct_node_sends_is_refused_and_changes_nothing(void **state)
{
    struct c4p_tail tail, other;
    struct gather_done done;
    struct job job;

    (void)state;
    job_open(&job, 3, three);
    tail = own_tail(&job, 1, PLACE_EACH, 6);
    assert_wrong(job.gather[0], 2, tail); /* not of that node */
    assert_wrong(job.gather[0], 0, tail);
    assert_wrong(job.gather[2], 1, tail); /* not to that one */
    tail.count = 2;                       /* more than it has */
    assert_wrong(job.gather[0], 1, tail);
    tail.count = 1;
    tail.origin = 5;
    assert_wrong(job.gather[0], 1, tail);
    tail.origin = 2;
    assert_int_equal(gather_add(job.gather[0], 1, 1, 0, &tail, 1, &done), GATHER_HELD);
    assert_wrong(job.gather[0], 1, tail); /* twice */
    other = own_tail(&job, 2, PLACE_BLOCK, 600);
    assert_wrong(job.gather[0], 2, other); /* of another collection */
    tail = own_tail(&job, 0, PLACE_BLOCK, 1);
    assert_wrong(job.gather[2], 0, tail); /* which has no contributors there */
    gather_destroy(job.gather[0], NULL, NULL);
    job.gather[0] = gather_create(job.first_pes, 3, 0);
    job_close(&job);
}

static unsigned dropped;
static void on_drop(void *context, uint64_t part)
{
    (void)context;
    dropped += (unsigned)part;
}

static void what_is_left_at_the_end_is_given_back(void **state)
{
    struct gather_done done;
    struct c4p_tail tail;
    struct job job;

    (void)state;
    job_open(&job, 3, three);
    tail = own_tail(&job, 0, PLACE_EACH, 6);
    assert_int_equal(gather_add(job.gather[0], 0, 1, 0, &tail, 3, &done), GATHER_HELD);
    assert_int_equal(gather_add(job.gather[0], 0, 1, 1, &tail, 4, &done), GATHER_HELD);
    dropped = 0;
    gather_destroy(job.gather[0], on_drop, NULL);
    assert_int_equal(dropped, 7);
    gather_destroy(NULL, on_drop, NULL);
    job.gather[0] = gather_create(job.first_pes, 3, 0);
    job_close(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(all_contributions_reach_the_root_whatever_the_order_and_the_shape),
        cmocka_unit_test(parts_of_different_reductions_do_not_meet),
        cmocka_unit_test(what_no_correct_node_sends_is_refused_and_changes_nothing),
        cmocka_unit_test(what_is_left_at_the_end_is_given_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
