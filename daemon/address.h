/*
 * Addresses as people and messages write them: "10.0.0.1:7227", "[fe80::1]:7227", "host:7227", with
 * or without "tcp://" before. Pure, but for those that say otherwise.
 */
#ifndef C4P_DAEMON_ADDRESS_H
#define C4P_DAEMON_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADDRESS_HOST_MAX 64
#define ADDRESS_TEXT_SIZE 96 /* "tcp://[...]:65535" and NUL */

struct address {
    char host[ADDRESS_HOST_MAX + 1]; /* without brackets */
    uint16_t port;
};

/* False if it is no host and port; a port of 0 is one. */
bool address_parse(const char *text, struct address *address);
/* A host alone: name or address. */
bool address_host_valid(const char *host);
/* Numbers, not a name. */
bool address_is_numeric(const char *host);
/* 0.0.0.0 or ::, which nobody can connect to. */
bool address_is_any(const char *host);
/* "tcp://10.0.0.1:7227" */
void address_format(const struct address *address, char text[ADDRESS_TEXT_SIZE]);

/* Asks the system which of its addresses packets to `towards` (numeric; NULL: to anywhere) come from. */
bool address_of_source(const char *towards, char host[ADDRESS_HOST_MAX + 1]);

#endif
