/*
 * The node's router of one job: c4pd's end of the data plane.
 *
 * It makes the job's segment, owns the router's slot in it and takes the
 * messages that PEs send there in the plane's thread (plane.h): woken through an
 * eventfd, a bounded number at a time, asleep when there is none. All functions
 * below are for the main loop, on which listeners are told. On one node only the
 * PEs' reports (C4P_STARTED, C4P_EXIT) come here; everything else is dropped
 * and counted. What clients send that do not map the segment is passed on to
 * their targets, and what is for them to who carries it (remote.h).
 *
 * Everything in the segment is hostile. An envelope is copied out and checked
 * before use; a message that is invalid, or claims to come from somebody whose
 * region it is not in, is dropped and counted. What a correct program cannot
 * cause at all (a queue that links to nowhere, a changed header) is reported
 * as corruption, after which the router touches the segment no more.
 */
#ifndef C4P_DAEMON_ROUTER_ROUTER_H
#define C4P_DAEMON_ROUTER_ROUTER_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/router/plane.h"
#include "daemon/router/remote.h"
#include "proto/segment.h"

struct router;

/* Longest text of a C4P_EXIT that is passed on; the rest is cut off. */
#define ROUTER_MAX_TEXT (256u << 10)

struct router_listener {
    void (*started)(void *context, uint32_t pe);
    void (*exited)(void *context, uint32_t pe, int32_t code, const char *text, size_t size);
    void (*corrupted)(void *context, const char *what);
    /* Nothing goes to or comes from another node of the job any more (once for each): `why` is a
     * sentence without its name. May be NULL if there is one node only. */
    void (*lost)(void *context, uint32_t node, const char *why);
    void *context;
};

/* `nodes` are those of the job, copied; NULL: this one only. NULL with errno: the segment cannot be
 * made, or the plane's thread or sockets. */
struct router *router_create(struct plane *plane, struct segment_geometry *geometry,
                             const struct router_nodes *nodes,
                             const struct router_listener *listener);
/* NULL-safe. Not from within a listener. */
void router_destroy(struct router *router);

/* The two descriptors that PEs inherit. */
int router_segment_fd(const struct router *router);
int router_wake_fd(const struct router *router);

/* Take in everything that is queued now, and tell it before this returns: after the death of a PE, to
 * know its last words. Not from within a listener. */
void router_drain(struct router *router);

/* Send C4P_STOP to every PE except one (UINT32_MAX: to all). */
void router_stop_pes(struct router *router, uint32_t except);

/* Wake every PE: one that died may have queued a message and not woken its receiver. */
void router_wake_pes(struct router *router);

/* What ENOSPC means below, for people. */
#define ROUTER_CLIENTS_FULL                                                                        \
    "every place for a client is taken: a session has at most 15 at a time (wait until one "       \
    "leaves)"
_Static_assert(SEGMENT_CLIENT_SLOTS == 15, "the sentence above says so");

/*
 * A client enters the segment: its endpoint address, or 0 with errno ENOSPC when every place is taken
 * (or not free again yet: see clients.h), or ENOTRECOVERABLE when the segment is corrupt.
 */
uint32_t router_client_enter(struct router *router);
/* It is gone, however it went: what is queued for it is given back. Of both kinds of clients. */
void router_client_leave(struct router *router, uint32_t endpoint);

/*
 * A client enters that does not map the segment: the same. Until it leaves, or the router is
 * destroyed, its listener hears; not from within the other functions for it but router_client_leave().
 */
uint32_t router_remote_enter(struct router *router, const struct router_remote_listener *listener);
/* What a stream asks its owner for (proto/stream.h). */
bool router_remote_next(struct router *router, uint32_t endpoint, struct c4p_envelope *envelope,
                        const void **body);
void router_remote_sent(struct router *router, uint32_t endpoint);
enum stream_answer router_remote_begin(struct router *router, uint32_t endpoint,
                                       const struct c4p_envelope *envelope, void **body);
void router_remote_end(struct router *router, uint32_t endpoint);
/* The largest body that it can send. */
uint64_t router_remote_limit(const struct router *router);
const struct segment_geometry *router_geometry(const struct router *router);

/* Messages that were dropped. */
uint64_t router_dropped(struct router *router);

#endif
