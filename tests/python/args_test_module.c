/*
 * _args_test: the argument codec by itself, for test_args.py, which builds it.
 *
 * Bodies are put into blocks of exactly their size, 96 bytes behind a 64-byte
 * boundary as in a segment, so that AddressSanitizer sees each byte too far.
 */
#include "python/ext/args.h"

#include <stdlib.h>
#include <time.h>

#include "proto/envelope.h"

#define TAG_BOX (ARGS_RUNTIME_TAG + 1)

static long live_blocks;

/* A block with a body, freed by its last reference. */
struct block {
    PyObject_HEAD uint8_t *memory;
    size_t size;
};

static void block_dealloc(PyObject *object)
{
    free(((struct block *)object)->memory);
    live_blocks--;
    PyObject_Free(object);
}

static PyTypeObject block_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "_args_test.Block",
    .tp_basicsize = sizeof(struct block),
    .tp_dealloc = block_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT,
};

static struct block *block_create(size_t size)
{
    struct block *block = PyObject_New(struct block, &block_type);
    void *memory = NULL;

    if (!block)
        return NULL;
    if (posix_memalign(&memory, C4P_BUFFER_ALIGN, C4P_ENVELOPE_SIZE + size) != 0)
        abort();
    block->memory = memory;
    block->size = size;
    live_blocks++;
    return block;
}

static PyObject *block_pin(void *context)
{
    return Py_NewRef((PyObject *)context);
}

/* The runtime's object: a box with any object in it. Pickled, it tells that it was. */
struct box {
    PyObject_HEAD PyObject *content;
    bool pickled;
};

static PyTypeObject box_type;

static PyObject *box_create(PyObject *content, bool pickled)
{
    struct box *box = PyObject_New(struct box, &box_type);

    if (box) {
        box->content = Py_NewRef(content);
        box->pickled = pickled;
    }
    return (PyObject *)box;
}

static PyObject *box_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    PyObject *content;
    int pickled = 0;

    (void)type;
    (void)keywords;
    return PyArg_ParseTuple(args, "O|p", &content, &pickled) ? box_create(content, pickled) : NULL;
}

static void box_dealloc(PyObject *object)
{
    Py_DECREF(((struct box *)object)->content);
    PyObject_Free(object);
}

static PyObject *box_reduce(PyObject *object, PyObject *unused)
{
    (void)unused;
    return Py_BuildValue("O(Oi)", &box_type, ((struct box *)object)->content, 1);
}

static PyObject *box_content(PyObject *object, void *unused)
{
    (void)unused;
    return Py_NewRef(((struct box *)object)->content);
}

static PyObject *box_pickled(PyObject *object, void *unused)
{
    (void)unused;
    return PyBool_FromLong(((struct box *)object)->pickled);
}

static PyMethodDef box_methods[] = {
    {"__reduce__", box_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef box_getset[] = {
    {"content", box_content, NULL, NULL, NULL},
    {"pickled", box_pickled, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject box_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "_args_test.Box",
    .tp_basicsize = sizeof(struct box),
    .tp_new = box_new,
    .tp_dealloc = box_dealloc,
    .tp_methods = box_methods,
    .tp_getset = box_getset,
    .tp_flags = Py_TPFLAGS_DEFAULT,
};

static int hook_write(struct args_writer *out, PyObject *object)
{
    uint8_t tag = TAG_BOX;

    if (Py_TYPE(object) != &box_type)
        return 0;
    if (args_put(out, &tag, 1) < 0 || args_put_object(out, ((struct box *)object)->content) < 0)
        return -1;
    return 1;
}

static PyObject *hook_read(struct args_reader *reader, uint8_t tag)
{
    PyObject *content, *box;

    if (tag != TAG_BOX) {
        PyErr_Format(PyExc_ValueError, "malformed message: no object has tag %d", tag);
        return NULL;
    }
    content = args_take_object(reader);
    box = content ? box_create(content, false) : NULL;
    Py_XDECREF(content);
    return box;
}

/* Writers, one for each depth: pickling an argument may send another message. */
#define DEPTH 8
static struct args_writer *writers[DEPTH];
static int depth;

/* A block with the body of a message; NULL with an exception. */
static struct block *encode(PyObject *args, PyObject *keywords)
{
    struct args_writer *writer = depth < DEPTH ? writers[depth] : NULL;
    struct block *block = NULL;

    if (!writer)
        return (struct block *)PyErr_Format(PyExc_RecursionError, "messages inside of messages");
    depth++;
    if (args_encode(writer, &PyTuple_GET_ITEM(args, 0), PyTuple_GET_SIZE(args),
                    keywords == Py_None ? NULL : keywords) == 0) {
        block = block_create(args_size(writer));
        if (block)
            args_copy(writer, block->memory + C4P_ENVELOPE_SIZE);
        else
            args_discard(writer);
    }
    depth--;
    return block;
}

/* (args, keywords or None) of a body in a block. */
static PyObject *decode(struct block *block, Py_ssize_t count, bool keywords, bool in_place)
{
    struct args_pin pin = {block_pin, block};
    PyObject **out = PyMem_Calloc((size_t)count + 1, sizeof(*out));
    PyObject *args = NULL, *dict = Py_None, *result = NULL;

    if (!out)
        return PyErr_NoMemory();
    if (args_decode(block->memory + C4P_ENVELOPE_SIZE, block->size, (unsigned)count, keywords,
                    in_place ? &pin : NULL, out) < 0) {
        for (Py_ssize_t i = 0; i <= count; i++)
            if (out[i])
                abort();
    } else {
        args = PyTuple_New(count);
        for (Py_ssize_t i = 0; args && i < count; i++)
            PyTuple_SET_ITEM(args, i, out[i]);
        if (keywords)
            dict = out[count];
        result = args ? Py_BuildValue("(OO)", args, dict) : NULL;
        Py_XDECREF(args);
        if (keywords)
            Py_DECREF(dict);
    }
    PyMem_Free(out);
    return result;
}

static PyObject *module_encode(PyObject *module, PyObject *arguments)
{
    PyObject *args, *keywords = Py_None;
    struct block *block;
    PyObject *body;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "O!|O", &PyTuple_Type, &args, &keywords))
        return NULL;
    block = encode(args, keywords);
    if (!block)
        return NULL;
    body = PyBytes_FromStringAndSize((const char *)block->memory + C4P_ENVELOPE_SIZE,
                                     (Py_ssize_t)block->size);
    Py_DECREF(block);
    return body;
}

static PyObject *module_decode(PyObject *module, PyObject *arguments)
{
    int keywords = 0, in_place = 0;
    struct block *block;
    PyObject *result;
    Py_ssize_t count;
    Py_buffer body;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*n|pp", &body, &count, &keywords, &in_place))
        return NULL;
    block = block_create((size_t)body.len);
    if (!block)
        return NULL;
    memcpy(block->memory + C4P_ENVELOPE_SIZE, body.buf, (size_t)body.len);
    PyBuffer_Release(&body);
    result = decode(block, count, keywords, in_place);
    Py_DECREF(block);
    return result;
}

static PyObject *module_roundtrip(PyObject *module, PyObject *arguments)
{
    PyObject *args, *keywords = Py_None, *result;
    struct block *block;
    int in_place = 0;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "O!|Op", &PyTuple_Type, &args, &keywords, &in_place))
        return NULL;
    block = encode(args, keywords);
    if (!block)
        return NULL;
    result = decode(block, PyTuple_GET_SIZE(args), keywords != Py_None, in_place);
    Py_DECREF(block);
    return result;
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* Nanoseconds to encode and to decode, each the best of several runs of `count`. */
static PyObject *module_measure(PyObject *module, PyObject *arguments)
{
    PyObject *args, *keywords = Py_None, **out = NULL;
    double best[2] = {1e18, 1e18};
    struct block *block = NULL;
    unsigned number;
    long count = 1;
    bool failed = false;

    (void)module;
    if (!PyArg_ParseTuple(arguments, "O!Ol", &PyTuple_Type, &args, &keywords, &count))
        return NULL;
    block = encode(args, keywords);
    if (!block)
        return NULL;
    number = (unsigned)PyTuple_GET_SIZE(args);
    out = PyMem_Calloc(number + 1, sizeof(*out));
    for (int run = 0; run < 5 && !failed; run++) {
        struct args_pin pin = {block_pin, block};
        double start = now();

        for (long i = 0; i < count && !failed; i++) {
            failed = args_encode(writers[0], &PyTuple_GET_ITEM(args, 0), (Py_ssize_t)number,
                                 keywords == Py_None ? NULL : keywords) < 0;
            if (!failed)
                args_copy(writers[0], block->memory + C4P_ENVELOPE_SIZE);
        }
        best[0] = Py_MIN(best[0], (now() - start) / (double)count);
        start = now();
        for (long i = 0; i < count && !failed; i++) {
            failed = args_decode(block->memory + C4P_ENVELOPE_SIZE, block->size, number,
                                 keywords != Py_None, &pin, out) < 0;
            for (unsigned j = 0; j <= number; j++)
                Py_CLEAR(out[j]);
        }
        best[1] = Py_MIN(best[1], (now() - start) / (double)count);
    }
    Py_DECREF(block);
    PyMem_Free(out);
    return failed ? NULL : Py_BuildValue("dd", best[0], best[1]);
}

static PyObject *module_set_protocol(PyObject *module, PyObject *number)
{
    (void)module;
    args_set_protocol((int)PyLong_AsLong(number));
    Py_RETURN_NONE;
}

static PyObject *module_live_blocks(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return PyLong_FromLong(live_blocks);
}

static PyMethodDef methods[] = {
    {"encode", module_encode, METH_VARARGS, "encode(args, keywords=None) -> bytes"},
    {"decode", module_decode, METH_VARARGS, "decode(body, count, keywords=False, in_place=False)"},
    {"roundtrip", module_roundtrip, METH_VARARGS, "roundtrip(args, keywords=None, in_place=False)"},
    {"measure", module_measure, METH_VARARGS, "measure(args, keywords, count) -> ns, ns"},
    {"set_protocol", module_set_protocol, METH_O, "set_protocol(number)"},
    {"live_blocks", module_live_blocks, METH_NOARGS, "live_blocks() -> int"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_args_test",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__args_test(void)
{
    PyObject *module;

    if (PyType_Ready(&block_type) < 0 || PyType_Ready(&box_type) < 0)
        return NULL;
    for (int i = 0; i < DEPTH; i++) {
        writers[i] = args_writer_create();
        if (!writers[i])
            return NULL;
    }
    module = PyModule_Create(&definition);
    if (!module || args_add_functions(module) < 0 ||
        PyModule_AddObject(module, "Box", Py_NewRef((PyObject *)&box_type)) < 0)
        return NULL;
    args_hooks.write = hook_write;
    args_hooks.read = hook_read;
    return module;
}
