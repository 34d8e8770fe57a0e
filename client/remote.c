/*
 * Daemons of other machines: what a key file says, and what becomes of a connection to one.
 *
 * The file is text. Its first two lines are our CURVE key pair, as `c4pd key new` writes it; each
 * other one is the address and the key of a daemon, as `c4pd key add` prints it, or a comment (#).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include <sodium.h>

#include "client/client.h"

#define FILE_LIMIT 65536
#define KEY_TEXT 40
#define ADDRESS_MAX 255

/* An attempt to connect takes so long at most; the link makes the next one. */
#define CONNECT_MS 10000
#define NEVER_MS 3600000

/* Who answers nothing for so long is not there, whatever TCP thinks. */
#define HEARTBEAT_MS 5000
#define HEARTBEAT_TIMEOUT_MS 15000
#define HEARTBEAT_TTL_MS 30000

#define EVENTS                                                                                     \
    (ZMQ_EVENT_CONNECT_RETRIED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |   \
     ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)

struct remote {
    uint8_t public_key[32], secret_key[32], server_key[32];
    char address[ADDRESS_MAX + 1];
    char path[200]; /* for sentences */
};

static int remote_fail(char error[C4P_ERROR_SIZE], int error_number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static int remote_fail(char error[C4P_ERROR_SIZE], int error_number, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(error, C4P_ERROR_SIZE, format, arguments);
    va_end(arguments);
    errno = error_number;
    return -1;
}

/* ---- the file ---- */

static bool key_read(const char *text, size_t length, uint8_t key[32])
{
    char copy[KEY_TEXT + 1];
    bool good;

    if (length != KEY_TEXT)
        return false;
    memcpy(copy, text, KEY_TEXT);
    copy[KEY_TEXT] = '\0';
    good = zmq_z85_decode(key, copy) != NULL;
    sodium_memzero(copy, sizeof(copy));
    return good;
}

/* "tcp://host:port KEY". */
static bool daemon_read(struct remote *remote, const char *line, size_t length)
{
    size_t address = strcspn(line, " \t"), key;

    if (address >= length || address > ADDRESS_MAX || strncmp(line, "tcp://", 6) != 0)
        return false;
    key = address + strspn(line + address, " \t");
    memcpy(remote->address, line, address);
    remote->address[address] = '\0';
    return key < length && key_read(line + key, length - key, remote->server_key);
}

/* All lines; of the daemons, the one that is wanted. */
static int lines_read(struct remote *remote, const char *text, const char *address,
                      char error[C4P_ERROR_SIZE])
{
    unsigned keys = 0;

    for (size_t length; *text != '\0'; text += length + (text[length] == '\n')) {
        length = strcspn(text, "\n");
        if (length == 0 || *text == '#')
            continue;
        if (keys < 2) {
            if (!key_read(text, length, keys == 0 ? remote->public_key : remote->secret_key))
                return remote_fail(error, EINVAL, "%s: is no key file (c4pd key new makes one)",
                                   remote->path);
            keys++;
        } else if (!daemon_read(remote, text, length)) {
            return remote_fail(error, EINVAL,
                               "%s: the line \"%.*s\" is none of a daemon: it has an address and a "
                               "key, as c4pd key add prints them",
                               remote->path, length < 60 ? (int)length : 60, text);
        } else if (address == NULL || strcmp(address, remote->address) == 0) {
            return 0;
        }
    }
    if (keys == 2)
        return remote_fail(
            error, EINVAL,
            "%s: there is no line of %.100s%s: c4pd key add on a node of the cluster "
            "prints one, which goes to the end of the file",
            remote->path, address != NULL ? "the daemon at " : "a daemon",
            address != NULL ? address : "");
    return remote_fail(error, EINVAL, "%s: is no key file (c4pd key new makes one)", remote->path);
}

static int file_check(const struct remote *remote, int fd, char error[C4P_ERROR_SIZE])
{
    struct stat status;

    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size >= FILE_LIMIT)
        return remote_fail(error, EINVAL, "%s: is no key file (c4pd key new makes one)",
                           remote->path);
    if ((status.st_mode & 077) != 0)
        return remote_fail(error, EINVAL,
                           "%s: others may read it, and so may use the cluster (chmod 600 %s)",
                           remote->path, remote->path);
    return 0;
}

static int file_read(struct remote *remote, int fd, const char *address, char error[C4P_ERROR_SIZE])
{
    char *text = calloc(1, FILE_LIMIT + 1);
    int rc;

    if (text == NULL)
        return remote_fail(error, ENOMEM, "out of memory");
    if (read(fd, text, FILE_LIMIT) < 0)
        rc = remote_fail(error, errno, "%s: %s", remote->path, strerror(errno));
    else
        rc = lines_read(remote, text, address, error);
    sodium_memzero(text, FILE_LIMIT);
    free(text);
    return rc;
}

struct remote *remote_open(const char *path, const char *address, char error[C4P_ERROR_SIZE])
{
    struct remote *remote = calloc(1, sizeof(*remote));
    int fd = -1, rc = -1, saved;

    if (remote == NULL) {
        remote_fail(error, ENOMEM, "out of memory");
        return NULL;
    }
    snprintf(remote->path, sizeof(remote->path), "%s", path);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        remote_fail(error, errno, "%s: %s (c4pd key new makes a key file)", remote->path,
                    strerror(errno));
    else if (file_check(remote, fd, error) == 0)
        rc = file_read(remote, fd, address, error);
    saved = errno;
    if (fd >= 0)
        close(fd);
    if (rc != 0) {
        remote_free(remote);
        remote = NULL;
    }
    errno = saved;
    return remote;
}

void remote_free(struct remote *remote)
{
    if (remote == NULL)
        return;
    sodium_memzero(remote, sizeof(*remote));
    free(remote);
}

const char *remote_address(const struct remote *remote)
{
    return remote->address;
}

/* ---- the connection ---- */

int remote_prepare(const struct remote *remote, void *socket)
{
    const struct {
        int name, value;
    } options[] = {
        {ZMQ_IPV6, strchr(remote->address, '[') != NULL},
        {ZMQ_CONNECT_TIMEOUT, CONNECT_MS},
        /* Never by itself: that it has to be tried again is news. */
        {ZMQ_RECONNECT_IVL, NEVER_MS},
        {ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS},
        {ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS},
        {ZMQ_HEARTBEAT_TTL, HEARTBEAT_TTL_MS},
    };

    for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++)
        if (zmq_setsockopt(socket, options[i].name, &options[i].value, sizeof(int)) != 0)
            return -1;
    if (zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, remote->server_key, 32) != 0 ||
        zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, remote->public_key, 32) != 0)
        return -1;
    return zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, remote->secret_key, 32);
}

void *remote_watch(void *zmq, void *socket)
{
    const int linger = 0;
    char name[64];
    void *monitor;

    snprintf(name, sizeof(name), "inproc://monitor-%p", socket);
    if (zmq_socket_monitor(socket, name, EVENTS) != 0)
        return NULL;
    monitor = zmq_socket(zmq, ZMQ_PAIR);
    if (monitor == NULL)
        return NULL;
    zmq_setsockopt(monitor, ZMQ_LINGER, &linger, sizeof(linger));
    if (zmq_connect(monitor, name) == 0)
        return monitor;
    zmq_close(monitor);
    return NULL;
}

/* An event: a frame of 16 bits of event and 32 of value, and one with an address. 0: there is none. */
static uint16_t event_take(void *monitor)
{
    uint8_t frame[6];
    char address[1];
    uint16_t event;
    int size;

    do
        size = zmq_recv(monitor, frame, sizeof(frame), ZMQ_DONTWAIT);
    while (size < 0 && errno == EINTR);
    if (size != (int)sizeof(frame) || zmq_recv(monitor, address, sizeof(address), ZMQ_DONTWAIT) < 0)
        return 0;
    memcpy(&event, frame, sizeof(event));
    return event;
}

static int event_explain(const struct remote *remote, uint16_t event, char error[C4P_ERROR_SIZE])
{
    char key[65];

    switch (event) {
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        sodium_bin2hex(key, sizeof(key), remote->public_key, 32);
        remote_fail(
            error, EACCES,
            "the daemon at %.120s does not let the key of %.100s in: it is not known there, "
            "or was revoked (on a node: c4pd key add NAME %s)",
            remote->address, remote->path, key);
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        remote_fail(error, EPROTO,
                    "what listens at %.120s has not the key that %.100s says, or is no node: c4pd "
                    "key add on a node prints the right line",
                    remote->address, remote->path);
        break;
    case ZMQ_EVENT_CONNECT_RETRIED:
        remote_fail(error, ECONNREFUSED,
                    "no daemon can be reached at %.120s: does it run there, and is this address in "
                    "%.100s right?",
                    remote->address, remote->path);
        break;
    default:
        remote_fail(error, ECONNRESET, "the daemon at %.120s has closed the connection",
                    remote->address);
        break;
    }
    return errno;
}

int remote_look(const struct remote *remote, void *monitor, char error[C4P_ERROR_SIZE])
{
    int trouble = 0;

    for (uint16_t event; (event = event_take(monitor)) != 0;)
        if (trouble == 0) /* the first says why, and the others what came of it */
            trouble = event_explain(remote, event, error);
    return trouble;
}
