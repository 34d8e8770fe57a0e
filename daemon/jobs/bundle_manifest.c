#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/jobs/bundle_internal.h"
#include "daemon/words.h"

/* Directories above a file. */
#define MAX_DEPTH 64
#define MAX_NAME 255
#define MAX_SIZE (UINT64_C(1) << 40)

/* A path in a sentence. */
#define SHOWN_SIZE 81

static const char *shown(const ProtobufCBinaryData *path, char text[SHOWN_SIZE])
{
    size_t length = path->len < SHOWN_SIZE - 1 ? path->len : SHOWN_SIZE - 1;

    if (length > 0)
        memcpy(text, path->data, length);
    text[length] = '\0';
    words_clean(text);
    return text;
}

static int order(const void *a, size_t a_size, const void *b, size_t b_size)
{
    size_t common = a_size < b_size ? a_size : b_size;
    int rc = common > 0 ? memcmp(a, b, common) : 0;

    return rc != 0 ? rc : (a_size > b_size) - (a_size < b_size);
}

/* ---- paths ---- */

static bool name_allowed(const char *name, size_t length)
{
    return length > 0 && length <= MAX_NAME && !(length == 1 && name[0] == '.') &&
           !(length == 2 && name[0] == '.' && name[1] == '.');
}

/* Names with single slashes between them, none of which leads upwards or nowhere. */
static bool names_allowed(const char *path, size_t length)
{
    const char *end;
    unsigned depth = 0;

    if (length == 0 || memchr(path, '\0', length) != NULL)
        return false;
    for (end = path + length;; path++) {
        const char *slash = memchr(path, '/', (size_t)(end - path));
        size_t size = (size_t)((slash != NULL ? slash : end) - path);

        if (!name_allowed(path, size) || ++depth > MAX_DEPTH)
            return false;
        if (slash == NULL)
            return true;
        path = slash;
    }
}

static int root_check(const ProtobufCBinaryData *root, char error[BUNDLE_ERROR_SIZE])
{
    const char *path = (const char *)root->data;
    char text[SHOWN_SIZE];

    if (root->len > 1 && root->len < PATH_MAX && path[0] == '/' &&
        names_allowed(path + 1, root->len - 1))
        return 0;
    return bundle_refuse(error,
                         "the bundle's root \"%s\" is no absolute path of a directory below /",
                         shown(root, text));
}

/* ---- files ---- */

static int file_check(const C4p__BundleFile *file, char error[BUNDLE_ERROR_SIZE])
{
    char text[SHOWN_SIZE];

    if (file->path.len > BUNDLE_MAX_PATH ||
        !names_allowed((const char *)file->path.data, file->path.len))
        return bundle_refuse(error, "\"%s\" is no path that a file of a bundle may have",
                             shown(&file->path, text));
    if (file->hash.len != BUNDLE_HASH_SIZE)
        return bundle_refuse(error, "the hash of %s has %zu bytes, not %d",
                             shown(&file->path, text), file->hash.len, BUNDLE_HASH_SIZE);
    if (file->mode != 0644 && file->mode != 0755)
        return bundle_refuse(error, "the mode of %s is %o, which is neither 644 nor 755",
                             shown(&file->path, text), file->mode);
    if (file->size > MAX_SIZE)
        return bundle_refuse(error, "%s is larger than a file of a bundle may be",
                             shown(&file->path, text));
    return 0;
}

/* The first file that does not sort before this path. */
static size_t file_search(const C4p__BundleManifest *message, const char *path, size_t length)
{
    size_t low = 0, high = message->n_files;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const ProtobufCBinaryData *other = &message->files[middle]->path;

        if (order(other->data, other->len, path, length) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool file_is(const C4p__BundleManifest *message, size_t i, const char *path, size_t length)
{
    return i < message->n_files && message->files[i]->path.len == length &&
           memcmp(message->files[i]->path.data, path, length) == 0;
}

static int files_check(const C4p__BundleManifest *message, char error[BUNDLE_ERROR_SIZE])
{
    uint64_t total = 0;
    char text[SHOWN_SIZE];

    for (size_t i = 0; i < message->n_files; i++) {
        const ProtobufCBinaryData *path = &message->files[i]->path;

        if (file_check(message->files[i], error) != 0)
            return -1;
        if (i > 0 && order(message->files[i - 1]->path.data, message->files[i - 1]->path.len,
                           path->data, path->len) >= 0)
            return bundle_refuse(error, "the files of a bundle are sorted, and %s is not",
                                 shown(path, text));
        total += message->files[i]->size;
    }
    return total <= MAX_SIZE ? 0 : bundle_refuse(error, "the bundle is larger than any may be");
}

/* Sorted already. */
static int directories_check(const C4p__BundleManifest *message, char error[BUNDLE_ERROR_SIZE])
{
    char text[SHOWN_SIZE];

    for (size_t i = 0; i < message->n_files; i++) {
        const ProtobufCBinaryData *data = &message->files[i]->path;
        const char *path = (const char *)data->data;

        for (size_t length = 1; length < data->len; length++)
            if (path[length] == '/' &&
                file_is(message, file_search(message, path, length), path, length))
                return bundle_refuse(error, "above %s there is a file, not a directory",
                                     shown(data, text));
    }
    return 0;
}

/* They go into the command line of an interpreter. */
bool manifest_module_allowed(const char *name)
{
    size_t length = strlen(name);

    if (length == 0 || length > BUNDLE_MAX_MODULE || (*name >= '0' && *name <= '9'))
        return false;
    for (; *name != '\0'; name++)
        if ((unsigned char)*name < 0x80 && strchr("abcdefghijklmnopqrstuvwxyz"
                                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_",
                                                  *name) == NULL)
            return false;
    return true;
}

static int message_check(const C4p__BundleManifest *message, char error[BUNDLE_ERROR_SIZE])
{
    if (message->n_files == 0 || message->n_files > BUNDLE_MAX_FILES)
        return bundle_refuse(error, "a bundle has 1 to %u files, this one %zu", BUNDLE_MAX_FILES,
                             message->n_files);
    if (message->n_modules > BUNDLE_MAX_MODULES)
        return bundle_refuse(error, "a bundle names at most %u modules, this one %zu",
                             BUNDLE_MAX_MODULES, message->n_modules);
    for (size_t i = 0; i < message->n_modules; i++)
        if (!manifest_module_allowed(message->modules[i]))
            return bundle_refuse(error, "the bundle names a module that can have no such name");
    if (root_check(&message->root, error) != 0 || files_check(message, error) != 0)
        return -1;
    return directories_check(message, error);
}

/* ---- all of it ---- */

int manifest_parse(struct manifest *manifest, const void *data, size_t size,
                   char error[BUNDLE_ERROR_SIZE])
{
    memset(manifest, 0, sizeof(*manifest));
    if (size > BUNDLE_MAX_MANIFEST)
        return bundle_refuse(error, "a manifest of %zu bytes is larger than the %u allowed", size,
                             BUNDLE_MAX_MANIFEST);
    manifest->message = c4p__bundle_manifest__unpack(NULL, size, data);
    if (manifest->message == NULL)
        return bundle_refuse(error, "the manifest cannot be decoded");
    if (message_check(manifest->message, error) != 0) {
        manifest_free(manifest);
        return -1;
    }
    manifest->root =
        strndup((const char *)manifest->message->root.data, manifest->message->root.len);
    if (manifest->root == NULL) {
        manifest_free(manifest);
        return bundle_refuse(error, "the daemon is out of memory");
    }
    bundle_hash_of(&manifest->hash, data, size);
    return 0;
}

void manifest_free(struct manifest *manifest)
{
    if (manifest->message != NULL)
        c4p__bundle_manifest__free_unpacked(manifest->message, NULL);
    free(manifest->root);
    memset(manifest, 0, sizeof(*manifest));
}

bool manifest_has(const struct manifest *manifest, const char *path, size_t length)
{
    const C4p__BundleManifest *message = manifest->message;
    char below[PATH_MAX + 1];
    size_t i = file_search(message, path, length);

    if (length >= PATH_MAX || file_is(message, i, path, length))
        return length < PATH_MAX;
    if (length > 0)
        memcpy(below, path, length);
    below[length] = '/';
    i = file_search(message, below, length + 1);
    return i < message->n_files && message->files[i]->path.len > length &&
           memcmp(message->files[i]->path.data, below, length + 1) == 0;
}
