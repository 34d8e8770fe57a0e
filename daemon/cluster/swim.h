/*
 * Membership: who is in the cluster and who can be reached. A pure core.
 *
 * SWIM (Das, Gupta, Motivala 2002) with suspicion and incarnations, and what Lifeguard (Dadgar,
 * Phillips, Currey 2018) adds: local health, which makes a node that is slow itself more patient with
 * others; suspicion that gets shorter as more members confirm it; the accused hears of it first.
 * Rumours travel with probes and answers, and in gossip to a few members; now and then two members
 * exchange all that they know (push-pull), which heals what rumours have missed, also after a
 * partition: some who are lost are tried again and again, for ever, at a low rate.
 *
 * A member says of itself what nobody else may say: its facts, and that it is alive. Others say
 * SUSPECT and LOST, of a life and revision that they name; who hears that about itself raises its
 * revision and denies it. LOST is no end: the same member comes back by denying it, or with a higher
 * incarnation after a restart.
 *
 * In:  messages, time, and hints (a connection broke). Out: messages to members, and changes of
 * members' states. Time is a parameter, in ms of a monotonic clock; nothing here asks for it, for
 * memory beyond its members, or for randomness but through the seed. The same code runs in c4pd
 * (cluster.c is its shell) and in tests/sim, by the thousand.
 *
 * Sizes: bytes and messages per member and second do not depend on how many members there are: the
 * period of exchanges, and of what a node tells of its load, grows with their number.
 *
 * docs/membership.md is the protocol as built, with the figures behind the default settings.
 */
#ifndef C4P_DAEMON_CLUSTER_SWIM_H
#define C4P_DAEMON_CLUSTER_SWIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLUSTER_VERSION 1 /* of the protocol between nodes, and the oldest that we speak */
#define CLUSTER_MIN_VERSION 1

#define NODE_KEY_SIZE 32
#define NODE_NAME_MAX 63
#define NODE_ADDRESS_MAX 95 /* tcp://[an IPv6 address or a host name]:65535 */
#define NODE_RELEASE_MAX 31
#define SWIM_MAX_MEMBERS 4096
#define SWIM_MAX_EXPELLED 8192
#define SWIM_MAX_RECORDS 128 /* that are read of one message; we send fewer */

enum member_state { MEMBER_ALIVE = 0, MEMBER_SUSPECT, MEMBER_LOST, MEMBER_LEFT };

struct node_key {
    uint8_t bytes[NODE_KEY_SIZE];
};

/* What a node says of itself: see Facts in cluster.proto. */
struct member_facts {
    char name[NODE_NAME_MAX + 1];
    char control[NODE_ADDRESS_MAX + 1];
    char data[NODE_ADDRESS_MAX + 1];
    char release[NODE_RELEASE_MAX + 1];
    uint32_t min_version, max_version;
    uint32_t pes, pes_free, queued, load, cores;
    uint64_t memory, started, trust;
    bool draining;
};

/*
 * A record of a member: what is stored, and what a rumour is. State and facts are ordered each by
 * itself, by the revision in which they were said: who has heard of a later revision without facts
 * still takes the facts of an earlier one if they are newer than its own.
 */
struct member_record {
    struct node_key key;
    uint64_t incarnation, revision;
    uint64_t facts_revision; /* in which the facts were last changed; 0: before this incarnation */
    enum member_state state;
    struct node_key by; /* who says so, of SUSPECT and LOST */
    bool has_facts;
    struct member_facts facts;
};

/* How records of one member are ordered, but for their facts: is `a` news to who knows `b`? */
bool member_newer(const struct member_record *a, const struct member_record *b);

struct swim_settings {
    uint32_t probe_ms;         /* a member is probed in each period */
    uint32_t probe_timeout_ms; /* then it is tried again, and others are asked to try it */
    uint32_t helpers;          /* so many */
    uint32_t suspicion_min;    /* in periods, times log10 of the members (at least 1) ... */
    uint32_t suspicion_max;    /* ... times this as long as nobody confirms it */
    uint32_t confirmers;       /* so many of those who hear of a suspicion look for themselves */
    uint32_t gossip_ms;        /* rumours go to `gossip_fanout` members */
    uint32_t gossip_fanout;
    uint32_t neighbours;    /* gossip goes to so many members: connections to them stay open ... */
    uint32_t neighbour_ms;  /* ... and one of them is replaced in each of these periods */
    uint32_t load_ms;       /* changes of nothing but load travel so often; times members / 10 */
    uint32_t exchange_ms;   /* push-pull with one member; doubled with each doubling above 32 */
    uint32_t lost_probe_ms; /* one of the lost is tried */
    uint32_t forget_ms;     /* who has left is forgotten */
    uint32_t rumour_bytes;  /* of one message */
};
extern const struct swim_settings swim_default_settings;

struct swim;

/* What is to be done. Pointers are good until the next call. */
enum swim_action_kind {
    SWIM_SEND,    /* `message` to the member `to`, at `address` */
    SWIM_CHANGED, /* `member` is new, or has another state or other facts */
    SWIM_WAKE_AT  /* call swim_tick() at `at` at the latest; replaces the one before */
};

enum swim_message_kind {
    SWIM_PROBE = 1,
    SWIM_PROBE_FOR,
    SWIM_PROBE_ANSWER,
    SWIM_GOSSIP,
    SWIM_EXCHANGE
};

struct swim_message {
    enum swim_message_kind kind;
    uint64_t incarnation; /* of the sender */
    uint64_t number;
    bool failed;           /* of a PROBE_ANSWER */
    bool answer, more;     /* of an EXCHANGE; it is answered when nothing more follows */
    struct node_key about; /* of a PROBE_FOR */
    const struct member_record *records;
    size_t count;
};

/* What it takes as a Peer of cluster.proto, and a record in it. */
size_t swim_message_bytes(const struct swim_message *message);
size_t swim_record_bytes(const struct member_record *record);

struct swim_action {
    enum swim_action_kind kind;
    struct node_key to;
    const char *address;
    struct swim_message message;
    const struct member_record *member;
    enum member_state before; /* of SWIM_CHANGED; MEMBER_LEFT and is_new for one that is new */
    bool is_new;
    bool restarted; /* it is another life of this member: the one before is over */
    int64_t at;
};

/*
 * `self` is this node's record: its key, a fresh incarnation (higher than any of its earlier starts)
 * and facts. NULL with errno ENOMEM. Destroy is NULL-safe.
 */
struct swim *swim_create(const struct swim_settings *settings, const struct member_record *self,
                         uint64_t seed, int64_t now);
void swim_destroy(struct swim *swim);

/* Each of these takes something in; then swim_next() gives the actions, until it says false. */
void swim_tick(struct swim *swim, int64_t now);
/* From a peer whose key the transport has authenticated. Content is hostile. */
void swim_receive(struct swim *swim, const struct node_key *from,
                  const struct swim_message *message, int64_t now);
/* Somebody we have heard of elsewhere (a token's seed, the disk): try it. Until it answers it is LOST,
 * with incarnation 0. */
void swim_introduce(struct swim *swim, const struct member_record *record, int64_t now);
/* The connection to a member broke: probe it now. */
void swim_hint(struct swim *swim, const struct node_key *key, int64_t now);
/* Our own facts are other ones. Load (pes_free, queued, load) waits for its period. */
void swim_set_facts(struct swim *swim, const struct member_facts *facts, int64_t now);
/* Its key is revoked: it is a member no more (the change says LEFT), and nothing is believed of it,
 * for ever. Also for keys that are no members' (yet). */
void swim_expel(struct swim *swim, const struct node_key *key, int64_t now);
/* We go: tell some; the actions are the last ones. */
void swim_leave(struct swim *swim, int64_t now);

bool swim_next(struct swim *swim, struct swim_action *action);

size_t swim_count(const struct swim *swim); /* known, this node among them, those that left not */
const struct member_record *swim_member(const struct swim *swim, size_t i); /* in no order */
const struct member_record *swim_find(const struct swim *swim, const struct node_key *key);
/* 0: well; up to 8: this node is slow to answer itself (Lifeguard's local health). */
unsigned swim_health(const struct swim *swim);

#endif
