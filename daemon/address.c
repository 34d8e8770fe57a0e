#define _GNU_SOURCE
#include "daemon/address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SCHEME "tcp://"
#define DISCARD "9" /* the port of a packet that is never sent */

static bool port_parse(const char *text, uint16_t *port)
{
    unsigned number = 0;

    if (*text == '\0' || strlen(text) > 5)
        return false;
    for (; isdigit((unsigned char)*text); text++)
        number = number * 10 + (unsigned)(*text - '0');
    if (*text != '\0' || number > UINT16_MAX)
        return false;
    *port = (uint16_t)number;
    return true;
}

bool address_is_numeric(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

bool address_is_any(const char *host)
{
    struct in6_addr six;
    struct in_addr four;

    if (inet_pton(AF_INET, host, &four) == 1)
        return four.s_addr == htonl(INADDR_ANY);
    return inet_pton(AF_INET6, host, &six) == 1 && IN6_IS_ADDR_UNSPECIFIED(&six);
}

bool address_host_valid(const char *host)
{
    size_t size = strlen(host);

    if (size == 0 || size > ADDRESS_HOST_MAX)
        return false;
    if (address_is_numeric(host))
        return true;
    for (size_t i = 0; i < size; i++)
        if (!isalnum((unsigned char)host[i]) && strchr("-._", host[i]) == NULL)
            return false;
    /* 10.0.0 and 999.1.1.1 are numbers that are wrong, not names. */
    return host[0] != '-' && host[0] != '.' && strspn(host, "0123456789.") != size;
}

bool address_parse(const char *text, struct address *address)
{
    const char *host = text, *end;
    size_t size;

    if (strncmp(host, SCHEME, strlen(SCHEME)) == 0)
        host += strlen(SCHEME);
    if (*host == '[') {
        end = strchr(++host, ']');
        if (end == NULL || end[1] != ':')
            return false;
    } else {
        end = strchr(host, ':');
        if (end == NULL)
            return false;
    }
    size = (size_t)(end - host);
    if (size == 0 || size > ADDRESS_HOST_MAX)
        return false;
    memcpy(address->host, host, size);
    address->host[size] = '\0';
    if ((*end == ']') != (strchr(address->host, ':') != NULL) || !address_host_valid(address->host))
        return false;
    return port_parse(end + (*end == ']') + 1, &address->port);
}

void address_format(const struct address *address, char text[ADDRESS_TEXT_SIZE])
{
    bool six = strchr(address->host, ':') != NULL;

    snprintf(text, ADDRESS_TEXT_SIZE, SCHEME "%s%s%s:%u", six ? "[" : "", address->host,
             six ? "]" : "", address->port);
}

/* ---- what the system knows ---- */

static bool host_format(const struct sockaddr *address, socklen_t size,
                        char host[ADDRESS_HOST_MAX + 1])
{
    char text[NI_MAXHOST];

    if (getnameinfo(address, size, text, sizeof(text), NULL, 0, NI_NUMERICHOST) != 0 ||
        strlen(text) > ADDRESS_HOST_MAX || !address_is_numeric(text))
        return false;
    strcpy(host, text);
    return true;
}

/* Where packets to this one would come from: connecting a socket of UDP asks for the route, and sends
 * nothing. */
static bool source_towards(const char *towards, char host[ADDRESS_HOST_MAX + 1])
{
    const struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICHOST};
    struct sockaddr_storage own;
    socklen_t size = sizeof(own);
    struct addrinfo *there = NULL;
    bool good = false;
    int fd;

    if (getaddrinfo(towards, DISCARD, &hints, &there) != 0)
        return false;
    fd = socket(there->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, there->ai_addr, there->ai_addrlen) == 0 &&
        getsockname(fd, (struct sockaddr *)&own, &size) == 0)
        good = host_format((struct sockaddr *)&own, size, host);
    if (fd >= 0)
        close(fd);
    freeaddrinfo(there);
    return good && !address_is_any(host);
}

/* Some address of an interface that is up; that of the loopback if there is no other. */
static bool source_any(char host[ADDRESS_HOST_MAX + 1])
{
    struct ifaddrs *all, *one;
    bool found = false;

    if (getifaddrs(&all) != 0)
        return false;
    for (one = all; one != NULL && !found; one = one->ifa_next)
        if (one->ifa_addr != NULL && one->ifa_addr->sa_family == AF_INET &&
            (one->ifa_flags & IFF_UP) && !(one->ifa_flags & IFF_LOOPBACK))
            found = host_format(one->ifa_addr, sizeof(struct sockaddr_in), host);
    freeifaddrs(all);
    return found;
}

bool address_of_source(const char *towards, char host[ADDRESS_HOST_MAX + 1])
{
    /* Addresses for documentation, which are behind the default route if there is one. */
    if (towards != NULL)
        return source_towards(towards, host);
    if (!source_towards("192.0.2.1", host) && !source_any(host) &&
        !source_towards("2001:db8::1", host))
        strcpy(host, "127.0.0.1");
    return true;
}
