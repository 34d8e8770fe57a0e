#include "daemon/router/remote.h"

#include <errno.h>
#include <string.h>

#include "daemon/router/block.h"
#include "proto/inbox.h"

/* Messages in a row that are dropped before the event loop gets its turn again. */
#define MOST_DROPPED 256

/* What a client may send. */
static const bool allowed[C4P_KINDS] = {
    [C4P_CALL] = true,       [C4P_CREATE] = true, [C4P_FUTURE] = true,
    [C4P_COMPLETION] = true, [C4P_CLASS] = true,  [C4P_CLASS_WANTED] = true,
};

void router_remotes_init(struct router_remotes *remotes, struct region *region,
                         struct router_clients *clients)
{
    memset(remotes, 0, sizeof(*remotes));
    remotes->segment = clients->segment;
    remotes->region = region;
    remotes->returns = clients->returns;
    remotes->clients = clients;
    remotes->longest = clients->longest;
}

static struct remote_place *place_find(struct router_remotes *remotes, uint32_t endpoint)
{
    uint32_t i = (endpoint & ~C4P_ENDPOINT_CLASS) % SEGMENT_CLIENT_SLOTS;

    return endpoint != 0 && remotes->places[i].endpoint == endpoint ? &remotes->places[i] : NULL;
}

/* ---- coming and going ---- */

uint32_t router_remotes_enter(struct router_remotes *remotes,
                              const struct router_remote_listener *listener)
{
    uint32_t endpoint = router_clients_enter(remotes->clients, true);
    struct remote_place *place;

    if (endpoint == 0)
        return 0;
    place = &remotes->places[(endpoint & ~C4P_ENDPOINT_CLASS) % SEGMENT_CLIENT_SLOTS];
    *place = (struct remote_place){.endpoint = endpoint, .listener = *listener};
    remotes->count++;
    return endpoint;
}

void router_remotes_leave(struct router_remotes *remotes, uint32_t endpoint,
                          struct router_remote_listener *listener)
{
    struct remote_place *place = place_find(remotes, endpoint);
    uint32_t slot;

    if (place == NULL)
        return;
    *listener = place->listener;
    slot = segment_client_slot(remotes->segment, endpoint);
    if (place->receiving != 0)
        region_free(remotes->region, place->receiving);
    if (place->sending != 0)
        router_clients_give_back(remotes->clients, place->sending);
    /* What is left of the chain goes the way of that of a client that has died with one. */
    atomic_store(&segment_endpoint(remotes->segment, slot)->mail, place->pending);
    *place = (struct remote_place){.endpoint = 0};
    remotes->count--;
}

void router_remotes_wake(struct router_remotes *remotes)
{
    for (uint32_t i = 0; remotes->count > 0 && i < SEGMENT_CLIENT_SLOTS; i++) {
        struct remote_place *place = &remotes->places[i];

        if (place->endpoint != 0)
            place->listener.mail(place->listener.context);
    }
}

/* ---- out: what is in its inbox ---- */

static void corrupt_set(struct router_remotes *remotes, const char *what, uint32_t slot)
{
    remotes->corrupt = what;
    remotes->corrupt_slot = slot;
}

/* Take a message off the place's chain or inbox: its offset, 0 if there is none. */
static uint64_t message_take(struct router_remotes *remotes, struct remote_place *place)
{
    const struct segment *segment = remotes->segment;
    uint32_t slot = segment_client_slot(segment, place->endpoint);
    uint64_t offset = place->pending;

    if (offset == 0) {
        place->handled = 0;
        errno = 0;
        offset = inbox_take(segment, slot);
        if (offset == 0) {
            if (errno == EBADMSG)
                corrupt_set(remotes, "the queue of %s has an impossible link", slot);
            return 0;
        }
    }
    /* Read before the message is handled: its block may be rewritten at any time. */
    place->pending = __atomic_load_n(&segment_block(segment, offset)->next, __ATOMIC_RELAXED);
    if (place->pending != 0 &&
        (!segment_offset_valid(segment, place->pending) || ++place->handled > remotes->longest)) {
        place->pending = 0;
        corrupt_set(remotes, "a message of %s links to an impossible place",
                    segment_owner(segment, offset));
        return 0;
    }
    return offset;
}

/* Does a message come from who owns the region that it is in? The router's has those of others: of
 * clients like this one, and of other nodes, which were checked when they came. */
static bool source_agrees(const struct segment *segment, uint64_t offset, uint32_t source)
{
    uint32_t owner = segment_owner(segment, offset);

    if (owner == segment_router_slot(segment))
        return source - segment->geometry.first_pe >= segment->geometry.local_pes;

    if (owner < segment->geometry.local_pes)
        return source == segment->geometry.first_pe + owner;
    return (source & C4P_ENDPOINT_CLASS) == C4P_CLIENT &&
           owner == segment_client_slot(segment, source);
}

/* Check the message at a valid offset, and find its body. */
static bool message_check(const struct segment *segment, uint64_t offset, uint32_t endpoint,
                          struct c4p_envelope *copy, const void **body)
{
    return block_read(segment, offset, copy, body) && copy->target == endpoint &&
           source_agrees(segment, offset, copy->source);
}

bool router_remotes_next(struct router_remotes *remotes, uint32_t endpoint,
                         struct c4p_envelope *envelope, const void **body)
{
    struct remote_place *place = place_find(remotes, endpoint);
    uint32_t slot;

    if (place == NULL)
        return false;
    slot = segment_client_slot(remotes->segment, endpoint);
    for (unsigned dropped = 0; dropped < MOST_DROPPED && remotes->corrupt == NULL; dropped++) {
        uint64_t offset = message_take(remotes, place);

        if (remotes->corrupt != NULL)
            break;
        if (offset == 0) {
            region_returns_flush(remotes->returns);
            if (inbox_announce_sleep(remotes->segment, slot))
                return false;
        } else if (message_check(remotes->segment, offset, endpoint, envelope, body)) {
            place->sending = offset;
            return true;
        } else {
            remotes->dropped++;
            router_clients_give_back(remotes->clients, offset);
        }
    }
    return false;
}

void router_remotes_sent(struct router_remotes *remotes, uint32_t endpoint)
{
    struct remote_place *place = place_find(remotes, endpoint);

    if (place == NULL || place->sending == 0)
        return;
    router_clients_give_back(remotes->clients, place->sending);
    place->sending = 0;
}

/* ---- in: what it sends ---- */

/* The slot of who is to get it; `slots` if that is a client that is gone. */
static uint32_t target_slot(const struct segment *segment, uint32_t target)
{
    uint32_t slot = segment_slot(segment, target);

    if (slot < segment->geometry.local_pes)
        return slot;
    if (slot < segment->geometry.slots && slot != segment_router_slot(segment) &&
        atomic_load_explicit(&segment_endpoint(segment, slot)->address, memory_order_acquire) ==
            target)
        return slot;
    return segment->geometry.slots;
}

/* Is it for the router to carry it, to other nodes? */
static bool goes_elsewhere(const struct router_remotes *remotes,
                           const struct c4p_envelope *envelope)
{
    return remotes->elsewhere.reaches != NULL &&
           remotes->elsewhere.reaches(remotes->elsewhere.context, envelope);
}

static uint64_t message_alloc(struct router_remotes *remotes, size_t size)
{
    if (remotes->elsewhere.alloc != NULL)
        return remotes->elsewhere.alloc(remotes->elsewhere.context, size);
    return region_alloc(remotes->region, size);
}

enum stream_answer router_remotes_begin(struct router_remotes *remotes, uint32_t endpoint,
                                        const struct c4p_envelope *envelope, void **body)
{
    const struct segment *segment = remotes->segment;
    struct remote_place *place = place_find(remotes, endpoint);
    uint64_t offset;

    if (place == NULL || envelope->source != endpoint || !allowed[envelope->kind] ||
        (envelope->flags & C4P_MULTICAST))
        return STREAM_REFUSE;
    if (target_slot(segment, envelope->target) == segment->geometry.slots &&
        !goes_elsewhere(remotes, envelope))
        return (envelope->target & C4P_ENDPOINT_CLASS) == C4P_CLIENT ? STREAM_SKIP : STREAM_REFUSE;
    offset = message_alloc(remotes, C4P_ENVELOPE_SIZE + (size_t)envelope->body_size);
    if (offset == 0)
        return errno == ENOMEM ? STREAM_LATER : STREAM_REFUSE;
    memcpy((void *)segment_block(segment, offset), (const void *)envelope, C4P_ENVELOPE_SIZE);
    place->receiving = offset;
    *body = segment->base + offset + C4P_ENVELOPE_SIZE;
    return STREAM_TAKE;
}

void router_remotes_end(struct router_remotes *remotes, uint32_t endpoint)
{
    const struct segment *segment = remotes->segment;
    struct remote_place *place = place_find(remotes, endpoint);
    struct c4p_envelope envelope;
    uint32_t own, slot;
    bool elsewhere;

    if (place == NULL || place->receiving == 0)
        return;
    own = segment_client_slot(segment, endpoint);
    memcpy((void *)&envelope, (void *)segment_block(segment, place->receiving), sizeof(envelope));
    slot = target_slot(segment, envelope.target);
    elsewhere = goes_elsewhere(remotes, &envelope);
    /* Before it is queued, as PEs do: quiescence must never see it received and not sent. */
    if (elsewhere || slot < segment->geometry.local_pes)
        atomic_fetch_add(&segment_endpoint(segment, own)->sent, 1);
    if (elsewhere)
        remotes->elsewhere.send(remotes->elsewhere.context, place->receiving);
    else if (slot < segment->geometry.slots)
        inbox_push(segment, slot, place->receiving);
    else
        region_free(remotes->region, place->receiving); /* it has gone meanwhile */
    place->receiving = 0;
}
