/*
 * Elements that move, in the simulator: scenarios, and what must be true after each (location_world.h).
 *
 *   sim_location                            the short form: each scenario with few seeds
 *   sim_location --seeds 10000              ... with more
 *   sim_location --scenario NAME --seed N   one of them again, with its figures
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/location_world.h"
#include "tests/sim/scenarios.h"

static void nomads_finish(struct nomads *nomads, char *failure)
{
    struct nomads_figures figures = nomads_figures(nomads);

    if (scenarios_verbose)
        printf("%llu events: %llu calls of PEs, %llu of them forwarded, %llu messages handled, "
               "%llu words, %llu moves, %llu refused\n",
               (unsigned long long)figures.events, (unsigned long long)figures.calls,
               (unsigned long long)figures.forwards, (unsigned long long)figures.runs,
               (unsigned long long)figures.words, (unsigned long long)figures.moves,
               (unsigned long long)figures.refusals);
    if (nomads_failure(nomads)[0] != '\0')
        snprintf(failure, SCENARIO_FAILURE_SIZE, "%s", nomads_failure(nomads));
    nomads_destroy(nomads);
}

static void life(uint64_t seed, struct nomads_settings settings, char *failure)
{
    struct nomads *nomads;

    settings.seed = seed;
    nomads = nomads_create(&settings);
    nomads_live(nomads);
    nomads_settle(nomads);
    nomads_finish(nomads, failure);
}

static void two_PEs_and_one_element(uint64_t seed, char *failure)
{
    life(seed,
         (struct nomads_settings){.pes = 2,
                                  .elements = 1,
                                  .sends = 300,
                                  .under_way = 15,
                                  .broadcasts = 100,
                                  .answers = 300,
                                  .moves = 100,
                                  .restless = 20},
         failure);
}

static void frenetic_moves(uint64_t seed, char *failure)
{
    life(seed,
         (struct nomads_settings){.pes = 5,
                                  .elements = 6,
                                  .sends = 600,
                                  .under_way = 60,
                                  .broadcasts = 50,
                                  .answers = 300,
                                  .moves = 600,
                                  .restless = 200},
         failure);
}

static void home_and_back(uint64_t seed, char *failure)
{
    life(seed,
         (struct nomads_settings){.pes = 4,
                                  .elements = 3,
                                  .clients = 1,
                                  .sends = 500,
                                  .under_way = 40,
                                  .broadcasts = 50,
                                  .answers = 200,
                                  .moves = 150,
                                  .restless = 20,
                                  .homing = 500},
         failure);
}

static void moves_to_where_they_are(uint64_t seed, char *failure)
{
    life(seed,
         (struct nomads_settings){.pes = 3,
                                  .elements = 3,
                                  .clients = 1,
                                  .sends = 400,
                                  .under_way = 40,
                                  .broadcasts = 50,
                                  .answers = 200,
                                  .moves = 150,
                                  .restless = 20,
                                  .homing = 200,
                                  .staying = 600},
         failure);
}

static void refusals_to_leave(uint64_t seed, char *failure)
{
    life(seed,
         (struct nomads_settings){.pes = 4,
                                  .elements = 4,
                                  .sends = 500,
                                  .under_way = 40,
                                  .broadcasts = 50,
                                  .answers = 200,
                                  .moves = 200,
                                  .restless = 20,
                                  .homing = 300,
                                  .refusals = 500},
         failure);
}

static void one_that_all_want(uint64_t seed, char *failure)
{
    life(seed,
         (struct nomads_settings){.pes = 12,
                                  .elements = 40,
                                  .clients = 2,
                                  .sends = 2000,
                                  .under_way = 200,
                                  .broadcasts = 5,
                                  .hot = 700,
                                  .answers = 200,
                                  .moves = 30,
                                  .restless = 5,
                                  .homing = 100},
         failure);
}

static void senders_who_are_told_nothing(uint64_t seed, char *failure)
{
    life(seed,
         (struct nomads_settings){.pes = 2,
                                  .elements = 3,
                                  .clients = 8,
                                  .sends = 500,
                                  .under_way = 60,
                                  .broadcasts = 50,
                                  .answers = 100,
                                  .moves = 100,
                                  .restless = 10,
                                  .homing = 300,
                                  .refusals = 100},
         failure);
}

static void broadcasts_meet_moves(uint64_t seed, char *failure)
{
    life(seed,
         (struct nomads_settings){.pes = 6,
                                  .elements = 12,
                                  .clients = 1,
                                  .sends = 200,
                                  .under_way = 40,
                                  .broadcasts = 700,
                                  .answers = 50,
                                  .moves = 60,
                                  .restless = 50,
                                  .homing = 300,
                                  .staying = 100,
                                  .refusals = 100},
         failure);
}

static void classes_that_PEs_have_to_ask_for(uint64_t seed, char *failure)
{
    life(seed,
         (struct nomads_settings){.pes = 4,
                                  .elements = 4,
                                  .clients = 1,
                                  .sends = 500,
                                  .under_way = 60,
                                  .broadcasts = 50,
                                  .answers = 200,
                                  .moves = 150,
                                  .restless = 20,
                                  .homing = 300,
                                  .refusals = 100,
                                  .strange = 50},
         failure);
}

/* A number up to `most`, small ones more often than large ones. */
static unsigned some(uint64_t *random, unsigned most)
{
    unsigned first, second;

    *random = *random * 6364136223846793005ull + 1442695040888963407ull;
    first = (unsigned)(*random >> 33) % (most + 1);
    *random = *random * 6364136223846793005ull + 1442695040888963407ull;
    second = (unsigned)(*random >> 33) % (most + 1);
    return first < second ? first : second;
}

static void any(uint64_t seed, char *failure)
{
    uint64_t random = seed * 0x9e3779b97f4a7c15ull;

    life(seed,
         (struct nomads_settings){.pes = 2 + some(&random, 10),
                                  .elements = 1 + some(&random, 39),
                                  .clients = some(&random, 3),
                                  .sends = 100 + some(&random, 900),
                                  .under_way = 2 + some(&random, 200),
                                  .broadcasts = some(&random, 300),
                                  .hot = some(&random, 1000),
                                  .answers = some(&random, 900),
                                  .moves = some(&random, 1000),
                                  .restless = some(&random, 300),
                                  .homing = some(&random, 1000),
                                  .staying = some(&random, 500),
                                  .refusals = some(&random, 900),
                                  .strange = some(&random, 100)},
         failure);
}

/* ---- what it costs ---- */

static void check_cost(struct nomads *nomads, bool right, const char *what, char *failure)
{
    struct nomads_figures figures = nomads_figures(nomads);

    if (nomads_failure(nomads)[0] == '\0' && !right)
        snprintf(failure, SCENARIO_FAILURE_SIZE, "%s: %llu calls, %llu forwarded, %llu words", what,
                 (unsigned long long)figures.calls, (unsigned long long)figures.forwards,
                 (unsigned long long)figures.words);
    nomads_finish(nomads, failure);
}

/* Each PE is forwarded no more than a few times after each move. */
static void rare_moves(uint64_t seed, char *failure)
{
    const struct nomads_settings settings = {.seed = seed,
                                             .pes = 8,
                                             .elements = 4,
                                             .sends = 20000,
                                             .under_way = 20,
                                             .answers = 500,
                                             .moves = 1,
                                             .homing = 100};
    struct nomads *nomads = nomads_create(&settings);
    struct nomads_figures figures;

    nomads_live(nomads);
    figures = nomads_figures(nomads);
    check_cost(nomads, figures.moves > 0 && figures.forwards * 4 < figures.calls,
               "moves were rare, and forwards were not", failure);
}

/* To an element that has left, each PE sends but one message. */
static void senders_who_send_once(uint64_t seed, char *failure)
{
    const struct nomads_settings settings = {.seed = seed, .pes = 12, .elements = 1};
    struct nomads *nomads = nomads_create(&settings);
    struct nomads_figures figures;

    for (unsigned pe = 0; pe < settings.pes; pe++) {
        nomads_move(nomads, 0, pe);
        nomads_drain(nomads);
    }
    for (unsigned pe = 0; pe < settings.pes; pe++)
        nomads_send(nomads, pe, 0);
    nomads_drain(nomads);
    nomads_move(nomads, 0, 0);
    nomads_drain(nomads);
    figures = nomads_figures(nomads);
    /* A move: MOVE, GO, LANDED, HERE, CONFIRM. A message: PLACE, SETTLE, SETTLED; RECALL, RECALLED. */
    check_cost(nomads, figures.words <= 5 * (settings.pes + 1) + 5 * figures.calls,
               "too many words are made", failure);
}

/* Who computes where elements are has to know no more. */
static void nobody_moves(uint64_t seed, char *failure)
{
    const struct nomads_settings settings = {
        .seed = seed, .pes = 6, .elements = 20, .sends = 500, .under_way = 50, .answers = 300};
    struct nomads *nomads = nomads_create(&settings);
    struct nomads_figures figures;

    nomads_live(nomads);
    nomads_settle(nomads);
    figures = nomads_figures(nomads);
    check_cost(nomads, figures.words == 0 && figures.forwards == 0,
               "nobody moved, and that cost something", failure);
}

static const struct scenario scenarios[] = {
    {"two_PEs_and_one_element", two_PEs_and_one_element, 500},
    {"frenetic_moves", frenetic_moves, 200},
    {"home_and_back", home_and_back, 500},
    {"moves_to_where_they_are", moves_to_where_they_are, 500},
    {"refusals_to_leave", refusals_to_leave, 500},
    {"one_that_all_want", one_that_all_want, 50},
    {"senders_who_are_told_nothing", senders_who_are_told_nothing, 200},
    {"broadcasts_meet_moves", broadcasts_meet_moves, 200},
    {"classes_that_PEs_have_to_ask_for", classes_that_PEs_have_to_ask_for, 500},
    {"any", any, 300},
    {"rare_moves", rare_moves, 20},
    {"senders_who_send_once", senders_who_send_once, 20},
    {"nobody_moves", nobody_moves, 20},
};
#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

int main(int argc, char **argv)
{
    return scenarios_main("sim_location", scenarios, SCENARIOS, argc, argv);
}
