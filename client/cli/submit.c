/*
 * c4py submit: a program is handed to the daemon, and followed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "client/c4p.h"
#include "client/cli/ask.h"
#include "client/cli/command.h"
#include "client/cli/commands.h"
#include "client/cli/console.h"
#include "client/cli/luggage.h"

static struct c4p_job job_of(const struct options *options, const struct command *command,
                             const struct c4p_bundle *bundle)
{
    return (struct c4p_job){
        .argv = (const char *const *)command->argv,
        .env = (const char *const *)command->env,
        .cwd = command->cwd,
        .pes = options->pes,
        .region_size = options->segment_size,
        .name = options->name,
        .priority = options->priority,
        .time_limit_ms = options->time_limit_ms,
        .follow = !options->detach,
        .input = !options->detach,
        .bundle = bundle,
    };
}

/* ---- manner ---- */

/* What becomes of the job when we leave. */
static void leave(struct console *console, int number)
{
    char id[C4P_ID_SIZE];

    c4p_id_format(console->job, id);
    if (!console->accepted)
        console_say(console, "left before the daemon answered: c4py jobs tells whether it has the "
                             "job");
    else if (!console->lost && console->interrupts > 2)
        console_say(console,
                    "left before the daemon answered: c4py jobs tells what becomes of "
                    "job %s",
                    id);
    else if (!console->lost)
        console_say(console, "job %s goes on (c4py attach %s follows it)", id, id);
    else if (console->state <= C4P_STATE_QUEUED)
        console_say(console, "left: job %s stays in the queue, and starts when the daemon is back",
                    id);
    else
        console_say(console, "left: when the daemon is back, c4py logs %s shows how job %s ended",
                    id, id);
    console_leave(console, 128 + number);
}

static void on_interrupted(struct console *console, int number)
{
    if (number == SIGHUP || console->lost) {
        leave(console, number);
        return;
    }
    console_cancel_job(console, number);
    if (console->ended)
        leave(console, console->interrupt);
}

static void on_lost(struct console *console, const char *why)
{
    if (console->broken || console->interrupts > 0) {
        leave(console, console->interrupts > 0 ? console->interrupt : SIGPIPE);
        return;
    }
    console_say(console, "%s (Ctrl-C leaves)", why);
}

static void on_back(struct console *console)
{
    console_say(console, "the daemon is back");
}

static const struct console_manner manner = {
    .interrupted = on_interrupted,
    .broken = console_kill_job,
    .lost = on_lost,
    .back = on_back,
};

/* ---- the two ways ---- */

static int follow(struct c4p_client *client, const struct c4p_job *job,
                  const struct options *options)
{
    struct console console;

    /* From here on a signal kills us no more, and the job is not left behind unheard of. */
    console_open(&console, &manner, options);
    console.client = client;
    if (c4p_submit(client, job) >= 0) {
        console_follow(&console);
    } else {
        console_say(&console, "%s", command_submit_error(errno));
        console.exit_code = EXIT_USAGE;
    }
    return console_close(&console);
}

static void on_accepted(void *context, const struct c4p_event *event)
{
    *(uint64_t *)context = event->job;
}

static int detach(struct c4p_client *client, const struct c4p_job *job,
                  const struct options *options)
{
    char error[ASK_ERROR_SIZE], id[C4P_ID_SIZE];
    int64_t request = c4p_submit(client, job);
    struct json json = {0};
    uint64_t number = 0;
    int rc = 0;

    if (request < 0) {
        ask_failed(command_submit_error(errno));
        rc = EXIT_USAGE;
    } else if (ask(client, request, on_accepted, &number, error) != 0) {
        rc = ask_failed(error);
    }
    c4p_close(client);
    if (rc != 0)
        return rc;
    c4p_id_format(number, id);
    if (!options->json) {
        puts(id);
        return 0;
    }
    json_object_begin(&json, NULL);
    json_text(&json, "id", id);
    json_object_end(&json);
    json_line_end(&json);
    return ask_print_json(&json);
}

/* Its files first, then the job. */
static int submit(struct c4p_client *client, const struct options *options,
                  const struct command *command)
{
    struct c4p_bundle *bundle = NULL;
    int rc = luggage_pack(options, command, c4p_cluster(client), &bundle);

    if (rc == 0 && bundle != NULL)
        rc = luggage_send(client, bundle);
    if (rc == 0) {
        struct c4p_job job = job_of(options, command, bundle);

        rc = (options->detach ? detach : follow)(client, &job, options);
    } else {
        c4p_close(client);
    }
    c4p_bundle_free(bundle);
    return rc;
}

int submit_main(const struct options *options)
{
    struct command command;
    int rc = command_make(&command, "submit", options);

    if (rc == 0) {
        struct c4p_client *client = ask_attach(options);

        rc = client == NULL ? 1 : submit(client, options, &command);
    }
    command_free(&command);
    return rc;
}
