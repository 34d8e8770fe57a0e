/*
 * Proxies: what stands for a collection or an element wherever it lives, and
 * the methods that are called through it.
 *
 * `proxy.method(args)` is one vectorcall of an EntryMethod, a descriptor in
 * the proxy class, without a bound method between; `proxy.method` as a value
 * is a BoundMethod, which can be sent and called later.
 */
#include <stddef.h>
#include <string.h>

#include "python/ext/runtime.h"

enum { TAG_PROXY = ARGS_RUNTIME_TAG, TAG_FUTURE, TAG_METHOD };

PyObject *proxy_create(struct collection *collection, const int32_t *index, unsigned ndims)
{
    PyTypeObject *type = (PyTypeObject *)collection->class->proxies[collection->kind];
    Proxy *proxy = (Proxy *)type->tp_alloc(type, 0);

    if (proxy == NULL)
        return NULL;
    proxy->collection = collection;
    proxy->ndims = (uint8_t)ndims;
    for (unsigned i = 0; i < ndims; i++)
        proxy->index[i] = index[i];
    return (PyObject *)proxy;
}

static void proxy_dealloc(PyObject *self)
{
    Py_XDECREF(((Proxy *)self)->creation);
    Py_TYPE(self)->tp_free(self); /* the subclass's own deallocation gives the type back */
}

/* ---- invoking ---- */

struct call_options {
    bool wait;          /* the caller wants a future */
    bool values;        /* with return values */
    PyObject *keywords; /* dict, or NULL */
};

/* Take ret= and awaitable= out of the keywords; the rest is bound by the method's signature. */
static int options_parse(EntryMethod *method, PyObject *const *args, Py_ssize_t count,
                         PyObject *kwnames, struct call_options *options)
{
    Py_ssize_t named = PyTuple_GET_SIZE(kwnames);
    PyObject *bind[3], *checked;
    int truth;

    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        bool ret = name == names.ret || PyUnicode_Compare(name, names.ret) == 0;

        if (ret || name == names.awaitable || PyUnicode_Compare(name, names.awaitable) == 0) {
            truth = PyObject_IsTrue(args[count + i]);
            if (truth < 0)
                return -1;
            options->wait = options->wait || truth;
            options->values = options->values || (truth && ret);
            if (ret || !(method->flags & METHOD_AWAITABLE))
                continue;
        }
        if (options->keywords == NULL && (options->keywords = PyDict_New()) == NULL)
            return -1;
        if (PyDict_SetItem(options->keywords, name, args[count + i]) != 0)
            return -1;
    }
    if (options->keywords == NULL && count >= method->least && count <= method->most)
        return 0;
    bind[0] = (PyObject *)method;
    bind[1] = PyLong_FromSsize_t(count);
    bind[2] = options->keywords ? options->keywords : Py_None;
    if (bind[1] == NULL)
        return -1;
    checked = runtime_hook("check_signature", bind, 3);
    Py_DECREF(bind[1]);
    Py_XDECREF(checked);
    return checked == NULL ? -1 : 0;
}

static int invoke_element(struct c4p_envelope *like, const Proxy *proxy, PyObject *const *args,
                          Py_ssize_t count, PyObject *keywords)
{
    const struct collection *collection = proxy->collection;
    int64_t flat = collection_flat(collection, proxy->index, proxy->ndims);

    like->ndims = proxy->ndims;
    memcpy(like->index, proxy->index, sizeof(like->index));
    return message_send(like, collection_pe(collection, (uint64_t)flat), args, count, keywords);
}

static int invoke_all(struct c4p_envelope *like, const Proxy *proxy, PyObject *const *args,
                      Py_ssize_t count, PyObject *keywords)
{
    uint32_t first, pes;

    collection_participants(proxy->collection, &first, &pes);
    like->flags |= C4P_BROADCAST;
    return message_broadcast(like, first, pes, args, count, keywords);
}

/* A broadcast's or element call's future. */
static Future *invoke_future(const Proxy *proxy, EntryMethod *method,
                             const struct call_options *options)
{
    uint32_t first, pes;
    Future *future;

    if (coroutine_require("a call with ret=True or awaitable=True") == NULL)
        return NULL;
    if (proxy->ndims > 0) {
        future = future_create(FUTURE_VALUES, 1);
    } else {
        collection_participants(proxy->collection, &first, &pes);
        future = future_create(options->values ? FUTURE_RETURNS : FUTURE_COMPLETION, pes);
        if (future != NULL && pes == 0) {
            PyObject *nothing = options->values ? PyList_New(0) : new_ref(Py_None);

            if (nothing == NULL || future_set(future, nothing) != 0)
                Py_CLEAR(future);
            Py_XDECREF(nothing);
        }
    }
    if (future != NULL)
        future_set_about(future, (PyObject *)method);
    return future;
}

static PyObject *invoke(const Proxy *proxy, EntryMethod *method, PyObject *const *args,
                        Py_ssize_t count, const struct call_options *options)
{
    struct c4p_envelope like = {
        .kind = C4P_CALL, .collection = proxy->collection->id, .method = method->hash};
    Future *future = NULL;
    int rc;

    if (runtime_require() != 0)
        return NULL;
    if (count > UINT16_MAX - 2) {
        PyErr_Format(PyExc_TypeError, "%U() called with %zd arguments: 65,533 is the limit",
                     method->name, count);
        return NULL;
    }
    if (options->keywords != NULL)
        like.flags |= C4P_KEYWORDS;
    if (options->wait) {
        future = invoke_future(proxy, method, options);
        if (future == NULL)
            return NULL;
        like.future = future->id;
        if (options->values)
            like.flags |= C4P_RETURN;
    }
    if (proxy->ndims > 0)
        rc = invoke_element(&like, proxy, args, count, options->keywords);
    else
        rc = invoke_all(&like, proxy, args, count, options->keywords);
    if (rc != 0) {
        if (future != NULL)
            future_abandon(future);
        return NULL;
    }
    if (future != NULL)
        return (PyObject *)future;
    Py_RETURN_NONE;
}

static PyObject *call_through(const Proxy *proxy, EntryMethod *method, PyObject *const *args,
                              Py_ssize_t count, PyObject *kwnames)
{
    struct call_options options = {0};
    PyObject *result;

    if (kwnames == NULL || PyTuple_GET_SIZE(kwnames) == 0)
        return invoke(proxy, method, args, count, &options);
    if (options_parse(method, args, count, kwnames, &options) != 0) {
        Py_XDECREF(options.keywords);
        return NULL;
    }
    result = invoke(proxy, method, args, count, &options);
    Py_XDECREF(options.keywords);
    return result;
}

/* ---- EntryMethod ---- */

static PyObject *entry_vectorcall(PyObject *self, PyObject *const *args, size_t nargsf,
                                  PyObject *kwnames)
{
    Py_ssize_t count = PyVectorcall_NARGS(nargsf);

    if (count < 1 || !PyObject_TypeCheck(args[0], &Proxy_Type)) {
        PyErr_Format(PyExc_TypeError, "%U() is called on a proxy", ((EntryMethod *)self)->name);
        return NULL;
    }
    return call_through((Proxy *)args[0], (EntryMethod *)self, args + 1, count - 1, kwnames);
}

static PyObject *bound_create(Proxy *proxy, EntryMethod *method);

static PyObject *entry_get(PyObject *self, PyObject *proxy, PyObject *type)
{
    (void)type;
    if (proxy == NULL)
        return new_ref(self);
    return bound_create((Proxy *)proxy, (EntryMethod *)self);
}

static PyObject *entry_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *owner, *name, *function;
    EntryMethod *method;
    const char *text;
    Py_ssize_t size;
    int flags, least, most;

    if (kwargs != NULL || !PyArg_ParseTuple(args, "O!UOiii:EntryMethod", &ChareClass_Type, &owner,
                                            &name, &function, &flags, &least, &most))
        return NULL;
    text = PyUnicode_AsUTF8AndSize(name, &size);
    if (text == NULL)
        return NULL;
    method = (EntryMethod *)type->tp_alloc(type, 0);
    if (method == NULL)
        return NULL;
    method->vectorcall = entry_vectorcall;
    method->name = new_ref(name);
    PyUnicode_InternInPlace(&method->name);
    method->function = new_ref(function);
    method->owner = (ChareClass *)owner;
    method->flags = flags;
    method->least = least;
    method->most = most;
    method->hash = c4p_hash_method(text, (size_t)size);
    EntryMethod *other = table_get(&method->owner->methods, method->hash);
    if (other != NULL && PyUnicode_Compare(other->name, name) != 0) {
        runtime_error("%U: the names %U and %U have the same hash: rename one of them",
                      method->owner->name, other->name, name);
        Py_DECREF(method);
        return NULL;
    }
    if (table_set(&method->owner->methods, method->hash, method) != 0) {
        Py_DECREF(method);
        return PyErr_NoMemory();
    }
    Py_INCREF(method); /* by the table: classes are immortal */
    return (PyObject *)method;
}

static void entry_dealloc(PyObject *self)
{
    EntryMethod *method = (EntryMethod *)self;

    Py_XDECREF(method->name);
    Py_XDECREF(method->function);
    Py_TYPE(self)->tp_free(self);
}

static PyObject *entry_repr(PyObject *self)
{
    EntryMethod *method = (EntryMethod *)self;

    return PyUnicode_FromFormat("<entry method %U.%U>", method->owner->name, method->name);
}

static PyMemberDef entry_members[] = {
    {"__name__", T_OBJECT, offsetof(EntryMethod, name), READONLY, NULL},
    {"function", T_OBJECT, offsetof(EntryMethod, function), READONLY, NULL},
    {NULL, 0, 0, 0, NULL}};

static PyObject *entry_qualname(PyObject *self, void *unused)
{
    EntryMethod *method = (EntryMethod *)self;

    (void)unused;
    return PyUnicode_FromFormat("%U.%U", method->owner->name, method->name);
}

static PyObject *entry_doc(PyObject *self, void *unused)
{
    (void)unused;
    return PyObject_GetAttrString(((EntryMethod *)self)->function, "__doc__");
}

static PyGetSetDef entry_getset[] = {{"__qualname__", entry_qualname, NULL, NULL, NULL},
                                     {"__doc__", entry_doc, NULL, NULL, NULL},
                                     {NULL, NULL, NULL, NULL, NULL}};

PyTypeObject EntryMethod_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "c4py._c4py.EntryMethod",
    .tp_basicsize = sizeof(EntryMethod),
    .tp_dealloc = entry_dealloc,
    .tp_vectorcall_offset = offsetof(EntryMethod, vectorcall),
    .tp_repr = entry_repr,
    .tp_call = PyVectorcall_Call,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR,
    .tp_members = entry_members,
    .tp_getset = entry_getset,
    .tp_descr_get = entry_get,
    .tp_new = entry_new,
};

/* ---- BoundMethod ---- */

static PyObject *bound_vectorcall(PyObject *self, PyObject *const *args, size_t nargsf,
                                  PyObject *kwnames)
{
    BoundMethod *bound = (BoundMethod *)self;

    return call_through(bound->proxy, bound->method, args, PyVectorcall_NARGS(nargsf), kwnames);
}

static PyObject *bound_create(Proxy *proxy, EntryMethod *method)
{
    BoundMethod *bound = PyObject_New(BoundMethod, &BoundMethod_Type);

    if (bound == NULL)
        return NULL;
    bound->vectorcall = bound_vectorcall;
    bound->proxy = (Proxy *)new_ref((PyObject *)proxy);
    bound->method = (EntryMethod *)new_ref((PyObject *)method);
    return (PyObject *)bound;
}

static void bound_dealloc(PyObject *self)
{
    Py_DECREF(((BoundMethod *)self)->proxy);
    Py_DECREF(((BoundMethod *)self)->method);
    PyObject_Free(self);
}

static PyObject *bound_reduce(PyObject *self, PyObject *unused)
{
    BoundMethod *bound = (BoundMethod *)self;
    PyObject *builtins = PyImport_ImportModule("builtins");
    PyObject *getattr = builtins ? PyObject_GetAttrString(builtins, "getattr") : NULL;

    (void)unused;
    Py_XDECREF(builtins);
    if (getattr == NULL)
        return NULL;
    return Py_BuildValue("N(OO)", getattr, bound->proxy, bound->method->name);
}

static PyObject *bound_repr(PyObject *self)
{
    BoundMethod *bound = (BoundMethod *)self;

    return PyUnicode_FromFormat("<entry method %U of %R>", bound->method->name, bound->proxy);
}

static PyObject *bound_name(PyObject *self, void *unused)
{
    (void)unused;
    return new_ref(((BoundMethod *)self)->method->name);
}

static PyObject *bound_doc(PyObject *self, void *unused)
{
    return entry_doc((PyObject *)((BoundMethod *)self)->method, unused);
}

static PyMethodDef bound_methods[] = {{"__reduce__", bound_reduce, METH_NOARGS, NULL},
                                      {NULL, NULL, 0, NULL}};

static PyGetSetDef bound_getset[] = {{"__name__", bound_name, NULL, NULL, NULL},
                                     {"__doc__", bound_doc, NULL, NULL, NULL},
                                     {NULL, NULL, NULL, NULL, NULL}};

PyTypeObject BoundMethod_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "c4py._c4py.BoundMethod",
    .tp_basicsize = sizeof(BoundMethod),
    .tp_dealloc = bound_dealloc,
    .tp_vectorcall_offset = offsetof(BoundMethod, vectorcall),
    .tp_repr = bound_repr,
    .tp_call = PyVectorcall_Call,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_methods = bound_methods,
    .tp_getset = bound_getset,
};

/* ---- callbacks ---- */

int callback_invoke(PyObject *callback, PyObject *value)
{
    PyObject *result;

    if (value != NULL)
        result = PyObject_CallFunctionObjArgs(callback, value, NULL);
    else
        result = PyObject_CallNoArgs(callback);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* ---- indexing and comparing ---- */

static int index_coordinate(PyObject *object, int32_t *coordinate)
{
    Py_ssize_t value;

    if (PyBool_Check(object) || !PyIndex_Check(object)) {
        PyErr_Format(PyExc_TypeError, "an index is an int, or a tuple of ints, not %s",
                     Py_TYPE(object)->tp_name);
        return -1;
    }
    value = PyNumber_AsSsize_t(object, PyExc_IndexError);
    if (value == -1 && PyErr_Occurred())
        return -1;
    if (value < INT32_MIN || value > INT32_MAX) {
        PyErr_Format(PyExc_IndexError, "index %zd is beyond the 32 bits that indexes have", value);
        return -1;
    }
    *coordinate = (int32_t)value;
    return 0;
}

/* An int, or a tuple or list of them. Returns the number of dimensions, or -1. */
static int index_parse(PyObject *key, int32_t *index)
{
    PyObject *sequence;
    Py_ssize_t count;

    if (!PyTuple_Check(key) && !PyList_Check(key))
        return index_coordinate(key, &index[0]) == 0 ? 1 : -1;
    sequence = PySequence_Fast(key, "an index is an int, or a tuple of ints");
    if (sequence == NULL)
        return -1;
    count = PySequence_Fast_GET_SIZE(sequence);
    if (count > C4P_MAX_DIMS)
        count = C4P_MAX_DIMS + 1;
    for (Py_ssize_t i = 0; i < count && i < C4P_MAX_DIMS; i++)
        if (index_coordinate(PySequence_Fast_GET_ITEM(sequence, i), &index[i]) != 0) {
            Py_DECREF(sequence);
            return -1;
        }
    Py_DECREF(sequence);
    return (int)count;
}

static PyObject *proxy_subscript(PyObject *self, PyObject *key)
{
    struct collection *collection = ((Proxy *)self)->collection;
    int32_t index[C4P_MAX_DIMS] = {0};
    PyObject *shape;
    int ndims;

    if (collection->kind == KIND_MAIN)
        return PyErr_Format(PyExc_TypeError, "%U is a single chare: its proxy has no elements",
                            collection->class->name);
    ndims = index_parse(key, index);
    if (ndims < 0)
        return NULL;
    if (ndims != collection->ndims)
        return PyErr_Format(PyExc_IndexError, "%U has %d dimensions, the index %R has %d",
                            collection->class->name, collection->ndims, key, ndims);
    if (collection_flat(collection, index, (unsigned)ndims) < 0) {
        shape = PyTuple_New(ndims);
        for (int i = 0; shape != NULL && i < ndims; i++)
            PyTuple_SET_ITEM(shape, i, PyLong_FromLong(collection->dims[i]));
        PyErr_Format(PyExc_IndexError, "index %R is out of bounds: %U has the shape %S", key,
                     collection->class->name, shape ? shape : Py_None);
        Py_XDECREF(shape);
        return NULL;
    }
    return proxy_create(collection, index, (unsigned)ndims);
}

static PyObject *proxy_compare(PyObject *self, PyObject *other, int op)
{
    const Proxy *a = (Proxy *)self, *b = (Proxy *)other;
    bool equal;

    if ((op != Py_EQ && op != Py_NE) || !PyObject_TypeCheck(other, &Proxy_Type))
        Py_RETURN_NOTIMPLEMENTED;
    equal = a->collection == b->collection && a->ndims == b->ndims &&
            memcmp(a->index, b->index, sizeof(a->index)) == 0;
    return PyBool_FromLong(equal == (op == Py_EQ));
}

static Py_hash_t proxy_hash(PyObject *self)
{
    const Proxy *proxy = (Proxy *)self;
    uint64_t hash = proxy->collection->id * 0x9e3779b97f4a7c15u + proxy->ndims;

    for (unsigned i = 0; i < proxy->ndims; i++)
        hash = (hash ^ (uint32_t)proxy->index[i]) * 0x9e3779b97f4a7c15u;
    return (Py_hash_t)(hash >> 2);
}

static PyObject *proxy_repr(PyObject *self)
{
    const Proxy *proxy = (Proxy *)self;
    int64_t flat = collection_flat(proxy->collection, proxy->index, proxy->ndims);
    PyObject *text = collection_describe(proxy->collection, proxy->ndims ? flat : -1);
    PyObject *repr;

    if (text == NULL)
        return NULL;
    repr = PyUnicode_FromFormat("<%U.%s %U>", proxy->collection->class->module,
                                Py_TYPE(self)->tp_name, text);
    Py_DECREF(text);
    return repr;
}

/* ---- as bytes ---- */

/* The same everywhere: in arguments, pickles and between hosts. Little-endian, no padding. */
struct proxy_wire {
    uint64_t collection;
    uint64_t class;
    uint8_t kind, placement, ndims, index_ndims;
    uint32_t on_pe;
    int32_t dims[C4P_MAX_DIMS];
    int32_t index[C4P_MAX_DIMS];
};
_Static_assert(sizeof(struct proxy_wire) == 72, "a proxy is 72 bytes");

static void proxy_write(const Proxy *proxy, struct proxy_wire *wire)
{
    const struct collection *collection = proxy->collection;

    memset(wire, 0, sizeof(*wire));
    wire->collection = collection->id;
    wire->class = collection->class->hash;
    wire->kind = collection->kind;
    wire->placement = collection->placement;
    wire->ndims = collection->ndims;
    wire->index_ndims = proxy->ndims;
    wire->on_pe = collection->on_pe;
    memcpy(wire->dims, collection->dims, sizeof(wire->dims));
    memcpy(wire->index, proxy->index, sizeof(wire->index));
}

static bool wire_valid(const struct proxy_wire *wire)
{
    uint64_t total = 1;

    if (wire->kind > KIND_ARRAY || wire->placement > PLACE_ON || wire->ndims > C4P_MAX_DIMS ||
        (wire->index_ndims != 0 && wire->index_ndims != wire->ndims) || wire->on_pe >= rt.pes)
        return false;
    for (unsigned i = 0; i < wire->ndims; i++) {
        if (wire->dims[i] < 0)
            return false;
        total *= (uint32_t)wire->dims[i];
        if (total > INT64_MAX / INT32_MAX)
            return false;
    }
    return wire->placement != PLACE_EACH || (wire->ndims == 1 && total == rt.pes);
}

static PyObject *proxy_read(const struct proxy_wire *wire)
{
    struct collection description = {.id = wire->collection,
                                     .kind = wire->kind,
                                     .placement = wire->placement,
                                     .ndims = wire->ndims,
                                     .on_pe = wire->on_pe};
    struct collection *collection;

    if (!wire_valid(wire)) {
        PyErr_SetString(PyExc_ValueError, "malformed proxy");
        return NULL;
    }
    description.class = table_get(&rt.classes, wire->class);
    if (description.class == NULL) {
        class_set_missing(wire->class);
        return NULL;
    }
    memcpy(description.dims, wire->dims, sizeof(description.dims));
    collection = collection_intern(&description);
    if (collection == NULL)
        return NULL;
    if (wire->index_ndims > 0 &&
        (collection->ndims != wire->index_ndims ||
         collection_flat(collection, wire->index, wire->index_ndims) < 0)) {
        PyErr_SetString(PyExc_ValueError, "malformed proxy");
        return NULL;
    }
    return proxy_create(collection, wire->index, wire->index_ndims);
}

static PyObject *proxy_reduce(PyObject *self, PyObject *unused)
{
    struct proxy_wire wire;
    PyObject *function = PyObject_GetAttrString(rt.hooks, "proxy_from");

    (void)unused;
    if (function == NULL)
        return NULL;
    proxy_write((Proxy *)self, &wire);
    return Py_BuildValue("N(y#)", function, (const char *)&wire, (Py_ssize_t)sizeof(wire));
}

PyObject *proxy_unpickle(PyObject *self, PyObject *bytes)
{
    struct proxy_wire wire;

    (void)self;
    if (!PyBytes_Check(bytes) || PyBytes_GET_SIZE(bytes) != sizeof(wire)) {
        PyErr_SetString(PyExc_ValueError, "malformed proxy");
        return NULL;
    }
    memcpy(&wire, PyBytes_AS_STRING(bytes), sizeof(wire));
    return proxy_read(&wire);
}

int runtime_args_write(struct args_writer *writer, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    struct proxy_wire wire;
    uint8_t tag;

    if (type == &Future_Type) {
        const Future *future = (Future *)object;

        tag = TAG_FUTURE;
        if (args_put(writer, &tag, 1) != 0 ||
            args_put(writer, &future->owner, sizeof(future->owner)) != 0 ||
            args_put(writer, &future->id, sizeof(future->id)) != 0)
            return -1;
        return 1;
    }
    if (type == &BoundMethod_Type) {
        const BoundMethod *bound = (BoundMethod *)object;

        tag = TAG_METHOD;
        proxy_write(bound->proxy, &wire);
        if (args_put(writer, &tag, 1) != 0 || args_put(writer, &wire, sizeof(wire)) != 0 ||
            args_put(writer, &bound->method->hash, sizeof(bound->method->hash)) != 0)
            return -1;
        return 1;
    }
    if (type->tp_base == &Proxy_Type) {
        tag = TAG_PROXY;
        proxy_write((Proxy *)object, &wire);
        if (args_put(writer, &tag, 1) != 0 || args_put(writer, &wire, sizeof(wire)) != 0)
            return -1;
        return 1;
    }
    return 0;
}

static PyObject *take_proxy(struct args_reader *reader)
{
    struct proxy_wire wire;
    const uint8_t *bytes = args_take(reader, sizeof(wire));

    if (bytes == NULL)
        return NULL;
    memcpy(&wire, bytes, sizeof(wire));
    return proxy_read(&wire);
}

static PyObject *take_method(struct args_reader *reader)
{
    PyObject *proxy = take_proxy(reader);
    const uint8_t *bytes = proxy ? args_take(reader, sizeof(uint32_t)) : NULL;
    PyObject *bound = NULL;
    EntryMethod *method;
    uint32_t hash;

    if (bytes != NULL) {
        memcpy(&hash, bytes, sizeof(hash));
        method = table_get(&((Proxy *)proxy)->collection->class->methods, hash);
        if (method != NULL)
            bound = bound_create((Proxy *)proxy, method);
        else
            PyErr_Format(PyExc_ValueError, "a callback for a method that %U does not have",
                         ((Proxy *)proxy)->collection->class->name);
    }
    Py_XDECREF(proxy);
    return bound;
}

PyObject *runtime_args_read(struct args_reader *reader, uint8_t tag)
{
    const uint8_t *bytes;
    uint32_t owner;
    uint64_t id;

    switch (tag) {
    case TAG_PROXY:
        return take_proxy(reader);
    case TAG_METHOD:
        return take_method(reader);
    case TAG_FUTURE:
        bytes = args_take(reader, sizeof(owner) + sizeof(id));
        if (bytes == NULL)
            return NULL;
        memcpy(&owner, bytes, sizeof(owner));
        memcpy(&id, bytes + sizeof(owner), sizeof(id));
        if (owner < rt.pes)
            return future_resolve(owner, id);
    }
    PyErr_SetString(PyExc_ValueError, "unknown object in a message");
    return NULL;
}

/* ---- the type ---- */

static PyObject *proxy_index(PyObject *self, void *unused)
{
    const Proxy *proxy = (Proxy *)self;
    int64_t flat;

    (void)unused;
    if (proxy->ndims == 0 && proxy->collection->kind == KIND_GROUP)
        return PyLong_FromLong(-1);
    if (proxy->ndims == 0)
        return PyTuple_New(0);
    flat = collection_flat(proxy->collection, proxy->index, proxy->ndims);
    return collection_index(proxy->collection, (uint64_t)flat);
}

static PyObject *proxy_collection_id(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(((Proxy *)self)->collection->id);
}

static PyObject *proxy_ndims(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromLong(((Proxy *)self)->collection->ndims);
}

static PyObject *proxy_shape(PyObject *self, void *unused)
{
    const struct collection *collection = ((Proxy *)self)->collection;
    PyObject *shape = PyTuple_New(collection->ndims);

    (void)unused;
    for (unsigned i = 0; shape != NULL && i < collection->ndims; i++)
        PyTuple_SET_ITEM(shape, i, PyLong_FromLong(collection->dims[i]));
    return shape;
}

static PyObject *proxy_creation(PyObject *self, void *unused)
{
    Proxy *proxy = (Proxy *)self;

    (void)unused;
    if (proxy->creation == NULL) {
        PyErr_SetString(PyExc_AttributeError, "creation_future");
        return NULL;
    }
    return new_ref(proxy->creation);
}

static int proxy_set_creation(PyObject *self, PyObject *value, void *unused)
{
    (void)unused;
    if (value != NULL) {
        PyErr_SetString(PyExc_AttributeError, "creation_future is set by the runtime");
        return -1;
    }
    Py_CLEAR(((Proxy *)self)->creation);
    return 0;
}

/* The local object of a group: other elements are reached by messages only. */
static PyObject *proxy_local_branch(PyObject *self, PyObject *unused)
{
    const struct collection *collection = ((Proxy *)self)->collection;

    (void)unused;
    if (collection->kind != KIND_GROUP || !collection->created)
        return runtime_error("ckLocalBranch() is for groups that exist on this PE");
    return new_ref((PyObject *)collection->elements[0]);
}

static PyGetSetDef proxy_getset[] = {
    {"elemIdx", proxy_index, NULL, "Index of the element; -1 or () for the whole collection.",
     NULL},
    {"ndims", proxy_ndims, NULL, "Dimensions of the collection's indexes.", NULL},
    {"shape", proxy_shape, NULL, "Extents of the collection, a tuple.", NULL},
    {"collection_id", proxy_collection_id, NULL, "The collection's number in its job.", NULL},
    {"creation_future", proxy_creation, proxy_set_creation,
     "Set on what a creation in a coroutine returned, until it is awaited.", NULL},
    {NULL, NULL, NULL, NULL, NULL}};

static PyMethodDef proxy_methods[] = {
    {"__reduce__", proxy_reduce, METH_NOARGS, NULL},
    {"ckLocalBranch", proxy_local_branch, METH_NOARGS,
     "ckLocalBranch()\n--\n\nThe group's element on this PE, the object itself."},
    {NULL, NULL, 0, NULL}};

static PyMappingMethods proxy_mapping = {.mp_subscript = proxy_subscript};

PyTypeObject Proxy_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "c4py._c4py.Proxy",
    .tp_basicsize = sizeof(Proxy),
    .tp_dealloc = proxy_dealloc,
    .tp_repr = proxy_repr,
    .tp_as_mapping = &proxy_mapping,
    .tp_hash = proxy_hash,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_doc = "Stands for a collection or one of its elements, wherever it lives.",
    .tp_richcompare = proxy_compare,
    .tp_methods = proxy_methods,
    .tp_getset = proxy_getset,
};
