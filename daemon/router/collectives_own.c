/*
 * Blocks that wait outside of the segment, and what a router makes itself on its way out.
 *
 * The router's region holds what comes from other nodes. What PEs will take gives its memory back by
 * itself. But parts of reductions wait for other parts, and bodies for their marks, which may be
 * behind what finds no memory. So whatever waits for something else than PEs is moved to the
 * daemon's own memory as soon as anything that comes finds none (collectives_make_room), and goes
 * back when it goes on. And what the router makes itself, results above all, takes no more than half
 * of the region, lest two routers fill theirs with what is for the other: the rest waits its turn,
 * in the order in which it was made. All of it together is limited by what the PEs of the job could
 * have under way if they were on one node.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/router/collectives_parts.h"

#define ALIGNMENT 64 /* as in the segment: arrays are looked at where they are */

/* ---- outside ---- */

bool place_is_aside(uint64_t place)
{
    return place & 1;
}

struct c4p_envelope *collectives_at(const struct collectives *c, uint64_t place)
{
    if (place_is_aside(place))
        return (struct c4p_envelope *)(uintptr_t)(place - 1);
    return segment_block(c->segment, place);
}

/* In front of a block outside: what was allocated, which the block itself does not tell for ever. */
struct aside {
    _Alignas(ALIGNMENT) uint64_t room;
};

/* A block with such an envelope, outside; 0: there is no memory, or the limit is reached. */
static uint64_t aside_make(struct collectives *c, const struct c4p_envelope *envelope,
                           uint64_t size)
{
    uint64_t blocks = (C4P_ENVELOPE_SIZE + size + ALIGNMENT - 1) / ALIGNMENT;
    uint64_t room = sizeof(struct aside) + blocks * ALIGNMENT;
    struct aside *aside;

    if (room > c->aside_limit - c->aside_bytes)
        return 0;
    aside = aligned_alloc(ALIGNMENT, (size_t)room);
    if (aside == NULL)
        return 0;
    c->aside_bytes += room;
    aside->room = room;
    collectives_envelope_write(c, (struct c4p_envelope *)(void *)(aside + 1), envelope, size);
    return (uint64_t)(uintptr_t)(aside + 1) + 1;
}

static void aside_free(struct collectives *c, uint64_t place)
{
    struct aside *aside = (struct aside *)(void *)collectives_at(c, place) - 1;

    c->aside_bytes -= aside->room;
    free(aside);
}

void collectives_drop(struct collectives *c, uint64_t place)
{
    if (place_is_aside(place))
        aside_free(c, place);
    else
        c->host.release(c->host.context, place);
}

uint64_t aside_put(struct collectives *c, uint64_t offset)
{
    struct c4p_envelope envelope;
    uint64_t place;

    if (place_is_aside(offset) ||
        segment_owner(c->segment, offset) != segment_router_slot(c->segment) ||
        envelope_check(segment_block(c->segment, offset), segment_room(c->segment, offset),
                       c->segment->geometry.epoch, &envelope) != C4P_ENVELOPE_OK ||
        envelope.body != 0)
        return offset;
    place = aside_make(c, &envelope, envelope.body_size);
    if (place == 0)
        return offset;
    memcpy(collectives_at(c, place) + 1, segment_block(c->segment, offset) + 1, envelope.body_size);
    region_free(c->region, offset);
    return place;
}

uint64_t aside_return(struct collectives *c, uint64_t place)
{
    const struct c4p_envelope *block = collectives_at(c, place);
    uint64_t offset = collectives_block(c, block, block->body_size);

    if (offset == 0)
        return 0;
    memcpy(segment_block(c->segment, offset) + 1, block + 1, block->body_size);
    aside_free(c, place);
    return offset;
}

/* ---- room for what comes ---- */

static void part_put_aside(void *context, uint64_t *part)
{
    *part = aside_put(context, *part);
}

/* Once; from then on parts are put aside as they come, until there is room again. */
void collectives_make_room(struct collectives *c)
{
    if (!c->pressed)
        gather_each(c->gather, part_put_aside, c);
    c->pressed = true;
    for (struct collectives_body *body = c->bodies; body != NULL; body = body->next) {
        if (!place_is_aside(body->place) &&
            atomic_load(&segment_block(c->segment, body->place)->refs) == 1)
            body->place = aside_put(c, body->place);
    }
}

bool collectives_pressed(struct collectives *c)
{
    if (c->pressed && region_used(c->region) < region_limit(c->region) / 4)
        c->pressed = false;
    return c->pressed;
}

/* ---- what the router makes ---- */

static bool may_make(const struct collectives *c)
{
    return region_used(c->region) <= region_limit(c->region) / 2;
}

uint64_t collectives_make(struct collectives *c, const struct c4p_envelope *envelope, uint64_t size)
{
    uint64_t offset = may_make(c) ? collectives_block(c, envelope, size) : 0;

    return offset != 0 ? offset : aside_make(c, envelope, size);
}

/* Who handles it counts what it has handled; so many of them there will be. */
static uint32_t receivers(const struct collectives *c, const struct c4p_envelope *block)
{
    if (block->flags & C4P_MULTICAST)
        return (uint32_t)block->index[1];
    return block->target < c->pes || (block->target & C4P_ENDPOINT_CLASS) == C4P_ROUTER;
}

static void single_send(struct collectives *c, uint64_t offset)
{
    uint32_t target = segment_block(c->segment, offset)->target;
    uint32_t node = 0; /* where clients are */

    if (target < c->pes)
        node = collectives_node_of(c, target);
    else if ((target & C4P_ENDPOINT_CLASS) == C4P_ROUTER)
        node = target & ~C4P_ENDPOINT_CLASS;
    if (node == c->self)
        c->host.deliver(c->host.context, offset);
    else
        c->host.send(c->host.context, node, STREAM_DIRECT, offset);
}

/* False: no memory now; *place may have changed. */
static bool own_try(struct collectives *c, uint64_t *place)
{
    uint64_t offset = *place;

    if (place_is_aside(offset)) {
        offset = may_make(c) ? aside_return(c, offset) : 0;
        if (offset == 0)
            return false;
        *place = offset;
    }
    if (segment_block(c->segment, offset)->flags & C4P_MULTICAST)
        return multicast_send_own(c, offset);
    single_send(c, offset);
    return true;
}

void own_send(struct collectives *c, uint64_t place, int64_t now)
{
    struct collectives_unsent *unsent;

    atomic_fetch_add(&c->own->sent, receivers(c, collectives_at(c, place)));
    if (c->unsent == NULL && own_try(c, &place))
        return;
    unsent = calloc(1, sizeof(*unsent));
    if (unsent == NULL) {
        collectives_drop(c, place);
        c->host.broken(c->host.context, "the daemon has no memory left");
        return;
    }
    unsent->place = place;
    *c->unsent_last = unsent;
    c->unsent_last = &unsent->next;
    if (c->starved_at == 0)
        c->starved_at = now + COLLECTIVES_PAUSE;
    collectives_schedule(c);
}

void own_retry(struct collectives *c, int64_t now)
{
    struct collectives_unsent *unsent;

    while ((unsent = c->unsent) != NULL) {
        if (!own_try(c, &unsent->place)) {
            c->starved_at = now + COLLECTIVES_PAUSE;
            return;
        }
        c->unsent = unsent->next;
        if (c->unsent == NULL)
            c->unsent_last = &c->unsent;
        free(unsent);
    }
}

void own_destroy(struct collectives *c)
{
    struct collectives_unsent *unsent;

    while ((unsent = c->unsent) != NULL) {
        c->unsent = unsent->next;
        if (place_is_aside(unsent->place))
            aside_free(c, unsent->place);
        free(unsent);
    }
}

void aside_forget(void *context, uint64_t place)
{
    if (place_is_aside(place))
        aside_free(context, place);
}
