/*
 * The argument codec: Python objects to the body of a message and back.
 *
 * None, bools, ints, floats, complex, str, bytes and tuples of them have a direct
 * encoding; C- or Fortran-contiguous NumPy arrays, array.array and other
 * buffers are copied as they are, once, to an aligned place of the body; what
 * is left over of one message is pickled together (protocol 5, its large
 * buffers out of band too), by cloudpickle where pickle cannot. proto/args.md
 * gives the bytes.
 *
 * Encoding has two steps, so that a message is copied once, straight into a
 * block of the right size:
 *     args_encode(w, args, n, keywords) -> args_size(w) -> allocate -> args_copy(w, body)
 * Between the two the arguments must not be changed (the GIL is held).
 */
#ifndef C4P_EXT_ARGS_H
#define C4P_EXT_ARGS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>

/* Tags from here on belong to the runtime's own objects (proxies, futures): args_hooks. */
#define ARGS_RUNTIME_TAG 0x40

/* Buffers of at least so many bytes are left in the block and used in place by the receiver. */
#define ARGS_IN_PLACE 2048

struct args_writer; /* reusable; one for each depth of nested encoding */
struct args_reader;

/* What the runtime adds to the codec; set once before any encoding. */
struct args_hooks {
    /* Write `object` if it is one of the runtime's (tag first, args_put): 1. 0: not mine. -1: error. */
    int (*write)(struct args_writer *writer, PyObject *object);
    /* Read an object whose tag was `tag` (>= ARGS_RUNTIME_TAG): new reference, NULL with exception. */
    PyObject *(*read)(struct args_reader *reader, uint8_t tag);
};
extern struct args_hooks args_hooks;

/*
 * Add to a module the functions that pickles of messages name to make arrays and memoryviews
 * again. Every process of a job must be able to import it under the same name. -1 with an exception.
 */
int args_add_functions(PyObject *module);

struct args_writer *args_writer_create(void);
void args_writer_destroy(struct args_writer *writer);

/*
 * Encode `count` positional arguments and, if not NULL, one more: a dict of keywords.
 * Returns 0, or -1 with the exception that pickling raised (its message names the
 * argument's position and type); the writer is then empty.
 */
int args_encode(struct args_writer *writer, PyObject *const *args, Py_ssize_t count,
                PyObject *keywords);

/* The pickle protocol of everything that is pickled from now on; negative: the highest. */
void args_set_protocol(int number);

/*
 * Whether what `__main__` has goes by value: in a session that is not the same module everywhere,
 * though pickle finds it.
 */
void args_set_private_main(bool private);

/* Bytes that args_copy() will write. */
size_t args_size(const struct args_writer *writer);

/* Write the body and empty the writer. `body` is C4P_ENVELOPE_SIZE behind a 64-byte boundary. */
void args_copy(struct args_writer *writer, uint8_t *body);

/* Empty the writer without having copied. */
void args_discard(struct args_writer *writer);

/* For hooks: append raw bytes. -1 with MemoryError. */
int args_put(struct args_writer *writer, const void *bytes, size_t size);

/* For hooks: take `size` bytes. NULL with a ValueError if they are not there. */
const uint8_t *args_take(struct args_reader *reader, size_t size);

/* For hooks: one nested argument, any encodable object. */
int args_put_object(struct args_writer *writer, PyObject *object);
PyObject *args_take_object(struct args_reader *reader);

/*
 * Who keeps a body alive for arrays that stay in it. object() returns a new
 * reference to the object that does (made at the first call); NULL with an
 * exception. A NULL pin: the body is about to go, copy everything.
 */
struct args_pin {
    PyObject *(*object)(void *context);
    void *context;
};

/*
 * Decode a body of `size` bytes into out[0 .. count-1] (new references) and,
 * if keywords, out[count], a dict. Arrays in place are writable and keep the
 * pin's object alive. Every length is checked: any bytes whatever give either
 * objects or -1 with an exception (ValueError for malformed bytes, else what
 * unpickling raised), and no references in out.
 */
int args_decode(const uint8_t *body, size_t size, unsigned count, bool keywords,
                const struct args_pin *pin, PyObject **out);

#endif
