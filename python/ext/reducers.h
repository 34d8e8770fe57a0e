/*
 * How arrays and memoryviews that lie inside of other objects are pickled:
 * without NumPy's own way, which copies what is not contiguous three times,
 * keeps what is read-only so and takes microseconds; and memoryviews at all.
 */
#ifndef C4P_EXT_REDUCERS_H
#define C4P_EXT_REDUCERS_H

#include "python/ext/args_internal.h"

/* The reducer of a type, if it is ndarray or memoryview: borrowed; NULL, no exception, if not. */
PyObject *reducer_of(PyTypeObject *type);

#endif
