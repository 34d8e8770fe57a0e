/* Letters between a home and its guest, over a carrier that loses, refuses, doubles and delays. */
#include "tests/unit/unit.h"

#include "daemon/jobs/letters.h"

#define UNDER_WAY 64
#define LETTERS 300
#define SEEDS 40

struct side {
    struct letters letters;
    struct side *other;
    C4p__Peer *way[UNDER_WAY]; /* to this side */
    unsigned count;
    uint64_t taken_in;
};

static uint32_t random_state;
static bool faults;
static int64_t now;

static uint32_t throw_of(uint32_t sides)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % sides;
}

static C4p__Peer *message_copy(const C4p__Peer *message)
{
    uint8_t packed[512];
    size_t size = c4p__peer__get_packed_size(message);

    require(size <= sizeof(packed));
    c4p__peer__pack(message, packed);
    return c4p__peer__unpack(NULL, size, packed);
}

static int carry(void *context, const struct node_key *to, C4p__Peer *message)
{
    struct side *reader = ((struct side *)context)->other;

    (void)to;
    if (reader->count == UNDER_WAY) /* as a link that is full */
        return -1;
    if (faults && throw_of(5) == 0)
        return 0; /* lost */
    reader->way[reader->count++] = message_copy(message);
    if (faults && reader->count < UNDER_WAY && throw_of(8) == 0)
        reader->way[reader->count++] = message_copy(message);
    return 0;
}

static void side_init(struct side *side, struct side *other, bool home)
{
    const struct courier courier = {carry, side};
    const struct node_key key = {{1}};

    memset(side, 0, sizeof(*side));
    side->other = other;
    letters_init(&side->letters, &courier, &key, 7, 1, home, now);
}

/* One of those under way arrives: the oldest, or with faults any. */
static void arrive(struct side *side)
{
    unsigned which = faults ? throw_of(side->count < 3 ? side->count : 3) : 0;
    C4p__Peer *message = side->way[which];

    memmove(&side->way[which], &side->way[which + 1], (--side->count - which) * sizeof(message));
    if (message->body_case == C4P__PEER__BODY_GUEST_ACK) {
        letters_acknowledged(&side->letters, message->guest_ack, now);
    } else if (letters_take(&side->letters, message->report->number, now)) {
        /* In order, none twice, none missing. */
        assert_int_equal(message->report->pe, side->taken_in);
        side->taken_in++;
    }
    c4p__peer__free_unpacked(message, NULL);
}

static void letter_write(struct side *side, uint32_t which)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__Report report = C4P__REPORT__INIT;

    report.pe = which;
    message.body_case = C4P__PEER__BODY_REPORT;
    message.report = &report;
    assert_int_equal(letters_write(&side->letters, &message, &report.number, now), 0);
}

static void step(struct side *side)
{
    if (side->count > 0 && throw_of(2) == 0)
        arrive(side);
    if (throw_of(4) == 0)
        letters_settle(&side->letters);
    if (now >= letters_wake_at(&side->letters))
        letters_tick(&side->letters, now);
}

static void side_end(struct side *side)
{
    while (side->count > 0)
        c4p__peer__free_unpacked(side->way[--side->count], NULL);
    letters_free(&side->letters);
}

static void exchange(uint32_t seed, bool with_faults)
{
    struct side home, guest;
    uint32_t written = 0;
    int64_t end;

    random_state = seed;
    faults = with_faults;
    now = 1000;
    end = now + 600000;
    side_init(&home, &guest, true);
    side_init(&guest, &home, false);
    while ((home.taken_in < LETTERS || guest.taken_in < LETTERS || home.letters.kept != NULL ||
            guest.letters.kept != NULL) &&
           now < end) {
        if (written < LETTERS && throw_of(3) == 0) {
            letter_write(&home, written);
            letter_write(&guest, written++);
        }
        step(&home);
        step(&guest);
        now += throw_of(20);
    }
    if (now >= end)
        print_error("seed %u\n", seed);
    assert_true(now < end);
    assert_int_equal(home.taken_in, LETTERS);
    assert_int_equal(guest.taken_in, LETTERS);
    side_end(&home);
    side_end(&guest);
}

static void all_arrive_in_order_on_a_good_way(void **state)
{
    (void)state;
    exchange(1, false);
}

static void all_arrive_once_and_in_order_whatever_the_way_does(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= SEEDS; seed++)
        exchange(seed, true);
}

static void no_more_are_under_way_than_a_link_takes(void **state)
{
    struct side home, guest;

    (void)state;
    faults = false;
    now = 1000;
    side_init(&home, &guest, true);
    side_init(&guest, &home, false);
    for (uint32_t i = 0; i < 1000; i++)
        letter_write(&guest, i);
    /* What the full link refused is sent when there is room again, without waiting for its time. */
    while (home.taken_in < 1000) {
        uint64_t before = home.taken_in;

        while (home.count > 0)
            arrive(&home);
        letters_settle(&home.letters);
        while (guest.count > 0)
            arrive(&guest);
        assert_true(home.taken_in > before);
    }
    side_end(&home);
    side_end(&guest);
}

static void who_hears_nothing_asks(void **state)
{
    struct side home, guest;

    (void)state;
    faults = false;
    now = 1000;
    side_init(&home, &guest, true);
    side_init(&guest, &home, false);
    now += LETTERS_ASK_MS;
    letters_tick(&home.letters, now);
    assert_int_equal(guest.count, 1);
    assert_true(guest.way[0]->guest_ack->answer && guest.way[0]->guest_ack->home);
    arrive(&guest);
    letters_settle(&guest.letters);
    assert_int_equal(home.count, 1);
    assert_false(home.way[0]->guest_ack->answer);
    side_end(&home);
    side_end(&guest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_arrive_in_order_on_a_good_way),
        cmocka_unit_test(all_arrive_once_and_in_order_whatever_the_way_does),
        cmocka_unit_test(no_more_are_under_way_than_a_link_takes),
        cmocka_unit_test(who_hears_nothing_asks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
