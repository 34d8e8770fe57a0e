/* The router against PEs that behave, and against a segment full of lies. */
#include "tests/unit/unit.h"

#include <event2/event.h>

#include "daemon/router/router.h"
#include "proto/inbox.h"
#include "proto/region.h"

#define PES 3

struct heard {
    uint32_t started; /* a bit for each PE */
    unsigned starts, exits, corruptions;
    uint32_t pe;
    int32_t code;
    char text[64];
    size_t size;
    char what[128];
};

static void on_started(void *context, uint32_t pe)
{
    struct heard *heard = context;

    require(pe < PES);
    heard->started |= 1u << pe;
    heard->starts++;
}

static void on_exited(void *context, uint32_t pe, int32_t code, const char *text, size_t size)
{
    struct heard *heard = context;

    require(pe < PES && size <= ROUTER_MAX_TEXT);
    heard->exits++;
    heard->pe = pe;
    heard->code = code;
    heard->size = size;
    snprintf(heard->text, sizeof(heard->text), "%.*s", (int)(size < 60 ? size : 60), text);
}

static void on_corrupted(void *context, const char *what)
{
    struct heard *heard = context;

    heard->corruptions++;
    snprintf(heard->what, sizeof(heard->what), "%s", what);
}

/* A router and the PEs' view of its segment, in one process. */
struct bench {
    struct event_base *base;
    struct plane *plane;
    struct router *router;
    struct segment segment;
    struct region *regions[PES];
    struct heard heard;
};

static void bench_open(struct bench *bench)
{
    struct router_listener listener = {on_started, on_exited, on_corrupted, NULL, &bench->heard};
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
    bench->router = router_create(bench->plane, &geometry, NULL, &listener);
    require(bench->router != NULL);
    require(segment_map(&bench->segment, dup(router_segment_fd(bench->router)),
                        dup(router_wake_fd(bench->router))) == 0);
    for (uint32_t pe = 0; pe < PES; pe++)
        require((bench->regions[pe] = region_create(&bench->segment, pe)) != NULL);
}

static void bench_close(struct bench *bench)
{
    for (uint32_t pe = 0; pe < PES; pe++)
        region_destroy(bench->regions[pe]);
    segment_close(&bench->segment);
    router_destroy(bench->router);
    plane_destroy(bench->plane);
    event_base_free(bench->base);
}

/* What has come is handled, and told. */
static void turn(struct bench *bench)
{
    router_drain(bench->router);
}

static uint64_t message(struct bench *bench, uint32_t pe, uint8_t kind, uint32_t code,
                        const char *text)
{
    uint64_t offset = region_alloc(bench->regions[pe], C4P_ENVELOPE_SIZE + strlen(text));
    struct c4p_envelope *block = segment_block(&bench->segment, offset);

    require(offset != 0);
    memset((void *)block, 0, sizeof(*block));
    block->version = C4P_ENVELOPE_VERSION;
    block->kind = kind;
    block->epoch = TEST_EPOCH;
    block->source = pe;
    block->target = C4P_ROUTER;
    block->sequence = code;
    block->body_size = strlen(text);
    memcpy((char *)block + C4P_ENVELOPE_SIZE, text, strlen(text));
    return offset;
}

static void push(struct bench *bench, uint64_t offset)
{
    inbox_push(&bench->segment, segment_router_slot(&bench->segment), offset);
}

static void reports_are_heard_and_their_blocks_come_back(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench);
    for (uint32_t pe = 0; pe < PES; pe++)
        push(&bench, message(&bench, pe, C4P_STARTED, 0, ""));
    turn(&bench);
    assert_int_equal(bench.heard.started, (1u << PES) - 1);
    push(&bench, message(&bench, 1, C4P_EXIT, (uint32_t)-7, "the reason"));
    turn(&bench);
    assert_int_equal(bench.heard.pe, 1);
    assert_int_equal(bench.heard.code, -7);
    assert_string_equal(bench.heard.text, "the reason");
    for (uint32_t pe = 0; pe < PES; pe++) {
        region_reclaim(bench.regions[pe]);
        assert_int_equal(region_used(bench.regions[pe]), 0);
    }
    assert_int_equal(router_dropped(bench.router), 0);
    bench_close(&bench);
}

static void many_messages_are_taken_in_batches(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench);
    for (int i = 0; i < 5000; i++)
        push(&bench, message(&bench, 0, C4P_STARTED, 0, ""));
    require(event_base_loop(bench.base, EVLOOP_ONCE) == 0); /* one round of events */
    assert_in_range(bench.heard.starts, 1, 4999);
    while (bench.heard.starts < 5000)
        require(event_base_loop(bench.base, EVLOOP_ONCE) == 0);
    bench_close(&bench);
}

static void draining_takes_what_nobody_rang_for(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench);
    inbox_announce_awake(&bench.segment, segment_router_slot(&bench.segment));
    push(&bench, message(&bench, 2, C4P_EXIT, 0, "")); /* killed before it could ring */
    router_drain(bench.router);
    assert_int_equal(bench.heard.exits, 1);
    bench_close(&bench);
}

static void stop_is_sent_to_all_but_one(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench);
    router_stop_pes(bench.router, 1);
    for (uint32_t pe = 0; pe < PES; pe++) {
        uint64_t offset = inbox_take(&bench.segment, pe);
        struct c4p_envelope copy;

        assert_int_equal(offset != 0, pe != 1);
        if (offset == 0)
            continue;
        assert_int_equal(
            envelope_check(segment_block(&bench.segment, offset), 128, TEST_EPOCH, &copy),
            C4P_ENVELOPE_OK);
        assert_int_equal(copy.kind, C4P_STOP);
        assert_int_equal(copy.source, C4P_ROUTER);
        assert_int_equal(copy.target, pe);
    }
    bench_close(&bench);
}

static void what_is_not_for_a_router_or_a_lie_is_dropped(void **state)
{
    struct bench bench;
    struct c4p_envelope *block;
    uint64_t offset;

    (void)state;
    bench_open(&bench);
    push(&bench, message(&bench, 0, C4P_CALL, 0, ""));
    push(&bench, message(&bench, 0, C4P_KINDS, 0, ""));
    push(&bench, message(&bench, 0, C4P_STOP, 0, ""));
    offset = message(&bench, 0, C4P_EXIT, 1, "I am another");
    segment_block(&bench.segment, offset)->source = 1;
    push(&bench, offset);
    offset = message(&bench, 0, C4P_EXIT, 1, "too long");
    segment_block(&bench.segment, offset)->body_size = UINT64_MAX;
    push(&bench, offset);
    offset = message(&bench, 0, C4P_EXIT, 1, "body elsewhere");
    segment_block(&bench.segment, offset)->body = offset;
    push(&bench, offset);
    offset = message(&bench, 0, C4P_EXIT, 1, "stale");
    segment_block(&bench.segment, offset)->epoch++;
    push(&bench, offset);
    /* In a region that is no PE's. */
    offset =
        bench.segment.geometry.regions + (PES + 1) * (uint64_t)bench.segment.geometry.region_size;
    block = segment_block(&bench.segment, offset);
    memcpy((void *)block,
           (void *)segment_block(&bench.segment, message(&bench, 0, C4P_EXIT, 1, "")),
           C4P_ENVELOPE_SIZE);
    push(&bench, offset);
    turn(&bench);
    assert_int_equal(router_dropped(bench.router), 8);
    assert_int_equal(bench.heard.exits + bench.heard.starts + bench.heard.corruptions, 0);
    bench_close(&bench);
}

static void a_long_text_is_cut(void **state)
{
    struct bench bench;
    char *text = malloc(ROUTER_MAX_TEXT + 1000);

    (void)state;
    require(text != NULL);
    memset(text, 'x', ROUTER_MAX_TEXT + 999);
    text[ROUTER_MAX_TEXT + 999] = '\0';
    bench_open(&bench);
    push(&bench, message(&bench, 0, C4P_EXIT, 1, text));
    turn(&bench);
    assert_int_equal(bench.heard.size, ROUTER_MAX_TEXT);
    bench_close(&bench);
    free(text);
}

static void a_link_to_nowhere_is_told_once_with_its_place(void **state)
{
    struct bench bench;
    uint64_t first, second;

    (void)state;
    bench_open(&bench);
    /* The newest is linked well, the chain turned round, and then the link is spoiled in its turn. */
    first = message(&bench, 2, C4P_STARTED, 0, "");
    second = message(&bench, 1, C4P_STARTED, 0, "");
    push(&bench, first);
    segment_block(&bench.segment, second)->next = 12345;
    atomic_store(&segment_endpoint(&bench.segment, PES)->inbox, second);
    router_drain(bench.router);
    router_drain(bench.router);
    turn(&bench);
    assert_int_equal(bench.heard.corruptions, 1);
    assert_string_equal(bench.heard.what, "the daemon's queue has an impossible link");
    /* Nothing is sent into it any more. */
    router_stop_pes(bench.router, UINT32_MAX);
    assert_int_equal(atomic_load(&segment_endpoint(&bench.segment, 0)->inbox), 0);
    bench_close(&bench);
}

/* ---- a segment full of lies ---- */

static uint64_t lie(struct dice *dice, const struct segment_geometry *g)
{
    switch (dice_below(dice, 5)) {
    case 0:
        return dice_throw(dice);
    case 1:
        return dice_below(dice, 3);
    case 2:
        return g->regions + dice_below(dice, g->size - g->regions);
    default:
        return (g->regions + dice_below(dice, g->size - g->regions)) / CACHE_LINE * CACHE_LINE;
    }
}

/* Blocks that are nearly right, in a few places that the lies point to. */
static void lies_write(struct bench *bench, struct dice *dice)
{
    const struct segment_geometry *g = &bench->segment.geometry;
    unsigned blocks = 1 + (unsigned)dice_below(dice, 40);
    uint64_t last = 0;

    for (unsigned i = 0; i < blocks; i++) {
        uint64_t offset = lie(dice, g);
        struct c4p_envelope *block;

        if (!segment_offset_valid(&bench->segment, offset))
            continue;
        block = segment_block(&bench->segment, offset);
        block->next = dice_below(dice, 4) ? last : lie(dice, g);
        block->version = (uint8_t)(dice_below(dice, 8) ? C4P_ENVELOPE_VERSION : dice_throw(dice));
        block->kind = (uint8_t)dice_below(dice, C4P_KINDS + 2);
        block->epoch = dice_below(dice, 8) ? TEST_EPOCH : 0;
        block->source = dice_below(dice, 4) ? segment_owner(&bench->segment, offset)
                                            : (uint32_t)dice_throw(dice);
        block->body = dice_below(dice, 4) ? 0 : lie(dice, g);
        block->body_size = dice_below(dice, 2) ? dice_below(dice, 100) : dice_throw(dice);
        last = offset;
    }
    for (unsigned i = 0; i < 4; i++) {
        uint32_t slot = (uint32_t)dice_below(dice, g->slots);
        struct segment_endpoint *endpoint = segment_endpoint(&bench->segment, slot);

        atomic_store(&endpoint->inbox, dice_below(dice, 2) ? last : lie(dice, g));
        atomic_store(&endpoint->returns, lie(dice, g));
    }
    atomic_store(&segment_endpoint(&bench->segment, PES)->inbox,
                 dice_below(dice, 4) ? last : lie(dice, g));
}

static void lies_do_no_harm(void **state)
{
    uint64_t seeds = stress(300);

    (void)state;
    for (uint64_t seed = first_seed(); seed < first_seed() + seeds; seed++) {
        struct dice dice = dice_seeded(seed);
        struct bench bench;

        seed_in_use = seed;
        bench_open(&bench);
        for (int round = 0; round < 4; round++) {
            lies_write(&bench, &dice);
            inbox_wake(&bench.segment, PES);
            turn(&bench);
            router_drain(bench.router);
            if (dice_below(&dice, 2))
                router_stop_pes(bench.router, (uint32_t)dice_below(&dice, PES + 1));
            router_wake_pes(bench.router);
        }
        bench_close(&bench);
    }
}

/* Once a second the router looks by itself: here the clock is the real one. */
static void a_header_that_was_overwritten_is_noticed_though_nobody_rings(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench);
    memset((void *)segment_header(&bench.segment), 0xaa, 64);
    while (bench.heard.corruptions == 0)
        require(event_base_loop(bench.base, EVLOOP_ONCE) == 0);
    assert_string_equal(bench.heard.what, "its header was overwritten");
    bench_close(&bench);
}

static void a_queue_that_was_overwritten_is_noticed_with_its_owner(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench);
    atomic_store(&segment_endpoint(&bench.segment, 1)->inbox, 0x1234567);
    while (bench.heard.corruptions == 0)
        require(event_base_loop(bench.base, EVLOOP_ONCE) == 0);
    assert_string_equal(bench.heard.what, "a queue of PE 1 was overwritten");
    bench_close(&bench);
}

/* ---- clients ---- */

static uint32_t slot_of(struct bench *bench, uint32_t client)
{
    return segment_slot(&bench->segment, client);
}

static void clients_have_numbers_and_places_of_their_own(void **state)
{
    uint32_t client[SEGMENT_CLIENT_SLOTS];
    struct bench bench;

    (void)state;
    bench_open(&bench);
    for (unsigned i = 0; i < SEGMENT_CLIENT_SLOTS; i++) {
        client[i] = router_client_enter(bench.router);
        assert_int_equal(client[i] & C4P_ENDPOINT_CLASS, C4P_CLIENT);
        assert_int_equal(
            atomic_load(&segment_endpoint(&bench.segment, slot_of(&bench, client[i]))->address),
            client[i]);
        for (unsigned other = 0; other < i; other++)
            assert_int_not_equal(slot_of(&bench, client[i]), slot_of(&bench, client[other]));
    }
    assert_int_equal(router_client_enter(bench.router), 0);
    assert_int_equal(errno, ENOSPC);
    router_client_leave(bench.router, client[3]);
    router_client_leave(bench.router, client[3]);
    router_client_leave(bench.router, C4P_CLIENT | 12345);
    assert_int_equal(
        atomic_load(&segment_endpoint(&bench.segment, slot_of(&bench, client[3]))->address), 0);
    assert_int_equal(router_client_enter(bench.router), client[3] + SEGMENT_CLIENT_SLOTS);
    bench_close(&bench);
}

static void what_was_sent_to_a_client_that_is_gone_comes_back(void **state)
{
    struct bench bench;
    uint32_t client, slot;
    uint64_t taken;

    (void)state;
    bench_open(&bench);
    client = router_client_enter(bench.router);
    slot = slot_of(&bench, client);
    for (unsigned i = 0; i < 100; i++)
        inbox_push(&bench.segment, slot, message(&bench, i % PES, C4P_CALL, 0, "x"));
    /* It dies with some of them taken: it shows which. */
    taken = inbox_take(&bench.segment, slot);
    atomic_store(&segment_endpoint(&bench.segment, slot)->mail, taken);
    for (unsigned i = 0; i < 50; i++)
        inbox_push(&bench.segment, slot, message(&bench, i % PES, C4P_CALL, 0, "x"));
    router_client_leave(bench.router, client);
    /* Somebody had not seen yet that it is gone. */
    inbox_push(&bench.segment, slot, message(&bench, 0, C4P_CALL, 0, "late"));
    require(router_client_enter(bench.router) != 0);
    for (uint32_t pe = 0; pe < PES; pe++) {
        region_reclaim(bench.regions[pe]);
        assert_int_equal(region_used(bench.regions[pe]), 0);
    }
    assert_int_equal(bench.heard.corruptions, 0);
    bench_close(&bench);
}

static void a_shared_body_comes_back_with_its_last_reader(void **state)
{
    struct bench bench;
    uint32_t clients[2];
    uint64_t body;

    (void)state;
    bench_open(&bench);
    body = message(&bench, 0, C4P_CALL, 0, "shared");
    atomic_store(&segment_block(&bench.segment, body)->refs, 2);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t offset = message(&bench, 0, C4P_CALL, 0, "");

        segment_block(&bench.segment, offset)->body = body;
        clients[i] = router_client_enter(bench.router);
        inbox_push(&bench.segment, slot_of(&bench, clients[i]), offset);
    }
    router_client_leave(bench.router, clients[0]);
    region_reclaim(bench.regions[0]);
    assert_int_not_equal(region_used(bench.regions[0]), 0);
    router_client_leave(bench.router, clients[1]);
    region_reclaim(bench.regions[0]);
    assert_int_equal(region_used(bench.regions[0]), 0);
    bench_close(&bench);
}

static void a_place_is_not_given_away_while_blocks_of_it_are_in_use(void **state)
{
    struct segment_endpoint *endpoint;
    struct region_returns returns;
    struct region *region;
    struct bench bench;
    uint64_t blocks[40];
    uint32_t client;

    (void)state;
    bench_open(&bench);
    client = router_client_enter(bench.router);
    endpoint = segment_endpoint(&bench.segment, slot_of(&bench, client));
    region = region_create(&bench.segment, slot_of(&bench, client));
    require(region != NULL && region_returns_init(&returns, &bench.segment) == 0);
    for (unsigned i = 0; i < 40; i++)
        require((blocks[i] = region_alloc(region, C4P_ENVELOPE_SIZE)) != 0);
    atomic_store(&endpoint->handed, 40);
    region_returns_add(&returns, blocks[0], true);
    region_reclaim(region); /* the client saw this one come back itself */
    region_destroy(region);
    router_client_leave(bench.router, client);
    for (unsigned i = 1; i < 39; i++)
        region_returns_add(&returns, blocks[i], false);
    region_returns_flush(&returns);
    for (unsigned i = 1; i < SEGMENT_CLIENT_SLOTS; i++)
        assert_int_not_equal(router_client_enter(bench.router), 0);
    assert_int_equal(router_client_enter(bench.router), 0);
    region_returns_add(&returns, blocks[39], true);
    assert_int_equal(router_client_enter(bench.router), client + SEGMENT_CLIENT_SLOTS);
    region_returns_free(&returns);
    bench_close(&bench);
}

static void lies_about_a_client_do_no_harm(void **state)
{
    static const uint64_t lies[] = {1, 64, 4096, UINT64_MAX, UINT64_MAX - 63, 2u << 20, 3u << 20};
    struct bench bench;

    (void)state;
    bench_open(&bench);
    for (unsigned i = 0; i < 7 * 7; i++) {
        uint32_t client = router_client_enter(bench.router);
        struct segment_endpoint *endpoint;

        if (client == 0)
            break;
        endpoint = segment_endpoint(&bench.segment, slot_of(&bench, client));
        atomic_store(&endpoint->mail, lies[i % 7]);
        atomic_store(&endpoint->inbox, lies[i / 7]);
        atomic_store(&endpoint->returns, lies[(i + 3) % 7]);
        atomic_store(&endpoint->handed, lies[(i + 5) % 7]);
        router_client_leave(bench.router, client);
    }
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(clients_have_numbers_and_places_of_their_own),
        watched_test(what_was_sent_to_a_client_that_is_gone_comes_back),
        watched_test(a_shared_body_comes_back_with_its_last_reader),
        watched_test(a_place_is_not_given_away_while_blocks_of_it_are_in_use),
        watched_test(lies_about_a_client_do_no_harm),
        watched_test(reports_are_heard_and_their_blocks_come_back),
        watched_test(many_messages_are_taken_in_batches),
        watched_test(draining_takes_what_nobody_rang_for),
        watched_test(stop_is_sent_to_all_but_one),
        watched_test(what_is_not_for_a_router_or_a_lie_is_dropped),
        watched_test(a_long_text_is_cut),
        watched_test(a_link_to_nowhere_is_told_once_with_its_place),
        watched_test(lies_do_no_harm),
        watched_test(a_header_that_was_overwritten_is_noticed_though_nobody_rings),
        watched_test(a_queue_that_was_overwritten_is_noticed_with_its_owner),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
