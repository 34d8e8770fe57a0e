/*
 * Which of those who connect to a bound socket are strangers: a pure core, told what the monitor of
 * the socket says (callers.h does it).
 *
 * A connection comes, and goes at some time. ZeroMQ says of most of those that get nowhere that they
 * failed, and tells their end next. But who begins with bytes that are nothing to it is dropped
 * without a word. Such an end looks like that of a node; what tells the two apart is that somebody
 * vouched for the node: its handshake succeeded.
 *
 * Whose handshake it was is not told. It was one of those who were there and for whom nobody had
 * vouched yet, which is mostly one. If there were several, only the number is known, and those are in
 * doubt. It becomes clear when others of them fail, or when they are there for longer than a handshake
 * may take. Nobody who may have been vouched for is ever accused: where it stays open which of those
 * who went were the strangers, their number is told, without addresses.
 */
#ifndef C4P_DAEMON_CLUSTER_STRANGERS_H
#define C4P_DAEMON_CLUSTER_STRANGERS_H

#include <stdbool.h>

/* Connections that are known at a time; more are served, and theirs is no address. */
#define STRANGERS_KNOWN 16384
/* Those who went and are in doubt. */
#define STRANGERS_IN_DOUBT 64
/* Who is there for so many ticks has had its handshake. */
#define STRANGERS_PATIENCE 10

struct strangers;

/* One was a stranger; `address` is NULL: it is not known. `why` is NULL: it went without a word. */
typedef void strangers_found(void *context, const char *address, const char *why);

/* NULL: out of memory. Destroy is NULL-safe, and judges nobody any more. */
struct strangers *strangers_create(strangers_found *found, void *context);
void strangers_destroy(struct strangers *strangers);

/* A connection is there. Not `certain`: the address may be that of another one, which has the
 * descriptor by now. */
void strangers_came(struct strangers *strangers, int fd, const char *address, bool certain);
/* One of those that are there is known to whoever has to judge it. */
void strangers_vouched(struct strangers *strangers);
/* The connection whose end is told next has failed. `why` stays where it is. */
void strangers_failed(struct strangers *strangers, const char *why);
/* `address`: of whoever has the descriptor by now. */
void strangers_went(struct strangers *strangers, int fd, const char *address);
/* Somebody is in doubt: a tick is due from time to time. All that has happened was told before. */
bool strangers_doubt(const struct strangers *strangers);
void strangers_tick(struct strangers *strangers);

#endif
