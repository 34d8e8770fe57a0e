/*
 * A router that gets frames of any bytes from the key of another node of its job. The input is a
 * program: frames with a header that is right or nearly so, and the rest of the input as their bytes.
 * Nothing may crash, and what reaches a PE is an envelope that may be believed.
 */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/router/router_internal.h"
#include "proto/inbox.h"

#define EPOCH 7
#define FRAMES 64

#define require(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);              \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct event_base *base;
static struct plane *plane;

static void on_started(void *context, uint32_t pe)
{
    (void)context, (void)pe;
    require(!"no PE starts");
}

static void on_exited(void *context, uint32_t pe, int32_t code, const char *text, size_t size)
{
    (void)context, (void)pe, (void)code, (void)text, (void)size;
    require(!"no PE exits");
}

static void on_told(void *context, const char *what)
{
    (void)context, (void)what;
}

static void on_lost(void *context, uint32_t node, const char *why)
{
    (void)context;
    require(node == 1 && why[0] != '\0');
}

static struct router *router_make(void)
{
    static const struct router_listener listener = {on_started, on_exited, on_told, on_lost, NULL};
    struct segment_geometry geometry = {.epoch = EPOCH,
                                        .pes = 2,
                                        .local_pes = 1,
                                        .nodes = 2,
                                        .cores = 1,
                                        .region_size = SEGMENT_MIN_REGION};
    struct router_node table[2] = {{.pes = 1}, {.first_pe = 1, .pes = 1}};
    struct router_nodes nodes = {.job = 1, .count = 2, .nodes = table};

    for (unsigned i = 0; i < 2; i++) {
        table[i].key = *plane_key(plane);
        snprintf(table[i].address, sizeof(table[i].address), "%s", plane_address(plane));
    }
    return router_create(plane, &geometry, &nodes, &listener);
}

/* What came for the PE: it can be believed. */
static void inbox_check(const struct router *router)
{
    const struct segment *segment = &router->segment;
    struct c4p_envelope copy;

    for (uint64_t offset = inbox_take(segment, 0); offset != 0;
         offset = segment_block(segment, offset)->next) {
        require(envelope_check(segment_block(segment, offset), segment_room(segment, offset), EPOCH,
                               &copy) == C4P_ENVELOPE_OK);
        require(copy.body == 0 && copy.target == 0 && copy.kind != C4P_STOP);
    }
}

/* One frame: two bytes of length, one of what is wrong with the header, then its bytes. */
static size_t frame_feed(struct router *router, const uint8_t *data, size_t size)
{
    struct frame_header header = {
        .version = FRAME_VERSION, .type = FRAME_DATA, .epoch = EPOCH, .job = 1, .from = 1};
    size_t length = ((size_t)data[0] << 8 | data[1]) % 2048;
    uint8_t what = data[2], *frame;

    data += 3, size -= 3;
    length = length < size ? length : size;
    if (what & 1)
        header.type = (uint8_t)(1 + (what >> 5) % 5);
    header.stream = (what >> 1) & 1;
    if (router->nodes != NULL && !(what & 4))
        header.position = router->nodes[1].lanes[header.stream].in.received;
    require((frame = malloc(FRAME_HEADER_SIZE + length)) != NULL);
    memcpy(frame, &header, FRAME_HEADER_SIZE);
    memcpy(frame + FRAME_HEADER_SIZE, data, length);
    if ((what & 24) == 24 && length >= 4)
        memcpy(frame + (what >> 5) * 8, data, 4);
    plane_lock(plane);
    frame_hear(plane, NULL, frame, FRAME_HEADER_SIZE + (what & 8 ? length / 2 : length),
               what & 8 ? frame + FRAME_HEADER_SIZE + length / 2 : NULL,
               what & 8 ? length - length / 2 : 0);
    plane_unlock(plane);
    free(frame);
    return 3 + length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char error[PLANE_ERROR_SIZE];
    struct router *router;

    if (plane == NULL) {
        require((base = event_base_new()) != NULL);
        plane = plane_create(&(struct plane_settings){.base = base}, error);
        require(plane != NULL);
    }
    require((router = router_make()) != NULL);
    for (unsigned i = 0; i < FRAMES && size >= 3; i++) {
        size_t used = frame_feed(router, data, size);

        data += used, size -= used;
        inbox_check(router);
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
    router_destroy(router);
    return 0;
}
