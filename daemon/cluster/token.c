#define _GNU_SOURCE
#include "daemon/cluster/trust.h"

#include <ctype.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "c4pt1-"
#define TOKEN_VERSION 1
#define SECRET_SIZE 32
#define SUM_SIZE 4
/* Version, length of the address, address, seed key, secret, checksum. */
#define MAX_BYTES (2 + NODE_ADDRESS_MAX + NODE_KEY_SIZE + SECRET_SIZE + SUM_SIZE)
#define VARIANT sodium_base64_VARIANT_URLSAFE_NO_PADDING

/* ---- addresses ---- */

static bool is_port(const char *text)
{
    size_t length = strspn(text, "0123456789");
    long port = length > 0 && length <= 5 && text[length] == '\0' ? strtol(text, NULL, 10) : 0;

    return port > 0 && port <= UINT16_MAX;
}

bool node_address_valid(const char *address)
{
    static const char scheme[] = "tcp://";
    const char *host = address + sizeof(scheme) - 1, *end;
    size_t allowed;

    if (strncmp(address, scheme, sizeof(scheme) - 1) != 0 || strlen(address) > NODE_ADDRESS_MAX)
        return false;
    end = strrchr(host, ':');
    if (end == NULL || end == host || !is_port(end + 1))
        return false;
    if (*host == '[') {
        allowed = 1 + strspn(host + 1, "0123456789abcdefABCDEF:.%");
        return allowed > 2 && host[allowed] == ']' && host + allowed + 1 == end;
    }
    for (const char *at = host; at < end; at++)
        if (!isalnum((unsigned char)*at) && strchr("-._", *at) == NULL)
            return false;
    return true;
}

/* ---- the text ---- */

static void sum_make(const uint8_t *bytes, size_t size, uint8_t sum[SUM_SIZE])
{
    uint8_t hash[crypto_generichash_BYTES];

    crypto_generichash(hash, sizeof(hash), bytes, size, NULL, 0);
    memcpy(sum, hash, SUM_SIZE);
}

bool token_write(const char *address, const struct node_key *seed, const uint8_t secret[32],
                 char token[TRUST_TOKEN_MAX])
{
    uint8_t bytes[MAX_BYTES];
    size_t length = strlen(address), size = 2 + length;

    if (!node_address_valid(address))
        return false;
    bytes[0] = TOKEN_VERSION;
    bytes[1] = (uint8_t)length;
    memcpy(bytes + 2, address, length);
    memcpy(bytes + size, seed->bytes, NODE_KEY_SIZE);
    memcpy(bytes + size + NODE_KEY_SIZE, secret, SECRET_SIZE);
    size += NODE_KEY_SIZE + SECRET_SIZE;
    sum_make(bytes, size, bytes + size);
    memcpy(token, PREFIX, sizeof(PREFIX));
    sodium_bin2base64(token + sizeof(PREFIX) - 1, TRUST_TOKEN_MAX - sizeof(PREFIX) + 1, bytes,
                      size + SUM_SIZE, VARIANT);
    sodium_memzero(bytes, sizeof(bytes));
    return true;
}

static int fail(char *error, const char *sentence)
{
    snprintf(error, TRUST_ERROR_SIZE, "%s", sentence);
    return -1;
}

static int bytes_take(const uint8_t *bytes, size_t size, struct token *token, char *error)
{
    static const char damaged[] = "the token is not complete, or has another character somewhere: "
                                  "copy all of it (its checksum is wrong)";
    size_t length = size > 2 ? bytes[1] : 0;
    uint8_t sum[SUM_SIZE];

    if (size > 0 && bytes[0] != TOKEN_VERSION)
        return fail(error, "the token is of another version of c4p: use the same release here and "
                           "where it was made");
    if (length > NODE_ADDRESS_MAX || size != 2 + length + NODE_KEY_SIZE + SECRET_SIZE + SUM_SIZE)
        return fail(error, damaged);
    sum_make(bytes, size - SUM_SIZE, sum);
    if (memcmp(sum, bytes + size - SUM_SIZE, SUM_SIZE) != 0)
        return fail(error, damaged);
    memcpy(token->address, bytes + 2, length);
    token->address[length] = '\0';
    if (strlen(token->address) != length || !node_address_valid(token->address))
        return fail(error, "the token says no address that one can connect to: make another one "
                           "(c4pd token)");
    memcpy(token->seed.bytes, bytes + 2 + length, NODE_KEY_SIZE);
    token_key_pair(bytes + 2 + length + NODE_KEY_SIZE, &token->public_key, token->secret_key);
    return 0;
}

int token_read(const char *text, struct token *token, char *error)
{
    uint8_t bytes[MAX_BYTES];
    const char *end = NULL;
    size_t size = 0;
    int rc;

    memset(token, 0, sizeof(*token));
    if (strncmp(text, PREFIX, sizeof(PREFIX) - 1) != 0)
        return fail(error, strncmp(text, "c4pt", 4) == 0
                               ? "the token is of another version of c4p: use the same release "
                                 "here and where it was made"
                               : "this is no token: one begins with " PREFIX
                                 " (c4pd token, on a node of the cluster, prints one)");
    if (sodium_base642bin(bytes, sizeof(bytes), text + sizeof(PREFIX) - 1,
                          strnlen(text, TRUST_TOKEN_MAX) - sizeof(PREFIX) + 1, NULL, &size, &end,
                          VARIANT) != 0 ||
        *end != '\0')
        rc = fail(error, "the token is not complete, or has another character somewhere: copy all "
                         "of it");
    else
        rc = bytes_take(bytes, size, token, error);
    sodium_memzero(bytes, sizeof(bytes));
    return rc;
}
