/*
 * What plane.c and the files of a router share: one lock, one thread, and a queue of news.
 *
 *   plane.c    the thread, the lock, the queue       router.c  the segment and its PEs
 *   peer.c     sockets to and from other nodes       route.c   where a message goes
 *   node.c     a job's nodes, and frames from them   lane.c    one stream between two nodes
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

#include "daemon/cluster/callers.h"
#include "daemon/router/clients.h"
#include "daemon/router/collectives.h"
#include "daemon/router/plane.h"
#include "daemon/router/remote.h"
#include "daemon/router/router.h"
#include "proto/frame.h"
#include "proto/region.h"
#include "proto/segment.h"
#include "proto/stream.h"

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

enum news_kind {
    NEWS_LOG,
    NEWS_STARTED,
    NEWS_EXITED,
    NEWS_CORRUPTED,
    NEWS_LOST,
    NEWS_MAIL,
    NEWS_KINDS
};

struct lane;
struct node;

/* Messages that can be in a stream's window, without a copy, at the most: each in one loan. */
struct loan {
    _Atomic uint32_t pieces; /* that ZeroMQ has, and one for the lane while it goes on */
    struct router *router;
    uint64_t offset;
    struct loan *next; /* in the plane's list of those that have come back */
};

/* A connection to send on, to all routers of a node. */
struct peer {
    UT_hash_handle hh;
    struct peer *prev, *next; /* of those that have something to send */
    struct plane *plane;
    struct node_key key;
    void *socket, *monitor;
    struct plane_watch watch; /* of the monitor */
    unsigned users;           /* nodes of routers */
    struct lane *ready;       /* lanes that have something to send, in turns */
    bool greeted;             /* it has been connected before */
};

/* One stream between two nodes: both directions, and what waits there. */
struct lane {
    struct router *router;
    struct node *node;
    enum collectives_stream which;
    struct lane *prev, *next;             /* of its peer's ready ones */
    struct lane *waits_prev, *waits_next; /* of the plane's waiting ones */
    bool ready, waits;
    bool hello_due;

    /* out: blocks that wait, the one that is half in frames, and how much may go */
    uint64_t *queue; /* a ring */
    size_t first, count, room;
    uint64_t open; /* offset, 0: none */
    struct c4p_envelope out;
    const uint8_t *out_body;
    uint64_t out_done;
    struct loan *loan; /* of the open one, if its body goes without a copy */
    uint64_t credit;   /* to be told to the other end; 0: nothing new */
    uint64_t sent, may_send;

    /* in */
    struct stream in;
    uint64_t arriving; /* block that is half there */
    uint64_t held;     /* block that is there, and nobody would have yet */
    struct c4p_envelope held_envelope;
    bool resumed; /* it can be offered again */
};

struct node {
    struct router *router;
    uint32_t number;
    uint32_t first_pe, pes;
    struct node_key key;
    char user[41];     /* the key as ZAP tells it */
    struct peer *peer; /* NULL: this one, or it is lost */
    bool lost;
    const char *failure; /* it is about to be lost, for this reason */
    struct lane lanes[FRAME_STREAMS];
};

struct router_id {
    uint64_t job;
    uint32_t node, zero;
};

struct router {
    UT_hash_handle hh; /* by id, if there are several nodes */
    struct router_id id;
    uint8_t secret[PLANE_SECRET_SIZE];
    struct node *nodes; /* NULL: there is one only */
    uint32_t count, self;
    struct collectives *collectives;
    /* What local endpoints send to other nodes waits behind a message to many that has no memory. */
    struct routed {
        struct routed *prev, *next;
        uint64_t offset;
    } * routed;
    bool routed_resumed; /* the first can be offered again */
    int64_t tick_at;     /* for them; -1: never */
    uint64_t limit;      /* of a body between nodes */
    unsigned loans;      /* blocks that ZeroMQ has */
    bool failing;        /* a node has a failure */
    bool ended;          /* it is kept for their sake only */
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
    unsigned log_news;
    struct callers *callers; /* of `incoming`; the main loop's, as is what it counts */
    struct refusals refusals;
    int64_t look_at; /* clock_ms() */

    /* Of other nodes; from peer_open() on. */
    void *zmq;
    bool alone; /* the context is our own: all nodes are in this process */
    struct node_key key;
    uint8_t secret_key[NODE_KEY_SIZE];
    char address[NODE_ADDRESS_MAX + 1];
    void *incoming; /* socket; NULL: not opened */
    struct plane_watch incoming_watch;
    bool incoming_again; /* there may be more frames */
    uint8_t *buffer;     /* in which frames are made */
    struct router *ids;
    struct router *ended; /* routers that are gone but for their loans */
    struct peer *peers;
    struct peer *busy;    /* those that have something to send */
    struct lane *waiting; /* lanes in which something waits for memory, or for collectives */
    struct loan *_Atomic returned;
    struct plane_figures figures;
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
/* A line for the log, which is written on the main loop. */
void plane_log(struct plane *plane, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Without the lock, on the main loop: tell the oldest news, of this router if one is given. False:
 * there is none. */
bool news_tell(struct plane *plane, struct router *router);

/* ---- router.c ---- */

/* What the thread does with routers: take some of what has come, and look whether all is well. */
void router_turn(struct router *router);
void router_look(struct router *router);
void router_corrupt(struct router *router, const char *what);
/* Done with the block at a valid offset. */
void router_release(struct router *router, uint64_t offset);
/* The last that is done with a router that has ended. */
void router_free(struct router *router);

/* ---- route.c ---- */

enum route_kind {
    ROUTE_NOWHERE,
    ROUTE_GONE,    /* to a client that has left */
    ROUTE_SLOT,    /* to a local PE or client */
    ROUTE_NODE,    /* to another node */
    ROUTE_TOGETHER /* to collectives.h */
};
struct route {
    enum route_kind kind;
    uint32_t to; /* slot or node */
};
struct route route_find(const struct router *router, const struct c4p_envelope *envelope);
/* A message of a local endpoint. True: the block is done with; false: it has gone on. */
bool route_local(struct router *router, uint64_t offset);
/* A message of another node, which its lane has checked: in the router's region. False: not now. */
bool route_foreign(struct lane *lane, uint64_t offset, const struct c4p_envelope *envelope);
int route_open(struct router *router, const struct router_nodes *nodes);
void route_close(struct router *router);
/* Try again what waits for memory behind a message to many. */
void route_retry(struct router *router);
/* A block of the router's region for what comes; as region_alloc(). */
uint64_t route_alloc(struct router *router, size_t size);

/* ---- node.c ---- */

/* The job's nodes, before anything is sent to them. -1 with errno. Close is safe without. */
int nodes_open(struct router *router, const struct router_nodes *nodes);
void nodes_close(struct router *router);
/* Nothing goes there or comes from there any more. `tell`: the other end is told too. Not from what a
 * lane calls: that is node_fail(), for the same at the end of the turn. */
void node_lose(struct node *node, const char *why, bool tell);
void node_fail(struct node *node, const char *why);
/* Lose those that have failed. */
void nodes_settle(struct router *router);
/* A frame has come, under the key that `user` (NULL: none) names. `rest` may be NULL. */
void frame_hear(struct plane *plane, const char *user, const void *part, size_t size,
                const void *rest, size_t rest_size);

/* ---- lane.c ---- */

void lane_open(struct lane *lane, struct node *node, enum collectives_stream which);
void lane_close(struct lane *lane);
/* A block is to go there; it is the lane's from now on. */
void lane_send(struct lane *lane, uint64_t offset);
/* Bytes of the stream from the other end. -1 with a sentence in lane->in.failure. */
int lane_feed(struct lane *lane, const void *data, size_t size);
/* Try again what had to wait. The same. */
int lane_retry(struct lane *lane);
/* To be tried again, if there is something. */
void lane_wait(struct lane *lane);
/* It has something to send. */
void lane_ready(struct lane *lane);

/* The next frame: what is to be copied, header and all, is in `part` (LANE_PART bytes), and what goes
 * as it is in *piece of *piece_size bytes, for which *loan is to have a piece. 0: nothing to send. */
#define LANE_PART (FRAME_HEADER_SIZE + ((size_t)64 << 10))
size_t lane_fill(struct lane *lane, uint8_t *part, const void **piece, size_t *piece_size,
                 struct loan **loan);

void lane_header(const struct lane *lane, enum frame_type type, uint64_t position, uint8_t *part);

/* A piece is done with; in any thread. */
void loan_return(void *data, void *loan);

/* ---- peer.c ---- */

/* Listen for other nodes. -1 with errno. Close is safe without. */
int peers_open(struct plane *plane);
void peers_close(struct plane *plane);
/* The connection to a node, with one user more; NULL with errno. */
struct peer *peer_get(struct plane *plane, const struct node_key *key, const char *address);
void peer_put(struct peer *peer);
/* Take frames that have come, and send those that are due. True: there are more. */
bool peers_receive(struct plane *plane);
bool peers_send(struct plane *plane);
void peer_say_bye(struct node *node, const char *why);

#endif
