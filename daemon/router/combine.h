/*
 * Two values become one, without Python: parts of a reduction as the args encoding has them
 * (proto/args.md), combined exactly as the interpreter and NumPy do it.
 *
 * Python's ints that fit 64 bits, floats, complex numbers and bools, NumPy's scalars, and arrays of
 * plain dtypes; both of the same type, arrays of the same shape and order. All else, and what would
 * not fit 64 bits, is left to a PE. The bytes are hostile, and may change while they are read: that
 * changes the result, and nothing else.
 */
#ifndef C4P_DAEMON_ROUTER_COMBINE_H
#define C4P_DAEMON_ROUTER_COMBINE_H

#include <stddef.h>
#include <stdint.h>

#include "proto/tail.h"

/* No value but an array is longer than this. */
#define COMBINE_SMALL 40

enum combine_answer {
    COMBINE_CANNOT,   /* nothing was changed */
    COMBINE_IN_PLACE, /* the result is in the place of the first value, and as long */
    COMBINE_APART     /* it is in `result` */
};

struct combine_result {
    uint8_t bytes[COMBINE_SMALL];
    size_t size;
};

/*
 * first = first op second. Each is one argument, of exactly so many bytes, whose body began at a
 * multiple of 64 with an envelope in front. `result` may be the first value itself.
 */
enum combine_answer combine_values(enum reducer_op op, uint8_t *first, size_t first_size,
                                   const uint8_t *second, size_t second_size,
                                   struct combine_result *result);

/*
 * The form in which the target gets a value: an array of one item with at most one dimension is a
 * scalar. COMBINE_IN_PLACE: as it is; COMBINE_CANNOT: a PE must see to it.
 */
enum combine_answer combine_finish(const uint8_t *value, size_t size,
                                   struct combine_result *result);

#endif
