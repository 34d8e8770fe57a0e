#include "python/ext/body_buffer.h"

struct body_buffer {
    PyObject ob_base;
    PyObject *owner; /* NULL: the data are in `own` */
    void *data;
    Py_ssize_t size, itemsize;
    Py_ssize_t *shape, *strides; /* `plain`, or one allocation with the format behind */
    Py_ssize_t plain[2];
    char *format; /* NULL: plain bytes */
    int ndim;
    bool read_only;
    _Alignas(16) uint8_t own[];
};

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

    Py_XDECREF(self->owner);
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

PyObject *body_buffer_create(PyObject *owner, const void *data, size_t size)
{
    struct body_buffer *self;

    if (PyType_Ready(&body_buffer_type) < 0)
        return NULL;
    if (size > (size_t)PY_SSIZE_T_MAX - sizeof(*self))
        return PyErr_NoMemory();
    self = PyObject_Malloc(sizeof(*self) + (owner ? 0 : size));
    if (!self)
        return PyErr_NoMemory();
    PyObject_Init((PyObject *)self, &body_buffer_type);
    Py_XINCREF(owner);
    self->owner = owner;
    self->data = owner ? (void *)(uintptr_t)data : self->own;
    self->size = (Py_ssize_t)size;
    self->itemsize = 1;
    self->shape = self->plain;
    self->strides = self->plain + 1;
    self->shape[0] = self->size;
    self->strides[0] = 1;
    self->format = NULL;
    self->ndim = 1;
    self->read_only = false;
    if (!owner && data)
        memcpy(self->own, data, size);
    return (PyObject *)self;
}

void *body_buffer_data(PyObject *buffer)
{
    return ((struct body_buffer *)buffer)->data;
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

bool body_buffer_describe(PyObject *buffer, uint64_t itemsize, int ndim, const void *shape,
                          const void *format, size_t length, bool read_only)
{
    struct body_buffer *self = (struct body_buffer *)buffer;
    Py_ssize_t *block = PyMem_Malloc(2 * (size_t)ndim * sizeof(*block) + length + 1);
    size_t size = itemsize;
    bool empty = false;

    if (!block) {
        PyErr_NoMemory();
        return false;
    }
    self->read_only = read_only;
    self->shape = block;
    self->strides = block + ndim;
    self->ndim = ndim;
    self->itemsize = (Py_ssize_t)itemsize;
    self->format = (char *)(block + 2 * ndim);
    memcpy(self->format, format, length);
    self->format[length] = 0;
    for (int i = ndim - 1; i >= 0; i--) {
        uint64_t extent;

        memcpy(&extent, (const uint8_t *)shape + 8 * i, 8);
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
