/*
 * Multicasts and reductions over nodes when there is no memory now: nothing is lost, doubled
 * or out of order, nothing half done is left, and it goes on when there is room.
 */
#include "tests/unit/collectives_fixture.h"

#define CONTROL C4P_ENVELOPE_SIZE /* the size of blocks without a body */
#define LARGE 60000               /* a body that goes along a tree */

static uint32_t first_pe(const struct bench *bench)
{
    return bench->self * NODE_PES;
}

/* A message to many from a PE of this node. */
static uint64_t own_to_all(struct bench *bench, uint64_t size, uint32_t number)
{
    return block_make(bench, bench->pe_region,
                      to_many(first_pe(bench), 0, bench->nodes * NODE_PES, size, number));
}

/* ---- messages to many, where they begin ---- */

static void a_message_to_many_is_sent_to_all_nodes_or_to_none(void **state)
{
    struct bench bench;
    uint64_t offset;

    (void)state;
    bench_open(&bench, 4, 1);
    memory_take(&bench, CONTROL);
    offset = own_to_all(&bench, 200, 1);
    held_up_until(&bench, 3, 1, STREAM_DIRECT, offset);
    expect_sent(&bench, 0, STREAM_DIRECT, C4P_CALL, 1);
    expect_sent(&bench, 2, STREAM_DIRECT, C4P_CALL, 1);
    expect_sent(&bench, 3, STREAM_DIRECT, C4P_CALL, 1);
    bench_close(&bench);
}

static void a_body_that_a_message_to_many_shares_is_counted_once_for_each_node(void **state)
{
    struct c4p_envelope envelope = to_many(0, 0, 3 * NODE_PES, 0, 1);
    struct bench bench;
    uint64_t holder, offset;

    (void)state;
    bench_open(&bench, 3, 0);
    holder = block_make(&bench, bench.pe_region,
                        (struct c4p_envelope){.kind = C4P_CALL, .method = 1, .body_size = 3000});
    atomic_store(&block_at(&bench, holder)->refs, 2); /* a PE of this node has it, too */
    envelope.body = holder;
    offset = block_make(&bench, bench.pe_region, envelope);
    block_at(&bench, offset)->body_size = 3000;
    memory_take(&bench, CONTROL);
    for (uint32_t spares = 0; spares < 2; spares++) {
        memory_leave(&bench, spares);
        assert_int_equal(offer(&bench, 0, STREAM_DIRECT, offset), COLLECTIVES_LATER);
        assert_int_equal(atomic_load(&block_at(&bench, holder)->refs), 2);
    }
    memory_leave(&bench, 2);
    assert_int_equal(offer(&bench, 0, STREAM_DIRECT, offset), COLLECTIVES_TAKEN);
    expect_sent(&bench, 1, STREAM_DIRECT, C4P_CALL, 1);
    expect_sent(&bench, 2, STREAM_DIRECT, C4P_CALL, 1);
    assert_int_equal(atomic_load(&block_at(&bench, holder)->refs), 1);
    region_free(bench.pe_region, holder);
    bench_close(&bench);
}

/* From node 0 of five: to its children, nodes 1 and 3, with a mark for each of the four. */
static void sent_along_the_tree(struct bench *bench, uint32_t call, uint32_t multicast)
{
    for (uint32_t node = 1; node < 5; node++) {
        expect_sent(bench, node, STREAM_DIRECT, C4P_MARK, 0);
        assert_int_equal(bench->events[bench->read - 1].envelope.sequence, multicast);
    }
    for (uint32_t node = 1; node < 5; node += 2) {
        expect_sent(bench, node, STREAM_RELAY, C4P_CALL, call);
        assert_int_equal(bench->events[bench->read - 1].envelope.index[2], multicast);
    }
}

static void mark_comes_back(struct bench *bench, uint32_t from, uint32_t multicast)
{
    const struct c4p_envelope mark = {.kind = C4P_MARK,
                                      .flags = C4P_RETURN,
                                      .source = C4P_ROUTER | from,
                                      .target = C4P_ROUTER | bench->self,
                                      .sequence = multicast};

    assert_int_equal(offer(bench, from, STREAM_DIRECT, block_make(bench, bench->region, mark)),
                     COLLECTIVES_TAKEN);
}

static void a_large_message_and_its_marks_are_sent_together_or_not_at_all(void **state)
{
    struct bench bench;
    uint64_t offset;

    (void)state;
    bench_open(&bench, 5, 0);
    memory_take(&bench, CONTROL);
    offset = own_to_all(&bench, LARGE, 1);
    held_up_until(&bench, 6, 0, STREAM_DIRECT, offset);
    sent_along_the_tree(&bench, 1, 1); /* the tries before it have taken no number */
    bench_close(&bench);
}

/* The credit of the tree: it is used up by the first, and there again when all nodes have it. */
static void without_room_along_the_tree_a_large_message_goes_straight_to_each_node(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench, 5, 0);
    assert_int_equal(offer(&bench, 0, STREAM_DIRECT, own_to_all(&bench, LARGE, 1)),
                     COLLECTIVES_TAKEN);
    sent_along_the_tree(&bench, 1, 1);
    for (uint32_t round = 0; round < 4; round++) {
        assert_int_equal(offer(&bench, 0, STREAM_DIRECT, own_to_all(&bench, LARGE, 2)),
                         COLLECTIVES_TAKEN);
        for (uint32_t node = 1; node < 5; node++)
            expect_sent(&bench, node, STREAM_DIRECT, C4P_CALL, 2);
        nothing_more(&bench);
        mark_comes_back(&bench, 1 + round, 1);
    }
    assert_int_equal(offer(&bench, 0, STREAM_DIRECT, own_to_all(&bench, LARGE, 3)),
                     COLLECTIVES_TAKEN);
    sent_along_the_tree(&bench, 3, 2);
    bench_close(&bench);
}

/* ---- messages to many, where they arrive ---- */

/* Of node 0, for all PEs. */
static uint64_t foreign_to_all(struct bench *bench, uint64_t size, uint32_t number)
{
    return block_make(bench, bench->region, to_many(0, 0, bench->nodes * NODE_PES, size, number));
}

static void delivered_to_all(struct bench *bench, uint64_t size, uint32_t number)
{
    for (uint32_t i = 0; i < NODE_PES; i++)
        expect_delivered(bench, first_pe(bench) + i, size, number);
}

static void a_small_message_is_copied_for_every_pe_or_for_none(void **state)
{
    struct bench bench;
    uint64_t offset;

    (void)state;
    bench_open(&bench, 3, 1);
    offset = foreign_to_all(&bench, 700, 1);
    memory_take(&bench, C4P_ENVELOPE_SIZE + 700);
    held_up_until(&bench, NODE_PES - 1, 0, STREAM_DIRECT, offset);
    delivered_to_all(&bench, 700, 1);
    bench_close(&bench);
}

static void a_larger_message_is_shared_by_all_pes_or_given_to_none(void **state)
{
    struct bench bench;
    uint64_t offset;

    (void)state;
    bench_open(&bench, 3, 1);
    offset = foreign_to_all(&bench, 5000, 1);
    memory_take(&bench, CONTROL);
    held_up_until(&bench, NODE_PES, 0, STREAM_DIRECT, offset);
    delivered_to_all(&bench, 5000, 1);
    bench_close(&bench);
}

/* A body as it comes to this node along the tree from node 0, and the mark that is its place. */
static uint64_t relayed(struct bench *bench, uint32_t number, uint32_t multicast)
{
    struct c4p_envelope envelope = to_many(0, 0, bench->nodes * NODE_PES, LARGE / 4, number);

    envelope.index[2] = (int32_t)multicast;
    return block_make(bench, bench->region, envelope);
}

static uint64_t mark_of(struct bench *bench, uint32_t multicast)
{
    return block_make(bench, bench->region,
                      (struct c4p_envelope){.kind = C4P_MARK,
                                            .source = C4P_ROUTER,
                                            .target = C4P_ROUTER | bench->self,
                                            .sequence = multicast});
}

static void mark_was_returned(struct bench *bench, uint32_t multicast)
{
    const struct event *event = event_next(bench, SENT);

    assert_int_equal(event->node, 0);
    assert_int_equal(event->envelope.kind, C4P_MARK);
    assert_int_equal(event->envelope.flags, C4P_RETURN);
    assert_int_equal(event->envelope.sequence, multicast);
    assert_int_equal(event->envelope.source, C4P_ROUTER | bench->self);
}

static void what_comes_along_the_tree_is_passed_on_to_all_children_or_to_none(void **state)
{
    struct bench bench;
    uint64_t offset, mark;

    (void)state;
    bench_open(&bench, 7, 1); /* whose children are nodes 2 and 3 */
    offset = relayed(&bench, 1, 1);
    mark = mark_of(&bench, 1);
    memory_take(&bench, CONTROL);
    held_up_until(&bench, 2, 0, STREAM_RELAY, offset);
    expect_sent(&bench, 2, STREAM_RELAY, C4P_CALL, 1);
    expect_sent(&bench, 3, STREAM_RELAY, C4P_CALL, 1);
    expect_resumed(&bench, 0); /* its mark may have come before */
    memory_leave(&bench, ALL_SPARES);
    assert_int_equal(offer(&bench, 0, STREAM_DIRECT, mark), COLLECTIVES_TAKEN);
    delivered_to_all(&bench, LARGE / 4, 1);
    mark_was_returned(&bench, 1);
    bench_close(&bench);
}

static void a_mark_without_its_body_waits_for_that_and_for_no_memory(void **state)
{
    struct bench bench;
    uint64_t first, second;

    (void)state;
    bench_open(&bench, 3, 1);
    first = mark_of(&bench, 1);
    second = mark_of(&bench, 2);
    for (int i = 0; i < 3; i++)
        assert_int_equal(offer(&bench, 0, STREAM_DIRECT, first), COLLECTIVES_LATER);
    assert_int_equal(bench.wake_at, 0);
    /* The body of another one is no reason to go on, though it is looked at again. */
    assert_int_equal(offer(&bench, 0, STREAM_RELAY, relayed(&bench, 2, 2)), COLLECTIVES_TAKEN);
    expect_resumed(&bench, 0);
    assert_int_equal(offer(&bench, 0, STREAM_DIRECT, first), COLLECTIVES_LATER);
    nothing_more(&bench);
    assert_int_equal(offer(&bench, 0, STREAM_RELAY, relayed(&bench, 1, 1)), COLLECTIVES_TAKEN);
    expect_resumed(&bench, 0);
    assert_int_equal(offer(&bench, 0, STREAM_DIRECT, first), COLLECTIVES_TAKEN);
    delivered_to_all(&bench, LARGE / 4, 1);
    mark_was_returned(&bench, 1);
    assert_int_equal(offer(&bench, 0, STREAM_DIRECT, second), COLLECTIVES_TAKEN);
    delivered_to_all(&bench, LARGE / 4, 2);
    mark_was_returned(&bench, 2);
    bench_close(&bench);
}

static void a_body_is_delivered_to_all_pes_once_however_often_its_mark_is_held_up(void **state)
{
    struct bench bench;
    uint64_t mark;

    (void)state;
    bench_open(&bench, 3, 1);
    assert_int_equal(offer(&bench, 0, STREAM_RELAY, relayed(&bench, 1, 1)), COLLECTIVES_TAKEN);
    expect_resumed(&bench, 0);
    mark = mark_of(&bench, 1);
    memory_take(&bench, CONTROL);
    held_up_until(&bench, NODE_PES, 0, STREAM_DIRECT, mark);
    delivered_to_all(&bench, LARGE / 4, 1);
    mark_was_returned(&bench, 1);
    bench_close(&bench);
}

static void a_body_that_made_room_comes_back_when_there_is_some_for_it(void **state)
{
    struct bench bench;
    uint64_t mark, used;

    (void)state;
    bench_open(&bench, 3, 1);
    assert_int_equal(offer(&bench, 0, STREAM_RELAY, relayed(&bench, 1, 1)), COLLECTIVES_TAKEN);
    expect_resumed(&bench, 0);
    mark = mark_of(&bench, 1);
    used = region_used(bench.region);
    collectives_make_room(bench.collectives);
    assert_true(region_used(bench.region) + LARGE / 4 < used);
    memory_take(&bench, C4P_ENVELOPE_SIZE + LARGE / 4);
    assert_int_equal(offer(&bench, 0, STREAM_DIRECT, mark), COLLECTIVES_LATER);
    tick(&bench);
    expect_resumed(&bench, 0);
    /* Now there is room for the body, and none for the messages that share it. */
    memory_leave(&bench, 1);
    assert_int_equal(offer(&bench, 0, STREAM_DIRECT, mark), COLLECTIVES_LATER);
    used = region_used(bench.region);
    collectives_make_room(bench.collectives);
    assert_true(region_used(bench.region) + LARGE / 4 < used);
    tick(&bench);
    expect_resumed(&bench, 0);
    memory_leave(&bench, ALL_SPARES);
    assert_int_equal(offer(&bench, 0, STREAM_DIRECT, mark), COLLECTIVES_TAKEN);
    delivered_to_all(&bench, LARGE / 4, 1);
    mark_was_returned(&bench, 1);
    bench_close(&bench);
}

static void all_streams_that_are_held_up_are_asked_again_together(void **state)
{
    struct bench bench;
    uint64_t from_0, own;

    (void)state;
    bench_open(&bench, 4, 2);
    from_0 = foreign_to_all(&bench, 5000, 1);
    own = own_to_all(&bench, 100, 2);
    memory_take(&bench, CONTROL);
    assert_int_equal(offer(&bench, 2, STREAM_DIRECT, own), COLLECTIVES_LATER);
    assert_int_equal(offer(&bench, 0, STREAM_DIRECT, from_0), COLLECTIVES_LATER);
    assert_int_equal(offer(&bench, 0, STREAM_DIRECT, from_0), COLLECTIVES_LATER);
    tick(&bench);
    expect_resumed(&bench, 0);
    expect_resumed(&bench, 2);
    nothing_more(&bench);
    assert_int_equal(bench.wake_at, 0); /* who is not held up again is not asked again */
    memory_leave(&bench, ALL_SPARES);
    assert_int_equal(offer(&bench, 0, STREAM_DIRECT, from_0), COLLECTIVES_TAKEN);
    delivered_to_all(&bench, 5000, 1);
    assert_int_equal(offer(&bench, 2, STREAM_DIRECT, own), COLLECTIVES_TAKEN);
    expect_sent(&bench, 0, STREAM_DIRECT, C4P_CALL, 2);
    expect_sent(&bench, 1, STREAM_DIRECT, C4P_CALL, 2);
    expect_sent(&bench, 3, STREAM_DIRECT, C4P_CALL, 2);
    bench_close(&bench);
}

/* ---- results of reductions ---- */

/* A node's part of a sum: one argument, of `size` bytes that `value` fills. */
static void part_offer(struct bench *bench, uint32_t node, const struct c4p_tail *like,
                       const void *value, uint64_t size)
{
    struct region *region = node == bench->self ? bench->pe_region : bench->region;
    struct c4p_tail tail = *like;
    struct c4p_envelope envelope = {.kind = C4P_PARTIAL,
                                    .source = node * NODE_PES,
                                    .target = C4P_ROUTER | bench->self,
                                    .collection = 77,
                                    .sequence = (uint32_t)like->id,
                                    .args = 1,
                                    .body_size = size + C4P_TAIL_SIZE};
    uint64_t offset = block_make(bench, region, envelope);
    uint8_t *body = bench->segment.base + offset + C4P_ENVELOPE_SIZE;

    tail.total = bench->nodes * NODE_PES;
    tail.count = NODE_PES;
    tail.origin = tail.source = node * NODE_PES;
    memcpy(body, value, size);
    tail_write(body, envelope.body_size, &tail);
    assert_int_equal(offer(bench, node, STREAM_DIRECT, offset), COLLECTIVES_TAKEN);
}

static const struct c4p_tail sum = {
    .placement = PLACE_EACH, .operation = OP_SUM, .target = TARGET_ALL};

static void expect_reduced(struct bench *bench, enum event_kind kind, uint32_t target,
                           uint32_t sequence)
{
    const struct event *event = event_next(bench, kind);

    assert_int_equal(event->envelope.kind, C4P_REDUCED);
    assert_int_equal(event->envelope.target, target);
    assert_int_equal(event->envelope.sequence, sequence);
}

/* Two sums for all PEs, and one between them for a future of PE 1, which would need no memory. */
static void results_without_memory_wait_in_the_order_in_which_they_were_made(void **state)
{
    const uint8_t five[] = {0x04, 5};
    struct c4p_tail third = sum, second = sum;
    const struct event *event;
    struct bench bench;
    uint64_t sent;

    (void)state;
    bench_open(&bench, 2, 0);
    second.target = TARGET_FUTURE;
    second.owner = second.id = 1;
    third.id = 2;
    for (uint32_t i = 0; i < 3; i++) {
        const struct c4p_tail *tails[] = {&sum, &second, &third};

        part_offer(&bench, 1, tails[i], five, sizeof(five));
        if (i == 0)
            memory_take(&bench, CONTROL);
        if (i > 0)
            memory_leave(&bench, 0);
        part_offer(&bench, 0, tails[i], five, sizeof(five));
        memory_leave(&bench, 2); /* for the part that comes, and too little for what waits */
    }
    nothing_more(&bench);
    sent = atomic_load(&segment_endpoint(&bench.segment, NODE_PES)->sent);
    assert_int_equal(sent, 6 + 1 + 6); /* quiescence knows of what waits */
    for (uint32_t spares = 0; spares < NODE_PES + 1; spares++) {
        memory_leave(&bench, spares);
        tick(&bench);
        nothing_more(&bench);
    }
    memory_leave(&bench, NODE_PES + 1);
    tick(&bench);
    expect_reduced(&bench, SENT, C4P_ROUTER | 1, 0);
    for (uint32_t pe = 0; pe < NODE_PES; pe++)
        expect_reduced(&bench, DELIVERED, pe, 0);
    event = event_next(&bench, DELIVERED);
    assert_int_equal(event->envelope.kind, C4P_FUTURE);
    assert_int_equal(event->envelope.target, 1);
    expect_reduced(&bench, SENT, C4P_ROUTER | 1, 2);
    for (uint32_t pe = 0; pe < NODE_PES; pe++)
        expect_reduced(&bench, DELIVERED, pe, 2);
    nothing_more(&bench);
    assert_int_equal(atomic_load(&segment_endpoint(&bench.segment, NODE_PES)->sent), sent);
    bench_close(&bench);
}

/* Strings, which routers do not add: they are for PE 0, each part by itself. */
static void what_waits_outside_of_the_segment_comes_back_and_keeps_its_order(void **state)
{
    const uint8_t text[] = {0x08, 2, 'o', 'k'}; /* whatever it is: no number */
    struct bench bench;

    (void)state;
    bench_open(&bench, 3, 0);
    part_offer(&bench, 2, &sum, text, sizeof(text));
    part_offer(&bench, 1, &sum, text, sizeof(text));
    collectives_make_room(bench.collectives);
    assert_int_equal(region_used(bench.region), 0); /* both parts are outside */
    memory_take(&bench, CONTROL);
    part_offer(&bench, 0, &sum, text, sizeof(text));
    /* Its own part needs no memory, the next does: the last waits behind that. */
    assert_int_equal(event_next(&bench, DELIVERED)->envelope.source, C4P_ROUTER);
    nothing_more(&bench);
    memory_leave(&bench, SPARES);
    tick(&bench); /* more than half of the region is used: what we make leaves that to others */
    nothing_more(&bench);
    memory_leave(&bench, ALL_SPARES);
    tick(&bench);
    for (uint32_t i = 0; i < 2; i++) {
        const struct event *event = event_next(&bench, DELIVERED);

        assert_int_equal(event->envelope.kind, C4P_NODE_PART);
        assert_int_equal(event->envelope.target, 0);
        assert_int_equal(event->envelope.body_size, sizeof(text) + C4P_TAIL_SIZE);
    }
    nothing_more(&bench);
    bench_close(&bench);
}

static void a_job_that_ends_while_something_waits_leaves_nothing(void **state)
{
    const uint8_t text[] = {0x08, 2, 'o', 'k'};
    struct c4p_tail waits = sum;
    struct bench bench;

    (void)state;
    bench_open(&bench, 3, 0);
    part_offer(&bench, 2, &sum, text, sizeof(text));
    part_offer(&bench, 1, &sum, text, sizeof(text));
    waits.id = 1;
    part_offer(&bench, 2, &waits, text, sizeof(text));
    assert_int_equal(
        offer(&bench, 1, STREAM_RELAY, block_make(&bench, bench.region, to_many(3, 0, 9, 100, 1))),
        COLLECTIVES_TAKEN);
    expect_resumed(&bench, 1);
    collectives_make_room(bench.collectives);
    assert_int_equal(region_used(bench.region), 0);
    memory_take(&bench, CONTROL);
    part_offer(&bench, 0, &sum, text, sizeof(text));
    event_next(&bench, DELIVERED);
    bench_close(&bench); /* a part that was made, a part that came and a body are outside */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(a_message_to_many_is_sent_to_all_nodes_or_to_none),
        watched_test(a_body_that_a_message_to_many_shares_is_counted_once_for_each_node),
        watched_test(a_large_message_and_its_marks_are_sent_together_or_not_at_all),
        watched_test(without_room_along_the_tree_a_large_message_goes_straight_to_each_node),
        watched_test(a_small_message_is_copied_for_every_pe_or_for_none),
        watched_test(a_larger_message_is_shared_by_all_pes_or_given_to_none),
        watched_test(what_comes_along_the_tree_is_passed_on_to_all_children_or_to_none),
        watched_test(a_mark_without_its_body_waits_for_that_and_for_no_memory),
        watched_test(a_body_is_delivered_to_all_pes_once_however_often_its_mark_is_held_up),
        watched_test(a_body_that_made_room_comes_back_when_there_is_some_for_it),
        watched_test(all_streams_that_are_held_up_are_asked_again_together),
        watched_test(results_without_memory_wait_in_the_order_in_which_they_were_made),
        watched_test(what_waits_outside_of_the_segment_comes_back_and_keeps_its_order),
        watched_test(a_job_that_ends_while_something_waits_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
