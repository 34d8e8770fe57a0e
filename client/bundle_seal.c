/*
 * The content of a bundle's files, as it is at this moment: hashes, what Python files import, and the
 * manifest.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/bundle.h"
#include "client/client.h"

/* Python files are read whole for their imports, up to this. */
#define SOURCE_LIMIT (1u << 20)

int bundle_entry_open(const struct c4p_bundle *bundle, const struct bundle_entry *entry,
                      struct stat *status)
{
    char path[PATH_MAX];
    int fd;

    if ((size_t)snprintf(path, sizeof(path), "%s/%s", bundle->root, entry->path) >= sizeof(path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -1;
    if (fstat(fd, status) == 0 && S_ISREG(status->st_mode))
        return fd;
    close(fd);
    errno = EINVAL;
    return -1;
}

bool bundle_entry_same(const struct bundle_entry *entry, const struct stat *status)
{
    return (uint64_t)status->st_size == entry->size &&
           status->st_mtim.tv_sec == entry->changed.tv_sec &&
           status->st_mtim.tv_nsec == entry->changed.tv_nsec;
}

bool c4p_bundle_stale(const struct c4p_bundle *bundle)
{
    for (size_t i = 0; i < bundle->count; i++) {
        struct stat status;
        int fd = bundle_entry_open(bundle, &bundle->entries[i], &status);

        if (fd >= 0)
            close(fd);
        if (fd < 0 || !bundle_entry_same(&bundle->entries[i], &status))
            return true;
    }
    return false;
}

/* ---- reading ---- */

/* Read what is there now: -1 with errno, EAGAIN if it changed meanwhile. The beginning stays in
 * `buffer`, its size in *got. */
static int content_read(struct bundle_entry *entry, int fd, const struct stat *before, char *buffer,
                        size_t *got)
{
    crypto_generichash_state state;
    struct stat after;
    uint64_t size = 0;
    ssize_t piece;

    crypto_generichash_init(&state, NULL, 0, BUNDLE_HASH_SIZE);
    while ((piece = read(fd, buffer + (size < SOURCE_LIMIT ? size : 0),
                         size < SOURCE_LIMIT ? SOURCE_LIMIT - size : SOURCE_LIMIT)) > 0) {
        crypto_generichash_update(&state, (uint8_t *)buffer + (size < SOURCE_LIMIT ? size : 0),
                                  (size_t)piece);
        size += (uint64_t)piece;
    }
    if (piece < 0 || fstat(fd, &after) != 0)
        return -1;
    entry->size = size;
    entry->changed = before->st_mtim;
    crypto_generichash_final(&state, entry->hash, sizeof(entry->hash));
    *got = size <= SOURCE_LIMIT ? (size_t)size : 0;
    if (bundle_entry_same(entry, &after))
        return 0;
    errno = EAGAIN;
    return -1;
}

static int entry_read(struct c4p_bundle *bundle, struct bundle_entry *entry, char *buffer,
                      size_t *got, char error[C4P_ERROR_SIZE])
{
    int rc = -1;

    /* What is just being written may be complete the next time. */
    for (int tries = 0; tries < 2 && rc != 0; tries++) {
        struct stat status;
        int fd = bundle_entry_open(bundle, entry, &status), saved;

        if (fd < 0)
            break;
        rc = content_read(entry, fd, &status, buffer, got);
        saved = errno;
        close(fd);
        errno = saved;
        if (rc != 0 && errno != EAGAIN)
            break;
    }
    if (rc == 0)
        return 0;
    return bundle_fail(error, "%.150s/%.150s: %s", bundle->root, entry->path,
                       errno == EAGAIN   ? "changes while it is read (try again when it is written)"
                       : errno == EINVAL ? "is no regular file any more"
                                         : strerror(errno));
}

/* ---- modules ---- */

/* Is it a file or a directory of the bundle, wherever? Then it comes along. */
static bool is_own(const struct c4p_bundle *bundle, const char *name, size_t length)
{
    for (size_t i = 0; i < bundle->count; i++) {
        const char *path = bundle->entries[i].path;

        for (const char *part = path; part != NULL; part = strchr(part, '/')) {
            part += *part == '/';
            if (strncmp(part, name, length) == 0 &&
                (part[length] == '/' || strcmp(part + length, ".py") == 0))
                return true;
        }
    }
    return false;
}

static void on_import(void *context, const char *name, size_t length)
{
    struct c4p_bundle *bundle = context;
    char **modules;

    if (length > BUNDLE_MAX_MODULE || bundle->modules_count == BUNDLE_MAX_MODULES ||
        (*name >= '0' && *name <= '9'))
        return;
    for (size_t i = 0; i < bundle->modules_count; i++)
        if (strncmp(bundle->modules[i], name, length) == 0 && bundle->modules[i][length] == '\0')
            return;
    if (is_own(bundle, name, length))
        return;
    modules = reallocarray(bundle->modules, bundle->modules_count + 1, sizeof(*modules));
    if (modules == NULL)
        return;
    bundle->modules = modules;
    modules[bundle->modules_count] = strndup(name, length);
    bundle->modules_count += modules[bundle->modules_count] != NULL;
}

static bool is_python(const char *path, const char *text, size_t size)
{
    size_t length = strlen(path);

    return (length > 3 && strcmp(path + length - 3, ".py") == 0) ||
           (size > 2 && memcmp(text, "#!", 2) == 0 &&
            memmem(text, size < 100 ? size : 100, "python", 6) != NULL);
}

/* ---- the manifest ---- */

static int entries_order(const void *a, const void *b)
{
    const struct bundle_entry *one = a, *other = b;

    return strcmp(one->path, other->path);
}

/* In order, each once. */
static void entries_sort(struct c4p_bundle *bundle)
{
    size_t kept = 1;

    qsort(bundle->entries, bundle->count, sizeof(*bundle->entries), entries_order);
    for (size_t i = 1; i < bundle->count; i++)
        if (strcmp(bundle->entries[i].path, bundle->entries[kept - 1].path) == 0)
            free(bundle->entries[i].path);
        else
            bundle->entries[kept++] = bundle->entries[i];
    bundle->count = kept;
}

static int names_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int manifest_pack(struct c4p_bundle *bundle, char error[C4P_ERROR_SIZE])
{
    C4p__BundleManifest manifest = C4P__BUNDLE_MANIFEST__INIT;
    C4p__BundleFile *files = calloc(bundle->count, sizeof(*files));
    C4p__BundleFile **list = calloc(bundle->count, sizeof(*list));

    manifest.root.data = (uint8_t *)bundle->root;
    manifest.root.len = strlen(bundle->root);
    manifest.files = list;
    for (; files != NULL && list != NULL && manifest.n_files < bundle->count; manifest.n_files++) {
        struct bundle_entry *entry = &bundle->entries[manifest.n_files];
        C4p__BundleFile *file = list[manifest.n_files] = &files[manifest.n_files];

        c4p__bundle_file__init(file);
        file->path.data = (uint8_t *)entry->path;
        file->path.len = strlen(entry->path);
        file->mode = entry->mode;
        file->size = entry->size;
        file->hash.data = entry->hash;
        file->hash.len = sizeof(entry->hash);
    }
    manifest.n_modules = bundle->modules_count;
    manifest.modules = bundle->modules;
    bundle->manifest_size = c4p__bundle_manifest__get_packed_size(&manifest);
    if (manifest.n_files == bundle->count)
        bundle->manifest = malloc(bundle->manifest_size + 1);
    if (bundle->manifest != NULL)
        c4p__bundle_manifest__pack(&manifest, bundle->manifest);
    free(files);
    free(list);
    if (bundle->manifest == NULL)
        return bundle_fail(error, "there is no memory for the program's files");
    if (bundle->manifest_size > BUNDLE_MAX_MANIFEST)
        return bundle_fail(error, "%.200s: the list of files is too long", bundle->root);
    crypto_generichash(bundle->hash, sizeof(bundle->hash), bundle->manifest, bundle->manifest_size,
                       NULL, 0);
    return 0;
}

static void seal_break(struct c4p_bundle *bundle)
{
    for (size_t i = 0; i < bundle->modules_count; i++)
        free(bundle->modules[i]);
    free(bundle->manifest);
    bundle->manifest = NULL;
    bundle->modules_count = 0;
}

int c4p_bundle_seal(struct c4p_bundle *bundle, char error[C4P_ERROR_SIZE])
{
    char *buffer = malloc(SOURCE_LIMIT);
    int rc = 0;

    if (buffer == NULL || sodium_init() < 0) {
        free(buffer);
        return bundle_fail(error, "there is no memory for the program's files");
    }
    seal_break(bundle);
    if (bundle->count == 0)
        rc = bundle_fail(error, "%.200s: there is no file to be taken along", bundle->root);
    else
        entries_sort(bundle);
    for (size_t i = 0; rc == 0 && i < bundle->count; i++) {
        struct bundle_entry *entry = &bundle->entries[i];
        size_t got = 0;

        rc = entry_read(bundle, entry, buffer, &got, error);
        if (rc == 0 && is_python(entry->path, buffer, got))
            imports_scan(buffer, got, on_import, bundle);
    }
    free(buffer);
    if (rc == 0 && bundle->modules_count > 0)
        qsort(bundle->modules, bundle->modules_count, sizeof(*bundle->modules), names_order);
    return rc == 0 ? manifest_pack(bundle, error) : -1;
}
