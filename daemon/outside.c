#define _GNU_SOURCE
#include "daemon/outside.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uthash.h>

#include "daemon/cluster/trust.h"
#include "daemon/log.h"
#include "proto/clock.h"

#define SWEEP_S 1

/* 0, the key, and the name of the connection. */
#define PREFIX (1 + NODE_KEY_SIZE)

struct identity {
    size_t size;
    uint8_t bytes[CONTROL_MAX_IDENTITY];
};

struct stranger {
    UT_hash_handle hh; /* by number */
    uint64_t number;
    struct identity identity;
    int64_t heard;
};

struct outside {
    struct outside_settings settings;
    struct event *sweep;
    struct stranger *clients;
    uint64_t last;
};

/* ---- identities ---- */

/* False: its name is longer than any that ZeroMQ gives. */
static bool identity_make(struct identity *identity, const struct node_key *key, const void *name,
                          size_t size)
{
    if (size == 0 || size > CONTROL_MAX_IDENTITY - PREFIX)
        return false;
    identity->size = PREFIX + size;
    identity->bytes[0] = 0;
    memcpy(identity->bytes + 1, key->bytes, NODE_KEY_SIZE);
    memcpy(identity->bytes + PREFIX, name, size);
    return true;
}

bool outside_owns(const void *identity, size_t identity_size)
{
    return identity_size > PREFIX && *(const uint8_t *)identity == 0;
}

int outside_send(struct outside *outside, const void *identity, size_t identity_size,
                 const void *data, size_t size)
{
    return outside->settings.send(outside->settings.context, (const uint8_t *)identity + PREFIX,
                                  identity_size - PREFIX, data, size);
}

static struct stranger *client_find(struct outside *outside, const struct identity *identity)
{
    struct stranger *client, *next;

    HASH_ITER(hh, outside->clients, client, next)
    {
        if (client->identity.size == identity->size &&
            memcmp(client->identity.bytes, identity->bytes, identity->size) == 0)
            return client;
    }
    return NULL;
}

/* ---- the end of one ---- */

/* It is one no more, or never was. */
static void dismiss(struct outside *outside, const struct identity *identity, const char *reason,
                    bool again)
{
    C4p__Dismissed dismissed = C4P__DISMISSED__INIT;
    C4p__Event event = C4P__EVENT__INIT;
    uint8_t data[512];

    dismissed.reason = (char *)(uintptr_t)reason;
    dismissed.again = again;
    event.body_case = C4P__EVENT__BODY_DISMISSED;
    event.dismissed = &dismissed;
    if (c4p__event__get_packed_size(&event) > sizeof(data))
        return;
    if (outside_send(outside, identity->bytes, identity->size, data,
                     c4p__event__pack(&event, data)) != 0)
        log_write(LOG_DEBUG, "outside", "a client cannot be told that it is none any more: %s",
                  strerror(errno));
}

void outside_left(struct outside *outside, uint64_t number)
{
    struct stranger *client;

    HASH_FIND(hh, outside->clients, &number, sizeof(number), client);
    if (client == NULL)
        return;
    HASH_DEL(outside->clients, client);
    free(client);
}

/* Its record goes with it, by outside_left(). */
static void client_cut(struct outside *outside, const struct stranger *client, const char *why)
{
    log_write(LOG_INFO, "outside", "client %llu is cut off: %s",
              (unsigned long long)(client->number & ~CONTROL_OUTSIDE), why);
    outside->settings.cut(outside->settings.context, client->number);
}

void outside_revoked(struct outside *outside, const struct node_key *key)
{
    struct stranger *client, *next;

    HASH_ITER(hh, outside->clients, client, next)
    {
        if (memcmp(client->identity.bytes + 1, key->bytes, NODE_KEY_SIZE) != 0)
            continue;
        dismiss(outside, &client->identity,
                "your key was revoked: it is good for nothing in this cluster any more", false);
        client_cut(outside, client, "its key was revoked");
    }
}

void outside_sweep(struct outside *outside, int64_t now)
{
    struct stranger *client, *next;

    HASH_ITER(hh, outside->clients, client, next)
    {
        if (now - client->heard >= outside->settings.silence_ms)
            client_cut(outside, client, "nothing was heard of it for too long");
    }
}

/* Only while there is somebody: a daemon without work does not wake up. */
static void sweep_later(struct outside *outside)
{
    if (outside->clients != NULL && !event_pending(outside->sweep, EV_TIMEOUT, NULL))
        event_add(outside->sweep, &(struct timeval){SWEEP_S, 0});
}

static void on_sweep(evutil_socket_t fd, short what, void *argument)
{
    (void)fd, (void)what;
    outside_sweep(argument, clock_ms());
    sweep_later(argument);
}

/* ---- what comes ---- */

static bool is_hello(const void *data, size_t size)
{
    C4p__Request *request =
        size <= CONTROL_MAX_MESSAGE ? c4p__request__unpack(NULL, size, data) : NULL;
    bool hello = request != NULL && request->body_case == C4P__REQUEST__BODY_HELLO;

    if (request != NULL)
        c4p__request__free_unpacked(request, NULL);
    return hello;
}

/* Somebody new; a client from now on if control.h lets it in. */
static void hello_take(struct outside *outside, const struct identity *identity, const void *data,
                       size_t size)
{
    const struct attach_who who = {.id = CONTROL_OUTSIDE | ++outside->last, .uid = getuid()};
    struct stranger *client = calloc(1, sizeof(*client));
    char fingerprint[TRUST_FINGERPRINT_SIZE];
    struct node_key key;

    if (client == NULL) {
        dismiss(outside, identity, "the daemon is out of memory", true);
        return;
    }
    client->number = who.id;
    client->identity = *identity;
    client->heard = clock_ms();
    HASH_ADD(hh, outside->clients, number, sizeof(client->number), client);
    sweep_later(outside);
    control_receive_from(outside->settings.control, &who, identity->bytes, identity->size, data,
                         size);
    if (!control_knows(outside->settings.control, identity->bytes, identity->size)) {
        outside_left(outside, who.id);
        return;
    }
    memcpy(key.bytes, identity->bytes + 1, NODE_KEY_SIZE);
    key_fingerprint(&key, fingerprint);
    log_write(LOG_INFO, "outside", "client %llu has come with key %s",
              (unsigned long long)outside->last, fingerprint);
}

void outside_frame(struct outside *outside, const struct node_key *key, const void *name,
                   size_t name_size, const void *data, size_t size)
{
    struct identity identity;
    struct stranger *client;

    if (!identity_make(&identity, key, name, name_size))
        return;
    client = client_find(outside, &identity);
    if (client == NULL && is_hello(data, size)) {
        hello_take(outside, &identity, data, size);
    } else if (client == NULL) {
        dismiss(outside, &identity,
                "the daemon does not know this client, or has not heard of it for too long: it has "
                "to come anew",
                true);
    } else {
        const struct attach_who who = {.id = client->number, .uid = getuid()};

        client->heard = clock_ms();
        control_receive_from(outside->settings.control, &who, identity.bytes, identity.size, data,
                             size);
    }
}

/* ---- life ---- */

struct outside *outside_create(struct event_base *base, const struct outside_settings *settings)
{
    struct outside *outside = calloc(1, sizeof(*outside));

    if (outside == NULL)
        return NULL;
    outside->settings = *settings;
    if (settings->silence_ms == 0)
        outside->settings.silence_ms = OUTSIDE_SILENCE_MS;
    outside->sweep = event_new(base, -1, 0, on_sweep, outside);
    if (outside->sweep != NULL)
        return outside;
    outside_destroy(outside);
    errno = ENOMEM;
    return NULL;
}

void outside_destroy(struct outside *outside)
{
    struct stranger *client, *next;

    if (outside == NULL)
        return;
    HASH_ITER(hh, outside->clients, client, next)
    {
        HASH_DEL(outside->clients, client);
        free(client);
    }
    if (outside->sweep != NULL)
        event_free(outside->sweep);
    free(outside);
}
