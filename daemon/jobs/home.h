/*
 * What a job with files of its own needs before its PEs at its own home start (home.c).
 */
#ifndef C4P_DAEMON_JOBS_HOME_H
#define C4P_DAEMON_JOBS_HOME_H

#include "daemon/jobs/jobs_internal.h"

/* Get ready for the PEs that are promised here: true if that is under way, and then entry_go() comes, or
 * the job goes back into the queue, or ends. False: there is nothing to do. */
bool home_begin(struct jobs *jobs, struct entry *entry, const C4p__Submit *submit,
                const struct reservation_part *parts, size_t count);
/* Is it under way? */
bool home_waits(const struct entry *entry);
/* The job is over, or not wanted now: a copy of its files is removed. */
void home_end(struct entry *entry);

#endif
