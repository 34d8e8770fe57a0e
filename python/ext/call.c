/*
 * Invocations as they arrive: find the elements, run the method, send the outcome.
 */
#include <string.h>

#include "python/ext/runtime.h"

#define STACK_ARGS 8

/* ---- completions of broadcasts ---- */

struct completion *completion_create(const struct c4p_envelope *envelope, uint64_t elements)
{
    struct completion *completion = PyMem_Calloc(1, sizeof(*completion));

    if (completion == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    completion->source = envelope->source;
    completion->future = envelope->future;
    completion->flags = envelope->flags & C4P_RETURN;
    completion->remaining = completion->elements = elements;
    if (completion->flags & C4P_RETURN) {
        completion->positions = PyList_New(0);
        completion->values = PyList_New(0);
        if (completion->positions == NULL || completion->values == NULL) {
            Py_XDECREF(completion->positions);
            Py_XDECREF(completion->values);
            PyMem_Free(completion);
            return NULL;
        }
    }
    return completion;
}

static int completion_send(const struct completion *completion)
{
    struct c4p_envelope like = {.kind = C4P_COMPLETION,
                                .future = completion->future,
                                .flags = completion->flags,
                                .sequence = (uint32_t)completion->elements};
    PyObject *args[2] = {completion->positions, completion->values};

    if (completion->flags & C4P_RETURN)
        return message_send(&like, completion->source, args, 2, NULL);
    if (completion->exception == NULL)
        return message_send(&like, completion->source, NULL, 0, NULL);
    like.flags |= C4P_EXCEPTION;
    args[0] = completion->exception;
    return message_send(&like, completion->source, args, 1, NULL);
}

/*
 * The pending exception as an object that can travel: with its traceback's text and PE. NULL if it
 * is one that ends the program whoever waits, like SystemExit.
 */
PyObject *call_exception(void)
{
    PyObject *type, *value, *traceback, *args[1], *prepared;

    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return NULL;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    args[0] = value;
    prepared = runtime_hook("exception_to_send", args, 1);
    Py_DECREF(value);
    return prepared;
}

/* What to send instead of something that could not be encoded; the pending exception says why. */
static PyObject *replacement(PyObject *value)
{
    PyObject *args[2], *made;

    args[0] = value;
    args[1] = call_exception();
    if (args[1] == NULL)
        return NULL;
    made = runtime_hook("unsendable", args, 2);
    Py_DECREF(args[1]);
    return made;
}

static int completion_send_safely(struct completion *completion)
{
    PyObject **what = completion->values ? &completion->values : &completion->exception;
    PyObject *made;

    if (completion_send(completion) == 0)
        return 0;
    made = replacement(*what ? *what : Py_None);
    if (made == NULL)
        return -1;
    Py_XSETREF(*what, made);
    return completion_send(completion);
}

int completion_end(struct completion *completion)
{
    int rc = completion_send_safely(completion);

    Py_XDECREF(completion->positions);
    Py_XDECREF(completion->values);
    Py_XDECREF(completion->exception);
    PyMem_Free(completion);
    return rc;
}

static int completion_add(struct completion *completion, uint64_t flat, PyObject *value,
                          bool raised)
{
    PyObject *position;
    int rc = 0;

    if (completion->flags & C4P_RETURN) {
        position = PyLong_FromUnsignedLongLong(flat);
        rc = position == NULL || PyList_Append(completion->positions, position) != 0 ||
                     PyList_Append(completion->values, value) != 0
                 ? -1
                 : 0;
        Py_XDECREF(position);
    } else if (raised) {
        Py_XSETREF(completion->exception, new_ref(value));
    }
    if (--completion->remaining == 0 && completion_end(completion) != 0)
        rc = -1;
    return rc;
}

/* ---- shares: calls that are made elsewhere ---- */

uint64_t completion_share(struct completion *completion, uint64_t first, uint64_t count)
{
    Future *share = future_create(FUTURE_SHARE, 1);
    uint64_t id;

    if (share == NULL)
        return 0;
    share->share = completion;
    share->share_first = first;
    share->share_count = count;
    id = share->id;
    Py_DECREF(share); /* the table keeps it while it is due */
    return id;
}

int completion_take_value(const Future *share, PyObject *value)
{
    bool raised = PyExceptionInstance_Check(value) != 0;

    return completion_add(share->share, share->share_first, value, raised);
}

int completion_take_part(const Future *share, bool raised, PyObject *const *args)
{
    struct completion *completion = share->share;
    Py_ssize_t size;
    int rc = 0;

    if (raised) { /* of calls with return values: they could not be made */
        completion->flags = 0;
        Py_CLEAR(completion->positions);
        Py_CLEAR(completion->values);
        Py_XSETREF(completion->exception, new_ref(args[0]));
    } else if (completion->values != NULL && args[0] != NULL && args[1] != NULL) {
        size = PyList_GET_SIZE(completion->values);
        if (PyList_SetSlice(completion->positions, size, size, args[0]) != 0 ||
            PyList_SetSlice(completion->values, size, size, args[1]) != 0)
            rc = -1;
    }
    completion->remaining -= share->share_count;
    if (completion->remaining == 0 && completion_end(completion) != 0)
        rc = -1;
    return rc;
}

/* ---- outcomes ---- */

static int reply_send(const struct reply *reply, PyObject *value)
{
    PyObject *made;
    int rc;

    if (future_send_value(reply->source, reply->future, value) == 0)
        return 0;
    made = replacement(value);
    if (made == NULL)
        return -1;
    rc = future_send_value(reply->source, reply->future, made);
    Py_DECREF(made);
    return rc;
}

int call_finish(const struct reply *reply, Chare *chare, PyObject *result)
{
    bool raised = result == NULL;
    int rc;

    if (rt.forked)
        loop_leave_child();
    if (!reply_wanted(reply)) {
        Py_XDECREF(result);
        return raised ? runtime_survive() : 0;
    }
    if (raised) {
        result = call_exception();
        if (result == NULL)
            return -1;
    }
    if (reply->completion != NULL)
        rc = completion_add(reply->completion, chare->flat, result, raised);
    else
        rc = reply_send(reply, result);
    Py_DECREF(result);
    return rc;
}

/* ---- running a method ---- */

static PyObject *args_tuple(PyObject *const *args, Py_ssize_t count)
{
    PyObject *tuple = PyTuple_New(count);

    for (Py_ssize_t i = 0; tuple != NULL && i < count; i++)
        PyTuple_SET_ITEM(tuple, i, new_ref(args[i]));
    return tuple;
}

/* The bound method with its arguments as a tuple, for coroutines and keywords. */
static int call_boxed(Chare *chare, EntryMethod *method, PyObject **args, Py_ssize_t count,
                      PyObject *keywords, const struct reply *reply)
{
    PyObject *call = PyObject_GetAttr((PyObject *)chare, method->name);
    PyObject *tuple = call ? args_tuple(args, count) : NULL;
    PyObject *result;
    int rc = -1;

    if (tuple == NULL) {
        Py_XDECREF(call);
        return call_finish(reply, chare, NULL);
    }
    if (method->flags & METHOD_CORO) {
        rc = coroutine_start(chare, method->name, call, tuple, keywords, reply);
    } else {
        result = PyObject_Call(call, tuple, keywords);
        if (result != NULL && PyCoro_CheckExact(result))
            rc = coroutine_start_async(chare, method->name, result, reply);
        else
            rc = call_finish(reply, chare, result);
    }
    Py_DECREF(call);
    Py_DECREF(tuple);
    return rc;
}

int call_element(Chare *chare, EntryMethod *method, PyObject **args, Py_ssize_t count,
                 PyObject *keywords, const struct reply *reply)
{
    PyObject *result;
    int rc;

    Py_INCREF(chare);
    rt.running = chare;
    rt.running_name = method->name;
    if (keywords != NULL || method->flags & METHOD_CORO) {
        rc = call_boxed(chare, method, args, count, keywords, reply);
    } else {
        args[-1] = (PyObject *)chare;
        result = PyObject_VectorcallMethod(
            method->name, args - 1, (size_t)(count + 1) | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        if (result != NULL && PyCoro_CheckExact(result))
            rc = coroutine_start_async(chare, method->name, result, reply);
        else
            rc = call_finish(reply, chare, result);
    }
    rt.running = NULL;
    rt.running_name = NULL;
    Py_DECREF(chare);
    return rc;
}

/* ---- messages ---- */

static int call_one(struct collection *collection, Chare *chare, const struct broadcast *call)
{
    struct reply reply = {.future = call->envelope->future, .source = call->envelope->source};

    if (chare == NULL) {
        PyErr_Format(PyExc_IndexError, "a message for an element of %U that is not on PE %u",
                     collection->class->name, rt.pe);
        return call_finish(&reply, NULL, NULL);
    }
    return call_element(chare, call->method, call->args, call->count, call->keywords, &reply);
}

/* Some elements have moved: from here, or to here from the home that has sent us this. */
static int call_scattered(struct collection *collection, const struct broadcast *call)
{
    struct reply reply = {0};
    bool shared = call->envelope->sequence != 0;
    Chare **run = NULL;
    uint64_t count = 0;
    int rc;

    if (shared) {
        rc = migration_shared(collection, call, &reply.completion, &run, &count);
    } else {
        if (call->envelope->future != 0 &&
            (reply.completion = completion_create(call->envelope, collection->count)) == NULL)
            return -1;
        rc = migration_broadcast(collection, call, reply.completion, &run, &count);
    }
    if (shared)
        contributions_begin(count);
    for (uint64_t i = 0; i < count; i++) {
        if (rc == 0)
            rc =
                call_element(run[i], call->method, call->args, call->count, call->keywords, &reply);
        Py_DECREF(run[i]);
    }
    PyMem_Free(run);
    if (shared && contributions_end() != 0)
        rc = -1;
    return rc;
}

static int call_all(struct collection *collection, const struct broadcast *call)
{
    struct reply reply = {0};

    if (call->envelope->sequence != 0 || collection->moved.count > 0)
        return call_scattered(collection, call);
    if (call->envelope->future != 0) {
        reply.completion = completion_create(call->envelope, collection->count);
        if (reply.completion == NULL)
            return -1;
        if (collection->count == 0)
            return completion_end(reply.completion);
    }
    for (uint64_t i = 0; i < collection->count; i++)
        if (call_element(collection->elements[i], call->method, call->args, call->count,
                         call->keywords, &reply) != 0)
            return -1;
    return 0;
}

int call_refuse(const struct c4p_envelope *envelope)
{
    struct reply reply = {.future = envelope->future, .source = envelope->source};
    PyObject *exception;
    struct completion *completion;
    int rc;

    if (envelope->future == 0)
        return -1;
    if (envelope->kind == C4P_CALL && !(envelope->flags & C4P_BROADCAST))
        return call_finish(&reply, NULL, NULL);
    exception = call_exception();
    completion = exception ? completion_create(envelope, 1) : NULL;
    if (completion == NULL) {
        Py_XDECREF(exception);
        return -1;
    }
    completion->flags = 0;
    completion->exception = exception;
    rc = completion_end(completion);
    return rc;
}

/* The collection could not be constructed, which was reported: who waits learns why. */
static int call_failed(const struct collection *collection, uint64_t offset,
                       const struct c4p_envelope *envelope)
{
    PyObject *failure = collection->failure;

    message_release(offset);
    if (envelope->future == 0)
        return 0;
    if (failure != NULL)
        PyErr_SetObject((PyObject *)Py_TYPE(failure), failure);
    else
        runtime_error("%U could not be constructed", collection->class->name);
    return call_refuse(envelope);
}

/* Whom it is for. As migration_arrive(). */
static inline int call_find(struct collection *collection, uint64_t offset,
                            const struct c4p_envelope *envelope, Chare **chare)
{
    int64_t flat = collection_flat(collection, envelope->index, envelope->ndims);

    if (collection->moved.count > 0 || (uint64_t)flat - collection->first >= collection->count)
        return migration_arrive(collection, flat, offset, envelope, chare);
    *chare = collection->elements[(uint64_t)flat - collection->first];
    return 0;
}

/* Decode and call. One place before the arguments is for self, one behind for keywords. */
static int call_run(struct collection *collection, Chare *chare, EntryMethod *method,
                    uint64_t offset, const struct c4p_envelope *envelope)
{
    PyObject *stack[STACK_ARGS];
    struct broadcast call = {envelope, method, stack + 1, envelope->args, NULL};
    int rc;

    if (envelope->args + 2 > STACK_ARGS) {
        call.args = PyMem_New(PyObject *, (size_t)envelope->args + 2);
        if (call.args == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        call.args++;
    }
    call.args[envelope->args] = NULL;
    rc = message_decode(offset, envelope, call.args);
    if (rc != 0) {
        rc = PyErr_Occurred() ? call_refuse(envelope) : 0;
    } else {
        call.keywords = call.args[envelope->args];
        if (envelope->flags & C4P_BROADCAST)
            rc = call_all(collection, &call);
        else
            rc = call_one(collection, chare, &call);
        args_release(call.args, envelope->args);
        Py_XDECREF(call.keywords);
    }
    if (call.args != stack + 1)
        PyMem_Free(call.args - 1);
    return rc;
}

int call_handle(uint64_t offset, const struct c4p_envelope *envelope)
{
    struct collection *collection = collection_of(envelope);
    EntryMethod *method;
    Chare *chare = NULL;
    int rc;

    if (collection == NULL)
        return -1;
    if (!collection->created) {
        collection_hold(collection, offset);
        return 0;
    }
    if (collection->failed)
        return call_failed(collection, offset, envelope);
    if (!(envelope->flags & C4P_BROADCAST) &&
        (rc = call_find(collection, offset, envelope, &chare)) != 0)
        return rc < 0 ? -1 : 0;
    if (class_wait_behind(offset))
        return 0;
    method = table_get(&collection->class->methods, envelope->method);
    if (method == NULL) {
        message_release(offset);
        PyErr_Format(rt.error_class, "%U has no entry method with the number %u that PE %u called",
                     collection->class->name, envelope->method, envelope->source);
        return call_refuse(envelope);
    }
    return call_run(collection, chare, method, offset, envelope);
}
