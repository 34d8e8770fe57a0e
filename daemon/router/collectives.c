#include "daemon/router/collectives.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/router/collectives_parts.h"

/* ---- coming and going ---- */

/* Of the router's region, what all origins together may fill with bodies that wait for marks. */
#define TREE_SHARE 8

static int tables_create(struct collectives *collectives, const struct router_nodes *nodes)
{
    uint32_t count = nodes->count;
    bool *silent = calloc(count, sizeof(*silent));

    collectives->first_pes = calloc(count + 1u, sizeof(*collectives->first_pes));
    collectives->starved = calloc(count, sizeof(*collectives->starved));
    collectives->tree_bytes = calloc(count, sizeof(*collectives->tree_bytes));
    if (silent != NULL && collectives->first_pes != NULL && collectives->starved != NULL &&
        collectives->tree_bytes != NULL) {
        for (uint32_t i = 0; i < count; i++) {
            collectives->first_pes[i] = nodes->nodes[i].first_pe;
            silent[i] = i > 0 && nodes->nodes[i].pes == 0;
        }
        collectives->first_pes[count] = collectives->pes;
        collectives->gather = gather_create(collectives->first_pes, count, nodes->self);
        collectives->quiet = nodes->self == 0 ? quiet_create(count, silent) : NULL;
    }
    free(silent);
    return collectives->gather != NULL && (nodes->self != 0 || collectives->quiet != NULL) ? 0 : -1;
}

struct collectives *collectives_create(const struct segment *segment, struct region *region,
                                       const struct router_nodes *nodes,
                                       const struct collectives_host *host)
{
    struct collectives *collectives = calloc(1, sizeof(*collectives));

    if (collectives == NULL)
        return NULL;
    collectives->segment = segment;
    collectives->region = region;
    collectives->own = segment_endpoint(segment, segment_router_slot(segment));
    collectives->host = *host;
    collectives->nodes = nodes->count;
    collectives->self = nodes->self;
    collectives->pes = segment->geometry.pes;
    collectives->tree_limit = segment->geometry.region_size / TREE_SHARE / nodes->count;
    collectives->unsent_last = &collectives->unsent;
    collectives->aside_limit = collectives->pes * segment->geometry.region_size;
    collectives->idle_forced = true; /* nothing was reported yet */
    if (tables_create(collectives, nodes) == 0)
        return collectives;
    collectives_destroy(collectives);
    errno = ENOMEM;
    return NULL;
}

/* Blocks are not given back: the segment goes, too. */
void collectives_destroy(struct collectives *collectives)
{
    if (collectives == NULL)
        return;
    multicast_destroy(collectives);
    gather_destroy(collectives->gather, aside_forget, collectives);
    own_destroy(collectives);
    quiet_destroy(collectives->quiet);
    free(collectives->first_pes);
    free(collectives->starved);
    free(collectives->tree_bytes);
    free(collectives);
}

/* ---- nodes and PEs ---- */

uint32_t collectives_node_of(const struct collectives *collectives, uint32_t pe)
{
    uint32_t low = 0, high = collectives->nodes;

    /* The last node whose first PE is not behind it. */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (collectives->first_pes[middle] <= pe)
            low = middle;
        else
            high = middle;
    }
    return low;
}

uint32_t collectives_local(const struct collectives *collectives, uint32_t first, uint32_t count,
                           uint32_t *from)
{
    uint32_t low = collectives->first_pes[collectives->self];
    uint32_t high = collectives->first_pes[collectives->self + 1];

    if (low < first)
        low = first;
    if (high > first + count)
        high = first + count;
    *from = low;
    return high > low ? high - low : 0;
}

/* ---- blocks ---- */

void collectives_envelope_write(const struct collectives *collectives, struct c4p_envelope *block,
                                const struct c4p_envelope *like, uint64_t size)
{
    memcpy((void *)block, (void *)like, C4P_ENVELOPE_SIZE);
    block->next = block->body = 0;
    block->body_size = size;
    block->version = C4P_ENVELOPE_VERSION;
    block->epoch = collectives->segment->geometry.epoch;
    atomic_store_explicit(&block->refs, 0, memory_order_relaxed);
}

uint64_t collectives_block(struct collectives *collectives, const struct c4p_envelope *envelope,
                           uint64_t size)
{
    const struct segment *segment = collectives->segment;
    uint64_t offset = region_alloc(collectives->region, C4P_ENVELOPE_SIZE + (size_t)size);

    if (offset == 0)
        return 0;
    collectives_envelope_write(collectives, segment_block(segment, offset), envelope, size);
    return offset;
}

uint64_t collectives_chain(struct collectives *collectives, const struct c4p_envelope *envelope,
                           uint32_t count)
{
    uint64_t chain = 0;

    while (count-- > 0) {
        uint64_t offset = collectives_block(collectives, envelope, 0);

        if (offset == 0) {
            while (chain != 0)
                region_free(collectives->region, collectives_unchain(collectives, &chain));
            return 0;
        }
        segment_block(collectives->segment, offset)->next = chain;
        chain = offset;
    }
    return chain;
}

/* The chain is in the segment, where others may write, too: then it ends. */
uint64_t collectives_unchain(struct collectives *collectives, uint64_t *chain)
{
    uint64_t offset = *chain;
    volatile uint64_t *link = &segment_block(collectives->segment, offset)->next;
    uint64_t next = *link;

    *chain = segment_offset_valid(collectives->segment, next) ? next : 0;
    *link = 0;
    return offset;
}

/* ---- waiting ---- */

static int64_t earlier(int64_t a, int64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

void collectives_schedule(struct collectives *collectives)
{
    int64_t at = earlier(collectives->starved_at, collectives->idle_at);

    if (at == 0 || (collectives->wake_at != 0 && collectives->wake_at <= at))
        return;
    collectives->wake_at = at;
    collectives->host.wake_at(collectives->host.context, at);
}

enum collectives_answer collectives_later(struct collectives *collectives, uint32_t node,
                                          int64_t now)
{
    collectives->starved[node] = true;
    if (collectives->starved_at == 0)
        collectives->starved_at = now + COLLECTIVES_PAUSE;
    collectives_schedule(collectives);
    return COLLECTIVES_LATER;
}

void collectives_tick(struct collectives *collectives, int64_t now)
{
    collectives->wake_at = 0;
    if (collectives->starved_at != 0 && collectives->starved_at <= now) {
        collectives->starved_at = 0;
        own_retry(collectives, now);
        for (uint32_t i = 0; i < collectives->nodes; i++) {
            if (!collectives->starved[i])
                continue;
            collectives->starved[i] = false;
            collectives->host.resume(collectives->host.context, i);
        }
    }
    if (collectives->idle_at != 0 && collectives->idle_at <= now) {
        collectives->idle_at = 0;
        idle_tick(collectives, now);
    }
    collectives_schedule(collectives);
}

/* ---- what comes ---- */

enum collectives_answer collectives_broken(struct collectives *collectives, uint64_t offset,
                                           const char *what)
{
    collectives->host.release(collectives->host.context, offset);
    collectives->host.broken(collectives->host.context, what);
    return COLLECTIVES_TAKEN;
}

enum collectives_answer collectives_take(struct collectives *collectives, uint32_t from,
                                         enum collectives_stream stream, uint64_t offset,
                                         const struct c4p_envelope *envelope, int64_t now)
{
    if (from >= collectives->nodes)
        return collectives_broken(collectives, offset, "a message comes from no node of the job");
    if (envelope->flags & C4P_MULTICAST)
        return multicast_take(collectives, from, stream, offset, envelope, now);
    if (stream == STREAM_RELAY)
        return collectives_broken(collectives, offset,
                                  "a message that is for one receiver came along a tree");
    switch (envelope->kind) {
    case C4P_PARTIAL:
        return reduce_take(collectives, from, offset, envelope, now);
    case C4P_IDLE:
        return idle_take(collectives, from, offset, envelope, now);
    case C4P_WAVE:
        return wave_take(collectives, from, offset, envelope, now);
    case C4P_QUIESCENT:
        return quiescent_take(collectives, from, offset, envelope, now);
    case C4P_MARK:
        return multicast_mark_take(collectives, from, offset, envelope, now);
    default:
        return collectives_broken(collectives, offset,
                                  "a router got a message of a kind that is not for routers");
    }
}
