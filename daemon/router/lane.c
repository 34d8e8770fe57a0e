/*
 * One stream between two nodes: what waits to be sent there, in frames, and what comes.
 *
 * Blocks that are to go wait where they are, in the regions of their senders; the lane has their
 * places. Small ones are copied into a frame together. The body of a large one goes out as it is: the
 * block is on loan until ZeroMQ has done with all pieces of it, which it says in its own threads.
 * What comes is put together in the router's region. There is always something that may be sent or
 * there is not: no function here waits.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "daemon/router/block.h"
#include "daemon/router/router_internal.h"

/* Bodies from here on are not copied. */
#define LOAN_FROM ((uint64_t)16 << 10)

static size_t smaller(uint64_t one, uint64_t other)
{
    return (size_t)(one < other ? one : other);
}

/* ---- loans ---- */

static struct loan *loan_create(struct router *router, uint64_t offset)
{
    struct loan *loan = calloc(1, sizeof(*loan));

    if (loan == NULL)
        return NULL;
    atomic_store(&loan->pieces, 1);
    loan->router = router;
    loan->offset = offset;
    router->loans++;
    return loan;
}

void loan_return(void *data, void *argument)
{
    struct loan *loan = argument, *first;
    struct plane *plane = loan->router->plane;

    (void)data;
    if (atomic_fetch_sub(&loan->pieces, 1) != 1)
        return;
    first = atomic_load(&plane->returned);
    do
        loan->next = first;
    while (!atomic_compare_exchange_weak(&plane->returned, &first, loan));
    if (first == NULL)
        plane_ring(plane);
}

/* ---- out ---- */

void lane_ready(struct lane *lane)
{
    struct peer *peer = lane->node->peer;

    if (lane->ready || peer == NULL)
        return;
    lane->ready = true;
    if (peer->ready == NULL)
        DL_APPEND(peer->plane->busy, peer);
    DL_APPEND(peer->ready, lane);
}

static int queue_grow(struct lane *lane)
{
    size_t room = lane->room == 0 ? 64 : 2 * lane->room;
    uint64_t *queue = malloc(room * sizeof(*queue));

    if (queue == NULL)
        return -1;
    for (size_t i = 0; i < lane->count; i++)
        queue[i] = lane->queue[(lane->first + i) % lane->room];
    free(lane->queue);
    lane->queue = queue;
    lane->first = 0;
    lane->room = room;
    return 0;
}

void lane_send(struct lane *lane, uint64_t offset)
{
    struct router *router = lane->router;

    if (lane->node->lost) {
        router_release(router, offset);
        return;
    }
    if (lane->count == lane->room && queue_grow(lane) != 0) {
        router_release(router, offset);
        node_fail(lane->node, "there is no memory for what is to be sent to it");
        return;
    }
    lane->queue[(lane->first + lane->count++) % lane->room] = offset;
    if (lane->sent < lane->may_send)
        lane_ready(lane);
}

/* The block can have been written to since it was queued: it is read now, and goes as it is now. */
static bool block_open(struct lane *lane, uint64_t offset)
{
    struct router *router = lane->router;
    const void *body;

    if (!block_read(&router->segment, offset, &lane->out, &body)) {
        router->dropped++;
        router_release(router, offset);
        return false;
    }
    if (lane->out.body_size > router->limit) {
        node_fail(lane->node, "a message for it is larger than any that fits its segment "
                              "(--segment-size sets what each PE gets of it)");
        router_release(router, offset);
        return false;
    }
    lane->out.next = 0;
    lane->out.body = 0;
    atomic_store_explicit(&lane->out.refs, 0, memory_order_relaxed);
    lane->out_body = body;
    lane->out_done = 0;
    lane->open = offset;
    if (lane->out.body_size >= LOAN_FROM)
        lane->loan = loan_create(router, offset); /* without memory for one it is copied */
    return true;
}

static bool lane_next(struct lane *lane)
{
    while (lane->open == 0 && lane->count > 0) {
        uint64_t offset = lane->queue[lane->first];

        lane->first = (lane->first + 1) % lane->room;
        lane->count--;
        block_open(lane, offset);
    }
    return lane->open != 0;
}

/* All of it is in frames. */
static void block_done(struct lane *lane)
{
    struct plane_figures *figures = &lane->router->plane->figures;

    figures->sent++;
    figures->sent_bytes += C4P_ENVELOPE_SIZE + lane->out.body_size;
    if (lane->loan != NULL)
        loan_return(NULL, lane->loan);
    else
        router_release(lane->router, lane->open);
    lane->loan = NULL;
    lane->open = 0;
}

/* As much of the open block as is to be copied, and there is room for. */
static size_t block_copy(struct lane *lane, uint8_t *to, size_t room)
{
    size_t copied = 0;

    if (lane->out_done < C4P_ENVELOPE_SIZE) {
        copied = smaller(C4P_ENVELOPE_SIZE - lane->out_done, room);
        memcpy(to, (const uint8_t *)&lane->out + lane->out_done, copied);
        lane->out_done += copied;
    }
    if (lane->out_done >= C4P_ENVELOPE_SIZE && lane->loan == NULL && copied < room) {
        uint64_t place = lane->out_done - C4P_ENVELOPE_SIZE;
        size_t part = smaller(lane->out.body_size - place, room - copied);

        if (part > 0)
            memcpy(to + copied, lane->out_body + place, part);
        lane->out_done += part;
        copied += part;
    }
    return copied;
}

static size_t piece_take(struct lane *lane, size_t room, const void **piece, struct loan **loan)
{
    uint64_t place = lane->out_done - C4P_ENVELOPE_SIZE;
    size_t size = smaller(lane->out.body_size - place, room);

    *piece = lane->out_body + place;
    *loan = lane->loan;
    atomic_fetch_add(&lane->loan->pieces, 1);
    lane->out_done += size;
    return size;
}

static bool block_ended(const struct lane *lane)
{
    return lane->out_done == C4P_ENVELOPE_SIZE + lane->out.body_size;
}

/* Bytes of the stream into a frame. Returns how many were copied. */
static size_t data_fill(struct lane *lane, uint8_t *to, size_t room, const void **piece,
                        size_t *piece_size, struct loan **loan)
{
    size_t size = 0, credit = smaller(lane->may_send - lane->sent, room + FRAME_PART);

    while (size < smaller(room, credit) && *piece_size == 0 && lane_next(lane)) {
        size += block_copy(lane, to + size, smaller(room, credit) - size);
        if (lane->out_done >= C4P_ENVELOPE_SIZE && lane->loan != NULL && credit > size)
            *piece_size = piece_take(lane, smaller(credit - size, FRAME_PART), piece, loan);
        if (block_ended(lane))
            block_done(lane);
    }
    lane->sent += size + *piece_size;
    return size;
}

void lane_header(const struct lane *lane, enum frame_type type, uint64_t position, uint8_t *part)
{
    const struct router *router = lane->router;
    struct frame_header header = {
        .version = FRAME_VERSION,
        .type = (uint8_t)type,
        .stream = (uint8_t)lane->which,
        .epoch = router->segment.geometry.epoch,
        .job = router->id.job,
        .from = router->self,
        .to = lane->node->number,
        .position = position,
    };

    memcpy(header.secret, router->secret, sizeof(header.secret));
    memcpy(part, &header, sizeof(header));
}

size_t lane_fill(struct lane *lane, uint8_t *part, const void **piece, size_t *piece_size,
                 struct loan **loan)
{
    uint64_t position = lane->sent;
    size_t size;

    *piece_size = 0;
    if (lane->hello_due) {
        lane->hello_due = false;
        lane_header(lane, FRAME_HELLO, position, part);
        return FRAME_HEADER_SIZE;
    }
    if (lane->credit != 0) {
        lane_header(lane, FRAME_CREDIT, lane->credit, part);
        lane->credit = 0;
        return FRAME_HEADER_SIZE;
    }
    size = data_fill(lane, part + FRAME_HEADER_SIZE, LANE_PART - FRAME_HEADER_SIZE, piece,
                     piece_size, loan);
    if (size + *piece_size == 0)
        return 0;
    lane_header(lane, FRAME_DATA, position, part);
    return FRAME_HEADER_SIZE + size;
}

/* ---- in ---- */

static bool kind_travels(uint8_t kind)
{
    return kind != C4P_STARTED && kind != C4P_EXIT && kind != C4P_STOP;
}

/* May the other end send in this one's name? On the relay stream all that is checked elsewhere. */
static bool source_agrees(const struct lane *lane, uint32_t source)
{
    const struct node *node = lane->node;

    return lane->which == STREAM_RELAY || source - node->first_pe < node->pes ||
           source == (C4P_ROUTER | node->number) ||
           (node->number == 0 && (source & C4P_ENDPOINT_CLASS) == C4P_CLIENT);
}

static enum stream_answer on_begin(void *context, const struct c4p_envelope *envelope, void **body)
{
    struct lane *lane = context;
    struct router *router = lane->router;
    struct route route = route_find(router, envelope);

    if (lane->held != 0)
        return STREAM_LATER;
    if (!kind_travels(envelope->kind) || !source_agrees(lane, envelope->source) ||
        route.kind == ROUTE_NOWHERE || route.kind == ROUTE_NODE)
        return STREAM_REFUSE;
    if (route.kind == ROUTE_GONE)
        return STREAM_SKIP;
    lane->arriving = route_alloc(router, C4P_ENVELOPE_SIZE + (size_t)envelope->body_size);
    if (lane->arriving == 0)
        return errno == ENOMEM ? STREAM_LATER : STREAM_REFUSE;
    memcpy((void *)segment_block(&router->segment, lane->arriving), (const void *)envelope,
           C4P_ENVELOPE_SIZE);
    *body = router->segment.base + lane->arriving + C4P_ENVELOPE_SIZE;
    return STREAM_TAKE;
}

static void on_end(void *context)
{
    struct lane *lane = context;
    struct plane_figures *figures = &lane->router->plane->figures;
    struct c4p_envelope envelope;
    uint64_t offset = lane->arriving;

    memcpy((void *)&envelope, (void *)&lane->in.in, sizeof(envelope));
    figures->received++;
    figures->received_bytes += C4P_ENVELOPE_SIZE + envelope.body_size;
    lane->arriving = 0;
    if (route_foreign(lane, offset, &envelope))
        return;
    lane->held = offset;
    lane->resumed = false;
    memcpy((void *)&lane->held_envelope, (void *)&envelope, sizeof(envelope));
}

void lane_wait(struct lane *lane)
{
    if (lane->waits || (lane->held == 0 && !stream_waits(&lane->in)))
        return;
    lane->waits = true;
    DL_APPEND2(lane->router->plane->waiting, lane, waits_prev, waits_next);
}

/* After something came in: tell the other end what it may send, and come back if there is more. */
static int lane_settle(struct lane *lane, int rc)
{
    uint64_t credit;

    if (rc != 0 || lane->node->lost)
        return rc;
    credit = stream_credit(&lane->in);
    if (credit != 0) {
        lane->credit = credit;
        lane_ready(lane);
    }
    lane_wait(lane);
    return 0;
}

int lane_feed(struct lane *lane, const void *data, size_t size)
{
    return lane_settle(lane, stream_feed(&lane->in, data, size));
}

int lane_retry(struct lane *lane)
{
    if (lane->held != 0) {
        if (!lane->resumed)
            return 0;
        lane->resumed = false;
        if (!route_foreign(lane, lane->held, &lane->held_envelope))
            return 0;
        lane->held = 0;
    }
    return lane_settle(lane, stream_resume(&lane->in));
}

/* ---- coming and going ---- */

void lane_open(struct lane *lane, struct node *node, enum collectives_stream which)
{
    struct router *router = node->router;
    const struct stream_owner owner = {NULL, NULL, on_begin, on_end, lane};

    lane->router = router;
    lane->node = node;
    lane->which = which;
    lane->may_send = STREAM_WINDOW;
    stream_init(&lane->in, &owner, router->segment.geometry.epoch, router->limit);
}

/* What waits to be sent is given back, what came in part is freed. */
void lane_close(struct lane *lane)
{
    struct router *router = lane->router;

    if (lane->ready) {
        DL_DELETE(lane->node->peer->ready, lane);
        if (lane->node->peer->ready == NULL)
            DL_DELETE(router->plane->busy, lane->node->peer);
    }
    if (lane->waits)
        DL_DELETE2(router->plane->waiting, lane, waits_prev, waits_next);
    lane->ready = lane->waits = false;
    for (; lane->count > 0; lane->count--) {
        router_release(router, lane->queue[lane->first]);
        lane->first = (lane->first + 1) % lane->room;
    }
    if (lane->loan != NULL)
        loan_return(NULL, lane->loan);
    else if (lane->open != 0)
        router_release(router, lane->open);
    lane->loan = NULL;
    lane->open = 0;
    if (lane->arriving != 0)
        region_free(router->region, lane->arriving);
    if (lane->held != 0)
        region_free(router->region, lane->held);
    lane->arriving = lane->held = 0;
    free(lane->queue);
    lane->queue = NULL;
    lane->room = 0;
    stream_clear(&lane->in);
}
