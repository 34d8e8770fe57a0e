/*
 * The nodes of one job in the simulator, and the network between them: segments, regions and what
 * routers do together (daemon/router/collectives.h) are the real ones, the streams between routers are
 * played. Only messages of one stream between two nodes keep their order. Memory is taken from routers
 * and given back at any time.
 *
 * What the PEs do is the business of who makes it (struct trees_program): a PE gets its messages one
 * by one, some time after they have come, and falls asleep when there is none.
 */
#ifndef C4P_TESTS_TREES_WORLD_H
#define C4P_TESTS_TREES_WORLD_H

#include <setjmp.h>

#include "daemon/router/collectives.h"
#include "proto/region.h"
#include "proto/segment.h"
#include "tests/sim/sim.h"

#define MAX_NODES 40
#define NODE_PES_MAX 3
#define MAX_PES (MAX_NODES * NODE_PES_MAX)
#define MILLISECOND (SIM_SECOND / 1000)

struct item;

/* What waits, in order: offsets, or what is on its way between nodes. */
struct queue {
    struct item *first, **last;
};

struct trees;

struct trees_pe {
    struct region *region;
    struct queue mail;
    bool busy;
};

struct node {
    struct trees *trees;
    uint32_t number, first, pes;
    struct segment segment;
    struct region *region;
    struct collectives *collectives;
    struct lane *lanes; /* of other nodes: 2 each; of its own: what PEs give to the router */
    struct trees_pe pe[NODE_PES_MAX];
    bool look_due;
    uint64_t hog; /* memory that is taken away for a while */
};

/* What PEs do. */
struct trees_program {
    /* A message: it is the PE's, which releases it. */
    void (*handle)(void *context, struct node *node, uint32_t pe, uint64_t offset);
    /* There is none left: it falls asleep afterwards. */
    void (*rest)(void *context, struct node *node, uint32_t pe);
    void *context;
};

struct trees {
    struct sim *sim;
    struct trees_program program;
    uint32_t nodes, pes;
    uint32_t first_pes[MAX_NODES + 1];
    struct router_node table[MAX_NODES];
    struct node node[MAX_NODES];
    uint64_t held_up; /* times that a stream had to wait */
    bool over;        /* routers keep their memory from now on */
    char failure[320];
    jmp_buf *out; /* where trees_fail() goes */
};

/* Between 3 and MAX_NODES nodes; the seed says how many, and all that happens. */
struct trees *trees_create(uint64_t seed, const struct trees_program *program);
void trees_destroy(struct trees *trees);
/* Take memory from routers and give it back, again and again, until it is over. */
void trees_take_memory(struct trees *trees);

/* This is not to be: leave by the way out, with the sentence in `failure`. */
_Noreturn void trees_fail(struct trees *trees, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* 0 .. below - 1 */
uint64_t trees_chance(struct trees *trees, uint64_t below);
/* It fails if anything is allocated. */
void trees_check_memory(struct trees *trees);

struct node *trees_node_of(struct trees *trees, uint32_t pe);
/* A block in a region of the node, with room for a body; 0: no memory. */
uint64_t trees_block(struct node *node, struct region *region, const struct c4p_envelope *like);
/* Done with a block, and perhaps with the one whose body it shares. */
void trees_release(struct node *node, uint64_t offset);
const uint8_t *trees_body(const struct node *node, uint64_t offset);
/* A message of a PE: to one of its own node, or to the router. */
void trees_deliver(struct node *node, uint32_t pe, uint64_t offset);
void trees_offer(struct node *node, uint64_t offset);

#endif
