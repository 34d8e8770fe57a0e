#include "tests/sim/swim_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOBODY UINT32_MAX
#define MS 1000

void world_fail(struct world *world, const char *format, ...)
{
    va_list arguments;

    if (world->failure[0] != '\0')
        return;
    va_start(arguments, format);
    vsnprintf(world->failure, sizeof(world->failure), format, arguments);
    va_end(arguments);
}

static void *zeroed(size_t count, size_t size)
{
    void *memory = calloc(count, size);

    if (memory == NULL) {
        fprintf(stderr, "sim: no memory for %zu times %zu bytes\n", count, size);
        exit(2);
    }
    return memory;
}

/* ---- names, keys, addresses ---- */

static struct node_key key_of(unsigned node)
{
    struct node_key key;
    uint32_t mixed = node;

    for (unsigned i = 0; i < NODE_KEY_SIZE; i++) {
        mixed = mixed * 2654435761u + i;
        key.bytes[i] = (uint8_t)(mixed >> 24);
    }
    key.bytes[0] = (uint8_t)node;
    key.bytes[1] = (uint8_t)(node >> 8);
    return key;
}

static unsigned node_of(const struct node_key *key)
{
    return key->bytes[0] | (unsigned)key->bytes[1] << 8;
}

static void address_write(char *text, unsigned address, unsigned port)
{
    snprintf(text, NODE_ADDRESS_MAX + 1, "tcp://10.%u.%u.%u:%u", address >> 16 & 255,
             address >> 8 & 255, address & 255, port);
}

static unsigned address_read(const char *text)
{
    unsigned a, b, c;

    return sscanf(text, "tcp://10.%u.%u.%u:", &a, &b, &c) == 3 ? a << 16 | b << 8 | c : NOBODY;
}

static void facts_write(const struct world *world, unsigned node, struct member_facts *facts)
{
    const struct host *host = &world->hosts[node];

    memset(facts, 0, sizeof(*facts));
    snprintf(facts->name, sizeof(facts->name), "host%04u", node);
    address_write(facts->control, host->address, 7227);
    address_write(facts->data, host->address, 7228);
    snprintf(facts->release, sizeof(facts->release), "0.4.0");
    facts->min_version = facts->max_version = CLUSTER_VERSION;
    facts->pes = facts->pes_free = facts->cores = 8;
    facts->memory = (uint64_t)16 << 30;
    facts->started = 1790000000000;
    facts->trust = 0x123456789abcdef;
    facts->load = host->load;
}

static void record_write(const struct world *world, unsigned node, struct member_record *record)
{
    memset(record, 0, sizeof(*record));
    record->key = world->hosts[node].key;
    record->incarnation = world->hosts[node].incarnation;
    record->revision = record->facts_revision = 1;
    record->has_facts = true;
    facts_write(world, node, &record->facts);
}

/* ---- messages ---- */

struct parcel {
    struct swim_message message;
    struct node_key to;
    struct member_record records[];
};

static void *parcel_copy(const void *message)
{
    const struct parcel *parcel = message;
    size_t size = parcel->message.count * sizeof(parcel->records[0]);
    struct parcel *copy = zeroed(1, sizeof(*copy) + size);

    *copy = *parcel;
    if (size > 0)
        memcpy(copy->records, parcel->message.records, size);
    copy->message.records = copy->records;
    return copy;
}

static void parcel_send(struct world *world, unsigned node, const struct swim_action *action)
{
    struct parcel parcel = {.message = action->message, .to = action->to};
    unsigned address = address_read(action->address);

    world->messages++;
    world->bytes += swim_message_bytes(&action->message);
    /* Whoever is there: under CURVE a host with another key cannot read it. */
    if (address >= 2 * world->nodes || world->at_address[address] == NOBODY ||
        world->at_address[address] != node_of(&action->to))
        return;
    sim_send(world->sim, node, world->at_address[address], &parcel);
}

/* ---- what must be true ---- */

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static void numbers_check(struct world *world, unsigned observer, unsigned node,
                          const struct member_record *record)
{
    struct seen *seen = &world->seen[(size_t)observer * world->nodes + node];

    if (record->incarnation < seen->incarnation ||
        (record->incarnation == seen->incarnation && record->revision < seen->revision))
        world_fail(world, "%.3f s: numbers of %u went back at %u",
                   (double)sim_now(world->sim) / SIM_SECOND, node, observer);
    seen->incarnation = record->incarnation;
    seen->revision = record->revision;
}

static bool is_reachable(const struct world *world, unsigned observer, unsigned node)
{
    const struct sim *sim = world->sim;

    return sim_is_up(sim, node) && !sim_is_paused(sim, node) && !sim_is_paused(sim, observer) &&
           sim_group(sim, node) == sim_group(sim, observer) && !world->hosts[node].left;
}

static void lost_check(struct world *world, unsigned observer, unsigned node,
                       const struct member_record *record)
{
    const struct host *hosts = world->hosts;
    int64_t calm = later(hosts[observer].disturbed, hosts[node].disturbed) + world->patience;

    if (record->incarnation != hosts[node].incarnation - 1 || !is_reachable(world, observer, node))
        return;
    if (sim_now(world->sim) < calm)
        return;
    world->wrong++;
    world_fail(world, "%.3f s: %u says that %u is lost, which it can reach",
               (double)sim_now(world->sim) / SIM_SECOND, observer, node);
}

static void crash_hear(struct world *world, unsigned observer, unsigned node)
{
    for (size_t i = world->crash_count; i-- > 0;) {
        struct crash *crash = &world->crashes[i];

        if (crash->node != node || crash->over || !crash->unaware[observer])
            continue;
        if (crash->first == 0)
            crash->first = sim_now(world->sim);
        crash->unaware[observer] = false;
        if (--crash->unaware_count == 0)
            crash->last = sim_now(world->sim);
    }
}

static void change_check(struct world *world, unsigned observer, const struct swim_action *action)
{
    unsigned node = node_of(&action->member->key);

    numbers_check(world, observer, node, action->member);
    if (action->member->state == MEMBER_SUSPECT)
        world->suspicions++;
    if (action->member->state != MEMBER_LOST || action->member->incarnation == 0)
        return;
    lost_check(world, observer, node, action->member);
    crash_hear(world, observer, node);
}

static void drain(struct world *world, unsigned node, struct swim *swim)
{
    struct swim_action action;

    while (swim_next(swim, &action)) {
        if (action.kind == SWIM_SEND)
            parcel_send(world, node, &action);
        else if (action.kind == SWIM_WAKE_AT)
            sim_wake_at(world->sim, node, action.at * MS);
        else
            change_check(world, node, &action);
    }
}

/* ---- nodes, as the simulator sees them ---- */

static int64_t clock_of(const struct world *world, unsigned node)
{
    return sim_clock(world->sim, node) / MS;
}

/* Everybody's record, as if somebody told it in an exchange. */
static void preload(struct world *world, unsigned node, struct swim *swim)
{
    static struct member_record page[64];
    struct swim_message message = {.kind = SWIM_EXCHANGE, .records = page};

    for (unsigned i = 0; i < world->nodes; i++) {
        if (i != node)
            record_write(world, i, &page[message.count++]);
        if (message.count < 64 && i + 1 < world->nodes)
            continue;
        message.more = i + 1 < world->nodes;
        swim_receive(swim, &world->hosts[node == 0 ? 1 : 0].key, &message, clock_of(world, node));
        drain(world, node, swim);
        message.count = 0;
    }
}

/* What it knows of others when it starts: three hosts that it saw last time. */
static void introduce(struct world *world, unsigned node, struct swim *swim)
{
    for (unsigned i = 0; i < 3; i++) {
        unsigned other = world->crash_count > 0 ? world_any(world, node) : i;
        struct member_record record;

        if (other == node || other == NOBODY)
            continue;
        record_write(world, other, &record);
        swim_introduce(swim, &record, clock_of(world, node));
        drain(world, node, swim);
    }
}

static void *node_start(void *context, unsigned node, unsigned life)
{
    struct world *world = context;
    struct member_record self;
    struct swim *swim;

    (void)life;
    record_write(world, node, &self);
    if (!world->preload)
        world->hosts[node].incarnation++;
    swim = swim_create(&world->settings, &self, sim_random_below(world->sim, 1u << 30),
                       clock_of(world, node));
    if (swim == NULL)
        exit(2);
    if (world->preload)
        preload(world, node, swim);
    else
        introduce(world, node, swim);
    swim_tick(swim, clock_of(world, node));
    drain(world, node, swim);
    return swim;
}

static void node_end(void *context, unsigned node, void *state)
{
    (void)context;
    (void)node;
    swim_destroy(state);
}

static void node_receive(void *context, unsigned node, void *state, unsigned from,
                         const void *message)
{
    struct world *world = context;
    const struct parcel *parcel = message;

    swim_receive(state, &world->hosts[from].key, &parcel->message, clock_of(world, node));
    drain(world, node, state);
}

static void node_wake(void *context, unsigned node, void *state)
{
    swim_tick(state, clock_of(context, node));
    drain(context, node, state);
}

/* ---- the world ---- */

struct world *world_create(unsigned nodes, uint64_t seed, const struct sim_network *network,
                           const struct swim_settings *settings)
{
    struct world *world = zeroed(1, sizeof(*world));
    struct sim_settings sim = {
        .nodes = nodes,
        .seed = seed,
        .network = *network,
        .owner = {.start = node_start,
                  .end = node_end,
                  .receive = node_receive,
                  .wake = node_wake,
                  .message_copy = parcel_copy,
                  .message_free = free,
                  .context = world},
    };

    world->settings = *settings;
    world->nodes = nodes;
    world->patience = 15 * SIM_SECOND;
    world->hosts = zeroed(nodes, sizeof(*world->hosts));
    world->at_address = zeroed(2 * (size_t)nodes, sizeof(*world->at_address));
    world->seen = zeroed((size_t)nodes * nodes, sizeof(*world->seen));
    world->crashes = zeroed(WORLD_CRASHES, sizeof(*world->crashes));
    for (unsigned i = 0; i < nodes; i++) {
        world->hosts[i] = (struct host){.key = key_of(i), .address = i, .incarnation = 1};
        world->hosts[i].disturbed = -world->patience;
        world->at_address[i] = i;
        world->at_address[nodes + i] = NOBODY;
    }
    world->sim = sim_create(&sim);
    return world;
}

void world_destroy(struct world *world)
{
    if (world == NULL)
        return;
    sim_destroy(world->sim);
    for (size_t i = 0; i < world->crash_count; i++)
        free(world->crashes[i].unaware);
    free(world->crashes);
    free(world->seen);
    free(world->at_address);
    free(world->hosts);
    free(world);
}

/* ---- what is done to it ---- */

void world_start_all(struct world *world, bool preloaded)
{
    world->preload = preloaded;
    for (unsigned i = 0; i < world->nodes; i++)
        sim_start(world->sim, i);
    if (preloaded)
        for (unsigned i = 0; i < world->nodes; i++)
            world->hosts[i].incarnation++;
    world->preload = false;
}

void world_start(struct world *world, unsigned node)
{
    world->hosts[node].left = false;
    for (size_t i = 0; i < world->crash_count; i++)
        if (world->crashes[i].node == node && world->crashes[i].last == 0)
            world->crashes[i].over = true;
    /* What it knew in its last life was another one's. */
    memset(&world->seen[(size_t)node * world->nodes], 0, world->nodes * sizeof(struct seen));
    sim_start(world->sim, node);
}

static void observer_gone(struct world *world, unsigned node)
{
    for (size_t i = 0; i < world->crash_count; i++) {
        struct crash *crash = &world->crashes[i];

        if (!crash->unaware[node])
            continue;
        crash->unaware[node] = false;
        if (--crash->unaware_count == 0 && crash->last == 0)
            crash->last = sim_now(world->sim);
    }
}

static void hints_give(struct world *world, unsigned node)
{
    for (unsigned i = 0; i < world->nodes; i++)
        if (sim_is_up(world->sim, i)) {
            swim_hint(sim_state(world->sim, i), &world->hosts[node].key, clock_of(world, i));
            drain(world, i, sim_state(world->sim, i));
        }
}

void world_crash(struct world *world, unsigned node)
{
    struct crash *crash = &world->crashes[world->crash_count];

    if (!sim_is_up(world->sim, node) || world->crash_count == WORLD_CRASHES)
        return;
    sim_crash(world->sim, node);
    observer_gone(world, node);
    world->crash_count++;
    *crash = (struct crash){
        .node = node, .at = sim_now(world->sim), .unaware = zeroed(world->nodes, sizeof(bool))};
    for (unsigned i = 0; i < world->nodes; i++) {
        const struct member_record *record = world_record(world, i, node);

        crash->unaware[i] = record != NULL && record->state != MEMBER_LOST;
        crash->unaware_count += crash->unaware[i];
    }
    if (world->hints)
        hints_give(world, node);
}

void world_leave(struct world *world, unsigned node)
{
    struct swim *swim = sim_state(world->sim, node);

    swim_leave(swim, clock_of(world, node));
    drain(world, node, swim);
    world->hosts[node].left = true;
    observer_gone(world, node);
    sim_crash(world->sim, node);
}

void world_pause(struct world *world, unsigned node)
{
    sim_pause(world->sim, node);
}

void world_resume(struct world *world, unsigned node)
{
    world->hosts[node].disturbed = sim_now(world->sim);
    sim_resume(world->sim, node);
}

void world_set_group(struct world *world, unsigned node, unsigned group)
{
    sim_set_group(world->sim, node, group);
    for (unsigned i = 0; i < world->nodes; i++)
        world->hosts[i].disturbed = sim_now(world->sim);
}

static void facts_tell(struct world *world, unsigned node)
{
    struct member_facts facts;

    facts_write(world, node, &facts);
    swim_set_facts(sim_state(world->sim, node), &facts, clock_of(world, node));
    drain(world, node, sim_state(world->sim, node));
}

void world_move(struct world *world, unsigned node, unsigned address)
{
    struct host *host = &world->hosts[node];

    if (world->at_address[host->address] == node)
        world->at_address[host->address] = NOBODY;
    host->address = address;
    world->at_address[address] = node;
    if (sim_is_up(world->sim, node))
        facts_tell(world, node);
}

void world_load(struct world *world, unsigned node)
{
    world->hosts[node].load = (uint32_t)sim_random_below(world->sim, 800);
    facts_tell(world, node);
}

unsigned world_any(struct world *world, unsigned but)
{
    unsigned start = (unsigned)sim_random_below(world->sim, world->nodes);

    for (unsigned i = 0; i < world->nodes; i++) {
        unsigned node = (start + i) % world->nodes;

        if (node != but && sim_is_up(world->sim, node))
            return node;
    }
    return NOBODY;
}

void world_run(struct world *world, int64_t microseconds)
{
    int64_t end = sim_now(world->sim) + microseconds;

    while (sim_now(world->sim) < end && world->failure[0] == '\0') {
        int64_t next = sim_now(world->sim) + SIM_SECOND / 10;

        sim_run_until(world->sim, next < end ? next : end);
    }
}

/* ---- do they agree? ---- */

const struct member_record *world_record(struct world *world, unsigned observer, unsigned member)
{
    if (!sim_is_up(world->sim, observer))
        return NULL;
    return swim_find(sim_state(world->sim, observer), &world->hosts[member].key);
}

static bool knows_rightly(struct world *world, unsigned observer, unsigned member, char *why,
                          size_t size)
{
    const struct member_record *record = world_record(world, observer, member);
    const struct host *host = &world->hosts[member];
    bool up = is_reachable(world, observer, member);
    bool right;

    if (up)
        right = record != NULL && record->state == MEMBER_ALIVE &&
                address_read(record->facts.control) == host->address;
    else if (host->left)
        right = record == NULL || record->state == MEMBER_LEFT;
    else
        right = record == NULL || record->state == MEMBER_LOST;
    if (!right)
        snprintf(why, size, "%.3f s: %u has %u in state %d, which is %s",
                 (double)sim_now(world->sim) / SIM_SECOND, observer, member,
                 record != NULL ? (int)record->state : -1, up ? "up" : "down");
    return right;
}

bool world_agrees(struct world *world, char *why, size_t size)
{
    for (unsigned i = 0; i < world->nodes; i++)
        for (unsigned j = 0; j < world->nodes; j++)
            if (i != j && sim_is_up(world->sim, i) && !sim_is_paused(world->sim, i) &&
                !knows_rightly(world, i, j, why, size))
                return false;
    return true;
}

bool world_converge(struct world *world, int64_t microseconds)
{
    int64_t end = sim_now(world->sim) + microseconds;
    char why[200] = "";

    while (world->failure[0] == '\0' && !world_agrees(world, why, sizeof(why))) {
        if (sim_now(world->sim) >= end) {
            world_fail(world, "they do not agree: %s", why);
            break;
        }
        world_run(world, SIM_SECOND / 2);
    }
    return world->failure[0] == '\0';
}
