/* Membership: life, time, messages in, actions out. swim_internal.h says where the rest is. */
#include "daemon/cluster/swim_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/*
 * Chosen with tests/sim/sim_swim.c; docs/membership.md has the figures.
 *
 * The period and the suspicion are as short as lets five nodes all know within 3 s that one crashed (in
 * 99 of 100 cases), without a dropped connection to hint at it: at the worst of a hundred 1.2 s until one
 * of four probes it, one period until the probe is in vain, two until all have confirmed it and it has
 * not denied it.
 * A thousand have three times as long to deny, which is what rumours take to get round.
 *
 * Three tries and three helpers leave 4 in 100 probes in vain at 30 % loss of messages, each way; then
 * suspicions are many but short, since accusers go on probing. To lose a member that lives takes as
 * many probes in vain, one after the other, as there are periods in its suspicion.
 */
const struct swim_settings swim_default_settings = {
    .probe_ms = 400,
    .probe_timeout_ms = 160,
    .helpers = 3,
    .suspicion_min = 2,
    .suspicion_max = 4,
    .confirmers = 4,
    .gossip_ms = 200,
    .gossip_fanout = 3,
    .neighbours = 8,
    .neighbour_ms = 60000,
    .load_ms = 2000,
    .exchange_ms = 30000,
    .lost_probe_ms = 2000,
    .forget_ms = 86400000,
    .rumour_bytes = 4096,
};

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016. */
uint64_t swim_random_below(struct swim *swim, uint64_t limit)
{
    swim->random ^= swim->random >> 12;
    swim->random ^= swim->random << 25;
    swim->random ^= swim->random >> 27;
    return ((swim->random * 0x2545f4914f6cdd1du) >> 16) % limit;
}

/* What is overdue is due now: the difference would look as if we had been stopped meanwhile. */
void swim_wake_by(struct swim *swim, int64_t at)
{
    if (at < swim->now)
        at = swim->now;
    if (at < swim->wake)
        swim->wake = at;
}

void swim_health_change(struct swim *swim, int by)
{
    int health = (int)swim->health + by;

    swim->health = health < 0 ? 0 : health > SWIM_HEALTH_MAX ? SWIM_HEALTH_MAX : (unsigned)health;
}

unsigned swim_members_bits(const struct swim *swim)
{
    unsigned bits = 1;

    while (((swim->alive + 1) >> bits) > 0)
        bits++;
    return bits;
}

struct outgoing *swim_message_add(struct swim *swim, enum swim_message_kind kind,
                                  const struct node_key *to, uint64_t number)
{
    struct outgoing *outgoing;

    if (swim->outgoing_count == SWIM_OUTGOING)
        return NULL;
    outgoing = &swim->outgoing[(swim->outgoing_first + swim->outgoing_count++) % SWIM_OUTGOING];
    memset(outgoing, 0, sizeof(*outgoing));
    outgoing->kind = kind;
    outgoing->to = *to;
    outgoing->number = number;
    return outgoing;
}

/* ---- life ---- */

/* Members that start together shall not do everything at the same moments. */
static void clocks_start(struct swim *swim)
{
    const struct swim_settings *settings = &swim->settings;

    swim->next_probe = swim->now + (int64_t)swim_random_below(swim, settings->probe_ms + 1);
    swim->next_neighbour = swim->now + (int64_t)swim_random_below(swim, settings->neighbour_ms + 1);
    swim->next_exchange = swim->now + (int64_t)swim_random_below(swim, settings->exchange_ms + 1);
    swim->next_lost = swim->now + (int64_t)swim_random_below(swim, settings->lost_probe_ms + 1);
    swim->next_gossip = swim->joining_until = swim->healing_until = swim->now;
    swim->facts_told = swim->now;
    swim->raised = swim->now - SWIM_PATIENCE_MS;
    swim->wake = swim->woken = SWIM_NEVER;
}

/* Anything would do but what nothing could be done with. */
static void settings_take(struct swim *swim, const struct swim_settings *settings)
{
    struct swim_settings *own = &swim->settings;

    *own = *settings;
    if (own->probe_ms < 10)
        own->probe_ms = 10;
    if (own->probe_timeout_ms >= own->probe_ms)
        own->probe_timeout_ms = own->probe_ms / 2;
    if (own->helpers > SWIM_HELPERS_MAX)
        own->helpers = SWIM_HELPERS_MAX;
    if (own->neighbours > SWIM_NEIGHBOURS_MAX)
        own->neighbours = SWIM_NEIGHBOURS_MAX;
    if (own->suspicion_max < 1)
        own->suspicion_max = 1;
    if (own->rumour_bytes < 1024)
        own->rumour_bytes = 1024;
}

struct swim *swim_create(const struct swim_settings *settings, const struct member_record *self,
                         uint64_t seed, int64_t now)
{
    struct swim *swim = calloc(1, sizeof(*swim));
    struct member_record record = *self;

    if (swim == NULL)
        goto out_of_memory;
    settings_take(swim, settings);
    swim->random = (seed + 1) * 0x9e3779b97f4a7c15u | 1;
    swim->now = now;
    clocks_start(swim);
    swim->number = swim_random_below(swim, 1 << 20);
    record.state = MEMBER_ALIVE;
    record.revision = record.facts_revision = 1;
    record.has_facts = true;
    swim->facts = record.facts;
    swim->self = swim_member_add(swim, &record);
    if (swim->self == NULL)
        goto out_of_memory;
    swim->alive = 0;
    return swim;
out_of_memory:
    swim_destroy(swim);
    errno = ENOMEM;
    return NULL;
}

void swim_destroy(struct swim *swim)
{
    struct member *member, *next_member;
    struct expelled *expelled, *next_expelled;

    if (swim == NULL)
        return;
    while (swim_changed_take(swim) != NULL)
        ;
    swim_graves_clear(swim);
    HASH_ITER(hh, swim->hash, member, next_member)
    {
        HASH_DEL(swim->hash, member);
        free(member);
    }
    HASH_ITER(hh, swim->expelled, expelled, next_expelled)
    {
        HASH_DEL(swim->expelled, expelled);
        free(expelled);
    }
    free(swim->members);
    free(swim);
}

/* ---- time ---- */

/*
 * Every input begins here. Who was stopped (a signal, a machine that slept) has heard nothing
 * meanwhile, and must not hold that against others: whatever it waited for gets that time again.
 */
static bool input_begin(struct swim *swim, int64_t now)
{
    swim_graves_clear(swim);
    if (now > swim->now)
        swim->now = now;
    if (swim->wake != SWIM_NEVER && swim->now - swim->wake >= swim->settings.probe_ms) {
        int64_t gap = swim->now - swim->wake;

        swim_probes_postpone(swim, gap);
        swim_suspicions_postpone(swim, gap);
        swim_health_change(swim, 1);
        swim->wake = swim->now;
    }
    return !swim->leaving;
}

static void load_tick(struct swim *swim)
{
    int64_t members = swim->alive + 1 > 10 ? (int64_t)swim->alive + 1 : 10;
    int64_t due = swim->facts_told + swim->settings.load_ms * members / 10;

    if (!swim->facts_wait)
        return;
    if (due <= swim->now)
        swim_facts_publish(swim, true);
    else
        swim_wake_by(swim, due);
}

void swim_tick(struct swim *swim, int64_t now)
{
    if (!input_begin(swim, now))
        return;
    swim->wake = swim->woken = SWIM_NEVER;
    swim_neighbours_tick(swim);
    swim_probes_tick(swim);
    swim_suspicions_tick(swim);
    swim_exchange_tick(swim);
    swim_lost_tick(swim);
    swim_left_tick(swim);
    load_tick(swim);
    swim_gossip_tick(swim);
}

/* ---- messages in ---- */

static void gossip_receive(struct swim *swim, struct member *from,
                           const struct swim_message *message)
{
    (void)swim;
    (void)from;
    (void)message;
}

typedef void receiver(struct swim *, struct member *, const struct swim_message *);

static receiver *const receivers[] = {
    [SWIM_PROBE] = swim_probe_receive,
    [SWIM_PROBE_FOR] = swim_probe_for_receive,
    [SWIM_PROBE_ANSWER] = swim_probe_answer_receive,
    [SWIM_GOSSIP] = gossip_receive,
    [SWIM_EXCHANGE] = swim_exchange_receive,
};
#define RECEIVERS (sizeof(receivers) / sizeof(receivers[0]))

/* It speaks, so it lives; but only itself can deny what is said of it. An answer tells it anyway. */
static void accused_tell(struct swim *swim, struct member *member, enum swim_message_kind kind)
{
    if (member->record.state == MEMBER_ALIVE || kind == SWIM_PROBE ||
        member->told + swim->settings.probe_ms > swim->now)
        return;
    swim_lost_try(swim, member);
}

static void records_take(struct swim *swim, const struct node_key *from,
                         const struct swim_message *message)
{
    bool exchange = message->kind == SWIM_EXCHANGE;
    size_t count = message->count < SWIM_MAX_RECORDS ? message->count : SWIM_MAX_RECORDS;

    /* Who comes in knows nothing that the others do not: it tells no news. */
    if (exchange && swim->alive == 0)
        swim->joining_until = swim->now + SWIM_PATIENCE_MS;
    swim->reply_self = swim->reply_facts = false;
    for (size_t i = 0; i < count; i++)
        swim_record_take(swim, from, &message->records[i], exchange);
}

void swim_receive(struct swim *swim, const struct node_key *from,
                  const struct swim_message *message, int64_t now)
{
    struct member *member;

    if (!input_begin(swim, now) || (size_t)message->kind >= RECEIVERS ||
        receivers[message->kind] == NULL || swim_key_expelled(swim, from) ||
        swim_key_equal(from, &swim->self->record.key))
        return;
    member = swim_member_find(swim, from);
    if (member != NULL)
        swim_member_heard(swim, member, message->incarnation);
    records_take(swim, from, message);
    member = swim_member_find(swim, from);
    if (member == NULL)
        return;
    accused_tell(swim, member, message->kind);
    receivers[message->kind](swim, member, message);
    if (swim->alive > 0)
        swim_wake_by(swim, swim->next_probe);
}

/* ---- what the owner says ---- */

void swim_introduce(struct swim *swim, const struct member_record *record, int64_t now)
{
    struct member *member;
    struct member_record first = *record;

    if (!input_begin(swim, now) || swim_key_expelled(swim, &record->key) || !record->has_facts)
        return;
    member = swim_member_find(swim, &record->key);
    if (member == NULL) {
        first.state = MEMBER_LOST;
        first.incarnation = first.revision = first.facts_revision = 0;
        member = swim_member_add(swim, &first);
        if (member == NULL)
            return;
        member->is_new = true;
        swim_member_changed(swim, member, MEMBER_LEFT);
    }
    if (member->record.state == MEMBER_LOST && swim->alive == 0)
        swim_lost_try(swim, member);
    swim_wake_by(swim, swim->next_lost);
}

void swim_hint(struct swim *swim, const struct node_key *key, int64_t now)
{
    struct member *member;

    if (!input_begin(swim, now))
        return;
    member = swim_member_find(swim, key);
    if (member != NULL && member != swim->self && swim_member_reachable(member))
        swim_probe_check(swim, member);
}

void swim_set_facts(struct swim *swim, const struct member_facts *facts, int64_t now)
{
    bool only_load;

    if (!input_begin(swim, now))
        return;
    swim->facts = *facts;
    only_load = swim_facts_differ_in_load_only(&swim->self->record.facts, facts);
    if (!only_load)
        swim_facts_publish(swim, false);
    else
        swim->facts_wait = swim_load_differs(&swim->self->record.facts, facts);
    if (swim->facts_wait)
        swim_wake_by(swim, swim->now);
}

void swim_expel(struct swim *swim, const struct node_key *key, int64_t now)
{
    struct member *member;

    if (!input_begin(swim, now) || swim_key_equal(key, &swim->self->record.key))
        return;
    swim_key_expel(swim, key);
    member = swim_member_find(swim, key);
    if (member == NULL)
        return;
    swim_member_changed(swim, member, member->record.state);
    swim_member_remove(swim, member);
}

/* Neighbours first, then anybody: one that hears it tells the others. */
void swim_leave(struct swim *swim, int64_t now)
{
    size_t wanted = swim_members_bits(swim) + 2;

    if (!input_begin(swim, now))
        return;
    swim->self->record.revision++;
    swim->self->record.state = MEMBER_LEFT;
    swim_neighbours_tick(swim);
    for (size_t i = 0; i < swim->neighbour_count && i < wanted; i++)
        swim_message_add(swim, SWIM_GOSSIP, &swim->neighbours[i]->record.key, 0);
    for (size_t i = 0; i < swim->outgoing_count; i++)
        swim->outgoing[(swim->outgoing_first + i) % SWIM_OUTGOING].with_self = true;
    swim->leaving = true;
    swim->wake = SWIM_NEVER;
}

/* ---- actions out ---- */

static bool changed_next(struct swim *swim, struct swim_action *action)
{
    struct member *member = swim_changed_take(swim);

    if (member == NULL)
        return false;
    action->kind = SWIM_CHANGED;
    action->member = &member->record;
    action->before = member->before;
    action->is_new = member->is_new;
    action->restarted = member->restarted;
    member->is_new = member->restarted = false;
    return true;
}

static void message_make(struct swim *swim, struct outgoing *outgoing, struct member *to,
                         struct swim_message *message)
{
    message->kind = outgoing->kind;
    message->incarnation = swim->self->record.incarnation;
    message->number = outgoing->number;
    message->failed = outgoing->failed;
    message->answer = outgoing->answer;
    if (outgoing->kind == SWIM_PROBE_FOR)
        message->about = outgoing->about;
    if (outgoing->kind == SWIM_EXCHANGE)
        message->more = swim_exchange_page(swim, outgoing, &message->count);
    else
        message->count = swim_rumours_choose(swim, outgoing, to);
    message->records = swim->records;
}

/* False: who it was for is gone, nobody knows where it is, or there is nothing to say any more. */
static bool message_next(struct swim *swim, struct swim_action *action)
{
    struct outgoing *outgoing = &swim->outgoing[swim->outgoing_first];
    struct member *to = swim_member_find(swim, &outgoing->to);
    bool sent = to != NULL && to->record.has_facts;

    if (sent) {
        action->kind = SWIM_SEND;
        action->to = outgoing->to;
        action->address = to->record.facts.control;
        message_make(swim, outgoing, to, &action->message);
        sent = outgoing->kind != SWIM_GOSSIP || action->message.count > 0;
    }
    if (!sent || !action->message.more) {
        swim->outgoing_first = (swim->outgoing_first + 1) % SWIM_OUTGOING;
        swim->outgoing_count--;
    }
    return sent;
}

bool swim_next(struct swim *swim, struct swim_action *action)
{
    memset(action, 0, sizeof(*action));
    if (changed_next(swim, action))
        return true;
    while (swim->outgoing_count > 0)
        if (message_next(swim, action))
            return true;
    if (swim->wake == SWIM_NEVER || swim->wake == swim->woken)
        return false;
    swim->woken = swim->wake;
    action->kind = SWIM_WAKE_AT;
    action->at = swim->wake;
    return true;
}

/* ---- what is known ---- */

size_t swim_count(const struct swim *swim)
{
    return swim->count;
}

const struct member_record *swim_member(const struct swim *swim, size_t i)
{
    return i < swim->count ? &swim->members[i]->record : NULL;
}

const struct member_record *swim_find(const struct swim *swim, const struct node_key *key)
{
    const struct member *member = swim_member_find(swim, key);

    return member != NULL ? &member->record : NULL;
}

unsigned swim_health(const struct swim *swim)
{
    return swim->health;
}
