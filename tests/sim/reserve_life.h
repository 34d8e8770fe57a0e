/*
 * What reserve_world.c (what is around the nodes) and reserve_life.c (what a node does) share.
 */
#ifndef C4P_TESTS_RESERVE_LIFE_H
#define C4P_TESTS_RESERVE_LIFE_H

#include "daemon/jobs/placing.h"
#include "tests/sim/reserve_world.h"

#define REALM_MS 1000

enum phase { COMES, WAITS, RUNS, OVER };

/* On the disk of its home. */
struct job {
    uint64_t id;
    unsigned home;
    uint32_t pes;
    int32_t priority;
    int64_t runs, submitted;
    enum phase phase;
    unsigned starts;
    bool ran;   /* to its end */
    bool picky; /* about its Python */
};

struct part {
    unsigned node;
    uint32_t pes;
    bool prepared;
};

/* A job whose PEs are promised, at its home. */
struct active {
    struct active *prev, *next;
    struct job *job;
    uint64_t attempt;
    struct part *parts;
    size_t count;
    int64_t again, deadline; /* while it is prepared; deadline: then its end */
};

struct guest {
    struct guest *prev, *next;
    unsigned home;
    uint64_t job, attempt;
    uint32_t pes;
    int64_t asks;
};

/* A node in one of its lives. */
struct life {
    struct realm *realm;
    unsigned node;
    struct placing *placing;
    struct queue *queue;
    struct active *actives;
    struct guest *guests;
    int64_t placing_wake;
    bool room_moved;
    uint32_t used_before;
};

struct lasting {
    uint32_t slots;
    bool publishing; /* its facts are on their way */
    int64_t paused;
    struct member_facts facts;
};

struct realm {
    struct realm_settings settings;
    struct sim *sim;
    struct lasting *lasting;
    struct member_record *views; /* [viewer][node] */
    const struct member_record **pointers;
    struct job **jobs;
    size_t job_count;
    bool mistakes; /* somebody was thought to be lost who was not */
    struct realm_figures figures;
    char failure[REALM_FAILURE_SIZE];
};

/* The first thing that is found to be wrong is kept. */
void realm_check(struct realm *realm, bool right, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Its daemon runs, and is not stopped. */
bool realm_is_awake(const struct realm *realm, unsigned node);
/* Membership of `viewer` would find `node` alive. */
bool realm_reaches(const struct realm *realm, unsigned viewer, unsigned node);
struct member_record *realm_view(struct realm *realm, unsigned viewer, unsigned node);
/* Facts of a node are other ones: others are to hear of it. */
void realm_publish(struct realm *realm, unsigned node);

/* For sim_owner. */
void *life_start(void *context, unsigned node, unsigned number);
void life_end(void *context, unsigned node, void *state);
void life_receive(void *context, unsigned node, void *state, unsigned from, const void *message);
void life_wake(void *context, unsigned node, void *state);
void *life_message_copy(const void *message);

/* After anything that was done to it. */
void life_go(struct life *life);
void life_submit(struct life *life, struct job *job);
/* Its membership has lost a node. */
void life_lose(struct life *life, unsigned node);
bool life_is_unfit(unsigned node, uint64_t job);

#endif
