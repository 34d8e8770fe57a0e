/*
 * What a node says of itself (cluster_internal.h): where it is reached, what it has, how busy it is;
 * and the file of where others were, for its next start.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/cluster/cluster_internal.h"
#include "daemon/cluster/record.h"
#include "daemon/cluster/resolve.h"
#include "daemon/log.h"
#include "proto/clock.h"

/* Our own address is looked at so often, and how busy the machine is. */
#define LOCATE_MS 10000
#define MEASURE_MS 5000

/* What a name server gets to answer: nothing else is done meanwhile. */
#define RESOLVE_MS 3000

/* The file of members is written at most so often, and is no larger than this. */
#define WRITE_MS 30000
#define FILE_MAX ((size_t)1 << 20)

/* ---- where ---- */

/* Towards a node that is reached, or any: the address that packets to it come from. */
static void host_find(struct cluster *cluster, char host[ADDRESS_HOST_MAX + 1])
{
    struct address other;

    if (cluster->advertise[0] != '\0') {
        strcpy(host, cluster->advertise);
        return;
    }
    if (!address_is_any(cluster->bound.host)) {
        strcpy(host, cluster->bound.host);
        return;
    }
    for (size_t i = 0; cluster->swim != NULL && i < swim_count(cluster->swim); i++) {
        const struct member_record *member = swim_member(cluster->swim, i);

        if (member != cluster_self(cluster) && member->has_facts &&
            address_parse(member->facts.control, &other) && address_of_source(other.host, host))
            return;
    }
    address_of_source(NULL, host);
}

static void locate(struct cluster *cluster, int64_t now)
{
    struct address control = {.port = cluster->bound.port}, data = {.port = cluster->data.port};
    char before[NODE_ADDRESS_MAX + 1], text[ADDRESS_TEXT_SIZE];

    cluster->located = now;
    strcpy(before, cluster->facts.control);
    host_find(cluster, control.host);
    /* Of two networks the data plane may have its own. */
    strcpy(data.host, cluster->advertise[0] != '\0' || address_is_any(cluster->data.host)
                          ? control.host
                          : cluster->data.host);
    address_format(&control, text);
    strcpy(cluster->facts.control, text);
    cluster->facts.data[0] = '\0';
    if (data.port != 0) {
        address_format(&data, text);
        strcpy(cluster->facts.data, text);
    }
    if (before[0] != '\0' && strcmp(before, cluster->facts.control) != 0)
        log_write(LOG_INFO, "cluster", "this node is reached at %s now, not at %s any more",
                  cluster->facts.control, before);
}

/* Within a time: name servers may take theirs. */
static bool name_resolve(const char *name, char host[ADDRESS_HOST_MAX + 1])
{
    struct address address = {.port = 1};
    char text[ADDRESS_TEXT_SIZE], number[RESOLVED_SIZE], error[RESOLVE_ERROR_SIZE];
    struct addrinfo *found;
    bool good;

    snprintf(address.host, sizeof(address.host), "%s", name);
    address_format(&address, text);
    found = resolve(text, clock_ms() + RESOLVE_MS, error);
    if (found == NULL)
        return false;
    good = resolved_format(found, number) == 0 && address_parse(number, &address) &&
           address_is_numeric(address.host);
    freeaddrinfo(found);
    if (good)
        strcpy(host, address.host);
    return good;
}

static int advertise_take(struct cluster *cluster, const char *advertise, char *error)
{
    char host[ADDRESS_HOST_MAX + 1] = "";

    if (advertise != NULL && !name_resolve(advertise, host)) {
        snprintf(error, TRUST_ERROR_SIZE,
                 "advertise: %.80s: there is no such host (give an address in c4pd.conf, or "
                 "--advertise)",
                 advertise);
        return -1;
    }
    strcpy(cluster->advertise, host);
    return 0;
}

int cluster_set_advertise(struct cluster *cluster, const char *advertise, char *error)
{
    if (advertise_take(cluster, advertise, error) != 0)
        return -1;
    locate(cluster, clock_ms());
    cluster_tell(cluster);
    return 0;
}

void cluster_set_data(struct cluster *cluster, const char *address)
{
    if (!address_parse(address, &cluster->data))
        return; /* of a test, that is reached otherwise */
    locate(cluster, clock_ms());
    cluster_tell(cluster);
}

/* ---- what ---- */

static void measure(struct cluster *cluster, int64_t now)
{
    double load = 0;

    cluster->measured = now;
    if (getloadavg(&load, 1) != 1 || load < 0)
        load = 0;
    cluster->facts.load = load < 1e6 ? (uint32_t)(load * 100) : 100000000u;
}

int cluster_place_init(struct cluster *cluster, const struct cluster_settings *settings,
                       char *error)
{
    struct member_facts *facts = &cluster->facts;

    if (advertise_take(cluster, settings->advertise, error) != 0)
        return -1;
    if (!address_parse(links_address(cluster->links), &cluster->bound)) {
        snprintf(error, TRUST_ERROR_SIZE, "%.100s: is no address that others could reach",
                 links_address(cluster->links));
        return -1;
    }
    strcpy(facts->name, cluster_identity(cluster)->name);
    snprintf(facts->release, sizeof(facts->release), "%s", settings->release);
    facts->min_version = CLUSTER_MIN_VERSION;
    facts->max_version = CLUSTER_VERSION;
    facts->cores = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    facts->memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    facts->started = (uint64_t)clock_day_ms();
    facts->trust = trust_hash(cluster->trust);
    measure(cluster, clock_ms());
    locate(cluster, clock_ms());
    return 0;
}

void cluster_tell(struct cluster *cluster)
{
    struct member_facts *facts = &cluster->facts;

    facts->trust = trust_hash(cluster->trust);
    facts->pes = cluster->load.pes;
    facts->pes_free = cluster->load.pes_free;
    facts->queued = cluster->load.queued;
    facts->draining = cluster->load.draining;
    if (!cluster->begun || cluster->pumping)
        return; /* the next tick does it */
    swim_set_facts(cluster->swim, facts, clock_ms());
    cluster_pump(cluster);
}

void cluster_set_load(struct cluster *cluster, const struct cluster_load *load)
{
    cluster->load = *load;
    cluster_tell(cluster);
}

void cluster_place_tick(struct cluster *cluster, int64_t now)
{
    if (now - cluster->measured >= MEASURE_MS)
        measure(cluster, now);
    if (now - cluster->located >= LOCATE_MS)
        locate(cluster, now);
    cluster_tell(cluster);
    if (cluster->stale && now - cluster->written >= WRITE_MS)
        cluster_write_members(cluster);
}

/* ---- the file of members ---- */

void cluster_write_members(struct cluster *cluster)
{
    const size_t count = swim_count(cluster->swim);
    struct member_record *records = malloc(count * sizeof(*records) + 1);
    C4p__Exchange exchange = C4P__EXCHANGE__INIT;
    char error[TRUST_ERROR_SIZE];
    uint8_t *bytes = NULL;
    size_t size = 0;

    cluster->stale = cluster->moved = false;
    cluster->written = clock_ms();
    for (size_t i = 0; records != NULL && i < count; i++) {
        const struct member_record *member = swim_member(cluster->swim, i);

        if (!member->has_facts || size + swim_record_bytes(member) > FILE_MAX)
            continue;
        size += swim_record_bytes(member);
        records[exchange.n_members++] = *member;
    }
    if (records != NULL)
        exchange.members = members_to_wire(records, exchange.n_members);
    if (exchange.members != NULL)
        bytes = malloc(c4p__exchange__get_packed_size(&exchange) + 1);
    if (bytes != NULL && trust_members_write(cluster->trust, bytes,
                                             c4p__exchange__pack(&exchange, bytes), error) != 0)
        log_write(LOG_WARNING, "cluster", "%s", error);
    free(bytes);
    free(exchange.members);
    free(records);
}
