#include "client/cli/progress.h"

#include <string.h>

#include "proto/utf8.h"

#define ERASE "\r\033[K"

void progress_init(struct progress *progress, bool terminal, progress_sink *sink, void *context)
{
    memset(progress, 0, sizeof(*progress));
    progress->terminal = terminal;
    progress->sink = sink;
    progress->context = context;
}

void progress_hide(struct progress *progress)
{
    if (!progress->terminal || !progress->shown)
        return;
    progress->sink(progress->context, ERASE, strlen(ERASE));
    progress->shown = false;
}

void progress_wait(struct progress *progress, const char *text, int64_t now)
{
    if (!progress->waiting)
        progress->since = now;
    else if (strncmp(progress->text, text, PROGRESS_SIZE - 1) == 0)
        return;
    progress->waiting = true;
    strncpy(progress->text, text, PROGRESS_SIZE - 1);
    if (progress->terminal)
        progress_hide(progress);
}

void progress_stop(struct progress *progress)
{
    progress_hide(progress);
    progress->waiting = progress->shown = false;
}

int progress_due(const struct progress *progress, int64_t now)
{
    int64_t left = progress->since + PROGRESS_PATIENCE_MS - now;

    if (!progress->waiting || progress->shown)
        return -1;
    return left > 0 ? (int)left : 0;
}

/* Bytes of a text that fit into so many columns. A wide character may be cut by the terminal. */
static size_t fitting(const char *text, unsigned columns)
{
    size_t size = strlen(text), used = 0;
    uint32_t character;

    while (used < size && columns-- > 0) {
        size_t length = utf8_next(text + used, size - used, &character);

        used += length > 0 ? length : 1;
    }
    return used;
}

void progress_show(struct progress *progress, int64_t now, unsigned columns)
{
    if (progress_due(progress, now) != 0)
        return;
    progress->shown = true;
    if (progress->terminal) {
        /* The last column stays empty: some terminals go to the next line there. */
        progress->sink(progress->context, progress->text,
                       fitting(progress->text, columns > 1 ? columns - 1 : 0));
        return;
    }
    progress->sink(progress->context, progress->text, strlen(progress->text));
    progress->sink(progress->context, "\n", 1);
}
