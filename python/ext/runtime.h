/*
 * The runtime of one PE: its tables, its scheduler and the objects of the model.
 *
 * One process is one PE, or one client of a session (client.c), and all of this
 * is owned by it: one static `rt`, guarded by the GIL. Whatever runs Python code may come back into the runtime
 * (a method calls a proxy, pickling calls __reduce__), so no function keeps a
 * pointer into a table across such a call.
 *
 * A message is handled from the scheduler (loop.c) by one handler for its kind.
 * What a handler runs ends there or suspends; then the message is "processed",
 * which is what quiescence counts (quiescence.c).
 */
#ifndef C4P_EXT_RUNTIME_H
#define C4P_EXT_RUNTIME_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <structmember.h>

#include "proto/envelope.h"
#include "proto/inbox.h"
#include "proto/placement.h"
#include "proto/region.h"
#include "proto/segment.h"
#include "proto/tail.h"
#include "python/ext/args.h"
#include "python/ext/table.h"

/* Bodies up to so many bytes are copied into each message of a broadcast; larger ones are shared. */
#define BROADCAST_COPY_MAX 1024

/* What C needs of NewRef in interpreters before 3.10. */
static inline PyObject *new_ref(PyObject *object)
{
    Py_INCREF(object);
    return object;
}

/* ---- classes ---- */

enum method_flags {
    METHOD_CORO = 1,     /* runs on a greenlet; `async def` is seen by what the call returns */
    METHOD_AWAITABLE = 2 /* it has a parameter of this name, which shares the keyword */
};

/* A chare class as the runtime knows it; immortal, interned by hash. */
typedef struct {
    PyObject_HEAD PyObject *type; /* the user's class */
    PyObject *name;               /* its __name__ */
    PyObject *module;
    uint64_t hash;         /* of its identity, the same on all PEs (c4py/classes.py) */
    struct table methods;  /* hash of the name -> EntryMethod */
    PyObject *proxies[3];  /* proxy classes by enum collection_kind */
    int constructor_flags; /* enum method_flags of __init__ */
    uint32_t session;      /* of a client: rt.session_number in which it was sent to the PEs */
} ChareClass;

/* One remote method: a descriptor of the proxy classes, called by vectorcall. */
typedef struct {
    PyObject_HEAD vectorcallfunc vectorcall;
    PyObject *name;
    PyObject *function; /* what the class attribute is, for its signature */
    ChareClass *owner;  /* borrowed: classes are immortal */
    uint32_t hash;
    int flags;       /* enum method_flags */
    int least, most; /* positional arguments that it takes */
} EntryMethod;

/* ---- collections ---- */

enum collection_kind { KIND_MAIN = 0, KIND_GROUP, KIND_ARRAY };

struct reduction;
struct chare;

/*
 * A collection as this PE knows it. It is entered when the collection is
 * created here or when a proxy to it arrives, and lives as long as the job.
 */
struct collection {
    uint64_t id;
    ChareClass *class;
    uint8_t kind;      /* enum collection_kind */
    uint8_t placement; /* enum placement */
    uint8_t ndims;
    bool created; /* its local elements exist */
    bool failed;  /* a session goes on though a constructor raised: `failure` is what callers get */
    uint32_t on_pe; /* PLACE_ON */
    int32_t dims[C4P_MAX_DIMS];
    uint64_t total;           /* elements over all PEs */
    uint64_t first, count;    /* elements at home here: flat indexes first .. first + count - 1 */
    struct chare **elements;  /* strong references, count of them; NULL: away */
    uint64_t held, held_last; /* messages that came before the elements: chain of offsets */
    struct reduction *reductions; /* open ones, oldest first */
    struct table moved;           /* position -> struct whereabouts (migration.c) */
    PyObject *proxy;              /* what elements see as thisProxy */
    PyObject *failure;
    uint32_t session; /* of a client: rt.session_number that it belongs to */
};

/* ---- chares ---- */

typedef struct chare {
    PyObject_HEAD struct collection *collection; /* NULL: not made by the runtime, or gone */
    uint64_t flat;                               /* position in the collection, or CHARE_GONE */
    uint32_t reductions;                         /* contributions made so far */
    int32_t live_coroutines;
} Chare;

/* The chare lives on another PE now: this is what it left behind. */
#define CHARE_GONE UINT64_MAX

extern PyTypeObject Chare_Type;
extern PyTypeObject ChareClass_Type;

/* ---- calls and their replies ---- */

/* A broadcast's local calls that somebody waits for. */
struct completion {
    uint32_t source;
    uint64_t future;
    uint16_t flags;      /* C4P_RETURN */
    uint64_t remaining;  /* local calls that have not ended */
    uint64_t elements;   /* local calls in all */
    PyObject *positions; /* lists, for C4P_RETURN */
    PyObject *values;
    PyObject *exception; /* one of those raised, without C4P_RETURN */
};

/* Where the outcome of a call goes. All zero: nowhere. */
struct reply {
    uint64_t future;
    uint32_t source;
    struct completion *completion; /* instead of a future */
};

static inline bool reply_wanted(const struct reply *reply)
{
    return reply->future != 0 || reply->completion != NULL;
}

/* ---- coroutines ---- */

struct coroutine {
    struct coroutine *previous, *next; /* rt.coroutines */
    struct coroutine *next_ready;      /* rt.ready */
    PyObject *greenlet;                /* what it runs on; NULL: an `async def` */
    PyObject *awaiting;                /* the coroutine object of an `async def` */
    PyObject *context;                 /* its context variables, a copy of its creator's */
    PyObject *back;                    /* borrowed: greenlet that has entered it */
    PyObject *call;                    /* callable, before it has started */
    PyObject *args;                    /* tuple */
    PyObject *keywords;                /* dict or NULL */
    Chare *chare;                      /* NULL: main */
    PyObject *name;                    /* of the method or function */
    struct reply reply;
    PyObject *waits_for; /* what it is blocked on, for the deadlock report */
    bool queued;         /* in rt.ready */
    bool timed_out;
};

/* ---- futures ---- */

enum future_mode {
    FUTURE_VALUES,     /* `expected` values, in order of arrival */
    FUTURE_COMPLETION, /* `expected` PEs report completion; the value is None */
    FUTURE_RETURNS,    /* `expected` PEs report return values; the value is a list by index */
    FUTURE_SHARE       /* calls of a broadcast made elsewhere: the outcomes go to `share` */
};

typedef struct {
    PyObject_HEAD PyObject *weakrefs;
    uint64_t id;
    uint32_t owner; /* PE that made it: only there can it be read */
    uint8_t mode;   /* enum future_mode */
    bool done, cancelled;
    bool entered; /* in rt.futures: this is no copy */
    bool due;     /* ... which keeps it alive, for values will come */
    uint64_t expected, received;
    PyObject *value; /* one value, or the list of them */
    PyObject *error; /* exception that get() raises */
    PyObject *about; /* what it is the outcome of, for the deadlock report; may be NULL */
    struct coroutine **waiters;
    uint32_t waiter_count, waiter_room;
    PyObject *watchers; /* list of callables, of a client; may be NULL */
    struct completion *share;
    uint64_t share_first, share_count; /* position of the one chare, how many chares */
} Future;

extern PyTypeObject Future_Type;

/* ---- proxies ---- */

typedef struct {
    PyObject_HEAD struct collection *collection;
    PyObject *creation; /* future of the creation call that returned this proxy, or NULL */
    uint8_t ndims;      /* 0: the whole collection */
    int32_t index[C4P_MAX_DIMS];
} Proxy;

/* A method of a proxy, taken as a value: a callback. */
typedef struct {
    PyObject_HEAD vectorcallfunc vectorcall;
    Proxy *proxy;
    EntryMethod *method;
} BoundMethod;

extern PyTypeObject Proxy_Type, EntryMethod_Type, BoundMethod_Type;

/* ---- timers ---- */

struct timer {
    int64_t deadline;  /* CLOCK_MONOTONIC, ns */
    uint64_t sequence; /* equal deadlines fire in order of creation */
    PyObject *callable, *args;
    struct coroutine *wake; /* instead of a callable */
    uint32_t place;         /* in the heap */
};

/* ---- the runtime ---- */

struct runtime {
    struct segment segment;
    bool attached;     /* the segment is mapped */
    bool forked;       /* this is a child of a PE */
    bool started;      /* charm.start() has begun to schedule */
    bool by_reference; /* charm.options.local_msg_optim */
    bool session;      /* a PE that serves clients: it has no main, and outlives errors */
    bool client;       /* this is no PE but a client: `pe` is its endpoint (client.c) */
    uint32_t pe, pes, slot;
    struct region *region;
    struct region_returns returns;
    struct segment_endpoint *self;
    uint64_t sent, processed;       /* what self->sent and self->processed show */
    uint64_t local, local_last;     /* messages to this PE itself: chain of offsets */
    uint64_t mail;                  /* rest of what was taken from the inbox */
    uint64_t resumed, resumed_last; /* messages that had to wait and need not any more */
    uint64_t quiet;                 /* total of messages at the last quiescence announced */
    struct table collections;       /* id -> struct collection */
    struct table classes;           /* hash -> ChareClass */
    struct table futures;           /* id -> Future (borrowed; a reference while values are due) */
    uint32_t collection_counter;
    uint64_t future_counter;
    struct coroutine *coroutines;
    struct coroutine *current; /* running now; NULL: the scheduler or a plain method */
    struct coroutine *ready, *ready_last;
    bool constructing; /* a plain constructor runs: it cannot wait, though its creator may */
    Chare *running;    /* whose method runs now, for messages (borrowed) */
    PyObject *running_name;
    PyThreadState *thread;   /* of the scheduler */
    PyObject *hooks;         /* c4py._runtime: Python functions that C calls */
    PyObject *error_class;   /* Charm4PyError */
    uint32_t session_number; /* a client's: 1, 2 ... */
    PyObject *over;          /* a client's: the exception that says why the session is over */
    bool held_back;          /* PE 0: main's first slice, while readonlies are in use */
    uint64_t held, held_last;
};
extern struct runtime rt;

/* Interned strings that C looks up. */
extern struct names {
    PyObject *init, *send, *ret, *awaitable, *migrated;
} names;

/* Become an endpoint of a segment; takes the descriptors over. -1 with an exception. */
int runtime_attach(uint32_t endpoint, int segment_fd, int wake_fd);
/* A client leaves: nothing of the segment may be in use any more. */
void runtime_detach(void);
/* Raise Charm4PyError with a formatted sentence; returns NULL. */
PyObject *runtime_error(const char *format, ...);
/* Raise unless charm.start() has been reached, or while the session of a client is over. */
int runtime_require(void);
/*
 * An error that nobody takes. 0: it was reported and life goes on, as in sessions; -1: it is pending
 * as it was.
 */
int runtime_survive(void);
/* Could this be an endpoint of the job that holds futures or chares? */
static inline bool endpoint_plausible(uint32_t endpoint, uint32_t pes)
{
    return endpoint < pes || (endpoint & C4P_ENDPOINT_CLASS) == C4P_CLIENT;
}
/* Call a function of c4py._runtime by name. Raises if there is none yet. */
PyObject *runtime_hook(const char *name, PyObject *const *args, size_t count);
/* Count an activity of the scheduler that no message caused, so that quiescence sees it. What a
 * client does is not counted: only what it sends to PEs. */
void runtime_activity_begin(void);
void runtime_activity_end(void);

/* ---- message.c ---- */

/* Encode arguments and send them to one PE, in a message like `like`. */
int message_send(const struct c4p_envelope *like, uint32_t target, PyObject *const *args,
                 Py_ssize_t count, PyObject *keywords);
/* The same to `pes` PEs from `first` on, to all or on error to none; a large body is stored once. */
int message_broadcast(const struct c4p_envelope *like, uint32_t first, uint32_t pes,
                      PyObject *const *args, Py_ssize_t count, PyObject *keywords);
/* ... but not to this PE. */
int message_broadcast_others(const struct c4p_envelope *like, uint32_t first, uint32_t pes,
                             PyObject *const *args, Py_ssize_t count);
/* A node's part of a reduction: a value, or NULL for none, and its tail; to a router or a PE. */
int message_send_part(const struct c4p_envelope *like, uint32_t target, PyObject *value,
                      const struct c4p_tail *tail);
/* Take such a part apart. As message_decode(), with no exception if it waits for a class. */
int message_decode_part(uint64_t offset, const struct c4p_envelope *envelope, struct c4p_tail *tail,
                        PyObject **value);
/* To the router, outside of quiescence; a text instead of arguments. */
int message_send_router(uint8_t kind, uint32_t sequence, const char *text, size_t size);
/* Announce quiescence to a PE or client, by its slot; not counted. */
int message_send_quiescent(uint32_t slot);
/* From a thread that is not the scheduler's: make that one look at what was put into its tables. */
void message_nudge(void);
/* A block for `size` bytes of body, its envelope a copy of `like`. 0 with an exception. */
uint64_t message_block(const struct c4p_envelope *like, size_t size);
/* A block with encoded arguments that is not sent yet. 0 with an exception. */
uint64_t message_make(const struct c4p_envelope *like, PyObject *const *args, Py_ssize_t count,
                      PyObject *keywords);
/*
 * Send a message on, in the name of who sent it first; to this PE itself: as message_resume(). It is
 * marked as forwarded, but for one of our own that we have only held back, if `forwarded` is false.
 */
int message_redirect(uint64_t offset, uint32_t target, bool forwarded);
/* Decode a message's arguments into out (count + 1 places). Checks what envelope_check() cannot. */
int message_decode(uint64_t offset, const struct c4p_envelope *envelope, PyObject **out);
/*
 * Send an array that lies alone in a block that it was received in, by handing on the block; its
 * items may have changed, its shape and dtype not. 1: done, the array must not be used any more.
 * 0: it is no such array, or somebody else has it too. -1: error.
 */
int message_forward(const struct c4p_envelope *like, uint32_t target, PyObject *value);
/* Done with a block taken from an inbox. */
void message_release(uint64_t offset);
/* Queue a block of any origin at the end of the own messages. */
void message_requeue(uint64_t offset);
/* A message that was taken and had to wait is handled next: before what its sender sent later. */
void message_resume(uint64_t offset);
/* Release what held_back has gathered, readonlies first. */
int message_let_go(void);
void args_release(PyObject **args, Py_ssize_t count);
extern PyTypeObject Block_Type;

/* ---- collection.c ---- */

struct collection *collection_find(uint64_t id);
/* Enter a collection that is described by a creation or a proxy. NULL with an exception. */
struct collection *collection_intern(const struct collection *description);
/* PEs that have elements: `*pes` from `*first` on. */
void collection_participants(const struct collection *collection, uint32_t *first, uint32_t *pes);
/* Flat position of an index; -1 if it is out of bounds. */
int64_t collection_flat(const struct collection *collection, const int32_t *index, unsigned ndims);
uint32_t collection_pe(const struct collection *collection, uint64_t flat);
/* The index of a position; the rest of the array is zeroed. */
void collection_unflatten(const struct collection *collection, uint64_t flat,
                          int32_t index[C4P_MAX_DIMS]);
/* ... as the user sees it. */
PyObject *collection_index(const struct collection *collection, uint64_t flat);
/* "Worker[3]" or "Worker[1, 2]". New reference. */
PyObject *collection_describe(const struct collection *collection, int64_t flat);
/*
 * Create from the user's call: local elements now, others by message. `given`: a sequence of
 * arguments for the constructors, or NULL. Returns a proxy.
 */
PyObject *collection_create(struct collection *description, PyObject *given);
int collection_handle_create(uint64_t offset, const struct c4p_envelope *envelope);
/* An object for an element, without a call of its constructor. */
Chare *element_allocate(struct collection *collection, uint64_t flat);
/* The collection of a message, known or not. */
struct collection *collection_of(const struct c4p_envelope *envelope);
/* Keep a message until its collection has been created here. */
void collection_hold(struct collection *collection, uint64_t offset);
/* What came before the elements is next. */
int collection_release_held(struct collection *collection);
/* In a session: a constructor has raised. Reports the pending exception, and keeps it for callers. */
void collection_fail(struct collection *collection);

/* ---- call.c ---- */

int call_handle(uint64_t offset, const struct c4p_envelope *envelope);
/* Run one method of one chare; steals nothing. args[-1] may be overwritten during the call. */
int call_element(Chare *chare, EntryMethod *method, PyObject **args, Py_ssize_t count,
                 PyObject *keywords, const struct reply *reply);
/* A call has ended: result (stolen), or NULL with an exception set. */
int call_finish(const struct reply *reply, Chare *chare, PyObject *result);
/* The pending exception as one that can travel; NULL if it is one that ends the program. */
PyObject *call_exception(void);
/* The caller of a message that cannot be handled learns the pending exception. -1: nobody waits. */
int call_refuse(const struct c4p_envelope *envelope);
struct completion *completion_create(const struct c4p_envelope *envelope, uint64_t elements);
int completion_end(struct completion *completion);
/* The number of a future for calls of `count` chares, of which `first` is one, that are part of it. */
uint64_t completion_share(struct completion *completion, uint64_t first, uint64_t count);
/* What such a future gets: a value, or the arguments of a C4P_COMPLETION. */
int completion_take_value(const Future *share, PyObject *value);
int completion_take_part(const Future *share, bool raised, PyObject *const *args);

/* ---- migration.c ---- */

/* How the calls of a collection's elements are to be made that a broadcast has come for. */
struct broadcast {
    const struct c4p_envelope *envelope;
    EntryMethod *method;
    PyObject **args; /* as call_element() takes them */
    Py_ssize_t count;
    PyObject *keywords;
};

/* Send a call to an element, wherever it is. */
int migration_send(const struct c4p_envelope *like, struct collection *collection, uint64_t flat,
                   PyObject *const *args, Py_ssize_t count, PyObject *keywords);
/* A message for an element of a collection in which some have moved, or which is not at home here.
 * 0: *chare is it (NULL: there is none); 1: the message went on, or is kept. */
int migration_arrive(struct collection *collection, int64_t flat, uint64_t offset,
                     const struct c4p_envelope *envelope, Chare **chare);
/*
 * A broadcast for a collection in which some have moved: *run gets those to be called here and now, new
 * references in an array for PyMem_Free(), of which there are *count. All others are seen to, and report
 * to the completion (may be NULL).
 */
int migration_broadcast(struct collection *collection, const struct broadcast *broadcast,
                        struct completion *completion, Chare ***run, uint64_t *count);
/* A home's copy of one, for those of its elements that live here: the same. */
int migration_shared(struct collection *collection, const struct broadcast *broadcast,
                     struct completion **completion, Chare ***run, uint64_t *count);
/* Elements that live here, away from home, from *i on; NULL: no more. For reports. */
Chare *migration_visitor(const struct collection *collection, size_t *i);
int location_handle(uint64_t offset, const struct c4p_envelope *envelope);
int element_handle(uint64_t offset, const struct c4p_envelope *envelope);
PyObject *chare_migrate(PyObject *self, PyObject *args, PyObject *kwargs);

/* ---- element.c ---- */

/* Send an element's object and state. -1 with an exception that names it: it cannot leave. */
int element_send(Chare *chare, uint32_t to);
/* 0: *chare is what the message has brought; 1: the message waits for a class; -1 with an exception. */
int element_receive(uint64_t offset, const struct c4p_envelope *envelope, Chare **chare);
/* __reduce_ex__(): only a chare that leaves can be pickled, and as a part of its own state. */
PyObject *chare_reduce_ex(PyObject *self, PyObject *protocol);
/* What that is unpickled with. */
PyObject *element_passing(PyObject *self, PyObject *unused);

/* ---- coroutine.c ---- */

int coroutine_init(void);
/* Run a callable as a coroutine until it suspends or ends. Steals nothing. */
int coroutine_start(Chare *chare, PyObject *name, PyObject *call, PyObject *args,
                    PyObject *keywords, const struct reply *reply);
/* Drive the coroutine object of an `async def` (stolen). */
int coroutine_start_async(Chare *chare, PyObject *name, PyObject *object,
                          const struct reply *reply);
/* The coroutine that the caller is, or NULL with NotThreadedError naming `what`. */
struct coroutine *coroutine_require(const char *what);
/* The caller may make futures to wait for: it is a coroutine, or drives a client. 0, or -1. */
int waiting_require(const char *what);
/* The running coroutine, if the caller is one. */
struct coroutine *coroutine_current(void);
/* Suspend the caller until somebody resumes it. `what` is reported if it never comes. */
int coroutine_suspend(struct coroutine *coroutine, PyObject *what);
/* From the scheduler: continue it now. */
int coroutine_resume(struct coroutine *coroutine);
/* From anywhere: let the scheduler continue it soon. */
void coroutine_make_ready(struct coroutine *coroutine);
/* Continue the ready ones; returns how many, -1 on error. */
int coroutine_run_ready(void);
/* List of (chare description, name, frame or coroutine object, what it waits for). */
PyObject *coroutine_report(void);

/* ---- future.c ---- */

Future *future_create(uint8_t mode, uint64_t expected);
/* Make a future's object from what arrived in a message. */
PyObject *future_resolve(uint32_t owner, uint64_t id);
int future_send_value(uint32_t owner, uint64_t id, PyObject *value);
int future_handle_value(uint64_t offset, const struct c4p_envelope *envelope);
int future_handle_completion(uint64_t offset, const struct c4p_envelope *envelope);
/* Give up a future (stolen) that nobody knows yet: no value will come. */
void future_abandon(Future *future);
/* Complete it directly with a value. */
int future_set(Future *future, PyObject *value);
/* It is done: let those continue who wait for it, soon. */
int future_wake_later(Future *future);
/* Give a value of ours to a future of this PE without a message; its readers continue soon. */
int future_deliver(Future *future, PyObject *value);
void future_forget_waiter(Future *future, struct coroutine *coroutine);
int future_add_waiter(Future *future, struct coroutine *coroutine);
/* All that are pending fail with rt.over; no values are due any more. */
int future_fail_all(void);
void future_set_about(Future *future, PyObject *about);

/* ---- future_type.c ---- */

PyObject *future_wait_any(PyObject *self, PyObject *sequence);

/* ---- proxy.c ---- */

PyObject *proxy_create(struct collection *collection, const int32_t *index, unsigned ndims);

/* ---- method.c ---- */

/* The callback that stands for a method of a proxy. */
PyObject *method_bind(Proxy *proxy, EntryMethod *method);
/* Invoke a callback (Future, BoundMethod, any callable) with 0 or 1 argument. */
int callback_invoke(PyObject *callback, PyObject *value);

/* ---- wire.c ---- */

int runtime_args_write(struct args_writer *writer, PyObject *object);
PyObject *runtime_args_read(struct args_reader *reader, uint8_t tag);
PyObject *proxy_reduce(PyObject *self, PyObject *unused);
PyObject *proxy_unpickle(PyObject *self, PyObject *bytes);

/* ---- chare.c ---- */

ChareClass *chare_class_of(PyObject *type);
/* Raise unless the runtime has made it, and it is still here. */
int chare_require(const Chare *chare);
PyObject *chare_create_single(PyObject *args, PyObject *kwargs);
int class_handle_wanted(uint64_t offset, const struct c4p_envelope *envelope);
int class_handle(uint64_t offset, const struct c4p_envelope *envelope);
/* A client: send a class to all PEs ahead of what uses it, once in a session. */
int class_send(ChareClass *class);
/* Does the pending exception say that a class is missing? Then ask for it and keep the message. */
bool class_missing(uint64_t offset, const struct c4p_envelope *envelope);
void class_set_missing(uint64_t hash);
/*
 * Does a message have to wait behind one of the same collection that waits for a class? Then keep it. One
 * of the same sender; an element that the same PE has sent here; any.
 */
bool class_wait_behind(uint64_t offset);
bool class_wait_behind_element(uint64_t offset);
bool class_wait_behind_all(uint64_t offset);

/* ---- reduction.c ---- */

int reduction_handle_part(uint64_t offset, const struct c4p_envelope *envelope);
int reduction_handle_node_part(uint64_t offset, const struct c4p_envelope *envelope);
int reduction_handle_result(uint64_t offset, const struct c4p_envelope *envelope);

/* ---- contribution.c ---- */

PyObject *reduction_contribute(Chare *chare, PyObject *target, PyObject *data, PyObject *reducer,
                               bool all);
/* Contributions of elements that are at home here, and live elsewhere. */
int contributions_handle(uint64_t offset, const struct c4p_envelope *envelope);
/* So many elements that live here are called, one after the other: what they contribute is combined
 * before it is sent home, at the end of that at the latest. */
void contributions_begin(uint64_t elements);
int contributions_end(void);
PyObject *reduction_report(PyObject *self, PyObject *unused);
PyObject *reduction_recent(PyObject *self, PyObject *unused);
PyObject *reduction_lacking(PyObject *self, PyObject *args);
extern PyTypeObject Reducer_Type;

/* ---- timer.c ---- */

int64_t clock_now(void);
struct timer *timer_add(double seconds, PyObject *callable, PyObject *args, struct coroutine *wake);
void timer_cancel(struct timer *timer);
/* Fire what is due. Returns how many, -1 on error. */
int timer_run(int64_t now);
/* Deadline of the next one; -1 if there is none. */
int64_t timer_next(void);

/* ---- quiescence.c ---- */

/* Called before sleeping: announce quiescence if it holds. True: there is work, do not sleep. */
int quiescence_check(void);
int quiescence_handle(const struct c4p_envelope *envelope);
/* This PE has announced its sleep: the last one of a node tells the router, if there are others. */
int quiescence_tell(void);
PyObject *quiescence_start(PyObject *self, PyObject *callback);

/* ---- loop.c ---- */

int loop_run(void);
/* A client's: handle what there is. 1: something was, 0: nothing, -1 with an exception. */
int loop_poll(void);
/*
 * A client's: handle messages until one of the futures is done, the session is over or the deadline
 * (CLOCK_MONOTONIC ns, -1: none) has passed. -1 with an exception: an interrupt, or what a callback
 * let through.
 */
int loop_until(PyObject *const *futures, Py_ssize_t count, int64_t deadline);
/* Is there anything to handle? */
bool loop_has_work(void);
/* Leave the process: atexit functions, flush, _exit. */
_Noreturn void loop_leave(int code);
/* End a child of a PE that has come to the end of the method in which it was forked. */
_Noreturn void loop_leave_child(void);
/* charm.exit() and charm.abort(): tell the router, then leave. */
_Noreturn void loop_exit(int code, const char *text, size_t size);
/* An exception that nobody takes: report it and end the job (or, for SystemExit, just end it). */
_Noreturn void loop_fatal(void);

/* ---- client.c ---- */

/* Is the caller the driver of a client, outside of any coroutine? It may wait. */
bool client_drives(void);
/* The driver handles messages by itself: whoever watches in its place is sent to its event loop. */
void client_disarm(void);
extern PyMethodDef client_methods[];

#endif
