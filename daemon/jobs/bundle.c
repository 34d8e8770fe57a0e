/*
 * Blobs come, part by part, and are read again.
 */
#define _GNU_SOURCE
#include "daemon/jobs/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/jobs/bundle_internal.h"

/* ---- coming ---- */

static int blob_begin(struct bundles *bundles, struct blob *blob, const char *name)
{
    int fd =
        openat(bundles->partial, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return -1;
    close(fd);
    blob->state = malloc(sizeof(*blob->state));
    if (blob->state == NULL)
        return -1;
    crypto_generichash_init(blob->state, NULL, 0, BUNDLE_HASH_SIZE);
    return 0;
}

static int blob_append(struct bundles *bundles, struct blob *blob, const char *name,
                       const void *data, size_t size)
{
    int fd = openat(bundles->partial, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW), rc = -1;

    if (fd < 0)
        return -1;
    rc = bundle_bytes_write(fd, data, size, blob->received);
    if (close(fd) != 0 || rc != 0)
        return -1;
    crypto_generichash_update(blob->state, data, size);
    blob->received += size;
    return 0;
}

/* All of it came: is it what it is said to be? */
static int blob_finish(struct bundles *bundles, struct blob *blob, const char *name,
                       char error[BUNDLE_ERROR_SIZE])
{
    struct bundle_hash hash;

    crypto_generichash_final(blob->state, hash.bytes, sizeof(hash.bytes));
    if (memcmp(&hash, &blob->hash, sizeof(hash)) != 0) {
        blob_drop(bundles, blob);
        return bundle_refuse(error, "what came of a file has not the content that was announced");
    }
    if (renameat(bundles->partial, name, bundles->blobs, name) != 0) {
        bundle_refuse(error, "a file of the bundle cannot be kept: %s", strerror(errno));
        blob_drop(bundles, blob);
        return -1;
    }
    free(blob->state);
    blob->state = NULL;
    blob->here = true;
    bundles->bytes -= blob->size - blob->received;
    blob->size = blob->received;
    return 0;
}

static int part_check(const struct blob *blob, uint64_t offset, size_t size,
                      char error[BUNDLE_ERROR_SIZE])
{
    if (size > BUNDLE_PART)
        return bundle_refuse(error, "a part of %zu bytes is more than the %u allowed", size,
                             BUNDLE_PART);
    if (blob == NULL)
        return bundle_refuse(error, "this is a part of no file that a bundle here needs: offer "
                                    "the bundle first");
    if (!blob->here && offset > blob->received)
        return bundle_refuse(error, "a part of a file came before the one that belongs before it");
    if (!blob->here && (offset > blob->size || size > blob->size - offset))
        return bundle_refuse(error, "a file is larger than its bundle says");
    return 0;
}

int bundles_put(struct bundles *bundles, const struct bundle_hash *hash, uint64_t offset,
                const void *data, size_t size, bool last, char error[BUNDLE_ERROR_SIZE])
{
    struct blob *blob = blob_find(bundles, hash);
    char name[BUNDLE_NAME_SIZE];

    if (part_check(blob, offset, size, error) != 0)
        return -1;
    /* It is here, or another one who has it as well was faster. */
    if (blob->here || (offset < blob->received && size <= blob->received - offset))
        return 0;
    data = (const char *)data + (blob->received - offset);
    size -= (size_t)(blob->received - offset);
    bundle_hash_name(hash, name);
    if ((blob->state == NULL && blob_begin(bundles, blob, name) != 0) ||
        blob_append(bundles, blob, name, data, size) != 0) {
        bundle_refuse(error, "a file of the bundle cannot be kept: %s", strerror(errno));
        blob_drop(bundles, blob);
        return -1;
    }
    return last ? blob_finish(bundles, blob, name, error) : 0;
}

bool bundles_complete(struct bundles *bundles, const struct bundle_hash *hash)
{
    struct bundle *bundle = bundle_find(bundles, hash);

    return bundle != NULL && bundle_is_complete(bundle);
}

static bool is_secured(const struct bundle *bundle)
{
    for (size_t i = 0; i < bundle->count; i++)
        if (!bundle->parts[i].blob->secured)
            return false;
    return bundle->secured;
}

/* One call for the file system: a bundle has thousands of small files, and each alone would take as
 * long as all of them. */
int bundles_secure(struct bundles *bundles, const struct bundle_hash *hash,
                   char error[BUNDLE_ERROR_SIZE])
{
    struct bundle *bundle = bundle_find(bundles, hash);

    if (bundle == NULL || !bundle_is_complete(bundle))
        return bundle_refuse(error,
                             "the bundle of the job is not here, or not all of it: offer it again");
    if (!is_secured(bundle) && syncfs(bundles->blobs) != 0)
        return bundle_refuse(error, "the bundle of the job cannot be kept: %s", strerror(errno));
    bundle->secured = true;
    for (size_t i = 0; i < bundle->count; i++)
        bundle->parts[i].blob->secured = true;
    return 0;
}

/* ---- for others ---- */

void *bundles_manifest(struct bundles *bundles, const struct bundle_hash *hash, size_t *size,
                       char error[BUNDLE_ERROR_SIZE])
{
    struct bundle *bundle = bundle_find(bundles, hash);
    char name[BUNDLE_NAME_SIZE];
    void *data;

    bundle_hash_name(hash, name);
    if (bundle == NULL) {
        bundle_refuse(error, "bundle %.16s is not here", name);
        return NULL;
    }
    bundle_touch(bundles, bundle);
    data = bundle_file_read(bundles->manifests, name, BUNDLE_MAX_MANIFEST, size);
    if (data == NULL)
        bundle_refuse(error, "bundle %.16s cannot be read: %s", name, strerror(errno));
    return data;
}

int bundles_read(struct bundles *bundles, const struct bundle_hash *hash, uint64_t offset,
                 void *data, size_t room, size_t *size, bool *last, char error[BUNDLE_ERROR_SIZE])
{
    const struct blob *blob = blob_find(bundles, hash);
    char name[BUNDLE_NAME_SIZE];
    ssize_t got = -1;
    int fd;

    bundle_hash_name(hash, name);
    if (blob == NULL || !blob->here || offset > blob->size)
        return bundle_refuse(error, "file %.16s of a bundle is not here", name);
    fd = openat(bundles->blobs, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (room > blob->size - offset)
        room = (size_t)(blob->size - offset);
    if (fd >= 0) {
        got = pread(fd, data, room, (off_t)offset);
        close(fd);
    }
    if (got < 0 || (got == 0 && room > 0))
        return bundle_refuse(error, "file %.16s of a bundle cannot be read: %s", name,
                             got < 0 ? strerror(errno) : "it is cut off");
    *size = (size_t)got;
    *last = offset + (uint64_t)got == blob->size;
    return 0;
}
