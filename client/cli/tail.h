/*
 * The last lines of a stream of pieces of output, of which no more is kept than they need.
 */
#ifndef C4P_CLIENT_CLI_TAIL_H
#define C4P_CLIENT_CLI_TAIL_H

#include <stdbool.h>
#include <stdint.h>

#include "client/c4p.h"

struct tail_piece;

struct tail {
    uint64_t wanted; /* lines */
    uint64_t lines;  /* in the pieces here, complete ones */
    struct tail_piece *first, *last;
};

void tail_init(struct tail *tail, uint64_t wanted);
void tail_free(struct tail *tail);

/* A piece comes. False: memory is exhausted. */
bool tail_add(struct tail *tail, const struct c4p_event *piece);

/* Give the last lines out, piece by piece, and forget them. */
void tail_give(struct tail *tail, void (*take)(void *context, const struct c4p_event *piece),
               void *context);

#endif
