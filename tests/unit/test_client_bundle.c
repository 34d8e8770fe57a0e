/* What a client takes along: which files, what they import, and what of them has changed. */
#include "tests/unit/scratch.h"

#include "client/bundle.h"
#include "proto/control.pb-c.h"
#include "proto/path.h"

static struct scratch scratch;
static char error[C4P_ERROR_SIZE];

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

static void write_file(const char *name, const char *content)
{
    FILE *file = fopen(scratch_file(&scratch, name), "we");

    require(file != NULL && fputs(content, file) >= 0 && fclose(file) == 0);
}

static void make_directory(const char *name)
{
    require(mkdir(scratch_file(&scratch, name), 0700) == 0);
}

/* The paths of a sealed bundle, as its manifest has them, and its modules behind a bar. */
static const char *contents(const struct c4p_bundle *bundle)
{
    static char text[1024];
    C4p__BundleManifest *manifest =
        c4p__bundle_manifest__unpack(NULL, bundle->manifest_size, bundle->manifest);

    require(manifest != NULL);
    text[0] = '\0';
    for (size_t i = 0; i < manifest->n_files; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%.*s%s ",
                 (int)manifest->files[i]->path.len, (const char *)manifest->files[i]->path.data,
                 manifest->files[i]->mode == 0755 ? "*" : "");
    strcat(text, "|");
    for (size_t i = 0; i < manifest->n_modules; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), " %s", manifest->modules[i]);
    c4p__bundle_manifest__free_unpacked(manifest, NULL);
    return text;
}

static struct c4p_bundle *create(void)
{
    struct c4p_bundle *bundle = c4p_bundle_create(scratch.path, error);

    require(bundle != NULL);
    return bundle;
}

/* ---- files ---- */

static void python_files_go_along_and_what_belongs_to_the_host_stays(void **state)
{
    static const char *const directories[] = {"pkg",          ".hidden", "__pycache__", "pkg/deep",
                                              "node_modules", "venv",    "venv/lib"};
    struct c4p_bundle *bundle = create();

    (void)state;
    for (size_t i = 0; i < sizeof(directories) / sizeof(*directories); i++)
        make_directory(directories[i]);
    write_file("app.py", "import pkg\nimport numpy\n");
    write_file("notes.txt", "");
    write_file("pkg/__init__.py", "from . import deep\n");
    write_file("pkg/deep/more.py", "import pkg.deep.other, scipy.linalg as s\n");
    write_file(".hidden/x.py", "");
    write_file("__pycache__/x.py", "");
    write_file("node_modules/x.py", "");
    write_file("venv/pyvenv.cfg", "");
    write_file("venv/lib/x.py", "");
    require(symlink(scratch.path, scratch_file(&scratch, "pkg/loop")) == 0);
    require(symlink("/nowhere", scratch_file(&scratch, "dead.py")) == 0);
    require(symlink("app.py", scratch_file(&scratch, "link.py")) == 0);
    assert_int_equal(c4p_bundle_add(bundle, "app.py", error), 0);
    assert_int_equal(c4p_bundle_add_python(bundle, "", error), 0);
    assert_int_equal(c4p_bundle_seal(bundle, error), 0);
    assert_string_equal(contents(bundle),
                        "app.py link.py pkg/__init__.py pkg/deep/more.py | numpy scipy");
    assert_int_equal(c4p_bundle_files(bundle), 4);
    c4p_bundle_free(bundle);
}

static void what_is_asked_for_goes_along_whatever_it_is(void **state)
{
    struct c4p_bundle *bundle = create();

    (void)state;
    make_directory("data");
    make_directory("data/.git");
    write_file("data/table.txt", "1");
    write_file("data/.git/x", "");
    write_file("run", "#!/usr/bin/python3\nimport numpy\n");
    require(chmod(scratch_file(&scratch, "run"), 0755) == 0);
    require(mkfifo(scratch_file(&scratch, "data/pipe"), 0600) == 0);
    assert_int_equal(c4p_bundle_add(bundle, "data", error), 0);
    assert_int_equal(c4p_bundle_add(bundle, "run", error), 0);
    assert_int_equal(c4p_bundle_seal(bundle, error), 0);
    assert_string_equal(contents(bundle), "data/.git/x data/table.txt run* | numpy");
    assert_int_equal(c4p_bundle_add(bundle, "nothing", error), -1);
    assert_non_null(strstr(error, "nothing: No such file"));
    assert_int_equal(c4p_bundle_add(bundle, "data/pipe", error), -1);
    c4p_bundle_free(bundle);
}

static void too_much_is_refused_with_the_remedy(void **state)
{
    struct c4p_bundle *bundle = create();
    char name[32];

    (void)state;
    write_file("large.py", "");
    require(truncate(scratch_file(&scratch, "large.py"), (64 << 20) + 1) == 0);
    assert_int_equal(c4p_bundle_add_python(bundle, "", error), -1);
    assert_non_null(strstr(error, "--include"));
    assert_non_null(strstr(error, "--no-bundle"));
    c4p_bundle_free(bundle);
    require(unlink(scratch_file(&scratch, "large.py")) == 0);
    for (unsigned i = 0; i <= BUNDLE_MAX_FILES; i++) {
        snprintf(name, sizeof(name), "f%u.py", i);
        require(mknod(scratch_file(&scratch, name), S_IFREG | 0600, 0) == 0);
    }
    bundle = create();
    assert_int_equal(c4p_bundle_add_python(bundle, "", error), -1);
    assert_non_null(strstr(error, "more than 8192 files"));
    c4p_bundle_free(bundle);
    assert_null(c4p_bundle_create("/", error));
    assert_null(c4p_bundle_create("relative", error));
}

static void an_empty_bundle_and_one_whose_file_has_gone_cannot_be_sealed(void **state)
{
    struct c4p_bundle *bundle = create();

    (void)state;
    assert_int_equal(c4p_bundle_seal(bundle, error), -1);
    assert_non_null(strstr(error, "no file"));
    write_file("a.py", "");
    assert_int_equal(c4p_bundle_add(bundle, "a.py", error), 0);
    require(unlink(scratch_file(&scratch, "a.py")) == 0);
    assert_int_equal(c4p_bundle_seal(bundle, error), -1);
    c4p_bundle_free(bundle);
}

static void what_has_changed_since_it_was_read_is_noticed(void **state)
{
    const struct timespec times[] = {{1, 0}, {1, 0}};
    struct c4p_bundle *bundle = create();
    uint8_t hash[BUNDLE_HASH_SIZE];

    (void)state;
    write_file("a.py", "one");
    assert_int_equal(c4p_bundle_add(bundle, "a.py", error), 0);
    assert_int_equal(c4p_bundle_seal(bundle, error), 0);
    assert_false(c4p_bundle_stale(bundle));
    memcpy(hash, bundle->hash, sizeof(hash));
    write_file("a.py", "two");
    require(utimensat(AT_FDCWD, scratch_file(&scratch, "a.py"), times, 0) == 0);
    assert_true(c4p_bundle_stale(bundle));
    assert_int_equal(c4p_bundle_seal(bundle, error), 0);
    assert_false(c4p_bundle_stale(bundle));
    assert_memory_not_equal(hash, bundle->hash, sizeof(hash));
    c4p_bundle_free(bundle);
}

/* ---- imports ---- */

static char found[512];

static void on_import(void *context, const char *name, size_t length)
{
    (void)context;
    snprintf(found + strlen(found), sizeof(found) - strlen(found), "%.*s ", (int)length, name);
}

static const char *imports(const char *text)
{
    found[0] = '\0';
    imports_scan(text, strlen(text), on_import, NULL);
    return found;
}

static void imports_at_the_top_level_are_found_and_nothing_else(void **state)
{
    (void)state;
    assert_string_equal(imports("import a\nimport b.c as d, e ,f\n"), "a b e f ");
    assert_string_equal(imports("from a.b import c\nfrom . import d\nfrom .e import f"), "a ");
    assert_string_equal(imports("from a import (b,\nimport_x)\nimport c"), "a c ");
    assert_string_equal(imports("try:\n    import a\nexcept ImportError:\n    pass\n"), "");
    assert_string_equal(imports("\"\"\"\nimport a\n\"\"\"\nimport b\n"), "b ");
    assert_string_equal(imports("x = '''a\\'''\nimport a\n'''\nimport b"), "b ");
    assert_string_equal(imports("x = [\nimport_a,\n]\n# \"\"\"\nimport b"), "b ");
    assert_string_equal(imports("x = 'it\\'s' # (\nimport b"), "b ");
    assert_string_equal(imports("x = \\\nimport a\nimportant = 1\nimporta\n"), "");
    assert_string_equal(imports("import"), "");
    assert_string_equal(imports("import \xc3\xa4, b"), "\xc3\xa4 b ");
}

/* ---- paths ---- */

static const char *tidy(const char *base, const char *text)
{
    static char path[PATH_MAX];

    return path_tidy(base, text, strlen(text), path) ? path : "too long";
}

static void paths_lose_what_leads_nowhere(void **state)
{
    char word[300], large[2 * PATH_MAX] = "";

    (void)state;
    assert_string_equal(tidy("/a/b", "c"), "/a/b/c");
    assert_string_equal(tidy("/a/b", "../c/./d//e/"), "/a/c/d/e");
    assert_string_equal(tidy("/a/b", "/c/.."), "/");
    assert_string_equal(tidy("/a", "../../../b"), "/b");
    assert_string_equal(tidy("/", ""), "/");
    memset(word, 'a', sizeof(word) - 1);
    word[sizeof(word) - 1] = '\0';
    while (strlen(large) < PATH_MAX)
        strcat(strcat(large, "/"), word);
    assert_string_equal(tidy("/", large), "too long");
    assert_string_equal(path_below("/a", "/a/b/c"), "b/c");
    assert_string_equal(path_below("/a", "/a"), "");
    assert_string_equal(path_below("/", "/a"), "a");
    assert_null(path_below("/a", "/ab"));
    assert_null(path_below("/a/b", "/a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(python_files_go_along_and_what_belongs_to_the_host_stays,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_asked_for_goes_along_whatever_it_is, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(too_much_is_refused_with_the_remedy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            an_empty_bundle_and_one_whose_file_has_gone_cannot_be_sealed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_has_changed_since_it_was_read_is_noticed, set_up,
                                        tear_down),
        cmocka_unit_test(imports_at_the_top_level_are_found_and_nothing_else),
        cmocka_unit_test(paths_lose_what_leads_nowhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
