/* The seed's side of joining. */
#define _GNU_SOURCE
#include "daemon/cluster/enrol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cluster/record.h"
#include "daemon/log.h"
#include "proto/clock.h"

int enrol_judge(struct trust *trust, const struct node_key *joiner, const C4p__Enrol *enrol,
                int64_t day_ms, char *error)
{
    struct enrolment record = {.kind = KEY_NODE, .since = day_ms};

    if (enrol->min_version > CLUSTER_VERSION || enrol->max_version < CLUSTER_MIN_VERSION) {
        snprintf(error, TRUST_ERROR_SIZE,
                 "this cluster speaks versions %d to %d of its protocol, the new node %u to %u: "
                 "install a release of c4p that fits",
                 CLUSTER_MIN_VERSION, CLUSTER_VERSION, enrol->min_version, enrol->max_version);
        return -1;
    }
    if (enrol->key.len != NODE_KEY_SIZE || !trust_name_valid(KEY_NODE, enrol->name)) {
        snprintf(error, TRUST_ERROR_SIZE,
                 "the new node has no key, or a name with other characters than letters, digits, "
                 "'-', '.' and '_' (c4pd join --name)");
        return -1;
    }
    memcpy(record.key.bytes, enrol->key.data, NODE_KEY_SIZE);
    record.by = trust_identity(trust)->public_key;
    strcpy(record.name, enrol->name);
    return trust_token_use(trust, joiner, &record, day_ms, error);
}

/* ---- what a new node needs to know ---- */

/* Those of the set that fit into the answer: who has just come, this node, all that are welcome, and
 * then who is not. How many. */
static size_t keys_choose(const struct trust *trust, const struct node_key *joined,
                          const struct enrolment *keys[ENROL_MAX_KEYS])
{
    const struct node_key *self = &trust_identity(trust)->public_key;
    size_t count = 0;

    for (int turn = 0; turn < 3; turn++)
        for (size_t i = 0; i < trust_count(trust) && count < ENROL_MAX_KEYS; i++) {
            const struct enrolment *record = trust_at(trust, i);
            bool first = key_equal(&record->key, joined) || key_equal(&record->key, self);

            if (turn == (first ? 0 : record->revoked ? 2 : 1))
                keys[count++] = record;
        }
    return count;
}

/* This node and some that are there: whom the new one may ask for the rest. How many. */
static size_t members_choose(const struct enrol_seed *seed, struct member_record *chosen)
{
    size_t count = 0;

    chosen[count++] = *seed->self;
    for (size_t i = 0; i < seed->count && count < ENROL_MAX_MEMBERS; i++)
        if (seed->nodes[i]->state == MEMBER_ALIVE &&
            !key_equal(&seed->nodes[i]->key, &seed->self->key))
            chosen[count++] = *seed->nodes[i];
    return count;
}

static uint8_t *answer_pack(const struct enrol_seed *seed, C4p__Enrolled *enrolled, size_t *size)
{
    C4p__Peer peer = C4P__PEER__INIT;
    uint8_t *packed;

    peer.version = CLUSTER_VERSION;
    peer.incarnation = seed->self->incarnation;
    peer.body_case = C4P__PEER__BODY_ENROLLED;
    peer.enrolled = enrolled;
    *size = c4p__peer__get_packed_size(&peer);
    packed = malloc(*size);
    if (packed != NULL)
        c4p__peer__pack(&peer, packed);
    return packed;
}

static uint8_t *welcome_pack(const struct enrol_seed *seed, const struct node_key *joined,
                             size_t *size)
{
    const struct trust_identity *identity = trust_identity(seed->trust);
    const struct enrolment **keys = malloc(ENROL_MAX_KEYS * sizeof(*keys));
    struct member_record *members = malloc(ENROL_MAX_MEMBERS * sizeof(*members));
    C4p__Enrolled enrolled = C4P__ENROLLED__INIT;
    uint8_t *packed = NULL;

    enrolled.cluster.data = (uint8_t *)(uintptr_t)identity->cluster;
    enrolled.cluster.len = sizeof(identity->cluster);
    enrolled.cluster_name = (char *)(uintptr_t)identity->cluster_name;
    enrolled.version = CLUSTER_VERSION;
    if (keys != NULL && members != NULL) {
        enrolled.n_trust = keys_choose(seed->trust, joined, keys);
        enrolled.trust = enrolments_to_wire(keys, enrolled.n_trust);
        enrolled.n_members = members_choose(seed, members);
        enrolled.members = members_to_wire(members, enrolled.n_members);
    }
    if (enrolled.trust != NULL && enrolled.members != NULL)
        packed = answer_pack(seed, &enrolled, size);
    free(enrolled.trust);
    free(enrolled.members);
    free(keys);
    free(members);
    return packed;
}

/* ---- the answer ---- */

/* Who holds a token that is good no more may come as often as it likes. */
static void enrol_log(const struct enrol_seed *seed, const struct node_key *joiner,
                      const char *address, const C4p__Enrol *enrol, const char *refused)
{
    const char *name = trust_name_valid(KEY_NODE, enrol->name) ? enrol->name : "?";
    char token[TRUST_FINGERPRINT_SIZE], fingerprint[TRUST_FINGERPRINT_SIZE] = "no key";
    struct node_key key;

    if (enrol->key.len == NODE_KEY_SIZE) {
        memcpy(key.bytes, enrol->key.data, NODE_KEY_SIZE);
        key_fingerprint(&key, fingerprint);
    }
    key_fingerprint(joiner, token);
    token[TRUST_TOKEN_ID_SIZE - 1] = '\0'; /* by which c4pd token --list calls it */
    if (refused == NULL)
        log_write(LOG_INFO, "cluster", "node %s (%s) has joined from %s with token %s", name,
                  fingerprint, address, token);
    else
        refusals_add(seed->refusals, "node %s (%s) from %s with token %s: %s", name, fingerprint,
                     address, token, refused);
}

uint8_t *enrol_answer(const struct enrol_seed *seed, const struct node_key *joiner,
                      const char *address, const C4p__Enrol *enrol, bool *welcome, size_t *size)
{
    C4p__Enrolled refusal = C4P__ENROLLED__INIT;
    char error[TRUST_ERROR_SIZE];
    struct node_key joined;

    *welcome = enrol_judge(seed->trust, joiner, enrol, clock_day_ms(), error) == 0;
    enrol_log(seed, joiner, address[0] != '\0' ? address : "somewhere", enrol,
              *welcome ? NULL : error);
    if (!*welcome) {
        refusal.refused = error;
        return answer_pack(seed, &refusal, size);
    }
    memcpy(joined.bytes, enrol->key.data, NODE_KEY_SIZE);
    return welcome_pack(seed, &joined, size);
}
