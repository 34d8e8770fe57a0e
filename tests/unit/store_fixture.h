/* Stores with jobs whose content follows from their numbers, for the tests of the store. */
#ifndef C4P_TESTS_STORE_FIXTURE_H
#define C4P_TESTS_STORE_FIXTURE_H

#include "tests/unit/scratch.h"

#include <sqlite3.h>

#include "daemon/jobs/store.h"

static inline uint64_t job_id(uint64_t number)
{
    return number * 0x9e3779b97fu % ((UINT64_C(1) << CONTROL_ID_BITS) - 1) + 1;
}

struct job_bytes {
    char request[3000], name[32], message[64], tail[200], text[100];
};

/* Job `number` as it was submitted, or with its end; what it points to is in `bytes`. */
static inline void job_make(uint64_t number, bool ended, struct store_job *job,
                            struct job_bytes *bytes)
{
    struct dice dice = dice_seeded(number);

    memset(job, 0, sizeof(*job));
    for (size_t i = 0; i < sizeof(bytes->request); i++)
        bytes->request[i] = (char)dice_throw(&dice);
    memset(bytes->tail, 't', sizeof(bytes->tail));
    memset(bytes->text, 'x', sizeof(bytes->text));
    snprintf(bytes->name, sizeof(bytes->name), "job %llu", (unsigned long long)number);
    snprintf(bytes->message, sizeof(bytes->message), "PE %llu broke", (unsigned long long)number);
    job->id = job_id(number);
    memcpy(job->key, &number, sizeof(number));
    job->key[15] = 1;
    job->state = ended ? (enum job_state)(JOB_COMPLETED + number % 3) : JOB_QUEUED;
    job->session = number % 4 == 0;
    job->pes = (uint32_t)(number % 5);
    job->priority = (int32_t)(number % 7) - 3;
    job->submitted = 1700000000000 + (int64_t)number;
    job->ended = ended ? job->submitted + 5000 : 0;
    job->exit_code = ended ? (int)(number % 3) : 0;
    job->name = bytes->name;
    job->message = ended ? bytes->message : "";
    job->tail = bytes->tail;
    job->text = bytes->text;
    job->tail_size = ended ? sizeof(bytes->tail) : 0;
    job->text_size = ended ? sizeof(bytes->text) : 0;
    job->request = bytes->request;
    job->request_size = 1 + number * 379 % sizeof(bytes->request);
}

static inline bool job_is(const struct store_job *got, uint64_t number, bool ended)
{
    struct job_bytes bytes;
    struct store_job job;

    job_make(number, ended, &job, &bytes);
    return got->id == job.id && memcmp(got->key, job.key, sizeof(job.key)) == 0 &&
           got->state == job.state && got->session == job.session && got->pes == job.pes &&
           got->priority == job.priority && got->submitted == job.submitted &&
           got->started == job.started && got->ended == job.ended &&
           got->exit_code == job.exit_code && strcmp(got->name, job.name) == 0 &&
           strcmp(got->message, job.message) == 0 && got->tail_size == job.tail_size &&
           (job.tail_size == 0 || memcmp(got->tail, job.tail, job.tail_size) == 0) &&
           got->text_size == job.text_size &&
           (job.text_size == 0 || memcmp(got->text, job.text, job.text_size) == 0) &&
           got->request_size == job.request_size &&
           memcmp(got->request, job.request, job.request_size) == 0;
}

/* ---- a store that has to work ---- */

struct troubles {
    unsigned count;
    char last[STORE_ERROR_SIZE];
};

static inline void on_trouble(void *context, const char *sentence)
{
    struct troubles *troubles = context;

    troubles->count++;
    snprintf(troubles->last, sizeof(troubles->last), "%s", sentence);
}

static inline struct store *store_opened(const struct scratch *scratch)
{
    char error[STORE_ERROR_SIZE] = "";
    struct store *store;

    if (store_open(&store, scratch->path, NULL, NULL, error) != STORE_OPEN)
        fail_msg("%s", error);
    return store;
}

static inline int job_submit(struct store *store, uint64_t number, char error[STORE_ERROR_SIZE])
{
    struct job_bytes bytes;
    struct store_job job;

    job_make(number, false, &job, &bytes);
    return store_submit(store, &job, error);
}

static inline int job_end(struct store *store, uint64_t number, char error[STORE_ERROR_SIZE])
{
    struct job_bytes bytes;
    struct store_job job;

    job_make(number, true, &job, &bytes);
    return store_end(store, &job, error);
}

static inline void jobs_submitted(struct store *store, uint64_t first, uint64_t last)
{
    char error[STORE_ERROR_SIZE] = "";

    for (uint64_t number = first; number <= last; number++)
        if (job_submit(store, number, error) != 0)
            fail_msg("%s", error);
}

static inline void jobs_ended(struct store *store, uint64_t first, uint64_t last)
{
    char error[STORE_ERROR_SIZE] = "";

    for (uint64_t number = first; number <= last; number++)
        if (job_end(store, number, error) != 0)
            fail_msg("%s", error);
}

/* ---- what is in it ---- */

struct listed {
    unsigned count;
    struct {
        uint64_t id, order;
        enum job_state state;
        int exit_code;
    } jobs[4096];
};

static inline bool listed_add(void *context, const struct store_job *job)
{
    struct listed *listed = context;

    require(listed->count < sizeof(listed->jobs) / sizeof(*listed->jobs));
    require(listed->count == 0 || listed->jobs[listed->count - 1].order < job->order);
    listed->jobs[listed->count].id = job->id;
    listed->jobs[listed->count].order = job->order;
    listed->jobs[listed->count].state = job->state;
    listed->jobs[listed->count++].exit_code = job->exit_code;
    return true;
}

static inline const struct listed *store_listed(struct store *store,
                                                const struct store_filter *filter)
{
    static struct listed listed;
    char error[STORE_ERROR_SIZE] = "";

    listed.count = 0;
    if (store_list(store, filter, listed_add, &listed, error) != 0)
        fail_msg("%s", error);
    return &listed;
}

/* SQL from outside, on a store that nobody has open. */
static inline void store_tamper(const struct scratch *scratch, const char *sql)
{
    sqlite3 *db;
    char *message = NULL;

    require(sqlite3_open(scratch_file(scratch, "store.db"), &db) == SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", sql, message);
    require(sqlite3_close(db) == SQLITE_OK);
}

/* A number that is read from outside, the same way. */
static inline void store_count(const struct scratch *scratch, const char *sql, int64_t *number)
{
    sqlite3_stmt *statement;
    sqlite3 *db;

    require(sqlite3_open(scratch_file(scratch, "store.db"), &db) == SQLITE_OK);
    require(sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK);
    require(sqlite3_step(statement) == SQLITE_ROW);
    *number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    require(sqlite3_close(db) == SQLITE_OK);
}

static inline void assert_sentence(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, text);
    assert_in_range(strlen(text), 20, STORE_ERROR_SIZE - 1);
}

#endif
