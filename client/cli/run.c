#define _GNU_SOURCE
#include "client/cli/run.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/c4p.h"
#include "client/cli/command.h"
#include "client/cli/options.h"
#include "client/cli/outlet.h"
#include "client/cli/printer.h"
#include "client/cli/private_daemon.h"

#define CONNECT_MS 20000
#define INPUT_PIECE (64u << 10)

/* A terminal gives no sign when we come to its foreground: look now and then. */
#define FOREGROUND_MS 500

struct run {
    struct private_daemon daemon;
    struct c4p_client *client;
    struct printer printer;
    struct outlet outlets[2];
    int signals; /* signalfd */
    uint64_t job;
    bool accepted, ended;
    int exit_code;
    int interrupts;   /* signals that ask us to end */
    int interrupt;    /* the first of them */
    bool told_broken; /* the job was cancelled because an outlet broke */
    bool input_closed, input_is_terminal;
    uint32_t input_credit;
};

/* ---- what we say ourselves ---- */

__attribute__((format(printf, 2, 3))) static void say(struct run *run, const char *format, ...)
{
    char line[512];
    va_list arguments;
    int size = snprintf(line, sizeof(line), "c4py: "), more;

    va_start(arguments, format);
    more = vsnprintf(line + size, sizeof(line) - 1 - (size_t)size, format, arguments);
    va_end(arguments);
    size += more < (int)sizeof(line) - 2 - size ? more : (int)sizeof(line) - 2 - size;
    line[size++] = '\n';
    printer_put(&run->printer, C4P_NO_PE, C4P_STREAM_STDERR, line, (size_t)size);
}

static void on_text(void *context, unsigned output, const char *data, size_t size)
{
    struct run *run = context;

    outlet_put(&run->outlets[output], data, size);
}

/* Print text that should be lines. */
static void say_lines(struct run *run, const char *data, size_t size)
{
    printer_put(&run->printer, C4P_NO_PE, C4P_STREAM_STDERR, data, size);
    if (size > 0 && data[size - 1] != '\n')
        printer_put(&run->printer, C4P_NO_PE, C4P_STREAM_STDERR, "\n", 1);
}

/* ---- events ---- */

static void cancel(struct run *run, bool kill)
{
    if (run->accepted && !run->ended)
        c4p_cancel(run->client, run->job, kill);
}

/* A process that is to tell its failure cannot do it by a code that comes out as 0. */
static int exit_code_of(int code)
{
    return code != 0 && (code & 0xff) == 0 ? 1 : code & 0xff;
}

static void on_ended(struct run *run, const struct c4p_event *event)
{
    run->ended = true;
    run->exit_code = exit_code_of(event->exit_code);
    say_lines(run, event->data, event->data_size);
    if (run->told_broken)
        return;
    if (event->state == C4P_STATE_CANCELLED && run->interrupts > 0) {
        run->exit_code = 128 + run->interrupt;
        return;
    }
    if (event->text[0] == '\0')
        return;
    if (event->tail_size > 0) {
        say(run, "%s; the end of its standard error:", event->text);
        say_lines(run, event->tail, event->tail_size);
    } else {
        say(run, "%s", event->text);
    }
}

static void on_event(struct run *run, const struct c4p_event *event)
{
    switch (event->kind) {
    case C4P_EVENT_REFUSED:
        say(run, "%s", event->text);
        if (!run->accepted) {
            run->ended = true;
            run->exit_code = 1;
        }
        break;
    case C4P_EVENT_ACCEPTED:
        run->accepted = true;
        run->job = event->job;
        if (run->interrupts > 0)
            cancel(run, run->interrupts > 1);
        break;
    case C4P_EVENT_OUTPUT:
        printer_put(&run->printer, event->pe, event->stream, event->data, event->data_size);
        c4p_output_done(run->client, run->job, event->sequence);
        break;
    case C4P_EVENT_INPUT:
        run->input_credit += event->credit;
        run->input_closed = run->input_closed || event->closed;
        break;
    case C4P_EVENT_ENDED:
        on_ended(run, event);
        break;
    default:
        break;
    }
}

static bool outlets_full(const struct run *run)
{
    return outlet_waiting(&run->outlets[0]) > OUTLET_FULL ||
           outlet_waiting(&run->outlets[1]) > OUTLET_FULL;
}

/* Write what can be written. A reader that went away ends the job, as SIGPIPE would. */
static void outlets_write(struct run *run)
{
    for (unsigned i = 0; i < 2; i++) {
        struct outlet *outlet = &run->outlets[i];

        outlet_write(outlet);
        if (outlet->error == 0 || run->told_broken || i == 1)
            continue;
        run->told_broken = true;
        cancel(run, true);
        if (outlet->error != EPIPE && !run->printer.joined)
            say(run, "standard output: %s", strerror(outlet->error));
    }
}

static void events_take(struct run *run)
{
    struct c4p_event event;
    int rc;

    while (!run->ended && !outlets_full(run)) {
        rc = c4p_next(run->client, &event);
        if (rc == 0)
            break;
        if (rc < 0) {
            say(run, "the daemon sends what is no message (%s): giving up", strerror(errno));
            run->ended = true;
            run->exit_code = 1;
            break;
        }
        on_event(run, &event);
    }
}

/* ---- signals ---- */

static void on_interrupt(struct run *run, int number)
{
    if (run->interrupts++ == 0)
        run->interrupt = number;
    if (run->interrupts == 1)
        say(run, "%s: stopping the program (once more kills it)",
            number == SIGINT ? "interrupted" : strsignal(number));
    if (run->interrupts > 1) {
        /* Whoever does not read us any more must not keep us. */
        run->outlets[0].start = run->outlets[0].end = 0;
        if (run->interrupts > 2)
            run->ended = true;
        run->exit_code = 128 + run->interrupt;
    }
    cancel(run, run->interrupts > 1);
}

static void signals_take(struct run *run)
{
    struct signalfd_siginfo info;

    while (read(run->signals, &info, sizeof(info)) == sizeof(info))
        if (info.ssi_signo != SIGCONT)
            on_interrupt(run, (int)info.ssi_signo);
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
static bool input_allowed(const struct run *run)
{
    return !run->input_is_terminal || tcgetpgrp(STDIN_FILENO) == getpgrp();
}

static bool input_wanted(const struct run *run)
{
    return run->accepted && !run->ended && !run->input_closed && run->input_credit > 0;
}

static void input_take(struct run *run)
{
    static char buffer[INPUT_PIECE];
    size_t size = run->input_credit < sizeof(buffer) ? run->input_credit : sizeof(buffer);
    ssize_t rc;

    if (!input_allowed(run))
        return;
    rc = read(STDIN_FILENO, buffer, size);
    if (rc < 0 && (errno == EAGAIN || errno == EINTR || (errno == EIO && run->input_is_terminal)))
        return;
    if (rc <= 0)
        run->input_closed = true;
    if (rc < 0)
        rc = 0;
    run->input_credit -= (uint32_t)rc;
    c4p_input(run->client, run->job, buffer, (size_t)rc, run->input_closed);
}

/* ---- the loop ---- */

static void daemon_gone(struct run *run)
{
    int status;

    /* Its last words may be here already. */
    events_take(run);
    if (run->ended)
        return;
    run->ended = true;
    run->exit_code = 1;
    private_daemon_end(&run->daemon);
    status = run->daemon.status;
    if (WIFSIGNALED(status))
        say(run, "the daemon c4pd was killed by signal %d (%s); the PEs were ended with it",
            WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        say(run, "the daemon c4pd ended with code %d; the PEs were ended with it",
            WEXITSTATUS(status));
}

/*
 * Take and write until there is nothing to do. ZeroMQ's descriptor tells of changes only, and
 * sending moves it on as well: never poll before this.
 */
static void loop_settle(struct run *run)
{
    do {
        events_take(run);
        outlets_write(run);
    } while (!run->ended && !outlets_full(run) && c4p_wait(run->client, 0) == 0);
}

static void loop_once(struct run *run)
{
    enum { CLIENT, LIFELINE, SIGNALS, OUT, ERR, IN, POLLED };
    struct pollfd polled[POLLED] = {
        {outlets_full(run) ? -1 : c4p_fd(run->client), POLLIN, 0},
        {run->daemon.lifeline, POLLIN, 0},
        {run->signals, POLLIN, 0},
        {outlet_waiting(&run->outlets[0]) > 0 ? STDOUT_FILENO : -1, POLLOUT, 0},
        {outlet_waiting(&run->outlets[1]) > 0 ? STDERR_FILENO : -1, POLLOUT, 0},
        {input_wanted(run) && input_allowed(run) ? STDIN_FILENO : -1, POLLIN, 0},
    };
    bool background = input_wanted(run) && polled[IN].fd < 0;

    if (poll(polled, POLLED, background ? FOREGROUND_MS : -1) < 0 && errno != EINTR)
        return;
    if (polled[SIGNALS].revents != 0)
        signals_take(run);
    if (polled[IN].revents != 0)
        input_take(run);
    outlets_write(run);
    loop_settle(run);
    if (polled[LIFELINE].revents != 0 && !run->ended)
        daemon_gone(run);
}

/* Everything is said: let it be read, unless the user loses patience. */
static void outlets_flush(struct run *run)
{
    while (run->interrupts < 2) {
        struct pollfd polled[] = {
            {run->signals, POLLIN, 0},
            {outlet_waiting(&run->outlets[0]) > 0 ? STDOUT_FILENO : -1, POLLOUT, 0},
            {outlet_waiting(&run->outlets[1]) > 0 ? STDERR_FILENO : -1, POLLOUT, 0},
        };

        outlet_write(&run->outlets[0]);
        outlet_write(&run->outlets[1]);
        if (outlet_waiting(&run->outlets[0]) == 0 && outlet_waiting(&run->outlets[1]) == 0)
            return;
        if (poll(polled, 3, -1) > 0 && polled[0].revents != 0)
            signals_take(run);
    }
}

/* ---- start and end ---- */

static bool same_file(int one, int other)
{
    struct stat a, b;

    return fstat(one, &a) == 0 && fstat(other, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

static uint32_t cores_count(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0 || CPU_COUNT(&set) < 1)
        return 1;
    return (uint32_t)CPU_COUNT(&set);
}

static void job_submit(struct run *run, const struct run_options *options,
                       const struct command *command)
{
    const struct c4p_job job = {
        .argv = (const char *const *)command->argv,
        .env = (const char *const *)command->env,
        .cwd = command->cwd,
        .pes = options->pes != 0 ? options->pes : cores_count(),
        .region_size = options->segment_size,
        .follow = true,
    };

    if (c4p_submit(run->client, &job) >= 0)
        return;
    say(run, "%s",
        errno == EMSGSIZE ? "the arguments and the environment are larger than 1 MiB (shorten them)"
                          : strerror(errno));
    run->ended = true;
    run->exit_code = EXIT_USAGE;
}

static int run_open(struct run *run, const struct run_options *options)
{
    char error[C4P_ERROR_SIZE];

    run->daemon.lifeline = -1;
    run->input_is_terminal = isatty(STDIN_FILENO);
    outlet_init(&run->outlets[0], STDOUT_FILENO);
    outlet_init(&run->outlets[1], STDERR_FILENO);
    printer_init(&run->printer, options->label, same_file(STDOUT_FILENO, STDERR_FILENO), on_text,
                 run);
    run->signals = signals_open();
    if (private_daemon_start(&run->daemon, options->log_level, error) == 0 &&
        private_daemon_ready(&run->daemon, error) == 0) {
        run->client = c4p_connect(run->daemon.address, "c4py", CONNECT_MS, error);
        if (run->client != NULL)
            return 0;
    }
    say(run, "%s", error);
    return -1;
}

static int run_program(const struct run_options *options, const struct command *command)
{
    struct run run = {.exit_code = 1};

    if (run_open(&run, options) == 0) {
        job_submit(&run, options, command);
        loop_settle(&run);
        while (!run.ended)
            loop_once(&run);
    }
    outlets_flush(&run);
    private_daemon_end(&run.daemon);
    /* What was said of the daemon's end, or came while it ended. */
    outlets_flush(&run);
    if (run.outlets[0].error != 0)
        run.exit_code = run.outlets[0].error == EPIPE ? 128 + SIGPIPE : 1;
    c4p_close(run.client);
    outlet_free(&run.outlets[0]);
    outlet_free(&run.outlets[1]);
    return run.exit_code;
}

int run_main(char *const *arguments)
{
    struct run_options options;
    struct command command;
    int rc = run_options_parse(&options, arguments);

    if (rc != 0)
        return rc;
    if (options.help) {
        run_options_help();
        return 0;
    }
    rc = command_make(&command, &options);
    if (rc == 0)
        rc = run_program(&options, &command);
    command_free(&command);
    return rc;
}
