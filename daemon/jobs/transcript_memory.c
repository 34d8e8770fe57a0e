#include "daemon/jobs/transcript_memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/jobs/transcript.h"

/* So many pieces are held at most, however short they are. */
#define MEMORY_PIECES 16384u

struct held {
    uint32_t size, pe;
    uint32_t stream, written;
};

static uint32_t room_for(size_t size)
{
    return (uint32_t)((sizeof(struct held) + size + 7) & ~(size_t)7);
}

static struct held *held_at(const struct transcript_memory *memory, uint64_t sequence)
{
    return (struct held *)(void *)(memory->ring + memory->places[sequence % MEMORY_PIECES]);
}

static int memory_make(struct transcript_memory *memory)
{
    if (memory->ring != NULL)
        return 0;
    memory->ring = malloc(TRANSCRIPT_MEMORY);
    memory->places = malloc(MEMORY_PIECES * sizeof(*memory->places));
    if (memory->ring != NULL && memory->places != NULL)
        return 0;
    memory_free(memory);
    errno = ENOMEM;
    return -1;
}

static void oldest_drop(struct transcript_memory *memory)
{
    memory->first++;
    memory->count--;
    if (memory->count == 0)
        memory->oldest = memory->free_from = 0;
    else
        memory->oldest = memory->places[memory->first % MEMORY_PIECES];
}

/* Is there a stretch of `room` bytes free behind the newest, or at the beginning of the ring? */
static bool stretch_find(const struct transcript_memory *memory, uint32_t room, uint32_t *place)
{
    bool wrapped = memory->count > 0 && memory->free_from <= memory->oldest;
    uint32_t end = wrapped ? memory->oldest : TRANSCRIPT_MEMORY;

    if (memory->count == MEMORY_PIECES)
        return false;
    *place = memory->free_from;
    if (room <= end - memory->free_from)
        return true;
    *place = 0;
    return !wrapped && room <= memory->oldest;
}

int memory_hold(struct transcript_memory *memory, uint64_t sequence,
                const struct output_piece *piece, bool written)
{
    uint32_t room = room_for(piece->size), place;
    struct held *held;

    if (memory_make(memory) < 0)
        return -1;
    while (!stretch_find(memory, room, &place))
        oldest_drop(memory);
    if (memory->count == 0) {
        memory->first = sequence;
        memory->oldest = place;
    }
    memory->places[sequence % MEMORY_PIECES] = place;
    memory->count++;
    memory->free_from = place + room;
    held = held_at(memory, sequence);
    *held = (struct held){(uint32_t)piece->size, piece->pe, piece->stream, written};
    if (piece->size > 0)
        memcpy(held + 1, piece->data, piece->size);
    return 0;
}

bool memory_holds(const struct transcript_memory *memory, uint64_t sequence)
{
    return sequence >= memory->first && sequence - memory->first < memory->count;
}

bool memory_get(const struct transcript_memory *memory, uint64_t sequence,
                struct output_piece *piece)
{
    const struct held *held = held_at(memory, sequence);

    piece->pe = held->pe;
    piece->stream = (enum output_stream)held->stream;
    piece->data = (const char *)(held + 1);
    piece->size = held->size;
    return held->written;
}

bool memory_would_drop(const struct transcript_memory *memory, uint64_t sequence)
{
    uint32_t room = room_for(OUTPUT_BUFFER), from = memory->places[sequence % MEMORY_PIECES];
    /* What is used from this one on, around the end of the ring. */
    uint32_t used = memory->free_from > from ? memory->free_from - from
                                             : TRANSCRIPT_MEMORY - from + memory->free_from;
    /* What is left at the end when it does not fit there. */
    uint32_t lost =
        room > TRANSCRIPT_MEMORY - memory->free_from ? TRANSCRIPT_MEMORY - memory->free_from : 0;

    return used + lost + room > TRANSCRIPT_MEMORY ||
           memory->first + memory->count - sequence >= MEMORY_PIECES;
}

void memory_free(struct transcript_memory *memory)
{
    free(memory->ring);
    free(memory->places);
    memset(memory, 0, sizeof(*memory));
}
