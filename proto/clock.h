/* The shells' clock; pure cores get it as an argument. */
#ifndef C4P_PROTO_CLOCK_H
#define C4P_PROTO_CLOCK_H

#include <stdint.h>
#include <time.h>

/* For deadlines: ms since some moment in the past. */
static inline int64_t clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The time of day: ms since 1970. */
static inline int64_t clock_day_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#endif
