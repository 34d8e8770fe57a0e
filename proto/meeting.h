/*
 * The meeting table: where the partial results of a reduction meet on a node.
 *
 * Contributions are combined where they arrive: each PE combines those of its
 * own elements and brings its partial result here, as a C4P_PARTIAL block of
 * its own region. The one whose arrival makes the count complete takes all the
 * others away and combines them. Nobody waits: a PE in the middle of a long
 * method has either brought its part or not, and holds up nobody's.
 *
 * A reduction is known by (collection, sequence). The count is one of
 * contributions, not of PEs: an element that migrates between two
 * contributions is still counted once, wherever each was made.
 *
 * A bucket is a short list of waiting partials under a spin lock. Only PEs of
 * the job take the lock, never c4pd; a PE that dies with it held ends the job.
 */
#ifndef C4P_PROTO_MEETING_H
#define C4P_PROTO_MEETING_H

#include "proto/segment.h"

/*
 * Bring the block at `offset` (envelope: collection, sequence; contributions
 * counted: `count`). `expected` is the number of contributions that complete
 * the reduction.
 *
 * Returns true if they are complete now: *others is the chain (envelope.next,
 * 0 ends it) of the partials brought earlier, and these and the caller's own
 * block are the caller's. Otherwise false with errno 0: the block stays here
 * until the last one comes. False with errno EBADMSG if the table is corrupt.
 */
bool meeting_arrive(const struct segment *segment, uint64_t offset, uint64_t count,
                    uint64_t expected, uint64_t *others);

/*
 * The same before a block has been made: true, and the others in *others, if `count` more
 * contributions complete the reduction; else nothing has changed. Spares the last one to arrive
 * the copy of its own part.
 */
bool meeting_is_last(const struct segment *segment, uint64_t collection, uint32_t sequence,
                     uint64_t count, uint64_t expected, uint64_t *others);

#endif
