#define _GNU_SOURCE
#include "client/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

/* A window of output and the few events beside it, or the input that there is credit for. */
#define QUEUE_LIMIT 1024

/* Between attempts: doubled each time. */
#define BACKOFF_FIRST_MS 50
#define BACKOFF_LAST_MS 2000

/* For an attempt of our own accord. */
#define ATTEMPT_MS 10000

/* A daemon that refuses Hello closes the Unix connection as well: its sentence may be on the way. */
#define LAST_WORD_MS 500

/* The daemon of another machine takes who has said nothing for six times as long for gone. */
#define HERE_MS 5000

#define CLOSED "it has closed the connection without a word (it may have ended: its log tells)"

enum { SOURCE_DOOR, SOURCE_MAIL, SOURCE_TIMER, SOURCE_MONITOR, SOURCES };

/* ---- what the link is made of ---- */

static int source_watch(const struct c4p_client *client, int fd, uint32_t source)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = source};

    return epoll_ctl(client->epoll, EPOLL_CTL_ADD, fd, &event);
}

static void source_forget(const struct c4p_client *client, int fd)
{
    epoll_ctl(client->epoll, EPOLL_CTL_DEL, fd, NULL);
}

/* In so many milliseconds; negative: never. */
static void timer_set(const struct c4p_client *client, int ms)
{
    struct itimerspec time = {.it_value = {ms / 1000, ms % 1000 * 1000000L}};

    if (ms < 0)
        time.it_value = (struct timespec){0, 0};
    else if (ms == 0)
        time.it_value.tv_nsec = 1; /* 0 would be never */
    timerfd_settime(client->timer, 0, &time, NULL);
}

static void door_close(struct c4p_client *client)
{
    if (client->door < 0)
        return;
    source_forget(client, client->door);
    close(client->door);
    client->door = -1;
    client->door_ended = false;
}

static void socket_close(struct c4p_client *client)
{
    if (client->socket == NULL)
        return;
    if (client->socket_fd >= 0)
        source_forget(client, client->socket_fd);
    if (client->monitor_fd >= 0)
        source_forget(client, client->monitor_fd);
    if (client->monitor != NULL) {
        zmq_socket_monitor(client->socket, NULL, 0);
        zmq_close(client->monitor);
    }
    client->monitor = NULL;
    client->monitor_fd = -1;
    zmq_close(client->socket);
    client->socket = NULL;
    client->socket_fd = -1;
}

void link_drop(struct c4p_client *client)
{
    door_close(client);
    socket_close(client);
}

int link_open(struct c4p_client *client)
{
    client->link = LINK_DOWN;
    client->door = client->socket_fd = client->monitor_fd = -1;
    client->epoll = epoll_create1(EPOLL_CLOEXEC);
    client->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (client->epoll < 0 || client->timer < 0)
        return -1;
    return source_watch(client, client->timer, SOURCE_TIMER);
}

void link_close(struct c4p_client *client)
{
    link_drop(client);
    if (client->zmq != NULL)
        zmq_ctx_term(client->zmq);
    if (client->timer >= 0)
        close(client->timer);
    if (client->epoll >= 0)
        close(client->epoll);
}

/* Before the socket is connected. */
static int monitor_open(struct c4p_client *client)
{
    size_t size = sizeof(client->monitor_fd);

    if (remote_prepare(client->remote, client->socket) != 0)
        return -1;
    client->monitor = remote_watch(client->zmq, client->socket);
    if (client->monitor == NULL ||
        zmq_getsockopt(client->monitor, ZMQ_FD, &client->monitor_fd, &size) != 0)
        return -1;
    return source_watch(client, client->monitor_fd, SOURCE_MONITOR);
}

static int socket_open(struct c4p_client *client, const char *address)
{
    const int queue = QUEUE_LIMIT, linger = 0;
    const int64_t limit = CONTROL_MAX_MESSAGE;
    size_t size = sizeof(client->socket_fd);

    if (client->zmq == NULL)
        client->zmq = zmq_ctx_new();
    if (client->zmq == NULL)
        return -1;
    client->socket = zmq_socket(client->zmq, ZMQ_DEALER);
    if (client->socket == NULL)
        return -1;
    zmq_setsockopt(client->socket, ZMQ_SNDHWM, &queue, sizeof(queue));
    zmq_setsockopt(client->socket, ZMQ_RCVHWM, &queue, sizeof(queue));
    zmq_setsockopt(client->socket, ZMQ_LINGER, &linger, sizeof(linger));
    zmq_setsockopt(client->socket, ZMQ_MAXMSGSIZE, &limit, sizeof(limit));
    if ((client->remote != NULL && monitor_open(client) != 0) ||
        zmq_connect(client->socket, address) != 0 ||
        zmq_getsockopt(client->socket, ZMQ_FD, &client->socket_fd, &size) != 0)
        return -1;
    return source_watch(client, client->socket_fd, SOURCE_MAIL);
}

/* ---- frames ---- */

int link_send(struct c4p_client *client, const void *frame, size_t size)
{
    int rc;

    do
        rc = zmq_send(client->socket, frame, size, ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -1 : 0;
}

bool link_has_mail(struct c4p_client *client)
{
    int events = 0, rc;
    size_t size = sizeof(events);

    if (client->socket == NULL)
        return false;
    do /* it may have taken in what the descriptor told of, so no answer is no option */
        rc = zmq_getsockopt(client->socket, ZMQ_EVENTS, &events, &size);
    while (rc != 0 && errno == EINTR);
    return rc == 0 && (events & ZMQ_POLLIN) != 0;
}

int link_receive(struct c4p_client *client)
{
    zmq_msg_t frame;
    int rc;

    zmq_msg_init(&frame);
    do
        rc = zmq_msg_recv(&frame, client->socket, ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    if (rc < 0) {
        int saved = errno;

        zmq_msg_close(&frame);
        errno = saved;
        return saved == EAGAIN ? 0 : -1;
    }
    if (zmq_msg_size(&frame) <= CONTROL_MAX_MESSAGE)
        client->event = c4p__event__unpack(NULL, zmq_msg_size(&frame), zmq_msg_data(&frame));
    zmq_msg_close(&frame);
    if (client->event != NULL)
        return 1;
    errno = EBADMSG;
    return -1;
}

static void event_drop(struct c4p_client *client)
{
    if (client->event != NULL)
        c4p__event__free_unpacked(client->event, NULL);
    client->event = NULL;
}

/* ---- there ---- */

/* An attempt has come to nothing: the sentence is in client->error. */
static void link_fail(struct c4p_client *client, int error_number)
{
    client->error_number = error_number;
    link_drop(client);
    client->link = LINK_DOWN;
    timer_set(client, client->backoff_ms);
    client->backoff_ms *= 2;
    if (client->backoff_ms > BACKOFF_LAST_MS)
        client->backoff_ms = BACKOFF_LAST_MS;
}

static void link_fail_because(struct c4p_client *client, int error_number, const char *reason)
{
    const char *place = client->remote != NULL ? remote_address(client->remote) : client->directory;

    snprintf(client->error, sizeof(client->error), "no answer from the daemon%s%.100s%s: %s%s",
             place != NULL ? " (" : "", place != NULL ? place : "", place != NULL ? ")" : "",
             reason,
             client->remote != NULL && error_number == ETIMEDOUT
                 ? " (does it run, and is its address right in the key file?)"
                 : "");
    link_fail(client, error_number);
}

static void link_fail_refused(struct c4p_client *client, const char *reason)
{
    snprintf(client->error, sizeof(client->error), "the daemon refuses: %.400s", reason);
    link_fail(client, EPERM);
}

static void hello_say(struct c4p_client *client, const char *address,
                      const ProtobufCBinaryData *ticket)
{
    C4p__Hello hello = C4P__HELLO__INIT;

    hello.min_version = CONTROL_MIN_VERSION;
    hello.max_version = CONTROL_MAX_VERSION;
    hello.name = client->name;
    hello.ticket = *ticket;
    if (socket_open(client, address) != 0) {
        snprintf(client->error, sizeof(client->error), "cannot connect to %.100s: %s", address,
                 zmq_strerror(errno));
        link_fail(client, errno);
        return;
    }
    client->link = LINK_GREETING;
    if (request_send_once(client, ++client->last_id, C4P__REQUEST__BODY_HELLO, &hello) != 0)
        link_fail_because(client, errno, strerror(errno));
}

/* The answer to Attach may be there. */
static void on_door_knocking(struct c4p_client *client)
{
    C4p__Door *door = door_take(client->door, NULL);

    if (door == NULL && errno == EAGAIN)
        return;
    if (door == NULL && errno == 0)
        link_fail_because(client, ECONNRESET, CLOSED);
    else if (door == NULL)
        link_fail_because(client, errno,
                          errno == EBADMSG ? "it speaks another protocol" : strerror(errno));
    else if (door->refused[0] != '\0')
        link_fail_refused(client, door->refused);
    else if (door->ticket.len != CONTROL_TICKET_SIZE)
        link_fail_because(client, EBADMSG, "it speaks another protocol");
    else
        hello_say(client, door->address, &door->ticket);
    if (door != NULL)
        c4p__door__free_unpacked(door, NULL);
}

static void welcome_take(struct c4p_client *client, const C4p__Welcome *welcome)
{
    char *host = strdup(welcome->host);

    if (host == NULL) {
        link_fail_because(client, ENOMEM, "out of memory");
        return;
    }
    free(client->host);
    client->host = host;
    client->incarnation = welcome->incarnation;
    client->cluster = welcome->cluster;
    client->parting[0] = '\0';
    client->backoff_ms = BACKOFF_FIRST_MS;
    client->link = client->door_ended ? LINK_ENDING : LINK_UP;
    client->back_untold = true;
    client->here_at = clock_ms() + HERE_MS;
    timer_set(client, client->remote != NULL ? HERE_MS : -1);
}

/* The answer to Hello may be there. */
static void on_mail_greeting(struct c4p_client *client)
{
    int rc = link_receive(client);
    const C4p__Event *event = client->event;

    if (rc == 0)
        return;
    if (rc < 0)
        link_fail_because(client, errno,
                          errno == EBADMSG ? "it speaks another protocol" : zmq_strerror(errno));
    else if (event->body_case == C4P__EVENT__BODY_REFUSED)
        link_fail_refused(client, event->refused->reason);
    else if (event->body_case == C4P__EVENT__BODY_WELCOME &&
             control_version_choose(event->welcome->version, event->welcome->version) != 0)
        welcome_take(client, event->welcome);
    else {
        snprintf(client->error, sizeof(client->error),
                 "the daemon wants a version of the control protocol that is not among ours, %d to "
                 "%d: use a daemon of the same release",
                 CONTROL_MIN_VERSION, CONTROL_MAX_VERSION);
        link_fail(client, EPROTO);
    }
    event_drop(client);
}

static void link_begin(struct c4p_client *client)
{
    static const ProtobufCBinaryData no_ticket;

    if (client->remote != NULL) {
        timer_set(client, client->attempt_ms);
        hello_say(client, remote_address(client->remote), &no_ticket);
        return;
    }
    client->door = door_connect(client->directory, client->error);
    if (client->door < 0) {
        link_fail(client, errno);
        return;
    }
    client->link = LINK_KNOCKING;
    timer_set(client, client->attempt_ms);
    if (door_knock(client->door, client->name) != 0 ||
        source_watch(client, client->door, SOURCE_DOOR) != 0)
        link_fail_because(client, errno, strerror(errno));
}

/* ---- and again ---- */

void link_give_up(struct c4p_client *client)
{
    link_drop(client);
    client->link = LINK_OVER;
    timer_set(client, -1);
    requests_lose(client, true);
    followed_forget_all(client);
}

/* Nothing is left of what the daemon had sent. */
static void link_lose(struct c4p_client *client)
{
    link_drop(client);
    client->lost_untold = true;
    if (!client->reconnect) {
        link_give_up(client);
        return;
    }
    requests_lose(client, false);
    followed_lose(client);
    client->link = LINK_DOWN;
    client->attempt_ms = ATTEMPT_MS;
    timer_set(client, client->backoff_ms);
}

/* While the daemon is there it says nothing of its own accord but why it ends the connection; what it
 * says too late is dropped. */
static void on_door_up(struct c4p_client *client)
{
    C4p__Door *door = door_take(client->door, NULL);

    if (door != NULL) {
        snprintf(client->parting, sizeof(client->parting), "%.400s", door->refused);
        c4p__door__free_unpacked(door, NULL);
    } else if (errno != EAGAIN && errno != EBADMSG) {
        client->link = LINK_ENDING;
    }
}

static void on_door_greeting(struct c4p_client *client)
{
    C4p__Door *door = door_take(client->door, NULL);

    if (door != NULL) {
        if (door->refused[0] != '\0')
            link_fail_refused(client, door->refused);
        c4p__door__free_unpacked(door, NULL);
    } else if (errno != EAGAIN) {
        source_forget(client, client->door);
        client->door_ended = true;
        timer_set(client, LAST_WORD_MS);
    }
}

/* The connection to another machine. */
static void on_monitor(struct c4p_client *client)
{
    char error[C4P_ERROR_SIZE];
    int trouble = remote_look(client->remote, client->monitor, error);

    if (trouble == 0)
        return;
    if (client->link == LINK_UP) {
        client->link = LINK_ENDING;
    } else if (client->link == LINK_GREETING) {
        memcpy(client->error, error, sizeof(error));
        link_fail(client, trouble);
    }
}

/* The daemon wants us no more, or wants us to come anew. */
bool link_dismiss(struct c4p_client *client, const C4p__Dismissed *dismissed)
{
    if (client->remote == NULL)
        return false;
    if (!dismissed->again) {
        snprintf(client->parting, sizeof(client->parting), "%.400s", dismissed->reason);
        client->reconnect = false;
    }
    if (client->link == LINK_UP)
        client->link = LINK_ENDING;
    return true;
}

static void here_say(struct c4p_client *client)
{
    C4p__Here here = C4P__HERE__INIT;

    /* What waits to be sent tells as much. */
    request_send_once(client, ++client->last_own_id | OWN_ID, C4P__REQUEST__BODY_HERE, &here);
    client->here_at = clock_ms() + HERE_MS;
    timer_set(client, HERE_MS);
}

void link_tick(struct c4p_client *client)
{
    if (client->link == LINK_UP && client->remote != NULL && clock_ms() >= client->here_at)
        here_say(client);
}

static void on_door(struct c4p_client *client)
{
    switch (client->link) {
    case LINK_UP:
        on_door_up(client);
        break;
    case LINK_KNOCKING:
        on_door_knocking(client);
        break;
    case LINK_GREETING:
        on_door_greeting(client);
        break;
    default:
        break;
    }
}

static void on_timer(struct c4p_client *client)
{
    uint64_t times;

    if (read(client->timer, &times, sizeof(times)) != sizeof(times))
        return;
    if (client->link == LINK_DOWN)
        link_begin(client);
    else if (client->link == LINK_UP && client->remote != NULL)
        here_say(client);
    else if (client->link == LINK_GREETING && client->door_ended)
        link_fail_because(client, ECONNRESET, CLOSED);
    else if (client->link == LINK_KNOCKING || client->link == LINK_GREETING)
        link_fail_because(client, ETIMEDOUT, strerror(ETIMEDOUT));
}

bool link_advance(struct c4p_client *client)
{
    struct epoll_event events[SOURCES];
    enum link before = client->link;
    bool ready[SOURCES] = {false};
    int count;

    if (client->link == LINK_ENDING) {
        link_lose(client);
        return true;
    }
    count = epoll_wait(client->epoll, events, SOURCES, 0);
    for (int i = 0; i < count; i++)
        ready[events[i].data.u32] = true;
    /* First, since Hello's answer and the end may have come together. */
    if (client->link == LINK_GREETING)
        on_mail_greeting(client);
    else if (ready[SOURCE_TIMER])
        on_timer(client);
    if (ready[SOURCE_DOOR] && client->door >= 0)
        on_door(client);
    if (client->monitor != NULL)
        on_monitor(client);
    if (client->link == LINK_GREETING && ready[SOURCE_TIMER])
        on_timer(client);
    return client->link != before;
}

/* ---- the first time ---- */

/* Busy, or on its way: worth another attempt. */
static bool is_passing(int error_number)
{
    return error_number == EAGAIN;
}

static int link_await(struct c4p_client *client, int timeout_ms)
{
    struct pollfd poller = {client->epoll, POLLIN, 0};
    int64_t deadline = clock_ms() + timeout_ms;

    while (client->link != LINK_UP && client->link != LINK_ENDING) {
        int64_t left = deadline - clock_ms();

        if (client->link == LINK_DOWN && !is_passing(client->error_number))
            break;
        if (link_advance(client))
            continue;
        if (timeout_ms >= 0 && left <= 0) {
            link_fail_because(client, ETIMEDOUT, strerror(ETIMEDOUT));
            break;
        }
        if (poll(&poller, 1, timeout_ms < 0 ? -1 : (int)left) < 0 && errno != EINTR)
            link_fail_because(client, errno, strerror(errno));
    }
    client->back_untold = false; /* it was never away */
    errno = client->error_number;
    return client->link == LINK_UP || client->link == LINK_ENDING ? 0 : -1;
}

int link_establish(struct c4p_client *client, int timeout_ms)
{
    client->attempt_ms = -1;
    client->backoff_ms = BACKOFF_FIRST_MS;
    if (client->door < 0) {
        link_begin(client);
    } else {
        client->link = LINK_KNOCKING;
        if (door_knock(client->door, client->name) != 0 ||
            source_watch(client, client->door, SOURCE_DOOR) != 0)
            link_fail_because(client, errno, strerror(errno));
    }
    return link_await(client, timeout_ms);
}
