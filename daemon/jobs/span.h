/*
 * Which PEs of a job are on which of its nodes, and how the nodes are told (Prepare in cluster.proto).
 */
#ifndef C4P_DAEMON_JOBS_SPAN_H
#define C4P_DAEMON_JOBS_SPAN_H

#include "daemon/jobs/job.h"
#include "daemon/router/plane.h"

/* What makes one job's segments and routers belong together. */
struct span_identity {
    uint64_t job;
    uint32_t epoch;
    uint8_t secret[PLANE_SECRET_SIZE];
};

/* Deal PEs in blocks: the first pes % count nodes have one more. */
void span_deal(struct job_node *nodes, uint32_t count, uint32_t pes);

/* What each of the other nodes is told, but for its number; borrows from `span`. */
struct span_message {
    C4p__Prepare prepare;
    C4p__JobNode *nodes;
    C4p__JobNode **list;
};
/* -1 with errno ENOMEM. Free is safe on a zeroed struct. */
int span_write(struct span_message *message, const struct job_span *span,
               const struct span_identity *identity, uint64_t region_size);
void span_message_free(struct span_message *message);

/*
 * What a node is told: the nodes of the job, to be freed, and the PEs of all of them in *pes. NULL
 * with a sentence if it makes no sense.
 */
struct job_node *span_read(const C4p__Prepare *prepare, const struct node_key *self, uint32_t *pes,
                           struct span_identity *identity, char error[JOB_ERROR_SIZE]);

/* The same for a router of node `self`; `routers` has room for `count`. */
struct router_nodes span_router_nodes(const struct job_node *nodes, uint32_t count, uint32_t self,
                                      const struct span_identity *identity,
                                      struct router_node *routers);

/* Where its PEs are, as the store keeps it (hosts of struct store_job), to be freed. NULL: no memory. */
void *span_pack_hosts(const struct job_span *span, size_t *size);

/* What people are told when a node is lost: to the data plane of node `seen`, or, if that is NULL, to
 * the home. */
void span_lost_tell(const struct job_node *lost, const struct job_node *seen, const char *why,
                    char text[JOB_ERROR_SIZE]);

#endif
