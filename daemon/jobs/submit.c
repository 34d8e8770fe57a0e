#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "daemon/jobs/jobs_internal.h"
#include "daemon/jobs/launch.h"
#include "daemon/jobs/submission.h"
#include "daemon/log.h"
#include "proto/clock.h"

#ifndef C4P_PYTHON
#define C4P_PYTHON "python3"
#endif

static uint32_t cores_count(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0 || CPU_COUNT(&set) < 1)
        return 1;
    return (uint32_t)CPU_COUNT(&set);
}

static int id_make(struct jobs *jobs, uint64_t *id)
{
    do {
        if (getrandom(id, sizeof(*id), 0) != sizeof(*id))
            return -1;
        *id &= (UINT64_C(1) << CONTROL_ID_BITS) - 1;
    } while (*id == 0 || entry_find(jobs, *id) != NULL || row_exists(jobs, *id));
    return 0;
}

/* The record of a new job; what it points to is the caller's. */
static int record_make(struct jobs *jobs, struct store_job *record, const C4p__Submit *submit,
                       const char *name, bool session, void *request, size_t size)
{
    *record = (struct store_job){
        .state = JOB_QUEUED,
        .session = session,
        .pes = submit->pes,
        .priority = submit->priority,
        .submitted = clock_day_ms(),
        .name = name,
        .message = "",
        .tail = "",
        .text = "",
        .request = request,
        .request_size = size,
    };
    if (jobs->settings.slots == 0 && record->pes == 0)
        record->pes = cores_count() > submit->nodes ? cores_count() : submit->nodes;
    if (submit->key.len == CONTROL_KEY_SIZE)
        memcpy(record->key, submit->key.data, CONTROL_KEY_SIZE);
    else if (getrandom(record->key, CONTROL_KEY_SIZE, 0) != CONTROL_KEY_SIZE)
        return -1;
    return id_make(jobs, &record->id);
}

/* Stored and queued: from here on the job exists. */
static int record_accept(struct jobs *jobs, struct store_job *record, char reason[JOBS_REASON_SIZE])
{
    struct entry *entry = entry_create(jobs, record);

    if (entry == NULL)
        return jobs_refuse(reason, "the daemon is out of memory");
    if (jobs->store == NULL) {
        record->order = ++jobs->last_order;
    } else if (store_submit(jobs->store, record, reason) != 0) {
        entry_destroy(jobs, entry);
        return -1;
    }
    entry->record.order = record->order;
    if (record->session)
        jobs->sessions++;
    log_write(LOG_INFO, jobs_subject(record->id), "queued: %s",
              record->name[0] != '\0' ? record->name : "a session");
    if (queue_add(jobs->queue, record->id, record->order, record->pes, record->priority) != 0)
        entry_end_unstarted(jobs, entry, JOB_FAILED, 1, "the daemon is out of memory");
    turn_soon(jobs);
    return 0;
}

static int record_submit(struct jobs *jobs, const C4p__Submit *submit, const char *name,
                         bool session, uint64_t *id, char reason[JOBS_REASON_SIZE])
{
    size_t size = c4p__submit__get_packed_size(submit);
    uint8_t *request = malloc(size + 1);
    struct store_job record;
    int rc;

    if (request == NULL)
        return jobs_refuse(reason, "the daemon is out of memory");
    c4p__submit__pack(submit, request);
    if (record_make(jobs, &record, submit, name, session, request, size) != 0)
        rc = jobs_refuse(reason, "the system has no random numbers: %s", strerror(errno));
    else
        rc = record_accept(jobs, &record, reason);
    *id = record.id;
    free(request);
    return rc;
}

/* What can be refused before anything is read or made. */
static int submit_check(struct jobs *jobs, const C4p__Submit *submit, char reason[JOBS_REASON_SIZE])
{
    if (submit->key.len != 0 && submit->key.len != CONTROL_KEY_SIZE)
        return jobs_refuse(reason, "the key of a submission has %d bytes, not %zu",
                           CONTROL_KEY_SIZE, submit->key.len);
    if (submit->nodes > 1 && jobs->settings.state_dir != NULL)
        return jobs_refuse(reason,
                           "only a private daemon acts as %u nodes (c4py run --nodes): this one "
                           "gives a job what nodes there are",
                           submit->nodes);
    if (jobs->draining)
        return jobs_refuse(
            reason, "the daemon is stopping and takes no more jobs (try again when it runs again)");
    if (queue_length(jobs->queue) >= jobs->settings.queue_limit)
        return jobs_refuse(reason, "%u jobs wait already, which is the limit: try again later",
                           queue_length(jobs->queue));
    /* There may be room again since it was last looked for. */
    if (jobs->store != NULL && store_accepts(jobs->store, reason) != 0 &&
        (store_retry(jobs->store, reason) > 0 || reason[0] != '\0')) {
        store_failed(jobs, reason);
        return -1;
    }
    return 0;
}

static bool is_python(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;

    return strncmp(name, "python", 6) == 0 || strncmp(name, "pypy", 4) == 0;
}

/*
 * What is asked by another machine, as it is here: its paths are not looked for, but its interpreter
 * is, and this node's own takes its place. `own` is a copy of the submission in which that can be said.
 */
static int outside_check(const C4p__Submit *submit, const struct job_request *request,
                         C4p__Submit *own, ProtobufCBinaryData *argv, char reason[JOBS_REASON_SIZE])
{
    const char *python = getenv("C4P_PYTHON");
    char path[PATH_MAX];

    if (submit->bundle.len == 0)
        return jobs_refuse(reason, "a job of another machine has to bring its files along: submit "
                                   "it without --no-bundle, or name them with --include");
    if (*request->cwd != '/')
        return jobs_refuse(reason, "the directory %.150s: is no absolute path", request->cwd);
    if (python == NULL || *python == '\0')
        python = C4P_PYTHON;
    memcpy(argv, submit->argv, submit->n_argv * sizeof(*argv));
    if (is_python(request->argv[0]) && launch_find(request, path, reason) != 0)
        argv[0] = (ProtobufCBinaryData){strlen(python), (uint8_t *)(uintptr_t)python};
    own->argv = argv;
    return job_check_figures(request, reason);
}

/* Checked as a program of this machine, or of another one; then recorded. */
static int submission_take(struct jobs *jobs, const C4p__Submit *submit,
                           const struct submission *submission, enum jobs_kind kind, uint64_t *id,
                           char reason[JOBS_REASON_SIZE])
{
    ProtobufCBinaryData *argv = calloc(submit->n_argv, sizeof(*argv));
    C4p__Submit own = *submit;
    int rc;

    if (argv == NULL)
        return jobs_refuse(reason, "the daemon is out of memory");
    own.outside = kind == JOBS_FROM_OUTSIDE;
    rc = kind == JOBS_FROM_OUTSIDE ? outside_check(submit, &submission->request, &own, argv, reason)
                                   : job_check(&submission->request, reason);
    if (rc == 0)
        rc = submit_check_bundle(jobs, submit, reason);
    if (rc == 0)
        rc = record_submit(jobs, &own, submission->name, kind == JOBS_SESSION, id, reason);
    free(argv);
    return rc;
}

int jobs_submit(struct jobs *jobs, const C4p__Submit *submit, enum jobs_kind kind, uint64_t *id,
                char reason[JOBS_REASON_SIZE])
{
    struct submission submission;
    int rc;

    *id = 0;
    if (submit->key.len == CONTROL_KEY_SIZE) {
        if (key_find(jobs, submit->key.data, id, reason) != 0)
            return -1;
        if (*id != 0)
            return 0;
    }
    if (submit_check(jobs, submit, reason) != 0 ||
        submission_init(&submission, submit, reason) != 0)
        return -1;
    if (kind == JOBS_SESSION && submit->name.len == 0)
        submission.name[0] = '\0';
    rc = submission_take(jobs, submit, &submission, kind, id, reason);
    submission_free(&submission);
    return rc;
}
