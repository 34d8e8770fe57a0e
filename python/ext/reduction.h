/*
 * What the parts of reductions share: what elements contribute (contribution.c), where it meets on a
 * node (reduction.c), where parts of several nodes meet on a PE (reduction_nodes.c), and what a
 * deadlocked program hears of them (reduction_report.c).
 */
#ifndef C4P_EXT_REDUCTION_H
#define C4P_EXT_REDUCTION_H

#include "python/ext/combine.h"

/* A part of a reduction, taken out of its message. */
struct part {
    uint32_t pe; /* whose it is; of a node's part, the lowest */
    PyObject *value;
    bool owned; /* value is ours to change in place */
};

/* One reduction that local elements take part in. */
struct reduction {
    struct reduction *next;
    uint32_t sequence;
    uint64_t count; /* local contributions */
    Reducer *reducer;
    PyObject *value;    /* combined so far; a list for gather and custom ones */
    bool owned;         /* value is ours to change in place */
    bool all;           /* allreduce */
    bool published;     /* waits for its result only */
    PyObject *target;   /* callback */
    PyObject *futures;  /* of allreduce: list */
    struct part *parts; /* if we came last: those that are here, ours first */
    uint32_t part_count;
    uint32_t parts_due; /* that are not: they wait for a class */
};

/* The open one of a collection; NULL: there is none. */
struct reduction *reduction_find(const struct collection *collection, uint32_t sequence);
/* NULL with an exception. */
struct reduction *reduction_open(struct collection *collection, uint32_t sequence, Reducer *reducer,
                                 bool all);
void reduction_close(struct collection *collection, struct reduction *r);
/* The same, in no collection's list. */
struct reduction *reduction_create(uint32_t sequence, Reducer *reducer, bool all);
void reduction_destroy(struct reduction *r);
/* All elements at home here have contributed: bring our part to where the others' are. */
int reduction_publish(struct collection *collection, struct reduction *r);

/* qsort(): by PE. */
int part_compare(const void *a, const void *b);
/* The parts' values combined, in their order, or their lists joined. Steals the values. */
PyObject *parts_reduce(const Reducer *reducer, struct part *parts, Py_ssize_t count);

/* In a session what a reducer raises is the result; NULL: it ends the program, and is still pending. */
PyObject *error_take(void);

/* Contributions to a collection's reductions that are made on this node. */
uint64_t reduction_share(const struct collection *collection);
/*
 * All contributions of this node are in `value` (borrowed; NULL for none), and there are others
 * elsewhere: pass it on. `flags`: C4P_EXCEPTION if it is an error. `target`: a callback, or NULL.
 */
int node_part_send(const struct collection *collection, uint32_t sequence, const Reducer *reducer,
                   PyObject *target, PyObject *value, uint16_t flags);

#endif
