/*
 * Contributions to reductions, combined as they are made (combine.h).
 *
 * They are counted where the element is at home (proto/location.h): there all local ones together are
 * the PE's part. What elements contribute that live here, but are at home elsewhere, is sent there: what
 * a broadcast makes them contribute, one after the other, as one.
 */
#include "python/ext/reduction.h"

/* What goes into the list of a gather or custom reduction, for an element of this PE. */
static PyObject *contribution_prepare(const Reducer *reducer, Chare *chare, PyObject *data)
{
    PyObject *item;

    if (reducer->op == OP_CUSTOM && reducer->pre != Py_None)
        item = PyObject_CallFunctionObjArgs(reducer->pre, data, (PyObject *)chare, NULL);
    else
        item = new_ref(data);
    if (item != NULL)
        Py_SETREF(item, value_snapshot(item));
    return item;
}

static int contribution_append(struct reduction *r, const struct collection *collection,
                               uint64_t flat, PyObject *item)
{
    PyObject *index;
    int rc;

    if (r->value == NULL && (r->value = PyList_New(0)) == NULL)
        return -1;
    r->owned = true;
    if (r->reducer->op != OP_GATHER)
        return PyList_Append(r->value, item);
    index = collection_index(collection, flat);
    item = index ? PyTuple_Pack(2, index, item) : NULL;
    Py_XDECREF(index);
    rc = item == NULL ? -1 : PyList_Append(r->value, item);
    Py_XDECREF(item);
    return rc;
}

static int contribution_combine(struct reduction *r, PyObject *data, bool several)
{
    PyObject *value, *sum;

    value = value_take(r->reducer, data, several, r->value == NULL);
    if (value == NULL)
        return -1;
    if (r->value == NULL) {
        r->value = value;
        r->owned = several;
        return 0;
    }
    sum = value_combine(r->reducer, r->value, value, r->owned, false);
    Py_DECREF(value);
    if (sum == NULL)
        return -1;
    Py_SETREF(r->value, sum);
    r->owned = true;
    return 0;
}

/* `data`: of gather and custom reductions what contribution_prepare() made. `several`: more will come, or
 * it waits: what it is must not change with the contributor's. */
static int contribution_add(struct reduction *r, const struct collection *collection, uint64_t flat,
                            PyObject *data, bool several)
{
    if (r->reducer->op == OP_NOP)
        return 0;
    return reducer_gathers(r->reducer) ? contribution_append(r, collection, flat, data)
                                       : contribution_combine(r, data, several);
}

static int target_check(PyObject *target)
{
    if (Py_TYPE(target) == &Future_Type || Py_TYPE(target) == &BoundMethod_Type)
        return 0;
    PyErr_Format(PyExc_TypeError,
                 "a reduction's callback is a future or a method of a proxy, not %s: the result "
                 "may arrive on another PE",
                 Py_TYPE(target)->tp_name);
    return -1;
}

static int reducer_check(const struct collection *collection, const struct reduction *r,
                         const Reducer *reducer, bool all)
{
    if (r->reducer == reducer && r->all == all)
        return 0;
    runtime_error("reduction %u of %U: one element uses Reducer.%U, another Reducer.%U%s: all "
                  "elements must make the same calls in the same order",
                  r->sequence + 1, collection->class->name, r->reducer->name, reducer->name,
                  r->all != all ? " (one with allreduce)" : "");
    return -1;
}

static Future *reduction_future(const Reducer *reducer)
{
    Future *future = future_create(FUTURE_VALUES, 1);

    if (future != NULL)
        future_set_about(future, (PyObject *)reducer);
    return future;
}

/* One more contributor to an allreduce waits. */
static int reduction_promise(struct reduction *r, PyObject *future)
{
    if (r->futures == NULL && (r->futures = PyList_New(0)) == NULL)
        return -1;
    return PyList_Append(r->futures, future);
}

/* One more contribution; `target` is a callback, or of an allreduce the contributor's future. -1 with an
 * exception: it is as it was. */
static int contribution_put(struct reduction *r, const struct collection *collection, uint64_t flat,
                            PyObject *data, PyObject *target, bool several)
{
    if (contribution_add(r, collection, flat, data, several) != 0)
        return -1;
    /* An error from here on is not the contributor's: the others' parts are in it. */
    if (r->all && reduction_promise(r, target) != 0)
        loop_fatal();
    if (!r->all && r->target == NULL)
        r->target = new_ref(target);
    r->count++;
    return 0;
}

/* ---- of elements at home ---- */

/* The reduction that a contribution is for. NULL with an exception. */
static struct reduction *reduction_for(struct collection *collection, uint32_t sequence,
                                       Reducer *reducer, bool all)
{
    struct reduction *r = reduction_find(collection, sequence);

    if (r == NULL)
        return reduction_open(collection, sequence, reducer, all);
    return reducer_check(collection, r, reducer, all) == 0 ? r : NULL;
}

static int contribute_here(Chare *chare, Reducer *reducer, PyObject *data, PyObject *target,
                           bool all)
{
    struct collection *collection = chare->collection;
    struct reduction *r = reduction_for(collection, chare->reductions, reducer, all);

    if (r == NULL)
        return -1;
    if (contribution_put(r, collection, chare->flat, data, target, collection->count > 1) != 0) {
        if (r->count == 0)
            reduction_close(collection, r);
        return -1;
    }
    if (r->count == collection->count && reduction_publish(collection, r) != 0)
        loop_fatal();
    return 0;
}

/* ---- of elements away from home ---- */

/* What elements of one home have contributed while a broadcast's calls are made. */
struct batch {
    struct batch *next;
    struct collection *collection;
    uint32_t home;
    struct reduction *r;
};
static struct batch *batches;
static uint64_t expected; /* elements that are being called, one after the other */

static struct batch *batch_for(struct collection *collection, uint32_t home, uint32_t sequence,
                               Reducer *reducer, bool all)
{
    struct batch *batch = batches;

    while (batch != NULL && (batch->collection != collection || batch->home != home ||
                             batch->r->sequence != sequence))
        batch = batch->next;
    if (batch != NULL)
        return reducer_check(collection, batch->r, reducer, all) == 0 ? batch : NULL;
    batch = PyMem_Calloc(1, sizeof(*batch));
    if (batch == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    batch->r = reduction_create(sequence, reducer, all);
    if (batch->r == NULL) {
        PyMem_Free(batch);
        return NULL;
    }
    batch->collection = collection;
    batch->home = home;
    batch->next = batches;
    batches = batch;
    return batch;
}

static void batch_close(struct batch *batch)
{
    struct batch **link = &batches;

    while (*link != batch)
        link = &(*link)->next;
    *link = batch->next;
    reduction_destroy(batch->r);
    PyMem_Free(batch);
}

/* Sending may run Python code, and so begin others. */
static int batch_send(struct batch *batch)
{
    const struct reduction *r = batch->r;
    struct c4p_envelope like = {
        .kind = C4P_CONTRIBUTION,
        .flags = (uint16_t)((r->all ? C4P_RETURN : 0) | (r->value == NULL ? C4P_EMPTY : 0)),
        .collection = batch->collection->id,
        .future = r->count,
        .sequence = r->sequence};
    PyObject *args[3] = {(PyObject *)r->reducer, r->all ? r->futures : r->target, r->value};
    int rc = message_send(&like, batch->home, args, r->value != NULL ? 3 : 2, NULL);

    batch_close(batch);
    return rc != 0 ? runtime_survive() : 0;
}

static int contribute_away(Chare *chare, uint32_t home, Reducer *reducer, PyObject *data,
                           PyObject *target, bool all)
{
    struct collection *collection = chare->collection;
    struct batch *batch = batch_for(collection, home, chare->reductions, reducer, all);

    if (batch == NULL)
        return -1;
    if (contribution_put(batch->r, collection, chare->flat, data, target, expected > 1) != 0) {
        if (batch->r->count == 0)
            batch_close(batch);
        return -1;
    }
    /* At once if no more are to come: the caller may go on for a long time. */
    if (batch->r->count >= expected && batch_send(batch) != 0)
        loop_fatal();
    return 0;
}

void contributions_begin(uint64_t elements)
{
    expected = elements;
}

int contributions_end(void)
{
    expected = 0;
    while (batches != NULL)
        if (batch_send(batches) != 0)
            return -1;
    return 0;
}

/* The batch's value, combined like any PE's part. */
static int batch_combine(struct reduction *r, PyObject *value)
{
    PyObject *sum;

    if (reducer_gathers(r->reducer)) {
        if (!PyList_CheckExact(value)) {
            PyErr_SetString(PyExc_ValueError, "malformed contributions: no list");
            return -1;
        }
        if (r->value == NULL && (r->value = PyList_New(0)) == NULL)
            return -1;
        return PyList_SetSlice(r->value, PyList_GET_SIZE(r->value), PyList_GET_SIZE(r->value),
                               value);
    }
    sum = r->value == NULL ? new_ref(value)
                           : value_combine(r->reducer, r->value, value, r->owned, true);
    if (sum == NULL)
        return -1;
    Py_XSETREF(r->value, sum);
    r->owned = true;
    return 0;
}

static int batch_promise(struct reduction *r, PyObject *futures)
{
    if (!PyList_CheckExact(futures)) {
        PyErr_SetString(PyExc_ValueError, "malformed contributions: no futures");
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(futures); i++)
        if (Py_TYPE(PyList_GET_ITEM(futures, i)) != &Future_Type ||
            reduction_promise(r, PyList_GET_ITEM(futures, i)) != 0) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_ValueError, "malformed contributions: no future");
            return -1;
        }
    return 0;
}

static int batch_take(struct collection *collection, const struct c4p_envelope *envelope,
                      PyObject **args)
{
    bool all = envelope->flags & C4P_RETURN;
    struct reduction *r;

    if (Py_TYPE(args[0]) != &Reducer_Type || (!all && target_check(args[1]) != 0)) {
        PyErr_SetString(PyExc_ValueError, "malformed contributions");
        return -1;
    }
    r = reduction_for(collection, envelope->sequence, (Reducer *)args[0], all);
    if (r == NULL)
        return -1;
    if (envelope->future == 0 || envelope->future > collection->count - r->count) {
        PyErr_Format(PyExc_ValueError, "more contributions to reduction %u of %U than elements",
                     r->sequence + 1, collection->class->name);
        return -1;
    }
    if ((args[2] != NULL && batch_combine(r, args[2]) != 0) ||
        (all && batch_promise(r, args[1]) != 0))
        return -1;
    if (!all && r->target == NULL)
        r->target = new_ref(args[1]);
    r->count += envelope->future;
    return r->count == collection->count ? reduction_publish(collection, r) : 0;
}

int contributions_handle(uint64_t offset, const struct c4p_envelope *envelope)
{
    struct collection *collection = collection_find(envelope->collection);
    PyObject *args[4] = {NULL, NULL, NULL, NULL};
    int rc;

    if (collection == NULL || !collection->created ||
        envelope->args != (envelope->flags & C4P_EMPTY ? 2 : 3)) {
        message_release(offset);
        PyErr_SetString(PyExc_ValueError, "malformed contributions");
        return -1;
    }
    if (message_decode(offset, envelope, args) != 0)
        return PyErr_Occurred() ? -1 : 0;
    rc = batch_take(collection, envelope, args);
    args_release(args, 3);
    return rc;
}

/* ---- contributing ---- */

PyObject *reduction_contribute(Chare *chare, PyObject *target, PyObject *data, PyObject *given,
                               bool all)
{
    const struct collection *collection = chare->collection;
    Reducer *reducer = reducer_resolve(given);
    uint32_t home = rt.pe;
    Future *future = NULL;
    int rc;

    if (reducer == NULL || (!all && target_check(target) != 0))
        return NULL;
    data = reducer_gathers(reducer) ? contribution_prepare(reducer, chare, data) : new_ref(data);
    if (data == NULL)
        return NULL;
    if (all && (future = reduction_future(reducer)) == NULL) {
        Py_DECREF(data);
        return NULL;
    }
    if (all)
        target = (PyObject *)future;
    if (collection->moved.count > 0)
        home = collection_pe(collection, chare->flat);
    rc = home == rt.pe ? contribute_here(chare, reducer, data, target, all)
                       : contribute_away(chare, home, reducer, data, target, all);
    Py_DECREF(data);
    if (rc != 0) {
        if (future != NULL)
            future_abandon(future);
        return NULL;
    }
    chare->reductions++;
    if (future != NULL)
        return (PyObject *)future;
    Py_RETURN_NONE;
}
