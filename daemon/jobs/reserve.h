/*
 * Reservations: how a job gets its PEs from several nodes. Two pure cores.
 *
 * A node keeps a ledger of its PE slots: who holds how many, and until when. Its own jobs hold them
 * too. A promise to another node is a lease: it ends by itself unless the job is prepared in time or
 * the lease renewed, so a home that is lost holds up nobody.
 *
 * The home of a job asks nodes for PEs, all or nothing. It chooses them by what they gossip: its own
 * slots first, then as few nodes as possible. If one of them refuses, everything is released and tried
 * again a random while later, with others if there are; a node that can never run the job (its Python)
 * is not asked again. One job at a time is in this phase, in the order of the queue (queue.h).
 */
#ifndef C4P_DAEMON_JOBS_RESERVE_H
#define C4P_DAEMON_JOBS_RESERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/cluster/swim.h"
#include "daemon/jobs/queue.h"

#define RESERVE_LEASE_MS 10000
#define RESERVE_MAX_LEASE_MS 60000 /* whatever a home asks for */
#define RESERVE_REASON_SIZE QUEUE_REASON_SIZE

/* ---- the slots of a node ---- */

struct ledger;

/* `home` NULL is this node. An attempt is newer than another one if its number is higher. */

/* NULL with errno ENOMEM. Destroy is NULL-safe. */
struct ledger *ledger_create(uint32_t slots);
void ledger_destroy(struct ledger *ledger);
/* What is promised or held stays so. */
void ledger_resize(struct ledger *ledger, uint32_t slots);
/* No new promises: the node drains. Leases that there are can be renewed. */
void ledger_stop(struct ledger *ledger, bool stopped);

/* Promise `pes` slots to a home until `now + lease_ms`; the same attempt again renews it, a newer one
 * takes its place. -1 with a sentence. */
int ledger_promise(struct ledger *ledger, const struct node_key *home, uint64_t job,
                   uint64_t attempt, uint32_t pes, uint32_t lease_ms, int64_t now,
                   char reason[RESERVE_REASON_SIZE]);
/* Is there something of this attempt, a lease or held? */
bool ledger_has(const struct ledger *ledger, const struct node_key *home, uint64_t job,
                uint64_t attempt);
/* The job's PEs are here: the slots are held until ledger_release(). False: there is no such lease. */
bool ledger_hold(struct ledger *ledger, const struct node_key *home, uint64_t job, uint64_t attempt,
                 int64_t now);
/* The home wants no lease of this attempt or an older one; what is held stays. False: nothing of it
 * is here; so below. */
bool ledger_withdraw(struct ledger *ledger, const struct node_key *home, uint64_t job,
                     uint64_t attempt);
/* All of a job, leased or held. */
bool ledger_release(struct ledger *ledger, const struct node_key *home, uint64_t job);
/* All that a home holds by leases; what runs is for its owner to end. */
void ledger_forget(struct ledger *ledger, const struct node_key *home);
/* Slots taken by a job of this node, at once. False: so many are not free, or it has some. */
bool ledger_take(struct ledger *ledger, uint64_t job, uint32_t pes);
/* Leases that are over are dropped; the time of the next one that ends, or -1. */
int64_t ledger_expire(struct ledger *ledger, int64_t now);

uint32_t ledger_slots(const struct ledger *ledger);
uint32_t ledger_used(const struct ledger *ledger);
uint32_t ledger_free(const struct ledger *ledger);
uint32_t ledger_guests(const struct ledger *ledger); /* of those used: by other homes */

/* ---- the home of a job ---- */

#define RESERVATION_RESEND_MS 1000   /* no answer: the question was lost */
#define RESERVATION_PATIENCE_MS 6000 /* no answer at all */
#define RESERVATION_DELAY_MS 50      /* after the first failure; doubled with each ... */
#define RESERVATION_MAX_DELAY_MS 3200

struct reservation;

enum reservation_action_kind {
    RESERVATION_ASK,     /* Reserve to `node`: `pes` PEs */
    RESERVATION_RELEASE, /* Release to `node` */
    RESERVATION_WAKE_AT, /* reservation_tick() at `at` */
    RESERVATION_DONE,  /* all is promised: `parts`; the leases are renewed until it is destroyed */
    RESERVATION_FAILED /* not now: `reason`; it goes back into the queue, to be tried at `at` */
};

struct reservation_part {
    struct node_key node;
    uint32_t pes;
};

struct reservation_action {
    enum reservation_action_kind kind;
    struct node_key node;
    uint32_t pes;
    uint64_t attempt;
    int64_t at;
    const struct reservation_part *parts; /* this node first, if it has some */
    size_t count;
    const char *reason;
};

/* What a node is known to have at this moment. */
struct reservation_node {
    struct node_key node;
    const char *name;
    uint32_t pes, pes_free;
    bool self, draining;
};

/* A node that can never run this job, and why: kept by the caller for as long as the job waits. */
struct reservation_unfit {
    struct node_key node;
    char name[NODE_NAME_MAX + 1];
    char reason[RESERVE_REASON_SIZE];
};

struct reservation_request {
    uint64_t job, attempt;
    uint32_t pes; /* 0: as many as this node has free, at least one */
    const struct reservation_unfit *unfit;
    size_t unfit_count;
    unsigned tries; /* in vain before this one */
    uint64_t seed;
};

/* Neither draining nor unfit. */
bool reservation_usable(const struct reservation_request *request,
                        const struct reservation_node *node);

/*
 * What all nodes have together that are neither draining nor unfit, or as many of them as a job may
 * have: then the largest. `self` is this one's share.
 */
struct reservation_sum {
    uint32_t nodes, pes, pes_free;
    uint32_t self_pes, self_free;
};
struct reservation_sum reservation_sum(const struct reservation_request *request,
                                       const struct reservation_node *nodes, size_t count);

/*
 * Could it start now, by what is known? The reason why not, for people: "waits for 6 PEs: 3 of 4 are
 * free on 2 nodes", "wants 12 PEs: the cluster has 8 on 2 nodes (it starts when a host joins)", and
 * which nodes cannot run it and why. `alone`: there is no cluster.
 */
enum queue_room reservation_room(const struct reservation_request *request,
                                 const struct reservation_sum *sum, bool alone,
                                 char reason[RESERVE_REASON_SIZE]);

/* A number that looks like any other, always the same one for the same one. */
uint64_t reservation_mix(uint64_t number);

/*
 * Choose: this node first, then as few others as possible, and of those that would do the one with the
 * least to spare; among equals by the seed, so that homes do not all choose the same. `parts` and
 * `which` (the indices of the nodes) have room for `count`. Returns how many; 0: there is not enough.
 */
size_t reservation_choose(const struct reservation_request *request,
                          const struct reservation_node *nodes, size_t count,
                          struct reservation_part *parts, size_t *which);

/* NULL with errno ENOMEM. Destroy is NULL-safe; it releases nothing. */
struct reservation *reservation_create(const struct reservation_request *request,
                                       const struct reservation_node *nodes, size_t count,
                                       int64_t now);
void reservation_destroy(struct reservation *reservation);
/* An answer; `unfit`: to ask this node again is no use. */
void reservation_answer(struct reservation *reservation, const struct node_key *node,
                        uint64_t attempt, uint32_t pes, bool unfit, const char *reason,
                        int64_t now);
void reservation_lost(struct reservation *reservation, const struct node_key *node, int64_t now);
/* It is not wanted: what was asked for is released. */
void reservation_cancel(struct reservation *reservation, int64_t now);
void reservation_tick(struct reservation *reservation, int64_t now);
bool reservation_next(struct reservation *reservation, struct reservation_action *action);
/* The node because of which it failed, or NULL. */
const struct node_key *reservation_blamed(const struct reservation *reservation);
/* The node that was found to be unfit in the last RESERVATION_FAILED, or NULL. */
const struct reservation_unfit *reservation_unfit(const struct reservation *reservation);

#endif
