/* Jobs from their submission to their end, as the manager of jobs lets them run. */
#include "tests/unit/jobs_fixture.h"

/* ---- pure parts ---- */

static void a_job_without_a_name_has_that_of_its_program(void **state)
{
    static const struct {
        const char *argv[6];
        const char *name;
    } rows[] = {
        {{"/usr/bin/python3", "/home/me/app.py", "x"}, "app.py"},
        {{"python3", "-u", "-X", "dev", "dir/app.py"}, "app.py"},
        {{"pypy3", "-m", "package.module", "x"}, "package.module"},
        {{"/usr/bin/python3.11", "-c", "print(1)"}, "python3.11"},
        {{"python3", "-"}, "-"},
        {{"python3"}, "python3"},
        {{"python3", "-m"}, "python3"},
        {{"./a.out", "b"}, "a.out"},
        {{"odd/"}, "odd/"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char name[SUBMISSION_MAX_NAME + 1];

        submission_name((char *const *)(uintptr_t)rows[i].argv, name);
        assert_string_equal(name, strcmp(rows[i].name, "-") == 0 ? "python3" : rows[i].name);
    }
}

static void durations_are_said_with_two_units_at_most(void **state)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } rows[] = {
        {0, "0 ms"},       {999, "999 ms"},       {1000, "1 s"},         {2500, "2.5 s"},
        {59999, "59.9 s"}, {60000, "1 min"},      {90000, "1 min 30 s"}, {5400000, "1 h 30 min"},
        {86400000, "1 d"}, {90000000, "1 d 1 h"}, {86460000, "1 d"},
    };
    char text[WORDS_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        assert_string_equal(words_duration(rows[i].ms, text), rows[i].text);
}

static void sentences_are_one_line_of_utf8_whatever_is_named_in_them(void **state)
{
    static const struct {
        const char *bytes, *text;
    } rows[] = {
        {"", ""},
        {"a job", "a job"},
        {"caf\xc3\xa9 \xe2\x82\xac", "caf\xc3\xa9 \xe2\x82\xac"},
        {"caf\xc3", "caf?"}, /* cut in the middle */
        {"\xe2\x82 x", "?? x"},
        {"\xff\n\t\x7f", "????"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char text[32];

        strcpy(text, rows[i].bytes);
        words_clean(text);
        assert_string_equal(text, rows[i].text);
    }
}

/* ---- jobs ---- */

static void a_job_runs_to_its_end_and_is_remembered(void **state)
{
    (void)state;
    for (int lasts = 0; lasts < 2; lasts++) {
        struct bench bench;
        uint64_t good, bad;

        bench_open(&bench, lasts);
        good = submit_text(&bench, "echo out; read line && echo more; exit 0");
        bad = submit_text(&bench, "echo err >&2; exit 3");
        assert_int_not_equal(good, bad);
        assert_int_equal(state_of(&bench, good), JOB_QUEUED); /* until the loop has its turn */
        wait_ends(&bench, 2);
        assert_end(&bench, good, JOB_COMPLETED, 0, "");
        assert_end(&bench, bad, JOB_FAILED, 3, "PE 0 ended with exit code 3 before charm.start()");
        assert_output(&bench, good, "out\n"); /* its standard input was at its end */
        assert_output(&bench, bad, "err\n");
        event_base_loop(bench.place.base, EVLOOP_NONBLOCK);
        assert_end(&bench, bad, JOB_FAILED, 3, "PE 0 ended with exit code 3 before charm.start()");
        bench_close(&bench);
    }
}

static void jobs_wait_for_slots_and_the_urgent_one_goes_first(void **state)
{
    struct bench bench;
    char reason[JOBS_REASON_SIZE];
    enum job_state now;
    uint64_t first, second, third, urgent;
    int one, two;

    (void)state;
    bench_open(&bench, true);
    one = gate_make(&bench, "one");
    two = gate_make(&bench, "two");
    first = submit_text(&bench, "read line < one");
    second = submit_text(&bench, "read line < two");
    wait_state(&bench, second, JOB_RUNNING);
    third = submit(&bench, &(struct script){.text = "true", .pes = 1, .name = "third"});
    urgent = submit(&bench, &(struct script){.text = "true", .pes = 1, .priority = 5});
    event_base_loop(bench.place.base, EVLOOP_NONBLOCK);
    assert_int_equal(state_of(&bench, first), JOB_RUNNING);
    assert_true(jobs_state(bench.jobs, third, &now, reason));
    assert_int_equal(now, JOB_QUEUED);
    assert_string_not_equal(reason, "");
    assert_int_equal(jobs_figures(bench.jobs).queued, 2);
    assert_int_equal(jobs_figures(bench.jobs).running, 2);
    assert_int_equal(jobs_figures(bench.jobs).used, 2);
    assert_true(bench.moved > 0);
    gate_open(one);
    wait_ends(&bench, 3);
    assert_int_equal(bench.ended[0], first);
    assert_int_equal(bench.ended[1], urgent);
    assert_int_equal(bench.ended[2], third);
    gate_open(two);
    wait_ends(&bench, 4);
    assert_int_equal(jobs_figures(bench.jobs).used, 0);
    close(one);
    close(two);
    bench_close(&bench);
}

static void a_job_that_waits_can_be_cancelled_and_one_that_is_over_cannot(void **state)
{
    struct bench bench;
    char reason[JOBS_REASON_SIZE], expected[JOBS_REASON_SIZE], text[CONTROL_ID_CHARS + 1];
    uint64_t running, waiting;

    (void)state;
    bench_open(&bench, true);
    running = submit(&bench, &(struct script){.text = "exec sleep 1000", .pes = 2});
    waiting = submit_text(&bench, "true");
    wait_state(&bench, running, JOB_RUNNING);
    assert_int_equal(jobs_cancel(bench.jobs, waiting, false, reason), 0);
    assert_end(&bench, waiting, JOB_CANCELLED, 130, "the job was cancelled before it started");
    assert_int_equal(jobs_cancel(bench.jobs, running, false, reason), 0);
    wait_ends(&bench, 2);
    assert_end(&bench, running, JOB_CANCELLED, 130, "the job was cancelled");
    assert_int_equal(jobs_cancel(bench.jobs, running, true, reason), -1);
    control_id_format(running, text);
    snprintf(expected, sizeof(expected), "job %s is over: cancelled", text);
    assert_string_equal(reason, expected);
    assert_int_equal(jobs_cancel(bench.jobs, 1, true, reason), -1);
    assert_string_equal(reason, "there is no job 00000001");
    bench_close(&bench);
}

static void a_job_that_runs_for_too_long_fails(void **state)
{
    struct bench bench;
    uint64_t id;

    (void)state;
    bench_open(&bench, true);
    id = submit(&bench,
                &(struct script){.text = "exec sleep 1000", .pes = 1, .time_limit_ms = 1500});
    wait_ends(&bench, 1);
    assert_end(&bench, id, JOB_FAILED, 124, "the time limit of 1.5 s is reached");
    bench_close(&bench);
}

static void a_session_is_closed_with_success_and_only_a_session(void **state)
{
    struct bench bench;
    char reason[JOBS_REASON_SIZE];
    uint64_t session, waiting, job;

    (void)state;
    bench_open(&bench, true);
    session =
        submit(&bench, &(struct script){.text = "exec sleep 1000", .pes = 2, .session = true});
    waiting = submit(&bench, &(struct script){.text = "true", .pes = 1, .session = true});
    job = submit_text(&bench, "true");
    wait_state(&bench, session, JOB_RUNNING);
    assert_int_equal(jobs_figures(bench.jobs).sessions, 2);
    assert_int_equal(jobs_close(bench.jobs, job, NULL, reason), -1);
    assert_non_null(strstr(reason, "is no session: cancel it"));
    assert_int_equal(jobs_close(bench.jobs, waiting, NULL, reason), 0);
    assert_end(&bench, waiting, JOB_CANCELLED, 130, "the session was closed before it started");
    assert_int_equal(jobs_close(bench.jobs, session, "nobody came", reason), 0);
    wait_ends(&bench, 3);
    assert_end(&bench, session, JOB_COMPLETED, 0, "nobody came");
    assert_int_equal(jobs_figures(bench.jobs).sessions, 0);
    bench_close(&bench);
}

static void the_same_key_is_the_same_job(void **state)
{
    const struct script script = {.text = "true", .pes = 1, .key = "0123456789abcdef"};

    (void)state;
    for (int lasts = 0; lasts < 2; lasts++) {
        struct bench bench;
        uint64_t id;

        bench_open(&bench, lasts);
        id = submit(&bench, &script);
        assert_int_equal(submit(&bench, &script), id);
        wait_ends(&bench, 1);
        assert_int_equal(submit(&bench, &script), id); /* over or not */
        bench_close(&bench);
    }
}

static void what_cannot_work_is_refused_at_once(void **state)
{
    static const struct {
        struct script script;
        const char *part;
    } rows[] = {
        {{.text = "true", .pes = 5000}, "a job has 1 to 1024 PEs"},
        {{.text = "true", .pes = 1, .priority = 1001}, "priority 1001 is out of range"},
        {{.text = "true", .pes = 1, .time_limit_ms = UINT64_MAX}, "is too long"},
        {{.text = "true", .pes = 1, .key = "short"}, "the key of a submission has 16 bytes"},
        {{.text = "true",
          .pes = 1,
          .name = "12345678901234567890123456789012345678901234567890123456789012345"
                  "67890123456789012345678901234567890123456789012345678901234567890"},
         "a name of 130 bytes is too long"},
    };
    struct bench bench;
    char reason[JOBS_REASON_SIZE];
    uint64_t id;

    (void)state;
    bench_open(&bench, true);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        assert_int_equal(submit_try(&bench, &rows[i].script, &id, reason), -1);
        if (strstr(reason, rows[i].part) == NULL)
            fail_msg("%s", reason);
    }
    assert_int_equal(jobs_figures(bench.jobs).queued, 0);
    bench_close(&bench);
}

/* Submit with one thing wrong that the scripts above cannot have. */
static void assert_refused(struct bench *bench, const char *program, const char *cwd,
                           size_t argument_size, const char *part)
{
    C4p__Submit submission = C4P__SUBMIT__INIT;
    ProtobufCBinaryData argv[] = {bytes_of(program), {argument_size, (uint8_t *)"a\0b"}};
    char reason[JOBS_REASON_SIZE] = "";
    uint64_t id;

    submission.n_argv = *program != '\0' ? 2 : 0;
    submission.argv = argv;
    submission.cwd = bytes_of(cwd);
    submission.pes = 1;
    assert_int_equal(jobs_submit(bench->jobs, &submission, JOBS_PROGRAM, &id, reason), -1);
    if (strstr(reason, part) == NULL)
        fail_msg("%s", reason);
}

static void a_program_that_is_not_there_is_refused_at_once(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, true);
    assert_refused(&bench, "", "/", 1, "the job has no command");
    assert_refused(&bench, "/bin/sh", "/", 3, "there is a NUL");
    assert_refused(&bench, "/no/such", "/", 1, "the program /no/such: No such file");
    assert_refused(&bench, "no-such-program", "/", 1, "no-such-program: No such file");
    assert_refused(&bench, "./sh", "/tmp", 1, "./sh: No such file"); /* where the job will be */
    assert_refused(&bench, "/bin/sh", "/no/such", 1, "the directory /no/such: No such file");
    assert_refused(&bench, "/bin/sh", "/bin/sh", 1, "/bin/sh: Not a directory");
    assert_refused(&bench, "/bin/sh", "tmp", 1, "tmp: is no absolute path");
    bench_close(&bench);
}

static void a_full_queue_and_a_daemon_that_stops_take_no_more(void **state)
{
    const struct script script = {.text = "true", .pes = SLOTS + 1}; /* waits for ever */
    struct bench bench;
    char reason[JOBS_REASON_SIZE];
    uint64_t id;

    (void)state;
    bench_open(&bench, true);
    for (unsigned i = 0; i < 8; i++)
        submit(&bench, &script);
    assert_int_equal(submit_try(&bench, &script, &id, reason), -1);
    assert_string_equal(reason, "8 jobs wait already, which is the limit: try again later");
    jobs_drain(bench.jobs);
    assert_int_equal(submit_try(&bench, &script, &id, reason), -1);
    assert_string_equal(reason, "the daemon is stopping and takes no more jobs (try "
                                "again when it runs again)");
    bench_close(&bench);
}

static void a_job_stands_still_while_a_follower_does_not_keep_up(void **state)
{
    struct bench bench;
    uint64_t id;

    (void)state;
    bench_open(&bench, false);
    bench.stalled = true;
    id = submit_text(&bench, "echo one; > done");
    wait_for_file(&bench, "done");
    wait_state(&bench, id, JOB_RUNNING);
    for (int i = 0; i < 50; i++)
        event_base_loop(bench.place.base, EVLOOP_NONBLOCK);
    assert_int_equal(bench.ends, 0);
    bench.stalled = false;
    jobs_resume(bench.jobs, id);
    wait_ends(&bench, 1);
    assert_output(&bench, id, "one\n");
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_without_a_name_has_that_of_its_program),
        cmocka_unit_test(durations_are_said_with_two_units_at_most),
        cmocka_unit_test(sentences_are_one_line_of_utf8_whatever_is_named_in_them),
        watched_test(a_job_runs_to_its_end_and_is_remembered),
        watched_test(jobs_wait_for_slots_and_the_urgent_one_goes_first),
        watched_test(a_job_that_waits_can_be_cancelled_and_one_that_is_over_cannot),
        watched_test(a_job_that_runs_for_too_long_fails),
        watched_test(a_session_is_closed_with_success_and_only_a_session),
        watched_test(the_same_key_is_the_same_job),
        watched_test(what_cannot_work_is_refused_at_once),
        watched_test(a_program_that_is_not_there_is_refused_at_once),
        watched_test(a_full_queue_and_a_daemon_that_stops_take_no_more),
        watched_test(a_job_stands_still_while_a_follower_does_not_keep_up),
    };

    if (spawn_reserve_fds() != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
