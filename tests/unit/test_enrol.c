/*
 * Joining, both ends, over TCP on the loopback: the seed runs in a thread with the sockets and the
 * guard that a daemon has, who joins is the test itself.
 */
#include "tests/unit/scratch.h"

#include <arpa/inet.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <zmq.h>

#include "daemon/cluster/enrol.h"
#include "daemon/cluster/links.h"
#include "daemon/cluster/record.h"
#include "daemon/cluster/zap.h"
#include "daemon/log.h"
#include "proto/clock.h"

#define HOUR UINT64_C(3600000)

/* ---- the seed ---- */

struct seed {
    struct scratch scratch;
    struct trust *trust;
    struct event_base *base;
    void *zmq;
    struct zap *zap;
    struct links *links;
    struct refusals refusals;
    struct member_record self, other;
    uint32_t version; /* that its answers say, if not 0 */
    bool lies;        /* it answers as the joiner would ask */
    bool silent;      /* it does not answer at all */
    atomic_bool ends;
    unsigned welcomed, refused;
    pthread_t thread;
};

static const struct zap_rule rules[] = {
    {LINKS_DOMAIN, 1u << ROLE_NODE | 1u << ROLE_USER | 1u << ROLE_JOINER},
};

static enum trust_role seed_role(void *context, const struct node_key *key)
{
    const struct seed *seed = context;

    return trust_role(seed->trust, key, clock_day_ms());
}

/* The same message with another number in it. */
static uint8_t *answer_change(const struct seed *seed, uint8_t *packed, size_t *size)
{
    C4p__Peer *peer = peer_unpack(packed, *size);

    require(peer != NULL);
    free(packed);
    if (peer->body_case == C4P__PEER__BODY_ENROLLED)
        peer->enrolled->version = seed->version;
    *size = c4p__peer__get_packed_size(peer);
    packed = malloc(*size);
    require(packed != NULL);
    c4p__peer__pack(peer, packed);
    peer_free(peer);
    return packed;
}

static void seed_received(void *context, const struct links_origin *from, const C4p__Peer *message)
{
    struct seed *seed = context;
    const struct member_record *nodes[] = {&seed->self, &seed->other};
    struct refusals refusals = {0};
    const struct enrol_seed known = {seed->trust, &seed->self, nodes, 2, &refusals};
    uint8_t *answer;
    bool welcome;
    size_t size;

    require(from->role == ROLE_JOINER && message->body_case == C4P__PEER__BODY_ENROL);
    require(strcmp(from->address, "127.0.0.1") == 0);
    answer = enrol_answer(&known, &from->key, from->address, message->enrol, &welcome, &size);
    require(answer != NULL);
    seed->welcomed += welcome;
    seed->refused += !welcome;
    if (seed->version != 0)
        answer = answer_change(seed, answer, &size);
    if (seed->lies)
        size = c4p__peer__pack(message, answer);
    if (!seed->silent)
        require(links_reply(seed->links, from->identity, from->identity_size, answer, size) == 0);
    free(answer);
}

static void seed_user(void *context, const struct node_key *from, const void *identity,
                      size_t identity_size, const void *data, size_t size)
{
    (void)context, (void)from, (void)identity, (void)identity_size, (void)data, (void)size;
    require(false);
}

static void seed_nothing(void *context, const struct node_key *key)
{
    (void)context, (void)key;
}

static void *seed_run(void *argument)
{
    struct seed *seed = argument;

    while (!atomic_load(&seed->ends)) {
        event_base_loopexit(seed->base, &(struct timeval){0, 20000});
        require(event_base_loop(seed->base, 0) >= 0);
    }
    return NULL;
}

static void seed_listen(struct seed *seed)
{
    const struct zap_settings zap = {seed->zmq, rules, 1, &seed->refusals, seed_role, NULL, seed};
    const struct links_settings settings = {
        .zmq = seed->zmq,
        .address = "tcp://127.0.0.1:*",
        .identity = trust_identity(seed->trust),
        .incarnation = 7,
        .refusals = &seed->refusals,
        .listener = {seed_role, seed_received, seed_user, seed_nothing, seed_nothing, seed},
    };
    char error[TRUST_ERROR_SIZE] = "";

    seed->zap = zap_create(seed->base, &zap, error);
    seed->links = links_create(seed->base, &settings, error);
    if (seed->zap == NULL || seed->links == NULL)
        fail_msg("%s", error);
}

static void seed_start(struct seed *seed)
{
    char error[TRUST_ERROR_SIZE] = "";

    memset(seed, 0, sizeof(*seed));
    scratch_make(&seed->scratch);
    require(trust_init(seed->scratch.path, "lab", "alpha", error) == 0);
    seed->trust = trust_open(seed->scratch.path, error);
    seed->base = event_base_new();
    seed->zmq = zmq_ctx_new();
    require(seed->trust != NULL && seed->base != NULL && seed->zmq != NULL);
    seed_listen(seed);
    seed->self.key = trust_identity(seed->trust)->public_key;
    seed->self.incarnation = 7;
    seed->self.has_facts = true;
    strcpy(seed->self.facts.name, "alpha");
    strcpy(seed->self.facts.control, links_address(seed->links));
    seed->other = seed->self;
    seed->other.key.bytes[0] ^= 1;
    strcpy(seed->other.facts.name, "other");
}

/* Not while its thread runs. */
static void token_make(struct seed *seed, char token[TRUST_TOKEN_MAX], const char *address,
                       uint32_t uses, uint64_t age)
{
    char error[TRUST_ERROR_SIZE];

    if (trust_token_create(seed->trust, address != NULL ? address : links_address(seed->links),
                           HOUR, uses, clock_day_ms() - (int64_t)age, token, error) != 0)
        fail_msg("%s", error);
}

static void seed_begin(struct seed *seed)
{
    atomic_store(&seed->ends, false);
    seed->thread = thread_start(seed_run, seed);
}

static void seed_pause(struct seed *seed)
{
    atomic_store(&seed->ends, true);
    thread_join(seed->thread);
}

static void seed_end(struct seed *seed)
{
    links_destroy(seed->links);
    zap_destroy(seed->zap);
    zmq_ctx_term(seed->zmq);
    event_base_free(seed->base);
    trust_close(seed->trust);
    scratch_remove(&seed->scratch);
}

/* ---- who joins ---- */

static char error[ENROL_ERROR_SIZE];

static void says(const char *reason)
{
    if (strstr(error, reason) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error, reason);
}

static int join(const struct scratch *scratch, const char *token, const char *name, uint64_t ms)
{
    const struct enrol_request request = {scratch->path, token, name, "1.2.3", ms};
    struct trust_identity identity;

    error[0] = '\0';
    return enrol_join(&request, &identity, error);
}

static void refused(const char *token, const char *reason)
{
    struct scratch scratch;

    scratch_make(&scratch);
    assert_int_equal(join(&scratch, token, "beta", 20000), -1);
    says(reason);
    assert_false(trust_exists(scratch.path));
    scratch_remove(&scratch);
}

static void a_host_with_a_token_becomes_a_node(void **state)
{
    char token[TRUST_TOKEN_MAX];
    C4p__Exchange *exchange;
    struct scratch scratch;
    struct trust *trust;
    struct seed seed;
    void *members;
    size_t size;

    (void)state;
    seed_start(&seed);
    token_make(&seed, token, NULL, 1, 0);
    seed_begin(&seed);
    scratch_make(&scratch);
    if (join(&scratch, token, "beta", 20000) != 0)
        fail_msg("%s", error);
    seed_pause(&seed);
    trust = trust_open(scratch.path, error);
    assert_non_null(trust);
    assert_string_equal(trust_identity(trust)->cluster_name, "lab");
    assert_string_equal(trust_identity(trust)->name, "beta");
    assert_memory_equal(trust_identity(trust)->cluster, trust_identity(seed.trust)->cluster,
                        TRUST_ID_SIZE);
    assert_true(trust_hash(trust) == trust_hash(seed.trust));
    assert_int_equal(trust_count(seed.trust), 2);
    assert_int_equal(seed.welcomed, 1);
    assert_int_equal(trust_members_read(trust, &members, &size, error), 0);
    exchange = c4p__exchange__unpack(NULL, size, members);
    assert_non_null(exchange);
    assert_int_equal(exchange->n_members, 2);
    assert_string_equal(exchange->members[0]->facts->control, links_address(seed.links));
    c4p__exchange__free_unpacked(exchange, NULL);
    free(members);
    trust_close(trust);
    /* And once more: it belongs to one already. */
    assert_int_equal(join(&scratch, token, "beta", 20000), -1);
    says("belongs to the cluster lab already");
    scratch_remove(&scratch);
    seed_end(&seed);
}

static void a_token_that_is_no_good_is_refused_with_the_seeds_sentence(void **state)
{
    char used[TRUST_TOKEN_MAX], expired[TRUST_TOKEN_MAX], taken[TRUST_TOKEN_MAX];
    struct token_record tokens[TRUST_MAX_TOKENS];
    struct scratch scratch;
    struct seed seed;

    (void)state;
    seed_start(&seed);
    token_make(&seed, taken, NULL, 1, 0);
    assert_int_equal(trust_tokens(seed.trust, clock_day_ms(), tokens), 1);
    assert_int_equal(trust_token_revoke(seed.trust, tokens[0].id, error), 0);
    token_make(&seed, used, NULL, 1, 0);
    token_make(&seed, expired, NULL, 1, 2 * HOUR);
    seed_begin(&seed);
    scratch_make(&scratch);
    assert_int_equal(join(&scratch, used, "gamma", 20000), 0);
    scratch_remove(&scratch);
    refused(used, "used before as often as it may be");
    refused(expired, "expired 1 h");
    refused(taken, "taken back");
    seed_pause(&seed);
    assert_int_equal(seed.refused, 3);
    assert_int_equal(trust_count(seed.trust), 2);
    seed_end(&seed);
}

static void a_name_that_a_node_has_is_refused_with_what_to_do(void **state)
{
    char token[TRUST_TOKEN_MAX];
    struct scratch scratch;
    struct seed seed;

    (void)state;
    seed_start(&seed);
    token_make(&seed, token, NULL, 1, 0);
    seed_begin(&seed);
    scratch_make(&scratch);
    assert_int_equal(join(&scratch, token, "alpha", 20000), -1);
    says("has a node alpha already: choose another name (c4pd join --name)");
    assert_int_equal(join(&scratch, token, "b b", 20000), -1);
    says("--name");
    assert_int_equal(join(&scratch, token, "beta", 20000), 0);
    scratch_remove(&scratch);
    seed_pause(&seed);
    seed_end(&seed);
}

static void an_answer_that_was_lost_costs_no_second_use(void **state)
{
    char token[TRUST_TOKEN_MAX];
    struct scratch scratch;
    struct seed seed;

    (void)state;
    seed_start(&seed);
    token_make(&seed, token, NULL, 1, 0);
    seed.silent = true;
    seed_begin(&seed);
    scratch_make(&scratch);
    assert_int_equal(join(&scratch, token, "beta", 1500), -1);
    says("does not answer in time");
    seed_pause(&seed);
    assert_int_equal(seed.welcomed, 1);
    seed.silent = false;
    seed_begin(&seed);
    if (join(&scratch, token, "beta", 20000) != 0)
        fail_msg("%s", error);
    seed_pause(&seed);
    assert_int_equal(trust_count(seed.trust), 2);
    scratch_remove(&scratch);
    seed_end(&seed);
}

static void the_token_of_another_cluster_is_refused(void **state)
{
    char token[TRUST_TOKEN_MAX], stranger[TRUST_TOKEN_MAX];
    struct seed seed, other;

    (void)state;
    seed_start(&seed);
    seed_start(&other);
    /* Its key, at the address of this one. */
    token_make(&other, token, links_address(seed.links), 1, 0);
    /* The key of this one, and a secret that it never made. */
    assert_true(
        token_write(links_address(seed.links), &seed.self.key, (const uint8_t[32]){5}, stranger));
    seed_begin(&seed);
    refused(token, "is not the daemon that the token is of");
    refused(stranger, "does not know the token");
    seed_pause(&seed);
    assert_int_equal(seed.welcomed + seed.refused, 0);
    seed_end(&seed);
    seed_end(&other);
}

static void versions_that_do_not_meet_are_refused_at_both_ends(void **state)
{
    char token[TRUST_TOKEN_MAX], reason[TRUST_ERROR_SIZE];
    C4p__Enrol enrol = C4P__ENROL__INIT;
    struct node_key key = {{3}};
    struct seed seed;

    (void)state;
    seed_start(&seed);
    token_make(&seed, token, NULL, 1, 0);
    enrol.name = (char *)(uintptr_t) "beta";
    enrol.key = (ProtobufCBinaryData){NODE_KEY_SIZE, key.bytes};
    enrol.min_version = CLUSTER_VERSION + 1;
    enrol.max_version = CLUSTER_VERSION + 4;
    assert_int_equal(enrol_judge(seed.trust, &key, &enrol, 0, reason), -1);
    assert_non_null(strstr(reason, "install a release"));
    seed.version = CLUSTER_VERSION + 1;
    seed_begin(&seed);
    refused(token, "another version of the protocol");
    seed_pause(&seed);
    seed_end(&seed);
}

static void an_answer_that_is_none_is_refused(void **state)
{
    char token[TRUST_TOKEN_MAX];
    struct seed seed;

    (void)state;
    seed_start(&seed);
    token_make(&seed, token, NULL, 1, 0);
    seed.lies = true;
    seed_begin(&seed);
    refused(token, "answers what nobody asked");
    seed_pause(&seed);
    seed_end(&seed);
}

static void enrol_with_nonsense_in_it_is_refused(void **state)
{
    C4p__Enrol enrol = C4P__ENROL__INIT;
    char reason[TRUST_ERROR_SIZE];
    struct node_key key = {{3}};
    struct seed seed;

    (void)state;
    seed_start(&seed);
    enrol.max_version = CLUSTER_VERSION;
    assert_int_equal(enrol_judge(seed.trust, &key, &enrol, 0, reason), -1);
    enrol.key = (ProtobufCBinaryData){31, key.bytes};
    enrol.name = (char *)(uintptr_t) "beta";
    assert_int_equal(enrol_judge(seed.trust, &key, &enrol, 0, reason), -1);
    enrol.key.len = 32;
    enrol.name = (char *)(uintptr_t) "a\nb";
    assert_int_equal(enrol_judge(seed.trust, &key, &enrol, 0, reason), -1);
    enrol.name = (char *)(uintptr_t) "beta";
    assert_int_equal(enrol_judge(seed.trust, &key, &enrol, 0, reason), -1);
    assert_non_null(strstr(reason, "no such token"));
    assert_int_equal(trust_count(seed.trust), 1);
    seed_end(&seed);
}

/* ---- bytes that releases must agree on ---- */

static C4p__Peer *golden(const char *bytes, size_t size)
{
    C4p__Peer *peer = peer_unpack(bytes, size);
    uint8_t again[512];

    assert_non_null(peer);
    assert_int_equal(c4p__peer__get_packed_size(peer), size);
    assert_int_equal(c4p__peer__pack(peer, again), size);
    assert_memory_equal(again, bytes, size);
    return peer;
}

static void enrol_and_enrolled_are_the_bytes_that_they_always_were(void **state)
{
    static const char enrol[] =
        "\x08\x01\xa2\x01\x33\x0a\x20\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05"
        "\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x12"
        "\x04\x62\x65\x74\x61\x18\x01\x20\x01\x2a\x05\x30\x2e\x31\x2e\x30";
    static const char refusal[] = "\x08\x01\x10\x07\xaa\x01\x04\x0a\x02\x6e\x6f";
    static const char welcome[] =
        "\x08\x01\x10\x07\xaa\x01\x67\x12\x10\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a"
        "\x0b\x0c\x0d\x0e\x0f\x1a\x03\x6c\x61\x62\x22\x4c\x0a\x20\x05\x05\x05\x05\x05\x05"
        "\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05\x05"
        "\x05\x05\x05\x05\x05\x05\x1a\x04\x62\x65\x74\x61\x20\x09\x2a\x20\x01\x01\x01\x01"
        "\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01"
        "\x01\x01\x01\x01\x01\x01\x01\x01\x30\x01";
    C4p__Peer *peer = golden(enrol, sizeof(enrol) - 1);
    struct enrolment record;

    (void)state;
    assert_int_equal(peer->body_case, C4P__PEER__BODY_ENROL);
    assert_string_equal(peer->enrol->name, "beta");
    assert_int_equal(peer->enrol->key.len, NODE_KEY_SIZE);
    assert_int_equal(peer->enrol->min_version, 1);
    assert_int_equal(peer->enrol->max_version, 1);
    peer_free(peer);
    peer = golden(refusal, sizeof(refusal) - 1);
    assert_string_equal(peer->enrolled->refused, "no");
    assert_int_equal(peer->incarnation, 7);
    peer_free(peer);
    peer = golden(welcome, sizeof(welcome) - 1);
    assert_string_equal(peer->enrolled->cluster_name, "lab");
    assert_int_equal(peer->enrolled->cluster.len, TRUST_ID_SIZE);
    assert_true(enrolment_from_wire(peer->enrolled->trust[0], &record));
    assert_string_equal(record.name, "beta");
    assert_int_equal(record.since, 9);
    peer_free(peer);
}

/* ---- addresses where nobody is ---- */

static int port_bind(bool listens, char address[64])
{
    struct sockaddr_in here = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof(here);

    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    require(bind(fd, (struct sockaddr *)&here, sizeof(here)) == 0);
    require(!listens || listen(fd, 8) == 0);
    require(getsockname(fd, (struct sockaddr *)&here, &size) == 0);
    snprintf(address, 64, "tcp://127.0.0.1:%u", ntohs(here.sin_port));
    return fd;
}

static void foreign_token(char token[TRUST_TOKEN_MAX], const char *address)
{
    assert_true(token_write(address, &(struct node_key){{9}}, (const uint8_t[32]){5}, token));
}

static void a_seed_that_cannot_be_reached_is_named_with_what_to_do(void **state)
{
    char token[TRUST_TOKEN_MAX], address[64];
    int fd = port_bind(false, address);

    (void)state;
    foreign_token(token, address);
    refused(token, address);
    says("nobody listens there");
    says("c4pd nodes");
    close(fd);
    foreign_token(token, "tcp://no-such-host.invalid:7227");
    refused(token, "tcp://no-such-host.invalid:7227: ");
    says("--address HOST:PORT");
}

static void who_takes_connections_and_says_nothing_is_given_up(void **state)
{
    char token[TRUST_TOKEN_MAX], address[64];
    struct scratch scratch;
    int fd = port_bind(true, address);

    (void)state;
    foreign_token(token, address);
    scratch_make(&scratch);
    assert_int_equal(join(&scratch, token, "beta", 700), -1);
    says("took the connection, and says nothing");
    scratch_remove(&scratch);
    close(fd);
}

static void what_is_no_token_is_told_before_anything_is_made(void **state)
{
    struct scratch scratch;

    (void)state;
    scratch_make(&scratch);
    assert_int_equal(join(&scratch, "hello", "beta", 20000), -1);
    says("begins with c4pt1-");
    assert_int_not_equal(access(scratch_file(&scratch, "cluster"), F_OK), 0);
    scratch_remove(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(a_host_with_a_token_becomes_a_node),
        watched_test(a_token_that_is_no_good_is_refused_with_the_seeds_sentence),
        watched_test(a_name_that_a_node_has_is_refused_with_what_to_do),
        watched_test(an_answer_that_was_lost_costs_no_second_use),
        watched_test(the_token_of_another_cluster_is_refused),
        watched_test(versions_that_do_not_meet_are_refused_at_both_ends),
        watched_test(an_answer_that_is_none_is_refused),
        watched_test(enrol_with_nonsense_in_it_is_refused),
        watched_test(enrol_and_enrolled_are_the_bytes_that_they_always_were),
        watched_test(a_seed_that_cannot_be_reached_is_named_with_what_to_do),
        watched_test(who_takes_connections_and_says_nothing_is_given_up),
        watched_test(what_is_no_token_is_told_before_anything_is_made),
    };

    log_level_set(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
