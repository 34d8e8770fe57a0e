#include "tests/unit/unit.h"

#include <event2/event.h>
#include <poll.h>

#include "daemon/signals.h"

struct bench {
    struct event_base *base;
    struct signals *signals;
    int last, count;
};

static void on_signal(evutil_socket_t number, short what, void *argument)
{
    struct bench *bench = argument;

    (void)what;
    bench->last = (int)number;
    bench->count++;
}

static int bench_create(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));

    require(bench != NULL);
    bench->base = event_base_new();
    bench->signals = signals_create(bench->base);
    require(bench->base != NULL && bench->signals != NULL);
    *state = bench;
    return 0;
}

static int bench_destroy(void **state)
{
    struct bench *bench = *state;

    signals_destroy(bench->signals);
    event_base_free(bench->base);
    free(bench);
    return 0;
}

static void each_signal_comes_once_through_the_loop(void **state)
{
    static const int numbers[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGCHLD};
    struct bench *bench = *state;

    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        signals_watch(bench->signals, numbers[i], on_signal, bench);
        bench->count = 0;
        kill(getpid(), numbers[i]);
        assert_int_equal(bench->count, 0);
        event_base_loop(bench->base, EVLOOP_ONCE);
        assert_int_equal(bench->count, 1);
        assert_int_equal(bench->last, numbers[i]);
        event_base_loop(bench->base, EVLOOP_NONBLOCK);
        assert_int_equal(bench->count, 1);
    }
}

static void what_nobody_watches_is_dropped(void **state)
{
    struct bench *bench = *state;

    signals_watch(bench->signals, SIGCHLD, on_signal, bench);
    kill(getpid(), SIGTERM);
    kill(getpid(), SIGCHLD);
    event_base_loop(bench->base, EVLOOP_ONCE);
    assert_int_equal(bench->count, 1);
    assert_int_equal(bench->last, SIGCHLD);
}

static void a_signal_that_waits_interrupts_no_system_call(void **state)
{
    struct bench *bench = *state;
    struct pollfd nothing = {-1, 0, 0};

    signals_watch(bench->signals, SIGCHLD, on_signal, bench);
    kill(getpid(), SIGCHLD);
    assert_int_equal(poll(&nothing, 1, 1), 0);
    event_base_loop(bench->base, EVLOOP_ONCE);
    assert_int_equal(bench->count, 1);
}

/* As nohup and shells leave them to what they start. */
static void signals_that_were_ignored_come_too(void **state)
{
    struct bench *bench = *state;

    signals_destroy(bench->signals);
    signal(SIGHUP, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    bench->signals = signals_create(bench->base);
    assert_non_null(bench->signals);
    signals_watch(bench->signals, SIGHUP, on_signal, bench);
    signals_watch(bench->signals, SIGCHLD, on_signal, bench);
    kill(getpid(), SIGHUP);
    kill(getpid(), SIGCHLD);
    event_base_loop(bench->base, EVLOOP_ONCE);
    assert_int_equal(bench->count, 2);
}

static void afterwards_nothing_is_blocked_and_what_came_late_is_dropped(void **state)
{
    struct bench *bench = *state;
    sigset_t now;

    kill(getpid(), SIGTERM);
    signals_destroy(bench->signals);
    bench->signals = NULL;
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    assert_false(sigismember(&now, SIGTERM));
    assert_false(sigismember(&now, SIGCHLD));
}

#define test(name) cmocka_unit_test_setup_teardown(name, bench_create, bench_destroy)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(each_signal_comes_once_through_the_loop),
        test(what_nobody_watches_is_dropped),
        test(a_signal_that_waits_interrupts_no_system_call),
        test(signals_that_were_ignored_come_too),
        test(afterwards_nothing_is_blocked_and_what_came_late_is_dropped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
