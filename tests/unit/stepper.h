/*
 * Kills a process between two given instructions: the only way to show that no such place is a bad
 * one. The child prepares itself, stops, and is then led through `act` instruction by instruction.
 */
#ifndef C4P_TESTS_STEPPER_H
#define C4P_TESTS_STEPPER_H

#include "tests/unit/unit.h"

#include <sys/ptrace.h>
#include <sys/syscall.h>

/* A sanitizer's process takes long to fork, and its instructions are not those that matter. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STEPPED_POINTS 8
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define STEPPED_POINTS 8
#endif
#endif
#ifndef STEPPED_POINTS
#define STEPPED_POINTS 200
#endif

struct stepped {
    void *(*prepare)(const struct segment *); /* what it returns is given to act */
    void (*act)(const struct segment *, void *);
};

/* Lead a child through `limit` instructions of stepped->act, then kill it. Returns how many there
 * were before it ended by itself, at most limit. -1 if the system allows no tracing. */
static inline long step_and_kill(const struct stepped *stepped, const struct segment *segment,
                                 long limit)
{
    pid_t pid = fork();
    long steps = 0;
    int status;

    require(pid >= 0);
    if (pid == 0) {
        struct segment own;
        void *prepared;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        test_segment_map(&own, segment);
        prepared = stepped->prepare(&own);
        syscall(SYS_getpid); /* not the dynamic linker's search for it is to be looked at below */
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(77);
        raise(SIGSTOP);
        stepped->act(&own, prepared);
        syscall(SYS_exit_group, 0);
    }
    require(waitpid(pid, &status, 0) == pid);
    if (WIFEXITED(status)) {
        require(WEXITSTATUS(status) == 77);
        return -1;
    }
    while (steps < limit) {
        require(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0);
        require(waitpid(pid, &status, 0) == pid);
        if (WIFEXITED(status))
            return steps;
        require(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
        steps++;
    }
    child_kill(pid);
    return steps;
}

/*
 * Kill one child after another, each an instruction later (as many of them as stress allows, evenly
 * spread), and call `check` after each death; the last one was not killed.
 */
static inline void kill_at_every_instruction(const struct stepped *stepped,
                                             const struct segment *segment,
                                             void (*reset)(const struct segment *, void *),
                                             void (*check)(const struct segment *, void *, bool),
                                             void *argument)
{
    long total, points, last;

    reset(segment, argument);
    total = step_and_kill(stepped, segment, 10000000);
    if (total < 0)
        skip();
    check(segment, argument, true);
    points = (long)stress(STEPPED_POINTS);
    last = -1;
    for (long i = 0; i < points; i++) {
        long steps = total * i / points;

        if (steps == last)
            continue;
        last = steps;
        reset(segment, argument);
        step_and_kill(stepped, segment, steps);
        check(segment, argument, false);
    }
}

#endif
