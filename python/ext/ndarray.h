/*
 * NumPy arrays and scalars as arguments.
 *
 * NumPy is never imported for its own sake: only when a message holds an array,
 * or when an object to be sent is one (then somebody has imported it already).
 */
#ifndef C4P_EXT_NDARRAY_H
#define C4P_EXT_NDARRAY_H

#include "python/ext/args_internal.h"

/* numpy.ndarray; NULL until numpy_load() */
extern PyTypeObject *ndarray_type;

/* Import NumPy and its C API. Returns 0, or -1 with an exception. */
int numpy_load(void);

/* What an array's items lie in, borrowed; NULL for its own memory, or if it is no plain array. */
PyObject *ndarray_base(PyObject *object);

/* Is it numpy.ndarray? Loads NumPy's C API when it first is; no exceptions. */
bool ndarray_is_type(PyTypeObject *type);

/* What a message says of an array, beside its shape. */
struct array_form {
    uint8_t code;          /* of a plain dtype, else 0 */
    PyObject *description; /* of any other dtype, else NULL; a reference */
    size_t size;           /* of its items, in bytes */
    void *contiguous;      /* where they lie packed already, else NULL */
    bool fortran;          /* the order in which they are packed */
};

/* PUT_INDIRECT for what only NumPy can pickle: objects, dtypes with metadata, ... */
enum put ndarray_describe(PyObject *array, struct array_form *form);

enum put ndarray_put(struct args_writer *writer, PyObject *array);

/* Write a scalar of one of the plain dtypes; PUT_INDIRECT for anything else whatever. */
enum put ndarray_put_scalar(struct args_writer *writer, PyObject *object);

/* Copy the `size` bytes of an array's items, packed in C or Fortran order. */
void ndarray_copy(uint8_t *to, PyObject *array, size_t size, bool fortran);

PyObject *ndarray_read(struct args_reader *reader, bool described);
PyObject *ndarray_read_scalar(struct args_reader *reader);

/*
 * An array from a pickle: over the buffer if that is writable, else over a copy. The dtype is
 * that of the code or, if that is 0, of the description, bytes; extents is a tuple.
 */
PyObject *ndarray_restore(PyObject *buffer, uint8_t code, PyObject *description, PyObject *extents,
                          bool fortran);

#endif
