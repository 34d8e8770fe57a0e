#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

#include "client/c4p.h"
#include "proto/control.h"
#include "proto/control.pb-c.h"

/* A window of output and the few events beside it, or the input that there is credit for. */
#define QUEUE_LIMIT 1024

/* Pieces of output acknowledged together: well inside the window. */
#define ACK_EVERY (CONTROL_OUTPUT_WINDOW / 4)

struct c4p_client {
    void *zmq;
    void *socket;
    int fd;
    uint32_t version;
    uint64_t incarnation;
    uint64_t last_id;
    uint64_t unacknowledged;
    char *host;
    C4p__Event *event; /* what c4p_next() returned last */
};

static void event_drop(struct c4p_client *client)
{
    if (client->event != NULL)
        c4p__event__free_unpacked(client->event, NULL);
    client->event = NULL;
}

/* ---- sending ---- */

static int64_t request_send(struct c4p_client *client, C4p__Request__BodyCase body, void *message)
{
    C4p__Request request = C4P__REQUEST__INIT;
    zmq_msg_t frame;
    size_t size;
    int rc;

    request.id = ++client->last_id;
    request.body_case = body;
    request.hello = message; /* the members of the union are all pointers */
    size = c4p__request__get_packed_size(&request);
    if (size > CONTROL_MAX_MESSAGE) {
        errno = EMSGSIZE;
        return -1;
    }
    if (zmq_msg_init_size(&frame, size) != 0)
        return -1;
    c4p__request__pack(&request, zmq_msg_data(&frame));
    do
        rc = zmq_msg_send(&frame, client->socket, ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    if (rc < 0) {
        zmq_msg_close(&frame);
        return -1;
    }
    return (int64_t)request.id;
}

static size_t list_length(const char *const *list)
{
    size_t length = 0;

    while (list[length] != NULL)
        length++;
    return length;
}

/* Borrow a list of strings as protobuf-c wants it. */
static ProtobufCBinaryData *list_borrow(const char *const *list, size_t length)
{
    ProtobufCBinaryData *data = calloc(length + 1, sizeof(*data));

    for (size_t i = 0; data != NULL && i < length; i++) {
        data[i].data = (uint8_t *)(uintptr_t)list[i];
        data[i].len = strlen(list[i]);
    }
    return data;
}

int64_t c4p_submit(struct c4p_client *client, const struct c4p_job *job)
{
    C4p__Submit submit = C4P__SUBMIT__INIT;
    int64_t rc = -1;

    submit.n_argv = list_length(job->argv);
    submit.argv = list_borrow(job->argv, submit.n_argv);
    submit.n_env = list_length(job->env);
    submit.env = list_borrow(job->env, submit.n_env);
    submit.cwd.data = (uint8_t *)(uintptr_t)job->cwd;
    submit.cwd.len = strlen(job->cwd);
    submit.pes = job->pes;
    submit.region_size = job->region_size;
    submit.follow = job->follow;
    if (submit.argv != NULL && submit.env != NULL)
        rc = request_send(client, C4P__REQUEST__BODY_SUBMIT, &submit);
    free(submit.argv);
    free(submit.env);
    return rc;
}

int64_t c4p_follow(struct c4p_client *client, uint64_t job,
                   const struct c4p_follow_options *options)
{
    C4p__Follow follow = C4P__FOLLOW__INIT;

    follow.job = job;
    (void)options;
    return request_send(client, C4P__REQUEST__BODY_FOLLOW, &follow);
}

int64_t c4p_input(struct c4p_client *client, uint64_t job, const void *data, size_t size, bool eof)
{
    C4p__Input input = C4P__INPUT__INIT;

    input.job = job;
    input.data.data = (uint8_t *)(uintptr_t)data;
    input.data.len = size;
    input.eof = eof;
    return request_send(client, C4P__REQUEST__BODY_INPUT, &input);
}

int c4p_output_done(struct c4p_client *client, uint64_t job, uint64_t sequence)
{
    C4p__OutputAck ack = C4P__OUTPUT_ACK__INIT;

    if (++client->unacknowledged < ACK_EVERY)
        return 0;
    ack.job = job;
    ack.sequence = sequence;
    if (request_send(client, C4P__REQUEST__BODY_OUTPUT_ACK, &ack) < 0)
        return -1;
    client->unacknowledged = 0;
    return 0;
}

int64_t c4p_cancel(struct c4p_client *client, uint64_t job, bool kill)
{
    C4p__Cancel cancel = C4P__CANCEL__INIT;

    cancel.job = job;
    cancel.kill = kill;
    return request_send(client, C4P__REQUEST__BODY_CANCEL, &cancel);
}

/* ---- receiving ---- */

/* Take a frame and decode it into client->event. 1, 0 if there is none, -1 with errno. */
static int event_receive(struct c4p_client *client)
{
    zmq_msg_t frame;

    event_drop(client);
    zmq_msg_init(&frame);
    if (zmq_msg_recv(&frame, client->socket, ZMQ_DONTWAIT) < 0) {
        int saved = errno;

        zmq_msg_close(&frame);
        errno = saved;
        return saved == EAGAIN || saved == EINTR ? 0 : -1;
    }
    if (zmq_msg_size(&frame) <= CONTROL_MAX_MESSAGE)
        client->event = c4p__event__unpack(NULL, zmq_msg_size(&frame), zmq_msg_data(&frame));
    zmq_msg_close(&frame);
    if (client->event == NULL) {
        errno = EBADMSG;
        return -1;
    }
    return 1;
}

static void bytes_take(const ProtobufCBinaryData *bytes, const char **data, size_t *size)
{
    *data = bytes->len > 0 ? (const char *)bytes->data : "";
    *size = bytes->len;
}

/* False if the state is none that we know. */
static bool state_take(struct c4p_event *event, C4p__JobState state)
{
    event->state = (enum c4p_state)state;
    return (unsigned)state <= C4P_STATE_CANCELLED;
}

static bool event_fill(struct c4p_event *event, const C4p__Event *message)
{
    switch (message->body_case) {
    case C4P__EVENT__BODY_REFUSED:
        event->kind = C4P_EVENT_REFUSED;
        event->text = message->refused->reason;
        return true;
    case C4P__EVENT__BODY_ACCEPTED:
        event->kind = C4P_EVENT_ACCEPTED;
        event->job = message->accepted->job;
        return true;
    case C4P__EVENT__BODY_FOLLOWING:
        event->kind = C4P_EVENT_FOLLOWING;
        event->job = message->following->job;
        return true;
    case C4P__EVENT__BODY_STATE:
        event->kind = C4P_EVENT_STATE;
        event->job = message->state->job;
        return state_take(event, message->state->state);
    case C4P__EVENT__BODY_OUTPUT:
        event->kind = C4P_EVENT_OUTPUT;
        event->job = message->output->job;
        event->pe = message->output->pe;
        event->stream = (enum c4p_stream)message->output->stream;
        event->sequence = message->output->sequence;
        bytes_take(&message->output->data, &event->data, &event->data_size);
        return (unsigned)event->stream <= C4P_STREAM_STDERR;
    case C4P__EVENT__BODY_INPUT_CREDIT:
        event->kind = C4P_EVENT_INPUT;
        event->job = message->input_credit->job;
        event->credit = message->input_credit->bytes;
        event->closed = message->input_credit->closed;
        return true;
    case C4P__EVENT__BODY_ENDED:
        event->kind = C4P_EVENT_ENDED;
        event->job = message->ended->job;
        event->exit_code = message->ended->exit_code;
        event->text = message->ended->message;
        bytes_take(&message->ended->tail, &event->tail, &event->tail_size);
        bytes_take(&message->ended->text, &event->data, &event->data_size);
        return state_take(event, message->ended->state);
    default:
        return false;
    }
}

int c4p_next(struct c4p_client *client, struct c4p_event *event)
{
    int rc = event_receive(client);

    memset(event, 0, sizeof(*event));
    event->text = event->data = event->tail = "";
    if (rc != 1)
        return rc;
    if (!event_fill(event, client->event)) {
        errno = EBADMSG;
        return -1;
    }
    return 1;
}

int c4p_wait(struct c4p_client *client, int timeout_ms)
{
    zmq_pollitem_t item = {client->socket, 0, ZMQ_POLLIN, 0};
    int rc = zmq_poll(&item, 1, timeout_ms);

    if (rc == 0)
        errno = EAGAIN;
    return rc > 0 ? 0 : -1;
}

int c4p_fd(const struct c4p_client *client)
{
    return client->fd;
}

const char *c4p_host(const struct c4p_client *client)
{
    return client->host;
}

uint64_t c4p_incarnation(const struct c4p_client *client)
{
    return client->incarnation;
}

/* ---- connecting ---- */

static int socket_open(struct c4p_client *client, const char *address)
{
    const int queue = QUEUE_LIMIT, linger = 0;
    const int64_t limit = CONTROL_MAX_MESSAGE;
    size_t size = sizeof(client->fd);

    client->zmq = zmq_ctx_new();
    if (client->zmq == NULL)
        return -1;
    client->socket = zmq_socket(client->zmq, ZMQ_DEALER);
    if (client->socket == NULL)
        return -1;
    zmq_setsockopt(client->socket, ZMQ_SNDHWM, &queue, sizeof(queue));
    zmq_setsockopt(client->socket, ZMQ_RCVHWM, &queue, sizeof(queue));
    zmq_setsockopt(client->socket, ZMQ_LINGER, &linger, sizeof(linger));
    zmq_setsockopt(client->socket, ZMQ_MAXMSGSIZE, &limit, sizeof(limit));
    if (zmq_connect(client->socket, address) != 0)
        return -1;
    return zmq_getsockopt(client->socket, ZMQ_FD, &client->fd, &size);
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Wait for the first frame. */
static int answer_wait(struct c4p_client *client, int timeout_ms)
{
    int64_t deadline = now_ms() + timeout_ms;

    for (;;) {
        int rc = event_receive(client);
        int64_t left = deadline - now_ms();

        if (rc != 0)
            return rc;
        if (left <= 0) {
            errno = ETIMEDOUT;
            return -1;
        }
        if (c4p_wait(client, (int)left) != 0 && errno != EINTR && errno != EAGAIN)
            return -1;
    }
}

static int greet(struct c4p_client *client, const char *name, int timeout_ms,
                 char error[C4P_ERROR_SIZE])
{
    C4p__Hello hello = C4P__HELLO__INIT;
    const C4p__Welcome *welcome;

    hello.min_version = CONTROL_MIN_VERSION;
    hello.max_version = CONTROL_MAX_VERSION;
    hello.name = (char *)(uintptr_t)name;
    if (request_send(client, C4P__REQUEST__BODY_HELLO, &hello) < 0 ||
        answer_wait(client, timeout_ms) != 1) {
        snprintf(error, C4P_ERROR_SIZE, "no answer from the daemon: %s",
                 errno == EBADMSG ? "it speaks another protocol" : strerror(errno));
        return -1;
    }
    if (client->event->body_case == C4P__EVENT__BODY_REFUSED) {
        snprintf(error, C4P_ERROR_SIZE, "the daemon refuses: %s", client->event->refused->reason);
        return -1;
    }
    welcome = client->event->welcome;
    if (client->event->body_case != C4P__EVENT__BODY_WELCOME ||
        control_version_choose(welcome->version, welcome->version) == 0) {
        snprintf(error, C4P_ERROR_SIZE,
                 "the daemon wants a version of the control protocol that is not among ours, %d to "
                 "%d: use a daemon of the same release",
                 CONTROL_MIN_VERSION, CONTROL_MAX_VERSION);
        return -1;
    }
    client->version = welcome->version;
    client->incarnation = welcome->incarnation;
    client->host = strdup(welcome->host);
    return client->host == NULL ? -1 : 0;
}

struct c4p_client *c4p_connect(const char *address, const char *name, int timeout_ms,
                               char error[C4P_ERROR_SIZE])
{
    struct c4p_client *client = calloc(1, sizeof(*client));

    snprintf(error, C4P_ERROR_SIZE, "out of memory");
    if (client == NULL)
        return NULL;
    if (socket_open(client, address) != 0) {
        snprintf(error, C4P_ERROR_SIZE, "cannot connect to %.100s: %s", address,
                 zmq_strerror(errno));
        c4p_close(client);
        return NULL;
    }
    if (greet(client, name, timeout_ms, error) != 0) {
        c4p_close(client);
        return NULL;
    }
    return client;
}

void c4p_close(struct c4p_client *client)
{
    if (client == NULL)
        return;
    event_drop(client);
    if (client->socket != NULL)
        zmq_close(client->socket);
    if (client->zmq != NULL)
        zmq_ctx_term(client->zmq);
    free(client->host);
    free(client);
}
