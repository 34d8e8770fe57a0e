/*
 * What routers tell each other of quiescence when there is no memory for it now: reports, questions
 * and announcements are made later, once, to all or to nobody, and only while they are true.
 */
#include "daemon/router/quiet.h"
#include "tests/unit/collectives_fixture.h"

#define CONTROL C4P_ENVELOPE_SIZE /* the size of blocks without a body */

static void want_quiescence(struct bench *bench, uint32_t slot, uint32_t wanted)
{
    atomic_store(&segment_endpoint(&bench->segment, slot)->quiescence_wanted, wanted);
}

static struct c4p_envelope counts(enum c4p_kind kind, uint32_t from, uint32_t to, uint64_t sent,
                                  uint64_t handled)
{
    return (struct c4p_envelope){.kind = (uint8_t)kind,
                                 .source = C4P_ROUTER | from,
                                 .target = C4P_ROUTER | to,
                                 .collection = sent,
                                 .future = handled};
}

static void expect_told(struct bench *bench, uint32_t pe)
{
    const struct event *event = event_next(bench, DELIVERED);

    assert_int_equal(event->envelope.kind, C4P_QUIESCENT);
    assert_int_equal(event->envelope.target, pe);
}

static void quiescence_is_told_to_all_who_wait_for_it_or_to_nobody_yet(void **state)
{
    struct bench bench;
    uint64_t offset;

    (void)state;
    bench_open(&bench, 2, 1);
    want_quiescence(&bench, 0, 1);
    want_quiescence(&bench, 2, 1);
    offset = block_make(&bench, bench.region, counts(C4P_QUIESCENT, 0, 1, 0, 0));
    memory_take(&bench, CONTROL);
    held_up_until(&bench, 2, 0, STREAM_DIRECT, offset);
    expect_told(&bench, NODE_PES);
    expect_told(&bench, NODE_PES + 2);
    bench_close(&bench);
}

static void quiescence_that_is_over_before_there_was_memory_is_told_to_nobody(void **state)
{
    struct bench bench;
    uint64_t offset;

    (void)state;
    bench_open(&bench, 2, 1);
    want_quiescence(&bench, 0, 1);
    offset = block_make(&bench, bench.region, counts(C4P_QUIESCENT, 0, 1, 0, 0));
    memory_take(&bench, CONTROL);
    assert_int_equal(offer(&bench, 0, STREAM_DIRECT, offset), COLLECTIVES_LATER);
    atomic_fetch_add(&segment_endpoint(&bench.segment, 1)->sent, 1);
    tick(&bench);
    expect_resumed(&bench, 0);
    memory_leave(&bench, 2);
    assert_int_equal(offer(&bench, 0, STREAM_DIRECT, offset), COLLECTIVES_TAKEN);
    assert_int_equal(bench.released, 1);
    bench_close(&bench);
}

/* A PE of this node says that all of them sleep. */
static void fall_asleep(struct bench *bench)
{
    const struct c4p_envelope idle = {
        .kind = C4P_IDLE, .source = bench->self * NODE_PES, .target = C4P_ROUTER | bench->self};

    assert_int_equal(
        offer(bench, bench->self, STREAM_DIRECT, block_make(bench, bench->pe_region, idle)),
        COLLECTIVES_TAKEN);
}

static void a_node_that_has_no_memory_for_its_report_makes_it_later_and_once(void **state)
{
    const struct event *event;
    struct bench bench;

    (void)state;
    bench_open(&bench, 2, 1);
    memory_take(&bench, CONTROL);
    atomic_store(&segment_endpoint(&bench.segment, 0)->sent, 5);
    fall_asleep(&bench);
    tick(&bench);
    tick(&bench);
    nothing_more(&bench);
    atomic_store(&segment_endpoint(&bench.segment, 0)->sent, 6);
    memory_leave(&bench, 1);
    tick(&bench);
    event = event_next(&bench, SENT);
    assert_int_equal(event->node, 0);
    assert_int_equal(event->envelope.kind, C4P_IDLE);
    assert_int_equal(event->envelope.collection, 6); /* as it is now */
    assert_int_equal(bench.wake_at, 0);
    bench_close(&bench);
}

/* To node 0: a node has gone to sleep with these counters. */
static void report_comes(struct bench *bench, uint32_t node, uint64_t sent, uint64_t handled)
{
    struct c4p_envelope envelope = counts(C4P_IDLE, node, 0, sent, handled);

    assert_int_equal(offer(bench, node, STREAM_DIRECT, block_make(bench, bench->region, envelope)),
                     COLLECTIVES_TAKEN);
}

static void answer_comes(struct bench *bench, uint32_t node, uint32_t wave, uint64_t sent,
                         uint64_t handled)
{
    struct c4p_envelope envelope = counts(C4P_WAVE, node, 0, sent, handled);

    envelope.flags = C4P_RETURN;
    envelope.sequence = wave;
    assert_int_equal(offer(bench, node, STREAM_DIRECT, block_make(bench, bench->region, envelope)),
                     COLLECTIVES_TAKEN);
}

static uint32_t expect_wave(struct bench *bench)
{
    uint32_t wave = 0;

    for (uint32_t node = 1; node < bench->nodes; node++) {
        expect_sent(bench, node, STREAM_DIRECT, C4P_WAVE, QUIET_WANTED);
        wave = bench->events[bench->read - 1].envelope.sequence;
    }
    return wave;
}

static void expect_announced(struct bench *bench, uint64_t sent, uint64_t handled)
{
    for (uint32_t node = 1; node < bench->nodes; node++) {
        expect_sent(bench, node, STREAM_DIRECT, C4P_QUIESCENT, QUIET_WANTED);
        assert_int_equal(bench->events[bench->read - 1].envelope.collection, node == 1 ? sent : 0);
        assert_int_equal(bench->events[bench->read - 1].envelope.future, node == 1 ? 0 : handled);
    }
}

/*
 * Node 0 of three, without memory: node 1 has sent `messages` to node 2. The reports are blocks
 * that come: there is a spare for them, and they are released at once.
 */
static uint32_t asked_without_memory(struct bench *bench, uint64_t messages)
{
    uint32_t wave;

    bench_open(bench, 3, 0);
    want_quiescence(bench, 1, 1);
    memory_take(bench, CONTROL);
    fall_asleep(bench);
    tick(bench); /* its own counters */
    memory_leave(bench, 1);
    report_comes(bench, 1, messages, 0);
    report_comes(bench, 2, 0, messages);
    nothing_more(bench);
    memory_leave(bench, 1);
    tick(bench);
    nothing_more(bench);
    memory_leave(bench, 2);
    tick(bench);
    wave = expect_wave(bench);
    nothing_more(bench);
    return wave;
}

static void node_0_asks_all_nodes_when_there_is_memory_and_announces_then_to_all(void **state)
{
    struct bench bench;
    uint32_t wave;

    (void)state;
    wave = asked_without_memory(&bench, 4);
    memory_leave(&bench, 1);
    answer_comes(&bench, 1, wave, 4, 0);
    answer_comes(&bench, 2, wave, 0, 4);
    /* A message for each of two nodes, and one for the PE here that waits: all or none. */
    for (uint32_t spares = 0; spares < 3; spares++) {
        memory_leave(&bench, spares);
        tick(&bench);
        nothing_more(&bench);
    }
    memory_leave(&bench, 3);
    tick(&bench);
    expect_told(&bench, 1);
    expect_announced(&bench, 4, 4);
    nothing_more(&bench);
    assert_int_equal(bench.wake_at, 0);
    bench_close(&bench);
}

static void an_announcement_that_waits_for_memory_is_void_when_something_happens(void **state)
{
    struct bench bench;
    uint32_t wave;

    (void)state;
    wave = asked_without_memory(&bench, 4);
    memory_leave(&bench, 1);
    answer_comes(&bench, 1, wave, 4, 0);
    answer_comes(&bench, 2, wave, 0, 4);
    /* A timer of node 1 has sent a message more, which is under way. */
    report_comes(&bench, 1, 5, 0);
    memory_leave(&bench, SPARES);
    tick(&bench);
    nothing_more(&bench);
    /* It has arrived: now it is true again. */
    report_comes(&bench, 2, 0, 5);
    wave = expect_wave(&bench);
    answer_comes(&bench, 1, wave, 5, 0);
    answer_comes(&bench, 2, wave, 0, 5);
    expect_told(&bench, 1);
    expect_announced(&bench, 5, 5);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(quiescence_is_told_to_all_who_wait_for_it_or_to_nobody_yet),
        watched_test(quiescence_that_is_over_before_there_was_memory_is_told_to_nobody),
        watched_test(a_node_that_has_no_memory_for_its_report_makes_it_later_and_once),
        watched_test(node_0_asks_all_nodes_when_there_is_memory_and_announces_then_to_all),
        watched_test(an_announcement_that_waits_for_memory_is_void_when_something_happens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
