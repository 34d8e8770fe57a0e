/*
 * What daemons say to each other, byte for byte: one message of each body of Peer, with every field
 * set, as the release that first spoke this version wrote it. What it said then must be read so for as
 * long as that version is spoken; fields that came later are not in these messages.
 *
 * tests/golden/cluster-VERSION/BODY.golden: the bytes in hexadecimal, and behind them each field and
 * its value. A body without a file fails; C4P_GOLDEN_WRITE=1 makes the files that are missing.
 */
#include "tests/unit/unit.h"

#include <sys/stat.h>

#include "daemon/cluster/record.h"
#include "daemon/cluster/swim.h"
#include "proto/cluster.pb-c.h"

#define DIRECTORY "tests/golden/cluster-%d"
#define TEXT_SIZE 65536

/* ---- a message with every field set, each to another value ---- */

static uint64_t counter;
static void message_fill(ProtobufCMessage *message, uint32_t only);

static size_t size_of(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_UINT64:
        return sizeof(uint64_t);
    default:
        return sizeof(uint32_t);
    }
}

static void value_fill(const ProtobufCFieldDescriptor *field, void *value)
{
    const ProtobufCMessageDescriptor *descriptor = field->descriptor;
    ProtobufCBinaryData bytes = {NODE_KEY_SIZE, NULL};
    ProtobufCMessage *message;
    char *text;

    counter++;
    switch (field->type) {
    case PROTOBUF_C_TYPE_BYTES:
        bytes.data = malloc(bytes.len);
        memset(bytes.data, (int)counter, bytes.len);
        memcpy(value, &bytes, sizeof(bytes));
        break;
    case PROTOBUF_C_TYPE_STRING:
        require(asprintf(&text, "text-%llu", (unsigned long long)counter) > 0);
        memcpy(value, &text, sizeof(text));
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        message = calloc(1, descriptor->sizeof_message);
        protobuf_c_message_init(descriptor, message);
        message_fill(message, 0);
        memcpy(value, &message, sizeof(message));
        break;
    case PROTOBUF_C_TYPE_UINT64:
        memcpy(value, &(uint64_t){counter << 33}, sizeof(uint64_t));
        break;
    case PROTOBUF_C_TYPE_BOOL:
        memcpy(value, &(protobuf_c_boolean){1}, sizeof(protobuf_c_boolean));
        break;
    case PROTOBUF_C_TYPE_ENUM:
        memcpy(value, &(int32_t){1}, sizeof(int32_t));
        break;
    default:
        require(field->type == PROTOBUF_C_TYPE_UINT32 || field->type == PROTOBUF_C_TYPE_INT32 ||
                field->type == PROTOBUF_C_TYPE_SINT32);
        memcpy(value, &(uint32_t){(uint32_t)counter + 300}, sizeof(uint32_t));
        break;
    }
}

/* Of a oneof, the field `only`. */
static void message_fill(ProtobufCMessage *message, uint32_t only)
{
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        char *value = (char *)message + field->offset, *list;
        size_t size = size_of(field);

        if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
            if (field->id != only)
                continue;
            memcpy((char *)message + field->quantifier_offset, &only, sizeof(only));
        }
        if (field->label != PROTOBUF_C_LABEL_REPEATED) {
            value_fill(field, value);
            continue;
        }
        list = calloc(2, size);
        value_fill(field, list);
        value_fill(field, list + size);
        memcpy(value, &list, sizeof(list));
        memcpy((char *)message + field->quantifier_offset, &(size_t){2}, sizeof(size_t));
    }
}

/* ---- what it says ---- */

struct text {
    char bytes[TEXT_SIZE];
    size_t used;
};

static __attribute__((format(printf, 2, 3))) void text_put(struct text *text, const char *format,
                                                           ...)
{
    va_list arguments;

    va_start(arguments, format);
    text->used +=
        (size_t)vsnprintf(text->bytes + text->used, TEXT_SIZE - text->used, format, arguments);
    va_end(arguments);
    require(text->used < TEXT_SIZE);
}

static void message_tell(struct text *text, const ProtobufCMessage *message, const char *path);

static void value_tell(struct text *text, const ProtobufCFieldDescriptor *field, const void *value,
                       const char *path)
{
    ProtobufCBinaryData bytes;
    const void *pointer;
    uint64_t large;
    uint32_t small;

    switch (field->type) {
    case PROTOBUF_C_TYPE_BYTES:
        memcpy(&bytes, value, sizeof(bytes));
        if (bytes.len > 0)
            text_put(text, "%s: %zu bytes from %u\n", path, bytes.len, bytes.data[0]);
        break;
    case PROTOBUF_C_TYPE_STRING:
        memcpy(&pointer, value, sizeof(pointer));
        if (*(const char *)pointer != '\0')
            text_put(text, "%s: %s\n", path, (const char *)pointer);
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        memcpy(&pointer, value, sizeof(pointer));
        if (pointer != NULL)
            message_tell(text, pointer, path);
        break;
    case PROTOBUF_C_TYPE_UINT64:
        memcpy(&large, value, sizeof(large));
        if (large != 0)
            text_put(text, "%s: %llu\n", path, (unsigned long long)large);
        break;
    default:
        memcpy(&small, value, sizeof(small));
        if (small != 0)
            text_put(text, "%s: %u\n", path, small);
        break;
    }
}

static void message_tell(struct text *text, const ProtobufCMessage *message, const char *path)
{
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        const char *value = (const char *)message + field->offset;
        const bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
        char inner[256];
        size_t count = 1;
        uint32_t chosen;

        memcpy(&chosen, (const char *)message + field->quantifier_offset, sizeof(chosen));
        if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) && chosen != field->id)
            continue;
        if (repeated) {
            memcpy(&count, (const char *)message + field->quantifier_offset, sizeof(count));
            value = *(char *const *)(const void *)value;
        }
        for (size_t k = 0; k < count; k++) {
            snprintf(inner, sizeof(inner), "%s%s%s", path, *path != '\0' ? "." : "", field->name);
            if (repeated)
                snprintf(inner + strlen(inner), sizeof(inner) - strlen(inner), "[%zu]", k);
            value_tell(text, field, value + k * size_of(field), inner);
        }
    }
}

/* ---- the files ---- */

static void golden_path(char path[256], int version, const char *body)
{
    snprintf(path, 256, DIRECTORY "%s%s%s", version, body != NULL ? "/" : "",
             body != NULL ? body : "", body != NULL ? ".golden" : "");
}

static void golden_write(const char *path, uint32_t body)
{
    C4p__Peer *peer = malloc(sizeof(*peer));
    static struct text text;
    uint8_t bytes[8192];
    size_t size;
    FILE *file;

    counter = 0;
    c4p__peer__init(peer);
    message_fill(&peer->base, body);
    size = c4p__peer__get_packed_size(peer);
    require(size <= sizeof(bytes));
    c4p__peer__pack(peer, bytes);
    text.used = 0;
    message_tell(&text, &peer->base, "");
    c4p__peer__free_unpacked(peer, NULL);
    file = fopen(path, "w");
    require(file != NULL);
    for (size_t i = 0; i < size; i++)
        fprintf(file, "%02x%s", bytes[i], i % 48 == 47 || i + 1 == size ? "\n" : "");
    fprintf(file, "\n%s", text.bytes);
    require(fclose(file) == 0);
}

static unsigned nibble(char digit)
{
    return (unsigned)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

/* The bytes, and where the text behind them begins. */
static const char *golden_bytes(const char *text, uint8_t *bytes, size_t *size)
{
    for (*size = 0; text[0] != '\n' || text[1] != '\n'; text++) {
        if (*text == '\n')
            continue;
        bytes[(*size)++] = (uint8_t)(nibble(text[0]) << 4 | nibble(text[1]));
        text++;
    }
    return text + 2;
}

static void golden_check(const char *path)
{
    static char kept[TEXT_SIZE];
    static struct text text;
    FILE *file = fopen(path, "r");
    uint8_t bytes[8192], again[8192];
    const char *says;
    C4p__Peer *peer;
    size_t size;

    if (file == NULL)
        fail_msg("%s: %s (C4P_GOLDEN_WRITE=1 makes it)", path, strerror(errno));
    size = fread(kept, 1, sizeof(kept) - 1, file);
    kept[size] = '\0';
    fclose(file);
    says = golden_bytes(kept, bytes, &size);
    peer = peer_unpack(bytes, size);
    assert_non_null(peer);
    assert_int_equal(peer->base.n_unknown_fields, 0);
    text.used = 0;
    message_tell(&text, &peer->base, "");
    assert_string_equal(text.bytes, says);
    assert_int_equal(c4p__peer__get_packed_size(peer), size);
    c4p__peer__pack(peer, again);
    assert_memory_equal(again, bytes, size);
    peer_free(peer);
}

static void every_body_is_read_and_written_as_in_the_release_that_made_it(void **state)
{
    (void)state;
    for (int version = CLUSTER_MIN_VERSION; version <= CLUSTER_VERSION; version++)
        for (unsigned i = 0; i < c4p__peer__descriptor.n_fields; i++) {
            const ProtobufCFieldDescriptor *field = &c4p__peer__descriptor.fields[i];
            char path[256];

            if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0)
                continue;
            golden_path(path, version, field->name);
            if (getenv("C4P_GOLDEN_WRITE") != NULL && version == CLUSTER_VERSION &&
                access(path, F_OK) != 0)
                golden_write(path, field->id);
            golden_check(path);
        }
}

static void fields_and_bodies_that_come_later_are_ignored(void **state)
{
    /* version 9, a field 4000 of four bytes, and a body that nobody knows. */
    static const uint8_t bytes[] = "\x08\x09\x82\xfa\x01\x04next\xa2\x06\x01x";
    C4p__Peer *peer = peer_unpack(bytes, sizeof(bytes) - 1);

    (void)state;
    assert_non_null(peer);
    assert_int_equal(peer->version, 9);
    assert_int_equal(peer->body_case, C4P__PEER__BODY__NOT_SET);
    peer_free(peer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_body_is_read_and_written_as_in_the_release_that_made_it),
        cmocka_unit_test(fields_and_bodies_that_come_later_are_ignored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
