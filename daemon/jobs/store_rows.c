/*
 * Rows of the store: reading one, its two checksums, and what becomes of one that is not ours.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/jobs/store_parts.h"
#include "proto/clock.h"
#include "proto/envelope.h"

/*
 * In the order of STORE_ROW, STORE_ROW_END, STORE_ROW_REQUEST, STORE_ROW_HOSTS; the check reads other
 * things behind the request.
 */
enum column {
    SEQUENCE,
    ID,
    KEY,
    STATE,
    SESSION,
    PES,
    PRIORITY,
    SUBMITTED,
    STARTED,
    ENDED,
    EXIT_CODE,
    NAME,
    MESSAGE,
    TAIL,
    TEXT,
    REQUEST,
    HOSTS,
    CHECKSUM = HOSTS,
    END_CHECKSUM
};

static const char *text_of(sqlite3_stmt *statement, int column)
{
    const unsigned char *text = sqlite3_column_text(statement, column);

    return text != NULL ? (const char *)text : "";
}

static size_t size_of(sqlite3_stmt *statement, int column)
{
    return (size_t)sqlite3_column_bytes(statement, column);
}

void row_read(sqlite3_stmt *statement, struct store_job *job)
{
    memset(job, 0, sizeof(*job));
    job->order = (uint64_t)sqlite3_column_int64(statement, SEQUENCE);
    job->id = (uint64_t)sqlite3_column_int64(statement, ID);
    if (size_of(statement, KEY) == sizeof(job->key))
        memcpy(job->key, sqlite3_column_blob(statement, KEY), sizeof(job->key));
    job->state = (enum job_state)sqlite3_column_int(statement, STATE);
    job->session = sqlite3_column_int(statement, SESSION) != 0;
    job->pes = (uint32_t)sqlite3_column_int64(statement, PES);
    job->priority = sqlite3_column_int(statement, PRIORITY);
    job->submitted = sqlite3_column_int64(statement, SUBMITTED);
    job->started = sqlite3_column_int64(statement, STARTED);
    job->ended = sqlite3_column_int64(statement, ENDED);
    job->exit_code = sqlite3_column_int(statement, EXIT_CODE);
    job->name = text_of(statement, NAME);
    job->message = text_of(statement, MESSAGE);
    job->tail = sqlite3_column_blob(statement, TAIL);
    job->tail_size = size_of(statement, TAIL);
    job->text = sqlite3_column_blob(statement, TEXT);
    job->text_size = size_of(statement, TEXT);
    job->request = sqlite3_column_blob(statement, REQUEST);
    job->request_size = size_of(statement, REQUEST);
}

static void hosts_read(sqlite3_stmt *statement, int column, struct store_job *job)
{
    job->hosts = sqlite3_column_blob(statement, column);
    job->hosts_size = size_of(statement, column);
}

void row_read_all(sqlite3_stmt *statement, struct store_job *job)
{
    row_read(statement, job);
    hosts_read(statement, HOSTS, job);
}

static uint64_t hash_bytes(const void *bytes, size_t size)
{
    return c4p_hash(bytes, size);
}

int64_t row_checksum(const struct store_job *job)
{
    const uint64_t parts[] = {
        job->order,
        job->id,
        hash_bytes(job->key, sizeof(job->key)),
        job->session,
        (uint64_t)job->priority,
        (uint64_t)job->submitted,
        hash_bytes(job->name, strnlen(job->name, STORE_MAX_TEXT)),
        hash_bytes(job->request, job->request_size),
    };

    return (int64_t)hash_bytes(parts, sizeof(parts));
}

int64_t row_end_checksum(const struct store_job *job)
{
    const uint64_t parts[] = {
        job->order,
        job->state,
        job->pes,
        (uint64_t)job->started,
        (uint64_t)job->ended,
        (uint64_t)job->exit_code,
        hash_bytes(job->message, strnlen(job->message, STORE_MAX_TEXT)),
        hash_bytes(job->tail, job->tail_size),
        hash_bytes(job->text, job->text_size),
    };

    return (int64_t)hash_bytes(parts, sizeof(parts));
}

int64_t row_hosts_checksum(const struct store_job *job)
{
    const uint64_t parts[] = {job->order, hash_bytes(job->hosts, job->hosts_size)};

    return (int64_t)hash_bytes(parts, sizeof(parts));
}

void row_cut(struct store_job *job)
{
    if (job->tail_size > STORE_MAX_TEXT) { /* the last lines are what tells most */
        job->tail = (const char *)job->tail + (job->tail_size - STORE_MAX_TEXT);
        job->tail_size = STORE_MAX_TEXT;
    }
    if (job->text_size > STORE_MAX_TEXT)
        job->text_size = STORE_MAX_TEXT;
}

/* ---- what is wrong with a row ---- */

static bool types_right(sqlite3_stmt *statement)
{
    static const unsigned char types[] = {
        [SEQUENCE] = SQLITE_INTEGER,  [ID] = SQLITE_INTEGER,          [STATE] = SQLITE_INTEGER,
        [SESSION] = SQLITE_INTEGER,   [PES] = SQLITE_INTEGER,         [PRIORITY] = SQLITE_INTEGER,
        [SUBMITTED] = SQLITE_INTEGER, [STARTED] = SQLITE_INTEGER,     [ENDED] = SQLITE_INTEGER,
        [EXIT_CODE] = SQLITE_INTEGER, [NAME] = SQLITE_TEXT,           [MESSAGE] = SQLITE_TEXT,
        [TAIL] = SQLITE_BLOB,         [TEXT] = SQLITE_BLOB,           [REQUEST] = SQLITE_BLOB,
        [CHECKSUM] = SQLITE_INTEGER,  [END_CHECKSUM] = SQLITE_INTEGER};
    int key = sqlite3_column_type(statement, KEY);

    for (int column = 0; column <= END_CHECKSUM; column++)
        if (column != KEY && sqlite3_column_type(statement, column) != types[column])
            return false;
    /* No key is NULL: several rows may have none, and no two the same. */
    return key == SQLITE_NULL ||
           (key == SQLITE_BLOB && size_of(statement, KEY) == CONTROL_KEY_SIZE);
}

static bool in_range(sqlite3_stmt *statement, int column, int64_t low, int64_t high)
{
    int64_t value = sqlite3_column_int64(statement, column);

    return low <= value && value <= high;
}

static bool numbers_right(sqlite3_stmt *statement)
{
    return in_range(statement, SEQUENCE, 1, INT64_MAX - 1) &&
           in_range(statement, ID, 1, ((int64_t)1 << CONTROL_ID_BITS) - 1) &&
           in_range(statement, STATE, 0, JOB_STATES - 1) && in_range(statement, SESSION, 0, 1) &&
           in_range(statement, PES, 0, UINT32_MAX) &&
           in_range(statement, PRIORITY, INT32_MIN, INT32_MAX) &&
           in_range(statement, EXIT_CODE, INT32_MIN, INT32_MAX) &&
           size_of(statement, TAIL) <= STORE_MAX_TEXT &&
           size_of(statement, TEXT) <= STORE_MAX_TEXT &&
           size_of(statement, REQUEST) <= CONTROL_MAX_MESSAGE;
}

/* NULL: nothing. */
static const char *row_fault(sqlite3_stmt *statement)
{
    struct store_job job;

    if (sqlite3_column_type(statement, REQUEST) == SQLITE_NULL)
        return "its request is missing";
    if (!types_right(statement))
        return "a value is of another type";
    if (!numbers_right(statement))
        return "a number is out of range";
    row_read(statement, &job);
    if (strlen(job.name) != size_of(statement, NAME) ||
        strlen(job.message) != size_of(statement, MESSAGE) ||
        row_checksum(&job) != sqlite3_column_int64(statement, CHECKSUM))
        return "the checksum of its request is wrong";
    if (row_end_checksum(&job) != sqlite3_column_int64(statement, END_CHECKSUM))
        return "the checksum of its state is wrong";
    return NULL;
}

/* ---- quarantine ---- */

struct bad_row {
    int64_t sequence;
    uint64_t id;
    const char *reason;
};

struct bad_rows {
    struct bad_row *rows;
    size_t count, room;
};

static int bad_row_add(struct bad_rows *bad, sqlite3_stmt *statement, const char *reason)
{
    if (bad->count == bad->room) {
        size_t room = bad->room > 0 ? bad->room * 2 : 16;
        struct bad_row *rows = reallocarray(bad->rows, room, sizeof(*rows));

        if (rows == NULL)
            return SQLITE_NOMEM;
        bad->rows = rows;
        bad->room = room;
    }
    bad->rows[bad->count++] = (struct bad_row){
        .sequence = sqlite3_column_int64(statement, SEQUENCE),
        .id = (uint64_t)sqlite3_column_int64(statement, ID),
        .reason = reason,
    };
    return SQLITE_OK;
}

static int bad_rows_find(struct store *store, struct bad_rows *bad)
{
    sqlite3_stmt *statement;
    int result = sqlite3_prepare_v2(store->db,
                                    "SELECT " STORE_ROW STORE_ROW_END STORE_ROW_REQUEST
                                    ", j.checksum, j.end_checksum" STORE_FROM_JOB STORE_FROM_REQUEST
                                    " ORDER BY j.sequence",
                                    -1, &statement, NULL);

    while (result == SQLITE_OK && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *reason = row_fault(statement);

        result = SQLITE_OK;
        if (reason != NULL) {
            result = bad_row_add(bad, statement, reason);
        } else {
            int64_t sequence = sqlite3_column_int64(statement, SEQUENCE);

            store->open_jobs += !job_state_final(sqlite3_column_int(statement, STATE));
            store->next_order = (uint64_t)sequence + 1;
        }
    }
    sqlite3_finalize(statement);
    return result == SQLITE_DONE ? SQLITE_OK : result;
}

#define MOVED_COLUMNS                                                                              \
    "sequence, id, key, state, session, pes, priority, submitted, started, ended, exit_code, "     \
    "name, message, tail, text, checksum, end_checksum"

static int row_move(struct store *store, const struct bad_row *bad)
{
    sqlite3_stmt *statement;
    int result = sqlite3_prepare_v2(store->db,
                                    "INSERT INTO quarantine (reason, moved, " MOVED_COLUMNS
                                    ", request) SELECT ?2, ?3, " MOVED_COLUMNS
                                    ", (SELECT request FROM request WHERE sequence = ?1) "
                                    "FROM job WHERE sequence = ?1",
                                    -1, &statement, NULL);
    char *remove;

    if (result != SQLITE_OK)
        return result;
    sqlite3_bind_int64(statement, 1, bad->sequence);
    sqlite3_bind_text(statement, 2, bad->reason, -1, SQLITE_STATIC);
    sqlite3_bind_int64(statement, 3, clock_day_ms());
    result = sqlite3_step(statement);
    sqlite3_finalize(statement);
    if (result != SQLITE_DONE)
        return result;
    remove = sqlite3_mprintf("DELETE FROM job WHERE sequence = %lld;"
                             "DELETE FROM request WHERE sequence = %lld",
                             bad->sequence, bad->sequence);
    result = remove != NULL ? store_execute(store, remove) : SQLITE_NOMEM;
    sqlite3_free(remove);
    return result;
}

/* Requests whose job is not there any more, as after a damaged number of a row. */
static const char orphans_move[] =
    "INSERT INTO quarantine (reason, sequence, request) SELECT 'its job is missing', sequence,"
    " request FROM request WHERE sequence NOT IN (SELECT sequence FROM job);"
    "DELETE FROM request WHERE sequence NOT IN (SELECT sequence FROM job);"
    "DELETE FROM quarantine WHERE number <= (SELECT max(number) FROM quarantine) - ";

static int rows_move(struct store *store, const struct bad_rows *bad)
{
    char *orphans = sqlite3_mprintf("%s%d", orphans_move, STORE_MAX_QUARANTINE);
    int result = orphans != NULL ? store_execute(store, "BEGIN IMMEDIATE") : SQLITE_NOMEM;

    for (size_t i = 0; i < bad->count && result == SQLITE_OK; i++)
        result = row_move(store, &bad->rows[i]);
    if (result == SQLITE_OK)
        result = store_execute(store, orphans);
    if (result == SQLITE_OK)
        result = store_execute(store, "COMMIT");
    sqlite3_free(orphans);
    return result;
}

static void rows_tell(struct store *store, const struct bad_rows *bad)
{
    for (size_t i = 0; i < bad->count && store->on_trouble != NULL; i++) {
        char sentence[STORE_ERROR_SIZE], id[CONTROL_ID_CHARS + 1];

        control_id_format(bad->rows[i].id & (((uint64_t)1 << CONTROL_ID_BITS) - 1), id);
        snprintf(sentence, sizeof(sentence),
                 "%.160s: job %s was damaged (%s) and is not known any more; its row is in the "
                 "table quarantine",
                 store->path, id, bad->rows[i].reason);
        store->on_trouble(store->context, sentence);
    }
}

/* ---- where they ran ---- */

static bool hosts_right(sqlite3_stmt *statement)
{
    struct store_job job = {.order = (uint64_t)sqlite3_column_int64(statement, 0)};

    if (sqlite3_column_type(statement, 1) != SQLITE_INTEGER ||
        sqlite3_column_type(statement, 2) != SQLITE_BLOB ||
        size_of(statement, 2) > CONTROL_MAX_MESSAGE)
        return false;
    hosts_read(statement, 2, &job);
    return row_hosts_checksum(&job) == sqlite3_column_int64(statement, 1);
}

static int hosts_drop(struct store *store, int64_t sequence)
{
    char *remove = sqlite3_mprintf("DELETE FROM hosts WHERE sequence = %lld", sequence);
    char sentence[STORE_ERROR_SIZE];
    int result = remove != NULL ? store_execute(store, remove) : SQLITE_NOMEM;

    sqlite3_free(remove);
    if (result == SQLITE_OK && store->on_trouble != NULL) {
        snprintf(sentence, sizeof(sentence),
                 "%.160s: where job number %lld ran was damaged and is not known any more",
                 store->path, (long long)sequence);
        store->on_trouble(store->context, sentence);
    }
    return result;
}

/* The first that is damaged, after `sequence`; 0: none. */
static int hosts_find_bad(struct store *store, int64_t *sequence)
{
    sqlite3_stmt *statement;
    int result = sqlite3_prepare_v2(store->db,
                                    "SELECT sequence, checksum, hosts FROM hosts"
                                    " WHERE sequence > ?1 ORDER BY sequence",
                                    -1, &statement, NULL);

    if (result != SQLITE_OK)
        return result;
    sqlite3_bind_int64(statement, 1, *sequence);
    *sequence = 0;
    while (*sequence == 0 && (result = sqlite3_step(statement)) == SQLITE_ROW)
        if (!hosts_right(statement))
            *sequence = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return result == SQLITE_DONE || result == SQLITE_ROW ? SQLITE_OK : result;
}

static int hosts_check(struct store *store)
{
    int64_t strays = 0, sequence = INT64_MIN;
    int result = store_number(store,
                              "SELECT EXISTS (SELECT 1 FROM hosts WHERE sequence NOT IN"
                              " (SELECT sequence FROM job))",
                              &strays);

    if (result == SQLITE_OK && strays)
        result = store_execute(
            store, "DELETE FROM hosts WHERE sequence NOT IN (SELECT sequence FROM job)");
    while (result == SQLITE_OK && (result = hosts_find_bad(store, &sequence)) == SQLITE_OK &&
           sequence != 0)
        result = hosts_drop(store, sequence);
    return result;
}

int rows_check(struct store *store)
{
    struct bad_rows bad = {NULL, 0, 0};
    int64_t orphans = 0, quarantined = 0;
    int result;

    store->open_jobs = 0;
    store->next_order = 1;
    result = bad_rows_find(store, &bad);
    if (result == SQLITE_OK)
        result = store_number(store,
                              "SELECT EXISTS (SELECT 1 FROM request WHERE sequence NOT IN"
                              " (SELECT sequence FROM job))",
                              &orphans);
    if (result == SQLITE_OK && (bad.count > 0 || orphans > 0))
        result = rows_move(store, &bad);
    if (result == SQLITE_OK)
        result = hosts_check(store);
    if (result == SQLITE_OK)
        result = store_number(store, "SELECT count(*) FROM quarantine", &quarantined);
    if (result == SQLITE_OK)
        rows_tell(store, &bad);
    store->quarantined = (unsigned)quarantined;
    free(bad.rows);
    return result;
}
