/*
 * The files of a bundle: are they in place, and copies of them. No link is followed below the root or
 * the directory; what is copied is checked once more on the way.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/jobs/bundle_internal.h"

/* Files that are opened in one step. */
#define FILES_AT_A_TIME 256
#define BUFFER_SIZE (256u << 10)

struct bundle_copy {
    struct bundles *bundles;
    struct bundle_hash bundle;
    struct manifest manifest;
    bool writes;   /* else it only looks */
    int directory; /* the root, or where the copy goes; -1: not there */
    size_t next;   /* file */
    int in, out;   /* of it; -1: not open */
    uint64_t done;
    crypto_generichash_state state;
    uint8_t *buffer;
};

/* ---- paths ---- */

/* The directory of a file, made if `make`, and the file's name in it. -1 with errno. */
static int parent_open(int top, const C4p__BundleFile *file, bool make, char name[NAME_MAX + 1])
{
    const char *path = (const char *)file->path.data;
    const char *end = path + file->path.len, *slash;
    int directory = dup(top);

    while (directory >= 0 && (slash = memchr(path, '/', (size_t)(end - path))) != NULL) {
        int below = -1;

        memcpy(name, path, (size_t)(slash - path));
        name[slash - path] = '\0';
        if (!make || mkdirat(directory, name, 0700) == 0 || errno == EEXIST)
            below = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        close(directory);
        directory = below;
        path = slash + 1;
    }
    memcpy(name, path, (size_t)(end - path));
    name[end - path] = '\0';
    return directory;
}

static int file_open(int top, const C4p__BundleFile *file, int flags, bool make)
{
    char name[NAME_MAX + 1];
    int directory = parent_open(top, file, make, name), fd, saved;

    if (directory < 0)
        return -1;
    fd = openat(directory, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
                file->mode == 0755 ? 0700 : 0600);
    saved = errno;
    close(directory);
    errno = saved;
    return fd;
}

static int blob_open(struct bundles *bundles, const C4p__BundleFile *file)
{
    struct bundle_hash hash;
    char name[BUNDLE_NAME_SIZE];
    const struct blob *blob;

    bundle_hash_read(&hash, &file->hash);
    blob = blob_find(bundles, &hash);
    if (blob == NULL || !blob->here || blob->size != file->size) {
        errno = ENOENT;
        return -1;
    }
    return openat(bundles->blobs, bundle_hash_name(&hash, name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

/* ---- life ---- */

static void copy_close(struct bundle_copy *copy)
{
    if (copy->in >= 0)
        close(copy->in);
    if (copy->out >= 0)
        close(copy->out);
    copy->in = copy->out = -1;
}

static int copy_open(struct bundle_copy *copy, const char *directory, char error[BUNDLE_ERROR_SIZE])
{
    copy->writes = directory != NULL;
    copy->directory = copy->in = copy->out = -1;
    if (bundle_load(copy->bundles, &copy->bundle, &copy->manifest, error) != 0)
        return -1;
    copy->buffer = malloc(BUFFER_SIZE);
    if (copy->buffer == NULL)
        return bundle_refuse(error, "the daemon is out of memory");
    if (copy->writes && mkdir(directory, 0700) != 0)
        return bundle_refuse(error, "%.200s: cannot be made: %s", directory, strerror(errno));
    copy->directory = open(copy->writes ? directory : copy->manifest.root,
                           O_RDONLY | O_DIRECTORY | O_CLOEXEC | (copy->writes ? O_NOFOLLOW : 0));
    if (copy->writes && copy->directory < 0)
        return bundle_refuse(error, "%.200s: cannot be used: %s", directory, strerror(errno));
    return 0;
}

struct bundle_copy *bundle_copy_create(struct bundles *bundles, const struct bundle_hash *bundle,
                                       const char *directory, char error[BUNDLE_ERROR_SIZE])
{
    struct bundle_copy *copy = calloc(1, sizeof(*copy));

    if (copy == NULL) {
        bundle_refuse(error, "the daemon is out of memory");
        return NULL;
    }
    copy->bundles = bundles;
    copy->bundle = *bundle;
    bundles_pin(bundles, bundle);
    if (copy_open(copy, directory, error) == 0)
        return copy;
    bundle_copy_destroy(copy);
    return NULL;
}

void bundle_copy_destroy(struct bundle_copy *copy)
{
    if (copy == NULL)
        return;
    copy_close(copy);
    if (copy->directory >= 0)
        close(copy->directory);
    bundles_unpin(copy->bundles, &copy->bundle);
    manifest_free(&copy->manifest);
    free(copy->buffer);
    free(copy);
}

/* ---- one file ---- */

static const C4p__BundleFile *file_of(const struct bundle_copy *copy)
{
    return copy->manifest.message->files[copy->next];
}

static int file_refuse(const struct bundle_copy *copy, const char *why,
                       char error[BUNDLE_ERROR_SIZE])
{
    const ProtobufCBinaryData *path = &file_of(copy)->path;

    return bundle_refuse(error, "%.*s of the bundle: %s", path->len < 120 ? (int)path->len : 120,
                         (const char *)path->data, why);
}

/* -1: it is not there, or not such a one. */
static int file_begin(struct bundle_copy *copy, char error[BUNDLE_ERROR_SIZE])
{
    const C4p__BundleFile *file = file_of(copy);
    struct stat status;

    crypto_generichash_init(&copy->state, NULL, 0, BUNDLE_HASH_SIZE);
    copy->done = 0;
    if (copy->writes) {
        copy->in = blob_open(copy->bundles, file);
        if (copy->in >= 0)
            copy->out = file_open(copy->directory, file, O_WRONLY | O_CREAT | O_EXCL, true);
        return copy->out >= 0 ? 0 : file_refuse(copy, strerror(errno), error);
    }
    copy->in = file_open(copy->directory, file, O_RDONLY, false);
    if (copy->in >= 0 && fstat(copy->in, &status) == 0 && S_ISREG(status.st_mode) &&
        (uint64_t)status.st_size == file->size &&
        (file->mode != 0755 || (status.st_mode & 0100) != 0))
        return 0;
    return file_refuse(copy, "another file, or none", error);
}

/* What was read and written is what the manifest says. */
static int file_end(struct bundle_copy *copy, char error[BUNDLE_ERROR_SIZE])
{
    const C4p__BundleFile *file = file_of(copy);
    struct bundle_hash hash, wanted;
    int out = copy->out;

    crypto_generichash_final(&copy->state, hash.bytes, sizeof(hash.bytes));
    bundle_hash_read(&wanted, &file->hash);
    copy->out = -1;
    if (out >= 0 && close(out) != 0)
        return file_refuse(copy, strerror(errno), error);
    copy_close(copy);
    if (copy->done == file->size && memcmp(&hash, &wanted, sizeof(hash)) == 0)
        return 0;
    if (copy->writes)
        blob_drop(copy->bundles, blob_find(copy->bundles, &wanted));
    return file_refuse(copy, "it was damaged on the disk, and has to come again", error);
}

/* The next piece: its size, 0 at the end, -1 with a sentence. */
static ssize_t file_go_on(struct bundle_copy *copy, char error[BUNDLE_ERROR_SIZE])
{
    ssize_t got;

    do
        got = read(copy->in, copy->buffer, BUFFER_SIZE);
    while (got < 0 && errno == EINTR);
    if (got < 0 || (copy->out >= 0 &&
                    bundle_bytes_write(copy->out, copy->buffer, (size_t)got, copy->done) != 0))
        return file_refuse(copy, strerror(errno), error);
    crypto_generichash_update(&copy->state, copy->buffer, (size_t)got);
    copy->done += (uint64_t)got;
    if (copy->done > file_of(copy)->size)
        return file_refuse(copy, "it has grown", error);
    return got;
}

/* ---- all of them ---- */

enum bundle_step bundle_copy_step(struct bundle_copy *copy, char error[BUNDLE_ERROR_SIZE])
{
    size_t bytes = 0, files = 0;

    if (copy->directory < 0) {
        bundle_refuse(error, "%.200s: there is no such directory here", copy->manifest.root);
        return BUNDLE_OTHERWISE;
    }
    while (copy->next < copy->manifest.message->n_files) {
        ssize_t got;

        if (bytes >= BUNDLE_SLICE || files >= FILES_AT_A_TIME)
            return BUNDLE_MORE;
        if (copy->in < 0 && file_begin(copy, error) != 0)
            return BUNDLE_OTHERWISE;
        got = file_go_on(copy, error);
        if (got < 0 || (got == 0 && file_end(copy, error) != 0))
            return BUNDLE_OTHERWISE;
        bytes += (size_t)got;
        if (got == 0) {
            copy->next++;
            files++;
        }
    }
    return BUNDLE_ENDED;
}

static int copy_all(struct bundles *bundles, const struct bundle_hash *bundle,
                    const char *directory, char error[BUNDLE_ERROR_SIZE])
{
    struct bundle_copy *copy = bundle_copy_create(bundles, bundle, directory, error);
    enum bundle_step step = BUNDLE_MORE;

    if (copy == NULL)
        return -1;
    while (step == BUNDLE_MORE)
        step = bundle_copy_step(copy, error);
    bundle_copy_destroy(copy);
    return step == BUNDLE_ENDED ? 0 : -1;
}

bool bundle_in_place(struct bundles *bundles, const struct bundle_hash *bundle)
{
    char error[BUNDLE_ERROR_SIZE];

    return copy_all(bundles, bundle, NULL, error) == 0;
}

int bundle_unpack(struct bundles *bundles, const struct bundle_hash *bundle, const char *directory,
                  char error[BUNDLE_ERROR_SIZE])
{
    return copy_all(bundles, bundle, directory, error);
}
