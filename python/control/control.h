/*
 * c4py._control: libc4p for Python, the control plane of a session.
 *
 * One type, Client, wraps one struct c4p_client; client/c4p.h says what its functions do, and its
 * methods have their names. Events come as dicts (event.c).
 *
 * A client belongs to one thread at a time. What may block lets other threads run meanwhile, so
 * every use is marked by `busy` and a second one is refused. A forked child must not touch what its
 * parent has with the daemon: there the methods raise, and nothing is closed.
 */
#ifndef C4P_CONTROL_CONTROL_H
#define C4P_CONTROL_CONTROL_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <sys/types.h>

#include "client/c4p.h"

typedef struct {
    PyObject_HEAD struct c4p_client *client; /* NULL: closed */
    struct c4p_bridge *bridge; /* into a session whose segment is not mapped, or NULL */
    struct c4p_bundle *bundle; /* the files that were offered last, or NULL */
    int64_t offer;             /* the request that borrows it; 0: it is answered */
    pid_t owner;               /* the process that made it */
    bool busy;                 /* a thread is in one of its functions */
} Client;

extern PyTypeObject Client_Type;

/* ---- client.c ---- */

/* Begin a use of the client; NULL with an exception. */
struct c4p_client *client_enter(Client *self);
void client_leave(Client *self);

/* ---- requests.c ---- */

/* Methods that ask the daemon for something, NULL-terminated. */
extern PyMethodDef request_methods[];

/* ---- event.c ---- */

/* An event as a dict with the members that its kind has. NULL with an exception. */
PyObject *event_describe(const struct c4p_event *event);

#endif
