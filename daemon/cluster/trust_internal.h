/*
 * What the parts of trust.h share: trust.c (the set), trust_store.c (its files), trust_tokens.c
 * (tokens that this node gave out).
 */
#ifndef C4P_DAEMON_CLUSTER_TRUST_INTERNAL_H
#define C4P_DAEMON_CLUSTER_TRUST_INTERNAL_H

#include <uthash.h>

#include "daemon/cluster/trust_file.h"

/* Dead tokens are remembered for so long: who comes with one hears why it is no good. */
#define TOKEN_MEMORY_MS (INT64_C(7) * 24 * 3600 * 1000)

/* A token knows the last hosts that it let in: one that did not get the answer may ask again. */
#define TOKEN_HOSTS 32

struct trust_entry {
    UT_hash_handle hh;
    struct enrolment record;
};

struct token_kept {
    struct node_key key;
    int64_t expires;
    uint32_t uses_left;
    bool revoked;
    struct node_key hosts[TOKEN_HOSTS]; /* the last one first */
    size_t host_count;
};

struct trust {
    /* On the disk. */
    struct trust_identity identity;
    struct trust_entry *entries; /* by record.key */
    struct token_kept tokens[TRUST_MAX_TOKENS];
    size_t token_count;

    /* In memory. */
    struct trust_place place;
    struct trust_entry **order;
    size_t count, room;
    uint64_t hash;
    bool unwritten; /* the disk knows less of the set than we do */
};

/* Join into the set in memory: 1 news, 0 not, -1 with a sentence. */
int trust_set_join(struct trust *trust, const struct enrolment *record, char *error);

/* It has let in this host. */
void token_add_host(struct token_kept *token, const struct node_key *host);

/* Lines of the files: into a trust_identity, and twice into a trust. */
record_take trust_cluster_take, trust_enrolled_take, trust_tokens_take;

int trust_store_enrolled(const struct trust *trust, char *error);
int trust_store_tokens(const struct trust *trust, char *error);
/* Identity, set and tokens. */
int trust_load(struct trust *trust, char *error);

#endif
