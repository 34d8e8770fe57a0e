/* The side of a host that joins. */
#define _GNU_SOURCE
#include "daemon/cluster/enrol.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cluster/dial.h"
#include "daemon/cluster/record.h"
#include "proto/clock.h"

static int fail(char *error, const char *address, const char *sentence)
{
    snprintf(error, ENROL_ERROR_SIZE, "%s: %s", address, sentence);
    return -1;
}

/* ---- the question ---- */

static uint8_t *question_pack(const struct enrol_request *request,
                              const struct trust_identity *identity, size_t *size)
{
    C4p__Peer peer = C4P__PEER__INIT;
    C4p__Enrol enrol = C4P__ENROL__INIT;
    uint8_t *packed;

    enrol.key.data = (uint8_t *)(uintptr_t)identity->public_key.bytes;
    enrol.key.len = NODE_KEY_SIZE;
    enrol.name = (char *)(uintptr_t)request->name;
    enrol.min_version = CLUSTER_MIN_VERSION;
    enrol.max_version = CLUSTER_VERSION;
    enrol.release = (char *)(uintptr_t)request->release;
    peer.version = CLUSTER_VERSION;
    peer.body_case = C4P__PEER__BODY_ENROL;
    peer.enrol = &enrol;
    *size = c4p__peer__get_packed_size(&peer);
    packed = malloc(*size);
    if (packed != NULL)
        c4p__peer__pack(&peer, packed);
    return packed;
}

/* ---- the answer ---- */

/* What is wrong with a welcome, or NULL. */
static const char *welcome_check(const C4p__Enrolled *enrolled)
{
    if (enrolled->version < CLUSTER_MIN_VERSION || enrolled->version > CLUSTER_VERSION)
        return "speaks another version of the protocol between nodes: install a release of c4p "
               "that fits";
    if (enrolled->cluster.len != TRUST_ID_SIZE ||
        !trust_name_valid(KEY_NODE, enrolled->cluster_name))
        return "answers with a cluster that has no name or no id";
    return NULL;
}

/* The keys in it that are good. This node and the seed must be among them. */
static size_t keys_take(const C4p__Enrolled *enrolled, const struct node_key *self,
                        const struct node_key *seed, struct enrolment *records)
{
    unsigned needed = 0;
    size_t count = 0;

    for (size_t i = 0; i < enrolled->n_trust && count < TRUST_MAX_KEYS; i++) {
        struct enrolment *record = &records[count];

        if (!enrolment_from_wire(enrolled->trust[i], record))
            continue;
        count++;
        if (record->kind == KEY_NODE && !record->revoked)
            needed |=
                (key_equal(&record->key, self) ? 1u : 0) | (key_equal(&record->key, seed) ? 2u : 0);
    }
    return needed == 3 ? count : 0;
}

/* What the next start begins with: members as they came, read again with care. */
static uint8_t *members_pack(const C4p__Enrolled *enrolled, size_t *size)
{
    C4p__Exchange exchange = C4P__EXCHANGE__INIT;
    uint8_t *packed;

    exchange.n_members = enrolled->n_members;
    exchange.members = enrolled->members;
    *size = c4p__exchange__get_packed_size(&exchange);
    packed = malloc(*size + 1);
    if (packed != NULL)
        c4p__exchange__pack(&exchange, packed);
    return packed;
}

static int welcome_take(const struct enrol_request *request, const C4p__Enrolled *enrolled,
                        const struct token *token, struct trust_identity *identity, char *error)
{
    struct enrolment *records = calloc(enrolled->n_trust + 1, sizeof(*records));
    size_t size = 0, count = 0;
    uint8_t *members = members_pack(enrolled, &size);
    char reason[TRUST_ERROR_SIZE] = "out of memory";
    int rc = -1;

    memcpy(identity->cluster, enrolled->cluster.data, TRUST_ID_SIZE);
    strcpy(identity->cluster_name, enrolled->cluster_name);
    snprintf(identity->name, sizeof(identity->name), "%s", request->name);
    if (records != NULL && members != NULL) {
        snprintf(reason, sizeof(reason), "the answer does not say that this node is welcome");
        count = keys_take(enrolled, &identity->public_key, &token->seed, records);
    }
    if (count > 0)
        rc = trust_settle(request->state_dir, identity, records, count, members, size, reason);
    free(records);
    free(members);
    return rc == 0 ? 0 : fail(error, token->address, reason);
}

static int answer_take(const struct enrol_request *request, const C4p__Peer *peer,
                       const struct token *token, struct trust_identity *identity, char *error)
{
    const char *wrong;

    if (peer == NULL ||
        (peer->body_case != C4P__PEER__BODY_ENROLLED && peer->body_case != C4P__PEER__BODY_TURNED))
        return fail(error, token->address, "answers what nobody asked: is it of the same release?");
    if (peer->body_case == C4P__PEER__BODY_TURNED)
        return fail(error, token->address, peer->turned->reason);
    if (peer->enrolled->refused[0] != '\0')
        return fail(error, token->address, peer->enrolled->refused);
    wrong = welcome_check(peer->enrolled);
    if (wrong != NULL)
        return fail(error, token->address, wrong);
    return welcome_take(request, peer->enrolled, token, identity, error);
}

/* ---- joining ---- */

static int seed_ask(const struct enrol_request *request, const struct token *token,
                    struct trust_identity *identity, char *error)
{
    struct dial_settings settings = {
        .token = token,
        .deadline = clock_ms() + (int64_t)request->timeout_ms,
    };
    uint8_t *question = question_pack(request, identity, &settings.size);
    C4p__Peer *peer = NULL;
    void *answer = NULL;
    size_t size = 0;
    int rc;

    settings.question = question;
    snprintf(error, ENROL_ERROR_SIZE, "out of memory");
    if (question != NULL)
        answer = dial(&settings, &size, error);
    free(question);
    if (answer == NULL)
        return -1;
    peer = peer_unpack(answer, size);
    rc = answer_take(request, peer, token, identity, error);
    peer_free(peer);
    free(answer);
    return rc;
}

int enrol_join(const struct enrol_request *request, struct trust_identity *identity, char *error)
{
    struct token token;
    int rc = token_read(request->token, &token, error);

    if (rc == 0 && !trust_name_valid(KEY_NODE, request->name)) {
        snprintf(error, ENROL_ERROR_SIZE,
                 "%.80s: the name of a node has 1 to %d letters, digits, '-', '.' and '_' (give "
                 "one: --name)",
                 request->name, NODE_NAME_MAX);
        rc = -1;
    }
    if (rc == 0)
        rc = trust_prepare(request->state_dir, identity, error);
    if (rc == 0)
        rc = seed_ask(request, &token, identity, error);
    sodium_memzero(&token, sizeof(token));
    return rc;
}
