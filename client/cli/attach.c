/*
 * c4py attach: a job is picked up where it is.
 *
 * The first signal detaches. Whoever attaches looks at something that has a life of its own, maybe
 * beside others who do; what ends it has a name of its own, c4py cancel.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/c4p.h"
#include "client/cli/ask.h"
#include "client/cli/commands.h"
#include "client/cli/console.h"

static void on_interrupted(struct console *console, int number)
{
    char id[C4P_ID_SIZE];

    c4p_id_format(console->job, id);
    console_say(console,
                "detached: job %s goes on (c4py attach %s follows it, c4py cancel %s ends "
                "it)",
                id, id, id);
    console_leave(console, 128 + number);
}

static void on_broken(struct console *console)
{
    console_leave(console, 1);
}

static void on_lost(struct console *console, const char *why)
{
    console_say(console, "%s (Ctrl-C leaves)", why);
}

static void on_back(struct console *console)
{
    console_say(console, "the daemon is back");
}

static const struct console_manner manner = {
    .interrupted = on_interrupted,
    .broken = on_broken,
    .lost = on_lost,
    .back = on_back,
};

static int follow(struct c4p_client *client, uint64_t job, const struct options *options)
{
    const struct c4p_follow_options how = {
        .lossless = true,
        .input = !options->no_input,
        .resume = options->resume,
    };
    struct console console;

    console_open(&console, &manner, options);
    console.client = client;
    console.job = job;
    if (options->resume)
        console.screen.expected = 0;
    c4p_set_reconnect(client, true);
    if (c4p_follow(client, job, &how) >= 0)
        console_follow(&console);
    else
        console_say(&console, "the request cannot be sent: %s", strerror(errno));
    return console_close(&console);
}

int attach_main(const struct options *options)
{
    char error[ASK_ERROR_SIZE];
    struct c4p_client *client = ask_attach(options);
    struct ask_job job;

    if (client == NULL)
        return 1;
    if (ask_find(client, options->command[0], &job, error) == 0)
        return follow(client, job.id, options);
    c4p_close(client);
    return ask_failed(error);
}
