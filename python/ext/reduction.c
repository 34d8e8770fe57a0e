/*
 * Reductions: contributions combined (combine.h) first on their PE, then where
 * the PEs' parts meet (proto/meeting.h). Parts are combined in the order of
 * their PEs, so that floating-point results do not depend on who came last.
 * On several nodes that makes a node's part, which goes on (reduction_nodes.c).
 */
#include <errno.h>

#include "proto/meeting.h"
#include "python/ext/delays.h"
#include "python/ext/reduction.h"

/* ---- open reductions of a collection ---- */

struct reduction *reduction_find(const struct collection *collection, uint32_t sequence)
{
    for (struct reduction *r = collection->reductions; r != NULL; r = r->next)
        if (r->sequence == sequence)
            return r;
    return NULL;
}

struct reduction *reduction_create(uint32_t sequence, Reducer *reducer, bool all)
{
    struct reduction *r = PyMem_Calloc(1, sizeof(*r));

    if (r == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    r->sequence = sequence;
    r->reducer = (Reducer *)new_ref((PyObject *)reducer);
    r->all = all;
    return r;
}

void reduction_destroy(struct reduction *r)
{
    Py_XDECREF(r->reducer);
    Py_XDECREF(r->value);
    Py_XDECREF(r->target);
    Py_XDECREF(r->futures);
    PyMem_Free(r);
}

struct reduction *reduction_open(struct collection *collection, uint32_t sequence, Reducer *reducer,
                                 bool all)
{
    struct reduction *r = reduction_create(sequence, reducer, all);
    struct reduction **last = &collection->reductions;

    while (*last != NULL)
        last = &(*last)->next;
    *last = r;
    return r;
}

void reduction_close(struct collection *collection, struct reduction *r)
{
    struct reduction **link = &collection->reductions;

    while (*link != r)
        link = &(*link)->next;
    *link = r->next;
    reduction_destroy(r);
}

/* ---- completing ---- */

/* `private`: nobody else sees what is done to the value. */
static int target_deliver(PyObject *target, PyObject *value, bool private)
{
    const Future *future = (Future *)target;
    int rc = 0;

    if (private && Py_TYPE(target) == &Future_Type && future->owner == rt.pe) {
        Future *known = table_get(&rt.futures, future->id);

        if (known != NULL)
            return future_deliver(known, value ? value : Py_None);
    } else if (private && Py_TYPE(target) == &Future_Type && value != NULL) {
        struct c4p_envelope like = {.kind = C4P_FUTURE, .future = future->id};

        /* A sum of arrays was made in the block of one of them: that block is the message. */
        rc = message_forward(&like, future->owner, value);
    }
    return rc != 0 ? (rc < 0 ? -1 : 0) : callback_invoke(target, value);
}

/* All contributions of this node are in `value`, which may be an error: the other nodes' come to it. */
static int reduction_pass_on(struct collection *collection, struct reduction *r, PyObject *value,
                             uint16_t flags)
{
    PyObject *error = NULL;
    int rc;

    if (r->all)
        flags |= C4P_RETURN;
    rc = node_part_send(collection, r->sequence, r->reducer, r->target, value, flags);
    if (rc != 0 && !(flags & C4P_EXCEPTION) && (error = error_take()) != NULL)
        rc = node_part_send(collection, r->sequence, r->reducer, r->target, error,
                            flags | C4P_EXCEPTION);
    Py_XDECREF(error);
    if (r->all) {
        Py_CLEAR(r->value);
        r->published = true;
    } else {
        reduction_close(collection, r);
    }
    return rc != 0 ? runtime_survive() : 0;
}

/* All contributions of all PEs are in r->value: hand it over and close. */
static int reduction_deliver(struct collection *collection, struct reduction *r)
{
    struct c4p_envelope like = {
        .kind = C4P_REDUCED, .collection = collection->id, .sequence = r->sequence};
    PyObject *target, *value;
    bool private;
    uint32_t first, pes;
    int rc;

    if (reduction_share(collection) != collection->total)
        return reduction_pass_on(collection, r, r->value, 0);
    value = value_finish(r->reducer, r->value);
    if (value == NULL && PyErr_Occurred())
        return -1;
    private = value == NULL || value_is_private(value, r->owned);
    if (r->all) {
        collection_participants(collection, &first, &pes);
        r->published = true;
        rc = message_broadcast(&like, first, pes, &value, value != NULL, NULL);
        Py_XDECREF(value);
        return rc;
    }
    target = new_ref(r->target);
    reduction_close(collection, r);
    rc = target_deliver(target, value, private);
    Py_DECREF(target);
    Py_XDECREF(value);
    return rc != 0 ? runtime_survive() : 0;
}

/* ---- errors of reducers ---- */

PyObject *error_take(void)
{
    return rt.session ? call_exception() : NULL;
}

static void chain_release(uint64_t offset)
{
    while (offset != 0) {
        uint64_t next = segment_block(&rt.segment, offset)->next;

        message_release(offset);
        offset = next;
    }
}

/*
 * We have all parts, `others` of them not taken yet, and the result is an error (stolen): whoever
 * waits for it raises it; a method has no parameter for it, so there it is only reported.
 */
static int reduction_failed(struct collection *collection, struct reduction *r, uint64_t others,
                            PyObject *error)
{
    struct c4p_envelope like = {
        .kind = C4P_REDUCED, .collection = collection->id, .sequence = r->sequence};
    uint32_t first, pes;
    int rc;

    chain_release(others);
    if (reduction_share(collection) != collection->total) {
        rc = reduction_pass_on(collection, r, error, C4P_EXCEPTION);
    } else if (r->all) {
        collection_participants(collection, &first, &pes);
        r->published = true;
        rc = message_broadcast(&like, first, pes, &error, 1, NULL);
    } else if (Py_TYPE(r->target) == &Future_Type) {
        rc = callback_invoke(r->target, error);
        reduction_close(collection, r);
    } else {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        rc = runtime_survive();
        reduction_close(collection, r);
    }
    Py_DECREF(error);
    return rc;
}

/* The error that one of the others' parts is; NULL if none is one. */
static PyObject *parts_error(uint64_t others)
{
    PyObject *value[2] = {NULL, NULL};

    for (uint64_t offset = others; offset != 0; offset = segment_block(&rt.segment, offset)->next) {
        const struct c4p_envelope envelope = *segment_block(&rt.segment, offset);

        if (!(envelope.flags & C4P_EXCEPTION) || envelope.args != 1)
            continue;
        if (args_decode(rt.segment.base + offset + C4P_ENVELOPE_SIZE, envelope.body_size, 1, false,
                        NULL, value) == 0)
            return value[0];
        return error_take();
    }
    return NULL;
}

int part_compare(const void *a, const void *b)
{
    const struct part *x = a, *y = b;

    return x->pe < y->pe ? -1 : x->pe > y->pe;
}

/* One of the others' parts. Sets nothing if its message has to wait for a class. */
static int part_take(struct reduction *r, uint64_t offset, const struct c4p_envelope *envelope)
{
    PyObject *value[2] = {NULL, NULL};

    if (envelope->args != 1) {
        message_release(offset);
        PyErr_SetString(PyExc_ValueError, "a malformed part of a reduction");
        return -1;
    }
    if (message_decode(offset, envelope, value) != 0)
        return PyErr_Occurred() ? -1 : 0;
    r->parts[r->part_count++] = (struct part){envelope->source, value[0], true};
    r->parts_due--;
    return 0;
}

/* Combine numbers and arrays pairwise, in the order of PEs. Steals the parts' values. */
static PyObject *parts_combine(const Reducer *reducer, struct part *parts, Py_ssize_t count)
{
    struct part sum = parts[0];

    for (Py_ssize_t i = 1; i < count; i++) {
        PyObject *value =
            value_combine(reducer, sum.value, parts[i].value, sum.owned, parts[i].owned);

        Py_DECREF(sum.value);
        Py_DECREF(parts[i].value);
        if (value == NULL)
            return NULL;
        sum.value = value;
        sum.owned = true;
    }
    return sum.value;
}

/* Join the lists of gather and custom parts, and reduce the latter again. */
static PyObject *parts_join(const Reducer *reducer, struct part *parts, Py_ssize_t count)
{
    PyObject *list = PyList_New(0);
    PyObject *result;
    int rc = list == NULL ? -1 : 0;

    for (Py_ssize_t i = 0; i < count; i++) {
        if (rc == 0)
            rc =
                PyList_SetSlice(list, PyList_GET_SIZE(list), PyList_GET_SIZE(list), parts[i].value);
        Py_DECREF(parts[i].value);
    }
    if (rc != 0 || reducer->op == OP_GATHER || count == 1) {
        if (rc != 0)
            Py_CLEAR(list);
        return list;
    }
    result = PyObject_CallFunctionObjArgs(reducer->function, list, NULL);
    Py_SETREF(list, result == NULL ? NULL : PyList_New(1));
    if (list != NULL)
        PyList_SET_ITEM(list, 0, result);
    return list;
}

PyObject *parts_reduce(const Reducer *reducer, struct part *parts, Py_ssize_t count)
{
    return reducer_gathers(reducer) ? parts_join(reducer, parts, count)
                                    : parts_combine(reducer, parts, count);
}

/* All parts are here: combine them and deliver. */
static int parts_complete(struct collection *collection, struct reduction *r)
{
    struct part *parts = r->parts;

    r->parts = NULL;
    r->owned = true;
    qsort(parts, (size_t)r->part_count, sizeof(*parts), part_compare);
    r->value = parts_reduce(r->reducer, parts, r->part_count);
    PyMem_Free(parts);
    return r->value == NULL ? -1 : reduction_deliver(collection, r);
}

/* What a part says of its reduction: it must be the same on all PEs. */
static struct c4p_envelope part_envelope(const struct collection *collection,
                                         const struct reduction *r)
{
    return (struct c4p_envelope){.kind = C4P_PARTIAL,
                                 .collection = collection->id,
                                 .sequence = r->sequence,
                                 .method = r->reducer->hash,
                                 .flags = r->all ? C4P_RETURN : 0};
}

/* We came last: combine the others' parts, a chain, with ours. */
static int parts_gather(struct collection *collection, struct reduction *r, uint64_t others)
{
    const struct c4p_envelope ours = part_envelope(collection, r);
    uint64_t next;

    for (uint64_t offset = others; offset != 0; offset = segment_block(&rt.segment, offset)->next) {
        const struct c4p_envelope *part = segment_block(&rt.segment, offset);

        if (part->method != ours.method || (part->flags & C4P_RETURN) != ours.flags) {
            runtime_error("reduction %u of %U: PE %u uses Reducer.%U%s, PE %u another reducer or "
                          "function: all elements must make the same calls in the same order",
                          r->sequence + 1, collection->class->name, rt.pe, r->reducer->name,
                          r->all ? " with allreduce" : "", part->source);
            chain_release(others);
            return -1;
        }
        r->parts_due++;
    }
    if (r->reducer->op == OP_NOP || r->parts_due == 0) {
        chain_release(others);
        return reduction_deliver(collection, r);
    }
    r->parts = PyMem_New(struct part, (size_t)r->parts_due + 1);
    if (r->parts == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    r->parts[r->part_count++] = (struct part){rt.pe, r->value, r->owned};
    r->value = NULL;
    for (uint64_t offset = others; offset != 0; offset = next) {
        const struct c4p_envelope envelope = *segment_block(&rt.segment, offset);

        next = envelope.next;
        if (part_take(r, offset, &envelope) != 0) {
            chain_release(next);
            return -1;
        }
    }
    return r->parts_due == 0 ? parts_complete(collection, r) : 0;
}

/* The same, or with an error (stolen) in the place of our part. */
static int reduction_complete(struct collection *collection, struct reduction *r, uint64_t others,
                              PyObject *error)
{
    if (error == NULL)
        error = parts_error(others);
    if (error != NULL)
        return reduction_failed(collection, r, others, error);
    if (PyErr_Occurred())
        return -1;
    if (parts_gather(collection, r, others) == 0)
        return 0;
    error = error_take();
    return error != NULL ? reduction_failed(collection, r, 0, error) : -1;
}

/* A part that had to wait for a class. */
int reduction_handle_part(uint64_t offset, const struct c4p_envelope *envelope)
{
    struct collection *collection = collection_find(envelope->collection);
    struct reduction *r = collection ? reduction_find(collection, envelope->sequence) : NULL;
    PyObject *error;

    if (r == NULL || r->parts == NULL) {
        message_release(offset);
        PyErr_SetString(PyExc_ValueError, "a part of a reduction that nobody waits for");
        return -1;
    }
    if (part_take(r, offset, envelope) == 0 &&
        (r->parts_due > 0 || parts_complete(collection, r) == 0))
        return 0;
    error = error_take();
    return error != NULL ? reduction_failed(collection, r, 0, error) : -1;
}

static int meeting_corrupt(void)
{
    runtime_error("the job's shared segment is corrupt: something wrote over its reductions");
    return -1;
}

static int custom_reduce(struct reduction *r)
{
    PyObject *result = PyObject_CallFunctionObjArgs(r->reducer->function, r->value, NULL);

    if (result == NULL)
        return -1;
    Py_SETREF(r->value, PyList_New(1));
    if (r->value == NULL) {
        Py_DECREF(result);
        return -1;
    }
    PyList_SET_ITEM(r->value, 0, result);
    return 0;
}

/* Our part as a block: the value, or the error that came of it. */
static uint64_t part_make(struct c4p_envelope *like, const struct reduction *r, PyObject **error)
{
    uint64_t offset;

    if (*error == NULL && r->reducer->op == OP_NOP) {
        like->flags |= C4P_EMPTY;
        return message_block(like, 0);
    }
    if (*error == NULL) {
        offset = message_make(like, &r->value, 1, NULL);
        if (offset != 0 || (*error = error_take()) == NULL)
            return offset;
    }
    like->flags |= C4P_EXCEPTION;
    return message_make(like, error, 1, NULL);
}

int reduction_publish(struct collection *collection, struct reduction *r)
{
    struct c4p_envelope like = part_envelope(collection, r);
    uint64_t share = reduction_share(collection), others, offset;
    PyObject *error = NULL;

    if (r->reducer->op == OP_CUSTOM && custom_reduce(r) != 0 && (error = error_take()) == NULL)
        return -1;
    delay_point();
    if (meeting_is_last(&rt.segment, collection->id, r->sequence, r->count, share, &others))
        return reduction_complete(collection, r, others, error);
    if (errno == EBADMSG)
        return meeting_corrupt();
    offset = part_make(&like, r, &error);
    if (offset == 0)
        return -1;
    delay_point();
    if (meeting_arrive(&rt.segment, offset, r->count, share, &others)) {
        region_free(rt.region, offset);
        return reduction_complete(collection, r, others, error);
    }
    Py_XDECREF(error);
    if (errno == EBADMSG)
        return meeting_corrupt();
    if (r->all) {
        Py_CLEAR(r->value);
        r->published = true;
    } else {
        reduction_close(collection, r);
    }
    return 0;
}

/* ---- allreduce ---- */

/* The result of an allreduce for all its contributors on this PE. */
int reduction_handle_result(uint64_t offset, const struct c4p_envelope *envelope)
{
    struct collection *collection = collection_find(envelope->collection);
    PyObject *value[2] = {NULL, NULL};
    PyObject *futures;
    struct reduction *r = NULL;
    int rc = 0;

    if (envelope->args == 1) {
        if (message_decode(offset, envelope, value) != 0)
            return PyErr_Occurred() ? -1 : 0;
    } else {
        message_release(offset);
    }
    if (collection != NULL)
        r = reduction_find(collection, envelope->sequence);
    if (r == NULL || !r->published || r->futures == NULL) {
        Py_XDECREF(value[0]);
        PyErr_SetString(PyExc_ValueError, "a result of a reduction that nobody waits for");
        return -1;
    }
    futures = new_ref(r->futures);
    reduction_close(collection, r);
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(futures); i++) {
        Future *future = (Future *)PyList_GET_ITEM(futures, i);
        PyObject *result = value[0] ? value[0] : Py_None;

        rc = future->owner == rt.pe ? future_deliver(future, result)
                                    : future_send_value(future->owner, future->id, result);
    }
    Py_DECREF(futures);
    Py_XDECREF(value[0]);
    return rc;
}
