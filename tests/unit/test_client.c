/*
 * libc4p against a daemon that the test plays: attaching, every request as it is on the wire,
 * segments, and daemons that are none. Events: test_client_events.c; daemons that go away:
 * test_client_loss.c.
 */
#include "tests/unit/fake_daemon.h"

static bool bytes_equal(ProtobufCBinaryData bytes, const char *text)
{
    return bytes.len == strlen(text) && memcmp(bytes.data, text, bytes.len) == 0;
}

/* ---- attaching ---- */

static void a_client_learns_who_the_daemon_is(void **state)
{
    struct fake fake;
    struct c4p_client *client;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    assert_string_equal(c4p_host(client), "there");
    assert_int_equal(c4p_incarnation(client), 1);
    assert_string_equal(fake.client_name, "test");
    c4p_close(client);
    fake_end(&fake);
}

static void the_state_directory_comes_from_the_environment(void **state)
{
    struct fake fake;
    char error[C4P_ERROR_SIZE];
    struct c4p_client *client;
    pthread_t thread;

    (void)state;
    fake_create(&fake);
    thread = thread_start(fake_welcome_first, &fake);
    require(setenv("C4P_STATE_DIR", fake.directory, 1) == 0);
    client = c4p_attach(NULL, NULL, FAKE_WAIT_MS, error);
    unsetenv("C4P_STATE_DIR");
    thread_join(thread);
    assert_non_null(client);
    c4p_close(client);
    fake_end(&fake);
}

static void a_private_daemon_is_adopted(void **state)
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
    /* It ends with the client. */
    fake.client = client;
    assert_true(c4p_status(client) == 2);
    assert_int_equal(fake_take_id(&fake, C4P__REQUEST__BODY_STATUS), 2);
    assert_int_equal(c4p_next(client, &event), 0);
    c4p_close(client);
    fake.client = NULL;
    fake_await(&fake, fake.door);
    assert_int_equal(recv(fake.door, error, 1, 0), 0);
    fake_end(&fake);
}

/* ---- daemons that are none ---- */

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)
#define VERSION_REFUSED                                                                            \
    "is not among ours, " TEXT(CONTROL_MIN_VERSION) " to " TEXT(CONTROL_MAX_VERSION)

static void assert_attach_fails(const char *directory, int timeout_ms, int error_number,
                                const char *part)
{
    char error[C4P_ERROR_SIZE] = "";

    assert_null(c4p_attach(directory, "test", timeout_ms, error));
    if (strstr(error, part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, error);
    errno = error_number == errno ? 0 : errno;
    assert_int_equal(errno, 0);
}

static void nobody_there_is_said_with_the_place_and_the_remedy(void **state)
{
    struct fake fake;
    char sentence[256], directory[200];

    (void)state;
    fake_create(&fake);
    fake_die(&fake);
    snprintf(sentence, sizeof(sentence),
             "no daemon runs here any more (%s): start one with `c4pd start`", fake.directory);
    assert_attach_fails(fake.directory, FAKE_WAIT_MS, ECONNREFUSED, sentence);
    unlink(fake.path);
    snprintf(sentence, sizeof(sentence), "no daemon runs here (%s): start one with `c4pd start`",
             fake.directory);
    assert_attach_fails(fake.directory, FAKE_WAIT_MS, ENOENT, sentence);
    fake_remove(&fake);
    assert_attach_fails(fake.directory, FAKE_WAIT_MS, ENOENT, sentence);
    memset(directory, 'x', sizeof(directory) - 1);
    directory[sizeof(directory) - 1] = '\0';
    assert_attach_fails(directory, FAKE_WAIT_MS, EINVAL, "too long");
}

static void what_listens_there_may_be_something_else(void **state)
{
    struct fake fake;

    (void)state;
    fake_create(&fake);
    close(fake.listener);
    fake.listener = fake_listen(fake.path, SOCK_STREAM);
    assert_attach_fails(fake.directory, FAKE_WAIT_MS, EPROTOTYPE, "is no c4pd");
    fake_end(&fake);
}

/* Root may open everything: then it is the other user's process that tells. */
static void another_users_daemon_is_not_spoken_to(void **state)
{
    struct fake fake;
    int line[2];
    char byte;
    pid_t child = -1;

    (void)state;
    fake_create(&fake);
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line) == 0);
    if (geteuid() == 0) {
        require(chmod(fake.directory, 0777) == 0 && unlink(fake.path) == 0);
        child = fork();
        if (child == 0) {
            require(setresuid(65534, 65534, 65534) == 0);
            fake_listen(fake.path, SOCK_SEQPACKET);
            require(write(line[1], "x", 1) == 1);
            require(read(line[1], &byte, 1) == 1);
            _exit(0);
        }
        require(read(line[0], &byte, 1) == 1);
    } else {
        require(chmod(fake.directory, 0) == 0);
    }
    assert_attach_fails(fake.directory, FAKE_WAIT_MS, EACCES, "is another user's");
    require(chmod(fake.directory, 0700) == 0);
    if (child > 0) {
        require(write(line[0], "x", 1) == 1);
        child_join(child);
    }
    close(line[0]);
    close(line[1]);
    fake_end(&fake);
}

static void a_daemon_that_says_nothing_is_left_in_time(void **state)
{
    struct fake fake;

    (void)state;
    fake_create(&fake);
    assert_attach_fails(fake.directory, 50, ETIMEDOUT, "no answer from the daemon (/tmp/c4p-test-");
    assert_attach_fails(fake.directory, 0, ETIMEDOUT, "no answer from the daemon");
    fake_end(&fake);
}

struct answer {
    struct fake *fake;
    const char *packet; /* NULL: a ticket */
    size_t packet_size;
    const char *frame; /* NULL: close the connection */
    size_t frame_size;
    const char *last_word; /* at the door, behind the ticket; NULL: none */
};

static void *answer_play(void *argument)
{
    const struct answer *answer = argument;
    struct fake *fake = answer->fake;

    fake_accept(fake);
    if (answer->packet == NULL) {
        fake_attach_take(fake);
        fake_ticket_send(fake);
    } else if (answer->packet_size > 0) {
        require(send(fake->door, answer->packet, answer->packet_size, MSG_NOSIGNAL) > 0);
    }
    if (answer->packet == NULL && strncmp(fake->address, "ipc:", 4) == 0)
        fake_hello_take(fake);
    if (answer->frame != NULL)
        fake_send_bytes(fake, answer->frame, answer->frame_size);
    if (answer->last_word != NULL) {
        C4p__Door door = C4P__DOOR__INIT;

        door.refused = (char *)(uintptr_t)answer->last_word;
        fake_door_send(fake, &door, NULL, 0);
    }
    fake_door_close(fake);
    return NULL;
}

static void answers_that_are_none_are_explained(void **state)
{
    static const struct {
        const char *packet;
        size_t packet_size;
        const char *frame;
        size_t frame_size;
        int error_number;
        const char *sentence, *last_word;
    } rows[] = {
        {BYTES(""), NULL, 0, ECONNRESET, "it has closed the connection", NULL},
        {BYTES("\xff"), NULL, 0, EBADMSG, "it speaks another protocol", NULL},
        {BYTES("\x1a\x01x"), NULL, 0, EBADMSG, "it speaks another protocol", NULL}, /* no ticket */
        {BYTES("\x0a\x02no"), NULL, 0, EPERM, "the daemon refuses: no", NULL},
        {NULL, 0, NULL, 0, ECONNRESET, "it has closed the connection", NULL},
        {NULL, 0, NULL, 0, EPERM, "the daemon refuses: too slow", "too slow"},
        {NULL, 0, BYTES("\x12\x02\x08\x09"), EPROTO, VERSION_REFUSED, NULL},
        {NULL, 0, BYTES("\x1a\x04\x0a\x02no"), EPERM, "the daemon refuses: no", NULL},
        {NULL, 0, BYTES("\x22\x02\x08\x03"), EPROTO, "is not among ours", NULL},
        {NULL, 0, BYTES("HTTP/1.1 400"), EBADMSG, "it speaks another protocol", NULL},
    };
    struct fake fake;

    (void)state;
    fake_create(&fake);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct answer answer = {&fake,         rows[i].packet,     rows[i].packet_size,
                                rows[i].frame, rows[i].frame_size, rows[i].last_word};
        pthread_t thread = thread_start(answer_play, &answer);

        assert_attach_fails(fake.directory, FAKE_WAIT_MS, rows[i].error_number, rows[i].sentence);
        thread_join(thread);
    }
    fake_end(&fake);
}

static void an_address_that_is_none_is_explained(void **state)
{
    struct fake fake;
    struct answer answer = {.fake = &fake};
    pthread_t thread;

    (void)state;
    fake_create(&fake);
    strcpy(fake.address, "nonsense");
    thread = thread_start(answer_play, &answer);
    assert_attach_fails(fake.directory, FAKE_WAIT_MS, EINVAL, "cannot connect to nonsense");
    thread_join(thread);
    snprintf(fake.address, sizeof(fake.address), "ipc://%s/1", fake.directory);
    fake_end(&fake);
}

/* ---- requests ---- */

static void a_job_is_submitted_with_all_it_has(void **state)
{
    const struct c4p_job job = {
        .argv = argv,
        .env = environment,
        .cwd = "/dir",
        .pes = 4,
        .region_size = 77,
        .name = "name",
        .priority = -5,
        .time_limit_ms = 9000,
        .follow = true,
        .input = true,
        .tied = true,
        .nodes = 3,
    };
    struct fake fake;
    struct c4p_client *client;
    C4p__Request *request, *other;
    C4p__Submit *submit;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    assert_int_equal(c4p_submit(client, &job), 2);
    assert_int_equal(c4p_submit(client, &some_job), 3);
    request = fake_take(&fake, C4P__REQUEST__BODY_SUBMIT);
    submit = request->submit;
    assert_int_equal(request->id, 2);
    assert_true(submit->n_argv == 2 && bytes_equal(submit->argv[1], "app.py"));
    assert_true(submit->n_env == 2 && bytes_equal(submit->env[0], "A=1"));
    assert_true(bytes_equal(submit->cwd, "/dir") && bytes_equal(submit->name, "name"));
    assert_true(submit->pes == 4 && submit->region_size == 77 && submit->priority == -5);
    assert_true(submit->time_limit_ms == 9000);
    assert_true(submit->follow && submit->input && submit->tied && submit->nodes == 3);
    assert_int_equal(submit->key.len, CONTROL_KEY_SIZE);
    other = fake_take(&fake, C4P__REQUEST__BODY_SUBMIT);
    submit = other->submit;
    assert_true(!submit->follow && !submit->input && !submit->tied && submit->name.len == 0);
    assert_memory_not_equal(request->submit->key.data, submit->key.data, CONTROL_KEY_SIZE);
    c4p__request__free_unpacked(request, NULL);
    c4p__request__free_unpacked(other, NULL);
    c4p_close(client);
    fake_end(&fake);
}

static void a_session_is_opened_and_ended(void **state)
{
    const struct c4p_session session = {"lab", true, some_job, 60000};
    struct fake fake;
    struct c4p_client *client;
    C4p__Request *request;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    assert_int_equal(c4p_open(client, &session), 2);
    request = fake_take(&fake, C4P__REQUEST__BODY_OPEN);
    assert_true(bytes_equal(request->open->name, "lab") && request->open->create);
    assert_int_equal(request->open->ttl_ms, 60000);
    assert_int_equal(request->open->job->key.len, CONTROL_KEY_SIZE);
    assert_true(bytes_equal(request->open->job->argv[0], "python3"));
    c4p__request__free_unpacked(request, NULL);
    assert_int_equal(c4p_end(client, 8), 3);
    request = fake_take(&fake, C4P__REQUEST__BODY_CLOSE);
    assert_int_equal(request->close->job, 8);
    c4p__request__free_unpacked(request, NULL);
    c4p_close(client);
    fake_end(&fake);
}

static void the_other_requests_say_what_was_asked(void **state)
{
    const struct c4p_follow_options follow = {17, true, true, true};
    const struct c4p_list_options list = {true, true, 5};
    struct fake fake;
    struct c4p_client *client;
    C4p__Request *request;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    assert_int_equal(c4p_follow(client, 3, &follow), 2);
    assert_int_equal(c4p_unfollow(client, 4), 3);
    assert_int_equal(c4p_input(client, 5, "text", 4, true), 4);
    assert_int_equal(c4p_cancel(client, 6, true), 5);
    assert_int_equal(c4p_list(client, &list), 6);
    assert_int_equal(c4p_find(client, "abc"), 7);
    request = fake_take(&fake, C4P__REQUEST__BODY_FOLLOW);
    assert_true(request->follow->job == 3 && request->follow->from == 17);
    assert_true(request->follow->lossless && request->follow->input && request->follow->resume);
    c4p__request__free_unpacked(request, NULL);
    request = fake_take(&fake, C4P__REQUEST__BODY_UNFOLLOW);
    assert_int_equal(request->unfollow->job, 4);
    c4p__request__free_unpacked(request, NULL);
    request = fake_take(&fake, C4P__REQUEST__BODY_INPUT);
    assert_true(request->input->job == 5 && bytes_equal(request->input->data, "text"));
    assert_true(request->input->eof && request->id == 4);
    c4p__request__free_unpacked(request, NULL);
    request = fake_take(&fake, C4P__REQUEST__BODY_CANCEL);
    assert_true(request->cancel->job == 6 && request->cancel->kill);
    c4p__request__free_unpacked(request, NULL);
    request = fake_take(&fake, C4P__REQUEST__BODY_LIST);
    assert_true(request->list->ended && request->list->sessions && request->list->last == 5);
    c4p__request__free_unpacked(request, NULL);
    request = fake_take(&fake, C4P__REQUEST__BODY_FIND);
    assert_true(bytes_equal(request->find->name, "abc"));
    c4p__request__free_unpacked(request, NULL);
    c4p_close(client);
    fake_end(&fake);
}

static void what_is_too_large_is_not_sent(void **state)
{
    static char word[CONTROL_MAX_MESSAGE];
    const char *const large[] = {"python3", word, NULL};
    const struct c4p_job job = {.argv = large, .env = environment, .cwd = "/dir"};
    struct fake fake;
    struct c4p_client *client;

    (void)state;
    memset(word, 'x', sizeof(word) - 1);
    fake_create(&fake);
    client = fake_attached(&fake);
    assert_int_equal(c4p_submit(client, &job), -1);
    assert_int_equal(errno, EMSGSIZE);
    assert_int_equal(c4p_input(client, 3, word, CONTROL_MAX_PIECE + 1, false), -1);
    assert_int_equal(errno, EMSGSIZE);
    assert_int_equal(c4p_status(client), 2);
    assert_int_equal(fake_take_id(&fake, C4P__REQUEST__BODY_STATUS), 2);
    c4p_close(client);
    fake_end(&fake);
}

static void more_than_a_thousand_unanswered_requests_are_too_many(void **state)
{
    struct fake fake;
    struct c4p_client *client;
    struct c4p_event event;
    int64_t id = 1, refused;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    for (int i = 0; i < 1024; i++)
        assert_int_equal(c4p_cancel(client, 3, false), ++id);
    assert_int_equal(c4p_cancel(client, 3, false), -1);
    assert_int_equal(errno, EAGAIN);
    refused = (int64_t)fake_take_id(&fake, C4P__REQUEST__BODY_CANCEL);
    assert_int_equal(refused, 2);
    fake_refuse(&fake, 2, "there is nothing to cancel");
    event_expect(client, &event, C4P_EVENT_REFUSED, 2);
    assert_string_equal(event.text, "there is nothing to cancel");
    assert_int_equal(event.job, 3);
    assert_int_equal(c4p_cancel(client, 3, false), ++id);
    for (refused = 3; refused <= id; refused++)
        assert_int_equal(fake_take_id(&fake, C4P__REQUEST__BODY_CANCEL), refused);
    c4p_close(client);
    fake_end(&fake);
}

/* ---- waiting, and the rest ---- */

static void on_alarm(int number)
{
    (void)number;
}

static void waiting_ends_after_its_time_and_by_signals(void **state)
{
    const struct sigaction action = {.sa_handler = on_alarm};
    struct fake fake;
    struct c4p_client *client;

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    assert_int_equal(c4p_wait(client, 0), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(c4p_wait(client, 20), -1);
    assert_int_equal(errno, EAGAIN);
    require(sigaction(SIGALRM, &action, NULL) == 0);
    alarm(1);
    assert_int_equal(c4p_wait(client, -1), -1);
    assert_int_equal(errno, EINTR);
    watchdog_start(state);
    fake_output(&fake, 1, 1);
    assert_int_equal(c4p_wait(client, -1), 0);
    assert_int_equal(c4p_wait(client, 0), 0);
    c4p_close(client);
    fake_end(&fake);
}

static void ids_and_states_have_names(void **state)
{
    char text[C4P_ID_SIZE];

    (void)state;
    assert_int_equal(strlen(c4p_id_format(12345, text)), 8);
    assert_ptr_equal(c4p_id_format(12345, text), text);
    assert_string_equal(c4p_state_name(C4P_STATE_SUBMITTED), "submitted");
    assert_string_equal(c4p_state_name(C4P_STATE_CANCELLED), "cancelled");
    assert_string_equal(c4p_state_name((enum c4p_state)99), "unknown");
    c4p_close(NULL);
}

/* ---- segments ---- */

struct segment_answer {
    struct fake *fake;
    C4p__Door door;
    int fds[4];
    unsigned fds_count;
    bool silent; /* close instead */
};

static void *segment_play(void *argument)
{
    struct segment_answer *answer = argument;
    C4p__Knock *knock = fake_knock_take(answer->fake);

    require(knock->body_case == C4P__KNOCK__BODY_SEGMENT && knock->segment->job == 5);
    c4p__knock__free_unpacked(knock, NULL);
    if (answer->silent)
        fake_door_close(answer->fake);
    else
        fake_door_send(answer->fake, &answer->door, answer->fds, answer->fds_count);
    return NULL;
}

/* -1 with a sentence, or 0 with two descriptors. */
static int segment_ask(struct c4p_client *client, struct segment_answer *answer, int fds[2],
                       char error[C4P_ERROR_SIZE])
{
    pthread_t thread;
    uint32_t endpoint = 0;
    int rc;

    answer->fake->client = NULL;
    thread = thread_start(segment_play, answer);
    rc = c4p_segment(client, 5, &endpoint, &fds[0], &fds[1], error);
    thread_join(thread);
    if (rc == 0)
        assert_int_equal(endpoint, answer->door.endpoint);
    return rc;
}

static unsigned descriptors_count(void)
{
    unsigned count = 0;

    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void a_segment_is_entered(void **state)
{
    struct fake fake;
    struct segment_answer answer = {.fake = &fake, .door = C4P__DOOR__INIT, .fds_count = 2};
    struct c4p_client *client;
    char error[C4P_ERROR_SIZE], byte;
    int fds[2];

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    require(pipe2(answer.fds, O_CLOEXEC) == 0);
    answer.door.endpoint = 99;
    assert_int_equal(segment_ask(client, &answer, fds, error), 0);
    assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_int_equal(read(fds[0], &byte, 1), 1);
    for (int i = 0; i < 2; i++) {
        close(fds[i]);
        close(answer.fds[i]);
    }
    c4p_close(client);
    fake_end(&fake);
}

static void a_segment_that_is_not_given_is_explained_and_leaves_no_descriptor(void **state)
{
    struct fake fake;
    struct segment_answer answer = {.fake = &fake, .door = C4P__DOOR__INIT};
    struct c4p_client *client;
    struct c4p_event event;
    char error[C4P_ERROR_SIZE];
    unsigned before;
    int fds[2];

    (void)state;
    fake_create(&fake);
    client = fake_attached(&fake);
    before = descriptors_count();
    for (int i = 0; i < 4; i++)
        answer.fds[i] = STDERR_FILENO;
    answer.door.refused = (char *)(uintptr_t) "no";
    for (answer.fds_count = 0; answer.fds_count <= 2; answer.fds_count++) {
        assert_int_equal(segment_ask(client, &answer, fds, error), -1);
        assert_string_equal(error, "the daemon refuses: no");
        assert_int_equal(descriptors_count(), before);
    }
    answer.door.refused = (char *)(uintptr_t) "";
    answer.door.endpoint = 99; /* an empty packet would be the end */
    for (answer.fds_count = 0; answer.fds_count <= 1; answer.fds_count++) {
        assert_int_equal(segment_ask(client, &answer, fds, error), -1);
        assert_non_null(strstr(error, "has sent no descriptors"));
        assert_int_equal(descriptors_count(), before);
    }
    /* A packet nobody asked for, with descriptors, is of no interest. */
    answer.fds_count = 4;
    fake_door_send(&fake, &answer.door, answer.fds, answer.fds_count);
    assert_int_equal(c4p_next(client, &event), 0);
    assert_int_equal(descriptors_count(), before);
    answer.silent = true;
    assert_int_equal(segment_ask(client, &answer, fds, error), -1);
    assert_non_null(strstr(error, "no answer from the daemon: it is gone"));
    event_expect(client, &event, C4P_EVENT_LOST, 0);
    assert_int_equal(c4p_segment(client, 5, &(uint32_t){0}, &fds[0], &fds[1], error), -1);
    assert_string_equal(error, "there is no connection to the daemon");
    c4p_close(client);
    fake_end(&fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(a_client_learns_who_the_daemon_is),
        watched_test(the_state_directory_comes_from_the_environment),
        watched_test(a_private_daemon_is_adopted),
        watched_test(nobody_there_is_said_with_the_place_and_the_remedy),
        watched_test(what_listens_there_may_be_something_else),
        watched_test(another_users_daemon_is_not_spoken_to),
        watched_test(a_daemon_that_says_nothing_is_left_in_time),
        watched_test(answers_that_are_none_are_explained),
        watched_test(an_address_that_is_none_is_explained),
        watched_test(a_job_is_submitted_with_all_it_has),
        watched_test(a_session_is_opened_and_ended),
        watched_test(the_other_requests_say_what_was_asked),
        watched_test(what_is_too_large_is_not_sent),
        watched_test(more_than_a_thousand_unanswered_requests_are_too_many),
        watched_test(waiting_ends_after_its_time_and_by_signals),
        watched_test(ids_and_states_have_names),
        watched_test(a_segment_is_entered),
        watched_test(a_segment_that_is_not_given_is_explained_and_leaves_no_descriptor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
