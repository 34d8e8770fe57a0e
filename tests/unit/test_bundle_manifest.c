/* What a manifest may be: everything else is refused. */
#include "tests/unit/bundle_maker.h"

#include "daemon/jobs/bundle_internal.h"

static char error[BUNDLE_ERROR_SIZE];

static bool parses(struct maker *maker)
{
    struct manifest manifest;

    maker->size = c4p__bundle_manifest__pack(&maker->message, maker->packed);
    if (manifest_parse(&manifest, maker->packed, maker->size, error) != 0)
        return false;
    manifest_free(&manifest);
    return true;
}

static bool path_allowed(const char *path, size_t length)
{
    const struct maker_file file = {"a", "a", 0, 0};
    struct maker maker;

    maker_make(&maker, "/home/me/app", &file, 1);
    maker.message.files[0]->path = (ProtobufCBinaryData){length, (uint8_t *)(uintptr_t)path};
    return parses(&maker);
}

static void paths_that_lead_out_or_nowhere_are_refused(void **state)
{
    static const char *const bad[] = {"",      "/",  "/a",   "a/",   "a//b",   ".",  "./a", "a/.",
                                      "a/./b", "..", "../a", "a/..", "a/../b", "//", "/..", "a/b/"};
    static const char *const good[] = {"a", "a/b", "...", "..a", "a..", ".a", "a b", "\xc3\xa4"};
    char name[BUNDLE_MAX_PATH + 2];

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_false(path_allowed(bad[i], strlen(bad[i])));
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        assert_true(path_allowed(good[i], strlen(good[i])));
    assert_false(path_allowed("a\0b", 3));
    memset(name, 'a', sizeof(name));
    assert_true(path_allowed(name, 255));
    assert_false(path_allowed(name, 256));
    for (size_t i = 200; i < sizeof(name); i += 200)
        name[i] = '/';
    assert_true(path_allowed(name, BUNDLE_MAX_PATH));
    assert_false(path_allowed(name, BUNDLE_MAX_PATH + 1));
    for (size_t i = 0; i < 200; i++)
        name[i] = i % 2 == 0 ? 'a' : '/';
    assert_true(path_allowed(name, 2 * 64 - 1));
    assert_false(path_allowed(name, 2 * 65 - 1));
}

static bool files_allowed(const char *const *paths, size_t count)
{
    struct maker_file files[4];
    struct maker maker;

    for (size_t i = 0; i < count; i++)
        files[i] = (struct maker_file){paths[i], "x", 0, 0};
    maker_make(&maker, "/home/me/app", files, count);
    return parses(&maker);
}

static void files_are_sorted_once_each_and_no_directories(void **state)
{
    (void)state;
    assert_true(files_allowed((const char *const[]){"a", "a-b", "ab", "b"}, 4));
    assert_true(files_allowed((const char *const[]){"a-b", "a/b", "a/c/d"}, 3));
    assert_false(files_allowed((const char *const[]){"b", "a"}, 2));
    assert_false(files_allowed((const char *const[]){"a", "a"}, 2));
    assert_false(files_allowed((const char *const[]){"a", "a/b"}, 2));
    assert_false(files_allowed((const char *const[]){"a", "a-b", "a/b/c"}, 3));
    assert_false(files_allowed((const char *const[]){"a/b", "a/b/c/d"}, 2));
    assert_false(files_allowed(NULL, 0));
}

static bool root_allowed(const char *root)
{
    const struct maker_file file = {"a", "a", 0, 0};
    struct maker maker;

    maker_make(&maker, root, &file, 1);
    return parses(&maker);
}

static void a_root_is_an_absolute_directory_below_the_top(void **state)
{
    (void)state;
    assert_true(root_allowed("/home"));
    assert_true(root_allowed("/home/me/my app"));
    assert_false(root_allowed(""));
    assert_false(root_allowed("/"));
    assert_false(root_allowed("home"));
    assert_false(root_allowed("/home/"));
    assert_false(root_allowed("/home/../etc"));
    assert_false(root_allowed("//home"));
}

static void modes_sizes_hashes_and_modules_are_what_they_may_be(void **state)
{
    static const char *const bad[] = {"", "-c", "a.b", "a b", "3d", "a;b"};
    const struct maker_file files[] = {{"a", "a", 0, 0}, {"b", "b", 0, 0}};
    char *modules[] = {(char *)(uintptr_t) "numpy", (char *)(uintptr_t) "_x"};
    struct maker maker;

    (void)state;
    maker_make(&maker, "/home/me/app", files, 2);
    maker.message.modules = modules;
    maker.message.n_modules = 2;
    assert_true(parses(&maker));
    maker.message.files[0]->mode = 04755;
    assert_false(parses(&maker));
    maker.message.files[0]->mode = 0755;
    maker.message.files[0]->hash.len = 31;
    assert_false(parses(&maker));
    maker.message.files[0]->hash.len = 32;
    assert_true(parses(&maker));
    maker.message.files[0]->size = maker.message.files[1]->size = UINT64_C(1) << 40;
    assert_false(parses(&maker));
    maker.message.files[0]->size = UINT64_MAX;
    assert_false(parses(&maker));
    maker.message.files[0]->size = maker.message.files[1]->size = 1;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        modules[1] = (char *)(uintptr_t)bad[i];
        assert_false(parses(&maker));
    }
}

static void what_is_no_manifest_or_too_large_is_refused(void **state)
{
    static uint8_t large[BUNDLE_MAX_MANIFEST + 1];
    struct manifest manifest;

    (void)state;
    assert_int_equal(manifest_parse(&manifest, "\xff\xff", 2, error), -1);
    assert_int_equal(manifest_parse(&manifest, "", 0, error), -1);
    assert_int_equal(manifest_parse(&manifest, large, sizeof(large), error), -1);
    assert_non_null(strstr(error, "larger than"));
}

static void a_path_is_found_if_it_is_a_file_or_a_directory_above_one(void **state)
{
    const struct maker_file files[] = {{"a-b", "x", 0, 0}, {"a/b/c", "x", 0, 0}, {"a0", "x", 0, 0}};
    struct manifest manifest;
    struct maker maker;

    (void)state;
    maker_make(&maker, "/home/me/app", files, 3);
    assert_int_equal(manifest_parse(&manifest, maker.packed, maker.size, error), 0);
    assert_true(manifest_has(&manifest, "a-b", 3));
    assert_true(manifest_has(&manifest, "a", 1));
    assert_true(manifest_has(&manifest, "a/b", 3));
    assert_true(manifest_has(&manifest, "a/b/c", 5));
    assert_false(manifest_has(&manifest, "a/b/c/d", 7));
    assert_false(manifest_has(&manifest, "a/c", 3));
    assert_false(manifest_has(&manifest, "a-", 2));
    manifest_free(&manifest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(paths_that_lead_out_or_nowhere_are_refused),
        watched_test(files_are_sorted_once_each_and_no_directories),
        watched_test(a_root_is_an_absolute_directory_below_the_top),
        watched_test(modes_sizes_hashes_and_modules_are_what_they_may_be),
        watched_test(what_is_no_manifest_or_too_large_is_refused),
        watched_test(a_path_is_found_if_it_is_a_file_or_a_directory_above_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
