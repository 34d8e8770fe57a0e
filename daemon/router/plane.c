#define _GNU_SOURCE
#include "daemon/router/plane.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "daemon/router/router_internal.h"
#include "proto/clock.h"

/* What the thread's functions need at the most is a fraction of it; only what is touched is there. */
#define STACK_SIZE ((size_t)256 << 10)

/* How often segments are looked at though nobody rang: a corrupted queue rings no bell. */
#define LOOK_MS 1000

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

/* Everything that is due. Returns for how long there is nothing to do, in ms; -1: until a bell. */
static int plane_work(struct plane *plane)
{
    int64_t now = clock_ms();
    bool look = plane->routers != NULL && now >= plane->look_at;
    struct router *router;
    bool again = false;

    if (look)
        plane->look_at = now + LOOK_MS;
    DL_FOREACH(plane->routers, router)
    {
        if (look)
            router_look(router);
        if (router->again)
            router_turn(router);
        again |= router->again;
    }
    if (again)
        return 0;
    return plane->routers == NULL ? -1 : (int)(plane->look_at - now);
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
    if (plane->news == NULL)
        bell_ring(plane->news_bell);
    DL_APPEND(plane->news, news);
    router->news++;
}

static void news_drop(struct plane *plane, struct news *news)
{
    DL_DELETE(plane->news, news);
    free(news);
}

typedef void news_teller(struct router *router, const struct news *news);

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
    [NEWS_STARTED] = started_tell, [NEWS_EXITED] = exited_tell, [NEWS_CORRUPTED] = corrupted_tell,
    [NEWS_LOST] = lost_tell,       [NEWS_MAIL] = mail_tell,
};

bool news_tell(struct plane *plane, struct router *router)
{
    struct news *news;

    plane_lock(plane);
    news = news_find(plane, router);
    if (news != NULL) {
        DL_DELETE(plane->news, news);
        if (news->kind == NEWS_MAIL)
            news->router->mail_told = false;
        if (news->router->news-- == ROUTER_MAX_NEWS) {
            news->router->again = true;
            plane_ring(plane);
        }
    }
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

    DL_DELETE(plane->routers, router);
    DL_FOREACH_SAFE(plane->news, news, next)
    if (news->router == router)
        news_drop(plane, news);
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
    if (plane_open(plane) != 0) {
        snprintf(error, PLANE_ERROR_SIZE, "the data plane cannot be made: %s", strerror(errno));
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
    if (plane->main_news != NULL)
        event_free(plane->main_news);
    plane_watch_remove(plane, &plane->bell_watch);
    descriptor_close(plane->epoll);
    descriptor_close(plane->bell);
    descriptor_close(plane->news_bell);
    pthread_mutex_destroy(&plane->turn);
    pthread_mutex_destroy(&plane->lock);
    free(plane);
}
