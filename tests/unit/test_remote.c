/* The places of clients that do not map the segment, without a network: what PEs and others send to
 * them, what they send, and a segment full of lies. */
#include "tests/unit/unit.h"

#include <event2/event.h>

#include "daemon/router/router.h"
#include "proto/inbox.h"
#include "proto/region.h"

#define PES 2

struct heard {
    unsigned corruptions, mails, gone;
    char what[128];
};

static void on_started(void *context, uint32_t pe)
{
    (void)context, (void)pe;
}

static void on_exited(void *context, uint32_t pe, int32_t code, const char *text, size_t size)
{
    (void)context, (void)pe, (void)code, (void)text, (void)size;
}

static void on_corrupted(void *context, const char *what)
{
    struct heard *heard = context;

    heard->corruptions++;
    snprintf(heard->what, sizeof(heard->what), "%s", what);
}

static void on_mail(void *context)
{
    struct heard *heard = context;

    heard->mails++;
}

static void on_gone(void *context)
{
    struct heard *heard = context;

    heard->gone++;
}

/* A router, the PEs' view of its segment, and a remote client. */
struct bench {
    struct event_base *base;
    struct plane *plane;
    struct router *router;
    struct segment segment;
    struct region *region; /* PE 0's */
    struct heard heard;
    uint32_t client, slot;
    unsigned reads;
};

static void bench_open(struct bench *bench)
{
    const struct router_listener listener = {on_started, on_exited, on_corrupted, NULL,
                                             &bench->heard};
    const struct router_remote_listener remote = {on_mail, on_gone, &bench->heard};
    struct segment_geometry geometry = {
        .epoch = TEST_EPOCH,
        .pes = PES,
        .local_pes = PES,
        .nodes = 1,
        .cores = 2,
        .region_size = SEGMENT_MIN_REGION,
    };

    char error[PLANE_ERROR_SIZE];

    memset(bench, 0, sizeof(*bench));
    require((bench->base = event_base_new()) != NULL);
    require((bench->plane = plane_create(&(struct plane_settings){.base = bench->base}, error)) !=
            NULL);
    require((bench->router = router_create(bench->plane, &geometry, NULL, &listener)) != NULL);
    require(segment_map(&bench->segment, dup(router_segment_fd(bench->router)),
                        dup(router_wake_fd(bench->router))) == 0);
    require((bench->region = region_create(&bench->segment, 0)) != NULL);
    require((bench->client = router_remote_enter(bench->router, &remote)) != 0);
    bench->slot = segment_slot(&bench->segment, bench->client);
}

static void bench_close(struct bench *bench)
{
    region_destroy(bench->region);
    segment_close(&bench->segment);
    router_destroy(bench->router);
    plane_destroy(bench->plane);
    event_base_free(bench->base);
}

static void turn(struct bench *bench)
{
    router_drain(bench->router);
}

static struct c4p_envelope envelope_to(uint32_t source, uint32_t target, uint64_t size)
{
    return (struct c4p_envelope){
        .version = C4P_ENVELOPE_VERSION,
        .kind = C4P_CALL,
        .epoch = TEST_EPOCH,
        .source = source,
        .target = target,
        .body_size = size,
    };
}

/* A message of PE 0. */
static uint64_t message(struct bench *bench, uint32_t target, const char *text)
{
    const struct c4p_envelope envelope = envelope_to(0, target, strlen(text));
    uint64_t offset = region_alloc(bench->region, C4P_ENVELOPE_SIZE + strlen(text));

    require(offset != 0);
    memcpy((void *)segment_block(&bench->segment, offset), (void *)&envelope, C4P_ENVELOPE_SIZE);
    memcpy(bench->segment.base + offset + C4P_ENVELOPE_SIZE, text, strlen(text));
    return offset;
}

static enum stream_answer send_from_client(struct bench *bench, struct c4p_envelope envelope)
{
    enum stream_answer answer;
    void *body = NULL;

    answer = router_remote_begin(bench->router, bench->client, &envelope, &body);
    if (answer != STREAM_TAKE)
        return answer;
    memset(body, 'c', envelope.body_size);
    router_remote_end(bench->router, bench->client);
    return answer;
}

static void who_sends_to_a_remote_client_wakes_the_router_and_it_is_told(void **state)
{
    struct c4p_envelope envelope;
    struct bench bench;
    const void *body;

    (void)state;
    bench_open(&bench);
    assert_false(router_remote_next(bench.router, bench.client, &envelope, &body));
    turn(&bench);
    bench.heard.mails = 0;
    inbox_push(&bench.segment, bench.slot, message(&bench, bench.client, "one"));
    inbox_push(&bench.segment, bench.slot, message(&bench, bench.client, "three"));
    while (bench.heard.mails == 0)
        require(event_base_loop(bench.base, EVLOOP_ONCE) == 0);
    assert_true(router_remote_next(bench.router, bench.client, &envelope, &body));
    assert_int_equal(envelope.body_size, 3);
    assert_memory_equal(body, "one", 3);
    router_remote_sent(bench.router, bench.client);
    assert_true(router_remote_next(bench.router, bench.client, &envelope, &body));
    assert_memory_equal(body, "three", 5);
    router_remote_sent(bench.router, bench.client);
    assert_false(router_remote_next(bench.router, bench.client, &envelope, &body));
    region_reclaim(bench.region);
    assert_int_equal(region_used(bench.region), 0);
    bench_close(&bench);
}

static void what_it_sends_reaches_pes_counted_and_with_their_own_memory(void **state)
{
    struct c4p_envelope copy;
    struct bench bench;
    uint64_t offset;

    (void)state;
    bench_open(&bench);
    assert_int_equal(send_from_client(&bench, envelope_to(bench.client, 1, 1000)), STREAM_TAKE);
    assert_int_equal(atomic_load(&segment_endpoint(&bench.segment, bench.slot)->sent), 1);
    offset = inbox_take(&bench.segment, 1);
    assert_int_not_equal(offset, 0);
    assert_int_equal(envelope_check(segment_block(&bench.segment, offset),
                                    segment_room(&bench.segment, offset), TEST_EPOCH, &copy),
                     C4P_ENVELOPE_OK);
    assert_int_equal(copy.source, bench.client);
    assert_int_equal(segment_owner(&bench.segment, offset), segment_router_slot(&bench.segment));
    /* To a client that is gone, which cannot be known where it was sent. */
    assert_int_equal(send_from_client(&bench, envelope_to(bench.client, C4P_CLIENT | 999, 10)),
                     STREAM_SKIP);
    assert_int_equal(send_from_client(&bench, envelope_to(bench.client, C4P_ROUTER, 10)),
                     STREAM_REFUSE);
    assert_int_equal(send_from_client(&bench, envelope_to(bench.client, PES, 10)), STREAM_REFUSE);
    assert_int_equal(send_from_client(&bench, envelope_to(0, 1, 10)), STREAM_REFUSE);
    assert_int_equal(atomic_load(&segment_endpoint(&bench.segment, bench.slot)->sent), 1);
    bench_close(&bench);
}

static void pes_can_be_stopped_when_a_client_has_filled_the_router_s_region(void **state)
{
    struct c4p_envelope copy;
    struct bench bench;
    unsigned blocks = 0;

    (void)state;
    bench_open(&bench);
    while (send_from_client(&bench, envelope_to(bench.client, 1, 5000)) == STREAM_TAKE)
        blocks++;
    while (send_from_client(&bench, envelope_to(bench.client, 1, 0)) == STREAM_TAKE)
        blocks++;
    assert_int_equal(send_from_client(&bench, envelope_to(bench.client, 1, 0)), STREAM_LATER);
    assert_int_not_equal(blocks, 0);
    router_stop_pes(bench.router, UINT32_MAX);
    envelope_check(segment_block(&bench.segment, inbox_take(&bench.segment, 0)), 128, TEST_EPOCH,
                   &copy);
    assert_int_equal(copy.kind, C4P_STOP);
    bench_close(&bench);
}

static void a_client_that_leaves_in_the_middle_leaves_nothing(void **state)
{
    struct c4p_envelope envelope;
    struct bench bench;
    const void *text;
    void *body;

    (void)state;
    bench_open(&bench);
    for (int i = 0; i < 50; i++)
        inbox_push(&bench.segment, bench.slot, message(&bench, bench.client, "x"));
    assert_true(router_remote_next(bench.router, bench.client, &envelope, &text));
    envelope = envelope_to(bench.client, 1, 3000000);
    assert_int_equal(router_remote_begin(bench.router, bench.client, &envelope, &body),
                     STREAM_TAKE);
    router_client_leave(bench.router, bench.client);
    router_client_leave(bench.router, bench.client);
    assert_int_equal(bench.heard.gone, 1);
    region_reclaim(bench.region);
    assert_int_equal(region_used(bench.region), 0);
    /* Its functions do nothing any more; others have the room. */
    assert_false(router_remote_next(bench.router, bench.client, &envelope, &text));
    router_remote_sent(bench.router, bench.client);
    router_remote_end(bench.router, bench.client);
    assert_int_equal(router_remote_begin(bench.router, bench.client, &envelope, &body),
                     STREAM_REFUSE);
    bench.client = router_remote_enter(
        bench.router, &(struct router_remote_listener){on_mail, on_gone, &bench.heard});
    assert_int_equal(send_from_client(&bench, envelope_to(bench.client, 1, 3000000)), STREAM_TAKE);
    bench_close(&bench);
    assert_int_equal(bench.heard.gone, 2);
}

static void messages_that_lie_are_dropped_and_given_back(void **state)
{
    struct c4p_envelope envelope;
    struct bench bench;
    const void *body;
    uint64_t offset;

    (void)state;
    bench_open(&bench);
    inbox_push(&bench.segment, bench.slot, message(&bench, bench.client + 15, "for another"));
    offset = message(&bench, bench.client, "I am another");
    segment_block(&bench.segment, offset)->source = 1;
    inbox_push(&bench.segment, bench.slot, offset);
    offset = message(&bench, bench.client, "too long");
    segment_block(&bench.segment, offset)->body_size = SEGMENT_MIN_REGION;
    inbox_push(&bench.segment, bench.slot, offset);
    offset = message(&bench, bench.client, "a body elsewhere, that is too long");
    segment_block(&bench.segment, offset)->body =
        bench.segment.geometry.size - C4P_ENVELOPE_SIZE - (-C4P_ENVELOPE_SIZE & (CACHE_LINE - 1));
    inbox_push(&bench.segment, bench.slot, offset);
    inbox_push(&bench.segment, bench.slot, message(&bench, bench.client, "true"));
    assert_true(router_remote_next(bench.router, bench.client, &envelope, &body));
    assert_memory_equal(body, "true", 4);
    assert_int_equal(router_dropped(bench.router), 4);
    assert_int_equal(bench.heard.corruptions, 0);
    bench_close(&bench);
}

static void a_queue_that_links_to_nowhere_is_told_with_its_place(void **state)
{
    struct c4p_envelope envelope;
    struct bench bench;
    const void *body;
    uint64_t offset;

    (void)state;
    bench_open(&bench);
    offset = message(&bench, bench.client, "x");
    segment_block(&bench.segment, offset)->next = 12345;
    atomic_store(&segment_endpoint(&bench.segment, bench.slot)->inbox, offset);
    assert_false(router_remote_next(bench.router, bench.client, &envelope, &body));
    turn(&bench);
    assert_int_equal(bench.heard.corruptions, 1);
    assert_string_equal(bench.heard.what, "the queue of a client has an impossible link");
    assert_false(router_remote_next(bench.router, bench.client, &envelope, &body));
    assert_int_equal(send_from_client(&bench, envelope_to(bench.client, 1, 10)), STREAM_REFUSE);
    bench_close(&bench);
    assert_int_equal(bench.heard.gone, 1);
}

/* ---- a segment full of lies ---- */

static uint64_t lie(struct dice *dice, const struct segment_geometry *g)
{
    switch (dice_below(dice, 6)) {
    case 0:
        return dice_throw(dice);
    case 1:
        return dice_below(dice, 3);
    case 2:
        return g->regions + dice_below(dice, g->size - g->regions);
    default: /* a few places, so that they meet */
        return g->regions + dice_below(dice, PES + 1) * g->region_size +
               dice_below(dice, 64) * CACHE_LINE * 2;
    }
}

static void lies_write(struct bench *bench, struct dice *dice)
{
    const struct segment_geometry *g = &bench->segment.geometry;
    struct segment_endpoint *endpoint = segment_endpoint(&bench->segment, bench->slot);
    uint64_t blocks = 1 + dice_below(dice, 10), last = 0;

    for (uint64_t i = 0; i < blocks; i++) {
        struct c4p_envelope envelope = envelope_to(0, bench->client, 0);
        uint64_t offset = lie(dice, g);

        if (!segment_offset_valid(&bench->segment, offset))
            continue;
        envelope.source = dice_below(dice, 4) ? segment_owner(&bench->segment, offset)
                                              : (uint32_t)dice_throw(dice);
        envelope.next = dice_below(dice, 16) ? last : lie(dice, g);
        envelope.body = dice_below(dice, 2) ? 0 : lie(dice, g);
        envelope.body_size = dice_below(dice, 2) ? dice_below(dice, 5000) : dice_throw(dice);
        memcpy((void *)segment_block(&bench->segment, offset), (void *)&envelope,
               C4P_ENVELOPE_SIZE);
        last = offset;
    }
    atomic_store(&endpoint->inbox, dice_below(dice, 8) ? last : lie(dice, g));
    atomic_store(&endpoint->mail, lie(dice, g));
    if (dice_below(dice, 4) == 0)
        atomic_store(&segment_endpoint(&bench->segment, PES)->returns, lie(dice, g));
}

/* What is given is readable to its end; nothing crashes, and nothing goes on for ever. */
static void client_reads(struct bench *bench)
{
    struct c4p_envelope envelope;
    const uint8_t *body;
    uint8_t sum = 0;

    for (unsigned i = 0; i < 2000; i++) {
        if (!router_remote_next(bench->router, bench->client, &envelope, (const void **)&body))
            break;
        assert_int_equal(envelope.target, bench->client);
        assert_true(envelope.body_size <= SEGMENT_MIN_REGION - C4P_ENVELOPE_SIZE);
        bench->reads++;
        for (uint64_t at = 0; at < envelope.body_size; at += 1 + envelope.body_size / 64)
            sum ^= body[at];
        if (envelope.body_size > 0)
            sum ^= body[envelope.body_size - 1];
        router_remote_sent(bench->router, bench->client);
    }
    __asm__ volatile("" ::"r"(sum));
}

static void lies_do_no_harm(void **state)
{
    uint64_t seeds = stress(300);
    unsigned reads = 0;

    (void)state;
    for (uint64_t seed = first_seed(); seed < first_seed() + seeds; seed++) {
        struct dice dice = dice_seeded(seed);
        struct bench bench;

        seed_in_use = seed;
        bench_open(&bench);
        for (int round = 0; round < 4; round++) {
            lies_write(&bench, &dice);
            if (dice_below(&dice, 2))
                client_reads(&bench);
            send_from_client(&bench, envelope_to(bench.client, 1, dice_below(&dice, 100000)));
            turn(&bench);
        }
        if (dice_below(&dice, 2))
            router_client_leave(bench.router, bench.client);
        bench_close(&bench);
        assert_int_equal(bench.heard.gone, 1);
        reads += bench.reads;
    }
    assert_true(reads > seeds / 10); /* lies that nobody believes would test nothing */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(who_sends_to_a_remote_client_wakes_the_router_and_it_is_told),
        watched_test(what_it_sends_reaches_pes_counted_and_with_their_own_memory),
        watched_test(pes_can_be_stopped_when_a_client_has_filled_the_router_s_region),
        watched_test(a_client_that_leaves_in_the_middle_leaves_nothing),
        watched_test(messages_that_lie_are_dropped_and_given_back),
        watched_test(a_queue_that_links_to_nowhere_is_told_with_its_place),
        watched_test(lies_do_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
