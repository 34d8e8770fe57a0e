/*
 * Room for the closing records of open jobs: a file beside the store that is allocated and holds
 * nothing. When the disk is full it is cut to nothing, and SQLite finds the room that was its.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/jobs/store_parts.h"

/*
 * An end is a row of some kilobytes (a message, the last lines of a PE), written twice: to the log
 * and then to the database. What no job of a full disk needs is not reserved: a job that has not
 * started cannot start then, so only so many end.
 */
#define RESERVE_BASE (256u << 10)
#define RESERVE_JOB (32u << 10)
#define RESERVE_MAX (32u << 20)

void reserve_init(struct reserve *reserve, const char *directory)
{
    snprintf(reserve->path, sizeof(reserve->path), "%s/store.reserve", directory);
    reserve->fd = -1;
    reserve->size = 0;
    reserve->reason = 0;
}

static int reserve_open(struct reserve *reserve)
{
    struct stat status;

    if (reserve->fd >= 0)
        return 0;
    reserve->fd = open(reserve->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (reserve->fd < 0)
        return -1;
    if (fstat(reserve->fd, &status) == 0 && S_ISREG(status.st_mode))
        return 0;
    reserve_close(reserve);
    errno = EINVAL;
    return -1;
}

bool reserve_inherit(struct reserve *reserve)
{
    struct stat status;

    if (reserve_open(reserve) < 0 || fstat(reserve->fd, &status) < 0)
        return false;
    reserve->size = (uint64_t)status.st_size;
    return reserve->size > 0;
}

/* In steps, so that not every job has to ask the file system. */
static uint64_t size_for(uint64_t jobs)
{
    uint64_t most = (RESERVE_MAX - RESERVE_BASE) / RESERVE_JOB;
    uint64_t size = (jobs < most ? jobs : most) * RESERVE_JOB;

    return RESERVE_BASE + (size + RESERVE_BASE - 1) / RESERVE_BASE * RESERVE_BASE;
}

int reserve_cover(struct reserve *reserve, uint64_t jobs)
{
    uint64_t size = size_for(jobs);
    int failed;

    /* Room is handed back when a good deal of it is not needed any more. */
    if (reserve->size >= size && reserve->size < 4 * size)
        return 0;
    failed = reserve_open(reserve) < 0 ? errno : posix_fallocate(reserve->fd, 0, (off_t)size);
    if (failed == 0 && ftruncate(reserve->fd, (off_t)size) < 0)
        failed = errno;
    if (failed != 0) {
        /* What it got of what was not enough is of no use to anybody. */
        if (reserve->fd >= 0 && ftruncate(reserve->fd, (off_t)reserve->size) < 0)
            reserve->size = 0;
        reserve->reason = failed;
        errno = failed;
        return -1;
    }
    reserve->size = size;
    return 0;
}

bool reserve_give_up(struct reserve *reserve)
{
    bool had = reserve->size > 0;

    if (reserve->fd >= 0 && ftruncate(reserve->fd, 0) < 0)
        had = false;
    reserve->size = 0;
    if (had)
        reserve->reason = ENOSPC;
    return had;
}

void reserve_close(struct reserve *reserve)
{
    if (reserve->fd >= 0)
        close(reserve->fd);
    reserve->fd = -1;
    reserve->size = 0;
}
