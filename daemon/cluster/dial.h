/*
 * A connection of a command to a daemon on another host, under CURVE: opened, waited for with a
 * deadline, and explained when it does not come about. Blocks; for commands only, which have no
 * event loop.
 */
#ifndef C4P_DAEMON_CLUSTER_DIAL_H
#define C4P_DAEMON_CLUSTER_DIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/cluster/trust.h"

#define DIAL_ERROR_SIZE 320

struct dial_settings {
    const struct token *token; /* where to, whose key it has there, and our own */
    int64_t deadline;          /* of clock_ms() */
    const void *question;      /* one frame, sent when it is there */
    size_t size;
};

/* Ask, and wait for the first frame of an answer: the caller's to free. NULL with a sentence that
 * names the address and says what to do. */
void *dial(const struct dial_settings *settings, size_t *size, char error[DIAL_ERROR_SIZE]);

#endif
