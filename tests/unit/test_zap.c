/*
 * Who is let in to which socket, by its key: every role at every door, asked by libzmq itself.
 */
#include "tests/unit/links_fixture.h"

/* ThreadSanitizer does not see how the threads of libzmq, which is not built for it, agree. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:libzmq.so\ncalled_from_lib:libzmq.so\n";
}

static struct side side;

static int side_begin(void **state)
{
    base = event_base_new();
    side_open(&side);
    return watchdog_start(state);
}

static int side_end(void **state)
{
    side_close(&side);
    event_base_free(base);
    return watchdog_stop(state);
}

/* A socket of the guarded context in a domain, which says whose a message was. */
static void *door_open(const char *domain, char address[64])
{
    void *socket = zmq_socket(side.zmq, ZMQ_ROUTER);
    const int linger = 0, on = 1;
    size_t size = 64;

    require(zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof(linger)) == 0);
    require(zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &on, sizeof(on)) == 0);
    require(zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, side.identity.secret_key, 32) == 0);
    require(zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, domain, strlen(domain)) == 0);
    require(zmq_bind(socket, "tcp://127.0.0.1:*") == 0);
    require(zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, address, &size) == 0);
    return socket;
}

/* A peer with a key of this role says something; true: it was let in, and its key was told. */
static bool comes_in(const char *domain, enum trust_role role)
{
    const uint64_t before = side.refusals.count;
    struct peer peer;
    struct node_key key;
    uint8_t secret[32];
    char address[64];
    void *door = door_open(domain, address), *socket = peer_open(&peer, secret);
    bool in = false;
    zmq_msg_t message;

    side.known_count = 0;
    side_set(&side, &peer.key, role);
    require(zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, side.identity.public_key.bytes, 32) == 0);
    require(zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, peer.key.bytes, 32) == 0);
    require(zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret, 32) == 0);
    require(zmq_connect(socket, address) == 0 && zmq_send(socket, "hello", 5, 0) == 5);
    zmq_msg_init(&message);
    await((in = zmq_msg_recv(&message, door, ZMQ_DONTWAIT) >= 0) || side.refusals.count > before);
    if (in) {
        require(zmq_msg_recv(&message, door, ZMQ_DONTWAIT) == 5);
        require(zap_key_of(&message, &key) == 0 && key_equal(&key, &peer.key));
    }
    zmq_msg_close(&message);
    peer_close(&peer);
    zmq_close(door);
    return in;
}

static void each_door_lets_in_its_roles_and_no_other(void **state)
{
    static const struct {
        const char *domain;
        bool in[ROLE_JOINER + 1];
    } doors[] = {
        {LINKS_DOMAIN, {[ROLE_NODE] = true, [ROLE_USER] = true, [ROLE_JOINER] = true}},
        {"data", {[ROLE_NODE] = true}},
        {"another", {false}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(doors) / sizeof(*doors); i++)
        for (enum trust_role role = ROLE_STRANGER; role <= ROLE_JOINER; role++)
            if (comes_in(doors[i].domain, role) != doors[i].in[role])
                fail_msg("role %d at %s", (int)role, doors[i].domain);
}

static void a_revoked_key_is_told_to_the_owner(void **state)
{
    (void)state;
    assert_false(comes_in("data", ROLE_REVOKED));
    assert_int_equal(side.revoked, 1);
    assert_false(comes_in("data", ROLE_STRANGER));
    assert_int_equal(side.revoked, 1);
}

static void a_message_that_came_without_a_key_is_nobodys(void **state)
{
    struct node_key key;
    zmq_msg_t message;

    (void)state;
    zmq_msg_init_size(&message, 4);
    assert_int_equal(zap_key_of(&message, &key), -1);
    zmq_msg_close(&message);
}

#define zap_test(function) cmocka_unit_test_setup_teardown(function, side_begin, side_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        zap_test(each_door_lets_in_its_roles_and_no_other),
        zap_test(a_revoked_key_is_told_to_the_owner),
        zap_test(a_message_that_came_without_a_key_is_nobodys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
