/*
 * What a daemon does for its clients: the control plane's requests carried out
 * on jobs, and the jobs' events sent to who follows them.
 *
 * A private daemon has one job and one client; the requests and events are
 * those of every daemon.
 */
#ifndef C4P_DAEMON_SERVICE_H
#define C4P_DAEMON_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "daemon/jobs/job.h"

struct service;

struct service_listener {
    void (*greeted)(void *context); /* a client has connected and agreed on a version */
    void (*ended)(void *context);   /* a job is over, and its follower has been told */
    void *context;
};

/* Serve at a ZeroMQ address. `place` and its strings are borrowed. NULL with errno. */
struct service *service_create(const struct job_place *place, const char *address,
                               const struct service_listener *listener);
/* Kills what runs. NULL-safe. */
void service_destroy(struct service *service);

/* A child has ended and is not reaped yet: true if it was a PE, which is reaped then. */
bool service_child_died(struct service *service, pid_t pid);

/* Take no more jobs, and end those there are, with or without a moment to clean up. */
void service_stop(struct service *service, bool kill);
/* Nobody listens any more: what the jobs still say is thrown away. */
void service_abandon(struct service *service);
/* No job runs, or could be started by a client. */
bool service_is_idle(const struct service *service);

#endif
