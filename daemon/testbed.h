/*
 * `c4pd testbed`: a cluster on this machine, for trying things out.
 *
 * So many daemons, each a node with a state directory and ports of its own, on the loopback interface.
 * All of them, and what they keep, are gone when the command ends; they cannot outlive it. What it does
 * is what a person would type (c4pd init, start, token, join), so no privilege is needed, and nothing
 * else than a real cluster is shown.
 */
#ifndef C4P_DAEMON_TESTBED_H
#define C4P_DAEMON_TESTBED_H

#include "daemon/options.h"

#define TESTBED_NODES 3
#define TESTBED_MAX_NODES 32
#define TESTBED_PORT 7327 /* the first of those that are looked at */
#define TESTBED_LAST_PORT 8327

/* Until it is interrupted, or the given command ends, whose exit code is ours. */
int testbed_main(const struct options *options);

#endif
