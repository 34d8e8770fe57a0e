#include "tests/unit/unit.h"

#include "daemon/jobs/reserve.h"

#define NODES 6

/* Node 0 is this one. */
static struct reservation_node nodes[NODES];
static const struct reservation_request plain = {.job = 9, .attempt = 40, .pes = 0, .seed = 1};

static void world(size_t count, const uint32_t *pes, const uint32_t *pes_free)
{
    static const char *const names[NODES] = {"alpha", "beta", "gamma", "delta", "eta", "zeta"};

    for (size_t i = 0; i < count; i++)
        nodes[i] = (struct reservation_node){.node = {{(uint8_t)(i + 1)}},
                                             .name = names[i],
                                             .pes = pes[i],
                                             .pes_free = pes_free[i],
                                             .self = i == 0};
}

static struct reservation_request wants(uint32_t pes)
{
    struct reservation_request request = plain;

    request.pes = pes;
    return request;
}

static struct reservation *begin(uint32_t pes, size_t count)
{
    struct reservation_request request = wants(pes);
    struct reservation *reservation = reservation_create(&request, nodes, count, 0);

    assert_non_null(reservation);
    return reservation;
}

/* The next thing to do; none of it is waiting. */
static struct reservation_action next(struct reservation *reservation)
{
    struct reservation_action action;

    do {
        assert_true(reservation_next(reservation, &action));
    } while (action.kind == RESERVATION_WAKE_AT);
    return action;
}

static void assert_ask(struct reservation *reservation, size_t node, uint32_t pes)
{
    struct reservation_action action = next(reservation);

    assert_int_equal(action.kind, RESERVATION_ASK);
    assert_memory_equal(&action.node, &nodes[node].node, sizeof(action.node));
    assert_int_equal(action.pes, pes);
    assert_int_equal(action.attempt, 40);
}

static void assert_release(struct reservation *reservation, size_t node)
{
    struct reservation_action action = next(reservation);

    assert_int_equal(action.kind, RESERVATION_RELEASE);
    assert_memory_equal(&action.node, &nodes[node].node, sizeof(action.node));
    assert_int_equal(action.attempt, 40);
}

static void assert_quiet(struct reservation *reservation)
{
    struct reservation_action action;

    while (reservation_next(reservation, &action))
        assert_int_equal(action.kind, RESERVATION_WAKE_AT);
}

static int64_t assert_failed(struct reservation *reservation, const char *reason)
{
    struct reservation_action action = next(reservation);

    assert_int_equal(action.kind, RESERVATION_FAILED);
    assert_string_equal(action.reason, reason);
    assert_quiet(reservation);
    return action.at;
}

static void answer(struct reservation *reservation, size_t node, uint32_t pes, int64_t now)
{
    reservation_answer(reservation, &nodes[node].node, 40, pes, false,
                       pes > 0 ? "" : "none of its PEs is free", now);
}

static void assert_done(struct reservation *reservation, size_t count)
{
    struct reservation_action action = next(reservation);

    assert_int_equal(action.kind, RESERVATION_DONE);
    assert_int_equal(action.count, count);
}

/* ---- choosing ---- */

static void assert_chosen(uint32_t pes, size_t count, size_t parts, const size_t *which,
                          const uint32_t *share)
{
    struct reservation_request request = wants(pes);
    struct reservation_part chosen[NODES];
    size_t index[NODES];

    assert_int_equal(reservation_choose(&request, nodes, count, chosen, index), parts);
    for (size_t i = 0; i < parts; i++) {
        assert_int_equal(index[i], which[i]);
        assert_int_equal(chosen[i].pes, share[i]);
        assert_memory_equal(&chosen[i].node, &nodes[which[i]].node, sizeof(struct node_key));
    }
}

static void this_node_first_then_as_few_others_as_possible(void **state)
{
    (void)state;
    world(5, (uint32_t[]){4, 8, 4, 2, 8}, (uint32_t[]){3, 8, 4, 2, 6});
    assert_chosen(3, 5, 1, (size_t[]){0}, (uint32_t[]){3});
    assert_chosen(2, 5, 1, (size_t[]){0}, (uint32_t[]){2});
    assert_chosen(0, 5, 1, (size_t[]){0}, (uint32_t[]){3});
    assert_chosen(4, 5, 2, (size_t[]){0, 3}, (uint32_t[]){3, 1});
    assert_chosen(7, 5, 2, (size_t[]){0, 2}, (uint32_t[]){3, 4});
    assert_chosen(8, 5, 2, (size_t[]){0, 4}, (uint32_t[]){3, 5});
    assert_chosen(12, 5, 3, (size_t[]){0, 1, 3}, (uint32_t[]){3, 8, 1});
    assert_chosen(23, 5, 5, (size_t[]){0, 1, 4, 2, 3}, (uint32_t[]){3, 8, 6, 4, 2});
    assert_chosen(24, 5, 0, NULL, NULL);
}

static void a_home_without_a_free_slot_takes_others(void **state)
{
    (void)state;
    world(3, (uint32_t[]){2, 4, 8}, (uint32_t[]){0, 4, 8});
    assert_chosen(4, 3, 1, (size_t[]){1}, (uint32_t[]){4});
    assert_chosen(0, 3, 0, NULL, NULL);
    world(2, (uint32_t[]){0, 4}, (uint32_t[]){0, 4});
    assert_chosen(4, 2, 1, (size_t[]){1}, (uint32_t[]){4});
}

static void homes_do_not_all_choose_the_same_of_equal_nodes(void **state)
{
    unsigned chosen[NODES] = {0};

    (void)state;
    world(6, (uint32_t[]){1, 4, 4, 4, 4, 4}, (uint32_t[]){0, 4, 4, 4, 4, 4});
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct reservation_request request = wants(2);
        struct reservation_part parts[NODES];
        size_t which[NODES];

        request.seed = seed;
        assert_int_equal(reservation_choose(&request, nodes, 6, parts, which), 1);
        chosen[which[0]]++;
    }
    for (size_t i = 1; i < NODES; i++)
        assert_in_range(chosen[i], 10, 120);
}

static void what_a_node_says_beyond_all_bounds_makes_no_room(void **state)
{
    struct reservation_request request = wants(10);
    struct reservation_sum sum;
    char reason[RESERVE_REASON_SIZE];

    (void)state;
    world(3, (uint32_t[]){1, UINT32_MAX, UINT32_MAX}, (uint32_t[]){1, UINT32_MAX, UINT32_MAX});
    sum = reservation_sum(&request, nodes, 3);
    assert_int_equal(sum.pes_free, UINT32_MAX);
    world(2, (uint32_t[]){1, 2}, (uint32_t[]){1, 4000});
    sum = reservation_sum(&request, nodes, 2);
    assert_int_equal(sum.pes_free, 3);
    assert_int_equal(reservation_room(&request, &sum, false, reason), QUEUE_TOO_LARGE);
}

static void assert_room(uint32_t pes, size_t count, bool alone, enum queue_room expected,
                        const char *sentence)
{
    struct reservation_request request = wants(pes);
    struct reservation_sum sum = reservation_sum(&request, nodes, count);
    char reason[RESERVE_REASON_SIZE];

    assert_int_equal(reservation_room(&request, &sum, alone, reason), expected);
    assert_string_equal(reason, sentence);
}

static void what_a_job_waits_for_is_said_of_the_cluster(void **state)
{
    (void)state;
    world(4, (uint32_t[]){4, 2, 1, 1}, (uint32_t[]){1, 2, 0, 0});
    assert_room(12, 4, false, QUEUE_TOO_LARGE,
                "wants 12 PEs: the cluster has 8 on 4 nodes (it starts when a host joins)");
    assert_room(6, 4, false, QUEUE_FULL, "waits for 6 PEs: 3 of 8 are free on 4 nodes");
    assert_room(3, 4, false, QUEUE_ROOM, "is about to start");
    nodes[1].pes_free = 0;
    assert_room(6, 4, false, QUEUE_FULL, "waits for 6 PEs: 1 of 8 is free on 4 nodes");
    nodes[0].pes_free = 0;
    assert_room(1, 4, false, QUEUE_FULL, "waits for 1 PE: none of 8 is free on 4 nodes");
    assert_room(0, 4, false, QUEUE_FULL, "waits for 1 PE: none of 4 is free");
    assert_room(9, 1, false, QUEUE_TOO_LARGE,
                "wants 9 PEs: the cluster has 4 on 1 node (it starts when a host joins)");
    nodes[0].draining = true;
    assert_room(5, 4, false, QUEUE_TOO_LARGE,
                "wants 5 PEs: the cluster has 4 on 3 nodes (it starts when a host joins)");
}

static void what_a_job_waits_for_is_said_of_a_node_that_is_alone(void **state)
{
    (void)state;
    world(1, (uint32_t[]){4}, (uint32_t[]){1});
    assert_room(5, 1, true, QUEUE_TOO_LARGE, "waits for 5 PEs: this node has only 4");
    assert_room(2, 1, true, QUEUE_FULL, "waits for 2 PEs: 1 of 4 is free");
    assert_room(0, 1, true, QUEUE_ROOM, "is about to start");
    world(1, (uint32_t[]){1}, (uint32_t[]){0});
    assert_room(0, 1, true, QUEUE_FULL, "waits for 1 PE: the only one is in use");
    world(1, (uint32_t[]){0}, (uint32_t[]){0});
    assert_room(1, 1, true, QUEUE_TOO_LARGE, "waits for 1 PE: this node has none");
}

static void a_node_that_cannot_run_the_job_is_no_room_and_is_named(void **state)
{
    struct reservation_unfit unfit = {.name = "beta", .reason = "host beta has no module scipy"};
    struct reservation_request request = wants(5);
    struct reservation_sum sum;
    char reason[RESERVE_REASON_SIZE];

    (void)state;
    world(3, (uint32_t[]){2, 8, 2}, (uint32_t[]){2, 8, 2});
    unfit.node = nodes[1].node;
    request.unfit = &unfit;
    request.unfit_count = 1;
    sum = reservation_sum(&request, nodes, 3);
    assert_int_equal(reservation_room(&request, &sum, false, reason), QUEUE_TOO_LARGE);
    assert_string_equal(reason,
                        "wants 5 PEs: the nodes that can run it have 4 (1 cannot: host beta "
                        "has no module scipy)");
}

static void a_job_has_no_more_nodes_than_it_may_have(void **state)
{
    enum { MANY = 400 };
    static struct reservation_node many[MANY];
    struct reservation_part parts[MANY];
    size_t which[MANY];
    struct reservation_request request = wants(510);
    struct reservation_sum sum;
    char reason[RESERVE_REASON_SIZE];

    (void)state;
    for (size_t i = 0; i < MANY; i++)
        many[i] = (struct reservation_node){.node = {{(uint8_t)i, (uint8_t)(i >> 8), 1}},
                                            .name = "one of them",
                                            .pes = i % 4 == 0 ? 1 : 2,
                                            .pes_free = i % 4 == 0 ? 1 : 2,
                                            .self = i == 0};
    sum = reservation_sum(&request, many, MANY);
    assert_int_equal(sum.pes, 511);
    assert_int_equal(reservation_room(&request, &sum, false, reason), QUEUE_ROOM);
    assert_int_equal(reservation_choose(&request, many, MANY, parts, which), 256);
    request.pes = 512;
    assert_int_equal(reservation_room(&request, &sum, false, reason), QUEUE_TOO_LARGE);
    assert_string_equal(reason, "wants 512 PEs: the cluster has 511 on 256 of its 400 nodes (it "
                                "starts when a host joins)");
    assert_int_equal(reservation_choose(&request, many, MANY, parts, which), 0);
}

/* ---- asking ---- */

static void all_or_nothing(void **state)
{
    struct reservation *reservation;

    (void)state;
    world(3, (uint32_t[]){2, 4, 4}, (uint32_t[]){2, 4, 3});
    reservation = begin(9, 3);
    assert_ask(reservation, 0, 2);
    assert_ask(reservation, 1, 4);
    assert_ask(reservation, 2, 3);
    assert_quiet(reservation);
    answer(reservation, 0, 2, 1);
    answer(reservation, 2, 3, 2);
    assert_quiet(reservation);
    answer(reservation, 1, 0, 3);
    assert_release(reservation, 0);
    assert_release(reservation, 1);
    assert_release(reservation, 2);
    assert_failed(reservation, "host beta: none of its PEs is free");
    assert_memory_equal(reservation_blamed(reservation), &nodes[1].node, sizeof(struct node_key));
    assert_null(reservation_unfit(reservation));
    answer(reservation, 1, 4, 4); /* too late: no answer changes what is over */
    reservation_tick(reservation, 100000);
    assert_quiet(reservation);
    reservation_destroy(reservation);
    reservation_destroy(NULL);
}

static void all_promised_is_told_once_with_this_node_first(void **state)
{
    struct reservation *reservation;
    struct reservation_action action;

    (void)state;
    world(3, (uint32_t[]){2, 4, 4}, (uint32_t[]){2, 4, 0});
    reservation = begin(6, 3);
    assert_ask(reservation, 0, 2);
    answer(reservation, 0, 2, 0);
    assert_ask(reservation, 1, 4);
    for (int i = 0; i < 3; i++)
        answer(reservation, 1, 4, 5);
    action = next(reservation);
    assert_int_equal(action.kind, RESERVATION_DONE);
    assert_int_equal(action.count, 2);
    assert_memory_equal(&action.parts[0].node, &nodes[0].node, sizeof(struct node_key));
    assert_int_equal(action.parts[0].pes, 2);
    assert_int_equal(action.parts[1].pes, 4);
    assert_quiet(reservation);
    reservation_destroy(reservation);
}

static void answers_to_other_attempts_and_of_others_are_void(void **state)
{
    struct reservation *reservation;

    (void)state;
    world(3, (uint32_t[]){1, 4, 4}, (uint32_t[]){1, 4, 4});
    reservation = begin(5, 2);
    answer(reservation, 1, 0, 0); /* it was not asked yet */
    assert_ask(reservation, 0, 1);
    assert_ask(reservation, 1, 4);
    reservation_answer(reservation, &nodes[1].node, 39, 0, true, "old", 1);
    reservation_answer(reservation, &nodes[1].node, 41, 0, true, "of the future", 1);
    reservation_answer(reservation, &nodes[2].node, 40, 0, true, "a stranger", 1);
    reservation_lost(reservation, &nodes[2].node, 1);
    assert_quiet(reservation);
    answer(reservation, 0, 1, 1);
    answer(reservation, 1, 4, 1);
    assert_done(reservation, 2);
    reservation_destroy(reservation);
}

static void a_question_without_an_answer_is_repeated_and_then_given_up(void **state)
{
    struct reservation *reservation;
    unsigned repeated = 0;
    int64_t now = 0;

    (void)state;
    world(3, (uint32_t[]){1, 5, 4}, (uint32_t[]){1, 5, 4});
    reservation = begin(10, 3);
    assert_ask(reservation, 0, 1);
    answer(reservation, 0, 1, 0);
    assert_ask(reservation, 1, 5);
    assert_ask(reservation, 2, 4);
    answer(reservation, 2, 4, 0);
    for (struct reservation_action action;;) {
        if (!reservation_next(reservation, &action))
            reservation_tick(reservation, now);
        else if (action.kind == RESERVATION_WAKE_AT)
            now = action.at;
        else if (action.kind == RESERVATION_ASK)
            repeated += memcmp(&action.node, &nodes[1].node, sizeof(action.node)) == 0;
        else
            break; /* the first release, of this node */
    }
    assert_int_equal(now, RESERVATION_PATIENCE_MS);
    assert_in_range(repeated, 4, 6);
    assert_release(reservation, 1); /* the answer may have been lost, not the question */
    assert_release(reservation, 2);
    assert_failed(reservation, "host beta does not answer");
    assert_memory_equal(reservation_blamed(reservation), &nodes[1].node, sizeof(struct node_key));
    reservation_destroy(reservation);
}

static void a_node_that_is_lost_ends_it_at_once(void **state)
{
    struct reservation *reservation;

    (void)state;
    world(2, (uint32_t[]){1, 4}, (uint32_t[]){1, 4});
    reservation = begin(5, 2);
    assert_ask(reservation, 0, 1);
    assert_ask(reservation, 1, 4);
    reservation_lost(reservation, &nodes[1].node, 7);
    assert_release(reservation, 0);
    assert_release(reservation, 1);
    assert_failed(reservation, "host beta was lost when it was asked for PEs");
    reservation_destroy(reservation);
}

static void a_node_that_cannot_run_it_is_told_and_there_is_no_delay(void **state)
{
    struct reservation *reservation;
    const struct reservation_unfit *unfit;

    (void)state;
    world(2, (uint32_t[]){1, 4}, (uint32_t[]){1, 4});
    reservation = begin(5, 2);
    assert_ask(reservation, 0, 1);
    assert_ask(reservation, 1, 4);
    reservation_answer(reservation, &nodes[1].node, 40, 0, true, "Python 3.9 there, 3.11 here", 70);
    assert_release(reservation, 0);
    assert_release(reservation, 1);
    assert_int_equal(assert_failed(reservation, "host beta: Python 3.9 there, 3.11 here"), 70);
    unfit = reservation_unfit(reservation);
    assert_non_null(unfit);
    assert_string_equal(unfit->name, "beta");
    assert_string_equal(unfit->reason, "Python 3.9 there, 3.11 here");
    assert_memory_equal(&unfit->node, &nodes[1].node, sizeof(struct node_key));
    reservation_destroy(reservation);
}

static void if_this_node_has_none_after_all_nobody_else_is_asked(void **state)
{
    struct reservation *reservation;

    (void)state;
    world(2, (uint32_t[]){1, 4}, (uint32_t[]){1, 4});
    reservation = begin(5, 2);
    assert_ask(reservation, 0, 1);
    answer(reservation, 0, 0, 0);
    assert_release(reservation, 0);
    assert_failed(reservation, "host alpha: none of its PEs is free");
    reservation_destroy(reservation);
}

static void leases_are_renewed_until_it_is_destroyed(void **state)
{
    struct reservation *reservation;
    struct reservation_action action;
    int64_t now = 0;

    (void)state;
    world(2, (uint32_t[]){1, 4}, (uint32_t[]){1, 4});
    reservation = begin(5, 2);
    assert_ask(reservation, 0, 1);
    assert_ask(reservation, 1, 4);
    answer(reservation, 0, 1, 0);
    answer(reservation, 1, 4, 0);
    assert_done(reservation, 2);
    for (int round = 0; round < 5; round++) {
        int64_t before = now;

        assert_true(reservation_next(reservation, &action));
        assert_int_equal(action.kind, RESERVATION_WAKE_AT);
        now = action.at;
        assert_in_range(now - before, 1, RESERVE_LEASE_MS / 2);
        reservation_tick(reservation, now);
        assert_ask(reservation, 1, 4); /* this node's own are no lease */
        answer(reservation, 1, 4, now);
    }
    reservation_cancel(reservation, now);
    reservation_cancel(reservation, now);
    assert_release(reservation, 0);
    assert_release(reservation, 1);
    assert_quiet(reservation);
    reservation_destroy(reservation);
}

static void each_failure_makes_the_delay_longer_up_to_a_limit(void **state)
{
    int64_t longest = 0;

    (void)state;
    world(2, (uint32_t[]){1, 4}, (uint32_t[]){1, 4});
    for (unsigned tries = 0; tries < 200; tries++) {
        struct reservation_request request = wants(5);
        int64_t least = tries < 6 ? RESERVATION_DELAY_MS << tries : RESERVATION_MAX_DELAY_MS, at;
        struct reservation *reservation;

        request.tries = tries;
        request.seed = tries;
        reservation = reservation_create(&request, nodes, 2, 1000);
        assert_ask(reservation, 0, 1);
        answer(reservation, 0, 0, 1000);
        assert_release(reservation, 0);
        at = assert_failed(reservation, "host alpha: none of its PEs is free") - 1000;
        assert_in_range(at, least / 2, least * 3 / 2);
        longest = at > longest ? at : longest;
        reservation_destroy(reservation);
    }
    assert_in_range(longest, RESERVATION_MAX_DELAY_MS, RESERVATION_MAX_DELAY_MS * 3 / 2);
}

static void without_room_nobody_is_asked(void **state)
{
    struct reservation *reservation;

    (void)state;
    world(2, (uint32_t[]){1, 4}, (uint32_t[]){1, 3});
    reservation = begin(5, 2);
    assert_failed(reservation, "there are not as many PEs free as it wants");
    reservation_destroy(reservation);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(this_node_first_then_as_few_others_as_possible),
        cmocka_unit_test(a_home_without_a_free_slot_takes_others),
        cmocka_unit_test(homes_do_not_all_choose_the_same_of_equal_nodes),
        cmocka_unit_test(what_a_node_says_beyond_all_bounds_makes_no_room),
        cmocka_unit_test(what_a_job_waits_for_is_said_of_the_cluster),
        cmocka_unit_test(what_a_job_waits_for_is_said_of_a_node_that_is_alone),
        cmocka_unit_test(a_node_that_cannot_run_the_job_is_no_room_and_is_named),
        cmocka_unit_test(a_job_has_no_more_nodes_than_it_may_have),
        cmocka_unit_test(all_or_nothing),
        cmocka_unit_test(all_promised_is_told_once_with_this_node_first),
        cmocka_unit_test(answers_to_other_attempts_and_of_others_are_void),
        cmocka_unit_test(a_question_without_an_answer_is_repeated_and_then_given_up),
        cmocka_unit_test(a_node_that_is_lost_ends_it_at_once),
        cmocka_unit_test(a_node_that_cannot_run_it_is_told_and_there_is_no_delay),
        cmocka_unit_test(if_this_node_has_none_after_all_nobody_else_is_asked),
        cmocka_unit_test(leases_are_renewed_until_it_is_destroyed),
        cmocka_unit_test(each_failure_makes_the_delay_longer_up_to_a_limit),
        cmocka_unit_test(without_room_nobody_is_asked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
