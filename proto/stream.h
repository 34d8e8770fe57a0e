/*
 * Blocks as a byte stream: how messages travel where there is no shared segment.
 *
 * On the wire a block is its envelope, with the process-local fields (next, body, refs) zero, and
 * behind it body_size bytes of body. Blocks follow each other without padding. Frames cut this
 * stream anywhere: small blocks share one, a large one takes several. A frame is one byte of type
 * and its payload, at most STREAM_FRAME bytes together:
 *
 *   HELLO   u8 version, then what the sides know each other by; the first frame in each direction
 *   DATA    a piece of the stream, not empty
 *   CREDIT  u64: bytes of the stream that its sender may have sent since the beginning
 *   BYE     a sentence (UTF-8): why its sender stops; the last frame
 *
 * Each side may send STREAM_WINDOW bytes before it hears of credit, and gets new credit as the
 * other one has put away what came: what is under way, or waits for memory at the receiver, never
 * is more than the window.
 *
 * A struct stream is one end of a connection, without any I/O. Its owner moves frames: what
 * stream_make() makes goes to the other end's stream_take(). What the stream needs it asks of its
 * owner through five functions; it never allocates but for a buffer of at most the window, in which
 * bytes wait while the owner has no memory for their block. What comes from the other end is
 * hostile: envelopes are checked before the owner sees them.
 */
#ifndef C4P_PROTO_STREAM_H
#define C4P_PROTO_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/envelope.h"

#define STREAM_VERSION 1
#define STREAM_FRAME ((size_t)256 << 10)
#define STREAM_WINDOW ((uint64_t)4 << 20)
#define STREAM_TICKET_SIZE 32 /* of a client's HELLO */
#define STREAM_MAX_SENTENCE 400

enum stream_type { STREAM_HELLO = 1, STREAM_DATA, STREAM_CREDIT, STREAM_BYE };

/* What the owner says of a block that comes. */
enum stream_answer {
    STREAM_TAKE,  /* copy the body to where I said */
    STREAM_SKIP,  /* nobody wants it */
    STREAM_LATER, /* there is no memory now: ask again at stream_resume() */
    STREAM_REFUSE /* who sends this is no correct peer */
};

struct stream_owner {
    /* The next block to send, or false: none now. Its body stays where it is until sent(). */
    bool (*next)(void *context, struct c4p_envelope *envelope, const void **body);
    /* All of the last block is in frames. */
    void (*sent)(void *context);
    /* A block comes: where is its body to go? */
    enum stream_answer (*begin)(void *context, const struct c4p_envelope *envelope, void **body);
    /* All of the block that was taken last is there. */
    void (*end)(void *context);
    void *context;
};

struct stream {
    struct stream_owner owner;
    uint32_t epoch;
    uint64_t limit;      /* of a body */
    const char *failure; /* why the other end is not to be believed; NULL: it is */

    /* what we send: a block half in frames, bytes of the stream so far, and how many may be */
    struct c4p_envelope out;
    const uint8_t *out_body;
    uint64_t out_done;
    bool out_busy;
    uint64_t sent, may_send;

    /* what comes: a block half there, bytes of the stream so far, and how many were put away */
    struct c4p_envelope in;
    uint8_t *in_body; /* NULL: skipped */
    uint64_t in_left;
    uint32_t in_head; /* bytes of the envelope that are there */
    bool in_begun, in_taken;
    uint64_t received, consumed, granted;
    uint8_t *held; /* what could not be put away */
    size_t held_first, held_size, held_room;
};

/* `limit`: the largest body that may come. */
void stream_init(struct stream *stream, const struct stream_owner *owner, uint32_t epoch,
                 uint64_t limit);
/* Free what it holds; a block that is half there remains its owner's. */
void stream_clear(struct stream *stream);

/*
 * A frame to send into `frame`, which has `room` bytes (at least 9; more than STREAM_FRAME are not
 * used): its size, or 0 if there is nothing to send now, or no credit.
 */
size_t stream_make(struct stream *stream, uint8_t *frame, size_t room);

/*
 * A frame, DATA or CREDIT, has come. 0, or -1 when the other end breaks the rules (a sentence about
 * it is in `failure`), or memory is short: then the connection is to be ended.
 */
int stream_take(struct stream *stream, const uint8_t *frame, size_t size);
/* The payload of a DATA or CREDIT frame alone, for who has frames of his own. The same answers. */
int stream_feed(struct stream *stream, const uint8_t *data, size_t size);
int stream_allow(struct stream *stream, uint64_t total);
/* A new total that is worth to be told to the other end (as CREDIT), or 0. */
uint64_t stream_credit(struct stream *stream);
/* There may be memory for a block now. The same answers. */
int stream_resume(struct stream *stream);
/* Does a block wait for memory? */
static inline bool stream_waits(const struct stream *stream)
{
    return stream->in_head == C4P_ENVELOPE_SIZE && !stream->in_begun;
}

/* The other frames, and their size: a HELLO has 2 bytes more than `size`, a BYE at most
 * STREAM_MAX_SENTENCE. */
size_t stream_make_hello(uint8_t *frame, const void *who, size_t size);
size_t stream_make_bye(uint8_t *frame, const char *sentence);
/*
 * Read a HELLO whose second part has `who_size` bytes, to `who`. False if it is none. *version is
 * what the other end speaks, 0 if the frame does not say; of another version no more is read.
 */
bool stream_read_hello(const uint8_t *frame, size_t size, uint8_t *version, void *who,
                       size_t who_size);
/* The sentence of a BYE, made printable, or false. */
bool stream_read_bye(const uint8_t *frame, size_t size, char sentence[STREAM_MAX_SENTENCE]);

#endif
