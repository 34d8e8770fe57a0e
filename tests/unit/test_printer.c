#include "tests/unit/unit.h"

#include "client/c4p.h"
/* The command's modules are in no library. */
#include "client/cli/outlet.c"
#include "client/cli/printer.c"

static char shown[2][256];

static void show(void *context, unsigned output, const char *data, size_t size)
{
    (void)context;
    strncat(shown[output], data, size);
}

static void put(struct printer *printer, uint32_t pe, unsigned stream, const char *text)
{
    printer_put(printer, pe, stream, text, strlen(text));
}

static struct printer begin(bool label, bool joined)
{
    struct printer printer;

    memset(shown, 0, sizeof(shown));
    printer_init(&printer, label, joined, show, NULL);
    return printer;
}

static void lines_go_where_they_were_written(void **state)
{
    struct printer printer = begin(false, false);

    (void)state;
    put(&printer, 0, 0, "out\n");
    put(&printer, 1, 1, "err\n");
    put(&printer, 0, 0, "");
    assert_string_equal(shown[0], "out\n");
    assert_string_equal(shown[1], "err\n");
}

static void another_pe_ends_an_unfinished_line_first(void **state)
{
    struct printer printer = begin(false, false);

    (void)state;
    put(&printer, 0, 0, "name? ");
    put(&printer, 0, 0, "go on ");
    put(&printer, 1, 1, "elsewhere\n");
    put(&printer, 1, 0, "line\n");
    put(&printer, 0, 0, "rest\n");
    assert_string_equal(shown[0], "name? go on \nline\nrest\n");
    assert_string_equal(shown[1], "elsewhere\n");
}

static void on_one_screen_both_streams_share_the_lines(void **state)
{
    struct printer printer = begin(false, true);

    (void)state;
    put(&printer, 0, 0, "name? ");
    put(&printer, C4P_NO_PE, 1, "c4py: stopped\n");
    put(&printer, 2, 1, "half");
    put(&printer, 2, 0, " whole\n");
    assert_string_equal(shown[0], "name? \nc4py: stopped\nhalf whole\n");
    assert_string_equal(shown[1], "");
}

static void a_label_is_before_each_line_and_only_there(void **state)
{
    struct printer printer = begin(true, true);

    (void)state;
    put(&printer, 0, 0, "one\ntwo\nthr");
    put(&printer, 0, 0, "ee\nfour");
    put(&printer, 12, 1, "x\n");
    put(&printer, 0, 0, "rest\n\n");
    put(&printer, C4P_NO_PE, 1, "(the same)\n");
    assert_string_equal(shown[0], "[0] one\n[0] two\n[0] three\n[0] four\n[12] x\n[0] rest\n[0] \n"
                                  "(the same)\n");
}

/* ---- the outlet ---- */

static void text_waits_until_it_can_be_written(void **state)
{
    struct outlet outlet;
    static char text[200000], back[200000];
    size_t read_so_far = 0;
    int pair[2];

    (void)state;
    require(pipe(pair) == 0);
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)(i * 7);
    outlet_init(&outlet, pair[1]);
    outlet_put(&outlet, text, sizeof(text));
    outlet_write(&outlet); /* returns, though nobody reads */
    assert_in_range(outlet_waiting(&outlet), 1, sizeof(text) - 1);
    while (read_so_far < sizeof(text)) {
        ssize_t size = read(pair[0], back + read_so_far, sizeof(back) - read_so_far);

        require(size > 0);
        read_so_far += (size_t)size;
        outlet_write(&outlet);
    }
    assert_int_equal(outlet_waiting(&outlet), 0);
    assert_memory_equal(text, back, sizeof(text));
    outlet_free(&outlet);
    close(pair[0]);
    close(pair[1]);
}

static void when_nobody_reads_any_more_text_is_dropped(void **state)
{
    struct outlet outlet;
    int pair[2];

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    require(pipe(pair) == 0);
    close(pair[0]);
    outlet_init(&outlet, pair[1]);
    outlet_put(&outlet, "text", 4);
    outlet_write(&outlet);
    assert_int_equal(outlet.error, EPIPE);
    outlet_put(&outlet, "text", 4);
    assert_int_equal(outlet_waiting(&outlet), 0);
    outlet_free(&outlet);
    close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_go_where_they_were_written),
        cmocka_unit_test(another_pe_ends_an_unfinished_line_first),
        cmocka_unit_test(on_one_screen_both_streams_share_the_lines),
        cmocka_unit_test(a_label_is_before_each_line_and_only_there),
        watched_test(text_waits_until_it_can_be_written),
        cmocka_unit_test(when_nobody_reads_any_more_text_is_dropped),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
