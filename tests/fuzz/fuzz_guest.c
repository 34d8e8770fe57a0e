/*
 * What a home and its guests write to each other, as arbitrary bytes: the first byte says who is
 * hostile. A hostile home gets no slots that are not given back and launches nothing twice; of what a
 * hostile guest says only what can be reaches the job. The crew under the guests is played here, so
 * that no program runs.
 *
 * After that byte come messages: two bytes of length, then a packed Peer.
 */
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/jobs/guests.h"
#include "daemon/jobs/local_crew.h"
#include "daemon/jobs/remote_crew.h"
#include "daemon/log.h"

#define MAX_MESSAGES 64
#define REMOTE_PES 3

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct node_key home_key = {{1}}, guest_key = {{2}};

static void must(bool what)
{
    if (!what)
        abort();
}

/* ---- a crew that is played ---- */

struct played {
    struct crew crew;
    bool launched, living;
};

static bool played_prepare(struct crew *crew)
{
    (void)crew;
    return true;
}

/* They write a little, start, and stay. */
static void played_launch(struct crew *crew)
{
    struct played *played = (struct played *)crew;
    const struct crew_listener *listener = &crew->listener;
    size_t room;
    char *buffer;

    must(!played->launched);
    played->launched = played->living = true;
    listener->spawned(listener->context, crew);
    listener->input_credit(listener->context, 100, false);
    buffer = listener->room(listener->context, crew->first_pe, OUTPUT_STDOUT, &room);
    if (room > 3) {
        memcpy(buffer, "abc", 3);
        listener->filled(listener->context, crew->first_pe, OUTPUT_STDOUT, 3);
    }
    listener->started(listener->context, crew->first_pe);
}

static void played_stop(struct crew *crew, uint32_t except)
{
    (void)crew, (void)except;
}

static void played_signal(struct crew *crew, int number)
{
    struct played *played = (struct played *)crew;

    must(number == SIGTERM || number == SIGKILL);
    if (number != SIGKILL || !played->living)
        return;
    played->living = false;
    for (uint32_t pe = crew->first_pe; pe < crew->first_pe + crew->pes; pe++)
        crew->listener.died(crew->listener.context, pe, "", 0, number);
}

static bool played_resume(struct crew *crew)
{
    (void)crew;
    return true;
}

static bool played_quiet(const struct crew *crew)
{
    return !((const struct played *)crew)->living;
}

static int played_input(struct crew *crew, const void *bytes, size_t size, bool eof)
{
    uint8_t sum = eof;

    (void)crew;
    for (size_t i = 0; i < size; i++) /* all of it can be read */
        sum ^= ((const uint8_t *)bytes)[i];
    return sum == 255 ? -1 : 0;
}

static uint32_t played_input_room(const struct crew *crew, bool *closed)
{
    (void)crew;
    *closed = false;
    return 0;
}

static bool played_child_died(struct crew *crew, pid_t pid)
{
    (void)crew, (void)pid;
    return false;
}

static void played_finish(struct crew *crew)
{
    (void)crew;
}

static void played_destroy(struct crew *crew)
{
    free(crew);
}

static const struct crew_operations played_operations = {
    .prepare = played_prepare,
    .launch = played_launch,
    .stop_pes = played_stop,
    .signal = played_signal,
    .resume = played_resume,
    .quiet = played_quiet,
    .input = played_input,
    .input_room = played_input_room,
    .child_died = played_child_died,
    .finish = played_finish,
    .destroy = played_destroy,
};

/* In the place of the one of local_crew.c. */
struct crew *local_crew_create(const struct crew_settings *settings, char error[JOB_ERROR_SIZE])
{
    const struct job_node *node = &settings->nodes[settings->node];
    struct played *played = calloc(1, sizeof(*played));

    must(played != NULL && settings->node > 0 && settings->node < settings->node_count);
    must(node->pes > 0 && node->pes <= settings->request->pes);
    must(memcmp(&node->key, &guest_key, sizeof(guest_key)) == 0);
    error[0] = '\0';
    played->crew = (struct crew){.operations = &played_operations,
                                 .node = settings->node,
                                 .first_pe = node->first_pe,
                                 .pes = node->pes < 16 ? node->pes : 16,
                                 .listener = settings->listener};
    return &played->crew;
}

/* ---- both sides ---- */

struct world {
    struct event_base *base;
    struct guests *guests;
    struct crew *crew;
    size_t held;
    bool dead[REMOTE_PES], spawned, launched;
    char buffer[64];
    unsigned rooms;
};

static int nowhere(void *context, const struct node_key *to, C4p__Peer *message)
{
    (void)context, (void)to;
    return c4p__peer__get_packed_size(message) > 0 ? 0 : -1;
}

static const struct node_key *self(void *context)
{
    (void)context;
    return &guest_key;
}

static bool hold(void *context, const struct node_key *home, uint64_t job, uint64_t attempt)
{
    (void)home, (void)job, (void)attempt;
    ((struct world *)context)->held++;
    return true;
}

static void free_slots(void *context, const struct node_key *home, uint64_t job)
{
    (void)home, (void)job;
    must(((struct world *)context)->held-- > 0);
}

static void mark(void *context, uint64_t job, char text[REMAINS_MARK_SIZE])
{
    (void)context, (void)job;
    text[0] = '\0';
}

static void ended(void *context)
{
    (void)context;
}

/* ---- the job, at home ---- */

static bool is_mine(uint32_t pe)
{
    return pe >= 1 && pe <= REMOTE_PES;
}

static void on_prepared(void *context, struct crew *crew)
{
    ((struct world *)context)->launched = true;
    crew_launch(crew);
}

static void on_unprepared(void *context, struct crew *crew, const char *why, bool unfit)
{
    (void)context, (void)crew, (void)unfit;
    must(strlen(why) < JOB_ERROR_SIZE);
}

static void on_pe(void *context, uint32_t pe)
{
    (void)context;
    must(is_mine(pe));
}

static void on_spawned(void *context, struct crew *crew)
{
    struct world *world = context;

    (void)crew;
    must(!world->spawned);
    world->spawned = true;
}

static void on_sentence(void *context, const char *why)
{
    must(((struct world *)context)->launched && strlen(why) < JOB_ERROR_SIZE);
}

static void on_died(void *context, uint32_t pe, const char *host, int code, int number)
{
    struct world *world = context;

    must(is_mine(pe) && !world->dead[pe - 1] && strcmp(host, "far") == 0);
    must(code >= 0 && code <= 255 && number >= 0 && number <= 64);
    world->dead[pe - 1] = true;
}

static void on_exited(void *context, uint32_t pe, int32_t code, const char *text, size_t size)
{
    (void)context, (void)code;
    must(is_mine(pe) && (size == 0 || memchr(text, text[0], size) == text));
}

static void on_parted(void *context, struct crew *crew, uint32_t node, const char *why)
{
    (void)context, (void)crew, (void)node, (void)why;
    abort(); /* only who has a router can tell */
}

static void on_lost(void *context, struct crew *crew, const char *why)
{
    (void)context, (void)why;
    must(crew_quiet(crew) || ((struct world *)context)->launched);
}

static char *on_room(void *context, uint32_t pe, enum output_stream stream, size_t *room)
{
    struct world *world = context;

    must(is_mine(pe) && (stream == OUTPUT_STDOUT || stream == OUTPUT_STDERR));
    *room = world->rooms++ % 5 == 4 ? 0 : sizeof(world->buffer);
    return world->buffer;
}

static void on_filled(void *context, uint32_t pe, enum output_stream stream, size_t size)
{
    (void)stream;
    must(is_mine(pe) && size <= sizeof(((struct world *)context)->buffer));
}

static void on_stream_ended(void *context, uint32_t pe, enum output_stream stream)
{
    (void)context, (void)stream;
    must(is_mine(pe));
}

static void on_pump(void *context)
{
    (void)context;
}

static void on_input_credit(void *context, uint32_t bytes, bool closed)
{
    (void)context, (void)closed;
    must(bytes <= CONTROL_MAX_PIECE);
}

static const struct crew_listener listener = {
    .prepared = on_prepared,
    .unprepared = on_unprepared,
    .pe_spawned = on_pe,
    .spawned = on_spawned,
    .spawn_failed = on_sentence,
    .started = on_pe,
    .died = on_died,
    .exited = on_exited,
    .broken = on_sentence,
    .parted = on_parted,
    .lost = on_lost,
    .room = on_room,
    .filled = on_filled,
    .ended = on_stream_ended,
    .pump = on_pump,
    .input_credit = on_input_credit,
};

/* ---- hostile bytes ---- */

static void remote_make(struct world *world)
{
    C4p__Prepare prepare = C4P__PREPARE__INIT;
    struct remote_crew_settings settings = {.base = world->base,
                                            .courier = {nowhere, world},
                                            .key = guest_key,
                                            .name = "far",
                                            .node = 1,
                                            .first_pe = 1,
                                            .pes = REMOTE_PES,
                                            .prepare = &prepare,
                                            .listener = listener};

    prepare.job = prepare.attempt = 1;
    settings.listener.context = world;
    world->crew = remote_crew_create(&settings);
    must(world->crew != NULL && !crew_prepare(world->crew));
}

static void message_give(struct world *world, const C4p__Peer *message)
{
    if (world->crew == NULL) {
        guests_message(world->guests, &home_key, message);
        return;
    }
    crew_message(world->crew, message);
    crew_resume(world->crew);
}

static void messages_give(struct world *world, const uint8_t *data, size_t size)
{
    for (unsigned i = 0; i < MAX_MESSAGES && size >= 2; i++) {
        size_t length = (size_t)data[0] | (size_t)data[1] << 8;
        C4p__Peer *message;

        data += 2;
        size -= 2;
        if (length > size)
            length = size;
        message = c4p__peer__unpack(NULL, length, data);
        data += length;
        size -= length;
        if (message == NULL)
            continue;
        message_give(world, message);
        c4p__peer__free_unpacked(message, NULL);
        event_base_loop(world->base, EVLOOP_NONBLOCK);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct event_base *base;
    struct world world = {0};
    struct job_place place = {.host = "far"};
    struct guests_settings settings = {
        .place = &place,
        .courier = {nowhere, &world},
        .host = {self, hold, free_slots, mark, ended, &world},
    };
    uint32_t pes;

    if (size == 0)
        return 0;
    if (base == NULL) {
        base = event_base_new();
        log_level_set(LOG_ERROR);
    }
    must(base != NULL);
    world.base = place.base = base;
    world.guests = guests_create(&settings);
    must(world.guests != NULL);
    if (data[0] % 2 == 1)
        remote_make(&world);
    messages_give(&world, data + 1, size - 1);
    crew_destroy(world.crew);
    guests_node_down(world.guests, &home_key, "the end");
    event_base_loop(base, EVLOOP_NONBLOCK);
    must(guests_count(world.guests, &pes) == 0 && world.held == 0);
    guests_destroy(world.guests);
    return 0;
}
