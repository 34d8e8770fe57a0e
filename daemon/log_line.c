#define _GNU_SOURCE
#include "daemon/log_line.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "proto/utf8.h"

/* Room that is kept for what must come after a text: "...", a quote, the newline. */
#define TAIL 8

/* Longer subjects are cut; even escaped it leaves most of the line to the message. */
#define SUBJECT_SIZE 201

/* Bytes of the character at `text` that can be shown as it is; 0: it must not be. */
static size_t shown_size(const char *text)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t size = utf8_size(text);

    if (size == 1 && (*bytes < ' ' || *bytes == 0x7f))
        return 0;
    /* U+0080 .. U+009F control a terminal as well. */
    return size == 2 && *bytes == 0xc2 && bytes[1] < 0xa0 ? 0 : size;
}

/* The next character of `text` as it is written; how many bytes of `text` that is. */
static size_t character_escape(const char *text, bool quoted, char shown[5])
{
    static const char names[] = "\nn\tt\rr";
    const unsigned char byte = (unsigned char)*text;
    const char *name = memchr(names, byte, sizeof(names) - 1);
    size_t size = shown_size(text);

    if (quoted && (byte == '"' || byte == '\\')) {
        snprintf(shown, 5, "\\%c", byte);
    } else if (size > 0) {
        memcpy(shown, text, size);
        shown[size] = '\0';
        return size;
    } else if (name != NULL && byte < ' ') {
        snprintf(shown, 5, "\\%c", name[1]);
    } else {
        snprintf(shown, 5, "\\x%02x", byte);
    }
    return 1;
}

/* Append a text, cut so that TAIL bytes stay free. The new length. */
static size_t text_append(char *line, size_t used, const char *text, bool quoted)
{
    while (*text != '\0') {
        char shown[5];
        size_t taken = character_escape(text, quoted, shown), size = strlen(shown);

        if (used + size > LOG_LINE_SIZE - TAIL) {
            memcpy(line + used, "...", 3);
            return used + 3;
        }
        memcpy(line + used, shown, size);
        used += size;
        text += taken;
    }
    return used;
}

size_t log_line_for_person(char line[LOG_LINE_SIZE], const struct log_message *message)
{
    char subject[SUBJECT_SIZE];
    size_t used;

    snprintf(subject, sizeof(subject), "%s", message->subject);
    used = (size_t)snprintf(line, LOG_LINE_SIZE, "c4pd: %s ", log_level_name(message->level));
    used = text_append(line, used, subject, false);
    used += (size_t)snprintf(line + used, LOG_LINE_SIZE - used, ": ");
    used = text_append(line, used, message->text, false);
    line[used] = '\n';
    return used + 1;
}

static bool is_bare(const char *text)
{
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++)
        if (*text <= ' ' || *text >= 0x7f || *text == '"' || *text == '=' || *text == '\\')
            return false;
    return true;
}

static size_t field_append(char *line, size_t used, const char *name, const char *value)
{
    bool quoted = !is_bare(value);

    used += (size_t)snprintf(line + used, LOG_LINE_SIZE - used, " %s=%s", name, quoted ? "\"" : "");
    used = text_append(line, used, value, quoted);
    if (quoted)
        line[used++] = '"';
    return used;
}

size_t log_line_logfmt(char line[LOG_LINE_SIZE], const struct log_message *message, int64_t unix_ms)
{
    time_t seconds = (time_t)(unix_ms / 1000);
    char subject[SUBJECT_SIZE];
    struct tm utc;
    size_t used;

    gmtime_r(&seconds, &utc);
    used = strftime(line, LOG_LINE_SIZE, "ts=%Y-%m-%dT%H:%M:%S", &utc);
    used += (size_t)snprintf(line + used, LOG_LINE_SIZE - used, ".%03dZ level=%s",
                             (int)(unix_ms % 1000), log_level_name(message->level));
    snprintf(subject, sizeof(subject), "%s", message->subject);
    used = field_append(line, used, "subject", subject);
    used = field_append(line, used, "msg", message->text);
    line[used] = '\n';
    return used + 1;
}

/* ---- repetitions ---- */

/* FNV-1a; never 0. */
static uint64_t message_hash(const struct log_message *message)
{
    uint64_t hash = 0xcbf29ce484222325u + message->level;

    for (const char *text = message->subject; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    hash *= 0x100000001b3u;
    for (const char *text = message->text; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash | 1;
}

/* A free place, or that of the oldest message of which nothing is left to be said. */
static struct log_repeat *place_find(struct log_repeats *repeats)
{
    struct log_repeat *best = NULL;

    for (size_t i = 0; i < LOG_REMEMBERED; i++) {
        struct log_repeat *line = &repeats->lines[i];

        if (line->hash == 0)
            return line;
        if (line->seen <= LOG_BURST && (best == NULL || line->since < best->since))
            best = line;
    }
    return best;
}

bool log_repeats_pass(struct log_repeats *repeats, const struct log_message *message, int64_t now)
{
    uint64_t hash = message_hash(message);
    struct log_repeat *line;

    for (size_t i = 0; i < LOG_REMEMBERED; i++)
        if (repeats->lines[i].hash == hash) {
            if (repeats->lines[i].seen < UINT32_MAX)
                repeats->lines[i].seen++;
            return repeats->lines[i].seen <= LOG_BURST;
        }
    line = place_find(repeats);
    if (line != NULL) {
        *line = (struct log_repeat){.hash = hash, .since = now, .seen = 1, .level = message->level};
        snprintf(line->subject, sizeof(line->subject), "%s", message->subject);
        snprintf(line->text, sizeof(line->text), "%s", message->text);
    }
    return true;
}

bool log_repeats_take(struct log_repeats *repeats, int64_t now, bool all,
                      struct log_repeat *summary)
{
    for (size_t i = 0; i < LOG_REMEMBERED; i++) {
        struct log_repeat *line = &repeats->lines[i];

        if (line->hash == 0 || (!all && now - line->since < LOG_WINDOW_MS))
            continue;
        *summary = *line;
        line->hash = 0;
        if (summary->seen > LOG_BURST)
            return true;
    }
    return false;
}
