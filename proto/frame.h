/*
 * What two routers of a job say to each other: frames.
 *
 * A frame is a ZeroMQ message of one part or two: a header of 64 bytes, and behind it bytes, of which
 * the second part, if there is one, is the rest. Between two nodes of a job there are two streams
 * (enum frame_stream) in each direction, of messages as stream.h has them. All numbers are
 * little-endian. The struct below is the wire format, and tests/unit/test_frame.c holds its bytes.
 *
 *   DATA    a piece of the stream (stream.h: envelopes and bodies without padding) of at least one
 *           byte; `position`: bytes of the stream before it
 *   CREDIT  `position`: bytes of the stream in the other direction that may have been sent since its
 *           beginning; no bytes
 *   HELLO   a connection was made anew; `position`: bytes of the stream so far; no bytes
 *   BYE     the stream is broken, and nothing is taken or sent any more; its bytes are a sentence
 *           (UTF-8, at most 399 bytes) that says why
 *
 * Who receives knows from the transport which node a frame is from, and checks it and the secret.
 * DATA and HELLO whose position is not the number of bytes that have come break the stream.
 */
#ifndef C4P_PROTO_FRAME_H
#define C4P_PROTO_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_VERSION 1
#define FRAME_HEADER_SIZE 64
#define FRAME_SECRET_SIZE 16
#define FRAME_PART ((size_t)256 << 10) /* bytes of a part behind the header at the most */

enum frame_type { FRAME_DATA = 1, FRAME_CREDIT, FRAME_HELLO, FRAME_BYE, FRAME_TYPES };

enum frame_stream { FRAME_DIRECT = 0, FRAME_RELAY, FRAME_STREAMS };

struct frame_header {
    uint8_t version;                   /*  0 FRAME_VERSION */
    uint8_t type;                      /*  1 enum frame_type */
    uint8_t stream;                    /*  2 enum frame_stream */
    uint8_t reserved;                  /*  3 zero */
    uint32_t epoch;                    /*  4 the job's life */
    uint64_t job;                      /*  8 */
    uint32_t from, to;                 /* 16 nodes of the job */
    uint64_t position;                 /* 24 */
    uint8_t secret[FRAME_SECRET_SIZE]; /* 32 that the job's routers know each other by */
    uint8_t zero[16];                  /* 48 for later versions */
};

_Static_assert(sizeof(struct frame_header) == FRAME_HEADER_SIZE, "no padding");

/* Read the header of a part. False: that is none of this version. */
bool frame_read(const void *part, size_t size, struct frame_header *header);

#endif
