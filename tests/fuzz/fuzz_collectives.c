/*
 * collectives_take() on blocks that other nodes, or PEs, could never send, or could: a node of three
 * takes whatever comes. It never touches a block that was released, and keeps within its segment.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "daemon/router/collectives.h"
#include "proto/tail.h"

#define NODES 5
#define PES 10
#define SELF 1
#define EPOCH 7
#define STEPS 40

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct segment segment;
static struct region *region;

struct input {
    const uint8_t *data;
    size_t left;
};

static uint64_t take(struct input *input, size_t bytes)
{
    uint64_t value = 0;

    if (bytes > input->left)
        bytes = input->left;
    memcpy(&value, input->data, bytes);
    input->data += bytes;
    input->left -= bytes;
    return value;
}

static void block_end(uint64_t offset)
{
    struct c4p_envelope *block;
    uint64_t body;

    if (!segment_offset_valid(&segment, offset) || region_block_size(region, offset) == 0) {
        fprintf(stderr, "a block was given away that is none\n");
        abort();
    }
    block = segment_block(&segment, offset);
    body = block->body;
    if (body != 0 && segment_offset_valid(&segment, body) && region_block_size(region, body) != 0 &&
        atomic_fetch_sub(&segment_block(&segment, body)->refs, 1) == 1)
        region_free(region, body);
    region_free(region, offset);
}

static void on_send(void *context, uint32_t node, enum collectives_stream stream, uint64_t offset)
{
    (void)context, (void)stream;
    if (node >= NODES || node == SELF)
        abort();
    block_end(offset);
}

static void on_deliver(void *context, uint64_t offset)
{
    (void)context;
    block_end(offset);
}

static void on_release(void *context, uint64_t offset)
{
    (void)context;
    block_end(offset);
}

static void on_resume(void *context, uint32_t node)
{
    (void)context;
    if (node >= NODES)
        abort();
}

static void on_wake_at(void *context, int64_t at)
{
    (void)context, (void)at;
}

static void on_broken(void *context, const char *what)
{
    (void)what;
    *(bool *)context = true;
}

static void segment_make(void)
{
    static const uint32_t first_pes[NODES] = {0, 2, 4, 6, 8};
    struct segment_geometry geometry = {.epoch = EPOCH,
                                        .pes = PES,
                                        .first_pe = 2,
                                        .local_pes = 2,
                                        .node = SELF,
                                        .nodes = NODES,
                                        .region_size = SEGMENT_MIN_REGION};

    if (segment_create(&segment, &geometry, first_pes) != 0)
        abort();
}

/* A block of which the envelope's fields, and the tail's, are the input's. */
static uint64_t block_make(struct input *input, struct c4p_envelope *copy)
{
    static const uint8_t kinds[] = {C4P_PARTIAL,   C4P_IDLE, C4P_WAVE, C4P_MARK,
                                    C4P_QUIESCENT, C4P_CALL, 99};
    struct c4p_tail tail = {.total = PES, .count = 2, .origin = 2};
    uint64_t size = take(input, 1) * 16, offset;
    struct c4p_envelope envelope = {.version = C4P_ENVELOPE_VERSION, .epoch = EPOCH};

    if (size > 2048)
        size *= 40;
    offset = region_alloc(region, C4P_ENVELOPE_SIZE + size + C4P_TAIL_SIZE);
    if (offset == 0)
        return 0;
    envelope.body_size = size + C4P_TAIL_SIZE;
    envelope.kind = kinds[take(input, 1) % sizeof(kinds)];
    envelope.flags = (uint16_t)(take(input, 1) & C4P_FLAGS_ALL);
    envelope.source = (uint32_t)take(input, 1) % 12;
    if (envelope.source > PES)
        envelope.source = C4P_ROUTER | (envelope.source - PES);
    envelope.target = C4P_ROUTER | SELF;
    envelope.sequence = (uint32_t)take(input, 1) % 3;
    envelope.args = (uint16_t)take(input, 1) % 2;
    for (unsigned i = 0; i < 3; i++)
        envelope.index[i] = (int8_t)take(input, 1);
    tail.total = take(input, 1);
    tail.count = take(input, 1);
    tail.origin = (uint32_t)take(input, 1);
    tail.placement = (uint8_t)take(input, 1) % 3;
    tail.operation = (uint8_t)take(input, 1) % 11;
    tail.target = (uint8_t)take(input, 1) % 5;
    tail.owner = (uint32_t)take(input, 1);
    tail.pes = (uint32_t)take(input, 1);
    memset(segment.base + offset + C4P_ENVELOPE_SIZE, (int)take(input, 1), size);
    memcpy(segment.base + offset + C4P_ENVELOPE_SIZE + size, &tail, sizeof(tail));
    memcpy((void *)segment_block(&segment, offset), (void *)&envelope, C4P_ENVELOPE_SIZE);
    if (envelope_check(segment_block(&segment, offset), segment_room(&segment, offset), EPOCH,
                       copy) == C4P_ENVELOPE_OK)
        return offset;
    region_free(region, offset);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct router_node nodes[NODES];
    const struct router_nodes job = {.count = NODES, .self = SELF, .nodes = nodes};
    bool broken = false;
    const struct collectives_host host = {on_send,    on_deliver, on_release, on_resume,
                                          on_wake_at, on_broken,  &broken};
    struct input input = {data, size};
    struct collectives *collectives;

    if (segment.base == NULL)
        segment_make();
    for (uint32_t i = 0; i < NODES; i++)
        nodes[i] = (struct router_node){.first_pe = 2 * i, .pes = 2};
    region = region_create(&segment, segment_router_slot(&segment));
    collectives = region ? collectives_create(&segment, region, &job, &host) : NULL;
    if (collectives == NULL)
        abort();
    for (unsigned i = 0; i < STEPS && input.left > 0 && !broken; i++) {
        uint32_t from = (uint32_t)take(&input, 1) % (NODES + 1);
        enum collectives_stream stream = take(&input, 1) % 2 ? STREAM_RELAY : STREAM_DIRECT;
        struct c4p_envelope envelope;
        uint64_t offset = block_make(&input, &envelope);

        if (offset == 0)
            continue;
        if (collectives_take(collectives, from, stream, offset, &envelope, i) == COLLECTIVES_LATER)
            block_end(offset);
        collectives_tick(collectives, i);
    }
    collectives_destroy(collectives);
    region_destroy(region);
    atomic_store(&segment_endpoint(&segment, segment_router_slot(&segment))->used, 0);
    return 0;
}
