#include "daemon/router/router.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "daemon/router/clients.h"
#include "proto/inbox.h"
#include "proto/region.h"

/* Messages taken before the event loop gets its turn again. */
#define BATCH 256

/* How often the segment is looked at though nobody rang: a corrupted queue rings no bell. */
#define LOOK_SECONDS 1

struct router {
    struct segment segment;
    struct region *region;
    struct region_returns returns;
    struct router_clients clients;
    struct router_remotes remotes;
    uint64_t *stops; /* a block for each PE's C4P_STOP: room for it there must be, whatever comes */
    struct event *wake;
    struct event *again; /* the rest of the messages, when others had their turn */
    struct event *look;
    struct router_listener listener;
    uint64_t pending; /* next message of the chain taken last, 0: none */
    uint64_t handled; /* messages of that chain so far */
    uint64_t longest; /* more cannot be in a chain */
    uint64_t dropped;
    bool corrupted;
};

static void router_on_wake(evutil_socket_t fd, short what, void *argument);
static void router_on_look(evutil_socket_t fd, short what, void *argument);

static int router_events_create(struct router *router, struct event_base *base)
{
    const struct timeval period = {LOOK_SECONDS, 0};

    router->segment.router_wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (router->segment.router_wake < 0)
        return -1;
    /* Edge-triggered and never read: its counter and flags are shared with the PEs. */
    router->wake = event_new(base, router->segment.router_wake, EV_READ | EV_PERSIST | EV_ET,
                             router_on_wake, router);
    router->again = event_new(base, -1, 0, router_on_wake, router);
    router->look = event_new(base, -1, EV_PERSIST, router_on_look, router);
    if (router->wake == NULL || router->again == NULL || router->look == NULL ||
        event_add(router->wake, NULL) != 0 || event_add(router->look, &period) != 0) {
        errno = ENOMEM;
        return -1;
    }
    return 0;
}

_Static_assert(SEGMENT_MAX_PES * 128 < SEGMENT_ROUTER_RESERVE, "the smallest blocks, for all PEs");

static int stops_reserve(struct router *router)
{
    uint32_t pes = router->segment.geometry.local_pes;

    router->stops = calloc(pes + 1, sizeof(*router->stops));
    if (router->stops == NULL)
        return -1;
    for (uint32_t slot = 0; slot < pes; slot++)
        router->stops[slot] = region_alloc(router->region, C4P_ENVELOPE_SIZE);
    return 0;
}

struct router *router_create(struct event_base *base, struct segment_geometry *geometry,
                             const struct router_listener *listener)
{
    struct router *router = calloc(1, sizeof(*router));
    int saved;

    if (router == NULL)
        return NULL;
    router->listener = *listener;
    if (segment_create(&router->segment, geometry, NULL) != 0) {
        free(router);
        return NULL;
    }
    router->longest = geometry->slots * (geometry->region_size / C4P_ENVELOPE_SIZE);
    router->region = region_create(&router->segment, segment_router_slot(&router->segment));
    if (router->region == NULL || region_returns_init(&router->returns, &router->segment) != 0 ||
        stops_reserve(router) != 0 || router_events_create(router, base) != 0) {
        saved = errno;
        router_destroy(router);
        errno = saved;
        return NULL;
    }
    router_clients_init(&router->clients, &router->segment, &router->returns, router->longest);
    router_remotes_init(&router->remotes, router->region, &router->clients);
    inbox_announce_sleep(&router->segment, segment_router_slot(&router->segment));
    return router;
}

void router_destroy(struct router *router)
{
    if (router == NULL)
        return;
    router_remotes_leave_all(&router->remotes);
    if (router->wake != NULL)
        event_free(router->wake);
    if (router->again != NULL)
        event_free(router->again);
    if (router->look != NULL)
        event_free(router->look);
    free(router->stops);
    region_returns_free(&router->returns);
    region_destroy(router->region);
    segment_close(&router->segment);
    free(router);
}

int router_segment_fd(const struct router *router)
{
    return router->segment.fd;
}

int router_wake_fd(const struct router *router)
{
    return router->segment.router_wake;
}

uint64_t router_dropped(const struct router *router)
{
    return router->dropped + router->remotes.dropped;
}

/* The segment cannot be trusted any more: report it, once, and let go of it. */
static void router_corrupt(struct router *router, const char *what)
{
    if (router->corrupted)
        return;
    router->corrupted = true;
    router->pending = 0;
    event_del(router->wake);
    event_del(router->again);
    event_del(router->look);
    router->listener.corrupted(router->listener.context, what);
}

/* The same with the owner of a slot in the sentence. */
static void corrupt_slot(struct router *router, const char *format, uint32_t slot)
{
    const struct segment_geometry *geometry = &router->segment.geometry;
    char owner[32], what[128];

    if (slot < geometry->local_pes)
        snprintf(owner, sizeof(owner), "PE %u", geometry->first_pe + slot);
    else
        snprintf(owner, sizeof(owner), slot == geometry->local_pes ? "the daemon" : "a client");
    snprintf(what, sizeof(what), format, owner);
    router_corrupt(router, what);
}

/* ---- messages ---- */

typedef void message_handler(struct router *router, const struct c4p_envelope *envelope,
                             const char *body);

static void started_handle(struct router *router, const struct c4p_envelope *envelope,
                           const char *body)
{
    (void)body;
    router->listener.started(router->listener.context, envelope->source);
}

static void exit_handle(struct router *router, const struct c4p_envelope *envelope,
                        const char *body)
{
    size_t size = envelope->body_size < ROUTER_MAX_TEXT ? envelope->body_size : ROUTER_MAX_TEXT;
    char *text = malloc(size + 1);

    if (text == NULL)
        size = 0;
    else
        memcpy(text, body, size);
    router->listener.exited(router->listener.context, envelope->source, (int32_t)envelope->sequence,
                            text, size);
    free(text);
}

static message_handler *const handlers[C4P_KINDS] = {
    [C4P_STARTED] = started_handle,
    [C4P_EXIT] = exit_handle,
};

/*
 * Handle the message at a valid offset. Its sender is who owns the region that
 * it lies in: what it says of itself must agree.
 */
static void message_handle(struct router *router, uint64_t offset)
{
    const struct segment *segment = &router->segment;
    const struct c4p_envelope *block = segment_block(segment, offset);
    uint32_t owner = segment_owner(segment, offset);
    struct c4p_envelope envelope;

    if (owner < segment->geometry.local_pes &&
        envelope_check(block, segment_room(segment, offset), segment->geometry.epoch, &envelope) ==
            C4P_ENVELOPE_OK &&
        envelope.body == 0 && handlers[envelope.kind] != NULL &&
        envelope.source == segment->geometry.first_pe + owner)
        handlers[envelope.kind](router, &envelope, (const char *)block + C4P_ENVELOPE_SIZE);
    else
        router->dropped++;
}

/* Take one message; false if there is none (any more). */
static bool message_take(struct router *router)
{
    const struct segment *segment = &router->segment;
    uint64_t offset = router->pending;

    if (router->corrupted)
        return false;
    if (offset == 0) {
        router->handled = 0;
        errno = 0;
        offset = inbox_take(segment, segment_router_slot(segment));
        if (offset == 0) {
            if (errno == EBADMSG)
                router_corrupt(router, "the daemon's queue has an impossible link");
            return false;
        }
    }
    /* Read before the handler: its block may be rewritten at any time. */
    router->pending = __atomic_load_n(&segment_block(segment, offset)->next, __ATOMIC_RELAXED);
    if (router->pending != 0 &&
        (!segment_offset_valid(segment, router->pending) || ++router->handled > router->longest)) {
        corrupt_slot(router, "a message of %s links to an impossible place",
                     segment_owner(segment, offset));
        return false;
    }
    message_handle(router, offset);
    if (!router->corrupted)
        region_returns_add(&router->returns, offset, false);
    return true;
}

/* Take messages until there is none or the batch is full; true: none is left, and we sleep. */
static bool router_batch(struct router *router)
{
    const struct segment *segment = &router->segment;

    for (unsigned taken = 0; taken < BATCH; taken++) {
        if (message_take(router))
            continue;
        if (router->corrupted)
            return true;
        region_returns_flush(&router->returns);
        if (inbox_announce_sleep(segment, segment_router_slot(segment)))
            return true;
    }
    region_returns_flush(&router->returns);
    return false;
}

static void router_on_wake(evutil_socket_t fd, short what, void *argument)
{
    struct router *router = argument;

    (void)fd;
    (void)what;
    if (!router_batch(router))
        event_add(router->again, &(struct timeval){0, 0});
    if (!router->corrupted)
        router_remotes_wake(&router->remotes);
}

/* Is a queue's word one that a correct program can leave there? */
static bool queue_word_valid(const struct segment *segment, uint64_t word)
{
    return word <= INBOX_ASLEEP || segment_offset_valid(segment, word);
}

static void router_on_look(evutil_socket_t fd, short what, void *argument)
{
    struct router *router = argument;
    const struct segment *segment = &router->segment;
    const struct segment_header *header = segment_header(segment);

    (void)fd;
    (void)what;
    if (header->magic != SEGMENT_MAGIC || header->version != SEGMENT_VERSION ||
        memcmp(&header->geometry, &segment->geometry, sizeof(header->geometry)) != 0) {
        router_corrupt(router, "its header was overwritten");
        return;
    }
    for (uint32_t slot = 0; slot < segment->geometry.slots; slot++) {
        struct segment_endpoint *endpoint = segment_endpoint(segment, slot);

        if (!queue_word_valid(segment, atomic_load(&endpoint->inbox)) ||
            !queue_word_valid(segment, atomic_load(&endpoint->returns))) {
            corrupt_slot(router, "a queue of %s was overwritten", slot);
            return;
        }
    }
    router_clients_clean(&router->clients);
    router_on_wake(fd, what, router);
}

void router_drain(struct router *router)
{
    /* A PE that goes on sending must not keep us here. */
    for (unsigned batches = 0; batches < 64; batches++)
        if (router_batch(router))
            return;
    event_add(router->again, &(struct timeval){0, 0});
}

/* ---- to the PEs ---- */

void router_stop_pes(struct router *router, uint32_t except)
{
    const struct segment *segment = &router->segment;
    const struct segment_geometry *geometry = &segment->geometry;

    for (uint32_t slot = 0; slot < geometry->local_pes && !router->corrupted; slot++) {
        uint32_t pe = geometry->first_pe + slot;
        struct c4p_envelope *block;
        uint64_t offset = router->stops[slot];

        /* One a PE in a job's life is enough. */
        if (pe == except || offset == 0)
            continue;
        router->stops[slot] = 0;
        block = segment_block(segment, offset);
        memset(block, 0, sizeof(*block));
        block->version = C4P_ENVELOPE_VERSION;
        block->kind = C4P_STOP;
        block->epoch = geometry->epoch;
        block->source = C4P_ROUTER | geometry->node;
        block->target = pe;
        inbox_push(segment, slot, offset);
    }
}

void router_wake_pes(struct router *router)
{
    for (uint32_t slot = 0; slot < router->segment.geometry.local_pes; slot++)
        inbox_wake(&router->segment, slot);
}

/* ---- clients ---- */

uint32_t router_client_enter(struct router *router)
{
    if (router->corrupted) {
        errno = ENOTRECOVERABLE;
        return 0;
    }
    return router_clients_enter(&router->clients, false);
}

void router_client_leave(struct router *router, uint32_t endpoint)
{
    router_remotes_leave(&router->remotes, endpoint);
    if (!router->corrupted)
        router_clients_leave(&router->clients, endpoint);
}

/* ---- clients that do not map the segment ---- */

uint32_t router_remote_enter(struct router *router, const struct router_remote_listener *listener)
{
    if (router->corrupted) {
        errno = ENOTRECOVERABLE;
        return 0;
    }
    return router_remotes_enter(&router->remotes, listener);
}

bool router_remote_next(struct router *router, uint32_t endpoint, struct c4p_envelope *envelope,
                        const void **body)
{
    if (router->corrupted)
        return false;
    if (router_remotes_next(&router->remotes, endpoint, envelope, body))
        return true;
    if (router->remotes.corrupt != NULL)
        corrupt_slot(router, router->remotes.corrupt, router->remotes.corrupt_slot);
    return false;
}

void router_remote_sent(struct router *router, uint32_t endpoint)
{
    if (!router->corrupted)
        router_remotes_sent(&router->remotes, endpoint);
}

enum stream_answer router_remote_begin(struct router *router, uint32_t endpoint,
                                       const struct c4p_envelope *envelope, void **body)
{
    if (router->corrupted)
        return STREAM_REFUSE;
    return router_remotes_begin(&router->remotes, endpoint, envelope, body);
}

void router_remote_end(struct router *router, uint32_t endpoint)
{
    if (!router->corrupted)
        router_remotes_end(&router->remotes, endpoint);
}

uint64_t router_remote_limit(const struct router *router)
{
    return region_limit(router->region) - SEGMENT_ROUTER_RESERVE - C4P_ENVELOPE_SIZE;
}

const struct segment_geometry *router_geometry(const struct router *router)
{
    return &router->segment.geometry;
}
