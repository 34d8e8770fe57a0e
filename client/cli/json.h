/*
 * Writes JSON (RFC 8259) into memory, one value after the other on one line each.
 *
 * Text may be any bytes: what is no UTF-8 becomes U+FFFD, a replacement for each such byte, and
 * json_data() tells the bytes besides. A key is NULL inside an array and for a value that stands by
 * itself.
 */
#ifndef C4P_CLIENT_CLI_JSON_H
#define C4P_CLIENT_CLI_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct json {
    char *text;
    size_t size, room;
    bool comma;  /* the next value is not the first where it is */
    bool failed; /* memory is exhausted: the text is worth nothing */
};

/* A zeroed struct is empty. */
void json_free(struct json *json);
/* Write what there is so far, and keep the memory; the text goes on. */
void json_flush(struct json *json, FILE *stream);
/* Go back to empty, and keep the memory. */
void json_reset(struct json *json);

void json_object_begin(struct json *json, const char *key);
void json_object_end(struct json *json);
void json_array_begin(struct json *json, const char *key);
void json_array_end(struct json *json);
/* A value that stands by itself is complete: end its line. */
void json_line_end(struct json *json);

void json_text(struct json *json, const char *key, const char *text);
void json_bytes(struct json *json, const char *key, const char *data, size_t size);
/* json_bytes(), and if they are no UTF-8 the same under `exact` in Base64 (RFC 4648). */
void json_data(struct json *json, const char *key, const char *exact, const char *data,
               size_t size);
void json_number(struct json *json, const char *key, int64_t number);
void json_boolean(struct json *json, const char *key, bool value);
void json_null(struct json *json, const char *key);
/* Milliseconds since 1970 as "2026-11-20T12:00:00.000Z"; 0: null. */
void json_time(struct json *json, const char *key, uint64_t ms);

#endif
