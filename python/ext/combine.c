#include "python/ext/combine.h"

#include <stddef.h>

#include "python/ext/ndarray.h"

/* ---- the reducer type ---- */

static PyObject *Reducer_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *name, *function = Py_None, *pre = Py_None, *post = Py_None;
    Reducer *reducer;
    const char *text;
    Py_ssize_t size;
    int op;

    if (kwargs != NULL ||
        !PyArg_ParseTuple(args, "iU|OOO:Reducer", &op, &name, &function, &pre, &post))
        return NULL;
    if (op < 0 || op >= OP_COUNT) {
        PyErr_SetString(PyExc_ValueError, "no such reducer");
        return NULL;
    }
    text = PyUnicode_AsUTF8AndSize(name, &size);
    reducer = text ? (Reducer *)type->tp_alloc(type, 0) : NULL;
    if (reducer == NULL)
        return NULL;
    reducer->op = op;
    reducer->hash = c4p_hash_method(text, (size_t)size);
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
    {"hash", T_UINT, offsetof(Reducer, hash), READONLY, NULL},
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

/* None is found as Reducer.nop itself: what comes from another PE is that one too. */
static Reducer *reducer_find(PyObject *given)
{
    PyObject *found = runtime_hook("find_reducer", &given, 1);

    if (found == NULL)
        return NULL;
    Py_DECREF(found); /* registered reducers are kept by the registry */
    if (Py_TYPE(found) != &Reducer_Type) {
        PyErr_SetString(PyExc_TypeError, "not a reducer");
        return NULL;
    }
    return (Reducer *)found;
}

Reducer *reducer_resolve(PyObject *given)
{
    static Reducer *nop;

    if (Py_TYPE(given) == &Reducer_Type)
        return (Reducer *)given;
    if (given != Py_None)
        return reducer_find(given);
    if (nop == NULL)
        nop = reducer_find(given);
    return nop;
}

/* ---- combining values ---- */

static bool is_number(PyObject *value)
{
    return PyLong_CheckExact(value) || PyFloat_CheckExact(value);
}

/* The commonest of what cannot be changed. */
static bool is_immutable(PyObject *value)
{
    return is_number(value) || value == Py_None || PyBool_Check(value) ||
           PyUnicode_CheckExact(value) || PyBytes_CheckExact(value) || PyComplex_CheckExact(value);
}

PyObject *value_take(const Reducer *reducer, PyObject *data, bool several, bool first)
{
    PyObject *args[4];

    if (is_number(data) && reducer->op <= OP_MIN)
        return new_ref(data);
    if (PyBool_Check(data) && reducer->op >= OP_AND && reducer->op <= OP_XOR)
        return new_ref(data);
    args[0] = (PyObject *)reducer;
    args[1] = data;
    args[2] = several ? Py_True : Py_False;
    args[3] = first ? Py_True : Py_False;
    return runtime_hook("contribution", args, 4);
}

PyObject *value_snapshot(PyObject *data)
{
    return is_immutable(data) ? new_ref(data) : runtime_hook("snapshot", &data, 1);
}

PyObject *value_combine(const Reducer *reducer, PyObject *a, PyObject *b, bool a_owned,
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

PyObject *value_finish(const Reducer *reducer, PyObject *value)
{
    PyObject *args[2] = {(PyObject *)reducer, value};

    if (value == NULL || (is_number(value) && reducer->op <= OP_MIN))
        return value ? new_ref(value) : NULL;
    return runtime_hook("finish_reduction", args, 2);
}

bool value_is_private(PyObject *value, bool owned)
{
    return is_immutable(value) || (owned && ndarray_type != NULL && Py_TYPE(value) == ndarray_type);
}
