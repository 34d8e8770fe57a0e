/* The rules of membership one by one: what is believed, denied, suspected. */
#include "tests/unit/swim_fixture.h"

/* ---- what is believed ---- */

static void a_later_revision_is_news_and_of_equals_the_worse_state(void **state)
{
    struct swim *swim = swim_among(5);

    (void)state;
    tell_one(swim, 3, record_of(4, 1, 5, MEMBER_ALIVE));
    tell_one(swim, 3, record_of(4, 1, 4, MEMBER_LOST));
    assert_int_equal(state_of(swim, 4), MEMBER_ALIVE);
    tell_one(swim, 3, record_of(4, 1, 5, MEMBER_SUSPECT));
    assert_int_equal(state_of(swim, 4), MEMBER_SUSPECT);
    tell_one(swim, 3, record_of(4, 1, 5, MEMBER_ALIVE));
    assert_int_equal(state_of(swim, 4), MEMBER_SUSPECT);
    tell_one(swim, 3, record_of(4, 1, 6, MEMBER_ALIVE));
    assert_int_equal(state_of(swim, 4), MEMBER_ALIVE);
    swim_destroy(swim);
}

static void one_that_is_new_is_told_to_the_owner_and_to_others(void **state)
{
    struct swim *swim = swim_among(3);
    unsigned gossip = 0;

    (void)state;
    tell_one(swim, 3, record_of(40, 1, 1, MEMBER_ALIVE));
    assert_int_equal(wanted.changes, 1);
    assert_true(wanted.is_new && wanted.before == MEMBER_LEFT);
    assert_int_equal(swim_count(swim), 5);
    swim_tick(swim, ++now);
    actions_take(swim);
    for (size_t i = 0; i < wanted.count; i++)
        gossip += wanted.sent[i].kind == SWIM_GOSSIP && wanted.first[i].key.bytes[0] == 40 &&
                  wanted.first[i].has_facts;
    /* One of them may have gone to itself, who knows. */
    assert_true(gossip + 1 >= swim_default_settings.gossip_fanout);
    swim_destroy(swim);
}

static void another_life_is_said_to_be_one(void **state)
{
    struct swim *swim = swim_among(3);

    (void)state;
    tell_one(swim, 3, record_of(4, 2, 1, MEMBER_ALIVE));
    assert_int_equal(wanted.changes, 1);
    assert_true(wanted.restarted && !wanted.is_new);
    tell_one(swim, 3, record_of(4, 2, 2, MEMBER_ALIVE));
    assert_int_equal(wanted.changes, 0);
    swim_destroy(swim);
}

static void facts_that_come_late_are_taken_though_their_revision_is_old(void **state)
{
    struct swim *swim = swim_among(3);
    struct member_record record = record_of(4, 1, 7, MEMBER_ALIVE);
    struct node_key key = key_of(4);

    (void)state;
    record.has_facts = false;
    record.facts_revision = 5;
    tell_one(swim, 3, record);
    record = record_of(4, 1, 5, MEMBER_ALIVE);
    record.facts_revision = 5;
    strcpy(record.facts.control, "tcp://10.9.9.9:1");
    tell_one(swim, 3, record);
    assert_string_equal(swim_find(swim, &key)->facts.control, "tcp://10.9.9.9:1");
    assert_int_equal(swim_find(swim, &key)->revision, 7);
    assert_int_equal(wanted.changes, 1);
    swim_destroy(swim);
}

/* ---- what is denied ---- */

static void who_is_accused_denies_it_and_doubts_himself(void **state)
{
    struct swim *swim = swim_among(3);
    struct member_record accusation = record_of(1, 1, 1, MEMBER_SUSPECT);

    (void)state;
    accusation.has_facts = false;
    tell(swim, 2, SWIM_PROBE, &accusation, 1);
    assert_int_equal(self_of(swim).revision, 2);
    assert_int_equal(self_of(swim).state, MEMBER_ALIVE);
    assert_int_equal(swim_health(swim), 1);
    assert_int_equal(wanted.sent[0].kind, SWIM_PROBE_ANSWER);
    assert_int_equal(wanted.sent[0].number, 7);
    assert_int_equal(wanted.first[0].key.bytes[0], 1);
    assert_int_equal(wanted.first[0].revision, 2);
    tell(swim, 3, SWIM_PROBE, &accusation, 1);
    assert_int_equal(self_of(swim).revision, 2);
    assert_int_equal(wanted.first[0].revision, 2);
    swim_destroy(swim);
}

static void nothing_that_others_say_changes_our_facts(void **state)
{
    struct swim *swim = swim_among(3);
    struct member_record lie = record_of(1, 1, 50, MEMBER_LEFT);

    (void)state;
    lie.facts_revision = 50;
    strcpy(lie.facts.control, "tcp://6.6.6.6:6");
    tell_one(swim, 2, lie);
    assert_string_equal(self_of(swim).facts.control, "tcp://10.0.0.1:7227");
    assert_int_equal(self_of(swim).revision, 51);
    assert_int_equal(self_of(swim).state, MEMBER_ALIVE);
    swim_destroy(swim);
}

static void a_life_that_is_ahead_of_ours_is_overtaken(void **state)
{
    struct swim *swim = swim_among(3);

    (void)state;
    tell_one(swim, 2, record_of(1, 9, 3, MEMBER_LOST));
    assert_int_equal(self_of(swim).incarnation, 10);
    swim_destroy(swim);
}

/* ---- suspicion ---- */

/* How long from SUSPECT to LOST with accusers 50, 51 ... */
static int64_t time_to_lose(unsigned accusers)
{
    struct swim *swim = swim_among(9);
    int64_t start;

    for (unsigned i = 0; i < accusers; i++) {
        struct member_record record = record_of(4, 1, 1, MEMBER_SUSPECT);

        record.by = key_of(50 + i);
        tell_one(swim, 3, record);
    }
    start = now;
    while (state_of(swim, 4) == MEMBER_SUSPECT) {
        pass(swim, 10);
        assert_true(now - start < 60000);
    }
    assert_int_equal(state_of(swim, 4), MEMBER_LOST);
    swim_destroy(swim);
    return now - start;
}

static void a_member_that_does_not_answer_is_suspected_then_lost(void **state)
{
    struct swim *swim = swim_among(1);

    (void)state;
    while (state_of(swim, 2) == MEMBER_ALIVE)
        pass(swim, 10);
    assert_int_equal(state_of(swim, 2), MEMBER_SUSPECT);
    pass(swim, 6000);
    assert_int_equal(state_of(swim, 2), MEMBER_LOST);
    swim_destroy(swim);
}

static void each_accuser_shortens_the_time_to_deny(void **state)
{
    int64_t one = time_to_lose(1), two = time_to_lose(2), four = time_to_lose(4);

    (void)state;
    assert_true(one > two && two > four);
    assert_true(four >= swim_default_settings.suspicion_min * swim_default_settings.probe_ms);
}

static void the_same_accuser_counts_once(void **state)
{
    struct swim *swim = swim_among(9);
    struct member_record record = record_of(4, 1, 1, MEMBER_SUSPECT);

    (void)state;
    tell_one(swim, 3, record);
    for (unsigned i = 0; i < 20; i++)
        tell_one(swim, 5 + i % 3, record);
    pass(swim, 1600);
    assert_int_equal(state_of(swim, 4), MEMBER_SUSPECT);
    swim_destroy(swim);
}

static void the_accused_hears_of_it_first_in_every_message(void **state)
{
    struct swim *swim = swim_among(2);
    struct node_key key = key_of(2);
    unsigned heard = 0;

    (void)state;
    tell_one(swim, 3, record_of(2, 1, 1, MEMBER_SUSPECT));
    for (unsigned i = 0; i < 100; i++) {
        now += 10;
        swim_tick(swim, now);
        actions_take(swim);
        for (size_t j = 0; j < wanted.count; j++) {
            if (memcmp(&wanted.to[j], &key, sizeof(key)) != 0 || wanted.sent[j].kind != SWIM_PROBE)
                continue;
            assert_int_equal(wanted.first[j].key.bytes[0], 2);
            assert_int_equal(wanted.first[j].state, MEMBER_SUSPECT);
            heard++;
        }
    }
    assert_true(heard > 0);
    swim_destroy(swim);
}

static void a_verdict_of_others_gives_time_to_deny(void **state)
{
    struct swim *swim = swim_among(9);

    (void)state;
    tell_one(swim, 3, record_of(4, 1, 1, MEMBER_LOST));
    assert_int_equal(state_of(swim, 4), MEMBER_SUSPECT);
    tell_one(swim, 5, record_of(4, 1, 2, MEMBER_ALIVE));
    assert_int_equal(state_of(swim, 4), MEMBER_ALIVE);
    swim_destroy(swim);
}

static void a_verdict_after_a_suspicion_is_taken_when_there_was_time(void **state)
{
    struct swim *swim = swim_among(9);

    (void)state;
    tell_one(swim, 3, record_of(4, 1, 1, MEMBER_SUSPECT));
    tell_one(swim, 3, record_of(4, 1, 1, MEMBER_LOST));
    assert_int_equal(state_of(swim, 4), MEMBER_SUSPECT);
    pass(swim, 820);
    assert_int_equal(state_of(swim, 4), MEMBER_LOST);
    swim_destroy(swim);
}

static void what_an_exchange_says_of_the_lost_is_an_opinion(void **state)
{
    struct swim *swim = swim_among(9);
    struct member_record record = record_of(4, 1, 1, MEMBER_LOST);

    (void)state;
    tell(swim, 3, SWIM_EXCHANGE, &record, 1);
    assert_int_equal(state_of(swim, 4), MEMBER_ALIVE);
    swim_destroy(swim);
}

static void who_was_stopped_holds_it_against_nobody(void **state)
{
    struct swim *swim = swim_among(4);

    (void)state;
    swim_tick(swim, now);
    actions_take(swim);
    pass(swim, 100);
    now += 3600000;
    swim_tick(swim, now);
    actions_take(swim);
    for (unsigned i = 2; i < 6; i++)
        assert_int_equal(state_of(swim, i), MEMBER_ALIVE);
    assert_int_equal(swim_health(swim), 1);
    swim_destroy(swim);
}

static void a_hint_makes_a_probe_at_once(void **state)
{
    struct swim *swim = swim_among(4);
    struct node_key key = key_of(3);

    (void)state;
    swim_hint(swim, &key, now);
    actions_take(swim);
    assert_int_equal(wanted.count, 1);
    assert_int_equal(wanted.sent[0].kind, SWIM_PROBE);
    assert_memory_equal(&wanted.to[0], &key, sizeof(key));
    swim_hint(swim, &key, now);
    actions_take(swim);
    assert_int_equal(wanted.count, 0);
    swim_destroy(swim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(a_later_revision_is_news_and_of_equals_the_worse_state),
        watched_test(one_that_is_new_is_told_to_the_owner_and_to_others),
        watched_test(another_life_is_said_to_be_one),
        watched_test(facts_that_come_late_are_taken_though_their_revision_is_old),
        watched_test(who_is_accused_denies_it_and_doubts_himself),
        watched_test(nothing_that_others_say_changes_our_facts),
        watched_test(a_life_that_is_ahead_of_ours_is_overtaken),
        watched_test(a_member_that_does_not_answer_is_suspected_then_lost),
        watched_test(each_accuser_shortens_the_time_to_deny),
        watched_test(the_same_accuser_counts_once),
        watched_test(the_accused_hears_of_it_first_in_every_message),
        watched_test(a_verdict_of_others_gives_time_to_deny),
        watched_test(a_verdict_after_a_suspicion_is_taken_when_there_was_time),
        watched_test(what_an_exchange_says_of_the_lost_is_an_opinion),
        watched_test(who_was_stopped_holds_it_against_nobody),
        watched_test(a_hint_makes_a_probe_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
