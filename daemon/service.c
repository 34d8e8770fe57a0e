#define _GNU_SOURCE
#include "daemon/service.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "daemon/control/control.h"
#include "daemon/control/server.h"
#include "daemon/log.h"

/* The number of the one job that a private daemon has. */
#define THE_JOB 1

struct service {
    const struct job_place *place;
    struct service_listener listener;
    struct server *server;
    struct control *control;
    struct job *job;
    const struct control_peer *follower;
    bool job_ended, stopping;
};

/* ---- the job's events to its follower ---- */

static void event_send(struct service *service, C4p__Event__BodyCase body, void *message)
{
    C4p__Event event = C4P__EVENT__INIT;

    event.body_case = body;
    event.welcome = message; /* the members of the union are all pointers */
    if (service->follower != NULL)
        control_send(service->control, service->follower, &event);
}

static void on_changed(void *context, uint64_t job, enum job_state state)
{
    C4p__State message = C4P__STATE__INIT;

    message.job = job;
    message.state = (C4p__JobState)state;
    event_send(context, C4P__EVENT__BODY_STATE, &message);
}

static void on_output(void *context, uint64_t job, const struct output_piece *piece,
                      uint64_t sequence)
{
    C4p__Output message = C4P__OUTPUT__INIT;

    message.job = job;
    message.pe = piece->pe;
    message.stream = piece->stream == OUTPUT_STDERR ? C4P__STREAM__STDERR : C4P__STREAM__STDOUT;
    message.sequence = sequence;
    message.data.data = (uint8_t *)(uintptr_t)piece->data;
    message.data.len = piece->size;
    event_send(context, C4P__EVENT__BODY_OUTPUT, &message);
}

static void on_input_credit(void *context, uint64_t job, uint32_t bytes, bool closed)
{
    C4p__InputCredit message = C4P__INPUT_CREDIT__INIT;

    message.job = job;
    message.bytes = bytes;
    message.closed = closed;
    event_send(context, C4P__EVENT__BODY_INPUT_CREDIT, &message);
}

static void on_ended(void *context, uint64_t job, const struct job_end *end)
{
    struct service *service = context;
    C4p__Ended message = C4P__ENDED__INIT;

    message.job = job;
    message.state = (C4p__JobState)end->state;
    message.exit_code = end->exit_code;
    message.message = (char *)(uintptr_t)end->message;
    message.tail.data = (uint8_t *)(uintptr_t)end->tail;
    message.tail.len = end->tail_size;
    message.text.data = (uint8_t *)(uintptr_t)end->text;
    message.text.len = end->text_size;
    service->job_ended = true;
    event_send(service, C4P__EVENT__BODY_ENDED, &message);
    service->listener.ended(service->listener.context);
}

_Static_assert((int)JOB_CANCELLED == (int)C4P__JOB_STATE__CANCELLED &&
                   (int)JOB_RUNNING == (int)C4P__JOB_STATE__RUNNING,
               "the states have the same numbers on the wire");

/* ---- what the client asks ---- */

/* A list of byte strings as C strings. NULL if there is one with a NUL, or no memory. */
static char **strings_create(size_t count, const ProtobufCBinaryData *data)
{
    char **strings = calloc(count + 1, sizeof(*strings));

    for (size_t i = 0; strings != NULL && i < count; i++) {
        if (memchr(data[i].data, '\0', data[i].len) != NULL ||
            (strings[i] = strndup((const char *)data[i].data, data[i].len)) == NULL) {
            while (i > 0)
                free(strings[--i]);
            free(strings);
            return NULL;
        }
    }
    return strings;
}

static void strings_free(char **strings)
{
    for (char **string = strings; string != NULL && *string != NULL; string++)
        free(*string);
    free(strings);
}

static int refuse(char reason[CONTROL_REASON_SIZE], const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static int refuse(char reason[CONTROL_REASON_SIZE], const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(reason, CONTROL_REASON_SIZE, format, arguments);
    va_end(arguments);
    return -1;
}

static int serve_submit(void *context, struct control_peer *peer, const C4p__Submit *submit,
                        uint64_t *job, char reason[CONTROL_REASON_SIZE])
{
    const struct job_listener listener = {on_changed, on_output, on_input_credit, on_ended,
                                          context};
    struct service *service = context;
    char **argv = strings_create(submit->n_argv, submit->argv);
    char **env = strings_create(submit->n_env, submit->env);
    char **cwd = strings_create(1, &submit->cwd);
    struct job_request request = {argv, env, NULL, submit->pes, submit->region_size};
    char error[JOB_ERROR_SIZE];
    int rc = -1;

    (void)peer;
    if (service->job != NULL || service->stopping) {
        refuse(reason, "a private daemon runs one job, and has had it");
    } else if (argv == NULL || env == NULL || cwd == NULL || argv[0] == NULL ||
               argv[0][0] == '\0' || cwd[0][0] == '\0') {
        refuse(reason, "the job has no command or directory, or there is a NUL in it");
    } else {
        request.cwd = cwd[0];
        service->job = job_create(THE_JOB, &request, service->place, &listener, error);
        if (service->job == NULL)
            refuse(reason, "%s", error);
        else
            rc = 0;
    }
    *job = THE_JOB;
    strings_free(argv);
    strings_free(env);
    strings_free(cwd);
    return rc;
}

static int job_known(const struct service *service, uint64_t job, char reason[CONTROL_REASON_SIZE])
{
    if (job != THE_JOB || service->job == NULL)
        return refuse(reason, "there is no job %llu", (unsigned long long)job);
    return 0;
}

static int job_followed_by(const struct service *service, const struct control_peer *peer,
                           uint64_t job, char reason[CONTROL_REASON_SIZE])
{
    if (job_known(service, job, reason) != 0)
        return -1;
    if (service->follower != peer)
        return refuse(reason, "job %llu is followed by somebody else", (unsigned long long)job);
    return 0;
}

static int serve_follow(void *context, struct control_peer *peer, uint64_t job,
                        char reason[CONTROL_REASON_SIZE])
{
    struct service *service = context;

    if (job_known(service, job, reason) != 0)
        return -1;
    if (service->follower != NULL)
        return job_followed_by(service, peer, job, reason);
    service->follower = peer;
    return 0;
}

/* The client knows the job's number: start it, once, and let its events flow. */
static void serve_flow(void *context, uint64_t job)
{
    struct service *service = context;
    bool started = job_followed(service->job);

    (void)job;
    if (service->follower == NULL || started)
        return;
    job_follow(service->job);
    job_start(service->job);
}

static int serve_input(void *context, struct control_peer *peer, const C4p__Input *input,
                       char reason[CONTROL_REASON_SIZE])
{
    struct service *service = context;

    if (job_followed_by(service, peer, input->job, reason) != 0)
        return -1;
    if (job_input(service->job, input->data.data, input->data.len, input->eof) != 0)
        return refuse(reason, "%zu bytes of input are more than there is credit for",
                      input->data.len);
    return 0;
}

static int serve_output_ack(void *context, struct control_peer *peer, uint64_t job,
                            uint64_t sequence, char reason[CONTROL_REASON_SIZE])
{
    struct service *service = context;

    if (job_followed_by(service, peer, job, reason) != 0)
        return -1;
    job_output_ack(service->job, sequence);
    return 0;
}

static int serve_cancel(void *context, struct control_peer *peer, uint64_t job, bool kill,
                        char reason[CONTROL_REASON_SIZE])
{
    struct service *service = context;

    (void)peer;
    if (job_known(service, job, reason) != 0)
        return -1;
    job_cancel(service->job, kill);
    return 0;
}

static void serve_greeted(void *context, struct control_peer *peer)
{
    struct service *service = context;

    (void)peer;
    service->listener.greeted(service->listener.context);
}

static void serve_send(void *context, const void *identity, size_t identity_size, const void *data,
                       size_t size)
{
    struct service *service = context;

    if (server_send(service->server, identity, identity_size, data, size) != 0)
        log_write(LOG_WARNING, "control", "an event of %zu bytes is lost: %s", size,
                  strerror(errno));
}

static void on_frame(void *context, const void *identity, size_t identity_size, const void *data,
                     size_t size)
{
    struct service *service = context;

    control_receive(service->control, identity, identity_size, data, size);
}

/* ---- the service itself ---- */

struct service *service_create(const struct job_place *place, const char *address,
                               const struct service_listener *listener)
{
    struct service *service = calloc(1, sizeof(*service));
    const struct control_service requests = {
        serve_submit,  serve_follow, serve_input, serve_output_ack, serve_cancel,
        serve_greeted, serve_flow,   serve_send,  service,
    };
    uint64_t incarnation = 0;
    int saved;

    if (service == NULL)
        return NULL;
    if (getrandom(&incarnation, sizeof(incarnation), 0) != sizeof(incarnation))
        incarnation = (uint64_t)getpid();
    service->place = place;
    service->listener = *listener;
    service->control = control_create(&requests, incarnation, place->host);
    if (service->control != NULL)
        service->server = server_create(place->base, address, on_frame, service);
    if (service->server == NULL) {
        saved = errno;
        service_destroy(service);
        errno = saved;
        return NULL;
    }
    return service;
}

void service_destroy(struct service *service)
{
    if (service == NULL)
        return;
    job_destroy(service->job);
    server_destroy(service->server);
    control_destroy(service->control);
    free(service);
}

bool service_child_died(struct service *service, pid_t pid)
{
    return service->job != NULL && job_child_died(service->job, pid);
}

void service_stop(struct service *service, bool kill)
{
    service->stopping = true;
    if (!service_is_idle(service))
        job_cancel(service->job, kill);
}

void service_abandon(struct service *service)
{
    service->follower = NULL;
    if (!service_is_idle(service))
        job_abandon(service->job);
}

bool service_is_idle(const struct service *service)
{
    /* A job that nobody follows yet has not been started. */
    return service->job == NULL || !job_followed(service->job) || service->job_ended;
}
