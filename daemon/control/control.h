/*
 * The daemon's end of the control plane: who is connected, what they may ask,
 * and what becomes of a request. Where frames come from and go to is
 * server.c's business, what jobs are is the service's.
 *
 * A frame that is too large, does not parse, asks for something unknown or
 * comes before Hello is answered by Refused with a sentence, and counted.
 */
#ifndef C4P_DAEMON_CONTROL_CONTROL_H
#define C4P_DAEMON_CONTROL_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/control.h"
#include "proto/control.pb-c.h"

/* The longest identity that ZeroMQ gives to a peer. */
#define CONTROL_MAX_IDENTITY 255
#define CONTROL_MAX_PEERS 256
#define CONTROL_REASON_SIZE 320

struct control;
struct control_peer;

/*
 * What the daemon does for its clients. Each returns 0, or -1 with a sentence
 * in `reason` that goes back to the client.
 */
struct control_service {
    int (*submit)(void *context, struct control_peer *peer, const C4p__Submit *submit,
                  uint64_t *job, char reason[CONTROL_REASON_SIZE]);
    int (*follow)(void *context, struct control_peer *peer, uint64_t job,
                  char reason[CONTROL_REASON_SIZE]);
    int (*input)(void *context, struct control_peer *peer, const C4p__Input *input,
                 char reason[CONTROL_REASON_SIZE]);
    int (*output_ack)(void *context, struct control_peer *peer, uint64_t job, uint64_t sequence,
                      char reason[CONTROL_REASON_SIZE]);
    int (*cancel)(void *context, struct control_peer *peer, uint64_t job, bool kill,
                  char reason[CONTROL_REASON_SIZE]);
    /* A client has said Hello and is welcome. */
    void (*greeted)(void *context, struct control_peer *peer);
    /* After an Accepted or Following: events of the job may flow now. */
    void (*flow)(void *context, uint64_t job);
    /* Send a frame. */
    void (*send)(void *context, const void *identity, size_t identity_size, const void *data,
                 size_t size);
    void *context;
};

/* NULL with errno ENOMEM. `host` is borrowed. Destroy is NULL-safe. */
struct control *control_create(const struct control_service *service, uint64_t incarnation,
                               const char *host);
void control_destroy(struct control *control);

/* A frame came. */
void control_receive(struct control *control, const void *identity, size_t identity_size,
                     const void *data, size_t size);

/* Send an event to a client. */
void control_send(struct control *control, const struct control_peer *peer,
                  const C4p__Event *event);

/* Requests refused so far. */
uint64_t control_refused(const struct control *control);

#endif
