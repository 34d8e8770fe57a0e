/*
 * libc4p and a daemon that goes away, at every stage of what a client does: what is asked again, what
 * is refused, what is followed again from where, and what the caller is told of it.
 */
#include "tests/unit/fake_daemon.h"

static void lost_expect(struct c4p_client *client)
{
    struct c4p_event event;

    event_expect(client, &event, C4P_EVENT_LOST, 0);
    assert_non_null(strstr(event.text, "the daemon on there is gone"));
}

/* Takes a Follow and checks from where. */
static uint64_t follow_take(struct fake *fake, uint64_t job, uint64_t from)
{
    C4p__Request *request = fake_take(fake, C4P__REQUEST__BODY_FOLLOW);
    uint64_t id = request->id;

    require(request->follow->job == job && !request->follow->resume);
    if (request->follow->from != from)
        fail_msg("followed from %d, not %d", (int)request->follow->from, (int)from);
    require(request->follow->lossless);
    c4p__request__free_unpacked(request, NULL);
    return id;
}

static void assert_nothing(struct c4p_client *client)
{
    struct c4p_event event;

    assert_int_equal(c4p_next(client, &event), 0);
}

static struct c4p_client *following(struct fake *fake, uint64_t first)
{
    const struct c4p_follow_options options = {.lossless = true};
    struct c4p_client *client = fake_attached(fake);
    struct c4p_event event;

    require(c4p_follow(client, 9, &options) == 2);
    fake_take_id(fake, C4P__REQUEST__BODY_FOLLOW);
    fake_following(fake, 2, 9, first, first);
    event_expect(client, &event, C4P_EVENT_FOLLOWING, 2);
    return client;
}

static void output_expect(struct c4p_client *client, uint64_t sequence)
{
    struct c4p_event event;

    event_expect(client, &event, C4P_EVENT_OUTPUT, 0);
    assert_int_equal(event.sequence, sequence);
    require(c4p_output_done(client, 9, sequence) == 0);
}

/* ---- lost, and back ---- */

static void the_end_of_the_daemon_and_its_return_are_told_once_each(void **state)
{
    struct fake fake;
    struct c4p_client *client;
    int fd;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    fd = c4p_fd(client);
    for (uint64_t incarnation = 2; incarnation < 5; incarnation++) {
        fake_die(&fake);
        lost_expect(client);
        assert_nothing(client);
        fake_return(&fake);
        assert_nothing(client);
        assert_int_equal(c4p_incarnation(client), incarnation);
        assert_int_equal(c4p_fd(client), fd);
    }
    assert_int_equal(c4p_status(client), 5); /* after 3 more Hellos */
    fake_take_id(&fake, C4P__REQUEST__BODY_STATUS);
    c4p_close(client);
    fake_end(&fake);
}

static void the_descriptor_wakes_for_the_loss_and_for_each_step_back(void **state)
{
    struct fake fake;
    struct c4p_client *client;
    struct pollfd poller;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    assert_nothing(client);
    poller = (struct pollfd){c4p_fd(client), POLLIN, 0};
    assert_int_equal(poll(&poller, 1, 0), 0);
    fake_die(&fake);
    assert_int_equal(poll(&poller, 1, FAKE_WAIT_MS), 1);
    lost_expect(client);
    fake_return(&fake); /* which waits for the descriptor alone */
    assert_nothing(client);
    c4p_close(client);
    fake_end(&fake);
}

static void attempts_that_fail_at_any_stage_are_followed_by_others(void **state)
{
    struct fake fake;
    struct c4p_client *client;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    fake_die(&fake);
    lost_expect(client);
    fake_start(&fake);
    fake_accept(&fake); /* goes away without a word */
    fake_door_close(&fake);
    fake_accept(&fake); /* ... with nonsense */
    require(send(fake.door, "\xff", 1, MSG_NOSIGNAL) == 1);
    fake_door_close(&fake);
    fake_accept(&fake); /* ... after the ticket */
    fake_attach_take(&fake);
    fake_ticket_send(&fake);
    fake_die(&fake);
    fake_start(&fake);
    fake_accept(&fake); /* ... instead of a welcome */
    fake_attach_take(&fake);
    fake_ticket_send(&fake);
    fake_hello_take(&fake);
    fake_refuse(&fake, 1, "not now");
    fake_door_close(&fake);
    fake_accept(&fake);
    fake_welcome(&fake);
    event_expect(client, &(struct c4p_event){0}, C4P_EVENT_BACK, 0);
    assert_nothing(client);
    c4p_close(client);
    fake_end(&fake);
}

static void a_daemon_that_goes_right_after_its_welcome_was_there(void **state)
{
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    fake_die(&fake);
    lost_expect(client);
    fake_start(&fake);
    fake_accept(&fake);
    fake_welcome(&fake);
    fake_door_close(&fake);
    event_expect(client, &event, C4P_EVENT_BACK, 0);
    lost_expect(client);
    fake_accept(&fake);
    fake_welcome(&fake);
    event_expect(client, &event, C4P_EVENT_BACK, 0);
    c4p_close(client);
    fake_end(&fake);
}

static void why_the_daemon_cuts_it_off_is_told_with_what_is_lost_by_that(void **state)
{
    C4p__Door door = C4P__DOOR__INIT;
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    require(c4p_status(client) == 2);
    fake_take_id(&fake, C4P__REQUEST__BODY_STATUS);
    door.refused = (char *)(uintptr_t) "it eats too much";
    fake_door_send(&fake, &door, NULL, 0);
    fake_door_close(&fake);
    event_expect(client, &event, C4P_EVENT_REFUSED, 2);
    assert_non_null(strstr(event.text, "it eats too much"));
    event_expect(client, &event, C4P_EVENT_LOST, 0);
    assert_non_null(strstr(event.text, "cut us off: it eats too much"));
    fake_accept(&fake);
    fake_welcome(&fake);
    event_expect(client, &event, C4P_EVENT_BACK, 0);
    fake_door_close(&fake); /* another time it does not say why */
    lost_expect(client);
    c4p_close(client);
    fake_end(&fake);
}

/* ---- requests without an answer ---- */

static void what_was_submitted_or_opened_is_asked_again_under_its_key(void **state)
{
    const struct c4p_session session = {"lab", true, some_job, 0};
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;
    C4p__Request *before[3], *after;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    require(c4p_submit(client, &some_job) == 2 && c4p_open(client, &session) == 3);
    require(c4p_submit(client, &some_job) == 4);
    before[0] = fake_take(&fake, C4P__REQUEST__BODY_SUBMIT);
    before[1] = fake_take(&fake, C4P__REQUEST__BODY_OPEN);
    before[2] = fake_take(&fake, C4P__REQUEST__BODY_SUBMIT);
    fake_accepted(&fake, 2, 7); /* this one is answered */
    event_expect(client, &event, C4P_EVENT_ACCEPTED, 2);
    for (int round = 0; round < 2; round++) {
        fake_die(&fake);
        lost_expect(client);
        fake_return(&fake);
        after = fake_take(&fake, C4P__REQUEST__BODY_OPEN);
        assert_int_equal(after->id, 3);
        assert_memory_equal(after->open->job->key.data, before[1]->open->job->key.data,
                            CONTROL_KEY_SIZE);
        c4p__request__free_unpacked(after, NULL);
        after = fake_take(&fake, C4P__REQUEST__BODY_SUBMIT);
        assert_int_equal(after->id, 4);
        assert_memory_equal(after->submit->key.data, before[2]->submit->key.data, CONTROL_KEY_SIZE);
        c4p__request__free_unpacked(after, NULL);
    }
    fake_accepted(&fake, 3, 8);
    fake_accepted(&fake, 4, 9);
    event_expect(client, &event, C4P_EVENT_ACCEPTED, 3);
    event_expect(client, &event, C4P_EVENT_ACCEPTED, 4);
    assert_int_equal(event.job, 9);
    for (int i = 0; i < 3; i++)
        c4p__request__free_unpacked(before[i], NULL);
    c4p_close(client);
    fake_end(&fake);
}

static void an_answer_that_was_on_its_way_still_counts(void **state)
{
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    require(c4p_submit(client, &some_job) == 2);
    fake_take_id(&fake, C4P__REQUEST__BODY_SUBMIT);
    fake_accepted(&fake, 2, 7);
    require(c4p_wait(client, FAKE_WAIT_MS) == 0);
    fake_die(&fake);
    event_expect(client, &event, C4P_EVENT_ACCEPTED, 2);
    lost_expect(client);
    fake_return(&fake);
    require(c4p_status(client) == 4);
    fake_take_id(&fake, C4P__REQUEST__BODY_STATUS); /* and no Submit before it */
    c4p_close(client);
    fake_end(&fake);
}

static void other_requests_are_refused_before_the_loss_is_told(void **state)
{
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    require(c4p_status(client) == 2 && c4p_cancel(client, 5, false) == 3);
    require(c4p_list(client, NULL) == 4 && c4p_follow(client, 6, NULL) == 5);
    require(c4p_input(client, 5, "x", 1, false) == 6); /* nobody waits for an answer to this */
    fake_take_id(&fake, C4P__REQUEST__BODY_STATUS);
    fake_die(&fake);
    for (int64_t id = 2; id <= 5; id++) {
        event_expect(client, &event, C4P_EVENT_REFUSED, id);
        assert_non_null(strstr(event.text, "the daemon went away"));
        assert_int_equal(event.job, id == 3 ? 5 : id == 5 ? 6 : 0);
    }
    lost_expect(client);
    fake_return(&fake);
    assert_nothing(client);
    c4p_close(client);
    fake_end(&fake);
}

static void while_the_daemon_is_away_submissions_wait_and_questions_do_not(void **state)
{
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    fake_die(&fake);
    lost_expect(client);
    require(c4p_submit(client, &some_job) == 2 && c4p_status(client) == 3);
    assert_int_equal(c4p_wait(client, 0), 0);
    event_expect(client, &event, C4P_EVENT_REFUSED, 3);
    assert_int_equal(c4p_input(client, 5, "x", 1, false), -1);
    assert_int_equal(errno, EAGAIN);
    require(c4p_output_done(client, 5, 1) == 0);
    fake_return(&fake);
    assert_int_equal(fake_take_id(&fake, C4P__REQUEST__BODY_SUBMIT), 2);
    fake_accepted(&fake, 2, 7);
    event_expect(client, &event, C4P_EVENT_ACCEPTED, 2);
    c4p_close(client);
    fake_end(&fake);
}

static void half_a_list_is_no_list(void **state)
{
    C4p__JobInfo info = C4P__JOB_INFO__INIT;
    C4p__JobInfo *list[] = {&info, &info};
    C4p__Jobs jobs = C4P__JOBS__INIT;
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    require(c4p_list(client, NULL) == 2);
    fake_take_id(&fake, C4P__REQUEST__BODY_LIST);
    jobs.n_jobs = 2;
    jobs.jobs = list;
    jobs.more = true;
    fake_send(&fake, 2, C4P__EVENT__BODY_JOBS, &jobs);
    event_expect(client, &event, C4P_EVENT_JOB, 2);
    fake_die(&fake);
    event_expect(client, &event, C4P_EVENT_JOB, 2);
    event_expect(client, &event, C4P_EVENT_REFUSED, 2);
    lost_expect(client);
    c4p_close(client);
    fake_remove(&fake);
}

static void a_list_between_two_pages_is_refused(void **state)
{
    C4p__JobInfo info = C4P__JOB_INFO__INIT;
    C4p__JobInfo *list[] = {&info};
    C4p__Jobs jobs = C4P__JOBS__INIT;
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    require(c4p_list(client, NULL) == 2);
    fake_take_id(&fake, C4P__REQUEST__BODY_LIST);
    jobs.n_jobs = 1;
    jobs.jobs = list;
    jobs.next = 7;
    fake_send(&fake, 2, C4P__EVENT__BODY_JOBS, &jobs);
    event_expect(client, &event, C4P_EVENT_JOB, 2);
    fake_die(&fake);
    event_expect(client, &event, C4P_EVENT_REFUSED, 2);
    lost_expect(client);
    c4p_close(client);
    fake_remove(&fake);
}

/* ---- jobs that are followed ---- */

static void output_goes_on_behind_the_last_piece_that_was_delivered(void **state)
{
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;
    uint64_t id;

    (void)state;
    fake_create(&fake);
    client = following(&fake, 1);
    for (uint64_t sequence = 1; sequence <= 5; sequence++)
        fake_output(&fake, 9, sequence);
    for (uint64_t sequence = 1; sequence <= 3; sequence++)
        output_expect(client, sequence);
    require(c4p_wait(client, FAKE_WAIT_MS) == 0);
    fake_die(&fake);
    /* What is here already is taken, the rest fetched again: it depends on ZeroMQ how many. */
    for (id = 4;; id++) {
        event_next(client, &event);
        if (event.kind == C4P_EVENT_LOST)
            break;
        require(event.kind == C4P_EVENT_OUTPUT && event.sequence == id);
    }
    fake_return(&fake);
    follow_take(&fake, 9, id);
    fake_following(&fake, UINT64_C(1) << 63 | 99, 9, id, 6); /* not its id: of no consequence */
    for (uint64_t sequence = 2; sequence <= 7; sequence++)
        fake_output(&fake, 9, sequence); /* a daemon that repeats itself */
    fake_ended(&fake, 9);
    event_expect(client, &event, C4P_EVENT_FOLLOWING, 0);
    for (; id <= 7; id++)
        output_expect(client, id);
    event_expect(client, &event, C4P_EVENT_ENDED, 0);
    c4p_close(client);
    fake_end(&fake);
}

static void a_job_is_followed_again_over_several_losses_and_tells_what_is_not_kept(void **state)
{
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;
    uint64_t id;

    (void)state;
    fake_create(&fake);
    client = following(&fake, 30);
    fake_die(&fake);
    lost_expect(client);
    fake_return(&fake);
    follow_take(&fake, 9, 30);
    fake_die(&fake); /* before Following */
    lost_expect(client);
    fake_return(&fake);
    id = follow_take(&fake, 9, 30);
    fake_following(&fake, id, 9, 40, 40);
    fake_output(&fake, 9, 40);
    event_expect(client, &event, C4P_EVENT_FOLLOWING, 0);
    assert_int_equal(event.first, 40);
    output_expect(client, 40);
    fake_die(&fake);
    lost_expect(client);
    fake_return(&fake);
    id = follow_take(&fake, 9, 41);
    fake_refuse(&fake, id, "there is no job 9 any more");
    event_expect(client, &event, C4P_EVENT_REFUSED, 0);
    assert_int_equal(event.job, 9);
    assert_string_equal(event.text, "there is no job 9 any more");
    fake_die(&fake);
    lost_expect(client);
    fake_return(&fake); /* nothing is followed */
    require(c4p_status(client) > 0);
    fake_take_id(&fake, C4P__REQUEST__BODY_STATUS);
    c4p_close(client);
    fake_end(&fake);
}

static void a_job_that_was_accepted_and_not_yet_followed_is_followed(void **state)
{
    struct c4p_job job = some_job;
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    job.follow = true;
    require(c4p_submit(client, &job) == 2);
    fake_take_id(&fake, C4P__REQUEST__BODY_SUBMIT);
    fake_accepted(&fake, 2, 9);
    event_expect(client, &event, C4P_EVENT_ACCEPTED, 2);
    fake_die(&fake);
    lost_expect(client);
    fake_return(&fake);
    assert_int_equal(follow_take(&fake, 9, 0), 2);
    fake_following(&fake, 2, 9, 1, 1);
    event_expect(client, &event, C4P_EVENT_FOLLOWING, 2);
    fake_output(&fake, 9, 1);
    output_expect(client, 1);
    c4p_close(client);
    fake_end(&fake);
}

static void what_was_dealt_with_meanwhile_is_acknowledged_after_the_return(void **state)
{
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;
    C4p__Request *request;
    uint64_t id;

    (void)state;
    fake_create(&fake);
    client = following(&fake, 1);
    fake_output(&fake, 9, 1);
    event_expect(client, &event, C4P_EVENT_OUTPUT, 0);
    fake_die(&fake);
    lost_expect(client);
    require(c4p_output_done(client, 9, 1) == 0);
    fake_return(&fake);
    id = follow_take(&fake, 9, 2);
    fake_following(&fake, id, 9, 2, 2);
    event_expect(client, &event, C4P_EVENT_FOLLOWING, 0);
    request = fake_take(&fake, C4P__REQUEST__BODY_OUTPUT_ACK);
    assert_int_equal(request->output_ack->sequence, 1);
    c4p__request__free_unpacked(request, NULL);
    c4p_close(client);
    fake_end(&fake);
}

static void what_is_not_followed_any_more_is_not_followed_again(void **state)
{
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;

    (void)state;
    fake_create(&fake);
    client = following(&fake, 1);
    require(c4p_unfollow(client, 9) == 3);
    fake_take_id(&fake, C4P__REQUEST__BODY_UNFOLLOW);
    fake_die(&fake);
    event_expect(client, &event, C4P_EVENT_DONE, 3); /* the connection is gone: so it is */
    lost_expect(client);
    fake_return(&fake);
    require(c4p_status(client) == 5);
    fake_take_id(&fake, C4P__REQUEST__BODY_STATUS);
    c4p_close(client);
    fake_end(&fake);
}

/* ---- no way back ---- */

static void assert_over(struct c4p_client *client)
{
    assert_nothing(client);
    assert_int_equal(c4p_submit(client, &some_job), -1);
    assert_int_equal(errno, ENOTCONN);
    assert_int_equal(c4p_input(client, 9, "x", 1, false), -1);
    assert_int_equal(errno, ENOTCONN);
    assert_int_equal(c4p_wait(client, 0), -1);
    assert_int_equal(errno, EAGAIN);
    c4p_close(client);
}

static void who_does_not_want_to_come_back_is_told_that_it_is_over(void **state)
{
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;

    (void)state;
    fake_create(&fake);
    client = following(&fake, 1);
    c4p_set_reconnect(client, false);
    require(c4p_submit(client, &some_job) == 3);
    fake_take_id(&fake, C4P__REQUEST__BODY_SUBMIT);
    fake_die(&fake);
    event_expect(client, &event, C4P_EVENT_REFUSED, 3);
    lost_expect(client);
    assert_over(client);
    /* ... also while it looks for the daemon. */
    fake_start(&fake);
    client = fake_attached(&fake);
    fake_die(&fake);
    lost_expect(client);
    require(c4p_submit(client, &some_job) == 2);
    c4p_set_reconnect(client, false);
    event_expect(client, &event, C4P_EVENT_REFUSED, 2);
    assert_over(client);
    fake_remove(&fake);
}

static void the_loss_of_a_private_daemon_is_the_last_event(void **state)
{
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;
    char error[C4P_ERROR_SIZE];
    int pair[2];
    pthread_t thread;

    (void)state;
    fake_create(&fake);
    require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    fake.door = pair[1];
    thread = thread_start((void *(*)(void *))(uintptr_t)fake_welcome, &fake);
    client = c4p_adopt(pair[0], "test", FAKE_WAIT_MS, error);
    thread_join(thread);
    assert_non_null(client);
    c4p_set_reconnect(client, true); /* there is nowhere to go */
    require(c4p_submit(client, &some_job) == 2);
    fake_die(&fake);
    event_expect(client, &event, C4P_EVENT_REFUSED, 2);
    lost_expect(client);
    assert_over(client);
    fake_remove(&fake);
}

/* ---- closing ---- */

static void a_client_can_be_closed_at_any_stage(void **state)
{
    struct fake fake;
    struct c4p_client *client;

    (void)state;
    fake_create(&fake);
    for (int stage = 0; stage < 8; stage++) {
        client = following(&fake, 1);
        require(c4p_submit(client, &some_job) > 0 && c4p_status(client) > 0);
        fake_output(&fake, 9, 1);
        fake_output(&fake, 9, 2);
        if (stage >= 1)
            require(c4p_wait(client, FAKE_WAIT_MS) == 0);
        if (stage >= 2)
            output_expect(client, 1);
        if (stage >= 3) {
            output_expect(client, 2);
            fake_die(&fake);
            require(c4p_wait(client, FAKE_WAIT_MS) == 0);
        }
        if (stage >= 4) {
            event_expect(client, &(struct c4p_event){0}, C4P_EVENT_REFUSED, 4);
            lost_expect(client);
        }
        if (stage >= 5) {
            fake_start(&fake);
            fake_accept(&fake);
        }
        if (stage >= 6) {
            fake_attach_take(&fake);
            fake_ticket_send(&fake);
            fake_hello_take(&fake);
        }
        if (stage >= 7) {
            fake_welcome_send(&fake);
            event_expect(client, &(struct c4p_event){0}, C4P_EVENT_BACK, 0);
        }
        c4p_close(client);
        fake.client = NULL;
        if (stage != 3 && stage != 4)
            fake_die(&fake);
        fake_start(&fake);
    }
    fake_end(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(the_end_of_the_daemon_and_its_return_are_told_once_each),
        watched_test(the_descriptor_wakes_for_the_loss_and_for_each_step_back),
        watched_test(attempts_that_fail_at_any_stage_are_followed_by_others),
        watched_test(a_daemon_that_goes_right_after_its_welcome_was_there),
        watched_test(why_the_daemon_cuts_it_off_is_told_with_what_is_lost_by_that),
        watched_test(what_was_submitted_or_opened_is_asked_again_under_its_key),
        watched_test(an_answer_that_was_on_its_way_still_counts),
        watched_test(other_requests_are_refused_before_the_loss_is_told),
        watched_test(while_the_daemon_is_away_submissions_wait_and_questions_do_not),
        watched_test(half_a_list_is_no_list),
        watched_test(a_list_between_two_pages_is_refused),
        watched_test(output_goes_on_behind_the_last_piece_that_was_delivered),
        watched_test(a_job_is_followed_again_over_several_losses_and_tells_what_is_not_kept),
        watched_test(a_job_that_was_accepted_and_not_yet_followed_is_followed),
        watched_test(what_was_dealt_with_meanwhile_is_acknowledged_after_the_return),
        watched_test(what_is_not_followed_any_more_is_not_followed_again),
        watched_test(who_does_not_want_to_come_back_is_told_that_it_is_over),
        watched_test(the_loss_of_a_private_daemon_is_the_last_event),
        watched_test(a_client_can_be_closed_at_any_stage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
