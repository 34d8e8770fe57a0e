/*
 * The database as a file.
 *
 * It is made under another name and renamed when it is complete. So a store.db that is empty, or
 * lacks a table, is always one that was damaged, never one that was not finished.
 *
 * Opening reads all of it: integrity_check finds pages and indices that contradict each other, and
 * the rows' checksums (store_rows.c) what was changed within a page. That takes 0.2 s for 10,000
 * jobs of 8 KiB each. What it cannot find: the last writes in the log (store.db-wal), when exactly
 * these are damaged; SQLite takes them for writes that a loss of power cut short.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/jobs/store_parts.h"
#include "proto/place.h"

#define DATABASE "/" PLACE_STORE

#define TEXT_OF(number) #number
#define NUMBER_TEXT(number) TEXT_OF(number)

/*
 * Columns that are asked for most come first. The request is apart: it never changes, and an end
 * that is recorded on a full disk should not write it once more.
 */
#define TABLE_JOB                                                                                  \
    "CREATE TABLE job (sequence INTEGER PRIMARY KEY, id INTEGER NOT NULL UNIQUE,"                  \
    " state INTEGER NOT NULL, session INTEGER NOT NULL, pes INTEGER NOT NULL,"                     \
    " priority INTEGER NOT NULL, submitted INTEGER NOT NULL, started INTEGER NOT NULL,"            \
    " ended INTEGER NOT NULL, exit_code INTEGER NOT NULL, checksum INTEGER NOT NULL,"              \
    " end_checksum INTEGER NOT NULL, key BLOB UNIQUE, name TEXT NOT NULL,"                         \
    " message TEXT NOT NULL, tail BLOB NOT NULL, text BLOB NOT NULL)"
#define TABLE_REQUEST "CREATE TABLE request (sequence INTEGER PRIMARY KEY, request BLOB NOT NULL)"
#define TABLE_HOSTS                                                                                \
    "CREATE TABLE hosts (sequence INTEGER PRIMARY KEY, checksum INTEGER NOT NULL,"                 \
    " hosts BLOB NOT NULL)"
#define TABLE_QUARANTINE                                                                           \
    "CREATE TABLE quarantine (number INTEGER PRIMARY KEY, reason TEXT, moved INTEGER, sequence,"   \
    " id, key, state, session, pes, priority, submitted, started, ended, exit_code, name,"         \
    " message, tail, text, checksum, end_checksum, request)"

#define VERSION_SET "PRAGMA user_version = " NUMBER_TEXT(STORE_VERSION) ";"

/* clang-format off */
static const char schema[] =
    "BEGIN;"
    "PRAGMA application_id = " NUMBER_TEXT(STORE_APPLICATION) ";"
    VERSION_SET
    TABLE_JOB ";"
    TABLE_REQUEST ";"
    TABLE_HOSTS ";"
    TABLE_QUARANTINE ";"
    "COMMIT";
/* clang-format on */

/* From version 1, which did not know where a job ran: all or nothing of it is done. */
static const char upgrade[] = "BEGIN IMMEDIATE;" VERSION_SET TABLE_HOSTS ";COMMIT";

/* SQLite keeps these texts as they are; a byte that is flipped in them gives other columns. */
static const char tables_count[] =
    "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = tbl_name AND sql IN ("
    "'" TABLE_JOB "', '" TABLE_REQUEST "', '" TABLE_HOSTS "', '" TABLE_QUARANTINE "')";

/* Of these, so many were in each version. */
static const int tables_of[STORE_VERSION + 1] = {[1] = 3, [STORE_VERSION] = 4};

/* Ends that found no room on the disk, in memory. */
static const char settings[] =
    "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA synchronous = FULL;"
    "PRAGMA temp_store = MEMORY;"
    "CREATE TEMP TABLE pending (sequence INTEGER PRIMARY KEY, state, ended, exit_code, message,"
    " tail, text, end_checksum)";

int store_execute(struct store *store, const char *sql)
{
    return sqlite3_exec(store->db, sql, NULL, NULL, NULL);
}

int store_number(struct store *store, const char *sql, int64_t *number)
{
    sqlite3_stmt *statement;
    int result = sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL);

    *number = 0;
    if (result != SQLITE_OK)
        return result;
    result = sqlite3_step(statement);
    if (result == SQLITE_ROW) {
        *number = sqlite3_column_int64(statement, 0);
        result = SQLITE_DONE;
    }
    sqlite3_finalize(statement);
    return result == SQLITE_DONE ? SQLITE_OK : result;
}

/* ---- making one ---- */

static void leftovers_remove(const char *path)
{
    static const char *const suffixes[] = {"", "-journal", "-wal", "-shm"};

    for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++) {
        char name[PATH_MAX];

        if (snprintf(name, sizeof(name), "%s%s", path, suffixes[i]) < (int)sizeof(name))
            unlink(name);
    }
}

static int directory_sync(const char *directory)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC), failed;

    if (fd < 0)
        return -1;
    failed = fsync(fd) < 0 ? errno : 0;
    close(fd);
    errno = failed;
    return failed == 0 ? 0 : -1;
}

/* SQLite gives the files that it makes beside this one the same mode. */
static int file_make_private(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0)
        return -1;
    close(fd);
    return 0;
}

static int tables_make(struct store *store, const char *path)
{
    int result =
        sqlite3_open_v2(path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);

    sqlite3_extended_result_codes(store->db, 1);
    return result == SQLITE_OK ? store_execute(store, schema) : result;
}

static enum store_open_result file_make(struct store *store, const char *directory,
                                        char error[STORE_ERROR_SIZE])
{
    char path[PATH_MAX];
    int result;

    if (snprintf(path, sizeof(path), "%s.new", store->path) >= (int)sizeof(path))
        return STORE_TRANSIENT;
    leftovers_remove(path); /* of a daemon that was killed while it did this */
    if (file_make_private(path) < 0) {
        snprintf(error, STORE_ERROR_SIZE, "%.160s: cannot be made: %s (make room on its disk)",
                 path, strerror(errno));
        return STORE_TRANSIENT;
    }
    result = tables_make(store, path);
    if (result != SQLITE_OK)
        store_explain(store, result, error, "cannot be made");
    sqlite3_close(store->db);
    store->db = NULL;
    if (result == SQLITE_OK && (rename(path, store->path) < 0 || directory_sync(directory) < 0)) {
        snprintf(error, STORE_ERROR_SIZE, "%.160s: cannot be made: %s (check the disk)",
                 store->path, strerror(errno));
        result = SQLITE_IOERR;
    }
    if (result == SQLITE_OK)
        return STORE_OPEN;
    leftovers_remove(path);
    return store_result_kind(result);
}

/* ---- looking at what is there ---- */

static enum store_open_result directory_check(const char *directory, char error[STORE_ERROR_SIZE])
{
    struct stat status;

    if (strlen(directory) > PATH_MAX - 64) {
        snprintf(error, STORE_ERROR_SIZE, "%.60s...: the path is too long (choose another)",
                 directory);
        return STORE_TRANSIENT;
    }
    if (stat(directory, &status) == 0 && !S_ISDIR(status.st_mode))
        errno = ENOTDIR;
    else if (access(directory, R_OK | W_OK | X_OK) == 0)
        return STORE_OPEN;
    snprintf(error, STORE_ERROR_SIZE,
             "%.160s: jobs cannot be recorded there: %s (choose another state directory, or see "
             "that this one exists and can be written)",
             directory, strerror(errno));
    return STORE_TRANSIENT;
}

static enum store_open_result damaged(const struct store *store, char error[STORE_ERROR_SIZE],
                                      const char *reason)
{
    snprintf(error, STORE_ERROR_SIZE, "%.140s: %.90s (put back a copy of it, or move it away)",
             store->path, reason);
    return STORE_DAMAGED;
}

/* What SQLite keeps beside a database is part of it, and would become part of a new one. */
static const char *part_left(const struct store *store)
{
    static const char *const parts[] = {"-wal", "-journal"};

    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        char name[PATH_MAX];
        struct stat status;

        if (snprintf(name, sizeof(name), "%s%s", store->path, parts[i]) < (int)sizeof(name) &&
            stat(name, &status) == 0 && status.st_size > 0)
            return parts[i];
    }
    return NULL;
}

static enum store_open_result file_check(struct store *store, const char *directory,
                                         char error[STORE_ERROR_SIZE])
{
    const char *part;
    struct stat status;
    char reason[90];

    if (stat(store->path, &status) < 0) {
        if (errno != ENOENT) {
            snprintf(error, STORE_ERROR_SIZE, "%.160s: %s", store->path, strerror(errno));
            return STORE_TRANSIENT;
        }
        part = part_left(store);
        if (part == NULL)
            return file_make(store, directory, error);
        snprintf(reason, sizeof(reason), "it is missing, while %s%s is there", PLACE_STORE, part);
        return damaged(store, error, reason);
    }
    if (!S_ISREG(status.st_mode))
        return damaged(store, error, "it is no file");
    if (status.st_size == 0)
        return damaged(store, error, "it is empty");
    if ((status.st_mode & 0777) != 0600 && chmod(store->path, 0600) == 0)
        status.st_mode = 0600;
    if (access(store->path, R_OK | W_OK) == 0)
        return STORE_OPEN;
    snprintf(error, STORE_ERROR_SIZE, "%.160s: cannot be written: %s (check its owner and mode)",
             store->path, strerror(errno));
    return STORE_TRANSIENT;
}

/* ---- opening ---- */

static enum store_open_result failed(struct store *store, int result, char error[STORE_ERROR_SIZE])
{
    store_explain(store, result, error, "cannot be opened");
    return store_result_kind(result);
}

/* Whose it is is in the header of the file, and can be read however new it is. */
static enum store_open_result version_check(struct store *store, int64_t *version,
                                            char error[STORE_ERROR_SIZE])
{
    int64_t application = 0;
    int result = store_number(store, "PRAGMA application_id", &application);

    if (result == SQLITE_OK)
        result = store_number(store, "PRAGMA user_version", version);
    if (result != SQLITE_OK)
        return failed(store, result, error);
    if (application != STORE_APPLICATION)
        return damaged(store, error, "it is a database of another program");
    if (*version > STORE_VERSION && *version < 1000) {
        snprintf(
            error, STORE_ERROR_SIZE,
            "%.120s: a later c4pd wrote it (version %d, this one knows %d): start that one, or "
            "choose another state directory",
            store->path, (int)*version, STORE_VERSION);
        return STORE_NEWER;
    }
    if (*version < 1 || *version > STORE_VERSION)
        return damaged(store, error, "its version is none that c4pd ever wrote");
    return STORE_OPEN;
}

static int is_text(sqlite3 *db, const char *sql, const char *expected, bool *same, char text[90])
{
    sqlite3_stmt *statement;
    int result = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);

    *same = false;
    if (result != SQLITE_OK)
        return result;
    result = sqlite3_step(statement);
    if (result == SQLITE_ROW) {
        const unsigned char *got = sqlite3_column_text(statement, 0);

        snprintf(text, 90, "%s", got != NULL ? (const char *)got : "");
        *same = strcmp(text, expected) == 0;
        result = SQLITE_OK;
    }
    sqlite3_finalize(statement);
    return result;
}

static enum store_open_result content_check(struct store *store, int64_t version,
                                            char error[STORE_ERROR_SIZE])
{
    bool sound = false;
    int64_t tables = 0;
    char text[90] = "";
    int result = is_text(store->db, "PRAGMA integrity_check(1)", "ok", &sound, text);

    if (result == SQLITE_OK && !sound)
        return damaged(store, error, text);
    if (result == SQLITE_OK)
        result = store_number(store, tables_count, &tables);
    if (result != SQLITE_OK)
        return failed(store, result, error);
    if (tables != tables_of[version])
        return damaged(store, error, "its tables are not those of c4pd");
    /* The file itself can be written: file_check() has seen to that. */
    if (sqlite3_db_readonly(store->db, "main") != 0)
        return damaged(store, error, "its header has a format that is none of c4pd's");
    return STORE_OPEN;
}

static enum store_open_result log_begin(struct store *store, char error[STORE_ERROR_SIZE])
{
    bool wal = false;
    char text[90];
    int result = is_text(store->db, "PRAGMA journal_mode = WAL", "wal", &wal, text);

    if (result == SQLITE_OK && !wal) {
        snprintf(error, STORE_ERROR_SIZE,
                 "%.120s: SQLite cannot keep a write-ahead log there (choose a state directory on "
                 "a disk of this host)",
                 store->path);
        return STORE_TRANSIENT;
    }
    if (result == SQLITE_OK)
        result = store_execute(store, settings);
    return result == SQLITE_OK ? STORE_OPEN : failed(store, result, error);
}

enum store_open_result store_file_open(struct store *store, const char *directory,
                                       char error[STORE_ERROR_SIZE])
{
    enum store_open_result outcome = directory_check(directory, error);
    int64_t version = 0;
    int result;

    if (outcome != STORE_OPEN)
        return outcome;
    snprintf(store->path, sizeof(store->path), "%s" DATABASE, directory);
    outcome = file_check(store, directory, error);
    if (outcome != STORE_OPEN)
        return outcome;
    result =
        sqlite3_open_v2(store->path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (result != SQLITE_OK)
        return failed(store, result, error);
    sqlite3_extended_result_codes(store->db, 1);
    sqlite3_busy_timeout(store->db, STORE_BUSY_MS);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    /* No value of ours is larger than a request. */
    sqlite3_limit(store->db, SQLITE_LIMIT_LENGTH, 2 * CONTROL_MAX_MESSAGE);
    outcome = version_check(store, &version, error);
    if (outcome == STORE_OPEN)
        outcome = content_check(store, version, error);
    if (outcome == STORE_OPEN)
        outcome = log_begin(store, error);
    if (outcome != STORE_OPEN || version == STORE_VERSION)
        return outcome;
    result = store_execute(store, upgrade);
    return result == SQLITE_OK ? STORE_OPEN : failed(store, result, error);
}

/* ---- out of the way ---- */

static bool name_is_free(const char *name)
{
    struct stat status;

    return lstat(name, &status) < 0 && errno == ENOENT;
}

/* "DIRECTORY/store.db.damaged-20260101T120000", with a number behind it if that is taken. */
static int name_choose(const char *path, char name[PATH_MAX])
{
    time_t now = time(NULL);
    struct tm parts;
    char stamp[32];

    if (gmtime_r(&now, &parts) == NULL ||
        strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%S", &parts) == 0)
        return -1;
    for (int i = 0; i < 100; i++) {
        int length = i == 0 ? snprintf(name, PATH_MAX, "%s.damaged-%s", path, stamp)
                            : snprintf(name, PATH_MAX, "%s.damaged-%s.%d", path, stamp, i);

        if (length < PATH_MAX - 16 && name_is_free(name))
            return 0;
    }
    errno = EEXIST;
    return -1;
}

int store_set_aside(const char *directory, char to[STORE_ERROR_SIZE])
{
    /* The database goes first: without its log it would look like an older one that is sound. */
    static const char *const parts[] = {"", "-wal", "-journal", "-shm"};
    char path[PATH_MAX], name[PATH_MAX], from[PATH_MAX + 16], part[PATH_MAX + 16];

    if (snprintf(path, sizeof(path), "%s" DATABASE, directory) >= PATH_MAX - 64 ||
        name_choose(path, name) < 0) {
        snprintf(to, STORE_ERROR_SIZE, "%.160s: there is no name left for the damaged store", path);
        return -1;
    }
    for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        snprintf(from, sizeof(from), "%s%s", path, parts[i]);
        snprintf(part, sizeof(part), "%s%s", name, parts[i]);
        if (rename(from, part) < 0 && errno != ENOENT) {
            snprintf(to, STORE_ERROR_SIZE, "%.160s: cannot be moved out of the way: %s", from,
                     strerror(errno));
            return -1;
        }
    }
    directory_sync(directory);
    snprintf(to, STORE_ERROR_SIZE, "%.*s", STORE_ERROR_SIZE - 1, name);
    return 0;
}
