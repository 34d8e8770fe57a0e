/*
 * NumPy's C API, for 1.x (from 1.21) and 2.x. Only ndarray.c defines
 * NUMPY_API_OWNER and holds the table of functions; other files may use it
 * after numpy_load() of ndarray.h.
 */
#ifndef C4P_EXT_NUMPY_API_H
#define C4P_EXT_NUMPY_API_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL c4p_numpy_api
#ifndef NUMPY_API_OWNER
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>
#include <numpy/arrayscalars.h>

#if NPY_ABI_VERSION < 0x02000000 /* 1.x has the fields, not their accessors */
static inline npy_intp PyDataType_ELSIZE(const PyArray_Descr *descr)
{
    return descr->elsize;
}

static inline PyObject *PyDataType_METADATA(const PyArray_Descr *descr)
{
    return descr->metadata;
}

static inline PyObject *PyDataType_NAMES(const PyArray_Descr *descr)
{
    return descr->names;
}

static inline PyObject *PyDataType_FIELDS(const PyArray_Descr *descr)
{
    return descr->fields;
}

static inline PyArray_ArrayDescr *PyDataType_SUBARRAY(const PyArray_Descr *descr)
{
    return descr->subarray;
}
#endif

#endif
