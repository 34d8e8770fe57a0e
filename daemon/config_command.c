/* c4pd config: what is in force, and where it comes from. */
#define _GNU_SOURCE
#include "daemon/commands.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/announcement.h"
#include "daemon/json.h"

/* `daemon` without a process id: that of a start. */
static void config_print(const struct options *options, const struct announcement *daemon)
{
    const struct config *config = &daemon->config;

    /* It can be used as a configuration file. */
    if (daemon->pid > 0)
        printf("# in force in the daemon that runs: pid %d\n", (int)daemon->pid);
    else
        puts("# in force in a daemon that is started now");
    printf("# state_dir: %s (%s)\n", options->state_dir, options->state_dir_source);
    for (unsigned key = 0; key < CONFIG_KEYS; key++) {
        char value[VALUE_TEXT_SIZE], source[PATH_MAX + 16];

        if (key == 0 || strcmp(config_rows[key].section, config_rows[key - 1].section) != 0)
            printf("[%s]\n", config_rows[key].section);
        config_format(config, key, value);
        config_source_format(config, key, source, sizeof(source));
        printf("%-12s = %-10s ; %s\n", config_rows[key].key, value, source);
    }
}

static void config_print_json(const struct options *options, const struct announcement *daemon)
{
    const struct config *config = &daemon->config;
    char value[VALUE_TEXT_SIZE], source[PATH_MAX + 16];

    printf("{\"pid\": %d, \"state_dir\": {\"value\": ", (int)daemon->pid);
    json_put_string(stdout, options->state_dir);
    printf(", \"source\": ");
    json_put_string(stdout, options->state_dir_source);
    putchar('}');
    for (unsigned key = 0; key < CONFIG_KEYS; key++) {
        const struct config_row *row = &config_rows[key];

        config_format(config, key, value);
        config_source_format(config, key, source, sizeof(source));
        printf(",\n \"%s.%s\": {\"value\": \"%s\", \"option\": \"%s\", "
               "\"reloadable\": %s, \"source\": ",
               row->section, row->key, value, row->option, row->reloadable ? "true" : "false");
        json_put_string(stdout, source);
        putchar('}');
    }
    puts("}");
}

static int config_check(const char *path)
{
    char error[CONFIG_ERROR_SIZE];
    struct config config;

    config_init(&config, 1);
    if (config_read(&config, path, error) != 0) {
        fprintf(stderr, "c4pd: %s\n", error);
        return EXIT_CODE_USAGE;
    }
    printf("%s: right\n", path);
    return EXIT_CODE_OK;
}

/* Of the daemon that runs? Not if it is asked what a start would use. */
static bool config_of_daemon(const struct options *options, struct announcement *daemon)
{
    bool asks = options->next || options->config[0] != '\0';

    for (unsigned key = 0; key < CONFIG_KEYS; key++)
        asks = asks || options->given.values[key] != NULL;
    if (asks || !announcement_find(options->state_dir, daemon))
        return false;
    close(daemon->pidfd);
    return daemon->config_known;
}

int config_main(const struct options *options)
{
    struct announcement daemon;
    int code = EXIT_CODE_OK;

    if (options->check != NULL)
        return config_check(options->check);
    if (!config_of_daemon(options, &daemon)) {
        daemon.pid = 0;
        code = options_config(options, &daemon.config);
    }
    if (code != EXIT_CODE_OK)
        return code;
    if (options->json)
        config_print_json(options, &daemon);
    else
        config_print(options, &daemon);
    return EXIT_CODE_OK;
}
