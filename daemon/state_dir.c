#define _GNU_SOURCE
#include "daemon/state_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proto/place.h"

#ifndef C4P_VERSION
#define C4P_VERSION "unknown"
#endif

#define BOOT_ID_SIZE 40

static int path_join(char path[PATH_MAX], const char *directory, const char *name)
{
    int size = snprintf(path, PATH_MAX, "%s/%s", directory, name);

    if (size < PATH_MAX)
        return 0;
    errno = ENAMETOOLONG;
    return -1;
}

/* ---- who a process is ---- */

/* When a process was started, in clock ticks since the machine was; 0: there is no such process. */
static unsigned long long process_start(pid_t pid)
{
    char path[64], stat[1024], *field;
    unsigned long long start = 0;
    size_t size;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    file = fopen(path, "re");
    if (file == NULL)
        return 0;
    size = fread(stat, 1, sizeof(stat) - 1, file);
    fclose(file);
    stat[size] = '\0';
    /* "pid (name) state ...": the name may hold anything; the time of the start is field 22. */
    field = strrchr(stat, ')');
    for (int number = 2; field != NULL && number < 22; number++)
        field = strchr(field + 1, ' ');
    if (field != NULL)
        start = strtoull(field + 1, NULL, 10);
    return start;
}

/* Which start of the machine this is; empty where the kernel does not tell. */
static void boot_read(char boot[BOOT_ID_SIZE])
{
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

    if (file == NULL || fscanf(file, "%39s", boot) != 1)
        boot[0] = '\0';
    if (file != NULL)
        fclose(file);
}

int state_dir_announce(const struct state_dir *directory, uint32_t pes)
{
    char path[PATH_MAX], draft[PATH_MAX], boot[BOOT_ID_SIZE];
    static int64_t since;
    int fd, error = 0;
    FILE *file;

    if (since == 0)
        since = time(NULL);
    if (path_join(path, directory->path, PLACE_PID) != 0 ||
        path_join(draft, directory->path, PLACE_PID ".new") != 0)
        return -1;
    boot_read(boot);
    fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || (file = fdopen(fd, "w")) == NULL)
        return -1;
    fprintf(file, "%d\nstart %llu %s\nsince %" PRId64 "\npes %" PRIu32 "\nversion %s\n",
            (int)getpid(), process_start(getpid()), boot[0] != '\0' ? boot : "-", since, pes,
            C4P_VERSION);
    if (fflush(file) != 0 || ferror(file))
        error = errno;
    fclose(file);
    if (error == 0 && rename(draft, path) == 0)
        return 0;
    error = error != 0 ? error : errno;
    unlink(draft);
    errno = error;
    return -1;
}

bool state_dir_find_daemon(const char *path, struct state_dir_daemon *daemon)
{
    char file_path[PATH_MAX], boot[BOOT_ID_SIZE], boot_then[BOOT_ID_SIZE] = "";
    unsigned long long start = 0;
    int pid = 0, read;
    FILE *file;

    *daemon = (struct state_dir_daemon){.pidfd = -1};
    if (path_join(file_path, path, PLACE_PID) != 0)
        return false;
    file = fopen(file_path, "re");
    if (file == NULL)
        return false;
    read = fscanf(file, "%d start %llu %39s since %" SCNd64 " pes %" SCNu32 " version %31s", &pid,
                  &start, boot_then, &daemon->since, &daemon->pes, daemon->version);
    fclose(file);
    if (read != 6 || pid <= 0)
        return false;
    daemon->pid = pid;
    daemon->pidfd = pidfd_open(pid, 0);
    boot_read(boot);
    /* The descriptor first: what is read then of /proc/PID is either of the same process, or it
     * has ended already, and a signal through the descriptor reaches nobody. */
    if (daemon->pidfd >= 0 && process_start(pid) == start &&
        (boot[0] == '\0' || strcmp(boot, boot_then) == 0))
        return true;
    if (daemon->pidfd >= 0)
        close(daemon->pidfd);
    daemon->pidfd = -1;
    return false;
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
    struct state_dir_daemon other;
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
    if (state_dir_find_daemon(directory->path, &other)) {
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
    static const char *const names[] = {PLACE_PID, PLACE_PID ".new", PLACE_ATTACH, PLACE_CONTROL};
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
