#define _GNU_SOURCE
#include "daemon/jobs/local_crew.h"

#include <errno.h>
#include <event2/event.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/jobs/feed.h"
#include "daemon/jobs/launch.h"
#include "daemon/log.h"
#include "daemon/router/router.h"

#define DEFAULT_REGION_MIN (64ull << 20)
#define DEFAULT_REGION_MAX (64ull << 30)

/* One of a PE's two output pipes, from here. */
struct source {
    struct local_crew *crew;
    uint32_t pe;
    enum output_stream stream;
    int fd; /* -1: read to its end */
    bool paused;
    struct event *readable;
};

struct pe {
    pid_t pid; /* 0: not spawned, or reaped */
    bool started;
    bool gone; /* reaped: what its pipes still hold is all there will be */
    struct source source[2];
};

struct local_crew {
    struct crew crew;
    char subject[32];
    char host[NODE_NAME_MAX + 1];  /* the node, as others know it */
    const struct job_place *place; /* borrowed */
    struct launch launch;
    struct router *router;
    struct feed feed;
    struct pe *pes;
    bool exited, exited_badly; /* C4P_EXIT was told: with code 0, with another one */
};

static struct local_crew *local_of(struct crew *crew)
{
    return (struct local_crew *)crew;
}

static struct pe *pe_of(struct local_crew *local, uint32_t pe)
{
    return &local->pes[pe - local->crew.first_pe];
}

static void crew_pump(struct local_crew *local)
{
    local->crew.listener.pump(local->crew.listener.context);
}

/* ---- output ---- */

static void source_close(struct source *source)
{
    if (source->readable != NULL)
        event_free(source->readable);
    source->readable = NULL;
    if (source->fd >= 0)
        close(source->fd);
    source->fd = -1;
    source->paused = false;
}

/*
 * Read once. True if there may be more: not at the end, nor short of room,
 * nor (for now) of bytes.
 */
static bool source_read(struct source *source)
{
    const struct crew_listener *listener = &source->crew->crew.listener;
    size_t room;
    char *buffer = listener->room(listener->context, source->pe, source->stream, &room);
    ssize_t rc;

    if (room == 0) {
        event_del(source->readable);
        source->paused = true;
        return false;
    }
    rc = read(source->fd, buffer, room);
    if (rc > 0) {
        listener->filled(listener->context, source->pe, source->stream, (size_t)rc);
        return true;
    }
    if (rc < 0 && (errno == EINTR || (errno == EAGAIN && !pe_of(source->crew, source->pe)->gone)))
        return errno == EINTR;
    source_close(source);
    listener->ended(listener->context, source->pe, source->stream);
    return false;
}

static void source_drain(struct source *source)
{
    while (source->fd >= 0 && source_read(source))
        continue;
}

static void source_on_readable(evutil_socket_t fd, short what, void *argument)
{
    struct source *source = argument;

    (void)fd;
    (void)what;
    source_read(source);
    crew_pump(source->crew);
}

/* A paused source goes on once there is room. One of a dead PE gets no more events: read it here. */
static void source_resume(struct source *source)
{
    const struct crew_listener *listener = &source->crew->crew.listener;
    size_t room;

    listener->room(listener->context, source->pe, source->stream, &room);
    if (room == 0)
        return;
    source->paused = false;
    if (pe_of(source->crew, source->pe)->gone)
        source_drain(source);
    else
        event_add(source->readable, NULL);
}

static bool local_resume(struct crew *crew)
{
    struct local_crew *local = local_of(crew);
    bool any = false;

    for (uint32_t i = 0; i < 2 * crew->pes; i++) {
        struct source *source = &local->pes[i / 2].source[i % 2];

        if (!source->paused)
            continue;
        source_resume(source);
        any = any || !source->paused;
    }
    return any;
}

static bool local_quiet(const struct crew *crew)
{
    const struct local_crew *local = (const struct local_crew *)crew;

    for (uint32_t i = 0; i < 2 * crew->pes; i++)
        if (local->pes[i / 2].source[i % 2].fd >= 0 || local->pes[i / 2].pid > 0)
            return false;
    return true;
}

/* ---- what the router hears ---- */

static void on_started(void *context, uint32_t pe)
{
    struct local_crew *local = context;
    struct pe *it;

    if (pe - local->crew.first_pe >= local->crew.pes)
        return;
    it = pe_of(local, pe);
    /* One that is gone has said it before: only now it is heard. */
    if ((it->pid == 0 && !it->gone) || it->started)
        return;
    it->started = true;
    /* What it said before: is it what PE 0 said? */
    source_drain(&it->source[OUTPUT_STDERR]);
    local->crew.listener.started(local->crew.listener.context, pe);
}

/* Only a first one, and a first that is a failure, can decide anything: a PE may send any number. */
static void on_exited(void *context, uint32_t pe, int32_t code, const char *text, size_t size)
{
    struct local_crew *local = context;
    bool *told = code == 0 ? &local->exited : &local->exited_badly;

    if (*told || local->exited_badly)
        return;
    *told = true;
    local->crew.listener.exited(local->crew.listener.context, pe, code, text, size);
}

static void on_corrupted(void *context, const char *what)
{
    struct local_crew *local = context;
    char text[200];

    snprintf(text, sizeof(text),
             "the job's shared segment is corrupt: %s (a PE wrote outside its own data)", what);
    local->crew.listener.broken(local->crew.listener.context, text);
}

static void on_parted(void *context, uint32_t node, const char *why)
{
    struct local_crew *local = context;

    local->crew.listener.parted(local->crew.listener.context, &local->crew, node, why);
}

/* ---- starting ---- */

static bool local_prepare(struct crew *crew)
{
    (void)crew; /* it was made with all that it needs */
    return true;
}

static int source_open(struct source *source, int fd)
{
    source->fd = fd;
    source->readable =
        event_new(source->crew->place->base, fd, EV_READ | EV_PERSIST, source_on_readable, source);
    if (source->readable != NULL && event_add(source->readable, NULL) == 0)
        return 0;
    return -1;
}

static int pe_start(struct local_crew *local, uint32_t pe, char error[JOB_ERROR_SIZE])
{
    const struct crew_listener *listener = &local->crew.listener;
    struct launch_streams streams;
    pid_t pid = launch_pe(&local->launch, pe, router_segment_fd(local->router),
                          router_wake_fd(local->router), &streams, error);
    int rc = 0;

    if (pid < 0)
        return -1;
    pe_of(local, pe)->pid = pid;
    listener->pe_spawned(listener->context, pe);
    if (streams.in >= 0)
        rc = feed_open(&local->feed, local->place->base, streams.in, listener->input_credit,
                       listener->context);
    rc |= source_open(&pe_of(local, pe)->source[OUTPUT_STDOUT], streams.out);
    rc |= source_open(&pe_of(local, pe)->source[OUTPUT_STDERR], streams.err);
    if (rc != 0)
        snprintf(error, JOB_ERROR_SIZE, "cannot watch PE %u: out of memory", pe);
    return rc;
}

static void local_launch(struct crew *crew)
{
    struct local_crew *local = local_of(crew);
    const struct crew_listener *listener = &crew->listener;
    char error[JOB_ERROR_SIZE];

    for (uint32_t pe = crew->first_pe; pe < crew->first_pe + crew->pes; pe++)
        if (pe_start(local, pe, error) != 0) {
            listener->spawn_failed(listener->context, error);
            return;
        }
    listener->spawned(listener->context, crew);
    if (crew->first_pe != 0 || crew->pes == 0)
        return;
    if (local->feed.fd >= 0)
        listener->input_credit(listener->context, sizeof(local->feed.buffer), false);
    else
        listener->input_credit(listener->context, 0, true);
}

static int local_input(struct crew *crew, const void *data, size_t size, bool eof)
{
    return feed_put(&local_of(crew)->feed, data, size, eof);
}

static uint32_t local_input_room(const struct crew *crew, bool *closed)
{
    const struct feed *feed = &((const struct local_crew *)crew)->feed;

    *closed = feed->fd < 0 || feed->eof;
    return *closed ? 0 : (uint32_t)sizeof(feed->buffer) - feed->size;
}

/* ---- ending ---- */

static void local_stop_pes(struct crew *crew, uint32_t except)
{
    router_stop_pes(local_of(crew)->router, except);
}

static void local_signal(struct crew *crew, int number)
{
    struct local_crew *local = local_of(crew);

    for (uint32_t i = 0; i < crew->pes; i++)
        if (local->pes[i].pid > 0 && kill(-local->pes[i].pid, number) != 0)
            kill(local->pes[i].pid, number);
}

static struct pe *pe_of_pid(struct local_crew *local, pid_t pid)
{
    for (uint32_t i = 0; i < local->crew.pes; i++)
        if (local->pes[i].pid == pid)
            return &local->pes[i];
    return NULL;
}

static bool local_child_died(struct crew *crew, pid_t pid)
{
    struct local_crew *local = local_of(crew);
    struct pe *pe = pe_of_pid(local, pid);
    int status = 0, code, number;
    uint32_t rank;

    if (pe == NULL)
        return false;
    /* While it is a zombie its number is nobody else's: whatever it left behind in its group goes. */
    kill(-pid, SIGKILL);
    if (waitpid(pid, &status, 0) != pid)
        return false;
    pe->pid = 0;
    pe->gone = true;
    rank = crew->first_pe + (uint32_t)(pe - local->pes);
    code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    log_write(LOG_DEBUG, local->subject, "PE %u ended, %s %d", rank, number ? "signal" : "code",
              number ? number : code);

    /* Its last words: messages and output. It may have died before it woke their receivers. */
    router_wake_pes(local->router);
    router_drain(local->router);
    source_drain(&pe->source[OUTPUT_STDOUT]);
    source_drain(&pe->source[OUTPUT_STDERR]);
    if (rank == 0)
        feed_close(&local->feed);
    crew->listener.died(crew->listener.context, rank, local->host, code, number);
    return true;
}

static void local_finish(struct crew *crew)
{
    struct local_crew *local = local_of(crew);

    for (uint32_t i = 0; i < crew->pes; i++)
        if (local->pes[i].pid > 0)
            local_child_died(crew, local->pes[i].pid); /* waits for it */
}

static void local_destroy(struct crew *crew)
{
    struct local_crew *local = local_of(crew);

    for (uint32_t i = 0; local->pes != NULL && i < crew->pes; i++) {
        if (local->pes[i].pid > 0) {
            kill(-local->pes[i].pid, SIGKILL);
            while (waitpid(local->pes[i].pid, NULL, 0) < 0 && errno == EINTR)
                continue;
        }
        source_close(&local->pes[i].source[OUTPUT_STDOUT]);
        source_close(&local->pes[i].source[OUTPUT_STDERR]);
    }
    feed_close(&local->feed);
    router_destroy(local->router);
    launch_free(&local->launch);
    free(local->pes);
    free(local);
}

static const struct crew_operations local_operations = {
    .prepare = local_prepare,
    .launch = local_launch,
    .stop_pes = local_stop_pes,
    .signal = local_signal,
    .resume = local_resume,
    .quiet = local_quiet,
    .input = local_input,
    .input_room = local_input_room,
    .child_died = local_child_died,
    .finish = local_finish,
    .destroy = local_destroy,
};

/* ---- making it ---- */

static uint32_t cores_count(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0 || CPU_COUNT(&set) < 1)
        return 1;
    return (uint32_t)CPU_COUNT(&set);
}

/* Half the machine's memory, shared by all endpoints that send: what is not used costs nothing. */
static uint64_t region_size_default(uint32_t endpoints)
{
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t size = memory / 2 / endpoints;

    if (size < DEFAULT_REGION_MIN)
        size = DEFAULT_REGION_MIN;
    if (size > DEFAULT_REGION_MAX)
        size = DEFAULT_REGION_MAX;
    return size / SEGMENT_REGION_ALIGN * SEGMENT_REGION_ALIGN;
}

static int router_make(struct local_crew *local, const struct crew_settings *settings,
                       char error[JOB_ERROR_SIZE])
{
    const struct router_listener listener = {on_started, on_exited, on_corrupted, on_parted, local};
    const struct job_request *request = settings->request;
    struct router_node routers[CONTROL_MAX_NODES];
    struct router_nodes nodes = span_router_nodes(settings->nodes, settings->node_count,
                                                  settings->node, settings->identity, routers);
    struct segment_geometry geometry = {
        .epoch = settings->identity->epoch,
        .pes = request->pes,
        .first_pe = local->crew.first_pe,
        .local_pes = local->crew.pes,
        .node = settings->node,
        .nodes = settings->node_count,
        .cores = cores_count(),
        .region_size = request->region_size
                           ? request->region_size
                           : region_size_default(request->pes + settings->node_count),
    };

    local->router = router_create(settings->place->plane, &geometry,
                                  settings->node_count > 1 ? &nodes : NULL, &listener);
    if (local->router == NULL)
        snprintf(error, JOB_ERROR_SIZE,
                 "cannot make the job's shared segment of %llu MiB: %s "
                 "(--segment-size sets what each PE gets of it)",
                 (unsigned long long)(geometry.size >> 20), strerror(errno));
    return local->router == NULL ? -1 : 0;
}

static int local_open(struct local_crew *local, const struct crew_settings *settings,
                      char error[JOB_ERROR_SIZE])
{
    const struct job_node *node = &settings->nodes[settings->node];

    local->crew = (struct crew){.operations = &local_operations,
                                .node = settings->node,
                                .first_pe = node->first_pe,
                                .pes = node->pes,
                                .listener = settings->listener};
    snprintf(local->subject, sizeof(local->subject), "%s", settings->subject);
    snprintf(local->host, sizeof(local->host), "%s", node->name);
    local->place = settings->place;
    local->feed.fd = -1;
    local->pes = calloc(node->pes + 1, sizeof(*local->pes));
    if (local->pes == NULL) {
        snprintf(error, JOB_ERROR_SIZE, "cannot make the job: out of memory");
        return -1;
    }
    for (uint32_t i = 0; i < 2 * node->pes; i++)
        local->pes[i / 2].source[i % 2] = (struct source){.crew = local,
                                                          .pe = node->first_pe + i / 2,
                                                          .stream = (enum output_stream)(i % 2),
                                                          .fd = -1};
    /* Where no PE is, the program need not be. */
    if (node->pes > 0 &&
        launch_init(&local->launch, settings->request, settings->place, error) != 0)
        return -1;
    return router_make(local, settings, error);
}

struct crew *local_crew_create(const struct crew_settings *settings, char error[JOB_ERROR_SIZE])
{
    struct local_crew *local = calloc(1, sizeof(*local));

    if (local == NULL) {
        snprintf(error, JOB_ERROR_SIZE, "cannot make the job: out of memory");
        return NULL;
    }
    if (local_open(local, settings, error) != 0) {
        local_destroy(&local->crew);
        return NULL;
    }
    return &local->crew;
}

struct router *local_crew_router(struct crew *crew)
{
    return local_of(crew)->router;
}
