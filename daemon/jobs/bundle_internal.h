/*
 * What the parts of bundle.h share: bundle_manifest.c (what a manifest may be), bundle_cache.c (which
 * bundles there are, and which go), bundle.c (blobs come and are read), bundle_copy.c (files in
 * place, and copies of them), bundle_rebase.c (the command somewhere else).
 *
 * In memory there is every bundle with the blobs that it needs, here or not. The time of change of a
 * manifest's file is when the bundle was used last.
 */
#ifndef C4P_DAEMON_JOBS_BUNDLE_INTERNAL_H
#define C4P_DAEMON_JOBS_BUNDLE_INTERNAL_H

#include <sodium.h>
#include <sys/types.h>

#include <uthash.h>

#include "daemon/jobs/bundle.h"

#define BUNDLE_NAME_SIZE (2 * BUNDLE_HASH_SIZE + 1)

/* What is done to files at a time, before others have their turn. */
#define BUNDLE_SLICE (4u << 20)

struct manifest {
    struct bundle_hash hash;
    C4p__BundleManifest *message;
    char *root; /* with a NUL */
};

struct blob {
    UT_hash_handle hh;
    struct bundle_hash hash;
    uint64_t size; /* while it is not here: the most that is promised */
    uint32_t refs; /* files of bundles */
    bool here;
    bool secured; /* on the disk for good */
    bool told;    /* in this offer */
    uint64_t received;
    crypto_generichash_state *state; /* of what was received; NULL: nothing yet */
};

struct bundle_part {
    struct blob *blob;
    uint64_t size;
};

struct bundle {
    UT_hash_handle hh;
    struct bundle_hash hash;
    size_t size; /* of the manifest */
    int64_t used;
    unsigned pins;
    bool secured;              /* the manifest */
    struct bundle_part *parts; /* one for each file */
    size_t count;
};

struct bundles {
    int manifests, blobs, partial; /* directories */
    uint64_t limit, keep_ms, bytes;
    struct bundle *list; /* by hash */
    struct blob *table;
};

/* A sentence; returns -1. */
int bundle_refuse(char error[BUNDLE_ERROR_SIZE], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void bundle_hash_of(struct bundle_hash *hash, const void *data, size_t size);
const char *bundle_hash_name(const struct bundle_hash *hash, char name[BUNDLE_NAME_SIZE]);

/* ---- bundle_manifest.c ---- */

/* Foreign bytes: 0, or -1 with a sentence and nothing to free. */
int manifest_parse(struct manifest *manifest, const void *data, size_t size,
                   char error[BUNDLE_ERROR_SIZE]);
void manifest_free(struct manifest *manifest);
/* Is there a file of this path, or one below it? */
bool manifest_has(const struct manifest *manifest, const char *path, size_t length);
/* May a module have this name? */
bool manifest_module_allowed(const char *name);

/* ---- bundle_cache.c ---- */

struct bundle *bundle_find(const struct bundles *bundles, const struct bundle_hash *hash);
struct blob *blob_find(const struct bundles *bundles, const struct bundle_hash *hash);
void bundle_touch(struct bundles *bundles, struct bundle *bundle);
bool bundle_is_complete(const struct bundle *bundle);
/* A blob is not to be here (any more): what there is of it is removed. */
void blob_drop(struct bundles *bundles, struct blob *blob);
/* The manifest of a bundle that is here. -1 with a sentence. */
int bundle_load(struct bundles *bundles, const struct bundle_hash *hash, struct manifest *manifest,
                char error[BUNDLE_ERROR_SIZE]);
/* All of a file, to be freed; NULL with errno, EFBIG if it is larger than `most`. */
void *bundle_file_read(int directory, const char *name, size_t most, size_t *size);
int bundle_bytes_write(int fd, const void *data, size_t size, uint64_t offset);

#endif
