#define _GNU_SOURCE
#include "daemon/cluster/dial.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

#include "daemon/cluster/links.h"
#include "daemon/cluster/resolve.h"
#include "proto/clock.h"

#define MONITOR "inproc://dial.monitor"
#define WATCHED                                                                                    \
    (ZMQ_EVENT_CONNECTED | ZMQ_EVENT_CLOSED | ZMQ_EVENT_CONNECT_RETRIED | ZMQ_EVENT_DISCONNECTED | \
     ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH |                             \
     ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL)

/* How far it has come. */
enum stage { CONNECTING, SHAKING_HANDS, ASKED, ANSWERED, UNREACHED, FAILED };

struct dialler {
    const struct dial_settings *settings;
    const struct addrinfo *where;
    void *zmq, *socket, *monitor;
    enum stage stage;
    void *answer;
    size_t size;
    char *error;
};

static enum stage dial_fail(struct dialler *dialler, enum stage stage, const char *what,
                            const char *remedy)
{
    snprintf(dialler->error, DIAL_ERROR_SIZE, "%.100s: %s (%s)", dialler->settings->token->address,
             what, remedy);
    return stage;
}

static int time_left(const struct dialler *dialler)
{
    int64_t left = dialler->settings->deadline - clock_ms();

    return left > 0 ? (int)left : 0;
}

/* ---- why not ---- */

/* What TCP says of the same address: errno, or 0. */
static int connection_try(const struct addrinfo *where, int ms)
{
    int fd = socket(where->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct pollfd poller = {fd, POLLOUT, 0};
    int reason = 0;
    socklen_t size = sizeof(reason);

    if (fd < 0)
        return errno;
    if (connect(fd, where->ai_addr, where->ai_addrlen) != 0) {
        reason = errno;
        if (reason == EINPROGRESS && poll(&poller, 1, ms) > 0)
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &reason, &size);
    }
    close(fd);
    return reason;
}

/* ZeroMQ says that a connection was not made, and not why. */
static enum stage unreached_explain(struct dialler *dialler)
{
    int reason = connection_try(dialler->where, time_left(dialler));

    if (reason == 0)
        return CONNECTING; /* it is there by now */
    if (reason == ECONNREFUSED)
        return dial_fail(dialler, UNREACHED, "nobody listens there",
                         "does the daemon run there, in the cluster? there: c4pd nodes");
    return dial_fail(dialler, UNREACHED,
                     reason == EINPROGRESS ? "does not answer" : strerror(reason),
                     "is that host up, and may this one connect to it? another address of it: c4pd "
                     "token --address HOST:PORT there");
}

static enum stage late_explain(struct dialler *dialler)
{
    static const char *const words[] = {
        [CONNECTING] = "cannot be connected to in time",
        [SHAKING_HANDS] = "took the connection, and says nothing",
        [ASKED] = "let this host in, and does not answer in time",
    };

    return dial_fail(dialler, dialler->stage == CONNECTING ? UNREACHED : FAILED,
                     words[dialler->stage],
                     "is its daemon well, and is there a firewall on the way? --timeout TIME waits "
                     "longer");
}

/* ---- what happens ---- */

static enum stage event_take(struct dialler *dialler, unsigned event)
{
    switch (event) {
    case ZMQ_EVENT_CONNECTED:
        return SHAKING_HANDS;
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        return ASKED;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        return dial_fail(dialler, FAILED, "does not know the token (any more)",
                         "make another one there: c4pd token");
    case ZMQ_EVENT_CLOSED:
    case ZMQ_EVENT_CONNECT_RETRIED:
        return dialler->stage == CONNECTING ? unreached_explain(dialler) : dialler->stage;
    case ZMQ_EVENT_DISCONNECTED:
        if (dialler->stage == ASKED)
            return dial_fail(dialler, FAILED, "broke the connection off",
                             "its log says why, if it was on purpose; else try again");
        break;
    default:
        break;
    }
    return dial_fail(dialler, FAILED, "is not the daemon that the token is of",
                     "it has another key, or is something else: make another token there: c4pd "
                     "token");
}

/* The number of the event is in the first two bytes; the second frame is the address. */
static void monitor_read(struct dialler *dialler)
{
    uint8_t data[64];
    uint16_t event;
    char address[256];

    if (zmq_recv(dialler->monitor, data, sizeof(data), ZMQ_DONTWAIT) < (int)sizeof(event))
        return;
    zmq_recv(dialler->monitor, address, sizeof(address), ZMQ_DONTWAIT);
    memcpy(&event, data, sizeof(event));
    dialler->stage = event_take(dialler, event);
}

static void answer_read(struct dialler *dialler)
{
    zmq_msg_t message;
    int size;

    zmq_msg_init(&message);
    size = zmq_msg_recv(&message, dialler->socket, ZMQ_DONTWAIT);
    if (size >= 0) {
        dialler->size = (size_t)size;
        dialler->answer = malloc((size_t)size + 1);
        if (dialler->answer != NULL)
            memcpy(dialler->answer, zmq_msg_data(&message), (size_t)size);
        dialler->stage = ANSWERED;
    }
    zmq_msg_close(&message);
}

static void events_wait(struct dialler *dialler)
{
    while (dialler->stage < ANSWERED) {
        zmq_pollitem_t items[] = {
            {dialler->socket, 0, ZMQ_POLLIN, 0},
            {dialler->monitor, 0, ZMQ_POLLIN, 0},
        };
        int left = time_left(dialler);

        if (left == 0) {
            dialler->stage = late_explain(dialler);
            return;
        }
        if (zmq_poll(items, 2, left) <= 0)
            continue;
        if (items[0].revents != 0)
            answer_read(dialler);
        else if (items[1].revents != 0)
            monitor_read(dialler);
    }
}

/* ---- one address ---- */

static bool option_set(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof(value)) == 0;
}

static bool socket_prepare(struct dialler *dialler)
{
    const struct token *token = dialler->settings->token;
    void *socket = dialler->socket;

    return option_set(socket, ZMQ_LINGER, 0) && option_set(socket, ZMQ_IPV6, 1) &&
           option_set(socket, ZMQ_RECONNECT_IVL, 250) &&
           zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &(int64_t){LINKS_MAX_MESSAGE}, 8) == 0 &&
           zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, token->seed.bytes, NODE_KEY_SIZE) == 0 &&
           zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, token->public_key.bytes, NODE_KEY_SIZE) ==
               0 &&
           zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, token->secret_key, 32) == 0;
}

static bool dialler_open(struct dialler *dialler)
{
    char address[RESOLVED_SIZE];

    dialler->socket = zmq_socket(dialler->zmq, ZMQ_DEALER);
    dialler->monitor = zmq_socket(dialler->zmq, ZMQ_PAIR);
    return dialler->socket != NULL && dialler->monitor != NULL && socket_prepare(dialler) &&
           zmq_socket_monitor(dialler->socket, MONITOR, WATCHED) == 0 &&
           option_set(dialler->monitor, ZMQ_LINGER, 0) &&
           zmq_connect(dialler->monitor, MONITOR) == 0 &&
           resolved_format(dialler->where, address) == 0 &&
           zmq_connect(dialler->socket, address) == 0 &&
           zmq_send(dialler->socket, dialler->settings->question, dialler->settings->size,
                    ZMQ_DONTWAIT) >= 0;
}

static void address_try(struct dialler *dialler)
{
    dialler->stage = CONNECTING;
    if (dialler_open(dialler))
        events_wait(dialler);
    else
        dialler->stage = dial_fail(dialler, FAILED, zmq_strerror(errno), "try again");
    if (dialler->socket != NULL) {
        zmq_socket_monitor(dialler->socket, NULL, 0);
        zmq_close(dialler->socket);
    }
    if (dialler->monitor != NULL)
        zmq_close(dialler->monitor);
}

void *dial(const struct dial_settings *settings, size_t *size, char error[DIAL_ERROR_SIZE])
{
    struct dialler dialler = {.settings = settings, .error = error, .stage = FAILED};
    struct addrinfo *found = resolve(settings->token->address, settings->deadline, error);

    if (found == NULL)
        return NULL;
    dialler.zmq = zmq_ctx_new();
    if (dialler.zmq == NULL)
        dial_fail(&dialler, FAILED, strerror(errno), "try again");
    /* A name may have several addresses, and a daemon listen at one of them. */
    for (dialler.where = found; dialler.zmq != NULL && dialler.where != NULL;
         dialler.where = dialler.where->ai_next) {
        address_try(&dialler);
        if (dialler.stage != UNREACHED)
            break;
    }
    if (dialler.zmq != NULL)
        zmq_ctx_term(dialler.zmq);
    freeaddrinfo(found);
    *size = dialler.size;
    return dialler.answer;
}
