/*
 * The commands of c4pd that deal with a daemon that runs, or might. Each takes
 * its name and what follows it, and returns the exit code.
 */
#ifndef C4P_DAEMON_COMMANDS_H
#define C4P_DAEMON_COMMANDS_H

#include "daemon/options.h"

int stop_main(const struct options *options);
int restart_main(const struct options *options);
int reload_main(const struct options *options);
int status_main(const struct options *options);
int config_main(const struct options *options);

/* Those of the cluster (docs/cluster.md). */
int init_main(const struct options *options);
int join_main(const struct options *options);
int leave_main(const struct options *options);
int nodes_main(const struct options *options);
int token_main(const struct options *options);
int evict_main(const struct options *options);
int key_main(const struct options *options);

#endif
