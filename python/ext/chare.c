/*
 * Chare classes and chares: the base class, the registry of classes by hash,
 * and the classes that a PE has to ask for.
 */
#include <stddef.h>

#include "python/ext/runtime.h"

/* ---- classes ---- */

static PyObject *ChareClass_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *user, *name, *module, *identity;
    ChareClass *class;
    const char *bytes;
    Py_ssize_t size;
    int flags;

    if (kwargs != NULL || !PyArg_ParseTuple(args, "O!UUUi:ChareClass", &PyType_Type, &user, &name,
                                            &module, &identity, &flags))
        return NULL;
    if (!PyType_IsSubtype((PyTypeObject *)user, &Chare_Type))
        return PyErr_Format(PyExc_TypeError, "%U is not a subclass of Chare", name);
    bytes = PyUnicode_AsUTF8AndSize(identity, &size);
    class = bytes ? (ChareClass *)type->tp_alloc(type, 0) : NULL;
    if (class == NULL)
        return NULL;
    class->hash = c4p_hash(bytes, (size_t)size);
    class->type = new_ref(user);
    class->name = new_ref(name);
    class->module = new_ref(module);
    class->constructor_flags = flags;
    return (PyObject *)class;
}

/* Set the proxy classes and enter it in the registry: from now on it can be created and named. */
static PyObject *ChareClass_enter(PyObject *self, PyObject *args)
{
    ChareClass *class = (ChareClass *)self;
    PyObject *proxies[3];

    if (!PyArg_ParseTuple(args, "OOO:enter", &proxies[0], &proxies[1], &proxies[2]))
        return NULL;
    for (int i = 0; i < 3; i++)
        class->proxies[i] = new_ref(proxies[i]);
    if (table_set(&rt.classes, class->hash, class) != 0)
        return PyErr_NoMemory();
    Py_INCREF(class); /* immortal */
    Py_RETURN_NONE;
}

static PyMemberDef ChareClass_members[] = {
    {"type", T_OBJECT, offsetof(ChareClass, type), READONLY, NULL},
    {"name", T_OBJECT, offsetof(ChareClass, name), READONLY, NULL},
    {"hash", T_ULONGLONG, offsetof(ChareClass, hash), READONLY, NULL},
    {NULL, 0, 0, 0, NULL}};

static PyMethodDef ChareClass_methods[] = {{"enter", ChareClass_enter, METH_VARARGS, NULL},
                                           {NULL, NULL, 0, NULL}};

PyTypeObject ChareClass_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "c4py._c4py.ChareClass",
    .tp_basicsize = sizeof(ChareClass),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_members = ChareClass_members,
    .tp_methods = ChareClass_methods,
    .tp_new = ChareClass_new,
};

ChareClass *chare_class_of(PyObject *type)
{
    PyObject *args[1] = {type};
    PyObject *class = runtime_hook("class_of", args, 1);

    if (class == NULL)
        return NULL;
    Py_DECREF(class); /* immortal */
    if (Py_TYPE(class) != &ChareClass_Type) {
        PyErr_SetString(PyExc_TypeError, "not a chare class");
        return NULL;
    }
    return (ChareClass *)class;
}

/* ---- classes that are not known here yet ---- */

static PyObject *missing_error; /* internal exception type */
static uint64_t missing_hash;
static struct table missing; /* hash -> struct parked */

struct parked {
    uint64_t first, last;
};

void class_set_missing(uint64_t hash)
{
    if (missing_error == NULL)
        missing_error = PyErr_NewException("c4py._c4py.ClassMissing", NULL, NULL);
    if (missing_error == NULL)
        return;
    missing_hash = hash;
    PyErr_Format(missing_error, "a class of the program that PE %u does not know", rt.pe);
}

static void park(struct parked *parked, uint64_t offset)
{
    segment_block(&rt.segment, offset)->next = 0;
    if (parked->first == 0)
        parked->first = offset;
    else
        segment_block(&rt.segment, parked->last)->next = offset;
    parked->last = offset;
}

/* Of a message that waits, and one that has come: is the second to wait behind the first? */
typedef bool is_before(const struct c4p_envelope *waiting, const struct c4p_envelope *come);

static bool is_of_sender(const struct c4p_envelope *waiting, const struct c4p_envelope *come)
{
    return envelope_origin(waiting) == envelope_origin(come);
}

static bool is_element_of_source(const struct c4p_envelope *waiting,
                                 const struct c4p_envelope *come)
{
    return waiting->kind == C4P_ELEMENT && waiting->source == come->source;
}

static bool is_any(const struct c4p_envelope *waiting, const struct c4p_envelope *come)
{
    (void)waiting, (void)come;
    return true;
}

/* Messages of one collection only. */
static bool wait_behind(uint64_t offset, is_before *is_before)
{
    const struct c4p_envelope *come = segment_block(&rt.segment, offset), *waiting;

    for (size_t i = 0; missing.count > 0 && i <= missing.mask; i++) {
        struct parked *parked = missing.entries[i].value;

        for (uint64_t other = parked ? parked->first : 0; other != 0; other = waiting->next) {
            waiting = segment_block(&rt.segment, other);
            if (waiting->collection != come->collection || !is_before(waiting, come))
                continue;
            park(parked, offset);
            return true;
        }
    }
    return false;
}

bool class_wait_behind(uint64_t offset)
{
    return wait_behind(offset, is_of_sender);
}

bool class_wait_behind_element(uint64_t offset)
{
    return wait_behind(offset, is_element_of_source);
}

bool class_wait_behind_all(uint64_t offset)
{
    return wait_behind(offset, is_any);
}

bool class_missing(uint64_t offset, const struct c4p_envelope *envelope)
{
    struct c4p_envelope like = {.kind = C4P_CLASS_WANTED, .future = missing_hash};
    struct parked *parked;

    if (missing_error == NULL || !PyErr_ExceptionMatches(missing_error))
        return false;
    PyErr_Clear();
    parked = table_get(&missing, missing_hash);
    if (parked == NULL) {
        parked = PyMem_Calloc(1, sizeof(*parked));
        if (parked == NULL || message_send(&like, envelope->source, NULL, 0, NULL) != 0 ||
            table_set(&missing, missing_hash, parked) != 0) {
            PyMem_Free(parked);
            if (!PyErr_Occurred())
                PyErr_NoMemory();
            return false;
        }
    }
    park(parked, offset);
    return true;
}

int class_handle_wanted(uint64_t offset, const struct c4p_envelope *envelope)
{
    struct c4p_envelope like = {.kind = C4P_CLASS, .future = envelope->future};
    ChareClass *class = table_get(&rt.classes, envelope->future);
    PyObject *args[1], *description;
    int rc;

    message_release(offset);
    if (class == NULL) {
        runtime_error("PE %u asks for a class that PE %u does not know either", envelope->source,
                      rt.pe);
        return -1;
    }
    args[0] = class->type;
    description = runtime_hook("describe_class", args, 1);
    if (description == NULL)
        return -1;
    rc = message_send(&like, envelope->source, &description, 1, NULL);
    Py_DECREF(description);
    return rc;
}

int class_send(ChareClass *class)
{
    struct c4p_envelope like = {.kind = C4P_CLASS, .future = class->hash};
    PyObject *args[1] = {class->type}, *description;
    int rc;

    if (class->session == rt.session_number)
        return 0;
    description = runtime_hook("describe_class", args, 1);
    if (description == NULL)
        return -1;
    rc = message_broadcast(&like, 0, rt.pes, &description, 1, NULL);
    Py_DECREF(description);
    if (rc == 0)
        class->session = rt.session_number;
    return rc;
}

/* A class cannot be had. Who waits for what needed it learns the pending exception. */
static int class_refused(struct parked *parked)
{
    PyObject *type, *value, *traceback;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    for (uint64_t next, message = parked ? parked->first : 0; message != 0; message = next) {
        struct c4p_envelope envelope = *segment_block(&rt.segment, message);

        next = envelope.next;
        envelope.source = envelope_origin(&envelope);
        message_release(message);
        if (envelope.future != 0) {
            PyErr_SetObject(type, value);
            if (call_refuse(&envelope) != 0)
                PyErr_Clear();
        }
        runtime_activity_end(); /* it was never handled to its end */
    }
    PyMem_Free(parked);
    PyErr_Restore(type, value, traceback);
    return -1;
}

int class_handle(uint64_t offset, const struct c4p_envelope *envelope)
{
    uint64_t hash = envelope->future;
    PyObject *args[2] = {NULL, NULL};
    struct parked *parked;
    PyObject *class;

    if (envelope->args != 1) {
        message_release(offset);
        PyErr_SetString(PyExc_ValueError, "a malformed class description");
        return -1;
    }
    if (message_decode(offset, envelope, args) != 0)
        return PyErr_Occurred() ? -1 : 0;
    if (table_get(&rt.classes, hash) != NULL && table_get(&missing, hash) == NULL) {
        args_release(args, 1); /* a client sends it ahead, and somebody else had done so */
        return 0;
    }
    class = runtime_hook("accept_class", args, 1);
    args_release(args, 1);
    if (class == NULL)
        return class_refused(table_remove(&missing, hash));
    Py_DECREF(class);
    if (table_get(&rt.classes, hash) == NULL) {
        runtime_error("the class that PE %u sent is not the one asked for", envelope->source);
        return -1;
    }
    parked = table_remove(&missing, hash);
    for (uint64_t next, message = parked ? parked->first : 0; message != 0; message = next) {
        next = segment_block(&rt.segment, message)->next;
        message_resume(message);
    }
    PyMem_Free(parked);
    return 0;
}

/* ---- chares ---- */

PyObject *chare_create_single(PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"chare_type", "args", "onPE", NULL};
    static uint32_t round_robin;
    struct collection description = {
        .kind = KIND_ARRAY, .placement = PLACE_ON, .ndims = 1, .dims = {1}};
    PyObject *type, *given = NULL;
    long pe = -1;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|Ol:Chare", keywords, &type, &given, &pe) ||
        runtime_require() != 0)
        return NULL;
    if (pe < -1 || pe >= (long)rt.pes)
        return PyErr_Format(PyExc_IndexError, "onPE=%ld: the PEs are 0 to %u (-1: any)", pe,
                            rt.pes - 1);
    description.class = chare_class_of(type);
    if (description.class == NULL)
        return NULL;
    description.on_pe = pe >= 0 ? (uint32_t)pe : (rt.pe + round_robin++) % rt.pes;
    return collection_create(&description, given);
}

static PyObject *chare_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    /* Chare(SomeClass, ...) creates a chare somewhere; SomeClass(...) makes a plain object. */
    if (type == &Chare_Type)
        return chare_create_single(args, kwargs);
    return type->tp_alloc(type, 0);
}

static int chare_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) > 0 || (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0)) {
        PyErr_Format(PyExc_TypeError, "%s() takes no arguments: it has no __init__",
                     Py_TYPE(self)->tp_name);
        return -1;
    }
    return 0;
}

static void chare_dealloc(PyObject *self)
{
    Py_TYPE(self)->tp_free(self);
}

int chare_require(const Chare *chare)
{
    if (chare->collection != NULL)
        return 0;
    if (chare->flat == CHARE_GONE) {
        runtime_error("this %s has migrated to another PE: what is left here is its old object, "
                      "use a proxy",
                      Py_TYPE(chare)->tp_name);
        return -1;
    }
    runtime_error("this %s was not created as a chare: use Chare(), Group() or Array()",
                  Py_TYPE(chare)->tp_name);
    return -1;
}

static PyObject *chare_this_proxy(PyObject *self, void *unused)
{
    static const int32_t origin[C4P_MAX_DIMS];
    struct collection *collection = ((Chare *)self)->collection;

    (void)unused;
    if (chare_require((Chare *)self) != 0)
        return NULL;
    if (collection->proxy == NULL) {
        if (collection->placement == PLACE_ON)
            collection->proxy = proxy_create(collection, origin, collection->ndims);
        else
            collection->proxy = proxy_create(collection, NULL, 0);
        if (collection->proxy == NULL)
            return NULL;
    }
    return new_ref(collection->proxy);
}

static PyObject *chare_this_index(PyObject *self, void *unused)
{
    Chare *chare = (Chare *)self;

    (void)unused;
    if (chare->collection == NULL || chare->collection->kind == KIND_MAIN)
        return PyErr_Format(PyExc_AttributeError, "'%s' object has no attribute 'thisIndex'",
                            Py_TYPE(self)->tp_name);
    return collection_index(chare->collection, chare->flat);
}

/* Arguments of reduce(), allreduce() and contribute(), by name in their order. */
static int reduce_parse(const char *function, PyObject *const *args, Py_ssize_t count,
                        PyObject *kwnames, const char *const *expected, PyObject **out)
{
    Py_ssize_t named = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;

    if (count > 4 || (expected[3] == NULL && count > 3)) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d arguments", function,
                     expected[3] ? 4 : 3);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        out[i] = args[i];
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        int place = 0;

        while (place < 4 && expected[place] != NULL &&
               PyUnicode_CompareWithASCIIString(name, expected[place]) != 0)
            place++;
        if (place == 4 || expected[place] == NULL) {
            PyErr_Format(PyExc_TypeError, "%s() has no argument %R", function, name);
            return -1;
        }
        if (out[place] != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got two values for %R", function, name);
            return -1;
        }
        out[place] = args[count + i];
    }
    return 0;
}

static int reduce_no_section(PyObject *section)
{
    if (section == NULL || section == Py_None)
        return 0;
    runtime_error("section must be None: the chare belongs to no section");
    return -1;
}

static PyObject *contribute(PyObject *self, PyObject *target, PyObject *data, PyObject *reducer,
                            PyObject *section, bool all)
{
    Chare *chare = (Chare *)self;

    if (runtime_require() != 0 || chare_require(chare) != 0 || reduce_no_section(section) != 0)
        return NULL;
    if (chare->collection->kind == KIND_MAIN)
        return PyErr_Format(PyExc_AttributeError,
                            "%s is the main chare: it is in no collection that could reduce",
                            Py_TYPE(self)->tp_name);
    if (!all && (target == NULL || !PyCallable_Check(target))) {
        PyErr_SetString(PyExc_AssertionError,
                        "reduce() needs a callback: a future, or a method of a proxy");
        return NULL;
    }
    return reduction_contribute(chare, all ? NULL : target, data ? data : Py_None,
                                reducer ? reducer : Py_None, all);
}

static PyObject *chare_reduce(PyObject *self, PyObject *const *args, Py_ssize_t count,
                              PyObject *kwnames)
{
    static const char *const expected[4] = {"callback", "data", "reducer", "section"};
    PyObject *out[4] = {NULL, NULL, NULL, NULL};

    if (reduce_parse("reduce", args, count, kwnames, expected, out) != 0)
        return NULL;
    return contribute(self, out[0], out[1], out[2], out[3], false);
}

static PyObject *chare_allreduce(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                 PyObject *kwnames)
{
    static const char *const expected[4] = {"data", "reducer", "section", NULL};
    PyObject *out[4] = {NULL, NULL, NULL, NULL};

    if (reduce_parse("allreduce", args, count, kwnames, expected, out) != 0 ||
        coroutine_require("allreduce") == NULL)
        return NULL;
    return contribute(self, NULL, out[0], out[1], out[2], true);
}

static PyObject *chare_contribute(PyObject *self, PyObject *const *args, Py_ssize_t count,
                                  PyObject *kwnames)
{
    static const char *const expected[4] = {"data", "reducer", "callback", "section"};
    PyObject *out[4] = {NULL, NULL, NULL, NULL};

    if (reduce_parse("contribute", args, count, kwnames, expected, out) != 0)
        return NULL;
    return contribute(self, out[2], out[0], out[1], out[3], false);
}

static PyObject *chare_migrated(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    Py_RETURN_NONE;
}

static PyMethodDef chare_methods[] = {
    {"reduce", (PyCFunction)(void (*)(void))chare_reduce, METH_FASTCALL | METH_KEYWORDS,
     "reduce(callback, data=None, reducer=None, section=None)\n--\n\n"
     "Contribute to a reduction of the collection and return at once.\n\n"
     "Every element contributes once to each reduction, all in the same order. `callback`, a\n"
     "future or a method of any proxy, receives the combined data. Without a reducer it is an\n"
     "empty reduction: the callback is called without a value when all have contributed."},
    {"allreduce", (PyCFunction)(void (*)(void))chare_allreduce, METH_FASTCALL | METH_KEYWORDS,
     "allreduce(data=None, reducer=None, section=None)\n--\n\n"
     "Like reduce(), but every contributor gets the result: returns a future. In coroutines only."},
    {"contribute", (PyCFunction)(void (*)(void))chare_contribute, METH_FASTCALL | METH_KEYWORDS,
     "contribute(data, reducer, callback, section=None)\n--\n\n"
     "reduce() with the order of arguments that older programs use."},
    {"migrate", (PyCFunction)(void (*)(void))chare_migrate, METH_VARARGS | METH_KEYWORDS,
     "migrate($self, toPe)\n--\n\n"
     "Ask for the chare to be moved to another PE, and return at once.\n\n"
     "Of elements of arrays and single chares; also through proxies. It leaves when nothing is on\n"
     "its way to it any more: its object is pickled, unpickled there without a call of its\n"
     "constructor, and migrated() is called. Messages follow it, in their order. If migrate() is\n"
     "called again before it has left, the last call counts. Raises Charm4PyError while a\n"
     "coroutine of the chare has not ended, and IndexError for a PE that there is not."},
    {"__reduce_ex__", chare_reduce_ex, METH_O, NULL},
    {"migrated", chare_migrated, METH_NOARGS,
     "migrated($self)\n--\n\n"
     "Called on the new PE when the chare has moved, before any message. Does nothing: redefine "
     "it."},
    {NULL, NULL, 0, NULL}};

static PyGetSetDef chare_getset[] = {
    {"thisProxy", chare_this_proxy, NULL,
     "Proxy of the collection that the chare is in; of the chare itself if it is a single one.",
     NULL},
    {"thisIndex", chare_this_index, NULL,
     "Index in the collection: the PE in a group, a tuple of ints in an array.", NULL},
    {NULL, NULL, NULL, NULL, NULL}};

static PyMemberDef chare_members[] = {{"_numthreads", T_INT, offsetof(Chare, live_coroutines),
                                       READONLY, "Coroutines of this chare that have not ended."},
                                      {NULL, 0, 0, 0, NULL}};

PyTypeObject Chare_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "c4py.Chare",
    .tp_basicsize = sizeof(Chare),
    .tp_dealloc = chare_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_doc =
        "Chare(chare_type, args=[], onPE=-1)\n--\n\n"
        "Base class of chares; called itself, creates a single chare of the given class.\n\n"
        "chare_type: a subclass of Chare. args: list of arguments for its constructor. onPE: PE\n"
        "to create it on; -1 lets the runtime choose. Returns a proxy at once, without waiting\n"
        "for the chare to be created (see charm.awaitCreation).",
    .tp_methods = chare_methods,
    .tp_members = chare_members,
    .tp_getset = chare_getset,
    .tp_init = chare_init,
    .tp_new = chare_new,
};
