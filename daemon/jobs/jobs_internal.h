/*
 * What the parts of jobs.h share: submit.c (how a job comes in), turns.c (when it is its turn),
 * starting.c (how it starts), home.c (its files here), away.c (other nodes), jobs.c (how it ends), history.c (what is remembered
 * of it) and describe.c (how that is told).
 */
#ifndef C4P_DAEMON_JOBS_JOBS_INTERNAL_H
#define C4P_DAEMON_JOBS_JOBS_INTERNAL_H

#include <limits.h>

#include <uthash.h>

#include "daemon/cluster/post.h"
#include "daemon/jobs/jobs.h"
#include "daemon/jobs/placing.h"
#include "daemon/jobs/probe.h"
#include "daemon/jobs/queue.h"
#include "daemon/jobs/remains.h"

/*
 * A job in memory: every one that is not over, and those that are while somebody reads them. Without
 * a store, all that are remembered.
 */
struct entry {
    UT_hash_handle hh;
    uint64_t id;
    /*
     * The job as it is stored. name, message, tail, text and request are ours or "", NULL; request
     * is only here when there is no store, message and what follows it only when the job is over.
     */
    struct store_job record;

    /* in memory only */
    struct jobs *jobs;             /* that it is one of */
    uint32_t wanted;               /* PEs as asked for */
    struct bundle_hash *bundle;    /* pinned; NULL: none */
    int64_t queued;                /* on clock_ms() */
    struct job *job;               /* while it runs, and then until the next turn */
    struct entry *prev, *next;     /* of those with a job */
    struct transcript *transcript; /* when somebody wanted it */
    bool read;                     /* jobs_transcript() came, jobs_release() did not yet */
    bool forgotten;                /* nobody remembers it when nobody reads it */
    uint64_t attempt;              /* of the reservation of its PEs, if other nodes are in it */
    char *hosts;                   /* their names, while they get ready */
    void *placed;                  /* where its PEs are to be, for the store, until they start */
    size_t placed_size;
    bool back; /* it could not be prepared: it goes back into the queue ... */
    char back_reason[QUEUE_REASON_SIZE]; /* ... and this is why ... */
    int64_t back_at;                     /* ... to be tried again at */
    C4p__Python *need;                   /* what it needs elsewhere, when that is known */
    struct probe *probe;                 /* while that is found out */
    struct home *home;                   /* its files here; NULL: it brought none */
};

struct jobs {
    const struct job_place *place;
    struct jobs_settings settings;
    struct jobs_listener listener;
    char state_dir[PATH_MAX]; /* empty: nothing lasts */
    struct remains remains;
    struct store *store; /* NULL: nothing lasts */
    struct queue *queue;
    struct placing *placing; /* where its PEs are */
    struct away *away;       /* other nodes; NULL: there never are any */
    struct entry *entries;   /* by id */
    struct entry *active;    /* those with a job, over or not */
    struct event *turn;      /* jobs are started and buried, when nobody is in the middle of one */
    struct event *again;     /* the first in the queue is tried again */
    struct event *lease;     /* placing_tick() */
    struct event *retry;     /* of the store */
    uint64_t last_order;     /* without a store */
    uint32_t running, sessions;
    bool draining, ended, orphans;
    bool room_moved; /* the queue has to look again */
    bool store_down; /* jobs cannot be started: a state could not be written */
    char trouble[STORE_ERROR_SIZE];
};

struct entry *entry_find(const struct jobs *jobs, uint64_t id);
/* The same; a job that is over is taken in from the store, until the next turn or while it is read. */
struct entry *entry_load(struct jobs *jobs, uint64_t id);
/* Opened when it is wanted. NULL with errno. */
struct transcript *entry_transcript(struct jobs *jobs, struct entry *entry);
/* What a queued job waits for; else empty. */
void entry_reason(const struct jobs *jobs, const struct entry *entry,
                  char reason[JOBS_REASON_SIZE]);
/* Takes a copy of the record; of the request only if there is no store to keep it. NULL: no memory. */
struct entry *entry_create(struct jobs *jobs, const struct store_job *record);
void entry_destroy(struct jobs *jobs, struct entry *entry);
/* Fill in the end of a record, with copies. */
void entry_set_end(struct entry *entry, const struct job_end *end, int64_t when);

/* Where its output is; NULL if nothing lasts. */
const char *output_directory(const struct jobs *jobs, uint64_t id, char path[PATH_MAX]);

/* The packed request of a job, to be freed. NULL with a sentence; *later: the store may have it yet. */
void *request_fetch(struct jobs *jobs, const struct entry *entry, size_t *size, bool *later,
                    char error[STORE_ERROR_SIZE]);
/* The job whose submission had this key, or 0. -1 with a sentence. */
int key_find(struct jobs *jobs, const uint8_t *key, uint64_t *id, char error[STORE_ERROR_SIZE]);
/* Is there a job of this id in the store? */
bool row_exists(struct jobs *jobs, uint64_t id);

/* Take in what an earlier daemon left in the store. -1 with a sentence. */
int history_recover(struct jobs *jobs, char error[STORE_ERROR_SIZE]);
/* Forget what is too old or too much. */
void history_trim(struct jobs *jobs);
/* Remove the output of jobs that nobody remembers. */
void history_clean(struct jobs *jobs);

/* A sentence; returns -1. */
int jobs_refuse(char reason[JOBS_REASON_SIZE], const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* An id as text, good until the next call. */
const char *jobs_id_text(uint64_t id);
/* "job 7q3fkd92", the subject of what the log says about it; good until the next call. */
const char *jobs_subject(uint64_t id);
/* The end of a job that has no PEs: none yet, or none that could be started. */
void entry_end_unstarted(struct jobs *jobs, struct entry *entry, enum job_state state,
                         int exit_code, const char *message);

void queue_update(struct jobs *jobs);
/* The end of a job: recorded, then told. */
void entry_end(struct jobs *jobs, struct entry *entry, const struct job_end *end);

/* Back to where it was in the queue, after `back`. */
void entry_back(struct jobs *jobs, struct entry *entry);
/* The request of a job, as it was submitted. NULL with a sentence, and whether that may change. */
C4p__Submit *submit_fetch(struct jobs *jobs, const struct entry *entry, bool *later,
                          char error[STORE_ERROR_SIZE]);
/* The same for one that was about to start, and the store cannot take that. */
void entry_postpone(struct jobs *jobs, struct entry *entry, const char *error);
/* Start it: `own` is what runs here, `submit` what the other nodes are told. */
void entry_go(struct jobs *jobs, struct entry *entry, const C4p__Submit *submit,
              const C4p__Submit *own, const struct reservation_part *parts, size_t count);
/* All PEs of a job are promised: start it. */
void entry_placed(struct jobs *jobs, struct entry *entry, uint64_t attempt,
                  const struct reservation_part *parts, size_t count);
/* A submission's bundle is here, for good; -1 with a sentence. */
int submit_check_bundle(struct jobs *jobs, const C4p__Submit *submit,
                        char reason[JOBS_REASON_SIZE]);
/* Of a job that is not over: its bundle stays until the job's end. */
void entry_pin(struct jobs *jobs, struct entry *entry, const struct store_job *record);
void entry_unpin(struct jobs *jobs, struct entry *entry);

/* Let jobs start and be buried, soon. */
void turn_soon(struct jobs *jobs);
/* The store has a trouble: tell it, once, and try again in a moment. */
void store_failed(struct jobs *jobs, const char *sentence);

#endif
