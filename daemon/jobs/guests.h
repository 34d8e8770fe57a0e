/*
 * Guests: PEs on this node of jobs whose home is another one. The other side of remote_crew.h.
 *
 *   (Prepare) -> FITTING -> READY -> LAUNCHED -> GONE
 *                    any of them -> ENDING
 *
 * FITTING: their slots are held, and files and Python are looked after (provision.h). READY: segment
 * and router exist. LAUNCHED: PEs were started, and what happens is reported. GONE: no PE is left and
 * the home has yet to acknowledge that. ENDING: nobody waits for them any more, they are killed.
 *
 * Guests end when their home says so, when it is lost or started anew, and when it knows nothing of
 * them: they ask when they have heard nothing for a while. So what a home leaves behind is gone soon
 * after membership says that it is lost, and nothing that was lost on the way keeps slots for ever.
 */
#ifndef C4P_DAEMON_JOBS_GUESTS_H
#define C4P_DAEMON_JOBS_GUESTS_H

#include "daemon/jobs/job.h"
#include "daemon/jobs/letters.h"
#include "daemon/jobs/remains.h"

/* Parts of jobs that are guests here at a time. */
#define GUESTS_MAX 1024

struct guests;
struct provisions;

/* What they need of this node. */
struct guests_host {
    /* This node's key; NULL: it is in no cluster. */
    const struct node_key *(*self)(void *context);
    /* Hold the slots that were promised; false: the promise is over. And free them. */
    bool (*hold)(void *context, const struct node_key *home, uint64_t job, uint64_t attempt);
    void (*free)(void *context, const struct node_key *home, uint64_t job);
    /* How the processes of a job are known (remains.h). */
    void (*mark)(void *context, uint64_t job, char mark[REMAINS_MARK_SIZE]);
    /* Some are no more: what they left behind can go. */
    void (*ended)(void *context);
    void *context;
};

struct guests_settings {
    const struct job_place *place; /* borrowed */
    struct courier courier;
    struct provisions
        *provisions; /* borrowed; NULL: commands are run as they come, where they are */
    struct guests_host host;
};

/* NULL with errno ENOMEM. Destroy kills what lives; NULL-safe. */
struct guests *guests_create(const struct guests_settings *settings);
void guests_destroy(struct guests *guests);

/* Prepare, Launch, Order, GuestInput, and the GuestAck of a home. False: it is none of these. */
bool guests_message(struct guests *guests, const struct node_key *from, const C4p__Peer *message);
/* A node is lost, or there in this life: guests of an earlier one end. */
void guests_node_down(struct guests *guests, const struct node_key *key, const char *why);
void guests_node_up(struct guests *guests, const struct node_key *key, uint64_t incarnation);

/* A child has ended and is not reaped yet. If it is a guest's PE, reap it and return true. */
bool guests_child_died(struct guests *guests, pid_t pid);
/* Has this job guests here? */
bool guests_have(const struct guests *guests, uint64_t job);
/* This daemon stops: their homes are told, and they end, at once with `kill`. */
void guests_stop(struct guests *guests, bool kill);
/* No PE of theirs lives. */
bool guests_idle(const struct guests *guests);
/* How many parts of jobs there are, and PEs that they have. */
unsigned guests_count(const struct guests *guests, uint32_t *pes);

#endif
