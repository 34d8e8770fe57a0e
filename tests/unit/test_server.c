/*
 * The ZeroMQ socket of the daemon in its event loop, with what comes in as it is: frames in the wrong
 * number, too large ones, bursts, and peers that are gone.
 */
#include "tests/unit/unit.h"

#include <event2/event.h>
#include <zmq.h>

#include "daemon/control/server.h"
#include "proto/control.h"

/* ThreadSanitizer does not see how the threads of libzmq, which is not built for it, agree. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:libzmq.so\ncalled_from_lib:libzmq.so\n";
}

#define BURST 1000

struct echo {
    struct event_base *base;
    struct server *server;
    char address[64];
    unsigned received;
    size_t size; /* of the last frame */
};

/* Everything goes back where it came from; of large ones the size. */
static void echo_receive(void *context, const void *identity, size_t identity_size,
                         const void *data, size_t size)
{
    struct echo *echo = context;

    echo->received++;
    echo->size = size;
    require(server_send(echo->server, identity, identity_size, data, size < 64 ? size : 64) == 0);
}

static void echo_open(struct echo *echo)
{
    static unsigned number;

    memset(echo, 0, sizeof(*echo));
    /* A name in the abstract space: no file. */
    snprintf(echo->address, sizeof(echo->address), "ipc://@c4p-test-server-%d-%u", (int)getpid(),
             number++);
    echo->base = event_base_new();
    echo->server = server_create(echo->base, echo->address, echo_receive, echo);
    require(echo->base != NULL && echo->server != NULL);
}

static void echo_close(struct echo *echo)
{
    server_destroy(echo->server);
    event_base_free(echo->base);
}

/* Until so many frames have come. */
static void echo_await(struct echo *echo, unsigned received)
{
    while (echo->received < received)
        require(event_base_loop(echo->base, EVLOOP_ONCE) == 0);
    assert_int_equal(echo->received, received);
}

struct peer {
    void *zmq, *socket;
};

static void peer_open(struct peer *peer, const struct echo *echo)
{
    const int linger = 0, timeout = 20000, queue = 2 * BURST;

    peer->zmq = zmq_ctx_new();
    peer->socket = zmq_socket(peer->zmq, ZMQ_DEALER);
    zmq_setsockopt(peer->socket, ZMQ_LINGER, &linger, sizeof(linger));
    zmq_setsockopt(peer->socket, ZMQ_RCVTIMEO, &timeout, sizeof(timeout));
    zmq_setsockopt(peer->socket, ZMQ_SNDHWM, &queue, sizeof(queue));
    zmq_setsockopt(peer->socket, ZMQ_RCVHWM, &queue, sizeof(queue));
    require(zmq_connect(peer->socket, echo->address) == 0);
}

static void peer_close(struct peer *peer)
{
    zmq_close(peer->socket);
    zmq_ctx_term(peer->zmq);
}

static void assert_answer(struct peer *peer, const char *text)
{
    char frame[64];
    int size = zmq_recv(peer->socket, frame, sizeof(frame), 0);

    assert_int_equal(size, strlen(text));
    assert_memory_equal(frame, text, strlen(text));
}

static void a_frame_comes_with_its_sender_and_the_answer_finds_it(void **state)
{
    struct echo echo;
    struct peer one, other;

    (void)state;
    echo_open(&echo);
    peer_open(&one, &echo);
    peer_open(&other, &echo);
    require(zmq_send(one.socket, "one", 3, 0) == 3 && zmq_send(other.socket, "other", 5, 0) == 5);
    echo_await(&echo, 2);
    assert_answer(&one, "one");
    assert_answer(&other, "other");
    peer_close(&one);
    peer_close(&other);
    echo_close(&echo);
}

static void a_burst_is_taken_to_its_last_frame_without_another_wake(void **state)
{
    struct echo echo;
    struct peer peer;
    char text[16];

    (void)state;
    echo_open(&echo);
    peer_open(&peer, &echo);
    for (int i = 0; i < BURST; i++) {
        snprintf(text, sizeof(text), "%d", i);
        require(zmq_send(peer.socket, text, strlen(text), 0) > 0);
    }
    echo_await(&echo, BURST);
    for (int i = 0; i < BURST; i++) {
        snprintf(text, sizeof(text), "%d", i);
        assert_answer(&peer, text);
    }
    peer_close(&peer);
    echo_close(&echo);
}

static void frames_in_another_number_than_one_are_nobodys_message(void **state)
{
    struct echo echo;
    struct peer peer;

    (void)state;
    echo_open(&echo);
    peer_open(&peer, &echo);
    zmq_send(peer.socket, "", 0, ZMQ_SNDMORE);
    zmq_send(peer.socket, "x", 1, 0);
    zmq_send(peer.socket, "x", 1, ZMQ_SNDMORE);
    zmq_send(peer.socket, "y", 1, ZMQ_SNDMORE);
    zmq_send(peer.socket, "z", 1, 0);
    zmq_send(peer.socket, "", 0, 0);
    zmq_send(peer.socket, "alone", 5, 0);
    echo_await(&echo, 2);
    assert_answer(&peer, "");
    assert_answer(&peer, "alone");
    peer_close(&peer);
    echo_close(&echo);
}

static void a_frame_that_is_too_large_is_handed_on_and_one_beyond_all_measure_is_not(void **state)
{
    static char data[9 * CONTROL_MAX_MESSAGE];
    struct echo echo;
    struct peer peer, large;

    (void)state;
    echo_open(&echo);
    peer_open(&peer, &echo);
    peer_open(&large, &echo);
    require(zmq_send(peer.socket, data, CONTROL_MAX_MESSAGE + 1, 0) > 0);
    echo_await(&echo, 1); /* so that it can be refused with a sentence */
    assert_int_equal(echo.size, CONTROL_MAX_MESSAGE + 1);
    require(zmq_send(large.socket, data, sizeof(data), 0) > 0);
    require(zmq_send(peer.socket, "still here", 10, 0) > 0);
    echo_await(&echo, 2);
    assert_int_equal(echo.size, 10);
    peer_close(&peer);
    peer_close(&large);
    echo_close(&echo);
}

static void what_cannot_be_sent_is_told(void **state)
{
    struct echo echo;

    (void)state;
    echo_open(&echo);
    assert_int_equal(server_send(echo.server, "nobody", 6, "x", 1), -1);
    assert_int_equal(errno, EHOSTUNREACH);
    echo_close(&echo);
}

static void an_address_that_cannot_be_bound_is_an_error(void **state)
{
    struct echo echo;

    (void)state;
    echo_open(&echo);
    assert_null(server_create(echo.base, "nonsense", echo_receive, &echo));
    assert_int_equal(errno, EINVAL);
    assert_null(server_create(echo.base, echo.address, echo_receive, &echo));
    assert_int_equal(errno, EADDRINUSE);
    server_destroy(NULL);
    echo_close(&echo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(a_frame_comes_with_its_sender_and_the_answer_finds_it),
        watched_test(a_burst_is_taken_to_its_last_frame_without_another_wake),
        watched_test(frames_in_another_number_than_one_are_nobodys_message),
        watched_test(a_frame_that_is_too_large_is_handed_on_and_one_beyond_all_measure_is_not),
        watched_test(what_cannot_be_sent_is_told),
        watched_test(an_address_that_cannot_be_bound_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
