/*
 * A home and a node with guests in one process: remote crews on one side, guests with programs of the
 * shell as PEs on the other, and between them a way that loses, doubles and reorders if it is told to.
 */
#ifndef C4P_TESTS_GUESTS_FIXTURE_H
#define C4P_TESTS_GUESTS_FIXTURE_H

#include "tests/unit/unit.h"

#include <event2/event.h>

#include "daemon/jobs/guests.h"
#include "daemon/jobs/remote_crew.h"
#include "daemon/jobs/spawn.h"
#include "daemon/router/plane.h"
#include "daemon/signals.h"
#include "proto/clock.h"

#define JOBS 8
#define PES 2 /* of the guest; PE 0 is the home's */
#define MAX_OUTPUT 4096
#define UNDER_WAY 512
#define DEADLINE_MS 50000

static const struct node_key home_key = {{1}}, guest_key = {{2}};

/* What a home heard of the guests of one job. */
struct home {
    struct bench *bench;
    struct crew *crew;
    unsigned prepared, unprepared, spawned, failed, started, broken, lost, exited, streams_ended;
    unsigned died[PES];
    int code[PES];
    uint64_t credit;
    char why[JOB_ERROR_SIZE];
    char output[PES][MAX_OUTPUT + 1];
    size_t size[PES];
    char buffer[48];
};

struct letter_under_way {
    bool to_home;
    C4p__Peer *message;
};

struct bench {
    struct event_base *base;
    struct signals *signals;
    struct event *tick;
    struct job_place place;
    struct guests *guests;
    unsigned held;               /* slots that are, in jobs ... */
    uint64_t attempts[JOBS + 1]; /* ... each by one attempt at a time, as in the ledger */
    bool refuse;
    uint64_t home_incarnation, guest_incarnation;
    struct home homes[JOBS + 1]; /* by job */
    struct letter_under_way way[UNDER_WAY];
    unsigned count, delivered;
    bool faults, by_hand; /* by hand: what is for the home stays until it is taken */
    uint32_t random;
};

static inline uint32_t throw_of(struct bench *bench, uint32_t sides)
{
    bench->random = bench->random * 1664525u + 1013904223u;
    return (bench->random >> 8) % sides;
}

/* ---- the way ---- */

static inline void way_put(struct bench *bench, bool to_home, const C4p__Peer *message)
{
    size_t size = c4p__peer__get_packed_size(message);
    uint8_t *packed = malloc(size + 1);

    require(packed != NULL && bench->count < UNDER_WAY);
    c4p__peer__pack(message, packed);
    bench->way[bench->count++] =
        (struct letter_under_way){to_home, c4p__peer__unpack(NULL, size, packed)};
    free(packed);
}

static inline int way_carry(struct bench *bench, bool to_home, C4p__Peer *message)
{
    message->incarnation = to_home ? bench->guest_incarnation : bench->home_incarnation;
    if (bench->count > UNDER_WAY - 2)
        return -1; /* as a link that is full */
    if (bench->faults && throw_of(bench, 20) == 0)
        return 0;
    way_put(bench, to_home, message);
    if (bench->faults && throw_of(bench, 6) == 0)
        way_put(bench, to_home, message);
    return 0;
}

static inline int carry_to_home(void *context, const struct node_key *to, C4p__Peer *message)
{
    require(memcmp(to, &home_key, sizeof(*to)) == 0);
    return way_carry(context, true, message);
}

static inline int carry_to_guest(void *context, const struct node_key *to, C4p__Peer *message)
{
    require(memcmp(to, &guest_key, sizeof(*to)) == 0);
    return way_carry(context, false, message);
}

static inline uint64_t job_of(const C4p__Peer *message)
{
    switch (message->body_case) {
    case C4P__PEER__BODY_PREPARED:
        return message->prepared->job;
    case C4P__PEER__BODY_REPORT:
        return message->report->job;
    case C4P__PEER__BODY_GUEST_OUTPUT:
        return message->guest_output->job;
    case C4P__PEER__BODY_GUEST_ACK:
        return message->guest_ack->job;
    default:
        fail_msg("a guest sent %d", message->body_case);
        return 0;
    }
}

static inline C4p__Peer *way_take(struct bench *bench, unsigned which)
{
    C4p__Peer *message = bench->way[which].message;

    memmove(&bench->way[which], &bench->way[which + 1],
            (--bench->count - which) * sizeof(bench->way[0]));
    return message;
}

/* One of those under way arrives: the oldest, or with faults now and then the next. */
static inline void way_deliver(struct bench *bench)
{
    unsigned which = bench->faults && bench->count > 1 && throw_of(bench, 10) == 0;
    bool to_home = bench->way[which].to_home;
    C4p__Peer *message = way_take(bench, which);
    uint64_t job;

    bench->delivered++;
    if (to_home) {
        job = job_of(message);
        require(job >= 1 && job <= JOBS);
        if (bench->homes[job].crew != NULL)
            crew_message(bench->homes[job].crew, message);
    } else {
        require(guests_message(bench->guests, &home_key, message));
    }
    c4p__peer__free_unpacked(message, NULL);
}

/* ---- the home ---- */

static inline struct home *home_of(void *context)
{
    return context;
}

static inline void home_prepared(void *context, struct crew *crew)
{
    home_of(context)->prepared++;
    crew_launch(crew);
}

static inline void home_unprepared(void *context, struct crew *crew, const char *why, bool unfit)
{
    (void)crew, (void)unfit;
    home_of(context)->unprepared++;
    snprintf(home_of(context)->why, JOB_ERROR_SIZE, "%s", why);
}

static inline void home_pe_spawned(void *context, uint32_t pe)
{
    (void)context;
    require(pe >= 1 && pe <= PES);
}

static inline void home_spawned(void *context, struct crew *crew)
{
    (void)crew;
    home_of(context)->spawned++;
}

static inline void home_spawn_failed(void *context, const char *why)
{
    home_of(context)->failed++;
    snprintf(home_of(context)->why, JOB_ERROR_SIZE, "%s", why);
}

static inline void home_started(void *context, uint32_t pe)
{
    require(pe >= 1 && pe <= PES);
    home_of(context)->started++;
}

static inline void home_died(void *context, uint32_t pe, const char *host, int code, int number)
{
    require(pe >= 1 && pe <= PES && strcmp(host, "far") == 0);
    home_of(context)->died[pe - 1]++;
    home_of(context)->code[pe - 1] = number != 0 ? -number : code;
}

static inline void home_exited(void *context, uint32_t pe, int32_t code, const char *text,
                               size_t size)
{
    (void)code, (void)text, (void)size;
    require(pe >= 1 && pe <= PES);
    home_of(context)->exited++;
}

static inline void home_broken(void *context, const char *what)
{
    home_of(context)->broken++;
    snprintf(home_of(context)->why, JOB_ERROR_SIZE, "%s", what);
}

static inline void home_parted(void *context, struct crew *crew, uint32_t node, const char *why)
{
    (void)context, (void)crew, (void)node, (void)why;
}

static inline void home_lost(void *context, struct crew *crew, const char *why)
{
    (void)crew;
    home_of(context)->lost++;
    snprintf(home_of(context)->why, JOB_ERROR_SIZE, "%s", why);
}

/* With faults there is often none; the tick asks again. */
static inline char *home_room(void *context, uint32_t pe, enum output_stream stream, size_t *room)
{
    struct home *home = context;

    (void)stream;
    require(pe >= 1 && pe <= PES);
    *room = home->bench->faults && throw_of(home->bench, 3) == 0 ? 0 : sizeof(home->buffer);
    return home->buffer;
}

static inline void home_filled(void *context, uint32_t pe, enum output_stream stream, size_t size)
{
    struct home *home = context;

    (void)stream;
    require(home->size[pe - 1] + size <= MAX_OUTPUT);
    memcpy(home->output[pe - 1] + home->size[pe - 1], home->buffer, size);
    home->size[pe - 1] += size;
}

static inline void home_ended(void *context, uint32_t pe, enum output_stream stream)
{
    (void)pe, (void)stream;
    home_of(context)->streams_ended++;
}

static inline void home_pump(void *context)
{
    (void)context;
}

static inline void home_input_credit(void *context, uint32_t bytes, bool closed)
{
    (void)closed;
    home_of(context)->credit += bytes;
}

static const struct crew_listener home_listener = {
    .prepared = home_prepared,
    .unprepared = home_unprepared,
    .pe_spawned = home_pe_spawned,
    .spawned = home_spawned,
    .spawn_failed = home_spawn_failed,
    .started = home_started,
    .died = home_died,
    .exited = home_exited,
    .broken = home_broken,
    .parted = home_parted,
    .lost = home_lost,
    .room = home_room,
    .filled = home_filled,
    .ended = home_ended,
    .pump = home_pump,
    .input_credit = home_input_credit,
};

/* ---- a job ---- */

/* A Prepare for a job whose PE 0 is at home and the others far; it stays as it is until the next. */
static inline C4p__Prepare *prepare_make(uint64_t job, uint64_t attempt, const char *script)
{
    static C4p__Prepare prepare;
    static C4p__JobNode near, far, *nodes[] = {&near, &far};
    static ProtobufCBinaryData argv[3], env[1];
    static uint8_t secret[PLANE_SECRET_SIZE] = {7};
    const char *const words[] = {"/bin/sh", "-c", script};

    c4p__prepare__init(&prepare);
    c4p__job_node__init(&near);
    c4p__job_node__init(&far);
    near.key = (ProtobufCBinaryData){NODE_KEY_SIZE, (uint8_t *)(uintptr_t)home_key.bytes};
    near.name = (char *)(uintptr_t) "near";
    near.data = (char *)(uintptr_t) "tcp://127.0.0.1:9";
    near.pes = 1;
    far = near;
    far.key.data = (uint8_t *)(uintptr_t)guest_key.bytes;
    far.name = (char *)(uintptr_t) "far";
    far.first_pe = 1;
    far.pes = PES;
    for (size_t i = 0; i < 3; i++)
        argv[i] = (ProtobufCBinaryData){strlen(words[i]), (uint8_t *)(uintptr_t)words[i]};
    env[0] = (ProtobufCBinaryData){18, (uint8_t *)(uintptr_t) "PATH=/bin:/usr/bin"};
    prepare.job = job;
    prepare.attempt = attempt;
    prepare.epoch = (uint32_t)job;
    prepare.node = 1;
    prepare.n_nodes = 2;
    prepare.nodes = nodes;
    prepare.region_size = 4 << 20;
    prepare.secret = (ProtobufCBinaryData){sizeof(secret), secret};
    prepare.n_argv = 3;
    prepare.argv = argv;
    prepare.n_env = 1;
    prepare.env = env;
    prepare.cwd = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "/"};
    return &prepare;
}

static inline struct home *home_open(struct bench *bench, uint64_t job, const char *script)
{
    struct home *home = &bench->homes[job];
    struct remote_crew_settings settings = {.base = bench->base,
                                            .courier = {carry_to_guest, bench},
                                            .key = guest_key,
                                            .name = "far",
                                            .node = 1,
                                            .first_pe = 1,
                                            .pes = PES,
                                            .prepare = prepare_make(job, 1, script),
                                            .listener = home_listener};

    memset(home, 0, sizeof(*home));
    home->bench = bench;
    settings.listener.context = home;
    home->crew = remote_crew_create(&settings);
    require(home->crew != NULL && !crew_prepare(home->crew));
    return home;
}

static inline void home_close(struct home *home)
{
    crew_destroy(home->crew);
    home->crew = NULL;
}

/* ---- the node with the guests ---- */

static inline const struct node_key *host_self(void *context)
{
    (void)context;
    return &guest_key;
}

static inline bool host_hold(void *context, const struct node_key *home, uint64_t job,
                             uint64_t attempt)
{
    struct bench *bench = context;

    (void)home;
    if (bench->refuse || bench->attempts[job] != 0)
        return false;
    bench->attempts[job] = attempt;
    bench->held++;
    return true;
}

static inline void host_free(void *context, const struct node_key *home, uint64_t job)
{
    struct bench *bench = context;

    (void)home;
    require(bench->attempts[job] != 0);
    bench->attempts[job] = 0;
    bench->held--;
}

static inline void host_mark(void *context, uint64_t job, char mark[REMAINS_MARK_SIZE])
{
    (void)context, (void)job;
    snprintf(mark, REMAINS_MARK_SIZE, "test");
}

static inline void host_ended(void *context)
{
    (void)context;
}

static inline void on_child(evutil_socket_t number, short what, void *argument)
{
    struct bench *bench = argument;
    siginfo_t info = {.si_pid = 0};

    (void)number, (void)what;
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0) {
        if (!guests_child_died(bench->guests, info.si_pid))
            waitpid(info.si_pid, NULL, 0);
        info.si_pid = 0;
    }
}

static inline void on_tick(evutil_socket_t fd, short what, void *argument)
{
    struct bench *bench = argument;

    (void)fd, (void)what;
    while (!bench->by_hand && bench->count > (bench->faults ? 2 : 0))
        way_deliver(bench);
    if (bench->faults && bench->count > 0)
        way_deliver(bench);
    for (unsigned i = 1; i <= JOBS; i++)
        if (bench->homes[i].crew != NULL)
            crew_resume(bench->homes[i].crew);
}

static inline void bench_open(struct bench *bench)
{
    struct guests_settings settings = {
        .place = &bench->place,
        .courier = {carry_to_home, bench},
        .host = {host_self, host_hold, host_free, host_mark, host_ended, bench},
    };
    char sentence[PLANE_ERROR_SIZE];

    memset(bench, 0, sizeof(*bench));
    bench->random = 1;
    bench->home_incarnation = bench->guest_incarnation = 5;
    bench->base = event_base_new();
    require(bench->base != NULL);
    bench->signals = signals_create(bench->base);
    require(bench->signals != NULL);
    signals_watch(bench->signals, SIGCHLD, on_child, bench);
    bench->place = (struct job_place){.base = bench->base, .host = "far", .files = {1024, 1024}};
    bench->place.plane = plane_create(&(struct plane_settings){.base = bench->base}, sentence);
    require(bench->place.plane != NULL);
    bench->tick = event_new(bench->base, -1, EV_PERSIST, on_tick, bench);
    require(bench->tick != NULL && event_add(bench->tick, &(struct timeval){0, 2000}) == 0);
    bench->guests = guests_create(&settings);
    require(bench->guests != NULL);
}

static inline void bench_close(struct bench *bench)
{
    for (unsigned i = 1; i <= JOBS; i++)
        home_close(&bench->homes[i]);
    guests_destroy(bench->guests);
    while (bench->count > 0)
        c4p__peer__free_unpacked(way_take(bench, 0), NULL);
    plane_destroy(bench->place.plane);
    signals_destroy(bench->signals);
    event_free(bench->tick);
    event_base_free(bench->base);
}

#define wait_until(bench, condition)                                                               \
    do {                                                                                           \
        int64_t until = clock_ms() + DEADLINE_MS;                                                  \
                                                                                                   \
        while (!(condition)) {                                                                     \
            if (clock_ms() > until)                                                                \
                fail_msg("not within %d s: %s", DEADLINE_MS / 1000, #condition);                   \
            require(event_base_loop((bench)->base, EVLOOP_ONCE) >= 0);                             \
        }                                                                                          \
    } while (0)

#endif
