/* Tokens that this node gave out: made, used, taken back. */
#define _GNU_SOURCE
#include "daemon/cluster/trust_internal.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "daemon/words.h"

/* A token is for days, not for ever. */
#define MAX_TTL_MS (UINT64_C(30) * 24 * 3600 * 1000)
#define MAX_USES 1000

static bool is_good(const struct token_kept *token, int64_t day_ms)
{
    return !token->revoked && token->uses_left > 0 && token->expires > day_ms;
}

static void id_make(const struct token_kept *token, char id[TRUST_TOKEN_ID_SIZE])
{
    char fingerprint[TRUST_FINGERPRINT_SIZE];

    key_fingerprint(&token->key, fingerprint);
    memcpy(id, fingerprint, TRUST_TOKEN_ID_SIZE - 1);
    id[TRUST_TOKEN_ID_SIZE - 1] = '\0';
}

size_t trust_tokens(const struct trust *trust, int64_t day_ms,
                    struct token_record tokens[TRUST_MAX_TOKENS])
{
    size_t count = 0;

    for (size_t i = 0; i < trust->token_count; i++) {
        const struct token_kept *token = &trust->tokens[i];

        if (!is_good(token, day_ms))
            continue;
        tokens[count].key = token->key;
        tokens[count].expires = token->expires;
        tokens[count].uses_left = token->uses_left;
        id_make(token, tokens[count++].id);
    }
    return count;
}

/* ---- giving out ---- */

static void token_drop(struct trust *trust, size_t i)
{
    memmove(&trust->tokens[i], &trust->tokens[i + 1],
            (--trust->token_count - i) * sizeof(trust->tokens[0]));
}

/* Forget what is dead: for long, or, when there is no other place, the oldest of them. */
static void tokens_clean(struct trust *trust, int64_t day_ms)
{
    for (size_t i = trust->token_count; i-- > 0;)
        if (trust->tokens[i].expires + TOKEN_MEMORY_MS <= day_ms)
            token_drop(trust, i);
    for (size_t i = 0; i < trust->token_count && trust->token_count == TRUST_MAX_TOKENS; i++)
        if (!is_good(&trust->tokens[i], day_ms))
            token_drop(trust, i);
}

static int token_check(const struct trust *trust, const char *address, uint64_t ttl_ms,
                       uint32_t uses, char *error)
{
    if (!node_address_valid(address))
        snprintf(
            error, TRUST_ERROR_SIZE,
            "%.120s: is no address to join at: tcp://HOST:PORT of this node, as others reach it",
            address);
    else if (ttl_ms == 0 || ttl_ms > MAX_TTL_MS)
        snprintf(error, TRUST_ERROR_SIZE, "a token is good for at most 30d, and longer than 0");
    else if (uses == 0 || uses > MAX_USES)
        snprintf(error, TRUST_ERROR_SIZE, "a token is good for 1 to %d hosts", MAX_USES);
    else if (trust->token_count == TRUST_MAX_TOKENS)
        snprintf(error, TRUST_ERROR_SIZE,
                 "%d tokens are good now, and there may be no more: take some back (c4pd token "
                 "--list, c4pd token --revoke ID)",
                 TRUST_MAX_TOKENS);
    else
        return 0;
    return -1;
}

int trust_token_create(struct trust *trust, const char *address, uint64_t ttl_ms, uint32_t uses,
                       int64_t day_ms, char token[TRUST_TOKEN_MAX], char *error)
{
    struct token_kept *kept;
    uint8_t secret[32], secret_key[32];
    int rc;

    tokens_clean(trust, day_ms);
    if (token_check(trust, address, ttl_ms, uses, error) != 0)
        return -1;
    kept = &trust->tokens[trust->token_count];
    *kept = (struct token_kept){.expires = day_ms + (int64_t)ttl_ms, .uses_left = uses};
    randombytes_buf(secret, sizeof(secret));
    token_key_pair(secret, &kept->key, secret_key);
    token_write(address, &trust->identity.public_key, secret, token);
    sodium_memzero(secret, sizeof(secret));
    sodium_memzero(secret_key, sizeof(secret_key));
    trust->token_count++;
    rc = trust_store_tokens(trust, error);
    if (rc != 0) {
        trust->token_count--;
        sodium_memzero(token, TRUST_TOKEN_MAX);
    }
    return rc;
}

int trust_token_revoke(struct trust *trust, const char *id, char *error)
{
    for (size_t i = 0; i < trust->token_count; i++) {
        char own[TRUST_TOKEN_ID_SIZE];

        id_make(&trust->tokens[i], own);
        if (strcasecmp(own, id) != 0)
            continue;
        trust->tokens[i].revoked = true;
        return trust_store_tokens(trust, error);
    }
    snprintf(error, TRUST_ERROR_SIZE,
             "%.40s: this node gave out no such token (c4pd token --list shows those that it did)",
             id);
    return -1;
}

/* ---- using ---- */

void token_add_host(struct token_kept *token, const struct node_key *host)
{
    if (token->host_count < TOKEN_HOSTS)
        token->host_count++;
    memmove(&token->hosts[1], &token->hosts[0], (token->host_count - 1) * sizeof(token->hosts[0]));
    token->hosts[0] = *host;
}

static bool token_has_let_in(const struct token_kept *token, const struct node_key *host)
{
    for (size_t i = 0; i < token->host_count; i++)
        if (key_equal(&token->hosts[i], host))
            return true;
    return false;
}

/* May this host come with it? */
static int token_judge(const struct token_kept *token, const struct node_key *host, int64_t day_ms,
                       char *error)
{
    char text[WORDS_SIZE];

    if (token->expires <= day_ms)
        snprintf(error, TRUST_ERROR_SIZE,
                 "the token expired %s ago: make another one there (c4pd token)",
                 words_duration((uint64_t)(day_ms - token->expires), text));
    else if (token->revoked)
        snprintf(error, TRUST_ERROR_SIZE,
                 "the token was taken back: make another one there (c4pd token)");
    else if (token->uses_left == 0 && !token_has_let_in(token, host))
        snprintf(error, TRUST_ERROR_SIZE,
                 "the token was used before as often as it may be: make another one there (c4pd "
                 "token; --uses N for several hosts)");
    else
        return 0;
    return -1;
}

static int name_judge(const struct trust *trust, const struct enrolment *record, char *error)
{
    for (size_t i = 0; i < trust->count; i++) {
        const struct enrolment *other = trust_at(trust, i);

        if (other->revoked || other->kind != record->kind ||
            strcasecmp(other->name, record->name) != 0 || key_equal(&other->key, &record->key))
            continue;
        snprintf(error, TRUST_ERROR_SIZE,
                 "the cluster %s has a node %s already: choose another name (c4pd join --name), or "
                 "if that one is gone for good, c4pd evict %s there",
                 trust->identity.cluster_name, other->name, other->name);
        return -1;
    }
    return 0;
}

static struct token_kept *token_find(struct trust *trust, const struct node_key *key)
{
    for (size_t i = 0; i < trust->token_count; i++)
        if (key_equal(&trust->tokens[i].key, key))
            return &trust->tokens[i];
    return NULL;
}

/* A use, on the disk. */
static int token_spend(struct trust *trust, struct token_kept *token, const struct node_key *host,
                       char *error)
{
    const struct token_kept before = *token;

    token->uses_left--;
    token_add_host(token, host);
    if (trust_store_tokens(trust, error) == 0)
        return 0;
    *token = before;
    return -1;
}

/* Nothing of the set is told to who has a token that is good no more. */
int trust_token_use(struct trust *trust, const struct node_key *joiner,
                    const struct enrolment *record, int64_t day_ms, char *error)
{
    struct token_kept *token = token_find(trust, joiner);
    const struct enrolment *known = trust_find(trust, &record->key);

    if (token == NULL) {
        snprintf(error, TRUST_ERROR_SIZE, "this node gave out no such token (c4pd token)");
        return -1;
    }
    if (token_judge(token, &record->key, day_ms, error) != 0)
        return -1;
    if (known != NULL && known->revoked) {
        snprintf(error, TRUST_ERROR_SIZE,
                 "this key was revoked, for ever: c4pd leave --now there makes room for a new one");
        return -1;
    }
    if (known != NULL && known->kind == record->kind && strcasecmp(known->name, record->name) == 0)
        return 0;
    if (known != NULL) {
        snprintf(error, TRUST_ERROR_SIZE, "this key belongs to %s already", known->name);
        return -1;
    }
    if (name_judge(trust, record, error) != 0)
        return -1;
    if (!enrolment_valid(record) || trust->count >= TRUST_MAX_KEYS)
        return trust_set_join(trust, record, error) < 0 ? -1 : 0;
    /* One that it has let in, and the disk has not got the key, comes again for nothing. */
    if (!token_has_let_in(token, &record->key) &&
        token_spend(trust, token, &record->key, error) != 0)
        return -1;
    return trust_join(trust, record, error) < 0 ? -1 : 0;
}
