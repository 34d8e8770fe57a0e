#include "tests/unit/unit.h"

#include <fcntl.h>

/* The command's modules are in no library. */
#include "client/cli/describe.c"
#include "client/cli/json.c"
#include "client/cli/outlet.c"
#include "client/cli/printer.c"
#include "client/cli/progress.c"
#include "client/cli/screen.c"
#include "proto/utf8.c"

static struct screen screen;
static int out[2], err[2];

/* A screen whose outputs are pipes, of which out[0] and err[0] are the other ends. */
static void pipes_open(bool as_json)
{
    require(pipe2(out, O_NONBLOCK) == 0 && pipe2(err, O_NONBLOCK) == 0);
    screen_init(&screen, false, as_json);
    outlet_init(&screen.outlets[0], out[1]);
    outlet_init(&screen.outlets[1], err[1]);
    screen.printer.joined = false;
}

static void pipes_close(void)
{
    screen_free(&screen);
    for (size_t i = 0; i < 2; i++) {
        close(out[i]);
        close(err[i]);
    }
}

static void piece_put(uint64_t sequence, enum c4p_stream stream, const char *data, size_t size)
{
    struct c4p_event event = {
        .job = 1, .sequence = sequence, .stream = stream, .data = data, .data_size = size};

    screen_put_piece(&screen, &event);
    screen_count_piece(&screen, &event);
}

static size_t drain(int fd, char *text, size_t room)
{
    ssize_t size = read(fd, text, room - 1);

    if (size < 0)
        size = 0;
    text[size] = '\0';
    return (size_t)size;
}

static void a_piece_counts_when_it_is_written_and_not_before(void **state)
{
    static char large[100000], text[200000];

    (void)state;
    pipes_open(false);
    memset(large, 'x', sizeof(large));
    piece_put(1, C4P_STREAM_STDOUT, "one\n", 4);
    assert_int_equal(screen_next_written(&screen), 0);
    screen_write(&screen);
    assert_int_equal(screen_next_written(&screen), 1);
    assert_int_equal(screen_next_written(&screen), 0);
    piece_put(2, C4P_STREAM_STDOUT, large, sizeof(large)); /* more than a pipe holds */
    piece_put(3, C4P_STREAM_STDERR, "three\n", 6);
    screen_write(&screen);
    /* The third is written: it does not overtake the second. */
    assert_int_equal(drain(err[0], text, sizeof(text)), 6);
    assert_int_equal(screen_next_written(&screen), 0);
    assert_true(screen_waits(&screen, 0) && !screen_waits(&screen, 1));
    while (drain(out[0], text, sizeof(text)) > 0)
        screen_write(&screen);
    assert_int_equal(screen_next_written(&screen), 2);
    assert_int_equal(screen_next_written(&screen), 3);
    assert_int_equal(screen_next_written(&screen), 0);
    pipes_close();
}

static void no_more_is_taken_than_can_be_counted(void **state)
{
    (void)state;
    pipes_open(false);
    for (uint64_t i = 1; i <= SCREEN_UNWRITTEN; i++) {
        assert_false(screen_is_full(&screen));
        piece_put(i, C4P_STREAM_STDOUT, "\n", 1);
    }
    assert_true(screen_is_full(&screen));
    screen_write(&screen);
    for (uint64_t i = 1; i <= SCREEN_UNWRITTEN; i++)
        assert_int_equal(screen_next_written(&screen), i);
    assert_false(screen_is_full(&screen));
    pipes_close();
}

static void when_nobody_reads_pieces_count_as_dealt_with(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    pipes_open(false);
    close(out[0]);
    piece_put(1, C4P_STREAM_STDOUT, "one\n", 4);
    screen_write(&screen);
    assert_int_equal(screen_error(&screen), EPIPE);
    piece_put(2, C4P_STREAM_STDOUT, "two\n", 4);
    assert_int_equal(screen_next_written(&screen), 1);
    assert_int_equal(screen_next_written(&screen), 2);
    pipes_close();
}

static void missing_pieces_are_told_where_they_are_missing(void **state)
{
    char text[500];

    (void)state;
    pipes_open(false);
    piece_put(3, C4P_STREAM_STDOUT, "three\n", 6);
    piece_put(4, C4P_STREAM_STDOUT, "four\n", 5);
    piece_put(6, C4P_STREAM_STDOUT, "six\n", 4);
    screen_write(&screen);
    drain(out[0], text, sizeof(text));
    assert_string_equal(text, "three\nfour\nsix\n");
    drain(err[0], text, sizeof(text));
    assert_string_equal(text, "c4py: (2 pieces of output are not kept any more)\n"
                              "c4py: (1 piece of output is not kept any more)\n");
    pipes_close();
}

static void in_json_all_of_it_is_lines_on_standard_output(void **state)
{
    char text[500];

    (void)state;
    pipes_open(true);
    piece_put(1, C4P_STREAM_STDERR, "a\xff", 2);
    piece_put(3, C4P_STREAM_STDOUT, "b\n", 2);
    screen_write(&screen);
    assert_int_equal(screen_next_written(&screen), 1);
    assert_int_equal(screen_next_written(&screen), 3);
    drain(out[0], text, sizeof(text));
    assert_string_equal(
        text, "{\"event\": \"output\", \"job\": \"00000001\", \"sequence\": 1, \"pe\": 0, "
              "\"stream\": \"stderr\", \"text\": \"a\\ufffd\", \"base64\": \"Yf8=\"}\n"
              "{\"event\": \"gap\", \"job\": \"00000001\", \"pieces\": 1}\n"
              "{\"event\": \"output\", \"job\": \"00000001\", \"sequence\": 3, \"pe\": 0, "
              "\"stream\": \"stdout\", \"text\": \"b\\n\"}\n");
    assert_int_equal(drain(err[0], text, sizeof(text)), 0);
    pipes_close();
}

static void only_success_is_told_as_zero(void **state)
{
    struct c4p_event event = {.state = C4P_STATE_COMPLETED};

    (void)state;
    assert_int_equal(exit_code_of_end(&event), 0);
    event.exit_code = 256;
    assert_int_equal(exit_code_of_end(&event), 1);
    event.exit_code = -1;
    assert_int_equal(exit_code_of_end(&event), 255);
    event = (struct c4p_event){.state = C4P_STATE_CANCELLED};
    assert_int_equal(exit_code_of_end(&event), 1);
    event = (struct c4p_event){.state = C4P_STATE_FAILED, .exit_code = 3};
    assert_int_equal(exit_code_of_end(&event), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(a_piece_counts_when_it_is_written_and_not_before),
        watched_test(no_more_is_taken_than_can_be_counted),
        watched_test(when_nobody_reads_pieces_count_as_dealt_with),
        watched_test(missing_pieces_are_told_where_they_are_missing),
        watched_test(in_json_all_of_it_is_lines_on_standard_output),
        cmocka_unit_test(only_success_is_told_as_zero),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
