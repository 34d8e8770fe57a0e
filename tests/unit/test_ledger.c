#include "tests/unit/unit.h"

#include "daemon/jobs/reserve.h"

static struct node_key key_of(uint8_t number)
{
    struct node_key key = {{number, 0x5a}};

    return key;
}

static const struct node_key alpha = {{1}}, beta = {{2}};

/* A promise of 10 s at `now`. */
static bool promise(struct ledger *ledger, const struct node_key *home, uint64_t job,
                    uint64_t attempt, uint32_t pes, int64_t now)
{
    char reason[RESERVE_REASON_SIZE] = "";
    int rc = ledger_promise(ledger, home, job, attempt, pes, RESERVE_LEASE_MS, now, reason);

    assert_true((rc == 0) == (reason[0] == '\0'));
    return rc == 0;
}

static void assert_refused(struct ledger *ledger, const struct node_key *home, uint64_t job,
                           uint64_t attempt, uint32_t pes, const char *expected)
{
    char reason[RESERVE_REASON_SIZE] = "";

    assert_int_equal(ledger_promise(ledger, home, job, attempt, pes, RESERVE_LEASE_MS, 0, reason),
                     -1);
    assert_string_equal(reason, expected);
}

static void no_more_is_promised_than_there_is(void **state)
{
    struct ledger *ledger = ledger_create(4);

    (void)state;
    assert_true(promise(ledger, &alpha, 1, 1, 3, 0));
    assert_refused(ledger, &beta, 1, 1, 2, "1 of its 4 PEs is free");
    assert_true(promise(ledger, &beta, 1, 1, 1, 0));
    assert_refused(ledger, &beta, 2, 2, 1, "none of its PEs is free");
    assert_false(ledger_take(ledger, 7, 1));
    assert_int_equal(ledger_free(ledger), 0);
    assert_int_equal(ledger_guests(ledger), 4);
    ledger_release(ledger, &alpha, 1);
    assert_true(ledger_take(ledger, 7, 3));
    assert_int_equal(ledger_used(ledger), 4);
    assert_int_equal(ledger_guests(ledger), 1);
    ledger_destroy(ledger);
    ledger_destroy(NULL);
}

static void a_lease_ends_by_itself_unless_it_is_renewed(void **state)
{
    struct ledger *ledger = ledger_create(4);

    (void)state;
    assert_int_equal(ledger_expire(ledger, 0), -1);
    assert_true(promise(ledger, &alpha, 1, 1, 2, 0));
    assert_true(promise(ledger, &beta, 1, 1, 2, 0));
    assert_true(promise(ledger, &beta, 1, 1, 2, 6000));
    assert_int_equal(ledger_expire(ledger, 9999), 10000);
    assert_int_equal(ledger_free(ledger), 0);
    assert_int_equal(ledger_expire(ledger, 10000), 16000);
    assert_int_equal(ledger_free(ledger), 2);
    assert_int_equal(ledger_expire(ledger, 16000), -1);
    assert_int_equal(ledger_free(ledger), 4);
    ledger_destroy(ledger);
}

static void a_question_that_is_repeated_takes_nothing_more(void **state)
{
    struct ledger *ledger = ledger_create(4);

    (void)state;
    for (int i = 0; i < 5; i++)
        assert_true(promise(ledger, &alpha, 1, 1, 3, i));
    assert_int_equal(ledger_used(ledger), 3);
    assert_refused(ledger, &alpha, 1, 1, 2,
                   "the same attempt has asked for another number of PEs before");
    assert_int_equal(ledger_used(ledger), 3);
    ledger_destroy(ledger);
}

static void a_newer_attempt_takes_the_place_of_an_older_one_and_not_the_other_way(void **state)
{
    struct ledger *ledger = ledger_create(4);

    (void)state;
    assert_true(promise(ledger, &alpha, 1, 5, 3, 0));
    assert_refused(ledger, &alpha, 1, 4, 1, "a newer attempt of the same job was here before");
    assert_true(promise(ledger, &alpha, 1, 6, 4, 0));
    assert_int_equal(ledger_used(ledger), 4);
    assert_false(ledger_has(ledger, &alpha, 1, 5));
    assert_true(ledger_has(ledger, &alpha, 1, 6));
    ledger_withdraw(ledger, &alpha, 1, 5); /* late */
    assert_int_equal(ledger_used(ledger), 4);
    ledger_withdraw(ledger, &alpha, 1, 6);
    ledger_withdraw(ledger, &alpha, 1, 6);
    assert_int_equal(ledger_used(ledger), 0);
    ledger_destroy(ledger);
}

static void what_is_held_stays_until_it_is_released(void **state)
{
    struct ledger *ledger = ledger_create(4);

    (void)state;
    assert_true(promise(ledger, &alpha, 1, 1, 2, 0));
    assert_false(ledger_hold(ledger, &alpha, 1, 2, 10));
    assert_false(ledger_hold(ledger, &beta, 1, 1, 10));
    assert_true(ledger_hold(ledger, &alpha, 1, 1, 10));
    assert_true(ledger_hold(ledger, &alpha, 1, 1, 99999));
    assert_true(promise(ledger, &alpha, 1, 1, 2, 99999)); /* a renewal that was under way */
    assert_refused(ledger, &alpha, 1, 2, 1,
                   "an earlier attempt of the same job has not ended there yet");
    ledger_withdraw(ledger, &alpha, 1, 9);
    ledger_forget(ledger, &alpha);
    assert_int_equal(ledger_expire(ledger, INT64_MAX), -1);
    assert_int_equal(ledger_used(ledger), 2);
    ledger_release(ledger, &alpha, 1);
    ledger_release(ledger, &alpha, 1);
    assert_int_equal(ledger_used(ledger), 0);
    assert_int_equal(ledger_guests(ledger), 0);
    ledger_destroy(ledger);
}

static void a_lease_that_has_ended_cannot_be_held(void **state)
{
    struct ledger *ledger = ledger_create(4);

    (void)state;
    assert_true(promise(ledger, &alpha, 1, 1, 2, 0));
    assert_false(ledger_hold(ledger, &alpha, 1, 1, 10000));
    assert_int_equal(ledger_used(ledger), 0);
    ledger_destroy(ledger);
}

static void no_lease_is_longer_than_the_limit(void **state)
{
    struct ledger *ledger = ledger_create(4);
    char reason[RESERVE_REASON_SIZE];

    (void)state;
    assert_int_equal(ledger_promise(ledger, &alpha, 1, 1, 1, UINT32_MAX, 0, reason), 0);
    assert_int_equal(ledger_expire(ledger, 1), RESERVE_MAX_LEASE_MS);
    ledger_destroy(ledger);
}

static void who_is_lost_loses_its_leases(void **state)
{
    struct ledger *ledger = ledger_create(4);

    (void)state;
    assert_true(promise(ledger, &alpha, 1, 1, 1, 0));
    assert_true(promise(ledger, &alpha, 2, 2, 1, 0));
    assert_true(promise(ledger, &beta, 1, 1, 1, 0));
    assert_true(ledger_take(ledger, 1, 1));
    ledger_forget(ledger, &alpha);
    assert_int_equal(ledger_used(ledger), 2);
    ledger_destroy(ledger);
}

static void a_node_that_drains_keeps_its_word_and_gives_no_more(void **state)
{
    struct ledger *ledger = ledger_create(4);

    (void)state;
    assert_true(promise(ledger, &alpha, 1, 1, 1, 0));
    ledger_stop(ledger, true);
    assert_refused(ledger, &beta, 1, 1, 1, "it drains, and starts no more jobs");
    assert_refused(ledger, &beta, 1, 1, 0, "it drains, and starts no more jobs");
    assert_true(promise(ledger, &alpha, 1, 1, 1, 5000));
    assert_true(ledger_hold(ledger, &alpha, 1, 1, 12000));
    ledger_stop(ledger, false);
    assert_refused(ledger, &beta, 1, 1, 0, "no PEs were asked for");
    assert_true(promise(ledger, &beta, 1, 1, 1, 0));
    ledger_destroy(ledger);
}

static void with_fewer_slots_nothing_is_taken_away(void **state)
{
    struct ledger *ledger = ledger_create(4);

    (void)state;
    assert_true(ledger_take(ledger, 1, 3));
    assert_false(ledger_take(ledger, 1, 1)); /* it has some */
    assert_false(ledger_take(ledger, 2, 0));
    ledger_resize(ledger, 2);
    assert_int_equal(ledger_free(ledger), 0);
    assert_int_equal(ledger_used(ledger), 3);
    ledger_release(ledger, NULL, 1);
    assert_int_equal(ledger_free(ledger), 2);
    ledger_resize(ledger, UINT32_MAX);
    assert_true(ledger_take(ledger, 3, UINT32_MAX));
    assert_false(ledger_take(ledger, 4, 1));
    ledger_destroy(ledger);
}

static void where_slots_have_no_limit_leases_have_one(void **state)
{
    struct ledger *ledger = ledger_create(UINT32_MAX);
    uint64_t job = 0;

    (void)state;
    while (job < 100000 && promise(ledger, &alpha, job, 1, 1, 0))
        job++;
    assert_in_range(job, 1000, 10000);
    assert_refused(ledger, &beta, 1, 1, 1, "it has promised PEs to too many jobs at this moment");
    ledger_destroy(ledger);
}

/* ---- any sequence against a table of all there could be ---- */

#define HOMES 3 /* 0 is this node */
#define JOBS 4

struct model {
    struct {
        uint64_t attempt;
        uint32_t pes;
        bool held;
        int64_t until;
    } share[HOMES][JOBS];
    uint32_t slots;
    bool stopped;
    int64_t now;
};

static uint32_t model_used(const struct model *model, int from)
{
    uint32_t used = 0;

    for (int home = from; home < HOMES; home++)
        for (int job = 0; job < JOBS; job++)
            used += model->share[home][job].pes;
    return used;
}

static void model_expire(struct model *model)
{
    for (int home = 1; home < HOMES; home++)
        for (int job = 0; job < JOBS; job++)
            if (!model->share[home][job].held && model->share[home][job].until <= model->now)
                model->share[home][job].pes = 0;
}

static void model_promise(struct model *model, struct ledger *ledger, struct dice *dice)
{
    int home = 1 + (int)dice_below(dice, HOMES - 1), job = (int)dice_below(dice, JOBS);
    uint64_t attempt = dice_below(dice, 4);
    uint32_t pes = (uint32_t)dice_below(dice, 4), lease = (uint32_t)dice_below(dice, 20), free;
    struct node_key key = key_of((uint8_t)home);
    char reason[RESERVE_REASON_SIZE] = "";
    bool same, expected;

    model_expire(model);
    same = model->share[home][job].pes > 0;
    if (same && attempt > model->share[home][job].attempt && !model->share[home][job].held) {
        model->share[home][job].pes = 0; /* not wanted any more, whatever comes of the new one */
        same = false;
    }
    free =
        model->slots - (model_used(model, 0) < model->slots ? model_used(model, 0) : model->slots);
    if (same)
        expected = attempt == model->share[home][job].attempt && pes == model->share[home][job].pes;
    else
        expected = !model->stopped && pes > 0 && pes <= free;
    require((ledger_promise(ledger, &key, (uint64_t)job, attempt, pes, lease, model->now, reason) ==
             0) == expected);
    require(expected == (*reason == '\0'));
    if (!expected)
        return;
    model->share[home][job].attempt = attempt;
    model->share[home][job].pes = pes;
    if (!same)
        model->share[home][job].held = false;
    model->share[home][job].until = model->now + lease;
}

static void model_end(struct model *model, struct ledger *ledger, struct dice *dice)
{
    int home = (int)dice_below(dice, HOMES), job = (int)dice_below(dice, JOBS);
    uint64_t attempt = dice_below(dice, 4);
    struct node_key key = key_of((uint8_t)home);
    const struct node_key *name = home > 0 ? &key : NULL;

    if (home > 0 && dice_below(dice, 2)) {
        if (!model->share[home][job].held && attempt >= model->share[home][job].attempt)
            model->share[home][job].pes = 0;
        ledger_withdraw(ledger, name, (uint64_t)job, attempt);
    } else if (home > 0 && dice_below(dice, 8) == 0) {
        for (int i = 0; i < JOBS; i++)
            if (!model->share[home][i].held)
                model->share[home][i].pes = 0;
        ledger_forget(ledger, name);
    } else {
        model->share[home][job].pes = 0;
        ledger_release(ledger, name, (uint64_t)job);
    }
}

static void model_hold(struct model *model, struct ledger *ledger, struct dice *dice)
{
    int home = 1 + (int)dice_below(dice, HOMES - 1), job = (int)dice_below(dice, JOBS);
    uint64_t attempt = dice_below(dice, 4);
    struct node_key key = key_of((uint8_t)home);
    bool expected;

    model_expire(model);
    expected = model->share[home][job].pes > 0 && model->share[home][job].attempt == attempt;
    require(ledger_hold(ledger, &key, (uint64_t)job, attempt, model->now) == expected);
    model->share[home][job].held |= expected;
}

static void model_take(struct model *model, struct ledger *ledger, struct dice *dice)
{
    int job = (int)dice_below(dice, JOBS);
    uint32_t pes = (uint32_t)dice_below(dice, 4);
    bool expected =
        pes > 0 && model->share[0][job].pes == 0 && model_used(model, 0) + pes <= model->slots;

    require(ledger_take(ledger, (uint64_t)job, pes) == expected);
    if (expected)
        model->share[0][job].pes = pes;
}

static void model_step(struct model *model, struct ledger *ledger, struct dice *dice)
{
    switch (dice_below(dice, 7)) {
    case 0:
    case 1:
        model_promise(model, ledger, dice);
        break;
    case 2:
        model_end(model, ledger, dice);
        break;
    case 3:
        model_hold(model, ledger, dice);
        break;
    case 4:
        model_take(model, ledger, dice);
        break;
    case 5:
        model->now += (int64_t)dice_below(dice, 12);
        model_expire(model);
        ledger_expire(ledger, model->now);
        break;
    default:
        if (dice_below(dice, 2))
            ledger_stop(ledger, model->stopped = dice_below(dice, 3) == 0);
        else
            ledger_resize(ledger, model->slots = (uint32_t)dice_below(dice, 10));
    }
}

static void any_sequence_does_what_a_table_would(void **state)
{
    uint64_t seeds = stress(300);

    (void)state;
    for (uint64_t seed = first_seed(); seed < first_seed() + seeds; seed++) {
        struct dice dice = dice_seeded(seed);
        struct model model = {.slots = 6};
        struct ledger *ledger = ledger_create(6);

        seed_in_use = seed;
        for (int step = 0; step < 300; step++) {
            model_step(&model, ledger, &dice);
            require(ledger_used(ledger) == model_used(&model, 0));
            require(ledger_guests(ledger) == model_used(&model, 1));
            require(ledger_slots(ledger) == model.slots);
        }
        ledger_destroy(ledger);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_more_is_promised_than_there_is),
        cmocka_unit_test(a_lease_ends_by_itself_unless_it_is_renewed),
        cmocka_unit_test(a_question_that_is_repeated_takes_nothing_more),
        cmocka_unit_test(a_newer_attempt_takes_the_place_of_an_older_one_and_not_the_other_way),
        cmocka_unit_test(what_is_held_stays_until_it_is_released),
        cmocka_unit_test(a_lease_that_has_ended_cannot_be_held),
        cmocka_unit_test(no_lease_is_longer_than_the_limit),
        cmocka_unit_test(who_is_lost_loses_its_leases),
        cmocka_unit_test(a_node_that_drains_keeps_its_word_and_gives_no_more),
        cmocka_unit_test(with_fewer_slots_nothing_is_taken_away),
        cmocka_unit_test(where_slots_have_no_limit_leases_have_one),
        watched_test(any_sequence_does_what_a_table_would),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
