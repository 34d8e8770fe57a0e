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

/* What of a status is the jobs', and the memory that this process has. */
void inquiry_figures(const struct jobs *jobs, C4p__DaemonStatus *status);

#endif
