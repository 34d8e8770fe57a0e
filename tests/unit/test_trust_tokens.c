/*
 * The tokens with which hosts join, on real files: how often, how long and for whom they are good, and
 * what they tell.
 */
#include "tests/unit/trust_fixture.h"

static void a_token_enrols_as_often_as_it_says_and_no_more(void **state)
{
    struct trust *trust = founded();
    struct node_key joiner = token_made(trust, HOUR, 2);
    struct enrolment beta = record_of(5, KEY_NODE, "beta"), gamma = record_of(6, KEY_NODE, "gamma"),
                     delta = record_of(7, KEY_NODE, "delta");

    (void)state;
    assert_int_equal(trust_role(trust, &joiner, NOW), ROLE_JOINER);
    assert_int_equal(trust_token_use(trust, &joiner, &beta, NOW, error), 0);
    assert_int_equal(trust_token_use(trust, &joiner, &beta, NOW, error), 0); /* no other use */
    trust_close(trust);
    trust = opened();
    assert_int_equal(trust_role(trust, &beta.key, NOW), ROLE_NODE);
    assert_int_equal(trust_token_use(trust, &joiner, &gamma, NOW, error), 0);
    trust_close(trust);
    trust = opened();
    assert_int_equal(trust_token_use(trust, &joiner, &delta, NOW, error), -1);
    says("used before");
    assert_int_equal(trust_role(trust, &delta.key, NOW), ROLE_STRANGER);
    assert_int_equal(trust_token_use(trust, &joiner, &gamma, NOW, error), 0); /* it never heard */
    trust_close(trust);
}

static void refused(struct trust *trust, const struct node_key *joiner,
                    const struct enrolment *record, int64_t now, const char *why)
{
    assert_int_equal(trust_token_use(trust, joiner, record, now, error), -1);
    says(why);
}

static void a_token_that_is_good_no_more_tells_nothing_of_the_set(void **state)
{
    struct trust *trust = founded();
    struct node_key joiner = token_made(trust, HOUR, 1), other = token_made(trust, 2 * HOUR, 2);
    struct enrolment beta = record_of(5, KEY_NODE, "beta"), gamma = record_of(6, KEY_NODE, "gamma"),
                     self = *trust_find(trust, &trust_identity(trust)->public_key);

    (void)state;
    assert_int_equal(trust_token_use(trust, &joiner, &beta, NOW, error), 0);
    assert_int_equal(trust_token_use(trust, &other, &gamma, NOW, error), 0);
    refused(trust, &joiner, &self, NOW, "used before");
    refused(trust, &joiner, &gamma, NOW, "used before");
    strcpy(gamma.name, "delta");
    refused(trust, &joiner, &gamma, NOW, "used before");
    assert_int_equal(trust_revoke(trust, &gamma.key, NOW, error), 0);
    refused(trust, &joiner, &gamma, NOW, "used before");
    refused(trust, &other, &gamma, NOW, "revoked");
    /* The one that it let in may not have heard of it. */
    trust_close(trust);
    trust = opened();
    assert_int_equal(trust_token_use(trust, &joiner, &beta, NOW, error), 0);
    assert_int_equal(trust_token_use(trust, &other, &beta, NOW, error), 0); /* this one is good */
    refused(trust, &joiner, &beta, NOW + HOUR, "expired");
    assert_int_equal(trust_revoke(trust, &beta.key, NOW, error), 0);
    refused(trust, &joiner, &beta, NOW, "revoked");
    trust_close(trust);
}

static void a_token_that_is_used_up_knows_the_last_hosts_that_it_let_in(void **state)
{
    const unsigned hosts = TOKEN_HOSTS + 3;
    struct trust *trust = founded();
    struct node_key joiner = token_made(trust, HOUR, hosts);
    struct enrolment record;
    char name[16];

    (void)state;
    for (unsigned i = 0; i < hosts; i++) {
        snprintf(name, sizeof(name), "host%u", i);
        record = record_of((uint8_t)(i + 5), KEY_NODE, name);
        assert_int_equal(trust_token_use(trust, &joiner, &record, NOW, error), 0);
        assert_int_equal(trust_token_use(trust, &joiner, &record, NOW, error), 0);
    }
    trust_close(trust);
    trust = opened();
    for (unsigned i = 0; i < hosts; i++) {
        snprintf(name, sizeof(name), "host%u", i);
        record = record_of((uint8_t)(i + 5), KEY_NODE, name);
        assert_int_equal(trust_token_use(trust, &joiner, &record, NOW, error),
                         i < hosts - TOKEN_HOSTS ? -1 : 0);
    }
    trust_close(trust);
}

static void a_token_dies_with_its_time_and_is_remembered_for_a_week(void **state)
{
    struct trust *trust = founded();
    struct node_key joiner = token_made(trust, HOUR, 1);
    struct enrolment beta = record_of(5, KEY_NODE, "beta");

    (void)state;
    assert_int_equal(trust_token_use(trust, &joiner, &beta, NOW + HOUR, error), -1);
    says("expired");
    assert_int_equal(trust_role(trust, &joiner, NOW + HOUR), ROLE_JOINER);
    assert_int_equal(trust_role(trust, &joiner, NOW + 8 * 24 * HOUR), ROLE_STRANGER);
    assert_int_equal(trust_token_use(trust, &joiner, &beta, NOW + HOUR - 1, error), 0);
    trust_close(trust);
}

static void a_token_that_is_taken_back_is_good_for_nothing(void **state)
{
    struct trust *trust = founded();
    struct node_key joiner = token_made(trust, HOUR, 5);
    struct enrolment beta = record_of(5, KEY_NODE, "beta");
    struct token_record tokens[TRUST_MAX_TOKENS];

    (void)state;
    assert_int_equal(trust_tokens(trust, NOW, tokens), 1);
    assert_int_equal(tokens[0].uses_left, 5);
    assert_int_equal(tokens[0].expires, NOW + HOUR);
    assert_int_equal(trust_token_revoke(trust, "zzzzzzzz", error), -1);
    says("no such token");
    assert_int_equal(trust_token_revoke(trust, tokens[0].id, error), 0);
    trust_close(trust);
    trust = opened();
    assert_int_equal(trust_tokens(trust, NOW, tokens), 0);
    assert_int_equal(trust_token_use(trust, &joiner, &beta, NOW, error), -1);
    says("taken back");
    trust_close(trust);
}

static void a_name_that_a_node_has_is_refused_and_the_token_stays_good(void **state)
{
    struct trust *trust = founded();
    struct node_key joiner = token_made(trust, HOUR, 1);
    struct enrolment twin = record_of(5, KEY_NODE, "ALPHA"), beta = record_of(5, KEY_NODE, "beta");

    (void)state;
    assert_int_equal(trust_token_use(trust, &joiner, &twin, NOW, error), -1);
    says("--name");
    assert_int_equal(trust_token_use(trust, &joiner, &beta, NOW, error), 0);
    trust_close(trust);
}

static void a_revoked_key_never_comes_back_and_its_name_is_free(void **state)
{
    struct trust *trust = founded();
    struct node_key joiner = token_made(trust, HOUR, 3);
    struct enrolment beta = record_of(5, KEY_NODE, "beta"), again = record_of(6, KEY_NODE, "beta");

    (void)state;
    assert_int_equal(trust_token_use(trust, &joiner, &beta, NOW, error), 0);
    assert_int_equal(trust_revoke(trust, &beta.key, NOW, error), 0);
    assert_int_equal(trust_token_use(trust, &joiner, &beta, NOW, error), -1);
    says("revoked, for ever");
    assert_int_equal(trust_token_use(trust, &joiner, &again, NOW, error), 0);
    trust_close(trust);
}

static void tokens_are_few_and_the_dead_make_room(void **state)
{
    struct trust *trust = founded();
    struct node_key first = token_made(trust, HOUR, 1);
    struct token_record tokens[TRUST_MAX_TOKENS];
    char text[TRUST_TOKEN_MAX];

    (void)state;
    for (int i = 1; i < TRUST_MAX_TOKENS; i++)
        token_made(trust, HOUR, 1);
    assert_int_equal(trust_token_create(trust, ADDRESS, HOUR, 1, NOW, text, error), -1);
    says("--revoke");
    assert_int_equal(trust_tokens(trust, NOW, tokens), TRUST_MAX_TOKENS);
    assert_int_equal(trust_token_revoke(trust, tokens[0].id, error), 0);
    token_made(trust, HOUR, 1);
    assert_int_equal(trust_role(trust, &first, NOW), ROLE_STRANGER);
    trust_close(trust);
}

static void a_token_without_end_or_number_or_address_is_not_made(void **state)
{
    struct trust *trust = founded();
    char text[TRUST_TOKEN_MAX];

    (void)state;
    assert_int_equal(trust_token_create(trust, ADDRESS, 0, 1, NOW, text, error), -1);
    assert_int_equal(trust_token_create(trust, ADDRESS, UINT64_MAX, 1, NOW, text, error), -1);
    assert_int_equal(trust_token_create(trust, ADDRESS, HOUR, 0, NOW, text, error), -1);
    assert_int_equal(trust_token_create(trust, ADDRESS, HOUR, UINT32_MAX, NOW, text, error), -1);
    assert_int_equal(trust_token_create(trust, "nowhere", HOUR, 1, NOW, text, error), -1);
    says("tcp://HOST:PORT");
    trust_close(trust);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        trust_test(a_token_enrols_as_often_as_it_says_and_no_more),
        trust_test(a_token_that_is_good_no_more_tells_nothing_of_the_set),
        trust_test(a_token_that_is_used_up_knows_the_last_hosts_that_it_let_in),
        trust_test(a_token_dies_with_its_time_and_is_remembered_for_a_week),
        trust_test(a_token_that_is_taken_back_is_good_for_nothing),
        trust_test(a_name_that_a_node_has_is_refused_and_the_token_stays_good),
        trust_test(a_revoked_key_never_comes_back_and_its_name_is_free),
        trust_test(tokens_are_few_and_the_dead_make_room),
        trust_test(a_token_without_end_or_number_or_address_is_not_made),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
