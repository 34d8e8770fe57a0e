#define NUMPY_API_OWNER
#include "python/ext/ndarray.h"

#include "python/ext/dtype.h"

#if !defined(NPY_MAXDIMS) || NPY_MAXDIMS < 64
#define MAX_DIMS 64 /* NumPy 2's; more than a 1.x takes is refused by it */
#else
#define MAX_DIMS NPY_MAXDIMS
#endif

/* An array without items still gets memory for one: no body vouches for more than this. */
#define EMPTY_ITEMSIZE (64 * 1024)

PyTypeObject *ndarray_type;

static bool numpy_unusable; /* its C API could not be imported: its arrays are pickled */

int numpy_load(void)
{
    if (ndarray_type)
        return 0;
    if (_import_array() < 0) {
        if (!PyErr_Occurred())
            PyErr_SetString(PyExc_ImportError, "NumPy's C API cannot be imported");
        return -1;
    }
    if (dtype_load() < 0)
        return -1;
    ndarray_type = &PyArray_Type;
    return 0;
}

/* Is it an object of a class that NumPy's C code defines? Then NumPy is loaded when this returns. */
static bool is_of_numpy(const PyTypeObject *type)
{
    if ((type->tp_flags & Py_TPFLAGS_HEAPTYPE) || strncmp(type->tp_name, "numpy.", 6) != 0)
        return false;
    if (ndarray_type)
        return true;
    if (!numpy_unusable && numpy_load() < 0) {
        PyErr_Clear();
        numpy_unusable = true;
    }
    return !numpy_unusable;
}

bool ndarray_is_type(PyTypeObject *type)
{
    if (!ndarray_type && !is_of_numpy(type))
        return false;
    return type == ndarray_type;
}

/* Is an array that must be packed better packed in Fortran order, as most of it lies already? */
static bool prefers_fortran(PyArrayObject *array)
{
    int ndim = PyArray_NDIM(array);
    npy_intp first, last;

    if (ndim < 2)
        return false;
    first = PyArray_STRIDE(array, 0);
    last = PyArray_STRIDE(array, ndim - 1);
    return first && last && Py_ABS(first) < Py_ABS(last);
}

enum put ndarray_describe(PyObject *object, struct array_form *form)
{
    PyArrayObject *array = (PyArrayObject *)object;
    PyArray_Descr *descr = PyArray_DESCR(array);

    form->description = NULL;
    form->size = (size_t)PyArray_NBYTES(array);
    form->fortran = !PyArray_IS_C_CONTIGUOUS(array) &&
                    (PyArray_IS_F_CONTIGUOUS(array) || prefers_fortran(array));
    form->contiguous = PyArray_IS_C_CONTIGUOUS(array) || PyArray_IS_F_CONTIGUOUS(array)
                           ? PyArray_DATA(array)
                           : NULL;
    form->code = dtype_code(descr);
    if (form->code)
        return PUT_DONE;
    if (form->size == 0 && PyDataType_ELSIZE(descr) > EMPTY_ITEMSIZE)
        return PUT_INDIRECT;
    if (dtype_describe(descr, &form->description) < 0)
        return PUT_ERROR;
    return form->description ? PUT_DONE : PUT_INDIRECT;
}

enum put ndarray_put(struct args_writer *writer, PyObject *object)
{
    PyArrayObject *array = (PyArrayObject *)object;
    int ndim = PyArray_NDIM(array);
    struct array_form form;
    enum put put = ndarray_describe(object, &form);
    size_t described = form.description ? 2 + (size_t)PyBytes_GET_SIZE(form.description) : 0;
    uint8_t *room;

    if (put != PUT_DONE)
        return put;
    room = writer_extend(writer, 4 + described + 8 * (size_t)ndim);
    if (!room) {
        Py_XDECREF(form.description);
        return PUT_ERROR;
    }
    *room++ = form.code ? TAG_NDARRAY : TAG_NDARRAY_DTYPE;
    *room++ = form.fortran ? FORTRAN_ORDER : 0;
    *room++ = (uint8_t)ndim;
    *room++ = form.code;
    if (form.description) {
        uint16_t length = (uint16_t)(described - 2);

        memcpy(room, &length, 2);
        memcpy(room + 2, PyBytes_AS_STRING(form.description), length);
        room += described;
        Py_DECREF(form.description);
    }
    for (int i = 0; i < ndim; i++) {
        uint64_t extent = (uint64_t)PyArray_DIM(array, i);

        memcpy(room + 8 * i, &extent, 8);
    }
    if (writer_align(writer, form.size) < 0)
        return PUT_ERROR;
    return writer_put_data(writer, object, NULL, form.size, form.fortran);
}

/* One dimension of a copy. */
struct extent {
    npy_intp count, stride;
};

/* Copy `count` runs of `run` bytes; the usual sizes by a constant, which compiles to one move. */
static uint8_t *copy_runs(uint8_t *to, const uint8_t *from, struct extent inner, size_t run)
{
#define COPY_RUNS(size)                                                                            \
    for (npy_intp i = 0; i < inner.count; i++, to += (size), from += inner.stride)                 \
    memcpy(to, from, (size))

    switch (run) {
    case 1:
        COPY_RUNS(1);
        break;
    case 2:
        COPY_RUNS(2);
        break;
    case 4:
        COPY_RUNS(4);
        break;
    case 8:
        COPY_RUNS(8);
        break;
    case 16:
        COPY_RUNS(16);
        break;
    default:
        COPY_RUNS(run);
        break;
    }
#undef COPY_RUNS
    return to;
}

/*
 * The dimensions of a copy from the outermost to the innermost, without those that add nothing;
 * those that lie behind one another as in the packed result become one run. Returns how many.
 */
static int plan_copy(PyArrayObject *array, bool fortran, struct extent *extents, size_t *run)
{
    int ndim = PyArray_NDIM(array), count = 0;

    *run = (size_t)PyArray_ITEMSIZE(array);
    for (int i = 0; i < ndim; i++) {
        int axis = fortran ? ndim - 1 - i : i;
        struct extent extent = {PyArray_DIM(array, axis), PyArray_STRIDE(array, axis)};

        if (extent.count == 1)
            continue;
        if (count && extents[count - 1].stride == extent.count * extent.stride) {
            extents[count - 1].count *= extent.count;
            extents[count - 1].stride = extent.stride;
        } else {
            extents[count++] = extent;
        }
    }
    if (count && extents[count - 1].stride == (npy_intp)*run)
        *run *= (size_t)extents[--count].count;
    return count;
}

void ndarray_copy(uint8_t *to, PyObject *object, size_t size, bool fortran)
{
    PyArrayObject *array = (PyArrayObject *)object;
    struct extent extents[MAX_DIMS], inner = {1, 0};
    npy_intp at[MAX_DIMS] = {0};
    const uint8_t *from = PyArray_DATA(array);
    size_t run;
    int outer;

    if (size != (size_t)PyArray_NBYTES(array)) { /* resized by the code that pickled the others */
        memset(to, 0, size);
        return;
    }
    if (size == 0)
        return;
    outer = plan_copy(array, fortran, extents, &run);
    if (outer)
        inner = extents[--outer];
    for (;;) {
        int i = outer - 1;

        to = copy_runs(to, from, inner, run);
        while (i >= 0 && ++at[i] == extents[i].count) {
            from -= extents[i].stride * (extents[i].count - 1);
            at[i--] = 0;
        }
        if (i < 0)
            return;
        from += extents[i].stride;
    }
}

enum put ndarray_put_scalar(struct args_writer *writer, PyObject *object)
{
    PyArray_Descr *descr;
    enum put put = PUT_INDIRECT;
    uint8_t code, *room;

    if (!is_of_numpy(Py_TYPE(object)) || !PyArray_IsScalar(object, Generic))
        return PUT_INDIRECT;
    descr = PyArray_DescrFromTypeObject((PyObject *)Py_TYPE(object));
    if (!descr)
        return PUT_ERROR;
    code = descr->typeobj == Py_TYPE(object) ? dtype_code(descr) : 0;
    if (code) {
        size_t size = (size_t)PyDataType_ELSIZE(descr);

        room = writer_extend(writer, 2 + size);
        if (room) {
            room[0] = TAG_SCALAR;
            room[1] = code;
            memset(room + 2, 0, size);
            PyArray_ScalarAsCtype(object, room + 2);
        }
        put = room ? PUT_DONE : PUT_ERROR;
    }
    Py_DECREF(descr);
    return put;
}

PyObject *ndarray_read_scalar(struct args_reader *reader)
{
    _Alignas(16) uint8_t value[32];
    PyArray_Descr *descr;
    const uint8_t *data;
    uint8_t code;

    if (!READER_NUMBER(reader, code) || numpy_load() < 0)
        return NULL;
    descr = dtype_of_code(code);
    if (!descr)
        return reader_refuse("a NumPy scalar has an unknown dtype");
    data = reader_take(reader, (size_t)PyDataType_ELSIZE(descr));
    if (!data)
        return NULL;
    memcpy(value, data, (size_t)PyDataType_ELSIZE(descr));
    return PyArray_Scalar(value, descr, NULL);
}

/* The number of bytes of an array of this shape; false with an exception if it cannot be. */
static bool shape_size(const npy_intp *shape, int ndim, npy_intp itemsize, size_t *size)
{
    bool empty = false;

    *size = (size_t)itemsize;
    for (int i = 0; i < ndim; i++) {
        size_t extent = (size_t)shape[i];

        empty = empty || extent == 0;
        if (extent && (__builtin_mul_overflow(*size, extent, size) || *size > NPY_MAX_INTP)) {
            reader_refuse("an array's shape is too large");
            return false;
        }
    }
    if (empty)
        *size = 0;
    if (empty && itemsize > EMPTY_ITEMSIZE) {
        reader_refuse("an empty array's items are too large");
        return false;
    }
    return true;
}

/* The dtype of a code, or of a description of `length` bytes if the code is 0. New reference. */
static PyArray_Descr *find_dtype(uint8_t code, const uint8_t *description, size_t length)
{
    PyArray_Descr *descr;

    if (!code)
        return dtype_of_description(description, length);
    descr = dtype_of_code(code);
    if (!descr)
        return reader_refuse("an array's dtype is unknown");
    Py_INCREF(descr);
    return descr;
}

/* An array over `data`, which `owner` keeps; without an owner over a copy. Steals descr. */
static PyObject *array_create(PyArray_Descr *descr, int ndim, npy_intp *shape, bool fortran,
                              PyObject *owner, const void *data, size_t size)
{
    int flags = fortran ? NPY_ARRAY_FARRAY : NPY_ARRAY_CARRAY;
    PyArrayObject *array;

    array = (PyArrayObject *)PyArray_NewFromDescr(&PyArray_Type, descr, ndim, shape, NULL,
                                                  owner ? (void *)(uintptr_t)data : NULL,
                                                  owner ? flags : fortran, NULL);
    if (!array)
        return NULL;
    if (!owner) {
        if (size)
            memcpy(PyArray_DATA(array), data, size);
    } else if (PyArray_SetBaseObject(array, Py_NewRef(owner)) < 0) { /* takes the reference */
        Py_CLEAR(array);
    }
    return (PyObject *)array;
}

PyObject *ndarray_base(PyObject *object)
{
    if (ndarray_type == NULL || Py_TYPE(object) != ndarray_type)
        return NULL;
    return PyArray_BASE((PyArrayObject *)object);
}

PyObject *ndarray_read(struct args_reader *reader, bool described)
{
    const uint8_t *head = reader_take(reader, 3), *extents, *data = NULL;
    PyObject *pin = NULL, *array = NULL;
    npy_intp shape[MAX_DIMS];
    PyArray_Descr *descr;
    uint16_t length = 0;
    size_t size;

    if (!head || numpy_load() < 0 || (described && !READER_NUMBER(reader, length)))
        return NULL;
    if (head[0] > FORTRAN_ORDER || head[1] > MAX_DIMS || described == (head[2] != 0))
        return reader_refuse("an array has unknown properties");
    data = reader_take(reader, length);
    extents = reader_take(reader, 8 * (size_t)head[1]);
    descr = data && extents ? find_dtype(head[2], data, length) : NULL;
    if (!descr)
        return NULL;
    memcpy(shape, extents, 8 * (size_t)head[1]);
    data = NULL;
    if (shape_size(shape, head[1], PyDataType_ELSIZE(descr), &size)) {
        if (size <= reader_left(reader))
            data = reader_take_buffer(reader, size);
        else
            reader_refuse("it is cut short");
    }
    if (data && reader_in_place(reader, data, size)) {
        pin = reader->pin->object(reader->pin->context);
        if (!pin)
            data = NULL;
    }
    if (data)
        array = array_create(descr, head[1], shape, head[0] & FORTRAN_ORDER, pin, data, size);
    else
        Py_DECREF(descr);
    Py_XDECREF(pin);
    return array;
}

PyObject *ndarray_restore(PyObject *buffer, uint8_t code, PyObject *description, PyObject *extents,
                          bool fortran)
{
    PyObject *owner = NULL, *array = NULL;
    Py_ssize_t ndim = PyTuple_GET_SIZE(extents), length = 0;
    const char *bytes = NULL;
    npy_intp shape[MAX_DIMS];
    PyArray_Descr *descr;
    Py_buffer view;
    size_t size;

    if (numpy_load() < 0 || ndim > MAX_DIMS)
        return ndim > MAX_DIMS ? reader_refuse("an array has too many dimensions") : NULL;
    for (Py_ssize_t i = 0; i < ndim; i++) {
        shape[i] = PyLong_AsSsize_t(PyTuple_GET_ITEM(extents, i));
        if (shape[i] == -1 && PyErr_Occurred())
            return NULL;
    }
    if (description) {
        bytes = PyBytes_AS_STRING(description);
        length = PyBytes_GET_SIZE(description);
    }
    descr = find_dtype(code, (const uint8_t *)bytes, (size_t)length);
    if (!descr)
        return NULL;
    if (!shape_size(shape, (int)ndim, PyDataType_ELSIZE(descr), &size) ||
        PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE) < 0) {
        Py_DECREF(descr);
        return NULL;
    }
    if (!view.readonly)
        owner = PyMemoryView_FromObject(buffer); /* which also keeps a bytearray from resizing */
    if ((size_t)view.len != size) {
        reader_refuse("an array's shape does not fit its data");
        Py_DECREF(descr);
    } else if (view.readonly || owner) {
        array = array_create(descr, (int)ndim, shape, fortran, owner, view.buf, size);
    } else {
        Py_DECREF(descr);
    }
    PyBuffer_Release(&view);
    Py_XDECREF(owner);
    return array;
}
