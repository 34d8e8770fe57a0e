/*
 * The door with real sockets. The event loop runs in the test's own thread, until what the test waits
 * for is there.
 */
#ifndef C4P_TESTS_ATTACH_FIXTURE_H
#define C4P_TESTS_ATTACH_FIXTURE_H

#include "tests/unit/unit.h"

#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
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

static inline void house_gone(void *context, uint64_t id)
{
    struct house *house = context;

    require(house->gone_count < 64);
    house->gone[house->gone_count++] = id;
}

static inline int house_segment(void *context, uint64_t id, uint64_t job,
                                struct attach_entry *entry, char reason[ATTACH_ERROR_SIZE])
{
    struct house *house = context;

    attach_close(house->attach, house->close_in_segment, NULL);
    if (job != 5) {
        snprintf(reason, ATTACH_ERROR_SIZE, "there is no session %d", (int)job);
        return -1;
    }
    entry->endpoint = 100 + (uint32_t)id;
    if (entry->remote)
        entry->bridge = (struct bridge_ticket){
            .ticket = "the data plane's",
            .geometry = {.epoch = 1, .pes = 2, .cores = 3, .region_size = 4},
            .address = "ipc:///data",
        };
    else
        memcpy(entry->fds, house->segment, sizeof(house->segment));
    return 0;
}

/* Says yes to `nodes`, with a cluster's name of as many characters as a decimal `after` has it. */
static inline void house_admin(void *context, const C4p__Admin *admin, C4p__AdminAnswer *answer)
{
    static char name[CONTROL_MAX_PACKET + 1];
    size_t size;

    (void)context;
    if (admin->body_case != C4P__ADMIN__BODY_NODES) {
        answer->refused = (char *)(uintptr_t) "nothing is known of that";
        return;
    }
    size = strtoul(admin->nodes->after, NULL, 10);
    require(size < sizeof(name));
    memset(name, 'x', size);
    name[size] = '\0';
    answer->cluster = name;
}

/* A house without a door to the street. */
static inline void house_build(struct house *house)
{
    const struct attach_settings settings = {"ipc:///address", "host", MAX_CLIENTS};
    const struct attach_listener listener = {
        .gone = house_gone,
        .segment = house_segment,
        .admin = house_admin,
        .context = house,
    };

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

static inline void house_open(struct house *house)
{
    char error[ATTACH_ERROR_SIZE];

    house_build(house);
    if (attach_listen(house->attach, house->path, error) != 0)
        fail_msg("%s", error);
}

static inline void house_close(struct house *house)
{
    attach_destroy(house->attach);
    event_base_free(house->base);
    close(house->segment[0]);
    close(house->segment[1]);
    require(rmdir(house->directory) == 0); /* it has left no socket */
}

/* One turn of the loop, in which something happens. */
static inline void turn(struct house *house)
{
    require(event_base_loop(house->base, EVLOOP_ONCE) == 0);
}

static inline void gone_await(struct house *house, unsigned count)
{
    while (house->gone_count < count)
        turn(house);
}

/* ---- the client's side ---- */

static inline int street_connect(const struct house *house)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, house->path);
    require(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    return fd;
}

static inline void packet_send(int fd, const void *data, size_t size)
{
    require(send(fd, data, size, MSG_NOSIGNAL) == (ssize_t)size);
}

static inline void knock_send(int fd, C4p__Knock__BodyCase body, void *message)
{
    C4p__Knock knock = C4P__KNOCK__INIT;
    uint8_t packet[256];

    knock.body_case = body;
    knock.attach = message;
    require(c4p__knock__get_packed_size(&knock) <= sizeof(packet));
    packet_send(fd, packet, c4p__knock__pack(&knock, packet));
}

static inline void attach_send(int fd, uint32_t min, uint32_t max)
{
    C4p__Attach attach = C4P__ATTACH__INIT;

    attach.min_version = min;
    attach.max_version = max;
    attach.name = (char *)(uintptr_t) "test";
    knock_send(fd, C4P__KNOCK__BODY_ATTACH, &attach);
}

static inline void segment_send(int fd, uint64_t job)
{
    C4p__Segment segment = C4P__SEGMENT__INIT;

    segment.job = job;
    knock_send(fd, C4P__KNOCK__BODY_SEGMENT, &segment);
}

/* The next packet with its descriptors (-1: none); the loop turns until it is there. NULL: the end. */
static inline C4p__Door *door_take(struct house *house, int fd, int fds[2])
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

static inline void assert_closed(struct house *house, int fd)
{
    int fds[2];

    assert_null(door_take(house, fd, fds));
    close(fd);
}

/* A sentence comes, and then the end. */
static inline void assert_refused(struct house *house, int fd, const char *part)
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

static inline void ticket_take(struct house *house, int fd, uint8_t ticket[CONTROL_TICKET_SIZE])
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

static inline int attached(struct house *house, uint8_t ticket[CONTROL_TICKET_SIZE])
{
    int fd = street_connect(house);

    attach_send(fd, CONTROL_MIN_VERSION, CONTROL_MAX_VERSION);
    ticket_take(house, fd, ticket);
    return fd;
}

static inline int greeted(struct house *house, struct attach_who *who)
{
    uint8_t ticket[CONTROL_TICKET_SIZE];
    int fd = attached(house, ticket);

    require(attach_redeem(house->attach, ticket, sizeof(ticket), who));
    return fd;
}

/* How many descriptors this process has. */
static inline unsigned descriptors_count(void)
{
    unsigned count = 0;

    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

#endif
