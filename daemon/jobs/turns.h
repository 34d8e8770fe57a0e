/*
 * How jobs get their turn: what ties queue.h and placing.h to the jobs of this node, with timers.
 *
 * A job that has its turn is tried; when all of its PEs are promised entry_placed() takes it from
 * there (jobs.c). Whatever becomes of it then, placing_end() gives its PEs back, or placing_back()
 * and queue_add() put it where it was.
 */
#ifndef C4P_DAEMON_JOBS_TURNS_H
#define C4P_DAEMON_JOBS_TURNS_H

#include "daemon/jobs/jobs_internal.h"

/* -1 with errno. Close is good for what was opened in part. */
int turns_open(struct jobs *jobs);
void turns_close(struct jobs *jobs);

/* Try those whose turn it is, and tell who shows reasons. */
void turns_go(struct jobs *jobs);

#endif
