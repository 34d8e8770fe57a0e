/*
 * What the parts of cluster.h share: cluster.c (its life, and what others ask), cluster_members.c
 * (the shell of swim.h: messages in and out, and what changes), cluster_trust.c (keys: news of them,
 * and who is cut off), cluster_place.c (addresses, load, the file of members).
 */
#ifndef C4P_DAEMON_CLUSTER_CLUSTER_INTERNAL_H
#define C4P_DAEMON_CLUSTER_CLUSTER_INTERNAL_H

#include <event2/util.h>
#include <uthash.h>

#include "daemon/address.h"
#include "daemon/cluster/cluster.h"
#include "daemon/cluster/describe.h"
#include "daemon/cluster/refusals.h"
#include "daemon/cluster/trust.h"
#include "daemon/cluster/zap.h"

/* Troubles: sentences of so many characters. */
#define CLUSTER_TROUBLES 6
#define CLUSTER_TROUBLE_SIZE 320

/* What we keep of every key that was ever enrolled, beside what swim.h and trust.h know. */
struct known {
    UT_hash_handle hh;
    struct node_key key;
    int64_t since;                 /* time of day of its state */
    bool seen_revoked;             /* what follows from it was done */
    bool told;                     /* that it is not welcome */
    bool refuses;                  /* our key */
    int64_t refused_at;            /* when that was logged last; 0: never */
    unsigned spread;               /* what of it others were told: 1 enrolled, 2 revoked */
    int64_t close_at;              /* of the link to it; 0: not at all */
    int64_t synced;                /* when all our keys were sent to it */
    int64_t differs;               /* since when it knows other keys than we; 0: the same ... */
    uint64_t difference;           /* ... by this difference of the hashes */
    int64_t twin_first, twin_last; /* when an earlier life of it was heard; 0: never */
    bool twin;                     /* and what that means was logged */
    char twin_host[NODE_ADDRESS_MAX + 1];
    char address[NODE_ADDRESS_MAX + 1]; /* where it was last */
};

/* What a daemon has sent before its end has arrived after this long: what still comes of an earlier
 * life is of another daemon with the same key. And so long after the last word that is remembered. */
#define TWIN_MS 4000
#define TWIN_KEPT_MS 60000

struct cluster {
    struct event_base *base;
    struct cluster_listener listener;
    char *state_dir;
    char release[NODE_RELEASE_MAX + 1];
    struct refusals refusals;
    struct trust *trust;
    struct zap *zap;
    struct links *links;
    struct swim *swim;
    struct event *wake, *tick;
    struct known *known;

    /* What we say of ourselves. */
    uint64_t incarnation;
    struct member_facts facts;
    struct cluster_load load;
    char advertise[ADDRESS_HOST_MAX + 1]; /* configured, as a number; empty: found out */
    struct address bound, data;
    int64_t located, measured; /* when */

    /* Keys whose news are to be sent, at the end of this turn of the event loop. */
    struct node_key *news;
    size_t news_count, news_room;
    struct event *spread;

    const struct member_record **list; /* for cluster_nodes() */
    bool begun; /* the others may hear of us: the loop runs, and our load is known */
    bool pumping, leaving;
    bool stale; /* the file of members */
    bool moved; /* ... in an address: who is killed now has to find the others again */
    int64_t written;
    char out[CLUSTER_TROUBLE_SIZE]; /* why we belong to it no more; empty: we do */
    char troubles[CLUSTER_TROUBLES][CLUSTER_TROUBLE_SIZE];
};

struct known *known_find(const struct cluster *cluster, const struct node_key *key);
/* NULL: out of memory. */
struct known *known_get(struct cluster *cluster, const struct node_key *key);
/* A name for the log. */
const char *cluster_name_of(struct cluster *cluster, const struct node_key *key);
bool cluster_is_node(const struct cluster *cluster, const struct node_key *key);
void cluster_changed(struct cluster *cluster);

/* cluster_members.c */
void cluster_pump(struct cluster *cluster);
/* Exchange, Probe ...: what is swim.h's. */
/* Does a message come from a second daemon with the key of this node? The newer one is the node. */
bool cluster_is_twin(struct cluster *cluster, const struct links_origin *from,
                     uint64_t incarnation);
void cluster_hear(struct cluster *cluster, const struct node_key *from, const C4p__Peer *message);
/* A packed Exchange from the disk. */
void cluster_remember(struct cluster *cluster, const void *data, size_t size);

/* cluster_trust.c */
void cluster_keys_heard(struct cluster *cluster, const struct node_key *from,
                        const C4p__Exchange *exchange);
/* All that we know, in as many messages as it takes. */
void cluster_keys_send(struct cluster *cluster, const struct node_key *to, const char *address,
                       bool answer);
void cluster_keys_tick(struct cluster *cluster, int64_t now);
void cluster_keys_on_spread(evutil_socket_t fd, short what, void *argument);
/* Tell somebody that it is not welcome, and why. */
void cluster_turn_away(struct cluster *cluster, struct known *known);
void cluster_turned(struct cluster *cluster, const struct node_key *from, const char *reason);
void cluster_refused(struct cluster *cluster, const struct node_key *by);

/* cluster_place.c */
int cluster_place_init(struct cluster *cluster, const struct cluster_settings *settings,
                       char *error);
void cluster_place_tick(struct cluster *cluster, int64_t now);
/* Gossip what we are now, if that is another thing. */
void cluster_tell(struct cluster *cluster);
void cluster_write_members(struct cluster *cluster);

#endif
