/*
 * Lengths of time as people write them: 90, 90s, 30m, 1h30m, 2d; and as they like to read them:
 * 3m12s.
 */
#ifndef C4P_CLIENT_CLI_DURATION_H
#define C4P_CLIENT_CLI_DURATION_H

#include <stdbool.h>
#include <stdint.h>

#define DURATION_MAX_MS (3650ull * 24 * 3600 * 1000)
#define DURATION_SIZE 24

/* Seconds, or numbers with units of which each is smaller than the one before. False if it is none,
 * or more than DURATION_MAX_MS. */
bool duration_parse(const char *text, uint64_t *ms);

/* The two largest units, the second with two digits. Returns `text`. */
const char *duration_format(uint64_t ms, char text[DURATION_SIZE]);

#endif
