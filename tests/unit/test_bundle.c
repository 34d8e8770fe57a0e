#include <fcntl.h>
#include <sys/stat.h>

#include "tests/unit/bundle_maker.h"

#include "proto/clock.h"

#define HOUR_MS INT64_C(3600000)
#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static struct scratch scratch;
static char error[BUNDLE_ERROR_SIZE];
static char path[PATH_MAX + 256];

static const struct maker_file program[] = {
    {"app.py", "import helper\n", 0, 0},
    {"data/table.txt", "1 2 3\n", 0, 0},
    {"run", "#!/bin/sh\n", 0, 0755},
    {"shapes/__init__.py", "", 0, 0},
};

static int set_up(void **state)
{
    watchdog_start(state);
    scratch_make(&scratch);
    error[0] = '\0';
    return 0;
}

static int tear_down(void **state)
{
    scratch_remove(&scratch);
    return watchdog_stop(state);
}

static const char *in_scratch(const char *name)
{
    snprintf(path, sizeof(path), "%s/%s", scratch.path, name);
    return path;
}

static const char *in_cache(const char *kind, const struct bundle_hash *hash)
{
    char name[2 * BUNDLE_HASH_SIZE + 1];

    sodium_bin2hex(name, sizeof(name), hash->bytes, sizeof(hash->bytes));
    snprintf(path, sizeof(path), "%s/bundles/%s/%s", scratch.path, kind, name);
    return path;
}

static bool file_is(const char *name, const char *content, mode_t mode)
{
    char text[256];
    struct stat status;
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, sizeof(text)) : -1;
    bool same = got >= 0 && (size_t)got == strlen(content) &&
                memcmp(text, content, (size_t)got) == 0 && fstat(fd, &status) == 0 &&
                (status.st_mode & 0777) == mode;

    if (fd >= 0)
        close(fd);
    return same;
}

static void file_write(const char *name, const char *content, mode_t mode)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

    require(fd >= 0 && write(fd, content, strlen(content)) == (ssize_t)strlen(content));
    close(fd);
}

/* ---- coming and going ---- */

static void what_is_missing_is_told_once_and_complete_when_it_came(void **state)
{
    const struct maker_file files[] = {{"a", "same", 0, 0}, {"b", "same", 0, 0}, {"c", "c", 0, 0}};
    struct bundles *bundles = maker_open(scratch.path, 1 << 20, 1);
    struct maker maker;

    (void)state;
    maker_make(&maker, "/home/me/app", files, COUNT(files));
    assert_int_equal(maker_offer(&maker, bundles, error), 2);
    assert_false(bundles_complete(bundles, &maker.hash));
    assert_int_equal(maker_put(bundles, &files[0], error), 0);
    assert_int_equal(maker_offer(&maker, bundles, error), 1);
    assert_int_equal(maker_put(bundles, &files[2], error), 0);
    assert_true(bundles_complete(bundles, &maker.hash));
    assert_int_equal(maker_offer(&maker, bundles, error), 0);
    assert_int_equal(bundles_secure(bundles, &maker.hash, error), 0);
    bundles_close(bundles);
}

static void what_came_is_there_after_a_restart_and_what_had_not_all_come_is_not(void **state)
{
    static char large[2 * BUNDLE_PART];
    const struct maker_file files[] = {{"large", large, sizeof(large), 0}, {"small", "s", 0, 0}};
    struct bundles *bundles = maker_open(scratch.path, 1 << 20, 1);
    struct bundles_figures before;
    struct maker maker;

    (void)state;
    maker_make(&maker, "/home/me/app", files, COUNT(files));
    assert_int_equal(maker_offer(&maker, bundles, error), 2);
    assert_int_equal(maker_put(bundles, &files[1], error), 0);
    assert_int_equal(bundles_put(bundles, &maker.hashes[0], 0, large, BUNDLE_PART, false, error),
                     0);
    before = bundles_figures(bundles);
    bundles_close(bundles);
    bundles = maker_open(scratch.path, 1 << 20, 1);
    assert_int_equal(bundles_figures(bundles).bytes, before.bytes);
    assert_int_equal(maker_offer(&maker, bundles, error), 1);
    assert_int_equal(maker_put(bundles, &files[0], error), 0);
    bundles_close(bundles);
    bundles = maker_open(scratch.path, 1 << 20, 1);
    assert_true(bundles_complete(bundles, &maker.hash));
    assert_int_equal(bundles_figures(bundles).bytes, before.bytes);
    bundles_close(bundles);
}

static void content_that_is_not_what_was_announced_does_not_count(void **state)
{
    const struct maker_file file = {"a", "right", 0, 0};
    struct bundles *bundles = maker_open(scratch.path, 1 << 20, 1);
    struct maker maker;

    (void)state;
    maker_make(&maker, "/home/me/app", &file, 1);
    assert_int_equal(maker_offer(&maker, bundles, error), 1);
    assert_int_equal(bundles_put(bundles, &maker.hashes[0], 0, "wrong", 5, true, error), -1);
    assert_non_null(strstr(error, "not the content"));
    assert_false(bundles_complete(bundles, &maker.hash));
    assert_int_equal(bundles_secure(bundles, &maker.hash, error), -1);
    assert_non_null(strstr(error, "offer it again"));
    assert_int_equal(maker_put(bundles, &file, error), 0);
    assert_true(bundles_complete(bundles, &maker.hash));
    bundles_close(bundles);
}

static void parts_that_nobody_asked_for_or_out_of_order_or_too_long_are_refused(void **state)
{
    static char large[BUNDLE_PART + 1];
    const struct maker_file file = {"a", "content", 0, 0};
    struct bundles *bundles = maker_open(scratch.path, 1 << 20, 1);
    struct bundle_hash other = {{1}};
    struct maker maker;

    (void)state;
    maker_make(&maker, "/home/me/app", &file, 1);
    assert_int_equal(maker_offer(&maker, bundles, error), 1);
    assert_int_equal(bundles_put(bundles, &other, 0, "x", 1, true, error), -1);
    assert_int_equal(bundles_put(bundles, &maker.hashes[0], 3, "tent", 4, true, error), -1);
    assert_int_equal(bundles_put(bundles, &maker.hashes[0], 0, "content!", 8, true, error), -1);
    assert_int_equal(bundles_put(bundles, &maker.hashes[0], 0, large, sizeof(large), false, error),
                     -1);
    assert_int_equal(bundles_put(bundles, &maker.hashes[0], UINT64_MAX, "x", 1, false, error), -1);
    bundles_close(bundles);
}

/* Two clients may have the same file, and one of them is ahead, or has smaller parts. */
static void two_may_bring_the_same_blob(void **state)
{
    const struct maker_file file = {"a", "content", 0, 0};
    struct bundles *bundles = maker_open(scratch.path, 1 << 20, 1);
    const struct bundle_hash *blob;
    struct maker maker;

    (void)state;
    maker_make(&maker, "/home/me/app", &file, 1);
    blob = &maker.hashes[0];
    assert_int_equal(maker_offer(&maker, bundles, error), 1);
    assert_int_equal(bundles_put(bundles, blob, 0, "con", 3, false, error), 0);
    assert_int_equal(bundles_put(bundles, blob, 0, "co", 2, false, error), 0);
    assert_int_equal(bundles_put(bundles, blob, 2, "nte", 3, false, error), 0);
    assert_int_equal(bundles_put(bundles, blob, 3, "tent", 4, true, error), 0);
    assert_true(bundles_complete(bundles, &maker.hash));
    assert_int_equal(bundles_put(bundles, blob, 5, "nt", 2, true, error), 0);
    assert_true(bundles_complete(bundles, &maker.hash));
    bundles_close(bundles);
}

static void parts_are_read_as_they_were_put(void **state)
{
    const struct maker_file file = {"a", "content", 0, 0};
    struct bundles *bundles = maker_open(scratch.path, 1 << 20, 1);
    struct maker maker;
    char data[8];
    size_t size;
    void *manifest;
    bool last;

    (void)state;
    maker_make(&maker, "/home/me/app", &file, 1);
    maker_bring(&maker, bundles, &file, 1);
    assert_int_equal(bundles_read(bundles, &maker.hashes[0], 0, data, 4, &size, &last, error), 0);
    assert_true(size == 4 && !last && memcmp(data, "cont", 4) == 0);
    assert_int_equal(bundles_read(bundles, &maker.hashes[0], 4, data, 4, &size, &last, error), 0);
    assert_true(size == 3 && last && memcmp(data, "ent", 3) == 0);
    assert_int_equal(bundles_read(bundles, &maker.hashes[0], 8, data, 4, &size, &last, error), -1);
    manifest = bundles_manifest(bundles, &maker.hash, &size, error);
    assert_int_equal(size, maker.size);
    assert_memory_equal(manifest, maker.packed, size);
    free(manifest);
    assert_null(bundles_manifest(bundles, &maker.hashes[0], &size, error));
    bundles_close(bundles);
}

/* ---- eviction ---- */

/* A bundle of one file of so many KiB, of zeros after its number. */
static void make_numbered(struct maker *maker, struct maker_file *file, char *content,
                          unsigned number, size_t size)
{
    memset(content, 0, size);
    snprintf(content, size, "%u", number);
    *file = (struct maker_file){"a", content, size, 0};
    maker_make(maker, "/home/me/app", file, 1);
}

static void age(const struct maker *maker, int64_t by_ms)
{
    const int64_t then = clock_day_ms() - by_ms;
    const struct timespec times[] = {{then / 1000, 0}, {then / 1000, 0}};

    require(utimensat(AT_FDCWD, in_cache("manifests", &maker->hash), times, 0) == 0);
}

static void the_one_used_longest_ago_makes_room_and_what_a_job_needs_stays(void **state)
{
    static char contents[4][100 << 10];
    struct bundles *bundles = maker_open(scratch.path, 320 << 10, 100 * HOUR_MS);
    struct maker_file files[4];
    struct maker makers[4];

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        make_numbered(&makers[i], &files[i], contents[i], i, sizeof(contents[i]));
        maker_bring(&makers[i], bundles, &files[i], 1);
        age(&makers[i], (3 - i) * HOUR_MS);
    }
    bundles_close(bundles);
    bundles = maker_open(scratch.path, 320 << 10, 100 * HOUR_MS);
    bundles_pin(bundles, &makers[0].hash);
    make_numbered(&makers[3], &files[3], contents[3], 3, sizeof(contents[3]));
    maker_bring(&makers[3], bundles, &files[3], 1);
    assert_true(bundles_complete(bundles, &makers[0].hash));
    assert_false(bundles_complete(bundles, &makers[1].hash));
    assert_true(bundles_complete(bundles, &makers[2].hash));
    assert_true(bundles_figures(bundles).bytes <= 320 << 10);
    assert_int_equal(access(in_cache("blobs", &makers[1].hashes[0]), F_OK), -1);
    assert_int_equal(access(in_cache("manifests", &makers[1].hash), F_OK), -1);
    bundles_close(bundles);
}

static void a_bundle_that_finds_no_room_is_refused_with_the_remedy(void **state)
{
    static char contents[2][100 << 10];
    struct bundles *bundles = maker_open(scratch.path, 150 << 10, 1);
    struct maker_file files[2];
    struct maker makers[2];
    uint64_t before;

    (void)state;
    make_numbered(&makers[0], &files[0], contents[0], 0, sizeof(contents[0]));
    maker_bring(&makers[0], bundles, &files[0], 1);
    bundles_pin(bundles, &makers[0].hash);
    before = bundles_figures(bundles).bytes;
    make_numbered(&makers[1], &files[1], contents[1], 1, sizeof(contents[1]));
    assert_int_equal(maker_offer(&makers[1], bundles, error), -1);
    assert_non_null(strstr(error, "bundle_limit"));
    assert_int_equal(bundles_figures(bundles).bytes, before);
    bundles_unpin(bundles, &makers[0].hash);
    assert_int_equal(maker_offer(&makers[1], bundles, error), 1);
    assert_int_equal(bundles_figures(bundles).bundles, 1);
    bundles_close(bundles);
}

static void what_nobody_used_for_long_goes_but_for_blobs_that_others_share(void **state)
{
    const struct maker_file first[] = {{"own", "own", 0, 0}, {"shared", "shared", 0, 0}};
    const struct maker_file second[] = {{"shared", "shared", 0, 0}};
    struct bundles *bundles = maker_open(scratch.path, 1 << 20, HOUR_MS);
    struct maker old, young;

    (void)state;
    maker_make(&old, "/home/me/app", first, COUNT(first));
    maker_bring(&old, bundles, first, COUNT(first));
    age(&old, 2 * HOUR_MS);
    maker_make(&young, "/home/me/app", second, COUNT(second));
    maker_bring(&young, bundles, second, COUNT(second));
    bundles_close(bundles);
    bundles = maker_open(scratch.path, 1 << 20, HOUR_MS);
    bundles_evict(bundles, clock_day_ms());
    assert_true(bundles_complete(bundles, &young.hash));
    assert_false(bundles_complete(bundles, &old.hash));
    assert_int_equal(bundles_figures(bundles).blobs, 1);
    assert_int_equal(maker_offer(&old, bundles, error), 1);
    bundles_close(bundles);
}

static void what_no_bundle_needs_and_what_was_damaged_goes_at_the_start(void **state)
{
    const struct maker_file files[] = {{"a", "a", 0, 0}, {"b", "bb", 0, 0}};
    const struct bundle_hash stray = {{7}};
    struct bundles *bundles = maker_open(scratch.path, 1 << 20, 1);
    struct maker one, two;

    (void)state;
    maker_make(&one, "/home/me/app", &files[0], 1);
    maker_bring(&one, bundles, &files[0], 1);
    maker_make(&two, "/home/me/app", &files[1], 1);
    maker_bring(&two, bundles, &files[1], 1);
    bundles_close(bundles);
    file_write(in_cache("blobs", &stray), "stray", 0600);
    file_write(in_cache("partial", &stray), "stray", 0600);
    file_write(in_cache("manifests", &two.hash), "damaged", 0600);
    bundles = maker_open(scratch.path, 1 << 20, 1);
    assert_int_equal(access(in_cache("blobs", &stray), F_OK), -1);
    assert_int_equal(access(in_cache("partial", &stray), F_OK), -1);
    assert_int_equal(access(in_cache("blobs", &two.hashes[0]), F_OK), -1);
    assert_true(bundles_complete(bundles, &one.hash));
    assert_int_equal(bundles_figures(bundles).bundles, 1);
    bundles_close(bundles);
}

/* ---- files ---- */

static void a_copy_has_the_files_with_their_modes(void **state)
{
    struct bundles *bundles = maker_open(scratch.path, 1 << 20, 1);
    char directory[sizeof(path)];
    struct maker maker;

    (void)state;
    maker_make(&maker, "/home/me/app", program, COUNT(program));
    maker_bring(&maker, bundles, program, COUNT(program));
    snprintf(directory, sizeof(directory), "%s", in_scratch("copy"));
    assert_int_equal(bundle_unpack(bundles, &maker.hash, directory, error), 0);
    assert_true(file_is(in_scratch("copy/app.py"), "import helper\n", 0600));
    assert_true(file_is(in_scratch("copy/data/table.txt"), "1 2 3\n", 0600));
    assert_true(file_is(in_scratch("copy/run"), "#!/bin/sh\n", 0700));
    assert_true(file_is(in_scratch("copy/shapes/__init__.py"), "", 0600));
    assert_int_equal(bundle_unpack(bundles, &maker.hash, directory, error), -1);
    assert_non_null(strstr(error, "cannot be made"));
    assert_int_equal(bundles_figures(bundles).pinned, 0);
    bundles_close(bundles);
}

static void a_blob_that_was_damaged_is_noticed_and_has_to_come_again(void **state)
{
    struct bundles *bundles = maker_open(scratch.path, 1 << 20, 1);
    struct maker maker;

    (void)state;
    maker_make(&maker, "/home/me/app", program, COUNT(program));
    maker_bring(&maker, bundles, program, COUNT(program));
    file_write(in_cache("blobs", &maker.hashes[1]), "9 9 9\n", 0600);
    assert_int_equal(bundle_unpack(bundles, &maker.hash, in_scratch("copy"), error), -1);
    assert_non_null(strstr(error, "data/table.txt"));
    assert_false(bundles_complete(bundles, &maker.hash));
    assert_int_equal(maker_offer(&maker, bundles, error), 1);
    bundles_close(bundles);
}

static void files_are_in_place_only_with_the_same_content_and_not_through_links(void **state)
{
    struct bundles *bundles = maker_open(scratch.path, 1 << 20, 1);
    char root[sizeof(path)], link[sizeof(path)];
    struct maker maker;

    (void)state;
    snprintf(root, sizeof(root), "%s", in_scratch("app"));
    maker_make(&maker, root, program, COUNT(program));
    maker_bring(&maker, bundles, program, COUNT(program));
    assert_false(bundle_in_place(bundles, &maker.hash));
    assert_int_equal(bundle_unpack(bundles, &maker.hash, root, error), 0);
    assert_true(bundle_in_place(bundles, &maker.hash));
    file_write(in_scratch("app/data/table.txt"), "1 2 4\n", 0600);
    assert_false(bundle_in_place(bundles, &maker.hash));
    file_write(in_scratch("app/data/table.txt"), "1 2 3\n", 0600);
    assert_true(bundle_in_place(bundles, &maker.hash));
    require(chmod(in_scratch("app/run"), 0600) == 0);
    assert_false(bundle_in_place(bundles, &maker.hash));
    require(chmod(in_scratch("app/run"), 0700) == 0);
    snprintf(link, sizeof(link), "%s", in_scratch("elsewhere"));
    require(rename(in_scratch("app/data"), link) == 0 &&
            symlink(link, in_scratch("app/data")) == 0);
    assert_false(bundle_in_place(bundles, &maker.hash));
    bundles_close(bundles);
}

static void a_large_bundle_is_copied_in_steps(void **state)
{
    static char large[9 << 20];
    const struct maker_file file = {"large", large, sizeof(large), 0};
    struct bundles *bundles = maker_open(scratch.path, 16 << 20, 1);
    struct bundle_copy *copy;
    enum bundle_step step;
    struct maker maker;
    unsigned steps = 1;

    (void)state;
    maker_make(&maker, "/home/me/app", &file, 1);
    maker_bring(&maker, bundles, &file, 1);
    copy = bundle_copy_create(bundles, &maker.hash, in_scratch("copy"), error);
    assert_non_null(copy);
    assert_int_equal(bundles_figures(bundles).pinned, 1);
    while ((step = bundle_copy_step(copy, error)) == BUNDLE_MORE)
        steps++;
    assert_int_equal(step, BUNDLE_ENDED);
    assert_true(steps > 2);
    bundle_copy_destroy(copy);
    bundles_close(bundles);
}

/* ---- the command somewhere else ---- */

static ProtobufCBinaryData bytes_of(const char *text)
{
    char *copy = strdup(text);

    require(copy != NULL);
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)copy};
}

/* A command with its cwd, here and there; lists end with NULL. */
static void check_rebase(struct bundles *bundles, const struct maker *maker, const char *cwd,
                         const char *cwd_there, const char *const (*words)[2], size_t count)
{
    C4p__Submit *submit = malloc(sizeof(*submit));

    require(submit != NULL);
    c4p__submit__init(submit);
    submit->argv = calloc(count, sizeof(*submit->argv));
    submit->env = calloc(2, sizeof(*submit->env));
    require(submit->argv != NULL && submit->env != NULL);
    submit->n_argv = count;
    for (size_t i = 0; i < count; i++)
        submit->argv[i] = bytes_of(words[i][0]);
    submit->n_env = 2;
    submit->env[0] = bytes_of("PYTHONPATH=/usr/lib/x:/home/me/app/data::/home/me/app/lib");
    submit->env[1] = bytes_of("HOME=/home/me/app");
    submit->cwd = bytes_of(cwd);
    assert_int_equal(bundle_rebase(bundles, &maker->hash, "/w", submit, error), 0);
    assert_int_equal(submit->cwd.len, strlen(cwd_there));
    assert_memory_equal(submit->cwd.data, cwd_there, strlen(cwd_there));
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(submit->argv[i].len, strlen(words[i][1]));
        assert_memory_equal(submit->argv[i].data, words[i][1], strlen(words[i][1]));
    }
    assert_int_equal(submit->env[0].len, strlen("PYTHONPATH=/usr/lib/x:/w/data::/home/me/app/lib"));
    assert_memory_equal(submit->env[0].data, "PYTHONPATH=/usr/lib/x:/w/data::/home/me/app/lib",
                        submit->env[0].len);
    assert_memory_equal(submit->env[1].data, "HOME=/home/me/app", submit->env[1].len);
    c4p__submit__free_unpacked(submit, NULL);
}

static void on_the_host_of_the_submission_only_files_of_the_bundle_lead_to_the_copy(void **state)
{
    static const char *const words[][2] = {
        {"/usr/bin/python3", "/usr/bin/python3"}, {"app.py", "/w/app.py"},
        {"/home/me/app/app.py", "/w/app.py"},     {"/home/me/app/out/new", "/home/me/app/out/new"},
        {"/home/me/app", "/home/me/app"},         {"new", "new"},
    };
    const size_t count = sizeof(words) / sizeof(*words);
    struct bundles *bundles = maker_open(scratch.path, 1 << 20, 1);
    C4p__Submit *submit = malloc(sizeof(*submit));
    struct maker maker;

    (void)state;
    require(submit != NULL);
    c4p__submit__init(submit);
    maker_make(&maker, "/home/me/app", program, COUNT(program));
    maker_bring(&maker, bundles, program, COUNT(program));
    submit->argv = calloc(count, sizeof(*submit->argv));
    submit->env = calloc(1, sizeof(*submit->env));
    require(submit->argv != NULL && submit->env != NULL);
    submit->n_argv = count;
    for (size_t i = 0; i < count; i++)
        submit->argv[i] = bytes_of(words[i][0]);
    submit->n_env = 1;
    submit->env[0] = bytes_of("PWD=/home/me/app");
    submit->cwd = bytes_of("/home/me/app");
    assert_int_equal(bundle_rebase_files(bundles, &maker.hash, "/w", submit, error), 0);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(submit->argv[i].len, strlen(words[i][1]));
        assert_memory_equal(submit->argv[i].data, words[i][1], strlen(words[i][1]));
    }
    assert_memory_equal(submit->cwd.data, "/home/me/app", submit->cwd.len);
    assert_memory_equal(submit->env[0].data, "PWD=/home/me/app", submit->env[0].len);
    c4p__submit__free_unpacked(submit, NULL);
    bundles_close(bundles);
}

static void paths_of_the_command_lead_to_the_copy(void **state)
{
    static const char *const inside[][2] = {
        {"/usr/bin/python3", "/usr/bin/python3"},
        {"app.py", "app.py"},
        {"/home/me/app/app.py", "/w/app.py"},
        {"/home/me/app/out/new", "/w/out/new"},
        {"/home/me/app", "/w"},
        {"/home/me/apple", "/home/me/apple"},
        {"../app/app.py", "../app/app.py"},
        {"", ""},
    };
    static const char *const own_python[][2] = {
        {"/home/me/app/venv/bin/python", "/home/me/app/venv/bin/python"}};
    static const char *const own_program[][2] = {{"/home/me/app/run", "/w/run"}};
    static const char *const outside[][2] = {
        {"python3", "python3"}, {"../app/app.py", "/w/app.py"}, {"../app/no", "../app/no"},
        {"-v", "-v"},           {"./../app/./data", "/w/data"},
    };
    struct bundles *bundles = maker_open(scratch.path, 1 << 20, 1);
    struct maker maker;

    (void)state;
    maker_make(&maker, "/home/me/app", program, COUNT(program));
    maker_bring(&maker, bundles, program, COUNT(program));
    check_rebase(bundles, &maker, "/home/me/app", "/w", inside, COUNT(inside));
    check_rebase(bundles, &maker, "/home/me/app/data", "/w/data", own_python, 1);
    check_rebase(bundles, &maker, "/home/me/app", "/w", own_program, 1);
    check_rebase(bundles, &maker, "/home/me/elsewhere", "/w", outside, COUNT(outside));
    bundles_close(bundles);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_missing_is_told_once_and_complete_when_it_came,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            what_came_is_there_after_a_restart_and_what_had_not_all_come_is_not, set_up, tear_down),
        cmocka_unit_test_setup_teardown(content_that_is_not_what_was_announced_does_not_count,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            parts_that_nobody_asked_for_or_out_of_order_or_too_long_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_may_bring_the_same_blob, set_up, tear_down),
        cmocka_unit_test_setup_teardown(parts_are_read_as_they_were_put, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            the_one_used_longest_ago_makes_room_and_what_a_job_needs_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_bundle_that_finds_no_room_is_refused_with_the_remedy,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            what_nobody_used_for_long_goes_but_for_blobs_that_others_share, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_no_bundle_needs_and_what_was_damaged_goes_at_the_start,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_copy_has_the_files_with_their_modes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_blob_that_was_damaged_is_noticed_and_has_to_come_again,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            files_are_in_place_only_with_the_same_content_and_not_through_links, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_large_bundle_is_copied_in_steps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(paths_of_the_command_lead_to_the_copy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            on_the_host_of_the_submission_only_files_of_the_bundle_lead_to_the_copy, set_up,
            tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
