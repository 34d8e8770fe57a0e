#define _GNU_SOURCE
#include "proto/stream.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the envelope is sent as it is");

#define CREDIT_SIZE (1 + sizeof(uint64_t))

/* Credit is worth a frame when the other end has used so much of its window. */
#define CREDIT_STEP (STREAM_WINDOW / 4)

void stream_init(struct stream *stream, const struct stream_owner *owner, uint32_t epoch,
                 uint64_t limit)
{
    memset(stream, 0, sizeof(*stream));
    stream->owner = *owner;
    stream->epoch = epoch;
    stream->limit = limit;
    stream->may_send = STREAM_WINDOW;
    stream->granted = STREAM_WINDOW;
}

void stream_clear(struct stream *stream)
{
    free(stream->held);
    stream->held = NULL;
    stream->held_first = stream->held_size = stream->held_room = 0;
}

static size_t smaller(uint64_t one, uint64_t other)
{
    return (size_t)(one < other ? one : other);
}

/* ---- sending ---- */

uint64_t stream_credit(struct stream *stream)
{
    if (stream->consumed + STREAM_WINDOW - stream->granted < CREDIT_STEP)
        return 0;
    stream->granted = stream->consumed + STREAM_WINDOW;
    return stream->granted;
}

static size_t credit_make(uint64_t total, uint8_t *frame)
{
    frame[0] = STREAM_CREDIT;
    memcpy(frame + 1, &total, sizeof(total));
    return CREDIT_SIZE;
}

/* Have a block to send: the one that is under way, or the next. */
static bool block_open(struct stream *stream)
{
    const void *body = NULL;

    if (stream->out_busy)
        return true;
    if (!stream->owner.next(stream->owner.context, &stream->out, &body))
        return false;
    stream->out.next = 0;
    stream->out.body = 0;
    atomic_store_explicit(&stream->out.refs, 0, memory_order_relaxed);
    stream->out_body = body;
    stream->out_done = 0;
    stream->out_busy = true;
    return true;
}

/* As much of the open block as there is room for. */
static size_t block_copy(struct stream *stream, uint8_t *to, size_t room)
{
    size_t copied = 0, part;

    if (stream->out_done < C4P_ENVELOPE_SIZE) {
        copied = smaller(C4P_ENVELOPE_SIZE - stream->out_done, room);
        memcpy(to, (const uint8_t *)&stream->out + stream->out_done, copied);
        stream->out_done += copied;
    }
    if (stream->out_done >= C4P_ENVELOPE_SIZE && copied < room) {
        uint64_t place = stream->out_done - C4P_ENVELOPE_SIZE;

        part = smaller(stream->out.body_size - place, room - copied);
        if (part > 0)
            memcpy(to + copied, stream->out_body + place, part);
        stream->out_done += part;
        copied += part;
    }
    if (stream->out_done == C4P_ENVELOPE_SIZE + stream->out.body_size) {
        stream->out_busy = false;
        stream->owner.sent(stream->owner.context);
    }
    return copied;
}

size_t stream_make(struct stream *stream, uint8_t *frame, size_t room)
{
    uint64_t credit = stream_credit(stream);
    size_t size = 0;

    if (credit != 0)
        return credit_make(credit, frame);
    room = smaller(smaller(room, STREAM_FRAME) - 1, stream->may_send - stream->sent);
    while (size < room && block_open(stream))
        size += block_copy(stream, frame + 1 + size, room - size);
    if (size == 0)
        return 0;
    stream->sent += size;
    frame[0] = STREAM_DATA;
    return 1 + size;
}

/* ---- receiving ---- */

static int stream_fail(struct stream *stream, const char *why)
{
    stream->failure = why;
    return -1;
}

static int envelope_judge(struct stream *stream)
{
    enum c4p_envelope_error error;
    struct c4p_envelope copy;
    uint64_t size = stream->in.body_size;

    if (stream->in.next != 0 || stream->in.body != 0 ||
        atomic_load_explicit(&stream->in.refs, memory_order_relaxed) != 0)
        return stream_fail(stream, "a message has fields that mean nothing on a wire");
    if (size > stream->limit)
        return stream_fail(stream, "a message is larger than any that fits the job's segment");
    error = envelope_check(&stream->in, C4P_ENVELOPE_SIZE + (size_t)size, stream->epoch, &copy);
    return error == C4P_ENVELOPE_OK ? 0 : stream_fail(stream, envelope_error_text(error));
}

/* The envelope is there: 1, and the body may come; 0: not now; -1. */
static int block_begin(struct stream *stream)
{
    void *body = NULL;

    if (envelope_judge(stream) != 0)
        return -1;
    switch (stream->owner.begin(stream->owner.context, &stream->in, &body)) {
    case STREAM_TAKE:
        stream->in_body = body;
        stream->in_taken = true;
        break;
    case STREAM_SKIP:
        stream->in_body = NULL;
        stream->in_taken = false;
        break;
    case STREAM_LATER:
        return 0;
    case STREAM_REFUSE:
        return stream_fail(stream, "a message is of a kind, or has an address, that its sender may "
                                   "not use");
    }
    stream->in_left = stream->in.body_size;
    stream->in_begun = true;
    return 1;
}

static void block_end(struct stream *stream)
{
    stream->in_head = 0;
    stream->in_begun = false;
    if (stream->in_taken)
        stream->owner.end(stream->owner.context);
}

/* The envelope's part of some bytes. Returns how many they are. */
static size_t head_copy(struct stream *stream, const uint8_t *data, size_t size)
{
    size_t part = smaller(C4P_ENVELOPE_SIZE - stream->in_head, size);

    memcpy((uint8_t *)&stream->in + stream->in_head, data, part);
    stream->in_head += (uint32_t)part;
    return part;
}

static size_t body_copy(struct stream *stream, const uint8_t *data, size_t size)
{
    size_t part = smaller(stream->in_left, size);

    if (stream->in_taken && part > 0) {
        memcpy(stream->in_body, data, part);
        stream->in_body += part;
    }
    stream->in_left -= part;
    return part;
}

/* Put bytes away until the owner has no memory. *done is how many were. */
static int bytes_put(struct stream *stream, const uint8_t *data, size_t size, size_t *done)
{
    int rc = 1;

    *done = 0;
    while (*done < size || stream_waits(stream)) {
        if (stream->in_head < C4P_ENVELOPE_SIZE)
            *done += head_copy(stream, data + *done, size - *done);
        if (stream->in_head < C4P_ENVELOPE_SIZE)
            break;
        if (!stream->in_begun && (rc = block_begin(stream)) != 1)
            break;
        if (*done < size)
            *done += body_copy(stream, data + *done, size - *done);
        if (stream->in_left == 0)
            block_end(stream);
    }
    stream->consumed += *done;
    return rc < 0 ? -1 : 0;
}

/* Keep what could not be put away: within the window, or it had been refused. */
static int bytes_hold(struct stream *stream, const uint8_t *data, size_t size)
{
    if (stream->held == NULL) {
        stream->held = malloc(STREAM_WINDOW);
        if (stream->held == NULL)
            return stream_fail(stream, "there is no memory for what came");
        stream->held_room = STREAM_WINDOW;
    }
    if (stream->held_first + stream->held_size + size > stream->held_room) {
        memmove(stream->held, stream->held + stream->held_first, stream->held_size);
        stream->held_first = 0;
    }
    memcpy(stream->held + stream->held_first + stream->held_size, data, size);
    stream->held_size += size;
    return 0;
}

int stream_resume(struct stream *stream)
{
    size_t done;

    if (stream->failure != NULL)
        return -1;
    if (stream->held_size == 0)
        return bytes_put(stream, NULL, 0, &done);
    if (bytes_put(stream, stream->held + stream->held_first, stream->held_size, &done) != 0)
        return -1;
    stream->held_first += done;
    stream->held_size -= done;
    if (stream->held_size == 0)
        stream->held_first = 0;
    return 0;
}

int stream_feed(struct stream *stream, const uint8_t *data, size_t size)
{
    size_t done = 0;

    if (stream->failure != NULL)
        return -1;
    if (size == 0)
        return stream_fail(stream, "a frame is empty");
    if (size > stream->granted - stream->received)
        return stream_fail(stream, "more was sent than there was credit for");
    stream->received += size;
    if (stream->held_size == 0 && bytes_put(stream, data, size, &done) != 0)
        return -1;
    return done < size ? bytes_hold(stream, data + done, size - done) : 0;
}

int stream_allow(struct stream *stream, uint64_t total)
{
    if (total < stream->may_send || total > stream->sent + STREAM_WINDOW)
        return stream_fail(stream, "credit was given that cannot be");
    stream->may_send = total;
    return 0;
}

static int credit_take(struct stream *stream, const uint8_t *data, size_t size)
{
    uint64_t total;

    if (size != sizeof(total))
        return stream_fail(stream, "a frame of credit has another size");
    memcpy(&total, data, sizeof(total));
    return stream_allow(stream, total);
}

int stream_take(struct stream *stream, const uint8_t *frame, size_t size)
{
    if (stream->failure != NULL)
        return -1;
    if (size == 0 || size > STREAM_FRAME)
        return stream_fail(stream, "a frame has an impossible size");
    if (frame[0] == STREAM_DATA)
        return stream_feed(stream, frame + 1, size - 1);
    if (frame[0] == STREAM_CREDIT)
        return credit_take(stream, frame + 1, size - 1);
    return stream_fail(stream, "a frame is of a kind that has no place there");
}

/* ---- coming and going ---- */

size_t stream_make_hello(uint8_t *frame, const void *who, size_t size)
{
    frame[0] = STREAM_HELLO;
    frame[1] = STREAM_VERSION;
    if (size > 0)
        memcpy(frame + 2, who, size);
    return 2 + size;
}

bool stream_read_hello(const uint8_t *frame, size_t size, uint8_t *version, void *who,
                       size_t who_size)
{
    *version = 0;
    if (size < 2 || frame[0] != STREAM_HELLO)
        return false;
    *version = frame[1];
    if (*version != STREAM_VERSION || size != 2 + who_size)
        return false;
    if (who_size > 0)
        memcpy(who, frame + 2, who_size);
    return true;
}

size_t stream_make_bye(uint8_t *frame, const char *sentence)
{
    size_t size = strnlen(sentence, STREAM_MAX_SENTENCE - 1);

    frame[0] = STREAM_BYE;
    memcpy(frame + 1, sentence, size);
    return 1 + size;
}

bool stream_read_bye(const uint8_t *frame, size_t size, char sentence[STREAM_MAX_SENTENCE])
{
    if (size == 0 || frame[0] != STREAM_BYE)
        return false;
    size = smaller(size - 1, STREAM_MAX_SENTENCE - 1);
    for (size_t i = 0; i < size; i++)
        sentence[i] = (char)(frame[1 + i] < ' ' || frame[1 + i] == 0x7f ? ' ' : frame[1 + i]);
    sentence[size] = '\0';
    return true;
}
