#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include "daemon/jobs/reserve.h"

/* Leases of other homes: far more than any node has slots, and a limit where slots have none. */
#define MAX_LEASES 4096

struct holder {
    struct node_key home;
    uint64_t job;
    uint64_t own; /* this node's; there is no home then. Not a bool: all of this is hashed */
};

struct share {
    UT_hash_handle hh;
    struct holder holder;
    uint64_t attempt;
    uint32_t pes;
    bool held;
    int64_t until; /* of a lease */
};

struct ledger {
    struct share *shares;
    uint32_t slots, used, guests;
    uint32_t leases;
    bool stopped;
};

struct ledger *ledger_create(uint32_t slots)
{
    struct ledger *ledger = calloc(1, sizeof(*ledger));

    if (ledger == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    ledger->slots = slots;
    return ledger;
}

static void share_drop(struct ledger *ledger, struct share *share)
{
    HASH_DEL(ledger->shares, share);
    ledger->used -= share->pes;
    if (!share->holder.own)
        ledger->guests -= share->pes;
    if (!share->held)
        ledger->leases--;
    free(share);
}

void ledger_destroy(struct ledger *ledger)
{
    struct share *share = NULL, *next = NULL;

    if (ledger == NULL)
        return;
    HASH_ITER(hh, ledger->shares, share, next)
    {
        share_drop(ledger, share);
    }
    free(ledger);
}

static struct holder holder_of(const struct node_key *home, uint64_t job)
{
    struct holder holder = {.job = job, .own = home == NULL};

    if (home != NULL)
        holder.home = *home;
    return holder;
}

static struct share *share_find(const struct ledger *ledger, const struct node_key *home,
                                uint64_t job)
{
    const struct holder holder = holder_of(home, job);
    struct share *share;

    HASH_FIND(hh, ledger->shares, &holder, sizeof(holder), share);
    return share;
}

static struct share *share_add(struct ledger *ledger, const struct node_key *home, uint64_t job,
                               uint32_t pes)
{
    struct share *share = calloc(1, sizeof(*share));

    if (share == NULL)
        return NULL;
    share->holder = holder_of(home, job);
    share->pes = pes;
    share->held = home == NULL;
    HASH_ADD(hh, ledger->shares, holder, sizeof(share->holder), share);
    ledger->used += pes;
    if (home != NULL) {
        ledger->guests += pes;
        ledger->leases++;
    }
    return share;
}

void ledger_resize(struct ledger *ledger, uint32_t slots)
{
    ledger->slots = slots;
}

void ledger_stop(struct ledger *ledger, bool stopped)
{
    ledger->stopped = stopped;
}

static int refuse(char reason[RESERVE_REASON_SIZE], const char *sentence)
{
    snprintf(reason, RESERVE_REASON_SIZE, "%s", sentence);
    return -1;
}

static int refuse_full(const struct ledger *ledger, char reason[RESERVE_REASON_SIZE])
{
    uint32_t available = ledger_free(ledger);

    if (available == 0)
        snprintf(reason, RESERVE_REASON_SIZE, "none of its PEs is free");
    else
        snprintf(reason, RESERVE_REASON_SIZE, "%u of its %u PEs %s free", available, ledger->slots,
                 available == 1 ? "is" : "are");
    return -1;
}

/* There is something of this job already. 1: it makes way for a newer attempt. */
static int share_renew(struct ledger *ledger, struct share *share, uint64_t attempt, uint32_t pes,
                       int64_t until, char reason[RESERVE_REASON_SIZE])
{
    if (attempt < share->attempt)
        return refuse(reason, "a newer attempt of the same job was here before");
    if (attempt > share->attempt && share->held)
        return refuse(reason, "an earlier attempt of the same job has not ended there yet");
    if (attempt > share->attempt) {
        share_drop(ledger, share);
        return 1;
    }
    if (pes != share->pes)
        return refuse(reason, "the same attempt has asked for another number of PEs before");
    if (!share->held)
        share->until = until;
    return 0;
}

int ledger_promise(struct ledger *ledger, const struct node_key *home, uint64_t job,
                   uint64_t attempt, uint32_t pes, uint32_t lease_ms, int64_t now,
                   char reason[RESERVE_REASON_SIZE])
{
    int64_t until = now + (lease_ms < RESERVE_MAX_LEASE_MS ? lease_ms : RESERVE_MAX_LEASE_MS);
    struct share *share;
    int rc;

    ledger_expire(ledger, now);
    share = share_find(ledger, home, job);
    if (share != NULL && (rc = share_renew(ledger, share, attempt, pes, until, reason)) != 1)
        return rc;
    if (ledger->stopped)
        return refuse(reason, "it drains, and starts no more jobs");
    if (pes == 0)
        return refuse(reason, "no PEs were asked for");
    if (pes > ledger_free(ledger))
        return refuse_full(ledger, reason);
    if (ledger->leases >= MAX_LEASES)
        return refuse(reason, "it has promised PEs to too many jobs at this moment");
    share = share_add(ledger, home, job, pes);
    if (share == NULL)
        return refuse(reason, "its daemon is out of memory");
    share->attempt = attempt;
    share->until = until;
    return 0;
}

bool ledger_has(const struct ledger *ledger, const struct node_key *home, uint64_t job,
                uint64_t attempt)
{
    const struct share *share = share_find(ledger, home, job);

    return share != NULL && share->attempt == attempt;
}

bool ledger_hold(struct ledger *ledger, const struct node_key *home, uint64_t job, uint64_t attempt,
                 int64_t now)
{
    struct share *share;

    ledger_expire(ledger, now);
    share = share_find(ledger, home, job);
    if (share == NULL || share->attempt != attempt)
        return false;
    if (!share->held)
        ledger->leases--;
    share->held = true;
    return true;
}

bool ledger_withdraw(struct ledger *ledger, const struct node_key *home, uint64_t job,
                     uint64_t attempt)
{
    struct share *share = share_find(ledger, home, job);

    if (share == NULL || share->held || share->attempt > attempt)
        return false;
    share_drop(ledger, share);
    return true;
}

bool ledger_release(struct ledger *ledger, const struct node_key *home, uint64_t job)
{
    struct share *share = share_find(ledger, home, job);

    if (share == NULL)
        return false;
    share_drop(ledger, share);
    return true;
}

void ledger_forget(struct ledger *ledger, const struct node_key *home)
{
    struct share *share = NULL, *next = NULL;

    HASH_ITER(hh, ledger->shares, share, next)
    {
        if (!share->held && memcmp(&share->holder.home, home, sizeof(*home)) == 0)
            share_drop(ledger, share);
    }
}

bool ledger_take(struct ledger *ledger, uint64_t job, uint32_t pes)
{
    if (pes == 0 || pes > ledger_free(ledger) || share_find(ledger, NULL, job) != NULL)
        return false;
    return share_add(ledger, NULL, job, pes) != NULL;
}

int64_t ledger_expire(struct ledger *ledger, int64_t now)
{
    struct share *share = NULL, *next = NULL;
    int64_t first = -1;

    if (ledger->leases == 0)
        return -1;
    HASH_ITER(hh, ledger->shares, share, next)
    {
        if (share->held)
            continue;
        if (share->until <= now)
            share_drop(ledger, share);
        else if (first < 0 || share->until < first)
            first = share->until;
    }
    return first;
}

uint32_t ledger_slots(const struct ledger *ledger)
{
    return ledger->slots;
}

uint32_t ledger_used(const struct ledger *ledger)
{
    return ledger->used;
}

uint32_t ledger_free(const struct ledger *ledger)
{
    return ledger->used < ledger->slots ? ledger->slots - ledger->used : 0;
}

uint32_t ledger_guests(const struct ledger *ledger)
{
    return ledger->guests;
}
