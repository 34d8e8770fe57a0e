/*
 * The private daemon of one run: started here, ended with us.
 */
#ifndef C4P_CLIENT_CLI_PRIVATE_DAEMON_H
#define C4P_CLIENT_CLI_PRIVATE_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PRIVATE_DAEMON_ERROR_SIZE 400

struct private_daemon {
    pid_t pid;
    int lifeline; /* to be adopted, by a duplicate: we keep it for the end */
    int status;   /* of waitpid(), once it is gone */
    bool others;  /* we had children before: what is orphaned cannot be told from them */
};

/* Start c4pd: $C4PD, or the one beside this program. -1 with a sentence in `error`. */
int private_daemon_start(struct private_daemon *daemon, const char *log_level,
                         char error[PRIVATE_DAEMON_ERROR_SIZE]);

/*
 * Let go of the lifeline and wait until the daemon is gone; then see to it
 * that no process of the job is left, whatever has become of the daemon.
 */
void private_daemon_end(struct private_daemon *daemon);

#endif
