#include "daemon/jobs/transcript.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/jobs/transcript_memory.h"
#include "daemon/jobs/transcript_part.h"

#define NEWER "output"
#define OLDER "output.old"

struct transcript {
    char *directory;    /* NULL: in memory only */
    uint64_t part_size; /* a part is not larger */
    struct transcript_part older, newer;
    struct transcript_memory memory;
    struct part_window window;
    uint64_t next;
    uint64_t unwritten, damage;
};

/* ---- files ---- */

static int name_make(const char *directory, const char *name, char path[PATH_MAX])
{
    if (snprintf(path, PATH_MAX, "%s/%s", directory, name) < PATH_MAX)
        return 0;
    errno = ENAMETOOLONG;
    return -1;
}

static int parts_open(struct transcript *transcript)
{
    char older[PATH_MAX], newer[PATH_MAX];

    if (name_make(transcript->directory, OLDER, older) < 0 ||
        name_make(transcript->directory, NEWER, newer) < 0 ||
        part_open(&transcript->older, older, 0, &transcript->window, &transcript->damage) < 0 ||
        part_open(&transcript->newer, newer, transcript->older.last, &transcript->window,
                  &transcript->damage) < 0)
        return -1;
    transcript->next = transcript->older.last + 1;
    if (transcript->newer.last >= transcript->next)
        transcript->next = transcript->newer.last + 1;
    window_free(&transcript->window); /* until somebody reads from the files */
    return 0;
}

struct transcript *transcript_open(const char *directory, uint64_t limit)
{
    struct transcript *transcript = calloc(1, sizeof(*transcript));
    int failed;

    if (transcript == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    transcript->older.fd = transcript->newer.fd = -1;
    transcript->next = 1;
    transcript->part_size = (limit > TRANSCRIPT_MIN_LIMIT ? limit : TRANSCRIPT_MIN_LIMIT) / 2;
    if (directory == NULL)
        return transcript;
    transcript->directory = strdup(directory);
    if (transcript->directory == NULL)
        errno = ENOMEM;
    else if (parts_open(transcript) == 0)
        return transcript;
    failed = errno;
    transcript_close(transcript);
    errno = failed;
    return NULL;
}

void transcript_close(struct transcript *transcript)
{
    if (transcript == NULL)
        return;
    part_close(&transcript->older);
    part_close(&transcript->newer);
    memory_free(&transcript->memory);
    window_free(&transcript->window);
    free(transcript->directory);
    free(transcript);
}

void transcript_remove(const char *directory)
{
    char path[PATH_MAX];

    if (name_make(directory, NEWER, path) == 0)
        unlink(path);
    if (name_make(directory, OLDER, path) == 0)
        unlink(path);
    rmdir(directory);
}

/* ---- writing ---- */

/* The newer part becomes the older one, whose pieces are gone. */
static int parts_turn(struct transcript *transcript)
{
    char older[PATH_MAX], newer[PATH_MAX];

    if (name_make(transcript->directory, OLDER, older) < 0 ||
        name_make(transcript->directory, NEWER, newer) < 0 || rename(newer, older) < 0)
        return -1;
    part_close(&transcript->older);
    transcript->older = transcript->newer;
    transcript->newer = (struct transcript_part){.fd = -1};
    transcript->window.part = NULL;
    return 0;
}

/* It is made, and the directory of all jobs too if it must be, with the first piece. */
static int directory_make(const char *directory)
{
    char parent[PATH_MAX];
    char *slash;

    if (mkdir(directory, 0700) == 0 || errno == EEXIST)
        return 0;
    if (errno != ENOENT || snprintf(parent, sizeof(parent), "%s", directory) >= PATH_MAX)
        return -1;
    slash = strrchr(parent, '/');
    if (slash == NULL || slash == parent)
        return -1;
    *slash = '\0';
    return mkdir(parent, 0700) == 0 || errno == EEXIST ? mkdir(directory, 0700) : -1;
}

static int newer_make(struct transcript *transcript)
{
    char path[PATH_MAX];

    if (transcript->newer.fd >= 0)
        return 0;
    if (name_make(transcript->directory, NEWER, path) < 0 ||
        directory_make(transcript->directory) < 0)
        return -1;
    transcript->newer.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return transcript->newer.fd >= 0 ? 0 : -1;
}

static bool must_turn(const struct transcript *transcript, size_t size)
{
    uint64_t room = PART_MAX_RECORD - OUTPUT_BUFFER + size;

    return transcript->newer.size > 0 && transcript->newer.size + room > transcript->part_size;
}

static bool piece_write(struct transcript *transcript, const struct output_piece *piece)
{
    if (transcript->directory == NULL)
        return false;
    if ((!must_turn(transcript, piece->size) || parts_turn(transcript) == 0) &&
        newer_make(transcript) == 0 &&
        part_append(&transcript->newer, transcript->next, piece) == 0)
        return true;
    transcript->unwritten++;
    return false;
}

uint64_t transcript_append(struct transcript *transcript, const struct output_piece *piece)
{
    bool written;

    assert(piece->size <= OUTPUT_BUFFER);
    written = piece_write(transcript, piece);
    /* Where there is no memory for any, it is on disk at least. */
    memory_hold(&transcript->memory, transcript->next, piece, written);
    return transcript->next++;
}

/* ---- reading ---- */

static uint64_t first_on_disk(const struct transcript *transcript)
{
    if (transcript->older.first != 0)
        return transcript->older.first;
    return transcript->newer.first != 0 ? transcript->newer.first : transcript->next;
}

static uint64_t first_in_memory(const struct transcript *transcript)
{
    return transcript->memory.count > 0 ? transcript->memory.first : transcript->next;
}

uint64_t transcript_first(const struct transcript *transcript)
{
    uint64_t disk = first_on_disk(transcript), memory = first_in_memory(transcript);

    return disk < memory ? disk : memory;
}

uint64_t transcript_next(const struct transcript *transcript)
{
    return transcript->next;
}

/* From the files; false: what is next is in memory, or there is nothing. */
static bool disk_read(struct transcript *transcript, uint64_t *sequence, struct output_piece *piece)
{
    uint64_t found = *sequence;

    if ((found > transcript->older.last ||
         !part_read(&transcript->older, &transcript->window, &found, piece)) &&
        (found > transcript->newer.last ||
         !part_read(&transcript->newer, &transcript->window, &found, piece)))
        return false;
    if (found >= first_in_memory(transcript))
        return false;
    *sequence = found;
    return true;
}

bool transcript_read(struct transcript *transcript, uint64_t *sequence, struct output_piece *piece)
{
    uint64_t memory = first_in_memory(transcript);

    if (*sequence >= transcript->next)
        return false;
    if (*sequence < memory) {
        if (disk_read(transcript, sequence, piece))
            return true;
        *sequence = memory;
    }
    if (*sequence >= transcript->next)
        return false;
    memory_get(&transcript->memory, *sequence, piece);
    return true;
}

/* Of a piece that is in a file: the older one is removed when the newer is full. */
static bool disk_would_drop(const struct transcript *transcript, uint64_t sequence)
{
    return sequence <= transcript->older.last && must_turn(transcript, OUTPUT_BUFFER);
}

bool transcript_would_drop(const struct transcript *transcript, uint64_t sequence)
{
    uint64_t memory = first_in_memory(transcript);
    struct output_piece piece;
    bool written;

    if (sequence >= transcript->next)
        return false;
    if (sequence < memory && (sequence <= transcript->older.last ||
                              (transcript->newer.first != 0 && sequence <= transcript->newer.last)))
        return disk_would_drop(transcript, sequence);
    /* Who waits for one that is not kept any more gets the first one behind it. */
    if (sequence < memory)
        sequence = memory;
    if (!memory_holds(&transcript->memory, sequence) ||
        !memory_would_drop(&transcript->memory, sequence))
        return false;
    written = memory_get(&transcript->memory, sequence, &piece);
    return !written || disk_would_drop(transcript, sequence);
}

uint64_t transcript_unwritten(const struct transcript *transcript)
{
    return transcript->unwritten;
}

uint64_t transcript_damage(const struct transcript *transcript)
{
    return transcript->damage;
}
