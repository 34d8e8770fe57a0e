/*
 * The inbox under many producers: threads, processes, and processes that are killed.
 */
#include "tests/unit/inbox_fixture.h"

#include <poll.h>
#include <sched.h>

#include "proto/region.h"
#include "tests/unit/stepper.h"

/* ---- many producers ---- */

/* What a message of the stress tests carries: enough to see that it is whole. */
struct letter {
    struct c4p_envelope envelope;
    uint32_t producer;
    uint32_t number;
    uint64_t check;
};

static uint64_t letter_check(uint32_t producer, uint32_t number)
{
    return ((uint64_t)producer << 32 | number) * 0x9e3779b97f4a7c15u;
}

static void letter_send(const struct segment *segment, struct region *region, uint32_t to,
                        uint32_t producer, uint32_t number)
{
    struct letter *letter;
    uint64_t offset;

    /* Full: the reader has not given anything back yet. It needs the core more than we do. */
    while ((offset = region_alloc(region, sizeof(struct letter))) == 0)
        sched_yield();
    letter = (struct letter *)(void *)segment_block(segment, offset);
    memset(letter, 0, sizeof(*letter));
    letter->envelope.version = C4P_ENVELOPE_VERSION;
    letter->envelope.kind = C4P_CALL;
    letter->envelope.epoch = TEST_EPOCH;
    letter->envelope.source = producer;
    letter->envelope.body_size = sizeof(*letter) - sizeof(letter->envelope);
    letter->producer = producer;
    letter->number = number;
    letter->check = letter_check(producer, number);
    inbox_push(segment, to, offset);
}

/* Check a taken chain and give its blocks back. Returns how many there were. */
static unsigned long letters_read(const struct segment *segment, uint64_t offset,
                                  uint32_t *expected, struct region_returns *returns)
{
    unsigned long count = 0;

    while (offset != 0) {
        const struct letter *letter = (const void *)segment_block(segment, offset);
        uint64_t next = inbox_next(segment, offset);
        struct c4p_envelope copy;

        require(envelope_check(&letter->envelope, segment_room(segment, offset), TEST_EPOCH,
                               &copy) == C4P_ENVELOPE_OK);
        require(letter->producer < PRODUCERS);
        require(copy.source == letter->producer);
        require(letter->check == letter_check(letter->producer, letter->number));
        require(letter->number == expected[letter->producer]++);
        region_returns_add(returns, offset, false);
        offset = next;
        count++;
    }
    return count;
}

struct job {
    const struct segment *segment;
    uint32_t producer, to, count;
};

static void produce(const struct segment *segment, void *argument)
{
    const struct job *job = argument;
    struct region *region = region_create(segment, job->producer);

    require(region != NULL);
    for (uint32_t i = 0; i < job->count; i++)
        letter_send(segment, region, job->to, job->producer, i);
    region_destroy(region);
}

static void *produce_in_thread(void *argument)
{
    produce(((struct job *)argument)->segment, argument);
    return NULL;
}

/* A PE: takes mail, sleeps on the futex when there is none. */
static void consume(const struct segment *segment, unsigned long count)
{
    uint32_t expected[PRODUCERS] = {0};
    struct region_returns returns;

    require(region_returns_init(&returns, segment) == 0);
    while (count > 0) {
        uint64_t offset = inbox_take(segment, READER);

        require(errno == 0);
        if (offset != 0) {
            count -= letters_read(segment, offset, expected, &returns);
            continue;
        }
        region_returns_flush(&returns);
        if (inbox_announce_sleep(segment, READER))
            require(inbox_sleep(segment, READER, -1) == 0);
    }
    region_returns_flush(&returns);
    region_returns_free(&returns);
}

/* The router: sleeps in poll() on its eventfd. */
static void consume_as_router(const struct segment *segment, unsigned long count)
{
    uint32_t expected[PRODUCERS] = {0};
    struct region_returns returns;

    require(region_returns_init(&returns, segment) == 0);
    while (count > 0) {
        struct pollfd ready = {.fd = segment->router_wake, .events = POLLIN};
        uint64_t offset = inbox_take(segment, ROUTER);

        require(errno == 0);
        if (offset != 0) {
            count -= letters_read(segment, offset, expected, &returns);
            continue;
        }
        region_returns_flush(&returns);
        if (!inbox_announce_sleep(segment, ROUTER))
            continue;
        require(poll(&ready, 1, -1) == 1);
        require(eventfd_take(segment) > 0);
        inbox_announce_awake(segment, ROUTER);
    }
    region_returns_free(&returns);
}

static void threads_produce(const struct segment *segment, uint32_t to,
                            void (*consumer)(const struct segment *, unsigned long))
{
    struct job jobs[PRODUCERS];
    pthread_t threads[PRODUCERS];

    for (uint32_t i = 0; i < PRODUCERS; i++) {
        jobs[i] = (struct job){segment, i, to, (uint32_t)stress(100000)};
        threads[i] = thread_start(produce_in_thread, &jobs[i]);
    }
    consumer(segment, PRODUCERS * stress(100000));
    for (uint32_t i = 0; i < PRODUCERS; i++)
        thread_join(threads[i]);
    assert_int_equal(inbox_take(segment, to), 0);
}

static void every_thread_s_messages_arrive_once_and_in_order(void **state)
{
    threads_produce(*state, READER, consume);
}

static void the_router_gets_every_thread_s_messages_once_and_in_order(void **state)
{
    threads_produce(*state, ROUTER, consume_as_router);
}

static void processes_produce(const struct segment *segment, uint32_t to,
                              void (*consumer)(const struct segment *, unsigned long))
{
    pid_t children[PRODUCERS];

    for (uint32_t i = 0; i < PRODUCERS; i++) {
        struct job job = {segment, i, to, (uint32_t)stress(100000)};

        children[i] = child_start(produce, segment, &job);
    }
    consumer(segment, PRODUCERS * stress(100000));
    for (uint32_t i = 0; i < PRODUCERS; i++)
        child_join(children[i]);
    assert_int_equal(inbox_take(segment, to), 0);
}

static void every_process_s_messages_arrive_once_and_in_order(void **state)
{
    processes_produce(*state, READER, consume);
}

static void the_router_gets_every_process_s_messages_once_and_in_order(void **state)
{
    processes_produce(*state, ROUTER, consume_as_router);
}

/* ---- sleep and wake ---- */

/* Sends one message back for each that comes, asleep in between. */
static void echo(const struct segment *segment, uint32_t own, uint32_t other, unsigned long rounds)
{
    for (unsigned long i = 0; i < rounds; i++) {
        uint64_t offset;

        while ((offset = inbox_take(segment, own)) == 0)
            if (inbox_announce_sleep(segment, own))
                require(inbox_sleep(segment, own, -1) == 0);
        require(inbox_next(segment, offset) == 0);
        inbox_push(segment, other, offset);
    }
}

static void echo_in_child(const struct segment *segment, void *argument)
{
    (void)argument;
    echo(segment, 0, READER, stress(10000));
}

static void *echo_in_thread(void *argument)
{
    echo(argument, 0, READER, stress(10000));
    return NULL;
}

/* A lost wake-up is a hang here: there is one message, and both ends sleep for ever without it. */
static void no_wake_is_lost_between_two_processes(void **state)
{
    const struct segment *segment = *state;
    pid_t child = child_start(echo_in_child, segment, NULL);

    inbox_push(segment, 0, place(segment, 0));
    echo(segment, READER, 0, stress(10000) - 1);
    child_join(child);
}

static void no_wake_is_lost_between_two_threads(void **state)
{
    const struct segment *segment = *state;
    pthread_t thread = thread_start(echo_in_thread, *state);

    inbox_push(segment, 0, place(segment, 0));
    echo(segment, READER, 0, stress(10000) - 1);
    thread_join(thread);
}

struct ending {
    const struct segment *segment;
    _Atomic unsigned long round; /* rounds that the waker has begun */
    _Atomic unsigned long done;  /* rounds that the sleeper has seen */
};

static void *sleep_until_told(void *argument)
{
    struct ending *ending = argument;
    const struct segment *segment = ending->segment;

    for (unsigned long round = 1; round <= stress(10000); round++) {
        while (atomic_load(&ending->round) < round) {
            require(inbox_announce_sleep(segment, READER));
            if (atomic_load(&ending->round) >= round)
                inbox_announce_awake(segment, READER);
            else
                require(inbox_sleep(segment, READER, -1) == 0);
        }
        atomic_store(&ending->done, round);
    }
    return NULL;
}

/* As at a job's end: no message is queued, only a word elsewhere is set, then inbox_wake(). */
static void a_wake_without_mail_is_never_lost(void **state)
{
    struct ending ending = {.segment = *state};
    pthread_t thread = thread_start(sleep_until_told, &ending);

    for (unsigned long round = 1; round <= stress(10000); round++) {
        atomic_store(&ending.round, round);
        inbox_wake(*state, READER);
        while (atomic_load(&ending.done) < round)
            sched_yield();
    }
    thread_join(thread);
}

static void signal_ignored(int signal)
{
    (void)signal;
}

struct sleeper {
    const struct segment *segment;
    _Atomic int result;
};

static void *sleep_once(void *argument)
{
    struct sleeper *sleeper = argument;
    int result;

    require(inbox_announce_sleep(sleeper->segment, READER));
    result = inbox_sleep(sleeper->segment, READER, -1);
    atomic_store(&sleeper->result, result);
    return NULL;
}

static void a_signal_ends_a_sleep(void **state)
{
    struct sleeper sleeper = {.segment = *state, .result = -1};
    struct sigaction action = {.sa_handler = signal_ignored};
    pthread_t thread;

    require(sigaction(SIGUSR1, &action, NULL) == 0);
    thread = thread_start(sleep_once, &sleeper);
    while (atomic_load(&sleeper.result) == -1) {
        pthread_kill(thread, SIGUSR1);
        sched_yield();
    }
    thread_join(thread);
    assert_int_equal(atomic_load(&sleeper.result), EINTR);
    assert_int_equal(atomic_load(&segment_endpoint(sleeper.segment, READER)->inbox), 0);
}

/* ---- producers that are killed ---- */

static void produce_for_ever(const struct segment *segment, void *argument)
{
    struct region *region = region_create(segment, 0);

    (void)argument;
    for (uint32_t i = 0;; i++)
        letter_send(segment, region, ROUTER, 0, i);
}

/* Wait as the daemon does, for mail and for the death of the producer. */
static void wait_for_mail_or_death(const struct segment *segment, int pidfd)
{
    struct pollfd ready[2] = {{.fd = segment->router_wake, .events = POLLIN},
                              {.fd = pidfd, .events = POLLIN}};

    if (!inbox_announce_sleep(segment, ROUTER))
        return;
    require(poll(ready, 2, -1) > 0);
    eventfd_take(segment);
    inbox_announce_awake(segment, ROUTER);
}

/* Read a random number of messages, kill the producer wherever it is, and read what is left. */
static void a_producer_killed_at_a_random_moment_has_queued_whole_messages_only(void **state)
{
    const struct segment *segment = *state;
    struct dice dice = dice_seeded(first_seed());

    for (unsigned long round = 0; round < stress(150); round++) {
        uint32_t expected[PRODUCERS] = {0};
        unsigned long wanted = dice_below(&dice, 2000), spin = dice_below(&dice, 3000);
        struct region_returns returns;
        pid_t child = child_start(produce_for_ever, segment, NULL);
        int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
        unsigned long got = 0;

        require(pidfd >= 0 && region_returns_init(&returns, segment) == 0);
        while (got < wanted) {
            uint64_t offset = inbox_take(segment, ROUTER);

            require(errno == 0);
            got += letters_read(segment, offset, expected, &returns);
            region_returns_flush(&returns);
            if (offset == 0)
                wait_for_mail_or_death(segment, pidfd);
        }
        /* Let it sometimes die while the reader is announced asleep, sometimes in a full region. */
        if (round % 3 == 0 && inbox_announce_sleep(segment, ROUTER))
            wait_for_mail_or_death(segment, pidfd);
        for (volatile unsigned long i = 0; i < spin; i++)
            continue;
        child_kill(child);
        letters_read(segment, inbox_take(segment, ROUTER), expected, &returns);
        assert_int_equal(errno, 0);
        assert_int_equal(inbox_take(segment, ROUTER), 0);
        eventfd_take(segment);
        /* The next one starts afresh: what was returned to the dead one's region is forgotten. */
        region_returns_flush(&returns);
        atomic_store(&segment_endpoint(segment, 0)->returns, 0);
        region_returns_free(&returns);
        close(pidfd);
    }
}

enum situation { AWAKE, ASLEEP, WITH_MAIL };

static void *push_prepare(const struct segment *segment)
{
    struct region *region = region_create(segment, 0);
    uint64_t offset = region_alloc(region, sizeof(struct letter));
    struct letter *letter = (struct letter *)(void *)segment_block(segment, offset);

    letter->number = 4711;
    letter->check = letter_check(0, 4711);
    return letter;
}

static void push_act(const struct segment *segment, void *prepared)
{
    inbox_push(segment, ROUTER, (uint64_t)((uint8_t *)prepared - segment->base));
}

static void push_reset(const struct segment *segment, void *argument)
{
    eventfd_take(segment);
    require(inbox_take(segment, ROUTER) == 0);
    inbox_announce_awake(segment, ROUTER);
    if (*(enum situation *)argument == ASLEEP)
        require(inbox_announce_sleep(segment, ROUTER));
    if (*(enum situation *)argument == WITH_MAIL)
        inbox_push(segment, ROUTER, segment->geometry.regions + MIB);
}

static void push_check(const struct segment *segment, void *argument, bool survived)
{
    uint64_t offset = inbox_take(segment, ROUTER);
    const struct letter *letter;

    require(errno == 0);
    if (*(enum situation *)argument == WITH_MAIL) {
        require(offset == segment->geometry.regions + MIB);
        offset = inbox_next(segment, offset);
    }
    if (survived) {
        require(offset != 0);
        require((eventfd_take(segment) == 1) == (*(enum situation *)argument == ASLEEP));
    }
    if (offset == 0)
        return;
    letter = (const void *)segment_block(segment, offset);
    require(letter->number == 4711 && letter->check == letter_check(0, 4711));
    require(inbox_next(segment, offset) == 0);
}

static void a_push_cut_off_between_any_two_instructions_has_happened_or_not(void **state)
{
    static const struct stepped push = {push_prepare, push_act};

    for (enum situation situation = AWAKE; situation <= WITH_MAIL; situation++)
        kill_at_every_instruction(&push, *state, push_reset, push_check, &situation);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        inbox_test(every_thread_s_messages_arrive_once_and_in_order),
        inbox_test(the_router_gets_every_thread_s_messages_once_and_in_order),
        inbox_test(every_process_s_messages_arrive_once_and_in_order),
        inbox_test(the_router_gets_every_process_s_messages_once_and_in_order),
        inbox_test(no_wake_is_lost_between_two_processes),
        inbox_test(no_wake_is_lost_between_two_threads),
        inbox_test(a_wake_without_mail_is_never_lost),
        inbox_test(a_signal_ends_a_sleep),
        inbox_test(a_producer_killed_at_a_random_moment_has_queued_whole_messages_only),
        inbox_test(a_push_cut_off_between_any_two_instructions_has_happened_or_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
