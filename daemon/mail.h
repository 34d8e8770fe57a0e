/*
 * Taking messages from a ZeroMQ socket without waiting: what all that watch one in an event loop need.
 *
 * Its descriptor tells of changes only: who is woken goes on until there is no mail, or comes back.
 */
#ifndef C4P_DAEMON_MAIL_H
#define C4P_DAEMON_MAIL_H

#include <stdbool.h>
#include <zmq.h>

/* Is there a message? Asking takes in what has happened meanwhile. */
bool mail_waits(void *socket);

/*
 * Take a message of up to two parts; further ones are dropped. Returns how many it had, 0 if there is
 * none. mail_close() frees those that are here.
 */
int mail_take(void *socket, zmq_msg_t part[2]);
void mail_close(zmq_msg_t part[2], int parts);

#endif
