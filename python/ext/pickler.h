/*
 * The pickler of messages: pickle's own, kept from one message to the next (making one costs as
 * much as pickling a small object), with reducers.h and out-of-band buffers; cloudpickle's when
 * pickle cannot (functions and classes that no module can be asked for).
 */
#ifndef C4P_EXT_PICKLER_H
#define C4P_EXT_PICKLER_H

#include "python/ext/args_internal.h"

/* The pickle of an object: its stream in pieces of bytes, and its out-of-band buffers. */
struct pickle {
    PyObject *first;   /* bytes */
    PyObject *rest;    /* list of bytes; NULL: none */
    PyObject *buffers; /* list of PickleBuffers, contiguous ones; NULL: none */
};

/* Returns 0, or -1 with the exception of the pickler that was tried last. */
int pickler_dump(PyObject *object, struct pickle *pickle);

/*
 * Does the pending exception say that pickling this object sends something that is pickled, which
 * sends something ... too deep? Then no other way of pickling is worth a try.
 */
bool pickler_went_too_deep(void);

void pickle_clear(struct pickle *pickle);

/* pickle.PicklingError; NULL until the first pickle. */
extern PyObject *pickler_error;

/* The protocol; only from 5 on there are buffers. */
extern int pickler_protocol;

/* Is cloudpickle there? As far as was found out: it is looked for when pickle fails. */
bool pickler_has_cloudpickle(void);

#endif
