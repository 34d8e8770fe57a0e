#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/jobs/reserve.h"

enum phase { ASKING, DONE, OVER };

/* What there is to one of the parts besides what others see of it. */
struct bid {
    char name[NODE_NAME_MAX + 1];
    bool self;
    bool asked;        /* it may have promised something */
    bool granted;      /* it has */
    bool ask, release; /* to be done */
};

struct reservation {
    uint64_t attempt, seed;
    unsigned tries;
    enum phase phase;
    struct reservation_part *parts;
    struct bid *bids;
    size_t count, granted;
    int64_t resend, deadline; /* resend: of questions, and then of leases */
    int64_t again;            /* when it may be tried again */
    size_t scan;              /* of the bids, for what is to be done */
    bool tell_end, tell_wake;
    const struct node_key *blamed; /* one of the parts */
    bool is_unfit;
    struct reservation_unfit unfit;
    char reason[RESERVE_REASON_SIZE];
};

/* Half of the delay at least, so that it grows; the rest by lot, so that two do not meet for ever. */
static int64_t delay_make(const struct reservation *reservation)
{
    unsigned doublings = reservation->tries < 16 ? reservation->tries : 16;
    uint64_t delay = (uint64_t)RESERVATION_DELAY_MS << doublings;

    if (delay > RESERVATION_MAX_DELAY_MS)
        delay = RESERVATION_MAX_DELAY_MS;
    return (int64_t)(delay / 2 + reservation_mix(reservation->seed ^ reservation->attempt) % delay);
}

__attribute__((format(printf, 3, 4))) static void fail(struct reservation *reservation, int64_t now,
                                                       const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(reservation->reason, sizeof(reservation->reason), format, arguments);
    va_end(arguments);
    reservation->phase = OVER;
    reservation->tell_end = true;
    reservation->tell_wake = false;
    reservation->scan = 0;
    /* With a node less to ask there is nothing to wait for. */
    reservation->again = reservation->is_unfit ? now : now + delay_make(reservation);
    for (size_t i = 0; i < reservation->count; i++) {
        reservation->bids[i].ask = false;
        reservation->bids[i].release = reservation->bids[i].asked;
    }
}

void reservation_destroy(struct reservation *reservation)
{
    if (reservation == NULL)
        return;
    free(reservation->parts);
    free(reservation->bids);
    free(reservation);
}

static bool bids_make(struct reservation *reservation, const struct reservation_node *nodes,
                      const size_t *which)
{
    /* One more, so that none is no failure. */
    reservation->bids = calloc(reservation->count + 1, sizeof(*reservation->bids));
    for (size_t i = 0; reservation->bids != NULL && i < reservation->count; i++) {
        struct bid *bid = &reservation->bids[i];

        snprintf(bid->name, sizeof(bid->name), "%s", nodes[which[i]].name);
        bid->self = nodes[which[i]].self;
        bid->ask = true;
    }
    return reservation->bids != NULL;
}

static bool parts_make(struct reservation *reservation, const struct reservation_request *request,
                       const struct reservation_node *nodes, size_t count)
{
    size_t *which = calloc(count + 1, sizeof(*which));
    bool made = false;

    reservation->parts = calloc(count + 1, sizeof(*reservation->parts));
    if (which != NULL && reservation->parts != NULL) {
        reservation->count = reservation_choose(request, nodes, count, reservation->parts, which);
        made = bids_make(reservation, nodes, which);
    }
    free(which);
    return made;
}

struct reservation *reservation_create(const struct reservation_request *request,
                                       const struct reservation_node *nodes, size_t count,
                                       int64_t now)
{
    struct reservation *reservation = calloc(1, sizeof(*reservation));

    if (reservation == NULL || !parts_make(reservation, request, nodes, count)) {
        reservation_destroy(reservation);
        errno = ENOMEM;
        return NULL;
    }
    reservation->attempt = request->attempt;
    reservation->seed = request->seed;
    reservation->tries = request->tries;
    reservation->resend = now + RESERVATION_RESEND_MS;
    reservation->deadline = now + RESERVATION_PATIENCE_MS;
    reservation->tell_wake = true;
    if (reservation->count == 0)
        fail(reservation, now, "there are not as many PEs free as it wants");
    return reservation;
}

static struct bid *bid_find(struct reservation *reservation, const struct node_key *node)
{
    for (size_t i = 0; i < reservation->count; i++)
        if (memcmp(&reservation->parts[i].node, node, sizeof(*node)) == 0)
            return &reservation->bids[i];
    return NULL;
}

static void blame(struct reservation *reservation, const struct bid *bid)
{
    reservation->blamed = &reservation->parts[bid - reservation->bids].node;
}

static void grant(struct reservation *reservation, struct bid *bid, int64_t now)
{
    bid->granted = true;
    bid->ask = false;
    if (++reservation->granted < reservation->count)
        return;
    reservation->phase = DONE;
    reservation->tell_end = reservation->tell_wake = true;
    reservation->resend = now + RESERVE_LEASE_MS / 3;
}

void reservation_answer(struct reservation *reservation, const struct node_key *node,
                        uint64_t attempt, uint32_t pes, bool unfit, const char *reason, int64_t now)
{
    struct bid *bid = bid_find(reservation, node);

    if (reservation->phase != ASKING || attempt != reservation->attempt || bid == NULL ||
        !bid->asked)
        return;
    reservation->scan = 0;
    if (pes == reservation->parts[bid - reservation->bids].pes) {
        if (!bid->granted)
            grant(reservation, bid, now);
        return;
    }
    if (unfit) {
        reservation->is_unfit = true;
        reservation->unfit.node = *node;
        memcpy(reservation->unfit.name, bid->name, sizeof(bid->name));
        snprintf(reservation->unfit.reason, sizeof(reservation->unfit.reason), "%s", reason);
    }
    blame(reservation, bid);
    fail(reservation, now, "host %s: %.240s", bid->name, reason);
}

void reservation_lost(struct reservation *reservation, const struct node_key *node, int64_t now)
{
    struct bid *bid = bid_find(reservation, node);

    if (reservation->phase != ASKING || bid == NULL)
        return;
    blame(reservation, bid);
    fail(reservation, now, "host %s was lost when it was asked for PEs", bid->name);
}

void reservation_cancel(struct reservation *reservation, int64_t now)
{
    if (reservation->phase == OVER)
        return;
    fail(reservation, now, "it was given up");
    reservation->tell_end = false;
}

/* The first that has not answered. */
static const struct bid *silent_find(const struct reservation *reservation)
{
    size_t i = 0;

    while (i + 1 < reservation->count && reservation->bids[i].granted)
        i++;
    return &reservation->bids[i];
}

void reservation_tick(struct reservation *reservation, int64_t now)
{
    if (reservation->phase == OVER)
        return;
    reservation->scan = 0;
    if (reservation->phase == ASKING && now >= reservation->deadline) {
        blame(reservation, silent_find(reservation));
        fail(reservation, now, "host %s does not answer", silent_find(reservation)->name);
        return;
    }
    reservation->tell_wake = true;
    if (now < reservation->resend)
        return;
    for (size_t i = 0; i < reservation->count; i++) {
        struct bid *bid = &reservation->bids[i];

        /* In each phase to renew: a lease is not to end while others are slow to answer. */
        bid->ask = !bid->self;
    }
    reservation->resend =
        now + (reservation->phase == DONE ? RESERVE_LEASE_MS / 3 : RESERVATION_RESEND_MS);
}

static bool bids_next(struct reservation *reservation, struct reservation_action *action)
{
    for (; reservation->scan < reservation->count; reservation->scan++) {
        struct bid *bid = &reservation->bids[reservation->scan];

        if (!bid->ask && !bid->release)
            continue;
        action->kind = bid->release ? RESERVATION_RELEASE : RESERVATION_ASK;
        action->node = reservation->parts[reservation->scan].node;
        action->pes = reservation->parts[reservation->scan].pes;
        bid->asked = !bid->release;
        bid->ask = bid->release = false;
        return true;
    }
    return false;
}

static int64_t wake_time(const struct reservation *reservation)
{
    if (reservation->phase == ASKING && reservation->deadline < reservation->resend)
        return reservation->deadline;
    return reservation->resend;
}

bool reservation_next(struct reservation *reservation, struct reservation_action *action)
{
    *action = (struct reservation_action){.attempt = reservation->attempt};
    if (bids_next(reservation, action))
        return true;
    if (reservation->tell_end) {
        reservation->tell_end = false;
        action->kind = reservation->phase == DONE ? RESERVATION_DONE : RESERVATION_FAILED;
        action->parts = reservation->parts;
        action->count = reservation->count;
        action->reason = reservation->reason;
        action->at = reservation->again;
        return true;
    }
    if (reservation->tell_wake) {
        reservation->tell_wake = false;
        action->kind = RESERVATION_WAKE_AT;
        action->at = wake_time(reservation);
        return true;
    }
    return false;
}

const struct node_key *reservation_blamed(const struct reservation *reservation)
{
    return reservation->blamed;
}

const struct reservation_unfit *reservation_unfit(const struct reservation *reservation)
{
    return reservation->is_unfit ? &reservation->unfit : NULL;
}
