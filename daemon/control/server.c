#include "daemon/control/server.h"

#include <errno.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <zmq.h>

#include "daemon/mail.h"
#include "proto/control.h"

/* Frames taken before the event loop gets its turn again. */
#define BATCH 64

/* ZeroMQ itself drops the connection of who sends more; up to this, control.c says why not. */
#define HARD_LIMIT ((int64_t)8 * CONTROL_MAX_MESSAGE)

/* More than a follower's window of output and the few events beside it. */
#define QUEUE_LIMIT 1024

/* At the end: last words that have not left yet get this long. */
#define LINGER_MS 200

struct server {
    void *zmq;
    void *socket;
    struct event *readable;
    struct event *again; /* what the descriptor does not tell of, when others had their turn */
    server_receive *receive;
    void *context;
};

/* Take a frame with its identity. What has another number of parts is not ours: dropped. */
static void server_take(struct server *server)
{
    zmq_msg_t part[2];
    int parts = mail_take(server->socket, part);

    if (parts == 2)
        server->receive(server->context, zmq_msg_data(&part[0]), zmq_msg_size(&part[0]),
                        zmq_msg_data(&part[1]), zmq_msg_size(&part[1]));
    mail_close(part, parts);
}

static void server_again(struct server *server)
{
    event_add(server->again, &(struct timeval){0, 0});
}

/* ZeroMQ's descriptor tells of changes only: go on until there is no mail, or come back by ourselves. */
static void server_on_readable(evutil_socket_t fd, short what, void *argument)
{
    struct server *server = argument;

    (void)fd;
    (void)what;
    for (unsigned taken = 0; taken < BATCH; taken++) {
        if (!mail_waits(server->socket))
            return;
        server_take(server);
    }
    server_again(server);
}

static int socket_open(struct server *server, const char *address)
{
    const int queue = QUEUE_LIMIT, linger = LINGER_MS, mandatory = 1;
    const int64_t limit = HARD_LIMIT;

    server->zmq = zmq_ctx_new();
    if (server->zmq == NULL)
        return -1;
    server->socket = zmq_socket(server->zmq, ZMQ_ROUTER);
    if (server->socket == NULL)
        return -1;
    zmq_setsockopt(server->socket, ZMQ_SNDHWM, &queue, sizeof(queue));
    zmq_setsockopt(server->socket, ZMQ_RCVHWM, &queue, sizeof(queue));
    zmq_setsockopt(server->socket, ZMQ_LINGER, &linger, sizeof(linger));
    zmq_setsockopt(server->socket, ZMQ_ROUTER_MANDATORY, &mandatory, sizeof(mandatory));
    zmq_setsockopt(server->socket, ZMQ_MAXMSGSIZE, &limit, sizeof(limit));
    return zmq_bind(server->socket, address);
}

struct server *server_create(struct event_base *base, const char *address, server_receive *receive,
                             void *context)
{
    struct server *server = calloc(1, sizeof(*server));
    int fd = -1, saved;
    size_t size = sizeof(fd);

    if (server == NULL)
        return NULL;
    server->receive = receive;
    server->context = context;
    if (socket_open(server, address) != 0 ||
        zmq_getsockopt(server->socket, ZMQ_FD, &fd, &size) != 0)
        goto error;
    server->readable = event_new(base, fd, EV_READ | EV_PERSIST, server_on_readable, server);
    server->again = event_new(base, -1, 0, server_on_readable, server);
    if (server->readable == NULL || server->again == NULL ||
        event_add(server->readable, NULL) != 0) {
        errno = ENOMEM;
        goto error;
    }
    server_again(server);
    return server;
error:
    saved = errno;
    server_destroy(server);
    errno = saved;
    return NULL;
}

void server_destroy(struct server *server)
{
    if (server == NULL)
        return;
    if (server->readable != NULL)
        event_free(server->readable);
    if (server->again != NULL)
        event_free(server->again);
    if (server->socket != NULL)
        zmq_close(server->socket);
    if (server->zmq != NULL)
        zmq_ctx_term(server->zmq);
    free(server);
}

int server_send(struct server *server, const void *identity, size_t identity_size, const void *data,
                size_t size)
{
    int rc = zmq_send(server->socket, identity, identity_size, ZMQ_SNDMORE | ZMQ_DONTWAIT), saved;

    if (rc >= 0)
        rc = zmq_send(server->socket, data, size, ZMQ_DONTWAIT);
    saved = errno;
    /* Sending takes in what happened meanwhile, and the descriptor will not tell again. */
    if (mail_waits(server->socket))
        server_again(server);
    errno = saved;
    return rc < 0 ? -1 : 0;
}
