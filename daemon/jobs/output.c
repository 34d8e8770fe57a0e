#include "daemon/jobs/output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct stream {
    char *buffer;      /* OUTPUT_BUFFER bytes, from the first read on */
    uint32_t size;     /* bytes in it */
    uint32_t complete; /* of these, up to and with the last newline */
    bool ended;
    bool held;      /* not handed out yet: may be what PE 0 said */
    uint32_t early; /* of these held, what was said before the PE settled */
    int64_t since;  /* time of the last read; of the first one while held */
};

/* The last bytes of a PE's standard error, as a ring. */
struct tail {
    char *ring; /* OUTPUT_TAIL_BYTES */
    uint64_t written;
};

struct output {
    uint32_t pes;
    struct stream *streams; /* two for each PE */
    struct tail *tails;
    uint32_t turn; /* the stream that is asked next */
    uint32_t open; /* the stream in the middle of a long line, or NO_STREAM */
    uint32_t last; /* the stream whose piece was handed out last, to be forgotten next */
    uint32_t last_size;
    /* What PE 0 said on standard error before it settled, and who said the same. */
    char *first;
    uint32_t first_size;
    bool first_too_long;
    uint8_t *settled;
    uint8_t *same;
    uint32_t unsettled;
    uint32_t sames; /* not yet remarked on */
    char remark[512];
};

#define NO_STREAM UINT32_MAX

struct output *output_create(uint32_t pes)
{
    struct output *output = calloc(1, sizeof(*output));

    if (output == NULL)
        return NULL;
    output->pes = pes;
    output->open = output->last = NO_STREAM;
    output->unsettled = pes;
    output->streams = calloc(pes, 2 * sizeof(*output->streams));
    output->tails = calloc(pes, sizeof(*output->tails));
    output->settled = calloc(pes, 1);
    output->same = calloc(pes, 1);
    if (output->streams == NULL || output->tails == NULL || output->settled == NULL ||
        output->same == NULL) {
        output_destroy(output);
        errno = ENOMEM;
        return NULL;
    }
    for (uint32_t pe = 1; pe < pes; pe++)
        output->streams[2 * pe + OUTPUT_STDERR].held = true;
    return output;
}

void output_destroy(struct output *output)
{
    if (output == NULL)
        return;
    for (uint32_t i = 0; output->streams != NULL && i < 2 * output->pes; i++)
        free(output->streams[i].buffer);
    for (uint32_t i = 0; output->tails != NULL && i < output->pes; i++)
        free(output->tails[i].ring);
    free(output->streams);
    free(output->tails);
    free(output->settled);
    free(output->same);
    free(output->first);
    free(output);
}

/* Take bytes away from the front of a stream. */
static void stream_drop(struct stream *stream, uint32_t size)
{
    stream->size -= size;
    stream->complete -= stream->complete < size ? stream->complete : size;
    memmove(stream->buffer, stream->buffer + size, stream->size);
}

/* Forget the piece that was handed out last. */
static void last_drop(struct output *output)
{
    if (output->last == NO_STREAM)
        return;
    stream_drop(&output->streams[output->last], output->last_size);
    output->last = NO_STREAM;
}

char *output_room(struct output *output, uint32_t pe, enum output_stream which, size_t *room)
{
    struct stream *stream = &output->streams[2 * pe + which];

    last_drop(output);
    if (stream->buffer == NULL)
        stream->buffer = malloc(OUTPUT_BUFFER);
    *room = stream->buffer == NULL ? 0 : OUTPUT_BUFFER - stream->size;
    return stream->buffer == NULL ? NULL : stream->buffer + stream->size;
}

static void tail_add(struct tail *tail, const char *data, size_t size)
{
    if (tail->ring == NULL)
        tail->ring = malloc(OUTPUT_TAIL_BYTES);
    if (tail->ring == NULL)
        return;
    if (size > OUTPUT_TAIL_BYTES) {
        tail->written += size - OUTPUT_TAIL_BYTES;
        data += size - OUTPUT_TAIL_BYTES;
        size = OUTPUT_TAIL_BYTES;
    }
    for (size_t i = 0; i < size; i++)
        tail->ring[(tail->written + i) % OUTPUT_TAIL_BYTES] = data[i];
    tail->written += size;
}

/* PE 0 said something before it settled: others may say the same. */
static void first_add(struct output *output, const char *data, size_t size)
{
    if (output->pes == 1 || output->settled[0] || output->first_too_long)
        return;
    if (output->first == NULL)
        output->first = malloc(OUTPUT_BUFFER);
    if (output->first == NULL || size > OUTPUT_BUFFER - output->first_size) {
        output->first_too_long = true;
        return;
    }
    memcpy(output->first + output->first_size, data, size);
    output->first_size += (uint32_t)size;
}

void output_filled(struct output *output, uint32_t pe, enum output_stream which, size_t size,
                   int64_t now)
{
    struct stream *stream = &output->streams[2 * pe + which];
    const char *data = stream->buffer + stream->size;
    const char *newline;

    if (size == 0)
        return;
    newline = memrchr(data, '\n', size);
    if (newline != NULL)
        stream->complete = (uint32_t)(newline + 1 - stream->buffer);
    if (!stream->held || stream->size == 0)
        stream->since = now;
    if (which == OUTPUT_STDERR) {
        tail_add(&output->tails[pe], data, size);
        if (pe == 0)
            first_add(output, data, size);
    }
    stream->size += (uint32_t)size;
    if (stream->size == OUTPUT_BUFFER)
        stream->held = false;
}

void output_ended(struct output *output, uint32_t pe, enum output_stream which)
{
    output->streams[2 * pe + which].ended = true;
}

/* ---- what all PEs say ---- */

/* This one and PE 0 have settled: what both said before is dropped here. */
static void held_decide(struct output *output, uint32_t pe)
{
    struct stream *stream = &output->streams[2 * pe + OUTPUT_STDERR];

    if (!stream->held)
        return;
    stream->held = false;
    if (stream->early == 0 || output->first_too_long || stream->early != output->first_size ||
        memcmp(stream->buffer, output->first, stream->early) != 0)
        return;
    stream_drop(stream, stream->early);
    output->same[pe] = 1;
    output->sames++;
}

void output_settle(struct output *output, uint32_t pe)
{
    struct stream *stream = &output->streams[2 * pe + OUTPUT_STDERR];

    if (output->settled[pe])
        return;
    last_drop(output);
    output->settled[pe] = 1;
    output->unsettled--;
    stream->early = stream->size;
    if (pe == 0) {
        for (uint32_t i = 1; i < output->pes; i++)
            if (output->settled[i])
                held_decide(output, i);
    } else if (output->settled[0]) {
        held_decide(output, pe);
    }
}

void output_settle_all(struct output *output)
{
    for (uint32_t pe = 0; pe < output->pes; pe++)
        output_settle(output, pe);
}

/* "(the same on PEs 1-3, 5)" */
static size_t remark_write(struct output *output)
{
    size_t used = (size_t)snprintf(output->remark, sizeof(output->remark), "(the same on PE%s",
                                   output->sames == 1 ? "" : "s");
    const char *separator = " ";

    for (uint32_t pe = 1; pe < output->pes && used < sizeof(output->remark) - 40; pe++) {
        uint32_t last = pe;

        if (!output->same[pe])
            continue;
        while (last + 1 < output->pes && output->same[last + 1])
            last++;
        used += (size_t)snprintf(output->remark + used, sizeof(output->remark) - used,
                                 last > pe ? "%s%u-%u" : "%s%u", separator, pe, last);
        separator = ", ";
        pe = last;
    }
    used += (size_t)snprintf(output->remark + used, sizeof(output->remark) - used, ")\n");
    output->sames = 0;
    return used;
}

/* ---- handing out ---- */

/* How many bytes of a stream can be handed out now. */
static uint32_t stream_ready(const struct output *output, uint32_t index, int64_t now)
{
    struct stream *stream = &output->streams[index];

    if (stream->size == 0)
        return 0;
    if (stream->held && now - stream->since < OUTPUT_HOLD_MS)
        return 0;
    stream->held = false;
    if (stream->complete > 0)
        return stream->complete;
    if (stream->ended || stream->size == OUTPUT_BUFFER)
        return stream->size;
    if (index == output->open || (index < 2 && now - stream->since >= OUTPUT_PROMPT_MS))
        return stream->size;
    return 0;
}

static void piece_hand_out(struct output *output, uint32_t index, uint32_t size,
                           struct output_piece *piece)
{
    struct stream *stream = &output->streams[index];

    piece->pe = index / 2;
    piece->stream = (enum output_stream)(index % 2);
    piece->data = stream->buffer;
    piece->size = size;
    output->last = index;
    output->last_size = size;
    if (stream->buffer[size - 1] == '\n' || stream->ended)
        output->open = NO_STREAM;
    else if (size == OUTPUT_BUFFER)
        output->open = index;
    output->turn = (index + 1) % (2 * output->pes);
}

/* The stream in the middle of a long line keeps the others back, until it is still. */
static bool open_blocks(struct output *output, int64_t now)
{
    const struct stream *stream;

    if (output->open == NO_STREAM)
        return false;
    stream = &output->streams[output->open];
    if (!stream->ended && now - stream->since < OUTPUT_PROMPT_MS)
        return true;
    output->open = NO_STREAM;
    return false;
}

bool output_next(struct output *output, int64_t now, struct output_piece *piece)
{
    uint32_t streams = 2 * output->pes;
    uint32_t size;

    last_drop(output);
    if (output->open != NO_STREAM) {
        size = stream_ready(output, output->open, now);
        if (size > 0) {
            piece_hand_out(output, output->open, size, piece);
            return true;
        }
        if (open_blocks(output, now))
            return false;
    }
    for (uint32_t i = 0; i < streams; i++) {
        uint32_t index = (output->turn + i) % streams;

        size = stream_ready(output, index, now);
        if (size > 0) {
            piece_hand_out(output, index, size, piece);
            return true;
        }
    }
    if (output->sames > 0 && output->unsettled == 0) {
        piece->pe = OUTPUT_NO_PE;
        piece->stream = OUTPUT_STDERR;
        piece->size = remark_write(output);
        piece->data = output->remark;
        return true;
    }
    return false;
}

void output_resume(struct output *output, int64_t now)
{
    for (uint32_t index = 0; index < 2 * output->pes; index++)
        output->streams[index].since = now;
}

static int64_t earlier(int64_t deadline, int64_t at)
{
    return deadline < 0 || at < deadline ? at : deadline;
}

int64_t output_deadline(const struct output *output)
{
    int64_t deadline = -1;

    if (output->open != NO_STREAM)
        return output->streams[output->open].since + OUTPUT_PROMPT_MS;
    for (uint32_t index = 0; index < 2 * output->pes; index++) {
        const struct stream *stream = &output->streams[index];

        if (stream->size > 0 && stream->held)
            deadline = earlier(deadline, stream->since + OUTPUT_HOLD_MS);
        else if (stream->size > 0 && index < 2)
            deadline = earlier(deadline, stream->since + OUTPUT_PROMPT_MS);
    }
    return deadline;
}

size_t output_tail(const struct output *output, uint32_t pe, char *text)
{
    const struct tail *tail = &output->tails[pe];
    size_t size = tail->written < OUTPUT_TAIL_BYTES ? (size_t)tail->written : OUTPUT_TAIL_BYTES;
    size_t start = size;
    unsigned lines = 0;

    if (tail->ring == NULL)
        return 0;
    for (size_t i = 0; i < size; i++)
        text[i] = tail->ring[(tail->written - size + i) % OUTPUT_TAIL_BYTES];
    /* Back from the end to before the tenth line; the newline at the very end ends the last one. */
    while (start > 0) {
        if (text[start - 1] == '\n' && start < size && ++lines == OUTPUT_TAIL_LINES)
            break;
        start--;
    }
    memmove(text, text + start, size - start);
    return size - start;
}
