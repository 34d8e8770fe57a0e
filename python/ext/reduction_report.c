/*
 * What the report of a deadlock says of reductions: those that have begun, and who is missing.
 */
#include "python/ext/reduction.h"

#define REPORT_LIMIT 1000

static int report_add(PyObject *list, uint64_t collection, uint32_t sequence)
{
    PyObject *item = Py_BuildValue("(KI)", (unsigned long long)collection, (unsigned)sequence);
    int rc = item == NULL ? -1 : PyList_Append(list, item);

    Py_XDECREF(item);
    return rc;
}

/*
 * On several nodes this one's part of a reduction may be with a router, or on another PE: report the
 * last ones that local elements have contributed to. Those that are complete lack nobody.
 */
#define REPORT_LAST 20

/* The chares that live here, one after the other, from *i = 0 on. */
static const Chare *local_next(const struct collection *collection, size_t *i)
{
    size_t visitors;
    const Chare *chare;

    while (*i < collection->count)
        if ((chare = collection->elements[(*i)++]) != NULL)
            return chare;
    visitors = *i - collection->count;
    chare = migration_visitor(collection, &visitors);
    *i = collection->count + visitors;
    return chare;
}

static int report_last(PyObject *list, const struct collection *collection)
{
    uint32_t last = 0;
    const Chare *chare;

    if (!collection->created || collection->failed)
        return 0;
    for (size_t i = 0; (chare = local_next(collection, &i)) != NULL;)
        if (chare->reductions > last)
            last = chare->reductions;
    for (uint32_t back = 1; back <= last && back <= REPORT_LAST; back++)
        if (report_add(list, collection->id, last - back) != 0)
            return -1;
    return 0;
}

PyObject *reduction_recent(PyObject *self, PyObject *unused)
{
    PyObject *list = PyList_New(0);

    (void)self;
    (void)unused;
    if (rt.segment.geometry.nodes == 1)
        return list;
    for (size_t i = 0; list != NULL && rt.collections.entries && i <= rt.collections.mask; i++) {
        const struct collection *collection = rt.collections.entries[i].value;

        if (PyList_GET_SIZE(list) >= REPORT_LIMIT)
            break;
        if (collection != NULL && report_last(list, collection) != 0)
            Py_CLEAR(list);
    }
    return list;
}

/* Reductions that some have contributed to: (collection id, sequence) of open and of met ones. */
PyObject *reduction_report(PyObject *self, PyObject *unused)
{
    PyObject *list = PyList_New(0);

    (void)self;
    (void)unused;
    for (size_t i = 0; list != NULL && rt.collections.entries && i <= rt.collections.mask; i++) {
        const struct collection *collection = rt.collections.entries[i].value;

        if (collection == NULL)
            continue;
        for (struct reduction *r = collection->reductions; list && r; r = r->next) {
            if (!r->published && report_add(list, collection->id, r->sequence) != 0)
                Py_CLEAR(list);
            if (list == NULL || PyList_GET_SIZE(list) >= REPORT_LIMIT)
                return list;
        }
    }
    for (uint32_t i = 0; list != NULL && i < SEGMENT_BUCKETS; i++) {
        uint64_t offset = atomic_load(&segment_buckets(&rt.segment)[i].first);

        for (; segment_offset_valid(&rt.segment, offset) && PyList_GET_SIZE(list) < REPORT_LIMIT;
             offset = segment_block(&rt.segment, offset)->next) {
            const struct c4p_envelope *block = segment_block(&rt.segment, offset);

            if (report_add(list, block->collection, block->sequence) != 0) {
                Py_DECREF(list);
                return NULL;
            }
        }
    }
    return list;
}

/* Which local elements have not contributed to (id, sequence): (class name, how many, some). */
PyObject *reduction_lacking(PyObject *self, PyObject *args)
{
    unsigned long long id;
    unsigned sequence;
    struct collection *collection;
    PyObject *some;
    const Chare *chare;
    unsigned long long lacking = 0;

    (void)self;
    if (!PyArg_ParseTuple(args, "KI:lacking", &id, &sequence))
        return NULL;
    collection = collection_find(id);
    if (collection == NULL || collection->class == NULL || !collection->created)
        Py_RETURN_NONE;
    some = PyList_New(0);
    for (size_t i = 0; some != NULL && (chare = local_next(collection, &i)) != NULL;) {
        PyObject *text;

        if (chare->reductions > sequence || ++lacking > 5)
            continue;
        text = collection_describe(collection, (int64_t)chare->flat);
        if (text == NULL || PyList_Append(some, text) != 0)
            Py_CLEAR(some);
        Py_XDECREF(text);
    }
    if (some == NULL)
        return NULL;
    return Py_BuildValue("(OKN)", collection->class->name, lacking, some);
}
