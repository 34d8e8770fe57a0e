/*
 * The files that a submitted program takes along to hosts that do not have them.
 *
 * By default, if the daemon belongs to a cluster: the program, and all Python files below its
 * directory. Their root is the directory in which the program runs if the program is below it, so that
 * relative paths stay true, else the program's directory; --include widens it.
 */
#ifndef C4P_CLIENT_CLI_LUGGAGE_H
#define C4P_CLIENT_CLI_LUGGAGE_H

#include <stdbool.h>

#include "client/c4p.h"
#include "client/cli/command.h"

/* *bundle: what is to be sent, or NULL. 0, or an exit code after a line on standard error. */
int luggage_pack(const struct options *options, const struct command *command, bool cluster,
                 struct c4p_bundle **bundle);
/* Give it to the daemon; on a terminal what takes long says so. As above. */
int luggage_send(struct c4p_client *client, struct c4p_bundle *bundle);

#endif
