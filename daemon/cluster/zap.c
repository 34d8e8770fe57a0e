#include "daemon/cluster/zap.h"
#include "daemon/mail.h"

#include <errno.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENDPOINT "inproc://zeromq.zap.01"
#define VERSION "1.0"

/* Frames of a request: version, id, domain, address, routing id, mechanism, credentials. */
enum { FRAME_VERSION, FRAME_ID, FRAME_DOMAIN, FRAME_ADDRESS, FRAME_ROUTING, FRAME_MECHANISM };
#define FRAMES (FRAME_MECHANISM + 2)
#define FRAME_SIZE 256

/* Requests answered before the event loop gets its turn again. */
#define BATCH 32

#define Z85_SIZE 41 /* of a key, with its NUL */

struct zap {
    struct zap_settings settings;
    void *socket;
    struct event *readable;
    struct event *again; /* what the descriptor does not tell of, when others had their turn */
};

struct request {
    size_t frames; /* more than FRAMES: too many */
    size_t size[FRAMES];
    char text[FRAMES][FRAME_SIZE + 1]; /* a NUL behind each */
};

static const char *role_describe(enum trust_role role)
{
    static const char *const words[] = {
        [ROLE_STRANGER] = "nobody here knows this key",
        [ROLE_REVOKED] = "this key was revoked",
        [ROLE_NODE] = "nodes have no business here",
        [ROLE_USER] = "users have no business here",
        [ROLE_JOINER] = "a token is good for joining only",
    };

    return (size_t)role < sizeof(words) / sizeof(*words) ? words[role] : words[ROLE_STRANGER];
}

static unsigned roles_of(const struct zap *zap, const char *domain)
{
    for (size_t i = 0; i < zap->settings.count; i++)
        if (strcmp(zap->settings.rules[i].domain, domain) == 0)
            return zap->settings.rules[i].roles;
    return 0;
}

/* True: it may come in, as `user`. */
static bool request_judge(struct zap *zap, const struct request *request, char user[Z85_SIZE])
{
    const char *address = request->text[FRAME_ADDRESS], *domain = request->text[FRAME_DOMAIN];
    char fingerprint[TRUST_FINGERPRINT_SIZE];
    enum trust_role role;
    struct node_key key;

    if (request->frames != FRAMES || strcmp(request->text[FRAME_MECHANISM], "CURVE") != 0 ||
        request->size[FRAMES - 1] != NODE_KEY_SIZE) {
        refusals_add(zap->settings.refusals, "%.64s: it does not come under CURVE", address);
        return false;
    }
    memcpy(key.bytes, request->text[FRAMES - 1], NODE_KEY_SIZE);
    role = zap->settings.role(zap->settings.context, &key);
    if ((roles_of(zap, domain) & (1u << role)) != 0)
        return zmq_z85_encode(user, key.bytes, NODE_KEY_SIZE) != NULL;
    key_fingerprint(&key, fingerprint);
    refusals_add(zap->settings.refusals, "%.64s with key %s (%.32s): %s", address, fingerprint,
                 domain, role_describe(role));
    if (role == ROLE_REVOKED && zap->settings.revoked != NULL)
        zap->settings.revoked(zap->settings.context, &key);
    return false;
}

static void answer_send(struct zap *zap, const struct request *request, const char *user)
{
    const struct {
        const char *text;
        size_t size;
    } frames[] = {
        {VERSION, strlen(VERSION)},
        {request->text[FRAME_ID], request->size[FRAME_ID]},
        {user != NULL ? "200" : "400", 3},
        {user != NULL ? "" : "refused", user != NULL ? 0 : 7},
        {user != NULL ? user : "", user != NULL ? strlen(user) : 0},
        {"", 0}, /* no metadata */
    };
    const size_t count = sizeof(frames) / sizeof(*frames);

    for (size_t i = 0; i < count; i++)
        if (zmq_send(zap->socket, frames[i].text, frames[i].size,
                     ZMQ_DONTWAIT | (i + 1 < count ? ZMQ_SNDMORE : 0)) < 0)
            return; /* who asked is gone */
}

/* A whole request; false: there is none. */
static bool request_take(struct zap *zap, struct request *request)
{
    int more = 1;
    size_t option = sizeof(more);

    memset(request, 0, sizeof(*request));
    while (more) {
        char extra[FRAME_SIZE], *text = extra;
        int size;

        if (request->frames < FRAMES)
            text = request->text[request->frames];
        size = zmq_recv(zap->socket, text, FRAME_SIZE, ZMQ_DONTWAIT);
        if (size < 0)
            return false;
        if (request->frames < FRAMES)
            request->size[request->frames] = size > FRAME_SIZE ? FRAME_SIZE : (size_t)size;
        if (request->frames <= FRAMES)
            request->frames++;
        if (zmq_getsockopt(zap->socket, ZMQ_RCVMORE, &more, &option) != 0)
            return false;
    }
    return true;
}

/* ZeroMQ's descriptor tells of changes only: go on until there is no mail, or come back by ourselves. */
static void zap_on_readable(evutil_socket_t fd, short what, void *argument)
{
    struct zap *zap = argument;
    struct request request;

    (void)fd;
    (void)what;
    for (unsigned taken = 0; taken < BATCH; taken++) {
        char user[Z85_SIZE];

        if (!mail_waits(zap->socket) || !request_take(zap, &request))
            return;
        answer_send(zap, &request, request_judge(zap, &request, user) ? user : NULL);
    }
    event_add(zap->again, &(struct timeval){0, 0});
}

static int zap_open(struct zap *zap, struct event_base *base)
{
    const int linger = 0;
    int fd = -1;
    size_t size = sizeof(fd);

    zap->socket = zmq_socket(zap->settings.zmq, ZMQ_REP);
    if (zap->socket == NULL ||
        zmq_setsockopt(zap->socket, ZMQ_LINGER, &linger, sizeof(linger)) != 0 ||
        zmq_bind(zap->socket, ENDPOINT) != 0 ||
        zmq_getsockopt(zap->socket, ZMQ_FD, &fd, &size) != 0)
        return -1;
    zap->readable = event_new(base, fd, EV_READ | EV_PERSIST, zap_on_readable, zap);
    zap->again = event_new(base, -1, 0, zap_on_readable, zap);
    errno = ENOMEM;
    return zap->readable == NULL || zap->again == NULL || event_add(zap->readable, NULL) != 0 ? -1
                                                                                              : 0;
}

struct zap *zap_create(struct event_base *base, const struct zap_settings *settings, char *error)
{
    struct zap *zap = calloc(1, sizeof(*zap));

    if (zap != NULL) {
        zap->settings = *settings;
        if (zap_open(zap, base) == 0)
            return zap;
    }
    snprintf(error, TRUST_ERROR_SIZE, "connections cannot be guarded: %s", zmq_strerror(errno));
    zap_destroy(zap);
    return NULL;
}

void zap_destroy(struct zap *zap)
{
    if (zap == NULL)
        return;
    if (zap->readable != NULL)
        event_free(zap->readable);
    if (zap->again != NULL)
        event_free(zap->again);
    if (zap->socket != NULL)
        zmq_close(zap->socket);
    free(zap);
}

int zap_key_of(zmq_msg_t *message, struct node_key *key)
{
    const char *user = zmq_msg_gets(message, "User-Id");

    if (user == NULL || strlen(user) != Z85_SIZE - 1 || zmq_z85_decode(key->bytes, user) == NULL)
        return -1;
    return 0;
}
