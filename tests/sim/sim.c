#include "tests/sim/sim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum event_kind { EVENT_MESSAGE, EVENT_WAKE, EVENT_CALL };

struct event {
    int64_t at;
    uint64_t order; /* of events at the same time: the one that was made first */
    enum event_kind kind;
    unsigned node, from; /* from: also the argument of a call */
    unsigned life;       /* of the node that it is for */
    uint64_t number;     /* of a wake: only the latest one counts */
    void *payload;       /* message or context */
    sim_call *call;
};

struct node {
    void *state;
    unsigned life, group;
    bool paused;
    uint64_t wake_number;
    /* Its clock shows clock_base at true time clock_since, and runs at a rate. */
    int64_t clock_base, clock_since;
    int32_t clock_rate;
    struct event *waiting; /* while it is paused */
    size_t waiting_count, waiting_room;
};

struct sim {
    struct sim_settings settings;
    struct node *nodes;
    int64_t *arrivals; /* of the last message from one to another, if they are ordered */
    struct event *heap;
    size_t count, room;
    int64_t now;
    uint64_t order, random;
    struct sim_figures figures;
};

static void *allocate(void *old, size_t count, size_t size)
{
    void *memory = reallocarray(old, count, size);

    if (memory == NULL) {
        fprintf(stderr, "sim: no memory for %zu times %zu bytes\n", count, size);
        exit(2);
    }
    return memory;
}

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016. */
uint64_t sim_random_below(struct sim *sim, uint64_t limit)
{
    sim->random ^= sim->random >> 12;
    sim->random ^= sim->random << 25;
    sim->random ^= sim->random >> 27;
    return ((sim->random * 0x2545f4914f6cdd1du) >> 16) % limit;
}

static bool happens(struct sim *sim, uint32_t millionths)
{
    return millionths > 0 && sim_random_below(sim, SIM_MILLION) < millionths;
}

/* ---- the heap of events ---- */

static bool event_before(const struct event *a, const struct event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void heap_swap(struct sim *sim, size_t i, size_t j)
{
    struct event kept = sim->heap[i];

    sim->heap[i] = sim->heap[j];
    sim->heap[j] = kept;
}

static void event_add(struct sim *sim, struct event event)
{
    size_t i = sim->count++;

    if (sim->count > sim->room) {
        sim->room = sim->room > 0 ? sim->room * 2 : 1024;
        sim->heap = allocate(sim->heap, sim->room, sizeof(*sim->heap));
    }
    event.order = sim->order++;
    if (event.at < sim->now)
        event.at = sim->now;
    sim->heap[i] = event;
    while (i > 0 && event_before(&sim->heap[i], &sim->heap[(i - 1) / 2])) {
        heap_swap(sim, i, (i - 1) / 2);
        i = (i - 1) / 2;
    }
}

static struct event event_take(struct sim *sim)
{
    struct event first = sim->heap[0];
    size_t i = 0;

    sim->heap[0] = sim->heap[--sim->count];
    for (;;) {
        size_t least = i, left = 2 * i + 1, right = 2 * i + 2;

        if (left < sim->count && event_before(&sim->heap[left], &sim->heap[least]))
            least = left;
        if (right < sim->count && event_before(&sim->heap[right], &sim->heap[least]))
            least = right;
        if (least == i)
            return first;
        heap_swap(sim, i, least);
        i = least;
    }
}

static void event_drop(struct sim *sim, const struct event *event)
{
    if (event->kind == EVENT_MESSAGE)
        sim->settings.owner.message_free(event->payload);
}

/* ---- life ---- */

struct sim *sim_create(const struct sim_settings *settings)
{
    struct sim *sim = allocate(NULL, 1, sizeof(*sim));

    memset(sim, 0, sizeof(*sim));
    sim->settings = *settings;
    sim->random = (settings->seed + 1) * 0x9e3779b97f4a7c15u | 1;
    sim->nodes = allocate(NULL, settings->nodes, sizeof(*sim->nodes));
    memset(sim->nodes, 0, settings->nodes * sizeof(*sim->nodes));
    if (settings->network.ordered) {
        size_t pairs = (size_t)settings->nodes * settings->nodes;

        sim->arrivals = allocate(NULL, pairs, sizeof(*sim->arrivals));
        memset(sim->arrivals, 0, pairs * sizeof(*sim->arrivals));
    }
    return sim;
}

void sim_destroy(struct sim *sim)
{
    if (sim == NULL)
        return;
    for (unsigned i = 0; i < sim->settings.nodes; i++) {
        sim_crash(sim, i);
        free(sim->nodes[i].waiting);
    }
    for (size_t i = 0; i < sim->count; i++)
        event_drop(sim, &sim->heap[i]);
    free(sim->heap);
    free(sim->arrivals);
    free(sim->nodes);
    free(sim);
}

/* ---- clocks ---- */

int64_t sim_now(const struct sim *sim)
{
    return sim->now;
}

int64_t sim_clock(const struct sim *sim, unsigned node)
{
    const struct node *its = &sim->nodes[node];
    int64_t passed = sim->now - its->clock_since;

    return its->clock_base + passed + passed * its->clock_rate / SIM_MILLION;
}

/* The true time when its clock will show this: not before, and at most 1 us after. */
static int64_t time_of_clock(const struct sim *sim, unsigned node, int64_t at)
{
    const struct node *its = &sim->nodes[node];
    int64_t wait = at - sim_clock(sim, node);

    if (wait <= 0)
        return sim->now;
    return sim->now + wait * SIM_MILLION / ((int64_t)SIM_MILLION + its->clock_rate) + 1;
}

static void clock_set(struct sim *sim, unsigned node, int64_t shows)
{
    sim->nodes[node].clock_base = shows;
    sim->nodes[node].clock_since = sim->now;
}

void sim_set_clock_rate(struct sim *sim, unsigned node, int32_t millionths)
{
    clock_set(sim, node, sim_clock(sim, node));
    sim->nodes[node].clock_rate = millionths;
}

void sim_clock_jump(struct sim *sim, unsigned node, int64_t by)
{
    clock_set(sim, node, sim_clock(sim, node) + by);
}

void sim_wake_at(struct sim *sim, unsigned node, int64_t at)
{
    struct node *its = &sim->nodes[node];

    event_add(sim, (struct event){.at = time_of_clock(sim, node, at),
                                  .kind = EVENT_WAKE,
                                  .node = node,
                                  .life = its->life,
                                  .number = ++its->wake_number});
}

void sim_call_at(struct sim *sim, int64_t at, sim_call *call, void *context, unsigned argument)
{
    event_add(
        sim, (struct event){
                 .at = at, .kind = EVENT_CALL, .call = call, .payload = context, .from = argument});
}

/* ---- the network ---- */

static int64_t delay_throw(struct sim *sim)
{
    const struct sim_network *network = &sim->settings.network;
    double uniform = ((double)sim_random_below(sim, 1 << 24) + 1) / (1 << 24);
    int64_t spread = network->delay_mean - network->delay_least;
    int64_t delay = network->delay_least;

    if (spread > 0)
        delay += (int64_t)(-log(uniform) * (double)spread);
    if (happens(sim, network->slow))
        delay += network->slow_delay;
    return delay;
}

static void message_launch(struct sim *sim, unsigned from, unsigned to, const void *message)
{
    int64_t at = sim->now + delay_throw(sim);

    if (sim->arrivals != NULL && !happens(sim, sim->settings.network.reordered)) {
        int64_t *last = &sim->arrivals[(size_t)from * sim->settings.nodes + to];

        if (at < *last)
            at = *last;
        *last = at;
    }
    event_add(sim, (struct event){.at = at,
                                  .kind = EVENT_MESSAGE,
                                  .node = to,
                                  .from = from,
                                  .life = sim->nodes[to].life,
                                  .payload = sim->settings.owner.message_copy(message)});
}

void sim_send(struct sim *sim, unsigned from, unsigned to, const void *message)
{
    sim->figures.sent++;
    if (happens(sim, sim->settings.network.loss)) {
        sim->figures.lost++;
        return;
    }
    message_launch(sim, from, to, message);
    if (happens(sim, sim->settings.network.duplicates)) {
        sim->figures.duplicated++;
        message_launch(sim, from, to, message);
    }
}

struct sim_network *sim_network(struct sim *sim)
{
    return &sim->settings.network;
}

struct sim_figures sim_figures(const struct sim *sim)
{
    return sim->figures;
}

/* ---- what is done to nodes ---- */

void sim_start(struct sim *sim, unsigned node)
{
    struct node *its = &sim->nodes[node];

    if (its->state != NULL)
        return;
    its->life++;
    its->wake_number++;
    its->state = sim->settings.owner.start(sim->settings.owner.context, node, its->life);
}

void sim_crash(struct sim *sim, unsigned node)
{
    struct node *its = &sim->nodes[node];
    void *state = its->state;

    for (size_t i = 0; i < its->waiting_count; i++)
        event_drop(sim, &its->waiting[i]);
    its->waiting_count = 0;
    its->paused = false;
    its->state = NULL;
    if (state != NULL)
        sim->settings.owner.end(sim->settings.owner.context, node, state);
}

void sim_pause(struct sim *sim, unsigned node)
{
    sim->nodes[node].paused = sim->nodes[node].state != NULL;
}

static void waiting_add(struct node *its, const struct event *event)
{
    if (its->waiting_count == its->waiting_room) {
        its->waiting_room = its->waiting_room > 0 ? its->waiting_room * 2 : 16;
        its->waiting = allocate(its->waiting, its->waiting_room, sizeof(*its->waiting));
    }
    its->waiting[its->waiting_count++] = *event;
}

void sim_resume(struct sim *sim, unsigned node)
{
    struct node *its = &sim->nodes[node];

    its->paused = false;
    for (size_t i = 0; i < its->waiting_count; i++) {
        its->waiting[i].at = sim->now;
        event_add(sim, its->waiting[i]);
    }
    its->waiting_count = 0;
}

void sim_set_group(struct sim *sim, unsigned node, unsigned group)
{
    sim->nodes[node].group = group;
}

bool sim_is_up(const struct sim *sim, unsigned node)
{
    return sim->nodes[node].state != NULL;
}

bool sim_is_paused(const struct sim *sim, unsigned node)
{
    return sim->nodes[node].paused;
}

unsigned sim_life(const struct sim *sim, unsigned node)
{
    return sim->nodes[node].life;
}

unsigned sim_group(const struct sim *sim, unsigned node)
{
    return sim->nodes[node].group;
}

void *sim_state(const struct sim *sim, unsigned node)
{
    return sim->nodes[node].state;
}

/* ---- time goes on ---- */

static void message_deliver(struct sim *sim, const struct event *event)
{
    const struct sim_owner *owner = &sim->settings.owner;
    struct node *its = &sim->nodes[event->node];

    if (sim->nodes[event->from].group != its->group) {
        sim->figures.cut++;
    } else if (its->state != NULL && its->life == event->life) {
        sim->figures.delivered++;
        owner->receive(owner->context, event->node, its->state, event->from, event->payload);
    }
    owner->message_free(event->payload);
}

static void event_run(struct sim *sim, const struct event *event)
{
    const struct sim_owner *owner = &sim->settings.owner;
    struct node *its = &sim->nodes[event->node];

    if (event->kind == EVENT_CALL)
        event->call(event->payload, event->from);
    else if (its->paused)
        waiting_add(its, event);
    else if (event->kind == EVENT_MESSAGE)
        message_deliver(sim, event);
    else if (its->state != NULL && its->life == event->life && its->wake_number == event->number)
        owner->wake(owner->context, event->node, its->state);
    sim->figures.events++;
    if (owner->after_event != NULL)
        owner->after_event(owner->context);
}

void sim_run_until(struct sim *sim, int64_t time)
{
    while (sim->count > 0 && sim->heap[0].at <= time) {
        struct event event = event_take(sim);

        sim->now = event.at;
        event_run(sim, &event);
    }
    if (sim->now < time)
        sim->now = time;
}
