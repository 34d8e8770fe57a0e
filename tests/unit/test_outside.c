/* Clients that come over the network: who they are, when they are taken for gone, how they are ended. */
#include "tests/unit/unit.h"

#include <event2/event.h>

#include "daemon/outside.h"
#include "proto/clock.h"

#define SILENCE_MS 1000

static const struct node_key ann = {.bytes = "ann's key"}, ben = {.bytes = "ben's key"};

static struct {
    struct event_base *base;
    struct control *control;
    struct outside *outside;
    /* What was sent last: to whom, and what it was. */
    char to[CONTROL_MAX_IDENTITY + 1];
    C4p__Event__BodyCase body;
    bool again;
    char reason[200];
    unsigned sent, statuses, cuts;
    uint64_t number; /* of who came last */
} world;

/* ---- the daemon around it ---- */

static bool on_redeem(void *context, const void *ticket, size_t size, struct attach_who *who)
{
    (void)context, (void)ticket, (void)size, (void)who;
    return false;
}

static int on_greeted(void *context, struct control_peer *peer, char reason[CONTROL_REASON_SIZE])
{
    (void)context, (void)reason;
    world.number = control_peer_who(peer)->id;
    return 0;
}

static void on_left(void *context, struct control_peer *peer)
{
    (void)context;
    outside_left(world.outside, control_peer_who(peer)->id);
}

static void on_lost(void *context, struct control_peer *peer, int error)
{
    (void)context, (void)peer, (void)error;
}

static int on_status(void *context, struct control_peer *peer, const C4p__Request *request,
                     char reason[CONTROL_REASON_SIZE])
{
    (void)context, (void)peer, (void)request, (void)reason;
    world.statuses++;
    return 0;
}

static int on_control_send(void *context, const void *identity, size_t identity_size,
                           const void *data, size_t size)
{
    (void)context;
    assert_true(outside_owns(identity, identity_size));
    return outside_send(world.outside, identity, identity_size, data, size);
}

static int on_send(void *context, const void *identity, size_t identity_size, const void *data,
                   size_t size)
{
    C4p__Event *event = c4p__event__unpack(NULL, size, data);

    (void)context;
    assert_non_null(event);
    snprintf(world.to, sizeof(world.to), "%.*s", (int)identity_size, (const char *)identity);
    world.sent++;
    world.body = event->body_case;
    if (event->body_case == C4P__EVENT__BODY_DISMISSED) {
        world.again = event->dismissed->again;
        snprintf(world.reason, sizeof(world.reason), "%s", event->dismissed->reason);
    }
    c4p__event__free_unpacked(event, NULL);
    return 0;
}

static void on_cut(void *context, uint64_t number)
{
    (void)context;
    world.cuts++;
    control_gone(world.control, number);
}

static int world_begin(void **state)
{
    const struct control_service service = {
        .status = on_status,
        .redeem = on_redeem,
        .greeted = on_greeted,
        .left = on_left,
        .send = on_control_send,
        .lost = on_lost,
    };
    struct outside_settings settings = {.silence_ms = SILENCE_MS, .send = on_send, .cut = on_cut};

    (void)state;
    memset(&world, 0, sizeof(world));
    world.base = event_base_new();
    world.control = settings.control = control_create(&service, 1, "here", 2);
    world.outside = outside_create(world.base, &settings);
    return world.control != NULL && world.outside != NULL ? 0 : -1;
}

static int world_end(void **state)
{
    (void)state;
    outside_destroy(world.outside);
    control_destroy(world.control);
    event_base_free(world.base);
    return 0;
}

/* ---- what users do ---- */

static void ask(const struct node_key *key, const char *connection, C4p__Request__BodyCase body,
                void *message)
{
    C4p__Request request = C4P__REQUEST__INIT;
    uint8_t bytes[128];

    world.body = 0;
    request.id = 5;
    request.body_case = body;
    request.hello = message;
    outside_frame(world.outside, key, connection, strlen(connection), bytes,
                  c4p__request__pack(&request, bytes));
}

static void say_hello(const struct node_key *key, const char *connection)
{
    C4p__Hello hello = C4P__HELLO__INIT;

    hello.min_version = CONTROL_MIN_VERSION;
    hello.max_version = CONTROL_MAX_VERSION;
    ask(key, connection, C4P__REQUEST__BODY_HELLO, &hello);
}

static void ask_status(const struct node_key *key, const char *connection)
{
    C4p__Status status = C4P__STATUS__INIT;

    ask(key, connection, C4P__REQUEST__BODY_STATUS, &status);
}

static void a_user_whose_key_is_known_comes_in_without_a_ticket(void **state)
{
    (void)state;
    say_hello(&ann, "one");
    assert_int_equal(world.body, C4P__EVENT__BODY_WELCOME);
    assert_string_equal(world.to, "one");
    assert_true((world.number & CONTROL_OUTSIDE) != 0);
    ask_status(&ann, "one");
    assert_int_equal(world.statuses, 1);
}

static void nobody_takes_the_place_of_another_keys_client(void **state)
{
    (void)state;
    say_hello(&ann, "one");
    ask_status(&ben, "one"); /* the same name of a connection */
    assert_int_equal(world.statuses, 0);
    assert_int_equal(world.body, C4P__EVENT__BODY_DISMISSED);
    assert_true(world.again);
    say_hello(&ben, "one");
    assert_int_equal(world.body, C4P__EVENT__BODY_WELCOME);
    assert_int_equal(control_count(world.control), 2);
}

static void their_identities_are_never_those_of_the_local_socket(void **state)
{
    (void)state;
    assert_false(outside_owns("\0abcd", 5)); /* ZeroMQ's choice */
    assert_false(outside_owns("any name that a client may choose for itself", 44));
    say_hello(&ann, "\x01");
    assert_int_equal(world.sent, 1); /* on_control_send() has looked */
}

static void they_are_clients_like_others_and_no_more_than_the_limit_come_in(void **state)
{
    (void)state;
    say_hello(&ann, "one");
    say_hello(&ann, "two");
    say_hello(&ann, "three");
    assert_int_equal(world.body, C4P__EVENT__BODY_REFUSED);
    assert_int_equal(control_count(world.control), 2);
    ask_status(&ann, "three");
    assert_int_equal(world.body, C4P__EVENT__BODY_DISMISSED);
}

static void who_is_silent_is_taken_for_gone_and_told_to_come_anew_when_it_speaks(void **state)
{
    C4p__Here here = C4P__HERE__INIT;
    int64_t before = clock_ms();

    (void)state;
    say_hello(&ann, "one");
    outside_sweep(world.outside, before + SILENCE_MS - 1);
    assert_int_equal(world.cuts, 0);
    outside_sweep(world.outside, clock_ms() + SILENCE_MS);
    assert_int_equal(world.cuts, 1);
    assert_int_equal(control_count(world.control), 0);
    ask(&ann, "one", C4P__REQUEST__BODY_HERE, &here);
    assert_int_equal(world.body, C4P__EVENT__BODY_DISMISSED);
    assert_true(world.again);
    say_hello(&ann, "two");
    assert_int_equal(world.body, C4P__EVENT__BODY_WELCOME);
}

static void that_one_is_still_there_is_answered_by_nothing(void **state)
{
    C4p__Here here = C4P__HERE__INIT;

    (void)state;
    say_hello(&ann, "one");
    ask(&ann, "one", C4P__REQUEST__BODY_HERE, &here);
    assert_int_equal(world.body, 0);
    assert_int_equal(world.sent, 1);
}

static void a_revoked_key_ends_its_clients_at_once_with_a_sentence_and_no_others(void **state)
{
    (void)state;
    say_hello(&ann, "one");
    say_hello(&ben, "two");
    outside_revoked(world.outside, &ann);
    assert_int_equal(world.body, C4P__EVENT__BODY_DISMISSED);
    assert_string_equal(world.to, "one");
    assert_false(world.again);
    assert_non_null(strstr(world.reason, "your key was revoked"));
    assert_int_equal(world.cuts, 1);
    assert_int_equal(control_count(world.control), 1);
    ask_status(&ben, "two");
    assert_int_equal(world.statuses, 1);
}

static void what_is_no_request_of_nobody_is_answered_by_no_more_than_that(void **state)
{
    (void)state;
    outside_frame(world.outside, &ann, "one", 3, "\xff\xff", 2);
    assert_int_equal(world.body, C4P__EVENT__BODY_DISMISSED);
    world.sent = 0;
    outside_frame(world.outside, &ann, "", 0, "\xff\xff", 2); /* ZeroMQ makes no such name */
    assert_int_equal(world.sent, 0);
    assert_int_equal(control_count(world.control), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)
        TEST(a_user_whose_key_is_known_comes_in_without_a_ticket),
        TEST(nobody_takes_the_place_of_another_keys_client),
        TEST(their_identities_are_never_those_of_the_local_socket),
        TEST(they_are_clients_like_others_and_no_more_than_the_limit_come_in),
        TEST(who_is_silent_is_taken_for_gone_and_told_to_come_anew_when_it_speaks),
        TEST(that_one_is_still_there_is_answered_by_nothing),
        TEST(a_revoked_key_ends_its_clients_at_once_with_a_sentence_and_no_others),
        TEST(what_is_no_request_of_nobody_is_answered_by_no_more_than_that),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
