/*
 * What a command of c4py takes. One table of options (lines.c) serves for parsing, for
 * the help, which the shell completion reads, and for the hint after a typing error.
 */
#ifndef C4P_CLIENT_CLI_OPTIONS_H
#define C4P_CLIENT_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXIT_USAGE 2
#define OPTIONS_MAX_ENV 256
#define OPTIONS_MAX_INCLUDES 256

/* What was asked for: of all commands, as each uses a few. */
struct options {
    /* of a program */
    uint32_t pes;   /* 0: not given */
    uint32_t nodes; /* 0: not given */
    bool label;
    bool exec;             /* the command is launched as it is */
    const char *python;    /* NULL: not given */
    const char *module;    /* -m */
    uint64_t segment_size; /* 0: the daemon decides */
    const char *env[OPTIONS_MAX_ENV];
    size_t envs;
    const char *cwd;
    const char *include[OPTIONS_MAX_INCLUDES];
    size_t includes;
    bool no_bundle;
    const char *log_level;
    const char *name;
    int32_t priority;
    uint64_t time_limit_ms; /* 0: none */
    bool detach;
    /* of the service */
    const char *state_dir; /* NULL: the user's own */
    const char *via;       /* a key file; NULL: $C4P_VIA, or the daemon of this machine */
    bool json, all, ids, follow, resume, no_input, kill;
    uint32_t last, tail; /* UINT32_MAX: not given */
    int64_t timeout_ms;  /* -1: not given */
    bool help;
    char *const *command; /* what follows the options, ends with NULL; may be empty */
};

struct option_row {
    const char *name;  /* long form */
    const char *brief; /* short form, or NULL */
    const char *value; /* what it is called in the help; NULL: takes none */
    const char *help;
    /* `typed` is the form that was used. 0, or EXIT_USAGE after a line on standard error. */
    int (*set)(struct options *options, const struct option_row *row, const char *typed,
               const char *value);
    size_t member;     /* for setters that serve several: offset in struct options */
    unsigned commands; /* which have it: the sum of their bits */
};

extern const struct option_row option_rows[]; /* the last has no name */

struct command_line {
    const char *name;
    const char *brief;    /* a line in the list of commands */
    const char *forms[2]; /* what follows the name: one or two */
    const char *about;    /* paragraphs of the help */
    unsigned bit;         /* of its options */
    bool program;         /* from the first word on all belongs to a program */
    const char *word;     /* what its words are; NULL: it takes none */
    size_t least, most;   /* how many words */
};

extern const struct command_line run_line, submit_line, jobs_line, status_line, logs_line,
    attach_line, wait_line, cancel_line, sessions_line, end_line;

/* One line on standard error: "c4py: thing: reason". Returns EXIT_USAGE. */
int usage_error(const char *thing, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Parse what follows the command's name; words and options may be mixed unless there is a program.
 * `arguments` is put into another order. 0, or EXIT_USAGE after a line on standard error.
 */
int options_parse(struct options *options, const struct command_line *line, char **arguments);

/* The help text, from the same table. */
void options_help(const struct command_line *line);

/* Number of single-character edits between two words; UINT32_MAX for long ones. */
unsigned word_distance(const char *a, const char *b);

#endif
