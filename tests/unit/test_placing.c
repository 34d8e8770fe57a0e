#include "tests/unit/placing_fixture.h"

static struct town town;

static C4p__Python python(void)
{
    C4p__Python need = C4P__PYTHON__INIT;

    need.version = (char *)(uintptr_t) "3.11";
    need.package = (char *)(uintptr_t) "0.1";
    return need;
}

static void assert_room(size_t home, uint64_t job, uint32_t pes, enum queue_room expected,
                        const char *sentence)
{
    char reason[QUEUE_REASON_SIZE];

    assert_int_equal(placing_room(town.residents[home].placing, job, pes, reason), expected);
    assert_string_equal(reason, sentence);
}

/* ---- at home ---- */

static void alone_a_job_is_placed_at_once_and_without_a_message(void **state)
{
    struct resident *alpha = &town.residents[0];

    (void)state;
    town_build(&town, 1, (uint32_t[]){4}, true);
    placing_join(alpha->placing, NULL);
    assert_room(0, 1, 5, QUEUE_TOO_LARGE, "waits for 5 PEs: this node has only 4");
    town_try(&town, 0, 1, 3);
    assert_int_equal(alpha->placed, 1);
    assert_int_equal(alpha->count, 1);
    assert_int_equal(alpha->parts[0].pes, 3);
    assert_used(&town, 0, 3, 0);
    assert_room(0, 2, 2, QUEUE_FULL, "waits for 2 PEs: 1 of 4 is free");
    town_try(&town, 0, 2, 0);
    assert_int_equal(alpha->placed, 2);
    assert_int_equal(alpha->parts[0].pes, 1);
    town_try(&town, 0, 3, 1);
    assert_int_equal(alpha->refused, 1);
    placing_end(alpha->placing, 1);
    placing_end(alpha->placing, 1);
    assert_used(&town, 0, 1, 0);
    placing_end(alpha->placing, 2);
    placing_end(alpha->placing, 3);
    assert_used(&town, 0, 0, 0);
    assert_int_equal(town.letter_count, 0);
    assert_int_equal(alpha->wake, -1); /* nothing is left to wait for */
    assert_int_equal(alpha->needs, 0);
    town_raze(&town);
}

static void a_node_without_a_limit_has_room_for_everything(void **state)
{
    struct placing_figures figures;

    (void)state;
    town_build(&town, 1, (uint32_t[]){0}, false);
    placing_join(town.residents[0].placing, NULL);
    town_try(&town, 0, 1, 100000);
    town_try(&town, 0, 2, 100000);
    assert_int_equal(town.residents[0].placed, 2);
    figures = placing_figures(town.residents[0].placing);
    assert_int_equal(figures.slots, 0);
    assert_int_equal(figures.used, 200000);
    placing_resize(town.residents[0].placing, 4);
    assert_room(0, 3, 1, QUEUE_FULL, "waits for 1 PE: none of 4 is free");
    town_raze(&town);
}

static void a_job_gets_its_pes_from_several_nodes(void **state)
{
    struct resident *alpha = &town.residents[0];

    (void)state;
    town_build(&town, 3, (uint32_t[]){2, 4, 2}, false);
    assert_room(0, 1, 9, QUEUE_TOO_LARGE,
                "wants 9 PEs: the cluster has 8 on 3 nodes (it starts when a host joins)");
    town_try(&town, 0, 1, 8);
    assert_int_equal(alpha->placed, 0);
    letters_carry(&town);
    assert_int_equal(alpha->placed, 1);
    assert_int_equal(alpha->count, 3);
    assert_int_equal(alpha->parts[0].pes, 2);
    assert_memory_equal(&alpha->parts[0].node, &alpha->record.key, sizeof(struct node_key));
    assert_used(&town, 0, 2, 0);
    assert_used(&town, 1, 4, 4);
    assert_used(&town, 2, 2, 2);
    town_pass(&town, 0);
    for (size_t i = 1; i < 3; i++)
        assert_true(placing_hold(town.residents[i].placing, &alpha->record.key, 1, alpha->attempt));
    placing_settle(alpha->placing, 1);
    town_pass(&town, 10 * RESERVE_LEASE_MS);
    assert_int_equal(town.letter_count, 0); /* nothing is renewed any more */
    assert_used(&town, 1, 4, 4);
    placing_end(alpha->placing, 1);
    for (size_t i = 1; i < 3; i++) {
        placing_free(town.residents[i].placing, &alpha->record.key, 1);
        assert_used(&town, i, 0, 0);
    }
    assert_used(&town, 0, 0, 0);
    town_raze(&town);
}

static void leases_live_for_as_long_as_a_job_is_prepared(void **state)
{
    (void)state;
    town_build(&town, 2, (uint32_t[]){2, 4}, false);
    town_try(&town, 0, 1, 6);
    letters_carry(&town);
    for (int i = 0; i < 60; i++) {
        town_pass(&town, 1000);
        letters_carry(&town);
    }
    assert_used(&town, 1, 4, 4);
    assert_int_equal(town.residents[0].placed, 1);
    placing_back(town.residents[0].placing, 1); /* it could not be prepared */
    assert_used(&town, 0, 0, 0);
    letters_carry(&town);
    assert_used(&town, 1, 0, 0);
    town_raze(&town);
}

static void a_home_that_vanishes_holds_nothing_for_long(void **state)
{
    (void)state;
    town_build(&town, 2, (uint32_t[]){2, 4}, false);
    town_try(&town, 0, 1, 6);
    letters_carry(&town);
    assert_used(&town, 1, 4, 4);
    town.residents[0].wake = -1; /* it is dead */
    town_pass(&town, RESERVE_LEASE_MS);
    assert_used(&town, 1, 0, 0);
    assert_false(placing_hold(town.residents[1].placing, &town.residents[0].record.key, 1,
                              town.residents[0].attempt));
    town_raze(&town);
}

static void a_lost_home_loses_its_leases_at_once_and_what_runs_is_for_others_to_end(void **state)
{
    const struct node_key *home = &town.residents[0].record.key;

    (void)state;
    town_build(&town, 2, (uint32_t[]){1, 4}, false);
    town_try(&town, 0, 1, 3);
    letters_carry(&town);
    town.records[1] = &town.residents[1].record;
    assert_true(placing_hold(town.residents[1].placing, home, 1, town.residents[0].attempt));
    town.residents[1].record.facts.pes_free = 2;
    town_try(&town, 0, 2, 2);
    letters_carry(&town);
    assert_used(&town, 1, 4, 4);
    placing_down(town.residents[1].placing, home, "it is lost");
    assert_used(&town, 1, 2, 2);
    placing_free(town.residents[1].placing, home, 1);
    assert_used(&town, 1, 0, 0);
    town_raze(&town);
}

static void one_refusal_gives_everything_back_and_the_job_is_tried_again_later(void **state)
{
    struct resident *alpha = &town.residents[0];

    (void)state;
    town_build(&town, 3, (uint32_t[]){2, 4, 4}, false);
    town_try(&town, 2, 77, 3); /* alpha has not heard of it yet */
    town_try(&town, 0, 1, 10);
    letters_carry(&town);
    assert_int_equal(alpha->refused, 1);
    assert_string_equal(alpha->reason, "host gamma: 1 of its 4 PEs is free");
    assert_true(alpha->again > town.now);
    for (size_t i = 0; i < 2; i++)
        assert_used(&town, i, 0, 0);
    assert_room(0, 1, 10, QUEUE_FULL, "waits for 10 PEs: 7 of 10 are free on 3 nodes");
    town_pass(&town, 5000); /* what gossip says is believed again */
    assert_room(0, 1, 10, QUEUE_ROOM, "is about to start");
    assert_true(alpha->changes > 0);
    town_raze(&town);
}

static void gossip_is_believed_before_what_was_said_in_a_refusal(void **state)
{
    struct resident *alpha = &town.residents[0];

    (void)state;
    town_build(&town, 2, (uint32_t[]){2, 4}, false);
    town_try(&town, 1, 77, 3);
    town_try(&town, 0, 1, 6);
    letters_carry(&town);
    assert_room(0, 1, 6, QUEUE_FULL, "waits for 6 PEs: 3 of 6 are free on 2 nodes");
    placing_up(alpha->placing, &town.residents[1].record);
    assert_room(0, 1, 6, QUEUE_ROOM, "is about to start");
    town_raze(&town);
}

static void what_is_given_back_is_known_at_once(void **state)
{
    struct resident *alpha = &town.residents[0];
    struct resident *beta = &town.residents[1];

    (void)state;
    town_build(&town, 2, (uint32_t[]){2, 4}, false);
    town_try(&town, 0, 1, 6);
    letters_carry(&town);
    assert_int_equal(alpha->placed, 1);
    assert_true(placing_hold(beta->placing, &alpha->record.key, 1, alpha->attempt));
    placing_settle(alpha->placing, 1);
    beta->record.facts.pes_free = 0; /* gossip of that comes when it is over */
    placing_free(beta->placing, &alpha->record.key, 1);
    letters_carry(&town);
    placing_end(alpha->placing, 1);
    placing_up(alpha->placing, &beta->record);
    assert_room(0, 2, 6, QUEUE_ROOM, "is about to start");
    town_pass(&town, 5000);
    assert_room(0, 2, 6, QUEUE_FULL, "waits for 6 PEs: 2 of 6 are free on 2 nodes");
    town_raze(&town);
}

static void a_node_that_could_not_get_ready_is_asked_again_after_a_while(void **state)
{
    struct resident *alpha = &town.residents[0];

    (void)state;
    town_build(&town, 2, (uint32_t[]){2, 4}, false);
    town_try(&town, 0, 1, 6);
    letters_carry(&town);
    placing_unfit(alpha->placing, 1, &town.residents[1].record.key, "host beta: its disk is full");
    placing_back(alpha->placing, 1);
    letters_carry(&town);
    assert_room(0, 1, 6, QUEUE_TOO_LARGE,
                "wants 6 PEs: the nodes that can run it have 2 (1 cannot: host beta: its disk is "
                "full)");
    town_pass(&town, 10000);
    assert_room(0, 1, 6, QUEUE_ROOM, "is about to start");
    town_raze(&town);
}

static void a_lost_question_is_asked_again_and_a_doubled_one_does_no_harm(void **state)
{
    struct resident *alpha = &town.residents[0];

    (void)state;
    town_build(&town, 2, (uint32_t[]){2, 4}, false);
    town_try(&town, 0, 1, 6);
    letter_lose(&town);
    town_pass(&town, RESERVATION_RESEND_MS);
    letter_carry(&town, 3);
    assert_used(&town, 1, 4, 4);
    letter_lose(&town); /* the first answer */
    letter_carry(&town, 2);
    assert_int_equal(alpha->placed, 1);
    letters_carry(&town);
    assert_int_equal(alpha->placed, 1);
    assert_used(&town, 1, 4, 4);
    town_raze(&town);
}

static void who_does_not_answer_is_given_up_and_not_asked_for_a_while(void **state)
{
    struct resident *alpha = &town.residents[0];

    (void)state;
    town_build(&town, 2, (uint32_t[]){2, 4}, false);
    town_try(&town, 0, 1, 6);
    town_pass(&town, RESERVATION_PATIENCE_MS);
    assert_int_equal(alpha->refused, 1);
    assert_string_equal(alpha->reason, "host beta does not answer");
    assert_used(&town, 0, 0, 0);
    assert_room(0, 1, 6, QUEUE_FULL, "waits for 6 PEs: 2 of 6 are free on 2 nodes");
    letters_carry(&town); /* all of it comes after all: promises that nobody wants */
    assert_used(&town, 1, 0, 0);
    assert_int_equal(alpha->placed, 0);
    town_raze(&town);
}

static void a_promise_of_an_earlier_attempt_is_given_back(void **state)
{
    struct resident *alpha = &town.residents[0];
    struct letter answer;

    (void)state;
    town_build(&town, 2, (uint32_t[]){2, 4}, false);
    town_try(&town, 0, 1, 6);
    letter_carry(&town, 1);
    answer = letter_take(&town); /* it takes long */
    placing_end(alpha->placing, 1);
    letter_lose(&town); /* Release */
    assert_used(&town, 1, 4, 4);
    town.letters[town.letter_count++] = answer;
    letters_carry(&town);
    assert_used(&town, 1, 0, 0);
    assert_int_equal(alpha->placed, 0);
    town_raze(&town);
}

static void a_node_that_is_lost_during_a_reservation_ends_it(void **state)
{
    struct resident *alpha = &town.residents[0];

    (void)state;
    town_build(&town, 2, (uint32_t[]){2, 4}, false);
    town_try(&town, 0, 1, 6);
    town.residents[1].record.state = MEMBER_LOST;
    placing_down(alpha->placing, &town.residents[1].record.key, "it is lost");
    assert_int_equal(alpha->refused, 1);
    assert_room(0, 1, 6, QUEUE_TOO_LARGE,
                "wants 6 PEs: the cluster has 2 on 1 node (it starts when a host joins)");
    town_raze(&town);
}

static void a_job_that_is_cancelled_while_nodes_are_asked_leaves_nothing(void **state)
{
    (void)state;
    town_build(&town, 2, (uint32_t[]){2, 4}, false);
    town_try(&town, 0, 1, 6);
    letter_carry(&town, 1);
    placing_end(town.residents[0].placing, 1);
    letters_carry(&town);
    assert_used(&town, 0, 0, 0);
    assert_used(&town, 1, 0, 0);
    assert_int_equal(town.residents[0].placed + town.residents[0].refused, 0);
    town_raze(&town);
}

static void nodes_that_are_suspected_or_drain_or_say_nothing_are_not_asked(void **state)
{
    (void)state;
    town_build(&town, 4, (uint32_t[]){1, 4, 4, 4}, false);
    town.residents[1].record.state = MEMBER_SUSPECT;
    town.residents[2].record.facts.draining = true;
    town.residents[3].record.has_facts = false;
    assert_room(0, 1, 5, QUEUE_FULL, "waits for 5 PEs: 1 of 5 is free on 2 nodes");
    assert_room(0, 1, 6, QUEUE_TOO_LARGE,
                "wants 6 PEs: the cluster has 5 on 2 nodes (it starts when a host joins)");
    town_try(&town, 0, 1, 5);
    assert_int_equal(town.residents[0].refused, 1);
    assert_int_equal(town.letter_count, 0);
    town_raze(&town);
}

static void a_node_that_drains_promises_nothing_and_says_so(void **state)
{
    (void)state;
    town_build(&town, 2, (uint32_t[]){2, 4}, false);
    town_pass(&town, 100);
    placing_stop(town.residents[1].placing, true);
    town_try(&town, 0, 1, 6);
    letters_carry(&town);
    assert_string_equal(town.residents[0].reason, "host beta: it drains, and starts no more jobs");
    assert_room(0, 1, 3, QUEUE_FULL, "waits for 3 PEs: 2 of 6 are free on 2 nodes");
    town_pass(&town, 100);
    assert_true(town.residents[1].told_draining);
    town_raze(&town);
}

static void what_is_free_is_told_to_the_cluster_but_not_each_lease_in_vain(void **state)
{
    struct resident *alpha = &town.residents[0], *beta = &town.residents[1];

    (void)state;
    town_build(&town, 2, (uint32_t[]){2, 4}, false);
    town_pass(&town, 100);
    assert_int_equal(beta->told_free, 4);
    town_try(&town, 0, 1, 6);
    letters_carry(&town);
    placing_end(alpha->placing, 1);
    letters_carry(&town);
    beta->told_free = 99;
    town_pass(&town, 1000);
    assert_int_equal(beta->told_free, 99);
    town_try(&town, 0, 1, 5);
    placing_queued(alpha->placing, 3);
    letters_carry(&town);
    town_pass(&town, 100);
    assert_int_equal(beta->told_free, 1);
    assert_int_equal(alpha->told_free, 0);
    assert_int_equal(alpha->told_queued, 3);
    town_raze(&town);
}

static void a_node_that_leaves_the_cluster_gives_up_what_it_has_asked_for(void **state)
{
    (void)state;
    town_build(&town, 2, (uint32_t[]){2, 4}, false);
    town_try(&town, 0, 1, 6);
    placing_join(town.residents[0].placing, NULL);
    assert_int_equal(town.residents[0].refused, 1);
    assert_used(&town, 0, 0, 0);
    assert_room(0, 1, 6, QUEUE_TOO_LARGE, "waits for 6 PEs: this node has only 2");
    town_raze(&town);
}

static void attempts_of_the_next_start_are_newer(void **state)
{
    uint64_t attempt;

    (void)state;
    town_build(&town, 2, (uint32_t[]){2, 4}, false);
    town_try(&town, 0, 1, 6);
    letters_carry(&town);
    attempt = town.residents[0].attempt;
    town_raze(&town);
    town_build(&town, 2, (uint32_t[]){2, 4}, false);
    town.residents[0].record.incarnation = 2;
    placing_join(town.residents[0].placing, &(struct placing_peers){0});
    placing_join(town.residents[0].placing,
                 (struct placing_peers[]){resident_peers(&town.residents[0])});
    town_try(&town, 0, 1, 6);
    letters_carry(&town);
    assert_true(town.residents[0].attempt > attempt);
    town_raze(&town);
}

/* ---- Python ---- */

static void the_need_is_asked_for_only_if_other_nodes_are(void **state)
{
    struct resident *alpha = &town.residents[0], *beta = &town.residents[1];
    C4p__Python need = python();

    (void)state;
    town_build(&town, 2, (uint32_t[]){2, 4}, true);
    town_try(&town, 0, 1, 2);
    assert_int_equal(alpha->placed, 1);
    assert_int_equal(alpha->needs, 0);
    placing_end(alpha->placing, 1);
    town_try(&town, 0, 2, 6);
    assert_int_equal(alpha->needs, 1);
    assert_int_equal(town.letter_count, 0);
    placing_needed(alpha->placing, 2, &need, NULL);
    letter_carry(&town, 2);
    assert_int_equal(town.letter_count, 0); /* the answer waits for the probe */
    assert_used(&town, 1, 4, 4);
    placing_probed(beta->placing, beta->probe, "");
    placing_probed(beta->placing, beta->probe, ""); /* it is known no more */
    assert_int_equal(town.letter_count, 1);
    letters_carry(&town);
    assert_int_equal(alpha->placed, 2);
    town_raze(&town);
}

static void a_need_that_cannot_be_found_out_is_told(void **state)
{
    struct resident *alpha = &town.residents[0];

    (void)state;
    town_build(&town, 2, (uint32_t[]){2, 4}, true);
    town_try(&town, 0, 1, 6);
    placing_needed(alpha->placing, 9, NULL, "of another job");
    placing_needed(alpha->placing, 1, NULL, "no process could be started");
    assert_int_equal(alpha->refused, 1);
    assert_string_equal(alpha->reason, "no process could be started");
    placing_needed(alpha->placing, 1, NULL, NULL); /* too late */
    assert_int_equal(town.letter_count, 0);
    town_try(&town, 0, 1, 6);
    placing_needed(alpha->placing, 1, NULL, "");
    letters_carry(&town); /* any Python will do */
    assert_int_equal(alpha->placed, 1);
    town_raze(&town);
}

static void a_node_without_the_python_is_not_asked_again_until_it_is_started_anew(void **state)
{
    struct resident *alpha = &town.residents[0], *beta = &town.residents[1];
    C4p__Python need = python();

    (void)state;
    town_build(&town, 3, (uint32_t[]){2, 5, 4}, true);
    town_try(&town, 0, 1, 7);
    placing_needed(alpha->placing, 1, &need, NULL);
    letter_carry(&town, 1);
    placing_probed(beta->placing, beta->probe, "host beta has no module scipy");
    assert_used(&town, 1, 0, 0);
    letters_carry(&town);
    assert_int_equal(alpha->refused, 1);
    assert_int_equal(alpha->again, town.now);
    assert_room(0, 1, 7, QUEUE_TOO_LARGE,
                "wants 7 PEs: the nodes that can run it have 6 (1 cannot: host beta has no module "
                "scipy)");
    assert_room(0, 2, 7, QUEUE_ROOM, "is about to start");
    placing_up(alpha->placing, &beta->record); /* other facts, the same daemon */
    assert_room(0, 1, 7, QUEUE_TOO_LARGE,
                "wants 7 PEs: the nodes that can run it have 6 (1 cannot: host beta has no module "
                "scipy)");
    beta->record.incarnation++;
    placing_up(alpha->placing, &beta->record);
    assert_room(0, 1, 7, QUEUE_ROOM, "is about to start");
    placing_unfit(alpha->placing, 1, &beta->record.key, "it was seen in Prepared");
    assert_room(
        0, 1, 7, QUEUE_TOO_LARGE,
        "wants 7 PEs: the nodes that can run it have 6 (1 cannot: it was seen in Prepared)");
    town_raze(&town);
}

static void what_was_released_meanwhile_is_not_answered_by_its_probe(void **state)
{
    struct resident *alpha = &town.residents[0], *beta = &town.residents[1];
    C4p__Python need = python();

    (void)state;
    town_build(&town, 2, (uint32_t[]){2, 4}, true);
    town_try(&town, 0, 1, 6);
    placing_needed(alpha->placing, 1, &need, NULL);
    letters_carry(&town);
    placing_end(alpha->placing, 1);
    letters_carry(&town);
    assert_used(&town, 1, 0, 0);
    placing_probed(beta->placing, beta->probe, "");
    assert_int_equal(town.letter_count, 0);
    town_raze(&town);
}

/* ---- what comes from a node that is not well ---- */

static void messages_without_sense_change_nothing(void **state)
{
    struct resident *alpha = &town.residents[0];
    C4p__Peer message = C4P__PEER__INIT;
    C4p__Reserve question = C4P__RESERVE__INIT;
    C4p__Reserved answer = C4P__RESERVED__INIT;
    const struct node_key *beta = &town.residents[1].record.key;

    (void)state;
    town_build(&town, 2, (uint32_t[]){2, 4}, true);
    assert_false(placing_message(alpha->placing, beta, &message));
    message.body_case = C4P__PEER__BODY_RESERVE;
    message.reserve = &question;
    question.pes = UINT32_MAX;
    question.lease_ms = UINT32_MAX;
    assert_true(placing_message(alpha->placing, beta, &message));
    question.pes = 0;
    assert_true(placing_message(alpha->placing, beta, &message));
    assert_used(&town, 0, 0, 0);
    message.body_case = C4P__PEER__BODY_RESERVED;
    message.reserved = &answer;
    answer.job = 5;
    answer.pes = UINT32_MAX;
    answer.pes_free = UINT32_MAX;
    answer.reason = (char *)(uintptr_t) "bell \a and \xff";
    assert_true(placing_message(alpha->placing, beta, &message));
    town_try(&town, 0, 5, 6);
    placing_needed(alpha->placing, 5, NULL, NULL);
    answer.attempt = (1ull << 24) + 1;
    answer.pes = 3; /* not what was asked for */
    assert_true(placing_message(alpha->placing, beta, &message));
    assert_int_equal(alpha->refused, 1);
    assert_string_equal(alpha->reason, "host beta: bell ? and ?");
    assert_used(&town, 0, 0, 0);
    town_raze(&town);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone_a_job_is_placed_at_once_and_without_a_message),
        cmocka_unit_test(a_node_without_a_limit_has_room_for_everything),
        cmocka_unit_test(a_job_gets_its_pes_from_several_nodes),
        cmocka_unit_test(leases_live_for_as_long_as_a_job_is_prepared),
        cmocka_unit_test(a_home_that_vanishes_holds_nothing_for_long),
        cmocka_unit_test(a_lost_home_loses_its_leases_at_once_and_what_runs_is_for_others_to_end),
        cmocka_unit_test(one_refusal_gives_everything_back_and_the_job_is_tried_again_later),
        cmocka_unit_test(gossip_is_believed_before_what_was_said_in_a_refusal),
        cmocka_unit_test(what_is_given_back_is_known_at_once),
        cmocka_unit_test(a_node_that_could_not_get_ready_is_asked_again_after_a_while),
        cmocka_unit_test(a_lost_question_is_asked_again_and_a_doubled_one_does_no_harm),
        cmocka_unit_test(who_does_not_answer_is_given_up_and_not_asked_for_a_while),
        cmocka_unit_test(a_promise_of_an_earlier_attempt_is_given_back),
        cmocka_unit_test(a_node_that_is_lost_during_a_reservation_ends_it),
        cmocka_unit_test(a_job_that_is_cancelled_while_nodes_are_asked_leaves_nothing),
        cmocka_unit_test(nodes_that_are_suspected_or_drain_or_say_nothing_are_not_asked),
        cmocka_unit_test(a_node_that_drains_promises_nothing_and_says_so),
        cmocka_unit_test(what_is_free_is_told_to_the_cluster_but_not_each_lease_in_vain),
        cmocka_unit_test(a_node_that_leaves_the_cluster_gives_up_what_it_has_asked_for),
        cmocka_unit_test(attempts_of_the_next_start_are_newer),
        cmocka_unit_test(the_need_is_asked_for_only_if_other_nodes_are),
        cmocka_unit_test(a_need_that_cannot_be_found_out_is_told),
        cmocka_unit_test(a_node_without_the_python_is_not_asked_again_until_it_is_started_anew),
        cmocka_unit_test(what_was_released_meanwhile_is_not_answered_by_its_probe),
        cmocka_unit_test(messages_without_sense_change_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
