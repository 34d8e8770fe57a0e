/*
 * Where the PEs of jobs are: reservations at both of their ends, and this node's slots.
 *
 * As a home: for the job whose turn it is (queue.h) nodes are chosen by what they gossip, asked, and
 * asked again while the job is prepared (reserve.h decides). A job that fits on this node is placed
 * within the call, without a message; alone, without a cluster, that is all there is.
 *
 * As a node: homes ask for slots, get them as leases, and have them held once the job is prepared.
 *
 *     home                                          node
 *     placing_room()   there is room
 *     placing_try()    ------------- Reserve -----> a lease; probe: is its Python here?
 *       need()  placing_needed()     <-- Reserved - placing_probed()
 *     placed()         ... jobs.c: Prepare, ------> placing_hold()
 *                          all are Prepared
 *     placing_settle() leases are not renewed
 *       or  placing_back(): once more   - Release -> the lease is over
 *     placing_end()    the job is over              placing_free(): the guest is over
 *
 * It has no sockets, clocks or timers of its own: they come with `host` and `peers`, so that the
 * simulation drives it as c4pd does. Nothing of it calls back into who calls but as said.
 */
#ifndef C4P_DAEMON_JOBS_PLACING_H
#define C4P_DAEMON_JOBS_PLACING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/jobs/queue.h"
#include "daemon/jobs/reserve.h"
#include "proto/cluster.pb-c.h"

struct placing;

/* Who has the jobs. `need` and `probe` may be NULL: nobody asks for any Python. */
struct placing_host {
    /* On the clock of clock_ms(). */
    int64_t (*now)(void *context);
    /* Call placing_tick() then; replaces the one before; -1: never. */
    void (*wake_at)(void *context, int64_t at);
    /* All PEs of the job are promised: this node's part first, if it has one. */
    void (*placed)(void *context, uint64_t job, uint64_t attempt,
                   const struct reservation_part *parts, size_t count);
    /* Nothing is promised. It may be tried again at `at`: it keeps its place in the queue. */
    void (*not_now)(void *context, uint64_t job, const char *reason, int64_t at);
    /* Slots here or elsewhere are others: look at the queue again. Remember it, do nothing now. */
    void (*changed)(void *context);
    /* What Python does the job need? Answered by placing_needed(), also from within. */
    void (*need)(void *context, uint64_t job);
    /* Is this here? Answered by placing_probed() with this number, also from within. */
    void (*probe)(void *context, uint64_t number, const C4p__Python *need);
    void *context;
};

/* The cluster, as far as it matters here: cluster.h with other words. */
struct placing_peers {
    struct node_key self;
    uint64_t incarnation;
    size_t (*nodes)(void *context, const struct member_record *const **nodes);
    int (*send)(void *context, const struct node_key *to, C4p__Peer *message);
    void (*load)(void *context, uint32_t pes, uint32_t pes_free, uint32_t queued, bool draining);
    void *context;
};

/* `slots` 0: no limit. NULL with errno ENOMEM. Destroy is NULL-safe, and tells nobody. */
struct placing *placing_create(const struct placing_host *host, uint32_t slots, uint64_t seed);
void placing_destroy(struct placing *placing);
/* There is a cluster now; NULL: no more. Leases of others end by themselves. */
void placing_join(struct placing *placing, const struct placing_peers *peers);

void placing_tick(struct placing *placing);
/* Reserve, Reserved and Release are taken; false: it is none of these. */
bool placing_message(struct placing *placing, const struct node_key *from,
                     const C4p__Peer *message);
/* cluster_listener's up and down. */
void placing_up(struct placing *placing, const struct member_record *node);
void placing_down(struct placing *placing, const struct node_key *key, const char *why);

/* No new promises to others (this node drains), or again. */
void placing_stop(struct placing *placing, bool stopped);
void placing_resize(struct placing *placing, uint32_t slots);
/* So many jobs wait here: told to the cluster. */
void placing_queued(struct placing *placing, uint32_t queued);

struct placing_figures {
    uint32_t slots, used; /* of this node; slots 0: no limit */
    uint32_t guests;      /* of those used: by jobs of other homes */
    uint32_t nodes, pes;  /* that can be had in all, this node among them */
};
struct placing_figures placing_figures(struct placing *placing);

/* ---- as a home ---- */

/* What there is for this job at this moment; the sentence says why it has to wait. */
enum queue_room placing_room(struct placing *placing, uint64_t job, uint32_t pes,
                             char reason[QUEUE_REASON_SIZE]);

struct placing_request {
    uint64_t job;
    uint32_t pes; /* 0: all that are free on this node */
    int32_t priority;
    int64_t waited_ms;
};

/* One at a time: `placed` or `not_now` follows, from within the call if no other node is asked. */
void placing_try(struct placing *placing, const struct placing_request *request);
/* `need` NULL: any Python will do. `failed`: it cannot be found out, a sentence: not now; NULL or
 * empty: it was. */
void placing_needed(struct placing *placing, uint64_t job, const C4p__Python *need,
                    const char *failed);
/* It was seen too late (Prepared) that a node cannot run the job: it is not asked again for a while. */
void placing_unfit(struct placing *placing, uint64_t job, const struct node_key *node,
                   const char *reason);
/* All nodes hold what they have promised. */
void placing_settle(struct placing *placing, uint64_t job);
/* It is placed, or tried, no more; it will be tried again. In any state; idempotent. */
void placing_back(struct placing *placing, uint64_t job);
/* It is over: its PEs here are free, promises are given back, nothing is remembered. Idempotent. */
void placing_end(struct placing *placing, uint64_t job);

/* ---- as a node ---- */

/* A guest is being prepared: its PEs are held until placing_free(). False: the lease has ended. */
bool placing_hold(struct placing *placing, const struct node_key *home, uint64_t job,
                  uint64_t attempt);
void placing_free(struct placing *placing, const struct node_key *home, uint64_t job);
/* `unfit` NULL or empty: it can run here. */
void placing_probed(struct placing *placing, uint64_t number, const char *unfit);

#endif
