/*
 * The plane's sockets: one to which all other nodes send, and one to each node that is sent to.
 *
 * All of them are PULL and PUSH under CURVE, so nothing of what ZeroMQ takes is ever dropped by it, but
 * by a connection that breaks: what was half on its way is lost then, and seen by the positions that
 * HELLO carries over the next one. Their queues have no limit but the windows of the streams.
 *
 * With the context of the cluster, whoever is not enrolled is refused by its ZAP handler (domain
 * "data"), and what comes has its sender's key as User-Id; without one it is dropped. In a context of our own there is no such
 * handler: there the public key is known to nobody outside of this process, and without it no
 * handshake gets anywhere.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "daemon/mail.h"
#include "daemon/router/router_internal.h"

/* Frames in a row before others have their turn. */
#define TAKEN_A_TURN 64
#define SENT_A_TURN 32

/* What CURVE adds to a part, and more. */
#define CURVE_ROOM 64

/* Who has connected has so long to say who it is. */
#define HANDSHAKE_MS 5000

/* What is left to say over a connection that is closed gets so much time, in the background. */
#define LAST_WORDS_MS 200

/* Frames from one connection that wait for us; more stay with the sender. */
#define INCOMING_QUEUE 256

static int option_set(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof(value));
}

/* Of IPv6; only then ZeroMQ is to think of it. */
static int address_is_six(const char *address)
{
    return strchr(address, '[') != NULL;
}

/* ---- what comes ---- */

static void on_incoming(void *context)
{
    struct plane *plane = context;

    plane->incoming_again = true;
}

static int incoming_set(struct plane *plane)
{
    const int64_t limit = FRAME_HEADER_SIZE + FRAME_PART + CURVE_ROOM;
    void *socket = plane->incoming;

    if (!plane->alone && zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, "data", 4) != 0)
        return -1;
    return option_set(socket, ZMQ_CURVE_SERVER, 1) == 0 &&
                   zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, plane->secret_key,
                                  sizeof(plane->secret_key)) == 0 &&
                   zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &limit, sizeof(limit)) == 0 &&
                   option_set(socket, ZMQ_RCVHWM, INCOMING_QUEUE) == 0 &&
                   option_set(socket, ZMQ_LINGER, 0) == 0 &&
                   option_set(socket, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS) == 0 &&
                   option_set(socket, ZMQ_IPV6, address_is_six(plane->address)) == 0
               ? 0
               : -1;
}

/* Who fails before its key is asked for. The main loop hears of it; our thread has no part in it. */
static int strangers_watch(struct plane *plane)
{
    if (plane->alone)
        return 0;
    plane->callers =
        callers_create(plane->main_base, plane->zmq, plane->incoming, &plane->refusals);
    return plane->callers == NULL ? -1 : 0;
}

static int incoming_open(struct plane *plane)
{
    size_t size = sizeof(plane->address);
    int fd = -1;
    size_t fd_size = sizeof(fd);

    plane->incoming = zmq_socket(plane->zmq, ZMQ_PULL);
    if (plane->incoming == NULL || incoming_set(plane) != 0 || strangers_watch(plane) != 0 ||
        zmq_bind(plane->incoming, plane->address) != 0 ||
        zmq_getsockopt(plane->incoming, ZMQ_FD, &fd, &fd_size) != 0)
        return -1;
    /* With the port that it was given. */
    if (!plane->alone)
        zmq_getsockopt(plane->incoming, ZMQ_LAST_ENDPOINT, plane->address, &size);
    plane->incoming_again = true;
    return plane_watch_add(plane, &plane->incoming_watch, fd, on_incoming, plane);
}

int peers_open(struct plane *plane)
{
    int saved;

    if (plane->incoming != NULL)
        return 0;
    if (plane->zmq == NULL)
        plane->zmq = zmq_ctx_new();
    plane->buffer = malloc(LANE_PART);
    if (plane->zmq != NULL && plane->buffer != NULL && incoming_open(plane) == 0)
        return 0;
    saved = errno;
    peers_close(plane);
    errno = saved;
    return -1;
}

void peers_close(struct plane *plane)
{
    plane_watch_remove(plane, &plane->incoming_watch);
    callers_destroy(plane->callers);
    plane->callers = NULL;
    if (plane->incoming != NULL)
        zmq_close(plane->incoming);
    if (plane->alone && plane->zmq != NULL) {
        zmq_ctx_term(plane->zmq);
        plane->zmq = NULL;
    }
    free(plane->buffer);
    plane->incoming = plane->buffer = NULL;
}

bool peers_receive(struct plane *plane)
{
    if (!plane->incoming_again)
        return false;
    for (unsigned taken = 0; taken < TAKEN_A_TURN; taken++) {
        zmq_msg_t part[2];
        int parts;

        if ((parts = mail_take(plane->incoming, part)) == 0) {
            plane->incoming_again = false;
            return false;
        }
        if (parts <= 2)
            frame_hear(plane, zmq_msg_gets(&part[0], "User-Id"), zmq_msg_data(&part[0]),
                       zmq_msg_size(&part[0]), parts == 2 ? zmq_msg_data(&part[1]) : NULL,
                       parts == 2 ? zmq_msg_size(&part[1]) : 0);
        else
            plane->figures.refused++;
        mail_close(part, parts);
    }
    return true;
}

/* ---- connections ---- */

/* What was on its way when the old connection broke may be lost: each stream says how far it is. */
static void peer_greet(struct peer *peer)
{
    struct router *router;

    DL_FOREACH(peer->plane->routers, router)
    for (uint32_t i = 0; i < router->count; i++) {
        struct node *node = &router->nodes[i];

        for (unsigned k = 0; node->peer == peer && k < FRAME_STREAMS; k++) {
            node->lanes[k].hello_due = true;
            node->lanes[k].credit = node->lanes[k].in.granted;
            lane_ready(&node->lanes[k]);
        }
    }
}

static void on_monitor(void *context)
{
    struct peer *peer = context;
    zmq_msg_t part[2];
    uint16_t event;
    int parts;

    while ((parts = mail_take(peer->monitor, part)) > 0) {
        memcpy(&event, zmq_msg_data(&part[0]), sizeof(event));
        if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED && peer->greeted)
            peer_greet(peer);
        if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED)
            peer->greeted = true;
        else
            plane_log(peer->plane, "the data plane of another node refuses this one's key");
        mail_close(part, parts);
    }
}

static int peer_monitor(struct peer *peer)
{
    const int events = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
    char address[64];
    int fd = -1;
    size_t size = sizeof(fd);

    snprintf(address, sizeof(address), "inproc://c4p-peer-%p", (void *)peer);
    if (zmq_socket_monitor(peer->socket, address, events) != 0)
        return -1;
    peer->monitor = zmq_socket(peer->plane->zmq, ZMQ_PAIR);
    if (peer->monitor == NULL || option_set(peer->monitor, ZMQ_LINGER, 0) != 0 ||
        zmq_connect(peer->monitor, address) != 0 ||
        zmq_getsockopt(peer->monitor, ZMQ_FD, &fd, &size) != 0)
        return -1;
    if (plane_watch_add(peer->plane, &peer->watch, fd, on_monitor, peer) != 0)
        return -1;
    on_monitor(peer); /* who has not found it empty once is not told of what comes */
    return 0;
}

static int peer_connect(struct peer *peer, const char *address)
{
    const struct plane *plane = peer->plane;

    peer->socket = zmq_socket(plane->zmq, ZMQ_PUSH);
    if (peer->socket == NULL ||
        zmq_setsockopt(peer->socket, ZMQ_CURVE_SERVERKEY, peer->key.bytes, NODE_KEY_SIZE) != 0 ||
        zmq_setsockopt(peer->socket, ZMQ_CURVE_PUBLICKEY, plane->key.bytes, NODE_KEY_SIZE) != 0 ||
        zmq_setsockopt(peer->socket, ZMQ_CURVE_SECRETKEY, plane->secret_key, NODE_KEY_SIZE) != 0 ||
        option_set(peer->socket, ZMQ_SNDHWM, 0) != 0 ||
        option_set(peer->socket, ZMQ_LINGER, 0) != 0 ||
        option_set(peer->socket, ZMQ_IPV6, address_is_six(address)) != 0 || peer_monitor(peer) != 0)
        return -1;
    return zmq_connect(peer->socket, address);
}

static void peer_close(struct peer *peer)
{
    plane_watch_remove(peer->plane, &peer->watch);
    if (peer->socket != NULL)
        zmq_socket_monitor(peer->socket, NULL, 0);
    if (peer->monitor != NULL)
        zmq_close(peer->monitor);
    if (peer->socket != NULL)
        zmq_close(peer->socket);
    free(peer);
}

struct peer *peer_get(struct plane *plane, const struct node_key *key, const char *address)
{
    struct peer *peer;
    int saved;

    HASH_FIND(hh, plane->peers, key, sizeof(*key), peer);
    if (peer == NULL) {
        peer = calloc(1, sizeof(*peer));
        if (peer == NULL)
            return NULL;
        peer->plane = plane;
        peer->key = *key;
        if (peer_connect(peer, address) != 0) {
            saved = errno;
            peer_close(peer);
            errno = saved;
            return NULL;
        }
        HASH_ADD(hh, plane->peers, key, sizeof(peer->key), peer);
    }
    peer->users++;
    return peer;
}

void peer_put(struct peer *peer)
{
    if (--peer->users > 0)
        return;
    HASH_DEL(peer->plane->peers, peer);
    peer_close(peer);
}

/* ---- what goes ---- */

/* In one message or not at all. -1 with errno. */
static int parts_send(struct peer *peer, const void *part, size_t size, const void *piece,
                      size_t piece_size, struct loan *loan)
{
    zmq_msg_t message;

    if (zmq_send(peer->socket, part, size, ZMQ_DONTWAIT | (piece_size > 0 ? ZMQ_SNDMORE : 0)) < 0) {
        if (piece_size > 0)
            loan_return(NULL, loan);
        return -1;
    }
    peer->plane->figures.sent_frames++;
    if (piece_size == 0)
        return 0;
    if (zmq_msg_init_data(&message, (void *)(uintptr_t)piece, piece_size, loan_return, loan) != 0) {
        loan_return(NULL, loan);
        return -1;
    }
    if (zmq_msg_send(&message, peer->socket, ZMQ_DONTWAIT) >= 0)
        return 0;
    zmq_msg_close(&message); /* gives the loan back */
    return -1;
}

static void lane_rest(struct peer *peer, struct lane *lane)
{
    DL_DELETE(peer->ready, lane);
    lane->ready = false;
}

/* A frame of the lane whose turn it is. False: none has anything. */
static bool frame_send(struct peer *peer)
{
    uint8_t *part = peer->plane->buffer;
    const void *piece = NULL;
    size_t piece_size, size;
    struct lane *lane = peer->ready;
    struct loan *loan = NULL;

    if (lane == NULL)
        return false;
    size = lane_fill(lane, part, &piece, &piece_size, &loan);
    lane_rest(peer, lane);
    if (size == 0)
        return true;
    if (parts_send(peer, part, size, piece, piece_size, loan) != 0)
        node_fail(lane->node, "its connection takes no more");
    /* Behind the others. */
    lane->ready = true;
    DL_APPEND(peer->ready, lane);
    return true;
}

bool peers_send(struct plane *plane)
{
    struct peer *peer, *next;

    DL_FOREACH_SAFE(plane->busy, peer, next)
    {
        for (unsigned sent = 0; sent < SENT_A_TURN && frame_send(peer); sent++)
            continue;
        if (peer->ready == NULL)
            DL_DELETE(plane->busy, peer);
    }
    return plane->busy != NULL;
}

void peer_say_bye(struct node *node, const char *why)
{
    uint8_t part[FRAME_HEADER_SIZE + STREAM_MAX_SENTENCE];
    size_t size = strnlen(why, STREAM_MAX_SENTENCE - 1);

    if (node->peer == NULL)
        return;
    lane_header(&node->lanes[FRAME_DIRECT], FRAME_BYE, 0, part);
    memcpy(part + FRAME_HEADER_SIZE, why, size);
    option_set(node->peer->socket, ZMQ_LINGER, LAST_WORDS_MS);
    zmq_send(node->peer->socket, part, FRAME_HEADER_SIZE + size, ZMQ_DONTWAIT);
}
