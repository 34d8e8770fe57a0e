#include "tests/unit/unit.h"

#include "daemon/jobs/life.h"

/* ---- the table ---- */

static void a_job_passes_its_states_in_order(void **state)
{
    static const struct {
        enum job_event event;
        enum job_state state;
    } steps[] = {
        {JOB_ADMITTED, JOB_QUEUED}, {JOB_CHOSEN, JOB_RESERVING},    {JOB_RESERVED, JOB_STARTING},
        {JOB_SPAWNED, JOB_RUNNING}, {JOB_SUCCEEDED, JOB_COMPLETED},
    };
    enum job_state now = JOB_SUBMITTED;

    (void)state;
    for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
        now = job_state_next(now, steps[i].event);
        assert_int_equal(now, steps[i].state);
    }
}

static void every_state_but_a_final_one_can_fail_and_be_cancelled(void **state)
{
    (void)state;
    for (unsigned i = 0; i < JOB_STATES; i++) {
        enum job_state from = (enum job_state)i;
        bool final = job_state_final(from);

        assert_int_equal(job_state_next(from, JOB_BROKE), final ? JOB_STATES : JOB_FAILED);
        assert_int_equal(job_state_next(from, JOB_STOPPED), final ? JOB_STATES : JOB_CANCELLED);
    }
}

static void only_a_running_job_completes_and_nothing_leaves_a_final_state(void **state)
{
    (void)state;
    for (unsigned i = 0; i < JOB_STATES; i++) {
        enum job_state from = (enum job_state)i;

        assert_int_equal(job_state_next(from, JOB_SUCCEEDED),
                         from == JOB_RUNNING ? JOB_COMPLETED : JOB_STATES);
        for (unsigned event = 0; job_state_final(from) && event < JOB_EVENTS; event++)
            assert_int_equal(job_state_next(from, (enum job_event)event), JOB_STATES);
    }
}

static void states_and_events_that_do_not_exist_lead_nowhere(void **state)
{
    (void)state;
    assert_int_equal(job_state_next((enum job_state)99, JOB_ADMITTED), JOB_STATES);
    assert_int_equal(job_state_next(JOB_RUNNING, (enum job_event)99), JOB_STATES);
    assert_string_equal(job_state_name((enum job_state)99), "unknown");
    assert_string_equal(job_state_name(JOB_RESERVING), "reserving");
}

/* ---- a life ---- */

/* A job whose PEs are processes, at time 0. */
static void life_begin(struct job_life *life, uint32_t pes)
{
    static const enum job_event steps[] = {JOB_ADMITTED, JOB_CHOSEN, JOB_RESERVED};

    assert_int_equal(life_init(life, pes, 0), 0);
    for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++)
        life_input(life, &(struct life_event){.kind = LIFE_STEP, .step = steps[i]}, 0);
    for (uint32_t pe = 0; pe < pes; pe++)
        life_input(life, &(struct life_event){.kind = LIFE_PE_SPAWNED, .pe = pe}, 0);
    life_input(life, &(struct life_event){.kind = LIFE_STEP, .step = JOB_SPAWNED}, 0);
    assert_int_equal(life->state, JOB_RUNNING);
}

static void started(struct job_life *life, uint32_t pe)
{
    life_input(life, &(struct life_event){.kind = LIFE_PE_STARTED, .pe = pe}, 0);
}

static void exited(struct job_life *life, uint32_t pe, int code)
{
    life_input(life, &(struct life_event){.kind = LIFE_EXIT, .pe = pe, .code = code}, 0);
}

static void died(struct job_life *life, uint32_t pe, int code, int signal)
{
    life_input(life,
               &(struct life_event){
                   .kind = LIFE_PE_DIED, .pe = pe, .code = code, .signal = signal, .text = "here"},
               0);
}

static void happened(struct job_life *life, enum life_event_kind kind, int64_t now)
{
    life_input(life, &(struct life_event){.kind = kind, .text = "text"}, now);
}

/* The same without a text. */
static void asked(struct job_life *life, enum life_event_kind kind, int64_t now)
{
    life_input(life, &(struct life_event){.kind = kind}, now);
}

/* The action of this kind among those asked for last. */
static const struct life_action *action_find(const struct job_life *life,
                                             enum life_action_kind kind)
{
    for (unsigned i = 0; i < life->actions; i++)
        if (life->action[i].kind == kind)
            return &life->action[i];
    return NULL;
}

static void assert_over(const struct job_life *life, enum job_state final, int code,
                        const char *message)
{
    assert_non_null(action_find(life, LIFE_OVER));
    assert_int_equal(life->state, final);
    assert_int_equal(life->exit_code, code);
    assert_string_equal(life->message, message);
}

static void each_change_of_state_is_told_with_the_time_it_took(void **state)
{
    struct job_life life;
    const struct life_action *action;

    (void)state;
    assert_int_equal(life_init(&life, 1, 1000), 0);
    life_input(&life, &(struct life_event){.kind = LIFE_STEP, .step = JOB_ADMITTED}, 1041);
    action = action_find(&life, LIFE_CHANGED);
    assert_non_null(action);
    assert_int_equal(action->from, JOB_SUBMITTED);
    assert_int_equal(action->to, JOB_QUEUED);
    assert_int_equal(action->elapsed_ms, 41);
    /* A step that does not fit changes nothing. */
    life_input(&life, &(struct life_event){.kind = LIFE_STEP, .step = JOB_SPAWNED}, 1050);
    assert_int_equal(life.actions, 0);
    assert_int_equal(life.state, JOB_QUEUED);
    life_free(&life);
}

static void programs_that_never_start_are_done_when_all_are(void **state)
{
    struct job_life life;

    (void)state;
    life_begin(&life, 3);
    died(&life, 1, 0, 0);
    died(&life, 0, 0, 0);
    assert_int_equal(life.actions, 0);
    died(&life, 2, 0, 0);
    assert_over(&life, JOB_COMPLETED, 0, "");
    life_free(&life);
}

static void exit_ends_the_program_with_its_code(void **state)
{
    struct job_life life;

    (void)state;
    life_begin(&life, 2);
    started(&life, 0);
    started(&life, 1);
    exited(&life, 0, 0);
    assert_int_equal(action_find(&life, LIFE_TELL_STOP)->pe, 0);
    assert_int_equal(action_find(&life, LIFE_WAKE_AT)->at, LIFE_STOP_MS);
    assert_null(action_find(&life, LIFE_SIGNAL));
    died(&life, 0, 0, 0);
    assert_null(action_find(&life, LIFE_OVER));
    died(&life, 1, 0, 0);
    assert_over(&life, JOB_COMPLETED, 0, "");
    life_free(&life);
}

static void exit_with_another_code_fails_the_job_without_a_word_of_ours(void **state)
{
    struct job_life life;

    (void)state;
    life_begin(&life, 1);
    started(&life, 0);
    exited(&life, 0, 3);
    died(&life, 0, 0, 0);
    assert_over(&life, JOB_FAILED, 3, "");
    life_free(&life);
}

static void of_several_exit_codes_one_that_is_not_0_wins(void **state)
{
    struct job_life life;

    (void)state;
    life_begin(&life, 3);
    exited(&life, 1, 0);
    exited(&life, 2, 5);
    assert_null(action_find(&life, LIFE_TELL_STOP)); /* they have been told */
    exited(&life, 0, 6);
    for (uint32_t pe = 0; pe < 3; pe++)
        died(&life, pe, 0, 0);
    assert_over(&life, JOB_FAILED, 5, "");
    life_free(&life);
}

static void who_does_not_stop_gets_sigterm_and_then_sigkill(void **state)
{
    struct job_life life;

    (void)state;
    life_begin(&life, 2);
    exited(&life, 0, 0);
    happened(&life, LIFE_TIMER, LIFE_STOP_MS);
    assert_int_equal(action_find(&life, LIFE_SIGNAL)->signal, SIGTERM);
    assert_int_equal(action_find(&life, LIFE_WAKE_AT)->at, LIFE_STOP_MS + LIFE_TERM_MS);
    happened(&life, LIFE_TIMER, LIFE_STOP_MS + LIFE_TERM_MS);
    assert_int_equal(action_find(&life, LIFE_SIGNAL)->signal, SIGKILL);
    happened(&life, LIFE_TIMER, 10000);
    assert_int_equal(life.actions, 0);
    died(&life, 0, 0, SIGKILL);
    died(&life, 1, 0, SIGKILL);
    assert_over(&life, JOB_COMPLETED, 0, "");
    life_free(&life);
}

static void a_timer_that_is_early_is_set_again(void **state)
{
    struct job_life life;

    (void)state;
    life_begin(&life, 1);
    exited(&life, 0, 0);
    happened(&life, LIFE_TIMER, LIFE_STOP_MS - 1);
    assert_null(action_find(&life, LIFE_SIGNAL));
    assert_int_equal(action_find(&life, LIFE_WAKE_AT)->at, LIFE_STOP_MS);
    life_free(&life);
}

static void a_killed_pe_is_named_with_its_host_and_signal(void **state)
{
    struct job_life life;

    (void)state;
    life_begin(&life, 2);
    started(&life, 1);
    died(&life, 1, 0, SIGKILL);
    assert_int_equal(action_find(&life, LIFE_TELL_STOP)->pe, 1);
    assert_int_equal(life.blamed, 1);
    died(&life, 0, 0, SIGTERM);
    assert_over(&life, JOB_FAILED, 1, "PE 1 on host here was killed by signal 9 (SIGKILL)");
    life_free(&life);
}

static void a_pe_that_leaves_in_the_middle_fails_the_job_whatever_its_code(void **state)
{
    (void)state;
    for (int code = 0; code < 2; code++) {
        struct job_life life;
        char message[128];

        life_begin(&life, 1);
        started(&life, 0);
        died(&life, 0, code, 0);
        snprintf(message, sizeof(message),
                 "PE 0 ended with exit code %d in the middle of the program, without charm.exit()",
                 code);
        assert_over(&life, JOB_FAILED, 1, message);
        assert_int_equal(life.blamed, 0);
        life_free(&life);
    }
}

static void a_pe_that_fails_before_it_starts_gives_its_code(void **state)
{
    struct job_life life;

    (void)state;
    life_begin(&life, 2);
    died(&life, 1, 42, 0);
    died(&life, 0, 1, 0);
    assert_over(&life, JOB_FAILED, 42, "PE 1 ended with exit code 42 before charm.start()");
    assert_int_equal(life.blamed, LIFE_NOBODY); /* what it said is on the screen */
    life_free(&life);
}

static void a_death_after_the_exit_changes_nothing(void **state)
{
    struct job_life life;

    (void)state;
    life_begin(&life, 2);
    started(&life, 0);
    started(&life, 1);
    exited(&life, 0, 0);
    died(&life, 1, 0, SIGSEGV);
    died(&life, 0, 9, 0);
    assert_over(&life, JOB_COMPLETED, 0, "");
    life_free(&life);
}

static void pes_of_which_only_some_start_would_wait_for_ever_and_are_ended(void **state)
{
    struct job_life life;
    static const char message[] =
        "PE 1 ended without calling charm.start(), but PE 0 has called it (every PE must call it)";

    (void)state;
    for (int done_first = 0; done_first < 2; done_first++) {
        life_begin(&life, 2);
        if (done_first)
            died(&life, 1, 0, 0);
        started(&life, 0);
        if (!done_first)
            died(&life, 1, 0, 0);
        assert_non_null(action_find(&life, LIFE_TELL_STOP));
        died(&life, 0, 0, 0);
        assert_over(&life, JOB_FAILED, 1, message);
        life_free(&life);
    }
}

static void a_cancelled_job_is_asked_to_end_and_then_killed(void **state)
{
    struct job_life life;

    (void)state;
    life_begin(&life, 1);
    asked(&life, LIFE_CANCEL, 10);
    assert_int_equal(action_find(&life, LIFE_SIGNAL)->signal, SIGTERM);
    assert_int_equal(action_find(&life, LIFE_WAKE_AT)->at, 10 + LIFE_TERM_MS);
    asked(&life, LIFE_CANCEL, 20);
    assert_int_equal(life.actions, 0);
    asked(&life, LIFE_KILL, 30);
    assert_int_equal(action_find(&life, LIFE_SIGNAL)->signal, SIGKILL);
    died(&life, 0, 0, SIGKILL);
    assert_over(&life, JOB_CANCELLED, LIFE_EXIT_CANCELLED, "the job was cancelled");
    life_free(&life);
}

static void a_job_that_ends_by_itself_is_not_cancelled_any_more(void **state)
{
    struct job_life life;

    (void)state;
    life_begin(&life, 1);
    exited(&life, 0, 4);
    asked(&life, LIFE_CANCEL, 0);
    died(&life, 0, 0, SIGTERM);
    assert_over(&life, JOB_FAILED, 4, "");
    asked(&life, LIFE_CANCEL, 0);
    assert_int_equal(life.actions, 0);
    life_free(&life);
}

static void a_cancel_can_say_why(void **state)
{
    struct job_life life;

    (void)state;
    life_begin(&life, 1);
    happened(&life, LIFE_CANCEL, 0);
    died(&life, 0, 0, SIGTERM);
    assert_over(&life, JOB_CANCELLED, LIFE_EXIT_CANCELLED, "text");
    life_free(&life);
}

static void a_job_that_reaches_its_time_limit_fails_with_a_code_of_its_own(void **state)
{
    struct job_life life;

    (void)state;
    life_begin(&life, 1);
    life_input(&life, &(struct life_event){.kind = LIFE_TOO_LONG, .text = "1 h 30 min"}, 10);
    assert_int_equal(action_find(&life, LIFE_SIGNAL)->signal, SIGTERM);
    assert_int_equal(action_find(&life, LIFE_WAKE_AT)->at, 10 + LIFE_TERM_MS);
    died(&life, 0, 0, SIGTERM);
    assert_over(&life, JOB_FAILED, LIFE_EXIT_TIME_LIMIT, "the time limit of 1 h 30 min is reached");
    life_free(&life);
}

static void a_job_that_is_ending_has_no_time_limit_any_more(void **state)
{
    struct job_life life;

    (void)state;
    life_begin(&life, 1);
    exited(&life, 0, 0);
    happened(&life, LIFE_TOO_LONG, 10);
    assert_int_equal(life.actions, 0);
    died(&life, 0, 0, 0);
    assert_over(&life, JOB_COMPLETED, 0, "");
    life_free(&life);
}

static void a_session_that_is_closed_completes_when_everybody_has_stopped(void **state)
{
    struct job_life life;

    (void)state;
    life_begin(&life, 2);
    started(&life, 0);
    asked(&life, LIFE_CLOSE, 10);
    assert_int_equal(action_find(&life, LIFE_TELL_STOP)->pe, LIFE_NOBODY);
    assert_int_equal(action_find(&life, LIFE_WAKE_AT)->at, 10 + LIFE_STOP_MS);
    assert_null(action_find(&life, LIFE_SIGNAL));
    asked(&life, LIFE_CLOSE, 20);
    assert_int_equal(life.actions, 0);
    died(&life, 0, 0, 0);
    died(&life, 1, 0, SIGTERM);
    assert_over(&life, JOB_COMPLETED, 0, "");
    life_free(&life);
}

static void a_session_that_does_not_run_yet_is_cancelled_by_closing_it(void **state)
{
    struct job_life life;

    (void)state;
    assert_int_equal(life_init(&life, 1, 0), 0);
    life_input(&life, &(struct life_event){.kind = LIFE_PE_SPAWNED, .pe = 0}, 0);
    happened(&life, LIFE_CLOSE, 0);
    died(&life, 0, 0, SIGTERM);
    assert_over(&life, JOB_CANCELLED, LIFE_EXIT_CANCELLED, "text");
    life_free(&life);
}

static void a_corrupt_segment_ends_the_job_without_using_it(void **state)
{
    struct job_life life;

    (void)state;
    life_begin(&life, 1);
    happened(&life, LIFE_BROKEN, 0);
    assert_null(action_find(&life, LIFE_TELL_STOP));
    assert_int_equal(action_find(&life, LIFE_SIGNAL)->signal, SIGTERM);
    died(&life, 0, 0, SIGTERM);
    assert_over(&life, JOB_FAILED, 1, "text");
    life_free(&life);
}

static void pes_that_cannot_all_be_spawned_are_killed(void **state)
{
    struct job_life life;

    (void)state;
    assert_int_equal(life_init(&life, 2, 0), 0);
    life_input(&life, &(struct life_event){.kind = LIFE_PE_SPAWNED, .pe = 0}, 0);
    happened(&life, LIFE_SPAWN_FAILED, 0);
    assert_int_equal(action_find(&life, LIFE_SIGNAL)->signal, SIGKILL);
    died(&life, 0, 0, SIGKILL);
    assert_over(&life, JOB_FAILED, 1, "text");
    life_free(&life);
    /* Not even one. */
    assert_int_equal(life_init(&life, 2, 0), 0);
    happened(&life, LIFE_SPAWN_FAILED, 0);
    assert_over(&life, JOB_FAILED, 1, "text");
    life_free(&life);
}

/* Any events in any order: the job ends exactly once, when its last PE is gone, and says how. */
static void any_course_of_events_comes_to_one_end(void **state)
{
    uint64_t seeds = stress(20000);

    (void)state;
    for (uint64_t seed = first_seed(); seed < first_seed() + seeds; seed++) {
        struct dice dice = dice_seeded(seed);
        uint32_t pes = 1 + (uint32_t)dice_below(&dice, 4), living;
        struct job_life life;
        bool alive[4] = {false};
        unsigned ends = 0;

        seed_in_use = seed;
        life_begin(&life, pes);
        living = pes;
        for (uint32_t pe = 0; pe < pes; pe++)
            alive[pe] = true;
        for (int64_t now = 0; living > 0; now++) {
            uint32_t pe = (uint32_t)dice_below(&dice, pes + 1); /* one of them does not exist */
            struct life_event event = {
                .kind = (enum life_event_kind)dice_below(&dice, LIFE_TIMER + 1),
                .step = (enum job_event)dice_below(&dice, JOB_EVENTS),
                .pe = pe,
                .code = (int)dice_below(&dice, 3),
                .signal = (int)dice_below(&dice, 2) * SIGKILL,
                .text = "text",
            };

            if (event.kind == LIFE_PE_DIED && pe < pes && alive[pe]) {
                alive[pe] = false;
                living--;
            }
            life_input(&life, &event, now * 50);
            require(life.actions < LIFE_MAX_ACTIONS);
            ends += action_find(&life, LIFE_OVER) != NULL;
            require((ends == 1) == job_state_final(life.state));
            require(ends == 0 || living == 0);
        }
        require(ends == 1);
        require(life.state == JOB_COMPLETED ? life.exit_code == 0 : life.exit_code != 0);
        life_free(&life);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_passes_its_states_in_order),
        cmocka_unit_test(every_state_but_a_final_one_can_fail_and_be_cancelled),
        cmocka_unit_test(only_a_running_job_completes_and_nothing_leaves_a_final_state),
        cmocka_unit_test(states_and_events_that_do_not_exist_lead_nowhere),
        cmocka_unit_test(each_change_of_state_is_told_with_the_time_it_took),
        cmocka_unit_test(programs_that_never_start_are_done_when_all_are),
        cmocka_unit_test(exit_ends_the_program_with_its_code),
        cmocka_unit_test(exit_with_another_code_fails_the_job_without_a_word_of_ours),
        cmocka_unit_test(of_several_exit_codes_one_that_is_not_0_wins),
        cmocka_unit_test(who_does_not_stop_gets_sigterm_and_then_sigkill),
        cmocka_unit_test(a_timer_that_is_early_is_set_again),
        cmocka_unit_test(a_killed_pe_is_named_with_its_host_and_signal),
        cmocka_unit_test(a_pe_that_leaves_in_the_middle_fails_the_job_whatever_its_code),
        cmocka_unit_test(a_pe_that_fails_before_it_starts_gives_its_code),
        cmocka_unit_test(a_death_after_the_exit_changes_nothing),
        cmocka_unit_test(pes_of_which_only_some_start_would_wait_for_ever_and_are_ended),
        cmocka_unit_test(a_cancelled_job_is_asked_to_end_and_then_killed),
        cmocka_unit_test(a_job_that_ends_by_itself_is_not_cancelled_any_more),
        cmocka_unit_test(a_cancel_can_say_why),
        cmocka_unit_test(a_job_that_reaches_its_time_limit_fails_with_a_code_of_its_own),
        cmocka_unit_test(a_job_that_is_ending_has_no_time_limit_any_more),
        cmocka_unit_test(a_session_that_is_closed_completes_when_everybody_has_stopped),
        cmocka_unit_test(a_session_that_does_not_run_yet_is_cancelled_by_closing_it),
        cmocka_unit_test(a_corrupt_segment_ends_the_job_without_using_it),
        cmocka_unit_test(pes_that_cannot_all_be_spawned_are_killed),
        watched_test(any_course_of_events_comes_to_one_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
