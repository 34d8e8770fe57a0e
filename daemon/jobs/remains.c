#define _GNU_SOURCE
#include "daemon/jobs/remains.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define INSTANCE_FILE "instance"
#define VARIABLE "C4P_JOB="

/* Rounds of killing, and the pause after each in which the kernel buries the dead. */
#define ROUNDS 200
#define PAUSE_NS 10000000

/* ---- the instance ---- */

static int instance_make(char instance[REMAINS_INSTANCE_CHARS + 1])
{
    uint8_t bytes[REMAINS_INSTANCE_CHARS / 2];

    if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
        return -1;
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(instance + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

static bool instance_valid(const char *text)
{
    return strlen(text) == REMAINS_INSTANCE_CHARS &&
           strspn(text, "0123456789abcdef") == REMAINS_INSTANCE_CHARS;
}

static bool instance_read(const char *path, char instance[REMAINS_INSTANCE_CHARS + 1])
{
    char line[REMAINS_INSTANCE_CHARS + 2] = "";
    FILE *file = fopen(path, "re");

    if (file == NULL)
        return false;
    if (fgets(line, sizeof(line), file) != NULL)
        line[strcspn(line, "\n")] = '\0';
    fclose(file);
    if (!instance_valid(line))
        return false;
    memcpy(instance, line, sizeof(line) - 1);
    instance[REMAINS_INSTANCE_CHARS] = '\0';
    return true;
}

/* On the disk before it is used: whoever has the mark must be found after a loss of power too. */
static int instance_write(const char *path, const char *instance)
{
    char temporary[PATH_MAX];
    int fd, rc;

    if (snprintf(temporary, sizeof(temporary), "%s.new", path) >= (int)sizeof(temporary)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    rc = dprintf(fd, "%s\n", instance) < 0 || fsync(fd) != 0 ? -1 : 0;
    if (close(fd) != 0 || rc != 0 || rename(temporary, path) != 0) {
        rc = errno;
        unlink(temporary);
        errno = rc;
        return -1;
    }
    return 0;
}

int remains_open(struct remains *remains, const char *state_dir)
{
    char path[PATH_MAX];

    if (state_dir == NULL)
        return instance_make(remains->instance);
    if (snprintf(path, sizeof(path), "%s/" INSTANCE_FILE, state_dir) >= (int)sizeof(path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (instance_read(path, remains->instance))
        return 0;
    if (instance_make(remains->instance) != 0)
        return -1;
    return instance_write(path, remains->instance);
}

void remains_mark(const struct remains *remains, uint64_t id, char mark[REMAINS_MARK_SIZE])
{
    char text[CONTROL_ID_CHARS + 1];

    control_id_format(id, text);
    snprintf(mark, REMAINS_MARK_SIZE, "%s/%s", remains->instance, text);
}

/* ---- who has our mark ---- */

/* The environment of a process: NULL if it is not ours to read, or gone. */
static char *environment_read(pid_t pid, size_t *size)
{
    char path[64], *text = NULL;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
    file = fopen(path, "re");
    if (file == NULL)
        return NULL;
    *size = 0;
    for (size_t room = 0, got = 1; got > 0; *size += got) {
        char *more = *size == room ? realloc(text, (room += 64 << 10) + 1) : text;

        if (more == NULL)
            break;
        text = more;
        got = fread(text + *size, 1, room - *size, file);
    }
    fclose(file);
    if (text != NULL)
        text[*size] = '\0';
    return text;
}

/* The job whose mark a process has; 0: none of ours. */
static uint64_t mark_of(const struct remains *remains, pid_t pid)
{
    size_t size = 0;
    char *text = environment_read(pid, &size), *entry = text;
    uint64_t id = 0, low, high;

    for (; text != NULL && entry < text + size; entry += strlen(entry) + 1) {
        const char *value = entry + strlen(VARIABLE);

        if (strncmp(entry, VARIABLE, strlen(VARIABLE)) != 0)
            continue;
        if (strncmp(value, remains->instance, REMAINS_INSTANCE_CHARS) == 0 &&
            value[REMAINS_INSTANCE_CHARS] == '/' &&
            control_id_parse(value + REMAINS_INSTANCE_CHARS + 1, &low, &high) && low == high)
            id = low;
        break;
    }
    free(text);
    return id;
}

/* ---- killing ---- */

/* For scandir(): processes of ours but this one. */
static int is_ours(const struct dirent *entry)
{
    pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
    struct stat status;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    return pid > 1 && pid != getpid() && stat(path, &status) == 0 && status.st_uid == getuid();
}

/* Kill all that are there now; the number of them. */
static unsigned round_kill(const struct remains *remains)
{
    struct dirent **entries = NULL;
    int count = scandir("/proc", &entries, is_ours, alphasort);
    unsigned killed = 0;

    for (int i = 0; i < count; i++) {
        pid_t pid = (pid_t)strtol(entries[i]->d_name, NULL, 10);

        if (mark_of(remains, pid) != 0 && kill(pid, SIGKILL) == 0)
            killed++;
        free(entries[i]);
    }
    free(entries);
    return killed;
}

int remains_kill(const struct remains *remains, unsigned *killed)
{
    const struct timespec pause = {0, PAUSE_NS};

    *killed = 0;
    for (unsigned rounds = 0; rounds < ROUNDS; rounds++) {
        unsigned now = round_kill(remains);

        if (now == 0)
            return 0;
        if (now > *killed)
            *killed = now;
        nanosleep(&pause, NULL);
    }
    return -1;
}

unsigned remains_sweep(const struct remains *remains, remains_runs *runs, void *context)
{
    char path[64];
    unsigned killed = 0;
    FILE *list;
    int pid;

    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    list = fopen(path, "re");
    while (list != NULL && fscanf(list, "%d", &pid) == 1) {
        uint64_t id = mark_of(remains, pid);

        if (id != 0 && !runs(context, id) && kill(pid, SIGKILL) == 0)
            killed++;
    }
    if (list != NULL)
        fclose(list);
    return killed;
}
