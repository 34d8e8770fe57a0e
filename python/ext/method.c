/*
 * Entry methods: calling them through a proxy, and as callbacks.
 *
 * `proxy.method(args)` is one vectorcall of an EntryMethod, a descriptor in
 * the proxy class, without a bound method between; `proxy.method` as a value
 * is a BoundMethod, which can be sent and called later.
 */
#include <stddef.h>
#include <string.h>

#include "python/ext/runtime.h"

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
    struct collection *collection = proxy->collection;
    int64_t flat = collection_flat(collection, proxy->index, proxy->ndims);

    like->ndims = proxy->ndims;
    memcpy(like->index, proxy->index, sizeof(like->index));
    if (collection->moved.count > 0)
        return migration_send(like, collection, (uint64_t)flat, args, count, keywords);
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

    if (waiting_require("a call with ret=True or awaitable=True") != 0)
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
    if (proxy->collection->session != rt.session_number)
        return runtime_error("%U is of a session that is closed", method->owner->name);
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

static PyObject *entry_get(PyObject *self, PyObject *proxy, PyObject *type)
{
    (void)type;
    if (proxy == NULL)
        return new_ref(self);
    if (!PyObject_TypeCheck(proxy, &Proxy_Type))
        return PyErr_Format(PyExc_TypeError, "%R is a method of proxies, not of %s objects", self,
                            Py_TYPE(proxy)->tp_name);
    return method_bind((Proxy *)proxy, (EntryMethod *)self);
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

PyObject *method_bind(Proxy *proxy, EntryMethod *method)
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
