/*
 * Control messages, as a daemon and as a client get them, and the packets of the Unix socket. The
 * input is a sequence of frames, each after two bytes with its length (little-endian); the daemon's
 * end takes all of them from one client, with a service that reads all that is in them.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/control/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t sum;

static void bytes_read(const void *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        sum ^= ((const uint8_t *)data)[i];
    __asm__ volatile("" ::"r"(sum)); /* is not optimised away */
}

/* Read a message to its last byte, by packing it once more. */
static void message_read(const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(size + 1);

    if (bytes == NULL)
        return;
    bytes_read(bytes, protobuf_c_message_pack(message, bytes));
    free(bytes);
}

/* Every second one is refused, with as long a sentence as can be. */
static int take(void *context, struct control_peer *peer, const C4p__Request *request,
                char reason[CONTROL_REASON_SIZE])
{
    (void)context, (void)peer;
    message_read(&request->base);
    if (request->id % 2 == 0)
        return 0;
    memset(reason, 'x', CONTROL_REASON_SIZE - 1);
    reason[CONTROL_REASON_SIZE - 1] = '\0';
    return -1;
}

static bool take_ticket(void *context, const void *ticket, size_t size, struct attach_who *who)
{
    (void)context;
    bytes_read(ticket, size);
    *who = (struct attach_who){.id = 1, .uid = getuid()};
    return size != 1;
}

static int take_greeted(void *context, struct control_peer *peer, char reason[CONTROL_REASON_SIZE])
{
    (void)context, (void)peer, (void)reason;
    return 0;
}

static void take_left(void *context, struct control_peer *peer)
{
    (void)context, (void)peer;
}

static void take_lost(void *context, struct control_peer *peer, int error)
{
    (void)context, (void)peer, (void)error;
    abort();
}

/* What the daemon answers is an event that a client can read. */
static int take_send(void *context, const void *identity, size_t identity_size, const void *data,
                     size_t size)
{
    C4p__Event *event = c4p__event__unpack(NULL, size, data);

    (void)context;
    bytes_read(identity, identity_size);
    if (event == NULL || size > CONTROL_MAX_MESSAGE)
        abort();
    c4p__event__free_unpacked(event, NULL);
    return 0;
}

/* What the two ends of the Unix socket get, and what a client gets from the daemon. */
static void frame_read(const uint8_t *frame, size_t size)
{
    C4p__Event *event = c4p__event__unpack(NULL, size, frame);
    C4p__Knock *knock = c4p__knock__unpack(NULL, size, frame);
    C4p__Door *door = c4p__door__unpack(NULL, size, frame);

    if (event != NULL) {
        message_read(&event->base);
        c4p__event__free_unpacked(event, NULL);
    }
    if (knock != NULL) {
        message_read(&knock->base);
        c4p__knock__free_unpacked(knock, NULL);
    }
    if (door != NULL) {
        message_read(&door->base);
        c4p__door__free_unpacked(door, NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct control_service service = {
        .submit = take,
        .follow = take,
        .unfollow = take,
        .input = take,
        .output_ack = take,
        .cancel = take,
        .list = take,
        .find = take,
        .status = take,
        .nodes = take,
        .open = take,
        .close = take,
        .offer = take,
        .blob_put = take,
        .redeem = take_ticket,
        .greeted = take_greeted,
        .left = take_left,
        .send = take_send,
        .lost = take_lost,
    };
    struct control *control = control_create(&service, 1, "host", 2);

    while (control != NULL && size >= 2) {
        size_t length = data[0] | (size_t)data[1] << 8;
        uint8_t *frame;

        data += 2;
        size -= 2;
        if (length > size)
            length = size;
        /* Of exactly that size, so that the sanitizer sees a byte too much. */
        frame = malloc(length ? length : 1);
        if (frame == NULL)
            break;
        memcpy(frame, data, length);
        control_receive(control, "peer", 4, frame, length);
        frame_read(frame, length);
        free(frame);
        data += length;
        size -= length;
    }
    if (control != NULL)
        control_gone(control, 1);
    control_destroy(control);
    return 0;
}
