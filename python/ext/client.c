/*
 * A client of a session: a process that is no PE, in which the program itself drives.
 *
 * A client has a place in the segment like a PE, makes futures, collections and calls like one, and
 * can have single chares of its own, whose methods are what PEs call back. What it does not have is
 * a scheduler that runs by itself: messages are handled by the thread that attached, its driver,
 * while it waits for a future, when it polls, and, if it has an event loop, when that says that the
 * client's descriptor is readable. For this a thread of ours, the watcher, sleeps in the driver's
 * place: the driver arms it when it has nothing to do, and a wake-up makes the descriptor readable.
 *
 * A session ends on its own, too: then client_end(), from any thread, leaves the reason in rt.over,
 * and all that waits, or is called later, raises it.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "python/ext/runtime.h"

static struct watcher {
    pthread_t thread;
    bool running;
    bool armed;         /* by the driver; it is the watcher's turn until the word says otherwise */
    _Atomic bool leave; /* the session is being left */
    sem_t turn;
    int event; /* eventfd */
    struct segment *segment;
    uint32_t slot;
} watcher = {.event = -1};

bool client_drives(void)
{
    return rt.client && rt.started && PyThreadState_Get() == rt.thread && rt.current == NULL &&
           !rt.constructing;
}

static int driver_require(const char *what)
{
    if (!rt.client) {
        runtime_error("%s: this process is no client of a session: c4py.connect() makes it one",
                      what);
        return -1;
    }
    if (PyThreadState_Get() == rt.thread)
        return 0;
    runtime_error("%s in a thread that did not connect: only the thread that called "
                  "c4py.connect() handles the session's messages",
                  what);
    return -1;
}

/* ---- the watcher ---- */

static void *watcher_run(void *argument)
{
    uint64_t one = 1;

    (void)argument;
    for (;;) {
        while (sem_wait(&watcher.turn) != 0 && errno == EINTR)
            continue;
        if (atomic_load(&watcher.leave))
            return NULL;
        inbox_watch(watcher.segment, watcher.slot);
        while (write(watcher.event, &one, sizeof(one)) < 0 && errno == EINTR)
            continue;
    }
}

static int watcher_start(void)
{
    sigset_t all, before;
    int error;

    if (watcher.running)
        return 0;
    watcher.segment = &rt.segment;
    watcher.slot = rt.slot;
    watcher.armed = false;
    atomic_store(&watcher.leave, false);
    watcher.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (watcher.event < 0 || sem_init(&watcher.turn, 0, 0) != 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    /* Signals are for the interpreter's threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&watcher.thread, NULL, watcher_run, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    watcher.running = true;
    return 0;
}

void client_disarm(void)
{
    if (watcher.armed)
        inbox_wake(&rt.segment, rt.slot);
    watcher.armed = false;
}

static void watcher_stop(void)
{
    if (watcher.running) {
        atomic_store(&watcher.leave, true);
        sem_post(&watcher.turn);
        inbox_wake(&rt.segment, rt.slot);
        Py_BEGIN_ALLOW_THREADS;
        pthread_join(watcher.thread, NULL);
        Py_END_ALLOW_THREADS;
        sem_destroy(&watcher.turn);
    }
    watcher.running = false;
    if (watcher.event >= 0)
        close(watcher.event);
    watcher.event = -1;
}

static PyObject *client_fd(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    if (driver_require("client_fd()") != 0 || watcher_start() != 0)
        return NULL;
    return PyLong_FromLong(watcher.event);
}

static PyObject *client_arm(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    if (driver_require("client_arm()") != 0 || watcher_start() != 0)
        return NULL;
    if (watcher.armed)
        Py_RETURN_TRUE;
    region_returns_flush(&rt.returns);
    if (loop_has_work() || quiescence_check() != 0 || !inbox_announce_sleep(&rt.segment, rt.slot)) {
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_FALSE;
    }
    watcher.armed = true;
    sem_post(&watcher.turn);
    Py_RETURN_TRUE;
}

/* ---- handling messages ---- */

static PyObject *client_poll(PyObject *self, PyObject *unused)
{
    uint64_t count;
    int rc;

    (void)self;
    (void)unused;
    if (driver_require("client_poll()") != 0)
        return NULL;
    client_disarm();
    while (watcher.running && read(watcher.event, &count, sizeof(count)) < 0 && errno == EINTR)
        continue;
    rc = loop_poll();
    if (rc < 0 || (rt.over != NULL && future_fail_all() != 0))
        return NULL;
    return PyBool_FromLong(rc);
}

/* ---- coming and going ---- */

static PyObject *client_attach(PyObject *self, PyObject *args)
{
    PyObject *hooks, *error_class;
    int segment_fd, wake_fd;
    unsigned endpoint;

    (void)self;
    if (!PyArg_ParseTuple(args, "OOIii:client_attach", &hooks, &error_class, &endpoint, &segment_fd,
                          &wake_fd))
        return NULL;
    if (rt.attached || rt.forked)
        return runtime_error(rt.client ? "this process has a session already: close it first"
                             : rt.forked
                                 ? "this process was forked by a member of a session"
                                 : "this process is a PE: it takes part in a program already");
    Py_XSETREF(rt.hooks, new_ref(hooks));
    Py_XSETREF(rt.error_class, new_ref(error_class));
    rt.client = true;
    rt.session_number++;
    rt.quiet = UINT64_MAX;
    if (runtime_attach(endpoint, segment_fd, wake_fd) != 0) {
        rt.client = false;
        return NULL;
    }
    rt.thread = PyThreadState_Get();
    rt.started = true;
    atomic_store(&rt.self->status, ENDPOINT_STARTED);
    return PyLong_FromUnsignedLong(rt.pes);
}

/* What is left of the session: futures fail, proxies know that theirs is closed. */
static int session_forget(void)
{
    int rc;

    if (rt.over == NULL)
        rt.over = PyObject_CallFunction(rt.error_class, "s", "the session is closed");
    rc = rt.over == NULL ? -1 : future_fail_all();
    Py_CLEAR(rt.over);
    table_clear(&rt.collections);
    rt.mail = rt.local = rt.local_last = rt.resumed = rt.resumed_last = 0;
    return rc;
}

static PyObject *client_detach(PyObject *self, PyObject *unused)
{
    int rc;

    (void)self;
    (void)unused;
    if (driver_require("client_detach()") != 0)
        return NULL;
    if (rt.current != NULL || rt.running != NULL)
        return runtime_error("a session cannot be left from within one of its callbacks");
    watcher_stop();
    atomic_store(&rt.self->status, ENDPOINT_LEFT);
    rc = session_forget();
    runtime_detach();
    rt.client = false;
    rt.session_number++; /* what is left of it belongs to no session */
    if (rc != 0)
        return NULL;
    Py_RETURN_NONE;
}

/* The thread that attached has ended: another one, the caller, drives from now on. */
static PyObject *client_drive(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    if (rt.client)
        rt.thread = PyThreadState_Get();
    Py_RETURN_NONE;
}

/* From any thread. A string becomes an exception of the class that client_attach() was given. */
static PyObject *client_end(PyObject *self, PyObject *reason)
{
    (void)self;
    if (!rt.client || rt.over != NULL)
        Py_RETURN_NONE;
    if (PyExceptionInstance_Check(reason))
        rt.over = new_ref(reason);
    else
        rt.over = PyObject_CallFunctionObjArgs(rt.error_class, reason, NULL);
    if (rt.over == NULL)
        return NULL;
    inbox_wake(&rt.segment, rt.slot);
    Py_RETURN_NONE;
}

/* ---- chares of the client ---- */

static PyObject *client_chare(PyObject *self, PyObject *args)
{
    struct collection description = {
        .kind = KIND_ARRAY, .placement = PLACE_ON, .ndims = 1, .dims = {1}, .on_pe = rt.pe};
    PyObject *type, *given;

    (void)self;
    if (!PyArg_ParseTuple(args, "OO!:client_chare", &type, &PyTuple_Type, &given) ||
        driver_require("client_chare()") != 0 || runtime_require() != 0)
        return NULL;
    description.class = chare_class_of(type);
    return description.class ? collection_create(&description, given) : NULL;
}

static PyObject *client_send_class(PyObject *self, PyObject *class)
{
    (void)self;
    if (Py_TYPE(class) != &ChareClass_Type) {
        PyErr_SetString(PyExc_TypeError, "client_send_class() takes a ChareClass");
        return NULL;
    }
    if (!rt.client)
        Py_RETURN_NONE;
    if (runtime_require() != 0 || class_send((ChareClass *)class) != 0)
        return NULL;
    Py_RETURN_NONE;
}

PyMethodDef client_methods[] = {
    {"client_attach", client_attach, METH_VARARGS,
     "client_attach(hooks, error_class, endpoint, segment_fd, wake_fd)\n--\n\n"
     "Become a client of a session; returns the number of its PEs."},
    {"client_detach", client_detach, METH_NOARGS, "Leave the session."},
    {"client_end", client_end, METH_O, "From any thread: the session is over, and why."},
    {"client_drive", client_drive, METH_NOARGS,
     "Drive from this thread, the one that did having ended."},
    {"client_poll", client_poll, METH_NOARGS, "Handle the messages that are there."},
    {"client_fd", client_fd, METH_NOARGS, "Descriptor that is readable when client_poll() is due."},
    {"client_arm", client_arm, METH_NOARGS,
     "Let the descriptor tell of the next message; False if there is one already."},
    {"client_chare", client_chare, METH_VARARGS, "Create a chare in this client."},
    {"client_send_class", client_send_class, METH_O, "Send a class to all PEs, once."},
    {NULL, NULL, 0, NULL}};
