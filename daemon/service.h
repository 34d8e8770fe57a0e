/*
 * What a daemon does for its clients: the control plane's requests carried out
 * on jobs and sessions, and the jobs' events sent to who follows them. The same
 * for a private daemon and a lasting one.
 */
#ifndef C4P_DAEMON_SERVICE_H
#define C4P_DAEMON_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "daemon/jobs/jobs.h"
#include "proto/control.pb-c.h"

struct service;

struct service_settings {
    struct jobs_settings jobs;
    uint64_t bundle_limit, bundle_keep_ms; /* of the files that clients bring for their jobs */
    uint32_t max_clients;
    uint64_t session_ttl_ms; /* of named sessions that do not say otherwise */
    const char *version;
};

struct service_listener {
    /* A client has connected and agreed on a version. */
    void (*greeted)(void *context);
    /* The last client is gone. */
    void (*deserted)(void *context);
    /* No PE lives any more. */
    void (*idle)(void *context);
    /* Something that `status` shows is another: for the status line of the service manager. */
    void (*changed)(void *context);
    /* A command of c4pd asks about the cluster (attach.h). NULL: there is none, ever. */
    void (*admin)(void *context, const C4p__Admin *admin, C4p__AdminAnswer *answer);
    void *context;
};

#define SERVICE_ERROR_SIZE 400

/*
 * Serve at a ZeroMQ address (ipc://...). NULL with a sentence in `error`, and
 * in *result what it is if the store is why. `place`, `settings` strings and
 * `address` are borrowed.
 */
struct service *service_create(const struct job_place *place, const char *address,
                               const struct service_settings *settings,
                               const struct service_listener *listener,
                               enum store_open_result *result, char error[SERVICE_ERROR_SIZE]);
/* Kills what runs. NULL-safe. */
void service_destroy(struct service *service);

/* Let clients in at this Unix socket, or at the other end of this connection.
 * -1 with a sentence. */
int service_listen(struct service *service, const char *path, char error[SERVICE_ERROR_SIZE]);
int service_adopt(struct service *service, int fd, char error[SERVICE_ERROR_SIZE]);

/* A child has ended and is not reaped yet: true if it was a PE, which is reaped
 * then. */
bool service_child_died(struct service *service, pid_t pid);

/* Take and start no more jobs; sessions and running jobs go on. */
void service_drain(struct service *service);
/* ... and end what runs, with or without a moment to clean up. */
void service_stop(struct service *service, bool kill);
/* No PE lives. */
bool service_is_idle(const struct service *service);
/* New settings, where they can change while it runs. */
void service_configure(struct service *service, const struct service_settings *settings);

/* One line for a person: "2 jobs run, 1 waits, 3 of 4 PEs in use". */
void service_describe(const struct service *service, char *text, size_t size);

#endif
