#include "daemon/router/block.h"

bool block_read(const struct segment *segment, uint64_t offset, struct c4p_envelope *copy,
                const void **body)
{
    uint64_t holder, room;

    if (envelope_check(segment_block(segment, offset), segment_room(segment, offset),
                       segment->geometry.epoch, copy) != C4P_ENVELOPE_OK)
        return false;
    holder = copy->body != 0 ? copy->body : offset;
    if (!segment_offset_valid(segment, holder))
        return false;
    room = segment_room(segment, holder);
    if (room < C4P_ENVELOPE_SIZE || copy->body_size > room - C4P_ENVELOPE_SIZE)
        return false;
    *body = segment->base + holder + C4P_ENVELOPE_SIZE;
    return true;
}
