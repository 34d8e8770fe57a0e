#define _GNU_SOURCE
#include "client/cli/console.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "client/cli/describe.h"
#include "proto/clock.h"

/* A terminal gives no sign when we come to its foreground: look now and then. */
#define FOREGROUND_MS 500

/* Input that could not be sent is tried again. */
#define INPUT_RETRY_MS 20

/* While nobody reads us, the daemon of another machine has to hear that we are there. */
#define STALLED_MS 5000

/* A daemon that does not answer keeps nobody who leaves. */
#define PARTING_MS 1000

void console_say(struct console *console, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    screen_say(&console->screen, format, arguments);
    va_end(arguments);
}

void console_leave(struct console *console, int exit_code)
{
    console->ended = true;
    console->exit_code = exit_code;
}

/* ---- output ---- */

static void written_tell(struct console *console)
{
    uint64_t sequence;

    while ((sequence = screen_next_written(&console->screen)) != 0)
        c4p_output_done(console->client, console->job, sequence);
}

static void on_output(struct console *console, const struct c4p_event *event)
{
    if (event->sequence < console->screen.expected)
        ; /* seen before the daemon went away */
    else if (console->manner->output == NULL)
        screen_put_piece(&console->screen, event);
    else if (console->manner->output(console, event))
        console_leave(console, 0);
    screen_count_piece(&console->screen, event);
}

/* A signal that asks us to end. */
static void interrupt_take(struct console *console, int number)
{
    if (console->interrupts++ == 0)
        console->interrupt = number;
    if (console->ended) {
        /* What is left is to be read, and the user has lost patience. */
        console->interrupts = 2;
        console->exit_code = 128 + number;
        screen_drop(&console->screen);
        return;
    }
    screen_wait_over(&console->screen);
    console->manner->interrupted(console, number);
}

/* Write what can be written, and see whether somebody reads. */
static void output_write(struct console *console)
{
    int error;

    screen_write(&console->screen);
    if (console->client != NULL)
        written_tell(console);
    error = screen_error(&console->screen);
    if (error == 0 || console->broken)
        return;
    console->broken = true;
    if (error == EIO && console->screen.on_terminal) {
        /* It was closed: the signal that says so may come a moment later. */
        if (console->interrupts == 0)
            interrupt_take(console, SIGHUP);
        return;
    }
    if (error != EPIPE && !console->screen.printer.joined)
        console_say(console, "standard output: %s", strerror(error));
    console->manner->broken(console);
}

/* ---- events ---- */

static void cancel(struct console *console, bool kill)
{
    if (console->accepted && !console->ended)
        c4p_cancel(console->client, console->job, kill);
}

static void end_tell(struct console *console, const struct c4p_event *event)
{
    screen_put_lines(&console->screen, event->data, event->data_size);
    if (console->broken || event->text[0] == '\0')
        return;
    if (event->state == C4P_STATE_CANCELLED && console->interrupts > 0)
        return;
    if (event->tail_size > 0) {
        console_say(console, "%s; the end of its standard error:", event->text);
        screen_put_lines(&console->screen, event->tail, event->tail_size);
    } else {
        console_say(console, "%s", event->text);
    }
}

static void on_ended(struct console *console, const struct c4p_event *event)
{
    screen_wait_over(&console->screen);
    console->state = event->state;
    if (console->manner->ending != NULL)
        console->manner->ending(console);
    console_leave(console, exit_code_of_end(event));
    if (event->state == C4P_STATE_CANCELLED && console->interrupts > 0)
        console->exit_code = 128 + console->interrupt;
    if (console->screen.as_json) {
        describe_ended(&console->screen.json, event);
        screen_put_json(&console->screen);
    } else {
        end_tell(console, event);
    }
}

/* "waits for 2 PEs ...", "is about to start"; but "3 jobs are before it". */
static bool is_said_of_the_job(const char *reason)
{
    return strncmp(reason, "waits", 5) == 0 || strncmp(reason, "is ", 3) == 0;
}

static void on_state(struct console *console, const struct c4p_event *event)
{
    char id[C4P_ID_SIZE], text[PROGRESS_SIZE];

    console->state = event->state;
    if (console->screen.as_json) {
        describe_state(&console->screen.json, event);
        screen_put_json(&console->screen);
    }
    if (event->state != C4P_STATE_QUEUED || event->text[0] == '\0') {
        screen_wait_over(&console->screen);
        return;
    }
    snprintf(text, sizeof(text), "c4py: job %s %s%s", c4p_id_format(console->job, id),
             is_said_of_the_job(event->text) ? "" : "waits: ", event->text);
    screen_wait(&console->screen, text);
}

static void on_accepted(struct console *console, const struct c4p_event *event)
{
    console->accepted = true;
    console->job = event->job;
    if (console->screen.as_json) {
        describe_accepted(&console->screen.json, event->job);
        screen_put_json(&console->screen);
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
    screen_wait_over(&console->screen);
    console->lost = true;
    console->input_waits = false;
    console->input_credit = 0;
    if (event->closed && console->manner->back != NULL) {
        console_say(console, "%s", event->text);
        console_leave(console, 1);
    } else {
        console->manner->lost(console, event->text);
    }
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

    while (!console->ended && !screen_is_full(&console->screen)) {
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
        console_say(console,
                    console->state == C4P_STATE_QUEUED
                        ? "%s: cancelling the job, which has not started"
                        : "%s: stopping the program (once more kills it)",
                    number == SIGINT ? "interrupted" : strsignal(number));
    if (console->interrupts > 1) {
        /* Whoever does not read us any more must not keep us. */
        screen_drop(&console->screen);
        console->exit_code = 128 + console->interrupt;
    }
    if (console->interrupts == 2)
        console_say(console, "killing the program (once more leaves without waiting for that)");
    if (console->interrupts > 2)
        console->ended = true;
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

    while (read(console->signals, &info, sizeof(info)) == sizeof(info))
        if (info.ssi_signo != SIGCONT)
            interrupt_take(console, (int)info.ssi_signo);
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
           !console->input_waits && console->input_credit > 0;
}

/* What was read goes out; while it cannot, no more is read. */
static void input_send(struct console *console)
{
    if (c4p_input(console->client, console->job, console->input, console->input_size,
                  console->input_closed) < 0 &&
        errno == EAGAIN)
        return;
    console->input_waits = false;
}

static void input_take(struct console *console)
{
    uint32_t size = console->input_credit;
    ssize_t rc;

    if (!input_allowed(console))
        return;
    if (size > sizeof(console->input))
        size = sizeof(console->input);
    rc = read(STDIN_FILENO, console->input, size);
    if (rc < 0 &&
        (errno == EAGAIN || errno == EINTR || (errno == EIO && console->input_is_terminal)))
        return;
    if (rc <= 0)
        console->input_closed = true;
    console->input_size = rc > 0 ? (size_t)rc : 0;
    console->input_credit -= (uint32_t)console->input_size;
    console->input_waits = true;
    input_send(console);
}

/* ---- the loop ---- */

/*
 * Take and write until there is nothing to do. The client's descriptor tells of changes only, and
 * sending moves it on as well: never poll before this.
 */
static void loop_settle(struct console *console)
{
    do {
        events_take(console);
        screen_paint(&console->screen);
        output_write(console);
    } while (!console->ended && !screen_is_full(&console->screen) &&
             c4p_wait(console->client, 0) == 0);
}

static int sooner(int one, int other)
{
    return other >= 0 && (one < 0 || other < one) ? other : one;
}

static int loop_timeout(const struct console *console, bool background)
{
    int timeout = screen_due(&console->screen);

    if (background)
        timeout = sooner(timeout, FOREGROUND_MS);
    if (console->input_waits && !console->lost)
        timeout = sooner(timeout, INPUT_RETRY_MS);
    if (screen_is_full(&console->screen))
        timeout = sooner(timeout, STALLED_MS);
    return timeout;
}

static void loop_once(struct console *console)
{
    enum { CLIENT, SIGNALS, OUT, ERR, IN, POLLED };
    struct pollfd polled[POLLED] = {
        {screen_is_full(&console->screen) ? -1 : c4p_fd(console->client), POLLIN, 0},
        {console->signals, POLLIN, 0},
        {screen_waits(&console->screen, 0) ? STDOUT_FILENO : -1, POLLOUT, 0},
        {screen_waits(&console->screen, 1) ? STDERR_FILENO : -1, POLLOUT, 0},
        {input_wanted(console) && input_allowed(console) ? STDIN_FILENO : -1, POLLIN, 0},
    };
    bool background = input_wanted(console) && polled[IN].fd < 0;

    if (poll(polled, POLLED, loop_timeout(console, background)) < 0 && errno != EINTR)
        return;
    if (screen_is_full(&console->screen))
        c4p_wait(console->client, 0);
    if (polled[SIGNALS].revents != 0)
        signals_take(console);
    if (console->input_waits && !console->lost)
        input_send(console);
    if (polled[IN].revents != 0)
        input_take(console);
    output_write(console);
    loop_settle(console);
}

void console_follow(struct console *console)
{
    loop_settle(console);
    while (!console->ended)
        loop_once(console);
    screen_wait_over(&console->screen);
}

void console_flush(struct console *console)
{
    for (;;) {
        struct pollfd polled[] = {
            {console->signals, POLLIN, 0},
            {screen_waits(&console->screen, 0) ? STDOUT_FILENO : -1, POLLOUT, 0},
            {screen_waits(&console->screen, 1) ? STDERR_FILENO : -1, POLLOUT, 0},
        };

        screen_write(&console->screen);
        if (!screen_waits(&console->screen, 0) && !screen_waits(&console->screen, 1))
            return;
        if (console->interrupts > 1)
            return;
        if (poll(polled, 3, -1) > 0 && polled[0].revents != 0)
            signals_take(console);
    }
}

/* ---- start and end ---- */

void console_open(struct console *console, const struct console_manner *manner,
                  const struct options *options)
{
    memset(console, 0, sizeof(*console));
    console->manner = manner;
    console->exit_code = 1;
    console->input_is_terminal = isatty(STDIN_FILENO);
    screen_init(&console->screen, options->label, options->json);
    console->signals = signals_open();
}

/*
 * The job goes on without us: let the daemon know how far we got, and that others may follow it,
 * before the connection is closed.
 */
static void job_part(struct console *console)
{
    int64_t deadline = clock_ms() + PARTING_MS, request;
    struct c4p_event event;

    written_tell(console);
    request = c4p_unfollow(console->client, console->job);
    while (request > 0 && clock_ms() < deadline) {
        int rc = c4p_next(console->client, &event);
        int64_t left = deadline - clock_ms();

        if (rc < 0 || (rc > 0 && event.request == request))
            return;
        if (rc == 0 && c4p_wait(console->client, left > 0 ? (int)left : 0) != 0)
            return;
    }
}

int console_close(struct console *console)
{
    int error;

    console_flush(console);
    if (console->client != NULL && console->accepted && !console->lost &&
        !state_is_over(console->state))
        job_part(console);
    error = screen_error(&console->screen);
    if (error != 0 && console->interrupts == 0)
        console->exit_code = error == EPIPE ? 128 + SIGPIPE : 1;
    c4p_close(console->client);
    screen_free(&console->screen);
    return console->exit_code;
}
