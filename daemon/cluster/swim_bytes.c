/*
 * What messages weigh as cluster.proto packs them: it limits what goes into one, and the simulator
 * counts it. Kept beside the definition there; a test packs the same messages and compares.
 */
#include "daemon/cluster/swim.h"

#include <string.h>

/* All fields of these messages have numbers below 16: a tag is one byte. */
#define TAG 1

static size_t varint_size(uint64_t value)
{
    size_t size = 1;

    while (value >= 0x80) {
        value >>= 7;
        size++;
    }
    return size;
}

/* What is zero or empty is not there at all. */
static size_t number_size(uint64_t value)
{
    return value != 0 ? TAG + varint_size(value) : 0;
}

static size_t field_size(size_t length)
{
    return TAG + varint_size(length) + length;
}

static size_t text_size(const char *text, size_t room)
{
    size_t length = strnlen(text, room);

    return length > 0 ? field_size(length) : 0;
}

static size_t facts_bytes(const struct member_facts *facts)
{
    const uint64_t numbers[] = {facts->min_version, facts->max_version, facts->pes,
                                facts->pes_free,    facts->queued,      facts->load,
                                facts->cores,       facts->memory,      facts->started,
                                facts->draining,    facts->trust};
    size_t size = text_size(facts->name, sizeof(facts->name)) +
                  text_size(facts->control, sizeof(facts->control)) +
                  text_size(facts->data, sizeof(facts->data)) +
                  text_size(facts->release, sizeof(facts->release));

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        size += number_size(numbers[i]);
    return size;
}

static bool says_by(const struct member_record *record)
{
    return record->state == MEMBER_SUSPECT || record->state == MEMBER_LOST;
}

size_t swim_record_bytes(const struct member_record *record)
{
    size_t size = field_size(NODE_KEY_SIZE) + number_size(record->incarnation) +
                  number_size(record->revision) + number_size(record->state) +
                  number_size(record->facts_revision);

    if (says_by(record))
        size += field_size(NODE_KEY_SIZE);
    if (record->has_facts)
        size += field_size(facts_bytes(&record->facts));
    return field_size(size);
}

size_t swim_message_bytes(const struct swim_message *message)
{
    size_t size =
        number_size(message->failed) + number_size(message->answer) + number_size(message->more);

    if (message->kind == SWIM_PROBE || message->kind == SWIM_PROBE_FOR ||
        message->kind == SWIM_PROBE_ANSWER)
        size += number_size(message->number);
    if (message->kind == SWIM_PROBE_FOR)
        size += field_size(NODE_KEY_SIZE);
    for (size_t i = 0; i < message->count; i++)
        size += swim_record_bytes(&message->records[i]);
    return number_size(CLUSTER_VERSION) + number_size(message->incarnation) + field_size(size);
}
