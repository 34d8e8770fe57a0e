/*
 * What the parts of service.h share: service.c (its life, and clients as they come and go) and
 * service_requests.c (what clients ask).
 */
#ifndef C4P_DAEMON_SERVICE_INTERNAL_H
#define C4P_DAEMON_SERVICE_INTERNAL_H

#include "daemon/service.h"

#include "daemon/control/attach.h"
#include "daemon/control/control.h"
#include "daemon/followers.h"
#include "daemon/sessions.h"

/* Troubles that stay until the daemon is started again; more than these say nothing new. */
#define MAX_TROUBLES 8

/* What we keep of a client. */
struct client {
    struct control_peer *peer;
    struct followers_client *follows;
    uint64_t *tied; /* jobs to be cancelled when it goes */
    size_t tied_count;
    int lost; /* errno: to be cut off */
    struct client *prev, *next;
};

struct service {
    const struct job_place *place;
    struct service_settings settings;
    struct service_listener listener;
    struct server *server;
    struct control *control;
    struct attach *attach;
    struct jobs *jobs;
    struct followers *followers;
    struct sessions *sessions;
    struct supplies *supplies; /* NULL: a private daemon's */
    struct outside *outside;   /* as well */
    struct client *clients;
    struct event *cut;
    int64_t started; /* time of day */
    bool draining;
    char *troubles[MAX_TROUBLES];
};

static inline struct client *client_of(const struct control_peer *peer)
{
    return control_peer_data(peer);
}

static inline uint64_t number_of(const struct control_peer *peer)
{
    return control_peer_who(peer)->id;
}

void service_changed(struct service *service);

/* ---- service_requests.c: handlers of control.h ---- */

control_handler serve_submit, serve_follow, serve_unfollow, serve_input, serve_output_ack,
    serve_cancel, serve_offer, serve_blob_put, serve_open, serve_close, serve_list, serve_find,
    serve_status, serve_nodes;

#endif
