#define _GNU_SOURCE
#include "daemon/jobs/job.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "daemon/jobs/local_crew.h"
#include "daemon/jobs/remote_crew.h"
#include "daemon/jobs/span.h"
#include "daemon/jobs/transcript.h"
#include "daemon/log.h"
#include "daemon/words.h"
#include "proto/clock.h"
#include "proto/control.h"

struct job {
    uint64_t id;
    char subject[32]; /* "job 7k2m9x4c", for the log */
    struct job_place place;
    struct job_listener listener;
    struct job_life life;
    struct crew **crews; /* by their nodes: in the order of their PEs */
    struct job_node *nodes;
    uint32_t node_count, ready, spawned; /* nodes; those that are prepared, have all their PEs */
    bool distributed;                    /* there are other hosts */
    bool started;                        /* job_start() came */
    bool given_back;                     /* unprepared was told */
    struct span_identity identity;
    struct output *output;
    struct transcript *transcript; /* borrowed */
    struct event *life_timer, *output_timer, *limit_timer;
    uint64_t time_limit_ms;
    bool finished;    /* whoever does not keep up is not waited for */
    bool over, ended; /* no PE is left; the listener has been told */
    bool pumping, pump_again;
    bool held;  /* the followers did not keep up when they were last asked */
    char *text; /* of C4P_EXIT */
    size_t text_size;
};

static void job_pump(struct job *job);

/* ---- carrying out what life decides ---- */

static void signal_all(struct job *job, int number)
{
    for (uint32_t node = 0; node < job->node_count; node++)
        crew_signal(job->crews[node], number);
}

static void stop_pes(struct job *job, uint32_t except)
{
    for (uint32_t node = 0; node < job->node_count; node++)
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

    for (uint32_t node = 0; node < job->node_count; node++)
        any = crew_resume(job->crews[node]) || any;
    return any;
}

static bool crews_quiet(const struct job *job)
{
    for (uint32_t node = 0; node < job->node_count; node++)
        if (!crew_quiet(job->crews[node]))
            return false;
    return true;
}

static bool followers_keep_up(struct job *job)
{
    const bool held = job->held;

    job->held = !job->finished && !job->listener.keeps_up(job->listener.context, job->id);
    if (held && !job->held)
        output_resume(job->output, clock_ms());
    return !job->held;
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

/* Keep what there is as far as the followers keep up, and take more where that made room. */
static void output_keep(struct job *job)
{
    struct output_piece piece;
    bool flows, fresh = false;
    int64_t deadline;

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
    else if (job->over && crews_quiet(job) && !job->pump_again)
        job_tell_ended(job);
}

/* What crews hand over may be the last of them, which asks for this once more. */
static void job_pump(struct job *job)
{
    job->pump_again = true;
    if (job->pumping)
        return;
    job->pumping = true;
    while (job->pump_again && !job->ended) {
        job->pump_again = false;
        output_keep(job);
    }
    job->pumping = false;
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
    if (++job->spawned < job->node_count)
        return;
    if (job->time_limit_ms != 0)
        timer_set(job->limit_timer, clock_ms() + (int64_t)job->time_limit_ms);
    job_event(job, &(struct life_event){.kind = LIFE_STEP, .step = JOB_SPAWNED});
}

static void on_prepared(void *context, struct crew *crew)
{
    struct job *job = context;

    (void)crew;
    if (++job->ready == job->node_count && !job->life.decided && !job->given_back)
        job->listener.prepared(job->listener.context, job->id);
}

static void on_unprepared(void *context, struct crew *crew, const char *why, bool unfit)
{
    struct job *job = context;

    if (job->life.decided || job->given_back)
        return;
    job->given_back = true;
    job->listener.unprepared(job->listener.context, job->id, &job->nodes[crew->node].key, why,
                             unfit);
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

static void on_broken(void *context, const char *what)
{
    job_event(context, &(struct life_event){.kind = LIFE_BROKEN, .text = what});
}

static void on_lost(void *context, struct crew *crew, const char *why)
{
    struct job *job = context;
    char text[JOB_ERROR_SIZE];

    if (!job->started) {
        on_unprepared(job, crew, why, false);
        return;
    }
    span_lost_tell(&job->nodes[crew->node], NULL, why, text);
    job_event(job, &(struct life_event){
                       .kind = LIFE_LOST, .pe = crew->first_pe, .pes = crew->pes, .text = text});
    job_pump(job);
}

static void on_parted(void *context, struct crew *crew, uint32_t node, const char *why)
{
    struct job *job = context;
    char text[JOB_ERROR_SIZE];

    if (node >= job->node_count)
        return;
    span_lost_tell(&job->nodes[node], &job->nodes[crew->node], why, text);
    on_broken(job, text);
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
    job->identity.job = job->id;
    if (getrandom(&job->identity.epoch, sizeof(uint32_t), 0) != sizeof(uint32_t) ||
        getrandom(job->identity.secret, PLANE_SECRET_SIZE, 0) != PLANE_SECRET_SIZE) {
        snprintf(error, JOB_ERROR_SIZE, "the system has no random numbers: %s", strerror(errno));
        return -1;
    }
    return 0;
}

static const struct crew_listener crew_listener = {
    .prepared = on_prepared,
    .unprepared = on_unprepared,
    .pe_spawned = on_pe_spawned,
    .spawned = on_spawned,
    .spawn_failed = on_spawn_failed,
    .started = on_started,
    .died = on_died,
    .exited = on_exited,
    .broken = on_broken,
    .parted = on_parted,
    .lost = on_lost,
    .room = on_room,
    .filled = on_filled,
    .ended = on_stream_ended,
    .pump = on_pump,
    .input_credit = on_input_credit,
};

/* Without a span all nodes are this one: one, or as many as a private daemon is to act as. */
static int nodes_make(struct job *job, const struct job_request *request,
                      const struct job_span *span)
{
    uint32_t count = span != NULL ? span->count : request->nodes > 1 ? request->nodes : 1;

    job->distributed = span != NULL;
    job->node_count = count;
    job->nodes = calloc(count, sizeof(*job->nodes));
    job->crews = calloc(count, sizeof(struct crew *));
    if (job->nodes == NULL || job->crews == NULL)
        return -1;
    if (span != NULL) {
        memcpy(job->nodes, span->nodes, count * sizeof(*job->nodes));
        return 0;
    }
    span_deal(job->nodes, count, request->pes);
    for (uint32_t i = 0; i < count; i++) {
        snprintf(job->nodes[i].name, NODE_NAME_MAX + 1, "%s", job->place.host);
        if (count > 1) { /* they are all in this process */
            job->nodes[i].key = *plane_key(job->place.plane);
            snprintf(job->nodes[i].data, NODE_ADDRESS_MAX + 1, "%s",
                     plane_address(job->place.plane));
        }
    }
    return 0;
}

static struct crew *crew_here(struct job *job, const struct job_request *request, uint32_t node,
                              char error[JOB_ERROR_SIZE])
{
    struct crew_settings settings = {
        .subject = job->subject,
        .request = request,
        .place = &job->place,
        .identity = &job->identity,
        .node = node,
        .node_count = job->node_count,
        .nodes = job->nodes,
        .listener = crew_listener,
    };

    settings.listener.context = job;
    return local_crew_create(&settings, error);
}

static struct crew *crew_elsewhere(struct job *job, const struct job_span *span,
                                   const C4p__Prepare *prepare, uint32_t node,
                                   char error[JOB_ERROR_SIZE])
{
    struct remote_crew_settings settings = {
        .base = job->place.base,
        .courier = span->courier,
        .key = job->nodes[node].key,
        .name = job->nodes[node].name,
        .node = node,
        .first_pe = job->nodes[node].first_pe,
        .pes = job->nodes[node].pes,
        .prepare = prepare,
        .listener = crew_listener,
    };
    struct crew *crew;

    settings.listener.context = job;
    crew = remote_crew_create(&settings);
    if (crew == NULL)
        snprintf(error, JOB_ERROR_SIZE, "cannot make the job: out of memory");
    return crew;
}

static int crews_make(struct job *job, const struct job_request *request,
                      const struct job_span *span, const C4p__Prepare *prepare,
                      char error[JOB_ERROR_SIZE])
{
    for (uint32_t node = 0; node < job->node_count; node++) {
        job->crews[node] = span == NULL || node == 0
                               ? crew_here(job, request, node, error)
                               : crew_elsewhere(job, span, prepare, node, error);
        if (job->crews[node] == NULL)
            return -1;
    }
    return 0;
}

/* The crews, with what the other nodes are told. */
static int job_man(struct job *job, const struct job_request *request, const struct job_span *span,
                   char error[JOB_ERROR_SIZE])
{
    struct span_message message = {0};
    int rc = -1;

    if (nodes_make(job, request, span) != 0 ||
        (span != NULL && span_write(&message, span, &job->identity, request->region_size) != 0))
        snprintf(error, JOB_ERROR_SIZE, "cannot make the job: out of memory");
    else
        rc = crews_make(job, request, span, &message.prepare, error);
    span_message_free(&message);
    return rc;
}

/* Files are looked for where PEs are: the other nodes have their own. */
static int request_check(const struct job_request *request, const struct job_span *span,
                         char error[JOB_ERROR_SIZE])
{
    if (span != NULL && span->nodes[0].pes == 0)
        return job_check_figures(request, error);
    return job_check(request, error);
}

struct job *job_create(uint64_t id, const struct job_request *request,
                       const struct job_place *place, const struct job_span *span,
                       struct transcript *transcript, const struct job_listener *listener,
                       char error[JOB_ERROR_SIZE])
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
    if (request_check(request, span, error) != 0 || job_parts_make(job, request, error) != 0 ||
        job_man(job, request, span, error) != 0) {
        job_destroy(job);
        return NULL;
    }
    return job;
}

void job_destroy(struct job *job)
{
    if (job == NULL)
        return;
    for (uint32_t node = 0; job->crews != NULL && node < job->node_count; node++)
        crew_destroy(job->crews[node]);
    free(job->crews);
    free(job->nodes);
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

bool job_prepare(struct job *job)
{
    job_event(job, &(struct life_event){.kind = LIFE_STEP, .step = JOB_CHOSEN});
    for (uint32_t node = 0; node < job->node_count; node++)
        if (crew_prepare(job->crews[node]))
            job->ready++;
    return job->ready == job->node_count;
}

void job_start(struct job *job)
{
    job->started = true;
    job_event(job, &(struct life_event){.kind = LIFE_STEP, .step = JOB_RESERVED});
    for (uint32_t node = 0; node < job->node_count && !job->life.decided; node++)
        crew_launch(job->crews[node]);
}

void job_message(struct job *job, const struct node_key *from, const C4p__Peer *message)
{
    for (uint32_t node = 1; job->distributed && node < job->node_count; node++)
        if (memcmp(&job->nodes[node].key, from, sizeof(*from)) == 0)
            crew_message(job->crews[node], message);
}

void job_node_down(struct job *job, const struct node_key *key, const char *why)
{
    for (uint32_t node = 1; job->distributed && node < job->node_count; node++)
        if (memcmp(&job->nodes[node].key, key, sizeof(*key)) == 0)
            crew_node_down(job->crews[node], why);
}

void job_node_up(struct job *job, const struct node_key *key, uint64_t incarnation)
{
    for (uint32_t node = 1; job->distributed && node < job->node_count; node++)
        if (memcmp(&job->nodes[node].key, key, sizeof(*key)) == 0)
            crew_node_up(job->crews[node], incarnation);
}

void job_resume(struct job *job)
{
    job_pump(job);
}

/* The crew of PE 0. */
static struct crew *crew_first(const struct job *job)
{
    uint32_t node = 0;

    while (job->crews[node]->pes == 0)
        node++;
    return job->crews[node];
}

int job_input(struct job *job, const void *data, size_t size, bool eof)
{
    return crew_input(crew_first(job), data, size, eof);
}

uint32_t job_input_room(const struct job *job, bool *closed)
{
    return crew_input_room(crew_first(job), closed);
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
    for (uint32_t node = 0; node < job->node_count; node++)
        crew_finish(job->crews[node]);
    job_pump(job);
    if (!job->ended)
        job_tell_ended(job);
}

bool job_child_died(struct job *job, pid_t pid)
{
    for (uint32_t node = 0; node < job->node_count; node++)
        if (crew_child_died(job->crews[node], pid))
            return true;
    return false;
}
