#include "python/ext/dtype.h"

/*
 * A description is one object in the encoding of arguments:
 *     str                                             NumPy's own short form: dtype.str
 *     (base, shape)                                   a subarray in a field
 *     (names, bases, offsets, titles, itemsize, aligned)   a structure
 * where a base is a description again. NumPy's constructor builds and checks the
 * dtype that it describes, so no description, however malformed, does harm.
 */

/* Codes by type number; 0 for what is not plain. NumPy's letters (dtype.char). */
static const uint8_t codes[NPY_HALF + 1] = {
    [NPY_BOOL] = '?',        [NPY_BYTE] = 'b',       [NPY_UBYTE] = 'B',     [NPY_SHORT] = 'h',
    [NPY_USHORT] = 'H',      [NPY_INT] = 'i',        [NPY_UINT] = 'I',      [NPY_LONG] = 'l',
    [NPY_ULONG] = 'L',       [NPY_LONGLONG] = 'q',   [NPY_ULONGLONG] = 'Q', [NPY_FLOAT] = 'f',
    [NPY_DOUBLE] = 'd',      [NPY_LONGDOUBLE] = 'g', [NPY_CFLOAT] = 'F',    [NPY_CDOUBLE] = 'D',
    [NPY_CLONGDOUBLE] = 'G', [NPY_HALF] = 'e',
};

static PyArray_Descr *plain[NPY_HALF + 1]; /* NumPy's own object for each code, by type number */
static uint8_t type_numbers[128];          /* 1 + type number, by code */

/* Descriptions of the dtypes last sent, by address. */
struct sent {
    PyArray_Descr *descr; /* held, so the address stays its own */
    PyObject *names;      /* held: dtype.names can be assigned to */
    PyObject *description;
};

enum { SENT = 64, RECEIVED = 256, REMEMBERED_SIZE = 4096 };

static struct sent sent[SENT];
static PyObject *received; /* dict: description -> dtype */

int dtype_load(void)
{
    for (int number = 0; number <= NPY_HALF; number++) {
        if (!codes[number] || plain[number])
            continue;
        plain[number] = PyArray_DescrFromType(number);
        if (!plain[number])
            return -1;
        type_numbers[codes[number]] = (uint8_t)(number + 1);
    }
    if (!received)
        received = PyDict_New();
    return received ? 0 : -1;
}

uint8_t dtype_code(const PyArray_Descr *descr)
{
    int number = descr->type_num;

    if (number < 0 || number > NPY_HALF || !codes[number])
        return 0;
    /* an equal dtype may be another object: one that was unpickled, say */
    if (descr != plain[number] &&
        (!PyArray_ISNBO(descr->byteorder) || descr->typeobj != plain[number]->typeobj ||
         PyDataType_METADATA(descr)))
        return 0;
    return codes[number];
}

PyArray_Descr *dtype_of_code(uint8_t code)
{
    return code < sizeof(type_numbers) && type_numbers[code] ? plain[type_numbers[code] - 1] : NULL;
}

/* Could its items travel as bytes, and is its type NumPy's own? */
static bool is_describable(const PyArray_Descr *descr)
{
    PyArray_Descr *own;
    bool same;

    if (descr->type_num < 0 || descr->type_num > NPY_HALF || PyDataType_REFCHK(descr) ||
        PyDataType_METADATA(descr))
        return false;
    own = PyArray_DescrFromType(descr->type_num);
    if (!own) {
        PyErr_Clear();
        return false;
    }
    same = own->typeobj == descr->typeobj;
    Py_DECREF(own);
    return same;
}

static PyObject *describe(PyArray_Descr *descr, unsigned depth);

/* One attribute of one field into each of the lists. */
static int describe_field(PyObject *field, Py_ssize_t i, PyObject *bases, PyObject *offsets,
                          PyObject *titles, unsigned depth)
{
    PyObject *title, *base;

    if (!field || PyTuple_GET_SIZE(field) < 2)
        return -1;
    title = PyTuple_GET_SIZE(field) > 2 ? PyTuple_GET_ITEM(field, 2) : Py_None;
    if (title != Py_None && !PyUnicode_CheckExact(title))
        return -1;
    base = describe((PyArray_Descr *)PyTuple_GET_ITEM(field, 0), depth);
    if (!base)
        return -1;
    PyTuple_SET_ITEM(bases, i, base);
    PyTuple_SET_ITEM(offsets, i, Py_NewRef(PyTuple_GET_ITEM(field, 1)));
    PyTuple_SET_ITEM(titles, i, Py_NewRef(title));
    return 0;
}

static PyObject *describe_structure(PyArray_Descr *descr, unsigned depth)
{
    PyObject *names = PyDataType_NAMES(descr), *result = NULL;
    Py_ssize_t count = PyTuple_GET_SIZE(names);
    PyObject *bases = PyTuple_New(count), *offsets = PyTuple_New(count);
    PyObject *titles = PyTuple_New(count);
    Py_ssize_t i = 0;

    if (bases && offsets && titles) {
        while (i < count &&
               describe_field(PyDict_GetItem(PyDataType_FIELDS(descr), PyTuple_GET_ITEM(names, i)),
                              i, bases, offsets, titles, depth) == 0)
            i++;
        if (i == count)
            result = Py_BuildValue(
                "(OOOOnO)", names, bases, offsets, titles, (Py_ssize_t)PyDataType_ELSIZE(descr),
                PyDataType_FLAGCHK(descr, NPY_ALIGNED_STRUCT) ? Py_True : Py_False);
    }
    Py_XDECREF(bases);
    Py_XDECREF(offsets);
    Py_XDECREF(titles);
    return result;
}

/* A description as an object: new reference; NULL, perhaps without an exception, if it has none. */
static PyObject *describe(PyArray_Descr *descr, unsigned depth)
{
    PyArray_ArrayDescr *subarray = PyDataType_SUBARRAY(descr);
    PyObject *base, *result;

    if (depth > TUPLE_DEPTH / 2 || !is_describable(descr))
        return NULL;
    if (PyDataType_NAMES(descr))
        return describe_structure(descr, depth + 1);
    if (!subarray)
        return PyObject_GetAttrString((PyObject *)descr, "str");
    base = describe(subarray->base, depth + 1);
    if (!base)
        return NULL;
    result = PyTuple_Pack(2, base, subarray->shape);
    Py_DECREF(base);
    return result;
}

/* Does a dtype hold structures inside of structures? Their names can change unseen. */
static bool is_nested(const PyArray_Descr *descr)
{
    PyObject *name, *field;
    Py_ssize_t next = 0;

    if (!PyDataType_NAMES(descr))
        return false;
    while (PyDict_Next(PyDataType_FIELDS(descr), &next, &name, &field)) {
        PyArray_Descr *base = (PyArray_Descr *)PyTuple_GET_ITEM(field, 0);

        if (PyDataType_SUBARRAY(base))
            base = PyDataType_SUBARRAY(base)->base;
        if (PyDataType_NAMES(base))
            return true;
    }
    return false;
}

/* An object in the encoding of arguments, as bytes; NULL if it does not have a direct one. */
static PyObject *encode(PyObject *object)
{
    struct args_writer *writer = args_writer_create();
    PyObject *bytes = NULL;

    if (writer && args_encode(writer, &object, 1, NULL) == 0 &&
        args_size(writer) <= DTYPE_DESCRIPTION_MAX) {
        bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)args_size(writer));
        if (bytes)
            args_copy(writer, (uint8_t *)PyBytes_AS_STRING(bytes));
    }
    args_writer_destroy(writer);
    if (bytes && PyBytes_AS_STRING(bytes)[0] == TAG_PICKLED)
        Py_CLEAR(bytes);
    return bytes;
}

/* The description of a dtype that is not remembered, checked by building the dtype from it. */
static PyObject *describe_checked(PyArray_Descr *descr)
{
    PyObject *object = describe(descr, 0);
    PyObject *description = object ? encode(object) : NULL;
    PyArray_Descr *built = NULL;

    if (description)
        built = dtype_of_description((const uint8_t *)PyBytes_AS_STRING(description),
                                     (size_t)PyBytes_GET_SIZE(description));
    if (!built || PyObject_RichCompareBool((PyObject *)built, (PyObject *)descr, Py_EQ) != 1)
        Py_CLEAR(description);
    Py_XDECREF(object);
    Py_XDECREF(built);
    if (!PyErr_ExceptionMatches(PyExc_MemoryError))
        PyErr_Clear();
    return description;
}

/* Strings and bytes of any length come with a new dtype each: their short form is made here. */
static PyObject *describe_string(const PyArray_Descr *descr)
{
    char text[32];
    long size = (long)PyDataType_ELSIZE(descr);
    int length;

    if (descr->type_num == NPY_UNICODE)
        length = snprintf(text + 2, sizeof(text) - 2, "%cU%ld",
                          PyArray_ISNBO(descr->byteorder) ? '<' : '>', size / 4);
    else
        length = snprintf(text + 2, sizeof(text) - 2, "|S%ld", size);
    text[0] = TAG_STR8;
    text[1] = (char)length;
    return PyBytes_FromStringAndSize(text, 2 + length);
}

int dtype_describe(PyArray_Descr *descr, PyObject **description)
{
    struct sent *entry = &sent[((uintptr_t)descr >> 4) % SENT];
    PyObject *names;

    *description = NULL;
    if (PyDataType_ELSIZE(descr) == 0 || !is_describable(descr))
        return 0;
    if (descr->type_num == NPY_UNICODE || descr->type_num == NPY_STRING) {
        *description = describe_string(descr);
        return *description ? 0 : -1;
    }
    names = PyDataType_NAMES(descr);
    if (entry->descr == descr && entry->names == names) {
        *description = Py_NewRef(entry->description);
        return 0;
    }
    *description = describe_checked(descr);
    if (!*description)
        return PyErr_Occurred() ? -1 : 0;
    if (PyBytes_GET_SIZE(*description) > REMEMBERED_SIZE || is_nested(descr))
        return 0;
    Py_INCREF(descr);
    Py_XSETREF(entry->descr, descr);
    Py_XINCREF(names);
    Py_XSETREF(entry->names, names);
    Py_XSETREF(entry->description, Py_NewRef(*description));
    return 0;
}

static PyObject *build(PyObject *description);

/* Every item of a tuple of descriptions, built. */
static PyObject *build_all(PyObject *descriptions)
{
    PyObject *built;

    if (!PyTuple_CheckExact(descriptions))
        return reader_refuse("an array's dtype is unknown");
    built = PyTuple_New(PyTuple_GET_SIZE(descriptions));
    for (Py_ssize_t i = 0; built && i < PyTuple_GET_SIZE(descriptions); i++) {
        PyObject *item = build(PyTuple_GET_ITEM(descriptions, i));

        if (item)
            PyTuple_SET_ITEM(built, i, item);
        else
            Py_CLEAR(built);
    }
    return built;
}

static PyObject *build_structure(PyObject *description)
{
    PyObject *names, *bases, *offsets, *titles, *itemsize, *aligned, *parts, *dtype;

    if (!PyArg_ParseTuple(description, "OOOOOO", &names, &bases, &offsets, &titles, &itemsize,
                          &aligned))
        return NULL;
    bases = build_all(bases);
    if (!bases)
        return NULL;
    parts = Py_BuildValue("({sOsNsOsOsO}O)", "names", names, "formats", bases, "offsets", offsets,
                          "titles", titles, "itemsize", itemsize, aligned);
    dtype = parts ? PyObject_Call((PyObject *)&PyArrayDescr_Type, parts, NULL) : NULL;
    Py_XDECREF(parts);
    return dtype;
}

/* The dtype of a description: NumPy does the checking. Depth is bounded by the reader's. */
static PyObject *build(PyObject *description)
{
    PyObject *base, *parts, *dtype;

    if (PyUnicode_CheckExact(description))
        return PyObject_CallOneArg((PyObject *)&PyArrayDescr_Type, description);
    if (!PyTuple_CheckExact(description))
        return reader_refuse("an array's dtype is unknown");
    if (PyTuple_GET_SIZE(description) != 2)
        return build_structure(description);
    base = build(PyTuple_GET_ITEM(description, 0));
    if (!base)
        return NULL;
    parts = Py_BuildValue("((NO))", base, PyTuple_GET_ITEM(description, 1));
    dtype = parts ? PyObject_Call((PyObject *)&PyArrayDescr_Type, parts, NULL) : NULL;
    Py_XDECREF(parts);
    return dtype;
}

/* What an array may be made of: a dtype whose items are bytes and nothing else. */
static bool is_acceptable(PyObject *dtype)
{
    PyArray_Descr *descr = (PyArray_Descr *)dtype;

    return PyArray_DescrCheck(dtype) && is_describable(descr) && PyDataType_ELSIZE(descr) > 0 &&
           !PyDataType_SUBARRAY(descr);
}

static int remember(PyObject *key, PyArray_Descr *descr)
{
    if (PyBytes_GET_SIZE(key) > REMEMBERED_SIZE || is_nested(descr))
        return 0;
    if (PyDict_GET_SIZE(received) >= RECEIVED)
        PyDict_Clear(received);
    return PyDict_SetItem(received, key, (PyObject *)descr);
}

static PyArray_Descr *build_checked(const uint8_t *bytes, size_t size)
{
    PyObject *object, *dtype = NULL;

    if (args_decode(bytes, size, 1, false, NULL, &object) == 0) {
        dtype = build(object);
        Py_DECREF(object);
    }
    if (dtype && is_acceptable(dtype))
        return (PyArray_Descr *)dtype;
    Py_XDECREF(dtype);
    if (!PyErr_ExceptionMatches(PyExc_MemoryError)) {
        PyErr_Clear();
        reader_refuse("an array's dtype is not one of bytes");
    }
    return NULL;
}

PyArray_Descr *dtype_of_description(const uint8_t *bytes, size_t size)
{
    PyObject *key = PyBytes_FromStringAndSize((const char *)bytes, (Py_ssize_t)size);
    PyArray_Descr *descr, *copy;

    if (!key)
        return NULL;
    descr = (PyArray_Descr *)PyDict_GetItemWithError(received, key);
    Py_XINCREF(descr);
    if (!descr && !PyErr_Occurred()) {
        descr = build_checked(bytes, size);
        if (descr && remember(key, descr) < 0)
            Py_CLEAR(descr);
    }
    Py_DECREF(key);
    if (!descr || !PyDataType_NAMES(descr))
        return descr;
    /* dtype.names can be assigned to: every array gets a dtype of its own */
    copy = PyArray_DescrNew(descr);
    Py_DECREF(descr);
    return copy;
}
