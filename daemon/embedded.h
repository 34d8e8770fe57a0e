/*
 * c4pd's embedded form: a private daemon for one run of one client.
 *
 * The client starts it with one end of a socket pair, the lifeline. The daemon
 * makes a private directory with its ZeroMQ socket and writes "ready ADDRESS\n"
 * to the lifeline (or "error SENTENCE\n"). As soon as the client has said Hello
 * the directory is removed: from then on nothing is left of this daemon in the
 * file system, however it ends. When the lifeline closes, the client is gone:
 * whatever still runs is killed and the daemon exits.
 */
#ifndef C4P_DAEMON_EMBEDDED_H
#define C4P_DAEMON_EMBEDDED_H

/* Returns the exit code of the process. Takes the lifeline over. */
int embedded_run(int lifeline);

#endif
