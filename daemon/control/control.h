/*
 * The daemon's end of the control plane: who is connected, what they may ask, and what becomes of a
 * request. Where frames come from and go to is server.c's business, who lets clients in attach.c's,
 * and what the requests mean is the service's.
 *
 * Requests are a table of name, who may, and handler. A frame that is too large, does not parse,
 * asks for something unknown or for what its sender may not is answered by Refused with a sentence,
 * and counted. A client is known from its Hello with a ticket until control_gone(). One that comes over
 * the network (outside.h) needs no ticket, and gets no sessions.
 */
#ifndef C4P_DAEMON_CONTROL_CONTROL_H
#define C4P_DAEMON_CONTROL_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/control/attach.h"
#include "proto/control.h"
#include "proto/control.pb-c.h"

/* The longest identity that ZeroMQ gives to a peer. */
#define CONTROL_MAX_IDENTITY 255
#define CONTROL_REASON_SIZE 400

/* Numbers of clients that did not come through the door: they are never those of attach.h. */
#define CONTROL_OUTSIDE (UINT64_C(1) << 63)

struct control;
struct control_peer;

/* Carry a request out, and answer it: 0; or -1 with a sentence, which is sent as the answer. */
typedef int control_handler(void *context, struct control_peer *peer, const C4p__Request *request,
                            char reason[CONTROL_REASON_SIZE]);

/* What the daemon does for its clients. */
struct control_service {
    control_handler *submit, *follow, *unfollow, *input, *output_ack, *cancel, *list, *find,
        *status, *nodes, *open, *close, *offer, *blob_put;
    /* Whose is the ticket? Once. */
    bool (*redeem)(void *context, const void *ticket, size_t size, struct attach_who *who);
    /* A client is welcome; -1: there is no room for it (with a sentence). And it is gone. */
    int (*greeted)(void *context, struct control_peer *peer, char reason[CONTROL_REASON_SIZE]);
    void (*left)(void *context, struct control_peer *peer);
    /* Are there other hosts? Told to clients when they come. NULL: never. */
    bool (*cluster)(void *context);
    /* Send a frame: 0, or -1 with errno: EAGAIN if the client does not read. */
    int (*send)(void *context, const void *identity, size_t identity_size, const void *data,
                size_t size);
    /* An answer could not be sent: this client is to be cut off, soon. */
    void (*lost)(void *context, struct control_peer *peer, int error);
    void *context;
};

/* NULL with errno ENOMEM. `host` is borrowed. Destroy is NULL-safe; it tells nobody. */
struct control *control_create(const struct control_service *service, uint64_t incarnation,
                               const char *host, uint32_t max_clients);
void control_destroy(struct control *control);
void control_set_limit(struct control *control, uint32_t max_clients);

/* Why a request cannot be served: writes the sentence, returns -1. */
int control_refuse(char reason[CONTROL_REASON_SIZE], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A frame came. */
void control_receive(struct control *control, const void *identity, size_t identity_size,
                     const void *data, size_t size);
/* The same from somebody whom the transport has authenticated: no ticket is needed for Hello. */
void control_receive_from(struct control *control, const struct attach_who *who,
                          const void *identity, size_t identity_size, const void *data,
                          size_t size);
/* Is this identity that of a client? */
bool control_knows(const struct control *control, const void *identity, size_t identity_size);
/* A connection at the door is closed: so is the client that came through it. What it had sent and
 * arrives only now is dropped: it is nobody's fault, and nobody waits for an answer. */
void control_gone(struct control *control, uint64_t who);

/* Answer a request. What cannot be sent makes the service lose the client. */
void control_answer(struct control *control, struct control_peer *peer, uint64_t id,
                    C4p__Event__BodyCase body, void *message);
/* Send an event that answers nothing: 0, or -1 with errno. */
int control_send(struct control *control, struct control_peer *peer, C4p__Event__BodyCase body,
                 void *message);

/* A client: who it is, and what the service keeps of it. */
const struct attach_who *control_peer_who(const struct control_peer *peer);
const char *control_peer_name(const struct control_peer *peer);
bool control_peer_outside(const struct control_peer *peer);
void *control_peer_data(const struct control_peer *peer);
void control_peer_set_data(struct control_peer *peer, void *data);
/* The client behind a connection at the door; NULL: it has not said Hello. */
struct control_peer *control_find(struct control *control, uint64_t who);

uint32_t control_count(const struct control *control);
/* Requests refused so far. */
uint64_t control_refused(const struct control *control);

#endif
