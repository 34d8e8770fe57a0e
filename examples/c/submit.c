/*
 * Submits a command to the daemon of this host, prints what its PEs write, and ends with its exit
 * code:
 *
 *   cc submit.c $(pkg-config --cflags --libs libc4p) -o submit
 *   ./submit 4 /usr/bin/python3 pi.py
 *
 * The daemon may be restarted meanwhile: the library finds it again and goes on where it was. See
 * libc4p(3).
 */
#include <c4p.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

/* A job that has come to its end, or to nothing. */
struct outcome {
    bool over;
    int code;
};

static void on_output(struct c4p_client *client, const struct c4p_event *event)
{
    FILE *stream = event->stream == C4P_STREAM_STDOUT ? stdout : stderr;

    fwrite(event->data, 1, event->data_size, stream);
    fflush(stream);
    /* The daemon may send more, and need not keep this for us. */
    c4p_output_done(client, event->job, event->sequence);
}

static void on_event(struct c4p_client *client, const struct c4p_event *event,
                     struct outcome *outcome)
{
    char id[C4P_ID_SIZE];

    switch (event->kind) {
    case C4P_EVENT_ACCEPTED:
        fprintf(stderr, "submit: job %s\n", c4p_id_format(event->job, id));
        break;
    case C4P_EVENT_OUTPUT:
        on_output(client, event);
        break;
    case C4P_EVENT_ENDED:
        if (event->text[0] != '\0')
            fprintf(stderr, "submit: %s\n", event->text);
        fwrite(event->data, 1, event->data_size, stderr);
        *outcome = (struct outcome){true, event->exit_code};
        break;
    case C4P_EVENT_REFUSED:
        fprintf(stderr, "submit: %s\n", event->text);
        *outcome = (struct outcome){true, EXIT_FAILURE};
        break;
    case C4P_EVENT_LOST:
        fprintf(stderr, "submit: %s\n", event->text);
        break;
    default:
        break;
    }
}

/* A program with a loop of its own adds c4p_fd() to what it polls; this one has nothing else. */
static int follow(struct c4p_client *client)
{
    struct pollfd poller = {c4p_fd(client), POLLIN, 0};
    struct outcome outcome = {false, EXIT_FAILURE};
    struct c4p_event event;

    for (;;) {
        int rc;

        while ((rc = c4p_next(client, &event)) == 1 && !outcome.over)
            on_event(client, &event, &outcome);
        if (outcome.over)
            return outcome.code;
        if (rc < 0 || (poll(&poller, 1, -1) < 0 && errno != EINTR)) {
            fprintf(stderr, "submit: %s\n", strerror(errno));
            return EXIT_FAILURE;
        }
    }
}

int main(int argc, char **argv)
{
    char error[C4P_ERROR_SIZE], *directory = getcwd(NULL, 0);
    struct c4p_job job = {.env = (const char *const *)environ, .cwd = directory, .follow = true};
    struct c4p_client *client;
    int code = EXIT_FAILURE;

    if (argc < 3 || directory == NULL) {
        fprintf(stderr, "usage: submit PES COMMAND [ARGUMENT ...]\n");
        free(directory);
        return 2;
    }
    job.pes = (uint32_t)strtoul(argv[1], NULL, 10);
    job.argv = (const char *const *)argv + 2;
    client = c4p_attach(NULL, "submit", 10000, error);
    if (client == NULL)
        fprintf(stderr, "submit: %s\n", error);
    else if (c4p_submit(client, &job) < 0)
        fprintf(stderr, "submit: %s\n", strerror(errno));
    else
        code = follow(client);
    c4p_close(client);
    free(directory);
    return code;
}
