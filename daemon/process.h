/*
 * What both forms of the daemon have of a process: the event loop, the place where jobs run,
 * signals, and children that end.
 *
 * process_open() first of all, and the plane, then the service is made with `place`, then
 * process_watch_children() and the signals, since they use the service.
 */
#ifndef C4P_DAEMON_PROCESS_H
#define C4P_DAEMON_PROCESS_H

#include <event2/event.h>
#include <limits.h>
#include <stddef.h>

#include "daemon/jobs/job.h"

#define PROCESS_MAX_EVENTS 12

struct plane_settings;
struct service;
struct signals;

struct process {
    struct event_base *base;
    struct signals *signals;
    struct job_place place;
    struct plane *earlier;   /* with routers that were made before the daemon became a node */
    struct service *service; /* told of children; borrowed */
    struct event *events[PROCESS_MAX_EVENTS];
    unsigned used;
    char host[HOST_NAME_MAX + 1];
    char package_dir[PATH_MAX];
};

/* Ignores SIGPIPE and SIGXFSZ, takes the other signals (signals.h), and raises the limit of descriptors.
 * Before the first other thread. -1 with a sentence in `error`. */
int process_open(struct process *process, char *error, size_t size);
/* The data plane, before the service: `settings` but for its base, or NULL without other nodes. -1 with
 * a sentence. */
/* Another one may be made later, when the daemon becomes a node: the first one stays for its routers
 * until process_close(). */
int process_make_plane(struct process *process, const struct plane_settings *settings, char *error,
                       size_t size);
/* ... and is the only one again when the other is dropped. No router of that is left by then. */
void process_drop_plane(struct process *process);
/* Frees the loop and its events; what else used the loop is gone by then. Also after a failure. */
void process_close(struct process *process);

/*
 * Call this whenever the descriptor has something for us. With `number` -1 it is a timer, which is not
 * set yet and fires once each time that it is. Owned by `process`. NULL with a sentence in `error`.
 */
struct event *process_watch(struct process *process, int number, short what,
                            event_callback_fn callback, void *context, char *error, size_t size);
/* Call this when this signal has come (signals_watch()). */
void process_watch_signal(struct process *process, int number, event_callback_fn callback,
                          void *context);
/* Reap children, and tell `service` of those that are its own. */
void process_watch_children(struct process *process, struct service *service);

/*
 * Close every inherited descriptor but the standard ones and `keep` (-1: none), which moves out of
 * the way of those that PEs find at fixed numbers; these are reserved. Returns where `keep` is now
 * (0 if there is none), or -1 with errno.
 */
int process_descriptors_arrange(int keep);

#endif
