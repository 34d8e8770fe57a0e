#define _GNU_SOURCE
#include "daemon/jobs/work.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/log.h"
#include "proto/control.h"
#include "proto/place.h"

/* Deeper than this nothing is removed: the next start tries again. */
#define MAX_DEPTH 200

static void entry_remove(int parent, const char *name, unsigned depth);

static void entries_remove(int directory, unsigned depth)
{
    DIR *stream = fdopendir(directory);
    struct dirent *entry;

    if (stream == NULL) {
        close(directory);
        return;
    }
    while ((entry = readdir(stream)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            entry_remove(dirfd(stream), entry->d_name, depth);
    closedir(stream);
}

static void entry_remove(int parent, const char *name, unsigned depth)
{
    int directory;

    if (unlinkat(parent, name, 0) == 0 || (errno != EISDIR && errno != EPERM) || depth == 0)
        return;
    /* A program may have taken away its own rights. */
    if (fchmodat(parent, name, 0700, 0) != 0)
        return;
    directory = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (directory >= 0)
        entries_remove(directory, depth - 1);
    unlinkat(parent, name, AT_REMOVEDIR);
}

void work_remove(const char *path)
{
    entry_remove(AT_FDCWD, path, MAX_DEPTH);
    if (access(path, F_OK) == 0)
        log_write(LOG_WARNING, "bundles", "%s: cannot be removed", path);
}

static void work_path(const char *state_dir, char path[PATH_MAX])
{
    snprintf(path, PATH_MAX, "%.*s/" PLACE_WORK, PATH_MAX - 128, state_dir);
}

int work_clean(const char *state_dir)
{
    char path[PATH_MAX];

    work_path(state_dir, path);
    entry_remove(AT_FDCWD, path, MAX_DEPTH);
    return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : -1;
}

void work_name(const char *state_dir, const struct node_key *home, uint64_t job,
               char path[PATH_MAX])
{
    static unsigned number;
    char text[CONTROL_ID_CHARS + 1];
    size_t used;

    control_id_format(job, text);
    work_path(state_dir, path);
    used = strlen(path);
    snprintf(path + used, PATH_MAX - used, "/%02x%02x%02x%02x-%s-%u", home->bytes[0],
             home->bytes[1], home->bytes[2], home->bytes[3], text, ++number);
}

int work_make(const char *path, const char *below)
{
    char part[PATH_MAX];
    size_t length = strlen(path);

    if ((size_t)snprintf(part, sizeof(part), "%s", below) >= sizeof(part) ||
        strncmp(below, path, length) != 0) {
        errno = ENAMETOOLONG;
        return -1;
    }
    for (char *slash = part + length; (slash = strchr(slash + 1, '/')) != NULL;) {
        *slash = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return -1;
        *slash = '/';
    }
    return mkdir(part, 0700) == 0 || errno == EEXIST ? 0 : -1;
}
