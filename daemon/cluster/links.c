#include "daemon/cluster/links.h"

#include <errno.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <zmq.h>

#include "daemon/cluster/callers.h"
#include "daemon/cluster/dealer.h"
#include "daemon/cluster/record.h"
#include "daemon/cluster/zap.h"
#include "daemon/log.h"
#include "daemon/mail.h"
#include "proto/clock.h"

/* Frames taken before the event loop gets its turn again. */
#define BATCH 64

/* ZeroMQ itself drops the connection of who sends more; up to this, the log says so. */
#define HARD_LIMIT ((int64_t)4 * LINKS_MAX_MESSAGE)

/* Who joins has no more to say than this. */
#define JOINER_LIMIT 4096

/* Frames of one peer that wait for us. */
#define RECEIVE_QUEUE 256

/* Answers, on connections of others. */
#define REPLY_QUEUE 1024

/* At the end: last words that have not left yet get this long. */
#define LINGER_MS 300

#define SWEEP_S 1

/* Sockets of a link (with both ends of its monitor), and descriptors of it. */
#define LINK_SOCKETS 3
#define LINK_DESCRIPTORS 4

struct links {
    struct links_settings settings;
    struct dealer_owner owner;
    void *socket;
    struct callers *callers;
    struct event *readable;
    struct event *again; /* what the descriptor does not tell of, when others had their turn */
    struct event *sweep;
    struct dealer *open; /* by key */
    unsigned limit;
    struct links_figures figures;
    char address[NODE_ADDRESS_MAX + 33];
};

/* ---- what comes ---- */

/* `what` it is that is dropped, and counted. */
static void frame_refuse(struct links *links, const struct node_key *key, const char *what)
{
    char fingerprint[TRUST_FINGERPRINT_SIZE];

    links->figures.refused++;
    key_fingerprint(key, fingerprint);
    refusals_add(links->settings.refusals, "a message of key %s: %s", fingerprint, what);
}

static void message_take(struct links *links, const struct links_origin *origin, const void *data,
                         size_t size)
{
    const struct links_listener *listener = &links->settings.listener;
    const bool joins = origin->role == ROLE_JOINER;
    C4p__Peer *message;

    if (size > (joins ? JOINER_LIMIT : LINKS_MAX_MESSAGE)) {
        frame_refuse(links, &origin->key, "it is larger than allowed");
        return;
    }
    message = peer_unpack(data, size);
    if (message == NULL)
        frame_refuse(links, &origin->key, "it cannot be decoded");
    else if (joins && message->body_case != C4P__PEER__BODY_ENROL)
        frame_refuse(links, &origin->key, "a token is good for joining only");
    else
        listener->received(listener->context, origin, message);
    peer_free(message);
}

/* The role is asked for with every message: a connection that is older than a revocation is worth
 * nothing any more. */
static void frame_take(struct links *links, zmq_msg_t *identity, zmq_msg_t *frame)
{
    const struct links_listener *listener = &links->settings.listener;
    struct links_origin origin = {.identity = zmq_msg_data(identity),
                                  .identity_size = zmq_msg_size(identity)};
    const char *address = zmq_msg_gets(frame, "Peer-Address");
    const void *data = zmq_msg_data(frame);
    size_t size = zmq_msg_size(frame);

    origin.address = address != NULL ? address : "";
    if (zap_key_of(frame, &origin.key) != 0) {
        links->figures.refused++;
        return;
    }
    links->figures.received++;
    links->figures.received_bytes += size;
    origin.role = listener->role(listener->context, &origin.key);
    switch (origin.role) {
    case ROLE_NODE:
    case ROLE_JOINER:
        message_take(links, &origin, data, size);
        break;
    case ROLE_USER:
        listener->user(listener->context, &origin.key, origin.identity, origin.identity_size, data,
                       size);
        break;
    default:
        frame_refuse(links, &origin.key, "this key was revoked");
        break;
    }
}

/* Take a frame with its identity. What has another number of parts is not ours: dropped. */
static void links_take(struct links *links)
{
    zmq_msg_t part[2];
    int parts = mail_take(links->socket, part);

    if (parts == 2)
        frame_take(links, &part[0], &part[1]);
    else
        links->figures.refused++;
    mail_close(part, parts);
}

static void links_again(struct links *links)
{
    event_add(links->again, &(struct timeval){0, 0});
}

/* ZeroMQ's descriptor tells of changes only: go on until there is no mail, or come back by ourselves. */
static void links_on_readable(evutil_socket_t fd, short what, void *argument)
{
    struct links *links = argument;

    (void)fd;
    (void)what;
    for (unsigned taken = 0; taken < BATCH; taken++) {
        if (!mail_waits(links->socket))
            return;
        links_take(links);
    }
    links_again(links);
}

/* ---- the peers ---- */

static struct dealer *dealer_find(struct links *links, const struct node_key *key)
{
    struct dealer *dealer;

    HASH_FIND(hh, links->open, key, sizeof(*key), dealer);
    return dealer;
}

static void dealer_drop(struct links *links, struct dealer *dealer, int linger_ms)
{
    HASH_DEL(links->open, dealer);
    dealer_destroy(dealer, linger_ms);
}

static void links_on_sweep(evutil_socket_t fd, short what, void *argument)
{
    struct links *links = argument;
    const int64_t now = clock_ms();
    struct dealer *dealer, *next;

    (void)fd;
    (void)what;
    HASH_ITER(hh, links->open, dealer, next)
    {
        if (dealer_sweep(dealer, now))
            dealer_drop(links, dealer, 0);
    }
    links_again(links);
}

static void links_on_broke(void *context, const struct node_key *key)
{
    const struct links *links = context;

    links->settings.listener.broke(links->settings.listener.context, key);
}

static void links_on_refused(void *context, const struct node_key *key)
{
    const struct links *links = context;

    links->settings.listener.refused(links->settings.listener.context, key);
}

/* There are too many: the one that was not used for longest goes. */
static void links_make_room(struct links *links)
{
    struct dealer *dealer, *oldest = NULL;

    if (HASH_COUNT(links->open) < links->limit)
        return;
    for (dealer = links->open; dealer != NULL; dealer = dealer->hh.next)
        if (!dealer->speaking && (oldest == NULL || dealer->used < oldest->used))
            oldest = dealer;
    if (oldest != NULL)
        dealer_drop(links, oldest, 0);
}

static struct dealer *dealer_for(struct links *links, const struct node_key *to,
                                 const char *address, int64_t now)
{
    struct dealer *dealer = dealer_find(links, to);

    if (dealer != NULL && strcmp(dealer->address, address) == 0)
        return dealer;
    if (address[0] == '\0' || strlen(address) > NODE_ADDRESS_MAX) {
        errno = EINVAL;
        return NULL;
    }
    if (dealer != NULL && dealer->speaking) {
        errno = EAGAIN;
        return NULL;
    }
    if (dealer != NULL)
        dealer_drop(links, dealer, 0);
    links_make_room(links);
    dealer = dealer_create(&links->owner, to, address, now);
    if (dealer != NULL)
        HASH_ADD(hh, links->open, key, sizeof(dealer->key), dealer);
    return dealer;
}

/* ---- what goes ---- */

int links_send(struct links *links, const struct node_key *to, const char *address,
               C4p__Peer *message)
{
    const int64_t now = clock_ms();
    uint8_t *data;
    size_t size;
    int rc = -1, saved;
    struct dealer *dealer;

    message->version = CLUSTER_VERSION;
    message->incarnation = links->settings.incarnation;
    size = c4p__peer__get_packed_size(message);
    if (size > LINKS_MAX_MESSAGE) {
        errno = EMSGSIZE;
        return -1;
    }
    data = malloc(size + 1);
    if (data == NULL)
        return -1;
    c4p__peer__pack(message, data);
    dealer = dealer_for(links, to, address, now);
    if (dealer != NULL)
        rc = dealer_send(dealer, data, size, now);
    saved = errno;
    free(data);
    if (rc == 0) {
        links->figures.sent++;
        links->figures.sent_bytes += size;
    } else {
        links->figures.dropped++;
    }
    errno = saved;
    return rc;
}

int links_reply(struct links *links, const void *identity, size_t identity_size, const void *data,
                size_t size)
{
    int rc = zmq_send(links->socket, identity, identity_size, ZMQ_SNDMORE | ZMQ_DONTWAIT), saved;

    if (rc >= 0)
        rc = zmq_send(links->socket, data, size, ZMQ_DONTWAIT);
    saved = errno;
    /* Sending takes in what happened meanwhile, and the descriptor will not tell again. */
    if (mail_waits(links->socket))
        links_again(links);
    errno = saved;
    return rc < 0 ? -1 : 0;
}

void links_close(struct links *links, const struct node_key *to)
{
    struct dealer *dealer = dealer_find(links, to);

    if (dealer == NULL)
        return;
    if (!dealer->speaking)
        dealer_drop(links, dealer, 0);
    else
        dealer->finished = true;
}

/* ---- life ---- */

/* Half of what there is of sockets and descriptors, and a quarter: the rest is for others. */
static unsigned limit_find(void *zmq)
{
    struct rlimit files;
    rlim_t sockets = (rlim_t)zmq_ctx_get(zmq, ZMQ_MAX_SOCKETS) / (2 * LINK_SOCKETS);

    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        files.rlim_cur = 1024;
    files.rlim_cur /= 4 * LINK_DESCRIPTORS;
    if (files.rlim_cur < sockets)
        sockets = files.rlim_cur;
    return sockets < 8 ? 8 : sockets < SWIM_MAX_MEMBERS ? (unsigned)sockets : SWIM_MAX_MEMBERS;
}

static int socket_open(struct links *links)
{
    const int receive = RECEIVE_QUEUE, send = REPLY_QUEUE, on = 1;
    const int64_t limit = HARD_LIMIT;
    size_t size = sizeof(links->address);

    links->socket = zmq_socket(links->settings.zmq, ZMQ_ROUTER);
    if (links->socket == NULL || dealer_socket_prepare(links->socket, links->settings.address,
                                                       links->settings.identity) != 0)
        return -1;
    zmq_setsockopt(links->socket, ZMQ_SNDHWM, &send, sizeof(send));
    zmq_setsockopt(links->socket, ZMQ_RCVHWM, &receive, sizeof(receive));
    zmq_setsockopt(links->socket, ZMQ_ROUTER_MANDATORY, &on, sizeof(on));
    zmq_setsockopt(links->socket, ZMQ_MAXMSGSIZE, &limit, sizeof(limit));
    zmq_setsockopt(links->socket, ZMQ_ZAP_DOMAIN, LINKS_DOMAIN, strlen(LINKS_DOMAIN));
    if (zmq_setsockopt(links->socket, ZMQ_CURVE_SERVER, &on, sizeof(on)) != 0)
        return -1;
    links->callers = callers_create(links->owner.base, links->settings.zmq, links->socket,
                                    links->settings.refusals);
    if (links->callers == NULL || zmq_bind(links->socket, links->settings.address) != 0)
        return -1;
    return zmq_getsockopt(links->socket, ZMQ_LAST_ENDPOINT, links->address, &size);
}

static int events_open(struct links *links)
{
    struct event_base *base = links->owner.base;
    int fd = -1;
    size_t size = sizeof(fd);

    if (zmq_getsockopt(links->socket, ZMQ_FD, &fd, &size) != 0)
        return -1;
    links->readable = event_new(base, fd, EV_READ | EV_PERSIST, links_on_readable, links);
    links->again = event_new(base, -1, 0, links_on_readable, links);
    links->sweep = event_new(base, -1, EV_PERSIST, links_on_sweep, links);
    errno = ENOMEM;
    if (links->readable == NULL || links->again == NULL || links->sweep == NULL ||
        event_add(links->readable, NULL) != 0 ||
        event_add(links->sweep, &(struct timeval){SWEEP_S, 0}) != 0)
        return -1;
    links_again(links);
    return 0;
}

struct links *links_create(struct event_base *base, const struct links_settings *settings,
                           char *error)
{
    struct links *links = calloc(1, sizeof(*links));
    int saved = ENOMEM;

    if (links != NULL) {
        links->settings = *settings;
        links->owner = (struct dealer_owner){base,           settings->zmq,    settings->identity,
                                             links_on_broke, links_on_refused, links};
        links->limit = limit_find(settings->zmq);
        if (socket_open(links) == 0 && events_open(links) == 0)
            return links;
        saved = errno;
    }
    snprintf(error, TRUST_ERROR_SIZE, "%.100s: cannot be bound: %s%s", settings->address,
             zmq_strerror(saved),
             saved == EADDRINUSE ? " (another program listens there: choose another port with "
                                   "listen in c4pd.conf, or --listen)"
                                 : "");
    links_destroy(links);
    errno = saved;
    return NULL;
}

void links_destroy(struct links *links)
{
    struct dealer *dealer, *next;

    if (links == NULL)
        return;
    HASH_ITER(hh, links->open, dealer, next)
    {
        dealer_drop(links, dealer, LINGER_MS);
    }
    if (links->readable != NULL)
        event_free(links->readable);
    if (links->again != NULL)
        event_free(links->again);
    if (links->sweep != NULL)
        event_free(links->sweep);
    callers_destroy(links->callers);
    if (links->socket != NULL) {
        const int linger = LINGER_MS;

        zmq_setsockopt(links->socket, ZMQ_LINGER, &linger, sizeof(linger));
        zmq_close(links->socket);
    }
    free(links);
}

const char *links_address(const struct links *links)
{
    return links->address;
}

struct links_figures links_figures(const struct links *links)
{
    struct links_figures figures = links->figures;

    figures.open = HASH_COUNT(links->open);
    return figures;
}
