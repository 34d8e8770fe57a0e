/*
 * Links between nodes over real sockets: what is said arrives under the key of who said it, and who
 * is not enrolled, speaks no CURVE, or sends what is no message gets nothing and is counted.
 */
#include "tests/unit/links_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

/* ThreadSanitizer does not see how the threads of libzmq, which is not built for it, agree. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:libzmq.so\ncalled_from_lib:libzmq.so\n";
}

static struct side a, b;

static int sides_open(void **state)
{
    base = event_base_new();
    side_open(&a);
    side_open(&b);
    sides_meet(&a, &b);
    return watchdog_start(state);
}

static int sides_close(void **state)
{
    side_close(&a);
    side_close(&b);
    event_base_free(base);
    return watchdog_stop(state);
}

static void what_is_said_arrives_under_the_key_of_who_said_it(void **state)
{
    struct links_figures figures;

    (void)state;
    assert_int_equal(side_probe(&a, &b, 42), 0);
    await(b.received == 1);
    assert_true(key_equal(&b.from, &a.identity.public_key));
    assert_int_equal(b.role, ROLE_NODE);
    assert_int_equal(b.number, 42);
    assert_int_equal(b.version, CLUSTER_VERSION);
    assert_int_equal(b.incarnation, 7);
    figures = links_figures(a.links);
    assert_int_equal(figures.open, 1);
    assert_int_equal(figures.sent, 1);
    assert_int_equal(links_figures(b.links).received_bytes, figures.sent_bytes);
}

static void messages_to_a_peer_keep_their_order(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 500; i++)
        assert_int_equal(side_probe(&a, &b, i), 0);
    await(b.received == 500);
    assert_int_equal(b.number, 500);
    assert_int_equal(links_figures(a.links).open, 1);
}

static void a_key_that_nobody_knows_gets_nothing_and_its_owner_hears_of_it(void **state)
{
    (void)state;
    side_set(&b, &a.identity.public_key, ROLE_STRANGER);
    assert_int_equal(side_probe(&a, &b, 1), 0);
    await(a.refused == 1);
    assert_int_equal(b.received, 0);
    assert_int_equal(b.refusals.count, 1);
    assert_int_equal(b.revoked, 0);
    /* Not every message tries again. */
    assert_int_equal(side_probe(&a, &b, 2), -1);
    assert_int_equal(errno, EAGAIN);
}

static void a_revoked_key_is_refused_and_said_to_be_revoked(void **state)
{
    (void)state;
    side_set(&b, &a.identity.public_key, ROLE_REVOKED);
    assert_int_equal(side_probe(&a, &b, 1), 0);
    await(a.refused == 1);
    assert_int_equal(b.received, 0);
    assert_int_equal(b.revoked, 1);
}

static void a_key_that_is_revoked_while_it_is_connected_gets_nothing_more(void **state)
{
    (void)state;
    assert_int_equal(side_probe(&a, &b, 1), 0);
    await(b.received == 1);
    side_set(&b, &a.identity.public_key, ROLE_REVOKED);
    assert_int_equal(side_probe(&a, &b, 2), 0);
    await(b.refusals.count == 1);
    assert_int_equal(b.received, 1);
    assert_int_equal(b.number, 1);
    assert_int_equal(links_figures(b.links).refused, 1);
}

static void a_peer_under_the_mechanism_null_is_refused_and_counted(void **state)
{
    struct peer peer;
    uint8_t secret[32];

    (void)state;
    peer_open(&peer, secret);
    require(zmq_connect(peer.socket, links_address(b.links)) == 0);
    peer_send(&peer, C4P__PEER__BODY_PROBE, &(C4p__Probe)C4P__PROBE__INIT);
    await(b.refusals.count > 0);
    peer_close(&peer);
    side_settle(&b);
    assert_int_equal(b.received, 0);
}

static void a_peer_under_the_mechanism_plain_is_refused_and_counted(void **state)
{
    struct peer peer;
    uint8_t secret[32];

    (void)state;
    peer_open(&peer, secret);
    zmq_setsockopt(peer.socket, ZMQ_PLAIN_USERNAME, "root", 4);
    zmq_setsockopt(peer.socket, ZMQ_PLAIN_PASSWORD, "root", 4);
    require(zmq_connect(peer.socket, links_address(b.links)) == 0);
    peer_send(&peer, C4P__PEER__BODY_PROBE, &(C4p__Probe)C4P__PROBE__INIT);
    await(b.refusals.count > 0);
    peer_close(&peer);
    side_settle(&b);
    assert_int_equal(b.received, 0);
}

static int tcp_connect(const struct side *side)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_port = htons((uint16_t)atoi(strrchr(links_address(side->links), ':') + 1));
    require(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    return fd;
}

static void a_scanner_that_speaks_another_protocol_is_counted(void **state)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    int fd = tcp_connect(&b);

    (void)state;
    require(write(fd, request, sizeof(request) - 1) > 0);
    await(b.refusals.count == 1);
    close(fd);
    fd = tcp_connect(&b);
    close(fd);
    await(b.refusals.count == 2);
    side_settle(&b);
    assert_int_equal(b.received, 0);
}

static void a_frame_that_is_too_large_is_dropped_and_the_next_one_arrives(void **state)
{
    char *large = calloc(1, LINKS_MAX_MESSAGE + 1);
    struct peer peer;

    (void)state;
    peer_connect_curve(&peer, &b, ROLE_NODE, &b);
    require(zmq_send(peer.socket, large, LINKS_MAX_MESSAGE + 1, 0) >= 0);
    free(large);
    peer_send(&peer, C4P__PEER__BODY_PROBE, &(C4p__Probe)C4P__PROBE__INIT);
    await(b.received == 1);
    assert_int_equal(links_figures(b.links).refused, 1);
    assert_int_equal(b.refusals.count, 1);
    peer_close(&peer);
}

static void what_is_no_message_is_dropped_and_counted(void **state)
{
    struct peer peer;

    (void)state;
    peer_connect_curve(&peer, &b, ROLE_NODE, &b);
    require(zmq_send(peer.socket, "\xff\xff\xff", 3, 0) >= 0);
    require(zmq_send(peer.socket, "more", 4, ZMQ_SNDMORE) >= 0);
    require(zmq_send(peer.socket, "parts", 5, 0) >= 0);
    peer_send(&peer, C4P__PEER__BODY_PROBE, &(C4p__Probe)C4P__PROBE__INIT);
    await(b.received == 1);
    assert_int_equal(links_figures(b.links).refused, 2);
    peer_close(&peer);
}

static void a_message_that_would_fill_the_memory_is_not_decoded(void **state)
{
    /* Half a million rumours of no bytes. */
    const size_t count = (LINKS_MAX_MESSAGE - 64) / 2;
    uint8_t *bytes = malloc(LINKS_MAX_MESSAGE);
    struct peer peer;
    size_t size = 2 * count, used = 0;

    (void)state;
    bytes[used++] = C4P__PEER__BODY_GOSSIP << 3 | 2;
    for (; size > 0x7f; size >>= 7)
        bytes[used++] = (uint8_t)(size | 0x80);
    bytes[used++] = (uint8_t)size;
    for (size_t i = 0; i < count; i++) {
        bytes[used++] = 1 << 3 | 2;
        bytes[used++] = 0;
    }
    assert_null(peer_unpack(bytes, used));
    peer_connect_curve(&peer, &b, ROLE_NODE, &b);
    require(zmq_send(peer.socket, bytes, used, 0) >= 0);
    await(links_figures(b.links).refused == 1);
    assert_int_equal(b.received, 0);
    peer_close(&peer);
    free(bytes);
}

static void who_joins_may_say_enrol_and_is_answered_on_its_connection(void **state)
{
    struct peer peer;
    char answer[64];

    (void)state;
    strcpy(b.answer, "welcome");
    peer_connect_curve(&peer, &b, ROLE_JOINER, &b);
    peer_send(&peer, C4P__PEER__BODY_PROBE, &(C4p__Probe)C4P__PROBE__INIT);
    peer_send(&peer, C4P__PEER__BODY_ENROL, &(C4p__Enrol)C4P__ENROL__INIT);
    assert_int_equal(peer_await(&peer, answer, sizeof(answer)), strlen("welcome"));
    assert_int_equal(b.received, 1);
    assert_int_equal(b.role, ROLE_JOINER);
    assert_int_equal(links_figures(b.links).refused, 1);
    peer_close(&peer);
}

static void what_a_user_says_goes_to_who_serves_users(void **state)
{
    struct peer peer;
    char answer[64];

    (void)state;
    peer_connect_curve(&peer, &b, ROLE_USER, &b);
    require(zmq_send(peer.socket, "request", 7, 0) >= 0);
    assert_int_equal(peer_await(&peer, answer, sizeof(answer)), 7);
    assert_int_equal(b.users, 1);
    assert_int_equal(b.received, 0);
    assert_true(key_equal(&b.from, &peer.key));
    peer_close(&peer);
}

static void a_link_that_is_closed_is_opened_by_the_next_message(void **state)
{
    (void)state;
    assert_int_equal(side_probe(&a, &b, 1), 0);
    await(b.received == 1);
    links_close(a.links, &b.identity.public_key);
    assert_int_equal(links_figures(a.links).open, 0);
    assert_int_equal(side_probe(&a, &b, 2), 0);
    await(b.received == 2);
    assert_int_equal(b.number, 2);
}

static void a_connection_that_breaks_is_told_and_made_anew(void **state)
{
    char address[NODE_ADDRESS_MAX + 1];

    (void)state;
    assert_int_equal(side_probe(&a, &b, 1), 0);
    await(b.received == 1);
    strcpy(address, links_address(b.links));
    links_destroy(b.links);
    await(a.broke > 0);
    side_links_open(&b, address);
    assert_int_equal(side_probe(&a, &b, 2), 0);
    await(b.received == 2);
    assert_int_equal(b.number, 2);
}

static void a_peer_with_another_key_than_it_should_have_is_not_spoken_to(void **state)
{
    struct side other;
    C4p__Peer message = C4P__PEER__INIT;

    (void)state;
    side_open(&other);
    message.body_case = C4P__PEER__BODY_PROBE;
    message.probe = &(C4p__Probe)C4P__PROBE__INIT;
    sides_meet(&a, &other);
    assert_int_equal(
        links_send(a.links, &b.identity.public_key, links_address(other.links), &message), 0);
    await(a.broke > 0 && other.refusals.count > 0);
    assert_int_equal(other.received, 0);
    side_close(&other);
}

static void a_full_queue_and_a_message_that_is_too_large_are_errors(void **state)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__BlobPart part = C4P__BLOB_PART__INIT;
    const struct node_key nobody = {{1}};
    int sent = 0;

    (void)state;
    message.body_case = C4P__PEER__BODY_BLOB_PART;
    message.blob_part = &part;
    part.data.len = LINKS_MAX_MESSAGE;
    part.data.data = calloc(1, part.data.len);
    assert_int_equal(links_send(a.links, &nobody, "tcp://127.0.0.1:9", &message), -1);
    assert_int_equal(errno, EMSGSIZE);
    free(part.data.data);
    part.data.len = 0;
    assert_int_equal(links_send(a.links, &nobody, "nowhere", &message), -1);
    assert_int_equal(links_send(a.links, &nobody, "", &message), -1);
    assert_int_equal(errno, EINVAL);
    while (links_send(a.links, &nobody, "tcp://127.0.0.1:9", &message) == 0)
        sent++;
    assert_int_equal(errno, EAGAIN);
    assert_true(sent <= LINKS_QUEUE);
    assert_int_equal(links_figures(a.links).dropped, 3);
}

/* A part of a file; it is named by where it begins. */
static int side_send_part(struct side *from, const struct node_key *to, const char *address,
                          uint64_t offset, size_t size)
{
    static uint8_t data[256 << 10];
    C4p__Peer message = C4P__PEER__INIT;
    C4p__BlobPart part = C4P__BLOB_PART__INIT;

    require(size <= sizeof(data));
    part.offset = offset;
    part.data = (ProtobufCBinaryData){size, data};
    message.body_case = C4P__PEER__BODY_BLOB_PART;
    message.blob_part = &part;
    return links_send(from->links, to, address, &message);
}

static void who_takes_nothing_holds_up_a_few_bytes_and_no_small_message(void **state)
{
    const struct node_key nobody = {{1}};
    const size_t sizes[] = {256 << 10, 20 << 10, LINKS_SMALL + 1};
    const char *address = "tcp://127.0.0.1:9";
    C4p__Peer message = C4P__PEER__INIT;
    C4p__Probe probe = C4P__PROBE__INIT;

    (void)state;
    message.body_case = C4P__PEER__BODY_PROBE;
    message.probe = &probe;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        size_t waits = 0;

        while (side_send_part(&a, &nobody, address, 0, sizes[i]) == 0)
            waits += sizes[i];
        assert_int_equal(errno, EAGAIN);
        assert_true(waits <= LINKS_QUEUE_BYTES);
        assert_true(waits + 2 * sizes[i] > LINKS_QUEUE_BYTES || waits >= LINKS_QUEUE * sizes[i]);
        if (i < 2)
            assert_int_equal(links_send(a.links, &nobody, address, &message), 0);
        links_close(a.links, &nobody);
    }
}

static void what_was_taken_makes_room_for_more(void **state)
{
    const unsigned parts = 4 * LINKS_QUEUE_BYTES / (256 << 10);

    (void)state;
    for (unsigned i = 0; i < parts; i++)
        await(side_send_part(&a, &b.identity.public_key, links_address(b.links), i, 256 << 10) ==
              0);
    await(b.received == parts);
    assert_int_equal(b.number, parts - 1);
}

static void a_port_in_use_is_named_with_the_remedy(void **state)
{
    char error[TRUST_ERROR_SIZE] = "";
    struct links_settings settings = {
        .zmq = a.zmq,
        .address = links_address(b.links),
        .identity = &a.identity,
        .refusals = &a.refusals,
        .listener = {side_role, side_received, side_user, side_broke, side_refused, &a},
    };

    (void)state;
    assert_null(links_create(base, &settings, error));
    assert_non_null(strstr(error, links_address(b.links)));
    assert_non_null(strstr(error, "listen"));
}

#define links_test(function) cmocka_unit_test_setup_teardown(function, sides_open, sides_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        links_test(what_is_said_arrives_under_the_key_of_who_said_it),
        links_test(messages_to_a_peer_keep_their_order),
        links_test(a_key_that_nobody_knows_gets_nothing_and_its_owner_hears_of_it),
        links_test(a_revoked_key_is_refused_and_said_to_be_revoked),
        links_test(a_key_that_is_revoked_while_it_is_connected_gets_nothing_more),
        links_test(a_peer_under_the_mechanism_null_is_refused_and_counted),
        links_test(a_peer_under_the_mechanism_plain_is_refused_and_counted),
        links_test(a_scanner_that_speaks_another_protocol_is_counted),
        links_test(a_frame_that_is_too_large_is_dropped_and_the_next_one_arrives),
        links_test(what_is_no_message_is_dropped_and_counted),
        links_test(a_message_that_would_fill_the_memory_is_not_decoded),
        links_test(who_joins_may_say_enrol_and_is_answered_on_its_connection),
        links_test(what_a_user_says_goes_to_who_serves_users),
        links_test(a_link_that_is_closed_is_opened_by_the_next_message),
        links_test(a_connection_that_breaks_is_told_and_made_anew),
        links_test(a_peer_with_another_key_than_it_should_have_is_not_spoken_to),
        links_test(a_full_queue_and_a_message_that_is_too_large_are_errors),
        links_test(who_takes_nothing_holds_up_a_few_bytes_and_no_small_message),
        links_test(what_was_taken_makes_room_for_more),
        links_test(a_port_in_use_is_named_with_the_remedy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
