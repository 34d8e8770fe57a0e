#include "client/cli/outlet.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void outlet_init(struct outlet *outlet, int fd)
{
    struct stat status;

    memset(outlet, 0, sizeof(*outlet));
    outlet->fd = fd;
    outlet->file = fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

void outlet_free(struct outlet *outlet)
{
    free(outlet->data);
    memset(outlet, 0, sizeof(*outlet));
}

static void outlet_break(struct outlet *outlet, int error)
{
    outlet->error = error;
    outlet->start = outlet->end = 0;
}

static bool outlet_grow(struct outlet *outlet, size_t size)
{
    size_t waiting = outlet_waiting(outlet);
    size_t room = outlet->room ? outlet->room : 16384;
    char *data;

    if (waiting > 0)
        memmove(outlet->data, outlet->data + outlet->start, waiting);
    outlet->start = 0;
    outlet->end = waiting;
    while (room < waiting + size)
        room *= 2;
    if (room == outlet->room)
        return true;
    data = realloc(outlet->data, room);
    if (data == NULL)
        return false;
    outlet->data = data;
    outlet->room = room;
    return true;
}

void outlet_put(struct outlet *outlet, const char *data, size_t size)
{
    if (outlet->error != 0)
        return;
    if (size > outlet->room - outlet->end && !outlet_grow(outlet, size)) {
        outlet_break(outlet, ENOMEM);
        return;
    }
    memcpy(outlet->data + outlet->end, data, size);
    outlet->end += size;
    outlet->taken += size;
}

/* A descriptor that polls as writable takes PIPE_BUF bytes without blocking. */
static bool outlet_ready(const struct outlet *outlet)
{
    struct pollfd poller = {outlet->fd, POLLOUT, 0};

    return outlet->file || poll(&poller, 1, 0) > 0;
}

void outlet_write(struct outlet *outlet)
{
    while (outlet_waiting(outlet) > 0 && outlet_ready(outlet)) {
        size_t size = outlet_waiting(outlet);
        ssize_t rc;

        if (!outlet->file && size > PIPE_BUF)
            size = PIPE_BUF;
        rc = write(outlet->fd, outlet->data + outlet->start, size);
        if (rc > 0)
            outlet->start += (size_t)rc;
        else if (rc < 0 && errno == EAGAIN)
            return; /* somebody else made it non-blocking */
        else if (rc == 0 || errno != EINTR)
            outlet_break(outlet, errno);
    }
    if (outlet->start == outlet->end)
        outlet->start = outlet->end = 0;
}
