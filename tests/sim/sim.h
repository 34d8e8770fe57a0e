/*
 * A simulator of many nodes in virtual time: deterministic, so that a seed tells everything.
 *
 * Nodes are opaque: the owner starts and ends them, hands them messages and wakes them at the time
 * that they asked for. Messages are opaque too: the owner can copy and free them. The network loses,
 * delays, reorders and duplicates them, and can be cut into groups; nodes crash (and what was on its
 * way to them is lost), start again in another life, stop for a while (what comes meanwhile waits, as
 * in the kernel's buffers), and have clocks that run fast or slow.
 *
 * Time is in microseconds. All chance comes from the seed. After every event the owner may check
 * whatever it wants to be true.
 */
#ifndef C4P_TESTS_SIM_H
#define C4P_TESTS_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_SECOND ((int64_t)1000000)
#define SIM_MILLION 1000000u

struct sim;

struct sim_owner {
    /* A node begins a life (1, 2 ...). NULL cannot be: a simulation that has no memory ends. */
    void *(*start)(void *context, unsigned node, unsigned life);
    /* It crashed, or the simulation is over: free it, without a word to anybody. */
    void (*end)(void *context, unsigned node, void *state);
    void (*receive)(void *context, unsigned node, void *state, unsigned from, const void *message);
    void (*wake)(void *context, unsigned node, void *state);
    /* May be NULL. */
    void (*after_event)(void *context);
    void *(*message_copy)(const void *message);
    void (*message_free)(void *message);
    void *context;
};

/* Shares are in millionths. */
struct sim_network {
    uint32_t loss;
    uint32_t duplicates;
    int64_t delay_least, delay_mean; /* least, and exponentially distributed from there */
    uint32_t slow;                   /* so many take slow_delay longer */
    int64_t slow_delay;
    bool ordered;       /* messages of one node to another arrive in their order ... */
    uint32_t reordered; /* ... but for so many */
};

struct sim_settings {
    unsigned nodes;
    uint64_t seed;
    struct sim_network network;
    struct sim_owner owner;
};

struct sim_figures {
    uint64_t events, sent, delivered, lost, duplicated, cut;
};

/* Nodes are there, but none is started. */
struct sim *sim_create(const struct sim_settings *settings);
void sim_destroy(struct sim *sim);

void sim_run_until(struct sim *sim, int64_t time);
int64_t sim_now(const struct sim *sim);
uint64_t sim_random_below(struct sim *sim, uint64_t limit);
/* The network from now on: for owners to change. */
struct sim_network *sim_network(struct sim *sim);
struct sim_figures sim_figures(const struct sim *sim);

/* ---- what nodes do ---- */

/* The message is copied, if it arrives at all. */
void sim_send(struct sim *sim, unsigned from, unsigned to, const void *message);
/* Wake it when its clock shows this; replaces the time before. */
void sim_wake_at(struct sim *sim, unsigned node, int64_t at);
/* By its own clock. */
int64_t sim_clock(const struct sim *sim, unsigned node);

/* ---- what is done to nodes ---- */

void sim_start(struct sim *sim, unsigned node);
void sim_crash(struct sim *sim, unsigned node);
void sim_pause(struct sim *sim, unsigned node);
void sim_resume(struct sim *sim, unsigned node);
/* Its clock runs so much faster (slower) than true time: millionths. While it does not run. */
void sim_set_clock_rate(struct sim *sim, unsigned node, int32_t millionths);
/* Its clock goes forward by so much. */
void sim_clock_jump(struct sim *sim, unsigned node, int64_t by);
/* Only nodes of one group reach each other. All begin in group 0. */
void sim_set_group(struct sim *sim, unsigned node, unsigned group);

bool sim_is_up(const struct sim *sim, unsigned node);
bool sim_is_paused(const struct sim *sim, unsigned node);
unsigned sim_life(const struct sim *sim, unsigned node);
unsigned sim_group(const struct sim *sim, unsigned node);
void *sim_state(const struct sim *sim, unsigned node);

/* At this time, call this: how scenarios are written. */
typedef void sim_call(void *context, unsigned argument);
void sim_call_at(struct sim *sim, int64_t at, sim_call *call, void *context, unsigned argument);

#endif
