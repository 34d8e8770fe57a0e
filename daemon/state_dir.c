#define _GNU_SOURCE
#include "daemon/state_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/announcement.h"
#include "proto/place.h"

static int path_join(char path[PATH_MAX], const char *directory, const char *name)
{
    int size = snprintf(path, PATH_MAX, "%s/%s", directory, name);

    if (size < PATH_MAX)
        return 0;
    errno = ENAMETOOLONG;
    return -1;
}

/* ---- the directory ---- */

/* What the kernel refuses today it refuses tomorrow, unless it lacked something. */
static enum state_dir_result result_of(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case EIO:
    case EINTR:
        return STATE_DIR_TRANSIENT;
    default:
        return STATE_DIR_REFUSED;
    }
}

static const char *remedy_of(int error)
{
    if (error == EROFS || error == EACCES || error == EPERM || error == ENOTDIR)
        return " (choose another one: --state-dir, C4P_STATE_DIR)";
    return error == ENOSPC || error == EDQUOT ? " (make room, or choose another one: --state-dir)"
                                              : "";
}

static enum state_dir_result fail(const char *path, const char *what, char *error)
{
    int reason = errno;

    snprintf(error, STATE_DIR_ERROR_SIZE, "%.200s: %s: %s%s", path, what, strerror(reason),
             remedy_of(reason));
    return result_of(reason);
}

/* It and all above it; 0 or -1 with errno. */
static int directories_make(const char *path)
{
    char part[PATH_MAX];

    snprintf(part, sizeof(part), "%s", path);
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST && access(part, F_OK) != 0)
            return -1;
        *slash = '/';
    }
    return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : -1;
}

static void owner_name(uid_t uid, char *name, size_t size)
{
    char memory[4096];
    struct passwd user, *found = NULL;

    if (getpwuid_r(uid, &user, memory, sizeof(memory), &found) == 0 && found != NULL)
        snprintf(name, size, "%.60s", user.pw_name);
    else
        snprintf(name, size, "user %u", (unsigned)uid);
}

static enum state_dir_result directory_check(const char *path, char *error)
{
    struct stat status;
    char owner[64];

    if (stat(path, &status) != 0)
        return fail(path, "cannot be used", error);
    if (!S_ISDIR(status.st_mode)) {
        errno = ENOTDIR;
        return fail(path, "cannot be used", error);
    }
    if (status.st_uid != geteuid()) {
        owner_name(status.st_uid, owner, sizeof(owner));
        snprintf(error, STATE_DIR_ERROR_SIZE,
                 "%.200s: belongs to %s (choose another one: --state-dir, C4P_STATE_DIR)", path,
                 owner);
        return STATE_DIR_REFUSED;
    }
    if ((status.st_mode & 077) != 0) {
        snprintf(error, STATE_DIR_ERROR_SIZE,
                 "%.140s: is open to other users, its mode is %03o (remedy: chmod 700 %.140s)",
                 path, (unsigned)status.st_mode & 0777, path);
        return STATE_DIR_REFUSED;
    }
    return STATE_DIR_OPEN;
}

static enum state_dir_result directory_lock(struct state_dir *directory, char *error)
{
    struct announcement other;
    char path[PATH_MAX];

    if (path_join(path, directory->path, PLACE_LOCK) != 0)
        return fail(directory->path, "cannot be used", error);
    directory->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (directory->lock < 0)
        return fail(path, "cannot be made", error);
    if (flock(directory->lock, LOCK_EX | LOCK_NB) == 0)
        return STATE_DIR_OPEN;
    if (errno != EWOULDBLOCK)
        return fail(path, "cannot be locked", error);
    if (announcement_find(directory->path, &other)) {
        close(other.pidfd);
        snprintf(error, STATE_DIR_ERROR_SIZE, "a daemon runs here already: pid %d (%.200s)",
                 (int)other.pid, directory->path);
    } else {
        snprintf(error, STATE_DIR_ERROR_SIZE,
                 "a daemon has this directory already: %.200s (it starts or ends just now, or runs "
                 "on another host)",
                 directory->path);
    }
    return STATE_DIR_REFUSED;
}

/* True only while a daemon lives. */
static void traces_remove(const struct state_dir *directory)
{
    static const char *const names[] = {PLACE_PID, ANNOUNCEMENT_DRAFT, PLACE_ATTACH, PLACE_CONTROL,
                                        PLACE_DATA};
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        if (path_join(path, directory->path, names[i]) == 0)
            unlink(path);
}

enum state_dir_result state_dir_open(struct state_dir *directory, const char *path,
                                     char error[STATE_DIR_ERROR_SIZE])
{
    enum state_dir_result result;

    directory->lock = -1;
    snprintf(directory->path, sizeof(directory->path), "%s", path);
    if (directories_make(path) != 0)
        return fail(path, "cannot be made", error);
    result = directory_check(path, error);
    if (result == STATE_DIR_OPEN)
        result = directory_lock(directory, error);
    if (result == STATE_DIR_OPEN)
        traces_remove(directory);
    else if (directory->lock >= 0) {
        close(directory->lock);
        directory->lock = -1;
    }
    return result;
}

void state_dir_close(struct state_dir *directory)
{
    if (directory->lock < 0)
        return;
    traces_remove(directory);
    close(directory->lock);
    directory->lock = -1;
}
