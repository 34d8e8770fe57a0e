#define _GNU_SOURCE
#include "client/client.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/place.h"

/* ---- life ---- */

static struct c4p_client *client_create(const char *directory, const char *name)
{
    struct c4p_client *client = calloc(1, sizeof(*client));
    int rc;

    if (client == NULL)
        return NULL;
    rc = link_open(client);
    client->name = strdup(name != NULL ? name : "");
    client->host = strdup("");
    client->directory = directory != NULL ? strdup(directory) : NULL;
    client->reconnect = directory != NULL;
    if (rc == 0 && client->name != NULL && client->host != NULL &&
        (directory == NULL || client->directory != NULL))
        return client;
    c4p_close(client);
    return NULL;
}

static void event_drop(struct c4p_client *client)
{
    if (client->event != NULL)
        c4p__event__free_unpacked(client->event, NULL);
    client->event = NULL;
    free(client->scratch);
    client->scratch = NULL;
    free(client->hosts);
    client->hosts = NULL;
}

void c4p_close(struct c4p_client *client)
{
    int saved = errno;

    if (client == NULL)
        return;
    event_drop(client);
    link_close(client);
    requests_forget_all(client);
    followed_forget_all(client);
    uploads_forget_all(client);
    remote_free(client->remote);
    free(client->directory);
    free(client->name);
    free(client->host);
    free(client);
    errno = saved;
}

void c4p_forget(struct c4p_client *client)
{
    if (client == NULL || client->door < 0)
        return;
    close(client->door);
    client->door = -1;
}

/* The link was tried: the client, or NULL with the sentence and errno. */
static struct c4p_client *client_finish(struct c4p_client *client, int rc,
                                        char error[C4P_ERROR_SIZE])
{
    if (rc == 0)
        return client;
    memcpy(error, client->error, C4P_ERROR_SIZE);
    c4p_close(client);
    return NULL;
}

static struct c4p_client *no_client(char error[C4P_ERROR_SIZE])
{
    snprintf(error, C4P_ERROR_SIZE, "a client cannot be made: %s", strerror(errno));
    return NULL;
}

struct c4p_client *c4p_attach(const char *state_dir, const char *name, int timeout_ms,
                              char error[C4P_ERROR_SIZE])
{
    char directory[PATH_MAX], reason[PLACE_ERROR_SIZE];
    struct c4p_client *client;
    int rc = state_dir != NULL ? place_given_dir(state_dir, directory, reason)
                               : place_state_dir(directory, reason);

    if (rc != 0) {
        snprintf(error, C4P_ERROR_SIZE, "%s", reason);
        errno = EINVAL;
        return NULL;
    }
    client = client_create(directory, name);
    if (client == NULL)
        return no_client(error);
    return client_finish(client, link_establish(client, timeout_ms), error);
}

struct c4p_client *c4p_attach_remote(const char *path, const char *address, const char *name,
                                     int timeout_ms, char error[C4P_ERROR_SIZE])
{
    struct remote *remote = remote_open(path, address, error);
    struct c4p_client *client;

    if (remote == NULL)
        return NULL;
    client = client_create(NULL, name);
    if (client == NULL) {
        remote_free(remote);
        return no_client(error);
    }
    client->remote = remote;
    client->reconnect = true;
    return client_finish(client, link_establish(client, timeout_ms), error);
}

struct c4p_client *c4p_adopt(int fd, const char *name, int timeout_ms, char error[C4P_ERROR_SIZE])
{
    struct c4p_client *client = client_create(NULL, name);

    if (client == NULL) {
        close(fd);
        return no_client(error);
    }
    client->door = fd;
    return client_finish(client, link_establish(client, timeout_ms), error);
}

void c4p_set_reconnect(struct c4p_client *client, bool reconnect)
{
    client->reconnect = reconnect && (client->directory != NULL || client->remote != NULL);
    if (!client->reconnect && client->link != LINK_UP && client->link != LINK_ENDING)
        link_give_up(client);
}

int c4p_fd(const struct c4p_client *client)
{
    return client->epoll;
}

const char *c4p_host(const struct c4p_client *client)
{
    return client->host;
}

uint64_t c4p_incarnation(const struct c4p_client *client)
{
    return client->incarnation;
}

bool c4p_cluster(const struct c4p_client *client)
{
    return client->cluster;
}

/* ---- what the library says itself ---- */

static void lost_tell(struct c4p_client *client, struct c4p_event *event)
{
    client->lost_untold = false;
    event->kind = C4P_EVENT_LOST;
    event->closed = client->link == LINK_OVER;
    if (client->parting[0] != '\0')
        snprintf(client->notice, sizeof(client->notice),
                 "the daemon on %.100s has cut us off: %.300s", client->host, client->parting);
    else
        snprintf(client->notice, sizeof(client->notice),
                 client->link == LINK_OVER
                     ? "the daemon on %.200s is gone"
                     : "the daemon on %.200s is gone: waiting for it to come back",
                 client->host);
    event->text = client->notice;
}

static const char *doomed_explain(struct c4p_client *client)
{
    if (client->parting[0] == '\0')
        return "the daemon went away before it could answer: ask again when it is back";
    snprintf(client->notice, sizeof(client->notice),
             "the daemon has cut us off before it could answer: %.400s", client->parting);
    return client->notice;
}

static void doomed_tell(struct c4p_client *client, struct c4p_event *event, struct request *request)
{
    event->kind = C4P_EVENT_REFUSED;
    if (request->kind == C4P__REQUEST__BODY_UNFOLLOW)
        event->kind = C4P_EVENT_DONE; /* nobody follows over a connection that is gone */
    else
        event->text = doomed_explain(client);
    event->request = (int64_t)request->id;
    event->job = request->job;
    upload_forget(client, request->id);
    request_forget(client, request);
}

/* Answers before the loss: that is the last event where there is no way back. */
static bool notice_take(struct c4p_client *client, struct c4p_event *event)
{
    struct request *request = request_doomed(client);

    if (request != NULL) {
        doomed_tell(client, event, request);
    } else if (client->lost_untold) {
        lost_tell(client, event);
    } else if (client->back_untold) {
        client->back_untold = false;
        event->kind = C4P_EVENT_BACK;
    } else {
        return false;
    }
    return true;
}

/* ---- what becomes of an event ---- */

void upload_tell(struct c4p_client *client, struct c4p_event *event, uint64_t offer,
                 enum upload_news news)
{
    struct request *request = request_find(client, offer);

    event->kind = 0;
    if (news == UPLOAD_NOTHING || request == NULL)
        return;
    event->kind = news == UPLOAD_DONE ? C4P_EVENT_DONE : C4P_EVENT_REFUSED;
    event->request = (int64_t)offer;
    snprintf(client->notice, sizeof(client->notice), "%s", upload_failure(client, offer));
    event->text = client->notice;
    upload_forget(client, offer);
    request_forget(client, request);
}

/* A part of a file was taken, or was not: it is the offer that is answered. True: not yet. */
static bool put_watch(struct c4p_client *client, struct c4p_event *event, uint64_t offer)
{
    struct request *request = request_find(client, offer);

    if (event->kind == C4P_EVENT_DONE) {
        upload_tell(client, event, offer, upload_put(client, offer));
        return event->kind == 0;
    }
    upload_forget(client, offer);
    if (request == NULL)
        return true; /* it was answered when the first part was refused */
    request_forget(client, request);
    event->request = (int64_t)offer;
    return false;
}

/* What the caller gets of it. True: nothing. */
typedef bool event_watcher(struct c4p_client *client, struct c4p_event *event,
                           struct request *request);

static bool accepted_watch(struct c4p_client *client, struct c4p_event *event,
                           struct request *request)
{
    if (request != NULL && request->follow)
        followed_keep(client, request, event->job);
    return false;
}

static bool following_watch(struct c4p_client *client, struct c4p_event *event,
                            struct request *request)
{
    struct followed *followed = followed_by_request(client, client->event->id);

    if (request != NULL)
        followed = followed_keep(client, request, event->job);
    if (followed == NULL)
        return false;
    if (event->first > followed->next)
        followed->next = event->first;
    followed->follow_id = 0;
    return false;
}

static bool output_watch(struct c4p_client *client, struct c4p_event *event,
                         struct request *request)
{
    struct followed *followed = followed_find(client, event->job);

    (void)request;
    if (followed == NULL)
        return false;
    if (event->sequence < followed->next)
        return true;
    followed->next = event->sequence + 1;
    return false;
}

static bool ended_watch(struct c4p_client *client, struct c4p_event *event, struct request *request)
{
    struct followed *followed = followed_find(client, event->job);

    (void)request;
    if (followed != NULL)
        followed_forget(client, followed);
    return false;
}

static bool done_watch(struct c4p_client *client, struct c4p_event *event, struct request *request)
{
    struct followed *followed = request != NULL ? followed_find(client, request->job) : NULL;

    if (request != NULL)
        event->job = request->job;
    if (followed != NULL && request->kind == C4P__REQUEST__BODY_UNFOLLOW)
        followed_forget(client, followed);
    return false;
}

/* What the library asked by itself has no request: a job cannot be followed again, or an
 * acknowledgement came too late for anybody to care. */
static bool refused_watch(struct c4p_client *client, struct c4p_event *event,
                          struct request *request)
{
    struct followed *followed = followed_by_request(client, client->event->id);

    if (request != NULL)
        event->job = request->job;
    if (followed == NULL)
        return (client->event->id & OWN_ID) != 0;
    event->job = followed->job;
    followed_forget(client, followed);
    return false;
}

static event_watcher *const watchers[] = {
    [C4P_EVENT_REFUSED] = refused_watch,
    [C4P_EVENT_ACCEPTED] = accepted_watch,
    [C4P_EVENT_FOLLOWING] = following_watch,
    [C4P_EVENT_OUTPUT] = output_watch,
    [C4P_EVENT_ENDED] = ended_watch,
    [C4P_EVENT_DONE] = done_watch,
    [C4P_EVENT_BACK] = NULL,
};

/* True: this one is not for the caller. */
static bool event_watch(struct c4p_client *client, struct c4p_event *event)
{
    struct request *request = request_find(client, client->event->id);
    bool hidden = event->kind == 0;

    if (request != NULL && request->kind == C4P__REQUEST__BODY_BLOB_PUT) {
        uint64_t offer = request->offer;

        request_forget(client, request);
        return put_watch(client, event, offer);
    }
    if (watchers[event->kind] != NULL)
        hidden = watchers[event->kind](client, event, request);
    if (request != NULL && event->kind == C4P_EVENT_REFUSED)
        upload_forget(client, request->id);
    if (request != NULL && event->kind != C4P_EVENT_JOB && event->kind != 0)
        request_forget(client, request);
    return hidden;
}

/* ---- taking events ---- */

static void event_clear(struct c4p_event *event)
{
    memset(event, 0, sizeof(*event));
    event->text = event->data = event->tail = "";
}

static bool jobs_remain(const struct c4p_client *client)
{
    const C4p__Event *event = client->event;

    return event != NULL && event->body_case == C4P__EVENT__BODY_JOBS &&
           client->jobs_told <= event->jobs->n_jobs;
}

/* An event of the daemon: 1; 0: none; -1. */
static int mail_take(struct c4p_client *client, struct c4p_event *event)
{
    for (;;) {
        if (!jobs_remain(client)) {
            int rc;

            event_drop(client);
            client->jobs_told = 0;
            if (client->link != LINK_UP && client->link != LINK_ENDING)
                return 0;
            rc = link_receive(client);
            if (rc != 1)
                return rc;
        }
        event_clear(event);
        if (!event_fill(client, event)) {
            client->jobs_told = SIZE_MAX;
            errno = EBADMSG;
            return -1;
        }
        if (!event_watch(client, event))
            return 1;
    }
}

/* Send what waited for room, or for a quiet moment. True: sending may have brought something in. */
static bool client_flush(struct c4p_client *client)
{
    bool any = requests_flush(client);

    return followed_flush(client) || any;
}

int c4p_next(struct c4p_client *client, struct c4p_event *event)
{
    int rc;

    client->idle = false;
    link_tick(client);
    do {
        event_clear(event);
        if (!jobs_remain(client) && notice_take(client, event))
            return 1;
        rc = mail_take(client, event);
        if (rc != 0)
            return rc;
    } while (client_flush(client) || link_advance(client));
    client->idle = true;
    event_clear(event);
    return 0;
}

static bool has_news(struct c4p_client *client)
{
    return client->doomed > 0 || client->lost_untold || client->back_untold ||
           jobs_remain(client) ||
           ((client->link == LINK_UP || client->link == LINK_ENDING) && link_has_mail(client));
}

int c4p_wait(struct c4p_client *client, int timeout_ms)
{
    struct pollfd poller = {client->epoll, POLLIN, 0};
    int64_t deadline = clock_ms() + timeout_ms;

    link_tick(client);
    for (;;) {
        int64_t left = deadline - clock_ms();

        client_flush(client);
        if (has_news(client))
            return 0;
        if (link_advance(client))
            continue;
        if (timeout_ms >= 0 && left <= 0) {
            errno = EAGAIN;
            return -1;
        }
        if (poll(&poller, 1, timeout_ms < 0 ? -1 : (int)left) < 0)
            return -1;
    }
}
