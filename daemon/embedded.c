#define _GNU_SOURCE
#include "daemon/embedded.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/control/control.h"
#include "daemon/control/server.h"
#include "daemon/jobs/job.h"
#include "daemon/log.h"
#include "daemon/package.h"
#include "daemon/rundir.h"

#define THE_JOB 1

struct embedded {
    struct event_base *base;
    struct server *server;
    struct control *control;
    struct job *job;
    const struct control_peer *follower;
    struct rundir rundir;
    struct job_place place;
    struct event *lifeline, *child, *term, *interrupt;
    int lifeline_fd;
    bool job_ended, client_gone, stopping;
    char host[HOST_NAME_MAX + 1];
    char package_dir[PATH_MAX];
};

/* ---- the job's events to its follower ---- */

static void event_send(struct embedded *daemon, C4p__Event__BodyCase body, void *message)
{
    C4p__Event event = C4P__EVENT__INIT;

    event.body_case = body;
    event.welcome = message; /* the members of the union are all pointers */
    if (daemon->follower != NULL)
        control_send(daemon->control, daemon->follower, &event);
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
    struct embedded *daemon = context;
    C4p__Ended message = C4P__ENDED__INIT;

    message.job = job;
    message.state = (C4p__JobState)end->state;
    message.exit_code = end->exit_code;
    message.message = (char *)(uintptr_t)end->message;
    message.tail.data = (uint8_t *)(uintptr_t)end->tail;
    message.tail.len = end->tail_size;
    message.text.data = (uint8_t *)(uintptr_t)end->text;
    message.text.len = end->text_size;
    daemon->job_ended = true;
    event_send(daemon, C4P__EVENT__BODY_ENDED, &message);
    /* A client that is there closes the lifeline when it has read this. */
    if (daemon->client_gone || daemon->follower == NULL)
        event_base_loopbreak(daemon->base);
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
    struct embedded *daemon = context;
    char **argv = strings_create(submit->n_argv, submit->argv);
    char **env = strings_create(submit->n_env, submit->env);
    char **cwd = strings_create(1, &submit->cwd);
    struct job_request request = {argv, env, NULL, submit->pes, submit->region_size};
    char error[JOB_ERROR_SIZE];
    int rc = -1;

    (void)peer;
    if (daemon->job != NULL || daemon->stopping) {
        refuse(reason, "a private daemon runs one job, and has had it");
    } else if (argv == NULL || env == NULL || cwd == NULL || argv[0] == NULL ||
               argv[0][0] == '\0' || cwd[0][0] == '\0') {
        refuse(reason, "the job has no command or directory, or there is a NUL in it");
    } else {
        request.cwd = cwd[0];
        daemon->job = job_create(THE_JOB, &request, &daemon->place, &listener, error);
        if (daemon->job == NULL)
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

static int job_known(const struct embedded *daemon, uint64_t job, char reason[CONTROL_REASON_SIZE])
{
    if (job != THE_JOB || daemon->job == NULL)
        return refuse(reason, "there is no job %llu", (unsigned long long)job);
    return 0;
}

static int job_followed_by(const struct embedded *daemon, const struct control_peer *peer,
                           uint64_t job, char reason[CONTROL_REASON_SIZE])
{
    if (job_known(daemon, job, reason) != 0)
        return -1;
    if (daemon->follower != peer)
        return refuse(reason, "job %llu is followed by somebody else", (unsigned long long)job);
    return 0;
}

static int serve_follow(void *context, struct control_peer *peer, uint64_t job,
                        char reason[CONTROL_REASON_SIZE])
{
    struct embedded *daemon = context;

    if (job_known(daemon, job, reason) != 0)
        return -1;
    if (daemon->follower != NULL)
        return job_followed_by(daemon, peer, job, reason);
    daemon->follower = peer;
    return 0;
}

/* The client knows the job's number: start it, once, and let its events flow. */
static void serve_flow(void *context, uint64_t job)
{
    struct embedded *daemon = context;
    bool started = job_followed(daemon->job);

    (void)job;
    if (daemon->follower == NULL || started)
        return;
    job_follow(daemon->job);
    job_start(daemon->job);
}

static int serve_input(void *context, struct control_peer *peer, const C4p__Input *input,
                       char reason[CONTROL_REASON_SIZE])
{
    struct embedded *daemon = context;

    if (job_followed_by(daemon, peer, input->job, reason) != 0)
        return -1;
    if (job_input(daemon->job, input->data.data, input->data.len, input->eof) != 0)
        return refuse(reason, "%zu bytes of input are more than there is credit for",
                      input->data.len);
    return 0;
}

static int serve_output_ack(void *context, struct control_peer *peer, uint64_t job,
                            uint64_t sequence, char reason[CONTROL_REASON_SIZE])
{
    struct embedded *daemon = context;

    if (job_followed_by(daemon, peer, job, reason) != 0)
        return -1;
    job_output_ack(daemon->job, sequence);
    return 0;
}

static int serve_cancel(void *context, struct control_peer *peer, uint64_t job, bool kill,
                        char reason[CONTROL_REASON_SIZE])
{
    struct embedded *daemon = context;

    (void)peer;
    if (job_known(daemon, job, reason) != 0)
        return -1;
    job_cancel(daemon->job, kill);
    return 0;
}

static void serve_greeted(void *context, struct control_peer *peer)
{
    struct embedded *daemon = context;

    (void)peer;
    rundir_remove(&daemon->rundir);
}

static void serve_send(void *context, const void *identity, size_t identity_size, const void *data,
                       size_t size)
{
    struct embedded *daemon = context;

    if (server_send(daemon->server, identity, identity_size, data, size) != 0)
        log_write(LOG_WARNING, "control", "an event of %zu bytes is lost: %s", size,
                  strerror(errno));
}

static void on_frame(void *context, const void *identity, size_t identity_size, const void *data,
                     size_t size)
{
    struct embedded *daemon = context;

    control_receive(daemon->control, identity, identity_size, data, size);
}

/* ---- what else happens ---- */

/* End what runs; the loop goes on until the job has ended. */
static void daemon_stop(struct embedded *daemon, bool kill)
{
    daemon->stopping = true;
    if (daemon->job == NULL || !job_followed(daemon->job) || daemon->job_ended)
        event_base_loopbreak(daemon->base);
    else
        job_cancel(daemon->job, kill);
}

static void on_lifeline(evutil_socket_t fd, short what, void *argument)
{
    struct embedded *daemon = argument;
    char ignored[64];
    ssize_t rc = read(fd, ignored, sizeof(ignored));

    (void)what;
    if (rc > 0 || (rc < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    event_del(daemon->lifeline);
    daemon->client_gone = true;
    daemon_stop(daemon, true);
    daemon->follower = NULL;
    if (daemon->job != NULL && !daemon->job_ended)
        job_abandon(daemon->job);
}

static void on_signal(evutil_socket_t number, short what, void *argument)
{
    struct embedded *daemon = argument;

    (void)what;
    log_write(LOG_INFO, "c4pd", "signal %d: stopping", (int)number);
    daemon_stop(daemon, daemon->stopping);
}

static void on_child(evutil_socket_t number, short what, void *argument)
{
    struct embedded *daemon = argument;
    siginfo_t info;

    (void)number;
    (void)what;
    for (;;) {
        info.si_pid = 0;
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
            return;
        if (daemon->job == NULL || !job_child_died(daemon->job, info.si_pid))
            waitpid(info.si_pid, NULL, 0);
    }
}

/* ---- start and end ---- */

/* As many descriptors as we may have; the PEs get back what the user had. */
static void files_limit_raise(struct rlimit *before)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, before) != 0) {
        before->rlim_cur = before->rlim_max = 1024;
        return;
    }
    limit = *before;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static struct event *event_start(struct embedded *daemon, int fd, short what,
                                 event_callback_fn callback)
{
    struct event *event = event_new(daemon->base, fd, what | EV_PERSIST, callback, daemon);

    if (event != NULL && event_add(event, NULL) == 0)
        return event;
    if (event != NULL)
        event_free(event);
    return NULL;
}

static int embedded_open(struct embedded *daemon, char *error, size_t size)
{
    const struct control_service service = {
        serve_submit,  serve_follow, serve_input, serve_output_ack, serve_cancel,
        serve_greeted, serve_flow,   serve_send,  daemon,
    };
    uint64_t incarnation = 0;

    if (getrandom(&incarnation, sizeof(incarnation), 0) != sizeof(incarnation))
        incarnation = (uint64_t)getpid();
    if (gethostname(daemon->host, sizeof(daemon->host)) != 0)
        snprintf(daemon->host, sizeof(daemon->host), "localhost");
    files_limit_raise(&daemon->place.files);
    daemon->base = event_base_new();
    daemon->control = control_create(&service, incarnation, daemon->host);
    if (daemon->base == NULL || daemon->control == NULL) {
        snprintf(error, size, "out of memory");
        return -1;
    }
    daemon->place.base = daemon->base;
    daemon->place.host = daemon->host;
    if (package_find(daemon->package_dir, sizeof(daemon->package_dir)))
        daemon->place.package_dir = daemon->package_dir;
    daemon->lifeline = event_start(daemon, daemon->lifeline_fd, EV_READ, on_lifeline);
    daemon->child = event_start(daemon, SIGCHLD, EV_SIGNAL, on_child);
    daemon->term = event_start(daemon, SIGTERM, EV_SIGNAL, on_signal);
    daemon->interrupt = event_start(daemon, SIGINT, EV_SIGNAL, on_signal);
    if (daemon->lifeline == NULL || daemon->child == NULL || daemon->term == NULL ||
        daemon->interrupt == NULL) {
        snprintf(error, size, "the event loop refuses events: %s", strerror(errno));
        return -1;
    }
    if (rundir_create(&daemon->rundir, error, size) != 0)
        return -1;
    daemon->server = server_create(daemon->base, daemon->rundir.address, on_frame, daemon);
    if (daemon->server == NULL) {
        snprintf(error, size, "%s: cannot bind: %s", daemon->rundir.address, strerror(errno));
        return -1;
    }
    return 0;
}

static void embedded_close(struct embedded *daemon)
{
    struct event *events[] = {daemon->lifeline, daemon->child, daemon->term, daemon->interrupt};

    rundir_remove(&daemon->rundir);
    job_destroy(daemon->job);
    server_destroy(daemon->server);
    control_destroy(daemon->control);
    for (size_t i = 0; i < sizeof(events) / sizeof(*events); i++)
        if (events[i] != NULL)
            event_free(events[i]);
    if (daemon->base != NULL)
        event_base_free(daemon->base);
    close(daemon->lifeline_fd);
}

static void lifeline_tell(int fd, const char *word, const char *text)
{
    char line[512];
    int size = snprintf(line, sizeof(line), "%s %s\n", word, text);

    if (size > 0 && (size_t)size < sizeof(line) && write(fd, line, (size_t)size) != size)
        log_write(LOG_WARNING, "c4pd", "the client went away at once");
}

int embedded_run(int lifeline)
{
    struct embedded daemon = {.lifeline_fd = lifeline};
    char error[300];
    int rc = 1;

    signal(SIGPIPE, SIG_IGN);
    if (embedded_open(&daemon, error, sizeof(error)) == 0) {
        lifeline_tell(lifeline, "ready", daemon.rundir.address);
        event_base_dispatch(daemon.base);
        rc = 0;
    } else {
        lifeline_tell(lifeline, "error", error);
    }
    embedded_close(&daemon);
    return rc;
}
