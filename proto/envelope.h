/*
 * The data-plane envelope: the fixed 96 bytes in front of every message that
 * travels between endpoints of a job.
 *
 * A message is one block: the envelope, then its body. Blocks are handed from
 * process to process by their offset in the job's segment (see segment.h);
 * between hosts the same bytes travel with the process-local fields (next,
 * body, refs) zero. Little-endian, naturally aligned, no padding: the struct
 * below is the wire format, and tests/unit/test_envelope.c holds its bytes.
 *
 * Whoever takes a block out of a segment or a socket calls envelope_check()
 * before it uses any other field: nothing in a block is to be trusted.
 */
#ifndef C4P_PROTO_ENVELOPE_H
#define C4P_PROTO_ENVELOPE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define C4P_ENVELOPE_VERSION 1
#define C4P_ENVELOPE_SIZE 96
#define C4P_MAX_DIMS 6

/* Buffers inside a body start where (C4P_ENVELOPE_SIZE + position) is a multiple of this. */
#define C4P_BUFFER_ALIGN 64

/*
 * Endpoint addresses are job-wide. PEs are 0 .. P-1; the router of node n is
 * C4P_ROUTER | n; attached client c is C4P_CLIENT | c.
 */
#define C4P_ROUTER 0x80000000u
#define C4P_CLIENT 0xC0000000u
#define C4P_ENDPOINT_CLASS 0xC0000000u

/*
 * What a message is. The body's layout is given in proto/README.md; "args" is
 * the argument encoding of args.h.
 */
enum c4p_kind {
    C4P_CALL = 1, /* invoke `method` of one element, or of all local ones (C4P_BROADCAST); args */
    C4P_CREATE, /* make the local elements of a collection; args: descriptor, constructor arguments */
    C4P_FUTURE,       /* one value for `future` of the target PE; args: the value */
    C4P_COMPLETION,   /* one PE's part of a broadcast's completion; args: values or exception */
    C4P_PARTIAL,      /* one PE's part of reduction `sequence`; args: the partial result */
    C4P_REDUCED,      /* an allreduce's result for every PE; args: the result */
    C4P_QUIESCENT,    /* quiescence was reached: release who waits for it, or end the program */
    C4P_CLASS_WANTED, /* send me the class with this hash (in `future`) */
    C4P_CLASS,        /* here it is; args: its description */
    C4P_READONLIES,   /* the attributes of the readonlies bag; args: dict */
    C4P_STARTED,      /* PE to router: charm.start() was reached */
    C4P_EXIT, /* PE to router: end the job with code `sequence`; body: UTF-8 text for stderr */
    C4P_STOP, /* router to PE: flush and leave */
    /* Of jobs on several nodes. */
    C4P_NODE_PART, /* a node's part of reduction `sequence` that only a PE can combine; args, tail */
    C4P_IDLE, /* all PEs of a node sleep: to its router, and by that to node 0, with counters */
    C4P_WAVE, /* node 0 asks for a node's counters, and is answered (C4P_RETURN) */
    C4P_MARK, /* here, a multicast takes its place that comes along the tree; or: it has come */
    /* Of elements that have left their computed place: location.h. */
    C4P_LOCATION,     /* a word (`method`) about an element (`future`: its position) */
    C4P_ELEMENT,      /* an element moves to the target; args: its collection, its state */
    C4P_CONTRIBUTION, /* of an element away from home to reduction `sequence`; args */
    C4P_KINDS
};

enum c4p_flags {
    C4P_BROADCAST = 1 << 0, /* to all elements of the collection on the target */
    C4P_RETURN =
        1 << 1, /* the reply carries return values, not only completion; of a part: allreduce */
    C4P_KEYWORDS = 1 << 2,  /* one more argument follows: a dict of keyword arguments */
    C4P_EXCEPTION = 1 << 3, /* the body is an exception that was raised */
    C4P_EMPTY = 1 << 4,     /* an empty reduction: no value in the body */
    /* To the router, and between routers: for PEs index[0] .. index[0] + index[1] - 1 of other nodes. */
    C4P_MULTICAST = 1 << 5,
    C4P_FORWARDED = 1 << 6, /* by `source`; `sequence` is the endpoint that has sent it first */
    C4P_FLAGS_ALL = (1 << 7) - 1
};

struct c4p_envelope {
    uint64_t next;         /*  0 link of the queue that holds the block; 0 on the wire */
    uint64_t body;         /*  8 offset of the block whose body this one shares; 0: own body */
    uint64_t body_size;    /* 16 bytes of body, wherever it is */
    uint8_t version;       /* 24 C4P_ENVELOPE_VERSION */
    uint8_t kind;          /* 25 enum c4p_kind */
    uint16_t flags;        /* 26 enum c4p_flags */
    uint32_t epoch;        /* 28 the job's life; other epochs are dropped */
    uint32_t source;       /* 32 sending endpoint */
    uint32_t target;       /* 36 receiving endpoint */
    uint64_t collection;   /* 40 creator endpoint << 32 | creator's counter */
    uint64_t future;       /* 48 where a reply goes at the source; 0: nowhere */
    uint32_t method;       /* 56 hash of the entry method's name */
    uint32_t sequence;     /* 60 number of a reduction, count of a completion, exit code */
    _Atomic uint32_t refs; /* 64 envelopes that share this block's body; 0 on the wire */
    uint16_t args;         /* 68 positional arguments in the body */
    uint8_t ndims;         /* 70 valid entries of index; 0: whole collection */
    uint8_t reserved;      /* 71 zero */
    int32_t index[C4P_MAX_DIMS]; /* 72 element index, unused entries zero */
};

_Static_assert(sizeof(struct c4p_envelope) == C4P_ENVELOPE_SIZE, "the envelope is 96 bytes");
_Static_assert(offsetof(struct c4p_envelope, collection) == 40, "no hidden padding");
_Static_assert(offsetof(struct c4p_envelope, index) == 72, "no hidden padding");

/* The reasons for which an envelope is refused. */
enum c4p_envelope_error {
    C4P_ENVELOPE_OK = 0,
    C4P_ENVELOPE_TRUNCATED, /* the block is smaller than an envelope and its body */
    C4P_ENVELOPE_VERSION_UNKNOWN,
    C4P_ENVELOPE_KIND_UNKNOWN,
    C4P_ENVELOPE_FLAGS_UNKNOWN,
    C4P_ENVELOPE_DIMS,
    C4P_ENVELOPE_STALE, /* another epoch */
};

/*
 * Check an envelope against the room its block has and the job's epoch.
 * `room` is the number of bytes readable from the envelope on; for a shared
 * body (envelope->body != 0) the caller checks that block's room by itself.
 * The fields are read once, into *copy, so that a hostile writer cannot change
 * them between check and use; use the copy.
 */
enum c4p_envelope_error envelope_check(const struct c4p_envelope *envelope, size_t room,
                                       uint32_t epoch, struct c4p_envelope *copy);

/* Who made a message, whoever it comes from. */
static inline uint32_t envelope_origin(const struct c4p_envelope *envelope)
{
    return envelope->flags & C4P_FORWARDED ? envelope->sequence : envelope->source;
}

/* A sentence for an error, for logs. */
const char *envelope_error_text(enum c4p_envelope_error error);

/* Hash of a name (FNV-1a, 64 bits: http://www.isthe.com/chongo/tech/comp/fnv). Classes use all 64
 * bits of "module:qualname"; methods the low 32 bits folded, see c4p_hash_method(). */
uint64_t c4p_hash(const char *text, size_t length);
uint32_t c4p_hash_method(const char *name, size_t length);

#endif
