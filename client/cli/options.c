#include "client/cli/options.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int usage_error(const char *thing, const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "c4py: %s: ", thing);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return EXIT_USAGE;
}

/* The command's next option after one, NULL: its first. */
static const struct option_row *option_next(const struct command_line *line,
                                            const struct option_row *row)
{
    for (row = row == NULL ? option_rows : row + 1; row->name != NULL; row++)
        if (row->commands & line->bit)
            return row;
    return NULL;
}

/* ---- help ---- */

void options_help(const struct command_line *line)
{
    const struct option_row *row;

    for (size_t i = 0; i < 2 && line->forms[i] != NULL; i++)
        printf("%s c4py %s %s\n", i == 0 ? "usage:" : "      ", line->name, line->forms[i]);
    printf("\n%s\n", line->about);
    for (row = option_next(line, NULL); row != NULL; row = option_next(line, row)) {
        char left[40];

        snprintf(left, sizeof(left), "%s%s%s%s%s", row->brief ? row->brief : "",
                 row->brief ? ", " : "", row->name, row->value ? " " : "",
                 row->value ? row->value : "");
        printf("  %-22s  %s\n", left, row->help);
    }
}

/* ---- what is not known ---- */

unsigned word_distance(const char *a, const char *b)
{
    unsigned row[64];
    size_t length = strlen(b);

    if (length >= 64 || strlen(a) >= 64)
        return UINT32_MAX;
    for (size_t j = 0; j <= length; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        unsigned diagonal = row[0];

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= length; j++) {
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);

            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[length];
}

static int unknown_option(const struct command_line *line, const char *argument)
{
    size_t length = strcspn(argument, "=");
    const struct option_row *row, *nearest = NULL;
    unsigned distance = 4; /* farther is no typing error */
    char name[64];

    snprintf(name, sizeof(name), "%.*s", (int)(length < 63 ? length : 63), argument);
    for (row = option_next(line, NULL); row != NULL; row = option_next(line, row)) {
        unsigned this = word_distance(name, row->name);

        if (this < distance && this < strlen(name) / 2) {
            distance = this;
            nearest = row;
        }
    }
    if (nearest != NULL)
        return usage_error(name, "unknown option (did you mean %s?)", nearest->name);
    return usage_error(name, "unknown option (c4py %s --help lists them; -- ends the options)",
                       line->name);
}

/* ---- parsing ---- */

/* The row of an argument, and where its value begins if it is in the same word. */
static const struct option_row *row_find(const struct command_line *line, const char *argument,
                                         const char **value)
{
    const struct option_row *row;

    for (row = option_next(line, NULL); row != NULL; row = option_next(line, row)) {
        size_t length = strlen(row->name);

        *value = NULL;
        if (strncmp(argument, row->name, length) == 0 &&
            (argument[length] == '\0' || argument[length] == '=')) {
            if (argument[length] == '=')
                *value = argument + length + 1;
            return row;
        }
        if (row->brief != NULL && strncmp(argument, row->brief, 2) == 0 &&
            (argument[2] == '\0' || row->value != NULL)) {
            if (argument[2] != '\0')
                *value = argument + 2;
            return row;
        }
    }
    return NULL;
}

/* One option, at **next, which is moved behind it. */
static int option_take(struct options *options, const struct command_line *line, char ***next,
                       const struct option_row **taken)
{
    const char *argument = *(*next)++;
    const char *value, *typed;
    const struct option_row *row = row_find(line, argument, &value);

    if (row == NULL)
        return unknown_option(line, argument);
    typed = argument[1] == '-' ? row->name : row->brief;
    if (row->value == NULL && value != NULL)
        return usage_error(typed, "takes no value (%s was given)", value);
    if (row->value != NULL && value == NULL && (value = *(*next)++) == NULL)
        return usage_error(typed, "its value is missing (give %s %s)", typed, row->value);
    *taken = row;
    return row->set(options, row, typed, value);
}

static int words_check(const struct command_line *line, char *const *words)
{
    size_t count = 0;

    while (words[count] != NULL)
        count++;
    if (count > 0 && line->word == NULL)
        return usage_error(line->name, "%s is not understood: it takes options only", words[0]);
    if (count < line->least)
        return usage_error(line->name, "no %s is given (c4py %s %s; c4py %s --help)", line->word,
                           line->name, line->forms[0], line->name);
    if (count > line->most)
        return usage_error(line->name, "%s is one too many: it takes one %s", words[line->most],
                           line->word);
    return 0;
}

int options_parse(struct options *options, const struct command_line *line, char **arguments)
{
    char **next = arguments, **word = arguments;

    memset(options, 0, sizeof(*options));
    options->last = options->tail = UINT32_MAX;
    options->timeout_ms = -1;
    while (*next != NULL) {
        const struct option_row *row;
        int rc;

        if ((*next)[0] != '-' || (*next)[1] == '\0') {
            if (line->program)
                break;
            *word++ = *next++;
            continue;
        }
        if (strcmp(*next, "--") == 0) {
            next++;
            break;
        }
        rc = option_take(options, line, &next, &row);
        if (rc != 0 || options->help)
            return rc;
        if (options->module != NULL)
            break; /* as with python3: the rest is the module's */
    }
    while (*next != NULL)
        *word++ = *next++;
    *word = NULL;
    options->command = arguments;
    return line->program ? 0 : words_check(line, arguments);
}
