/*
 * What waits in a router, and what waits behind it: for memory, for credit, for the body of a
 * message to many. It goes on in its order, once, when there is what it waits for.
 */
#include "tests/unit/plane_fixture.h"

#include "daemon/router/router_internal.h"

#define MIB (1ull << 20)
#define MOST_BLOCKS 4096

/* ---- the router's memory ---- */

struct hog {
    uint64_t blocks[MOST_BLOCKS];
    uint32_t count;
};

/* Take all that there is. */
static void memory_take(struct host *host, struct hog *hog)
{
    hog->count = 0;
    plane_lock(host->plane);
    for (size_t size = 16 * REGION_SPAN; size >= C4P_ENVELOPE_SIZE; size -= CACHE_LINE) {
        uint64_t offset;

        while ((offset = region_alloc(host->router->region, size)) != 0) {
            require(hog->count < MOST_BLOCKS);
            hog->blocks[hog->count++] = offset;
        }
    }
    plane_unlock(host->plane);
}

static void memory_give(struct host *host, struct hog *hog)
{
    plane_lock(host->plane);
    while (hog->count > 0)
        region_free(host->router->region, hog->blocks[--hog->count]);
    plane_unlock(host->plane);
}

/* ---- looking in ---- */

/* What local endpoints send, and waits behind what has no memory. */
static unsigned routed(struct host *host)
{
    struct routed *one;
    unsigned count;

    plane_lock(host->plane);
    DL_COUNT(host->router->routed, one, count);
    plane_unlock(host->plane);
    return count;
}

/* A copy of a stream's state. */
static struct lane lane_of(struct host *host, uint32_t node, enum collectives_stream stream)
{
    struct lane lane;

    plane_lock(host->plane);
    memcpy((void *)&lane, (void *)&host->router->nodes[node].lanes[stream], sizeof(lane));
    plane_unlock(host->plane);
    return lane;
}

static int64_t look_at(struct host *host)
{
    int64_t at;

    plane_lock(host->plane);
    at = host->plane->look_at;
    plane_unlock(host->plane);
    return at;
}

/* Two turns of the plane pass: what it can do it has done. */
static void turns_pass(struct bench *bench, struct host *host)
{
    for (int turn = 0; turn < 2; turn++) {
        plane_lock(host->plane);
        host->plane->look_at = 1; /* long ago: it looks in its next turn, and says when again */
        plane_ring(host->plane);
        plane_unlock(host->plane);
        await(bench, look_at(host) != 1);
    }
}

static bool has_mail(struct host *host, uint32_t slot)
{
    return inbox_has_mail(&host->segment, slot) || host->chain[slot] != 0;
}

/* ---- from local PEs ---- */

/* A PE sends to all PEs of other nodes. */
static uint64_t send_to_many(struct bench *bench, uint32_t pe, uint64_t size, uint32_t seed)
{
    uint64_t offset = block_make(bench, pe, C4P_ROUTER | pe / NODE_PES, size, seed);
    struct c4p_envelope *block = segment_block(&host_of(bench, pe)->segment, offset);

    require(offset != 0);
    block->flags = C4P_MULTICAST;
    block->index[1] = (int32_t)(bench->count * NODE_PES);
    block_push(bench, pe, offset);
    return offset;
}

static void what_is_sent_behind_a_message_to_many_that_has_no_memory_keeps_its_place(void **state)
{
    struct bench bench;
    struct host *host = &bench.hosts[0];
    struct hog hog;

    (void)state;
    bench_open(&bench, 3, true, 16 * MIB);
    memory_take(host, &hog);
    send_to_many(&bench, 0, 100, 1);
    message_send(&bench, 0, 2, 10, 2);
    message_send(&bench, 0, 4, MIB, 3);
    send_to_many(&bench, 0, 5000, 4);
    message_send(&bench, 0, 2, 10, 5);
    await(&bench, routed(host) == 5);
    turns_pass(&bench, host);
    assert_int_equal(routed(host), 5);
    assert_int_equal(plane_figures(host->plane).sent, 0);
    memory_give(host, &hog);
    for (uint32_t pe = 3; pe <= 5; pe += 2) {
        message_expect(&bench, pe, 0, 100, 1);
        message_expect(&bench, pe, 0, 5000, 4);
    }
    message_expect(&bench, 2, 0, 100, 1);
    message_expect(&bench, 2, 0, 10, 2);
    message_expect(&bench, 2, 0, 5000, 4);
    message_expect(&bench, 2, 0, 10, 5);
    message_expect(&bench, 4, 0, 100, 1);
    message_expect(&bench, 4, 0, MIB, 3);
    message_expect(&bench, 4, 0, 5000, 4);
    await(&bench, region_left(&bench, 0) == 0);
    assert_int_equal(routed(host), 0);
    assert_int_equal(plane_figures(host->plane).sent, 7); /* two for many, to two nodes each */
    bench_close(&bench);
}

static void a_block_that_is_overwritten_while_it_waits_is_dropped_and_no_other(void **state)
{
    struct bench bench;
    struct host *host = &bench.hosts[0];
    struct hog hog;
    uint64_t first, third;

    (void)state;
    bench_open(&bench, 3, true, 16 * MIB);
    memory_take(host, &hog);
    first = send_to_many(&bench, 0, 100, 1);
    message_send(&bench, 0, 2, 10, 2);
    third = send_to_many(&bench, 0, 100, 3);
    message_send(&bench, 0, 2, 10, 4);
    await(&bench, routed(host) == 4);
    segment_block(&host->segment, first)->version = 0;
    segment_block(&host->segment, third)->target = 400;
    segment_block(&host->segment, third)->flags = 0;
    memory_give(host, &hog);
    message_expect(&bench, 2, 0, 10, 2);
    message_expect(&bench, 2, 0, 10, 4);
    assert_int_equal(router_dropped(host->router), 2);
    await(&bench, region_left(&bench, 0) == 0);
    assert_int_equal(host->corrupted, 0);
    bench_close(&bench);
}

static void a_router_ends_while_something_waits_in_it(void **state)
{
    struct bench bench;
    struct hog hog;

    (void)state;
    bench_open(&bench, 3, true, 16 * MIB);
    memory_take(&bench.hosts[0], &hog);
    send_to_many(&bench, 0, 100, 1);
    message_send(&bench, 0, 2, 10, 2);
    await(&bench, routed(&bench.hosts[0]) == 2);
    bench_close(&bench);
}

/* ---- from other nodes ---- */

static void without_memory_no_more_than_the_window_is_sent_and_then_it_goes_on(void **state)
{
    struct bench bench;
    struct hog hog;

    (void)state;
    bench_open(&bench, 2, true, 32 * MIB);
    memory_take(&bench.hosts[1], &hog);
    for (uint32_t i = 0; i < 6; i++)
        message_send(&bench, 0, 2, MIB, i);
    await(&bench, lane_of(&bench.hosts[0], 1, STREAM_DIRECT).sent == STREAM_WINDOW &&
                      lane_of(&bench.hosts[1], 0, STREAM_DIRECT).in.received == STREAM_WINDOW);
    turns_pass(&bench, &bench.hosts[0]);
    turns_pass(&bench, &bench.hosts[1]);
    assert_int_equal(lane_of(&bench.hosts[0], 1, STREAM_DIRECT).sent, STREAM_WINDOW);
    assert_int_equal(lane_of(&bench.hosts[0], 1, STREAM_DIRECT).count, 2);
    assert_false(has_mail(&bench.hosts[1], 0));
    memory_give(&bench.hosts[1], &hog);
    for (uint32_t i = 0; i < 6; i++)
        message_expect(&bench, 2, 0, MIB, i);
    await(&bench, region_left(&bench, 0) == 0);
    assert_true(lane_of(&bench.hosts[0], 1, STREAM_DIRECT).may_send > STREAM_WINDOW);
    bench_close(&bench);
}

/* What has arrived whole is kept, and what is behind it in its stream comes after it. */
static void a_message_to_many_without_memory_where_it_arrives_holds_up_its_stream_only(void **state)
{
    const size_t size = C4P_ENVELOPE_SIZE + 5000;
    struct bench bench;
    struct host *host = &bench.hosts[1];
    struct hog hog;
    uint64_t room;

    (void)state;
    bench_open(&bench, 3, true, 16 * MIB);
    /* There is room for it, and none for the messages by which PEs share it. */
    plane_lock(host->plane);
    require((room = region_alloc(host->router->region, size)) != 0);
    plane_unlock(host->plane);
    memory_take(host, &hog);
    plane_lock(host->plane);
    region_free(host->router->region, room);
    plane_unlock(host->plane);
    send_to_many(&bench, 0, 5000, 1);
    message_send(&bench, 0, 2, 10, 2);
    await(&bench, lane_of(host, 0, STREAM_DIRECT).held != 0 &&
                      lane_of(host, 0, STREAM_DIRECT).in.received == size + C4P_ENVELOPE_SIZE + 10);
    turns_pass(&bench, host);
    assert_int_not_equal(lane_of(host, 0, STREAM_DIRECT).held, 0);
    assert_false(has_mail(host, 0));
    assert_false(has_mail(host, 1));
    message_expect(&bench, 4, 0, 5000, 1); /* another node has it */
    memory_give(host, &hog);
    message_expect(&bench, 2, 0, 5000, 1);
    message_expect(&bench, 2, 0, 10, 2);
    message_expect(&bench, 3, 0, 5000, 1);
    assert_int_equal(lane_of(host, 0, STREAM_DIRECT).held, 0);
    bench_close(&bench);
}

/* A body for all PEs of three nodes as node 1 sends it along the tree, its first multicast. */
static void say_body(struct stranger *stranger, uint32_t seed)
{
    struct {
        struct c4p_envelope envelope;
        uint8_t body[40];
    } block = {.envelope = envelope_to(2, C4P_ROUTER, sizeof(block.body))};

    block.envelope.flags = C4P_MULTICAST;
    block.envelope.index[1] = 3 * NODE_PES;
    block.envelope.index[2] = 1;
    block.envelope.sequence = seed;
    memset(block.body, (int)(seed * 7 + sizeof(block.body)), sizeof(block.body));
    stranger_send(stranger, &block, sizeof(block));
}

static void what_comes_behind_a_mark_waits_for_the_body_that_comes_along_the_tree(void **state)
{
    struct c4p_envelope mark = envelope_to(C4P_ROUTER | 1, C4P_ROUTER, 0);
    struct stranger direct, relay;
    struct bench bench;
    struct host *host = &bench.hosts[0];
    struct lane lane;

    (void)state;
    bench_open(&bench, 3, true, 16 * MIB);
    stranger_open(&bench, &direct, &bench.hosts[1].key, bench.hosts[1].secret_key);
    relay = direct;
    relay.header.stream = FRAME_RELAY;
    mark.kind = C4P_MARK;
    mark.sequence = 1;
    stranger_say(&direct, 2, 0); /* before it */
    stranger_send(&direct, &mark, sizeof(mark));
    direct.header.position += sizeof(mark);
    stranger_say(&direct, 3, 0);
    stranger_say(&direct, 3, 1);
    await(&bench, lane_of(host, 1, STREAM_DIRECT).in.received == 4 * C4P_ENVELOPE_SIZE);
    message_expect(&bench, 0, 2, 0, 0);
    turns_pass(&bench, host);
    lane = lane_of(host, 1, STREAM_DIRECT);
    assert_int_not_equal(lane.held, 0);
    assert_true(stream_waits(&lane.in));
    assert_false(has_mail(host, 0));
    assert_false(has_mail(host, 1));
    message_send(&bench, 4, 0, 10, 7); /* another node's stream goes on */
    message_expect(&bench, 0, 4, 10, 7);
    say_body(&relay, 8);
    message_expect(&bench, 0, 2, 40, 8);
    message_expect(&bench, 0, 3, 0, 0);
    message_expect(&bench, 1, 2, 40, 8);
    message_expect(&bench, 1, 3, 0, 0);
    turns_pass(&bench, host);
    lane = lane_of(host, 1, STREAM_DIRECT);
    assert_int_equal(lane.held, 0);
    assert_false(stream_waits(&lane.in));
    assert_false(has_mail(host, 0));
    assert_int_equal(host->corrupted, 0);
    zmq_close(direct.socket);
    bench_close(&bench);
}

/* ---- from clients elsewhere ---- */

static void on_mail(void *context)
{
    (void)context;
}

static enum stream_answer client_sends(struct bench *bench, uint32_t client, uint32_t target,
                                       uint32_t seed)
{
    struct router *router = bench->hosts[0].router;
    struct c4p_envelope envelope = envelope_to(client, target, 500);
    enum stream_answer answer;
    void *body = NULL;

    envelope.sequence = seed;
    answer = router_remote_begin(router, client, &envelope, &body);
    if (answer != STREAM_TAKE)
        return answer;
    memset(body, (int)(seed * 7 + 500), 500);
    router_remote_end(router, client);
    return answer;
}

static void
a_remote_client_s_message_waits_for_memory_at_home_and_then_reaches_any_node(void **state)
{
    const struct router_remote_listener listener = {on_mail, on_mail, NULL};
    struct bench bench;
    struct hog hog;
    uint32_t client;

    (void)state;
    bench_open(&bench, 2, true, 16 * MIB);
    client = router_remote_enter(bench.hosts[0].router, &listener);
    assert_int_not_equal(client, 0);
    memory_take(&bench.hosts[0], &hog);
    for (uint32_t target = 0; target < 4; target += 2)
        for (int i = 0; i < 3; i++)
            assert_int_equal(client_sends(&bench, client, target, 1), STREAM_LATER);
    assert_int_equal(atomic_load(&segment_endpoint(&bench.hosts[0].segment,
                                                   segment_slot(&bench.hosts[0].segment, client))
                                      ->sent),
                     0);
    memory_give(&bench.hosts[0], &hog);
    for (uint32_t target = 0; target < 4; target += 2) {
        assert_int_equal(client_sends(&bench, client, target, 1), STREAM_TAKE);
        assert_int_equal(client_sends(&bench, client, target, 2), STREAM_TAKE);
        message_expect(&bench, target, client, 500, 1);
        message_expect(&bench, target, client, 500, 2);
        assert_false(has_mail(host_of(&bench, target), 0));
    }
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(what_is_sent_behind_a_message_to_many_that_has_no_memory_keeps_its_place),
        watched_test(a_block_that_is_overwritten_while_it_waits_is_dropped_and_no_other),
        watched_test(a_router_ends_while_something_waits_in_it),
        watched_test(without_memory_no_more_than_the_window_is_sent_and_then_it_goes_on),
        watched_test(a_message_to_many_without_memory_where_it_arrives_holds_up_its_stream_only),
        watched_test(what_comes_behind_a_mark_waits_for_the_body_that_comes_along_the_tree),
        watched_test(a_remote_client_s_message_waits_for_memory_at_home_and_then_reaches_any_node),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
