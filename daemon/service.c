#define _GNU_SOURCE
#include "daemon/service_internal.h"

#include <errno.h>
#include <event2/event.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utlist.h>

#include "daemon/cluster/post.h"
#include "daemon/control/attach.h"
#include "daemon/control/control.h"
#include "daemon/control/server.h"
#include "daemon/followers.h"
#include "daemon/inquiry.h"
#include "daemon/log.h"
#include "daemon/outside.h"
#include "daemon/sessions.h"
#include "daemon/supplies.h"
#include "proto/clock.h"
void service_changed(struct service *service)
{
    if (service->jobs != NULL && service->settings.jobs.post != NULL)
        inquiry_tell(service->jobs, service->draining, service->settings.jobs.post);
    service->listener.changed(service->listener.context);
}

/* ---- from the jobs ---- */

static void on_changed(void *context, uint64_t job, enum job_state state)
{
    struct service *service = context;

    (void)state;
    followers_changed(service->followers, job);
    service_changed(service);
}

static void on_queue_moved(void *context)
{
    struct service *service = context;

    followers_queue_moved(service->followers);
    service_changed(service);
}

static void on_output(void *context, uint64_t job)
{
    struct service *service = context;

    followers_output(service->followers, job);
}

static void on_input_credit(void *context, uint64_t job, uint32_t bytes, bool closed)
{
    struct service *service = context;

    followers_input_credit(service->followers, job, bytes, closed);
}

static bool on_keeps_up(void *context, uint64_t job)
{
    struct service *service = context;

    return followers_keep_up(service->followers, job);
}

static void tie_cut(struct client *client, uint64_t job)
{
    for (size_t i = 0; i < client->tied_count; i++)
        if (client->tied[i] == job)
            client->tied[i--] = client->tied[--client->tied_count];
}

static void on_ended(void *context, uint64_t job)
{
    struct service *service = context;
    struct client *client;

    DL_FOREACH(service->clients, client)
    {
        tie_cut(client, job);
    }
    sessions_job_ended(service->sessions, job);
    followers_ended(service->followers, job);
    service_changed(service);
}

static void on_trouble(void *context, const char *sentence)
{
    struct service *service = context;

    for (size_t i = 0; sentence != NULL && i < MAX_TROUBLES; i++) {
        if (service->troubles[i] == NULL)
            service->troubles[i] = strdup(sentence);
        if (service->troubles[i] == NULL || strcmp(service->troubles[i], sentence) == 0)
            break;
    }
    service_changed(service);
}

/* ---- clients ---- */

static bool serve_redeem(void *context, const void *ticket, size_t size, struct attach_who *who)
{
    struct service *service = context;

    return attach_redeem(service->attach, ticket, size, who);
}

static int serve_greeted(void *context, struct control_peer *peer, char reason[CONTROL_REASON_SIZE])
{
    struct service *service = context;
    struct client *client = calloc(1, sizeof(*client));

    if (client != NULL)
        client->follows = followers_client_create(service->followers, peer);
    if (client == NULL || client->follows == NULL) {
        free(client);
        return control_refuse(reason, "the daemon is out of memory");
    }
    client->peer = peer;
    control_peer_set_data(peer, client);
    DL_APPEND(service->clients, client);
    log_write(LOG_DEBUG, "control", "client %llu (%s, process %d) is here",
              (unsigned long long)number_of(peer), control_peer_name(peer),
              (int)control_peer_who(peer)->pid);
    service->listener.greeted(service->listener.context);
    service_changed(service);
    return 0;
}

static void serve_left(void *context, struct control_peer *peer)
{
    struct service *service = context;
    struct client *client = client_of(peer);
    char reason[JOBS_REASON_SIZE];

    log_write(LOG_DEBUG, "control", "client %llu (%s) is gone", (unsigned long long)number_of(peer),
              control_peer_name(peer));
    DL_DELETE(service->clients, client);
    followers_client_destroy(service->followers, client->follows);
    for (size_t i = 0; i < client->tied_count; i++)
        jobs_cancel(service->jobs, client->tied[i], false, reason);
    free(client->tied);
    free(client);
    sessions_client_gone(service->sessions, number_of(peer));
    if (control_peer_outside(peer))
        outside_left(service->outside, number_of(peer));
    service_changed(service);
}

static bool serve_cluster(void *context)
{
    struct service *service = context;

    return service->settings.jobs.post != NULL && post_self(service->settings.jobs.post) != NULL;
}

static int serve_send(void *context, const void *identity, size_t identity_size, const void *data,
                      size_t size)
{
    struct service *service = context;

    if (outside_owns(identity, identity_size))
        return outside_send(service->outside, identity, identity_size, data, size);
    return server_send(service->server, identity, identity_size, data, size);
}

/* Not now: whoever finds out is in the middle of something with this client. */
static void serve_lost(void *context, struct control_peer *peer, int error)
{
    struct service *service = context;

    client_of(peer)->lost = error;
    event_add(service->cut, &(struct timeval){0, 0});
}

static void on_gone(void *context, uint64_t who)
{
    struct service *service = context;

    control_gone(service->control, who);
    if (attach_count(service->attach) == 0 && control_count(service->control) == 0)
        service->listener.deserted(service->listener.context);
}

static void client_end(struct service *service, uint64_t number, const char *reason)
{
    attach_close(service->attach, number, reason);
    on_gone(service, number);
}

/* A client is to be ended by us; why is in the log. */
static void client_cut(void *context, uint64_t number)
{
    client_end(context, number, NULL);
}

static void service_on_cut(evutil_socket_t fd, short what, void *argument)
{
    struct service *service = argument;
    struct client *client, *next;

    (void)fd, (void)what;
    DL_FOREACH_SAFE(service->clients, client, next)
    {
        uint64_t number = number_of(client->peer);
        const char *reason = client->lost == EAGAIN ? "it asks, and does not read the answers"
                                                    : strerror(client->lost);

        if (client->lost == 0)
            continue;
        log_write(LOG_WARNING, "control", "client %llu (%s) is cut off: %s",
                  (unsigned long long)number, control_peer_name(client->peer), reason);
        client_end(service, number, reason);
    }
}

static int followers_send(void *context, struct control_peer *peer, C4p__Event__BodyCase body,
                          void *message)
{
    struct service *service = context;

    return control_send(service->control, peer, body, message);
}

static int on_segment(void *context, uint64_t who, uint64_t job, struct attach_entry *entry,
                      char reason[ATTACH_ERROR_SIZE])
{
    struct service *service = context;
    struct control_peer *peer = control_find(service->control, who);
    char sentence[CONTROL_REASON_SIZE] = "say Hello before entering a session";
    int rc = -1;

    if (peer != NULL)
        rc = sessions_enter(service->sessions, who, job,
                            followers_has(client_of(peer)->follows, job), entry, sentence);
    if (rc != 0)
        snprintf(reason, ATTACH_ERROR_SIZE, "%.*s", ATTACH_ERROR_SIZE - 1, sentence);
    return rc;
}

static void on_admin(void *context, const C4p__Admin *admin, C4p__AdminAnswer *answer)
{
    struct service *service = context;

    service->listener.admin(service->listener.context, admin, answer);
}

/* ---- clients of other machines ---- */

static int on_outside_send(void *context, const void *identity, size_t identity_size,
                           const void *data, size_t size)
{
    struct service *service = context;
    struct cluster *cluster = post_cluster(service->settings.jobs.post);

    if (cluster != NULL)
        return cluster_reply_user(cluster, identity, identity_size, data, size);
    errno = EHOSTUNREACH;
    return -1;
}

static void on_user(void *context, const struct node_key *from, const void *identity,
                    size_t identity_size, const void *data, size_t size)
{
    struct service *service = context;

    outside_frame(service->outside, from, identity, identity_size, data, size);
}

static void on_user_revoked(void *context, const struct node_key *key)
{
    struct service *service = context;

    outside_revoked(service->outside, key);
}

static int outside_open(struct service *service)
{
    const struct outside_settings settings = {
        .control = service->control,
        .send = on_outside_send,
        .cut = client_cut,
        .context = service,
    };

    if (service->settings.jobs.post == NULL)
        return 0;
    service->outside = outside_create(service->place->base, &settings);
    if (service->outside == NULL)
        return -1;
    post_serve_users(service->settings.jobs.post,
                     &(struct post_users){on_user, on_user_revoked, service});
    return 0;
}

/* ---- the service itself ---- */

static void on_frame(void *context, const void *identity, size_t identity_size, const void *data,
                     size_t size)
{
    struct service *service = context;

    control_receive(service->control, identity, identity_size, data, size);
}

static int out_of_memory(char error[SERVICE_ERROR_SIZE])
{
    snprintf(error, SERVICE_ERROR_SIZE, "the daemon is out of memory");
    return -1;
}

static int control_open(struct service *service, const char *address)
{
    const struct control_service requests = {
        .submit = serve_submit,
        .follow = serve_follow,
        .unfollow = serve_unfollow,
        .input = serve_input,
        .output_ack = serve_output_ack,
        .cancel = serve_cancel,
        .list = serve_list,
        .find = serve_find,
        .status = serve_status,
        .nodes = serve_nodes,
        .open = serve_open,
        .close = serve_close,
        .offer = serve_offer,
        .blob_put = serve_blob_put,
        .redeem = serve_redeem,
        .greeted = serve_greeted,
        .left = serve_left,
        .send = serve_send,
        .lost = serve_lost,
        .cluster = serve_cluster,
        .context = service,
    };
    const struct attach_listener door = {
        .gone = on_gone,
        .segment = on_segment,
        .admin = service->listener.admin != NULL ? on_admin : NULL,
        .context = service,
    };
    const struct attach_settings settings = {address, service->place->host,
                                             service->settings.max_clients};
    uint64_t incarnation = 0;

    if (getrandom(&incarnation, sizeof(incarnation), 0) != sizeof(incarnation))
        incarnation = (uint64_t)getpid();
    service->control =
        control_create(&requests, incarnation, service->place->host, service->settings.max_clients);
    service->attach = attach_create(service->place->base, &settings, &door);
    return service->control != NULL && service->attach != NULL ? 0 : -1;
}

static struct bundles_settings bundles_settings(const struct service *service)
{
    return (struct bundles_settings){
        .state_dir = service->settings.jobs.state_dir,
        .limit = service->settings.bundle_limit,
        .keep_ms = service->settings.bundle_keep_ms,
    };
}

/* To the jobs. */
static void supplies_give(struct service *service)
{
    service->settings.jobs.bundles = supplies_bundles(service->supplies);
    service->settings.jobs.probes = supplies_probes(service->supplies);
    service->settings.jobs.provisions = supplies_provisions(service->supplies);
}

static int supplies_open(struct service *service, char error[SERVICE_ERROR_SIZE])
{
    const struct bundles_settings settings = bundles_settings(service);

    if (settings.state_dir == NULL)
        return 0;
    service->supplies =
        supplies_create(service->place, &settings, service->settings.jobs.post, error);
    return service->supplies != NULL ? 0 : -1;
}

static int jobs_open(struct service *service, enum store_open_result *result,
                     char error[SERVICE_ERROR_SIZE])
{
    const struct jobs_listener listener = {
        .changed = on_changed,
        .queue_moved = on_queue_moved,
        .output = on_output,
        .input_credit = on_input_credit,
        .ended = on_ended,
        .keeps_up = on_keeps_up,
        .trouble = on_trouble,
        .context = service,
    };

    if (supplies_open(service, error) != 0)
        return -1;
    supplies_give(service);
    service->jobs = jobs_create(service->place, &service->settings.jobs, &listener, result, error);
    if (service->jobs == NULL)
        return -1;
    followers_set_jobs(service->followers, service->jobs);
    sessions_set_jobs(service->sessions, service->jobs);
    return 0;
}

static int service_open(struct service *service, const char *address,
                        enum store_open_result *result, char error[SERVICE_ERROR_SIZE])
{
    const struct followers_listener followers = {followers_send, serve_lost, service};
    struct event_base *base = service->place->base;
    const struct bridge_listener remote = {client_cut, service};
    mode_t before;

    service->cut = event_new(base, -1, 0, service_on_cut, service);
    service->followers = followers_create(base, &followers);
    service->sessions = sessions_create(base, service->settings.session_ttl_ms,
                                        service->settings.jobs.state_dir, &remote);
    if (service->cut == NULL || service->followers == NULL || service->sessions == NULL ||
        control_open(service, address) != 0 || outside_open(service) != 0)
        return out_of_memory(error);
    if (jobs_open(service, result, error) != 0)
        return -1;
    before = umask(0177); /* the socket is ours alone */
    service->server = server_create(base, address, on_frame, service);
    umask(before);
    if (service->server != NULL)
        return 0;
    *result = STORE_TRANSIENT;
    snprintf(error, SERVICE_ERROR_SIZE, "%.200s: cannot be bound: %s", address, strerror(errno));
    return -1;
}

struct service *service_create(const struct job_place *place, const char *address,
                               const struct service_settings *settings,
                               const struct service_listener *listener,
                               enum store_open_result *result, char error[SERVICE_ERROR_SIZE])
{
    struct service *service = calloc(1, sizeof(*service));

    *result = STORE_TRANSIENT;
    if (service == NULL) {
        out_of_memory(error);
        return NULL;
    }
    service->place = place;
    service->settings = *settings;
    service->listener = *listener;
    service->started = clock_day_ms();
    if (service_open(service, address, result, error) != 0) {
        service_destroy(service);
        return NULL;
    }
    service_changed(service);
    return service;
}

void service_destroy(struct service *service)
{
    struct client *client, *next;

    if (service == NULL)
        return;
    jobs_destroy(service->jobs);
    supplies_destroy(service->supplies);
    DL_FOREACH_SAFE(service->clients, client, next)
    {
        free(client->tied);
        free(client);
    }
    followers_destroy(service->followers);
    sessions_destroy(service->sessions);
    attach_destroy(service->attach);
    server_destroy(service->server);
    if (service->outside != NULL)
        post_serve_users(service->settings.jobs.post, &(struct post_users){.frame = NULL});
    outside_destroy(service->outside);
    control_destroy(service->control);
    if (service->cut != NULL)
        event_free(service->cut);
    for (size_t i = 0; i < MAX_TROUBLES; i++)
        free(service->troubles[i]);
    free(service);
}

int service_listen(struct service *service, const char *path, char error[SERVICE_ERROR_SIZE])
{
    return attach_listen(service->attach, path, error);
}

int service_adopt(struct service *service, int fd, char error[SERVICE_ERROR_SIZE])
{
    if (attach_adopt(service->attach, fd) == 0)
        return 0;
    snprintf(error, SERVICE_ERROR_SIZE, "the connection to the client cannot be watched: %s",
             strerror(errno));
    return -1;
}

bool service_child_died(struct service *service, pid_t pid)
{
    if (!jobs_child_died(service->jobs, pid))
        return false;
    if (jobs_idle(service->jobs))
        service->listener.idle(service->listener.context);
    return true;
}

void service_drain(struct service *service)
{
    service->draining = true;
    jobs_drain(service->jobs);
    service_changed(service);
}

void service_stop(struct service *service, bool kill)
{
    service->draining = true;
    jobs_stop(service->jobs, kill);
    service_changed(service);
}

bool service_is_idle(const struct service *service)
{
    return jobs_idle(service->jobs);
}

void service_configure(struct service *service, const struct service_settings *settings)
{
    const char *state_dir = service->settings.jobs.state_dir;
    struct bundles_settings bundles;

    service->settings = *settings;
    service->settings.jobs.state_dir = state_dir;
    supplies_give(service);
    bundles = bundles_settings(service);
    if (service->supplies != NULL)
        supplies_configure(service->supplies, &bundles);
    control_set_limit(service->control, settings->max_clients);
    sessions_set_ttl(service->sessions, settings->session_ttl_ms);
    jobs_configure(service->jobs, &settings->jobs);
    service_changed(service);
}

void service_describe(const struct service *service, char *text, size_t size)
{
    struct jobs_figures figures = jobs_figures(service->jobs);

    snprintf(text, size, "%s%u job%s, %u wait%s, %u of %u PEs in use%s%s",
             service->draining ? "stopping: " : "", figures.running,
             figures.running == 1 ? " runs" : "s run", figures.queued,
             figures.queued == 1 ? "s" : "", figures.used, figures.slots,
             *jobs_trouble(service->jobs) != '\0' ? "; " : "", jobs_trouble(service->jobs));
}
