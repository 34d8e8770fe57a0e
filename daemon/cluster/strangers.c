#include "daemon/cluster/strangers.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>
#include <utlist.h>

struct caller {
    UT_hash_handle hh;
    struct caller *prev, *next; /* of those that wait, or have left */
    int fd;
    bool certain; /* the address is its own */
    bool vouched, doubted;
    unsigned ticks; /* in doubt */
    char address[];
};

/*
 * For those that wait nobody has vouched, as far as is known; those in doubt come first, since a
 * handshake puts all of them in doubt that are there. Those who have left are all in doubt. `vouched`
 * is never less than the number of those in doubt for whom somebody did vouch; more it is only if it
 * was for one that is not known, or after too many had left. So whoever is accused was a stranger.
 */
struct strangers {
    strangers_found *found;
    void *context;
    struct caller *known; /* those that are there, by descriptor */
    struct caller *waiting, *left;
    unsigned doubted_count; /* of those that wait */
    unsigned left_count;
    unsigned vouched;
    const char *failure;
};

struct strangers *strangers_create(strangers_found *found, void *context)
{
    struct strangers *strangers = calloc(1, sizeof(*strangers));

    if (strangers == NULL)
        return NULL;
    strangers->found = found;
    strangers->context = context;
    return strangers;
}

static void caller_accuse(const struct strangers *strangers, const struct caller *caller,
                          const char *why)
{
    strangers->found(strangers->context, caller->certain ? caller->address : NULL, why);
}

static void left_clear(struct strangers *strangers)
{
    struct caller *caller, *next;

    DL_FOREACH_SAFE(strangers->left, caller, next)
    free(caller);
    strangers->left = NULL;
    strangers->left_count = 0;
}

void strangers_destroy(struct strangers *strangers)
{
    struct caller *caller, *next;

    if (strangers == NULL)
        return;
    left_clear(strangers);
    HASH_ITER(hh, strangers->known, caller, next)
    {
        HASH_DEL(strangers->known, caller);
        free(caller);
    }
    free(strangers);
}

/* ---- judgement ---- */

static void waiting_remove(struct strangers *strangers, struct caller *caller)
{
    DL_DELETE(strangers->waiting, caller);
    strangers->doubted_count -= caller->doubted;
}

static void caller_believe(struct strangers *strangers, struct caller *caller)
{
    waiting_remove(strangers, caller);
    caller->vouched = true;
}

/* The last of those that wait came last: before the first in doubt, all others are as well. */
static void waiting_doubt(struct strangers *strangers)
{
    struct caller *caller = strangers->waiting == NULL ? NULL : strangers->waiting->prev;

    while (caller != NULL && !caller->doubted) {
        caller->doubted = true;
        strangers->doubted_count++;
        caller = caller == strangers->waiting ? NULL : caller->prev;
    }
}

/* All in doubt are vouched for. */
static void doubted_believe(struct strangers *strangers)
{
    while (strangers->doubted_count > 0)
        caller_believe(strangers, strangers->waiting);
    left_clear(strangers);
    strangers->vouched = 0;
}

/* None in doubt is. */
static void doubted_clear(struct strangers *strangers)
{
    struct caller *caller;

    DL_FOREACH(strangers->left, caller)
    caller_accuse(strangers, caller, NULL);
    left_clear(strangers);
    caller = strangers->waiting;
    for (; strangers->doubted_count > 0; strangers->doubted_count--) {
        caller->doubted = false;
        caller = caller->next;
    }
}

/* Somebody vouched for some who left, and nobody can say for which: only the others are strangers. */
static void left_count_out(struct strangers *strangers)
{
    for (unsigned i = strangers->vouched; i < strangers->left_count; i++)
        strangers->found(strangers->context, NULL, NULL);
    left_clear(strangers);
    if (strangers->vouched > strangers->doubted_count)
        strangers->vouched = strangers->doubted_count;
}

static void strangers_settle(struct strangers *strangers)
{
    if (strangers->vouched == 0 && strangers->doubted_count + strangers->left_count > 0)
        doubted_clear(strangers);
    else if (strangers->vouched >= strangers->doubted_count + strangers->left_count)
        doubted_believe(strangers);
    else if (strangers->doubted_count == 0 || strangers->left_count >= STRANGERS_IN_DOUBT)
        left_count_out(strangers);
}

/* ---- what happens ---- */

static struct caller *caller_find(const struct strangers *strangers, int fd)
{
    struct caller *caller;

    HASH_FIND_INT(strangers->known, &fd, caller);
    return caller;
}

static void caller_forget(struct strangers *strangers, struct caller *caller)
{
    HASH_DEL(strangers->known, caller);
    if (!caller->vouched)
        waiting_remove(strangers, caller);
}

void strangers_came(struct strangers *strangers, int fd, const char *address, bool certain)
{
    const size_t size = strlen(address) + 1;
    struct caller *caller = caller_find(strangers, fd);

    /* Its end was not told, and so not whether it failed. */
    if (caller != NULL) {
        caller_forget(strangers, caller);
        free(caller);
        strangers_settle(strangers);
    }
    if (HASH_COUNT(strangers->known) >= STRANGERS_KNOWN)
        return;
    caller = calloc(1, sizeof(*caller) + size);
    if (caller == NULL)
        return;
    caller->fd = fd;
    caller->certain = certain;
    memcpy(caller->address, address, size);
    HASH_ADD_INT(strangers->known, fd, caller);
    DL_APPEND(strangers->waiting, caller);
}

void strangers_vouched(struct strangers *strangers)
{
    strangers->vouched++;
    waiting_doubt(strangers);
    strangers_settle(strangers);
}

void strangers_failed(struct strangers *strangers, const char *why)
{
    strangers->failure = why;
}

/* One that went, and did not fail: now the strangers'. */
static void caller_weigh(struct strangers *strangers, struct caller *caller)
{
    if (!caller->vouched && caller->doubted) {
        DL_APPEND(strangers->left, caller);
        strangers->left_count++;
        return;
    }
    if (!caller->vouched)
        caller_accuse(strangers, caller, NULL);
    free(caller);
}

void strangers_went(struct strangers *strangers, int fd, const char *address)
{
    struct caller *caller = caller_find(strangers, fd);
    const char *failure = strangers->failure;

    strangers->failure = NULL;
    if (caller == NULL) {
        if (failure != NULL)
            strangers->found(strangers->context, NULL, failure);
        return;
    }
    caller_forget(strangers, caller);
    /* If it is not there any more, it was not another one's that stays. */
    caller->certain = caller->certain || strcmp(caller->address, address) != 0;
    if (failure == NULL) {
        caller_weigh(strangers, caller);
    } else {
        caller_accuse(strangers, caller, failure);
        free(caller);
    }
    strangers_settle(strangers);
}

bool strangers_doubt(const struct strangers *strangers)
{
    return strangers->vouched > 0;
}

/* For who is there for so long somebody has vouched: it was one of those that are counted. */
void strangers_tick(struct strangers *strangers)
{
    struct caller *caller, *next;

    DL_FOREACH_SAFE(strangers->waiting, caller, next)
    if (strangers->vouched > 0 && caller->doubted && ++caller->ticks > STRANGERS_PATIENCE) {
        caller_believe(strangers, caller);
        strangers->vouched--;
    }
    strangers_settle(strangers);
}
