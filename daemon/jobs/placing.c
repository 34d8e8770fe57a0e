#include "daemon/jobs/placing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/jobs/placing_parts.h"

struct placing *placing_create(const struct placing_host *host, uint32_t slots, uint64_t seed)
{
    struct placing *placing = calloc(1, sizeof(*placing));

    if (placing == NULL || (placing->ledger = ledger_create(slots ? slots : UINT32_MAX)) == NULL) {
        free(placing);
        errno = ENOMEM;
        return NULL;
    }
    placing->host = *host;
    placing->seed = seed;
    placing->load_due = placing->wake = -1;
    return placing;
}

static void word_end(struct placing *placing, struct word *word)
{
    HASH_DEL(placing->words, word);
    free(word);
}

void placing_destroy(struct placing *placing)
{
    struct placement *placement, *next_placement;
    struct word *word, *next;

    if (placing == NULL)
        return;
    HASH_ITER(hh, placing->placements, placement, next_placement)
    {
        placement_free(placing, placement);
    }
    HASH_ITER(hh, placing->words, word, next)
    {
        word_end(placing, word);
    }
    probings_drop(placing, NULL);
    ledger_destroy(placing->ledger);
    free(placing);
}

void placing_join(struct placing *placing, const struct placing_peers *peers)
{
    placing->joined = peers != NULL;
    placing->peers = peers != NULL ? *peers : (struct placing_peers){0};
    if (peers == NULL) {
        probings_drop(placing, NULL);
        placements_abandon(placing, "this node has left the cluster");
    }
    /* It was told nothing yet. */
    placing->told = (struct load){.pes = UINT32_MAX};
    placing_moved(placing);
}

void placing_send(struct placing *placing, const struct node_key *to, C4p__Peer *message)
{
    /* What is lost is asked for again; who is lost will be told of by placing_down(). */
    if (placing->joined)
        placing->peers.send(placing->peers.context, to, message);
}

/* ---- time ---- */

static void wake_join(int64_t *wake, int64_t at)
{
    if (at >= 0 && (*wake < 0 || at < *wake))
        *wake = at;
}

static void wake_update(struct placing *placing)
{
    int64_t wake = ledger_expire(placing->ledger, placing_now(placing));
    const struct placement *placement, *next_placement;
    const struct word *word, *next;

    wake_join(&wake, placing->load_due);
    wake_join(&wake, placements_forgive_by(placing, placing_now(placing)));
    HASH_ITER(hh, placing->placements, placement, next_placement)
    {
        wake_join(&wake, placement->reservation != NULL ? placement->wake : -1);
    }
    HASH_ITER(hh, placing->words, word, next)
    {
        wake_join(&wake, word->until);
    }
    if (wake != placing->wake)
        placing->host.wake_at(placing->host.context, wake);
    placing->wake = wake;
}

static struct placement *placement_due(struct placing *placing, int64_t now)
{
    struct placement *placement, *next;

    HASH_ITER(hh, placing->placements, placement, next)
    {
        if (placement->reservation != NULL && placement->wake >= 0 && placement->wake <= now)
            return placement;
    }
    return NULL;
}

static void words_tick(struct placing *placing, int64_t now)
{
    struct word *word, *next;
    bool ended = false;

    HASH_ITER(hh, placing->words, word, next)
    {
        if (word->until > now)
            continue;
        word_end(placing, word);
        ended = true;
    }
    if (ended)
        placing_moved(placing);
}

static void load_tick(struct placing *placing, int64_t now)
{
    const struct load *load = &placing->load;

    if (placing->load_due < 0 || now < placing->load_due)
        return;
    placing->load_due = -1;
    placing->told = *load;
    placing->peers.load(placing->peers.context, load->pes, load->pes_free, load->queued,
                        load->draining);
}

void placing_tick(struct placing *placing)
{
    int64_t now = placing_now(placing);
    struct placement *placement;

    placing->wake = -1;
    while ((placement = placement_due(placing, now)) != NULL) {
        placement->wake = -1;
        reservation_tick(placement->reservation, now);
        placement_act(placing, placement);
    }
    words_tick(placing, now);
    load_tick(placing, now);
    placing_settled(placing);
}

/* ---- what there is ---- */

static void load_update(struct placing *placing)
{
    struct load *load = &placing->load;
    const struct load *told = &placing->told;

    load->pes = ledger_slots(placing->ledger);
    load->pes_free = ledger_free(placing->ledger);
    load->draining = placing->stopped;
    if (!placing->joined || (load->pes == told->pes && load->pes_free == told->pes_free &&
                             load->queued == told->queued && load->draining == told->draining))
        placing->load_due = -1;
    else if (placing->load_due < 0)
        placing->load_due = placing_now(placing) + PLACING_LOAD_MS;
}

void placing_settled(struct placing *placing)
{
    uint32_t used;

    ledger_expire(placing->ledger, placing_now(placing));
    used = ledger_used(placing->ledger);
    if (used != placing->used_before) {
        placing->used_before = used;
        placing->sum_known = false;
        placing->host.changed(placing->host.context);
    }
    load_update(placing);
    wake_update(placing);
}

void placing_moved(struct placing *placing)
{
    placing->sum_known = false;
    placing->host.changed(placing->host.context);
    placing_settled(placing);
}

static struct word *word_find(const struct placing *placing, const struct node_key *node)
{
    struct word *word;

    HASH_FIND(hh, placing->words, node, sizeof(*node), word);
    return word;
}

void placing_believe(struct placing *placing, const struct node_key *node, uint32_t pes_free,
                     int64_t for_ms)
{
    struct word *word = word_find(placing, node);

    if (word == NULL) {
        word = calloc(1, sizeof(*word));
        if (word == NULL)
            return;
        word->node = *node;
        HASH_ADD(hh, placing->words, node, sizeof(word->node), word);
    }
    word->pes_free = pes_free;
    word->until = placing_now(placing) + for_ms;
    placing_moved(placing);
}

static void word_drop(struct placing *placing, const struct node_key *node)
{
    struct word *word = word_find(placing, node);

    if (word != NULL)
        word_end(placing, word);
}

/* Gossip that promises more is tried: what is wrong with it the node says at once. */
static void word_compare(struct placing *placing, const struct member_record *node)
{
    const struct word *word = word_find(placing, &node->key);

    if (word != NULL && node->has_facts && node->facts.pes_free > word->pes_free)
        word_drop(placing, &node->key);
}

/* Who is suspected has its PEs still, but none for us. */
static bool node_take(const struct placing *placing, const struct member_record *record,
                      struct reservation_node *node)
{
    const struct word *word;

    if ((record->state != MEMBER_ALIVE && record->state != MEMBER_SUSPECT) || !record->has_facts ||
        memcmp(&record->key, &placing->peers.self, sizeof(record->key)) == 0)
        return false;
    word = word_find(placing, &record->key);
    *node = (struct reservation_node){
        .node = record->key,
        .name = record->facts.name,
        .pes = record->facts.pes,
        .pes_free = word != NULL ? word->pes_free : record->facts.pes_free,
        .draining = record->facts.draining,
    };
    if (record->state == MEMBER_SUSPECT)
        node->pes_free = 0;
    if (node->pes_free > node->pes)
        node->pes_free = node->pes;
    return true;
}

struct reservation_node *placing_nodes(struct placing *placing, size_t *count)
{
    const struct member_record *const *records = NULL;
    size_t known = placing->joined ? placing->peers.nodes(placing->peers.context, &records) : 0;
    struct reservation_node *nodes = calloc(known + 1, sizeof(*nodes));

    if (nodes == NULL)
        return NULL;
    nodes[0] = (struct reservation_node){
        .node = placing->peers.self,
        .name = "this one",
        .pes = ledger_slots(placing->ledger),
        .pes_free = ledger_free(placing->ledger),
        .self = true,
        .draining = placing->stopped,
    };
    *count = 1;
    for (size_t i = 0; i < known; i++)
        *count += node_take(placing, records[i], &nodes[*count]);
    return nodes;
}

struct placing_figures placing_figures(struct placing *placing)
{
    uint32_t slots = ledger_slots(placing->ledger);
    struct placing_figures figures = {
        .slots = slots < UINT32_MAX ? slots : 0,
        .used = ledger_used(placing->ledger),
        .guests = ledger_guests(placing->ledger),
    };
    char reason[QUEUE_REASON_SIZE];

    placing_room(placing, 0, 1, reason); /* the sum is known then */
    figures.nodes = placing->sum.nodes;
    figures.pes = placing->sum.pes;
    return figures;
}

/* ---- what is heard ---- */

bool placing_message(struct placing *placing, const struct node_key *from, const C4p__Peer *message)
{
    switch (message->body_case) {
    case C4P__PEER__BODY_RESERVE:
        placing_reserve(placing, from, message->reserve);
        break;
    case C4P__PEER__BODY_RESERVED:
        placing_reserved(placing, from, message->reserved);
        break;
    case C4P__PEER__BODY_RELEASE:
        placing_release(placing, from, message->release);
        break;
    default:
        return false;
    }
    placing_settled(placing);
    return true;
}

void placing_up(struct placing *placing, const struct member_record *node)
{
    if (memcmp(&node->key, &placing->peers.self, sizeof(node->key)) == 0)
        return; /* what we have said ourselves */
    word_compare(placing, node);
    placements_forgive(placing, node);
    placing_moved(placing);
}

void placing_down(struct placing *placing, const struct node_key *key, const char *why)
{
    (void)why;
    word_drop(placing, key);
    probings_drop(placing, key);
    ledger_forget(placing->ledger, key);
    placements_lost(placing, key);
    placing_moved(placing);
}

void placing_stop(struct placing *placing, bool stopped)
{
    if (placing->stopped == stopped)
        return;
    placing->stopped = stopped;
    ledger_stop(placing->ledger, stopped);
    placing_moved(placing);
}

void placing_resize(struct placing *placing, uint32_t slots)
{
    ledger_resize(placing->ledger, slots ? slots : UINT32_MAX);
    placing_moved(placing);
}

void placing_queued(struct placing *placing, uint32_t queued)
{
    placing->load.queued = queued;
    placing_settled(placing);
}
