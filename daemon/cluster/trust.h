/*
 * Who belongs to the cluster: the keys of nodes and users, and the tokens with which hosts join.
 *
 * The enrolled set is a set of records that only grows (Enrolment in cluster.proto): joining two of
 * them takes whatever either has, and revocation wins. So it can travel in any order, any number of
 * times, and all nodes end with the same. Who is in it was put there by a node that was; a node that
 * is revoked is believed no more, and what it enrolled before stays until it is revoked too.
 *
 * On the disk, in the state directory's subdirectory `cluster` (0700), everything 0600, replaced by
 * rename after fsync:
 *
 *   node.key     the node's CURVE key pair, Z85, its second line secret
 *   cluster      id, name, and this node's name
 *   incarnation  count of starts
 *   enrolled     the records, one a line
 *   tokens       those that this node gave out: public key of the secret, expiry, uses left, and the
 *                last hosts that each let in
 *   members      where members were last seen, for the next start: a packed Exchange
 *
 * A token is text: c4pt1- and base64url (no padding) of version, seed address, seed key, 32 bytes of
 * secret and a checksum. The secret is the seed of a CURVE key pair (crypto_box_seed_keypair): the one
 * that knows it connects under that key, which is good for Enrol and nothing else. The seed's daemon
 * keeps only the public half. A use is written down before it is answered.
 */
#ifndef C4P_DAEMON_CLUSTER_TRUST_H
#define C4P_DAEMON_CLUSTER_TRUST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/cluster/swim.h"

#define TRUST_ERROR_SIZE 320
#define TRUST_MAX_KEYS 8192
#define TRUST_MAX_TOKENS 64
#define TRUST_ID_SIZE 16
#define TRUST_CLUSTER_NAME_MAX 63
#define TRUST_TOKEN_MAX 512
#define TRUST_FINGERPRINT_SIZE 17 /* 16 characters of base32 of the key's BLAKE2b, and NUL */

enum key_kind { KEY_NODE = 0, KEY_USER };

struct enrolment {
    struct node_key key;
    enum key_kind kind;
    char name[NODE_NAME_MAX + 1];
    int64_t since;
    struct node_key by;
    bool revoked;
    int64_t revoked_at;
    struct node_key revoked_by;
};

/* The join of two records of one key, into `record`: the older one of who was enrolled when and by
 * whom, and the older revocation. True if that changed it. Order and repetition do not matter. */
bool enrolment_join(struct enrolment *record, const struct enrolment *other);
/* May it be in a set? Names are letters, digits, '-', '.', '_' (of users '@' too) between letters or
 * digits. */
bool enrolment_valid(const struct enrolment *record);
bool trust_name_valid(enum key_kind kind, const char *name);

struct trust;

struct trust_identity {
    struct node_key public_key;
    uint8_t secret_key[32];
    uint8_t cluster[TRUST_ID_SIZE];
    char cluster_name[TRUST_CLUSTER_NAME_MAX + 1];
    char name[NODE_NAME_MAX + 1];
};

/* Functions that return 0, or -1 with a sentence in `error` (TRUST_ERROR_SIZE). */

/* Is this state directory that of a node of a cluster? */
bool trust_exists(const char *state_dir);
/* Make a cluster, and this node the first one in it. Refused if there is one already. */
int trust_init(const char *state_dir, const char *cluster_name, const char *node_name, char *error);
/* A key pair for a node that wants to join: the same one again if it tried before, and was not told
 * what became of it. Refused if it belongs to a cluster already. */
int trust_prepare(const char *state_dir, struct trust_identity *identity, char *error);
/* Become a node of a cluster that has let it in with these records, its own among them, and with
 * these members (trust_members_read), or none. */
int trust_settle(const char *state_dir, const struct trust_identity *identity,
                 const struct enrolment *records, size_t count, const void *members,
                 size_t members_size, char *error);
/* Belong to no cluster any more: all that is known of it is removed, the key too. */
int trust_forget(const char *state_dir, char *error);
/* NULL with a sentence. Close is NULL-safe. */
struct trust *trust_open(const char *state_dir, char *error);
void trust_close(struct trust *trust);
const struct trust_identity *trust_identity(const struct trust *trust);
/* The next incarnation, written down. */
int trust_next_incarnation(struct trust *trust, uint64_t *incarnation, char *error);
/* The file `members`, a packed Exchange of cluster.proto: to be decoded with the care that foreign
 * bytes need. 0, the caller's to free; 1: there is none; -1. */
int trust_members_read(const struct trust *trust, void **members, size_t *size, char *error);
int trust_members_write(const struct trust *trust, const void *members, size_t size, char *error);

/* Who may come in, and as what. */
enum trust_role { ROLE_STRANGER = 0, ROLE_REVOKED, ROLE_NODE, ROLE_USER, ROLE_JOINER };
enum trust_role trust_role(const struct trust *trust, const struct node_key *key, int64_t day_ms);
const struct enrolment *trust_find(const struct trust *trust, const struct node_key *key);
/* By name, or by the beginning of a fingerprint, of those of a kind. -1: none, or several. */
int trust_find_named(const struct trust *trust, enum key_kind kind, const char *name,
                     const struct enrolment **found, char *error);
size_t trust_count(const struct trust *trust);
const struct enrolment *trust_at(const struct trust *trust, size_t i);
/* A hash of the set: equal sets have equal hashes. */
uint64_t trust_hash(const struct trust *trust);

/* Join a record: 1 if it was news (it is on the disk then), 0 if not, -1 with a sentence. What cannot
 * be written counts all the same while the daemon lives, and is tried again with the next one. */
int trust_join(struct trust *trust, const struct enrolment *record, char *error);
/* Several, in one write: how many were news. */
int trust_join_all(struct trust *trust, const struct enrolment *records, size_t count, char *error);
/* A key that nobody has enrolled is not revoked. By this node. */
int trust_revoke(struct trust *trust, const struct node_key *key, int64_t day_ms, char *error);

/* Give out a token: its text, with this seed address. */
int trust_token_create(struct trust *trust, const char *address, uint64_t ttl_ms, uint32_t uses,
                       int64_t day_ms, char token[TRUST_TOKEN_MAX], char *error);
/* A joiner under this key wants in as `record`: enrol it, and count the use. Who was enrolled under
 * the same key and name before is told so again, which is no other use: with a token that is used up,
 * the last hosts that it let in itself, since they may not have heard of it. What else a token that is
 * good no more is used for, it is told that only. */
int trust_token_use(struct trust *trust, const struct node_key *joiner,
                    const struct enrolment *record, int64_t day_ms, char *error);
int trust_token_revoke(struct trust *trust, const char *id, char *error);

#define TRUST_TOKEN_ID_SIZE 9 /* 8 characters, and NUL: the beginning of its key's fingerprint */

/* Those that are still good. */
struct token_record {
    char id[TRUST_TOKEN_ID_SIZE];
    struct node_key key;
    int64_t expires;
    uint32_t uses_left;
};
size_t trust_tokens(const struct trust *trust, int64_t day_ms,
                    struct token_record tokens[TRUST_MAX_TOKENS]);

/* What a token says: for who joins. */
struct token {
    char address[NODE_ADDRESS_MAX + 1];
    struct node_key seed;
    struct node_key public_key; /* of the key pair that the secret makes */
    uint8_t secret_key[32];
};
int token_read(const char *text, struct token *token, char *error);
/* False: the address is too long. */
bool token_write(const char *address, const struct node_key *seed, const uint8_t secret[32],
                 char token[TRUST_TOKEN_MAX]);
/* The key pair of a token's secret. */
void token_key_pair(const uint8_t secret[32], struct node_key *public_key, uint8_t secret_key[32]);
/* tcp://HOST:PORT, HOST a name, an IPv4 address or an IPv6 one in brackets. */
bool node_address_valid(const char *address);

void key_fingerprint(const struct node_key *key, char text[TRUST_FINGERPRINT_SIZE]);
bool key_equal(const struct node_key *one, const struct node_key *other);

/* Z85, as ZeroMQ has it. */
#define KEY_TEXT_SIZE 41
void key_format(const struct node_key *key, char text[KEY_TEXT_SIZE]);
bool key_parse(const char *text, struct node_key *key);
/* A new CURVE key pair. */
void key_pair_make(struct node_key *public_key, uint8_t secret_key[32]);

#endif
