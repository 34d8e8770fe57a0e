/*
 * One router's part in what routers do together (daemon/router/collectives.h), alone: other nodes,
 * PEs and streams are played by hand. What it sends and delivers is noted in order, and given back
 * at once. Its memory can be taken away to the last block, and given back one by one.
 */
#ifndef C4P_TESTS_COLLECTIVES_FIXTURE_H
#define C4P_TESTS_COLLECTIVES_FIXTURE_H

#include "tests/unit/unit.h"

#include "daemon/router/collectives.h"
#include "proto/inbox.h"
#include "proto/region.h"
#include "proto/tail.h"

#define MAX_NODES 8
#define NODE_PES 3 /* of each */
#define MAX_EVENTS 64
#define SPARES 16 /* blocks that are given back first, of the size that a test is about */
#define ALL_SPARES UINT32_MAX
#define MAX_HOGS 4096

enum event_kind { SENT, DELIVERED, RESUMED };

struct event {
    enum event_kind kind;
    uint32_t node; /* SENT: where to; RESUMED: whose stream */
    enum collectives_stream stream;
    struct c4p_envelope envelope;
    bool whole; /* its body is the pattern that it was made with */
};

struct bench {
    struct segment segment;
    struct region *region, *pe_region; /* the router's, and its first PE's */
    struct collectives *collectives;
    struct router_node table[MAX_NODES];
    uint32_t nodes, self;
    struct event events[MAX_EVENTS];
    uint32_t count, read; /* events that there are, and that were looked at */
    uint32_t released;    /* blocks */
    int64_t now, wake_at; /* 0: never */
    char broken[128];
    uint64_t hog[MAX_HOGS];
    uint32_t hogs, kept; /* blocks of it, and how many of the first SPARES are among them */
    uint64_t spare_size;
};

/* ---- blocks ---- */

static inline struct c4p_envelope *block_at(const struct bench *bench, uint64_t offset)
{
    return segment_block(&bench->segment, offset);
}

static inline struct region *owner_of(const struct bench *bench, uint64_t offset)
{
    bool own = segment_owner(&bench->segment, offset) == segment_router_slot(&bench->segment);

    return own ? bench->region : bench->pe_region;
}

/* Done with a block, and perhaps with the one whose body it shares. */
static inline void block_end(struct bench *bench, uint64_t offset)
{
    uint64_t holder = block_at(bench, offset)->body;

    require(region_block_size(owner_of(bench, offset), offset) != 0);
    if (holder != 0 && atomic_fetch_sub(&block_at(bench, holder)->refs, 1) == 1)
        region_free(owner_of(bench, holder), holder);
    region_free(owner_of(bench, offset), offset);
}

static inline uint8_t pattern_of(const struct c4p_envelope *envelope)
{
    return (uint8_t)(envelope->method * 7 + 1);
}

static inline bool body_is_whole(const struct bench *bench, uint64_t offset)
{
    const struct c4p_envelope *block = block_at(bench, offset);
    uint64_t holder = block->body != 0 ? block->body : offset;
    const uint8_t *body = bench->segment.base + holder + C4P_ENVELOPE_SIZE;

    for (uint64_t i = 0; i < block->body_size; i++)
        if (body[i] != pattern_of(block))
            return false;
    return true;
}

/* A block in a region, with a pattern for a body that `method` makes. */
static inline uint64_t block_make(struct bench *bench, struct region *region,
                                  struct c4p_envelope envelope)
{
    uint64_t offset = region_alloc(region, C4P_ENVELOPE_SIZE + (size_t)envelope.body_size);

    require(offset != 0);
    envelope.version = C4P_ENVELOPE_VERSION;
    envelope.epoch = TEST_EPOCH;
    memcpy((void *)block_at(bench, offset), (void *)&envelope, C4P_ENVELOPE_SIZE);
    memset(block_at(bench, offset) + 1, pattern_of(&envelope), envelope.body_size);
    return offset;
}

/* A message to many, `number` of which tells it from others. */
static inline struct c4p_envelope to_many(uint32_t source, uint32_t first, uint32_t count,
                                          uint64_t size, uint32_t number)
{
    return (struct c4p_envelope){.kind = C4P_CALL,
                                 .flags = C4P_MULTICAST,
                                 .source = source,
                                 .index = {(int32_t)first, (int32_t)count},
                                 .method = number,
                                 .body_size = size};
}

/* ---- what it does ---- */

static inline struct event *event_add(struct bench *bench, enum event_kind kind)
{
    require(bench->count < MAX_EVENTS);
    bench->events[bench->count] = (struct event){.kind = kind};
    return &bench->events[bench->count++];
}

static inline void event_add_block(struct bench *bench, enum event_kind kind, uint32_t node,
                                   enum collectives_stream stream, uint64_t offset)
{
    struct event *event = event_add(bench, kind);

    event->node = node;
    event->stream = stream;
    memcpy((void *)&event->envelope, (void *)block_at(bench, offset), C4P_ENVELOPE_SIZE);
    event->whole = body_is_whole(bench, offset);
    block_end(bench, offset);
}

static inline void on_send(void *context, uint32_t node, enum collectives_stream stream,
                           uint64_t offset)
{
    event_add_block(context, SENT, node, stream, offset);
}

static inline void on_deliver(void *context, uint64_t offset)
{
    event_add_block(context, DELIVERED, 0, STREAM_DIRECT, offset);
}

static inline void on_release(void *context, uint64_t offset)
{
    struct bench *bench = context;

    bench->released++;
    block_end(bench, offset);
}

static inline void on_resume(void *context, uint32_t node)
{
    event_add(context, RESUMED)->node = node;
}

static inline void on_wake_at(void *context, int64_t at)
{
    ((struct bench *)context)->wake_at = at;
}

static inline void on_broken(void *context, const char *what)
{
    struct bench *bench = context;

    snprintf(bench->broken, sizeof(bench->broken), "%s", what);
}

/* The next thing that it has done, which has to be of this kind. */
static inline const struct event *event_next(struct bench *bench, enum event_kind kind)
{
    const struct event *event = &bench->events[bench->read];

    assert_true(bench->read < bench->count);
    assert_int_equal(event->kind, kind);
    bench->read++;
    return event;
}

static inline void nothing_more(struct bench *bench)
{
    assert_int_equal(bench->read, bench->count);
    bench->read = bench->count = 0;
}

static inline void expect_sent(struct bench *bench, uint32_t node, enum collectives_stream stream,
                               enum c4p_kind kind, uint32_t number)
{
    const struct event *event = event_next(bench, SENT);

    assert_int_equal(event->node, node);
    assert_int_equal(event->stream, stream);
    assert_int_equal(event->envelope.kind, kind);
    assert_int_equal(event->envelope.method, number);
    assert_int_equal(event->envelope.target, C4P_ROUTER | node);
    assert_true(event->whole);
}

/* A message for a PE of this node. */
static inline void expect_delivered(struct bench *bench, uint32_t pe, uint64_t size,
                                    uint32_t number)
{
    const struct event *event = event_next(bench, DELIVERED);

    assert_int_equal(event->envelope.target, pe);
    assert_int_equal(event->envelope.flags, 0);
    assert_int_equal(event->envelope.method, number);
    assert_int_equal(event->envelope.body_size, size);
    assert_true(event->whole);
}

static inline void expect_resumed(struct bench *bench, uint32_t node)
{
    assert_int_equal(event_next(bench, RESUMED)->node, node);
}

/* ---- what comes ---- */

static inline enum collectives_answer offer(struct bench *bench, uint32_t from,
                                            enum collectives_stream stream, uint64_t offset)
{
    struct c4p_envelope envelope;

    require(envelope_check(block_at(bench, offset), segment_room(&bench->segment, offset),
                           TEST_EPOCH, &envelope) == C4P_ENVELOPE_OK);
    return collectives_take(bench->collectives, from, stream, offset, &envelope, bench->now);
}

/* At the time at which it wants to be called, and not before. */
static inline void tick(struct bench *bench)
{
    uint32_t count = bench->count;

    assert_int_not_equal(bench->wake_at, 0);
    collectives_tick(bench->collectives, bench->now);
    assert_true(bench->wake_at > bench->now);
    assert_int_equal(bench->count, count);
    bench->now = bench->wake_at;
    bench->wake_at = 0;
    collectives_tick(bench->collectives, bench->now);
}

/* ---- memory ---- */

/* Of SPARES blocks of some size so many can be had now, nothing else; ALL_SPARES: everything. */
static inline void memory_leave(struct bench *bench, uint32_t free)
{
    if (free == ALL_SPARES) {
        for (uint32_t i = SPARES - bench->kept; i < bench->hogs; i++)
            region_free(bench->region, bench->hog[i]);
        bench->hogs = bench->kept = 0;
        return;
    }
    for (; bench->kept > SPARES - free; bench->kept--)
        region_free(bench->region, bench->hog[SPARES - bench->kept]);
    for (; bench->kept < SPARES - free; bench->kept++)
        require((bench->hog[SPARES - bench->kept - 1] =
                     region_alloc(bench->region, bench->spare_size)) != 0);
}

/* Take all memory of the router: SPARES blocks of this size first. */
static inline void memory_take(struct bench *bench, uint64_t spare_size)
{
    bench->spare_size = spare_size;
    for (bench->hogs = 0; bench->hogs < SPARES; bench->hogs++)
        require((bench->hog[bench->hogs] = region_alloc(bench->region, spare_size)) != 0);
    bench->kept = SPARES;
    /* Whole spans, then what is left of those that smaller blocks share. */
    for (size_t size = REGION_SPAN; size >= C4P_ENVELOPE_SIZE; size -= CACHE_LINE) {
        uint64_t offset;

        while ((offset = region_alloc(bench->region, size)) != 0) {
            require(bench->hogs < MAX_HOGS);
            bench->hog[bench->hogs++] = offset;
        }
    }
    require(region_alloc(bench->region, C4P_ENVELOPE_SIZE) == 0);
}

/*
 * A block is held up for want of memory, whatever there is of it less than `needed` spares: nothing
 * has happened to it or to anything else, and the stream is asked again a moment later. Then there
 * is what it needs, and it is taken.
 */
static inline void held_up_until(struct bench *bench, uint32_t needed, uint32_t from,
                                 enum collectives_stream stream, uint64_t offset)
{
    size_t size = C4P_ENVELOPE_SIZE + (size_t)block_at(bench, offset)->body_size;
    uint8_t *before = malloc(size);

    require(before != NULL);
    memcpy(before, bench->segment.base + offset, size);
    for (uint32_t spares = 0; spares < needed; spares++) {
        uint64_t used;

        memory_leave(bench, spares);
        used = region_used(bench->region);
        assert_int_equal(offer(bench, from, stream, offset), COLLECTIVES_LATER);
        assert_int_equal(region_used(bench->region), used);
        assert_memory_equal(bench->segment.base + offset, before, size);
        nothing_more(bench);
        tick(bench);
        expect_resumed(bench, from);
        nothing_more(bench);
    }
    free(before);
    memory_leave(bench, needed);
    assert_int_equal(offer(bench, from, stream, offset), COLLECTIVES_TAKEN);
    assert_string_equal(bench->broken, "");
}

/* ---- coming and going ---- */

static inline void bench_open(struct bench *bench, uint32_t nodes, uint32_t self)
{
    const struct collectives_host host = {on_send,    on_deliver, on_release, on_resume,
                                          on_wake_at, on_broken,  bench};
    struct router_nodes job = {.job = 1, .count = nodes, .self = self, .nodes = bench->table};
    struct segment_geometry geometry = {.epoch = TEST_EPOCH,
                                        .pes = nodes * NODE_PES,
                                        .first_pe = self * NODE_PES,
                                        .local_pes = NODE_PES,
                                        .node = self,
                                        .nodes = nodes,
                                        .region_size = SEGMENT_MIN_REGION};
    uint32_t first_pes[MAX_NODES + 1] = {0};

    memset(bench, 0, sizeof(*bench));
    bench->nodes = nodes;
    bench->self = self;
    bench->now = 1000;
    for (uint32_t node = 0; node < nodes; node++) {
        bench->table[node] = (struct router_node){.first_pe = node * NODE_PES, .pes = NODE_PES};
        first_pes[node] = node * NODE_PES;
    }
    require(segment_create(&bench->segment, &geometry, first_pes) == 0);
    bench->region = region_create(&bench->segment, segment_router_slot(&bench->segment));
    bench->pe_region = region_create(&bench->segment, 0);
    require(bench->region != NULL && bench->pe_region != NULL);
    bench->collectives = collectives_create(&bench->segment, bench->region, &job, &host);
    require(bench->collectives != NULL);
    for (uint32_t pe = 0; pe < NODE_PES; pe++) {
        atomic_store(&segment_endpoint(&bench->segment, pe)->status, ENDPOINT_STARTED);
        atomic_store(&segment_endpoint(&bench->segment, pe)->inbox, INBOX_ASLEEP);
    }
}

/* Nothing is left: no memory, nothing that it does that nobody has looked at. */
static inline void bench_close(struct bench *bench)
{
    memory_leave(bench, ALL_SPARES);
    nothing_more(bench);
    assert_string_equal(bench->broken, "");
    assert_int_equal(region_used(bench->region), 0);
    assert_int_equal(region_used(bench->pe_region), 0);
    collectives_destroy(bench->collectives);
    region_destroy(bench->region);
    region_destroy(bench->pe_region);
    segment_close(&bench->segment);
}

#endif
