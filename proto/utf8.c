#include "proto/utf8.h"

/* Bytes of a character that begins so: 0 if none does. */
static size_t length_of(unsigned char first)
{
    if (first < 0x80)
        return 1;
    if (first < 0xc2)
        return 0;
    return first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
}

size_t utf8_next(const char *data, size_t size, uint32_t *character)
{
    static const unsigned char first_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *bytes = (const unsigned char *)data;
    size_t length = length_of(bytes[0]);
    uint32_t code;

    if (length == 0 || length > size)
        return 0;
    code = bytes[0] & first_bits[length];
    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (bytes[i] & 0x3f);
    }
    if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    *character = code;
    return length;
}

bool utf8_valid(const char *data, size_t size)
{
    uint32_t character;

    for (size_t length; size > 0; data += length, size -= length)
        if ((length = utf8_next(data, size, &character)) == 0)
            return false;
    return true;
}
