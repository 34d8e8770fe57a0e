/*
 * NumPy dtypes in messages: a code of one letter for the plain ones (native
 * numbers), a description for the others, which both sides remember.
 */
#ifndef C4P_EXT_DTYPE_H
#define C4P_EXT_DTYPE_H

#include "python/ext/args_internal.h"
#include "python/ext/numpy_api.h"

#define DTYPE_DESCRIPTION_MAX 0xffff

/* Look up what the functions below need; after the import of NumPy. -1 with an exception. */
int dtype_load(void);

/* The code of a plain dtype; 0 for any other. */
uint8_t dtype_code(const PyArray_Descr *descr);

/* The dtype of a code: borrowed; NULL without an exception if there is no such code. */
PyArray_Descr *dtype_of_code(uint8_t code);

/*
 * The description of any other dtype as bytes: a new reference, *description
 * NULL if it has none and its arrays must be pickled. -1 with an exception.
 */
int dtype_describe(PyArray_Descr *descr, PyObject **description);

/* The dtype that a description is of: new reference, NULL with an exception. */
PyArray_Descr *dtype_of_description(const uint8_t *bytes, size_t size);

#endif
