/* Where a message goes: to a PE or client of this node, to another node, or to collectives.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/router/block.h"
#include "daemon/router/router_internal.h"
#include "proto/clock.h"
#include "proto/inbox.h"

static uint32_t class_of(uint32_t endpoint)
{
    return endpoint & C4P_ENDPOINT_CLASS;
}

/* The last node whose first PE is not behind it. Nodes without PEs come before the one that has it. */
static uint32_t node_of(const struct router *router, uint32_t pe)
{
    uint32_t low = 0, high = router->count;

    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (router->nodes[middle].first_pe <= pe)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static struct route client_route(const struct router *router, uint32_t client)
{
    const struct segment *segment = &router->segment;
    uint32_t slot;

    if (router->self != 0)
        return (struct route){ROUTE_NODE, 0};
    slot = segment_client_slot(segment, client);
    if (atomic_load_explicit(&segment_endpoint(segment, slot)->address, memory_order_acquire) !=
        client)
        return (struct route){.kind = ROUTE_GONE};
    return (struct route){ROUTE_SLOT, slot};
}

static struct route router_route(const struct router *router, uint32_t node)
{
    if (node == router->self)
        return (struct route){.kind = ROUTE_TOGETHER};
    return (struct route){node < router->count ? ROUTE_NODE : ROUTE_NOWHERE, node};
}

struct route route_find(const struct router *router, const struct c4p_envelope *envelope)
{
    const struct segment_geometry *geometry = &router->segment.geometry;
    uint32_t target = envelope->target;

    if (envelope->flags & C4P_MULTICAST)
        return (struct route){.kind = ROUTE_TOGETHER};
    if (target - geometry->first_pe < geometry->local_pes)
        return (struct route){ROUTE_SLOT, target - geometry->first_pe};
    if (class_of(target) == C4P_CLIENT)
        return client_route(router, target);
    if (class_of(target) == C4P_ROUTER)
        return router_route(router, target & ~C4P_ENDPOINT_CLASS);
    if (target < geometry->pes)
        return (struct route){ROUTE_NODE, node_of(router, target)};
    return (struct route){.kind = ROUTE_NOWHERE};
}

/* ---- from here ---- */

/* A message's sender is who owns the region that it lies in; but for one that a PE only sends on. */
static bool source_agrees(const struct router *router, uint64_t offset,
                          const struct c4p_envelope *envelope)
{
    const struct segment *segment = &router->segment;
    uint32_t owner = segment_owner(segment, offset), source = envelope->source;

    if (envelope->flags & C4P_FORWARDED)
        return source - segment->geometry.first_pe < segment->geometry.local_pes;

    if (owner < segment->geometry.local_pes)
        return source == segment->geometry.first_pe + owner;
    return owner != segment_router_slot(segment) && router->self == 0 &&
           class_of(source) == C4P_CLIENT &&
           atomic_load_explicit(&segment_endpoint(segment, owner)->address, memory_order_acquire) ==
               source;
}

static bool together_take(struct router *router, struct lane *lane, uint64_t offset,
                          const struct c4p_envelope *envelope)
{
    uint32_t from = lane != NULL ? lane->node->number : router->self;
    enum collectives_stream which = lane != NULL ? lane->which : STREAM_DIRECT;

    return collectives_take(router->collectives, from, which, offset, envelope, clock_ms()) ==
           COLLECTIVES_TAKEN;
}

/* Put it behind what waits for memory: messages of one sender keep their order. */
static void routed_wait(struct router *router, uint64_t offset)
{
    struct routed *routed = calloc(1, sizeof(*routed));

    if (routed == NULL) {
        router_release(router, offset);
        router_corrupt(router, "there is no memory for what waits to be sent to other nodes");
        return;
    }
    routed->offset = offset;
    DL_APPEND(router->routed, routed);
}

/* Send on what is checked. False: it is for nobody. */
static bool block_carry(struct router *router, uint64_t offset, const struct c4p_envelope *envelope)
{
    struct route route = route_find(router, envelope);

    if (route.kind != ROUTE_TOGETHER && route.kind != ROUTE_NODE)
        return false;
    if (router->routed != NULL)
        routed_wait(router, offset);
    else if (route.kind == ROUTE_NODE)
        lane_send(&router->nodes[route.to].lanes[FRAME_DIRECT], offset);
    else if (!together_take(router, NULL, offset, envelope))
        routed_wait(router, offset);
    return true;
}

void route_retry(struct router *router)
{
    while (router->routed != NULL && router->routed_resumed && !router->corrupted) {
        struct routed *first = router->routed, *rest;
        uint64_t offset = first->offset;
        struct c4p_envelope envelope;
        const void *body;

        /* It is tried as if nothing was before it; if it has to wait again it is the first again. */
        DL_DELETE(router->routed, first);
        rest = router->routed;
        router->routed = NULL;
        free(first);
        if (!block_read(&router->segment, offset, &envelope, &body) ||
            !block_carry(router, offset, &envelope)) {
            router->dropped++;
            router_release(router, offset);
        }
        router->routed_resumed = router->routed == NULL;
        DL_CONCAT(router->routed, rest);
    }
}

void route_close(struct router *router)
{
    struct routed *routed, *next;

    DL_FOREACH_SAFE(router->routed, routed, next)
    free(routed);
    router->routed = NULL;
}

bool route_local(struct router *router, uint64_t offset)
{
    struct c4p_envelope envelope;
    const void *body;

    if (router->nodes != NULL && block_read(&router->segment, offset, &envelope, &body) &&
        source_agrees(router, offset, &envelope) && block_carry(router, offset, &envelope))
        return false;
    router->dropped++;
    return true;
}

static bool elsewhere_reaches(void *context, const struct c4p_envelope *envelope)
{
    return route_find(context, envelope).kind == ROUTE_NODE;
}

/* Of a client that does not map the segment: it is in our region, and was checked. */
static void elsewhere_send(void *context, uint64_t offset)
{
    struct router *router = context;
    struct c4p_envelope envelope;
    const void *body;

    if (!block_read(&router->segment, offset, &envelope, &body) ||
        !block_carry(router, offset, &envelope)) {
        router->dropped++;
        router_release(router, offset);
    }
}

static uint64_t elsewhere_alloc(void *context, size_t size)
{
    return route_alloc(context, size);
}

/* ---- from other nodes ---- */

/*
 * Large ones leave some memory to the small blocks by which they are passed on: else they could wait
 * for each other for ever.
 */
static bool arrival_fits(const struct router *router, size_t size)
{
    uint64_t most = region_limit(router->region) - SEGMENT_ROUTER_RESERVE / 2;

    return size <= REGION_MAX_SMALL || region_used(router->region) + size <= most;
}

static uint64_t arrival_alloc(const struct router *router, size_t size)
{
    if (!arrival_fits(router, size) && size <= router->limit + C4P_ENVELOPE_SIZE) {
        region_reclaim(router->region);
        errno = ENOMEM;
        if (!arrival_fits(router, size))
            return 0;
    }
    return region_alloc(router->region, size);
}

uint64_t route_alloc(struct router *router, size_t size)
{
    uint64_t offset = arrival_alloc(router, size);

    if (offset == 0 && errno == ENOMEM) {
        collectives_make_room(router->collectives);
        offset = arrival_alloc(router, size);
    }
    return offset;
}

bool route_foreign(struct lane *lane, uint64_t offset, const struct c4p_envelope *envelope)
{
    struct router *router = lane->router;
    struct route route = route_find(router, envelope);

    if (route.kind == ROUTE_TOGETHER)
        return together_take(router, lane, offset, envelope);
    if (route.kind == ROUTE_SLOT)
        inbox_push(&router->segment, route.to, offset);
    else
        region_free(router->region, offset); /* a client that has left meanwhile */
    return true;
}

/* ---- what collectives ask for ---- */

static void on_send(void *context, uint32_t node, enum collectives_stream stream, uint64_t offset)
{
    struct router *router = context;

    if (node < router->count && node != router->self)
        lane_send(&router->nodes[node].lanes[stream], offset);
    else
        router_release(router, offset);
}

static void on_deliver(void *context, uint64_t offset)
{
    struct router *router = context;
    struct c4p_envelope envelope;
    struct route route;

    memcpy((void *)&envelope, (void *)segment_block(&router->segment, offset), sizeof(envelope));
    route = route_find(router, &envelope);
    if (route.kind == ROUTE_SLOT)
        inbox_push(&router->segment, route.to, offset);
    else
        router_release(router, offset);
}

static void on_release(void *context, uint64_t offset)
{
    router_release(context, offset);
}

static void on_resume(void *context, uint32_t node)
{
    struct router *router = context;

    router->routed_resumed |= node == router->self;
    for (unsigned i = 0; node < router->count && i < FRAME_STREAMS; i++)
        router->nodes[node].lanes[i].resumed = true;
}

static void on_wake_at(void *context, int64_t at)
{
    struct router *router = context;

    router->tick_at = at;
}

static void on_broken(void *context, const char *what)
{
    router_corrupt(context, what);
}

int route_open(struct router *router, const struct router_nodes *nodes)
{
    const struct collectives_host host = {
        .send = on_send,
        .deliver = on_deliver,
        .release = on_release,
        .resume = on_resume,
        .wake_at = on_wake_at,
        .broken = on_broken,
        .context = router,
    };

    router->collectives = collectives_create(&router->segment, router->region, nodes, &host);
    router->remotes.elsewhere =
        (struct router_elsewhere){elsewhere_reaches, elsewhere_send, elsewhere_alloc, router};
    return router->collectives == NULL ? -1 : 0;
}
