/*
 * A job that is followed from here: its output goes to our standard output and error, our standard
 * input goes to it, signals are taken, and whatever waits says so. One loop for `run`, `submit`,
 * `attach` and `logs`, which differ in their manner.
 *
 * console_open(), then a request whose answer begins the following (c4p_submit() or c4p_follow()),
 * console_follow() to the end, console_close().
 */
#ifndef C4P_CLIENT_CLI_CONSOLE_H
#define C4P_CLIENT_CLI_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>

#include "client/c4p.h"
#include "client/cli/options.h"
#include "client/cli/screen.h"

struct console;

/* How commands differ. */
struct console_manner {
    /* A signal that asks us to end: SIGINT, SIGTERM or SIGHUP. */
    void (*interrupted)(struct console *console, int number);
    /* Standard output cannot be written to any more. */
    void (*broken)(struct console *console);
    /* The daemon is gone. */
    void (*lost)(struct console *console, const char *why);
    /* It is back; may be NULL. */
    void (*back)(struct console *console);
    /* The following begins. True: that was all. May be NULL. */
    bool (*following)(struct console *console, const struct c4p_event *event);
    /* A piece of output, instead of printing it; true: that was all. May be NULL. */
    bool (*output)(struct console *console, const struct c4p_event *event);
    /* The end, before it is printed. May be NULL. */
    void (*ending)(struct console *console);
};

struct console {
    const struct console_manner *manner;
    void *context; /* the manner's */
    struct c4p_client *client;

    uint64_t job;
    enum c4p_state state;
    bool accepted; /* `job` is known */
    bool lost;     /* the daemon is away */
    bool ended;    /* there is nothing more to wait for */
    int exit_code;

    int interrupts; /* signals that ask us to end */
    int interrupt;  /* the first of them */

    struct screen screen;
    bool broken; /* standard output is, and the manner was told */

    int signals; /* signalfd */
    bool input_closed, input_is_terminal;
    uint32_t input_credit;
    bool input_waits; /* what is in `input` is not sent yet */
    size_t input_size;
    char input[64 << 10];
};

/* Never fails: what cannot be opened shows when it is used. */
void console_open(struct console *console, const struct console_manner *manner,
                  const struct options *options);
/* Until console->ended. */
void console_follow(struct console *console);
/* Wait until everything that was said is written, or the user loses patience. */
void console_flush(struct console *console);
/* The exit code. The client is closed. */
int console_close(struct console *console);

/* A line of our own, on standard error. */
void console_say(struct console *console, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* There is nothing more to wait for. */
void console_leave(struct console *console, int exit_code);

/* Parts of manners: the first signal cancels the job, the second kills it, the third leaves. */
void console_cancel_job(struct console *console, int number);
/* Whoever reads us went away: end the job, as SIGPIPE would. */
void console_kill_job(struct console *console);

#endif
