/*
 * Inside libc4p: the files of a bundle.
 *
 *   bundle.c         which files: walks, limits
 *   bundle_seal.c    their content: hashes, and the manifest
 *   imports.c        what Python source imports at its top level
 *   bundle_send.c    offered to the daemon, and sent
 */
#ifndef C4P_CLIENT_BUNDLE_H
#define C4P_CLIENT_BUNDLE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "client/c4p.h"
#include "proto/bundle.h"

struct bundle_entry {
    char *path; /* below the root */
    uint32_t mode;
    uint64_t size;
    struct timespec changed; /* when its content was read */
    uint8_t hash[BUNDLE_HASH_SIZE];
};

struct c4p_bundle {
    char *root;
    struct bundle_entry *entries;
    size_t count, room;
    uint64_t bytes;
    size_t walked; /* names that were looked at */

    /* of one that is sealed */
    uint8_t *manifest;
    size_t manifest_size;
    uint8_t hash[BUNDLE_HASH_SIZE];
    char **modules;
    size_t modules_count;

    /* while it is sent */
    uint64_t sent, total;
};

/* A sentence; returns -1. */
int bundle_fail(char error[C4P_ERROR_SIZE], const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Open a file of the bundle, a regular one; -1 with errno. */
int bundle_entry_open(const struct c4p_bundle *bundle, const struct bundle_entry *entry,
                      struct stat *status);
/* Is it what it was when its content was read? */
bool bundle_entry_same(const struct bundle_entry *entry, const struct stat *status);

/*
 * For each top-level module that is imported at the beginning of a line, outside of strings and
 * brackets. `name` is not terminated. The rest of Python's grammar does not matter here.
 */
void imports_scan(const char *text, size_t size,
                  void (*found)(void *context, const char *name, size_t length), void *context);

#endif
