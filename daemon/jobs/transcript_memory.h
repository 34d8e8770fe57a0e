/*
 * The newest pieces of a transcript, in memory: a ring of TRANSCRIPT_MEMORY bytes in which each lies
 * in one stretch. Their numbers follow each other without a gap; the oldest make room.
 */
#ifndef C4P_DAEMON_JOBS_TRANSCRIPT_MEMORY_H
#define C4P_DAEMON_JOBS_TRANSCRIPT_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/jobs/output.h"

struct transcript_memory {
    char *ring;         /* from the first piece on */
    uint32_t *places;   /* of piece n: places[n % MEMORY_PIECES] */
    uint64_t first;     /* number of the oldest that is held */
    uint32_t count;     /* of those held */
    uint32_t oldest;    /* place of `first` */
    uint32_t free_from; /* behind the newest */
};

/* Hold piece `sequence`, the one after the last; `written`: it is on disk as well. -1: ENOMEM. */
int memory_hold(struct transcript_memory *memory, uint64_t sequence,
                const struct output_piece *piece, bool written);
bool memory_holds(const struct transcript_memory *memory, uint64_t sequence);
/* A piece that is held, until the next memory_hold(); is it on disk as well? */
bool memory_get(const struct transcript_memory *memory, uint64_t sequence,
                struct output_piece *piece);
/* Would another piece of OUTPUT_BUFFER bytes push this one out, which is held? */
bool memory_would_drop(const struct transcript_memory *memory, uint64_t sequence);
void memory_free(struct transcript_memory *memory);

#endif
