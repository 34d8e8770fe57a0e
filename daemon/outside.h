/*
 * Clients that come over the network: users on machines that are no nodes, with a key of their own.
 *
 * The transport (CURVE, and ZAP that knows the enrolled keys) has said whose key it is, so that no
 * ticket is needed, and a user who is let in may do what the user of this daemon may, but for sessions.
 * There is no connection at the door whose end would tell of a client's death: who has said nothing for
 * OUTSIDE_SILENCE_MS is taken for gone (clients say Here), and one that speaks again is told to come
 * anew. A key that is revoked ends its clients at once, with a sentence.
 *
 * For control.h these clients have numbers with CONTROL_OUTSIDE in them, and identities that begin with
 * 0, go on with the key and end with what ZeroMQ calls the connection. Those of the local socket are
 * other ones: 5 bytes if ZeroMQ chose them, and not 0 at first if a client did. Nobody can take the
 * place of another key's client.
 */
#ifndef C4P_DAEMON_OUTSIDE_H
#define C4P_DAEMON_OUTSIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/cluster/swim.h"
#include "daemon/control/control.h"

#define OUTSIDE_SILENCE_MS 30000

struct outside;
struct event_base;

struct outside_settings {
    struct control *control; /* borrowed */
    unsigned silence_ms;     /* 0: OUTSIDE_SILENCE_MS */
    /* Send a frame over the connection of this name: 0, or -1 with errno. */
    int (*send)(void *context, const void *identity, size_t identity_size, const void *data,
                size_t size);
    /* This client is to be ended: control_gone(), and what else it takes. */
    void (*cut)(void *context, uint64_t number);
    void *context;
};

/* NULL with errno ENOMEM. Destroy is NULL-safe; it tells nobody. */
struct outside *outside_create(struct event_base *base, const struct outside_settings *settings);
void outside_destroy(struct outside *outside);

/* A frame came from a user with this key. */
void outside_frame(struct outside *outside, const struct node_key *key, const void *identity,
                   size_t identity_size, const void *data, size_t size);
/* A key was revoked: its clients are told, and cut off. */
void outside_revoked(struct outside *outside, const struct node_key *key);

/* Is this identity, as control.h has it, one of ours? */
bool outside_owns(const void *identity, size_t identity_size);
/* Send to it. 0; -1 with errno. */
int outside_send(struct outside *outside, const void *identity, size_t identity_size,
                 const void *data, size_t size);
/* A client has left; nothing happens if it is none of ours. */
void outside_left(struct outside *outside, uint64_t number);
/* Take those for gone that have been silent for too long by this time of clock_ms(). */
void outside_sweep(struct outside *outside, int64_t now);

#endif
