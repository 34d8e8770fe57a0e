#include "daemon/jobs/life.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NONE JOB_STATES

/* clang-format off */
static const uint8_t next_state[JOB_STATES][JOB_EVENTS] = {
    /*                 admitted    chosen         reserved      spawned      succeeded      broke       stopped */
    [JOB_SUBMITTED] = {JOB_QUEUED, NONE,          NONE,         NONE,        NONE,          JOB_FAILED, JOB_CANCELLED},
    [JOB_QUEUED]    = {NONE,       JOB_RESERVING, NONE,         NONE,        NONE,          JOB_FAILED, JOB_CANCELLED},
    [JOB_RESERVING] = {NONE,       NONE,          JOB_STARTING, NONE,        NONE,          JOB_FAILED, JOB_CANCELLED},
    [JOB_STARTING]  = {NONE,       NONE,          NONE,         JOB_RUNNING, NONE,          JOB_FAILED, JOB_CANCELLED},
    [JOB_RUNNING]   = {NONE,       NONE,          NONE,         NONE,        JOB_COMPLETED, JOB_FAILED, JOB_CANCELLED},
    [JOB_COMPLETED] = {NONE,       NONE,          NONE,         NONE,        NONE,          NONE,       NONE},
    [JOB_FAILED]    = {NONE,       NONE,          NONE,         NONE,        NONE,          NONE,       NONE},
    [JOB_CANCELLED] = {NONE,       NONE,          NONE,         NONE,        NONE,          NONE,       NONE},
};
/* clang-format on */

const char *job_state_name(enum job_state state)
{
    static const char *const names[JOB_STATES] = {
        "submitted", "queued",    "reserving", "starting",
        "running",   "completed", "failed",    "cancelled",
    };

    return state < JOB_STATES ? names[state] : "unknown";
}

bool job_state_final(enum job_state state)
{
    return state >= JOB_COMPLETED;
}

enum job_state job_state_next(enum job_state state, enum job_event event)
{
    if (state >= JOB_STATES || event >= JOB_EVENTS)
        return JOB_STATES;
    return (enum job_state)next_state[state][event];
}

int life_init(struct job_life *life, uint32_t pes, int64_t now)
{
    memset(life, 0, sizeof(*life));
    life->pes = pes;
    life->since = now;
    life->blamed = LIFE_NOBODY;
    life->pe = calloc(pes, 1);
    if (life->pe == NULL) {
        errno = ENOMEM;
        return -1;
    }
    return 0;
}

void life_free(struct job_life *life)
{
    free(life->pe);
    life->pe = NULL;
}

static struct life_action *action_add(struct job_life *life, enum life_action_kind kind)
{
    struct life_action *action = &life->action[life->actions];

    /* No event asks for more than five; the last place catches a mistake without harm. */
    if (life->actions < LIFE_MAX_ACTIONS - 1)
        life->actions++;
    memset(action, 0, sizeof(*action));
    action->kind = kind;
    action->pe = LIFE_NOBODY;
    return action;
}

static void state_change(struct job_life *life, enum job_event event, int64_t now)
{
    enum job_state to = job_state_next(life->state, event);
    struct life_action *action;

    if (to == JOB_STATES)
        return;
    action = action_add(life, LIFE_CHANGED);
    action->from = life->state;
    action->to = to;
    action->elapsed_ms = now - life->since;
    life->state = to;
    life->since = now;
}

__attribute__((format(printf, 5, 6))) static void decide(struct job_life *life,
                                                         enum job_event outcome, int code,
                                                         uint32_t blamed, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    life->decided = true;
    life->outcome = outcome;
    life->exit_code = code;
    life->blamed = blamed;
    vsnprintf(life->message, sizeof(life->message), format, arguments);
    va_end(arguments);
}

/* Enter a phase of the way to the end; phases only ever move forward. */
static void phase_enter(struct job_life *life, enum life_phase phase, int64_t now)
{
    if (phase <= life->phase)
        return;
    life->phase = phase;
    if (phase == PHASE_TERM)
        action_add(life, LIFE_SIGNAL)->signal = SIGTERM;
    if (phase == PHASE_KILL) {
        action_add(life, LIFE_SIGNAL)->signal = SIGKILL;
        return;
    }
    life->deadline = now + (phase == PHASE_STOP ? LIFE_STOP_MS : LIFE_TERM_MS);
    action_add(life, LIFE_WAKE_AT)->at = life->deadline;
}

/* The outcome is known: tell everybody but `except`, and give them a moment. */
static void stop_begin(struct job_life *life, uint32_t except, int64_t now)
{
    action_add(life, LIFE_TELL_STOP)->pe = except;
    phase_enter(life, PHASE_STOP, now);
}

static bool has_started(const struct job_life *life, uint32_t *pe)
{
    for (uint32_t i = 0; i < life->pes; i++)
        if (life->pe[i] == PE_STARTED) {
            *pe = i;
            return true;
        }
    return false;
}

/* A PE that is done without charm.start() and one that has called it: the second waits for ever. */
static void check_all_start(struct job_life *life, uint32_t done, int64_t now)
{
    uint32_t started;

    if (life->decided || life->done == 0 || !has_started(life, &started))
        return;
    if (done == LIFE_NOBODY)
        for (uint32_t i = 0; i < life->pes; i++)
            if (life->pe[i] == PE_GONE)
                done = i;
    decide(life, JOB_BROKE, 1, LIFE_NOBODY,
           "PE %u ended without calling charm.start(), but PE %u has called it "
           "(every PE must call it)",
           done, started);
    stop_begin(life, LIFE_NOBODY, now);
}

static void pe_started(struct job_life *life, const struct life_event *event, int64_t now)
{
    if (life->pe[event->pe] != PE_SPAWNED)
        return;
    life->pe[event->pe] = PE_STARTED;
    check_all_start(life, LIFE_NOBODY, now);
}

static void program_exit(struct job_life *life, const struct life_event *event, int64_t now)
{
    enum job_event outcome = event->code == 0 ? JOB_SUCCEEDED : JOB_BROKE;

    if (life->pe[event->pe] == PE_ABSENT)
        return;
    if (!life->decided) {
        decide(life, outcome, event->code, LIFE_NOBODY, "%s", "");
        life->by_exit = true;
        stop_begin(life, event->pe, now);
    } else if (life->by_exit && life->exit_code == 0 && event->code != 0) {
        decide(life, outcome, event->code, LIFE_NOBODY, "%s", "");
    }
}

static void death_judge(struct job_life *life, const struct life_event *event, bool started,
                        int64_t now)
{
    uint32_t pe = event->pe;

    if (event->signal != 0) {
        const char *name = sigabbrev_np(event->signal);

        decide(life, JOB_BROKE, 1, pe, "PE %u on host %s was killed by signal %d%s%s%s", pe,
               event->text, event->signal, name ? " (SIG" : "", name ? name : "", name ? ")" : "");
    } else if (started) {
        decide(life, JOB_BROKE, 1, pe,
               "PE %u ended with exit code %d in the middle of the program, without charm.exit()",
               pe, event->code);
    } else if (event->code != 0) {
        /* What it had to say is on the screen already. */
        decide(life, JOB_BROKE, event->code, LIFE_NOBODY,
               "PE %u ended with exit code %d before charm.start()", pe, event->code);
    } else {
        life->done++;
        if (life->done == life->pes)
            decide(life, JOB_SUCCEEDED, 0, LIFE_NOBODY, "%s", "");
        else
            check_all_start(life, pe, now);
        return;
    }
    stop_begin(life, pe, now);
}

static void pe_died(struct job_life *life, const struct life_event *event, int64_t now)
{
    uint8_t before = life->pe[event->pe];

    if (before != PE_SPAWNED && before != PE_STARTED)
        return;
    life->pe[event->pe] = PE_GONE;
    life->living--;
    if (!life->decided)
        death_judge(life, event, before == PE_STARTED, now);
}

/* Others may wait for what was there, so the job cannot go on; what is left of it is told to stop. */
static void node_lost(struct job_life *life, const struct life_event *event, int64_t now)
{
    for (uint32_t i = 0; i < event->pes && event->pe < life->pes && i < life->pes - event->pe;
         i++) {
        uint8_t *pe = &life->pe[event->pe + i];

        if (*pe == PE_SPAWNED || *pe == PE_STARTED)
            life->living--;
        *pe = PE_GONE;
    }
    if (!life->decided)
        decide(life, JOB_BROKE, 1, LIFE_NOBODY, "%s", event->text);
    stop_begin(life, LIFE_NOBODY, now);
}

static void cancel(struct job_life *life, const char *why, enum life_phase phase, int64_t now)
{
    if (!life->decided)
        decide(life, JOB_STOPPED, LIFE_EXIT_CANCELLED, LIFE_NOBODY, "%s",
               why != NULL ? why : "the job was cancelled");
    phase_enter(life, phase, now);
}

/* Only what runs can complete: what is to be closed before that is cancelled. */
static void close_session(struct job_life *life, const char *why, int64_t now)
{
    if (life->state != JOB_RUNNING) {
        cancel(life, why, PHASE_TERM, now);
    } else if (!life->decided) {
        decide(life, JOB_SUCCEEDED, 0, LIFE_NOBODY, "%s", why != NULL ? why : "");
        stop_begin(life, LIFE_NOBODY, now);
    }
}

static void too_long(struct job_life *life, const char *limit, int64_t now)
{
    if (life->decided)
        return;
    decide(life, JOB_BROKE, LIFE_EXIT_TIME_LIMIT, LIFE_NOBODY, "the time limit of %s is reached",
           limit);
    phase_enter(life, PHASE_TERM, now);
}

static void timer(struct job_life *life, int64_t now)
{
    if (life->phase != PHASE_STOP && life->phase != PHASE_TERM)
        return;
    if (now < life->deadline) { /* timers may be early */
        action_add(life, LIFE_WAKE_AT)->at = life->deadline;
        return;
    }
    phase_enter(life, life->phase == PHASE_STOP ? PHASE_TERM : PHASE_KILL, now);
}

void life_input(struct job_life *life, const struct life_event *event, int64_t now)
{
    life->actions = 0;
    if (job_state_final(life->state))
        return;
    switch (event->kind) {
    case LIFE_STEP:
        if (event->step <= JOB_SPAWNED)
            state_change(life, event->step, now);
        break;
    case LIFE_PE_SPAWNED:
        if (event->pe < life->pes && life->pe[event->pe] == PE_ABSENT) {
            life->pe[event->pe] = PE_SPAWNED;
            life->living++;
        }
        break;
    case LIFE_SPAWN_FAILED:
        if (!life->decided)
            decide(life, JOB_BROKE, 1, LIFE_NOBODY, "%s", event->text);
        phase_enter(life, PHASE_KILL, now);
        break;
    case LIFE_PE_STARTED:
        if (event->pe < life->pes)
            pe_started(life, event, now);
        break;
    case LIFE_EXIT:
        if (event->pe < life->pes)
            program_exit(life, event, now);
        break;
    case LIFE_PE_DIED:
        if (event->pe < life->pes)
            pe_died(life, event, now);
        break;
    case LIFE_BROKEN:
        if (!life->decided)
            decide(life, JOB_BROKE, 1, LIFE_NOBODY, "%s", event->text);
        /* Nobody can be told anything through what is broken. */
        phase_enter(life, PHASE_TERM, now);
        break;
    case LIFE_LOST:
        node_lost(life, event, now);
        break;
    case LIFE_CANCEL:
        cancel(life, event->text, PHASE_TERM, now);
        break;
    case LIFE_KILL:
        cancel(life, event->text, PHASE_KILL, now);
        break;
    case LIFE_CLOSE:
        close_session(life, event->text, now);
        break;
    case LIFE_TOO_LONG:
        too_long(life, event->text, now);
        break;
    case LIFE_TIMER:
        timer(life, now);
        break;
    }
    if (life->decided && life->living == 0) {
        state_change(life, life->outcome, now);
        action_add(life, LIFE_OVER);
    }
}
