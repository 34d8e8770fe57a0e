/*
 * What the routers of a job do together, in the simulator: multicasts, reductions and quiescence over
 * 3 to 40 nodes, with delays of any length between any two. Only messages of one stream between two
 * nodes keep their order. Segments, regions and everything above them are the real ones; PEs and
 * streams are played. Memory is taken from routers and given back at any time.
 *
 * A program goes in rounds. PEs handle messages and send others, to one or to many, small and large,
 * and contribute to reductions, until all that there was to send is sent; then quiescence has to be
 * told, once and not before, and the next round begins. What must be true: each message arrives once
 * at each PE that it is for, those of one sender in the order of sending; every reduction has the
 * right result, everywhere, once; no memory stays taken.
 *
 *   sim_trees                       the short form
 *   sim_trees --seeds 200           ... with more seeds
 *   sim_trees --seed N              one of them again, with its figures
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/router/collectives.h"
#include "proto/inbox.h"
#include "proto/tail.h"
#include "tests/sim/scenarios.h"
#include "tests/sim/sim.h"

#define MAX_NODES 40
#define NODE_PES_MAX 3
#define MAX_PES (MAX_NODES * NODE_PES_MAX)
#define EPOCH 3
#define ROUNDS 4
#define ROUND_REDUCTIONS 6 /* at most */
#define REDUCTIONS_MAX (ROUNDS * ROUND_REDUCTIONS)
#define MILLISECOND (SIM_SECOND / 1000)
#define SECRET_COLLECTION 77
#define RESULT_TO_ALL(sequence) ((sequence) % 2 == 0)
#define LARGEST 60000

/* A message between two nodes, on its way: the block behind it, without what is only local. */
struct frame {
    struct c4p_envelope envelope;
    enum collectives_stream stream;
};

/* What waits, in order: offsets, or frames. */
struct item {
    struct item *next;
    uint64_t offset;
    struct frame *frame;
};

struct queue {
    struct item *first, **last;
};

struct lane {
    struct queue queue;
    bool resumed, held; /* held: the first has memory, and must wait for collectives_host.resume */
};

struct pe {
    struct region *region;
    struct queue mail;
    uint32_t serial; /* of what it sends */
    uint32_t *seen;  /* by sender */
    uint32_t contributions, reduced;
    uint32_t budget; /* messages that it may still send in this round */
    bool busy;
};

struct world;

struct node {
    struct world *world;
    uint32_t number, first, pes;
    struct segment segment;
    struct region *region;
    struct collectives *collectives;
    struct lane *lanes; /* of other nodes: 2 each; of its own: what PEs give to the router */
    struct pe pe[NODE_PES_MAX];
    bool look_due;
    uint64_t hog; /* memory that is taken away for a while */
};

struct world {
    struct sim *sim;
    uint64_t seed;
    uint32_t nodes, pes;
    uint32_t first_pes[MAX_NODES + 1];
    struct router_node table[MAX_NODES];
    struct node node[MAX_NODES];
    uint64_t expected, handled; /* messages for PEs */
    uint64_t multicasts, held_up;
    uint32_t round, quiet;          /* rounds begun, and ended */
    bool ended;                     /* PE 0 was told that nothing will come any more */
    uint32_t due;                   /* contributions of each PE, until now */
    uint32_t parts[REDUCTIONS_MAX]; /* contributions that are in routers' hands, by sequence */
    char failure[320];
    jmp_buf *out;
};

_Noreturn static void fail(struct world *world, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(world->failure, sizeof(world->failure), format, arguments);
    va_end(arguments);
    longjmp(*world->out, 1);
}

static uint64_t chance(struct world *world, uint64_t below)
{
    return sim_random_below(world->sim, below);
}

static int64_t now_ms(const struct world *world)
{
    return 1 + sim_now(world->sim) / MILLISECOND;
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

static struct node *node_of(struct world *world, uint32_t pe)
{
    uint32_t node = 0;

    while (world->first_pes[node + 1] <= pe)
        node++;
    return &world->node[node];
}

static struct region *owner_of(struct node *node, uint64_t offset)
{
    uint32_t slot = segment_owner(&node->segment, offset);

    return slot < node->pes ? node->pe[slot].region : node->region;
}

/* Done with a block, and perhaps with the one whose body it shares. */
static void block_release(struct node *node, uint64_t offset)
{
    struct c4p_envelope *block = segment_block(&node->segment, offset);
    uint64_t holder = block->body;

    if (region_block_size(owner_of(node, offset), offset) == 0)
        fail(node->world, "node %u: a block is given back that is none", node->number);
    if (holder != 0 && atomic_fetch_sub(&segment_block(&node->segment, holder)->refs, 1) == 1)
        region_free(owner_of(node, holder), holder);
    region_free(owner_of(node, offset), offset);
}

static const uint8_t *body_of(const struct node *node, uint64_t offset)
{
    const struct c4p_envelope *block = segment_block(&node->segment, offset);
    uint64_t holder = block->body != 0 ? block->body : offset;

    return node->segment.base + holder + C4P_ENVELOPE_SIZE;
}

static uint64_t block_make(struct node *node, struct region *region,
                           const struct c4p_envelope *like)
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

/* ---- PEs ---- */

static void router_offer(struct node *node, uint64_t offset);
static void node_work(struct node *node);

static void pe_wake(void *context, unsigned pe);
static void node_look(void *context, unsigned node);
static void node_look_again(void *context, unsigned node);

static void pe_deliver(struct node *node, uint32_t pe, uint64_t offset)
{
    struct pe *its = &node->pe[pe - node->first];

    queue_add(&its->mail, offset, NULL);
    atomic_store(&segment_endpoint(&node->segment, pe - node->first)->inbox, 0);
    if (its->busy)
        return;
    its->busy = true;
    sim_call_at(node->world->sim,
                sim_now(node->world->sim) + (int64_t)chance(node->world, 3 * MILLISECOND), pe_wake,
                node->world, pe);
}

static void count(struct node *node, uint32_t pe, uint32_t sent, uint32_t processed)
{
    struct segment_endpoint *endpoint = segment_endpoint(&node->segment, pe - node->first);

    atomic_fetch_add(&endpoint->sent, sent);
    atomic_fetch_add(&endpoint->processed, processed);
}

/* The body: who sent it, which of its messages it is, and a pattern. */
static void body_fill(struct node *node, uint64_t offset, uint32_t pe, uint32_t serial)
{
    uint64_t size = segment_block(&node->segment, offset)->body_size;
    uint8_t *body = node->segment.base + offset + C4P_ENVELOPE_SIZE;

    memset(body, (int)(serial + pe), size);
    memcpy(body, &pe, sizeof(pe));
    memcpy(body + sizeof(pe), &serial, sizeof(serial));
}

static uint64_t message_size(struct world *world)
{
    static const uint32_t most[] = {40, 300, 5000, LARGEST};

    return 8 + chance(world, most[chance(world, 4)]);
}

/* To PEs first .. first + count - 1: those of this node at once, the others through the router. */
static void pe_send(struct node *node, uint32_t pe, uint32_t first, uint32_t receivers)
{
    struct world *world = node->world;
    struct pe *its = &node->pe[pe - node->first];
    struct c4p_envelope like = {.kind = C4P_CALL, .source = pe, .body_size = message_size(world)};
    uint32_t serial = its->serial++, elsewhere = 0, target = 0;
    uint64_t offset;

    count(node, pe, receivers, 0);
    world->expected += receivers;
    world->multicasts += receivers > 1;
    for (uint32_t i = first; i < first + receivers; i++) {
        if (i - node->first >= node->pes) {
            elsewhere++;
            target = i;
            continue;
        }
        like.target = i;
        offset = block_make(node, its->region, &like);
        if (offset == 0)
            fail(world, "PE %u has no memory for what it sends", pe);
        body_fill(node, offset, pe, serial);
        pe_deliver(node, i, offset);
    }
    if (elsewhere == 0)
        return;
    like.target = receivers > 1 ? C4P_ROUTER | node->number : target;
    if (receivers > 1) {
        like.flags = C4P_MULTICAST;
        like.index[0] = (int32_t)first;
        like.index[1] = (int32_t)receivers;
    }
    offset = block_make(node, its->region, &like);
    if (offset == 0)
        fail(world, "PE %u has no memory for what it sends", pe);
    body_fill(node, offset, pe, serial);
    router_offer(node, offset);
}

/* The sum of 1 + pe over all PEs, plus the sequence for each. */
static int64_t sum_due(const struct world *world, uint32_t sequence)
{
    return (int64_t)world->pes * (world->pes + 1) / 2 + (int64_t)world->pes * sequence;
}

/* The last PE of a node to contribute sends the node's part, as meeting.h does. */
static void pe_contribute(struct node *node, uint32_t pe)
{
    struct world *world = node->world;
    uint32_t sequence = node->pe[pe - node->first].contributions++;
    struct c4p_tail tail = {.total = world->pes,
                            .count = node->pes,
                            .origin = node->first,
                            .source = pe,
                            .placement = PLACE_EACH,
                            .operation = OP_SUM,
                            .target = RESULT_TO_ALL(sequence) ? TARGET_ALL : TARGET_FUTURE,
                            .owner = sequence % world->pes,
                            .id = sequence};
    struct c4p_envelope like = {.kind = C4P_PARTIAL,
                                .source = pe,
                                .target = C4P_ROUTER | node->number,
                                .collection = SECRET_COLLECTION,
                                .sequence = sequence,
                                .args = 1,
                                .body_size = 9 + C4P_TAIL_SIZE};
    int64_t value = 0;
    uint64_t offset;
    uint8_t *body;

    for (uint32_t i = 0; i < node->pes; i++) {
        if (node->pe[i].contributions <= sequence)
            return;
        value += 1 + node->first + i + sequence;
    }
    if (RESULT_TO_ALL(sequence))
        like.flags = C4P_RETURN;
    count(node, pe, 1, 0);
    world->parts[sequence] += node->pes;
    if (world->parts[sequence] == world->pes)
        world->expected += RESULT_TO_ALL(sequence) ? world->pes : 1;
    offset = block_make(node, node->pe[pe - node->first].region, &like);
    if (offset == 0)
        fail(world, "PE %u has no memory for its part", pe);
    body = node->segment.base + offset + C4P_ENVELOPE_SIZE;
    body[0] = 0x06;
    memcpy(body + 1, &value, sizeof(value));
    tail_write(body, like.body_size, &tail);
    router_offer(node, offset);
}

static void message_check(struct node *node, uint32_t pe, uint64_t offset)
{
    const struct c4p_envelope *block = segment_block(&node->segment, offset);
    const uint8_t *body = body_of(node, offset);
    struct pe *its = &node->pe[pe - node->first];
    uint32_t source, serial;

    memcpy(&source, body, sizeof(source));
    memcpy(&serial, body + sizeof(source), sizeof(serial));
    if (source != block->source || block->target != pe || block->flags != 0)
        fail(node->world, "PE %u: a message is addressed wrongly", pe);
    if (serial < its->seen[source])
        fail(node->world, "PE %u: message %u of PE %u comes after %u", pe, serial, source,
             its->seen[source] - 1);
    its->seen[source] = serial + 1;
    for (uint64_t i = 8; i < block->body_size; i++)
        if (body[i] != (uint8_t)(serial + source))
            fail(node->world, "PE %u: the body of a message is another one", pe);
}

static void result_check(struct node *node, uint32_t pe, uint64_t offset)
{
    const struct c4p_envelope *block = segment_block(&node->segment, offset);
    const uint8_t *body = body_of(node, offset);
    bool all = block->kind == C4P_REDUCED;
    uint32_t sequence = all ? block->sequence : (uint32_t)block->future;
    struct pe *its = &node->pe[pe - node->first];
    int64_t value = INT64_MIN;

    if (block->body_size == 9 && body[0] == 0x06)
        memcpy(&value, body + 1, sizeof(value));
    if (block->body_size == 2 && body[0] == 0x04)
        value = (int8_t)body[1];
    if (block->body_size == 5 && body[0] == 0x05)
        value = (int32_t)(body[1] | body[2] << 8 | body[3] << 16 | (uint32_t)body[4] << 24);
    if (value != sum_due(node->world, sequence))
        fail(node->world, "PE %u: reduction %u is %lld, not %lld", pe, sequence, (long long)value,
             (long long)sum_due(node->world, sequence));
    if (all && sequence != its->reduced)
        fail(node->world, "PE %u: allreduce %u comes, and %u is next", pe, sequence, its->reduced);
    if (!all && sequence % node->world->pes != pe)
        fail(node->world, "PE %u: the result of reduction %u is not for it", pe, sequence);
    its->reduced = all ? sequence + 2 : its->reduced;
}

static void round_begin(struct world *world)
{
    world->round++;
    world->due += (uint32_t)chance(world, ROUND_REDUCTIONS + 1);
    for (uint32_t pe = 0; pe < world->pes; pe++) {
        struct node *node = node_of(world, pe);

        node->pe[pe - node->first].budget = (uint32_t)chance(world, 12);
    }
}

static void spread_out(struct node *node, uint32_t pe)
{
    struct world *world = node->world;
    uint32_t first = (uint32_t)chance(world, world->pes);

    switch (chance(world, 4)) {
    case 0:
        pe_send(node, pe, first, 1);
        break;
    case 1:
        pe_send(node, pe, first, 1 + (uint32_t)chance(world, world->pes - first));
        break;
    case 2:
        pe_send(node, pe, 0, world->pes);
        break;
    default:
        if (node->pe[pe - node->first].contributions < world->due)
            pe_contribute(node, pe);
    }
}

/* Quiescence is told to the first PE: was it? */
static void quiescence_take(struct node *node, uint32_t pe, bool end)
{
    struct world *world = node->world;

    if (world->handled != world->expected)
        fail(world, "quiescence in round %u, and %llu of %llu messages are handled", world->round,
             (unsigned long long)world->handled, (unsigned long long)world->expected);
    if (end) {
        if (world->quiet < ROUNDS || world->ended)
            fail(world, "the program is over in round %u, while somebody waits", world->round);
        world->ended = true;
        return;
    }
    atomic_store(&segment_endpoint(&node->segment, pe - node->first)->quiescence_wanted, 0);
    world->quiet++;
    for (uint32_t other = 0; other < world->pes; other++) {
        const struct node *its = node_of(world, other);

        if (its->pe[other - its->first].contributions != world->due)
            fail(world, "quiescence in round %u, and PE %u was never asked", world->round, other);
    }
    if (world->quiet < ROUNDS) {
        round_begin(world);
        pe_send(node, pe, 0, world->pes);
        atomic_store(&segment_endpoint(&node->segment, pe - node->first)->quiescence_wanted, 1);
    }
}

static void pe_handle(struct node *node, uint32_t pe, uint64_t offset)
{
    struct world *world = node->world;
    struct pe *its = &node->pe[pe - node->first];
    uint8_t kind = segment_block(&node->segment, offset)->kind;

    if (kind == C4P_QUIESCENT) {
        quiescence_take(node, pe, segment_block(&node->segment, offset)->sequence != 0);
        block_release(node, offset);
        return;
    }
    if (kind == C4P_CALL)
        message_check(node, pe, offset);
    else
        result_check(node, pe, offset);
    block_release(node, offset);
    world->handled++;
    while (its->budget > 0 && chance(world, 3) > 0) {
        its->budget--;
        spread_out(node, pe);
    }
    count(node, pe, 0, 1);
}

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
    struct pe *its = &node->pe[pe - node->first];
    uint64_t offset;

    while (its->contributions < node->world->due)
        pe_contribute(node, pe);
    its->busy = false;
    atomic_store(&segment_endpoint(&node->segment, pe - node->first)->inbox, INBOX_ASLEEP);
    if (!all_asleep(node) || atomic_exchange(&segment_header(&node->segment)->idle_told, 1) != 0)
        return;
    offset = block_make(node, node->pe[pe - node->first].region, &like);
    if (offset == 0)
        fail(node->world, "PE %u has no memory to tell that it sleeps", pe);
    router_offer(node, offset);
}

static void pe_wake(void *context, unsigned pe)
{
    struct world *world = context;
    struct node *node = node_of(world, pe);
    struct pe *its = &node->pe[pe - node->first];
    uint64_t offset;

    if (its->mail.first != NULL) {
        offset = its->mail.first->offset;
        queue_drop(&its->mail);
        pe_handle(node, pe, offset);
    }
    if (its->mail.first == NULL)
        pe_sleep(node, pe);
    else
        sim_call_at(world->sim, sim_now(world->sim) + (int64_t)chance(world, MILLISECOND), pe_wake,
                    world, pe);
    /* The router looks now, or has something else to do. */
    if (chance(world, 2) == 0)
        node_work(node);
    else
        sim_call_at(world->sim, sim_now(world->sim) + (int64_t)chance(world, MILLISECOND),
                    node_look, world, node->number);
}

/* ---- routers ---- */

static void on_send(void *context, uint32_t to, enum collectives_stream stream, uint64_t offset)
{
    struct node *node = context;
    const struct c4p_envelope *block = segment_block(&node->segment, offset);
    struct frame *frame = malloc(sizeof(*frame) + block->body_size);

    if (to >= node->world->nodes || to == node->number || frame == NULL)
        fail(node->world, "node %u sends to node %u", node->number, to);
    memcpy((void *)&frame->envelope, (const void *)block, C4P_ENVELOPE_SIZE);
    memcpy(frame + 1, body_of(node, offset), block->body_size);
    frame->envelope.next = frame->envelope.body = 0;
    atomic_store(&frame->envelope.refs, 0);
    frame->stream = stream;
    block_release(node, offset);
    /* The two streams are two nodes to the simulator, which keeps the order of each pair. */
    sim_send(node->world->sim, 2 * node->number + stream, 2 * to + stream, frame);
    free(frame);
}

static void on_deliver(void *context, uint64_t offset)
{
    struct node *node = context;
    uint32_t target = segment_block(&node->segment, offset)->target;

    if (target - node->first >= node->pes)
        fail(node->world, "node %u delivers to PE %u", node->number, target);
    pe_deliver(node, target, offset);
}

static void on_release(void *context, uint64_t offset)
{
    block_release(context, offset);
}

static void on_resume(void *context, uint32_t from)
{
    struct node *node = context;

    node->lanes[2 * from].resumed = node->lanes[2 * from + 1].resumed = true;
}

static void on_wake_at(void *context, int64_t at)
{
    struct node *node = context;

    sim_wake_at(node->world->sim, 2 * node->number, (at - 1) * MILLISECOND);
}

static void on_broken(void *context, const char *what)
{
    struct node *node = context;

    fail(node->world, "node %u: %s", node->number, what);
}

/* What a stream brings, or PEs give: false: it has to wait. */
static bool block_route(struct node *node, uint32_t from, enum collectives_stream stream,
                        uint64_t offset)
{
    struct c4p_envelope envelope;

    if (envelope_check(segment_block(&node->segment, offset), segment_room(&node->segment, offset),
                       EPOCH, &envelope) != C4P_ENVELOPE_OK)
        fail(node->world, "node %u: an envelope is malformed", node->number);
    if (!(envelope.flags & C4P_MULTICAST) && envelope.target < node->world->pes) {
        if (node_of(node->world, envelope.target) != node)
            on_send(node, node_of(node->world, envelope.target)->number, STREAM_DIRECT, offset);
        else
            pe_deliver(node, envelope.target, offset);
        return true;
    }
    if (!(envelope.flags & C4P_MULTICAST) && envelope.target != (C4P_ROUTER | node->number))
        fail(node->world, "node %u got what is for %x", node->number, envelope.target);
    return collectives_take(node->collectives, from, stream, offset, &envelope,
                            now_ms(node->world)) == COLLECTIVES_TAKEN;
}

static uint64_t frame_land(struct node *node, const struct frame *frame)
{
    uint64_t offset = block_make(node, node->region, &frame->envelope);

    if (offset == 0) {
        collectives_make_room(node->collectives);
        offset = block_make(node, node->region, &frame->envelope);
    }
    if (offset != 0)
        memcpy(node->segment.base + offset + C4P_ENVELOPE_SIZE, frame + 1,
               frame->envelope.body_size);
    return offset;
}

/* Once, whatever waits for it: each look can find again that it has to wait. */
static void look_later(struct node *node)
{
    if (!node->look_due)
        sim_call_at(node->world->sim, sim_now(node->world->sim) + MILLISECOND, node_look_again,
                    node->world, node->number);
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
            node->world->held_up++;
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
        for (uint32_t from = 0; from < node->world->nodes; from++)
            for (unsigned stream = 0; stream < 2; stream++)
                any |= lane_work(node, from, stream);
    }
}

static void router_offer(struct node *node, uint64_t offset)
{
    queue_add(&node->lanes[2 * node->number].queue, offset, NULL);
}

/* ---- the simulator's ---- */

static void node_look(void *context, unsigned node)
{
    node_work(&((struct world *)context)->node[node]);
}

static void node_look_again(void *context, unsigned node)
{
    ((struct world *)context)->node[node].look_due = false;
    node_look(context, node);
}

static void *on_start(void *context, unsigned node, unsigned life)
{
    (void)life;
    return &((struct world *)context)->node[node / 2];
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

/* Memory of a router is taken, for a while; never after the last round. */
static void hog_turn(void *context, unsigned number)
{
    struct world *world = context;
    struct node *node = &world->node[number];

    if (node->hog != 0)
        region_free(node->region, node->hog);
    node->hog = 0;
    if (world->quiet == ROUNDS)
        return;
    if (chance(world, 2) == 0)
        node->hog = region_alloc(
            node->region, (size_t)(SEGMENT_MIN_REGION - (256u << 10) - chance(world, 1u << 20)));
    node_work(node);
    sim_call_at(world->sim,
                sim_now(world->sim) + MILLISECOND + (int64_t)chance(world, 40 * MILLISECOND),
                hog_turn, world, number);
}

/* ---- a run ---- */

static void node_open(struct world *world, uint32_t number)
{
    const struct collectives_host host = {.send = on_send,
                                          .deliver = on_deliver,
                                          .release = on_release,
                                          .resume = on_resume,
                                          .wake_at = on_wake_at,
                                          .broken = on_broken,
                                          .context = &world->node[number]};
    const struct router_nodes nodes = {
        .job = 1, .count = world->nodes, .self = number, .nodes = world->table};
    struct node *node = &world->node[number];
    struct segment_geometry geometry = {.epoch = EPOCH,
                                        .pes = world->pes,
                                        .first_pe = node->first,
                                        .local_pes = node->pes,
                                        .node = number,
                                        .nodes = world->nodes,
                                        .region_size = SEGMENT_MIN_REGION};

    if (segment_create(&node->segment, &geometry, world->first_pes) != 0)
        abort();
    node->region = region_create(&node->segment, segment_router_slot(&node->segment));
    node->lanes = calloc(2 * world->nodes, sizeof(*node->lanes));
    node->collectives = collectives_create(&node->segment, node->region, &nodes, &host);
    if (node->region == NULL || node->lanes == NULL || node->collectives == NULL)
        abort();
    for (uint32_t i = 0; i < node->pes; i++) {
        struct segment_endpoint *endpoint = segment_endpoint(&node->segment, i);

        node->pe[i].region = region_create(&node->segment, i);
        node->pe[i].seen = calloc(world->pes, sizeof(*node->pe[i].seen));
        if (node->pe[i].region == NULL || node->pe[i].seen == NULL)
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

static void node_close(struct world *world, struct node *node)
{
    for (uint32_t i = 0; i < 2 * world->nodes; i++)
        queue_clear(&node->lanes[i].queue);
    free(node->lanes);
    collectives_destroy(node->collectives);
    region_destroy(node->region);
    for (uint32_t i = 0; i < node->pes; i++) {
        queue_clear(&node->pe[i].mail);
        region_destroy(node->pe[i].region);
        free(node->pe[i].seen);
    }
    segment_close(&node->segment);
}

/* Which nodes there are, and their PEs; the home may have none. */
static void world_shape(struct world *world)
{
    world->nodes = 3 + (uint32_t)chance(world, chance(world, 3) ? 10 : MAX_NODES - 2);
    for (uint32_t i = 0; i < world->nodes; i++) {
        struct node *node = &world->node[i];

        node->world = world;
        node->number = i;
        node->first = world->pes;
        node->pes = i == 0 && chance(world, 3) == 0 ? 0 : 1 + (uint32_t)chance(world, NODE_PES_MAX);
        world->table[i] = (struct router_node){.first_pe = node->first, .pes = node->pes};
        world->first_pes[i] = world->pes;
        world->pes += node->pes;
    }
    world->first_pes[world->nodes] = world->pes;
}

static struct world *world_create(uint64_t seed)
{
    struct world *world = calloc(1, sizeof(*world));
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

    if (world == NULL)
        abort();
    settings.owner.context = world;
    world->seed = seed;
    world->sim = sim_create(&settings);
    world_shape(world);
    for (uint32_t i = 0; i < world->nodes; i++)
        node_open(world, i);
    for (uint32_t i = 0; i < 2 * world->nodes; i++)
        sim_start(world->sim, i);
    return world;
}

static void world_destroy(struct world *world)
{
    sim_destroy(world->sim);
    for (uint32_t i = 0; i < world->nodes; i++)
        node_close(world, &world->node[i]);
    free(world);
}

static void memory_check(struct world *world)
{
    for (uint32_t i = 0; i < world->nodes; i++) {
        struct node *node = &world->node[i];

        if (region_used(node->region) != 0)
            fail(world, "the router of node %u has %llu bytes left", i,
                 (unsigned long long)region_used(node->region));
        for (uint32_t k = 0; k < node->pes; k++)
            if (region_used(node->pe[k].region) != 0)
                fail(world, "PE %u has bytes left", node->first + k);
    }
}

static void world_run(struct world *world)
{
    struct node *home = node_of(world, 0);

    if (world->seed % 2 == 0)
        for (uint32_t i = 0; i < world->nodes; i++)
            sim_call_at(world->sim, (int64_t)chance(world, 50 * MILLISECOND), hog_turn, world, i);
    round_begin(world);
    atomic_store(&segment_endpoint(&home->segment, 0)->quiescence_wanted, 1);
    pe_send(home, 0, 0, world->pes);
    for (int64_t time = SIM_SECOND; world->quiet < ROUNDS; time += SIM_SECOND) {
        if (time > 600 * SIM_SECOND)
            fail(world, "round %u never ends: %llu of %llu messages are handled", world->round,
                 (unsigned long long)world->handled, (unsigned long long)world->expected);
        sim_run_until(world->sim, time);
    }
    sim_run_until(world->sim, sim_now(world->sim) + 10 * SIM_SECOND);
    if (world->quiet != ROUNDS || world->handled != world->expected)
        fail(world, "quiescence was told %u times", world->quiet);
    if (!world->ended)
        fail(world, "nobody was told that the program is over");
    memory_check(world);
}

static void hold_over_any_number_of_nodes(uint64_t seed, char *failure)
{
    struct world *world = world_create(seed);
    jmp_buf out;

    world->out = &out;
    if (setjmp(out) == 0)
        world_run(world);
    snprintf(failure, SCENARIO_FAILURE_SIZE, "%s", world->failure);
    if (scenarios_verbose)
        printf("%u nodes, %u PEs, %llu messages, %llu times to many, %llu times held up, %u "
               "reductions, %.1f s\n",
               world->nodes, world->pes, (unsigned long long)world->handled,
               (unsigned long long)world->multicasts, (unsigned long long)world->held_up,
               world->due, (double)sim_now(world->sim) / (double)SIM_SECOND);
    world_destroy(world);
}

int main(int argc, char **argv)
{
    static const struct scenario scenario = {
        "order_reductions_and_quiescence_hold_over_any_number_of_nodes",
        hold_over_any_number_of_nodes, 60};

    return scenarios_main("sim_trees", &scenario, 1, argc, argv);
}
