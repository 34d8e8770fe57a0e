/*
 * Whose turn it is: the queue of jobs for this node's PE slots. A pure core.
 *
 * Higher priority first, then the order of submission. The first job in that order that could run
 * on this node at all gets the next free slots, and nobody behind it overtakes it: nobody starves.
 * A job that wants more PEs than the node has waits without holding anybody up. A job of 0 PEs
 * takes all that are free when its turn comes, one at least.
 */
#ifndef C4P_DAEMON_JOBS_QUEUE_H
#define C4P_DAEMON_JOBS_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUEUE_REASON_SIZE 320

/* What there is for a job. */
enum queue_room {
    QUEUE_TOO_LARGE, /* it cannot start with what there is: others go before it */
    QUEUE_FULL,      /* it has to wait */
    QUEUE_ROOM       /* it can be tried */
};

struct queue;

/* NULL with errno ENOMEM. Destroy is NULL-safe. */
struct queue *queue_create(uint32_t slots);
void queue_destroy(struct queue *queue);

/* A job waits. -1 with errno: ENOMEM, EEXIST. */
int queue_add(struct queue *queue, uint64_t id, uint64_t order, uint32_t pes, int32_t priority);
/* It does not any more (cancelled). False if it was not waiting. */
bool queue_remove(struct queue *queue, uint64_t id);

/* The job that can start now, taken out of the queue, its slots taken: 0 if there is none. */
uint64_t queue_next(struct queue *queue, uint32_t *pes);
/* Slots taken by queue_next() are free again. */
void queue_release(struct queue *queue, uint32_t pes);

/* Nobody starts any more (the daemon drains), or again. */
void queue_stop(struct queue *queue, bool stopped);
/* The number of slots changes; those in use stay in use. */
void queue_resize(struct queue *queue, uint32_t slots);

uint32_t queue_slots(const struct queue *queue);
uint32_t queue_used(const struct queue *queue);
uint32_t queue_length(const struct queue *queue);

/* What a waiting job waits for: "waits for 2 PEs: 1 of 4 is free", "3 jobs are before it" ... Empty
 * if it does not wait here. */
void queue_reason(const struct queue *queue, uint64_t id, char reason[QUEUE_REASON_SIZE]);

/*
 * Did the reason of any job change since the last call? Who shows reasons asks again then, and
 * compares: that a reason stays as it was after all is not always seen here.
 */
bool queue_changed(struct queue *queue);

#endif
