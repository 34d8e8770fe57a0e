#include "client/cli/values.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/duration.h"
#include "proto/control.h"
#include "proto/segment.h"

#define NAME_MAX_SIZE 100

static void *member(struct options *options, const struct option_row *row)
{
    return (char *)options + row->member;
}

int set_flag(struct options *options, const struct option_row *row, const char *typed,
             const char *value)
{
    (void)typed;
    (void)value;
    *(bool *)member(options, row) = true;
    return 0;
}

int set_text(struct options *options, const struct option_row *row, const char *typed,
             const char *value)
{
    (void)typed;
    *(const char **)member(options, row) = value;
    return 0;
}

int set_pes(struct options *options, const struct option_row *row, const char *typed,
            const char *value)
{
    char *end;
    long long pes;

    (void)row;
    errno = 0;
    pes = strtoll(value, &end, 10);
    if (end == value || *end != '\0')
        return usage_error(typed, "%s is not a number of PEs (give one from 1 to %d)", value,
                           SEGMENT_MAX_PES);
    if (pes < 1)
        return usage_error(typed, "%s PEs cannot run a program (give 1 or more)", value);
    if (errno == ERANGE || pes > SEGMENT_MAX_PES)
        return usage_error(typed, "%s PEs are too many (a host takes up to %d)", value,
                           SEGMENT_MAX_PES);
    options->pes = (uint32_t)pes;
    return 0;
}

int set_nodes(struct options *options, const struct option_row *row, const char *typed,
              const char *value)
{
    char *end;
    long long nodes;

    (void)row;
    errno = 0;
    nodes = strtoll(value, &end, 10);
    if (end == value || *end != '\0' || nodes < 1 || errno == ERANGE || nodes > CONTROL_MAX_NODES)
        return usage_error(typed, "%s is not a number of nodes (give one from 1 to %d)", value,
                           CONTROL_MAX_NODES);
    options->nodes = (uint32_t)nodes;
    return 0;
}

int set_segment_size(struct options *options, const struct option_row *row, const char *typed,
                     const char *value)
{
    static const char units[] = "KMGT";
    const char *unit;
    char *end;
    unsigned long long size;
    unsigned shift = 0;

    (void)row;
    errno = 0;
    size = strtoull(value, &end, 10);
    if (end == value || value[0] == '-')
        return usage_error(typed, "%s is not a size (give bytes, or 512M, 4G ...)", value);
    if (*end != '\0' && (unit = strchr(units, *end & ~0x20)) != NULL) {
        shift = 10 * (unsigned)(unit - units + 1);
        end++;
        if (strcmp(end, "iB") == 0 || strcmp(end, "B") == 0)
            end += strlen(end);
    }
    if (*end != '\0')
        return usage_error(typed, "%s is not a size (give bytes, or 512M, 4G ...)", value);
    if (errno == ERANGE || size > SEGMENT_MAX_REGION >> shift || size << shift < SEGMENT_MIN_REGION)
        return usage_error(typed, "%s is out of range (give %uM to %uG for each PE)", value,
                           (unsigned)(SEGMENT_MIN_REGION >> 20),
                           (unsigned)(SEGMENT_MAX_REGION >> 30));
    size <<= shift;
    options->segment_size =
        (size + SEGMENT_REGION_ALIGN - 1) / SEGMENT_REGION_ALIGN * SEGMENT_REGION_ALIGN;
    return 0;
}

int set_env(struct options *options, const struct option_row *row, const char *typed,
            const char *value)
{
    (void)row;
    if (strchr(value, '=') == NULL || value[0] == '=')
        return usage_error(typed, "%s is no variable (give NAME=VALUE)", value);
    if (options->envs == OPTIONS_MAX_ENV)
        return usage_error(typed, "more than %d variables (export them instead)", OPTIONS_MAX_ENV);
    options->env[options->envs++] = value;
    return 0;
}

int set_include(struct options *options, const struct option_row *row, const char *typed,
                const char *value)
{
    (void)row;
    if (*value == '\0')
        return usage_error(typed, "the path is empty (give a file or a directory)");
    if (options->includes == OPTIONS_MAX_INCLUDES)
        return usage_error(typed, "more than %d paths (give directories)", OPTIONS_MAX_INCLUDES);
    options->include[options->includes++] = value;
    return 0;
}

int set_log_level(struct options *options, const struct option_row *row, const char *typed,
                  const char *value)
{
    static const char *const levels[] = {"error", "warning", "info", "debug"};

    (void)row;
    for (size_t i = 0; i < sizeof(levels) / sizeof(*levels); i++)
        if (strcmp(value, levels[i]) == 0) {
            options->log_level = value;
            return 0;
        }
    return usage_error(typed, "%s is no log level (give error, warning, info or debug)", value);
}

int set_name(struct options *options, const struct option_row *row, const char *typed,
             const char *value)
{
    (void)row;
    if (*value == '\0' || strlen(value) > NAME_MAX_SIZE)
        return usage_error(typed, "a name has 1 to %d bytes", NAME_MAX_SIZE);
    for (const char *c = value; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            return usage_error(typed, "a name has no control characters");
    options->name = value;
    return 0;
}

int set_priority(struct options *options, const struct option_row *row, const char *typed,
                 const char *value)
{
    char *end;
    long long priority;

    (void)row;
    errno = 0;
    priority = strtoll(value, &end, 10);
    if (end == value || *end != '\0')
        return usage_error(typed, "%s is not a priority (give a number; 0 is usual, higher first)",
                           value);
    if (errno == ERANGE || priority < -CONTROL_MAX_PRIORITY || priority > CONTROL_MAX_PRIORITY)
        return usage_error(typed, "%s is out of range (give %d to %d)", value,
                           -CONTROL_MAX_PRIORITY, CONTROL_MAX_PRIORITY);
    options->priority = (int32_t)priority;
    return 0;
}

static int time_take(uint64_t *ms, const char *typed, const char *value)
{
    if (duration_parse(value, ms))
        return 0;
    return usage_error(typed,
                       "%s is not a time of at most ten years (give 90, 90s, 30m, 1h30m, "
                       "2d ...)",
                       value);
}

int set_time_limit(struct options *options, const struct option_row *row, const char *typed,
                   const char *value)
{
    (void)row;
    if (time_take(&options->time_limit_ms, typed, value) != 0)
        return EXIT_USAGE;
    if (options->time_limit_ms == 0)
        return usage_error(typed, "%s leaves no time to run (leave it out for no limit)", value);
    return 0;
}

int set_timeout(struct options *options, const struct option_row *row, const char *typed,
                const char *value)
{
    uint64_t ms;

    (void)row;
    if (time_take(&ms, typed, value) != 0)
        return EXIT_USAGE;
    options->timeout_ms = (int64_t)ms;
    return 0;
}

static int count_take(uint32_t *count, const char *typed, const char *value, const char *what,
                      uint32_t least)
{
    char *end;
    long long number;

    errno = 0;
    number = strtoll(value, &end, 10);
    if (end == value || *end != '\0' || errno == ERANGE || number < least || number >= UINT32_MAX)
        return usage_error(typed, "%s is not a number of %s (give %u or more)", value, what, least);
    *count = (uint32_t)number;
    return 0;
}

int set_last(struct options *options, const struct option_row *row, const char *typed,
             const char *value)
{
    (void)row;
    return count_take(&options->last, typed, value, "jobs", 1);
}

int set_tail(struct options *options, const struct option_row *row, const char *typed,
             const char *value)
{
    (void)row;
    return count_take(&options->tail, typed, value, "lines", 0);
}
