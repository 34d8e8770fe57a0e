/*
 * One of c4py's own outputs: text waits here until it can be written without
 * blocking, so that a screen that is held or a reader that sleeps does not
 * keep Ctrl-C from working.
 */
#ifndef C4P_CLIENT_CLI_OUTLET_H
#define C4P_CLIENT_CLI_OUTLET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* With more than this waiting, the owner takes no more events. */
#define OUTLET_FULL (256u << 10)

struct outlet {
    int fd;
    bool file; /* a plain file: never blocks for long */
    int error; /* not 0: it cannot be written to (EPIPE: nobody reads); what comes is dropped */
    char *data;
    size_t start, end, room;
    uint64_t taken; /* bytes, since the beginning */
};

void outlet_init(struct outlet *outlet, int fd);
void outlet_free(struct outlet *outlet);

/* Add text. If memory is exhausted that is the outlet's error. */
void outlet_put(struct outlet *outlet, const char *data, size_t size);

/* Write what can be written now. */
void outlet_write(struct outlet *outlet);

static inline size_t outlet_waiting(const struct outlet *outlet)
{
    return outlet->end - outlet->start;
}

/* How many of the bytes that were taken are written (or given up). */
static inline uint64_t outlet_written(const struct outlet *outlet)
{
    return outlet->taken - outlet_waiting(outlet);
}

#endif
