/*
 * Futures: values that will come, readable by any coroutine of the PE that made them.
 *
 * Only a future's number travels, so its PE has a table of them: it finds every
 * future that lives, and keeps alive those that values are due for.
 */
#include <string.h>

#include "python/ext/runtime.h"

/* ---- making ---- */

static Future *future_new(uint32_t owner, uint64_t id)
{
    Future *future = PyObject_GC_New(Future, &Future_Type);

    if (future == NULL)
        return NULL;
    memset((char *)future + sizeof(PyObject), 0, sizeof(*future) - sizeof(PyObject));
    future->owner = owner;
    future->id = id;
    return future;
}

Future *future_create(uint8_t mode, uint64_t expected)
{
    Future *future = future_new(rt.pe, ++rt.future_counter);

    if (future == NULL)
        return NULL;
    future->mode = mode;
    future->expected = expected;
    if (table_set(&rt.futures, future->id, future) != 0) {
        Py_DECREF(future);
        PyErr_NoMemory();
        return NULL;
    }
    Py_INCREF(future); /* by the table, while values are due */
    future->entered = future->due = true;
    return future;
}

PyObject *future_resolve(uint32_t owner, uint64_t id)
{
    PyObject *future = owner == rt.pe ? table_get(&rt.futures, id) : NULL;

    if (future != NULL)
        return new_ref(future);
    return (PyObject *)future_new(owner, id);
}

void future_set_about(Future *future, PyObject *about)
{
    Py_XSETREF(future->about, new_ref(about));
}

/* ---- waiting ---- */

int future_add_waiter(Future *future, struct coroutine *coroutine)
{
    if (future->waiter_count == future->waiter_room) {
        uint32_t room = future->waiter_room ? future->waiter_room * 2 : 1;
        struct coroutine **waiters =
            PyMem_Realloc(future->waiters, room * sizeof(struct coroutine *));

        if (waiters == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        future->waiters = waiters;
        future->waiter_room = room;
    }
    future->waiters[future->waiter_count++] = coroutine;
    return 0;
}

void future_forget_waiter(Future *future, struct coroutine *coroutine)
{
    for (uint32_t i = 0; i < future->waiter_count; i++)
        if (future->waiters[i] == coroutine) {
            future->waiter_count--;
            memmove(&future->waiters[i], &future->waiters[i + 1],
                    (future->waiter_count - i) * sizeof(*future->waiters));
            return;
        }
}

/* Could it be part of a circle, as an error is whose traceback leads to who has read it? */
static bool future_holds_container(const Future *future)
{
    return (future->value != NULL && PyObject_IS_GC(future->value)) || future->error != NULL;
}

static void future_finish(Future *future)
{
    bool due = future->due;

    future->done = true;
    future->due = false;
    if (future_holds_container(future) && !PyObject_GC_IsTracked((PyObject *)future))
        PyObject_GC_Track(future);
    if (due)
        Py_DECREF(future);
}

void future_abandon(Future *future)
{
    future_finish(future);
    Py_DECREF(future);
}

/* Tell those who asked to be told, in a client: they put something into an event loop. */
static int future_tell(Future *future)
{
    PyObject *watchers = future->watchers;
    int rc = 0;

    if (watchers == NULL)
        return 0;
    future->watchers = NULL;
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(watchers); i++) {
        PyObject *result = PyObject_CallNoArgs(PyList_GET_ITEM(watchers, i));

        rc = result == NULL ? runtime_survive() : 0;
        Py_XDECREF(result);
    }
    Py_DECREF(watchers);
    return rc;
}

/* Continue who waits, from the scheduler. Takes over a reference: who continues may give it up. */
static int future_wake(Future *future)
{
    uint32_t count = future->waiter_count;
    struct coroutine **waiters = future->waiters;
    int rc = future_tell(future);

    future->waiters = NULL;
    future->waiter_count = future->waiter_room = 0;
    Py_DECREF(future);
    if (rc != 0) {
        PyMem_Free(waiters);
        return rc;
    }
    if (count == 1) {
        struct coroutine *only = waiters[0];

        PyMem_Free(waiters);
        return coroutine_resume(only);
    }
    /* One of them may end the wait of another: so not directly. */
    for (uint32_t i = 0; i < count; i++)
        coroutine_make_ready(waiters[i]);
    PyMem_Free(waiters);
    return rc;
}

int future_wake_later(Future *future)
{
    for (uint32_t i = 0; i < future->waiter_count; i++)
        coroutine_make_ready(future->waiters[i]);
    future->waiter_count = 0;
    return future_tell(future);
}

/* ---- receiving ---- */

static int future_add(Future *future, PyObject *value)
{
    if (PyExceptionInstance_Check(value) && PyObject_IsInstance(value, PyExc_Exception) == 1)
        Py_XSETREF(future->error, new_ref(value));
    if (future->expected == 1) {
        Py_XSETREF(future->value, new_ref(value));
    } else {
        if (future->value == NULL && (future->value = PyList_New(0)) == NULL)
            return -1;
        if (PyList_Append(future->value, value) != 0)
            return -1;
    }
    if (++future->received == future->expected)
        future_finish(future);
    return 0;
}

int future_set(Future *future, PyObject *value)
{
    int rc;

    Py_INCREF(future);
    future->received = 0;
    future->expected = 1;
    rc = future_add(future, value);
    if (future_wake_later(future) != 0)
        rc = -1;
    Py_DECREF(future);
    return rc;
}

int future_fail_all(void)
{
    PyObject *pending = PyList_New(0);
    int rc = pending == NULL ? -1 : 0;

    for (size_t i = 0; rc == 0 && rt.futures.entries != NULL && i <= rt.futures.mask; i++) {
        Future *future = rt.futures.entries[i].value;

        if (future == NULL)
            continue;
        future->entered = false;
        if (future->due)
            rc = PyList_Append(pending, (PyObject *)future);
    }
    table_clear(&rt.futures);
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(pending); i++) {
        Future *future = (Future *)PyList_GET_ITEM(pending, i);

        if (!future->done) {
            rc = future_set(future, rt.over);
        } else {
            future->due = false; /* cancelled: no values come any more */
            Py_DECREF(future);
        }
    }
    Py_XDECREF(pending);
    return rc;
}

static int future_too_many(uint64_t id)
{
    if (id > rt.future_counter)
        runtime_error("a value for future %llu, which PE %u has not made", (unsigned long long)id,
                      rt.pe);
    else
        runtime_error("future %llu of PE %u received more values than it was made for: "
                      "Future(num_vals=...) must count all sends",
                      (unsigned long long)id, rt.pe);
    return -1;
}

/* A value for a future that some are due for. */
static int future_take(Future *future, PyObject *value)
{
    if (!future->cancelled)
        return future_add(future, value);
    if (++future->received == future->expected)
        future_finish(future);
    return 0;
}

int future_deliver(Future *future, PyObject *value)
{
    int rc;

    if (!future->due || future->mode != FUTURE_VALUES)
        return future_too_many(future->id);
    Py_INCREF(future);
    rc = future_take(future, value);
    if (future->done && future_wake_later(future) != 0)
        rc = -1;
    Py_DECREF(future);
    return rc;
}

/* The pending exception, for the reader of a future whose value cannot be had; NULL if it ends
 * the program. */
static PyObject *error_take(void)
{
    PyObject *type, *value, *traceback;

    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return NULL;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

/* The outcome of calls that are part of a broadcast handled here. */
static int share_take(Future *future, bool raised, PyObject *const *args, bool part)
{
    int rc =
        part ? completion_take_part(future, raised, args) : completion_take_value(future, args[0]);

    future_finish(future);
    return rc;
}

int future_handle_value(uint64_t offset, const struct c4p_envelope *envelope)
{
    uint64_t id = envelope->future;
    PyObject *value[2] = {NULL, NULL};
    Future *future;
    int rc;

    if (envelope->args != 1) {
        message_release(offset);
        PyErr_SetString(PyExc_ValueError, "a future's message without exactly one value");
        return -1;
    }
    if (message_decode(offset, envelope, value) != 0) {
        if (!PyErr_Occurred())
            return 0;
        if ((value[0] = error_take()) == NULL)
            return -1;
    }
    future = table_get(&rt.futures, id);
    if (future != NULL && future->due && future->mode == FUTURE_SHARE) {
        rc = share_take(future, false, value, false);
        Py_DECREF(value[0]);
        return rc;
    }
    if (future == NULL || !future->due || future->mode != FUTURE_VALUES) {
        Py_XDECREF(value[0]);
        return future_too_many(id);
    }
    Py_INCREF(future);
    rc = future_take(future, value[0]);
    Py_XDECREF(value[0]);
    if (rc == 0 && future->done)
        return future_wake(future);
    Py_DECREF(future);
    return rc;
}

/* One PE's part of a broadcast that somebody waits for. */
static int completion_take(Future *future, bool raised, PyObject **args)
{
    PyObject *part = NULL;
    int rc = 0;

    if (future->cancelled)
        return future_take(future, NULL);
    if (raised) {
        Py_XSETREF(future->error, new_ref(args[0]));
    } else if (future->mode == FUTURE_RETURNS && args[1] != NULL) {
        if (future->value == NULL && (future->value = PyList_New(0)) == NULL)
            return -1;
        part = PyTuple_Pack(2, args[0], args[1]);
        rc = part == NULL ? -1 : PyList_Append(future->value, part);
        Py_XDECREF(part);
    }
    if (++future->received < future->expected || rc != 0)
        return rc;
    if (future->mode == FUTURE_RETURNS) {
        PyObject *parts[1] = {future->value ? future->value : Py_None};
        PyObject *sorted = runtime_hook("sort_returns", parts, 1);

        if (sorted == NULL)
            return -1;
        Py_XSETREF(future->value, sorted);
    } else {
        Py_XSETREF(future->value, new_ref(Py_None));
    }
    future_finish(future);
    return 0;
}

int future_handle_completion(uint64_t offset, const struct c4p_envelope *envelope)
{
    uint64_t id = envelope->future;
    PyObject *args[3] = {NULL, NULL, NULL};
    bool raised = envelope->flags & C4P_EXCEPTION;
    Future *future;
    int rc;

    if (envelope->args > 2 || (envelope->flags & C4P_EXCEPTION && envelope->args != 1)) {
        message_release(offset);
        PyErr_SetString(PyExc_ValueError, "a malformed completion of a broadcast");
        return -1;
    }
    if (envelope->args == 0) {
        message_release(offset);
    } else if (message_decode(offset, envelope, args) != 0) {
        if (!PyErr_Occurred())
            return 0;
        raised = true;
        if ((args[0] = error_take()) == NULL)
            return -1;
    }
    future = table_get(&rt.futures, id);
    if (future != NULL && future->due && future->mode == FUTURE_SHARE) {
        rc = share_take(future, raised, args, true);
        args_release(args, 2);
        return rc;
    }
    if (future == NULL || !future->due || future->mode == FUTURE_VALUES) {
        args_release(args, 2);
        return future_too_many(id);
    }
    Py_INCREF(future);
    rc = completion_take(future, raised, args);
    args_release(args, 2);
    if (rc == 0 && future->done)
        return future_wake(future);
    Py_DECREF(future);
    return rc;
}

int future_send_value(uint32_t owner, uint64_t id, PyObject *value)
{
    struct c4p_envelope like = {.kind = C4P_FUTURE, .future = id};

    return message_send(&like, owner, &value, 1, NULL);
}
