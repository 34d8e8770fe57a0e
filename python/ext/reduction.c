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

static struct reduction *reduction_find(const struct collection *collection, uint32_t sequence)
{
    for (struct reduction *r = collection->reductions; r != NULL; r = r->next)
        if (r->sequence == sequence)
            return r;
    return NULL;
}

static struct reduction *reduction_open(struct collection *collection, uint32_t sequence,
                                        Reducer *reducer, bool all)
{
    struct reduction *r = PyMem_Calloc(1, sizeof(*r));
    struct reduction **last = &collection->reductions;

    if (r == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    r->sequence = sequence;
    r->reducer = (Reducer *)new_ref((PyObject *)reducer);
    r->all = all;
    while (*last != NULL)
        last = &(*last)->next;
    *last = r;
    return r;
}

static void reduction_close(struct collection *collection, struct reduction *r)
{
    struct reduction **link = &collection->reductions;

    while (*link != r)
        link = &(*link)->next;
    *link = r->next;
    Py_XDECREF(r->reducer);
    Py_XDECREF(r->value);
    Py_XDECREF(r->target);
    Py_XDECREF(r->futures);
    PyMem_Free(r);
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

/* All local elements have contributed: bring our part to where the others' are. */
static int reduction_publish(struct collection *collection, struct reduction *r)
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

/* ---- contributing ---- */

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

static int contribution_combine(struct reduction *r, const struct collection *collection,
                                PyObject *data)
{
    PyObject *value, *sum;
    bool several = collection->count > 1;

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

/* `data`: of gather and custom reductions what contribution_prepare() made. */
static int contribution_add(struct reduction *r, const struct collection *collection, uint64_t flat,
                            PyObject *data)
{
    if (r->reducer->op == OP_NOP)
        return 0;
    return reducer_gathers(r->reducer) ? contribution_append(r, collection, flat, data)
                                       : contribution_combine(r, collection, data);
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

/*
 * A contribution to reduction `sequence` of the element at `flat`, which is at home here. `target` is a
 * callback, or of an allreduce the contributor's future. -1 with an exception of its own.
 */
static int contribution_enter(struct collection *collection, uint64_t flat, uint32_t sequence,
                              Reducer *reducer, PyObject *data, PyObject *target, bool all)
{
    struct reduction *r = reduction_find(collection, sequence);

    if (r != NULL && reducer_check(collection, r, reducer, all) != 0)
        return -1;
    if (r == NULL && (r = reduction_open(collection, sequence, reducer, all)) == NULL)
        return -1;
    if (contribution_add(r, collection, flat, data) != 0) {
        if (r->count == 0)
            reduction_close(collection, r);
        return -1;
    }
    /* An error from here on is not the contributor's: the others' parts are in it. */
    if (all && reduction_promise(r, target) != 0)
        loop_fatal();
    if (!all && r->target == NULL)
        r->target = new_ref(target);
    if (++r->count == collection->count && reduction_publish(collection, r) != 0)
        loop_fatal();
    return 0;
}

/* An element away from home: what it contributes is counted there. */
static int contribution_send(const Chare *chare, Reducer *reducer, PyObject *data, PyObject *target,
                             bool all)
{
    const struct collection *collection = chare->collection;
    struct c4p_envelope like = {.kind = C4P_CONTRIBUTION,
                                .flags = all ? C4P_RETURN : 0,
                                .collection = collection->id,
                                .future = chare->flat,
                                .sequence = chare->reductions};
    PyObject *args[3] = {(PyObject *)reducer, target, Py_None}, *checked;

    if (reducer->op != OP_NOP)
        args[2] = data;
    if (reducer->op != OP_NOP && !reducer_gathers(reducer)) {
        /* So that what cannot be reduced is an error of the contributor's. */
        checked = value_take(reducer, data, false, true);
        if (checked == NULL)
            return -1;
        Py_DECREF(checked);
    }
    return message_send(&like, collection_pe(collection, chare->flat), args, 3, NULL);
}

int reduction_handle_contribution(uint64_t offset, const struct c4p_envelope *envelope)
{
    struct collection *collection = collection_find(envelope->collection);
    PyObject *args[4] = {NULL, NULL, NULL, NULL};
    int rc;

    if (collection == NULL || !collection->created || envelope->args != 3 ||
        envelope->future - collection->first >= collection->count) {
        message_release(offset);
        PyErr_SetString(PyExc_ValueError, "a contribution of an element that is not at home here");
        return -1;
    }
    if (message_decode(offset, envelope, args) != 0)
        return PyErr_Occurred() ? -1 : 0;
    if (Py_TYPE(args[0]) != &Reducer_Type) {
        PyErr_SetString(PyExc_ValueError, "a contribution without its reducer");
        rc = -1;
    } else {
        rc =
            contribution_enter(collection, envelope->future, envelope->sequence, (Reducer *)args[0],
                               args[2], args[1], (envelope->flags & C4P_RETURN) != 0);
    }
    args_release(args, 3);
    return rc;
}

PyObject *reduction_contribute(Chare *chare, PyObject *target, PyObject *data, PyObject *given,
                               bool all)
{
    struct collection *collection = chare->collection;
    Reducer *reducer = reducer_resolve(given);
    Future *future = NULL;
    bool away;
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
    away = collection->moved.count > 0 && collection_pe(collection, chare->flat) != rt.pe;
    if (away)
        rc = contribution_send(chare, reducer, data, target, all);
    else
        rc = contribution_enter(collection, chare->flat, chare->reductions, reducer, data, target,
                                all);
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
