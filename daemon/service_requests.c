/* What clients ask (control.h), carried out. */
#define _GNU_SOURCE
#include "daemon/service_internal.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/inquiry.h"
#include "daemon/supplies.h"

/* ---- requests about jobs ---- */

static int client_tie(struct client *client, uint64_t job)
{
    uint64_t *tied = reallocarray(client->tied, client->tied_count + 1, sizeof(*tied));

    if (tied == NULL)
        return -1;
    client->tied = tied;
    tied[client->tied_count++] = job;
    return 0;
}

static int job_follow(struct service *service, struct control_peer *peer, uint64_t id,
                      const C4p__Follow *follow, char reason[CONTROL_REASON_SIZE])
{
    C4p__Following following = C4P__FOLLOWING__INIT;
    struct client *client = client_of(peer);

    if (followers_add(service->followers, client->follows, follow, &following, reason) != 0)
        return -1;
    control_answer(service->control, peer, id, C4P__EVENT__BODY_FOLLOWING, &following);
    followers_flow(service->followers, client->follows, follow->job);
    return 0;
}

int serve_submit(void *context, struct control_peer *peer, const C4p__Request *request,
                 char reason[CONTROL_REASON_SIZE])
{
    struct service *service = context;
    const C4p__Submit *submit = request->submit;
    C4p__Accepted accepted = C4P__ACCEPTED__INIT;
    C4p__Follow follow = C4P__FOLLOW__INIT;

    if (jobs_submit(service->jobs, submit,
                    control_peer_outside(peer) ? JOBS_FROM_OUTSIDE : JOBS_PROGRAM, &accepted.job,
                    reason) != 0)
        return -1;
    if (submit->tied && client_tie(client_of(peer), accepted.job) != 0) {
        jobs_cancel(service->jobs, accepted.job, true, reason);
        return control_refuse(reason, "the daemon is out of memory");
    }
    control_answer(service->control, peer, request->id, C4P__EVENT__BODY_ACCEPTED, &accepted);
    if (!submit->follow || followers_has(client_of(peer)->follows, accepted.job))
        return 0;
    follow.job = accepted.job;
    follow.lossless = true;
    follow.input = submit->input;
    return job_follow(service, peer, request->id, &follow, reason);
}

int serve_follow(void *context, struct control_peer *peer, const C4p__Request *request,
                 char reason[CONTROL_REASON_SIZE])
{
    return job_follow(context, peer, request->id, request->follow, reason);
}

static void answer_done(struct service *service, struct control_peer *peer, uint64_t id)
{
    C4p__Done done = C4P__DONE__INIT;

    control_answer(service->control, peer, id, C4P__EVENT__BODY_DONE, &done);
}

int serve_unfollow(void *context, struct control_peer *peer, const C4p__Request *request,
                   char reason[CONTROL_REASON_SIZE])
{
    struct service *service = context;
    uint64_t job = request->unfollow->job;
    char id[CONTROL_ID_CHARS + 1];

    if (!followers_remove(service->followers, client_of(peer)->follows, job)) {
        control_id_format(job, id);
        return control_refuse(reason, "job %s is not followed", id);
    }
    answer_done(service, peer, request->id);
    sessions_leave(service->sessions, number_of(peer), job);
    return 0;
}

int serve_input(void *context, struct control_peer *peer, const C4p__Request *request,
                char reason[CONTROL_REASON_SIZE])
{
    struct service *service = context;
    const C4p__Input *input = request->input;
    char id[CONTROL_ID_CHARS + 1];
    enum job_state state;

    if (input->data.len > CONTROL_MAX_PIECE)
        return control_refuse(reason, "input of %zu bytes is more than the %u allowed",
                              input->data.len, CONTROL_MAX_PIECE);
    /* It was sent before the news of the end arrived. */
    if (jobs_state(service->jobs, input->job, &state, reason) && job_state_final(state))
        return 0;
    if (followers_has_input(client_of(peer)->follows, input->job))
        return jobs_input(service->jobs, input->job, input->data.data, input->data.len, input->eof,
                          reason);
    control_id_format(input->job, id);
    return control_refuse(
        reason, "the standard input of job %s is not yours to send: follow it with input", id);
}

int serve_output_ack(void *context, struct control_peer *peer, const C4p__Request *request,
                     char reason[CONTROL_REASON_SIZE])
{
    struct service *service = context;

    (void)reason;
    followers_acknowledge(service->followers, client_of(peer)->follows, request->output_ack->job,
                          request->output_ack->sequence);
    return 0;
}

int serve_cancel(void *context, struct control_peer *peer, const C4p__Request *request,
                 char reason[CONTROL_REASON_SIZE])
{
    struct service *service = context;

    if (jobs_cancel(service->jobs, request->cancel->job, request->cancel->kill, reason) != 0)
        return -1;
    answer_done(service, peer, request->id);
    return 0;
}

/* ---- requests about files ---- */

int serve_offer(void *context, struct control_peer *peer, const C4p__Request *request,
                char reason[CONTROL_REASON_SIZE])
{
    struct service *service = context;

    return supplies_offer(service->supplies, service->control, peer, request, reason);
}

int serve_blob_put(void *context, struct control_peer *peer, const C4p__Request *request,
                   char reason[CONTROL_REASON_SIZE])
{
    struct service *service = context;

    return supplies_put(service->supplies, service->control, peer, request, reason);
}

/* ---- requests about sessions ---- */

int serve_open(void *context, struct control_peer *peer, const C4p__Request *request,
               char reason[CONTROL_REASON_SIZE])
{
    struct service *service = context;
    C4p__Accepted accepted = C4P__ACCEPTED__INIT;

    if (sessions_open(service->sessions, number_of(peer), request->open, &accepted.job, reason) !=
        0)
        return -1;
    control_answer(service->control, peer, request->id, C4P__EVENT__BODY_ACCEPTED, &accepted);
    return 0;
}

int serve_close(void *context, struct control_peer *peer, const C4p__Request *request,
                char reason[CONTROL_REASON_SIZE])
{
    struct service *service = context;

    if (sessions_close(service->sessions, request->close->job, reason) != 0)
        return -1;
    answer_done(service, peer, request->id);
    return 0;
}

/* ---- questions ---- */

static struct inquiry inquiry_of(struct service *service, struct control_peer *peer, uint64_t id)
{
    return (struct inquiry){
        .control = service->control,
        .peer = peer,
        .id = id,
        .jobs = service->jobs,
        .sessions = service->sessions,
    };
}

int serve_list(void *context, struct control_peer *peer, const C4p__Request *request,
               char reason[CONTROL_REASON_SIZE])
{
    struct inquiry inquiry = inquiry_of(context, peer, request->id);

    return inquiry_list(&inquiry, request->list, reason);
}

int serve_find(void *context, struct control_peer *peer, const C4p__Request *request,
               char reason[CONTROL_REASON_SIZE])
{
    struct inquiry inquiry = inquiry_of(context, peer, request->id);

    return inquiry_find(&inquiry, request->find, reason);
}

int serve_status(void *context, struct control_peer *peer, const C4p__Request *request,
                 char reason[CONTROL_REASON_SIZE])
{
    struct service *service = context;
    C4p__DaemonStatus status = C4P__DAEMON_STATUS__INIT;
    const char *state_dir = service->settings.jobs.state_dir;
    char *troubles[MAX_TROUBLES + 1 + INQUIRY_TROUBLES];

    (void)reason;
    inquiry_figures(service->jobs, &status);
    status.clients = control_count(service->control);
    status.max_clients = service->settings.max_clients;
    status.refused = control_refused(service->control) + attach_refused(service->attach);
    status.version = (char *)(uintptr_t)service->settings.version;
    status.host = (char *)(uintptr_t)service->place->host;
    status.pid = (uint32_t)getpid();
    status.started = (uint64_t)service->started;
    status.state_dir.data = (uint8_t *)(uintptr_t)state_dir;
    status.state_dir.len = state_dir != NULL ? strlen(state_dir) : 0;
    status.draining = service->draining;
    status.troubles = troubles;
    if (*jobs_trouble(service->jobs) != '\0')
        troubles[status.n_troubles++] = (char *)(uintptr_t)jobs_trouble(service->jobs);
    for (size_t i = 0; i < MAX_TROUBLES && service->troubles[i] != NULL; i++)
        troubles[status.n_troubles++] = service->troubles[i];
    inquiry_cluster(service->settings.jobs.post, &status);
    control_answer(service->control, peer, request->id, C4P__EVENT__BODY_DAEMON_STATUS, &status);
    return 0;
}

int serve_nodes(void *context, struct control_peer *peer, const C4p__Request *request,
                char reason[CONTROL_REASON_SIZE])
{
    struct service *service = context;
    struct inquiry inquiry = inquiry_of(service, peer, request->id);

    return inquiry_nodes(&inquiry, service->settings.jobs.post, request->nodes, reason);
}
