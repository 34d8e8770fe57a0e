/* The manager of jobs with a real store in a temporary directory, and programs of the shell as PEs. */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <event2/event.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

#include "daemon/jobs/jobs.h"
#include "daemon/jobs/remains.h"
#include "daemon/jobs/spawn.h"
#include "daemon/jobs/submission.h"
#include "daemon/log.h"
#include "daemon/router/plane.h"
#include "daemon/words.h"
#include "proto/clock.h"

#define SLOTS 2
#define MAX_ENDED 64

struct bench {
    char directory[64];
    struct job_place place;
    struct event *child;
    struct jobs *jobs;
    uint64_t ended[MAX_ENDED];
    unsigned ends;
    unsigned moved;
    bool stalled; /* some follower does not keep up */
    char trouble[STORE_ERROR_SIZE];
};

static void on_changed(void *context, uint64_t id, enum job_state state)
{
    (void)context, (void)id, (void)state;
}

static void on_queue_moved(void *context)
{
    struct bench *bench = context;

    bench->moved++;
}

static void on_output(void *context, uint64_t id)
{
    (void)context, (void)id;
}

static void on_input_credit(void *context, uint64_t id, uint32_t bytes, bool closed)
{
    (void)context, (void)id, (void)bytes, (void)closed;
}

static void on_ended(void *context, uint64_t id)
{
    struct bench *bench = context;

    require(bench->ends < MAX_ENDED);
    bench->ended[bench->ends++] = id;
}

static bool on_keeps_up(void *context, uint64_t id)
{
    struct bench *bench = context;

    (void)id;
    return !bench->stalled;
}

static void on_trouble(void *context, const char *sentence)
{
    struct bench *bench = context;

    snprintf(bench->trouble, sizeof(bench->trouble), "%s",
             sentence != NULL ? sentence : jobs_trouble(bench->jobs));
}

static void on_child(evutil_socket_t number, short what, void *argument)
{
    struct bench *bench = argument;
    siginfo_t info = {.si_pid = 0};

    (void)number, (void)what;
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0) {
        if (!jobs_child_died(bench->jobs, info.si_pid))
            waitpid(info.si_pid, NULL, 0);
        info.si_pid = 0;
    }
}

/* What most tests run with; `lasts`: with a state directory. */
static struct jobs_settings settings_of(const struct bench *bench, bool lasts)
{
    return (struct jobs_settings){
        .state_dir = lasts ? bench->directory : NULL,
        .slots = lasts ? SLOTS : 0,
        .output_limit = TRANSCRIPT_MIN_LIMIT,
        .queue_limit = 8,
        .keep = 4,
    };
}

static void jobs_begin(struct bench *bench, const struct jobs_settings *settings)
{
    const struct jobs_listener listener = {
        .changed = on_changed,
        .queue_moved = on_queue_moved,
        .output = on_output,
        .input_credit = on_input_credit,
        .ended = on_ended,
        .keeps_up = on_keeps_up,
        .trouble = on_trouble,
        .context = bench,
    };
    char error[STORE_ERROR_SIZE] = "", sentence[PLANE_ERROR_SIZE];
    enum store_open_result result;

    bench->place = (struct job_place){.host = "here", .files = {1024, 1024}};
    bench->place.base = event_base_new();
    require(bench->place.base != NULL);
    bench->place.plane =
        plane_create(&(struct plane_settings){.base = bench->place.base}, sentence);
    require(bench->place.plane != NULL);
    bench->child = evsignal_new(bench->place.base, SIGCHLD, on_child, bench);
    require(bench->child != NULL && event_add(bench->child, NULL) == 0);
    bench->jobs = jobs_create(&bench->place, settings, &listener, &result, error);
    if (bench->jobs == NULL) {
        fprintf(stderr, "%s\n", error);
        abort();
    }
}

static void jobs_end(struct bench *bench)
{
    jobs_destroy(bench->jobs);
    plane_destroy(bench->place.plane);
    event_free(bench->child);
    event_base_free(bench->place.base);
    bench->jobs = NULL;
}

static void bench_open(struct bench *bench, bool lasts)
{
    struct jobs_settings settings;

    memset(bench, 0, sizeof(*bench));
    snprintf(bench->directory, sizeof(bench->directory), "/tmp/c4p-test-jobs-XXXXXX");
    require(mkdtemp(bench->directory) != NULL);
    settings = settings_of(bench, lasts);
    jobs_begin(bench, &settings);
}

static int file_remove(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status, (void)kind, (void)place;
    return remove(path);
}

static void bench_close(struct bench *bench)
{
    if (bench->jobs != NULL)
        jobs_end(bench);
    require(nftw(bench->directory, file_remove, 8, FTW_DEPTH | FTW_PHYS) == 0);
}

/* ---- jobs ---- */

struct script {
    const char *text; /* of the shell */
    uint32_t pes;
    int32_t priority;
    uint64_t time_limit_ms;
    const char *name, *key;
    bool session;
};

static ProtobufCBinaryData bytes_of(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static int submit_try(struct bench *bench, const struct script *script, uint64_t *id,
                      char reason[JOBS_REASON_SIZE])
{
    C4p__Submit submit = C4P__SUBMIT__INIT;
    ProtobufCBinaryData argv[] = {bytes_of("/bin/sh"), bytes_of("-c"), bytes_of(script->text)};
    ProtobufCBinaryData env[] = {bytes_of("PATH=/bin:/usr/bin")};

    submit.n_argv = 3;
    submit.argv = argv;
    submit.n_env = 1;
    submit.env = env;
    submit.cwd = bytes_of(bench->directory);
    submit.pes = script->pes;
    submit.priority = script->priority;
    submit.time_limit_ms = script->time_limit_ms;
    if (script->name != NULL)
        submit.name = bytes_of(script->name);
    if (script->key != NULL)
        submit.key = bytes_of(script->key);
    return jobs_submit(bench->jobs, &submit, script->session ? JOBS_SESSION : JOBS_PROGRAM, id,
                       reason);
}

static uint64_t submit(struct bench *bench, const struct script *script)
{
    char reason[JOBS_REASON_SIZE] = "";
    uint64_t id;

    if (submit_try(bench, script, &id, reason) != 0)
        fail_msg("%s", reason);
    return id;
}

static uint64_t submit_text(struct bench *bench, const char *text)
{
    return submit(bench, &(struct script){.text = text, .pes = 1});
}

static enum job_state state_of(struct bench *bench, uint64_t id)
{
    char reason[JOBS_REASON_SIZE];
    enum job_state state;

    assert_true(jobs_state(bench->jobs, id, &state, reason));
    return state;
}

static void wait_state(struct bench *bench, uint64_t id, enum job_state state)
{
    while (state_of(bench, id) != state)
        require(event_base_loop(bench->place.base, EVLOOP_ONCE) >= 0);
}

static void wait_ends(struct bench *bench, unsigned ends)
{
    while (bench->ends < ends)
        require(event_base_loop(bench->place.base, EVLOOP_ONCE) >= 0);
}

/* What a job is to have been when it is over. */
struct expected {
    enum job_state state;
    int exit_code;
    const char *message;
};

static void expect_end(void *context, const C4p__Ended *ended)
{
    const struct expected *expected = context;

    assert_int_equal(ended->state, expected->state);
    assert_int_equal(ended->exit_code, expected->exit_code);
    assert_string_equal(ended->message, expected->message);
}

static void assert_end(struct bench *bench, uint64_t id, enum job_state state, int exit_code,
                       const char *message)
{
    struct expected expected = {state, exit_code, message};

    assert_true(jobs_ended(bench->jobs, id, expect_end, &expected));
}

/* All that is kept of a job's output. */
static void assert_output(struct bench *bench, uint64_t id, const char *text)
{
    struct transcript *transcript = jobs_transcript(bench->jobs, id);
    struct output_piece piece;
    char all[512] = "";
    uint64_t sequence = 1;

    assert_non_null(transcript);
    for (; transcript_read(transcript, &sequence, &piece); sequence++)
        strncat(all, piece.data, piece.size);
    jobs_release(bench->jobs, id);
    assert_string_equal(all, text);
}

static void wait_for_file(const struct bench *bench, const char *name)
{
    char path[128];
    struct stat status;

    snprintf(path, sizeof(path), "%s/%s", bench->directory, name);
    while (stat(path, &status) != 0)
        event_base_loop(bench->place.base, EVLOOP_NONBLOCK);
}

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

/* A gate that scripts wait at, with `read line < NAME`: opened here by writing a line. */
static int gate_make(const struct bench *bench, const char *name)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/%s", bench->directory, name);
    require(mkfifo(path, 0600) == 0);
    fd = open(path, O_RDWR | O_CLOEXEC);
    require(fd >= 0);
    return fd;
}

static void gate_open(int gate)
{
    require(write(gate, "go\n", 3) == 3);
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
        cmocka_unit_test(a_job_without_a_name_has_that_of_its_program),
        cmocka_unit_test(durations_are_said_with_two_units_at_most),
        cmocka_unit_test(sentences_are_one_line_of_utf8_whatever_is_named_in_them),
        watched_test(a_job_runs_to_its_end_and_is_remembered),
        watched_test(what_ended_is_there_after_a_restart),
        watched_test(jobs_wait_for_slots_and_the_urgent_one_goes_first),
        watched_test(a_job_that_waits_can_be_cancelled_and_one_that_is_over_cannot),
        watched_test(a_job_that_runs_for_too_long_fails),
        watched_test(a_session_is_closed_with_success_and_only_a_session),
        watched_test(the_same_key_is_the_same_job),
        watched_test(what_cannot_work_is_refused_at_once),
        watched_test(a_program_that_is_not_there_is_refused_at_once),
        watched_test(a_full_queue_and_a_daemon_that_stops_take_no_more),
        watched_test(a_job_stands_still_while_a_follower_does_not_keep_up),
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
