/* What SQLite says, as sentences with the reason and the remedy. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/jobs/store_parts.h"

struct explanation {
    int result;         /* primary code of SQLite */
    const char *reason; /* NULL: what the system says, or SQLite */
    const char *remedy;
    enum store_open_result kind;
};

static const struct explanation explanations[] = {
    {SQLITE_FULL, "there is no room left on the disk", "make room on it", STORE_TRANSIENT},
    {SQLITE_READONLY, "it cannot be written",
     "check its owner, its mode, and that its file system is not read-only", STORE_TRANSIENT},
    {SQLITE_CANTOPEN, NULL, "check its owner and mode, and those of its directory",
     STORE_TRANSIENT},
    {SQLITE_PERM, NULL, "check its owner and mode", STORE_TRANSIENT},
    {SQLITE_BUSY, "another process keeps it locked", "end that process: fuser FILE names it",
     STORE_TRANSIENT},
    {SQLITE_LOCKED, "another process keeps it locked", "end that process: fuser FILE names it",
     STORE_TRANSIENT},
    {SQLITE_IOERR, NULL, "check the disk", STORE_TRANSIENT},
    {SQLITE_NOMEM, "there is not enough memory", "end something else", STORE_TRANSIENT},
    {SQLITE_CORRUPT, "it is damaged", "put back a copy of it, or move it away", STORE_DAMAGED},
    {SQLITE_NOTADB, "it is damaged, or no database of SQLite",
     "put back a copy of it, or move it away", STORE_DAMAGED},
    {SQLITE_CONSTRAINT, "a job with this id or key is there already", "choose another",
     STORE_TRANSIENT},
};

/* Tables or columns that are missing, values too large to be ours: no c4pd wrote that. */
static const struct explanation otherwise = {
    SQLITE_ERROR, NULL, "put back a copy of it, or move it away", STORE_DAMAGED};

static const struct explanation *explanation_find(int result)
{
    for (size_t i = 0; i < sizeof(explanations) / sizeof(*explanations); i++)
        if (explanations[i].result == (result & 0xff))
            return &explanations[i];
    return &otherwise;
}

bool store_result_is_full(sqlite3 *db, int result)
{
    int number = sqlite3_system_errno(db);

    if ((result & 0xff) == SQLITE_FULL)
        return true;
    return (result & 0xff) == SQLITE_IOERR &&
           (number == ENOSPC || number == EDQUOT || number == EIO);
}

enum store_open_result store_result_kind(int result)
{
    return explanation_find(result)->kind;
}

int store_explain(struct store *store, int result, char error[STORE_ERROR_SIZE], const char *what,
                  ...)
{
    const struct explanation *found = explanation_find(result);
    int number = sqlite3_system_errno(store->db);
    const char *reason = found->reason;
    char text[80];
    va_list arguments;

    if ((result & 0xff) == SQLITE_IOERR && store_result_is_full(store->db, result) && number != EIO)
        found = explanation_find(SQLITE_FULL);
    reason = found->reason;
    if (reason == NULL)
        reason = number != 0 ? strerror(number) : sqlite3_errmsg(store->db);
    va_start(arguments, what);
    vsnprintf(text, sizeof(text), what, arguments);
    va_end(arguments);
    snprintf(error, STORE_ERROR_SIZE, "%.110s: %s: %.80s (%s)", store->path, text, reason,
             found->remedy);
    return -1;
}
