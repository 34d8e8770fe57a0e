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

#include "daemon/commands.h"
#include "daemon/embedded.h"
#include "daemon/log.h"
#include "daemon/process.h"
#include "daemon/start.h"
#include "daemon/testbed.h"

#ifndef C4P_VERSION
#define C4P_VERSION "unknown"
#endif

static const struct command_row {
    const char *name;
    enum command_bit bit;
    int (*main)(const struct options *options);
    const char *summary;
    const char *help;
} commands[] = {
    {"start", COMMAND_START, start_main, "start the daemon of this user, in the background",
     "Start the daemon. The command returns when the daemon serves, or says why it cannot.\n"},
    {"stop", COMMAND_STOP, stop_main, "end it, when what runs has ended",
     "End the daemon. It takes and starts no more jobs; what runs has drain_time (c4pd.conf(5)) "
     "to\n"
     "come to its end. Jobs that wait are started by the next daemon.\n"},
    {"restart", COMMAND_RESTART, restart_main, "stop, if it runs, and start",
     "Stop the daemon if one runs, and start it with these options.\n"},
    {"reload", COMMAND_RELOAD, reload_main, "let it read its configuration again",
     "Let the daemon read its configuration and open its log again.\n"},
    {"status", COMMAND_STATUS, status_main, "say whether it runs",
     "Say whether a daemon runs: exit code 0, or 3 if none does.\n"},
    {"config", COMMAND_CONFIG, config_main, "show the configuration, and where it comes from",
     "Show what is in force and where each value comes from: in the daemon that runs; or, with\n"
     "options of start, in one that is started with them.\n"},
    {"init", COMMAND_INIT, init_main, "found a cluster, with this host as its first node",
     "Found a cluster: a key for this node, and nobody else in it yet. A daemon that runs takes "
     "it\n"
     "up; hosts come in with a token (c4pd token).\n"},
    {"token", COMMAND_TOKEN, token_main, "print what another host joins with",
     "Print a token: whoever has it may make a host a node of the cluster (c4pd join TOKEN "
     "there),\n"
     "as often and as long as it says.\n"},
    {"join", COMMAND_JOIN, join_main, "make this host a node of the cluster that the token is of",
     "Join the cluster whose node has printed the token. A daemon that runs takes it up.\n"},
    {"nodes", COMMAND_NODES, nodes_main, "show the nodes of the cluster",
     "Show the nodes of the cluster as the daemon of this host knows them; if none runs, who "
     "belongs\n"
     "to the cluster (and exit code 3).\n"},
    {"evict", COMMAND_EVICT, evict_main, "take a node's key away, for ever",
     "Revoke the key of a node, given by its name or the beginning of its fingerprint. All nodes\n"
     "refuse it as soon as they hear of it, and it cannot come back but with a new key.\n"},
    {"key", COMMAND_KEY, key_main, "keys of users on machines outside the cluster",
     "Make a key pair for a user on a machine that is no node (new: prints the public half), let "
     "a\n"
     "public key in under a name (add), show all keys (list), take one away for ever (revoke).\n"},
    {"leave", COMMAND_LEAVE, leave_main, "leave the cluster for good",
     "Leave the cluster: this node's key is revoked and removed, the others are told, and the "
     "daemon\n"
     "that runs goes on alone.\n"},
    {"testbed", COMMAND_TESTBED, testbed_main, "a cluster on this machine, to try things out",
     "Make a cluster of daemons on this machine, each with a state directory and ports of its "
     "own,\n"
     "until this is interrupted or COMMAND, which finds the first of them, has ended. Nothing is\n"
     "left then.\n"},
};

#define COMMANDS (sizeof(commands) / sizeof(*commands))

static int help_show(void)
{
    puts("usage: c4pd COMMAND [options]\n"
         "       c4pd COMMAND --help\n"
         "\n"
         "The daemon of c4p: it takes jobs, runs them on its processing elements, and\n"
         "remembers them.\n"
         "\n"
         "commands:");
    for (size_t i = 0; i < COMMANDS; i++)
        printf("  %-8s %s\n", commands[i].name, commands[i].summary);
    puts("\n"
         "Besides, c4py run starts a daemon for the time of one program:\n"
         "  --embedded FD      serve the one client at the other end of the socket FD\n"
         "  --log-level LEVEL  error, warning (the default), info or debug\n"
         "\n"
         "  -h, --help         show this\n"
         "  --version          show the version");
    return EXIT_CODE_OK;
}

static int command_run(const struct command_row *command, int argc, char **argv)
{
    struct options options;
    int code = options_parse(command->bit, argc, argv, &options);

    if (code != 0)
        return code;
    if (!options.help)
        return command->main(&options);
    printf("usage: c4pd %s [options]%s\n\n%s\n", command->name, options_arguments(command->bit),
           command->help);
    options_help(command->bit);
    return EXIT_CODE_OK;
}

/* ---- the embedded form ---- */

static int lifeline_parse(const char *text)
{
    char *end;
    long fd = strtol(text, &end, 10);

    if (end == text || *end != '\0' || fd < 3 || fd > 1 << 20 || fcntl((int)fd, F_GETFD) < 0)
        return -1;
    return (int)fd;
}

static int embedded_main(int argc, char **argv)
{
    static const struct option table[] = {
        {"embedded", required_argument, NULL, 'e'},
        {"log-level", required_argument, NULL, 'l'},
        {NULL, 0, NULL, 0},
    };
    enum log_level level;
    int option, lifeline = -1;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        if (option == '?')
            return usage_error(argv[optind - 1],
                               "unknown option, or its value is missing (c4pd --help)");
        if (option == 'e' && (lifeline = lifeline_parse(optarg)) < 0)
            return usage_error(optarg, "is not an open descriptor");
        if (option == 'l' && !log_level_parse(optarg, &level))
            return usage_error(optarg, "is not a log level: error, warning, info, debug");
        if (option == 'l')
            log_level_set(level);
    }
    if (optind < argc)
        return usage_error(argv[optind], "unexpected argument (c4pd --help)");
    if (lifeline < 0)
        return usage_error("--embedded", "is missing (c4pd --help lists the commands)");
    lifeline = process_descriptors_arrange(lifeline);
    if (lifeline < 0) {
        perror("c4pd: descriptors");
        return EXIT_CODE_FAILED;
    }
    return embedded_run(lifeline);
}

/* Whoever started us may have closed some of them; nothing of ours may take
 * their place. */
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
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        return help_show();
    if (strcmp(word, "--version") == 0) {
        puts("c4pd " C4P_VERSION);
        return EXIT_CODE_OK;
    }
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(word, commands[i].name) == 0)
            return command_run(&commands[i], argc - 1, argv + 1);
    if (argc < 2)
        return usage_error("command", "none is given (c4pd start; c4pd --help)");
    if (word[0] == '-')
        return embedded_main(argc, argv);
    return usage_error(word, "unknown command (c4pd --help lists them)");
}
