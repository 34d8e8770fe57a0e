/*
 * c4py, the command of c4p.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/cli/options.h"
#include "client/cli/run.h"

#ifndef C4P_VERSION
#define C4P_VERSION "unknown"
#endif

static const char help[] = "usage: c4py run [options] [--] app.py [arguments ...]\n"
                           "       c4py COMMAND --help\n"
                           "\n"
                           "Run Python programs of chares.\n"
                           "\n"
                           "commands:\n"
                           "  run        run a program on this machine\n"
                           "\n"
                           "  --help     show this\n"
                           "  --version  show the version\n";

static const struct command_row {
    const char *name;
    int (*main)(char *const *arguments);
} commands[] = {
    {"run", run_main},
};

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

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";

    standard_streams_open();
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        fputs(help, stdout);
        return 0;
    }
    if (strcmp(word, "--version") == 0) {
        puts("c4py " C4P_VERSION);
        return 0;
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
        if (strcmp(word, commands[i].name) == 0)
            return commands[i].main(argv + 2);
    if (argc < 2)
        return usage_error("command", "none is given (c4py run app.py; c4py --help)");
    if (word[0] == '-')
        return usage_error(word, "unknown option (c4py --help lists them)");
    return usage_error(word, "unknown command (c4py --help lists them; c4py run %s runs a program)",
                       word);
}
