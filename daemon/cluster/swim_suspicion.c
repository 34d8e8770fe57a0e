/*
 * From SUSPECT to LOST, or back to ALIVE.
 *
 * A suspect has time to deny: suspicion_max times suspicion_min as long as it has one accuser, less
 * with each member that suspects it independently, suspicion_min with four (Lifeguard's dogpile).
 *
 * Nobody says LOST who has not tried in vain himself, again and again for suspicion_min: that is ours.
 * In SWIM everybody who has heard of the suspicion says so when the time is over, so that one who missed
 * the denial is enough for a member that lives to be lost. Here the accusers go on probing the suspect,
 * one probe after the other, and say LOST; who only heard of it waits longer, for their verdict, and
 * then looks for himself. And a verdict of others is taken only of a member that has had suspicion_min
 * to deny it here: after a partition the other side's verdicts come in before the denials do.
 */
#include "daemon/cluster/swim_internal.h"

#include <string.h>

/* 1000 * log(n + 1) / log(4): how far n confirmations shorten the time. */
static const uint16_t shortening[SWIM_CONFIRMERS + 1] = {0, 500, 792, 1000};

/* 1000 * log10 of the members, at least 1000; straight between powers of two, 3 % off at most. */
static int64_t members_log10(const struct swim *swim)
{
    uint64_t members = swim->alive + 1, power = 1, log2 = 0;

    while (power * 2 <= members) {
        power *= 2;
        log2 += 1000;
    }
    log2 += (members - power) * 1000 / power;
    return log2 * 301 / 1000 > 1000 ? (int64_t)(log2 * 301 / 1000) : 1000;
}

static int64_t time_to_deny(const struct swim *swim)
{
    return (int64_t)swim->settings.suspicion_min * swim->settings.probe_ms * members_log10(swim) /
           1000;
}

int64_t swim_suspicion_deadline(const struct swim *swim, const struct member *member)
{
    int64_t least = time_to_deny(swim);
    int64_t most = least * swim->settings.suspicion_max;

    if (member->failures == 0)
        least = least * 2, most = most > least ? most : least;
    if (member->lost_heard)
        return member->since + time_to_deny(swim);
    return member->since + most - (most - least) * shortening[member->confirmations] / 1000;
}

/* The first probe in vain, and those that follow it without a pause until the time is over. A node whose
 * health is bad takes longer for them, as it should. */
static bool convinced(const struct swim *swim, const struct member *member)
{
    return member->failures > time_to_deny(swim) / swim->settings.probe_ms;
}

static uint64_t key_beginning(const struct node_key *key)
{
    uint64_t beginning;

    memcpy(&beginning, key->bytes, sizeof(beginning));
    return beginning;
}

static bool by_self(const struct swim *swim, const struct node_key *by)
{
    return swim_key_equal(by, &swim->self->record.key);
}

/* Some of those who hear of it look for themselves, so that confirmations come soon, or a denial. */
static bool look_oneself(struct swim *swim, const struct node_key *by)
{
    return !by_self(swim, by) &&
           swim_random_below(swim, swim->alive + 1) < swim->settings.confirmers;
}

void swim_suspicion_begin(struct swim *swim, struct member *member, const struct node_key *by)
{
    member->record.by = *by;
    member->confirmers[0] = key_beginning(by);
    member->confirmations = 0;
    member->lost_heard = member->verdict_first = false;
    member->failures = by_self(swim, by) ? 1 : 0;
    member->checked = swim->now;
    if (member->record.state == MEMBER_SUSPECT)
        member->since = swim->now;
    swim_member_set_state(swim, member, MEMBER_SUSPECT);
    swim_rumour_start(swim, member, false, false);
    if (look_oneself(swim, by))
        swim_probe_check(swim, member);
    swim_wake_by(swim, swim_suspicion_deadline(swim, member));
}

bool swim_suspicion_confirm(struct swim *swim, struct member *member, const struct node_key *by)
{
    uint64_t confirmer = key_beginning(by);

    if (member->confirmations == SWIM_CONFIRMERS)
        return false;
    for (unsigned i = 0; i <= member->confirmations; i++)
        if (member->confirmers[i] == confirmer)
            return false;
    member->confirmers[++member->confirmations] = confirmer;
    member->record.by = *by;
    swim_rumour_start(swim, member, false, false);
    swim_wake_by(swim, swim_suspicion_deadline(swim, member));
    return true;
}

void swim_suspicion_heard_lost(struct swim *swim, struct member *member)
{
    member->lost_heard = true;
    swim_wake_by(swim, swim_suspicion_deadline(swim, member));
}

static void verdict(struct swim *swim, struct member *member, const struct node_key *by)
{
    member->record.by = *by;
    swim_member_set_state(swim, member, MEMBER_LOST);
    swim_rumour_start(swim, member, false, false);
}

/* A probe of ours was in vain, and it is a suspect. */
void swim_suspicion_failed(struct swim *swim, struct member *member)
{
    if (member->failures < UINT8_MAX)
        member->failures++;
    swim_suspicion_confirm(swim, member, &swim->self->record.key);
    if (convinced(swim, member) && swim_suspicion_deadline(swim, member) <= swim->now)
        verdict(swim, member, &swim->self->record.key);
    else
        swim_probe_check(swim, member);
}

/* Time is over. A verdict that came in before a suspicion did is looked into. */
static void suspicion_over(struct swim *swim, struct member *member)
{
    if (convinced(swim, member))
        verdict(swim, member, &swim->self->record.key);
    else if (member->lost_heard && !member->verdict_first)
        verdict(swim, member, &member->record.by);
    else if (member->checked <= swim->now && swim_probe_check(swim, member))
        member->checked = swim->now + swim->settings.probe_ms;
}

void swim_suspicions_tick(struct swim *swim)
{
    struct member *next;

    for (struct member *member = swim->suspects; member != NULL; member = next) {
        int64_t deadline = swim_suspicion_deadline(swim, member);

        next = member->state_next;
        if (deadline <= swim->now)
            suspicion_over(swim, member);
        else
            swim_wake_by(swim, deadline);
    }
}

void swim_suspicions_postpone(struct swim *swim, int64_t by)
{
    for (struct member *member = swim->suspects; member != NULL; member = member->state_next)
        member->since += by;
}
