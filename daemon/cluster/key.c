#define _GNU_SOURCE
#include "daemon/cluster/trust.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "proto/control.h"

/* Without it libsodium's generator may be slow, and not safe with threads; more than once does no
 * harm. What cannot get random numbers must not make keys. */
static void sodium_start(void)
{
    if (sodium_init() < 0)
        abort();
}

bool key_equal(const struct node_key *one, const struct node_key *other)
{
    return memcmp(one->bytes, other->bytes, NODE_KEY_SIZE) == 0;
}

static uint64_t forty_bits(const uint8_t *bytes)
{
    uint64_t number = 0;

    for (int i = 0; i < 5; i++)
        number = number << 8 | bytes[i];
    return number;
}

void key_fingerprint(const struct node_key *key, char text[TRUST_FINGERPRINT_SIZE])
{
    uint8_t hash[crypto_generichash_BYTES];

    sodium_start();
    crypto_generichash(hash, sizeof(hash), key->bytes, sizeof(key->bytes), NULL, 0);
    /* The characters that jobs are called by, twice eight of them. */
    control_id_format(forty_bits(hash), text);
    control_id_format(forty_bits(hash + 5), text + CONTROL_ID_CHARS);
}

void key_format(const struct node_key *key, char text[KEY_TEXT_SIZE])
{
    zmq_z85_encode(text, key->bytes, sizeof(key->bytes));
}

bool key_parse(const char *text, struct node_key *key)
{
    return strlen(text) == KEY_TEXT_SIZE - 1 && zmq_z85_decode(key->bytes, text) != NULL;
}

void key_pair_make(struct node_key *public_key, uint8_t secret_key[32])
{
    sodium_start();
    crypto_box_keypair(public_key->bytes, secret_key);
}

void token_key_pair(const uint8_t secret[32], struct node_key *public_key, uint8_t secret_key[32])
{
    sodium_start();
    crypto_box_seed_keypair(public_key->bytes, secret_key, secret);
}
