/*
 * A cluster's directory on the disk, for each test a new one, and what the tests of trust.h put there.
 */
#ifndef C4P_TESTS_TRUST_FIXTURE_H
#define C4P_TESTS_TRUST_FIXTURE_H

#include "tests/unit/scratch.h"

#include "daemon/cluster/trust_internal.h"

#define NOW INT64_C(1780000000000)
#define HOUR INT64_C(3600000)
#define ADDRESS "tcp://127.0.0.1:7227"

static struct scratch scratch;
static char error[TRUST_ERROR_SIZE];

static inline int directory_make(void **state)
{
    scratch_make(&scratch);
    error[0] = '\0';
    return watchdog_start(state);
}

static inline int directory_remove(void **state)
{
    scratch_remove(&scratch);
    return watchdog_stop(state);
}

#define trust_test(function)                                                                       \
    cmocka_unit_test_setup_teardown(function, directory_make, directory_remove)

static inline void says(const char *reason)
{
    if (strstr(error, reason) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error, reason);
}

static inline struct trust *opened(void)
{
    struct trust *trust = trust_open(scratch.path, error);

    if (trust == NULL)
        fail_msg("%s", error);
    return trust;
}

static inline struct trust *founded(void)
{
    assert_int_equal(trust_init(scratch.path, "lab", "alpha", error), 0);
    return opened();
}

static inline struct enrolment record_of(uint8_t number, enum key_kind kind, const char *name)
{
    struct enrolment record = {.kind = kind, .since = NOW};

    memset(record.key.bytes, number, NODE_KEY_SIZE);
    memset(record.by.bytes, 1, NODE_KEY_SIZE);
    strcpy(record.name, name);
    return record;
}

static inline struct node_key token_made(struct trust *trust, uint64_t ttl, uint32_t uses)
{
    char text[TRUST_TOKEN_MAX];
    struct token token;

    if (trust_token_create(trust, ADDRESS, ttl, uses, NOW, text, error) != 0 ||
        token_read(text, &token, error) != 0)
        fail_msg("%s", error);
    assert_string_equal(token.address, ADDRESS);
    assert_true(key_equal(&token.seed, &trust_identity(trust)->public_key));
    return token.public_key;
}

#endif
