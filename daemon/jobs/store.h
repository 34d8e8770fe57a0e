/*
 * What lasts of jobs: one SQLite database (WAL, synchronous=FULL) in the state directory. Whatever
 * a function here returns 0 for is on the disk.
 *
 * One row a job, with a checksum of what never changes after the submission (id, key, the request
 * ...) and one of its state and end; a row that fails one, or holds what no c4pd writes, is taken
 * out of the way into the table `quarantine` with the reason when the store is opened, and told to
 * on_trouble.
 *
 * The room for the closing records of the jobs that are open is reserved: a preallocated file beside
 * the store, which is given up when the disk is full and made again when there is room. While it is
 * missing no job is accepted (store_accepts). A closing record that finds no room even so is kept in
 * memory and written by store_retry().
 */
#ifndef C4P_DAEMON_JOBS_STORE_H
#define C4P_DAEMON_JOBS_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/jobs/life.h"
#include "proto/control.h"

/* 2: where a job runs. A store of version 1 is brought up when it is opened. */
#define STORE_VERSION 2
#define STORE_ERROR_SIZE 320
/* Longest message, tail and text of an end that are kept; more is cut. */
#define STORE_MAX_TEXT (64u << 10)

struct store;

/* A job as it is stored. Strings are never NULL. Times of day in ms since 1970, 0: not yet. */
struct store_job {
    uint64_t id;
    uint64_t order;                /* of submission, given by the store */
    uint8_t key[CONTROL_KEY_SIZE]; /* zeros: none; else of one job only, as the id is */
    enum job_state state;
    bool session;
    uint32_t pes; /* as asked for (0: any number), since it started as it has */
    int32_t priority;
    int64_t submitted, started, ended;
    int exit_code;
    const char *name;
    const char *message;     /* of the end */
    const void *tail, *text; /* of the end: bytes */
    size_t tail_size, text_size;
    const void *request; /* a packed Submit or Open of control.proto */
    size_t request_size;
    const void *hosts; /* on several hosts: a packed JobInfo that has its hosts, and nothing else */
    size_t hosts_size;
};

enum store_open_result {
    STORE_OPEN = 0,
    STORE_TRANSIENT, /* may be better next time: no room, no permission, busy */
    STORE_DAMAGED,   /* SQLite finds it corrupt, or it is no database */
    STORE_NEWER      /* written by a later c4pd */
};

typedef void store_trouble(void *context, const char *sentence);

/*
 * Open or make `directory`/store.db. On failure a sentence in `error`, which names the file and the
 * remedy. on_trouble is called for each row that was quarantined.
 */
enum store_open_result store_open(struct store **store, const char *directory,
                                  store_trouble *on_trouble, void *context,
                                  char error[STORE_ERROR_SIZE]);
/* NULL-safe. */
void store_close(struct store *store);

/* Rename a damaged store (and what belongs to it) out of the way; the new name in `to`. */
int store_set_aside(const char *directory, char to[STORE_ERROR_SIZE]);

/* The functions below return 0, or -1 with a sentence in `error`. */

/* Is there room for another job's records? */
int store_accepts(struct store *store, char error[STORE_ERROR_SIZE]);
/* Insert a job (job->state as it is to be); fills in job->order. Reserves room for its end. */
int store_submit(struct store *store, struct store_job *job, char error[STORE_ERROR_SIZE]);
/* It is in this state, none that is an end, since `when`; `pes` as it has them now. The first of
 * JOB_STARTING and JOB_RUNNING is when it started. */
int store_change(struct store *store, uint64_t id, enum job_state state, uint32_t pes, int64_t when,
                 char error[STORE_ERROR_SIZE]);
/*
 * It starts: JOB_STARTING, and with it where its PEs are (see store_job), kept for as long as the job
 * is remembered; size 0: here, and that is not kept.
 */
int store_start(struct store *store, uint64_t id, uint32_t pes, const void *hosts,
                size_t hosts_size, int64_t when, char error[STORE_ERROR_SIZE]);
/*
 * A job's end: state, ended, exit_code, message, tail, text of `job`. Never fails for good: without
 * room it is kept for store_retry(), and 1 is returned with the reason in `error`. -1 is for a job
 * that is not known, or is over.
 */
int store_end(struct store *store, const struct store_job *job, char error[STORE_ERROR_SIZE]);
/* Write what store_end() had no room for, and make the reserve again. The number of ends that still
 * wait; with `error` set if there are any, or the reserve is missing. */
size_t store_retry(struct store *store, char error[STORE_ERROR_SIZE]);

/* Rows, in the order of submission. False from `each` stops. `job` and what it points to are valid
 * during the call. Ends that wait for room are seen as if they were written. */
typedef bool store_each(void *context, const struct store_job *job);
struct store_filter {
    bool ended, open; /* neither: both */
    bool sessions_only;
    uint32_t last;               /* at most the last so many; 0: all */
    uint64_t after;              /* only those of a greater order */
    uint64_t id_low, id_high;    /* ids from .. to; both 0: all */
    const char *name;            /* NULL: any */
    const uint8_t *key;          /* NULL: any */
    bool with_request, with_end; /* fill in request and hosts; tail and text */
};
int store_list(struct store *store, const struct store_filter *filter, store_each *each,
               void *context, char error[STORE_ERROR_SIZE]);

/*
 * Forget ended jobs: all but the `keep` newest, and those that ended before `before`. Calls
 * forgotten (not NULL) for each, when it is gone. The number of them, or -1.
 */
typedef void store_forgotten(void *context, uint64_t id);
int store_forget(struct store *store, uint32_t keep, int64_t before, store_forgotten *forgotten,
                 void *context, char error[STORE_ERROR_SIZE]);

/* Rows in quarantine. */
unsigned store_quarantined(const struct store *store);

#endif
