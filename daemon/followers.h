/*
 * Who follows which job: a client that follows one gets its states, what is kept of its output from
 * some piece on, what comes after that, and its end.
 *
 * A follower is a cursor into the job's transcript, so any number of them can follow a job, each at
 * its own pace. At most CONTROL_OUTPUT_WINDOW pieces are on their way to it unacknowledged, and
 * FOLLOWERS_CLIENT_WINDOW to one client. A lossless one holds the PEs back when they would push out
 * of the transcript what it has not acknowledged; another loses that, and sees it in the sequence.
 *
 * Nothing is queued here. When a client does not take what is sent (EAGAIN), its followers stand
 * still until it acknowledges something, or a moment is over.
 *
 * Following is answered first; then followers_flow() lets the events go. The first follower that
 * asks for it has the job's standard input until it goes.
 */
#ifndef C4P_DAEMON_FOLLOWERS_H
#define C4P_DAEMON_FOLLOWERS_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/control/control.h"
#include "daemon/jobs/jobs.h"

#define FOLLOWERS_PER_CLIENT 64
#define FOLLOWERS_CLIENT_WINDOW 256

struct event_base;
struct followers;
struct followers_client;

struct followers_listener {
    /* 0, or -1 with errno: EAGAIN if the client does not read now. */
    int (*send)(void *context, struct control_peer *peer, C4p__Event__BodyCase body, void *message);
    /* Something else went wrong with it: it is to be cut off, soon. */
    void (*lost)(void *context, struct control_peer *peer, int error);
    void *context;
};

/* NULL with errno ENOMEM. Destroy is NULL-safe; clients are destroyed before. */
struct followers *followers_create(struct event_base *base,
                                   const struct followers_listener *listener);
void followers_destroy(struct followers *followers);
/* The jobs, which tell what happens by the functions at the end; before anything else. */
void followers_set_jobs(struct followers *followers, struct jobs *jobs);

/* NULL with errno ENOMEM. Destroy is NULL-safe. */
struct followers_client *followers_client_create(struct followers *followers,
                                                 struct control_peer *peer);
void followers_client_destroy(struct followers *followers, struct followers_client *client);

/* Fills in the answer. -1 with a sentence. */
int followers_add(struct followers *followers, struct followers_client *client,
                  const C4p__Follow *follow, C4p__Following *following,
                  char reason[CONTROL_REASON_SIZE]);
void followers_flow(struct followers *followers, struct followers_client *client, uint64_t job);
/* False if it did not follow. */
bool followers_remove(struct followers *followers, struct followers_client *client, uint64_t job);

bool followers_has(const struct followers_client *client, uint64_t job);
bool followers_has_input(const struct followers_client *client, uint64_t job);
/* Pieces up to this one were dealt with. What comes after the end is ignored. */
void followers_acknowledge(struct followers *followers, struct followers_client *client,
                           uint64_t job, uint64_t sequence);

/* ---- from the jobs: see jobs_listener ---- */

void followers_changed(struct followers *followers, uint64_t job);
void followers_queue_moved(struct followers *followers);
void followers_output(struct followers *followers, uint64_t job);
void followers_input_credit(struct followers *followers, uint64_t job, uint32_t bytes, bool closed);
bool followers_keep_up(struct followers *followers, uint64_t job);
void followers_ended(struct followers *followers, uint64_t job);

#endif
