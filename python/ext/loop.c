/*
 * The scheduler of a PE: takes messages and hands each to the handler of its
 * kind, fires timers, continues coroutines, and sleeps when there is nothing.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "python/ext/delays.h"
#include "python/ext/runtime.h"

/* How long to look for mail before going to sleep: a wake-up costs as much. */
#define SPIN_NS 60000
#define TIGHT_NS 1500    /* of these, without offering the core to others */
#define CROWDED_NS 10000 /* instead, if there are more PEs awake than cores */

static int stop_handle(uint64_t offset, const struct c4p_envelope *envelope)
{
    (void)envelope;
    message_release(offset);
    if (rt.client)
        return 0; /* it hears of the session's end from the daemon, with the reason */
    loop_leave(0);
}

static int quiescent_handle(uint64_t offset, const struct c4p_envelope *envelope)
{
    message_release(offset);
    return quiescence_handle(envelope);
}

static int readonlies_handle(uint64_t offset, const struct c4p_envelope *envelope)
{
    PyObject *args[2] = {NULL, NULL};
    PyObject *result;

    if (envelope->args != 1) {
        message_release(offset);
        PyErr_SetString(PyExc_ValueError, "malformed readonlies");
        return -1;
    }
    if (message_decode(offset, envelope, args) != 0)
        return PyErr_Occurred() ? -1 : 0;
    result = runtime_hook("set_readonlies", args, 1);
    args_release(args, 1);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

typedef int (*handler)(uint64_t offset, const struct c4p_envelope *envelope);

/* Who handles what. `counted`: takes part in quiescence. Kinds without one are not for PEs. */
static const struct {
    handler handle;
    bool counted;
} handlers[C4P_KINDS] = {
    [C4P_CALL] = {call_handle, true},
    [C4P_CREATE] = {collection_handle_create, true},
    [C4P_FUTURE] = {future_handle_value, true},
    [C4P_COMPLETION] = {future_handle_completion, true},
    [C4P_PARTIAL] = {reduction_handle_part, true},
    [C4P_NODE_PART] = {reduction_handle_node_part, true},
    [C4P_REDUCED] = {reduction_handle_result, true},
    [C4P_CLASS_WANTED] = {class_handle_wanted, true},
    [C4P_CLASS] = {class_handle, true},
    [C4P_READONLIES] = {readonlies_handle, true},
    [C4P_LOCATION] = {location_handle, true},
    [C4P_ELEMENT] = {element_handle, true},
    [C4P_CONTRIBUTION] = {contributions_handle, true},
    [C4P_QUIESCENT] = {quiescent_handle, false},
    [C4P_STOP] = {stop_handle, false},
};

void runtime_activity_begin(void)
{
    if (rt.client)
        return;
    atomic_store_explicit(&rt.self->sent, ++rt.sent, memory_order_release);
}

void runtime_activity_end(void)
{
    if (rt.client)
        return;
    delay_point();
    atomic_store_explicit(&rt.self->processed, ++rt.processed, memory_order_release);
}

static int message_handle(uint64_t offset)
{
    struct c4p_envelope envelope;
    enum c4p_envelope_error error =
        envelope_check(segment_block(&rt.segment, offset), segment_room(&rt.segment, offset),
                       rt.segment.geometry.epoch, &envelope);

    delay_point();
    if (error != C4P_ENVELOPE_OK || handlers[envelope.kind].handle == NULL) {
        atomic_fetch_add_explicit(&rt.self->dropped, 1, memory_order_relaxed);
        runtime_error("a message that cannot be read: %s",
                      error != C4P_ENVELOPE_OK ? envelope_error_text(error) : "not for a PE");
        return -1;
    }
    if (rt.client && envelope.target != rt.pe) {
        /* It was meant for a client that sat here before. */
        atomic_fetch_add_explicit(&rt.self->dropped, 1, memory_order_relaxed);
        message_release(offset);
        return 0;
    }
    envelope.source = envelope_origin(&envelope);
    if (handlers[envelope.kind].handle(offset, &envelope) != 0 && runtime_survive() != 0)
        return -1;
    if (handlers[envelope.kind].counted)
        runtime_activity_end();
    return 0;
}

static uint64_t chain_take(uint64_t *chain)
{
    uint64_t offset = *chain;

    *chain = segment_block(&rt.segment, offset)->next;
    if (rt.client && chain == &rt.mail) /* if we die, the router gives the rest back */
        atomic_store_explicit(&rt.self->mail, rt.mail, memory_order_relaxed);
    return offset;
}

/* Handle what need not wait any more, then take one message from a chain and handle it. */
static int handle_next(uint64_t *chain)
{
    while (rt.resumed != 0)
        if (message_handle(chain_take(&rt.resumed)) != 0)
            return -1;
    return *chain != 0 ? message_handle(chain_take(chain)) : 0;
}

static int take_mail(void)
{
    errno = 0;
    rt.mail = inbox_take(&rt.segment, rt.slot);
    if (rt.client)
        atomic_store_explicit(&rt.self->mail, rt.mail, memory_order_relaxed);
    if (rt.mail == 0 && errno == EBADMSG) {
        runtime_error("the job's shared segment is corrupt: something wrote over this PE's inbox");
        return -1;
    }
    return 0;
}

/* ---- idling ---- */

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Another thread of the program may have sent to us, or woken a coroutine. */
bool loop_has_work(void)
{
    return inbox_has_mail(&rt.segment, rt.slot) || rt.local != 0 || rt.resumed != 0 ||
           rt.ready != NULL || rt.mail != 0 || rt.over != NULL;
}

/*
 * Look for mail for a while: longer if the other PEs have cores of their own. Whoever we wait for
 * may yet share our core, because others use the machine too: so after the first microseconds the
 * core is offered in every turn.
 */
static bool idle_spin(void)
{
    const struct segment_header *header = segment_header(&rt.segment);
    int64_t now = clock_now();
    int64_t tight = now + TIGHT_NS, end = now + SPIN_NS;

    if (atomic_load_explicit(&header->awake, memory_order_relaxed) + rt.client >
        rt.segment.geometry.cores)
        tight = now, end = now + CROWDED_NS;
    for (; now < end; now = clock_now()) {
        for (int i = 0; i < 32; i++) {
            if (loop_has_work())
                return true;
            cpu_relax();
        }
        if (now >= tight)
            sched_yield();
    }
    return loop_has_work();
}

/* Nanoseconds until the next timer or the deadline, whichever comes first; -1: for ever. */
static int64_t sleep_time(int64_t limit)
{
    int64_t deadline = timer_next();
    int64_t left;

    if (limit >= 0 && (deadline < 0 || limit < deadline))
        deadline = limit;
    if (deadline < 0)
        return -1;
    left = deadline - clock_now();
    return left > 0 ? left : 0;
}

/*
 * A signal that comes between the last look and the futex wakes nobody. In a client it may be Ctrl-C,
 * for which a person waits: it looks again after this time.
 */
#define SIGNAL_NS 100000000

static int idle_sleep(int64_t deadline)
{
    struct segment_header *header = segment_header(&rt.segment);
    int64_t left = sleep_time(deadline);
    uint32_t counted = !rt.client; /* a client that is killed would be awake for ever */
    int signal = 0;

    if (left == 0)
        return 0;
    if (rt.client && (left < 0 || left > SIGNAL_NS))
        left = SIGNAL_NS;
    if (!inbox_announce_sleep(&rt.segment, rt.slot))
        return 0;
    if (rt.segment.geometry.nodes > 1 && counted && quiescence_tell() != 0)
        return -1;
    atomic_fetch_add_explicit(&rt.self->sleeps, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&header->awake, counted, memory_order_relaxed);
    Py_BEGIN_ALLOW_THREADS signal = inbox_sleep(&rt.segment, rt.slot, left);
    Py_END_ALLOW_THREADS atomic_fetch_add_explicit(&header->awake, counted, memory_order_relaxed);
    return signal == EINTR || rt.client ? PyErr_CheckSignals() : 0;
}

static int idle(int64_t deadline)
{
    int64_t next = timer_next();

    region_returns_flush(&rt.returns);
    if (next >= 0 && next <= clock_now())
        return 0;
    if (idle_spin())
        return 0;
    if (quiescence_check() != 0)
        return -1;
    return loop_has_work() ? 0 : idle_sleep(deadline);
}

/* ---- the loop ---- */

static int timers_if_due(void)
{
    int64_t next = timer_next();
    int64_t now;

    if (next < 0 || (now = clock_now()) < next)
        return 0;
    return timer_run(now);
}

/* One round of all there is to do. 1: something was done, 0: nothing, -1 with an exception. */
static int loop_turn(unsigned turn)
{
    int worked = 0;
    int rc = 0;

    if (rt.mail == 0 && take_mail() != 0)
        return -1;
    if (rt.mail != 0) {
        worked = 1;
        if (handle_next(&rt.mail) != 0)
            return -1;
    }
    if (rt.local != 0 || rt.resumed != 0) {
        worked = 1;
        if (handle_next(&rt.local) != 0)
            return -1;
    }
    if (rt.ready != NULL) {
        worked = 1;
        if (coroutine_run_ready() < 0 && runtime_survive() != 0)
            return -1;
    }
    if (!worked || turn % 64 == 0) {
        rc = timers_if_due();
        if (rc < 0 && runtime_survive() != 0)
            return -1;
        if (turn % 1024 == 0 && PyErr_CheckSignals() != 0)
            return -1;
    }
    return worked || rc != 0;
}

int loop_run(void)
{
    for (unsigned turn = 0;; turn++) {
        int rc;

        if (rt.forked)
            loop_leave_child();
        rc = loop_turn(turn);
        if (rc < 0 || (rc == 0 && idle(-1) != 0))
            return -1;
    }
}

/* ---- the loop of a client ---- */

int loop_poll(void)
{
    int rc, any = 0;

    for (unsigned turn = 1; rt.over == NULL && (rc = loop_turn(turn)) != 0; turn++) {
        if (rc < 0)
            return -1;
        any = 1;
    }
    region_returns_flush(&rt.returns);
    return any;
}

/* Other threads of the program may wait for the interpreter. */
static void threads_let(void)
{
    Py_BEGIN_ALLOW_THREADS;
    Py_END_ALLOW_THREADS;
}

static bool any_done(PyObject *const *futures, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++)
        if (((const Future *)futures[i])->done)
            return true;
    return false;
}

int loop_until(PyObject *const *futures, Py_ssize_t count, int64_t deadline)
{
    client_disarm();
    for (unsigned turn = 1; !any_done(futures, count) && rt.over == NULL; turn++) {
        int rc = loop_turn(turn);

        if (rc < 0)
            return -1;
        if (turn % 256 == 0)
            threads_let();
        if (rc > 0)
            continue;
        if (deadline >= 0 && clock_now() >= deadline)
            break;
        if (idle(deadline) != 0)
            return -1;
    }
    region_returns_flush(&rt.returns);
    return 0;
}

/* ---- leaving ---- */

/* The atexit functions, once: they can end the program too. */
static void before_leaving(void)
{
    static bool leaving;
    PyObject *result;

    if (leaving)
        return;
    leaving = true;
    result = runtime_hook("before_leaving", NULL, 0);
    if (result == NULL)
        PyErr_Clear();
    Py_XDECREF(result);
}

_Noreturn void loop_leave(int code)
{
    before_leaving();
    if (rt.self != NULL)
        atomic_store(&rt.self->status, ENDPOINT_LEFT);
    _exit(code);
}

_Noreturn void loop_exit(int code, const char *text, size_t size)
{
    before_leaving();
    /* If not even this message can be had, dying says enough. */
    if (message_send_router(C4P_EXIT, (uint32_t)code, text, size) != 0)
        _exit(code != 0 ? code : 1);
    atomic_store(&rt.self->status, ENDPOINT_LEFT);
    _exit(0);
}

/* The pending exception; None if there is none. */
static PyObject *exception_fetch(void)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    if (type == NULL)
        return new_ref(Py_None);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    return value;
}

int runtime_survive(void)
{
    PyObject *args[1], *result;

    if (!rt.session && !rt.client)
        return -1;
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return -1;
    args[0] = exception_fetch();
    result = runtime_hook(rt.client ? "client_error" : "session_error", args, 1);
    if (result == NULL)
        PyErr_WriteUnraisable(args[0]);
    Py_XDECREF(result);
    Py_DECREF(args[0]);
    return 0;
}

_Noreturn void loop_leave_child(void)
{
    PyObject *args[1] = {exception_fetch()};
    PyObject *code = runtime_hook("child_ended", args, 1);

    _exit(code != NULL ? (int)PyLong_AsLong(code) : 1);
}

/* We may be where no more calls are possible: that is what the exception may be about. */
static void recursion_allow(void)
{
    Py_SetRecursionLimit(Py_GetRecursionLimit() + 200);
#if PY_VERSION_HEX >= 0x030c0000 && PY_VERSION_HEX < 0x030e0000
    PyThreadState_Get()->c_recursion_remaining += 200; /* these count calls by C code apart */
#endif
}

_Noreturn void loop_fatal(void)
{
    PyObject *args[1], *outcome;
    const char *text = NULL;
    Py_ssize_t size = 0;
    int code = 1;

    if (rt.forked)
        loop_leave_child();
    args[0] = exception_fetch();
    recursion_allow();
    outcome = runtime_hook("fatal", args, 1);
    if (outcome == NULL) {
        PyErr_Print();
    } else {
        code = (int)PyLong_AsLong(PyTuple_GetItem(outcome, 0));
        text = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(outcome, 1), &size);
    }
    if (text == NULL)
        size = 0;
    loop_exit(code, text, (size_t)size);
}
