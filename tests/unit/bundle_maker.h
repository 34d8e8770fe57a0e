/*
 * Bundles for the tests: files with made-up content, their manifest, and their blobs.
 */
#ifndef C4P_TESTS_BUNDLE_MAKER_H
#define C4P_TESTS_BUNDLE_MAKER_H

#include <sodium.h>

#include "daemon/jobs/bundle.h"
#include "tests/unit/scratch.h"

struct maker_file {
    const char *path;
    const char *content;
    size_t size; /* 0: as long as the text */
    uint32_t mode;
};

struct maker {
    C4p__BundleManifest message;
    struct bundle_hash hashes[64];
    uint8_t packed[64 << 10];
    size_t size;
    struct bundle_hash hash;
};

static inline size_t maker_length(const struct maker_file *file)
{
    return file->size > 0 ? file->size : strlen(file->content);
}

static inline void maker_hash(struct bundle_hash *hash, const void *data, size_t size)
{
    crypto_generichash(hash->bytes, sizeof(hash->bytes), data, size, NULL, 0);
}

/* The files are sorted by the caller. `root` is borrowed during the call. */
static inline void maker_make(struct maker *maker, const char *root, const struct maker_file *files,
                              size_t count)
{
    static C4p__BundleFile messages[64], *list[64];

    require(count <= 64 && sodium_init() >= 0);
    c4p__bundle_manifest__init(&maker->message);
    maker->message.root = (ProtobufCBinaryData){strlen(root), (uint8_t *)(uintptr_t)root};
    maker->message.n_files = count;
    maker->message.files = list;
    for (size_t i = 0; i < count; i++) {
        C4p__BundleFile *file = list[i] = &messages[i];

        c4p__bundle_file__init(file);
        file->path.data = (uint8_t *)(uintptr_t)files[i].path;
        file->path.len = strlen(files[i].path);
        file->mode = files[i].mode != 0 ? files[i].mode : 0644;
        file->size = maker_length(&files[i]);
        maker_hash(&maker->hashes[i], files[i].content, maker_length(&files[i]));
        file->hash = (ProtobufCBinaryData){BUNDLE_HASH_SIZE, maker->hashes[i].bytes};
    }
    require(c4p__bundle_manifest__get_packed_size(&maker->message) <= sizeof(maker->packed));
    maker->size = c4p__bundle_manifest__pack(&maker->message, maker->packed);
    maker_hash(&maker->hash, maker->packed, maker->size);
}

static inline struct bundles *maker_open(const char *state_dir, uint64_t limit, uint64_t keep_ms)
{
    const struct bundles_settings settings = {state_dir, limit, keep_ms};
    char error[BUNDLE_ERROR_SIZE] = "";
    struct bundles *bundles = bundles_open(&settings, error);

    if (bundles == NULL)
        fprintf(stderr, "%s\n", error);
    require(bundles != NULL);
    return bundles;
}

static inline void maker_count(void *context, const struct bundle_hash *blob)
{
    (void)blob;
    ++*(unsigned *)context;
}

/* Offer it: how many blobs are missing; -1 if it is refused. */
static inline int maker_offer(const struct maker *maker, struct bundles *bundles,
                              char error[BUNDLE_ERROR_SIZE])
{
    struct bundle_hash hash;
    unsigned missing = 0;

    if (bundles_offer(bundles, maker->packed, maker->size, &hash, maker_count, &missing, error) !=
        0)
        return -1;
    require(memcmp(&hash, &maker->hash, sizeof(hash)) == 0);
    return (int)missing;
}

static inline int maker_put(struct bundles *bundles, const struct maker_file *file,
                            char error[BUNDLE_ERROR_SIZE])
{
    size_t size = maker_length(file), offset = 0;
    struct bundle_hash hash;

    maker_hash(&hash, file->content, size);
    do {
        size_t part = size - offset < BUNDLE_PART ? size - offset : BUNDLE_PART;

        if (bundles_put(bundles, &hash, offset, file->content + offset, part, offset + part == size,
                        error) != 0)
            return -1;
        offset += part;
    } while (offset < size);
    return 0;
}

static inline void maker_bring(const struct maker *maker, struct bundles *bundles,
                               const struct maker_file *files, size_t count)
{
    char error[BUNDLE_ERROR_SIZE] = "";
    int rc = maker_offer(maker, bundles, error);

    for (size_t i = 0; rc >= 0 && i < count; i++)
        rc = maker_put(bundles, &files[i], error);
    if (rc < 0)
        fprintf(stderr, "%s\n", error);
    require(rc == 0 && bundles_complete(bundles, &maker->hash));
}

#endif
