/*
 * Whose turn it is: the queue of the jobs of this node. A pure core.
 *
 * Higher priority first, then the order of submission. The first job in that order for which there
 * could be room at all has its turn, and nobody behind it overtakes it: nobody starves. A job that
 * wants more PEs than there are waits without holding anybody up.
 *
 * What room there is, is asked: placing.h knows the slots of this node and of others. A job that has
 * its turn is tried, which may take a while and be in vain; meanwhile, and until it is tried again, it
 * keeps its place, and nobody else is tried.
 */
#ifndef C4P_DAEMON_JOBS_QUEUE_H
#define C4P_DAEMON_JOBS_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUEUE_REASON_SIZE 320

enum queue_room {
    QUEUE_TOO_LARGE, /* it cannot start with what there is: others go before it */
    QUEUE_FULL,      /* it has to wait */
    QUEUE_ROOM       /* it can be tried */
};

struct queue_world {
    /* The sentence says what the job waits for, if there is no room. Cheap: asked for every job. */
    enum queue_room (*room)(void *context, uint64_t id, uint32_t pes,
                            char reason[QUEUE_REASON_SIZE]);
    void *context;
};

struct queue;

/* NULL with errno ENOMEM. Destroy is NULL-safe. */
struct queue *queue_create(const struct queue_world *world);
void queue_destroy(struct queue *queue);

/* A job waits. -1 with errno: ENOMEM, EEXIST. */
int queue_add(struct queue *queue, uint64_t id, uint64_t order, uint32_t pes, int32_t priority);
/* It does not any more (it starts, or is cancelled). False if it was not waiting. */
bool queue_remove(struct queue *queue, uint64_t id);

/* The job that is to be tried now; 0: none. It is named once, and no other one, until it is removed or
 * put off. */
uint64_t queue_turn(struct queue *queue, int64_t now, uint32_t *pes);
/* It was tried in vain: not before `at` again, and this is why. */
void queue_put_off(struct queue *queue, uint64_t id, int64_t at, const char *reason);
/* When the first one may be tried again; -1: it waits for something else. */
int64_t queue_wake(const struct queue *queue);

/* There is other room than before. */
void queue_look(struct queue *queue);
/* Nobody starts any more (the daemon drains), or again. */
void queue_stop(struct queue *queue, bool stopped);

uint32_t queue_length(const struct queue *queue);

/* What a waiting job waits for: what the world says, "3 jobs are before it" ... Empty if it does not
 * wait here. */
void queue_reason(const struct queue *queue, uint64_t id, char reason[QUEUE_REASON_SIZE]);

/*
 * Did the reason of any job change since the last call? Who shows reasons asks again then, and
 * compares: that a reason stays as it was after all is not always seen here.
 */
bool queue_changed(struct queue *queue);

#endif
