/*
 * Paths as words: nothing here looks at a file system.
 */
#ifndef C4P_PROTO_PATH_H
#define C4P_PROTO_PATH_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * `length` bytes of `text`, taken from `base` unless it is absolute, without ".", ".." and double
 * slashes: starts with a slash, ends with none. False: it is too long.
 */
bool path_tidy(const char *base, const char *text, size_t length, char path[PATH_MAX]);

/* What of a tidy path lies below a tidy root: empty if it is the root itself; NULL: it is elsewhere. */
const char *path_below(const char *root, const char *path);

#endif
