/*
 * The life of a job, decided without doing anything: events go in, actions
 * come out, the clock is an argument. job.c carries the actions out.
 *
 *   submitted -> queued -> reserving -> starting -> running -> completed | failed | cancelled
 *
 * The table of states is in life.c. Under it lies the way to the end. The
 * first thing that ends the program (C4P_EXIT, the death of a PE, a cancel,
 * its time limit) fixes the outcome; then everybody is told to stop, and who does not gets
 * SIGTERM and SIGKILL. When no PE is left the job takes its last state.
 */
#ifndef C4P_DAEMON_JOBS_LIFE_H
#define C4P_DAEMON_JOBS_LIFE_H

#include <stdbool.h>
#include <stdint.h>

enum job_state {
    JOB_SUBMITTED = 0,
    JOB_QUEUED,
    JOB_RESERVING,
    JOB_STARTING,
    JOB_RUNNING,
    JOB_COMPLETED,
    JOB_FAILED,
    JOB_CANCELLED,
    JOB_STATES
};

enum job_event {
    JOB_ADMITTED = 0,
    JOB_CHOSEN, /* its turn: PEs are being reserved */
    JOB_RESERVED,
    JOB_SPAWNED, /* every PE is a process */
    JOB_SUCCEEDED,
    JOB_BROKE,
    JOB_STOPPED,
    JOB_EVENTS
};

const char *job_state_name(enum job_state state);
bool job_state_final(enum job_state state);

/* The state after an event; JOB_STATES if the event cannot happen in this state. */
enum job_state job_state_next(enum job_state state, enum job_event event);

/* How long who was told to stop may take, and then how long who got SIGTERM may. */
#define LIFE_STOP_MS 100
#define LIFE_TERM_MS 400

#define LIFE_EXIT_CANCELLED 130
#define LIFE_EXIT_TIME_LIMIT 124
#define LIFE_NOBODY UINT32_MAX

/* What may happen to a job. */
enum life_event_kind {
    LIFE_STEP,         /* `step`, one of JOB_ADMITTED .. JOB_SPAWNED */
    LIFE_PE_SPAWNED,   /* pe: it is a process now */
    LIFE_SPAWN_FAILED, /* text: why */
    LIFE_PE_STARTED,   /* pe has called charm.start() */
    LIFE_EXIT,         /* pe ends the program with code */
    LIFE_PE_DIED, /* pe, on the host `text`, ended: by signal if that is not 0, else with code */
    LIFE_BROKEN,  /* text: why the PEs cannot go on (their segment is corrupt ...) */
    LIFE_LOST,    /* text: the node of `pes` PEs from pe on cannot be reached: they are gone */
    LIFE_CANCEL,  /* text: why, NULL: somebody wanted it */
    LIFE_KILL,    /* no grace; the outcome is that of a cancel unless there is one; text as there */
    LIFE_CLOSE,   /* a session is done: all are to stop, which is a success; text: why, or NULL */
    LIFE_TOO_LONG, /* text: the time limit, which it has reached */
    LIFE_TIMER     /* the time asked for has come */
};

struct life_event {
    enum life_event_kind kind;
    enum job_event step;
    uint32_t pe, pes;
    int code;
    int signal;
    const char *text;
};

enum life_action_kind {
    LIFE_CHANGED,   /* the state is another one: log it, tell the follower */
    LIFE_TELL_STOP, /* C4P_STOP to every PE but `pe` */
    LIFE_SIGNAL,    /* `signal` to the process group of every PE that lives */
    LIFE_WAKE_AT,   /* a LIFE_TIMER at `at` */
    LIFE_OVER       /* no PE is left and the outcome is known */
};

struct life_action {
    enum life_action_kind kind;
    enum job_state from, to;
    int64_t elapsed_ms; /* of LIFE_CHANGED: time spent in `from` */
    uint32_t pe;
    int signal;
    int64_t at;
};

#define LIFE_MAX_ACTIONS 8

enum pe_status { PE_ABSENT = 0, PE_SPAWNED, PE_STARTED, PE_GONE };
enum life_phase { PHASE_RUN = 0, PHASE_STOP, PHASE_TERM, PHASE_KILL };

struct job_life {
    enum job_state state;
    int64_t since; /* when the state was entered, in ms */
    enum life_phase phase;
    int64_t deadline; /* of PHASE_STOP and PHASE_TERM */
    bool decided;     /* outcome, exit_code, message and blamed are valid */
    bool by_exit;     /* the outcome came from C4P_EXIT */
    enum job_event outcome;
    int exit_code;
    uint32_t blamed; /* the PE whose last words explain it, or LIFE_NOBODY */
    char message[256];
    uint32_t pes, living, done; /* done: ended with 0 before charm.start() */
    uint8_t *pe;                /* enum pe_status of each */
    unsigned actions;
    struct life_action action[LIFE_MAX_ACTIONS];
};

/* -1 with errno ENOMEM. */
int life_init(struct job_life *life, uint32_t pes, int64_t now);
void life_free(struct job_life *life);

/* Take an event in; the actions it asks for replace those in life->action. */
void life_input(struct job_life *life, const struct life_event *event, int64_t now);

#endif
