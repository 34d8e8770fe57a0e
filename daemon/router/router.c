#include "daemon/router/router.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "daemon/router/router_internal.h"
#include "proto/inbox.h"

/* Messages taken before others have their turn. */
#define BATCH 256

static void router_on_wake(void *context);

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

/* What it has of the plane, last: from here on the thread sees it. */
static int router_enter(struct router *router, const struct router_nodes *nodes)
{
    struct plane *plane = router->plane;

    if (nodes != NULL && (nodes_open(router, nodes) != 0 || route_open(router, nodes) != 0))
        return -1;
    /* Edge-triggered and never read: its counter and flags are shared with the PEs. */
    if (plane_watch_add(plane, &router->wake, router->segment.router_wake, router_on_wake,
                        router) != 0)
        return -1;
    return plane_enter(plane, router);
}

static void router_leave(struct router *router)
{
    struct plane *plane = router->plane;

    plane_watch_remove(plane, &router->wake);
    collectives_destroy(router->collectives);
    router->collectives = NULL;
    route_close(router);
    nodes_close(router);
    plane_leave(plane, router);
}

void router_free(struct router *router)
{
    free(router->stops);
    region_returns_free(&router->returns);
    region_destroy(router->region);
    segment_close(&router->segment);
    free(router);
}

/* The thread does not know it any more; ZeroMQ may have blocks of its segment still. */
static void router_end(struct router *router)
{
    struct plane *plane = router->plane;
    bool lent;

    plane_lock(plane);
    router_leave(router);
    lent = router->loans > 0;
    if (lent) {
        router->ended = true;
        DL_APPEND(plane->ended, router);
    }
    plane_unlock(plane);
    if (!lent)
        router_free(router);
}

/* The table of first PEs that a segment has, and whether nodes and geometry say the same. */
static int segment_make(struct router *router, struct segment_geometry *geometry,
                        const struct router_nodes *nodes)
{
    uint32_t *first_pes = NULL;
    int rc;

    if (nodes != NULL) {
        if (nodes->count != geometry->nodes || nodes->self != geometry->node) {
            errno = EINVAL;
            return -1;
        }
        first_pes = calloc(nodes->count, sizeof(*first_pes));
        if (first_pes == NULL)
            return -1;
        for (uint32_t i = 0; i < nodes->count; i++)
            first_pes[i] = nodes->nodes[i].first_pe;
    }
    rc = segment_create(&router->segment, geometry, first_pes);
    free(first_pes);
    return rc;
}

static int router_open(struct router *router, struct segment_geometry *geometry,
                       const struct router_nodes *nodes)
{
    struct segment *segment = &router->segment;
    int rc;

    if (segment_make(router, geometry, nodes) != 0)
        return -1;
    segment->router_wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (segment->router_wake < 0)
        return -1;
    router->longest = geometry->slots * (geometry->region_size / C4P_ENVELOPE_SIZE);
    router->region = region_create(segment, segment_router_slot(segment));
    if (router->region == NULL || region_returns_init(&router->returns, segment) != 0 ||
        stops_reserve(router) != 0)
        return -1;
    router->limit = router_remote_limit(router);
    router_clients_init(&router->clients, segment, &router->returns, router->longest);
    router_remotes_init(&router->remotes, router->region, &router->clients);
    inbox_announce_sleep(segment, segment_router_slot(segment));
    plane_lock(router->plane);
    rc = router_enter(router, nodes);
    plane_unlock(router->plane);
    return rc;
}

struct router *router_create(struct plane *plane, struct segment_geometry *geometry,
                             const struct router_nodes *nodes,
                             const struct router_listener *listener)
{
    struct router *router = calloc(1, sizeof(*router));
    int saved;

    if (router == NULL)
        return NULL;
    router->plane = plane;
    router->listener = *listener;
    router->segment.fd = router->segment.router_wake = -1;
    router->tick_at = -1;
    if (router_open(router, geometry, nodes != NULL && nodes->count > 1 ? nodes : NULL) == 0)
        return router;
    saved = errno;
    router_end(router);
    errno = saved;
    return NULL;
}

void router_destroy(struct router *router)
{
    if (router == NULL)
        return;
    for (uint32_t place = 0; place < SEGMENT_CLIENT_SLOTS; place++)
        router_client_leave(router, router->remotes.places[place].endpoint);
    router_end(router);
}

int router_segment_fd(const struct router *router)
{
    return router->segment.fd;
}

int router_wake_fd(const struct router *router)
{
    return router->segment.router_wake;
}

uint64_t router_dropped(struct router *router)
{
    uint64_t dropped;

    plane_lock(router->plane);
    dropped = router->dropped + router->remotes.dropped;
    plane_unlock(router->plane);
    return dropped;
}

/* The segment cannot be trusted any more: report it, once, and let go of it. */
void router_corrupt(struct router *router, const char *what)
{
    if (router->corrupted)
        return;
    router->corrupted = true;
    router->pending = 0;
    router->again = false;
    plane_watch_remove(router->plane, &router->wake);
    news_add(router, NEWS_CORRUPTED, 0, 0, what, strlen(what));
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
    news_add(router, NEWS_STARTED, envelope->source, 0, NULL, 0);
}

static void exit_handle(struct router *router, const struct c4p_envelope *envelope,
                        const char *body)
{
    size_t size = envelope->body_size < ROUTER_MAX_TEXT ? envelope->body_size : ROUTER_MAX_TEXT;

    news_add(router, NEWS_EXITED, envelope->source, (int32_t)envelope->sequence, body, size);
}

static message_handler *const handlers[C4P_KINDS] = {
    [C4P_STARTED] = started_handle,
    [C4P_EXIT] = exit_handle,
};

/* A report of a PE, who is the owner of the region that it lies in: what it says of itself must agree. */
static bool report_handle(struct router *router, uint64_t offset)
{
    const struct segment *segment = &router->segment;
    const struct c4p_envelope *block = segment_block(segment, offset);
    uint32_t owner = segment_owner(segment, offset);
    struct c4p_envelope envelope;

    if (owner >= segment->geometry.local_pes ||
        envelope_check(block, segment_room(segment, offset), segment->geometry.epoch, &envelope) !=
            C4P_ENVELOPE_OK ||
        envelope.body != 0 || handlers[envelope.kind] == NULL ||
        envelope.source != segment->geometry.first_pe + owner)
        return false;
    handlers[envelope.kind](router, &envelope, (const char *)block + C4P_ENVELOPE_SIZE);
    return true;
}

void router_release(struct router *router, uint64_t offset)
{
    if (!router->corrupted)
        router_clients_give_back(&router->clients, offset);
}

/* Handle the message at a valid offset. */
static void message_handle(struct router *router, uint64_t offset)
{
    if (report_handle(router, offset) || route_local(router, offset))
        router_release(router, offset);
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
    return true;
}

/* Take messages until there is none or the batch is full; true: none is left, and we sleep, or nobody
 * has heard the news so far, which are told first. */
static bool router_batch(struct router *router)
{
    const struct segment *segment = &router->segment;

    for (unsigned taken = 0; taken < BATCH; taken++) {
        if (router->news >= ROUTER_MAX_NEWS) {
            region_returns_flush(&router->returns);
            return true;
        }
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

/* Tell the clients that do not map the segment, once, that there may be mail. */
static void mail_announce(struct router *router)
{
    if (router->corrupted || router->mail_told || router->remotes.count == 0)
        return;
    router->mail_told = true;
    news_add(router, NEWS_MAIL, 0, 0, NULL, 0);
}

void router_turn(struct router *router)
{
    router->again = !router_batch(router);
    mail_announce(router);
}

static void router_on_wake(void *context)
{
    struct router *router = context;

    router->again = true;
}

/* Is a queue's word one that a correct program can leave there? */
static bool queue_word_valid(const struct segment *segment, uint64_t word)
{
    return word <= INBOX_ASLEEP || segment_offset_valid(segment, word);
}

void router_look(struct router *router)
{
    const struct segment *segment = &router->segment;
    const struct segment_header *header = segment_header(segment);

    if (router->corrupted)
        return;
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
    router->again = true;
}

void router_drain(struct router *router)
{
    struct plane *plane = router->plane;
    bool more = true;

    /* A PE that goes on sending must not keep us here. */
    for (unsigned batches = 0; more && batches < 64; batches++) {
        plane_lock(plane);
        router_turn(router);
        more = router->again || router->news >= ROUTER_MAX_NEWS;
        plane_unlock(plane);
        for (unsigned told = 0; told <= ROUTER_MAX_NEWS; told++)
            if (!news_tell(plane, router))
                break;
    }
    if (more)
        plane_ring(plane);
}

/* ---- to the PEs ---- */

void router_stop_pes(struct router *router, uint32_t except)
{
    const struct segment *segment = &router->segment;
    const struct segment_geometry *geometry = &segment->geometry;

    plane_lock(router->plane);
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
    plane_unlock(router->plane);
}

void router_wake_pes(struct router *router)
{
    for (uint32_t slot = 0; slot < router->segment.geometry.local_pes; slot++)
        inbox_wake(&router->segment, slot);
}

/* ---- clients ---- */

/* Lock it for something that a corrupt segment is not good for any more. */
static bool router_lock(struct router *router)
{
    plane_lock(router->plane);
    if (!router->corrupted)
        return true;
    plane_unlock(router->plane);
    return false;
}

static void router_unlock(struct router *router)
{
    int saved = errno;

    plane_unlock(router->plane);
    errno = saved;
}

uint32_t router_client_enter(struct router *router)
{
    uint32_t endpoint;

    if (!router_lock(router)) {
        errno = ENOTRECOVERABLE;
        return 0;
    }
    endpoint = router_clients_enter(&router->clients, false);
    router_unlock(router);
    return endpoint;
}

void router_client_leave(struct router *router, uint32_t endpoint)
{
    struct router_remote_listener gone = {.gone = NULL};

    plane_lock(router->plane);
    router_remotes_leave(&router->remotes, endpoint, &gone);
    if (!router->corrupted)
        router_clients_leave(&router->clients, endpoint);
    plane_unlock(router->plane);
    if (gone.gone != NULL)
        gone.gone(gone.context);
}

/* ---- clients that do not map the segment ---- */

uint32_t router_remote_enter(struct router *router, const struct router_remote_listener *listener)
{
    uint32_t endpoint;

    if (!router_lock(router)) {
        errno = ENOTRECOVERABLE;
        return 0;
    }
    endpoint = router_remotes_enter(&router->remotes, listener);
    router_unlock(router);
    return endpoint;
}

bool router_remote_next(struct router *router, uint32_t endpoint, struct c4p_envelope *envelope,
                        const void **body)
{
    bool found;

    if (!router_lock(router))
        return false;
    found = router_remotes_next(&router->remotes, endpoint, envelope, body);
    if (!found && router->remotes.corrupt != NULL)
        corrupt_slot(router, router->remotes.corrupt, router->remotes.corrupt_slot);
    router_unlock(router);
    return found;
}

void router_remote_sent(struct router *router, uint32_t endpoint)
{
    if (!router_lock(router))
        return;
    router_remotes_sent(&router->remotes, endpoint);
    router_unlock(router);
}

enum stream_answer router_remote_begin(struct router *router, uint32_t endpoint,
                                       const struct c4p_envelope *envelope, void **body)
{
    enum stream_answer answer;

    if (!router_lock(router))
        return STREAM_REFUSE;
    answer = router_remotes_begin(&router->remotes, endpoint, envelope, body);
    router_unlock(router);
    return answer;
}

void router_remote_end(struct router *router, uint32_t endpoint)
{
    if (!router_lock(router))
        return;
    router_remotes_end(&router->remotes, endpoint);
    router_unlock(router);
}

uint64_t router_remote_limit(const struct router *router)
{
    return region_limit(router->region) - SEGMENT_ROUTER_RESERVE - C4P_ENVELOPE_SIZE;
}

const struct segment_geometry *router_geometry(const struct router *router)
{
    return &router->segment.geometry;
}
