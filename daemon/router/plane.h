/*
 * The data plane of this daemon: one thread that moves blocks between the segments of all its jobs,
 * and between them and other nodes.
 *
 * The thread has an event loop of its own, with the eventfd of every router and the plane's ZeroMQ
 * socket in it. One lock guards all routers: the thread holds it while it handles an event, whoever
 * else calls into a router (router.h) takes it, and nobody holds it for long. What routers have to
 * tell (started, exited, corrupted ...) is queued, and told on the daemon's main loop; whoever drains
 * a router is told before the call returns.
 *
 * Between two nodes of a job there are two streams (proto/stream.h) in each direction: `direct`, in
 * which everything keeps its order, and `relay`, for what a node passes on along a tree (collectives.h).
 * A frame is a ZeroMQ message; it says which job, which nodes, which stream, and at which place of it,
 * so that a gap is seen: a connection that has lost something ends the job with that reason. Small
 * blocks share a frame. Pieces of large ones go out of the segment as they are, without a copy; what
 * comes is copied once, into the router's region. Each stream has its window: a job whose segment is
 * full holds up nobody else, and no loop ever waits. Heartbeats are membership's business.
 *
 * Who may send is known twice: CURVE has authenticated the key of the sender's node, which must be
 * that of the node that the job's table names, and frames carry the job's secret number. What does
 * not fit is dropped, counted, and logged within a limit.
 */
#ifndef C4P_DAEMON_ROUTER_PLANE_H
#define C4P_DAEMON_ROUTER_PLANE_H

#include <stdint.h>

#include "daemon/cluster/swim.h"

struct event_base;
struct plane;

#define PLANE_ERROR_SIZE 320
#define PLANE_SECRET_SIZE 16

struct plane_settings {
    struct event_base *base; /* the main loop */
    /* NULL: no other nodes, unless routers with several nodes are made: then they are all in this
     * process, and meet at an address of their own. */
    void *zmq;
    const char *address;       /* to bind: tcp://0.0.0.0:7228 */
    struct node_key key;       /* of this node, for CURVE */
    const uint8_t *secret_key; /* 32 bytes, copied */
};

/* NULL with a sentence. Destroy is NULL-safe; no router is left then. */
struct plane *plane_create(const struct plane_settings *settings, char error[PLANE_ERROR_SIZE]);
void plane_destroy(struct plane *plane);

/* Where others reach it, with the port that was bound: "tcp://0.0.0.0:41237", "ipc://@..." */
const char *plane_address(const struct plane *plane);
const struct node_key *plane_key(const struct plane *plane);

/* A node's key is worth nothing from now on, or the node is lost: nothing more is taken from it, and
 * connections to it are closed, until a router is made that names it. */
void plane_forget(struct plane *plane, const struct node_key *key);

struct plane_figures {
    uint64_t sent, received;             /* blocks */
    uint64_t sent_bytes, received_bytes; /* of them */
    uint64_t sent_frames, received_frames;
    uint64_t refused; /* frames */
};
struct plane_figures plane_figures(struct plane *plane);

/*
 * A node of a job, as its routers see it. Nodes are numbered 0 .. n-1; PEs are dealt in this order,
 * without gaps. Node 0 is the home: clients are there. It may have no PE.
 */
struct router_node {
    struct node_key key;
    char address[NODE_ADDRESS_MAX + 1]; /* of its data plane */
    uint32_t first_pe, pes;
};

struct router_nodes {
    uint64_t job;
    uint8_t secret[PLANE_SECRET_SIZE];
    uint32_t count, self;
    const struct router_node *nodes; /* copied */
};

#endif
