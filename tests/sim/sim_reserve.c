/*
 * Reservations in the simulator: scenarios, each with the network and the faults that make it, and
 * what must be true after it (reserve_world.h).
 *
 *   sim_reserve                            the short form: each scenario with few seeds
 *   sim_reserve --seeds 50                 ... with more, and those that take long
 *   sim_reserve --scenario NAME --seed N   one of them again, with its figures
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/reserve_world.h"
#include "tests/sim/scenarios.h"

#define PERCENT (SIM_MILLION / 100)
#define MINUTE (60 * SIM_SECOND)

static struct sim_network network_local(void)
{
    return (struct sim_network){.delay_least = 200,
                                .delay_mean = 1000,
                                .slow = SIM_MILLION / 100,
                                .slow_delay = 20000,
                                .ordered = true};
}

static struct sim_network network_bad(uint32_t percent)
{
    struct sim_network network = network_local();

    network.loss = percent * PERCENT;
    network.duplicates = 3 * PERCENT;
    network.reordered = 10 * PERCENT;
    network.delay_mean = 20000;
    return network;
}

static struct realm *realm_of(unsigned nodes, uint64_t seed, uint32_t most_slots,
                              struct sim_network network)
{
    const struct realm_settings settings = {.nodes = nodes,
                                            .seed = seed,
                                            .least_slots = 1,
                                            .most_slots = most_slots,
                                            .network = network,
                                            .gossip = SIM_SECOND};

    return realm_create(&settings);
}

/* Between 1 and `most` PEs, few more often than many; now and then any number, or too many. */
static uint32_t pes_of_some_job(struct realm *realm, uint32_t most)
{
    uint64_t half = realm_random(realm, 100);

    if (half < 4)
        return 0;
    if (half < 6)
        return realm_slots(realm) + 1;
    if (half < 10)
        return 1 + (uint32_t)realm_random(realm, realm_slots(realm));
    return 1 + (uint32_t)realm_random(realm, 1 + realm_random(realm, most));
}

static void jobs_submit(struct realm *realm, unsigned nodes, unsigned jobs, int64_t within,
                        uint32_t most, int64_t runs)
{
    for (unsigned i = 0; i < jobs; i++)
        realm_submit(realm, (int64_t)realm_random(realm, (uint64_t)within),
                     (unsigned)realm_random(realm, nodes), pes_of_some_job(realm, most),
                     (int64_t)realm_random(realm, (uint64_t)runs));
}

static void realm_finish(struct realm *realm, int64_t patience, char *failure)
{
    struct realm_figures figures;

    realm_settle(realm, patience);
    figures = realm_figures(realm);
    if (scenarios_verbose)
        printf("%u jobs: %u ran, %u failed, %u wait; %u tries, %u of them in vain; the longest "
               "wait was %.1f s\n",
               figures.jobs, figures.ran, figures.failed, figures.waiting, figures.tries,
               figures.refusals, (double)figures.longest_wait / SIM_SECOND);
    snprintf(failure, SCENARIO_FAILURE_SIZE, "%s", realm_failure(realm));
    realm_destroy(realm);
}

/* Nothing goes wrong: each job runs, and none fails. */
static void well(uint64_t seed, char *failure)
{
    struct realm *realm = realm_of(60, seed, 8, network_local());
    struct realm_figures figures;

    jobs_submit(realm, 60, 300, MINUTE, 20, 2 * SIM_SECOND);
    realm_run_until(realm, MINUTE);
    realm_settle(realm, 10 * MINUTE);
    figures = realm_figures(realm);
    if (realm_failure(realm)[0] != '\0')
        snprintf(failure, SCENARIO_FAILURE_SIZE, "%s", realm_failure(realm));
    else if (figures.failed > 0 || figures.ran + figures.waiting != figures.jobs)
        snprintf(failure, SCENARIO_FAILURE_SIZE, "of %u jobs %u ran, %u failed and %u wait",
                 figures.jobs, figures.ran, figures.failed, figures.waiting);
    realm_destroy(realm);
}

/* Many homes, each of which wants all that there is, at the same moment. */
static void greedy(unsigned nodes, uint64_t seed, struct sim_network network, unsigned rounds,
                   char *failure)
{
    struct realm *realm = realm_of(nodes, seed, 4, network);

    for (unsigned round = 0; round < rounds; round++)
        for (unsigned node = 0; node < nodes; node++)
            realm_submit(realm, 3 * SIM_SECOND, node, realm_slots(realm), SIM_SECOND / 5);
    realm_run_until(realm, 4 * SIM_SECOND);
    realm_finish(realm, nodes * rounds * 10 * SIM_SECOND, failure);
}

static void two_that_want_everything(uint64_t seed, char *failure)
{
    greedy(2, seed, network_local(), 10, failure);
}

static void thirty_that_want_everything(uint64_t seed, char *failure)
{
    greedy(30, seed, network_local(), 1, failure);
}

static void ten_that_want_everything_far_apart(uint64_t seed, char *failure)
{
    struct sim_network network = network_bad(5);

    network.delay_mean = 100000;
    greedy(10, seed, network, 1, failure);
}

static void loss(uint64_t seed, char *failure)
{
    struct realm *realm = realm_of(40, seed, 6, network_bad(10));

    jobs_submit(realm, 40, 200, MINUTE, 16, 2 * SIM_SECOND);
    realm_run_until(realm, 2 * MINUTE);
    realm_finish(realm, 10 * MINUTE, failure);
}

static void other_pythons(uint64_t seed, char *failure)
{
    const struct realm_settings settings = {.nodes = 24,
                                            .seed = seed,
                                            .least_slots = 1,
                                            .most_slots = 6,
                                            .network = network_bad(3),
                                            .gossip = SIM_SECOND,
                                            .python = true};
    struct realm *realm = realm_create(&settings);

    jobs_submit(realm, 24, 150, MINUTE, 12, 2 * SIM_SECOND);
    realm_run_until(realm, MINUTE);
    realm_finish(realm, 10 * MINUTE, failure);
}

/* ---- faults, by lot ---- */

static void fault_crash(struct realm *realm, unsigned node, unsigned other)
{
    (void)other;
    if (sim_is_up(realm_sim(realm), node))
        realm_crash(realm, node);
    else
        realm_restart(realm, node);
}

static void fault_restart(struct realm *realm, unsigned node, unsigned other)
{
    realm_crash(realm, node);
    realm_restart(realm, node); /* before anybody has seen it */
    if (!sim_is_up(realm_sim(realm), other))
        realm_restart(realm, other);
}

static void fault_pause(struct realm *realm, unsigned node, unsigned other)
{
    (void)other;
    realm_pause(realm, node,
                SIM_SECOND / 2 + (int64_t)realm_random(realm, (uint64_t)(12 * SIM_SECOND)));
}

static void fault_cut(struct realm *realm, unsigned node, unsigned other)
{
    (void)node;
    realm_cut(realm, other % 3 == 0 ? 1ull << other % 64 : realm_random(realm, UINT64_MAX));
}

static void fault_heal(struct realm *realm, unsigned node, unsigned other)
{
    (void)node, (void)other;
    realm_heal(realm);
}

static void fault_mistake(struct realm *realm, unsigned node, unsigned other)
{
    realm_mistake(realm, node, other, (int64_t)realm_random(realm, (uint64_t)(5 * SIM_SECOND)));
}

static void fault_drain(struct realm *realm, unsigned node, unsigned other)
{
    realm_drain(realm, node, true);
    realm_drain(realm, other, false);
}

static void fault_resize(struct realm *realm, unsigned node, unsigned other)
{
    (void)other;
    realm_resize(realm, node, 1 + (uint32_t)realm_random(realm, 8));
}

static void (*const faults[])(struct realm *realm, unsigned node, unsigned other) = {
    fault_crash, fault_crash, fault_restart, fault_pause,  fault_cut,
    fault_heal,  fault_heal,  fault_mistake, fault_resize, fault_drain,
};

static void chaos_of(unsigned nodes, uint64_t seed, unsigned jobs, int64_t time, char *failure)
{
    struct realm *realm = realm_of(nodes, seed, 6, network_bad(4));

    jobs_submit(realm, nodes, jobs, time, 12, 3 * SIM_SECOND);
    for (int64_t now = 0; now < time; now += SIM_SECOND / 2) {
        realm_run_until(realm, now);
        faults[realm_random(realm, sizeof(faults) / sizeof(faults[0]))](
            realm, (unsigned)realm_random(realm, nodes), (unsigned)realm_random(realm, nodes));
    }
    realm_finish(realm, 20 * MINUTE, failure);
}

static void chaos(uint64_t seed, char *failure)
{
    chaos_of(20, seed, 150, MINUTE, failure);
}

static void chaos_of_three(uint64_t seed, char *failure)
{
    chaos_of(3, seed, 60, MINUTE, failure);
}

static void chaos_of_two_hundred(uint64_t seed, char *failure)
{
    chaos_of(200, seed, 1000, 2 * MINUTE, failure);
}

/* A job larger than the cluster waits, holds nobody up, and starts when a host joins. */
static void a_host_joins(uint64_t seed, char *failure)
{
    struct realm *realm = realm_of(5, seed, 4, network_local());
    struct realm_figures figures;

    realm_crash(realm, 4);
    realm_submit(realm, 10 * SIM_SECOND, 0, realm_slots(realm), SIM_SECOND);
    for (unsigned i = 0; i < 40; i++)
        realm_submit(realm, 11 * SIM_SECOND, i % 4, 1, SIM_SECOND);
    realm_run_until(realm, 40 * SIM_SECOND);
    figures = realm_figures(realm);
    if (figures.ran != 40 || figures.waiting != 1) {
        snprintf(failure, SCENARIO_FAILURE_SIZE, "%u ran, %u wait", figures.ran, figures.waiting);
        realm_destroy(realm);
        return;
    }
    realm_restart(realm, 4);
    realm_run_until(realm, 50 * SIM_SECOND);
    figures = realm_figures(realm);
    if (figures.ran != 41)
        snprintf(failure, SCENARIO_FAILURE_SIZE, "the job did not start when the host had joined");
    realm_destroy(realm);
}

static const struct scenario scenarios[] = {
    {"well", well, 3},
    {"two_that_want_everything", two_that_want_everything, 10},
    {"thirty_that_want_everything", thirty_that_want_everything, 3},
    {"ten_that_want_everything_far_apart", ten_that_want_everything_far_apart, 3},
    {"loss", loss, 5},
    {"other_pythons", other_pythons, 5},
    {"a_host_joins", a_host_joins, 10},
    {"chaos_of_three", chaos_of_three, 20},
    {"chaos", chaos, 10},
    {"chaos_of_two_hundred", chaos_of_two_hundred, 0},
};
#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

int main(int argc, char **argv)
{
    return scenarios_main("sim_reserve", scenarios, SCENARIOS, argc, argv);
}
