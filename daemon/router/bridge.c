#define _GNU_SOURCE
#include "daemon/router/bridge.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uthash.h>
#include <utlist.h>

#include "daemon/control/server.h"
#include "daemon/log.h"
#include "proto/clock.h"

/* Frames sent to one client before the event loop gets its turn again. */
#define FRAMES_A_TURN 16

/* How often is looked for what nobody rings for: memory in the segment, room in a queue. */
#define LOOK_MS 5

#define ADDRESS_SIZE 128

/* How far a client has come. */
enum stage {
    LINK_EXPECTED, /* it has a ticket */
    LINK_OPEN,     /* it has said HELLO */
    LINK_LEAVING,  /* ... and BYE, but something of it waits for memory */
    LINK_OVER      /* it gets no more */
};

struct link {
    UT_hash_handle hh; /* by identity, from HELLO on */
    struct bridge *bridge;
    struct router *router;
    uint32_t endpoint;
    uint64_t client;
    enum stage stage;
    uint8_t ticket[STREAM_TICKET_SIZE];
    int64_t ticket_end;
    uint8_t *identity;
    size_t identity_size;
    struct stream stream;
    uint8_t *frame; /* made, and not sent: its queue was full */
    size_t frame_size;
    bool failed; /* its owner is to be told */
    char why[STREAM_MAX_SENTENCE];
    struct link *prev, *next;
};

struct bridge {
    struct event_base *base;
    struct bridge_listener listener;
    struct server *server;
    char address[ADDRESS_SIZE];
    struct event *look, *again, *cut;
    struct link *links;      /* all */
    struct link *identities; /* those that have said HELLO */
    unsigned count;
};

static void bridge_on_look(evutil_socket_t fd, short what, void *argument);
static void bridge_on_again(evutil_socket_t fd, short what, void *argument);
static void bridge_on_cut(evutil_socket_t fd, short what, void *argument);

struct bridge *bridge_create(struct event_base *base, const char *address,
                             const struct bridge_listener *listener)
{
    struct bridge *bridge = calloc(1, sizeof(*bridge));
    uint64_t number = 0;

    if (bridge == NULL)
        return NULL;
    bridge->base = base;
    bridge->listener = *listener;
    if (address != NULL)
        snprintf(bridge->address, sizeof(bridge->address), "%s", address);
    else if (getrandom(&number, sizeof(number), 0) == sizeof(number))
        snprintf(bridge->address, sizeof(bridge->address), "ipc://@c4pd-%d-%016llx", (int)getpid(),
                 (unsigned long long)number);
    bridge->look = event_new(base, -1, 0, bridge_on_look, bridge);
    bridge->again = event_new(base, -1, 0, bridge_on_again, bridge);
    bridge->cut = event_new(base, -1, 0, bridge_on_cut, bridge);
    if (bridge->look == NULL || bridge->again == NULL || bridge->cut == NULL) {
        bridge_destroy(bridge);
        errno = ENOMEM;
        return NULL;
    }
    return bridge;
}

void bridge_destroy(struct bridge *bridge)
{
    if (bridge == NULL)
        return;
    while (bridge->links != NULL) /* each takes itself off the list */
        router_client_leave(bridge->links->router, bridge->links->endpoint);
    server_destroy(bridge->server);
    if (bridge->look != NULL)
        event_free(bridge->look);
    if (bridge->again != NULL)
        event_free(bridge->again);
    if (bridge->cut != NULL)
        event_free(bridge->cut);
    free(bridge);
}

unsigned bridge_count(const struct bridge *bridge)
{
    return bridge->count;
}

static void timer_add(struct event *event, unsigned ms)
{
    if (!event_pending(event, EV_TIMEOUT, NULL))
        event_add(event, &(struct timeval){0, (suseconds_t)ms * 1000});
}

/* ---- frames out ---- */

/* Best effort: who does not read needs no reason. */
static void bye_send(struct bridge *bridge, const void *identity, size_t identity_size,
                     const char *sentence)
{
    uint8_t frame[STREAM_MAX_SENTENCE];

    server_send(bridge->server, identity, identity_size, frame, stream_make_bye(frame, sentence));
}

static void link_end(struct link *link, const char *sentence)
{
    if (link->stage == LINK_OPEN || link->stage == LINK_LEAVING)
        bye_send(link->bridge, link->identity, link->identity_size, sentence);
    link->stage = LINK_OVER;
}

/* It is told now and its owner later, who may be in the middle of something with it. */
static void link_fail(struct link *link, const char *why)
{
    snprintf(link->why, sizeof(link->why), "%s", why);
    link_end(link, link->why);
    link->failed = true;
    timer_add(link->bridge->cut, 0);
}

/* Send the frame that is there. False: not now, or never. */
static bool frame_send(struct link *link)
{
    if (server_send(link->bridge->server, link->identity, link->identity_size, link->frame,
                    link->frame_size) == 0) {
        link->frame_size = 0;
        return true;
    }
    if (errno == EAGAIN)
        timer_add(link->bridge->look, LOOK_MS);
    else
        link_fail(link, "the connection is lost");
    return false;
}

/* Send what there is. */
static void link_pump(struct link *link)
{
    if (link->stage != LINK_OPEN)
        return;
    for (unsigned frames = 0; frames < FRAMES_A_TURN; frames++) {
        if (link->frame_size == 0)
            link->frame_size = stream_make(&link->stream, link->frame, STREAM_FRAME);
        if (link->frame_size == 0 || !frame_send(link))
            return;
    }
    timer_add(link->bridge->again, 0);
}

/* After bytes were put away, or not. */
static void link_settle(struct link *link)
{
    if (stream_waits(&link->stream))
        timer_add(link->bridge->look, LOOK_MS);
    else if (link->stage == LINK_LEAVING)
        link_end(link, "all has arrived");
    link_pump(link);
}

static void bridge_on_look(evutil_socket_t fd, short what, void *argument)
{
    struct bridge *bridge = argument;

    (void)fd, (void)what;
    for (struct link *link = bridge->links; link != NULL; link = link->next) {
        if (link->stage != LINK_OPEN && link->stage != LINK_LEAVING)
            continue;
        if (stream_resume(&link->stream) != 0)
            link_fail(link, link->stream.failure);
        else
            link_settle(link);
    }
}

static void bridge_on_again(evutil_socket_t fd, short what, void *argument)
{
    struct bridge *bridge = argument;

    (void)fd, (void)what;
    for (struct link *link = bridge->links; link != NULL; link = link->next)
        link_pump(link);
}

static void bridge_on_cut(evutil_socket_t fd, short what, void *argument)
{
    struct bridge *bridge = argument;
    struct link *link = bridge->links;

    (void)fd, (void)what;
    while (link != NULL) {
        if (!link->failed) {
            link = link->next;
            continue;
        }
        link->failed = false;
        log_write(LOG_WARNING, "bridge", "client %llu is cut off: %s",
                  (unsigned long long)link->client, link->why);
        bridge->listener.failed(bridge->listener.context, link->client);
        link = bridge->links; /* any of them may be gone */
    }
}

/* ---- frames in ---- */

/* In a time that does not tell how much of it was right. */
static bool ticket_equals(const uint8_t *one, const uint8_t *other)
{
    uint8_t difference = 0;

    for (size_t i = 0; i < STREAM_TICKET_SIZE; i++)
        difference |= one[i] ^ other[i];
    __asm__ volatile("" : "+r"(difference)); /* no leaving the loop early */
    return difference == 0;
}

static struct link *ticket_find(struct bridge *bridge, const uint8_t *ticket)
{
    struct link *owner = NULL;

    for (struct link *link = bridge->links; link != NULL; link = link->next)
        if (link->stage == LINK_EXPECTED && ticket_equals(link->ticket, ticket))
            owner = link;
    return owner != NULL && clock_ms() < owner->ticket_end ? owner : NULL;
}

static void link_open(struct link *link, const void *identity, size_t identity_size)
{
    struct bridge *bridge = link->bridge;
    uint8_t hello[2];

    link->identity = malloc(identity_size);
    link->frame = malloc(STREAM_FRAME);
    if (link->identity == NULL || link->frame == NULL) {
        free(link->identity);
        free(link->frame);
        link->identity = link->frame = NULL;
        bye_send(bridge, identity, identity_size, "the daemon is out of memory");
        return;
    }
    memcpy(link->identity, identity, identity_size);
    link->identity_size = identity_size;
    HASH_ADD_KEYPTR(hh, bridge->identities, link->identity, identity_size, link);
    link->stage = LINK_OPEN;
    explicit_bzero(link->ticket, sizeof(link->ticket));
    server_send(bridge->server, identity, identity_size, hello, stream_make_hello(hello, NULL, 0));
    link_pump(link);
}

/* The first frame of somebody. */
static void stranger_hear(struct bridge *bridge, const void *identity, size_t identity_size,
                          const void *data, size_t size)
{
    uint8_t ticket[STREAM_TICKET_SIZE], version;
    char sentence[160];
    struct link *link = NULL;

    if (stream_read_hello(data, size, &version, ticket, sizeof(ticket)))
        link = ticket_find(bridge, ticket);
    if (link != NULL) {
        link_open(link, identity, identity_size);
        return;
    }
    if (version != 0 && version != STREAM_VERSION)
        snprintf(sentence, sizeof(sentence),
                 "this daemon speaks version %d of the data plane, the client %u: use a client of "
                 "the same release",
                 STREAM_VERSION, version);
    else
        snprintf(sentence, sizeof(sentence), "nobody here is known by that ticket (any more)");
    bye_send(bridge, identity, identity_size, sentence);
}

static void link_hear(struct link *link, const uint8_t *data, size_t size)
{
    char sentence[STREAM_MAX_SENTENCE];

    if (link->stage != LINK_OPEN)
        return;
    if (stream_read_bye(data, size, sentence)) {
        link->stage = LINK_LEAVING;
    } else if (stream_take(&link->stream, data, size) != 0) {
        link_fail(link, link->stream.failure);
        return;
    }
    link_settle(link);
}

static void bridge_on_frame(void *context, const void *identity, size_t identity_size,
                            const void *data, size_t size)
{
    struct bridge *bridge = context;
    struct link *link;

    HASH_FIND(hh, bridge->identities, identity, identity_size, link);
    if (link != NULL)
        link_hear(link, data, size);
    else if (identity_size > 0)
        stranger_hear(bridge, identity, identity_size, data, size);
}

/* ---- what the stream and the router ask ---- */

static bool on_next(void *context, struct c4p_envelope *envelope, const void **body)
{
    struct link *link = context;

    return router_remote_next(link->router, link->endpoint, envelope, body);
}

static void on_sent(void *context)
{
    struct link *link = context;

    router_remote_sent(link->router, link->endpoint);
}

static enum stream_answer on_begin(void *context, const struct c4p_envelope *envelope, void **body)
{
    struct link *link = context;

    return router_remote_begin(link->router, link->endpoint, envelope, body);
}

static void on_end(void *context)
{
    struct link *link = context;

    router_remote_end(link->router, link->endpoint);
}

static void on_mail(void *context)
{
    link_pump(context);
}

static void on_gone(void *context)
{
    struct link *link = context;
    struct bridge *bridge = link->bridge;

    link_end(link, "this client has left the session, or the session is over");
    if (link->identity != NULL && link->identity_size > 0)
        HASH_DEL(bridge->identities, link);
    DL_DELETE(bridge->links, link);
    bridge->count--;
    stream_clear(&link->stream);
    free(link->identity);
    free(link->frame);
    explicit_bzero(link->ticket, sizeof(link->ticket));
    free(link);
}

/* ---- letting in ---- */

static int bridge_bind(struct bridge *bridge, char error[BRIDGE_ERROR_SIZE])
{
    mode_t before;

    if (bridge->server != NULL)
        return 0;
    before = umask(0177); /* the socket is ours alone */
    bridge->server = server_create(bridge->base, bridge->address, bridge_on_frame, bridge);
    umask(before);
    if (bridge->server != NULL)
        return 0;
    snprintf(error, BRIDGE_ERROR_SIZE, "%s: cannot be bound: %s", bridge->address, strerror(errno));
    return -1;
}

int bridge_admit(struct bridge *bridge, struct router *router, uint64_t client,
                 struct bridge_ticket *ticket, char error[BRIDGE_ERROR_SIZE])
{
    const struct segment_geometry *geometry = router_geometry(router);
    struct link *link;

    if (bridge_bind(bridge, error) != 0)
        return -1;
    link = calloc(1, sizeof(*link));
    if (link == NULL || getrandom(link->ticket, sizeof(link->ticket), 0) != sizeof(link->ticket)) {
        free(link);
        snprintf(error, BRIDGE_ERROR_SIZE, "the daemon is out of memory");
        return -1;
    }
    link->endpoint =
        router_remote_enter(router, &(struct router_remote_listener){on_mail, on_gone, link});
    if (link->endpoint == 0) {
        snprintf(error, BRIDGE_ERROR_SIZE, "%s",
                 errno == ENOSPC ? ROUTER_CLIENTS_FULL : strerror(errno));
        free(link);
        return -1;
    }
    link->bridge = bridge;
    link->router = router;
    link->client = client;
    link->ticket_end = clock_ms() + BRIDGE_TICKET_SECONDS * 1000;
    stream_init(&link->stream, &(struct stream_owner){on_next, on_sent, on_begin, on_end, link},
                geometry->epoch, router_remote_limit(router));
    DL_APPEND(bridge->links, link);
    bridge->count++;
    ticket->endpoint = link->endpoint;
    ticket->geometry = *geometry;
    ticket->address = bridge->address;
    memcpy(ticket->ticket, link->ticket, sizeof(ticket->ticket));
    return 0;
}
