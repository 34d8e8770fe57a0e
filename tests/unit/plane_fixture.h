/*
 * A job on several nodes in one process: a plane for all of them or for each one, a router for each
 * node, and PEs that send and take blocks by hand. What routers tell is kept.
 */
#ifndef C4P_TESTS_PLANE_FIXTURE_H
#define C4P_TESTS_PLANE_FIXTURE_H

#include "tests/unit/unit.h"

#include <event2/event.h>
#include <zmq.h>

#include "daemon/router/router.h"
#include "proto/clock.h"
#include "proto/frame.h"
#include "proto/inbox.h"
#include "proto/region.h"

#define MAX_NODES 4
#define NODE_PES 2 /* of each */
#define TEST_JOB 4711
#define DEADLINE_MS 20000

struct host {
    struct plane *plane; /* that of all, or its own */
    struct node_key key;
    uint8_t secret_key[NODE_KEY_SIZE];
    struct router *router;
    struct segment segment; /* the PEs' view */
    struct region *regions[NODE_PES];
    struct region_returns returns;
    uint64_t chain[NODE_PES]; /* messages that a PE has taken and not read */
    struct router_nodes nodes;
    unsigned corrupted, lost[MAX_NODES];
    char why[320];
};

struct bench {
    struct event_base *base;
    uint32_t count;
    struct host hosts[MAX_NODES];
    struct router_node table[MAX_NODES];
    uint64_t region_size;
    bool many;            /* planes: one each, over TCP, in one context */
    void *zmq;            /* then it is ours, and who may come is told here */
    pthread_t doorkeeper; /* ... by this one */
    void *door;
};

static inline void on_started(void *context, uint32_t pe)
{
    (void)context, (void)pe;
}

static inline void on_exited(void *context, uint32_t pe, int32_t code, const char *text,
                             size_t size)
{
    (void)context, (void)pe, (void)code, (void)text, (void)size;
}

static inline void on_corrupted(void *context, const char *what)
{
    struct host *host = context;

    host->corrupted++;
    snprintf(host->why, sizeof(host->why), "%s", what);
}

static inline void on_lost(void *context, uint32_t node, const char *why)
{
    struct host *host = context;

    require(node < MAX_NODES);
    host->lost[node]++;
    snprintf(host->why, sizeof(host->why), "%s", why);
}

/* ---- who lets keys in: everybody, by name ---- */

static inline void *doorkeeper_run(void *argument)
{
    void *door = argument;

    for (;;) {
        char frames[12][64], user[41];
        int count = 0, more = 1;
        size_t size = sizeof(more);

        while (more && count < 12) {
            memset(frames[count], 0, sizeof(frames[count]));
            if (zmq_recv(door, frames[count], sizeof(frames[count]), 0) < 0)
                return NULL;
            zmq_getsockopt(door, ZMQ_RCVMORE, &more, &size);
            count++;
        }
        /* delimiter... of a REP there is none: version, id, domain, address, identity, CURVE, key */
        if (count == 1)
            return NULL;
        require(count == 7 && strcmp(frames[5], "CURVE") == 0);
        zmq_z85_encode(user, (uint8_t *)frames[6], NODE_KEY_SIZE);
        zmq_send(door, "1.0", 3, ZMQ_SNDMORE);
        zmq_send(door, frames[1], strlen(frames[1]), ZMQ_SNDMORE);
        zmq_send(door, "200", 3, ZMQ_SNDMORE);
        zmq_send(door, "", 0, ZMQ_SNDMORE);
        zmq_send(door, user, 40, ZMQ_SNDMORE);
        zmq_send(door, "", 0, 0);
    }
}

static inline void doorkeeper_start(struct bench *bench)
{
    require((bench->zmq = zmq_ctx_new()) != NULL);
    require((bench->door = zmq_socket(bench->zmq, ZMQ_REP)) != NULL);
    require(zmq_bind(bench->door, "inproc://zeromq.zap.01") == 0);
    bench->doorkeeper = thread_start(doorkeeper_run, bench->door);
}

static inline void doorkeeper_stop(struct bench *bench)
{
    void *bell = zmq_socket(bench->zmq, ZMQ_REQ);

    require(bell != NULL && zmq_connect(bell, "inproc://zeromq.zap.01") == 0);
    require(zmq_send(bell, "", 0, 0) == 0);
    thread_join(bench->doorkeeper);
    zmq_setsockopt(bell, ZMQ_LINGER, &(int){0}, sizeof(int));
    zmq_close(bell);
    zmq_close(bench->door);
    zmq_ctx_term(bench->zmq);
}

static inline void key_make(struct node_key *key, uint8_t *secret_key)
{
    char public_text[41], secret_text[41];

    require(zmq_curve_keypair(public_text, secret_text) == 0);
    require(zmq_z85_decode(key->bytes, public_text) != NULL);
    require(zmq_z85_decode(secret_key, secret_text) != NULL);
}

/* ---- coming and going ---- */

static inline void host_plane(struct bench *bench, uint32_t node)
{
    struct host *host = &bench->hosts[node];
    struct plane_settings settings = {.base = bench->base};
    char error[PLANE_ERROR_SIZE];

    if (bench->many) {
        key_make(&host->key, host->secret_key);
        settings.zmq = bench->zmq;
        settings.address = "tcp://127.0.0.1:*";
        settings.key = host->key;
        settings.secret_key = host->secret_key;
    }
    host->plane = bench->many || node == 0 ? plane_create(&settings, error) : bench->hosts[0].plane;
    require(host->plane != NULL);
    bench->table[node] = (struct router_node){
        .key = *plane_key(host->plane), .first_pe = node * NODE_PES, .pes = NODE_PES};
    snprintf(bench->table[node].address, sizeof(bench->table[node].address), "%s",
             plane_address(host->plane));
}

static inline void host_router(struct bench *bench, uint32_t node)
{
    struct host *host = &bench->hosts[node];
    const struct router_listener listener = {on_started, on_exited, on_corrupted, on_lost, host};
    struct segment_geometry geometry = {
        .epoch = TEST_EPOCH,
        .pes = bench->count * NODE_PES,
        .first_pe = node * NODE_PES,
        .local_pes = NODE_PES,
        .node = node,
        .nodes = bench->count,
        .cores = 2,
        .region_size = bench->region_size,
    };

    host->nodes = (struct router_nodes){.job = TEST_JOB,
                                        .secret = "fifteen letters",
                                        .count = bench->count,
                                        .self = node,
                                        .nodes = bench->table};
    host->router = router_create(host->plane, &geometry, &host->nodes, &listener);
    require(host->router != NULL);
    require(segment_map(&host->segment, dup(router_segment_fd(host->router)),
                        dup(router_wake_fd(host->router))) == 0);
    for (uint32_t pe = 0; pe < NODE_PES; pe++)
        require((host->regions[pe] = region_create(&host->segment, pe)) != NULL);
    require(region_returns_init(&host->returns, &host->segment) == 0);
}

/* The planes; their addresses can still be changed in the table. */
static inline void bench_prepare(struct bench *bench, uint32_t count, bool many,
                                 uint64_t region_size)
{
    memset(bench, 0, sizeof(*bench));
    require((bench->base = event_base_new()) != NULL);
    bench->count = count;
    bench->many = many;
    bench->region_size = region_size;
    if (many)
        doorkeeper_start(bench);
    for (uint32_t node = 0; node < count; node++)
        host_plane(bench, node);
}

static inline void bench_open(struct bench *bench, uint32_t count, bool many, uint64_t region_size)
{
    bench_prepare(bench, count, many, region_size);
    for (uint32_t node = 0; node < count; node++)
        host_router(bench, node);
}

static inline void host_close(struct host *host)
{
    if (host->router == NULL)
        return;
    for (uint32_t pe = 0; pe < NODE_PES; pe++)
        region_destroy(host->regions[pe]);
    region_returns_free(&host->returns);
    segment_close(&host->segment);
    router_destroy(host->router);
    host->router = NULL;
}

static inline void bench_close(struct bench *bench)
{
    for (uint32_t node = 0; node < bench->count; node++)
        host_close(&bench->hosts[node]);
    for (uint32_t node = 0; node < bench->count; node++)
        if (bench->many || node == 0)
            plane_destroy(bench->hosts[node].plane);
    if (bench->many)
        doorkeeper_stop(bench);
    event_base_free(bench->base);
}

/* Until something is true: the main loop goes on meanwhile. */
#define await(bench, condition)                                                                    \
    do {                                                                                           \
        int64_t await_end = clock_ms() + (int64_t)stress(DEADLINE_MS);                             \
        while (!(condition)) {                                                                     \
            require(clock_ms() < await_end);                                                       \
            event_base_loop((bench)->base, EVLOOP_NONBLOCK);                                       \
            usleep(200);                                                                           \
        }                                                                                          \
    } while (0)

/* ---- PEs ---- */

static inline struct host *host_of(struct bench *bench, uint32_t pe)
{
    return &bench->hosts[pe / NODE_PES];
}

static inline struct c4p_envelope envelope_to(uint32_t source, uint32_t target, uint64_t size)
{
    return (struct c4p_envelope){
        .version = C4P_ENVELOPE_VERSION,
        .kind = C4P_CALL,
        .epoch = TEST_EPOCH,
        .source = source,
        .target = target,
        .body_size = size,
    };
}

/* A block of a PE, whose body is a pattern that its size and `seed` make. 0: its region is full. */
static inline uint64_t block_make(struct bench *bench, uint32_t pe, uint32_t target, uint64_t size,
                                  uint32_t seed)
{
    struct host *host = host_of(bench, pe);
    struct c4p_envelope envelope = envelope_to(pe, target, size);
    uint64_t offset = region_alloc(host->regions[pe % NODE_PES], C4P_ENVELOPE_SIZE + size);

    if (offset == 0)
        return 0;
    envelope.sequence = seed;
    memcpy((void *)segment_block(&host->segment, offset), (void *)&envelope, C4P_ENVELOPE_SIZE);
    memset(host->segment.base + offset + C4P_ENVELOPE_SIZE, (int)(seed * 7 + size), size);
    return offset;
}

static inline void block_push(struct bench *bench, uint32_t pe, uint64_t offset)
{
    struct host *host = host_of(bench, pe);

    inbox_push(&host->segment, segment_router_slot(&host->segment), offset);
}

static inline void message_send(struct bench *bench, uint32_t pe, uint32_t target, uint64_t size,
                                uint32_t seed)
{
    uint64_t offset = block_make(bench, pe, target, size, seed);

    require(offset != 0);
    block_push(bench, pe, offset);
}

/* The next message of a PE; it stays until message_release(). */
static inline uint64_t message_await(struct bench *bench, uint32_t pe)
{
    struct host *host = host_of(bench, pe);
    uint64_t *chain = &host->chain[pe % NODE_PES], offset;

    if (*chain == 0)
        await(bench, (*chain = inbox_take(&host->segment, pe % NODE_PES)) != 0);
    offset = *chain;
    *chain = segment_block(&host->segment, offset)->next;
    return offset;
}

static inline void message_release(struct bench *bench, uint32_t pe, uint64_t offset)
{
    struct host *host = host_of(bench, pe);
    uint64_t holder = segment_block(&host->segment, offset)->body;

    if (holder != 0 && atomic_fetch_sub(&segment_block(&host->segment, holder)->refs, 1) == 1)
        region_returns_add(&host->returns, holder, true);
    region_returns_add(&host->returns, offset, true);
}

static inline bool body_is_whole(const struct host *host, uint64_t offset)
{
    const struct c4p_envelope *block = segment_block(&host->segment, offset);
    uint64_t holder = block->body != 0 ? block->body : offset;
    const uint8_t *body = host->segment.base + holder + C4P_ENVELOPE_SIZE;
    uint8_t byte = (uint8_t)(block->sequence * 7 + block->body_size);

    return block->body_size == 0 ||
           (body[0] == byte && memcmp(body, body + 1, block->body_size - 1) == 0);
}

/* The next message of a PE is this one. */
static inline void message_expect(struct bench *bench, uint32_t pe, uint32_t source, uint64_t size,
                                  uint32_t seed)
{
    struct host *host = host_of(bench, pe);
    uint64_t offset = message_await(bench, pe);
    const struct c4p_envelope *block = segment_block(&host->segment, offset);

    assert_int_equal(block->source, source);
    assert_int_equal(block->target, pe);
    assert_int_equal(block->sequence, seed);
    assert_int_equal(block->body_size, size);
    assert_true(body_is_whole(host, offset));
    message_release(bench, pe, offset);
}

static inline uint64_t region_left(struct bench *bench, uint32_t pe)
{
    struct region *region = host_of(bench, pe)->regions[pe % NODE_PES];

    region_reclaim(region);
    return region_used(region);
}

/* ---- nodes that are played ---- */

struct stranger {
    void *socket;
    struct frame_header header;
};

/* Somebody who speaks to host 0 under a key, and claims to be node 1. */
static inline void stranger_open(struct bench *bench, struct stranger *stranger,
                                 const struct node_key *key, const uint8_t *secret_key)
{
    void *socket = zmq_socket(bench->zmq, ZMQ_PUSH);

    require(socket != NULL);
    require(zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, &bench->hosts[0].key, 32) == 0);
    require(zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, key, 32) == 0);
    require(zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret_key, 32) == 0);
    require(zmq_setsockopt(socket, ZMQ_LINGER, &(int){0}, sizeof(int)) == 0);
    require(zmq_connect(socket, plane_address(bench->hosts[0].plane)) == 0);
    *stranger = (struct stranger){.socket = socket,
                                  .header = {.version = FRAME_VERSION,
                                             .type = FRAME_DATA,
                                             .epoch = TEST_EPOCH,
                                             .job = TEST_JOB,
                                             .from = 1,
                                             .secret = "fifteen letters"}};
}

static inline void stranger_send(struct stranger *stranger, const void *data, size_t size)
{
    uint8_t frame[512];

    memcpy(frame, &stranger->header, sizeof(stranger->header));
    require(size <= sizeof(frame) - sizeof(stranger->header));
    if (size > 0)
        memcpy(frame + sizeof(stranger->header), data, size);
    require(zmq_send(stranger->socket, frame, sizeof(stranger->header) + size, 0) >= 0);
}

static inline void stranger_say(struct stranger *stranger, uint32_t source, uint32_t target)
{
    struct c4p_envelope envelope = envelope_to(source, target, 0);

    stranger_send(stranger, &envelope, sizeof(envelope));
    stranger->header.position += sizeof(envelope);
}

#endif
