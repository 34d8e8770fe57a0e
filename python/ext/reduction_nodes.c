/*
 * Reductions over several nodes, as a PE takes part in them.
 *
 * The PE that completes its node's part sends it to the router, which combines it with those of other
 * nodes without waiting for any PE (daemon/router/collectives.h), and turns the result into a message
 * to its target. Whatever the routers cannot combine comes to one PE (tail_combiner()), which combines
 * it here, in the order of the PEs that it is from, and sends the result on. Parts of gather and of
 * custom reducers go there at once; the routers get one without a value, and notice if not all nodes
 * mean the same reducer.
 */
#include <stdlib.h>
#include <string.h>

#include "python/ext/reduction.h"

uint64_t reduction_share(const struct collection *collection)
{
    const struct segment_geometry *geometry = &rt.segment.geometry;

    if (geometry->nodes == 1 || collection->placement == PLACE_ON)
        return collection->total;
    return placement_count((enum placement)collection->placement, collection->total, rt.pes,
                           geometry->first_pe, geometry->first_pe + geometry->local_pes);
}

/* ---- sending a node's part ---- */

/* Where the result goes, in a form that routers understand. */
static void target_describe(struct c4p_tail *tail, PyObject *target)
{
    const Proxy *proxy;

    if (target == NULL) {
        tail->target = TARGET_ALL;
        return;
    }
    if (Py_TYPE(target) == &Future_Type) {
        tail->target = TARGET_FUTURE;
        tail->id = ((const Future *)target)->id;
        tail->owner = ((const Future *)target)->owner;
        return;
    }
    proxy = ((const BoundMethod *)target)->proxy;
    tail->id = proxy->collection->id;
    tail->method = ((const BoundMethod *)target)->method->hash;
    if (proxy->ndims > 0) {
        tail->target = TARGET_ELEMENT;
        tail->ndims = proxy->ndims;
        memcpy(tail->index, proxy->index, sizeof(tail->index));
        tail->owner =
            collection_pe(proxy->collection,
                          (uint64_t)collection_flat(proxy->collection, proxy->index, proxy->ndims));
        return;
    }
    collection_participants(proxy->collection, &tail->owner, &tail->pes);
    /* All of a collection on one PE, or in a client: without an index. */
    tail->target = proxy->collection->placement == PLACE_ON ? TARGET_ELEMENT : TARGET_METHOD;
}

int node_part_send(const struct collection *collection, uint32_t sequence, const Reducer *reducer,
                   PyObject *target, PyObject *value, uint16_t flags)
{
    struct c4p_envelope like = {.kind = C4P_PARTIAL,
                                .flags = flags,
                                .collection = collection->id,
                                .method = reducer->hash,
                                .sequence = sequence};
    struct c4p_envelope part;
    struct c4p_tail tail = {.total = collection->total,
                            .count = reduction_share(collection),
                            .origin = rt.segment.geometry.first_pe,
                            .source = rt.pe,
                            .placement = collection->placement,
                            .operation = (uint8_t)reducer->op};

    target_describe(&tail, target);
    if (value == NULL)
        like.flags |= C4P_EMPTY;
    if (!reducer_gathers(reducer))
        return message_send_part(&like, C4P_ROUTER | rt.segment.geometry.node, value, &tail);
    part = like;
    part.kind = C4P_NODE_PART;
    like.flags = (uint16_t)((flags & ~C4P_EXCEPTION) | C4P_EMPTY);
    if (message_send_part(&part, tail_combiner(&tail, rt.pes), value, &tail) != 0)
        return -1;
    return message_send_part(&like, C4P_ROUTER | rt.segment.geometry.node, NULL, &tail);
}

/* ---- parts that meet here ---- */

/* A reduction whose nodes' parts are combined by this PE. */
struct node_reduction {
    struct node_reduction *next;
    uint64_t collection;
    uint32_t sequence;
    uint64_t count; /* contributions that are here */
    struct c4p_tail tail;
    uint32_t parts_count;
    struct node_part {
        struct part part; /* value NULL: none */
        uint32_t method;
        uint16_t flags;
    } first; /* the value is not its own: what all others must agree with */
    bool begun;
    struct node_part *parts;
};
static struct node_reduction *open_reductions;

static struct node_reduction *node_reduction_open(const struct c4p_envelope *envelope,
                                                  const struct c4p_tail *tail)
{
    struct node_reduction *r = open_reductions;

    while (r != NULL &&
           (r->collection != envelope->collection || r->sequence != envelope->sequence))
        r = r->next;
    if (r != NULL)
        return r;
    r = PyMem_Calloc(1, sizeof(*r));
    if (r == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    r->collection = envelope->collection;
    r->sequence = envelope->sequence;
    r->tail = *tail;
    r->next = open_reductions;
    open_reductions = r;
    return r;
}

static void node_reduction_close(struct node_reduction *r)
{
    struct node_reduction **link = &open_reductions;

    while (*link != r)
        link = &(*link)->next;
    *link = r->next;
    for (uint32_t i = 0; i < r->parts_count; i++)
        Py_XDECREF(r->parts[i].part.value);
    PyMem_Free(r->parts);
    PyMem_Free(r);
}

/* ---- the result ---- */

/* To whom it is for. An error, for a method, is only reported: it has no parameter for it. */
static int result_send(const struct node_reduction *r, PyObject *value, bool is_error)
{
    const struct c4p_tail *tail = &r->tail;
    struct c4p_envelope like = {.kind = C4P_CALL, .collection = tail->id, .method = tail->method};
    PyObject *sent = value;

    switch ((enum tail_target)tail->target) {
    case TARGET_ALL:
        like = (struct c4p_envelope){
            .kind = C4P_REDUCED, .collection = r->collection, .sequence = r->sequence};
        return message_broadcast(
            &like, 0, placement_pes((enum placement)tail->placement, tail->total, rt.pes), &sent,
            sent != NULL, NULL);
    case TARGET_FUTURE:
        return future_send_value(tail->owner, tail->id, sent ? sent : Py_None);
    default:
        break;
    }
    if (is_error) {
        PyErr_SetObject((PyObject *)Py_TYPE(value), value);
        return runtime_survive();
    }
    if (tail->target == TARGET_METHOD || tail->ndims == 0)
        like.flags |= C4P_BROADCAST;
    if (tail->target == TARGET_METHOD)
        return message_broadcast(&like, tail->owner, tail->pes, &sent, sent != NULL, NULL);
    like.ndims = tail->ndims;
    memcpy(like.index, tail->index, sizeof(like.index));
    return message_send(&like, tail->owner, &sent, sent != NULL, NULL);
}

static Reducer *reducer_known(uint32_t hash)
{
    PyObject *number = PyLong_FromUnsignedLong(hash);
    Reducer *reducer = number ? (Reducer *)runtime_hook("reducer_by_hash", &number, 1) : NULL;

    Py_XDECREF(number);
    Py_XDECREF(reducer); /* the registry keeps it */
    return reducer;
}

static bool parts_agree(const struct node_part *a, const struct node_part *b)
{
    return a->method == b->method && ((a->flags ^ b->flags) & C4P_RETURN) == 0;
}

/* Not all nodes mean the same. */
static int reducers_differ(const struct node_reduction *r, const struct node_part *a,
                           const struct node_part *b)
{
    const struct collection *collection = collection_find(r->collection);
    const Reducer *reducer = reducer_known(a->method);

    if (reducer != NULL)
        runtime_error(
            "reduction %u of %S: PE %u uses Reducer.%U%s, PE %u another reducer or "
            "function: all elements must make the same calls in the same order",
            r->sequence + 1, collection && collection->class ? collection->class->name : Py_None,
            a->part.pe, reducer->name, a->flags & C4P_RETURN ? " with allreduce" : "", b->part.pe);
    return -1;
}

static int node_part_compare(const void *a, const void *b)
{
    return part_compare(&((const struct node_part *)a)->part, &((const struct node_part *)b)->part);
}

/* All parts combined, as the target gets it. New reference; NULL without an exception: no value. */
static PyObject *node_parts_reduce(struct node_reduction *r)
{
    const Reducer *reducer = reducer_known(r->parts[0].method);
    struct part *parts = reducer ? PyMem_New(struct part, r->parts_count) : NULL;
    PyObject *sum, *result;

    if (parts == NULL) {
        if (!PyErr_Occurred())
            PyErr_NoMemory();
        return NULL;
    }
    for (uint32_t i = 0; i < r->parts_count; i++) {
        parts[i] = r->parts[i].part;
        r->parts[i].part.value = NULL;
    }
    if (reducer->op == OP_NOP) {
        PyMem_Free(parts);
        return NULL;
    }
    sum = parts_reduce(reducer, parts, r->parts_count);
    PyMem_Free(parts);
    result = sum ? value_finish(reducer, sum) : NULL;
    Py_XDECREF(sum);
    return result;
}

/* It is over: with a result (stolen, may be NULL), or if there is one pending with an exception. */
static int node_reduction_end(struct node_reduction *r, PyObject *result)
{
    PyObject *error = NULL;
    int rc = -1;

    if (!PyErr_Occurred())
        rc = result_send(r, result, false);
    if (rc != 0 && (error = error_take()) != NULL)
        rc = result_send(r, error, true);
    Py_XDECREF(result);
    Py_XDECREF(error);
    node_reduction_close(r);
    return rc;
}

static int node_reduction_complete(struct node_reduction *r)
{
    PyObject *error = NULL;
    int rc;

    qsort(r->parts, r->parts_count, sizeof(*r->parts), node_part_compare);
    for (uint32_t i = 0; error == NULL && i < r->parts_count; i++)
        if (r->parts[i].flags & C4P_EXCEPTION)
            error = new_ref(r->parts[i].part.value);
    if (error == NULL)
        return node_reduction_end(r, node_parts_reduce(r));
    rc = result_send(r, error, true);
    Py_DECREF(error);
    node_reduction_close(r);
    return rc;
}

/* Take a part (value stolen) into its reduction. */
static int node_part_add(struct node_reduction *r, const struct c4p_envelope *envelope,
                         const struct c4p_tail *tail, PyObject *value)
{
    const struct node_part added = {{tail->origin, value, true}, envelope->method, envelope->flags};
    bool counts = value != NULL || tail->operation < OP_GATHER;
    struct node_part *parts = PyMem_Realloc(r->parts, (r->parts_count + 1) * sizeof(*parts));

    if (parts == NULL) {
        Py_XDECREF(value);
        PyErr_NoMemory();
        return -1;
    }
    r->parts = parts;
    if (!r->begun)
        r->first = added;
    r->begun = true;
    if (counts)
        r->parts[r->parts_count++] = added;
    if (!parts_agree(&r->first, &added)) {
        reducers_differ(r, &r->first, &added);
        return node_reduction_end(r, NULL);
    }
    if (!counts) /* what the router got in the place of a part that comes, or came, by itself */
        return 0;
    if (tail->total != r->tail.total || tail->count > tail->total - r->count ||
        (value == NULL) != ((envelope->flags & C4P_EMPTY) != 0)) {
        PyErr_SetString(PyExc_ValueError, "a part of a reduction that does not fit the others");
        return node_reduction_end(r, NULL);
    }
    r->count += tail->count;
    return r->count == r->tail.total ? node_reduction_complete(r) : 0;
}

int reduction_handle_node_part(uint64_t offset, const struct c4p_envelope *envelope)
{
    struct c4p_tail tail = {.total = 0};
    struct c4p_envelope part = *envelope;
    struct node_reduction *r;
    PyObject *value = NULL;

    if (envelope->args > 1) {
        message_release(offset);
        PyErr_SetString(PyExc_ValueError, "a malformed part of a reduction");
        return -1;
    }
    if (message_decode_part(offset, envelope, &tail, &value) != 0) {
        if (!PyErr_Occurred())
            return 0; /* it waits for its class */
        /* A value that cannot be taken apart is an error, if the rest of the part is all right. */
        value = tail.total > 0 ? error_take() : NULL;
        if (value == NULL)
            return -1;
        part.flags = (uint16_t)((part.flags & ~C4P_EMPTY) | C4P_EXCEPTION);
    }
    r = node_reduction_open(&part, &tail);
    if (r == NULL) {
        Py_XDECREF(value);
        return -1;
    }
    return node_part_add(r, &part, &tail, value);
}
