/*
 * How a host becomes a node: both ends of Enrol and Enrolled (proto/cluster.md, "Joining").
 *
 * Who joins connects under the key that the token's secret makes, and to nobody but the seed, whose
 * key the token says: what it is told is as good as the token. The seed counts the use of the token
 * before it answers, enrols the new key, and tells the others.
 */
#ifndef C4P_DAEMON_CLUSTER_ENROL_H
#define C4P_DAEMON_CLUSTER_ENROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/cluster/refusals.h"
#include "daemon/cluster/trust.h"
#include "proto/cluster.pb-c.h"

/* What the answer has of the cluster; the rest comes with the first exchanges. */
#define ENROL_MAX_KEYS 2048
#define ENROL_MAX_MEMBERS 64

/* ---- who joins ---- */

struct enrol_request {
    const char *state_dir;
    const char *token;
    const char *name; /* of the new node */
    const char *release;
    uint64_t timeout_ms;
};

/* Blocks until the node is in the cluster, and all that it needs is in its state directory, or the
 * time is over. -1 with a sentence (ENROL_ERROR_SIZE). */
#define ENROL_ERROR_SIZE 640
int enrol_join(const struct enrol_request *request, struct trust_identity *identity, char *error);

/* ---- the seed ---- */

/* Is it welcome? It is enrolled then. -1 with a sentence (TRUST_ERROR_SIZE) for it. */
int enrol_judge(struct trust *trust, const struct node_key *joiner, const C4p__Enrol *enrol,
                int64_t day_ms, char *error);
struct enrol_seed {
    struct trust *trust;
    const struct member_record *self;         /* what this node says of itself */
    const struct member_record *const *nodes; /* all that are known, this node among them or not */
    size_t count;
    struct refusals *refusals;
};

/* What becomes of an Enrol that came under the key `joiner` from `address` ("": unknown): the Peer to
 * be sent back, packed, the caller's to free. *welcome: somebody was enrolled, and the others are to
 * be told. NULL: out of memory. */
uint8_t *enrol_answer(const struct enrol_seed *seed, const struct node_key *joiner,
                      const char *address, const C4p__Enrol *enrol, bool *welcome, size_t *size);

#endif
