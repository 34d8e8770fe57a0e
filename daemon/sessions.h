/*
 * Sessions: jobs without a program of their own, whose PEs do what clients ask them through the
 * segment. A session waits in the queue as any job, and runs until it is closed.
 *
 * A named one is there for whoever knows its name, and stays for a time (its TTL) when no client is
 * in it; one without a name ends with its last client. Who opened a session or entered it is in it,
 * until it unfollows the job or goes. No two open sessions have the same name.
 */
#ifndef C4P_DAEMON_SESSIONS_H
#define C4P_DAEMON_SESSIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/control/control.h"
#include "daemon/jobs/jobs.h"

struct event_base;
struct sessions;

/*
 * `ttl_ms`: of sessions that do not say otherwise; 0: for ever. The rest is for clients that do not
 * map the segment: `state_dir`, where their socket is (NULL: it has no file), and who is told when
 * one is to be ended. NULL with errno. Destroy is NULL-safe, and ends nothing: no job is left then.
 */
struct sessions *sessions_create(struct event_base *base, uint64_t ttl_ms, const char *state_dir,
                                 const struct bridge_listener *remote);
void sessions_destroy(struct sessions *sessions);
/* Before anything else. */
void sessions_set_jobs(struct sessions *sessions, struct jobs *jobs);
void sessions_set_ttl(struct sessions *sessions, uint64_t ttl_ms);

/* Join a session, or make it. `client` is the number of its connection. -1 with a sentence. */
int sessions_open(struct sessions *sessions, uint64_t client, const C4p__Open *open, uint64_t *job,
                  char reason[CONTROL_REASON_SIZE]);
int sessions_close(struct sessions *sessions, uint64_t job, char reason[CONTROL_REASON_SIZE]);

/* Enter the segment (attach.h). Again: a new endpoint. `follows`: it follows the job. -1 with a
 * sentence. */
int sessions_enter(struct sessions *sessions, uint64_t client, uint64_t job, bool follows,
                   struct attach_entry *entry, char reason[CONTROL_REASON_SIZE]);
/* The client is in the session no more, or in none. */
void sessions_leave(struct sessions *sessions, uint64_t client, uint64_t job);
void sessions_client_gone(struct sessions *sessions, uint64_t client);

/* Fill in what is known of an open session: nothing if it is over. The name is the job's. */
void sessions_describe(const struct sessions *sessions, uint64_t job, C4p__SessionInfo *info);

/* From the jobs. */
void sessions_job_ended(struct sessions *sessions, uint64_t job);

#endif
