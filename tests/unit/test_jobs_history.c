/* What the manager of jobs remembers: lists, what is forgotten, and what a restart or a kill leaves. */
#include "tests/unit/jobs_fixture.h"

/* ---- a daemon that is stopped ---- */

static void what_ended_is_there_after_a_restart(void **state)
{
    struct bench bench;
    struct jobs_settings settings;
    uint64_t id;

    (void)state;
    bench_open(&bench, true);
    id = submit(&bench, &(struct script){.text = "echo kept; exit 7", .pes = 2});
    wait_ends(&bench, 1);
    jobs_end(&bench);
    settings = settings_of(&bench, true);
    jobs_begin(&bench, &settings);
    assert_int_equal(state_of(&bench, id), JOB_FAILED);
    assert_output(&bench, id, "kept\nkept\n");
    bench_close(&bench);
}

static void a_daemon_that_is_stopped_ends_its_jobs_and_keeps_those_that_wait(void **state)
{
    struct bench bench;
    struct jobs_settings settings;
    uint64_t running, waiting;

    (void)state;
    bench_open(&bench, true);
    running = submit(&bench, &(struct script){.text = "exec sleep 1000", .pes = 2});
    waiting = submit_text(&bench, "true");
    wait_state(&bench, running, JOB_RUNNING);
    jobs_end(&bench); /* with no turn of the loop */
    settings = settings_of(&bench, true);
    jobs_begin(&bench, &settings);
    assert_end(&bench, running, JOB_CANCELLED, 130,
               "the job was cancelled: the daemon was stopped");
    wait_ends(&bench, 1);
    assert_end(&bench, waiting, JOB_COMPLETED, 0, "");
    bench_close(&bench);
}

/* ---- descriptions ---- */

struct seen {
    unsigned count;
    uint64_t id[8];
    char name[8][16];
    enum job_state state[8];
};

static bool on_info(void *context, const C4p__JobInfo *info)
{
    struct seen *seen = context;

    require(seen->count < 8);
    seen->id[seen->count] = info->id;
    seen->state[seen->count] = (enum job_state)info->state;
    snprintf(seen->name[seen->count], 16, "%.*s", (int)info->name.len, (char *)info->name.data);
    require(info->n_argv == 3 && info->argv[0].len == 7 && info->submitted > 0);
    require(info->pes == 1);
    require((info->session != NULL) == (strcmp(seen->name[seen->count], "room") == 0));
    seen->count++;
    return true;
}

static void jobs_are_listed_in_the_order_of_submission(void **state)
{
    (void)state;
    for (int lasts = 0; lasts < 2; lasts++) {
        struct store_filter filter = {.open = true, .ended = true};
        struct bench bench;
        struct seen seen = {0};
        char reason[JOBS_REASON_SIZE];
        uint64_t first, second, third;
        int gate;

        bench_open(&bench, lasts);
        gate = gate_make(&bench, "gate");
        first = submit(&bench, &(struct script){.text = "true", .pes = 1, .name = "one"});
        wait_ends(&bench, 1);
        second =
            submit(&bench, &(struct script){.text = "read line < gate", .pes = 1, .name = "two"});
        third = submit(&bench,
                       &(struct script){
                           .text = "read line < gate", .pes = 1, .name = "room", .session = true});
        wait_state(&bench, third, JOB_RUNNING);
        assert_int_equal(jobs_list(bench.jobs, &filter, on_info, &seen, reason), 0);
        assert_int_equal(seen.count, 3);
        assert_true(seen.id[0] == first && seen.id[1] == second && seen.id[2] == third);
        assert_string_equal(seen.name[1], "two");
        assert_int_equal(seen.state[0], JOB_COMPLETED);
        assert_int_equal(seen.state[1], JOB_RUNNING);

        seen.count = 0;
        filter.last = 1;
        assert_int_equal(jobs_list(bench.jobs, &filter, on_info, &seen, reason), 0);
        assert_true(seen.count == 1 && seen.id[0] == third);
        seen.count = 0;
        filter = (struct store_filter){.open = true, .ended = true, .name = "one"};
        assert_int_equal(jobs_list(bench.jobs, &filter, on_info, &seen, reason), 0);
        assert_true(seen.count == 1 && seen.id[0] == first);
        seen.count = 0;
        filter = (struct store_filter){.open = true, .sessions_only = true};
        assert_int_equal(jobs_list(bench.jobs, &filter, on_info, &seen, reason), 0);
        assert_true(seen.count == 1 && seen.id[0] == third);
        close(gate);
        bench_close(&bench);
    }
}

/* ---- what is forgotten ---- */

static bool has_output(const struct bench *bench, uint64_t id)
{
    char path[128], text[CONTROL_ID_CHARS + 1];
    struct stat status;

    control_id_format(id, text);
    snprintf(path, sizeof(path), "%s/jobs/%s", bench->directory, text);
    return stat(path, &status) == 0;
}

static void only_the_newest_jobs_are_remembered_and_their_output_kept(void **state)
{
    struct bench bench;
    char reason[JOBS_REASON_SIZE];
    enum job_state now;
    uint64_t ids[6];

    (void)state;
    bench_open(&bench, true);
    for (unsigned i = 0; i < 6; i++) {
        ids[i] = submit_text(&bench, "echo text");
        wait_ends(&bench, i + 1);
    }
    event_base_loop(bench.place.base, EVLOOP_NONBLOCK);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(jobs_state(bench.jobs, ids[i], &now, reason), i >= 2);
        assert_int_equal(has_output(&bench, ids[i]), i >= 2);
    }
    bench_close(&bench);
}

static void what_is_being_read_is_forgotten_later(void **state)
{
    struct bench bench;
    struct output_piece piece;
    struct transcript *transcript;
    uint64_t id, sequence = 1;

    (void)state;
    bench_open(&bench, true);
    id = submit_text(&bench, "echo text");
    wait_ends(&bench, 1);
    transcript = jobs_transcript(bench.jobs, id);
    for (unsigned i = 0; i < 5; i++) {
        submit_text(&bench, "true");
        wait_ends(&bench, i + 2);
    }
    event_base_loop(bench.place.base, EVLOOP_NONBLOCK);
    assert_true(transcript_read(transcript, &sequence, &piece));
    assert_end(&bench, id, JOB_COMPLETED, 0, "");
    jobs_release(bench.jobs, id);
    event_base_loop(bench.place.base, EVLOOP_NONBLOCK);
    assert_null(jobs_transcript(bench.jobs, id));
    assert_false(has_output(&bench, id));
    bench_close(&bench);
}

static void output_that_no_job_owns_is_removed_at_the_start(void **state)
{
    struct bench bench;
    struct jobs_settings settings;
    char path[128];
    struct stat status;

    (void)state;
    bench_open(&bench, true);
    submit_text(&bench, "echo text");
    wait_ends(&bench, 1);
    jobs_end(&bench);
    snprintf(path, sizeof(path), "%s/jobs/zzzzzzzz", bench.directory);
    require(mkdir(path, 0700) == 0);
    snprintf(path, sizeof(path), "%s/jobs/notes of mine", bench.directory);
    require(mkdir(path, 0700) == 0);
    settings = settings_of(&bench, true);
    jobs_begin(&bench, &settings);
    assert_int_equal(stat(path, &status), 0);
    snprintf(path, sizeof(path), "%s/jobs/zzzzzzzz", bench.directory);
    assert_int_equal(stat(path, &status), -1);
    assert_true(has_output(&bench, bench.ended[0]));
    bench_close(&bench);
}

/* ---- a daemon that is killed ---- */

/* Run jobs in a process of its own until the file "ready" is there, and kill it. */
static void daemon_killed(struct bench *bench, void (*begin)(struct bench *bench))
{
    pid_t pid = fork();
    int status;

    require(pid >= 0);
    if (pid == 0) {
        struct jobs_settings settings = settings_of(bench, true);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        jobs_begin(bench, &settings);
        begin(bench);
        for (;;)
            event_base_loop(bench->place.base, EVLOOP_ONCE);
    }
    for (;;) {
        char path[128];
        struct stat there;

        snprintf(path, sizeof(path), "%s/ready", bench->directory);
        if (stat(path, &there) == 0)
            break;
        require(waitpid(pid, &status, WNOHANG) == 0);
        usleep(1000);
    }
    require(kill(pid, SIGKILL) == 0);
    require(waitpid(pid, &status, 0) == pid);
}

/* One that runs and has left a process of its own, and a line of those that wait. */
static void one_runs_and_five_wait(struct bench *bench)
{
    static const char text[] =
        "[ $C4P_PE = 1 ] || { echo began; setsid sleep 1000 </dev/null >/dev/null 2>&1 & "
        "echo $! > pid; mv pid orphan; }; exec sleep 1000";
    char from[128], to[128];
    uint64_t id = submit(bench, &(struct script){.text = text, .pes = SLOTS, .name = "running"});

    wait_for_file(bench, "orphan");
    submit(bench, &(struct script){.text = "true", .pes = 1, .name = "room", .session = true});
    for (int i = 0; i < 4; i++)
        submit(bench, &(struct script){.text = "true", .pes = 1, .priority = i == 3});
    while (transcript_next(jobs_transcript(bench->jobs, id)) == 1)
        event_base_loop(bench->place.base, EVLOOP_ONCE);
    snprintf(from, sizeof(from), "%s/orphan", bench->directory);
    snprintf(to, sizeof(to), "%s/ready", bench->directory);
    require(rename(from, to) == 0);
}

static bool on_recovered(void *context, const C4p__JobInfo *info)
{
    struct seen *seen = context;

    require(seen->count < 8);
    seen->id[seen->count] = info->id;
    seen->state[seen->count++] = (enum job_state)info->state;
    return true;
}

static void after_a_kill_what_waited_runs_in_order_and_nothing_of_what_ran_lives(void **state)
{
    static const char failed[] = "the daemon ended while the job ran (c4pd was killed, or the host "
                                 "went down), and the job with it";
    const struct store_filter all = {.open = true, .ended = true};
    struct bench bench;
    struct jobs_settings settings;
    struct seen seen = {0};
    char reason[JOBS_REASON_SIZE], path[128];
    FILE *file;
    int orphan = 0, status = 0;

    (void)state;
    memset(&bench, 0, sizeof(bench));
    snprintf(bench.directory, sizeof(bench.directory), "/tmp/c4p-test-jobs-XXXXXX");
    require(mkdtemp(bench.directory) != NULL);
    daemon_killed(&bench, one_runs_and_five_wait);
    snprintf(path, sizeof(path), "%s/ready", bench.directory);
    file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%d", &orphan), 1);
    fclose(file);

    settings = settings_of(&bench, true);
    settings.slots = 1; /* so that the order shows */
    settings.keep = 10;
    jobs_begin(&bench, &settings);
    /* Perhaps it has become our child: then we have to bury it. */
    assert_true(waitpid(orphan, &status, 0) == -1 ||
                (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
    assert_int_equal(kill(orphan, 0), -1);
    assert_int_equal(errno, ESRCH);
    assert_int_equal(jobs_list(bench.jobs, &all, on_recovered, &seen, reason), 0);
    assert_int_equal(seen.count, 6);
    assert_end(&bench, seen.id[0], JOB_FAILED, 1, failed);
    assert_output(&bench, seen.id[0], "began\n");
    assert_int_equal(seen.state[1], JOB_CANCELLED); /* the session */
    wait_ends(&bench, 4);
    assert_int_equal(bench.ended[0], seen.id[5]); /* the urgent one */
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(bench.ended[i + 1], seen.id[i + 2]);
        assert_end(&bench, seen.id[i + 2], JOB_COMPLETED, 0, "");
    }
    bench_close(&bench);
}

static void what_a_job_leaves_behind_ends_with_it(void **state)
{
    static const char text[] = "setsid sh -c 'echo $$ > orphan; mv orphan ready; exec sleep 1000' "
                               "</dev/null >/dev/null 2>&1 & while ! [ -e ready ]; do :; done";
    struct bench bench;
    char path[128];
    FILE *file;
    int orphan = 0;

    (void)state;
    bench_open(&bench, true);
    submit_text(&bench, text);
    wait_for_file(&bench, "ready");
    snprintf(path, sizeof(path), "%s/ready", bench.directory);
    file = fopen(path, "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%d", &orphan), 1);
    fclose(file);
    wait_ends(&bench, 1);
    while (kill(orphan, 0) == 0)
        require(event_base_loop(bench.place.base, EVLOOP_ONCE) >= 0);
    bench_close(&bench);
}

static void a_mark_names_the_instance_and_the_job(void **state)
{
    struct bench bench;
    struct remains one, again;
    char mark[REMAINS_MARK_SIZE], path[128];
    FILE *file;

    (void)state;
    bench_open(&bench, true);
    assert_int_equal(remains_open(&one, bench.directory), 0);
    assert_int_equal(remains_open(&again, bench.directory), 0);
    assert_string_equal(one.instance, again.instance);
    remains_mark(&one, 31, mark);
    assert_string_equal(mark + REMAINS_INSTANCE_CHARS, "/0000000z");
    /* What is no instance is replaced. */
    snprintf(path, sizeof(path), "%s/instance", bench.directory);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("nonsense\n", file);
    fclose(file);
    assert_int_equal(remains_open(&again, bench.directory), 0);
    assert_string_not_equal(one.instance, again.instance);
    assert_int_equal(remains_open(&one, NULL), 0);
    assert_string_not_equal(one.instance, again.instance);
    assert_int_equal(remains_open(&one, "/no/such"), -1);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(what_ended_is_there_after_a_restart),
        watched_test(a_daemon_that_is_stopped_ends_its_jobs_and_keeps_those_that_wait),
        watched_test(jobs_are_listed_in_the_order_of_submission),
        watched_test(only_the_newest_jobs_are_remembered_and_their_output_kept),
        watched_test(what_is_being_read_is_forgotten_later),
        watched_test(output_that_no_job_owns_is_removed_at_the_start),
        watched_test(after_a_kill_what_waited_runs_in_order_and_nothing_of_what_ran_lives),
        watched_test(what_a_job_leaves_behind_ends_with_it),
        watched_test(a_mark_names_the_instance_and_the_job),
    };

    if (spawn_reserve_fds() != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
