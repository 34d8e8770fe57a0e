/*
 * Rumours: what has changed, on its way to everybody.
 *
 * A member is a rumour itself: what is told is what is known of it when the message leaves. The
 * rumours lie in lists by how often they were told; the least told go first, and after so many times,
 * which grow with the logarithm of the members, a rumour ends. They travel in probes and answers, which
 * go to members by chance, and in gossip, which goes to neighbours, so that few connections carry most.
 */
#include "daemon/cluster/swim_internal.h"

#include <string.h>
#include <utlist.h>

/* Envelope of a message, without records. */
#define EMPTY_BYTES 64

/*
 * A rumour reaches a member about as often as everybody tells it, and misses it with e to the power of
 * minus that. Six times leave 1 of 400 in the dark whatever their number; one more for each doubling
 * halves that at least, so that the expected number of those who miss it falls.
 */
static unsigned rumour_limit(const struct swim *swim)
{
    unsigned limit = 6 + swim_members_bits(swim);

    return limit < SWIM_RUMOUR_TIMES ? limit : SWIM_RUMOUR_TIMES;
}

static void rumour_put(struct swim *swim, struct member *member, unsigned times)
{
    member->is_rumour = true;
    member->rumour_times = (uint8_t)times;
    DL_PREPEND2(swim->rumours[times], member, rumour_prev, rumour_next);
    swim->rumour_count++;
}

static void rumour_take_out(struct swim *swim, struct member *member)
{
    DL_DELETE2(swim->rumours[member->rumour_times], member, rumour_prev, rumour_next);
    member->is_rumour = false;
    swim->rumour_count--;
}

void swim_rumour_stop(struct swim *swim, struct member *member)
{
    if (!member->is_rumour)
        return;
    rumour_take_out(swim, member);
    member->rumour_facts = false;
}

/* Gossip goes at once if none went for a while, else in its turn. */
static void gossip_wake(struct swim *swim)
{
    if (swim->next_gossip < swim->now)
        swim->next_gossip = swim->now;
    swim_wake_by(swim, swim->next_gossip);
}

void swim_rumour_start(struct swim *swim, struct member *member, bool facts, bool only_load)
{
    unsigned times = only_load ? rumour_limit(swim) - SWIM_LOAD_TIMES : 0;

    if (swim->now < swim->joining_until && member != swim->self)
        return;
    if (member->is_rumour) {
        if (member->rumour_times < times)
            times = member->rumour_times;
        rumour_take_out(swim, member);
    }
    member->rumour_facts |= facts;
    rumour_put(swim, member, times);
    gossip_wake(swim);
}

static void rumour_told(struct swim *swim, struct member *member)
{
    unsigned times = member->rumour_times + 1;

    rumour_take_out(swim, member);
    if (times < rumour_limit(swim))
        rumour_put(swim, member, times);
    else
        member->rumour_facts = false;
}

/* There are fewer members than when these began. */
static void rumours_old_stop(struct swim *swim)
{
    for (unsigned times = rumour_limit(swim); times <= SWIM_RUMOUR_TIMES; times++)
        while (swim->rumours[times] != NULL)
            swim_rumour_stop(swim, swim->rumours[times]);
}

/* ---- the records of a message ---- */

struct choice {
    struct swim *swim;
    size_t count, bytes, limit;
    const struct member *had[3]; /* that are in it already */
    size_t had_count;
    struct member *told[SWIM_PAGE];
    size_t told_count;
};

static bool choice_add(struct choice *choice, const struct member *member, bool facts)
{
    struct member_record *record = &choice->swim->records[choice->count];
    size_t bytes;

    if (choice->count == SWIM_PAGE)
        return false;
    *record = member->record;
    record->has_facts = facts && record->has_facts;
    bytes = swim_record_bytes(record);
    if (choice->bytes + bytes > choice->limit)
        return false;
    choice->bytes += bytes;
    choice->count++;
    return true;
}

/* Whatever else fits: these are why the message is sent. Who was only introduced is nobody else's
 * business. */
static void choice_add_first(struct choice *choice, struct member *member, bool facts)
{
    if (member->record.incarnation > 0 && choice_add(choice, member, facts))
        choice->had[choice->had_count++] = member;
}

static bool choice_has(const struct choice *choice, const struct member *member)
{
    for (size_t i = 0; i < choice->had_count; i++)
        if (choice->had[i] == member)
            return true;
    return false;
}

static void choice_add_rumours(struct choice *choice, const struct member *to)
{
    struct swim *swim = choice->swim;
    unsigned limit = rumour_limit(swim), full = 0;
    struct member *member;

    for (unsigned times = 0; times < limit && full < 4; times++)
        DL_FOREACH2(swim->rumours[times], member, rumour_next)
        {
            if (member == to || choice_has(choice, member))
                continue;
            if (choice_add(choice, member, member->rumour_facts))
                choice->told[choice->told_count++] = member;
            else if (++full == 4)
                break;
        }
    for (size_t i = 0; i < choice->told_count; i++)
        rumour_told(swim, choice->told[i]);
}

/* The accused hears of it first; then what the message is about. */
size_t swim_rumours_choose(struct swim *swim, const struct outgoing *outgoing, struct member *to)
{
    struct choice choice = {.swim = swim, .limit = swim->settings.rumour_bytes - EMPTY_BYTES};
    struct member *about = swim_member_find(swim, &outgoing->about);

    if (to->record.state != MEMBER_ALIVE)
        choice_add_first(&choice, to, false);
    if (outgoing->with_self)
        choice_add_first(&choice, swim->self, outgoing->with_facts);
    if (about != NULL && about != to && about != swim->self)
        choice_add_first(&choice, about, false);
    rumours_old_stop(swim);
    choice_add_rumours(&choice, to);
    return choice.count;
}

/* ---- gossip ---- */

void swim_gossip_tick(struct swim *swim)
{
    size_t fanout = swim->settings.gossip_fanout;

    if (swim->next_gossip > swim->now || swim->rumour_count == 0)
        return;
    swim->next_gossip = swim->now + swim->settings.gossip_ms;
    if (fanout > swim->neighbour_count)
        fanout = swim->neighbour_count;
    for (size_t i = 0; i < fanout; i++) {
        size_t turn = swim->neighbour_turn++ % swim->neighbour_count;

        swim_message_add(swim, SWIM_GOSSIP, &swim->neighbours[turn]->record.key, 0);
    }
}

static bool is_neighbour(const struct swim *swim, const struct member *member)
{
    for (size_t i = 0; i < swim->neighbour_count; i++)
        if (swim->neighbours[i] == member)
            return true;
    return false;
}

void swim_neighbours_drop(struct swim *swim, const struct member *member)
{
    for (size_t i = 0; i < swim->neighbour_count; i++)
        if (swim->neighbours[i] == member)
            swim->neighbours[i] = swim->neighbours[--swim->neighbour_count];
}

static void neighbours_fill(struct swim *swim)
{
    size_t wanted = swim->settings.neighbours;

    if (wanted > swim->alive)
        wanted = swim->alive;
    for (unsigned tries = 0; swim->neighbour_count < wanted && tries < 64; tries++) {
        struct member *member = swim_member_random(swim, NULL);

        if (member != NULL && !is_neighbour(swim, member))
            swim->neighbours[swim->neighbour_count++] = member;
    }
}

/* One that stays for ever could keep a part of the cluster from hearing of another. */
void swim_neighbours_tick(struct swim *swim)
{
    if (swim->next_neighbour <= swim->now) {
        swim->next_neighbour = swim->now + swim->settings.neighbour_ms;
        if (swim->neighbour_count > 0 && swim->neighbour_count < swim->alive)
            swim_neighbours_drop(swim,
                                 swim->neighbours[swim_random_below(swim, swim->neighbour_count)]);
    }
    neighbours_fill(swim);
}
