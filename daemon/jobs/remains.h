/*
 * What jobs leave behind: processes that they started and that outlived them, as daemons do.
 *
 * Every process of a job has C4P_JOB=INSTANCE/ID in its environment. The instance is 16 random
 * bytes of the state directory (or of this process, where there is none), so what an earlier daemon
 * of the directory left is known too. While the daemon lives, who loses his parent becomes a child
 * of it (prctl(2), PR_SET_CHILD_SUBREAPER): then it is enough to look at the children.
 */
#ifndef C4P_DAEMON_JOBS_REMAINS_H
#define C4P_DAEMON_JOBS_REMAINS_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/control.h"

#define REMAINS_INSTANCE_CHARS 32
#define REMAINS_MARK_SIZE (REMAINS_INSTANCE_CHARS + 1 + CONTROL_ID_CHARS + 1)

struct remains {
    char instance[REMAINS_INSTANCE_CHARS + 1];
};

/* Read the instance in a state directory, or make one; NULL: for this process. -1 with errno. */
int remains_open(struct remains *remains, const char *state_dir);

/* The value of C4P_JOB for a job. */
void remains_mark(const struct remains *remains, uint64_t id, char mark[REMAINS_MARK_SIZE]);

/* Kill all processes with our mark but this one, until there is none: 0; -1 if some do not go. */
int remains_kill(const struct remains *remains, unsigned *killed);

/* Kill the children with the mark of a job that does not run. The number of them. */
typedef bool remains_runs(void *context, uint64_t id);
unsigned remains_sweep(const struct remains *remains, remains_runs *runs, void *context);

#endif
