/* The commands of c4py. Each returns the exit code of the process. */
#ifndef C4P_CLIENT_CLI_COMMANDS_H
#define C4P_CLIENT_CLI_COMMANDS_H

#include "client/cli/options.h"

int run_main(const struct options *options);

#endif
