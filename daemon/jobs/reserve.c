#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/jobs/reserve.h"
#include "proto/control.h"

/* A job has so many nodes at most; the home is always one of them. */
#define MAX_OTHERS (CONTROL_MAX_NODES - 1)

static const struct reservation_unfit *unfit_find(const struct reservation_request *request,
                                                  const struct node_key *node)
{
    for (size_t i = 0; i < request->unfit_count; i++)
        if (memcmp(&request->unfit[i].node, node, sizeof(*node)) == 0)
            return &request->unfit[i];
    return NULL;
}

bool reservation_usable(const struct reservation_request *request,
                        const struct reservation_node *node)
{
    return !node->draining && unfit_find(request, &node->node) == NULL;
}

static uint32_t add(uint32_t one, uint32_t other)
{
    return one > UINT32_MAX - other ? UINT32_MAX : one + other;
}

static uint32_t less(uint32_t one, uint32_t other)
{
    return one < other ? one : other;
}

static int number_compare(const void *one, const void *other)
{
    uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;

    return a > b ? -1 : a < b;
}

/* Of so many numbers the largest MAX_OTHERS. */
static uint32_t largest_sum(uint32_t *numbers, size_t count)
{
    uint32_t sum = 0;

    qsort(numbers, count, sizeof(*numbers), number_compare);
    for (size_t i = 0; i < count && i < MAX_OTHERS; i++)
        sum = add(sum, numbers[i]);
    return sum;
}

struct reservation_sum reservation_sum(const struct reservation_request *request,
                                       const struct reservation_node *nodes, size_t count)
{
    struct reservation_sum sum = {0};
    uint32_t *pes = calloc(2 * count + 1, sizeof(*pes)), *available = pes + count;
    size_t others = 0;

    for (size_t i = 0; pes != NULL && i < count; i++) {
        const struct reservation_node *node = &nodes[i];

        if (!reservation_usable(request, node))
            continue;
        sum.nodes += node->pes > 0;
        if (node->self) {
            sum.self_pes = node->pes;
            sum.self_free = less(node->pes_free, node->pes);
        } else {
            pes[others] = node->pes;
            /* A node may say what it likes. */
            available[others++] = less(node->pes_free, node->pes);
        }
    }
    if (pes != NULL) {
        sum.pes = add(sum.self_pes, largest_sum(pes, others));
        sum.pes_free = add(sum.self_free, largest_sum(available, others));
    }
    free(pes);
    return sum;
}

static const char *plural(uint32_t number)
{
    return number == 1 ? "" : "s";
}

/* "this node" and "the cluster" in the sentences about room. */
struct place {
    uint32_t wanted, pes, pes_free;
    const char *on; /* " on 3 nodes" */
    bool alone;
};

static void reason_too_large(const struct reservation_request *request, const struct place *place,
                             char reason[RESERVE_REASON_SIZE])
{
    const struct reservation_unfit *unfit = request->unfit;

    if (place->alone && place->pes == 0)
        snprintf(reason, RESERVE_REASON_SIZE, "waits for %u PE%s: this node has none",
                 place->wanted, plural(place->wanted));
    else if (place->alone)
        snprintf(reason, RESERVE_REASON_SIZE, "waits for %u PE%s: this node has only %u",
                 place->wanted, plural(place->wanted), place->pes);
    else if (request->unfit_count > 0)
        snprintf(reason, RESERVE_REASON_SIZE,
                 "wants %u PE%s: the nodes that can run it have %u (%u cannot: %.200s)",
                 place->wanted, plural(place->wanted), place->pes, (unsigned)request->unfit_count,
                 unfit[request->unfit_count - 1].reason);
    else
        snprintf(reason, RESERVE_REASON_SIZE,
                 "wants %u PE%s: the cluster has %u%s (it starts when a host joins)", place->wanted,
                 plural(place->wanted), place->pes, place->on);
}

/* Nodes that would have room, perhaps, but are out of the question for this job. */
static void reason_add_unfit(const struct reservation_request *request,
                             char reason[RESERVE_REASON_SIZE])
{
    const size_t length = strlen(reason);

    snprintf(reason + length, RESERVE_REASON_SIZE - length, " (%u cannot run it: %.200s)",
             (unsigned)request->unfit_count, request->unfit[request->unfit_count - 1].reason);
}

static void reason_full(const struct place *place, char reason[RESERVE_REASON_SIZE])
{
    if (place->pes == 1)
        snprintf(reason, RESERVE_REASON_SIZE, "waits for 1 PE: the only one is in use");
    else if (place->pes_free == 0)
        snprintf(reason, RESERVE_REASON_SIZE, "waits for %u PE%s: none of %u is free%s",
                 place->wanted, plural(place->wanted), place->pes, place->on);
    else
        snprintf(reason, RESERVE_REASON_SIZE, "waits for %u PE%s: %u of %u %s free%s",
                 place->wanted, plural(place->wanted), place->pes_free, place->pes,
                 place->pes_free == 1 ? "is" : "are", place->on);
}

enum queue_room reservation_room(const struct reservation_request *request,
                                 const struct reservation_sum *sum, bool alone,
                                 char reason[RESERVE_REASON_SIZE])
{
    /* A job of any number is content with this node. */
    bool here = alone || request->pes == 0;
    char on[48] = "";
    const struct place place = {
        .wanted = request->pes > 0 ? request->pes : 1,
        .pes = here ? sum->self_pes : sum->pes,
        .pes_free = here ? sum->self_free : sum->pes_free,
        .on = on,
        .alone = here,
    };

    if (!here && sum->nodes > CONTROL_MAX_NODES)
        snprintf(on, sizeof(on), " on %d of its %u nodes", CONTROL_MAX_NODES, sum->nodes);
    else if (!here)
        snprintf(on, sizeof(on), " on %u node%s", sum->nodes, plural(sum->nodes));
    if (place.wanted > place.pes) {
        reason_too_large(request, &place, reason);
        return QUEUE_TOO_LARGE;
    }
    if (place.wanted > place.pes_free) {
        reason_full(&place, reason);
        if (!here && request->unfit_count > 0)
            reason_add_unfit(request, reason);
        return QUEUE_FULL;
    }
    snprintf(reason, RESERVE_REASON_SIZE, "is about to start");
    return QUEUE_ROOM;
}

/* ---- choosing ---- */

struct candidate {
    size_t index;
    uint32_t pes_free;
    uint64_t lot;
};

/* splitmix64 (Steele, Lea, Flood 2014): any bit of the input changes all of the output. */
uint64_t reservation_mix(uint64_t number)
{
    number += 0x9e3779b97f4a7c15u;
    number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9u;
    number = (number ^ (number >> 27)) * 0x94d049bb133111ebu;
    return number ^ (number >> 31);
}

static int candidate_compare(const void *one, const void *other)
{
    const struct candidate *a = one, *b = other;

    if (a->pes_free != b->pes_free)
        return a->pes_free > b->pes_free ? -1 : 1;
    return a->lot < b->lot ? -1 : a->lot > b->lot;
}

/* Other nodes that have something free, the one with most of it first. */
static size_t candidates_collect(const struct reservation_request *request,
                                 const struct reservation_node *nodes, size_t count,
                                 struct candidate *candidates)
{
    size_t found = 0;

    for (size_t i = 0; i < count; i++) {
        uint32_t available = less(nodes[i].pes_free, nodes[i].pes);

        if (nodes[i].self || available == 0 || !reservation_usable(request, &nodes[i]))
            continue;
        candidates[found++] = (struct candidate){i, available, reservation_mix(request->seed ^ i)};
    }
    qsort(candidates, found, sizeof(*candidates), candidate_compare);
    return found;
}

struct choice {
    struct reservation_part *parts;
    size_t *which;
    size_t count;
};

static void choice_add(struct choice *choice, const struct reservation_node *nodes, size_t index,
                       uint32_t pes)
{
    choice->which[choice->count] = index;
    choice->parts[choice->count++] = (struct reservation_part){nodes[index].node, pes};
}

/* `rest` PEs from others; the largest are taken until one of those that are left is enough. */
static bool choice_fill(struct choice *choice, const struct reservation_node *nodes,
                        const struct candidate *candidates, size_t count, uint32_t rest)
{
    for (size_t i = 0; i < count && i < MAX_OTHERS && rest > 0; i++) {
        size_t last = i;

        while (candidates[i].pes_free >= rest && last + 1 < count &&
               candidates[last + 1].pes_free >= rest)
            last++;
        choice_add(choice, nodes, candidates[last].index, less(rest, candidates[last].pes_free));
        rest -= less(rest, candidates[last].pes_free);
    }
    return rest == 0;
}

size_t reservation_choose(const struct reservation_request *request,
                          const struct reservation_node *nodes, size_t count,
                          struct reservation_part *parts, size_t *which)
{
    struct choice choice = {parts, which, 0};
    struct candidate *candidates;
    uint32_t rest = request->pes;
    bool enough;

    for (size_t i = 0; i < count; i++) {
        uint32_t available = less(nodes[i].pes_free, nodes[i].pes);

        if (!nodes[i].self || available == 0 || !reservation_usable(request, &nodes[i]))
            continue;
        available = request->pes > 0 ? less(available, rest) : available;
        choice_add(&choice, nodes, i, available);
        rest -= less(rest, available);
    }
    if (rest == 0)
        return choice.count;
    candidates = calloc(count, sizeof(*candidates));
    if (candidates == NULL)
        return 0;
    count = candidates_collect(request, nodes, count, candidates);
    enough = choice_fill(&choice, nodes, candidates, count, rest);
    free(candidates);
    return enough ? choice.count : 0;
}
