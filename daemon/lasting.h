/*
 * c4pd's lasting form: it serves at its state directory until it is told to
 * end.
 *
 * TERM (INT in the foreground) drains: nothing more is accepted or started,
 * what runs has drain_time to come to its end, then it is ended as a cancelled
 * job is. A second TERM, or QUIT, does not wait for that, one more kills.
 * Queued jobs stay in the store. HUP reads the configuration and opens the log
 * again. A daemon without work sets no timers and sleeps.
 */
#ifndef C4P_DAEMON_LASTING_H
#define C4P_DAEMON_LASTING_H

#include "daemon/options.h"

#define LASTING_REPORT_SIZE 1024

/*
 * Run it; returns the exit code of the process. `report`: where "CODE sentence"
 * is written when it serves (code 0) or cannot, and which is closed then; the
 * log goes to the state directory. -1: in the foreground, all of that goes to
 * standard error.
 */
int lasting_run(const struct options *options, const struct config *config, int report);

#endif
