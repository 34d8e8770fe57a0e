#define _GNU_SOURCE
#include "daemon/cluster/trust_internal.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "proto/clock.h"

/* A name may be the beginning of a fingerprint as well, but not a shorter one. */
#define FINGERPRINT_MIN 4

/* ---- the set ---- */

static struct trust_entry *entry_find(const struct trust *trust, const struct node_key *key)
{
    struct trust_entry *entry;

    HASH_FIND(hh, trust->entries, key, sizeof(*key), entry);
    return entry;
}

static void bytes_put(uint8_t **at, const void *bytes, size_t size)
{
    memcpy(*at, bytes, size);
    *at += size;
}

static void number_put(uint8_t **at, int64_t number)
{
    for (int i = 0; i < 8; i++)
        *(*at)++ = (uint8_t)((uint64_t)number >> 8 * i);
}

/* The same on every machine: all hash the same records to the same sum. */
static uint64_t record_hash(const struct enrolment *record)
{
    uint8_t bytes[4 * NODE_KEY_SIZE + 32] = {0}, *at = bytes, hash[16];
    char name[NODE_NAME_MAX + 1] = "";
    uint64_t number = 0;

    snprintf(name, sizeof(name), "%s", record->name);
    bytes_put(&at, record->key.bytes, NODE_KEY_SIZE);
    bytes_put(&at, record->by.bytes, NODE_KEY_SIZE);
    number_put(&at, record->since);
    number_put(&at, (int64_t)record->kind | (record->revoked ? 256 : 0));
    if (record->revoked) {
        bytes_put(&at, record->revoked_by.bytes, NODE_KEY_SIZE);
        number_put(&at, record->revoked_at);
    }
    crypto_generichash(hash, sizeof(hash), bytes, (size_t)(at - bytes), (const uint8_t *)name,
                       sizeof(name));
    for (int i = 0; i < 8; i++)
        number |= (uint64_t)hash[i] << 8 * i;
    return number;
}

static struct trust_entry *entry_add(struct trust *trust, const struct enrolment *record)
{
    struct trust_entry *entry = calloc(1, sizeof(*entry)), **order = trust->order;
    size_t room = trust->room;

    if (trust->count == room) {
        room = room == 0 ? 16 : 2 * room;
        order = realloc(order, room * sizeof(struct trust_entry *));
    }
    if (entry == NULL || order == NULL) {
        if (order != NULL)
            trust->order = order;
        free(entry);
        return NULL;
    }
    trust->order = order;
    trust->room = room;
    entry->record = *record;
    order[trust->count++] = entry;
    HASH_ADD(hh, trust->entries, record.key, sizeof(entry->record.key), entry);
    return entry;
}

int trust_set_join(struct trust *trust, const struct enrolment *record, char *error)
{
    struct trust_entry *entry = entry_find(trust, &record->key);

    if (!enrolment_valid(record)) {
        snprintf(error, TRUST_ERROR_SIZE, "an enrolment has a name, kind or time that none has");
        return -1;
    }
    if (entry != NULL) {
        uint64_t before = record_hash(&entry->record);

        if (!enrolment_join(&entry->record, record))
            return 0;
        trust->hash += record_hash(&entry->record) - before;
        return 1;
    }
    if (trust->count >= TRUST_MAX_KEYS) {
        snprintf(error, TRUST_ERROR_SIZE,
                 "the cluster knows %d keys, and takes no more (revoked ones count: found a new "
                 "cluster)",
                 TRUST_MAX_KEYS);
        return -1;
    }
    entry = entry_add(trust, record);
    if (entry == NULL) {
        snprintf(error, TRUST_ERROR_SIZE, "out of memory");
        return -1;
    }
    trust->hash += record_hash(record);
    return 1;
}

int trust_join_all(struct trust *trust, const struct enrolment *records, size_t count, char *error)
{
    int news = 0, failed = 0;

    for (size_t i = 0; i < count; i++) {
        int rc = trust_set_join(trust, &records[i], error);

        news += rc > 0;
        failed |= rc < 0;
    }
    trust->unwritten = trust->unwritten || news > 0;
    if (trust->unwritten && trust_store_enrolled(trust, error) != 0)
        return -1;
    trust->unwritten = false;
    return failed ? -1 : news;
}

int trust_join(struct trust *trust, const struct enrolment *record, char *error)
{
    return trust_join_all(trust, record, 1, error);
}

int trust_revoke(struct trust *trust, const struct node_key *key, int64_t day_ms, char *error)
{
    const struct enrolment *found = trust_find(trust, key);
    struct enrolment record;

    if (found == NULL) {
        snprintf(error, TRUST_ERROR_SIZE, "nobody has enrolled this key");
        return -1;
    }
    if (found->revoked && !trust->unwritten)
        return 0;
    record = *found;
    if (!record.revoked) {
        record.revoked = true;
        record.revoked_at = day_ms;
        record.revoked_by = trust->identity.public_key;
    }
    return trust_join(trust, &record, error) < 0 ? -1 : 0;
}

/* ---- asking ---- */

const struct trust_identity *trust_identity(const struct trust *trust)
{
    return &trust->identity;
}

size_t trust_count(const struct trust *trust)
{
    return trust->count;
}

const struct enrolment *trust_at(const struct trust *trust, size_t i)
{
    return &trust->order[i]->record;
}

uint64_t trust_hash(const struct trust *trust)
{
    return trust->hash;
}

const struct enrolment *trust_find(const struct trust *trust, const struct node_key *key)
{
    const struct trust_entry *entry = entry_find(trust, key);

    return entry != NULL ? &entry->record : NULL;
}

enum trust_role trust_role(const struct trust *trust, const struct node_key *key, int64_t day_ms)
{
    const struct enrolment *record = trust_find(trust, key);

    if (record != NULL && record->revoked)
        return ROLE_REVOKED;
    if (record != NULL)
        return record->kind == KEY_NODE ? ROLE_NODE : ROLE_USER;
    /* One that is good no more as well, for a while: it is told so when it says Enrol. */
    for (size_t i = 0; i < trust->token_count; i++)
        if (key_equal(&trust->tokens[i].key, key) &&
            trust->tokens[i].expires + TOKEN_MEMORY_MS > day_ms)
            return ROLE_JOINER;
    return ROLE_STRANGER;
}

enum match { NO_MATCH, BY_FINGERPRINT, BY_NAME };

static enum match record_match(const struct enrolment *record, const char *name)
{
    char fingerprint[TRUST_FINGERPRINT_SIZE];
    size_t length = strlen(name);

    if (strcasecmp(record->name, name) == 0)
        return BY_NAME;
    key_fingerprint(&record->key, fingerprint);
    return length >= FINGERPRINT_MIN && strncasecmp(fingerprint, name, length) == 0 ? BY_FINGERPRINT
                                                                                    : NO_MATCH;
}

/* Those that are not revoked come first: a name may have been used before. */
static int rank(const struct enrolment *record, const char *name)
{
    enum match match = record_match(record, name);

    return match == NO_MATCH ? 0 : (record->revoked ? 0 : 2) + (int)match;
}

int trust_find_named(const struct trust *trust, enum key_kind kind, const char *name,
                     const struct enrolment **found, char *error)
{
    const char *what = kind == KEY_NODE ? "node" : "user's key";
    char first[TRUST_FINGERPRINT_SIZE], second[TRUST_FINGERPRINT_SIZE];
    const struct enrolment *other = NULL;
    int best = 0;

    *found = NULL;
    for (size_t i = 0; i < trust->count; i++) {
        const struct enrolment *record = trust_at(trust, i);
        int now = record->kind == kind ? rank(record, name) : 0;

        if (now == 0 || now < best)
            continue;
        other = now == best ? *found : NULL;
        *found = record;
        best = now;
    }
    if (*found == NULL) {
        snprintf(error, TRUST_ERROR_SIZE, "%.80s: the cluster %s has no such %s (c4pd %s)", name,
                 trust->identity.cluster_name, what, kind == KEY_NODE ? "nodes" : "key list");
        return -1;
    }
    if (other == NULL)
        return 0;
    key_fingerprint(&(*found)->key, first);
    key_fingerprint(&other->key, second);
    snprintf(error, TRUST_ERROR_SIZE,
             "%.80s: this may be %s or %s, and maybe others: give the beginning of its fingerprint",
             name, first, second);
    return -1;
}

/* ---- open, close ---- */

struct trust *trust_open(const char *state_dir, char *error)
{
    struct trust *trust = calloc(1, sizeof(*trust));
    int rc;

    if (trust == NULL || sodium_init() < 0) {
        snprintf(error, TRUST_ERROR_SIZE, "out of memory, or of random numbers");
        free(trust);
        return NULL;
    }
    rc = trust_place_open(&trust->place, state_dir, false, error);
    if (rc > 0)
        snprintf(error, TRUST_ERROR_SIZE, "%.180s: belongs to no cluster (c4pd init, c4pd join)",
                 state_dir);
    if (rc == 0 && trust_load(trust, error) == 0)
        return trust;
    trust_close(trust);
    return NULL;
}

void trust_close(struct trust *trust)
{
    if (trust == NULL)
        return;
    HASH_CLEAR(hh, trust->entries);
    for (size_t i = 0; i < trust->count; i++)
        free(trust->order[i]);
    free(trust->order);
    trust_place_close(&trust->place);
    sodium_memzero(trust, sizeof(*trust));
    free(trust);
}

/* ---- starts ---- */

static bool number_read(const char *text, uint64_t *number)
{
    char after;

    return sscanf(text, "%" SCNu64 "%c", number, &after) == 2 && after == '\n' &&
           *number < UINT64_MAX / 2;
}

/* Seconds since 1970 if that is more: whoever puts an old copy back, or loses the file, comes back
 * as a newer life of this node all the same. */
int trust_next_incarnation(struct trust *trust, uint64_t *incarnation, char *error)
{
    uint64_t before = 0, floor = (uint64_t)(clock_day_ms() / 1000);
    char line[32], *text;
    size_t size;
    int rc = trust_file_read(&trust->place, TRUST_FILE_INCARNATION, &text, &size, error);

    if (rc < 0)
        return -1;
    if (rc == 0 && !number_read(text, &before)) {
        snprintf(error, TRUST_ERROR_SIZE, "%.180s/%s: line 1 is no number (remedy: remove it)",
                 trust->place.path, TRUST_FILE_INCARNATION);
        free(text);
        return -1;
    }
    free(text);
    *incarnation = before + 1 > floor ? before + 1 : floor;
    size = (size_t)snprintf(line, sizeof(line), "%" PRIu64 "\n", *incarnation);
    return trust_file_write(&trust->place, TRUST_FILE_INCARNATION, line, size, error);
}
