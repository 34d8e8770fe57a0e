/*
 * Signals as events of the loop, and as nothing else.
 *
 * They are blocked in the whole process, and read from a descriptor. So no handler runs, and no system
 * call is interrupted: ZeroMQ passes an interruption on to whoever sends, and of a message that is
 * half sent the rest would be taken for the beginning of the next one.
 *
 * signals_create() before the process has a second thread, since threads inherit what is blocked; then
 * a callback for each signal, before the loop runs. What is started with spawn.h gets an empty mask.
 */
#ifndef C4P_DAEMON_SIGNALS_H
#define C4P_DAEMON_SIGNALS_H

#include <event2/event.h>

struct signals;

/* SIGHUP, SIGINT, SIGQUIT, SIGTERM and SIGCHLD. NULL with errno. */
struct signals *signals_create(struct event_base *base);
/* As it was before; what has come meanwhile is dropped. NULL-safe. */
void signals_destroy(struct signals *signals);

/* Call this, with the number in the place of a descriptor, when one of these has come: once, also for
 * several that have come since. Without a callback a signal is dropped. */
void signals_watch(struct signals *signals, int number, event_callback_fn callback, void *context);

#endif
