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
    loop_leave(0);
}

static int quiescent_handle(uint64_t offset, const struct c4p_envelope *envelope)
{
    (void)envelope;
    message_release(offset);
    return quiescence_handle();
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
    [C4P_REDUCED] = {reduction_handle_result, true},
    [C4P_CLASS_WANTED] = {class_handle_wanted, true},
    [C4P_CLASS] = {class_handle, true},
    [C4P_READONLIES] = {readonlies_handle, true},
    [C4P_QUIESCENT] = {quiescent_handle, false},
    [C4P_STOP] = {stop_handle, false},
};

void runtime_activity_begin(void)
{
    atomic_store_explicit(&rt.self->sent, ++rt.sent, memory_order_release);
}

void runtime_activity_end(void)
{
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
    if (handlers[envelope.kind].handle(offset, &envelope) != 0)
        return -1;
    if (handlers[envelope.kind].counted)
        runtime_activity_end();
    return 0;
}

static uint64_t chain_take(uint64_t *chain)
{
    uint64_t offset = *chain;

    *chain = segment_block(&rt.segment, offset)->next;
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
static bool have_work(void)
{
    return inbox_has_mail(&rt.segment, rt.slot) || rt.local != 0 || rt.resumed != 0 ||
           rt.ready != NULL;
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

    if (atomic_load_explicit(&header->awake, memory_order_relaxed) > rt.segment.geometry.cores)
        tight = now, end = now + CROWDED_NS;
    for (; now < end; now = clock_now()) {
        for (int i = 0; i < 32; i++) {
            if (have_work())
                return true;
            cpu_relax();
        }
        if (now >= tight)
            sched_yield();
    }
    return have_work();
}

static int64_t sleep_time(void)
{
    int64_t deadline = timer_next();
    int64_t left;

    if (deadline < 0)
        return -1;
    left = deadline - clock_now();
    return left > 0 ? left : 0;
}

static int idle_sleep(void)
{
    struct segment_header *header = segment_header(&rt.segment);
    int64_t left = sleep_time();
    int signal = 0;

    if (left == 0)
        return 0;
    if (!inbox_announce_sleep(&rt.segment, rt.slot))
        return 0;
    atomic_fetch_add_explicit(&rt.self->sleeps, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&header->awake, 1, memory_order_relaxed);
    Py_BEGIN_ALLOW_THREADS signal = inbox_sleep(&rt.segment, rt.slot, left);
    Py_END_ALLOW_THREADS atomic_fetch_add_explicit(&header->awake, 1, memory_order_relaxed);
    return signal == EINTR ? PyErr_CheckSignals() : 0;
}

static int idle(void)
{
    int64_t next = timer_next();

    region_returns_flush(&rt.returns);
    if (next >= 0 && next <= clock_now())
        return 0;
    if (idle_spin())
        return 0;
    if (quiescence_check() != 0)
        return -1;
    return have_work() ? 0 : idle_sleep();
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

int loop_run(void)
{
    for (unsigned turn = 0;; turn++) {
        bool worked = false;
        int rc;

        if (rt.forked)
            loop_leave_child();
        if (rt.mail == 0 && take_mail() != 0)
            return -1;
        if (rt.mail != 0) {
            worked = true;
            if (handle_next(&rt.mail) != 0)
                return -1;
        }
        if (rt.local != 0 || rt.resumed != 0) {
            worked = true;
            if (handle_next(&rt.local) != 0)
                return -1;
        }
        if (rt.ready != NULL) {
            worked = true;
            if (coroutine_run_ready() < 0)
                return -1;
        }
        if (!worked || turn % 64 == 0) {
            rc = timers_if_due();
            if (rc < 0 || (turn % 1024 == 0 && PyErr_CheckSignals() != 0))
                return -1;
            if (!worked && rc == 0 && idle() != 0)
                return -1;
        }
    }
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
