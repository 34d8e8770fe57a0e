/*
 * What a line of the log looks like, and which lines need not be written again. Pure.
 */
#ifndef C4P_DAEMON_LOG_LINE_H
#define C4P_DAEMON_LOG_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/log.h"

#define LOG_LINE_SIZE 2048

/* A message; the strings are borrowed. */
struct log_message {
    enum log_level level;
    const char *subject, *text;
};

/*
 * Write one line with its newline; its length. Whatever the texts hold, it is one line without
 * control characters; what is too long is cut and ends with "...".
 *
 *   c4pd: info job 7q3fkd92: it runs
 *   ts=2026-11-20T12:55:01.123Z level=info subject="job 7q3fkd92" msg="it runs"
 */
size_t log_line_for_person(char line[LOG_LINE_SIZE], const struct log_message *message);
size_t log_line_logfmt(char line[LOG_LINE_SIZE], const struct log_message *message,
                       int64_t unix_ms);

/*
 * Somebody who repeats a mistake a thousand times a second must not fill the disk, or push the
 * lines that matter out of it: of equal messages LOG_BURST are written in LOG_WINDOW_MS, then one
 * that says how many more there were.
 */
#define LOG_BURST 5
#define LOG_WINDOW_MS 10000
#define LOG_REMEMBERED 8

struct log_repeat {
    uint64_t hash; /* 0: free */
    int64_t since;
    uint32_t seen;
    enum log_level level;
    char subject[64], text[320]; /* as much as fits */
};

struct log_repeats {
    struct log_repeat lines[LOG_REMEMBERED];
};

/* Is this message to be written? `now` in ms of a clock that never goes back. */
bool log_repeats_pass(struct log_repeats *repeats, const struct log_message *message, int64_t now);
/*
 * Close one message whose window is over (`all`: or not): true if some of it was not written, with
 * what is to be said of that in `summary`. False when there is none left.
 */
bool log_repeats_take(struct log_repeats *repeats, int64_t now, bool all,
                      struct log_repeat *summary);

#endif
