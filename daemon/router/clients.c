#include "daemon/router/clients.h"

#include <errno.h>
#include <string.h>

#include "proto/inbox.h"

void router_clients_init(struct router_clients *clients, const struct segment *segment,
                         struct region_returns *returns, uint64_t longest)
{
    memset(clients, 0, sizeof(*clients));
    clients->segment = segment;
    clients->returns = returns;
    clients->longest = longest;
    for (uint32_t place = 0; place < SEGMENT_CLIENT_SLOTS; place++)
        clients->places[place].next = place;
}

static struct segment_endpoint *place_endpoint(const struct router_clients *clients, uint32_t place)
{
    return segment_endpoint(clients->segment, segment_router_slot(clients->segment) + 1 + place);
}

/* ---- giving back ---- */

void router_clients_give_back(struct router_clients *clients, uint64_t offset)
{
    const struct segment *segment = clients->segment;
    uint64_t body = *(const volatile uint64_t *)&segment_block(segment, offset)->body;

    if (body != 0 && segment_offset_valid(segment, body) &&
        atomic_fetch_sub_explicit(&segment_block(segment, body)->refs, 1, memory_order_acq_rel) ==
            1)
        region_returns_add(clients->returns, body, false);
    region_returns_add(clients->returns, offset, false);
}

static void chain_give_back(struct router_clients *clients, uint64_t offset)
{
    for (uint64_t count = 0; count < clients->longest && offset != 0; count++) {
        uint64_t next = inbox_next(clients->segment, offset);

        router_clients_give_back(clients, offset);
        offset = next;
    }
}

/* Blocks of the place's own region that others have returned: counted, which is all we know of. */
static uint64_t returned_count(struct router_clients *clients, struct segment_endpoint *endpoint)
{
    const struct segment *segment = clients->segment;
    uint64_t offset = atomic_exchange_explicit(&endpoint->returns, 0, memory_order_acquire);
    uint64_t total = 0;

    while (segment_offset_valid(segment, offset) && total < clients->longest) {
        struct region_returned copy;

        memcpy(&copy, segment->base + offset, sizeof(copy));
        __asm__ volatile("" ::: "memory"); /* the copy is what is looked at */
        if (copy.count >= REGION_RETURNS_BATCH)
            break;
        total += 1 + copy.count;
        offset = copy.next;
    }
    return total;
}

/* Empty a place where nobody sits. */
static void place_clean(struct router_clients *clients, uint32_t place)
{
    struct segment_endpoint *endpoint = place_endpoint(clients, place);
    uint32_t slot = segment_router_slot(clients->segment) + 1 + place;
    uint64_t mail = atomic_exchange(&endpoint->mail, 0);
    uint64_t returned;

    if (segment_offset_valid(clients->segment, mail))
        chain_give_back(clients, mail);
    chain_give_back(clients, inbox_take(clients->segment, slot));
    region_returns_flush(clients->returns);
    returned = returned_count(clients, endpoint) + atomic_load(&endpoint->returned);
    atomic_store(&endpoint->returned, returned);
    clients->places[place].dirty = returned < atomic_load(&endpoint->handed);
}

void router_clients_clean(struct router_clients *clients)
{
    for (uint32_t place = 0; place < SEGMENT_CLIENT_SLOTS; place++)
        if (clients->places[place].endpoint == 0 &&
            clients->places[place].next >= SEGMENT_CLIENT_SLOTS)
            place_clean(clients, place);
}

/* ---- coming and going ---- */

/* `sent` and `processed` go on from where they are: quiescence needs the sums of all times. */
static void place_prepare(struct segment_endpoint *endpoint, uint32_t address, bool remote)
{
    atomic_store(&endpoint->inbox, 0);
    atomic_store(&endpoint->timers, 0);
    atomic_store(&endpoint->used, 0);
    atomic_store(&endpoint->quiescence_wanted, 0);
    atomic_store(&endpoint->handed, 0);
    atomic_store(&endpoint->returned, 0);
    atomic_store(&endpoint->remote, remote);
    atomic_store(&endpoint->status, ENDPOINT_ATTACHED);
    atomic_store(&endpoint->address, address);
}

uint32_t router_clients_enter(struct router_clients *clients, bool remote)
{
    router_clients_clean(clients);
    for (uint32_t i = 0; i < SEGMENT_CLIENT_SLOTS; i++) {
        struct client_place *place = &clients->places[i];

        if (place->endpoint != 0 || place->dirty || place->next >= ~C4P_ENDPOINT_CLASS)
            continue;
        place->endpoint = C4P_CLIENT | place->next;
        place->next += SEGMENT_CLIENT_SLOTS;
        place_prepare(place_endpoint(clients, i), place->endpoint, remote);
        return place->endpoint;
    }
    errno = ENOSPC;
    return 0;
}

void router_clients_leave(struct router_clients *clients, uint32_t endpoint)
{
    uint32_t i = (endpoint & ~C4P_ENDPOINT_CLASS) % SEGMENT_CLIENT_SLOTS;

    if (endpoint == 0 || clients->places[i].endpoint != endpoint)
        return;
    clients->places[i].endpoint = 0;
    atomic_store(&place_endpoint(clients, i)->address, 0);
    atomic_store(&place_endpoint(clients, i)->remote, 0);
    atomic_store(&place_endpoint(clients, i)->quiescence_wanted, 0);
    atomic_store(&place_endpoint(clients, i)->status, ENDPOINT_ABSENT);
    place_clean(clients, i);
}
