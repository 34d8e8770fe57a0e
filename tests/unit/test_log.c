#include "tests/unit/unit.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "daemon/log.h"
#include "daemon/log_line.h"

/* 2026-11-20T12:55:01.123Z */
#define NOON 1795179301123

static const char *logfmt(const char *subject, const char *text)
{
    static char line[LOG_LINE_SIZE + 1];
    const struct log_message message = {LOG_INFO, subject, text};

    line[log_line_logfmt(line, &message, NOON)] = '\0';
    return line;
}

static const char *person(const char *subject, const char *text)
{
    static char line[LOG_LINE_SIZE + 1];
    const struct log_message message = {LOG_WARNING, subject, text};

    line[log_line_for_person(line, &message)] = '\0';
    return line;
}

static void a_logfmt_line_has_time_level_subject_and_message(void **state)
{
    (void)state;
    assert_string_equal(logfmt("job 7q3fkd92", "it runs"),
                        "ts=2026-11-20T12:55:01.123Z level=info subject=\"job 7q3fkd92\" "
                        "msg=\"it runs\"\n");
}

static void a_value_without_special_characters_has_no_quotes(void **state)
{
    (void)state;
    assert_string_equal(logfmt("c4pd", "ends"),
                        "ts=2026-11-20T12:55:01.123Z level=info subject=c4pd msg=ends\n");
    assert_non_null(strstr(logfmt("c4pd", ""), " msg=\"\"\n"));
    assert_non_null(strstr(logfmt("a=b", "c"), " subject=\"a=b\" msg=c\n"));
}

static void quotes_newlines_and_control_characters_are_escaped(void **state)
{
    (void)state;
    assert_non_null(strstr(logfmt("c4pd", "a \"b\" c:\\d\ne\tf\x1b[31m\x7f"),
                           "msg=\"a \\\"b\\\" c:\\\\d\\ne\\tf\\x1b[31m\\x7f\"\n"));
    assert_string_equal(person("c\n4", "two\nlines \x1b[2J \"q\" \\"),
                        "c4pd: warning c\\n4: two\\nlines \\x1b[2J \"q\" \\\n");
}

static void utf8_is_kept_and_what_only_looks_like_it_is_not(void **state)
{
    (void)state;
    assert_string_equal(person("x", "Stra\xc3\x9f"
                                    "e \xe2\x82\xac \xf0\x9f\x98\x80"),
                        "c4pd: warning x: Stra\xc3\x9f"
                        "e \xe2\x82\xac \xf0\x9f\x98\x80\n");
    /* Cut, overlong, a surrogate, beyond Unicode, a control character of 8 bits. */
    assert_string_equal(person("x", "\xe2\x82"), "c4pd: warning x: \\xe2\\x82\n");
    assert_string_equal(person("x", "\xc0\xaf"), "c4pd: warning x: \\xc0\\xaf\n");
    assert_string_equal(person("x", "\xed\xa0\x80"), "c4pd: warning x: \\xed\\xa0\\x80\n");
    assert_string_equal(person("x", "\xf4\x90\x80\x80"), "c4pd: warning x: \\xf4\\x90\\x80\\x80\n");
    assert_string_equal(person("x", "\xc2\x9b"), "c4pd: warning x: \\xc2\\x9b\n");
}

static void a_line_that_is_too_long_is_cut_and_still_a_line(void **state)
{
    char text[2 * LOG_LINE_SIZE], subject[2 * LOG_LINE_SIZE];
    const char *line;

    (void)state;
    memset(text, '\x01', sizeof(text) - 1);
    memset(subject, '"', sizeof(subject) - 1);
    text[sizeof(text) - 1] = subject[sizeof(subject) - 1] = '\0';
    line = logfmt(subject, text);
    assert_true(strlen(line) < LOG_LINE_SIZE);
    assert_string_equal(line + strlen(line) - 5, "...\"\n");
    assert_non_null(strstr(line, " msg=\"\\x01"));
    line = person(subject, text);
    assert_true(strlen(line) < LOG_LINE_SIZE);
    assert_string_equal(line + strlen(line) - 4, "...\n");
}

/* ---- repetitions ---- */

static const struct log_message same = {LOG_WARNING, "client 3", "refused: no ticket"};

static void equal_messages_are_written_a_few_times_and_then_counted(void **state)
{
    struct log_repeats repeats = {0};
    struct log_repeat summary;
    unsigned written = 0;

    (void)state;
    for (int64_t now = 0; now < 100; now++) {
        assert_false(log_repeats_take(&repeats, now, false, &summary));
        written += log_repeats_pass(&repeats, &same, now);
    }
    assert_int_equal(written, LOG_BURST);
    assert_true(log_repeats_take(&repeats, LOG_WINDOW_MS, false, &summary));
    assert_int_equal(summary.seen, 100);
    assert_string_equal(summary.subject, "client 3");
    assert_string_equal(summary.text, "refused: no ticket");
    assert_false(log_repeats_take(&repeats, LOG_WINDOW_MS, false, &summary));
    assert_true(log_repeats_pass(&repeats, &same, LOG_WINDOW_MS));
}

static void different_messages_are_all_written(void **state)
{
    struct log_repeats repeats = {0};
    char text[32];

    (void)state;
    for (int i = 0; i < 1000; i++) {
        const struct log_message message = {LOG_INFO, "job", text};

        snprintf(text, sizeof(text), "message %d", i);
        assert_true(log_repeats_pass(&repeats, &message, i));
    }
    assert_true(log_repeats_pass(&repeats, &same, 0));
    assert_true(
        log_repeats_pass(&repeats, &(struct log_message){LOG_ERROR, same.subject, same.text}, 0));
    assert_true(
        log_repeats_pass(&repeats, &(struct log_message){LOG_WARNING, "client 4", same.text}, 0));
}

static void what_was_counted_survives_many_other_messages(void **state)
{
    struct log_repeats repeats = {0};
    struct log_repeat summary;
    char text[32];

    (void)state;
    for (int i = 0; i < 50; i++)
        log_repeats_pass(&repeats, &same, 0);
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof(text), "message %d", i);
        assert_true(
            log_repeats_pass(&repeats, &(struct log_message){LOG_INFO, "job", text}, 1 + i));
    }
    assert_true(log_repeats_take(&repeats, 200, true, &summary));
    assert_int_equal(summary.seen, 50);
    assert_false(log_repeats_take(&repeats, 200, true, &summary));
}

/* ---- the file; standard error is ours, so each runs in a child ---- */

struct files {
    char directory[64], path[96], old[96];
};

static struct files files_make(void)
{
    struct files files;

    strcpy(files.directory, "/tmp/c4p-log-XXXXXX");
    require(mkdtemp(files.directory) != NULL);
    snprintf(files.path, sizeof(files.path), "%s/log", files.directory);
    snprintf(files.old, sizeof(files.old), "%s/log.1", files.directory);
    return files;
}

static void files_remove(struct files *files)
{
    unlink(files->path);
    unlink(files->old);
    rmdir(files->directory);
}

static size_t file_read(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY);
    ssize_t length = fd < 0 ? 0 : read(fd, text, size - 1);

    if (fd >= 0)
        close(fd);
    text[length < 0 ? 0 : length] = '\0';
    return length < 0 ? 0 : (size_t)length;
}

static void in_a_child(void (*run)(const struct files *), const struct files *files)
{
    pid_t pid = fork();

    require(pid >= 0);
    if (pid == 0) {
        log_form_logfmt();
        log_level_set(LOG_INFO);
        require(log_open(files->path, 0) == 0);
        run(files);
        _exit(0);
    }
    child_join(pid);
}

static void log_much(const struct files *files)
{
    (void)files;
    for (int i = 0; i < 500; i++)
        log_write(LOG_INFO, "c4pd", "line %d", i);
    log_write(LOG_DEBUG, "c4pd", "not seen");
}

static void a_full_file_becomes_the_old_one(void **state)
{
    char now[2 * LOG_MIN_LIMIT], old[2 * LOG_MIN_LIMIT];
    struct files files = files_make();
    struct stat status;
    int first, last;

    (void)state;
    in_a_child(log_much, &files);
    assert_int_equal(stat(files.path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_in_range(file_read(files.path, now, sizeof(now)), 1, LOG_MIN_LIMIT);
    assert_in_range(file_read(files.old, old, sizeof(old)), 1, LOG_MIN_LIMIT);
    assert_non_null(strstr(now, "msg=\"line 499\"\n"));
    assert_null(strstr(now, "not seen"));
    /* The new one goes on where the old one ends. */
    assert_int_equal(sscanf(strstr(now, "line "), "line %d", &first), 1);
    assert_int_equal(sscanf(strrchr(old, '=') + 2, "line %d", &last), 1);
    assert_int_equal(first, last + 1);
    files_remove(&files);
}

static void log_moved(const struct files *files)
{
    log_write(LOG_INFO, "c4pd", "before");
    require(rename(files->path, files->old) == 0);
    require(log_reopen() == 0);
    log_write(LOG_INFO, "c4pd", "after");
}

static void a_file_that_was_moved_away_is_made_again(void **state)
{
    char now[512], old[512];
    struct files files = files_make();

    (void)state;
    in_a_child(log_moved, &files);
    file_read(files.path, now, sizeof(now));
    file_read(files.old, old, sizeof(old));
    assert_non_null(strstr(now, "msg=after"));
    assert_null(strstr(now, "msg=before"));
    assert_non_null(strstr(old, "msg=before"));
    files_remove(&files);
}

static void log_repeated(const struct files *files)
{
    (void)files;
    for (int i = 0; i < 40; i++)
        log_write(LOG_INFO, "c4pd", "again");
    log_flush();
}

static void repetitions_are_told_at_the_end(void **state)
{
    char now[4096];
    struct files files = files_make();

    (void)state;
    in_a_child(log_repeated, &files);
    file_read(files.path, now, sizeof(now));
    assert_non_null(strstr(now, "msg=\"again (35 more times in "));
    files_remove(&files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(a_logfmt_line_has_time_level_subject_and_message),
        watched_test(a_value_without_special_characters_has_no_quotes),
        watched_test(quotes_newlines_and_control_characters_are_escaped),
        watched_test(utf8_is_kept_and_what_only_looks_like_it_is_not),
        watched_test(a_line_that_is_too_long_is_cut_and_still_a_line),
        watched_test(equal_messages_are_written_a_few_times_and_then_counted),
        watched_test(different_messages_are_all_written),
        watched_test(what_was_counted_survives_many_other_messages),
        watched_test(a_full_file_becomes_the_old_one),
        watched_test(a_file_that_was_moved_away_is_made_again),
        watched_test(repetitions_are_told_at_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
