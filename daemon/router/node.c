/*
 * The nodes of a job, as one of its routers sees them, and the frames that come from them.
 *
 * A frame is believed if its sender's key, which the transport has authenticated, is that of the node
 * that it says it is from, and it has the job's secret: else it is dropped. What is believed and wrong
 * all the same ends the streams with that node, and by that the job.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "daemon/cluster/trust.h"
#include "daemon/router/router_internal.h"

/* ---- coming and going ---- */

static int node_open(struct node *node, struct router *router, uint32_t number,
                     const struct router_node *facts)
{
    node->router = router;
    node->number = number;
    node->first_pe = facts->first_pe;
    node->pes = facts->pes;
    node->key = facts->key;
    if (number == router->self)
        return 0;
    zmq_z85_encode(node->user, node->key.bytes, sizeof(node->key.bytes));
    for (unsigned i = 0; i < FRAME_STREAMS; i++)
        lane_open(&node->lanes[i], node, (enum collectives_stream)i);
    node->peer = peer_get(router->plane, &node->key, facts->address);
    return node->peer == NULL ? -1 : 0;
}

int nodes_open(struct router *router, const struct router_nodes *nodes)
{
    struct plane *plane = router->plane;
    struct router_id id = {.job = nodes->job, .node = nodes->self};
    struct router *other;

    HASH_FIND(hh, plane->ids, &id, sizeof(id), other);
    if (other != NULL) {
        errno = EEXIST;
        return -1;
    }
    router->nodes = calloc(nodes->count, sizeof(*router->nodes));
    if (router->nodes == NULL || peers_open(plane) != 0)
        return -1;
    router->id = id;
    memcpy(router->secret, nodes->secret, sizeof(router->secret));
    router->count = nodes->count;
    router->self = nodes->self;
    for (uint32_t i = 0; i < nodes->count; i++)
        if (node_open(&router->nodes[i], router, i, &nodes->nodes[i]) != 0)
            return -1;
    HASH_ADD(hh, plane->ids, id, sizeof(router->id), router);
    return 0;
}

static void node_close(struct node *node)
{
    if (node->number == node->router->self || node->lost)
        return;
    for (unsigned i = 0; i < FRAME_STREAMS; i++)
        lane_close(&node->lanes[i]);
    if (node->peer != NULL)
        peer_put(node->peer);
    node->peer = NULL;
}

void nodes_close(struct router *router)
{
    struct router *found = NULL;

    if (router->nodes == NULL)
        return;
    HASH_FIND(hh, router->plane->ids, &router->id, sizeof(router->id), found);
    if (found == router)
        HASH_DEL(router->plane->ids, router);
    for (uint32_t i = 0; i < router->count; i++)
        if (router->nodes[i].router != NULL)
            node_close(&router->nodes[i]);
    free(router->nodes);
    router->nodes = NULL;
}

/* ---- losing one ---- */

void node_lose(struct node *node, const char *why, bool tell)
{
    struct router *router = node->router;

    if (node->lost || node->number == router->self)
        return;
    if (tell)
        peer_say_bye(node, why);
    news_add(router, NEWS_LOST, node->number, 0, why, strlen(why));
    node_close(node);
    node->lost = true;
}

void node_fail(struct node *node, const char *why)
{
    if (node->failure == NULL)
        node->failure = why;
    node->router->failing = true;
}

void nodes_settle(struct router *router)
{
    if (!router->failing)
        return;
    router->failing = false;
    for (uint32_t i = 0; i < router->count; i++)
        if (router->nodes[i].failure != NULL)
            node_lose(&router->nodes[i], router->nodes[i].failure, true);
}

void plane_forget(struct plane *plane, const struct node_key *key)
{
    struct router *router;

    plane_lock(plane);
    DL_FOREACH(plane->routers, router)
    for (uint32_t i = 0; i < router->count; i++)
        if (memcmp(&router->nodes[i].key, key, sizeof(*key)) == 0)
            node_lose(&router->nodes[i], "it cannot be reached", false);
    plane_unlock(plane);
}

/* ---- frames ---- */

struct frame {
    struct frame_header header;
    const uint8_t *part, *rest; /* bytes behind the header */
    size_t part_size, rest_size;
};

static void data_hear(struct lane *lane, const struct frame *frame)
{
    if (frame->part_size + frame->rest_size == 0)
        node_lose(lane->node, "it sends empty frames", true);
    else if ((frame->part_size > 0 && lane_feed(lane, frame->part, frame->part_size) != 0) ||
             (frame->rest_size > 0 && lane_feed(lane, frame->rest, frame->rest_size) != 0))
        node_lose(lane->node, lane->in.failure, true);
}

static void credit_hear(struct lane *lane, const struct frame *frame)
{
    uint64_t total = frame->header.position;

    if (total < lane->may_send || total > lane->sent + STREAM_WINDOW) {
        node_lose(lane->node, "it gives credit that cannot be", true);
        return;
    }
    lane->may_send = total;
    lane_ready(lane);
}

static void hello_hear(struct lane *lane, const struct frame *frame)
{
    (void)lane, (void)frame; /* its position was right */
}

static void bye_hear(struct lane *lane, const struct frame *frame)
{
    char sentence[STREAM_MAX_SENTENCE], why[STREAM_MAX_SENTENCE + 32];
    uint8_t bye[STREAM_MAX_SENTENCE] = {STREAM_BYE};
    size_t size = frame->part_size < sizeof(bye) - 1 ? frame->part_size : sizeof(bye) - 1;

    if (size > 0)
        memcpy(bye + 1, frame->part, size);
    stream_read_bye(bye, 1 + size, sentence);
    snprintf(why, sizeof(why), "it says of this node: %s", sentence);
    node_lose(lane->node, why, false);
}

typedef void frame_handler(struct lane *lane, const struct frame *frame);

static frame_handler *const handlers[FRAME_TYPES] = {
    [FRAME_DATA] = data_hear,
    [FRAME_CREDIT] = credit_hear,
    [FRAME_HELLO] = hello_hear,
    [FRAME_BYE] = bye_hear,
};

/* In a time that does not tell how much of it was right. */
static bool secret_equals(const uint8_t *one, const uint8_t *other)
{
    uint8_t difference = 0;

    for (size_t i = 0; i < PLANE_SECRET_SIZE; i++)
        difference |= one[i] ^ other[i];
    __asm__ volatile("" : "+r"(difference)); /* no leaving the loop early */
    return difference == 0;
}

/* Whose frame it is: the lane that it belongs to, or NULL and why it is nobody's. */
static struct lane *frame_lane(struct plane *plane, const char *user,
                               const struct frame_header *header, const char **why)
{
    struct router_id id = {.job = header->job, .node = header->to};
    struct router *router;
    struct node *node;

    *why = NULL;
    HASH_FIND(hh, plane->ids, &id, sizeof(id), router);
    if (router == NULL || header->epoch != router->segment.geometry.epoch)
        return NULL; /* of a job that is over, or nearly */
    if (header->from >= router->count || header->from == router->self)
        *why = "says it is from a node that its job does not have";
    else if (!secret_equals(header->secret, router->secret))
        *why = "does not know its job's secret";
    else if (!plane->alone && (user == NULL || strcmp(user, router->nodes[header->from].user) != 0))
        *why = "comes under another key than that of the node that it says it is from";
    if (*why != NULL)
        return NULL;
    node = &router->nodes[header->from];
    return node->lost || router->corrupted ? NULL : &node->lanes[header->stream];
}

/* A correct sender knows how many bytes it has sent. */
static bool position_agrees(const struct lane *lane, const struct frame_header *header)
{
    return (header->type != FRAME_DATA && header->type != FRAME_HELLO) ||
           header->position == lane->in.received;
}

static void frame_refuse(struct plane *plane, const char *user, const char *why)
{
    char fingerprint[TRUST_FINGERPRINT_SIZE] = "(none)";
    struct node_key key;

    plane->figures.refused++;
    if (why == NULL)
        return;
    if (user != NULL && zmq_z85_decode(key.bytes, user) != NULL)
        key_fingerprint(&key, fingerprint);
    plane_log(plane, "a frame under the key %s %s: dropped", fingerprint, why);
}

void frame_hear(struct plane *plane, const char *user, const void *part, size_t size,
                const void *rest, size_t rest_size)
{
    struct frame frame;
    struct lane *lane;
    const char *why;

    if (!frame_read(part, size, &frame.header) || rest_size > FRAME_PART) {
        frame_refuse(plane, user, "is none of this version");
        return;
    }
    lane = frame_lane(plane, user, &frame.header, &why);
    if (lane == NULL) {
        frame_refuse(plane, user, why);
        return;
    }
    plane->figures.received_frames++;
    frame.part = (const uint8_t *)part + FRAME_HEADER_SIZE;
    frame.part_size = size - FRAME_HEADER_SIZE;
    frame.rest = rest;
    frame.rest_size = rest_size;
    if (position_agrees(lane, &frame.header))
        handlers[frame.header.type](lane, &frame);
    else
        node_lose(lane->node, "what it sent was lost on the way (submit the job again)", true);
}
