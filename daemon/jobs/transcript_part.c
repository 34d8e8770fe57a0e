#include "daemon/jobs/transcript_part.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "proto/envelope.h"

/* Every so many bytes there is a mark: no search reads more. A window holds the longest record. */
#define MARK_EVERY (64u << 10)
#define WINDOW_SIZE (128u << 10)
#define RECORD_MAGIC 0x63347072u

struct part_mark {
    uint64_t sequence, offset;
};

/* As it is in the file, in this host's order of bytes; the piece comes behind it. */
struct record {
    uint64_t checksum;
    uint64_t sequence;
    uint32_t magic, stream;
    uint32_t pe, size;
};
_Static_assert(sizeof(struct record) + OUTPUT_BUFFER == PART_MAX_RECORD, "the header says so");
_Static_assert(PART_MAX_RECORD <= WINDOW_SIZE, "a record fits into a window");

static uint64_t record_checksum(const struct record *record, const void *data)
{
    const uint64_t parts[] = {
        record->sequence,
        (uint64_t)record->stream << 32 | record->magic,
        (uint64_t)record->pe << 32 | record->size,
        c4p_hash(data, record->size),
    };

    return c4p_hash((const char *)parts, sizeof(parts));
}

/* ---- windows ---- */

/* The bytes at an offset, at least `needed` of them; NULL if the part has not so many. */
static const char *window_show(struct part_window *window, const struct transcript_part *part,
                               uint64_t offset, size_t needed)
{
    uint64_t rest = part->size > offset ? part->size - offset : 0;
    size_t wanted = rest < WINDOW_SIZE ? (size_t)rest : WINDOW_SIZE;

    if (needed > wanted)
        return NULL;
    if (window->part == part && offset >= window->offset &&
        offset + needed <= window->offset + window->size)
        return window->bytes + (offset - window->offset);
    if (window->bytes == NULL && (window->bytes = malloc(WINDOW_SIZE)) == NULL)
        return NULL;
    if (window->part != part)
        window->next_offset = window->next_sequence = 0;
    window->part = part;
    window->offset = offset;
    for (window->size = 0; window->size < wanted;) {
        ssize_t got = pread(part->fd, window->bytes + window->size, wanted - window->size,
                            (off_t)(offset + window->size));

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        window->size += (size_t)got;
    }
    return window->size >= needed ? window->bytes : NULL;
}

void window_free(struct part_window *window)
{
    free(window->bytes);
    memset(window, 0, sizeof(*window));
}

/* The record at an offset, whole and sound, and where the next one is. */
static bool record_read(struct part_window *window, const struct transcript_part *part,
                        uint64_t offset, struct record *record, const char **data)
{
    const char *bytes = window_show(window, part, offset, sizeof(*record));

    if (bytes == NULL)
        return false;
    memcpy(record, bytes, sizeof(*record));
    if (record->magic != RECORD_MAGIC || record->size > OUTPUT_BUFFER ||
        record->stream > OUTPUT_STDERR || record->sequence == 0 || record->sequence >= INT64_MAX)
        return false;
    bytes = window_show(window, part, offset, sizeof(*record) + record->size);
    if (bytes == NULL)
        return false;
    *data = bytes + sizeof(*record);
    return record->checksum == record_checksum(record, *data);
}

/* ---- marks ---- */

static void part_note(struct transcript_part *part, uint64_t sequence, uint64_t offset)
{
    if (part->first == 0)
        part->first = sequence;
    part->last = sequence;
    if (part->mark_count > 0 && offset - part->marks[part->mark_count - 1].offset < MARK_EVERY)
        return;
    if (part->mark_count == part->mark_room) {
        size_t room = part->mark_room > 0 ? part->mark_room * 2 : 16;
        struct part_mark *marks = reallocarray(part->marks, room, sizeof(*marks));

        if (marks == NULL)
            return; /* a search takes longer, that is all */
        part->marks = marks;
        part->mark_room = room;
    }
    part->marks[part->mark_count++] = (struct part_mark){sequence, offset};
}

/* Where to begin to look for a number. */
static uint64_t part_offset(const struct transcript_part *part, uint64_t sequence)
{
    size_t low = 0, high = part->mark_count;

    while (low < high) { /* the first mark behind it */
        size_t middle = low + (high - low) / 2;

        if (part->marks[middle].sequence <= sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? part->marks[low - 1].offset : 0;
}

/* ---- files ---- */

static int file_open(const char *path, uint64_t *size)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    struct stat status;

    if (fd < 0 && (errno == EROFS || errno == EACCES))
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -1;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
        *size = (uint64_t)status.st_size;
        return fd;
    }
    close(fd);
    errno = EINVAL;
    return -1;
}

int part_open(struct transcript_part *part, const char *path, uint64_t floor,
              struct part_window *window, uint64_t *damage)
{
    uint64_t good = 0;
    struct record record;
    const char *data;

    memset(part, 0, sizeof(*part));
    part->fd = file_open(path, &part->size);
    if (part->fd < 0)
        return errno == ENOENT ? 0 : -1;
    window->part = NULL;
    while (record_read(window, part, good, &record, &data) && record.sequence > floor) {
        part_note(part, record.sequence, good);
        floor = record.sequence;
        good += sizeof(record) + record.size;
    }
    window->part = NULL;
    *damage += part->size - good;
    /* Where that is not possible what is appended is written over it. */
    if (part->size > good && ftruncate(part->fd, (off_t)good) < 0)
        errno = 0;
    part->size = good;
    return 0;
}

int part_append(struct transcript_part *part, uint64_t sequence, const struct output_piece *piece)
{
    struct record record = {
        .sequence = sequence,
        .magic = RECORD_MAGIC,
        .stream = piece->stream,
        .pe = piece->pe,
        .size = (uint32_t)piece->size,
    };
    const struct iovec bytes[] = {{&record, sizeof(record)}, {(void *)piece->data, piece->size}};
    ssize_t size = (ssize_t)(sizeof(record) + piece->size), written;

    record.checksum = record_checksum(&record, piece->data);
    do
        written = pwritev(part->fd, bytes, 2, (off_t)part->size);
    while (written < 0 && errno == EINTR);
    if (written != size) {
        if (written >= 0) /* so much that there was room for */
            errno = ftruncate(part->fd, (off_t)part->size) < 0 ? errno : ENOSPC;
        return -1;
    }
    part_note(part, sequence, part->size);
    part->size += (uint64_t)size;
    return 0;
}

bool part_read(const struct transcript_part *part, struct part_window *window, uint64_t *sequence,
               struct output_piece *piece)
{
    uint64_t offset = part_offset(part, *sequence);
    struct record record;
    const char *data;

    /* Who reads on goes on where the last record ended. */
    if (window->part == part && window->next_sequence <= *sequence && window->next_offset > offset)
        offset = window->next_offset;
    do {
        if (!record_read(window, part, offset, &record, &data))
            return false;
        offset += sizeof(record) + record.size;
    } while (record.sequence < *sequence);
    window->next_offset = offset;
    window->next_sequence = record.sequence + 1;
    *sequence = record.sequence;
    *piece = (struct output_piece){record.pe, (enum output_stream)record.stream, data, record.size};
    return true;
}

void part_close(struct transcript_part *part)
{
    if (part->fd >= 0)
        close(part->fd);
    free(part->marks);
    memset(part, 0, sizeof(*part));
    part->fd = -1;
}
