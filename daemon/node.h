/*
 * This daemon as a node of a cluster: the ZeroMQ context that its planes share, its part in the
 * cluster (cluster.h), and the data plane where other nodes reach it.
 *
 * node_create() is for a state directory that belongs to a node; the daemon's data plane is made with
 * it, and goes before it: as long as a socket of the context is open, somebody has to guard it.
 */
#ifndef C4P_DAEMON_NODE_H
#define C4P_DAEMON_NODE_H

#include "daemon/cluster/post.h"
#include "daemon/config.h"

struct node;
struct process;

#define NODE_ERROR_SIZE 400

struct node_settings {
    struct process *process;
    const char *state_dir;
    const struct config *config; /* borrowed for the call */
    struct post *post;           /* borrowed: it gets the cluster */
    /* Something that `status` shows is another. */
    void (*changed)(void *context);
    void *context;
};

/* NULL with a sentence. It makes the process's plane. */
struct node *node_create(const struct node_settings *settings, char error[NODE_ERROR_SIZE]);
/* Says good-bye to the others, and destroys the plane: no router is left by then. NULL-safe. */
void node_destroy(struct node *node);

struct cluster *node_cluster(struct node *node);
/* Does the state directory still belong to this node? It may have left the cluster, or joined one
 * again, under another key. */
bool node_is_current(const struct node *node);
/* The configuration is another one. -1 with a sentence: what it was stays. */
int node_configure(struct node *node, const struct config *config, char error[NODE_ERROR_SIZE]);

#endif
