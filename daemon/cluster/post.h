/*
 * The other nodes, as the parts of the daemon that deal with jobs see them: who takes which of their
 * messages, and who hears when they come and go.
 *
 * It is there whether the daemon is a node of a cluster or alone, and stays when that changes. Alone,
 * there is nobody to write to.
 */
#ifndef C4P_DAEMON_CLUSTER_POST_H
#define C4P_DAEMON_CLUSTER_POST_H

#include "daemon/cluster/cluster.h"

struct post;

/* NULL with errno ENOMEM. Destroy is NULL-safe. */
struct post *post_create(void);
void post_destroy(struct post *post);

/* A message of this kind came from a node that is enrolled. */
typedef void post_handler(void *context, const struct node_key *from, const C4p__Peer *message);
/* One for each kind; NULL: nobody any more. */
void post_handle(struct post *post, C4p__Peer__BodyCase body, post_handler *handler, void *context);

struct post_watch {
    void (*up)(void *context, const struct member_record *node); /* or its facts are other ones */
    void (*down)(void *context, const struct node_key *key, const char *why);
    void *context;
};
#define POST_WATCHES 8
/* -1 with errno ENOSPC. */
int post_watch(struct post *post, const struct post_watch *watch);

/* As cluster_send(); alone: EHOSTUNREACH. */
int post_send(struct post *post, const struct node_key *to, C4p__Peer *message);
/* As of cluster.h; alone: NULL, and no nodes. */
const struct member_record *post_self(const struct post *post);
const struct member_record *post_find(const struct post *post, const struct node_key *key);
size_t post_nodes(struct post *post, const struct member_record *const **nodes);

/* NULL: alone. For who describes it. */
struct cluster *post_cluster(struct post *post);

/* Users of other hosts, who speak to this node without being one. */
struct post_users {
    void (*frame)(void *context, const struct node_key *from, const void *identity,
                  size_t identity_size, const void *data, size_t size);
    void (*revoked)(void *context, const struct node_key *key);
    void *context;
};
void post_serve_users(struct post *post, const struct post_users *users);

/* ---- for who owns the cluster ---- */

/* NULL: alone from now on. */
void post_set_cluster(struct post *post, struct cluster *cluster);
void post_message(struct post *post, const struct node_key *from, const C4p__Peer *message);
void post_up(struct post *post, const struct member_record *node);
void post_down(struct post *post, const struct node_key *key, const char *why);
void post_user(struct post *post, const struct node_key *from, const void *identity,
               size_t identity_size, const void *data, size_t size);
void post_user_revoked(struct post *post, const struct node_key *key);

#endif
