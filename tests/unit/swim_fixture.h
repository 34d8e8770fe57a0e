/* What the tests of membership share: one core, and messages of peers that the test plays. */
#ifndef C4P_TESTS_SWIM_FIXTURE_H
#define C4P_TESTS_SWIM_FIXTURE_H

#include "tests/unit/unit.h"

#include "daemon/cluster/swim.h"

#define MAX_ACTIONS 4096

/* What a core wanted since the last look. */
struct wanted {
    struct swim_message sent[MAX_ACTIONS];
    struct node_key to[MAX_ACTIONS];
    struct member_record first[MAX_ACTIONS]; /* record of each message */
    size_t count, changes;
    enum member_state before;
    struct member_record changed;
    bool is_new, restarted;
    int64_t wake;
};

static struct wanted wanted;
static int64_t now;

static inline struct node_key key_of(unsigned node)
{
    struct node_key key;

    memset(&key, (int)node, sizeof(key));
    key.bytes[31] = (uint8_t)(node >> 8);
    return key;
}

static inline struct member_record record_of(unsigned node, uint64_t incarnation, uint64_t revision,
                                             enum member_state state)
{
    struct member_record record = {.key = key_of(node),
                                   .incarnation = incarnation,
                                   .revision = revision,
                                   .facts_revision = 1,
                                   .state = state,
                                   .by = key_of(99),
                                   .has_facts = true};

    snprintf(record.facts.name, sizeof(record.facts.name), "host%u", node);
    snprintf(record.facts.control, sizeof(record.facts.control), "tcp://10.0.0.%u:7227", node);
    return record;
}

static inline void actions_take(struct swim *swim)
{
    struct swim_action action;

    memset(&wanted, 0, sizeof(wanted));
    while (swim_next(swim, &action)) {
        if (action.kind == SWIM_WAKE_AT) {
            wanted.wake = action.at;
        } else if (action.kind == SWIM_CHANGED) {
            wanted.changes++;
            wanted.changed = *action.member;
            wanted.before = action.before;
            wanted.is_new = action.is_new;
            wanted.restarted = action.restarted;
        } else {
            assert_true(wanted.count < MAX_ACTIONS);
            assert_non_null(action.address);
            wanted.sent[wanted.count] = action.message;
            wanted.to[wanted.count] = action.to;
            if (action.message.count > 0)
                wanted.first[wanted.count] = action.message.records[0];
            wanted.count++;
        }
    }
}

static inline void tell(struct swim *swim, unsigned from, enum swim_message_kind kind,
                        const struct member_record *records, size_t count)
{
    const struct swim_message message = {
        .kind = kind, .incarnation = 1, .number = 7, .records = records, .count = count};
    struct node_key key = key_of(from);

    swim_receive(swim, &key, &message, now);
    actions_take(swim);
}

static inline void tell_one(struct swim *swim, unsigned from, struct member_record record)
{
    tell(swim, from, SWIM_GOSSIP, &record, 1);
}

/* Node 1 among `others` more, 2 and so on. */
static inline struct swim *swim_among(unsigned others)
{
    struct member_record self = record_of(1, 1, 1, MEMBER_ALIVE);
    struct member_record records[SWIM_MAX_RECORDS];
    struct swim *swim;

    now = 1000000;
    swim = swim_create(&swim_default_settings, &self, 1, now);
    assert_non_null(swim);
    for (unsigned i = 0; i < others; i++)
        records[i] = record_of(i + 2, 1, 1, MEMBER_ALIVE);
    if (others > 0)
        tell(swim, 2, SWIM_EXCHANGE, records, others);
    return swim;
}

/* Time goes on, and nobody answers. */
static inline void pass(struct swim *swim, int64_t ms)
{
    int64_t end = now + ms;

    for (; now < end; now += 10) {
        swim_tick(swim, now);
        actions_take(swim);
    }
}

static inline enum member_state state_of(const struct swim *swim, unsigned node)
{
    struct node_key key = key_of(node);
    const struct member_record *record = swim_find(swim, &key);

    assert_non_null(record);
    return record->state;
}

static inline bool is_known(const struct swim *swim, unsigned node)
{
    struct node_key key = key_of(node);

    return swim_find(swim, &key) != NULL;
}

static inline struct member_record self_of(const struct swim *swim)
{
    struct node_key key = key_of(1);

    return *swim_find(swim, &key);
}

#endif
