/*
 * All jobs of a daemon: accepted, queued, started when there are slots, ended, remembered.
 *
 * This is the shell that ties queue.h, store.h, transcript.h and job.h together. A private daemon
 * has it without a state directory: nothing is stored then, and output is kept in memory.
 *
 * Recovery. What the store holds of jobs that were queued is queued again, in order, under the same
 * ids. What had started is recorded as failed, with the reason; processes that it left behind (they
 * have C4P_JOB=INSTANCE/ID of this state directory in their environment) are killed before anything
 * new starts. A session does not outlive its daemon, queued or not: its clients lost it.
 *
 * What a job leaves behind when it ends (processes that made a process group of their own) is
 * killed as well: this process asks for the orphans below it to become its children (remains.h).
 */
#ifndef C4P_DAEMON_JOBS_JOBS_H
#define C4P_DAEMON_JOBS_JOBS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/jobs/bundle.h"
#include "daemon/jobs/job.h"
#include "daemon/jobs/store.h"
#include "daemon/jobs/transcript.h"
#include "proto/control.pb-c.h"

struct jobs;
struct post;
struct probes;
struct provisions;

struct jobs_settings {
    const char *state_dir; /* NULL: nothing lasts */
    /* Other nodes, borrowed; NULL: there never are any. And the files that jobs bring along there. */
    struct post *post;
    struct bundles *bundles;
    struct probes *probes;         /* NULL without `post` */
    struct provisions *provisions; /* as well */
    uint32_t slots;                /* PEs; 0: no limit */
    uint64_t output_limit;         /* bytes of output kept of a job */
    uint32_t queue_limit;          /* jobs that may wait */
    uint32_t keep;                 /* ended jobs that are remembered */
    uint64_t keep_ms;              /* ... and for how long; 0: as long as `keep` allows */
};

/* Who is told. None of it may destroy the jobs. */
struct jobs_listener {
    /* The state is another one. */
    void (*changed)(void *context, uint64_t id, enum job_state state);
    /* What queued jobs wait for is another thing, for some of them. */
    void (*queue_moved)(void *context);
    /* There are new pieces in the transcript. */
    void (*output)(void *context, uint64_t id);
    void (*input_credit)(void *context, uint64_t id, uint32_t bytes, bool closed);
    /* It is over, that is recorded, and all of its output is in the transcript. */
    void (*ended)(void *context, uint64_t id);
    /* May the PEs of this job go on writing? False: some follower would lose what it must have. */
    bool (*keeps_up)(void *context, uint64_t id);
    /* A sentence for a person (a row was quarantined); NULL: jobs_trouble() says another. */
    void (*trouble)(void *context, const char *sentence);
    void *context;
};

/* NULL with a sentence in `error` (STORE_ERROR_SIZE) and why in *result. `place` is borrowed. */
struct jobs *jobs_create(const struct job_place *place, const struct jobs_settings *settings,
                         const struct jobs_listener *listener, enum store_open_result *result,
                         char *error);
/* Kills what runs, and records that. NULL-safe. */
void jobs_destroy(struct jobs *jobs);

#define JOBS_REASON_SIZE 320 /* holds a STORE_ERROR and a JOB_ERROR, and what queue.h says */

/*
 * Accept a job: checked, on the disk, queued. One from outside comes from a machine that is no node:
 * its paths need not exist here, but it must bring its files along, and an interpreter that is not here
 * is this node's own. 0 and its id (that of the first if the key is known), or -1 with a sentence.
 */
enum jobs_kind { JOBS_PROGRAM, JOBS_SESSION, JOBS_FROM_OUTSIDE };
int jobs_submit(struct jobs *jobs, const C4p__Submit *submit, enum jobs_kind kind, uint64_t *id,
                char reason[JOBS_REASON_SIZE]);
/* 0; -1 with a sentence: unknown, or over. */
int jobs_cancel(struct jobs *jobs, uint64_t id, bool kill, char reason[JOBS_REASON_SIZE]);
/* End a session's job, with success; `why` (or NULL) becomes its message. */
int jobs_close(struct jobs *jobs, uint64_t id, const char *why, char reason[JOBS_REASON_SIZE]);
int jobs_input(struct jobs *jobs, uint64_t id, const void *data, size_t size, bool eof,
               char reason[JOBS_REASON_SIZE]);

/* How much input there is room for; 0 as well while the job does not run, or reads no more. */
uint32_t jobs_input_room(struct jobs *jobs, uint64_t id, bool *closed);

/* The state of a job, and what it waits for; false: there is no such job. */
bool jobs_state(struct jobs *jobs, uint64_t id, enum job_state *state,
                char reason[JOBS_REASON_SIZE]);
/* The transcript of a job, over or not; NULL: unknown, or no memory. Valid until jobs_release(). */
struct transcript *jobs_transcript(struct jobs *jobs, uint64_t id);
/* Followers have caught up: pipes are read again where there is room. */
void jobs_resume(struct jobs *jobs, uint64_t id);
/* Nobody reads the transcript any more. */
void jobs_release(struct jobs *jobs, uint64_t id);

/* Describe jobs: calls `each` with a message that is valid during the call. */
typedef bool jobs_each(void *context, const C4p__JobInfo *info);
int jobs_list(struct jobs *jobs, const struct store_filter *filter, jobs_each *each, void *context,
              char reason[JOBS_REASON_SIZE]);
/* The end of a job that is over, as the message that tells it; false: it is not over. */
bool jobs_ended(struct jobs *jobs, uint64_t id, void (*tell)(void *, const C4p__Ended *),
                void *context);

/* The router of a job while it runs (not before, nor when it is ending); NULL if it does not. */
struct router *jobs_router(struct jobs *jobs, uint64_t id);

/* A child has ended and is not reaped yet: true if it was a PE, which is reaped then. Others may be
 * what a job left behind. */
bool jobs_child_died(struct jobs *jobs, pid_t pid);

/* Start nothing more. */
void jobs_drain(struct jobs *jobs);
/* End what runs; queued jobs stay in the store. */
void jobs_stop(struct jobs *jobs, bool kill);
/* No PE lives. */
bool jobs_idle(const struct jobs *jobs);
/* The settings that can change while it runs: slots, output_limit, queue_limit, keep, keep_ms. */
void jobs_configure(struct jobs *jobs, const struct jobs_settings *settings);

/* What is wrong with the store at this moment, a sentence; empty: nothing. */
const char *jobs_trouble(const struct jobs *jobs);

struct jobs_figures {
    uint32_t slots, used, queued, running, sessions;
    unsigned quarantined;
};
struct jobs_figures jobs_figures(const struct jobs *jobs);

#endif
