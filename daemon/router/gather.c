#include "daemon/router/gather.h"

#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include "daemon/router/fan.h"

struct reduction_key {
    uint64_t collection;
    uint32_t sequence;
    uint32_t zero;
};

/* One reduction. */
struct waiting {
    UT_hash_handle hh;
    struct reduction_key key;
    uint64_t total;
    uint8_t placement;
    uint64_t count, expected;
    uint32_t parts_count, parts_room;
    struct gather_part *parts;
};

struct gather {
    struct waiting *open;
    uint32_t nodes, self;
    uint32_t first_pes[];
};

struct gather *gather_create(const uint32_t *first_pes, uint32_t nodes, uint32_t self)
{
    size_t size = ((size_t)nodes + 1) * sizeof(*first_pes);
    struct gather *gather = calloc(1, sizeof(*gather) + size);

    if (gather == NULL)
        return NULL;
    gather->nodes = nodes;
    gather->self = self;
    memcpy(gather->first_pes, first_pes, size);
    return gather;
}

static void waiting_free(struct gather *gather, struct waiting *waiting)
{
    HASH_DEL(gather->open, waiting);
    free(waiting->parts);
    free(waiting);
}

void gather_destroy(struct gather *gather, void (*drop)(void *context, uint64_t part),
                    void *context)
{
    struct waiting *waiting, *next;

    if (gather == NULL)
        return;
    HASH_ITER(hh, gather->open, waiting, next)
    {
        for (uint32_t i = 0; drop != NULL && i < waiting->parts_count; i++)
            drop(context, waiting->parts[i].part);
        waiting_free(gather, waiting);
    }
    free(gather);
}

void gather_each(struct gather *gather, void (*visit)(void *context, uint64_t *part), void *context)
{
    struct waiting *waiting, *next;

    HASH_ITER(hh, gather->open, waiting, next)
    {
        for (uint32_t i = 0; i < waiting->parts_count; i++)
            visit(context, &waiting->parts[i].part);
    }
}

uint32_t gather_open(const struct gather *gather)
{
    return HASH_COUNT(gather->open);
}

/* ---- who has which contributions ---- */

static uint32_t pes_of(const struct gather *gather)
{
    return gather->first_pes[gather->nodes];
}

/* Contributions of the PEs of nodes first .. end - 1. */
static uint64_t contributions(const struct gather *gather, const struct c4p_tail *tail,
                              uint32_t first, uint32_t end)
{
    return placement_count((enum placement)tail->placement, tail->total, pes_of(gather),
                           gather->first_pes[first], gather->first_pes[end]);
}

/* The tree of the nodes that have contributors. */
static struct fan tree_of(const struct gather *gather, const struct c4p_tail *tail)
{
    uint32_t pes = placement_pes((enum placement)tail->placement, tail->total, pes_of(gather));
    struct fan fan = {.end = gather->nodes, .arity = GATHER_ARITY};

    while (gather->first_pes[fan.first + 1] == 0)
        fan.first++; /* a home without PEs */
    while (gather->first_pes[fan.end - 1] >= pes)
        fan.end--;
    fan.root = fan.first;
    return fan;
}

/* A stretch of nodes, and who is above it. */
struct stretch {
    uint32_t first, end, parent;
};

/* What a node is responsible for. The root is at the front: places are one less than nodes. */
static struct stretch stretch_of(const struct fan *fan, uint32_t node)
{
    struct stretch stretch = {fan->first, fan->end, UINT32_MAX};
    struct fan_part part;

    if (node == fan->root)
        return stretch;
    part = fan_part_of(fan, fan_place(fan, node), &stretch.parent);
    stretch.first = fan_node(fan, part.low);
    stretch.end = fan_node(fan, part.high - 1) + 1;
    return stretch;
}

/* Can this part come from that node? */
static bool part_plausible(const struct gather *gather, const struct fan *fan, uint32_t from,
                           const struct c4p_tail *tail)
{
    struct stretch stretch;

    if (gather->self < fan->first || gather->self >= fan->end || from < fan->first ||
        from >= fan->end)
        return false;
    stretch = stretch_of(fan, from);
    if (from == gather->self)
        stretch.end = from + 1;
    else if (stretch.parent != gather->self)
        return false;
    return tail->origin >= gather->first_pes[stretch.first] &&
           tail->origin < gather->first_pes[stretch.end] &&
           tail->count <= contributions(gather, tail, stretch.first, stretch.end);
}

/* ---- parts ---- */

static struct waiting *waiting_open(struct gather *gather, const struct reduction_key *key,
                                    const struct c4p_tail *tail, const struct fan *fan)
{
    struct stretch own = stretch_of(fan, gather->self);
    struct waiting *waiting;

    if (gather_open(gather) >= GATHER_MAX_OPEN)
        return NULL;
    waiting = calloc(1, sizeof(*waiting));
    if (waiting == NULL)
        return NULL;
    waiting->key = *key;
    waiting->total = tail->total;
    waiting->placement = tail->placement;
    waiting->expected = contributions(gather, tail, own.first, own.end);
    HASH_ADD(hh, gather->open, key, sizeof(waiting->key), waiting);
    return waiting;
}

/* Put it among the others, by origin. Almost always it is the last. */
static enum gather_answer part_insert(struct waiting *waiting, const struct gather_part *part)
{
    uint32_t place = waiting->parts_count;

    while (place > 0 && waiting->parts[place - 1].origin > part->origin)
        place--;
    if (part->count > waiting->expected - waiting->count ||
        (place > 0 && waiting->parts[place - 1].origin == part->origin))
        return GATHER_WRONG;
    if (waiting->parts_count == waiting->parts_room) {
        uint32_t room = waiting->parts_room ? 2 * waiting->parts_room : GATHER_ARITY + 1;
        struct gather_part *parts = realloc(waiting->parts, room * sizeof(*parts));

        if (parts == NULL)
            return GATHER_NO_MEMORY;
        waiting->parts = parts;
        waiting->parts_room = room;
    }
    memmove(waiting->parts + place + 1, waiting->parts + place,
            (waiting->parts_count - place) * sizeof(*waiting->parts));
    waiting->parts[place] = *part;
    waiting->parts_count++;
    waiting->count += part->count;
    return waiting->count == waiting->expected ? GATHER_COMPLETE : GATHER_HELD;
}

enum gather_answer gather_add(struct gather *gather, uint32_t from, uint64_t collection,
                              uint32_t sequence, const struct c4p_tail *tail, uint64_t part,
                              struct gather_done *done)
{
    const struct reduction_key key = {collection, sequence, 0};
    const struct gather_part added = {tail->origin, tail->count, part};
    struct fan fan = tree_of(gather, tail);
    enum gather_answer answer;
    struct waiting *waiting;

    if (!part_plausible(gather, &fan, from, tail))
        return GATHER_WRONG;
    HASH_FIND(hh, gather->open, &key, sizeof(key), waiting);
    if (waiting == NULL && (waiting = waiting_open(gather, &key, tail, &fan)) == NULL)
        return GATHER_NO_MEMORY;
    if (waiting->total != tail->total || waiting->placement != tail->placement)
        return GATHER_WRONG;
    answer = part_insert(waiting, &added);
    if (answer == GATHER_COMPLETE) {
        *done = (struct gather_done){.root = gather->self == fan.root,
                                     .parent = stretch_of(&fan, gather->self).parent,
                                     .count = waiting->count,
                                     .parts_count = waiting->parts_count,
                                     .parts = waiting->parts};
        waiting->parts = NULL;
    }
    if (answer == GATHER_COMPLETE || waiting->parts_count == 0)
        waiting_free(gather, waiting);
    return answer;
}
