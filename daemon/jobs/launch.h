/*
 * How the PEs of one job are started: the program, its arguments and the
 * environment, made once and used for each PE (see proto/README.md, "How a PE
 * is started").
 */
#ifndef C4P_DAEMON_JOBS_LAUNCH_H
#define C4P_DAEMON_JOBS_LAUNCH_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/jobs/job.h"

struct launch {
    char path[PATH_MAX];
    char **argv;
    char **env; /* its first entry is C4P_PE, rewritten for each PE */
    char *cwd;
    struct rlimit files;
    int null;   /* /dev/null */
    bool input; /* PE 0 has a pipe as its standard input */
};

/* Our ends of a PE's standard streams, non-blocking. in is -1 but for PE 0 of a job
 * that is given input. */
struct launch_streams {
    int in, out, err;
};

/* The path of the job's program. -1 with a sentence in `error`. */
int launch_find(const struct job_request *request, char path[PATH_MAX], char error[JOB_ERROR_SIZE]);

/* Copies what it needs. -1 with a sentence in `error`. Free is safe on a zeroed struct. */
int launch_init(struct launch *launch, const struct job_request *request,
                const struct job_place *place, char error[JOB_ERROR_SIZE]);
void launch_free(struct launch *launch);

/* Start a PE. Its process id, or -1 with a sentence in `error`. */
pid_t launch_pe(struct launch *launch, uint32_t pe, int segment_fd, int wake_fd,
                struct launch_streams *streams, char error[JOB_ERROR_SIZE]);

#endif
