/*
 * The options of `c4py run`: one table for parsing, for the help and for the
 * hint after a typing error.
 */
#ifndef C4P_CLIENT_CLI_OPTIONS_H
#define C4P_CLIENT_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXIT_USAGE 2
#define OPTIONS_MAX_ENV 256

struct run_options {
    uint32_t pes; /* 0: one for each core */
    bool label;
    bool exec;             /* the command is launched as it is */
    const char *python;    /* NULL: not given */
    const char *module;    /* -m */
    uint64_t segment_size; /* 0: the daemon decides */
    const char *env[OPTIONS_MAX_ENV];
    size_t envs;
    const char *cwd;
    const char *log_level;
    bool help;
    char *const *command; /* what follows the options, ends with NULL; may be empty */
};

/* One line on standard error: "c4py: thing: reason". Returns EXIT_USAGE. */
int usage_error(const char *thing, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Parse what follows "run". 0, or EXIT_USAGE after a line on standard error. */
int run_options_parse(struct run_options *options, char *const *arguments);

/* The help text, from the same table. */
void run_options_help(void);

#endif
