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

/* Is it exactly a numpy.ndarray? Loads NumPy at the first one; no exceptions. */
bool ndarray_check(PyObject *object);

/* Write an array; PUT_INDIRECT for what only pickle can (objects, dtypes with metadata, ...). */
enum put ndarray_put(struct args_writer *writer, PyObject *array);

/* Write a scalar of one of the plain dtypes; PUT_INDIRECT for anything else whatever. */
enum put ndarray_put_scalar(struct args_writer *writer, PyObject *object);

/* Copy the `size` bytes of an array's items, packed in C or Fortran order. */
void ndarray_copy(uint8_t *to, PyObject *array, size_t size, bool fortran);

PyObject *ndarray_read(struct args_reader *reader, bool described);
PyObject *ndarray_read_scalar(struct args_reader *reader);

#endif
