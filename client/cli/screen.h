/*
 * Where a job that is followed is shown: our standard output and error, as lines of text or of
 * JSON, with a line about what is waited for. Everything waits here until it can be written without
 * blocking, and then it is known how far the job's output got.
 */
#ifndef C4P_CLIENT_CLI_SCREEN_H
#define C4P_CLIENT_CLI_SCREEN_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/c4p.h"
#include "client/cli/json.h"
#include "client/cli/outlet.h"
#include "client/cli/printer.h"
#include "client/cli/progress.h"

/* Pieces of output that are not written yet. */
#define SCREEN_UNWRITTEN 128

struct screen {
    bool as_json;
    bool on_terminal; /* standard output was one at first */
    struct json json; /* a line in the making, for screen_put_json() */
    struct printer printer;
    struct progress progress;
    struct outlet outlets[2];
    uint64_t expected; /* number of the next piece; 0: any */
    struct unwritten {
        uint64_t sequence, position;
        unsigned output;
    } unwritten[SCREEN_UNWRITTEN];
    unsigned first, count;
};

/* It stays where it is until it is freed. */
void screen_init(struct screen *screen, bool label, bool as_json);
void screen_free(struct screen *screen);

/* A line of our own, on standard error: "c4py: ...". */
void screen_say(struct screen *screen, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));
/* Text for standard error that should be lines. */
void screen_put_lines(struct screen *screen, const char *data, size_t size);
/* The line in screen->json, for standard output. */
void screen_put_json(struct screen *screen);
/* A piece of output; what is missing before it is told. */
void screen_put_piece(struct screen *screen, const struct c4p_event *event);

/* A piece was put, or left out: its turn comes when all that was put before is written. */
void screen_count_piece(struct screen *screen, const struct c4p_event *event);
/* The next piece whose turn has come; 0: none. */
uint64_t screen_next_written(struct screen *screen);

/* With so much waiting no more should be put. */
bool screen_is_full(const struct screen *screen);
/* Is there something to be written to output 0 (standard output) or 1 (standard error)? */
bool screen_waits(const struct screen *screen, unsigned output);
/* Write what can be written now. */
void screen_write(struct screen *screen);
/* Drop what waits for standard output. */
void screen_drop(struct screen *screen);
/* Why standard output cannot be written to; 0: it can. */
int screen_error(const struct screen *screen);

/* What is waited for: from now on, and no more; see progress.h. */
void screen_wait(struct screen *screen, const char *text);
void screen_wait_over(struct screen *screen);
/* Milliseconds until screen_paint() has something to do; -1: nothing. */
int screen_due(const struct screen *screen);
void screen_paint(struct screen *screen);

#endif
