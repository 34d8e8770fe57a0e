/*
 * Who comes to the data port and is no node: each is counted and logged, and no node ever is.
 */
#include "tests/unit/plane_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "daemon/log.h"
#include "daemon/router/router_internal.h"

#define MIB ((uint64_t)1 << 20)

static uint64_t refused(const struct bench *bench)
{
    return bench->hosts[0].plane->refusals.count;
}

/* ---- strangers ---- */

static int tcp_connect(const struct bench *bench)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_port =
        htons((uint16_t)atoi(strrchr(plane_address(bench->hosts[0].plane), ':') + 1));
    require(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    return fd;
}

#define BYTES(text) text, sizeof(text) - 1

static const struct {
    const char *mechanism; /* after a greeting; NULL: there is none */
    const char *bytes;
    size_t size;
    const char *why;
} sayings[] = {
    {NULL, BYTES("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), "it is no node"},
    {NULL, BYTES("x"), "it is no node"},
    {NULL, BYTES("\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"), "it is no node"}, /* TLS */
    {NULL, BYTES("\x01\0\x03\0abc"), "it is no node"},                          /* ZMTP 1.0 */
    {NULL, BYTES("\xff\0\0\0\0\0\0\0\0\x7f\x01\x08\0\0"), "it is no node"},     /* 2.0 */
    {"NULL", BYTES("\x04\x05READY"), "it does not come under CURVE"},
    {"CURVE", BYTES("\x04\x05HELLO"), "it does not come under CURVE"},
    {"CURVE", BYTES("\0\x05hello"), "it does not come under CURVE"},
    {"CURVE", BYTES("\x06\xff\xff\xff\xff\xff\xff\xff\xff"), "it is no node"},
    {NULL, NULL, 0, "it connected and did not say who it is"},
};
#define SAYINGS (sizeof(sayings) / sizeof(*sayings))

/* It stays until it is sent away, but for one who has nothing to say. */
static int stranger_speak(const struct bench *bench, size_t saying)
{
    char greeting[64] = "\xff\0\0\0\0\0\0\0\0\x7f\x03";
    int fd = tcp_connect(bench);

    if (sayings[saying].mechanism != NULL) {
        strcpy(greeting + 12, sayings[saying].mechanism);
        require(send(fd, greeting, sizeof(greeting), MSG_NOSIGNAL) == sizeof(greeting));
    }
    if (sayings[saying].size > 0)
        (void)!send(fd, sayings[saying].bytes, sayings[saying].size, MSG_NOSIGNAL);
    else
        shutdown(fd, SHUT_RDWR);
    return fd;
}

/* Of what went before, all is known: this comes, and is counted, last. */
static void strangers_expect(struct bench *bench, uint64_t before)
{
    int fd = stranger_speak(bench, 0);

    await(bench, refused(bench) >= before + 1);
    close(fd);
    assert_int_equal(refused(bench), before + 1);
}

/* ---- nodes that say nothing ---- */

struct quiet {
    void *socket, *monitor;
};

/* It connects to host 0 under a key that is let in. */
static void quiet_open(struct bench *bench, struct quiet *quiet)
{
    uint8_t secret_key[NODE_KEY_SIZE];
    struct node_key key;
    char address[64];

    key_make(&key, secret_key);
    snprintf(address, sizeof(address), "inproc://quiet-%p", (void *)quiet);
    require((quiet->socket = zmq_socket(bench->zmq, ZMQ_PUSH)) != NULL);
    require(zmq_setsockopt(quiet->socket, ZMQ_CURVE_SERVERKEY, &bench->hosts[0].key, 32) == 0);
    require(zmq_setsockopt(quiet->socket, ZMQ_CURVE_PUBLICKEY, &key, 32) == 0);
    require(zmq_setsockopt(quiet->socket, ZMQ_CURVE_SECRETKEY, secret_key, 32) == 0);
    require(zmq_setsockopt(quiet->socket, ZMQ_LINGER, &(int){0}, sizeof(int)) == 0);
    require(zmq_socket_monitor(quiet->socket, address, ZMQ_EVENT_HANDSHAKE_SUCCEEDED) == 0);
    require((quiet->monitor = zmq_socket(bench->zmq, ZMQ_PAIR)) != NULL);
    require(zmq_connect(quiet->monitor, address) == 0);
    require(zmq_connect(quiet->socket, plane_address(bench->hosts[0].plane)) == 0);
}

static void quiet_await(struct bench *bench, struct quiet *quiet)
{
    char event[6];

    await(bench, zmq_recv(quiet->monitor, event, sizeof(event), ZMQ_DONTWAIT) > 0);
}

static void quiet_close(struct quiet *quiet)
{
    zmq_socket_monitor(quiet->socket, NULL, 0);
    zmq_close(quiet->monitor);
    zmq_close(quiet->socket);
}

/* ---- the log ---- */

struct captured {
    int log, errors;
    char text[4096];
};

/* What is said on standard error is kept from here on ... */
static void log_capture(struct captured *captured)
{
    captured->log = memfd_create("log", MFD_CLOEXEC);
    captured->errors = dup(STDERR_FILENO);
    require(captured->log >= 0 && captured->errors >= 0);
    require(dup2(captured->log, STDERR_FILENO) >= 0);
}

/* ... to here. */
static void log_release(struct captured *captured)
{
    ssize_t size;

    log_flush();
    require(dup2(captured->errors, STDERR_FILENO) >= 0);
    size = pread(captured->log, captured->text, sizeof(captured->text) - 1, 0);
    require(size >= 0);
    captured->text[size] = '\0';
    close(captured->log);
    close(captured->errors);
}

/* ---- the tests ---- */

static void every_kind_of_stranger_is_counted_and_logged_with_the_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < SAYINGS; i++) {
        struct captured captured;
        struct bench bench;
        int fd;

        bench_prepare(&bench, 1, true, 16 * MIB);
        log_capture(&captured);
        fd = stranger_speak(&bench, i);
        await(&bench, refused(&bench) == 1);
        log_release(&captured);
        close(fd);
        if (strstr(captured.text, sayings[i].why) == NULL ||
            (strstr(captured.text, "refused 127.0.0.1:") == NULL &&
             strstr(captured.text, "refused somebody:") == NULL))
            fail_msg("saying %zu: %s", i, captured.text);
        bench_close(&bench);
    }
}

static void strangers_are_all_counted_and_do_not_fill_the_log(void **state)
{
    struct captured captured;
    struct bench bench;
    unsigned lines = 0;
    int fds[5 * SAYINGS];

    (void)state;
    bench_prepare(&bench, 1, true, 16 * MIB);
    log_capture(&captured);
    for (size_t i = 0; i < 5 * SAYINGS; i++)
        fds[i] = stranger_speak(&bench, i % SAYINGS);
    await(&bench, refused(&bench) == 5 * SAYINGS);
    log_release(&captured);
    for (size_t i = 0; i < 5 * SAYINGS; i++)
        close(fds[i]);
    for (const char *at = captured.text; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    /* Each of a few times of ten seconds, on a slow machine, and with the number of the others. */
    assert_in_range(lines, 1, 3 * (REFUSALS_LOGGED + 1));
    bench_close(&bench);
}

static void nodes_that_speak_and_go_are_not_counted(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, 3, true, 16 * MIB);
    for (uint32_t pe = NODE_PES; pe < 3 * NODE_PES; pe++) {
        message_send(&bench, pe, 0, 100, pe);
        message_expect(&bench, 0, pe, 100, pe);
    }
    strangers_expect(&bench, 0);
    host_close(&bench.hosts[1]);
    host_close(&bench.hosts[2]);
    strangers_expect(&bench, 1);
    bench_close(&bench);
}

static void a_node_that_says_nothing_and_goes_is_not_counted(void **state)
{
    struct quiet quiet;
    struct bench bench;

    (void)state;
    bench_prepare(&bench, 1, true, 16 * MIB);
    for (uint64_t turn = 0; turn < 10; turn++) {
        quiet_open(&bench, &quiet);
        quiet_await(&bench, &quiet);
        quiet_close(&quiet);
        strangers_expect(&bench, turn);
    }
    bench_close(&bench);
}

static void strangers_among_nodes_that_come_at_the_same_time_are_told_from_them(void **state)
{
    struct quiet quiets[SAYINGS];
    struct bench bench;
    int fds[SAYINGS];

    (void)state;
    bench_prepare(&bench, 1, true, 16 * MIB);
    for (size_t i = 0; i < SAYINGS; i++) {
        quiet_open(&bench, &quiets[i]);
        fds[i] = stranger_speak(&bench, i);
    }
    for (size_t i = 0; i < SAYINGS; i++)
        quiet_await(&bench, &quiets[i]);
    await(&bench, refused(&bench) == SAYINGS);
    for (size_t i = 0; i < SAYINGS; i++) {
        close(fds[i]);
        quiet_close(&quiets[i]);
    }
    strangers_expect(&bench, SAYINGS);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(every_kind_of_stranger_is_counted_and_logged_with_the_reason),
        watched_test(strangers_are_all_counted_and_do_not_fill_the_log),
        watched_test(nodes_that_speak_and_go_are_not_counted),
        watched_test(a_node_that_says_nothing_and_goes_is_not_counted),
        watched_test(strangers_among_nodes_that_come_at_the_same_time_are_told_from_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
