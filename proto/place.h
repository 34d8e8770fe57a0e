/*
 * Where a daemon of this user is found on this host: daemon and clients must agree.
 *
 * Everything of a daemon is in its state directory (0700): the store, the jobs' output, the log,
 * the lock, and the two sockets. Home directories are shared between hosts more often than not,
 * so the default directory has the host's name in it.
 */
#ifndef C4P_PROTO_PLACE_H
#define C4P_PROTO_PLACE_H

#include <limits.h>
#include <stddef.h>

/* In the state directory. */
#define PLACE_ATTACH "attach"   /* Unix socket, SOCK_SEQPACKET */
#define PLACE_CONTROL "control" /* ZeroMQ's, ipc:// */
#define PLACE_DATA "data"       /* ZeroMQ's too: messages of clients that map no segment */
#define PLACE_LOCK "lock"       /* held by the daemon (flock) for as long as it lives */
#define PLACE_PID "c4pd.pid"    /* its process id, true while the lock is held */
#define PLACE_LOG "c4pd.log"    /* when it runs in the background */
#define PLACE_STORE "store.db"  /* jobs (daemon/jobs/store.h) */
#define PLACE_JOBS "jobs"       /* a directory of each job's output */
#define PLACE_BUNDLES "bundles" /* files of programs (daemon/jobs/bundle.h) */
#define PLACE_WORK "work"       /* a directory of each job of another node that runs here */

/* Longest state directory: "/control" must fit behind it into a Unix socket's address. */
#define PLACE_MAX 96

/*
 * The state directory: $C4P_STATE_DIR, or c4p/HOST under $XDG_STATE_HOME or ~/.local/state.
 * Absolute. 0, or -1 with a sentence in `error` (PLACE_ERROR_SIZE bytes). Makes nothing.
 */
#define PLACE_ERROR_SIZE 256
int place_state_dir(char directory[PATH_MAX], char error[PLACE_ERROR_SIZE]);

/* The same for a directory that was given: made absolute, and checked for its length. */
int place_given_dir(const char *given, char directory[PATH_MAX], char error[PLACE_ERROR_SIZE]);

#endif
