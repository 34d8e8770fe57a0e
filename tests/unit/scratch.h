/*
 * Directories for tests that need real ones, and small or read-only file systems on them.
 *
 * Mounts are made in a mount namespace of the test's own: whatever becomes of it, nothing is left
 * mounted. Where that is not allowed (it takes root) scratch_may_mount() says so, and the test
 * skips itself.
 */
#ifndef C4P_TESTS_SCRATCH_H
#define C4P_TESTS_SCRATCH_H

#include "tests/unit/unit.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

struct scratch {
    char path[PATH_MAX];
    bool mounted;
};

static inline void scratch_make(struct scratch *scratch)
{
    const char *parent = getenv("TMPDIR");

    scratch->mounted = false;
    snprintf(scratch->path, sizeof(scratch->path), "%s/c4p-scratch-XXXXXX",
             parent != NULL && *parent != '\0' ? parent : "/tmp");
    require(mkdtemp(scratch->path) != NULL);
}

static inline int scratch_unlink(const char *path, const struct stat *status, int type,
                                 struct FTW *where)
{
    (void)status, (void)type, (void)where;
    return remove(path);
}

static inline void scratch_unmount(struct scratch *scratch)
{
    if (scratch->mounted)
        require(umount2(scratch->path, MNT_DETACH) == 0);
    scratch->mounted = false;
}

static inline void scratch_remove(struct scratch *scratch)
{
    scratch_unmount(scratch);
    require(nftw(scratch->path, scratch_unlink, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0);
}

/* "DIRECTORY/name"; the text is good until the next call. */
static inline const char *scratch_file(const struct scratch *scratch, const char *name)
{
    static char path[PATH_MAX + 64];

    snprintf(path, sizeof(path), "%s/%s", scratch->path, name);
    return path;
}

static inline bool scratch_may_mount(void)
{
    static int may = -1;

    if (may < 0)
        may = unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    if (!may)
        print_message("skipped: mounting is not allowed here (it takes root)\n");
    return may;
}

/* A disk of so many KiB. */
static inline void scratch_mount_disk(struct scratch *scratch, unsigned kib)
{
    char options[32];

    snprintf(options, sizeof(options), "size=%uk", kib);
    require(mount("tmpfs", scratch->path, "tmpfs", 0, options) == 0);
    scratch->mounted = true;
}

/* What is there can be read, and no more. */
static inline void scratch_mount_read_only(struct scratch *scratch)
{
    require(mount(scratch->path, scratch->path, NULL, MS_BIND, NULL) == 0);
    scratch->mounted = true;
    require(mount(NULL, scratch->path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0);
}

/* Take all the room that is left; again: what became free since. */
static inline void scratch_fill(const struct scratch *scratch)
{
    static const char bytes[4096] = {1};
    int fd = open(scratch_file(scratch, "filler"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    require(fd >= 0);
    for (size_t size = sizeof(bytes); size > 0;)
        if (write(fd, bytes, size) <= 0) {
            require(errno == ENOSPC);
            size /= 2;
        }
    close(fd);
}

static inline void scratch_unfill(const struct scratch *scratch)
{
    require(unlink(scratch_file(scratch, "filler")) == 0);
}

static inline size_t scratch_size(const struct scratch *scratch, const char *name)
{
    struct stat status;

    return stat(scratch_file(scratch, name), &status) == 0 ? (size_t)status.st_size : 0;
}

static inline char *scratch_read(const struct scratch *scratch, const char *name, size_t *size)
{
    int fd = open(scratch_file(scratch, name), O_RDONLY | O_CLOEXEC);
    char *bytes;

    *size = scratch_size(scratch, name);
    bytes = malloc(*size + 1);
    require(fd >= 0 && bytes != NULL);
    require(read(fd, bytes, *size) == (ssize_t)*size);
    close(fd);
    return bytes;
}

static inline void scratch_write(const struct scratch *scratch, const char *name, const char *bytes,
                                 size_t size)
{
    int fd = open(scratch_file(scratch, name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    require(fd >= 0);
    require(write(fd, bytes, size) == (ssize_t)size);
    close(fd);
}

#endif
