#include "daemon/cluster/link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "daemon/cluster/links.h"
#include "daemon/cluster/monitor.h"
#include "proto/clock.h"

/* Connecting: how long one attempt takes, and how long until the next. */
#define CONNECT_MS 3000
#define RECONNECT_MS 100
#define RECONNECT_MAX_MS 2000
#define HANDSHAKE_MS 5000

/* What was sent and not acknowledged for so long, or a silence that no keepalive answers, ends a
 * connection; membership has noticed by then. */
#define DEAD_MS 10000
#define KEEPALIVE_IDLE_S 10
#define KEEPALIVE_INTERVAL_S 3
#define KEEPALIVE_COUNT 3

/* Who refuses us will do so again: the next attempt is so much later. */
#define REFUSED_MS 5000
#define FAILED_MS 1000

/* News of a broken connection come at most so often. */
#define TOLD_MS 1000

#define EVENTS                                                                                     \
    (ZMQ_EVENT_CONNECT_RETRIED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED |          \
     ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |                  \
     ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)

struct option {
    int name, value;
};

static int options_set(void *socket, const struct option *options, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (zmq_setsockopt(socket, options[i].name, &options[i].value, sizeof(int)) != 0)
            return -1;
    return 0;
}

int link_socket_prepare(void *socket, const char *address, const struct trust_identity *identity)
{
    const struct option options[] = {
        {ZMQ_IPV6, strchr(address, '[') != NULL},
        {ZMQ_LINGER, 0},
        {ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS},
        {ZMQ_TCP_MAXRT, DEAD_MS},
        {ZMQ_TCP_KEEPALIVE, 1},
        {ZMQ_TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S},
        {ZMQ_TCP_KEEPALIVE_INTVL, KEEPALIVE_INTERVAL_S},
        {ZMQ_TCP_KEEPALIVE_CNT, KEEPALIVE_COUNT},
    };

    if (options_set(socket, options, sizeof(options) / sizeof(*options)) != 0)
        return -1;
    return zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, identity->secret_key, 32);
}

/* ---- what its connection does ---- */

static void link_fail(struct link *link, int64_t pause)
{
    link->finished = true;
    link->again = clock_ms() + pause;
}

/* Telling may close the link. */
static void link_tell_broke(struct link *link)
{
    const int64_t now = clock_ms();

    link->connected = false;
    if (link->told != 0 && now - link->told < TOLD_MS)
        return;
    link->told = now;
    link->owner->broke(link->owner->context, &link->key);
}

static void link_take(struct link *link, uint16_t event)
{
    switch (event) {
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        link->connected = true;
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        link_fail(link, REFUSED_MS);
        link->owner->refused(link->owner->context, &link->key);
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        /* What is there has another key, or is no node: ZeroMQ does not try again. */
        link_fail(link, FAILED_MS);
        link_tell_broke(link);
        break;
    default:
        link_tell_broke(link);
        break;
    }
}

static void link_on_event(void *context, uint16_t event, int value)
{
    struct link *link = context;

    (void)value;
    if (link->finished)
        return;
    link->speaking = true;
    link_take(link, event);
    link->speaking = false;
}

/* ---- life ---- */

static int link_open(struct link *link)
{
    const struct option options[] = {
        {ZMQ_SNDHWM, LINKS_QUEUE},         {ZMQ_RCVHWM, 1},
        {ZMQ_RECONNECT_IVL, RECONNECT_MS}, {ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS},
        {ZMQ_CONNECT_TIMEOUT, CONNECT_MS},
    };
    const struct link_owner *owner = link->owner;
    const int64_t limit = 256; /* nothing comes here */

    link->socket = zmq_socket(owner->zmq, ZMQ_DEALER);
    if (link->socket == NULL)
        return -1;
    if (options_set(link->socket, options, sizeof(options) / sizeof(*options)) != 0 ||
        link_socket_prepare(link->socket, link->address, owner->identity) != 0 ||
        zmq_setsockopt(link->socket, ZMQ_MAXMSGSIZE, &limit, sizeof(limit)) != 0 ||
        zmq_setsockopt(link->socket, ZMQ_CURVE_PUBLICKEY, owner->identity->public_key.bytes,
                       NODE_KEY_SIZE) != 0 ||
        zmq_setsockopt(link->socket, ZMQ_CURVE_SERVERKEY, link->key.bytes, NODE_KEY_SIZE) != 0)
        return -1;
    link->monitor =
        monitor_create(owner->base, owner->zmq, link->socket, EVENTS, link_on_event, link);
    return link->monitor == NULL ? -1 : zmq_connect(link->socket, link->address);
}

static void link_close(struct link *link, int linger_ms)
{
    monitor_destroy(link->monitor);
    link->monitor = NULL;
    if (link->socket != NULL) {
        zmq_setsockopt(link->socket, ZMQ_LINGER, &linger_ms, sizeof(linger_ms));
        zmq_close(link->socket);
    }
    link->socket = NULL;
    link->finished = link->connected = false;
}

struct link *link_create(const struct link_owner *owner, const struct node_key *key,
                         const char *address, int64_t now)
{
    struct link *link = calloc(1, sizeof(*link));
    int saved;

    if (link == NULL)
        return NULL;
    link->owner = owner;
    link->key = *key;
    link->used = now;
    strncpy(link->address, address, NODE_ADDRESS_MAX);
    if (link_open(link) == 0)
        return link;
    saved = errno;
    link_destroy(link, 0);
    errno = saved;
    return NULL;
}

void link_destroy(struct link *link, int linger_ms)
{
    if (link == NULL)
        return;
    link_close(link, linger_ms);
    free(link);
}

/* The pause is over: a new socket. */
static bool link_is_open(struct link *link, int64_t now)
{
    if (link->finished && !link->speaking)
        link_close(link, 0);
    if (link->socket != NULL)
        return !link->finished;
    if (now < link->again)
        return false;
    if (link_open(link) == 0)
        return true;
    link_close(link, 0);
    return false;
}

int link_send(struct link *link, const void *data, size_t size, int64_t now)
{
    if (!link_is_open(link, now)) {
        errno = EAGAIN;
        return -1;
    }
    link->used = now;
    return zmq_send(link->socket, data, size, ZMQ_DONTWAIT) < 0 ? -1 : 0;
}

bool link_sweep(struct link *link, int64_t now)
{
    if (link->finished && !link->speaking)
        link_close(link, 0);
    return !link->speaking && now - link->used >= LINKS_IDLE_MS && now >= link->again;
}
