/*
 * What the parts of placing.h share: placing.c (slots, nodes, time), placing_home.c (jobs of this
 * node) and placing_node.c (promises to others).
 */
#ifndef C4P_DAEMON_JOBS_PLACING_PARTS_H
#define C4P_DAEMON_JOBS_PLACING_PARTS_H

#include <uthash.h>

#include "daemon/jobs/placing.h"

/* What a node has told us last of its slots is newer than gossip, which is believed again after so
 * long; sooner if the node has refused: it may have told others only what it has by now. */
#define PLACING_WORD_MS 4000
#define PLACING_DOUBT_MS 2000
/* ... and one that does not answer is not asked for so long. */
#define PLACING_SILENCE_MS 5000
/* A node that could not get a job ready is asked again after so long. */
#define PLACING_UNFIT_MS 10000
/* What is free is told to the cluster after so long: a lease that was in vain is no news. */
#define PLACING_LOAD_MS 50

enum placement_state { PLACEMENT_WAITS, PLACEMENT_NEEDS, PLACEMENT_ASKS, PLACEMENT_PLACED };

/* Another start of the daemon may do; and what is no matter of its Python, but of files and disks, may
 * be better `until` then: INT64_MAX never. */
struct unfit_term {
    uint64_t incarnation;
    int64_t until;
};

/* A job of this node, from its first try to its end. */
struct placement {
    UT_hash_handle hh;
    uint64_t job;
    enum placement_state state;
    struct placing_request request;
    uint64_t attempt;
    unsigned tries;
    struct reservation *reservation; /* while nodes are asked, and then until all hold */
    int64_t wake;                    /* of it; -1: none */
    bool refused;                    /* the last to answer did */
    bool need_known;
    C4p__Python *need; /* ours; NULL: any */
    struct reservation_unfit *unfit;
    struct unfit_term *unfit_term; /* of each of them */
    size_t unfit_count;
};

/* A promise that is made when it is known that the job's Python is here. */
struct probing {
    struct probing *prev, *next;
    struct node_key home;
    uint64_t job, attempt, number;
    uint32_t pes;
};

/* Its last word, or what its silence says. */
struct word {
    UT_hash_handle hh;
    struct node_key node;
    uint32_t pes_free;
    int64_t until;
};

struct load {
    uint32_t pes, pes_free, queued;
    bool draining;
};

struct placing {
    struct placing_host host;
    struct placing_peers peers;
    bool joined; /* peers are there */
    struct ledger *ledger;
    uint32_t used_before; /* as it was told */
    bool stopped;
    uint64_t seed, attempts, probes;
    struct placement *placements;
    struct probing *probing;
    struct word *words;
    bool sum_known;
    struct reservation_sum sum; /* for a job that every node can run */
    struct load load, told;
    int64_t load_due; /* -1: what was told is true */
    int64_t wake;     /* as asked for */
};

/* ---- placing.c ---- */

static inline int64_t placing_now(const struct placing *placing)
{
    return placing->host.now(placing->host.context);
}

/* After anything that may have changed slots here, or what there is to wait for. */
void placing_settled(struct placing *placing);
/* What there is elsewhere is another thing. */
void placing_moved(struct placing *placing);
/* An array to be freed, with this node in it. NULL: no memory. */
struct reservation_node *placing_nodes(struct placing *placing, size_t *count);
/* Believe this of a node for a while. */
void placing_believe(struct placing *placing, const struct node_key *node, uint32_t pes_free,
                     int64_t for_ms);
void placing_send(struct placing *placing, const struct node_key *to, C4p__Peer *message);

/* ---- placing_home.c ---- */

/* Do what a reservation asks for. The placement may be gone then, and the caller's as well. */
void placement_act(struct placing *placing, struct placement *placement);
void placement_free(struct placing *placing, struct placement *placement);
void placing_reserved(struct placing *placing, const struct node_key *from,
                      const C4p__Reserved *answer);
void placements_lost(struct placing *placing, const struct node_key *node);
void placements_abandon(struct placing *placing, const char *why);
/* A daemon was started again: it may have another Python now. */
void placements_forgive(struct placing *placing, const struct member_record *node);
/* ... or it is time; returns when it will be again, or -1. */
int64_t placements_forgive_by(struct placing *placing, int64_t now);

/* ---- placing_node.c ---- */

void placing_reserve(struct placing *placing, const struct node_key *from,
                     const C4p__Reserve *question);
void placing_release(struct placing *placing, const struct node_key *from,
                     const C4p__Release *release);
/* Nobody waits for probes of this home any more; NULL: of any. */
void probings_drop(struct placing *placing, const struct node_key *home);

#endif
