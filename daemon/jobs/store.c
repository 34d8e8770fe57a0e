/*
 * What is asked of the store. Every function is one transaction.
 *
 * An end always goes the same way: it is put into a table in memory (temp.pending), which every
 * question sees as well, and then written from there. What cannot be written stays there for
 * store_retry().
 */
#include "daemon/jobs/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/jobs/store_parts.h"

/* JOB_COMPLETED and what comes behind it is over. */
#define OVER "5"
_Static_assert(JOB_COMPLETED == 5, "OVER says the same");

static const char *const statements[STORE_STATEMENTS] = {
    [STORE_INSERT_JOB] =
        "INSERT INTO job (sequence, id, key, state, session, pes, priority, submitted, started,"
        " ended, exit_code, name, message, tail, text, checksum, end_checksum)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    [STORE_INSERT_REQUEST] = "INSERT INTO request (sequence, request) VALUES (?1, ?2)",
    [STORE_FIND_OPEN] = "SELECT sequence, pes, started FROM job WHERE id = ?1 AND state < " OVER
                        " AND sequence NOT IN (SELECT sequence FROM temp.pending)",
    [STORE_CHANGE] = "UPDATE job SET state = ?2, pes = ?3, started = ?4, end_checksum = ?5"
                     " WHERE sequence = ?1",
    [STORE_INSERT_HOSTS] =
        "INSERT OR REPLACE INTO hosts (sequence, checksum, hosts) VALUES (?1, ?2, ?3)",
    [STORE_KEEP_END] =
        "INSERT INTO temp.pending (sequence, state, ended, exit_code, message, tail, text,"
        " end_checksum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [STORE_NEXT_END] = "SELECT sequence FROM temp.pending ORDER BY ended, sequence LIMIT 1",
    [STORE_WRITE_END] =
        "UPDATE job SET (state, ended, exit_code, message, tail, text, end_checksum) ="
        " (SELECT state, ended, exit_code, message, tail, text, end_checksum FROM temp.pending"
        " WHERE sequence = ?1) WHERE sequence = ?1",
    [STORE_DROP_END] = "DELETE FROM temp.pending WHERE sequence = ?1",
    [STORE_FORGET_FIND] =
        "SELECT sequence, id FROM job WHERE state >= " OVER " AND (ended < ?2 OR sequence NOT IN"
        " (SELECT sequence FROM job WHERE state >= " OVER
        " ORDER BY ended DESC, sequence DESC LIMIT ?1)) ORDER BY sequence LIMIT ?3",
    [STORE_FORGET_JOB] = "DELETE FROM job WHERE sequence = ?1",
    [STORE_FORGET_REQUEST] = "DELETE FROM request WHERE sequence = ?1",
    [STORE_FORGET_HOSTS] = "DELETE FROM hosts WHERE sequence = ?1",
};

/* ---- statements ---- */

static int statements_prepare(struct store *store)
{
    int result = SQLITE_OK;

    for (size_t i = 0; i < STORE_STATEMENTS && result == SQLITE_OK; i++)
        result = sqlite3_prepare_v3(store->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
                                    &store->statements[i], NULL);
    return result;
}

static void bind_number(struct store *store, enum store_statement which, int place, int64_t number)
{
    sqlite3_bind_int64(store->statements[which], place, number);
}

/* What is bound is borrowed until the statement has run. */
static void bind_bytes(struct store *store, enum store_statement which, int place,
                       const void *bytes, size_t size)
{
    /* A NULL pointer would be the value NULL. */
    sqlite3_bind_blob64(store->statements[which], place, size > 0 ? bytes : "", size,
                        SQLITE_STATIC);
}

static void bind_text(struct store *store, enum store_statement which, int place, const char *text)
{
    sqlite3_bind_text(store->statements[which], place, text, (int)strnlen(text, STORE_MAX_TEXT),
                      SQLITE_STATIC);
}

static void statement_reset(struct store *store, enum store_statement which)
{
    sqlite3_reset(store->statements[which]);
    sqlite3_clear_bindings(store->statements[which]);
}

/* Run one that gives no rows. */
static int statement_run(struct store *store, enum store_statement which)
{
    int result = sqlite3_step(store->statements[which]);

    statement_reset(store, which);
    return result == SQLITE_DONE ? SQLITE_OK : result;
}

/* Ends a transaction: committed if all went well, else as if it had not been. */
static int transaction_end(struct store *store, int result)
{
    if (result == SQLITE_OK)
        result = store_execute(store, "COMMIT");
    /* SQLite itself gives up a transaction for some errors, and for others leaves it open. */
    if (result != SQLITE_OK && !sqlite3_get_autocommit(store->db))
        store_execute(store, "ROLLBACK");
    return result;
}

/* ---- life cycle ---- */

static enum store_open_result store_begin(struct store *store, const char *directory,
                                          char error[STORE_ERROR_SIZE], bool *full)
{
    enum store_open_result outcome = store_file_open(store, directory, error);
    int result;

    if (outcome == STORE_OPEN) {
        result = statements_prepare(store);
        if (result == SQLITE_OK)
            result = rows_check(store);
        if (result != SQLITE_OK) {
            store_explain(store, result, error, "cannot be opened");
            outcome = store_result_kind(result);
        }
    }
    *full = outcome == STORE_TRANSIENT && store->db != NULL &&
            store_result_is_full(store->db, sqlite3_extended_errcode(store->db));
    return outcome;
}

static void store_end_all(struct store *store)
{
    for (size_t i = 0; i < STORE_STATEMENTS; i++) {
        sqlite3_finalize(store->statements[i]);
        store->statements[i] = NULL;
    }
    sqlite3_close(store->db);
    store->db = NULL;
}

enum store_open_result store_open(struct store **opened, const char *directory,
                                  store_trouble *on_trouble, void *context,
                                  char error[STORE_ERROR_SIZE])
{
    struct store *store = calloc(1, sizeof(*store));
    enum store_open_result outcome;
    bool full;

    *opened = NULL;
    if (store == NULL) {
        snprintf(error, STORE_ERROR_SIZE, "%.160s: there is not enough memory", directory);
        return STORE_TRANSIENT;
    }
    store->on_trouble = on_trouble;
    store->context = context;
    reserve_init(&store->reserve, directory);
    outcome = store_begin(store, directory, error, &full);
    /* What the last daemon reserved is for now: without it a full disk would keep us from starting. */
    if (full && reserve_inherit(&store->reserve) && reserve_give_up(&store->reserve)) {
        store_end_all(store);
        outcome = store_begin(store, directory, error, &full);
    }
    if (outcome != STORE_OPEN) {
        store_close(store);
        return outcome;
    }
    reserve_cover(&store->reserve, store->open_jobs + 1);
    *opened = store;
    return STORE_OPEN;
}

void store_close(struct store *store)
{
    if (store == NULL)
        return;
    store_end_all(store);
    reserve_close(&store->reserve);
    free(store);
}

/* ---- a job comes ---- */

int store_accepts(struct store *store, char error[STORE_ERROR_SIZE])
{
    if (store->pending > 0)
        return store_explain(store, store->pending_reason, error,
                             "the end%s of %llu job%s cannot be recorded yet",
                             store->pending == 1 ? "" : "s", (unsigned long long)store->pending,
                             store->pending == 1 ? "" : "s");
    if (store->reserve.size > 0 && reserve_cover(&store->reserve, store->open_jobs + 1) == 0)
        return 0;
    snprintf(error, STORE_ERROR_SIZE,
             "%.140s: no room can be reserved for the end of another job: %s (make room on its "
             "disk)",
             store->path, strerror(store->reserve.reason));
    return -1;
}

static int job_insert(struct store *store, const struct store_job *job)
{
    static const uint8_t no_key[CONTROL_KEY_SIZE];
    enum store_statement which = STORE_INSERT_JOB;

    bind_number(store, which, 1, (int64_t)job->order);
    bind_number(store, which, 2, (int64_t)job->id);
    if (memcmp(job->key, no_key, sizeof(no_key)) != 0) /* else NULL, which many may be */
        bind_bytes(store, which, 3, job->key, sizeof(job->key));
    bind_number(store, which, 4, job->state);
    bind_number(store, which, 5, job->session);
    bind_number(store, which, 6, job->pes);
    bind_number(store, which, 7, job->priority);
    bind_number(store, which, 8, job->submitted);
    bind_number(store, which, 9, job->started);
    bind_number(store, which, 10, job->ended);
    bind_number(store, which, 11, job->exit_code);
    bind_text(store, which, 12, job->name);
    bind_text(store, which, 13, job->message);
    bind_bytes(store, which, 14, job->tail, job->tail_size);
    bind_bytes(store, which, 15, job->text, job->text_size);
    bind_number(store, which, 16, row_checksum(job));
    bind_number(store, which, 17, row_end_checksum(job));
    return statement_run(store, which);
}

static int request_insert(struct store *store, const struct store_job *job)
{
    bind_number(store, STORE_INSERT_REQUEST, 1, (int64_t)job->order);
    bind_bytes(store, STORE_INSERT_REQUEST, 2, job->request, job->request_size);
    return statement_run(store, STORE_INSERT_REQUEST);
}

static int submission_check(struct store *store, const struct store_job *job,
                            char error[STORE_ERROR_SIZE])
{
    if (job->id == 0 || job->id >> CONTROL_ID_BITS != 0) {
        snprintf(error, STORE_ERROR_SIZE, "%llu is no id of a job", (unsigned long long)job->id);
        return -1;
    }
    if (job->request_size > CONTROL_MAX_MESSAGE) {
        snprintf(error, STORE_ERROR_SIZE, "the request has %zu bytes, at most %u are recorded",
                 job->request_size, CONTROL_MAX_MESSAGE);
        return -1;
    }
    return store_accepts(store, error);
}

int store_submit(struct store *store, struct store_job *submitted, char error[STORE_ERROR_SIZE])
{
    struct store_job job = *submitted;
    char id[CONTROL_ID_CHARS + 1];
    int result;

    if (submission_check(store, &job, error) < 0)
        return -1;
    row_cut(&job);
    job.order = store->next_order;
    result = store_execute(store, "BEGIN IMMEDIATE");
    if (result == SQLITE_OK)
        result = job_insert(store, &job);
    if (result == SQLITE_OK)
        result = request_insert(store, &job);
    result = transaction_end(store, result);
    if (result != SQLITE_OK) {
        control_id_format(job.id, id);
        return store_explain(store, result, error, "job %s cannot be recorded", id);
    }
    submitted->order = store->next_order++;
    store->open_jobs += !job_state_final(job.state);
    return 0;
}

/* ---- it changes ---- */

/* What an open job's row has that a change keeps; an end that is kept in memory closes it. */
static int job_find_open(struct store *store, struct store_job *job, char error[STORE_ERROR_SIZE])
{
    sqlite3_stmt *statement = store->statements[STORE_FIND_OPEN];
    char id[CONTROL_ID_CHARS + 1];
    int result;

    control_id_format(job->id, id);
    bind_number(store, STORE_FIND_OPEN, 1, (int64_t)job->id);
    result = sqlite3_step(statement);
    if (result == SQLITE_ROW) {
        job->order = (uint64_t)sqlite3_column_int64(statement, 0);
        job->pes = (uint32_t)sqlite3_column_int64(statement, 1);
        job->started = sqlite3_column_int64(statement, 2);
    }
    statement_reset(store, STORE_FIND_OPEN);
    if (result == SQLITE_ROW)
        return 0;
    if (result != SQLITE_DONE)
        return store_explain(store, result, error, "job %s cannot be read", id);
    snprintf(error, STORE_ERROR_SIZE, "%.160s: job %s is over, or not known", store->path, id);
    return -1;
}

/* What an open job is now, as the checksum of its row has to say it. */
static int job_change(struct store *store, uint64_t id, enum job_state state, uint32_t pes,
                      int64_t when, struct store_job *job, char error[STORE_ERROR_SIZE])
{
    *job = (struct store_job){.id = id, .message = ""};
    if (job_find_open(store, job, error) < 0)
        return -1;
    job->state = state;
    job->pes = pes;
    if (job->started == 0 && state >= JOB_STARTING)
        job->started = when;
    return 0;
}

static int change_write(struct store *store, const struct store_job *job)
{
    bind_number(store, STORE_CHANGE, 1, (int64_t)job->order);
    bind_number(store, STORE_CHANGE, 2, job->state);
    bind_number(store, STORE_CHANGE, 3, job->pes);
    bind_number(store, STORE_CHANGE, 4, job->started);
    bind_number(store, STORE_CHANGE, 5, row_end_checksum(job));
    return statement_run(store, STORE_CHANGE);
}

static int change_failed(struct store *store, int result, const struct store_job *job,
                         char error[STORE_ERROR_SIZE])
{
    char id[CONTROL_ID_CHARS + 1];

    if (result == SQLITE_OK)
        return 0;
    control_id_format(job->id, id);
    return store_explain(store, result, error, "job %s cannot be recorded as %s", id,
                         job_state_name(job->state));
}

int store_change(struct store *store, uint64_t id, enum job_state state, uint32_t pes, int64_t when,
                 char error[STORE_ERROR_SIZE])
{
    char name[CONTROL_ID_CHARS + 1];
    struct store_job job;

    if (job_state_final(state)) {
        control_id_format(id, name);
        snprintf(error, STORE_ERROR_SIZE, "job %s: an end has more to it than a state", name);
        return -1;
    }
    if (job_change(store, id, state, pes, when, &job, error) < 0)
        return -1;
    return change_failed(store, change_write(store, &job), &job, error);
}

static int hosts_write(struct store *store, const struct store_job *job)
{
    bind_number(store, STORE_INSERT_HOSTS, 1, (int64_t)job->order);
    bind_number(store, STORE_INSERT_HOSTS, 2, row_hosts_checksum(job));
    bind_bytes(store, STORE_INSERT_HOSTS, 3, job->hosts, job->hosts_size);
    return statement_run(store, STORE_INSERT_HOSTS);
}

int store_start(struct store *store, uint64_t id, uint32_t pes, const void *hosts,
                size_t hosts_size, int64_t when, char error[STORE_ERROR_SIZE])
{
    struct store_job job;
    int result;

    if (hosts_size == 0)
        return store_change(store, id, JOB_STARTING, pes, when, error);
    if (job_change(store, id, JOB_STARTING, pes, when, &job, error) < 0)
        return -1;
    job.hosts = hosts;
    job.hosts_size = hosts_size;
    result = store_execute(store, "BEGIN IMMEDIATE");
    if (result == SQLITE_OK)
        result = change_write(store, &job);
    if (result == SQLITE_OK)
        result = hosts_write(store, &job);
    return change_failed(store, transaction_end(store, result), &job, error);
}

/* ---- it ends ---- */

static int end_keep(struct store *store, const struct store_job *job)
{
    enum store_statement which = STORE_KEEP_END;
    int result;

    bind_number(store, which, 1, (int64_t)job->order);
    bind_number(store, which, 2, job->state);
    bind_number(store, which, 3, job->ended);
    bind_number(store, which, 4, job->exit_code);
    bind_text(store, which, 5, job->message);
    bind_bytes(store, which, 6, job->tail, job->tail_size);
    bind_bytes(store, which, 7, job->text, job->text_size);
    bind_number(store, which, 8, row_end_checksum(job));
    result = statement_run(store, which);
    if (result == SQLITE_OK)
        store->pending++;
    return result;
}

static int end_try(struct store *store, int64_t order)
{
    bind_number(store, STORE_WRITE_END, 1, order);
    return statement_run(store, STORE_WRITE_END);
}

/* From memory to the disk, at the cost of the reserve if need be. */
static int end_write(struct store *store, int64_t order)
{
    int result = end_try(store, order);

    if (result != SQLITE_OK && store_result_is_full(store->db, result) &&
        reserve_give_up(&store->reserve))
        result = end_try(store, order);
    if (result != SQLITE_OK)
        return store->pending_reason = result;
    /* Only memory: this needs no room. */
    bind_number(store, STORE_DROP_END, 1, order);
    statement_run(store, STORE_DROP_END);
    store->pending--;
    store->open_jobs--;
    return SQLITE_OK;
}

int store_end(struct store *store, const struct store_job *ended, char error[STORE_ERROR_SIZE])
{
    struct store_job job = *ended;
    char id[CONTROL_ID_CHARS + 1];
    int result;

    control_id_format(job.id, id);
    if (!job_state_final(job.state) || job.state >= JOB_STATES) {
        snprintf(error, STORE_ERROR_SIZE, "job %s: %s is no end", id, job_state_name(job.state));
        return -1;
    }
    if (job_find_open(store, &job, error) < 0)
        return -1;
    row_cut(&job);
    result = end_keep(store, &job);
    if (result != SQLITE_OK)
        return store_explain(store, result, error, "the end of job %s cannot be kept", id);
    result = end_write(store, (int64_t)job.order);
    if (result == SQLITE_OK)
        return 0;
    store_explain(store, result, error, "the end of job %s cannot be recorded yet", id);
    return 1;
}

static bool end_next(struct store *store, int64_t *order)
{
    sqlite3_stmt *statement = store->statements[STORE_NEXT_END];
    bool found = sqlite3_step(statement) == SQLITE_ROW;

    if (found)
        *order = sqlite3_column_int64(statement, 0);
    statement_reset(store, STORE_NEXT_END);
    return found;
}

size_t store_retry(struct store *store, char error[STORE_ERROR_SIZE])
{
    int result = SQLITE_OK;
    int64_t order;

    error[0] = '\0';
    while (result == SQLITE_OK && end_next(store, &order))
        result = end_write(store, order);
    if (result == SQLITE_OK)
        reserve_cover(&store->reserve, store->open_jobs + 1);
    store_accepts(store, error);
    return store->pending;
}

/* ---- questions ---- */

/* Which rows are meant; the text is made of constants only, values are bound. */
static void where_sql(const struct store_filter *filter, char *sql, size_t size)
{
    bool any = filter->ended == filter->open;

    snprintf(sql, size, "j.sequence > ?6%s%s%s%s%s",
             any             ? ""
             : filter->ended ? " AND coalesce(p.state, j.state) >= " OVER
                             : " AND coalesce(p.state, j.state) < " OVER,
             filter->sessions_only ? " AND j.session" : "",
             filter->id_high != 0 ? " AND j.id BETWEEN ?2 AND ?3" : "",
             filter->name != NULL ? " AND j.name = ?4" : "",
             filter->key != NULL ? " AND j.key = ?5" : "");
}

/* Without `last` the rows are read as they are wanted: who stops early pays for no more. */
static void list_sql(const struct store_filter *filter, char *sql, size_t size)
{
    char where[256];

    where_sql(filter, where, sizeof(where));
    snprintf(sql, size,
             "SELECT " STORE_ROW "%s%s" STORE_FROM_JOB "%s WHERE %s%s%s ORDER BY j.sequence",
             filter->with_end ? STORE_ROW_END : ", NULL, NULL",
             filter->with_request ? STORE_ROW_REQUEST STORE_ROW_HOSTS : ", NULL, NULL",
             filter->with_request ? STORE_FROM_REQUEST STORE_FROM_HOSTS : "",
             filter->last > 0 ? "j.sequence IN (SELECT j.sequence" STORE_FROM_JOB " WHERE " : "",
             where, filter->last > 0 ? " ORDER BY j.sequence DESC LIMIT ?1)" : "");
}

static sqlite3_stmt *list_prepare(struct store *store, const struct store_filter *filter,
                                  int *result)
{
    sqlite3_stmt *statement = NULL;
    char sql[1200];

    list_sql(filter, sql, sizeof(sql));
    *result = sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL);
    if (*result != SQLITE_OK)
        return NULL;
    if (filter->last > 0)
        sqlite3_bind_int64(statement, 1, (int64_t)filter->last);
    sqlite3_bind_int64(statement, 6,
                       filter->after < INT64_MAX ? (int64_t)filter->after : INT64_MAX);
    if (filter->id_high != 0) {
        sqlite3_bind_int64(statement, 2, (int64_t)filter->id_low);
        sqlite3_bind_int64(statement, 3, (int64_t)filter->id_high);
    }
    if (filter->name != NULL)
        sqlite3_bind_text(statement, 4, filter->name, (int)strnlen(filter->name, STORE_MAX_TEXT),
                          SQLITE_STATIC);
    if (filter->key != NULL)
        sqlite3_bind_blob(statement, 5, filter->key, CONTROL_KEY_SIZE, SQLITE_STATIC);
    return statement;
}

int store_list(struct store *store, const struct store_filter *filter, store_each *each,
               void *context, char error[STORE_ERROR_SIZE])
{
    int result;
    sqlite3_stmt *statement = list_prepare(store, filter, &result);
    bool wanted = true;

    while (statement != NULL && wanted && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        struct store_job job;

        row_read_all(statement, &job);
        wanted = each(context, &job);
    }
    sqlite3_finalize(statement);
    if (statement != NULL && (result == SQLITE_DONE || result == SQLITE_ROW))
        return 0;
    return store_explain(store, result, error, "jobs cannot be read");
}

unsigned store_quarantined(const struct store *store)
{
    return store->quarantined;
}

/* ---- forgetting ---- */

/* So many in one transaction: the log stays small, and the event loop waits for no more. */
#define FORGET_AT_ONCE 256

struct forgotten {
    int count;
    int64_t orders[FORGET_AT_ONCE];
    uint64_t ids[FORGET_AT_ONCE];
};

static int forget_find(struct store *store, uint32_t keep, int64_t before, struct forgotten *found)
{
    sqlite3_stmt *statement = store->statements[STORE_FORGET_FIND];
    int result;

    found->count = 0;
    bind_number(store, STORE_FORGET_FIND, 1, keep);
    bind_number(store, STORE_FORGET_FIND, 2, before);
    bind_number(store, STORE_FORGET_FIND, 3, FORGET_AT_ONCE);
    while ((result = sqlite3_step(statement)) == SQLITE_ROW && found->count < FORGET_AT_ONCE) {
        found->orders[found->count] = sqlite3_column_int64(statement, 0);
        found->ids[found->count++] = (uint64_t)sqlite3_column_int64(statement, 1);
    }
    statement_reset(store, STORE_FORGET_FIND);
    return result == SQLITE_DONE ? SQLITE_OK : result;
}

static int forget_delete(struct store *store, const struct forgotten *found)
{
    int result = store_execute(store, "BEGIN IMMEDIATE");

    for (int i = 0; i < found->count && result == SQLITE_OK; i++) {
        bind_number(store, STORE_FORGET_JOB, 1, found->orders[i]);
        result = statement_run(store, STORE_FORGET_JOB);
        if (result != SQLITE_OK)
            break;
        bind_number(store, STORE_FORGET_REQUEST, 1, found->orders[i]);
        result = statement_run(store, STORE_FORGET_REQUEST);
        if (result != SQLITE_OK)
            break;
        bind_number(store, STORE_FORGET_HOSTS, 1, found->orders[i]);
        result = statement_run(store, STORE_FORGET_HOSTS);
    }
    return transaction_end(store, result);
}

int store_forget(struct store *store, uint32_t keep, int64_t before, store_forgotten *forgotten,
                 void *context, char error[STORE_ERROR_SIZE])
{
    struct forgotten found;
    int total = 0;

    do {
        int result = forget_find(store, keep, before, &found);

        if (result == SQLITE_OK && found.count > 0)
            result = forget_delete(store, &found);
        if (result != SQLITE_OK)
            return store_explain(store, result, error, "old jobs cannot be forgotten");
        for (int i = 0; i < found.count && forgotten != NULL; i++)
            forgotten(context, found.ids[i]);
        total += found.count;
    } while (found.count == FORGET_AT_ONCE);
    return total;
}
