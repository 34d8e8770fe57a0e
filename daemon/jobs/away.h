/*
 * Other nodes, as the jobs of a daemon have to do with them: what ties placing.h, guests.h,
 * provision.h and probe.h to the post (daemon/cluster/post.h), and to the jobs whose home is here.
 *
 * All functions are good for jobs that have no other nodes: then there is nothing to do.
 */
#ifndef C4P_DAEMON_JOBS_AWAY_H
#define C4P_DAEMON_JOBS_AWAY_H

#include "daemon/jobs/jobs_internal.h"

/* -1 with errno. Close is NULL-safe; it kills guests. */
int away_open(struct jobs *jobs);
void away_close(struct jobs *jobs);

/* This node may have become one of a cluster, or have left it. */
void away_look(struct jobs *jobs);

/* As of guests.h. */
bool away_child_died(struct jobs *jobs, pid_t pid);
bool away_have(struct jobs *jobs, uint64_t job);
void away_stop(struct jobs *jobs, bool kill);
bool away_idle(const struct jobs *jobs);

/* placing.h asks: what Python does this job need, and is this one here? */
void away_need(void *context, uint64_t job);
void away_probe(void *context, uint64_t number, const C4p__Python *need);

/* Are these all on this node? */
bool away_alone(const struct jobs *jobs, const struct reservation_part *parts, size_t count);
/* Where the PEs of a job will be, with what the nodes are told of it. -1 with a sentence: a node is
 * gone. What is in it borrows from `submit` and the entry; end it in either case. */
struct away_span {
    struct job_span span;
    struct job_node *nodes;
    C4p__Prepare prepare;
};
int away_span_make(struct jobs *jobs, struct away_span *away, const struct entry *entry,
                   const C4p__Submit *submit, const struct reservation_part *parts, size_t count,
                   char error[JOBS_REASON_SIZE]);
void away_span_end(struct away_span *away);

#endif
