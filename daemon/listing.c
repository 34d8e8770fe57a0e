#define _GNU_SOURCE
#include "daemon/listing.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "daemon/json.h"

/* ---- cells ---- */

const char *listing_time(uint64_t day_ms, char text[LISTING_TIME_SIZE])
{
    const time_t seconds = (time_t)(day_ms / 1000);
    struct tm moment;

    localtime_r(&seconds, &moment);
    if (day_ms == 0 || strftime(text, LISTING_TIME_SIZE, "%Y-%m-%d %H:%M:%S", &moment) == 0)
        strcpy(text, "-");
    return text;
}

const char *listing_fingerprint(const ProtobufCBinaryData *key, char text[TRUST_FINGERPRINT_SIZE])
{
    struct node_key copy;

    if (key->len != sizeof(copy.bytes))
        return strcpy(text, "-");
    memcpy(copy.bytes, key->data, sizeof(copy.bytes));
    key_fingerprint(&copy, text);
    return text;
}

void listing_json_text(const char *name, const char *value)
{
    printf("\"%s\": ", name);
    json_put_string(stdout, value);
    fputs(", ", stdout);
}

void listing_json_time(const char *name, uint64_t day_ms)
{
    const time_t seconds = (time_t)(day_ms / 1000);
    char text[LISTING_TIME_SIZE];
    struct tm moment;

    gmtime_r(&seconds, &moment);
    if (day_ms == 0 || strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &moment) == 0)
        printf("\"%s\": null, ", name);
    else
        listing_json_text(name, text);
}

/* ---- lists ---- */

void listing_begin(struct listing *listing, bool json, const char *cluster, const char *what,
                   const char *const *titles, size_t columns, unsigned right)
{
    *listing = (struct listing){.json = json};
    if (!json) {
        table_init(&listing->table, titles, columns, right);
        return;
    }
    fputs("{", stdout);
    listing_json_text("cluster", cluster);
    printf("\"%s\": [", what);
}

void listing_next(struct listing *listing)
{
    if (listing->json)
        fputs(listing->count > 0 ? ",\n " : "\n ", stdout);
    listing->count++;
}

void listing_end(struct listing *listing)
{
    if (listing->json) {
        puts("\n]}");
        return;
    }
    table_print(&listing->table, stdout, table_screen_width());
    table_free(&listing->table);
}
