/*
 * Reducers, and how two contributions become one.
 *
 * Numbers are combined by the interpreter's own operations, arrays by NumPy's
 * ufuncs, in place where that may be; contributions to gather and to custom
 * reducers are gathered in lists.
 */
#ifndef C4P_EXT_COMBINE_H
#define C4P_EXT_COMBINE_H

#include "proto/tail.h"
#include "python/ext/runtime.h"

/* A reducer as contributions name it: an attribute of Reducer. */
typedef struct {
    PyObject_HEAD int op; /* enum reducer_op */
    uint32_t hash;        /* of the name: what PEs compare */
    PyObject *name;
    PyObject *function; /* of custom ones: list -> value */
    PyObject *pre;      /* (data, chare) -> data, or None */
    PyObject *post;     /* value -> value, or None */
} Reducer;

/* The reducer that a contribution names; borrowed. */
Reducer *reducer_resolve(PyObject *given);

/* Are its contributions gathered in a list? */
static inline bool reducer_gathers(const Reducer *reducer)
{
    return reducer->op == OP_GATHER || reducer->op == OP_CUSTOM;
}

/*
 * A contribution in the form in which it is combined. New reference. `several`: others of this PE
 * will come, and until then its owner may change it. `first`: the others will be added to it.
 */
PyObject *value_take(const Reducer *reducer, PyObject *data, bool several, bool first);

/* What a contribution that is gathered is now, whatever its owner does to it later. */
PyObject *value_snapshot(PyObject *data);

/* a op b; the result may be one of the two, changed in place if it is owned. */
PyObject *value_combine(const Reducer *reducer, PyObject *a, PyObject *b, bool a_owned,
                        bool b_owned);

/* The combined value, or NULL, in the form that the target gets. New reference, or NULL. */
PyObject *value_finish(const Reducer *reducer, PyObject *value);

/* Does nobody else see what is done to a value? `owned`: it was made by combining. */
bool value_is_private(PyObject *value, bool owned);

#endif
