#include "tests/unit/unit.h"

#include "daemon/jobs/output.h"

static void feed(struct output *output, uint32_t pe, enum output_stream stream, const char *text,
                 int64_t now)
{
    size_t size = strlen(text), room;

    while (size > 0) {
        char *buffer = output_room(output, pe, stream, &room);
        size_t part = size < room ? size : room;

        require(part > 0);
        memcpy(buffer, text, part);
        output_filled(output, pe, stream, part, now);
        text += part;
        size -= part;
    }
}

static void assert_piece(struct output *output, int64_t now, uint32_t pe, enum output_stream stream,
                         const char *text)
{
    struct output_piece piece;

    assert_true(output_next(output, now, &piece));
    assert_int_equal(piece.pe, pe);
    assert_int_equal(piece.stream, stream);
    assert_int_equal(piece.size, strlen(text));
    assert_memory_equal(piece.data, text, piece.size);
}

static void assert_nothing(struct output *output, int64_t now)
{
    struct output_piece piece;

    assert_false(output_next(output, now, &piece));
}

static void lines_come_out_whole(void **state)
{
    struct output *output = output_create(2);

    (void)state;
    feed(output, 1, OUTPUT_STDOUT, "one\ntwo\nthr", 0);
    assert_piece(output, 0, 1, OUTPUT_STDOUT, "one\ntwo\n");
    assert_nothing(output, 100000);
    feed(output, 1, OUTPUT_STDOUT, "ee\n", 0);
    assert_piece(output, 0, 1, OUTPUT_STDOUT, "three\n");
    assert_nothing(output, 0);
    output_destroy(output);
}

static void the_streams_take_turns(void **state)
{
    struct output *output = output_create(2);

    (void)state;
    feed(output, 0, OUTPUT_STDOUT, "a\n", 0);
    feed(output, 0, OUTPUT_STDERR, "b\n", 0);
    feed(output, 1, OUTPUT_STDOUT, "c\n", 0);
    assert_piece(output, 0, 0, OUTPUT_STDOUT, "a\n");
    feed(output, 0, OUTPUT_STDOUT, "d\n", 0);
    assert_piece(output, 0, 0, OUTPUT_STDERR, "b\n");
    assert_piece(output, 0, 1, OUTPUT_STDOUT, "c\n");
    assert_piece(output, 0, 0, OUTPUT_STDOUT, "d\n");
    output_destroy(output);
}

static void a_line_is_not_taken_for_a_prompt_because_nobody_took_pieces(void **state)
{
    struct output *output = output_create(2);

    (void)state;
    feed(output, 0, OUTPUT_STDOUT, "a line of wh", 0);
    feed(output, 1, OUTPUT_STDOUT, "another\n", 0);
    output_resume(output, 5000);
    assert_piece(output, 5000, 1, OUTPUT_STDOUT, "another\n");
    assert_nothing(output, 5000);
    assert_int_equal(output_deadline(output), 5000 + OUTPUT_PROMPT_MS);
    feed(output, 0, OUTPUT_STDOUT, "ich the rest is in the pipe\n", 5010);
    assert_piece(output, 5010, 0, OUTPUT_STDOUT, "a line of which the rest is in the pipe\n");
    output_destroy(output);
}

static void a_prompt_of_pe_0_is_shown_when_it_has_been_still(void **state)
{
    struct output *output = output_create(2);

    (void)state;
    feed(output, 0, OUTPUT_STDOUT, "name? ", 1000);
    assert_nothing(output, 1000 + OUTPUT_PROMPT_MS - 1);
    assert_int_equal(output_deadline(output), 1000 + OUTPUT_PROMPT_MS);
    assert_piece(output, 1000 + OUTPUT_PROMPT_MS, 0, OUTPUT_STDOUT, "name? ");
    assert_nothing(output, 2000);
    assert_int_equal(output_deadline(output), -1);
    /* Others need not wait for the rest of that line. */
    feed(output, 1, OUTPUT_STDOUT, "from 1\n", 2000);
    assert_piece(output, 2000, 1, OUTPUT_STDOUT, "from 1\n");
    output_destroy(output);
}

static void an_unfinished_line_of_another_pe_waits_for_its_end(void **state)
{
    struct output *output = output_create(2);

    (void)state;
    feed(output, 1, OUTPUT_STDOUT, "part", 0);
    assert_nothing(output, 100000);
    assert_int_equal(output_deadline(output), -1);
    output_ended(output, 1, OUTPUT_STDOUT);
    assert_piece(output, 0, 1, OUTPUT_STDOUT, "part");
    output_destroy(output);
}

static char *line_make(size_t size, char letter)
{
    char *line = malloc(size + 1);

    require(line != NULL);
    memset(line, letter, size);
    line[size] = '\0';
    return line;
}

static void the_pieces_of_a_long_line_have_nobody_elses_between(void **state)
{
    struct output *output = output_create(2);
    char *full = line_make(OUTPUT_BUFFER, 'x');
    size_t room;

    (void)state;
    feed(output, 1, OUTPUT_STDOUT, full, 0);
    (void)output_room(output, 1, OUTPUT_STDOUT, &room);
    assert_int_equal(room, 0);
    assert_piece(output, 0, 1, OUTPUT_STDOUT, full);
    feed(output, 0, OUTPUT_STDOUT, "from 0\n", 1);
    assert_nothing(output, 1);
    assert_int_equal(output_deadline(output), OUTPUT_PROMPT_MS);
    feed(output, 1, OUTPUT_STDOUT, "more ", 90);
    assert_piece(output, 90, 1, OUTPUT_STDOUT, "more ");
    assert_nothing(output, 90);
    feed(output, 1, OUTPUT_STDOUT, "end\nnext", 120);
    assert_piece(output, 120, 1, OUTPUT_STDOUT, "end\n");
    assert_piece(output, 120, 0, OUTPUT_STDOUT, "from 0\n");
    free(full);
    output_destroy(output);
}

static void a_long_line_that_is_still_does_not_keep_the_others(void **state)
{
    struct output *output = output_create(2);
    char *full = line_make(OUTPUT_BUFFER, 'x');

    (void)state;
    feed(output, 1, OUTPUT_STDOUT, full, 0);
    assert_piece(output, 0, 1, OUTPUT_STDOUT, full);
    feed(output, 0, OUTPUT_STDOUT, "from 0\n", 0);
    assert_nothing(output, OUTPUT_PROMPT_MS - 1);
    assert_piece(output, OUTPUT_PROMPT_MS, 0, OUTPUT_STDOUT, "from 0\n");
    free(full);
    output_destroy(output);
}

static void a_long_line_that_ends_with_its_pe_does_not_keep_the_others(void **state)
{
    struct output *output = output_create(2);
    char *full = line_make(OUTPUT_BUFFER, 'x');

    (void)state;
    feed(output, 1, OUTPUT_STDOUT, full, 0);
    assert_piece(output, 0, 1, OUTPUT_STDOUT, full);
    feed(output, 0, OUTPUT_STDOUT, "from 0\n", 0);
    output_ended(output, 1, OUTPUT_STDOUT);
    assert_piece(output, 0, 0, OUTPUT_STDOUT, "from 0\n");
    free(full);
    output_destroy(output);
}

/* ---- what all say before they start ---- */

static void what_pe_0_said_is_not_said_again(void **state)
{
    struct output *output = output_create(6);

    (void)state;
    for (uint32_t pe = 6; pe-- > 0;)
        feed(output, pe, OUTPUT_STDERR, pe == 4 ? "other\n" : "error\n", 0);
    assert_piece(output, 0, 0, OUTPUT_STDERR, "error\n");
    assert_nothing(output, 0);
    for (uint32_t pe = 5; pe > 0; pe--)
        output_settle(output, pe);
    assert_nothing(output, 0);
    output_settle(output, 0);
    assert_piece(output, 0, 4, OUTPUT_STDERR, "other\n");
    assert_piece(output, 0, OUTPUT_NO_PE, OUTPUT_STDERR, "(the same on PEs 1-3, 5)\n");
    assert_nothing(output, 0);
    output_destroy(output);
}

static void one_that_says_the_same_is_named_alone(void **state)
{
    struct output *output = output_create(2);

    (void)state;
    feed(output, 0, OUTPUT_STDERR, "error\n", 0);
    feed(output, 1, OUTPUT_STDERR, "error\n", 0);
    output_settle_all(output);
    assert_piece(output, 0, 0, OUTPUT_STDERR, "error\n");
    assert_piece(output, 0, OUTPUT_NO_PE, OUTPUT_STDERR, "(the same on PE 1)\n");
    output_destroy(output);
}

static void what_is_said_after_the_start_is_not_part_of_the_comparison(void **state)
{
    struct output *output = output_create(3);

    (void)state;
    feed(output, 1, OUTPUT_STDERR, "warning\n", 0);
    output_settle(output, 1);
    feed(output, 1, OUTPUT_STDERR, "later\n", 0);
    assert_nothing(output, 0);
    feed(output, 0, OUTPUT_STDERR, "warning\n", 0);
    output_settle(output, 0);
    feed(output, 0, OUTPUT_STDERR, "warning\n", 0);
    output_settle(output, 2);
    assert_piece(output, 0, 0, OUTPUT_STDERR, "warning\nwarning\n");
    assert_piece(output, 0, 1, OUTPUT_STDERR, "later\n");
    assert_piece(output, 0, OUTPUT_NO_PE, OUTPUT_STDERR, "(the same on PE 1)\n");
    output_destroy(output);
}

static void after_the_start_of_both_nothing_is_held(void **state)
{
    struct output *output = output_create(2);

    (void)state;
    output_settle(output, 1);
    output_settle(output, 0);
    feed(output, 1, OUTPUT_STDERR, "error\n", 0);
    assert_piece(output, 0, 1, OUTPUT_STDERR, "error\n");
    output_destroy(output);
}

static void nothing_is_held_for_longer_than_a_moment(void **state)
{
    struct output *output = output_create(2);

    (void)state;
    feed(output, 1, OUTPUT_STDERR, "one\n", 0);
    feed(output, 1, OUTPUT_STDERR, "two\n", 500);
    assert_nothing(output, OUTPUT_HOLD_MS - 1);
    assert_int_equal(output_deadline(output), OUTPUT_HOLD_MS);
    assert_piece(output, OUTPUT_HOLD_MS, 1, OUTPUT_STDERR, "one\ntwo\n");
    /* An unfinished line is released, and waits for its end. */
    feed(output, 1, OUTPUT_STDERR, "three", 5000);
    assert_nothing(output, 9000);
    assert_int_equal(output_deadline(output), -1);
    output_destroy(output);
}

static void standard_output_is_never_held(void **state)
{
    struct output *output = output_create(2);

    (void)state;
    feed(output, 1, OUTPUT_STDOUT, "result\n", 0);
    assert_piece(output, 0, 1, OUTPUT_STDOUT, "result\n");
    output_destroy(output);
}

static void more_than_a_buffer_is_not_held(void **state)
{
    struct output *output = output_create(2);
    char *full = line_make(OUTPUT_BUFFER, '\n');

    (void)state;
    feed(output, 1, OUTPUT_STDERR, full, 0);
    assert_piece(output, 0, 1, OUTPUT_STDERR, full);
    free(full);
    output_destroy(output);
}

static void who_said_more_than_pe_0_is_heard_in_full(void **state)
{
    struct output *output = output_create(2);

    (void)state;
    feed(output, 0, OUTPUT_STDERR, "error\n", 0);
    feed(output, 1, OUTPUT_STDERR, "error\nand more\n", 0);
    output_settle_all(output);
    assert_piece(output, 0, 0, OUTPUT_STDERR, "error\n");
    assert_piece(output, 0, 1, OUTPUT_STDERR, "error\nand more\n");
    assert_nothing(output, 0);
    output_destroy(output);
}

/* ---- last words ---- */

static void assert_tail(const struct output *output, const char *text)
{
    char tail[OUTPUT_TAIL_BYTES];
    size_t size = output_tail(output, 0, tail);

    assert_int_equal(size, strlen(text));
    assert_memory_equal(tail, text, size);
}

static void the_tail_is_the_last_ten_lines(void **state)
{
    struct output *output = output_create(1);
    struct output_piece piece;
    char text[256] = "", line[16];

    (void)state;
    assert_tail(output, "");
    feed(output, 0, OUTPUT_STDERR, "a\nb", 0);
    assert_tail(output, "a\nb");
    for (int i = 0; i < 30; i++) {
        snprintf(line, sizeof(line), "%s%d\n", i == 0 ? "\n" : "", i);
        feed(output, 0, OUTPUT_STDERR, line, 0);
        if (i >= 20)
            strcat(text, line);
        while (output_next(output, 0, &piece))
            continue;
    }
    assert_tail(output, text);
    output_destroy(output);
}

static void the_tail_is_bounded(void **state)
{
    struct output *output = output_create(1);
    char *full = line_make(OUTPUT_BUFFER - 2, 'x');
    char tail[OUTPUT_TAIL_BYTES];

    (void)state;
    feed(output, 0, OUTPUT_STDERR, full, 0);
    feed(output, 0, OUTPUT_STDERR, "y\n", 0);
    assert_int_equal(output_tail(output, 0, tail), OUTPUT_TAIL_BYTES);
    assert_memory_equal(tail + OUTPUT_TAIL_BYTES - 3, "xy\n", 3);
    free(full);
    output_destroy(output);
}

/*
 * Random writers: each stream comes out as it went in, and between the pieces
 * of one line there is nothing of others.
 */
#define WRITERS 3

struct writer {
    char *in, *out;
    size_t in_size, out_size, room;
};

static void writer_write(struct writer *writer, struct output *output, uint32_t pe,
                         struct dice *dice, int64_t now)
{
    size_t room, size = 1 + dice_below(dice, dice_below(dice, 8) ? 50 : OUTPUT_BUFFER);
    char *buffer = output_room(output, pe, OUTPUT_STDOUT, &room);

    if (size > room)
        size = room;
    if (size > writer->room - writer->in_size)
        size = writer->room - writer->in_size;
    for (size_t i = 0; i < size; i++)
        buffer[i] = dice_below(dice, size > 1000 ? 100000 : 30) == 0 ? '\n' : (char)('a' + pe);
    memcpy(writer->in + writer->in_size, buffer, size);
    writer->in_size += size;
    output_filled(output, pe, OUTPUT_STDOUT, size, now);
}

static bool writer_read(struct writer *writers, struct output *output, int64_t now, uint32_t *open)
{
    struct output_piece piece;
    struct writer *writer;

    if (!output_next(output, now, &piece))
        return false;
    writer = &writers[piece.pe];
    require(*open == OUTPUT_NO_PE || *open == piece.pe);
    require(piece.size <= writer->in_size - writer->out_size);
    memcpy(writer->out + writer->out_size, piece.data, piece.size);
    writer->out_size += piece.size;
    *open = piece.data[piece.size - 1] == '\n' ? OUTPUT_NO_PE : piece.pe;
    return true;
}

static void whatever_is_written_comes_out_as_it_was(void **state)
{
    uint64_t seeds = stress(60);

    (void)state;
    for (uint64_t seed = first_seed(); seed < first_seed() + seeds; seed++) {
        struct dice dice = dice_seeded(seed);
        struct output *output = output_create(WRITERS);
        struct writer writers[WRITERS];
        uint32_t open = OUTPUT_NO_PE;

        seed_in_use = seed;
        for (uint32_t pe = 0; pe < WRITERS; pe++)
            writers[pe] = (struct writer){malloc(1 << 20), malloc(1 << 20), 0, 0, 1 << 20};
        /* The clock stands still: nobody is ever silent for long. */
        for (unsigned step = 0; step < 400; step++) {
            if (dice_below(&dice, 2)) {
                uint32_t pe = (uint32_t)dice_below(&dice, WRITERS);

                writer_write(&writers[pe], output, pe, &dice, 0);
            } else {
                writer_read(writers, output, 0, &open);
            }
        }
        for (uint32_t pe = 0; pe < WRITERS; pe++)
            output_ended(output, pe, OUTPUT_STDOUT);
        do
            open = OUTPUT_NO_PE; /* the last lines may lack their ends */
        while (writer_read(writers, output, 0, &open));
        for (uint32_t pe = 0; pe < WRITERS; pe++) {
            require(writers[pe].in_size == writers[pe].out_size);
            require(memcmp(writers[pe].in, writers[pe].out, writers[pe].in_size) == 0);
            free(writers[pe].in);
            free(writers[pe].out);
        }
        output_destroy(output);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_come_out_whole),
        cmocka_unit_test(the_streams_take_turns),
        cmocka_unit_test(a_line_is_not_taken_for_a_prompt_because_nobody_took_pieces),
        cmocka_unit_test(a_prompt_of_pe_0_is_shown_when_it_has_been_still),
        cmocka_unit_test(an_unfinished_line_of_another_pe_waits_for_its_end),
        cmocka_unit_test(the_pieces_of_a_long_line_have_nobody_elses_between),
        cmocka_unit_test(a_long_line_that_is_still_does_not_keep_the_others),
        cmocka_unit_test(a_long_line_that_ends_with_its_pe_does_not_keep_the_others),
        cmocka_unit_test(what_pe_0_said_is_not_said_again),
        cmocka_unit_test(one_that_says_the_same_is_named_alone),
        cmocka_unit_test(what_is_said_after_the_start_is_not_part_of_the_comparison),
        cmocka_unit_test(after_the_start_of_both_nothing_is_held),
        cmocka_unit_test(nothing_is_held_for_longer_than_a_moment),
        cmocka_unit_test(standard_output_is_never_held),
        cmocka_unit_test(more_than_a_buffer_is_not_held),
        cmocka_unit_test(who_said_more_than_pe_0_is_heard_in_full),
        cmocka_unit_test(the_tail_is_the_last_ten_lines),
        cmocka_unit_test(the_tail_is_bounded),
        watched_test(whatever_is_written_comes_out_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
