#define _GNU_SOURCE
#include "daemon/router/plane.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include <zmq.h>

#include "daemon/log.h"
#include "daemon/router/router_internal.h"
#include "proto/clock.h"

/* What the thread's functions need at the most is a fraction of it; only what is touched is there. */
#define STACK_SIZE ((size_t)256 << 10)

/* How often segments are looked at though nobody rang: a corrupted queue rings no bell. */
#define LOOK_MS 1000

/* How often is tried again what waits for memory in a segment. */
#define RETRY_MS 1

/* At the end: until ZeroMQ has given back what it has of segments, at the most. */
#define LOANS_MS 10000

/* Lines for the log that nobody has written yet; more are not kept. */
#define LOG_NEWS_MAX 16
#define LOG_LINE_SIZE 256

#define EVENTS_A_TURN 64
#define NEWS_A_TURN 64

/* ---- the lock ---- */

/*
 * A mutex alone goes to who is awake: a thread that lets it go and wants it again at once, as ours
 * does under load, would keep the main loop waiting for ever.
 */
void plane_lock(struct plane *plane)
{
    pthread_mutex_lock(&plane->turn);
    pthread_mutex_lock(&plane->lock);
    pthread_mutex_unlock(&plane->turn);
}

void plane_unlock(struct plane *plane)
{
    pthread_mutex_unlock(&plane->lock);
}

static void bell_ring(int fd)
{
    const uint64_t one = 1;

    while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
        continue;
}

static void bell_still(int fd)
{
    uint64_t count;

    while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
        continue;
}

void plane_ring(struct plane *plane)
{
    bell_ring(plane->bell);
}

/* ---- descriptors ---- */

int plane_watch_add(struct plane *plane, struct plane_watch *watch, int fd,
                    void (*ready)(void *context), void *context)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = plane->last_id + 1};

    if (epoll_ctl(plane->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        return -1;
    watch->id = ++plane->last_id;
    watch->fd = fd;
    watch->ready = ready;
    watch->context = context;
    HASH_ADD(hh, plane->watches, id, sizeof(watch->id), watch);
    return 0;
}

void plane_watch_remove(struct plane *plane, struct plane_watch *watch)
{
    if (watch->id == 0)
        return;
    epoll_ctl(plane->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
    HASH_DEL(plane->watches, watch);
    watch->id = 0;
}

/* What an event was about may be gone: it came before we had the lock. */
static void event_handle(struct plane *plane, uint64_t id)
{
    struct plane_watch *watch;

    HASH_FIND(hh, plane->watches, &id, sizeof(id), watch);
    if (watch != NULL)
        watch->ready(watch->context);
}

static void on_bell(void *context)
{
    struct plane *plane = context;

    bell_still(plane->bell);
}

/* ---- the thread ---- */

/* Blocks that ZeroMQ has done with, and routers that were kept for their sake. */
static void loans_collect(struct plane *plane)
{
    struct loan *loan = atomic_exchange(&plane->returned, NULL), *next;

    for (; loan != NULL; loan = next) {
        struct router *router = loan->router;

        next = loan->next;
        router->loans--;
        if (!router->ended) {
            router_release(router, loan->offset);
        } else if (router->loans == 0) {
            DL_DELETE(plane->ended, router);
            router_free(router);
        }
        free(loan);
    }
}

/* Streams in which something waits for memory, or for collectives. */
static void lanes_retry(struct plane *plane)
{
    struct lane *waiting = plane->waiting, *lane;

    plane->waiting = NULL;
    while ((lane = waiting) != NULL) {
        DL_DELETE2(waiting, lane, waits_prev, waits_next);
        lane->waits = false;
        if (lane->router->corrupted)
            continue;
        if (lane_retry(lane) != 0)
            node_fail(lane->node, lane->in.failure);
        else
            lane_wait(lane);
    }
}

static bool lane_is_due(const struct plane *plane)
{
    const struct lane *lane;

    DL_FOREACH2(plane->waiting, lane, waits_next)
    if (lane->resumed)
        return true;
    return false;
}

/* What a router has to do of its own accord. */
static void router_work(struct router *router, int64_t now, bool look)
{
    if (look)
        router_look(router);
    if (router->again)
        router_turn(router);
    if (router->tick_at >= 0 && now >= router->tick_at && !router->corrupted) {
        router->tick_at = -1;
        collectives_tick(router->collectives, now);
        route_retry(router);
    }
}

/* Until then there is nothing to do, in ms; -1: until somebody rings. */
static int plane_patience(const struct plane *plane, int64_t now)
{
    const struct router *router;
    int64_t at = plane->look_at;

    if (plane->routers == NULL)
        return -1;
    if (plane->waiting != NULL)
        at = now + RETRY_MS;
    DL_FOREACH(plane->routers, router)
    if (router->tick_at >= 0 && router->tick_at < at)
        at = router->tick_at;
    return at > now ? (int)(at - now) : 0;
}

/* Everything that is due. Returns for how long there is nothing to do. */
static int plane_work(struct plane *plane)
{
    int64_t now = clock_ms();
    bool look = plane->routers != NULL && now >= plane->look_at, again;
    struct router *router;

    if (look)
        plane->look_at = now + LOOK_MS;
    loans_collect(plane);
    again = peers_receive(plane);
    lanes_retry(plane);
    DL_FOREACH(plane->routers, router)
    {
        router_work(router, now, look);
        again |= router->again;
    }
    again |= peers_send(plane);
    DL_FOREACH(plane->routers, router)
    {
        nodes_settle(router);
        region_returns_flush(&router->returns);
    }
    return again || lane_is_due(plane) ? 0 : plane_patience(plane, now);
}

static void *plane_run(void *argument)
{
    struct plane *plane = argument;
    struct epoll_event events[EVENTS_A_TURN];
    int patience = 0;
    bool ending;

    do {
        int count = epoll_wait(plane->epoll, events, EVENTS_A_TURN, patience);

        plane_lock(plane);
        for (int i = 0; i < count; i++)
            event_handle(plane, events[i].data.u64);
        patience = plane_work(plane);
        ending = plane->ending;
        plane_unlock(plane);
    } while (!ending);
    return NULL;
}

/* No signal is its business, and its stack is what it needs. */
static int plane_start(struct plane *plane)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    int rc;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&plane->thread, &attributes, plane_run, plane);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    plane->running = rc == 0;
    errno = rc;
    return rc == 0 ? 0 : -1;
}

/* ---- news ---- */

static struct news *news_find(struct plane *plane, const struct router *router)
{
    struct news *news = plane->news;

    while (news != NULL && router != NULL && news->router != router)
        news = news->next;
    return news;
}

static void news_append(struct plane *plane, struct news *news)
{
    if (plane->news == NULL)
        bell_ring(plane->news_bell);
    DL_APPEND(plane->news, news);
}

void news_add(struct router *router, enum news_kind kind, uint32_t number, int32_t code,
              const void *text, size_t size)
{
    struct plane *plane = router->plane;
    struct news *news = calloc(1, sizeof(*news) + size + 1);

    if (news == NULL) {
        router->dropped++;
        return;
    }
    news->router = router;
    news->kind = kind;
    news->number = number;
    news->code = code;
    news->size = size;
    if (size > 0)
        memcpy(news->text, text, size);
    router->news++;
    news_append(plane, news);
}

void plane_log(struct plane *plane, const char *format, ...)
{
    struct news *news;
    va_list arguments;

    if (plane->log_news >= LOG_NEWS_MAX)
        return;
    news = calloc(1, sizeof(*news) + LOG_LINE_SIZE);
    if (news == NULL)
        return;
    news->kind = NEWS_LOG;
    va_start(arguments, format);
    vsnprintf(news->text, LOG_LINE_SIZE, format, arguments);
    va_end(arguments);
    plane->log_news++;
    news_append(plane, news);
}

static void news_drop(struct plane *plane, struct news *news)
{
    DL_DELETE(plane->news, news);
    free(news);
}

typedef void news_teller(struct router *router, const struct news *news);

static void log_tell(struct router *router, const struct news *news)
{
    (void)router;
    log_write(LOG_WARNING, "plane", "%s", news->text);
}

static void started_tell(struct router *router, const struct news *news)
{
    router->listener.started(router->listener.context, news->number);
}

static void exited_tell(struct router *router, const struct news *news)
{
    router->listener.exited(router->listener.context, news->number, news->code, news->text,
                            news->size);
}

static void corrupted_tell(struct router *router, const struct news *news)
{
    router->listener.corrupted(router->listener.context, news->text);
}

static void lost_tell(struct router *router, const struct news *news)
{
    router->listener.lost(router->listener.context, news->number, news->text);
}

static void mail_tell(struct router *router, const struct news *news)
{
    (void)news;
    router_remotes_wake(&router->remotes);
}

static news_teller *const tellers[NEWS_KINDS] = {
    [NEWS_LOG] = log_tell,       [NEWS_STARTED] = started_tell,
    [NEWS_EXITED] = exited_tell, [NEWS_CORRUPTED] = corrupted_tell,
    [NEWS_LOST] = lost_tell,     [NEWS_MAIL] = mail_tell,
};

/* Off the queue, and what waited for it to get shorter can go on. */
static void news_take(struct plane *plane, struct news *news)
{
    struct router *router = news->router;

    DL_DELETE(plane->news, news);
    if (router == NULL) {
        plane->log_news--;
        return;
    }
    if (news->kind == NEWS_MAIL)
        router->mail_told = false;
    if (router->news-- == ROUTER_MAX_NEWS) {
        router->again = true;
        plane_ring(plane);
    }
}

bool news_tell(struct plane *plane, struct router *router)
{
    struct news *news;

    plane_lock(plane);
    news = news_find(plane, router);
    if (news != NULL)
        news_take(plane, news);
    plane_unlock(plane);
    if (news == NULL)
        return false;
    tellers[news->kind](news->router, news);
    free(news);
    return true;
}

static void on_news(evutil_socket_t fd, short what, void *argument)
{
    struct plane *plane = argument;

    (void)what;
    bell_still(fd);
    for (unsigned told = 0; told < NEWS_A_TURN; told++)
        if (!news_tell(plane, NULL))
            return;
    bell_ring(fd); /* the others on the main loop have their turn */
}

/* ---- routers ---- */

int plane_enter(struct plane *plane, struct router *router)
{
    if (!plane->running && plane_start(plane) != 0)
        return -1;
    if (plane->routers == NULL) {
        plane->look_at = clock_ms() + LOOK_MS;
        plane_ring(plane);
    }
    DL_APPEND(plane->routers, router);
    return 0;
}

void plane_leave(struct plane *plane, struct router *router)
{
    struct news *news, *next;

    if (router->prev == NULL)
        return; /* it has not come */
    DL_DELETE(plane->routers, router);
    DL_FOREACH_SAFE(plane->news, news, next)
    if (news->router == router)
        news_drop(plane, news);
}

struct plane_figures plane_figures(struct plane *plane)
{
    struct plane_figures figures;

    plane_lock(plane);
    figures = plane->figures;
    plane_unlock(plane);
    return figures;
}

const char *plane_address(const struct plane *plane)
{
    return plane->address;
}

const struct node_key *plane_key(const struct plane *plane)
{
    return &plane->key;
}

/* ---- coming and going ---- */

static int plane_open(struct plane *plane)
{
    plane->epoll = epoll_create1(EPOLL_CLOEXEC);
    plane->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    plane->news_bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (plane->epoll < 0 || plane->bell < 0 || plane->news_bell < 0 ||
        plane_watch_add(plane, &plane->bell_watch, plane->bell, on_bell, plane) != 0)
        return -1;
    plane->main_news =
        event_new(plane->main_base, plane->news_bell, EV_READ | EV_PERSIST, on_news, plane);
    if (plane->main_news == NULL || event_add(plane->main_news, NULL) != 0) {
        errno = ENOMEM;
        return -1;
    }
    return 0;
}

/* An address and a key of its own, which nobody hears of. */
static int plane_hide(struct plane *plane)
{
    char public_text[41], secret_text[41];
    uint64_t number;

    plane->alone = true;
    if (getrandom(&number, sizeof(number), 0) != sizeof(number) ||
        zmq_curve_keypair(public_text, secret_text) != 0 ||
        zmq_z85_decode(plane->key.bytes, public_text) == NULL ||
        zmq_z85_decode(plane->secret_key, secret_text) == NULL)
        return -1;
    explicit_bzero(secret_text, sizeof(secret_text));
    snprintf(plane->address, sizeof(plane->address), "ipc://@c4pd-plane-%d-%016llx", (int)getpid(),
             (unsigned long long)number);
    return 0;
}

/* Its place among other nodes, where they can reach it at once. */
static int plane_show(struct plane *plane, const struct plane_settings *settings)
{
    plane->zmq = settings->zmq;
    plane->key = settings->key;
    memcpy(plane->secret_key, settings->secret_key, sizeof(plane->secret_key));
    snprintf(plane->address, sizeof(plane->address), "%s", settings->address);
    return peers_open(plane);
}

struct plane *plane_create(const struct plane_settings *settings, char error[PLANE_ERROR_SIZE])
{
    struct plane *plane = calloc(1, sizeof(*plane));

    if (plane == NULL) {
        snprintf(error, PLANE_ERROR_SIZE, "the data plane cannot be made: out of memory");
        return NULL;
    }
    plane->main_base = settings->base;
    plane->epoll = plane->bell = plane->news_bell = -1;
    pthread_mutex_init(&plane->turn, NULL);
    pthread_mutex_init(&plane->lock, NULL);
    if (plane_open(plane) != 0 ||
        (settings->zmq != NULL ? plane_show(plane, settings) : plane_hide(plane)) != 0) {
        snprintf(error, PLANE_ERROR_SIZE, "the data plane cannot be made%s%s: %s",
                 settings->zmq != NULL ? " at " : "",
                 settings->zmq != NULL ? settings->address : "", zmq_strerror(errno));
        plane_destroy(plane);
        return NULL;
    }
    return plane;
}

static void plane_stop(struct plane *plane)
{
    plane_lock(plane);
    plane->ending = true;
    plane_unlock(plane);
    plane_ring(plane);
    pthread_join(plane->thread, NULL);
    plane->running = false;
}

/* ZeroMQ has the memory of segments still, which must not vanish; its sockets are closed. */
static void loans_await(struct plane *plane)
{
    int64_t end = clock_ms() + LOANS_MS;

    for (loans_collect(plane); plane->ended != NULL && clock_ms() < end; loans_collect(plane))
        poll(&(struct pollfd){.fd = plane->bell, .events = POLLIN}, 1, 10);
}

static void descriptor_close(int fd)
{
    if (fd >= 0)
        close(fd);
}

void plane_destroy(struct plane *plane)
{
    if (plane == NULL)
        return;
    if (plane->running)
        plane_stop(plane);
    peers_close(plane);
    loans_await(plane);
    while (plane->news != NULL) /* what is left is for the log */
        news_drop(plane, plane->news);
    if (plane->main_news != NULL)
        event_free(plane->main_news);
    plane_watch_remove(plane, &plane->bell_watch);
    descriptor_close(plane->epoll);
    descriptor_close(plane->bell);
    descriptor_close(plane->news_bell);
    pthread_mutex_destroy(&plane->turn);
    pthread_mutex_destroy(&plane->lock);
    explicit_bzero(plane->secret_key, sizeof(plane->secret_key));
    free(plane);
}
