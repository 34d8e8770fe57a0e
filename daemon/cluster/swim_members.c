/* The table of members: who is in it, in which state, and what the owner has to be told of it. */
#include "daemon/cluster/swim_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct member *swim_member_find(const struct swim *swim, const struct node_key *key)
{
    struct member *member;

    HASH_FIND(hh, swim->hash, key, sizeof(*key), member);
    return member;
}

bool swim_member_reachable(const struct member *member)
{
    return member->record.state == MEMBER_ALIVE || member->record.state == MEMBER_SUSPECT;
}

/* ---- lists of states ---- */

static struct member **state_list(struct swim *swim, enum member_state state)
{
    switch (state) {
    case MEMBER_SUSPECT:
        return &swim->suspects;
    case MEMBER_LOST:
        return &swim->lost;
    case MEMBER_LEFT:
        return &swim->left;
    default:
        return NULL;
    }
}

static void state_enter(struct swim *swim, struct member *member)
{
    struct member **list = state_list(swim, member->record.state);

    if (list != NULL)
        DL_APPEND2(*list, member, state_prev, state_next);
    if (swim_member_reachable(member) && member != swim->self)
        swim->alive++;
    member->since = swim->now;
}

static void state_quit(struct swim *swim, struct member *member)
{
    struct member **list = state_list(swim, member->record.state);

    if (list != NULL)
        DL_DELETE2(*list, member, state_prev, state_next);
    if (swim_member_reachable(member) && member != swim->self)
        swim->alive--;
}

/* ---- the array ---- */

/* Room for all in the hash: who has left may come back. */
static int array_grow(struct swim *swim)
{
    size_t room = swim->room > 0 ? swim->room * 2 : 16;
    struct member **members;

    if (HASH_COUNT(swim->hash) < swim->room)
        return 0;
    members = reallocarray(swim->members, room, sizeof(struct member *));
    if (members == NULL)
        return -1;
    swim->members = members;
    swim->room = room;
    return 0;
}

static void array_put(struct swim *swim, size_t index, struct member *member)
{
    swim->members[index] = member;
    member->index = (uint32_t)index;
}

/* At a random place, so that nobody can tell when it is probed first. */
static void array_add(struct swim *swim, struct member *member)
{
    size_t index = swim_random_below(swim, swim->count + 1);

    swim->count++;
    if (index != swim->count - 1)
        array_put(swim, swim->count - 1, swim->members[index]);
    array_put(swim, index, member);
}

static void array_remove(struct swim *swim, const struct member *member)
{
    swim->count--;
    if (member->index != swim->count)
        array_put(swim, member->index, swim->members[swim->count]);
}

void swim_members_shuffle(struct swim *swim)
{
    for (size_t i = swim->count; i > 1; i--) {
        size_t other = swim_random_below(swim, i);
        struct member *last = swim->members[i - 1];

        array_put(swim, i - 1, swim->members[other]);
        array_put(swim, other, last);
    }
}

/* ---- in and out ---- */

static bool room_make(struct swim *swim)
{
    if (HASH_COUNT(swim->hash) >= SWIM_MAX_MEMBERS && swim->left != NULL)
        swim_member_remove(swim, swim->left);
    return HASH_COUNT(swim->hash) < SWIM_MAX_MEMBERS && array_grow(swim) == 0;
}

struct member *swim_member_add(struct swim *swim, const struct member_record *record)
{
    struct member *member = room_make(swim) ? calloc(1, sizeof(*member)) : NULL;

    if (member == NULL)
        return NULL;
    member->record = *record;
    HASH_ADD(hh, swim->hash, record.key, sizeof(member->record.key), member);
    if (member->hh.tbl == NULL) {
        free(member);
        return NULL;
    }
    member->told = member->answered = member->checked = swim->now - SWIM_PATIENCE_MS;
    if (record->state != MEMBER_LEFT)
        array_add(swim, member);
    state_enter(swim, member);
    return member;
}

static void member_bury(struct swim *swim, struct member *member)
{
    member->changed_next = swim->graves;
    swim->graves = member;
}

void swim_member_remove(struct swim *swim, struct member *member)
{
    swim_rumour_stop(swim, member);
    swim_probes_forget(swim, member);
    swim_neighbours_drop(swim, member);
    state_quit(swim, member);
    if (member->record.state != MEMBER_LEFT)
        array_remove(swim, member);
    HASH_DEL(swim->hash, member);
    member->removed = true;
    member->record.state = MEMBER_LEFT;
    if (!member->changed)
        member_bury(swim, member);
}

void swim_graves_clear(struct swim *swim)
{
    while (swim->graves != NULL) {
        struct member *member = swim->graves;

        swim->graves = member->changed_next;
        free(member);
    }
}

void swim_member_set_state(struct swim *swim, struct member *member, enum member_state state)
{
    enum member_state before = member->record.state;

    if (state == before)
        return;
    swim_member_changed(swim, member, before);
    state_quit(swim, member);
    member->record.state = state;
    state_enter(swim, member);
    if (state == MEMBER_LEFT)
        array_remove(swim, member);
    else if (before == MEMBER_LEFT)
        array_add(swim, member);
    if (state == MEMBER_LOST || state == MEMBER_LEFT) {
        swim_probes_forget(swim, member);
        swim_neighbours_drop(swim, member);
    }
}

/* ---- what the owner has to be told ---- */

void swim_member_changed(struct swim *swim, struct member *member, enum member_state before)
{
    if (member->changed)
        return;
    member->changed = true;
    member->before = before;
    member->changed_next = NULL;
    if (swim->changed_last != NULL)
        swim->changed_last->changed_next = member;
    else
        swim->changed_first = member;
    swim->changed_last = member;
}

struct member *swim_changed_take(struct swim *swim)
{
    struct member *member = swim->changed_first;

    if (member == NULL)
        return NULL;
    swim->changed_first = member->changed_next;
    if (swim->changed_first == NULL)
        swim->changed_last = NULL;
    member->changed = false;
    if (member->removed)
        member_bury(swim, member);
    return member;
}

/* ---- by chance ---- */

static bool member_eligible(const struct swim *swim, const struct member *member,
                            const struct member *but)
{
    return swim_member_reachable(member) && member != swim->self && member != but;
}

/* Among many the first throws find one; who stands behind many lost ones is favoured a little. */
struct member *swim_member_random(struct swim *swim, const struct member *but)
{
    size_t start = 0;

    for (unsigned i = 0; i < 8; i++) {
        start = swim_random_below(swim, swim->count);
        if (member_eligible(swim, swim->members[start], but))
            return swim->members[start];
    }
    for (size_t i = 0; i < swim->count; i++) {
        struct member *member = swim->members[(start + i) % swim->count];

        if (member_eligible(swim, member, but))
            return member;
    }
    return NULL;
}

/* ---- who is out for ever ---- */

bool swim_key_expelled(const struct swim *swim, const struct node_key *key)
{
    struct expelled *expelled;

    HASH_FIND(hh, swim->expelled, key, sizeof(*key), expelled);
    return expelled != NULL;
}

int swim_key_expel(struct swim *swim, const struct node_key *key)
{
    struct expelled *expelled;

    if (swim_key_expelled(swim, key))
        return 0;
    expelled = swim->expelled_count < SWIM_MAX_EXPELLED ? calloc(1, sizeof(*expelled)) : NULL;
    if (expelled == NULL)
        return -1;
    expelled->key = *key;
    HASH_ADD(hh, swim->expelled, key, sizeof(expelled->key), expelled);
    if (expelled->hh.tbl == NULL) {
        free(expelled);
        return -1;
    }
    swim->expelled_count++;
    return 0;
}
