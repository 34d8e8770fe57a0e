/* c4pd token, evict and key: who may come into the cluster, and who may not any more. */
#define _GNU_SOURCE
#include "daemon/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "daemon/ask.h"
#include "daemon/listing.h"

#define TOKEN_TTL_MS (UINT64_C(3600) * 1000)
#define HEX_SIZE (2 * NODE_KEY_SIZE + 1)

static char *borrowed(const char *text)
{
    return (char *)(uintptr_t)text;
}

/* ---- token ---- */

static int token_list(const struct options *options)
{
    static const char *const titles[] = {"TOKEN", "USES", "EXPIRES"};
    C4p__AdminTokens question = C4P__ADMIN_TOKENS__INIT;
    struct listing listing;
    char text[LISTING_TIME_SIZE];
    int code;
    C4p__AdminAnswer *answer =
        ask_or_say(options->state_dir, C4P__ADMIN__BODY_TOKENS, &question, &code);

    if (answer == NULL)
        return code;
    listing_begin(&listing, options->json, answer->cluster, "tokens", titles, 3, 1u << 1);
    for (size_t i = 0; i < answer->n_tokens; i++) {
        const C4p__TokenInfo *token = answer->tokens[i];

        listing_next(&listing);
        if (listing.json) {
            fputs("{", stdout);
            listing_json_text("id", token->id);
            listing_json_time("expires", token->expires);
            printf("\"uses\": %" PRIu32 "}", token->uses_left);
            continue;
        }
        table_add(&listing.table, token->id);
        table_add_format(&listing.table, "%" PRIu32, token->uses_left);
        table_add(&listing.table, listing_time(token->expires, text));
    }
    ask_free(answer);
    listing_end(&listing);
    return EXIT_CODE_OK;
}

static int token_revoke(const struct options *options)
{
    C4p__AdminToken question = C4P__ADMIN_TOKEN__INIT;
    C4p__AdminAnswer *answer;
    int code;

    question.revoke = borrowed(options->revoke);
    answer = ask_or_say(options->state_dir, C4P__ADMIN__BODY_TOKEN, &question, &code);
    if (answer != NULL)
        printf("token %s is good for nothing any more\n", options->revoke);
    ask_free(answer);
    return code;
}

int token_main(const struct options *options)
{
    C4p__AdminToken question = C4P__ADMIN_TOKEN__INIT;
    C4p__AdminAnswer *answer;
    int code;

    if (options->list)
        return token_list(options);
    if (options->revoke != NULL)
        return token_revoke(options);
    question.ttl_ms = options->ttl_ms != 0 ? options->ttl_ms : TOKEN_TTL_MS;
    question.uses = options->uses != 0 ? options->uses : 1;
    question.address = borrowed(options->address != NULL ? options->address : "");
    answer = ask_or_say(options->state_dir, C4P__ADMIN__BODY_TOKEN, &question, &code);
    if (answer != NULL && options->json) {
        fputs("{", stdout);
        listing_json_text("cluster", answer->cluster);
        printf("\"token\": \"%s\"}\n", answer->token);
    } else if (answer != NULL) {
        puts(answer->token); /* and nothing else: c4pd join $(ssh HOST c4pd token) */
        sodium_memzero(answer->token, strlen(answer->token));
    }
    ask_free(answer);
    return code;
}

/* ---- evict ---- */

int evict_main(const struct options *options)
{
    C4p__AdminEvict question = C4P__ADMIN_EVICT__INIT;
    C4p__AdminAnswer *answer;
    int code;

    question.node = borrowed(options->arguments[0]);
    answer = ask_or_say(options->state_dir, C4P__ADMIN__BODY_EVICT, &question, &code);
    if (answer != NULL)
        printf("%s belongs to the cluster %s no more, and its key is good for nothing\n",
               options->arguments[0], answer->cluster);
    ask_free(answer);
    return code;
}

/* ---- key ---- */

/* As `key new` prints it, or Z85 as ZeroMQ has it. */
static bool key_read(const char *text, struct node_key *key)
{
    size_t size = 0;

    return key_parse(text, key) || (sodium_hex2bin(key->bytes, sizeof(key->bytes), text,
                                                   strlen(text), NULL, &size, NULL) == 0 &&
                                    size == sizeof(key->bytes));
}

/* The line alone to standard output, so that it can be appended to the file. */
static void key_add_tell(const C4p__AdminAnswer *answer, const char *name)
{
    struct node_key server;
    char text[KEY_TEXT_SIZE];

    fprintf(
        stderr,
        "whoever has the other half of this key may use the cluster %s as %s; this line goes to "
        "the end of the key file there:\n",
        answer->cluster, name);
    if (answer->key.len != NODE_KEY_SIZE)
        return;
    memcpy(server.bytes, answer->key.data, NODE_KEY_SIZE);
    key_format(&server, text);
    printf("%s %s\n", answer->address, text);
}

static int key_add(const struct options *options)
{
    C4p__AdminKeyAdd question = C4P__ADMIN_KEY_ADD__INIT;
    const char *name = options->arguments[1];
    C4p__AdminAnswer *answer;
    struct node_key key;
    int code;

    if (!trust_name_valid(KEY_USER, name))
        return usage_error(name,
                           "a name has 1 to %d letters, digits, '-', '.', '_' and '@', and "
                           "begins and ends with a letter or digit",
                           NODE_NAME_MAX);
    if (!key_read(options->arguments[2], &key))
        return usage_error(options->arguments[2], "is no public key: 64 characters, as c4pd key "
                                                  "new prints them");
    question.name = borrowed(name);
    question.key = (ProtobufCBinaryData){NODE_KEY_SIZE, key.bytes};
    answer = ask_or_say(options->state_dir, C4P__ADMIN__BODY_KEY_ADD, &question, &code);
    if (answer != NULL)
        key_add_tell(answer, name);
    ask_free(answer);
    return code;
}

static void key_list_row(struct listing *listing, const C4p__KeyInfo *key)
{
    char text[LISTING_TIME_SIZE], fingerprint[TRUST_FINGERPRINT_SIZE];
    uint64_t since = key->revoked ? key->revoked_at : key->since;

    listing_next(listing);
    listing_fingerprint(&key->key, fingerprint);
    if (!listing->json) {
        table_add(&listing->table, key->name);
        table_add(&listing->table, key->kind);
        table_add(&listing->table, key->revoked ? "revoked" : "good");
        table_add(&listing->table, listing_time(since, text));
        table_add(&listing->table, key->by);
        table_add(&listing->table, fingerprint);
        return;
    }
    fputs("{", stdout);
    listing_json_text("name", key->name);
    listing_json_text("kind", key->kind);
    listing_json_text("key", fingerprint);
    listing_json_text("by", key->by);
    listing_json_time("enrolled", key->since);
    listing_json_time("revoked_at", key->revoked ? key->revoked_at : 0);
    printf("\"revoked\": %s}", key->revoked ? "true" : "false");
}

static int key_list(const struct options *options)
{
    static const char *const titles[] = {"NAME", "KIND", "STATE", "SINCE", "BY", "KEY"};
    C4p__AdminKeys question = C4P__ADMIN_KEYS__INIT;
    struct listing listing;
    char after[16];
    bool more;
    int code;
    C4p__AdminAnswer *answer =
        ask_or_say(options->state_dir, C4P__ADMIN__BODY_KEYS, &question, &code);

    if (answer == NULL)
        return code;
    listing_begin(&listing, options->json, answer->cluster, "keys", titles, 6, 0);
    while (answer != NULL) {
        for (size_t i = 0; i < answer->n_keys; i++)
            key_list_row(&listing, answer->keys[i]);
        more = answer->more && answer->n_keys > 0;
        ask_free(answer);
        snprintf(after, sizeof(after), "%zu", listing.count);
        question.after = after;
        answer =
            more ? ask_or_say(options->state_dir, C4P__ADMIN__BODY_KEYS, &question, &code) : NULL;
    }
    listing_end(&listing);
    return code;
}

static int key_revoke(const struct options *options)
{
    C4p__AdminKeyRevoke question = C4P__ADMIN_KEY_REVOKE__INIT;
    C4p__AdminAnswer *answer;
    int code;

    question.name = borrowed(options->arguments[1]);
    answer = ask_or_say(options->state_dir, C4P__ADMIN__BODY_KEY_REVOKE, &question, &code);
    if (answer != NULL)
        printf("the key of %s is good for nothing any more\n", options->arguments[1]);
    ask_free(answer);
    return code;
}

/* Both halves in Z85, a line each, as in node.key; nobody else reads it, and nothing is replaced. */
static int key_write(const char *path, const struct node_key *public_key, uint8_t secret_key[32])
{
    char text[2 * KEY_TEXT_SIZE + 1];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600), reason = 0;

    if (fd < 0)
        return errno;
    key_format(public_key, text);
    text[KEY_TEXT_SIZE - 1] = '\n';
    zmq_z85_encode(text + KEY_TEXT_SIZE, secret_key, 32);
    text[2 * KEY_TEXT_SIZE - 1] = '\n';
    errno = EIO;
    if (write(fd, text, 2 * KEY_TEXT_SIZE) != 2 * KEY_TEXT_SIZE || fsync(fd) != 0)
        reason = errno;
    close(fd);
    if (reason != 0)
        unlink(path);
    sodium_memzero(text, sizeof(text));
    return reason;
}

static int key_new(const struct options *options)
{
    const char *path = options->arguments[1];
    struct node_key public_key;
    uint8_t secret_key[32];
    char hex[HEX_SIZE];
    int reason;

    key_pair_make(&public_key, secret_key);
    reason = key_write(path, &public_key, secret_key);
    sodium_memzero(secret_key, sizeof(secret_key));
    if (reason != 0) {
        fprintf(stderr, "c4pd: %s: cannot be made: %s\n", path, strerror(reason));
        return EXIT_CODE_FAILED;
    }
    puts(sodium_bin2hex(hex, sizeof(hex), public_key.bytes, NODE_KEY_SIZE));
    return EXIT_CODE_OK;
}

int key_main(const struct options *options)
{
    static const struct {
        const char *name;
        unsigned arguments;
        int (*main)(const struct options *options);
    } actions[] = {
        {"new", 2, key_new},
        {"add", 3, key_add},
        {"list", 1, key_list},
        {"revoke", 2, key_revoke},
    };

    for (size_t i = 0; i < sizeof(actions) / sizeof(*actions); i++)
        if (strcmp(options->arguments[0], actions[i].name) == 0 &&
            options->argument_count == actions[i].arguments)
            return actions[i].main(options);
    return usage_error("key", "say what:%s (c4pd key --help)", options_arguments(COMMAND_KEY));
}
