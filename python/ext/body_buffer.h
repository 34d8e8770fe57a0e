/*
 * Body buffers: objects that export a piece of memory, usually of a message's
 * body, and keep alive what owns it. Or own it themselves.
 */
#ifndef C4P_EXT_BODY_BUFFER_H
#define C4P_EXT_BODY_BUFFER_H

#include "python/ext/args_internal.h"

/*
 * One of `size` writable plain bytes. With an owner (a reference is taken) they are those at
 * `data`; without one they are its own, a copy of `data` unless that is NULL.
 */
PyObject *body_buffer_create(PyObject *owner, const void *data, size_t size);

/* Its bytes. */
void *body_buffer_data(PyObject *buffer);

/*
 * Give it a format and a shape of `ndim` 64-bit extents. False with an exception if they do not
 * fit its size: memoryview trusts who exports to it.
 */
bool body_buffer_describe(PyObject *buffer, uint64_t itemsize, int ndim, const void *shape,
                          const void *format, size_t length, bool read_only);

#endif
