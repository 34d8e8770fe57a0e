#define _GNU_SOURCE
#include "daemon/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/testbed.h"
#include "proto/place.h"
#include "proto/segment.h"

#define STARTS (COMMAND_START | COMMAND_RESTART)
#define STOPS (COMMAND_STOP | COMMAND_RESTART)
#define CLUSTER                                                                                    \
    (COMMAND_INIT | COMMAND_TOKEN | COMMAND_JOIN | COMMAND_NODES | COMMAND_EVICT | COMMAND_KEY |   \
     COMMAND_LEAVE)
#define ALL (STARTS | STOPS | COMMAND_RELOAD | COMMAND_STATUS | COMMAND_CONFIG | CLUSTER)

int usage_error(const char *thing, const char *format, ...)
{
    va_list arguments;

    fprintf(stderr, "c4pd: %s: ", thing);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return EXIT_CODE_USAGE;
}

/* ---- values ---- */

static int set_foreground(struct options *options, const char *value)
{
    (void)value;
    options->foreground = true;
    return 0;
}

static int set_set_aside(struct options *options, const char *value)
{
    (void)value;
    options->set_aside = true;
    return 0;
}

static int set_now(struct options *options, const char *value)
{
    (void)value;
    options->now = true;
    return 0;
}

static int set_json(struct options *options, const char *value)
{
    (void)value;
    options->json = true;
    return 0;
}

static int set_help(struct options *options, const char *value)
{
    (void)value;
    options->help = true;
    return 0;
}

static int set_timeout(struct options *options, const char *value)
{
    if (!value_parse(VALUE_TIME, value, &options->timeout_ms) || options->timeout_ms > INT_MAX)
        return usage_error("--timeout", "\"%s\" is not %s of at most 24d", value,
                           value_type_describe(VALUE_TIME));
    options->timed = true;
    return 0;
}

static int set_state_dir(struct options *options, const char *value)
{
    char error[PLACE_ERROR_SIZE];

    if (value[0] == '\0')
        return usage_error("--state-dir", "is empty (give a directory)");
    if (place_given_dir(value, options->state_dir, error) != 0)
        return usage_error("--state-dir", "%s", error);
    options->state_dir_source = "command line";
    return 0;
}

/* Absolute: the daemon leaves the current directory, and reads the file again.
 */
static int set_config(struct options *options, const char *value)
{
    if (realpath(value, options->config) == NULL)
        return usage_error(value, "cannot be read: %s", strerror(errno));
    return 0;
}

static int set_next(struct options *options, const char *value)
{
    (void)value;
    options->next = true;
    return 0;
}

static int set_check(struct options *options, const char *value)
{
    options->check = value;
    return 0;
}

static int set_name(struct options *options, const char *value)
{
    options->name = value;
    return 0;
}

static int set_node(struct options *options, const char *value)
{
    options->node = value;
    return 0;
}

static int set_address(struct options *options, const char *value)
{
    options->address = value;
    return 0;
}

static int set_list(struct options *options, const char *value)
{
    (void)value;
    options->list = true;
    return 0;
}

static int set_revoke(struct options *options, const char *value)
{
    options->revoke = value;
    return 0;
}

static int set_ttl(struct options *options, const char *value)
{
    if (!value_parse(VALUE_TIME, value, &options->ttl_ms) || options->ttl_ms == 0)
        return usage_error("--ttl", "\"%s\" is not %s, more than 0", value,
                           value_type_describe(VALUE_TIME));
    return 0;
}

static int set_uses(struct options *options, const char *value)
{
    uint64_t uses;

    if (!value_parse(VALUE_COUNT, value, &uses) || uses == 0 || uses > UINT32_MAX)
        return usage_error("--uses", "\"%s\" is not a number of hosts, at least 1", value);
    options->uses = (uint32_t)uses;
    return 0;
}

static int set_nodes(struct options *options, const char *value)
{
    uint64_t nodes;

    if (!value_parse(VALUE_COUNT, value, &nodes) || nodes == 0 || nodes > TESTBED_MAX_NODES)
        return usage_error("--nodes", "\"%s\" is not a number from 1 to %d", value,
                           TESTBED_MAX_NODES);
    options->nodes = (uint32_t)nodes;
    return 0;
}

static int set_pes(struct options *options, const char *value)
{
    uint64_t pes;

    if (!value_parse(VALUE_COUNT, value, &pes) || pes == 0 || pes > SEGMENT_MAX_PES)
        return usage_error("--pes", "\"%s\" is not a number from 1 to %d", value, SEGMENT_MAX_PES);
    options->pes = value;
    return 0;
}

/* ---- the tables ---- */

static const struct arguments_row {
    enum command_bit command;
    const char *words; /* for the help */
    unsigned min, max;
} arguments[] = {
    {COMMAND_JOIN, " TOKEN | -", 1, 1},
    {COMMAND_EVICT, " NODE", 1, 1},
    {COMMAND_TESTBED, " [COMMAND ...]", 0, 0},
    {COMMAND_KEY, " new FILE | add NAME KEY | list | revoke NAME", 1, OPTIONS_MAX_ARGUMENTS},
};

static const struct arguments_row *arguments_of(enum command_bit command)
{
    static const struct arguments_row none = {0, "", 0, 0};

    for (size_t i = 0; i < sizeof(arguments) / sizeof(*arguments); i++)
        if (arguments[i].command == command)
            return &arguments[i];
    return &none;
}

const char *options_arguments(enum command_bit command)
{
    return arguments_of(command)->words;
}

static const struct option_row {
    const char *name;
    const char *value; /* what it is called in the help; NULL: takes none */
    unsigned commands;
    const char *help;
    int (*set)(struct options *options, const char *value);
} rows[] = {
    {"--foreground", NULL, COMMAND_START, "do not go into the background; log on standard error",
     set_foreground},
    {"--state-dir", "DIR", ALL, "where everything of the daemon is; default: $C4P_STATE_DIR",
     set_state_dir},
    {"--config", "FILE", STARTS | COMMAND_CONFIG, "configuration; default: ~/.config/c4p/c4pd.conf",
     set_config},
    {"--set-aside", NULL, STARTS, "move a damaged store out of the way, begin with an empty one",
     set_set_aside},
    {"--now", NULL, STOPS, "end at once what runs, without its time to drain", set_now},
    {"--now", NULL, COMMAND_LEAVE, "without telling the others (they may evict this node)",
     set_now},
    {"--timeout", "TIME", STOPS, "wait so long for the end; default: until it comes", set_timeout},
    {"--timeout", "TIME", COMMAND_JOIN, "wait so long for the answer; default: 10s", set_timeout},
    {"--name", "NAME", COMMAND_INIT, "of the cluster; default: c4p", set_name},
    {"--node", "NAME", COMMAND_INIT, "of this node; default: the name of the host", set_node},
    {"--name", "NAME", COMMAND_JOIN, "of this node; default: the name of the host", set_name},
    {"--ttl", "TIME", COMMAND_TOKEN, "how long it is good; default: 1h", set_ttl},
    {"--uses", "N", COMMAND_TOKEN, "for so many hosts; default: 1", set_uses},
    {"--address", "HOST:PORT", COMMAND_TOKEN, "of this node, as the new one reaches it",
     set_address},
    {"--list", NULL, COMMAND_TOKEN, "show the tokens of this node that are good", set_list},
    {"--revoke", "ID", COMMAND_TOKEN, "make a token good for nothing", set_revoke},
    {"--nodes", "N", COMMAND_TESTBED, "how many; default: 3", set_nodes},
    {"--pes", "N", COMMAND_TESTBED, "processing elements of each; default: 2", set_pes},
    {"--next", NULL, COMMAND_CONFIG, "of the next start, also if a daemon runs", set_next},
    {"--check", "FILE", COMMAND_CONFIG, "only say whether this file is right", set_check},
    {"--json", NULL, COMMAND_STATUS | COMMAND_CONFIG | COMMAND_NODES | COMMAND_TOKEN | COMMAND_KEY,
     "for programs", set_json},
    {"--help", NULL, ALL | COMMAND_TESTBED, "show this", set_help},
};

#define ROWS (sizeof(rows) / sizeof(*rows))
#define FIRST_ROW 256
#define FIRST_KEY (FIRST_ROW + ROWS)

static bool has_keys(enum command_bit command)
{
    return (command & (STARTS | COMMAND_CONFIG)) != 0;
}

/* Some options have a short form as well. */
static const char *brief_of(enum command_bit command, const char *name)
{
    if (strcmp(name, "--pes") == 0 && has_keys(command))
        return "-n, ";
    if (strcmp(name, "--nodes") == 0)
        return "-N, ";
    return strcmp(name, "--help") == 0 ? "-h, " : "";
}

static void help_line(enum command_bit command, const char *name, const char *value,
                      const char *text)
{
    char left[40];

    snprintf(left, sizeof(left), "%s%s%s%s", brief_of(command, name), name,
             value != NULL ? " " : "", value != NULL ? value : "");
    printf("  %-21s %s\n", left, text);
}

/* ": default 64M", or nothing where the text says it. */
static void key_help(enum command_bit command, enum config_key key)
{
    const struct config_row *row = &config_rows[key];
    char text[256], value[VALUE_TEXT_SIZE];

    config_format_default(key, value);
    snprintf(text, sizeof(text), "%s; default: %s", row->help,
             key == CONFIG_PES ? "one for each core" : value);
    help_line(command, row->option, row->value, text);
}

void options_help(enum command_bit command)
{
    puts("options:");
    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].commands & command)
            help_line(command, rows[i].name, rows[i].value, rows[i].help);
    if (!has_keys(command))
        return;
    puts("\ninstead of what the configuration says (c4pd.conf(5)):");
    for (unsigned key = 0; key < CONFIG_KEYS; key++)
        key_help(command, key);
}

/* getopt's table of what this command takes. */
static void table_make(enum command_bit command, struct option table[ROWS + CONFIG_KEYS + 1])
{
    size_t used = 0;

    for (size_t i = 0; i < ROWS; i++)
        if (rows[i].commands & command)
            table[used++] = (struct option){rows[i].name + 2, rows[i].value != NULL, NULL,
                                            (int)(FIRST_ROW + i)};
    for (size_t key = 0; has_keys(command) && key < CONFIG_KEYS; key++)
        table[used++] = (struct option){config_rows[key].option + 2, required_argument, NULL,
                                        (int)(FIRST_KEY + key)};
    table[used] = (struct option){0};
}

static int option_take(struct options *options, int option)
{
    switch (option) {
    case 'n':
        options->given.values[CONFIG_PES] = optarg;
        return 0;
    case 'N':
        return set_nodes(options, optarg);
    case 'h':
        return set_help(options, NULL);
    default:
        if (option < (int)FIRST_KEY)
            return rows[option - FIRST_ROW].set(options, optarg);
        options->given.values[option - (int)FIRST_KEY] = optarg;
        return 0;
    }
}

static int state_dir_default(struct options *options)
{
    const char *chosen = getenv("C4P_STATE_DIR");
    char error[PLACE_ERROR_SIZE];

    if (options->state_dir[0] != '\0' || options->help)
        return 0;
    options->state_dir_source = chosen != NULL && chosen[0] != '\0' ? "C4P_STATE_DIR" : "default";
    if (place_state_dir(options->state_dir, error) == 0)
        return 0;
    fprintf(stderr, "c4pd: %s\n", error);
    return EXIT_CODE_USAGE;
}

/* What is left after the options: `count` words. */
static int arguments_take(enum command_bit command, const char *name, int count, char **words,
                          struct options *options)
{
    const struct arguments_row *row = arguments_of(command);

    if (options->help)
        return 0;
    if (command == COMMAND_TESTBED) {
        options->command = words;
        return 0;
    }
    if (count > (int)row->max)
        return usage_error(words[row->max], "unexpected argument (c4pd %s --help)", name);
    if (count < (int)row->min)
        return usage_error(name, "say what:%s (c4pd %s --help)", row->words, name);
    for (int i = 0; i < count; i++)
        options->arguments[options->argument_count++] = words[i];
    return 0;
}

/* A command that follows has options of its own. */
static const char *brief_options(enum command_bit command)
{
    if (command == COMMAND_TESTBED)
        return "+:N:h";
    return has_keys(command) ? ":n:h" : ":h";
}

int options_parse(enum command_bit command, int argc, char **argv, struct options *options)
{
    struct option table[ROWS + CONFIG_KEYS + 1];
    int option, code = 0;

    memset(options, 0, sizeof(*options));
    table_make(command, table);
    opterr = 0;
    optind = 1;
    while (code == 0 &&
           (option = getopt_long(argc, argv, brief_options(command), table, NULL)) != -1) {
        if (option == ':')
            return usage_error(argv[optind - 1], "its value is missing (c4pd %s --help)", argv[0]);
        if (option == '?')
            return usage_error(argv[optind - 1], "unknown option (c4pd %s --help lists them)",
                               argv[0]);
        code = option_take(options, option);
    }
    if (code == 0)
        code = arguments_take(command, argv[0], argc - optind, argv + optind, options);
    return code != 0 ? code : state_dir_default(options);
}

int options_config(const struct options *options, struct config *config)
{
    char error[CONFIG_ERROR_SIZE];

    if (config_load(config, options->config[0] != '\0' ? options->config : NULL, &options->given,
                    error) == 0)
        return EXIT_CODE_OK;
    fprintf(stderr, "c4pd: %s\n", error);
    return EXIT_CODE_USAGE;
}
