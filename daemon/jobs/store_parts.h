/*
 * What the parts of the store share; nobody else includes this.
 *
 *   store.c          what is asked of the store, and the ends that find no room
 *   store_file.c     the database as a file: made, opened, checked, set aside
 *   store_rows.c     rows: reading, checksums, quarantine
 *   store_reserve.c  the file that keeps room for ends
 *   store_error.c    what SQLite says, as sentences
 */
#ifndef C4P_DAEMON_JOBS_STORE_PARTS_H
#define C4P_DAEMON_JOBS_STORE_PARTS_H

#include <limits.h>
#include <sqlite3.h>

#include "daemon/jobs/store.h"

/* "c4pd", in the header of the file. */
#define STORE_APPLICATION 0x63347064
/* How long a writer waits for another process that writes; the event loop stands still meanwhile. */
#define STORE_BUSY_MS 1000
/* Older rows in quarantine than so many are dropped. */
#define STORE_MAX_QUARANTINE 1000

/* ---- the reserve ---- */

struct reserve {
    char path[PATH_MAX];
    int fd;
    uint64_t size; /* 0: given up, or there was no room for it */
    int reason;    /* errno, when it is missing */
};

void reserve_init(struct reserve *reserve, const char *directory);
/* Reserve room for the ends of so many jobs. -1 with errno: what there was before is kept. */
int reserve_cover(struct reserve *reserve, uint64_t jobs);
/* Take over what an earlier daemon reserved; false: nothing. */
bool reserve_inherit(struct reserve *reserve);
/* Give the room to whoever needs it now; false if there was none. */
bool reserve_give_up(struct reserve *reserve);
/* The file stays for the next time. */
void reserve_close(struct reserve *reserve);

/* ---- statements ---- */

enum store_statement {
    STORE_INSERT_JOB,
    STORE_INSERT_REQUEST,
    STORE_FIND_OPEN,
    STORE_CHANGE,
    STORE_INSERT_HOSTS,
    STORE_KEEP_END,
    STORE_NEXT_END,
    STORE_WRITE_END,
    STORE_DROP_END,
    STORE_FORGET_FIND,
    STORE_FORGET_JOB,
    STORE_FORGET_REQUEST,
    STORE_FORGET_HOSTS,
    STORE_STATEMENTS
};

struct store {
    sqlite3 *db;
    char path[PATH_MAX];
    sqlite3_stmt *statements[STORE_STATEMENTS];
    struct reserve reserve;
    uint64_t next_order;
    uint64_t open_jobs; /* whose end is not written */
    uint64_t pending;   /* of these, those whose end is kept in memory */
    int pending_reason; /* SQLite's result that kept it from being written */
    unsigned quarantined;
    store_trouble *on_trouble;
    void *context;
};

/* ---- store_file.c ---- */

/* Make the store if there is none, and open it: the tables are there, and sound. */
enum store_open_result store_file_open(struct store *store, const char *directory,
                                       char error[STORE_ERROR_SIZE]);
/* Run SQL that gives no rows: SQLite's result. */
int store_execute(struct store *store, const char *sql);
/* The first column of the first row; 0 if there is none. */
int store_number(struct store *store, const char *sql, int64_t *number);

/* ---- store_rows.c ---- */

/* The columns that row_read() expects, of `job` as j, with the ends in memory as p. */
#define STORE_ROW                                                                                  \
    "j.sequence, j.id, j.key, coalesce(p.state, j.state), j.session, j.pes, j.priority,"           \
    " j.submitted, j.started, coalesce(p.ended, j.ended), coalesce(p.exit_code, j.exit_code),"     \
    " j.name, coalesce(p.message, j.message)"
/* ... and then these, or NULL in their places. */
#define STORE_ROW_END ", coalesce(p.tail, j.tail), coalesce(p.text, j.text)"
#define STORE_ROW_REQUEST ", r.request"
#define STORE_ROW_HOSTS ", h.hosts"
#define STORE_FROM_JOB " FROM job j LEFT JOIN temp.pending p ON p.sequence = j.sequence"
#define STORE_FROM_REQUEST " LEFT JOIN request r ON r.sequence = j.sequence"
#define STORE_FROM_HOSTS " LEFT JOIN hosts h ON h.sequence = j.sequence"

/* What the row points to is valid until the statement goes on. */
void row_read(sqlite3_stmt *statement, struct store_job *job);
/* The same with the column of STORE_ROW_HOSTS. */
void row_read_all(sqlite3_stmt *statement, struct store_job *job);
/* Of what never changes after the submission, and of what does. */
int64_t row_checksum(const struct store_job *job);
int64_t row_end_checksum(const struct store_job *job);
int64_t row_hosts_checksum(const struct store_job *job);
/* The end of a job as it is kept: no text longer than STORE_MAX_TEXT. */
void row_cut(struct store_job *job);
/*
 * Check all rows, move the bad ones to quarantine, count the rest. Where a job ran is no reason to
 * forget the job: what is damaged of that is dropped. SQLite's result.
 */
int rows_check(struct store *store);

/* ---- store_error.c ---- */

/* Is it for want of room, or because the disk does not do its work? */
bool store_result_is_full(sqlite3 *db, int result);
enum store_open_result store_result_kind(int result);
/* "PATH: `what`: REASON (REMEDY)"; -1. */
int store_explain(struct store *store, int result, char error[STORE_ERROR_SIZE], const char *what,
                  ...) __attribute__((format(printf, 4, 5)));

#endif
