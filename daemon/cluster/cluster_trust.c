/*
 * Keys in the cluster (cluster_internal.h): news of them go to everybody within moments, whoever has
 * missed some gets all, and who is revoked is cut off.
 *
 * Who learns of a key from one node passes it on to some others, at once and once; nodes compare the
 * hashes of what they know by their facts, and send all of it where these stay different.
 */
#define _GNU_SOURCE
#include <event2/event.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cluster/cluster_internal.h"
#include "daemon/cluster/record.h"
#include "daemon/log.h"
#include "daemon/words.h"
#include "proto/clock.h"

/* Keys in one message: below 512 KiB of them. */
#define PAGE 2048

/* News go to so many nodes and twice the logarithm of their number more: to all of a small cluster. */
#define SPREAD_BASE 6

/* Hashes that differ for so long: news were missed. And one node is sent all at most so often. */
#define DIFFER_MS 5000
#define SYNC_MS 10000

/* The link to a node that is not welcome stays open for what it is told. */
#define FAREWELL_MS 1000

/* That a node refuses this one is logged at most so often. */
#define REFUSED_LOGGED_MS 60000

/* ---- out ---- */

static void keys_message_send(struct cluster *cluster, const struct node_key *to,
                              const char *address, const struct enrolment *const *records,
                              size_t count, bool answer, bool more)
{
    C4p__Enrolment **trust = enrolments_to_wire(records, count);
    const struct member_record *self = cluster_self(cluster);
    C4p__Member **members = members_to_wire(self, 1);
    C4p__Exchange exchange = C4P__EXCHANGE__INIT;
    C4p__Peer message = C4P__PEER__INIT;

    if (trust != NULL && members != NULL) {
        exchange.trust = trust;
        exchange.n_trust = count;
        exchange.members = members;
        exchange.n_members = 1;
        exchange.answer = answer;
        exchange.more = more;
        message.body_case = C4P__PEER__BODY_EXCHANGE;
        message.exchange = &exchange;
        links_send(cluster->links, to, address, &message);
    }
    free(trust);
    free(members);
}

void cluster_keys_send(struct cluster *cluster, const struct node_key *to, const char *address,
                       bool answer)
{
    const size_t count = trust_count(cluster->trust);
    const struct enrolment *page[PAGE];
    struct known *known = known_get(cluster, to);

    if (known != NULL)
        known->synced = clock_ms();
    for (size_t done = 0; done < count;) {
        size_t used = 0;

        while (used < PAGE && done < count)
            page[used++] = trust_at(cluster->trust, done++);
        keys_message_send(cluster, to, address, page, used, answer && done == count, done < count);
    }
}

/* ---- news ---- */

static void news_add(struct cluster *cluster, const struct node_key *key)
{
    if (cluster->news_count == cluster->news_room) {
        size_t room = cluster->news_room > 0 ? 2 * cluster->news_room : 16;
        struct node_key *news = reallocarray(cluster->news, room, sizeof(*news));

        if (news == NULL)
            return; /* hashes will tell */
        cluster->news = news;
        cluster->news_room = room;
    }
    cluster->news[cluster->news_count++] = *key;
    event_add(cluster->spread, &(struct timeval){0, 0});
}

static size_t spread_size(size_t nodes)
{
    size_t size = SPREAD_BASE;

    for (; nodes > 1; nodes /= 2)
        size += 2;
    return size;
}

/* To some who are reached, by chance. */
static void page_spread(struct cluster *cluster, const struct enrolment *const *page, size_t used)
{
    const size_t all = swim_count(cluster->swim);
    size_t left = spread_size(all);

    for (size_t i = 0; i < all && left > 0; i++) {
        const struct member_record *to = swim_member(cluster->swim, i);

        if (to->state > MEMBER_SUSPECT || !to->has_facts || to == cluster_self(cluster))
            continue;
        /* As many of those that are left as are still wanted. */
        if (randombytes_uniform((uint32_t)(all - i)) >= left)
            continue;
        left--;
        keys_message_send(cluster, &to->key, to->facts.control, page, used, false, false);
    }
}

void cluster_keys_on_spread(evutil_socket_t fd, short what, void *argument)
{
    struct cluster *cluster = argument;
    const struct enrolment *page[PAGE];
    size_t done = 0;

    (void)fd;
    (void)what;
    while (done < cluster->news_count) {
        size_t used = 0;

        while (used < PAGE && done < cluster->news_count) {
            page[used] = trust_find(cluster->trust, &cluster->news[done++]);
            used += page[used] != NULL;
        }
        page_spread(cluster, page, used);
    }
    cluster->news_count = 0;
}

/* ---- who is cut off ---- */

void cluster_turn_away(struct cluster *cluster, struct known *known)
{
    const struct enrolment *enrolment = trust_find(cluster->trust, &known->key);
    C4p__Turned turned = C4P__TURNED__INIT;
    C4p__Peer message = C4P__PEER__INIT;
    char by[DESCRIBE_NAME_SIZE], reason[CLUSTER_TROUBLE_SIZE];

    if (known->told || enrolment == NULL || known->address[0] == '\0')
        return;
    known->told = true;
    known->close_at = clock_ms() + FAREWELL_MS;
    snprintf(reason, sizeof(reason), "its key was revoked by node %s",
             describe_name(cluster, &enrolment->revoked_by, by));
    keys_message_send(cluster, &known->key, known->address, &enrolment, 1, false, false);
    turned.reason = reason;
    message.body_case = C4P__PEER__BODY_TURNED;
    message.turned = &turned;
    links_send(cluster->links, &known->key, known->address, &message);
}

/* A node takes its own key away when it leaves; any other one is put out. */
static bool has_left(const struct enrolment *enrolment)
{
    return key_equal(&enrolment->revoked_by, &enrolment->key);
}

static void self_describe(struct cluster *cluster, const struct enrolment *enrolment)
{
    const char *name = cluster_identity(cluster)->cluster_name;
    char by[DESCRIBE_NAME_SIZE];

    if (has_left(enrolment))
        snprintf(cluster->out, sizeof(cluster->out),
                 "this node has left cluster %s for good (c4pd join with a new token brings it "
                 "back)",
                 name);
    else
        snprintf(cluster->out, sizeof(cluster->out),
                 "this node's key was revoked by node %.80s: it belongs to cluster %s no more "
                 "(c4pd join with a new token brings it back)",
                 describe_name(cluster, &enrolment->revoked_by, by), name);
    log_write(has_left(enrolment) ? LOG_INFO : LOG_ERROR, "cluster", "%s", cluster->out);
}

/* Our own key: nothing that we say counts any more, so we stop. */
static void self_cut_off(struct cluster *cluster, const struct enrolment *enrolment)
{
    if (cluster->out[0] != '\0' || cluster->leaving)
        return;
    self_describe(cluster, enrolment);
    for (size_t i = 0; i < swim_count(cluster->swim); i++) {
        const struct member_record *member = swim_member(cluster->swim, i);

        if (member != cluster_self(cluster) && member->state <= MEMBER_SUSPECT)
            cluster->listener.down(cluster->listener.context, &member->key,
                                   has_left(enrolment) ? "this node has left the cluster"
                                                       : "this node was put out of the cluster");
    }
    cluster_changed(cluster);
}

static void node_cut_off(struct cluster *cluster, const struct enrolment *enrolment)
{
    struct known *known = known_get(cluster, &enrolment->key);
    char by[DESCRIBE_NAME_SIZE];

    if (known == NULL || known->seen_revoked)
        return;
    known->seen_revoked = true;
    known->since = clock_day_ms();
    if (has_left(enrolment))
        log_write(LOG_INFO, "cluster", "node %s has left the cluster for good",
                  cluster_name_of(cluster, &enrolment->key));
    else
        log_write(LOG_WARNING, "cluster", "node %s: its key was revoked by node %s",
                  cluster_name_of(cluster, &enrolment->key),
                  describe_name(cluster, &enrolment->revoked_by, by));
    if (key_equal(&enrolment->revoked_by, &cluster_identity(cluster)->public_key))
        cluster_turn_away(cluster, known);
    swim_expel(cluster->swim, &enrolment->key, clock_ms());
    cluster_pump(cluster);
    if (known->close_at == 0)
        links_close(cluster->links, &enrolment->key);
}

static void user_cut_off(struct cluster *cluster, const struct enrolment *enrolment)
{
    struct known *known = known_get(cluster, &enrolment->key);

    if (known == NULL || known->seen_revoked)
        return;
    known->seen_revoked = true;
    log_write(LOG_WARNING, "cluster", "user %s: the key was revoked", enrolment->name);
    cluster->listener.user_revoked(cluster->listener.context, &enrolment->key);
}

/* Do what follows from what we know. */
static void keys_look(struct cluster *cluster)
{
    const struct node_key *self = &cluster_identity(cluster)->public_key;

    for (size_t i = 0; i < trust_count(cluster->trust); i++) {
        const struct enrolment *enrolment = trust_at(cluster->trust, i);

        if (!enrolment->revoked)
            continue;
        if (key_equal(&enrolment->key, self))
            self_cut_off(cluster, enrolment);
        else if (enrolment->kind == KEY_NODE)
            node_cut_off(cluster, enrolment);
        else
            user_cut_off(cluster, enrolment);
    }
    cluster_tell(cluster);
    cluster_changed(cluster);
}

/* What came by way of the door: whatever is younger than what the others were told. */
void cluster_trust_changed(struct cluster *cluster)
{
    for (size_t i = 0; i < trust_count(cluster->trust); i++) {
        const struct enrolment *enrolment = trust_at(cluster->trust, i);
        struct known *known = known_get(cluster, &enrolment->key);
        unsigned said = enrolment->revoked ? 2 : 1;

        if (known == NULL || known->spread == said)
            continue;
        known->spread = said;
        news_add(cluster, &enrolment->key);
    }
    keys_look(cluster);
}

/* ---- in ---- */

void cluster_keys_heard(struct cluster *cluster, const struct node_key *from,
                        const C4p__Exchange *exchange)
{
    const uint64_t before = trust_hash(cluster->trust);
    const struct member_record *sender;
    struct enrolment *records = malloc(exchange->n_trust * sizeof(*records) + 1);
    char error[TRUST_ERROR_SIZE];
    size_t good = 0;

    if (records == NULL)
        return;
    for (size_t i = 0; i < exchange->n_trust && good < TRUST_MAX_KEYS; i++)
        good += enrolment_from_wire(exchange->trust[i], &records[good]);
    if (good > 0 && trust_join_all(cluster->trust, records, good, error) < 0)
        log_write(LOG_ERROR, "cluster", "%s", error);
    free(records);
    if (trust_hash(cluster->trust) != before)
        cluster_trust_changed(cluster);
    sender = swim_find(cluster->swim, from);
    if (exchange->answer && sender != NULL && sender->has_facts &&
        sender->facts.trust != trust_hash(cluster->trust))
        cluster_keys_send(cluster, from, sender->facts.control, false);
}

/* ---- what was missed ---- */

/* Since when does this one know other keys than we? */
static int64_t differs_since(struct cluster *cluster, const struct member_record *member,
                             int64_t now)
{
    struct known *known = known_get(cluster, &member->key);
    const uint64_t other = member->facts.trust ^ cluster->facts.trust;

    if (known == NULL || other == 0) {
        if (known != NULL)
            known->differs = 0;
        return now;
    }
    if (known->differs == 0 || known->difference != other) {
        known->differs = now;
        known->difference = other;
    }
    return now - known->synced < SYNC_MS && known->synced != 0 ? now : known->differs;
}

void cluster_keys_tick(struct cluster *cluster, int64_t now)
{
    const struct member_record *chosen = NULL;
    const size_t count = swim_count(cluster->swim);
    struct known *known, *next;
    uint32_t seen = 0;

    for (size_t i = 0; i < count; i++) {
        const struct member_record *member = swim_member(cluster->swim, i);

        if (member == cluster_self(cluster) || member->state != MEMBER_ALIVE ||
            !member->has_facts || now - differs_since(cluster, member, now) < DIFFER_MS)
            continue;
        if (randombytes_uniform(++seen) == 0)
            chosen = member;
    }
    if (chosen != NULL)
        cluster_keys_send(cluster, &chosen->key, chosen->facts.control, true);
    HASH_ITER(hh, cluster->known, known, next)
    {
        if (known->close_at == 0 || now < known->close_at)
            continue;
        known->close_at = 0;
        links_close(cluster->links, &known->key);
    }
}

/* ---- we are told ---- */

/* A node that is in doubt about us, or wants to fill our log, says it over and over. */
static bool refusal_is_news(struct known *known)
{
    const int64_t now = clock_ms();

    if (known->refuses || (known->refused_at != 0 && now - known->refused_at < REFUSED_LOGGED_MS))
        return false;
    known->refused_at = now;
    return true;
}

static void refused_set(struct cluster *cluster, struct known *known)
{
    if (known->refuses)
        return;
    known->refuses = true;
    cluster_changed(cluster);
}

void cluster_turned(struct cluster *cluster, const struct node_key *from, const char *reason)
{
    struct known *known = known_get(cluster, from);
    char sentence[CLUSTER_TROUBLE_SIZE];

    if (known == NULL)
        return;
    snprintf(sentence, sizeof(sentence), "%s", reason);
    words_clean(sentence);
    if (refusal_is_news(known))
        log_write(LOG_ERROR, "cluster", "node %s has turned this node away: %s",
                  cluster_name_of(cluster, from), sentence);
    refused_set(cluster, known);
}

void cluster_refused(struct cluster *cluster, const struct node_key *by)
{
    struct known *known = known_get(cluster, by);

    if (known == NULL)
        return;
    if (refusal_is_news(known))
        log_write(LOG_ERROR, "cluster",
                  "node %s refuses this node's key: it was revoked, or that node has not heard of "
                  "it yet (c4pd nodes there says which)",
                  cluster_name_of(cluster, by));
    refused_set(cluster, known);
}
