/*
 * Nodes of a cluster in one process, with real sockets and directories: they find each other, keys
 * travel, who is revoked is cut off and hears of it, and messages for jobs arrive.
 */
#include "tests/unit/scratch.h"

#include <event2/event.h>
#include <zmq.h>

#include "daemon/cluster/cluster.h"
#include "daemon/cluster/describe.h"
#include "daemon/cluster/post.h"
#include "daemon/cluster/record.h"
#include "proto/control.h"

/* ThreadSanitizer does not see how the threads of libzmq, which is not built for it, agree. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:libzmq.so\ncalled_from_lib:libzmq.so\n";
}

#define NODES 3
#define DAY INT64_C(1780000000000)

struct node {
    char directory[PATH_MAX + 8];
    struct trust_identity identity;
    void *zmq;
    struct cluster *cluster;
    struct post *post;
    unsigned ups, downs, messages, users_revoked;
    char why[128]; /* of the last down */
    uint64_t job;  /* of the last message */
};

static struct scratch scratch;
static struct event_base *base;
static struct node nodes[NODES];
static char error[TRUST_ERROR_SIZE];

/* The watchdog ends it if it never comes true. */
#define await(condition)                                                                           \
    while (!(condition)) {                                                                         \
        event_base_loopexit(base, &(struct timeval){0, 20000});                                    \
        require(event_base_loop(base, EVLOOP_ONCE) >= 0);                                          \
    }

/* ---- what a node hears ---- */

static void on_message(void *context, const struct node_key *from, const C4p__Peer *message)
{
    post_message(((struct node *)context)->post, from, message);
}

static void on_reserve(void *context, const struct node_key *from, const C4p__Peer *message)
{
    struct node *node = context;

    (void)from;
    node->messages++;
    node->job = message->reserve->job;
}

static void on_up(void *context, const struct member_record *member)
{
    (void)member;
    ((struct node *)context)->ups++;
}

static void on_down(void *context, const struct node_key *key, const char *why)
{
    struct node *node = context;

    (void)key;
    node->downs++;
    snprintf(node->why, sizeof(node->why), "%s", why);
}

static void on_user(void *context, const struct node_key *from, const void *identity,
                    size_t identity_size, const void *data, size_t size)
{
    (void)context, (void)from, (void)identity, (void)identity_size, (void)data, (void)size;
}

static void on_user_revoked(void *context, const struct node_key *key)
{
    (void)key;
    ((struct node *)context)->users_revoked++;
}

static void on_changed(void *context)
{
    (void)context;
}

static void node_start(struct node *node)
{
    const struct cluster_settings settings = {
        .state_dir = node->directory,
        .zmq = node->zmq = zmq_ctx_new(),
        .listen = "tcp://127.0.0.1:*",
        .release = "0.1",
        .listener = {on_message, on_up, on_down, on_user, on_user_revoked, on_changed, node},
    };

    node->post = post_create();
    post_handle(node->post, C4P__PEER__BODY_RESERVE, on_reserve, node);
    node->cluster = cluster_create(base, &settings, error);
    if (node->cluster == NULL)
        fail_msg("%s", error);
    post_set_cluster(node->post, node->cluster);
    node->identity = *cluster_identity(node->cluster);
}

static void node_stop(struct node *node)
{
    if (node->cluster == NULL)
        return;
    cluster_destroy(node->cluster);
    post_destroy(node->post);
    zmq_ctx_term(node->zmq);
    node->cluster = NULL;
}

/* ---- making a cluster ---- */

static void directory_make(struct node *node, unsigned number)
{
    snprintf(node->directory, sizeof(node->directory), "%s/%u", scratch.path, number);
    require(mkdir(node->directory, 0700) == 0);
}

static void node_found(struct node *node)
{
    if (trust_init(node->directory, "lab", "a", error) != 0)
        fail_msg("%s", error);
}

/* As `c4pd join` leaves the directory behind: enrolled at the seed, which it knows. */
static void node_enrol(struct node *node, struct node *seed, const char *name)
{
    struct trust *trust = cluster_trust(seed->cluster);
    struct trust_identity identity = seed->identity;
    struct enrolment records[8], own = {.kind = KEY_NODE, .since = DAY};
    struct member_record known = *cluster_self(seed->cluster);
    C4p__Exchange exchange = C4P__EXCHANGE__INIT;
    uint8_t members[1024];

    key_pair_make(&identity.public_key, identity.secret_key);
    strcpy(identity.name, name);
    strcpy(own.name, name);
    own.key = identity.public_key;
    own.by = seed->identity.public_key;
    require(trust_join(trust, &own, error) == 1);
    for (size_t i = 0; i < trust_count(trust); i++)
        records[i] = *trust_at(trust, i);
    exchange.members = members_to_wire(&known, 1);
    exchange.n_members = 1;
    require(c4p__exchange__get_packed_size(&exchange) <= sizeof(members));
    if (trust_settle(node->directory, &identity, records, trust_count(trust), members,
                     c4p__exchange__pack(&exchange, members), error) != 0)
        fail_msg("%s", error);
    free(exchange.members);
    cluster_trust_changed(seed->cluster);
}

static bool sees(const struct node *node, const struct node *other, enum member_state state)
{
    const struct member_record *record = cluster_find(node->cluster, &other->identity.public_key);

    return record != NULL && record->state == state && record->has_facts;
}

static int cluster_make(void **state)
{
    scratch_make(&scratch);
    memset(nodes, 0, sizeof(nodes));
    base = event_base_new();
    for (unsigned i = 0; i < NODES; i++)
        directory_make(&nodes[i], i);
    node_found(&nodes[0]);
    node_start(&nodes[0]);
    node_enrol(&nodes[1], &nodes[0], "b");
    node_start(&nodes[1]);
    return watchdog_start(state);
}

static int cluster_remove(void **state)
{
    for (unsigned i = 0; i < NODES; i++)
        node_stop(&nodes[i]);
    event_base_free(base);
    scratch_remove(&scratch);
    return watchdog_stop(state);
}

static struct node *const a = &nodes[0], *const b = &nodes[1], *const c = &nodes[2];

static void two_see(void)
{
    await(sees(a, b, MEMBER_ALIVE) && sees(b, a, MEMBER_ALIVE));
}

static void third_joins(const char *name)
{
    two_see();
    node_enrol(c, a, name);
    node_start(c);
    await(sees(a, c, MEMBER_ALIVE) && sees(b, c, MEMBER_ALIVE) && sees(c, b, MEMBER_ALIVE));
}

/* ---- tests ---- */

static void nodes_find_each_other_from_the_seed_alone(void **state)
{
    const struct member_record *const *list;

    (void)state;
    third_joins("c");
    assert_int_equal(cluster_nodes(b->cluster, &list), 3);
    assert_string_equal(list[0]->facts.name, "a");
    assert_string_equal(list[1]->facts.name, "b");
    assert_string_equal(list[2]->facts.name, "c");
    assert_int_equal(cluster_figures(b->cluster).nodes, 3);
    assert_true(trust_hash(cluster_trust(b->cluster)) == trust_hash(cluster_trust(a->cluster)));
}

static void load_is_told_to_the_others(void **state)
{
    (void)state;
    two_see();
    cluster_set_load(a->cluster, &(struct cluster_load){.pes = 4, .pes_free = 3});
    await(cluster_find(b->cluster, &a->identity.public_key)->facts.pes_free == 3);
    assert_int_equal(cluster_figures(b->cluster).pes, 4);
    assert_int_equal(cluster_figures(b->cluster).pes_free, 3);
}

static void messages_for_jobs_arrive_and_unknown_nodes_are_errors(void **state)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__Reserve reserve = C4P__RESERVE__INIT;
    const struct node_key nobody = {{9}};

    (void)state;
    two_see();
    reserve.job = 77;
    message.body_case = C4P__PEER__BODY_RESERVE;
    message.reserve = &reserve;
    assert_int_equal(post_send(a->post, &b->identity.public_key, &message), 0);
    await(b->messages == 1);
    assert_int_equal(b->job, 77);
    assert_int_equal(post_send(a->post, &nobody, &message), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(post_send(a->post, &a->identity.public_key, &message), -1);
    post_set_cluster(a->post, NULL);
    assert_int_equal(post_send(a->post, &b->identity.public_key, &message), -1);
    assert_int_equal(errno, EHOSTUNREACH);
}

static void a_node_that_is_stopped_says_good_bye(void **state)
{
    (void)state;
    two_see();
    node_stop(b);
    await(a->downs == 1);
    assert_string_equal(a->why, "it was stopped");
    assert_true(sees(a, b, MEMBER_LEFT));
}

static void a_node_that_starts_again_elsewhere_is_found_by_what_the_disk_knows(void **state)
{
    char before[NODE_ADDRESS_MAX + 1];
    unsigned ups;

    (void)state;
    two_see();
    strcpy(before, cluster_self(b->cluster)->facts.control);
    node_stop(b);
    await(a->downs == 1);
    ups = a->ups;
    node_start(b);
    await(sees(a, b, MEMBER_ALIVE) && sees(b, a, MEMBER_ALIVE));
    assert_true(a->ups > ups);
    assert_string_equal(cluster_find(a->cluster, &b->identity.public_key)->facts.control,
                        cluster_self(b->cluster)->facts.control);
}

static void a_key_that_one_has_enrolled_is_known_to_all(void **state)
{
    struct enrolment user = {.key = {{5}}, .kind = KEY_USER, .name = "ann", .since = DAY};

    (void)state;
    third_joins("c");
    user.by = c->identity.public_key;
    assert_int_equal(trust_join(cluster_trust(c->cluster), &user, error), 1);
    cluster_trust_changed(c->cluster);
    await(trust_find(cluster_trust(a->cluster), &user.key) != NULL &&
          trust_find(cluster_trust(b->cluster), &user.key) != NULL);
    assert_int_equal(trust_revoke(cluster_trust(a->cluster), &user.key, DAY + 1, error), 0);
    cluster_trust_changed(a->cluster);
    await(b->users_revoked == 1 && c->users_revoked == 1);
    assert_int_equal(a->users_revoked, 1);
}

static void a_node_that_missed_a_key_gets_it_later(void **state)
{
    struct enrolment user = {.key = {{5}}, .kind = KEY_USER, .name = "ann", .since = DAY};

    (void)state;
    two_see();
    user.by = a->identity.public_key;
    /* Nobody is told. */
    assert_int_equal(trust_join(cluster_trust(a->cluster), &user, error), 1);
    await(trust_find(cluster_trust(b->cluster), &user.key) != NULL);
}

static void who_is_revoked_is_cut_off_by_all_and_hears_of_it(void **state)
{
    C4p__Peer message = C4P__PEER__INIT;
    const char *troubles[4];

    (void)state;
    third_joins("c");
    assert_int_equal(
        trust_revoke(cluster_trust(a->cluster), &c->identity.public_key, DAY + 1, error), 0);
    cluster_trust_changed(a->cluster);
    await(a->downs == 1 && b->downs == 1 && c->downs == 2);
    assert_non_null(strstr(a->why, "revoked"));
    assert_string_equal(c->why, "this node was put out of the cluster");
    assert_int_equal(cluster_troubles(c->cluster, troubles, 4), 1);
    assert_non_null(strstr(troubles[0], "revoked by node a"));
    message.body_case = C4P__PEER__BODY_RELEASE;
    message.release = &(C4p__Release)C4P__RELEASE__INIT;
    assert_int_equal(cluster_send(c->cluster, &a->identity.public_key, &message), -1);
    assert_int_equal(cluster_send(a->cluster, &c->identity.public_key, &message), -1);
    assert_int_equal(cluster_figures(a->cluster).nodes, 2);
    assert_int_equal(cluster_figures(b->cluster).nodes, 2);
    assert_int_equal(cluster_figures(c->cluster).nodes, 1);
}

static void who_was_away_when_it_was_revoked_hears_of_it_when_it_comes_back(void **state)
{
    (void)state;
    third_joins("c");
    node_stop(c);
    await(a->downs == 1 && b->downs == 1);
    assert_int_equal(
        trust_revoke(cluster_trust(a->cluster), &c->identity.public_key, DAY + 1, error), 0);
    cluster_trust_changed(a->cluster);
    node_start(c);
    await(cluster_troubles(c->cluster, &(const char *){NULL}, 1) == 1);
    assert_false(sees(a, c, MEMBER_ALIVE));
}

static const char *state_in(const struct describe_page *page, const char *name)
{
    for (size_t i = 0; i < page->count; i++)
        if (strcmp(page->infos[i].name, name) == 0)
            return page->infos[i].state;
    return "none";
}

static void nodes_are_described_with_their_states(void **state)
{
    struct describe_page page;

    (void)state;
    two_see();
    node_enrol(c, a, "c");
    assert_int_equal(describe_nodes(a->cluster, NULL, &page), 0);
    assert_int_equal(page.count, 3);
    assert_true(page.infos[0].self && !page.infos[1].self);
    assert_string_equal(state_in(&page, "a"), "alive");
    assert_string_equal(state_in(&page, "b"), "alive");
    assert_string_equal(state_in(&page, "c"), "enrolled");
    assert_int_equal(
        trust_revoke(cluster_trust(a->cluster), &b->identity.public_key, DAY + 1, error), 0);
    cluster_trust_changed(a->cluster);
    assert_int_equal(describe_nodes(a->cluster, "a", &page), 0);
    assert_int_equal(page.count, 2);
    assert_string_equal(state_in(&page, "b"), "revoked");
}

static void two_nodes_of_one_name_are_told_apart_and_are_a_trouble(void **state)
{
    struct describe_page page;
    const char *troubles[4];

    (void)state;
    third_joins("b");
    assert_int_equal(describe_nodes(a->cluster, NULL, &page), 0);
    assert_int_equal(page.count, 3);
    assert_string_equal(page.infos[1].name, "b");
    assert_memory_equal(page.infos[2].name, "b (", 3);
    assert_int_equal(cluster_troubles(a->cluster, troubles, 4), 1);
    assert_non_null(strstr(troubles[0], page.infos[2].name));
}

#define MANY 1000

/* So many that have never been seen, every third of the same name. */
static void many_enrol(void)
{
    static struct enrolment records[MANY];

    for (unsigned i = 0; i < MANY; i++) {
        records[i] = *trust_find(cluster_trust(a->cluster), &a->identity.public_key);
        memset(records[i].key.bytes, 7, NODE_KEY_SIZE);
        memcpy(records[i].key.bytes, &i, sizeof(i));
        records[i].since = DAY + i;
        snprintf(records[i].name, sizeof(records[i].name), "%0*u", NODE_NAME_MAX,
                 i % 3 == 0 ? MANY : i);
    }
    assert_int_equal(trust_join_all(cluster_trust(a->cluster), records, MANY, error), MANY);
}

static void a_thousand_nodes_are_described_once_each_in_pages_that_fit_into_a_packet(void **state)
{
    static struct describe_page page;
    C4p__AdminAnswer answer = C4P__ADMIN_ANSWER__INIT;
    char last[DESCRIBE_NAME_SIZE] = "";
    size_t seen = 0, pages = 0;

    (void)state;
    many_enrol();
    do {
        assert_int_equal(describe_nodes(a->cluster, last, &page), 0);
        for (size_t i = 0; i < page.count; i++) {
            assert_true(strcmp(page.infos[i].name, last) > 0);
            strcpy(last, page.infos[i].name);
        }
        answer.nodes = page.nodes;
        answer.n_nodes = page.count;
        assert_true(c4p__admin_answer__get_packed_size(&answer) <= CONTROL_MAX_PACKET);
        seen += page.count;
        pages++;
    } while (page.more);
    assert_int_equal(seen, trust_count(cluster_trust(a->cluster))); /* all of them are nodes */
    assert_int_equal(pages, (seen + DESCRIBE_NODES - 1) / DESCRIBE_NODES);
}

#define cluster_test(function)                                                                     \
    cmocka_unit_test_setup_teardown(function, cluster_make, cluster_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cluster_test(nodes_find_each_other_from_the_seed_alone),
        cluster_test(load_is_told_to_the_others),
        cluster_test(messages_for_jobs_arrive_and_unknown_nodes_are_errors),
        cluster_test(a_node_that_is_stopped_says_good_bye),
        cluster_test(a_node_that_starts_again_elsewhere_is_found_by_what_the_disk_knows),
        cluster_test(a_key_that_one_has_enrolled_is_known_to_all),
        cluster_test(a_node_that_missed_a_key_gets_it_later),
        cluster_test(who_is_revoked_is_cut_off_by_all_and_hears_of_it),
        cluster_test(who_was_away_when_it_was_revoked_hears_of_it_when_it_comes_back),
        cluster_test(nodes_are_described_with_their_states),
        cluster_test(two_nodes_of_one_name_are_told_apart_and_are_a_trouble),
        cluster_test(a_thousand_nodes_are_described_once_each_in_pages_that_fit_into_a_packet),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
