/*
 * A membership core among peers that say anything. The input is a program: messages of any kind with
 * records of any content, from members and strangers, time that passes, and what the owner does in
 * between. Nothing may crash; what the core says of itself stays its own; its table and its messages
 * keep to their limits, and what it tells is what it would believe.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cluster/swim.h"

#define KEYS 24
#define STEPS 400

#define require(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);              \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t size;
};

static uint8_t byte_take(struct input *input)
{
    if (input->size == 0)
        return 0;
    input->size--;
    return *input->data++;
}

/* Small, or at the borders of what numbers may be. */
static uint64_t number_take(struct input *input)
{
    uint8_t what = byte_take(input);

    if (what < 192)
        return what & 15;
    return (uint64_t)byte_take(input) << (what & 63);
}

static struct node_key key_of(uint8_t number)
{
    struct node_key key;

    memset(&key, number % KEYS, sizeof(key));
    return key;
}

static void text_take(struct input *input, char *text, size_t size)
{
    uint8_t length = byte_take(input);

    if (length < 160) {
        snprintf(text, size, "tcp://10.0.0.%u:7227", length);
        return;
    }
    for (size_t i = 0; i < size && i < length; i++)
        text[i] = (char)byte_take(input);
}

static void record_take(struct input *input, struct member_record *record)
{
    memset(record, 0, sizeof(*record));
    record->key = key_of(byte_take(input));
    record->incarnation = number_take(input);
    record->revision = number_take(input);
    record->facts_revision = number_take(input);
    record->state = (enum member_state)(byte_take(input) % 5);
    record->by = key_of(byte_take(input));
    record->has_facts = byte_take(input) & 1;
    if (!record->has_facts)
        return;
    text_take(input, record->facts.name, sizeof(record->facts.name));
    text_take(input, record->facts.control, sizeof(record->facts.control));
    record->facts.load = byte_take(input);
    record->facts.min_version = byte_take(input) & 1;
    record->facts.max_version = byte_take(input) & 3;
}

static void actions_take(struct swim *swim)
{
    struct swim_action action;
    unsigned count = 0;

    while (swim_next(swim, &action)) {
        require(++count < 100000);
        if (action.kind == SWIM_CHANGED)
            require(action.member != NULL && (unsigned)action.member->state <= MEMBER_LEFT);
        if (action.kind != SWIM_SEND)
            continue;
        require(action.address != NULL && strnlen(action.address, 96) < 96);
        require(action.message.count <= SWIM_MAX_RECORDS);
        require(action.message.kind == SWIM_EXCHANGE ||
                swim_message_bytes(&action.message) <= swim_default_settings.rumour_bytes);
        for (size_t i = 0; i < action.message.count; i++)
            require(action.message.records[i].incarnation > 0);
    }
}

static void message_give(struct swim *swim, struct input *input, int64_t now)
{
    struct member_record records[8];
    struct swim_message message = {.kind = (enum swim_message_kind)(byte_take(input) % 7),
                                   .incarnation = number_take(input),
                                   .number = number_take(input),
                                   .records = records};
    uint8_t flags = byte_take(input);
    struct node_key from = key_of(byte_take(input));

    message.failed = flags & 1, message.answer = flags & 2, message.more = flags & 4;
    message.about = key_of(byte_take(input));
    message.count = flags >> 5;
    for (size_t i = 0; i < message.count; i++)
        record_take(input, &records[i]);
    swim_receive(swim, &from, &message, now);
}

static void owner_does(struct swim *swim, struct input *input, int64_t now)
{
    struct node_key key = key_of(byte_take(input));
    struct member_record record;

    switch (byte_take(input) % 4) {
    case 0:
        swim_hint(swim, &key, now);
        break;
    case 1:
        record_take(input, &record);
        record.facts.name[NODE_NAME_MAX] = record.facts.control[NODE_ADDRESS_MAX] = '\0';
        swim_introduce(swim, &record, now);
        break;
    case 2:
        swim_expel(swim, &key, now);
        break;
    case 3:
        swim_tick(swim, now + (int64_t)byte_take(input) * 1000);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    struct member_record self = {
        .key = key_of(1), .incarnation = 1, .facts = {.name = "self", .control = "tcp://a:1"}};
    struct swim *swim = swim_create(&swim_default_settings, &self, 1, 0);
    int64_t now = 0;

    require(swim != NULL);
    for (unsigned i = 0; i < STEPS && input.size > 0; i++) {
        uint8_t what = byte_take(&input);

        now += (what >> 2) * 8;
        if ((what & 3) == 0)
            owner_does(swim, &input, now);
        else if ((what & 3) == 1)
            swim_tick(swim, now);
        else
            message_give(swim, &input, now);
        actions_take(swim);
        require(swim_count(swim) <= KEYS);
        require(strcmp(swim_find(swim, &self.key)->facts.control, "tcp://a:1") == 0);
        require(swim_find(swim, &self.key)->state == MEMBER_ALIVE);
    }
    swim_destroy(swim);
    return 0;
}
