#include "daemon/jobs/span.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/address.h"
#include "daemon/words.h"
#include "proto/control.pb-c.h"
#include "proto/segment.h"

void span_deal(struct job_node *nodes, uint32_t count, uint32_t pes)
{
    uint32_t first = 0;

    for (uint32_t i = 0; i < count; i++) {
        nodes[i].first_pe = first;
        nodes[i].pes = pes / count + (i < pes % count);
        first += nodes[i].pes;
    }
}

/* ---- telling it ---- */

static void node_write(C4p__JobNode *to, const struct job_node *node)
{
    c4p__job_node__init(to);
    to->key = (ProtobufCBinaryData){NODE_KEY_SIZE, (uint8_t *)(uintptr_t)node->key.bytes};
    to->name = (char *)(uintptr_t)node->name;
    to->data = (char *)(uintptr_t)node->data;
    to->first_pe = node->first_pe;
    to->pes = node->pes;
}

int span_write(struct span_message *message, const struct job_span *span,
               const struct span_identity *identity, uint64_t region_size)
{
    message->prepare = *span->prepare;
    message->nodes = calloc(span->count, sizeof(*message->nodes));
    message->list = calloc(span->count, sizeof(C4p__JobNode *));
    if (message->nodes == NULL || message->list == NULL) {
        span_message_free(message);
        errno = ENOMEM;
        return -1;
    }
    for (uint32_t i = 0; i < span->count; i++) {
        node_write(&message->nodes[i], &span->nodes[i]);
        message->list[i] = &message->nodes[i];
    }
    message->prepare.job = identity->job;
    message->prepare.attempt = span->attempt;
    message->prepare.epoch = identity->epoch;
    message->prepare.secret =
        (ProtobufCBinaryData){PLANE_SECRET_SIZE, (uint8_t *)(uintptr_t)identity->secret};
    message->prepare.region_size = region_size;
    message->prepare.n_nodes = span->count;
    message->prepare.nodes = message->list;
    return 0;
}

void span_message_free(struct span_message *message)
{
    free(message->nodes);
    free(message->list);
    memset(message, 0, sizeof(*message));
}

/* Of a home that has no slot there is no PE to tell. */
void *span_pack_hosts(const struct job_span *span, size_t *size)
{
    C4p__JobInfo info = C4P__JOB_INFO__INIT;
    C4p__JobHost *hosts = calloc(span->count, sizeof(*hosts));
    C4p__JobHost **list = calloc(span->count, sizeof(*list));
    uint8_t *packed = NULL;

    for (uint32_t i = 0; hosts != NULL && list != NULL && i < span->count; i++) {
        if (span->nodes[i].pes == 0)
            continue;
        c4p__job_host__init(&hosts[i]);
        hosts[i].name = (char *)(uintptr_t)span->nodes[i].name;
        hosts[i].first_pe = span->nodes[i].first_pe;
        hosts[i].pes = span->nodes[i].pes;
        list[info.n_hosts++] = &hosts[i];
    }
    info.hosts = list;
    if (info.n_hosts > 0)
        packed = malloc(c4p__job_info__get_packed_size(&info));
    *size = packed != NULL ? c4p__job_info__pack(&info, packed) : 0;
    free(hosts);
    free(list);
    return packed;
}

/* ---- being told ---- */

static int nonsense(char error[JOB_ERROR_SIZE], const char *what)
{
    snprintf(error, JOB_ERROR_SIZE, "the job's home sent what makes no sense: %s", what);
    return -1;
}

/* Text of a limited size, or nothing. */
static int text_read(const char *from, char *to, size_t size)
{
    if (strlen(from) >= size)
        return -1;
    memcpy(to, from, strlen(from) + 1);
    words_clean(to);
    return 0;
}

/* Numbers only, as all nodes say where they are: a name would make ZeroMQ wait for a name server, and
 * other transports lead into this host. */
static bool address_allowed(const char *text)
{
    struct address address;

    return strncmp(text, "tcp://", 6) == 0 && address_parse(text, &address) && address.port != 0 &&
           address_is_numeric(address.host);
}

/* PEs are dealt in the order of the nodes, without gaps. */
static int node_read(struct job_node *node, const C4p__JobNode *from, uint32_t *pes,
                     char error[JOB_ERROR_SIZE])
{
    if (from->key.len != NODE_KEY_SIZE || text_read(from->name, node->name, sizeof(node->name)) ||
        text_read(from->data, node->data, sizeof(node->data)) || !address_allowed(node->data))
        return nonsense(error, "the key, name or address of a node");
    if (from->first_pe != *pes || from->pes > SEGMENT_MAX_PES)
        return nonsense(error, "how the PEs are dealt");
    memcpy(node->key.bytes, from->key.data, NODE_KEY_SIZE);
    node->first_pe = from->first_pe;
    node->pes = from->pes;
    *pes += from->pes;
    return 0;
}

static int nodes_read(struct job_node *nodes, const C4p__Prepare *prepare, uint32_t *pes,
                      char error[JOB_ERROR_SIZE])
{
    *pes = 0;
    for (size_t i = 0; i < prepare->n_nodes; i++)
        if (node_read(&nodes[i], prepare->nodes[i], pes, error) != 0)
            return -1;
    if (nodes[prepare->node].pes == 0)
        return nonsense(error, "no PE is for this node");
    return 0;
}

struct job_node *span_read(const C4p__Prepare *prepare, const struct node_key *self, uint32_t *pes,
                           struct span_identity *identity, char error[JOB_ERROR_SIZE])
{
    struct job_node *nodes;

    if (prepare->n_nodes < 2 || prepare->n_nodes > CONTROL_MAX_NODES || prepare->node == 0 ||
        prepare->node >= prepare->n_nodes || prepare->secret.len != PLANE_SECRET_SIZE) {
        nonsense(error, "which nodes the job has");
        return NULL;
    }
    nodes = calloc(prepare->n_nodes, sizeof(*nodes));
    if (nodes == NULL) {
        snprintf(error, JOB_ERROR_SIZE, "the daemon is out of memory");
        return NULL;
    }
    if (nodes_read(nodes, prepare, pes, error) != 0 ||
        (memcmp(&nodes[prepare->node].key, self, sizeof(*self)) != 0 &&
         nonsense(error, "this node is another one") != 0)) {
        free(nodes);
        return NULL;
    }
    identity->job = prepare->job;
    identity->epoch = prepare->epoch;
    memcpy(identity->secret, prepare->secret.data, PLANE_SECRET_SIZE);
    return nodes;
}

/* ---- routers ---- */

struct router_nodes span_router_nodes(const struct job_node *nodes, uint32_t count, uint32_t self,
                                      const struct span_identity *identity,
                                      struct router_node *routers)
{
    struct router_nodes result = {
        .job = identity->job, .count = count, .self = self, .nodes = routers};

    memcpy(result.secret, identity->secret, sizeof(result.secret));
    for (uint32_t i = 0; i < count; i++) {
        routers[i].key = nodes[i].key;
        memcpy(routers[i].address, nodes[i].data, sizeof(routers[i].address));
        routers[i].first_pe = nodes[i].first_pe;
        routers[i].pes = nodes[i].pes;
    }
    return result;
}

/* ---- losing one ---- */

/* "PE 3", "PEs 2-3", "none of its PEs" */
static const char *pes_name(const struct job_node *node, char text[48])
{
    if (node->pes == 1)
        snprintf(text, 48, "PE %u", node->first_pe);
    else
        snprintf(text, 48, "PEs %u-%u", node->first_pe, node->first_pe + node->pes - 1);
    return node->pes == 0 ? "none of its PEs" : text;
}

void span_lost_tell(const struct job_node *lost, const struct job_node *seen, const char *why,
                    char text[JOB_ERROR_SIZE])
{
    char pes[48], sentence[2 * JOB_ERROR_SIZE];

    snprintf(sentence, sizeof(sentence), "node %s was lost%s%s while it ran %s of this job: %.160s",
             lost->name, seen != NULL ? " to node " : "", seen != NULL ? seen->name : "",
             pes_name(lost, pes), why);
    snprintf(text, JOB_ERROR_SIZE, "%.*s", JOB_ERROR_SIZE - 1, sentence);
}
