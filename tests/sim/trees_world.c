#include "tests/sim/trees_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/inbox.h"

#define EPOCH 3

/* A message between two nodes, on its way: the block behind it, without what is only local. */
struct frame {
    struct c4p_envelope envelope;
    enum collectives_stream stream;
};

struct item {
    struct item *next;
    uint64_t offset;
    struct frame *frame; /* NULL: a block of this node */
};

struct lane {
    struct queue queue;
    bool resumed, held; /* held: the first has memory, and must wait for collectives_host.resume */
};

_Noreturn void trees_fail(struct trees *trees, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(trees->failure, sizeof(trees->failure), format, arguments);
    va_end(arguments);
    longjmp(*trees->out, 1);
}

uint64_t trees_chance(struct trees *trees, uint64_t below)
{
    return sim_random_below(trees->sim, below);
}

static int64_t now_ms(const struct trees *trees)
{
    return 1 + sim_now(trees->sim) / MILLISECOND;
}

/* ---- queues ---- */

static void queue_add(struct queue *queue, uint64_t offset, struct frame *frame)
{
    struct item *item = calloc(1, sizeof(*item));

    if (item == NULL)
        abort();
    item->offset = offset;
    item->frame = frame;
    if (queue->first == NULL)
        queue->last = &queue->first;
    *queue->last = item;
    queue->last = &item->next;
}

static void queue_drop(struct queue *queue)
{
    struct item *item = queue->first;

    queue->first = item->next;
    free(item->frame);
    free(item);
}

/* ---- blocks ---- */

struct node *trees_node_of(struct trees *trees, uint32_t pe)
{
    uint32_t node = 0;

    while (trees->first_pes[node + 1] <= pe)
        node++;
    return &trees->node[node];
}

static struct region *owner_of(struct node *node, uint64_t offset)
{
    uint32_t slot = segment_owner(&node->segment, offset);

    return slot < node->pes ? node->pe[slot].region : node->region;
}

void trees_release(struct node *node, uint64_t offset)
{
    struct c4p_envelope *block = segment_block(&node->segment, offset);
    uint64_t holder = block->body;

    if (region_block_size(owner_of(node, offset), offset) == 0)
        trees_fail(node->trees, "node %u: a block is given back that is none", node->number);
    if (holder != 0 && atomic_fetch_sub(&segment_block(&node->segment, holder)->refs, 1) == 1)
        region_free(owner_of(node, holder), holder);
    region_free(owner_of(node, offset), offset);
}

const uint8_t *trees_body(const struct node *node, uint64_t offset)
{
    const struct c4p_envelope *block = segment_block(&node->segment, offset);
    uint64_t holder = block->body != 0 ? block->body : offset;

    return node->segment.base + holder + C4P_ENVELOPE_SIZE;
}

uint64_t trees_block(struct node *node, struct region *region, const struct c4p_envelope *like)
{
    uint64_t offset = region_alloc(region, C4P_ENVELOPE_SIZE + (size_t)like->body_size);
    struct c4p_envelope *block;

    if (offset == 0)
        return 0;
    block = segment_block(&node->segment, offset);
    memcpy((void *)block, (const void *)like, C4P_ENVELOPE_SIZE);
    block->version = C4P_ENVELOPE_VERSION;
    block->epoch = EPOCH;
    return offset;
}

/* ---- routers ---- */

static void on_send(void *context, uint32_t to, enum collectives_stream stream, uint64_t offset)
{
    struct node *node = context;
    const struct c4p_envelope *block = segment_block(&node->segment, offset);
    struct frame *frame = malloc(sizeof(*frame) + block->body_size);

    if (to >= node->trees->nodes || to == node->number || frame == NULL)
        trees_fail(node->trees, "node %u sends to node %u", node->number, to);
    memcpy((void *)&frame->envelope, (const void *)block, C4P_ENVELOPE_SIZE);
    memcpy(frame + 1, trees_body(node, offset), block->body_size);
    frame->envelope.next = frame->envelope.body = 0;
    atomic_store(&frame->envelope.refs, 0);
    frame->stream = stream;
    trees_release(node, offset);
    /* The two streams are two nodes to the simulator, which keeps the order of each pair. */
    sim_send(node->trees->sim, 2 * node->number + stream, 2 * to + stream, frame);
    free(frame);
}

static void on_deliver(void *context, uint64_t offset)
{
    struct node *node = context;
    uint32_t target = segment_block(&node->segment, offset)->target;

    if (target - node->first >= node->pes)
        trees_fail(node->trees, "node %u delivers to PE %u", node->number, target);
    trees_deliver(node, target, offset);
}

static void on_release(void *context, uint64_t offset)
{
    trees_release(context, offset);
}

static void on_resume(void *context, uint32_t from)
{
    struct node *node = context;

    node->lanes[2 * from].resumed = node->lanes[2 * from + 1].resumed = true;
}

static void on_wake_at(void *context, int64_t at)
{
    struct node *node = context;

    sim_wake_at(node->trees->sim, 2 * node->number, (at - 1) * MILLISECOND);
}

static void on_broken(void *context, const char *what)
{
    struct node *node = context;

    trees_fail(node->trees, "node %u: %s", node->number, what);
}

/* What a stream brings, or PEs give: false: it has to wait. */
static bool block_route(struct node *node, uint32_t from, enum collectives_stream stream,
                        uint64_t offset)
{
    struct c4p_envelope envelope;

    if (envelope_check(segment_block(&node->segment, offset), segment_room(&node->segment, offset),
                       EPOCH, &envelope) != C4P_ENVELOPE_OK)
        trees_fail(node->trees, "node %u: an envelope is malformed", node->number);
    if (!(envelope.flags & C4P_MULTICAST) && envelope.target < node->trees->pes) {
        if (trees_node_of(node->trees, envelope.target) != node)
            on_send(node, trees_node_of(node->trees, envelope.target)->number, STREAM_DIRECT,
                    offset);
        else
            trees_deliver(node, envelope.target, offset);
        return true;
    }
    if (!(envelope.flags & C4P_MULTICAST) && envelope.target != (C4P_ROUTER | node->number))
        trees_fail(node->trees, "node %u got what is for %x", node->number, envelope.target);
    return collectives_take(node->collectives, from, stream, offset, &envelope,
                            now_ms(node->trees)) == COLLECTIVES_TAKEN;
}

static uint64_t frame_land(struct node *node, const struct frame *frame)
{
    uint64_t offset = trees_block(node, node->region, &frame->envelope);

    if (offset == 0) {
        collectives_make_room(node->collectives);
        offset = trees_block(node, node->region, &frame->envelope);
    }
    if (offset != 0)
        memcpy(node->segment.base + offset + C4P_ENVELOPE_SIZE, frame + 1,
               frame->envelope.body_size);
    return offset;
}

static void node_look_again(void *context, unsigned node);

/* Once, whatever waits for it: each look can find again that it has to wait. */
static void look_later(struct node *node)
{
    if (!node->look_due)
        sim_call_at(node->trees->sim, sim_now(node->trees->sim) + MILLISECOND, node_look_again,
                    node->trees, node->number);
    node->look_due = true;
}

/* As far as it goes. */
static bool lane_work(struct node *node, uint32_t from, enum collectives_stream stream)
{
    struct lane *lane = &node->lanes[2 * from + stream];
    bool any = false;

    while (lane->queue.first != NULL && (!lane->held || lane->resumed)) {
        struct item *item = lane->queue.first;
        uint64_t offset;

        if (item->offset == 0 && (item->offset = frame_land(node, item->frame)) == 0) {
            /* Memory comes back without a word: look again later. */
            look_later(node);
            return any;
        }
        offset = item->offset;
        lane->resumed = lane->held = false;
        if (!block_route(node, from, stream, offset)) {
            node->trees->held_up++;
            lane->held = true;
            continue;
        }
        queue_drop(&lane->queue);
        any = true;
    }
    return any;
}

static void node_work(struct node *node)
{
    bool any = true;

    while (any) {
        any = false;
        for (uint32_t from = 0; from < node->trees->nodes; from++)
            for (unsigned stream = 0; stream < 2; stream++)
                any |= lane_work(node, from, stream);
    }
}

void trees_offer(struct node *node, uint64_t offset)
{
    queue_add(&node->lanes[2 * node->number].queue, offset, NULL);
}

/* ---- looking ---- */

static void node_look(void *context, unsigned node)
{
    node_work(&((struct trees *)context)->node[node]);
}

static void node_look_again(void *context, unsigned node)
{
    ((struct trees *)context)->node[node].look_due = false;
    node_look(context, node);
}

/* ---- PEs ---- */

static bool all_asleep(const struct node *node)
{
    for (uint32_t i = 0; i < node->pes; i++)
        if (atomic_load(&segment_endpoint(&node->segment, i)->inbox) != INBOX_ASLEEP)
            return false;
    return true;
}

/* Nothing left: fall asleep, and tell the router if all others sleep, as quiescence.c does. */
static void pe_sleep(struct node *node, uint32_t pe)
{
    struct c4p_envelope like = {
        .kind = C4P_IDLE, .source = pe, .target = C4P_ROUTER | node->number};
    const struct trees_program *program = &node->trees->program;
    struct trees_pe *its = &node->pe[pe - node->first];
    uint64_t offset;

    program->rest(program->context, node, pe);
    its->busy = false;
    atomic_store(&segment_endpoint(&node->segment, pe - node->first)->inbox, INBOX_ASLEEP);
    if (!all_asleep(node) || atomic_exchange(&segment_header(&node->segment)->idle_told, 1) != 0)
        return;
    offset = trees_block(node, node->pe[pe - node->first].region, &like);
    if (offset == 0)
        trees_fail(node->trees, "PE %u has no memory to tell that it sleeps", pe);
    trees_offer(node, offset);
}

static void pe_wake(void *context, unsigned pe)
{
    struct trees *trees = context;
    struct node *node = trees_node_of(trees, pe);
    struct trees_pe *its = &node->pe[pe - node->first];
    uint64_t offset;

    if (its->mail.first != NULL) {
        offset = its->mail.first->offset;
        queue_drop(&its->mail);
        trees->program.handle(trees->program.context, node, pe, offset);
    }
    if (its->mail.first == NULL)
        pe_sleep(node, pe);
    else
        sim_call_at(trees->sim, sim_now(trees->sim) + (int64_t)trees_chance(trees, MILLISECOND),
                    pe_wake, trees, pe);
    /* The router looks now, or has something else to do. */
    if (trees_chance(trees, 2) == 0)
        node_work(node);
    else
        sim_call_at(trees->sim, sim_now(trees->sim) + (int64_t)trees_chance(trees, MILLISECOND),
                    node_look, trees, node->number);
}

void trees_deliver(struct node *node, uint32_t pe, uint64_t offset)
{
    struct trees_pe *its = &node->pe[pe - node->first];

    queue_add(&its->mail, offset, NULL);
    atomic_store(&segment_endpoint(&node->segment, pe - node->first)->inbox, 0);
    if (its->busy)
        return;
    its->busy = true;
    sim_call_at(node->trees->sim,
                sim_now(node->trees->sim) + (int64_t)trees_chance(node->trees, 3 * MILLISECOND),
                pe_wake, node->trees, pe);
}

/* ---- what the simulator asks for ---- */

static void *on_start(void *context, unsigned node, unsigned life)
{
    (void)life;
    return &((struct trees *)context)->node[node / 2];
}

static void on_end(void *context, unsigned node, void *state)
{
    (void)context, (void)node, (void)state;
}

static void *frame_copy(const void *message)
{
    const struct frame *frame = message;
    size_t size = sizeof(*frame) + frame->envelope.body_size;
    void *copy = malloc(size);

    if (copy == NULL)
        abort();
    return memcpy(copy, message, size);
}

static void on_receive(void *context, unsigned to, void *state, unsigned from, const void *message)
{
    struct node *node = state;

    (void)context, (void)to;
    queue_add(&node->lanes[from].queue, 0, frame_copy(message));
    node_work(node);
}

static void on_wake(void *context, unsigned number, void *state)
{
    struct node *node = state;

    (void)number;
    collectives_tick(node->collectives, now_ms(context));
    node_work(node);
}

/* Memory of a router is taken, for a while. */
static void hog_turn(void *context, unsigned number)
{
    struct trees *trees = context;
    struct node *node = &trees->node[number];

    if (node->hog != 0)
        region_free(node->region, node->hog);
    node->hog = 0;
    if (trees->over)
        return;
    if (trees_chance(trees, 2) == 0)
        node->hog = region_alloc(node->region, (size_t)(SEGMENT_MIN_REGION - (256u << 10) -
                                                        trees_chance(trees, 1u << 20)));
    node_work(node);
    sim_call_at(trees->sim,
                sim_now(trees->sim) + MILLISECOND + (int64_t)trees_chance(trees, 40 * MILLISECOND),
                hog_turn, trees, number);
}

void trees_take_memory(struct trees *trees)
{
    for (uint32_t i = 0; i < trees->nodes; i++)
        sim_call_at(trees->sim, (int64_t)trees_chance(trees, 50 * MILLISECOND), hog_turn, trees, i);
}

/* ---- coming and going ---- */

static void node_open(struct trees *trees, uint32_t number)
{
    const struct collectives_host host = {.send = on_send,
                                          .deliver = on_deliver,
                                          .release = on_release,
                                          .resume = on_resume,
                                          .wake_at = on_wake_at,
                                          .broken = on_broken,
                                          .context = &trees->node[number]};
    const struct router_nodes nodes = {
        .job = 1, .count = trees->nodes, .self = number, .nodes = trees->table};
    struct node *node = &trees->node[number];
    struct segment_geometry geometry = {.epoch = EPOCH,
                                        .pes = trees->pes,
                                        .first_pe = node->first,
                                        .local_pes = node->pes,
                                        .node = number,
                                        .nodes = trees->nodes,
                                        .region_size = SEGMENT_MIN_REGION};

    if (segment_create(&node->segment, &geometry, trees->first_pes) != 0)
        abort();
    node->region = region_create(&node->segment, segment_router_slot(&node->segment));
    node->lanes = calloc(2 * trees->nodes, sizeof(*node->lanes));
    node->collectives = collectives_create(&node->segment, node->region, &nodes, &host);
    if (node->region == NULL || node->lanes == NULL || node->collectives == NULL)
        abort();
    for (uint32_t i = 0; i < node->pes; i++) {
        struct segment_endpoint *endpoint = segment_endpoint(&node->segment, i);

        node->pe[i].region = region_create(&node->segment, i);
        if (node->pe[i].region == NULL)
            abort();
        atomic_store(&endpoint->status, ENDPOINT_STARTED);
        atomic_store(&endpoint->inbox, INBOX_ASLEEP);
    }
}

static void queue_clear(struct queue *queue)
{
    while (queue->first != NULL)
        queue_drop(queue);
}

static void node_close(struct trees *trees, struct node *node)
{
    for (uint32_t i = 0; i < 2 * trees->nodes; i++)
        queue_clear(&node->lanes[i].queue);
    free(node->lanes);
    collectives_destroy(node->collectives);
    region_destroy(node->region);
    for (uint32_t i = 0; i < node->pes; i++) {
        queue_clear(&node->pe[i].mail);
        region_destroy(node->pe[i].region);
    }
    segment_close(&node->segment);
}

/* Which nodes there are, and their PEs; the home may have none. */
static void trees_shape(struct trees *trees)
{
    trees->nodes = 3 + (uint32_t)trees_chance(trees, trees_chance(trees, 3) ? 10 : MAX_NODES - 2);
    for (uint32_t i = 0; i < trees->nodes; i++) {
        struct node *node = &trees->node[i];

        node->trees = trees;
        node->number = i;
        node->first = trees->pes;
        node->pes = i == 0 && trees_chance(trees, 3) == 0
                        ? 0
                        : 1 + (uint32_t)trees_chance(trees, NODE_PES_MAX);
        trees->table[i] = (struct router_node){.first_pe = node->first, .pes = node->pes};
        trees->first_pes[i] = trees->pes;
        trees->pes += node->pes;
    }
    trees->first_pes[trees->nodes] = trees->pes;
}

struct trees *trees_create(uint64_t seed, const struct trees_program *program)
{
    struct trees *trees = calloc(1, sizeof(*trees));
    struct sim_settings settings = {
        .nodes = 2 * MAX_NODES,
        .seed = seed,
        .network = {.delay_least = MILLISECOND / 10,
                    .delay_mean = (int64_t)(1 + seed % 5) * MILLISECOND,
                    .slow = SIM_MILLION / 50,
                    .slow_delay = 100 * MILLISECOND,
                    .ordered = true},
        .owner = {.start = on_start,
                  .end = on_end,
                  .receive = on_receive,
                  .wake = on_wake,
                  .message_copy = frame_copy,
                  .message_free = free},
    };

    if (trees == NULL)
        abort();
    settings.owner.context = trees;
    trees->program = *program;
    trees->sim = sim_create(&settings);
    trees_shape(trees);
    for (uint32_t i = 0; i < trees->nodes; i++)
        node_open(trees, i);
    for (uint32_t i = 0; i < 2 * trees->nodes; i++)
        sim_start(trees->sim, i);
    return trees;
}

void trees_destroy(struct trees *trees)
{
    sim_destroy(trees->sim);
    for (uint32_t i = 0; i < trees->nodes; i++)
        node_close(trees, &trees->node[i]);
    free(trees);
}

void trees_check_memory(struct trees *trees)
{
    for (uint32_t i = 0; i < trees->nodes; i++) {
        struct node *node = &trees->node[i];

        if (region_used(node->region) != 0)
            trees_fail(trees, "the router of node %u has %llu bytes left", i,
                       (unsigned long long)region_used(node->region));
        for (uint32_t k = 0; k < node->pes; k++)
            if (region_used(node->pe[k].region) != 0)
                trees_fail(trees, "PE %u has bytes left", node->first + k);
    }
}
