#include "proto/frame.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the header is sent as it is");

bool frame_read(const void *part, size_t size, struct frame_header *header)
{
    static const uint8_t zero[sizeof(header->zero)];

    if (size < FRAME_HEADER_SIZE || size > FRAME_HEADER_SIZE + FRAME_PART)
        return false;
    memcpy(header, part, FRAME_HEADER_SIZE);
    return header->version == FRAME_VERSION && header->type >= FRAME_DATA &&
           header->type < FRAME_TYPES && header->stream < FRAME_STREAMS && header->reserved == 0 &&
           memcmp(header->zero, zero, sizeof(zero)) == 0;
}
