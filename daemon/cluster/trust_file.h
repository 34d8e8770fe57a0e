/*
 * The files of trust.h: the directory `cluster` of a state directory (0700), and text files in it
 * (0600), each of which is replaced as a whole: a draft beside it is written, reaches the disk, and
 * gets its name. Whatever belongs to somebody else or is open to others is refused, since keys are
 * what they are only while nobody else can have read or changed them.
 *
 * A file of records begins with "c4p-NAME VERSION" and ends with "sum HASH" over all lines before:
 * half a file, or one that was changed, is found before anything is believed of it.
 */
#ifndef C4P_DAEMON_CLUSTER_TRUST_FILE_H
#define C4P_DAEMON_CLUSTER_TRUST_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "daemon/cluster/trust.h"

#define TRUST_FILE_KEY "node.key"
#define TRUST_FILE_CLUSTER "cluster"
#define TRUST_FILE_INCARNATION "incarnation"
#define TRUST_FILE_ENROLLED "enrolled"
#define TRUST_FILE_TOKENS "tokens"
#define TRUST_FILE_MEMBERS "members"

/* No file is larger. */
#define TRUST_FILE_MAX ((size_t)4 << 20)

struct trust_place {
    int fd; /* -1: not open */
    char path[PATH_MAX];
};

/* 0; 1 if there is none (and it is not to be made); -1 with a sentence. */
int trust_place_open(struct trust_place *place, const char *state_dir, bool make, char *error);
void trust_place_close(struct trust_place *place);
/* Nobody else changes what is in it: who founds, joins or forgets a cluster. -1 with a sentence. */
int trust_place_lock(struct trust_place *place, char *error);

int trust_file_write(const struct trust_place *place, const char *name, const void *data,
                     size_t size, char *error);
/* 0, with a NUL behind it, the caller's to free; 1: there is none; -1 with a sentence. */
int trust_file_read(const struct trust_place *place, const char *name, char **data, size_t *size,
                    char *error);
/* It is gone for good when this returns. */
int trust_file_remove(const struct trust_place *place, const char *name, char *error);

/* ---- records, a line each ---- */

struct record_writer {
    char *text;
    size_t size, room;
    bool failed; /* out of memory */
};

void record_writer_begin(struct record_writer *writer, const char *name);
void record_writer_line(struct record_writer *writer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Puts the sum behind it, writes the file and frees the text. */
int record_writer_end(struct record_writer *writer, const struct trust_place *place,
                      const char *name, char *error);

/* Takes one line; NULL, or what is wrong with it. */
typedef const char *record_take(void *context, char *line);

/* Each line of a text, which is changed; NULL, or what is wrong in line *number. `take` may have had
 * lines before that, so what it keeps is good only if all was. */
const char *record_text_read(char *text, size_t size, const char *name, record_take *take,
                             void *context, unsigned *number);
/* The same of a file: 0; 1: there is none; -1 with a sentence that names it. */
int record_file_read(const struct trust_place *place, const char *name, record_take *take,
                     void *context, char *error);

#endif
