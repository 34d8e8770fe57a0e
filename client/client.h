/*
 * Inside libc4p: what a client is, and what its parts do for each other.
 *
 *   client.c   its life, c4p_next() and c4p_wait()
 *   link.c     the way to the daemon, there and again: a state and a timer
 *   door.c     the Unix socket: tickets and segments
 *   remote.c   daemons of other machines: keys, and what their connections do
 *   bridge.c   a private segment, and the thread that moves messages
 *   request.c  what was asked and has no answer yet
 *   follow.c   jobs whose events come, and what of their output is dealt with
 *   event.c    messages as events
 *   bundle*.c  files that go along with a job (bundle.h)
 *   text.c     ids and states as text
 *
 * What c4p_fd() is: an epoll set of ZeroMQ's descriptor, the Unix connection and a timer, so it
 * stays the same whatever becomes of the connection.
 */
#ifndef C4P_CLIENT_CLIENT_H
#define C4P_CLIENT_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A library does not end its program when there is no memory. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "client/c4p.h"
#include "proto/clock.h"
#include "proto/control.h"
#include "proto/control.pb-c.h"

/* Requests without an answer, and the bytes of those that may have to be sent again. */
#define REQUESTS_LIMIT 1024
#define REQUESTS_BYTES_LIMIT ((size_t)64 << 20)

enum link {
    LINK_UP,       /* the daemon has said Welcome */
    LINK_ENDING,   /* it is gone; what it had sent is taken first */
    LINK_DOWN,     /* until the timer says: try again */
    LINK_KNOCKING, /* at the Unix socket */
    LINK_GREETING, /* Hello is said */
    LINK_OVER      /* gone for good */
};

struct request {
    UT_hash_handle hh; /* by id, in the order of asking */
    uint64_t id;
    C4p__Request__BodyCase kind;
    uint64_t job;
    bool sent;
    bool doomed; /* the daemon it was for is gone: to be answered by us */
    bool follow, lossless, input;
    uint64_t offer;               /* of a part of a file: the request that it belongs to */
    struct c4p_list_options list; /* of a list: `last` are those that are still to come; 0: all */
    uint64_t list_after;          /* the page that was asked for last begins behind this one */
    uint8_t *frame;               /* until it is sent; of Submit and Open until the answer */
    size_t size;
};

struct followed {
    UT_hash_handle hh; /* by job */
    uint64_t job;
    bool lossless, input;
    bool asked;                  /* over this connection */
    uint64_t follow_id;          /* of the request that Following will answer; 0: it has come */
    uint64_t next;               /* first piece that the caller has not got; 0: nobody knows yet */
    uint64_t done, acknowledged; /* pieces up to it: by the caller, to the daemon */
};

struct c4p_client {
    /* Where the daemon is. */
    char *directory;       /* NULL: a private one, or another machine's */
    struct remote *remote; /* of another machine; NULL: of this one */
    char *name;
    bool reconnect;

    /* The way there. */
    enum link link;
    int epoll, timer;
    int door;        /* the Unix connection, or -1 */
    bool door_ended; /* ... before the answer to Hello */
    void *zmq, *socket;
    int socket_fd;
    void *monitor; /* of the socket to another machine */
    int monitor_fd;
    int64_t here_at;              /* when to say that we are there, on clock_ms() */
    char parting[C4P_ERROR_SIZE]; /* why the daemon has cut us off, or will; empty: it has not */
    int attempt_ms;               /* for one attempt; negative: no limit */
    int backoff_ms;
    int error_number; /* of the last attempt */
    char error[C4P_ERROR_SIZE];

    /* Who is there. */
    char *host;
    uint64_t incarnation;
    bool cluster;

    /* What goes out. */
    uint64_t last_id, last_own_id;
    struct request *requests;
    size_t requests_bytes;
    unsigned unsent, doomed;
    struct followed *followed;
    struct upload *uploads;
    bool idle; /* c4p_next() had nothing: acknowledge at once */

    /* What comes in. */
    bool lost_untold, back_untold;
    C4p__Event *event;          /* what c4p_next() returned last */
    size_t jobs_told;           /* of its Jobs */
    void *scratch;              /* what its event points to beside it */
    struct c4p_job_host *hosts; /* ... of a job */
    char notice[C4P_ERROR_SIZE];
    struct c4p_job_info info;
    struct c4p_daemon_status status;
};

/* ---- link.c ---- */

/* What a link needs before there is a connection. -1 with errno; to be closed even then. */
int link_open(struct c4p_client *client);
void link_close(struct c4p_client *client);
/* Go to the daemon: attempt after attempt until it says Welcome or that is no use. -1 with errno and
 * a sentence in client->error. */
int link_establish(struct c4p_client *client, int timeout_ms);
/* Do what can be done without waiting. True: there may be something new. */
bool link_advance(struct c4p_client *client);
/* The daemon says that we are none of its clients any more. False: it cannot mean us. */
bool link_dismiss(struct c4p_client *client, const C4p__Dismissed *dismissed);
/* Let go of the connection. */
void link_drop(struct c4p_client *client);
/* Do not look for the daemon any more. */
void link_give_up(struct c4p_client *client);
/* Tell another machine's daemon that we are there, if it is time, whatever else there is to do. */
void link_tick(struct c4p_client *client);
/* Send a frame. -1 with errno EAGAIN or worse. */
int link_send(struct c4p_client *client, const void *frame, size_t size);
bool link_has_mail(struct c4p_client *client);
/* Take a frame into client->event: 1; 0 if there is none; -1 with errno EBADMSG. */
int link_receive(struct c4p_client *client);

/* ---- remote.c ---- */

/* Read a key file. NULL with errno and a sentence. Free is NULL-safe. */
struct remote *remote_open(const char *path, const char *address, char error[C4P_ERROR_SIZE]);
void remote_free(struct remote *remote);
const char *remote_address(const struct remote *remote);
/* Before it is connected: 0, or -1 with errno. */
int remote_prepare(const struct remote *remote, void *socket);
/* The monitor of a socket that is about to be connected: NULL with errno. */
void *remote_watch(void *zmq, void *socket);
/* What has happened to the connection, by its monitor: 0: nothing bad; else an errno, and a sentence
 * with the remedy. */
int remote_look(const struct remote *remote, void *monitor, char error[C4P_ERROR_SIZE]);

/* ---- door.c ---- */

/* Connect to a daemon's Unix socket. -1 with errno and a sentence. */
int door_connect(const char *directory, char error[C4P_ERROR_SIZE]);
/* Say Attach. -1 with errno. */
int door_knock(int fd, const char *name);
/* A packet: a Door and (fds not NULL) its descriptors, or -1. NULL with errno: 0 at the end, EAGAIN,
 * EBADMSG. */
C4p__Door *door_take(int fd, int fds[2]);

/* Ask to be let into a job, and wait for the answer: one that does not refuse, and (fds not NULL) two
 * descriptors. NULL with a sentence. */
C4p__Door *door_ask(struct c4p_client *client, const C4p__Segment *segment, int fds[2],
                    char error[C4P_ERROR_SIZE]);

/* ---- request.c ---- */

/* An answer was delivered: who asked? NULL: nobody. */
struct request *request_find(struct c4p_client *client, uint64_t id);
void request_forget(struct c4p_client *client, struct request *request);
void requests_forget_all(struct c4p_client *client);
/* The daemon is gone: what cannot be asked again is answered by us. */
void requests_lose(struct c4p_client *client, bool forever);
/* Send what is unsent. True if something was. */
bool requests_flush(struct c4p_client *client);
/* The next one to be answered by us. NULL: none. */
struct request *request_doomed(struct c4p_client *client);
/* Pack and send a message that is not remembered, with this id. -1 with errno. */
int request_send_once(struct c4p_client *client, uint64_t id, C4p__Request__BodyCase kind,
                      void *message);

/* A page of a list has been told: 1 if another one is asked for, 0 if that was all, -1 if the daemon
 * says what cannot be, or there is no memory. */
int request_list_next(struct c4p_client *client, uint64_t id, const C4p__Jobs *jobs);

/* c4p_offer() and the parts that follow it, which are the library's own. As for all requests. */
int64_t request_offer(struct c4p_client *client, const void *manifest, size_t size);
int request_put(struct c4p_client *client, uint64_t offer, const uint8_t *hash, uint64_t offset,
                const void *data, size_t size, bool last);

/* ---- bundle_send.c ---- */

enum upload_news { UPLOAD_NOTHING, UPLOAD_DONE, UPLOAD_FAILED };

/* The daemon said what it has not got. */
enum upload_news upload_begin(struct c4p_client *client, uint64_t offer,
                              const C4p__Missing *missing);
/* A part is there. */
enum upload_news upload_put(struct c4p_client *client, uint64_t offer);
enum upload_news upload_go_on(struct c4p_client *client, uint64_t offer);
/* Why it failed. */
const char *upload_failure(const struct c4p_client *client, uint64_t offer);
void upload_forget(struct c4p_client *client, uint64_t offer);
void uploads_forget_all(struct c4p_client *client);

/* ---- follow.c ---- */

/* An id for what the library asks by itself: no caller knows it. */
#define OWN_ID (UINT64_C(1) << 63)

struct followed *followed_find(struct c4p_client *client, uint64_t job);
/* Its Following answers this request. NULL: none. */
struct followed *followed_by_request(struct c4p_client *client, uint64_t id);
/* Remember a job; NULL with errno ENOMEM. */
struct followed *followed_keep(struct c4p_client *client, const struct request *request,
                               uint64_t job);
void followed_forget(struct c4p_client *client, struct followed *followed);
void followed_forget_all(struct c4p_client *client);
void followed_lose(struct c4p_client *client);
/* Ask again for what is not asked for over this connection, and acknowledge. True if something was
 * sent. */
bool followed_flush(struct c4p_client *client);

/* ---- event.c ---- */

/* client->event as an event; false if it makes no sense. Of Jobs, the one that is next. */
bool event_fill(struct c4p_client *client, struct c4p_event *event);
/* What became of an upload, as the answer to its offer; else nothing. */
void upload_tell(struct c4p_client *client, struct c4p_event *event, uint64_t offer,
                 enum upload_news news);

#endif
