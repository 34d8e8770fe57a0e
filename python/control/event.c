/*
 * Events as dicts: "kind", "request", "job", and what a kind has besides (client/c4p.h).
 */
#include <string.h>

#include "python/control/control.h"

/* What may be no valid UTF-8 goes to Python as os.fsdecode() would have it. */
static PyObject *text_of(const char *text)
{
    return PyUnicode_DecodeFSDefault(text != NULL ? text : "");
}

static PyObject *texts_of(const char *const *texts)
{
    PyObject *list = PyList_New(0);

    for (; list != NULL && texts != NULL && *texts != NULL; texts++) {
        PyObject *text = text_of(*texts);

        if (text == NULL || PyList_Append(list, text) != 0)
            Py_CLEAR(list);
        Py_XDECREF(text);
    }
    return list;
}

static PyObject *id_text(uint64_t id)
{
    char text[C4P_ID_SIZE];

    return PyUnicode_FromString(c4p_id_format(id, text));
}

#define COUNT(value) ((unsigned long long)(value))

/* Where the PEs are: a list of (name, first PE, number of PEs). */
static PyObject *hosts_of(const struct c4p_job_info *info)
{
    PyObject *list = PyList_New(0);

    for (size_t i = 0; list != NULL && i < info->host_count; i++) {
        PyObject *host = Py_BuildValue("(NII)", text_of(info->hosts[i].name),
                                       info->hosts[i].first_pe, info->hosts[i].pes);

        if (host == NULL || PyList_Append(list, host) != 0)
            Py_CLEAR(list);
        Py_XDECREF(host);
    }
    return list;
}

static PyObject *describe_job(const struct c4p_job_info *info)
{
    return Py_BuildValue(
        "{sKsNsKsNsssIsisKsKsKsKsisNsNsNsNsKsKsNsNsIsKsKsN}", "id", COUNT(info->id), "id_text",
        id_text(info->id), "order", COUNT(info->order), "name", text_of(info->name), "state",
        c4p_state_name(info->state), "pes", info->pes, "priority", (int)info->priority,
        "time_limit_ms", COUNT(info->time_limit_ms), "submitted", COUNT(info->submitted), "started",
        COUNT(info->started), "ended", COUNT(info->ended), "exit_code", info->exit_code, "message",
        text_of(info->message), "reason", text_of(info->reason), "argv", texts_of(info->argv),
        "cwd", text_of(info->cwd), "output_first", COUNT(info->output_first), "output_next",
        COUNT(info->output_next), "session", PyBool_FromLong(info->session), "session_name",
        text_of(info->session_name), "clients", info->clients, "ttl_ms", COUNT(info->ttl_ms),
        "expires", COUNT(info->expires), "hosts", hosts_of(info));
}

static PyObject *describe_status(const struct c4p_daemon_status *status)
{
    return Py_BuildValue(
        "{sNsNsNsIsKsIsIsIsIsIsIsIsKsKsNsNsNsIsIsIsI}", "version", text_of(status->version), "host",
        text_of(status->host), "state_dir", text_of(status->state_dir), "pid", status->pid,
        "started", COUNT(status->started), "pes", status->pes, "pes_used", status->pes_used,
        "queued", status->queued, "running", status->running, "sessions", status->sessions,
        "clients", status->clients, "max_clients", status->max_clients, "refused",
        COUNT(status->refused), "rss", COUNT(status->rss), "draining",
        PyBool_FromLong(status->draining), "troubles", texts_of(status->troubles), "cluster",
        text_of(status->cluster), "nodes", status->nodes, "nodes_lost", status->nodes_lost,
        "cluster_pes", status->cluster_pes, "cluster_pes_free", status->cluster_pes_free);
}

/* What each kind is called and has: what follows kind, request and job. */

static PyObject *more_nothing(const struct c4p_event *event)
{
    (void)event;
    return PyDict_New();
}

static PyObject *more_text(const struct c4p_event *event)
{
    return Py_BuildValue("{sN}", "text", text_of(event->text));
}

static PyObject *more_following(const struct c4p_event *event)
{
    return Py_BuildValue("{sKsKsN}", "sequence", COUNT(event->sequence), "first",
                         COUNT(event->first), "input", PyBool_FromLong(event->input));
}

static PyObject *more_state(const struct c4p_event *event)
{
    return Py_BuildValue("{sssN}", "state", c4p_state_name(event->state), "text",
                         text_of(event->text));
}

static PyObject *more_output(const struct c4p_event *event)
{
    return Py_BuildValue("{sIsssKsy#}", "pe", event->pe, "stream",
                         event->stream == C4P_STREAM_STDERR ? "stderr" : "stdout", "sequence",
                         COUNT(event->sequence), "data", event->data, (Py_ssize_t)event->data_size);
}

static PyObject *more_input(const struct c4p_event *event)
{
    return Py_BuildValue("{sIsN}", "credit", event->credit, "closed",
                         PyBool_FromLong(event->closed));
}

static PyObject *more_ended(const struct c4p_event *event)
{
    return Py_BuildValue("{sssisNsy#sy#}", "state", c4p_state_name(event->state), "exit_code",
                         event->exit_code, "text", text_of(event->text), "tail",
                         event->tail != NULL ? event->tail : "", (Py_ssize_t)event->tail_size,
                         "data", event->data != NULL ? event->data : "",
                         (Py_ssize_t)event->data_size);
}

static PyObject *more_job(const struct c4p_event *event)
{
    return Py_BuildValue("{sN}", "info", describe_job(event->info));
}

static PyObject *more_status(const struct c4p_event *event)
{
    return Py_BuildValue("{sN}", "status", describe_status(event->status));
}

static const struct {
    const char *name;
    PyObject *(*more)(const struct c4p_event *event);
} kinds[] = {
    [C4P_EVENT_REFUSED] = {"refused", more_text},
    [C4P_EVENT_DONE] = {"done", more_nothing},
    [C4P_EVENT_ACCEPTED] = {"accepted", more_nothing},
    [C4P_EVENT_FOLLOWING] = {"following", more_following},
    [C4P_EVENT_STATE] = {"state", more_state},
    [C4P_EVENT_OUTPUT] = {"output", more_output},
    [C4P_EVENT_INPUT] = {"input", more_input},
    [C4P_EVENT_ENDED] = {"ended", more_ended},
    [C4P_EVENT_JOB] = {"job", more_job},
    [C4P_EVENT_STATUS] = {"status", more_status},
    [C4P_EVENT_LOST] = {"lost", more_text},
    [C4P_EVENT_BACK] = {"back", more_nothing},
};

PyObject *event_describe(const struct c4p_event *event)
{
    PyObject *common, *more;
    size_t kind = (size_t)event->kind;

    if (kind >= sizeof(kinds) / sizeof(*kinds) || kinds[kind].more == NULL)
        return PyErr_Format(PyExc_RuntimeError, "libc4p knows an event %d, which we do not",
                            (int)event->kind);
    more = kinds[kind].more(event);
    if (more == NULL)
        return NULL;
    common = Py_BuildValue("{sssLsK}", "kind", kinds[kind].name, "request",
                           (long long)event->request, "job_id", COUNT(event->job));
    if (common != NULL && PyDict_Update(common, more) != 0)
        Py_CLEAR(common);
    Py_DECREF(more);
    return common;
}
