/*
 * Log lines on standard error: "c4pd: level subject: text".
 */
#ifndef C4P_DAEMON_LOG_H
#define C4P_DAEMON_LOG_H

#include <stdbool.h>

enum log_level { LOG_ERROR = 0, LOG_WARNING, LOG_INFO, LOG_DEBUG, LOG_LEVELS };

/* Lines above this level are not written; LOG_WARNING at first. */
void log_level_set(enum log_level level);
bool log_level_parse(const char *name, enum log_level *level);

/* One line, written at once. The subject is what one greps for: "job 1", "client 3". */
void log_write(enum log_level level, const char *subject, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
