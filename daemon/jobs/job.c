#define _GNU_SOURCE
#include "daemon/jobs/job.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/jobs/feed.h"
#include "daemon/jobs/launch.h"
#include "daemon/jobs/transcript.h"
#include "daemon/log.h"
#include "daemon/router/router.h"
#include "daemon/words.h"
#include "proto/clock.h"
#include "proto/control.h"

#define DEFAULT_REGION_MIN (64ull << 20)
#define DEFAULT_REGION_MAX (64ull << 30)

/* Ten years: more is a mistake, and timers count in seconds. */
#define MAX_TIME_LIMIT_MS (10ull * 366 * 24 * 60 * 60 * 1000)

/* One of a PE's two output pipes, from here. */
struct source {
    struct job *job;
    uint32_t pe;
    enum output_stream stream;
    int fd; /* -1: read to its end */
    bool paused;
    struct event *readable;
};

struct pe {
    pid_t pid; /* 0: not spawned, or reaped */
    bool gone; /* reaped: what its pipes still hold is all there will be */
    struct source source[2];
};

struct job {
    uint64_t id;
    char subject[32]; /* "job 7k2m9x4c", for the log */
    struct job_place place;
    struct job_listener listener;
    struct launch launch;
    struct job_life life;
    struct router *router;
    struct output *output;
    struct transcript *transcript; /* borrowed */
    struct feed feed;
    struct event *life_timer, *output_timer, *limit_timer;
    struct pe *pes;
    uint64_t time_limit_ms;
    bool finished;    /* whoever does not keep up is not waited for */
    bool over, ended; /* no PE is left; the listener has been told */
    char *text;       /* of C4P_EXIT */
    size_t text_size;
};

static void job_pump(struct job *job);

/* ---- carrying out what life decides ---- */

static void signal_all(struct job *job, int number)
{
    for (uint32_t pe = 0; pe < job->life.pes; pe++)
        if (job->pes[pe].pid > 0 && kill(-job->pes[pe].pid, number) != 0)
            kill(job->pes[pe].pid, number);
}

static void timer_set(struct event *timer, int64_t at)
{
    int64_t wait = at - clock_ms();
    struct timeval delay;

    if (wait < 0)
        wait = 0;
    delay.tv_sec = wait / 1000;
    delay.tv_usec = wait % 1000 * 1000;
    event_add(timer, &delay);
}

static void state_changed(struct job *job, const struct life_action *action)
{
    /* That it was queued and how it ended is said by who keeps the queue. */
    log_write(action->to == JOB_RUNNING ? LOG_INFO : LOG_DEBUG, job->subject, "%s->%s %.3fs",
              job_state_name(action->from), job_state_name(action->to),
              (double)action->elapsed_ms / 1000);
    job->listener.changed(job->listener.context, job->id, action->to);
}

static void job_over(struct job *job)
{
    job->over = true;
    event_del(job->life_timer);
    event_del(job->limit_timer);
    output_settle_all(job->output);
    feed_close(&job->feed);
    job_pump(job);
}

static void action_perform(struct job *job, const struct life_action *action)
{
    switch (action->kind) {
    case LIFE_CHANGED:
        state_changed(job, action);
        break;
    case LIFE_TELL_STOP:
        router_stop_pes(job->router, action->pe);
        break;
    case LIFE_SIGNAL:
        signal_all(job, action->signal);
        break;
    case LIFE_WAKE_AT:
        timer_set(job->life_timer, action->at);
        break;
    case LIFE_OVER:
        job_over(job);
        break;
    }
}

static void job_event(struct job *job, const struct life_event *event)
{
    struct life_action action[LIFE_MAX_ACTIONS];
    unsigned actions;

    life_input(&job->life, event, clock_ms());
    /* A listener may cause the next event before this one is dealt with. */
    actions = job->life.actions;
    memcpy(action, job->life.action, actions * sizeof(*action));
    for (unsigned i = 0; i < actions; i++)
        action_perform(job, &action[i]);
}

static void job_on_life_timer(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    job_event(argument, &(struct life_event){.kind = LIFE_TIMER});
}

static void job_on_limit_timer(evutil_socket_t fd, short what, void *argument)
{
    struct job *job = argument;
    char limit[WORDS_SIZE];

    (void)fd;
    (void)what;
    words_duration(job->time_limit_ms, limit);
    job_event(job, &(struct life_event){.kind = LIFE_TOO_LONG, .text = limit});
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
    struct job *job = source->job;
    size_t room;
    char *buffer = output_room(job->output, source->pe, source->stream, &room);
    ssize_t rc;

    if (room == 0) {
        event_del(source->readable);
        source->paused = true;
        return false;
    }
    rc = read(source->fd, buffer, room);
    if (rc > 0) {
        output_filled(job->output, source->pe, source->stream, (size_t)rc, clock_ms());
        return true;
    }
    if (rc < 0 && (errno == EINTR || (errno == EAGAIN && !job->pes[source->pe].gone)))
        return errno == EINTR;
    source_close(source);
    output_ended(job->output, source->pe, source->stream);
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
    job_pump(source->job);
}

/* A paused source goes on once there is room. One of a dead PE gets no more events: read it here. */
static void source_resume(struct source *source)
{
    size_t room;

    output_room(source->job->output, source->pe, source->stream, &room);
    if (room == 0)
        return;
    source->paused = false;
    if (source->job->pes[source->pe].gone)
        source_drain(source);
    else
        event_add(source->readable, NULL);
}

/* The PE's standard error up to now is known: is it what PE 0 said? */
static void pe_settle(struct job *job, uint32_t pe)
{
    source_drain(&job->pes[pe].source[OUTPUT_STDERR]);
    output_settle(job->output, pe);
}

static bool sources_resume(struct job *job)
{
    bool any = false;

    for (uint32_t i = 0; i < 2 * job->life.pes; i++) {
        struct source *source = &job->pes[i / 2].source[i % 2];

        if (!source->paused)
            continue;
        source_resume(source);
        any = any || !source->paused;
    }
    return any;
}

static bool sources_closed(const struct job *job)
{
    for (uint32_t i = 0; i < 2 * job->life.pes; i++)
        if (job->pes[i / 2].source[i % 2].fd >= 0)
            return false;
    return true;
}

static bool followers_keep_up(const struct job *job)
{
    return job->finished || job->listener.keeps_up(job->listener.context, job->id);
}

static void job_tell_ended(struct job *job)
{
    char tail[OUTPUT_TAIL_BYTES];
    struct job_end end = {
        .state = job->life.state,
        .exit_code = job->life.exit_code,
        .message = job->life.message,
        .tail = tail,
        .text = job->text,
        .text_size = job->text_size,
    };

    job->ended = true;
    event_del(job->output_timer);
    if (job->life.blamed < job->life.pes)
        end.tail_size = output_tail(job->output, job->life.blamed, tail);
    job->listener.ended(job->listener.context, job->id, &end);
}

/* Keep what there is as far as the followers keep up, and read on where that made room. */
static void job_pump(struct job *job)
{
    struct output_piece piece;
    bool flows, fresh = false;
    int64_t deadline;

    if (job->ended)
        return;
    do {
        while ((flows = followers_keep_up(job)) && output_next(job->output, clock_ms(), &piece)) {
            transcript_append(job->transcript, &piece);
            fresh = true;
        }
    } while (sources_resume(job) && flows);
    if (fresh)
        job->listener.output(job->listener.context, job->id);
    if (!flows)
        return;
    deadline = output_deadline(job->output);
    if (deadline >= 0)
        timer_set(job->output_timer, deadline);
    else if (job->over && sources_closed(job))
        job_tell_ended(job);
}

static void job_on_output_timer(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    job_pump(argument);
}

/* ---- what the router hears ---- */

static void on_started(void *context, uint32_t pe)
{
    struct job *job = context;

    if (pe >= job->life.pes || job->life.pe[pe] != PE_SPAWNED)
        return;
    pe_settle(job, pe);
    job_event(job, &(struct life_event){.kind = LIFE_PE_STARTED, .pe = pe});
    job_pump(job);
}

static void on_exited(void *context, uint32_t pe, int32_t code, const char *text, size_t size)
{
    struct job *job = context;
    int before = job->life.exit_code;
    bool first = !job->life.decided;

    job_event(job, &(struct life_event){.kind = LIFE_EXIT, .pe = pe, .code = code});
    /* The text goes with the code that won. */
    if (job->life.by_exit && (first || job->life.exit_code != before)) {
        free(job->text);
        job->text = malloc(size + 1);
        job->text_size = job->text == NULL ? 0 : size;
        memcpy(job->text, text, job->text_size);
    }
}

static void on_corrupted(void *context, const char *what)
{
    struct job *job = context;
    char text[200];

    snprintf(text, sizeof(text),
             "the job's shared segment is corrupt: %s (a PE wrote outside its own data)", what);
    job_event(job, &(struct life_event){.kind = LIFE_CORRUPT, .text = text});
}

static void on_input_credit(void *context, uint32_t bytes, bool closed)
{
    struct job *job = context;

    job->listener.input_credit(job->listener.context, job->id, bytes, closed);
}

/* ---- making it ---- */

static uint32_t cores_count(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0 || CPU_COUNT(&set) < 1)
        return 1;
    return (uint32_t)CPU_COUNT(&set);
}

/* Half the machine's memory, shared by all endpoints that send: what is not used costs nothing. */
static uint64_t region_size_default(uint32_t pes)
{
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t size = memory / 2 / (pes + 1);

    if (size < DEFAULT_REGION_MIN)
        size = DEFAULT_REGION_MIN;
    if (size > DEFAULT_REGION_MAX)
        size = DEFAULT_REGION_MAX;
    return size / SEGMENT_REGION_ALIGN * SEGMENT_REGION_ALIGN;
}

static int router_make(struct job *job, uint64_t region_size, char error[JOB_ERROR_SIZE])
{
    const struct router_listener listener = {on_started, on_exited, on_corrupted, job};
    struct segment_geometry geometry = {
        .pes = job->life.pes,
        .local_pes = job->life.pes,
        .nodes = 1,
        .cores = cores_count(),
        .region_size = region_size ? region_size : region_size_default(job->life.pes),
    };

    if (getrandom(&geometry.epoch, sizeof(geometry.epoch), 0) != sizeof(geometry.epoch))
        geometry.epoch = (uint32_t)clock_ms();
    job->router = router_create(job->place.base, &geometry, &listener);
    if (job->router == NULL)
        snprintf(error, JOB_ERROR_SIZE,
                 "cannot make the job's shared segment of %llu MiB: %s "
                 "(--segment-size sets what each PE gets of it)",
                 (unsigned long long)(geometry.size >> 20), strerror(errno));
    return job->router == NULL ? -1 : 0;
}

int job_check(const struct job_request *request, char error[JOB_ERROR_SIZE])
{
    struct stat directory;
    char path[PATH_MAX], limit[WORDS_SIZE];
    bool aligned = request->region_size % SEGMENT_REGION_ALIGN == 0;

    if (request->pes > SEGMENT_MAX_PES) {
        snprintf(error, JOB_ERROR_SIZE, "a job has 1 to %d PEs, not %u", SEGMENT_MAX_PES,
                 request->pes);
        return -1;
    }
    if (request->region_size != 0 && (request->region_size < SEGMENT_MIN_REGION ||
                                      request->region_size > SEGMENT_MAX_REGION || !aligned)) {
        snprintf(error, JOB_ERROR_SIZE,
                 "the segment size must be a multiple of %u MiB, from %u MiB to %u GiB",
                 (unsigned)(SEGMENT_REGION_ALIGN >> 20), (unsigned)(SEGMENT_MIN_REGION >> 20),
                 (unsigned)(SEGMENT_MAX_REGION >> 30));
        return -1;
    }
    if (request->time_limit_ms > MAX_TIME_LIMIT_MS) {
        snprintf(error, JOB_ERROR_SIZE, "a time limit of %s is too long: at most %d days",
                 words_duration(request->time_limit_ms, limit), 10 * 366);
        return -1;
    }
    if (*request->cwd != '/' || stat(request->cwd, &directory) != 0 ||
        (errno = ENOTDIR, !S_ISDIR(directory.st_mode)) || access(request->cwd, X_OK) != 0) {
        snprintf(error, JOB_ERROR_SIZE, "the directory %.150s: %s", request->cwd,
                 *request->cwd != '/' ? "is no absolute path" : strerror(errno));
        return -1;
    }
    return launch_find(request, path, error);
}

static int job_parts_make(struct job *job, const struct job_request *request,
                          char error[JOB_ERROR_SIZE])
{
    if (job_check(request, error) != 0 ||
        launch_init(&job->launch, request, &job->place, error) != 0)
        return -1;
    job->time_limit_ms = request->time_limit_ms;
    job->pes = calloc(request->pes, sizeof(*job->pes));
    job->output = output_create(request->pes);
    job->life_timer = evtimer_new(job->place.base, job_on_life_timer, job);
    job->output_timer = evtimer_new(job->place.base, job_on_output_timer, job);
    job->limit_timer = evtimer_new(job->place.base, job_on_limit_timer, job);
    if (job->pes == NULL || job->output == NULL || job->life_timer == NULL ||
        job->output_timer == NULL || job->limit_timer == NULL ||
        life_init(&job->life, request->pes, request->queued) != 0) {
        snprintf(error, JOB_ERROR_SIZE, "cannot make the job: out of memory");
        return -1;
    }
    for (uint32_t i = 0; i < 2 * request->pes; i++)
        job->pes[i / 2].source[i % 2] = (struct source){
            .job = job, .pe = i / 2, .stream = (enum output_stream)(i % 2), .fd = -1};
    /* It has waited in the queue; what happens to it here begins with its turn. */
    life_input(&job->life, &(struct life_event){.kind = LIFE_STEP, .step = JOB_ADMITTED},
               request->queued);
    return router_make(job, request->region_size, error);
}

struct job *job_create(uint64_t id, const struct job_request *request,
                       const struct job_place *place, struct transcript *transcript,
                       const struct job_listener *listener, char error[JOB_ERROR_SIZE])
{
    struct job *job = calloc(1, sizeof(*job));
    char text[CONTROL_ID_CHARS + 1];

    if (job == NULL) {
        snprintf(error, JOB_ERROR_SIZE, "cannot make the job: out of memory");
        return NULL;
    }
    job->id = id;
    job->place = *place;
    job->listener = *listener;
    job->transcript = transcript;
    job->feed.fd = -1;
    control_id_format(id, text);
    snprintf(job->subject, sizeof(job->subject), "job %s", text);
    if (job_parts_make(job, request, error) != 0) {
        job_destroy(job);
        return NULL;
    }
    return job;
}

void job_destroy(struct job *job)
{
    if (job == NULL)
        return;
    for (uint32_t pe = 0; job->pes != NULL && pe < job->life.pes; pe++) {
        if (job->pes[pe].pid > 0) {
            kill(-job->pes[pe].pid, SIGKILL);
            while (waitpid(job->pes[pe].pid, NULL, 0) < 0 && errno == EINTR)
                continue;
        }
        source_close(&job->pes[pe].source[OUTPUT_STDOUT]);
        source_close(&job->pes[pe].source[OUTPUT_STDERR]);
    }
    feed_close(&job->feed);
    if (job->life_timer != NULL)
        event_free(job->life_timer);
    if (job->output_timer != NULL)
        event_free(job->output_timer);
    if (job->limit_timer != NULL)
        event_free(job->limit_timer);
    router_destroy(job->router);
    output_destroy(job->output);
    launch_free(&job->launch);
    life_free(&job->life);
    free(job->pes);
    free(job->text);
    free(job);
}

/* ---- starting ---- */

static int source_open(struct source *source, int fd)
{
    source->fd = fd;
    source->readable =
        event_new(source->job->place.base, fd, EV_READ | EV_PERSIST, source_on_readable, source);
    if (source->readable != NULL && event_add(source->readable, NULL) == 0)
        return 0;
    return -1;
}

static int pe_start(struct job *job, uint32_t pe, char error[JOB_ERROR_SIZE])
{
    struct launch_streams streams;
    pid_t pid = launch_pe(&job->launch, pe, router_segment_fd(job->router),
                          router_wake_fd(job->router), &streams, error);
    int rc = 0;

    if (pid < 0)
        return -1;
    job->pes[pe].pid = pid;
    job_event(job, &(struct life_event){.kind = LIFE_PE_SPAWNED, .pe = pe});
    if (streams.in >= 0)
        rc = feed_open(&job->feed, job->place.base, streams.in, on_input_credit, job);
    rc |= source_open(&job->pes[pe].source[OUTPUT_STDOUT], streams.out);
    rc |= source_open(&job->pes[pe].source[OUTPUT_STDERR], streams.err);
    if (rc != 0)
        snprintf(error, JOB_ERROR_SIZE, "cannot watch PE %u: out of memory", pe);
    return rc;
}

void job_start(struct job *job)
{
    static const enum job_event steps[] = {JOB_CHOSEN, JOB_RESERVED};
    char error[JOB_ERROR_SIZE];

    for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++)
        job_event(job, &(struct life_event){.kind = LIFE_STEP, .step = steps[i]});
    for (uint32_t pe = 0; pe < job->life.pes; pe++)
        if (pe_start(job, pe, error) != 0) {
            job_event(job, &(struct life_event){.kind = LIFE_SPAWN_FAILED, .text = error});
            return;
        }
    if (job->time_limit_ms != 0)
        timer_set(job->limit_timer, clock_ms() + (int64_t)job->time_limit_ms);
    job_event(job, &(struct life_event){.kind = LIFE_STEP, .step = JOB_SPAWNED});
    if (job->feed.fd >= 0)
        on_input_credit(job, sizeof(job->feed.buffer), false);
    else
        on_input_credit(job, 0, true);
}

void job_resume(struct job *job)
{
    job_pump(job);
}

int job_input(struct job *job, const void *data, size_t size, bool eof)
{
    return feed_put(&job->feed, data, size, eof);
}

uint32_t job_input_room(const struct job *job, bool *closed)
{
    *closed = job->feed.fd < 0 || job->feed.eof;
    return *closed ? 0 : (uint32_t)sizeof(job->feed.buffer) - job->feed.size;
}

bool job_lives(const struct job *job)
{
    return job->life.living > 0;
}

struct router *job_router(struct job *job)
{
    return job->router;
}

/* ---- the end ---- */

void job_cancel(struct job *job, bool kill, const char *why)
{
    job_event(job, &(struct life_event){.kind = kill ? LIFE_KILL : LIFE_CANCEL, .text = why});
}

void job_close(struct job *job, const char *why)
{
    job_event(job, &(struct life_event){.kind = LIFE_CLOSE, .text = why});
}

void job_finish(struct job *job, const char *why)
{
    job->finished = true;
    job_cancel(job, true, why);
    for (uint32_t pe = 0; pe < job->life.pes; pe++)
        if (job->pes[pe].pid > 0)
            job_child_died(job, job->pes[pe].pid); /* waits for it */
    job_pump(job);
    if (!job->ended)
        job_tell_ended(job);
}

/* ---- deaths ---- */

static struct pe *pe_of_pid(struct job *job, pid_t pid)
{
    for (uint32_t pe = 0; pe < job->life.pes; pe++)
        if (job->pes[pe].pid == pid)
            return &job->pes[pe];
    return NULL;
}

bool job_child_died(struct job *job, pid_t pid)
{
    struct pe *pe = pe_of_pid(job, pid);
    struct life_event event = {.kind = LIFE_PE_DIED, .text = job->place.host};
    int status = 0;

    if (pe == NULL)
        return false;
    /* While it is a zombie its number is nobody else's: whatever it left behind in its group goes. */
    kill(-pid, SIGKILL);
    if (waitpid(pid, &status, 0) != pid)
        return false;
    pe->pid = 0;
    pe->gone = true;
    event.pe = (uint32_t)(pe - job->pes);
    event.code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    event.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    log_write(LOG_DEBUG, job->subject, "PE %u ended, %s %d", event.pe,
              event.signal ? "signal" : "code", event.signal ? event.signal : event.code);

    /* Its last words: messages and output. It may have died before it woke their receivers. */
    router_wake_pes(job->router);
    router_drain(job->router);
    source_drain(&pe->source[OUTPUT_STDOUT]);
    pe_settle(job, event.pe);
    job_event(job, &event);
    job_pump(job);
    return true;
}
