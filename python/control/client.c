/*
 * The type Client: its life, waiting, and the segment of a session.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <unistd.h>

#include "python/control/control.h"

#define LONGEST_SECONDS (INT_MAX / 1000)

/* Raise the OSError of an errno with a sentence of libc4p's. Returns NULL. */
static PyObject *raise_sentence(int error, const char *sentence)
{
    /* Its class depends on the number, and older interpreters look for it before they make it. */
    PyObject *value = PyObject_CallFunction(PyExc_OSError, "is", error, sentence);

    if (value != NULL)
        PyErr_SetObject((PyObject *)Py_TYPE(value), value);
    Py_XDECREF(value);
    return NULL;
}

/* Seconds, as the user gives them, as milliseconds; None: -1, for ever. */
static int timeout_convert(PyObject *object, void *out)
{
    double seconds;

    if (object == Py_None) {
        *(int *)out = -1;
        return 1;
    }
    seconds = PyFloat_AsDouble(object);
    if (seconds == -1.0 && PyErr_Occurred())
        return 0;
    if (isnan(seconds) || seconds < 0) {
        PyErr_Format(PyExc_ValueError, "a timeout of %R seconds", object);
        return 0;
    }
    *(int *)out = seconds >= LONGEST_SECONDS ? INT_MAX : (int)ceil(seconds * 1000);
    return 1;
}

/* ---- one use at a time ---- */

struct c4p_client *client_enter(Client *self)
{
    if (self->owner != getpid())
        PyErr_SetString(PyExc_RuntimeError, "this process was forked by the one that is attached "
                                            "to the daemon, and is not attached itself");
    else if (self->busy)
        PyErr_SetString(PyExc_RuntimeError, "another thread is using this client: a client "
                                            "belongs to one thread at a time");
    else if (self->client == NULL)
        PyErr_SetString(PyExc_ValueError, "this client is closed");
    else
        return self->busy = true, self->client;
    return NULL;
}

void client_leave(Client *self)
{
    self->busy = false;
}

/* ---- life ---- */

/* Takes the connection over; NULL: raise the sentence. */
static PyObject *client_made(PyTypeObject *type, struct c4p_client *client, int error,
                             const char *sentence)
{
    Client *self;

    if (client == NULL)
        return raise_sentence(error, sentence);
    self = (Client *)type->tp_alloc(type, 0);
    if (self == NULL) {
        c4p_close(client);
        return NULL;
    }
    self->client = client;
    self->owner = getpid();
    return (PyObject *)self;
}

static PyObject *client_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"state_dir", "name", "timeout", NULL};
    PyObject *path = NULL, *given = Py_None;
    const char *name = "c4py", *directory = NULL;
    char sentence[C4P_ERROR_SIZE] = "";
    struct c4p_client *client;
    int timeout = 10000, error;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OsO&:Client", keywords, &given, &name,
                                     timeout_convert, &timeout) ||
        (given != Py_None && !PyUnicode_FSConverter(given, &path)))
        return NULL;
    if (path != NULL)
        directory = PyBytes_AS_STRING(path);
    Py_BEGIN_ALLOW_THREADS;
    client = c4p_attach(directory, name, timeout, sentence);
    error = errno;
    Py_END_ALLOW_THREADS;
    Py_XDECREF(path);
    return client_made(type, client, error, sentence);
}

static PyObject *client_adopt(PyObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"fd", "name", "timeout", NULL};
    const char *name = "c4py";
    char sentence[C4P_ERROR_SIZE] = "";
    struct c4p_client *client;
    int fd, timeout = 10000, error;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "i|sO&:adopt", keywords, &fd, &name,
                                     timeout_convert, &timeout))
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    client = c4p_adopt(fd, name, timeout, sentence);
    error = errno;
    Py_END_ALLOW_THREADS;
    return client_made((PyTypeObject *)type, client, error, sentence);
}

static void bridge_close(Client *self)
{
    c4p_bridge_close(self->bridge);
    self->bridge = NULL;
}

static PyObject *client_close(PyObject *object, PyObject *unused)
{
    Client *self = (Client *)object;
    struct c4p_client *client;

    (void)unused;
    if (self->client == NULL)
        Py_RETURN_NONE;
    client = client_enter(self);
    if (client == NULL)
        return NULL;
    self->client = NULL;
    Py_BEGIN_ALLOW_THREADS;
    bridge_close(self);
    c4p_close(client);
    c4p_bundle_free(self->bundle);
    Py_END_ALLOW_THREADS;
    self->bundle = NULL;
    client_leave(self);
    Py_RETURN_NONE;
}

static PyObject *client_forget(PyObject *object, PyObject *unused)
{
    Client *self = (Client *)object;

    (void)unused;
    if (self->owner != getpid()) {
        c4p_bridge_forget(self->bridge);
        c4p_forget(self->client);
    }
    Py_RETURN_NONE;
}

static void client_dealloc(PyObject *object)
{
    Client *self = (Client *)object;

    if (self->owner == getpid()) {
        bridge_close(self);
        c4p_close(self->client);
        c4p_bundle_free(self->bundle);
    }
    Py_TYPE(object)->tp_free(object);
}

/* ---- events ---- */

static PyObject *client_next(PyObject *object, PyObject *unused)
{
    Client *self = (Client *)object;
    struct c4p_client *client = client_enter(self);
    PyObject *result = NULL;
    struct c4p_event event;
    int rc;

    (void)unused;
    if (client == NULL)
        return NULL;
    rc = c4p_next(client, &event);
    if (rc == 1 && event.request == self->offer)
        self->offer = 0;
    if (rc < 0) {
        raise_sentence(errno, "the daemon sends what makes no sense");
    } else if (rc == 0) {
        result = Py_None;
        Py_INCREF(result);
    } else {
        result = event_describe(&event);
    }
    client_leave(self);
    return result;
}

static PyObject *client_wait(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"timeout", NULL};
    Client *self = (Client *)object;
    struct c4p_client *client;
    int timeout = -1, rc, error;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O&:wait", keywords, timeout_convert,
                                     &timeout) ||
        (client = client_enter(self)) == NULL)
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    rc = c4p_wait(client, timeout);
    error = errno;
    Py_END_ALLOW_THREADS;
    client_leave(self);
    if (rc == 0)
        Py_RETURN_TRUE;
    if (error == EINTR && PyErr_CheckSignals() != 0)
        return NULL;
    if (error == EAGAIN || error == EINTR)
        Py_RETURN_FALSE;
    errno = error;
    return PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *client_segment(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"job", "remote", NULL};
    Client *self = (Client *)object;
    char sentence[C4P_ERROR_SIZE] = "";
    unsigned long long job;
    struct c4p_client *client;
    int segment_fd, wake_fd, rc, error, remote = 0;
    uint32_t endpoint;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "K|p:segment", keywords, &job, &remote) ||
        (client = client_enter(self)) == NULL)
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    bridge_close(self);
    rc = remote ? c4p_bridge(client, job, &self->bridge, &endpoint, &segment_fd, &wake_fd, sentence)
                : c4p_segment(client, job, &endpoint, &segment_fd, &wake_fd, sentence);
    error = errno;
    Py_END_ALLOW_THREADS;
    client_leave(self);
    if (rc != 0)
        return raise_sentence(error, sentence);
    (void)fcntl(segment_fd, F_SETFD, FD_CLOEXEC);
    (void)fcntl(wake_fd, F_SETFD, FD_CLOEXEC);
    return Py_BuildValue("(Iii)", endpoint, segment_fd, wake_fd);
}

static PyObject *client_leave_segment(PyObject *object, PyObject *unused)
{
    Client *self = (Client *)object;

    (void)unused;
    if (client_enter(self) == NULL)
        return NULL;
    Py_BEGIN_ALLOW_THREADS;
    bridge_close(self);
    Py_END_ALLOW_THREADS;
    client_leave(self);
    Py_RETURN_NONE;
}

static PyObject *client_set_reconnect(PyObject *object, PyObject *value)
{
    int reconnect = PyObject_IsTrue(value);
    struct c4p_client *client = reconnect < 0 ? NULL : client_enter((Client *)object);

    if (client == NULL)
        return NULL;
    c4p_set_reconnect(client, reconnect);
    client_leave((Client *)object);
    Py_RETURN_NONE;
}

/* ---- what it is ---- */

static PyObject *client_fd(PyObject *object, void *unused)
{
    struct c4p_client *client = client_enter((Client *)object);

    (void)unused;
    if (client == NULL)
        return NULL;
    client_leave((Client *)object);
    return PyLong_FromLong(c4p_fd(client));
}

static PyObject *client_host(PyObject *object, void *unused)
{
    struct c4p_client *client = client_enter((Client *)object);

    (void)unused;
    if (client == NULL)
        return NULL;
    client_leave((Client *)object);
    return PyUnicode_FromString(c4p_host(client));
}

static PyObject *client_closed(PyObject *object, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((Client *)object)->client == NULL);
}

static PyObject *client_cluster(PyObject *object, void *unused)
{
    struct c4p_client *client = client_enter((Client *)object);

    (void)unused;
    if (client == NULL)
        return NULL;
    client_leave((Client *)object);
    return PyBool_FromLong(c4p_cluster(client));
}

static PyGetSetDef client_getset[] = {
    {"fd", client_fd, NULL, "Readable when next() should be called; the client's own.", NULL},
    {"host", client_host, NULL, "Name of the daemon's host.", NULL},
    {"cluster", client_cluster, NULL, "Whether jobs of the daemon may run on other hosts.", NULL},
    {"closed", client_closed, NULL, "True after close().", NULL},
    {NULL, NULL, NULL, NULL, NULL}};

static PyMethodDef own_methods[] = {
    {"adopt", (PyCFunction)(void (*)(void))client_adopt, METH_CLASS | METH_VARARGS | METH_KEYWORDS,
     "adopt(fd, name='c4py', timeout=10.0)\n--\n\n"
     "Attach to the private daemon at the other end of a socket pair; takes the descriptor over."},
    {"next", client_next, METH_NOARGS,
     "next()\n--\n\nThe next event, a dict, or None if there is none now."},
    {"wait", (PyCFunction)(void (*)(void))client_wait, METH_VARARGS | METH_KEYWORDS,
     "wait(timeout=None)\n--\n\n"
     "Wait until next() has something, at most `timeout` seconds. False: it has not."},
    {"segment", (PyCFunction)(void (*)(void))client_segment, METH_VARARGS | METH_KEYWORDS,
     "segment(job, remote=False)\n--\n\n"
     "Enter a session that runs: (endpoint, descriptor of the segment, of the router's eventfd).\n"
     "remote: of a private segment, from where messages travel over ZeroMQ."},
    {"leave_segment", client_leave_segment, METH_NOARGS,
     "leave_segment()\n--\n\n"
     "Nothing more will be sent: wait until what was sent has arrived (if it travels)."},
    {"set_reconnect", client_set_reconnect, METH_O,
     "set_reconnect(reconnect)\n--\n\nWhether to look for a daemon that went away."},
    {"forget", client_forget, METH_NOARGS,
     "forget()\n--\n\n"
     "In a forked child: let go of the connection, so that the daemon sees the parent's end."},
    {"close", client_close, METH_NOARGS, "close()\n--\n\nLeave the daemon; any number of times."},
    {NULL, NULL, 0, NULL}};

PyTypeObject Client_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "c4py._control.Client",
    .tp_basicsize = sizeof(Client),
    .tp_dealloc = client_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Client(state_dir=None, name='c4py', timeout=10.0)\n--\n\n"
              "A connection to the daemon of a state directory (None: the user's own).\n\n"
              "OSError with a sentence if there is none: FileNotFoundError or\n"
              "ConnectionRefusedError when no daemon runs there.",
    .tp_methods = own_methods,
    .tp_getset = client_getset,
    .tp_new = client_new,
};

/* ---- the module ---- */

static PyObject *module_id_text(PyObject *self, PyObject *args)
{
    char text[C4P_ID_SIZE];
    unsigned long long id;

    (void)self;
    if (!PyArg_ParseTuple(args, "K:id_text", &id))
        return NULL;
    return PyUnicode_FromString(c4p_id_format(id, text));
}

static PyMethodDef module_methods[] = {
    {"id_text", module_id_text, METH_VARARGS, "id_text(job, /)\n--\n\nA job's id as it is shown."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                                        "c4py._control",
                                        "Talk to a c4p daemon.",
                                        -1,
                                        module_methods,
                                        NULL,
                                        NULL,
                                        NULL,
                                        NULL};

/* The requests are methods of Client like the others, but in a file of their own. */
static int add_requests(void)
{
    for (PyMethodDef *method = request_methods; method->ml_name != NULL; method++) {
        PyObject *descriptor = PyDescr_NewMethod(&Client_Type, method);
        int rc = descriptor == NULL
                     ? -1
                     : PyDict_SetItemString(Client_Type.tp_dict, method->ml_name, descriptor);

        Py_XDECREF(descriptor);
        if (rc != 0)
            return -1;
    }
    PyType_Modified(&Client_Type);
    return 0;
}

PyMODINIT_FUNC PyInit__control(void)
{
    PyObject *module = PyModule_Create(&definition);

    if (module == NULL || PyType_Ready(&Client_Type) != 0 || add_requests() != 0) {
        Py_XDECREF(module);
        return NULL;
    }
    Py_INCREF(&Client_Type);
    if (PyModule_AddObject(module, "Client", (PyObject *)&Client_Type) != 0 ||
        PyModule_AddIntConstant(module, "NO_PE", (long)C4P_NO_PE) != 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
