/*
 * Multicasts: one message for the PEs of many nodes (see collectives.h).
 *
 * Memory. A body that came along a tree and has no mark yet is kept, whatever else is kept: a relay
 * stream that waited for a mark could hold up the very body that the mark's stream waits for. So the
 * limit is at the origin: a node has at most `tree_limit` bytes of multicasts under way along trees,
 * until each of their nodes has said that it has body and mark (C4P_MARK with C4P_RETURN). What goes
 * beyond that goes straight to each node, in order by itself. All origins together can fill an eighth
 * of a router's region with bodies that wait.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/router/collectives_parts.h"
#include "daemon/router/fan.h"

/* Bodies up to this go straight to each node. */
#define STRAIGHT_MAX (32u << 10)
/* What a node sends of a large one: with more children it would be held up longer at each step. */
#define TREE_ARITY 2
/* Bodies up to this are copied for each PE; larger ones are shared. */
#define COPY_MAX 1024

/* Who gets a multicast. */
struct range {
    uint32_t first, count;
};

static bool range_read(const struct collectives *c, const struct c4p_envelope *envelope,
                       struct range *range)
{
    range->first = (uint32_t)envelope->index[0];
    range->count = (uint32_t)envelope->index[1];
    return range->first < c->pes && range->count > 0 && range->count <= c->pes - range->first;
}

/* The nodes of a multicast that `origin` sends. */
static struct fan range_fan(const struct collectives *c, const struct range *range, uint32_t origin)
{
    return (struct fan){.first = collectives_node_of(c, range->first),
                        .end = collectives_node_of(c, range->first + range->count - 1) + 1,
                        .root = origin,
                        .arity = TREE_ARITY};
}

static struct c4p_envelope *block_of(const struct collectives *c, uint64_t offset)
{
    return segment_block(c->segment, offset);
}

/* The block that holds a message's body: itself, or the one that it shares. 0: it lies nowhere. */
static uint64_t holder_of(const struct collectives *c, uint64_t offset,
                          const struct c4p_envelope *envelope)
{
    uint64_t holder = envelope->body != 0 ? envelope->body : offset;
    uint64_t room;

    if (!segment_offset_valid(c->segment, holder))
        return 0;
    room = segment_room(c->segment, holder);
    return room >= C4P_ENVELOPE_SIZE && envelope->body_size <= room - C4P_ENVELOPE_SIZE ? holder
                                                                                        : 0;
}

/* ---- envelopes that share a body ---- */

/* Make a block without body of ours a message with that of `holder`, whose count is the caller's. */
static void share(const struct collectives *c, uint64_t offset, uint64_t holder, uint64_t size)
{
    block_of(c, offset)->body = holder;
    block_of(c, offset)->body_size = size;
}

/* For a PE of this node: an ordinary message. */
static void address_pe(const struct collectives *c, uint64_t offset, uint32_t pe)
{
    struct c4p_envelope *block = block_of(c, offset);

    block->next = 0;
    block->flags &= (uint16_t)~C4P_MULTICAST;
    block->target = pe;
    block->ndims = 0;
    memset(block->index, 0, sizeof(block->index));
}

/* Deliver a chain of envelopes to this node's PEs from `pe` on. */
static void chain_deliver(struct collectives *c, uint64_t chain, uint32_t pe, uint64_t holder,
                          uint64_t size)
{
    while (chain != 0) {
        uint64_t offset = collectives_unchain(c, &chain);

        share(c, offset, holder, size);
        address_pe(c, offset, pe++);
        c->host.deliver(c->host.context, offset);
    }
}

/* Copies of a message for all PEs but the last, which gets the message itself. */
static bool copies_deliver(struct collectives *c, uint64_t offset,
                           const struct c4p_envelope *envelope, uint32_t first, uint32_t count)
{
    uint64_t copies = 0, copy;

    for (uint32_t i = 0; i + 1 < count; i++) {
        copy = collectives_block(c, envelope, envelope->body_size);
        if (copy == 0) {
            while (copies != 0)
                region_free(c->region, collectives_unchain(c, &copies));
            return false;
        }
        memcpy(c->segment->base + copy + C4P_ENVELOPE_SIZE,
               c->segment->base + offset + C4P_ENVELOPE_SIZE, envelope->body_size);
        block_of(c, copy)->next = copies;
        copies = copy;
    }
    while (copies != 0) {
        copy = collectives_unchain(c, &copies);
        address_pe(c, copy, first++);
        c->host.deliver(c->host.context, copy);
    }
    address_pe(c, offset, first);
    c->host.deliver(c->host.context, offset);
    return true;
}

/* A block of ours, with its own body and nobody else's, to this node's PEs. False: no memory. */
static bool straight_deliver(struct collectives *c, uint64_t offset,
                             const struct c4p_envelope *envelope, const struct range *range)
{
    uint32_t first, count = collectives_local(c, range->first, range->count, &first);
    uint64_t chain;

    if (count == 0) {
        c->host.release(c->host.context, offset);
        return true;
    }
    if (count == 1 || envelope->body_size <= COPY_MAX)
        return copies_deliver(c, offset, envelope, first, count);
    chain = collectives_chain(c, envelope, count);
    if (chain == 0)
        return false;
    atomic_store_explicit(&block_of(c, offset)->refs, count, memory_order_relaxed);
    chain_deliver(c, chain, first, offset, envelope->body_size);
    return true;
}

/* ---- at the origin ---- */

struct outgoing {
    struct fan fan;
    uint32_t size; /* nodes */
    bool tree;
    uint32_t local; /* PEs of this node that get it from us, from local_first on */
    uint32_t local_first;
    uint32_t shares; /* envelopes that share the body */
    struct fan_part children[FAN_ARITY_MAX];
    uint32_t children_count;
};

static void outgoing_plan(const struct collectives *c, const struct c4p_envelope *envelope,
                          const struct range *range, bool with_local, struct outgoing *out)
{
    memset(out, 0, sizeof(*out));
    out->fan = range_fan(c, range, c->self);
    out->size = fan_size(&out->fan);
    out->tree = envelope->body_size > STRAIGHT_MAX && out->size > TREE_ARITY &&
                envelope->body_size <= c->tree_limit - c->tree_used;
    if (with_local)
        out->local = collectives_local(c, range->first, range->count, &out->local_first);
    if (out->tree)
        out->children_count = fan_root_children(&out->fan, out->children);
    out->shares = (out->tree ? out->children_count : out->size) + out->local;
}

/* The envelopes are made, and nothing fails any more: one to each node, or child. */
static void outgoing_send(struct collectives *c, const struct outgoing *out, uint64_t *chain,
                          uint64_t holder, uint64_t size)
{
    uint32_t count = out->tree ? out->children_count : out->size;

    for (uint32_t i = 0; i < count; i++) {
        uint64_t offset = collectives_unchain(c, chain);
        uint32_t node = fan_node(&out->fan, out->tree ? out->children[i].low : i);

        share(c, offset, holder, size);
        block_of(c, offset)->target = C4P_ROUTER | node;
        block_of(c, offset)->index[2] = out->tree ? (int32_t)c->number : 0;
        c->host.send(c->host.context, node, out->tree ? STREAM_RELAY : STREAM_DIRECT, offset);
    }
}

/* A mark to each node, in the place of the body. */
static void marks_send(struct collectives *c, const struct outgoing *out, uint64_t marks)
{
    for (uint32_t i = 0; i < out->size; i++) {
        uint64_t offset = collectives_unchain(c, &marks);
        uint32_t node = fan_node(&out->fan, i);

        block_of(c, offset)->target = C4P_ROUTER | node;
        c->host.send(c->host.context, node, STREAM_DIRECT, offset);
    }
}

/* Marks, and the record of who has to say that it has come. 0: no memory. */
static uint64_t tree_prepare(struct collectives *c, const struct outgoing *out, uint64_t size)
{
    const struct c4p_envelope mark = {
        .kind = C4P_MARK, .source = C4P_ROUTER | c->self, .sequence = c->number + 1};
    struct collectives_sent *sent = calloc(1, sizeof(*sent));
    uint64_t marks = sent ? collectives_chain(c, &mark, out->size) : 0;

    if (marks == 0) {
        free(sent);
        return 0;
    }
    *sent = (struct collectives_sent){c->sent, ++c->number, out->size, size};
    c->sent = sent;
    c->tree_used += size;
    return marks;
}

/* Give a message to all that it is for. False: no memory, nothing has happened. */
static bool multicast_send(struct collectives *c, uint64_t offset,
                           const struct c4p_envelope *envelope, uint64_t holder,
                           const struct outgoing *out)
{
    uint64_t chain = collectives_chain(c, envelope, out->shares), marks;

    if (chain == 0)
        return false;
    if (out->tree) {
        marks = tree_prepare(c, out, envelope->body_size);
        if (marks == 0) {
            while (chain != 0)
                region_free(c->region, collectives_unchain(c, &chain));
            return false;
        }
        marks_send(c, out, marks);
    }
    if (holder == offset)
        atomic_store_explicit(&block_of(c, holder)->refs, out->shares, memory_order_relaxed);
    else
        atomic_fetch_add(&block_of(c, holder)->refs, out->shares);
    outgoing_send(c, out, &chain, holder, envelope->body_size);
    chain_deliver(c, chain, out->local_first, holder, envelope->body_size);
    if (holder != offset)
        c->host.release(c->host.context, offset);
    return true;
}

/* A PE or client of this node sends to PEs of others. */
static enum collectives_answer origin_take(struct collectives *c, uint64_t offset,
                                           const struct c4p_envelope *envelope,
                                           const struct range *range, int64_t now)
{
    uint64_t holder = holder_of(c, offset, envelope);
    struct outgoing out;

    if (holder == 0)
        return collectives_broken(c, offset, "the body of a message to many lies nowhere");
    outgoing_plan(c, envelope, range, false, &out);
    if (out.size == 0) {
        c->host.release(c->host.context, offset);
    } else if (out.size == 1) {
        /* The block itself: whatever it says of its body, what was checked is sent. */
        block_of(c, offset)->target = C4P_ROUTER | fan_node(&out.fan, 0);
        block_of(c, offset)->next = 0;
        c->host.send(c->host.context, fan_node(&out.fan, 0), STREAM_DIRECT, offset);
    } else if (!multicast_send(c, offset, envelope, holder, &out)) {
        return collectives_later(c, c->self, now);
    }
    return COLLECTIVES_TAKEN;
}

/* ---- our own ---- */

bool multicast_send_own(struct collectives *c, uint64_t offset)
{
    struct c4p_envelope envelope;
    struct outgoing out;
    struct range range;

    if (envelope_check(block_of(c, offset), segment_room(c->segment, offset),
                       c->segment->geometry.epoch, &envelope) != C4P_ENVELOPE_OK ||
        !range_read(c, &envelope, &range) || envelope.body != 0) {
        collectives_broken(c, offset, "a message of the router was overwritten");
        return true;
    }
    outgoing_plan(c, &envelope, &range, true, &out);
    if (out.size == 0 && out.local <= 1)
        return straight_deliver(c, offset, &envelope, &range);
    return multicast_send(c, offset, &envelope, offset, &out);
}

/* ---- along the tree ---- */

/* The node whose multicast this is. */
static uint32_t origin_of(const struct collectives *c, const struct c4p_envelope *envelope)
{
    if (envelope->source < c->pes)
        return collectives_node_of(c, envelope->source);
    if ((envelope->source & C4P_ENDPOINT_CLASS) == C4P_ROUTER)
        return envelope->source & ~C4P_ENDPOINT_CLASS;
    return (envelope->source & C4P_ENDPOINT_CLASS) == C4P_CLIENT ? 0 : UINT32_MAX;
}

static struct collectives_body **body_find(struct collectives *c, uint32_t origin, uint32_t number)
{
    struct collectives_body **link = &c->bodies;

    while (*link != NULL && ((*link)->origin != origin || (*link)->number != number))
        link = &(*link)->next;
    return link;
}

/* Is it from where this node gets it, and is there no other with this number? */
static bool relay_plausible(struct collectives *c, uint32_t from, const struct fan *fan,
                            const struct c4p_envelope *envelope)
{
    uint32_t place, parent;

    if (fan->root >= c->nodes || fan->root == c->self)
        return false;
    place = fan_place(fan, c->self);
    if (place == UINT32_MAX)
        return false;
    fan_part_of(fan, place, &parent);
    return parent == from && envelope->body_size <= c->tree_limit - c->tree_bytes[fan->root] &&
           *body_find(c, fan->root, (uint32_t)envelope->index[2]) == NULL;
}

static bool relay_pass_on(struct collectives *c, uint64_t offset, const struct fan *fan,
                          const struct c4p_envelope *envelope)
{
    struct fan_part children[FAN_ARITY_MAX], part;
    uint32_t parent, count;
    uint64_t chain;

    part = fan_part_of(fan, fan_place(fan, c->self), &parent);
    count = fan_children(fan, &part, children);
    chain = collectives_chain(c, envelope, count);
    if (count > 0 && chain == 0)
        return false;
    /* One for each child, and one is ours until the body is delivered. */
    atomic_store_explicit(&block_of(c, offset)->refs, count + 1, memory_order_relaxed);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t envelope_offset = collectives_unchain(c, &chain);
        uint32_t node = fan_node(fan, children[i].low);

        share(c, envelope_offset, offset, envelope->body_size);
        block_of(c, envelope_offset)->target = C4P_ROUTER | node;
        c->host.send(c->host.context, node, STREAM_RELAY, envelope_offset);
    }
    return true;
}

static enum collectives_answer relay_take(struct collectives *c, uint32_t from, uint64_t offset,
                                          const struct c4p_envelope *envelope,
                                          const struct range *range, int64_t now)
{
    struct fan fan = range_fan(c, range, origin_of(c, envelope));
    struct collectives_body *body;

    if (envelope->body != 0 || !relay_plausible(c, from, &fan, envelope))
        return collectives_broken(c, offset, "a message to many came a way that it cannot come");
    body = malloc(sizeof(*body));
    if (body == NULL || !relay_pass_on(c, offset, &fan, envelope)) {
        free(body);
        return collectives_later(c, from, now);
    }
    *body = (struct collectives_body){c->bodies, fan.root, (uint32_t)envelope->index[2], offset,
                                      *envelope};
    c->bodies = body;
    c->tree_bytes[fan.root] += envelope->body_size;
    c->host.resume(c->host.context, fan.root); /* its mark may have come before */
    return COLLECTIVES_TAKEN;
}

/* From aside, if it is there: it was only ours. */
static bool body_come_back(struct collectives *c, struct collectives_body *body)
{
    uint64_t offset = body->place;

    if (!place_is_aside(offset))
        return true;
    offset = aside_return(c, offset);
    if (offset == 0)
        return false;
    atomic_store_explicit(&block_of(c, offset)->refs, 1, memory_order_relaxed);
    body->place = offset;
    return true;
}

/* Our own part of a body: to this node's PEs. The reader that we were is one of them, or goes. */
static bool body_deliver(struct collectives *c, struct collectives_body *body)
{
    uint32_t first, count;
    struct range range;
    uint64_t chain;

    range_read(c, &body->envelope, &range);
    count = collectives_local(c, range.first, range.count, &first);
    if (!body_come_back(c, body))
        return false;
    if (count == 0) {
        if (atomic_fetch_sub(&block_of(c, body->place)->refs, 1) == 1)
            c->host.release(c->host.context, body->place);
        return true;
    }
    chain = collectives_chain(c, &body->envelope, count);
    if (chain == 0)
        return false;
    atomic_fetch_add(&block_of(c, body->place)->refs, count - 1);
    chain_deliver(c, chain, first, body->place, body->envelope.body_size);
    return true;
}

/* ---- marks ---- */

/* A node has one of our multicasts. */
static enum collectives_answer mark_returned(struct collectives *c, uint64_t offset,
                                             uint32_t number)
{
    struct collectives_sent **link = &c->sent, *sent;

    while (*link != NULL && (*link)->number != number)
        link = &(*link)->next;
    sent = *link;
    if (sent == NULL)
        return collectives_broken(c, offset, "a node tells of a message to many that was not sent");
    if (--sent->due == 0) {
        *link = sent->next;
        c->tree_used -= sent->size;
        free(sent);
    }
    c->host.release(c->host.context, offset);
    return COLLECTIVES_TAKEN;
}

enum collectives_answer multicast_mark_take(struct collectives *c, uint32_t from, uint64_t offset,
                                            const struct c4p_envelope *envelope, int64_t now)
{
    struct collectives_body **link, *body;

    if (from == c->self)
        return collectives_broken(c, offset, "a PE sent a mark, which only routers do");
    if (envelope->flags & C4P_RETURN)
        return mark_returned(c, offset, envelope->sequence);
    link = body_find(c, from, envelope->sequence);
    body = *link;
    if (body == NULL)
        return COLLECTIVES_LATER; /* until it comes: relay_take() says so */
    if (!body_deliver(c, body))
        return collectives_later(c, from, now);
    *link = body->next;
    c->tree_bytes[from] -= body->envelope.body_size;
    free(body);
    /* The mark itself goes back. */
    block_of(c, offset)->flags = C4P_RETURN;
    block_of(c, offset)->source = C4P_ROUTER | c->self;
    block_of(c, offset)->target = C4P_ROUTER | from;
    c->host.send(c->host.context, from, STREAM_DIRECT, offset);
    return COLLECTIVES_TAKEN;
}

/* ---- */

enum collectives_answer multicast_take(struct collectives *c, uint32_t from,
                                       enum collectives_stream stream, uint64_t offset,
                                       const struct c4p_envelope *envelope, int64_t now)
{
    struct range range;

    if (!range_read(c, envelope, &range))
        return collectives_broken(c, offset, "a message to many is for PEs that there are not");
    if (from == c->self)
        return origin_take(c, offset, envelope, &range, now);
    if (stream == STREAM_RELAY)
        return relay_take(c, from, offset, envelope, &range, now);
    if (envelope->body != 0)
        return collectives_broken(c, offset, "a message from elsewhere has its body elsewhere");
    return straight_deliver(c, offset, envelope, &range) ? COLLECTIVES_TAKEN
                                                         : collectives_later(c, from, now);
}

void multicast_destroy(struct collectives *c)
{
    struct collectives_body *body;
    struct collectives_sent *sent;

    while ((body = c->bodies) != NULL) {
        c->bodies = body->next;
        aside_forget(c, body->place);
        free(body);
    }
    while ((sent = c->sent) != NULL) {
        c->sent = sent->next;
        free(sent);
    }
}
