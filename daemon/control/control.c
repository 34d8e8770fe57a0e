#include "daemon/control/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#include "daemon/log.h"

/* A client. Only those that were welcomed are kept; before, it lives for one request. */
struct control_peer {
    UT_hash_handle hh;
    uint32_t version; /* 0 before Hello */
    char name[64];
    size_t identity_size;
    uint8_t identity[CONTROL_MAX_IDENTITY];
};

struct control {
    struct control_service service;
    uint64_t incarnation;
    const char *host;
    struct control_peer *peers;
    uint64_t refused;
};

struct control *control_create(const struct control_service *service, uint64_t incarnation,
                               const char *host)
{
    struct control *control = calloc(1, sizeof(*control));

    if (control == NULL)
        return NULL;
    control->service = *service;
    control->incarnation = incarnation;
    control->host = host;
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

uint64_t control_refused(const struct control *control)
{
    return control->refused;
}

/* ---- sending ---- */

void control_send(struct control *control, const struct control_peer *peer, const C4p__Event *event)
{
    size_t size = c4p__event__get_packed_size(event);
    uint8_t *data = malloc(size > 0 ? size : 1);

    if (data == NULL) {
        log_write(LOG_ERROR, "control", "out of memory: an event of %zu bytes is lost", size);
        return;
    }
    c4p__event__pack(event, data);
    control->service.send(control->service.context, peer->identity, peer->identity_size, data,
                          size);
    free(data);
}

static void refuse(struct control *control, const struct control_peer *peer, uint64_t id,
                   const char *reason)
{
    C4p__Refused refused = C4P__REFUSED__INIT;
    C4p__Event event = C4P__EVENT__INIT;

    control->refused++;
    log_write(LOG_INFO, peer->name[0] ? peer->name : "client", "refused: %s", reason);
    refused.reason = (char *)(uintptr_t)reason;
    event.id = id;
    event.body_case = C4P__EVENT__BODY_REFUSED;
    event.refused = &refused;
    control_send(control, peer, &event);
}

/* ---- requests ---- */

typedef int request_handler(struct control *control, struct control_peer *peer,
                            const C4p__Request *request, char reason[CONTROL_REASON_SIZE]);

/* Printable, and short enough for a log line. */
static void name_set(struct control_peer *peer, const char *name)
{
    size_t length = 0;

    for (; *name != '\0' && length < sizeof(peer->name) - 1; name++)
        peer->name[length++] = *name > ' ' && *name < 127 ? *name : '?';
    peer->name[length] = '\0';
}

/* Keep a peer that is to be welcomed. NULL if there are too many. */
static struct control_peer *peer_keep(struct control *control, const struct control_peer *stranger)
{
    struct control_peer *peer;

    if (HASH_COUNT(control->peers) >= CONTROL_MAX_PEERS)
        return NULL;
    peer = malloc(sizeof(*peer));
    if (peer == NULL)
        return NULL;
    *peer = *stranger;
    HASH_ADD(hh, control->peers, identity, peer->identity_size, peer);
    return peer;
}

static int hello_handle(struct control *control, struct control_peer *peer,
                        const C4p__Request *request, char reason[CONTROL_REASON_SIZE])
{
    const C4p__Hello *hello = request->hello;
    uint32_t version = control_version_choose(hello->min_version, hello->max_version);
    C4p__Welcome welcome = C4P__WELCOME__INIT;
    C4p__Event event = C4P__EVENT__INIT;

    name_set(peer, hello->name);
    if (version == 0) {
        snprintf(reason, CONTROL_REASON_SIZE,
                 "this daemon speaks versions %d to %d of the control protocol, the client %u to "
                 "%u: use a client of the same release",
                 CONTROL_MIN_VERSION, CONTROL_MAX_VERSION, hello->min_version, hello->max_version);
        return -1;
    }
    if (peer->version == 0 && (peer = peer_keep(control, peer)) == NULL) {
        snprintf(reason, CONTROL_REASON_SIZE, "the daemon has %d clients and takes no more",
                 CONTROL_MAX_PEERS);
        return -1;
    }
    peer->version = version;
    welcome.version = version;
    welcome.incarnation = control->incarnation;
    welcome.host = (char *)(uintptr_t)control->host;
    event.id = request->id;
    event.body_case = C4P__EVENT__BODY_WELCOME;
    event.welcome = &welcome;
    control_send(control, peer, &event);
    control->service.greeted(control->service.context, peer);
    return 0;
}

static int follow_job(struct control *control, struct control_peer *peer, uint64_t id, uint64_t job,
                      char reason[CONTROL_REASON_SIZE])
{
    C4p__Following following = C4P__FOLLOWING__INIT;
    C4p__Event event = C4P__EVENT__INIT;

    if (control->service.follow(control->service.context, peer, job, reason) != 0)
        return -1;
    following.job = job;
    event.id = id;
    event.body_case = C4P__EVENT__BODY_FOLLOWING;
    event.following = &following;
    control_send(control, peer, &event);
    return 0;
}

static int submit_handle(struct control *control, struct control_peer *peer,
                         const C4p__Request *request, char reason[CONTROL_REASON_SIZE])
{
    C4p__Accepted accepted = C4P__ACCEPTED__INIT;
    C4p__Event event = C4P__EVENT__INIT;
    uint64_t job;

    if (control->service.submit(control->service.context, peer, request->submit, &job, reason) != 0)
        return -1;
    accepted.job = job;
    event.id = request->id;
    event.body_case = C4P__EVENT__BODY_ACCEPTED;
    event.accepted = &accepted;
    control_send(control, peer, &event);
    if (request->submit->follow && follow_job(control, peer, request->id, job, reason) != 0)
        return -1;
    control->service.flow(control->service.context, job);
    return 0;
}

static int follow_handle(struct control *control, struct control_peer *peer,
                         const C4p__Request *request, char reason[CONTROL_REASON_SIZE])
{
    if (follow_job(control, peer, request->id, request->follow->job, reason) != 0)
        return -1;
    control->service.flow(control->service.context, request->follow->job);
    return 0;
}

static int input_handle(struct control *control, struct control_peer *peer,
                        const C4p__Request *request, char reason[CONTROL_REASON_SIZE])
{
    if (request->input->data.len > CONTROL_MAX_PIECE) {
        snprintf(reason, CONTROL_REASON_SIZE, "input of %zu bytes is more than the %u allowed",
                 request->input->data.len, CONTROL_MAX_PIECE);
        return -1;
    }
    return control->service.input(control->service.context, peer, request->input, reason);
}

static int output_ack_handle(struct control *control, struct control_peer *peer,
                             const C4p__Request *request, char reason[CONTROL_REASON_SIZE])
{
    return control->service.output_ack(control->service.context, peer, request->output_ack->job,
                                       request->output_ack->sequence, reason);
}

static int cancel_handle(struct control *control, struct control_peer *peer,
                         const C4p__Request *request, char reason[CONTROL_REASON_SIZE])
{
    return control->service.cancel(control->service.context, peer, request->cancel->job,
                                   request->cancel->kill, reason);
}

/* Who may ask for it. */
enum permission { ANYBODY, GREETED };

static const struct request_row {
    const char *name;
    enum permission permission;
    request_handler *handler;
} requests[] = {
    [C4P__REQUEST__BODY_HELLO] = {"Hello", ANYBODY, hello_handle},
    [C4P__REQUEST__BODY_SUBMIT] = {"Submit", GREETED, submit_handle},
    [C4P__REQUEST__BODY_FOLLOW] = {"Follow", GREETED, follow_handle},
    [C4P__REQUEST__BODY_INPUT] = {"Input", GREETED, input_handle},
    [C4P__REQUEST__BODY_OUTPUT_ACK] = {"OutputAck", GREETED, output_ack_handle},
    [C4P__REQUEST__BODY_CANCEL] = {"Cancel", GREETED, cancel_handle},
};

#define REQUESTS (sizeof(requests) / sizeof(*requests))

static void request_dispatch(struct control *control, struct control_peer *peer,
                             const C4p__Request *request)
{
    char reason[CONTROL_REASON_SIZE] = "";
    const struct request_row *row = &requests[0];

    if ((size_t)request->body_case < REQUESTS)
        row = &requests[request->body_case];
    if (row->handler == NULL)
        snprintf(reason, sizeof(reason), "the request is not one that this daemon knows");
    else if (row->permission == GREETED && peer->version == 0)
        snprintf(reason, sizeof(reason), "%s came before Hello: say Hello first", row->name);
    else if (row->handler(control, peer, request, reason) == 0)
        return;
    refuse(control, peer, request->id, reason);
}

/* ---- receiving ---- */

void control_receive(struct control *control, const void *identity, size_t identity_size,
                     const void *data, size_t size)
{
    struct control_peer stranger = {.version = 0};
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
    request_dispatch(control, peer, request);
    c4p__request__free_unpacked(request, NULL);
}
