/*
 * c4pd start: into the background, unless it is to stay in the foreground.
 *
 * The command waits at a pipe for what the daemon has to say of its start: that
 * it serves, or why not. So it returns as soon as either is true, with the exit
 * code that the daemon chose.
 */
#ifndef C4P_DAEMON_START_H
#define C4P_DAEMON_START_H

#include "daemon/options.h"

int start_main(const struct options *options);

#endif
