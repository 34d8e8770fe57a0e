/*
 * The line that says what a job waits for: on a terminal rewritten in place, and erased when there
 * is something else to show; elsewhere written once. A wait that is over at once is not worth it.
 * Pure: the text goes to a function, the time comes from the caller.
 */
#ifndef C4P_CLIENT_CLI_PROGRESS_H
#define C4P_CLIENT_CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROGRESS_PATIENCE_MS 200
#define PROGRESS_SIZE 512

typedef void progress_sink(void *context, const char *text, size_t size);

struct progress {
    progress_sink *sink;
    void *context;
    bool terminal;
    bool waiting;  /* `text` is true */
    bool shown;    /* it is on the screen, or was written */
    int64_t since; /* ms */
    char text[PROGRESS_SIZE];
};

void progress_init(struct progress *progress, bool terminal, progress_sink *sink, void *context);

/* From now on it waits for this, or for another thing. */
void progress_wait(struct progress *progress, const char *text, int64_t now);
/* It waits no more. */
void progress_stop(struct progress *progress);

/* Milliseconds until progress_show() has something to do; -1: nothing. */
int progress_due(const struct progress *progress, int64_t now);
/* Show what is due, on a terminal of so many columns. */
void progress_show(struct progress *progress, int64_t now, unsigned columns);
/* Something else is about to be written: make room. */
void progress_hide(struct progress *progress);

#endif
