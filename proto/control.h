/*
 * The control plane's numbers, and the choice of a version; the messages are
 * in control.proto.
 */
#ifndef C4P_PROTO_CONTROL_H
#define C4P_PROTO_CONTROL_H

#include <stdint.h>

/* The versions of the control protocol that this build speaks. */
#define CONTROL_MIN_VERSION 1
#define CONTROL_MAX_VERSION 1

/* No frame is larger. */
#define CONTROL_MAX_MESSAGE (1u << 20)

/* Largest `data` of Output and of Input. */
#define CONTROL_MAX_PIECE (64u << 10)

/* Output pieces that may be unacknowledged. */
#define CONTROL_OUTPUT_WINDOW 64

/* Output.pe of a remark that comes from the daemon. */
#define CONTROL_NO_PE UINT32_MAX

/* The highest version in both ranges, or 0. */
static inline uint32_t control_version_choose(uint32_t their_min, uint32_t their_max)
{
    uint32_t low = their_min > CONTROL_MIN_VERSION ? their_min : CONTROL_MIN_VERSION;
    uint32_t high = their_max < CONTROL_MAX_VERSION ? their_max : CONTROL_MAX_VERSION;

    return low <= high ? high : 0;
}

#endif
