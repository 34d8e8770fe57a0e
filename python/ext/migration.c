/*
 * Elements that are not where they are computed to be: finding them, and moving them.
 *
 * proto/location.h decides; this part has the messages, those that are held back and those that wait,
 * and the objects. A collection knows a `struct whereabouts` of each element of which more has to be
 * known than where its home is: few, or none, in most programs.
 *
 * What concerns all elements goes by their homes: a broadcast comes to the computed PEs, and the home
 * passes it on to those of its elements that are away; contributions to reductions are sent home and
 * counted there. So who is away is no concern of anybody else.
 */
#include "proto/location.h"

#include <string.h>

#include "python/ext/runtime.h"

struct chain {
    uint64_t first, last;
};

struct whereabouts {
    struct location location; /* the first member: operations are given this */
    struct collection *collection;
    uint64_t flat;
    Chare *visitor;    /* it lives here, away from home: a strong reference */
    struct chain held; /* messages that cannot be sent yet */
    struct chain kept; /* messages for the element, which is here and is to leave */
};

/* ---- messages that wait ---- */

/* Takes part in quiescence as one that is on its way. */
static void chain_add(struct chain *chain, uint64_t offset)
{
    segment_block(&rt.segment, offset)->next = 0;
    if (chain->first == 0)
        chain->first = offset;
    else
        segment_block(&rt.segment, chain->last)->next = offset;
    chain->last = offset;
    runtime_activity_begin();
}

/* `behind`: an element that has gone there, or stays here. */
static int chain_send(struct chain *chain, uint32_t pe, bool behind)
{
    uint64_t rest = rt.resumed, rest_last = rt.resumed_last;

    if (pe == rt.pe) /* what is resumed already has come later */
        rt.resumed = rt.resumed_last = 0;
    while (chain->first != 0) {
        uint64_t offset = chain->first;

        chain->first = segment_block(&rt.segment, offset)->next;
        if (message_redirect(offset, pe, behind) != 0)
            return -1;
        runtime_activity_end();
    }
    if (pe == rt.pe && rest != 0) {
        if (rt.resumed == 0)
            rt.resumed = rest;
        else
            segment_block(&rt.segment, rt.resumed_last)->next = rest;
        rt.resumed_last = rest_last;
    }
    return 0;
}

/* ---- the table ---- */

static struct whereabouts *whereabouts_find(const struct collection *collection, uint64_t flat)
{
    return table_get(&collection->moved, flat);
}

static Chare **home_element(const struct collection *collection, uint64_t flat)
{
    return &collection->elements[flat - collection->first];
}

/* Where the element is so far: at home. */
static struct whereabouts *whereabouts_get(struct collection *collection, uint64_t flat)
{
    struct whereabouts *w = whereabouts_find(collection, flat);

    if (w != NULL)
        return w;
    w = PyMem_Calloc(1, sizeof(*w));
    if (w == NULL || table_set(&collection->moved, flat, w) != 0) {
        PyMem_Free(w);
        PyErr_NoMemory();
        return NULL;
    }
    w->collection = collection;
    w->flat = flat;
    location_begin(&w->location, rt.pe, collection_pe(collection, flat));
    return w;
}

static void whereabouts_forget(struct whereabouts *w)
{
    if (!location_is_idle(&w->location, rt.pe) || w->held.first != 0 || w->kept.first != 0)
        return;
    table_remove(&w->collection->moved, w->flat);
    location_clear(&w->location);
    PyMem_Free(w);
}

static Chare **whereabouts_element(struct whereabouts *w)
{
    return w->location.home == rt.pe ? home_element(w->collection, w->flat) : &w->visitor;
}

Chare *migration_visitor(const struct collection *collection, size_t *i)
{
    while (collection->moved.count > 0 && *i <= collection->moved.mask) {
        const struct whereabouts *w = collection->moved.entries[(*i)++].value;

        if (w != NULL && w->visitor != NULL)
            return w->visitor;
    }
    return NULL;
}

/* ---- operations of locations ---- */

static int say(void *context, struct location *location, uint32_t pe, enum location_word word,
               uint32_t number)
{
    const struct whereabouts *w = (const struct whereabouts *)location;
    struct c4p_envelope like = {.kind = C4P_LOCATION,
                                .collection = w->collection->id,
                                .future = w->flat,
                                .method = word,
                                .index = {(int32_t)number}};

    (void)context;
    return message_send(&like, pe, NULL, 0, NULL);
}

static int let_go(void *context, struct location *location, uint32_t pe)
{
    (void)context;
    return chain_send(&((struct whereabouts *)location)->held, pe, false);
}

static int depart(void *context, struct location *location, uint32_t to)
{
    struct whereabouts *w = (struct whereabouts *)location;
    Chare **place = whereabouts_element(w), *chare = *place;

    (void)context;
    if (to != rt.pe && element_send(chare, to) != 0) {
        if (runtime_survive() != 0)
            return -1;
        to = rt.pe;
    }
    if (to == rt.pe)
        return chain_send(&w->kept, to, true) != 0 ? -1 : 1;
    *place = NULL;
    chare->collection = NULL;
    chare->flat = CHARE_GONE;
    Py_DECREF(chare);
    return chain_send(&w->kept, to, true);
}

static const struct location_operations operations = {say, let_go, depart, NULL};

/* ---- calls ---- */

int migration_send(const struct c4p_envelope *like, struct collection *collection, uint64_t flat,
                   PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    struct whereabouts *w = whereabouts_find(collection, flat);
    uint32_t pe;
    uint64_t offset;

    if (w == NULL)
        return message_send(like, collection_pe(collection, flat), args, count, keywords);
    if (location_route(&w->location, rt.pe, &pe) == LOCATION_TO)
        return message_send(like, pe, args, count, keywords);
    offset = message_make(like, args, count, keywords);
    if (offset == 0)
        return -1;
    /* Python code has run meanwhile. */
    w = whereabouts_find(collection, flat);
    if (w != NULL && location_route(&w->location, rt.pe, &pe) == LOCATION_HOLD) {
        chain_add(&w->held, offset);
        return 0;
    }
    return message_redirect(offset, w != NULL ? pe : collection_pe(collection, flat), false);
}

/* No more is known of it: it is at home. */
static int arrive_at_home(struct collection *collection, uint64_t flat, uint64_t offset,
                          Chare **chare)
{
    uint32_t home = collection_pe(collection, flat);

    if (home == rt.pe) {
        *chare = *home_element(collection, flat);
        return 0;
    }
    return message_redirect(offset, home, true) == 0 ? 1 : -1;
}

int migration_arrive(struct collection *collection, int64_t flat, uint64_t offset,
                     const struct c4p_envelope *envelope, Chare **chare)
{
    enum location_verdict verdict;
    struct whereabouts *w;
    uint32_t pe;

    *chare = NULL;
    if (class_wait_behind(offset) || class_wait_behind_element(offset))
        return 1;
    if (flat < 0 || (uint64_t)flat >= collection->total || rt.client)
        return 0;
    w = whereabouts_find(collection, (uint64_t)flat);
    if (w == NULL)
        return arrive_at_home(collection, (uint64_t)flat, offset, chare);
    if (location_arrive(&w->location, rt.pe, envelope->source,
                        envelope->source < rt.pes && envelope->kind == C4P_CALL,
                        envelope->flags & C4P_FORWARDED, &operations, &verdict, &pe) != 0)
        return -1;
    if (verdict == LOCATION_RUN)
        *chare = *whereabouts_element(w);
    else if (verdict == LOCATION_TO && message_redirect(offset, pe, true) != 0)
        return -1;
    else if (verdict != LOCATION_TO)
        chain_add(verdict == LOCATION_KEEP ? &w->kept : &w->held, offset);
    return verdict != LOCATION_RUN;
}

/* ---- broadcasts ---- */

static struct c4p_envelope call_envelope(const struct collection *collection,
                                         const struct broadcast *broadcast)
{
    return (struct c4p_envelope){.kind = C4P_CALL,
                                 .flags = broadcast->envelope->flags & (C4P_KEYWORDS | C4P_RETURN),
                                 .collection = collection->id,
                                 .method = broadcast->method->hash};
}

/* Its own copy of a broadcast, for an element that cannot have it now. */
static int copy_keep(struct whereabouts *w, const struct broadcast *broadcast,
                     struct completion *completion, struct chain *chain)
{
    struct c4p_envelope like = call_envelope(w->collection, broadcast);
    uint64_t offset;

    like.ndims = w->collection->ndims;
    collection_unflatten(w->collection, w->flat, like.index);
    if (completion != NULL && (like.future = completion_share(completion, w->flat, 1)) == 0)
        return -1;
    offset = message_make(&like, broadcast->args, broadcast->count, broadcast->keywords);
    if (offset == 0)
        return -1;
    chain_add(chain, offset);
    return 0;
}

/* One copy for all elements of ours that live on a PE. */
static int copy_send(const struct collection *collection, const struct broadcast *broadcast,
                     struct completion *completion, uint32_t pe, uint64_t count)
{
    struct c4p_envelope like = call_envelope(collection, broadcast);

    like.flags |= C4P_BROADCAST;
    like.sequence = rt.pe + 1;
    if (completion != NULL && (like.future = completion_share(completion, 0, count)) == 0)
        return -1;
    return message_send(&like, pe, broadcast->args, broadcast->count, broadcast->keywords);
}

/* What a home does about one of its elements: run it, keep a copy, or count it for the PE where it is. */
static int home_share(struct whereabouts *w, const struct broadcast *broadcast,
                      struct completion *completion, uint64_t *counts, bool *run)
{
    uint32_t pe;

    *run = false;
    switch (location_share(&w->location, rt.pe, &pe)) {
    case LOCATION_RUN:
        *run = true;
        return 0;
    case LOCATION_KEEP:
        return copy_keep(w, broadcast, completion, &w->kept);
    case LOCATION_HOLD:
        return copy_keep(w, broadcast, completion, &w->held);
    default:
        counts[pe]++;
        return 0;
    }
}

static int home_shares(struct collection *collection, const struct broadcast *broadcast,
                       struct completion *completion, uint64_t *counts, Chare **run,
                       uint64_t *count)
{
    for (uint64_t i = 0; i < collection->count; i++) {
        struct whereabouts *w = whereabouts_find(collection, collection->first + i);
        bool now = true;

        if (w != NULL && home_share(w, broadcast, completion, counts, &now) != 0)
            return -1;
        if (now)
            run[(*count)++] = (Chare *)new_ref((PyObject *)collection->elements[i]);
    }
    for (uint32_t pe = 0; pe < rt.pes; pe++)
        if (counts[pe] > 0 && copy_send(collection, broadcast, completion, pe, counts[pe]) != 0)
            return -1;
    return 0;
}

int migration_broadcast(struct collection *collection, const struct broadcast *broadcast,
                        struct completion *completion, Chare ***run, uint64_t *count)
{
    uint64_t *counts = PyMem_Calloc(rt.pes, sizeof(*counts));
    int rc = -1;

    *count = 0;
    *run = PyMem_New(Chare *, collection->count ? collection->count : 1);
    if (counts == NULL || *run == NULL)
        PyErr_NoMemory();
    else if (collection->count == 0)
        rc = completion != NULL ? completion_end(completion) : 0;
    else
        rc = home_shares(collection, broadcast, completion, counts, *run, count);
    PyMem_Free(counts);
    return rc;
}

/* Those that live here, of the home that has sent the broadcast's copy: new references to their
 * whereabouts would not outlive them, so that all is done before any Python code runs. */
static uint64_t shared_list(const struct collection *collection, uint32_t home,
                            struct whereabouts **list)
{
    uint64_t count = 0;

    for (size_t i = 0; collection->moved.count > 0 && i <= collection->moved.mask; i++) {
        struct whereabouts *w = collection->moved.entries[i].value;

        if (w != NULL && w->location.home == home && location_shares(&w->location))
            list[count++] = w;
    }
    return count;
}

static int whereabouts_compare(const void *a, const void *b)
{
    const struct whereabouts *const *x = a, *const *y = b;

    return (*x)->flat < (*y)->flat ? -1 : (*x)->flat > (*y)->flat;
}

int migration_shared(struct collection *collection, const struct broadcast *broadcast,
                     struct completion **completion, Chare ***run, uint64_t *count)
{
    size_t room = collection->moved.count + 1;
    struct whereabouts **list = PyMem_New(struct whereabouts *, room);
    uint64_t all = 0;
    int rc = -1;

    *count = 0;
    *run = PyMem_New(Chare *, room);
    if (list == NULL || *run == NULL) {
        PyErr_NoMemory();
        goto end;
    }
    all = shared_list(collection, broadcast->envelope->sequence - 1, list);
    qsort(list, all, sizeof(struct whereabouts *), whereabouts_compare);
    if (broadcast->envelope->future != 0 &&
        (*completion = completion_create(broadcast->envelope, all)) == NULL)
        goto end;
    rc = *completion != NULL && all == 0 ? completion_end(*completion) : 0;
    for (uint64_t i = 0; i < all && rc == 0; i++)
        if (list[i]->location.frozen)
            rc = copy_keep(list[i], broadcast, *completion, &list[i]->kept);
        else
            (*run)[(*count)++] = (Chare *)new_ref((PyObject *)list[i]->visitor);
end:
    PyMem_Free(list);
    return rc;
}

/* ---- words ---- */

/* SETTLE is a message for the element: it has arrived when the element could handle it. */
static int settle_handle(struct collection *collection, uint64_t offset,
                         const struct c4p_envelope *envelope)
{
    struct c4p_envelope like = {.kind = C4P_LOCATION,
                                .collection = envelope->collection,
                                .future = envelope->future,
                                .method = LOCATION_SETTLED};
    Chare *chare;
    int rc = migration_arrive(collection, (int64_t)envelope->future, offset, envelope, &chare);

    if (rc != 0)
        return rc < 0 ? -1 : 0;
    message_release(offset);
    return message_send(&like, envelope->source, NULL, 0, NULL);
}

int location_handle(uint64_t offset, const struct c4p_envelope *envelope)
{
    struct collection *collection = collection_of(envelope);
    enum location_word word = envelope->method;
    struct whereabouts *w;
    int rc;

    if (collection == NULL)
        return -1;
    if (!collection->created && (word == LOCATION_SETTLE || word == LOCATION_LANDED)) {
        collection_hold(collection, offset);
        return 0;
    }
    if (collection->class != NULL && word == LOCATION_SETTLE)
        return settle_handle(collection, offset, envelope);
    /* The element must not leave before a message for it that waits for a class. */
    if (class_wait_behind_all(offset))
        return 0;
    message_release(offset);
    if (collection->class == NULL || envelope->future >= collection->total ||
        envelope->source >= rt.pes || (uint32_t)envelope->index[0] >= rt.pes)
        rc = 1;
    else if ((w = whereabouts_get(collection, envelope->future)) == NULL)
        rc = -1;
    else if ((rc = location_hear(&w->location, rt.pe, envelope->source, word,
                                 (uint32_t)envelope->index[0], &operations)) >= 0)
        whereabouts_forget(w);
    if (rc > 0)
        runtime_error("PE %u says of an element what cannot be (word %u)", envelope->source,
                      (unsigned)word);
    return rc == 0 ? 0 : -1;
}

/* ---- arriving ---- */

/* A PE that had no part in the collection has one now. What came behind the element may be here, if that
 * had to wait for its class. */
static int collection_visit(struct collection *collection)
{
    if (collection->created)
        return 0;
    collection->elements = PyMem_Calloc(1, sizeof(*collection->elements));
    if (collection->elements == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    collection->created = true;
    return collection_release_held(collection);
}

static int element_arrived(Chare *chare)
{
    PyObject *result;

    rt.running = chare;
    rt.running_name = names.migrated;
    result = PyObject_CallMethodNoArgs((PyObject *)chare, names.migrated);
    rt.running = NULL;
    rt.running_name = NULL;
    Py_XDECREF(result);
    return result == NULL ? runtime_survive() : 0;
}

static int element_install(struct collection *collection, Chare *chare)
{
    struct whereabouts *w = NULL;

    if (collection_visit(collection) == 0)
        w = whereabouts_get(collection, chare->flat);
    if (w == NULL) {
        Py_DECREF(chare);
        return -1;
    }
    *whereabouts_element(w) = chare;
    location_install(&w->location);
    return element_arrived(chare);
}

int element_handle(uint64_t offset, const struct c4p_envelope *envelope)
{
    struct collection *collection = collection_of(envelope);
    Chare *chare;
    int rc;

    if (collection == NULL)
        return -1;
    if (!collection->created && envelope->method) {
        collection_hold(collection, offset);
        return 0;
    }
    rc = element_receive(offset, envelope, &chare);
    if (rc != 0)
        return rc < 0 ? -1 : 0;
    return element_install(collection, chare);
}

/* ---- asking for it ---- */

static int migrate_target(PyObject *given, uint32_t *pe)
{
    PyObject *number;
    long long value;
    int overflow;

    if (PyBool_Check(given) || !PyIndex_Check(given)) {
        PyErr_Format(PyExc_TypeError, "migrate(%R): toPe is the number of a PE, an int, not %s",
                     given, Py_TYPE(given)->tp_name);
        return -1;
    }
    number = PyNumber_Index(given);
    if (number == NULL)
        return -1;
    value = PyLong_AsLongLongAndOverflow(number, &overflow);
    Py_DECREF(number);
    if (overflow != 0 || value < 0 || value >= rt.pes) {
        PyErr_Format(PyExc_IndexError, "migrate(%R): the PEs are 0 to %u", given, rt.pes - 1);
        return -1;
    }
    *pe = (uint32_t)value;
    return 0;
}

/* Why it has to stay; NULL: it may go. */
static const char *migrate_obstacle(const Chare *chare)
{
    if (chare->collection->kind == KIND_GROUP)
        return "a group has a member on every PE";
    if (chare->collection->kind != KIND_ARRAY)
        return "it is the main chare";
    return chare->live_coroutines > 0 ? "a coroutine of it has not ended" : NULL;
}

static int migrate_check(const Chare *chare, uint32_t pe)
{
    const char *why = migrate_obstacle(chare);
    PyObject *name;

    if (why == NULL)
        return 0;
    name = collection_describe(chare->collection, (int64_t)chare->flat);
    if (name != NULL)
        runtime_error("%U cannot migrate to PE %u: %s", name, pe, why);
    Py_XDECREF(name);
    return -1;
}

PyObject *chare_migrate(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"toPe", NULL};
    Chare *chare = (Chare *)self;
    struct whereabouts *w;
    PyObject *given;
    uint32_t pe;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:migrate", keywords, &given) ||
        runtime_require() != 0 || chare_require(chare) != 0 || migrate_target(given, &pe) != 0 ||
        migrate_check(chare, pe) != 0)
        return NULL;
    w = whereabouts_find(chare->collection, chare->flat);
    if (pe == rt.pe && (w == NULL || !w->location.frozen))
        Py_RETURN_NONE;
    if (w == NULL && (w = whereabouts_get(chare->collection, chare->flat)) == NULL)
        return NULL;
    if (!w->location.here) /* it is being pickled */
        return runtime_error("migrate() in what makes the state of a chare that is leaving");
    if (location_move(&w->location, pe, &operations) != 0)
        return NULL;
    Py_RETURN_NONE;
}
