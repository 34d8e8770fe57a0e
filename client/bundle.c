#define _GNU_SOURCE
#include "client/bundle.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/client.h"

/* What is gathered without being asked for. */
#define GATHERED_LIMIT ((uint64_t)64 << 20)
#define WALK_LIMIT 200000
#define WALK_DEPTH 40

#define REMEDY                                                                                     \
    "(say what it needs with --include, or --no-bundle if every host has its files; in Python "    \
    "connect(include=[...]) and connect(bundle=False))"

int bundle_fail(char error[C4P_ERROR_SIZE], const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error, C4P_ERROR_SIZE, format, arguments);
    va_end(arguments);
    return -1;
}

/* ---- life ---- */

struct c4p_bundle *c4p_bundle_create(const char *root, char error[C4P_ERROR_SIZE])
{
    struct c4p_bundle *bundle;

    if (root[0] != '/' || root[strspn(root, "/")] == '\0' || strlen(root) >= PATH_MAX) {
        bundle_fail(error, "%.200s: no directory from which files can be taken along", root);
        errno = EINVAL;
        return NULL;
    }
    bundle = calloc(1, sizeof(*bundle));
    if (bundle != NULL)
        bundle->root = strdup(root);
    if (bundle != NULL && bundle->root != NULL)
        return bundle;
    free(bundle);
    bundle_fail(error, "there is no memory for the program's files");
    return NULL;
}

void c4p_bundle_free(struct c4p_bundle *bundle)
{
    if (bundle == NULL)
        return;
    for (size_t i = 0; i < bundle->count; i++)
        free(bundle->entries[i].path);
    for (size_t i = 0; i < bundle->modules_count; i++)
        free(bundle->modules[i]);
    free(bundle->modules);
    free(bundle->entries);
    free(bundle->manifest);
    free(bundle->root);
    free(bundle);
}

size_t c4p_bundle_files(const struct c4p_bundle *bundle)
{
    return bundle->count;
}

void c4p_bundle_progress(const struct c4p_bundle *bundle, uint64_t *sent, uint64_t *total)
{
    *sent = bundle->sent;
    *total = bundle->total;
}

/* ---- files ---- */

static int too_much(const struct c4p_bundle *bundle, char error[C4P_ERROR_SIZE])
{
    return bundle_fail(error,
                       "%.200s: there is too much beside the program to take it along " REMEDY,
                       bundle->root);
}

static int entry_add(struct c4p_bundle *bundle, const char *path, const struct stat *status,
                     char error[C4P_ERROR_SIZE])
{
    struct bundle_entry *entry;

    if (strlen(path) > BUNDLE_MAX_PATH)
        return bundle_fail(error, "%.200s: the path is too long to be taken along", path);
    if (bundle->count == BUNDLE_MAX_FILES)
        return bundle_fail(error, "%.200s: more than %u files " REMEDY, bundle->root,
                           BUNDLE_MAX_FILES);
    if (bundle->count == bundle->room) {
        size_t room = bundle->room * 2 + 64;

        entry = reallocarray(bundle->entries, room, sizeof(*entry));
        if (entry == NULL)
            return bundle_fail(error, "there is no memory for the program's files");
        bundle->entries = entry;
        bundle->room = room;
    }
    entry = &bundle->entries[bundle->count];
    memset(entry, 0, sizeof(*entry));
    entry->path = strdup(path);
    if (entry->path == NULL)
        return bundle_fail(error, "there is no memory for the program's files");
    entry->mode = (status->st_mode & 0111) != 0 ? 0755 : 0644;
    bundle->bytes += (uint64_t)status->st_size;
    bundle->count++;
    return 0;
}

/* ---- directories ---- */

static bool has_suffix(const char *name, const char *suffix)
{
    size_t length = strlen(name), end = strlen(suffix);

    return length > end && strcmp(name + length - end, suffix) == 0;
}

static bool is_skipped(int directory, const char *name)
{
    char path[PATH_MAX];

    if (name[0] == '.' || strcmp(name, "__pycache__") == 0 || strcmp(name, "node_modules") == 0)
        return true;
    /* A virtual environment: each host has its own. */
    return (size_t)snprintf(path, sizeof(path), "%s/pyvenv.cfg", name) < sizeof(path) &&
           faccessat(directory, path, F_OK, 0) == 0;
}

static int directory_walk(struct c4p_bundle *bundle, int directory, const char *path, bool python,
                          unsigned depth, char error[C4P_ERROR_SIZE]);

static int name_visit(struct c4p_bundle *bundle, int directory, const char *path, const char *name,
                      bool python, unsigned depth, char error[C4P_ERROR_SIZE])
{
    char below[PATH_MAX];
    struct stat status, link;

    /* What goes while we look, and dead links, are not there. */
    if (fstatat(directory, name, &link, AT_SYMLINK_NOFOLLOW) != 0 ||
        fstatat(directory, name, &status, 0) != 0)
        return 0;
    if ((size_t)snprintf(below, sizeof(below), "%s%s%s", path, *path != '\0' ? "/" : "", name) >=
        sizeof(below))
        return bundle_fail(error, "%.200s: the path is too long to be taken along", path);
    if (S_ISREG(status.st_mode)) {
        if (python && (!has_suffix(name, ".py") || name[0] == '.'))
            return 0;
        if (python && bundle->bytes + (uint64_t)status.st_size > GATHERED_LIMIT)
            return too_much(bundle, error);
        return entry_add(bundle, below, &status, error);
    }
    /* A link to a directory may lead anywhere, also back. */
    if (!S_ISDIR(link.st_mode) || (python && is_skipped(directory, name)))
        return 0;
    directory = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (directory >= 0)
        return directory_walk(bundle, directory, below, python, depth + 1, error);
    return python ? 0 : bundle_fail(error, "%.200s: %s", below, strerror(errno));
}

/* Takes the descriptor over. */
static int directory_walk(struct c4p_bundle *bundle, int directory, const char *path, bool python,
                          unsigned depth, char error[C4P_ERROR_SIZE])
{
    DIR *stream = fdopendir(directory);
    struct dirent *entry;
    int rc = 0;

    if (stream == NULL) {
        close(directory);
        return bundle_fail(error, "%.200s: %s", path, strerror(errno));
    }
    if (depth > WALK_DEPTH)
        rc = bundle_fail(error, "%.200s: the directories are nested too deeply " REMEDY, path);
    while (rc == 0 && (entry = readdir(stream)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (++bundle->walked > WALK_LIMIT)
            rc = too_much(bundle, error);
        else
            rc = name_visit(bundle, dirfd(stream), path, entry->d_name, python, depth, error);
    }
    closedir(stream);
    return rc;
}

/* ---- what is asked for ---- */

static int path_add(struct c4p_bundle *bundle, const char *path, bool python,
                    char error[C4P_ERROR_SIZE])
{
    char whole[PATH_MAX];
    struct stat status;
    int fd;

    if ((size_t)snprintf(whole, sizeof(whole), "%s/%s", bundle->root, path) >= sizeof(whole))
        return bundle_fail(error, "%.200s: the path is too long to be taken along", path);
    fd = open(whole, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &status) != 0) {
        bundle_fail(error, "%.200s: %s", whole, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    if (S_ISDIR(status.st_mode))
        return directory_walk(bundle, fd, path, python, 0, error);
    close(fd);
    if (!S_ISREG(status.st_mode))
        return bundle_fail(error, "%.200s: is neither a file nor a directory", whole);
    return entry_add(bundle, path, &status, error);
}

int c4p_bundle_add(struct c4p_bundle *bundle, const char *path, char error[C4P_ERROR_SIZE])
{
    return path_add(bundle, path, false, error);
}

int c4p_bundle_add_python(struct c4p_bundle *bundle, const char *path, char error[C4P_ERROR_SIZE])
{
    return path_add(bundle, path, true, error);
}
