/*
 * Directories in which jobs of other nodes run: one for each, in work/ of the state directory. A
 * program may leave anything there, so nothing is followed when it goes.
 */
#ifndef C4P_DAEMON_JOBS_WORK_H
#define C4P_DAEMON_JOBS_WORK_H

#include <limits.h>
#include <stdint.h>

#include "daemon/cluster/swim.h"

/* Remove all of them: an earlier daemon's. -1 with errno if work/ cannot be made. */
int work_clean(const char *state_dir);
/* A name that no other one has; it is not made. */
void work_name(const char *state_dir, const struct node_key *home, uint64_t job,
               char path[PATH_MAX]);
/* A directory below, and all between. -1 with errno. */
int work_make(const char *path, const char *below);
/* It and all in it, if it is there. */
void work_remove(const char *path);

#endif
