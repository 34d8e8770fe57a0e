/*
 * Starting one process of a job.
 */
#ifndef C4P_DAEMON_JOBS_SPAWN_H
#define C4P_DAEMON_JOBS_SPAWN_H

#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

/* Where a child finds what it inherits besides its standard streams. */
#define SPAWN_SEGMENT_FD 3
#define SPAWN_WAKE_FD 4
#define SPAWN_FIRST_FREE_FD 5

/*
 * Keep descriptors 0 .. SPAWN_FIRST_FREE_FD-1 of this process occupied, so that
 * none that a child gets ever has such a number here. Call first of all.
 * Returns -1 with errno.
 */
int spawn_reserve_fds(void);

struct spawn {
    const char *path; /* of the program, from spawn_find() */
    char *const *argv;
    char *const *env;
    const char *cwd;
    int in, out, err;    /* its standard streams */
    int segment, wake;   /* become SPAWN_SEGMENT_FD and SPAWN_WAKE_FD */
    struct rlimit files; /* its RLIMIT_NOFILE */
};

/*
 * Find a program as a shell would: `name` itself if it has a slash, else in
 * the PATH of `env`. Writes the path; returns 0, or -1 with errno.
 */
int spawn_find(const char *name, char *const *env, char *path, size_t size);

/*
 * Start a process: own process group, all signals at their defaults, killed
 * when the calling thread ends, nothing inherited but the five descriptors.
 * Returns its id, or -1 with errno and *what set to the thing that failed.
 */
pid_t spawn_process(const struct spawn *spawn, const char **what);

#endif
