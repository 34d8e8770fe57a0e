/*
 * Records of members and of keys, as messages and back. What comes in is hostile: nothing gets
 * through that is too long, has no such state, or is no address.
 */
#ifndef C4P_DAEMON_CLUSTER_RECORD_H
#define C4P_DAEMON_CLUSTER_RECORD_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/cluster/swim.h"
#include "daemon/cluster/trust.h"
#include "proto/cluster.pb-c.h"

/* A message and what it needs in memory when it is decoded; more: it is not. */
#define PEER_MAX_MEMORY ((size_t)24 << 20)

/* NULL: it is none, or too large. Free it with peer_free(). */
C4p__Peer *peer_unpack(const void *data, size_t size);
void peer_free(C4p__Peer *peer);

/* Messages for records, in one piece of memory, the caller's to free; the strings and keys in them
 * are the records' own. NULL with errno ENOMEM. */
C4p__Member **members_to_wire(const struct member_record *records, size_t count);
C4p__Enrolment **enrolments_to_wire(const struct enrolment *const *records, size_t count);

bool member_from_wire(const C4p__Member *member, struct member_record *record);
bool enrolment_from_wire(const C4p__Enrolment *enrolment, struct enrolment *record);

/* Those of many that are good, the caller's to free; how many in *good. NULL with errno ENOMEM; what
 * is more than can be is left out as well. */
struct member_record *members_from_wire(C4p__Member **members, size_t count, size_t *good);

/* "a", "alive": for people. */
const char *member_state_name(enum member_state state);

#endif
