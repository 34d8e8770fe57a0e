/* The files of a node of a cluster (trust.h): made, written and read. */
#define _GNU_SOURCE
#include "daemon/cluster/trust_internal.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "proto/clock.h"

static const char *const kinds[] = {[KEY_NODE] = "node", [KEY_USER] = "user"};

/* ---- the node's key ---- */

static int key_write(const struct trust_place *place, const struct trust_identity *identity,
                     char *error)
{
    char text[2 * KEY_TEXT_SIZE + 1];
    int rc;

    key_format(&identity->public_key, text);
    text[KEY_TEXT_SIZE - 1] = '\n';
    zmq_z85_encode(text + KEY_TEXT_SIZE, identity->secret_key, sizeof(identity->secret_key));
    text[2 * KEY_TEXT_SIZE - 1] = '\n';
    rc = trust_file_write(place, TRUST_FILE_KEY, text, 2 * KEY_TEXT_SIZE, error);
    sodium_memzero(text, sizeof(text));
    return rc;
}

static bool key_take(char *text, size_t size, struct trust_identity *identity)
{
    struct node_key check, secret;
    bool good;

    if (size != 2 * KEY_TEXT_SIZE || text[KEY_TEXT_SIZE - 1] != '\n' || text[size - 1] != '\n')
        return false;
    text[KEY_TEXT_SIZE - 1] = text[size - 1] = '\0';
    good = key_parse(text, &identity->public_key) && key_parse(text + KEY_TEXT_SIZE, &secret) &&
           crypto_scalarmult_base(check.bytes, secret.bytes) == 0 &&
           key_equal(&check, &identity->public_key);
    memcpy(identity->secret_key, secret.bytes, sizeof(secret.bytes));
    sodium_memzero(&secret, sizeof(secret));
    return good;
}

/* 0; 1: there is none; -1. */
static int key_read(const struct trust_place *place, struct trust_identity *identity, char *error)
{
    size_t size;
    char *text;
    int rc = trust_file_read(place, TRUST_FILE_KEY, &text, &size, error);

    if (rc != 0)
        return rc;
    if (!key_take(text, size, identity)) {
        snprintf(error, TRUST_ERROR_SIZE,
                 "%.180s/%s: damaged: it is no key pair (put a copy back, or leave and join again: "
                 "c4pd leave --now)",
                 place->path, TRUST_FILE_KEY);
        rc = -1;
    }
    sodium_memzero(text, size);
    free(text);
    return rc;
}

/* ---- which cluster ---- */

static int cluster_write(const struct trust_place *place, const struct trust_identity *identity,
                         char *error)
{
    struct record_writer writer;
    char id[2 * TRUST_ID_SIZE + 1];

    sodium_bin2hex(id, sizeof(id), identity->cluster, sizeof(identity->cluster));
    record_writer_begin(&writer, TRUST_FILE_CLUSTER);
    record_writer_line(&writer, "id %s", id);
    record_writer_line(&writer, "name %s", identity->cluster_name);
    record_writer_line(&writer, "node %s", identity->name);
    return record_writer_end(&writer, place, TRUST_FILE_CLUSTER, error);
}

static bool name_take(char *name, const char *value)
{
    if (!trust_name_valid(KEY_NODE, value) || name[0] != '\0')
        return false;
    strcpy(name, value);
    return true;
}

const char *trust_cluster_take(void *context, char *line)
{
    struct trust_identity *identity = context;
    char *value = strchr(line, ' ');
    size_t size = 0;
    bool good = false;

    if (value != NULL)
        *value++ = '\0';
    if (value != NULL && strcmp(line, "id") == 0)
        good = sodium_hex2bin(identity->cluster, TRUST_ID_SIZE, value, strlen(value), NULL, &size,
                              NULL) == 0 &&
               size == TRUST_ID_SIZE;
    else if (value != NULL && strcmp(line, "name") == 0)
        good = name_take(identity->cluster_name, value);
    else if (value != NULL && strcmp(line, "node") == 0)
        good = name_take(identity->name, value);
    return good ? NULL : "is not what c4pd writes there";
}

static int cluster_read(const struct trust_place *place, struct trust_identity *identity,
                        char *error)
{
    int rc = record_file_read(place, TRUST_FILE_CLUSTER, trust_cluster_take, identity, error);

    if (rc == 0 && (identity->cluster_name[0] == '\0' || identity->name[0] == '\0')) {
        snprintf(error, TRUST_ERROR_SIZE, "%.180s/%s: damaged: it lacks a name (c4pd leave --now)",
                 place->path, TRUST_FILE_CLUSTER);
        rc = -1;
    }
    return rc;
}

/* ---- the set ---- */

static void enrolment_write(struct record_writer *writer, const struct enrolment *record)
{
    char key[KEY_TEXT_SIZE], by[KEY_TEXT_SIZE], revoked_by[KEY_TEXT_SIZE];
    char revoked[KEY_TEXT_SIZE + 48] = "";

    key_format(&record->key, key);
    key_format(&record->by, by);
    key_format(&record->revoked_by, revoked_by);
    if (record->revoked)
        snprintf(revoked, sizeof(revoked), " revoked %" PRId64 " %s", record->revoked_at,
                 revoked_by);
    record_writer_line(writer, "%s %s %s %" PRId64 " %s%s", kinds[record->kind], key, record->name,
                       record->since, by, revoked);
}

static bool enrolment_read(const char *line, struct enrolment *record)
{
    char kind[8], key[KEY_TEXT_SIZE], by[KEY_TEXT_SIZE], revoked_by[KEY_TEXT_SIZE], after;
    int fields;

    *record = (struct enrolment){0};
    fields = sscanf(line, "%7s %40s %63s %" SCNd64 " %40s revoked %" SCNd64 " %40s%c", kind, key,
                    record->name, &record->since, by, &record->revoked_at, revoked_by, &after);
    if ((fields != 5 && fields != 7) || !key_parse(key, &record->key) ||
        !key_parse(by, &record->by))
        return false;
    record->revoked = fields == 7;
    record->kind = strcmp(kind, kinds[KEY_USER]) == 0 ? KEY_USER : KEY_NODE;
    return strcmp(kind, kinds[record->kind]) == 0 &&
           (!record->revoked || key_parse(revoked_by, &record->revoked_by)) &&
           enrolment_valid(record);
}

const char *trust_enrolled_take(void *context, char *line)
{
    struct enrolment record;
    char error[TRUST_ERROR_SIZE];

    if (!enrolment_read(line, &record))
        return "is no enrolment";
    return trust_set_join(context, &record, error) < 0 ? "is one more than there may be" : NULL;
}

int trust_store_enrolled(const struct trust *trust, char *error)
{
    struct record_writer writer;

    record_writer_begin(&writer, TRUST_FILE_ENROLLED);
    for (size_t i = 0; i < trust->count; i++)
        enrolment_write(&writer, &trust->order[i]->record);
    return record_writer_end(&writer, &trust->place, TRUST_FILE_ENROLLED, error);
}

/* ---- tokens ---- */

/* A line for each, and one behind it for each host that it let in, the last one last. */
int trust_store_tokens(const struct trust *trust, char *error)
{
    struct record_writer writer;
    char key[KEY_TEXT_SIZE];

    record_writer_begin(&writer, TRUST_FILE_TOKENS);
    for (size_t i = 0; i < trust->token_count; i++) {
        const struct token_kept *token = &trust->tokens[i];

        key_format(&token->key, key);
        record_writer_line(&writer, "%s %" PRId64 " %u %s", key, token->expires, token->uses_left,
                           token->revoked ? "revoked" : "good");
        for (size_t k = token->host_count; k-- > 0;) {
            key_format(&token->hosts[k], key);
            record_writer_line(&writer, "host %s", key);
        }
    }
    return record_writer_end(&writer, &trust->place, TRUST_FILE_TOKENS, error);
}

/* One that the token of the lines before has let in. */
static const char *host_take(struct trust *trust, const char *text)
{
    struct token_kept *token =
        trust->token_count > 0 ? &trust->tokens[trust->token_count - 1] : NULL;
    struct node_key host;

    if (token == NULL || !key_parse(text, &host))
        return "is no host of a token";
    if (token->host_count == TOKEN_HOSTS)
        return "is one more than there may be";
    token_add_host(token, &host);
    return NULL;
}

const char *trust_tokens_take(void *context, char *line)
{
    struct trust *trust = context;
    struct token_kept token = {0};
    char key[KEY_TEXT_SIZE], word[8], after;

    if (strncmp(line, "host ", 5) == 0)
        return host_take(trust, line + 5);
    if (sscanf(line, "%40s %" SCNd64 " %u %7s%c", key, &token.expires, &token.uses_left, word,
               &after) != 4 ||
        !key_parse(key, &token.key) || token.expires < 0 || token.expires >= INT64_C(1) << 48)
        return "is no token";
    token.revoked = strcmp(word, "revoked") == 0;
    if (!token.revoked && strcmp(word, "good") != 0)
        return "is no token";
    if (trust->token_count == TRUST_MAX_TOKENS)
        return "is one more than there may be";
    trust->tokens[trust->token_count++] = token;
    return NULL;
}

/* ---- members ---- */

int trust_members_read(const struct trust *trust, void **members, size_t *size, char *error)
{
    char *data;
    int rc = trust_file_read(&trust->place, TRUST_FILE_MEMBERS, &data, size, error);

    *members = data;
    return rc;
}

int trust_members_write(const struct trust *trust, const void *members, size_t size, char *error)
{
    return trust_file_write(&trust->place, TRUST_FILE_MEMBERS, members, size, error);
}

/* ---- all of it ---- */

int trust_load(struct trust *trust, char *error)
{
    struct trust_place *place = &trust->place;
    const struct enrolment *self;
    int rc = cluster_read(place, &trust->identity, error);

    if (rc == 0)
        rc = key_read(place, &trust->identity, error);
    if (rc == 0)
        rc = record_file_read(place, TRUST_FILE_ENROLLED, trust_enrolled_take, trust, error);
    if (rc > 0)
        snprintf(error, TRUST_ERROR_SIZE,
                 "%.180s: files of it are lost (put a copy back, or leave and join again: c4pd "
                 "leave --now)",
                 place->path);
    if (rc != 0)
        return -1;
    self = trust_find(trust, &trust->identity.public_key);
    if (self == NULL) {
        snprintf(error, TRUST_ERROR_SIZE,
                 "%.180s/%s: this node's own key is not in it (put a copy back, or leave and join "
                 "again: c4pd leave --now)",
                 place->path, TRUST_FILE_ENROLLED);
        return -1;
    }
    return record_file_read(place, TRUST_FILE_TOKENS, trust_tokens_take, trust, error) < 0 ? -1 : 0;
}

bool trust_exists(const char *state_dir)
{
    struct trust_place place;
    char error[TRUST_ERROR_SIZE];
    bool exists;

    if (trust_place_open(&place, state_dir, false, error) != 0)
        return place.path[0] != '\0' && access(place.path, F_OK) == 0;
    exists = faccessat(place.fd, TRUST_FILE_CLUSTER, F_OK, 0) == 0;
    trust_place_close(&place);
    return exists;
}

/* ---- beginning ---- */

static int place_clear(const struct trust_place *place, char *error)
{
    /* First what says that there is a cluster. */
    static const char *const names[] = {
        TRUST_FILE_CLUSTER,  TRUST_FILE_KEY,     TRUST_FILE_TOKENS,
        TRUST_FILE_ENROLLED, TRUST_FILE_MEMBERS, TRUST_FILE_INCARNATION,
    };
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < sizeof(names) / sizeof(*names); i++)
        rc = trust_file_remove(place, names[i], error);
    return rc;
}

/* Does the place belong to a node that may not come back? */
static bool was_evicted(const char *state_dir)
{
    char error[TRUST_ERROR_SIZE];
    struct trust *trust = trust_open(state_dir, error);
    bool evicted =
        trust != NULL && trust_role(trust, &trust->identity.public_key, 0) == ROLE_REVOKED;

    trust_close(trust);
    return evicted;
}

/* Nobody's yet? What an evicted node had is of no use to anybody: removed. The directory is locked. */
static int place_claim(struct trust_place *place, const char *state_dir, char *error)
{
    struct trust_identity other = {0};
    int rc = trust_place_open(place, state_dir, true, error);

    if (rc == 0)
        rc = trust_place_lock(place, error);
    if (rc != 0)
        return -1;
    rc = cluster_read(place, &other, error);
    if (rc == 0 && was_evicted(state_dir))
        return place_clear(place, error);
    if (rc == 0)
        snprintf(
            error, TRUST_ERROR_SIZE,
            "this node belongs to the cluster %s already, as %s (c4pd leave ends that; %.120s)",
            other.cluster_name, other.name, place->path);
    return rc > 0 ? 0 : -1;
}

/* The file `cluster` comes last: it is what says that all is there. */
static int place_fill(const struct trust *trust, const void *members, size_t size, char *error)
{
    const struct trust_identity *identity = &trust->identity;

    if (key_write(&trust->place, identity, error) != 0 || trust_store_enrolled(trust, error) != 0 ||
        trust_store_tokens(trust, error) != 0 ||
        (size > 0 && trust_members_write(trust, members, size, error) != 0))
        return -1;
    return cluster_write(&trust->place, identity, error);
}

int trust_prepare(const char *state_dir, struct trust_identity *identity, char *error)
{
    struct trust_place place;
    int rc = place_claim(&place, state_dir, error);

    *identity = (struct trust_identity){0};
    if (rc == 0)
        rc = key_read(&place, identity, error);
    if (rc > 0) {
        key_pair_make(&identity->public_key, identity->secret_key);
        rc = key_write(&place, identity, error);
    }
    trust_place_close(&place);
    return rc;
}

int trust_settle(const char *state_dir, const struct trust_identity *identity,
                 const struct enrolment *records, size_t count, const void *members,
                 size_t members_size, char *error)
{
    struct trust *trust = calloc(1, sizeof(*trust));
    int rc = trust != NULL && sodium_init() >= 0 ? 0 : -1;

    if (rc != 0) {
        snprintf(error, TRUST_ERROR_SIZE, "out of memory, or of random numbers");
        free(trust);
        return rc;
    }
    trust->identity = *identity;
    rc = place_claim(&trust->place, state_dir, error);
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = trust_set_join(trust, &records[i], error) < 0 ? -1 : 0;
    if (rc == 0)
        rc = place_fill(trust, members, members_size, error);
    trust_close(trust);
    return rc;
}

int trust_init(const char *state_dir, const char *cluster_name, const char *node_name, char *error)
{
    struct trust_identity identity = {0};
    struct enrolment self = {.kind = KEY_NODE, .since = clock_day_ms()};
    const char *bad = !trust_name_valid(KEY_NODE, cluster_name) ? cluster_name : node_name;
    int rc;

    if (!trust_name_valid(KEY_NODE, bad) || !trust_name_valid(KEY_NODE, cluster_name)) {
        snprintf(error, TRUST_ERROR_SIZE,
                 "%.80s: a name has 1 to %d letters, digits, '-', '.' and '_', and begins and ends "
                 "with a letter or digit",
                 bad[0] != '\0' ? bad : "(nothing)", NODE_NAME_MAX);
        return -1;
    }
    strcpy(identity.cluster_name, cluster_name);
    strcpy(identity.name, node_name);
    strcpy(self.name, node_name);
    key_pair_make(&identity.public_key, identity.secret_key);
    randombytes_buf(identity.cluster, sizeof(identity.cluster));
    self.key = self.by = identity.public_key;
    rc = trust_settle(state_dir, &identity, &self, 1, NULL, 0, error);
    sodium_memzero(&identity, sizeof(identity));
    return rc;
}

/* ---- the end ---- */

int trust_forget(const char *state_dir, char *error)
{
    struct trust_place place;
    int rc = trust_place_open(&place, state_dir, false, error);

    if (rc > 0)
        return 0;
    if (rc == 0)
        rc = trust_place_lock(&place, error);
    if (rc == 0)
        rc = place_clear(&place, error);
    if (rc == 0)
        rmdir(place.path); /* unless somebody keeps something else there */
    trust_place_close(&place);
    return rc;
}
