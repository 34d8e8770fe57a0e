/*
 * The ZeroMQ socket of the control plane in the event loop: frames go to
 * control_receive(), and out.
 */
#ifndef C4P_DAEMON_CONTROL_SERVER_H
#define C4P_DAEMON_CONTROL_SERVER_H

#include <stddef.h>

struct event_base;
struct server;

typedef void server_receive(void *context, const void *identity, size_t identity_size,
                            const void *data, size_t size);

/* Bind a ROUTER socket. NULL with errno. */
struct server *server_create(struct event_base *base, const char *address, server_receive *receive,
                             void *context);
/* Frames that have not left are given a moment, no more. NULL-safe. */
void server_destroy(struct server *server);

/* Send one frame to a peer. -1 with errno if the peer is gone or does not read. */
int server_send(struct server *server, const void *identity, size_t identity_size, const void *data,
                size_t size);

#endif
