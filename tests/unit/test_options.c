#include "tests/unit/unit.h"

#ifndef C4P_PYTHON
#define C4P_PYTHON "python3"
#endif
/* The command's modules are in no library. */
#include "client/cli/duration.c"
#include "client/cli/lines.c"
#include "client/cli/options.c"
#include "client/cli/values.c"

static struct options options;

/* Parse words that end with NULL. */
static int parse(const struct command_line *line, const char *const *words)
{
    static char *copy[20];
    size_t count = 0;

    for (; words[count] != NULL; count++)
        copy[count] = (char *)(uintptr_t)words[count];
    copy[count] = NULL;
    return options_parse(&options, line, copy);
}

#define PARSE(line, ...) parse(&(line), (const char *const[]){__VA_ARGS__, NULL})

static void options_of_a_program_end_where_it_begins(void **state)
{
    (void)state;
    assert_int_equal(PARSE(submit_line, "-n4", "--name=x", "--priority", "-3", "--time-limit=1h30m",
                           "--env", "A=1", "--env=B=", "-d", "app.py", "-n", "--json"),
                     0);
    assert_int_equal(options.pes, 4);
    assert_string_equal(options.name, "x");
    assert_int_equal(options.priority, -3);
    assert_int_equal(options.time_limit_ms, 5400000);
    assert_int_equal(options.envs, 2);
    assert_true(options.detach);
    assert_false(options.json);
    assert_string_equal(options.command[0], "app.py");
    assert_string_equal(options.command[1], "-n");
    assert_string_equal(options.command[2], "--json");
    assert_null(options.command[3]);
}

static void what_follows_a_module_is_the_modules(void **state)
{
    (void)state;
    assert_int_equal(PARSE(run_line, "-m", "http.server", "--help"), 0);
    assert_string_equal(options.module, "http.server");
    assert_string_equal(options.command[0], "--help");
    assert_false(options.help);
}

static void words_and_options_may_be_mixed(void **state)
{
    (void)state;
    assert_int_equal(PARSE(cancel_line, "one", "--kill", "two", "--", "--three"), 0);
    assert_true(options.kill);
    assert_string_equal(options.command[0], "one");
    assert_string_equal(options.command[1], "two");
    assert_string_equal(options.command[2], "--three");
    assert_null(options.command[3]);
}

static void what_is_not_given_has_its_default(void **state)
{
    (void)state;
    assert_int_equal(PARSE(logs_line, "job"), 0);
    assert_int_equal(options.tail, UINT32_MAX);
    assert_int_equal(options.timeout_ms, -1);
    assert_null(options.state_dir);
    assert_int_equal(PARSE(logs_line, "job", "--tail", "0", "-f"), 0);
    assert_int_equal(options.tail, 0);
    assert_true(options.follow);
}

static void a_single_dash_is_a_word(void **state)
{
    (void)state;
    assert_int_equal(PARSE(logs_line, "-"), 0);
    assert_string_equal(options.command[0], "-");
}

static void an_option_of_another_command_is_unknown(void **state)
{
    (void)state;
    assert_int_equal(PARSE(run_line, "--detach", "app.py"), EXIT_USAGE);
    assert_int_equal(PARSE(run_line, "--state-dir", "x", "app.py"), EXIT_USAGE);
    assert_int_equal(PARSE(submit_line, "--log-level", "info", "app.py"), EXIT_USAGE);
    assert_int_equal(PARSE(status_line, "--all"), EXIT_USAGE);
}

static void the_number_of_words_is_checked(void **state)
{
    (void)state;
    assert_int_equal(PARSE(logs_line, "--json"), EXIT_USAGE);
    assert_int_equal(PARSE(logs_line, "one", "two"), EXIT_USAGE);
    assert_int_equal(PARSE(jobs_line, "one"), EXIT_USAGE);
    assert_int_equal(PARSE(wait_line, "one", "two", "three"), 0);
}

static void similar_words_are_near(void **state)
{
    (void)state;
    assert_int_equal(word_distance("", ""), 0);
    assert_int_equal(word_distance("abc", ""), 3);
    assert_int_equal(word_distance("", "abc"), 3);
    assert_int_equal(word_distance("jbos", "jobs"), 2);
    assert_int_equal(word_distance("status", "status"), 0);
    assert_int_equal(word_distance("stats", "status"), 1);
}

/* A row that belongs to no command would be seen in no help. */
static void every_option_has_a_command_a_help_and_a_unique_name(void **state)
{
    static const struct command_line *const lines[] = {
        &run_line,    &submit_line, &jobs_line,   &status_line,   &logs_line,
        &attach_line, &wait_line,   &cancel_line, &sessions_line, &end_line,
    };
    unsigned bits = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
        assert_int_equal(bits & lines[i]->bit, 0);
        bits |= lines[i]->bit;
    }
    for (const struct option_row *row = option_rows; row->name != NULL; row++) {
        assert_int_not_equal(row->commands & bits, 0);
        assert_non_null(row->set);
        assert_true(strlen(row->help) > 0);
        for (const struct option_row *other = option_rows; other < row; other++)
            assert_true(strcmp(row->name, other->name) != 0 ||
                        !(row->commands & other->commands & bits));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_of_a_program_end_where_it_begins),
        cmocka_unit_test(what_follows_a_module_is_the_modules),
        cmocka_unit_test(words_and_options_may_be_mixed),
        cmocka_unit_test(what_is_not_given_has_its_default),
        cmocka_unit_test(a_single_dash_is_a_word),
        cmocka_unit_test(an_option_of_another_command_is_unknown),
        cmocka_unit_test(the_number_of_words_is_checked),
        cmocka_unit_test(similar_words_are_near),
        cmocka_unit_test(every_option_has_a_command_a_help_and_a_unique_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
