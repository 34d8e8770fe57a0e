/*
 * Quiescence: what this node counts, when it tells of it, and what it is told (see quiet.h).
 *
 * The PE that falls asleep last sets `idle_told` in the segment and sends C4P_IDLE, unless that is set
 * already. The router waits a moment, because in a busy job PEs sleep and wake all the time, clears
 * the word, and only then looks: who falls asleep after that tells again. If all PEs sleep and the
 * counters are others than those reported last, it reports them. When nothing happens nobody tells
 * anything, and the router has nothing to wake up for.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/router/collectives_parts.h"
#include "proto/inbox.h"

/* ---- this node ---- */

static bool all_asleep(const struct collectives *c)
{
    for (uint32_t slot = 0; slot < c->segment->geometry.local_pes; slot++)
        if (atomic_load(&segment_endpoint(c->segment, slot)->inbox) != INBOX_ASLEEP)
            return false;
    return true;
}

/* Handled first, then sent: what is read never has more handled than sent of what ended before. */
static struct quiet_counts counts_read(const struct collectives *c)
{
    const struct segment_geometry *geometry = &c->segment->geometry;
    struct quiet_counts counts = {0};

    for (uint32_t slot = 0; slot < geometry->slots; slot++)
        counts.handled += atomic_load(&segment_endpoint(c->segment, slot)->processed);
    for (uint32_t slot = 0; slot < geometry->slots; slot++) {
        const struct segment_endpoint *endpoint = segment_endpoint(c->segment, slot);

        counts.sent += atomic_load(&endpoint->sent);
        if (atomic_load(&endpoint->quiescence_wanted) != 0)
            counts.waits |= QUIET_WANTED;
        if (slot < geometry->local_pes && (atomic_load(&endpoint->timers) != 0 ||
                                           atomic_load(&endpoint->status) != ENDPOINT_STARTED))
            counts.waits |= QUIET_TO_COME;
    }
    return counts;
}

static bool counts_equal(const struct quiet_counts *a, const struct quiet_counts *b)
{
    return a->sent == b->sent && a->handled == b->handled && a->waits == b->waits;
}

static struct c4p_envelope counts_envelope(const struct collectives *c, enum c4p_kind kind,
                                           const struct quiet_counts *counts)
{
    return (struct c4p_envelope){.kind = (uint8_t)kind,
                                 .source = C4P_ROUTER | c->self,
                                 .target = C4P_ROUTER,
                                 .collection = counts->sent,
                                 .future = counts->handled,
                                 .method = counts->waits};
}

void idle_expect(struct collectives *c, int64_t now)
{
    if (c->idle_at == 0)
        c->idle_at = now + COLLECTIVES_PAUSE;
    collectives_schedule(c);
}

static void control_send(struct collectives *c, uint32_t node, uint64_t offset)
{
    segment_block(c->segment, offset)->target = C4P_ROUTER | node;
    c->host.send(c->host.context, node, STREAM_DIRECT, offset);
}

/* ---- the announcement ---- */

/* Does who has this slot get it? PE 0 finds out whether the program has ended. */
static bool is_told(const struct collectives *c, uint32_t slot, bool end)
{
    const struct segment_geometry *geometry = &c->segment->geometry;

    if (atomic_load(&segment_endpoint(c->segment, slot)->quiescence_wanted) != 0)
        return slot != segment_router_slot(c->segment);
    return end && geometry->first_pe == 0 && geometry->local_pes > 0 && slot == 0;
}

/* Tell who waits, if this node still has the counts of the announcement. False: no memory. */
static bool announce(struct collectives *c, const struct quiet_counts *counts, bool end)
{
    const struct segment_geometry *geometry = &c->segment->geometry;
    struct c4p_envelope like = counts_envelope(c, C4P_QUIESCENT, counts);
    struct quiet_counts present = counts_read(c);
    uint32_t told = 0;
    uint64_t chain;

    if (present.sent != counts->sent || present.handled != counts->handled)
        return true;
    for (uint32_t slot = 0; slot < geometry->slots; slot++)
        told += is_told(c, slot, end);
    like.sequence = end;
    chain = collectives_chain(c, &like, told);
    if (chain == 0)
        return told == 0;
    for (uint32_t slot = 0; slot < geometry->slots && chain != 0; slot++) {
        uint64_t offset;

        if (!is_told(c, slot, end))
            continue;
        offset = collectives_unchain(c, &chain);
        segment_block(c->segment, offset)->target =
            slot < geometry->local_pes ? geometry->first_pe + slot
                                       : atomic_load(&segment_endpoint(c->segment, slot)->address);
        c->host.deliver(c->host.context, offset);
    }
    while (chain != 0) /* somebody has given up waiting */
        region_free(c->region, collectives_unchain(c, &chain));
    return true;
}

/* ---- node 0 ---- */

/* Do what the core wants; what there is no memory for is done later. */
static void step_take(struct collectives *c, const struct quiet_step *step, int64_t now)
{
    struct quiet_step doing = *step;

    while (doing.ask || doing.quiet) {
        const struct quiet_counts own = counts_read(c);
        struct c4p_envelope like = counts_envelope(c, doing.ask ? C4P_WAVE : C4P_QUIESCENT, &own);
        uint64_t chain;

        like.sequence = doing.ask ? doing.wave : doing.end;
        chain = collectives_chain(c, &like, c->nodes - 1);
        if (chain == 0 || (doing.quiet && !announce(c, quiet_told(c->quiet, 0), doing.end))) {
            while (chain != 0)
                region_free(c->region, collectives_unchain(c, &chain));
            c->step = doing;
            idle_expect(c, now);
            return;
        }
        for (uint32_t node = 1; node < c->nodes; node++) {
            uint64_t offset = collectives_unchain(c, &chain);

            if (doing.quiet) {
                segment_block(c->segment, offset)->collection = quiet_told(c->quiet, node)->sent;
                segment_block(c->segment, offset)->future = quiet_told(c->quiet, node)->handled;
            }
            control_send(c, node, offset);
        }
        if (!doing.ask)
            return;
        /* Our own answer: read now, after the wave has begun. */
        const struct quiet_counts answer = counts_read(c);

        quiet_answer(c->quiet, 0, doing.wave, &answer, &doing);
    }
}

/*
 * A node has reported: an announcement that still waits for memory is void. What it would tell is not
 * so any more, or will be asked for again; and it would go out with the counts that are known by then.
 */
static void report_hear(struct collectives *c, uint32_t node, const struct quiet_counts *counts,
                        int64_t now)
{
    struct quiet_step step;

    c->step.quiet = false;
    quiet_report(c->quiet, node, counts, &step);
    step_take(c, &step, now);
}

/* Node 0's own report: before another node's counts, since what clients send has no PE to tell it. */
static void own_report(struct collectives *c, int64_t now)
{
    const struct quiet_counts counts = counts_read(c);

    if (!all_asleep(c) || (!c->idle_forced && counts_equal(&counts, &c->reported)))
        return;
    c->reported = counts;
    c->idle_forced = false;
    report_hear(c, 0, &counts, now);
}

static bool counts_take(const struct c4p_envelope *envelope, struct quiet_counts *counts)
{
    *counts = (struct quiet_counts){envelope->collection, envelope->future, envelope->method};
    return (counts->waits & ~(uint32_t)QUIET_WAITS_ALL) == 0;
}

static enum collectives_answer report_take(struct collectives *c, uint32_t from, uint64_t offset,
                                           const struct c4p_envelope *envelope, int64_t now)
{
    struct quiet_counts counts;

    if (c->quiet == NULL || !counts_take(envelope, &counts))
        return collectives_broken(c, offset,
                                  "a node tells a node of its counters that is not the "
                                  "job's home");
    c->host.release(c->host.context, offset);
    own_report(c, now);
    report_hear(c, from, &counts, now);
    return COLLECTIVES_TAKEN;
}

/* ---- what comes ---- */

enum collectives_answer idle_take(struct collectives *c, uint32_t from, uint64_t offset,
                                  const struct c4p_envelope *envelope, int64_t now)
{
    if (from != c->self)
        return report_take(c, from, offset, envelope, now);
    if (envelope->sequence != 0)
        c->idle_forced = true;
    c->host.release(c->host.context, offset);
    idle_expect(c, now);
    return COLLECTIVES_TAKEN;
}

void idle_tick(struct collectives *c, int64_t now)
{
    struct quiet_step step = c->step;
    struct quiet_counts counts;
    struct c4p_envelope like;
    uint64_t offset;

    atomic_store(&segment_header(c->segment)->idle_told, 0);
    atomic_thread_fence(memory_order_seq_cst);
    if (c->self == 0) {
        memset(&c->step, 0, sizeof(c->step));
        step_take(c, &step, now);
        own_report(c, now);
        return;
    }
    counts = counts_read(c);
    if (!all_asleep(c) || (!c->idle_forced && counts_equal(&counts, &c->reported)))
        return;
    like = counts_envelope(c, C4P_IDLE, &counts);
    offset = collectives_block(c, &like, 0);
    if (offset == 0) {
        idle_expect(c, now);
        return;
    }
    c->reported = counts;
    c->idle_forced = false;
    control_send(c, 0, offset);
}

enum collectives_answer wave_take(struct collectives *c, uint32_t from, uint64_t offset,
                                  const struct c4p_envelope *envelope, int64_t now)
{
    struct quiet_counts counts;
    struct quiet_step step;
    struct c4p_envelope *block = segment_block(c->segment, offset);

    if (from == c->self || (c->self != 0 && (from != 0 || envelope->flags & C4P_RETURN)))
        return collectives_broken(c, offset,
                                  "somebody asks for counters who is not the job's home");
    if (c->self != 0) {
        /* The question becomes the answer. */
        counts = counts_read(c);
        block->flags = C4P_RETURN;
        block->source = C4P_ROUTER | c->self;
        block->collection = counts.sent;
        block->future = counts.handled;
        block->method = counts.waits;
        control_send(c, 0, offset);
        return COLLECTIVES_TAKEN;
    }
    if (!(envelope->flags & C4P_RETURN) || !counts_take(envelope, &counts))
        return collectives_broken(c, offset, "a node's counters are malformed");
    c->host.release(c->host.context, offset);
    quiet_answer(c->quiet, from, envelope->sequence, &counts, &step);
    step_take(c, &step, now);
    return COLLECTIVES_TAKEN;
}

enum collectives_answer quiescent_take(struct collectives *c, uint32_t from, uint64_t offset,
                                       const struct c4p_envelope *envelope, int64_t now)
{
    const struct quiet_counts counts = {envelope->collection, envelope->future, 0};

    if (from != 0 || c->self == 0)
        return collectives_broken(c, offset,
                                  "quiescence is announced by who is not the job's home");
    if (!announce(c, &counts, envelope->sequence != 0))
        return collectives_later(c, from, now);
    c->host.release(c->host.context, offset);
    return COLLECTIVES_TAKEN;
}
