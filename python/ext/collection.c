/*
 * Collections: what a PE knows about groups, arrays and the main chare, where
 * their elements are, and how they come into being.
 */
#include <string.h>

#include "python/ext/runtime.h"

struct collection *collection_find(uint64_t id)
{
    return table_get(&rt.collections, id);
}

uint32_t collection_pe(const struct collection *collection, uint64_t flat)
{
    if (collection->placement == PLACE_ON)
        return collection->on_pe;
    if (collection->placement == PLACE_EACH)
        return (uint32_t)flat;
    return placement_block_pe(collection->total, rt.pes, flat);
}

void collection_participants(const struct collection *collection, uint32_t *first, uint32_t *pes)
{
    bool one = collection->placement == PLACE_ON;

    *first = one ? collection->on_pe : 0;
    *pes = one ? 1 : placement_pes(collection->placement, collection->total, rt.pes);
}

int64_t collection_flat(const struct collection *collection, const int32_t *index, unsigned ndims)
{
    int64_t flat = 0;

    if (ndims != collection->ndims)
        return -1;
    for (unsigned i = 0; i < ndims; i++) {
        if (index[i] < 0 || index[i] >= collection->dims[i])
            return -1;
        flat = flat * collection->dims[i] + index[i];
    }
    return flat;
}

void collection_unflatten(const struct collection *collection, uint64_t flat,
                          int32_t index[C4P_MAX_DIMS])
{
    memset(index, 0, C4P_MAX_DIMS * sizeof(*index));
    for (unsigned i = collection->ndims; i-- > 0;) {
        index[i] = (int32_t)(flat % (uint32_t)collection->dims[i]);
        flat /= (uint32_t)collection->dims[i];
    }
}

PyObject *collection_index(const struct collection *collection, uint64_t flat)
{
    int32_t coordinates[C4P_MAX_DIMS];
    PyObject *index;

    if (collection->kind == KIND_GROUP)
        return PyLong_FromUnsignedLongLong(flat);
    index = PyTuple_New(collection->ndims);
    if (index == NULL)
        return NULL;
    collection_unflatten(collection, flat, coordinates);
    for (unsigned i = 0; i < collection->ndims; i++) {
        PyObject *coordinate = PyLong_FromLong(coordinates[i]);

        if (coordinate == NULL) {
            Py_DECREF(index);
            return NULL;
        }
        PyTuple_SET_ITEM(index, i, coordinate);
    }
    return index;
}

PyObject *collection_describe(const struct collection *collection, int64_t flat)
{
    PyObject *index, *inner = NULL, *text = NULL;

    if (flat < 0 || collection->kind == KIND_MAIN)
        return new_ref(collection->class->name);
    index = collection_index(collection, (uint64_t)flat);
    if (index != NULL)
        inner = PyObject_Str(index);
    if (inner != NULL && PyTuple_CheckExact(index)) /* "(1, 2)", "(1,)" */
        Py_SETREF(inner, PyUnicode_Substring(inner, 1,
                                             PyUnicode_GET_LENGTH(inner) -
                                                 (PyTuple_GET_SIZE(index) == 1 ? 2 : 1)));
    if (inner != NULL)
        text = PyUnicode_FromFormat("%U[%U]", collection->class->name, inner);
    Py_XDECREF(index);
    Py_XDECREF(inner);
    return text;
}

/* The local part of a description: which positions live here. */
static void collection_place(struct collection *collection)
{
    collection->total = collection->ndims > 0 ? 1 : 0;
    for (unsigned i = 0; i < collection->ndims; i++)
        collection->total *= (uint32_t)collection->dims[i];
    if (rt.client && collection->placement != PLACE_ON)
        return; /* a client has only what it made for itself */
    switch (collection->placement) {
    case PLACE_EACH:
        collection->first = rt.pe;
        collection->count = 1;
        break;
    case PLACE_ON:
        collection->first = 0;
        collection->count = collection->on_pe == rt.pe ? collection->total : 0;
        break;
    default:
        collection->first = placement_block_first(collection->total, rt.pes, rt.pe);
        collection->count =
            placement_block_first(collection->total, rt.pes, rt.pe + 1) - collection->first;
    }
}

struct collection *collection_intern(const struct collection *description)
{
    struct collection *collection = collection_find(description->id);

    if (collection != NULL && (collection->class != NULL || description->class == NULL))
        return collection;
    if (collection == NULL) {
        /* Without a class: a message came before anything told us what it is for. */
        collection = PyMem_Calloc(1, sizeof(*collection));
        if (collection == NULL || table_set(&rt.collections, description->id, collection) != 0)
            goto memory;
        collection->id = description->id;
        collection->session = rt.session_number;
    }
    collection->class = description->class;
    collection->kind = description->kind;
    collection->placement = description->placement;
    collection->ndims = description->ndims;
    collection->on_pe = description->on_pe;
    memcpy(collection->dims, description->dims, sizeof(collection->dims));
    collection_place(collection);
    return collection;
memory:
    PyMem_Free(collection);
    PyErr_NoMemory();
    return NULL;
}

struct collection *collection_of(const struct c4p_envelope *envelope)
{
    struct collection *collection = collection_find(envelope->collection);
    struct collection description = {.id = envelope->collection, .kind = KIND_ARRAY};

    return collection != NULL ? collection : collection_intern(&description);
}

void collection_hold(struct collection *collection, uint64_t offset)
{
    segment_block(&rt.segment, offset)->next = 0;
    if (collection->held == 0)
        collection->held = offset;
    else
        segment_block(&rt.segment, collection->held_last)->next = offset;
    collection->held_last = offset;
}

/* ---- creation ---- */

/* Make the object and let the runtime's part of it be ready before any user code sees it. */
Chare *element_allocate(struct collection *collection, uint64_t flat)
{
    PyTypeObject *type = (PyTypeObject *)collection->class->type;
    Chare *chare = (Chare *)type->tp_alloc(type, 0);

    if (chare == NULL)
        return NULL;
    chare->collection = collection;
    chare->flat = flat;
    return chare;
}

/* An ordinary method: it runs at once, and cannot wait. */
static int constructor_call(Chare *chare, PyObject **args, Py_ssize_t count)
{
    bool scheduler = PyThreadState_Get() == rt.thread; /* else rt is not ours to change */
    Chare *running = rt.running;
    PyObject *running_name = rt.running_name;
    bool constructing = rt.constructing;
    PyObject *result;

    if (scheduler) {
        rt.running = chare;
        rt.running_name = names.init;
        rt.constructing = true;
    }
    args[-1] = (PyObject *)chare;
    result = PyObject_VectorcallMethod(names.init, args - 1,
                                       (size_t)(count + 1) | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    if (scheduler) {
        rt.running = running;
        rt.running_name = running_name;
        rt.constructing = constructing;
    }
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static int element_construct(Chare *chare, PyObject **args, Py_ssize_t count,
                             struct completion *completion)
{
    ChareClass *class = chare->collection->class;
    struct reply reply = {.completion = completion};
    PyObject *init, *tuple;
    int rc;

    if (!(class->constructor_flags & METHOD_CORO)) {
        if (constructor_call(chare, args, count) != 0)
            return -1;
        if (completion != NULL)
            completion->remaining--;
        return 0;
    }
    init = PyObject_GetAttr((PyObject *)chare, names.init);
    if (init == NULL)
        return -1;
    tuple = PyTuple_New(count);
    if (tuple == NULL) {
        Py_DECREF(init);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        PyTuple_SET_ITEM(tuple, i, new_ref(args[i]));
    rc = coroutine_start(chare, names.init, init, tuple, NULL, &reply);
    Py_DECREF(init);
    Py_DECREF(tuple);
    return rc;
}

/* Run what came for the collection before its elements did. */
int collection_release_held(struct collection *collection)
{
    uint64_t offset = collection->held;

    collection->held = 0;
    while (offset != 0) {
        uint64_t next = segment_block(&rt.segment, offset)->next;

        message_resume(offset);
        offset = next;
    }
    return 0;
}

/*
 * Construct the local elements. args[-1] must be writable. Messages wait until
 * all constructors have run, or have suspended for the first time.
 */
static int collection_construct(struct collection *collection, PyObject **args, Py_ssize_t count,
                                struct completion *completion)
{
    collection->elements =
        PyMem_Calloc(collection->count ? collection->count : 1, sizeof(*collection->elements));
    if (collection->elements == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (uint64_t i = 0; i < collection->count; i++) {
        Chare *chare = element_allocate(collection, collection->first + i);

        if (chare == NULL)
            return -1;
        collection->elements[i] = chare;
        if (element_construct(chare, args, count, completion) != 0)
            return -1;
    }
    collection->created = true;
    return collection_release_held(collection);
}

static struct completion *creation_completion(uint32_t source, uint64_t future, uint64_t elements)
{
    struct c4p_envelope envelope = {.source = source, .future = future};

    return future == 0 ? NULL : completion_create(&envelope, elements + 1);
}

/* The completion counts one more than there are elements, so that it ends here at the earliest. */
static int creation_end(struct completion *completion)
{
    if (completion == NULL)
        return 0;
    completion->remaining--;
    return completion->remaining == 0 ? completion_end(completion) : 0;
}

void collection_fail(struct collection *collection)
{
    PyObject *type, *value, *traceback, *args[1], *result;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    args[0] = value;
    result = runtime_hook("session_error", args, 1);
    if (result == NULL)
        PyErr_WriteUnraisable(value);
    Py_XDECREF(result);
    PyErr_Restore(type, value, traceback);
    collection->failed = collection->created = true;
    Py_XSETREF(collection->failure, call_exception());
    if (collection->failure == NULL)
        PyErr_Clear();
}

/*
 * A constructor has raised. In a session the collection goes on as one that every caller hears the
 * exception from, the creator first; coroutine constructors that run still report to the completion.
 */
static int create_failed(struct collection *collection, struct completion *completion)
{
    if (!rt.session || !PyErr_ExceptionMatches(PyExc_Exception))
        return -1;
    collection_fail(collection);
    if (completion == NULL)
        return collection_release_held(collection);
    for (uint64_t i = collection->count; i-- > 0 && collection->elements[i] == NULL;)
        completion->remaining--;
    completion->remaining--; /* the one that raised */
    Py_XSETREF(completion->exception, new_ref(collection->failure ? collection->failure : Py_None));
    return collection_release_held(collection) == 0 ? creation_end(completion) : -1;
}

static int create_local(struct collection *collection, PyObject *const *args, Py_ssize_t count,
                        uint32_t source, uint64_t future)
{
    struct completion *completion = creation_completion(source, future, collection->count);
    PyObject *stack[8];
    PyObject **copy = stack;
    int rc = -1;

    if (future != 0 && completion == NULL)
        return -1;
    if (count + 1 > 8)
        copy = PyMem_New(PyObject *, (size_t)count + 1);
    if (copy != NULL) {
        if (count > 0) /* else args may be NULL */
            memcpy(copy + 1, args, (size_t)count * sizeof(*args));
        rc = collection_construct(collection, copy + 1, count, completion);
    } else {
        PyErr_NoMemory();
    }
    if (copy != stack)
        PyMem_Free(copy);
    return rc == 0 ? creation_end(completion) : create_failed(collection, completion);
}

static uint64_t new_collection_id(void)
{
    return (uint64_t)rt.pe << 32 | ++rt.collection_counter;
}

/* Tell the other PEs, then construct what is ours: they can work meanwhile. */
static int create_everywhere(struct collection *collection, PyObject *whole, PyObject *const *args,
                             Py_ssize_t count, uint64_t future)
{
    struct c4p_envelope like = {.kind = C4P_CREATE, .collection = collection->id, .future = future};
    uint32_t first, pes;
    PyObject **message = PyMem_New(PyObject *, (size_t)count + 1);
    int rc;

    if (message == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    message[0] = whole;
    if (count > 0) /* else args may be NULL */
        memcpy(message + 1, args, (size_t)count * sizeof(*args));
    collection_participants(collection, &first, &pes);
    /* Ours is not sent: construction on the creating PE is synchronous. */
    rc = message_broadcast_others(&like, first, pes, message, count + 1);
    PyMem_Free(message);
    /* Errors in constructors end the program, as they do on the other PEs. */
    if (rc == 0 && rt.pe >= first && rt.pe < first + pes &&
        create_local(collection, args, count, rt.pe, future) != 0) {
        if (rt.client)
            return -1;
        loop_fatal();
    }
    return rc;
}

/* Constructor arguments as a tuple: constructors may do what they like to a list. */
static PyObject *arguments_tuple(PyObject *given)
{
    PyObject *sequence, *tuple;

    if (given == NULL)
        return PyTuple_New(0);
    sequence = PySequence_Fast(given, "args: a list of constructor arguments");
    tuple = sequence ? PySequence_Tuple(sequence) : NULL;
    Py_XDECREF(sequence);
    return tuple;
}

static PyObject *create(struct collection *description, PyObject *const *args, Py_ssize_t count)
{
    static const int32_t origin[C4P_MAX_DIMS];
    struct collection *collection;
    Future *creation = NULL;
    uint32_t first, pes;
    PyObject *proxy, *whole;

    if (count >= UINT16_MAX)
        return runtime_error("%zd constructor arguments are too many: 65,534 is the limit", count);
    if (description->class->constructor_flags & METHOD_CORO && PyThreadState_Get() != rt.thread)
        return runtime_error("%U.__init__ is a coroutine: chares of this class cannot be created "
                             "from a thread of the program's own",
                             description->class->name);
    description->id = new_collection_id();
    collection = collection_intern(description);
    if (collection == NULL)
        return NULL;
    whole = proxy_create(collection, NULL, 0);
    if (whole == NULL)
        return NULL;
    if (rt.client && class_send(description->class) != 0) {
        Py_DECREF(whole);
        return NULL;
    }
    if (coroutine_current() != NULL || client_drives()) {
        collection_participants(collection, &first, &pes);
        creation = future_create(FUTURE_COMPLETION, pes);
        if (creation == NULL)
            goto error;
        future_set_about(creation, (PyObject *)collection->class);
        if (pes == 0 && future_set(creation, Py_None) != 0)
            goto error;
    }
    if (create_everywhere(collection, whole, args, count, creation ? creation->id : 0) != 0)
        goto error;
    if (collection->placement == PLACE_ON) {
        proxy = proxy_create(collection, origin, collection->ndims);
        Py_DECREF(whole);
    } else {
        proxy = whole;
    }
    if (proxy != NULL)
        ((Proxy *)proxy)->creation = (PyObject *)creation;
    return proxy;
error:
    if (creation != NULL)
        future_abandon(creation);
    Py_DECREF(whole);
    return NULL;
}

PyObject *collection_create(struct collection *description, PyObject *given)
{
    PyObject *arguments, *proxy;

    if (runtime_require() != 0)
        return NULL;
    arguments = arguments_tuple(given);
    if (arguments == NULL)
        return NULL;
    proxy = create(description, &PyTuple_GET_ITEM(arguments, 0), PyTuple_GET_SIZE(arguments));
    Py_DECREF(arguments);
    return proxy;
}

int collection_handle_create(uint64_t offset, const struct c4p_envelope *envelope)
{
    PyObject **args = PyMem_Calloc((size_t)envelope->args + 2, sizeof(*args));
    struct collection *collection;
    int rc;

    if (args == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    rc = message_decode(offset, envelope, args);
    if (rc == 0) {
        if (envelope->args < 1 || !PyObject_TypeCheck(args[0], &Proxy_Type)) {
            PyErr_SetString(PyExc_ValueError, "a creation message lacks its collection");
            rc = -1;
        } else {
            collection = ((Proxy *)args[0])->collection;
            if (!collection->created)
                rc = create_local(collection, args + 1, envelope->args - 1, envelope->source,
                                  envelope->future);
        }
        args_release(args, envelope->args);
    } else if (!PyErr_Occurred()) {
        rc = 0; /* it waits for its class */
    }
    PyMem_Free(args);
    return rc;
}
