/*
 * c4pd, the daemon of c4p.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/embedded.h"
#include "daemon/log.h"
#include "daemon/process.h"

#ifndef C4P_VERSION
#define C4P_VERSION "unknown"
#endif

#define EXIT_USAGE 2

static const char help[] =
    "usage: c4pd --embedded=FD [--log-level=LEVEL]\n"
    "\n"
    "The daemon of c4p. `c4py run` starts it for the time of one program.\n"
    "\n"
    "  --embedded=FD      serve the one client at the other end of the socket FD\n"
    "  --log-level=LEVEL  error, warning (the default), info or debug\n"
    "  --help             show this\n"
    "  --version          show the version\n";

static int usage_error(const char *thing, const char *reason)
{
    fprintf(stderr, "c4pd: %s: %s (see c4pd --help)\n", thing, reason);
    return EXIT_USAGE;
}

static int lifeline_parse(const char *text)
{
    char *end;
    long fd = strtol(text, &end, 10);

    if (end == text || *end != '\0' || fd < 3 || fd > 1 << 20 || fcntl((int)fd, F_GETFD) < 0)
        return -1;
    return (int)fd;
}

int main(int argc, char **argv)
{
    enum { OPTION_EMBEDDED = 256, OPTION_LOG_LEVEL, OPTION_HELP, OPTION_VERSION };
    static const struct option options[] = {
        {"embedded", required_argument, NULL, OPTION_EMBEDDED},
        {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
        {"help", no_argument, NULL, OPTION_HELP},
        {"version", no_argument, NULL, OPTION_VERSION},
        {NULL, 0, NULL, 0},
    };
    enum log_level level;
    int option, lifeline = -1;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case OPTION_EMBEDDED:
            lifeline = lifeline_parse(optarg);
            if (lifeline < 0)
                return usage_error(optarg, "is not an open descriptor");
            break;
        case OPTION_LOG_LEVEL:
            if (!log_level_parse(optarg, &level))
                return usage_error(optarg, "is not a log level: error, warning, info, debug");
            log_level_set(level);
            break;
        case OPTION_HELP:
            fputs(help, stdout);
            return 0;
        case OPTION_VERSION:
            puts("c4pd " C4P_VERSION);
            return 0;
        default:
            return usage_error(argv[optind - 1], "unknown option, or its value is missing");
        }
    }
    if (optind < argc)
        return usage_error(argv[optind], "unexpected argument");
    if (lifeline < 0)
        return usage_error("--embedded", "is missing: c4py run starts the daemon with it");
    lifeline = process_descriptors_arrange(lifeline);
    if (lifeline < 0) {
        perror("c4pd: descriptors");
        return 1;
    }
    return embedded_run(lifeline);
}
