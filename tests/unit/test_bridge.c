/*
 * Clients that do not map the job's segment: the daemon's end in a thread with its event loop, the
 * client's with the thread that it has, and PEs that answer whatever they get.
 */
#include "tests/unit/unit.h"

#include <event2/event.h>
#include <poll.h>
#include <sys/socket.h>
#include <zmq.h>

#include "client/bridge.h"
#include "daemon/router/bridge.h"
#include "proto/inbox.h"
#include "proto/region.h"

#define PES 2
#define REGION SEGMENT_MIN_REGION

/* ---- the daemon ---- */

struct daemon {
    pthread_t thread;
    struct event_base *base;
    struct plane *plane;
    struct event *command_event;
    int command[2]; /* whose end is ours */
    struct router *router;
    struct bridge *bridge;
    struct segment segment; /* the PEs' view */
    struct region *regions[PES];
    struct region_returns returns[PES];
    unsigned failed;
    uint64_t failed_client;
    bool ended;
};

/* What is done in the daemon's thread. */
struct command {
    void (*run)(struct daemon *daemon, void *argument);
    void *argument;
};

static void on_command(evutil_socket_t fd, short what, void *context)
{
    struct daemon *daemon = context;
    struct command command;

    (void)what;
    require(read(fd, &command, sizeof(command)) == sizeof(command));
    command.run(daemon, command.argument);
    require(write(fd, "", 1) == 1);
}

static void in_daemon(struct daemon *daemon, void (*run)(struct daemon *, void *), void *argument)
{
    struct command command = {run, argument};
    char done;

    require(write(daemon->command[0], &command, sizeof(command)) == sizeof(command));
    require(read(daemon->command[0], &done, 1) == 1);
}

static void on_failed(void *context, uint64_t client)
{
    struct daemon *daemon = context;

    daemon->failed++;
    daemon->failed_client = client;
}

static void on_started(void *context, uint32_t pe)
{
    (void)context, (void)pe;
    require(!"no PE starts");
}

static void on_exited(void *context, uint32_t pe, int32_t code, const char *text, size_t size)
{
    (void)context, (void)pe, (void)code, (void)text, (void)size;
    require(!"no PE exits");
}

static void on_corrupted(void *context, const char *what)
{
    (void)context;
    fprintf(stderr, "corrupted: %s\n", what);
    require(!"nothing is corrupt");
}

static void *daemon_run(void *argument)
{
    struct daemon *daemon = argument;

    while (!daemon->ended)
        require(event_base_loop(daemon->base, EVLOOP_ONCE) == 0);
    return NULL;
}

static void daemon_open(struct daemon *daemon)
{
    const struct router_listener router = {on_started, on_exited, on_corrupted, NULL, daemon};
    struct segment_geometry geometry = {
        .epoch = TEST_EPOCH,
        .pes = PES,
        .local_pes = PES,
        .nodes = 1,
        .cores = 2,
        .region_size = REGION,
    };

    char error[PLANE_ERROR_SIZE];

    memset(daemon, 0, sizeof(*daemon));
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, daemon->command) == 0);
    require((daemon->base = event_base_new()) != NULL);
    require((daemon->plane = plane_create(&(struct plane_settings){.base = daemon->base}, error)) !=
            NULL);
    require((daemon->router = router_create(daemon->plane, &geometry, NULL, &router)) != NULL);
    daemon->bridge =
        bridge_create(daemon->base, NULL, &(struct bridge_listener){on_failed, daemon});
    require(daemon->bridge != NULL);
    daemon->command_event =
        event_new(daemon->base, daemon->command[1], EV_READ | EV_PERSIST, on_command, daemon);
    require(daemon->command_event != NULL && event_add(daemon->command_event, NULL) == 0);
    require(segment_map(&daemon->segment, dup(router_segment_fd(daemon->router)),
                        dup(router_wake_fd(daemon->router))) == 0);
    for (uint32_t pe = 0; pe < PES; pe++) {
        require((daemon->regions[pe] = region_create(&daemon->segment, pe)) != NULL);
        require(region_returns_init(&daemon->returns[pe], &daemon->segment) == 0);
    }
    daemon->thread = thread_start(daemon_run, daemon);
}

static void daemon_stop(struct daemon *daemon, void *argument)
{
    (void)argument;
    daemon->ended = true;
}

static void router_end(struct daemon *daemon, void *argument)
{
    (void)argument;
    router_destroy(daemon->router);
    daemon->router = NULL;
}

static void daemon_close(struct daemon *daemon)
{
    in_daemon(daemon, daemon_stop, NULL);
    thread_join(daemon->thread);
    bridge_destroy(daemon->bridge);
    router_destroy(daemon->router);
    for (uint32_t pe = 0; pe < PES; pe++) {
        region_destroy(daemon->regions[pe]);
        region_returns_free(&daemon->returns[pe]);
    }
    segment_close(&daemon->segment);
    event_free(daemon->command_event);
    plane_destroy(daemon->plane);
    event_base_free(daemon->base);
    close(daemon->command[0]);
    close(daemon->command[1]);
}

struct admission {
    uint64_t client;
    struct bridge_ticket ticket;
};

static void admit(struct daemon *daemon, void *argument)
{
    struct admission *admission = argument;
    char error[BRIDGE_ERROR_SIZE] = "";

    if (bridge_admit(daemon->bridge, daemon->router, admission->client, &admission->ticket,
                     error) != 0) {
        fprintf(stderr, "%s\n", error);
        abort();
    }
}

static void leave(struct daemon *daemon, void *argument)
{
    router_client_leave(daemon->router, *(const uint32_t *)argument);
}

static void count(struct daemon *daemon, void *argument)
{
    *(unsigned *)argument = bridge_count(daemon->bridge);
}

static void failures(struct daemon *daemon, void *argument)
{
    *(unsigned *)argument = daemon->failed;
}

/* ---- a client ---- */

struct client {
    struct c4p_bridge *bridge;
    struct segment segment;
    struct region *region;
    struct region_returns returns;
    uint32_t endpoint, slot;
};

static struct c4p_bridge *ticket_use(const struct bridge_ticket *ticket, int door,
                                     struct segment *segment, char error[C4P_ERROR_SIZE])
{
    struct bridge_job job = {
        .address = ticket->address,
        .endpoint = ticket->endpoint,
        .geometry = ticket->geometry,
        .door = door,
    };
    struct c4p_bridge *bridge;
    int segment_fd, wake_fd;

    memcpy(job.ticket, ticket->ticket, sizeof(job.ticket));
    bridge = bridge_open(&job, &segment_fd, &wake_fd, error);
    if (bridge != NULL)
        require(segment_map(segment, segment_fd, wake_fd) == 0);
    return bridge;
}

static void client_open(struct client *client, struct daemon *daemon, uint64_t number, int door)
{
    struct admission admission = {.client = number};
    char error[C4P_ERROR_SIZE] = "";

    in_daemon(daemon, admit, &admission);
    memset(client, 0, sizeof(*client));
    client->bridge = ticket_use(&admission.ticket, door, &client->segment, error);
    if (client->bridge == NULL)
        fprintf(stderr, "%s\n", error);
    require(client->bridge != NULL);
    client->endpoint = admission.ticket.endpoint;
    client->slot = segment_slot(&client->segment, client->endpoint);
    require((client->region = region_create(&client->segment, client->slot)) != NULL);
    require(region_returns_init(&client->returns, &client->segment) == 0);
}

static void client_close(struct client *client)
{
    c4p_bridge_close(client->bridge);
    region_destroy(client->region);
    region_returns_free(&client->returns);
    segment_close(&client->segment);
}

/* ---- messages ---- */

static uint64_t region_await(struct region *region, size_t size)
{
    uint64_t offset;

    while ((offset = region_alloc(region, size)) == 0) {
        require(errno == ENOMEM);
        usleep(100); /* memory comes back without a sound */
    }
    return offset;
}

static void body_fill(uint8_t *body, uint64_t size, uint32_t number)
{
    for (uint64_t i = 0; i < size; i++)
        body[i] = (uint8_t)(i * 3 + (i >> 8) + number);
}

static void body_check(const uint8_t *body, uint64_t size, uint32_t number)
{
    for (uint64_t i = 0; i < size; i++)
        require(body[i] == (uint8_t)(i * 3 + (i >> 8) + number));
}

static uint64_t message(const struct segment *segment, struct region *region, uint32_t source,
                        uint32_t target, uint32_t number, uint64_t size)
{
    uint64_t offset = region_await(region, C4P_ENVELOPE_SIZE + size);
    struct c4p_envelope *block = segment_block(segment, offset);

    memset((void *)block, 0, sizeof(*block));
    block->version = C4P_ENVELOPE_VERSION;
    block->kind = C4P_CALL;
    block->epoch = TEST_EPOCH;
    block->source = source;
    block->target = target;
    block->sequence = number;
    block->body_size = size;
    body_fill((uint8_t *)block + C4P_ENVELOPE_SIZE, size, number);
    return offset;
}

static void client_send(struct client *client, uint32_t target, uint32_t number, uint64_t size)
{
    inbox_push(&client->segment, segment_router_slot(&client->segment),
               message(&client->segment, client->region, client->endpoint, target, number, size));
}

/* Wait for mail like a PE, and take it. */
static uint64_t mail_await(const struct segment *segment, uint32_t slot)
{
    uint64_t offset;

    while ((offset = inbox_take(segment, slot)) == 0) {
        require(errno == 0);
        if (inbox_announce_sleep(segment, slot))
            inbox_sleep(segment, slot, -1);
    }
    return offset;
}

static void message_check(const struct segment *segment, uint64_t offset, uint32_t target,
                          struct c4p_envelope *copy)
{
    uint64_t holder;

    require(envelope_check(segment_block(segment, offset), segment_room(segment, offset),
                           TEST_EPOCH, copy) == C4P_ENVELOPE_OK);
    require(copy->target == target);
    holder = copy->body != 0 ? copy->body : offset;
    body_check(segment->base + holder + C4P_ENVELOPE_SIZE, copy->body_size, copy->sequence);
}

/* A PE that answers so many messages, each with one of the same number and size. */
struct echo {
    struct daemon *daemon;
    uint32_t pe;
    unsigned messages;
    bool silent; /* it does not answer */
};

static void *echo_run(void *argument)
{
    const struct echo *echo = argument;
    const struct segment *segment = &echo->daemon->segment;
    struct region_returns *returns = &echo->daemon->returns[echo->pe];
    struct region *region = echo->daemon->regions[echo->pe];

    for (unsigned done = 0; done < echo->messages;) {
        uint64_t offset = mail_await(segment, echo->pe), next;

        for (; offset != 0; offset = next, done++) {
            struct c4p_envelope copy;
            uint32_t to;

            next = segment_block(segment, offset)->next;
            message_check(segment, offset, echo->pe, &copy);
            require(copy.sequence == done);
            region_returns_add(returns, offset, true);
            to = segment_slot(segment, copy.source);
            if (!echo->silent)
                inbox_push(
                    segment, to,
                    message(segment, region, echo->pe, copy.source, copy.sequence, copy.body_size));
        }
    }
    return NULL;
}

/* Take so many answers, in order. */
static void answers_take(struct client *client, unsigned first, unsigned past)
{
    while (first < past) {
        uint64_t offset = mail_await(&client->segment, client->slot), next;

        for (; offset != 0; offset = next) {
            struct c4p_envelope copy;

            next = segment_block(&client->segment, offset)->next;
            message_check(&client->segment, offset, client->endpoint, &copy);
            assert_int_equal(copy.sequence, first);
            region_returns_add(&client->returns, offset, true);
            first++;
        }
    }
    assert_int_equal(first, past);
}

/* ---- tests ---- */

static void messages_go_there_and_back_in_order(void **state)
{
    unsigned messages = (unsigned)stress(2000);
    struct daemon daemon;
    struct client client;
    struct echo echo = {.daemon = &daemon, .pe = 1, .messages = messages};
    pthread_t thread;

    (void)state;
    daemon_open(&daemon);
    client_open(&client, &daemon, 1, -1);
    thread = thread_start(echo_run, &echo);
    for (unsigned i = 0; i < messages; i++)
        client_send(&client, 1, i, i % 700);
    answers_take(&client, 0, messages);
    thread_join(thread);
    /* PEs count them as handled: somebody has to count them as sent. */
    assert_int_equal(atomic_load(&segment_endpoint(&daemon.segment,
                                                   segment_slot(&daemon.segment, client.endpoint))
                                      ->sent),
                     messages);
    client_close(&client);
    daemon_close(&daemon);
}

/* A thread that sends while the other one receives: neither side holds much. */
struct sender {
    struct client *client;
    unsigned messages;
};

static void *sender_run(void *argument)
{
    const struct sender *sender = argument;
    uint64_t largest = REGION - SEGMENT_ROUTER_RESERVE - C4P_ENVELOPE_SIZE;

    for (unsigned i = 0; i < sender->messages; i++)
        client_send(sender->client, 0, i, i % 3 == 0 ? largest : 1000000 + i);
    return NULL;
}

static void bodies_as_large_as_regions_pass_one_after_the_other(void **state)
{
    unsigned messages = (unsigned)stress(20);
    struct daemon daemon;
    struct client client;
    struct echo echo = {.daemon = &daemon, .pe = 0, .messages = messages};
    struct sender sender = {&client, messages};
    pthread_t threads[2];

    (void)state;
    daemon_open(&daemon);
    client_open(&client, &daemon, 1, -1);
    threads[0] = thread_start(echo_run, &echo);
    threads[1] = thread_start(sender_run, &sender);
    answers_take(&client, 0, messages);
    thread_join(threads[0]);
    thread_join(threads[1]);
    client_close(&client);
    daemon_close(&daemon);
}

static void a_shared_body_is_sent_with_each_of_its_messages(void **state)
{
    struct daemon daemon;
    struct client client;
    uint64_t body, offset;

    (void)state;
    daemon_open(&daemon);
    client_open(&client, &daemon, 1, -1);
    body = message(&client.segment, client.region, client.endpoint, 0, 5, 300000);
    atomic_store(&segment_block(&client.segment, body)->refs, PES);
    for (uint32_t pe = 0; pe < PES; pe++) {
        offset = message(&client.segment, client.region, client.endpoint, pe, 5, 0);
        segment_block(&client.segment, offset)->body = body;
        segment_block(&client.segment, offset)->body_size = 300000;
        inbox_push(&client.segment, segment_router_slot(&client.segment), offset);
    }
    for (uint32_t pe = 0; pe < PES; pe++) {
        struct c4p_envelope copy;

        message_check(&daemon.segment, mail_await(&daemon.segment, pe), pe, &copy);
        assert_int_equal(copy.body, 0);
        assert_int_equal(copy.body_size, 300000);
    }
    /* And one of a PE, whose body it passes on. */
    body = message(&daemon.segment, daemon.regions[0], 0, client.endpoint, 6, 200000);
    offset = message(&daemon.segment, daemon.regions[1], 1, client.endpoint, 6, 0);
    atomic_store(&segment_block(&daemon.segment, body)->refs, 1);
    segment_block(&daemon.segment, offset)->body = body;
    segment_block(&daemon.segment, offset)->body_size = 200000;
    inbox_push(&daemon.segment, segment_slot(&daemon.segment, client.endpoint), offset);
    answers_take(&client, 6, 7);
    while (region_used(daemon.regions[0]) + region_used(daemon.regions[1]) > 0) {
        region_reclaim(daemon.regions[0]);
        region_reclaim(daemon.regions[1]);
        usleep(1000);
    }
    while (region_used(client.region) > 0) {
        region_reclaim(client.region);
        usleep(1000);
    }
    client_close(&client);
    daemon_close(&daemon);
}

static void what_was_sent_before_closing_arrives(void **state)
{
    unsigned messages = 5000;
    struct daemon daemon;
    struct client client;
    struct echo echo = {.daemon = &daemon, .pe = 0, .messages = messages, .silent = true};
    pthread_t thread;

    (void)state;
    daemon_open(&daemon);
    client_open(&client, &daemon, 1, -1);
    for (unsigned i = 0; i < messages; i++)
        client_send(&client, 0, i, 300);
    client_close(&client);
    thread = thread_start(echo_run, &echo);
    thread_join(thread);
    daemon_close(&daemon);
}

static void clients_send_to_each_other_and_what_is_for_nobody_is_dropped(void **state)
{
    struct daemon daemon;
    struct client one, other;

    (void)state;
    daemon_open(&daemon);
    client_open(&one, &daemon, 1, -1);
    client_open(&other, &daemon, 2, -1);
    assert_int_not_equal(one.endpoint, other.endpoint);
    client_send(&one, C4P_CLIENT | 4711, 0, 100000);
    for (unsigned i = 0; i < 10; i++)
        client_send(&one, other.endpoint, i, 100 * i);
    answers_take(&other, 0, 10);
    client_send(&other, one.endpoint, 0, 10);
    answers_take(&one, 0, 1);
    client_close(&one);
    client_close(&other);
    daemon_close(&daemon);
}

static void a_ticket_is_good_once_and_only_the_right_one(void **state)
{
    struct admission admission = {.client = 1};
    char error[C4P_ERROR_SIZE] = "";
    struct c4p_bridge *bridge;
    struct segment segment;
    struct daemon daemon;
    unsigned clients;

    (void)state;
    daemon_open(&daemon);
    in_daemon(&daemon, admit, &admission);
    admission.ticket.ticket[31] ^= 1;
    assert_null(ticket_use(&admission.ticket, -1, &segment, error));
    assert_string_equal(error,
                        "the daemon refuses: nobody here is known by that ticket (any more)");
    admission.ticket.ticket[31] ^= 1;
    bridge = ticket_use(&admission.ticket, -1, &segment, error);
    assert_non_null(bridge);
    segment_close(&segment);
    assert_null(ticket_use(&admission.ticket, -1, &segment, error));
    c4p_bridge_close(bridge);
    in_daemon(&daemon, leave, &admission.ticket.endpoint);
    in_daemon(&daemon, count, &clients);
    assert_int_equal(clients, 0);
    daemon_close(&daemon);
}

static void a_bridge_ends_with_the_session_or_the_daemon_and_can_be_closed(void **state)
{
    struct daemon daemon;
    struct client one, two, three;
    int door[2];

    (void)state;
    daemon_open(&daemon);
    require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, door) == 0);
    client_open(&one, &daemon, 1, -1);
    client_open(&two, &daemon, 2, door[0]);
    client_open(&three, &daemon, 3, -1);
    client_send(&one, 0, 0, 100);
    in_daemon(&daemon, leave, &one.endpoint);
    client_send(&one, 0, 1, 100);
    client_close(&one);
    close(door[1]);
    client_send(&two, 0, 0, 100);
    client_close(&two);
    close(door[0]);
    in_daemon(&daemon, router_end, NULL);
    client_send(&three, 0, 0, 100);
    client_close(&three);
    daemon_close(&daemon);
}

/* ---- a client that is none of ours ---- */

struct stranger {
    void *zmq, *socket;
};

static void stranger_open(struct stranger *stranger, const char *address)
{
    const int linger = 0, patience = 30000;

    require((stranger->zmq = zmq_ctx_new()) != NULL);
    require((stranger->socket = zmq_socket(stranger->zmq, ZMQ_DEALER)) != NULL);
    zmq_setsockopt(stranger->socket, ZMQ_LINGER, &linger, sizeof(linger));
    zmq_setsockopt(stranger->socket, ZMQ_RCVTIMEO, &patience, sizeof(patience));
    require(zmq_connect(stranger->socket, address) == 0);
}

static void stranger_close(struct stranger *stranger)
{
    zmq_close(stranger->socket);
    zmq_ctx_term(stranger->zmq);
}

static void stranger_say(struct stranger *stranger, const void *frame, size_t size)
{
    require(zmq_send(stranger->socket, frame, size, 0) == (int)size);
}

/* The sentence of the BYE that comes, whatever comes before it. */
static void stranger_hear_bye(struct stranger *stranger, char sentence[STREAM_MAX_SENTENCE])
{
    static uint8_t frame[STREAM_FRAME];
    int size;

    do
        require((size = zmq_recv(stranger->socket, frame, sizeof(frame), 0)) > 0);
    while (!stream_read_bye(frame, (size_t)size, sentence));
}

/* Who says this after a good HELLO is told, and its owner too. */
static void refused(const void *frame, size_t size, const char *why)
{
    struct admission admission = {.client = 77};
    char sentence[STREAM_MAX_SENTENCE];
    uint8_t hello[2 + STREAM_TICKET_SIZE];
    struct stranger stranger;
    struct daemon daemon;
    unsigned failed = 0;

    daemon_open(&daemon);
    in_daemon(&daemon, admit, &admission);
    stranger_open(&stranger, admission.ticket.address);
    stranger_say(&stranger, hello,
                 stream_make_hello(hello, admission.ticket.ticket, STREAM_TICKET_SIZE));
    stranger_say(&stranger, frame, size);
    stranger_hear_bye(&stranger, sentence);
    assert_string_equal(sentence, why);
    while (failed == 0) /* turns of the loop */
        in_daemon(&daemon, failures, &failed);
    assert_int_equal(daemon.failed_client, 77);
    stranger_close(&stranger);
    daemon_close(&daemon);
}

static void block_refused(uint8_t kind, uint32_t source, uint32_t target, const char *why)
{
    struct c4p_envelope envelope = {
        .version = C4P_ENVELOPE_VERSION,
        .kind = kind,
        .epoch = TEST_EPOCH,
        .source = source,
        .target = target,
    };
    uint8_t frame[1 + C4P_ENVELOPE_SIZE] = {STREAM_DATA};

    memcpy(frame + 1, (void *)&envelope, sizeof(envelope));
    refused(frame, sizeof(frame), why);
}

static void who_breaks_the_rules_is_told_and_its_owner_too(void **state)
{
    static const char not_allowed[] =
        "a message is of a kind, or has an address, that its sender may not use";

    (void)state;
    refused("\x09", 1, "a frame is of a kind that has no place there");
    refused("\x02", 1, "a frame is empty");
    refused("\x03garbage!", 9, "credit was given that cannot be");
    block_refused(C4P_STOP, C4P_CLIENT, 0, not_allowed);
    block_refused(C4P_EXIT, C4P_CLIENT, C4P_ROUTER, not_allowed);
    block_refused(C4P_CALL, C4P_CLIENT, C4P_ROUTER, not_allowed);
    block_refused(C4P_CALL, C4P_CLIENT | 1, 0, not_allowed); /* as somebody else */
    block_refused(C4P_CALL, 1, 0, not_allowed);
    block_refused(C4P_CALL, C4P_CLIENT, PES, not_allowed); /* to nobody */
    block_refused(0, C4P_CLIENT, 0, "unknown message kind");
}

static void strangers_are_told_so_and_do_not_disturb(void **state)
{
    struct admission admission = {.client = 1};
    char sentence[STREAM_MAX_SENTENCE];
    uint8_t hello[2 + STREAM_TICKET_SIZE];
    struct stranger stranger;
    struct daemon daemon;
    unsigned failed;

    (void)state;
    daemon_open(&daemon);
    in_daemon(&daemon, admit, &admission);
    stranger_open(&stranger, admission.ticket.address);
    stranger_say(&stranger, "\x02 data", 6);
    stranger_hear_bye(&stranger, sentence);
    stranger_say(&stranger, "", 0);
    stranger_hear_bye(&stranger, sentence);
    stream_make_hello(hello, admission.ticket.ticket, STREAM_TICKET_SIZE);
    hello[1] = 2;
    stranger_say(&stranger, hello, sizeof(hello));
    stranger_hear_bye(&stranger, sentence);
    assert_string_equal(sentence, "this daemon speaks version 1 of the data plane, the client 2: "
                                  "use a client of the same release");
    hello[1] = STREAM_VERSION;
    stranger_say(&stranger, hello, sizeof(hello));
    stranger_say(&stranger, "\x04", 1); /* an orderly end */
    stranger_hear_bye(&stranger, sentence);
    assert_string_equal(sentence, "all has arrived");
    in_daemon(&daemon, failures, &failed);
    assert_int_equal(failed, 0);
    stranger_close(&stranger);
    daemon_close(&daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(messages_go_there_and_back_in_order),
        watched_test(bodies_as_large_as_regions_pass_one_after_the_other),
        watched_test(a_shared_body_is_sent_with_each_of_its_messages),
        watched_test(what_was_sent_before_closing_arrives),
        watched_test(clients_send_to_each_other_and_what_is_for_nobody_is_dropped),
        watched_test(a_ticket_is_good_once_and_only_the_right_one),
        watched_test(a_bridge_ends_with_the_session_or_the_daemon_and_can_be_closed),
        watched_test(who_breaks_the_rules_is_told_and_its_owner_too),
        watched_test(strangers_are_told_so_and_do_not_disturb),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
