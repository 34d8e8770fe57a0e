/*
 * What the PEs of one job wrote, kept: pieces in the order in which they were read, numbered 1, 2,
 * 3 ... Followers read from it, so who comes late sees the same as who was there all the time.
 *
 * On disk it is two files in the job's directory, each at most half of the limit: when the newer is
 * full the older is removed, and with it the oldest pieces. A record has a checksum: what a crash
 * left torn at the end is cut off when the transcript is opened again. The newest pieces are in
 * memory as well (TRANSCRIPT_MEMORY), so that followers that keep up are served without reading, and
 * also when the disk is full: what could not be written is only in memory, is counted, and shows up
 * as a gap later. Nothing is synced: the states of jobs are what lasts through a loss of power.
 *
 * Without a directory (a private daemon) it is in memory only.
 */
#ifndef C4P_DAEMON_JOBS_TRANSCRIPT_H
#define C4P_DAEMON_JOBS_TRANSCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/jobs/output.h"

#define TRANSCRIPT_MEMORY (512u << 10)
#define TRANSCRIPT_MIN_LIMIT (1u << 20)

struct transcript;

/*
 * Open or make. `directory` NULL: in memory; else it is made (0700) when the first piece comes, so
 * that jobs without output leave nothing. NULL with errno; EBADMSG never: what cannot be read is cut
 * off, and transcript_damage() says so.
 */
struct transcript *transcript_open(const char *directory, uint64_t limit);
/* NULL-safe. The files stay. */
void transcript_close(struct transcript *transcript);
/* Remove a job's files and directory. */
void transcript_remove(const char *directory);

/* Keep a piece; its number. */
uint64_t transcript_append(struct transcript *transcript, const struct output_piece *piece);

/*
 * The first kept piece with a number of at least *sequence, which is set to its number. False if
 * there is none (yet). What the piece points to is valid until the next call of any function here.
 */
bool transcript_read(struct transcript *transcript, uint64_t *sequence, struct output_piece *piece);

/* Numbers of the first kept piece and of the next that will come; equal: nothing is kept. */
uint64_t transcript_first(const struct transcript *transcript);
uint64_t transcript_next(const struct transcript *transcript);

/*
 * Would keeping another piece of OUTPUT_BUFFER bytes drop the piece `sequence`? Who must not lose it
 * stops reading from the PEs for as long as this holds.
 */
bool transcript_would_drop(const struct transcript *transcript, uint64_t sequence);

/* Pieces that could not be written (a full disk), and what was cut off at the opening, in bytes. */
uint64_t transcript_unwritten(const struct transcript *transcript);
uint64_t transcript_damage(const struct transcript *transcript);

#endif
