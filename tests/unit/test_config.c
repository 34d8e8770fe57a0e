#include "tests/unit/unit.h"

#include <sys/stat.h>

#include "daemon/config.h"
#include "daemon/log.h"

static struct config config;
static char error[CONFIG_ERROR_SIZE];

static int parse_bytes(const char *text, size_t size)
{
    config_init(&config, 4);
    return config_parse(&config, "c4pd.conf", text, size, error);
}

static int parse(const char *text)
{
    return parse_bytes(text, strlen(text));
}

static uint64_t value(enum config_key key)
{
    return config.values[key].number;
}

/* ---- values ---- */

static uint64_t number;

static void counts_sizes_times_and_levels_are_read(void **state)
{
    (void)state;
    assert_true(value_parse(VALUE_COUNT, "12", &number) && number == 12);
    assert_true(value_parse(VALUE_SIZE, "12", &number) && number == 12);
    assert_true(value_parse(VALUE_SIZE, "64M", &number) && number == 64u << 20);
    assert_true(value_parse(VALUE_SIZE, "64MiB", &number) && number == 64u << 20);
    assert_true(value_parse(VALUE_SIZE, "1g", &number) && number == 1u << 30);
    assert_true(value_parse(VALUE_SIZE, "7B", &number) && number == 7);
    assert_true(value_parse(VALUE_TIME, "90s", &number) && number == 90000);
    assert_true(value_parse(VALUE_TIME, "2m", &number) && number == 120000);
    assert_true(value_parse(VALUE_TIME, "500ms", &number) && number == 500);
    assert_true(value_parse(VALUE_TIME, "2d", &number) && number == 172800000);
    assert_true(value_parse(VALUE_TIME, "0", &number) && number == 0);
    assert_true(value_parse(VALUE_LEVEL, "debug", &number) && number == LOG_DEBUG);
}

static void what_is_no_value_is_refused(void **state)
{
    static const struct {
        enum value_type type;
        const char *text;
    } bad[] = {
        {VALUE_COUNT, ""},
        {VALUE_COUNT, "-1"},
        {VALUE_COUNT, " 1"},
        {VALUE_COUNT, "1 "},
        {VALUE_COUNT, "0x10"},
        {VALUE_COUNT, "1.5"},
        {VALUE_COUNT, "4K"},
        {VALUE_SIZE, "M"},
        {VALUE_SIZE, "1MM"},
        {VALUE_SIZE, "1iB"},
        {VALUE_SIZE, "1 M"},
        {VALUE_SIZE, "1P"},
        {VALUE_TIME, "90"},
        {VALUE_TIME, "1h30m"},
        {VALUE_TIME, "s"},
        {VALUE_TIME, "1w"},
        {VALUE_TIME, "1sB"},
        {VALUE_LEVEL, "loud"},
        {VALUE_LEVEL, "INFO"},
        {VALUE_COUNT, "18446744073709551616"},
        {VALUE_SIZE, "18446744073709551615K"},
        {VALUE_TIME, "99999999999999999999d"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_false(value_parse(bad[i].type, bad[i].text, &number));
}

static void what_is_written_is_read_as_the_same(void **state)
{
    struct dice dice = dice_seeded(first_seed());
    char text[VALUE_TEXT_SIZE];

    (void)state;
    value_format(VALUE_SIZE, 64u << 20, text);
    assert_string_equal(text, "64M");
    value_format(VALUE_TIME, 5400000, text);
    assert_string_equal(text, "90m");
    value_format(VALUE_TIME, 0, text);
    assert_string_equal(text, "0");
    for (unsigned long i = 0; i < stress(10000); i++) {
        uint64_t want = dice_throw(&dice) >> dice_below(&dice, 64);
        enum value_type type = (enum value_type)dice_below(&dice, VALUE_LEVEL);

        value_format(type, want, text);
        assert_true(value_parse(type, text, &number));
        assert_int_equal(number, want);
    }
}

/* ---- the table ---- */

static void defaults_are_in_range_and_names_are_unique(void **state)
{
    (void)state;
    for (unsigned i = 0; i < CONFIG_KEYS; i++) {
        const struct config_row *row = &config_rows[i];

        assert_true(row->least <= row->most);
        assert_true(row->otherwise <= row->most);
        assert_true(i == CONFIG_PES || row->otherwise >= row->least);
        assert_true(strncmp(row->option, "--", 2) == 0);
        for (unsigned k = 0; k < i; k++) {
            assert_string_not_equal(row->option, config_rows[k].option);
            assert_true(strcmp(row->key, config_rows[k].key) != 0);
        }
    }
}

/* ---- files ---- */

static void a_file_sets_what_it_names_and_remembers_the_line(void **state)
{
    (void)state;
    assert_int_equal(parse("# comment\n"
                           "\n"
                           "[daemon] ; here it begins\n"
                           "pes = 3\n"
                           "  log_level=debug   ; for now\n"
                           "\tlog_size : 1M\r\n"
                           "[jobs]\n"
                           "keep_time = 7d\n"
                           "[sessions]\n"
                           "ttl=5m"),
                     0);
    assert_int_equal(value(CONFIG_PES), 3);
    assert_int_equal(config.values[CONFIG_PES].line, 4);
    assert_int_equal(value(CONFIG_LOG_LEVEL), LOG_DEBUG);
    assert_int_equal(config.values[CONFIG_LOG_LEVEL].line, 5);
    assert_int_equal(value(CONFIG_LOG_SIZE), 1 << 20);
    assert_int_equal(value(CONFIG_KEEP_TIME), 7ull * 86400000);
    assert_int_equal(value(CONFIG_SESSION_TTL), 300000);
    assert_int_equal(config.values[CONFIG_SESSION_TTL].line, 10);
    assert_int_equal(config.values[CONFIG_KEEP].source, CONFIG_DEFAULT);
    assert_int_equal(value(CONFIG_KEEP), config_rows[CONFIG_KEEP].otherwise);
}

static void an_empty_file_changes_nothing(void **state)
{
    (void)state;
    assert_int_equal(parse(""), 0);
    assert_int_equal(parse("\n\n; nothing\n"), 0);
    assert_int_equal(parse("\xef\xbb\xbf[daemon]\npes = 2\n"), 0);
    assert_int_equal(value(CONFIG_PES), 2);
}

static void what_is_wrong_is_named_with_file_line_and_key(void **state)
{
    static const struct {
        const char *text, *sentence;
    } wrong[] = {
        {"[daemon]\npse = 1\n", "c4pd.conf:2: there is no key pse (is it pes?)"},
        {"[daemon]\nmaxclients = 1\n",
         "c4pd.conf:2: there is no key maxclients (is it max_clients?)"},
        {"[daemon]\nfrobnicate = 1\n",
         "c4pd.conf:2: there is no key frobnicate (c4pd config lists them)"},
        {"[daemon]\nkeep = 1\n",
         "c4pd.conf:2: keep is no key of [daemon] (it belongs into [jobs])"},
        {"pes = 1\n", "c4pd.conf:1: pes is in no section (write [daemon] before it)"},
        {"[deamon]\n", "c4pd.conf:1: there is no section [deamon] (is it [daemon]?)"},
        {"[web]\nport = 80\n",
         "c4pd.conf:1: there is no section [web] (there are [daemon], [jobs], [sessions], "
         "[cluster])"},
        {"[]\n", "c4pd.conf:1: there is no section []"},
        {"\n[daemon\npes = 1\n", "c4pd.conf:2: the section's name does not end"},
        {"[daemon] pes = 1\n", "c4pd.conf:1: \"pes = 1\" is not expected after"},
        {"[daemon]\npes = four\n", "c4pd.conf:2: pes: \"four\" is not a count (a number like 4)"},
        {"[daemon]\npes =\n", "c4pd.conf:2: pes: \"\" is not a count"},
        {"[daemon]\npes = 0\n", "c4pd.conf:2: pes: 0 is out of range (give 1 to "},
        {"[daemon]\npes = 99999\n", "c4pd.conf:2: pes: 99999 is out of range"},
        {"[daemon]\nlog_level = loud\n",
         "c4pd.conf:2: log_level: \"loud\" is not a log level (error, warning, info, debug)"},
        {"[daemon]\ndrain_time = 30\n",
         "c4pd.conf:2: drain_time: \"30\" is not a time (90s, 30m, 1h, 2d)"},
        {"[jobs]\noutput_limit = 1K\n",
         "c4pd.conf:2: output_limit: 1K is out of range (give 1M to 1T)"},
        {"[daemon]\npes\n", "c4pd.conf:2: is neither \"key = value\" nor \"[section]\""},
        {"[daemon]\npes = 1\n[jobs]\n[daemon]\npes = 1\n",
         "c4pd.conf:5: pes was set already, in line 2"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        assert_int_equal(parse(wrong[i].text), -1);
        if (strncmp(error, wrong[i].sentence, strlen(wrong[i].sentence)) != 0)
            fail_msg("%s\nis not\n%s", error, wrong[i].sentence);
    }
}

static void the_first_error_is_the_one_that_is_told(void **state)
{
    (void)state;
    assert_int_equal(parse("[daemon]\nnonsense\npes = x\n[web]\n"), -1);
    assert_non_null(strstr(error, "c4pd.conf:2: "));
}

static void a_line_that_is_too_long_or_has_a_nul_byte_is_refused(void **state)
{
    char text[2 * CONFIG_MAX_LINE];

    (void)state;
    memset(text, ';', sizeof(text));
    memcpy(text, "[daemon]\n", 9);
    assert_int_equal(parse_bytes(text, 9 + CONFIG_MAX_LINE), 0);
    assert_int_equal(parse_bytes(text, 9 + CONFIG_MAX_LINE + 1), -1);
    assert_string_equal(error, "c4pd.conf:2: the line is too long (160 characters are allowed)");
    assert_int_equal(parse_bytes("[daemon]\npes = 1\0"
                                 "2\n",
                                 19),
                     -1);
    assert_string_equal(error, "c4pd.conf:2: there is a NUL byte in the line");
}

static void the_command_line_overrules_the_file(void **state)
{
    struct config_given given = {{[CONFIG_PES] = "7"}};
    char source[64];

    (void)state;
    assert_int_equal(parse("[daemon]\npes = 3\n[jobs]\nkeep = 5\n"), 0);
    strcpy(config.path, "/etc/c4pd.conf");
    assert_int_equal(config_give(&config, &given, error), 0);
    assert_int_equal(value(CONFIG_PES), 7);
    config_source_format(&config, CONFIG_PES, source, sizeof(source));
    assert_string_equal(source, "command line");
    config_source_format(&config, CONFIG_KEEP, source, sizeof(source));
    assert_string_equal(source, "/etc/c4pd.conf:4");
    config_source_format(&config, CONFIG_KEEP_TIME, source, sizeof(source));
    assert_string_equal(source, "default");
    given.values[CONFIG_LOG_LEVEL] = "loud";
    assert_int_equal(config_give(&config, &given, error), -1);
    assert_non_null(strstr(error, "--log-level: \"loud\" is not a log level"));
}

static void what_is_no_readable_file_is_refused(void **state)
{
    char directory[] = "/tmp/c4p-config-XXXXXX", path[64];
    FILE *file;

    (void)state;
    require(mkdtemp(directory) != NULL);
    assert_int_equal(config_read(&config, directory, error), -1);
    assert_non_null(strstr(error, "cannot be read: Is a directory"));
    snprintf(path, sizeof(path), "%s/c4pd.conf", directory);
    assert_int_equal(config_read(&config, path, error), -1);
    assert_non_null(strstr(error, "c4pd.conf: cannot be read: No such file"));
    require(mkfifo(path, 0600) == 0);
    assert_int_equal(config_read(&config, path, error), -1);
    assert_non_null(strstr(error, "it is no regular file"));
    unlink(path);
    file = fopen(path, "w");
    require(file != NULL);
    for (unsigned i = 0; i <= CONFIG_MAX_FILE / 2; i++)
        fputs(";\n", file);
    fclose(file);
    assert_int_equal(config_read(&config, path, error), -1);
    assert_non_null(strstr(error, "is larger than 64 KiB"));
    unlink(path);
    rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(counts_sizes_times_and_levels_are_read),
        watched_test(what_is_no_value_is_refused),
        watched_test(what_is_written_is_read_as_the_same),
        watched_test(defaults_are_in_range_and_names_are_unique),
        watched_test(a_file_sets_what_it_names_and_remembers_the_line),
        watched_test(an_empty_file_changes_nothing),
        watched_test(what_is_wrong_is_named_with_file_line_and_key),
        watched_test(the_first_error_is_the_one_that_is_told),
        watched_test(a_line_that_is_too_long_or_has_a_nul_byte_is_refused),
        watched_test(the_command_line_overrules_the_file),
        watched_test(what_is_no_readable_file_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
