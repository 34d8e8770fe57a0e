/*
 * The state directory of a lasting daemon (proto/place.h): made, checked, and locked for as long as
 * the daemon lives. The lock is what makes a daemon the only one.
 */
#ifndef C4P_DAEMON_STATE_DIR_H
#define C4P_DAEMON_STATE_DIR_H

#include <limits.h>

#define STATE_DIR_ERROR_SIZE 400

struct state_dir {
    char path[PATH_MAX];
    int lock; /* -1: not ours */
};

enum state_dir_result {
    STATE_DIR_OPEN = 0,
    STATE_DIR_TRANSIENT, /* may be better next time: the disk is full, no memory */
    STATE_DIR_REFUSED    /* wrong owner, wrong mode, read-only, another daemon has it */
};

/* Make it and the directories above it (0700), lock it, and remove what a daemon that was killed
 * left there. With a sentence in `error`. */
enum state_dir_result state_dir_open(struct state_dir *directory, const char *path,
                                     char error[STATE_DIR_ERROR_SIZE]);
/* Remove what is true only while a daemon lives, and unlock. Also after a failure. */
void state_dir_close(struct state_dir *directory);

#endif
