/*
 * A message of another node, as it is decoded, and what records are taken from it: whatever gets
 * through says again what it said, and fits where it is kept.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/address.h"
#include "daemon/cluster/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool what)
{
    if (!what)
        abort();
}

static void members_check(C4p__Member **members, size_t count)
{
    struct member_record *records, again;
    struct address address;
    C4p__Member **wire;
    size_t good;

    records = members_from_wire(members, count, &good);
    if (records == NULL)
        return;
    must(good <= count && good <= SWIM_MAX_MEMBERS);
    wire = members_to_wire(records, good);
    for (size_t i = 0; wire != NULL && i < good; i++) {
        must(member_from_wire(wire[i], &again));
        must(again.state == records[i].state && again.has_facts == records[i].has_facts);
        must(again.state <= MEMBER_LEFT);
        must(!again.has_facts ||
             (address_parse(again.facts.control, &address) && address_is_numeric(address.host)));
    }
    free(wire);
    free(records);
}

static void keys_check(C4p__Enrolment **keys, size_t count)
{
    struct enrolment record, again;
    const struct enrolment *list[] = {&record};
    C4p__Enrolment **wire;

    for (size_t i = 0; i < count; i++) {
        if (!enrolment_from_wire(keys[i], &record))
            continue;
        wire = enrolments_to_wire(list, 1);
        if (wire == NULL)
            return;
        must(enrolment_from_wire(wire[0], &again));
        must(memcmp(&again, &record, sizeof(again)) == 0);
        free(wire);
    }
}

static void peer_check(const C4p__Peer *peer)
{
    switch (peer->body_case) {
    case C4P__PEER__BODY_PROBE:
        members_check(peer->probe->rumours, peer->probe->n_rumours);
        break;
    case C4P__PEER__BODY_PROBE_FOR:
        members_check(peer->probe_for->rumours, peer->probe_for->n_rumours);
        break;
    case C4P__PEER__BODY_PROBE_ANSWER:
        members_check(peer->probe_answer->rumours, peer->probe_answer->n_rumours);
        break;
    case C4P__PEER__BODY_GOSSIP:
        members_check(peer->gossip->rumours, peer->gossip->n_rumours);
        break;
    case C4P__PEER__BODY_EXCHANGE:
        members_check(peer->exchange->members, peer->exchange->n_members);
        keys_check(peer->exchange->trust, peer->exchange->n_trust);
        break;
    case C4P__PEER__BODY_ENROLLED:
        members_check(peer->enrolled->members, peer->enrolled->n_members);
        keys_check(peer->enrolled->trust, peer->enrolled->n_trust);
        break;
    default:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* Of exactly that size, so that the sanitizer sees a byte too much. */
    uint8_t *bytes = malloc(size ? size : 1);
    C4p__Peer *peer;

    if (bytes == NULL)
        return 0;
    memcpy(bytes, data, size);
    peer = peer_unpack(bytes, size);
    free(bytes);
    if (peer != NULL)
        peer_check(peer);
    peer_free(peer);
    return 0;
}
