#include "proto/control.h"

#include <string.h>

/* Without letters that look like digits (Crockford's base 32), in lower case. */
static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

void control_id_format(uint64_t id, char text[CONTROL_ID_CHARS + 1])
{
    for (int i = 0; i < CONTROL_ID_CHARS; i++)
        text[i] = alphabet[id >> (CONTROL_ID_BITS - 5 * (i + 1)) & 31];
    text[CONTROL_ID_CHARS] = '\0';
}

bool control_id_parse(const char *text, uint64_t *low, uint64_t *high)
{
    size_t length = strlen(text);
    unsigned rest;

    if (length == 0 || length > CONTROL_ID_CHARS)
        return false;
    *low = 0;
    for (size_t i = 0; i < length; i++) {
        char character = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] + 32) : text[i];
        const char *place = strchr(alphabet, character);

        if (place == NULL)
            return false;
        *low = *low << 5 | (uint64_t)(place - alphabet);
    }
    rest = (unsigned)(CONTROL_ID_BITS - 5 * length);
    *low <<= rest;
    *high = *low | ((UINT64_C(1) << rest) - 1);
    return true;
}
