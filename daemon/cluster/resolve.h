/*
 * Host names within a time: getaddrinfo() alone may take as long as name servers let it.
 */
#ifndef C4P_DAEMON_CLUSTER_RESOLVE_H
#define C4P_DAEMON_CLUSTER_RESOLVE_H

#include <netdb.h>
#include <stdint.h>

#define RESOLVE_ERROR_SIZE 320

/* Where tcp://HOST:PORT may be, until clock_ms() is `deadline`. NULL with a sentence; else
 * freeaddrinfo(). */
struct addrinfo *resolve(const char *address, int64_t deadline, char error[RESOLVE_ERROR_SIZE]);

/* tcp://1.2.3.4:5, for ZeroMQ. */
#define RESOLVED_SIZE 80
int resolved_format(const struct addrinfo *found, char text[RESOLVED_SIZE]);

#endif
