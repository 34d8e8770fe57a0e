/*
 * bytearray, array.array and memoryview as arguments, and the buffers of pickles.
 */
#include "python/ext/args_internal.h"

#include "python/ext/body_buffer.h"
#include "python/ext/ndarray.h"

static PyTypeObject *array_type; /* array.array, NULL until the first is met */

/* A body buffer over bytes of the body: in place if they may stay, else a copy. */
static PyObject *buffer_over(const struct args_reader *reader, const uint8_t *data, size_t size)
{
    PyObject *pin, *buffer;

    if (!reader_in_place(reader, data, size))
        return body_buffer_create(NULL, data, size);
    pin = reader->pin->object(reader->pin->context);
    if (!pin)
        return NULL;
    buffer = body_buffer_create(pin, data, size);
    Py_DECREF(pin);
    return buffer;
}

/* A memoryview of a body buffer, which it takes over. */
static PyObject *view_of(PyObject *buffer)
{
    PyObject *view = buffer ? PyMemoryView_FromObject(buffer) : NULL;

    Py_XDECREF(buffer);
    return view;
}

PyObject *buffer_read_plain(struct args_reader *reader, size_t size)
{
    const uint8_t *data = reader_take_buffer(reader, size);

    if (!data)
        return NULL;
    if (!reader_in_place(reader, data, size))
        return PyByteArray_FromStringAndSize((const char *)data, (Py_ssize_t)size);
    return view_of(buffer_over(reader, data, size));
}

/* The length of a buffer, held against what is left. */
static bool take_length(struct args_reader *reader, size_t *size)
{
    uint64_t length;

    if (!READER_NUMBER(reader, length))
        return false;
    if (length > reader_left(reader)) {
        reader_refuse("it is cut short");
        return false;
    }
    *size = length;
    return true;
}

/* A tag with what describes the buffer, then its bytes, held by a view of `object`. */
static enum put put_described(struct args_writer *writer, const void *description, size_t size,
                              PyObject *object, bool aligned)
{
    PyObject *view = PyMemoryView_FromObject(object); /* keeps it from being resized, too */
    const Py_buffer *buffer;
    enum put put = PUT_ERROR;
    uint64_t length;

    if (!view)
        return PUT_ERROR;
    buffer = PyMemoryView_GET_BUFFER(view);
    length = (uint64_t)buffer->len;
    if (args_put(writer, description, size) == 0 && args_put(writer, &length, 8) == 0 &&
        (!aligned || writer_align(writer, length) == PUT_DONE))
        put = writer_put_data(writer, view, length ? buffer->buf : "", length, false);
    Py_DECREF(view);
    return put;
}

static enum put put_bytearray(struct args_writer *writer, PyObject *object)
{
    uint8_t tag = TAG_BYTEARRAY;

    return put_described(writer, &tag, 1, object, false);
}

PyObject *buffer_read_bytearray(struct args_reader *reader)
{
    const uint8_t *data;
    size_t size;

    if (!take_length(reader, &size))
        return NULL;
    data = reader_take(reader, size);
    return data ? PyByteArray_FromStringAndSize((const char *)data, (Py_ssize_t)size) : NULL;
}

/* Is it exactly an array.array? The name tells: a class written in Python has no module in it. */
static bool is_array(PyObject *object)
{
    if (!array_type && strcmp(Py_TYPE(object)->tp_name, "array.array") == 0)
        array_type = (PyTypeObject *)Py_NewRef((PyObject *)Py_TYPE(object));
    return Py_TYPE(object) == array_type;
}

static enum put put_array(struct args_writer *writer, PyObject *object)
{
    PyObject *view = PyMemoryView_FromObject(object);
    PyObject *code = view ? PyObject_GetAttrString(object, "typecode") : NULL;
    enum put put = PUT_ERROR;

    if (code && PyUnicode_Check(code) && PyUnicode_GET_LENGTH(code) == 1) {
        uint8_t description[3] = {
            TAG_ARRAY,
            (uint8_t)PyUnicode_READ_CHAR(code, 0),
            (uint8_t)PyMemoryView_GET_BUFFER(view)->itemsize,
        };

        put = put_described(writer, description, sizeof(description), object, false);
    }
    Py_XDECREF(code);
    Py_XDECREF(view);
    return put;
}

/* Import array.array, unless one was met already. Returns 0, or -1 with an exception. */
static int array_import(void)
{
    PyObject *module;

    if (array_type)
        return 0;
    module = PyImport_ImportModule("array");
    array_type = module ? (PyTypeObject *)PyObject_GetAttrString(module, "array") : NULL;
    Py_XDECREF(module);
    return array_type ? 0 : -1;
}

/* Fill an empty array; false with an exception if its items have not the size they had there. */
static bool array_fill(PyObject *array, uint8_t itemsize, const uint8_t *data, size_t size)
{
    PyObject *view, *done = NULL;
    Py_buffer own;

    if (PyObject_GetBuffer(array, &own, PyBUF_FULL_RO) < 0)
        return false;
    PyBuffer_Release(&own);
    if (own.itemsize != itemsize || size % itemsize) {
        reader_refuse("an array's items have another size here");
        return false;
    }
    view = PyMemoryView_FromMemory((char *)(uintptr_t)data, (Py_ssize_t)size, PyBUF_READ);
    if (view)
        done = PyObject_CallMethod(array, "frombytes", "O", view);
    Py_XDECREF(view);
    Py_XDECREF(done);
    return done;
}

PyObject *buffer_read_array(struct args_reader *reader)
{
    const uint8_t *description = reader_take(reader, 2), *data;
    PyObject *array;
    size_t size;

    if (!description || !take_length(reader, &size))
        return NULL;
    data = reader_take(reader, size);
    if (!data || array_import() < 0)
        return NULL;
    array = PyObject_CallFunction((PyObject *)array_type, "C", (int)description[0]);
    if (array && !array_fill(array, description[1], data, size))
        Py_CLEAR(array);
    return array;
}

/* tag, read-only, dimensions, length of the format, itemsize, shape, format, length, padding, data */
static enum put put_memoryview(struct args_writer *writer, PyObject *object)
{
    const Py_buffer *view = PyMemoryView_GET_BUFFER(object);
    const char *format = view->format ? view->format : "B";
    size_t length = strlen(format);
    uint8_t head[4] = {TAG_MEMORYVIEW, view->readonly ? READ_ONLY : 0, (uint8_t)view->ndim,
                       (uint8_t)length};
    uint64_t itemsize = (uint64_t)view->itemsize;
    PyObject *packed = NULL;
    enum put put;

    if (length > UINT8_MAX || view->itemsize == 0)
        return PUT_INDIRECT;
    if (!PyBuffer_IsContiguous(view, 'C')) {
        packed = PyBytes_FromStringAndSize(NULL, view->len);
        /* Until Python 3.11 its buffer was not const. */
        if (!packed || PyBuffer_ToContiguous(PyBytes_AS_STRING(packed),
                                             (Py_buffer *)(uintptr_t)view, view->len, 'C') < 0) {
            Py_XDECREF(packed);
            return PUT_ERROR;
        }
        object = packed;
    }
    put = args_put(writer, head, sizeof(head)) < 0 || args_put(writer, &itemsize, 8) < 0 ? PUT_ERROR
                                                                                         : PUT_DONE;
    for (int i = 0; put == PUT_DONE && i < view->ndim; i++) {
        uint64_t extent = (uint64_t)view->shape[i];

        if (args_put(writer, &extent, 8) < 0)
            put = PUT_ERROR;
    }
    if (put == PUT_DONE)
        put = put_described(writer, format, length, object, true);
    Py_XDECREF(packed);
    return put;
}

PyObject *buffer_read_memoryview(struct args_reader *reader)
{
    const uint8_t *head = reader_take(reader, 3), *shape, *format, *data;
    PyObject *buffer;
    uint64_t itemsize;
    size_t size;

    if (!head || !READER_NUMBER(reader, itemsize))
        return NULL;
    if (head[1] > PyBUF_MAX_NDIM || head[0] > READ_ONLY)
        return reader_refuse("a buffer has too many dimensions");
    shape = reader_take(reader, 8 * (size_t)head[1]);
    format = shape ? reader_take(reader, head[2]) : NULL;
    if (!format || !take_length(reader, &size))
        return NULL;
    data = reader_take_buffer(reader, size);
    buffer = data ? buffer_over(reader, data, size) : NULL;
    if (buffer && !body_buffer_describe(buffer, itemsize, head[1], shape, format, head[2],
                                        head[0] & READ_ONLY))
        Py_CLEAR(buffer);
    return view_of(buffer);
}

enum put buffer_put(struct args_writer *writer, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    if (type == &PyByteArray_Type)
        return put_bytearray(writer, object);
    if (type == &PyMemoryView_Type)
        return put_memoryview(writer, object);
    if (ndarray_is_type(type))
        return ndarray_put(writer, object);
    return is_array(object) ? put_array(writer, object) : PUT_INDIRECT;
}
