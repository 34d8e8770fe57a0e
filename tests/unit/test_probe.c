/*
 * Which interpreter fits, and what is said where none does. The interpreters are scripts that say
 * what the test wants.
 */
#include "tests/unit/bundle_maker.h"

#include <event2/event.h>

#include "daemon/jobs/probe.h"

static struct scratch scratch;
static struct event_base *base;
static struct job_place place;
static struct probes *probes;

static int set_up(void **state)
{
    watchdog_start(state);
    scratch_make(&scratch);
    signal(SIGCHLD, SIG_IGN); /* the daemon's loop would reap them */
    base = event_base_new();
    place = (struct job_place){.base = base, .host = "b", .package_dir = scratch.path};
    getrlimit(RLIMIT_NOFILE, &place.files);
    probes = probes_create(&place, NULL);
    require(base != NULL && probes != NULL);
    require(setenv("PATH", scratch_file(&scratch, "bin"), 1) == 0);
    require(setenv("C4P_PYTHON", scratch_file(&scratch, "own/python3"), 1) == 0);
    require(mkdir(scratch_file(&scratch, "bin"), 0700) == 0);
    require(mkdir(scratch_file(&scratch, "own"), 0700) == 0);
    require(mkdir(scratch_file(&scratch, "home"), 0700) == 0);
    return 0;
}

static int tear_down(void **state)
{
    probes_destroy(probes);
    event_base_free(base);
    scratch_remove(&scratch);
    signal(SIGCHLD, SIG_DFL);
    return watchdog_stop(state);
}

/* An interpreter that writes this, and counts how often it was asked. */
static void script(const char *name, const char *text)
{
    FILE *file = fopen(scratch_file(&scratch, name), "we");

    require(file != NULL);
    fprintf(file, "#!/bin/sh\necho asked >>%s/asked\n%s\n", scratch.path, text);
    require(fchmod(fileno(file), 0700) == 0 && fclose(file) == 0);
}

#define SAYS(version, more)                                                                        \
    "printf 'hello\\n\\nc4p-probe 1\\nversion " version "\\npackage 0.1.0\\n" more "end\\nbye\\n'"

static unsigned times_asked(void)
{
    FILE *file = fopen(scratch_file(&scratch, "asked"), "re");
    unsigned count = 0;
    char line[16];

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        count++;
    if (file != NULL)
        fclose(file);
    return count;
}

/* ---- on a node ---- */

static struct probe_answer answer;
static unsigned told;

static void on_checked(void *context, const struct probe_answer *news)
{
    (void)context;
    answer = *news;
    told++;
}

static void run_until(unsigned count)
{
    while (told < count)
        require(event_base_loop(base, EVLOOP_ONCE) == 0);
}

static void check(const char *command, const char *module)
{
    char *modules[] = {(char *)(uintptr_t) "numpy", (char *)(uintptr_t)module};
    C4p__Python python = C4P__PYTHON__INIT;

    python.command = (ProtobufCBinaryData){strlen(command), (uint8_t *)(uintptr_t)command};
    python.version = (char *)(uintptr_t) "3.11";
    python.package = (char *)(uintptr_t) "0.1.0";
    python.modules = modules;
    python.n_modules = 2;
    told = 0;
    assert_non_null(probe_check(probes, &python, on_checked, NULL));
    assert_int_equal(told, 0); /* never from within */
    run_until(1);
}

static void the_same_path_is_taken_if_it_fits(void **state)
{
    (void)state;
    script("home/python3", SAYS("3.11", "standard json\\n"));
    script("bin/python3", SAYS("3.11", ""));
    check(scratch_file(&scratch, "home/python3"), "scipy");
    assert_string_equal(answer.unfit, "");
    assert_string_equal(answer.command, scratch_file(&scratch, "home/python3"));
    assert_string_equal(answer.remark, "");
}

static void without_it_the_same_name_in_the_path_is_and_the_log_says_so(void **state)
{
    (void)state;
    script("bin/python3", SAYS("3.11", ""));
    check("/nowhere/venv/bin/python3", "scipy");
    assert_string_equal(answer.unfit, "");
    assert_string_equal(answer.command, scratch_file(&scratch, "bin/python3"));
    assert_non_null(strstr(answer.remark, "/nowhere/venv/bin/python3"));
}

static void the_nodes_own_is_the_last_resort(void **state)
{
    (void)state;
    script("bin/python3", SAYS("3.9", ""));
    script("own/python3", SAYS("3.11", ""));
    check("/nowhere/venv/bin/python3", "scipy");
    assert_string_equal(answer.unfit, "");
    assert_string_equal(answer.command, scratch_file(&scratch, "own/python3"));
}

static void another_version_is_named(void **state)
{
    (void)state;
    script("bin/python3", SAYS("3.9", "missing scipy\\n"));
    check("/nowhere/python3", "scipy");
    assert_string_equal(answer.unfit, "host b: Python 3.9 there, 3.11 here");
}

static void modules_that_are_not_there_are_named(void **state)
{
    (void)state;
    script("bin/python3", SAYS("3.11", "missing scipy\\n"));
    script("own/python3", SAYS("3.9", ""));
    check("/nowhere/python3", "scipy");
    assert_string_equal(answer.unfit, "host b has no module scipy");
    script("bin/python3", SAYS("3.11", "missing scipy\\nmissing numpy\\n"));
    check("/nowhere/python3", "pandas");
    assert_string_equal(answer.unfit, "host b has no modules scipy and numpy");
}

static void a_host_without_python_or_with_one_that_fails_says_so(void **state)
{
    (void)state;
    check("/nowhere/python3", "scipy");
    assert_string_equal(answer.unfit, "host b has no program /nowhere/python3");
    script("bin/python3", "exit 1");
    check("/nowhere/python3", "scipy");
    assert_non_null(strstr(answer.unfit, "it is no Python that answers"));
    script("bin/python3", "printf 'c4p-probe 1\\nversion 3.11\\nend\\n'");
    check("/nowhere/python3", "pandas");
    assert_non_null(strstr(answer.unfit, "cannot import c4py"));
}

static void what_makes_no_sense_is_refused_and_starts_nothing(void **state)
{
    (void)state;
    script("bin/python3", SAYS("3.11", ""));
    check("python3", "-c");
    assert_non_null(strstr(answer.unfit, "makes no sense"));
    assert_int_equal(times_asked(), 0);
}

static void an_answer_is_kept_and_shared_by_all_who_ask_the_same(void **state)
{
    C4p__Python python = C4P__PYTHON__INIT;
    struct probe *unwanted;

    (void)state;
    script("bin/python3", SAYS("3.11", ""));
    python.command = (ProtobufCBinaryData){7, (uint8_t *)(uintptr_t) "python3"};
    python.version = (char *)(uintptr_t) "3.11";
    python.package = (char *)(uintptr_t) "0.1.0";
    told = 0;
    assert_non_null(probe_check(probes, &python, on_checked, NULL));
    unwanted = probe_check(probes, &python, on_checked, NULL);
    assert_non_null(probe_check(probes, &python, on_checked, NULL));
    probe_cancel(unwanted);
    run_until(2);
    assert_non_null(probe_check(probes, &python, on_checked, NULL));
    run_until(3);
    assert_string_equal(answer.unfit, "");
    assert_int_equal(times_asked(), 1);
    probe_cancel(probe_check(probes, &python, on_checked, NULL));
    assert_non_null(probe_check(probes, NULL, on_checked, NULL));
    run_until(4);
}

/* ---- at the home ---- */

static char needed[PROBE_REASON_SIZE];

static void on_needed(void *context, const C4p__Python *need, const char *reason)
{
    (void)context;
    if (need == NULL) {
        snprintf(needed, sizeof(needed), "%s", reason);
    } else {
        snprintf(needed, sizeof(needed), "%s %s %s", need->command.len > 0 ? "program" : "nothing",
                 need->version, need->package);
        for (size_t i = 0; i < need->n_modules; i++)
            snprintf(needed + strlen(needed), sizeof(needed) - strlen(needed), " %s",
                     need->modules[i]);
        if (need->path.len > 0)
            snprintf(needed + strlen(needed), sizeof(needed) - strlen(needed), " in %.*s",
                     (int)need->path.len, (const char *)need->path.data);
    }
    told++;
}

static ProtobufCBinaryData text_of(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static const char *search = ""; /* PYTHONPATH of the job */

static void need(struct bundles *bundles, const struct bundle_hash *hash, const char *program)
{
    struct probes *own = probes_create(&place, bundles);
    C4p__Submit submit = C4P__SUBMIT__INIT;
    ProtobufCBinaryData argv[] = {text_of(program), text_of("app.py")};
    char path[PATH_MAX + 80], searched[PATH_MAX + 80];
    ProtobufCBinaryData env[2];

    snprintf(path, sizeof(path), "PATH=%s", scratch_file(&scratch, "bin"));
    snprintf(searched, sizeof(searched), "PYTHONPATH=%s", search);
    env[0] = text_of(path);
    env[1] = text_of(searched);
    submit.n_argv = 2;
    submit.argv = argv;
    submit.n_env = 2;
    submit.env = env;
    submit.cwd = text_of(scratch.path);
    if (hash != NULL)
        submit.bundle = (ProtobufCBinaryData){BUNDLE_HASH_SIZE, (uint8_t *)(uintptr_t)hash->bytes};
    told = 0;
    assert_non_null(probe_need(own, &submit, on_needed, NULL));
    run_until(1);
    probes_destroy(own);
}

static void a_job_needs_what_its_own_host_has(void **state)
{
    char *modules[] = {(char *)(uintptr_t) "numpy", (char *)(uintptr_t) "json",
                       (char *)(uintptr_t) "helper"};
    const struct maker_file files[] = {{"run", "x", 0, 0755}};
    struct bundles *bundles = maker_open(scratch.path, 1 << 20, 1);
    char own[PATH_MAX + 64];
    struct maker maker;

    (void)state;
    maker_make(&maker, scratch.path, files, 1);
    maker.message.modules = modules;
    maker.message.n_modules = 3;
    maker.size = c4p__bundle_manifest__pack(&maker.message, maker.packed);
    maker_hash(&maker.hash, maker.packed, maker.size);
    maker_bring(&maker, bundles, files, 1);
    script("bin/python3", SAYS("3.11", "missing helper\\nstandard json\\n"));
    script("bin/tool", "exit 1");
    script("run", "exit 1");
    snprintf(own, sizeof(own), "%s", scratch_file(&scratch, "run"));
    need(bundles, &maker.hash, "python3");
    assert_string_equal(needed, "program 3.11 0.1.0 numpy");
    assert_int_equal(times_asked(), 1);
    need(bundles, &maker.hash, "tool"); /* no Python: it is not started to find out */
    assert_string_equal(needed, "program  ");
    need(bundles, &maker.hash, own); /* it comes along */
    assert_string_equal(needed, "nothing  ");
    assert_int_equal(times_asked(), 1);
    need(NULL, NULL, "nothing-of-this-name");
    assert_non_null(strstr(needed, "nothing-of-this-name: "));
    bundles_close(bundles);
}

/* This one finds what it is asked for where it is told to look, as Python does. */
#define LOOKS                                                                                      \
    "printf 'c4p-probe 1\nversion 3.11\npackage 0.1.0\n'; "                                        \
    "case \"$PYTHONPATH\" in *" OTHER_PLACE ") ;; *) echo missing numpy;; esac; echo end"
#define OTHER_PLACE ":/opt/site"

static void what_is_found_through_the_jobs_own_path_is_needed_there_too(void **state)
{
    char list[PATH_MAX + 80], *modules[] = {(char *)(uintptr_t) "numpy"};
    const struct maker_file files[] = {{"lib/x", "x", 0, 0644}};
    struct bundles *bundles = maker_open(scratch.path, 1 << 20, 1);
    struct maker maker;

    (void)state;
    maker_make(&maker, scratch.path, files, 1);
    maker.message.modules = modules;
    maker.message.n_modules = 1;
    maker.size = c4p__bundle_manifest__pack(&maker.message, maker.packed);
    maker_hash(&maker.hash, maker.packed, maker.size);
    maker_bring(&maker, bundles, files, 1);
    script("bin/python3", LOOKS);
    need(bundles, &maker.hash, "python3");
    assert_string_equal(needed, "program 3.11 0.1.0");
    /* What travels along is elsewhere there, and what is relative leads to what travels along. */
    snprintf(list, sizeof(list), "%s/lib::lib:/opt/./site/", scratch.path);
    search = list;
    need(bundles, &maker.hash, "python3");
    search = "";
    assert_string_equal(needed, "program 3.11 0.1.0 numpy in /opt/site");
    bundles_close(bundles);
}

static void a_node_looks_where_the_job_does(void **state)
{
    char *modules[] = {(char *)(uintptr_t) "numpy"};
    C4p__Python python = C4P__PYTHON__INIT;
    const char *paths[] = {"/opt/other", "/opt/site"};

    (void)state;
    script("bin/python3", LOOKS);
    python.command = text_of("python3");
    python.version = (char *)(uintptr_t) "3.11";
    python.package = (char *)(uintptr_t) "0.1.0";
    python.modules = modules;
    python.n_modules = 1;
    for (unsigned i = 0; i < 2; i++) {
        told = 0;
        python.path = text_of(paths[i]);
        assert_non_null(probe_check(probes, &python, on_checked, NULL));
        run_until(1);
        assert_string_equal(answer.unfit, i == 0 ? "host b has no module numpy" : "");
    }
    told = 0;
    python.path = (ProtobufCBinaryData){3, (uint8_t *)(uintptr_t) "a\0b"};
    assert_non_null(probe_check(probes, &python, on_checked, NULL));
    run_until(1);
    assert_non_null(strstr(answer.unfit, "makes no sense"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_same_path_is_taken_if_it_fits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_it_the_same_name_in_the_path_is_and_the_log_says_so,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_nodes_own_is_the_last_resort, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_version_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(modules_that_are_not_there_are_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_host_without_python_or_with_one_that_fails_says_so,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_makes_no_sense_is_refused_and_starts_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_answer_is_kept_and_shared_by_all_who_ask_the_same,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_job_needs_what_its_own_host_has, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_found_through_the_jobs_own_path_is_needed_there_too,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_node_looks_where_the_job_does, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
