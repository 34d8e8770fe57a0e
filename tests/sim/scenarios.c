#include "tests/sim/scenarios.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool scenarios_verbose;

struct options {
    const char *program, *scenario;
    unsigned long seed, seeds; /* 0: not given */
};

static bool scenario_run(const struct scenario *scenario, const struct options *options)
{
    unsigned long first = options->seed > 0 ? options->seed : 1;
    unsigned long count = options->seed > 0    ? 1
                          : options->seeds > 0 ? options->seeds
                                               : scenario->seeds;
    char failure[SCENARIO_FAILURE_SIZE] = "";

    printf("[ RUN      ] %s\n", scenario->name);
    fflush(stdout);
    for (unsigned long seed = first; seed < first + count; seed++) {
        scenario->run(seed, failure);
        if (failure[0] == '\0')
            continue;
        printf("%s\nreplay: build/tests/%s --scenario %s --seed %lu\n[  FAILED  ] %s\n", failure,
               options->program, scenario->name, seed, scenario->name);
        return false;
    }
    printf("[       OK ] %s\n", scenario->name);
    return true;
}

static bool is_chosen(const struct scenario *scenario, const struct options *options)
{
    if (options->scenario != NULL)
        return strcmp(options->scenario, scenario->name) == 0;
    return scenario->seeds > 0 || options->seeds > 0;
}

static unsigned long number_read(const char *program, const char *text)
{
    char *end;
    unsigned long number = strtoul(text, &end, 10);

    if (*end != '\0' || number == 0) {
        fprintf(stderr, "%s: %s is not a number from 1 on\n", program, text);
        exit(2);
    }
    return number;
}

static void options_read(struct options *options, int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 < argc && strcmp(argv[i], "--scenario") == 0) {
            options->scenario = argv[i + 1];
        } else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0) {
            options->seed = number_read(options->program, argv[i + 1]);
        } else if (i + 1 < argc && strcmp(argv[i], "--seeds") == 0) {
            options->seeds = number_read(options->program, argv[i + 1]);
        } else {
            fprintf(stderr, "usage: %s [--scenario NAME] [--seed N | --seeds N]\n",
                    options->program);
            exit(2);
        }
    }
}

int scenarios_main(const char *program, const struct scenario *scenarios, size_t count, int argc,
                   char **argv)
{
    struct options options = {.program = program};
    unsigned chosen = 0, failed = 0;

    options_read(&options, argc, argv);
    scenarios_verbose = options.seed > 0;
    for (size_t i = 0; i < count; i++)
        chosen += is_chosen(&scenarios[i], &options);
    printf("[==========] Running %u test(s).\n", chosen);
    for (size_t i = 0; i < count; i++)
        if (is_chosen(&scenarios[i], &options))
            failed += !scenario_run(&scenarios[i], &options);
    return chosen == 0 || failed > 0;
}
