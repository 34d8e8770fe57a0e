/* The shell of swim.h (cluster_internal.h): its messages to and from the wire, and what changes. */
#define _GNU_SOURCE
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cluster/cluster_internal.h"
#include "daemon/cluster/record.h"
#include "daemon/log.h"
#include "proto/clock.h"

/* ---- out ---- */

/* The one message in which all kinds fit. */
struct envelope {
    C4p__Peer peer;
    C4p__Probe probe;
    C4p__ProbeFor probe_for;
    C4p__ProbeAnswer probe_answer;
    C4p__Gossip gossip;
    C4p__Exchange exchange;
};

static void envelope_fill(struct envelope *envelope, const struct swim_message *message,
                          C4p__Member **members)
{
    c4p__peer__init(&envelope->peer);
    switch (message->kind) {
    case SWIM_PROBE:
        envelope->probe = (C4p__Probe)C4P__PROBE__INIT;
        envelope->probe.number = message->number;
        envelope->probe.n_rumours = message->count;
        envelope->probe.rumours = members;
        envelope->peer.body_case = C4P__PEER__BODY_PROBE;
        envelope->peer.probe = &envelope->probe;
        break;
    case SWIM_PROBE_FOR:
        envelope->probe_for = (C4p__ProbeFor)C4P__PROBE_FOR__INIT;
        envelope->probe_for.number = message->number;
        envelope->probe_for.key.len = NODE_KEY_SIZE;
        envelope->probe_for.key.data = (uint8_t *)(uintptr_t)message->about.bytes;
        envelope->probe_for.n_rumours = message->count;
        envelope->probe_for.rumours = members;
        envelope->peer.body_case = C4P__PEER__BODY_PROBE_FOR;
        envelope->peer.probe_for = &envelope->probe_for;
        break;
    case SWIM_PROBE_ANSWER:
        envelope->probe_answer = (C4p__ProbeAnswer)C4P__PROBE_ANSWER__INIT;
        envelope->probe_answer.number = message->number;
        envelope->probe_answer.failed = message->failed;
        envelope->probe_answer.n_rumours = message->count;
        envelope->probe_answer.rumours = members;
        envelope->peer.body_case = C4P__PEER__BODY_PROBE_ANSWER;
        envelope->peer.probe_answer = &envelope->probe_answer;
        break;
    case SWIM_GOSSIP:
        envelope->gossip = (C4p__Gossip)C4P__GOSSIP__INIT;
        envelope->gossip.n_rumours = message->count;
        envelope->gossip.rumours = members;
        envelope->peer.body_case = C4P__PEER__BODY_GOSSIP;
        envelope->peer.gossip = &envelope->gossip;
        break;
    case SWIM_EXCHANGE:
        envelope->exchange = (C4p__Exchange)C4P__EXCHANGE__INIT;
        envelope->exchange.answer = message->answer;
        envelope->exchange.more = message->more;
        envelope->exchange.n_members = message->count;
        envelope->exchange.members = members;
        envelope->peer.body_case = C4P__PEER__BODY_EXCHANGE;
        envelope->peer.exchange = &envelope->exchange;
        break;
    }
}

/* Keys go before the members that have them: a member that is not enrolled is not believed. */
static void keys_go_first(struct cluster *cluster, const struct swim_action *action)
{
    const struct member_record *to = swim_find(cluster->swim, &action->to);

    if (action->message.kind == SWIM_EXCHANGE && !action->message.more &&
        (to == NULL || !to->has_facts || to->facts.trust != cluster->facts.trust))
        cluster_keys_send(cluster, &action->to, action->address, false);
}

static void on_send(struct cluster *cluster, const struct swim_action *action)
{
    const struct swim_message *message = &action->message;
    C4p__Member **members = members_to_wire(message->records, message->count);
    struct envelope envelope;

    if (members == NULL)
        return; /* as if it was lost on the way */
    keys_go_first(cluster, action);
    envelope_fill(&envelope, message, members);
    links_send(cluster->links, &action->to, action->address, &envelope.peer);
    free(members);
}

/* ---- what changes ---- */

static bool is_there(enum member_state state)
{
    return state == MEMBER_ALIVE || state == MEMBER_SUSPECT;
}

/* "by c", if another one has said so. */
static void log_change(struct cluster *cluster, const struct swim_action *action,
                       const struct member_record *now)
{
    const enum log_level level =
        now->state == MEMBER_LOST && is_there(action->before) ? LOG_WARNING : LOG_INFO;
    char name[DESCRIBE_NAME_SIZE], by[DESCRIBE_NAME_SIZE];

    describe_name(cluster, &now->key, name);
    if (action->is_new)
        log_write(level, "cluster", "node %s: %s at %s", name, member_state_name(now->state),
                  now->facts.control);
    else if (action->before != now->state)
        log_write(level, "cluster", "node %s: %s -> %s%s%s", name,
                  member_state_name(action->before), member_state_name(now->state),
                  now->state == MEMBER_SUSPECT || now->state == MEMBER_LOST ? ", says " : "",
                  now->state == MEMBER_SUSPECT || now->state == MEMBER_LOST
                      ? describe_name(cluster, &now->by, by)
                      : "");
    else if (action->restarted)
        log_write(level, "cluster", "node %s: started again", name);
}

static const char *why_down(const struct cluster *cluster, const struct member_record *now)
{
    const struct enrolment *enrolment = trust_find(cluster->trust, &now->key);

    if (enrolment != NULL && enrolment->revoked)
        return "its key was revoked: it does not belong to the cluster any more";
    return now->state == MEMBER_LEFT ? "it was stopped" : "it cannot be reached";
}

static void tell_listener(struct cluster *cluster, const struct swim_action *action,
                          const struct member_record *now)
{
    const struct cluster_listener *listener = &cluster->listener;
    const bool before = !action->is_new && is_there(action->before);

    if (before && (!is_there(now->state) || action->restarted))
        listener->down(listener->context, &now->key,
                       action->restarted && is_there(now->state) ? "it was started again"
                                                                 : why_down(cluster, now));
    if (is_there(now->state))
        listener->up(listener->context, now);
}

static void on_changed(struct cluster *cluster, const struct swim_action *action)
{
    const struct member_record now = *action->member;
    struct known *known = known_get(cluster, &now.key);

    if (key_equal(&now.key, &cluster_identity(cluster)->public_key))
        return;
    if (known != NULL) {
        if (action->is_new || action->before != now.state)
            known->since = clock_day_ms();
        if (now.has_facts && strcmp(known->address, now.facts.control) != 0) {
            memcpy(known->address, now.facts.control, sizeof(known->address));
            cluster->moved = true;
        }
    }
    cluster->stale = true;
    log_change(cluster, action, &now);
    if (now.state == MEMBER_LOST || action->restarted)
        links_close(cluster->links, &now.key);
    tell_listener(cluster, action, &now);
    if (action->is_new || action->before != now.state)
        cluster_changed(cluster);
}

static void on_wake_at(struct cluster *cluster, int64_t at)
{
    int64_t left = at - clock_ms();
    struct timeval time = {0, 0};

    if (left > 0)
        time = (struct timeval){(time_t)(left / 1000), (suseconds_t)(left % 1000 * 1000)};
    event_add(cluster->wake, &time);
}

void cluster_pump(struct cluster *cluster)
{
    struct swim_action action;

    if (!cluster->begun || cluster->pumping)
        return; /* who pumps goes on until nothing is left */
    cluster->pumping = true;
    while (swim_next(cluster->swim, &action))
        switch (action.kind) {
        case SWIM_SEND:
            if (cluster->out[0] == '\0')
                on_send(cluster, &action);
            break;
        case SWIM_CHANGED:
            on_changed(cluster, &action);
            break;
        case SWIM_WAKE_AT:
            on_wake_at(cluster, action.at);
            break;
        }
    cluster->pumping = false;
    if (cluster->moved)
        cluster_write_members(cluster);
}

/* ---- in ---- */

/* Those of nodes that are enrolled: what is said of others is not believed, nor told on. */
static size_t records_sift(const struct cluster *cluster, struct member_record *records,
                           size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++)
        if (cluster_is_node(cluster, &records[i].key))
            records[kept++] = records[i];
    return kept;
}

static void swim_hear(struct cluster *cluster, const struct node_key *from,
                      struct swim_message *message, C4p__Member **members, size_t count)
{
    struct member_record *records = members_from_wire(members, count, &message->count);

    if (records == NULL)
        return; /* as if it was lost on the way */
    message->count = records_sift(cluster, records, message->count);
    message->records = records;
    swim_receive(cluster->swim, from, message, clock_ms());
    free(records);
    cluster_pump(cluster);
}

bool cluster_is_twin(struct cluster *cluster, const struct links_origin *from, uint64_t incarnation)
{
    const struct member_record *member = cluster_find(cluster, &from->key);
    struct known *known = known_find(cluster, &from->key);
    const int64_t now = clock_ms();

    if (member == NULL || known == NULL || incarnation >= member->incarnation)
        return false;
    if (known->twin_last == 0 || now - known->twin_last > TWIN_KEPT_MS) {
        known->twin_first = now;
        known->twin = false;
    }
    known->twin_last = now;
    if (now - known->twin_first < TWIN_MS)
        return false;
    if (!known->twin) {
        known->twin = true;
        snprintf(known->twin_host, sizeof(known->twin_host), "%s", from->address);
        log_write(LOG_ERROR, "cluster",
                  "two daemons run with the key of node %s, the newer one at %s, the other on host "
                  "%s: was its state directory copied?",
                  cluster_name_of(cluster, &from->key), known->address, known->twin_host);
        cluster_changed(cluster);
    }
    return true;
}

void cluster_hear(struct cluster *cluster, const struct node_key *from, const C4p__Peer *peer)
{
    struct swim_message message = {.incarnation = peer->incarnation};

    switch (peer->body_case) {
    case C4P__PEER__BODY_PROBE:
        message.kind = SWIM_PROBE;
        message.number = peer->probe->number;
        swim_hear(cluster, from, &message, peer->probe->rumours, peer->probe->n_rumours);
        break;
    case C4P__PEER__BODY_PROBE_FOR:
        if (peer->probe_for->key.len != NODE_KEY_SIZE)
            break;
        message.kind = SWIM_PROBE_FOR;
        message.number = peer->probe_for->number;
        memcpy(message.about.bytes, peer->probe_for->key.data, NODE_KEY_SIZE);
        swim_hear(cluster, from, &message, peer->probe_for->rumours, peer->probe_for->n_rumours);
        break;
    case C4P__PEER__BODY_PROBE_ANSWER:
        message.kind = SWIM_PROBE_ANSWER;
        message.number = peer->probe_answer->number;
        message.failed = peer->probe_answer->failed;
        swim_hear(cluster, from, &message, peer->probe_answer->rumours,
                  peer->probe_answer->n_rumours);
        break;
    case C4P__PEER__BODY_GOSSIP:
        message.kind = SWIM_GOSSIP;
        swim_hear(cluster, from, &message, peer->gossip->rumours, peer->gossip->n_rumours);
        break;
    case C4P__PEER__BODY_EXCHANGE:
        message.kind = SWIM_EXCHANGE;
        message.answer = peer->exchange->answer;
        message.more = peer->exchange->more;
        swim_hear(cluster, from, &message, peer->exchange->members, peer->exchange->n_members);
        break;
    default:
        break;
    }
}

void cluster_remember(struct cluster *cluster, const void *data, size_t size)
{
    C4p__Exchange *exchange = c4p__exchange__unpack(NULL, size, data);
    struct member_record record;

    if (exchange == NULL) {
        log_write(LOG_WARNING, "cluster",
                  "the file of members cannot be read: "
                  "others have to find this node");
        return;
    }
    for (size_t i = 0; i < exchange->n_members; i++)
        if (member_from_wire(exchange->members[i], &record) &&
            cluster_is_node(cluster, &record.key))
            swim_introduce(cluster->swim, &record, clock_ms());
    c4p__exchange__free_unpacked(exchange, NULL);
    cluster_pump(cluster);
}
