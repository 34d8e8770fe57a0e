/*
 * Who was turned away: counted, and written into the log, unless there are too many to read. What
 * strangers do must not fill the disk.
 */
#ifndef C4P_DAEMON_CLUSTER_REFUSALS_H
#define C4P_DAEMON_CLUSTER_REFUSALS_H

#include <stdint.h>

/* Lines in the log: so many in such a time, then one with the number of the others. */
#define REFUSALS_LOGGED 5
#define REFUSALS_LOGGED_MS 10000

struct refusals {
    uint64_t count;
    int64_t since;
    unsigned logged;
};

void refusals_add(struct refusals *refusals, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
