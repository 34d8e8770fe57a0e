/*
 * What becomes of a record that somebody sends: believed, doubted, denied.
 *
 * Records are relayed, so nobody can prove by whom one was made; what an enrolled node that lies can
 * do is in docs/membership.md. What is checked: that a record is one; that its numbers do not leap out
 * of everybody's reach; that nothing anybody says changes what we say of ourselves.
 */
#include "daemon/cluster/swim_internal.h"

#include <string.h>

static int numbers_compare(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* > 0: a is newer */
static int records_compare(const struct member_record *a, const struct member_record *b)
{
    int order = numbers_compare(a->incarnation, b->incarnation);

    if (order == 0)
        order = numbers_compare(a->revision, b->revision);
    return order != 0 ? order : numbers_compare(a->state, b->state);
}

bool member_newer(const struct member_record *a, const struct member_record *b)
{
    return records_compare(a, b) > 0;
}

/* ---- is it one? ---- */

/* Printable, and with an end: names and addresses are shown to people and written to logs. */
static bool text_valid(const char *text, size_t room)
{
    size_t length = strnlen(text, room);

    if (length == room)
        return false;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    return true;
}

static bool address_valid(const char *address, size_t room)
{
    return text_valid(address, room) && strncmp(address, "tcp://", 6) == 0;
}

static bool facts_valid(const struct member_facts *facts)
{
    return text_valid(facts->name, sizeof(facts->name)) && facts->name[0] != '\0' &&
           address_valid(facts->control, sizeof(facts->control)) &&
           text_valid(facts->data, sizeof(facts->data)) &&
           text_valid(facts->release, sizeof(facts->release)) &&
           facts->min_version <= facts->max_version;
}

static bool record_valid(const struct member_record *record)
{
    return record->incarnation > 0 && record->incarnation <= SWIM_NUMBER_MAX &&
           record->revision <= SWIM_NUMBER_MAX && record->facts_revision <= record->revision &&
           (unsigned)record->state <= MEMBER_LEFT &&
           (!record->has_facts || facts_valid(&record->facts));
}

/* A node that is believed at most this much ahead of what is known cannot lift a member's numbers to
 * where the member cannot follow. */
static bool leaps(uint64_t from, uint64_t to)
{
    return to > from && to - from > SWIM_NUMBER_STEP;
}

static bool record_leaps(const struct member_record *known, const struct member_record *record)
{
    if (record->incarnation != known->incarnation)
        return leaps(known->incarnation, record->incarnation) || leaps(0, record->revision);
    return leaps(known->revision, record->revision);
}

/* ---- about ourselves ---- */

static void self_deny(struct swim *swim, bool accused)
{
    if (accused)
        swim_health_change(swim, 1);
    swim->reply_self = true;
    swim_rumour_start(swim, swim->self, false, false);
}

/* A life of ours that is ahead of this one: our counter was set back, or somebody has our key. */
static void self_overtake(struct swim *swim, uint64_t incarnation)
{
    struct member_record *self = &swim->self->record;

    if (incarnation == SWIM_NUMBER_MAX || swim->raised + SWIM_PATIENCE_MS > swim->now)
        return;
    swim->raised = swim->now;
    self->incarnation = incarnation + 1;
    self->revision = self->facts_revision = 1;
    swim->reply_self = swim->reply_facts = true;
    swim_rumour_start(swim, swim->self, true, false);
}

static void self_hear(struct swim *swim, const struct member_record *record)
{
    struct member_record *self = &swim->self->record;

    if (record_leaps(self, record))
        return;
    if (record->incarnation > self->incarnation) {
        self_overtake(swim, record->incarnation);
    } else if (record->incarnation == self->incarnation &&
               (record->revision > self->revision ||
                (record->revision == self->revision && record->state != MEMBER_ALIVE))) {
        if (record->revision == SWIM_NUMBER_MAX)
            return;
        self->revision = record->revision + 1;
        self_deny(swim, record->state == MEMBER_SUSPECT || record->state == MEMBER_LOST);
    } else if (records_compare(record, self) < 0) {
        swim->reply_self = true;
    }
    if (record->incarnation < self->incarnation || record->facts_revision < self->facts_revision)
        swim->reply_self = swim->reply_facts = true;
}

/* ---- facts ---- */

bool swim_load_differs(const struct member_facts *a, const struct member_facts *b)
{
    return a->pes_free != b->pes_free || a->queued != b->queued || a->load != b->load;
}

bool swim_facts_differ_in_load_only(const struct member_facts *a, const struct member_facts *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->control, b->control) == 0 &&
           strcmp(a->data, b->data) == 0 && strcmp(a->release, b->release) == 0 &&
           a->min_version == b->min_version && a->max_version == b->max_version &&
           a->pes == b->pes && a->cores == b->cores && a->memory == b->memory &&
           a->started == b->started && a->trust == b->trust && a->draining == b->draining;
}

void swim_facts_publish(struct swim *swim, bool only_load)
{
    struct member_record *self = &swim->self->record;

    self->facts = swim->facts;
    self->has_facts = true;
    self->facts_revision = ++self->revision;
    swim->facts_wait = false;
    swim->facts_told = swim->now;
    swim_rumour_start(swim, swim->self, true, only_load);
}

/* Of the life that we know by now. */
static void facts_take(struct swim *swim, struct member *member, const struct member_record *record,
                       bool exchanged)
{
    struct member_record *known = &member->record;
    bool only_load;

    if (record->incarnation != known->incarnation ||
        record->facts_revision <= known->facts_revision)
        return;
    if (!record->has_facts) {
        if (known->facts_revision == 0)
            swim_exchange_hurry(swim);
        return;
    }
    only_load = known->has_facts && swim_facts_differ_in_load_only(&known->facts, &record->facts);
    known->facts = record->facts;
    known->has_facts = true;
    known->facts_revision = record->facts_revision;
    swim_member_changed(swim, member, known->state);
    if (!only_load || !exchanged)
        swim_rumour_start(swim, member, true, only_load);
}

/* ---- about others ---- */

static void unknown_take(struct swim *swim, const struct member_record *record, bool exchanged)
{
    struct member_record first = *record;
    struct member *member;

    if (record->state == MEMBER_LEFT || leaps(0, record->incarnation) || leaps(0, record->revision))
        return;
    if (!record->has_facts) {
        swim_exchange_hurry(swim);
        return;
    }
    if (record->state == MEMBER_SUSPECT)
        first.state = MEMBER_ALIVE;
    member = swim_member_add(swim, &first);
    if (member == NULL)
        return;
    member->is_new = true;
    swim_member_changed(swim, member, MEMBER_LEFT);
    if (record->state == MEMBER_SUSPECT)
        swim_suspicion_begin(swim, member, &record->by);
    if (record->state != MEMBER_LOST || !exchanged)
        swim_rumour_start(swim, member, true, false);
}

static void life_begin(struct swim *swim, struct member *member, uint64_t incarnation)
{
    struct member_record *known = &member->record;

    if (incarnation <= known->incarnation)
        return;
    if (known->incarnation > 0) {
        member->restarted = true;
        swim_member_changed(swim, member, known->state);
    }
    known->incarnation = incarnation;
    known->revision = known->facts_revision = 0;
}

static void alive_take(struct swim *swim, struct member *member, bool only_load, bool direct)
{
    bool returns = member->record.state == MEMBER_LOST && !member->restarted;

    member->failures = 0;
    swim_member_set_state(swim, member, MEMBER_ALIVE);
    if (!only_load)
        swim_rumour_start(swim, member, false, false);
    if (returns)
        swim_healing_begin(swim, direct ? member : NULL);
}

/* All that is new is the load: that travels with less effort, as facts. Who missed it hears the next
 * one; so what an exchange brings of it goes no further. */
static bool news_of_load(const struct member_record *known, const struct member_record *record)
{
    return known->state == MEMBER_ALIVE && record->state == MEMBER_ALIVE &&
           known->incarnation == record->incarnation && known->has_facts && record->has_facts &&
           record->facts_revision == record->revision &&
           swim_facts_differ_in_load_only(&known->facts, &record->facts);
}

/*
 * What an exchange says of one that lives here in the same revision is left out: it may be the opinion
 * of the other side of a partition that is over. Those who hold it for lost will try it themselves.
 */
static void lost_take(struct swim *swim, struct member *member, const struct member_record *record,
                      bool newer_life)
{
    if (member->record.state == MEMBER_LOST || member->record.state == MEMBER_LEFT) {
        member->record.by = record->by;
        swim_member_set_state(swim, member, MEMBER_LOST);
        swim_rumour_start(swim, member, false, false);
        return;
    }
    if (member->record.state == MEMBER_ALIVE || newer_life) {
        swim_suspicion_begin(swim, member, &record->by);
        member->verdict_first = true;
    }
    swim_suspicion_heard_lost(swim, member);
}

static bool opinion_of_the_other_side(const struct member *member,
                                      const struct member_record *record, bool exchanged)
{
    return exchanged && record->state == MEMBER_LOST && member->record.state == MEMBER_ALIVE &&
           record->incarnation == member->record.incarnation &&
           record->revision == member->record.revision;
}

static void newer_take(struct swim *swim, struct member *member, const struct member_record *record,
                       bool direct)
{
    bool further = record->incarnation > member->record.incarnation ||
                   record->revision > member->record.revision;
    bool only_load = news_of_load(&member->record, record);

    life_begin(swim, member, record->incarnation);
    member->record.revision = record->revision;
    switch (record->state) {
    case MEMBER_ALIVE:
        alive_take(swim, member, only_load, direct);
        break;
    case MEMBER_SUSPECT:
        swim_suspicion_begin(swim, member, &record->by);
        break;
    case MEMBER_LOST:
        lost_take(swim, member, record, further);
        break;
    case MEMBER_LEFT:
        swim_member_set_state(swim, member, MEMBER_LEFT);
        swim_rumour_start(swim, member, false, false);
        break;
    }
}

/* Not newer, but one more who says so. */
static void same_take(struct swim *swim, struct member *member, const struct member_record *record)
{
    if (member->record.state == MEMBER_SUSPECT && record->state == MEMBER_SUSPECT &&
        record->incarnation == member->record.incarnation &&
        record->revision == member->record.revision)
        swim_suspicion_confirm(swim, member, &record->by);
}

void swim_record_take(struct swim *swim, const struct node_key *from,
                      const struct member_record *record, bool exchanged)
{
    struct member *member;

    if (!record_valid(record))
        return;
    if (swim_key_equal(&record->key, &swim->self->record.key)) {
        self_hear(swim, record);
        return;
    }
    member = swim_member_find(swim, &record->key);
    if (member == NULL) {
        if (!swim_key_expelled(swim, &record->key))
            unknown_take(swim, record, exchanged);
        return;
    }
    if (record_leaps(&member->record, record) ||
        opinion_of_the_other_side(member, record, exchanged))
        return;
    if (member_newer(record, &member->record))
        newer_take(swim, member, record, swim_key_equal(from, &record->key));
    else
        same_take(swim, member, record);
    facts_take(swim, member, record, exchanged);
}

void swim_member_heard(struct swim *swim, struct member *member, uint64_t incarnation)
{
    struct member_record *known = &member->record;

    member->failures = 0;
    if (incarnation <= known->incarnation || incarnation > SWIM_NUMBER_MAX ||
        leaps(known->incarnation, incarnation))
        return;
    life_begin(swim, member, incarnation);
    swim_member_set_state(swim, member, MEMBER_ALIVE);
    swim_rumour_start(swim, member, false, false);
}
