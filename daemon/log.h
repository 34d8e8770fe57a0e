/*
 * The log: one line for each message, on standard error.
 *
 * A private daemon's is read by the person who runs a program: "c4pd: level subject: text". That of
 * a lasting one is logfmt, and in the background standard error is a file, so that what libraries
 * say at their worst moments is in it too. When the file would grow beyond its limit it becomes
 * FILE.1 and a new one begins. What looks the same again and again is written a few times only
 * (log_line.h).
 */
#ifndef C4P_DAEMON_LOG_H
#define C4P_DAEMON_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR = 0, LOG_WARNING, LOG_INFO, LOG_DEBUG, LOG_LEVELS };

/* No limit of a log file is smaller. */
#define LOG_MIN_LIMIT 4096

/* Lines above this level are not written; LOG_WARNING at first. */
void log_level_set(enum log_level level);
bool log_level_parse(const char *name, enum log_level *level);
const char *log_level_name(enum log_level level);

/* From now on logfmt; with a priority before each line where systemd's journal reads it. */
void log_form_logfmt(void);

/* Standard error becomes this file (0600), which has at most `limit` bytes. -1 with errno, and
 * nothing is changed. */
int log_open(const char *path, uint64_t limit);
void log_limit_set(uint64_t limit);
/* Somebody may have moved the file away: open it again by its name. -1 with errno. Without a file
 * there is nothing to do. */
int log_reopen(void);

/* One line, written at once. The subject is what one greps for: "job 7q3fkd92", "client 3". */
void log_write(enum log_level level, const char *subject, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The process ends: say how often the last messages were repeated. */
void log_flush(void);

#endif
