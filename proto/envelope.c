#include "proto/envelope.h"

#include <string.h>

enum c4p_envelope_error envelope_check(const struct c4p_envelope *envelope, size_t room,
                                       uint32_t epoch, struct c4p_envelope *copy)
{
    if (room < C4P_ENVELOPE_SIZE)
        return C4P_ENVELOPE_TRUNCATED;
    memcpy(copy, (const void *)envelope, C4P_ENVELOPE_SIZE);
    /* The compiler must not go back to the shared bytes for what it just copied. */
    __asm__ volatile("" ::: "memory");
    if (copy->version != C4P_ENVELOPE_VERSION)
        return C4P_ENVELOPE_VERSION_UNKNOWN;
    if (copy->kind == 0 || copy->kind >= C4P_KINDS)
        return C4P_ENVELOPE_KIND_UNKNOWN;
    if (copy->flags & ~(unsigned)C4P_FLAGS_ALL)
        return C4P_ENVELOPE_FLAGS_UNKNOWN;
    if (copy->ndims > C4P_MAX_DIMS)
        return C4P_ENVELOPE_DIMS;
    if (copy->epoch != epoch)
        return C4P_ENVELOPE_STALE;
    if (copy->body == 0 && copy->body_size > room - C4P_ENVELOPE_SIZE)
        return C4P_ENVELOPE_TRUNCATED;
    return C4P_ENVELOPE_OK;
}

const char *envelope_error_text(enum c4p_envelope_error error)
{
    switch (error) {
    case C4P_ENVELOPE_OK:
        return "valid";
    case C4P_ENVELOPE_TRUNCATED:
        return "body does not fit its block";
    case C4P_ENVELOPE_VERSION_UNKNOWN:
        return "unknown envelope version";
    case C4P_ENVELOPE_KIND_UNKNOWN:
        return "unknown message kind";
    case C4P_ENVELOPE_FLAGS_UNKNOWN:
        return "unknown flags";
    case C4P_ENVELOPE_DIMS:
        return "more than 6 dimensions";
    case C4P_ENVELOPE_STALE:
        return "another life of the job";
    }
    return "unknown error";
}

uint64_t c4p_hash(const char *text, size_t length)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (size_t i = 0; i < length; i++) {
        hash ^= (unsigned char)text[i];
        hash *= 0x100000001b3u;
    }
    return hash;
}

uint32_t c4p_hash_method(const char *name, size_t length)
{
    uint64_t hash = c4p_hash(name, length);

    return (uint32_t)(hash ^ (hash >> 32));
}
