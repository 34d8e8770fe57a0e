/* PEs on another node, seen from their home and from there, over a way that may do anything. */
#include "tests/unit/guests_fixture.h"

#define LINES 12
#define TALK                                                                                       \
    "i=0; while [ $i -lt 12 ]; do echo $C4P_PE says $i; i=$((i+1)); done; exit $((C4P_PE + 2))"

static bool all_quiet(const struct bench *bench, unsigned jobs)
{
    for (unsigned job = 1; job <= jobs; job++)
        if (bench->homes[job].spawned == 0 || !crew_quiet(bench->homes[job].crew))
            return false;
    return true;
}

static void assert_whole(const struct home *home)
{
    char expected[MAX_OUTPUT];

    assert_int_equal(home->prepared, 1);
    assert_int_equal(home->spawned, 1);
    assert_int_equal(home->lost + home->failed + home->broken + home->unprepared, 0);
    assert_int_equal(home->streams_ended, 2 * PES);
    for (int pe = 1; pe <= PES; pe++) {
        size_t used = 0;

        for (int line = 0; line < LINES; line++)
            used += (size_t)snprintf(expected + used, sizeof(expected) - used, "%d says %d\n", pe,
                                     line);
        assert_string_equal(home->output[pe - 1], expected);
        assert_int_equal(home->died[pe - 1], 1);
        assert_int_equal(home->code[pe - 1], pe + 2);
    }
}

static void run_all(struct bench *bench, unsigned jobs)
{
    for (unsigned job = 1; job <= jobs; job++)
        home_open(bench, job, TALK);
    wait_until(bench, all_quiet(bench, jobs));
    for (unsigned job = 1; job <= jobs; job++)
        assert_whole(&bench->homes[job]);
    bench->faults = false;
    for (unsigned job = 1; job <= jobs; job++)
        home_close(&bench->homes[job]);
    wait_until(bench, bench->held == 0);
}

static void what_guests_do_is_told_whole_and_once(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench);
    run_all(&bench, 2);
    bench_close(&bench);
}

static void what_guests_do_is_told_whole_and_once_whatever_the_way_does(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench);
    bench.faults = true;
    run_all(&bench, JOBS);
    bench_close(&bench);
}

/* ---- one side by hand ---- */

static void tell(struct bench *bench, C4p__Peer *message)
{
    message->incarnation = bench->home_incarnation;
    require(guests_message(bench->guests, &home_key, message));
}

static void prepare_tell(struct bench *bench, C4p__Prepare *prepare)
{
    C4p__Peer message = C4P__PEER__INIT;

    message.body_case = C4P__PEER__BODY_PREPARE;
    message.prepare = prepare;
    tell(bench, &message);
}

static void launch_tell(struct bench *bench, uint64_t job, uint64_t attempt, uint64_t number)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__Launch launch = C4P__LAUNCH__INIT;

    launch.job = job;
    launch.attempt = attempt;
    launch.number = number;
    message.body_case = C4P__PEER__BODY_LAUNCH;
    message.launch = &launch;
    tell(bench, &message);
}

static void order_tell(struct bench *bench, uint64_t job, uint64_t attempt, uint64_t number,
                       uint32_t signal, bool end)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__Order order = C4P__ORDER__INIT;

    order.job = job;
    order.attempt = attempt;
    order.number = number;
    order.signal = signal;
    order.end = end;
    message.body_case = C4P__PEER__BODY_ORDER;
    message.order = &order;
    tell(bench, &message);
}

static void ack_tell(struct bench *bench, uint64_t job, uint64_t number, bool answer)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__GuestAck ack = C4P__GUEST_ACK__INIT;

    ack.job = job;
    ack.attempt = 1;
    ack.number = ack.taken = number;
    ack.answer = answer;
    ack.home = true;
    message.body_case = C4P__PEER__BODY_GUEST_ACK;
    message.guest_ack = &ack;
    tell(bench, &message);
}

static void input_tell(struct bench *bench, uint64_t job, uint64_t number)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__GuestInput input = C4P__GUEST_INPUT__INIT;

    input.job = job;
    input.attempt = 1;
    input.number = number;
    input.data = (ProtobufCBinaryData){2, (uint8_t *)(uintptr_t) "x\n"};
    message.body_case = C4P__PEER__BODY_GUEST_INPUT;
    message.guest_input = &input;
    tell(bench, &message);
}

/* The next that the guests say; to be freed. */
static C4p__Peer *heard(struct bench *bench, C4p__Peer__BodyCase body)
{
    C4p__Peer *message;

    wait_until(bench, bench->count > 0);
    require(bench->way[0].to_home);
    message = way_take(bench, 0);
    assert_int_equal(message->body_case, body);
    return message;
}

/* The answer to a Prepare has this in its sentence; empty: it is ready. */
static void prepared_heard(struct bench *bench, const char *part)
{
    C4p__Peer *message = heard(bench, C4P__PEER__BODY_PREPARED);

    if (strstr(message->prepared->failed, part) == NULL ||
        (*part == '\0') != (*message->prepared->failed == '\0'))
        fail_msg("\"%s\" is not in \"%s\"", part, message->prepared->failed);
    c4p__peer__free_unpacked(message, NULL);
}

static void unknown_heard(struct bench *bench, uint64_t job)
{
    C4p__Peer *message = heard(bench, C4P__PEER__BODY_REPORT);

    assert_int_equal(message->report->kind, C4P__REPORT__KIND__UNKNOWN);
    assert_int_equal(message->report->job, job);
    assert_int_equal(message->report->number, 0);
    c4p__peer__free_unpacked(message, NULL);
}

static void ready_make(struct bench *bench, uint64_t job, uint64_t attempt)
{
    prepare_tell(bench, prepare_make(job, attempt, "exec sleep 1000"));
    prepared_heard(bench, "");
}

static void way_forget(struct bench *bench)
{
    while (bench->count > 0)
        c4p__peer__free_unpacked(way_take(bench, 0), NULL);
}

/* ---- slots ---- */

static void home_is_lost(struct bench *bench)
{
    guests_node_down(bench->guests, &home_key, "test");
}

static void home_starts_anew(struct bench *bench)
{
    guests_node_up(bench->guests, &home_key, ++bench->home_incarnation);
}

static void home_ends_the_job(struct bench *bench)
{
    order_tell(bench, 1, 1, 0, 0, true);
}

/* The end was lost: the guest asks after a while, and hears that there is no such job. */
static void home_is_asked(struct bench *bench)
{
    C4p__Peer *message = heard(bench, C4P__PEER__BODY_GUEST_ACK);

    assert_true(message->guest_ack->answer && !message->guest_ack->home);
    c4p__peer__free_unpacked(message, NULL);
    home_ends_the_job(bench);
}

static void slots_come_back_from_guests_that_were_prepared_and_never_launched(void **state)
{
    static void (*const reasons[])(struct bench *) = {home_is_lost, home_starts_anew,
                                                      home_ends_the_job, home_is_asked};

    (void)state;
    for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++) {
        struct bench bench;
        uint32_t pes;

        bench_open(&bench);
        bench.by_hand = true;
        ready_make(&bench, 1, 1);
        assert_int_equal(bench.held, 1);
        assert_true(guests_have(bench.guests, 1));
        reasons[i](&bench);
        wait_until(&bench, bench.held == 0);
        assert_int_equal(guests_count(bench.guests, &pes), 0);
        bench_close(&bench);
    }
}

static void another_life_of_the_home_ends_what_runs_and_an_older_one_changes_nothing(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench);
    bench.by_hand = true;
    ready_make(&bench, 1, 1);
    launch_tell(&bench, 1, 1, 1);
    guests_node_up(bench.guests, &home_key, bench.home_incarnation - 1);
    guests_node_up(bench.guests, &guest_key, bench.home_incarnation + 9);
    assert_false(guests_idle(bench.guests));
    for (int i = 0; i < 20; i++)
        event_base_loop(bench.base, EVLOOP_NONBLOCK);
    assert_int_equal(bench.held, 1);
    home_starts_anew(&bench);
    wait_until(&bench, bench.held == 0);
    assert_true(guests_idle(bench.guests));
    bench_close(&bench);
}

static void a_later_attempt_ends_the_earlier_one_whose_letters_are_nobodys(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench);
    bench.by_hand = true;
    ready_make(&bench, 1, 1);
    launch_tell(&bench, 1, 1, 1);
    way_forget(&bench);
    prepare_tell(&bench, prepare_make(1, 2, "exec sleep 1000"));
    prepared_heard(&bench, "the slots that it had promised are not kept any more");
    wait_until(&bench, bench.held == 0);
    way_forget(&bench);
    ready_make(&bench, 1, 2);
    launch_tell(&bench, 1, 1, 1);
    unknown_heard(&bench, 1);
    order_tell(&bench, 1, 1, 0, 0, true); /* late: not of this attempt */
    launch_tell(&bench, 1, 2, 1);
    assert_false(guests_idle(bench.guests));
    order_tell(&bench, 1, 2, 0, 0, true);
    wait_until(&bench, bench.held == 0);
    bench_close(&bench);
}

/* ---- what makes no sense ---- */

static void who_speaks_of_no_guest_of_ours_hears_so_once(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench);
    bench.by_hand = true;
    launch_tell(&bench, 3, 1, 1);
    unknown_heard(&bench, 3);
    order_tell(&bench, 4, 1, 1, SIGKILL, false);
    unknown_heard(&bench, 4);
    input_tell(&bench, 5, 1);
    unknown_heard(&bench, 5);
    ack_tell(&bench, 6, 1, true);
    unknown_heard(&bench, 6);
    /* These two are no questions: an answer could be answered again for ever. */
    ack_tell(&bench, 6, 1, false);
    order_tell(&bench, 6, 1, 0, 0, true);
    assert_int_equal(bench.count, 0);
    assert_int_equal(bench.held, 0);
    bench_close(&bench);
}

static void letters_with_numbers_of_no_sense_do_nothing(void **state)
{
    static const uint64_t numbers[] = {0, 2, 3, UINT32_MAX, UINT64_MAX, UINT64_MAX - 1};
    struct bench bench;

    (void)state;
    bench_open(&bench);
    bench.by_hand = true;
    ready_make(&bench, 1, 1);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        launch_tell(&bench, 1, 1, numbers[i]);
        order_tell(&bench, 1, 1, numbers[i] != 0 ? numbers[i] : 7, SIGKILL, true);
        input_tell(&bench, 1, numbers[i]);
        ack_tell(&bench, 1, numbers[i], false);
        assert_true(guests_idle(bench.guests)); /* none was launched */
        assert_int_equal(bench.held, 1);
    }
    launch_tell(&bench, 1, 1, 1);
    assert_false(guests_idle(bench.guests));
    launch_tell(&bench, 1, 1, 1);
    launch_tell(&bench, 1, 1, 2); /* it runs already */
    order_tell(&bench, 1, 1, 3, 9999, false);
    assert_false(guests_idle(bench.guests));
    order_tell(&bench, 1, 1, 4, SIGKILL, false);
    wait_until(&bench, guests_idle(bench.guests));
    bench_close(&bench);
}

static void an_order_before_the_launch_is_for_nobody(void **state)
{
    struct bench bench;

    (void)state;
    bench_open(&bench);
    bench.by_hand = true;
    ready_make(&bench, 1, 1);
    order_tell(&bench, 1, 1, 1, SIGKILL, false);
    input_tell(&bench, 1, 2);
    launch_tell(&bench, 1, 1, 3);
    assert_false(guests_idle(bench.guests));
    bench_close(&bench);
}

struct nonsense {
    const char *sentence;
    void (*make)(C4p__Prepare *prepare);
};

static void for_the_home(C4p__Prepare *prepare)
{
    prepare->node = 0;
}

static void for_no_node(C4p__Prepare *prepare)
{
    prepare->node = UINT32_MAX;
}

static void with_few_nodes(C4p__Prepare *prepare)
{
    prepare->n_nodes = 1;
    prepare->node = 0;
}

static void with_a_gap(C4p__Prepare *prepare)
{
    prepare->nodes[1]->first_pe = 2;
}

static void with_endless_pes(C4p__Prepare *prepare)
{
    prepare->nodes[1]->pes = UINT32_MAX;
}

static void with_no_pe(C4p__Prepare *prepare)
{
    prepare->nodes[1]->pes = 0;
}

static void with_a_short_key(C4p__Prepare *prepare)
{
    prepare->nodes[0]->key.len = 31;
}

static void with_a_short_secret(C4p__Prepare *prepare)
{
    prepare->secret.len = 15;
}

static void at_an_address_of_this_host(C4p__Prepare *prepare)
{
    prepare->nodes[0]->data = (char *)(uintptr_t) "ipc:///tmp/x";
}

static void with_an_endless_segment(C4p__Prepare *prepare)
{
    prepare->region_size = UINT64_MAX;
}

static void with_no_command(C4p__Prepare *prepare)
{
    prepare->n_argv = 0;
}

static void a_preparation_that_makes_no_sense_is_refused_and_holds_nothing(void **state)
{
    static const struct nonsense rows[] = {
        {"makes no sense: which nodes", for_the_home},
        {"makes no sense: which nodes", for_no_node},
        {"makes no sense: which nodes", with_few_nodes},
        {"makes no sense: how the PEs are dealt", with_a_gap},
        {"makes no sense: how the PEs are dealt", with_endless_pes},
        {"makes no sense: no PE is for this node", with_no_pe},
        {"makes no sense: the key, name or address", with_a_short_key},
        {"makes no sense: which nodes", with_a_short_secret},
        {"makes no sense: the key, name or address", at_an_address_of_this_host},
        {"segment", with_an_endless_segment},
        {"host far: ", with_no_command},
    };
    struct bench bench;

    (void)state;
    bench_open(&bench);
    bench.by_hand = true;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        C4p__Prepare *prepare = prepare_make(1, i + 1, "true");

        rows[i].make(prepare);
        prepare_tell(&bench, prepare);
        prepared_heard(&bench, rows[i].sentence);
        wait_until(&bench, bench.held == 0);
    }
    bench.refuse = true;
    prepare_tell(&bench, prepare_make(1, 99, "true"));
    prepared_heard(&bench, "the slots that it had promised are not kept any more");
    assert_int_equal(bench.held, 0);
    bench_close(&bench);
}

/* ---- a guest that lies ---- */

static void guest_says(struct home *home, C4p__Peer *message)
{
    message->incarnation = home->bench->guest_incarnation;
    crew_message(home->crew, message);
}

static void ready_says(struct home *home)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__Prepared prepared = C4P__PREPARED__INIT;

    message.body_case = C4P__PEER__BODY_PREPARED;
    message.prepared = &prepared;
    guest_says(home, &message);
}

static void report_says(struct home *home, uint64_t number, C4p__Report__Kind kind, uint32_t pe,
                        uint32_t bytes)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__Report report = C4P__REPORT__INIT;

    report.number = number;
    report.kind = kind;
    report.pe = pe;
    report.bytes = bytes;
    report.signal = UINT32_MAX;
    report.code = INT32_MIN;
    message.body_case = C4P__PEER__BODY_REPORT;
    message.report = &report;
    guest_says(home, &message);
}

static void output_says(struct home *home, uint64_t number, uint32_t pe, uint32_t stream,
                        size_t size)
{
    static uint8_t bytes[LETTERS_WINDOW + 1];
    C4p__Peer message = C4P__PEER__INIT;
    C4p__GuestOutput output = C4P__GUEST_OUTPUT__INIT;

    output.number = number;
    output.pe = pe;
    output.stream = stream;
    output.data = (ProtobufCBinaryData){size, bytes};
    message.body_case = C4P__PEER__BODY_GUEST_OUTPUT;
    message.guest_output = &output;
    guest_says(home, &message);
}

/* With guests that are played by the test: nothing of what the home sends arrives. */
static struct home *lied_to(struct bench *bench)
{
    struct home *home;

    bench_open(bench);
    bench->by_hand = true;
    home = home_open(bench, 1, "true");
    ready_says(home);
    ready_says(home);
    assert_int_equal(home->prepared, 1);
    return home;
}

static void a_guest_that_lies_is_not_believed_what_cannot_be(void **state)
{
    static const uint32_t strangers[] = {0, PES + 1, UINT32_MAX};
    struct bench bench;
    struct home *home = lied_to(&bench);
    uint64_t number = 1;

    (void)state;
    report_says(home, UINT64_MAX, C4P__REPORT__KIND__SPAWNED, 1, 0);
    report_says(home, 0, C4P__REPORT__KIND__GONE, 1, 0);
    assert_int_equal(home->spawned, 0);
    for (size_t i = 0; i < 3; i++) { /* the listener checks that none of these comes through */
        report_says(home, number++, C4P__REPORT__KIND__STARTED, strangers[i], 0);
        report_says(home, number++, C4P__REPORT__KIND__EXIT, strangers[i], 0);
        report_says(home, number++, C4P__REPORT__KIND__DIED, strangers[i], 0);
        output_says(home, number++, strangers[i], 0, 10);
    }
    output_says(home, number++, 1, 2, 10);
    report_says(home, number++, (C4p__Report__Kind)77, 1, 0);
    output_says(home, number, 1, 0, LETTERS_WINDOW + 1); /* not taken: its number is free */
    assert_int_equal(home->size[0], 0);
    for (int i = 0; i < 3; i++) {
        report_says(home, number++, C4P__REPORT__KIND__SPAWNED, 1, 0);
        report_says(home, number++, C4P__REPORT__KIND__STARTED, 1, 0);
        report_says(home, number++, C4P__REPORT__KIND__EXIT, 1, 0);
        report_says(home, number++, C4P__REPORT__KIND__INPUT, 1, UINT32_MAX);
        report_says(home, number++, C4P__REPORT__KIND__DIED, 1, 0);
    }
    assert_int_equal(home->spawned, 1);
    assert_int_equal(home->started, 1);
    assert_int_equal(home->exited, 1);
    assert_int_equal(home->died[0], 1);
    assert_int_equal(home->credit, CONTROL_MAX_PIECE);
    assert_false(crew_quiet(home->crew));
    report_says(home, number++, C4P__REPORT__KIND__GONE, 1, 0);
    report_says(home, number++, C4P__REPORT__KIND__DIED, 2, 0);
    assert_int_equal(home->died[1], 1);
    assert_true(crew_quiet(home->crew));
    assert_int_equal(home->lost, 0);
    bench_close(&bench);
}

static void a_guest_that_knows_nothing_any_more_is_lost_once(void **state)
{
    struct bench bench;
    struct home *home = lied_to(&bench);

    (void)state;
    report_says(home, 0, C4P__REPORT__KIND__UNKNOWN, 0, 0);
    report_says(home, 0, C4P__REPORT__KIND__UNKNOWN, 0, 0);
    assert_int_equal(home->lost, 1);
    assert_string_equal(home->why, "it knows nothing of this job any more");
    assert_true(crew_quiet(home->crew));
    report_says(home, 1, C4P__REPORT__KIND__DIED, 1, 0);
    assert_int_equal(home->died[0], 0);
    bench_close(&bench);
}

static void a_node_of_another_life_has_lost_its_guests(void **state)
{
    struct bench bench;
    struct home *home = lied_to(&bench);

    (void)state;
    bench.guest_incarnation--;
    report_says(home, 1, C4P__REPORT__KIND__SPAWNED, 1, 0); /* late, of an earlier one */
    assert_int_equal(home->spawned, 0);
    assert_int_equal(home->lost, 0);
    bench.guest_incarnation += 2;
    report_says(home, 1, C4P__REPORT__KIND__SPAWNED, 1, 0);
    assert_int_equal(home->spawned, 0);
    assert_int_equal(home->lost, 1);
    assert_string_equal(home->why, "its daemon was started anew");
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(what_guests_do_is_told_whole_and_once),
        watched_test(what_guests_do_is_told_whole_and_once_whatever_the_way_does),
        watched_test(slots_come_back_from_guests_that_were_prepared_and_never_launched),
        watched_test(another_life_of_the_home_ends_what_runs_and_an_older_one_changes_nothing),
        watched_test(a_later_attempt_ends_the_earlier_one_whose_letters_are_nobodys),
        watched_test(who_speaks_of_no_guest_of_ours_hears_so_once),
        watched_test(letters_with_numbers_of_no_sense_do_nothing),
        watched_test(an_order_before_the_launch_is_for_nobody),
        watched_test(a_preparation_that_makes_no_sense_is_refused_and_holds_nothing),
        watched_test(a_guest_that_lies_is_not_believed_what_cannot_be),
        watched_test(a_guest_that_knows_nothing_any_more_is_lost_once),
        watched_test(a_node_of_another_life_has_lost_its_guests),
    };

    if (spawn_reserve_fds() != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
