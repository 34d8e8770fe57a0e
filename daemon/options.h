/*
 * The options of c4pd's commands: those of the table in options.c, and one for
 * each key that can be configured (config.h).
 */
#ifndef C4P_DAEMON_OPTIONS_H
#define C4P_DAEMON_OPTIONS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/config.h"

/* Exit codes (c4pd(8)). A restart by itself would end as before with the last
 * two. */
enum exit_code {
    EXIT_CODE_OK = 0,
    EXIT_CODE_FAILED = 1,      /* may go better next time */
    EXIT_CODE_USAGE = 2,       /* options, or the configuration */
    EXIT_CODE_NOT_RUNNING = 3, /* as of LSB's status */
    EXIT_CODE_REFUSED = 4      /* the state directory or its store, or a daemon runs already */
};

enum command_bit {
    COMMAND_START = 1,
    COMMAND_STOP = 2,
    COMMAND_RESTART = 4,
    COMMAND_RELOAD = 8,
    COMMAND_STATUS = 16,
    COMMAND_CONFIG = 32,
    COMMAND_INIT = 64,
    COMMAND_TOKEN = 128,
    COMMAND_JOIN = 256,
    COMMAND_NODES = 512,
    COMMAND_EVICT = 1024,
    COMMAND_KEY = 2048,
    COMMAND_LEAVE = 4096,
    COMMAND_TESTBED = 8192
};

/* Words after a command's name that are no options. */
#define OPTIONS_MAX_ARGUMENTS 3

struct options {
    bool foreground, set_aside, now, next, json, help;
    bool timed;
    uint64_t timeout_ms; /* if timed */
    char state_dir[PATH_MAX];
    const char *state_dir_source;
    char config[PATH_MAX]; /* empty: the user's own, if there is one */
    const char *check;
    const char *name, *node, *address, *revoke; /* NULL: not given */
    bool list;
    uint64_t ttl_ms; /* 0: not given */
    uint32_t uses;
    const char *arguments[OPTIONS_MAX_ARGUMENTS];
    unsigned argument_count;
    uint32_t nodes;  /* 0: not given */
    const char *pes; /* of each of them; NULL: not given */
    char **command;  /* of testbed: ends with NULL, may be empty */
    struct config_given given;
};

/* "c4pd: thing: reason" on stderr; returns EXIT_CODE_USAGE. */
int usage_error(const char *thing, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* `argv` starts with the command's name. 0, or EXIT_CODE_USAGE when it has been
 * said why. */
int options_parse(enum command_bit command, int argc, char **argv, struct options *options);
/* The configuration of a start with these options. 0, or EXIT_CODE_USAGE when it has been said why. */
int options_config(const struct options *options, struct config *config);
/* " TOKEN": what a command takes besides options; empty: nothing. */
const char *options_arguments(enum command_bit command);
/* Its options, one line each, on stdout. */
void options_help(enum command_bit command);

#endif
