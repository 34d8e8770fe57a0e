/*
 * Quiescence over nodes, as node 0 decides it: is no message under way anywhere in the job?
 *
 * Each node counts the messages that its endpoints have sent, before they are queued, and those that
 * they have handled to the end. A node on which everything sleeps reports both sums, when they have
 * changed. When the reports together have as many messages handled as sent, node 0 asks every node
 * once more. If all have still what they reported, all counters stood at those values at the instant
 * at which the asking began: each was read before it and after it, and they only grow. So at that
 * instant as many messages had been handled as sent, hence none was on its way or in somebody's hands
 * (Mattern, "Algorithms for distributed termination detection", 1987: two counts, the first of which
 * the nodes make by themselves). It is the same with what else a node tells, timers and who waits,
 * since nothing of that changes without a message or an activity that counts like one.
 *
 * It is always noticed: whatever happens last in the job makes a PE fall asleep with other counters
 * than before, or is counted by a router, and either one reports. A report, or an answer that differs
 * from the report, is a new beginning, and costs nothing while the sums differ, as they do as long as
 * anything goes on. Nothing is asked by the clock.
 *
 * A pure core. Its caller asks the nodes and reads the counters, of node 0 as well.
 */
#ifndef C4P_DAEMON_ROUTER_QUIET_H
#define C4P_DAEMON_ROUTER_QUIET_H

#include <stdbool.h>
#include <stdint.h>

/* What may yet come of itself on a node (quiet_counts.waits). */
enum quiet_waits {
    QUIET_TO_COME = 1, /* a timer will fire, or a PE is not up yet */
    QUIET_WANTED = 2,  /* somebody waits for quiescence */
    QUIET_WAITS_ALL = 3
};

struct quiet_counts {
    uint64_t sent, handled;
    uint32_t waits; /* enum quiet_waits */
};

struct quiet;

/* `silent[node]`: it has no PE, so that it never reports, and counts nothing. NULL: no memory. */
struct quiet *quiet_create(uint32_t nodes, const bool *silent);
void quiet_destroy(struct quiet *quiet);

struct quiet_step {
    bool ask;      /* ask every node for its counts, wave number `wave` */
    uint32_t wave; /* never 0 */
    bool quiet;    /* quiescence: tell every node, with the counts of quiet_told() */
    bool end;      /* and nothing will come any more, nor does anybody wait: the program is over */
};

/* A node reports. False: such a node there is not. */
bool quiet_report(struct quiet *quiet, uint32_t node, const struct quiet_counts *counts,
                  struct quiet_step *step);
/* It answers a wave; old ones are ignored. */
bool quiet_answer(struct quiet *quiet, uint32_t node, uint32_t wave,
                  const struct quiet_counts *counts, struct quiet_step *step);
/* What a node said last. */
const struct quiet_counts *quiet_told(const struct quiet *quiet, uint32_t node);

#endif
