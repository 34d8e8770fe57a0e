#include "tests/unit/unit.h"

#include "client/c4p.h"
/* The command's modules are in no library. */
#include "client/cli/duration.c"
#include "client/cli/progress.c"
#include "client/cli/tail.c"
#include "proto/table.h"
#include "proto/utf8.c"

/* ---- lengths of time ---- */

static void times_are_read_as_people_write_them(void **state)
{
    static const struct {
        const char *text;
        uint64_t seconds;
    } good[] = {
        {"90", 90},          {"90s", 90},    {"30m", 1800}, {"1h30m", 5400}, {"2d", 2 * 86400},
        {"1d2h3m4s", 93784}, {"1h5s", 3605}, {"0", 0},      {"100m", 6000},  {"3650d", 315360000},
    };
    static const char *const bad[] = {
        "",
        "s",
        "x",
        "1x",
        "-1",
        "1.5h",
        " 1",
        "1 ",
        "30m1h",
        "1m1m",
        "5s5",
        "1h30",
        "h1",
        "3651d",
        "3650d1s",
        "99999999999999999999",
        "99999999999999999999d",
        "1e3",
        "+5",
    };
    uint64_t ms;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        assert_true(duration_parse(good[i].text, &ms));
        assert_int_equal(ms, good[i].seconds * 1000);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_false(duration_parse(bad[i], &ms));
}

static void times_are_shown_in_two_units(void **state)
{
    char text[DURATION_SIZE];

    (void)state;
    assert_string_equal(duration_format(0, text), "0s");
    assert_string_equal(duration_format(999, text), "0s");
    assert_string_equal(duration_format(59999, text), "59s");
    assert_string_equal(duration_format(60000, text), "1m00s");
    assert_string_equal(duration_format(192000, text), "3m12s");
    assert_string_equal(duration_format(7500000, text), "2h05m");
    assert_string_equal(duration_format(90000000, text), "1d01h");
    assert_string_equal(duration_format(UINT64_MAX, text), "213503982334d14h");
}

/* ---- the table ---- */

static char *printed(struct table *table, unsigned width)
{
    static char text[2000];
    FILE *stream = fmemopen(text, sizeof(text), "w");

    require(stream != NULL);
    table_print(table, stream, width);
    fclose(stream);
    return text;
}

static struct table small_table(void)
{
    static const char *const titles[] = {"ID", "N", "WHAT"};
    struct table table;

    table_init(&table, titles, 3, 1 << 1);
    table_add(&table, "a");
    table_add(&table, "10");
    table_add(&table, "");
    table_add(&table, "\xc3\xa4\xc3\xb6\xc3\xbc");
    table_add_format(&table, "%d", 7);
    table_add(&table, "this and that");
    assert_false(table.failed);
    return table;
}

static void columns_are_aligned_and_lines_end_with_their_text(void **state)
{
    struct table table = small_table();

    (void)state;
    assert_string_equal(printed(&table, 0), "ID    N  WHAT\n"
                                            "a    10\n"
                                            "\xc3\xa4\xc3\xb6\xc3\xbc   7  this and that\n");
    table_free(&table);
}

static void lines_are_cut_to_the_screen_between_characters(void **state)
{
    struct table table = small_table();

    (void)state;
    assert_string_equal(printed(&table, 13), "ID    N  WHAT\n"
                                             "a    10\n"
                                             "\xc3\xa4\xc3\xb6\xc3\xbc   7  this\n");
    table_free(&table);
    table = small_table();
    assert_string_equal(printed(&table, 2), "ID\na \n\xc3\xa4\xc3\xb6\n");
    table_free(&table);
}

static void a_long_table_is_printed_in_parts_whose_columns_only_get_wider(void **state)
{
    struct table table = small_table();

    (void)state;
    printed(&table, 0);
    table_add(&table, "b");
    table_add(&table, "1");
    table_add(&table, "x");
    assert_string_equal(printed(&table, 0), "b     1  x\n");
    table_add(&table, "long one");
    table_add(&table, "2");
    table_add(&table, "y");
    assert_string_equal(printed(&table, 0), "long one   2  y\n");
    table_free(&table);
}

static void what_would_disturb_the_screen_is_a_question_mark(void **state)
{
    static const char *const titles[] = {"NAME"};
    struct table table;

    (void)state;
    table_init(&table, titles, 1, 0);
    table_add(&table, "\033[31mred\n\x7f\xc2\x9b\xff");
    assert_string_equal(printed(&table, 0), "NAME\n?[31mred????\n");
    table_free(&table);
}

/* ---- the last lines ---- */

static char taken[4096];
static uint64_t sequences[64];
static size_t pieces;

static void take(void *context, const struct c4p_event *piece)
{
    assert_null(context);
    sequences[pieces++] = piece->sequence;
    strncat(taken, piece->data, piece->data_size);
}

static const char *last_lines(uint64_t wanted, const char *const *texts)
{
    struct tail tail;

    taken[0] = '\0';
    pieces = 0;
    tail_init(&tail, wanted);
    for (uint64_t i = 0; texts[i] != NULL; i++) {
        char own[100];
        struct c4p_event event = {.sequence = i + 1, .data = own, .data_size = strlen(texts[i])};

        strcpy(own, texts[i]);
        require(tail_add(&tail, &event));
        memset(own, '#', sizeof(own)); /* it is valid during the call only */
    }
    tail_give(&tail, take, NULL);
    tail_free(&tail);
    return taken;
}

static void the_last_lines_are_given_whatever_the_pieces_are(void **state)
{
    static const char *const texts[] = {"1\n2\n", "3\n4\n5\n", "6", "6\n", "7\n8", NULL};

    (void)state;
    assert_string_equal(last_lines(0, texts), "");
    assert_string_equal(last_lines(1, texts), "8");
    assert_string_equal(last_lines(2, texts), "7\n8");
    assert_int_equal(sequences[0], 5);
    assert_string_equal(last_lines(3, texts), "66\n7\n8");
    assert_string_equal(last_lines(4, texts), "5\n66\n7\n8");
    assert_int_equal(sequences[0], 2);
    assert_string_equal(last_lines(7, texts), "2\n3\n4\n5\n66\n7\n8");
    assert_string_equal(last_lines(100, texts), "1\n2\n3\n4\n5\n66\n7\n8");
    assert_string_equal(last_lines(3, texts + 5), "");
}

static void no_more_is_kept_than_the_last_lines_need(void **state)
{
    static const struct c4p_event event = {.data = "a\nb\n", .data_size = 4};
    struct tail tail;
    size_t count = 0;

    (void)state;
    tail_init(&tail, 3);
    for (size_t i = 0; i < 1000; i++)
        require(tail_add(&tail, &event));
    for (const struct tail_piece *piece = tail.first; piece != NULL; piece = piece->next)
        count++;
    assert_int_equal(count, 2);
    tail_free(&tail);
}

/* ---- the line that says what a job waits for ---- */

static char screen[500];

static void show(void *context, const char *text, size_t size)
{
    size_t end = strlen(screen);

    (void)context;
    require(end + size < sizeof(screen));
    memcpy(screen + end, text, size);
    screen[end + size] = '\0';
}

static void on_a_terminal_it_is_rewritten_in_place_and_erased(void **state)
{
    struct progress progress;

    (void)state;
    screen[0] = '\0';
    progress_init(&progress, true, show, NULL);
    assert_int_equal(progress_due(&progress, 1000), -1);
    progress_wait(&progress, "waits for one", 1000);
    assert_int_equal(progress_due(&progress, 1000), PROGRESS_PATIENCE_MS);
    progress_show(&progress, 1000, 80); /* too early */
    assert_string_equal(screen, "");
    progress_show(&progress, 1200, 80);
    assert_string_equal(screen, "waits for one");
    assert_int_equal(progress_due(&progress, 1300), -1);
    progress_wait(&progress, "waits for one", 1300); /* nothing new */
    assert_int_equal(progress_due(&progress, 1300), -1);
    progress_wait(&progress, "waits for another", 1400);
    progress_show(&progress, 1400, 11);
    assert_string_equal(screen, "waits for one\r\033[Kwaits for ");
    progress_stop(&progress);
    progress_stop(&progress);
    assert_string_equal(screen, "waits for one\r\033[Kwaits for \r\033[K");
    assert_int_equal(progress_due(&progress, 9000), -1);
}

static void what_is_said_meanwhile_does_not_share_its_line(void **state)
{
    struct progress progress;

    (void)state;
    screen[0] = '\0';
    progress_init(&progress, true, show, NULL);
    progress_wait(&progress, "waits", 0);
    progress_hide(&progress);
    progress_show(&progress, 500, 80);
    progress_hide(&progress);
    show(NULL, "said\n", 5);
    progress_show(&progress, 500, 80);
    assert_string_equal(screen, "waits\r\033[Ksaid\nwaits");
}

static void elsewhere_it_is_one_line_for_each_wait(void **state)
{
    struct progress progress;

    (void)state;
    screen[0] = '\0';
    progress_init(&progress, false, show, NULL);
    progress_wait(&progress, "waits for one", 0);
    progress_stop(&progress); /* over at once: not worth a line */
    progress_wait(&progress, "waits for one", 1000);
    progress_show(&progress, 1200, 5);
    progress_wait(&progress, "waits for another", 1300);
    progress_hide(&progress);
    progress_show(&progress, 9999, 5);
    assert_string_equal(screen, "waits for one\n");
    progress_stop(&progress);
    progress_wait(&progress, "waits again", 10000);
    progress_show(&progress, 10200, 5);
    assert_string_equal(screen, "waits for one\nwaits again\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_read_as_people_write_them),
        cmocka_unit_test(times_are_shown_in_two_units),
        cmocka_unit_test(columns_are_aligned_and_lines_end_with_their_text),
        cmocka_unit_test(lines_are_cut_to_the_screen_between_characters),
        cmocka_unit_test(a_long_table_is_printed_in_parts_whose_columns_only_get_wider),
        cmocka_unit_test(what_would_disturb_the_screen_is_a_question_mark),
        cmocka_unit_test(the_last_lines_are_given_whatever_the_pieces_are),
        cmocka_unit_test(no_more_is_kept_than_the_last_lines_need),
        cmocka_unit_test(on_a_terminal_it_is_rewritten_in_place_and_erased),
        cmocka_unit_test(what_is_said_meanwhile_does_not_share_its_line),
        cmocka_unit_test(elsewhere_it_is_one_line_for_each_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
