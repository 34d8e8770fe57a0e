#define _GNU_SOURCE
#include "daemon/signals.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

static const int taken[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGCHLD};

#define TAKEN (sizeof(taken) / sizeof(*taken))

struct signals {
    int fd;
    struct event *event;
    sigset_t before;
    struct {
        event_callback_fn callback; /* NULL: none */
        void *context;
    } watchers[TAKEN]; /* in the order of `taken` */
};

/* The place of a signal in the tables; TAKEN: it is none of ours. */
static size_t place_of(int number)
{
    size_t i = 0;

    while (i < TAKEN && taken[i] != number)
        i++;
    return i;
}

/* The next one that has come, or 0. */
static int signal_read(const struct signals *signals)
{
    struct signalfd_siginfo info;

    return read(signals->fd, &info, sizeof(info)) == sizeof(info) ? (int)info.ssi_signo : 0;
}

static void signals_on_readable(evutil_socket_t fd, short what, void *argument)
{
    struct signals *signals = argument;
    int number;

    (void)fd, (void)what;
    while ((number = signal_read(signals)) != 0) {
        size_t i = place_of(number);

        if (i < TAKEN && signals->watchers[i].callback != NULL)
            signals->watchers[i].callback(number, EV_SIGNAL, signals->watchers[i].context);
    }
}

/* Whoever started us may ignore some, and then the kernel would not even keep them for us. */
static void signals_block(struct signals *signals)
{
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < TAKEN; i++)
        sigaddset(&set, taken[i]);
    pthread_sigmask(SIG_BLOCK, &set, &signals->before);
    for (size_t i = 0; i < TAKEN; i++)
        signal(taken[i], SIG_DFL);
    signals->fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

struct signals *signals_create(struct event_base *base)
{
    struct signals *signals = calloc(1, sizeof(*signals));
    int saved;

    if (signals == NULL)
        return NULL;
    signals_block(signals);
    if (signals->fd >= 0)
        signals->event =
            event_new(base, signals->fd, EV_READ | EV_PERSIST, signals_on_readable, signals);
    if (signals->event != NULL && event_add(signals->event, NULL) == 0)
        return signals;
    saved = signals->fd < 0 ? errno : ENOMEM;
    signals_destroy(signals);
    errno = saved;
    return NULL;
}

void signals_destroy(struct signals *signals)
{
    if (signals == NULL)
        return;
    if (signals->event != NULL)
        event_free(signals->event);
    if (signals->fd >= 0) {
        while (signal_read(signals) != 0)
            continue;
        close(signals->fd);
    }
    pthread_sigmask(SIG_SETMASK, &signals->before, NULL);
    free(signals);
}

void signals_watch(struct signals *signals, int number, event_callback_fn callback, void *context)
{
    size_t i = place_of(number);

    if (i == TAKEN)
        return;
    signals->watchers[i].callback = callback;
    signals->watchers[i].context = context;
}
