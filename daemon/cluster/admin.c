/*
 * cluster_admin(): what a command of c4pd asks of the daemon through the door, carried out on the
 * enrolled set and the members. Who asks is this daemon's own user, so everything may be asked.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cluster/cluster.h"
#include "daemon/cluster/describe.h"
#include "daemon/log.h"
#include "proto/clock.h"

#define PAGE 64

/* What an answer points into, until the next one. */
static struct {
    char refused[TRUST_ERROR_SIZE];
    char token[TRUST_TOKEN_MAX];
    struct describe_page nodes;
    C4p__KeyInfo keys[PAGE], *key_list[PAGE];
    char by[PAGE][DESCRIBE_NAME_SIZE];
    C4p__TokenInfo tokens[TRUST_MAX_TOKENS], *token_list[TRUST_MAX_TOKENS];
    struct token_record token_records[TRUST_MAX_TOKENS];
} said;

/* Carries it out and fills in the answer: 0, or -1 with a sentence in `said.refused`. */
typedef int admin_handler(struct cluster *cluster, const C4p__Admin *admin,
                          C4p__AdminAnswer *answer);

static char *borrowed(const char *text)
{
    return (char *)(uintptr_t)text;
}

static ProtobufCBinaryData key_bytes(const struct node_key *key)
{
    return (ProtobufCBinaryData){NODE_KEY_SIZE, (uint8_t *)(uintptr_t)key->bytes};
}

static int refuse(const char *sentence)
{
    snprintf(said.refused, sizeof(said.refused), "%s", sentence);
    return -1;
}

/* ---- nodes ---- */

static int admin_nodes(struct cluster *cluster, const C4p__Admin *admin, C4p__AdminAnswer *answer)
{
    if (describe_nodes(cluster, admin->nodes->after, &said.nodes) != 0)
        return refuse("out of memory");
    answer->nodes = said.nodes.nodes;
    answer->n_nodes = said.nodes.count;
    answer->more = said.nodes.more;
    return 0;
}

/* Its revocation holds here even if it cannot be written; the others are told in any case. */
static int key_revoke(struct cluster *cluster, const struct node_key *key)
{
    int rc = trust_revoke(cluster_trust(cluster), key, clock_day_ms(), said.refused);

    cluster_trust_changed(cluster);
    return rc;
}

static int admin_evict(struct cluster *cluster, const C4p__Admin *admin, C4p__AdminAnswer *answer)
{
    const struct enrolment *found;

    (void)answer;
    if (trust_find_named(cluster_trust(cluster), KEY_NODE, admin->evict->node, &found,
                         said.refused) != 0)
        return -1;
    if (key_equal(&found->key, &cluster_identity(cluster)->public_key))
        return refuse("this is the node itself: c4pd leave, or c4pd evict on another one");
    if (found->revoked)
        return refuse("this node was evicted before");
    log_write(LOG_INFO, "cluster", "node %s is evicted", found->name);
    return key_revoke(cluster, &found->key);
}

static int admin_leave(struct cluster *cluster, const C4p__Admin *admin, C4p__AdminAnswer *answer)
{
    (void)admin;
    (void)answer;
    log_write(LOG_INFO, "cluster", "this node leaves the cluster %s for good",
              cluster_identity(cluster)->cluster_name);
    return key_revoke(cluster, &cluster_identity(cluster)->public_key);
}

/* ---- tokens ---- */

/* With or without tcp://; of this node as others reach it if none is given. */
static int address_choose(struct cluster *cluster, const char *given,
                          char address[NODE_ADDRESS_MAX + 1])
{
    const char *scheme = strncmp(given, "tcp://", 6) == 0 ? "" : "tcp://";

    if (given[0] == '\0')
        snprintf(address, NODE_ADDRESS_MAX + 1, "%s", cluster_self(cluster)->facts.control);
    else if (snprintf(address, NODE_ADDRESS_MAX + 1, "%s%s", scheme, given) > NODE_ADDRESS_MAX)
        return refuse("the address is too long");
    return 0;
}

static int admin_token(struct cluster *cluster, const C4p__Admin *admin, C4p__AdminAnswer *answer)
{
    const C4p__AdminToken *wanted = admin->token;
    struct trust *trust = cluster_trust(cluster);
    char address[NODE_ADDRESS_MAX + 1];

    if (wanted->revoke[0] != '\0')
        return trust_token_revoke(trust, wanted->revoke, said.refused);
    if (address_choose(cluster, wanted->address, address) != 0 ||
        trust_token_create(trust, address, wanted->ttl_ms, wanted->uses, clock_day_ms(), said.token,
                           said.refused) != 0)
        return -1;
    answer->token = said.token;
    return 0;
}

static int admin_tokens(struct cluster *cluster, const C4p__Admin *admin, C4p__AdminAnswer *answer)
{
    (void)admin;
    answer->n_tokens = trust_tokens(cluster_trust(cluster), clock_day_ms(), said.token_records);
    for (size_t i = 0; i < answer->n_tokens; i++) {
        C4p__TokenInfo *info = said.token_list[i] = &said.tokens[i];

        c4p__token_info__init(info);
        info->id = said.token_records[i].id;
        info->expires = (uint64_t)said.token_records[i].expires;
        info->uses_left = said.token_records[i].uses_left;
    }
    answer->tokens = said.token_list;
    return 0;
}

/* ---- keys ---- */

/* The name is another user's? Of those that are revoked it is free again. */
static int user_check(const struct trust *trust, const C4p__AdminKeyAdd *wanted)
{
    char unused[TRUST_ERROR_SIZE];
    const struct enrolment *found;
    struct node_key key;

    if (wanted->key.len != NODE_KEY_SIZE || !trust_name_valid(KEY_USER, wanted->name))
        return refuse("this is no key, or no name");
    memcpy(key.bytes, wanted->key.data, NODE_KEY_SIZE);
    found = trust_find(trust, &key);
    if (found != NULL && found->revoked)
        return refuse("this key was revoked, for ever: make another one (c4pd key new)");
    if (found != NULL)
        return refuse("the cluster knows this key already (c4pd key list)");
    if (trust_find_named(trust, KEY_USER, wanted->name, &found, unused) == 0 && !found->revoked)
        return refuse("another key has this name: choose one, or revoke that one first (c4pd key "
                      "revoke)");
    return 0;
}

static int admin_key_add(struct cluster *cluster, const C4p__Admin *admin, C4p__AdminAnswer *answer)
{
    struct enrolment record = {.kind = KEY_USER, .since = clock_day_ms()};
    char fingerprint[TRUST_FINGERPRINT_SIZE];
    int rc = user_check(cluster_trust(cluster), admin->key_add);

    if (rc != 0)
        return rc;
    answer->address = borrowed(cluster_self(cluster)->facts.control);
    memcpy(record.key.bytes, admin->key_add->key.data, NODE_KEY_SIZE);
    record.by = cluster_identity(cluster)->public_key;
    strcpy(record.name, admin->key_add->name);
    key_fingerprint(&record.key, fingerprint);
    log_write(LOG_INFO, "cluster", "user %s may come in with key %s", record.name, fingerprint);
    rc = trust_join(cluster_trust(cluster), &record, said.refused);
    cluster_trust_changed(cluster);
    return rc < 0 ? -1 : 0;
}

static int admin_keys(struct cluster *cluster, const C4p__Admin *admin, C4p__AdminAnswer *answer)
{
    const struct trust *trust = cluster_trust(cluster);
    size_t first = strtoul(admin->keys->after, NULL, 10), count = 0;

    for (size_t i = first; i < trust_count(trust) && count < PAGE; i++) {
        const struct enrolment *record = trust_at(trust, i);
        C4p__KeyInfo *info = said.key_list[count] = &said.keys[count];

        c4p__key_info__init(info);
        info->key = key_bytes(&record->key);
        info->kind = borrowed(record->kind == KEY_NODE ? "node" : "user");
        info->name = borrowed(record->name);
        info->since = (uint64_t)record->since;
        info->revoked = record->revoked;
        info->revoked_at = (uint64_t)record->revoked_at;
        info->by = borrowed(describe_name(
            cluster, record->revoked ? &record->revoked_by : &record->by, said.by[count]));
        count++;
    }
    answer->keys = said.key_list;
    answer->n_keys = count;
    answer->more = first < trust_count(trust) && first + count < trust_count(trust);
    return 0;
}

static int admin_key_revoke(struct cluster *cluster, const C4p__Admin *admin,
                            C4p__AdminAnswer *answer)
{
    const struct enrolment *found;

    (void)answer;
    if (trust_find_named(cluster_trust(cluster), KEY_USER, admin->key_revoke->name, &found,
                         said.refused) != 0)
        return -1;
    if (found->revoked)
        return refuse("this key was revoked before");
    return key_revoke(cluster, &found->key);
}

/* ---- all of it ---- */

static admin_handler *const handlers[] = {
    [C4P__ADMIN__BODY_NODES] = admin_nodes,   [C4P__ADMIN__BODY_TOKEN] = admin_token,
    [C4P__ADMIN__BODY_EVICT] = admin_evict,   [C4P__ADMIN__BODY_KEY_ADD] = admin_key_add,
    [C4P__ADMIN__BODY_KEYS] = admin_keys,     [C4P__ADMIN__BODY_KEY_REVOKE] = admin_key_revoke,
    [C4P__ADMIN__BODY_TOKENS] = admin_tokens, [C4P__ADMIN__BODY_LEAVE] = admin_leave,
};

void cluster_admin(struct cluster *cluster, const C4p__Admin *admin, C4p__AdminAnswer *answer)
{
    const struct trust_identity *identity = cluster_identity(cluster);
    const size_t body = (size_t)admin->body_case;
    int rc;

    sodium_memzero(said.token, sizeof(said.token));
    snprintf(said.refused, sizeof(said.refused),
             "the command asks for nothing that this daemon knows: "
             "use a c4pd of the same release");
    if (body >= sizeof(handlers) / sizeof(*handlers) || handlers[body] == NULL)
        rc = -1;
    else
        rc = handlers[body](cluster, admin, answer);
    if (rc != 0)
        answer->refused = said.refused;
    answer->cluster = borrowed(identity->cluster_name);
    answer->cluster_id =
        (ProtobufCBinaryData){sizeof(identity->cluster), (uint8_t *)(uintptr_t)identity->cluster};
    answer->key = key_bytes(&identity->public_key);
}
