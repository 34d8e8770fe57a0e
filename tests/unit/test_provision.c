/*
 * A home and a guest's host, each with a cache of its own, and what they say to each other lost now
 * and then.
 */
#include "tests/unit/bundle_maker.h"

#include <event2/event.h>

#include "daemon/cluster/links.h"
#include "daemon/jobs/provision.h"

#define QUEUE 64

struct host {
    struct scratch scratch;
    struct bundles *bundles;
    struct provisions *provisions;
    struct node_key key;
};

static struct host hosts[2]; /* the home, and the other one */
static struct event_base *base;
static struct job_place place;
static struct probes *probes;
static struct event *carrier;

/* ---- what they say ---- */

static struct letter {
    unsigned to;
    uint8_t *bytes;
    size_t size;
} letters[QUEUE];
static unsigned waiting, lost_every, sent, room;

static int on_send(void *context, const struct node_key *to, C4p__Peer *message)
{
    struct letter *letter = &letters[waiting];

    (void)context;
    if (lost_every > 0 && ++sent % lost_every == 0)
        return 0;
    if (room > 0 && waiting >= room) {
        errno = EAGAIN;
        return -1;
    }
    require(waiting < QUEUE);
    letter->to = memcmp(to, &hosts[0].key, sizeof(*to)) == 0 ? 0 : 1;
    letter->size = c4p__peer__get_packed_size(message);
    letter->bytes = malloc(letter->size + 1);
    require(letter->bytes != NULL);
    c4p__peer__pack(message, letter->bytes);
    waiting++;
    event_add(carrier, &(struct timeval){0, 0});
    return 0;
}

static void on_carry(evutil_socket_t fd, short what, void *context)
{
    struct letter letter = letters[0];
    C4p__Peer *message = c4p__peer__unpack(NULL, letter.size, letter.bytes);

    (void)fd, (void)what, (void)context;
    memmove(letters, letters + 1, --waiting * sizeof(*letters));
    if (waiting > 0)
        event_add(carrier, &(struct timeval){0, 0});
    require(provisions_message(hosts[letter.to].provisions, &hosts[1 - letter.to].key, message));
    c4p__peer__free_unpacked(message, NULL);
    free(letter.bytes);
}

/* ---- the hosts ---- */

static void host_open(struct host *host, unsigned number)
{
    struct provisions_settings settings = {
        .base = base, .probes = probes, .retry_ms = 5, .send = on_send};

    scratch_make(&host->scratch);
    memset(&host->key, (int)number + 1, sizeof(host->key));
    host->bundles = maker_open(host->scratch.path, 8 << 20, 1);
    settings.bundles = host->bundles;
    settings.state_dir = host->scratch.path;
    host->provisions = provisions_create(&settings);
    require(host->provisions != NULL);
}

static void host_close(struct host *host)
{
    provisions_destroy(host->provisions);
    bundles_close(host->bundles);
    scratch_remove(&host->scratch);
}

static int set_up(void **state)
{
    watchdog_start(state);
    base = event_base_new();
    place = (struct job_place){.base = base, .host = "b"};
    probes = probes_create(&place, NULL);
    carrier = event_new(base, -1, 0, on_carry, NULL);
    require(base != NULL && probes != NULL && carrier != NULL);
    waiting = lost_every = sent = room = 0;
    for (unsigned i = 0; i < 2; i++)
        host_open(&hosts[i], i);
    return 0;
}

static int tear_down(void **state)
{
    for (unsigned i = 0; i < 2; i++)
        host_close(&hosts[i]);
    while (waiting > 0)
        free(letters[--waiting].bytes);
    probes_destroy(probes);
    event_free(carrier);
    event_base_free(base);
    return watchdog_stop(state);
}

/* ---- a job ---- */

static char large[3 * BUNDLE_PART + 7];
static const struct maker_file files[] = {{"app.py", "print(1)\n", 0, 0},
                                          {"large", large, sizeof(large), 0},
                                          {"pkg/__init__.py", "", 0, 0}};
static struct maker maker;

static struct outcome {
    bool told, permanent;
    char failed[480], cwd[PATH_MAX], app[PATH_MAX];
} outcome;

static void text_take(char *text, const ProtobufCBinaryData *bytes)
{
    snprintf(text, PATH_MAX, "%.*s", (int)bytes->len, (const char *)bytes->data);
}

static void on_told(void *context, const struct provision_result *result)
{
    (void)context;
    outcome.told = true;
    outcome.permanent = result->permanent;
    snprintf(outcome.failed, sizeof(outcome.failed), "%s",
             result->failed != NULL ? result->failed : "");
    text_take(outcome.cwd, &result->submit->cwd);
    text_take(outcome.app, &result->submit->argv[1]);
}

static ProtobufCBinaryData text_of(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static struct provision *start(const char *root, const char *cwd, bool bundled)
{
    C4p__Prepare prepare = C4P__PREPARE__INIT;
    ProtobufCBinaryData argv[2];
    char app[PATH_MAX];
    struct provision *provision;

    snprintf(app, sizeof(app), "%s/app.py", root);
    argv[0] = text_of("python3");
    argv[1] = text_of(app);
    prepare.job = 77;
    prepare.n_argv = 2;
    prepare.argv = argv;
    prepare.cwd = text_of(cwd);
    if (bundled)
        prepare.bundle = (ProtobufCBinaryData){BUNDLE_HASH_SIZE, maker.hash.bytes};
    memset(&outcome, 0, sizeof(outcome));
    provision = provision_start(hosts[1].provisions, &hosts[0].key, "a", &prepare, on_told, NULL);
    require(provision != NULL && !outcome.told);
    return provision;
}

static void bring(const char *root)
{
    maker_make(&maker, root, files, 3);
    maker_bring(&maker, hosts[0].bundles, files, 3);
}

static void run(void)
{
    while (!outcome.told)
        require(event_base_loop(base, EVLOOP_ONCE) == 0);
}

static void files_are_fetched_copied_and_gone_with_the_job(void **state)
{
    struct provision *provision;
    char copy[PATH_MAX + 64];

    (void)state;
    bring("/nowhere/app");
    provision = start("/nowhere/app", "/nowhere/app/runs", true);
    run();
    assert_string_equal(outcome.failed, "");
    assert_int_equal(access(outcome.app, R_OK), 0);
    assert_int_equal(access(outcome.cwd, X_OK), 0);
    snprintf(copy, sizeof(copy), "%s/../large", outcome.cwd);
    assert_int_equal(access(copy, R_OK), 0);
    snprintf(copy, sizeof(copy), "%s", outcome.app);
    /* Whatever the program left behind. */
    require(chmod(outcome.cwd, 0) == 0);
    provision_end(provision);
    assert_int_equal(access(copy, F_OK), -1);
    assert_int_equal(bundles_figures(hosts[1].bundles).pinned, 0);
    assert_true(bundles_complete(hosts[1].bundles, &maker.hash));
    /* The second time all of it is here. */
    provision = start("/nowhere/app", "/elsewhere", true);
    run();
    assert_string_equal(outcome.failed, "");
    assert_int_equal(access(outcome.cwd, X_OK), 0);
    provision_end(provision);
}

static void what_is_lost_on_the_way_is_asked_for_again(void **state)
{
    struct provision *provision;

    (void)state;
    lost_every = 7;
    bring("/nowhere/app");
    provision = start("/nowhere/app", "/nowhere/app", true);
    run();
    assert_string_equal(outcome.failed, "");
    assert_int_equal(access(outcome.app, R_OK), 0);
    provision_end(provision);
}

static void what_found_no_room_in_the_link_is_asked_for_again(void **state)
{
    struct provision *provision;

    (void)state;
    /* Of what is asked for ahead, half has no room; alone, a fetch never comes near the limit. */
    room = FETCH_WINDOW / 2;
    assert_true(8 * FETCH_WINDOW * (size_t)BUNDLE_PART <= LINKS_QUEUE_BYTES);
    bring("/nowhere/app");
    provision = start("/nowhere/app", "/nowhere/app", true);
    run();
    assert_string_equal(outcome.failed, "");
    assert_int_equal(access(outcome.app, R_OK), 0);
    provision_end(provision);
}

static void files_that_are_in_place_are_used_there(void **state)
{
    char root[PATH_MAX + 64], error[BUNDLE_ERROR_SIZE];
    struct provision *provision;

    (void)state;
    snprintf(root, sizeof(root), "%s/app", hosts[1].scratch.path);
    bring(root);
    assert_int_equal(bundle_unpack(hosts[0].bundles, &maker.hash, root, error), 0);
    provision = start(root, root, true);
    run();
    assert_string_equal(outcome.failed, "");
    assert_string_equal(outcome.cwd, root);
    assert_false(bundles_complete(hosts[1].bundles, &maker.hash));
    provision_end(provision);
    assert_int_equal(access(outcome.app, R_OK), 0);
}

static void a_home_that_is_lost_or_has_not_the_bundle_fails_it_with_the_reason(void **state)
{
    struct provision *provision;

    (void)state;
    bring("/nowhere/app");
    provision = start("/nowhere/app", "/nowhere/app", true);
    provisions_down(hosts[1].provisions, &hosts[1].key, "it is another one");
    provisions_down(hosts[1].provisions, &hosts[0].key, "it does not answer");
    run();
    assert_string_equal(outcome.failed, "the job's files: the home a is lost: it does not answer");
    assert_false(outcome.permanent);
    provision_end(provision);

    bundles_evict(hosts[0].bundles, INT64_MAX);
    provision = start("/nowhere/app", "/nowhere/app", true);
    run();
    assert_non_null(strstr(outcome.failed, "is not here"));
    provision_end(provision);
}

static void one_that_is_ended_early_leaves_nothing(void **state)
{
    struct provision *provision;

    (void)state;
    bring("/nowhere/app");
    provision = start("/nowhere/app", "/nowhere/app", true);
    for (unsigned i = 0; i < 6; i++)
        require(event_base_loop(base, EVLOOP_ONCE) == 0);
    provision_end(provision);
    provision = start("/nowhere/app", "/nowhere/app", true);
    run();
    assert_string_equal(outcome.failed, "");
    provision_end(provision);
}

static void without_a_bundle_the_directory_must_be_there(void **state)
{
    struct provision *provision;

    (void)state;
    provision = start("/nowhere/app", "/nowhere/app", false);
    run();
    assert_non_null(strstr(outcome.failed, "no directory /nowhere/app"));
    assert_true(outcome.permanent);
    provision_end(provision);
    provision = start("/", "/", false);
    run();
    assert_string_equal(outcome.failed, "");
    assert_string_equal(outcome.app, "//app.py");
    provision_end(provision);
}

static void what_an_earlier_daemon_left_goes_at_the_start(void **state)
{
    const struct provisions_settings settings = {.base = base,
                                                 .probes = probes,
                                                 .bundles = hosts[1].bundles,
                                                 .state_dir = hosts[1].scratch.path,
                                                 .send = on_send};
    char path[PATH_MAX + 64];
    struct provisions *next;

    (void)state;
    snprintf(path, sizeof(path), "%s/work/old", hosts[1].scratch.path);
    require(mkdir(path, 0500) == 0);
    next = provisions_create(&settings);
    assert_int_equal(access(path, F_OK), -1);
    provisions_destroy(next);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_are_fetched_copied_and_gone_with_the_job, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_lost_on_the_way_is_asked_for_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_found_no_room_in_the_link_is_asked_for_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(files_that_are_in_place_are_used_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_home_that_is_lost_or_has_not_the_bundle_fails_it_with_the_reason, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_that_is_ended_early_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_bundle_the_directory_must_be_there, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_an_earlier_daemon_left_goes_at_the_start, set_up,
                                        tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
