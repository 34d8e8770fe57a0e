/*
 * Writing arguments: the writer itself, scalars, strings, tuples and keywords.
 * args_internal.h says where the rest is, proto/args.md what it looks like.
 */
#include "python/ext/args_internal.h"

#include "python/ext/ndarray.h"
#include "python/ext/pickling.h"

struct args_hooks args_hooks;

static enum put put_direct(struct args_writer *writer, PyObject *object);

struct args_writer *args_writer_create(void)
{
    struct args_writer *writer = PyMem_Calloc(1, sizeof(*writer));

    if (!writer) {
        PyErr_NoMemory();
        return NULL;
    }
    writer->head = writer->room;
    writer->head_capacity = sizeof(writer->room);
    return writer;
}

void args_writer_destroy(struct args_writer *writer)
{
    if (!writer)
        return;
    args_discard(writer);
    if (writer->head != writer->room)
        PyMem_Free(writer->head);
    PyMem_Free(writer->segments);
    PyMem_Free(writer->deferred);
    PyMem_Free(writer);
}

int writer_grow(struct args_writer *writer, size_t size)
{
    size_t capacity = writer->head_capacity * 2;
    uint8_t *head;

    if (size > (size_t)PY_SSIZE_T_MAX - writer->head_size) {
        PyErr_NoMemory();
        return -1;
    }
    if (capacity < writer->head_size + size)
        capacity = writer->head_size + size;
    head = PyMem_Realloc(writer->head == writer->room ? NULL : writer->head, capacity);
    if (!head) {
        PyErr_NoMemory();
        return -1;
    }
    if (writer->head == writer->room)
        memcpy(head, writer->room, writer->head_size);
    writer->head = head;
    writer->head_capacity = capacity;
    return 0;
}

/* Forget what came after a point: used when a tuple turns out to need pickle half-way. */
struct mark {
    size_t head_size, size, segment_count;
};

static struct mark writer_mark(const struct args_writer *writer)
{
    return (struct mark){writer->head_size, writer->size, writer->segment_count};
}

static void writer_rewind(struct args_writer *writer, struct mark mark)
{
    while (writer->segment_count > mark.segment_count) {
        PyObject *owner = writer->segments[--writer->segment_count].owner;

        Py_DECREF(owner);
    }
    writer->head_size = mark.head_size;
    writer->size = mark.size;
}

size_t args_size(const struct args_writer *writer)
{
    return writer->size;
}

void args_discard(struct args_writer *writer)
{
    writer_rewind(writer, (struct mark){0, 0, 0});
    writer->deferred_count = 0;
    writer->depth = 0;
    if (writer->head_capacity > 64 * 1024) {
        PyMem_Free(writer->head);
        writer->head = writer->room;
        writer->head_capacity = sizeof(writer->room);
    }
}

void args_copy(struct args_writer *writer, uint8_t *body)
{
    size_t done = 0;

    for (size_t i = 0; i < writer->segment_count; i++) {
        const struct args_segment *segment = &writer->segments[i];

        memcpy(body, writer->head + done, segment->head - done);
        body += segment->head - done;
        done = segment->head;
        if (segment->data)
            memcpy(body, segment->data, segment->size);
        else
            ndarray_copy(body, segment->owner, segment->size, segment->fortran);
        body += segment->size;
    }
    memcpy(body, writer->head + done, writer->head_size - done);
    args_discard(writer);
}

static enum put put_segment(struct args_writer *writer, PyObject *owner, const void *data,
                            size_t size, bool fortran)
{
    if (size > (size_t)PY_SSIZE_T_MAX - writer->size) {
        PyErr_SetString(PyExc_OverflowError, "the arguments are larger than the address space");
        return PUT_ERROR;
    }
    if (writer->segment_count == writer->segment_capacity) {
        size_t capacity = writer->segment_capacity ? writer->segment_capacity * 2 : 8;
        void *segments = PyMem_Realloc(writer->segments, capacity * sizeof(*writer->segments));

        if (!segments) {
            PyErr_NoMemory();
            return PUT_ERROR;
        }
        writer->segments = segments;
        writer->segment_capacity = capacity;
    }
    writer->segments[writer->segment_count++] = (struct args_segment){
        .head = writer->head_size,
        .size = size,
        .data = data,
        .owner = Py_NewRef(owner),
        .fortran = fortran,
    };
    writer->size += size;
    return PUT_DONE;
}

enum put writer_put_data(struct args_writer *writer, PyObject *owner, const void *data, size_t size,
                         bool fortran)
{
    uint8_t *room;

    if (size >= SEGMENT_SIZE)
        return put_segment(writer, owner, data, size, fortran);
    room = writer_extend(writer, size);
    if (!room)
        return PUT_ERROR;
    if (data)
        memcpy(room, data, size);
    else
        ndarray_copy(room, owner, size, fortran);
    return PUT_DONE;
}

enum put writer_align(struct args_writer *writer, size_t size)
{
    size_t padding = args_padding(writer->size, size);
    uint8_t *room = writer_extend(writer, padding);

    if (!room)
        return PUT_ERROR;
    memset(room, 0, padding);
    return PUT_DONE;
}

int args_put(struct args_writer *writer, const void *bytes, size_t size)
{
    uint8_t *room = writer_extend(writer, size);

    if (!room)
        return -1;
    memcpy(room, bytes, size);
    return 0;
}

static inline enum put put_tagged(struct args_writer *writer, uint8_t tag, const void *bytes,
                                  size_t size)
{
    uint8_t *room = writer_extend(writer, 1 + size);

    if (!room)
        return PUT_ERROR;
    room[0] = tag;
    memcpy(room + 1, bytes, size);
    return PUT_DONE;
}

static enum put put_big_int(struct args_writer *writer, PyObject *object)
{
    struct mark mark = writer_mark(writer);
    uint8_t *room;
    uint32_t length;
#if PY_VERSION_HEX >= 0x030d0000
    Py_ssize_t size = PyLong_AsNativeBytes(object, NULL, 0, Py_ASNATIVEBYTES_LITTLE_ENDIAN);

    if (size < 0)
        return PUT_ERROR;
#else
    size_t size = _PyLong_NumBits(object);

    if (size == (size_t)-1 && PyErr_Occurred()) {
        PyErr_Clear(); /* more bits than a size_t counts */
        return PUT_INDIRECT;
    }
    size = size / 8 + 1; /* and the sign */
#endif
    if ((size_t)size > UINT32_MAX)
        return PUT_INDIRECT;
    room = writer_extend(writer, 5 + (size_t)size);
    if (!room)
        return PUT_ERROR;
    length = (uint32_t)size;
    room[0] = TAG_INT;
    memcpy(room + 1, &length, 4);
#if PY_VERSION_HEX >= 0x030d0000
    if (PyLong_AsNativeBytes(object, room + 5, size, Py_ASNATIVEBYTES_LITTLE_ENDIAN) < 0) {
#else
    if (_PyLong_AsByteArray((PyLongObject *)object, room + 5, size, 1, 1) < 0) {
#endif
        writer_rewind(writer, mark);
        return PUT_ERROR;
    }
    return PUT_DONE;
}

static enum put put_int(struct args_writer *writer, PyObject *object)
{
    int overflow;
    int64_t value = PyLong_AsLongLongAndOverflow(object, &overflow);

    if (overflow)
        return put_big_int(writer, object);
    if (value == (int8_t)value) {
        int8_t narrow = (int8_t)value;

        return put_tagged(writer, TAG_INT8, &narrow, 1);
    }
    if (value == (int32_t)value) {
        int32_t narrow = (int32_t)value;

        return put_tagged(writer, TAG_INT32, &narrow, 4);
    }
    return put_tagged(writer, TAG_INT64, &value, 8);
}

/* Is a large string already part of this message? Then a tuple of it is better pickled, once. */
static bool is_repeated(const struct args_writer *writer, const PyObject *owner)
{
    for (size_t i = 0; i < writer->segment_count; i++)
        if (writer->segments[i].owner == owner)
            return true;
    return false;
}

/* str and bytes, by a tag with a length of 1 byte and, one more, a tag with one of 8. */
static enum put put_string(struct args_writer *writer, uint8_t tag, PyObject *owner,
                           const void *data, size_t size)
{
    uint64_t length = size;
    uint8_t *room;

    if (size <= UINT8_MAX) {
        room = writer_extend(writer, 2 + size);
        if (!room)
            return PUT_ERROR;
        room[0] = tag;
        room[1] = (uint8_t)size;
        memcpy(room + 2, data, size);
        return PUT_DONE;
    }
    if (writer->depth && (writer->segment_count >= 64 || is_repeated(writer, owner)))
        return PUT_INDIRECT;
    if (put_tagged(writer, tag + 1, &length, 8) < 0)
        return PUT_ERROR;
    return writer_put_data(writer, owner, data, size, false);
}

static enum put put_str(struct args_writer *writer, PyObject *object)
{
    PyObject *utf8;
    enum put put;

    if (PyUnicode_IS_COMPACT_ASCII(object))
        return put_string(writer, TAG_STR8, object, PyUnicode_DATA(object),
                          (size_t)PyUnicode_GET_LENGTH(object));
    /* not PyUnicode_AsUTF8(), which leaves a second copy of the text in the object for good */
    utf8 = PyUnicode_AsEncodedString(object, "utf-8", "surrogatepass");
    if (!utf8)
        return PUT_ERROR;
    if (writer->depth && PyBytes_GET_SIZE(utf8) > 64 * 1024)
        put = PUT_INDIRECT; /* is_repeated() could not tell */
    else
        put = put_string(writer, TAG_STR8, utf8, PyBytes_AS_STRING(utf8),
                         (size_t)PyBytes_GET_SIZE(utf8));
    Py_DECREF(utf8);
    return put;
}

static enum put put_tuple(struct args_writer *writer, PyObject *tuple)
{
    Py_ssize_t count = PyTuple_GET_SIZE(tuple);
    struct mark mark = writer_mark(writer);
    uint16_t number = (uint16_t)count;
    enum put put;

    if (!writer->depth)
        writer->items = 0;
    if (writer->depth >= TUPLE_DEPTH || count > TUPLE_ITEMS - (Py_ssize_t)writer->items)
        return PUT_INDIRECT;
    writer->items += (unsigned)count;
    writer->depth++;
    put = put_tagged(writer, TAG_TUPLE, &number, 2);
    for (Py_ssize_t i = 0; i < count && put == PUT_DONE; i++)
        put = put_direct(writer, PyTuple_GET_ITEM(tuple, i));
    writer->depth--;
    if (put != PUT_DONE)
        writer_rewind(writer, mark);
    return put;
}

/* What has an encoding of its own and cannot change: what a tuple may hold and stay direct. */
static enum put put_direct(struct args_writer *writer, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    if (type == &PyLong_Type)
        return put_int(writer, object);
    if (type == &PyUnicode_Type)
        return put_str(writer, object);
    if (type == &PyFloat_Type) {
        double value = PyFloat_AS_DOUBLE(object);

        return put_tagged(writer, TAG_FLOAT, &value, 8);
    }
    if (object == Py_None)
        return put_tagged(writer, TAG_NONE, "", 0);
    if (type == &PyBool_Type)
        return put_tagged(writer, object == Py_True ? TAG_TRUE : TAG_FALSE, "", 0);
    if (type == &PyTuple_Type)
        return put_tuple(writer, object);
    if (type == &PyBytes_Type)
        return put_string(writer, TAG_BYTES8, object, PyBytes_AS_STRING(object),
                          (size_t)PyBytes_GET_SIZE(object));
    if (type == &PyComplex_Type) {
        Py_complex value = ((PyComplexObject *)object)->cval;

        return put_tagged(writer, TAG_COMPLEX, &value, 16);
    }
    if (args_hooks.write) {
        struct mark mark = writer_mark(writer);
        int written = args_hooks.write(writer, object);

        if (written > 0)
            return PUT_DONE;
        if (written < 0) {
            writer_rewind(writer, mark);
            return PUT_ERROR;
        }
    }
    return ndarray_put_scalar(writer, object);
}

/* Everything that has an encoding of its own. */
static enum put put_unpickled(struct args_writer *writer, PyObject *object)
{
    struct mark mark;
    enum put put;

    if (Py_TYPE(object) != ndarray_type) {
        put = put_direct(writer, object);
        if (put != PUT_INDIRECT || !Py_TYPE(object)->tp_as_buffer)
            return put;
    }
    mark = writer_mark(writer);
    put = buffer_put(writer, object);
    if (put != PUT_DONE)
        writer_rewind(writer, mark);
    return put;
}

int args_put_object(struct args_writer *writer, PyObject *object)
{
    enum put put = PUT_INDIRECT;

    if (!writer->depth)
        writer->items = 0;
    if (writer->depth < TUPLE_DEPTH) {
        writer->depth++;
        put = put_unpickled(writer, object);
        writer->depth--;
    }
    if (put == PUT_INDIRECT) {
        struct args_deferred part = {object, 0};

        put = put_tagged(writer, TAG_PICKLE, "", 0);
        if (put == PUT_DONE)
            put = pickling_put(writer, &part, 1);
    }
    return put == PUT_DONE ? 0 : -1;
}

static enum put put_keywords(struct args_writer *writer, PyObject *keywords)
{
    struct mark mark = writer_mark(writer);
    uint32_t count = (uint32_t)PyDict_GET_SIZE(keywords);
    enum put put = put_tagged(writer, TAG_KEYWORDS, &count, 4);
    PyObject *name, *value;
    Py_ssize_t next = 0;

    while (put == PUT_DONE && PyDict_Next(keywords, &next, &name, &value)) {
        if (!PyUnicode_CheckExact(name))
            put = PUT_INDIRECT;
        else
            put = put_str(writer, name);
        if (put == PUT_DONE)
            put = put_unpickled(writer, value);
    }
    if (put != PUT_DONE)
        writer_rewind(writer, mark);
    return put;
}

static enum put defer(struct args_writer *writer, PyObject *object, Py_ssize_t position)
{
    if (writer->deferred_count == writer->deferred_capacity) {
        size_t capacity = writer->deferred_capacity ? writer->deferred_capacity * 2 : 8;
        void *deferred = PyMem_Realloc(writer->deferred, capacity * sizeof(*writer->deferred));

        if (!deferred) {
            PyErr_NoMemory();
            return PUT_ERROR;
        }
        writer->deferred = deferred;
        writer->deferred_capacity = capacity;
    }
    writer->deferred[writer->deferred_count++] = (struct args_deferred){object, position};
    return put_tagged(writer, TAG_PICKLED, "", 0);
}

int args_encode(struct args_writer *writer, PyObject *const *args, Py_ssize_t count,
                PyObject *keywords)
{
    enum put put = PUT_DONE;

    for (Py_ssize_t i = 0; i < count && put == PUT_DONE; i++) {
        put = put_unpickled(writer, args[i]);
        if (put == PUT_INDIRECT)
            put = defer(writer, args[i], i);
    }
    if (keywords && put == PUT_DONE) {
        put = put_keywords(writer, keywords);
        if (put == PUT_INDIRECT)
            put = defer(writer, keywords, -1);
    }
    if (writer->deferred_count && put == PUT_DONE)
        put = pickling_put(writer, writer->deferred, writer->deferred_count);
    if (put == PUT_DONE)
        return 0;
    args_discard(writer);
    return -1;
}
