/*
 * The control plane's numbers, and the choice of a version; the messages are
 * in control.proto.
 */
#ifndef C4P_PROTO_CONTROL_H
#define C4P_PROTO_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

/* The versions of the control protocol that this build speaks. */
#define CONTROL_MIN_VERSION 2
#define CONTROL_MAX_VERSION 2

/* No frame is larger. */
#define CONTROL_MAX_MESSAGE (1u << 20)

/* Largest `data` of Output and of Input. */
#define CONTROL_MAX_PIECE (64u << 10)

/* Output pieces that may be unacknowledged. */
#define CONTROL_OUTPUT_WINDOW 64

/* Largest packet at the Unix socket. */
#define CONTROL_MAX_PACKET (64u << 10)

/* Priorities of jobs go from minus this to this. */
#define CONTROL_MAX_PRIORITY 1000

/* Nodes of one job. */
#define CONTROL_MAX_NODES 256

#define CONTROL_TICKET_SIZE 32
#define CONTROL_KEY_SIZE 16

/*
 * A job's id has 40 random bits and is shown as 8 characters (control.md, "Ids"). 0 is none.
 */
#define CONTROL_ID_BITS 40
#define CONTROL_ID_CHARS 8

/* Write an id as text. */
void control_id_format(uint64_t id, char text[CONTROL_ID_CHARS + 1]);
/*
 * The ids that start with `text`: *low to *high. False if it is the start of none: wrong
 * characters, or too many. Case does not matter.
 */
bool control_id_parse(const char *text, uint64_t *low, uint64_t *high);

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
