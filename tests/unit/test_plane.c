/*
 * Messages between the nodes of a job: their order, their memory, what happens when there is none,
 * and what happens to frames that nobody should have sent.
 */
#include "tests/unit/plane_fixture.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

#define MIB (1ull << 20)

/* ---- what comes through ---- */

static void a_message_reaches_a_pe_of_another_node_and_its_block_comes_back(void **state)
{
    for (int many = 0; many < 2; many++) {
        struct bench bench;

        (void)state;
        bench_open(&bench, 2, many, 16 * MIB);
        message_send(&bench, 1, 2, 100, 1);
        message_send(&bench, 3, 0, 0, 2);
        message_expect(&bench, 2, 1, 100, 1);
        message_expect(&bench, 0, 3, 0, 2);
        await(&bench, region_left(&bench, 1) == 0 && region_left(&bench, 3) == 0);
        bench_close(&bench);
    }
}

static void messages_of_all_sizes_keep_their_order(void **state)
{
    uint64_t seeds = stress(6);

    (void)state;
    for (uint64_t seed = first_seed(); seed < first_seed() + seeds; seed++) {
        struct dice dice = dice_seeded(seed);
        struct bench bench;
        uint64_t sizes[300];

        seed_in_use = seed;
        bench_open(&bench, 3, seed % 2, 32 * MIB);
        for (uint32_t i = 0; i < 300; i++) {
            sizes[i] = dice_below(&dice, 10) ? dice_below(&dice, 300) : dice_below(&dice, 100000);
            message_send(&bench, 0, 3, sizes[i], i);
            message_send(&bench, 4, 3, 8, i);
        }
        for (uint32_t from_0 = 0, from_4 = 0; from_0 < 300 || from_4 < 300;) {
            uint64_t offset = message_await(&bench, 3);
            const struct c4p_envelope *block = segment_block(&bench.hosts[1].segment, offset);
            uint32_t *next = block->source == 0 ? &from_0 : &from_4;

            assert_int_equal(block->sequence, *next);
            assert_int_equal(block->body_size, block->source == 0 ? sizes[*next] : 8);
            assert_true(body_is_whole(&bench.hosts[1], offset));
            message_release(&bench, 3, offset);
            ++*next;
        }
        bench_close(&bench);
    }
}

static void messages_that_wait_together_share_frames(void **state)
{
    struct plane_figures figures;
    struct bench bench;
    struct host *host = &bench.hosts[0];
    uint64_t offsets[200];

    (void)state;
    bench_open(&bench, 2, true, 16 * MIB);
    for (uint32_t i = 0; i < 200; i++)
        require((offsets[i] = block_make(&bench, 0, 2, 10, i)) != 0);
    /* As one chain, which is there at once: the newest links to the one before it. */
    for (uint32_t i = 1; i < 200; i++)
        segment_block(&host->segment, offsets[i])->next = offsets[i - 1];
    atomic_store(&segment_endpoint(&host->segment, NODE_PES)->inbox, offsets[199]);
    require(write(host->segment.router_wake, &(uint64_t){1}, 8) == 8);
    for (uint32_t i = 0; i < 200; i++)
        message_expect(&bench, 2, 0, 10, i);
    figures = plane_figures(host->plane);
    assert_int_equal(figures.sent, 200);
    assert_in_range(figures.sent_frames, 1, 20);
    bench_close(&bench);
}

static void a_body_larger_than_the_window_goes_through_without_a_copy(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, 2, true, 64 * MIB);
    for (uint32_t i = 0; i < 6; i++) {
        message_send(&bench, 0, 2, 16 * MIB, i);
        message_expect(&bench, 2, 0, 16 * MIB, i);
        await(&bench, region_left(&bench, 0) == 0); /* ZeroMQ has done with it */
    }
    bench_close(&bench);
}

static void messages_go_on_both_ways_at_once(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, 2, true, 64 * MIB);
    for (uint32_t i = 0; i < 4; i++) {
        message_send(&bench, 0, 2, 8 * MIB, i);
        message_send(&bench, 2, 0, 8 * MIB, i);
    }
    for (uint32_t i = 0; i < 4; i++) {
        message_expect(&bench, 2, 0, 8 * MIB, i);
        message_expect(&bench, 0, 2, 8 * MIB, i);
    }
    bench_close(&bench);
}

/* ---- memory ---- */

static void who_has_no_memory_holds_up_its_own_stream_only(void **state)
{
    struct bench bench;
    uint64_t kept[64];
    uint32_t count = 0;

    (void)state;
    bench_open(&bench, 3, true, 16 * MIB);
    /* PE 2 keeps what it gets, until its router's region is full and the sender's too. */
    while (count < 64) {
        uint64_t offset = block_make(&bench, 0, 2, MIB, count);

        if (offset == 0)
            break;
        block_push(&bench, 0, offset);
        count++;
    }
    assert_in_range(count, 10, 20); /* as much as fits a region */
    for (uint32_t i = 0; i < 10; i++)
        kept[i] = message_await(&bench, 2);
    for (uint32_t i = count; i < count + 12; i++) {
        uint64_t offset = 0;

        await(&bench, region_left(&bench, 0) < 15 * MIB &&
                          (offset = block_make(&bench, 0, 2, MIB, i)) != 0);
        block_push(&bench, 0, offset);
        if (region_left(&bench, 0) > 12 * MIB) { /* nothing gets through any more */
            count = i + 1;
            break;
        }
    }
    message_send(&bench, 0, 4, 1000, 77); /* to a third node, meanwhile */
    message_expect(&bench, 4, 0, 1000, 77);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(segment_block(&bench.hosts[1].segment, kept[i])->sequence, i);
        message_release(&bench, 2, kept[i]);
    }
    for (uint32_t i = 10; i < count; i++)
        message_expect(&bench, 2, 0, MIB, i);
    await(&bench, region_left(&bench, 0) == 0);
    bench_close(&bench);
}

static void a_message_that_fits_no_segment_ends_it_with_the_remedy(void **state)
{
    struct bench bench;
    uint64_t size = 4 * MIB - 2 * 65536;

    (void)state;
    bench_open(&bench, 2, true, 4 * MIB);
    message_send(&bench, 0, 2, size, 1);
    await(&bench, bench.hosts[0].lost[1] == 1 && bench.hosts[1].lost[0] == 1);
    assert_non_null(strstr(bench.hosts[0].why, "--segment-size"));
    bench_close(&bench);
}

static void a_router_ends_while_its_blocks_are_under_way(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        struct bench bench;

        bench_open(&bench, 2, round % 2, 64 * MIB);
        message_send(&bench, 0, 2, 16 * MIB, 1);
        await(&bench, plane_figures(bench.hosts[0].plane).sent_frames >= (unsigned)round);
        host_close(&bench.hosts[round % 2]);
        host_close(&bench.hosts[1 - round % 2]);
        bench_close(&bench);
    }
}

/* ---- nodes that are gone ---- */

static void a_node_that_is_forgotten_is_lost_to_those_who_name_it(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, 3, true, 16 * MIB);
    message_send(&bench, 0, 2, 10, 1);
    message_expect(&bench, 2, 0, 10, 1);
    plane_forget(bench.hosts[0].plane, &bench.hosts[1].key);
    plane_forget(bench.hosts[0].plane, &bench.hosts[1].key);
    await(&bench, bench.hosts[0].lost[1] == 1);
    assert_int_equal(bench.hosts[0].lost[2], 0);
    message_send(&bench, 0, 2, 10, 2); /* dropped, and its block comes back */
    message_send(&bench, 0, 4, 10, 3);
    message_expect(&bench, 4, 0, 10, 3);
    await(&bench, region_left(&bench, 0) == 0);
    assert_int_equal(bench.hosts[0].lost[1], 1);
    /* Nor is anything taken from it. */
    message_send(&bench, 2, 0, 10, 4);
    await(&bench, plane_figures(bench.hosts[0].plane).refused == 1);
    bench_close(&bench);
}

static void a_peer_that_dies_in_the_middle_gives_back_what_was_for_it(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, 2, true, 64 * MIB);
    message_send(&bench, 0, 2, 32 * MIB, 1);
    await(&bench, plane_figures(bench.hosts[1].plane).received_frames > 2);
    host_close(&bench.hosts[1]);
    plane_destroy(bench.hosts[1].plane);
    message_send(&bench, 0, 3, 8 * MIB, 2);
    plane_forget(bench.hosts[0].plane, &bench.hosts[1].key);
    await(&bench, bench.hosts[0].lost[1] == 1 && region_left(&bench, 0) == 0);
    bench.hosts[1].plane = NULL;
    bench_close(&bench);
}

/* ---- connections that break ---- */

/* Carries bytes to where a plane listens, until it is told to drop them, or the connection. */
struct forwarder {
    pthread_t thread;
    int listener, to_port, ends[2]; /* of the connection that is there: -1 */
    _Atomic unsigned accepted;
    _Atomic bool swallow, cut, ended;
    _Atomic uint64_t swallowed;
};

static int socket_to(int port, bool listen_there)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    require(fd >= 0);
    if (listen_there)
        require(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 4) == 0);
    else
        require(connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
    return fd;
}

static void forwarder_cut(struct forwarder *forwarder)
{
    for (int i = 0; i < 2; i++) {
        if (forwarder->ends[i] >= 0)
            close(forwarder->ends[i]);
        forwarder->ends[i] = -1;
    }
}

static void forwarder_carry(struct forwarder *forwarder, int from)
{
    char buffer[65536];
    ssize_t size = read(forwarder->ends[from], buffer, sizeof(buffer));

    if (size <= 0) {
        forwarder_cut(forwarder);
        return;
    }
    if (forwarder->swallow) {
        forwarder->swallowed += (uint64_t)size;
        return;
    }
    for (ssize_t done = 0, rc; done < size; done += rc)
        if ((rc = send(forwarder->ends[1 - from], buffer + done, (size_t)(size - done),
                       MSG_NOSIGNAL)) <= 0) {
            forwarder_cut(forwarder);
            return;
        }
}

static void *forwarder_run(void *argument)
{
    struct forwarder *forwarder = argument;

    while (!forwarder->ended) {
        struct pollfd fds[3] = {{forwarder->listener, POLLIN, 0},
                                {forwarder->ends[0], POLLIN, 0},
                                {forwarder->ends[1], POLLIN, 0}};

        require(poll(fds, 3, 5) >= 0);
        if (forwarder->cut) {
            forwarder_cut(forwarder);
            forwarder->swallow = forwarder->cut = false;
            continue;
        }
        for (int i = 0; i < 2; i++)
            if (forwarder->ends[i] >= 0 && fds[1 + i].revents != 0)
                forwarder_carry(forwarder, i);
        if (forwarder->ends[0] < 0 && fds[0].revents != 0) {
            forwarder->ends[0] = accept(forwarder->listener, NULL, NULL);
            forwarder->ends[1] = socket_to(forwarder->to_port, false);
            forwarder->accepted++;
        }
    }
    return NULL;
}

/* A bench of two nodes, in which node 0 reaches node 1 through the forwarder. */
static void bench_open_through(struct bench *bench, struct forwarder *forwarder)
{
    struct sockaddr_in address;
    socklen_t size = sizeof(address);
    struct router_node *node = &bench->table[1];

    bench_prepare(bench, 2, true, 16 * MIB);
    memset(forwarder, 0, sizeof(*forwarder));
    forwarder->ends[0] = forwarder->ends[1] = -1;
    forwarder->to_port = atoi(strrchr(node->address, ':') + 1);
    forwarder->listener = socket_to(0, true);
    require(getsockname(forwarder->listener, (struct sockaddr *)&address, &size) == 0);
    snprintf(node->address, sizeof(node->address), "tcp://127.0.0.1:%d", ntohs(address.sin_port));
    forwarder->thread = thread_start(forwarder_run, forwarder);
    host_router(bench, 0);
    host_router(bench, 1);
    message_send(bench, 0, 2, 10, 1);
    message_expect(bench, 2, 0, 10, 1);
}

static void forwarder_close(struct forwarder *forwarder)
{
    forwarder->ended = true;
    thread_join(forwarder->thread);
    forwarder_cut(forwarder);
    close(forwarder->listener);
}

static void a_connection_that_breaks_and_lost_nothing_goes_on(void **state)
{
    struct forwarder forwarder;
    struct bench bench;

    (void)state;
    bench_open_through(&bench, &forwarder);
    for (uint32_t round = 1; round < 4; round++) {
        uint64_t frames = plane_figures(bench.hosts[1].plane).received_frames;

        forwarder.cut = true;
        /* Both streams say how far they are, and what the other end may send. */
        await(&bench, forwarder.accepted == round + 1 &&
                          plane_figures(bench.hosts[1].plane).received_frames == frames + 4);
        message_send(&bench, 0, 3, MIB, round);
        message_expect(&bench, 3, 0, MIB, round);
        message_send(&bench, 2, 0, 5, round);
        message_expect(&bench, 0, 2, 5, round);
    }
    assert_int_equal(bench.hosts[0].lost[1] + bench.hosts[1].lost[0], 0);
    forwarder_close(&forwarder);
    bench_close(&bench);
}

static void a_connection_that_lost_the_last_message_is_noticed_when_it_is_made_anew(void **state)
{
    struct forwarder forwarder;
    struct bench bench;

    (void)state;
    bench_open_through(&bench, &forwarder);
    forwarder.swallow = true;
    message_send(&bench, 0, 2, 10, 2);
    await(&bench, forwarder.swallowed > 100);
    forwarder.cut = true;
    await(&bench, bench.hosts[1].lost[0] == 1 && bench.hosts[0].lost[1] == 1);
    assert_string_equal(bench.hosts[1].why,
                        "what it sent was lost on the way (submit the job again)");
    assert_non_null(strstr(bench.hosts[0].why, bench.hosts[1].why));
    forwarder_close(&forwarder);
    bench_close(&bench);
}

/* ---- frames that nobody should have sent ---- */

static uint64_t refused(struct bench *bench)
{
    return plane_figures(bench->hosts[0].plane).refused;
}

static void what_comes_under_another_key_is_dropped(void **state)
{
    struct stranger stranger;
    uint8_t secret_key[32];
    struct node_key key;
    struct bench bench;

    (void)state;
    bench_open(&bench, 2, true, 16 * MIB);
    key_make(&key, secret_key);
    stranger_open(&bench, &stranger, &key, secret_key);
    stranger_say(&stranger, 2, 0);
    await(&bench, refused(&bench) == 1);
    zmq_close(stranger.socket);
    message_send(&bench, 2, 0, 10, 1);
    message_expect(&bench, 0, 2, 10, 1); /* it has done no harm */
    bench_close(&bench);
}

static void frames_of_the_right_key_that_fit_nowhere_are_dropped(void **state)
{
    struct stranger stranger;
    struct bench bench;
    struct frame_header right;

    (void)state;
    bench_open(&bench, 2, true, 16 * MIB);
    stranger_open(&bench, &stranger, &bench.hosts[1].key, bench.hosts[1].secret_key);
    right = stranger.header;
    stranger.header.job++;
    stranger_send(&stranger, "x", 1);
    stranger.header = right;
    stranger.header.epoch++;
    stranger_send(&stranger, "x", 1);
    stranger.header = right;
    stranger.header.secret[3] ^= 1;
    stranger_send(&stranger, "x", 1);
    stranger.header = right;
    stranger.header.from = 0;
    stranger_send(&stranger, "x", 1);
    stranger.header.from = 2;
    stranger_send(&stranger, "x", 1);
    stranger.header = right;
    stranger.header.version++;
    stranger_send(&stranger, "x", 1);
    stranger.header = right;
    stranger.header.type = FRAME_TYPES;
    stranger_send(&stranger, "x", 1);
    stranger.header.type = 0;
    stranger_send(&stranger, "x", 1);
    stranger.header = right;
    stranger.header.stream = FRAME_STREAMS;
    stranger_send(&stranger, "x", 1);
    stranger.header = right;
    stranger.header.zero[7] = 1;
    stranger_send(&stranger, "x", 1);
    require(zmq_send(stranger.socket, "short", 5, 0) == 5);
    require(zmq_send(stranger.socket, "", 0, 0) == 0);
    for (int part = 0; part < 5; part++)
        require(zmq_send(stranger.socket, &right, 64, part < 4 ? ZMQ_SNDMORE : 0) == 64);
    await(&bench, refused(&bench) == 13);
    assert_int_equal(bench.hosts[0].lost[1], 0);
    message_send(&bench, 2, 0, 10, 1);
    message_expect(&bench, 0, 2, 10, 1);
    zmq_close(stranger.socket);
    bench_close(&bench);
}

/* What ends the streams with a node: each with its own bench, since it is lost then. */
static void lies_end(void (*lie)(struct stranger *stranger), const char *why)
{
    struct stranger stranger;
    struct bench bench;

    bench_open(&bench, 2, true, 16 * MIB);
    stranger_open(&bench, &stranger, &bench.hosts[1].key, bench.hosts[1].secret_key);
    lie(&stranger);
    await(&bench, bench.hosts[0].lost[1] == 1);
    if (strstr(bench.hosts[0].why, why) == NULL)
        fail_msg("told: %s", bench.hosts[0].why);
    zmq_close(stranger.socket);
    bench_close(&bench);
}

static void a_gap(struct stranger *stranger)
{
    stranger->header.position = 96;
    stranger_say(stranger, 2, 0);
}

static void a_replay(struct stranger *stranger)
{
    stranger_say(stranger, 2, 0);
    stranger->header.position = 0;
    stranger_say(stranger, 2, 0);
}

static void a_gap_that_hello_shows(struct stranger *stranger)
{
    stranger->header.type = FRAME_HELLO;
    stranger->header.position = 5;
    stranger_send(stranger, NULL, 0);
}

static void nothing_at_all(struct stranger *stranger)
{
    stranger_send(stranger, NULL, 0);
}

static void no_envelope(struct stranger *stranger)
{
    uint8_t noise[96];

    memset(noise, 0xee, sizeof(noise));
    stranger_send(stranger, noise, sizeof(noise));
}

static void another_source(struct stranger *stranger)
{
    stranger_say(stranger, 1, 0);
}

static void another_routers_source(struct stranger *stranger)
{
    stranger_say(stranger, C4P_ROUTER, 0);
}

static void a_clients_source_though_it_is_not_the_home(struct stranger *stranger)
{
    stranger_say(stranger, C4P_CLIENT | 1, 0);
}

static void a_target_that_is_elsewhere(struct stranger *stranger)
{
    stranger_say(stranger, 2, 3);
}

static void a_target_that_is_nowhere(struct stranger *stranger)
{
    stranger_say(stranger, 2, 400);
}

static void a_kind_that_stays_at_home(struct stranger *stranger)
{
    struct c4p_envelope envelope = envelope_to(2, 0, 0);

    envelope.kind = C4P_STOP;
    stranger_send(stranger, &envelope, sizeof(envelope));
}

static void a_body_beyond_all_limits(struct stranger *stranger)
{
    struct c4p_envelope envelope = envelope_to(2, 0, 1ull << 40);

    stranger_send(stranger, &envelope, sizeof(envelope));
}

static void too_much_credit(struct stranger *stranger)
{
    stranger->header.type = FRAME_CREDIT;
    stranger->header.position = 1ull << 40;
    stranger_send(stranger, NULL, 0);
}

static void a_good_bye(struct stranger *stranger)
{
    stranger->header.type = FRAME_BYE;
    stranger_send(stranger, "I am\ntired", 10);
}

static void a_node_that_breaks_the_rules_is_lost_with_the_reason(void **state)
{
    (void)state;
    lies_end(a_gap, "was lost on the way");
    lies_end(a_replay, "was lost on the way");
    lies_end(a_gap_that_hello_shows, "was lost on the way");
    lies_end(nothing_at_all, "empty frames");
    lies_end(no_envelope, "");
    lies_end(another_source, "may not use");
    lies_end(another_routers_source, "may not use");
    lies_end(a_clients_source_though_it_is_not_the_home, "may not use");
    lies_end(a_target_that_is_elsewhere, "may not use");
    lies_end(a_target_that_is_nowhere, "may not use");
    lies_end(a_kind_that_stays_at_home, "may not use");
    lies_end(a_body_beyond_all_limits, "larger than any");
    lies_end(too_much_credit, "credit that cannot be");
    lies_end(a_good_bye, "I am tired");
}

static void more_than_the_credit_is_refused(void **state)
{
    static uint8_t part[64 + FRAME_PART];
    struct stranger stranger;
    struct bench bench;
    struct c4p_envelope envelope = envelope_to(2, 0, 14 * MIB);
    uint64_t offset;

    (void)state;
    bench_open(&bench, 2, true, 16 * MIB);
    /* The region is full, so nothing of what comes next is put away. */
    message_send(&bench, 2, 0, 8 * MIB, 1);
    offset = message_await(&bench, 0);
    stranger_open(&bench, &stranger, &bench.hosts[1].key, bench.hosts[1].secret_key);
    stranger.header.stream = FRAME_RELAY;
    for (unsigned i = 0; i < 18; i++) {
        memcpy(part, &stranger.header, 64);
        if (i == 0)
            memcpy(part + 64, &envelope, sizeof(envelope));
        require(zmq_send(stranger.socket, part, sizeof(part), 0) >= 0);
        stranger.header.position += FRAME_PART;
    }
    await(&bench, bench.hosts[0].lost[1] == 1);
    assert_non_null(strstr(bench.hosts[0].why, "more was sent than there was credit for"));
    message_release(&bench, 0, offset);
    zmq_close(stranger.socket);
    bench_close(&bench);
}

/* ---- clients ---- */

static void clients_are_at_home_and_reach_all_nodes(void **state)
{
    struct bench bench;
    struct host *home = &bench.hosts[0];
    uint32_t client, slot;
    struct region *region;
    uint64_t offset = 0;
    struct c4p_envelope envelope;

    (void)state;
    bench_open(&bench, 2, true, 16 * MIB);
    client = router_client_enter(home->router);
    assert_int_not_equal(client, 0);
    slot = segment_slot(&home->segment, client);
    require((region = region_create(&home->segment, slot)) != NULL);
    offset = region_alloc(region, C4P_ENVELOPE_SIZE);
    envelope = envelope_to(client, 3, 0);
    memcpy((void *)segment_block(&home->segment, offset), (void *)&envelope, C4P_ENVELOPE_SIZE);
    inbox_push(&home->segment, segment_router_slot(&home->segment), offset);
    message_expect(&bench, 3, client, 0, 0);
    message_send(&bench, 3, client, 50, 9);
    await(&bench, (offset = inbox_take(&home->segment, slot)) != 0);
    assert_int_equal(segment_block(&home->segment, offset)->source, 3);
    assert_true(body_is_whole(home, offset));
    region_returns_add(&home->returns, offset, true);
    /* One that has left is no reason to complain. */
    router_client_leave(home->router, client);
    message_send(&bench, 3, client, 50, 9);
    message_send(&bench, 3, 0, 5, 1);
    message_expect(&bench, 0, 3, 5, 1);
    assert_int_equal(home->lost[1], 0);
    region_destroy(region);
    bench_close(&bench);
}

static void a_pe_that_lies_about_itself_is_not_heard_elsewhere(void **state)
{
    struct bench bench;
    uint64_t offset;

    (void)state;
    bench_open(&bench, 2, true, 16 * MIB);
    offset = block_make(&bench, 0, 2, 10, 1);
    segment_block(&bench.hosts[0].segment, offset)->source = 1;
    block_push(&bench, 0, offset);
    offset = block_make(&bench, 0, 9, 10, 1); /* there is no such PE */
    block_push(&bench, 0, offset);
    await(&bench, router_dropped(bench.hosts[0].router) == 2);
    message_send(&bench, 0, 2, 10, 2);
    message_expect(&bench, 2, 0, 10, 2);
    await(&bench, region_left(&bench, 0) == 0);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(a_message_reaches_a_pe_of_another_node_and_its_block_comes_back),
        watched_test(messages_of_all_sizes_keep_their_order),
        watched_test(messages_that_wait_together_share_frames),
        watched_test(a_body_larger_than_the_window_goes_through_without_a_copy),
        watched_test(messages_go_on_both_ways_at_once),
        watched_test(who_has_no_memory_holds_up_its_own_stream_only),
        watched_test(a_message_that_fits_no_segment_ends_it_with_the_remedy),
        watched_test(a_router_ends_while_its_blocks_are_under_way),
        watched_test(a_node_that_is_forgotten_is_lost_to_those_who_name_it),
        watched_test(a_peer_that_dies_in_the_middle_gives_back_what_was_for_it),
        watched_test(a_connection_that_breaks_and_lost_nothing_goes_on),
        watched_test(a_connection_that_lost_the_last_message_is_noticed_when_it_is_made_anew),
        watched_test(what_comes_under_another_key_is_dropped),
        watched_test(frames_of_the_right_key_that_fit_nowhere_are_dropped),
        watched_test(a_node_that_breaks_the_rules_is_lost_with_the_reason),
        watched_test(more_than_the_credit_is_refused),
        watched_test(clients_are_at_home_and_reach_all_nodes),
        watched_test(a_pe_that_lies_about_itself_is_not_heard_elsewhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
