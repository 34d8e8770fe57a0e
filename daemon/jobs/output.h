/*
 * What the PEs of a job write, made into pieces for its follower.
 *
 * Each PE has two streams, standard output and error. Bytes go in as they are
 * read from the pipes; pieces come out so that
 *   - lines stay whole: a piece is lines, never a part of one, except that
 *   - a line longer than the buffer comes in several pieces with nobody else's
 *     in between, as long as its writer goes on writing,
 *   - an unfinished line of PE 0 that has been still for a moment (a prompt) is
 *     handed out as it is, and so is what is left of a line when its PE ends;
 *   - what all PEs say before charm.start() (the traceback of a syntax error)
 *     is said once: standard error of the other PEs is held until it is clear
 *     whether it is what PE 0 said.
 *
 * Pure: no descriptors, the clock (in ms) is an argument. Memory is bounded:
 * one buffer a stream, and who has no room left is not read from.
 */
#ifndef C4P_DAEMON_JOBS_OUTPUT_H
#define C4P_DAEMON_JOBS_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OUTPUT_BUFFER (64u << 10)
#define OUTPUT_PROMPT_MS 100 /* a line of PE 0 still for so long is shown unfinished */
#define OUTPUT_HOLD_MS 1000  /* nothing is held for longer */
#define OUTPUT_TAIL_LINES 10
#define OUTPUT_TAIL_BYTES 4096
#define OUTPUT_NO_PE UINT32_MAX

enum output_stream { OUTPUT_STDOUT = 0, OUTPUT_STDERR = 1 };

struct output_piece {
    uint32_t pe; /* OUTPUT_NO_PE: a remark of ours, on standard error */
    enum output_stream stream;
    const char *data; /* valid until the next call */
    size_t size;
};

struct output;

/* NULL with errno ENOMEM. Destroy is NULL-safe. */
struct output *output_create(uint32_t pes);
void output_destroy(struct output *output);

/* Where to read to, and how much: 0 if the stream is full (or memory is short) for now. */
char *output_room(struct output *output, uint32_t pe, enum output_stream stream, size_t *room);
/* So much was read there. */
void output_filled(struct output *output, uint32_t pe, enum output_stream stream, size_t size,
                   int64_t now);
/* Nothing more will come; an unfinished line is handed out. */
void output_ended(struct output *output, uint32_t pe, enum output_stream stream);

/*
 * The PE has started, or ended, and what it said before was read: that is compared with what PE 0
 * said, as soon as PE 0 has settled as well.
 */
void output_settle(struct output *output, uint32_t pe);
/* Nothing is held any more: the job is over. */
void output_settle_all(struct output *output);

/* The next piece; false if there is none now. */
bool output_next(struct output *output, int64_t now, struct output_piece *piece);
/* Nobody took pieces for a while, and so nothing was read: what stands still does so from now on. */
void output_resume(struct output *output, int64_t now);
/* When output_next() may have one though nothing was read; -1: never. */
int64_t output_deadline(const struct output *output);

/* The last lines of a PE's standard error: at most OUTPUT_TAIL_BYTES. */
size_t output_tail(const struct output *output, uint32_t pe, char *text);

#endif
