#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "daemon/jobs/jobs_internal.h"

/* Arguments that are shown of a job, in bytes; more is not needed to recognise it. */
#define MAX_SHOWN 4096

struct listing {
    struct jobs *jobs;
    bool narrow; /* a few jobs, so that each may be looked at */
    jobs_each *each;
    void *context;
};

/* What is shown of the arguments, in an array to be freed: the last is "..." if it is not all. */
static ProtobufCBinaryData *arguments_show(const C4p__Submit *submit, size_t *count)
{
    static const ProtobufCBinaryData dots = {3, (uint8_t *)(uintptr_t) "..."};
    ProtobufCBinaryData *shown = calloc(submit->n_argv + 1, sizeof(*shown));
    size_t size = 0;

    *count = 0;
    for (size_t i = 0; shown != NULL && i < submit->n_argv; i++) {
        size += submit->argv[i].len;
        shown[(*count)++] = size <= MAX_SHOWN ? submit->argv[i] : dots;
        if (size > MAX_SHOWN)
            break;
    }
    return shown;
}

static void output_describe(struct jobs *jobs, const struct entry *entry, bool narrow,
                            C4p__JobInfo *info)
{
    struct transcript *transcript = entry != NULL ? entry->transcript : NULL, *opened = NULL;
    char path[PATH_MAX];

    if (transcript == NULL && narrow && jobs->store != NULL)
        transcript = opened =
            transcript_open(output_directory(jobs, info->id, path), jobs->settings.output_limit);
    if (transcript == NULL)
        return;
    info->output_first = transcript_first(transcript);
    info->output_next = transcript_next(transcript);
    transcript_close(opened);
}

static void record_describe(const struct store_job *record, C4p__JobInfo *info)
{
    info->id = record->id;
    info->order = record->order;
    info->name.data = (uint8_t *)(uintptr_t)record->name;
    info->name.len = strlen(record->name);
    info->state = (C4p__JobState)record->state;
    info->pes = record->pes;
    info->priority = record->priority;
    info->submitted = (uint64_t)record->submitted;
    info->started = (uint64_t)record->started;
    info->ended = (uint64_t)record->ended;
    info->exit_code = record->exit_code;
    info->message = (char *)(uintptr_t)record->message;
}

/* Where it runs, or ran; to be freed. NULL: here. */
static C4p__JobInfo *hosts_describe(const struct store_job *job, C4p__JobInfo *info)
{
    C4p__JobInfo *placed = NULL;

    if (job->hosts_size > 0)
        placed = c4p__job_info__unpack(NULL, job->hosts_size, job->hosts);
    if (placed != NULL) {
        info->n_hosts = placed->n_hosts;
        info->hosts = placed->hosts;
    }
    return placed;
}

static bool on_describe(void *context, const struct store_job *job)
{
    struct listing *listing = context;
    struct entry *entry = entry_find(listing->jobs, job->id);
    C4p__Submit *submit = c4p__submit__unpack(NULL, job->request_size, job->request);
    C4p__JobInfo info = C4P__JOB_INFO__INIT, *placed;
    C4p__SessionInfo session = C4P__SESSION_INFO__INIT;
    char reason[JOBS_REASON_SIZE] = "";
    bool more;

    /* What is open is truer in memory. */
    record_describe(entry != NULL ? &entry->record : job, &info);
    if (entry != NULL)
        entry_reason(listing->jobs, entry, reason);
    info.reason = reason;
    output_describe(listing->jobs, entry, listing->narrow, &info);
    if (submit != NULL) {
        info.argv = arguments_show(submit, &info.n_argv);
        info.cwd = submit->cwd;
        info.time_limit_ms = submit->time_limit_ms;
    }
    session.name = info.name;
    if (job->session)
        info.session = &session;
    placed = hosts_describe(job, &info);
    more = listing->each(listing->context, &info);
    if (placed != NULL)
        c4p__job_info__free_unpacked(placed, NULL);
    free(info.argv);
    if (submit != NULL)
        c4p__submit__free_unpacked(submit, NULL);
    return more;
}

/* ---- without a store ---- */

static bool entry_matches(const struct entry *entry, const struct store_filter *filter)
{
    const struct store_job *record = &entry->record;
    bool over = job_state_final(record->state);

    if (entry->forgotten || record->order <= filter->after ||
        (over ? !filter->ended : !filter->open) || (filter->sessions_only && !record->session))
        return false;
    if ((filter->id_low != 0 || filter->id_high != 0) &&
        (entry->id < filter->id_low || entry->id > filter->id_high))
        return false;
    return filter->name == NULL || strcmp(filter->name, record->name) == 0;
}

static void entries_list(struct jobs *jobs, const struct store_filter *filter,
                         struct listing *listing)
{
    struct entry *entry, *next;
    uint32_t matching = 0, skip;

    HASH_ITER(hh, jobs->entries, entry, next)
    {
        matching += entry_matches(entry, filter);
    }
    skip = filter->last != 0 && matching > filter->last ? matching - filter->last : 0;
    HASH_ITER(hh, jobs->entries, entry, next)
    {
        if (!entry_matches(entry, filter))
            continue;
        if (skip > 0)
            skip--;
        else if (!on_describe(listing, &entry->record))
            return;
    }
}

int jobs_list(struct jobs *jobs, const struct store_filter *filter, jobs_each *each, void *context,
              char reason[JOBS_REASON_SIZE])
{
    struct listing listing = {jobs, filter->id_high != 0 || filter->name != NULL, each, context};
    struct store_filter with = *filter;

    with.with_request = true;
    if (jobs->store != NULL)
        return store_list(jobs->store, &with, on_describe, &listing, reason);
    entries_list(jobs, filter, &listing);
    return 0;
}

bool jobs_ended(struct jobs *jobs, uint64_t id, void (*tell)(void *, const C4p__Ended *),
                void *context)
{
    const struct entry *entry = entry_load(jobs, id);
    C4p__Ended ended = C4P__ENDED__INIT;

    if (entry == NULL || !job_state_final(entry->record.state))
        return false;
    ended.job = id;
    ended.state = (C4p__JobState)entry->record.state;
    ended.exit_code = entry->record.exit_code;
    ended.message = (char *)(uintptr_t)entry->record.message;
    ended.tail.data = (uint8_t *)(uintptr_t)entry->record.tail;
    ended.tail.len = entry->record.tail_size;
    ended.text.data = (uint8_t *)(uintptr_t)entry->record.text;
    ended.text.len = entry->record.text_size;
    tell(context, &ended);
    return true;
}

_Static_assert((int)JOB_CANCELLED == (int)C4P__JOB_STATE__CANCELLED &&
                   (int)JOB_RUNNING == (int)C4P__JOB_STATE__RUNNING,
               "the states have the same numbers on the wire");
