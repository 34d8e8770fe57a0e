#include "client/cli/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/utf8.h"

#define FIRST_ROOM 1024

void json_free(struct json *json)
{
    free(json->text);
    memset(json, 0, sizeof(*json));
}

void json_flush(struct json *json, FILE *stream)
{
    if (!json->failed)
        fwrite(json->text, 1, json->size, stream);
    json->size = 0;
}

void json_reset(struct json *json)
{
    json->size = 0;
    json->comma = false;
}

static void put(struct json *json, const char *text, size_t size)
{
    size_t room = json->room != 0 ? json->room : FIRST_ROOM;
    char *grown;

    while (room - json->size < size)
        room *= 2;
    if (room != json->room) {
        grown = json->failed ? NULL : realloc(json->text, room);
        if (grown == NULL) {
            json->failed = true;
            return;
        }
        json->text = grown;
        json->room = room;
    }
    memcpy(json->text + json->size, text, size);
    json->size += size;
}

static void put_word(struct json *json, const char *word)
{
    put(json, word, strlen(word));
}

/* ---- strings ---- */

static void put_control(struct json *json, uint32_t character)
{
    static const char *const short_forms[128] = {
        ['"'] = "\\\"", ['\\'] = "\\\\", ['\n'] = "\\n", ['\r'] = "\\r", ['\t'] = "\\t",
    };
    char escape[8];

    if (short_forms[character] != NULL) {
        put_word(json, short_forms[character]);
    } else {
        snprintf(escape, sizeof(escape), "\\u%04x", (unsigned)character);
        put_word(json, escape);
    }
}

static bool is_plain(uint32_t character)
{
    return character >= ' ' && character != '"' && character != '\\' && character != 0x7f;
}

static void put_string(struct json *json, const char *data, size_t size)
{
    put(json, "\"", 1);
    while (size > 0) {
        uint32_t character;
        size_t length = utf8_next(data, size, &character);

        if (length == 0) {
            put_word(json, "\\ufffd");
            length = 1;
        } else if (is_plain(character)) {
            put(json, data, length);
        } else {
            put_control(json, character);
        }
        data += length;
        size -= length;
    }
    put(json, "\"", 1);
}

/* ---- structure ---- */

static void begin(struct json *json, const char *key)
{
    if (json->comma)
        put(json, ", ", 2);
    json->comma = true;
    if (key == NULL)
        return;
    put_string(json, key, strlen(key));
    put(json, ": ", 2);
}

static void open_with(struct json *json, const char *key, const char *bracket)
{
    begin(json, key);
    put_word(json, bracket);
    json->comma = false;
}

static void close_with(struct json *json, const char *bracket)
{
    put_word(json, bracket);
    json->comma = true;
}

void json_object_begin(struct json *json, const char *key)
{
    open_with(json, key, "{");
}

void json_object_end(struct json *json)
{
    close_with(json, "}");
}

void json_array_begin(struct json *json, const char *key)
{
    open_with(json, key, "[");
}

void json_array_end(struct json *json)
{
    close_with(json, "]");
}

void json_line_end(struct json *json)
{
    put(json, "\n", 1);
    json->comma = false;
}

/* ---- values ---- */

void json_bytes(struct json *json, const char *key, const char *data, size_t size)
{
    begin(json, key);
    put_string(json, data, size);
}

void json_text(struct json *json, const char *key, const char *text)
{
    json_bytes(json, key, text, strlen(text));
}

static void put_base64(struct json *json, const unsigned char *data, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        uint32_t bits = (uint32_t)data[i] << 16;
        char four[4];

        bits |= left > 1 ? (uint32_t)data[i + 1] << 8 : 0;
        bits |= left > 2 ? data[i + 2] : 0;
        four[0] = digits[bits >> 18];
        four[1] = digits[bits >> 12 & 63];
        four[2] = left > 1 ? digits[bits >> 6 & 63] : '=';
        four[3] = left > 2 ? digits[bits & 63] : '=';
        put(json, four, sizeof(four));
    }
}

void json_data(struct json *json, const char *key, const char *exact, const char *data, size_t size)
{
    json_bytes(json, key, data, size);
    if (utf8_valid(data, size))
        return;
    begin(json, exact);
    put(json, "\"", 1);
    put_base64(json, (const unsigned char *)data, size);
    put(json, "\"", 1);
}

void json_number(struct json *json, const char *key, int64_t number)
{
    char digits[24];

    begin(json, key);
    snprintf(digits, sizeof(digits), "%" PRId64, number);
    put_word(json, digits);
}

void json_boolean(struct json *json, const char *key, bool value)
{
    begin(json, key);
    put_word(json, value ? "true" : "false");
}

void json_null(struct json *json, const char *key)
{
    begin(json, key);
    put_word(json, "null");
}

void json_time(struct json *json, const char *key, uint64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    char text[64];
    struct tm tm;
    size_t size;

    if (ms == 0 || gmtime_r(&seconds, &tm) == NULL) {
        json_null(json, key);
        return;
    }
    size = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + size, sizeof(text) - size, ".%03uZ", (unsigned)(ms % 1000));
    json_text(json, key, text);
}
