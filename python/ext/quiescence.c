/*
 * Quiescence: no message queued, in flight or being handled anywhere in the job.
 *
 * Every PE shows in the segment how many messages it has sent (counted before
 * they are queued) and how many it has handled to the end. Reading first all
 * that were handled, then all that were sent, equal sums mean that between the
 * two readings there was an instant at which nothing was under way: both only
 * grow, so at that instant handled was at least, and sent at most, what was
 * read. (Mattern, "Algorithms for distributed termination detection", 1987.)
 *
 * A PE looks before it goes to sleep: the last one to become idle sees it.
 * Nobody has to be asked, so no PE that is busy delays anything but by being
 * busy. What else runs on a PE (main, timers, wake-ups) counts as a message.
 *
 * That is so on one node. On several, a PE sees the counters of its own node only: the last one that
 * falls asleep there tells the router, and routers find out among themselves (daemon/router/quiet.h).
 * Their announcement says what the node's counters were: if they still are, it holds.
 */
#include "python/ext/delays.h"
#include "python/ext/runtime.h"

static PyObject *callbacks; /* those that wait on this PE */

/* What all endpoints of this node have handled and sent. Clients have sent some, to PEs. */
static void counters_read(uint64_t *processed, uint64_t *sent)
{
    uint32_t count = rt.segment.geometry.slots;

    *processed = *sent = 0;
    for (uint32_t i = 0; i < count; i++)
        *processed += atomic_load_explicit(&segment_endpoint(&rt.segment, i)->processed,
                                           memory_order_acquire);
    atomic_thread_fence(memory_order_seq_cst);
    delay_point();
    for (uint32_t i = 0; i < count; i++)
        *sent +=
            atomic_load_explicit(&segment_endpoint(&rt.segment, i)->sent, memory_order_acquire);
}

/* The sum of messages if all are handled, else UINT64_MAX. */
static uint64_t quiet_total(void)
{
    uint64_t processed, sent;

    counters_read(&processed, &sent);
    return sent == processed ? sent : UINT64_MAX;
}

/* Could anything still happen by itself, does anybody wait for this, is a PE not up yet? */
static bool nothing_to_come(void)
{
    for (uint32_t i = 0; i < rt.segment.geometry.local_pes; i++) {
        const struct segment_endpoint *endpoint = segment_endpoint(&rt.segment, i);

        if (atomic_load(&endpoint->timers) != 0 || atomic_load(&endpoint->quiescence_wanted) != 0 ||
            atomic_load(&endpoint->status) != ENDPOINT_STARTED)
            return false;
    }
    return true;
}

int quiescence_tell(void)
{
    /* Our announcement must be visible before we look at the others': of two PEs that fall asleep
     * together one sees both. */
    atomic_thread_fence(memory_order_seq_cst);
    for (uint32_t i = 0; i < rt.segment.geometry.local_pes; i++)
        if (atomic_load(&segment_endpoint(&rt.segment, i)->inbox) != INBOX_ASLEEP)
            return 0;
    if (atomic_exchange(&segment_header(&rt.segment)->idle_told, 1) != 0)
        return 0;
    return message_send_router(C4P_IDLE, 0, NULL, 0);
}

/* On several nodes a client that waits asks for the announcement: no PE may fall asleep any more. */
static int client_tell(void)
{
    if (callbacks == NULL || rt.quiet != UINT64_MAX)
        return 0;
    rt.quiet = 0;
    return message_send_router(C4P_IDLE, 1, NULL, 0);
}

int quiescence_check(void)
{
    uint64_t total;
    bool wanted = false;

    if (rt.segment.geometry.nodes > 1)
        return rt.client ? client_tell() : 0;
    if (rt.segment.geometry.local_pes == 0)
        return 0; /* a client that sees no PE */
    /* Our own last count must be visible before we read the others': one of two PEs that become
     * idle together then sees both. */
    atomic_thread_fence(memory_order_seq_cst);
    total = quiet_total();
    if (total == UINT64_MAX || total == rt.quiet)
        return 0;
    rt.quiet = total;
    for (uint32_t i = 0; i < rt.segment.geometry.slots; i++) {
        if (atomic_load(&segment_endpoint(&rt.segment, i)->quiescence_wanted) == 0)
            continue;
        wanted = true;
        if (message_send_quiescent(i) != 0)
            return -1;
    }
    /* PE 0 finds out whether the program has ended. */
    if (!wanted && !rt.session && !rt.client && nothing_to_come() &&
        message_send_quiescent(segment_slot(&rt.segment, 0)) != 0)
        return -1;
    return 0;
}

static int release_callbacks(void)
{
    PyObject *released = callbacks;
    int rc = 0;

    runtime_activity_begin(); /* before nobody waits any more: at no instant is there neither */
    callbacks = NULL;
    atomic_store(&rt.self->quiescence_wanted, 0);
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(released); i++)
        rc = callback_invoke(PyList_GET_ITEM(released, i), NULL);
    Py_DECREF(released);
    if (rc == 0)
        runtime_activity_end();
    return rc;
}

static int program_quiescent(void)
{
    PyObject *result = runtime_hook("program_quiescent", NULL, 0);

    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* The same on several nodes: the envelope says what the counters were, and if nobody waits. */
static int announcement_handle(const struct c4p_envelope *envelope)
{
    uint64_t processed, sent;

    counters_read(&processed, &sent);
    if (processed != envelope->future || sent != envelope->collection) {
        rt.quiet = UINT64_MAX; /* a client asks again */
        return 0;
    }
    if (callbacks != NULL)
        return release_callbacks();
    if (envelope->sequence == 0 || rt.pe != 0 || rt.session || !nothing_to_come())
        return 0;
    return program_quiescent();
}

/* Somebody saw quiescence. It may be over by now: then it will be seen again. */
int quiescence_handle(const struct c4p_envelope *envelope)
{
    uint64_t total;

    if (rt.segment.geometry.nodes > 1)
        return announcement_handle(envelope);
    total = quiet_total();
    if (total == UINT64_MAX)
        return 0;
    if (callbacks != NULL)
        return release_callbacks();
    /* The same total twice: nothing has begun between the two, so what was read there holds. */
    if (rt.pe != 0 || rt.session || !nothing_to_come() || quiet_total() != total)
        return 0;
    return program_quiescent();
}

PyObject *quiescence_start(PyObject *self, PyObject *callback)
{
    (void)self;
    if (runtime_require() != 0)
        return NULL;
    if (Py_TYPE(callback) != &Future_Type && Py_TYPE(callback) != &BoundMethod_Type) {
        PyErr_SetString(PyExc_TypeError,
                        "startQD() needs a callback: a future, or a method of a proxy");
        return NULL;
    }
    if (rt.segment.geometry.local_pes == 0 && rt.segment.geometry.nodes == 1)
        return runtime_error("startQD() in a client that does not map the segment of its session: "
                             "use session.wait_quiescence()");
    if (callbacks == NULL && (callbacks = PyList_New(0)) == NULL)
        return NULL;
    if (PyList_Append(callbacks, callback) != 0)
        return NULL;
    atomic_fetch_add(&rt.self->quiescence_wanted, 1);
    rt.quiet = UINT64_MAX; /* the same total must be announced again: somebody new waits */
    message_nudge();
    Py_RETURN_NONE;
}
