#include "tests/sim/reserve_life.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#define PREPARE_AGAIN_MS 500
#define PREPARE_PATIENCE_MS 5000
#define GUEST_ASKS_MS 1000

/* A message of the simulator. */
struct packed {
    size_t size;
    uint8_t data[];
};

static struct node_key key_of(unsigned node)
{
    struct node_key key = {{0}};

    memcpy(key.bytes, &node, sizeof(node));
    key.bytes[31] = 1;
    return key;
}

static unsigned node_of(const struct node_key *key)
{
    unsigned node;

    memcpy(&node, key->bytes, sizeof(node));
    return node;
}

void *life_message_copy(const void *message)
{
    const struct packed *packed = message;
    struct packed *copy = malloc(sizeof(*copy) + packed->size);

    memcpy(copy, packed, sizeof(*copy) + packed->size);
    return copy;
}

static void message_send(struct life *life, unsigned to, const C4p__Peer *message)
{
    size_t size = c4p__peer__get_packed_size(message);
    struct packed *packed = malloc(sizeof(*packed) + size);

    packed->size = size;
    c4p__peer__pack(message, packed->data);
    sim_send(life->realm->sim, life->node, to, packed);
    free(packed);
}

static int64_t now_ms(const struct realm *realm, unsigned node)
{
    return sim_clock(realm->sim, node) / REALM_MS;
}

/* ---- jobs at their home ---- */

static struct job *job_find(struct realm *realm, uint64_t id)
{
    return id >= 1 && id <= realm->job_count ? realm->jobs[id - 1] : NULL;
}

static void active_free(struct life *life, struct active *active)
{
    DL_DELETE(life->actives, active);
    free(active->parts);
    free(active);
}

static void guests_end(struct life *life, unsigned to, uint64_t job, uint64_t attempt)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__Order order = C4P__ORDER__INIT;

    order.job = job;
    order.attempt = attempt;
    order.end = true;
    message.body_case = C4P__PEER__BODY_ORDER;
    message.order = &order;
    message_send(life, to, &message);
}

static void active_dismiss(struct life *life, struct active *active)
{
    for (size_t i = 0; i < active->count; i++)
        if (active->parts[i].node != life->node)
            guests_end(life, active->parts[i].node, active->job->id, active->attempt);
}

static void active_over(struct life *life, struct active *active, bool ran)
{
    active->job->phase = OVER;
    active->job->ran = ran;
    active_dismiss(life, active);
    placing_end(life->placing, active->job->id);
    active_free(life, active);
}

/* It could not be prepared. */
static void active_again(struct life *life, struct active *active)
{
    struct job *job = active->job;

    active_dismiss(life, active);
    placing_back(life->placing, job->id);
    queue_add(life->queue, job->id, job->id, job->pes, job->priority);
    active_free(life, active);
}

static uint32_t guest_pes(const struct realm *realm, unsigned node, unsigned home, uint64_t job,
                          uint64_t attempt)
{
    const struct life *life = sim_state(realm->sim, node);
    const struct guest *guest = NULL;

    DL_FOREACH(life->guests, guest)
    {
        if (guest->home == home && guest->job == job && guest->attempt == attempt)
            return guest->pes;
    }
    return 0;
}

static void active_launch(struct life *life, struct active *active)
{
    struct realm *realm = life->realm;
    struct job *job = active->job;
    uint32_t pes = 0;

    for (size_t i = 0; i < active->count; i++) {
        const struct part *part = &active->parts[i];

        pes += part->pes;
        if (part->node != life->node && sim_is_up(realm->sim, part->node) && !realm->mistakes)
            realm_check(realm,
                        guest_pes(realm, part->node, life->node, job->id, active->attempt) ==
                                part->pes ||
                            sim_life(realm->sim, part->node) > 1,
                        "job %u of node %u starts, but node %u does not hold its PEs",
                        (unsigned)job->id, life->node, part->node);
    }
    realm_check(realm, job->pes == 0 ? pes > 0 : pes == job->pes,
                "job %u starts with %u PEs, not %u", (unsigned)job->id, pes, job->pes);
    realm_check(realm, job->starts++ == 0, "job %u starts twice", (unsigned)job->id);
    job->phase = RUNS;
    placing_settle(life->placing, job->id);
    active->deadline = now_ms(realm, life->node) + job->runs / REALM_MS;
    if (sim_now(realm->sim) - job->submitted > realm->figures.longest_wait)
        realm->figures.longest_wait = sim_now(realm->sim) - job->submitted;
}

static void active_prepare(struct life *life, struct active *active)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__Prepare prepare = C4P__PREPARE__INIT;
    bool ready = true;

    prepare.job = active->job->id;
    prepare.attempt = active->attempt;
    message.body_case = C4P__PEER__BODY_PREPARE;
    message.prepare = &prepare;
    for (size_t i = 0; i < active->count; i++) {
        active->parts[i].prepared |= active->parts[i].node == life->node;
        ready &= active->parts[i].prepared;
        prepare.node = active->parts[i].pes; /* all that a guest of the model has to know */
        if (!active->parts[i].prepared)
            message_send(life, active->parts[i].node, &message);
    }
    active->again = now_ms(life->realm, life->node) + PREPARE_AGAIN_MS;
    if (ready)
        active_launch(life, active);
}

static void actives_tick(struct life *life, int64_t now)
{
    struct active *active, *next;

    DL_FOREACH_SAFE(life->actives, active, next)
    {
        if (now >= active->deadline && active->job->phase == RUNS)
            active_over(life, active, true);
        else if (now >= active->deadline)
            active_again(life, active);
        else if (now >= active->again && active->job->phase != RUNS)
            active_prepare(life, active);
    }
}

/* ---- guests ---- */

static void guest_end(struct life *life, struct guest *guest)
{
    struct node_key home = key_of(guest->home);

    placing_free(life->placing, &home, guest->job);
    DL_DELETE(life->guests, guest);
    free(guest);
}

static void guests_tick(struct life *life, int64_t now)
{
    struct guest *guest;

    DL_FOREACH(life->guests, guest)
    {
        C4p__Peer message = C4P__PEER__INIT;
        C4p__Report report = C4P__REPORT__INIT;

        if (now < guest->asks)
            continue;
        guest->asks = now + GUEST_ASKS_MS;
        report.job = guest->job;
        report.attempt = guest->attempt;
        message.body_case = C4P__PEER__BODY_REPORT;
        message.report = &report;
        message_send(life, guest->home, &message);
    }
}

/* The same guest as before, or one that is made. */
static bool guest_make(struct life *life, unsigned home, const C4p__Prepare *prepare)
{
    struct node_key key = key_of(home);
    struct guest *guest;

    if (guest_pes(life->realm, life->node, home, prepare->job, prepare->attempt) > 0)
        return true;
    if (!placing_hold(life->placing, &key, prepare->job, prepare->attempt))
        return false;
    guest = calloc(1, sizeof(*guest));
    *guest = (struct guest){.home = home,
                            .job = prepare->job,
                            .attempt = prepare->attempt,
                            .pes = prepare->node,
                            .asks = now_ms(life->realm, life->node) + GUEST_ASKS_MS};
    DL_APPEND(life->guests, guest);
    return true;
}

static void on_prepare(struct life *life, unsigned from, const C4p__Prepare *prepare)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__Prepared prepared = C4P__PREPARED__INIT;
    char failed[] = "the lease has ended";

    prepared.job = prepare->job;
    prepared.attempt = prepare->attempt;
    if (!guest_make(life, from, prepare))
        prepared.failed = failed;
    message.body_case = C4P__PEER__BODY_PREPARED;
    message.prepared = &prepared;
    message_send(life, from, &message);
}

static struct active *active_find(struct life *life, uint64_t job, uint64_t attempt)
{
    struct active *active = NULL;

    DL_FOREACH(life->actives, active)
    {
        if (active->job->id == job && active->attempt == attempt)
            return active;
    }
    return NULL;
}

static void on_prepared(struct life *life, unsigned from, const C4p__Prepared *prepared)
{
    struct active *active = active_find(life, prepared->job, prepared->attempt);
    bool ready = true;

    if (active == NULL || active->job->phase == RUNS)
        return;
    if (prepared->failed[0] != '\0') {
        active_again(life, active);
        return;
    }
    for (size_t i = 0; i < active->count; i++) {
        active->parts[i].prepared |= active->parts[i].node == from;
        ready &= active->parts[i].prepared;
    }
    if (ready)
        active_launch(life, active);
}

static void on_order(struct life *life, unsigned from, const C4p__Order *order)
{
    struct guest *guest, *next;

    DL_FOREACH_SAFE(life->guests, guest, next)
    {
        if (guest->home == from && guest->job == order->job && guest->attempt == order->attempt)
            guest_end(life, guest);
    }
}

/* ---- the host of a placing: as turns.c ---- */

static int64_t on_now(void *context)
{
    const struct life *life = context;

    return now_ms(life->realm, life->node);
}

static void on_wake_at(void *context, int64_t at)
{
    ((struct life *)context)->placing_wake = at;
}

static void on_placed(void *context, uint64_t id, uint64_t attempt,
                      const struct reservation_part *parts, size_t count)
{
    struct life *life = context;
    struct active *active = calloc(1, sizeof(*active));

    active->job = job_find(life->realm, id);
    active->attempt = attempt;
    active->parts = calloc(count, sizeof(*active->parts));
    active->count = count;
    for (size_t i = 0; i < count; i++)
        active->parts[i] = (struct part){.node = node_of(&parts[i].node), .pes = parts[i].pes};
    active->deadline = on_now(life) + PREPARE_PATIENCE_MS;
    DL_APPEND(life->actives, active);
    queue_remove(life->queue, id);
    active_prepare(life, active);
}

static void on_not_now(void *context, uint64_t job, const char *reason, int64_t at)
{
    struct life *life = context;

    realm_check(life->realm, *reason != '\0', "job %u is put off without a reason", (unsigned)job);
    life->realm->figures.refusals++;
    queue_put_off(life->queue, job, at, reason);
}

static void on_changed(void *context)
{
    ((struct life *)context)->room_moved = true;
}

static void on_need(void *context, uint64_t job)
{
    struct life *life = context;
    C4p__Python need = C4P__PYTHON__INIT;
    char version[24];

    snprintf(version, sizeof(version), "%u", (unsigned)job);
    need.version = version;
    placing_needed(life->placing, job, job_find(life->realm, job)->picky ? &need : NULL, NULL);
}

bool life_is_unfit(unsigned node, uint64_t job)
{
    return (node + job) % 4 == 0;
}

struct answer {
    struct realm *realm;
    unsigned life;
    uint64_t number;
    bool unfit;
};

static void probe_answer(void *context, unsigned node)
{
    struct answer *answer = context;
    struct life *life = sim_state(answer->realm->sim, node);

    if (sim_is_up(answer->realm->sim, node) && sim_life(answer->realm->sim, node) == answer->life) {
        placing_probed(life->placing, answer->number, answer->unfit ? "another Python" : "");
        life_go(life);
    }
    free(answer);
}

static void on_probe(void *context, uint64_t number, const C4p__Python *need)
{
    struct life *life = context;
    struct realm *realm = life->realm;
    struct answer *answer = calloc(1, sizeof(*answer));

    *answer = (struct answer){.realm = realm,
                              .life = sim_life(realm->sim, life->node),
                              .number = number,
                              .unfit = life_is_unfit(life->node, strtoul(need->version, NULL, 10))};
    sim_call_at(realm->sim,
                sim_now(realm->sim) + (int64_t)sim_random_below(realm->sim, SIM_SECOND / 2),
                probe_answer, answer, life->node);
}

static enum queue_room on_room(void *context, uint64_t id, uint32_t pes,
                               char reason[QUEUE_REASON_SIZE])
{
    return placing_room(((struct life *)context)->placing, id, pes, reason);
}

/* ---- peers ---- */

static size_t on_nodes(void *context, const struct member_record *const **nodes)
{
    const struct life *life = context;
    struct realm *realm = life->realm;
    size_t count = realm->settings.nodes;

    for (size_t i = 0; i < count; i++)
        realm->pointers[i] = realm_view(realm, life->node, (unsigned)i);
    *nodes = realm->pointers;
    return count;
}

static int on_send(void *context, const struct node_key *to, C4p__Peer *message)
{
    message_send(context, node_of(to), message);
    return 0;
}

static void on_load(void *context, uint32_t pes, uint32_t pes_free, uint32_t queued, bool draining)
{
    const struct life *life = context;
    struct realm *realm = life->realm;
    struct lasting *lasting = &realm->lasting[life->node];

    lasting->facts.pes = pes;
    lasting->facts.pes_free = pes_free;
    lasting->facts.queued = queued;
    lasting->facts.draining = draining;
    realm_publish(realm, life->node);
}

/* ---- a node ---- */

/* No more than there is; where slots were taken away, no more than before. */
static void life_check(struct life *life)
{
    struct realm *realm = life->realm;
    uint32_t slots = realm->lasting[life->node].slots, used = 0;
    struct placing_figures figures = placing_figures(life->placing);
    const struct active *active = NULL;
    const struct guest *guest = NULL;

    DL_FOREACH(life->actives, active)
    {
        for (size_t i = 0; i < active->count; i++)
            used += active->parts[i].node == life->node ? active->parts[i].pes : 0;
    }
    DL_FOREACH(life->guests, guest)
    {
        used += guest->pes;
    }
    realm_check(realm, figures.used <= slots || figures.used <= life->used_before,
                "node %u has given away %u of %u slots", life->node, figures.used, slots);
    realm_check(realm, used <= figures.used, "%u PEs are on node %u, and its ledger says %u", used,
                life->node, figures.used);
    life->used_before = figures.used;
}

static void wake_join(int64_t *wake, int64_t at)
{
    if (at >= 0 && (*wake < 0 || at < *wake))
        *wake = at;
}

static void wake_update(struct life *life)
{
    const struct active *active = NULL;
    const struct guest *guest = NULL;
    int64_t wake = life->placing_wake;

    wake_join(&wake, queue_wake(life->queue));
    DL_FOREACH(life->actives, active)
    {
        wake_join(&wake, active->deadline);
        wake_join(&wake, active->job->phase == RUNS ? -1 : active->again);
    }
    DL_FOREACH(life->guests, guest)
    {
        wake_join(&wake, guest->asks);
    }
    if (wake >= 0 && wake * REALM_MS <= sim_clock(life->realm->sim, life->node))
        wake = now_ms(life->realm, life->node) + 1;
    if (wake >= 0)
        sim_wake_at(life->realm->sim, life->node, wake * REALM_MS);
}

/* What turns_go() does; after each event of this node. */
void life_go(struct life *life)
{
    uint64_t id;
    uint32_t pes;

    do {
        if (life->room_moved)
            queue_look(life->queue);
        life->room_moved = false;
        while ((id = queue_turn(life->queue, on_now(life), &pes)) != 0) {
            const struct placing_request request = {
                .job = id, .pes = pes, .priority = job_find(life->realm, id)->priority};

            life->realm->figures.tries++;
            placing_try(life->placing, &request);
        }
    } while (life->room_moved);
    placing_queued(life->placing, queue_length(life->queue));
    life_check(life);
    wake_update(life);
}

void life_wake(void *context, unsigned node, void *state)
{
    struct life *life = state;
    int64_t now = on_now(life);

    (void)context;
    (void)node;
    if (life->placing_wake >= 0 && now >= life->placing_wake) {
        life->placing_wake = -1;
        placing_tick(life->placing);
    }
    actives_tick(life, now);
    guests_tick(life, now);
    life_go(life);
}

void life_receive(void *context, unsigned node, void *state, unsigned from, const void *message)
{
    const struct packed *packed = message;
    C4p__Peer *peer = c4p__peer__unpack(NULL, packed->size, packed->data);
    struct node_key key = key_of(from);
    struct life *life = state;

    (void)context;
    (void)node;
    if (placing_message(life->placing, &key, peer))
        ;
    else if (peer->body_case == C4P__PEER__BODY_PREPARE)
        on_prepare(life, from, peer->prepare);
    else if (peer->body_case == C4P__PEER__BODY_PREPARED)
        on_prepared(life, from, peer->prepared);
    else if (peer->body_case == C4P__PEER__BODY_ORDER)
        on_order(life, from, peer->order);
    else if (active_find(life, peer->report->job, peer->report->attempt) == NULL)
        guests_end(life, from, peer->report->job, peer->report->attempt);
    c4p__peer__free_unpacked(peer, NULL);
    life_go(life);
}

void life_submit(struct life *life, struct job *job)
{
    queue_add(life->queue, job->id, job->id, job->pes, job->priority);
    life_go(life);
}

void life_lose(struct life *life, unsigned node)
{
    struct active *active, *next;
    struct guest *guest, *next_guest;
    struct node_key key = key_of(node);

    placing_down(life->placing, &key, "it is lost");
    DL_FOREACH_SAFE(life->actives, active, next)
    {
        size_t i = 0;

        while (i < active->count && active->parts[i].node != node)
            i++;
        if (i < active->count && active->job->phase == RUNS)
            active_over(life, active, false);
        else if (i < active->count)
            active_again(life, active);
    }
    DL_FOREACH_SAFE(life->guests, guest, next_guest)
    {
        if (guest->home == node)
            guest_end(life, guest);
    }
    life_go(life);
}

static void jobs_recover(struct life *life)
{
    struct realm *realm = life->realm;

    for (size_t i = 0; i < realm->job_count; i++) {
        struct job *job = realm->jobs[i];

        if (job->home != life->node)
            continue;
        if (job->phase == RUNS)
            job->phase = OVER; /* cut off */
        else if (job->phase == WAITS)
            queue_add(life->queue, job->id, job->id, job->pes, job->priority);
    }
}

static void view_begin(struct life *life)
{
    struct realm *realm = life->realm;

    for (unsigned node = 0; node < realm->settings.nodes; node++) {
        struct member_record *view = realm_view(realm, life->node, node);

        view->key = key_of(node);
        view->incarnation = sim_life(realm->sim, node);
        view->state = realm_reaches(realm, life->node, node) ? MEMBER_ALIVE : MEMBER_LOST;
        view->has_facts = true;
        view->facts = realm->lasting[node].facts;
    }
}

void *life_start(void *context, unsigned node, unsigned number)
{
    struct realm *realm = context;
    struct life *life = calloc(1, sizeof(*life));
    const struct placing_host host = {
        .now = on_now,
        .wake_at = on_wake_at,
        .placed = on_placed,
        .not_now = on_not_now,
        .changed = on_changed,
        .need = realm->settings.python ? on_need : NULL,
        .probe = realm->settings.python ? on_probe : NULL,
        .context = life,
    };
    const struct placing_peers peers = {.self = key_of(node),
                                        .incarnation = number,
                                        .nodes = on_nodes,
                                        .send = on_send,
                                        .load = on_load,
                                        .context = life};

    life->realm = realm;
    life->node = node;
    life->placing_wake = -1;
    life->placing = placing_create(&host, realm->lasting[node].slots,
                                   realm->settings.seed * 1000 + node + number);
    life->queue = queue_create(&(struct queue_world){on_room, life});
    view_begin(life);
    placing_join(life->placing, &peers);
    jobs_recover(life);
    sim_wake_at(realm->sim, node, sim_clock(realm->sim, node) + REALM_MS);
    return life;
}

void life_end(void *context, unsigned node, void *state)
{
    struct life *life = state;
    struct active *active, *next;
    struct guest *guest, *next_guest;

    (void)context;
    (void)node;
    DL_FOREACH_SAFE(life->actives, active, next)
    {
        active_free(life, active);
    }
    DL_FOREACH_SAFE(life->guests, guest, next_guest)
    {
        DL_DELETE(life->guests, guest);
        free(guest);
    }
    queue_destroy(life->queue);
    placing_destroy(life->placing);
    free(life);
}
