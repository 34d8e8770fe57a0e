/*
 * What commands of c4pd list: a table for a person, or JSON for programs.
 */
#ifndef C4P_DAEMON_LISTING_H
#define C4P_DAEMON_LISTING_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/cluster/trust.h"
#include "proto/control.pb-c.h"
#include "proto/table.h"

struct listing {
    bool json;
    size_t count;
    struct table table; /* unless it is JSON */
};

/* {"cluster": ..., WHAT: [ rows ]} */
void listing_begin(struct listing *listing, bool json, const char *cluster, const char *what,
                   const char *const *titles, size_t columns, unsigned right);
/* Before each row. */
void listing_next(struct listing *listing);
/* Prints it. */
void listing_end(struct listing *listing);

/* Members of a JSON object, with a comma behind; a time of 0 is null. */
void listing_json_text(const char *name, const char *value);
void listing_json_time(const char *name, uint64_t day_ms);

/* A time of day, here; 0: "-". Returns `text`. */
#define LISTING_TIME_SIZE 32
const char *listing_time(uint64_t day_ms, char text[LISTING_TIME_SIZE]);
/* The fingerprint of a key in a message; "-": it is none. */
const char *listing_fingerprint(const ProtobufCBinaryData *key, char text[TRUST_FINGERPRINT_SIZE]);

#endif
