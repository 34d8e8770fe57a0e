/*
 * libc4p: talk to a c4p daemon.
 *
 * A client is one connection to the daemon of this host, or of a node elsewhere. It is driven by its owner: c4p_fd()
 * becomes readable when there may be something to do, then c4p_next() returns one event after the
 * other until there is none; wait for the descriptor only when c4p_next() has returned 0 after the
 * last call of any other function here. Nothing blocks but c4p_attach() and its kin, c4p_adopt(),
 * c4p_wait(), c4p_segment(), c4p_bridge() and the closing ones. A client belongs to one thread.
 *
 *   struct c4p_client *client = c4p_attach(NULL, "name", 10000, error);
 *   c4p_submit(client, &job); // answered by C4P_EVENT_ACCEPTED or C4P_EVENT_REFUSED
 *   while (c4p_wait(client, -1) == 0)
 *       while (c4p_next(client, &event) == 1)
 *           ... // C4P_EVENT_OUTPUT ..., at last C4P_EVENT_ENDED
 *   c4p_close(client);
 *
 * When the daemon goes away the client says so (C4P_EVENT_LOST) and tries to reach it again for as
 * long as it is driven; then comes C4P_EVENT_BACK. What was submitted or opened and not answered is
 * asked again (the daemon knows it by its key: no job is made twice), and jobs that were followed
 * are followed again from where it was: C4P_EVENT_FOLLOWING, or C4P_EVENT_REFUSED with the job, in
 * either case of request 0. Other requests without an answer are refused by the library, before
 * C4P_EVENT_LOST; so is what is asked while the daemon is away, but for submitting and opening, which
 * wait for it. c4p_set_reconnect() turns this off: then C4P_EVENT_LOST is the last event.
 */
#ifndef C4P_H
#define C4P_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define C4P_API __attribute__((visibility("default")))

#define C4P_ERROR_SIZE 480

struct c4p_client;

/*
 * Attach to the daemon of a state directory; NULL: C4P_STATE_DIR, or the user's own. Negative
 * timeouts never end. NULL with a sentence in `error` and errno: ENOENT or ECONNREFUSED when no
 * daemon runs there, EACCES if it is another user's, EPERM if it refuses, ETIMEDOUT ...
 */
C4P_API struct c4p_client *c4p_attach(const char *state_dir, const char *name, int timeout_ms,
                                      char error[C4P_ERROR_SIZE]);
/*
 * Attach to the private daemon at the other end of a socket pair (SOCK_SEQPACKET); takes `fd` over,
 * whatever comes of it. The daemon ends when the client is closed; if it goes first,
 * C4P_EVENT_LOST is the last event.
 */
C4P_API struct c4p_client *c4p_adopt(int fd, const char *name, int timeout_ms,
                                     char error[C4P_ERROR_SIZE]);
/*
 * Attach to a daemon of a cluster from a machine that is no node of it. `path` is a file that
 * `c4pd key new` made, with a line for each daemon, as `c4pd key add` printed it there; `address` is
 * that of one of these lines, or NULL for the first. As c4p_attach(); EACCES: the key is not known there,
 * EINVAL: the file makes no sense. There are no sessions for such a client, and it has to be driven
 * (c4p_next() or c4p_wait()) at least every 30 seconds, or the daemon takes it for gone.
 */
C4P_API struct c4p_client *c4p_attach_remote(const char *path, const char *address,
                                             const char *name, int timeout_ms,
                                             char error[C4P_ERROR_SIZE]);
/* NULL-safe. What was sent and has not left yet is dropped. */
C4P_API void c4p_close(struct c4p_client *client);
/*
 * For a child of fork(): the client is its parent's. Lets go of the child's part of the connection,
 * or the daemon would not see the parent die; nothing else may be done with a client in a child.
 * Async-signal-safe.
 */
C4P_API void c4p_forget(struct c4p_client *client);

/* Whether to look for a daemon that went away: true at first; for a private one never. */
C4P_API void c4p_set_reconnect(struct c4p_client *client, bool reconnect);

/* Readable when c4p_next() should be called; owned by the client, and the same for as long as that
 * lives. Watch it for reading only. */
C4P_API int c4p_fd(const struct c4p_client *client);
/* Wait until c4p_next() has something: 0; -1 with errno: EAGAIN after the timeout (negative: none),
 * EINTR. */
C4P_API int c4p_wait(struct c4p_client *client, int timeout_ms);
/* Who the daemon is: its host (valid until c4p_next() is called), and a number that changes with
 * every start of it. */
C4P_API const char *c4p_host(const struct c4p_client *client);
C4P_API uint64_t c4p_incarnation(const struct c4p_client *client);

/* ---- ids ---- */

#define C4P_ID_SIZE 9

/* A job's id as it is shown: 8 characters and a NUL. Returns `text`. */
C4P_API const char *c4p_id_format(uint64_t id, char text[C4P_ID_SIZE]);

/* ---- files ---- */

/*
 * The files that a job needs on hosts that do not have them: a bundle. Gathered, sealed (which reads
 * them), and offered to the daemon, which keeps what it has not got yet; then the job is submitted
 * with it. Paths are below the root, an absolute directory; elsewhere the same tree is made, and paths
 * below the root in the job's argv and cwd lead there, and in PYTHONPATH those that came along.
 *
 *   struct c4p_bundle *bundle = c4p_bundle_create("/home/me/app", error);
 *   c4p_bundle_add_python(bundle, "", error);
 *   c4p_bundle_add(bundle, "data/table.txt", error);
 *   c4p_bundle_seal(bundle, error);
 *   c4p_offer(client, bundle); // C4P_EVENT_DONE
 *   job.bundle = bundle;
 *
 * Functions that return -1 have put a sentence into `error`.
 */
struct c4p_bundle;

/* NULL with a sentence. Free is NULL-safe; not between an offer and its answer. */
C4P_API struct c4p_bundle *c4p_bundle_create(const char *root, char error[C4P_ERROR_SIZE]);
C4P_API void c4p_bundle_free(struct c4p_bundle *bundle);
/* A file, or all files below a directory; what is added twice is there once. */
C4P_API int c4p_bundle_add(struct c4p_bundle *bundle, const char *path, char error[C4P_ERROR_SIZE]);
/* The Python files below a directory, 64 MiB at most; not those in hidden directories, __pycache__,
 * node_modules and virtual environments. */
C4P_API int c4p_bundle_add_python(struct c4p_bundle *bundle, const char *path,
                                  char error[C4P_ERROR_SIZE]);
/* Read all of them. Again: read them again. */
C4P_API int c4p_bundle_seal(struct c4p_bundle *bundle, char error[C4P_ERROR_SIZE]);
/* Is any of its files another one than when it was read? */
C4P_API bool c4p_bundle_stale(const struct c4p_bundle *bundle);
C4P_API size_t c4p_bundle_files(const struct c4p_bundle *bundle);
/* Of an offer: bytes that the daemon has got, and that it had not. */
C4P_API void c4p_bundle_progress(const struct c4p_bundle *bundle, uint64_t *sent, uint64_t *total);

/* Does the daemon belong to a cluster? Then a job may run on other hosts. */
C4P_API bool c4p_cluster(const struct c4p_client *client);

/* ---- requests ---- */

struct c4p_job {
    const char *const *argv; /* ends with NULL */
    const char *const *env;  /* NAME=VALUE, ends with NULL: all of the job's environment */
    const char *cwd;
    uint32_t pes;           /* 0: as many as are free, at least one */
    uint64_t region_size;   /* bytes that one endpoint may have in flight; 0: the daemon decides */
    const char *name;       /* NULL: what the daemon makes of argv */
    int32_t priority;       /* -1000 to 1000; higher goes first */
    uint64_t time_limit_ms; /* 0: none */
    bool follow;            /* receive the job's events, losslessly */
    bool input;             /* standard input will come from here */
    bool tied;              /* cancel the job when this client goes */
    uint32_t nodes;         /* of a private daemon: act as so many hosts; 0: as one */
    const struct c4p_bundle *bundle; /* its files, which were offered; NULL: none go along */
};

/*
 * Each returns the id of the request (more than 0), which the events that answer it carry, or -1
 * with errno: EMSGSIZE if it is larger than the protocol allows, EAGAIN if too much is unsent or
 * unanswered, ENOTCONN if the daemon is gone for good. The answer is C4P_EVENT_REFUSED or what the
 * comment says.
 */

/* C4P_EVENT_DONE when all of it is there. The bundle is borrowed until then. */
C4P_API int64_t c4p_offer(struct c4p_client *client, struct c4p_bundle *bundle);
/* C4P_EVENT_ACCEPTED. */
C4P_API int64_t c4p_submit(struct c4p_client *client, const struct c4p_job *job);

struct c4p_follow_options {
    uint64_t from; /* first piece of output that is wanted; 0: from the first one kept */
    bool lossless; /* the PEs wait for us to keep up */
    bool input;    /* take standard input over, if nobody else has it */
    bool resume;   /* instead of `from`: from where the last lossless follower got to */
};

/* C4P_EVENT_FOLLOWING, then the job's events; options NULL: all zero. */
C4P_API int64_t c4p_follow(struct c4p_client *client, uint64_t job,
                           const struct c4p_follow_options *options);
/* C4P_EVENT_DONE. */
C4P_API int64_t c4p_unfollow(struct c4p_client *client, uint64_t job);
/*
 * Standard input for PE 0; no more than C4P_EVENT_INPUT gave credit for, 64 KiB at a time. Answered
 * only if refused. EAGAIN as well while the daemon is away.
 */
C4P_API int64_t c4p_input(struct c4p_client *client, uint64_t job, const void *data, size_t size,
                          bool eof);
/* A piece of output has been dealt with: call it for each, in order. 0, or -1 with errno. */
C4P_API int c4p_output_done(struct c4p_client *client, uint64_t job, uint64_t sequence);
/* C4P_EVENT_DONE; the job's end comes later, to who follows it. */
C4P_API int64_t c4p_cancel(struct c4p_client *client, uint64_t job, bool kill);

struct c4p_list_options {
    bool ended, sessions; /* also those that are over; sessions only */
    uint32_t last;        /* at most the last so many; 0: all */
};

/* C4P_EVENT_JOB for each job in the order of submission, then C4P_EVENT_DONE. */
C4P_API int64_t c4p_list(struct c4p_client *client, const struct c4p_list_options *options);
/* The job of this id, the only one of this name, or that whose id begins so: C4P_EVENT_JOB, then
 * C4P_EVENT_DONE. */
C4P_API int64_t c4p_find(struct c4p_client *client, const char *name);
/* C4P_EVENT_STATUS. */
C4P_API int64_t c4p_status(struct c4p_client *client);

/* ---- sessions ---- */

struct c4p_session {
    const char *name;   /* NULL: a new one, which ends when no client is in it */
    bool create;        /* make it if there is none of this name */
    struct c4p_job job; /* how its PEs are started if it is to be made; no `follow`, no `tied` */
    uint64_t ttl_ms;    /* how long a named one stays without a client; 0: as configured */
};

/* C4P_EVENT_ACCEPTED with the session's job, new or not. */
C4P_API int64_t c4p_open(struct c4p_client *client, const struct c4p_session *session);
/* C4P_EVENT_DONE: the session ends, for everybody. */
C4P_API int64_t c4p_end(struct c4p_client *client, uint64_t job);
/*
 * Enter a session's job that runs: the endpoint that we are in it, the segment's descriptor and
 * that of the router's eventfd, now the caller's. Waits for the answer. 0, or -1 with a sentence in
 * `error`.
 */
C4P_API int c4p_segment(struct c4p_client *client, uint64_t job, uint32_t *endpoint,
                        int *segment_fd, int *wake_fd, char error[C4P_ERROR_SIZE]);

/*
 * The same for a client that cannot or must not map the job's segment: a private segment, and a
 * thread that moves messages between it and the daemon until c4p_bridge_close(), which first waits,
 * for a time, until all that was sent has arrived. Close the bridge before its client.
 */
struct c4p_bridge;
C4P_API int c4p_bridge(struct c4p_client *client, uint64_t job, struct c4p_bridge **bridge,
                       uint32_t *endpoint, int *segment_fd, int *wake_fd,
                       char error[C4P_ERROR_SIZE]);
/* NULL-safe. */
C4P_API void c4p_bridge_close(struct c4p_bridge *bridge);
/* As c4p_forget(), in a child that was forked. */
C4P_API void c4p_bridge_forget(struct c4p_bridge *bridge);

/* ---- events ---- */

enum c4p_event_kind {
    C4P_EVENT_REFUSED = 1, /* text: why the request could not be served */
    C4P_EVENT_DONE,        /* the request was carried out */
    C4P_EVENT_ACCEPTED,    /* job */
    C4P_EVENT_FOLLOWING,   /* job; sequence: pieces before it are kept ones; first; input */
    C4P_EVENT_STATE,       /* job, state, text (what a queued job waits for) */
    C4P_EVENT_OUTPUT,      /* job, pe, stream, sequence, data */
    C4P_EVENT_INPUT,       /* job: `credit` more bytes may be sent, or (closed) no more are read */
    C4P_EVENT_ENDED,       /* job, state, exit_code, text (why, may be empty), tail, data */
    C4P_EVENT_JOB,         /* job, info */
    C4P_EVENT_STATUS,      /* status */
    C4P_EVENT_LOST,        /* the daemon is gone; text; closed: for good */
    C4P_EVENT_BACK         /* it is there again */
};

enum c4p_state {
    C4P_STATE_SUBMITTED = 0,
    C4P_STATE_QUEUED,
    C4P_STATE_RESERVING,
    C4P_STATE_STARTING,
    C4P_STATE_RUNNING,
    C4P_STATE_COMPLETED,
    C4P_STATE_FAILED,
    C4P_STATE_CANCELLED
};

/* "queued", "running" ... */
C4P_API const char *c4p_state_name(enum c4p_state state);

enum c4p_stream { C4P_STREAM_STDOUT = 0, C4P_STREAM_STDERR = 1 };

/* `pe` of a remark that comes from the daemon. */
#define C4P_NO_PE UINT32_MAX

/* PEs first_pe .. first_pe + pes - 1 of a job are, or were, on this host. */
struct c4p_job_host {
    const char *name;
    uint32_t first_pe, pes;
};

/* Times of day are milliseconds since 1970; 0: not yet, or never. */
struct c4p_job_info {
    uint64_t id;
    uint64_t order; /* of submission */
    const char *name;
    enum c4p_state state;
    uint32_t pes;
    int32_t priority;
    uint64_t time_limit_ms;
    uint64_t submitted, started, ended;
    int exit_code;
    const char *message;     /* of an ended job: why; may be empty */
    const char *reason;      /* of a queued one: what it waits for */
    const char *const *argv; /* ends with NULL */
    const char *cwd;
    uint64_t output_first, output_next; /* pieces that are kept */
    bool session;
    const char *session_name; /* may be empty */
    uint32_t clients;
    uint64_t ttl_ms, expires;
    const struct c4p_job_host *hosts; /* in the order of their PEs, ... */
    size_t host_count;                /* ... 0: not started, or on the daemon's host only */
};

struct c4p_daemon_status {
    const char *version, *host, *state_dir;
    uint32_t pid;
    uint64_t started;
    uint32_t pes, pes_used; /* slots */
    uint32_t queued, running, sessions, clients, max_clients;
    uint64_t refused, rss;
    bool draining;
    const char *const *troubles; /* sentences, ends with NULL */
    const char *cluster;         /* its name; empty: the daemon is alone, and the rest is 0 */
    uint32_t nodes, nodes_lost;  /* that are reached, this one among them; and that are not */
    uint32_t cluster_pes, cluster_pes_free; /* of those that are reached */
};

struct c4p_event {
    enum c4p_event_kind kind;
    int64_t request; /* id of the request that it answers; 0: of none */
    uint64_t job;
    enum c4p_state state;
    uint32_t pe;
    enum c4p_stream stream;
    uint64_t sequence, first;
    uint32_t credit;
    bool closed, input;
    int exit_code;
    const char *text; /* all pointers are valid until the next call */
    const char *data; /* output; at the end what the program says about it */
    size_t data_size;
    const char *tail; /* at the end: the last lines that the PE named in text wrote to stderr */
    size_t tail_size;
    const struct c4p_job_info *info;
    const struct c4p_daemon_status *status;
};

/* The next event: 1; 0 if there is none now; -1 with errno EBADMSG for one that makes no sense. */
C4P_API int c4p_next(struct c4p_client *client, struct c4p_event *event);

#ifdef __cplusplus
}
#endif

#endif
