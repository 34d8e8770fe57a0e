/*
 * Who may connect at all: the handler that libzmq asks for every connection under CURVE, before a
 * byte of it counts (ZAP, rfc.zeromq.org/spec/27). It serves all sockets of one ZeroMQ context, from
 * the event loop; sockets are told apart by their domains.
 *
 * What it lets in is known by its key from then on: zap_key_of() says whose a message is. Mechanisms
 * other than CURVE are refused by libzmq before anybody is asked, and here once more.
 */
#ifndef C4P_DAEMON_CLUSTER_ZAP_H
#define C4P_DAEMON_CLUSTER_ZAP_H

#include <stddef.h>
#include <stdint.h>
#include <zmq.h>

#include "daemon/cluster/refusals.h"
#include "daemon/cluster/trust.h"

struct zap;
struct event_base;

/* Which roles a domain lets in. */
struct zap_rule {
    const char *domain;
    unsigned roles; /* 1u << ROLE_... */
};

struct zap_settings {
    void *zmq;
    const struct zap_rule *rules; /* borrowed */
    size_t count;
    struct refusals *refusals; /* borrowed */
    enum trust_role (*role)(void *context, const struct node_key *key);
    /* Somebody who was enrolled once, and is not any more, has tried. */
    void (*revoked)(void *context, const struct node_key *key);
    void *context;
};

/* NULL with a sentence (TRUST_ERROR_SIZE). Sockets that it is to guard are opened later, and closed
 * before. Destroy is NULL-safe. */
struct zap *zap_create(struct event_base *base, const struct zap_settings *settings, char *error);
void zap_destroy(struct zap *zap);

/* The key under which a message came. -1: under none. */
int zap_key_of(zmq_msg_t *message, struct node_key *key);

#endif
