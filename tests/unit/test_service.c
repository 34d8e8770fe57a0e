/* A whole daemon and its clients: jobs that are followed, found, sessions. */
#include "tests/unit/service_fixture.h"

#include <sys/stat.h>

/* Pieces up to the end, which come without a gap from `first` on, put together. */
static void assert_rest(struct c4p_client *client, uint64_t first, const char *text)
{
    struct c4p_event event;
    char all[2048] = "";

    for (;;) {
        event_next(client, &event);
        if (event.kind == C4P_EVENT_ENDED)
            break;
        if (event.kind != C4P_EVENT_OUTPUT)
            continue;
        assert_int_equal(event.sequence, first++);
        strncat(all, event.data, event.data_size);
        assert_int_equal(c4p_output_done(client, event.job, event.sequence), 0);
    }
    assert_string_equal(all, text);
}

/* ---- following ---- */

static void the_events_of_a_job_come_in_their_order(void **state)
{
    static const enum c4p_state states[] = {C4P_STATE_QUEUED, C4P_STATE_RESERVING,
                                            C4P_STATE_STARTING, C4P_STATE_RUNNING};
    const char *argv[4];
    struct c4p_job job = job_of(argv, "read line; echo $line; exit 4");
    struct bench bench;
    struct c4p_client *client;
    struct c4p_event event;
    uint64_t id;

    (void)state;
    bench_open(&bench);
    client = attached(&bench);
    job.follow = job.input = true;
    id = submitted(client, &job);
    event_next(client, &event);
    assert_int_equal(event.kind, C4P_EVENT_FOLLOWING);
    assert_true(event.input && event.first == 1 && event.sequence == 1);
    for (size_t i = 0; i < sizeof(states) / sizeof(*states); i++) {
        event_next(client, &event);
        assert_int_equal(event.kind, C4P_EVENT_STATE);
        assert_int_equal(event.state, states[i]);
    }
    event_next(client, &event);
    assert_int_equal(event.kind, C4P_EVENT_INPUT);
    assert_int_equal(event.credit, CONTROL_MAX_PIECE);
    assert_true(c4p_input(client, id, "hello\n", 6, true) > 0);
    event_await(client, C4P_EVENT_OUTPUT, &event);
    assert_int_equal(event.data_size, 6);
    assert_memory_equal(event.data, "hello\n", 6);
    event_await(client, C4P_EVENT_ENDED, &event);
    assert_int_equal(event.state, C4P_STATE_FAILED);
    assert_int_equal(event.exit_code, 4);
    c4p_close(client);
    bench_close(&bench);
}

static void whoever_follows_sees_the_same_also_when_it_is_over(void **state)
{
    static const char script[] = "for i in 1 2 3 4 5; do echo $i; done";
    struct bench bench;
    struct c4p_client *one, *other;
    struct c4p_event event;
    uint64_t id;

    (void)state;
    bench_open(&bench);
    one = attached(&bench);
    other = attached(&bench);
    id = submitted_script(one, script);
    followed(one, id, NULL, &event);
    followed(other, id, NULL, &event);
    assert_false(event.input);
    assert_rest(one, event.first, "1\n2\n3\n4\n5\n");
    assert_rest(other, event.first, "1\n2\n3\n4\n5\n");
    followed(one, id, NULL, &event);
    assert_int_equal(event.first, 1);
    assert_true(event.sequence > 1); /* all of it is there already */
    assert_rest(one, 1, "1\n2\n3\n4\n5\n");
    c4p_close(one);
    c4p_close(other);
    bench_close(&bench);
}

static void one_client_can_follow_many_jobs_but_not_any_number(void **state)
{
    struct bench bench;
    struct c4p_client *client;
    struct c4p_event event;
    uint64_t ids[65];

    (void)state;
    bench_open(&bench);
    client = attached(&bench);
    submitted_script(client, "exec sleep 1000");
    submitted_script(client, "exec sleep 1000");
    for (int i = 0; i < 65; i++) {
        ids[i] = submitted_script(client, "true");
        if (i < 64)
            followed(client, ids[i], NULL, &event);
    }
    assert_true(c4p_follow(client, ids[64], NULL) > 0);
    assert_refused(client, "one client can follow 64 jobs at a time");
    assert_true(c4p_follow(client, ids[0], NULL) > 0);
    assert_refused(client, "is followed already");
    assert_true(c4p_unfollow(client, ids[0]) > 0);
    event_await(client, C4P_EVENT_DONE, &event);
    followed(client, ids[64], NULL, &event);
    assert_true(c4p_unfollow(client, ids[0]) > 0);
    assert_refused(client, "is not followed");
    assert_true(c4p_follow(client, 12345, NULL) > 0);
    assert_refused(client, "there is no job");
    c4p_close(client);
    bench_close(&bench);
}

static void who_dies_is_followed_by_who_resumes_without_a_gap(void **state)
{
    static const char script[] =
        "for i in 1 2 3 4 5 6; do echo $i; sleep 0.05; done; read line; echo end";
    const struct c4p_follow_options resume = {.lossless = true, .resume = true, .input = true};
    const char *argv[4];
    struct c4p_job job = job_of(argv, script);
    struct bench bench;
    struct c4p_client *first, *second;
    struct c4p_event event;
    uint64_t id, acknowledged;
    size_t matched = 0;

    (void)state;
    bench_open(&bench);
    first = attached(&bench);
    second = attached(&bench);
    job.follow = job.input = true;
    id = submitted(first, &job);
    do {
        event_await(first, C4P_EVENT_OUTPUT, &event);
        assert_int_equal(c4p_output_done(first, id, event.sequence), 0);
        acknowledged = event.sequence;
    } while (acknowledged < 3);
    /* Whatever is acknowledged has arrived when a later request is answered. */
    assert_true(c4p_status(first) > 0);
    event_await(first, C4P_EVENT_STATUS, &event);
    followed(second, id, &resume, &event);
    assert_false(event.input);
    assert_int_equal(event.first, acknowledged + 1);
    assert_true(c4p_unfollow(second, id) > 0);
    event_await(second, C4P_EVENT_DONE, &event);
    c4p_close(first);
    /* The input is free as soon as its owner is known to be gone. */
    do {
        followed(second, id, &resume, &event);
        if (!event.input) {
            assert_true(c4p_unfollow(second, id) > 0);
            event_await(second, C4P_EVENT_DONE, &event);
        }
    } while (!event.input);
    assert_int_equal(event.first, acknowledged + 1);
    event_await(second, C4P_EVENT_INPUT, &event);
    assert_int_equal(event.credit, CONTROL_MAX_PIECE);
    assert_true(c4p_input(second, id, "\n", 1, false) > 0);
    for (uint64_t next = acknowledged + 1;; next++) {
        event_await(second, C4P_EVENT_OUTPUT, &event);
        assert_int_equal(event.sequence, next);
        c4p_output_done(second, id, event.sequence);
        /* It may come in pieces. */
        for (size_t i = 0; i < event.data_size && matched < 3; i++)
            if (event.data[i] == "end"[matched])
                matched++;
        if (matched == 3)
            break;
    }
    event_await(second, C4P_EVENT_ENDED, &event);
    c4p_close(second);
    bench_close(&bench);
}

static void a_slow_follower_loses_nothing_if_it_must_not(void **state)
{
    /* More than is kept: the PE has to wait. */
    static const char script[] = "head -c 12000000 /dev/zero | tr '\\0' 'x' | fold -w 99";
    const char *argv[4];
    struct c4p_job job = job_of(argv, script);
    struct bench bench;
    struct c4p_client *client, *reckless;
    struct c4p_event event;
    uint64_t id, next = 1;
    size_t size = 0;

    (void)state;
    bench_open(&bench);
    client = attached(&bench);
    reckless = attached(&bench);
    job.follow = true;
    id = submitted(client, &job);
    followed(reckless, id, NULL, &event);
    for (;;) {
        event_next(client, &event);
        if (event.kind == C4P_EVENT_ENDED)
            break;
        if (event.kind != C4P_EVENT_OUTPUT)
            continue;
        assert_int_equal(event.sequence, next++);
        size += event.data_size;
        c4p_output_done(client, id, event.sequence);
    }
    assert_int_equal(size, 12000000 + 12000000 / 99);
    /* Who did not acknowledge sees by the numbers that something is missing. */
    for (uint64_t last = 0, missing = 0;;) {
        event_next(reckless, &event);
        if (event.kind == C4P_EVENT_ENDED) {
            assert_true(missing > 0);
            break;
        }
        if (event.kind != C4P_EVENT_OUTPUT)
            continue;
        missing += event.sequence - last - 1;
        last = event.sequence;
        c4p_output_done(reckless, id, event.sequence);
    }
    c4p_close(client);
    c4p_close(reckless);
    bench_close(&bench);
}

static void a_tied_job_ends_with_its_client_and_another_does_not(void **state)
{
    const char *argv[4];
    struct c4p_job job = job_of(argv, "exec sleep 1000");
    struct bench bench;
    struct c4p_client *client, *watcher;
    struct c4p_event event;
    uint64_t tied, loose;

    (void)state;
    bench_open(&bench);
    client = attached(&bench);
    watcher = attached(&bench);
    loose = submitted(client, &job);
    job.tied = true;
    tied = submitted(client, &job);
    followed(watcher, tied, NULL, &event);
    c4p_close(client);
    event_await(watcher, C4P_EVENT_ENDED, &event);
    assert_int_equal(event.job, tied);
    assert_int_equal(event.state, C4P_STATE_CANCELLED);
    wait_running(watcher, loose);
    assert_true(c4p_cancel(watcher, loose, true) > 0);
    event_await(watcher, C4P_EVENT_ENDED, &event);
    assert_true(c4p_cancel(watcher, loose, true) > 0);
    assert_refused(watcher, "is over: cancelled");
    c4p_close(watcher);
    bench_close(&bench);
}

/* ---- asking ---- */

static void a_job_is_found_by_the_beginning_of_its_id_or_its_name(void **state)
{
    const char *argv[4];
    struct c4p_job job = job_of(argv, "exec sleep 1000");
    char text[C4P_ID_SIZE], name[32];
    struct bench bench;
    struct c4p_client *client;
    struct c4p_event event;
    uint64_t id, twin;

    (void)state;
    bench_open(&bench);
    client = attached(&bench);
    job.name = "il"; /* no letters of an id */
    id = submitted(client, &job);
    job.name = "twin lo";
    job.pes = 2;
    twin = submitted(client, &job);
    submitted(client, &job);
    c4p_id_format(id, text);
    assert_true(c4p_find(client, text) > 0);
    event_await(client, C4P_EVENT_JOB, &event);
    assert_int_equal(event.info->id, id);
    assert_string_equal(event.info->name, "il");
    event_await(client, C4P_EVENT_DONE, &event);
    assert_true(c4p_find(client, "il") > 0);
    event_await(client, C4P_EVENT_JOB, &event);
    assert_int_equal(event.info->id, id);
    assert_true(c4p_find(client, "twin lo") > 0);
    event_await(client, C4P_EVENT_REFUSED, &event);
    c4p_id_format(twin, text);
    snprintf(name, sizeof(name), "meant: %s (twin lo), ", text);
    assert_non_null(strstr(event.text, "twin lo is not clear, 2 jobs could be"));
    assert_non_null(strstr(event.text, name));
    /* One of them goes: then it is clear. */
    assert_true(c4p_cancel(client, twin, true) > 0);
    event_await(client, C4P_EVENT_DONE, &event);
    assert_true(c4p_find(client, "twin lo") > 0);
    event_await(client, C4P_EVENT_JOB, &event);
    assert_int_not_equal(event.info->id, twin);
    assert_true(c4p_find(client, "nobody") > 0);
    assert_refused(client, "there is no job nobody");
    assert_true(c4p_find(client, "") > 0);
    assert_refused(client, "looked for by its id, or by a name");
    c4p_close(client);
    bench_close(&bench);
}

static void a_list_that_does_not_fit_into_one_message_comes_in_several(void **state)
{
    static char word[5000];
    const char *argv[5] = {"/bin/sh", "-c", "true", word, NULL};
    const struct c4p_job job = {.argv = argv, .env = environment, .cwd = "/tmp", .pes = 50};
    const struct c4p_list_options all = {.ended = true};
    struct bench bench;
    struct c4p_client *client;
    struct c4p_event event;
    uint64_t order = 0;
    unsigned jobs = 0;

    (void)state;
    memset(word, 'x', 4000);
    bench_open(&bench);
    client = attached(&bench);
    for (int i = 0; i < 90; i++)
        submitted(client, &job);
    assert_true(c4p_list(client, &all) > 0);
    for (;; jobs++) {
        event_next(client, &event);
        if (event.kind == C4P_EVENT_DONE)
            break;
        assert_int_equal(event.kind, C4P_EVENT_JOB);
        assert_true(event.info->order > order);
        order = event.info->order;
        assert_string_equal(event.info->argv[2], "true");
    }
    assert_int_equal(jobs, 90);
    assert_true(c4p_list(client, &(struct c4p_list_options){.last = 60}) > 0);
    for (jobs = 0, event_next(client, &event); event.kind == C4P_EVENT_JOB; jobs++) {
        assert_int_equal(event.info->order, order - 59 + jobs);
        event_next(client, &event);
    }
    assert_int_equal(event.kind, C4P_EVENT_DONE);
    assert_int_equal(jobs, 60);
    c4p_close(client);
    bench_close(&bench);
}

/* A bundle of one file of so many bytes, which is gone when it is sealed. */
static struct c4p_bundle *bundle_of(const struct bench *bench, size_t size)
{
    char error[C4P_ERROR_SIZE], path[128];
    struct c4p_bundle *bundle = c4p_bundle_create(bench->directory, error);

    snprintf(path, sizeof(path), "%s/content", bench->directory);
    require(bundle != NULL && mknod(path, S_IFREG | 0600, 0) == 0);
    require(truncate(path, (off_t)size) == 0);
    require(c4p_bundle_add(bundle, "content", error) == 0 && c4p_bundle_seal(bundle, error) == 0);
    return bundle;
}

static void content_remove(const struct bench *bench)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/content", bench->directory);
    require(unlink(path) == 0);
}

static void a_job_finds_its_files_here_or_is_refused(void **state)
{
    struct bench bench;
    struct c4p_client *client;
    struct c4p_bundle *bundle;
    struct c4p_event event;
    const char *argv[4];
    struct c4p_job job;
    uint64_t sent, total;
    int64_t offer;

    (void)state;
    bench_open(&bench);
    client = attached(&bench);
    bundle = bundle_of(&bench, 900000);
    job = job_of(argv, "exit 0");
    job.bundle = bundle;
    assert_false(c4p_cluster(client));
    assert_true(c4p_submit(client, &job) > 0);
    assert_refused(client, "offer it again");
    offer = c4p_offer(client, bundle);
    event_await(client, C4P_EVENT_DONE, &event);
    assert_int_equal(event.request, offer);
    c4p_bundle_progress(bundle, &sent, &total);
    assert_true(sent == 900000 && total == 900000);
    content_remove(&bench); /* nothing is read that is there */
    offer = c4p_offer(client, bundle);
    event_await(client, C4P_EVENT_DONE, &event);
    assert_int_equal(event.request, offer);
    submitted(client, &job);
    c4p_bundle_free(bundle);
    c4p_close(client);
    bench_close(&bench);
}

static void a_file_that_changes_while_it_is_sent_or_finds_no_room_is_refused(void **state)
{
    struct bench bench;
    struct c4p_client *client;
    struct c4p_bundle *bundle;
    struct c4p_event event;
    int64_t offer;

    (void)state;
    bench_open(&bench);
    client = attached(&bench);
    bundle = bundle_of(&bench, 5);
    content_remove(&bench);
    offer = c4p_offer(client, bundle);
    event_await(client, C4P_EVENT_REFUSED, &event);
    assert_int_equal(event.request, offer);
    assert_non_null(strstr(event.text, "content: "));
    c4p_bundle_free(bundle);
    bundle = bundle_of(&bench, 2 << 20);
    offer = c4p_offer(client, bundle);
    event_await(client, C4P_EVENT_REFUSED, &event);
    assert_int_equal(event.request, offer);
    assert_non_null(strstr(event.text, "bundle_limit"));
    assert_true(c4p_status(client) > 0); /* it serves on */
    event_await(client, C4P_EVENT_STATUS, &event);
    c4p_bundle_free(bundle);
    c4p_close(client);
    bench_close(&bench);
}

static void the_status_counts_what_there_is(void **state)
{
    struct bench bench;
    struct c4p_client *client, *other;
    struct c4p_event event;

    (void)state;
    bench_open(&bench);
    client = attached(&bench);
    other = attached(&bench);
    for (int i = 0; i < 3; i++)
        submitted_script(client, "exec sleep 1000");
    do {
        assert_true(c4p_status(client) > 0);
        event_await(client, C4P_EVENT_STATUS, &event);
    } while (event.status->running < 2);
    assert_string_equal(event.status->version, "test");
    assert_string_equal(event.status->state_dir, bench.directory);
    assert_int_equal(event.status->pid, bench.daemon);
    assert_int_equal(event.status->pes, 2);
    assert_int_equal(event.status->pes_used, 2);
    assert_int_equal(event.status->queued, 1);
    assert_int_equal(event.status->clients, 2);
    assert_int_equal(event.status->max_clients, 8);
    assert_true(event.status->rss > 0);
    assert_null(event.status->troubles[0]);
    c4p_close(client);
    c4p_close(other);
    bench_close(&bench);
}

/* ---- sessions ---- */

static uint64_t opened(struct c4p_client *client, const struct c4p_session *session)
{
    struct c4p_event event;

    assert_true(c4p_open(client, session) > 0);
    event_await(client, C4P_EVENT_ACCEPTED, &event);
    return event.job;
}

static void a_named_session_is_shared_and_closed(void **state)
{
    const char *argv[4];
    struct c4p_session session = {.name = "room", .create = true};
    struct bench bench;
    struct c4p_client *one, *two;
    struct c4p_event event;
    uint64_t id;

    (void)state;
    bench_open(&bench);
    one = attached(&bench);
    two = attached(&bench);
    session.job = job_of(argv, "exec sleep 1000");
    session.create = false;
    assert_true(c4p_open(two, &session) > 0);
    assert_refused(two, "there is no session room");
    session.create = true;
    id = opened(one, &session);
    session.create = false;
    assert_int_equal(opened(two, &session), id);
    wait_running(two, id);
    assert_true(c4p_find(one, "room") > 0);
    event_await(one, C4P_EVENT_JOB, &event);
    assert_true(event.info->session);
    assert_string_equal(event.info->session_name, "room");
    assert_int_equal(event.info->clients, 2);
    assert_int_equal(event.info->ttl_ms, 60000);
    assert_int_equal(event.info->expires, 0);
    event_await(one, C4P_EVENT_DONE, &event);
    assert_true(c4p_end(one, id) > 0);
    event_await(two, C4P_EVENT_ENDED, &event);
    assert_int_equal(event.state, C4P_STATE_COMPLETED);
    assert_int_equal(event.exit_code, 0);
    assert_true(c4p_end(two, id) > 0);
    assert_refused(two, "is over: completed");
    session.create = true;
    assert_int_not_equal(opened(two, &session), id);
    c4p_close(one);
    c4p_close(two);
    bench_close(&bench);
}

static void the_name_of_a_session_that_is_being_closed_is_free(void **state)
{
    const char *argv[4];
    struct c4p_session session = {.name = "room", .create = true};
    struct bench bench;
    struct c4p_client *client;
    struct c4p_event event;
    uint64_t id, other;

    (void)state;
    bench_open(&bench);
    client = attached(&bench);
    session.job = job_of(argv, "trap '' TERM; while :; do sleep 0.05; done"); /* takes its time */
    id = opened(client, &session);
    wait_running(client, id);
    assert_true(c4p_end(client, id) > 0);
    session.job = job_of(argv, "exec sleep 1000");
    assert_true(c4p_open(client, &session) > 0);
    do
        event_next(client, &event);
    while (event.kind != C4P_EVENT_ACCEPTED);
    other = event.job;
    assert_int_not_equal(other, id);
    event_await(client, C4P_EVENT_ENDED, &event);
    assert_int_equal(event.job, id);
    assert_int_equal(event.state, C4P_STATE_COMPLETED);
    session.create = false;
    assert_int_equal(opened(client, &session), other);
    c4p_close(client);
    bench_close(&bench);
}

static void a_session_without_a_name_ends_with_its_last_client(void **state)
{
    const char *argv[4];
    struct c4p_session session = {.create = true};
    struct bench bench;
    struct c4p_client *one, *watcher;
    struct c4p_event event;
    uint64_t id;

    (void)state;
    bench_open(&bench);
    one = attached(&bench);
    watcher = attached(&bench);
    session.job = job_of(argv, "exec sleep 1000");
    id = opened(one, &session);
    assert_int_not_equal(opened(watcher, &session), id);
    wait_running(watcher, id); /* who only follows is not in it */
    c4p_close(one);
    event_await(watcher, C4P_EVENT_ENDED, &event);
    assert_int_equal(event.state, C4P_STATE_COMPLETED);
    assert_string_equal(event.text, "its last client went");
    c4p_close(watcher);
    bench_close(&bench);
}

static void a_named_session_that_nobody_comes_back_to_ends_after_its_time(void **state)
{
    const char *argv[4];
    struct c4p_session session = {.name = "room", .create = true, .ttl_ms = 300};
    struct bench bench;
    struct c4p_client *one, *watcher;
    struct c4p_event event;
    uint64_t id;

    (void)state;
    bench_open(&bench);
    one = attached(&bench);
    watcher = attached(&bench);
    session.job = job_of(argv, "exec sleep 1000");
    id = opened(one, &session);
    wait_running(watcher, id);
    c4p_close(one);
    event_await(watcher, C4P_EVENT_ENDED, &event);
    assert_int_equal(event.state, C4P_STATE_COMPLETED);
    assert_string_equal(event.text, "no client was in the session for 300 ms");
    c4p_close(watcher);
    bench_close(&bench);
}

static void only_who_opened_or_follows_a_session_enters_it(void **state)
{
    const char *argv[4];
    struct c4p_session session = {.name = "room", .create = true};
    struct bench bench;
    struct c4p_client *one, *stranger;
    char error[C4P_ERROR_SIZE];
    uint32_t endpoint, again;
    int segment, wake;
    uint64_t id, job;

    (void)state;
    bench_open(&bench);
    one = attached(&bench);
    stranger = attached(&bench);
    session.job = job_of(argv, "exec sleep 1000");
    id = opened(one, &session);
    job = submitted_script(one, "exec sleep 1000");
    wait_running(one, id);
    wait_running(one, job);
    assert_int_equal(c4p_segment(stranger, id, &endpoint, &segment, &wake, error), -1);
    assert_non_null(strstr(error, "or follow it before entering it"));
    assert_int_equal(c4p_segment(one, job, &endpoint, &segment, &wake, error), -1);
    assert_non_null(strstr(error, "there is no open session"));
    assert_int_equal(c4p_segment(one, id, &endpoint, &segment, &wake, error), 0);
    assert_true(endpoint != 0);
    close(segment);
    close(wake);
    assert_int_equal(c4p_segment(one, id, &again, &segment, &wake, error), 0);
    assert_int_not_equal(again, endpoint);
    close(segment);
    close(wake);
    wait_running(stranger, id);
    assert_int_equal(c4p_segment(stranger, id, &endpoint, &segment, &wake, error), 0);
    assert_int_not_equal(again, endpoint);
    close(segment);
    close(wake);
    c4p_close(one);
    c4p_close(stranger);
    bench_close(&bench);
}

static void clients_beyond_the_limit_are_refused(void **state)
{
    struct bench bench;
    struct c4p_client *clients[8];
    char error[C4P_ERROR_SIZE];

    (void)state;
    bench_open(&bench);
    for (int i = 0; i < 8; i++)
        clients[i] = attached(&bench);
    assert_null(c4p_attach(bench.directory, "test", 2000, error));
    assert_non_null(strstr(error, "has 8 clients and takes no more"));
    for (int i = 0; i < 8; i++)
        c4p_close(clients[i]);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(the_events_of_a_job_come_in_their_order),
        watched_test(whoever_follows_sees_the_same_also_when_it_is_over),
        watched_test(one_client_can_follow_many_jobs_but_not_any_number),
        watched_test(who_dies_is_followed_by_who_resumes_without_a_gap),
        watched_test(a_slow_follower_loses_nothing_if_it_must_not),
        watched_test(a_tied_job_ends_with_its_client_and_another_does_not),
        watched_test(a_job_is_found_by_the_beginning_of_its_id_or_its_name),
        watched_test(a_list_that_does_not_fit_into_one_message_comes_in_several),
        watched_test(a_job_finds_its_files_here_or_is_refused),
        watched_test(a_file_that_changes_while_it_is_sent_or_finds_no_room_is_refused),
        watched_test(the_status_counts_what_there_is),
        watched_test(a_named_session_is_shared_and_closed),
        watched_test(the_name_of_a_session_that_is_being_closed_is_free),
        watched_test(a_session_without_a_name_ends_with_its_last_client),
        watched_test(a_named_session_that_nobody_comes_back_to_ends_after_its_time),
        watched_test(only_who_opened_or_follows_a_session_enters_it),
        watched_test(clients_beyond_the_limit_are_refused),
    };

    if (spawn_reserve_fds() != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
