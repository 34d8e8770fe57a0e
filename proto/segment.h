/*
 * The segment: the shared memory of one job on one node.
 *
 * c4pd makes it (segment_create), every PE and local client maps it from an
 * inherited descriptor (segment_map). It is one sparse memfd:
 *
 *   0            struct segment_header      geometry; written once, before anybody else maps it
 *   4 KiB        struct segment_endpoint[]  one slot of 256 bytes for each local endpoint
 *   ...          struct segment_bucket[]    the meeting table of reductions (meeting.h)
 *   ...          uint32_t[nodes]            the first PE of each node, if there are several nodes
 *   regions      one region for each slot, of region_size bytes, 2 MiB aligned
 *
 * Slots 0 .. local_pes-1 are the PEs first_pe .. of this node, slot local_pes
 * is the node's router (c4pd), the rest are places for clients that map the
 * segment. Client c of the job sits in place c % SEGMENT_CLIENT_SLOTS; numbers
 * are never used again, so what was meant for somebody who sat there before is
 * known by its target. The router says who sits there (`address`), and cleans
 * up behind who left without doing so.
 *
 * A client that does not map the job's segment has a private one, of the job's shape but without
 * PEs (local_pes 0): all that it sends is for elsewhere, and goes to the router's slot, from where
 * a thread moves it on (stream.h).
 *
 * Any process of the job can write anywhere in its mapping. So the geometry is
 * copied out and checked once when mapping, all offsets are checked against
 * that copy, and c4pd trusts nothing else.
 */
#ifndef C4P_PROTO_SEGMENT_H
#define C4P_PROTO_SEGMENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/envelope.h"

#define SEGMENT_MAGIC 0x0047455350344301u /* "\x01C4PSEG\0" */
#define SEGMENT_VERSION 2
#define SEGMENT_CLIENT_SLOTS 15
#define SEGMENT_MAX_PES 1024 /* of a node */
#define SEGMENT_MAX_NODES 1024
#define SEGMENT_BUCKETS 1024
#define SEGMENT_ENDPOINTS_OFFSET 4096
#define SEGMENT_REGION_ALIGN (2u << 20)
#define SEGMENT_MIN_REGION (4u << 20)
#define SEGMENT_MAX_REGION (1ull << 38) /* region.c counts its 64-byte granules in 32 bits */
/* Of the router's region, kept for its own messages: what a client sends that does not map the segment
 * is smaller than a region by that. */
#define SEGMENT_ROUTER_RESERVE (256u << 10)
#define CACHE_LINE 64

/* Shape of a segment: what its maker decides. Everything else follows from it. */
struct segment_geometry {
    uint32_t epoch;    /* the job's life, carried by every envelope */
    uint32_t pes;      /* P, over all nodes */
    uint32_t first_pe; /* this node's PEs are first_pe .. first_pe + local_pes - 1 */
    uint32_t local_pes;
    uint32_t node, nodes; /* this node's number in the job, and how many there are */
    uint32_t cores;       /* cores that the local PEs may use: decides whether they spin */
    uint32_t slots;       /* filled in: local_pes + 1 + SEGMENT_CLIENT_SLOTS */
    uint64_t region_size; /* bytes of one endpoint's region: the limit of what it has in flight */
    uint64_t regions;     /* filled in: offset of the first region */
    uint64_t size;        /* filled in: bytes of the whole mapping */
};

/* Life of an endpoint, written by its owner. */
enum segment_status { ENDPOINT_ABSENT = 0, ENDPOINT_ATTACHED, ENDPOINT_STARTED, ENDPOINT_LEFT };

/* One endpoint's control block; each group of fields has its own cache line and its own writers. */
struct segment_endpoint {
    /* inbox.h: offset of the newest message, 0 when empty, 1 when empty and its owner sleeps */
    _Alignas(CACHE_LINE) _Atomic uint64_t inbox;
    /* region.h: blocks of this endpoint's region that others have done with */
    _Alignas(CACHE_LINE) _Atomic uint64_t returns;
    /* written by the owner only, read by who asks for quiescence */
    _Alignas(CACHE_LINE) _Atomic uint64_t sent; /* messages sent, before they are queued */
    _Atomic uint64_t processed;                 /* messages whose handling has ended */
    _Atomic uint32_t timers;                    /* timers that will still fire */
    _Atomic uint32_t status;                    /* enum segment_status */
    _Atomic uint32_t pid;
    _Atomic uint32_t main_returned;     /* PE 0: main is over */
    _Atomic uint64_t used;              /* bytes of the region that are allocated */
    _Atomic uint32_t quiescence_wanted; /* quiescence callbacks that wait on this endpoint */
    _Atomic uint32_t address;           /* of the client that sits here; 0: none. By the router */
    /* statistics, written by the owner, for c4pd's figures */
    _Alignas(CACHE_LINE) _Atomic uint64_t bytes_sent;
    _Atomic uint64_t wakes;
    _Atomic uint64_t sleeps;
    _Atomic uint64_t dropped; /* messages refused by envelope_check() */
    /* a client's: what the router needs when it has died */
    _Atomic uint64_t handed;   /* blocks of its region that it gave to others ... */
    _Atomic uint64_t returned; /* ... and those that it got back */
    _Atomic uint64_t mail;     /* next of the messages that it has taken from its inbox; 0: none */
    _Atomic uint32_t remote; /* 1: the client does not map the segment, the router takes its mail */
    uint32_t reserved1;
};

_Static_assert(sizeof(struct segment_endpoint) == 256, "an endpoint slot is 256 bytes");

/* One bucket of the meeting table (meeting.h). */
struct segment_bucket {
    _Alignas(CACHE_LINE) _Atomic uint32_t lock;
    uint32_t reserved;
    _Atomic uint64_t first; /* offset of the first waiting partial result */
};

struct segment_header {
    uint64_t magic;
    uint32_t version;
    uint32_t header_size;
    struct segment_geometry geometry;
    /* endpoints of this node that are neither asleep nor absent: decides whether spinning pays */
    _Alignas(CACHE_LINE) _Atomic uint32_t awake;
    /* 1: the router was told that all PEs sleep, and has not looked at their counters since */
    _Atomic uint32_t idle_told;
};

/* A mapping of a segment, private to its process. */
struct segment {
    uint8_t *base;
    struct segment_geometry geometry; /* checked copy: the only one that is used */
    int fd;
    int router_wake; /* eventfd that wakes the router, -1 if none */
};

/*
 * Make a segment. Fills in geometry->slots, regions and size. `first_pes`: the first PE of each of
 * the job's nodes, in ascending order from 0, or NULL if there is one node; a node without PEs has
 * the number of the next one. Returns 0, or -1 with errno (EINVAL: a count or size out of range;
 * else from the system).
 */
int segment_create(struct segment *segment, struct segment_geometry *geometry,
                   const uint32_t *first_pes);

/* Map an existing one. -1 with errno EBADMSG when it is no segment of this version. Takes fd over. */
int segment_map(struct segment *segment, int fd, int router_wake);

/* Unmap and close; safe on a zeroed struct with fd -1. */
void segment_close(struct segment *segment);

/* Check the numbers of a geometry and fill in the derived ones. Returns 0 or -1 (EINVAL). */
int geometry_complete(struct segment_geometry *geometry);

static inline struct segment_header *segment_header(const struct segment *segment)
{
    return (struct segment_header *)(void *)segment->base;
}

static inline struct segment_endpoint *segment_endpoint(const struct segment *segment,
                                                        uint32_t slot)
{
    return (struct segment_endpoint *)(void *)(segment->base + SEGMENT_ENDPOINTS_OFFSET) + slot;
}

static inline struct segment_bucket *segment_buckets(const struct segment *segment)
{
    return (struct segment_bucket *)(void *)(segment_endpoint(segment, segment->geometry.slots));
}

/* The first PE of each node; anybody may write there, so a peer that trusts nobody has its own. */
static inline uint32_t *segment_first_pes(const struct segment *segment)
{
    return (uint32_t *)(void *)(segment_buckets(segment) + SEGMENT_BUCKETS);
}

/* Where client `endpoint` sits, or sat: on node 0. */
static inline uint32_t segment_client_slot(const struct segment *segment, uint32_t endpoint)
{
    return segment->geometry.local_pes + 1 +
           (endpoint & ~C4P_ENDPOINT_CLASS) % SEGMENT_CLIENT_SLOTS;
}

/* The slot of an endpoint address on this node; `slots` (one past the last) if it is elsewhere. */
static inline uint32_t segment_slot(const struct segment *segment, uint32_t endpoint)
{
    const struct segment_geometry *g = &segment->geometry;

    if (endpoint - g->first_pe < g->local_pes)
        return endpoint - g->first_pe;
    if ((endpoint & C4P_ENDPOINT_CLASS) == C4P_ROUTER)
        return g->local_pes; /* every router is reached through the own one */
    if ((endpoint & C4P_ENDPOINT_CLASS) == C4P_CLIENT && g->node == 0)
        return segment_client_slot(segment, endpoint);
    return g->slots;
}

static inline uint32_t segment_router_slot(const struct segment *segment)
{
    return segment->geometry.local_pes;
}

/* Does an offset lie inside a region, aligned as blocks are? Says nothing about what is there. */
static inline bool segment_offset_valid(const struct segment *segment, uint64_t offset)
{
    return offset >= segment->geometry.regions &&
           offset <= segment->geometry.size - C4P_ENVELOPE_SIZE && offset % CACHE_LINE == 0;
}

/* Whose region an offset is in; only for valid offsets. */
static inline uint32_t segment_owner(const struct segment *segment, uint64_t offset)
{
    return (uint32_t)((offset - segment->geometry.regions) / segment->geometry.region_size);
}

/* Bytes from a valid offset to the end of its region. */
static inline uint64_t segment_room(const struct segment *segment, uint64_t offset)
{
    uint64_t size = segment->geometry.region_size;

    return size - (offset - segment->geometry.regions) % size;
}

static inline struct c4p_envelope *segment_block(const struct segment *segment, uint64_t offset)
{
    return (struct c4p_envelope *)(void *)(segment->base + offset);
}

#endif
