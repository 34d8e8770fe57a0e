/*
 * Questions about jobs, answered: a list, and one that is looked for by its id or name.
 */
#ifndef C4P_DAEMON_INQUIRY_H
#define C4P_DAEMON_INQUIRY_H

#include "daemon/control/control.h"
#include "daemon/jobs/jobs.h"
#include "daemon/sessions.h"

/* Who asks, and whom. */
struct inquiry {
    struct control *control;
    struct control_peer *peer;
    uint64_t id; /* of the request */
    struct jobs *jobs;
    struct sessions *sessions;
};

/* Each answers with Jobs, or returns -1 with a sentence. */
int inquiry_list(struct inquiry *inquiry, const C4p__List *list, char reason[CONTROL_REASON_SIZE]);
int inquiry_find(struct inquiry *inquiry, const C4p__Find *find, char reason[CONTROL_REASON_SIZE]);

struct post;

/* A page of the nodes of the cluster; alone: of none. */
int inquiry_nodes(struct inquiry *inquiry, struct post *post, const C4p__Nodes *nodes,
                  char reason[CONTROL_REASON_SIZE]);
/* What of a status is the cluster's; its `troubles` has room for so many more. */
#define INQUIRY_TROUBLES 6
void inquiry_cluster(struct post *post, C4p__DaemonStatus *status);
/* Other nodes are told how busy this one is. */
void inquiry_tell(const struct jobs *jobs, bool draining, struct post *post);

/* What of a status is the jobs', and the memory that this process has. */
void inquiry_figures(const struct jobs *jobs, C4p__DaemonStatus *status);

#endif
