#include "daemon/jobs/queue.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct waiting {
    uint64_t id, order;
    uint32_t pes;
    int32_t priority;
    bool fits; /* there is enough for it, free or not; else it holds nobody up */
    int64_t not_before;
};

/*
 * The jobs lie in the order in which they may start. One scan finds a job, and how many are before
 * it; how many may wait is limited by who adds them.
 */
struct queue {
    struct queue_world world;
    struct waiting *jobs;
    uint32_t length, room;
    uint64_t tried;                  /* the job that is tried at this moment, or 0 */
    uint64_t refused;                /* the one that was tried last, in vain ... */
    char refusal[QUEUE_REASON_SIZE]; /* ... and why */
    bool stopped, changed;
};

struct queue *queue_create(const struct queue_world *world)
{
    struct queue *queue = calloc(1, sizeof(*queue));

    if (queue == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    queue->world = *world;
    return queue;
}

void queue_destroy(struct queue *queue)
{
    if (queue == NULL)
        return;
    free(queue->jobs);
    free(queue);
}

static enum queue_room room_ask(const struct queue *queue, const struct waiting *job,
                                char reason[QUEUE_REASON_SIZE])
{
    return queue->world.room(queue->world.context, job->id, job->pes, reason);
}

static void fit_ask(const struct queue *queue, struct waiting *job)
{
    char reason[QUEUE_REASON_SIZE];

    job->fits = room_ask(queue, job, reason) != QUEUE_TOO_LARGE;
}

/* Index of the first job from `start` on that could run at all; the length if there is none. */
static uint32_t first_that_fits(const struct queue *queue, uint32_t start)
{
    uint32_t index = start;

    while (index < queue->length && !queue->jobs[index].fits)
        index++;
    return index;
}

static uint32_t job_find(const struct queue *queue, uint64_t id)
{
    uint32_t index = 0;

    while (index < queue->length && queue->jobs[index].id != id)
        index++;
    return index;
}

static bool is_before(const struct waiting *one, const struct waiting *other)
{
    if (one->priority != other->priority)
        return one->priority > other->priority;
    if (one->order != other->order)
        return one->order < other->order;
    return one->id < other->id;
}

static uint32_t place_find(const struct queue *queue, const struct waiting *job)
{
    uint32_t low = 0, high = queue->length;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (is_before(&queue->jobs[middle], job))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int room_make(struct queue *queue)
{
    uint32_t room = queue->room > 0 ? queue->room * 2 : 16;
    struct waiting *jobs;

    if (queue->length < queue->room)
        return 0;
    jobs = room > queue->room ? reallocarray(queue->jobs, room, sizeof(*jobs)) : NULL;
    if (jobs == NULL) {
        errno = ENOMEM;
        return -1;
    }
    queue->jobs = jobs;
    queue->room = room;
    return 0;
}

int queue_add(struct queue *queue, uint64_t id, uint64_t order, uint32_t pes, int32_t priority)
{
    struct waiting job = {.id = id, .order = order, .pes = pes, .priority = priority};
    uint32_t index;

    if (job_find(queue, id) < queue->length) {
        errno = EEXIST;
        return -1;
    }
    if (room_make(queue) < 0)
        return -1;
    job.not_before = INT64_MIN;
    fit_ask(queue, &job);
    index = place_find(queue, &job);
    memmove(&queue->jobs[index + 1], &queue->jobs[index], (queue->length - index) * sizeof(job));
    queue->jobs[index] = job;
    queue->length++;
    queue->changed = true;
    return 0;
}

bool queue_remove(struct queue *queue, uint64_t id)
{
    uint32_t index = job_find(queue, id);
    bool fits;

    if (index == queue->length)
        return false;
    fits = queue->jobs[index].fits;
    queue->length--;
    memmove(&queue->jobs[index], &queue->jobs[index + 1],
            (queue->length - index) * sizeof(*queue->jobs));
    if (queue->tried == id)
        queue->tried = 0;
    /* Who is behind has one less before it. */
    if (!queue->stopped && fits && first_that_fits(queue, index) < queue->length)
        queue->changed = true;
    return true;
}

uint64_t queue_turn(struct queue *queue, int64_t now, uint32_t *pes)
{
    uint32_t index = first_that_fits(queue, 0);
    const struct waiting *job;
    char reason[QUEUE_REASON_SIZE];

    if (queue->stopped || queue->tried != 0 || index == queue->length)
        return 0;
    job = &queue->jobs[index];
    if (job->not_before > now || room_ask(queue, job, reason) != QUEUE_ROOM)
        return 0;
    queue->tried = job->id;
    *pes = job->pes;
    return job->id;
}

void queue_put_off(struct queue *queue, uint64_t id, int64_t at, const char *reason)
{
    uint32_t index = job_find(queue, id);

    if (index == queue->length)
        return;
    if (queue->tried == id)
        queue->tried = 0;
    queue->jobs[index].not_before = at;
    /* It may have been found that it cannot run everywhere. */
    fit_ask(queue, &queue->jobs[index]);
    queue->refused = id;
    snprintf(queue->refusal, sizeof(queue->refusal), "%s", reason);
    queue->changed = true;
}

int64_t queue_wake(const struct queue *queue)
{
    uint32_t index = first_that_fits(queue, 0);

    if (queue->stopped || queue->tried != 0 || index == queue->length ||
        queue->jobs[index].not_before == INT64_MIN)
        return -1;
    return queue->jobs[index].not_before;
}

void queue_look(struct queue *queue)
{
    for (uint32_t i = 0; i < queue->length; i++)
        fit_ask(queue, &queue->jobs[i]);
    if (!queue->stopped && queue->length > 0)
        queue->changed = true;
}

void queue_stop(struct queue *queue, bool stopped)
{
    if (queue->stopped != stopped && queue->length > 0)
        queue->changed = true;
    queue->stopped = stopped;
}

uint32_t queue_length(const struct queue *queue)
{
    return queue->length;
}

/* The first one's: what there is says it, unless it was tried, and that was in vain. */
static void reason_of_first(const struct queue *queue, const struct waiting *job,
                            char reason[QUEUE_REASON_SIZE])
{
    if (room_ask(queue, job, reason) == QUEUE_ROOM && queue->refused == job->id &&
        queue->tried != job->id)
        snprintf(reason, QUEUE_REASON_SIZE, "is tried again in a moment: %.280s", queue->refusal);
}

void queue_reason(const struct queue *queue, uint64_t id, char reason[QUEUE_REASON_SIZE])
{
    uint32_t before = 0, index;
    const struct waiting *job;

    reason[0] = '\0';
    for (index = 0; index < queue->length && queue->jobs[index].id != id; index++)
        before += queue->jobs[index].fits;
    if (index == queue->length)
        return;
    job = &queue->jobs[index];
    if (queue->stopped)
        snprintf(reason, QUEUE_REASON_SIZE, "waits: the daemon starts no more jobs");
    else if (!job->fits)
        room_ask(queue, job, reason);
    else if (before == 0)
        reason_of_first(queue, job, reason);
    else
        snprintf(reason, QUEUE_REASON_SIZE, "%u job%s before it", before,
                 before == 1 ? " is" : "s are");
}

bool queue_changed(struct queue *queue)
{
    bool changed = queue->changed;

    queue->changed = false;
    return changed;
}
