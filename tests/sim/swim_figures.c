#include "tests/sim/swim_figures.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/swim_world.h"

#define SAMPLES 4096

struct samples {
    double values[SAMPLES];
    size_t count;
};

static struct world *world_made(unsigned nodes, uint64_t seed, uint32_t percent)
{
    const struct sim_network network = {.loss = percent * (SIM_MILLION / 100),
                                        .delay_least = 200,
                                        .delay_mean = 1000,
                                        .slow = SIM_MILLION / 100,
                                        .slow_delay = 20000};
    struct world *world = world_create(nodes, seed, &network, &swim_default_settings);

    world_start_all(world, true);
    return world;
}

/* ---- how soon a crash is known ---- */

static int value_compare(const void *a, const void *b)
{
    double one = *(const double *)a, other = *(const double *)b;

    return (one > other) - (one < other);
}

static void samples_add(struct samples *samples, int64_t microseconds)
{
    if (samples->count < SAMPLES)
        samples->values[samples->count++] = (double)microseconds / SIM_SECOND;
}

static void samples_print(struct samples *samples)
{
    size_t count = samples->count;

    qsort(samples->values, count, sizeof(samples->values[0]), value_compare);
    printf(" %.1f | %.1f | %.1f | %.1f |", samples->values[count / 2],
           samples->values[count * 9 / 10], samples->values[count * 99 / 100],
           samples->values[count - 1]);
}

static void crashes_collect(const struct world *world, struct samples *first, struct samples *all)
{
    for (size_t i = 0; i < world->crash_count; i++) {
        const struct crash *crash = &world->crashes[i];

        if (crash->last == 0) {
            printf("a crash of %u nodes was never known everywhere\n", world->nodes);
            continue;
        }
        samples_add(first, crash->first - crash->at);
        samples_add(all, crash->last - crash->at);
    }
}

static void detection_print(unsigned nodes, unsigned worlds, unsigned crashes, uint32_t percent,
                            bool hints)
{
    static struct samples first, all;

    first.count = all.count = 0;
    for (unsigned i = 0; i < worlds; i++) {
        struct world *world = world_made(nodes, i + 1, percent);

        world->hints = hints;
        world_run(world, 5 * SIM_SECOND);
        for (unsigned j = 0; j < crashes; j++) {
            world_run(world, (int64_t)sim_random_below(world->sim, 2 * SIM_SECOND));
            world_crash(world, world_any(world, nodes));
        }
        world_run(world, 20 * SIM_SECOND);
        crashes_collect(world, &first, &all);
        if (world->failure[0] != '\0')
            printf("%s\n", world->failure);
        world_destroy(world);
    }
    printf("| %u | %u %% | %s | %zu |", nodes, percent, hints ? "yes" : "no", first.count);
    samples_print(&first);
    samples_print(&all);
    printf("\n");
    fflush(stdout);
}

/* ---- what it costs ---- */

struct cost {
    double bytes, messages; /* of one node, in a second */
};

static void load_call(void *context, unsigned node)
{
    struct world *world = context;

    if (sim_is_up(world->sim, node))
        world_load(world, node);
    sim_call_at(world->sim, sim_now(world->sim) + SIM_SECOND, load_call, world, node);
}

static struct cost cost_measure(struct world *world, int64_t during)
{
    uint64_t bytes = world->bytes, messages = world->messages;
    double divisor = (double)during / SIM_SECOND * world->nodes;

    world_run(world, during);
    return (struct cost){(double)(world->bytes - bytes) / divisor,
                         (double)(world->messages - messages) / divisor};
}

static void cost_print(unsigned nodes)
{
    /* Exchanges take part with several of their periods, of which a thousand have long ones. */
    int64_t during = (nodes < 100 ? 600 : 1800) * SIM_SECOND;
    struct world *world = world_made(nodes, 1, 5);
    struct cost quiet, crash, busy;

    world_run(world, 120 * SIM_SECOND);
    quiet = cost_measure(world, during);
    world_crash(world, 3);
    crash = cost_measure(world, 10 * SIM_SECOND);
    for (unsigned i = 0; i < nodes; i++)
        load_call(world, i);
    world_run(world, 300 * SIM_SECOND);
    busy = cost_measure(world, 300 * SIM_SECOND);
    printf("| %u | %.0f | %.1f | %.0f | %.1f | %.0f |\n", nodes, quiet.bytes, quiet.messages,
           busy.bytes, busy.messages, (crash.bytes - quiet.bytes) * 10);
    fflush(stdout);
    world_destroy(world);
}

/* ---- how much loss it bears ---- */

static void loss_print(unsigned nodes, uint32_t percent)
{
    struct world *world = world_made(nodes, 1, percent);
    double divisor = 120.0 * nodes;

    world_run(world, 20 * SIM_SECOND);
    world->suspicions = world->bytes = 0;
    world_run(world, 120 * SIM_SECOND);
    printf("| %u | %u %% | %llu | %.4f | %.0f |%s\n", nodes, percent,
           (unsigned long long)world->wrong, (double)world->suspicions / divisor,
           (double)world->bytes / divisor, world->failure);
    fflush(stdout);
    world_destroy(world);
}

int figures_print(void)
{
    static const unsigned sizes[] = {10, 30, 100, 300, 1000};
    static const uint32_t percents[] = {5, 10, 20, 30};

    printf("| nodes | loss | hint | crashes | first: p50 | p90 | p99 | max |"
           " all: p50 | p90 | p99 | max |\n|--|--|--|--|--|--|--|--|--|--|--|--|\n");
    detection_print(5, 1000, 1, 0, true);
    detection_print(5, 1000, 1, 0, false);
    for (unsigned i = 0; i < 4; i++)
        detection_print(sizes[i], 1000 / sizes[i] + 10, 5, 5, false);
    for (unsigned i = 0; i < 3; i++)
        detection_print(1000, i == 0 ? 10 : 2, 20, percents[i], false);
    printf("\n| nodes | bytes/s | messages/s | busy: bytes/s | messages/s | bytes a crash |\n"
           "|--|--|--|--|--|--|\n");
    for (unsigned i = 0; i < 5; i++)
        cost_print(sizes[i]);
    printf("\n| nodes | loss | lost though alive | suspicions | bytes/s |\n"
           "|--|--|--|--|--|\n");
    for (unsigned i = 0; i < 4; i++)
        loss_print(100, percents[i]);
    for (unsigned i = 0; i < 4; i++)
        loss_print(1000, percents[i]);
    return 0;
}
