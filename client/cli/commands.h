/* The commands of c4py. Each returns the exit code of the process. */
#ifndef C4P_CLIENT_CLI_COMMANDS_H
#define C4P_CLIENT_CLI_COMMANDS_H

#include "client/cli/options.h"

int run_main(const struct options *options);
int submit_main(const struct options *options);
int jobs_main(const struct options *options);
int status_main(const struct options *options);
int logs_main(const struct options *options);
int attach_main(const struct options *options);
int wait_main(const struct options *options);
int cancel_main(const struct options *options);
int sessions_main(const struct options *options);
int end_main(const struct options *options);

#endif
