/* A daemon and clients that are not libc4p: one that does not read, one of the release before. */
#include "tests/unit/service_fixture.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <zmq.h>

#include "proto/control.h"
#include "proto/control.pb-c.h"

struct raw {
    int door;
    void *zmq, *socket;
};

static void raw_send(struct raw *raw, C4p__Request__BodyCase body, void *message)
{
    C4p__Request request = C4P__REQUEST__INIT;
    uint8_t frame[256];

    request.id = 1;
    request.body_case = body;
    request.hello = message;
    require(zmq_send(raw->socket, frame, c4p__request__pack(&request, frame), 0) > 0);
}

static void raw_attach(struct raw *raw, const struct bench *bench)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    C4p__Attach attach = C4P__ATTACH__INIT;
    C4p__Knock knock = C4P__KNOCK__INIT;
    C4p__Hello hello = C4P__HELLO__INIT;
    const int one = 1, linger = 0, timeout = WAIT_MS;
    uint8_t packet[1024];
    C4p__Door *door;
    ssize_t size;

    attach.min_version = hello.min_version = CONTROL_MIN_VERSION;
    attach.max_version = hello.max_version = CONTROL_MAX_VERSION;
    knock.body_case = C4P__KNOCK__BODY_ATTACH;
    knock.attach = &attach;
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/" PLACE_ATTACH, bench->directory);
    raw->door = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    require(connect(raw->door, (struct sockaddr *)&address, sizeof(address)) == 0);
    require(send(raw->door, packet, c4p__knock__pack(&knock, packet), 0) > 0);
    size = recv(raw->door, packet, sizeof(packet), 0);
    require(size > 0);
    door = c4p__door__unpack(NULL, (size_t)size, packet);
    require(door != NULL);
    raw->zmq = zmq_ctx_new();
    raw->socket = zmq_socket(raw->zmq, ZMQ_DEALER);
    zmq_setsockopt(raw->socket, ZMQ_RCVHWM, &one, sizeof(one));
    zmq_setsockopt(raw->socket, ZMQ_LINGER, &linger, sizeof(linger));
    zmq_setsockopt(raw->socket, ZMQ_SNDTIMEO, &timeout, sizeof(timeout));
    require(zmq_connect(raw->socket, door->address) == 0);
    hello.ticket = door->ticket;
    raw_send(raw, C4P__REQUEST__BODY_HELLO, &hello);
    require(zmq_recv(raw->socket, packet, sizeof(packet), 0) > 0);
    c4p__door__free_unpacked(door, NULL);
}

static void who_asks_and_does_not_read_is_cut_off_and_the_others_are_served(void **state)
{
    C4p__Status status = C4P__STATUS__INIT;
    struct bench bench;
    struct c4p_client *client;
    struct c4p_event event;
    struct raw raw;
    uint8_t packet[1024];
    C4p__Door *door;
    ssize_t size;

    (void)state;
    bench_open(&bench);
    client = attached(&bench);
    raw_attach(&raw, &bench);
    while ((size = recv(raw.door, packet, sizeof(packet), MSG_DONTWAIT)) < 0) {
        require(errno == EAGAIN);
        raw_send(&raw, C4P__REQUEST__BODY_STATUS, &status);
    }
    door = c4p__door__unpack(NULL, (size_t)size, packet);
    assert_non_null(door);
    assert_string_equal(door->refused, "it asks, and does not read the answers");
    c4p__door__free_unpacked(door, NULL);
    assert_int_equal(recv(raw.door, packet, sizeof(packet), 0), 0);
    assert_true(c4p_status(client) > 0);
    event_await(client, C4P_EVENT_STATUS, &event);
    assert_int_equal(event.status->clients, 1);
    close(raw.door);
    zmq_close(raw.socket);
    zmq_ctx_term(raw.zmq);
    c4p_close(client);
    bench_close(&bench);
}

/* How many jobs come as answers to a List of a client that knows no pages; why not all, or "". */
static unsigned raw_list(struct raw *raw, char reason[512])
{
    static uint8_t frame[CONTROL_MAX_MESSAGE];
    C4p__List list = C4P__LIST__INIT;
    unsigned count = 0;
    bool more = true;

    reason[0] = '\0';
    raw_send(raw, C4P__REQUEST__BODY_LIST, &list);
    while (more) {
        int size = zmq_recv(raw->socket, frame, sizeof(frame), 0);
        C4p__Event *event = size > 0 ? c4p__event__unpack(NULL, (size_t)size, frame) : NULL;

        require(event != NULL && event->id == 1);
        more = event->body_case == C4P__EVENT__BODY_JOBS && event->jobs->more;
        if (event->body_case == C4P__EVENT__BODY_JOBS)
            count += (unsigned)event->jobs->n_jobs;
        else if (event->body_case == C4P__EVENT__BODY_REFUSED)
            snprintf(reason, 512, "%s", event->refused->reason);
        c4p__event__free_unpacked(event, NULL);
    }
    return count;
}

static void a_client_that_knows_no_pages_gets_a_short_list_and_is_told_of_a_long_one(void **state)
{
    static char word[4000], cwd[3000] = "/tmp";
    const char *argv[5] = {"/bin/sh", "-c", "true", word, NULL};
    const struct c4p_job job = {.argv = argv, .env = environment, .cwd = cwd, .pes = 50};
    char reason[512];
    struct bench bench;
    struct c4p_client *client;
    struct raw raw;
    unsigned jobs;

    (void)state;
    memset(word, 'x', sizeof(word) - 1);
    while (strlen(cwd) < sizeof(cwd) - 3)
        strcat(cwd, "/.");
    bench_open(&bench);
    client = attached(&bench);
    raw_attach(&raw, &bench);
    for (jobs = 0; jobs < 90; jobs++)
        submitted(client, &job);
    assert_int_equal(raw_list(&raw, reason), 90);
    assert_string_equal(reason, "");
    for (; jobs < 600; jobs++)
        submitted(client, &job);
    assert_in_range(raw_list(&raw, reason), 400, 500);
    assert_non_null(strstr(reason, "use a client of this daemon's release"));
    close(raw.door);
    zmq_close(raw.socket);
    zmq_ctx_term(raw.zmq);
    c4p_close(client);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(who_asks_and_does_not_read_is_cut_off_and_the_others_are_served),
        watched_test(a_client_that_knows_no_pages_gets_a_short_list_and_is_told_of_a_long_one),
    };

    if (spawn_reserve_fds() != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
