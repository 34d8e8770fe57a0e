#include "client/cli/duration.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

static const struct unit {
    char name;
    uint64_t ms;
} units[] = {
    {'d', 24 * 3600 * 1000},
    {'h', 3600 * 1000},
    {'m', 60 * 1000},
    {'s', 1000},
};

#define UNITS (sizeof(units) / sizeof(*units))
#define SECONDS (UNITS - 1)

/* Digits at *text, which is moved behind them. False if there are none, or too many. */
static bool number_take(const char **text, uint64_t *number)
{
    const char *start = *text;

    for (*number = 0; **text >= '0' && **text <= '9'; (*text)++) {
        *number = *number * 10 + (uint64_t)(**text - '0');
        if (*number > DURATION_MAX_MS)
            return false;
    }
    return *text > start;
}

bool duration_parse(const char *text, uint64_t *ms)
{
    const char *start = text;
    size_t unit = 0;

    *ms = 0;
    do {
        uint64_t number;

        if (!number_take(&text, &number))
            return false;
        if (*text == '\0' && *ms == 0 && unit == 0) {
            unit = SECONDS; /* a number alone */
        } else {
            while (unit < UNITS && units[unit].name != *text)
                unit++;
            if (unit == UNITS)
                return false;
            text++;
        }
        if (number > (DURATION_MAX_MS - *ms) / units[unit].ms)
            return false;
        *ms += number * units[unit++].ms;
    } while (*text != '\0');
    return text > start;
}

const char *duration_format(uint64_t ms, char text[DURATION_SIZE])
{
    size_t unit = 0;
    uint64_t first, second;

    while (unit < SECONDS && ms < units[unit].ms)
        unit++;
    first = ms / units[unit].ms;
    if (unit == SECONDS) {
        snprintf(text, DURATION_SIZE, "%" PRIu64 "s", first);
        return text;
    }
    second = ms % units[unit].ms / units[unit + 1].ms;
    snprintf(text, DURATION_SIZE, "%" PRIu64 "%c%02u%c", first, units[unit].name, (unsigned)second,
             units[unit + 1].name);
    return text;
}
