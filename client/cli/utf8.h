/*
 * Text of which nobody promised that it is UTF-8.
 */
#ifndef C4P_CLIENT_CLI_UTF8_H
#define C4P_CLIENT_CLI_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The character at the start of `size` (1 or more) bytes, and how many bytes it has; 0 if they begin
 * with none (RFC 3629: no surrogates, nothing longer than needed, nothing past U+10FFFF).
 */
size_t utf8_next(const char *data, size_t size, uint32_t *character);

bool utf8_valid(const char *data, size_t size);

#endif
