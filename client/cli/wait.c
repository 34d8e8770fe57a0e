/*
 * c4py wait: until jobs are over, one after the other: how long that takes is the same.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/c4p.h"
#include "client/cli/ask.h"
#include "client/cli/commands.h"
#include "client/cli/describe.h"
#include "proto/clock.h"

#define EXIT_TIMEOUT 124 /* as of timeout(1) */

struct wait {
    struct c4p_client *client;
    int64_t deadline; /* ms; -1: none */
    bool as_json;
    char id[C4P_ID_SIZE]; /* of the job that is waited for */
};

static int on_ended(const struct wait *wait, const struct c4p_event *event)
{
    int code = exit_code_of_end(event);

    if (wait->as_json) {
        struct json json = {0};

        describe_ended(&json, event);
        if (ask_print_json(&json) != 0)
            return 1;
        fflush(stdout);
    } else if (code != 0) {
        fprintf(stderr, "c4py: job %s: %s, exit code %d%s%s\n", wait->id,
                c4p_state_name(event->state), event->exit_code, event->text[0] != '\0' ? ": " : "",
                event->text);
    }
    return code;
}

/* What an event means for the exit code; -1: nothing, wait on. */
static int on_event(const struct wait *wait, const struct c4p_event *event)
{
    switch (event->kind) {
    case C4P_EVENT_OUTPUT:
        c4p_output_done(wait->client, event->job, event->sequence);
        return -1;
    case C4P_EVENT_ENDED:
        return on_ended(wait, event);
    case C4P_EVENT_REFUSED:
        return ask_failed(event->text);
    case C4P_EVENT_LOST:
        ask_failed(event->text);
        return -1;
    case C4P_EVENT_BACK:
        fputs("c4py: the daemon is back\n", stderr);
        return -1;
    default:
        return -1;
    }
}

/* 0; -1 when there is nothing more to wait for, with the exit code. */
static int more_wait(const struct wait *wait, int *code)
{
    int64_t left = wait->deadline - clock_ms();
    int timeout = left < 0 ? 0 : left < INT32_MAX ? (int)left : INT32_MAX;

    if (c4p_wait(wait->client, wait->deadline < 0 ? -1 : timeout) == 0 || errno == EINTR)
        return 0;
    if (errno == EAGAIN && wait->deadline > clock_ms())
        return 0;
    if (errno == EAGAIN) {
        fprintf(stderr, "c4py: job %s is not over yet (--timeout)\n", wait->id);
        *code = EXIT_TIMEOUT;
    } else {
        *code = ask_failed(strerror(errno));
    }
    return -1;
}

static int end_wait(const struct wait *wait)
{
    struct c4p_event event;
    int code = -1, rc;

    while (code < 0) {
        rc = c4p_next(wait->client, &event);
        if (rc < 0)
            return ask_failed("the daemon sends what is no message: giving up");
        if (rc > 0)
            code = on_event(wait, &event);
        else if (more_wait(wait, &code) != 0)
            return code;
    }
    return code;
}

static int job_wait(struct wait *wait, const char *word)
{
    char error[ASK_ERROR_SIZE];
    struct c4p_follow_options how = {0};
    struct ask_job job;

    if (ask_find(wait->client, word, &job, error) != 0)
        return ask_failed(error);
    c4p_id_format(job.id, wait->id);
    how.from = job.output_next; /* its output is not wanted */
    c4p_set_reconnect(wait->client, true);
    if (c4p_follow(wait->client, job.id, &how) < 0)
        return ask_failed(strerror(errno));
    return end_wait(wait);
}

int wait_main(const struct options *options)
{
    struct wait wait = {
        .client = ask_attach(options),
        .deadline = options->timeout_ms < 0 ? -1 : clock_ms() + options->timeout_ms,
        .as_json = options->json,
    };
    int code = 0;

    if (wait.client == NULL)
        return 1;
    for (char *const *word = options->command; *word != NULL && code != EXIT_TIMEOUT; word++) {
        int this = job_wait(&wait, *word);

        code = this != 0 ? this : code;
    }
    c4p_close(wait.client);
    return code;
}
