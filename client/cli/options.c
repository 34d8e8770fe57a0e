#include "client/cli/options.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/segment.h"

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

/* ---- values ---- */

static int set_pes(struct run_options *options, const char *name, const char *value)
{
    char *end;
    long long pes;

    errno = 0;
    pes = strtoll(value, &end, 10);
    if (end == value || *end != '\0')
        return usage_error(name, "%s is not a number of PEs (give one from 1 to %d)", value,
                           SEGMENT_MAX_PES);
    if (pes < 1)
        return usage_error(name, "%s PEs cannot run a program (give 1 or more)", value);
    if (errno == ERANGE || pes > SEGMENT_MAX_PES)
        return usage_error(name, "%s PEs are too many (a host takes up to %d)", value,
                           SEGMENT_MAX_PES);
    options->pes = (uint32_t)pes;
    return 0;
}

static int set_segment_size(struct run_options *options, const char *name, const char *value)
{
    static const char units[] = "KMGT";
    const char *unit;
    char *end;
    unsigned long long size;
    unsigned shift = 0;

    errno = 0;
    size = strtoull(value, &end, 10);
    if (end == value || value[0] == '-')
        return usage_error(name, "%s is not a size (give bytes, or 512M, 4G ...)", value);
    if (*end != '\0' && (unit = strchr(units, *end & ~0x20)) != NULL) {
        shift = 10 * (unsigned)(unit - units + 1);
        end++;
        if (strcmp(end, "iB") == 0 || strcmp(end, "B") == 0)
            end += strlen(end);
    }
    if (*end != '\0')
        return usage_error(name, "%s is not a size (give bytes, or 512M, 4G ...)", value);
    if (errno == ERANGE || size > SEGMENT_MAX_REGION >> shift || size << shift < SEGMENT_MIN_REGION)
        return usage_error(name, "%s is out of range (give %uM to %uG for each PE)", value,
                           (unsigned)(SEGMENT_MIN_REGION >> 20),
                           (unsigned)(SEGMENT_MAX_REGION >> 30));
    size <<= shift;
    options->segment_size =
        (size + SEGMENT_REGION_ALIGN - 1) / SEGMENT_REGION_ALIGN * SEGMENT_REGION_ALIGN;
    return 0;
}

static int set_env(struct run_options *options, const char *name, const char *value)
{
    if (strchr(value, '=') == NULL || value[0] == '=')
        return usage_error(name, "%s is no variable (give NAME=VALUE)", value);
    if (options->envs == OPTIONS_MAX_ENV)
        return usage_error(name, "more than %d variables (export them instead)", OPTIONS_MAX_ENV);
    options->env[options->envs++] = value;
    return 0;
}

static int set_log_level(struct run_options *options, const char *name, const char *value)
{
    static const char *const levels[] = {"error", "warning", "info", "debug"};

    for (size_t i = 0; i < sizeof(levels) / sizeof(*levels); i++)
        if (strcmp(value, levels[i]) == 0) {
            options->log_level = value;
            return 0;
        }
    return usage_error(name, "%s is no log level (give error, warning, info or debug)", value);
}

static int set_python(struct run_options *options, const char *name, const char *value)
{
    (void)name;
    options->python = value;
    return 0;
}

static int set_module(struct run_options *options, const char *name, const char *value)
{
    (void)name;
    options->module = value;
    return 0;
}

static int set_cwd(struct run_options *options, const char *name, const char *value)
{
    (void)name;
    options->cwd = value;
    return 0;
}

static int set_label(struct run_options *options, const char *name, const char *value)
{
    (void)name;
    (void)value;
    options->label = true;
    return 0;
}

static int set_exec(struct run_options *options, const char *name, const char *value)
{
    (void)name;
    (void)value;
    options->exec = true;
    return 0;
}

static int set_help(struct run_options *options, const char *name, const char *value)
{
    (void)name;
    (void)value;
    options->help = true;
    return 0;
}

/* ---- the table ---- */

static const struct option_row {
    const char *name;  /* long form */
    const char *brief; /* short form, or NULL */
    const char *value; /* what it is called in the help; NULL: takes none */
    const char *help;
    int (*set)(struct run_options *options, const char *name, const char *value);
} rows[] = {
    {"--pes", "-n", "N", "number of PEs (processes); default: one for each core", set_pes},
    {"--label", NULL, NULL, "put the number of its PE before each line of output", set_label},
    {"--python", NULL, "PATH", "interpreter; default: $C4P_PYTHON, or " C4P_PYTHON, set_python},
    {"--module", "-m", "NAME", "run a module instead of a file, as python3 -m does", set_module},
    {"--exec", NULL, NULL, "launch the command as it is, without an interpreter", set_exec},
    {"--segment-size", NULL, "SIZE",
     "memory for what a PE has sent and nobody has done with, like 512M or 4G", set_segment_size},
    {"--env", NULL, "K=V", "set an environment variable of the program; may be repeated", set_env},
    {"--cwd", NULL, "DIR", "directory in which the program runs; default: this one", set_cwd},
    {"--log-level", NULL, "LEVEL", "what the daemon logs: error, warning, info or debug",
     set_log_level},
    {"--help", "-h", NULL, "show this", set_help},
};

#define ROWS (sizeof(rows) / sizeof(*rows))

void run_options_help(void)
{
    fputs(
        "usage: c4py run [options] [--] app.py [arguments ...]\n"
        "       c4py run [options] --exec [--] command [arguments ...]\n"
        "\n"
        "Run a program of chares on this machine. It needs no set-up: a private daemon is started\n"
        "for the run and leaves nothing behind. The exit code is that of the program. Ctrl-C "
        "stops\n"
        "it, a second one kills it. Standard input goes to PE 0.\n"
        "\n",
        stdout);
    for (size_t i = 0; i < ROWS; i++) {
        char left[40];

        snprintf(left, sizeof(left), "%s%s%s%s%s", rows[i].brief ? rows[i].brief : "",
                 rows[i].brief ? ", " : "", rows[i].name, rows[i].value ? " " : "",
                 rows[i].value ? rows[i].value : "");
        printf("  %-22s  %s\n", left, rows[i].help);
    }
}

/* ---- parsing ---- */

/* Number of single-character edits between two words, of which one is short. */
static unsigned word_distance(const char *a, const char *b)
{
    unsigned row[64];
    size_t length = strlen(b);

    if (length >= 64)
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

static int unknown_option(const char *argument)
{
    size_t length = strcspn(argument, "=");
    const struct option_row *nearest = NULL;
    unsigned distance = 4; /* farther is no typing error */
    char name[64];

    snprintf(name, sizeof(name), "%.*s", (int)(length < 63 ? length : 63), argument);
    for (size_t i = 0; i < ROWS; i++) {
        unsigned this = word_distance(name, rows[i].name);

        if (this < distance && this < strlen(name) / 2) {
            distance = this;
            nearest = &rows[i];
        }
    }
    if (nearest != NULL)
        return usage_error(name, "unknown option (did you mean %s?)", nearest->name);
    return usage_error(name, "unknown option (c4py run --help lists them; -- ends the options)");
}

/* The row of an argument, and where its value begins if it is in the same word. */
static const struct option_row *row_find(const char *argument, const char **value)
{
    for (size_t i = 0; i < ROWS; i++) {
        size_t length = strlen(rows[i].name);

        *value = NULL;
        if (strncmp(argument, rows[i].name, length) == 0 &&
            (argument[length] == '\0' || argument[length] == '=')) {
            if (argument[length] == '=')
                *value = argument + length + 1;
            return &rows[i];
        }
        if (rows[i].brief != NULL && strncmp(argument, rows[i].brief, 2) == 0 &&
            (argument[2] == '\0' || rows[i].value != NULL)) {
            if (argument[2] != '\0')
                *value = argument + 2;
            return &rows[i];
        }
    }
    return NULL;
}

int run_options_parse(struct run_options *options, char *const *arguments)
{
    memset(options, 0, sizeof(*options));
    for (; *arguments != NULL && (*arguments)[0] == '-' && (*arguments)[1] != '\0'; arguments++) {
        const char *value, *typed;
        const struct option_row *row;
        int rc;

        if (strcmp(*arguments, "--") == 0) {
            arguments++;
            break;
        }
        row = row_find(*arguments, &value);
        if (row == NULL)
            return unknown_option(*arguments);
        typed = (*arguments)[1] == '-' ? row->name : row->brief;
        if (row->value == NULL && value != NULL)
            return usage_error(typed, "takes no value (%s was given)", value);
        if (row->value != NULL && value == NULL && (value = *++arguments) == NULL)
            return usage_error(typed, "its value is missing (give %s %s)", typed, row->value);
        rc = row->set(options, typed, value);
        if (rc != 0 || options->help)
            return rc;
        if (row->set == set_module) { /* as with python3: the rest is the module's */
            arguments++;
            break;
        }
    }
    options->command = arguments;
    return 0;
}
