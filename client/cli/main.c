/*
 * c4py, the command of c4p.
 */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/commands.h"
#include "client/cli/options.h"

#ifndef C4P_VERSION
#define C4P_VERSION "unknown"
#endif

static const struct command_row {
    const struct command_line *line;
    int (*main)(const struct options *options);
} commands[] = {
    {&run_line, run_main},       {&submit_line, submit_main}, {&jobs_line, jobs_main},
    {&status_line, status_main}, {&logs_line, logs_main},     {&attach_line, attach_main},
    {&wait_line, wait_main},     {&cancel_line, cancel_main}, {&sessions_line, sessions_main},
    {&end_line, end_main},
};

#define COMMANDS (sizeof(commands) / sizeof(*commands))

static void help_print(void)
{
    fputs("usage: c4py run [options] [--] app.py [arguments ...]\n"
          "       c4py submit [options] [--] app.py [arguments ...]\n"
          "       c4py COMMAND --help\n"
          "\n"
          "Run Python programs of chares: by themselves, or by the daemon of this host, c4pd(8).\n"
          "\n"
          "commands:\n",
          stdout);
    for (size_t i = 0; i < COMMANDS; i++)
        printf("  %-10s %s\n", commands[i].line->name, commands[i].line->brief);
    fputs("\n"
          "  --help     show this\n"
          "  --version  show the version\n",
          stdout);
}

/* Whoever started us may have closed some of them; no socket of ours may take their place. */
static void standard_streams_open(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/* What was printed may not have been written. */
static int output_check(int rc)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return rc;
    fprintf(stderr, "c4py: standard output: %s\n", strerror(errno));
    return rc != 0 ? rc : 1;
}

static int command_run(const struct command_row *command, char **arguments)
{
    struct options options;
    int rc = options_parse(&options, command->line, arguments);

    if (rc != 0)
        return rc;
    if (options.help) {
        options_help(command->line);
        return output_check(0);
    }
    return output_check(command->main(&options));
}

static int unknown_command(const char *word)
{
    const char *nearest = NULL;
    unsigned distance = 3; /* farther is no typing error */

    for (size_t i = 0; i < COMMANDS; i++) {
        unsigned this = word_distance(word, commands[i].line->name);

        if (this < distance && this < strlen(word)) {
            distance = this;
            nearest = commands[i].line->name;
        }
    }
    if (nearest != NULL)
        return usage_error(word, "unknown command (did you mean %s? c4py --help lists them)",
                           nearest);
    return usage_error(word, "unknown command (c4py --help lists them; c4py run %s runs a program)",
                       word);
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";

    standard_streams_open();
    setlocale(LC_CTYPE, ""); /* how wide characters are */
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        help_print();
        return 0;
    }
    if (strcmp(word, "--version") == 0) {
        puts("c4py " C4P_VERSION);
        return 0;
    }
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(word, commands[i].line->name) == 0)
            return command_run(&commands[i], argv + 2);
    if (argc < 2)
        return usage_error("command", "none is given (c4py run app.py; c4py --help)");
    if (word[0] == '-')
        return usage_error(word, "unknown option (c4py --help lists them)");
    return unknown_command(word);
}
