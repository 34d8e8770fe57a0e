/*
 * The private directory that holds the embedded daemon's socket, for as long
 * as nobody has connected to it.
 */
#ifndef C4P_DAEMON_RUNDIR_H
#define C4P_DAEMON_RUNDIR_H

#include <limits.h>
#include <stddef.h>

struct rundir {
    char directory[PATH_MAX]; /* empty: there is none */
    char address[128];        /* ipc://directory/control, short enough for a Unix socket */
};

/* Mode 0700, under $XDG_RUNTIME_DIR, $TMPDIR or /tmp. -1 with a sentence in `error`. */
int rundir_create(struct rundir *rundir, char *error, size_t size);

/* Remove the socket and the directory; more than once does no harm. */
void rundir_remove(struct rundir *rundir);

#endif
