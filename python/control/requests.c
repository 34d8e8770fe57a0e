/*
 * Methods of Client that ask the daemon for something: each returns the id of its request, which
 * the events that answer it carry.
 */
#include <errno.h>
#include <string.h>

#include "python/control/control.h"

static PyObject *answer(Client *self, int64_t request)
{
    int error = errno;

    client_leave(self);
    if (request > 0)
        return PyLong_FromLongLong(request);
    if (error == EMSGSIZE)
        return PyErr_Format(PyExc_ValueError, "the request is larger than a daemon takes: shorten "
                                              "the arguments or the environment");
    if (error == EAGAIN)
        return PyErr_Format(PyExc_BlockingIOError, "too many requests wait to be sent: the daemon "
                                                   "does not keep up");
    errno = error;
    return PyErr_SetFromErrno(PyExc_OSError);
}

/* ---- lists of texts ---- */

/* A list of str or bytes, as C wants it; `bytes` keeps them. */
struct texts {
    PyObject *bytes;
    const char **list;
};

static void texts_free(struct texts *texts)
{
    Py_CLEAR(texts->bytes);
    PyMem_Free(texts->list);
    texts->list = NULL;
}

static int texts_fill(struct texts *texts, PyObject *given)
{
    Py_ssize_t count = PyTuple_GET_SIZE(given);

    texts->bytes = PyList_New(0);
    texts->list = PyMem_Calloc((size_t)count + 1, sizeof(*texts->list));
    if (texts->bytes == NULL || texts->list == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *bytes = NULL;
        int rc;

        if (!PyUnicode_FSConverter(PyTuple_GET_ITEM(given, i), &bytes))
            return -1;
        rc = PyList_Append(texts->bytes, bytes);
        texts->list[i] = PyBytes_AS_STRING(bytes); /* the list has it now */
        Py_DECREF(bytes);
        if (rc != 0)
            return -1;
    }
    return 0;
}

static int texts_make(struct texts *texts, PyObject *given)
{
    PyObject *tuple = PySequence_Tuple(given);
    int rc = tuple == NULL ? -1 : texts_fill(texts, tuple);

    Py_XDECREF(tuple);
    return rc;
}

/* ---- files ---- */

/* Gather and read the files. NULL with a sentence. */
static struct c4p_bundle *bundle_make(const char *root, const char *python,
                                      const char *const *paths, char sentence[C4P_ERROR_SIZE])
{
    struct c4p_bundle *bundle = c4p_bundle_create(root, sentence);
    int rc = bundle == NULL ? -1 : 0;

    if (rc == 0 && python != NULL)
        rc = c4p_bundle_add_python(bundle, python, sentence);
    for (size_t i = 0; rc == 0 && paths[i] != NULL; i++)
        rc = c4p_bundle_add(bundle, paths[i], sentence);
    if (rc == 0 && c4p_bundle_seal(bundle, sentence) == 0)
        return bundle;
    c4p_bundle_free(bundle);
    return NULL;
}

/* The bundle becomes the client's. */
static PyObject *bundle_offer(Client *self, const char *root, const char *python,
                              const char *const *paths)
{
    struct c4p_client *client = client_enter(self);
    char sentence[C4P_ERROR_SIZE] = "";
    struct c4p_bundle *bundle;
    int64_t request;

    if (client == NULL)
        return NULL;
    if (self->offer != 0) {
        client_leave(self);
        return PyErr_Format(PyExc_ValueError, "the files that were offered before are under way");
    }
    Py_BEGIN_ALLOW_THREADS;
    bundle = bundle_make(root, python, paths, sentence);
    Py_END_ALLOW_THREADS;
    if (bundle == NULL) {
        client_leave(self);
        return PyErr_Format(PyExc_ValueError, "the program's files: %s", sentence);
    }
    c4p_bundle_free(self->bundle);
    self->bundle = bundle;
    request = c4p_offer(client, bundle);
    self->offer = request > 0 ? request : 0;
    return answer(self, request);
}

static PyObject *client_offer(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"root", "paths", "python", NULL};
    PyObject *root = NULL, *python = NULL, *paths, *given = Py_None, *result = NULL;
    struct texts texts = {0};

    if (PyArg_ParseTupleAndKeywords(args, kwargs, "O&O|$O:offer", keywords, PyUnicode_FSConverter,
                                    &root, &paths, &given) &&
        (given == Py_None || PyUnicode_FSConverter(given, &python)) &&
        texts_make(&texts, paths) == 0)
        result = bundle_offer((Client *)object, PyBytes_AS_STRING(root),
                              python != NULL ? PyBytes_AS_STRING(python) : NULL, texts.list);
    texts_free(&texts);
    Py_XDECREF(python);
    Py_XDECREF(root);
    return result;
}

static PyObject *client_offer_stale(PyObject *object, PyObject *unused)
{
    Client *self = (Client *)object;
    bool stale;

    (void)unused;
    if (client_enter(self) == NULL)
        return NULL;
    stale = self->bundle != NULL && c4p_bundle_stale(self->bundle);
    client_leave(self);
    return PyBool_FromLong(stale);
}

/* ---- jobs ---- */

/* What submit() and open() are given of a job; the texts live as long as this. */
struct job_arguments {
    PyObject *argv, *env, *cwd_bytes; /* argv and env are borrowed */
    const char *name;
    unsigned pes;
    unsigned long long region_size, time_limit_ms;
    int priority, follow, input, tied;
    struct texts argv_texts, env_texts;
};

static void job_arguments_free(struct job_arguments *given)
{
    texts_free(&given->argv_texts);
    texts_free(&given->env_texts);
    Py_CLEAR(given->cwd_bytes);
}

/* The texts of argv, env and cwd are had last, for it may run the caller's code. */
static int job_arguments_take(struct job_arguments *given, struct c4p_job *job)
{
    if (texts_make(&given->argv_texts, given->argv) != 0 ||
        texts_make(&given->env_texts, given->env) != 0)
        return -1;
    *job = (struct c4p_job){
        .argv = given->argv_texts.list,
        .env = given->env_texts.list,
        .cwd = PyBytes_AS_STRING(given->cwd_bytes),
        .pes = given->pes,
        .region_size = given->region_size,
        .name = given->name,
        .priority = given->priority,
        .time_limit_ms = given->time_limit_ms,
        .follow = given->follow,
        .input = given->input,
        .tied = given->tied,
    };
    return 0;
}

static PyObject *client_submit(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"argv",        "env",   "cwd",      "pes",
                               "region_size", "name",  "priority", "time_limit_ms",
                               "follow",      "input", "tied",     NULL};
    Client *self = (Client *)object;
    struct job_arguments given = {0};
    struct c4p_client *client;
    PyObject *result = NULL;
    struct c4p_job job;

    if (PyArg_ParseTupleAndKeywords(
            args, kwargs, "OOO&|$IKziKppp:submit", keywords, &given.argv, &given.env,
            PyUnicode_FSConverter, &given.cwd_bytes, &given.pes, &given.region_size, &given.name,
            &given.priority, &given.time_limit_ms, &given.follow, &given.input, &given.tied) &&
        job_arguments_take(&given, &job) == 0 && (client = client_enter(self)) != NULL)
        result = answer(self, c4p_submit(client, &job));
    job_arguments_free(&given);
    return result;
}

static PyObject *client_open(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"argv",        "env",    "cwd",      "name",   "create", "pes",
                               "region_size", "ttl_ms", "priority", "bundle", NULL};
    Client *self = (Client *)object;
    struct job_arguments given = {0};
    struct c4p_session session = {.create = true};
    unsigned long long ttl_ms = 0;
    struct c4p_client *client;
    PyObject *result = NULL;
    int create = true, bundle = false;

    if (PyArg_ParseTupleAndKeywords(args, kwargs, "OOO&|$zpIKKip:open", keywords, &given.argv,
                                    &given.env, PyUnicode_FSConverter, &given.cwd_bytes,
                                    &session.name, &create, &given.pes, &given.region_size, &ttl_ms,
                                    &given.priority, &bundle) &&
        job_arguments_take(&given, &session.job) == 0 && (client = client_enter(self)) != NULL) {
        session.job.bundle = bundle ? self->bundle : NULL;
        session.create = create;
        session.ttl_ms = ttl_ms;
        result = answer(self, c4p_open(client, &session));
    }
    job_arguments_free(&given);
    return result;
}

/* ---- about one job ---- */

static PyObject *client_follow(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"job", "start", "lossless", "input", "resume", NULL};
    Client *self = (Client *)object;
    struct c4p_follow_options options = {0};
    unsigned long long job, start = 0;
    int lossless = 0, input = 0, resume = 0;
    struct c4p_client *client;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "K|$Kppp:follow", keywords, &job, &start,
                                     &lossless, &input, &resume) ||
        (client = client_enter(self)) == NULL)
        return NULL;
    options.from = start;
    options.lossless = lossless;
    options.input = input;
    options.resume = resume;
    return answer(self, c4p_follow(client, job, &options));
}

static PyObject *client_unfollow(PyObject *object, PyObject *args)
{
    struct c4p_client *client;
    unsigned long long job;

    if (!PyArg_ParseTuple(args, "K:unfollow", &job) ||
        (client = client_enter((Client *)object)) == NULL)
        return NULL;
    return answer((Client *)object, c4p_unfollow(client, job));
}

static PyObject *client_output_done(PyObject *object, PyObject *args)
{
    unsigned long long job, sequence;
    struct c4p_client *client;
    int rc;

    if (!PyArg_ParseTuple(args, "KK:output_done", &job, &sequence) ||
        (client = client_enter((Client *)object)) == NULL)
        return NULL;
    rc = c4p_output_done(client, job, sequence);
    client_leave((Client *)object);
    return rc == 0 ? Py_BuildValue("") : PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *client_cancel(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"job", "kill", NULL};
    struct c4p_client *client;
    unsigned long long job;
    int kill = 0;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "K|p:cancel", keywords, &job, &kill) ||
        (client = client_enter((Client *)object)) == NULL)
        return NULL;
    return answer((Client *)object, c4p_cancel(client, job, kill));
}

static PyObject *client_end(PyObject *object, PyObject *args)
{
    struct c4p_client *client;
    unsigned long long job;

    if (!PyArg_ParseTuple(args, "K:end", &job) || (client = client_enter((Client *)object)) == NULL)
        return NULL;
    return answer((Client *)object, c4p_end(client, job));
}

/* ---- asking ---- */

static PyObject *client_find(PyObject *object, PyObject *args)
{
    struct c4p_client *client;
    PyObject *name = NULL;
    int64_t request;

    if (!PyArg_ParseTuple(args, "O&:find", PyUnicode_FSConverter, &name))
        return NULL;
    client = client_enter((Client *)object);
    if (client == NULL) {
        Py_DECREF(name);
        return NULL;
    }
    request = c4p_find(client, PyBytes_AS_STRING(name));
    Py_DECREF(name);
    return answer((Client *)object, request);
}

static PyObject *client_list(PyObject *object, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"ended", "sessions", "last", NULL};
    struct c4p_list_options options = {0};
    int ended = 0, sessions = 0;
    struct c4p_client *client;
    unsigned last = 0;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|ppI:list", keywords, &ended, &sessions,
                                     &last) ||
        (client = client_enter((Client *)object)) == NULL)
        return NULL;
    options.ended = ended;
    options.sessions = sessions;
    options.last = last;
    return answer((Client *)object, c4p_list(client, &options));
}

static PyObject *client_status(PyObject *object, PyObject *unused)
{
    struct c4p_client *client = client_enter((Client *)object);

    (void)unused;
    return client == NULL ? NULL : answer((Client *)object, c4p_status(client));
}

#define WITH_KEYWORDS(function)                                                                    \
    (PyCFunction)(void (*)(void))(function), METH_VARARGS | METH_KEYWORDS

PyMethodDef request_methods[] = {
    {"submit", WITH_KEYWORDS(client_submit),
     "submit($self, argv, env, cwd, *, pes=0, region_size=0, name=None, priority=0,\n"
     "       time_limit_ms=0, follow=False, input=False, tied=False)\n--\n\n"
     "Submit a job; answered by 'accepted'. argv, env (NAME=VALUE) are lists of texts."},
    {"open", WITH_KEYWORDS(client_open),
     "open($self, argv, env, cwd, *, name=None, create=True, pes=0, region_size=0, ttl_ms=0,\n"
     "     priority=0, bundle=False)\n--\n\n"
     "Join a session by its name, or make one; answered by 'accepted'.\n"
     "bundle: the files that were offered last go along."},
    {"offer", WITH_KEYWORDS(client_offer),
     "offer($self, root, paths, *, python=None)\n--\n\n"
     "Give the daemon files for a job: those at the paths, and the Python files below the\n"
     "directory `python`, all of them below the root; answered by 'done'."},
    {"offer_stale", client_offer_stale, METH_NOARGS,
     "offer_stale($self, /)\n--\n\nIs a file that was offered another one by now?"},
    {"follow", WITH_KEYWORDS(client_follow),
     "follow($self, job, *, start=0, lossless=False, input=False, resume=False)\n--\n\n"
     "Receive a job's events; answered by 'following'."},
    {"unfollow", client_unfollow, METH_VARARGS,
     "unfollow($self, job, /)\n--\n\nNo more of them; answered by 'done'."},
    {"output_done", client_output_done, METH_VARARGS,
     "output_done($self, job, sequence, /)\n--\n\nA piece of output has been dealt with."},
    {"cancel", WITH_KEYWORDS(client_cancel),
     "cancel($self, job, kill=False)\n--\n\nEnd a job; answered by 'done'."},
    {"end", client_end, METH_VARARGS,
     "end($self, job, /)\n--\n\nEnd a session, for everybody; answered by 'done'."},
    {"find", client_find, METH_VARARGS,
     "find($self, name, /)\n--\n\n"
     "The job whose id begins so, or the only one of that name: 'job', then 'done'."},
    {"list", WITH_KEYWORDS(client_list),
     "list($self, ended=False, sessions=False, last=0)\n--\n\n"
     "A 'job' for each job in the order of submission, then 'done'."},
    {"status", client_status, METH_NOARGS, "status($self, /)\n--\n\nAnswered by 'status'."},
    {NULL, NULL, 0, NULL}};
