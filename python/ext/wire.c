/*
 * Proxies, callbacks and futures as bytes: the same in arguments, in pickles
 * and between hosts. proto/args.md specifies them.
 */
#include <string.h>

#include "python/ext/runtime.h"

enum { TAG_PROXY = ARGS_RUNTIME_TAG, TAG_FUTURE, TAG_METHOD };

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

/* -1 with an exception for one of another session. */
static int proxy_write(const Proxy *proxy, struct proxy_wire *wire)
{
    const struct collection *collection = proxy->collection;

    if (collection->session != rt.session_number) {
        runtime_error("%U is of a session that is closed", collection->class->name);
        return -1;
    }
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
    return 0;
}

static bool wire_valid(const struct proxy_wire *wire)
{
    uint64_t total = 1;

    if (wire->kind > KIND_ARRAY || wire->placement > PLACE_ON || wire->ndims > C4P_MAX_DIMS ||
        (wire->index_ndims != 0 && wire->index_ndims != wire->ndims) ||
        !endpoint_plausible(wire->on_pe, rt.pes))
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

PyObject *proxy_reduce(PyObject *self, PyObject *unused)
{
    struct proxy_wire wire;
    PyObject *function = PyObject_GetAttrString(rt.hooks, "proxy_from");

    (void)unused;
    if (function == NULL)
        return NULL;
    if (proxy_write((Proxy *)self, &wire) != 0) {
        Py_DECREF(function);
        return NULL;
    }
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
        if (proxy_write(bound->proxy, &wire) != 0 || args_put(writer, &tag, 1) != 0 ||
            args_put(writer, &wire, sizeof(wire)) != 0 ||
            args_put(writer, &bound->method->hash, sizeof(bound->method->hash)) != 0)
            return -1;
        return 1;
    }
    if (type->tp_base == &Proxy_Type) {
        tag = TAG_PROXY;
        if (proxy_write((Proxy *)object, &wire) != 0 || args_put(writer, &tag, 1) != 0 ||
            args_put(writer, &wire, sizeof(wire)) != 0)
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
            bound = method_bind((Proxy *)proxy, method);
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
        if (endpoint_plausible(owner, rt.pes))
            return future_resolve(owner, id);
    }
    PyErr_SetString(PyExc_ValueError, "unknown object in a message");
    return NULL;
}
