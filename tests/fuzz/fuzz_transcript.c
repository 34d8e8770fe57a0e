/*
 * Transcripts on arbitrary files. The input: a byte of flags, two with the length of the older file
 * (little-endian), its content, and that of the newer one. With the first flag the checksums of
 * records are made right, so that what lies behind them is reached as well.
 *
 * Whatever was in the files, pieces come numbered upwards and can be read; a piece that is added is
 * the last one; and the next to open it finds the same, with no damage.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/jobs/transcript.h"
#include "proto/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char directory[PATH_MAX];
static uint8_t sum;

static void require(int condition)
{
    if (!condition)
        abort();
}

static void directory_remove(void)
{
    transcript_remove(directory);
}

/* In memory if there is such a place: a file system on a disk would be what takes the time. */
static void directory_make(void)
{
    const char *parents[] = {"/dev/shm", getenv("TMPDIR"), "/tmp"};

    for (size_t i = 0; i < sizeof(parents) / sizeof(*parents) && directory[0] == '\0'; i++) {
        if (parents[i] == NULL || access(parents[i], W_OK) != 0)
            continue;
        snprintf(directory, sizeof(directory), "%s/c4p-fuzz-XXXXXX", parents[i]);
        if (mkdtemp(directory) == NULL)
            directory[0] = '\0';
    }
    require(directory[0] != '\0');
    atexit(directory_remove);
}

/* As in daemon/jobs/transcript_part.c. */
struct record {
    uint64_t checksum, sequence;
    uint32_t magic, stream, pe, size;
};

static void checksums_repair(uint8_t *bytes, size_t size)
{
    struct record record;

    for (size_t place = 0; size - place >= sizeof(record); place += sizeof(record) + record.size) {
        memcpy(&record, bytes + place, sizeof(record));
        if (record.size > size - place - sizeof(record))
            return;
        const uint64_t parts[] = {
            record.sequence,
            (uint64_t)record.stream << 32 | record.magic,
            (uint64_t)record.pe << 32 | record.size,
            c4p_hash((const char *)bytes + place + sizeof(record), record.size),
        };
        record.checksum = c4p_hash((const char *)parts, sizeof(parts));
        memcpy(bytes + place, &record, sizeof(record));
    }
}

static void file_write(const char *name, const uint8_t *data, size_t size, int repair)
{
    uint8_t *bytes = malloc(size + 1);
    char path[PATH_MAX + 16];
    int fd;

    require(bytes != NULL);
    if (size > 0)
        memcpy(bytes, data, size);
    if (repair)
        checksums_repair(bytes, size);
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    require(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    close(fd);
    free(bytes);
}

static uint64_t read_all(struct transcript *transcript)
{
    uint64_t sequence = 0, count = 0, last = 0;
    struct output_piece piece;

    while (transcript_read(transcript, &sequence, &piece)) {
        require(sequence > last && sequence < transcript_next(transcript));
        require(piece.size <= OUTPUT_BUFFER && piece.stream <= OUTPUT_STDERR);
        for (size_t i = 0; i < piece.size; i++)
            sum ^= (uint8_t)piece.data[i];
        require(count > 0 || sequence == transcript_first(transcript));
        last = sequence++;
        count++;
    }
    __asm__ volatile("" ::"r"(sum)); /* is not optimised away */
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct output_piece piece = {1, OUTPUT_STDOUT, "added\n", 6};
    struct transcript *transcript;
    uint64_t count, number;
    size_t older;

    if (size < 3)
        return 0;
    if (directory[0] == '\0')
        directory_make();
    older = data[1] | (size_t)data[2] << 8;
    if (older > size - 3)
        older = size - 3;
    file_write("output.old", data + 3, older, data[0] & 1);
    file_write("output", data + 3 + older, size - 3 - older, data[0] & 1);

    transcript = transcript_open(directory, 0);
    require(transcript != NULL);
    count = read_all(transcript);
    require(!transcript_would_drop(transcript, transcript_next(transcript)));
    number = transcript_append(transcript, &piece);
    require(number == transcript_next(transcript) - 1 && read_all(transcript) == count + 1);
    require(transcript_unwritten(transcript) == 0);
    transcript_close(transcript);
    if (number >= INT64_MAX) /* no record has such a number: the last possible one was there */
        return 0;

    transcript = transcript_open(directory, 0);
    require(transcript != NULL && transcript_damage(transcript) == 0);
    require(read_all(transcript) == count + 1);
    transcript_close(transcript);
    return 0;
}
