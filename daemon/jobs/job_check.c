#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/jobs/job.h"
#include "daemon/jobs/launch.h"
#include "daemon/words.h"
#include "proto/segment.h"

/* Ten years: more is a mistake, and timers count in seconds. */
#define MAX_TIME_LIMIT_MS (10ull * 366 * 24 * 60 * 60 * 1000)

int job_check_figures(const struct job_request *request, char error[JOB_ERROR_SIZE])
{
    char limit[WORDS_SIZE];
    bool aligned = request->region_size % SEGMENT_REGION_ALIGN == 0;

    if (request->pes > SEGMENT_MAX_PES) {
        snprintf(error, JOB_ERROR_SIZE, "a job has 1 to %d PEs, not %u", SEGMENT_MAX_PES,
                 request->pes);
        return -1;
    }
    if (request->region_size != 0 && (request->region_size < SEGMENT_MIN_REGION ||
                                      request->region_size > SEGMENT_MAX_REGION || !aligned)) {
        snprintf(error, JOB_ERROR_SIZE,
                 "the segment size must be a multiple of %u MiB, from %u MiB to %u GiB",
                 (unsigned)(SEGMENT_REGION_ALIGN >> 20), (unsigned)(SEGMENT_MIN_REGION >> 20),
                 (unsigned)(SEGMENT_MAX_REGION >> 30));
        return -1;
    }
    if (request->nodes > CONTROL_MAX_NODES ||
        (request->pes != 0 && request->nodes > request->pes)) {
        snprintf(error, JOB_ERROR_SIZE,
                 "%u PEs cannot be spread over %u nodes: each has at least one, and a job has at "
                 "most %d nodes",
                 request->pes, request->nodes, CONTROL_MAX_NODES);
        return -1;
    }
    if (request->time_limit_ms > MAX_TIME_LIMIT_MS) {
        snprintf(error, JOB_ERROR_SIZE, "a time limit of %s is too long: at most %d days",
                 words_duration(request->time_limit_ms, limit), 10 * 366);
        return -1;
    }
    return 0;
}

int job_check(const struct job_request *request, char error[JOB_ERROR_SIZE])
{
    struct stat directory;
    char path[PATH_MAX];

    if (job_check_figures(request, error) != 0)
        return -1;
    if (*request->cwd != '/' || stat(request->cwd, &directory) != 0 ||
        (errno = ENOTDIR, !S_ISDIR(directory.st_mode)) || access(request->cwd, X_OK) != 0) {
        snprintf(error, JOB_ERROR_SIZE, "the directory %.150s: %s", request->cwd,
                 *request->cwd != '/' ? "is no absolute path" : strerror(errno));
        return -1;
    }
    return launch_find(request, path, error);
}
