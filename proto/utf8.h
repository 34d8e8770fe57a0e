/*
 * Text of which nobody promised that it is UTF-8.
 */
#ifndef C4P_PROTO_UTF8_H
#define C4P_PROTO_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * The character at the start of `size` (1 or more) bytes, and how many bytes it has; 0 if they begin
 * with none (RFC 3629: no surrogates, nothing longer than needed, nothing past U+10FFFF).
 */
size_t utf8_next(const char *data, size_t size, uint32_t *character);

bool utf8_valid(const char *data, size_t size);

/* Bytes of the character at the start of a string; 0: it is at its end, or begins with none. */
static inline size_t utf8_size(const char *string)
{
    uint32_t character;

    return *string == '\0' ? 0 : utf8_next(string, strnlen(string, 4), &character);
}

#endif
