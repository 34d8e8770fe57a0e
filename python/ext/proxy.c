/*
 * Proxies: what stands for a collection or an element wherever it lives.
 */
#include <stddef.h>
#include <string.h>

#include "python/ext/runtime.h"

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
    sequence = PySequence_Tuple(key); /* a list could change while its items are asked */
    if (sequence == NULL)
        return -1;
    count = PyTuple_GET_SIZE(sequence);
    if (count > C4P_MAX_DIMS)
        count = C4P_MAX_DIMS + 1;
    for (Py_ssize_t i = 0; i < count && i < C4P_MAX_DIMS; i++)
        if (index_coordinate(PyTuple_GET_ITEM(sequence, i), &index[i]) != 0) {
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
