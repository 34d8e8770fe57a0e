#define _GNU_SOURCE
#include "client/cli/ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ATTACH_MS (ASK_SECONDS * 1000)

struct c4p_client *ask_attach(const struct options *options)
{
    char error[C4P_ERROR_SIZE];
    const char *via = options->via != NULL ? options->via : getenv("C4P_VIA");
    struct c4p_client *client;

    /* Whoever names a directory means the daemon of this machine. */
    if (options->via == NULL && options->state_dir != NULL)
        via = NULL;
    if (via != NULL && *via != '\0')
        client = c4p_attach_remote(via, NULL, "c4py", ATTACH_MS, error);
    else
        client = c4p_attach(options->state_dir, "c4py", ATTACH_MS, error);
    if (client == NULL)
        ask_failed(error);
    return client;
}

int ask_failed(const char *sentence)
{
    fprintf(stderr, "c4py: %s\n", sentence);
    return 1;
}

static void silence_tell(char error[ASK_ERROR_SIZE])
{
    snprintf(error, ASK_ERROR_SIZE,
             "the daemon has not answered for %d seconds (is it stopped, or very busy?)",
             ASK_SECONDS);
}

/* The next event. 0, or -1 with a sentence. */
static int event_wait(struct c4p_client *client, struct c4p_event *event,
                      char error[ASK_ERROR_SIZE])
{
    for (;;) {
        int rc = c4p_next(client, event);

        if (rc == 1)
            return 0;
        if (rc < 0) {
            snprintf(error, ASK_ERROR_SIZE, "the daemon sends what is no message: %s",
                     strerror(errno));
            return -1;
        }
        if (c4p_wait(client, ASK_SECONDS * 1000) == 0 || errno == EINTR)
            continue;
        if (errno == EAGAIN)
            silence_tell(error);
        else
            snprintf(error, ASK_ERROR_SIZE, "waiting for the daemon: %s", strerror(errno));
        return -1;
    }
}

int ask(struct c4p_client *client, int64_t request, ask_each *each, void *context,
        char error[ASK_ERROR_SIZE])
{
    struct c4p_event event;

    if (request < 0) {
        snprintf(error, ASK_ERROR_SIZE, "the request cannot be sent: %s", strerror(errno));
        return -1;
    }
    c4p_set_reconnect(client, false);
    while (event_wait(client, &event, error) == 0) {
        if (event.kind == C4P_EVENT_LOST) {
            snprintf(error, ASK_ERROR_SIZE, "the daemon went away before it answered: %s",
                     event.text);
            return -1;
        }
        if (event.request != request)
            continue;
        if (event.kind == C4P_EVENT_REFUSED) {
            snprintf(error, ASK_ERROR_SIZE, "%s", event.text);
            return -1;
        }
        if (each != NULL)
            each(context, &event);
        if (event.kind != C4P_EVENT_JOB)
            return 0;
    }
    return -1;
}

/* ---- jobs ---- */

static void on_found(void *context, const struct c4p_event *event)
{
    struct ask_job *job = context;

    if (event->kind != C4P_EVENT_JOB)
        return;
    job->id = event->info->id;
    job->state = event->info->state;
    job->output_next = event->info->output_next;
    job->session = event->info->session;
}

int ask_find(struct c4p_client *client, const char *word, struct ask_job *job,
             char error[ASK_ERROR_SIZE])
{
    memset(job, 0, sizeof(*job));
    if (ask(client, c4p_find(client, word), on_found, job, error) != 0)
        return -1;
    if (job->id != 0)
        return 0;
    snprintf(error, ASK_ERROR_SIZE, "there is no job %.100s", word);
    return -1;
}

/* ---- results ---- */

int ask_print_json(struct json *json)
{
    int rc = 0;

    if (json->failed)
        rc = ask_failed(strerror(ENOMEM));
    else
        fwrite(json->text, 1, json->size, stdout);
    json_free(json);
    return rc;
}

uint64_t ask_time_of_day(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
