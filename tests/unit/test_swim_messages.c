/* The rules of membership one by one: help, exchanges, facts, ends, hostile records, sizes. */
#include "tests/unit/swim_fixture.h"

#include "proto/cluster.pb-c.h"

/* ---- helping ---- */

static void who_cannot_help_says_so_at_once(void **state)
{
    struct swim *swim = swim_among(4);
    struct swim_message message = {
        .kind = SWIM_PROBE_FOR, .incarnation = 1, .number = 12, .about = key_of(77)};
    struct node_key from = key_of(2);

    (void)state;
    swim_receive(swim, &from, &message, now);
    actions_take(swim);
    assert_int_equal(wanted.sent[0].kind, SWIM_PROBE_ANSWER);
    assert_true(wanted.sent[0].failed && wanted.sent[0].number == 12);
    swim_destroy(swim);
}

static void a_helper_passes_the_answer_on(void **state)
{
    struct swim *swim = swim_among(4);
    struct swim_message message = {
        .kind = SWIM_PROBE_FOR, .incarnation = 1, .number = 12, .about = key_of(3)};
    struct node_key from = key_of(2), about = key_of(3);

    (void)state;
    swim_receive(swim, &from, &message, now);
    actions_take(swim);
    assert_int_equal(wanted.sent[0].kind, SWIM_PROBE);
    message = (struct swim_message){
        .kind = SWIM_PROBE_ANSWER, .incarnation = 1, .number = wanted.sent[0].number};
    swim_receive(swim, &about, &message, now);
    actions_take(swim);
    assert_int_equal(wanted.sent[0].kind, SWIM_PROBE_ANSWER);
    assert_true(!wanted.sent[0].failed && wanted.sent[0].number == 12);
    assert_memory_equal(&wanted.to[0], &from, sizeof(from));
    swim_destroy(swim);
}

/* ---- exchanges ---- */

static void an_exchange_comes_in_pages_and_has_everybody(void **state)
{
    struct swim *swim = swim_among(100);
    struct swim_message message = {.kind = SWIM_EXCHANGE, .incarnation = 1, .answer = true};
    struct node_key from = key_of(2);
    size_t records = 0;

    (void)state;
    message.more = true;
    swim_receive(swim, &from, &message, now);
    actions_take(swim);
    assert_int_equal(wanted.count, 0);
    message.more = false;
    swim_receive(swim, &from, &message, now);
    actions_take(swim);
    assert_int_equal(wanted.count, 2);
    for (size_t i = 0; i < wanted.count; i++) {
        assert_false(wanted.sent[i].answer);
        assert_int_equal(wanted.sent[i].more, i + 1 < wanted.count);
        records += wanted.sent[i].count;
    }
    assert_int_equal(records, 101);
    /* Everything is dear: the same one gets it again after a while. */
    swim_receive(swim, &from, &message, now);
    actions_take(swim);
    assert_int_equal(wanted.count, 0);
    swim_destroy(swim);
}

static void the_lost_are_tried_for_ever(void **state)
{
    struct swim *swim = swim_among(1);
    unsigned tries = 0;

    (void)state;
    pass(swim, 20000);
    assert_int_equal(state_of(swim, 2), MEMBER_LOST);
    for (unsigned i = 0; i < 1000; i++) {
        now += 100;
        swim_tick(swim, now);
        actions_take(swim);
        tries += wanted.count > 0;
    }
    assert_true(tries >= 45 && tries <= 55);
    tell_one(swim, 2, record_of(2, 1, 2, MEMBER_ALIVE));
    assert_int_equal(state_of(swim, 2), MEMBER_ALIVE);
    swim_destroy(swim);
}

static void who_was_introduced_is_asked_for_everything(void **state)
{
    struct swim *swim = swim_among(0);
    struct member_record seed = record_of(9, 0, 0, MEMBER_ALIVE);

    (void)state;
    swim_introduce(swim, &seed, now);
    actions_take(swim);
    assert_int_equal(state_of(swim, 9), MEMBER_LOST);
    assert_int_equal(wanted.sent[0].kind, SWIM_EXCHANGE);
    assert_true(wanted.sent[0].answer);
    assert_int_equal(wanted.sent[0].count, 1);
    swim_destroy(swim);
}

/* ---- facts ---- */

static void load_waits_for_its_period_and_an_address_does_not(void **state)
{
    struct swim *swim = swim_among(3);
    struct member_facts facts = self_of(swim).facts;

    (void)state;
    facts.load = 250;
    swim_set_facts(swim, &facts, now);
    actions_take(swim);
    assert_int_equal(self_of(swim).facts.load, 0);
    pass(swim, swim_default_settings.load_ms + 100);
    assert_int_equal(self_of(swim).facts.load, 250);
    strcpy(facts.control, "tcp://10.0.7.7:7227");
    swim_set_facts(swim, &facts, now);
    assert_string_equal(self_of(swim).facts.control, "tcp://10.0.7.7:7227");
    assert_int_equal(self_of(swim).facts_revision, self_of(swim).revision);
    swim_destroy(swim);
}

/* ---- the end ---- */

static void who_leaves_tells_it_and_is_silent(void **state)
{
    struct swim *swim = swim_among(4);

    (void)state;
    swim_leave(swim, now);
    actions_take(swim);
    assert_int_equal(wanted.count, 4);
    for (size_t i = 0; i < wanted.count; i++)
        assert_int_equal(wanted.first[i].state, MEMBER_LEFT);
    tell(swim, 2, SWIM_PROBE, NULL, 0);
    assert_int_equal(wanted.count, 0);
    swim_destroy(swim);
}

static void who_left_is_forgotten_after_a_while(void **state)
{
    struct swim *swim = swim_among(4);

    (void)state;
    tell_one(swim, 3, record_of(4, 1, 2, MEMBER_LEFT));
    assert_int_equal(swim_count(swim), 4);
    assert_int_equal(state_of(swim, 4), MEMBER_LEFT);
    now += swim_default_settings.forget_ms + 1;
    swim_tick(swim, now);
    actions_take(swim);
    assert_false(is_known(swim, 4));
    swim_destroy(swim);
}

static void who_is_expelled_does_not_come_back(void **state)
{
    struct swim *swim = swim_among(4);
    struct node_key key = key_of(4), stranger = key_of(44);

    (void)state;
    swim_expel(swim, &key, now);
    swim_expel(swim, &stranger, now);
    actions_take(swim);
    assert_int_equal(wanted.changes, 1);
    assert_int_equal(wanted.changed.state, MEMBER_LEFT);
    assert_int_equal(wanted.before, MEMBER_ALIVE);
    tell_one(swim, 3, record_of(4, 5, 1, MEMBER_ALIVE));
    tell_one(swim, 44, record_of(44, 5, 1, MEMBER_ALIVE));
    assert_false(is_known(swim, 4) || is_known(swim, 44));
    tell(swim, 4, SWIM_PROBE, NULL, 0);
    assert_int_equal(wanted.count, 0);
    swim_destroy(swim);
}

/* ---- hostile records ---- */

static void records_that_are_none_change_nothing(void **state)
{
    struct swim *swim = swim_among(4);
    struct member_record bad[9];

    (void)state;
    for (unsigned i = 0; i < 9; i++)
        bad[i] = record_of(60 + i, 1, 1, MEMBER_ALIVE);
    bad[0].state = (enum member_state)17;
    bad[1].incarnation = 0;
    bad[2].revision = UINT64_MAX;
    bad[3].facts.name[0] = '\0';
    memset(bad[4].facts.name, 'x', sizeof(bad[4].facts.name));
    strcpy(bad[5].facts.control, "ipc:///etc/passwd");
    strcpy(bad[6].facts.name, "a\nb");
    bad[7].facts_revision = 9;
    bad[8].facts.min_version = 4;
    tell(swim, 2, SWIM_GOSSIP, bad, 9);
    assert_int_equal(swim_count(swim), 5);
    assert_int_equal(wanted.changes, 0);
    tell(swim, 2, (enum swim_message_kind)99, bad, 9);
    assert_int_equal(wanted.changes, 0);
    swim_destroy(swim);
}

static void numbers_cannot_be_lifted_out_of_reach(void **state)
{
    struct swim *swim = swim_among(4);
    struct node_key key = key_of(3);

    (void)state;
    tell_one(swim, 2, record_of(3, (uint64_t)1 << 50, 1, MEMBER_LOST));
    tell_one(swim, 2, record_of(3, 1, (uint64_t)1 << 50, MEMBER_LOST));
    assert_int_equal(swim_find(swim, &key)->incarnation, 1);
    assert_int_equal(state_of(swim, 3), MEMBER_ALIVE);
    tell_one(swim, 2, record_of(1, 1, (uint64_t)1 << 60, MEMBER_LOST));
    assert_int_equal(self_of(swim).revision, 1);
    swim_destroy(swim);
}

static void there_is_room_for_so_many_members(void **state)
{
    struct swim *swim = swim_among(2);
    unsigned node = 0;

    (void)state;
    for (unsigned i = 0; i < SWIM_MAX_MEMBERS + 100; i++) {
        struct member_record record = record_of(4, 1, 1, MEMBER_ALIVE);

        memcpy(record.key.bytes + 8, &node, sizeof(node));
        node++;
        tell_one(swim, 2, record);
    }
    assert_int_equal(swim_count(swim), SWIM_MAX_MEMBERS);
    swim_destroy(swim);
}

/* ---- sizes ---- */

static void the_estimate_is_what_is_packed(void **state)
{
    struct member_record record = record_of(3, 1000, 300, MEMBER_SUSPECT);
    C4p__Peer peer = C4P__PEER__INIT;
    C4p__ProbeFor probe = C4P__PROBE_FOR__INIT;
    C4p__Member member = C4P__MEMBER__INIT, *members[] = {&member};
    C4p__Facts facts = C4P__FACTS__INIT;
    struct swim_message message = {.kind = SWIM_PROBE_FOR,
                                   .incarnation = 1000,
                                   .number = 70000,
                                   .about = key_of(3),
                                   .records = &record,
                                   .count = 1};

    (void)state;
    record.facts.load = 129;
    member.key = member.by = probe.key = (ProtobufCBinaryData){32, record.key.bytes};
    member.incarnation = 1000, member.revision = 300, member.facts_revision = 1;
    member.state = C4P__MEMBER_STATE__SUSPECT;
    member.facts = &facts;
    facts.name = record.facts.name, facts.control = record.facts.control, facts.load = 129;
    probe.number = 70000;
    probe.n_rumours = 1, probe.rumours = members;
    peer.version = CLUSTER_VERSION, peer.incarnation = 1000;
    peer.body_case = C4P__PEER__BODY_PROBE_FOR, peer.probe_for = &probe;
    assert_int_equal(swim_message_bytes(&message), c4p__peer__get_packed_size(&peer));
}

static void messages_keep_to_their_size(void **state)
{
    struct swim *swim = swim_among(120);
    struct swim_action action;
    unsigned seen = 0;

    (void)state;
    for (unsigned i = 0; i < 110; i++)
        tell_one(swim, 2, record_of(i + 2, 1, 9, MEMBER_SUSPECT));
    for (unsigned i = 0; i < 100; i++) {
        now += 20;
        swim_tick(swim, now);
        while (swim_next(swim, &action))
            if (action.kind == SWIM_SEND && action.message.kind != SWIM_EXCHANGE) {
                seen++;
                assert_true(swim_message_bytes(&action.message) <=
                            swim_default_settings.rumour_bytes);
            }
    }
    assert_true(seen > 0);
    swim_destroy(swim);
}

static void who_has_no_rumours_sends_no_gossip(void **state)
{
    struct swim *swim = swim_among(30);

    (void)state;
    for (unsigned i = 0; i < 500; i++) {
        const struct swim_message *message = wanted.sent;

        now += 10;
        swim_tick(swim, now);
        actions_take(swim);
        for (size_t j = 0; j < wanted.count; j++)
            assert_true(message[j].kind != SWIM_GOSSIP || message[j].count > 0);
    }
    swim_destroy(swim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(who_cannot_help_says_so_at_once),
        watched_test(a_helper_passes_the_answer_on),
        watched_test(an_exchange_comes_in_pages_and_has_everybody),
        watched_test(the_lost_are_tried_for_ever),
        watched_test(who_was_introduced_is_asked_for_everything),
        watched_test(load_waits_for_its_period_and_an_address_does_not),
        watched_test(who_leaves_tells_it_and_is_silent),
        watched_test(who_left_is_forgotten_after_a_while),
        watched_test(who_is_expelled_does_not_come_back),
        watched_test(records_that_are_none_change_nothing),
        watched_test(numbers_cannot_be_lifted_out_of_reach),
        watched_test(there_is_room_for_so_many_members),
        watched_test(the_estimate_is_what_is_packed),
        watched_test(messages_keep_to_their_size),
        watched_test(who_has_no_rumours_sends_no_gossip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
