#include "tests/sim/reserve_life.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

/* Whoever does not answer for so long is lost to others; a cut, too. */
#define DETECTION (3 * SIM_SECOND)

void realm_check(struct realm *realm, bool right, const char *format, ...)
{
    va_list arguments;

    if (right || realm->failure[0] != '\0')
        return;
    va_start(arguments, format);
    vsnprintf(realm->failure, sizeof(realm->failure), format, arguments);
    va_end(arguments);
}

bool realm_is_awake(const struct realm *realm, unsigned node)
{
    return sim_is_up(realm->sim, node) && !sim_is_paused(realm->sim, node);
}

bool realm_reaches(const struct realm *realm, unsigned viewer, unsigned node)
{
    const struct lasting *lasting = &realm->lasting[node];

    return viewer == node || (sim_is_up(realm->sim, node) &&
                              sim_group(realm->sim, viewer) == sim_group(realm->sim, node) &&
                              (!sim_is_paused(realm->sim, node) ||
                               sim_now(realm->sim) - lasting->paused < DETECTION));
}

struct member_record *realm_view(struct realm *realm, unsigned viewer, unsigned node)
{
    return &realm->views[(size_t)viewer * realm->settings.nodes + node];
}

/* ---- membership ---- */

/* What a node says of itself has reached all who can hear it. */
static void facts_arrive(void *context, unsigned node)
{
    struct realm *realm = context;

    realm->lasting[node].publishing = false;
    for (unsigned viewer = 0; viewer < realm->settings.nodes; viewer++) {
        struct member_record *view = realm_view(realm, viewer, node);

        if (!realm_is_awake(realm, viewer) || viewer == node || !realm_reaches(realm, viewer, node))
            continue;
        view->facts = realm->lasting[node].facts;
        if (view->state != MEMBER_ALIVE)
            continue;
        placing_up(((struct life *)sim_state(realm->sim, viewer))->placing, view);
        life_go(sim_state(realm->sim, viewer));
    }
}

void realm_publish(struct realm *realm, unsigned node)
{
    if (realm->lasting[node].publishing)
        return;
    realm->lasting[node].publishing = true;
    sim_call_at(realm->sim,
                sim_now(realm->sim) +
                    (int64_t)sim_random_below(realm->sim, (uint64_t)realm->settings.gossip),
                facts_arrive, realm, node);
}

static void view_refresh(struct realm *realm, unsigned viewer, unsigned node)
{
    struct member_record *view = realm_view(realm, viewer, node);
    struct life *life = sim_state(realm->sim, viewer);
    bool reached = realm_reaches(realm, viewer, node);
    unsigned number = sim_life(realm->sim, node);

    if (view->state == MEMBER_ALIVE && (!reached || view->incarnation != number)) {
        view->state = MEMBER_LOST;
        life_lose(life, node);
    }
    if (view->state == MEMBER_LOST && reached) {
        view->state = MEMBER_ALIVE;
        view->incarnation = number;
        view->facts = realm->lasting[node].facts;
        placing_up(life->placing, view);
        life_go(life);
    }
}

/* Everybody sees what is. */
static void views_refresh(void *context, unsigned ignored)
{
    struct realm *realm = context;
    unsigned count = realm->settings.nodes;

    (void)ignored;
    for (unsigned viewer = 0; viewer < count; viewer++)
        for (unsigned node = 0; node < count; node++)
            if (node != viewer && realm_is_awake(realm, viewer))
                view_refresh(realm, viewer, node);
}

/* Once the change is some time old. */
static void refresh_after(struct realm *realm, int64_t least)
{
    sim_call_at(realm->sim,
                sim_now(realm->sim) + least + (int64_t)sim_random_below(realm->sim, SIM_SECOND),
                views_refresh, realm, 0);
}

/* ---- what is done to nodes ---- */

void realm_crash(struct realm *realm, unsigned node)
{
    sim_crash(realm->sim, node);
    refresh_after(realm, DETECTION);
}

void realm_restart(struct realm *realm, unsigned node)
{
    sim_start(realm->sim, node);
    refresh_after(realm, 0);
}

static void resume(void *context, unsigned node)
{
    struct realm *realm = context;

    sim_resume(realm->sim, node);
    refresh_after(realm, 0);
}

void realm_pause(struct realm *realm, unsigned node, int64_t for_time)
{
    if (!realm_is_awake(realm, node))
        return;
    realm->lasting[node].paused = sim_now(realm->sim);
    sim_pause(realm->sim, node);
    refresh_after(realm, DETECTION);
    sim_call_at(realm->sim, sim_now(realm->sim) + for_time, resume, realm, node);
}

void realm_cut(struct realm *realm, uint64_t sides)
{
    for (unsigned node = 0; node < realm->settings.nodes; node++)
        sim_set_group(realm->sim, node, sides >> node % 64 & 1);
    refresh_after(realm, DETECTION);
}

void realm_heal(struct realm *realm)
{
    for (unsigned node = 0; node < realm->settings.nodes; node++)
        sim_set_group(realm->sim, node, 0);
    refresh_after(realm, SIM_SECOND);
}

void realm_mistake(struct realm *realm, unsigned viewer, unsigned node, int64_t for_time)
{
    struct member_record *view = realm_view(realm, viewer, node);

    if (!realm_is_awake(realm, viewer) || viewer == node || view->state != MEMBER_ALIVE)
        return;
    realm->mistakes = true;
    view->state = MEMBER_LOST;
    life_lose(sim_state(realm->sim, viewer), node);
    refresh_after(realm, for_time);
}

void realm_drain(struct realm *realm, unsigned node, bool drain)
{
    struct life *life = sim_state(realm->sim, node);

    if (!realm_is_awake(realm, node))
        return;
    queue_stop(life->queue, drain);
    placing_stop(life->placing, drain);
    life_go(life);
}

void realm_resize(struct realm *realm, unsigned node, uint32_t slots)
{
    struct life *life = sim_state(realm->sim, node);

    realm->lasting[node].slots = slots;
    realm->lasting[node].facts.pes = slots;
    if (!sim_is_up(realm->sim, node))
        return;
    placing_resize(life->placing, slots);
    life_go(life);
}

uint32_t realm_slots(const struct realm *realm)
{
    uint32_t slots = 0;

    for (unsigned node = 0; node < realm->settings.nodes; node++)
        slots += realm->lasting[node].slots;
    return slots;
}

uint64_t realm_random(struct realm *realm, uint64_t limit)
{
    return sim_random_below(realm->sim, limit);
}

/* ---- jobs ---- */

static void job_comes(void *context, unsigned index)
{
    struct realm *realm = context;
    struct job *job = realm->jobs[index];

    job->phase = WAITS;
    job->submitted = sim_now(realm->sim);
    if (!realm_is_awake(realm, job->home))
        job->phase = OVER; /* nobody was there to take it */
    else
        life_submit(sim_state(realm->sim, job->home), job);
}

void realm_submit(struct realm *realm, int64_t at, unsigned home, uint32_t pes, int64_t runs)
{
    struct job *job = calloc(1, sizeof(*job));

    realm->jobs = reallocarray(realm->jobs, realm->job_count + 1, sizeof(*realm->jobs));
    if (job == NULL || realm->jobs == NULL) {
        fprintf(stderr, "no memory for another job\n");
        exit(2);
    }
    *job = (struct job){.id = realm->job_count + 1,
                        .home = home,
                        .pes = pes,
                        .priority = (int32_t)sim_random_below(realm->sim, 3),
                        .runs = runs,
                        .picky = sim_random_below(realm->sim, 3) == 0};
    realm->jobs[realm->job_count] = job;
    sim_call_at(realm->sim, at, job_comes, realm, (unsigned)realm->job_count++);
}

/* There is enough for it, once everything is well. */
static bool job_fits(const struct realm *realm, const struct job *job)
{
    uint32_t slots = 0;

    for (unsigned node = 0; node < realm->settings.nodes; node++)
        if (node == job->home || !job->picky || !realm->settings.python ||
            !life_is_unfit(node, job->id))
            slots += realm->lasting[node].slots;
    return job->pes <= (job->pes > 0 ? slots : realm->lasting[job->home].slots);
}

static bool job_is_done(const struct realm *realm, const struct job *job)
{
    return job->phase == OVER || (job->phase == WAITS && !job_fits(realm, job));
}

/* ---- the whole ---- */

struct realm *realm_create(const struct realm_settings *settings)
{
    struct realm *realm = calloc(1, sizeof(*realm));
    const struct sim_settings sim = {
        .nodes = settings->nodes,
        .seed = settings->seed,
        .network = settings->network,
        .owner = {.start = life_start,
                  .end = life_end,
                  .receive = life_receive,
                  .wake = life_wake,
                  .message_copy = life_message_copy,
                  .message_free = free,
                  .context = realm},
    };
    size_t nodes = settings->nodes;

    if (realm == NULL || (realm->sim = sim_create(&sim)) == NULL ||
        (realm->lasting = calloc(nodes, sizeof(*realm->lasting))) == NULL ||
        (realm->views = calloc(nodes * nodes, sizeof(*realm->views))) == NULL ||
        (realm->pointers = calloc(nodes, sizeof(*realm->pointers))) == NULL) {
        fprintf(stderr, "no memory for %zu nodes\n", nodes);
        exit(2);
    }
    realm->settings = *settings;
    for (unsigned node = 0; node < nodes; node++) {
        struct lasting *lasting = &realm->lasting[node];

        lasting->slots = settings->least_slots +
                         (uint32_t)sim_random_below(realm->sim, settings->most_slots -
                                                                    settings->least_slots + 1);
        lasting->facts.pes = lasting->facts.pes_free = lasting->slots;
        snprintf(lasting->facts.name, sizeof(lasting->facts.name), "node%u", node);
    }
    for (unsigned node = 0; node < nodes; node++)
        sim_start(realm->sim, node);
    refresh_after(realm, 0);
    return realm;
}

void realm_destroy(struct realm *realm)
{
    sim_destroy(realm->sim);
    for (size_t i = 0; i < realm->job_count; i++)
        free(realm->jobs[i]);
    free(realm->jobs);
    free(realm->pointers);
    free(realm->views);
    free(realm->lasting);
    free(realm);
}

struct sim *realm_sim(struct realm *realm)
{
    return realm->sim;
}

const char *realm_failure(const struct realm *realm)
{
    return realm->failure;
}

void realm_run_until(struct realm *realm, int64_t time)
{
    while (sim_now(realm->sim) < time && realm->failure[0] == '\0') {
        int64_t next = sim_now(realm->sim) + SIM_SECOND;

        sim_run_until(realm->sim, next < time ? next : time);
    }
}

static void heal_all(struct realm *realm)
{
    struct sim_network *network = sim_network(realm->sim);

    network->loss = network->duplicates = network->reordered = 0;
    for (unsigned node = 0; node < realm->settings.nodes; node++) {
        sim_resume(realm->sim, node);
        sim_start(realm->sim, node);
        realm_drain(realm, node, false);
    }
    realm_heal(realm);
}

static void realm_check_end(struct realm *realm)
{
    for (size_t i = 0; i < realm->job_count; i++) {
        const struct job *job = realm->jobs[i];

        realm_check(realm, job_is_done(realm, job), "job %zu of node %u (%u PEs) %s", i + 1,
                    job->home, job->pes, job->phase == RUNS ? "never ends" : "never starts");
    }
    for (unsigned node = 0; node < realm->settings.nodes; node++) {
        const struct life *life = sim_state(realm->sim, node);

        realm_check(realm, placing_figures(life->placing).used == 0,
                    "%u slots of node %u are never free again", placing_figures(life->placing).used,
                    node);
    }
}

void realm_settle(struct realm *realm, int64_t patience)
{
    int64_t end = sim_now(realm->sim) + patience;
    bool done = false;

    heal_all(realm);
    while (!done && sim_now(realm->sim) < end && realm->failure[0] == '\0') {
        realm_run_until(realm, sim_now(realm->sim) + SIM_SECOND);
        done = true;
        for (size_t i = 0; i < realm->job_count; i++)
            done &= job_is_done(realm, realm->jobs[i]);
    }
    /* Longer than any lease, and than guests need to ask whether they are wanted. */
    realm_run_until(realm, sim_now(realm->sim) + 30 * SIM_SECOND);
    realm_check_end(realm);
}

struct realm_figures realm_figures(const struct realm *realm)
{
    struct realm_figures figures = realm->figures;

    for (size_t i = 0; i < realm->job_count; i++) {
        const struct job *job = realm->jobs[i];

        figures.jobs++;
        figures.ran += job->ran;
        figures.failed += job->phase == OVER && job->starts > 0 && !job->ran;
        figures.waiting += job->phase == WAITS;
    }
    return figures;
}
