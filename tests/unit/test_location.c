/* How elements are found and moved: words that make no sense, and what may be forgotten. That all of it
 * together is right, whatever the order of events, is shown by tests/sim/sim_location.c. */
#include "tests/unit/unit.h"

#include "proto/location.h"

enum { HOME = 3, AWAY = 5, SENDER = 7, OTHER = 9 };

/* What the core has asked for. */
static struct said {
    uint32_t pe;
    enum location_word word;
    uint32_t number;
} said[8];
static unsigned said_count, let_go_count, depart_count;
static uint32_t let_go_to, depart_to;
static int say_result, depart_result;

static int say(void *context, struct location *location, uint32_t pe, enum location_word word,
               uint32_t number)
{
    (void)context;
    (void)location;
    require(said_count < 8);
    said[said_count++] = (struct said){pe, word, number};
    return say_result;
}

static int let_go(void *context, struct location *location, uint32_t pe)
{
    (void)context;
    (void)location;
    let_go_count++;
    let_go_to = pe;
    return 0;
}

static int depart(void *context, struct location *location, uint32_t to)
{
    (void)context;
    (void)location;
    depart_count++;
    depart_to = to;
    return depart_result;
}

static const struct location_operations operations = {say, let_go, depart, NULL};
static struct location location;

static void forget_said(void)
{
    said_count = let_go_count = depart_count = 0;
}

static int set_up(void **state)
{
    (void)state;
    forget_said();
    say_result = depart_result = 0;
    return 0;
}

static int tear_down(void **state)
{
    location_clear(&location);
    return watchdog_stop(state);
}

static void assert_said(unsigned i, uint32_t pe, enum location_word word, uint32_t number)
{
    assert_true(i < said_count);
    assert_int_equal(said[i].pe, pe);
    assert_int_equal(said[i].word, word);
    assert_int_equal(said[i].number, number);
}

static void hears(uint32_t self, uint32_t source, enum location_word word, uint32_t number)
{
    assert_int_equal(location_hear(&location, self, source, word, number, &operations), 0);
}

static void makes_no_sense(uint32_t self, uint32_t source, enum location_word word, uint32_t number)
{
    struct location before = location;
    unsigned count = said_count;

    assert_int_equal(location_hear(&location, self, source, word, number, &operations), 1);
    assert_memory_equal(&before, &location, sizeof(before));
    assert_int_equal(said_count, count);
    assert_int_equal(let_go_count + depart_count, 0);
}

/* The only words of these that make no sense to it: bit by bit, from the one who would say it. */
static void make_no_sense(uint32_t self, unsigned words)
{
    for (unsigned word = 0; word < LOCATION_WORDS + 3; word++)
        if (words >> word & 1)
            for (uint32_t source = 0; source < 10; source++)
                makes_no_sense(self, source, word, AWAY);
}

#define BIT(word) (1u << LOCATION_##word)
#define NO_WORDS (1u | BIT(SETTLE) | 7u << LOCATION_WORDS)

static enum location_verdict arrives(uint32_t self, uint32_t origin, bool tell, bool forwarded,
                                     uint32_t *pe)
{
    enum location_verdict verdict;

    assert_int_equal(
        location_arrive(&location, self, origin, tell, forwarded, &operations, &verdict, pe), 0);
    return verdict;
}

/* ---- */

static void what_nobody_has_moved_is_at_home_and_may_be_forgotten(void **state)
{
    uint32_t pe = 0;

    (void)state;
    location_begin(&location, HOME, HOME);
    assert_true(location_is_idle(&location, HOME));
    assert_int_equal(arrives(HOME, SENDER, true, false, &pe), LOCATION_RUN);
    assert_int_equal(location_share(&location, HOME, &pe), LOCATION_RUN);
    assert_int_equal(location_route(&location, HOME, &pe), LOCATION_TO);
    assert_int_equal(pe, HOME);
    location_begin(&location, SENDER, HOME);
    assert_true(location_is_idle(&location, SENDER));
    assert_false(location_shares(&location));
    assert_int_equal(location_route(&location, SENDER, &pe), LOCATION_TO);
    assert_int_equal(pe, HOME);
    assert_int_equal(said_count, 0);
}

static void words_about_what_is_at_home_make_no_sense(void **state)
{
    (void)state;
    location_begin(&location, HOME, HOME);
    make_no_sense(HOME, NO_WORDS | BIT(GO) | BIT(RECALL) | BIT(RECALLED) | BIT(PLACE) |
                            BIT(SETTLED) | BIT(LANDED) | BIT(HERE) | BIT(CONFIRM));
    makes_no_sense(HOME, OTHER, LOCATION_MOVE, 0);
}

static void words_to_a_sender_that_has_asked_for_nothing_make_no_sense(void **state)
{
    (void)state;
    location_begin(&location, SENDER, HOME);
    make_no_sense(SENDER, NO_WORDS | BIT(MOVE) | BIT(GO) | BIT(RECALL) | BIT(RECALLED) |
                              BIT(SETTLED) | BIT(LANDED) | BIT(HERE) | BIT(CONFIRM));
    makes_no_sense(SENDER, OTHER, LOCATION_PLACE, AWAY);
}

static void words_to_a_sender_that_settles_are_those_of_its_home(void **state)
{
    (void)state;
    location_begin(&location, SENDER, HOME);
    hears(SENDER, HOME, LOCATION_PLACE, AWAY);
    assert_said(0, HOME, LOCATION_SETTLE, 0);
    make_no_sense(SENDER, NO_WORDS | BIT(MOVE) | BIT(GO) | BIT(RECALLED) | BIT(LANDED) | BIT(HERE) |
                              BIT(CONFIRM));
    makes_no_sense(SENDER, OTHER, LOCATION_PLACE, AWAY);
    makes_no_sense(SENDER, OTHER, LOCATION_RECALL, AWAY);
    makes_no_sense(SENDER, HOME, LOCATION_RECALL, OTHER);
    hears(SENDER, HOME, LOCATION_RECALL, AWAY);
    assert_said(1, AWAY, LOCATION_RECALLED, 0);
    makes_no_sense(SENDER, HOME, LOCATION_RECALL, AWAY);
}

static void words_to_a_sender_that_goes_the_direct_way_are_those_of_its_home(void **state)
{
    uint32_t pe;

    (void)state;
    location_begin(&location, SENDER, HOME);
    hears(SENDER, HOME, LOCATION_PLACE, AWAY);
    assert_int_equal(location_route(&location, SENDER, &pe), LOCATION_HOLD);
    hears(SENDER, AWAY, LOCATION_SETTLED, 0);
    assert_int_equal(let_go_to, AWAY);
    assert_int_equal(location_route(&location, SENDER, &pe), LOCATION_TO);
    assert_int_equal(pe, AWAY);
    assert_false(location_is_idle(&location, SENDER));
    forget_said();
    make_no_sense(SENDER, NO_WORDS | BIT(MOVE) | BIT(GO) | BIT(RECALLED) | BIT(PLACE) |
                              BIT(SETTLED) | BIT(LANDED) | BIT(HERE) | BIT(CONFIRM));
    makes_no_sense(SENDER, HOME, LOCATION_RECALL, OTHER);
    hears(SENDER, HOME, LOCATION_RECALL, AWAY);
    assert_true(location_is_idle(&location, SENDER));
}

static void an_element_leaves_when_all_who_were_told_have_answered(void **state)
{
    uint32_t pe;

    (void)state;
    location_begin(&location, AWAY, HOME);
    location_install(&location);
    make_no_sense(AWAY, NO_WORDS | BIT(MOVE) | BIT(GO) | BIT(RECALL) | BIT(RECALLED) | BIT(HERE) |
                            BIT(SETTLED) | BIT(CONFIRM));
    hears(AWAY, HOME, LOCATION_LANDED, 0);
    assert_said(0, HOME, LOCATION_HERE, 0);
    assert_false(location_shares(&location));
    makes_no_sense(AWAY, HOME, LOCATION_LANDED, 0);
    makes_no_sense(AWAY, OTHER, LOCATION_CONFIRM, 0);
    hears(AWAY, HOME, LOCATION_CONFIRM, 0);
    assert_true(location_shares(&location));
    makes_no_sense(AWAY, HOME, LOCATION_CONFIRM, 0);
    makes_no_sense(AWAY, HOME, LOCATION_GO, 0);
    makes_no_sense(AWAY, SENDER, LOCATION_RECALLED, 0);
    assert_int_equal(location_move(&location, OTHER, &operations), 0);
    assert_said(1, HOME, LOCATION_MOVE, 0);
    assert_int_equal(arrives(AWAY, SENDER, true, false, &pe), LOCATION_KEEP);
    makes_no_sense(AWAY, OTHER, LOCATION_GO, 1);
    hears(AWAY, SENDER, LOCATION_RECALLED, 0);
    assert_true(location_shares(&location));
    hears(AWAY, HOME, LOCATION_GO, 2);
    assert_false(location_shares(&location));
    assert_int_equal(depart_count, 0);
    makes_no_sense(AWAY, HOME, LOCATION_GO, 2);
    assert_int_equal(location_move(&location, HOME, &operations), 0);
    hears(AWAY, AWAY, LOCATION_RECALLED, 0);
    assert_int_equal(depart_count, 1);
    assert_int_equal(depart_to, HOME);
    assert_said(2, HOME, LOCATION_LANDED, 0);
    assert_true(location_is_idle(&location, AWAY));
}

static void a_move_before_it_has_landed_is_asked_for_behind_that(void **state)
{
    (void)state;
    location_begin(&location, AWAY, HOME);
    location_install(&location);
    assert_int_equal(location_move(&location, OTHER, &operations), 0);
    assert_int_equal(said_count, 0);
    makes_no_sense(AWAY, HOME, LOCATION_GO, 0);
    hears(AWAY, HOME, LOCATION_LANDED, 0);
    assert_said(0, HOME, LOCATION_HERE, 0);
    assert_said(1, HOME, LOCATION_MOVE, 0);
}

static void what_cannot_leave_is_there_as_if_it_had_come(void **state)
{
    uint32_t pe;

    (void)state;
    location_begin(&location, HOME, HOME);
    assert_int_equal(location_move(&location, AWAY, &operations), 0);
    assert_said(0, HOME, LOCATION_MOVE, 0);
    assert_false(location_is_idle(&location, HOME));
    hears(HOME, HOME, LOCATION_MOVE, 0);
    assert_int_equal(arrives(HOME, SENDER, true, false, &pe), LOCATION_KEEP);
    assert_int_equal(location_route(&location, HOME, &pe), LOCATION_HOLD);
    assert_int_equal(location_share(&location, HOME, &pe), LOCATION_HOLD);
    depart_result = 1;
    hears(HOME, HOME, LOCATION_GO, 0);
    assert_said(2, HOME, LOCATION_HERE, 0);
    assert_int_equal(arrives(HOME, SENDER, true, true, &pe), LOCATION_RUN);
    assert_int_equal(arrives(HOME, SENDER, true, false, &pe), LOCATION_HOLD);
    hears(HOME, HOME, LOCATION_HERE, 0);
    assert_int_equal(let_go_to, HOME);
    assert_false(location_is_idle(&location, HOME));
    hears(HOME, HOME, LOCATION_CONFIRM, 0);
    assert_true(location_is_idle(&location, HOME));
}

/* From here to AWAY, as its home sees it. */
static void leave_home(void)
{
    location_begin(&location, HOME, HOME);
    assert_int_equal(location_move(&location, AWAY, &operations), 0);
    hears(HOME, HOME, LOCATION_MOVE, 0);
    hears(HOME, HOME, LOCATION_GO, 0);
    hears(HOME, AWAY, LOCATION_HERE, 0);
    assert_int_equal(let_go_to, AWAY);
    forget_said();
}

static void a_home_tells_each_sender_once_and_takes_that_back_before_a_move(void **state)
{
    uint32_t pe;

    (void)state;
    leave_home();
    for (unsigned i = 0; i < 2; i++)
        for (uint32_t sender = 10; sender < 15; sender++)
            assert_int_equal(arrives(HOME, sender, true, false, &pe), LOCATION_TO);
    assert_int_equal(arrives(HOME, 20, false, false, &pe), LOCATION_TO);
    assert_int_equal(arrives(HOME, HOME, true, false, &pe), LOCATION_TO);
    assert_int_equal(pe, AWAY);
    assert_int_equal(said_count, 5);
    assert_said(4, 14, LOCATION_PLACE, AWAY);
    assert_false(location_is_idle(&location, HOME));
    make_no_sense(HOME, NO_WORDS | BIT(GO) | BIT(RECALL) | BIT(RECALLED) | BIT(PLACE) |
                            BIT(SETTLED) | BIT(LANDED) | BIT(HERE) | BIT(CONFIRM));
    makes_no_sense(HOME, OTHER, LOCATION_MOVE, 0);
    forget_said();
    hears(HOME, AWAY, LOCATION_MOVE, 0);
    assert_int_equal(said_count, 6);
    assert_said(0, 10, LOCATION_RECALL, AWAY);
    assert_said(5, AWAY, LOCATION_GO, 5);
    makes_no_sense(HOME, AWAY, LOCATION_MOVE, 0);
    assert_int_equal(arrives(HOME, 10, true, false, &pe), LOCATION_HOLD);
}

static void what_comes_home_behind_an_element_is_before_what_comes_by_itself(void **state)
{
    uint32_t pe;

    (void)state;
    leave_home();
    hears(HOME, AWAY, LOCATION_MOVE, 0);
    assert_int_equal(arrives(HOME, SENDER, true, false, &pe), LOCATION_HOLD);
    assert_int_equal(arrives(HOME, SENDER, true, true, &pe), LOCATION_HOLD);
    location_install(&location);
    assert_int_equal(arrives(HOME, SENDER, true, true, &pe), LOCATION_RUN);
    assert_int_equal(arrives(HOME, SENDER, true, false, &pe), LOCATION_HOLD);
    assert_int_equal(location_share(&location, HOME, &pe), LOCATION_HOLD);
    hears(HOME, AWAY, LOCATION_LANDED, 0);
    assert_int_equal(arrives(HOME, SENDER, true, false, &pe), LOCATION_HOLD);
    hears(HOME, HOME, LOCATION_HERE, 0);
    assert_int_equal(arrives(HOME, SENDER, true, false, &pe), LOCATION_RUN);
    hears(HOME, HOME, LOCATION_CONFIRM, 0);
    assert_true(location_is_idle(&location, HOME));
}

static void what_an_operation_returns_is_handed_on(void **state)
{
    enum location_verdict verdict;
    uint32_t pe;

    (void)state;
    leave_home();
    say_result = -1;
    assert_int_equal(
        location_arrive(&location, HOME, SENDER, true, false, &operations, &verdict, &pe), -1);
    assert_int_equal(location_hear(&location, HOME, AWAY, LOCATION_MOVE, 0, &operations), -1);
    location_clear(&location);
    location_begin(&location, HOME, HOME);
    assert_int_equal(location_move(&location, AWAY, &operations), -1);
    depart_result = -1;
    assert_int_equal(location_hear(&location, HOME, HOME, LOCATION_GO, 0, &operations), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_nobody_has_moved_is_at_home_and_may_be_forgotten),
        TEST(words_about_what_is_at_home_make_no_sense),
        TEST(words_to_a_sender_that_has_asked_for_nothing_make_no_sense),
        TEST(words_to_a_sender_that_settles_are_those_of_its_home),
        TEST(words_to_a_sender_that_goes_the_direct_way_are_those_of_its_home),
        TEST(an_element_leaves_when_all_who_were_told_have_answered),
        TEST(a_move_before_it_has_landed_is_asked_for_behind_that),
        TEST(what_cannot_leave_is_there_as_if_it_had_come),
        TEST(a_home_tells_each_sender_once_and_takes_that_back_before_a_move),
        TEST(what_comes_home_behind_an_element_is_before_what_comes_by_itself),
        TEST(what_an_operation_returns_is_handed_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
