/*
 * Manifests of bundles as arbitrary bytes. One that is taken has only paths that lead below their root,
 * in order, and is found again by them; taken apart and packed once more it is taken again.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/jobs/bundle_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

static void path_require(const ProtobufCBinaryData *path)
{
    char text[BUNDLE_MAX_PATH + 3] = "/";

    require(path->len > 0 && path->len <= BUNDLE_MAX_PATH &&
            memchr(path->data, '\0', path->len) == NULL);
    memcpy(text + 1, path->data, path->len);
    text[path->len + 1] = '/';
    text[path->len + 2] = '\0';
    require(strstr(text, "/../") == NULL && strstr(text, "/./") == NULL &&
            strstr(text, "//") == NULL);
}

static void manifest_require(const struct manifest *manifest)
{
    const C4p__BundleManifest *message = manifest->message;

    require(manifest->root[0] == '/' && manifest->root[1] != '\0');
    require(message->n_files > 0 && message->n_files <= BUNDLE_MAX_FILES);
    for (size_t i = 0; i < message->n_files; i++) {
        const C4p__BundleFile *file = message->files[i];

        path_require(&file->path);
        require(file->hash.len == BUNDLE_HASH_SIZE && (file->mode & ~0111u) == 0644);
        require(manifest_has(manifest, (const char *)file->path.data, file->path.len));
    }
    for (size_t i = 0; i < message->n_modules; i++)
        require(message->modules[i][0] != '-' && message->modules[i][0] != '\0');
}

/* What protobuf-c kept without understanding it, it may write so that it does not read it again. */
static int is_known(const C4p__BundleManifest *message)
{
    size_t unknown = message->base.n_unknown_fields;

    for (size_t i = 0; i < message->n_files; i++)
        unknown += message->files[i]->base.n_unknown_fields;
    return unknown == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char error[BUNDLE_ERROR_SIZE];
    struct manifest manifest, again;
    uint8_t *packed;

    if (manifest_parse(&manifest, data, size, error) != 0)
        return 0;
    manifest_require(&manifest);
    size = c4p__bundle_manifest__get_packed_size(manifest.message);
    packed = malloc(size);
    require(packed != NULL);
    c4p__bundle_manifest__pack(manifest.message, packed);
    if (size <= BUNDLE_MAX_MANIFEST && is_known(manifest.message)) {
        require(manifest_parse(&again, packed, size, error) == 0);
        manifest_free(&again);
    }
    manifest_free(&manifest);
    free(packed);
    return 0;
}
