#include "daemon/cluster/dealer.h"

#include <errno.h>
#include <stdatomic.h>
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

int dealer_socket_prepare(void *socket, const char *address, const struct trust_identity *identity)
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

/* ---- what waits ---- */

/* Of messages that are not small. ZeroMQ gives them back in a thread of its own, also after the link
 * is gone. */
struct backlog {
    atomic_size_t bytes;
    atomic_uint users; /* the link, and each message */
};

struct cargo {
    struct backlog *backlog;
    size_t size;
    uint8_t data[];
};

static void backlog_put(struct backlog *backlog)
{
    if (backlog != NULL && atomic_fetch_sub(&backlog->users, 1) == 1)
        free(backlog);
}

static struct backlog *backlog_create(void)
{
    struct backlog *backlog = malloc(sizeof(*backlog));

    if (backlog == NULL)
        return NULL;
    atomic_init(&backlog->bytes, 0);
    atomic_init(&backlog->users, 1);
    return backlog;
}

static void cargo_return(void *data, void *hint)
{
    struct cargo *cargo = hint;
    struct backlog *backlog = cargo->backlog;

    (void)data;
    atomic_fetch_sub(&backlog->bytes, cargo->size);
    free(cargo);
    backlog_put(backlog);
}

/* A message that counts until ZeroMQ has done with it. -1 with errno: EAGAIN, too much waits. */
static int cargo_load(struct backlog *backlog, const void *data, size_t size, zmq_msg_t *message)
{
    struct cargo *cargo;

    if (atomic_load(&backlog->bytes) + size > LINKS_QUEUE_BYTES) {
        errno = EAGAIN;
        return -1;
    }
    cargo = malloc(sizeof(*cargo) + size);
    if (cargo == NULL)
        return -1;
    cargo->backlog = backlog;
    cargo->size = size;
    memcpy(cargo->data, data, size);
    atomic_fetch_add(&backlog->users, 1);
    atomic_fetch_add(&backlog->bytes, size);
    if (zmq_msg_init_data(message, cargo->data, size, cargo_return, cargo) == 0)
        return 0;
    cargo_return(cargo->data, cargo);
    errno = ENOMEM;
    return -1;
}

/* ---- what its connection does ---- */

static void dealer_fail(struct dealer *dealer, int64_t pause)
{
    dealer->finished = true;
    dealer->again = clock_ms() + pause;
}

/* Telling may close the link. */
static void dealer_tell_broke(struct dealer *dealer)
{
    const int64_t now = clock_ms();

    dealer->connected = false;
    if (dealer->told != 0 && now - dealer->told < TOLD_MS)
        return;
    dealer->told = now;
    dealer->owner->broke(dealer->owner->context, &dealer->key);
}

static void dealer_take(struct dealer *dealer, uint16_t event)
{
    switch (event) {
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        dealer->connected = true;
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        dealer_fail(dealer, REFUSED_MS);
        dealer->owner->refused(dealer->owner->context, &dealer->key);
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        /* What is there has another key, or is no node: ZeroMQ does not try again. */
        dealer_fail(dealer, FAILED_MS);
        dealer_tell_broke(dealer);
        break;
    default:
        dealer_tell_broke(dealer);
        break;
    }
}

static void dealer_on_event(void *context, uint16_t event, int value)
{
    struct dealer *dealer = context;

    (void)value;
    if (dealer->finished)
        return;
    dealer->speaking = true;
    dealer_take(dealer, event);
    dealer->speaking = false;
}

/* ---- life ---- */

static int dealer_open(struct dealer *dealer)
{
    const struct option options[] = {
        {ZMQ_SNDHWM, LINKS_QUEUE},         {ZMQ_RCVHWM, 1},
        {ZMQ_RECONNECT_IVL, RECONNECT_MS}, {ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS},
        {ZMQ_CONNECT_TIMEOUT, CONNECT_MS},
    };
    const struct dealer_owner *owner = dealer->owner;
    const int64_t limit = 256; /* nothing comes here */

    dealer->socket = zmq_socket(owner->zmq, ZMQ_DEALER);
    if (dealer->socket == NULL)
        return -1;
    if (options_set(dealer->socket, options, sizeof(options) / sizeof(*options)) != 0 ||
        dealer_socket_prepare(dealer->socket, dealer->address, owner->identity) != 0 ||
        zmq_setsockopt(dealer->socket, ZMQ_MAXMSGSIZE, &limit, sizeof(limit)) != 0 ||
        zmq_setsockopt(dealer->socket, ZMQ_CURVE_PUBLICKEY, owner->identity->public_key.bytes,
                       NODE_KEY_SIZE) != 0 ||
        zmq_setsockopt(dealer->socket, ZMQ_CURVE_SERVERKEY, dealer->key.bytes, NODE_KEY_SIZE) != 0)
        return -1;
    dealer->monitor =
        monitor_create(owner->base, owner->zmq, dealer->socket, EVENTS, dealer_on_event, dealer);
    return dealer->monitor == NULL ? -1 : zmq_connect(dealer->socket, dealer->address);
}

static void dealer_close(struct dealer *dealer, int linger_ms)
{
    monitor_destroy(dealer->monitor);
    dealer->monitor = NULL;
    if (dealer->socket != NULL) {
        zmq_setsockopt(dealer->socket, ZMQ_LINGER, &linger_ms, sizeof(linger_ms));
        zmq_close(dealer->socket);
    }
    dealer->socket = NULL;
    dealer->finished = dealer->connected = false;
}

struct dealer *dealer_create(const struct dealer_owner *owner, const struct node_key *key,
                             const char *address, int64_t now)
{
    struct dealer *dealer = calloc(1, sizeof(*dealer));
    int saved;

    if (dealer == NULL)
        return NULL;
    dealer->owner = owner;
    dealer->key = *key;
    dealer->used = now;
    strncpy(dealer->address, address, NODE_ADDRESS_MAX);
    dealer->backlog = backlog_create();
    if (dealer->backlog != NULL && dealer_open(dealer) == 0)
        return dealer;
    saved = errno;
    dealer_destroy(dealer, 0);
    errno = saved;
    return NULL;
}

void dealer_destroy(struct dealer *dealer, int linger_ms)
{
    if (dealer == NULL)
        return;
    dealer_close(dealer, linger_ms);
    backlog_put(dealer->backlog);
    free(dealer);
}

/* The pause is over: a new socket. */
static bool dealer_is_open(struct dealer *dealer, int64_t now)
{
    if (dealer->finished && !dealer->speaking)
        dealer_close(dealer, 0);
    if (dealer->socket != NULL)
        return !dealer->finished;
    if (now < dealer->again)
        return false;
    if (dealer_open(dealer) == 0)
        return true;
    dealer_close(dealer, 0);
    return false;
}

static int large_send(struct dealer *dealer, const void *data, size_t size)
{
    zmq_msg_t message;
    int saved;

    if (cargo_load(dealer->backlog, data, size, &message) != 0)
        return -1;
    if (zmq_msg_send(&message, dealer->socket, ZMQ_DONTWAIT) >= 0)
        return 0;
    saved = errno;
    zmq_msg_close(&message);
    errno = saved;
    return -1;
}

int dealer_send(struct dealer *dealer, const void *data, size_t size, int64_t now)
{
    if (!dealer_is_open(dealer, now)) {
        errno = EAGAIN;
        return -1;
    }
    dealer->used = now;
    if (size > LINKS_SMALL)
        return large_send(dealer, data, size);
    return zmq_send(dealer->socket, data, size, ZMQ_DONTWAIT) < 0 ? -1 : 0;
}

bool dealer_sweep(struct dealer *dealer, int64_t now)
{
    if (dealer->finished && !dealer->speaking)
        dealer_close(dealer, 0);
    return !dealer->speaking && now - dealer->used >= LINKS_IDLE_MS && now >= dealer->again;
}
