/*
 * The same command somewhere else.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/jobs/bundle_internal.h"
#include "proto/path.h"

struct place {
    const struct manifest *manifest;
    const char *directory;
    char cwd[PATH_MAX]; /* as it was, without "." and ".." */
    bool cwd_outside;
    bool files_only; /* the cwd stays, and paths that are not of the bundle */
};

/* ---- paths ---- */

static char *path_move(const struct place *place, const char *below)
{
    char *path;

    if (asprintf(&path, "%s%s%s", place->directory, *below != '\0' ? "/" : "", below) < 0)
        return NULL;
    return path;
}

/* ---- the parts of a command ---- */

static int bytes_replace(ProtobufCBinaryData *bytes, char *text)
{
    if (text == NULL)
        return -1;
    free(bytes->data);
    bytes->data = (uint8_t *)text;
    bytes->len = strlen(text);
    return 0;
}

/* A file of the bundle, and no directory: a program may write beside its files. */
static bool is_file_of(const struct manifest *manifest, const char *below)
{
    const C4p__BundleManifest *message = manifest->message;
    size_t length = strlen(below);

    for (size_t i = 0; i < message->n_files; i++)
        if (message->files[i]->path.len == length &&
            memcmp(message->files[i]->path.data, below, length) == 0)
            return true;
    return false;
}

/* `strict`: only what is in the bundle. */
static int argument_rebase(const struct place *place, ProtobufCBinaryData *argument, bool strict)
{
    const char *text = (const char *)argument->data;
    bool absolute = argument->len > 0 && text[0] == '/';
    char path[PATH_MAX];
    const char *below;

    /* What is relative stays true where the cwd has come along. */
    if (!absolute && (!place->cwd_outside || argument->len == 0 || text[0] == '-'))
        return 0;
    if (!path_tidy(place->cwd, text, argument->len, path) ||
        (below = path_below(place->manifest->root, path)) == NULL)
        return 0;
    if (place->files_only && !is_file_of(place->manifest, below))
        return 0;
    if ((strict || !absolute) && !manifest_has(place->manifest, below, strlen(below)))
        return 0;
    return bytes_replace(argument, path_move(place, below));
}

static int cwd_rebase(struct place *place, C4p__Submit *submit)
{
    const char *below;

    if (!path_tidy("", (const char *)submit->cwd.data, submit->cwd.len, place->cwd))
        return -1;
    below = path_below(place->manifest->root, place->cwd);
    place->cwd_outside = below == NULL || place->files_only;
    if (place->files_only)
        return 0;
    return bytes_replace(&submit->cwd, path_move(place, below != NULL ? below : ""));
}

/* Where a directory is now; NULL: where it was. `strict`: only what is in the bundle has moved. */
static const char *directory_rebase(const struct place *place, const char *text, size_t size,
                                    bool strict, char path[PATH_MAX])
{
    const char *below = NULL;

    if (size > 0 && *text == '/' && path_tidy("", text, size, path))
        below = path_below(place->manifest->root, path);
    if (below == NULL || *below == '\0' || !strict)
        return below;
    return manifest_has(place->manifest, below, strlen(below)) ? below : NULL;
}

/* A list of directories with colons between them. */
static char *list_rebase(const struct place *place, const char *list, size_t length, bool strict)
{
    char *result = strdup(""), path[PATH_MAX];
    const char *end = list + length;

    while (result != NULL) {
        const char *colon = memchr(list, ':', (size_t)(end - list));
        size_t size = (size_t)((colon != NULL ? colon : end) - list);
        const char *below = directory_rebase(place, list, size, strict, path);
        char *longer;
        int rc;

        if (below != NULL)
            rc = asprintf(&longer, "%s%s%s%s%s", result, place->directory,
                          *below != '\0' ? "/" : "", below, colon != NULL ? ":" : "");
        else
            rc = asprintf(&longer, "%s%.*s%s", result, (int)size, list, colon != NULL ? ":" : "");
        free(result);
        result = rc < 0 ? NULL : longer;
        if (colon == NULL)
            break;
        list = colon + 1;
    }
    return result;
}

static int variable_rebase(const struct place *place, ProtobufCBinaryData *entry)
{
    /* The last is one directory; the others are searched, and what did not come along may still be
     * where it was. */
    static const char *const names[] = {"PYTHONPATH=", "C4P_SESSION_PATH=", "PWD="};
    const char *text = (const char *)entry->data;

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        size_t length = strlen(names[i]);
        char *list, *whole;

        if (entry->len < length || memcmp(text, names[i], length) != 0 ||
            (place->files_only && i > 0))
            continue;
        list = list_rebase(place, text + length, entry->len - length, i < 2);
        if (list == NULL || asprintf(&whole, "%s%s", names[i], list) < 0)
            whole = NULL;
        free(list);
        return bytes_replace(entry, whole);
    }
    return 0;
}

/* ---- all of it ---- */

static int submit_rebase(struct place *place, C4p__Submit *submit)
{
    if (cwd_rebase(place, submit) != 0)
        return -1;
    for (size_t i = 0; i < submit->n_argv; i++)
        if (argument_rebase(place, &submit->argv[i], i == 0) != 0)
            return -1;
    for (size_t i = 0; i < submit->n_env; i++)
        if (variable_rebase(place, &submit->env[i]) != 0)
            return -1;
    return 0;
}

static int place_rebase(struct bundles *bundles, const struct bundle_hash *bundle,
                        struct place *place, C4p__Submit *submit, char error[BUNDLE_ERROR_SIZE])
{
    struct manifest manifest;
    int rc;

    if (bundle_load(bundles, bundle, &manifest, error) != 0)
        return -1;
    place->manifest = &manifest;
    rc = submit_rebase(place, submit);
    manifest_free(&manifest);
    return rc == 0 ? 0
                   : bundle_refuse(error, "the command cannot be moved to where its files are: "
                                          "out of memory, or a path that is too long");
}

int bundle_rebase(struct bundles *bundles, const struct bundle_hash *bundle, const char *directory,
                  C4p__Submit *submit, char error[BUNDLE_ERROR_SIZE])
{
    struct place place = {.directory = directory};

    return place_rebase(bundles, bundle, &place, submit, error);
}

int bundle_rebase_files(struct bundles *bundles, const struct bundle_hash *bundle,
                        const char *directory, C4p__Submit *submit, char error[BUNDLE_ERROR_SIZE])
{
    struct place place = {.directory = directory, .files_only = true};

    return place_rebase(bundles, bundle, &place, submit, error);
}
