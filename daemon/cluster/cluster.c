/* The life of this node's part in the cluster, and what the rest of the daemon asks of it. */
#define _GNU_SOURCE
#include "daemon/cluster/cluster.h"

#include <errno.h>
#include <event2/event.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cluster/cluster_internal.h"
#include "daemon/cluster/enrol.h"
#include "daemon/log.h"
#include "proto/clock.h"

#define TICK_S 1

/* Who may come to which socket. Users reach the data plane to exchange what a session sends. */
static const struct zap_rule doors[] = {
    {LINKS_DOMAIN, 1u << ROLE_NODE | 1u << ROLE_USER | 1u << ROLE_JOINER},
    {CLUSTER_DATA_DOMAIN, 1u << ROLE_NODE | 1u << ROLE_USER},
};

/* ---- what we keep of keys ---- */

struct known *known_find(const struct cluster *cluster, const struct node_key *key)
{
    struct known *known;

    HASH_FIND(hh, cluster->known, key, sizeof(*key), known);
    return known;
}

struct known *known_get(struct cluster *cluster, const struct node_key *key)
{
    struct known *known = known_find(cluster, key);

    if (known != NULL)
        return known;
    known = calloc(1, sizeof(*known));
    if (known == NULL)
        return NULL;
    known->key = *key;
    HASH_ADD(hh, cluster->known, key, sizeof(known->key), known);
    return known;
}

const char *cluster_name_of(struct cluster *cluster, const struct node_key *key)
{
    static char name[DESCRIBE_NAME_SIZE];

    return describe_name(cluster, key, name);
}

static enum trust_role role_of(void *context, const struct node_key *key)
{
    const struct cluster *cluster = context;

    return trust_role(cluster->trust, key, clock_day_ms());
}

bool cluster_is_node(const struct cluster *cluster, const struct node_key *key)
{
    const struct enrolment *enrolment = trust_find(cluster->trust, key);

    return enrolment != NULL && enrolment->kind == KEY_NODE && !enrolment->revoked;
}

void cluster_changed(struct cluster *cluster)
{
    cluster->listener.changed(cluster->listener.context);
}

/* ---- from the links ---- */

static void enrol_serve(struct cluster *cluster, const struct links_origin *from,
                        const C4p__Enrol *enrol)
{
    struct enrol_seed seed = {
        .trust = cluster->trust, .self = cluster_self(cluster), .refusals = &cluster->refusals};
    bool welcome = false;
    uint8_t *answer;
    size_t size;

    seed.count = cluster_nodes(cluster, &seed.nodes);
    answer = enrol_answer(&seed, &from->key, from->address, enrol, &welcome, &size);
    if (welcome)
        cluster_trust_changed(cluster);
    if (answer != NULL)
        links_reply(cluster->links, from->identity, from->identity_size, answer, size);
    free(answer);
}

static void exchange_hear(struct cluster *cluster, const struct node_key *from,
                          const C4p__Peer *message)
{
    C4p__Exchange members = *message->exchange;
    C4p__Peer rest = *message;

    if (message->exchange->n_trust == 0) {
        cluster_hear(cluster, from, message);
        return;
    }
    cluster_keys_heard(cluster, from, message->exchange);
    /* Beside keys there is only what the sender says of itself. */
    members.answer = members.more = false;
    rest.exchange = &members;
    cluster_hear(cluster, from, &rest);
}

static void on_received(void *context, const struct links_origin *from, const C4p__Peer *message)
{
    struct cluster *cluster = context;
    struct known *known = known_find(cluster, &from->key);
    const unsigned body = (unsigned)message->body_case;

    if (cluster->out[0] != '\0')
        return;
    if (known != NULL && known->refuses) {
        known->refuses = false;
        cluster_changed(cluster);
    }
    if (from->role != ROLE_JOINER && cluster_is_twin(cluster, from, message->incarnation))
        return;
    if (message->version < CLUSTER_MIN_VERSION)
        refusals_add(&cluster->refusals,
                     "a message of node %s: it speaks version %u of the cluster's protocol, this "
                     "node none older than %u (install a newer c4p there)",
                     cluster_name_of(cluster, &from->key), message->version, CLUSTER_MIN_VERSION);
    else if (from->role == ROLE_JOINER)
        enrol_serve(cluster, from, message->enrol);
    else if (body == C4P__PEER__BODY_EXCHANGE)
        exchange_hear(cluster, &from->key, message);
    else if (body == C4P__PEER__BODY_TURNED)
        cluster_turned(cluster, &from->key, message->turned->reason);
    else if (body < C4P__PEER__BODY_ENROL)
        cluster_hear(cluster, &from->key, message);
    else if (body >= C4P__PEER__BODY_RESERVE)
        cluster->listener.message(cluster->listener.context, &from->key, message);
}

static void on_user(void *context, const struct node_key *from, const void *identity,
                    size_t identity_size, const void *data, size_t size)
{
    const struct cluster_listener *listener = &((struct cluster *)context)->listener;

    listener->user(listener->context, from, identity, identity_size, data, size);
}

static void on_broke(void *context, const struct node_key *key)
{
    struct cluster *cluster = context;

    swim_hint(cluster->swim, key, clock_ms());
    cluster_pump(cluster);
}

static void on_refused(void *context, const struct node_key *key)
{
    cluster_refused(context, key);
}

/* Somebody who was turned away has tried to connect: it may not have heard of it. */
static void on_revoked(void *context, const struct node_key *key)
{
    struct cluster *cluster = context;
    struct known *known = known_get(cluster, key);

    if (known != NULL)
        cluster_turn_away(cluster, known);
}

/* ---- time ---- */

static void on_wake(evutil_socket_t fd, short what, void *argument)
{
    struct cluster *cluster = argument;

    (void)fd;
    (void)what;
    if (!cluster->begun) {
        cluster->begun = true;
        cluster_tell(cluster);
    }
    swim_tick(cluster->swim, clock_ms());
    cluster_pump(cluster);
}

static void on_tick(evutil_socket_t fd, short what, void *argument)
{
    struct cluster *cluster = argument;
    const int64_t now = clock_ms();

    (void)fd;
    (void)what;
    if (cluster->out[0] != '\0')
        return;
    cluster_place_tick(cluster, now);
    cluster_keys_tick(cluster, now);
}

/* ---- life ---- */

/* What is known already is no news, and who was revoked before is not to be cut off again. */
static void keys_begin(struct cluster *cluster)
{
    for (size_t i = 0; i < trust_count(cluster->trust); i++) {
        const struct enrolment *enrolment = trust_at(cluster->trust, i);
        struct known *known = known_get(cluster, &enrolment->key);

        if (known == NULL)
            continue;
        known->spread = enrolment->revoked ? 2 : 1;
        known->since = enrolment->revoked ? enrolment->revoked_at : 0;
        known->seen_revoked = enrolment->revoked;
        if (enrolment->revoked && enrolment->kind == KEY_NODE)
            swim_expel(cluster->swim, &enrolment->key, clock_ms());
    }
}

static int sockets_open(struct cluster *cluster, const struct cluster_settings *settings,
                        char *error)
{
    const struct zap_settings zap = {
        .zmq = settings->zmq,
        .rules = doors,
        .count = sizeof(doors) / sizeof(*doors),
        .refusals = &cluster->refusals,
        .role = role_of,
        .revoked = on_revoked,
        .context = cluster,
    };
    const struct links_settings links = {
        .zmq = settings->zmq,
        .address = settings->listen,
        .identity = trust_identity(cluster->trust),
        .incarnation = cluster->incarnation,
        .refusals = &cluster->refusals,
        .listener = {role_of, on_received, on_user, on_broke, on_refused, cluster},
    };

    cluster->zap = zap_create(cluster->base, &zap, error);
    if (cluster->zap != NULL)
        cluster->links = links_create(cluster->base, &links, error);
    return cluster->links != NULL ? 0 : -1;
}

static int members_begin(struct cluster *cluster, char *error)
{
    struct member_record self = {
        .key = cluster_identity(cluster)->public_key,
        .incarnation = cluster->incarnation,
        .has_facts = true,
        .facts = cluster->facts,
    };
    uint64_t seed;
    void *members;
    size_t size;

    randombytes_buf(&seed, sizeof(seed));
    cluster->swim = swim_create(&swim_default_settings, &self, seed, clock_ms());
    if (cluster->swim == NULL) {
        snprintf(error, TRUST_ERROR_SIZE, "the daemon is out of memory");
        return -1;
    }
    keys_begin(cluster);
    switch (trust_members_read(cluster->trust, &members, &size, error)) {
    case 0:
        cluster_remember(cluster, members, size);
        free(members);
        break;
    case 1:
        break;
    default:
        /* The others are looking for us as well. */
        log_write(LOG_WARNING, "cluster", "%s", error);
        break;
    }
    return 0;
}

static int events_open(struct cluster *cluster, char *error)
{
    cluster->wake = event_new(cluster->base, -1, 0, on_wake, cluster);
    cluster->tick = event_new(cluster->base, -1, EV_PERSIST, on_tick, cluster);
    cluster->spread = event_new(cluster->base, -1, 0, cluster_keys_on_spread, cluster);
    if (cluster->wake != NULL && cluster->tick != NULL && cluster->spread != NULL &&
        event_add(cluster->tick, &(struct timeval){TICK_S, 0}) == 0)
        return 0;
    snprintf(error, TRUST_ERROR_SIZE, "the daemon is out of memory");
    return -1;
}

static int cluster_open(struct cluster *cluster, const struct cluster_settings *settings,
                        char *error)
{
    const struct trust_identity *identity;

    cluster->trust = trust_open(settings->state_dir, error);
    if (cluster->trust == NULL ||
        trust_next_incarnation(cluster->trust, &cluster->incarnation, error) != 0 ||
        events_open(cluster, error) != 0 || sockets_open(cluster, settings, error) != 0 ||
        cluster_place_init(cluster, settings, error) != 0 || members_begin(cluster, error) != 0)
        return -1;
    identity = cluster_identity(cluster);
    log_write(LOG_INFO, "cluster", "node %s of cluster %s, at %s", identity->name,
              identity->cluster_name, cluster->facts.control);
    cluster_trust_changed(cluster);
    /* The first word to the others is said by the loop, when our load is known. */
    event_active(cluster->wake, EV_TIMEOUT, 1);
    return 0;
}

struct cluster *cluster_create(struct event_base *base, const struct cluster_settings *settings,
                               char *error)
{
    struct cluster *cluster = calloc(1, sizeof(*cluster));

    if (cluster == NULL) {
        snprintf(error, TRUST_ERROR_SIZE, "the daemon is out of memory");
        return NULL;
    }
    cluster->base = base;
    cluster->listener = settings->listener;
    cluster->state_dir = strdup(settings->state_dir);
    if (cluster->state_dir == NULL)
        snprintf(error, TRUST_ERROR_SIZE, "the daemon is out of memory");
    else if (cluster_open(cluster, settings, error) == 0)
        return cluster;
    cluster_destroy(cluster);
    return NULL;
}

static void events_close(struct cluster *cluster)
{
    struct event *events[] = {cluster->wake, cluster->tick, cluster->spread};

    for (size_t i = 0; i < sizeof(events) / sizeof(*events); i++)
        if (events[i] != NULL)
            event_free(events[i]);
}

void cluster_destroy(struct cluster *cluster)
{
    struct known *known, *next;

    if (cluster == NULL)
        return;
    if (cluster->swim != NULL) {
        cluster->leaving = true;
        swim_leave(cluster->swim, clock_ms());
        cluster_pump(cluster);
        /* A state directory that was left for good has no place for it. */
        if (cluster->trust != NULL && trust_exists(cluster->state_dir))
            cluster_write_members(cluster);
    }
    links_destroy(cluster->links);
    zap_destroy(cluster->zap);
    events_close(cluster);
    swim_destroy(cluster->swim);
    trust_close(cluster->trust);
    HASH_ITER(hh, cluster->known, known, next)
    {
        HASH_DEL(cluster->known, known);
        free(known);
    }
    free(cluster->news);
    free(cluster->list);
    free(cluster->state_dir);
    free(cluster);
}

/* ---- questions ---- */

const struct trust_identity *cluster_identity(const struct cluster *cluster)
{
    return trust_identity(cluster->trust);
}

struct trust *cluster_trust(struct cluster *cluster)
{
    return cluster->trust;
}

const struct member_record *cluster_self(const struct cluster *cluster)
{
    return swim_find(cluster->swim, &cluster_identity(cluster)->public_key);
}

const struct member_record *cluster_find(const struct cluster *cluster, const struct node_key *key)
{
    return swim_find(cluster->swim, key);
}

static int by_name(const void *one, const void *other)
{
    const struct member_record *a = *(const struct member_record *const *)one,
                               *b = *(const struct member_record *const *)other;
    int order = strcmp(a->facts.name, b->facts.name);

    return order != 0 ? order : memcmp(a->key.bytes, b->key.bytes, NODE_KEY_SIZE);
}

size_t cluster_nodes(struct cluster *cluster, const struct member_record *const **nodes)
{
    const size_t count = swim_count(cluster->swim);
    const struct member_record **list = reallocarray(cluster->list, count + 1, sizeof(*list));

    *nodes = NULL;
    if (list == NULL)
        return 0;
    for (size_t i = 0; i < count; i++)
        list[i] = swim_member(cluster->swim, i);
    qsort(list, count, sizeof(*list), by_name);
    *nodes = cluster->list = list;
    return count;
}

int64_t cluster_since(const struct cluster *cluster, const struct node_key *key)
{
    const struct known *known = known_find(cluster, key);

    if (key_equal(key, &cluster_identity(cluster)->public_key))
        return (int64_t)cluster->facts.started;
    return known != NULL ? known->since : 0;
}

int cluster_send(struct cluster *cluster, const struct node_key *to, C4p__Peer *message)
{
    const struct member_record *member = swim_find(cluster->swim, to);

    errno = EHOSTUNREACH;
    if (cluster->out[0] != '\0' || (member != NULL && member->state == MEMBER_LOST))
        return -1;
    errno = ENOENT;
    if (member == NULL || member->state == MEMBER_LEFT || !member->has_facts ||
        member == cluster_self(cluster))
        return -1;
    return links_send(cluster->links, to, member->facts.control, message);
}

int cluster_reply_user(struct cluster *cluster, const void *identity, size_t identity_size,
                       const void *data, size_t size)
{
    return links_reply(cluster->links, identity, identity_size, data, size);
}

struct cluster_figures cluster_figures(const struct cluster *cluster)
{
    struct cluster_figures figures = {
        .links = links_figures(cluster->links),
        .refused = cluster->refusals.count,
    };

    for (size_t i = 0; i < swim_count(cluster->swim); i++) {
        const struct member_record *member = swim_member(cluster->swim, i);

        if (member->state == MEMBER_LOST)
            figures.nodes_lost++;
        if (member->state > MEMBER_SUSPECT ||
            (cluster->out[0] != '\0' && member != cluster_self(cluster)))
            continue;
        figures.nodes++;
        figures.pes += member->facts.pes;
        figures.pes_free += member->facts.draining ? 0 : member->facts.pes_free;
    }
    return figures;
}
