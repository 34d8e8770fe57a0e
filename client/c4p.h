/*
 * libc4p: talk to a c4p daemon.
 *
 * A client is one connection. It is driven by its owner: c4p_fd() becomes
 * readable when there may be something to do, then c4p_next() returns one event
 * after the other until there is none. The descriptor tells of changes only: wait
 * for it only when c4p_next() has returned 0 after the last call of any other
 * function here. Nothing here blocks but c4p_connect(),
 * c4p_wait() and c4p_close(). A client belongs to one thread.
 *
 *   struct c4p_client *client = c4p_connect(address, "name", 10000, error);
 *   c4p_submit(client, &job);           // answered by C4P_EVENT_ACCEPTED or C4P_EVENT_REFUSED
 *   while (c4p_wait(client, -1) == 0)
 *       while (c4p_next(client, &event) == 1)
 *           ...                         // C4P_EVENT_OUTPUT ..., at last C4P_EVENT_ENDED
 *   c4p_close(client);
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

#define C4P_ERROR_SIZE 320

struct c4p_client;

/* Connect and agree on a version. NULL with a sentence in `error`. */
C4P_API struct c4p_client *c4p_connect(const char *address, const char *name, int timeout_ms,
                                       char error[C4P_ERROR_SIZE]);
/* NULL-safe. What was sent and has not left yet is dropped. */
C4P_API void c4p_close(struct c4p_client *client);

/* Readable when c4p_next() should be called; owned by the client. Watch it for reading only. */
C4P_API int c4p_fd(const struct c4p_client *client);
/* Wait until c4p_next() has something: 0; -1 with errno: EAGAIN after the timeout, EINTR. */
C4P_API int c4p_wait(struct c4p_client *client, int timeout_ms);
/* Who the daemon is: its host, and a number that changes with every start of it. */
C4P_API const char *c4p_host(const struct c4p_client *client);
C4P_API uint64_t c4p_incarnation(const struct c4p_client *client);

/* ---- requests ---- */

struct c4p_job {
    const char *const *argv; /* ends with NULL */
    const char *const *env;  /* NAME=VALUE, ends with NULL: all of the job's environment */
    const char *cwd;
    uint32_t pes;
    uint64_t region_size; /* bytes that one endpoint may have in flight; 0: the daemon decides */
    bool follow;          /* receive the job's events */
};

/*
 * Each returns 0 when the request was sent, or -1 with errno: EMSGSIZE if it
 * is larger than the protocol allows, EAGAIN if too much is unsent.
 */
C4P_API int c4p_submit(struct c4p_client *client, const struct c4p_job *job);
C4P_API int c4p_follow(struct c4p_client *client, uint64_t job);
/* Standard input for PE 0; no more than C4P_EVENT_INPUT gave credit for, 64 KiB at a time. */
C4P_API int c4p_input(struct c4p_client *client, uint64_t job, const void *data, size_t size,
                      bool eof);
/* A piece of output has been dealt with: call it for each, in order. */
C4P_API int c4p_output_done(struct c4p_client *client, uint64_t job, uint64_t sequence);
C4P_API int c4p_cancel(struct c4p_client *client, uint64_t job, bool kill);

/* ---- events ---- */

enum c4p_event_kind {
    C4P_EVENT_REFUSED = 1, /* text: why the request could not be served */
    C4P_EVENT_ACCEPTED,    /* job */
    C4P_EVENT_FOLLOWING,   /* job */
    C4P_EVENT_STATE,       /* job, state */
    C4P_EVENT_OUTPUT,      /* job, pe, stream, sequence, data */
    C4P_EVENT_INPUT,       /* job: `credit` more bytes may be sent, or (closed) no more are read */
    C4P_EVENT_ENDED        /* job, state, exit_code, text (why, may be empty), tail, data */
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

enum c4p_stream { C4P_STREAM_STDOUT = 0, C4P_STREAM_STDERR = 1 };

/* `pe` of a remark that comes from the daemon. */
#define C4P_NO_PE UINT32_MAX

struct c4p_event {
    enum c4p_event_kind kind;
    uint64_t job;
    enum c4p_state state;
    uint32_t pe;
    enum c4p_stream stream;
    uint64_t sequence;
    uint32_t credit;
    bool closed;
    int exit_code;
    const char *text; /* all three valid until the next call */
    const char *data; /* output; at the end what the program says about it */
    size_t data_size;
    const char *tail; /* at the end: the last lines that the PE named in text wrote to stderr */
    size_t tail_size;
};

/* The next event: 1; 0 if there is none now; -1 with errno EBADMSG for one that makes no sense. */
C4P_API int c4p_next(struct c4p_client *client, struct c4p_event *event);

#ifdef __cplusplus
}
#endif

#endif
