/*
 * Standard input on its way to a PE: what the follower sent and the PE has not
 * read yet. Bounded: the follower sends no more than it was given credit for.
 */
#ifndef C4P_DAEMON_JOBS_FEED_H
#define C4P_DAEMON_JOBS_FEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/control.h"

struct event_base;
struct event;

/* `bytes` were passed on: so many more may come; or the PE reads no more. */
typedef void feed_credit(void *context, uint32_t bytes, bool closed);

struct feed {
    int fd; /* write end of the pipe, -1 when closed */
    struct event *writable;
    feed_credit *credit;
    void *context;
    bool eof; /* close when the buffer is empty */
    uint32_t size;
    char buffer[CONTROL_MAX_PIECE];
};

/* Takes fd over (also when it fails). Returns 0 or -1 (ENOMEM). Close is safe on a zeroed struct with fd -1. */
int feed_open(struct feed *feed, struct event_base *base, int fd, feed_credit *credit,
              void *context);
void feed_close(struct feed *feed);

/* Pass input on. Returns -1 if it is more than there was credit for: nothing is taken then. */
int feed_put(struct feed *feed, const void *data, size_t size, bool eof);

#endif
