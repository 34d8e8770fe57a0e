/*
 * The command line of a simulation: its scenarios, each with as many seeds as it is worth, in the words
 * that run_unit.py reads. A seed that fails is printed with the command that replays it.
 *
 *   PROGRAM [--scenario NAME] [--seed N | --seeds N]
 */
#ifndef C4P_TESTS_SIM_SCENARIOS_H
#define C4P_TESTS_SIM_SCENARIOS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SCENARIO_FAILURE_SIZE 320

struct scenario {
    const char *name;
    /* Writes to `failure` (SCENARIO_FAILURE_SIZE) what was not as it should be. */
    void (*run)(uint64_t seed, char *failure);
    unsigned seeds; /* of the short form; 0: not in it */
};

/* One seed is replayed: a scenario may tell more. */
extern bool scenarios_verbose;

/* All of it: the exit code of main(). */
int scenarios_main(const char *program, const struct scenario *scenarios, size_t count, int argc,
                   char **argv);

#endif
