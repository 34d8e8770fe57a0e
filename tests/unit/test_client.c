/*
 * libc4p against a real server: the daemon's socket and control in an event
 * loop on a thread of its own, with a service that plays a job.
 */
#include "tests/unit/unit.h"

#include <event2/event.h>
#include <zmq.h>

#include "client/c4p.h"
#include "daemon/control/control.h"
#include "daemon/control/server.h"

#define PIECES 5000

/* ThreadSanitizer does not see how the threads of libzmq, which is not built for it, agree. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:libzmq.so\ncalled_from_lib:libzmq.so\n";
}

struct daemon {
    struct event_base *base;
    struct server *server;
    struct control *control;
    struct control_peer *peer;
    pthread_t thread;
    int stop; /* eventfd: ends the loop */
    struct event *stopped;
    char address[64];
    uint64_t sent, acknowledged;
    size_t input;
};

static void daemon_receive(void *context, const void *identity, size_t identity_size,
                           const void *data, size_t size)
{
    struct daemon *daemon = context;

    control_receive(daemon->control, identity, identity_size, data, size);
}

static void daemon_send(void *context, const void *identity, size_t identity_size, const void *data,
                        size_t size)
{
    struct daemon *daemon = context;

    require(server_send(daemon->server, identity, identity_size, data, size) == 0);
}

static void event_send(struct daemon *daemon, C4p__Event__BodyCase body, void *message)
{
    C4p__Event event = C4P__EVENT__INIT;

    event.body_case = body;
    event.welcome = message;
    control_send(daemon->control, daemon->peer, &event);
}

/* Output as long as there is room in the window, then the end. */
static void pieces_send(struct daemon *daemon)
{
    C4p__Output output = C4P__OUTPUT__INIT;
    C4p__Ended ended = C4P__ENDED__INIT;

    while (daemon->sent < PIECES && daemon->sent - daemon->acknowledged < CONTROL_OUTPUT_WINDOW) {
        output.job = 3;
        output.pe = (uint32_t)(daemon->sent % 4);
        output.sequence = ++daemon->sent;
        output.data.data = (uint8_t *)(uintptr_t) "line\n";
        output.data.len = 5;
        event_send(daemon, C4P__EVENT__BODY_OUTPUT, &output);
    }
    if (daemon->sent < PIECES)
        return;
    ended.job = 3;
    ended.state = C4P__JOB_STATE__FAILED;
    ended.exit_code = -2;
    ended.message = (char *)(uintptr_t) "so it is";
    event_send(daemon, C4P__EVENT__BODY_ENDED, &ended);
    daemon->sent = UINT64_MAX; /* once */
}

static int serve_submit(void *context, struct control_peer *peer, const C4p__Submit *submit,
                        uint64_t *job, char reason[CONTROL_REASON_SIZE])
{
    struct daemon *daemon = context;

    daemon->peer = peer;
    *job = 3;
    if (submit->pes > 8) {
        snprintf(reason, CONTROL_REASON_SIZE, "too many");
        return -1;
    }
    require(submit->n_argv == 2 && memcmp(submit->argv[1].data, "app.py", 6) == 0);
    require(submit->n_env == 1 && submit->cwd.len == 4 && submit->region_size == 77);
    return 0;
}

static int serve_follow(void *context, struct control_peer *peer, uint64_t job,
                        char reason[CONTROL_REASON_SIZE])
{
    (void)context, (void)peer, (void)reason;
    return job == 3 ? 0 : -1;
}

static int serve_input(void *context, struct control_peer *peer, const C4p__Input *input,
                       char reason[CONTROL_REASON_SIZE])
{
    struct daemon *daemon = context;
    C4p__InputCredit credit = C4P__INPUT_CREDIT__INIT;

    (void)peer, (void)reason;
    credit.job = 3;
    credit.bytes = (uint32_t)input->data.len;
    credit.closed = input->eof;
    event_send(daemon, C4P__EVENT__BODY_INPUT_CREDIT, &credit);
    return 0;
}

static int serve_ack(void *context, struct control_peer *peer, uint64_t job, uint64_t sequence,
                     char reason[CONTROL_REASON_SIZE])
{
    struct daemon *daemon = context;

    (void)peer, (void)job, (void)reason;
    require(sequence > daemon->acknowledged);
    daemon->acknowledged = sequence;
    if (daemon->sent <= PIECES)
        pieces_send(daemon);
    return 0;
}

static int serve_cancel(void *context, struct control_peer *peer, uint64_t job, bool kill,
                        char reason[CONTROL_REASON_SIZE])
{
    (void)context, (void)peer, (void)job, (void)kill;
    snprintf(reason, CONTROL_REASON_SIZE, "there is nothing to cancel");
    return -1;
}

static void serve_greeted(void *context, struct control_peer *peer)
{
    (void)context, (void)peer;
}

static void serve_flow(void *context, uint64_t job)
{
    (void)job;
    pieces_send(context);
}

static void *daemon_run(void *argument)
{
    struct daemon *daemon = argument;

    event_base_dispatch(daemon->base);
    return NULL;
}

static void daemon_stop(evutil_socket_t fd, short what, void *argument)
{
    struct daemon *daemon = argument;

    (void)fd, (void)what;
    event_base_loopbreak(daemon->base);
}

static void daemon_begin(struct daemon *daemon)
{
    const struct control_service service = {
        serve_submit,  serve_follow, serve_input, serve_ack, serve_cancel,
        serve_greeted, serve_flow,   daemon_send, daemon,
    };
    static unsigned number;

    memset(daemon, 0, sizeof(*daemon));
    /* A name in the abstract space: no file. */
    snprintf(daemon->address, sizeof(daemon->address), "ipc://@c4p-test-%d-%u", (int)getpid(),
             number++);
    daemon->base = event_base_new();
    daemon->stop = eventfd(0, EFD_CLOEXEC);
    daemon->stopped = event_new(daemon->base, daemon->stop, EV_READ, daemon_stop, daemon);
    require(daemon->stopped != NULL && event_add(daemon->stopped, NULL) == 0);
    daemon->control = control_create(&service, 99, "there");
    daemon->server = server_create(daemon->base, daemon->address, daemon_receive, daemon);
    require(daemon->base != NULL && daemon->control != NULL && daemon->server != NULL);
    daemon->thread = thread_start(daemon_run, daemon);
}

static void daemon_end(struct daemon *daemon)
{
    require(eventfd_write(daemon->stop, 1) == 0);
    require(pthread_join(daemon->thread, NULL) == 0);
    event_free(daemon->stopped);
    close(daemon->stop);
    server_destroy(daemon->server);
    control_destroy(daemon->control);
    event_base_free(daemon->base);
}

static struct c4p_client *connected(const struct daemon *daemon)
{
    char error[C4P_ERROR_SIZE];
    struct c4p_client *client = c4p_connect(daemon->address, "test", 20000, error);

    if (client == NULL)
        fail_msg("%s", error);
    return client;
}

static void event_next(struct c4p_client *client, struct c4p_event *event)
{
    int rc;

    while ((rc = c4p_next(client, event)) == 0)
        require(c4p_wait(client, -1) == 0);
    require(rc == 1);
}

static const char *const argv[] = {"python3", "app.py", NULL};
static const char *const environment[] = {"A=1", NULL};

static void a_client_learns_who_the_daemon_is(void **state)
{
    struct daemon daemon;
    struct c4p_client *client;

    (void)state;
    daemon_begin(&daemon);
    client = connected(&daemon);
    assert_string_equal(c4p_host(client), "there");
    assert_int_equal(c4p_incarnation(client), 99);
    c4p_close(client);
    daemon_end(&daemon);
}

static void a_job_is_submitted_and_followed_to_its_end_without_a_gap(void **state)
{
    const struct c4p_job job = {.argv = argv,
                                .env = environment,
                                .cwd = "/dir",
                                .pes = 4,
                                .region_size = 77,
                                .follow = true};
    struct daemon daemon;
    struct c4p_client *client;
    struct c4p_event event;

    (void)state;
    daemon_begin(&daemon);
    client = connected(&daemon);
    assert_true(c4p_submit(client, &job) > 0);
    event_next(client, &event);
    assert_int_equal(event.kind, C4P_EVENT_ACCEPTED);
    assert_int_equal(event.job, 3);
    event_next(client, &event);
    assert_int_equal(event.kind, C4P_EVENT_FOLLOWING);
    for (uint64_t sequence = 1; sequence <= PIECES; sequence++) {
        event_next(client, &event);
        require(event.kind == C4P_EVENT_OUTPUT && event.sequence == sequence);
        require(event.data_size == 5 && memcmp(event.data, "line\n", 5) == 0);
        require(c4p_output_done(client, event.job, event.sequence) == 0);
    }
    event_next(client, &event);
    assert_int_equal(event.kind, C4P_EVENT_ENDED);
    assert_int_equal(event.state, C4P_STATE_FAILED);
    assert_int_equal(event.exit_code, -2);
    assert_string_equal(event.text, "so it is");
    assert_int_equal(event.tail_size, 0);
    c4p_close(client);
    daemon_end(&daemon);
}

static void a_refusal_brings_its_sentence(void **state)
{
    const struct c4p_job job = {.argv = argv,
                                .env = environment,
                                .cwd = "/dir",
                                .pes = 9,
                                .region_size = 77,
                                .follow = true};
    struct daemon daemon;
    struct c4p_client *client;
    struct c4p_event event;

    (void)state;
    daemon_begin(&daemon);
    client = connected(&daemon);
    assert_true(c4p_submit(client, &job) > 0);
    event_next(client, &event);
    assert_int_equal(event.kind, C4P_EVENT_REFUSED);
    assert_string_equal(event.text, "too many");
    assert_true(c4p_cancel(client, 3, true) > 0);
    event_next(client, &event);
    assert_string_equal(event.text, "there is nothing to cancel");
    c4p_close(client);
    daemon_end(&daemon);
}

static void input_is_sent_and_credit_comes_back(void **state)
{
    const struct c4p_job job = {
        .argv = argv, .env = environment, .cwd = "/dir", .pes = 1, .region_size = 77};
    struct daemon daemon;
    struct c4p_client *client;
    struct c4p_event event;
    static char data[CONTROL_MAX_PIECE];
    uint64_t credit = 0;

    (void)state;
    daemon_begin(&daemon);
    client = connected(&daemon);
    assert_true(c4p_submit(client, &job) > 0);
    for (int i = 0; i < 50; i++)
        assert_true(c4p_input(client, 3, data, sizeof(data), i == 49) > 0);
    do {
        event_next(client, &event);
        if (event.kind == C4P_EVENT_INPUT)
            credit += event.credit;
    } while (event.kind != C4P_EVENT_INPUT || !event.closed);
    assert_int_equal(credit, 50 * sizeof(data));
    c4p_close(client);
    daemon_end(&daemon);
}

static void a_request_that_is_too_large_is_not_sent(void **state)
{
    static char word[CONTROL_MAX_MESSAGE];
    const char *const large[] = {"python3", word, NULL};
    const struct c4p_job job = {
        .argv = large, .env = environment, .cwd = "/dir", .pes = 1, .region_size = 77};
    struct daemon daemon;
    struct c4p_client *client;

    (void)state;
    memset(word, 'x', sizeof(word) - 1);
    daemon_begin(&daemon);
    client = connected(&daemon);
    assert_int_equal(c4p_submit(client, &job), -1);
    assert_int_equal(errno, EMSGSIZE);
    c4p_close(client);
    daemon_end(&daemon);
}

static void nobody_at_the_address_is_an_error_in_time(void **state)
{
    char error[C4P_ERROR_SIZE];

    (void)state;
    assert_null(c4p_connect("ipc://@c4p-test-nobody-is-here", "test", 50, error));
    assert_non_null(strstr(error, "no answer from the daemon"));
    assert_null(c4p_connect("nonsense", "test", 50, error));
    assert_non_null(strstr(error, "cannot connect to nonsense"));
}

/* ---- strangers on either side ---- */

struct stranger {
    void *zmq, *socket;
};

static void stranger_open(struct stranger *stranger, int type, const char *address)
{
    int linger = 0, timeout = 20000;

    stranger->zmq = zmq_ctx_new();
    stranger->socket = zmq_socket(stranger->zmq, type);
    zmq_setsockopt(stranger->socket, ZMQ_LINGER, &linger, sizeof(linger));
    zmq_setsockopt(stranger->socket, ZMQ_RCVTIMEO, &timeout, sizeof(timeout));
    require((type == ZMQ_ROUTER ? zmq_bind : zmq_connect)(stranger->socket, address) == 0);
}

static void stranger_close(struct stranger *stranger)
{
    zmq_close(stranger->socket);
    zmq_ctx_term(stranger->zmq);
}

static void assert_refused(struct stranger *stranger, const char *part)
{
    uint8_t frame[1024];
    int size = zmq_recv(stranger->socket, frame, sizeof(frame), 0);
    C4p__Event *event;

    assert_in_range(size, 1, sizeof(frame));
    event = c4p__event__unpack(NULL, (size_t)size, frame);
    assert_non_null(event);
    assert_int_equal(event->body_case, C4P__EVENT__BODY_REFUSED);
    assert_non_null(strstr(event->refused->reason, part));
    c4p__event__free_unpacked(event, NULL);
}

static void garbage_is_refused_and_the_daemon_serves_on(void **state)
{
    static char large[2 * CONTROL_MAX_MESSAGE];
    struct daemon daemon;
    struct stranger stranger;

    (void)state;
    daemon_begin(&daemon);
    stranger_open(&stranger, ZMQ_DEALER, daemon.address);
    zmq_send(stranger.socket, "\xff\xff", 2, 0);
    assert_refused(&stranger, "cannot be decoded");
    zmq_send(stranger.socket, large, sizeof(large), 0);
    assert_refused(&stranger, "larger than");
    /* Frames in another number than one are nobody's message. */
    zmq_send(stranger.socket, "", 0, ZMQ_SNDMORE);
    zmq_send(stranger.socket, "x", 1, ZMQ_SNDMORE);
    zmq_send(stranger.socket, "y", 1, 0);
    zmq_send(stranger.socket, "", 0, 0);
    assert_refused(&stranger, "not one that this daemon knows");
    c4p_close(connected(&daemon));
    stranger_close(&stranger);
    daemon_end(&daemon);
}

/* Answers the first frame that it gets. */
static void *stranger_answer(void *argument)
{
    struct stranger *stranger = ((void **)argument)[0];
    const char *answer = ((void **)argument)[1];
    char identity[256], frame[1024];
    int size = zmq_recv(stranger->socket, identity, sizeof(identity), 0);

    require(size > 0 && zmq_recv(stranger->socket, frame, sizeof(frame), 0) > 0);
    zmq_send(stranger->socket, identity, (size_t)size, ZMQ_SNDMORE);
    zmq_send(stranger->socket, answer, strlen(answer), 0);
    return NULL;
}

static void assert_connection_fails(const char *answer, const char *part)
{
    struct stranger stranger;
    void *argument[] = {&stranger, (void *)(uintptr_t)answer};
    char error[C4P_ERROR_SIZE];
    pthread_t thread;

    stranger_open(&stranger, ZMQ_ROUTER, "ipc://@c4p-test-stranger");
    thread = thread_start(stranger_answer, argument);
    assert_null(c4p_connect("ipc://@c4p-test-stranger", "test", 20000, error));
    assert_non_null(strstr(error, part));
    require(pthread_join(thread, NULL) == 0);
    stranger_close(&stranger);
}

static void a_daemon_of_another_version_or_kind_is_refused_by_the_client(void **state)
{
    (void)state;
    assert_connection_fails("\x12\x02\x08\x09", "is not among ours, 1 to 1");
    assert_connection_fails("\x1a\x04\x0a\x02no", "the daemon refuses: no");
    assert_connection_fails("\x22\x02\x08\x03", "is not among ours");
    assert_connection_fails("HTTP/1.1 400", "it speaks another protocol");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(a_client_learns_who_the_daemon_is),
        watched_test(a_job_is_submitted_and_followed_to_its_end_without_a_gap),
        watched_test(a_refusal_brings_its_sentence),
        watched_test(input_is_sent_and_credit_comes_back),
        watched_test(a_request_that_is_too_large_is_not_sent),
        watched_test(nobody_at_the_address_is_an_error_in_time),
        watched_test(garbage_is_refused_and_the_daemon_serves_on),
        watched_test(a_daemon_of_another_version_or_kind_is_refused_by_the_client),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
