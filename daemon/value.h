/*
 * Values as people write them: 64M, 30d, warning. Pure.
 */
#ifndef C4P_DAEMON_VALUE_H
#define C4P_DAEMON_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum value_type {
    VALUE_COUNT, /* 4 */
    VALUE_SIZE,  /* bytes: 4096, 512K, 64M, 4G, 1T */
    VALUE_TIME,  /* milliseconds: 0, 500ms, 90s, 30m, 1h, 2d */
    VALUE_LEVEL, /* of the log: error, warning, info, debug */
    /* These are text, and stay it. */
    VALUE_ADDRESS, /* to listen at: 0.0.0.0:7227, [::]:7227, auto */
    VALUE_HOST,    /* name or address, auto */
    VALUE_TYPES
};

#define VALUE_TEXT_SIZE 96
#define VALUE_AUTO "auto"

bool value_is_text(enum value_type type);
/* Is it one of those that are text? */
bool value_check(enum value_type type, const char *text);

/* Of the others. False if it is none of that type, or does not fit into 64 bits. */
bool value_parse(enum value_type type, const char *text, uint64_t *number);

/* The shortest way to write it, which value_parse() reads as the same. */
void value_format(enum value_type type, uint64_t number, char text[VALUE_TEXT_SIZE]);

/* What a value of this type looks like, for a sentence: "a size (bytes, or 512K, 64M, 4G)". */
const char *value_type_describe(enum value_type type);

#endif
