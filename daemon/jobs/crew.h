/*
 * A crew: the PEs of one job on one node. A job has one or more of them.
 *
 * struct crew is what the job (job.c) sees of each; where its PEs are is behind its operations. Here
 * they are processes of this daemon (local_crew.h), elsewhere they are another daemon's, and letters
 * go to and fro (remote_crew.h). PEs have their numbers in the job everywhere: a crew has first_pe ..
 * first_pe + pes - 1.
 *
 * A crew is made, prepared (then its segment and router exist), launched once, and tells its listener
 * what happens, in order. What its PEs write goes to the listener as it is read, as far as that has
 * room: who makes lines of it is the job. It is done when crew_quiet() says so; destroying it before
 * that kills what lives.
 */
#ifndef C4P_DAEMON_JOBS_CREW_H
#define C4P_DAEMON_JOBS_CREW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/jobs/output.h"
#include "proto/cluster.pb-c.h"

struct crew;

/* What happens in a crew. None of it may destroy the crew. */
struct crew_listener {
    /* crew_prepare() was not done at once, and now it is: or it cannot be, and `unfit` says that it
     * is no use to ask that node again. */
    void (*prepared)(void *context, struct crew *crew);
    void (*unprepared)(void *context, struct crew *crew, const char *why, bool unfit);

    void (*pe_spawned)(void *context, uint32_t pe);
    void (*spawned)(void *context, struct crew *crew); /* all of them */
    void (*spawn_failed)(void *context, const char *why);
    /* Before these two everything was handed over that the PE had written. */
    void (*started)(void *context, uint32_t pe);
    void (*died)(void *context, uint32_t pe, const char *host, int code, int signal);
    /* C4P_EXIT: the first of the crew, and the first whose code is not 0. */
    void (*exited)(void *context, uint32_t pe, int32_t code, const char *text, size_t size);
    /* The PEs cannot go on: `what` is a whole sentence. */
    void (*broken)(void *context, const char *what);
    /* Nothing goes to or comes from that other node of the job any more. */
    void (*parted)(void *context, struct crew *crew, uint32_t node, const char *why);
    /* Its node cannot be reached any more: nothing else comes. `why` is without its name. */
    void (*lost)(void *context, struct crew *crew, const char *why);

    /* Output: where to, how much came, that a stream is at its end; as in output.h. Then pump(). */
    char *(*room)(void *context, uint32_t pe, enum output_stream stream, size_t *room);
    void (*filled)(void *context, uint32_t pe, enum output_stream stream, size_t size);
    void (*ended)(void *context, uint32_t pe, enum output_stream stream);
    void (*pump)(void *context);

    void (*input_credit)(void *context, uint32_t bytes, bool closed);
    void *context;
};

struct crew_operations {
    bool (*prepare)(struct crew *crew);
    void (*launch)(struct crew *crew);
    void (*stop_pes)(struct crew *crew, uint32_t except);
    void (*signal)(struct crew *crew, int number);
    bool (*resume)(struct crew *crew);
    bool (*quiet)(const struct crew *crew);
    int (*input)(struct crew *crew, const void *data, size_t size, bool eof);
    uint32_t (*input_room)(const struct crew *crew, bool *closed);
    bool (*child_died)(struct crew *crew, pid_t pid);
    void (*finish)(struct crew *crew);
    void (*message)(struct crew *crew, const C4p__Peer *message);
    void (*node_down)(struct crew *crew, const char *why);
    void (*node_up)(struct crew *crew, uint64_t incarnation);
    void (*destroy)(struct crew *crew);
};

/* The first member of each kind. */
struct crew {
    const struct crew_operations *operations;
    uint32_t node, first_pe, pes;
    struct crew_listener listener;
};

/* True: it is prepared. False: the listener will be told. */
static inline bool crew_prepare(struct crew *crew)
{
    return crew->operations->prepare(crew);
}

/* Spawn the PEs. */
static inline void crew_launch(struct crew *crew)
{
    crew->operations->launch(crew);
}

/* C4P_STOP to all PEs but one (UINT32_MAX: to all). */
static inline void crew_stop_pes(struct crew *crew, uint32_t except)
{
    crew->operations->stop_pes(crew, except);
}

/* A signal to the process group of every PE that lives. */
static inline void crew_signal(struct crew *crew, int number)
{
    crew->operations->signal(crew, number);
}

/* There may be room for output that had none. True: some was handed over, or a stream read again. */
static inline bool crew_resume(struct crew *crew)
{
    return crew->operations->resume(crew);
}

/* No PE lives, and all that they wrote was handed over. */
static inline bool crew_quiet(const struct crew *crew)
{
    return crew->operations->quiet(crew);
}

/* Standard input for PE 0; -1 if it is more than the credit given. */
static inline int crew_input(struct crew *crew, const void *data, size_t size, bool eof)
{
    return crew->operations->input(crew, data, size, eof);
}

/* How much of it there is room for; *closed: none is read any more. */
static inline uint32_t crew_input_room(const struct crew *crew, bool *closed)
{
    return crew->operations->input_room(crew, closed);
}

/* A child has ended and is not reaped yet. If it is a PE of the crew, reap it and return true. */
static inline bool crew_child_died(struct crew *crew, pid_t pid)
{
    return crew->operations->child_died(crew, pid);
}

/* SIGKILL was sent: wait for the ends of all PEs, without the event loop. */
static inline void crew_finish(struct crew *crew)
{
    crew->operations->finish(crew);
}

/* Its node wrote, was lost, or is there in this life. Nothing to a crew that is here. */
static inline void crew_message(struct crew *crew, const C4p__Peer *message)
{
    if (crew->operations->message != NULL)
        crew->operations->message(crew, message);
}

static inline void crew_node_down(struct crew *crew, const char *why)
{
    if (crew->operations->node_down != NULL)
        crew->operations->node_down(crew, why);
}

static inline void crew_node_up(struct crew *crew, uint64_t incarnation)
{
    if (crew->operations->node_up != NULL)
        crew->operations->node_up(crew, incarnation);
}

static inline void crew_destroy(struct crew *crew)
{
    if (crew != NULL)
        crew->operations->destroy(crew);
}

#endif
