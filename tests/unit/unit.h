/*
 * What the C tests share: small segments, threads and processes that fail loudly, a watchdog.
 *
 * cmocka's assertions leave a test by longjmp, which is right only on the thread and in the process
 * that runs it; everywhere else require() says what is wrong and aborts.
 *
 * C4P_STRESS multiplies the sizes of the stress tests, C4P_SEED is the first seed of the random ones.
 */
#ifndef C4P_TESTS_UNIT_H
#define C4P_TESTS_UNIT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/segment.h"

/* The seed of the random test that runs: said when it fails, C4P_SEED repeats it. */
static uint64_t seed_in_use __attribute__((unused));

#define require(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not true: %s (C4P_SEED=%llu)\n", __FILE__, __LINE__,           \
                    #condition, (unsigned long long)seed_in_use);                                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static inline unsigned long number_from_environment(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);
    char *end;
    unsigned long number;

    if (text == NULL || *text == '\0')
        return otherwise;
    number = strtoul(text, &end, 10);
    if (*end != '\0') {
        fprintf(stderr, "%s=%s is not a number\n", name, text);
        exit(2);
    }
    return number;
}

static inline unsigned long stress(unsigned long size)
{
    return size * number_from_environment("C4P_STRESS", 1);
}

static inline uint64_t first_seed(void)
{
    return number_from_environment("C4P_SEED", 1);
}

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016. */
struct dice {
    uint64_t state;
};

static inline struct dice dice_seeded(uint64_t seed)
{
    return (struct dice){(seed + 1) * 0x9e3779b97f4a7c15u};
}

static inline uint64_t dice_throw(struct dice *dice)
{
    dice->state ^= dice->state >> 12;
    dice->state ^= dice->state << 25;
    dice->state ^= dice->state >> 27;
    return dice->state * 0x2545f4914f6cdd1du;
}

/* 0 .. sides - 1 */
static inline uint64_t dice_below(struct dice *dice, uint64_t sides)
{
    return (dice_throw(dice) >> 16) % sides;
}

/* ---- a test that hangs fails ---- */

static inline void watchdog_bite(int signal)
{
    static const char text[] = "watchdog: the test does not end\n";

    (void)signal;
    if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
        _exit(3);
    abort();
}

/* cmocka set-up and tear-down of every test; the time is far beyond what any of them takes. */
static inline int watchdog_start(void **state)
{
    (void)state;
    signal(SIGALRM, watchdog_bite);
    alarm((unsigned)stress(60));
    return 0;
}

static inline int watchdog_stop(void **state)
{
    (void)state;
    alarm(0);
    return 0;
}

#define watched_test(function)                                                                     \
    cmocka_unit_test_setup_teardown(function, watchdog_start, watchdog_stop)

/* ---- segments ---- */

#define TEST_EPOCH 7u

static inline void test_segment_create(struct segment *segment, uint32_t pes, uint64_t region_size)
{
    struct segment_geometry geometry = {
        .epoch = TEST_EPOCH,
        .pes = pes,
        .local_pes = pes,
        .nodes = 1,
        .cores = 2,
        .region_size = region_size,
    };

    require(segment_create(segment, &geometry, NULL) == 0);
    segment->router_wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    require(segment->router_wake >= 0);
}

/* A process's own view of it. */
static inline void test_segment_map(struct segment *own, const struct segment *segment)
{
    require(segment_map(own, dup(segment->fd), dup(segment->router_wake)) == 0);
}

/* ---- processes ---- */

static inline pid_t child_start(void (*run)(const struct segment *, void *),
                                const struct segment *segment, void *argument)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    require(pid >= 0);
    if (pid == 0) {
        struct segment own;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(4);
        test_segment_map(&own, segment);
        run(&own, argument);
        _exit(0);
    }
    return pid;
}

static inline void child_join(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static inline void child_kill(pid_t pid)
{
    int status;

    require(kill(pid, SIGKILL) == 0);
    require(waitpid(pid, &status, 0) == pid);
    require(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* ---- threads ---- */

static inline pthread_t thread_start(void *(*run)(void *), void *argument)
{
    pthread_t thread;

    require(pthread_create(&thread, NULL, run, argument) == 0);
    return thread;
}

static inline void thread_join(pthread_t thread)
{
    require(pthread_join(thread, NULL) == 0);
}

#endif
