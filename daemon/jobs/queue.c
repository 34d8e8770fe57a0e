#include "daemon/jobs/queue.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct waiting {
    uint64_t id, order;
    uint32_t pes;
    int32_t priority;
};

/*
 * The jobs lie in the order in which they may start. One scan finds a job, and how many are before
 * it; how many may wait is limited by who adds them.
 */
struct queue {
    struct waiting *jobs;
    uint32_t length, room;
    uint32_t slots, used;
    bool stopped, changed;
};

struct queue *queue_create(uint32_t slots)
{
    struct queue *queue = calloc(1, sizeof(*queue));

    if (queue == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    queue->slots = slots;
    return queue;
}

void queue_destroy(struct queue *queue)
{
    if (queue == NULL)
        return;
    free(queue->jobs);
    free(queue);
}

static uint32_t slots_free(const struct queue *queue)
{
    return queue->used < queue->slots ? queue->slots - queue->used : 0;
}

static uint32_t slots_wanted(const struct waiting *job)
{
    return job->pes > 0 ? job->pes : 1;
}

/* A job that wants more than there is holds nobody up. */
static bool job_fits_node(const struct queue *queue, const struct waiting *job)
{
    return slots_wanted(job) <= queue->slots;
}

/* Index of the first job from `start` on that could run here at all; the length if there is none. */
static uint32_t first_that_fits(const struct queue *queue, uint32_t start)
{
    uint32_t index = start;

    while (index < queue->length && !job_fits_node(queue, &queue->jobs[index]))
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
    struct waiting job = {id, order, pes, priority};
    uint32_t index;

    if (job_find(queue, id) < queue->length) {
        errno = EEXIST;
        return -1;
    }
    if (room_make(queue) < 0)
        return -1;
    index = place_find(queue, &job);
    memmove(&queue->jobs[index + 1], &queue->jobs[index], (queue->length - index) * sizeof(job));
    queue->jobs[index] = job;
    queue->length++;
    queue->changed = true;
    return 0;
}

static struct waiting job_take(struct queue *queue, uint32_t index)
{
    struct waiting job = queue->jobs[index];

    queue->length--;
    memmove(&queue->jobs[index], &queue->jobs[index + 1], (queue->length - index) * sizeof(job));
    /* Who is behind has one less before it. */
    if (!queue->stopped && job_fits_node(queue, &job) &&
        first_that_fits(queue, index) < queue->length)
        queue->changed = true;
    return job;
}

bool queue_remove(struct queue *queue, uint64_t id)
{
    uint32_t index = job_find(queue, id);

    if (index == queue->length)
        return false;
    job_take(queue, index);
    return true;
}

uint64_t queue_next(struct queue *queue, uint32_t *pes)
{
    uint32_t index = first_that_fits(queue, 0), available = slots_free(queue);
    struct waiting job;

    if (queue->stopped || index == queue->length || slots_wanted(&queue->jobs[index]) > available)
        return 0;
    job = job_take(queue, index);
    *pes = job.pes > 0 ? job.pes : available;
    queue->used += *pes;
    return job.id;
}

/* What is free, or how many there are, is in the reason of the first. */
static void slots_changed(struct queue *queue)
{
    if (!queue->stopped && queue->length > 0)
        queue->changed = true;
}

void queue_release(struct queue *queue, uint32_t pes)
{
    uint32_t before = slots_free(queue);

    queue->used = pes < queue->used ? queue->used - pes : 0;
    if (slots_free(queue) != before && first_that_fits(queue, 0) < queue->length)
        slots_changed(queue);
}

void queue_stop(struct queue *queue, bool stopped)
{
    if (queue->stopped != stopped && queue->length > 0)
        queue->changed = true;
    queue->stopped = stopped;
}

void queue_resize(struct queue *queue, uint32_t slots)
{
    if (slots != queue->slots)
        slots_changed(queue);
    queue->slots = slots;
}

uint32_t queue_slots(const struct queue *queue)
{
    return queue->slots;
}

uint32_t queue_used(const struct queue *queue)
{
    return queue->used;
}

uint32_t queue_length(const struct queue *queue)
{
    return queue->length;
}

static const char *plural(uint32_t number)
{
    return number == 1 ? "" : "s";
}

static void reason_too_large(const struct queue *queue, uint32_t wanted, char *reason)
{
    if (queue->slots == 0)
        snprintf(reason, QUEUE_REASON_SIZE, "waits for %u PE%s: this node has none", wanted,
                 plural(wanted));
    else
        snprintf(reason, QUEUE_REASON_SIZE, "waits for %u PE%s: this node has only %u", wanted,
                 plural(wanted), queue->slots);
}

static void reason_of_first(const struct queue *queue, uint32_t wanted, char *reason)
{
    uint32_t available = slots_free(queue);

    if (wanted <= available)
        snprintf(reason, QUEUE_REASON_SIZE, "is about to start");
    else if (queue->slots == 1)
        snprintf(reason, QUEUE_REASON_SIZE, "waits for 1 PE: the only one is in use");
    else if (available == 0)
        snprintf(reason, QUEUE_REASON_SIZE, "waits for %u PE%s: none of %u is free", wanted,
                 plural(wanted), queue->slots);
    else
        snprintf(reason, QUEUE_REASON_SIZE, "waits for %u PE%s: %u of %u %s free", wanted,
                 plural(wanted), available, queue->slots, available == 1 ? "is" : "are");
}

void queue_reason(const struct queue *queue, uint64_t id, char reason[QUEUE_REASON_SIZE])
{
    uint32_t before = 0, index;
    const struct waiting *job;

    reason[0] = '\0';
    for (index = 0; index < queue->length && queue->jobs[index].id != id; index++)
        before += job_fits_node(queue, &queue->jobs[index]);
    if (index == queue->length)
        return;
    job = &queue->jobs[index];
    if (queue->stopped)
        snprintf(reason, QUEUE_REASON_SIZE, "waits: the daemon starts no more jobs");
    else if (!job_fits_node(queue, job))
        reason_too_large(queue, slots_wanted(job), reason);
    else if (before == 0)
        reason_of_first(queue, slots_wanted(job), reason);
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
