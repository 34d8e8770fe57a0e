/*
 * What the parts of the membership core share: the state of one node, and what each part offers.
 *
 *   swim.c            life, time, messages in, actions out
 *   swim_members.c    the table of members and their states
 *   swim_news.c       what becomes of a record that somebody sends: believed, doubted, denied
 *   swim_rumours.c    which news go with the next message, and how often they have
 *   swim_probes.c     probes of our own and for others
 *   swim_suspicion.c  from SUSPECT to LOST, or back
 *   swim_exchange.c   push-pull, and the lost that are tried
 *   swim_bytes.c      sizes of messages
 *
 * A member is in the hash of keys as long as it is known. All that have not left are in the array
 * too, whose order is that of the probes. One pair of links puts it into the list of its state
 * (suspects; lost, the next to be tried first; left, the first to be forgotten first), another pair
 * into the list of rumours that have travelled as often as its own.
 */
#ifndef C4P_DAEMON_CLUSTER_SWIM_INTERNAL_H
#define C4P_DAEMON_CLUSTER_SWIM_INTERNAL_H

#include "daemon/cluster/swim.h"

#include <string.h>

/* Without memory an element is not added: its hh.tbl is NULL. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define SWIM_HELPERS_MAX 8
#define SWIM_NEIGHBOURS_MAX 32
#define SWIM_PAGE 64         /* records of one message of ours */
#define SWIM_OUTGOING 512    /* messages that one input may cause; further ones are as if lost */
#define SWIM_PROBES 96       /* at a time ... */
#define SWIM_PROBES_HELP 32  /* ... of which so many for others, */
#define SWIM_PROBES_CHECK 48 /* and so many of suspects: probes in turn always find a place */
#define SWIM_TRIES 3         /* messages to the member that a probe is of */
#define SWIM_HEALTH_MAX 8
#define SWIM_CONFIRMERS 3 /* who suspect independently; more do not shorten the time any more */
#define SWIM_RUMOUR_TIMES 32
#define SWIM_LOAD_TIMES 3     /* a rumour of nothing but load: the next one comes soon */
#define SWIM_HEALING_MS 10000 /* after one of the lost came back, the others are tried eagerly */
#define SWIM_HEALERS 8        /* so many of those who hear from it exchange all with it */
#define SWIM_PATIENCE_MS 1000 /* between two answers to the same member of what costs much */

/* What numbers may become at all, and in one step: who is lied about can always go one further. */
#define SWIM_NUMBER_MAX ((uint64_t)1 << 62)
#define SWIM_NUMBER_STEP ((uint64_t)1 << 40)

#define SWIM_NEVER INT64_MAX

struct member {
    struct member_record record;
    UT_hash_handle hh;
    uint32_t index; /* in swim->members; of who has left none */

    struct member *state_prev, *state_next;
    int64_t since; /* it is in this state, of SUSPECT, LOST, LEFT */

    struct member *rumour_prev, *rumour_next;
    bool is_rumour, rumour_facts;
    uint8_t rumour_times;

    /* Of a suspect. */
    uint64_t confirmers[SWIM_CONFIRMERS + 1]; /* beginnings of keys; the first one is the accuser */
    uint8_t confirmations;                    /* without the accuser */
    uint8_t failures;                         /* of our own probes since we last heard of it */
    bool lost_heard,
        verdict_first; /* others say that it is lost; said so before it was a suspect */
    int64_t checked;   /* our last check began, or the time that it has to begin at the earliest */

    int64_t told, answered; /* that it is accused; an exchange */

    /* What the owner has still to be told. */
    struct member *changed_next;
    bool changed, is_new, restarted, removed;
    enum member_state before;
};

/* Keys that are members no more. */
struct expelled {
    struct node_key key;
    UT_hash_handle hh;
};

enum probe_kind { PROBE_FREE = 0, PROBE_TURN, PROBE_CHECK, PROBE_HELP };

struct probe {
    enum probe_kind kind;
    struct member *member;
    uint64_t number;
    int64_t next; /* step, by step_ms */
    uint32_t step_ms;
    uint8_t tries;
    uint8_t helpers, refusals; /* asked; who could not reach it either */
    struct node_key helper[SWIM_HELPERS_MAX];
    struct node_key asker; /* of PROBE_HELP */
    uint64_t asker_number;
};

/* A message that swim_next() has still to make. */
struct outgoing {
    enum swim_message_kind kind;
    struct node_key to, about;
    uint64_t number;
    bool failed, answer;
    bool with_self, with_facts; /* our own record first */
    uint32_t next;              /* of an EXCHANGE: member of the next page */
};

struct swim {
    struct swim_settings settings;
    struct member *self;
    struct member *hash;
    struct member **members;
    size_t count, room;
    struct expelled *expelled;
    size_t expelled_count;

    struct member *suspects, *lost, *left;
    size_t alive; /* ALIVE and SUSPECT, without this node */

    struct member *rumours[SWIM_RUMOUR_TIMES + 1];
    size_t rumour_count;

    struct probe probes[SWIM_PROBES];
    unsigned probes_top, probes_help, probes_check; /* top: after the last one in use */
    uint64_t number;
    size_t turn; /* in members: the next to be probed */

    struct member *neighbours[SWIM_NEIGHBOURS_MAX];
    size_t neighbour_count, neighbour_turn;

    struct member_facts facts; /* the newest; those of self's record are what was told */
    bool facts_wait;
    int64_t facts_told, raised;

    int64_t now, wake, woken; /* woken: what the owner was told last */
    int64_t next_probe, next_gossip, next_neighbour, next_exchange, next_lost;
    int64_t healing_until, joining_until;
    unsigned health;
    bool leaving, reply_self, reply_facts;
    uint64_t random;

    struct member *changed_first, *changed_last;
    struct member *graves; /* removed, and freed with the next input; by changed_next */
    struct outgoing outgoing[SWIM_OUTGOING];
    size_t outgoing_first, outgoing_count;
    struct member_record records[SWIM_PAGE];
};

/* ---- swim.c ---- */

uint64_t swim_random_below(struct swim *swim, uint64_t limit);
/* The clock has to be looked at by then. */
void swim_wake_by(struct swim *swim, int64_t at);
/* A place for a message; NULL if too many wait already. */
struct outgoing *swim_message_add(struct swim *swim, enum swim_message_kind kind,
                                  const struct node_key *to, uint64_t number);
static inline uint32_t swim_health_scaled(const struct swim *swim, uint32_t ms)
{
    return ms * (swim->health + 1);
}
void swim_health_change(struct swim *swim, int by);
/* Ceiling of the binary logarithm of the members, at least 1. */
unsigned swim_members_bits(const struct swim *swim);

/* ---- swim_members.c ---- */

static inline bool swim_key_equal(const struct node_key *a, const struct node_key *b)
{
    return memcmp(a->bytes, b->bytes, NODE_KEY_SIZE) == 0;
}
struct member *swim_member_find(const struct swim *swim, const struct node_key *key);
/* NULL: there is no room or no memory. Its state is that of the record. */
struct member *swim_member_add(struct swim *swim, const struct member_record *record);
void swim_member_remove(struct swim *swim, struct member *member);
void swim_member_set_state(struct swim *swim, struct member *member, enum member_state state);
/* The owner will be told; `before` is its state until now. */
void swim_member_changed(struct swim *swim, struct member *member, enum member_state before);
struct member *swim_changed_take(struct swim *swim);
void swim_graves_clear(struct swim *swim);
bool swim_member_reachable(const struct member *member); /* ALIVE or SUSPECT */
/* Somebody by chance that is ALIVE (or SUSPECT), not we and not `but`. NULL: nobody. */
struct member *swim_member_random(struct swim *swim, const struct member *but);
void swim_members_shuffle(struct swim *swim);
bool swim_key_expelled(const struct swim *swim, const struct node_key *key);
int swim_key_expel(struct swim *swim, const struct node_key *key);

/* ---- swim_news.c ---- */

void swim_record_take(struct swim *swim, const struct node_key *from,
                      const struct member_record *record, bool exchanged);
/* A message of its own: it lives, maybe in a life that is new to us. */
void swim_member_heard(struct swim *swim, struct member *member, uint64_t incarnation);
void swim_facts_publish(struct swim *swim, bool only_load);
bool swim_load_differs(const struct member_facts *a, const struct member_facts *b);
bool swim_facts_differ_in_load_only(const struct member_facts *a, const struct member_facts *b);

/* ---- swim_rumours.c ---- */

void swim_rumour_start(struct swim *swim, struct member *member, bool facts, bool only_load);
void swim_rumour_stop(struct swim *swim, struct member *member);
/* Fill the records of a message of rumours. */
size_t swim_rumours_choose(struct swim *swim, const struct outgoing *outgoing, struct member *to);
void swim_gossip_tick(struct swim *swim);
void swim_neighbours_drop(struct swim *swim, const struct member *member);
void swim_neighbours_tick(struct swim *swim);

/* ---- swim_probes.c ---- */

void swim_probes_tick(struct swim *swim);
bool swim_probe_check(struct swim *swim, struct member *member);
void swim_probe_receive(struct swim *swim, struct member *from, const struct swim_message *message);
void swim_probe_for_receive(struct swim *swim, struct member *from,
                            const struct swim_message *message);
void swim_probe_answer_receive(struct swim *swim, struct member *from,
                               const struct swim_message *message);
void swim_probes_forget(struct swim *swim, const struct member *member);
void swim_probes_postpone(struct swim *swim, int64_t by);

/* ---- swim_suspicion.c ---- */

void swim_suspicion_begin(struct swim *swim, struct member *member, const struct node_key *by);
/* Also says so: true if it was news. */
bool swim_suspicion_confirm(struct swim *swim, struct member *member, const struct node_key *by);
void swim_suspicion_heard_lost(struct swim *swim, struct member *member);
void swim_suspicion_failed(struct swim *swim, struct member *member);
void swim_suspicions_tick(struct swim *swim);
void swim_suspicions_postpone(struct swim *swim, int64_t by);
int64_t swim_suspicion_deadline(const struct swim *swim, const struct member *member);

/* ---- swim_exchange.c ---- */

void swim_exchange_start(struct swim *swim, const struct member *with);
void swim_exchange_receive(struct swim *swim, struct member *from,
                           const struct swim_message *message);
/* The records of the next page; true: there are more. */
bool swim_exchange_page(struct swim *swim, struct outgoing *outgoing, size_t *count);
void swim_exchange_hurry(struct swim *swim);
void swim_exchange_tick(struct swim *swim);
uint32_t swim_exchange_period(const struct swim *swim);
void swim_lost_try(struct swim *swim, struct member *member);
void swim_lost_tick(struct swim *swim);
void swim_healing_begin(struct swim *swim, const struct member *direct);
void swim_left_tick(struct swim *swim);

#endif
