/*
 * One link of links.h: a DEALER of ours to one peer, and what its connection is doing.
 *
 * A link that was refused, or whose peer is not what it should be, is closed, and stays as a memory
 * for a while, so that not every message tries again. Nothing is ever read from it: peers answer with
 * links of their own.
 */
#ifndef C4P_DAEMON_CLUSTER_DEALER_H
#define C4P_DAEMON_CLUSTER_DEALER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uthash.h>

#include "daemon/cluster/trust.h"

struct backlog;

/* What a link tells its owner is the last thing that it does: the owner may close it then. */
struct dealer_owner {
    struct event_base *base;
    void *zmq;
    const struct trust_identity *identity;
    void (*broke)(void *context, const struct node_key *key);
    void (*refused)(void *context, const struct node_key *key);
    void *context;
};

struct dealer {
    UT_hash_handle hh; /* the owner's, by key */
    struct node_key key;
    char address[NODE_ADDRESS_MAX + 1];
    const struct dealer_owner *owner; /* borrowed */
    void *socket;                     /* NULL: closed until `again` */
    struct monitor *monitor;
    struct backlog *backlog;
    int64_t used, again, told; /* clock_ms() */
    bool connected;
    bool speaking; /* its monitor does: it must not be closed now */
    bool finished; /* to be closed */
};

/* NULL with errno: EINVAL, that is no address; EMFILE, there are too many sockets. */
struct dealer *dealer_create(const struct dealer_owner *owner, const struct node_key *key,
                             const char *address, int64_t now);
/* What is queued gets so long. NULL-safe. */
void dealer_destroy(struct dealer *dealer, int linger_ms);

/* -1 with errno EAGAIN: the queue is full, or it is closed for now. */
int dealer_send(struct dealer *dealer, const void *data, size_t size, int64_t now);
/* Close the socket if that is due; true: the memory is of no use any more either. */
bool dealer_sweep(struct dealer *dealer, int64_t now);

/* Options that all sockets of TCP have: an IPv6 address, keys, and how soon a dead connection ends. */
int dealer_socket_prepare(void *socket, const char *address, const struct trust_identity *identity);

#endif
