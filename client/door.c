#define _GNU_SOURCE
#include "client/client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/place.h"

/* For an answer to Segment: long enough for a daemon that is busy, or was stopped for a moment. */
#define SEGMENT_MS 20000

/* ---- connecting ---- */

static void connect_explain(int error, const char *directory, char text[C4P_ERROR_SIZE])
{
    static const struct {
        int error;
        const char *what, *remedy;
    } rows[] = {
        {ENOENT, "no daemon runs here", "start one with `c4pd start`"},
        {ENOTDIR, "no daemon runs here", "start one with `c4pd start`"},
        {ECONNREFUSED, "no daemon runs here any more", "start one with `c4pd start`"},
        {EACCES, "the daemon here is another user's", "start one of your own with `c4pd start`"},
        {EPROTOTYPE, "what listens here is no c4pd", "choose another state directory"},
        {EAGAIN, "the daemon here has too many callers at its door", "try again"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        if (rows[i].error != error)
            continue;
        snprintf(text, C4P_ERROR_SIZE, "%s (%.200s): %s", rows[i].what, directory, rows[i].remedy);
        return;
    }
    snprintf(text, C4P_ERROR_SIZE, "the daemon here (%.200s) cannot be reached: %s", directory,
             strerror(error));
}

/* What we send has our whole environment in it: not to another user's process. */
static int owner_check(int fd)
{
    struct ucred credentials;
    socklen_t size = sizeof(credentials);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
        return -1;
    if (credentials.uid == geteuid())
        return 0;
    errno = EACCES;
    return -1;
}

int door_connect(const char *directory, char error[C4P_ERROR_SIZE])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), saved;

    _Static_assert(PLACE_MAX + sizeof("/" PLACE_ATTACH) <= sizeof(address.sun_path), "it fits");
    snprintf(address.sun_path, sizeof(address.sun_path), "%.96s/" PLACE_ATTACH, directory);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
        owner_check(fd) == 0)
        return fd;
    saved = errno;
    if (fd >= 0)
        close(fd);
    connect_explain(saved, directory, error);
    errno = saved;
    return -1;
}

/* ---- packets ---- */

static int knock_send(int fd, C4p__Knock__BodyCase body, void *message)
{
    C4p__Knock knock = C4P__KNOCK__INIT;
    uint8_t packet[1024];

    knock.body_case = body;
    knock.attach = message;
    if (c4p__knock__get_packed_size(&knock) > sizeof(packet)) {
        errno = EMSGSIZE;
        return -1;
    }
    if (send(fd, packet, c4p__knock__pack(&knock, packet), MSG_NOSIGNAL) < 0)
        /* Whoever has closed the connection already may have said why. */
        return errno == EPIPE || errno == ECONNRESET ? 0 : -1;
    return 0;
}

int door_knock(int fd, const char *name)
{
    C4p__Attach attach = C4P__ATTACH__INIT;
    char short_name[256];

    snprintf(short_name, sizeof(short_name), "%s", name);
    attach.min_version = CONTROL_MIN_VERSION;
    attach.max_version = CONTROL_MAX_VERSION;
    attach.name = short_name;
    return knock_send(fd, C4P__KNOCK__BODY_ATTACH, &attach);
}

/* All descriptors of a packet; those that are not wanted are closed. */
static void descriptors_take(struct msghdr *message, int *fds)
{
    struct cmsghdr *part = CMSG_FIRSTHDR(message);
    int got[2];

    if (fds != NULL)
        fds[0] = fds[1] = -1;
    if (part == NULL || part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
        return;
    for (size_t i = 0; i < (part->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
        memcpy(&got[i % 2], CMSG_DATA(part) + i * sizeof(int), sizeof(int));
        if (fds != NULL && i < 2)
            fds[i] = got[i];
        else
            close(got[i % 2]);
    }
}

C4p__Door *door_take(int fd, int fds[2])
{
    union {
        char bytes[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr aligned;
    } control = {.bytes = {0}};
    uint8_t packet[4096];
    struct iovec part = {packet, sizeof(packet)};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    C4p__Door *door = NULL;
    ssize_t size;

    do /* that our own packets were not read is told once, before what it said */
        size = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (size < 0 && (errno == EINTR || errno == ECONNRESET));
    if (size < 0)
        return NULL;
    descriptors_take(&message, fds);
    if (size > 0 && !(message.msg_flags & MSG_TRUNC))
        door = c4p__door__unpack(NULL, (size_t)size, packet);
    if (door == NULL)
        errno = size == 0 ? 0 : EBADMSG;
    return door;
}

/* ---- segments ---- */

/* Wait for the answer. NULL with errno. */
static C4p__Door *answer_await(int fd, int fds[2])
{
    struct pollfd poller = {fd, POLLIN, 0};
    int64_t deadline = clock_ms() + SEGMENT_MS;

    for (;;) {
        int64_t left = deadline - clock_ms();
        C4p__Door *door = door_take(fd, fds);

        if (door != NULL || errno != EAGAIN)
            return door;
        if (left <= 0 || (poll(&poller, 1, (int)left) < 0 && errno != EINTR)) {
            errno = left <= 0 ? ETIMEDOUT : errno;
            return NULL;
        }
    }
}

static int segment_check(const C4p__Door *door, const int *fds, char error[C4P_ERROR_SIZE])
{
    if (door->refused[0] != '\0')
        snprintf(error, C4P_ERROR_SIZE, "the daemon refuses: %.400s", door->refused);
    else if (fds != NULL && (fds[0] < 0 || fds[1] < 0))
        snprintf(error, C4P_ERROR_SIZE,
                 "the daemon has sent no descriptors: this process has "
                 "too many open files, or the daemon is of another release");
    else
        return 0;
    for (int i = 0; fds != NULL && i < 2; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return -1;
}

C4p__Door *door_ask(struct c4p_client *client, const C4p__Segment *segment, int fds[2],
                    char error[C4P_ERROR_SIZE])
{
    C4p__Door *door = NULL;

    if (client->remote != NULL) {
        snprintf(
            error, C4P_ERROR_SIZE,
            "sessions need a daemon on this machine (c4pd start, or c4pd join on a host of the "
            "cluster)");
        return NULL;
    }
    if (client->link != LINK_UP || client->door < 0) {
        snprintf(error, C4P_ERROR_SIZE, "there is no connection to the daemon");
        return NULL;
    }
    if (knock_send(client->door, C4P__KNOCK__BODY_SEGMENT, (void *)(uintptr_t)segment) == 0)
        door = answer_await(client->door, fds);
    if (door == NULL) {
        snprintf(error, C4P_ERROR_SIZE, "no answer from the daemon: %s",
                 errno == 0 ? "it is gone" : strerror(errno));
        /* A late answer would be taken for that of the next question. */
        shutdown(client->door, SHUT_RDWR);
        return NULL;
    }
    if (segment_check(door, fds, error) == 0)
        return door;
    c4p__door__free_unpacked(door, NULL);
    return NULL;
}

int c4p_segment(struct c4p_client *client, uint64_t job, uint32_t *endpoint, int *segment_fd,
                int *wake_fd, char error[C4P_ERROR_SIZE])
{
    C4p__Segment segment = C4P__SEGMENT__INIT;
    int fds[2] = {-1, -1};
    C4p__Door *door;

    segment.job = job;
    door = door_ask(client, &segment, fds, error);
    if (door == NULL)
        return -1;
    *endpoint = door->endpoint;
    *segment_fd = fds[0];
    *wake_fd = fds[1];
    c4p__door__free_unpacked(door, NULL);
    return 0;
}
