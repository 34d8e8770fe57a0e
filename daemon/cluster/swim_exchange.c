/*
 * Push-pull: now and then two members tell each other all that they know, which heals what rumours
 * have missed. And the lost are tried, one after the other, for ever: who answers was told that it is
 * lost, and denies it; so a partition ends when one side tries the other.
 */
#include "daemon/cluster/swim_internal.h"

#include <utlist.h>

#define SMALL 32 /* up to so many members the period is that of the settings */

/* What is sent and received per second stays the same: twice the records, half as often. */
uint32_t swim_exchange_period(const struct swim *swim)
{
    uint64_t period = swim->settings.exchange_ms;

    for (size_t members = swim->alive + 1; members > SMALL; members = (members + 1) / 2)
        period *= 2;
    return period < UINT32_MAX / 2 ? (uint32_t)period : UINT32_MAX / 2;
}

void swim_exchange_start(struct swim *swim, const struct member *with)
{
    struct outgoing *outgoing = swim_message_add(swim, SWIM_EXCHANGE, &with->record.key, 0);

    if (outgoing != NULL)
        outgoing->answer = true;
}

/* Something was said that we cannot place: the next exchange comes sooner, with as much chance in it
 * that not all who wonder ask at once. */
void swim_exchange_hurry(struct swim *swim)
{
    int64_t soon = swim->now + SWIM_PATIENCE_MS +
                   (int64_t)swim_random_below(swim, swim_exchange_period(swim) / 8 + 1);

    if (soon < swim->next_exchange)
        swim->next_exchange = soon;
    swim_wake_by(swim, swim->next_exchange);
}

void swim_exchange_tick(struct swim *swim)
{
    uint32_t period = swim_exchange_period(swim);

    if (swim->next_exchange <= swim->now) {
        struct member *with = swim_member_random(swim, NULL);

        swim->next_exchange =
            swim->now + period / 4 * 3 + (int64_t)swim_random_below(swim, period / 2 + 1);
        if (with != NULL)
            swim_exchange_start(swim, with);
    }
    if (swim->alive > 0)
        swim_wake_by(swim, swim->next_exchange);
}

void swim_exchange_receive(struct swim *swim, struct member *from,
                           const struct swim_message *message)
{
    if (message->more)
        return;
    swim->joining_until = swim->now;
    if (!message->answer || from->answered + SWIM_PATIENCE_MS > swim->now)
        return;
    from->answered = swim->now;
    swim_message_add(swim, SWIM_EXCHANGE, &from->record.key, 0);
}

/* Who was only introduced is nobody else's business. */
static void page_put(struct swim *swim, const struct member *member, size_t *count)
{
    if (member->record.incarnation > 0)
        swim->records[(*count)++] = member->record;
}

bool swim_exchange_page(struct swim *swim, struct outgoing *outgoing, size_t *count)
{
    size_t number = swim->count;

    for (*count = 0; outgoing->next < swim->count && *count < SWIM_PAGE; outgoing->next++)
        page_put(swim, swim->members[outgoing->next], count);
    for (struct member *member = swim->left; member != NULL && *count < SWIM_PAGE;
         member = member->state_next)
        if (number++ == outgoing->next) {
            page_put(swim, member, count);
            outgoing->next++;
        }
    return outgoing->next < HASH_COUNT(swim->hash);
}

/* ---- the lost ---- */

/* With the accusation, as always, and with our facts: it may have lost sight of us too. */
void swim_lost_try(struct swim *swim, struct member *member)
{
    struct outgoing *outgoing;

    member->told = swim->now;
    if (member->record.incarnation == 0) {
        swim_exchange_start(swim, member);
        return;
    }
    outgoing = swim_message_add(swim, SWIM_PROBE, &member->record.key, 0);
    if (outgoing != NULL)
        outgoing->with_self = outgoing->with_facts = true;
}

static uint32_t lost_period(const struct swim *swim)
{
    return swim->now < swim->healing_until ? swim->settings.gossip_ms
                                           : swim->settings.lost_probe_ms;
}

void swim_lost_tick(struct swim *swim)
{
    struct member *member = swim->lost;

    if (member == NULL)
        return;
    if (swim->next_lost <= swim->now) {
        swim->next_lost = swim->now + lost_period(swim);
        if (member->told + SWIM_PATIENCE_MS <= swim->now) {
            DL_DELETE2(swim->lost, member, state_prev, state_next);
            DL_APPEND2(swim->lost, member, state_prev, state_next);
            swim_lost_try(swim, member);
        }
    }
    swim_wake_by(swim, swim->next_lost);
}

/* One of the lost is back in the same life: a connection is, and maybe those of others. */
void swim_healing_begin(struct swim *swim, const struct member *direct)
{
    swim->healing_until = swim->now + SWIM_HEALING_MS;
    if (swim->next_lost > swim->now + swim->settings.gossip_ms)
        swim->next_lost = swim->now + swim->settings.gossip_ms;
    if (swim->lost != NULL)
        swim_wake_by(swim, swim->next_lost);
    if (direct != NULL && swim_random_below(swim, swim->alive + 1) < SWIM_HEALERS)
        swim_exchange_start(swim, direct);
}

void swim_left_tick(struct swim *swim)
{
    while (swim->left != NULL && swim->left != swim->self &&
           swim->left->since + swim->settings.forget_ms <= swim->now)
        swim_member_remove(swim, swim->left);
}
