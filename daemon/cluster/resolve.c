#define _GNU_SOURCE
#include "daemon/cluster/resolve.h"

#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/clock.h"

/* What a name server is asked: glibc goes on with it when nobody waits any more. */
struct question {
    struct gaicb request;
    struct addrinfo hints;
    char host[256], port[8];
};

/* tcp://HOST:PORT, or tcp://[HOST]:PORT, which was checked before. */
static void address_split(const char *address, struct question *question)
{
    const char *host = address + strlen("tcp://"), *colon = strrchr(host, ':');
    size_t length = (size_t)(colon - host);

    if (*host == '[') {
        host++;
        length -= 2;
    }
    snprintf(question->host, sizeof(question->host), "%.*s", (int)length, host);
    snprintf(question->port, sizeof(question->port), "%s", colon + 1);
}

static int question_wait(struct question *question, int64_t deadline)
{
    struct gaicb *list[] = {&question->request};
    int rc = getaddrinfo_a(GAI_NOWAIT, list, 1, NULL);

    if (rc != 0)
        return rc;
    while ((rc = gai_error(&question->request)) == EAI_INPROGRESS) {
        int64_t left = deadline - clock_ms();
        const struct timespec time = {left / 1000, left % 1000 * 1000000};

        if (left <= 0)
            return EAI_INPROGRESS;
        gai_suspend((const struct gaicb *const *)list, 1, &time);
    }
    return rc;
}

struct addrinfo *resolve(const char *address, int64_t deadline, char error[RESOLVE_ERROR_SIZE])
{
    struct question *question = calloc(1, sizeof(*question));
    struct addrinfo *found = NULL;
    int rc = EAI_MEMORY;

    if (question != NULL) {
        address_split(address, question);
        question->hints.ai_socktype = SOCK_STREAM;
        question->request.ar_name = question->host;
        question->request.ar_service = question->port;
        question->request.ar_request = &question->hints;
        rc = question_wait(question, deadline);
        found = rc == 0 ? question->request.ar_result : NULL;
    }
    if (rc != 0)
        snprintf(error, RESOLVE_ERROR_SIZE,
                 "%.100s: %s (if this host knows the other one by another name or address: c4pd "
                 "token --address HOST:PORT there)",
                 address,
                 rc == EAI_INPROGRESS ? "no name server says where that is" : gai_strerror(rc));
    /* One that still goes on is glibc's. */
    if (rc != EAI_INPROGRESS || gai_cancel(&question->request) == EAI_CANCELED)
        free(question);
    return found;
}

int resolved_format(const struct addrinfo *found, char text[RESOLVED_SIZE])
{
    char host[64], port[8];

    if (getnameinfo(found->ai_addr, found->ai_addrlen, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return -1;
    snprintf(text, RESOLVED_SIZE, found->ai_family == AF_INET6 ? "tcp://[%s]:%s" : "tcp://%s:%s",
             host, port);
    return 0;
}
