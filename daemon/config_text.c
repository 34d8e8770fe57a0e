/*
 * The text of a configuration file into values. Pure.
 *
 * libinih splits it. It reads lines through our reader, which counts them, refuses what libinih
 * would cut or pass over in silence, and sees the sections; the keys come to our handler. The first
 * error ends it.
 */
#define _GNU_SOURCE
#include "daemon/config.h"

#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_NAME 40

struct text {
    struct config *config;
    const char *rest, *end;
    unsigned line, failed; /* where it is; where the error is, 0: none yet */
    char *error;
    const char *name;
};

static __attribute__((format(printf, 2, 3))) int text_fail(struct text *text, const char *format,
                                                           ...)
{
    va_list arguments;
    int used;

    if (text->failed != 0)
        return -1;
    text->failed = text->line;
    used = snprintf(text->error, CONFIG_ERROR_SIZE, "%.250s:%u: ", text->name, text->line);
    va_start(arguments, format);
    vsnprintf(text->error + used, CONFIG_ERROR_SIZE - (size_t)used, format, arguments);
    va_end(arguments);
    return -1;
}

/* ---- names that are nearly right ---- */

static unsigned smallest(unsigned a, unsigned b, unsigned c)
{
    unsigned less = a < b ? a : b;

    return less < c ? less : c;
}

/* Levenshtein's distance; of what is longer than MAX_NAME: large. */
static unsigned names_distance(const char *a, const char *b)
{
    size_t length = strlen(b);
    unsigned row[MAX_NAME + 1];

    if (strlen(a) > MAX_NAME || length > MAX_NAME)
        return MAX_NAME;
    for (unsigned k = 0; k <= length; k++)
        row[k] = k;
    for (unsigned i = 1; a[i - 1] != '\0'; i++) {
        unsigned diagonal = row[0];

        row[0] = i;
        for (unsigned k = 1; k <= length; k++) {
            unsigned above = row[k];

            row[k] = smallest(above + 1, row[k - 1] + 1, diagonal + (a[i - 1] != b[k - 1]));
            diagonal = above;
        }
    }
    return row[length];
}

/* What was meant, of all sections or of all keys; NULL: nothing is near. */
static const char *name_nearest(const char *name, bool sections)
{
    unsigned best = (unsigned)strlen(name) / 3 + 1;
    const char *nearest = NULL;

    for (unsigned key = 0; key < CONFIG_KEYS; key++) {
        const char *known = sections ? config_rows[key].section : config_rows[key].key;
        unsigned distance = names_distance(name, known);

        if (distance <= best && (nearest == NULL || distance < best)) {
            best = distance;
            nearest = known;
        }
    }
    return nearest;
}

/* ---- lines ---- */

static bool section_is_known(const char *name)
{
    for (unsigned key = 0; key < CONFIG_KEYS; key++)
        if (strcmp(config_rows[key].section, name) == 0)
            return true;
    return false;
}

/* "[name]", and a comment at most. */
static int section_check(struct text *text, const char *line)
{
    const char *end = strchr(line, ']'), *behind = end;
    char name[CONFIG_MAX_LINE + 1];
    const char *nearest;

    if (end == NULL)
        return text_fail(text, "the section's name does not end (write [daemon])");
    do
        behind++;
    while (*behind != '\0' && strchr(" \t\r\n", *behind) != NULL);
    if (*behind != '\0' && *behind != ';' && *behind != '#')
        return text_fail(text, "\"%.*s\" is not expected after the section's name",
                         (int)strcspn(behind, "\r\n"), behind);
    snprintf(name, sizeof(name), "%.*s", (int)(end - line - 1), line + 1);
    if (section_is_known(name))
        return 0;
    nearest = name_nearest(name, true);
    if (nearest != NULL)
        return text_fail(text, "there is no section [%.40s] (is it [%s]?)", name, nearest);
    return text_fail(text,
                     "there is no section [%.40s] (there are [daemon], [jobs], [sessions], "
                     "[cluster])",
                     name);
}

/* The next line, without the white space before it, with which libinih would join it to the line
 * before. */
static char *line_read(char *line, int size, void *context)
{
    struct text *text = context;
    const char *start = text->rest, *end;
    size_t length;

    if (text->failed != 0 || start == text->end)
        return NULL;
    text->line++;
    end = memchr(start, '\n', (size_t)(text->end - start));
    end = end != NULL ? end : text->end;
    text->rest = end < text->end ? end + 1 : end;
    while (start < end && (*start == ' ' || *start == '\t'))
        start++;
    length = (size_t)(end - start);
    if (length > CONFIG_MAX_LINE || length + 2 > (size_t)size) {
        text_fail(text, "the line is too long (%u characters are allowed)", CONFIG_MAX_LINE);
        return NULL;
    }
    if (memchr(start, '\0', length) != NULL) {
        text_fail(text, "there is a NUL byte in the line");
        return NULL;
    }
    memcpy(line, start, length);
    memcpy(line + length, "\n", 2);
    if (line[0] == '[' && section_check(text, line) != 0)
        return NULL;
    return line;
}

/* ---- keys ---- */

static int key_unknown(struct text *text, const char *section, const char *name)
{
    const char *nearest = name_nearest(name, false);

    for (unsigned key = 0; key < CONFIG_KEYS; key++)
        if (strcmp(config_rows[key].key, name) == 0) {
            const char *right = config_rows[key].section;

            return section[0] == '\0'
                       ? text_fail(text, "%s is in no section (write [%s] before it)", name, right)
                       : text_fail(text, "%s is no key of [%s] (it belongs into [%s])", name,
                                   section, right);
        }
    if (nearest != NULL)
        return text_fail(text, "there is no key %.40s (is it %s?)", name, nearest);
    return text_fail(text, "there is no key %.40s (c4pd config lists them)", name);
}

static int key_read(struct text *text, const char *section, const char *name, const char *value)
{
    const struct config_value origin = {.source = CONFIG_FILE, .line = text->line};
    char reason[CONFIG_ERROR_SIZE];
    unsigned key = 0;

    while (key < CONFIG_KEYS && (strcmp(config_rows[key].section, section) != 0 ||
                                 strcmp(config_rows[key].key, name) != 0))
        key++;
    if (key == CONFIG_KEYS)
        return key_unknown(text, section, name);
    if (text->config->values[key].source == CONFIG_FILE)
        return text_fail(text, "%s was set already, in line %u", name,
                         text->config->values[key].line);
    if (config_set(text->config, key, value, origin, reason) != 0)
        return text_fail(text, "%s: %.200s", name, reason);
    return 0;
}

static int on_key(void *context, const char *section, const char *name, const char *value)
{
    return key_read(context, section, name, value) == 0;
}

int config_parse(struct config *config, const char *name, const char *text, size_t size,
                 char error[CONFIG_ERROR_SIZE])
{
    struct text reading = {
        .config = config, .rest = text, .end = text + size, .error = error, .name = name};
    int line;

    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        reading.rest += 3;
    line = ini_parse_stream(line_read, &reading, on_key, &reading);
    /* It goes on behind a line that it does not understand, to what may be an error of ours. */
    if (line > 0 && (reading.failed == 0 || (unsigned)line < reading.failed)) {
        reading.failed = 0;
        reading.line = (unsigned)line;
        text_fail(&reading, "is neither \"key = value\" nor \"[section]\"");
    }
    return reading.failed == 0 ? 0 : -1;
}
