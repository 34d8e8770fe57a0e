/*
 * A job: its PEs, its segment and router, what they write, and its life.
 *
 * This is the shell around the pure cores life.h and output.h: it spawns,
 * reads pipes, sends signals and passes everything on to the one follower.
 * job_start() makes all PEs; from then on the event loop drives it until the
 * listener's `ended`, which comes after the last PE is gone and everything
 * that the PEs wrote was handed to the follower.
 */
#ifndef C4P_DAEMON_JOBS_JOB_H
#define C4P_DAEMON_JOBS_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "daemon/jobs/life.h"
#include "daemon/jobs/output.h"

struct event_base;
struct job;

/* What a client asks for; the arrays end with NULL. All of it is borrowed during job_create(). */
struct job_request {
    char *const *argv;
    char *const *env;
    const char *cwd;
    uint32_t pes;
    uint64_t region_size; /* 0: a share of the machine's memory */
};

/* What this node adds to it. */
struct job_place {
    struct event_base *base;
    const char *host;
    const char *package_dir; /* put in front of PYTHONPATH; NULL: nothing */
    struct rlimit files;     /* RLIMIT_NOFILE of the PEs */
};

struct job_end {
    enum job_state state;
    int exit_code;
    const char *message;
    const char *tail, *text;
    size_t tail_size, text_size;
};

/* Who sees what the job does. Any of it may call back into the job, but not destroy it. */
struct job_listener {
    void (*changed)(void *context, uint64_t job, enum job_state state);
    void (*output)(void *context, uint64_t job, const struct output_piece *piece,
                   uint64_t sequence);
    void (*input_credit)(void *context, uint64_t job, uint32_t bytes, bool closed);
    void (*ended)(void *context, uint64_t job, const struct job_end *end);
    void *context;
};

#define JOB_ERROR_SIZE 256

/* NULL with a sentence in `error`. */
struct job *job_create(uint64_t id, const struct job_request *request,
                       const struct job_place *place, const struct job_listener *listener,
                       char error[JOB_ERROR_SIZE]);
/* Kills what lives. NULL-safe. Not from within a listener. */
void job_destroy(struct job *job);

/* Spawn the PEs. Trouble is told as the job's end. */
void job_start(struct job *job);

/*
 * With a follower the listener gets output, without one (at first) what the
 * PEs write waits in their pipes; after job_abandon() it is thrown away.
 */
void job_follow(struct job *job);
void job_abandon(struct job *job);
bool job_followed(const struct job *job);

/* The follower has dealt with the output up to `sequence`. */
void job_output_ack(struct job *job, uint64_t sequence);

/* Standard input for PE 0; -1 if it is more than the credit given. */
int job_input(struct job *job, const void *data, size_t size, bool eof);

void job_cancel(struct job *job, bool kill);

/* A child has ended and is not reaped yet. If it is a PE of the job, reap it and return true. */
bool job_child_died(struct job *job, pid_t pid);

#endif
