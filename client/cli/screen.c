#define _GNU_SOURCE
#include "client/cli/screen.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/cli/describe.h"
#include "proto/clock.h"

#define LINE_SIZE 1024

/* ---- begin and end ---- */

static void on_text(void *context, unsigned output, const char *data, size_t size)
{
    struct screen *screen = context;

    outlet_put(&screen->outlets[output], data, size);
}

static void on_progress(void *context, const char *text, size_t size)
{
    struct screen *screen = context;

    outlet_put(&screen->outlets[screen->printer.joined ? 0 : 1], text, size);
}

static bool same_file(int one, int other)
{
    struct stat a, b;

    return fstat(one, &a) == 0 && fstat(other, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

void screen_init(struct screen *screen, bool label, bool as_json)
{
    memset(screen, 0, sizeof(*screen));
    screen->expected = 1;
    screen->as_json = as_json;
    screen->on_terminal = isatty(STDOUT_FILENO);
    outlet_init(&screen->outlets[0], STDOUT_FILENO);
    outlet_init(&screen->outlets[1], STDERR_FILENO);
    printer_init(&screen->printer, label, same_file(STDOUT_FILENO, STDERR_FILENO), on_text, screen);
    progress_init(&screen->progress, isatty(STDERR_FILENO), on_progress, screen);
}

void screen_free(struct screen *screen)
{
    json_free(&screen->json);
    outlet_free(&screen->outlets[0]);
    outlet_free(&screen->outlets[1]);
}

/* ---- our own words ---- */

static void put_text(struct screen *screen, const char *text, size_t size)
{
    progress_hide(&screen->progress);
    printer_put(&screen->printer, C4P_NO_PE, C4P_STREAM_STDERR, text, size);
}

void screen_say(struct screen *screen, const char *format, va_list arguments)
{
    char line[LINE_SIZE];
    int size = snprintf(line, sizeof(line), "c4py: ");
    int room = (int)sizeof(line) - 2 - size;
    int more = vsnprintf(line + size, (size_t)room + 1, format, arguments);

    size += more < room ? more : room;
    line[size++] = '\n';
    put_text(screen, line, (size_t)size);
}

__attribute__((format(printf, 2, 3))) static void say(struct screen *screen, const char *format,
                                                      ...)
{
    va_list arguments;

    va_start(arguments, format);
    screen_say(screen, format, arguments);
    va_end(arguments);
}

void screen_put_lines(struct screen *screen, const char *data, size_t size)
{
    put_text(screen, data, size);
    if (size > 0 && data[size - 1] != '\n')
        put_text(screen, "\n", 1);
}

void screen_put_json(struct screen *screen)
{
    progress_hide(&screen->progress);
    if (screen->json.failed)
        screen->outlets[0].error = ENOMEM;
    else
        outlet_put(&screen->outlets[0], screen->json.text, screen->json.size);
    json_reset(&screen->json);
}

/* ---- the job's output ---- */

static void gap_tell(struct screen *screen, uint64_t job, uint64_t pieces)
{
    if (screen->as_json) {
        describe_gap(&screen->json, job, pieces);
        screen_put_json(screen);
    } else {
        say(screen, "(%" PRIu64 " piece%s of output %s not kept any more)", pieces,
            pieces == 1 ? "" : "s", pieces == 1 ? "is" : "are");
    }
}

void screen_put_piece(struct screen *screen, const struct c4p_event *event)
{
    if (screen->expected != 0 && event->sequence > screen->expected)
        gap_tell(screen, event->job, event->sequence - screen->expected);
    screen->expected = event->sequence + 1;
    progress_hide(&screen->progress);
    if (screen->as_json) {
        describe_output(&screen->json, event);
        screen_put_json(screen);
    } else {
        printer_put(&screen->printer, event->pe, event->stream, event->data, event->data_size);
    }
}

void screen_count_piece(struct screen *screen, const struct c4p_event *event)
{
    unsigned output = screen->as_json || screen->printer.joined ? 0 : event->stream;
    unsigned last = (screen->first + screen->count) % SCREEN_UNWRITTEN;

    screen->unwritten[last] =
        (struct unwritten){event->sequence, screen->outlets[output].taken, output};
    screen->count++;
}

uint64_t screen_next_written(struct screen *screen)
{
    const struct unwritten *first = &screen->unwritten[screen->first];

    if (screen->count == 0 || outlet_written(&screen->outlets[first->output]) < first->position)
        return 0;
    screen->first = (screen->first + 1) % SCREEN_UNWRITTEN;
    screen->count--;
    return first->sequence;
}

/* ---- writing ---- */

bool screen_is_full(const struct screen *screen)
{
    return outlet_waiting(&screen->outlets[0]) > OUTLET_FULL ||
           outlet_waiting(&screen->outlets[1]) > OUTLET_FULL || screen->count == SCREEN_UNWRITTEN;
}

bool screen_waits(const struct screen *screen, unsigned output)
{
    return outlet_waiting(&screen->outlets[output]) > 0;
}

void screen_write(struct screen *screen)
{
    outlet_write(&screen->outlets[0]);
    outlet_write(&screen->outlets[1]);
}

void screen_drop(struct screen *screen)
{
    screen->outlets[0].start = screen->outlets[0].end = 0;
}

int screen_error(const struct screen *screen)
{
    return screen->outlets[0].error;
}

/* ---- what is waited for ---- */

void screen_wait(struct screen *screen, const char *text)
{
    progress_wait(&screen->progress, text, clock_ms());
}

void screen_wait_over(struct screen *screen)
{
    progress_stop(&screen->progress);
}

int screen_due(const struct screen *screen)
{
    return progress_due(&screen->progress, clock_ms());
}

void screen_paint(struct screen *screen)
{
    struct winsize size;
    unsigned columns = 80;

    if (screen_due(screen) != 0)
        return;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        columns = size.ws_col;
    progress_show(&screen->progress, clock_ms(), columns);
}
