#include "python/ext/delays.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "python/ext/runtime.h"

#define MOST_MICROSECONDS 1000000

bool delays_on;
static uint64_t state, threshold; /* of the generator; pause if the number is below */
static uint32_t longest;

int delays_attach(uint32_t pe)
{
    const char *text = getenv("C4P_TEST_DELAYS");
    unsigned long long seed;
    double probability;
    char rest;

    if (text == NULL)
        return 0;
    if (sscanf(text, "%llu,%lf,%u%c", &seed, &probability, &longest, &rest) != 3 ||
        !(probability >= 0 && probability <= 1) || longest > MOST_MICROSECONDS) {
        runtime_error("C4P_TEST_DELAYS=%s: must be seed,probability,microseconds, a probability "
                      "up to 1 and at most %d microseconds",
                      text, MOST_MICROSECONDS);
        return -1;
    }
    unsetenv("C4P_TEST_DELAYS");
    state = (seed * 1000003u + pe + 1) * 0x9e3779b97f4a7c15u | 1;
    threshold = (uint64_t)(probability * 0x1p53);
    delays_on = true;
    return 0;
}

/* xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016). */
static uint64_t number(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1du;
}

void delay_perhaps(void)
{
    uint64_t microseconds;

    if (number() >> 11 >= threshold)
        return;
    microseconds = (number() >> 32) * longest >> 32;
    if (microseconds == 0) {
        sched_yield();
    } else {
        struct timespec time = {(time_t)(microseconds / 1000000),
                                (long)(microseconds % 1000000 * 1000)};

        nanosleep(&time, NULL);
    }
}
