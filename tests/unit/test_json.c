#include "tests/unit/unit.h"

/* The command's modules are in no library. */
#include "client/cli/json.c"
#include "proto/utf8.c"

/* ---- UTF-8 ---- */

static bool valid(const char *text)
{
    return utf8_valid(text, strlen(text));
}

static void what_is_text_is_told_from_what_is_not(void **state)
{
    (void)state;
    assert_true(valid(""));
    assert_true(valid("plain \x7f"));
    assert_true(valid("\xc2\x80 \xdf\xbf \xe0\xa0\x80 \xef\xbf\xbf \xf0\x90\x80\x80 "
                      "\xf4\x8f\xbf\xbf"));
    assert_false(valid("\x80"));                        /* goes on with nothing before */
    assert_false(valid("\xc0\xaf"));                    /* longer than needed */
    assert_false(valid("\xe0\x9f\xbf"));                /* longer than needed */
    assert_false(valid("\xf0\x8f\xbf\xbf"));            /* longer than needed */
    assert_false(valid("\xed\xa0\x80"));                /* a surrogate */
    assert_false(valid("\xf4\x90\x80\x80"));            /* past the last character */
    assert_false(valid("\xf5\x80\x80\x80"));            /* the same */
    assert_false(utf8_valid("\xe2\x82\xac", 2));        /* cut off */
    assert_false(valid("\xe2\x82x") || valid("\xffx")); /* broken off */
}

/* Whatever is accepted is what it decodes to: encoding it again gives the same bytes. */
static void random_bytes_decode_to_what_encodes_to_them(void **state)
{
    (void)state;
    for (uint64_t seed = first_seed(); seed < first_seed() + stress(200000); seed++) {
        struct dice dice = dice_seeded(seed_in_use = seed);
        uint64_t bits = dice_throw(&dice) | 0x80;
        char bytes[4], back[4];
        uint32_t c;
        size_t length;

        memcpy(bytes, &bits, 4);
        length = utf8_next(bytes, 4, &c);
        if (length == 0)
            continue;
        require(length >= 2 && length <= 4 && c >= 0x80 && c <= 0x10ffff);
        for (size_t i = length - 1; i > 0; i--, c >>= 6)
            back[i] = (char)(0x80 | (c & 0x3f));
        back[0] = (char)(0xf00 >> length | c);
        require(memcmp(bytes, back, length) == 0);
    }
}

/* ---- JSON ---- */

static void check(struct json *json, const char *expected)
{
    assert_false(json->failed);
    assert_int_equal(json->size, strlen(expected));
    assert_memory_equal(json->text, expected, json->size);
    json_free(json);
}

static void objects_and_arrays_nest_with_their_commas(void **state)
{
    struct json json = {0};

    (void)state;
    json_object_begin(&json, NULL);
    json_number(&json, "a", -1);
    json_array_begin(&json, "b");
    json_array_end(&json);
    json_array_begin(&json, "c");
    json_text(&json, NULL, "x");
    json_object_begin(&json, NULL);
    json_null(&json, "n");
    json_object_end(&json);
    json_array_end(&json);
    json_boolean(&json, "t", true);
    json_boolean(&json, "f", false);
    json_object_end(&json);
    json_line_end(&json);
    json_array_begin(&json, NULL);
    json_array_end(&json);
    json_line_end(&json);
    check(&json,
          "{\"a\": -1, \"b\": [], \"c\": [\"x\", {\"n\": null}], \"t\": true, \"f\": false}\n"
          "[]\n");
}

static void strings_are_escaped(void **state)
{
    static const char text[] = "q\" b\\ n\n r\r t\t 0\0 e\x1b d\x7f /";
    struct json json = {0};

    (void)state;
    json_bytes(&json, NULL, text, sizeof(text) - 1);
    check(&json, "\"q\\\" b\\\\ n\\n r\\r t\\t 0\\u0000 e\\u001b d\\u007f /\"");
}

static void bytes_that_are_no_text_are_replaced_and_told_exactly(void **state)
{
    struct json json = {0};

    (void)state;
    json_object_begin(&json, NULL);
    json_data(&json, "text", "base64", "gr\xc3\xbc\xc3\x9f", 6);
    json_data(&json, "cut", "cut64", "\xe2\x82", 2);
    json_data(&json, "bad", "bad64",
              "a\xff"
              "b",
              3);
    json_data(&json, "bad", "bad64", "\xff", 1);
    json_object_end(&json);
    check(&json, "{\"text\": \"gr\xc3\xbc\xc3\x9f\", \"cut\": \"\\ufffd\\ufffd\", "
                 "\"cut64\": \"4oI=\", \"bad\": \"a\\ufffdb\", \"bad64\": \"Yf9i\", "
                 "\"bad\": \"\\ufffd\", \"bad64\": \"/w==\"}");
}

static void times_are_those_of_the_meridian_of_greenwich(void **state)
{
    struct json json = {0};

    (void)state;
    require(setenv("TZ", "Asia/Tokyo", 1) == 0);
    json_object_begin(&json, NULL);
    json_time(&json, "some", 1795179605007u);
    json_time(&json, "first", 1);
    json_time(&json, "none", 0);
    json_object_end(&json);
    check(&json, "{\"some\": \"2026-11-20T13:00:05.007Z\", "
                 "\"first\": \"1970-01-01T00:00:00.001Z\", \"none\": null}");
}

static void text_of_any_size_is_taken(void **state)
{
    static char large[300000];
    struct json json = {0};

    (void)state;
    memset(large, '\n', sizeof(large));
    json_bytes(&json, NULL, large, sizeof(large));
    assert_int_equal(json.size, 2 * sizeof(large) + 2);
    json_reset(&json);
    json_number(&json, NULL, INT64_MIN);
    check(&json, "-9223372036854775808");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_text_is_told_from_what_is_not),
        watched_test(random_bytes_decode_to_what_encodes_to_them),
        cmocka_unit_test(objects_and_arrays_nest_with_their_commas),
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(bytes_that_are_no_text_are_replaced_and_told_exactly),
        cmocka_unit_test(times_are_those_of_the_meridian_of_greenwich),
        cmocka_unit_test(text_of_any_size_is_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
