/*
 * One end of a stream, and frames that anybody may have sent. The input is a program: frames of any
 * bytes and sizes, with or without memory for the blocks that they make, and frames of our own in
 * between. Nothing may crash, the credit holds, and a block that comes is one whose envelope may be
 * believed and whose body has just its size.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/stream.h"

#define EPOCH 7
#define LIMIT 100000
#define FRAMES 500

#define require(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);              \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    struct stream stream;
    void *body; /* of the block that comes: malloc() tells the sanitizer its size */
    uint8_t own[50];
    unsigned unsent;
    bool memory;
};

static bool on_next(void *context, struct c4p_envelope *envelope, const void **body)
{
    struct run *run = context;

    if (run->unsent == 0)
        return false;
    run->unsent--;
    memset((void *)envelope, 0, sizeof(*envelope));
    envelope->body_size = sizeof(run->own);
    *body = run->own;
    return true;
}

static void on_sent(void *context)
{
    (void)context;
}

static enum stream_answer on_begin(void *context, const struct c4p_envelope *envelope, void **body)
{
    struct run *run = context;

    require(run->body == NULL && envelope->body_size <= LIMIT && envelope->epoch == EPOCH);
    require(envelope->kind > 0 && envelope->kind < C4P_KINDS && envelope->ndims <= C4P_MAX_DIMS);
    if (!run->memory)
        return STREAM_LATER;
    if (envelope->target % 4 == 3)
        return envelope->target % 8 == 3 ? STREAM_SKIP : STREAM_REFUSE;
    run->body = malloc(envelope->body_size + 1);
    require(run->body != NULL);
    *body = run->body;
    return STREAM_TAKE;
}

static void on_end(void *context)
{
    struct run *run = context;

    require(run->body != NULL);
    free(run->body);
    run->body = NULL;
}

static void frame_make(struct run *run)
{
    uint8_t frame[512];
    size_t size = stream_make(&run->stream, frame, sizeof(frame));

    require(size <= sizeof(frame) && run->stream.sent <= run->stream.may_send);
}

/* A frame of the input: its type may be anybody's, its size is the input's too. */
static size_t frame_take(struct run *run, const uint8_t *data, size_t size)
{
    size_t length = size >= 2 ? (size_t)data[0] << 8 | data[1] : 0;
    uint8_t *frame;

    if (size < 2)
        return size;
    if (length > size - 2)
        length = size - 2;
    frame = malloc(length + 1);
    require(frame != NULL);
    memcpy(frame, data + 2, length);
    require((stream_take(&run->stream, frame, length) == 0) == (run->stream.failure == NULL));
    free(frame);
    return 2 + length;
}

static void greetings_read(const uint8_t *data, size_t size)
{
    uint8_t who[STREAM_TICKET_SIZE], version;
    char sentence[STREAM_MAX_SENTENCE];

    stream_read_hello(data, size, &version, who, sizeof(who));
    if (stream_read_bye(data, size, sentence))
        require(strlen(sentence) < sizeof(sentence));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run run = {.memory = true};
    const struct stream_owner owner = {on_next, on_sent, on_begin, on_end, &run};

    greetings_read(data, size);
    stream_init(&run.stream, &owner, EPOCH, LIMIT);
    for (unsigned i = 0; i < FRAMES && size > 0; i++) {
        uint8_t what = *data;

        data++, size--;
        run.memory = !(what & 1);
        run.unsent += (what >> 1) & 3;
        if (what & 8)
            stream_resume(&run.stream);
        if (what & 16)
            frame_make(&run);
        if (what & 32) {
            size_t used = frame_take(&run, data, size);

            data += used, size -= used;
        }
        require(run.stream.consumed + run.stream.held_size == run.stream.received ||
                run.stream.failure != NULL);
        require(run.stream.received <= run.stream.granted);
    }
    stream_clear(&run.stream);
    free(run.body);
    return 0;
}
