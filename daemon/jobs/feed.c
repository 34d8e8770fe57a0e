#include "daemon/jobs/feed.h"

#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <unistd.h>

static void feed_write(struct feed *feed)
{
    uint32_t written = 0;

    while (written < feed->size) {
        ssize_t rc = write(feed->fd, feed->buffer + written, feed->size - written);

        if (rc > 0) {
            written += (uint32_t)rc;
        } else if (rc < 0 && errno == EAGAIN) {
            event_add(feed->writable, NULL);
            break;
        } else if (rc == 0 || errno != EINTR) {
            feed_close(feed);
            feed->credit(feed->context, 0, true);
            return;
        }
    }
    feed->size -= written;
    memmove(feed->buffer, feed->buffer + written, feed->size);
    if (feed->size == 0 && feed->eof)
        feed_close(feed);
    else if (written > 0)
        feed->credit(feed->context, written, false);
}

static void feed_on_writable(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    feed_write(argument);
}

int feed_open(struct feed *feed, struct event_base *base, int fd, feed_credit *credit,
              void *context)
{
    feed->fd = fd;
    feed->credit = credit;
    feed->context = context;
    feed->eof = false;
    feed->size = 0;
    feed->writable = event_new(base, fd, EV_WRITE, feed_on_writable, feed);
    if (feed->writable == NULL) {
        feed_close(feed);
        errno = ENOMEM;
        return -1;
    }
    return 0;
}

void feed_close(struct feed *feed)
{
    if (feed->writable != NULL)
        event_free(feed->writable);
    feed->writable = NULL;
    if (feed->fd >= 0)
        close(feed->fd);
    feed->fd = -1;
    feed->size = 0;
}

int feed_put(struct feed *feed, const void *data, size_t size, bool eof)
{
    if (size > sizeof(feed->buffer) - feed->size)
        return -1;
    if (feed->fd < 0 || feed->eof)
        return 0; /* sent before the news of the end arrived */
    if (size > 0) /* data may be NULL: a message that only says that the input is over */
        memcpy(feed->buffer + feed->size, data, size);
    feed->size += (uint32_t)size;
    feed->eof = eof;
    feed_write(feed);
    return 0;
}
