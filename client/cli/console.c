#define _GNU_SOURCE
#include "client/cli/console.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "client/cli/describe.h"

#define INPUT_PIECE (64u << 10)

/* A terminal gives no sign when we come to its foreground: look now and then. */
#define FOREGROUND_MS 500

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- what we say ourselves ---- */

static void on_text(void *context, unsigned output, const char *data, size_t size)
{
    struct console *console = context;

    outlet_put(&console->outlets[output], data, size);
}

static void on_progress(void *context, const char *text, size_t size)
{
    struct console *console = context;

    outlet_put(&console->outlets[console->printer.joined ? 0 : 1], text, size);
}

static void say_text(struct console *console, const char *text, size_t size)
{
    progress_hide(&console->progress);
    printer_put(&console->printer, C4P_NO_PE, C4P_STREAM_STDERR, text, size);
}

void console_say(struct console *console, const char *format, ...)
{
    char line[1024];
    va_list arguments;
    int size = snprintf(line, sizeof(line), "c4py: "), more;

    va_start(arguments, format);
    more = vsnprintf(line + size, sizeof(line) - 1 - (size_t)size, format, arguments);
    va_end(arguments);
    size += more < (int)sizeof(line) - 2 - size ? more : (int)sizeof(line) - 2 - size;
    line[size++] = '\n';
    say_text(console, line, (size_t)size);
}

/* Print text that should be lines. */
static void say_lines(struct console *console, const char *data, size_t size)
{
    say_text(console, data, size);
    if (size > 0 && data[size - 1] != '\n')
        say_text(console, "\n", 1);
}

/* What was put into console->json goes to standard output. */
static void json_out(struct console *console)
{
    progress_hide(&console->progress);
    if (console->json.failed)
        console->outlets[0].error = ENOMEM;
    else
        outlet_put(&console->outlets[0], console->json.text, console->json.size);
    json_reset(&console->json);
}

void console_leave(struct console *console, int exit_code)
{
    console->ended = true;
    console->exit_code = exit_code;
}

/* ---- output ---- */

static void gap_tell(struct console *console, uint64_t pieces)
{
    if (console->as_json) {
        describe_gap(&console->json, console->job, pieces);
        json_out(console);
    } else {
        console_say(console, "(%" PRIu64 " piece%s of output %s not kept any more)", pieces,
                    pieces == 1 ? "" : "s", pieces == 1 ? "is" : "are");
    }
}

void console_print(struct console *console, const struct c4p_event *event)
{
    if (console->expected != 0 && event->sequence > console->expected)
        gap_tell(console, event->sequence - console->expected);
    console->expected = event->sequence + 1;
    progress_hide(&console->progress);
    if (console->as_json) {
        describe_output(&console->json, event);
        json_out(console);
    } else {
        printer_put(&console->printer, event->pe, event->stream, event->data, event->data_size);
    }
}

/* A piece was put into an outlet: it is dealt with when it is written. */
static void unwritten_add(struct console *console, const struct c4p_event *event)
{
    unsigned output = console->as_json || console->printer.joined ? 0 : event->stream;
    unsigned last = (console->unwritten_first + console->unwritten_count) % CONSOLE_UNWRITTEN;

    console->unwritten[last] =
        (struct unwritten){event->sequence, console->outlets[output].taken, output};
    console->unwritten_count++;
}

static void written_tell(struct console *console)
{
    while (console->unwritten_count > 0) {
        const struct unwritten *first = &console->unwritten[console->unwritten_first];

        if (outlet_written(&console->outlets[first->output]) < first->position)
            return;
        c4p_output_done(console->client, console->job, first->sequence);
        console->unwritten_first = (console->unwritten_first + 1) % CONSOLE_UNWRITTEN;
        console->unwritten_count--;
    }
}

static void on_output(struct console *console, const struct c4p_event *event)
{
    if (event->sequence < console->expected)
        ; /* seen before the daemon went away */
    else if (console->manner->output == NULL)
        console_print(console, event);
    else if (console->manner->output(console, event))
        console_leave(console, 0);
    unwritten_add(console, event);
}

static bool is_full(const struct console *console)
{
    return outlet_waiting(&console->outlets[0]) > OUTLET_FULL ||
           outlet_waiting(&console->outlets[1]) > OUTLET_FULL ||
           console->unwritten_count == CONSOLE_UNWRITTEN;
}

static void outlets_write(struct console *console)
{
    const struct outlet *out = &console->outlets[0];

    outlet_write(&console->outlets[0]);
    outlet_write(&console->outlets[1]);
    if (console->client != NULL)
        written_tell(console);
    if (out->error == 0 || console->broken)
        return;
    console->broken = true;
    if (out->error != EPIPE && !console->printer.joined)
        console_say(console, "standard output: %s", strerror(out->error));
    console->manner->broken(console);
}

/* ---- events ---- */

static void cancel(struct console *console, bool kill)
{
    if (console->accepted && !console->ended)
        c4p_cancel(console->client, console->job, kill);
}

/* A process that is to tell its failure cannot do it by a code that comes out as 0. */
static int exit_code_of(int code)
{
    return code != 0 && (code & 0xff) == 0 ? 1 : code & 0xff;
}

static void end_tell(struct console *console, const struct c4p_event *event)
{
    say_lines(console, event->data, event->data_size);
    if (console->broken || event->text[0] == '\0')
        return;
    if (event->state == C4P_STATE_CANCELLED && console->interrupts > 0)
        return;
    if (event->tail_size > 0) {
        console_say(console, "%s; the end of its standard error:", event->text);
        say_lines(console, event->tail, event->tail_size);
    } else {
        console_say(console, "%s", event->text);
    }
}

static void on_ended(struct console *console, const struct c4p_event *event)
{
    progress_stop(&console->progress);
    console->state = event->state;
    if (console->manner->ending != NULL)
        console->manner->ending(console);
    console_leave(console, exit_code_of(event->exit_code));
    if (event->state == C4P_STATE_CANCELLED && console->interrupts > 0)
        console->exit_code = 128 + console->interrupt;
    if (console->as_json) {
        describe_ended(&console->json, event);
        json_out(console);
    } else {
        end_tell(console, event);
    }
}

static void on_state(struct console *console, const struct c4p_event *event)
{
    char id[C4P_ID_SIZE], text[PROGRESS_SIZE];

    console->state = event->state;
    if (console->as_json) {
        describe_state(&console->json, event);
        json_out(console);
    }
    if (event->state != C4P_STATE_QUEUED || event->text[0] == '\0') {
        progress_stop(&console->progress);
        return;
    }
    snprintf(text, sizeof(text), "c4py: job %s %s%s", c4p_id_format(console->job, id),
             strncmp(event->text, "waits", 5) == 0 ? "" : "waits: ", event->text);
    progress_wait(&console->progress, text, now_ms());
}

static void on_accepted(struct console *console, const struct c4p_event *event)
{
    console->accepted = true;
    console->job = event->job;
    if (console->as_json) {
        describe_accepted(&console->json, event->job);
        json_out(console);
    }
    if (console->interrupts > 0)
        cancel(console, console->interrupts > 1);
}

static void on_following(struct console *console, const struct c4p_event *event)
{
    console->accepted = true;
    console->job = event->job;
    if (console->manner->following != NULL && console->manner->following(console, event))
        console_leave(console, 0);
}

static void on_refused(struct console *console, const struct c4p_event *event)
{
    bool unknown = event->request == 0 && event->job != 0; /* to a daemon that came back */

    console_say(console, "%s", event->text);
    if (!console->accepted || unknown)
        console_leave(console, 1);
}

static void on_lost(struct console *console, const struct c4p_event *event)
{
    progress_stop(&console->progress);
    console->lost = true;
    console->manner->lost(console, event->text);
}

static void on_back(struct console *console)
{
    console->lost = false;
    if (console->manner->back != NULL)
        console->manner->back(console);
    if (console->interrupts > 0)
        cancel(console, console->interrupts > 1);
}

static void on_event(struct console *console, const struct c4p_event *event)
{
    switch (event->kind) {
    case C4P_EVENT_REFUSED:
        on_refused(console, event);
        break;
    case C4P_EVENT_ACCEPTED:
        on_accepted(console, event);
        break;
    case C4P_EVENT_FOLLOWING:
        on_following(console, event);
        break;
    case C4P_EVENT_STATE:
        on_state(console, event);
        break;
    case C4P_EVENT_OUTPUT:
        on_output(console, event);
        break;
    case C4P_EVENT_INPUT:
        console->input_credit += event->credit;
        console->input_closed = console->input_closed || event->closed;
        break;
    case C4P_EVENT_ENDED:
        on_ended(console, event);
        break;
    case C4P_EVENT_LOST:
        on_lost(console, event);
        break;
    case C4P_EVENT_BACK:
        on_back(console);
        break;
    default:
        break;
    }
}

static void events_take(struct console *console)
{
    struct c4p_event event;

    while (!console->ended && !is_full(console)) {
        int rc = c4p_next(console->client, &event);

        if (rc == 0)
            break;
        if (rc < 0) {
            console_say(console, "the daemon sends what is no message (%s): giving up",
                        strerror(errno));
            console_leave(console, 1);
            break;
        }
        on_event(console, &event);
    }
}

/* ---- parts of manners ---- */

void console_cancel_job(struct console *console, int number)
{
    if (console->interrupts == 1)
        console_say(console, "%s: stopping the program (once more kills it)",
                    number == SIGINT ? "interrupted" : strsignal(number));
    if (console->interrupts > 1) {
        /* Whoever does not read us any more must not keep us. */
        console->outlets[0].start = console->outlets[0].end = 0;
        console->exit_code = 128 + console->interrupt;
        if (console->interrupts > 2)
            console->ended = true;
    }
    cancel(console, console->interrupts > 1);
}

void console_kill_job(struct console *console)
{
    cancel(console, true);
}

/* ---- signals ---- */

static void signals_take(struct console *console)
{
    struct signalfd_siginfo info;

    while (read(console->signals, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGCONT)
            continue;
        if (console->interrupts++ == 0)
            console->interrupt = (int)info.ssi_signo;
        progress_stop(&console->progress);
        console->manner->interrupted(console, (int)info.ssi_signo);
    }
}

/* The signals that end us, unless whoever started us wants them ignored, come through a descriptor. */
static int signals_open(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCONT);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        if (sigaction(numbers[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            sigaddset(&set, numbers[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTTIN, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* ---- standard input ---- */

/* In the background a terminal is somebody else's to read. */
static bool input_allowed(const struct console *console)
{
    return !console->input_is_terminal || tcgetpgrp(STDIN_FILENO) == getpgrp();
}

static bool input_wanted(const struct console *console)
{
    return console->accepted && !console->ended && !console->lost && !console->input_closed &&
           console->input_credit > 0;
}

static void input_take(struct console *console)
{
    static char buffer[INPUT_PIECE];
    size_t size = console->input_credit < sizeof(buffer) ? console->input_credit : sizeof(buffer);
    ssize_t rc;

    if (!input_allowed(console))
        return;
    rc = read(STDIN_FILENO, buffer, size);
    if (rc < 0 &&
        (errno == EAGAIN || errno == EINTR || (errno == EIO && console->input_is_terminal)))
        return;
    if (rc <= 0)
        console->input_closed = true;
    if (rc < 0)
        rc = 0;
    console->input_credit -= (uint32_t)rc;
    c4p_input(console->client, console->job, buffer, (size_t)rc, console->input_closed);
}

/* ---- the loop ---- */

static void progress_paint(struct console *console)
{
    struct winsize size;
    unsigned columns = 80;

    if (progress_due(&console->progress, now_ms()) != 0)
        return;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        columns = size.ws_col;
    progress_show(&console->progress, now_ms(), columns);
}

/*
 * Take and write until there is nothing to do. The client's descriptor tells of changes only, and
 * sending moves it on as well: never poll before this.
 */
static void loop_settle(struct console *console)
{
    do {
        events_take(console);
        progress_paint(console);
        outlets_write(console);
    } while (!console->ended && !is_full(console) && c4p_wait(console->client, 0) == 0);
}

static int loop_timeout(const struct console *console, bool background)
{
    int due = progress_due(&console->progress, now_ms());

    if (!background)
        return due;
    return due >= 0 && due < FOREGROUND_MS ? due : FOREGROUND_MS;
}

static void watched_gone(struct console *console)
{
    /* Its last words may be here already. */
    events_take(console);
    if (!console->ended)
        console->manner->lost(console, "");
}

static void loop_once(struct console *console)
{
    enum { CLIENT, WATCHED, SIGNALS, OUT, ERR, IN, POLLED };
    struct pollfd polled[POLLED] = {
        {is_full(console) ? -1 : c4p_fd(console->client), POLLIN, 0},
        {console->watched, POLLIN, 0},
        {console->signals, POLLIN, 0},
        {outlet_waiting(&console->outlets[0]) > 0 ? STDOUT_FILENO : -1, POLLOUT, 0},
        {outlet_waiting(&console->outlets[1]) > 0 ? STDERR_FILENO : -1, POLLOUT, 0},
        {input_wanted(console) && input_allowed(console) ? STDIN_FILENO : -1, POLLIN, 0},
    };
    bool background = input_wanted(console) && polled[IN].fd < 0;

    if (poll(polled, POLLED, loop_timeout(console, background)) < 0 && errno != EINTR)
        return;
    if (polled[SIGNALS].revents != 0)
        signals_take(console);
    if (polled[IN].revents != 0)
        input_take(console);
    outlets_write(console);
    loop_settle(console);
    if (polled[WATCHED].revents != 0 && !console->ended)
        watched_gone(console);
}

void console_follow(struct console *console)
{
    loop_settle(console);
    while (!console->ended)
        loop_once(console);
    progress_stop(&console->progress);
}

void console_flush(struct console *console)
{
    while (console->interrupts < 2) {
        struct pollfd polled[] = {
            {console->signals, POLLIN, 0},
            {outlet_waiting(&console->outlets[0]) > 0 ? STDOUT_FILENO : -1, POLLOUT, 0},
            {outlet_waiting(&console->outlets[1]) > 0 ? STDERR_FILENO : -1, POLLOUT, 0},
        };

        outlet_write(&console->outlets[0]);
        outlet_write(&console->outlets[1]);
        if (outlet_waiting(&console->outlets[0]) == 0 && outlet_waiting(&console->outlets[1]) == 0)
            return;
        if (poll(polled, 3, -1) > 0 && polled[0].revents != 0)
            signals_take(console);
    }
}

/* ---- start and end ---- */

static bool same_file(int one, int other)
{
    struct stat a, b;

    return fstat(one, &a) == 0 && fstat(other, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

void console_open(struct console *console, const struct console_manner *manner,
                  const struct options *options)
{
    memset(console, 0, sizeof(*console));
    console->manner = manner;
    console->watched = -1;
    console->expected = 1;
    console->exit_code = 1;
    console->as_json = options->json;
    console->input_is_terminal = isatty(STDIN_FILENO);
    outlet_init(&console->outlets[0], STDOUT_FILENO);
    outlet_init(&console->outlets[1], STDERR_FILENO);
    printer_init(&console->printer, options->label, same_file(STDOUT_FILENO, STDERR_FILENO),
                 on_text, console);
    progress_init(&console->progress, isatty(STDERR_FILENO), on_progress, console);
    console->signals = signals_open();
}

int console_close(struct console *console)
{
    int error;

    console_flush(console);
    error = console->outlets[0].error;
    if (error != 0)
        console->exit_code = error == EPIPE ? 128 + SIGPIPE : 1;
    c4p_close(console->client);
    json_free(&console->json);
    outlet_free(&console->outlets[0]);
    outlet_free(&console->outlets[1]);
    return console->exit_code;
}
