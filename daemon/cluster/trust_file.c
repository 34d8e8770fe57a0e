#define _GNU_SOURCE
#include "daemon/cluster/trust_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRECTORY "cluster"

static int fail(const struct trust_place *place, const char *name, const char *what, char *error)
{
    int reason = errno;

    snprintf(error, TRUST_ERROR_SIZE, "%.180s/%s: %s: %s%s", place->path, name, what,
             strerror(reason), reason == ENOSPC || reason == EDQUOT ? " (make room)" : "");
    return -1;
}

/* ---- the directory ---- */

/* Ours, and closed to others? */
static int access_check(const struct stat *status, const char *path, const char *name,
                        const char *remedy, char *error)
{
    if (status->st_uid != geteuid()) {
        snprintf(error, TRUST_ERROR_SIZE,
                 "%.180s%s: belongs to user %u (remedy, if nobody else knows what is in it: chown)",
                 path, name, (unsigned)status->st_uid);
        return -1;
    }
    if ((status->st_mode & 077) == 0)
        return 0;
    snprintf(error, TRUST_ERROR_SIZE,
             "%.180s%s: is open to other users, its mode is %03o (remedy, if nobody else knows "
             "what is in it: chmod %s)",
             path, name, (unsigned)status->st_mode & 0777, remedy);
    return -1;
}

int trust_place_open(struct trust_place *place, const char *state_dir, bool make, char *error)
{
    struct stat status;

    place->fd = -1;
    if (snprintf(place->path, sizeof(place->path), "%s/" DIRECTORY, state_dir) >=
        (int)sizeof(place->path)) {
        snprintf(error, TRUST_ERROR_SIZE, "%.180s...: the path is too long", state_dir);
        return -1;
    }
    if (make && mkdir(place->path, 0700) != 0 && errno != EEXIST)
        return fail(place, "", "cannot be made", error);
    place->fd = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (place->fd < 0 && errno == ENOENT)
        return 1;
    if (place->fd < 0 || fstat(place->fd, &status) != 0) {
        fail(place, "", "cannot be used", error);
    } else if (access_check(&status, place->path, "", "700", error) == 0) {
        return 0;
    }
    trust_place_close(place);
    return -1;
}

void trust_place_close(struct trust_place *place)
{
    if (place->fd >= 0)
        close(place->fd);
    place->fd = -1;
}

int trust_place_lock(struct trust_place *place, char *error)
{
    if (flock(place->fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    snprintf(error, TRUST_ERROR_SIZE, "%.180s: another c4pd init, join or leave is at work: wait",
             place->path);
    return -1;
}

/* ---- files ---- */

/* A draft with these bytes, on the disk. -1 with errno. */
static int draft_write(const struct trust_place *place, const char *draft, const char *data,
                       size_t size)
{
    int fd, reason;

    if (unlinkat(place->fd, draft, 0) != 0 && errno != ENOENT)
        return -1;
    fd = openat(place->fd, draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -1;
    while (size > 0) {
        ssize_t written = write(fd, data, size);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            break;
        data += written;
        size -= (size_t)written;
    }
    if (size == 0 && fchmod(fd, 0600) == 0 && fsync(fd) == 0)
        return close(fd);
    reason = errno;
    close(fd);
    unlinkat(place->fd, draft, 0);
    errno = reason;
    return -1;
}

int trust_file_write(const struct trust_place *place, const char *name, const void *data,
                     size_t size, char *error)
{
    char draft[NAME_MAX];

    snprintf(draft, sizeof(draft), "%s.new", name);
    if (draft_write(place, draft, data, size) == 0 &&
        renameat(place->fd, draft, place->fd, name) == 0 && fsync(place->fd) == 0)
        return 0;
    return fail(place, name, "cannot be written", error);
}

/* What is in it, up to the limit. NULL with errno. */
static char *descriptor_read(int fd, size_t limit, size_t *size)
{
    char *data = malloc(limit + 1), *less;
    ssize_t got = 1;

    for (*size = 0; data != NULL && *size < limit && got > 0;) {
        got = read(fd, data + *size, limit - *size);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got > 0)
            *size += (size_t)got;
    }
    if (data == NULL || got < 0) {
        free(data);
        return NULL;
    }
    data[*size] = '\0';
    less = realloc(data, *size + 1);
    return less != NULL ? less : data;
}

int trust_file_read(const struct trust_place *place, const char *name, char **data, size_t *size,
                    char *error)
{
    char part[NAME_MAX];
    struct stat status;
    int fd = openat(place->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), rc = -1;

    *data = NULL;
    *size = 0;
    if (fd < 0 && errno == ENOENT)
        return 1;
    snprintf(part, sizeof(part), "/%s", name);
    if (fd < 0 || fstat(fd, &status) != 0) {
        fail(place, name, "cannot be read", error);
    } else if (!S_ISREG(status.st_mode) || status.st_size > (off_t)TRUST_FILE_MAX) {
        snprintf(error, TRUST_ERROR_SIZE, "%.180s/%s: is no file that c4pd has written",
                 place->path, name);
    } else if (access_check(&status, place->path, part, "600", error) == 0) {
        *data = descriptor_read(fd, (size_t)status.st_size, size);
        rc = *data != NULL ? 0 : fail(place, name, "cannot be read", error);
    }
    if (fd >= 0)
        close(fd);
    return rc;
}

int trust_file_remove(const struct trust_place *place, const char *name, char *error)
{
    char draft[NAME_MAX];

    snprintf(draft, sizeof(draft), "%s.new", name);
    unlinkat(place->fd, draft, 0); /* of who was killed while it wrote */
    if ((unlinkat(place->fd, name, 0) != 0 && errno != ENOENT) || fsync(place->fd) != 0)
        return fail(place, name, "cannot be removed", error);
    return 0;
}
