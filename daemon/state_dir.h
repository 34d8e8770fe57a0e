/*
 * The state directory of a lasting daemon (proto/place.h): made, checked, and locked for as long as
 * the daemon lives; and how a daemon that has one is found.
 *
 * The lock is what makes a daemon the only one. The file with its process id is for those who look
 * for it: it also says when that process was started, so that a number that the kernel has given to
 * another process meanwhile is not taken for the daemon.
 */
#ifndef C4P_DAEMON_STATE_DIR_H
#define C4P_DAEMON_STATE_DIR_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

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
/* Say who we are, and how many PEs there are. -1 with errno. */
int state_dir_announce(const struct state_dir *directory, uint32_t pes);
/* Remove what is true only while a daemon lives, and unlock. Also after a failure. */
void state_dir_close(struct state_dir *directory);

/* A daemon that runs. */
struct state_dir_daemon {
    pid_t pid;
    int pidfd;     /* readable when it has ended; -1: there is none */
    int64_t since; /* seconds since 1970 */
    uint32_t pes;
    char version[32];
};

/* Who runs in this directory? The pidfd is the caller's. */
bool state_dir_find_daemon(const char *path, struct state_dir_daemon *daemon);

#endif
