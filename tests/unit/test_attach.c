/*
 * The door: what comes in and what it gets, tickets, and the socket itself. Who is not welcome, or
 * makes no sense: test_attach_strangers.c.
 */
#include "tests/unit/attach_fixture.h"

/* ---- the usual ---- */

static void a_client_gets_a_ticket_that_says_who_it_is(void **state)
{
    uint8_t ticket[CONTROL_TICKET_SIZE], other_ticket[CONTROL_TICKET_SIZE];
    struct attach_who who, other_who;
    struct house house;
    int fd, other;

    (void)state;
    house_open(&house);
    fd = attached(&house, ticket);
    other = attached(&house, other_ticket);
    assert_memory_not_equal(ticket, other_ticket, sizeof(ticket));
    assert_int_equal(attach_count(house.attach), 2);
    assert_true(attach_redeem(house.attach, other_ticket, sizeof(other_ticket), &other_who));
    assert_true(attach_redeem(house.attach, ticket, sizeof(ticket), &who));
    assert_int_equal(who.id, 1);
    assert_int_equal(other_who.id, 2);
    assert_int_equal(who.uid, geteuid());
    assert_int_equal(who.pid, getpid());
    close(fd);
    gone_await(&house, 1);
    assert_int_equal(house.gone[0], 1);
    assert_int_equal(attach_count(house.attach), 1);
    close(other);
    house_close(&house);
}

static void who_does_not_map_the_segment_gets_a_ticket_and_its_shape_instead(void **state)
{
    C4p__Segment segment = C4P__SEGMENT__INIT;
    struct attach_who who;
    struct house house;
    C4p__Door *door;
    int fd, fds[2];

    (void)state;
    house_open(&house);
    fd = greeted(&house, &who);
    segment.job = 5;
    segment.remote = true;
    knock_send(fd, C4P__KNOCK__BODY_SEGMENT, &segment);
    door = door_take(&house, fd, fds);
    assert_non_null(door);
    assert_int_equal(fds[0], -1);
    assert_int_equal(door->endpoint, 100 + who.id);
    assert_int_equal(door->ticket.len, STREAM_TICKET_SIZE);
    assert_memory_equal(door->ticket.data, "the data plane's", 17);
    assert_string_equal(door->address, "ipc:///data");
    assert_int_equal(door->epoch, 1);
    assert_int_equal(door->pes, 2);
    assert_int_equal(door->cores, 3);
    assert_int_equal(door->region_size, 4);
    c4p__door__free_unpacked(door, NULL);
    close(fd);
    house_close(&house);
}

static void the_segment_comes_with_its_descriptors(void **state)
{
    struct attach_who who;
    struct house house;
    C4p__Door *door;
    int fd, fds[2];
    char byte;

    (void)state;
    house_open(&house);
    fd = greeted(&house, &who);
    for (int i = 0; i < 3; i++) {
        segment_send(fd, 5);
        door = door_take(&house, fd, fds);
        assert_non_null(door);
        assert_int_equal(door->endpoint, 100 + who.id);
        c4p__door__free_unpacked(door, NULL);
        assert_int_equal(write(fds[1], "x", 1), 1);
        assert_int_equal(read(fds[0], &byte, 1), 1);
        close(fds[0]);
        close(fds[1]);
    }
    /* A refusal is no reason to part. */
    segment_send(fd, 6);
    door = door_take(&house, fd, fds);
    assert_string_equal(door->refused, "there is no session 6");
    assert_int_equal(fds[0], -1);
    c4p__door__free_unpacked(door, NULL);
    segment_send(fd, 5);
    c4p__door__free_unpacked(door_take(&house, fd, fds), NULL);
    close(fds[0]);
    close(fds[1]);
    close(fd);
    house_close(&house);
}

/* ---- commands ---- */

static C4p__AdminAnswer *admin_asked(struct house *house, const char *packet, size_t size)
{
    static uint8_t answer[CONTROL_MAX_PACKET];
    struct pollfd poller = {.events = POLLIN};
    C4p__AdminAnswer *decoded;
    ssize_t got;

    poller.fd = street_connect(house);
    packet_send(poller.fd, packet, size);
    while (poll(&poller, 1, 0) == 0)
        turn(house);
    got = recv(poller.fd, answer, sizeof(answer), MSG_DONTWAIT);
    assert_true(got >= 0);
    decoded = c4p__admin_answer__unpack(NULL, (size_t)got, answer);
    assert_non_null(decoded);
    assert_int_equal(recv(poller.fd, answer, sizeof(answer), 0), 0); /* and it is over */
    close(poller.fd);
    return decoded;
}

static void a_command_gets_one_answer_and_its_connection_is_closed(void **state)
{
    C4p__AdminAnswer *answer;
    struct house house;

    (void)state;
    house_open(&house);
    answer = admin_asked(&house,
                         "\x1a\x05\x0a\x03\x0a\x01"
                         "7",
                         7);
    assert_string_equal(answer->cluster, "xxxxxxx");
    c4p__admin_answer__free_unpacked(answer, NULL);
    answer = admin_asked(&house, "\x1a\x04\x0a\x02\x0a\x00", 6); /* an answer of no bytes */
    assert_string_equal(answer->cluster, "");
    c4p__admin_answer__free_unpacked(answer, NULL);
    assert_int_equal(attach_refused(house.attach), 0);
    answer = admin_asked(&house, "\x1a\x00", 2);
    assert_string_equal(answer->refused, "nothing is known of that");
    c4p__admin_answer__free_unpacked(answer, NULL);
    answer = admin_asked(&house,
                         "\x1a\x09\x0a\x07\x0a\x05"
                         "65536",
                         11);
    assert_string_equal(answer->refused, "the answer does not fit into a packet");
    c4p__admin_answer__free_unpacked(answer, NULL);
    assert_int_equal(attach_refused(house.attach), 2);
    assert_int_equal(attach_count(house.attach), 0);
    assert_int_equal(house.gone_count, 4);
    house_close(&house);
}

static void the_lifeline_takes_its_time_and_is_not_counted_as_a_caller(void **state)
{
    uint8_t ticket[CONTROL_TICKET_SIZE];
    struct attach_who who;
    struct house house;
    int pair[2], fds[MAX_CLIENTS];

    (void)state;
    house_open(&house);
    require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    assert_int_equal(attach_adopt(house.attach, pair[1]), 0);
    seconds_skipped += 10 * ATTACH_SILENCE_SECONDS;
    attach_send(pair[0], CONTROL_MIN_VERSION, CONTROL_MAX_VERSION);
    ticket_take(&house, pair[0], ticket);
    assert_true(attach_redeem(house.attach, ticket, sizeof(ticket), &who));
    assert_int_equal(who.pid, getpid());
    for (int i = 1; i < MAX_CLIENTS; i++)
        fds[i] = greeted(&house, &who);
    close(pair[0]);
    gone_await(&house, 1);
    assert_int_equal(house.gone[0], 1);
    for (int i = 1; i < MAX_CLIENTS; i++)
        close(fds[i]);
    house_close(&house);
}

static void what_is_no_socket_is_not_adopted(void **state)
{
    struct house house;

    (void)state;
    house_build(&house);
    assert_int_equal(attach_adopt(house.attach, house.segment[0]), -1);
    assert_int_equal(errno, ENOTSOCK);
    house_close(&house);
}

/* ---- tickets ---- */

static void a_ticket_is_good_once(void **state)
{
    uint8_t ticket[CONTROL_TICKET_SIZE];
    struct attach_who who;
    struct house house;
    int fd;

    (void)state;
    house_open(&house);
    fd = attached(&house, ticket);
    assert_true(attach_redeem(house.attach, ticket, sizeof(ticket), &who));
    assert_false(attach_redeem(house.attach, ticket, sizeof(ticket), &who));
    memset(ticket, 0, sizeof(ticket));
    assert_false(attach_redeem(house.attach, ticket, sizeof(ticket), &who));
    close(fd);
    house_close(&house);
}

static void a_ticket_that_is_not_quite_right_is_nobodys(void **state)
{
    uint8_t ticket[CONTROL_TICKET_SIZE + 1] = {0};
    struct attach_who who;
    struct house house;
    int fd;

    (void)state;
    house_open(&house);
    fd = attached(&house, ticket);
    for (size_t i = 0; i < CONTROL_TICKET_SIZE; i++) {
        ticket[i] ^= 0x10;
        assert_false(attach_redeem(house.attach, ticket, CONTROL_TICKET_SIZE, &who));
        ticket[i] ^= 0x10;
    }
    assert_false(attach_redeem(house.attach, ticket, CONTROL_TICKET_SIZE - 1, &who));
    assert_false(attach_redeem(house.attach, ticket, CONTROL_TICKET_SIZE + 1, &who));
    assert_false(attach_redeem(house.attach, "", 0, &who));
    assert_true(attach_redeem(house.attach, ticket, CONTROL_TICKET_SIZE, &who));
    close(fd);
    house_close(&house);
}

static void a_ticket_after_its_time_is_worth_nothing(void **state)
{
    uint8_t ticket[CONTROL_TICKET_SIZE];
    struct attach_who who;
    struct house house;
    int fd;

    (void)state;
    house_open(&house);
    fd = attached(&house, ticket);
    seconds_skipped += ATTACH_TICKET_SECONDS;
    assert_false(attach_redeem(house.attach, ticket, sizeof(ticket), &who));
    assert_refused(&house, fd, "ticket was not used in time");
    assert_int_equal(house.gone_count, 1);
    house_close(&house);
}

static void the_ticket_of_a_dead_client_is_worth_nothing(void **state)
{
    uint8_t ticket[CONTROL_TICKET_SIZE];
    struct attach_who who;
    struct house house;

    (void)state;
    house_open(&house);
    close(attached(&house, ticket));
    gone_await(&house, 1);
    assert_false(attach_redeem(house.attach, ticket, sizeof(ticket), &who));
    house_close(&house);
}

static void who_has_used_its_ticket_may_be_silent(void **state)
{
    struct attach_who who;
    struct house house;
    int fd, fds[2];

    (void)state;
    house_open(&house);
    fd = greeted(&house, &who);
    seconds_skipped += 1000 * ATTACH_SILENCE_SECONDS;
    segment_send(fd, 5);
    c4p__door__free_unpacked(door_take(&house, fd, fds), NULL);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(house.gone_count, 0);
    close(fd);
    house_close(&house);
}

/* ---- what is in the way ---- */

static void an_old_socket_is_replaced(void **state)
{
    char error[ATTACH_ERROR_SIZE];
    uint8_t ticket[CONTROL_TICKET_SIZE];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct house house;
    int old = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    (void)state;
    house_build(&house);
    strcpy(address.sun_path, house.path);
    require(bind(old, (struct sockaddr *)&address, sizeof(address)) == 0);
    assert_int_equal(attach_listen(house.attach, house.path, error), 0);
    close(attached(&house, ticket));
    close(old);
    house_close(&house);
}

static void what_is_no_socket_is_left_alone(void **state)
{
    char error[ATTACH_ERROR_SIZE];
    struct house house;
    int file;

    (void)state;
    house_build(&house);
    file = open(house.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    require(file >= 0 && close(file) == 0);
    assert_int_equal(attach_listen(house.attach, house.path, error), -1);
    assert_non_null(strstr(error, "File exists and is no socket (remove it)"));
    attach_stop(house.attach);
    assert_int_equal(unlink(house.path), 0);
    house_close(&house);
}

static void a_path_that_cannot_be_is_told(void **state)
{
    char error[ATTACH_ERROR_SIZE], path[400];
    struct house house;

    (void)state;
    house_build(&house);
    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(attach_listen(house.attach, path, error), -1);
    assert_non_null(strstr(error, "at most 107 characters"));
    path[107] = '\0';
    memcpy(path, "/nowhere/", 9);
    assert_int_equal(attach_listen(house.attach, path, error), -1);
    assert_non_null(strstr(error, "No such file or directory"));
    house_close(&house);
}

static void a_door_that_is_stopped_takes_nobody_and_keeps_who_is_there(void **state)
{
    struct attach_who who;
    struct house house;
    C4p__Door *door;
    int fd, fds[2];

    (void)state;
    house_open(&house);
    fd = greeted(&house, &who);
    attach_stop(house.attach);
    assert_int_equal(access(house.path, F_OK), -1);
    segment_send(fd, 6);
    door = door_take(&house, fd, fds);
    assert_string_equal(door->refused, "there is no session 6");
    c4p__door__free_unpacked(door, NULL);
    close(fd);
    house_close(&house);
}

static void a_connection_that_the_daemon_closes_is_not_told_of(void **state)
{
    struct attach_who who, other_who;
    struct house house;
    int fd, other;

    (void)state;
    house_open(&house);
    fd = greeted(&house, &who);
    other = greeted(&house, &other_who);
    attach_close(house.attach, who.id, NULL);
    attach_close(house.attach, who.id, NULL);
    attach_close(house.attach, 12345, "nobody reads this");
    assert_closed(&house, fd);
    /* Even one that is being served. */
    house.close_in_segment = other_who.id;
    segment_send(other, 5);
    assert_closed(&house, other);
    assert_int_equal(house.gone_count, 0);
    assert_int_equal(attach_count(house.attach), 0);
    house_close(&house);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(a_client_gets_a_ticket_that_says_who_it_is),
        watched_test(who_does_not_map_the_segment_gets_a_ticket_and_its_shape_instead),
        watched_test(the_segment_comes_with_its_descriptors),
        watched_test(a_command_gets_one_answer_and_its_connection_is_closed),
        watched_test(the_lifeline_takes_its_time_and_is_not_counted_as_a_caller),
        watched_test(what_is_no_socket_is_not_adopted),
        watched_test(a_ticket_is_good_once),
        watched_test(a_ticket_that_is_not_quite_right_is_nobodys),
        watched_test(a_ticket_after_its_time_is_worth_nothing),
        watched_test(the_ticket_of_a_dead_client_is_worth_nothing),
        watched_test(who_has_used_its_ticket_may_be_silent),
        watched_test(an_old_socket_is_replaced),
        watched_test(what_is_no_socket_is_left_alone),
        watched_test(a_path_that_cannot_be_is_told),
        watched_test(a_door_that_is_stopped_takes_nobody_and_keeps_who_is_there),
        watched_test(a_connection_that_the_daemon_closes_is_not_told_of),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
