/*
 * What plane.c and the files of a router share: one lock, one thread, and a queue of news.
 *
 * Everything in a struct router, and in the plane but for what main_* names, is touched with the lock
 * held, by whichever thread. Listeners are never called with it: what they are to hear is put into the
 * queue (news_add) and told on the main loop.
 */
#ifndef C4P_DAEMON_ROUTER_INTERNAL_H
#define C4P_DAEMON_ROUTER_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <uthash.h>
#include <utlist.h>

#include "daemon/router/clients.h"
#include "daemon/router/plane.h"
#include "daemon/router/remote.h"
#include "daemon/router/router.h"
#include "proto/region.h"
#include "proto/segment.h"

/* News of one router that nobody has heard yet: with more it takes no messages. */
#define ROUTER_MAX_NEWS 32

/* A descriptor that the thread waits for. */
struct plane_watch {
    UT_hash_handle hh;
    uint64_t id; /* 0: not watched */
    int fd;
    void (*ready)(void *context);
    void *context;
};

enum news_kind { NEWS_STARTED, NEWS_EXITED, NEWS_CORRUPTED, NEWS_LOST, NEWS_MAIL, NEWS_KINDS };

struct router {
    struct plane *plane;
    struct router *prev, *next;
    struct segment segment;
    struct region *region;
    struct region_returns returns;
    struct router_clients clients;
    struct router_remotes remotes;
    uint64_t *stops; /* a block for each PE's C4P_STOP: room for it there must be, whatever comes */
    struct plane_watch wake;
    struct router_listener listener;
    uint64_t pending; /* next message of the chain taken last, 0: none */
    uint64_t handled; /* messages of that chain so far */
    uint64_t longest; /* more cannot be in a chain */
    uint64_t dropped;
    unsigned news;  /* in the plane's queue */
    bool mail_told; /* NEWS_MAIL is among them */
    bool again;     /* there may be more messages, when others had their turn */
    bool corrupted;
};

struct news {
    struct news *prev, *next;
    struct router *router;
    enum news_kind kind;
    uint32_t number; /* PE or node */
    int32_t code;
    size_t size;
    char text[]; /* ends with a NUL besides */
};

struct plane {
    struct event_base *main_base;
    struct event *main_news;
    pthread_t thread;
    pthread_mutex_t turn, lock; /* see plane_lock() */
    bool running, ending;
    int epoll;
    int bell;      /* eventfd that wakes the thread */
    int news_bell; /* ... and the main loop */
    uint64_t last_id;
    struct plane_watch *watches;
    struct plane_watch bell_watch;
    struct router *routers;
    struct news *news;
    int64_t look_at; /* clock_ms() */
};

/* Nobody overtakes: whoever waits for the lock is the next to have it. */
void plane_lock(struct plane *plane);
void plane_unlock(struct plane *plane);

/* With the lock held. */

/* A router comes; the first one starts the thread. -1 with errno. */
int plane_enter(struct plane *plane, struct router *router);
/* It goes; nothing of it is told any more. */
void plane_leave(struct plane *plane, struct router *router);
/* Wait for a descriptor too, edge-triggered. -1 with errno. Unwatch is safe if it is not watched. */
int plane_watch_add(struct plane *plane, struct plane_watch *watch, int fd,
                    void (*ready)(void *context), void *context);
void plane_watch_remove(struct plane *plane, struct plane_watch *watch);
/* The thread has something to do. */
void plane_ring(struct plane *plane);
void news_add(struct router *router, enum news_kind kind, uint32_t number, int32_t code,
              const void *text, size_t size);

/* Without the lock, on the main loop: tell the oldest news, of this router if one is given. False:
 * there is none. */
bool news_tell(struct plane *plane, struct router *router);

/* What the thread does with routers: take some of what has come, and look whether all is well. */
void router_turn(struct router *router);
void router_look(struct router *router);

#endif
