/*
 * c4py logs: what is kept of a job's output, and with --follow what comes. The job does not wait
 * for us: what we are too slow for is a gap, which is told.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/c4p.h"
#include "client/cli/ask.h"
#include "client/cli/commands.h"
#include "client/cli/console.h"
#include "client/cli/describe.h"
#include "client/cli/tail.h"

struct logs {
    bool to_the_end;  /* of the job; else to the end of what is kept */
    uint64_t backlog; /* pieces before this one are kept ones */
    bool tailing;     /* only the last lines of them are wanted */
    struct tail tail;
    bool shown; /* all that was wanted */
};

/* ---- the last lines ---- */

static void on_tail_piece(void *context, const struct c4p_event *event)
{
    struct console *console = context;

    console->screen.expected = event->sequence; /* what is left out is no gap */
    screen_put_piece(&console->screen, event);
}

static void tail_end(struct console *console)
{
    struct logs *logs = console->context;

    if (!logs->tailing)
        return;
    logs->tailing = false;
    tail_give(&logs->tail, on_tail_piece, console);
    console->screen.expected = logs->backlog;
}

/* ---- manner ---- */

static void on_interrupted(struct console *console, int number)
{
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

static bool is_shown(struct logs *logs, uint64_t next)
{
    logs->shown = !logs->to_the_end && next >= logs->backlog;
    return logs->shown;
}

static bool on_following(struct console *console, const struct c4p_event *event)
{
    struct logs *logs = console->context;

    if (logs->backlog != 0)
        return false; /* followed again, as the daemon was away */
    logs->backlog = event->sequence;
    if (event->first >= event->sequence)
        tail_end(console);
    return is_shown(logs, event->first);
}

static bool on_output(struct console *console, const struct c4p_event *event)
{
    struct logs *logs = console->context;

    if (event->sequence >= logs->backlog) {
        tail_end(console);
        if (is_shown(logs, event->sequence))
            return true;
    }
    if (!logs->tailing) {
        screen_put_piece(&console->screen, event);
    } else if (!tail_add(&logs->tail, event)) {
        console_say(console, "%s (ask for fewer lines)", strerror(ENOMEM));
        console_leave(console, 1);
        return false;
    }
    if (event->sequence + 1 >= logs->backlog)
        tail_end(console);
    return is_shown(logs, event->sequence + 1);
}

static void on_ending(struct console *console)
{
    struct logs *logs = console->context;

    tail_end(console);
    logs->shown = true;
}

static const struct console_manner manner = {
    .interrupted = on_interrupted,
    .broken = on_broken,
    .lost = on_lost,
    .back = on_back,
    .following = on_following,
    .output = on_output,
    .ending = on_ending,
};

/* ---- the command ---- */

static int follow(struct c4p_client *client, const struct ask_job *job,
                  const struct options *options)
{
    struct logs logs = {
        .to_the_end = options->follow || state_is_over(job->state),
        .tailing = options->tail != UINT32_MAX,
    };
    struct console console;

    tail_init(&logs.tail, options->tail);
    console_open(&console, &manner, options);
    console.client = client;
    console.context = &logs;
    console.job = job->id;
    c4p_set_reconnect(client, true);
    if (c4p_follow(client, job->id, NULL) >= 0)
        console_follow(&console);
    else
        console_say(&console, "the request cannot be sent: %s", strerror(errno));
    tail_free(&logs.tail);
    if (logs.shown)
        console.exit_code = 0; /* that the job failed is told, and no failure of ours */
    return console_close(&console);
}

int logs_main(const struct options *options)
{
    char error[ASK_ERROR_SIZE];
    struct c4p_client *client = ask_attach(options);
    struct ask_job job;

    if (client == NULL)
        return 1;
    if (ask_find(client, options->command[0], &job, error) == 0)
        return follow(client, &job, options);
    c4p_close(client);
    return ask_failed(error);
}
