/*
 * Pauses at random, so that tests see other interleavings of the PEs than a
 * quiet machine gives. C4P_TEST_DELAYS="seed,probability,microseconds" in the
 * environment of a PE turns them on: at each delay_point() the PE waits, with
 * that probability, up to so many microseconds. A pause changes no order of
 * messages between two PEs. Without the variable a point is one branch.
 */
#ifndef C4P_EXT_DELAYS_H
#define C4P_EXT_DELAYS_H

#include <stdbool.h>
#include <stdint.h>

extern bool delays_on;

/* Take the variable out of the environment. Returns 0, or -1 with an exception: it is malformed. */
int delays_attach(uint32_t pe);
void delay_perhaps(void);

static inline void delay_point(void)
{
    if (__builtin_expect(delays_on, 0))
        delay_perhaps();
}

#endif
