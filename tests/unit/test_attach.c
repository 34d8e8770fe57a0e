/*
 * The door with real sockets: what comes in, who, when, and what becomes of it. The event loop runs
 * in the test's own thread, until what the test waits for is there.
 */
#include "tests/unit/unit.h"

#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>

#include "daemon/control/attach.h"
#include "daemon/log.h"
#include "proto/control.pb-c.h"

/* ---- time that a test can move on ---- */

static time_t seconds_skipped;

/* The door's clock and libevent's: a program's own function goes before that of a library. */
__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *now)
{
    int rc = (int)syscall(SYS_clock_gettime, clock, now);

    now->tv_sec += seconds_skipped;
    return rc;
}

/* ---- the daemon's side ---- */

#define MAX_CLIENTS 4

/* As the daemon says it. */
#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)
#define VERSIONS TEXT(CONTROL_MIN_VERSION) " to " TEXT(CONTROL_MAX_VERSION)

struct house {
    struct event_base *base;
    struct attach *attach;
    char directory[64], path[96];
    uint64_t gone[64];
    unsigned gone_count;
    int segment[2];
    uint64_t close_in_segment; /* a connection that the listener closes when it is asked */
};

static void house_gone(void *context, uint64_t id)
{
    struct house *house = context;

    require(house->gone_count < 64);
    house->gone[house->gone_count++] = id;
}

static int house_segment(void *context, uint64_t id, uint64_t job, uint32_t *endpoint, int fds[2],
                         char reason[ATTACH_ERROR_SIZE])
{
    struct house *house = context;

    attach_close(house->attach, house->close_in_segment);
    if (job != 5) {
        snprintf(reason, ATTACH_ERROR_SIZE, "there is no session %d", (int)job);
        return -1;
    }
    *endpoint = 100 + (uint32_t)id;
    memcpy(fds, house->segment, sizeof(house->segment));
    return 0;
}

/* A house without a door to the street. */
static void house_build(struct house *house)
{
    const struct attach_settings settings = {"ipc:///address", "host", MAX_CLIENTS};
    const struct attach_listener listener = {house_gone, house_segment, house};

    memset(house, 0, sizeof(*house));
    seconds_skipped = 0;
    strcpy(house->directory, "/tmp/c4p-test-XXXXXX");
    require(mkdtemp(house->directory) != NULL);
    snprintf(house->path, sizeof(house->path), "%s/attach", house->directory);
    require(pipe2(house->segment, O_CLOEXEC) == 0);
    house->base = event_base_new();
    house->attach = attach_create(house->base, &settings, &listener);
    require(house->base != NULL && house->attach != NULL);
}

static void house_open(struct house *house)
{
    char error[ATTACH_ERROR_SIZE];

    house_build(house);
    if (attach_listen(house->attach, house->path, error) != 0)
        fail_msg("%s", error);
}

static void house_close(struct house *house)
{
    attach_destroy(house->attach);
    event_base_free(house->base);
    close(house->segment[0]);
    close(house->segment[1]);
    require(rmdir(house->directory) == 0); /* it has left no socket */
}

/* One turn of the loop, in which something happens. */
static void turn(struct house *house)
{
    require(event_base_loop(house->base, EVLOOP_ONCE) == 0);
}

static void gone_await(struct house *house, unsigned count)
{
    while (house->gone_count < count)
        turn(house);
}

/* ---- the client's side ---- */

static int street_connect(const struct house *house)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, house->path);
    require(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    return fd;
}

static void packet_send(int fd, const void *data, size_t size)
{
    require(send(fd, data, size, MSG_NOSIGNAL) == (ssize_t)size);
}

static void knock_send(int fd, C4p__Knock__BodyCase body, void *message)
{
    C4p__Knock knock = C4P__KNOCK__INIT;
    uint8_t packet[256];

    knock.body_case = body;
    knock.attach = message;
    require(c4p__knock__get_packed_size(&knock) <= sizeof(packet));
    packet_send(fd, packet, c4p__knock__pack(&knock, packet));
}

static void attach_send(int fd, uint32_t min, uint32_t max)
{
    C4p__Attach attach = C4P__ATTACH__INIT;

    attach.min_version = min;
    attach.max_version = max;
    attach.name = (char *)(uintptr_t) "test";
    knock_send(fd, C4P__KNOCK__BODY_ATTACH, &attach);
}

static void segment_send(int fd, uint64_t job)
{
    C4p__Segment segment = C4P__SEGMENT__INIT;

    segment.job = job;
    knock_send(fd, C4P__KNOCK__BODY_SEGMENT, &segment);
}

/* The next packet with its descriptors (-1: none); the loop turns until it is there. NULL: the end. */
static C4p__Door *door_take(struct house *house, int fd, int fds[2])
{
    struct pollfd poller = {fd, POLLIN, 0};
    char control[CMSG_SPACE(2 * sizeof(int))] __attribute__((aligned(8)));
    uint8_t packet[4096];
    struct iovec part = {packet, sizeof(packet)};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof(control)};
    C4p__Door *door;
    ssize_t size;

    while (poll(&poller, 1, 0) == 0)
        turn(house);
    do /* packets that nobody read are told first */
        size = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    while (size < 0 && errno == ECONNRESET);
    require(size >= 0);
    fds[0] = fds[1] = -1;
    if (size == 0)
        return NULL;
    if (CMSG_FIRSTHDR(&message) != NULL)
        memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&message)), 2 * sizeof(int));
    door = c4p__door__unpack(NULL, (size_t)size, packet);
    require(door != NULL);
    return door;
}

static void assert_closed(struct house *house, int fd)
{
    int fds[2];

    assert_null(door_take(house, fd, fds));
    close(fd);
}

/* A sentence comes, and then the end. */
static void assert_refused(struct house *house, int fd, const char *part)
{
    int fds[2];
    C4p__Door *door = door_take(house, fd, fds);

    assert_non_null(door);
    if (strstr(door->refused, part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, door->refused);
    assert_int_equal(door->ticket.len, 0);
    c4p__door__free_unpacked(door, NULL);
    assert_closed(house, fd);
}

static void ticket_take(struct house *house, int fd, uint8_t ticket[CONTROL_TICKET_SIZE])
{
    int fds[2];
    C4p__Door *door = door_take(house, fd, fds);

    require(door != NULL && door->refused[0] == '\0');
    require(door->ticket.len == CONTROL_TICKET_SIZE && fds[0] == -1);
    assert_string_equal(door->address, "ipc:///address");
    assert_string_equal(door->host, "host");
    memcpy(ticket, door->ticket.data, CONTROL_TICKET_SIZE);
    c4p__door__free_unpacked(door, NULL);
}

static int attached(struct house *house, uint8_t ticket[CONTROL_TICKET_SIZE])
{
    int fd = street_connect(house);

    attach_send(fd, CONTROL_MIN_VERSION, CONTROL_MAX_VERSION);
    ticket_take(house, fd, ticket);
    return fd;
}

static int greeted(struct house *house, struct attach_who *who)
{
    uint8_t ticket[CONTROL_TICKET_SIZE];
    int fd = attached(house, ticket);

    require(attach_redeem(house->attach, ticket, sizeof(ticket), who));
    return fd;
}

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
        {"\x1a\x00", 2, "nothing that this daemon knows"}, /* a field of the future */
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

/* How many descriptors this process has. */
static unsigned descriptors_count(void)
{
    unsigned count = 0;

    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
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
    attach_close(house.attach, who.id);
    attach_close(house.attach, who.id);
    attach_close(house.attach, 12345);
    assert_closed(&house, fd);
    /* Even one that is being served. */
    house.close_in_segment = other_who.id;
    segment_send(other, 5);
    assert_closed(&house, other);
    assert_int_equal(house.gone_count, 0);
    assert_int_equal(attach_count(house.attach), 0);
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
        watched_test(a_client_gets_a_ticket_that_says_who_it_is),
        watched_test(the_segment_comes_with_its_descriptors),
        watched_test(the_lifeline_takes_its_time_and_is_not_counted_as_a_caller),
        watched_test(what_is_no_socket_is_not_adopted),
        watched_test(a_ticket_is_good_once),
        watched_test(a_ticket_that_is_not_quite_right_is_nobodys),
        watched_test(a_ticket_after_its_time_is_worth_nothing),
        watched_test(the_ticket_of_a_dead_client_is_worth_nothing),
        watched_test(who_has_used_its_ticket_may_be_silent),
        watched_test(packets_that_make_no_sense_are_told_so),
        watched_test(another_version_is_refused_with_both_ranges),
        watched_test(a_second_attach_ends_the_connection),
        watched_test(a_segment_before_hello_ends_the_connection),
        watched_test(descriptors_that_a_client_sends_do_not_stay),
        watched_test(a_client_that_says_nothing_is_told_to_go),
        watched_test(a_client_may_vanish_at_any_stage),
        watched_test(who_does_not_read_its_answers_is_disconnected),
        watched_test(a_flood_from_one_client_does_not_keep_the_others_waiting),
        watched_test(more_clients_than_allowed_are_refused_until_one_leaves),
        watched_test(another_user_is_refused),
        watched_test(the_socket_is_for_nobody_else),
        watched_test(an_old_socket_is_replaced),
        watched_test(what_is_no_socket_is_left_alone),
        watched_test(a_path_that_cannot_be_is_told),
        watched_test(a_door_that_is_stopped_takes_nobody_and_keeps_who_is_there),
        watched_test(a_connection_that_the_daemon_closes_is_not_told_of),
        watched_test(who_knocks_wrongly_all_the_time_does_not_fill_the_log),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
