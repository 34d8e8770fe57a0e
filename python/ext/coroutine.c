/*
 * Coroutines: `@coro` methods and main on greenlets, `async def` methods by
 * driving their coroutine object.
 *
 * A greenlet costs some microseconds to make and a sixth of one to switch to,
 * so a greenlet whose coroutine has ended waits in a pool for the next one. A
 * coroutine is always entered by somebody (the scheduler, or another coroutine
 * that constructs a chare) and goes back to whom it was entered from when it
 * suspends or ends. Nothing that lives across a switch is on a C stack of
 * another greenlet: greenlet moves stacks away.
 */
#include "python/ext/runtime.h"

#define IDLE_GREENLETS 256

/* greenlet's C API, by its table in the capsule greenlet._C_API; the places are part of its ABI. */
enum { API_NEW = 3, API_GETCURRENT = 4, API_SWITCH = 6 };
static PyObject *(*greenlet_new)(PyObject *run, PyObject *parent);
static PyObject *(*greenlet_getcurrent)(void);
static PyObject *(*greenlet_switch)(PyObject *greenlet, PyObject *args, PyObject *kwargs);

static PyObject *scheduler_greenlet;
static PyObject *body_function;
static PyObject *idle[IDLE_GREENLETS];
static unsigned idle_count;

/* An exception that nobody waits for, on its way from a greenlet to the scheduler. */
static PyObject *fatal_type, *fatal_value, *fatal_traceback;

static void coroutine_link(struct coroutine *coroutine)
{
    coroutine->next = rt.coroutines;
    if (rt.coroutines != NULL)
        rt.coroutines->previous = coroutine;
    rt.coroutines = coroutine;
}

/* It was continued by another way than the ready queue. */
static void coroutine_unqueue(struct coroutine *coroutine)
{
    struct coroutine **link = &rt.ready;
    struct coroutine *before = NULL;

    while (*link != coroutine) {
        before = *link;
        link = &before->next_ready;
    }
    *link = coroutine->next_ready;
    if (rt.ready_last == coroutine)
        rt.ready_last = before;
    coroutine->queued = false;
    runtime_activity_end();
}

static void coroutine_destroy(struct coroutine *coroutine)
{
    if (coroutine->queued)
        coroutine_unqueue(coroutine);
    if (coroutine->previous != NULL)
        coroutine->previous->next = coroutine->next;
    else
        rt.coroutines = coroutine->next;
    if (coroutine->next != NULL)
        coroutine->next->previous = coroutine->previous;
    if (coroutine->chare != NULL)
        coroutine->chare->live_coroutines--;
    Py_XDECREF(coroutine->greenlet);
    Py_XDECREF(coroutine->awaiting);
    Py_XDECREF(coroutine->context);
    Py_XDECREF(coroutine->call);
    Py_XDECREF(coroutine->args);
    Py_XDECREF(coroutine->keywords);
    Py_XDECREF(coroutine->chare);
    Py_XDECREF(coroutine->name);
    Py_XDECREF(coroutine->waits_for);
    PyMem_Free(coroutine);
}

static struct coroutine *coroutine_create(Chare *chare, PyObject *name, const struct reply *reply)
{
    PyObject *context = PyContext_CopyCurrent();
    struct coroutine *coroutine = context ? PyMem_Calloc(1, sizeof(*coroutine)) : NULL;

    if (coroutine == NULL) {
        Py_XDECREF(context);
        PyErr_NoMemory();
        return NULL;
    }
    coroutine->context = context;
    if (chare != NULL) {
        coroutine->chare = (Chare *)new_ref((PyObject *)chare);
        chare->live_coroutines++;
    }
    coroutine->name = new_ref(name);
    coroutine->reply = *reply;
    coroutine_link(coroutine);
    return coroutine;
}

/* It ran to its end: result (stolen), or NULL with an exception. Frees it. */
static int coroutine_end(struct coroutine *coroutine, PyObject *result)
{
    static const struct reply nowhere;
    const struct reply *reply = &coroutine->reply;
    int rc;

    /* Errors in constructors end the program, whoever waits for the creation; but for a session. */
    if (result == NULL && coroutine->name == names.init) {
        if (!rt.session || !PyErr_ExceptionMatches(PyExc_Exception)) {
            reply = &nowhere;
        } else {
            collection_fail(coroutine->chare->collection);
            if (reply_wanted(reply) && coroutine->chare->collection->failure != NULL)
                PyErr_SetObject((PyObject *)Py_TYPE(coroutine->chare->collection->failure),
                                coroutine->chare->collection->failure);
            else
                result = new_ref(Py_None);
        }
    }
    rc = call_finish(reply, coroutine->chare, result);
    coroutine_destroy(coroutine);
    return rc;
}

/* ---- greenlets ---- */

static PyObject *coroutine_call(const struct coroutine *coroutine)
{
    PyObject *result;

    if (PyContext_Enter(coroutine->context) != 0)
        return NULL;
    result = PyObject_Call(coroutine->call, coroutine->args, coroutine->keywords);
    if (PyContext_Exit(coroutine->context) != 0)
        Py_CLEAR(result);
    return result;
}

/* What runs on each greenlet: one coroutine after the other. */
static PyObject *coroutine_body(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    for (;;) {
        struct coroutine *coroutine = rt.current;
        PyObject *greenlet = new_ref(coroutine->greenlet);
        PyObject *back, *result;
        bool pooled;

        result = coroutine_call(coroutine);
        back = coroutine->back;
        if (coroutine_end(coroutine, result) != 0)
            PyErr_Fetch(&fatal_type, &fatal_value, &fatal_traceback);
        rt.current = NULL;
        pooled = idle_count < IDLE_GREENLETS;
        if (pooled)
            idle[idle_count++] = greenlet;
        else
            Py_DECREF(greenlet);
        if (!pooled && back == scheduler_greenlet)
            Py_RETURN_NONE; /* its parent, the scheduler's greenlet, goes on */
        result = greenlet_switch(back, NULL, NULL);
        if (result == NULL)
            return NULL; /* the interpreter is being torn down */
        Py_DECREF(result);
    }
}

static PyMethodDef body_definition = {"coroutine", coroutine_body, METH_NOARGS, NULL};

int coroutine_init(void)
{
    PyObject *module = PyImport_ImportModule("greenlet");
    void **api;

    if (module == NULL)
        return -1;
    Py_DECREF(module);
    api = PyCapsule_Import("greenlet._C_API", 0);
    if (api == NULL)
        return -1;
    /* Function pointers out of a table of object pointers, as the capsule has them. */
    *(void **)&greenlet_new = api[API_NEW];
    *(void **)&greenlet_getcurrent = api[API_GETCURRENT];
    *(void **)&greenlet_switch = api[API_SWITCH];
    body_function = PyCFunction_New(&body_definition, NULL);
    scheduler_greenlet = greenlet_getcurrent();
    return body_function == NULL || scheduler_greenlet == NULL ? -1 : 0;
}

/* Switch to a coroutine's greenlet; returns when it suspends or ends. */
static int coroutine_enter(struct coroutine *coroutine)
{
    struct coroutine *previous = rt.current;
    Chare *running = rt.running;
    PyObject *running_name = rt.running_name;
    bool constructing = rt.constructing;
    PyObject *greenlet = new_ref(coroutine->greenlet), *back = greenlet_getcurrent();
    PyObject *result;

    coroutine->back = back;
    rt.current = coroutine;
    rt.running = coroutine->chare;
    rt.running_name = coroutine->name;
    rt.constructing = false;
    result = greenlet_switch(greenlet, NULL, NULL);
    Py_DECREF(greenlet);
    Py_DECREF(back);
    rt.current = previous;
    rt.running = running;
    rt.running_name = running_name;
    rt.constructing = constructing;
    if (result == NULL)
        return -1;
    Py_DECREF(result);
    if (fatal_type != NULL) {
        PyErr_Restore(fatal_type, fatal_value, fatal_traceback);
        fatal_type = fatal_value = fatal_traceback = NULL;
        return -1;
    }
    return 0;
}

int coroutine_start(Chare *chare, PyObject *name, PyObject *call, PyObject *args,
                    PyObject *keywords, const struct reply *reply)
{
    struct coroutine *coroutine;

    if (greenlet_new == NULL && coroutine_init() != 0)
        return -1;
    coroutine = coroutine_create(chare, name, reply);
    if (coroutine == NULL)
        return -1;
    coroutine->call = new_ref(call);
    coroutine->args = new_ref(args);
    if (keywords != NULL)
        coroutine->keywords = new_ref(keywords);
    if (idle_count > 0)
        coroutine->greenlet = idle[--idle_count];
    else
        coroutine->greenlet = greenlet_new(body_function, scheduler_greenlet);
    if (coroutine->greenlet == NULL) {
        coroutine_destroy(coroutine);
        return -1;
    }
    return coroutine_enter(coroutine);
}

/* ---- async def ---- */

static PyObject *send_none(PyObject *object, bool *ended)
{
#if PY_VERSION_HEX >= 0x030a0000
    PyObject *result = NULL;
    PySendResult sent = PyIter_Send(object, Py_None, &result);

    *ended = sent != PYGEN_NEXT;
    return result;
#else
    PyObject *result = PyObject_CallMethodObjArgs(object, names.send, Py_None, NULL);
    PyObject *type, *value, *traceback;

    *ended = result == NULL;
    if (result != NULL || !PyErr_ExceptionMatches(PyExc_StopIteration))
        return result;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    result = value ? PyObject_GetAttrString(value, "value") : new_ref(Py_None);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return result;
#endif
}

static PyObject *async_send(const struct coroutine *coroutine, bool *ended)
{
    PyObject *result;

    *ended = true;
    if (PyContext_Enter(coroutine->context) != 0)
        return NULL;
    result = send_none(coroutine->awaiting, ended);
    if (PyContext_Exit(coroutine->context) != 0)
        Py_CLEAR(result);
    return result;
}

/* Run an async coroutine until it awaits something that is not ready, or ends. */
static int async_step(struct coroutine *coroutine)
{
    struct coroutine *previous = rt.current;
    Chare *running = rt.running;
    PyObject *running_name = rt.running_name;
    bool constructing = rt.constructing;
    PyObject *result;
    bool ended = false;
    int rc = 0;

    rt.current = coroutine;
    rt.running = coroutine->chare;
    rt.running_name = coroutine->name;
    rt.constructing = false;
    Py_CLEAR(coroutine->waits_for);
    result = async_send(coroutine, &ended);
    rt.current = previous;
    rt.running = running;
    rt.running_name = running_name;
    rt.constructing = constructing;
    if (ended)
        return coroutine_end(coroutine, result);
    if (Py_TYPE(result) == &Future_Type) {
        coroutine->waits_for = result; /* stolen */
        if (((Future *)result)->done)
            coroutine_make_ready(coroutine);
        else
            rc = future_add_waiter((Future *)result, coroutine);
    } else if (result == Py_None) {
        Py_DECREF(result);
        coroutine_make_ready(coroutine);
    } else {
        PyErr_Format(PyExc_TypeError,
                     "%U awaited a %s: an `async def` method can await futures, charm.sleep, "
                     "charm.wait and other `async def` functions that do",
                     coroutine->name, Py_TYPE(result)->tp_name);
        Py_DECREF(result);
        rc = coroutine_end(coroutine, NULL);
    }
    return rc;
}

int coroutine_start_async(Chare *chare, PyObject *name, PyObject *object, const struct reply *reply)
{
    struct coroutine *coroutine = coroutine_create(chare, name, reply);

    if (coroutine == NULL) {
        Py_DECREF(object);
        return -1;
    }
    coroutine->awaiting = object;
    return async_step(coroutine);
}

/* ---- suspending and resuming ---- */

struct coroutine *coroutine_current(void)
{
    if (!rt.started || rt.constructing || PyThreadState_Get() != rt.thread)
        return NULL;
    return rt.current;
}

struct coroutine *coroutine_require(const char *what)
{
    struct coroutine *coroutine = coroutine_current();
    bool scheduler = PyThreadState_Get() == rt.thread; /* else no method of a chare calls */
    PyObject *args[3];

    if (coroutine != NULL)
        return coroutine;
    if (runtime_require() != 0)
        return NULL;
    if (rt.client && !scheduler) {
        runtime_error("%s in a thread that did not connect: only the thread that called "
                      "c4py.connect() can wait for the session",
                      what);
        return NULL;
    }
    args[0] = PyUnicode_FromString(what);
    args[1] = scheduler && rt.running ? rt.running->collection->class->name : Py_None;
    args[2] = scheduler && rt.running_name ? rt.running_name : Py_None;
    if (args[0] != NULL) {
        Py_XDECREF(runtime_hook("not_threaded", args, 3));
        Py_DECREF(args[0]);
    }
    return NULL;
}

int waiting_require(const char *what)
{
    return client_drives() || coroutine_require(what) != NULL ? 0 : -1;
}

int coroutine_suspend(struct coroutine *coroutine, PyObject *what)
{
    PyObject *result;

    if (coroutine->greenlet == NULL) {
        PyErr_Format(rt.error_class, "%U is an `async def` method: use `await` here",
                     coroutine->name);
        return -1;
    }
    Py_XSETREF(coroutine->waits_for, new_ref(what));
    /* The program may have greenlets of its own: it goes on in the one that waits. */
    Py_SETREF(coroutine->greenlet, greenlet_getcurrent());
    result = greenlet_switch(coroutine->back, NULL, NULL);
    Py_CLEAR(coroutine->waits_for);
    if (result == NULL)
        return -1;
    Py_DECREF(result);
    return 0;
}

int coroutine_resume(struct coroutine *coroutine)
{
    if (coroutine->greenlet == NULL)
        return async_step(coroutine);
    return coroutine_enter(coroutine);
}

void coroutine_make_ready(struct coroutine *coroutine)
{
    if (coroutine->queued)
        return;
    coroutine->queued = true;
    coroutine->next_ready = NULL;
    if (rt.ready == NULL)
        rt.ready = coroutine;
    else
        rt.ready_last->next_ready = coroutine;
    rt.ready_last = coroutine;
    runtime_activity_begin();
    message_nudge();
}

int coroutine_run_ready(void)
{
    int count = 0;

    while (rt.ready != NULL && count < 64) {
        struct coroutine *coroutine = rt.ready;

        rt.ready = coroutine->next_ready;
        coroutine->queued = false;
        count++;
        if (coroutine_resume(coroutine) != 0)
            return -1;
        runtime_activity_end();
    }
    return count;
}

/* ---- the deadlock report ---- */

/* Where a coroutine stands: the innermost frame of its greenlet, or the object of an `async def`. */
static PyObject *coroutine_stand(const struct coroutine *coroutine)
{
    PyObject *frame;

    if (coroutine->greenlet == NULL)
        return new_ref(coroutine->awaiting);
    frame = PyObject_GetAttrString(coroutine->greenlet, "gr_frame");
    if (frame == NULL) {
        PyErr_Clear();
        frame = new_ref(Py_None);
    }
    return frame;
}

PyObject *coroutine_report(void)
{
    PyObject *list = PyList_New(0);

    for (struct coroutine *c = rt.coroutines; list != NULL && c != NULL; c = c->next) {
        PyObject *where, *item;

        if (c->waits_for == NULL)
            continue;
        where = c->chare ? collection_describe(c->chare->collection, (int64_t)c->chare->flat)
                         : new_ref(Py_None);
        item = where ? Py_BuildValue("(NONO)", where, c->name, coroutine_stand(c), c->waits_for)
                     : NULL;
        if (item == NULL || PyList_Append(list, item) != 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}
