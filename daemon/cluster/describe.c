#define _GNU_SOURCE
#include "daemon/cluster/describe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cluster/cluster_internal.h"
#include "daemon/cluster/record.h"
#include "proto/clock.h"

/* Of two that have the same name: who was enrolled first keeps it, unless it was revoked. */
static bool claim_is_better(const struct enrolment *one, const struct enrolment *other)
{
    if (one->revoked != other->revoked)
        return other->revoked;
    if (one->since != other->since)
        return one->since < other->since;
    return memcmp(&one->key, &other->key, sizeof(one->key)) < 0;
}

static bool name_is_taken(const struct trust *trust, const struct enrolment *enrolment)
{
    for (size_t i = 0; i < trust_count(trust); i++) {
        const struct enrolment *other = trust_at(trust, i);

        if (other != enrolment && other->kind == enrolment->kind &&
            strcmp(other->name, enrolment->name) == 0 && claim_is_better(other, enrolment))
            return true;
    }
    return false;
}

const char *describe_name(struct cluster *cluster, const struct node_key *key,
                          char name[DESCRIBE_NAME_SIZE])
{
    const struct trust *trust = cluster_trust(cluster);
    const struct enrolment *enrolment = trust_find(trust, key);
    char fingerprint[TRUST_FINGERPRINT_SIZE];

    key_fingerprint(key, fingerprint);
    if (enrolment == NULL)
        snprintf(name, DESCRIBE_NAME_SIZE, "%s", fingerprint);
    else if (name_is_taken(trust, enrolment))
        snprintf(name, DESCRIBE_NAME_SIZE, "%s (%s)", enrolment->name, fingerprint);
    else
        snprintf(name, DESCRIBE_NAME_SIZE, "%s", enrolment->name);
    return name;
}

/* ---- a page of nodes ---- */

struct line {
    const struct enrolment *enrolment;
    char name[DESCRIBE_NAME_SIZE];
};

static int by_name(const void *one, const void *other)
{
    return strcmp(((const struct line *)one)->name, ((const struct line *)other)->name);
}

/* Of one name, who keeps it comes first. */
static int by_claim(const void *one, const void *other)
{
    const struct enrolment *a = ((const struct line *)one)->enrolment,
                           *b = ((const struct line *)other)->enrolment;
    int order = strcmp(a->name, b->name);

    return order != 0 ? order : claim_is_better(a, b) ? -1 : 1;
}

/* All nodes that were ever enrolled, in the order of their names; the caller's to free. */
static struct line *lines_make(const struct trust *trust, size_t *count)
{
    const size_t all = trust_count(trust);
    struct line *lines = malloc(all * sizeof(*lines) + 1);
    char fingerprint[TRUST_FINGERPRINT_SIZE];

    *count = 0;
    for (size_t i = 0; lines != NULL && i < all; i++) {
        lines[*count].enrolment = trust_at(trust, i);
        *count += lines[*count].enrolment->kind == KEY_NODE;
    }
    if (lines == NULL)
        return NULL;
    qsort(lines, *count, sizeof(*lines), by_claim);
    for (size_t i = 0; i < *count; i++) {
        const struct enrolment *enrolment = lines[i].enrolment;

        key_fingerprint(&enrolment->key, fingerprint);
        if (i > 0 && strcmp(lines[i - 1].enrolment->name, enrolment->name) == 0)
            snprintf(lines[i].name, DESCRIBE_NAME_SIZE, "%s (%s)", enrolment->name, fingerprint);
        else
            strcpy(lines[i].name, enrolment->name);
    }
    qsort(lines, *count, sizeof(*lines), by_name);
    return lines;
}

static const char *state_of(const struct enrolment *enrolment, const struct member_record *member)
{
    if (enrolment->revoked)
        return "revoked";
    if (member == NULL || (member->state == MEMBER_LOST && member->incarnation == 0))
        return "enrolled";
    return member_state_name(member->state);
}

static void info_fill(struct cluster *cluster, const struct enrolment *enrolment,
                      C4p__NodeInfo *info, char *name)
{
    const struct member_record *member =
        enrolment->revoked ? NULL : cluster_find(cluster, &enrolment->key);

    c4p__node_info__init(info);
    info->key.data = (uint8_t *)(uintptr_t)enrolment->key.bytes;
    info->key.len = NODE_KEY_SIZE;
    info->name = name;
    info->state = (char *)(uintptr_t)state_of(enrolment, member);
    info->since = (uint64_t)cluster_since(cluster, &enrolment->key);
    info->self = key_equal(&enrolment->key, &cluster_identity(cluster)->public_key);
    if (info->since == 0)
        info->since = (uint64_t)enrolment->since;
    if (member == NULL || !member->has_facts)
        return;
    info->control = (char *)(uintptr_t)member->facts.control;
    info->data = (char *)(uintptr_t)member->facts.data;
    info->release = (char *)(uintptr_t)member->facts.release;
    info->pes = member->facts.pes;
    info->pes_free = member->facts.pes_free;
    info->queued = member->facts.queued;
    info->load = member->facts.load;
    info->cores = member->facts.cores;
    info->memory = member->facts.memory;
    info->started = member->facts.started;
    info->draining = member->facts.draining;
}

int describe_nodes(struct cluster *cluster, const char *after, struct describe_page *page)
{
    size_t count;
    struct line *lines = lines_make(cluster_trust(cluster), &count);

    page->count = 0;
    page->more = false;
    if (lines == NULL) {
        errno = ENOMEM;
        return -1;
    }
    for (size_t i = 0; i < count && !page->more; i++) {
        if (after != NULL && strcmp(lines[i].name, after) <= 0)
            continue;
        if (page->count == DESCRIBE_NODES) {
            page->more = true;
            continue;
        }
        strcpy(page->names[page->count], lines[i].name);
        page->nodes[page->count] = &page->infos[page->count];
        info_fill(cluster, lines[i].enrolment, &page->infos[page->count], page->names[page->count]);
        page->count++;
    }
    free(lines);
    return 0;
}

/* ---- troubles ---- */

static size_t trouble_of_refusals(struct cluster *cluster, char *sentence)
{
    const struct known *known;
    unsigned count = 0;

    for (known = cluster->known; known != NULL; known = known->hh.next)
        count += known->refuses && !known->seen_revoked;
    if (count > 0)
        snprintf(sentence, CLUSTER_TROUBLE_SIZE,
                 "%u node%s this node's key: if it was evicted, c4pd join with a new token brings "
                 "it back",
                 count, count == 1 ? " refuses" : "s refuse");
    return count > 0;
}

static size_t troubles_of_names(struct cluster *cluster, size_t used, size_t limit)
{
    size_t count;
    struct line *lines = lines_make(cluster_trust(cluster), &count);

    for (size_t i = 1; lines != NULL && i < count && used < limit; i++)
        if (!lines[i].enrolment->revoked && !lines[i - 1].enrolment->revoked &&
            strcmp(lines[i].enrolment->name, lines[i - 1].enrolment->name) == 0)
            snprintf(cluster->troubles[used++], CLUSTER_TROUBLE_SIZE,
                     "two nodes have the name %s: one of them is shown as %s (evict it, and let it "
                     "join under another name)",
                     lines[i].enrolment->name, lines[i].name);
    free(lines);
    return used;
}

static size_t troubles_of_twins(struct cluster *cluster, size_t used, size_t limit)
{
    const struct known *known;

    for (known = cluster->known; known != NULL && used < limit; known = known->hh.next)
        if (known->twin && !known->seen_revoked && clock_ms() - known->twin_last <= TWIN_KEPT_MS)
            snprintf(cluster->troubles[used++], CLUSTER_TROUBLE_SIZE,
                     "two daemons run with the key of node %.40s, at %.40s and on host %.40s (stop "
                     "the one with the copied state directory; c4pd leave --now and c4pd join "
                     "there give it a key of its own)",
                     cluster_name_of(cluster, &known->key), known->address, known->twin_host);
    return used;
}

size_t cluster_troubles(struct cluster *cluster, const char **sentences, size_t limit)
{
    size_t used = 0;

    if (limit > CLUSTER_TROUBLES)
        limit = CLUSTER_TROUBLES;
    if (limit > 0 && cluster->out[0] != '\0')
        strcpy(cluster->troubles[used++], cluster->out);
    else if (limit > 0)
        used += trouble_of_refusals(cluster, cluster->troubles[used]);
    used = troubles_of_names(cluster, used, limit);
    used = troubles_of_twins(cluster, used, limit);
    for (size_t i = 0; i < used; i++)
        sentences[i] = cluster->troubles[i];
    return used;
}
