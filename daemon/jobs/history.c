#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/jobs/home.h"
#include "daemon/jobs/jobs_internal.h"
#include "daemon/log.h"
#include "daemon/words.h"
#include "proto/clock.h"
#include "proto/place.h"

/* ---- jobs in memory ---- */

struct entry *entry_find(const struct jobs *jobs, uint64_t id)
{
    struct entry *entry;

    HASH_FIND(hh, jobs->entries, &id, sizeof(id), entry);
    return entry;
}

static void *bytes_copy(const void *data, size_t size)
{
    char *copy = malloc(size + 1);

    if (copy == NULL)
        return NULL;
    if (size > 0)
        memcpy(copy, data, size);
    copy[size] = '\0';
    return copy;
}

/* One that stays as it is when there is no memory. */
static void bytes_set(const void **bytes, size_t *size, const void *data, size_t length)
{
    void *copy = bytes_copy(data, length);

    if (copy == NULL)
        return;
    free((void *)(uintptr_t)*bytes);
    *bytes = copy;
    *size = length;
}

static void record_free(struct store_job *record)
{
    free((void *)(uintptr_t)record->name);
    free((void *)(uintptr_t)record->message);
    free((void *)(uintptr_t)record->tail);
    free((void *)(uintptr_t)record->text);
    free((void *)(uintptr_t)record->request);
}

struct entry *entry_create(struct jobs *jobs, const struct store_job *record)
{
    struct entry *entry = calloc(1, sizeof(*entry));
    struct store_job *own;

    if (entry == NULL)
        return NULL;
    own = &entry->record;
    *own = *record;
    own->name = bytes_copy(record->name, strlen(record->name));
    own->message = bytes_copy(record->message, strlen(record->message));
    own->tail = bytes_copy(record->tail, record->tail_size);
    own->text = bytes_copy(record->text, record->text_size);
    own->request = own->hosts = NULL;
    own->hosts_size = 0;
    if (jobs->store == NULL)
        own->request = bytes_copy(record->request, record->request_size);
    if (own->name == NULL || own->message == NULL || own->tail == NULL || own->text == NULL ||
        (jobs->store == NULL && own->request == NULL)) {
        record_free(own);
        free(entry);
        return NULL;
    }
    entry->id = record->id;
    entry->jobs = jobs;
    entry->wanted = record->pes;
    entry->queued = clock_ms();
    HASH_ADD(hh, jobs->entries, id, sizeof(entry->id), entry);
    entry_pin(jobs, entry, record);
    return entry;
}

const char *output_directory(const struct jobs *jobs, uint64_t id, char path[PATH_MAX])
{
    char text[CONTROL_ID_CHARS + 1];

    if (jobs->store == NULL)
        return NULL;
    control_id_format(id, text);
    snprintf(path, PATH_MAX, "%.*s/" PLACE_JOBS "/%s", PATH_MAX - 32, jobs->state_dir, text);
    return path;
}

void entry_destroy(struct jobs *jobs, struct entry *entry)
{
    char path[PATH_MAX];

    HASH_DEL(jobs->entries, entry);
    home_end(entry);
    entry_unpin(jobs, entry);
    transcript_close(entry->transcript);
    if (entry->forgotten && output_directory(jobs, entry->id, path) != NULL)
        transcript_remove(path);
    probe_cancel(entry->probe);
    if (entry->need != NULL)
        c4p__python__free_unpacked(entry->need, NULL);
    free(entry->hosts);
    free(entry->placed);
    record_free(&entry->record);
    free(entry);
}

void entry_set_end(struct entry *entry, const struct job_end *end, int64_t when)
{
    struct store_job *record = &entry->record;
    const void *message = record->message;
    size_t ignored;

    record->state = end->state;
    record->exit_code = end->exit_code;
    record->ended = when;
    bytes_set(&message, &ignored, end->message, strlen(end->message));
    words_clean((char *)(uintptr_t)message); /* ours: there are names of programs in it */
    record->message = message;
    bytes_set(&record->tail, &record->tail_size, end->tail, end->tail_size);
    bytes_set(&record->text, &record->text_size, end->text, end->text_size);
}

struct transcript *entry_transcript(struct jobs *jobs, struct entry *entry)
{
    char path[PATH_MAX];

    if (entry->transcript == NULL)
        entry->transcript =
            transcript_open(output_directory(jobs, entry->id, path), jobs->settings.output_limit);
    return entry->transcript;
}

struct transcript *jobs_transcript(struct jobs *jobs, uint64_t id)
{
    struct entry *entry = entry_load(jobs, id);

    if (entry == NULL || entry_transcript(jobs, entry) == NULL)
        return NULL;
    entry->read = true;
    return entry->transcript;
}

void jobs_release(struct jobs *jobs, uint64_t id)
{
    struct entry *entry = entry_find(jobs, id);

    if (entry == NULL)
        return;
    entry->read = false;
    if (job_state_final(entry->record.state))
        turn_soon(jobs);
}

void entry_reason(const struct jobs *jobs, const struct entry *entry, char reason[JOBS_REASON_SIZE])
{
    reason[0] = '\0';
    if (entry->record.state == JOB_RESERVING && entry->hosts != NULL)
        snprintf(reason, JOBS_REASON_SIZE, "%.200s get ready for it", entry->hosts);
    if (entry->record.state != JOB_QUEUED)
        return;
    if (jobs->store_down && !jobs->draining)
        snprintf(reason, JOBS_REASON_SIZE, "waits for the store: %.280s", jobs->trouble);
    else
        queue_reason(jobs->queue, entry->id, reason);
}

/* ---- single jobs in the store ---- */

struct fetched {
    struct jobs *jobs;
    void *request;
    size_t size;
    uint64_t id;
    struct entry *entry;
};

static struct store_filter filter_of(uint64_t id)
{
    return (struct store_filter){.ended = true, .open = true, .id_low = id, .id_high = id};
}

static bool on_row(void *context, const struct store_job *job)
{
    struct fetched *fetched = context;

    fetched->id = job->id;
    return false;
}

bool row_exists(struct jobs *jobs, uint64_t id)
{
    const struct store_filter filter = filter_of(id);
    struct fetched fetched = {.jobs = jobs};
    char error[STORE_ERROR_SIZE];

    return jobs->store != NULL && store_list(jobs->store, &filter, on_row, &fetched, error) == 0 &&
           fetched.id != 0;
}

int key_find(struct jobs *jobs, const uint8_t *key, uint64_t *id, char error[STORE_ERROR_SIZE])
{
    const struct store_filter filter = {.ended = true, .open = true, .key = key};
    struct fetched fetched = {.jobs = jobs};
    struct entry *entry, *next;

    if (jobs->store != NULL && store_list(jobs->store, &filter, on_row, &fetched, error) != 0)
        return -1;
    if (jobs->store == NULL) {
        HASH_ITER(hh, jobs->entries, entry, next)
        {
            if (memcmp(entry->record.key, key, CONTROL_KEY_SIZE) == 0)
                fetched.id = entry->id;
        }
    }
    *id = fetched.id;
    return 0;
}

static bool on_request(void *context, const struct store_job *job)
{
    struct fetched *fetched = context;

    fetched->request = bytes_copy(job->request, job->request_size);
    fetched->size = job->request_size;
    return false;
}

void *request_fetch(struct jobs *jobs, const struct entry *entry, size_t *size, bool *later,
                    char error[STORE_ERROR_SIZE])
{
    struct store_filter filter = filter_of(entry->id);
    struct fetched fetched = {.jobs = jobs};

    filter.with_request = true;
    *later = false;
    if (jobs->store == NULL) {
        on_request(&fetched, &entry->record);
    } else if (store_list(jobs->store, &filter, on_request, &fetched, error) != 0) {
        *later = true;
        return NULL;
    }
    if (fetched.request == NULL)
        snprintf(error, STORE_ERROR_SIZE, "the job's request is lost: it is not in the store");
    *size = fetched.size;
    return fetched.request;
}

static bool on_load(void *context, const struct store_job *job)
{
    struct fetched *fetched = context;

    fetched->entry = entry_create(fetched->jobs, job);
    return false;
}

struct entry *entry_load(struct jobs *jobs, uint64_t id)
{
    struct store_filter filter = filter_of(id);
    struct fetched fetched = {.jobs = jobs, .entry = entry_find(jobs, id)};
    char error[STORE_ERROR_SIZE];

    if (fetched.entry != NULL || jobs->store == NULL)
        return fetched.entry;
    filter.with_end = true;
    if (store_list(jobs->store, &filter, on_load, &fetched, error) != 0)
        store_failed(jobs, error);
    if (fetched.entry != NULL)
        turn_soon(jobs);
    return fetched.entry;
}

/* ---- forgetting ---- */

static void on_forgotten(void *context, uint64_t id)
{
    struct jobs *jobs = context;
    struct entry *entry = entry_find(jobs, id);
    char path[PATH_MAX];

    if (entry != NULL)
        entry->forgotten = true; /* goes when nobody reads it */
    else if (output_directory(jobs, id, path) != NULL)
        transcript_remove(path);
}

/* Without a store: the oldest that are too many are forgotten. */
static void entries_trim(struct jobs *jobs)
{
    struct entry *entry, *next;
    uint32_t over = 0;

    HASH_ITER(hh, jobs->entries, entry, next)
    {
        over += job_state_final(entry->record.state);
    }
    HASH_ITER(hh, jobs->entries, entry, next)
    {
        if (over <= jobs->settings.keep)
            return;
        if (!job_state_final(entry->record.state))
            continue;
        entry->forgotten = true;
        over--;
    }
}

void history_trim(struct jobs *jobs)
{
    const struct jobs_settings *settings = &jobs->settings;
    int64_t before = settings->keep_ms > 0 ? clock_day_ms() - (int64_t)settings->keep_ms : 0;
    char error[STORE_ERROR_SIZE];

    if (jobs->store == NULL)
        entries_trim(jobs);
    else if (store_forget(jobs->store, settings->keep, before, on_forgotten, jobs, error) < 0)
        store_failed(jobs, error);
}

/* For scandir(): what has another name is not ours to remove. */
static int is_job(const struct dirent *entry)
{
    uint64_t low, high;

    return control_id_parse(entry->d_name, &low, &high) && low == high;
}

void history_clean(struct jobs *jobs)
{
    char path[PATH_MAX];
    struct dirent **entries = NULL;
    uint64_t id, same;
    int count;

    snprintf(path, sizeof(path), "%.*s/" PLACE_JOBS, PATH_MAX - 32, jobs->state_dir);
    count = scandir(path, &entries, is_job, alphasort);
    for (int i = 0; i < count; i++) {
        if (control_id_parse(entries[i]->d_name, &id, &same) && !row_exists(jobs, id)) {
            log_write(LOG_INFO, jobs_subject(id), "nobody remembers it: its output is removed");
            transcript_remove(output_directory(jobs, id, path));
        }
        free(entries[i]);
    }
    free(entries);
}

/* ---- recovery ---- */

static bool on_recovered(void *context, const struct store_job *job)
{
    struct jobs *jobs = context;

    return entry_create(jobs, job) != NULL;
}

static int entry_requeue(struct jobs *jobs, struct entry *entry, char error[STORE_ERROR_SIZE])
{
    struct store_job *record = &entry->record;

    record->state = JOB_QUEUED;
    if (queue_add(jobs->queue, entry->id, record->order, record->pes, record->priority) == 0)
        return 0;
    snprintf(error, STORE_ERROR_SIZE, "the daemon is out of memory");
    return -1;
}

/* It was cut off: record that. */
static void entry_fail(struct jobs *jobs, struct entry *entry)
{
    struct job_end end = {.state = JOB_FAILED, .exit_code = 1, .tail = "", .text = ""};
    char error[STORE_ERROR_SIZE];

    end.message =
        "the daemon ended while the job ran (c4pd was killed, or the host went down), and "
        "the job with it";
    if (entry->record.state < JOB_STARTING) {
        end.state = JOB_CANCELLED;
        end.exit_code = LIFE_EXIT_CANCELLED;
        end.message = "the daemon ended before the session began, and a session does not outlive "
                      "its daemon";
    }
    entry_set_end(entry, &end, clock_day_ms());
    log_write(LOG_WARNING, jobs_subject(entry->id), "%s: %s", job_state_name(end.state),
              end.message);
    if (store_end(jobs->store, &entry->record, error) != 0)
        store_failed(jobs, error);
    entry_destroy(jobs, entry);
}

int history_recover(struct jobs *jobs, char error[STORE_ERROR_SIZE])
{
    const struct store_filter filter = {.open = true, .with_request = true};
    struct entry *entry, *next;
    unsigned queued = 0, failed = 0;

    if (store_list(jobs->store, &filter, on_recovered, jobs, error) != 0)
        return -1;
    HASH_ITER(hh, jobs->entries, entry, next)
    {
        if (entry->record.state >= JOB_STARTING || entry->record.session) {
            entry_fail(jobs, entry);
            failed++;
        } else if (entry_requeue(jobs, entry, error) == 0) {
            queued++;
        } else {
            return -1;
        }
    }
    if (queued + failed > 0)
        log_write(failed > 0 ? LOG_WARNING : LOG_INFO, "jobs",
                  "an earlier daemon left %u queued and %u unfinished", queued, failed);
    return 0;
}
