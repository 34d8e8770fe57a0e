/*
 * An endpoint's inbox: a lock-free multi-producer, single-consumer queue of
 * blocks, with the sleep of its consumer folded into the same word.
 *
 * The word (segment_endpoint.inbox) holds the offset of the newest message,
 * each message links to the one before it (envelope.next). A producer links
 * its block (or a chain of them) to the present newest one and swings the word
 * with one compare-and-swap; the consumer takes all with one exchange and
 * turns the chain round, which gives the order of arrival. A producer that is
 * killed between any two instructions has either queued its block or not:
 * there is no half-linked state in which the consumer could wait for it.
 *
 * 0 means empty. 1 (INBOX_ASLEEP; block offsets are multiples of 64) means
 * empty with the consumer asleep: who replaces a 1 wakes it, by futex, or by
 * the eventfd when the consumer is the node's router, for itself or for a
 * client that does not map the segment. A producer killed after
 * the exchange and before the wake leaves a sleeper with mail; c4pd notices
 * the death of every PE and wakes the rest (inbox_wake).
 */
#ifndef C4P_PROTO_INBOX_H
#define C4P_PROTO_INBOX_H

#include <sys/types.h>

#include "proto/segment.h"

#define INBOX_ASLEEP 1u

/* Longest chain that the consumer believes in: more is a corrupt (circular) one. */
#define INBOX_MAX_CHAIN (1u << 26)

/*
 * Queue a block. The caller filled the envelope; the block now belongs to the
 * receiver. `slot` is valid by contract.
 */
void inbox_push(const struct segment *segment, uint32_t slot, uint64_t offset);

/* Is there mail? A hint, without fences: for spinning. */
static inline bool inbox_has_mail(const struct segment *segment, uint32_t slot)
{
    return atomic_load_explicit(&segment_endpoint(segment, slot)->inbox, memory_order_relaxed) >
           INBOX_ASLEEP;
}

/*
 * Take all mail. Returns the offset of the oldest message, linked by
 * envelope.next to the newest, which links to 0; 0 with errno 0 if there was
 * none; 0 with errno EBADMSG if a link is not a valid offset or the chain does
 * not end: the segment is corrupt.
 */
uint64_t inbox_take(const struct segment *segment, uint32_t slot);

/*
 * The message after one that inbox_take() gave, 0 behind the last. For who must
 * not trust the senders: they can still write to the links, so each is checked
 * again, once, when it is followed (before the block is handed on). Such a
 * consumer also limits how many messages it handles in one go.
 */
static inline uint64_t inbox_next(const struct segment *segment, uint64_t offset)
{
    uint64_t next = *(const volatile uint64_t *)&segment_block(segment, offset)->next;

    return segment_offset_valid(segment, next) ? next : 0;
}

/*
 * Announce sleep: afterwards a producer wakes us. Returns false, and nothing
 * is announced, if mail has come.
 */
bool inbox_announce_sleep(const struct segment *segment, uint32_t slot);

/*
 * Sleep on the futex until mail comes, `timeout_ns` pass (negative: for ever)
 * or a signal arrives; only after inbox_announce_sleep(). Withdraws the
 * announcement. Returns 0, or EINTR for a signal.
 */
int inbox_sleep(const struct segment *segment, uint32_t slot, int64_t timeout_ns);

/*
 * Wait like that in the place of the consumer, in another of its threads, and withdraw nothing: the
 * consumer may have begun to sleep by itself meanwhile. May return for no reason.
 */
void inbox_watch(const struct segment *segment, uint32_t slot);

/* Withdraw the announcement without sleeping (for the router, which sleeps in its event loop). */
void inbox_announce_awake(const struct segment *segment, uint32_t slot);

/*
 * Wake a consumer whatever its inbox holds, and withdraw its announcement: after
 * the death of a producer, or at the job's end. Its sleep ends, or does not begin.
 */
void inbox_wake(const struct segment *segment, uint32_t slot);

#endif
