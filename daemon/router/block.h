/* Blocks that somebody shows us, whom we do not believe. */
#ifndef C4P_DAEMON_ROUTER_BLOCK_H
#define C4P_DAEMON_ROUTER_BLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/envelope.h"
#include "proto/segment.h"

/*
 * Read the block at a valid offset: a checked copy of its envelope, and its body, wherever it is.
 * False: it is not what it says. Says nothing about source and target.
 */
bool block_read(const struct segment *segment, uint64_t offset, struct c4p_envelope *copy,
                const void **body);

#endif
