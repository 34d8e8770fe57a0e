/*
 * A daemon as a client sees it, played step by step by the test: a Unix socket, a ROUTER socket,
 * and messages that the test takes and sends one by one. All of it in the test's own thread, but for
 * the first welcome, since c4p_attach() blocks.
 */
#ifndef C4P_TESTS_FAKE_DAEMON_H
#define C4P_TESTS_FAKE_DAEMON_H

#include "tests/unit/unit.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <zmq.h>

#include "client/c4p.h"
#include "proto/control.h"
#include "proto/control.pb-c.h"

/* ThreadSanitizer does not see how the threads of libzmq, which is not built for it, agree. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:libzmq.so\ncalled_from_lib:libzmq.so\n";
}

#define FAKE_WAIT_MS 20000

struct fake {
    char directory[64], path[96], address[96];
    int listener, door;
    void *zmq, *router;
    uint64_t incarnation;
    uint8_t identity[256];
    size_t identity_size;
    struct c4p_client *client; /* driven while the daemon waits; NULL: not yet */
    char client_name[64];
};

static const char fake_ticket[CONTROL_TICKET_SIZE + 1] = "a ticket of thirty-two bytes !!!";

static inline int fake_listen(const char *path, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, path);
    unlink(path);
    require(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    require(listen(fd, 16) == 0);
    return fd;
}

/* Come up: a new incarnation. */
static inline void fake_start(struct fake *fake)
{
    const int linger = 0, timeout = FAKE_WAIT_MS;

    fake->listener = fake_listen(fake->path, SOCK_SEQPACKET);
    fake->zmq = zmq_ctx_new();
    fake->router = zmq_socket(fake->zmq, ZMQ_ROUTER);
    zmq_setsockopt(fake->router, ZMQ_LINGER, &linger, sizeof(linger));
    zmq_setsockopt(fake->router, ZMQ_RCVTIMEO, &timeout, sizeof(timeout));
    fake->incarnation++;
    snprintf(fake->address, sizeof(fake->address), "ipc://%s/%d", fake->directory,
             (int)fake->incarnation);
    require(zmq_bind(fake->router, fake->address) == 0);
}

static inline void fake_door_close(struct fake *fake)
{
    if (fake->door >= 0)
        close(fake->door);
    fake->door = -1;
}

/* Die: the kernel closes everything. The socket's file stays. */
static inline void fake_die(struct fake *fake)
{
    close(fake->listener);
    zmq_close(fake->router);
    zmq_ctx_term(fake->zmq);
    unlink(fake->address + strlen("ipc://"));
    fake_door_close(fake);
}

static inline void fake_create(struct fake *fake)
{
    memset(fake, 0, sizeof(*fake));
    strcpy(fake->directory, "/tmp/c4p-test-XXXXXX");
    require(mkdtemp(fake->directory) != NULL);
    snprintf(fake->path, sizeof(fake->path), "%s/attach", fake->directory);
    fake->door = -1;
    fake_start(fake);
}

/* At the end of a test: dead already, or not. */
static inline void fake_remove(struct fake *fake)
{
    unlink(fake->path);
    require(rmdir(fake->directory) == 0);
}

static inline void fake_end(struct fake *fake)
{
    fake_die(fake);
    fake_remove(fake);
}

/* ---- waiting, while the client goes on ---- */

/* Until `fd` (or, negative, ZeroMQ) is readable. The client must have nothing to say meanwhile. */
static inline void fake_await(struct fake *fake, int fd)
{
    struct c4p_event event;

    for (;;) {
        zmq_pollitem_t items[] = {
            {fd < 0 ? fake->router : NULL, fd, ZMQ_POLLIN, 0},
            {NULL, fake->client != NULL ? c4p_fd(fake->client) : -1, ZMQ_POLLIN, 0}};

        if (fake->client != NULL)
            require(c4p_next(fake->client, &event) == 0);
        require(zmq_poll(items, fake->client != NULL ? 2 : 1, FAKE_WAIT_MS) > 0);
        if (items[0].revents != 0)
            return;
    }
}

/* ---- the door ---- */

static inline void fake_accept(struct fake *fake)
{
    fake_await(fake, fake->listener);
    fake->door = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);
    require(fake->door >= 0);
}

static inline C4p__Knock *fake_knock_take(struct fake *fake)
{
    uint8_t packet[CONTROL_MAX_PACKET];
    ssize_t size;
    C4p__Knock *knock;

    fake_await(fake, fake->door);
    size = recv(fake->door, packet, sizeof(packet), 0);
    require(size > 0);
    knock = c4p__knock__unpack(NULL, (size_t)size, packet);
    require(knock != NULL);
    return knock;
}

static inline void fake_door_send(struct fake *fake, const C4p__Door *door, const int *fds,
                                  unsigned fds_count)
{
    char control[CMSG_SPACE(4 * sizeof(int))] __attribute__((aligned(8))) = {0};
    uint8_t packet[2048];
    struct iovec part = {packet, c4p__door__pack(door, packet)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (fds_count > 0) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(fds_count * sizeof(int));
        CMSG_FIRSTHDR(&message)->cmsg_level = SOL_SOCKET;
        CMSG_FIRSTHDR(&message)->cmsg_type = SCM_RIGHTS;
        CMSG_FIRSTHDR(&message)->cmsg_len = CMSG_LEN(fds_count * sizeof(int));
        memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), fds, fds_count * sizeof(int));
    }
    require(sendmsg(fake->door, &message, MSG_NOSIGNAL) >= 0);
}

static inline void fake_ticket_send(struct fake *fake)
{
    C4p__Door door = C4P__DOOR__INIT;

    door.ticket.data = (uint8_t *)(uintptr_t)fake_ticket;
    door.ticket.len = CONTROL_TICKET_SIZE;
    door.address = fake->address;
    door.host = (char *)(uintptr_t) "there";
    fake_door_send(fake, &door, NULL, 0);
}

static inline void fake_attach_take(struct fake *fake)
{
    C4p__Knock *knock = fake_knock_take(fake);

    require(knock->body_case == C4P__KNOCK__BODY_ATTACH);
    require(knock->attach->min_version == CONTROL_MIN_VERSION &&
            knock->attach->max_version == CONTROL_MAX_VERSION);
    c4p__knock__free_unpacked(knock, NULL);
}

/* ---- messages ---- */

#define BYTES(text) text, sizeof(text) - 1

/* The next request, of this kind; to be freed. */
static inline C4p__Request *fake_take(struct fake *fake, C4p__Request__BodyCase kind)
{
    static uint8_t frame[CONTROL_MAX_MESSAGE];
    C4p__Request *request;
    int size;

    fake_await(fake, -1);
    size = zmq_recv(fake->router, fake->identity, sizeof(fake->identity), 0);
    require(size > 0);
    fake->identity_size = (size_t)size;
    size = zmq_recv(fake->router, frame, sizeof(frame), 0);
    require(size > 0 && size <= (int)sizeof(frame));
    request = c4p__request__unpack(NULL, (size_t)size, frame);
    require(request != NULL);
    if (request->body_case != kind)
        fprintf(stderr, "a request of kind %d, not %d\n", (int)request->body_case, (int)kind);
    require(request->body_case == kind);
    return request;
}

static inline uint64_t fake_take_id(struct fake *fake, C4p__Request__BodyCase kind)
{
    C4p__Request *request = fake_take(fake, kind);
    uint64_t id = request->id;

    c4p__request__free_unpacked(request, NULL);
    return id;
}

static inline void fake_send_bytes(struct fake *fake, const void *data, size_t size)
{
    require(zmq_send(fake->router, fake->identity, fake->identity_size, ZMQ_SNDMORE) >= 0);
    require(zmq_send(fake->router, data, size, 0) >= 0);
}

static inline void fake_send(struct fake *fake, uint64_t id, C4p__Event__BodyCase kind,
                             void *message)
{
    static uint8_t frame[CONTROL_MAX_MESSAGE];
    C4p__Event event = C4P__EVENT__INIT;

    event.id = id;
    event.body_case = kind;
    event.welcome = message; /* the members of the union are all pointers */
    require(c4p__event__get_packed_size(&event) <= sizeof(frame));
    fake_send_bytes(fake, frame, c4p__event__pack(&event, frame));
}

static inline void fake_done(struct fake *fake, uint64_t id)
{
    C4p__Done done = C4P__DONE__INIT;

    fake_send(fake, id, C4P__EVENT__BODY_DONE, &done);
}

static inline void fake_refuse(struct fake *fake, uint64_t id, const char *reason)
{
    C4p__Refused refused = C4P__REFUSED__INIT;

    refused.reason = (char *)(uintptr_t)reason;
    fake_send(fake, id, C4P__EVENT__BODY_REFUSED, &refused);
}

static inline void fake_accepted(struct fake *fake, uint64_t id, uint64_t job)
{
    C4p__Accepted accepted = C4P__ACCEPTED__INIT;

    accepted.job = job;
    fake_send(fake, id, C4P__EVENT__BODY_ACCEPTED, &accepted);
}

static inline void fake_following(struct fake *fake, uint64_t id, uint64_t job, uint64_t first,
                                  uint64_t next)
{
    C4p__Following following = C4P__FOLLOWING__INIT;

    following.job = job;
    following.first = first;
    following.next = next;
    following.input = true;
    fake_send(fake, id, C4P__EVENT__BODY_FOLLOWING, &following);
}

static inline void fake_output(struct fake *fake, uint64_t job, uint64_t sequence)
{
    C4p__Output output = C4P__OUTPUT__INIT;

    output.job = job;
    output.pe = (uint32_t)(sequence % 4);
    output.stream = C4P__STREAM__STDERR;
    output.sequence = sequence;
    output.data.data = (uint8_t *)(uintptr_t) "line\n";
    output.data.len = 5;
    fake_send(fake, 0, C4P__EVENT__BODY_OUTPUT, &output);
}

static inline void fake_ended(struct fake *fake, uint64_t job)
{
    C4p__Ended ended = C4P__ENDED__INIT;

    ended.job = job;
    ended.state = C4P__JOB_STATE__FAILED;
    ended.exit_code = -2;
    ended.message = (char *)(uintptr_t) "so it is";
    fake_send(fake, 0, C4P__EVENT__BODY_ENDED, &ended);
}

/* ---- all of the welcome ---- */

static inline void fake_hello_take(struct fake *fake)
{
    C4p__Request *request = fake_take(fake, C4P__REQUEST__BODY_HELLO);
    const C4p__Hello *hello = request->hello;

    require(hello->ticket.len == CONTROL_TICKET_SIZE);
    require(memcmp(hello->ticket.data, fake_ticket, CONTROL_TICKET_SIZE) == 0);
    snprintf(fake->client_name, sizeof(fake->client_name), "%s", hello->name);
    c4p__request__free_unpacked(request, NULL);
}

static inline void fake_welcome_send(struct fake *fake)
{
    C4p__Welcome welcome = C4P__WELCOME__INIT;

    welcome.version = CONTROL_MAX_VERSION;
    welcome.incarnation = fake->incarnation;
    welcome.host = (char *)(uintptr_t) "there";
    fake_send(fake, 1, C4P__EVENT__BODY_WELCOME, &welcome);
}

static inline void fake_welcome(struct fake *fake)
{
    fake_attach_take(fake);
    fake_ticket_send(fake);
    fake_hello_take(fake);
    fake_welcome_send(fake);
}

static inline void *fake_welcome_first(void *argument)
{
    fake_accept(argument);
    fake_welcome(argument);
    return NULL;
}

/* ---- the client ---- */

static const char *const argv[] = {"python3", "app.py", NULL};
static const char *const environment[] = {"A=1", "B=2", NULL};
static const struct c4p_job some_job = {.argv = argv, .env = environment, .cwd = "/dir"};

static inline struct c4p_client *fake_attached(struct fake *fake)
{
    char error[C4P_ERROR_SIZE];
    struct c4p_client *client;
    pthread_t thread;

    fake->client = NULL;
    thread = thread_start(fake_welcome_first, fake);
    client = c4p_attach(fake->directory, "test", FAKE_WAIT_MS, error);
    thread_join(thread);
    if (client == NULL)
        fail_msg("%s", error);
    fake->client = client;
    return client;
}

static inline void event_next(struct c4p_client *client, struct c4p_event *event)
{
    int rc;

    while ((rc = c4p_next(client, event)) == 0)
        require(c4p_wait(client, FAKE_WAIT_MS) == 0);
    require(rc == 1);
}

/* The next event is of this kind and answers this request. */
static inline void event_expect(struct c4p_client *client, struct c4p_event *event,
                                enum c4p_event_kind kind, int64_t request)
{
    event_next(client, event);
    if (event->kind != kind || event->request != request)
        fail_msg("event %d of request %lld, not %d of %lld: %s", (int)event->kind,
                 (long long)event->request, (int)kind, (long long)request, event->text);
}

/* The daemon dies, the client says so and finds the new one. */
static inline void fake_return(struct fake *fake)
{
    struct c4p_event event;

    fake_start(fake);
    fake_accept(fake);
    fake_welcome(fake);
    event_expect(fake->client, &event, C4P_EVENT_BACK, 0);
}

#endif
