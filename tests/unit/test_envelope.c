#include "tests/unit/unit.h"

#include <sys/mman.h>

#include "proto/envelope.h"

/* ---- golden bytes: written by hand from the table in proto/envelope.h ---- */

/* PE 3 calls a method of element (2, -1) of an array that PE 1 made, and wants the value. */
static const uint8_t call_bytes[] =
    "\x00\x00\x00\x00\x00\x00\x00\x00" /* next */
    "\x00\x00\x00\x00\x00\x00\x00\x00" /* body */
    "\x28\x00\x00\x00\x00\x00\x00\x00" /* body_size 40 */
    "\x01\x01\x02\x00"                 /* version 1, CALL, RETURN */
    "\x07\x00\x00\x00"                 /* epoch 7 */
    "\x03\x00\x00\x00"                 /* source 3 */
    "\x04\x03\x02\x01"                 /* target 0x01020304 */
    "\x05\x00\x00\x00\x01\x00\x00\x00" /* collection 1 << 32 | 5 */
    "\x08\x07\x06\x05\x04\x03\x02\x01" /* future */
    "\xef\xbe\xad\xde"                 /* method 0xdeadbeef */
    "\x00\x00\x00\x00"                 /* sequence */
    "\x00\x00\x00\x00"                 /* refs */
    "\x02\x01\x02\x00"                 /* 0x0102 arguments, 2 dimensions, reserved */
    "\x02\x00\x00\x00\xff\xff\xff\xff" /* index 2, -1 */
    "\x00\x00\x00\x00\x00\x00\x00\x00"
    "\x00\x00\x00\x00\x00\x00\x00\x00";

static const struct c4p_envelope call = {
    .body_size = 40,
    .version = 1,
    .kind = C4P_CALL,
    .flags = C4P_RETURN,
    .epoch = 7,
    .source = 3,
    .target = 0x01020304,
    .collection = 1ull << 32 | 5,
    .future = 0x0102030405060708,
    .method = 0xdeadbeef,
    .args = 0x0102,
    .ndims = 2,
    .index = {2, -1},
};

/* The router of node 2 hands on the end of the program that client 9 asked for, with code -2. */
static const uint8_t exit_bytes[] = "\x00\x00\x00\x00\x00\x00\x00\x00"
                                    "\x00\x00\x00\x00\x00\x00\x00\x00"
                                    "\x00\x00\x00\x00\x00\x00\x00\x00"
                                    "\x01\x0c\x00\x00" /* version 1, EXIT, no flags */
                                    "\xff\xff\xff\xff" /* epoch */
                                    "\x09\x00\x00\xc0" /* source: client 9 */
                                    "\x02\x00\x00\x80" /* target: router of node 2 */
                                    "\x00\x00\x00\x00\x00\x00\x00\x00"
                                    "\x00\x00\x00\x00\x00\x00\x00\x00"
                                    "\x00\x00\x00\x00"
                                    "\xfe\xff\xff\xff" /* sequence: -2 */
                                    "\x00\x00\x00\x00"
                                    "\x00\x00\x00\x00"
                                    "\x00\x00\x00\x00\x00\x00\x00\x00"
                                    "\x00\x00\x00\x00\x00\x00\x00\x00"
                                    "\x00\x00\x00\x00\x00\x00\x00\x00";

static const struct c4p_envelope exit_message = {
    .version = 1,
    .kind = C4P_EXIT,
    .epoch = UINT32_MAX,
    .source = C4P_CLIENT | 9,
    .target = C4P_ROUTER | 2,
    .sequence = (uint32_t)-2,
};

/* A broadcast with keywords inside one host: linked in a queue, its body shared with 3 others. */
static const uint8_t broadcast_bytes[] =
    "\x40\x00\x20\x00\x00\x00\x00\x00" /* next 0x200040 */
    "\x80\x00\x20\x00\x01\x00\x00\x00" /* body 0x100200080 */
    "\x00\x00\x00\x00\x02\x00\x00\x00" /* body_size 8 GiB */
    "\x01\x02\x1d\x00"                 /* version 1, CREATE, BROADCAST KEYWORDS EXCEPTION EMPTY */
    "\x01\x00\x00\x00"
    "\x00\x00\x00\x00"
    "\x01\x00\x00\x00"
    "\x00\x00\x00\x00\x00\x00\x00\x00"
    "\x00\x00\x00\x00\x00\x00\x00\x00"
    "\x00\x00\x00\x00"
    "\x00\x00\x00\x00"
    "\x03\x00\x00\x00"                 /* refs 3 */
    "\x00\x00\x06\x00"                 /* no arguments, 6 dimensions */
    "\x01\x00\x00\x00\x02\x00\x00\x00" /* index */
    "\x03\x00\x00\x00\x04\x00\x00\x00"
    "\x05\x00\x00\x00\x00\x00\x00\x80";

static const struct c4p_envelope broadcast = {
    .next = 0x200040,
    .body = 0x100200080,
    .body_size = 8ull << 30,
    .version = 1,
    .kind = C4P_CREATE,
    .flags = C4P_BROADCAST | C4P_KEYWORDS | C4P_EXCEPTION | C4P_EMPTY,
    .epoch = 1,
    .target = 1,
    .refs = 3,
    .ndims = 6,
    .index = {1, 2, 3, 4, 5, INT32_MIN},
};

/* PE 4 gives its router a call of a group for PEs 0 to 7, as far as they are on other nodes. */
static const uint8_t multicast_bytes[] =
    "\x00\x00\x00\x00\x00\x00\x00\x00"
    "\x00\x00\x00\x00\x00\x00\x00\x00"
    "\x03\x00\x00\x00\x00\x00\x00\x00" /* body_size 3 */
    "\x01\x01\x21\x00"                 /* version 1, CALL, BROADCAST MULTICAST */
    "\x07\x00\x00\x00"
    "\x04\x00\x00\x00"                 /* source: PE 4 */
    "\x01\x00\x00\x80"                 /* target: router of node 1 */
    "\x01\x00\x00\x00\x00\x00\x00\x00" /* collection 1 of PE 0 */
    "\x00\x00\x00\x00\x00\x00\x00\x00"
    "\xef\xbe\xad\xde" /* method */
    "\x00\x00\x00\x00"
    "\x00\x00\x00\x00"
    "\x01\x00\x00\x00"                 /* one argument, no dimensions */
    "\x00\x00\x00\x00\x08\x00\x00\x00" /* index: 0, 8 */
    "\x00\x00\x00\x00\x00\x00\x00\x00"
    "\x00\x00\x00\x00\x00\x00\x00\x00";

static const struct c4p_envelope multicast = {
    .body_size = 3,
    .version = 1,
    .kind = C4P_CALL,
    .flags = C4P_BROADCAST | C4P_MULTICAST,
    .epoch = 7,
    .source = 4,
    .target = C4P_ROUTER | 1,
    .collection = 1,
    .method = 0xdeadbeef,
    .args = 1,
    .index = {0, 8},
};

static void an_envelope_has_the_bytes_of_its_specification(void **state)
{
    (void)state;
    assert_int_equal(sizeof(call_bytes), C4P_ENVELOPE_SIZE + 1);
    assert_memory_equal(&call, call_bytes, C4P_ENVELOPE_SIZE);
    assert_int_equal(sizeof(exit_bytes), C4P_ENVELOPE_SIZE + 1);
    assert_memory_equal(&exit_message, exit_bytes, C4P_ENVELOPE_SIZE);
    assert_int_equal(sizeof(broadcast_bytes), C4P_ENVELOPE_SIZE + 1);
    assert_memory_equal(&broadcast, broadcast_bytes, C4P_ENVELOPE_SIZE);
    assert_int_equal(sizeof(multicast_bytes), C4P_ENVELOPE_SIZE + 1);
    assert_memory_equal(&multicast, multicast_bytes, C4P_ENVELOPE_SIZE);
}

/* Numbers on the wire never change their meaning. */
static void kinds_and_flags_keep_their_numbers(void **state)
{
    static const int kinds[] = {
        C4P_CALL,      C4P_CREATE,       C4P_FUTURE, C4P_COMPLETION, C4P_PARTIAL, C4P_REDUCED,
        C4P_QUIESCENT, C4P_CLASS_WANTED, C4P_CLASS,  C4P_READONLIES, C4P_STARTED, C4P_EXIT,
        C4P_STOP,      C4P_NODE_PART,    C4P_IDLE,   C4P_WAVE,       C4P_MARK};
    static const int flags[] = {C4P_BROADCAST, C4P_RETURN, C4P_KEYWORDS,
                                C4P_EXCEPTION, C4P_EMPTY,  C4P_MULTICAST};

    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
        assert_int_equal(kinds[i], i + 1);
    assert_true(C4P_KINDS > C4P_MARK);
    for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
        assert_int_equal(flags[i], 1 << i);
        assert_true(C4P_FLAGS_ALL & flags[i]);
    }
}

static void a_valid_envelope_is_copied_out_as_it_is(void **state)
{
    struct c4p_envelope copy;

    (void)state;
    assert_int_equal(envelope_check(&call, C4P_ENVELOPE_SIZE + 40, 7, &copy), C4P_ENVELOPE_OK);
    assert_memory_equal(&copy, call_bytes, C4P_ENVELOPE_SIZE);
    assert_int_equal(envelope_check(&exit_message, C4P_ENVELOPE_SIZE, UINT32_MAX, &copy),
                     C4P_ENVELOPE_OK);
    assert_memory_equal(&copy, exit_bytes, C4P_ENVELOPE_SIZE);
}

static enum c4p_envelope_error check_bytes_changed(size_t position, uint8_t byte)
{
    struct c4p_envelope envelope, copy;

    memcpy(&envelope, call_bytes, sizeof(envelope));
    ((uint8_t *)&envelope)[position] = byte;
    return envelope_check(&envelope, C4P_ENVELOPE_SIZE + 40, 7, &copy);
}

static void every_version_but_the_known_one_is_refused(void **state)
{
    (void)state;
    for (unsigned version = 0; version < 256; version++)
        assert_int_equal(check_bytes_changed(24, (uint8_t)version),
                         version == 1 ? C4P_ENVELOPE_OK : C4P_ENVELOPE_VERSION_UNKNOWN);
}

static void every_unknown_kind_is_refused(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 256; kind++)
        assert_int_equal(check_bytes_changed(25, (uint8_t)kind), kind > 0 && kind < C4P_KINDS
                                                                     ? C4P_ENVELOPE_OK
                                                                     : C4P_ENVELOPE_KIND_UNKNOWN);
}

static void every_unknown_flag_is_refused(void **state)
{
    struct c4p_envelope envelope, copy;

    (void)state;
    memcpy(&envelope, call_bytes, sizeof(envelope));
    for (unsigned flags = 0; flags <= UINT16_MAX; flags++) {
        envelope.flags = (uint16_t)flags;
        assert_int_equal(envelope_check(&envelope, C4P_ENVELOPE_SIZE + 40, 7, &copy),
                         flags <= C4P_FLAGS_ALL ? C4P_ENVELOPE_OK : C4P_ENVELOPE_FLAGS_UNKNOWN);
    }
}

static void more_dimensions_than_an_index_has_are_refused(void **state)
{
    (void)state;
    for (unsigned dims = 0; dims < 256; dims++)
        assert_int_equal(check_bytes_changed(70, (uint8_t)dims),
                         dims <= C4P_MAX_DIMS ? C4P_ENVELOPE_OK : C4P_ENVELOPE_DIMS);
}

static void another_life_of_the_job_is_refused(void **state)
{
    (void)state;
    assert_int_equal(check_bytes_changed(28, 8), C4P_ENVELOPE_STALE);
    assert_int_equal(check_bytes_changed(31, 1), C4P_ENVELOPE_STALE);
}

static void an_envelope_that_is_cut_off_is_refused_without_being_read(void **state)
{
    struct c4p_envelope copy;

    (void)state;
    /* No room says that nothing behind the pointer may be touched: give one that cannot be. */
    for (size_t room = 0; room < C4P_ENVELOPE_SIZE; room++)
        assert_int_equal(envelope_check((const struct c4p_envelope *)64, room, 7, &copy),
                         C4P_ENVELOPE_TRUNCATED);
}

static void a_body_larger_than_its_block_is_refused(void **state)
{
    static const uint64_t too_large[] = {41,        UINT32_MAX,      1ull << 32,
                                         INT64_MAX, UINT64_MAX - 95, UINT64_MAX};
    struct c4p_envelope envelope, copy;

    (void)state;
    memcpy(&envelope, call_bytes, sizeof(envelope));
    for (size_t room = C4P_ENVELOPE_SIZE; room < C4P_ENVELOPE_SIZE + 40; room++)
        assert_int_equal(envelope_check(&envelope, room, 7, &copy), C4P_ENVELOPE_TRUNCATED);
    for (size_t i = 0; i < sizeof(too_large) / sizeof(*too_large); i++) {
        envelope.body_size = too_large[i];
        assert_int_equal(envelope_check(&envelope, C4P_ENVELOPE_SIZE + 40, 7, &copy),
                         C4P_ENVELOPE_TRUNCATED);
    }
}

static void a_shared_body_is_left_to_the_caller_to_check(void **state)
{
    struct c4p_envelope copy;

    (void)state;
    assert_int_equal(envelope_check(&broadcast, C4P_ENVELOPE_SIZE, 1, &copy), C4P_ENVELOPE_OK);
    assert_int_equal(copy.body, 0x100200080);
    assert_int_equal(copy.body_size, 8ull << 30);
}

static void write_for_ever(struct c4p_envelope *shared)
{
    volatile uint8_t *bytes = (volatile uint8_t *)shared;

    for (uint8_t i = 0;; i++) {
        bytes[24] = i % 2;
        bytes[25] = i % 3 ? C4P_CALL : 200;
        bytes[70] = i % 5 ? 6 : 7;
        bytes[16] = i;
    }
}

/* A process writes valid and invalid values by turns; the oracle checks the copies of its own. */
static void what_was_checked_stays_what_it_was_while_a_writer_changes_it(void **state)
{
    struct c4p_envelope *shared =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct c4p_envelope copy;
    pid_t pid;

    (void)state;
    require(shared != MAP_FAILED);
    memcpy(shared, call_bytes, sizeof(*shared));
    pid = fork();
    require(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        write_for_ever(shared);
    }
    for (unsigned long i = 0; i < stress(3000000); i++) {
        if (envelope_check(shared, C4P_ENVELOPE_SIZE + 100, 7, &copy) != C4P_ENVELOPE_OK)
            continue;
        assert_int_equal(copy.version, 1);
        assert_int_equal(copy.kind, C4P_CALL);
        assert_int_equal(copy.ndims <= C4P_MAX_DIMS, 1);
        assert_true(copy.body_size <= 100);
    }
    child_kill(pid);
    munmap(shared, 4096);
}

static void every_refusal_has_a_text_of_its_own(void **state)
{
    (void)state;
    for (int error = C4P_ENVELOPE_OK; error <= C4P_ENVELOPE_STALE; error++)
        for (int other = C4P_ENVELOPE_OK; other <= C4P_ENVELOPE_STALE + 1; other++)
            assert_int_equal(strcmp(envelope_error_text((enum c4p_envelope_error)error),
                                    envelope_error_text((enum c4p_envelope_error)other)) == 0,
                             error == other);
}

/* Vectors: draft-eastlake-fnv, and the FNV authors' test suite. */
static void names_hash_as_fnv_1a_does(void **state)
{
    static const struct {
        const char *text;
        uint64_t hash;
    } vectors[] = {
        {"", 0xcbf29ce484222325},
        {"a", 0xaf63dc4c8601ec8c},
        {"b", 0xaf63df4c8601f1a5},
        {"fo", 0x08985907b541d342},
        {"foo", 0xdcb27518fed9d577},
        {"foob", 0xdd120e790c2512af},
        {"fooba", 0xcac165afa2fef40a},
        {"foobar", 0x85944171f73967e8},
        {"chongo was here!\n", 0x46810940eff5f915},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(*vectors); i++) {
        uint64_t hash = vectors[i].hash;
        size_t length = strlen(vectors[i].text);

        assert_true(c4p_hash(vectors[i].text, length) == hash);
        assert_int_equal(c4p_hash_method(vectors[i].text, length), (uint32_t)(hash >> 32 ^ hash));
    }
    /* By length, not by terminator; bytes are unsigned. */
    assert_true(c4p_hash("foobar", 3) == 0xdcb27518fed9d577);
    assert_true(c4p_hash("\0", 1) == 0xaf63bd4c8601b7df);
    assert_true(c4p_hash("\xff", 1) == (0xcbf29ce484222325 ^ 0xff) * 0x100000001b3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_envelope_has_the_bytes_of_its_specification),
        cmocka_unit_test(kinds_and_flags_keep_their_numbers),
        cmocka_unit_test(a_valid_envelope_is_copied_out_as_it_is),
        cmocka_unit_test(every_version_but_the_known_one_is_refused),
        cmocka_unit_test(every_unknown_kind_is_refused),
        cmocka_unit_test(every_unknown_flag_is_refused),
        cmocka_unit_test(more_dimensions_than_an_index_has_are_refused),
        cmocka_unit_test(another_life_of_the_job_is_refused),
        cmocka_unit_test(an_envelope_that_is_cut_off_is_refused_without_being_read),
        cmocka_unit_test(a_body_larger_than_its_block_is_refused),
        cmocka_unit_test(a_shared_body_is_left_to_the_caller_to_check),
        watched_test(what_was_checked_stays_what_it_was_while_a_writer_changes_it),
        cmocka_unit_test(every_refusal_has_a_text_of_its_own),
        cmocka_unit_test(names_hash_as_fnv_1a_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
