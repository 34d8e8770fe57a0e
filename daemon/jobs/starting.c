/*
 * How a job starts when all of its PEs are promised, and what is heard of it until it ends.
 *
 * One whose PEs are all here starts at once. With other nodes in it they are prepared first; if one
 * cannot be, the job goes back to its place in the queue.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "daemon/jobs/away.h"
#include "daemon/jobs/home.h"
#include "daemon/jobs/jobs_internal.h"
#include "daemon/jobs/span.h"
#include "daemon/jobs/submission.h"
#include "daemon/log.h"
#include "proto/clock.h"

/* A job that could not be prepared is tried again after this. */
#define AGAIN_MS 1500

/* ---- what a job that runs tells ---- */

static void on_changed(void *context, uint64_t id, enum job_state state)
{
    struct jobs *jobs = context;
    struct entry *entry = entry_find(jobs, id);
    char error[STORE_ERROR_SIZE];

    if (entry == NULL || job_state_final(state)) /* the end is told when it is recorded */
        return;
    entry->record.state = state;
    /* STARTING was written before; what lies between two states is of no use to who reads it. */
    if (state == JOB_RUNNING && jobs->store != NULL &&
        store_change(jobs->store, id, state, entry->record.pes, clock_day_ms(), error) != 0)
        store_failed(jobs, error);
    jobs->listener.changed(jobs->listener.context, id, state);
}

static void on_output(void *context, uint64_t id)
{
    struct jobs *jobs = context;

    jobs->listener.output(jobs->listener.context, id);
}

static void on_input_credit(void *context, uint64_t id, uint32_t bytes, bool closed)
{
    struct jobs *jobs = context;

    jobs->listener.input_credit(jobs->listener.context, id, bytes, closed);
}

static bool on_keeps_up(void *context, uint64_t id)
{
    struct jobs *jobs = context;

    return jobs->listener.keeps_up(jobs->listener.context, id);
}

static void on_ended(void *context, uint64_t id, const struct job_end *end)
{
    struct jobs *jobs = context;
    struct entry *entry = entry_find(jobs, id);

    if (entry == NULL)
        return;
    jobs->running--;
    entry_end(jobs, entry, end);
}

/* ---- nodes get ready ---- */

static void on_prepared(void *context, uint64_t id);

static void on_unprepared(void *context, uint64_t id, const struct node_key *node, const char *why,
                          bool unfit)
{
    struct jobs *jobs = context;
    struct entry *entry = entry_find(jobs, id);
    const struct member_record *record = post_find(jobs->settings.post, node);
    const char *name = record != NULL && record->has_facts ? record->facts.name : "?";

    if (entry == NULL)
        return;
    if (strncmp(why, "host ", 5) == 0)
        snprintf(entry->back_reason, sizeof(entry->back_reason), "%.300s", why);
    else
        snprintf(entry->back_reason, sizeof(entry->back_reason), "host %.63s: %.200s", name, why);
    log_write(LOG_INFO, jobs_subject(id), "goes back into the queue: %s", entry->back_reason);
    if (unfit)
        placing_unfit(jobs->placing, id, node, entry->back_reason);
    entry->back = true;
    entry->back_at = clock_ms() + (unfit ? 0 : AGAIN_MS);
    turn_soon(jobs);
}

/* ---- starting ---- */

static int job_make(struct jobs *jobs, struct entry *entry, const C4p__Submit *submit,
                    const struct job_span *span, char error[JOBS_REASON_SIZE])
{
    const struct job_listener listener = {.changed = on_changed,
                                          .output = on_output,
                                          .input_credit = on_input_credit,
                                          .keeps_up = on_keeps_up,
                                          .ended = on_ended,
                                          .prepared = on_prepared,
                                          .unprepared = on_unprepared,
                                          .context = jobs};
    struct submission submission;
    char mark[REMAINS_MARK_SIZE];
    struct transcript *transcript = entry_transcript(jobs, entry);

    if (transcript == NULL)
        return jobs_refuse(error, "cannot make the job's transcript: %s", strerror(errno));
    if (submission_init(&submission, submit, error) != 0)
        return -1;
    remains_mark(&jobs->remains, entry->id, mark);
    submission.request.mark = mark;
    submission.request.pes = entry->record.pes;
    submission.request.queued = entry->queued;
    entry->job =
        job_create(entry->id, &submission.request, jobs->place, span, transcript, &listener, error);
    submission_free(&submission);
    return entry->job == NULL ? -1 : 0;
}

/* The request of a job, as it was submitted. NULL with a sentence, and whether that may change. */
C4p__Submit *submit_fetch(struct jobs *jobs, const struct entry *entry, bool *later,
                          char error[STORE_ERROR_SIZE])
{
    size_t size;
    void *request = request_fetch(jobs, entry, &size, later, error);
    C4p__Submit *submit;

    if (request == NULL)
        return NULL;
    submit = c4p__submit__unpack(NULL, size, request);
    free(request);
    if (submit == NULL)
        snprintf(error, STORE_ERROR_SIZE, "job %s: what was stored of it makes no sense",
                 jobs_id_text(entry->id));
    return submit;
}

/* It goes back to where it was in the queue, and nothing starts until the store is well again. */
void entry_postpone(struct jobs *jobs, struct entry *entry, const char *error)
{
    home_end(entry);
    placing_back(jobs->placing, entry->id);
    entry->record.pes = entry->wanted;
    jobs->store_down = true;
    queue_update(jobs);
    if (queue_add(jobs->queue, entry->id, entry->record.order, entry->wanted,
                  entry->record.priority) != 0)
        entry_end_unstarted(jobs, entry, JOB_FAILED, 1, "the daemon is out of memory");
    store_failed(jobs, error);
}

void entry_back(struct jobs *jobs, struct entry *entry)
{
    entry->back = false;
    free(entry->hosts);
    entry->hosts = NULL;
    home_end(entry);
    jobs->running--;
    placing_back(jobs->placing, entry->id);
    entry->record.pes = entry->wanted;
    entry->record.state = JOB_QUEUED;
    if (queue_add(jobs->queue, entry->id, entry->record.order, entry->wanted,
                  entry->record.priority) != 0) {
        entry_end_unstarted(jobs, entry, JOB_FAILED, 1, "the daemon is out of memory");
        return;
    }
    queue_put_off(jobs->queue, entry->id, entry->back_at, entry->back_reason);
    jobs->listener.changed(jobs->listener.context, entry->id, JOB_QUEUED);
}

/* Before its first PE: an end without a record of the beginning would be run again. */
static int starting_record(struct jobs *jobs, struct entry *entry, char error[STORE_ERROR_SIZE])
{
    if (jobs->store != NULL && store_start(jobs->store, entry->id, entry->record.pes, entry->placed,
                                           entry->placed_size, clock_day_ms(), error) != 0)
        return -1;
    entry->record.started = clock_day_ms();
    return 0;
}

static void on_prepared(void *context, uint64_t id)
{
    struct jobs *jobs = context;
    struct entry *entry = entry_find(jobs, id);
    char error[STORE_ERROR_SIZE];

    if (entry == NULL || entry->job == NULL || entry->back)
        return;
    if (starting_record(jobs, entry, error) != 0) {
        snprintf(entry->back_reason, sizeof(entry->back_reason), "%s", error);
        entry->back = true;
        entry->back_at = clock_ms();
        jobs->store_down = true;
        queue_update(jobs);
        store_failed(jobs, error);
        turn_soon(jobs);
        return;
    }
    placing_settle(jobs->placing, id);
    job_start(entry->job);
}

static void entry_run(struct jobs *jobs, struct entry *entry)
{
    DL_APPEND(jobs->active, entry);
    jobs->running++;
    /* Who gets ready later says so. */
    if (job_prepare(entry->job))
        job_start(entry->job);
}

static void entry_start(struct jobs *jobs, struct entry *entry, const C4p__Submit *submit)
{
    char error[JOBS_REASON_SIZE];

    if (starting_record(jobs, entry, error) != 0)
        entry_postpone(jobs, entry, error);
    else if (job_make(jobs, entry, submit, NULL, error) != 0)
        entry_end_unstarted(jobs, entry, JOB_FAILED, 1, error);
    else
        entry_run(jobs, entry);
}

/* "b, c, d": those that are to get ready. */
static char *hosts_name(const struct job_span *span)
{
    char names[256] = "";
    size_t used = 0;

    for (uint32_t i = 1; i < span->count && used < sizeof(names) - NODE_NAME_MAX - 8; i++)
        used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", i > 1 ? ", " : "",
                                 span->nodes[i].name);
    return strdup(names);
}

static void entry_prepare(struct jobs *jobs, struct entry *entry, const C4p__Submit *submit,
                          const C4p__Submit *own, const struct reservation_part *parts,
                          size_t count)
{
    struct away_span away;
    char error[JOBS_REASON_SIZE];

    if (away_span_make(jobs, &away, entry, submit, parts, count, error) != 0) {
        /* One that had promised has gone meanwhile: as if it had not promised. */
        snprintf(entry->back_reason, sizeof(entry->back_reason), "%s", error);
        entry->back_at = clock_ms();
        jobs->running++;
        entry_back(jobs, entry);
    } else if (job_make(jobs, entry, own, &away.span, error) != 0) {
        entry_end_unstarted(jobs, entry, JOB_FAILED, 1, error);
    } else {
        free(entry->hosts);
        entry->hosts = hosts_name(&away.span);
        entry->placed = span_pack_hosts(&away.span, &entry->placed_size);
        entry_run(jobs, entry);
    }
    away_span_end(&away);
}

void entry_go(struct jobs *jobs, struct entry *entry, const C4p__Submit *submit,
              const C4p__Submit *own, const struct reservation_part *parts, size_t count)
{
    if (away_alone(jobs, parts, count))
        entry_start(jobs, entry, own);
    else
        entry_prepare(jobs, entry, submit, own, parts, count);
}

void entry_placed(struct jobs *jobs, struct entry *entry, uint64_t attempt,
                  const struct reservation_part *parts, size_t count)
{
    char error[JOBS_REASON_SIZE];
    C4p__Submit *submit;
    bool later;

    entry->attempt = attempt;
    free(entry->placed);
    entry->placed = NULL;
    entry->placed_size = 0;
    entry->record.pes = 0;
    for (size_t i = 0; i < count; i++)
        entry->record.pes += parts[i].pes;
    submit = submit_fetch(jobs, entry, &later, error);
    if (submit == NULL && later)
        entry_postpone(jobs, entry, error);
    else if (submit == NULL)
        entry_end_unstarted(jobs, entry, JOB_FAILED, 1, error);
    else if (!home_begin(jobs, entry, submit, parts, count))
        entry_go(jobs, entry, submit, submit, parts, count);
    if (submit != NULL)
        c4p__submit__free_unpacked(submit, NULL);
}
