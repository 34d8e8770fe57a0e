#include "daemon/cluster/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/address.h"
#include "daemon/words.h"

/* Far beyond any host; sums of it over all members stay numbers. */
#define MAX_PES 65536u

/* ---- decoding, within a limit ---- */

/* Before each piece of memory: what it counts. */
union piece {
    size_t size;
    max_align_t aligned;
};

struct budget {
    size_t left;
};

static void *budget_take(void *context, size_t size)
{
    struct budget *budget = context;
    union piece *piece;

    if (size > budget->left)
        return NULL;
    piece = malloc(sizeof(*piece) + size);
    if (piece == NULL)
        return NULL;
    budget->left -= size;
    piece->size = size;
    return piece + 1;
}

static void budget_give(void *context, void *memory)
{
    (void)context;
    if (memory != NULL)
        free((union piece *)memory - 1);
}

C4p__Peer *peer_unpack(const void *data, size_t size)
{
    struct budget budget = {PEER_MAX_MEMORY};
    ProtobufCAllocator allocator = {budget_take, budget_give, &budget};

    return c4p__peer__unpack(&allocator, size, data);
}

void peer_free(C4p__Peer *peer)
{
    ProtobufCAllocator allocator = {budget_take, budget_give, NULL};

    if (peer != NULL)
        c4p__peer__free_unpacked(peer, &allocator);
}

/* ---- members ---- */

static ProtobufCBinaryData key_to_wire(const struct node_key *key)
{
    return (ProtobufCBinaryData){NODE_KEY_SIZE, (uint8_t *)(uintptr_t)key->bytes};
}

static bool key_from_wire(const ProtobufCBinaryData *bytes, struct node_key *key)
{
    if (bytes->len != NODE_KEY_SIZE)
        return false;
    memcpy(key->bytes, bytes->data, NODE_KEY_SIZE);
    return true;
}

static char *borrowed(const char *text)
{
    return (char *)(uintptr_t)text;
}

static void facts_to_wire(const struct member_facts *facts, C4p__Facts *wire)
{
    c4p__facts__init(wire);
    wire->name = borrowed(facts->name);
    wire->control = borrowed(facts->control);
    wire->data = borrowed(facts->data);
    wire->release = borrowed(facts->release);
    wire->min_version = facts->min_version;
    wire->max_version = facts->max_version;
    wire->pes = facts->pes;
    wire->pes_free = facts->pes_free;
    wire->queued = facts->queued;
    wire->load = facts->load;
    wire->memory = facts->memory;
    wire->cores = facts->cores;
    wire->started = facts->started;
    wire->draining = facts->draining;
    wire->trust = facts->trust;
}

C4p__Member **members_to_wire(const struct member_record *records, size_t count)
{
    struct {
        C4p__Member member;
        C4p__Facts facts;
    } * pairs;
    C4p__Member **list = malloc(count * (sizeof(*list) + sizeof(*pairs)) + 1);

    if (list == NULL)
        return NULL;
    pairs = (void *)(list + count);
    for (size_t i = 0; i < count; i++) {
        const struct member_record *record = &records[i];
        C4p__Member *member = list[i] = &pairs[i].member;

        c4p__member__init(member);
        member->key = key_to_wire(&record->key);
        member->incarnation = record->incarnation;
        member->revision = record->revision;
        member->facts_revision = record->facts_revision;
        member->state = (C4p__MemberState)record->state;
        if (record->state == MEMBER_SUSPECT || record->state == MEMBER_LOST)
            member->by = key_to_wire(&record->by);
        if (!record->has_facts)
            continue;
        facts_to_wire(&record->facts, &pairs[i].facts);
        member->facts = &pairs[i].facts;
    }
    return list;
}

/* A name must be printable without harm, and so must an address be one. */
static bool text_take(char *to, size_t room, const char *from)
{
    size_t size = strlen(from);

    if (size >= room)
        return false;
    for (size_t i = 0; i < size; i++)
        if (from[i] <= ' ' || from[i] > '~')
            return false;
    memcpy(to, from, size + 1);
    return true;
}

/* Numbers only: a name would make ZeroMQ's thread wait for a name server. */
static bool address_take(char to[NODE_ADDRESS_MAX + 1], const char *from)
{
    struct address address;

    return strncmp(from, "tcp://", 6) == 0 && address_parse(from, &address) && address.port != 0 &&
           address_is_numeric(address.host) && text_take(to, NODE_ADDRESS_MAX + 1, from);
}

static bool facts_from_wire(const C4p__Facts *wire, struct member_facts *facts)
{
    memset(facts, 0, sizeof(*facts));
    if (wire->name[0] == '\0' || !text_take(facts->name, sizeof(facts->name), wire->name) ||
        !address_take(facts->control, wire->control) ||
        (wire->data[0] != '\0' && !address_take(facts->data, wire->data)) ||
        wire->min_version > wire->max_version || wire->pes > MAX_PES)
        return false;
    /* For people only. */
    if (!text_take(facts->release, sizeof(facts->release), wire->release))
        strcpy(facts->release, "?");
    facts->min_version = wire->min_version;
    facts->max_version = wire->max_version;
    facts->pes = wire->pes;
    facts->pes_free = wire->pes_free < wire->pes ? wire->pes_free : wire->pes;
    facts->queued = wire->queued;
    facts->load = wire->load;
    facts->memory = wire->memory;
    facts->cores = wire->cores;
    facts->started = wire->started;
    facts->draining = wire->draining;
    facts->trust = wire->trust;
    return true;
}

bool member_from_wire(const C4p__Member *member, struct member_record *record)
{
    memset(record, 0, sizeof(*record));
    if (!key_from_wire(&member->key, &record->key) ||
        (unsigned)member->state > (unsigned)MEMBER_LEFT ||
        (member->by.len != 0 && !key_from_wire(&member->by, &record->by)))
        return false;
    record->incarnation = member->incarnation;
    record->revision = member->revision;
    record->facts_revision = member->facts_revision;
    record->state = (enum member_state)member->state;
    record->has_facts = member->facts != NULL;
    return member->facts == NULL || facts_from_wire(member->facts, &record->facts);
}

struct member_record *members_from_wire(C4p__Member **members, size_t count, size_t *good)
{
    struct member_record *records;

    if (count > SWIM_MAX_MEMBERS)
        count = SWIM_MAX_MEMBERS;
    *good = 0;
    records = malloc(count * sizeof(*records) + 1);
    for (size_t i = 0; records != NULL && i < count; i++)
        *good += member_from_wire(members[i], &records[*good]);
    return records;
}

/* ---- keys ---- */

C4p__Enrolment **enrolments_to_wire(const struct enrolment *const *records, size_t count)
{
    C4p__Enrolment *all, **list = malloc(count * (sizeof(*list) + sizeof(*all)) + 1);

    if (list == NULL)
        return NULL;
    all = (void *)(list + count);
    for (size_t i = 0; i < count; i++) {
        const struct enrolment *record = records[i];
        C4p__Enrolment *wire = list[i] = &all[i];

        c4p__enrolment__init(wire);
        wire->key = key_to_wire(&record->key);
        wire->kind = (C4p__KeyKind)record->kind;
        wire->name = borrowed(record->name);
        wire->since = (uint64_t)record->since;
        wire->by = key_to_wire(&record->by);
        wire->revoked = record->revoked;
        wire->revoked_at = (uint64_t)record->revoked_at;
        if (record->revoked)
            wire->revoked_by = key_to_wire(&record->revoked_by);
    }
    return list;
}

bool enrolment_from_wire(const C4p__Enrolment *wire, struct enrolment *record)
{
    memset(record, 0, sizeof(*record));
    if (!key_from_wire(&wire->key, &record->key) || (unsigned)wire->kind > (unsigned)KEY_USER ||
        wire->name[0] == '\0' || !text_take(record->name, sizeof(record->name), wire->name) ||
        !key_from_wire(&wire->by, &record->by) || wire->since > INT64_MAX ||
        wire->revoked_at > INT64_MAX)
        return false;
    record->kind = (enum key_kind)wire->kind;
    record->since = (int64_t)wire->since;
    record->revoked = wire->revoked;
    if (wire->revoked) {
        record->revoked_at = (int64_t)wire->revoked_at;
        if (!key_from_wire(&wire->revoked_by, &record->revoked_by))
            return false;
    }
    return enrolment_valid(record);
}

const char *member_state_name(enum member_state state)
{
    static const char *const names[] = {"alive", "suspect", "lost", "left"};

    return (size_t)state < sizeof(names) / sizeof(*names) ? names[state] : "?";
}
