/*
 * The door, and packets that make no sense, clients that vanish or flood, other users, and too many.
 */
#include "tests/unit/attach_fixture.h"

/* ---- what makes no sense ---- */

static void packets_that_make_no_sense_are_told_so(void **state)
{
    static char large[CONTROL_MAX_PACKET + 1];
    static const struct {
        const char *data;
        size_t size;
        const char *answer;
    } packets[] = {
        {"\xff\xff", 2, "cannot be decoded"},
        {"GET / HTTP/1.1\r\n", 16, "cannot be decoded"},
        {"\x0a\x7f", 2, "cannot be decoded"}, /* a length that it has not */
        {"", 0, "nothing that this daemon knows"},
        {"\x22\x00", 2, "nothing that this daemon knows"}, /* a field of the future */
        {large, sizeof(large), "larger than the 64 KiB"},
        {large, sizeof(large) - 1, "cannot be decoded"},
        {"\x0a\x00", 2, "versions " VERSIONS " of the control protocol, the client 0 to 0"},
        {"\x12\x02\x08\x05", 4, "Segment came too early"},
    };
    struct house house;

    (void)state;
    house_open(&house);
    for (size_t i = 0; i < sizeof(packets) / sizeof(*packets); i++) {
        int fd = street_connect(&house);

        packet_send(fd, packets[i].data, packets[i].size);
        packet_send(fd, "more", 4);
        assert_refused(&house, fd, packets[i].answer);
        assert_int_equal(attach_refused(house.attach), i + 1);
        assert_int_equal(house.gone_count, i + 1);
    }
    house_close(&house);
}

static void another_version_is_refused_with_both_ranges(void **state)
{
    struct house house;
    int fd;

    (void)state;
    house_open(&house);
    fd = street_connect(&house);
    attach_send(fd, 7, 9);
    assert_refused(&house, fd,
                   "versions " VERSIONS
                   " of the control protocol, the client 7 to 9: use a client of "
                   "the same release");
    house_close(&house);
}

static void a_second_attach_ends_the_connection(void **state)
{
    uint8_t ticket[CONTROL_TICKET_SIZE];
    struct attach_who who;
    struct house house;
    int fd;

    (void)state;
    house_open(&house);
    fd = attached(&house, ticket);
    attach_send(fd, CONTROL_MIN_VERSION, CONTROL_MAX_VERSION);
    assert_refused(&house, fd, "Attach came a second time");
    assert_false(attach_redeem(house.attach, ticket, sizeof(ticket), &who));
    fd = greeted(&house, &who);
    attach_send(fd, CONTROL_MIN_VERSION, CONTROL_MAX_VERSION);
    assert_refused(&house, fd, "Attach came a second time");
    house_close(&house);
}

static void admin_after_attach_ends_the_connection(void **state)
{
    uint8_t ticket[CONTROL_TICKET_SIZE];
    struct house house;
    int fd;

    (void)state;
    house_open(&house);
    fd = attached(&house, ticket);
    packet_send(fd, "\x1a\x02\x0a\x00", 4);
    assert_refused(&house, fd, "ask on a connection of its own");
    house_close(&house);
}

static void a_segment_before_hello_ends_the_connection(void **state)
{
    uint8_t ticket[CONTROL_TICKET_SIZE];
    struct house house;
    int fd;

    (void)state;
    house_open(&house);
    fd = attached(&house, ticket);
    segment_send(fd, 5);
    assert_refused(&house, fd, "Segment came too early");
    house_close(&house);
}

static void descriptors_that_a_client_sends_do_not_stay(void **state)
{
    char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = {0};
    struct iovec part = {(void *)(uintptr_t) "\x0a\x04\x08\x02\x10\x02", 6};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    struct house house;
    unsigned before;
    int fd;

    (void)state;
    house_open(&house);
    before = descriptors_count();
    fd = street_connect(&house);
    CMSG_FIRSTHDR(&message)->cmsg_level = SOL_SOCKET;
    CMSG_FIRSTHDR(&message)->cmsg_type = SCM_RIGHTS;
    CMSG_FIRSTHDR(&message)->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &house.segment[0], sizeof(int));
    require(sendmsg(fd, &message, 0) == 6);
    assert_refused(&house, fd, "carries what no Knock carries");
    assert_int_equal(descriptors_count(), before);
    house_close(&house);
}

static void a_client_that_says_nothing_is_told_to_go(void **state)
{
    struct house house;
    int fd;

    (void)state;
    house_open(&house);
    fd = street_connect(&house);
    while (event_base_get_num_events(house.base, EVENT_BASE_COUNT_ADDED) < 2)
        turn(&house);
    seconds_skipped += ATTACH_SILENCE_SECONDS;
    assert_refused(&house, fd, "said nothing for too long");
    house_close(&house);
}

/* ---- clients that vanish, and clients that flood ---- */

static void a_client_may_vanish_at_any_stage(void **state)
{
    uint8_t ticket[CONTROL_TICKET_SIZE];
    struct attach_who who;
    struct house house;
    unsigned before;
    int fd;

    (void)state;
    house_open(&house);
    before = descriptors_count();
    close(street_connect(&house));
    gone_await(&house, 1);
    fd = street_connect(&house);
    attach_send(fd, CONTROL_MIN_VERSION, CONTROL_MAX_VERSION);
    close(fd); /* the answer cannot be sent */
    gone_await(&house, 2);
    close(attached(&house, ticket));
    gone_await(&house, 3);
    close(greeted(&house, &who));
    gone_await(&house, 4);
    fd = greeted(&house, &who);
    segment_send(fd, 5);
    close(fd);
    gone_await(&house, 5);
    fd = greeted(&house, &who);
    shutdown(fd, SHUT_WR);
    gone_await(&house, 6);
    assert_closed(&house, fd);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(house.gone[i], i + 1);
    assert_int_equal(attach_count(house.attach), 0);
    assert_int_equal(attach_refused(house.attach), 0);
    assert_int_equal(descriptors_count(), before);
    house_close(&house);
}

static void who_does_not_read_its_answers_is_disconnected(void **state)
{
    struct attach_who who;
    struct house house;
    int fd;

    (void)state;
    house_open(&house);
    fd = greeted(&house, &who);
    while (house.gone_count == 0) {
        C4p__Knock knock = C4P__KNOCK__INIT;
        C4p__Segment segment = C4P__SEGMENT__INIT;
        uint8_t packet[64];

        segment.job = 6;
        knock.body_case = C4P__KNOCK__BODY_SEGMENT;
        knock.segment = &segment;
        send(fd, packet, c4p__knock__pack(&knock, packet), MSG_DONTWAIT | MSG_NOSIGNAL);
        event_base_loop(house.base, EVLOOP_NONBLOCK);
    }
    assert_int_equal(house.gone[0], who.id);
    close(fd);
    house_close(&house);
}

static void a_flood_from_one_client_does_not_keep_the_others_waiting(void **state)
{
    uint8_t ticket[CONTROL_TICKET_SIZE];
    struct attach_who who;
    struct house house;
    int flooder, fds[2], fd, answers = 0;
    C4p__Door *door;

    (void)state;
    house_open(&house);
    flooder = greeted(&house, &who);
    fd = street_connect(&house);
    attach_send(fd, CONTROL_MIN_VERSION, CONTROL_MAX_VERSION);
    for (int i = 0; i < 9; i++)
        segment_send(flooder, 6);
    ticket_take(&house, fd, ticket);
    /* Answers that are there by now: one for each turn, and there were two or three. */
    while (recv(flooder, &(char){0}, 1, MSG_DONTWAIT) > 0)
        answers++;
    assert_in_range(answers, 0, 4);
    for (; answers < 9; answers++) {
        door = door_take(&house, flooder, fds);
        assert_string_equal(door->refused, "there is no session 6");
        c4p__door__free_unpacked(door, NULL);
    }
    close(flooder);
    close(fd);
    house_close(&house);
}

static void more_clients_than_allowed_are_refused_until_one_leaves(void **state)
{
    uint8_t ticket[CONTROL_TICKET_SIZE];
    struct house house;
    int fds[MAX_CLIENTS];

    (void)state;
    house_open(&house);
    for (int i = 0; i < MAX_CLIENTS; i++)
        fds[i] = attached(&house, ticket);
    assert_refused(&house, street_connect(&house), "has 4 clients and takes no more");
    assert_refused(&house, street_connect(&house), "has 4 clients and takes no more");
    close(fds[0]);
    gone_await(&house, 1);
    fds[0] = attached(&house, ticket);
    for (int i = 0; i < MAX_CLIENTS; i++)
        close(fds[i]);
    house_close(&house);
}

static void a_caller_waits_while_there_is_no_descriptor_for_it(void **state)
{
    uint8_t ticket[CONTROL_TICKET_SIZE];
    struct rlimit usual, none;
    struct house house;
    int fd, lowest;

    (void)state;
    house_open(&house);
    fd = street_connect(&house);
    attach_send(fd, CONTROL_MIN_VERSION, CONTROL_MAX_VERSION);
    lowest = dup(fd);
    require(lowest >= 0 && close(lowest) == 0 && getrlimit(RLIMIT_NOFILE, &usual) == 0);
    none = usual;
    none.rlim_cur = (rlim_t)lowest;
    require(setrlimit(RLIMIT_NOFILE, &none) == 0);
    turn(&house);
    require(setrlimit(RLIMIT_NOFILE, &usual) == 0);
    assert_int_equal(attach_refused(house.attach), 1);
    /* Until then the loop has nothing to do. */
    event_base_loop(house.base, EVLOOP_NONBLOCK);
    assert_int_equal(attach_count(house.attach), 0);
    seconds_skipped += 1;
    ticket_take(&house, fd, ticket);
    close(fd);
    house_close(&house);
}

static void another_user_is_refused(void **state)
{
    struct house house;
    pid_t child;
    int line[2];
    char byte;

    (void)state;
    if (geteuid() != 0)
        skip(); /* nobody else to be */
    house_open(&house);
    require(chmod(house.directory, 0755) == 0 && chmod(house.path, 0666) == 0);
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line) == 0);
    child = fork();
    require(child >= 0);
    if (child == 0) {
        struct pollfd poller = {-1, POLLIN, 0};
        uint8_t packet[4096];
        ssize_t size;

        require(setresuid(65534, 65534, 65534) == 0);
        poller.fd = street_connect(&house);
        require(write(line[1], "x", 1) == 1 && poll(&poller, 1, -1) == 1);
        size = recv(poller.fd, packet, sizeof(packet), 0);
        require(size > 0 &&
                memmem(packet, (size_t)size, "serves user 0 only, you are user 65534", 38) != NULL);
        require(recv(poller.fd, packet, sizeof(packet), 0) == 0);
        _exit(0);
    }
    require(read(line[0], &byte, 1) == 1);
    while (attach_refused(house.attach) == 0)
        turn(&house);
    child_join(child);
    assert_int_equal(house.gone_count, 0);
    close(line[0]);
    close(line[1]);
    house_close(&house);
}

static void the_socket_is_for_nobody_else(void **state)
{
    struct house house;
    struct stat info;
    mode_t mask = umask(0);

    (void)state;
    house_open(&house);
    require(stat(house.path, &info) == 0);
    assert_int_equal(info.st_mode, S_IFSOCK | 0600);
    umask(mask);
    house_close(&house);
}

/* ---- the log ---- */

static unsigned lines_with(FILE *file, const char *part)
{
    char line[512];
    unsigned count = 0;

    rewind(file);
    while (fgets(line, sizeof(line), file) != NULL)
        count += strstr(line, part) != NULL;
    return count;
}

static void who_knocks_wrongly_all_the_time_does_not_fill_the_log(void **state)
{
    FILE *log = tmpfile();
    int saved = dup(STDERR_FILENO);
    struct house house;
    char part[64];

    (void)state;
    house_open(&house);
    require(log != NULL && saved >= 0);
    fflush(stderr);
    require(dup2(fileno(log), STDERR_FILENO) == STDERR_FILENO);
    log_level_set(LOG_INFO);
    for (unsigned i = 1; i <= 51; i++) {
        int fd = street_connect(&house);

        if (i == 51)
            seconds_skipped += 10;
        packet_send(fd, "?", 1);
        gone_await(&house, i);
        close(fd);
    }
    log_level_set(LOG_WARNING);
    require(dup2(saved, STDERR_FILENO) == STDERR_FILENO);
    snprintf(part, sizeof(part), "refused process %d of user %u", getpid(), geteuid());
    assert_int_equal(lines_with(log, part), 6);
    assert_int_equal(lines_with(log, "45 more were refused"), 1);
    assert_int_equal(attach_refused(house.attach), 51);
    close(saved);
    fclose(log);
    house_close(&house);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(packets_that_make_no_sense_are_told_so),
        watched_test(another_version_is_refused_with_both_ranges),
        watched_test(a_second_attach_ends_the_connection),
        watched_test(admin_after_attach_ends_the_connection),
        watched_test(a_segment_before_hello_ends_the_connection),
        watched_test(descriptors_that_a_client_sends_do_not_stay),
        watched_test(a_client_that_says_nothing_is_told_to_go),
        watched_test(a_client_may_vanish_at_any_stage),
        watched_test(who_does_not_read_its_answers_is_disconnected),
        watched_test(a_flood_from_one_client_does_not_keep_the_others_waiting),
        watched_test(more_clients_than_allowed_are_refused_until_one_leaves),
        watched_test(a_caller_waits_while_there_is_no_descriptor_for_it),
        watched_test(another_user_is_refused),
        watched_test(the_socket_is_for_nobody_else),
        watched_test(who_knocks_wrongly_all_the_time_does_not_fill_the_log),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
