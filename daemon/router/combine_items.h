/*
 * The items of arrays, combined one by one as NumPy's ufuncs add, multiply, maximum, minimum,
 * logical_and, logical_or and logical_xor do it: integers wrap, NaN wins over every number.
 */
#ifndef C4P_DAEMON_ROUTER_COMBINE_ITEMS_H
#define C4P_DAEMON_ROUTER_COMBINE_ITEMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/tail.h"

/* Bytes of an item of a plain dtype (NumPy's letter); 0: its items cannot be combined here. */
size_t items_size(uint8_t code);

/* first[i] = first[i] op second[i], wherever they lie. False: not here; nothing was changed. */
bool items_combine(enum reducer_op op, uint8_t code, uint8_t *first, const uint8_t *second,
                   uint64_t count);

#endif
