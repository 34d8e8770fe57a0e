/*
 * What `c4py run` and `c4py submit` are to launch: the PEs' command, checked before anything is
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

/*
 * `name` is that of the command of c4py. 0, or EXIT_USAGE after a line on standard error. Free is
 * safe on a zeroed struct.
 */
int command_make(struct command *command, const char *name, const struct options *options);
/* Why c4p_submit() did not take it. */
const char *command_submit_error(int error);
void command_free(struct command *command);

#endif
