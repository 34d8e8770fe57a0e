/*
 * This node's part in the cluster: what the rest of the daemon sees of it.
 *
 * The shell around swim.h, trust.h and links.h. It is there when the state directory belongs to a
 * node of a cluster; else the daemon is alone, and nothing listens on any port. All of it runs in the
 * event loop.
 *
 * What is sent to a node that is lost meanwhile never arrives, and nobody is told but by `down`: who
 * waits for an answer keeps a list of what it asked of whom, and gives up what it asked of that one.
 */
#ifndef C4P_DAEMON_CLUSTER_CLUSTER_H
#define C4P_DAEMON_CLUSTER_CLUSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/cluster/links.h"

/* Of the socket of the data plane (plane.h), for who may come in: nodes and users. */
#define CLUSTER_DATA_DOMAIN "data"

struct cluster;
struct event_base;

struct cluster_listener {
    /* A message about jobs (Reserve and all after it), of a node that is enrolled. */
    void (*message)(void *context, const struct node_key *from, const C4p__Peer *message);
    /* A node is there, again, or its facts are other ones. */
    void (*up)(void *context, const struct member_record *node);
    /* A node is lost, has left or was revoked: `why` is a sentence without its name. */
    void (*down)(void *context, const struct node_key *key, const char *why);
    /* A frame of a user of another host. */
    void (*user)(void *context, const struct node_key *from, const void *identity,
                 size_t identity_size, const void *data, size_t size);
    /* A user's key was revoked: whoever came with it is to be cut off. */
    void (*user_revoked)(void *context, const struct node_key *key);
    /* What cluster_troubles() says, or a figure, is another one. */
    void (*changed)(void *context);
    void *context;
};

struct cluster_settings {
    const char *state_dir;
    void *zmq;
    const char *listen;    /* tcp://0.0.0.0:7227 */
    const char *advertise; /* host or address that others reach us at; NULL: found out */
    const char *release;   /* of c4p */
    struct cluster_listener listener;
};

/* NULL with a sentence (TRUST_ERROR_SIZE). Destroy is NULL-safe, and says good-bye. */
struct cluster *cluster_create(struct event_base *base, const struct cluster_settings *settings,
                               char *error);
void cluster_destroy(struct cluster *cluster);

const struct trust_identity *cluster_identity(const struct cluster *cluster);
struct trust *cluster_trust(struct cluster *cluster);
/* This node, or another one; NULL: nobody knows it. */
const struct member_record *cluster_self(const struct cluster *cluster);
const struct member_record *cluster_find(const struct cluster *cluster, const struct node_key *key);
/* All that are known; in the order of their names. Good until the event loop goes on. */
size_t cluster_nodes(struct cluster *cluster, const struct member_record *const **nodes);

/* 0; -1 with errno: ENOENT (no such member), EHOSTUNREACH (lost), EAGAIN (its queue is full). */
int cluster_send(struct cluster *cluster, const struct node_key *to, C4p__Peer *message);
int cluster_reply_user(struct cluster *cluster, const void *identity, size_t identity_size,
                       const void *data, size_t size);

/* Where the data plane was bound (plane_address()): told to others with the host that they reach. */
void cluster_set_data(struct cluster *cluster, const char *address);
/* The configuration says another one; NULL: found out. -1 with a sentence. */
int cluster_set_advertise(struct cluster *cluster, const char *advertise, char *error);
/* Somebody was enrolled or revoked through cluster_trust(): the others are told, and who is revoked
 * is cut off. */
void cluster_trust_changed(struct cluster *cluster);
/* Time of day since when a node is in its state; 0: nobody knows it. */
int64_t cluster_since(const struct cluster *cluster, const struct node_key *key);

/* What we tell of ourselves. */
struct cluster_load {
    uint32_t pes, pes_free, queued;
    bool draining;
};
void cluster_set_load(struct cluster *cluster, const struct cluster_load *load);

struct cluster_figures {
    uint32_t nodes, nodes_lost; /* that are reached, this one among them; and that are not */
    uint32_t pes, pes_free;     /* of those that are reached */
    struct links_figures links;
    uint64_t refused; /* at the door of either plane */
};
struct cluster_figures cluster_figures(const struct cluster *cluster);
/* What a person should look at: at most `limit` sentences, good until the event loop goes on. */
size_t cluster_troubles(struct cluster *cluster, const char **sentences, size_t limit);

/* What a command of c4pd asks through the door: fills in the answer, whose strings live until the
 * next call. */
void cluster_admin(struct cluster *cluster, const C4p__Admin *admin, C4p__AdminAnswer *answer);

#endif
