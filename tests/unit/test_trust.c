/*
 * The enrolled set on real files: joined in any order it is the same, what was acknowledged is there
 * when it is read back, and what was tampered with is not believed.
 */
#include "tests/unit/trust_fixture.h"

/* ---- the join ---- */

/* Few values, so that they meet. */
static struct enrolment random_record(struct dice *dice)
{
    struct enrolment record =
        record_of(7, (enum key_kind)dice_below(dice, 2), dice_below(dice, 2) ? "one" : "other");

    record.since = NOW + (int64_t)dice_below(dice, 2);
    record.by.bytes[0] = (uint8_t)dice_below(dice, 2);
    record.revoked = dice_below(dice, 2);
    if (record.revoked) {
        record.revoked_at = NOW + (int64_t)dice_below(dice, 2);
        record.revoked_by.bytes[0] = (uint8_t)dice_below(dice, 2);
    }
    return record;
}

static struct enrolment joined(struct enrolment one, const struct enrolment *other)
{
    enrolment_join(&one, other);
    return one;
}

static void assert_same(const struct enrolment *one, const struct enrolment *other)
{
    assert_memory_equal(&one->key, &other->key, NODE_KEY_SIZE);
    assert_memory_equal(&one->by, &other->by, NODE_KEY_SIZE);
    assert_memory_equal(&one->revoked_by, &other->revoked_by, NODE_KEY_SIZE);
    assert_string_equal(one->name, other->name);
    assert_int_equal(one->kind, other->kind);
    assert_int_equal(one->since, other->since);
    assert_int_equal(one->revoked, other->revoked);
    assert_int_equal(one->revoked_at, other->revoked_at);
}

static void the_order_of_joins_and_their_number_make_no_difference(void **state)
{
    struct dice dice = dice_seeded(first_seed());

    (void)state;
    for (unsigned long i = 0; i < stress(20000); i++) {
        struct enrolment a = random_record(&dice), b = random_record(&dice),
                         c = random_record(&dice);
        struct enrolment ab = joined(a, &b), ba = joined(b, &a), bc = joined(b, &c);
        struct enrolment left = joined(ab, &c), right = joined(a, &bc);

        assert_same(&ab, &ba);
        assert_same(&left, &right);
        assert_false(enrolment_join(&ab, &a));
        assert_false(enrolment_join(&ab, &b));
        assert_int_equal(ab.revoked, a.revoked || b.revoked);
    }
}

static void two_sets_that_met_the_same_records_in_other_orders_have_one_hash(void **state)
{
    struct dice dice = dice_seeded(first_seed());
    struct enrolment records[40];
    struct scratch second;
    struct trust *one = founded(), *other;

    (void)state;
    scratch_make(&second);
    assert_int_equal(
        trust_settle(second.path, trust_identity(one), trust_at(one, 0), 1, NULL, 0, error), 0);
    other = trust_open(second.path, error);
    assert_non_null(other);
    assert_int_equal(trust_hash(one), trust_hash(other));
    for (size_t i = 0; i < 40; i++) {
        records[i] = random_record(&dice);
        records[i].key.bytes[0] = (uint8_t)dice_below(&dice, 8);
    }
    assert_true(trust_join_all(one, records, 40, error) > 0);
    assert_true(trust_hash(one) != trust_hash(other));
    for (size_t i = 40; i-- > 0;)
        assert_true(trust_join(other, &records[i], error) >= 0);
    for (size_t i = 0; i < 40; i++)
        assert_int_equal(trust_join(other, &records[i], error), 0);
    assert_int_equal(trust_count(one), trust_count(other));
    assert_true(trust_hash(one) == trust_hash(other));
    trust_close(one);
    trust_close(other);
    scratch_remove(&second);
}

/* Releases must agree on it: worked out by hand from proto/cluster.md, "Keys". */
static void the_hash_of_a_record_is_what_it_always_was(void **state)
{
    struct trust *trust = founded();
    struct enrolment node = record_of(5, KEY_NODE, "beta"), user = record_of(6, KEY_USER, "al@x");
    uint64_t before = trust_hash(trust);

    (void)state;
    assert_int_equal(trust_join(trust, &node, error), 1);
    assert_true(trust_hash(trust) - before == UINT64_C(0xe157e7e74c2b5742));
    before = trust_hash(trust);
    user.revoked = true;
    user.revoked_at = NOW + 1;
    memset(user.revoked_by.bytes, 2, NODE_KEY_SIZE);
    assert_int_equal(trust_join(trust, &user, error), 1);
    assert_true(trust_hash(trust) - before == UINT64_C(0x470fa352a14cd313));
    trust_close(trust);
}

/* ---- beginning ---- */

static void a_founded_cluster_has_one_node_and_is_read_back(void **state)
{
    struct trust_identity identity;
    struct trust *trust;

    (void)state;
    assert_false(trust_exists(scratch.path));
    trust = founded();
    assert_true(trust_exists(scratch.path));
    identity = *trust_identity(trust);
    assert_string_equal(identity.name, "alpha");
    assert_string_equal(identity.cluster_name, "lab");
    assert_int_equal(trust_role(trust, &identity.public_key, NOW), ROLE_NODE);
    assert_int_equal(trust_count(trust), 1);
    trust_close(trust);
    trust = opened();
    assert_memory_equal(trust_identity(trust), &identity, sizeof(identity));
    trust_close(trust);
}

static void a_second_cluster_on_the_same_directory_is_refused(void **state)
{
    struct trust_identity identity;
    struct trust *trust = founded();

    (void)state;
    identity = *trust_identity(trust);
    trust_close(trust);
    assert_int_equal(trust_init(scratch.path, "other", "beta", error), -1);
    says("belongs to the cluster lab already, as alpha");
    trust = opened();
    assert_memory_equal(trust_identity(trust), &identity, sizeof(identity));
    trust_close(trust);
}

static void names_that_are_none_are_refused(void **state)
{
    static const char *const bad[] = {
        "",         "-a",
        "a-",       "a b",
        "a/b",      "a@b",
        "a\n",      ".",
        "\xc3\xa4", "0123456789012345678901234567890123456789012345678901234567890123",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_int_equal(trust_init(scratch.path, "lab", bad[i], error), -1);
        says("letters");
        assert_int_equal(trust_init(scratch.path, bad[i], "alpha", error), -1);
    }
    assert_false(trust_exists(scratch.path));
    assert_true(trust_name_valid(KEY_NODE, "node-1.lab_2"));
    assert_true(trust_name_valid(KEY_USER, "alice@laptop"));
}

static void what_is_forgotten_leaves_nothing_behind(void **state)
{
    struct trust *trust = founded();

    (void)state;
    trust_close(trust);
    assert_int_equal(trust_forget(scratch.path, error), 0);
    assert_false(trust_exists(scratch.path));
    assert_int_not_equal(access(scratch_file(&scratch, "cluster"), F_OK), 0);
    assert_int_equal(trust_forget(scratch.path, error), 0);
    assert_null(trust_open(scratch.path, error));
    says("belongs to no cluster");
}

static void incarnations_grow_over_starts_and_over_a_lost_file(void **state)
{
    struct trust *trust = founded();
    uint64_t before = 0, now;

    (void)state;
    for (int i = 0; i < 4; i++) {
        trust_close(trust);
        trust = opened();
        assert_int_equal(trust_next_incarnation(trust, &now, error), 0);
        assert_true(now > before);
        before = now;
    }
    scratch_write(&scratch, "cluster/incarnation", "99999999999\n", 12);
    assert_int_equal(trust_next_incarnation(trust, &now, error), 0);
    assert_int_equal(now, INT64_C(100000000000));
    scratch_write(&scratch, "cluster/incarnation", "many\n", 5);
    assert_int_equal(trust_next_incarnation(trust, &now, error), -1);
    says("line 1 is no number");
    trust_close(trust);
}

static void who_prepares_to_join_keeps_its_key_until_it_has(void **state)
{
    struct trust_identity first, second;
    struct enrolment self = {.kind = KEY_NODE, .name = "beta", .since = NOW};
    struct trust *trust;
    void *members;
    size_t size;

    (void)state;
    assert_int_equal(trust_prepare(scratch.path, &first, error), 0);
    assert_int_equal(trust_prepare(scratch.path, &second, error), 0);
    assert_true(key_equal(&first.public_key, &second.public_key));
    assert_false(trust_exists(scratch.path));
    strcpy(first.name, "beta");
    strcpy(first.cluster_name, "lab");
    self.key = first.public_key;
    assert_int_equal(trust_settle(scratch.path, &first, &self, 1, "who", 3, error), 0);
    assert_int_equal(trust_prepare(scratch.path, &second, error), -1);
    says("belongs to the cluster lab already");
    trust = opened();
    assert_true(key_equal(&trust_identity(trust)->public_key, &self.key));
    assert_int_equal(trust_members_read(trust, &members, &size, error), 0);
    assert_int_equal(size, 3);
    assert_memory_equal(members, "who", 3);
    free(members);
    trust_close(trust);
}

static void who_was_evicted_begins_anew_with_another_key(void **state)
{
    struct trust_identity before, after;
    struct trust *trust = founded();

    (void)state;
    before = *trust_identity(trust);
    assert_int_equal(trust_revoke(trust, &before.public_key, NOW, error), 0);
    trust_close(trust);
    assert_int_equal(trust_prepare(scratch.path, &after, error), 0);
    assert_false(key_equal(&before.public_key, &after.public_key));
    assert_false(trust_exists(scratch.path));
    assert_int_equal(trust_init(scratch.path, "next", "alpha", error), 0);
    trust_close(opened());
}

/* ---- the set ---- */

static void roles_follow_what_was_enrolled_and_revoked(void **state)
{
    struct trust *trust = founded();
    struct enrolment node = record_of(5, KEY_NODE, "beta"), user = record_of(6, KEY_USER, "al@x");
    struct node_key nobody = {{9}};

    (void)state;
    assert_int_equal(trust_role(trust, &nobody, NOW), ROLE_STRANGER);
    assert_int_equal(trust_join(trust, &node, error), 1);
    assert_int_equal(trust_join(trust, &node, error), 0);
    assert_int_equal(trust_join(trust, &user, error), 1);
    assert_int_equal(trust_role(trust, &node.key, NOW), ROLE_NODE);
    assert_int_equal(trust_role(trust, &user.key, NOW), ROLE_USER);
    assert_int_equal(trust_revoke(trust, &node.key, NOW, error), 0);
    assert_int_equal(trust_revoke(trust, &node.key, NOW + 1, error), 0);
    assert_int_equal(trust_role(trust, &node.key, NOW), ROLE_REVOKED);
    assert_int_equal(trust_join(trust, &node, error), 0);
    assert_int_equal(trust_revoke(trust, &nobody, NOW, error), -1);
    trust_close(trust);
    trust = opened();
    assert_int_equal(trust_role(trust, &node.key, NOW), ROLE_REVOKED);
    assert_int_equal(trust_role(trust, &user.key, NOW), ROLE_USER);
    assert_int_equal(trust_find(trust, &node.key)->revoked_at, NOW);
    trust_close(trust);
}

static void a_record_that_nobody_can_have_made_is_refused(void **state)
{
    struct trust *trust = founded();
    struct enrolment record = record_of(5, KEY_NODE, "beta");
    uint64_t hash = trust_hash(trust);

    (void)state;
    record.kind = (enum key_kind)7;
    assert_int_equal(trust_join(trust, &record, error), -1);
    record.kind = KEY_NODE;
    record.since = -1;
    assert_int_equal(trust_join(trust, &record, error), -1);
    record.since = NOW;
    memset(record.name, 'x', sizeof(record.name));
    assert_int_equal(trust_join(trust, &record, error), -1);
    assert_int_equal(trust_count(trust), 1);
    assert_true(trust_hash(trust) == hash);
    trust_close(trust);
}

static void the_set_has_a_limit(void **state)
{
    static struct enrolment records[TRUST_MAX_KEYS];
    struct trust *trust = founded();

    (void)state;
    for (size_t i = 0; i < TRUST_MAX_KEYS; i++) {
        records[i] = record_of(5, KEY_NODE, "x");
        memcpy(records[i].key.bytes, &i, sizeof(i));
    }
    assert_int_equal(trust_join_all(trust, records, TRUST_MAX_KEYS - 1, error), TRUST_MAX_KEYS - 1);
    assert_int_equal(trust_join(trust, &records[TRUST_MAX_KEYS - 1], error), -1);
    says("takes no more");
    assert_int_equal(trust_revoke(trust, &records[3].key, NOW, error), 0);
    trust_close(trust);
    trust = opened();
    assert_int_equal(trust_count(trust), TRUST_MAX_KEYS);
    trust_close(trust);
}

static void who_is_named_is_found_by_name_or_fingerprint_unless_it_may_be_two(void **state)
{
    struct trust *trust = founded();
    struct enrolment old = record_of(4, KEY_NODE, "beta"), node = record_of(5, KEY_NODE, "beta"),
                     user = record_of(6, KEY_USER, "beta");
    const struct enrolment *found;
    char fingerprint[TRUST_FINGERPRINT_SIZE];

    (void)state;
    old.revoked = true;
    assert_int_equal(trust_join(trust, &old, error), 1);
    assert_int_equal(trust_find_named(trust, KEY_NODE, "beta", &found, error), 0);
    assert_true(key_equal(&found->key, &old.key));
    assert_int_equal(trust_join(trust, &node, error), 1);
    assert_int_equal(trust_join(trust, &user, error), 1);
    assert_int_equal(trust_find_named(trust, KEY_NODE, "BETA", &found, error), 0);
    assert_true(key_equal(&found->key, &node.key));
    key_fingerprint(&old.key, fingerprint);
    fingerprint[6] = '\0';
    assert_int_equal(trust_find_named(trust, KEY_NODE, fingerprint, &found, error), 0);
    assert_true(key_equal(&found->key, &old.key));
    fingerprint[3] = '\0';
    assert_int_equal(trust_find_named(trust, KEY_NODE, fingerprint, &found, error), -1);
    says("no such node (c4pd nodes)");
    assert_int_equal(trust_find_named(trust, KEY_USER, "gamma", &found, error), -1);
    says("no such user's key (c4pd key list)");
    node.key.bytes[0] = 99;
    assert_int_equal(trust_join(trust, &node, error), 1);
    assert_int_equal(trust_find_named(trust, KEY_NODE, "beta", &found, error), -1);
    says("beginning of its fingerprint");
    trust_close(trust);
}

/* ---- files that somebody touched ---- */

static void every_byte_of_the_set_that_is_changed_or_lost_is_noticed(void **state)
{
    struct trust *trust = founded();
    struct enrolment beta = record_of(5, KEY_NODE, "beta");
    size_t size;
    char *bytes;

    (void)state;
    beta.revoked = true;
    assert_int_equal(trust_join(trust, &beta, error), 1);
    trust_close(trust);
    bytes = scratch_read(&scratch, "cluster/enrolled", &size);
    for (size_t i = 0; i < size; i++) {
        bytes[i] ^= 1;
        scratch_write(&scratch, "cluster/enrolled", bytes, size);
        bytes[i] ^= 1;
        assert_null(trust_open(scratch.path, error));
        says("cluster/enrolled: damaged: line ");
        scratch_write(&scratch, "cluster/enrolled", bytes, i);
        assert_null(trust_open(scratch.path, error));
        says("cluster/enrolled: damaged: line ");
    }
    scratch_write(&scratch, "cluster/enrolled", bytes, size);
    trust_close(opened());
    free(bytes);
}

static void a_damaged_line_is_named(void **state)
{
    struct trust *trust = founded();
    size_t size;
    char *bytes;

    (void)state;
    trust_close(trust);
    bytes = scratch_read(&scratch, "cluster/enrolled", &size);
    memcpy(strchr(bytes, '\n') + 1, "nude", 4);
    scratch_write(&scratch, "cluster/enrolled", bytes, size);
    assert_null(trust_open(scratch.path, error));
    says("damaged: line 2 is no enrolment");
    free(bytes);
}

static void what_others_could_read_is_refused_with_what_to_do(void **state)
{
    struct trust *trust = founded();

    (void)state;
    trust_close(trust);
    assert_int_equal(chmod(scratch_file(&scratch, "cluster/node.key"), 0640), 0);
    assert_null(trust_open(scratch.path, error));
    says("node.key: is open to other users, its mode is 640 (remedy, ");
    assert_int_equal(chmod(scratch_file(&scratch, "cluster/node.key"), 0600), 0);
    assert_int_equal(chmod(scratch_file(&scratch, "cluster"), 0755), 0);
    assert_null(trust_open(scratch.path, error));
    says("chmod 700");
    assert_true(trust_exists(scratch.path));
    assert_int_equal(chmod(scratch_file(&scratch, "cluster"), 0700), 0);
    trust_close(opened());
}

static void lost_files_and_a_key_of_somebody_else_are_refused(void **state)
{
    static const char *const names[] = {"cluster/node.key", "cluster/enrolled", "cluster/cluster"};
    struct scratch second;
    size_t size;
    char *bytes;

    (void)state;
    trust_close(founded());
    for (size_t i = 0; i < 3; i++) {
        bytes = scratch_read(&scratch, names[i], &size);
        assert_int_equal(unlink(scratch_file(&scratch, names[i])), 0);
        assert_null(trust_open(scratch.path, error));
        says("lost");
        scratch_write(&scratch, names[i], bytes, size);
        free(bytes);
    }
    scratch_make(&second);
    assert_int_equal(trust_init(second.path, "lab", "alpha", error), 0);
    bytes = scratch_read(&second, "cluster/node.key", &size);
    scratch_write(&scratch, "cluster/node.key", bytes, size);
    assert_null(trust_open(scratch.path, error));
    says("own key is not in it");
    memcpy(bytes, "0000000000", 10);
    scratch_write(&scratch, "cluster/node.key", bytes, size);
    assert_null(trust_open(scratch.path, error));
    says("no key pair");
    free(bytes);
    scratch_remove(&second);
}

static void a_link_or_a_pipe_in_the_place_of_a_file_is_refused(void **state)
{
    (void)state;
    trust_close(founded());
    assert_int_equal(unlink(scratch_file(&scratch, "cluster/enrolled")), 0);
    assert_int_equal(symlink("node.key", scratch_file(&scratch, "cluster/enrolled")), 0);
    assert_null(trust_open(scratch.path, error));
    assert_int_equal(unlink(scratch_file(&scratch, "cluster/enrolled")), 0);
    assert_int_equal(mkfifo(scratch_file(&scratch, "cluster/enrolled"), 0600), 0);
    assert_null(trust_open(scratch.path, error));
    says("no file that c4pd has written");
}

static void a_full_disk_refuses_what_it_cannot_keep_but_revokes(void **state)
{
    struct enrolment beta = record_of(5, KEY_NODE, "beta"), gamma = record_of(6, KEY_NODE, "gamma");
    struct node_key joiner;
    struct trust *trust;

    (void)state;
    if (!scratch_may_mount())
        skip();
    scratch_mount_disk(&scratch, 64);
    trust = founded();
    joiner = token_made(trust, HOUR, 2);
    assert_int_equal(trust_token_use(trust, &joiner, &beta, NOW, error), 0);
    scratch_fill(&scratch);
    assert_int_equal(trust_token_use(trust, &joiner, &gamma, NOW, error), -1);
    says("make room");
    assert_int_equal(trust_role(trust, &gamma.key, NOW), ROLE_STRANGER);
    assert_int_equal(trust_revoke(trust, &beta.key, NOW, error), -1);
    assert_int_equal(trust_role(trust, &beta.key, NOW), ROLE_REVOKED);
    scratch_unfill(&scratch);
    assert_int_equal(trust_revoke(trust, &beta.key, NOW, error), 0);
    assert_int_equal(trust_token_use(trust, &joiner, &gamma, NOW, error), 0);
    trust_close(trust);
    trust = opened();
    assert_int_equal(trust_role(trust, &beta.key, NOW), ROLE_REVOKED);
    trust_close(trust);
    scratch_unmount(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        trust_test(the_order_of_joins_and_their_number_make_no_difference),
        trust_test(two_sets_that_met_the_same_records_in_other_orders_have_one_hash),
        trust_test(the_hash_of_a_record_is_what_it_always_was),
        trust_test(a_founded_cluster_has_one_node_and_is_read_back),
        trust_test(a_second_cluster_on_the_same_directory_is_refused),
        trust_test(names_that_are_none_are_refused),
        trust_test(what_is_forgotten_leaves_nothing_behind),
        trust_test(incarnations_grow_over_starts_and_over_a_lost_file),
        trust_test(who_prepares_to_join_keeps_its_key_until_it_has),
        trust_test(who_was_evicted_begins_anew_with_another_key),
        trust_test(roles_follow_what_was_enrolled_and_revoked),
        trust_test(a_record_that_nobody_can_have_made_is_refused),
        trust_test(the_set_has_a_limit),
        trust_test(who_is_named_is_found_by_name_or_fingerprint_unless_it_may_be_two),
        trust_test(every_byte_of_the_set_that_is_changed_or_lost_is_noticed),
        trust_test(a_damaged_line_is_named),
        trust_test(what_others_could_read_is_refused_with_what_to_do),
        trust_test(lost_files_and_a_key_of_somebody_else_are_refused),
        trust_test(a_link_or_a_pipe_in_the_place_of_a_file_is_refused),
        trust_test(a_full_disk_refuses_what_it_cannot_keep_but_revokes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
