/*
 * The PEs of a job on another node, from its home: what is wanted of them goes there as letters
 * (letters.h), what happens comes back. guests.h is the other side.
 *
 *   NEW -> PREPARING -> READY -> LAUNCHED -> GONE
 *
 * Prepare is no letter: it is sent again until it is answered. While the node says that it is at it
 * (a GuestAck) it is given time; one that says nothing is given up. From READY on the node can be lost:
 * membership says so, or it knows nothing of these guests any more. All PEs count as spawned when
 * Launch is sent, since from then on they may be.
 *
 * Everything that comes is checked: PEs that are none of its own, states that cannot follow, output
 * beyond the window are dropped, or are the end of the crew.
 */
#ifndef C4P_DAEMON_JOBS_REMOTE_CREW_H
#define C4P_DAEMON_JOBS_REMOTE_CREW_H

#include "daemon/jobs/crew.h"
#include "daemon/jobs/letters.h"

struct event_base;

#define REMOTE_PREPARE_AGAIN_MS 2000
/* A node that says nothing for so long does not prepare anything; and no node takes longer. */
#define REMOTE_SILENCE_MS 30000
#define REMOTE_PREPARE_LIMIT_MS 900000

struct remote_crew_settings {
    struct event_base *base;
    struct courier courier;
    struct node_key key;
    const char *name; /* borrowed */
    uint32_t node;    /* its number in the job */
    uint32_t first_pe, pes;
    const C4p__Prepare *prepare; /* all of it but `node`; used during the call */
    struct crew_listener listener;
};

/* NULL with errno ENOMEM. */
struct crew *remote_crew_create(const struct remote_crew_settings *settings);

#endif
