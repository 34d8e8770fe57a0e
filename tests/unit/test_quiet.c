#include "tests/unit/unit.h"

#include "daemon/router/quiet.h"

/*
 * A job of its own kind: messages make messages until they have used up their strength, nodes tell of
 * their counters when they fall asleep, and everything that is under way arrives in any order between
 * different pairs of nodes, in order between the same two.
 */
#define NODES 12
#define MOST 4096

enum { MESSAGE, REPORT, ASK, ANSWER };

struct flying {
    int what;
    uint32_t from, to;
    uint32_t wave;
    unsigned strength;
    struct quiet_counts counts;
};

struct world {
    struct dice dice;
    struct quiet *quiet;
    uint32_t nodes;
    struct quiet_counts counts[NODES], reported[NODES];
    struct flying flying[MOST];
    unsigned count;
    unsigned messages; /* of them */
    unsigned announced;
    bool ended;
};

static void fly(struct world *world, struct flying what)
{
    require(world->count < MOST);
    world->flying[world->count++] = what;
    world->messages += what.what == MESSAGE;
}

static void step_take(struct world *world, const struct quiet_step *step)
{
    if (step->ask) {
        require(step->wave != 0);
        for (uint32_t i = 0; i < world->nodes; i++)
            fly(world, (struct flying){.what = ASK, .from = 0, .to = i, .wave = step->wave});
    }
    if (step->quiet) {
        /* The oracle: nothing begins by itself here, so what is announced must still be true. */
        require(world->messages == 0);
        for (uint32_t i = 0; i < world->nodes; i++)
            require(quiet_told(world->quiet, i)->sent == world->counts[i].sent &&
                    quiet_told(world->quiet, i)->handled == world->counts[i].handled);
        world->announced++;
        world->ended = step->end;
    }
}

static void message_handle(struct world *world, const struct flying *message)
{
    struct quiet_counts *counts = &world->counts[message->to];

    for (unsigned i = 0; i < message->strength; i++) {
        if (dice_below(&world->dice, 3) == 0)
            continue;
        counts->sent++;
        fly(world, (struct flying){.what = MESSAGE,
                                   .from = message->to,
                                   .to = (uint32_t)dice_below(&world->dice, world->nodes),
                                   .strength = message->strength - 1});
    }
    counts->handled++;
    /* It falls asleep; not every time is it told at once, but the last time it is. */
    if (dice_below(&world->dice, 2) == 0 || world->messages == 0)
        fly(world, (struct flying){.what = REPORT, .from = message->to, .counts = *counts});
    else
        world->reported[message->to].waits = 1; /* owes one */
}

static void handle(struct world *world, const struct flying *flying)
{
    struct quiet_step step = {0};

    switch (flying->what) {
    case MESSAGE:
        message_handle(world, flying);
        break;
    case REPORT:
        require(quiet_report(world->quiet, flying->from, &flying->counts, &step));
        break;
    case ASK:
        fly(world, (struct flying){.what = ANSWER,
                                   .from = flying->to,
                                   .wave = flying->wave,
                                   .counts = world->counts[flying->to]});
        break;
    default:
        require(quiet_answer(world->quiet, flying->from, flying->wave, &flying->counts, &step));
    }
    step_take(world, &step);
}

/* The first on its way between the same two as a random one. */
static struct flying flying_take(struct world *world)
{
    uint64_t which = dice_below(&world->dice, world->count);
    struct flying taken;

    for (uint64_t i = 0; i < which; i++)
        if (world->flying[i].from == world->flying[which].from &&
            world->flying[i].to == world->flying[which].to)
            which = i;
    taken = world->flying[which];
    world->count--;
    memmove(world->flying + which, world->flying + which + 1,
            (world->count - which) * sizeof(*world->flying));
    world->messages -= taken.what == MESSAGE;
    return taken;
}

static void world_run(struct world *world)
{
    while (world->count > 0) {
        struct flying taken = flying_take(world);

        handle(world, &taken);
        /* The sleepers that owe a report give it in the end. */
        for (uint32_t i = 0; i < world->nodes; i++)
            if (world->reported[i].waits && dice_below(&world->dice, 4) == 0) {
                world->reported[i].waits = 0;
                fly(world, (struct flying){.what = REPORT, .from = i, .counts = world->counts[i]});
            }
    }
}

static void world_open(struct world *world, uint64_t seed)
{
    bool silent[NODES] = {false};

    memset(world, 0, sizeof(*world));
    world->dice = dice_seeded(seed_in_use = seed);
    world->nodes = 2 + (uint32_t)dice_below(&world->dice, NODES - 1);
    require((world->quiet = quiet_create(world->nodes, silent)) != NULL);
    for (uint32_t i = 0; i < world->nodes; i++)
        fly(world, (struct flying){.what = REPORT, .from = i});
}

static void quiescence_is_announced_when_it_is_there_and_never_before(void **state)
{
    (void)state;
    for (unsigned long round = 0; round < stress(2000); round++) {
        struct world world;

        world_open(&world, first_seed() + round);
        for (unsigned i = 0; i < 3; i++) {
            unsigned before = world.announced;

            world.counts[0].sent++;
            fly(&world, (struct flying){.what = MESSAGE, .strength = 5});
            world_run(&world);
            for (uint32_t n = 0; n < world.nodes; n++)
                if (world.reported[n].waits) {
                    world.reported[n].waits = 0;
                    fly(&world,
                        (struct flying){.what = REPORT, .from = n, .counts = world.counts[n]});
                }
            world_run(&world);
            require(world.announced > before && world.ended);
        }
        quiet_destroy(world.quiet);
    }
}

/* ---- one step after the other ---- */

static const struct quiet_counts none = {0, 0, 0};

static void report(struct quiet *quiet, uint32_t node, struct quiet_counts counts,
                   struct quiet_step *step)
{
    assert_true(quiet_report(quiet, node, &counts, step));
}

static void answer(struct quiet *quiet, uint32_t node, uint32_t wave, struct quiet_counts counts,
                   struct quiet_step *step)
{
    assert_true(quiet_answer(quiet, node, wave, &counts, step));
}

static struct quiet *two_nodes(void)
{
    static const bool silent[2];
    struct quiet *quiet = quiet_create(2, silent);

    assert_non_null(quiet);
    return quiet;
}

static void nothing_is_asked_before_every_node_has_told_and_the_sums_agree(void **state)
{
    struct quiet *quiet = two_nodes();
    struct quiet_step step;

    (void)state;
    report(quiet, 0, (struct quiet_counts){3, 1, 0}, &step);
    assert_false(step.ask || step.quiet);
    report(quiet, 1, (struct quiet_counts){1, 2, 0}, &step);
    assert_false(step.ask || step.quiet);
    report(quiet, 1, (struct quiet_counts){1, 3, 0}, &step);
    assert_true(step.ask);
    assert_false(step.quiet);
    quiet_destroy(quiet);
}

static void counts_that_have_changed_are_asked_for_again(void **state)
{
    struct quiet *quiet = two_nodes();
    struct quiet_step step;
    uint32_t wave;

    (void)state;
    report(quiet, 0, none, &step);
    report(quiet, 1, none, &step);
    wave = step.wave;
    answer(quiet, 0, wave, (struct quiet_counts){1, 0, 0}, &step);
    answer(quiet, 1, wave, (struct quiet_counts){0, 1, 0}, &step);
    assert_true(step.ask && step.wave != wave);
    assert_false(step.quiet);
    wave = step.wave;
    answer(quiet, 0, wave - 1, none, &step); /* a late one of the wave before */
    answer(quiet, 0, wave, (struct quiet_counts){1, 0, 0}, &step);
    answer(quiet, 0, wave, (struct quiet_counts){7, 0, 0}, &step); /* twice */
    assert_false(step.quiet || step.ask);
    answer(quiet, 1, wave, (struct quiet_counts){0, 1, 0}, &step);
    assert_true(step.quiet && step.end);
    assert_int_equal(quiet_told(quiet, 0)->sent, 1);
    quiet_destroy(quiet);
}

static void a_program_is_not_over_while_somebody_waits_or_a_timer_runs(void **state)
{
    (void)state;
    for (uint32_t waits = 1; waits <= QUIET_WAITS_ALL; waits++) {
        struct quiet *quiet = two_nodes();
        struct quiet_counts waiting = {0, 0, waits};
        struct quiet_step step;

        report(quiet, 0, none, &step);
        report(quiet, 1, waiting, &step);
        answer(quiet, 0, step.wave, none, &step);
        answer(quiet, 1, 1, waiting, &step);
        assert_true(step.quiet);
        assert_false(step.end);
        quiet_destroy(quiet);
    }
}

static void a_report_of_the_same_is_answered_too(void **state)
{
    struct quiet *quiet = two_nodes();
    struct quiet_step step;

    (void)state;
    report(quiet, 0, none, &step);
    report(quiet, 1, none, &step);
    answer(quiet, 0, 1, none, &step);
    report(quiet, 1, none, &step); /* while the wave is under way */
    assert_false(step.ask);
    answer(quiet, 1, 1, none, &step);
    assert_true(step.ask);
    answer(quiet, 0, step.wave, none, &step);
    answer(quiet, 1, 2, none, &step);
    assert_true(step.quiet);
    report(quiet, 1, none, &step);
    assert_true(step.ask);
    quiet_destroy(quiet);
}

static void nodes_without_pes_need_not_tell_anything_of_themselves(void **state)
{
    static const bool silent[3] = {false, true, true};
    struct quiet *quiet = quiet_create(3, silent);
    struct quiet_step step;

    (void)state;
    report(quiet, 0, none, &step);
    assert_true(step.ask);
    assert_false(quiet_report(quiet, 3, &none, &step));
    assert_false(quiet_answer(quiet, 3, 1, &none, &step));
    quiet_destroy(quiet);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(quiescence_is_announced_when_it_is_there_and_never_before),
        cmocka_unit_test(nothing_is_asked_before_every_node_has_told_and_the_sums_agree),
        cmocka_unit_test(counts_that_have_changed_are_asked_for_again),
        cmocka_unit_test(a_program_is_not_over_while_somebody_waits_or_a_timer_runs),
        cmocka_unit_test(a_report_of_the_same_is_answered_too),
        cmocka_unit_test(nodes_without_pes_need_not_tell_anything_of_themselves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
