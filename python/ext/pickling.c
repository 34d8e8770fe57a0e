#include "python/ext/pickling.h"

#include "python/ext/pickler.h"

static PyObject *pickle_loads, *loads_keywords; /* NULL until first needed */

static bool can_dump(PyObject *object)
{
    struct pickle pickle;
    bool can = pickler_dump(object, &pickle) == 0;

    pickle_clear(&pickle);
    PyErr_Clear();
    return can;
}

/* Which of the parts cannot be pickled: its name for people, and itself. New references. */
static PyObject *name_culprit(const struct args_deferred *parts, size_t count, PyObject **object)
{
    PyObject *name, *value, *keywords, *text = NULL;
    Py_ssize_t next = 0;
    size_t i = 0;

    while (i < count - 1 && can_dump(parts[i].object))
        i++;
    *object = Py_NewRef(parts[i].object);
    if (parts[i].position >= 0)
        return PyUnicode_FromFormat("argument %zd", parts[i].position + 1);
    keywords = PyDict_Copy(parts[i].object); /* can_dump() runs code that could change it */
    while (keywords && !text && PyDict_Next(keywords, &next, &name, &value)) {
        if (!can_dump(value)) {
            Py_SETREF(*object, Py_NewRef(value));
            text = PyUnicode_FromFormat("keyword argument %R", name);
        }
    }
    Py_XDECREF(keywords);
    return text ? text : PyUnicode_FromString("the dict of keyword arguments");
}

/* Raise again what pickling raised, as a sentence that names the argument. */
static void explain(const struct args_deferred *parts, size_t count)
{
    PyObject *type, *cause, *traceback, *name, *culprit, *value;
    PyObject *raised = PyExc_TypeError;

    if (!PyErr_ExceptionMatches(PyExc_Exception) || PyErr_ExceptionMatches(PyExc_MemoryError) ||
        pickler_went_too_deep())
        return;
    if (!PyErr_ExceptionMatches(PyExc_TypeError) && !PyErr_ExceptionMatches(PyExc_AttributeError))
        raised = pickler_error;
    if (!raised)
        return; /* pickle itself could not be imported */
    PyErr_Fetch(&type, &cause, &traceback);
    PyErr_NormalizeException(&type, &cause, &traceback);
    if (traceback)
        PyException_SetTraceback(cause, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);

    name = name_culprit(parts, count, &culprit);
    if (name) {
        PyErr_Format(raised,
                     "%U of type '%.200s' cannot be sent: %S; leave it out, or give its class a "
                     "__reduce__ or __getstate__ method%s",
                     name, Py_TYPE(culprit)->tp_name, cause,
                     pickler_has_cloudpickle()
                         ? ""
                         : ", or install cloudpickle for functions and classes of "
                           "__main__");
        Py_DECREF(name);
    }
    Py_DECREF(culprit);
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyException_SetCause(value, cause); /* owns it now */
    PyErr_Restore(type, value, traceback);
}

/* The pieces of the stream: 0 .. pieces of pickle. */
static PyObject *piece(const struct pickle *pickle, Py_ssize_t i)
{
    return i == 0 ? pickle->first : PyList_GET_ITEM(pickle->rest, i - 1);
}

static enum put put_pickle(struct args_writer *writer, const struct pickle *pickle)
{
    Py_ssize_t pieces = 1 + (pickle->rest ? PyList_GET_SIZE(pickle->rest) : 0);
    uint32_t count = pickle->buffers ? (uint32_t)PyList_GET_SIZE(pickle->buffers) : 0;
    uint64_t size = 0;

    for (Py_ssize_t i = 0; i < pieces; i++)
        size += (uint64_t)PyBytes_GET_SIZE(piece(pickle, i));
    if (args_put(writer, &size, 8) < 0 || args_put(writer, &count, 4) < 0)
        return PUT_ERROR;
    for (uint32_t i = 0; i < count; i++) {
        const Py_buffer *view = PyPickleBuffer_GetBuffer(PyList_GET_ITEM(pickle->buffers, i));
        uint64_t length;

        if (!view)
            return PUT_ERROR;
        length = (uint64_t)view->len;
        if (args_put(writer, &length, 8) < 0)
            return PUT_ERROR;
    }
    for (Py_ssize_t i = 0; i < pieces; i++) {
        PyObject *bytes = piece(pickle, i);

        if (writer_put_data(writer, bytes, PyBytes_AS_STRING(bytes),
                            (size_t)PyBytes_GET_SIZE(bytes), false) < 0)
            return PUT_ERROR;
    }
    for (uint32_t i = 0; i < count; i++) {
        PyObject *buffer = PyList_GET_ITEM(pickle->buffers, i);
        const Py_buffer *view = PyPickleBuffer_GetBuffer(buffer);

        if (!view || writer_align(writer, (size_t)view->len) < 0 ||
            writer_put_data(writer, buffer, view->buf, (size_t)view->len, false) < 0)
            return PUT_ERROR;
    }
    return PUT_DONE;
}

enum put pickling_put(struct args_writer *writer, const struct args_deferred *parts, size_t count)
{
    enum put put = PUT_ERROR;
    struct pickle pickle;
    PyObject *object;

    if (count == 1) {
        object = Py_NewRef(parts[0].object);
    } else {
        object = PyTuple_New((Py_ssize_t)count);
        if (!object)
            return PUT_ERROR;
        for (size_t i = 0; i < count; i++)
            PyTuple_SET_ITEM(object, (Py_ssize_t)i, Py_NewRef(parts[i].object));
    }
    if (pickler_dump(object, &pickle) == 0)
        put = put_pickle(writer, &pickle);
    else
        explain(parts, count);
    pickle_clear(&pickle);
    Py_DECREF(object);
    return put;
}

/* The out-of-band buffers as a list, their lengths at `lengths`. */
static PyObject *read_buffers(struct args_reader *reader, const uint8_t *lengths, uint32_t count)
{
    PyObject *buffers = PyList_New(count);

    for (uint32_t i = 0; buffers && i < count; i++) {
        uint64_t length;
        PyObject *buffer = NULL;

        memcpy(&length, lengths + 8 * (size_t)i, 8);
        if (length > reader_left(reader))
            reader_refuse("it is cut short");
        else
            buffer = buffer_read_plain(reader, length);
        if (buffer)
            PyList_SET_ITEM(buffers, i, buffer);
        else
            Py_CLEAR(buffers);
    }
    return buffers;
}

/* Import pickle.loads. Returns 0, or -1 with an exception. */
static int loads_import(void)
{
    PyObject *module;

    if (pickle_loads)
        return 0;
    Py_XSETREF(loads_keywords, Py_BuildValue("(s)", "buffers"));
    module = loads_keywords ? PyImport_ImportModule("pickle") : NULL;
    pickle_loads = module ? PyObject_GetAttrString(module, "loads") : NULL;
    Py_XDECREF(module);
    return pickle_loads ? 0 : -1;
}

PyObject *pickling_read(struct args_reader *reader)
{
    const uint8_t *lengths, *stream;
    PyObject *args[2] = {NULL, NULL}, *object = NULL;
    uint64_t size;
    uint32_t count;

    if (loads_import() < 0 || !READER_NUMBER(reader, size) || !READER_NUMBER(reader, count))
        return NULL;
    if (count > reader_left(reader) / 8)
        return reader_refuse("it is cut short");
    lengths = reader_take(reader, 8 * (size_t)count);
    if (!lengths || size > reader_left(reader))
        return reader_refuse("it is cut short");
    stream = reader_take(reader, size);
    if (!stream)
        return NULL;
    args[0] = PyMemoryView_FromMemory((char *)(uintptr_t)stream, (Py_ssize_t)size, PyBUF_READ);
    if (args[0] && count == 0) {
        object = PyObject_Vectorcall(pickle_loads, args, 1, NULL);
    } else if (args[0]) {
        args[1] = read_buffers(reader, lengths, count);
        if (args[1])
            object = PyObject_Vectorcall(pickle_loads, args, 1, loads_keywords);
    }
    Py_XDECREF(args[0]);
    Py_XDECREF(args[1]);
    return object;
}
