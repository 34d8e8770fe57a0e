#include "daemon/words.h"

#include <stddef.h>
#include <stdio.h>

#include "proto/utf8.h"

static const struct unit {
    const char *name;
    uint64_t ms;
} units[] = {
    {"d", 24 * 60 * 60 * 1000ull},
    {"h", 60 * 60 * 1000ull},
    {"min", 60 * 1000ull},
    {"s", 1000},
};

#define UNITS (sizeof(units) / sizeof(*units))

const char *words_duration(uint64_t ms, char text[WORDS_SIZE])
{
    size_t i = 0;
    unsigned long long first, second;

    while (i < UNITS && ms < units[i].ms)
        i++;
    if (i == UNITS) {
        snprintf(text, WORDS_SIZE, "%llu ms", (unsigned long long)ms);
        return text;
    }
    first = ms / units[i].ms;
    if (i == UNITS - 1) {
        second = ms % 1000 / 100;
        if (second != 0)
            snprintf(text, WORDS_SIZE, "%llu.%llu s", first, second);
        else
            snprintf(text, WORDS_SIZE, "%llu s", first);
        return text;
    }
    second = ms % units[i].ms / units[i + 1].ms;
    if (second != 0)
        snprintf(text, WORDS_SIZE, "%llu %s %llu %s", first, units[i].name, second,
                 units[i + 1].name);
    else
        snprintf(text, WORDS_SIZE, "%llu %s", first, units[i].name);
    return text;
}

void words_clean(char *sentence)
{
    while (*sentence != '\0') {
        size_t size = utf8_size(sentence);

        if (size == 0 || (unsigned char)*sentence < ' ' || *sentence == 127) {
            *sentence = '?';
            size = 1;
        }
        sentence += size;
    }
}
