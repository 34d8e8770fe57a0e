/*
 * The module c4py._c4py: what Python code of the package asks of the runtime.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "python/ext/delays.h"
#include "python/ext/runtime.h"

struct runtime rt = {.quiet = UINT64_MAX};
struct names names;

/* The group that charm.thisProxy stands for; no creator has this number. */
#define CHARM_GROUP (0xffffffffull << 32 | 1)

/* Charm4PyError; also before attach(). NULL with an exception. */
static PyObject *error_class(void)
{
    PyObject *module;

    if (rt.error_class == NULL && (module = PyImport_ImportModule("c4py.errors")) != NULL) {
        rt.error_class = PyObject_GetAttrString(module, "Charm4PyError");
        Py_DECREF(module);
    }
    return rt.error_class;
}

PyObject *runtime_error(const char *format, ...)
{
    va_list list;
    PyObject *text;

    va_start(list, format);
    text = PyUnicode_FromFormatV(format, list);
    va_end(list);
    if (text != NULL && error_class() != NULL)
        PyErr_SetObject(rt.error_class, text);
    Py_XDECREF(text);
    return NULL;
}

int runtime_require(void)
{
    if (rt.over != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(rt.over), rt.over);
        return -1;
    }
    if (rt.started)
        return 0;
    if (rt.forked)
        runtime_error(rt.client ? "this process was forked by a client of a session and is none "
                                  "itself: what it has to say to chares goes through the client"
                                : "this process was forked by a PE and is none itself: what it has "
                                  "to say to chares goes through the PE");
    else if (rt.session_number > 0)
        runtime_error("the session is closed: c4py.connect() opens one");
    else
        runtime_error("the program has not started: this works only after charm.start()");
    return -1;
}

PyObject *runtime_hook(const char *name, PyObject *const *args, size_t count)
{
    PyObject *function, *result;

    if (rt.hooks == NULL) {
        runtime_require();
        return NULL;
    }
    function = PyObject_GetAttrString(rt.hooks, name);
    if (function == NULL)
        return NULL;
    result = PyObject_Vectorcall(function, args, count, NULL);
    Py_DECREF(function);
    return result;
}

/* ---- attaching ---- */

/* A number from the environment, which the program's children must not inherit. */
static int environment_take(const char *name, long *value)
{
    const char *text = getenv(name);
    char *end;

    if (text == NULL)
        return -1;
    errno = 0;
    *value = strtol(text, &end, 10);
    if (errno != 0 || *end != '\0' || end == text || *value < 0 || *value > INT32_MAX) {
        runtime_error("%s=%s in the environment is not what c4pd sets", name, text);
        return -1;
    }
    unsetenv(name);
    return 0;
}

/*
 * A forked child is no PE: the segment and all that is in it belong to its parent. The child gets
 * a private copy in its place, so that nothing it does to the runtime or to arrays that it has
 * inherited comes back.
 */
static void forked_child(void)
{
    void *copy;

    if (!rt.attached)
        return; /* a client that had left */
    rt.attached = rt.started = false;
    rt.forked = true;
    copy = mmap(rt.segment.base, rt.segment.geometry.size, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, rt.segment.fd, 0);
    (void)copy; /* no reason to end a child that may only call exec */
}

int runtime_attach(uint32_t endpoint, int segment_fd, int wake_fd)
{
    static bool prepared;

    if (segment_map(&rt.segment, segment_fd, wake_fd) != 0) {
        runtime_error("cannot map the job's segment: %s", strerror(errno));
        return -1;
    }
    rt.pe = endpoint;
    rt.pes = rt.segment.geometry.pes;
    rt.slot = segment_slot(&rt.segment, rt.pe);
    if (rt.slot >= rt.segment.geometry.slots || rt.slot == segment_router_slot(&rt.segment)) {
        runtime_error("endpoint %u does not live on this node", endpoint);
        return -1;
    }
    rt.region = region_create(&rt.segment, rt.slot);
    if (rt.region == NULL || region_returns_init(&rt.returns, &rt.segment) != 0) {
        PyErr_NoMemory();
        return -1;
    }
    rt.self = segment_endpoint(&rt.segment, rt.slot);
    /* A client that sat here before us has sent messages: the sums go on. */
    rt.sent = atomic_load(&rt.self->sent);
    rt.processed = atomic_load(&rt.self->processed);
    if (delays_attach(rt.pe) != 0)
        return -1;
    atomic_store(&rt.self->pid, (uint32_t)getpid());
    atomic_fetch_add(&segment_header(&rt.segment)->awake, !rt.client);
    atomic_store(&rt.self->status, ENDPOINT_ATTACHED);
    rt.attached = true;
    if (!prepared && (errno = pthread_atfork(NULL, NULL, forked_child)) != 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    prepared = true;
    args_hooks.write = runtime_args_write;
    args_hooks.read = runtime_args_read;
    args_set_private_main(rt.session || rt.client);
    return 0;
}

void runtime_detach(void)
{
    rt.attached = rt.started = false;
    region_returns_flush(&rt.returns);
    region_returns_free(&rt.returns);
    region_destroy(rt.region);
    rt.region = NULL;
    rt.self = NULL;
    segment_close(&rt.segment);
}

static PyObject *module_attach(PyObject *self, PyObject *args)
{
    long pe, segment_fd, wake_fd;

    (void)self;
    if (!PyArg_ParseTuple(args, "OO:attach", &rt.hooks, &rt.error_class))
        return NULL;
    Py_INCREF(rt.hooks);
    Py_INCREF(rt.error_class);
    if (environment_take("C4P_PE", &pe) != 0 || environment_take("C4P_SEGMENT", &segment_fd) != 0 ||
        environment_take("C4P_WAKE", &wake_fd) != 0) {
        if (PyErr_Occurred())
            return NULL;
        return runtime_error("the environment names no PE: c4pd did not start this process");
    }
    (void)fcntl((int)segment_fd, F_SETFD, FD_CLOEXEC);
    (void)fcntl((int)wake_fd, F_SETFD, FD_CLOEXEC);
    rt.session = getenv("C4P_SESSION") != NULL;
    unsetenv("C4P_SESSION");
    if (runtime_attach((uint32_t)pe, (int)segment_fd, (int)wake_fd) != 0)
        return NULL;
    return Py_BuildValue("(II)", rt.pe, rt.pes);
}

/* The first PE of each host that has PEs. */
static PyObject *module_hosts(PyObject *self, PyObject *unused)
{
    const struct segment_geometry *geometry = &rt.segment.geometry;
    PyObject *list;

    (void)self;
    (void)unused;
    if (!rt.attached || geometry->nodes == 1)
        return Py_BuildValue("[i]", 0);
    list = PyList_New(0);
    for (uint32_t i = 0; list != NULL && i < geometry->nodes; i++) {
        const uint32_t *first = segment_first_pes(&rt.segment) + i;
        PyObject *item;

        if (first[0] == (i + 1 < geometry->nodes ? first[1] : geometry->pes))
            continue; /* a home that has no PE */
        item = PyLong_FromUnsignedLong(first[0]);
        if (item == NULL || PyList_Append(list, item) != 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

/* Everything is registered: from now on messages may be sent. */
static PyObject *module_begin(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    rt.thread = PyThreadState_Get();
    rt.started = true;
    atomic_store(&rt.self->status, ENDPOINT_STARTED);
    if (message_send_router(C4P_STARTED, 0, NULL, 0) != 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Schedule for ever; an exception that gets here ends the job. */
static PyObject *module_loop(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    if (runtime_require() != 0)
        return NULL;
    loop_run();
    loop_fatal();
}

/* main, as a coroutine, before the loop. */
static PyObject *module_run_main(PyObject *self, PyObject *args)
{
    static const struct reply nowhere;
    PyObject *function, *name, *arguments, *object;
    int is_async, hold, rc;

    (void)self;
    if (!PyArg_ParseTuple(args, "OUO!pp:run_main", &function, &name, &PyTuple_Type, &arguments,
                          &is_async, &hold) ||
        runtime_require() != 0)
        return NULL;
    rt.held_back = hold;
    runtime_activity_begin();
    if (is_async) {
        object = PyObject_Call(function, arguments, NULL);
        rc = object ? coroutine_start_async(NULL, name, object, &nowhere) : -1;
    } else {
        rc = coroutine_start(NULL, name, function, arguments, NULL, &nowhere);
    }
    if (rc != 0)
        loop_fatal();
    Py_RETURN_NONE;
}

/* main's first slice is over: readonlies go out, then what it sent. */
static PyObject *module_main_suspended(PyObject *self, PyObject *bag)
{
    struct c4p_envelope like = {.kind = C4P_READONLIES};

    (void)self;
    rt.held_back = false;
    if (bag != Py_None && message_broadcast_others(&like, 0, rt.pes, &bag, 1) != 0)
        return NULL;
    message_let_go();
    runtime_activity_end();
    Py_RETURN_NONE;
}

/* ---- creation ---- */

static PyObject *create(PyObject *type, PyObject *given, struct collection *description)
{
    description->class = chare_class_of(type);
    if (description->class == NULL)
        return NULL;
    return collection_create(description, given);
}

static PyObject *module_create_group(PyObject *self, PyObject *args)
{
    struct collection description = {
        .kind = KIND_GROUP, .placement = PLACE_EACH, .ndims = 1, .dims = {(int32_t)rt.pes}};
    PyObject *type, *given;

    (void)self;
    if (!PyArg_ParseTuple(args, "OO:create_group", &type, &given) || runtime_require() != 0)
        return NULL;
    return create(type, given, &description);
}

static PyObject *module_create_array(PyObject *self, PyObject *args)
{
    struct collection description = {.kind = KIND_ARRAY, .placement = PLACE_BLOCK};
    PyObject *type, *dims, *given;
    uint64_t total = 1;

    (void)self;
    if (!PyArg_ParseTuple(args, "OO!O:create_array", &type, &PyTuple_Type, &dims, &given) ||
        runtime_require() != 0)
        return NULL;
    description.ndims = (uint8_t)PyTuple_GET_SIZE(dims);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(dims) && i < C4P_MAX_DIMS; i++) {
        description.dims[i] = (int32_t)PyLong_AsLong(PyTuple_GET_ITEM(dims, i));
        total *= (uint32_t)description.dims[i];
        if (total > INT64_MAX / INT32_MAX)
            return runtime_error("an array of the shape %R has too many elements", dims);
    }
    return create(type, given, &description);
}

/* A collection that is not created by message, with its one local element, not constructed. */
static struct collection *enter_local(struct collection *description, PyObject *type, uint64_t flat)
{
    struct collection *collection;
    Chare *chare;

    description->class = chare_class_of(type);
    if (description->class == NULL || (collection = collection_intern(description)) == NULL)
        return NULL;
    collection->elements = PyMem_Calloc(1, sizeof(*collection->elements));
    if (collection->elements == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    chare = (Chare *)((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, 0);
    if (chare == NULL)
        return NULL;
    chare->collection = collection;
    chare->flat = flat;
    collection->elements[0] = chare;
    collection->created = true;
    return collection;
}

/* The main chare: one element on PE 0; its constructor is main. Returns the object. */
static PyObject *module_main_chare(PyObject *self, PyObject *type)
{
    struct collection description = {.kind = KIND_MAIN,
                                     .placement = PLACE_ON,
                                     .ndims = 1,
                                     .dims = {1},
                                     .id = (uint64_t)rt.pe << 32};
    struct collection *collection = enter_local(&description, type, 0);

    (void)self;
    return collection ? new_ref((PyObject *)collection->elements[0]) : NULL;
}

/* The internal group whose members stand for the runtime; made by every PE for itself. */
static PyObject *module_charm_group(PyObject *self, PyObject *type)
{
    struct collection description = {.kind = KIND_GROUP,
                                     .placement = PLACE_EACH,
                                     .ndims = 1,
                                     .dims = {(int32_t)rt.pes},
                                     .id = CHARM_GROUP};
    struct collection *collection;

    (void)self;
    if (rt.client) {
        description.class = chare_class_of(type);
        collection = description.class ? collection_intern(&description) : NULL;
    } else {
        collection = enter_local(&description, type, rt.pe);
    }
    return collection ? proxy_create(collection, NULL, 0) : NULL;
}

/* ---- futures, timers ---- */

static PyObject *module_create_future(PyObject *self, PyObject *args)
{
    unsigned long long expected;

    (void)self;
    if (!PyArg_ParseTuple(args, "K:Future", &expected) || runtime_require() != 0 ||
        waiting_require("Future") != 0)
        return NULL;
    return (PyObject *)future_create(FUTURE_VALUES, expected);
}

static PyObject *module_future_from(PyObject *self, PyObject *args)
{
    unsigned owner;
    unsigned long long id;

    (void)self;
    if (!PyArg_ParseTuple(args, "IK:future_from", &owner, &id))
        return NULL;
    if (!endpoint_plausible(owner, rt.pes))
        return PyErr_Format(PyExc_ValueError, "malformed future");
    return future_resolve(owner, id);
}

static PyObject *module_schedule(PyObject *self, PyObject *args)
{
    PyObject *callable, *arguments;
    double seconds;

    (void)self;
    if (!PyArg_ParseTuple(args, "OdO!:schedule", &callable, &seconds, &PyTuple_Type, &arguments) ||
        runtime_require() != 0)
        return NULL;
    if (timer_add(seconds, callable, arguments, NULL) == NULL)
        return NULL;
    Py_RETURN_NONE;
}

/* "greenlet", "async" or None: what the caller may do to wait. */
static PyObject *module_context(PyObject *self, PyObject *unused)
{
    const struct coroutine *coroutine = coroutine_current();

    (void)self;
    (void)unused;
    if (coroutine == NULL)
        Py_RETURN_NONE;
    return PyUnicode_FromString(coroutine->greenlet != NULL ? "greenlet" : "async");
}

static PyObject *module_sleep(PyObject *self, PyObject *args)
{
    struct coroutine *coroutine = coroutine_require("charm.sleep");
    struct timer *timer;
    PyObject *what;
    double seconds;
    int rc = 0;

    (void)self;
    if (coroutine == NULL || !PyArg_ParseTuple(args, "d:sleep", &seconds))
        return NULL;
    what = PyUnicode_FromFormat("charm.sleep()");
    if (what == NULL)
        return NULL;
    coroutine->timed_out = false;
    timer = timer_add(seconds, NULL, NULL, coroutine);
    if (timer == NULL)
        rc = -1;
    while (rc == 0 && !coroutine->timed_out)
        rc = coroutine_suspend(coroutine, what);
    if (timer != NULL && !coroutine->timed_out)
        timer_cancel(timer);
    coroutine->timed_out = false;
    Py_DECREF(what);
    if (rc != 0)
        return NULL;
    Py_RETURN_NONE;
}

/* ---- ending ---- */

static PyObject *module_exit(PyObject *self, PyObject *args)
{
    const char *text;
    Py_ssize_t size;
    int code;

    (void)self;
    if (!PyArg_ParseTuple(args, "is#:exit", &code, &text, &size) || runtime_require() != 0)
        return NULL;
    loop_exit(code, text, (size_t)size);
}

/* ---- reports ---- */

static PyObject *module_blocked(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    return coroutine_report();
}

/* Messages for collections that have not been created here: (id, how many). */
static PyObject *module_held(PyObject *self, PyObject *unused)
{
    PyObject *list = PyList_New(0);

    (void)self;
    (void)unused;
    for (size_t i = 0; list != NULL && rt.collections.entries && i <= rt.collections.mask; i++) {
        const struct collection *collection = rt.collections.entries[i].value;
        unsigned long long count = 0;
        PyObject *item;

        for (uint64_t offset = collection ? collection->held : 0; offset != 0;
             offset = segment_block(&rt.segment, offset)->next)
            count++;
        if (count == 0)
            continue;
        item = Py_BuildValue("(KK)", (unsigned long long)collection->id, count);
        if (item == NULL || PyList_Append(list, item) != 0)
            Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

static PyObject *module_segment_used(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    region_returns_flush(&rt.returns);
    region_reclaim(rt.region);
    return PyLong_FromUnsignedLongLong(region_used(rt.region));
}

static PyObject *module_set_options(PyObject *self, PyObject *args)
{
    int protocol, by_reference;

    (void)self;
    if (!PyArg_ParseTuple(args, "ip:set_options", &protocol, &by_reference))
        return NULL;
    args_set_protocol(protocol);
    rt.by_reference = by_reference;
    Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {
    {"attach", module_attach, METH_VARARGS, "Map the segment that c4pd made for this PE."},
    {"hosts", module_hosts, METH_NOARGS, "The first PE of each host."},
    {"begin", module_begin, METH_NOARGS, "Announce that charm.start() was reached."},
    {"loop", module_loop, METH_NOARGS, "Schedule until the job ends; does not return."},
    {"run_main", module_run_main, METH_VARARGS, "Start main as a coroutine."},
    {"main_suspended", module_main_suspended, METH_O, "Let go what main's first slice sent."},
    {"create_group", module_create_group, METH_VARARGS, "Create a group."},
    {"create_array", module_create_array, METH_VARARGS, "Create an array."},
    {"main_chare", module_main_chare, METH_O, "Make the main chare's object."},
    {"charm_group", module_charm_group, METH_O, "Make this PE's member of charm.thisProxy."},
    {"create_future", module_create_future, METH_VARARGS, "Create a future."},
    {"future_from", module_future_from, METH_VARARGS, "A future that was sent."},
    {"passing_chare", element_passing, METH_NOARGS, "The chare whose state this is."},
    {"proxy_from", proxy_unpickle, METH_O, "A proxy that was sent."},
    {"wait_any", future_wait_any, METH_O, "Suspend until one of some futures is done."},
    {"start_quiescence", quiescence_start, METH_O, "Call back at quiescence."},
    {"schedule", module_schedule, METH_VARARGS, "Call something later."},
    {"context", module_context, METH_NOARGS, "Kind of coroutine that the caller is."},
    {"sleep", module_sleep, METH_VARARGS, "Suspend the calling coroutine for seconds."},
    {"exit", module_exit, METH_VARARGS, "End the job."},
    {"blocked", module_blocked, METH_NOARGS, "Coroutines that wait, and for what."},
    {"held", module_held, METH_NOARGS, "Messages for collections that do not exist."},
    {"recent_reductions", reduction_recent, METH_NOARGS,
     "The last reductions of local elements, if others may hold parts of them."},
    {"open_reductions", reduction_report, METH_NOARGS, "Reductions that are not complete."},
    {"lacking", reduction_lacking, METH_VARARGS, "Local elements that did not contribute."},
    {"segment_used", module_segment_used, METH_NOARGS,
     "Bytes of the segment that this PE's messages take now."},
    {"set_options", module_set_options, METH_VARARGS,
     "Protocol for arguments (-1: highest); whether they go by reference on a PE."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                                        "c4py._c4py",
                                        "The runtime of a PE.",
                                        -1,
                                        module_methods,
                                        NULL,
                                        NULL,
                                        NULL,
                                        NULL};

static int add_type(PyObject *module, const char *name, PyTypeObject *type)
{
    if (PyType_Ready(type) != 0)
        return -1;
    Py_INCREF(type);
    if (PyModule_AddObject(module, name, (PyObject *)type) != 0) {
        Py_DECREF(type);
        return -1;
    }
    return 0;
}

PyMODINIT_FUNC PyInit__c4py(void)
{
    PyObject *module = PyModule_Create(&definition);

    names.init = PyUnicode_InternFromString("__init__");
    names.send = PyUnicode_InternFromString("send");
    names.ret = PyUnicode_InternFromString("ret");
    names.awaitable = PyUnicode_InternFromString("awaitable");
    names.migrated = PyUnicode_InternFromString("migrated");
    if (module == NULL || names.init == NULL || names.send == NULL || names.ret == NULL ||
        names.awaitable == NULL || names.migrated == NULL || PyType_Ready(&Block_Type) != 0 ||
        add_type(module, "Chare", &Chare_Type) != 0 ||
        add_type(module, "ChareClass", &ChareClass_Type) != 0 ||
        add_type(module, "EntryMethod", &EntryMethod_Type) != 0 ||
        add_type(module, "BoundMethod", &BoundMethod_Type) != 0 ||
        add_type(module, "Proxy", &Proxy_Type) != 0 ||
        add_type(module, "Future", &Future_Type) != 0 ||
        add_type(module, "Reducer", &Reducer_Type) != 0 || args_add_functions(module) != 0 ||
        PyModule_AddFunctions(module, client_methods) != 0) {
        Py_XDECREF(module);
        return NULL;
    }
    return module;
}
