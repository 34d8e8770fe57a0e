/*
 * Futures as Python sees them: reading, which waits, sending, cancelling, `await`.
 */
#include "python/ext/runtime.h"

/* ---- their life ---- */

static int future_traverse(PyObject *self, visitproc visit, void *arg)
{
    Future *future = (Future *)self;

    Py_VISIT(future->value);
    Py_VISIT(future->error);
    Py_VISIT(future->about);
    Py_VISIT(future->watchers);
    return 0;
}

static int future_clear(PyObject *self)
{
    Future *future = (Future *)self;

    Py_CLEAR(future->value);
    Py_CLEAR(future->error);
    Py_CLEAR(future->about);
    Py_CLEAR(future->watchers);
    return 0;
}

static void future_dealloc(PyObject *self)
{
    Future *future = (Future *)self;

    PyObject_GC_UnTrack(self);
    if (future->entered)
        table_remove(&rt.futures, future->id);
    if (future->weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    future_clear(self);
    PyMem_Free(future->waiters);
    PyObject_GC_Del(self);
}

/* ---- reading ---- */

static PyObject *future_result(Future *future)
{
    /* A new exception each time: with its traceback it would keep what the reader had, as long as
     * values may come. */
    if (future->cancelled)
        return runtime_hook("cancelled", NULL, 0);
    if (future->error != NULL && rt.client) {
        /* What people see of it has to have its remote traceback. */
        PyObject *shown = runtime_hook("show_remote", &future->error, 1);

        if (shown == NULL)
            return NULL;
        Py_DECREF(shown);
    }
    if (future->error != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(future->error), future->error);
        return NULL;
    }
    return new_ref(future->value ? future->value : Py_None);
}

static int future_require_owner(const Future *future)
{
    if (future->owner == rt.pe && (future->done || future->expected > 0))
        return 0;
    if (future->owner == rt.pe)
        runtime_error("this is a copy of future %llu, which has received its values already: keep "
                      "the future itself to read it",
                      (unsigned long long)future->id);
    else
        runtime_error("this future belongs to PE %u and can be read only there: from here it can "
                      "be sent to, or the value passed on",
                      future->owner);
    return -1;
}

/* The one optional argument of get(). NULL with an exception. */
static PyObject *future_get_timeout(PyObject *const *args, Py_ssize_t count, PyObject *kwnames)
{
    Py_ssize_t named = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;

    if (count + named > 1) {
        PyErr_Format(PyExc_TypeError, "get() takes at most one argument, timeout (%zd given)",
                     count + named);
        return NULL;
    }
    if (named == 1 &&
        PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(kwnames, 0), "timeout") != 0) {
        PyErr_Format(PyExc_TypeError, "get() has no argument %R: its only one is timeout",
                     PyTuple_GET_ITEM(kwnames, 0));
        return NULL;
    }
    return count + named == 1 ? args[0] : Py_None;
}

static int future_block(Future *future, struct coroutine *coroutine)
{
    int rc = 0;

    while (rc == 0 && !future->done && !coroutine->timed_out) {
        rc = future_add_waiter(future, coroutine);
        if (rc == 0) {
            rc = coroutine_suspend(coroutine, (PyObject *)future);
            future_forget_waiter(future, coroutine);
        }
    }
    return rc;
}

/* In a client it is the reader who handles the messages meanwhile. */
static PyObject *future_get_driving(Future *future, PyObject *timeout, double seconds)
{
    int64_t deadline = -1;
    int rc;

    if (runtime_require() != 0)
        return NULL;
    if (timeout != Py_None)
        deadline =
            clock_now() + (seconds > 0 ? (int64_t)(seconds < 1e9 ? seconds * 1e9 : 1e18) : 0);
    Py_INCREF(future);
    rc = loop_until((PyObject *const *)&future, 1, deadline);
    if (rc == 0 && !future->done && rt.over != NULL)
        rc = future_fail_all();
    Py_DECREF(future);
    if (rc != 0)
        return NULL;
    if (!future->done)
        return PyErr_Format(PyExc_TimeoutError, "no value after %S seconds", timeout);
    return future_result(future);
}

static PyObject *future_get(PyObject *self, PyObject *const *args, Py_ssize_t count,
                            PyObject *kwnames)
{
    Future *future = (Future *)self;
    PyObject *timeout = future_get_timeout(args, count, kwnames);
    struct coroutine *coroutine;
    struct timer *timer = NULL;
    double seconds = 0;
    int rc;

    if (timeout == NULL)
        return NULL;
    if (future->done && future->owner == rt.pe)
        return future_result(future);
    if (future_require_owner(future) != 0)
        return NULL;
    if (timeout != Py_None && (seconds = PyFloat_AsDouble(timeout)) == -1.0 && PyErr_Occurred())
        return NULL;
    if (client_drives())
        return future_get_driving(future, timeout, seconds);
    coroutine = coroutine_require("Future.get");
    if (coroutine == NULL)
        return NULL;
    if (timeout != Py_None && (timer = timer_add(seconds, NULL, NULL, coroutine)) == NULL)
        return NULL;
    coroutine->timed_out = false;
    rc = future_block(future, coroutine);
    if (timer != NULL && !coroutine->timed_out)
        timer_cancel(timer);
    coroutine->timed_out = false;
    if (rc != 0)
        return NULL;
    if (!future->done) {
        PyErr_Format(PyExc_TimeoutError, "no value after %S seconds", timeout);
        return NULL;
    }
    return future_result(future);
}

static PyObject *future_send(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    Future *future = (Future *)self;

    if (runtime_require() != 0)
        return NULL;
    if (count > 1) {
        PyErr_Format(PyExc_TypeError, "a future takes one value, not %zd: send a tuple", count);
        return NULL;
    }
    if (future_send_value(future->owner, future->id, count == 1 ? args[0] : Py_None) != 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *future_call(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"value", NULL};
    PyObject *value = Py_None;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:Future", keywords, &value))
        return NULL;
    return future_send(self, &value, 1);
}

static PyObject *future_ready(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyBool_FromLong(((Future *)self)->done);
}

static PyObject *future_cancel(PyObject *self, PyObject *unused)
{
    Future *future = (Future *)self;

    (void)unused;
    if (future_require_owner(future) != 0)
        return NULL;
    if (future->done)
        Py_RETURN_FALSE;
    future->cancelled = future->done = true; /* the table keeps it: values may still come */
    if (future_wake_later(future) != 0)
        return NULL;
    future_clear(self);
    Py_RETURN_TRUE;
}

static PyObject *future_reduce(PyObject *self, PyObject *unused)
{
    Future *future = (Future *)self;
    PyObject *function, *result;

    (void)unused;
    function = PyObject_GetAttrString(rt.hooks, "future_from");
    if (function == NULL)
        return NULL;
    result = Py_BuildValue("N(IK)", function, future->owner, (unsigned long long)future->id);
    return result;
}

static PyObject *future_deepcopy(PyObject *self, PyObject *memo)
{
    (void)memo;
    return new_ref(self);
}

static PyObject *future_repr(PyObject *self)
{
    Future *future = (Future *)self;

    return PyUnicode_FromFormat("<c4py.Future %llu of PE %u: %s>", (unsigned long long)future->id,
                                future->owner,
                                future->cancelled  ? "cancelled"
                                : future->done     ? "done"
                                : future->expected ? "pending"
                                                   : "remote");
}

static PyObject *future_about(PyObject *self, void *unused)
{
    Future *future = (Future *)self;

    (void)unused;
    return Py_BuildValue("(OKK)", future->about ? future->about : Py_None,
                         (unsigned long long)future->received,
                         (unsigned long long)future->expected);
}

static Py_hash_t future_hash(PyObject *self)
{
    const Future *future = (Future *)self;

    return (Py_hash_t)(future->id * 1000003u ^ future->owner) & PY_SSIZE_T_MAX;
}

static PyObject *future_compare(PyObject *self, PyObject *other, int op)
{
    const Future *a = (Future *)self, *b = (Future *)other;
    bool equal;

    if ((op != Py_EQ && op != Py_NE) || Py_TYPE(other) != &Future_Type)
        Py_RETURN_NOTIMPLEMENTED;
    equal = a->owner == b->owner && a->id == b->id;
    return PyBool_FromLong(equal == (op == Py_EQ));
}

/* ---- await ---- */

typedef struct {
    PyObject_HEAD Future *future;
} FutureIter;

static void FutureIter_dealloc(PyObject *self)
{
    Py_XDECREF(((FutureIter *)self)->future);
    PyObject_Free(self);
}

static PyObject *FutureIter_next(PyObject *self)
{
    Future *future = ((FutureIter *)self)->future;
    PyObject *value, *stop;

    if (!future->done)
        return new_ref((PyObject *)future);
    value = future_result(future);
    if (value == NULL)
        return NULL;
    /* Through an instance: a tuple as the value must stay one value. */
    stop = PyObject_CallFunctionObjArgs(PyExc_StopIteration, value, NULL);
    Py_DECREF(value);
    if (stop != NULL) {
        PyErr_SetObject(PyExc_StopIteration, stop);
        Py_DECREF(stop);
    }
    return NULL;
}

static PyTypeObject FutureIter_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "c4py._c4py.FutureIterator",
    .tp_basicsize = sizeof(FutureIter),
    .tp_dealloc = FutureIter_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = FutureIter_next,
};

static PyObject *future_await(PyObject *self)
{
    FutureIter *iterator;

    if (future_require_owner((Future *)self) != 0 || PyType_Ready(&FutureIter_Type) != 0)
        return NULL;
    if (client_drives())
        return runtime_hook("await_in_client", &self, 1);
    iterator = PyObject_New(FutureIter, &FutureIter_Type);
    if (iterator != NULL)
        iterator->future = (Future *)new_ref(self);
    return (PyObject *)iterator;
}

/* For clients: call something when the future is done, or now if it is. */
static PyObject *future_watch(PyObject *self, PyObject *callable)
{
    Future *future = (Future *)self;

    if (future_require_owner(future) != 0)
        return NULL;
    if (future->done)
        return PyObject_CallNoArgs(callable);
    if (future->watchers == NULL && (future->watchers = PyList_New(0)) == NULL)
        return NULL;
    if (!PyObject_GC_IsTracked(self))
        PyObject_GC_Track(self);
    if (PyList_Append(future->watchers, callable) != 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Suspend the caller until one of the given futures is done. */
PyObject *future_wait_any(PyObject *self, PyObject *sequence)
{
    bool driving = client_drives();
    struct coroutine *coroutine = driving ? NULL : coroutine_require("charm.wait");
    PyObject *futures = coroutine || driving ? PySequence_Tuple(sequence) : NULL;
    Py_ssize_t count, added;
    bool done = false;
    int rc = 0;

    (void)self;
    if (futures == NULL)
        return NULL;
    count = PyTuple_GET_SIZE(futures);
    for (Py_ssize_t i = 0; rc == 0 && i < count; i++) {
        rc = future_require_owner((Future *)PyTuple_GET_ITEM(futures, i));
        done = done || ((Future *)PyTuple_GET_ITEM(futures, i))->done;
    }
    if (rc == 0 && !done && driving) {
        rc = loop_until(&PyTuple_GET_ITEM(futures, 0), count, -1);
        done = true;
        if (rc == 0 && rt.over != NULL)
            rc = future_fail_all();
    }
    while (rc == 0 && !done) {
        for (added = 0; rc == 0 && added < count; added++)
            rc = future_add_waiter((Future *)PyTuple_GET_ITEM(futures, added), coroutine);
        if (rc == 0)
            rc = coroutine_suspend(coroutine, futures);
        for (Py_ssize_t i = 0; i < added; i++) {
            future_forget_waiter((Future *)PyTuple_GET_ITEM(futures, i), coroutine);
            done = done || ((Future *)PyTuple_GET_ITEM(futures, i))->done;
        }
    }
    Py_DECREF(futures);
    if (rc != 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef future_methods[] = {
    {"get", (PyCFunction)(void (*)(void))future_get, METH_FASTCALL | METH_KEYWORDS,
     "get(timeout=None)\n--\n\n"
     "Wait for the value (or the list of `num_vals` values, in order of arrival) and return it.\n\n"
     "Suspends the calling coroutine; may be called by any number of coroutines of the PE that\n"
     "made the future, any number of times. If a value is an exception, raises it.\n\n"
     "timeout: seconds; TimeoutError if they pass first (the future stays usable).\n"
     "Raises NotThreadedError outside of a coroutine."},
    {"send", (PyCFunction)(void (*)(void))future_send, METH_FASTCALL,
     "send(value=None)\n--\n\n"
     "Send a value to the future, from any PE. Never blocks; the same as calling the future."},
    {"ready", future_ready, METH_NOARGS, "ready()\n--\n\nTrue if all values have arrived."},
    {"done", future_ready, METH_NOARGS, "done()\n--\n\nTrue if get() would not wait."},
    {"cancel", future_cancel, METH_NOARGS,
     "cancel()\n--\n\n"
     "Give up waiting: whoever reads the future gets CancelledError, values that still come are\n"
     "dropped. False if it was done already."},
    {"_watch", future_watch, METH_O, NULL},
    {"__reduce__", future_reduce, METH_NOARGS, NULL},
    {"__deepcopy__", future_deepcopy, METH_O, NULL},
    {NULL, NULL, 0, NULL}};

static PyGetSetDef future_getset[] = {
    {"_about", future_about, NULL, "What it is the outcome of, values received, expected.", NULL},
    {NULL, NULL, NULL, NULL, NULL}};

static PyAsyncMethods future_async = {.am_await = future_await};

PyTypeObject Future_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "c4py.threads.Future",
    .tp_basicsize = sizeof(Future),
    .tp_dealloc = future_dealloc,
    .tp_repr = future_repr,
    .tp_as_async = &future_async,
    .tp_hash = future_hash,
    .tp_call = future_call,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_traverse = future_traverse,
    .tp_clear = future_clear,
    .tp_doc = "A value, or several, that will come: made by Future(), by calls with ret=True or\n"
              "awaitable=True and by allreduce(). Can be sent to other chares, and called.",
    .tp_richcompare = future_compare,
    .tp_weaklistoffset = offsetof(Future, weakrefs),
    .tp_methods = future_methods,
    .tp_getset = future_getset,
};
