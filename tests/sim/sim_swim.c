/*
 * Membership in the simulator: scenarios, each with the network and the faults that make it, and what
 * must be true after it.
 *
 *   sim_swim                            the short form: each scenario with few seeds
 *   sim_swim --seeds 50                 ... with more, and those that take long
 *   sim_swim --scenario NAME --seed N   one of them again
 *   sim_swim --figures                  the tables of docs/membership.md
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/scenarios.h"
#include "tests/sim/swim_figures.h"
#include "tests/sim/swim_world.h"

#define PERCENT (SIM_MILLION / 100)

static struct sim_network network_local(void)
{
    return (struct sim_network){
        .delay_least = 200, .delay_mean = 1000, .slow = SIM_MILLION / 100, .slow_delay = 20000};
}

static struct sim_network network_losing(uint32_t percent)
{
    struct sim_network network = network_local();

    network.loss = percent * PERCENT;
    return network;
}

static struct world *world_started(unsigned nodes, uint64_t seed, const struct sim_network *network)
{
    struct world *world = world_create(nodes, seed, network, &swim_default_settings);

    world_start_all(world, true);
    world_run(world, 5 * SIM_SECOND);
    return world;
}

static void world_end(struct world *world, char *failure)
{
    strcpy(failure, world->failure);
    world_destroy(world);
}

/* ---- scenarios ---- */

static void steady(uint64_t seed, char *failure)
{
    const struct sim_network network = network_losing(5);
    struct world *world = world_started(100, seed, &network);

    world_run(world, 120 * SIM_SECOND);
    world_converge(world, 5 * SIM_SECOND);
    world_end(world, failure);
}

/* Everybody starts at once, and knows the first one only. */
static void join(uint64_t seed, char *failure)
{
    const struct sim_network network = network_losing(5);
    struct world *world = world_create(100, seed, &network, &swim_default_settings);

    world_start_all(world, false);
    world_converge(world, 60 * SIM_SECOND);
    world_end(world, failure);
}

static void crash_call(void *context, unsigned node)
{
    world_crash(context, node);
}

static void crashes_plan(struct world *world, unsigned count, int64_t within)
{
    for (unsigned i = 0; i < count; i++)
        sim_call_at(world->sim,
                    sim_now(world->sim) + (int64_t)sim_random_below(world->sim, (uint64_t)within),
                    crash_call, world, (unsigned)sim_random_below(world->sim, world->nodes));
}

static void crashes_check(struct world *world, int64_t bound)
{
    for (size_t i = 0; i < world->crash_count; i++) {
        const struct crash *crash = &world->crashes[i];

        if (crash->last == 0 || crash->last - crash->at > bound)
            world_fail(world, "the crash of %u at %.3f s is not known to %u after %.3f s",
                       crash->node, (double)crash->at / SIM_SECOND, crash->unaware_count,
                       (double)((crash->last ? crash->last : sim_now(world->sim)) - crash->at) /
                           SIM_SECOND);
    }
}

static void crashes_of(unsigned nodes, unsigned count, uint64_t seed, char *failure)
{
    const struct sim_network network = network_losing(5);
    struct world *world = world_started(nodes, seed, &network);

    crashes_plan(world, count, 20 * SIM_SECOND);
    world_run(world, 36 * SIM_SECOND);
    crashes_check(world, 15 * SIM_SECOND);
    world_converge(world, 5 * SIM_SECOND);
    world_end(world, failure);
}

static void crashes_100(uint64_t seed, char *failure)
{
    crashes_of(100, 5, seed, failure);
}

static void crashes_1000(uint64_t seed, char *failure)
{
    crashes_of(1000, 20, seed, failure);
}

static void crash_of_five(uint64_t seed, char *failure, bool hints, int64_t bound)
{
    const struct sim_network network = network_local();
    struct world *world = world_started(5, seed, &network);

    world->hints = hints;
    world_crash(world, (unsigned)(seed % 5));
    world_run(world, 8 * SIM_SECOND);
    crashes_check(world, bound);
    world_converge(world, SIM_SECOND);
    world_end(world, failure);
}

static void crash_of_five_hinted(uint64_t seed, char *failure)
{
    crash_of_five(seed, failure, true, 3 * SIM_SECOND);
}

static void crash_of_five_unhinted(uint64_t seed, char *failure)
{
    crash_of_five(seed, failure, false, 4 * SIM_SECOND);
}

/* The lower numbers in one group, the rest in another, for so long; then one membership again. */
static void cut(struct world *world, unsigned lower, int64_t during, int64_t healing)
{
    for (unsigned i = 0; i < world->nodes; i++)
        world_set_group(world, i, i < lower ? 1 : 2);
    world_run(world, during);
    world_converge(world, SIM_SECOND);
    for (unsigned i = 0; i < world->nodes; i++)
        world_set_group(world, i, 0);
    world_converge(world, healing);
    world_run(world, 30 * SIM_SECOND);
    world_converge(world, SIM_SECOND);
}

static void partition_2_3(uint64_t seed, char *failure)
{
    const struct sim_network network = network_losing(5);
    struct world *world = world_started(5, seed, &network);

    cut(world, 2, 30 * SIM_SECOND, 10 * SIM_SECOND);
    world_end(world, failure);
}

static void partition_halves(uint64_t seed, char *failure)
{
    const struct sim_network network = network_losing(5);
    struct world *world = world_started(100, seed, &network);

    cut(world, 50, 60 * SIM_SECOND, 20 * SIM_SECOND);
    world_end(world, failure);
}

static void partition_500(uint64_t seed, char *failure)
{
    const struct sim_network network = network_losing(5);
    struct world *world = world_started(1000, seed, &network);

    cut(world, 500, 60 * SIM_SECOND, 60 * SIM_SECOND);
    world_end(world, failure);
}

/* Cut and healed again and again, faster than anybody can be sure. */
static void flapping(uint64_t seed, char *failure)
{
    const struct sim_network network = network_losing(5);
    struct world *world = world_started(20, seed, &network);

    for (unsigned round = 0; round < 30; round++) {
        for (unsigned i = 0; i < world->nodes; i++)
            world_set_group(world, i, round % 2 == 0 ? i % 2 : 0);
        world_run(world, (int64_t)sim_random_below(world->sim, 8 * SIM_SECOND));
    }
    for (unsigned i = 0; i < world->nodes; i++)
        world_set_group(world, i, 0);
    world_converge(world, 20 * SIM_SECOND);
    world_end(world, failure);
}

static void restart_call(void *context, unsigned node)
{
    world_start(context, node);
}

static void churn(uint64_t seed, char *failure)
{
    const struct sim_network network = network_losing(5);
    struct world *world = world_started(50, seed, &network);

    for (unsigned i = 0; i < 60; i++) {
        unsigned node = (unsigned)sim_random_below(world->sim, world->nodes);

        world_run(world, (int64_t)sim_random_below(world->sim, 3 * SIM_SECOND));
        world_crash(world, node);
        sim_call_at(world->sim,
                    sim_now(world->sim) + (int64_t)sim_random_below(world->sim, 20 * SIM_SECOND),
                    restart_call, world, node);
    }
    world_run(world, 20 * SIM_SECOND);
    world_converge(world, 30 * SIM_SECOND);
    world_end(world, failure);
}

/* Stopped for 5 s and continued: back by itself, as the same member in the same life. */
static void pauses(uint64_t seed, char *failure)
{
    const struct sim_network network = network_losing(5);
    struct world *world = world_started(seed % 2 ? 5 : 30, seed, &network);

    for (unsigned round = 0; round < 6; round++) {
        unsigned node = world_any(world, world->nodes);

        world_pause(world, node);
        world_run(world, 5 * SIM_SECOND);
        world_resume(world, node);
        world_converge(world, 5 * SIM_SECOND);
        for (unsigned i = 0; i < world->nodes && world->failure[0] == '\0'; i++)
            if (world_record(world, i, node)->incarnation != 1)
                world_fail(world, "%u came back as another one", node);
        world_run(world, 2 * SIM_SECOND);
    }
    world_end(world, failure);
}

static void loss_of(unsigned nodes, uint32_t percent, uint64_t seed, char *failure)
{
    const struct sim_network network = network_losing(percent);
    struct world *world = world_started(nodes, seed, &network);

    world_run(world, 60 * SIM_SECOND);
    *sim_network(world->sim) = network_local();
    world_converge(world, 30 * SIM_SECOND);
    world_end(world, failure);
}

static void loss_sweep(uint64_t seed, char *failure)
{
    static const uint32_t percents[] = {5, 10, 20, 30};
    static const unsigned nodes[] = {3, 5, 10, 100};

    for (unsigned i = 0; i < 16 && failure[0] == '\0'; i++)
        loss_of(nodes[i / 4], percents[i % 4], seed * 16 + i, failure);
}

static void loss_sweep_1000(uint64_t seed, char *failure)
{
    static const uint32_t percents[] = {5, 10, 20, 30};

    for (unsigned i = 0; i < 4 && failure[0] == '\0'; i++)
        loss_of(1000, percents[i], seed * 4 + i, failure);
}

/* 50 ms on every way, 5 % lost, 10 % out of order, some twice. */
static void far_apart(uint64_t seed, char *failure)
{
    const struct sim_network network = {.loss = 5 * PERCENT,
                                        .duplicates = 2 * PERCENT,
                                        .delay_least = 45000,
                                        .delay_mean = 50000,
                                        .ordered = true,
                                        .reordered = 10 * PERCENT};
    struct world *world = world_started(30, seed, &network);

    world_run(world, 60 * SIM_SECOND);
    crashes_plan(world, 3, SIM_SECOND);
    world_run(world, 16 * SIM_SECOND);
    crashes_check(world, 15 * SIM_SECOND);
    world_converge(world, 5 * SIM_SECOND);
    world_end(world, failure);
}

static void address_change(uint64_t seed, char *failure)
{
    const struct sim_network network = network_losing(5);
    struct world *world = world_started(30, seed, &network);

    for (unsigned i = 0; i < 5; i++) {
        world_move(world, i, world->nodes + i);
        world_run(world, SIM_SECOND);
    }
    world_converge(world, 10 * SIM_SECOND);
    world_end(world, failure);
}

/* A host that is down has lost its address to another one, and comes back at a new address. */
static void address_taken(uint64_t seed, char *failure)
{
    const struct sim_network network = network_losing(5);
    struct world *world = world_started(10, seed, &network);

    world_crash(world, 3);
    world_run(world, 2 * SIM_SECOND);
    world_move(world, 7, 3);
    world_converge(world, 15 * SIM_SECOND);
    world_move(world, 3, world->nodes + 3);
    world_start(world, 3);
    world_converge(world, 15 * SIM_SECOND);
    world_end(world, failure);
}

static void good_bye(uint64_t seed, char *failure)
{
    const struct sim_network network = network_losing(5);
    struct world *world = world_started(30, seed, &network);

    for (unsigned i = 0; i < 5; i++) {
        world_leave(world, i * 3);
        world_run(world, SIM_SECOND / 2);
    }
    world_converge(world, 5 * SIM_SECOND);
    world_start(world, 3);
    world_converge(world, 10 * SIM_SECOND);
    world_end(world, failure);
}

/* Clocks that run 10 % fast or slow, and one that leaps while its machine sleeps. */
static void clocks(uint64_t seed, char *failure)
{
    const struct sim_network network = network_losing(5);
    struct world *world = world_create(30, seed, &network, &swim_default_settings);

    for (unsigned i = 0; i < world->nodes; i++)
        sim_set_clock_rate(world->sim, i, (int32_t)sim_random_below(world->sim, 200001) - 100000);
    world_start_all(world, true);
    for (unsigned i = 0; i < 20; i++) {
        world_run(world, 3 * SIM_SECOND);
        sim_clock_jump(world->sim, world_any(world, world->nodes),
                       (int64_t)sim_random_below(world->sim, 3600 * SIM_SECOND));
    }
    crashes_plan(world, 2, SIM_SECOND);
    world_run(world, 16 * SIM_SECOND);
    crashes_check(world, 15 * SIM_SECOND);
    world_end(world, failure);
}

/* A host whose state comes from a backup counts its lives from there. */
static void set_back(uint64_t seed, char *failure)
{
    const struct sim_network network = network_losing(5);
    struct world *world = world_started(10, seed, &network);

    for (unsigned i = 0; i < 5; i++) {
        world_crash(world, 4);
        world_start(world, 4);
        world_converge(world, 20 * SIM_SECOND);
    }
    world_crash(world, 4);
    world->hosts[4].incarnation = 2;
    world_start(world, 4);
    world_run(world, 10 * SIM_SECOND);
    world_converge(world, 20 * SIM_SECOND);
    world_end(world, failure);
}

static const struct scenario scenarios[] = {
    {"steady", steady, 1},
    {"join", join, 2},
    {"crashes_100", crashes_100, 2},
    {"crashes_1000", crashes_1000, 1},
    {"crash_of_five_hinted", crash_of_five_hinted, 50},
    {"crash_of_five_unhinted", crash_of_five_unhinted, 50},
    {"partition_2_3", partition_2_3, 20},
    {"partition_halves", partition_halves, 1},
    {"partition_500", partition_500, 0},
    {"flapping", flapping, 4},
    {"churn", churn, 2},
    {"pauses", pauses, 10},
    {"loss_sweep", loss_sweep, 1},
    {"loss_sweep_1000", loss_sweep_1000, 0},
    {"far_apart", far_apart, 3},
    {"address_change", address_change, 5},
    {"address_taken", address_taken, 5},
    {"good_bye", good_bye, 5},
    {"clocks", clocks, 3},
    {"set_back", set_back, 3},
};
#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--figures") == 0)
        return figures_print();
    return scenarios_main("sim_swim", scenarios, SCENARIOS, argc, argv);
}
