/*
 * Reductions: contributions combined first on their PE, then where the PEs'
 * parts meet (proto/meeting.h).
 *
 * Numbers are combined by the interpreter's own operations, arrays by NumPy's
 * ufuncs in place; custom reducers get lists. Parts are combined in the order
 * of their PEs, so that floating-point results do not depend on who came last.
 */

#include "proto/meeting.h"
#include "python/ext/delays.h"
#include "python/ext/runtime.h"

enum reducer_op {
    OP_NOP,
    OP_SUM,
    OP_PRODUCT,
    OP_MAX,
    OP_MIN,
    OP_AND,
    OP_OR,
    OP_XOR,
    OP_GATHER,
    OP_CUSTOM,
    OP_COUNT
};

/* A reducer as contributions name it: an attribute of Reducer. */
typedef struct {
    PyObject_HEAD int op; /* enum reducer_op */
    PyObject *name;
    PyObject *function; /* of custom ones: list -> value */
    PyObject *pre;      /* (data, chare) -> data, or None */
    PyObject *post;     /* value -> value, or None */
} Reducer;

/* One reduction that local elements take part in. */
struct reduction {
    struct reduction *next;
    uint32_t sequence;
    uint64_t count; /* local contributions */
    Reducer *reducer;
    PyObject *value;   /* combined so far; a list for gather and custom ones */
    bool owned;        /* value is ours to change in place */
    bool all;          /* allreduce */
    bool published;    /* waits for its result only */
    PyObject *target;  /* callback */
    PyObject *futures; /* of allreduce: list */
};

/* ---- the reducer type ---- */

static PyObject *Reducer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *name, *function = Py_None, *pre = Py_None, *post = Py_None;
    Reducer *reducer;
    int op;

    if (kwargs != NULL ||
        !PyArg_ParseTuple(args, "iU|OOO:Reducer", &op, &name, &function, &pre, &post))
        return NULL;
    if (op < 0 || op >= OP_COUNT) {
        PyErr_SetString(PyExc_ValueError, "no such reducer");
        return NULL;
    }
    reducer = (Reducer *)type->tp_alloc(type, 0);
    if (reducer == NULL)
        return NULL;
    reducer->op = op;
    reducer->name = new_ref(name);
    reducer->function = new_ref(function);
    reducer->pre = new_ref(pre);
    reducer->post = new_ref(post);
    return (PyObject *)reducer;
}

static void Reducer_dealloc(PyObject *self)
{
    Reducer *reducer = (Reducer *)self;

    Py_XDECREF(reducer->name);
    Py_XDECREF(reducer->function);
    Py_XDECREF(reducer->pre);
    Py_XDECREF(reducer->post);
    Py_TYPE(self)->tp_free(self);
}

static PyObject *Reducer_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<Reducer.%U>", ((Reducer *)self)->name);
}

static PyObject *Reducer_reduce(PyObject *self, PyObject *unused)
{
    PyObject *function = rt.hooks ? PyObject_GetAttrString(rt.hooks, "reducer_from") : NULL;

    (void)unused;
    if (function == NULL) {
        runtime_require();
        return NULL;
    }
    return Py_BuildValue("N(O)", function, ((Reducer *)self)->name);
}

static PyMemberDef Reducer_members[] = {
    {"name", T_OBJECT, offsetof(Reducer, name), READONLY, NULL},
    {"op", T_INT, offsetof(Reducer, op), READONLY, NULL},
    {"function", T_OBJECT, offsetof(Reducer, function), READONLY, NULL},
    {NULL, 0, 0, 0, NULL}};

static PyMethodDef Reducer_methods[] = {{"__reduce__", Reducer_reduce, METH_NOARGS, NULL},
                                        {NULL, NULL, 0, NULL}};

PyTypeObject Reducer_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "c4py._c4py.Reducer",
    .tp_basicsize = sizeof(Reducer),
    .tp_dealloc = Reducer_dealloc,
    .tp_repr = Reducer_repr,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_members = Reducer_members,
    .tp_methods = Reducer_methods,
    .tp_new = Reducer_new,
};

static Reducer *nop_reducer(void)
{
    static Reducer *nop;

    if (nop == NULL)
        nop = (Reducer *)PyObject_CallFunction((PyObject *)&Reducer_Type, "is", OP_NOP, "nop");
    return nop;
}

/* The reducer that a contribution names; borrowed. */
static Reducer *reducer_resolve(PyObject *given)
{
    PyObject *found;

    if (given == Py_None)
        return nop_reducer();
    if (Py_TYPE(given) == &Reducer_Type)
        return (Reducer *)given;
    found = runtime_hook("find_reducer", &given, 1);
    if (found == NULL)
        return NULL;
    Py_DECREF(found); /* registered reducers are kept by the registry */
    if (Py_TYPE(found) != &Reducer_Type) {
        PyErr_SetString(PyExc_TypeError, "not a reducer");
        return NULL;
    }
    return (Reducer *)found;
}

/* ---- combining values ---- */

static bool is_number(PyObject *value)
{
    return PyLong_CheckExact(value) || PyFloat_CheckExact(value);
}

/* A contribution in the form in which it is combined. New reference. */
static PyObject *value_first(const Reducer *reducer, PyObject *data, bool copy)
{
    PyObject *args[3], *value;

    if (is_number(data) && reducer->op <= OP_MIN)
        return new_ref(data);
    if (PyBool_Check(data) && reducer->op >= OP_AND && reducer->op <= OP_XOR)
        return new_ref(data);
    args[0] = (PyObject *)reducer;
    args[1] = data;
    args[2] = copy ? Py_True : Py_False;
    value = runtime_hook("contribution", args, 3);
    return value;
}

/* a op b; the result may be one of the two, changed in place if it is owned. */
static PyObject *value_combine(const Reducer *reducer, PyObject *a, PyObject *b, bool a_owned,
                               bool b_owned)
{
    PyObject *args[5];
    int less;

    if (is_number(a) && is_number(b)) {
        switch (reducer->op) {
        case OP_SUM:
            return PyNumber_Add(a, b);
        case OP_PRODUCT:
            return PyNumber_Multiply(a, b);
        default:
            less = PyObject_RichCompareBool(a, b, reducer->op == OP_MIN ? Py_LE : Py_GE);
            return less < 0 ? NULL : new_ref(less ? a : b);
        }
    }
    if (PyBool_Check(a) && PyBool_Check(b) && reducer->op >= OP_AND && reducer->op <= OP_XOR) {
        bool x = a == Py_True, y = b == Py_True;

        return PyBool_FromLong(reducer->op == OP_AND  ? x && y
                               : reducer->op == OP_OR ? x || y
                                                      : x != y);
    }
    args[0] = (PyObject *)reducer;
    args[1] = a;
    args[2] = b;
    args[3] = a_owned ? Py_True : Py_False;
    args[4] = b_owned ? Py_True : Py_False;
    return runtime_hook("combine", args, 5);
}

static bool op_is_list(const Reducer *reducer)
{
    return reducer->op == OP_GATHER || reducer->op == OP_CUSTOM;
}

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

static int target_deliver(PyObject *target, PyObject *value)
{
    if (Py_TYPE(target) == &Future_Type && ((Future *)target)->owner == rt.pe) {
        Future *known = table_get(&rt.futures, ((Future *)target)->id);

        if (known != NULL)
            return future_deliver(known, value ? value : Py_None);
    }
    return callback_invoke(target, value);
}

/* The combined value in the form that the target gets. Replaces r->value. */
static int reduction_finish_value(struct reduction *r)
{
    PyObject *args[2], *value;

    if (r->reducer->op == OP_NOP || (is_number(r->value) && r->reducer->op <= OP_MIN))
        return 0;
    args[0] = (PyObject *)r->reducer;
    args[1] = r->value;
    value = runtime_hook("finish_reduction", args, 2);
    if (value == NULL)
        return -1;
    Py_SETREF(r->value, value);
    return 0;
}

/* All contributions of all PEs are in r->value: hand it over and close. */
static int reduction_deliver(struct collection *collection, struct reduction *r)
{
    struct c4p_envelope like = {
        .kind = C4P_REDUCED, .collection = collection->id, .sequence = r->sequence};
    PyObject *target;
    uint32_t first, pes;
    int rc;

    if (reduction_finish_value(r) != 0)
        return -1;
    if (r->all) {
        collection_participants(collection, &first, &pes);
        r->published = true;
        if (r->value == NULL)
            return message_broadcast(&like, first, pes, NULL, 0, NULL);
        return message_broadcast(&like, first, pes, &r->value, 1, NULL);
    }
    target = new_ref(r->target);
    PyObject *value = r->value ? new_ref(r->value) : NULL;
    reduction_close(collection, r);
    rc = target_deliver(target, value);
    Py_DECREF(target);
    Py_XDECREF(value);
    return rc;
}

struct part {
    uint32_t pe;
    PyObject *value;
    bool owned;
};

static int part_compare(const void *a, const void *b)
{
    const struct part *x = a, *y = b;

    return x->pe < y->pe ? -1 : x->pe > y->pe;
}

/* Decode the chain of the others' parts behind parts[0]. Returns how many there are in all. */
static Py_ssize_t parts_decode(uint64_t chain, struct part **parts)
{
    Py_ssize_t count = 1, room = 8;
    struct part *list = PyMem_New(struct part, (size_t)room);

    if (list == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    while (chain != 0) {
        struct c4p_envelope envelope = *segment_block(&rt.segment, chain);
        uint64_t next = envelope.next;
        PyObject *value[2] = {NULL, NULL};

        if (count == room) {
            struct part *more = PyMem_Resize(list, struct part, (size_t)(room *= 2));

            if (more == NULL) {
                PyErr_NoMemory();
                break;
            }
        }
        if (message_decode(chain, &envelope, value) != 0)
            break;
        list[count++] = (struct part){envelope.source, value[0], true};
        chain = next;
    }
    *parts = list;
    return chain == 0 ? count : -1;
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

static int parts_release_empty(uint64_t chain)
{
    while (chain != 0) {
        uint64_t next = segment_block(&rt.segment, chain)->next;

        message_release(chain);
        chain = next;
    }
    return 0;
}

/* We came last: combine the others' parts with ours and deliver. */
static int reduction_complete(struct collection *collection, struct reduction *r, uint64_t others)
{
    struct part *parts = NULL;
    Py_ssize_t count;
    PyObject *value;

    if (r->reducer->op == OP_NOP) {
        parts_release_empty(others);
        return reduction_deliver(collection, r);
    }
    if (others == 0)
        return reduction_deliver(collection, r);
    count = parts_decode(others, &parts);
    if (count < 0) {
        PyMem_Free(parts);
        return -1;
    }
    parts[0] = (struct part){rt.pe, r->value, r->owned};
    r->value = NULL;
    qsort(parts, (size_t)count, sizeof(*parts), part_compare);
    value = op_is_list(r->reducer) ? parts_join(r->reducer, parts, count)
                                   : parts_combine(r->reducer, parts, count);
    PyMem_Free(parts);
    r->value = value;
    return value == NULL ? -1 : reduction_deliver(collection, r);
}

/* All local elements have contributed: bring our part to where the others' are. */
static int reduction_publish(struct collection *collection, struct reduction *r)
{
    struct c4p_envelope like = {
        .kind = C4P_PARTIAL, .collection = collection->id, .sequence = r->sequence};
    uint64_t others, offset;
    PyObject *result;

    if (r->reducer->op == OP_CUSTOM) {
        result = PyObject_CallFunctionObjArgs(r->reducer->function, r->value, NULL);
        if (result == NULL)
            return -1;
        Py_SETREF(r->value, PyList_New(1));
        if (r->value == NULL)
            return -1;
        PyList_SET_ITEM(r->value, 0, result);
    }
    delay_point();
    if (meeting_is_last(&rt.segment, collection->id, r->sequence, r->count, collection->total,
                        &others))
        return reduction_complete(collection, r, others);
    if (r->reducer->op == OP_NOP) {
        like.flags |= C4P_EMPTY;
        offset = message_block(&like, 0);
    } else {
        offset = message_make(&like, &r->value, 1);
    }
    if (offset == 0)
        return -1;
    delay_point();
    if (meeting_arrive(&rt.segment, offset, r->count, collection->total, &others)) {
        region_free(rt.region, offset);
        return reduction_complete(collection, r, others);
    }
    if (r->all) {
        Py_CLEAR(r->value);
        r->published = true;
    } else {
        reduction_close(collection, r);
    }
    return 0;
}

/* ---- contributing ---- */

static int contribution_append(struct reduction *r, const Chare *chare, PyObject *data)
{
    PyObject *item, *index;
    int rc;

    if (r->value == NULL && (r->value = PyList_New(0)) == NULL)
        return -1;
    r->owned = true;
    if (r->reducer->op == OP_CUSTOM) {
        PyObject *pre = r->reducer->pre;

        item = pre == Py_None ? new_ref(data)
                              : PyObject_CallFunctionObjArgs(pre, data, (PyObject *)chare, NULL);
    } else {
        index = collection_index(chare->collection, chare->flat);
        item = index ? PyTuple_Pack(2, index, data) : NULL;
        Py_XDECREF(index);
    }
    rc = item == NULL ? -1 : PyList_Append(r->value, item);
    Py_XDECREF(item);
    return rc;
}

static int contribution_add(struct reduction *r, const Chare *chare, PyObject *data)
{
    PyObject *value, *sum;
    bool several = chare->collection->count > 1;

    if (r->reducer->op == OP_NOP)
        return 0;
    if (op_is_list(r->reducer))
        return contribution_append(r, chare, data);
    value = value_first(r->reducer, data, several && r->value == NULL);
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
                  r->sequence, collection->class->name, r->reducer->name, reducer->name,
                  r->all != all ? " (one with allreduce)" : "");
    return -1;
}

PyObject *reduction_contribute(Chare *chare, PyObject *target, PyObject *data, PyObject *given,
                               bool all)
{
    struct collection *collection = chare->collection;
    Reducer *reducer = reducer_resolve(given);
    struct reduction *r;
    Future *future = NULL;

    if (reducer == NULL || (!all && target_check(target) != 0))
        return NULL;
    r = reduction_find(collection, chare->reductions);
    if (r != NULL && reducer_check(collection, r, reducer, all) != 0)
        return NULL;
    if (r == NULL && (r = reduction_open(collection, chare->reductions, reducer, all)) == NULL)
        return NULL;
    if (contribution_add(r, chare, data) != 0) {
        if (r->count == 0)
            reduction_close(collection, r);
        return NULL;
    }
    chare->reductions++;
    if (all) {
        future = future_create(FUTURE_VALUES, 1);
        if (r->futures == NULL)
            r->futures = PyList_New(0);
        if (future == NULL || r->futures == NULL ||
            PyList_Append(r->futures, (PyObject *)future) != 0) {
            Py_XDECREF(future);
            return NULL;
        }
        future_set_about(future, (PyObject *)r->reducer);
    } else if (r->target == NULL) {
        r->target = new_ref(target);
    }
    /* An error from here on is not the contributor's: the others' parts are in it. */
    if (++r->count == collection->count && reduction_publish(collection, r) != 0)
        loop_fatal();
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
    for (Py_ssize_t i = 0; rc == 0 && i < PyList_GET_SIZE(futures); i++)
        rc = future_deliver((Future *)PyList_GET_ITEM(futures, i), value[0] ? value[0] : Py_None);
    Py_DECREF(futures);
    Py_XDECREF(value[0]);
    return rc;
}

/* ---- the deadlock report ---- */

#define REPORT_LIMIT 1000

/* Reductions that some have contributed to: (collection id, sequence) of open and of met ones. */
PyObject *reduction_report(PyObject *self, PyObject *unused)
{
    PyObject *list = PyList_New(0);

    (void)self;
    (void)unused;
    for (size_t i = 0; list != NULL && rt.collections.entries && i <= rt.collections.mask; i++) {
        const struct collection *collection = rt.collections.entries[i].value;

        for (struct reduction *r = collection ? collection->reductions : NULL; r; r = r->next) {
            PyObject *item = r->published
                                 ? NULL
                                 : Py_BuildValue("(KI)", (unsigned long long)collection->id,
                                                 (unsigned)r->sequence);
            if (item != NULL && PyList_Append(list, item) != 0)
                Py_CLEAR(list);
            Py_XDECREF(item);
            if (list == NULL || PyList_GET_SIZE(list) >= REPORT_LIMIT)
                return list;
        }
    }
    for (uint32_t i = 0; list != NULL && i < SEGMENT_BUCKETS; i++) {
        uint64_t offset = atomic_load(&segment_buckets(&rt.segment)[i].first);

        for (; segment_offset_valid(&rt.segment, offset) && PyList_GET_SIZE(list) < REPORT_LIMIT;
             offset = segment_block(&rt.segment, offset)->next) {
            const struct c4p_envelope *block = segment_block(&rt.segment, offset);
            PyObject *item = Py_BuildValue("(KI)", (unsigned long long)block->collection,
                                           (unsigned)block->sequence);

            if (item == NULL || PyList_Append(list, item) != 0)
                Py_CLEAR(list);
            Py_XDECREF(item);
            if (list == NULL)
                return NULL;
        }
    }
    return list;
}

/* Which local elements have not contributed to (id, sequence): (class name, how many, some). */
PyObject *reduction_lacking(PyObject *self, PyObject *args)
{
    unsigned long long id;
    unsigned sequence;
    struct collection *collection;
    PyObject *some;
    unsigned long long lacking = 0;

    (void)self;
    if (!PyArg_ParseTuple(args, "KI:lacking", &id, &sequence))
        return NULL;
    collection = collection_find(id);
    if (collection == NULL || collection->class == NULL || !collection->created)
        Py_RETURN_NONE;
    some = PyList_New(0);
    for (uint64_t i = 0; some != NULL && i < collection->count; i++) {
        PyObject *text;

        if (collection->elements[i]->reductions > sequence || ++lacking > 5)
            continue;
        text = collection_describe(collection, (int64_t)(collection->first + i));
        if (text == NULL || PyList_Append(some, text) != 0)
            Py_CLEAR(some);
        Py_XDECREF(text);
    }
    if (some == NULL)
        return NULL;
    return Py_BuildValue("(OKN)", collection->class->name, lacking, some);
}
