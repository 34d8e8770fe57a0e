/*
 * How a daemon is found by those who look for it: a file in its state directory with its process
 * id, and how it is configured.
 *
 * The file also says when that process was started, so that a number that the kernel has given to
 * another process meanwhile is not taken for the daemon, whatever a daemon that was killed left.
 */
#ifndef C4P_DAEMON_ANNOUNCEMENT_H
#define C4P_DAEMON_ANNOUNCEMENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/config.h"

/* While it is written it has this name. */
#define ANNOUNCEMENT_DRAFT "c4pd.pid.new"

/* Say who we are; again when the configuration is another. -1 with errno. */
int announcement_write(const char *directory, const struct config *config);

/* A daemon that runs. */
struct announcement {
    pid_t pid;
    int pidfd;     /* readable when it has ended; the reader's */
    int64_t since; /* seconds since 1970 */
    char version[32];
    bool config_known; /* not of a daemon of another version with other keys */
    struct config config;
};

/* Who runs in this directory? False, and nothing to close: nobody. */
bool announcement_find(const char *directory, struct announcement *daemon);

#endif
