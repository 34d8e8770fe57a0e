/*
 * Who of those that connected was a stranger, told by events alone. The oracle knows what everybody
 * is: nobody else is accused, and nobody is forgotten.
 */
#include "tests/unit/unit.h"

#include "daemon/cluster/strangers.h"

/* ---- what is found ---- */

static struct {
    char last[64], why[64];
    unsigned named, unnamed;
} found;

static void on_found(void *context, const char *address, const char *why)
{
    require(context == &found);
    snprintf(found.last, sizeof(found.last), "%s", address != NULL ? address : "");
    snprintf(found.why, sizeof(found.why), "%s", why != NULL ? why : "");
    if (address != NULL)
        found.named++;
    else
        found.unnamed++;
}

static struct strangers *strangers;

static int begin(void **state)
{
    memset(&found, 0, sizeof(found));
    strangers = strangers_create(on_found, &found);
    require(strangers != NULL);
    return watchdog_start(state);
}

static int end(void **state)
{
    strangers_destroy(strangers);
    return watchdog_stop(state);
}

static void assert_found(unsigned named, unsigned unnamed)
{
    assert_int_equal(found.named, named);
    assert_int_equal(found.unnamed, unnamed);
}

/* ---- one at a time ---- */

static void who_goes_without_a_word_is_a_stranger(void **state)
{
    (void)state;
    strangers_came(strangers, 5, "a:1", true);
    strangers_went(strangers, 5, "");
    assert_found(1, 0);
    assert_string_equal(found.last, "a:1");
    assert_string_equal(found.why, "");
}

static void who_was_vouched_for_goes_when_it_likes(void **state)
{
    (void)state;
    strangers_came(strangers, 5, "a:1", true);
    strangers_vouched(strangers);
    strangers_went(strangers, 5, "");
    assert_found(0, 0);
}

static void who_failed_is_a_stranger_for_that_reason_and_the_next_one_is_not(void **state)
{
    (void)state;
    strangers_came(strangers, 5, "a:1", true);
    strangers_came(strangers, 6, "b:1", true);
    strangers_failed(strangers, "no key");
    strangers_went(strangers, 5, "");
    assert_found(1, 0);
    assert_string_equal(found.last, "a:1");
    assert_string_equal(found.why, "no key");
    strangers_vouched(strangers);
    strangers_went(strangers, 6, "");
    assert_found(1, 0);
}

static void a_descriptor_that_comes_again_is_another_one(void **state)
{
    (void)state;
    strangers_came(strangers, 5, "a:1", true);
    strangers_vouched(strangers);
    strangers_went(strangers, 5, "");
    strangers_came(strangers, 5, "b:1", true);
    strangers_went(strangers, 5, "");
    assert_found(1, 0);
    assert_string_equal(found.last, "b:1");
    /* Nothing is known of the first one's end. */
    strangers_came(strangers, 5, "c:1", true);
    strangers_came(strangers, 5, "d:1", true);
    strangers_vouched(strangers);
    strangers_went(strangers, 5, "");
    assert_found(1, 0);
}

static void an_address_that_is_still_there_may_be_that_of_another_one(void **state)
{
    (void)state;
    strangers_came(strangers, 5, "a:1", false);
    strangers_went(strangers, 5, "a:1");
    assert_found(0, 1);
    strangers_came(strangers, 5, "a:1", false);
    strangers_failed(strangers, "no key");
    strangers_went(strangers, 5, "a:1");
    assert_found(0, 2);
    strangers_came(strangers, 5, "a:1", true);
    strangers_went(strangers, 5, "a:1");
    assert_found(1, 2);
    strangers_came(strangers, 5, "a:1", false);
    strangers_went(strangers, 5, "b:1");
    assert_found(2, 2);
    assert_string_equal(found.last, "a:1");
}

/* ---- several ---- */

static void a_stranger_beside_nodes_that_are_there_is_known_at_once(void **state)
{
    (void)state;
    for (int fd = 5; fd < 10; fd++) {
        strangers_came(strangers, fd, "node", true);
        strangers_vouched(strangers);
    }
    strangers_came(strangers, 10, "a:1", true);
    strangers_went(strangers, 10, "");
    assert_found(1, 0);
    for (int fd = 5; fd < 10; fd++)
        strangers_went(strangers, fd, "");
    assert_found(1, 0);
}

static void nodes_that_come_together_are_all_believed(void **state)
{
    (void)state;
    for (int fd = 5; fd < 10; fd++)
        strangers_came(strangers, fd, "node", true);
    for (int fd = 5; fd < 10; fd++)
        strangers_vouched(strangers);
    for (int fd = 5; fd < 10; fd++)
        strangers_went(strangers, fd, "");
    assert_found(0, 0);
}

static void whose_handshake_it_was_shows_when_the_other_one_fails(void **state)
{
    (void)state;
    strangers_came(strangers, 5, "idle", true);
    strangers_came(strangers, 6, "node", true);
    strangers_vouched(strangers);
    strangers_went(strangers, 6, "");
    assert_found(0, 0);
    strangers_failed(strangers, "it does not say who it is");
    strangers_went(strangers, 5, "");
    assert_found(1, 0);
    assert_string_equal(found.last, "idle");
    strangers_came(strangers, 6, "a:1", true);
    strangers_went(strangers, 6, "");
    assert_found(2, 0);
    assert_string_equal(found.last, "a:1");
}

static void of_which_nobody_knows_whose_handshake_it_was_only_the_number_is_told(void **state)
{
    (void)state;
    strangers_came(strangers, 5, "node or not", true);
    strangers_came(strangers, 6, "node or not", true);
    strangers_came(strangers, 7, "node or not", true);
    strangers_vouched(strangers);
    strangers_went(strangers, 5, "");
    strangers_went(strangers, 6, "");
    assert_found(0, 0);
    strangers_went(strangers, 7, "");
    assert_found(0, 2);
    assert_false(strangers_doubt(strangers));
}

static void who_came_after_the_handshake_is_not_in_doubt(void **state)
{
    (void)state;
    strangers_came(strangers, 5, "open", true);
    strangers_came(strangers, 6, "node", true);
    strangers_vouched(strangers);
    strangers_came(strangers, 7, "a:1", true);
    strangers_went(strangers, 7, "");
    assert_found(1, 0);
    assert_string_equal(found.last, "a:1");
}

static void who_stays_had_its_handshake(void **state)
{
    (void)state;
    strangers_came(strangers, 5, "a:1", true);
    strangers_came(strangers, 6, "node", true);
    strangers_vouched(strangers);
    strangers_went(strangers, 5, "");
    for (unsigned tick = 0; tick < STRANGERS_PATIENCE; tick++) {
        assert_true(strangers_doubt(strangers));
        strangers_tick(strangers);
        assert_found(0, 0);
    }
    strangers_tick(strangers);
    assert_false(strangers_doubt(strangers));
    assert_found(1, 0);
    assert_string_equal(found.last, "a:1");
    strangers_went(strangers, 6, "");
    assert_found(1, 0);
}

/* One of them has a handshake that succeeds, all others go without a word while one is open. */
static void those_in_doubt_are_few(void **state)
{
    (void)state;
    for (int fd = 5; fd < 5 + STRANGERS_IN_DOUBT + 2; fd++)
        strangers_came(strangers, fd, "node or not", true);
    strangers_vouched(strangers);
    for (int fd = 5; fd < 5 + STRANGERS_IN_DOUBT; fd++) {
        assert_found(0, 0);
        strangers_went(strangers, fd, "");
    }
    assert_found(0, STRANGERS_IN_DOUBT - 1);
    strangers_went(strangers, 5 + STRANGERS_IN_DOUBT, "");
    strangers_went(strangers, 5 + STRANGERS_IN_DOUBT + 1, "");
    assert_found(0, STRANGERS_IN_DOUBT);
}

static void more_than_are_known_are_served_and_accused_of_nothing_but_failure(void **state)
{
    (void)state;
    for (int fd = 0; fd < STRANGERS_KNOWN + 2; fd++) {
        strangers_came(strangers, fd, "a:1", true);
        if (fd < STRANGERS_KNOWN)
            strangers_vouched(strangers);
    }
    strangers_vouched(strangers);
    strangers_went(strangers, STRANGERS_KNOWN, "");
    assert_found(0, 0);
    strangers_failed(strangers, "no key");
    strangers_went(strangers, STRANGERS_KNOWN + 1, "");
    assert_found(0, 1);
    for (int fd = 0; fd < STRANGERS_KNOWN; fd++)
        strangers_went(strangers, fd, "");
    assert_found(0, 1);
}

/* ---- by chance ---- */

#define VISITORS 24

enum kind { NODE, FAILING, WORDLESS };

static struct visit {
    bool there, vouched;
    enum kind kind;
} visits[VISITORS];

static unsigned strangers_gone, gone;

static void on_found_by_chance(void *context, const char *address, const char *why)
{
    on_found(context, address, why);
    require(address == NULL || strcmp(address, "node") != 0);
    require(found.named + found.unnamed <= strangers_gone);
}

static void visit_begin(int fd, enum kind kind)
{
    visits[fd] = (struct visit){.there = true, .kind = kind};
    strangers_came(strangers, fd, kind == NODE ? "node" : "a:1", true);
}

static void visit_end(int fd)
{
    struct visit *visit = &visits[fd];

    visit->there = false;
    gone++;
    if (visit->kind != NODE)
        strangers_gone++;
    if (visit->kind == FAILING)
        strangers_failed(strangers, "no key");
    strangers_went(strangers, fd, "");
}

static void visit_step(struct dice *dice)
{
    const int fd = (int)dice_below(dice, VISITORS);
    struct visit *visit = &visits[fd];

    if (!visit->there) {
        visit_begin(fd, (enum kind)dice_below(dice, 3));
    } else if (visit->kind == NODE && !visit->vouched) {
        visit->vouched = true;
        strangers_vouched(strangers);
    } else {
        visit_end(fd);
    }
}

/* Those who are there after this are there for good. */
static void visits_decide(void)
{
    for (int fd = 0; fd < VISITORS; fd++) {
        struct visit *visit = &visits[fd];

        if (visit->there && visit->kind != NODE) {
            visit_end(fd);
        } else if (visit->there && !visit->vouched) {
            visit->vouched = true;
            strangers_vouched(strangers);
        }
    }
    for (unsigned tick = 0; tick <= STRANGERS_PATIENCE; tick++)
        strangers_tick(strangers);
    require(!strangers_doubt(strangers));
}

/* If it is not decided often who they are, more are in doubt than are kept: some stay uncounted. */
static void chance_run(uint64_t seed)
{
    struct dice dice = dice_seeded(seed);
    const unsigned steps = (unsigned)dice_below(&dice, 400);
    const bool often = seed % 2 == 0;

    seed_in_use = seed;
    memset(&found, 0, sizeof(found));
    memset(visits, 0, sizeof(visits));
    strangers_gone = gone = 0;
    require((strangers = strangers_create(on_found_by_chance, &found)) != NULL);
    for (unsigned i = 0; i < steps; i++) {
        visit_step(&dice);
        if (often && dice_below(&dice, 20) == 0) {
            visits_decide();
            require(found.named + found.unnamed == strangers_gone);
        }
    }
    visits_decide();
    require((!often && gone >= STRANGERS_IN_DOUBT) ||
            found.named + found.unnamed == strangers_gone);
    strangers_destroy(strangers);
    strangers = NULL;
}

static void in_every_order_all_strangers_are_counted_and_no_node_is_accused(void **state)
{
    const uint64_t first = first_seed();

    (void)state;
    strangers_destroy(strangers);
    for (uint64_t seed = first; seed < first + stress(3000); seed++)
        chance_run(seed);
}

#define strangers_test(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        strangers_test(who_goes_without_a_word_is_a_stranger),
        strangers_test(who_was_vouched_for_goes_when_it_likes),
        strangers_test(who_failed_is_a_stranger_for_that_reason_and_the_next_one_is_not),
        strangers_test(a_descriptor_that_comes_again_is_another_one),
        strangers_test(an_address_that_is_still_there_may_be_that_of_another_one),
        strangers_test(a_stranger_beside_nodes_that_are_there_is_known_at_once),
        strangers_test(nodes_that_come_together_are_all_believed),
        strangers_test(whose_handshake_it_was_shows_when_the_other_one_fails),
        strangers_test(of_which_nobody_knows_whose_handshake_it_was_only_the_number_is_told),
        strangers_test(who_came_after_the_handshake_is_not_in_doubt),
        strangers_test(who_stays_had_its_handshake),
        strangers_test(those_in_doubt_are_few),
        strangers_test(more_than_are_known_are_served_and_accused_of_nothing_but_failure),
        strangers_test(in_every_order_all_strangers_are_counted_and_no_node_is_accused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
