#include "python/ext/reducers.h"

#include "python/ext/body_buffer.h"
#include "python/ext/ndarray.h"
#include "python/ext/pickler.h"

/* Made by args_add_functions(); what goes into pickles, and what takes apart. */
static PyObject *restore_ndarray, *restore_memoryview;
static PyObject *reduce_ndarray, *reduce_memoryview;

/* Are so many bytes better part of the stream? */
static bool belongs_in_stream(size_t size)
{
    return size < ARGS_IN_PLACE || pickler_protocol < 5;
}

/* Memory that `owner` keeps, for a pickle. */
static PyObject *pickle_buffer(PyObject *owner, const void *data, size_t size)
{
    PyObject *bytes, *buffer;

    if (belongs_in_stream(size))
        return PyBytes_FromStringAndSize(data, (Py_ssize_t)size);
    bytes = body_buffer_create(owner, data, size);
    buffer = bytes ? PyPickleBuffer_FromObject(bytes) : NULL;
    Py_XDECREF(bytes);
    return buffer;
}

/* The items of an array, packed. */
static PyObject *ndarray_items(PyObject *array, const struct array_form *form)
{
    PyObject *packed, *buffer;

    if (belongs_in_stream(form->size)) {
        packed = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)form->size);
        if (packed)
            ndarray_copy((uint8_t *)PyBytes_AS_STRING(packed), array, form->size, form->fortran);
        return packed;
    }
    if (form->contiguous)
        return pickle_buffer(array, form->contiguous, form->size);
    packed = body_buffer_create(NULL, NULL, form->size);
    if (!packed)
        return NULL;
    ndarray_copy(body_buffer_data(packed), array, form->size, form->fortran);
    buffer = PyPickleBuffer_FromObject(packed);
    Py_DECREF(packed);
    return buffer;
}

static PyObject *do_reduce_ndarray(PyObject *module, PyObject *array)
{
    struct array_form form;
    enum put put = ndarray_describe(array, &form);
    PyObject *items, *shape;

    (void)module;
    if (put == PUT_INDIRECT)
        return PyObject_CallMethod(array, "__reduce_ex__", "i", 5);
    if (put == PUT_ERROR)
        return NULL;
    items = ndarray_items(array, &form);
    shape = items ? PyObject_GetAttrString(array, "shape") : NULL;
    if (!shape) {
        Py_XDECREF(items);
        Py_XDECREF(form.description);
        return NULL;
    }
    if (form.description)
        return Py_BuildValue("O(NNNi)", restore_ndarray, items, form.description, shape,
                             form.fortran);
    return Py_BuildValue("O(NiNi)", restore_ndarray, items, form.code, shape, form.fortran);
}

static PyObject *do_restore_ndarray(PyObject *module, PyObject *args)
{
    PyObject *buffer, *dtype, *shape, *description = NULL;
    int fortran;
    long code = 0;

    (void)module;
    if (!PyArg_ParseTuple(args, "OOO!i", &buffer, &dtype, &PyTuple_Type, &shape, &fortran))
        return NULL;
    if (PyBytes_Check(dtype)) {
        description = dtype;
    } else {
        code = PyLong_AsLong(dtype);
        if (code < 1 || code > UINT8_MAX)
            return reader_refuse("an array's dtype is unknown");
    }
    return ndarray_restore(buffer, (uint8_t)code, description, shape, fortran);
}

static PyObject *do_reduce_memoryview(PyObject *module, PyObject *view)
{
    PyObject *held = PyMemoryView_FromObject(view), *items = NULL, *shape = NULL, *packed;
    PyObject *reduced = NULL;
    const Py_buffer *buffer;

    (void)module;
    if (!held)
        return NULL;
    buffer = PyMemoryView_GET_BUFFER(held);
    if (PyBuffer_IsContiguous(buffer, 'C')) {
        items = pickle_buffer(held, buffer->len ? buffer->buf : "", (size_t)buffer->len);
    } else {
        packed = PyBytes_FromStringAndSize(NULL, buffer->len);
        /* Until Python 3.11 its buffer was not const. */
        if (packed && PyBuffer_ToContiguous(PyBytes_AS_STRING(packed),
                                            (Py_buffer *)(uintptr_t)buffer, buffer->len, 'C') == 0)
            items = pickle_buffer(packed, PyBytes_AS_STRING(packed), (size_t)buffer->len);
        Py_XDECREF(packed);
    }
    if (items)
        shape = PyObject_GetAttrString(held, "shape");
    if (shape)
        reduced = Py_BuildValue("O(OynOi)", restore_memoryview, items,
                                buffer->format ? buffer->format : "B", buffer->itemsize, shape,
                                buffer->readonly);
    Py_XDECREF(items);
    Py_XDECREF(shape);
    Py_DECREF(held);
    return reduced;
}

/* A body buffer over a buffer of a pickle; over a copy if that cannot be written to. */
static PyObject *over(PyObject *object, const Py_buffer *view, bool read_only)
{
    PyObject *owner, *buffer;

    if (view->readonly && !read_only)
        return body_buffer_create(NULL, view->buf, (size_t)view->len);
    owner = PyMemoryView_FromObject(object);
    buffer = owner ? body_buffer_create(owner, view->buf, (size_t)view->len) : NULL;
    Py_XDECREF(owner);
    return buffer;
}

static PyObject *do_restore_memoryview(PyObject *module, PyObject *args)
{
    PyObject *object, *shape, *buffer, *view = NULL;
    int64_t extents[PyBUF_MAX_NDIM];
    Py_ssize_t length, itemsize;
    const char *format;
    Py_buffer bytes;
    int read_only;

    (void)module;
    if (!PyArg_ParseTuple(args, "Oy#nO!i", &object, &format, &length, &itemsize, &PyTuple_Type,
                          &shape, &read_only))
        return NULL;
    if (PyTuple_GET_SIZE(shape) > PyBUF_MAX_NDIM)
        return reader_refuse("a buffer has too many dimensions");
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(shape); i++) {
        extents[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(shape, i));
        if (extents[i] == -1 && PyErr_Occurred())
            return NULL;
    }
    if (PyObject_GetBuffer(object, &bytes, PyBUF_SIMPLE) < 0)
        return NULL;
    buffer = over(object, &bytes, read_only);
    PyBuffer_Release(&bytes);
    if (buffer && body_buffer_describe(buffer, (uint64_t)itemsize, (int)PyTuple_GET_SIZE(shape),
                                       extents, format, (size_t)length, read_only))
        view = PyMemoryView_FromObject(buffer);
    Py_XDECREF(buffer);
    return view;
}

static PyMethodDef restorers[] = {
    {"_restore_ndarray", do_restore_ndarray, METH_VARARGS,
     "An array from its items, dtype (code or description), shape and order."},
    {"_restore_memoryview", do_restore_memoryview, METH_VARARGS,
     "A memoryview from its bytes, format, itemsize, shape and whether it is read-only."},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef reducers[] = {
    {"reduce_ndarray", do_reduce_ndarray, METH_O, NULL},
    {"reduce_memoryview", do_reduce_memoryview, METH_O, NULL},
};

int args_add_functions(PyObject *module)
{
    if (PyModule_AddFunctions(module, restorers) < 0)
        return -1;
    Py_XSETREF(restore_ndarray, PyObject_GetAttrString(module, "_restore_ndarray"));
    Py_XSETREF(restore_memoryview, PyObject_GetAttrString(module, "_restore_memoryview"));
    Py_XSETREF(reduce_ndarray, PyCFunction_New(&reducers[0], NULL));
    Py_XSETREF(reduce_memoryview, PyCFunction_New(&reducers[1], NULL));
    return restore_ndarray && restore_memoryview && reduce_ndarray && reduce_memoryview ? 0 : -1;
}

PyObject *reducer_of(PyTypeObject *type)
{
    if (type == &PyMemoryView_Type)
        return reduce_memoryview;
    return reduce_ndarray && ndarray_is_type(type) ? reduce_ndarray : NULL;
}
