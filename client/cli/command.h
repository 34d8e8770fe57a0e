/*
 * What `c4py run` is to launch: the PEs' command, checked before anything is
 * started.
 */
#ifndef C4P_CLIENT_CLI_COMMAND_H
#define C4P_CLIENT_CLI_COMMAND_H

#include "client/cli/options.h"

struct command {
    char **argv; /* ends with NULL, as does env; the words are borrowed */
    char **env;
    char *cwd;              /* absolute */
    char *python, *program; /* words of argv that were made here */
};

/* 0, or EXIT_USAGE after a line on standard error. Free is safe on a zeroed struct. */
int command_make(struct command *command, const struct run_options *options);
void command_free(struct command *command);

#endif
