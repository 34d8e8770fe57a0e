/*
 * The nodes of the cluster as messages for people: for `c4pd nodes` and clients alike.
 *
 * A node goes by the name under which it was enrolled. If several have had the same one, whoever was
 * enrolled first keeps it, and the others are shown with the beginning of their fingerprints.
 */
#ifndef C4P_DAEMON_CLUSTER_DESCRIBE_H
#define C4P_DAEMON_CLUSTER_DESCRIBE_H

#include "daemon/cluster/cluster.h"
#include "proto/control.pb-c.h"

#define DESCRIBE_NODES 64 /* of one page */
#define DESCRIBE_NAME_SIZE (NODE_NAME_MAX + 1 + TRUST_FINGERPRINT_SIZE + 3)

struct describe_page {
    size_t count;
    bool more;
    C4p__NodeInfo *nodes[DESCRIBE_NODES]; /* as a message wants them */
    C4p__NodeInfo infos[DESCRIBE_NODES];
    char names[DESCRIBE_NODES][DESCRIBE_NAME_SIZE];
};

/* Those whose names sort behind `after` ("" or NULL: the first). Strings in it are good until the
 * event loop goes on. -1 with errno ENOMEM. */
int describe_nodes(struct cluster *cluster, const char *after, struct describe_page *page);
/* The name that people see, of a node or user that was ever enrolled; else its fingerprint. */
const char *describe_name(struct cluster *cluster, const struct node_key *key,
                          char name[DESCRIBE_NAME_SIZE]);

#endif
