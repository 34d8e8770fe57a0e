/*
 * libc4p against a daemon that the test plays: every event as it is on the wire, what makes no sense,
 * and the window of output.
 */
#include "tests/unit/fake_daemon.h"

#define PIECES 2000

/* ---- events ---- */

static void answers_carry_their_request(void **state)
{
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    require(c4p_submit(client, &some_job) == 2 && c4p_follow(client, 9, NULL) == 3);
    require(c4p_cancel(client, 9, false) == 4 && c4p_unfollow(client, 9) == 5);
    fake_take_id(&fake, C4P__REQUEST__BODY_SUBMIT);
    fake_accepted(&fake, 2, 9);
    fake_following(&fake, 3, 9, 4, 7);
    fake_done(&fake, 4);
    fake_done(&fake, 5);
    event_expect(client, &event, C4P_EVENT_ACCEPTED, 2);
    assert_int_equal(event.job, 9);
    event_expect(client, &event, C4P_EVENT_FOLLOWING, 3);
    assert_true(event.job == 9 && event.first == 4 && event.sequence == 7 && event.input);
    event_expect(client, &event, C4P_EVENT_DONE, 4);
    assert_int_equal(event.job, 9);
    event_expect(client, &event, C4P_EVENT_DONE, 5);
    assert_int_equal(c4p_next(client, &event), 0);
    c4p_close(client);
    fake_end(&fake);
}

static void the_events_of_a_job_say_all_they_have(void **state)
{
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;
    C4p__State job_state = C4P__STATE__INIT;
    C4p__InputCredit credit = C4P__INPUT_CREDIT__INIT;
    C4p__Ended ended = C4P__ENDED__INIT;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    job_state.job = 9;
    job_state.state = C4P__JOB_STATE__QUEUED;
    job_state.reason = (char *)(uintptr_t) "waits";
    fake_send(&fake, 0, C4P__EVENT__BODY_STATE, &job_state);
    event_expect(client, &event, C4P_EVENT_STATE, 0);
    assert_true(event.job == 9 && event.state == C4P_STATE_QUEUED);
    assert_string_equal(event.text, "waits");
    fake_output(&fake, 9, 3);
    event_expect(client, &event, C4P_EVENT_OUTPUT, 0);
    assert_true(event.job == 9 && event.pe == 3 && event.stream == C4P_STREAM_STDERR);
    assert_true(event.sequence == 3 && event.data_size == 5 && !memcmp(event.data, "line\n", 5));
    credit.job = 9;
    credit.bytes = 100;
    credit.closed = true;
    fake_send(&fake, 0, C4P__EVENT__BODY_INPUT_CREDIT, &credit);
    event_expect(client, &event, C4P_EVENT_INPUT, 0);
    assert_true(event.job == 9 && event.credit == 100 && event.closed);
    ended.job = 9;
    ended.state = C4P__JOB_STATE__CANCELLED;
    ended.exit_code = -2;
    ended.message = (char *)(uintptr_t) "why";
    ended.tail = (ProtobufCBinaryData){4, (uint8_t *)(uintptr_t) "tail"};
    ended.text = (ProtobufCBinaryData){2, (uint8_t *)(uintptr_t) "tb"};
    fake_send(&fake, 0, C4P__EVENT__BODY_ENDED, &ended);
    event_expect(client, &event, C4P_EVENT_ENDED, 0);
    assert_true(event.job == 9 && event.state == C4P_STATE_CANCELLED && event.exit_code == -2);
    assert_string_equal(event.text, "why");
    assert_true(event.tail_size == 4 && memcmp(event.tail, "tail", 4) == 0);
    assert_true(event.data_size == 2 && memcmp(event.data, "tb", 2) == 0);
    c4p_close(client);
    fake_end(&fake);
}

static void page_send(struct fake *fake, uint64_t id, uint64_t first, size_t count, bool more,
                      uint64_t next)
{
    static ProtobufCBinaryData words[] = {{6, (uint8_t *)(uintptr_t) "python"},
                                          {3, (uint8_t *)(uintptr_t) "app"}};
    C4p__SessionInfo session = C4P__SESSION_INFO__INIT;
    static C4p__JobHost near = C4P__JOB_HOST__INIT, far = C4P__JOB_HOST__INIT;
    static C4p__JobHost *hosts[] = {&near, &far};
    C4p__JobInfo infos[3];
    C4p__JobInfo *list[3];
    C4p__Jobs jobs = C4P__JOBS__INIT;

    session.name = (ProtobufCBinaryData){3, (uint8_t *)(uintptr_t) "lab"};
    session.clients = 2;
    session.ttl_ms = 5;
    session.expires = 6;
    near.name = (char *)(uintptr_t) "near";
    near.pes = 2;
    far.name = (char *)(uintptr_t) "far";
    far.first_pe = 2;
    far.pes = 1;
    for (size_t i = 0; i < count; i++) {
        c4p__job_info__init(&infos[i]);
        infos[i].id = first + i;
        infos[i].name = (ProtobufCBinaryData){4, (uint8_t *)(uintptr_t) "name"};
        infos[i].state = C4P__JOB_STATE__RUNNING;
        infos[i].argv = words;
        infos[i].n_argv = 2;
        infos[i].cwd = (ProtobufCBinaryData){4, (uint8_t *)(uintptr_t) "/dir"};
        infos[i].output_first = 7;
        infos[i].output_next = 8;
        infos[i].hosts = hosts;
        infos[i].n_hosts = (first + i) % 3;
        infos[i].session = (first + i) % 2 == 0 ? &session : NULL;
        list[i] = &infos[i];
    }
    jobs.n_jobs = count;
    jobs.jobs = list;
    jobs.more = more;
    jobs.next = next;
    fake_send(fake, id, C4P__EVENT__BODY_JOBS, &jobs);
}

static void jobs_send(struct fake *fake, uint64_t id, uint64_t first, size_t count, bool more)
{
    page_send(fake, id, first, count, more, 0);
}

static void a_list_comes_job_by_job_however_it_is_sent(void **state)
{
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    require(c4p_list(client, NULL) == 2);
    fake_take_id(&fake, C4P__REQUEST__BODY_LIST);
    jobs_send(&fake, 2, 1, 3, true);
    jobs_send(&fake, 2, 0, 0, true);
    jobs_send(&fake, 2, 4, 2, false);
    for (uint64_t id = 1; id <= 5; id++) {
        event_expect(client, &event, C4P_EVENT_JOB, 2);
        assert_true(event.job == id && event.info->id == id);
        assert_string_equal(event.info->name, "name");
        assert_string_equal(event.info->argv[1], "app");
        assert_null(event.info->argv[2]);
        assert_string_equal(event.info->cwd, "/dir");
        assert_true(event.info->output_first == 7 && event.info->output_next == 8);
        assert_int_equal(event.info->state, C4P_STATE_RUNNING);
        assert_int_equal(event.info->session, id % 2 == 0);
        assert_string_equal(event.info->session_name, id % 2 == 0 ? "lab" : "");
        assert_int_equal(event.info->clients, id % 2 == 0 ? 2 : 0);
        assert_int_equal(event.info->host_count, id % 3);
        if (id % 3 > 0)
            assert_string_equal(event.info->hosts[0].name, "near");
        if (id % 3 > 1)
            assert_true(event.info->hosts[1].first_pe == 2 && event.info->hosts[1].pes == 1);
    }
    event_expect(client, &event, C4P_EVENT_DONE, 2);
    require(c4p_list(client, NULL) == 3);
    jobs_send(&fake, 3, 0, 0, false);
    event_expect(client, &event, C4P_EVENT_DONE, 3);
    assert_int_equal(c4p_next(client, &event), 0);
    c4p_close(client);
    fake_end(&fake);
}

static void the_status_says_all_it_has(void **state)
{
    char *troubles[] = {(char *)(uintptr_t) "one", (char *)(uintptr_t) "two"};
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;
    C4p__DaemonStatus status = C4P__DAEMON_STATUS__INIT;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    require(c4p_status(client) == 2);
    fake_take_id(&fake, C4P__REQUEST__BODY_STATUS);
    status.version = (char *)(uintptr_t) "0.1";
    status.state_dir = (ProtobufCBinaryData){6, (uint8_t *)(uintptr_t) "/state"};
    status.troubles = troubles;
    status.n_troubles = 2;
    status.pes = 4;
    status.max_clients = 200;
    status.draining = true;
    status.cluster = "lab";
    status.nodes = 3;
    status.nodes_lost = 1;
    status.cluster_pes = 12;
    status.cluster_pes_free = 5;
    fake_send(&fake, 2, C4P__EVENT__BODY_DAEMON_STATUS, &status);
    event_expect(client, &event, C4P_EVENT_STATUS, 2);
    assert_string_equal(event.status->version, "0.1");
    assert_string_equal(event.status->state_dir, "/state");
    assert_string_equal(event.status->troubles[1], "two");
    assert_null(event.status->troubles[2]);
    assert_true(event.status->pes == 4 && event.status->max_clients == 200);
    assert_true(event.status->draining);
    assert_string_equal(event.status->cluster, "lab");
    assert_true(event.status->nodes == 3 && event.status->nodes_lost == 1);
    assert_true(event.status->cluster_pes == 12 && event.status->cluster_pes_free == 5);
    c4p_close(client);
    fake_end(&fake);
}

/* Takes the request for a page of list 2. */
static void page_take(struct fake *fake, uint32_t last, uint64_t after, uint32_t page)
{
    C4p__Request *request = fake_take(fake, C4P__REQUEST__BODY_LIST);

    require(request->id == 2 && request->list->ended && request->list->last == last);
    require(request->list->after == after && request->list->page == page);
    c4p__request__free_unpacked(request, NULL);
}

static void job_expect(struct c4p_client *client, uint64_t first, uint64_t count)
{
    struct c4p_event event;

    for (uint64_t id = first; id < first + count; id++) {
        event_expect(client, &event, C4P_EVENT_JOB, 2);
        assert_int_equal(event.job, id);
    }
}

static void the_next_page_of_a_list_is_asked_for_when_the_caller_has_seen_this_one(void **state)
{
    const struct c4p_list_options options = {.ended = true, .last = 6};
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    require(c4p_list(client, &options) == 2);
    page_take(&fake, 6, 0, 6);
    page_send(&fake, 2, 1, 3, false, 30);
    job_expect(client, 1, 3);
    page_take(&fake, 0, 30, 3);
    page_send(&fake, 2, 4, 2, false, 50);
    job_expect(client, 4, 2);
    page_take(&fake, 0, 50, 1);
    page_send(&fake, 2, 6, 1, false, 60); /* there are more by now, which were not asked for */
    job_expect(client, 6, 1);
    event_expect(client, &event, C4P_EVENT_DONE, 2);
    assert_int_equal(c4p_next(client, &event), 0);
    c4p_close(client);
    fake_end(&fake);
}

static void a_list_that_would_never_end_is_an_error(void **state)
{
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;
    int rc;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    require(c4p_list(client, &(struct c4p_list_options){.ended = true}) == 2);
    page_take(&fake, 0, 0, 256);
    page_send(&fake, 2, 1, 1, false, 30);
    job_expect(client, 1, 1);
    page_take(&fake, 0, 30, 256);
    page_send(&fake, 2, 2, 1, false, 30);
    job_expect(client, 2, 1);
    while ((rc = c4p_next(client, &event)) == 0)
        require(c4p_wait(client, FAKE_WAIT_MS) == 0);
    assert_int_equal(rc, -1);
    assert_int_equal(errno, EBADMSG);
    c4p_close(client);
    fake_end(&fake);
}

static void what_makes_no_sense_is_an_error_and_the_next_event_comes(void **state)
{
    static const struct {
        const char *frame;
        size_t size;
    } frames[] = {
        {BYTES("\xff\xff")},                                 /* nothing at all */
        {BYTES("")},                                         /* no event */
        {BYTES("\xfa\x01\x00")},                             /* one of the future */
        {BYTES("\x12\x02\x08\x01")},                         /* Welcome, once more */
        {BYTES("\x32\x04\x08\x09\x10\x20")},                 /* a state that is none */
        {BYTES("\x3a\x06\x08\x09\x18\x05\x20\x01")},         /* a stream that is none */
        {BYTES("\x3a\x02\x08\x09")},                         /* output without a number */
        {BYTES("\x08\x02\x5a\x06\x0a\x04\x08\x01\x20\x63")}, /* a job in no known state */
    };
    static char large[CONTROL_MAX_PIECE + 1];
    C4p__Output output = C4P__OUTPUT__INIT;
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;
    int rc;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    for (size_t i = 0; i <= sizeof(frames) / sizeof(*frames); i++) {
        output.sequence = 1;
        output.data = (ProtobufCBinaryData){sizeof(large), (uint8_t *)large};
        if (i < sizeof(frames) / sizeof(*frames))
            fake_send_bytes(&fake, frames[i].frame, frames[i].size);
        else
            fake_send(&fake, 0, C4P__EVENT__BODY_OUTPUT, &output);
        fake_output(&fake, 9, i + 1);
        while ((rc = c4p_next(client, &event)) == 0)
            require(c4p_wait(client, FAKE_WAIT_MS) == 0);
        assert_int_equal(rc, -1);
        assert_int_equal(errno, EBADMSG);
        event_expect(client, &event, C4P_EVENT_OUTPUT, 0);
    }
    c4p_close(client);
    fake_end(&fake);
}

/* ---- output ---- */

/* Plays a job to its end: pieces as the window allows. */
static void *job_play(void *argument)
{
    struct fake *fake = argument;
    uint64_t sent = 0, acknowledged = 0;

    while (acknowledged < PIECES) {
        C4p__Request *request;

        while (sent < PIECES && sent - acknowledged < CONTROL_OUTPUT_WINDOW)
            fake_output(fake, 3, ++sent);
        request = fake_take(fake, C4P__REQUEST__BODY_OUTPUT_ACK);
        require(request->output_ack->job == 3 && request->output_ack->sequence <= sent);
        require(request->output_ack->sequence > acknowledged);
        acknowledged = request->output_ack->sequence;
        c4p__request__free_unpacked(request, NULL);
    }
    fake_ended(fake, 3);
    return NULL;
}

static void a_job_is_followed_to_its_end_without_a_gap(void **state)
{
    struct c4p_job job = some_job;
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;
    pthread_t thread;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    job.follow = true;
    require(c4p_submit(client, &job) == 2);
    fake_take_id(&fake, C4P__REQUEST__BODY_SUBMIT);
    fake_accepted(&fake, 2, 3);
    fake_following(&fake, 2, 3, 1, 1);
    event_expect(client, &event, C4P_EVENT_ACCEPTED, 2);
    event_expect(client, &event, C4P_EVENT_FOLLOWING, 2);
    fake.client = NULL; /* it is this thread's, the daemon the other's */
    thread = thread_start(job_play, &fake);
    for (uint64_t sequence = 1; sequence <= PIECES; sequence++) {
        event_expect(client, &event, C4P_EVENT_OUTPUT, 0);
        require(event.sequence == sequence);
        require(c4p_output_done(client, event.job, event.sequence) == 0);
    }
    event_expect(client, &event, C4P_EVENT_ENDED, 0);
    assert_string_equal(event.text, "so it is");
    thread_join(thread);
    c4p_close(client);
    fake_end(&fake);
}

static uint64_t ack_take(struct fake *fake)
{
    C4p__Request *request = fake_take(fake, C4P__REQUEST__BODY_OUTPUT_ACK);
    uint64_t sequence = request->output_ack->sequence;

    c4p__request__free_unpacked(request, NULL);
    return sequence;
}

static void pieces_are_acknowledged_together_while_there_are_more_and_at_once_when_not(void **state)
{
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    require(c4p_follow(client, 3, NULL) == 2);
    fake_take_id(&fake, C4P__REQUEST__BODY_FOLLOW);
    fake_following(&fake, 2, 3, 1, 1);
    event_expect(client, &event, C4P_EVENT_FOLLOWING, 2);
    for (uint64_t sequence = 1; sequence <= 40; sequence++)
        fake_output(&fake, 3, sequence);
    for (uint64_t sequence = 1; sequence <= 40; sequence++) {
        while (c4p_next(client, &event) == 0)
            require(c4p_wait(client, FAKE_WAIT_MS) == 0);
        if (sequence < 40)
            require(c4p_output_done(client, 3, sequence) == 0);
    }
    require(c4p_output_done(client, 3, 40) == 0);
    while (ack_take(&fake) < 40)
        continue;
    /* Nothing to do: what is dealt with late is told at once. */
    assert_int_equal(c4p_next(client, &event), 0);
    fake_output(&fake, 3, 41);
    event_expect(client, &event, C4P_EVENT_OUTPUT, 0);
    assert_int_equal(c4p_next(client, &event), 0);
    fake.client = NULL;
    require(c4p_output_done(client, 3, 41) == 0);
    assert_int_equal(ack_take(&fake), 41);
    /* Even of a job that is over; that it is forgotten is nobody's business. */
    fake.client = client;
    fake_output(&fake, 3, 42);
    fake_ended(&fake, 3);
    event_expect(client, &event, C4P_EVENT_OUTPUT, 0);
    event_expect(client, &event, C4P_EVENT_ENDED, 0);
    require(c4p_output_done(client, 3, 42) == 0);
    fake_refuse(&fake, UINT64_C(1) << 63 | 77, "there is no such job");
    assert_int_equal(ack_take(&fake), 42);
    assert_int_equal(c4p_next(client, &event), 0);
    c4p_close(client);
    fake_end(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(answers_carry_their_request),
        watched_test(the_events_of_a_job_say_all_they_have),
        watched_test(a_list_comes_job_by_job_however_it_is_sent),
        watched_test(the_next_page_of_a_list_is_asked_for_when_the_caller_has_seen_this_one),
        watched_test(a_list_that_would_never_end_is_an_error),
        watched_test(the_status_says_all_it_has),
        watched_test(what_makes_no_sense_is_an_error_and_the_next_event_comes),
        watched_test(a_job_is_followed_to_its_end_without_a_gap),
        watched_test(pieces_are_acknowledged_together_while_there_are_more_and_at_once_when_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
