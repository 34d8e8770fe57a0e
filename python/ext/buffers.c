/*
 * bytearray, array.array and memoryview; and the buffers that stay in a body.
 *
 * What stays in a body is seen through a body buffer, an object that exports a
 * part of the body and keeps the pin's object. Without a pin it holds a copy.
 */
#include "python/ext/args_internal.h"

#include "python/ext/ndarray.h"

struct body_buffer {
    PyObject_HEAD PyObject *pin; /* NULL: the data are in `own` */
    void *data;
    Py_ssize_t size, itemsize;
    Py_ssize_t *shape, *strides; /* `plain`, or one allocation with the format behind */
    Py_ssize_t plain[2];
    char *format; /* NULL: plain bytes */
    int ndim;
    bool read_only;
    _Alignas(16) uint8_t own[];
};

static PyTypeObject *array_type; /* array.array, NULL until the first is met */

static int body_buffer_export(PyObject *object, Py_buffer *view, int flags)
{
    struct body_buffer *self = (struct body_buffer *)object;

    if (self->read_only && (flags & PyBUF_WRITABLE)) {
        PyErr_SetString(PyExc_BufferError, "the buffer was sent read-only");
        view->obj = NULL;
        return -1;
    }
    if ((flags & PyBUF_F_CONTIGUOUS) == PyBUF_F_CONTIGUOUS && self->ndim > 1) {
        PyErr_SetString(PyExc_BufferError, "the buffer is not in Fortran order");
        view->obj = NULL;
        return -1;
    }
    *view = (Py_buffer){
        .buf = self->data,
        .obj = Py_NewRef(object),
        .len = self->size,
        .itemsize = self->itemsize,
        .readonly = self->read_only,
        .ndim = self->ndim,
        .format = flags & PyBUF_FORMAT ? self->format : NULL,
        .shape = flags & PyBUF_ND ? self->shape : NULL,
        .strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? self->strides : NULL,
    };
    if (!view->shape)
        view->ndim = 1; /* asked for as plain bytes */
    return 0;
}

static void body_buffer_dealloc(PyObject *object)
{
    struct body_buffer *self = (struct body_buffer *)object;

    Py_XDECREF(self->pin);
    if (self->shape != self->plain)
        PyMem_Free(self->shape);
    PyObject_Free(self);
}

static PyBufferProcs body_buffer_procs = {.bf_getbuffer = body_buffer_export};

static PyTypeObject body_buffer_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "c4py.BodyBuffer",
    .tp_doc = "The memory of a buffer that arrived in a message.",
    .tp_basicsize = sizeof(struct body_buffer),
    .tp_dealloc = body_buffer_dealloc,
    .tp_as_buffer = &body_buffer_procs,
    .tp_flags = Py_TPFLAGS_DEFAULT,
};

/* One over `size` bytes of the body, of one dimension of bytes until the caller says otherwise. */
static struct body_buffer *body_buffer_create(const struct args_reader *reader, const uint8_t *data,
                                              size_t size)
{
    bool in_place = reader_in_place(reader, data, size);
    struct body_buffer *self;

    if (PyType_Ready(&body_buffer_type) < 0)
        return NULL;
    self = PyObject_Malloc(sizeof(*self) + (in_place ? 0 : size));
    if (!self) {
        PyErr_NoMemory();
        return NULL;
    }
    PyObject_Init((PyObject *)self, &body_buffer_type);
    self->format = NULL;
    self->pin = NULL;
    self->data = self->own;
    self->size = (Py_ssize_t)size;
    self->itemsize = 1;
    self->ndim = 1;
    self->read_only = false;
    self->shape = self->plain;
    self->strides = self->plain + 1;
    self->shape[0] = self->size;
    self->strides[0] = 1;
    if (!in_place) {
        memcpy(self->own, data, size);
        return self;
    }
    self->data = (void *)(uintptr_t)data;
    self->pin = reader->pin->object(reader->pin->context);
    if (!self->pin)
        Py_CLEAR(self);
    return self;
}

PyObject *buffer_read_plain(struct args_reader *reader, size_t size)
{
    const uint8_t *data = reader_take_buffer(reader, size);
    struct body_buffer *buffer;
    PyObject *view;

    if (!data)
        return NULL;
    if (!reader_in_place(reader, data, size))
        return PyByteArray_FromStringAndSize((const char *)data, (Py_ssize_t)size);
    buffer = body_buffer_create(reader, data, size);
    if (!buffer)
        return NULL;
    view = PyMemoryView_FromObject((PyObject *)buffer);
    Py_DECREF(buffer);
    return view;
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

/* Its items, from bytes; checks that they are of the size that they had at the sender. */
static bool array_fill(PyObject *array, uint8_t itemsize, const uint8_t *data, size_t size)
{
    PyObject *number = PyObject_GetAttrString(array, "itemsize"), *view, *done = NULL;
    long expected = number ? PyLong_AsLong(number) : -1;

    Py_XDECREF(number);
    if (expected != itemsize || itemsize == 0 || size % itemsize) {
        reader_refuse("an array's items have another size here");
        return false;
    }
    view = PyMemoryView_FromMemory((char *)(uintptr_t)data, (Py_ssize_t)size, PyBUF_READ);
    if (view)
        done = PyObject_CallMethod(array, "frombytes", "O", view);
    Py_XDECREF(view);
    Py_XDECREF(done);
    return done != NULL;
}

PyObject *buffer_read_array(struct args_reader *reader)
{
    PyObject *module, *array;
    const uint8_t *description = reader_take(reader, 2), *data;
    size_t size;

    if (!description || !take_length(reader, &size))
        return NULL;
    data = reader_take(reader, size);
    module = data ? PyImport_ImportModule("array") : NULL;
    if (!module)
        return NULL;
    array = PyObject_CallMethod(module, "array", "C", (int)description[0]);
    Py_DECREF(module);
    if (array && !array_fill(array, description[1], data, size))
        Py_CLEAR(array);
    return array;
}

/* Bytes of an item of a format, -1 if memoryview does not look into items of that format. */
static Py_ssize_t format_itemsize(const char *format)
{
    if (*format == '@')
        format++;
    if (format[0] == 0 || format[1] != 0)
        return -1;
    switch (*format) {
    case 'c':
    case 'b':
    case 'B':
    case '?':
        return 1;
    case 'h':
    case 'H':
    case 'e':
        return 2;
    case 'i':
    case 'I':
        return sizeof(int);
    case 'l':
    case 'L':
        return sizeof(long);
    case 'q':
    case 'Q':
        return sizeof(long long);
    case 'n':
    case 'N':
        return sizeof(size_t);
    case 'P':
        return sizeof(void *);
    case 'f':
        return sizeof(float);
    case 'd':
        return sizeof(double);
    default:
        return -1;
    }
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
        if (!packed || PyBuffer_ToContiguous(PyBytes_AS_STRING(packed), view, view->len, 'C') < 0) {
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

/*
 * Give a body buffer its format and its shape. False with an exception if they do not fit its
 * size: memoryview trusts who exports to it.
 */
static bool body_buffer_describe(struct body_buffer *self, uint64_t itemsize, int ndim,
                                 const uint8_t *shape, const uint8_t *format, size_t length)
{
    Py_ssize_t *block = PyMem_Malloc(2 * (size_t)ndim * sizeof(*block) + length + 1);
    size_t size = itemsize;
    bool empty = false;

    if (!block) {
        PyErr_NoMemory();
        return false;
    }
    self->shape = block;
    self->strides = block + ndim;
    self->ndim = ndim;
    self->itemsize = (Py_ssize_t)itemsize;
    self->format = (char *)(block + 2 * ndim);
    memcpy(self->format, format, length);
    self->format[length] = 0;
    for (int i = ndim - 1; i >= 0; i--) {
        uint64_t extent;

        memcpy(&extent, shape + 8 * i, 8);
        self->shape[i] = (Py_ssize_t)extent;
        self->strides[i] = (Py_ssize_t)size;
        empty = empty || extent == 0;
        if (extent && (__builtin_mul_overflow(size, extent, &size) || size > PY_SSIZE_T_MAX)) {
            reader_refuse("a buffer's shape is too large");
            return false;
        }
    }
    if (itemsize == 0 || size > PY_SSIZE_T_MAX || (empty ? 0 : size) != (size_t)self->size) {
        reader_refuse("a buffer's shape does not fit its data");
        return false;
    }
    if (format_itemsize(self->format) >= 0 && format_itemsize(self->format) != self->itemsize) {
        reader_refuse("a buffer's items have another size here");
        return false;
    }
    return true;
}

PyObject *buffer_read_memoryview(struct args_reader *reader)
{
    const uint8_t *head = reader_take(reader, 3), *shape, *format, *data;
    struct body_buffer *buffer;
    PyObject *view = NULL;
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
    buffer = data ? body_buffer_create(reader, data, size) : NULL;
    if (!buffer)
        return NULL;
    buffer->read_only = head[0] & READ_ONLY;
    if (body_buffer_describe(buffer, itemsize, head[1], shape, format, head[2]))
        view = PyMemoryView_FromObject((PyObject *)buffer);
    Py_DECREF(buffer);
    return view;
}

enum put buffer_put(struct args_writer *writer, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    if (type == &PyByteArray_Type)
        return put_bytearray(writer, object);
    if (type == &PyMemoryView_Type)
        return put_memoryview(writer, object);
    if (ndarray_check(object))
        return ndarray_put(writer, object);
    return is_array(object) ? put_array(writer, object) : PUT_INDIRECT;
}
