#define _GNU_SOURCE
#include "client/bridge.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include "client/client.h"
#include "proto/inbox.h"
#include "proto/region.h"

/* For the answer to HELLO: long enough for a daemon that is busy. */
#define HELLO_MS 20000

/* For what was sent to arrive, when the bridge is closed. */
#define CLOSE_MS 5000

/* How often is looked for memory that nobody rings for. */
#define LOOK_MS 5

/* Frames taken, and sent, before the other direction gets its turn. */
#define FRAMES_A_TURN 16

/* How far it has come. */
enum stage {
    BRIDGE_OPEN,
    BRIDGE_CLOSING, /* what is in the segment is sent, then BYE */
    BRIDGE_LEAVING, /* BYE is sent, its answer awaited */
    BRIDGE_OVER
};

enum { POLL_SOCKET, POLL_MAIL, POLL_STOP, POLL_DOOR, POLLS };

struct c4p_bridge {
    struct segment segment; /* router_wake is what rings when the client has sent something */
    struct region *region;  /* the router's */
    struct region_returns returns;
    uint32_t endpoint;
    void *zmq, *socket;
    int stop; /* eventfd */
    int door;
    pthread_t thread;
    bool running;
    enum stage stage;
    int64_t deadline; /* of closing */

    struct stream stream;
    uint64_t pending;   /* next message of the chain taken last, 0: none */
    uint64_t sending;   /* the message that is going into frames */
    uint64_t receiving; /* the block that comes */
    size_t frame_size;  /* of a frame that is made and not sent */
    uint8_t frame[STREAM_FRAME];
};

/* ---- what the stream asks ---- */

static void message_give_back(struct c4p_bridge *bridge, uint64_t offset)
{
    const struct segment *segment = &bridge->segment;
    const struct c4p_envelope *block = segment_block(segment, offset);
    uint64_t body = block->body;
    bool large = block->body_size > REGION_SPAN;

    if (body != 0 && segment_offset_valid(segment, body) &&
        atomic_fetch_sub_explicit(&segment_block(segment, body)->refs, 1, memory_order_acq_rel) ==
            1)
        region_returns_add(&bridge->returns, body, large);
    region_returns_add(&bridge->returns, offset, large);
}

/* The next message that the client has sent, 0: none, and it will ring. */
static uint64_t message_take(struct c4p_bridge *bridge)
{
    const struct segment *segment = &bridge->segment;
    uint32_t slot = segment_router_slot(segment);
    uint64_t offset = bridge->pending;

    while (offset == 0) {
        offset = inbox_take(segment, slot);
        if (offset != 0)
            break;
        region_returns_flush(&bridge->returns);
        if (inbox_announce_sleep(segment, slot))
            return 0;
    }
    bridge->pending = inbox_next(segment, offset);
    return offset;
}

static bool on_next(void *context, struct c4p_envelope *envelope, const void **body)
{
    struct c4p_bridge *bridge = context;
    const struct segment *segment = &bridge->segment;
    uint64_t offset = message_take(bridge), holder;

    if (offset == 0)
        return false;
    memcpy((void *)envelope, (const void *)segment_block(segment, offset), C4P_ENVELOPE_SIZE);
    holder = envelope->body != 0 ? envelope->body : offset;
    *body = segment->base + holder + C4P_ENVELOPE_SIZE;
    bridge->sending = offset;
    return true;
}

static void on_sent(void *context)
{
    struct c4p_bridge *bridge = context;

    message_give_back(bridge, bridge->sending);
    bridge->sending = 0;
}

static enum stream_answer on_begin(void *context, const struct c4p_envelope *envelope, void **body)
{
    struct c4p_bridge *bridge = context;
    const struct segment *segment = &bridge->segment;

    if (envelope->target != bridge->endpoint)
        return STREAM_REFUSE;
    if (bridge->stage != BRIDGE_OPEN)
        return STREAM_SKIP; /* the client reads no more */
    bridge->receiving =
        region_alloc(bridge->region, C4P_ENVELOPE_SIZE + (size_t)envelope->body_size);
    if (bridge->receiving == 0)
        return errno == ENOMEM ? STREAM_LATER : STREAM_REFUSE;
    memcpy((void *)segment_block(segment, bridge->receiving), (const void *)envelope,
           C4P_ENVELOPE_SIZE);
    *body = segment->base + bridge->receiving + C4P_ENVELOPE_SIZE;
    return STREAM_TAKE;
}

static void on_end(void *context)
{
    struct c4p_bridge *bridge = context;

    inbox_push(&bridge->segment, segment_slot(&bridge->segment, bridge->endpoint),
               bridge->receiving);
    bridge->receiving = 0;
}

/* ---- the thread ---- */

static int frame_send(struct c4p_bridge *bridge, const void *frame, size_t size)
{
    int rc;

    do
        rc = zmq_send(bridge->socket, frame, size, ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -1 : 0;
}

/* The daemon breaks the rules: say so, which ends our connection to it. */
static void bridge_fail(struct c4p_bridge *bridge)
{
    uint8_t frame[STREAM_MAX_SENTENCE];

    frame_send(bridge, frame, stream_make_bye(frame, bridge->stream.failure));
    bridge->stage = BRIDGE_OVER;
}

static void frame_hear(struct c4p_bridge *bridge, const uint8_t *frame, size_t size)
{
    char sentence[STREAM_MAX_SENTENCE];

    if (stream_read_bye(frame, size, sentence))
        bridge->stage = BRIDGE_OVER;
    else if (stream_take(&bridge->stream, frame, size) != 0)
        bridge_fail(bridge);
}

/* Take frames. True: there may be more. */
static bool frames_take(struct c4p_bridge *bridge)
{
    for (unsigned frames = 0; frames < FRAMES_A_TURN && bridge->stage != BRIDGE_OVER; frames++) {
        zmq_msg_t frame;

        zmq_msg_init(&frame);
        if (zmq_msg_recv(&frame, bridge->socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&frame);
            return errno == EINTR;
        }
        frame_hear(bridge, zmq_msg_data(&frame), zmq_msg_size(&frame));
        zmq_msg_close(&frame);
    }
    return true;
}

/* Make and send frames. True: there may be more. */
static bool frames_make(struct c4p_bridge *bridge)
{
    if (bridge->stage >= BRIDGE_LEAVING)
        return false;
    for (unsigned frames = 0; frames < FRAMES_A_TURN; frames++) {
        if (bridge->frame_size == 0)
            bridge->frame_size = stream_make(&bridge->stream, bridge->frame, STREAM_FRAME);
        if (bridge->frame_size == 0)
            return false;
        if (frame_send(bridge, bridge->frame, bridge->frame_size) != 0)
            return false;
        bridge->frame_size = 0;
    }
    return true;
}

/* Has everything left that the client has sent? */
static bool all_is_sent(const struct c4p_bridge *bridge)
{
    return bridge->frame_size == 0 && bridge->sending == 0 && bridge->pending == 0 &&
           !inbox_has_mail(&bridge->segment, segment_router_slot(&bridge->segment));
}

static void bridge_close_on(struct c4p_bridge *bridge)
{
    uint8_t frame[STREAM_MAX_SENTENCE];

    if (bridge->stage == BRIDGE_CLOSING && all_is_sent(bridge) &&
        frame_send(bridge, frame, stream_make_bye(frame, "the client leaves")) == 0)
        bridge->stage = BRIDGE_LEAVING;
    if (bridge->stage != BRIDGE_OPEN && clock_ms() >= bridge->deadline)
        bridge->stage = BRIDGE_OVER;
}

static void counter_reset(int fd)
{
    uint64_t count;

    while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
        continue;
}

/* Sleep until there may be something to do. */
static void bridge_sleep(struct c4p_bridge *bridge)
{
    short writable = bridge->frame_size > 0 ? ZMQ_POLLOUT : 0;
    bool open = bridge->stage == BRIDGE_OPEN;
    zmq_pollitem_t items[POLLS] = {
        [POLL_SOCKET] = {.socket = bridge->socket, .events = (short)(ZMQ_POLLIN | writable)},
        [POLL_MAIL] = {.fd = bridge->segment.router_wake, .events = ZMQ_POLLIN},
        [POLL_STOP] = {.fd = bridge->stop, .events = open ? ZMQ_POLLIN : 0},
        [POLL_DOOR] = {.fd = bridge->door, .events = ZMQ_POLLERR},
    };
    long timeout = -1;

    if (bridge->stage != BRIDGE_OPEN)
        timeout = (long)(bridge->deadline - clock_ms());
    if (stream_waits(&bridge->stream) || !open)
        timeout = timeout < 0 || timeout > LOOK_MS ? LOOK_MS : timeout;
    if (zmq_poll(items, bridge->door < 0 ? POLL_DOOR : POLLS, timeout) < 0)
        return;
    if (items[POLL_MAIL].revents != 0)
        counter_reset(bridge->segment.router_wake);
    if (open && items[POLL_STOP].revents != 0) {
        bridge->stage = BRIDGE_CLOSING;
        bridge->deadline = clock_ms() + CLOSE_MS;
    }
    if (items[POLL_DOOR].revents != 0)
        bridge->stage = BRIDGE_OVER;
}

static void *bridge_run(void *argument)
{
    struct c4p_bridge *bridge = argument;

    while (bridge->stage != BRIDGE_OVER) {
        bool more = frames_take(bridge);

        if (bridge->stage == BRIDGE_OVER)
            break;
        if (stream_waits(&bridge->stream) && stream_resume(&bridge->stream) != 0) {
            bridge_fail(bridge);
            break;
        }
        more |= frames_make(bridge);
        bridge_close_on(bridge);
        if (!more && bridge->stage != BRIDGE_OVER) {
            region_returns_flush(&bridge->returns);
            bridge_sleep(bridge);
        }
    }
    return NULL;
}

static int thread_start(struct c4p_bridge *bridge)
{
    sigset_t all, before;
    int error;

    /* Signals are for the program's threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&bridge->thread, NULL, bridge_run, bridge);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    bridge->running = error == 0;
    errno = error;
    return error == 0 ? 0 : -1;
}

/* ---- opening ---- */

static int segment_make(struct c4p_bridge *bridge, const struct bridge_job *job)
{
    struct segment *segment = &bridge->segment;
    struct segment_geometry geometry = {
        .epoch = job->geometry.epoch,
        .pes = job->geometry.pes,
        .nodes = 1,
        .cores = job->geometry.cores,
        .region_size = job->geometry.region_size,
    };
    const struct stream_owner owner = {on_next, on_sent, on_begin, on_end, bridge};

    if (segment_create(segment, &geometry, NULL) != 0)
        return -1;
    segment->router_wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bridge->region = region_create(segment, segment_router_slot(segment));
    if (segment->router_wake < 0 || bridge->region == NULL ||
        region_returns_init(&bridge->returns, segment) != 0)
        return -1;
    atomic_store(&segment_endpoint(segment, segment_slot(segment, job->endpoint))->address,
                 job->endpoint);
    inbox_announce_sleep(segment, segment_router_slot(segment));
    stream_init(&bridge->stream, &owner, geometry.epoch,
                region_limit(bridge->region) - C4P_ENVELOPE_SIZE);
    return 0;
}

static int socket_open(struct c4p_bridge *bridge, const char *address)
{
    const int queue = 1024, linger = 0;
    const int64_t limit = STREAM_FRAME;

    bridge->zmq = zmq_ctx_new();
    if (bridge->zmq == NULL)
        return -1;
    bridge->socket = zmq_socket(bridge->zmq, ZMQ_DEALER);
    if (bridge->socket == NULL)
        return -1;
    zmq_setsockopt(bridge->socket, ZMQ_SNDHWM, &queue, sizeof(queue));
    zmq_setsockopt(bridge->socket, ZMQ_RCVHWM, &queue, sizeof(queue));
    zmq_setsockopt(bridge->socket, ZMQ_LINGER, &linger, sizeof(linger));
    zmq_setsockopt(bridge->socket, ZMQ_MAXMSGSIZE, &limit, sizeof(limit));
    return zmq_connect(bridge->socket, address);
}

/* Wait for a frame: 1; 0 after the time, or when the daemon is gone. */
static int frame_await(struct c4p_bridge *bridge, int64_t deadline, zmq_msg_t *frame)
{
    zmq_pollitem_t items[] = {{.socket = bridge->socket, .events = ZMQ_POLLIN},
                              {.fd = bridge->door, .events = ZMQ_POLLERR}};

    for (;;) {
        int64_t left = deadline - clock_ms();

        if (zmq_msg_recv(frame, bridge->socket, ZMQ_DONTWAIT) >= 0)
            return 1;
        if (left <= 0 || items[1].revents != 0 ||
            (zmq_poll(items, bridge->door < 0 ? 1 : 2, (long)left) < 0 && errno != EINTR))
            return 0;
    }
}

/* Say HELLO and hear it. */
static int hello_exchange(struct c4p_bridge *bridge, const struct bridge_job *job,
                          char error[C4P_ERROR_SIZE])
{
    uint8_t hello[2 + STREAM_TICKET_SIZE], version = 0;
    char sentence[STREAM_MAX_SENTENCE];
    zmq_msg_t answer;
    int rc = -1;

    zmq_msg_init(&answer);
    if (frame_send(bridge, hello, stream_make_hello(hello, job->ticket, sizeof(job->ticket))) !=
            0 ||
        !frame_await(bridge, clock_ms() + HELLO_MS, &answer))
        snprintf(error, C4P_ERROR_SIZE, "the daemon does not answer at %.200s", job->address);
    else if (stream_read_bye(zmq_msg_data(&answer), zmq_msg_size(&answer), sentence))
        snprintf(error, C4P_ERROR_SIZE, "the daemon refuses: %s", sentence);
    else if (!stream_read_hello(zmq_msg_data(&answer), zmq_msg_size(&answer), &version, NULL, 0))
        snprintf(error, C4P_ERROR_SIZE,
                 "what answers at %.200s does not speak version %d of the data plane", job->address,
                 STREAM_VERSION);
    else
        rc = 0;
    zmq_msg_close(&answer);
    return rc;
}

static int bridge_build(struct c4p_bridge *bridge, const struct bridge_job *job,
                        char error[C4P_ERROR_SIZE])
{
    bridge->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (job->door >= 0)
        bridge->door = fcntl(job->door, F_DUPFD_CLOEXEC, 0);
    if (bridge->stop < 0 || (job->door >= 0 && bridge->door < 0) ||
        segment_make(bridge, job) != 0 || socket_open(bridge, job->address) != 0) {
        snprintf(error, C4P_ERROR_SIZE, "a bridge to the session cannot be made: %s",
                 strerror(errno));
        return -1;
    }
    return hello_exchange(bridge, job, error);
}

static int descriptors_copy(const struct c4p_bridge *bridge, int *segment_fd, int *wake_fd)
{
    *segment_fd = fcntl(bridge->segment.fd, F_DUPFD_CLOEXEC, 0);
    *wake_fd = fcntl(bridge->segment.router_wake, F_DUPFD_CLOEXEC, 0);
    if (*segment_fd >= 0 && *wake_fd >= 0)
        return 0;
    if (*segment_fd >= 0)
        close(*segment_fd);
    return -1;
}

struct c4p_bridge *bridge_open(const struct bridge_job *job, int *segment_fd, int *wake_fd,
                               char error[C4P_ERROR_SIZE])
{
    struct c4p_bridge *bridge = calloc(1, sizeof(*bridge));

    if (bridge == NULL) {
        snprintf(error, C4P_ERROR_SIZE, "a bridge to the session cannot be made: out of memory");
        return NULL;
    }
    bridge->endpoint = job->endpoint;
    bridge->segment.fd = bridge->segment.router_wake = bridge->stop = bridge->door = -1;
    if (bridge_build(bridge, job, error) != 0) {
        c4p_bridge_close(bridge);
        return NULL;
    }
    if (descriptors_copy(bridge, segment_fd, wake_fd) == 0) {
        if (thread_start(bridge) == 0)
            return bridge;
        close(*segment_fd);
        close(*wake_fd);
    }
    snprintf(error, C4P_ERROR_SIZE, "a bridge to the session cannot be made: %s", strerror(errno));
    c4p_bridge_close(bridge);
    return NULL;
}

int c4p_bridge(struct c4p_client *client, uint64_t job, struct c4p_bridge **bridge,
               uint32_t *endpoint, int *segment_fd, int *wake_fd, char error[C4P_ERROR_SIZE])
{
    C4p__Segment segment = C4P__SEGMENT__INIT;
    struct bridge_job place = {.door = client->door};
    C4p__Door *door;

    segment.job = job;
    segment.remote = true;
    door = door_ask(client, &segment, NULL, error);
    if (door == NULL)
        return -1;
    place.address = door->address;
    place.endpoint = door->endpoint;
    place.geometry.epoch = door->epoch;
    place.geometry.pes = door->pes;
    place.geometry.cores = door->cores;
    place.geometry.region_size = door->region_size;
    *bridge = NULL;
    if (door->ticket.len != sizeof(place.ticket)) {
        snprintf(error, C4P_ERROR_SIZE,
                 "the daemon is of another release: it lets only those in who map the segment");
    } else {
        memcpy(place.ticket, door->ticket.data, sizeof(place.ticket));
        *bridge = bridge_open(&place, segment_fd, wake_fd, error);
        *endpoint = place.endpoint;
    }
    c4p__door__free_unpacked(door, NULL);
    return *bridge != NULL ? 0 : -1;
}

/* ---- closing ---- */

void c4p_bridge_close(struct c4p_bridge *bridge)
{
    uint64_t one = 1;

    if (bridge == NULL)
        return;
    if (bridge->running) {
        while (write(bridge->stop, &one, sizeof(one)) < 0 && errno == EINTR)
            continue;
        pthread_join(bridge->thread, NULL);
    }
    if (bridge->socket != NULL)
        zmq_close(bridge->socket);
    if (bridge->zmq != NULL)
        zmq_ctx_term(bridge->zmq);
    stream_clear(&bridge->stream);
    region_returns_free(&bridge->returns);
    region_destroy(bridge->region);
    segment_close(&bridge->segment);
    if (bridge->stop >= 0)
        close(bridge->stop);
    if (bridge->door >= 0)
        close(bridge->door);
    free(bridge);
}

void c4p_bridge_forget(struct c4p_bridge *bridge)
{
    if (bridge == NULL || bridge->door < 0)
        return;
    close(bridge->door);
    bridge->door = -1;
}
