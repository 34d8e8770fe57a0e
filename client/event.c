#include "client/client.h"

#include <stdlib.h>
#include <string.h>

/* ---- bytes as text ---- */

/* Room beside the message for what has to end with a NUL: pointers first, then characters. */
struct scratch {
    const char **pointers;
    char *text;
};

static bool scratch_take(struct c4p_client *client, struct scratch *scratch, size_t pointers,
                         size_t text)
{
    free(client->scratch);
    client->scratch = malloc(pointers * sizeof(char *) + text + 1);
    scratch->pointers = client->scratch;
    scratch->text = (char *)client->scratch + pointers * sizeof(char *);
    return client->scratch != NULL;
}

static const char *scratch_text(struct scratch *scratch, const ProtobufCBinaryData *bytes)
{
    char *text = scratch->text;

    if (bytes->len > 0)
        memcpy(text, bytes->data, bytes->len);
    text[bytes->len] = '\0';
    scratch->text += bytes->len + 1;
    return text;
}

static void bytes_take(const ProtobufCBinaryData *bytes, const char **data, size_t *size)
{
    *data = bytes->len > 0 ? (const char *)bytes->data : "";
    *size = bytes->len;
}

/* False if the state is none that we know. */
static bool state_take(enum c4p_state *state, C4p__JobState value)
{
    *state = (enum c4p_state)value;
    return (unsigned)value <= C4P_STATE_CANCELLED;
}

/* ---- messages ---- */

typedef bool event_filler(struct c4p_client *client, struct c4p_event *event,
                          const C4p__Event *message);

static bool refused_fill(struct c4p_client *client, struct c4p_event *event,
                         const C4p__Event *message)
{
    (void)client;
    event->kind = C4P_EVENT_REFUSED;
    event->text = message->refused->reason;
    return true;
}

static bool accepted_fill(struct c4p_client *client, struct c4p_event *event,
                          const C4p__Event *message)
{
    (void)client;
    event->kind = C4P_EVENT_ACCEPTED;
    event->job = message->accepted->job;
    return true;
}

static bool following_fill(struct c4p_client *client, struct c4p_event *event,
                           const C4p__Event *message)
{
    (void)client;
    event->kind = C4P_EVENT_FOLLOWING;
    event->job = message->following->job;
    event->sequence = message->following->next;
    event->first = message->following->first;
    event->input = message->following->input;
    return true;
}

static bool state_fill(struct c4p_client *client, struct c4p_event *event,
                       const C4p__Event *message)
{
    (void)client;
    event->kind = C4P_EVENT_STATE;
    event->job = message->state->job;
    event->text = message->state->reason;
    return state_take(&event->state, message->state->state);
}

static bool output_fill(struct c4p_client *client, struct c4p_event *event,
                        const C4p__Event *message)
{
    const C4p__Output *output = message->output;

    (void)client;
    event->kind = C4P_EVENT_OUTPUT;
    event->job = output->job;
    event->pe = output->pe;
    event->stream = (enum c4p_stream)output->stream;
    event->sequence = output->sequence;
    bytes_take(&output->data, &event->data, &event->data_size);
    return (unsigned)output->stream <= C4P_STREAM_STDERR && output->sequence > 0 &&
           output->data.len <= CONTROL_MAX_PIECE;
}

static bool input_fill(struct c4p_client *client, struct c4p_event *event,
                       const C4p__Event *message)
{
    (void)client;
    event->kind = C4P_EVENT_INPUT;
    event->job = message->input_credit->job;
    event->credit = message->input_credit->bytes;
    event->closed = message->input_credit->closed;
    return true;
}

static bool ended_fill(struct c4p_client *client, struct c4p_event *event,
                       const C4p__Event *message)
{
    const C4p__Ended *ended = message->ended;

    (void)client;
    event->kind = C4P_EVENT_ENDED;
    event->job = ended->job;
    event->exit_code = ended->exit_code;
    event->text = ended->message;
    bytes_take(&ended->tail, &event->tail, &event->tail_size);
    bytes_take(&ended->text, &event->data, &event->data_size);
    return state_take(&event->state, ended->state);
}

static bool done_fill(struct c4p_client *client, struct c4p_event *event, const C4p__Event *message)
{
    (void)client, (void)message;
    event->kind = C4P_EVENT_DONE;
    return true;
}

static void session_take(struct c4p_job_info *info, const C4p__SessionInfo *session,
                         struct scratch *scratch)
{
    info->session = session != NULL;
    info->session_name = "";
    if (session == NULL)
        return;
    info->session_name = scratch_text(scratch, &session->name);
    info->clients = session->clients;
    info->ttl_ms = session->ttl_ms;
    info->expires = session->expires;
}

static size_t texts_size(const C4p__JobInfo *job)
{
    size_t size = job->name.len + job->cwd.len + 3;

    for (size_t i = 0; i < job->n_argv; i++)
        size += job->argv[i].len + 1;
    return size + (job->session != NULL ? job->session->name.len : 0);
}

/* Their names are in the message. */
static bool hosts_take(struct c4p_client *client, struct c4p_job_info *info,
                       const C4p__JobInfo *job)
{
    free(client->hosts);
    client->hosts = calloc(job->n_hosts + 1, sizeof(*client->hosts));
    if (client->hosts == NULL)
        return false;
    for (size_t i = 0; i < job->n_hosts; i++)
        client->hosts[i] = (struct c4p_job_host){.name = job->hosts[i]->name,
                                                 .first_pe = job->hosts[i]->first_pe,
                                                 .pes = job->hosts[i]->pes};
    info->hosts = client->hosts;
    info->host_count = job->n_hosts;
    return true;
}

static bool job_take(struct c4p_client *client, struct c4p_job_info *info, const C4p__JobInfo *job)
{
    struct scratch scratch;

    *info = (struct c4p_job_info){
        .id = job->id,
        .order = job->order,
        .pes = job->pes,
        .priority = job->priority,
        .time_limit_ms = job->time_limit_ms,
        .submitted = job->submitted,
        .started = job->started,
        .ended = job->ended,
        .exit_code = job->exit_code,
        .message = job->message,
        .reason = job->reason,
        .output_first = job->output_first,
        .output_next = job->output_next,
    };
    if (!scratch_take(client, &scratch, job->n_argv + 1, texts_size(job)) ||
        !hosts_take(client, info, job))
        return false;
    info->argv = scratch.pointers;
    for (size_t i = 0; i < job->n_argv; i++)
        scratch.pointers[i] = scratch_text(&scratch, &job->argv[i]);
    scratch.pointers[job->n_argv] = NULL;
    info->name = scratch_text(&scratch, &job->name);
    info->cwd = scratch_text(&scratch, &job->cwd);
    session_take(info, job->session, &scratch);
    return state_take(&info->state, job->state);
}

/* One event for each, and then that this was all, unless more follow: then kind stays 0. */
static bool jobs_fill(struct c4p_client *client, struct c4p_event *event, const C4p__Event *message)
{
    const C4p__Jobs *jobs = message->jobs;

    if (client->jobs_told == jobs->n_jobs) {
        int rc = jobs->more ? 1 : request_list_next(client, message->id, jobs);

        client->jobs_told++;
        if (rc == 0)
            event->kind = C4P_EVENT_DONE;
        return rc >= 0;
    }
    event->kind = C4P_EVENT_JOB;
    event->info = &client->info;
    event->job = jobs->jobs[client->jobs_told]->id;
    return job_take(client, &client->info, jobs->jobs[client->jobs_told++]);
}

static bool status_fill(struct c4p_client *client, struct c4p_event *event,
                        const C4p__Event *message)
{
    const C4p__DaemonStatus *status = message->daemon_status;
    struct scratch scratch;

    event->kind = C4P_EVENT_STATUS;
    event->status = &client->status;
    client->status = (struct c4p_daemon_status){
        .version = status->version,
        .host = status->host,
        .pid = status->pid,
        .started = status->started,
        .pes = status->pes,
        .pes_used = status->pes_used,
        .queued = status->queued,
        .running = status->running,
        .sessions = status->sessions,
        .clients = status->clients,
        .max_clients = status->max_clients,
        .refused = status->refused,
        .rss = status->rss,
        .draining = status->draining,
        .cluster = status->cluster,
        .nodes = status->nodes,
        .nodes_lost = status->nodes_lost,
        .cluster_pes = status->cluster_pes,
        .cluster_pes_free = status->cluster_pes_free,
    };
    if (!scratch_take(client, &scratch, status->n_troubles + 1, status->state_dir.len + 1))
        return false;
    for (size_t i = 0; i < status->n_troubles; i++)
        scratch.pointers[i] = status->troubles[i];
    scratch.pointers[status->n_troubles] = NULL;
    client->status.troubles = scratch.pointers;
    client->status.state_dir = scratch_text(&scratch, &status->state_dir);
    return true;
}

/* Of the answer to an offer the caller sees what becomes of it, at the end. */
static bool missing_fill(struct c4p_client *client, struct c4p_event *event,
                         const C4p__Event *message)
{
    upload_tell(client, event, message->id, upload_begin(client, message->id, message->missing));
    return true;
}

/* The caller sees that the daemon is lost. */
static bool dismissed_fill(struct c4p_client *client, struct c4p_event *event,
                           const C4p__Event *message)
{
    event->kind = 0;
    return link_dismiss(client, message->dismissed);
}

static event_filler *const fillers[] = {
    [C4P__EVENT__BODY_REFUSED] = refused_fill,     [C4P__EVENT__BODY_ACCEPTED] = accepted_fill,
    [C4P__EVENT__BODY_FOLLOWING] = following_fill, [C4P__EVENT__BODY_STATE] = state_fill,
    [C4P__EVENT__BODY_OUTPUT] = output_fill,       [C4P__EVENT__BODY_INPUT_CREDIT] = input_fill,
    [C4P__EVENT__BODY_ENDED] = ended_fill,         [C4P__EVENT__BODY_DONE] = done_fill,
    [C4P__EVENT__BODY_JOBS] = jobs_fill,           [C4P__EVENT__BODY_DAEMON_STATUS] = status_fill,
    [C4P__EVENT__BODY_MISSING] = missing_fill,     [C4P__EVENT__BODY_DISMISSED] = dismissed_fill,
};

bool event_fill(struct c4p_client *client, struct c4p_event *event)
{
    const C4p__Event *message = client->event;
    size_t body = (size_t)message->body_case;

    event->request = (message->id & OWN_ID) != 0 ? 0 : (int64_t)message->id;
    return body < sizeof(fillers) / sizeof(*fillers) && fillers[body] != NULL &&
           fillers[body](client, event, message);
}
