/*
 * Timers of a PE: a binary heap by deadline, and by order of creation among equals.
 */
#include <math.h>
#include <time.h>

#include "python/ext/runtime.h"

static struct timer **heap;
static uint32_t heap_count, heap_room;
static uint64_t sequence;

int64_t clock_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static bool before(const struct timer *a, const struct timer *b)
{
    return a->deadline != b->deadline ? a->deadline < b->deadline : a->sequence < b->sequence;
}

static void place(struct timer *timer, uint32_t at)
{
    heap[at] = timer;
    timer->place = at;
}

static void sift_up(struct timer *timer, uint32_t at)
{
    while (at > 0 && before(timer, heap[(at - 1) / 2])) {
        place(heap[(at - 1) / 2], at);
        at = (at - 1) / 2;
    }
    place(timer, at);
}

static void sift_down(struct timer *timer, uint32_t at)
{
    for (;;) {
        uint32_t child = 2 * at + 1;

        if (child >= heap_count)
            break;
        if (child + 1 < heap_count && before(heap[child + 1], heap[child]))
            child++;
        if (!before(heap[child], timer))
            break;
        place(heap[child], at);
        at = child;
    }
    place(timer, at);
}

static void heap_remove(struct timer *timer)
{
    struct timer *last = heap[--heap_count];
    uint32_t at = timer->place;

    atomic_store_explicit(&rt.self->timers, heap_count, memory_order_release);
    if (last == timer)
        return;
    if (at > 0 && before(last, heap[(at - 1) / 2]))
        sift_up(last, at);
    else
        sift_down(last, at);
}

struct timer *timer_add(double seconds, PyObject *callable, PyObject *args, struct coroutine *wake)
{
    struct timer *timer;

    if (isnan(seconds)) {
        PyErr_SetString(PyExc_ValueError, "a time in seconds cannot be nan");
        return NULL;
    }
    if (heap_count == heap_room) {
        uint32_t room = heap_room ? heap_room * 2 : 16;
        struct timer **more = PyMem_Realloc(heap, room * sizeof(struct timer *));

        if (more == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        heap = more;
        heap_room = room;
    }
    timer = PyMem_Calloc(1, sizeof(*timer));
    if (timer == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    seconds = seconds < 0 ? 0 : seconds > 1e9 ? 1e9 : seconds;
    timer->deadline = clock_now() + (int64_t)(seconds * 1e9);
    timer->sequence = sequence++;
    timer->callable = callable ? new_ref(callable) : NULL;
    timer->args = args ? new_ref(args) : NULL;
    timer->wake = wake;
    heap_count++;
    sift_up(timer, heap_count - 1);
    atomic_store_explicit(&rt.self->timers, heap_count, memory_order_release);
    message_nudge();
    return timer;
}

static void timer_free(struct timer *timer)
{
    Py_XDECREF(timer->callable);
    Py_XDECREF(timer->args);
    PyMem_Free(timer);
}

void timer_cancel(struct timer *timer)
{
    heap_remove(timer);
    timer_free(timer);
}

int64_t timer_next(void)
{
    return heap_count > 0 ? heap[0]->deadline : -1;
}

static int timer_fire(struct timer *timer)
{
    PyObject *result;

    if (timer->wake != NULL) {
        timer->wake->timed_out = true;
        return coroutine_resume(timer->wake);
    }
    result = PyObject_Call(timer->callable, timer->args, NULL);
    if (result == NULL && PyErr_ExceptionMatches(PyExc_SystemExit))
        runtime_error("exit() in what a timer calls: charm.exit() ends the program from there");
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int timer_run(int64_t now)
{
    uint64_t until = sequence; /* what fires may add timers that are due at once: next time */
    int fired = 0;

    while (heap_count > 0 && heap[0]->deadline <= now && heap[0]->sequence < until) {
        struct timer *timer = heap[0];
        int rc;

        /* An activity before it stops counting as a timer: at no instant is there neither. */
        runtime_activity_begin();
        heap_remove(timer);
        rc = timer_fire(timer);
        timer_free(timer);
        if (rc != 0)
            return -1;
        runtime_activity_end();
        fired++;
    }
    return fired;
}
