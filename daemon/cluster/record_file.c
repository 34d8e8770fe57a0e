#define _GNU_SOURCE
#include "daemon/cluster/trust_file.h"

#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 1
#define SUM_WORD "sum "
#define SUM_BYTES 16
#define SUM_TEXT (2 * SUM_BYTES + 1)

static void sum_make(const char *text, size_t size, char sum[SUM_TEXT])
{
    uint8_t hash[SUM_BYTES];

    crypto_generichash(hash, sizeof(hash), (const uint8_t *)text, size, NULL, 0);
    sodium_bin2hex(sum, SUM_TEXT, hash, sizeof(hash));
}

/* ---- writing ---- */

void record_writer_begin(struct record_writer *writer, const char *name)
{
    *writer = (struct record_writer){0};
    record_writer_line(writer, "c4p-%s %d", name, VERSION);
}

static bool room_make(struct record_writer *writer, size_t more)
{
    size_t room = 2 * writer->room + more;
    char *text;

    if (!writer->failed && writer->room - writer->size < more) {
        text = realloc(writer->text, room);
        writer->failed = text == NULL;
        if (text != NULL) {
            writer->text = text;
            writer->room = room;
        }
    }
    return !writer->failed;
}

void record_writer_line(struct record_writer *writer, const char *format, ...)
{
    char line[512];
    va_list arguments;
    int size;

    va_start(arguments, format);
    size = vsnprintf(line, sizeof(line) - 1, format, arguments);
    va_end(arguments);
    if (size < 0 || size >= (int)sizeof(line) - 1 || !room_make(writer, (size_t)size + 1)) {
        writer->failed = true;
        return;
    }
    line[size++] = '\n';
    memcpy(writer->text + writer->size, line, (size_t)size);
    writer->size += (size_t)size;
}

int record_writer_end(struct record_writer *writer, const struct trust_place *place,
                      const char *name, char *error)
{
    char sum[SUM_TEXT];
    int rc = -1;

    if (!writer->failed) {
        sum_make(writer->text, writer->size, sum);
        record_writer_line(writer, SUM_WORD "%s", sum);
    }
    if (writer->failed)
        snprintf(error, TRUST_ERROR_SIZE, "%.180s/%s: no memory to write it", place->path, name);
    else
        rc = trust_file_write(place, name, writer->text, writer->size, error);
    free(writer->text);
    *writer = (struct record_writer){0};
    return rc;
}

/* ---- reading ---- */

static const char *head_check(const char *line, const char *name)
{
    size_t length = strlen(name);
    int version = 0, end = 0;

    if (strncmp(line, "c4p-", 4) != 0 || strncmp(line + 4, name, length) != 0 ||
        sscanf(line + 4 + length, " %9d%n", &version, &end) != 1 || line[4 + length + end] != '\0')
        return "is not how such a file begins";
    return version == VERSION ? NULL : "was written by another version of c4p";
}

/* The line at `text`, without its end: cut off. NULL: it has none, or zeros in it. */
static char *line_cut(char *text, const char *end)
{
    char *newline = memchr(text, '\n', (size_t)(end - text));

    if (newline == NULL)
        return NULL;
    *newline = '\0';
    return strlen(text) == (size_t)(newline - text) ? newline + 1 : NULL;
}

/* The last line: does it say what the others come to? */
static const char *sum_check(const char *line, crypto_generichash_state *state, bool last)
{
    uint8_t hash[SUM_BYTES];
    char sum[SUM_TEXT];

    crypto_generichash_final(state, hash, sizeof(hash));
    sodium_bin2hex(sum, sizeof(sum), hash, sizeof(hash));
    if (strcmp(line + sizeof(SUM_WORD) - 1, sum) != 0)
        return "is a checksum that does not fit the lines before it: they were changed";
    return last ? NULL : "is followed by something else";
}

const char *record_text_read(char *text, size_t size, const char *name, record_take *take,
                             void *context, unsigned *number)
{
    const char *end = text + size, *wrong = NULL;
    crypto_generichash_state state;
    char *line = text;

    crypto_generichash_init(&state, NULL, 0, SUM_BYTES);
    for (*number = 1; wrong == NULL; ++*number) {
        char *next = line < end ? line_cut(line, end) : NULL;

        if (next == NULL)
            return line == end ? "is missing: the end of the file is lost"
                               : "is cut in the middle, or is no text";
        if (*number > 1 && strncmp(line, SUM_WORD, sizeof(SUM_WORD) - 1) == 0)
            return sum_check(line, &state, next == end);
        crypto_generichash_update(&state, (const uint8_t *)line, strlen(line));
        crypto_generichash_update(&state, (const uint8_t *)"\n", 1);
        wrong = *number == 1 ? head_check(line, name) : take(context, line);
        if (wrong != NULL)
            break;
        line = next;
    }
    return wrong;
}

int record_file_read(const struct trust_place *place, const char *name, record_take *take,
                     void *context, char *error)
{
    const char *wrong;
    unsigned number;
    size_t size;
    char *text;
    int rc = trust_file_read(place, name, &text, &size, error);

    if (rc != 0)
        return rc;
    wrong = record_text_read(text, size, name, take, context, &number);
    free(text);
    if (wrong == NULL)
        return 0;
    snprintf(error, TRUST_ERROR_SIZE,
             "%.140s/%s: damaged: line %u %s (put a copy back, or leave and join again: c4pd leave "
             "--now)",
             place->path, name, number, wrong);
    return -1;
}
