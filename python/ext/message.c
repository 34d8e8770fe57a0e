/*
 * Messages: blocks of the segment with an envelope, made here and given back here.
 */
#include <string.h>

#include "python/ext/delays.h"
#include "python/ext/ndarray.h"
#include "python/ext/runtime.h"

/*
 * Writers that nobody uses. Encoding runs Python code, which may send by itself, suspend its
 * coroutine or let another thread run: each encoding under way has a writer of its own.
 */
#define IDLE_WRITERS 16
static struct args_writer *idle_writers[IDLE_WRITERS];
static unsigned idle_writer_count;

static struct args_writer *writer_take(void)
{
    if (idle_writer_count > 0)
        return idle_writers[--idle_writer_count];
    return args_writer_create();
}

static void writer_give(struct args_writer *writer)
{
    args_discard(writer);
    if (idle_writer_count < IDLE_WRITERS)
        idle_writers[idle_writer_count++] = writer;
    else
        args_writer_destroy(writer);
}

/* ---- blocks ---- */

/* The largest block. From a client that does not map the segment it goes through the router's part. */
static uint64_t largest_block(void)
{
    const struct segment_geometry *geometry = &rt.segment.geometry;

    return geometry->region_size - (geometry->local_pes == 0 ? SEGMENT_ROUTER_RESERVE : 0);
}

static void segment_full(size_t size)
{
    PyObject *args[2];
    PyObject *error;

    args[0] = PyLong_FromSize_t(size);
    args[1] = PyLong_FromUnsignedLongLong(largest_block());
    if (args[0] && args[1]) {
        error = runtime_hook("segment_full", args, 2);
        Py_XDECREF(error);
    }
    Py_XDECREF(args[0]);
    Py_XDECREF(args[1]);
}

uint64_t message_block(const struct c4p_envelope *like, size_t size)
{
    size_t whole = C4P_ENVELOPE_SIZE + size;
    uint64_t offset = whole <= largest_block() ? region_alloc(rt.region, whole) : 0;
    struct c4p_envelope *block;

    if (offset == 0) {
        segment_full(whole);
        return 0;
    }
    block = segment_block(&rt.segment, offset);
    memcpy((void *)block, (const void *)like, C4P_ENVELOPE_SIZE);
    block->body_size = size;
    block->version = C4P_ENVELOPE_VERSION;
    block->epoch = rt.segment.geometry.epoch;
    block->source = rt.pe;
    return offset;
}

static uint8_t *block_body(uint64_t offset)
{
    return rt.segment.base + offset + C4P_ENVELOPE_SIZE;
}

static void chain_append(uint64_t *first, uint64_t *last, uint64_t offset)
{
    segment_block(&rt.segment, offset)->next = 0;
    if (*first == 0)
        *first = offset;
    else
        segment_block(&rt.segment, *last)->next = offset;
    *last = offset;
}

/* Before messages are queued: quiescence must never see them received and not sent. */
static void count_many(uint32_t count)
{
    rt.sent += count;
    atomic_store_explicit(&rt.self->sent, rt.sent, memory_order_release);
    delay_point();
}

static void count_sent(uint32_t target)
{
    if (target < C4P_ROUTER) /* clients take no part: they may be anywhere, or gone */
        count_many(1);
}

void message_resume(uint64_t offset)
{
    count_sent(rt.pe);
    chain_append(&rt.resumed, &rt.resumed_last, offset);
    message_nudge();
}

void message_requeue(uint64_t offset)
{
    count_sent(rt.pe);
    /* From another thread of the program: the scheduler may be asleep, its inbox wakes it. */
    if (PyThreadState_Get() != rt.thread)
        inbox_push(&rt.segment, rt.slot, offset);
    else
        chain_append(&rt.local, &rt.local_last, offset);
}

void message_nudge(void)
{
    if (PyThreadState_Get() != rt.thread)
        inbox_wake(&rt.segment, rt.slot);
}

/* Others will give a block of ours back: the router needs to know how many that are (clients.h). */
static void count_handed(void)
{
    if (rt.client)
        atomic_fetch_add_explicit(&rt.self->handed, 1, memory_order_relaxed);
}

/* To its target, which is not this PE. */
static void deliver(uint64_t offset)
{
    uint32_t target = segment_block(&rt.segment, offset)->target;
    uint32_t slot = segment_slot(&rt.segment, target);

    if (slot >= rt.segment.geometry.slots || rt.segment.geometry.local_pes == 0) {
        slot = segment_router_slot(&rt.segment); /* it knows the way */
    } else if (slot > segment_router_slot(&rt.segment) &&
               atomic_load_explicit(&segment_endpoint(&rt.segment, slot)->address,
                                    memory_order_acquire) != target) {
        message_release(offset); /* that client is gone */
        return;
    }
    count_handed();
    inbox_push(&rt.segment, slot, offset);
}

static void push(uint64_t offset)
{
    if (segment_block(&rt.segment, offset)->target == rt.pe) {
        message_requeue(offset);
        return;
    }
    count_sent(segment_block(&rt.segment, offset)->target);
    if (rt.held_back)
        chain_append(&rt.held, &rt.held_last, offset);
    else
        deliver(offset);
}

int message_let_go(void)
{
    uint64_t offset = rt.held;

    rt.held_back = false;
    rt.held = 0;
    while (offset != 0) {
        uint64_t next = segment_block(&rt.segment, offset)->next;

        deliver(offset);
        offset = next;
    }
    return 0;
}

/* ---- sending ---- */

uint64_t message_make(const struct c4p_envelope *like, PyObject *const *args, Py_ssize_t count,
                      PyObject *keywords)
{
    struct args_writer *writer = writer_take();
    uint64_t offset = 0;

    if (writer == NULL)
        return 0;
    if (args_encode(writer, args, count, keywords) == 0 &&
        (offset = message_block(like, args_size(writer))) != 0) {
        args_copy(writer, block_body(offset));
        segment_block(&rt.segment, offset)->args = (uint16_t)count;
    }
    writer_give(writer);
    return offset;
}

/*
 * With charm.options.local_msg_optim, a call of an element on this PE carries the objects
 * themselves: its block has no body, and they wait here, by the block's offset.
 */
static struct table references; /* offset -> list of arguments, then keywords or None */

static int send_references(const struct c4p_envelope *like, PyObject *const *args, Py_ssize_t count,
                           PyObject *keywords)
{
    PyObject *list = PyList_New(count + 1);
    uint64_t offset;

    for (Py_ssize_t i = 0; list != NULL && i < count; i++)
        PyList_SET_ITEM(list, i, new_ref(args[i]));
    if (list == NULL)
        return -1;
    PyList_SET_ITEM(list, count, new_ref(keywords ? keywords : Py_None));
    offset = message_block(like, 0);
    if (offset == 0) {
        Py_DECREF(list);
        return -1;
    }
    if (table_set(&references, offset, list) != 0) {
        region_free(rt.region, offset);
        Py_DECREF(list);
        PyErr_NoMemory();
        return -1;
    }
    segment_block(&rt.segment, offset)->target = rt.pe;
    segment_block(&rt.segment, offset)->args = (uint16_t)count;
    push(offset);
    return 0;
}

/* The arguments of such a message, from its list (stolen). */
static int references_decode(PyObject *list, const struct c4p_envelope *envelope, PyObject **out)
{
    PyObject *keywords;

    if (PyList_GET_SIZE(list) != envelope->args + 1) {
        Py_DECREF(list);
        PyErr_SetString(PyExc_ValueError, "a message by reference with other arguments than sent");
        return -1;
    }
    for (Py_ssize_t i = 0; i < envelope->args; i++)
        out[i] = new_ref(PyList_GET_ITEM(list, i));
    keywords = PyList_GET_ITEM(list, envelope->args);
    if (keywords != Py_None)
        out[envelope->args] = new_ref(keywords);
    Py_DECREF(list);
    return 0;
}

int message_send(const struct c4p_envelope *like, uint32_t target, PyObject *const *args,
                 Py_ssize_t count, PyObject *keywords)
{
    uint64_t offset;

    if (rt.by_reference && target == rt.pe && like->kind == C4P_CALL && like->ndims > 0)
        return send_references(like, args, count, keywords);
    offset = message_make(like, args, count, keywords);
    if (offset == 0)
        return -1;
    segment_block(&rt.segment, offset)->target = target;
    push(offset);
    return 0;
}

/* A message by reference leaves this PE. */
static int redirect_references(uint64_t offset, PyObject *list, uint32_t target)
{
    const struct c4p_envelope like = *segment_block(&rt.segment, offset);
    PyObject *keywords = PyList_GET_ITEM(list, like.args);
    uint64_t made = message_make(&like, &PyList_GET_ITEM(list, 0), like.args,
                                 keywords == Py_None ? NULL : keywords);

    if (made == 0)
        return -1;
    segment_block(&rt.segment, made)->target = target;
    message_release(offset);
    push(made);
    return 0;
}

int message_redirect(uint64_t offset, uint32_t target, bool forwarded)
{
    struct c4p_envelope *block = segment_block(&rt.segment, offset);
    uint32_t origin = envelope_origin(block);
    PyObject *list;

    if (forwarded || origin != rt.pe) {
        block->flags |= C4P_FORWARDED;
        block->sequence = origin;
    }
    if (target == rt.pe) {
        message_resume(offset);
        return 0;
    }
    list = references.count > 0 ? table_get(&references, offset) : NULL;
    if (list != NULL)
        return redirect_references(offset, list, target);
    block->target = target;
    block->source = rt.pe;
    push(offset);
    return 0;
}

int message_send_part(const struct c4p_envelope *like, uint32_t target, PyObject *value,
                      const struct c4p_tail *tail)
{
    struct args_writer *writer = writer_take();
    Py_ssize_t count = value != NULL;
    uint64_t offset = 0;
    size_t size;

    if (writer == NULL)
        return -1;
    if (args_encode(writer, &value, count, NULL) == 0 &&
        (offset = message_block(like, size = args_size(writer) + C4P_TAIL_SIZE)) != 0) {
        args_copy(writer, block_body(offset));
        tail_write(block_body(offset), size, tail);
        segment_block(&rt.segment, offset)->args = (uint16_t)count;
        segment_block(&rt.segment, offset)->target = target;
        if (target >= C4P_ROUTER)
            count_many(1); /* a part is handled by a router as by a PE */
        push(offset);
    }
    writer_give(writer);
    return offset != 0 ? 0 : -1;
}

/* Blocks for so many messages, linked by next: all of them or none. 0 with an exception. */
static uint64_t blocks_make(const struct c4p_envelope *like, size_t size, uint32_t count)
{
    uint64_t chain = 0;

    while (count-- > 0) {
        uint64_t offset = message_block(like, size);

        if (offset == 0) {
            for (uint64_t next; chain != 0; chain = next) {
                next = segment_block(&rt.segment, chain)->next;
                region_free(rt.region, chain);
            }
            return 0;
        }
        segment_block(&rt.segment, offset)->next = chain;
        chain = offset;
    }
    return chain;
}

/* Who gets a broadcast: `pes` PEs from `first` on, but not `except`, which is this PE. */
struct recipients {
    uint32_t first, pes;
    uint32_t except; /* UINT32_MAX: nobody */
    uint32_t count;  /* how many that are */
};

/*
 * Those to whom we send ourselves. The others, `*elsewhere` of them, are on other nodes, and get it
 * through one message to the router (C4P_MULTICAST).
 */
static struct recipients recipients_here(const struct recipients *to, uint32_t *elsewhere)
{
    const struct segment_geometry *geometry = &rt.segment.geometry;
    uint32_t end = geometry->first_pe + geometry->local_pes;
    struct recipients here = *to;

    *elsewhere = 0;
    if (geometry->nodes == 1)
        return here;
    if (here.first < geometry->first_pe)
        here.first = geometry->first_pe;
    if (end > to->first + to->pes)
        end = to->first + to->pes;
    here.pes = end > here.first ? end - here.first : 0;
    here.count = here.pes - (to->pes - to->count);
    *elsewhere = to->count - here.count;
    if (*elsewhere > 1)
        return here;
    *elsewhere = 0; /* one is sent to like those here */
    return *to;
}

/* The message to the router, for PEs of other nodes. */
static void address_elsewhere(struct c4p_envelope *block, const struct recipients *to)
{
    block->flags |= C4P_MULTICAST;
    block->target = C4P_ROUTER | rt.segment.geometry.node;
    block->index[0] = (int32_t)to->first;
    block->index[1] = (int32_t)to->pes;
}

/*
 * Encoded arguments to all recipients. A large body has a block of its own, to which the messages
 * refer. Everything is there before the first message leaves: nobody gets half a broadcast.
 */
static int broadcast_encoded(const struct c4p_envelope *like, const struct recipients *to,
                             struct args_writer *writer, uint16_t args)
{
    uint32_t elsewhere;
    const struct recipients here = recipients_here(to, &elsewhere);
    uint32_t count = here.count + (elsewhere > 0), addressed = 0;
    size_t size = args_size(writer);
    bool shared = size > BROADCAST_COPY_MAX && count > 1;
    uint64_t body = 0, chain, next;
    uint32_t target = here.first;

    if (shared && (body = message_block(like, size)) == 0)
        return -1;
    chain = blocks_make(like, shared ? 0 : size, count);
    if (chain == 0) {
        if (shared)
            region_free(rt.region, body);
        return -1;
    }
    args_copy(writer, block_body(shared ? body : chain));
    if (shared)
        count_handed();
    if (shared)
        atomic_store_explicit(&segment_block(&rt.segment, body)->refs, count, memory_order_relaxed);
    for (uint64_t offset = chain; offset != 0; offset = next) {
        struct c4p_envelope *block = segment_block(&rt.segment, offset);

        next = block->next;
        target += target == to->except;
        if (addressed++ < here.count)
            block->target = target++;
        else
            address_elsewhere(block, to);
        block->args = args;
        block->body = body;
        block->body_size = size;
        if (!shared && offset != chain)
            memcpy(block_body(offset), block_body(chain), size);
    }
    if (elsewhere > 0)
        count_many(elsewhere);
    for (uint64_t offset = chain; offset != 0; offset = next) {
        next = segment_block(&rt.segment, offset)->next;
        push(offset);
    }
    return 0;
}

static int broadcast(const struct c4p_envelope *like, const struct recipients *to,
                     PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    struct args_writer *writer;
    int rc;

    if (to->count == 0)
        return 0;
    if (to->count == 1)
        return message_send(like, to->first + (to->first == to->except), args, count, keywords);
    writer = writer_take();
    if (writer == NULL)
        return -1;
    rc = args_encode(writer, args, count, keywords);
    if (rc == 0)
        rc = broadcast_encoded(like, to, writer, (uint16_t)count);
    writer_give(writer);
    return rc;
}

int message_broadcast(const struct c4p_envelope *like, uint32_t first, uint32_t pes,
                      PyObject *const *args, Py_ssize_t count, PyObject *keywords)
{
    const struct recipients to = {first, pes, UINT32_MAX, pes};

    return broadcast(like, &to, args, count, keywords);
}

int message_broadcast_others(const struct c4p_envelope *like, uint32_t first, uint32_t pes,
                             PyObject *const *args, Py_ssize_t count)
{
    bool among = rt.pe - first < pes;
    const struct recipients to = {first, pes, rt.pe, pes - among};

    return broadcast(like, &to, args, count, NULL);
}

int message_send_router(uint8_t kind, uint32_t sequence, const char *text, size_t size)
{
    struct c4p_envelope like = {.kind = kind, .sequence = sequence};
    uint64_t offset = message_block(&like, size);

    if (offset == 0)
        return -1;
    segment_block(&rt.segment, offset)->target = C4P_ROUTER | rt.segment.geometry.node;
    if (size > 0)
        memcpy(block_body(offset), text, size);
    count_handed();
    inbox_push(&rt.segment, segment_router_slot(&rt.segment), offset);
    return 0;
}

int message_send_quiescent(uint32_t slot)
{
    struct c4p_envelope like = {.kind = C4P_QUIESCENT};
    uint64_t offset = message_block(&like, 0);

    if (offset == 0)
        return -1;
    segment_block(&rt.segment, offset)->target =
        slot < rt.segment.geometry.local_pes
            ? rt.segment.geometry.first_pe + slot
            : atomic_load(&segment_endpoint(&rt.segment, slot)->address);
    count_handed();
    inbox_push(&rt.segment, slot, offset);
    return 0;
}

/* ---- receiving ---- */

/* A block that arrays point into; returned when the last of them dies. */
typedef struct {
    PyObject_HEAD uint64_t offset;
    bool alone; /* it holds one argument and nothing else */
} Block;

static void block_return(uint64_t offset)
{
    const struct c4p_envelope *block = segment_block(&rt.segment, offset);
    bool large = block->body == 0 && block->body_size > REGION_SPAN;

    /* Before it sleeps, the scheduler gives back what it has gathered: not what comes after. */
    if (segment_owner(&rt.segment, offset) == rt.slot)
        region_free(rt.region, offset);
    else
        region_returns_add(&rt.returns, offset, large || PyThreadState_Get() != rt.thread);
}

/* The body's block, if the message shares one, has one reader less. */
static void body_release(uint64_t body)
{
    struct c4p_envelope *block = segment_block(&rt.segment, body);

    if (atomic_fetch_sub_explicit(&block->refs, 1, memory_order_acq_rel) == 1)
        block_return(body);
}

void message_release(uint64_t offset)
{
    uint64_t body = segment_block(&rt.segment, offset)->body;

    if (references.count > 0)
        Py_XDECREF(table_remove(&references, offset));
    if (body != 0 && segment_offset_valid(&rt.segment, body))
        body_release(body);
    block_return(offset);
}

static void Block_dealloc(PyObject *self)
{
    uint64_t offset = ((Block *)self)->offset;

    if (offset != 0 && rt.attached) /* a forked child is no PE: the block is its parent's */
        message_release(offset);
    PyObject_Free(self);
}

PyTypeObject Block_Type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "c4py._c4py.Block",
    .tp_basicsize = sizeof(Block),
    .tp_dealloc = Block_dealloc,
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "A message in the segment that arrays point into.",
};

struct pin_context {
    uint64_t offset;
    bool alone;
    PyObject *block;
};

static PyObject *pin_object(void *context)
{
    struct pin_context *pin = context;

    if (pin->block == NULL) {
        Block *block = PyObject_New(Block, &Block_Type);

        if (block == NULL)
            return NULL;
        block->offset = pin->offset;
        block->alone = pin->alone;
        pin->block = (PyObject *)block;
    }
    return new_ref(pin->block);
}

/*
 * Arrays may stay in the block unless others read it too, or its owner runs short of room. Never in
 * a client: what it has must outlive the session, and its death must leave nothing in use. The router
 * needs its room for all clients that do not map the segment, and for what comes from other nodes.
 */
static bool may_pin(uint64_t holder, const struct c4p_envelope *envelope)
{
    const struct segment_geometry *geometry = &rt.segment.geometry;
    const struct segment_endpoint *owner =
        segment_endpoint(&rt.segment, segment_owner(&rt.segment, holder));
    bool routed = segment_owner(&rt.segment, holder) == segment_router_slot(&rt.segment);

    if (rt.client || (routed && geometry->nodes == 1) || envelope->kind == C4P_ELEMENT)
        return false; /* what an element has would stay there for as long as it lives */
    if (envelope->body != 0 &&
        atomic_load_explicit(&segment_block(&rt.segment, holder)->refs, memory_order_acquire) != 1)
        return false;
    return atomic_load_explicit(&owner->used, memory_order_relaxed) <
           geometry->region_size / (routed ? 4 : 2);
}

int message_decode(uint64_t offset, const struct c4p_envelope *envelope, PyObject **out)
{
    uint64_t holder = envelope->body != 0 ? envelope->body : offset;
    struct pin_context context = {
        offset, envelope->args == 1 && envelope->body == 0 && !(envelope->flags & C4P_KEYWORDS),
        NULL};
    struct args_pin pin = {pin_object, &context};
    PyObject *list = references.count > 0 ? table_remove(&references, offset) : NULL;
    int rc;

    if (list != NULL) {
        message_release(offset);
        return references_decode(list, envelope, out);
    }
    if (!segment_offset_valid(&rt.segment, holder) ||
        envelope->body_size > segment_room(&rt.segment, holder) ||
        segment_room(&rt.segment, holder) - envelope->body_size < C4P_ENVELOPE_SIZE) {
        PyErr_SetString(PyExc_ValueError, "a message's body lies outside of its block");
        message_release(offset);
        return -1;
    }
    rc = args_decode(block_body(holder), envelope->body_size, envelope->args,
                     envelope->flags & C4P_KEYWORDS, may_pin(holder, envelope) ? &pin : NULL, out);
    if (rc != 0 && class_missing(offset, envelope)) {
        if (context.block != NULL)
            ((Block *)context.block)->offset = 0; /* the message is kept for another try */
        Py_XDECREF(context.block);
    } else if (context.block != NULL) {
        Py_DECREF(context.block); /* the arrays hold it, or nobody: then it goes now */
    } else {
        message_release(offset);
    }
    return rc;
}

int message_decode_part(uint64_t offset, const struct c4p_envelope *envelope, struct c4p_tail *tail,
                        PyObject **value)
{
    uint64_t size = envelope->body_size;
    struct c4p_envelope made = *envelope;
    PyObject *out[2] = {NULL, NULL};
    int rc;

    if (envelope->body != 0 || !tail_read(block_body(offset), size, rt.pes, tail)) {
        PyErr_SetString(PyExc_ValueError, "a malformed part of a reduction");
        message_release(offset);
        return -1;
    }
    rc = args_decode(block_body(offset), size - C4P_TAIL_SIZE, envelope->args, false, NULL, out);
    made.source = tail->source;
    if (rc == 0 || !class_missing(offset, &made))
        message_release(offset);
    *value = out[0];
    return rc;
}

int message_forward(const struct c4p_envelope *like, uint32_t target, PyObject *value)
{
    Block *holder = (Block *)ndarray_base(value);
    struct c4p_envelope *body;
    uint64_t offset;

    if (holder == NULL || Py_TYPE(holder) != &Block_Type || !holder->alone ||
        Py_REFCNT(value) != 1 || Py_REFCNT(holder) != 1)
        return 0;
    offset = message_block(like, 0);
    if (offset == 0)
        return -1;
    body = segment_block(&rt.segment, holder->offset);
    atomic_store_explicit(&body->refs, 1, memory_order_relaxed);
    segment_block(&rt.segment, offset)->body = holder->offset;
    segment_block(&rt.segment, offset)->body_size = body->body_size;
    segment_block(&rt.segment, offset)->args = 1;
    segment_block(&rt.segment, offset)->target = target;
    holder->offset = 0; /* the receiver gives it back */
    push(offset);
    return 1;
}

void args_release(PyObject **args, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++)
        Py_CLEAR(args[i]);
}
