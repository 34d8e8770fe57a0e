/* The bytes of a frame's header, and which are refused. */
#include "tests/unit/unit.h"

#include "proto/frame.h"

/* clang-format off */
static const uint8_t golden[FRAME_HEADER_SIZE] = {
    1,                                              /* version */
    2,                                              /* CREDIT */
    1,                                              /* relay */
    0,
    0x07, 0x06, 0x05, 0x04,                         /* epoch */
    0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, /* job */
    0x23, 0, 0, 0,                                  /* from */
    0x24, 0, 0, 0,                                  /* to */
    0x38, 0x37, 0x36, 0x35, 0x34, 0x33, 0x32, 0x31, /* position */
    's', 'i', 'x', 't', 'e', 'e', 'n', ' ', 'c', 'h', 'a', 'r', 's', ' ', 'o', 'f',
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
};
/* clang-format on */

static void the_bytes_of_a_header_are_these(void **state)
{
    struct frame_header header = {
        .version = FRAME_VERSION,
        .type = FRAME_CREDIT,
        .stream = FRAME_RELAY,
        .epoch = 0x04050607,
        .job = 0x1112131415161718,
        .from = 0x23,
        .to = 0x24,
        .position = 0x3132333435363738,
    };
    struct frame_header read;

    (void)state;
    memcpy(header.secret, "sixteen chars of", FRAME_SECRET_SIZE);
    assert_memory_equal(&header, golden, sizeof(golden));
    assert_true(frame_read(golden, sizeof(golden), &read));
    assert_memory_equal(&read, &header, sizeof(header));
}

static void what_is_no_header_of_this_version_is_refused(void **state)
{
    static const struct {
        size_t at;
        uint8_t value;
    } wrong[] = {{0, 0}, {0, 2},  {1, 0}, {1, FRAME_TYPES}, {2, FRAME_STREAMS},
                 {3, 1}, {48, 1}, {63, 1}};
    struct frame_header read;
    uint8_t bytes[FRAME_HEADER_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        memcpy(bytes, golden, sizeof(bytes));
        bytes[wrong[i].at] = wrong[i].value;
        assert_false(frame_read(bytes, sizeof(bytes), &read));
    }
    assert_false(frame_read(golden, FRAME_HEADER_SIZE - 1, &read));
    assert_false(frame_read(golden, 0, &read));
    assert_false(frame_read(golden, FRAME_HEADER_SIZE + FRAME_PART + 1, &read));
    assert_true(frame_read(golden, FRAME_HEADER_SIZE + FRAME_PART, &read));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(the_bytes_of_a_header_are_these),
        watched_test(what_is_no_header_of_this_version_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
