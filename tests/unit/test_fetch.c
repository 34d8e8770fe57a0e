/*
 * Bundles that are fetched over a way that loses, repeats and delays what is said.
 */
#include "tests/unit/bundle_maker.h"

#define FILES 12
#define LARGEST (3 * (size_t)BUNDLE_PART + 5)
#define ROUNDS 100000

static struct scratch there_dir, here_dir;
static struct bundles *there, *here;
static char contents[FILES][LARGEST];
static char names[FILES][8];
static struct maker_file files[FILES];
static struct maker maker;

static int set_up(void **state)
{
    struct dice dice = dice_seeded(1);

    watchdog_start(state);
    scratch_make(&there_dir);
    scratch_make(&here_dir);
    there = maker_open(there_dir.path, 64 << 20, 1);
    here = maker_open(here_dir.path, 64 << 20, 1);
    for (size_t i = 0; i < FILES; i++) {
        size_t size = i % 3 == 0 ? 1 + dice_below(&dice, LARGEST) : i * 10;

        snprintf(names[i], sizeof(names[i]), "f%02zu", i);
        for (size_t j = 0; j < size; j++)
            contents[i][j] = (char)dice_throw(&dice);
        contents[i][0] = size == 0 ? '\0' : (char)(i + 1);
        files[i] = (struct maker_file){names[i], contents[i], size, 0};
    }
    files[1] = (struct maker_file){names[1], "", 0, 0};
    maker_make(&maker, "/home/me/app", files, FILES);
    maker_bring(&maker, there, files, FILES);
    return 0;
}

static int tear_down(void **state)
{
    bundles_close(there);
    bundles_close(here);
    scratch_remove(&there_dir);
    scratch_remove(&here_dir);
    return watchdog_stop(state);
}

/* ---- the way ---- */

#define QUEUE 64

struct way {
    struct dice dice;
    unsigned loss, repeat, disorder; /* percent */
    struct fetch_action queue[QUEUE];
    unsigned count;
};

static bool chance(struct way *way, unsigned percent)
{
    return dice_below(&way->dice, 100) < percent;
}

static void way_take(struct way *way, const struct fetch_action *action)
{
    unsigned copies = chance(way, way->loss) ? 0 : 1;

    if (copies > 0 && chance(way, way->repeat))
        copies++;
    for (; copies > 0 && way->count < QUEUE; copies--)
        way->queue[way->count++] = *action;
}

/* The home answers one of the questions. */
static void way_deliver(struct way *way, struct fetch *fetch)
{
    static char data[BUNDLE_PART];
    unsigned chosen = chance(way, way->disorder) ? (unsigned)dice_below(&way->dice, way->count) : 0;
    struct fetch_action action = way->queue[chosen];
    char error[BUNDLE_ERROR_SIZE] = "";
    size_t size = 0;
    bool last = false;

    memmove(&way->queue[chosen], &way->queue[chosen + 1],
            (way->count - chosen - 1) * sizeof(action));
    way->count--;
    if (action.kind == FETCH_ASK_MANIFEST) {
        void *manifest = bundles_manifest(there, &action.hash, &size, error);

        fetch_manifest(fetch, manifest, size, error);
        free(manifest);
        return;
    }
    bundles_read(there, &action.hash, action.offset, data, sizeof(data), &size, &last, error);
    fetch_part(fetch, &action.hash, action.offset, data, size, last, error);
}

/* How it ends; the most that was under way in *most. */
static enum fetch_action_kind way_run(struct way *way, struct fetch *fetch, unsigned *most)
{
    struct fetch_action action;

    *most = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        while (fetch_next(fetch, &action)) {
            if (action.kind == FETCH_DONE || action.kind == FETCH_FAILED)
                return action.kind;
            way_take(way, &action);
            *most = way->count > *most ? way->count : *most;
        }
        if (way->count > 0)
            way_deliver(way, fetch);
        else
            fetch_retry(fetch);
    }
    return FETCH_ASK_BLOB;
}

/* ---- tests ---- */

static void a_bundle_comes_whole_with_a_few_questions_ahead(void **state)
{
    struct way way = {.dice = dice_seeded(1)};
    struct fetch *fetch = fetch_create(here, &maker.hash);
    unsigned most;

    (void)state;
    assert_int_equal(way_run(&way, fetch, &most), FETCH_DONE);
    assert_int_equal(most, FETCH_WINDOW);
    assert_true(bundles_complete(here, &maker.hash));
    assert_int_equal(bundles_figures(here).pinned, 1);
    fetch_destroy(fetch);
    assert_int_equal(bundles_figures(here).pinned, 0);
}

static void a_bundle_comes_whole_over_a_way_that_loses_repeats_and_disorders(void **state)
{
    (void)state;
    for (uint64_t seed = first_seed(); seed < first_seed() + stress(10); seed++) {
        struct way way = {.dice = dice_seeded(seed), .loss = 20, .repeat = 20, .disorder = 30};
        struct fetch *fetch;
        unsigned most;

        seed_in_use = seed;
        bundles_evict(here, INT64_MAX);
        require(!bundles_complete(here, &maker.hash));
        fetch = fetch_create(here, &maker.hash);
        require(way_run(&way, fetch, &most) == FETCH_DONE);
        require(bundles_complete(here, &maker.hash));
        fetch_destroy(fetch);
    }
}

static void what_is_here_is_not_asked_for(void **state)
{
    struct fetch_action action;
    struct fetch *fetch;

    (void)state;
    maker_bring(&maker, here, files, FILES);
    fetch = fetch_create(here, &maker.hash);
    assert_true(fetch_next(fetch, &action));
    assert_int_equal(action.kind, FETCH_DONE);
    assert_false(fetch_next(fetch, &action));
    fetch_destroy(fetch);
}

static void two_that_want_the_same_share_what_comes(void **state)
{
    struct way first = {.dice = dice_seeded(1)}, second = {.dice = dice_seeded(2)};
    struct fetch *one = fetch_create(here, &maker.hash), *two = fetch_create(here, &maker.hash);
    struct fetch_action action;
    unsigned most;

    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        while (fetch_next(one, &action))
            way_take(&first, &action);
        way_deliver(&first, one);
        while (fetch_next(two, &action))
            way_take(&second, &action);
        way_deliver(&second, two);
    }
    assert_int_equal(way_run(&second, two, &most), FETCH_DONE);
    assert_int_equal(way_run(&first, one, &most), FETCH_DONE);
    fetch_destroy(one);
    fetch_destroy(two);
}

static void a_home_that_refuses_or_sends_something_else_ends_it_with_the_reason(void **state)
{
    struct fetch *fetch = fetch_create(here, &maker.hash);
    struct fetch_action action;

    (void)state;
    assert_true(fetch_next(fetch, &action));
    assert_int_equal(action.kind, FETCH_ASK_MANIFEST);
    fetch_manifest(fetch, NULL, 0, "bundle 12 is not here");
    assert_true(fetch_next(fetch, &action));
    assert_int_equal(action.kind, FETCH_FAILED);
    assert_string_equal(action.reason, "bundle 12 is not here");
    fetch_destroy(fetch);

    fetch = fetch_create(here, &maker.hash);
    assert_true(fetch_next(fetch, &action));
    fetch_manifest(fetch, "something", 9, "");
    assert_true(fetch_next(fetch, &action));
    assert_int_equal(action.kind, FETCH_FAILED);
    fetch_destroy(fetch);

    fetch = fetch_create(here, &maker.hash);
    assert_true(fetch_next(fetch, &action));
    fetch_manifest(fetch, maker.packed, maker.size, NULL);
    assert_true(fetch_next(fetch, &action));
    assert_int_equal(action.kind, FETCH_ASK_BLOB);
    fetch_part(fetch, &action.hash, 0, "wrong", files[0].size < 5 ? files[0].size : 5, true, NULL);
    while (fetch_next(fetch, &action) && action.kind == FETCH_ASK_BLOB)
        continue;
    assert_int_equal(action.kind, FETCH_FAILED);
    assert_non_null(strstr(action.reason, "not the content"));
    fetch_destroy(fetch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_bundle_comes_whole_with_a_few_questions_ahead, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            a_bundle_comes_whole_over_a_way_that_loses_repeats_and_disorders, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_here_is_not_asked_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_that_want_the_same_share_what_comes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_home_that_refuses_or_sends_something_else_ends_it_with_the_reason, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
