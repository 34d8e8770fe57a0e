/* Blocks as a byte stream: its bytes, random cuts against a model, and the other end's lies. */
#include "tests/unit/unit.h"

#include "proto/stream.h"

#define LIMIT ((uint64_t)1 << 20)
#define MOST 300 /* blocks of a random run */

/* An end: blocks to send, and what came. */
struct end {
    struct stream stream;
    struct c4p_envelope blocks[MOST];
    uint8_t *bodies[MOST];
    unsigned count, next, sent;

    struct c4p_envelope came[MOST];
    uint8_t *came_bodies[MOST];
    unsigned begun, ended;
    unsigned asked;
    struct dice *dice; /* decides when there is no memory; NULL: there always is */
    bool no_memory;
    uint32_t unwanted; /* target of what is skipped; 0: none */
};

static bool on_next(void *context, struct c4p_envelope *envelope, const void **body)
{
    struct end *end = context;

    if (end->next == end->count)
        return false;
    memcpy((void *)envelope, &end->blocks[end->next], sizeof(*envelope));
    *body = end->bodies[end->next++];
    return true;
}

static void on_sent(void *context)
{
    struct end *end = context;

    end->sent++;
    require(end->sent == end->next);
}

static enum stream_answer on_begin(void *context, const struct c4p_envelope *envelope, void **body)
{
    struct end *end = context;

    end->asked++;
    require(end->begun == end->ended && end->begun < MOST);
    if (envelope->kind == C4P_STOP)
        return STREAM_REFUSE;
    if (end->no_memory || (end->dice != NULL && dice_below(end->dice, 3) == 0))
        return STREAM_LATER;
    if (end->unwanted != 0 && envelope->target == end->unwanted)
        return STREAM_SKIP;
    memcpy((void *)&end->came[end->begun], envelope, sizeof(*envelope));
    *body = end->came_bodies[end->begun] = malloc(envelope->body_size + 1);
    require(*body != NULL);
    end->begun++;
    return STREAM_TAKE;
}

static void on_end(void *context)
{
    struct end *end = context;

    end->ended++;
    require(end->ended == end->begun);
}

static struct end *end_open(void)
{
    struct end *end = calloc(1, sizeof(*end));
    const struct stream_owner owner = {on_next, on_sent, on_begin, on_end, end};

    require(end != NULL);
    stream_init(&end->stream, &owner, TEST_EPOCH, LIMIT);
    return end;
}

static void end_close(struct end *end)
{
    for (unsigned i = 0; i < MOST; i++) {
        free(end->bodies[i]);
        free(end->came_bodies[i]);
    }
    stream_clear(&end->stream);
    free(end);
}

/* A block to send, with a body of bytes that depend on its number. */
static struct c4p_envelope *block_add(struct end *end, uint64_t size)
{
    struct c4p_envelope *block = &end->blocks[end->count];

    require(end->count < MOST);
    block->version = C4P_ENVELOPE_VERSION;
    block->kind = C4P_CALL;
    block->epoch = TEST_EPOCH;
    block->source = C4P_CLIENT | 5;
    block->target = 2;
    block->sequence = end->count;
    block->body_size = size;
    require((end->bodies[end->count] = malloc(size + 1)) != NULL);
    for (uint64_t i = 0; i < size; i++)
        end->bodies[end->count][i] = (uint8_t)(i * 7 + end->count);
    end->count++;
    return block;
}

static void came_equals_sent(const struct end *from, const struct end *to)
{
    assert_int_equal(to->ended, from->count);
    for (unsigned i = 0; i < from->count; i++) {
        assert_memory_equal(&to->came[i], &from->blocks[i], C4P_ENVELOPE_SIZE);
        assert_memory_equal(to->came_bodies[i], from->bodies[i], from->blocks[i].body_size);
    }
}

/* ---- the bytes ---- */

static void a_block_on_the_wire_is_its_envelope_without_local_fields_and_its_body(void **state)
{
    static const uint8_t golden[] = {
        0x02,                               /* DATA */
        0,    0,    0,    0,    0, 0, 0, 0, /* next */
        0,    0,    0,    0,    0, 0, 0, 0, /* body */
        3,    0,    0,    0,    0, 0, 0, 0, /* body_size */
        1,    1,    0x02, 0,                /* version, kind, flags */
        7,    0,    0,    0,                /* epoch */
        5,    0,    0,    0xc0,             /* source */
        2,    0,    0,    0,                /* target */
        0x88, 0x77, 0x66, 0x55, 4, 3, 2, 1, /* collection */
        0x21, 0,    0,    0,    0, 0, 0, 0, /* future */
        0xdd, 0xcc, 0xbb, 0xaa,             /* method */
        9,    0,    0,    0,                /* sequence */
        0,    0,    0,    0,                /* refs */
        1,    0,                            /* args */
        2,    0,                            /* ndims, reserved */
        0xff, 0xff, 0xff, 0xff, 6, 0, 0, 0, /* index */
        0,    0,    0,    0,    0, 0, 0, 0, /**/
        0,    0,    0,    0,    0, 0, 0, 0, /**/
        0,    7,    14,                     /* the body */
    };
    struct end *end = end_open();
    struct c4p_envelope *block = block_add(end, 3);
    uint8_t frame[STREAM_FRAME];

    (void)state;
    block->next = 640;
    block->body = 1280;
    atomic_store(&block->refs, 4);
    block->flags = C4P_RETURN;
    block->collection = 0x0102030455667788u;
    block->future = 0x21;
    block->method = 0xaabbccdd;
    block->sequence = 9;
    block->args = 1;
    block->ndims = 2;
    block->index[0] = -1;
    block->index[1] = 6;
    assert_int_equal(stream_make(&end->stream, frame, sizeof(frame)), sizeof(golden));
    assert_memory_equal(frame, golden, sizeof(golden));
    assert_int_equal(stream_make(&end->stream, frame, sizeof(frame)), 0);
    end_close(end);
}

static void credit_is_a_number_of_eight_bytes(void **state)
{
    static const uint8_t golden[] = {0x03, 0x60, 0x00, 0x50, 0, 0, 0, 0, 0};
    struct end *from = end_open(), *to = end_open();
    uint8_t frame[STREAM_FRAME];
    size_t size;

    (void)state;
    block_add(from, LIMIT);
    while ((size = stream_make(&from->stream, frame, sizeof(frame))) > 0)
        assert_int_equal(stream_take(&to->stream, frame, size), 0);
    assert_int_equal(stream_make(&to->stream, frame, sizeof(frame)), sizeof(golden));
    assert_memory_equal(frame, golden, sizeof(golden));
    assert_int_equal(stream_take(&from->stream, frame, sizeof(golden)), 0);
    assert_int_equal(stream_make(&to->stream, frame, sizeof(frame)), 0);
    end_close(from);
    end_close(to);
}

static void hello_and_bye_have_their_bytes(void **state)
{
    uint8_t ticket[STREAM_TICKET_SIZE], read[STREAM_TICKET_SIZE] = {0}, version;
    uint8_t frame[STREAM_MAX_SENTENCE], bye[] = {4, 'n', 'o', '\n'};
    char sentence[STREAM_MAX_SENTENCE], longer[2 * STREAM_MAX_SENTENCE];

    (void)state;
    for (unsigned i = 0; i < sizeof(ticket); i++)
        ticket[i] = (uint8_t)(i + 100);
    assert_int_equal(stream_make_hello(frame, ticket, sizeof(ticket)), 34);
    assert_int_equal(frame[0], 1);
    assert_int_equal(frame[1], 1);
    assert_memory_equal(frame + 2, ticket, sizeof(ticket));
    assert_true(stream_read_hello(frame, 34, &version, read, sizeof(read)));
    assert_memory_equal(read, ticket, sizeof(ticket));
    assert_false(stream_read_hello(frame, 33, &version, read, sizeof(read)));
    assert_false(stream_read_hello(frame, 1, &version, read, sizeof(read)));
    assert_int_equal(version, 0);
    frame[1] = 9;
    assert_false(stream_read_hello(frame, 34, &version, read, sizeof(read)));
    assert_int_equal(version, 9);
    assert_false(stream_read_hello(bye, sizeof(bye), &version, read, 0));

    assert_int_equal(stream_make_bye(frame, "no\n"), sizeof(bye));
    assert_memory_equal(frame, bye, sizeof(bye));
    assert_true(stream_read_bye(frame, sizeof(bye), sentence));
    assert_string_equal(sentence, "no ");
    assert_false(stream_read_bye(frame, 0, sentence));
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(stream_make_bye(frame, longer), STREAM_MAX_SENTENCE);
}

static void small_blocks_share_a_frame_and_a_large_one_takes_several(void **state)
{
    struct end *from = end_open(), *to = end_open();
    uint8_t frame[STREAM_FRAME + 1000];
    size_t size;

    (void)state;
    for (int i = 0; i < 100; i++)
        block_add(from, 10);
    size = stream_make(&from->stream, frame, sizeof(frame));
    assert_int_equal(size, 1 + 100 * (C4P_ENVELOPE_SIZE + 10));
    assert_int_equal(from->sent, 100);
    assert_int_equal(stream_take(&to->stream, frame, size), 0);
    block_add(from, LIMIT);
    for (unsigned frames = 0; frames < LIMIT / STREAM_FRAME; frames++) {
        size = stream_make(&from->stream, frame, sizeof(frame));
        assert_int_equal(size, STREAM_FRAME);
        assert_int_equal(from->sent, 100); /* its body is still needed */
        assert_int_equal(stream_take(&to->stream, frame, size), 0);
    }
    size = stream_make(&from->stream, frame, sizeof(frame));
    assert_int_equal(from->sent, 101);
    assert_int_equal(stream_take(&to->stream, frame, size), 0);
    came_equals_sent(from, to);
    end_close(from);
    end_close(to);
}

/* ---- any cuts ---- */

/* One frame, in one or the other direction, or another try for memory. */
static void step(struct end *from, struct end *to, struct dice *dice, uint8_t *frame)
{
    size_t room = dice_below(dice, 4) ? 9 + dice_below(dice, 400) : STREAM_FRAME;
    size_t size = stream_make(&from->stream, frame, room);

    assert_true(size <= room);
    if (size > 0)
        assert_int_equal(stream_take(&to->stream, frame, size), 0);
    assert_true(from->stream.sent <= to->stream.consumed + STREAM_WINDOW);
    if (dice_below(dice, 2))
        assert_int_equal(stream_resume(&to->stream), 0);
}

static uint64_t any_size(struct dice *dice)
{
    switch (dice_below(dice, 10)) {
    case 0:
        return 0;
    case 1:
        return dice_below(dice, LIMIT + 1);
    case 2:
    case 3:
        return dice_below(dice, 50000);
    default:
        return dice_below(dice, 300);
    }
}

static void frames_cut_anywhere_bring_the_same_blocks_in_both_directions(void **state)
{
    uint64_t seeds = stress(40);
    uint8_t *frame = malloc(STREAM_FRAME);

    (void)state;
    require(frame != NULL);
    for (uint64_t seed = first_seed(); seed < first_seed() + seeds; seed++) {
        struct dice dice = dice_seeded(seed);
        struct end *one = end_open(), *other = end_open();
        unsigned blocks[2] = {(unsigned)dice_below(&dice, MOST), (unsigned)dice_below(&dice, 30)};

        seed_in_use = seed;
        one->dice = other->dice = &dice;
        while (one->ended < blocks[1] || other->ended < blocks[0]) {
            if (one->count < blocks[0] && dice_below(&dice, 2))
                block_add(one, any_size(&dice));
            if (other->count < blocks[1] && dice_below(&dice, 2))
                block_add(other, any_size(&dice));
            step(one, other, &dice, frame);
            step(other, one, &dice, frame);
        }
        came_equals_sent(one, other);
        came_equals_sent(other, one);
        end_close(one);
        end_close(other);
    }
    free(frame);
}

static void without_memory_no_more_than_the_window_comes_and_then_it_goes_on(void **state)
{
    struct end *from = end_open(), *to = end_open();
    uint8_t *frame = malloc(STREAM_FRAME);
    uint64_t under_way = 0;
    size_t size;

    (void)state;
    require(frame != NULL);
    for (int i = 0; i < 10; i++)
        block_add(from, LIMIT);
    to->no_memory = true;
    while ((size = stream_make(&from->stream, frame, STREAM_FRAME)) > 0) {
        under_way += size - 1;
        assert_int_equal(stream_take(&to->stream, frame, size), 0);
    }
    assert_int_equal(under_way, STREAM_WINDOW);
    assert_true(stream_waits(&to->stream));
    assert_int_equal(stream_resume(&to->stream), 0);
    assert_int_equal(to->begun, 0);
    to->no_memory = false;
    while (to->ended < 10) {
        assert_int_equal(stream_resume(&to->stream), 0);
        assert_false(stream_waits(&to->stream));
        while ((size = stream_make(&to->stream, frame, STREAM_FRAME)) > 0)
            assert_int_equal(stream_take(&from->stream, frame, size), 0);
        while ((size = stream_make(&from->stream, frame, STREAM_FRAME)) > 0)
            assert_int_equal(stream_take(&to->stream, frame, size), 0);
    }
    came_equals_sent(from, to);
    free(frame);
    end_close(from);
    end_close(to);
}

static void an_envelope_that_waits_alone_for_memory_is_asked_for_again(void **state)
{
    struct end *from = end_open(), *to = end_open();
    uint8_t frame[1 + C4P_ENVELOPE_SIZE];

    (void)state;
    block_add(from, 0);
    to->no_memory = true;
    assert_int_equal(stream_make(&from->stream, frame, sizeof(frame)), sizeof(frame));
    assert_int_equal(stream_take(&to->stream, frame, sizeof(frame)), 0);
    assert_true(stream_waits(&to->stream));
    to->no_memory = false;
    assert_int_equal(stream_resume(&to->stream), 0);
    assert_false(stream_waits(&to->stream));
    came_equals_sent(from, to);
    end_close(from);
    end_close(to);
}

static void what_nobody_wants_is_passed_over(void **state)
{
    struct end *from = end_open(), *to = end_open();
    uint8_t *frame = malloc(STREAM_FRAME);
    size_t size;

    (void)state;
    require(frame != NULL);
    to->unwanted = 3;
    block_add(from, 700000)->target = 3;
    block_add(from, 10);
    block_add(from, 0)->target = 3;
    block_add(from, 20);
    while ((size = stream_make(&from->stream, frame, STREAM_FRAME)) > 0)
        assert_int_equal(stream_take(&to->stream, frame, size), 0);
    assert_int_equal(to->ended, 2);
    assert_int_equal(to->came[0].sequence, 1);
    assert_int_equal(to->came[1].sequence, 3);
    free(frame);
    end_close(from);
    end_close(to);
}

/* ---- lies ---- */

/* What an end says to a frame with one block that somebody changed. */
static void refused(void (*change)(struct c4p_envelope *), const char *why)
{
    struct end *from = end_open(), *to = end_open();
    uint8_t frame[1 + C4P_ENVELOPE_SIZE + 8];
    struct c4p_envelope envelope;

    block_add(from, 8);
    assert_int_equal(stream_make(&from->stream, frame, sizeof(frame)), sizeof(frame));
    memcpy((void *)&envelope, frame + 1, sizeof(envelope));
    change(&envelope);
    memcpy(frame + 1, (void *)&envelope, sizeof(envelope));
    assert_int_equal(stream_take(&to->stream, frame, sizeof(frame)), -1);
    assert_string_equal(to->stream.failure, why);
    /* Once is enough. */
    assert_int_equal(stream_take(&to->stream, frame, sizeof(frame)), -1);
    assert_int_equal(stream_resume(&to->stream), -1);
    assert_int_equal(to->begun, 0);
    end_close(from);
    end_close(to);
}

static void too_large(struct c4p_envelope *envelope)
{
    envelope->body_size = LIMIT + 1;
}

static void far_too_large(struct c4p_envelope *envelope)
{
    envelope->body_size = UINT64_MAX;
}

static void stale(struct c4p_envelope *envelope)
{
    envelope->epoch++;
}

static void linked(struct c4p_envelope *envelope)
{
    envelope->next = 64;
}

static void shared(struct c4p_envelope *envelope)
{
    envelope->body = 64;
}

static void counted(struct c4p_envelope *envelope)
{
    atomic_store(&envelope->refs, 1);
}

static void not_for_it(struct c4p_envelope *envelope)
{
    envelope->kind = C4P_STOP;
}

static void of_no_kind(struct c4p_envelope *envelope)
{
    envelope->kind = C4P_KINDS;
}

static void blocks_that_lie_end_the_connection_with_the_reason(void **state)
{
    (void)state;
    refused(too_large, "a message is larger than any that fits the job's segment");
    refused(far_too_large, "a message is larger than any that fits the job's segment");
    refused(stale, "another life of the job");
    refused(linked, "a message has fields that mean nothing on a wire");
    refused(shared, "a message has fields that mean nothing on a wire");
    refused(counted, "a message has fields that mean nothing on a wire");
    refused(of_no_kind, "unknown message kind");
    refused(not_for_it, "a message is of a kind, or has an address, that its sender may not use");
}

static void frame_refused(const uint8_t *frame, size_t size)
{
    struct end *end = end_open();

    assert_int_equal(stream_take(&end->stream, frame, size), -1);
    assert_non_null(end->stream.failure);
    end_close(end);
}

static void frames_that_lie_end_the_connection(void **state)
{
    static uint8_t large[STREAM_FRAME + 1] = {STREAM_DATA};
    uint64_t total = STREAM_WINDOW + 1;
    uint8_t credit[10] = {STREAM_CREDIT};

    (void)state;
    frame_refused((const uint8_t *)"", 0);
    frame_refused(large, 1);
    frame_refused(large, sizeof(large));
    frame_refused((const uint8_t *)"\x01", 1);
    frame_refused((const uint8_t *)"\x04", 1);
    frame_refused((const uint8_t *)"\x00", 1);
    frame_refused((const uint8_t *)"\xff", 1);
    memcpy(credit + 1, &total, sizeof(total));
    frame_refused(credit, 9); /* more than it can have put away */
    frame_refused(credit, 10);
    frame_refused(credit, 8);
    total = STREAM_WINDOW - 1;
    memcpy(credit + 1, &total, sizeof(total));
    frame_refused(credit, 9); /* less than there was */
}

static void more_than_the_credit_ends_the_connection(void **state)
{
    struct end *from = end_open(), *to = end_open();
    uint8_t *frame = malloc(STREAM_FRAME);
    size_t size;

    (void)state;
    require(frame != NULL);
    for (int i = 0; i < 5; i++)
        block_add(from, LIMIT);
    to->no_memory = true;
    while ((size = stream_make(&from->stream, frame, STREAM_FRAME)) > 0)
        assert_int_equal(stream_take(&to->stream, frame, size), 0);
    assert_int_equal(stream_take(&to->stream, (const uint8_t *)"\x02x", 2), -1);
    assert_string_equal(to->stream.failure, "more was sent than there was credit for");
    free(frame);
    end_close(from);
    end_close(to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(a_block_on_the_wire_is_its_envelope_without_local_fields_and_its_body),
        watched_test(credit_is_a_number_of_eight_bytes),
        watched_test(hello_and_bye_have_their_bytes),
        watched_test(small_blocks_share_a_frame_and_a_large_one_takes_several),
        watched_test(frames_cut_anywhere_bring_the_same_blocks_in_both_directions),
        watched_test(without_memory_no_more_than_the_window_comes_and_then_it_goes_on),
        watched_test(an_envelope_that_waits_alone_for_memory_is_asked_for_again),
        watched_test(what_nobody_wants_is_passed_over),
        watched_test(blocks_that_lie_end_the_connection_with_the_reason),
        watched_test(frames_that_lie_end_the_connection),
        watched_test(more_than_the_credit_ends_the_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
