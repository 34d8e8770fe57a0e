#include "client/cli/describe.h"

#include <string.h>

bool state_is_over(enum c4p_state state)
{
    return state >= C4P_STATE_COMPLETED;
}

int exit_code_of_end(const struct c4p_event *event)
{
    int code = event->exit_code & 0xff;

    /* A process that is to tell a failure cannot do it by a code that comes out as 0. */
    if (code == 0 && (event->exit_code != 0 || event->state != C4P_STATE_COMPLETED))
        return 1;
    return code;
}

static void put_id(struct json *json, const char *key, uint64_t id)
{
    char text[C4P_ID_SIZE];

    json_text(json, key, c4p_id_format(id, text));
}

/* ---- jobs and sessions ---- */

static void put_identity(struct json *json, const struct c4p_job_info *info)
{
    put_id(json, "id", info->id);
    json_text(json, "name", info->name);
    json_text(json, "state", c4p_state_name(info->state));
    json_number(json, "pes", info->pes);
}

static void put_times(struct json *json, const struct c4p_job_info *info)
{
    json_time(json, "submitted", info->submitted);
    json_time(json, "started", info->started);
    json_time(json, "ended", info->ended);
}

static void put_end(struct json *json, const struct c4p_job_info *info)
{
    if (state_is_over(info->state))
        json_number(json, "exit_code", info->exit_code);
    else
        json_null(json, "exit_code");
    json_text(json, "message", info->message);
    json_text(json, "reason", info->reason);
}

static void put_hosts(struct json *json, const struct c4p_job_info *info)
{
    json_array_begin(json, "hosts");
    for (size_t i = 0; i < info->host_count; i++) {
        json_object_begin(json, NULL);
        json_text(json, "name", info->hosts[i].name);
        json_number(json, "first_pe", info->hosts[i].first_pe);
        json_number(json, "pes", info->hosts[i].pes);
        json_object_end(json);
    }
    json_array_end(json);
}

void describe_job(struct json *json, const struct c4p_job_info *info)
{
    json_object_begin(json, NULL);
    put_identity(json, info);
    json_number(json, "priority", info->priority);
    json_number(json, "time_limit_ms", (int64_t)info->time_limit_ms);
    put_times(json, info);
    put_end(json, info);
    json_array_begin(json, "argv");
    for (const char *const *word = info->argv; *word != NULL; word++)
        json_text(json, NULL, *word);
    json_array_end(json);
    json_text(json, "cwd", info->cwd);
    json_boolean(json, "session", info->session);
    put_hosts(json, info);
    json_object_end(json);
}

void describe_session(struct json *json, const struct c4p_job_info *info)
{
    json_object_begin(json, NULL);
    put_identity(json, info);
    json_text(json, "session", info->session_name);
    json_number(json, "clients", info->clients);
    json_number(json, "ttl_ms", (int64_t)info->ttl_ms);
    json_time(json, "expires", info->expires);
    put_times(json, info);
    put_end(json, info);
    put_hosts(json, info);
    json_object_end(json);
}

/* ---- the daemon ---- */

void describe_status(struct json *json, const struct c4p_daemon_status *status)
{
    json_object_begin(json, NULL);
    json_text(json, "version", status->version);
    json_text(json, "host", status->host);
    json_text(json, "state_dir", status->state_dir);
    json_number(json, "pid", status->pid);
    json_time(json, "started", status->started);
    json_number(json, "pes", status->pes);
    json_number(json, "pes_used", status->pes_used);
    json_number(json, "queued", status->queued);
    json_number(json, "running", status->running);
    json_number(json, "sessions", status->sessions);
    json_number(json, "clients", status->clients);
    json_number(json, "max_clients", status->max_clients);
    json_number(json, "refused", (int64_t)status->refused);
    json_number(json, "rss", (int64_t)status->rss);
    json_boolean(json, "draining", status->draining);
    json_text(json, "cluster", status->cluster);
    json_number(json, "nodes", status->nodes);
    json_number(json, "nodes_lost", status->nodes_lost);
    json_number(json, "cluster_pes", status->cluster_pes);
    json_number(json, "cluster_pes_free", status->cluster_pes_free);
    json_array_begin(json, "troubles");
    for (const char *const *trouble = status->troubles; *trouble != NULL; trouble++)
        json_text(json, NULL, *trouble);
    json_array_end(json);
    json_object_end(json);
}

/* ---- the stream of a job ---- */

static void line_begin(struct json *json, const char *event, uint64_t job)
{
    json_object_begin(json, NULL);
    json_text(json, "event", event);
    put_id(json, "job", job);
}

static void line_end(struct json *json)
{
    json_object_end(json);
    json_line_end(json);
}

void describe_accepted(struct json *json, uint64_t job)
{
    line_begin(json, "accepted", job);
    line_end(json);
}

void describe_state(struct json *json, const struct c4p_event *event)
{
    line_begin(json, "state", event->job);
    json_text(json, "state", c4p_state_name(event->state));
    json_text(json, "reason", event->text);
    line_end(json);
}

void describe_output(struct json *json, const struct c4p_event *event)
{
    line_begin(json, "output", event->job);
    json_number(json, "sequence", (int64_t)event->sequence);
    if (event->pe == C4P_NO_PE)
        json_null(json, "pe");
    else
        json_number(json, "pe", event->pe);
    json_text(json, "stream", event->stream == C4P_STREAM_STDOUT ? "stdout" : "stderr");
    json_data(json, "text", "base64", event->data, event->data_size);
    line_end(json);
}

void describe_gap(struct json *json, uint64_t job, uint64_t pieces)
{
    line_begin(json, "gap", job);
    json_number(json, "pieces", (int64_t)pieces);
    line_end(json);
}

void describe_ended(struct json *json, const struct c4p_event *event)
{
    line_begin(json, "ended", event->job);
    json_text(json, "state", c4p_state_name(event->state));
    json_number(json, "exit_code", event->exit_code);
    json_text(json, "message", event->text);
    json_bytes(json, "tail", event->tail, event->tail_size);
    json_bytes(json, "report", event->data, event->data_size);
    line_end(json);
}
