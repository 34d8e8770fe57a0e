/*
 * The client's end of a bridge: a private segment in the shape of the job's, where this process is
 * the only endpoint, and a thread that is its router.
 *
 * The thread takes what is sent to the router's slot and moves it to the daemon, as a stream
 * (proto/stream.h); what comes from there it puts into blocks of its own region and pushes to the
 * client's inbox. It never blocks but where it waits for something to do: without credit, or room in
 * ZeroMQ's queue, messages stay in the segment; without memory in its region, what comes waits in
 * the stream. It ends when it is told to, when the other side says BYE, or when the connection to
 * the daemon's door has ended: that it has is said to the program by that connection.
 */
#ifndef C4P_CLIENT_BRIDGE_H
#define C4P_CLIENT_BRIDGE_H

#include <stdint.h>

#include "client/c4p.h"
#include "proto/segment.h"
#include "proto/stream.h"

/* What the daemon says of a job to who does not map its segment. */
struct bridge_job {
    const char *address; /* where ZeroMQ connects to */
    uint8_t ticket[STREAM_TICKET_SIZE];
    uint32_t endpoint;
    struct segment_geometry geometry;
    int door; /* the connection whose end is the daemon's, or -1; duplicated */
};

/* c4p_bridge() without the question. NULL with a sentence. */
struct c4p_bridge *bridge_open(const struct bridge_job *job, int *segment_fd, int *wake_fd,
                               char error[C4P_ERROR_SIZE]);

#endif
