#include "daemon/mail.h"

#include <errno.h>
#include <stddef.h>

bool mail_waits(void *socket)
{
    int events = 0, rc;
    size_t size = sizeof(events);

    do /* it may have taken in what the descriptor told of, so no answer is no option */
        rc = zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size);
    while (rc != 0 && errno == EINTR);
    return rc == 0 && (events & ZMQ_POLLIN) != 0;
}

int mail_take(void *socket, zmq_msg_t part[2])
{
    bool more = true;
    int parts;

    for (parts = 0; more; parts++) {
        zmq_msg_t message;

        zmq_msg_init(&message);
        if (zmq_msg_recv(&message, socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&message);
            break;
        }
        more = zmq_msg_more(&message);
        if (parts < 2) {
            zmq_msg_init(&part[parts]);
            zmq_msg_move(&part[parts], &message);
        }
        zmq_msg_close(&message);
    }
    return parts;
}

void mail_close(zmq_msg_t part[2], int parts)
{
    for (int i = 0; i < parts && i < 2; i++)
        zmq_msg_close(&part[i]);
}
