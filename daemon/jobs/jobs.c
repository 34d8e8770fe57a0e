#define _GNU_SOURCE
#include "daemon/jobs/jobs.h"

#include <errno.h>
#include <event2/event.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include <utlist.h>

#include "daemon/jobs/away.h"
#include "daemon/jobs/home.h"
#include "daemon/jobs/jobs_internal.h"
#include "daemon/jobs/turns.h"
#include "daemon/log.h"
#include "proto/clock.h"

#define RETRY_SECONDS 3

int jobs_refuse(char reason[JOBS_REASON_SIZE], const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(reason, JOBS_REASON_SIZE, format, arguments);
    va_end(arguments);
    return -1;
}

const char *jobs_id_text(uint64_t id)
{
    static char text[CONTROL_ID_CHARS + 1];

    control_id_format(id, text);
    return text;
}

const char *jobs_subject(uint64_t id)
{
    static char text[sizeof("job ") + CONTROL_ID_CHARS];

    snprintf(text, sizeof(text), "job %s", jobs_id_text(id));
    return text;
}

void turn_soon(struct jobs *jobs)
{
    event_add(jobs->turn, &(struct timeval){0, 0});
}

/* ---- the store ---- */

void queue_update(struct jobs *jobs)
{
    queue_stop(jobs->queue, jobs->draining || jobs->store_down);
}

void store_failed(struct jobs *jobs, const char *sentence)
{
    bool news = strcmp(jobs->trouble, sentence) != 0;

    snprintf(jobs->trouble, sizeof(jobs->trouble), "%s", sentence);
    /* Not put off by what fails meanwhile. */
    if (!event_pending(jobs->retry, EV_TIMEOUT, NULL))
        event_add(jobs->retry, &(struct timeval){RETRY_SECONDS, 0});
    if (news) {
        log_write(LOG_ERROR, "store", "%s", sentence);
        jobs->listener.trouble(jobs->listener.context, NULL);
    }
}

static void jobs_on_retry(evutil_socket_t fd, short what, void *argument)
{
    struct jobs *jobs = argument;
    char error[STORE_ERROR_SIZE] = "";

    (void)fd;
    (void)what;
    if (store_retry(jobs->store, error) > 0 || error[0] != '\0' ||
        store_accepts(jobs->store, error) != 0) {
        store_failed(jobs, error);
        return;
    }
    log_write(LOG_INFO, "store", "the trouble is over: %s", jobs->trouble);
    jobs->trouble[0] = '\0';
    jobs->store_down = false;
    queue_update(jobs);
    turn_soon(jobs);
    jobs->listener.queue_moved(jobs->listener.context);
    jobs->listener.trouble(jobs->listener.context, NULL);
}

const char *jobs_trouble(const struct jobs *jobs)
{
    return jobs->trouble;
}

/* ---- the end of a job ---- */

/* Recorded first, then told. */
void entry_end(struct jobs *jobs, struct entry *entry, const struct job_end *end)
{
    char error[STORE_ERROR_SIZE];

    entry_set_end(entry, end, clock_day_ms());
    if (jobs->store != NULL && store_end(jobs->store, &entry->record, error) != 0)
        store_failed(jobs, error);
    log_write(LOG_INFO, jobs_subject(entry->id), "%s, code %d%s%s", job_state_name(end->state),
              end->exit_code, *end->message ? ": " : "", end->message);
    placing_end(jobs->placing, entry->id);
    home_end(entry);
    entry_unpin(jobs, entry);
    if (entry->record.session)
        jobs->sessions--;
    jobs->ended = true;
    turn_soon(jobs);
    jobs->listener.changed(jobs->listener.context, entry->id, end->state);
    jobs->listener.ended(jobs->listener.context, entry->id);
}

void entry_end_unstarted(struct jobs *jobs, struct entry *entry, enum job_state state,
                         int exit_code, const char *message)
{
    const struct job_end end = {
        .state = state, .exit_code = exit_code, .message = message, .tail = "", .text = ""};

    entry_end(jobs, entry, &end);
}

/* ---- a turn: what must not happen in the middle of something else ---- */

static void active_bury(struct jobs *jobs)
{
    struct entry *entry, *next;

    DL_FOREACH_SAFE(jobs->active, entry, next)
    {
        if (!job_state_final(entry->record.state) && !entry->back)
            continue;
        DL_DELETE(jobs->active, entry);
        job_destroy(entry->job);
        entry->job = NULL;
        if (!job_state_final(entry->record.state))
            entry_back(jobs, entry);
    }
}

static bool job_runs(void *context, uint64_t id)
{
    const struct entry *entry = entry_find(context, id);

    return (entry != NULL && entry->job != NULL) || away_have(context, id);
}

/* Over, buried, and read by nobody: the store remembers it. */
static void entries_drop(struct jobs *jobs)
{
    struct entry *entry, *next;

    HASH_ITER(hh, jobs->entries, entry, next)
    {
        if (!job_state_final(entry->record.state) || entry->job != NULL || entry->read)
            continue;
        if (jobs->store != NULL || entry->forgotten)
            entry_destroy(jobs, entry);
    }
}

static void jobs_on_turn(evutil_socket_t fd, short what, void *argument)
{
    struct jobs *jobs = argument;

    (void)fd;
    (void)what;
    active_bury(jobs);
    if (jobs->ended || jobs->orphans)
        remains_sweep(&jobs->remains, job_runs, jobs);
    if (jobs->ended)
        history_trim(jobs);
    entries_drop(jobs);
    /* A daemon that has nothing to do for days need not keep what many jobs took. */
    if (jobs->ended && jobs->store != NULL && jobs->active == NULL &&
        queue_length(jobs->queue) == 0)
        malloc_trim(0);
    jobs->ended = jobs->orphans = false;
    away_look(jobs);
    turns_go(jobs);
}

/* ---- what can be done to a job ---- */

/* A job that is not over; else a sentence. */
static struct entry *entry_open(struct jobs *jobs, uint64_t id, char reason[JOBS_REASON_SIZE])
{
    struct entry *entry = entry_find(jobs, id);
    enum job_state state;

    if (entry != NULL && !job_state_final(entry->record.state))
        return entry;
    if (!jobs_state(jobs, id, &state, reason))
        jobs_refuse(reason, "there is no job %s", jobs_id_text(id));
    else
        jobs_refuse(reason, "job %s is over: %s", jobs_id_text(id), job_state_name(state));
    return NULL;
}

int jobs_cancel(struct jobs *jobs, uint64_t id, bool kill, char reason[JOBS_REASON_SIZE])
{
    struct entry *entry = entry_open(jobs, id, reason);

    if (entry == NULL)
        return -1;
    if (entry->job != NULL)
        job_cancel(entry->job, kill, NULL);
    else if (queue_remove(jobs->queue, id) || home_waits(entry))
        entry_end_unstarted(jobs, entry, JOB_CANCELLED, LIFE_EXIT_CANCELLED,
                            "the job was cancelled before it started");
    return 0;
}

int jobs_close(struct jobs *jobs, uint64_t id, const char *why, char reason[JOBS_REASON_SIZE])
{
    struct entry *entry = entry_open(jobs, id, reason);

    if (entry == NULL)
        return -1;
    if (!entry->record.session)
        return jobs_refuse(reason, "job %s is no session: cancel it", jobs_id_text(id));
    if (entry->job != NULL)
        job_close(entry->job, why);
    else if (queue_remove(jobs->queue, id) || home_waits(entry))
        entry_end_unstarted(jobs, entry, JOB_CANCELLED, LIFE_EXIT_CANCELLED,
                            why != NULL ? why : "the session was closed before it started");
    return 0;
}

int jobs_input(struct jobs *jobs, uint64_t id, const void *data, size_t size, bool eof,
               char reason[JOBS_REASON_SIZE])
{
    struct entry *entry = entry_open(jobs, id, reason);

    if (entry == NULL)
        return -1;
    if (entry->job == NULL)
        return jobs_refuse(reason, "job %s has not started: there is no credit for input",
                           jobs_id_text(id));
    if (job_input(entry->job, data, size, eof) != 0)
        return jobs_refuse(reason, "%zu bytes of input are more than there is credit for", size);
    return 0;
}

uint32_t jobs_input_room(struct jobs *jobs, uint64_t id, bool *closed)
{
    struct entry *entry = entry_find(jobs, id);

    *closed = false;
    if (entry == NULL || entry->job == NULL)
        return 0;
    return job_input_room(entry->job, closed);
}

bool jobs_state(struct jobs *jobs, uint64_t id, enum job_state *state,
                char reason[JOBS_REASON_SIZE])
{
    struct entry *entry = entry_load(jobs, id);

    reason[0] = '\0';
    if (entry == NULL)
        return false;
    *state = entry->record.state;
    entry_reason(jobs, entry, reason);
    return true;
}

void jobs_resume(struct jobs *jobs, uint64_t id)
{
    struct entry *entry = entry_find(jobs, id);

    if (entry != NULL && entry->job != NULL)
        job_resume(entry->job);
}

struct router *jobs_router(struct jobs *jobs, uint64_t id)
{
    struct entry *entry = entry_find(jobs, id);

    if (entry == NULL || entry->job == NULL || entry->record.state != JOB_RUNNING)
        return NULL;
    return job_router(entry->job);
}

bool jobs_child_died(struct jobs *jobs, pid_t pid)
{
    struct entry *entry;

    DL_FOREACH(jobs->active, entry)
    {
        if (job_child_died(entry->job, pid))
            return true;
    }
    if (away_child_died(jobs, pid))
        return true;
    /* An orphan of a job; when it is reaped its own children come to us. */
    jobs->orphans = true;
    turn_soon(jobs);
    return false;
}

/* ---- all of them ---- */

void jobs_drain(struct jobs *jobs)
{
    jobs->draining = true;
    queue_update(jobs);
    placing_stop(jobs->placing, true);
    turn_soon(jobs);
}

void jobs_stop(struct jobs *jobs, bool kill)
{
    struct entry *entry;

    jobs_drain(jobs);
    DL_FOREACH(jobs->active, entry)
    {
        job_cancel(entry->job, kill, "the job was cancelled: the daemon was stopped");
    }
    away_stop(jobs, kill);
}

bool jobs_idle(const struct jobs *jobs)
{
    const struct entry *entry;

    DL_FOREACH(jobs->active, entry)
    {
        if (job_lives(entry->job))
            return false;
    }
    return away_idle(jobs);
}

void jobs_configure(struct jobs *jobs, const struct jobs_settings *settings)
{
    const struct jobs_settings before = jobs->settings;

    jobs->settings = *settings;
    jobs->settings.state_dir = before.state_dir;
    jobs->settings.post = before.post;
    jobs->settings.bundles = before.bundles;
    jobs->settings.probes = before.probes;
    jobs->settings.provisions = before.provisions;
    placing_resize(jobs->placing, settings->slots);
    history_trim(jobs);
    turn_soon(jobs);
}

struct jobs_figures jobs_figures(const struct jobs *jobs)
{
    return (struct jobs_figures){
        .slots = jobs->settings.slots,
        .used = placing_figures(jobs->placing).used,
        .queued = queue_length(jobs->queue),
        .running = jobs->running,
        .sessions = jobs->sessions,
        .quarantined = jobs->store != NULL ? store_quarantined(jobs->store) : 0,
    };
}

/* ---- start and end ---- */

static void on_store_trouble(void *context, const char *sentence)
{
    struct jobs *jobs = context;

    log_write(LOG_ERROR, "store", "%s", sentence);
    jobs->listener.trouble(jobs->listener.context, sentence);
}

static int store_begin(struct jobs *jobs, enum store_open_result *result, char *error)
{
    unsigned killed;

    if (remains_kill(&jobs->remains, &killed) != 0) {
        *result = STORE_TRANSIENT;
        snprintf(error, STORE_ERROR_SIZE,
                 "processes that jobs of an earlier daemon left behind do not end (look for %s in "
                 "/proc/*/environ)",
                 jobs->remains.instance);
        return -1;
    }
    if (killed > 0)
        log_write(LOG_WARNING, "jobs", "%u processes of an earlier daemon's jobs were killed",
                  killed);
    *result = store_open(&jobs->store, jobs->state_dir, on_store_trouble, jobs, error);
    if (*result != STORE_OPEN)
        return -1;
    if (history_recover(jobs, error) != 0) {
        *result = STORE_TRANSIENT;
        return -1;
    }
    history_trim(jobs);
    history_clean(jobs);
    return 0;
}

static int jobs_open(struct jobs *jobs, enum store_open_result *result, char *error)
{
    const char *state_dir = jobs->settings.state_dir;

    *result = STORE_TRANSIENT;
    jobs->turn = event_new(jobs->place->base, -1, 0, jobs_on_turn, jobs);
    jobs->retry = event_new(jobs->place->base, -1, 0, jobs_on_retry, jobs);
    if (jobs->turn == NULL || jobs->retry == NULL || turns_open(jobs) != 0 ||
        away_open(jobs) != 0) {
        snprintf(error, STORE_ERROR_SIZE, "the daemon is out of memory");
        return -1;
    }
    if (state_dir != NULL)
        snprintf(jobs->state_dir, sizeof(jobs->state_dir), "%s", state_dir);
    if (remains_open(&jobs->remains, state_dir) != 0) {
        snprintf(error, STORE_ERROR_SIZE, "%.200s/instance: %s", state_dir != NULL ? state_dir : "",
                 strerror(errno));
        return -1;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (state_dir != NULL && store_begin(jobs, result, error) != 0)
        return -1;
    *result = STORE_OPEN;
    turn_soon(jobs);
    return 0;
}

struct jobs *jobs_create(const struct job_place *place, const struct jobs_settings *settings,
                         const struct jobs_listener *listener, enum store_open_result *result,
                         char *error)
{
    struct jobs *jobs = calloc(1, sizeof(*jobs));

    if (jobs == NULL) {
        *result = STORE_TRANSIENT;
        snprintf(error, STORE_ERROR_SIZE, "the daemon is out of memory");
        return NULL;
    }
    jobs->place = place;
    jobs->settings = *settings;
    jobs->listener = *listener;
    if (jobs_open(jobs, result, error) != 0) {
        jobs_destroy(jobs);
        return NULL;
    }
    return jobs;
}

static void no_change(void *context, uint64_t id, enum job_state state)
{
    (void)context, (void)id, (void)state;
}

static void no_news(void *context, uint64_t id)
{
    (void)context, (void)id;
}

static void no_move(void *context)
{
    (void)context;
}

static void no_credit(void *context, uint64_t id, uint32_t bytes, bool closed)
{
    (void)context, (void)id, (void)bytes, (void)closed;
}

static void no_trouble(void *context, const char *sentence)
{
    (void)context, (void)sentence;
}

void jobs_destroy(struct jobs *jobs)
{
    struct entry *entry, *next;
    unsigned killed;

    if (jobs == NULL)
        return;
    /* Who listens is on the way out as well. */
    jobs->listener = (struct jobs_listener){.changed = no_change,
                                            .queue_moved = no_move,
                                            .output = no_news,
                                            .input_credit = no_credit,
                                            .ended = no_news,
                                            .keeps_up = jobs->listener.keeps_up,
                                            .trouble = no_trouble};
    DL_FOREACH(jobs->active, entry)
    {
        if (!job_state_final(entry->record.state))
            job_finish(entry->job, "the job was cancelled: the daemon was stopped");
    }
    active_bury(jobs);
    away_close(jobs);
    /* Of what is killed now the children come to us; of what is killed later, to nobody. */
    if (jobs->store != NULL)
        remains_kill(&jobs->remains, &killed);
    else if (jobs->queue != NULL)
        remains_sweep(&jobs->remains, job_runs, jobs);
    HASH_ITER(hh, jobs->entries, entry, next)
    {
        entry_destroy(jobs, entry);
    }
    store_close(jobs->store);
    turns_close(jobs);
    if (jobs->turn != NULL)
        event_free(jobs->turn);
    if (jobs->retry != NULL)
        event_free(jobs->retry);
    free(jobs);
}
