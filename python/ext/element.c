/*
 * An element's object on its way to another PE: a message with the proxy of its collection, which tells
 * all that has to be known there of that, and its state, which is what pickle would take.
 */
#include "python/ext/runtime.h"

/* ---- errors ---- */

/* Chain a sentence that names the chare to the pending exception. */
static void cannot_migrate(const struct collection *collection, uint64_t flat, uint32_t to)
{
    PyObject *type, *value, *traceback, *args[3], *result;

    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    args[0] = collection_describe(collection, (int64_t)flat);
    args[1] = PyLong_FromUnsignedLong(to);
    args[2] = value;
    if (args[0] != NULL && args[1] != NULL) {
        result = runtime_hook("cannot_migrate", args, 3);
        Py_XDECREF(result);
    }
    Py_XDECREF(args[0]);
    Py_XDECREF(args[1]);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
}

/* ---- what refers to itself ---- */

/* The chare on its way: what refers to it inside of its own state refers to it afterwards. */
static struct {
    const Chare *leaving;              /* its state is being pickled */
    const struct c4p_envelope *coming; /* the state of this one is being unpickled */
    Chare *made;                       /* its object, if the state refers to it */
} passing;

PyObject *chare_reduce_ex(PyObject *self, PyObject *protocol)
{
    PyObject *function;

    if ((const Chare *)self != passing.leaving || PyThreadState_Get() != rt.thread)
        return PyObject_CallMethod((PyObject *)&PyBaseObject_Type, "__reduce_ex__", "OO", self,
                                   protocol);
    function = PyObject_GetAttrString(rt.hooks, "passing_chare");
    return function != NULL ? Py_BuildValue("N()", function) : NULL;
}

PyObject *element_passing(PyObject *self, PyObject *unused)
{
    struct collection *collection = passing.coming ? collection_of(passing.coming) : NULL;

    (void)self;
    (void)unused;
    if (collection == NULL || collection->class == NULL ||
        passing.coming->future >= collection->total || PyThreadState_Get() != rt.thread)
        return runtime_error("a chare can be unpickled as a part of its own state only, by its "
                             "new PE");
    if (passing.made == NULL)
        passing.made = element_allocate(collection, passing.coming->future);
    return passing.made != NULL ? new_ref((PyObject *)passing.made) : NULL;
}

/* ---- leaving ---- */

/* Will a C4P_CREATE of the collection come to a PE? */
static bool takes_part(const struct collection *collection, uint32_t pe)
{
    uint32_t first, pes;

    collection_participants(collection, &first, &pes);
    return pe - first < pes;
}

int element_send(Chare *chare, uint32_t to)
{
    struct c4p_envelope like = {.kind = C4P_ELEMENT,
                                .collection = chare->collection->id,
                                .future = chare->flat,
                                .sequence = chare->reductions,
                                .method = takes_part(chare->collection, to)};
    PyObject *args[2] = {NULL, NULL};
    int rc = -1;

    if (chare->live_coroutines > 0)
        runtime_error("a coroutine of it has not ended");
    else if ((args[0] = proxy_create(chare->collection, NULL, 0)) != NULL)
        args[1] = runtime_hook("element_state", (PyObject *const *)&chare, 1);
    passing.leaving = chare;
    if (args[1] != NULL)
        rc = message_send(&like, to, args, 2, NULL);
    passing.leaving = NULL;
    args_release(args, 2);
    if (rc != 0)
        cannot_migrate(chare->collection, chare->flat, to);
    return rc;
}

/* ---- arriving ---- */

/* Without a state an exception tells why. In a session the chare goes on as far as it can. */
static int element_restore(Chare *chare, PyObject *state)
{
    PyObject *args[2] = {(PyObject *)chare, state}, *result;

    result = state != NULL ? runtime_hook("element_restore", args, 2) : NULL;
    Py_XDECREF(result);
    if (result != NULL)
        return 0;
    cannot_migrate(chare->collection, chare->flat, rt.pe);
    return runtime_survive();
}

/* `state`: NULL with an exception, which tells why there is none. `made`: as element_decode() says. */
static int element_make(struct collection *collection, const struct c4p_envelope *envelope,
                        Chare *made, PyObject *state, Chare **chare)
{
    *chare = made;
    if (made == NULL && (*chare = element_allocate(collection, envelope->future)) == NULL)
        return -1;
    (*chare)->reductions = envelope->sequence;
    if (element_restore(*chare, state) == 0)
        return 0;
    Py_CLEAR(*chare);
    return -1;
}

/* The object (NULL: still to be made) if the state refers to it, and the message's arguments. */
static int element_decode(uint64_t offset, const struct c4p_envelope *envelope, PyObject **args,
                          Chare **made)
{
    int rc;

    passing.coming = envelope;
    rc = message_decode(offset, envelope, args);
    passing.coming = NULL;
    *made = passing.made;
    passing.made = NULL;
    return rc;
}

int element_receive(uint64_t offset, const struct c4p_envelope *envelope, Chare **chare)
{
    struct collection *collection = collection_of(envelope);
    PyObject *args[3] = {NULL, NULL, NULL};
    Chare *made;
    int rc;

    if (collection == NULL)
        return -1;
    if (envelope->args != 2) {
        message_release(offset);
        PyErr_SetString(PyExc_ValueError, "a malformed element");
        return -1;
    }
    rc = element_decode(offset, envelope, args, &made);
    if (rc != 0 && !PyErr_Occurred()) {
        Py_XDECREF(made);
        return 1;
    }
    if (collection->class != NULL && envelope->future < collection->total) {
        rc = element_make(collection, envelope, made, rc == 0 ? args[1] : NULL, chare);
    } else {
        Py_XDECREF(made);
        if (rc == 0)
            PyErr_SetString(PyExc_ValueError,
                            "an element of a collection that it does not fit into");
        rc = -1;
    }
    args_release(args, 2);
    return rc;
}
