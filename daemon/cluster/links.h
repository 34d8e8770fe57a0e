/*
 * The links of the control plane between nodes: messages of cluster.proto over ZeroMQ and CURVE.
 *
 * One ROUTER socket takes what comes from everybody (control.h serves users of other hosts on it
 * too); to each peer that we speak to there is a DEALER of ours, opened with the first message and
 * closed when it was not used for a while. Who sent a message is told by CURVE: the ZAP handler (zap.h)
 * has let the key in, and says whose it is with every message.
 *
 * A link never waits. What does not fit into its queue is dropped with EAGAIN, and the sender decides
 * what that means; membership does not mind, jobs keep what is not acknowledged. When membership says
 * that a peer is lost, its link is closed, so that it begins anew with a fresh connection instead of
 * waiting for TCP's patience.
 */
#ifndef C4P_DAEMON_CLUSTER_LINKS_H
#define C4P_DAEMON_CLUSTER_LINKS_H

#include <stddef.h>
#include <stdint.h>

#include "daemon/cluster/trust.h"
#include "proto/cluster.pb-c.h"
#include "proto/control.pb-c.h"

#define LINKS_MAX_MESSAGE ((size_t)1 << 20)
#define LINKS_IDLE_MS 60000
/* Messages that wait for one peer, and their bytes: what is not small finds no room when so much waits,
 * so that who asks for much and takes nothing is no burden, and has not filled it for the small. */
#define LINKS_QUEUE 1024
#define LINKS_QUEUE_BYTES ((size_t)8 << 20)
#define LINKS_SMALL ((size_t)4 << 10)

struct links;
struct refusals;
struct event_base;

/* Where a message came from; the identity is what links_reply() wants. */
struct links_origin {
    struct node_key key;
    enum trust_role role;
    const void *identity;
    size_t identity_size;
    const char *address; /* of its host; empty: unknown */
};

struct links_listener {
    /* What the key of a sender is worth at this moment: asked for every message. */
    enum trust_role (*role)(void *context, const struct node_key *key);
    /* A message of a node, or of one that joins. */
    void (*received)(void *context, const struct links_origin *from, const C4p__Peer *message);
    /* A frame of a user of another host: for control.c. The identity is what links_reply() wants. */
    void (*user)(void *context, const struct node_key *from, const void *identity,
                 size_t identity_size, const void *data, size_t size);
    /* The connection to a peer broke, or could not be made. */
    void (*broke)(void *context, const struct node_key *key);
    /* A peer does not let us in: it knows nothing of our key, or that it was revoked. */
    void (*refused)(void *context, const struct node_key *key);
    void *context;
};

struct links_settings {
    void *zmq;           /* the daemon's context: zap.h and plane.h have the same */
    const char *address; /* to bind: tcp://0.0.0.0:7227 */
    const struct trust_identity *identity;
    uint64_t incarnation;
    struct refusals *refusals; /* borrowed: where strangers are counted */
    struct links_listener listener;
};

#define LINKS_DOMAIN "control" /* of its socket, for zap.h */

/* NULL with a sentence (TRUST_ERROR_SIZE). Destroy is NULL-safe; what is queued gets a moment. */
struct links *links_create(struct event_base *base, const struct links_settings *settings,
                           char *error);
void links_destroy(struct links *links);

/* Send to a node. Version and incarnation are filled in. -1 with errno: EAGAIN (its queue is full),
 * EMSGSIZE, EINVAL (no such address). */
int links_send(struct links *links, const struct node_key *to, const char *address,
               C4p__Peer *message);
/* Answer on the connection that something came from: to users, and to who joins. -1 with errno. */
int links_reply(struct links *links, const void *identity, size_t identity_size, const void *data,
                size_t size);
/* Close the link to a peer; the next message opens another one. What is queued is dropped. */
void links_close(struct links *links, const struct node_key *to);

/* "tcp://0.0.0.0:7227", with the port that was bound. */
const char *links_address(const struct links *links);

struct links_figures {
    unsigned open;
    uint64_t sent, received, sent_bytes, received_bytes, dropped, refused;
};
struct links_figures links_figures(const struct links *links);

#endif
