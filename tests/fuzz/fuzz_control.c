/*
 * Control messages, as a daemon and as a client get them. The input is a
 * sequence of frames, each after two bytes with its length (little-endian);
 * the daemon's end takes all of them from one client, with a service that
 * agrees to everything it can read.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/control/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t sum;

static void bytes_read(const void *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        sum ^= ((const uint8_t *)data)[i];
    __asm__ volatile("" ::"r"(sum)); /* is not optimised away */
}

static int take_submit(void *context, struct control_peer *peer, const C4p__Submit *submit,
                       uint64_t *job, char reason[CONTROL_REASON_SIZE])
{
    (void)context, (void)peer, (void)reason;
    for (size_t i = 0; i < submit->n_argv; i++)
        bytes_read(submit->argv[i].data, submit->argv[i].len);
    for (size_t i = 0; i < submit->n_env; i++)
        bytes_read(submit->env[i].data, submit->env[i].len);
    bytes_read(submit->cwd.data, submit->cwd.len);
    *job = submit->pes;
    return 0;
}

static int take_follow(void *context, struct control_peer *peer, uint64_t job,
                       char reason[CONTROL_REASON_SIZE])
{
    (void)context, (void)peer, (void)job, (void)reason;
    return 0;
}

static int take_input(void *context, struct control_peer *peer, const C4p__Input *input,
                      char reason[CONTROL_REASON_SIZE])
{
    (void)context, (void)peer, (void)reason;
    if (input->data.len > CONTROL_MAX_PIECE)
        abort();
    bytes_read(input->data.data, input->data.len);
    return 0;
}

static int take_ack(void *context, struct control_peer *peer, uint64_t job, uint64_t sequence,
                    char reason[CONTROL_REASON_SIZE])
{
    (void)context, (void)peer, (void)job, (void)sequence, (void)reason;
    return 0;
}

static int take_cancel(void *context, struct control_peer *peer, uint64_t job, bool kill,
                       char reason[CONTROL_REASON_SIZE])
{
    (void)context, (void)peer, (void)job, (void)kill;
    memset(reason, 'x', CONTROL_REASON_SIZE - 1);
    reason[CONTROL_REASON_SIZE - 1] = '\0';
    return -1;
}

static void take_greeted(void *context, struct control_peer *peer)
{
    (void)context, (void)peer;
}

static void take_flow(void *context, uint64_t job)
{
    (void)context, (void)job;
}

/* What the daemon answers is an event that a client can read. */
static void take_send(void *context, const void *identity, size_t identity_size, const void *data,
                      size_t size)
{
    C4p__Event *event = c4p__event__unpack(NULL, size, data);

    (void)context;
    bytes_read(identity, identity_size);
    if (event == NULL || size > CONTROL_MAX_MESSAGE)
        abort();
    c4p__event__free_unpacked(event, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct control_service service = {
        take_submit,  take_follow, take_input, take_ack, take_cancel,
        take_greeted, take_flow,   take_send,  NULL,
    };
    struct control *control = control_create(&service, 1, "host");

    while (control != NULL && size >= 2) {
        size_t length = data[0] | (size_t)data[1] << 8;
        uint8_t *frame;
        C4p__Event *event;

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
        event = c4p__event__unpack(NULL, length, frame);
        if (event != NULL)
            c4p__event__free_unpacked(event, NULL);
        free(frame);
        data += length;
        size -= length;
    }
    control_destroy(control);
    return 0;
}
