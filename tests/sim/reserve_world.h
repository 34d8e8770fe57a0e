/*
 * Reservations in the simulator: many nodes, each with the real placing and queue, that take jobs,
 * start them all over the place, and lose messages, each other and their lives meanwhile.
 *
 * What is around them is a model. Membership is an oracle that is late: facts are heard of after a
 * while, crashes and cuts after seconds, and sometimes a node is said to be lost that is not. Guests
 * are prepared by messages that are repeated, and ask their home now and then whether they are still
 * wanted. Queued jobs are on the home's disk; one that ran when its home or a node of it was lost is
 * over.
 *
 * After every event: no node has given away more slots than it has, by its ledger and by what the
 * model counts; a job that starts has all of its PEs, and no job starts twice. realm_settle() heals
 * everything and waits: then every job that fits has started, and nobody holds anything.
 */
#ifndef C4P_TESTS_RESERVE_WORLD_H
#define C4P_TESTS_RESERVE_WORLD_H

#include "tests/sim/sim.h"

#define REALM_FAILURE_SIZE 320

struct realm;

struct realm_settings {
    unsigned nodes;
    uint64_t seed;
    uint32_t least_slots, most_slots;
    struct sim_network network;
    int64_t gossip; /* facts are heard of within so long; in us, as all times here */
    bool python;    /* some nodes cannot run some jobs */
};

struct realm *realm_create(const struct realm_settings *settings);
void realm_destroy(struct realm *realm);
struct sim *realm_sim(struct realm *realm);
/* What was found to be wrong, or empty. */
const char *realm_failure(const struct realm *realm);

/* A job of `home` comes at this time; it runs for so long. */
void realm_submit(struct realm *realm, int64_t at, unsigned home, uint32_t pes, int64_t runs);
void realm_run_until(struct realm *realm, int64_t time);

/* ---- what is done to nodes: from now on ---- */

void realm_crash(struct realm *realm, unsigned node);
void realm_restart(struct realm *realm, unsigned node);
void realm_pause(struct realm *realm, unsigned node, int64_t for_time);
/* Two sides that do not reach each other: of node i it is bit i % 64. */
void realm_cut(struct realm *realm, uint64_t sides);
void realm_heal(struct realm *realm);
/* `viewer` believes for a while that `node` is lost. */
void realm_mistake(struct realm *realm, unsigned viewer, unsigned node, int64_t for_time);
void realm_drain(struct realm *realm, unsigned node, bool drain);
void realm_resize(struct realm *realm, unsigned node, uint32_t slots);
uint32_t realm_slots(const struct realm *realm);
uint64_t realm_random(struct realm *realm, uint64_t limit);

/* Everything is made well, and nothing new comes: within `patience` all that can is done. */
void realm_settle(struct realm *realm, int64_t patience);

struct realm_figures {
    unsigned jobs, ran, failed, waiting;
    unsigned tries, refusals;
    int64_t longest_wait;
};
struct realm_figures realm_figures(const struct realm *realm);

#endif
