#include "daemon/control/control.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uthash.h>

#include "daemon/log.h"
#include "daemon/words.h"

/* A client. Only those that were welcomed are kept; before, it lives for one request. */
struct control_peer {
    UT_hash_handle hh;
    uint32_t version;      /* 0 before Hello */
    struct attach_who who; /* before Hello: id 0, unless the transport has said who it is */
    void *data;            /* the service's */
    char name[64];
    size_t identity_size;
    uint8_t identity[CONTROL_MAX_IDENTITY];
};

/* So many of the last that have gone are known: what they sent before may come after. */
#define GONE_LIMIT 64

/* Who a frame is from, as ZeroMQ calls it. */
struct identity {
    size_t size;
    uint8_t bytes[CONTROL_MAX_IDENTITY];
};

struct control {
    struct control_service service;
    uint64_t incarnation;
    const char *host;
    uint32_t max_clients;
    struct control_peer *peers;
    uint64_t refused;
    struct identity gone[GONE_LIMIT]; /* a ring; size 0: free */
    unsigned gone_next;
};

struct control *control_create(const struct control_service *service, uint64_t incarnation,
                               const char *host, uint32_t max_clients)
{
    struct control *control = calloc(1, sizeof(*control));

    if (control == NULL)
        return NULL;
    control->service = *service;
    control->incarnation = incarnation;
    control->host = host;
    control->max_clients = max_clients;
    return control;
}

void control_destroy(struct control *control)
{
    struct control_peer *peer, *next;

    if (control == NULL)
        return;
    HASH_ITER(hh, control->peers, peer, next)
    {
        HASH_DEL(control->peers, peer);
        free(peer);
    }
    free(control);
}

void control_set_limit(struct control *control, uint32_t max_clients)
{
    control->max_clients = max_clients;
}

uint64_t control_refused(const struct control *control)
{
    return control->refused;
}

uint32_t control_count(const struct control *control)
{
    return HASH_COUNT(control->peers);
}

const struct attach_who *control_peer_who(const struct control_peer *peer)
{
    return &peer->who;
}

const char *control_peer_name(const struct control_peer *peer)
{
    return peer->name;
}

bool control_peer_outside(const struct control_peer *peer)
{
    return (peer->who.id & CONTROL_OUTSIDE) != 0;
}

void *control_peer_data(const struct control_peer *peer)
{
    return peer->data;
}

void control_peer_set_data(struct control_peer *peer, void *data)
{
    peer->data = data;
}

struct control_peer *control_find(struct control *control, uint64_t who)
{
    struct control_peer *peer, *next;

    HASH_ITER(hh, control->peers, peer, next)
    {
        if (peer->who.id == who)
            return peer;
    }
    return NULL;
}

static void gone_keep(struct control *control, const struct control_peer *peer)
{
    struct identity *gone = &control->gone[control->gone_next++ % GONE_LIMIT];

    memcpy(gone->bytes, peer->identity, peer->identity_size);
    gone->size = peer->identity_size;
}

static bool gone_knows(const struct control *control, const struct control_peer *peer)
{
    for (size_t i = 0; i < GONE_LIMIT; i++)
        if (control->gone[i].size == peer->identity_size &&
            memcmp(control->gone[i].bytes, peer->identity, peer->identity_size) == 0)
            return true;
    return false;
}

void control_gone(struct control *control, uint64_t who)
{
    struct control_peer *peer = control_find(control, who);

    if (peer == NULL)
        return;
    control->service.left(control->service.context, peer);
    gone_keep(control, peer);
    HASH_DEL(control->peers, peer);
    free(peer);
}

int control_refuse(char reason[CONTROL_REASON_SIZE], const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(reason, CONTROL_REASON_SIZE, format, arguments);
    va_end(arguments);
    return -1;
}

/* ---- sending ---- */

static int event_send(struct control *control, const struct control_peer *peer, uint64_t id,
                      C4p__Event__BodyCase body, void *message)
{
    C4p__Event event = C4P__EVENT__INIT;
    uint8_t *data;
    size_t size;
    int rc;

    event.id = id;
    event.body_case = body;
    event.welcome = message; /* the members of the union are all pointers */
    size = c4p__event__get_packed_size(&event);
    if (size > CONTROL_MAX_MESSAGE) { /* ZeroMQ would end the connection at the other end */
        errno = EMSGSIZE;
        return -1;
    }
    data = malloc(size > 0 ? size : 1);
    if (data == NULL)
        return -1;
    c4p__event__pack(&event, data);
    rc = control->service.send(control->service.context, peer->identity, peer->identity_size, data,
                               size);
    free(data);
    return rc;
}

int control_send(struct control *control, struct control_peer *peer, C4p__Event__BodyCase body,
                 void *message)
{
    return event_send(control, peer, 0, body, message);
}

static void refuse(struct control *control, struct control_peer *peer, uint64_t id,
                   const char *why);

void control_answer(struct control *control, struct control_peer *peer, uint64_t id,
                    C4p__Event__BodyCase body, void *message)
{
    if (event_send(control, peer, id, body, message) == 0)
        return;
    if (errno == EMSGSIZE) {
        refuse(control, peer, id, "the answer is larger than the 1 MiB that a message may have");
        return;
    }
    if (peer->version != 0)
        control->service.lost(control->service.context, peer, errno);
    else
        log_write(LOG_DEBUG, "control", "an answer to a stranger is lost: %s", strerror(errno));
}

static void refuse(struct control *control, struct control_peer *peer, uint64_t id, const char *why)
{
    C4p__Refused refused = C4P__REFUSED__INIT;
    char reason[CONTROL_REASON_SIZE];

    snprintf(reason, sizeof(reason), "%s", why);
    words_clean(reason);
    control->refused++;
    log_write(LOG_INFO, "control", "refused%s%s: %s", peer->name[0] ? " to " : "", peer->name,
              reason);
    refused.reason = reason;
    control_answer(control, peer, id, C4P__EVENT__BODY_REFUSED, &refused);
}

/* ---- Hello ---- */

static int hello_check(struct control *control, const struct control_peer *peer,
                       const C4p__Hello *hello, uint32_t *version, char reason[CONTROL_REASON_SIZE])
{
    *version = control_version_choose(hello->min_version, hello->max_version);
    if (*version == 0) {
        snprintf(reason, CONTROL_REASON_SIZE,
                 "this daemon speaks versions %u to %u of the control protocol, the client %u to "
                 "%u: use a client of the same release",
                 CONTROL_MIN_VERSION, CONTROL_MAX_VERSION, hello->min_version, hello->max_version);
        return -1;
    }
    if (peer->version != 0) {
        snprintf(reason, CONTROL_REASON_SIZE, "Hello was said already");
        return -1;
    }
    if (HASH_COUNT(control->peers) >= control->max_clients) {
        snprintf(reason, CONTROL_REASON_SIZE, "the daemon has %u clients and takes no more",
                 control->max_clients);
        return -1;
    }
    return 0;
}

/* Keep a copy of a peer that has lived on the stack until now. */
static struct control_peer *peer_keep(struct control *control, const struct control_peer *stranger,
                                      const struct attach_who *who, const C4p__Hello *hello,
                                      uint32_t version)
{
    struct control_peer *peer = malloc(sizeof(*peer));

    if (peer == NULL)
        return NULL;
    *peer = *stranger;
    peer->who = *who;
    peer->version = version;
    snprintf(peer->name, sizeof(peer->name), "%s", hello->name);
    words_clean(peer->name); /* it goes into the log */
    HASH_ADD(hh, control->peers, identity, peer->identity_size, peer);
    return peer;
}

static int hello_handle(struct control *control, struct control_peer *peer,
                        const C4p__Request *request, char reason[CONTROL_REASON_SIZE])
{
    const C4p__Hello *hello = request->hello;
    C4p__Welcome welcome = C4P__WELCOME__INIT;
    struct attach_who who = peer->who;

    if (hello_check(control, peer, hello, &welcome.version, reason) != 0)
        return -1;
    if ((!control_peer_outside(peer) &&
         !control->service.redeem(control->service.context, hello->ticket.data, hello->ticket.len,
                                  &who)) ||
        control_find(control, who.id) != NULL) {
        snprintf(reason, CONTROL_REASON_SIZE,
                 "the ticket is not valid, or no longer: attach again");
        return -1;
    }
    peer = peer_keep(control, peer, &who, hello, welcome.version);
    if (peer == NULL) {
        snprintf(reason, CONTROL_REASON_SIZE, "the daemon is out of memory");
        return -1;
    }
    if (control->service.greeted(control->service.context, peer, reason) != 0) {
        HASH_DEL(control->peers, peer);
        free(peer);
        return -1;
    }
    welcome.incarnation = control->incarnation;
    welcome.host = (char *)(uintptr_t)control->host;
    welcome.cluster =
        control->service.cluster != NULL && control->service.cluster(control->service.context);
    control_answer(control, peer, request->id, C4P__EVENT__BODY_WELCOME, &welcome);
    return 0;
}

/* ---- the requests ---- */

/* Who may ask for it. */
enum permission {
    NOBODY = 0,
    ANYBODY,
    CLIENT_OF_USER, /* who was welcomed as the user whose daemon this is */
    CLIENT_HERE     /* ... on this machine */
};

#define SERVICE(member) offsetof(struct control_service, member)

static const struct request_row {
    const char *name;
    enum permission permission;
    size_t handler; /* its place in struct control_service; of Hello and Here, none */
} requests[] = {
    [C4P__REQUEST__BODY_HELLO] = {"Hello", ANYBODY, 0},
    [C4P__REQUEST__BODY_SUBMIT] = {"Submit", CLIENT_OF_USER, SERVICE(submit)},
    [C4P__REQUEST__BODY_FOLLOW] = {"Follow", CLIENT_OF_USER, SERVICE(follow)},
    [C4P__REQUEST__BODY_INPUT] = {"Input", CLIENT_OF_USER, SERVICE(input)},
    [C4P__REQUEST__BODY_OUTPUT_ACK] = {"OutputAck", CLIENT_OF_USER, SERVICE(output_ack)},
    [C4P__REQUEST__BODY_CANCEL] = {"Cancel", CLIENT_OF_USER, SERVICE(cancel)},
    [C4P__REQUEST__BODY_UNFOLLOW] = {"Unfollow", CLIENT_OF_USER, SERVICE(unfollow)},
    [C4P__REQUEST__BODY_LIST] = {"List", CLIENT_OF_USER, SERVICE(list)},
    [C4P__REQUEST__BODY_FIND] = {"Find", CLIENT_OF_USER, SERVICE(find)},
    [C4P__REQUEST__BODY_STATUS] = {"Status", CLIENT_OF_USER, SERVICE(status)},
    [C4P__REQUEST__BODY_OPEN] = {"Open", CLIENT_HERE, SERVICE(open)},
    [C4P__REQUEST__BODY_CLOSE] = {"Close", CLIENT_HERE, SERVICE(close)},
    [C4P__REQUEST__BODY_NODES] = {"Nodes", CLIENT_OF_USER, SERVICE(nodes)},
    [C4P__REQUEST__BODY_OFFER] = {"Offer", CLIENT_OF_USER, SERVICE(offer)},
    [C4P__REQUEST__BODY_HERE] = {"Here", CLIENT_OF_USER, 0},
    [C4P__REQUEST__BODY_BLOB_PUT] = {"BlobPut", CLIENT_OF_USER, SERVICE(blob_put)},
};

#define REQUESTS (sizeof(requests) / sizeof(*requests))

/* Why a peer may not ask for this; NULL: it may. */
static const char *row_forbids(const struct request_row *row, const struct control_peer *peer)
{
    switch (row->permission) {
    case ANYBODY:
        return NULL;
    case CLIENT_OF_USER:
    case CLIENT_HERE:
        if (peer->version == 0)
            return "came before Hello: say Hello first";
        if (peer->who.uid != getuid())
            return "is not for clients of another user";
        if (row->permission == CLIENT_HERE && control_peer_outside(peer))
            return "is about sessions, which need a daemon on this machine (c4pd start, or c4pd "
                   "join on a host of the cluster)";
        return NULL;
    default:
        return "is not for anybody";
    }
}

static int row_handle(const struct request_row *row, struct control *control,
                      struct control_peer *peer, const C4p__Request *request,
                      char reason[CONTROL_REASON_SIZE])
{
    control_handler *handler;

    if (request->body_case == C4P__REQUEST__BODY_HELLO)
        return hello_handle(control, peer, request, reason);
    if (request->body_case == C4P__REQUEST__BODY_HERE)
        return 0; /* that it came was all */
    memcpy(&handler, (const char *)&control->service + row->handler, sizeof(handler));
    return handler(control->service.context, peer, request, reason);
}

static void request_dispatch(struct control *control, struct control_peer *peer,
                             const C4p__Request *request)
{
    char reason[CONTROL_REASON_SIZE] = "";
    const struct request_row *row = &requests[0];
    const char *forbidden;

    if ((size_t)request->body_case < REQUESTS)
        row = &requests[request->body_case];
    forbidden = row_forbids(row, peer);
    if (row->name == NULL)
        snprintf(reason, sizeof(reason), "the request is not one that this daemon knows");
    else if (forbidden != NULL)
        snprintf(reason, sizeof(reason), "%s %s", row->name, forbidden);
    else if (row_handle(row, control, peer, request, reason) == 0)
        return;
    refuse(control, peer, request->id, reason);
}

/* ---- receiving ---- */

bool control_knows(const struct control *control, const void *identity, size_t identity_size)
{
    struct control_peer *peer;

    HASH_FIND(hh, control->peers, identity, identity_size, peer);
    return peer != NULL;
}

void control_receive(struct control *control, const void *identity, size_t identity_size,
                     const void *data, size_t size)
{
    static const struct attach_who nobody;

    control_receive_from(control, &nobody, identity, identity_size, data, size);
}

void control_receive_from(struct control *control, const struct attach_who *who,
                          const void *identity, size_t identity_size, const void *data, size_t size)
{
    struct control_peer stranger = {.version = 0, .who = *who};
    struct control_peer *peer;
    C4p__Request *request;
    char reason[CONTROL_REASON_SIZE];

    if (identity_size == 0 || identity_size > CONTROL_MAX_IDENTITY) {
        control->refused++; /* ZeroMQ makes no such identity: nobody to answer */
        return;
    }
    HASH_FIND(hh, control->peers, identity, identity_size, peer);
    if (peer == NULL) {
        memcpy(stranger.identity, identity, identity_size);
        stranger.identity_size = identity_size;
        peer = &stranger;
    }
    if (size > CONTROL_MAX_MESSAGE) {
        snprintf(reason, sizeof(reason), "a request of %zu bytes is larger than the %u allowed",
                 size, CONTROL_MAX_MESSAGE);
        refuse(control, peer, 0, reason);
        return;
    }
    request = c4p__request__unpack(NULL, size, data);
    if (request == NULL) {
        refuse(control, peer, 0, "the request cannot be decoded: it is no control message");
        return;
    }
    /* The door is another connection: that it was closed may be known before the last requests. */
    if (peer == &stranger && request->body_case != C4P__REQUEST__BODY_HELLO &&
        gone_knows(control, peer))
        log_write(LOG_DEBUG, "control", "a request of a client that is gone comes too late");
    else
        request_dispatch(control, peer, request);
    c4p__request__free_unpacked(request, NULL);
}
