/*
 * One of the two files of a transcript: records one after the other, each with a checksum. It is
 * only ever appended to; marks tell where to begin to look for a number.
 */
#ifndef C4P_DAEMON_JOBS_TRANSCRIPT_PART_H
#define C4P_DAEMON_JOBS_TRANSCRIPT_PART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/jobs/output.h"

struct part_mark;

struct transcript_part {
    int fd;               /* -1: no such file */
    uint64_t size;        /* of the records that are good */
    uint64_t first, last; /* numbers of the first and last record; 0: it is empty */
    struct part_mark *marks;
    size_t mark_count, mark_room;
};

/* A stretch of a part that was read, and where the last record that was asked for ended. */
struct part_window {
    const struct transcript_part *part; /* NULL: nothing was read */
    char *bytes;
    uint64_t offset;
    size_t size;
    uint64_t next_offset, next_sequence;
};

/* The most that a record takes. */
#define PART_MAX_RECORD (32 + (uint64_t)OUTPUT_BUFFER)

/*
 * Read a file and check it: records must be whole and numbered upwards, above `floor`. What comes
 * behind the first that is not is cut off, *damage bytes. -1 with errno. No file: 0, and fd is -1.
 */
int part_open(struct transcript_part *part, const char *path, uint64_t floor,
              struct part_window *window, uint64_t *damage);
/* -1 with errno: nothing was written. */
int part_append(struct transcript_part *part, uint64_t sequence, const struct output_piece *piece);
/* The first record numbered *sequence or more; false if there is none that can be read. */
bool part_read(const struct transcript_part *part, struct part_window *window, uint64_t *sequence,
               struct output_piece *piece);
void part_close(struct transcript_part *part);
void window_free(struct part_window *window);

#endif
