#include "python/ext/pickler.h"

#include <string.h>

#include "python/ext/reducers.h"

/* The first with out-of-band buffers, and the last so far. */
#define HIGHEST_PROTOCOL 5

/* A pickler whose memo has grown by more than this is not kept: clearing it takes time. */
#define KEPT_STREAM (64 * 1024)

/* What a pickler writes to: its file and its buffer_callback at once. */
struct sink {
    PyObject ob_base;
    struct pickle pickle;
};

/* What a pickler asks for reducers: ours, then those of `others`. */
struct dispatch {
    PyObject ob_base;
    PyObject *others;
};

/* A pickler, ready for the next object. */
struct pickler {
    struct sink *sink;
    PyObject *dump, *clear_memo; /* bound methods */
};

PyObject *pickler_error;
int pickler_protocol = HIGHEST_PROTOCOL;

static PyObject *plain_class, *cloud_class;
static struct pickler idle; /* of pickle, empty while it is in use */
static bool private_main;

void args_set_protocol(int number)
{
    pickler_protocol = number < 0 || number > HIGHEST_PROTOCOL ? HIGHEST_PROTOCOL : number;
    Py_CLEAR(idle.dump);
    Py_CLEAR(idle.clear_memo);
    Py_CLEAR(idle.sink);
}

void args_set_private_main(bool private)
{
    private_main = private;
    Py_CLEAR(cloud_class);
}

void pickle_clear(struct pickle *pickle)
{
    Py_CLEAR(pickle->first);
    Py_CLEAR(pickle->rest);
    Py_CLEAR(pickle->buffers);
}

static int list_append(PyObject **list, PyObject *item)
{
    if (!*list)
        *list = PyList_New(0);
    return *list ? PyList_Append(*list, item) : -1;
}

static PyObject *sink_write(PyObject *self, PyObject *piece)
{
    struct pickle *pickle = &((struct sink *)self)->pickle;
    PyObject *bytes;
    int result = 0;

    /* other things than bytes change or go away after this call */
    bytes = PyBytes_CheckExact(piece) ? Py_NewRef(piece) : PyBytes_FromObject(piece);
    if (!bytes)
        return NULL;
    if (!pickle->first)
        pickle->first = Py_NewRef(bytes);
    else
        result = list_append(&pickle->rest, bytes);
    Py_DECREF(bytes);
    if (result < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* The buffer_callback: true means that the buffer stays in the stream. */
static PyObject *sink_take_buffer(PyObject *self, PyObject *buffer)
{
    const Py_buffer *view = PyPickleBuffer_GetBuffer(buffer);

    if (!view)
        return NULL;
    if (view->len < ARGS_IN_PLACE || !PyBuffer_IsContiguous(view, 'A'))
        Py_RETURN_TRUE;
    if (list_append(&((struct sink *)self)->pickle.buffers, buffer) < 0)
        return NULL;
    Py_RETURN_FALSE;
}

static void sink_dealloc(PyObject *self)
{
    pickle_clear(&((struct sink *)self)->pickle);
    PyObject_Free(self);
}

static PyMethodDef sink_methods[] = {
    {"write", sink_write, METH_O, NULL},
    {"take_buffer", sink_take_buffer, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject sink_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "c4py.PickleSink",
    .tp_basicsize = sizeof(struct sink),
    .tp_dealloc = sink_dealloc,
    .tp_methods = sink_methods,
    .tp_flags = Py_TPFLAGS_DEFAULT,
};

static PyObject *dispatch_get(PyObject *self, PyObject *type)
{
    PyObject *others = ((struct dispatch *)self)->others;
    PyObject *reducer = reducer_of((PyTypeObject *)type);

    if (!reducer && !PyDict_CheckExact(others))
        return PyObject_GetItem(others, type);
    if (!reducer)
        reducer = PyDict_GetItemWithError(others, type);
    if (!reducer && !PyErr_Occurred())
        PyErr_SetNone(PyExc_KeyError);
    Py_XINCREF(reducer);
    return reducer;
}

static void dispatch_dealloc(PyObject *self)
{
    Py_DECREF(((struct dispatch *)self)->others);
    PyObject_Free(self);
}

static PyMappingMethods dispatch_mapping = {.mp_subscript = dispatch_get};

static PyTypeObject dispatch_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "c4py.PickleDispatch",
    .tp_basicsize = sizeof(struct dispatch),
    .tp_dealloc = dispatch_dealloc,
    .tp_as_mapping = &dispatch_mapping,
    .tp_flags = Py_TPFLAGS_DEFAULT,
};

static PyObject *import_name(const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);
    PyObject *object = module ? PyObject_GetAttrString(module, name) : NULL;

    Py_XDECREF(module);
    return object;
}

/* A subclass of a pickler's class whose dispatch_table is ours before `others`; takes both over. */
static PyObject *subclass(PyObject *base, PyObject *others)
{
    struct dispatch *dispatch = NULL;
    PyObject *result = NULL;

    if (base && others && PyType_Ready(&dispatch_type) == 0)
        dispatch = PyObject_New(struct dispatch, &dispatch_type);
    if (dispatch) {
        dispatch->others = Py_NewRef(others);
        result = PyObject_CallFunction((PyObject *)&PyType_Type, "s(O){sOs()}", "MessagePickler",
                                       base, "dispatch_table", dispatch, "__slots__");
        Py_DECREF(dispatch);
    }
    Py_XDECREF(base);
    Py_XDECREF(others);
    return result;
}

static int plain_import(void)
{
    if (plain_class)
        return 0;
    if (!pickler_error)
        pickler_error = import_name("pickle", "PicklingError");
    if (!pickler_error || PyType_Ready(&sink_type) < 0)
        return -1;
    plain_class =
        subclass(import_name("pickle", "Pickler"), import_name("copyreg", "dispatch_table"));
    return plain_class ? 0 : -1;
}

static int cloud_import(void)
{
    PyObject *base, *others;

    if (cloud_class)
        return 0;
    base = import_name(private_main ? "c4py._cloud" : "cloudpickle", "CloudPickler");
    others = base ? PyObject_GetAttrString(base, "dispatch_table") : NULL;
    cloud_class = subclass(base, others);
    return cloud_class ? 0 : -1;
}

bool pickler_has_cloudpickle(void)
{
    return cloud_class;
}

static void pickler_clear(struct pickler *pickler)
{
    Py_CLEAR(pickler->dump);
    Py_CLEAR(pickler->clear_memo);
    Py_CLEAR(pickler->sink);
}

static int pickler_create(struct pickler *pickler, PyObject *class)
{
    PyObject *object = NULL, *args, *take_buffer, *keywords = NULL;

    *pickler = (struct pickler){PyObject_New(struct sink, &sink_type), NULL, NULL};
    if (!pickler->sink)
        return -1;
    pickler->sink->pickle = (struct pickle){NULL, NULL, NULL};
    args = Py_BuildValue("(Oi)", pickler->sink, pickler_protocol);
    take_buffer = PyObject_GetAttrString((PyObject *)pickler->sink, "take_buffer");
    if (take_buffer && pickler_protocol >= 5)
        keywords = Py_BuildValue("{sO}", "buffer_callback", take_buffer);
    if (args && take_buffer && (keywords || pickler_protocol < 5))
        object = PyObject_Call(class, args, keywords);
    Py_XDECREF(args);
    Py_XDECREF(take_buffer);
    Py_XDECREF(keywords);
    if (object) {
        pickler->dump = PyObject_GetAttrString(object, "dump");
        pickler->clear_memo = PyObject_GetAttrString(object, "clear_memo");
        Py_DECREF(object);
    }
    if (pickler->dump && pickler->clear_memo)
        return 0;
    pickler_clear(pickler);
    return -1;
}

/* Move what a pickler wrote to *pickle. */
static int pickler_run(struct pickler *pickler, PyObject *object, struct pickle *pickle)
{
    PyObject *result = PyObject_CallOneArg(pickler->dump, object);

    if (!result)
        return -1;
    Py_DECREF(result);
    if (!pickler->sink->pickle.first) {
        PyErr_SetString(pickler_error, "the pickler wrote nothing");
        return -1;
    }
    *pickle = pickler->sink->pickle;
    pickler->sink->pickle = (struct pickle){NULL, NULL, NULL};
    return 0;
}

static int dump_plain(PyObject *object, struct pickle *pickle)
{
    struct pickler pickler = idle;
    PyObject *cleared;

    idle = (struct pickler){NULL, NULL, NULL}; /* pickling runs code that may pickle */
    if (!pickler.dump && pickler_create(&pickler, plain_class) < 0)
        return -1;
    if (pickler_run(&pickler, object, pickle) < 0) {
        pickler_clear(&pickler);
        return -1;
    }
    if (idle.dump || pickle->rest || PyBytes_GET_SIZE(pickle->first) > KEPT_STREAM) {
        pickler_clear(&pickler);
        return 0;
    }
    cleared = PyObject_CallNoArgs(pickler.clear_memo);
    if (cleared && !idle.dump)
        idle = pickler;
    else
        pickler_clear(&pickler);
    PyErr_Clear();
    Py_XDECREF(cleared);
    return 0;
}

static int dump_cloud(PyObject *object, struct pickle *pickle)
{
    struct pickler pickler;
    int result;

    if (pickler_create(&pickler, cloud_class) < 0)
        return -1;
    result = pickler_run(&pickler, object, pickle);
    pickler_clear(&pickler);
    return result;
}

bool pickler_went_too_deep(void)
{
    PyObject *type, *value, *traceback, *cause;
    bool deep;

    if (pickler_error == NULL || !PyErr_ExceptionMatches(pickler_error))
        return false;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    cause = PyException_GetCause(value);
    deep = cause != NULL && PyErr_GivenExceptionMatches(cause, PyExc_RecursionError);
    Py_XDECREF(cause);
    PyErr_Restore(type, value, traceback);
    return deep;
}

/* Does the stream name `__main__`? If it only has the word somewhere, no harm is done. */
static bool names_main(const struct pickle *pickle)
{
    static const char name[] = "__main__";
    Py_ssize_t pieces = pickle->rest ? PyList_GET_SIZE(pickle->rest) : 0;

    for (Py_ssize_t i = -1; i < pieces; i++) {
        PyObject *bytes = i < 0 ? pickle->first : PyList_GET_ITEM(pickle->rest, i);

        if (memmem(PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes), name,
                   sizeof(name) - 1) != NULL)
            return true;
    }
    return false;
}

int pickler_dump(PyObject *object, struct pickle *pickle)
{
    PyObject *type, *value, *traceback;

    *pickle = (struct pickle){NULL, NULL, NULL};
    if (plain_import() < 0)
        return -1;
    if (dump_plain(object, pickle) == 0) {
        if (!private_main || !names_main(pickle))
            return 0;
        pickle_clear(pickle);
        return cloud_import() < 0 ? -1 : dump_cloud(object, pickle);
    }
    if (!PyErr_ExceptionMatches(pickler_error) && !PyErr_ExceptionMatches(PyExc_AttributeError) &&
        !PyErr_ExceptionMatches(PyExc_TypeError))
        return -1;
    if (pickler_went_too_deep())
        return -1;
    PyErr_Fetch(&type, &value, &traceback);
    if (cloud_import() < 0) {
        PyErr_Restore(type, value, traceback); /* replaces the ImportError */
        return -1;
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return dump_cloud(object, pickle);
}
