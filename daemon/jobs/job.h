/*
 * A job that runs: its crews (the PEs on each of its nodes), what they write, and its life.
 *
 * This is the shell around the pure cores life.h and output.h: it starts and stops the crews, hears
 * what happens to them, and keeps what the PEs write in the job's transcript. It is made when the
 * job's turn has come and it is known where its PEs will be. job_prepare() makes ready what each node
 * needs; when all are, job_start() makes all PEs; from then on the event loop drives it until the
 * listener's `ended`, which comes after the last PE is gone and everything that the PEs wrote is in
 * the transcript.
 */
#ifndef C4P_DAEMON_JOBS_JOB_H
#define C4P_DAEMON_JOBS_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "daemon/jobs/letters.h"
#include "daemon/jobs/life.h"
#include "daemon/jobs/output.h"
#include "proto/cluster.pb-c.h"
#include "proto/control.h"

struct event_base;
struct job;
struct plane;
struct router;
struct transcript;

/* What a client asks for; the arrays end with NULL. All of it is borrowed during job_create(). */
struct job_request {
    char *const *argv;
    char *const *env;
    const char *cwd;
    uint32_t pes;
    uint64_t region_size;   /* 0: a share of the machine's memory */
    uint64_t time_limit_ms; /* of its run; 0: none */
    bool input;             /* standard input will come; else it is at its end */
    uint32_t nodes;         /* of a private daemon: act as so many hosts; 0: as one */
    const char *mark;       /* how its processes are known: C4P_JOB in their environment */
    int64_t queued;         /* on clock_ms(): since when it has waited */
};

/* What this node adds to it. */
struct job_place {
    struct event_base *base;
    struct plane *plane; /* daemon/router/plane.h */
    const char *host;
    const char *package_dir; /* put in front of PYTHONPATH; NULL: nothing */
    struct rlimit files;     /* RLIMIT_NOFILE of the PEs */
};

/* One of the nodes that a job's PEs are on; PEs are dealt in the order of the nodes. */
struct job_node {
    struct node_key key;
    char name[NODE_NAME_MAX + 1];
    char data[NODE_ADDRESS_MAX + 1]; /* of its data plane */
    uint32_t first_pe, pes;
};

/* Where the PEs of a job are; the first node is this one, with or without PEs. */
struct job_span {
    const struct job_node *nodes;
    uint32_t count;
    uint64_t attempt;            /* of the reservation */
    struct courier courier;      /* to the others */
    const C4p__Prepare *prepare; /* what they need for it: bundle, python, session */
};

struct job_end {
    enum job_state state;
    int exit_code;
    const char *message;
    const char *tail, *text;
    size_t tail_size, text_size;
};

/* Who sees what the job does. Any of it may call back into the job, but not destroy it. */
struct job_listener {
    void (*changed)(void *context, uint64_t job, enum job_state state);
    void (*output)(void *context, uint64_t job); /* there is more in the transcript */
    void (*input_credit)(void *context, uint64_t job, uint32_t bytes, bool closed);
    /* May more be put into the transcript now? If not, job_resume() says when. */
    bool (*keeps_up)(void *context, uint64_t job);
    void (*ended)(void *context, uint64_t job, const struct job_end *end);
    /* What job_prepare() began is done. Or it cannot be: with `unfit`, that node is never to be asked
     * for this job again; the job is to be destroyed. Of jobs with a span only. */
    void (*prepared)(void *context, uint64_t job);
    void (*unprepared)(void *context, uint64_t job, const struct node_key *node, const char *why,
                       bool unfit);
    void *context;
};

#define JOB_ERROR_SIZE 256

/* What can be seen to be impossible before anything is made: -1 with a sentence. */
int job_check(const struct job_request *request, char error[JOB_ERROR_SIZE]);
/* The same, but for what must be on this host: none of its PEs may be here. */
int job_check_figures(const struct job_request *request, char error[JOB_ERROR_SIZE]);

/* NULL with a sentence in `error`. The transcript is borrowed, and must outlive the job. `span` NULL:
 * all PEs are here. */
struct job *job_create(uint64_t id, const struct job_request *request,
                       const struct job_place *place, const struct job_span *span,
                       struct transcript *transcript, const struct job_listener *listener,
                       char error[JOB_ERROR_SIZE]);
/* Kills what lives. NULL-safe. Not from within a listener. */
void job_destroy(struct job *job);

/* Make all nodes ready. True: they are. False: the listener will be told. */
bool job_prepare(struct job *job);
/* All are prepared: spawn the PEs. Trouble is told as the job's end. */
void job_start(struct job *job);
/* A node of it wrote, was lost (a sentence without its name), or has been started anew. */
void job_message(struct job *job, const struct node_key *from, const C4p__Peer *message);
void job_node_down(struct job *job, const struct node_key *node, const char *why);
void job_node_up(struct job *job, const struct node_key *node, uint64_t incarnation);
/* Followers have caught up: keeps_up may have another answer. */
void job_resume(struct job *job);

/* Standard input for PE 0; -1 if it is more than the credit given. */
int job_input(struct job *job, const void *data, size_t size, bool eof);
/* How much of it there is room for; *closed: none is read any more. */
uint32_t job_input_room(const struct job *job, bool *closed);

/* End it; `why` (NULL: somebody wanted it) becomes the message of its end. */
void job_cancel(struct job *job, bool kill, const char *why);
/* The same for a session, whose end is a success. */
void job_close(struct job *job, const char *why);
/* End it at once, without the event loop, and tell its end. */
void job_finish(struct job *job, const char *why);

/* Does a PE live? */
bool job_lives(const struct job *job);
struct router *job_router(struct job *job);

/* A child has ended and is not reaped yet. If it is a PE of the job, reap it and return true. */
bool job_child_died(struct job *job, pid_t pid);

#endif
