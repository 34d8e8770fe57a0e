/*
 * Records of members and keys as messages: they come back as they were, and what is too long, no
 * address or no state does not come back at all.
 */
#include "tests/unit/unit.h"

#include "daemon/address.h"
#include "daemon/cluster/record.h"

static struct member_record member(void)
{
    struct member_record record = {
        .key = {{1, 2, 3}},
        .incarnation = UINT64_C(1) << 40,
        .revision = 7,
        .facts_revision = 6,
        .state = MEMBER_SUSPECT,
        .by = {{4}},
        .has_facts = true,
        .facts =
            {
                .name = "a",
                .control = "tcp://10.0.0.1:7227",
                .data = "tcp://[fe80::1]:7228",
                .release = "0.1",
                .min_version = 1,
                .max_version = 2,
                .pes = 8,
                .pes_free = 3,
                .queued = 5,
                .load = 250,
                .cores = 4,
                .memory = UINT64_C(1) << 36,
                .started = 1780000000000,
                .trust = UINT64_MAX,
                .draining = true,
            },
    };

    return record;
}

static void a_member_comes_back_as_it_was(void **state)
{
    struct member_record records[2] = {member(), member()}, again;
    C4p__Member **wire;

    (void)state;
    records[1].has_facts = false;
    records[1].state = MEMBER_LEFT;
    memset(&records[1].by, 0, sizeof(records[1].by));
    memset(&records[1].facts, 0, sizeof(records[1].facts));
    wire = members_to_wire(records, 2);
    for (int i = 0; i < 2; i++) {
        assert_true(member_from_wire(wire[i], &again));
        assert_int_equal(again.incarnation, records[i].incarnation);
        assert_int_equal(again.revision, records[i].revision);
        assert_int_equal(again.facts_revision, records[i].facts_revision);
        assert_int_equal(again.state, records[i].state);
        assert_memory_equal(&again.key, &records[i].key, sizeof(again.key));
        assert_memory_equal(&again.by, &records[i].by, sizeof(again.by));
        assert_int_equal(again.has_facts, records[i].has_facts);
        assert_memory_equal(&again.facts, &records[i].facts, sizeof(again.facts));
    }
    free(wire);
}

/* Is a member with this change still one? */
#define still_good(change)                                                                         \
    do {                                                                                           \
        struct member_record record = member(), again;                                             \
        C4p__Member **wire = members_to_wire(&record, 1), *m = wire[0];                            \
        bool good;                                                                                 \
                                                                                                   \
        change;                                                                                    \
        good = member_from_wire(m, &again);                                                        \
        free(wire);                                                                                \
        result = good;                                                                             \
    } while (0)

static void what_is_no_member_is_not_taken(void **state)
{
    static char long_text[200];
    bool result;

    (void)state;
    memset(long_text, 'x', sizeof(long_text) - 1);
    still_good((void)m);
    assert_true(result);
    still_good(m->key.len = 31);
    assert_false(result);
    still_good(m->by.len = 1);
    assert_false(result);
    still_good(m->by.len = 0);
    assert_true(result);
    still_good(m->state = (C4p__MemberState)4);
    assert_false(result);
    still_good(m->state = (C4p__MemberState)-1);
    assert_false(result);
    still_good(m->facts->name = "");
    assert_false(result);
    still_good(m->facts->name = long_text);
    assert_false(result);
    still_good(m->facts->name = "a\nb");
    assert_false(result);
    still_good(m->facts->control = "");
    assert_false(result);
    still_good(m->facts->control = "tcp://host:7227"); /* nobody asks a name server */
    assert_false(result);
    still_good(m->facts->control = "ipc:///tmp/x");
    assert_false(result);
    still_good(m->facts->control = "tcp://10.0.0.1:0");
    assert_false(result);
    still_good(m->facts->data = "tcp://10.0.0.1:65536");
    assert_false(result);
    still_good(m->facts->data = "");
    assert_true(result);
    still_good(m->facts->min_version = 3);
    assert_false(result);
    still_good(m->facts->pes = 100000);
    assert_false(result);
    still_good(m->facts->release = long_text); /* for people only */
    assert_true(result);
}

static void of_many_members_the_good_ones_are_taken(void **state)
{
    struct member_record records[3] = {member(), member(), member()}, *again;
    C4p__Member **wire = members_to_wire(records, 3);
    size_t good;

    (void)state;
    wire[1]->key.len = 0;
    wire[2]->incarnation = 9;
    again = members_from_wire(wire, 3, &good);
    assert_int_equal(good, 2);
    assert_int_equal(again[1].incarnation, 9);
    free(again);
    free(wire);
}

static void a_key_comes_back_as_it_was_and_a_wrong_one_does_not(void **state)
{
    const struct enrolment record = {.key = {{1}},
                                     .kind = KEY_USER,
                                     .name = "ann@lab",
                                     .since = 1780000000000,
                                     .by = {{2}},
                                     .revoked = true,
                                     .revoked_at = 1780000000001,
                                     .revoked_by = {{3}}};
    const struct enrolment *list[] = {&record};
    C4p__Enrolment **wire = enrolments_to_wire(list, 1);
    struct enrolment again;

    (void)state;
    assert_true(enrolment_from_wire(wire[0], &again));
    assert_memory_equal(&again.key, &record.key, sizeof(again.key));
    assert_memory_equal(&again.by, &record.by, sizeof(again.by));
    assert_memory_equal(&again.revoked_by, &record.revoked_by, sizeof(again.revoked_by));
    assert_string_equal(again.name, record.name);
    assert_int_equal(again.kind, record.kind);
    assert_int_equal(again.since, record.since);
    assert_true(again.revoked && again.revoked_at == record.revoked_at);
    wire[0]->revoked_by.len = 0;
    assert_false(enrolment_from_wire(wire[0], &again));
    wire[0]->revoked = false;
    assert_true(enrolment_from_wire(wire[0], &again));
    wire[0]->since = UINT64_MAX;
    assert_false(enrolment_from_wire(wire[0], &again));
    wire[0]->since = 1;
    wire[0]->name = "a b";
    assert_false(enrolment_from_wire(wire[0], &again));
    wire[0]->name = "ann";
    wire[0]->kind = (C4p__KeyKind)2;
    assert_false(enrolment_from_wire(wire[0], &again));
    wire[0]->kind = C4P__KEY_KIND__NODE;
    wire[0]->key.len = 33;
    assert_false(enrolment_from_wire(wire[0], &again));
    free(wire);
}

static void addresses_are_read_and_written(void **state)
{
    static const char *const good[] = {"tcp://10.0.0.1:7227", "tcp://[::]:1", "tcp://[fe80::1]:0",
                                       "tcp://host-1.example.org:65535"};
    static const char *const bad[] = {
        "",          "10.0.0.1",       ":7227",     "10.0.0:1",   "::1:7227", "[10.0.0.1]:1",
        "a b:1",     "host:",          "host:1x",   "host:65536", "host:-1",  "[::1]7227",
        "tcp://[::", "999.1.1.1:7227", "-host:227", "tcp://"};
    struct address address;
    char text[ADDRESS_TEXT_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        assert_true(address_parse(good[i], &address));
        address_format(&address, text);
        assert_string_equal(text, good[i]);
        assert_true(address_parse(good[i] + strlen("tcp://"), &address));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        if (address_parse(bad[i], &address))
            fail_msg("\"%s\" is taken for an address", bad[i]);
    assert_true(address_is_any("0.0.0.0") && address_is_any("::") && !address_is_any("127.0.0.1"));
}

static void our_own_address_is_found(void **state)
{
    char host[ADDRESS_HOST_MAX + 1];

    (void)state;
    assert_true(address_of_source("127.0.0.1", host));
    assert_string_equal(host, "127.0.0.1");
    assert_true(address_of_source(NULL, host));
    assert_true(address_is_numeric(host) && !address_is_any(host));
    assert_false(address_of_source("no number", host));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_member_comes_back_as_it_was),
        cmocka_unit_test(what_is_no_member_is_not_taken),
        cmocka_unit_test(of_many_members_the_good_ones_are_taken),
        cmocka_unit_test(a_key_comes_back_as_it_was_and_a_wrong_one_does_not),
        cmocka_unit_test(addresses_are_read_and_written),
        cmocka_unit_test(our_own_address_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
