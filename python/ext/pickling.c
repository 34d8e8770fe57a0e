#include "python/ext/pickling.h"

/* The first with out-of-band buffers, and the last so far. */
#define HIGHEST_PROTOCOL 5

/* Functions of the modules, NULL until first needed. */
static PyObject *pickle_dumps, *pickle_loads, *pickle_error;
static PyObject *cloudpickle_dumps;
static PyObject *dumps_keywords, *loads_keywords;
static int protocol = HIGHEST_PROTOCOL;

void args_set_protocol(int number)
{
    protocol = number < 0 || number > HIGHEST_PROTOCOL ? HIGHEST_PROTOCOL : number;
}

static PyObject *import_name(const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);
    PyObject *object = module ? PyObject_GetAttrString(module, name) : NULL;

    Py_XDECREF(module);
    return object;
}

/* Import pickle. Returns 0, or -1 with an exception. */
static int pickle_import(void)
{
    if (pickle_loads)
        return 0;
    Py_XSETREF(dumps_keywords, Py_BuildValue("(s)", "buffer_callback"));
    Py_XSETREF(loads_keywords, Py_BuildValue("(s)", "buffers"));
    Py_XSETREF(pickle_error, import_name("pickle", "PicklingError"));
    Py_XSETREF(pickle_dumps, import_name("pickle", "dumps"));
    if (dumps_keywords && loads_keywords && pickle_error && pickle_dumps)
        pickle_loads = import_name("pickle", "loads");
    return pickle_loads ? 0 : -1;
}

/* pickle's buffer_callback; self is the list of buffers. True means: leave it in the stream. */
static PyObject *collect_buffer(PyObject *list, PyObject *buffer)
{
    const Py_buffer *view = PyPickleBuffer_GetBuffer(buffer);

    if (!view)
        return NULL;
    if (view->len < ARGS_IN_PLACE || !PyBuffer_IsContiguous(view, 'A'))
        Py_RETURN_TRUE;
    if (PyList_Append(list, buffer) < 0)
        return NULL;
    Py_RETURN_FALSE;
}

static PyMethodDef collect_method = {"collect_buffer", collect_buffer, METH_O, NULL};

/* The pickle of an object, by one of the two; its large buffers go into *buffers, a new list. */
static PyObject *dump_by(PyObject *dumps, PyObject *object, PyObject **buffers)
{
    PyObject *args[3] = {object, PyLong_FromLong(protocol), NULL};
    PyObject *stream = NULL;

    *buffers = PyList_New(0);
    if (args[1] && *buffers) {
        if (protocol < 5) {
            stream = PyObject_Vectorcall(dumps, args, 2, NULL);
        } else {
            args[2] = PyCFunction_New(&collect_method, *buffers);
            if (args[2])
                stream = PyObject_Vectorcall(dumps, args, 2, dumps_keywords);
        }
    }
    Py_XDECREF(args[1]);
    Py_XDECREF(args[2]);
    if (stream && !PyBytes_Check(stream)) {
        PyErr_SetString(PyExc_TypeError, "dumps() did not return bytes");
        Py_CLEAR(stream);
    }
    if (!stream)
        Py_CLEAR(*buffers);
    return stream;
}

/* By pickle or cloudpickle; NULL with the exception of the last that was tried. */
static PyObject *dump(PyObject *object, PyObject **buffers)
{
    PyObject *stream = dump_by(pickle_dumps, object, buffers);
    PyObject *type, *value, *traceback;

    if (stream ||
        !(PyErr_ExceptionMatches(pickle_error) || PyErr_ExceptionMatches(PyExc_AttributeError) ||
          PyErr_ExceptionMatches(PyExc_TypeError)))
        return stream;
    PyErr_Fetch(&type, &value, &traceback);
    if (!cloudpickle_dumps) {
        cloudpickle_dumps = import_name("cloudpickle", "dumps");
        if (!cloudpickle_dumps) {
            PyErr_Restore(type, value, traceback); /* replaces the ImportError */
            return NULL;
        }
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return dump_by(cloudpickle_dumps, object, buffers);
}

static bool can_dump(PyObject *object)
{
    PyObject *buffers = NULL, *stream = dump(object, &buffers);
    bool can = stream != NULL;

    Py_XDECREF(stream);
    Py_XDECREF(buffers);
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
    PyObject *raised = pickle_error;

    if (!PyErr_ExceptionMatches(PyExc_Exception) || PyErr_ExceptionMatches(PyExc_MemoryError))
        return;
    if (PyErr_ExceptionMatches(PyExc_TypeError) || PyErr_ExceptionMatches(PyExc_AttributeError))
        raised = PyExc_TypeError;
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
                     cloudpickle_dumps ? ""
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

static enum put put_stream(struct args_writer *writer, PyObject *stream, PyObject *buffers)
{
    uint64_t size = (uint64_t)PyBytes_GET_SIZE(stream);
    uint32_t count = (uint32_t)PyList_GET_SIZE(buffers);

    if (args_put(writer, &size, 8) < 0 || args_put(writer, &count, 4) < 0)
        return PUT_ERROR;
    for (uint32_t i = 0; i < count; i++) {
        const Py_buffer *view = PyPickleBuffer_GetBuffer(PyList_GET_ITEM(buffers, i));
        uint64_t length;

        if (!view)
            return PUT_ERROR;
        length = (uint64_t)view->len;
        if (args_put(writer, &length, 8) < 0)
            return PUT_ERROR;
    }
    if (writer_put_data(writer, stream, PyBytes_AS_STRING(stream), size, false) < 0)
        return PUT_ERROR;
    for (uint32_t i = 0; i < count; i++) {
        PyObject *buffer = PyList_GET_ITEM(buffers, i);
        const Py_buffer *view = PyPickleBuffer_GetBuffer(buffer);

        if (!view || writer_align(writer, (size_t)view->len) < 0 ||
            writer_put_data(writer, buffer, view->buf, (size_t)view->len, false) < 0)
            return PUT_ERROR;
    }
    return PUT_DONE;
}

enum put pickling_put(struct args_writer *writer, const struct args_deferred *parts, size_t count)
{
    PyObject *object, *stream, *buffers = NULL;
    enum put put = PUT_ERROR;

    if (pickle_import() < 0)
        return PUT_ERROR;
    if (count == 1) {
        object = Py_NewRef(parts[0].object);
    } else {
        object = PyTuple_New((Py_ssize_t)count);
        if (!object)
            return PUT_ERROR;
        for (size_t i = 0; i < count; i++)
            PyTuple_SET_ITEM(object, (Py_ssize_t)i, Py_NewRef(parts[i].object));
    }
    stream = dump(object, &buffers);
    if (stream)
        put = put_stream(writer, stream, buffers);
    else
        explain(parts, count);
    Py_XDECREF(stream);
    Py_XDECREF(buffers);
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

PyObject *pickling_read(struct args_reader *reader)
{
    const uint8_t *lengths, *stream;
    PyObject *args[2] = {NULL, NULL}, *object = NULL;
    uint64_t size;
    uint32_t count;

    if (pickle_import() < 0 || !READER_NUMBER(reader, size) || !READER_NUMBER(reader, count))
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
