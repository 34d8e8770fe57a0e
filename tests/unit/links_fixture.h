/*
 * Nodes with real sockets on the loopback, each with a ZeroMQ context of its own, in one event loop;
 * and peers that are none, with whatever key and mechanism a test likes.
 */
#ifndef C4P_TESTS_LINKS_FIXTURE_H
#define C4P_TESTS_LINKS_FIXTURE_H

#include "tests/unit/unit.h"

#include <event2/event.h>
#include <zmq.h>

#include "daemon/cluster/links.h"
#include "daemon/cluster/record.h"
#include "daemon/cluster/zap.h"

#define MAX_ROLES 8

/* What a node has heard. */
struct side {
    void *zmq;
    struct zap *zap;
    struct links *links;
    struct trust_identity identity;
    struct refusals refusals;
    struct {
        struct node_key key;
        enum trust_role role;
    } known[MAX_ROLES];
    size_t known_count;

    unsigned received, users, broke, refused, revoked;
    struct node_key from;
    enum trust_role role;
    uint64_t number, incarnation; /* of the last Probe; or where the last part began */
    uint32_t version;
    char answer[32]; /* to joiners and users; empty: none */
};

static struct event_base *base;

static inline enum trust_role side_role(void *context, const struct node_key *key)
{
    const struct side *side = context;

    for (size_t i = 0; i < side->known_count; i++)
        if (key_equal(&side->known[i].key, key))
            return side->known[i].role;
    return ROLE_STRANGER;
}

static inline void side_set(struct side *side, const struct node_key *key, enum trust_role role)
{
    for (size_t i = 0; i < side->known_count; i++)
        if (key_equal(&side->known[i].key, key)) {
            side->known[i].role = role;
            return;
        }
    require(side->known_count < MAX_ROLES);
    side->known[side->known_count].key = *key;
    side->known[side->known_count++].role = role;
}

static inline void side_received(void *context, const struct links_origin *origin,
                                 const C4p__Peer *message)
{
    struct side *side = context;

    side->received++;
    side->from = origin->key;
    side->role = origin->role;
    side->version = message->version;
    side->incarnation = message->incarnation;
    if (message->body_case == C4P__PEER__BODY_PROBE)
        side->number = message->probe->number;
    if (message->body_case == C4P__PEER__BODY_BLOB_PART)
        side->number = message->blob_part->offset;
    if (side->answer[0] != '\0')
        require(links_reply(side->links, origin->identity, origin->identity_size, side->answer,
                            strlen(side->answer)) == 0);
}

static inline void side_user(void *context, const struct node_key *from, const void *identity,
                             size_t identity_size, const void *data, size_t size)
{
    struct side *side = context;

    side->users++;
    side->from = *from;
    require(links_reply(side->links, identity, identity_size, data, size) == 0);
}

static inline void side_broke(void *context, const struct node_key *key)
{
    struct side *side = context;

    (void)key;
    side->broke++;
}

static inline void side_refused(void *context, const struct node_key *key)
{
    struct side *side = context;

    (void)key;
    side->refused++;
}

static inline void side_revoked(void *context, const struct node_key *key)
{
    struct side *side = context;

    (void)key;
    side->revoked++;
}

static const struct zap_rule side_rules[] = {
    {LINKS_DOMAIN, 1u << ROLE_NODE | 1u << ROLE_USER | 1u << ROLE_JOINER},
    {"data", 1u << ROLE_NODE},
};

static inline void side_links_open(struct side *side, const char *address)
{
    const struct links_settings settings = {
        .zmq = side->zmq,
        .address = address,
        .identity = &side->identity,
        .incarnation = 7,
        .refusals = &side->refusals,
        .listener = {side_role, side_received, side_user, side_broke, side_refused, side},
    };
    char error[TRUST_ERROR_SIZE] = "";

    side->links = links_create(base, &settings, error);
    if (side->links == NULL)
        fail_msg("%s", error);
}

static inline void side_open(struct side *side)
{
    char error[TRUST_ERROR_SIZE];

    memset(side, 0, sizeof(*side));
    side->zmq = zmq_ctx_new();
    key_pair_make(&side->identity.public_key, side->identity.secret_key);
    side->zap = zap_create(base,
                           &(struct zap_settings){side->zmq, side_rules, 2, &side->refusals,
                                                  side_role, side_revoked, side},
                           error);
    require(side->zmq != NULL && side->zap != NULL);
    side_links_open(side, "tcp://127.0.0.1:*");
}

static inline void side_close(struct side *side)
{
    links_destroy(side->links);
    zap_destroy(side->zap);
    zmq_ctx_term(side->zmq);
}

/* Each knows the other's key. */
static inline void sides_meet(struct side *one, struct side *other)
{
    side_set(one, &other->identity.public_key, ROLE_NODE);
    side_set(other, &one->identity.public_key, ROLE_NODE);
}

static inline int side_probe(struct side *from, struct side *to, uint64_t number)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__Probe probe = C4P__PROBE__INIT;

    probe.number = number;
    message.body_case = C4P__PEER__BODY_PROBE;
    message.probe = &probe;
    return links_send(from->links, &to->identity.public_key, links_address(to->links), &message);
}

/* The watchdog ends it if it never comes true. */
#define await(condition)                                                                           \
    while (!(condition)) {                                                                         \
        event_base_loopexit(base, &(struct timeval){0, 20000});                                    \
        require(event_base_loop(base, EVLOOP_ONCE) >= 0);                                          \
    }

/* All that is under way has come: a message of another connection came after it. */
static inline void side_settle(struct side *side)
{
    struct side other;
    unsigned before = side->received;

    side_open(&other);
    sides_meet(side, &other);
    require(side_probe(&other, side, 0) == 0);
    await(side->received > before);
    side_close(&other);
    side->received = before;
    side->known_count--;
}

/* ---- peers that are no nodes ---- */

struct peer {
    void *zmq, *socket;
    struct node_key key;
};

/* A DEALER with nothing set, and of its own key pair. */
static inline void *peer_open(struct peer *peer, uint8_t secret[32])
{
    const int linger = 0, timeout = 20;

    peer->zmq = zmq_ctx_new();
    peer->socket = zmq_socket(peer->zmq, ZMQ_DEALER);
    zmq_setsockopt(peer->socket, ZMQ_LINGER, &linger, sizeof(linger));
    zmq_setsockopt(peer->socket, ZMQ_RCVTIMEO, &timeout, sizeof(timeout));
    key_pair_make(&peer->key, secret);
    return peer->socket;
}

static inline void peer_connect_curve(struct peer *peer, const struct side *side,
                                      enum trust_role role, struct side *known)
{
    uint8_t secret[32];
    void *socket = peer_open(peer, secret);

    if (known != NULL)
        side_set(known, &peer->key, role);
    require(zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, side->identity.public_key.bytes, 32) == 0);
    require(zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, peer->key.bytes, 32) == 0);
    require(zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret, 32) == 0);
    require(zmq_connect(socket, links_address(side->links)) == 0);
}

static inline void peer_send(struct peer *peer, C4p__Peer__BodyCase body, void *message)
{
    C4p__Peer envelope = C4P__PEER__INIT;
    uint8_t bytes[4096];

    envelope.body_case = body;
    envelope.probe = message;
    require(c4p__peer__get_packed_size(&envelope) <= sizeof(bytes));
    require(zmq_send(peer->socket, bytes, c4p__peer__pack(&envelope, bytes), 0) >= 0);
}

/* What comes back; the loop goes on meanwhile. */
static inline size_t peer_await(struct peer *peer, char *text, size_t size)
{
    int received = -1;

    await((received = zmq_recv(peer->socket, text, size, ZMQ_DONTWAIT)) >= 0);
    return (size_t)received;
}

static inline void peer_close(struct peer *peer)
{
    zmq_close(peer->socket);
    zmq_ctx_term(peer->zmq);
}

#endif
