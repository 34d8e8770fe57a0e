#include "tests/unit/inbox_fixture.h"

/* ---- one thread ---- */

static void messages_are_taken_in_the_order_of_their_arrival(void **state)
{
    const struct segment *segment = *state;
    uint64_t offset;

    for (unsigned count = 1; count < 20; count++) {
        for (unsigned i = 0; i < count; i++)
            inbox_push(segment, READER, place(segment, i));
        assert_true(inbox_has_mail(segment, READER));
        offset = inbox_take(segment, READER);
        for (unsigned i = 0; i < count; i++) {
            assert_int_equal(offset, place(segment, i));
            assert_int_equal(inbox_next(segment, offset), segment_block(segment, offset)->next);
            offset = segment_block(segment, offset)->next;
        }
        assert_int_equal(offset, 0);
        assert_false(inbox_has_mail(segment, READER));
    }
}

static void an_empty_inbox_gives_nothing_and_no_error(void **state)
{
    const struct segment *segment = *state;

    errno = EBADMSG;
    assert_int_equal(inbox_take(segment, READER), 0);
    assert_int_equal(errno, 0);
    assert_true(inbox_announce_sleep(segment, READER));
    errno = EBADMSG;
    assert_int_equal(inbox_take(segment, READER), 0);
    assert_int_equal(errno, 0);
}

static void who_has_mail_may_not_sleep(void **state)
{
    const struct segment *segment = *state;

    inbox_push(segment, READER, place(segment, 0));
    assert_false(inbox_announce_sleep(segment, READER));
    assert_int_equal(inbox_take(segment, READER), place(segment, 0));
    assert_true(inbox_announce_sleep(segment, READER));
    assert_true(inbox_announce_sleep(segment, READER));
    inbox_push(segment, READER, place(segment, 0));
    assert_int_equal(segment_block(segment, place(segment, 0))->next, 0);
    assert_false(inbox_announce_sleep(segment, READER));
    /* Mail came between the announcement and the sleep: it ends at once. */
    assert_int_equal(inbox_sleep(segment, READER, -1), 0);
    assert_int_equal(inbox_take(segment, READER), place(segment, 0));
}

static void a_sleep_ends_after_its_time(void **state)
{
    const struct segment *segment = *state;

    assert_true(inbox_announce_sleep(segment, READER));
    assert_int_equal(inbox_sleep(segment, READER, 1000000), 0);
    /* The announcement is withdrawn: nobody wastes a wake on who is awake. */
    assert_int_equal(atomic_load(&segment_endpoint(segment, READER)->inbox), 0);
}

static void a_wake_reaches_who_has_announced_sleep_and_does_not_sleep_yet(void **state)
{
    const struct segment *segment = *state;

    assert_true(inbox_announce_sleep(segment, READER));
    inbox_wake(segment, READER);
    assert_int_equal(inbox_sleep(segment, READER, -1), 0);
}

static void a_wake_leaves_mail_alone(void **state)
{
    const struct segment *segment = *state;

    inbox_push(segment, READER, place(segment, 0));
    inbox_wake(segment, READER);
    assert_int_equal(inbox_take(segment, READER), place(segment, 0));
}

static void the_router_is_woken_by_its_eventfd_only_while_it_sleeps(void **state)
{
    const struct segment *segment = *state;

    inbox_push(segment, ROUTER, place(segment, 0));
    assert_int_equal(eventfd_take(segment), 0);
    assert_int_equal(inbox_take(segment, ROUTER), place(segment, 0));

    assert_true(inbox_announce_sleep(segment, ROUTER));
    inbox_push(segment, ROUTER, place(segment, 0));
    inbox_push(segment, ROUTER, place(segment, 1));
    assert_int_equal(eventfd_take(segment), 1);
    assert_int_equal(inbox_take(segment, ROUTER), place(segment, 0));

    assert_true(inbox_announce_sleep(segment, ROUTER));
    inbox_announce_awake(segment, ROUTER);
    inbox_push(segment, ROUTER, place(segment, 0));
    assert_int_equal(eventfd_take(segment), 0);
    inbox_wake(segment, ROUTER);
    assert_int_equal(eventfd_take(segment), 1);
}

static void withdrawing_does_not_lose_mail(void **state)
{
    const struct segment *segment = *state;

    assert_true(inbox_announce_sleep(segment, ROUTER));
    inbox_push(segment, ROUTER, place(segment, 0));
    inbox_announce_awake(segment, ROUTER);
    assert_int_equal(inbox_take(segment, ROUTER), place(segment, 0));
}

static void a_wake_without_an_eventfd_does_nothing(void **state)
{
    struct segment segment = *(struct segment *)*state;

    segment.router_wake = -1;
    assert_true(inbox_announce_sleep(&segment, ROUTER));
    inbox_push(&segment, ROUTER, place(&segment, 0));
    assert_int_equal(inbox_take(&segment, ROUTER), place(&segment, 0));
}

/* ---- corrupt chains ---- */

static void assert_corrupt(const struct segment *segment)
{
    errno = 0;
    assert_int_equal(inbox_take(segment, READER), 0);
    assert_int_equal(errno, EBADMSG);
    /* The inbox itself works on. */
    inbox_push(segment, READER, place(segment, 1000));
    assert_int_equal(inbox_take(segment, READER), place(segment, 1000));
    assert_int_equal(inbox_take(segment, READER), 0);
    assert_int_equal(errno, 0);
}

static void a_link_that_is_no_offset_is_found(void **state)
{
    const struct segment *segment = *state;
    const struct segment_geometry *g = &segment->geometry;
    const uint64_t wrong[] = {1,
                              2,
                              64,
                              g->regions - 64,
                              g->regions + 8,
                              g->size,
                              g->size - 64,
                              g->size + 64,
                              1ull << 63,
                              UINT64_MAX,
                              UINT64_MAX - 63};

    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        for (unsigned behind = 0; behind < 4; behind++) {
            for (unsigned j = 0; j < behind; j++)
                inbox_push(segment, READER, place(segment, j));
            if (behind > 0)
                segment_block(segment, place(segment, 0))->next = wrong[i];
            else if (wrong[i] == INBOX_ASLEEP)
                continue;
            else
                atomic_store(&segment_endpoint(segment, READER)->inbox, wrong[i]);
            assert_corrupt(segment);
        }
}

static void a_circular_chain_is_found(void **state)
{
    const struct segment *segment = *state;

    /* Chains of every length whose last block links back to each block of it in turn. */
    for (unsigned length = 1; length < 20; length++)
        for (unsigned back = 0; back < length; back++) {
            for (unsigned i = 0; i < length; i++)
                inbox_push(segment, READER, place(segment, i));
            segment_block(segment, place(segment, 0))->next = place(segment, back);
            assert_corrupt(segment);
        }
}

static void a_link_written_after_the_taking_is_checked_when_it_is_followed(void **state)
{
    const struct segment *segment = *state;
    uint64_t offset;

    inbox_push(segment, READER, place(segment, 0));
    inbox_push(segment, READER, place(segment, 1));
    offset = inbox_take(segment, READER);
    assert_int_equal(inbox_next(segment, offset), place(segment, 1));
    segment_block(segment, offset)->next = segment->geometry.size;
    assert_int_equal(inbox_next(segment, offset), 0);
    segment_block(segment, offset)->next = 4096;
    assert_int_equal(inbox_next(segment, offset), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        inbox_test(messages_are_taken_in_the_order_of_their_arrival),
        inbox_test(an_empty_inbox_gives_nothing_and_no_error),
        inbox_test(who_has_mail_may_not_sleep),
        inbox_test(a_sleep_ends_after_its_time),
        inbox_test(a_wake_reaches_who_has_announced_sleep_and_does_not_sleep_yet),
        inbox_test(a_wake_leaves_mail_alone),
        inbox_test(the_router_is_woken_by_its_eventfd_only_while_it_sleeps),
        inbox_test(withdrawing_does_not_lose_mail),
        inbox_test(a_wake_without_an_eventfd_does_nothing),
        inbox_test(a_link_that_is_no_offset_is_found),
        inbox_test(a_circular_chain_is_found),
        inbox_test(a_link_written_after_the_taking_is_checked_when_it_is_followed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
