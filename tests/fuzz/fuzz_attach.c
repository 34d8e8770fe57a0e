/*
 * Packets at the door, over a real socket pair. The input is a sequence of packets, each after two
 * bytes with its length (little-endian); a ticket that comes back is redeemed at once.
 */
#include <event2/event.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/control/attach.h"
#include "proto/control.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct event_base *base;
static int gone;

static void take_gone(void *context, uint64_t id)
{
    (void)context, (void)id;
    gone++;
}

static int take_segment(void *context, uint64_t id, uint64_t job, struct attach_entry *entry,
                        char reason[ATTACH_ERROR_SIZE])
{
    (void)context, (void)id;
    memset(reason, 'x', ATTACH_ERROR_SIZE - 1);
    reason[ATTACH_ERROR_SIZE - 1] = '\0';
    entry->endpoint = (uint32_t)job;
    if (entry->remote)
        entry->bridge = (struct bridge_ticket){.geometry.region_size = 1, .address = "ipc:///data"};
    else
        entry->fds[0] = entry->fds[1] = STDERR_FILENO;
    return job % 2 == 0 ? 0 : -1;
}

static void take_admin(void *context, const C4p__Admin *admin, C4p__AdminAnswer *answer)
{
    (void)context;
    answer->more = admin->body_case != C4P__ADMIN__BODY__NOT_SET;
}

/* What the daemon answers is a Door, or to Admin what looks like a part of one; descriptors are closed by the kernel, since nobody takes them. */
static void answers_read(struct attach *attach, int fd)
{
    uint8_t packet[4096];
    struct attach_who who;
    ssize_t size;

    while ((size = recv(fd, packet, sizeof(packet), MSG_DONTWAIT)) > 0) {
        C4p__Door *door = c4p__door__unpack(NULL, (size_t)size, packet);

        if (door == NULL)
            abort();
        if (door->ticket.len > 0 && door->region_size == 0 &&
            (!attach_redeem(attach, door->ticket.data, door->ticket.len, &who) || who.id != 1))
            abort();
        c4p__door__free_unpacked(door, NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct attach_settings settings = {"ipc:///address", "host", 1};
    static const struct attach_listener listener = {take_gone, take_segment, take_admin, NULL};
    struct attach *attach;
    int pair[2];

    if (base == NULL)
        base = event_base_new();
    attach = attach_create(base, &settings, &listener);
    if (base == NULL || attach == NULL ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0 ||
        attach_adopt(attach, pair[1]) != 0)
        abort();
    for (gone = 0; size >= 2 && gone == 0;) {
        size_t length = data[0] | (size_t)data[1] << 8;

        data += 2;
        size -= 2;
        if (length > size)
            length = size;
        send(pair[0], data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        event_base_loop(base, EVLOOP_NONBLOCK);
        answers_read(attach, pair[0]);
        data += length;
        size -= length;
    }
    close(pair[0]);
    while (gone == 0)
        event_base_loop(base, EVLOOP_ONCE);
    if (gone != 1)
        abort();
    attach_destroy(attach);
    return 0;
}
