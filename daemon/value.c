#define _GNU_SOURCE
#include "daemon/value.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "daemon/address.h"
#include "daemon/log.h"

struct unit {
    const char *name;
    uint64_t factor;
};

/* From small to large; a number without a unit counts the first. */
static const struct unit counts[] = {{"", 1}, {NULL, 0}};
static const struct unit sizes[] = {{"", 1},           {"K", 1ull << 10}, {"M", 1ull << 20},
                                    {"G", 1ull << 30}, {"T", 1ull << 40}, {NULL, 0}};
static const struct unit times[] = {{"ms", 1},      {"s", 1000},      {"m", 60000},
                                    {"h", 3600000}, {"d", 86400000u}, {NULL, 0}};

static const struct {
    const struct unit *units;
    bool bare; /* a number may do without a unit */
    const char *described;
} types[VALUE_TYPES] = {
    [VALUE_COUNT] = {counts, true, "a count (a number like 4)"},
    [VALUE_SIZE] = {sizes, true, "a size (bytes, or 512K, 64M, 4G)"},
    [VALUE_TIME] = {times, false, "a time (90s, 30m, 1h, 2d)"},
    [VALUE_LEVEL] = {NULL, false, "a log level (error, warning, info, debug)"},
    [VALUE_ADDRESS] = {NULL, false, "an address and a port (0.0.0.0:7227, [::]:7227)"},
    [VALUE_HOST] = {NULL, false, "a name or an address of this host, or auto"},
};

/* Digits only: no sign, no space, no other base. The rest of the text, or NULL. */
static const char *digits_parse(const char *text, uint64_t *number)
{
    if (!isdigit((unsigned char)*text))
        return NULL;
    for (*number = 0; isdigit((unsigned char)*text); text++)
        if (__builtin_mul_overflow(*number, 10u, number) ||
            __builtin_add_overflow(*number, (unsigned)(*text - '0'), number))
            return NULL;
    return text;
}

/* "M", "MB" and "MiB" are the same. */
static bool unit_matches(const struct unit *unit, const char *text, bool bytes)
{
    size_t length = strlen(unit->name);

    if (strncasecmp(text, unit->name, length) != 0)
        return false;
    text += length;
    return *text == '\0' ||
           (bytes && (strcmp(text, "B") == 0 || (length > 0 && strcmp(text, "iB") == 0)));
}

bool value_is_text(enum value_type type)
{
    return type == VALUE_ADDRESS || type == VALUE_HOST;
}

/* We listen at numbers: a name may be another number tomorrow. */
bool value_check(enum value_type type, const char *text)
{
    struct address address;

    if (strlen(text) >= VALUE_TEXT_SIZE)
        return false;
    if (strcmp(text, VALUE_AUTO) == 0)
        return true;
    if (type == VALUE_HOST)
        return address_host_valid(text);
    return strchr(text, '/') == NULL && address_parse(text, &address) &&
           address_is_numeric(address.host);
}

bool value_parse(enum value_type type, const char *text, uint64_t *number)
{
    enum log_level level;
    const char *rest;

    if (type == VALUE_LEVEL) {
        if (!log_level_parse(text, &level))
            return false;
        *number = level;
        return true;
    }
    rest = digits_parse(text, number);
    if (rest == NULL)
        return false;
    if (*rest == '\0')
        return types[type].bare || *number == 0;
    for (const struct unit *unit = types[type].units; unit->name != NULL; unit++)
        if (unit_matches(unit, rest, type == VALUE_SIZE))
            return !__builtin_mul_overflow(*number, unit->factor, number);
    return false;
}

void value_format(enum value_type type, uint64_t number, char text[VALUE_TEXT_SIZE])
{
    const struct unit *unit = types[type].units;

    if (type == VALUE_LEVEL) {
        snprintf(text, VALUE_TEXT_SIZE, "%s", log_level_name((enum log_level)number));
        return;
    }
    while (number != 0 && unit[1].name != NULL && number % unit[1].factor == 0)
        unit++;
    snprintf(text, VALUE_TEXT_SIZE, "%llu%s", (unsigned long long)(number / unit->factor),
             number == 0 ? "" : unit->name);
}

const char *value_type_describe(enum value_type type)
{
    return types[type].described;
}
