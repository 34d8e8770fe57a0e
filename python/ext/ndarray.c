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

bool ndarray_check(PyObject *object)
{
    if (ndarray_type)
        return Py_TYPE(object) == ndarray_type;
    return is_of_numpy(Py_TYPE(object)) && Py_TYPE(object) == ndarray_type;
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

enum put ndarray_put(struct args_writer *writer, PyObject *object)
{
    PyArrayObject *array = (PyArrayObject *)object;
    PyArray_Descr *descr = PyArray_DESCR(array);
    size_t size = (size_t)PyArray_NBYTES(array);
    int ndim = PyArray_NDIM(array);
    uint8_t code = dtype_code(descr), *room;
    PyObject *description = NULL;
    size_t described = 0;
    bool fortran;

    if (!code) {
        if (size == 0 && PyDataType_ELSIZE(descr) > EMPTY_ITEMSIZE)
            return PUT_INDIRECT;
        if (dtype_describe(descr, &description) < 0)
            return PUT_ERROR;
        if (!description)
            return PUT_INDIRECT;
        described = 2 + (size_t)PyBytes_GET_SIZE(description);
    }
    fortran = !PyArray_IS_C_CONTIGUOUS(array) &&
              (PyArray_IS_F_CONTIGUOUS(array) || prefers_fortran(array));
    room = writer_extend(writer, 4 + described + 8 * (size_t)ndim);
    if (!room) {
        Py_XDECREF(description);
        return PUT_ERROR;
    }
    *room++ = code ? TAG_NDARRAY : TAG_NDARRAY_DTYPE;
    *room++ = fortran ? FORTRAN_ORDER : 0;
    *room++ = (uint8_t)ndim;
    *room++ = code;
    if (description) {
        uint16_t length = (uint16_t)PyBytes_GET_SIZE(description);

        memcpy(room, &length, 2);
        memcpy(room + 2, PyBytes_AS_STRING(description), length);
        room += described;
        Py_DECREF(description);
    }
    for (int i = 0; i < ndim; i++) {
        uint64_t extent = (uint64_t)PyArray_DIM(array, i);

        memcpy(room + 8 * i, &extent, 8);
    }
    if (writer_align(writer, size) < 0)
        return PUT_ERROR;
    return writer_put_data(writer, object, NULL, size, fortran);
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

/* The shape of an array, and with it the number of its bytes; false with an exception. */
static bool read_shape(struct args_reader *reader, int ndim, npy_intp itemsize, npy_intp *shape,
                       size_t *size)
{
    const uint8_t *extents = reader_take(reader, 8 * (size_t)ndim);
    bool empty = false;

    if (!extents)
        return false;
    *size = (size_t)itemsize;
    for (int i = 0; i < ndim; i++) {
        uint64_t extent;

        memcpy(&extent, extents + 8 * i, 8);
        shape[i] = (npy_intp)extent;
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

/* An array of these bytes: over them if they may stay, else a copy. Steals descr. */
static PyObject *array_create(const struct args_reader *reader, PyArray_Descr *descr, int ndim,
                              npy_intp *shape, bool fortran, const uint8_t *data, size_t size)
{
    bool in_place = reader_in_place(reader, data, size);
    int flags = fortran ? NPY_ARRAY_FARRAY : NPY_ARRAY_CARRAY;
    PyObject *array, *pin;

    array = PyArray_NewFromDescr(&PyArray_Type, descr, ndim, shape, NULL,
                                 in_place ? (void *)(uintptr_t)data : NULL,
                                 in_place ? flags : fortran, NULL);
    if (!array)
        return NULL;
    if (!in_place) {
        if (size)
            memcpy(PyArray_DATA((PyArrayObject *)array), data, size);
        return array;
    }
    pin = reader->pin->object(reader->pin->context);
    if (!pin || PyArray_SetBaseObject((PyArrayObject *)array, pin) < 0) /* steals the pin */
        Py_CLEAR(array);
    return array;
}

PyObject *ndarray_read(struct args_reader *reader, bool described)
{
    const uint8_t *head = reader_take(reader, 3), *data;
    npy_intp shape[MAX_DIMS];
    PyArray_Descr *descr;
    uint16_t length;
    size_t size;

    if (!head || numpy_load() < 0)
        return NULL;
    if (head[0] > FORTRAN_ORDER || head[1] > MAX_DIMS)
        return reader_refuse("an array has too many dimensions");
    if (described) {
        if (head[2] || !READER_NUMBER(reader, length))
            return reader_refuse("an array's dtype is unknown");
        data = reader_take(reader, length);
        descr = data ? dtype_of_description(data, length) : NULL;
        if (!descr)
            return NULL;
    } else {
        descr = dtype_of_code(head[2]);
        if (!descr)
            return reader_refuse("an array's dtype is unknown");
        Py_INCREF(descr);
    }
    data = NULL;
    if (read_shape(reader, head[1], PyDataType_ELSIZE(descr), shape, &size)) {
        if (size <= reader_left(reader))
            data = reader_take_buffer(reader, size);
        else
            reader_refuse("it is cut short");
    }
    if (!data) {
        Py_DECREF(descr);
        return NULL;
    }
    return array_create(reader, descr, head[1], shape, head[0] & FORTRAN_ORDER, data, size);
}
