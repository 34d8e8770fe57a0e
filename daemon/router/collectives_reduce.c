/*
 * Reductions: parts that come, what is made of them, and where that goes (see collectives.h).
 *
 * A part is a message to this router, and handled when it has been put to the others. What is made
 * of the last of them is counted as sent before that: quiescence sees a reduction that goes on, and
 * not one that waits for contributions, as on one node.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/router/collectives_parts.h"
#include "daemon/router/combine.h"

/* A part, or what some have been combined to. */
struct piece {
    uint64_t place;
    struct c4p_envelope envelope;
    struct c4p_tail tail;
    uint64_t size;               /* of the value, which is in the block ... */
    struct combine_result apart; /* ... or here, if apart.size > 0 */
};

static uint8_t *body_of(const struct collectives *c, uint64_t place)
{
    return (uint8_t *)(collectives_at(c, place) + 1);
}

static uint8_t *piece_value(const struct collectives *c, struct piece *piece)
{
    return piece->apart.size > 0 ? piece->apart.bytes : body_of(c, piece->place);
}

static size_t piece_size(const struct piece *piece)
{
    return piece->apart.size > 0 ? piece->apart.size : piece->size;
}

/* Look at a part again: it was checked when it came, but is where others can write. */
static bool piece_read(const struct collectives *c, const struct gather_part *part,
                       struct piece *piece)
{
    const struct c4p_envelope *block = collectives_at(c, part->part);
    size_t room = place_is_aside(part->part) ? C4P_ENVELOPE_SIZE + block->body_size
                                             : segment_room(c->segment, part->part);

    memset(piece, 0, sizeof(*piece));
    piece->place = part->part;
    if (envelope_check(block, room, c->segment->geometry.epoch, &piece->envelope) !=
            C4P_ENVELOPE_OK ||
        piece->envelope.body != 0 ||
        !tail_read(body_of(c, part->part), piece->envelope.body_size, c->pes, &piece->tail))
        return false;
    piece->size = piece->envelope.body_size - C4P_TAIL_SIZE;
    return piece->tail.origin == part->origin && piece->tail.count == part->count;
}

/* ---- combining ---- */

/* Do both say the same of their reduction? If not, a PE tells people what is wrong. */
static bool pieces_agree(const struct piece *a, const struct piece *b)
{
    const uint16_t flags = C4P_RETURN | C4P_EXCEPTION | C4P_EMPTY;

    return a->envelope.method == b->envelope.method &&
           (a->envelope.flags & flags) == (b->envelope.flags & flags) &&
           !(a->envelope.flags & C4P_EXCEPTION) && a->tail.operation == b->tail.operation &&
           a->tail.target == b->tail.target && a->envelope.args == b->envelope.args;
}

/*
 * Has it no value? Nothing is contributed with the reducer nop. What gather and custom reducers get
 * goes to a PE at once: routers only see to it that all nodes mean the same reducer.
 */
static bool without_value(const struct c4p_tail *tail)
{
    return tail->operation == OP_NOP || tail->operation >= OP_GATHER;
}

/* Make two pieces one, in `into`. */
static bool piece_merge(struct collectives *c, struct piece *into, struct piece *other)
{
    enum combine_answer answer;

    if (!pieces_agree(into, other))
        return false;
    if (!without_value(&into->tail)) {
        if (into->envelope.args != 1)
            return false;
        answer = combine_values((enum reducer_op)into->tail.operation, piece_value(c, into),
                                piece_size(into), piece_value(c, other), piece_size(other),
                                &into->apart);
        if (answer == COMBINE_CANNOT)
            return false;
    }
    into->tail.count += other->tail.count;
    collectives_drop(c, other->place);
    return true;
}

/* In the order of origins; what cannot be combined stays a piece of its own. How many are left. */
static uint32_t pieces_combine(struct collectives *c, struct piece *pieces, uint32_t count)
{
    uint32_t last = 0;

    for (uint32_t i = 1; i < count; i++) {
        if (piece_merge(c, &pieces[last], &pieces[i]))
            continue;
        if (++last != i)
            pieces[last] = pieces[i];
    }
    return last + 1;
}

/* ---- passing on ---- */

/*
 * A block that holds `size` bytes, and more behind them, with the value in it: the piece's own if it
 * has the room, which every block has up to the next multiple of 64; else another. Its place, or 0:
 * the job has been ended.
 */
static uint64_t piece_block(struct collectives *c, struct piece *piece, uint64_t size)
{
    uint64_t room = (C4P_ENVELOPE_SIZE + piece->envelope.body_size + 63) / 64 * 64;
    uint64_t place = piece->place;

    if (C4P_ENVELOPE_SIZE + size > room) {
        place = collectives_make(c, &piece->envelope, size);
        collectives_drop(c, piece->place);
    }
    if (place == 0)
        c->host.broken(c->host.context, "more results of reductions are under way than all PEs of "
                                        "the job may have (--segment-size sets what each may)");
    else if (piece->apart.size > 0)
        memcpy(body_of(c, place), piece->apart.bytes, piece->apart.size);
    return place;
}

/* To the node above, or to a PE that combines what we could not. */
static void piece_pass(struct collectives *c, struct piece *piece, enum c4p_kind kind,
                       uint32_t target, int64_t now)
{
    uint64_t size = piece_size(piece) + C4P_TAIL_SIZE;
    uint64_t place = piece_block(c, piece, size);
    struct c4p_envelope like = piece->envelope;

    if (place == 0)
        return;
    like.kind = (uint8_t)kind;
    like.source = C4P_ROUTER | c->self;
    like.target = target;
    tail_write(body_of(c, place), size, &piece->tail);
    collectives_envelope_write(c, collectives_at(c, place), &like, size);
    own_send(c, place, now);
}

/* ---- the result ---- */

/* The envelope of the message that the result is, but for whom it is for. */
static struct c4p_envelope result_envelope(const struct collectives *c, const struct piece *piece)
{
    const struct c4p_tail *tail = &piece->tail;
    bool value = tail->operation != OP_NOP;
    struct c4p_envelope like = {.source = C4P_ROUTER | c->self, .args = value};

    switch ((enum tail_target)tail->target) {
    case TARGET_FUTURE:
        like.kind = C4P_FUTURE;
        like.future = tail->id;
        like.args = 1;
        break;
    case TARGET_ALL:
        like.kind = C4P_REDUCED;
        like.collection = piece->envelope.collection;
        like.sequence = piece->envelope.sequence;
        break;
    default:
        like.kind = C4P_CALL;
        like.collection = tail->id;
        like.method = tail->method;
        like.ndims = tail->target == TARGET_ELEMENT ? tail->ndims : 0;
        if (like.ndims == 0)
            like.flags = C4P_BROADCAST;
        else
            memcpy(like.index, tail->index, sizeof(like.index));
    }
    return like;
}

static void result_send(struct collectives *c, uint64_t place, const struct c4p_tail *tail,
                        int64_t now)
{
    struct c4p_envelope *block = collectives_at(c, place);
    bool all = tail->target == TARGET_ALL;

    if (!all && tail->target != TARGET_METHOD) {
        block->target = tail->owner;
        if (tail->owner < c->pes || (tail->owner & C4P_ENDPOINT_CLASS) == C4P_CLIENT) {
            own_send(c, place, now);
            return;
        }
        collectives_drop(c, place);
        c->host.broken(c->host.context, "the result of a reduction is for a PE that there is not");
        return;
    }
    block->flags |= C4P_MULTICAST;
    block->target = C4P_ROUTER | c->self;
    block->index[0] = all ? 0 : (int32_t)tail->owner;
    block->index[1] =
        all ? (int32_t)placement_pes((enum placement)tail->placement, tail->total, c->pes)
            : (int32_t)tail->pes;
    if (block->index[1] == 0)
        collectives_drop(c, place);
    else
        own_send(c, place, now);
}

/* All is combined: the result becomes a message to its target. */
static void piece_finish(struct collectives *c, struct piece *piece, int64_t now)
{
    static const uint8_t none = 0x01; /* args.md */
    struct c4p_envelope like = result_envelope(c, piece);
    uint64_t size = piece_size(piece), place;

    if (piece->tail.operation == OP_NOP) {
        size = like.args;
        piece->apart.size = size;
        piece->apart.bytes[0] = none;
    }
    place = piece_block(c, piece, size);
    if (place == 0)
        return;
    collectives_envelope_write(c, collectives_at(c, place), &like, size);
    result_send(c, place, &piece->tail, now);
}

/* Has a piece the form in which the target gets it? */
static bool piece_is_result(struct collectives *c, struct piece *piece)
{
    struct combine_result finished = {.size = 0};
    enum combine_answer answer;

    if (piece->envelope.flags & C4P_EXCEPTION)
        return false;
    if (piece->tail.operation == OP_NOP)
        return true;
    if (piece->envelope.args != 1)
        return false;
    answer = combine_finish(piece_value(c, piece), piece_size(piece), &finished);
    if (answer == COMBINE_APART)
        piece->apart = finished;
    return answer != COMBINE_CANNOT;
}

/* ---- parts ---- */

static void reduction_complete(struct collectives *c, const struct gather_done *done, int64_t now)
{
    struct piece *pieces = calloc(done->parts_count, sizeof(*pieces));
    uint32_t count, combiner;

    for (uint32_t i = 0; i < done->parts_count; i++) {
        if (pieces != NULL && piece_read(c, &done->parts[i], &pieces[i]))
            continue;
        c->host.broken(c->host.context, pieces ? "a part of a reduction was overwritten"
                                               : "the daemon has no memory left");
        free(pieces);
        return;
    }
    count = pieces_combine(c, pieces, done->parts_count);
    if (done->root && count == 1 && pieces[0].tail.operation >= OP_GATHER) {
        collectives_drop(c, pieces[0].place);
    } else if (done->root && count == 1 && piece_is_result(c, &pieces[0])) {
        piece_finish(c, &pieces[0], now);
    } else {
        combiner = tail_combiner(&pieces[0].tail, c->pes);
        for (uint32_t i = 0; i < count; i++)
            piece_pass(c, &pieces[i], done->root ? C4P_NODE_PART : C4P_PARTIAL,
                       done->root ? combiner : C4P_ROUTER | done->parent, now);
    }
    free(pieces);
}

static enum collectives_answer part_refuse(struct collectives *c, uint64_t place, const char *what)
{
    collectives_drop(c, place);
    c->host.broken(c->host.context, what);
    return COLLECTIVES_TAKEN;
}

enum collectives_answer reduce_take(struct collectives *c, uint32_t from, uint64_t offset,
                                    const struct c4p_envelope *envelope, int64_t now)
{
    struct gather_done done;
    struct c4p_tail tail;
    uint64_t place;

    if (envelope->body != 0 || !tail_read(body_of(c, offset), envelope->body_size, c->pes, &tail))
        return collectives_broken(c, offset, "a part of a reduction is malformed");
    place = collectives_pressed(c) ? aside_put(c, offset) : offset;
    switch (gather_add(c->gather, from, envelope->collection, envelope->sequence, &tail, place,
                       &done)) {
    case GATHER_HELD:
        break;
    case GATHER_COMPLETE:
        reduction_complete(c, &done, now);
        free(done.parts);
        break;
    case GATHER_NO_MEMORY:
        return part_refuse(c, place, "too many reductions are under way at a time");
    default:
        return part_refuse(c, place, "a part of a reduction is from who cannot have it");
    }
    atomic_fetch_add(&c->own->processed, 1);
    idle_expect(c, now);
    return COLLECTIVES_TAKEN;
}
