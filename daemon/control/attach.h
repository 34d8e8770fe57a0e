/*
 * The door: the Unix socket (SOCK_SEQPACKET, 0600) where clients of this host come in.
 *
 * The kernel tells who connects. Who is welcome gets a ticket, with which it says Hello on the
 * ZeroMQ socket, and keeps the connection open: its end is the client's end, whatever it died of.
 * Over the same connection a client gets the descriptors of a session's segment. A private daemon
 * has one connection, the lifeline, and no socket.
 *
 * Packets are hostile: at most CONTROL_MAX_PACKET, decoded with a limit, and whoever sends what
 * makes no sense is told so and disconnected. A connection that has said nothing for
 * ATTACH_SILENCE_SECONDS is closed, and one that does not use its ticket; the lifeline may take its
 * time. Of each connection one packet is served in a turn of the event loop.
 *
 * A command of c4pd that asks something about the cluster says Admin instead of Attach: it gets one
 * answer, and its connection is closed.
 */
#ifndef C4P_DAEMON_CONTROL_ATTACH_H
#define C4P_DAEMON_CONTROL_ATTACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/router/bridge.h"
#include "proto/control.h"
#include "proto/control.pb-c.h"

#define ATTACH_SILENCE_SECONDS 10
#define ATTACH_TICKET_SECONDS 10
#define ATTACH_ERROR_SIZE 320

struct attach;
struct event_base;

/* Who is at the other end of a connection. */
struct attach_who {
    uint64_t id; /* of the connection: 1, 2, 3 ..., never used again */
    uid_t uid;
    pid_t pid;
};

/* What a client needs in a job's segment. */
struct attach_entry {
    bool remote;                 /* asked for: it does not map the segment */
    uint32_t endpoint;           /* that it is */
    int fds[2];                  /* the segment and the eventfd of its router; the callee's */
    struct bridge_ticket bridge; /* instead of them: for a remote one */
};

/* Called from the event loop. It may close connections, but not destroy the door. */
struct attach_listener {
    /* The connection is closed: the client is gone, whether it had said anything or not. */
    void (*gone)(void *context, uint64_t id);
    /* May this client enter the job? It has said Hello with its ticket. 0, or -1 with a sentence. */
    int (*segment)(void *context, uint64_t id, uint64_t job, struct attach_entry *entry,
                   char reason[ATTACH_ERROR_SIZE]);
    /* A command asks: fill in the answer, whose strings stay until it has been sent. NULL: such
     * questions are refused. */
    void (*admin)(void *context, const C4p__Admin *admin, C4p__AdminAnswer *answer);
    void *context;
};

struct attach_settings {
    const char *address; /* what Door says: where ZeroMQ listens */
    const char *host;
    uint32_t max_clients; /* connections, the lifeline apart */
};

/* NULL with errno ENOMEM. The strings of `settings` are borrowed. Destroy is NULL-safe: it closes
 * all connections (the listener is not told), and removes the socket. */
struct attach *attach_create(struct event_base *base, const struct attach_settings *settings,
                             const struct attach_listener *listener);
void attach_destroy(struct attach *attach);

/* Listen on a path; the caller holds the lock of the state directory, so an old socket is removed.
 * -1 with a sentence. */
int attach_listen(struct attach *attach, const char *path, char error[ATTACH_ERROR_SIZE]);
/* Take a connected socket over: the lifeline. -1 with errno. */
int attach_adopt(struct attach *attach, int fd);

/* A ticket came with Hello: whose it is, once. False: nobody's, or too late. */
bool attach_redeem(struct attach *attach, const void *ticket, size_t size, struct attach_who *who);

/* Close a connection, with a last word to the client (NULL: none); the listener is not told. Nothing
 * happens if it is closed already. */
void attach_close(struct attach *attach, uint64_t id, const char *reason);
/* Take no more: the socket is closed and removed. */
void attach_stop(struct attach *attach);

/* Clients that have a ticket, or had. */
uint32_t attach_count(const struct attach *attach);
/* Connections and packets that were refused so far. */
uint64_t attach_refused(const struct attach *attach);

#endif
