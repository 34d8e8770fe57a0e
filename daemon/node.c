#define _GNU_SOURCE
#include "daemon/node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "daemon/address.h"
#include "daemon/log.h"
#include "daemon/process.h"
#include "daemon/router/plane.h"

/* Links to some thousand nodes at a time, with their monitors. */
#define MAX_SOCKETS 16384

struct node {
    struct node_settings settings;
    void *zmq;
    struct cluster *cluster;
};

/* ---- from the cluster ---- */

static void on_message(void *context, const struct node_key *from, const C4p__Peer *message)
{
    const struct node *node = context;

    post_message(node->settings.post, from, message);
}

static void on_up(void *context, const struct member_record *member)
{
    const struct node *node = context;

    post_up(node->settings.post, member);
}

static void on_down(void *context, const struct node_key *key, const char *why)
{
    const struct node *node = context;

    post_down(node->settings.post, key, why);
    if (node->settings.process->place.plane != NULL)
        plane_forget(node->settings.process->place.plane, key);
}

static void on_user(void *context, const struct node_key *from, const void *identity,
                    size_t identity_size, const void *data, size_t size)
{
    const struct node *node = context;

    post_user(node->settings.post, from, identity, identity_size, data, size);
}

static void on_user_revoked(void *context, const struct node_key *key)
{
    const struct node *node = context;

    post_user_revoked(node->settings.post, key);
    if (node->settings.process->place.plane != NULL)
        plane_forget(node->settings.process->place.plane, key);
}

static void on_changed(void *context)
{
    const struct node *node = context;

    node->settings.changed(node->settings.context);
}

/* ---- addresses ---- */

static const char *text_of(const struct config *config, enum config_key key)
{
    const char *text = config->values[key].text;

    return strcmp(text, VALUE_AUTO) == 0 ? NULL : text;
}

/* "tcp://0.0.0.0:7228": as configured, or the next port of the control plane's. */
static void data_address(const struct config *config, char text[ADDRESS_TEXT_SIZE])
{
    const char *given = text_of(config, CONFIG_DATA_LISTEN);
    struct address address = {.port = 0};

    address_parse(given != NULL ? given : config->values[CONFIG_LISTEN].text, &address);
    if (given == NULL && address.port != 0)
        address.port++;
    address_format(&address, text);
}

/* ---- life ---- */

static int cluster_open(struct node *node, char *error)
{
    const struct node_settings *settings = &node->settings;
    struct address listen = {.port = 0};
    char address[ADDRESS_TEXT_SIZE];
    const struct cluster_settings cluster = {
        .state_dir = settings->state_dir,
        .zmq = node->zmq,
        .listen = address,
        .advertise = text_of(settings->config, CONFIG_ADVERTISE),
        .release = C4P_VERSION,
        .listener = {on_message, on_up, on_down, on_user, on_user_revoked, on_changed, node},
    };

    address_parse(settings->config->values[CONFIG_LISTEN].text, &listen);
    address_format(&listen, address);
    node->cluster = cluster_create(settings->process->base, &cluster, error);
    return node->cluster != NULL ? 0 : -1;
}

static int plane_open(struct node *node, char *error)
{
    const struct trust_identity *identity = cluster_identity(node->cluster);
    char address[ADDRESS_TEXT_SIZE];
    const struct plane_settings settings = {
        .zmq = node->zmq,
        .address = address,
        .key = identity->public_key,
        .secret_key = identity->secret_key,
    };

    data_address(node->settings.config, address);
    if (process_make_plane(node->settings.process, &settings, error, NODE_ERROR_SIZE) != 0)
        return -1;
    cluster_set_data(node->cluster, plane_address(node->settings.process->place.plane));
    return 0;
}

struct node *node_create(const struct node_settings *settings, char error[NODE_ERROR_SIZE])
{
    struct node *node = calloc(1, sizeof(*node));

    if (node == NULL || (node->zmq = zmq_ctx_new()) == NULL) {
        snprintf(error, NODE_ERROR_SIZE, "the daemon is out of memory");
        free(node);
        return NULL;
    }
    zmq_ctx_set(node->zmq, ZMQ_MAX_SOCKETS, MAX_SOCKETS);
    node->settings = *settings;
    if (cluster_open(node, error) == 0 && plane_open(node, error) == 0) {
        post_set_cluster(settings->post, node->cluster);
        return node;
    }
    node_destroy(node);
    return NULL;
}

void node_destroy(struct node *node)
{
    if (node == NULL)
        return;
    post_set_cluster(node->settings.post, NULL);
    process_drop_plane(node->settings.process);
    cluster_destroy(node->cluster);
    zmq_ctx_term(node->zmq);
    free(node);
}

struct cluster *node_cluster(struct node *node)
{
    return node->cluster;
}

bool node_is_current(const struct node *node)
{
    struct trust *now;
    char error[TRUST_ERROR_SIZE];
    bool same;

    if (!trust_exists(node->settings.state_dir))
        return false;
    now = trust_open(node->settings.state_dir, error);
    if (now == NULL) {
        /* Nobody has left: something is wrong with the files, and what is in memory is right. */
        log_write(LOG_ERROR, "cluster", "%s", error);
        return true;
    }
    same =
        key_equal(&trust_identity(now)->public_key, &cluster_identity(node->cluster)->public_key);
    trust_close(now);
    return same;
}

int node_configure(struct node *node, const struct config *config, char error[NODE_ERROR_SIZE])
{
    return cluster_set_advertise(node->cluster, text_of(config, CONFIG_ADVERTISE), error);
}
