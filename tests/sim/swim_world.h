/*
 * A world of membership cores in the simulator: hosts with keys and addresses, what the network carries
 * between them, and what must be true of them.
 *
 * Watched with every change that a node tells: numbers of a member never go back; a member that lives
 * and can be reached (by the one that says so, for long enough) is not LOST; when everybody knows of
 * each crash.
 */
#ifndef C4P_TESTS_SWIM_WORLD_H
#define C4P_TESTS_SWIM_WORLD_H

#include "daemon/cluster/swim.h"
#include "tests/sim/sim.h"

#define WORLD_CRASHES 4096

struct host {
    struct node_key key;
    unsigned address;     /* number of it: the host's own number, at first */
    uint64_t incarnation; /* of its next life */
    int64_t disturbed;    /* it was stopped or cut off until then */
    int64_t crashed;      /* when; of one that is down */
    bool left, leaving;
    uint32_t load;
};

/* A crash, and who has still to hear of it. */
struct crash {
    unsigned node;
    uint64_t incarnation;
    int64_t at, first, last;
    bool over; /* it started again before all knew */
    bool *unaware;
    unsigned unaware_count;
};

struct seen {
    uint64_t incarnation, revision;
};

struct world {
    struct sim *sim;
    struct swim_settings settings;
    unsigned nodes;
    struct host *hosts;
    unsigned *at_address; /* number of the host at an address */
    struct seen *seen;    /* by [observer][member] */
    struct crash *crashes;
    size_t crash_count;
    bool preload;     /* who starts knows everybody at once */
    bool hints;       /* connections of a host that crashes break */
    int64_t patience; /* after a disturbance a member may be LOST for so long */
    uint64_t messages, bytes, suspicions, wrong; /* wrong: LOST although it can be reached */
    char failure[256];                           /* what was not true, first */
};

struct world *world_create(unsigned nodes, uint64_t seed, const struct sim_network *network,
                           const struct swim_settings *settings);
void world_destroy(struct world *world);

/* All start, each knowing all others, or the first one only. */
void world_start_all(struct world *world, bool preload);
void world_start(struct world *world, unsigned node);
void world_crash(struct world *world, unsigned node);
/* It says good-bye, then goes. */
void world_leave(struct world *world, unsigned node);
void world_pause(struct world *world, unsigned node);
void world_resume(struct world *world, unsigned node);
void world_set_group(struct world *world, unsigned node, unsigned group);
/* It has another address from now on, and says so. */
void world_move(struct world *world, unsigned node, unsigned address);
/* Its load is another one. */
void world_load(struct world *world, unsigned node);
/* A host that is up and is not `but`, by chance. */
unsigned world_any(struct world *world, unsigned but);

void world_run(struct world *world, int64_t microseconds);
/* Until all who are up agree who is; false, with a sentence, if they do not within this time. */
bool world_converge(struct world *world, int64_t microseconds);
bool world_agrees(struct world *world, char *why, size_t size);
void world_fail(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What `observer` knows of `member`; NULL: nothing. */
const struct member_record *world_record(struct world *world, unsigned observer, unsigned member);

#endif
