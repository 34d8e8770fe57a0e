/*
 * The shape of trees over the nodes of a job: which node passes what on to which others.
 *
 * A tree is over a range of nodes and has a root, which may be outside of the range. The nodes but
 * the root stand in a row, in ascending order: what a node is responsible for is always a stretch of
 * that row, with itself at the front. It divides the rest of its stretch among at most `arity`
 * children. So a subtree is three numbers, everybody computes the same, and nothing is agreed upon.
 * With the root at the front of the range, a subtree's nodes, and its PEs, have consecutive numbers.
 */
#ifndef C4P_DAEMON_ROUTER_FAN_H
#define C4P_DAEMON_ROUTER_FAN_H

#include <stdbool.h>
#include <stdint.h>

#define FAN_ARITY_MAX 8

struct fan {
    uint32_t first, end; /* nodes first .. end - 1 */
    uint32_t root;
    uint32_t arity; /* 1 .. FAN_ARITY_MAX */
};

/* A stretch of the row, its node being the one at `low`. */
struct fan_part {
    uint32_t low, high; /* places low .. high - 1 */
};

/* Nodes in the row. */
uint32_t fan_size(const struct fan *fan);
/* The node at a place of the row, and a node's place; of the root: UINT32_MAX. */
uint32_t fan_node(const struct fan *fan, uint32_t place);
uint32_t fan_place(const struct fan *fan, uint32_t node);

/* The children of the root: how many, and their stretches. */
uint32_t fan_root_children(const struct fan *fan, struct fan_part children[FAN_ARITY_MAX]);
/* Of a node that is responsible for `part` (not empty). */
uint32_t fan_children(const struct fan *fan, const struct fan_part *part,
                      struct fan_part children[FAN_ARITY_MAX]);

/* What the node at a place is responsible for, and its parent; the root is a node, too. */
struct fan_part fan_part_of(const struct fan *fan, uint32_t place, uint32_t *parent);

#endif
