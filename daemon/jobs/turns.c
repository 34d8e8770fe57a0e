#include "daemon/jobs/turns.h"

#include <errno.h>
#include <event2/event.h>
#include <sys/random.h>

#include "daemon/jobs/away.h"
#include "proto/clock.h"

static int64_t on_now(void *context)
{
    (void)context;
    return clock_ms();
}

static void timer_set(struct event *timer, int64_t at)
{
    int64_t left = at - clock_ms();

    if (left < 0)
        left = 0;
    event_add(timer, &(struct timeval){left / 1000, left % 1000 * 1000});
}

static void on_wake_at(void *context, int64_t at)
{
    struct jobs *jobs = context;

    if (at < 0)
        event_del(jobs->lease);
    else
        timer_set(jobs->lease, at);
}

static void on_placed(void *context, uint64_t job, uint64_t attempt,
                      const struct reservation_part *parts, size_t count)
{
    struct jobs *jobs = context;
    struct entry *entry = entry_find(jobs, job);

    if (entry == NULL) {
        placing_end(jobs->placing, job);
    } else if (jobs->draining || jobs->store_down) {
        placing_back(jobs->placing, job);
        queue_put_off(jobs->queue, job, clock_ms(), "the daemon started no more jobs");
    } else {
        queue_remove(jobs->queue, job);
        entry_placed(jobs, entry, attempt, parts, count);
    }
    turn_soon(jobs);
}

static void on_not_now(void *context, uint64_t job, const char *reason, int64_t at)
{
    struct jobs *jobs = context;

    queue_put_off(jobs->queue, job, at, reason);
    turn_soon(jobs);
}

static void on_room_changed(void *context)
{
    struct jobs *jobs = context;

    jobs->room_moved = true;
    turn_soon(jobs);
}

static enum queue_room on_room(void *context, uint64_t id, uint32_t pes,
                               char reason[QUEUE_REASON_SIZE])
{
    struct jobs *jobs = context;

    return placing_room(jobs->placing, id, pes, reason);
}

static void jobs_on_lease(evutil_socket_t fd, short what, void *argument)
{
    struct jobs *jobs = argument;

    (void)fd;
    (void)what;
    placing_tick(jobs->placing);
}

static void jobs_on_again(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    turn_soon(argument);
}

int turns_open(struct jobs *jobs)
{
    const struct queue_world world = {.room = on_room, .context = jobs};
    const struct placing_host host = {
        .now = on_now,
        .wake_at = on_wake_at,
        .placed = on_placed,
        .not_now = on_not_now,
        .changed = on_room_changed,
        .need = jobs->settings.probes != NULL ? away_need : NULL,
        .probe = jobs->settings.probes != NULL ? away_probe : NULL,
        .context = jobs,
    };
    uint64_t seed;

    if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        return -1;
    jobs->again = event_new(jobs->place->base, -1, 0, jobs_on_again, jobs);
    jobs->lease = event_new(jobs->place->base, -1, 0, jobs_on_lease, jobs);
    jobs->queue = queue_create(&world);
    jobs->placing = placing_create(&host, jobs->settings.slots, seed);
    if (jobs->again != NULL && jobs->lease != NULL && jobs->queue != NULL && jobs->placing != NULL)
        return 0;
    errno = ENOMEM;
    return -1;
}

void turns_close(struct jobs *jobs)
{
    placing_destroy(jobs->placing);
    queue_destroy(jobs->queue);
    if (jobs->again != NULL)
        event_free(jobs->again);
    if (jobs->lease != NULL)
        event_free(jobs->lease);
}

static void job_try(struct jobs *jobs, uint64_t id, uint32_t pes)
{
    const struct entry *entry = entry_find(jobs, id);
    struct placing_request request = {.job = id, .pes = pes};

    if (entry == NULL) {
        queue_remove(jobs->queue, id);
        return;
    }
    request.priority = entry->record.priority;
    request.waited_ms = clock_ms() - entry->queued;
    placing_try(jobs->placing, &request);
}

void turns_go(struct jobs *jobs)
{
    int64_t again;
    uint32_t pes;
    uint64_t id;

    if (jobs->room_moved) {
        jobs->room_moved = false;
        queue_look(jobs->queue);
    }
    while ((id = queue_turn(jobs->queue, clock_ms(), &pes)) != 0)
        job_try(jobs, id, pes);
    again = queue_wake(jobs->queue);
    if (again > clock_ms())
        timer_set(jobs->again, again);
    placing_queued(jobs->placing, queue_length(jobs->queue));
    if (queue_changed(jobs->queue))
        jobs->listener.queue_moved(jobs->listener.context);
}
