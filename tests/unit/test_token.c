/* Tokens as text, keys as text, and the addresses that are in tokens. */
#include "tests/unit/unit.h"

#include <sodium.h>

#include "daemon/cluster/trust.h"

#define ADDRESS "tcp://host.example:7227"

static const struct node_key seed = {{1, 2, 3, 0xff}};
static const uint8_t secret[32] = {9, 8, 7};

static void make(char token[TRUST_TOKEN_MAX], const char *address)
{
    assert_true(token_write(address, &seed, secret, token));
}

static void refused(const char *text, const char *reason)
{
    char error[TRUST_ERROR_SIZE] = "";
    struct token token;

    assert_int_equal(token_read(text, &token, error), -1);
    if (strstr(error, reason) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error, reason);
}

static void a_token_is_read_as_it_was_written(void **state)
{
    char text[TRUST_TOKEN_MAX], error[TRUST_ERROR_SIZE];
    uint8_t secret_key[32];
    struct node_key key;
    struct token token;

    (void)state;
    make(text, ADDRESS);
    assert_int_equal(token_read(text, &token, error), 0);
    assert_string_equal(token.address, ADDRESS);
    assert_true(key_equal(&token.seed, &seed));
    token_key_pair(secret, &key, secret_key);
    assert_true(key_equal(&token.public_key, &key));
    assert_memory_equal(token.secret_key, secret_key, 32);
}

/* The form is a contract between releases: written down when it was made. */
static void the_text_of_a_token_is_what_it_always_was(void **state)
{
    static const char golden[] =
        "c4pt1-ARN0Y3A6Ly8xMC4wLjAuMTo3MjI3AQID_wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAJCAcAAAAAAAA"
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAANEsV0E";
    char text[TRUST_TOKEN_MAX];

    (void)state;
    make(text, "tcp://10.0.0.1:7227");
    assert_string_equal(text, golden);
}

static void a_token_that_was_changed_or_cut_anywhere_is_refused(void **state)
{
    char text[TRUST_TOKEN_MAX], changed[TRUST_TOKEN_MAX], error[TRUST_ERROR_SIZE];
    struct token token;

    (void)state;
    make(text, ADDRESS);
    for (size_t i = 0; text[i] != '\0'; i++) {
        strcpy(changed, text);
        changed[i] = changed[i] == 'A' ? 'B' : 'A';
        assert_int_equal(token_read(changed, &token, error), -1);
        strcpy(changed, text);
        changed[i] = '\0';
        assert_int_equal(token_read(changed, &token, error), -1);
    }
    strcat(strcpy(changed, text), "A");
    assert_int_equal(token_read(changed, &token, error), -1);
}

static void what_is_no_token_is_refused_with_what_to_do(void **state)
{
    char long_text[4000] = "c4pt1-";

    (void)state;
    refused("", "c4pd token");
    refused("hello", "begins with c4pt1-");
    refused("c4pt2-AAAA", "another version");
    refused("c4pt1-", "copy all of it");
    refused("c4pt1-AA", "another version");
    refused("c4pt1-AQ", "copy all of it");
    refused("c4pt1-\xff\xfe", "copy all of it");
    memset(long_text + 6, 'A', sizeof(long_text) - 7);
    refused(long_text, "copy all of it");
}

/* Whatever its checksum says: the address is used by who joins. */
static void an_address_that_is_none_is_refused_in_a_token_with_a_right_checksum(void **state)
{
    uint8_t bytes[128] = {1, 10}, hash[crypto_generichash_BYTES];
    char text[TRUST_TOKEN_MAX] = "c4pt1-";
    size_t size = 2 + 10 + 64;

    (void)state;
    memcpy(bytes + 2, "tcp://\0:99", 10);
    assert_true(sodium_init() >= 0);
    crypto_generichash(hash, sizeof(hash), bytes, size, NULL, 0);
    memcpy(bytes + size, hash, 4);
    sodium_bin2base64(text + 6, sizeof(text) - 6, bytes, size + 4,
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    refused(text, "no address");
}

static void addresses_are_a_host_and_a_port(void **state)
{
    static const char *const good[] = {
        "tcp://127.0.0.1:1", "tcp://a:65535",          "tcp://node-1.lab_2.example:7227",
        "tcp://[::1]:7227",  "tcp://[fe80::1%3]:7227",
    };
    static const char *const bad[] = {
        "",
        "host:7227",
        "ipc://x:1",
        "tcp://",
        "tcp://:7227",
        "tcp://host",
        "tcp://host:",
        "tcp://host:0",
        "tcp://host:65536",
        "tcp://host:7227 ",
        "tcp://host:+7",
        "tcp://ho st:7227",
        "tcp://a:1;b:2",
        "tcp://::1:7227",
        "tcp://[]:7227",
        "tcp://[::1:7227",
        "tcp://[::1]7227:1",
        "tcp://*:7227",
    };
    char long_address[NODE_ADDRESS_MAX + 2] = "tcp://";

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        assert_true(node_address_valid(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        if (node_address_valid(bad[i]))
            fail_msg("\"%s\" is taken for an address", bad[i]);
    memset(long_address + 6, 'a', NODE_ADDRESS_MAX - 8);
    strcpy(long_address + NODE_ADDRESS_MAX - 2, ":1");
    assert_true(node_address_valid(long_address));
    strcpy(long_address + NODE_ADDRESS_MAX - 2, ":10");
    assert_false(node_address_valid(long_address));
}

static void keys_are_read_as_they_are_written_and_nothing_else_is(void **state)
{
    char text[KEY_TEXT_SIZE + 8];
    struct node_key key, again;
    uint8_t secret_key[32];

    (void)state;
    key_pair_make(&key, secret_key);
    key_format(&key, text);
    assert_int_equal(strlen(text), 40);
    assert_true(key_parse(text, &again));
    assert_true(key_equal(&key, &again));
    text[3] = '~';
    assert_false(key_parse(text, &again));
    text[3] = (char)0xe9;
    assert_false(key_parse(text, &again));
    assert_false(key_parse("", &again));
    assert_false(key_parse("abc", &again));
    memset(text, '#', 40);
    assert_false(key_parse(text, &again)); /* more than 32 bits in five characters */
    memset(text, '0', 45);
    text[45] = '\0';
    assert_false(key_parse(text, &again));
}

static void fingerprints_differ_and_stay_the_same(void **state)
{
    char one[TRUST_FINGERPRINT_SIZE], other[TRUST_FINGERPRINT_SIZE];
    struct node_key key = seed;

    (void)state;
    key_fingerprint(&key, one);
    assert_string_equal(one, "yw5qtrf22dfe40jz");
    key.bytes[31] ^= 1;
    key_fingerprint(&key, other);
    assert_string_not_equal(one, other);
    assert_int_equal(strlen(other), 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(a_token_is_read_as_it_was_written),
        watched_test(the_text_of_a_token_is_what_it_always_was),
        watched_test(a_token_that_was_changed_or_cut_anywhere_is_refused),
        watched_test(what_is_no_token_is_refused_with_what_to_do),
        watched_test(an_address_that_is_none_is_refused_in_a_token_with_a_right_checksum),
        watched_test(addresses_are_a_host_and_a_port),
        watched_test(keys_are_read_as_they_are_written_and_nothing_else_is),
        watched_test(fingerprints_differ_and_stay_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
