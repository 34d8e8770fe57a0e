#define _GNU_SOURCE
#include "daemon/cluster/resolve.h"

#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/*
 * What a name server is asked, in a thread of its own: it goes on when nobody waits any more. The two
 * that have it are its thread and who asks; the last one frees it.
 */
struct question {
    pthread_mutex_t lock;
    pthread_cond_t answered;
    bool done, left; /* the thread has, who asks has */
    int rc;
    struct addrinfo *found;
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

static void question_free(struct question *question)
{
    if (question->found != NULL)
        freeaddrinfo(question->found);
    pthread_cond_destroy(&question->answered);
    pthread_mutex_destroy(&question->lock);
    free(question);
}

static struct question *question_create(const char *address)
{
    struct question *question = calloc(1, sizeof(*question));
    pthread_condattr_t attributes;

    if (question == NULL)
        return NULL;
    pthread_mutex_init(&question->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC); /* as clock_ms() */
    pthread_cond_init(&question->answered, &attributes);
    pthread_condattr_destroy(&attributes);
    address_split(address, question);
    return question;
}

static void *question_ask(void *argument)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct question *question = argument;
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(question->host, question->port, &hints, &found);
    bool left;

    pthread_mutex_lock(&question->lock);
    question->rc = rc;
    question->found = rc == 0 ? found : NULL;
    question->done = true;
    left = question->left;
    pthread_cond_signal(&question->answered);
    pthread_mutex_unlock(&question->lock);
    if (left)
        question_free(question);
    return NULL;
}

/* No signal is its business. 0, or an error number. */
static int question_begin(struct question *question)
{
    sigset_t all, before;
    pthread_t thread;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&thread, NULL, question_ask, question);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0)
        pthread_detach(thread);
    return rc;
}

/* Wait for the answer, and let go of the question. */
static int question_end(struct question *question, int64_t deadline, struct addrinfo **found)
{
    const struct timespec time = {deadline / 1000, deadline % 1000 * 1000000};
    int rc = EAI_INPROGRESS;
    bool done;

    pthread_mutex_lock(&question->lock);
    while (!question->done &&
           pthread_cond_timedwait(&question->answered, &question->lock, &time) == 0)
        continue;
    done = question->done;
    question->left = !done;
    if (done) {
        rc = question->rc;
        *found = question->found;
        question->found = NULL;
    }
    pthread_mutex_unlock(&question->lock);
    if (done)
        question_free(question);
    return rc;
}

struct addrinfo *resolve(const char *address, int64_t deadline, char error[RESOLVE_ERROR_SIZE])
{
    struct question *question = question_create(address);
    struct addrinfo *found = NULL;
    int rc = EAI_MEMORY;

    if (question != NULL && question_begin(question) == 0)
        rc = question_end(question, deadline, &found);
    else if (question != NULL)
        question_free(question);
    if (rc != 0)
        snprintf(error, RESOLVE_ERROR_SIZE,
                 "%.100s: %s (if this host knows the other one by another name or address: c4pd "
                 "token --address HOST:PORT there)",
                 address,
                 rc == EAI_INPROGRESS ? "no name server says where that is" : gai_strerror(rc));
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
