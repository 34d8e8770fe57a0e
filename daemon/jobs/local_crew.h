/*
 * The PEs of a job on this node: their segment and router, processes, pipes, and standard input.
 */
#ifndef C4P_DAEMON_JOBS_LOCAL_CREW_H
#define C4P_DAEMON_JOBS_LOCAL_CREW_H

#include "daemon/jobs/crew.h"
#include "daemon/jobs/job.h"
#include "daemon/jobs/span.h"

struct crew_settings {
    const char *subject;               /* "job 7k2m9x4c", for the log; borrowed */
    const struct job_request *request; /* used during the call; its `pes` are those of all nodes */
    const struct job_place *place;     /* borrowed */
    const struct span_identity *identity;
    const struct job_node *nodes; /* of the job; used during the call */
    uint32_t node_count, node;    /* the crew's own is nodes[node] */
    struct crew_listener listener;
};

/* NULL with a sentence. */
struct crew *local_crew_create(const struct crew_settings *settings, char error[JOB_ERROR_SIZE]);
struct router *local_crew_router(struct crew *crew);

#endif
