#define _GNU_SOURCE
#include "daemon/jobs/job.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/jobs/launch.h"
#include "daemon/jobs/local_crew.h"
#include "daemon/jobs/transcript.h"
#include "daemon/log.h"
#include "daemon/words.h"
#include "proto/clock.h"
#include "proto/control.h"
#include "proto/segment.h"

/* Ten years: more is a mistake, and timers count in seconds. */
#define MAX_TIME_LIMIT_MS (10ull * 366 * 24 * 60 * 60 * 1000)

struct job {
    uint64_t id;
    char subject[32]; /* "job 7k2m9x4c", for the log */
    struct job_place place;
    struct job_listener listener;
    struct job_life life;
    struct crew *crews[JOB_MAX_NODES]; /* by their nodes: in the order of their PEs */
    uint32_t nodes, launched;          /* crews, and those whose PEs are all spawned */
    uint32_t epoch;
    struct output *output;
    struct transcript *transcript; /* borrowed */
    struct event *life_timer, *output_timer, *limit_timer;
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
    for (uint32_t node = 0; node < job->nodes; node++)
        crew_signal(job->crews[node], number);
}

static void stop_pes(struct job *job, uint32_t except)
{
    for (uint32_t node = 0; node < job->nodes; node++)
        crew_stop_pes(job->crews[node], except);
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
    job_pump(job);
}

static void action_perform(struct job *job, const struct life_action *action)
{
    switch (action->kind) {
    case LIFE_CHANGED:
        state_changed(job, action);
        break;
    case LIFE_TELL_STOP:
        stop_pes(job, action->pe);
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

static bool crews_resume(struct job *job)
{
    bool any = false;

    for (uint32_t node = 0; node < job->nodes; node++)
        any = crew_resume(job->crews[node]) || any;
    return any;
}

static bool crews_quiet(const struct job *job)
{
    for (uint32_t node = 0; node < job->nodes; node++)
        if (!crew_quiet(job->crews[node]))
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
    } while (crews_resume(job) && flows);
    if (fresh)
        job->listener.output(job->listener.context, job->id);
    if (!flows)
        return;
    deadline = output_deadline(job->output);
    if (deadline >= 0)
        timer_set(job->output_timer, deadline);
    else if (job->over && crews_quiet(job))
        job_tell_ended(job);
}

static void job_on_output_timer(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    job_pump(argument);
}

/* ---- what the crews tell ---- */

static void on_pe_spawned(void *context, uint32_t pe)
{
    job_event(context, &(struct life_event){.kind = LIFE_PE_SPAWNED, .pe = pe});
}

static void on_spawned(void *context, struct crew *crew)
{
    struct job *job = context;

    (void)crew;
    if (++job->launched < job->nodes)
        return;
    if (job->time_limit_ms != 0)
        timer_set(job->limit_timer, clock_ms() + (int64_t)job->time_limit_ms);
    job_event(job, &(struct life_event){.kind = LIFE_STEP, .step = JOB_SPAWNED});
}

static void on_spawn_failed(void *context, const char *why)
{
    job_event(context, &(struct life_event){.kind = LIFE_SPAWN_FAILED, .text = why});
}

static void on_started(void *context, uint32_t pe)
{
    struct job *job = context;

    output_settle(job->output, pe);
    job_event(job, &(struct life_event){.kind = LIFE_PE_STARTED, .pe = pe});
    job_pump(job);
}

static void on_died(void *context, uint32_t pe, const char *host, int code, int number)
{
    struct job *job = context;

    output_settle(job->output, pe);
    job_event(job,
              &(struct life_event){
                  .kind = LIFE_PE_DIED, .pe = pe, .text = host, .code = code, .signal = number});
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

static char *on_room(void *context, uint32_t pe, enum output_stream stream, size_t *room)
{
    struct job *job = context;

    return output_room(job->output, pe, stream, room);
}

static void on_filled(void *context, uint32_t pe, enum output_stream stream, size_t size)
{
    struct job *job = context;

    output_filled(job->output, pe, stream, size, clock_ms());
}

static void on_stream_ended(void *context, uint32_t pe, enum output_stream stream)
{
    struct job *job = context;

    output_ended(job->output, pe, stream);
}

static void on_pump(void *context)
{
    job_pump(context);
}

/* ---- making it ---- */

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
    job->time_limit_ms = request->time_limit_ms;
    job->output = output_create(request->pes);
    job->life_timer = evtimer_new(job->place.base, job_on_life_timer, job);
    job->output_timer = evtimer_new(job->place.base, job_on_output_timer, job);
    job->limit_timer = evtimer_new(job->place.base, job_on_limit_timer, job);
    if (job->output == NULL || job->life_timer == NULL || job->output_timer == NULL ||
        job->limit_timer == NULL || life_init(&job->life, request->pes, request->queued) != 0) {
        snprintf(error, JOB_ERROR_SIZE, "cannot make the job: out of memory");
        return -1;
    }
    /* It has waited in the queue; what happens to it here begins with its turn. */
    life_input(&job->life, &(struct life_event){.kind = LIFE_STEP, .step = JOB_ADMITTED},
               request->queued);
    if (getrandom(&job->epoch, sizeof(job->epoch), 0) != sizeof(job->epoch))
        job->epoch = (uint32_t)clock_ms();
    return 0;
}

static int crews_make(struct job *job, const struct job_request *request,
                      char error[JOB_ERROR_SIZE])
{
    const struct crew_listener listener = {
        .pe_spawned = on_pe_spawned,
        .spawned = on_spawned,
        .spawn_failed = on_spawn_failed,
        .started = on_started,
        .died = on_died,
        .exited = on_exited,
        .corrupted = on_corrupted,
        .room = on_room,
        .filled = on_filled,
        .ended = on_stream_ended,
        .pump = on_pump,
        .input_credit = on_input_credit,
        .context = job,
    };
    const struct crew_settings settings = {
        .subject = job->subject,
        .request = request,
        .place = &job->place,
        .epoch = job->epoch,
        .nodes = 1,
        .pes = request->pes,
        .listener = listener,
    };

    job->crews[0] = local_crew_create(&settings, error);
    if (job->crews[0] == NULL)
        return -1;
    job->nodes = 1;
    return 0;
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
    control_id_format(id, text);
    snprintf(job->subject, sizeof(job->subject), "job %s", text);
    if (job_check(request, error) != 0 || job_parts_make(job, request, error) != 0 ||
        crews_make(job, request, error) != 0) {
        job_destroy(job);
        return NULL;
    }
    return job;
}

void job_destroy(struct job *job)
{
    if (job == NULL)
        return;
    for (uint32_t node = 0; node < job->nodes; node++)
        crew_destroy(job->crews[node]);
    if (job->life_timer != NULL)
        event_free(job->life_timer);
    if (job->output_timer != NULL)
        event_free(job->output_timer);
    if (job->limit_timer != NULL)
        event_free(job->limit_timer);
    output_destroy(job->output);
    life_free(&job->life);
    free(job->text);
    free(job);
}

/* ---- starting ---- */

void job_start(struct job *job)
{
    static const enum job_event steps[] = {JOB_CHOSEN, JOB_RESERVED};

    for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++)
        job_event(job, &(struct life_event){.kind = LIFE_STEP, .step = steps[i]});
    for (uint32_t node = 0; node < job->nodes && !job->life.decided; node++)
        crew_launch(job->crews[node]);
}

void job_resume(struct job *job)
{
    job_pump(job);
}

int job_input(struct job *job, const void *data, size_t size, bool eof)
{
    return crew_input(job->crews[0], data, size, eof);
}

uint32_t job_input_room(const struct job *job, bool *closed)
{
    return crew_input_room(job->crews[0], closed);
}

bool job_lives(const struct job *job)
{
    return job->life.living > 0;
}

struct router *job_router(struct job *job)
{
    return local_crew_router(job->crews[0]);
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
    for (uint32_t node = 0; node < job->nodes; node++)
        crew_finish(job->crews[node]);
    job_pump(job);
    if (!job->ended)
        job_tell_ended(job);
}

bool job_child_died(struct job *job, pid_t pid)
{
    for (uint32_t node = 0; node < job->nodes; node++)
        if (crew_child_died(job->crews[node], pid))
            return true;
    return false;
}
