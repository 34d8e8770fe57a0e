/*
 * Which bundles there are: found again at the start, offered, used, and evicted.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/jobs/bundle_internal.h"
#include "daemon/log.h"
#include "proto/clock.h"
#include "proto/place.h"

/* The time of use is not written down more often. */
#define TOUCH_MS 60000

int bundle_refuse(char error[BUNDLE_ERROR_SIZE], const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error, BUNDLE_ERROR_SIZE, format, arguments);
    va_end(arguments);
    return -1;
}

void bundle_hash_of(struct bundle_hash *hash, const void *data, size_t size)
{
    crypto_generichash(hash->bytes, sizeof(hash->bytes), data, size, NULL, 0);
}

const char *bundle_hash_name(const struct bundle_hash *hash, char name[BUNDLE_NAME_SIZE])
{
    return sodium_bin2hex(name, BUNDLE_NAME_SIZE, hash->bytes, sizeof(hash->bytes));
}

bool bundle_hash_read(struct bundle_hash *hash, const ProtobufCBinaryData *data)
{
    if (data->len != sizeof(hash->bytes))
        return false;
    memcpy(hash->bytes, data->data, sizeof(hash->bytes));
    return true;
}

static bool name_parse(const char *name, struct bundle_hash *hash)
{
    size_t size = 0;

    return strlen(name) == BUNDLE_NAME_SIZE - 1 &&
           sodium_hex2bin(hash->bytes, sizeof(hash->bytes), name, BUNDLE_NAME_SIZE - 1, NULL, &size,
                          NULL) == 0 &&
           size == sizeof(hash->bytes);
}

/* ---- files ---- */

int bundle_bytes_write(int fd, const void *data, size_t size, uint64_t offset)
{
    const char *bytes = data;

    while (size > 0) {
        ssize_t written = pwrite(fd, bytes, size, (off_t)offset);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return -1;
        bytes += written;
        offset += (uint64_t)written;
        size -= (size_t)written;
    }
    return 0;
}

void *bundle_file_read(int directory, const char *name, size_t most, size_t *size)
{
    int fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat status;
    char *data = NULL;
    ssize_t got = -1;

    if (fd < 0)
        return NULL;
    if (fstat(fd, &status) == 0 && (!S_ISREG(status.st_mode) || (size_t)status.st_size > most))
        errno = EFBIG;
    else if ((data = malloc(most + 1)) != NULL)
        for (*size = 0; *size <= most; *size += (size_t)got)
            if ((got = read(fd, data + *size, most + 1 - *size)) <= 0)
                break;
    close(fd);
    if (data != NULL && got == 0 && *size <= most)
        return data;
    free(data);
    return NULL;
}

/* Written beside it, then it is there at once or not at all. */
static int manifest_write(struct bundles *bundles, const struct bundle_hash *hash, const void *data,
                          size_t size, char error[BUNDLE_ERROR_SIZE])
{
    char name[BUNDLE_NAME_SIZE];
    int fd = openat(bundles->partial, bundle_hash_name(hash, name),
                    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc = fd < 0 ? -1 : bundle_bytes_write(fd, data, size, 0);

    if (fd >= 0 && close(fd) != 0)
        rc = -1;
    if (rc == 0)
        rc = renameat(bundles->partial, name, bundles->manifests, name);
    if (rc == 0)
        return 0;
    bundle_refuse(error, "the bundle cannot be kept: %s", strerror(errno));
    unlinkat(bundles->partial, name, 0);
    return -1;
}

/* ---- what there is ---- */

struct bundle *bundle_find(const struct bundles *bundles, const struct bundle_hash *hash)
{
    struct bundle *bundle;

    HASH_FIND(hh, bundles->list, hash, sizeof(*hash), bundle);
    return bundle;
}

struct blob *blob_find(const struct bundles *bundles, const struct bundle_hash *hash)
{
    struct blob *blob;

    HASH_FIND(hh, bundles->table, hash, sizeof(*hash), blob);
    return blob;
}

void blob_drop(struct bundles *bundles, struct blob *blob)
{
    char name[BUNDLE_NAME_SIZE];

    bundle_hash_name(&blob->hash, name);
    if (blob->here)
        unlinkat(bundles->blobs, name, 0);
    if (blob->state != NULL)
        unlinkat(bundles->partial, name, 0);
    free(blob->state);
    blob->state = NULL;
    blob->received = 0;
    blob->here = blob->secured = false;
}

static void blob_release(struct bundles *bundles, struct blob *blob)
{
    if (--blob->refs > 0)
        return;
    blob_drop(bundles, blob);
    bundles->bytes -= blob->size;
    HASH_DEL(bundles->table, blob);
    free(blob);
}

/* A file of a bundle refers to it. NULL: no memory. */
static struct blob *blob_take(struct bundles *bundles, const struct bundle_hash *hash,
                              uint64_t size)
{
    struct blob *blob = blob_find(bundles, hash);

    if (blob == NULL) {
        blob = calloc(1, sizeof(*blob));
        if (blob == NULL)
            return NULL;
        blob->hash = *hash;
        HASH_ADD(hh, bundles->table, hash, sizeof(blob->hash), blob);
    }
    if (!blob->here && size > blob->size) {
        bundles->bytes += size - blob->size;
        blob->size = size;
    }
    blob->refs++;
    return blob;
}

/* Not on the disk: in memory only. */
static void bundle_forget(struct bundles *bundles, struct bundle *bundle)
{
    for (size_t i = 0; i < bundle->count; i++)
        blob_release(bundles, bundle->parts[i].blob);
    bundles->bytes -= bundle->size;
    HASH_DEL(bundles->list, bundle);
    free(bundle->parts);
    free(bundle);
}

static void bundle_remove(struct bundles *bundles, struct bundle *bundle)
{
    char name[BUNDLE_NAME_SIZE];

    unlinkat(bundles->manifests, bundle_hash_name(&bundle->hash, name), 0);
    bundle_forget(bundles, bundle);
}

static struct bundle *bundle_add(struct bundles *bundles, const struct manifest *manifest,
                                 size_t size, int64_t used)
{
    const C4p__BundleManifest *message = manifest->message;
    struct bundle *bundle = calloc(1, sizeof(*bundle));

    if (bundle == NULL ||
        (bundle->parts = calloc(message->n_files, sizeof(struct bundle_part))) == NULL) {
        free(bundle);
        return NULL;
    }
    bundle->hash = manifest->hash;
    bundle->size = size;
    bundle->used = used;
    bundles->bytes += size;
    HASH_ADD(hh, bundles->list, hash, sizeof(bundle->hash), bundle);
    for (; bundle->count < message->n_files; bundle->count++) {
        const C4p__BundleFile *file = message->files[bundle->count];
        struct bundle_part *part = &bundle->parts[bundle->count];
        struct bundle_hash hash;

        bundle_hash_read(&hash, &file->hash);
        part->size = file->size;
        part->blob = blob_take(bundles, &hash, file->size);
        if (part->blob == NULL) {
            bundle_forget(bundles, bundle);
            return NULL;
        }
    }
    return bundle;
}

bool bundle_is_complete(const struct bundle *bundle)
{
    for (size_t i = 0; i < bundle->count; i++)
        if (!bundle->parts[i].blob->here || bundle->parts[i].blob->size != bundle->parts[i].size)
            return false;
    return true;
}

void bundle_touch(struct bundles *bundles, struct bundle *bundle)
{
    int64_t now = clock_day_ms();
    char name[BUNDLE_NAME_SIZE];

    if (now - bundle->used < TOUCH_MS && now >= bundle->used)
        return;
    bundle->used = now;
    utimensat(bundles->manifests, bundle_hash_name(&bundle->hash, name), NULL, AT_SYMLINK_NOFOLLOW);
}

/* ---- eviction ---- */

/* The one that was used longest ago, of those that nobody needs. */
static struct bundle *bundle_oldest(const struct bundles *bundles, const struct bundle *but)
{
    struct bundle *oldest = NULL;

    for (struct bundle *bundle = bundles->list; bundle != NULL; bundle = bundle->hh.next)
        if (bundle != but && bundle->pins == 0 && (oldest == NULL || bundle->used < oldest->used))
            oldest = bundle;
    return oldest;
}

static bool is_full(const struct bundles *bundles)
{
    return bundles->bytes > bundles->limit || HASH_COUNT(bundles->list) > BUNDLE_MAX_BUNDLES;
}

/* Make room; `but` stays. False: there is none. */
static bool room_make(struct bundles *bundles, const struct bundle *but)
{
    unsigned evicted = 0;

    while (is_full(bundles)) {
        struct bundle *oldest = bundle_oldest(bundles, but);

        if (oldest == NULL)
            break;
        bundle_remove(bundles, oldest);
        evicted++;
    }
    if (evicted > 0)
        log_write(LOG_INFO, "bundles", "%u evicted to make room", evicted);
    return !is_full(bundles);
}

void bundles_evict(struct bundles *bundles, int64_t day_ms)
{
    struct bundle *bundle, *next;
    unsigned evicted = 0;

    HASH_ITER(hh, bundles->list, bundle, next)
    {
        if (bundle->pins > 0 || day_ms - bundle->used < (int64_t)bundles->keep_ms)
            continue;
        bundle_remove(bundles, bundle);
        evicted++;
    }
    if (evicted > 0)
        log_write(LOG_INFO, "bundles", "%u evicted: nobody used them for long", evicted);
    room_make(bundles, NULL);
}

/* ---- pins ---- */

void bundles_pin(struct bundles *bundles, const struct bundle_hash *hash)
{
    struct bundle *bundle = bundle_find(bundles, hash);

    if (bundle == NULL)
        return;
    bundle_touch(bundles, bundle);
    bundle->pins++;
}

void bundles_unpin(struct bundles *bundles, const struct bundle_hash *hash)
{
    struct bundle *bundle = bundle_find(bundles, hash);

    if (bundle == NULL || bundle->pins == 0)
        return;
    bundle_touch(bundles, bundle);
    bundle->pins--;
}

/* ---- offers ---- */

static int no_room(const struct bundles *bundles, uint64_t wanted, char error[BUNDLE_ERROR_SIZE])
{
    return bundle_refuse(error,
                         "the bundle has %llu KiB, and there is no room for it: the daemon keeps "
                         "%llu KiB, and what open jobs need of it stays (bundle less, or raise "
                         "bundle_limit in c4pd.conf)",
                         (unsigned long long)wanted >> 10,
                         (unsigned long long)bundles->limit >> 10);
}

static struct bundle *bundle_take_in(struct bundles *bundles, const struct manifest *manifest,
                                     const void *data, size_t size, char error[BUNDLE_ERROR_SIZE])
{
    struct bundle *bundle = bundle_add(bundles, manifest, size, clock_day_ms());
    uint64_t wanted = size;

    if (bundle == NULL) {
        bundle_refuse(error, "the daemon is out of memory");
        return NULL;
    }
    for (size_t i = 0; i < bundle->count; i++)
        wanted += bundle->parts[i].size;
    if (!room_make(bundles, bundle))
        no_room(bundles, wanted, error);
    else if (manifest_write(bundles, &bundle->hash, data, size, error) == 0)
        return bundle;
    bundle_forget(bundles, bundle);
    return NULL;
}

/* A file of another size than the blob that is here cannot have its content. */
static int sizes_check(const struct bundle *bundle, char error[BUNDLE_ERROR_SIZE])
{
    for (size_t i = 0; i < bundle->count; i++)
        if (bundle->parts[i].blob->here && bundle->parts[i].blob->size != bundle->parts[i].size)
            return bundle_refuse(error, "the bundle's manifest gives a file a size that is not "
                                        "the one of its content");
    return 0;
}

int bundles_offer(struct bundles *bundles, const void *data, size_t size, struct bundle_hash *hash,
                  void (*each)(void *context, const struct bundle_hash *blob), void *context,
                  char error[BUNDLE_ERROR_SIZE])
{
    struct manifest manifest;
    struct bundle *bundle;

    if (manifest_parse(&manifest, data, size, error) != 0)
        return -1;
    *hash = manifest.hash;
    bundle = bundle_find(bundles, hash);
    if (bundle == NULL)
        bundle = bundle_take_in(bundles, &manifest, data, size, error);
    manifest_free(&manifest);
    if (bundle == NULL)
        return -1;
    if (sizes_check(bundle, error) != 0) {
        if (bundle->pins == 0)
            bundle_remove(bundles, bundle);
        return -1;
    }
    bundle_touch(bundles, bundle);
    for (size_t i = 0; i < bundle->count; i++)
        bundle->parts[i].blob->told = bundle->parts[i].blob->here;
    for (size_t i = 0; i < bundle->count; i++)
        if (!bundle->parts[i].blob->told) {
            bundle->parts[i].blob->told = true;
            if (each != NULL)
                each(context, &bundle->parts[i].blob->hash);
        }
    return 0;
}

int bundle_load(struct bundles *bundles, const struct bundle_hash *hash, struct manifest *manifest,
                char error[BUNDLE_ERROR_SIZE])
{
    char name[BUNDLE_NAME_SIZE];
    size_t size = 0;
    void *data;
    int rc;

    memset(manifest, 0, sizeof(*manifest));
    data = bundle_file_read(bundles->manifests, bundle_hash_name(hash, name), BUNDLE_MAX_MANIFEST,
                            &size);
    if (data == NULL)
        return bundle_refuse(error, "bundle %.16s is not here: %s", name, strerror(errno));
    rc = manifest_parse(manifest, data, size, error);
    free(data);
    if (rc != 0 || memcmp(&manifest->hash, hash, sizeof(*hash)) == 0)
        return rc;
    manifest_free(manifest);
    return bundle_refuse(error, "bundle %.16s was damaged on the disk", name);
}

/* ---- the start ---- */

/* For each file with such a name in a directory. */
static void names_scan(struct bundles *bundles, int directory,
                       void (*found)(struct bundles *, const char *, const struct bundle_hash *))
{
    int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;
    struct bundle_hash hash;
    struct dirent *entry;

    while (stream != NULL && (entry = readdir(stream)) != NULL)
        if (name_parse(entry->d_name, &hash))
            found(bundles, entry->d_name, &hash);
    if (stream != NULL)
        closedir(stream);
    else if (fd >= 0)
        close(fd);
}

static void manifest_found(struct bundles *bundles, const char *name,
                           const struct bundle_hash *hash)
{
    char error[BUNDLE_ERROR_SIZE] = "there are too many bundles, or too little memory";
    struct manifest manifest;
    struct bundle *bundle = NULL;
    struct stat status;
    size_t size = 0;

    if (HASH_COUNT(bundles->list) < BUNDLE_MAX_BUNDLES &&
        fstatat(bundles->manifests, name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        bundle_load(bundles, hash, &manifest, error) == 0) {
        size = c4p__bundle_manifest__get_packed_size(manifest.message);
        bundle =
            bundle_add(bundles, &manifest, size,
                       (int64_t)status.st_mtim.tv_sec * 1000 + status.st_mtim.tv_nsec / 1000000);
        manifest_free(&manifest);
    }
    if (bundle != NULL)
        return;
    log_write(LOG_WARNING, "bundles", "%.16s is removed: %s", name, error);
    unlinkat(bundles->manifests, name, 0);
}

static void blob_found(struct bundles *bundles, const char *name, const struct bundle_hash *hash)
{
    struct blob *blob = blob_find(bundles, hash);
    struct stat status;

    if (blob == NULL || fstatat(bundles->blobs, name, &status, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(status.st_mode) || (uint64_t)status.st_size > blob->size) {
        unlinkat(bundles->blobs, name, 0);
        return;
    }
    bundles->bytes -= blob->size - (uint64_t)status.st_size;
    blob->size = (uint64_t)status.st_size;
    blob->here = true;
}

static void partial_found(struct bundles *bundles, const char *name, const struct bundle_hash *hash)
{
    (void)hash;
    unlinkat(bundles->partial, name, 0);
}

/* A directory of the cache, made if it is not there. */
static int directory_open(int parent, const char *name)
{
    if (mkdirat(parent, name, 0700) != 0 && errno != EEXIST)
        return -1;
    return openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

static int directories_open(struct bundles *bundles, const char *state_dir)
{
    int state = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), top = -1;

    if (state >= 0)
        top = directory_open(state, PLACE_BUNDLES);
    if (top >= 0) {
        bundles->manifests = directory_open(top, "manifests");
        bundles->blobs = directory_open(top, "blobs");
        bundles->partial = directory_open(top, "partial");
        close(top);
    }
    if (state >= 0)
        close(state);
    return bundles->manifests < 0 || bundles->blobs < 0 || bundles->partial < 0 ? -1 : 0;
}

struct bundles *bundles_open(const struct bundles_settings *settings, char error[BUNDLE_ERROR_SIZE])
{
    struct bundles *bundles = calloc(1, sizeof(*bundles));

    if (bundles == NULL || sodium_init() < 0) {
        bundle_refuse(error, "the daemon is out of memory");
        free(bundles);
        return NULL;
    }
    bundles->manifests = bundles->blobs = bundles->partial = -1;
    bundles->limit = settings->limit;
    bundles->keep_ms = settings->keep_ms;
    if (directories_open(bundles, settings->state_dir) != 0) {
        bundle_refuse(error, "%.200s/" PLACE_BUNDLES ": %s", settings->state_dir, strerror(errno));
        bundles_close(bundles);
        return NULL;
    }
    names_scan(bundles, bundles->partial, partial_found);
    names_scan(bundles, bundles->manifests, manifest_found);
    names_scan(bundles, bundles->blobs, blob_found);
    return bundles;
}

void bundles_close(struct bundles *bundles)
{
    const int directories[] = {bundles != NULL ? bundles->manifests : -1,
                               bundles != NULL ? bundles->blobs : -1,
                               bundles != NULL ? bundles->partial : -1};
    struct blob *blob, *next_blob;
    struct bundle *bundle, *next;

    if (bundles == NULL)
        return;
    HASH_ITER(hh, bundles->table, blob, next_blob)
    {
        HASH_DEL(bundles->table, blob);
        free(blob->state);
        free(blob);
    }
    HASH_ITER(hh, bundles->list, bundle, next)
    {
        HASH_DEL(bundles->list, bundle);
        free(bundle->parts);
        free(bundle);
    }
    for (size_t i = 0; i < sizeof(directories) / sizeof(*directories); i++)
        if (directories[i] >= 0)
            close(directories[i]);
    free(bundles);
}

void bundles_configure(struct bundles *bundles, const struct bundles_settings *settings)
{
    bundles->limit = settings->limit;
    bundles->keep_ms = settings->keep_ms;
}

struct bundles_figures bundles_figures(const struct bundles *bundles)
{
    struct bundles_figures figures = {.bytes = bundles->bytes,
                                      .bundles = HASH_COUNT(bundles->list),
                                      .blobs = HASH_COUNT(bundles->table)};

    for (const struct bundle *bundle = bundles->list; bundle != NULL; bundle = bundle->hh.next)
        figures.pinned += bundle->pins > 0;
    return figures;
}
