/*
 * Reading arguments. Nothing in a body is trusted: every length is held against
 * what is left of the body before it takes part in anything.
 */
#include "python/ext/args_internal.h"

#include "python/ext/ndarray.h"
#include "python/ext/pickling.h"

static PyObject *read_object(struct args_reader *reader);

void *reader_refuse(const char *reason)
{
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_ValueError, "malformed message: %s", reason);
    return NULL;
}

const uint8_t *args_take(struct args_reader *reader, size_t size)
{
    return reader_take(reader, size);
}

const uint8_t *reader_take_buffer(struct args_reader *reader, size_t size)
{
    size_t padding = args_padding((size_t)(reader->at - reader->start), size);

    if (!reader_take(reader, padding))
        return NULL;
    return reader_take(reader, size);
}

PyObject *args_take_object(struct args_reader *reader)
{
    PyObject *object;

    if (reader->depth >= READ_DEPTH)
        return reader_refuse("it nests too deep");
    reader->depth++;
    object = read_object(reader);
    reader->depth--;
    return object;
}

static PyObject *read_big_int(struct args_reader *reader)
{
    const uint8_t *bytes;
    uint32_t size;

    if (!READER_NUMBER(reader, size))
        return NULL;
    bytes = reader_take(reader, size);
    if (!bytes)
        return NULL;
#if PY_VERSION_HEX >= 0x030d0000
    return PyLong_FromNativeBytes(bytes, size, Py_ASNATIVEBYTES_LITTLE_ENDIAN);
#else
    return _PyLong_FromByteArray(bytes, size, 1, 1);
#endif
}

/* The bytes of a string whose length has 1 byte, or 8 if `wide`. */
static const uint8_t *take_string(struct args_reader *reader, bool wide, Py_ssize_t *size)
{
    uint64_t length;
    uint8_t narrow;

    if (wide) {
        if (!READER_NUMBER(reader, length))
            return NULL;
    } else {
        if (!READER_NUMBER(reader, narrow))
            return NULL;
        length = narrow;
    }
    if (length > reader_left(reader))
        return reader_refuse("it is cut short");
    *size = (Py_ssize_t)length;
    return reader_take(reader, length);
}

static PyObject *read_str(struct args_reader *reader, bool wide)
{
    Py_ssize_t size;
    const uint8_t *utf8 = take_string(reader, wide, &size);

    return utf8 ? PyUnicode_DecodeUTF8((const char *)utf8, size, "surrogatepass") : NULL;
}

static PyObject *read_bytes(struct args_reader *reader, bool wide)
{
    Py_ssize_t size;
    const uint8_t *bytes = take_string(reader, wide, &size);

    return bytes ? PyBytes_FromStringAndSize((const char *)bytes, size) : NULL;
}

static PyObject *read_tuple(struct args_reader *reader)
{
    PyObject *tuple;
    uint16_t count;

    if (!READER_NUMBER(reader, count))
        return NULL;
    if (count > reader_left(reader))
        return reader_refuse("it is cut short");
    tuple = PyTuple_New(count);
    if (!tuple)
        return NULL;
    for (uint16_t i = 0; i < count; i++) {
        PyObject *item = args_take_object(reader);

        if (!item) {
            Py_DECREF(tuple);
            return NULL;
        }
        PyTuple_SET_ITEM(tuple, i, item);
    }
    return tuple;
}

static PyObject *read_object(struct args_reader *reader)
{
    uint8_t tag;

    if (!READER_NUMBER(reader, tag))
        return NULL;
    switch (tag) {
    case TAG_NONE:
        Py_RETURN_NONE;
    case TAG_FALSE:
        Py_RETURN_FALSE;
    case TAG_TRUE:
        Py_RETURN_TRUE;
    case TAG_INT8: {
        int8_t value;

        return READER_NUMBER(reader, value) ? PyLong_FromLong(value) : NULL;
    }
    case TAG_INT32: {
        int32_t value;

        return READER_NUMBER(reader, value) ? PyLong_FromLong(value) : NULL;
    }
    case TAG_INT64: {
        int64_t value;

        return READER_NUMBER(reader, value) ? PyLong_FromLongLong(value) : NULL;
    }
    case TAG_INT:
        return read_big_int(reader);
    case TAG_FLOAT: {
        double value;

        return READER_NUMBER(reader, value) ? PyFloat_FromDouble(value) : NULL;
    }
    case TAG_COMPLEX: {
        Py_complex value;

        return READER_NUMBER(reader, value) ? PyComplex_FromCComplex(value) : NULL;
    }
    case TAG_STR8:
    case TAG_STR:
        return read_str(reader, tag == TAG_STR);
    case TAG_BYTES8:
    case TAG_BYTES:
        return read_bytes(reader, tag == TAG_BYTES);
    case TAG_TUPLE:
        return read_tuple(reader);
    case TAG_PICKLE:
        return pickling_read(reader);
    case TAG_BYTEARRAY:
        return buffer_read_bytearray(reader);
    case TAG_ARRAY:
        return buffer_read_array(reader);
    case TAG_MEMORYVIEW:
        return buffer_read_memoryview(reader);
    case TAG_NDARRAY:
    case TAG_NDARRAY_DTYPE:
        return ndarray_read(reader, tag == TAG_NDARRAY_DTYPE);
    case TAG_SCALAR:
        return ndarray_read_scalar(reader);
    default:
        break;
    }
    if (tag >= ARGS_RUNTIME_TAG && args_hooks.read)
        return args_hooks.read(reader, tag);
    return reader_refuse("it has an argument of an unknown kind");
}

/* One argument into *slot; NULL there if it is in the pickle that follows. -1 with an exception. */
static int read_argument(struct args_reader *reader, PyObject **slot, unsigned *pickled)
{
    if (reader->at < reader->end && *reader->at == TAG_PICKLED) {
        reader->at++;
        ++*pickled;
        *slot = NULL;
        return 0;
    }
    *slot = read_object(reader);
    return *slot ? 0 : -1;
}

static int read_keywords(struct args_reader *reader, PyObject **slot, unsigned *pickled)
{
    uint32_t count;
    uint8_t tag;

    *slot = NULL;
    if (reader->at < reader->end && *reader->at == TAG_PICKLED)
        return read_argument(reader, slot, pickled);
    if (!READER_NUMBER(reader, tag) || !READER_NUMBER(reader, count))
        return -1;
    if (tag != TAG_KEYWORDS) {
        reader_refuse("keywords are missing");
        return -1;
    }
    *slot = PyDict_New();
    for (uint32_t i = 0; *slot && i < count; i++) {
        PyObject *name = read_object(reader), *value = NULL;

        if (name && !PyUnicode_CheckExact(name))
            reader_refuse("a keyword is no string");
        else if (name)
            value = read_object(reader);
        if (!value || PyDict_SetItem(*slot, name, value) < 0)
            Py_CLEAR(*slot);
        Py_XDECREF(name);
        Py_XDECREF(value);
    }
    return *slot ? 0 : -1;
}

/* Put the objects of the pickle at the end where they belong: into the empty ones of `out`. */
static int read_pickled(struct args_reader *reader, PyObject **out, unsigned slots,
                        unsigned pickled)
{
    PyObject *objects = pickling_read(reader);
    unsigned next = 0;

    if (!objects)
        return -1;
    if (pickled > 1 && (!PyTuple_CheckExact(objects) || PyTuple_GET_SIZE(objects) != pickled)) {
        Py_DECREF(objects);
        reader_refuse("its pickle holds another number of arguments");
        return -1;
    }
    for (unsigned i = 0; i < slots; i++)
        if (!out[i])
            out[i] = Py_NewRef(pickled > 1 ? PyTuple_GET_ITEM(objects, next++) : objects);
    Py_DECREF(objects);
    return 0;
}

int args_decode(const uint8_t *body, size_t size, unsigned count, bool keywords,
                const struct args_pin *pin, PyObject **out)
{
    struct args_reader reader = {.start = body, .at = body, .end = body + size, .pin = pin};
    unsigned slots = 0, pickled = 0;
    int result = 0;

    while (result == 0 && slots < count)
        result = read_argument(&reader, &out[slots++], &pickled);
    if (result == 0 && keywords)
        result = read_keywords(&reader, &out[slots++], &pickled);
    if (result == 0 && pickled)
        result = read_pickled(&reader, out, slots, pickled);
    if (result == 0 && keywords && !PyDict_CheckExact(out[count])) {
        reader_refuse("keywords are missing");
        result = -1;
    }
    if (result == 0 && reader.at != reader.end) {
        reader_refuse("more follows its last argument");
        result = -1;
    }
    if (result < 0)
        for (unsigned i = 0; i < slots; i++)
            Py_CLEAR(out[i]);
    return result;
}
