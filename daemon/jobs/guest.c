#define _GNU_SOURCE
#include "daemon/jobs/guest.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/jobs/local_crew.h"
#include "daemon/jobs/provision.h"
#include "daemon/jobs/submission.h"
#include "daemon/log.h"
#include "proto/clock.h"

static void timer_set(struct guest *guest)
{
    int64_t wait = letters_wake_at(&guest->letters) - clock_ms();
    struct timeval delay;

    if (wait < 1)
        wait = 1;
    delay.tv_sec = wait / 1000;
    delay.tv_usec = wait % 1000 * 1000;
    event_add(guest->timer, &delay);
}

void guest_settle_soon(struct guest *guest)
{
    event_add(guest->soon, &(struct timeval){0, 0});
}

/* ---- letters to the home ---- */

static void letter_write(struct guest *guest, C4p__Peer *message, uint64_t *number)
{
    if (guest->state != GUEST_LAUNCHED)
        return;
    if (letters_write(&guest->letters, message, number, clock_ms()) == 0) {
        timer_set(guest);
        return;
    }
    /* A gap in what the home hears would be worse than an end: it asks, and nobody is here. */
    log_write(LOG_ERROR, guest->subject, "its home cannot be told what happens: out of memory");
    guest_end(guest);
}

static void report_write(struct guest *guest, C4p__Report *report, C4p__Report__Kind kind,
                         uint32_t pe)
{
    C4p__Peer message = C4P__PEER__INIT;

    report->job = guest->key.job;
    report->attempt = guest->key.attempt;
    report->kind = kind;
    report->pe = pe;
    message.body_case = C4P__PEER__BODY_REPORT;
    message.report = report;
    letter_write(guest, &message, &report->number);
}

static void report_text(struct guest *guest, C4p__Report__Kind kind, const char *text)
{
    C4p__Report report = C4P__REPORT__INIT;

    report.text = (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
    report_write(guest, &report, kind, 0);
}

static void output_write(struct guest *guest, uint32_t pe, enum output_stream stream, size_t size,
                         bool end)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__GuestOutput output = C4P__GUEST_OUTPUT__INIT;

    output.job = guest->key.job;
    output.attempt = guest->key.attempt;
    output.pe = pe;
    output.stream = (uint32_t)stream;
    output.data = (ProtobufCBinaryData){size, (uint8_t *)guest->buffer};
    output.end = end;
    message.body_case = C4P__PEER__BODY_GUEST_OUTPUT;
    message.guest_output = &output;
    letter_write(guest, &message, &output.number);
}

void guest_tell_prepared(struct guest *guest, const char *failed, bool unfit)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__Prepared prepared = C4P__PREPARED__INIT;
    struct courier *courier = &guest->letters.courier;

    prepared.job = guest->key.job;
    prepared.attempt = guest->key.attempt;
    if (failed != NULL)
        prepared.failed = (char *)(uintptr_t)failed;
    prepared.unfit = unfit;
    message.body_case = C4P__PEER__BODY_PREPARED;
    message.prepared = &prepared;
    courier->send(courier->context, &guest->key.home, &message);
}

/* ---- what the crew tells ---- */

static void on_pe_spawned(void *context, uint32_t pe)
{
    (void)context, (void)pe;
}

static void on_spawned(void *context, struct crew *crew)
{
    C4p__Report report = C4P__REPORT__INIT;

    report_write(context, &report, C4P__REPORT__KIND__SPAWNED, crew->first_pe);
}

static void on_spawn_failed(void *context, const char *why)
{
    report_text(context, C4P__REPORT__KIND__SPAWN_FAILED, why);
}

static void on_started(void *context, uint32_t pe)
{
    C4p__Report report = C4P__REPORT__INIT;

    report_write(context, &report, C4P__REPORT__KIND__STARTED, pe);
}

static void on_died(void *context, uint32_t pe, const char *host, int code, int number)
{
    C4p__Report report = C4P__REPORT__INIT;

    (void)host; /* the home knows who we are */
    report.code = code;
    report.signal = (uint32_t)number;
    report_write(context, &report, C4P__REPORT__KIND__DIED, pe);
    guest_look(context);
}

static void on_exited(void *context, uint32_t pe, int32_t code, const char *text, size_t size)
{
    C4p__Report report = C4P__REPORT__INIT;

    report.code = code;
    report.text = (ProtobufCBinaryData){size, (uint8_t *)(uintptr_t)text};
    report_write(context, &report, C4P__REPORT__KIND__EXIT, pe);
}

static void on_broken(void *context, const char *what)
{
    struct guest *guest = context;
    char text[JOB_ERROR_SIZE];

    snprintf(text, sizeof(text), "host %s: %.180s", guest->nodes[guest->node].name, what);
    report_text(guest, C4P__REPORT__KIND__CORRUPT, text);
}

static void on_parted(void *context, struct crew *crew, uint32_t node, const char *why)
{
    struct guest *guest = context;
    char text[JOB_ERROR_SIZE];

    if (node >= guest->node_count)
        return;
    span_lost_tell(&guest->nodes[node], &guest->nodes[crew->node], why, text);
    report_text(guest, C4P__REPORT__KIND__CORRUPT, text);
}

/* What the home has no room for stays in the pipe; what nobody wants any more is read all the same. */
static char *on_room(void *context, uint32_t pe, enum output_stream stream, size_t *room)
{
    struct guest *guest = context;
    uint64_t under_way = guest->posted - guest->taken;

    (void)pe, (void)stream;
    *room = sizeof(guest->buffer);
    if (guest->state == GUEST_LAUNCHED &&
        guest->letters.written - guest->letters.acknowledged >= LETTERS_KEPT)
        *room = 0;
    else if (guest->state == GUEST_LAUNCHED && LETTERS_WINDOW - under_way < *room)
        *room = LETTERS_WINDOW - under_way;
    return guest->buffer;
}

static void on_filled(void *context, uint32_t pe, enum output_stream stream, size_t size)
{
    struct guest *guest = context;

    if (guest->state != GUEST_LAUNCHED)
        return;
    guest->posted += size;
    output_write(guest, pe, stream, size, false);
}

static void on_stream_ended(void *context, uint32_t pe, enum output_stream stream)
{
    output_write(context, pe, stream, 0, true);
}

static void on_pump(void *context)
{
    guest_look(context);
}

static void on_input_credit(void *context, uint32_t bytes, bool closed)
{
    C4p__Report report = C4P__REPORT__INIT;

    report.bytes = bytes;
    report.closed = closed;
    report_write(context, &report, C4P__REPORT__KIND__INPUT, 0);
}

static const struct crew_listener crew_listener = {
    .pe_spawned = on_pe_spawned,
    .spawned = on_spawned,
    .spawn_failed = on_spawn_failed,
    .started = on_started,
    .died = on_died,
    .exited = on_exited,
    .broken = on_broken,
    .parted = on_parted,
    .room = on_room,
    .filled = on_filled,
    .ended = on_stream_ended,
    .pump = on_pump,
    .input_credit = on_input_credit,
};

/* ---- its life ---- */

int guest_man(struct guest *guest, const C4p__Submit *submit, const char *mark,
              char error[JOB_ERROR_SIZE])
{
    struct crew_settings settings = {
        .subject = guest->subject,
        .place = guest->place,
        .identity = &guest->identity,
        .nodes = guest->nodes,
        .node_count = guest->node_count,
        .node = guest->node,
        .listener = crew_listener,
    };
    struct submission submission;

    if (submission_init(&submission, submit, error) != 0)
        return -1;
    submission.request.pes = guest->pes;
    submission.request.region_size = guest->region_size;
    submission.request.mark = mark;
    submission.request.input = guest->input;
    settings.request = &submission.request;
    settings.listener.context = guest;
    if (job_check(&submission.request, error) == 0)
        guest->crew = local_crew_create(&settings, error);
    submission_free(&submission);
    if (guest->crew == NULL)
        return -1;
    guest->state = GUEST_READY;
    guest->letters.ask_at = clock_ms() + LETTERS_ASK_MS;
    timer_set(guest);
    return 0;
}

void guest_launch(struct guest *guest)
{
    if (guest->state != GUEST_READY)
        return;
    guest->state = GUEST_LAUNCHED;
    log_write(LOG_DEBUG, guest->subject, "PEs %u-%u start", guest->crew->first_pe,
              guest->crew->first_pe + guest->crew->pes - 1);
    crew_launch(guest->crew);
    guest_look(guest); /* if none could be spawned, none will die */
}

void guest_tell_failed(struct guest *guest, const char *why)
{
    report_text(guest, C4P__REPORT__KIND__SPAWN_FAILED, why);
}

void guest_acknowledged(struct guest *guest, const C4p__GuestAck *ack)
{
    letters_acknowledged(&guest->letters, ack, clock_ms());
    if (ack->taken > guest->taken && ack->taken <= guest->posted)
        guest->taken = ack->taken;
    if (guest->state == GUEST_LAUNCHED && crew_resume(guest->crew))
        guest_look(guest);
    guest_settle_soon(guest);
}

void guest_look(struct guest *guest)
{
    C4p__Report report = C4P__REPORT__INIT;

    if (guest->state == GUEST_LAUNCHED && crew_quiet(guest->crew)) {
        guest->empty(guest->context, guest);
        report_write(guest, &report, C4P__REPORT__KIND__GONE, 0);
        if (guest->state == GUEST_LAUNCHED)
            guest->state = GUEST_GONE;
    }
    if (guest->state >= GUEST_GONE)
        guest_settle_soon(guest);
}

void guest_end(struct guest *guest)
{
    if (guest->state == GUEST_ENDING)
        return;
    guest->state = GUEST_ENDING;
    event_del(guest->timer);
    if (guest->crew != NULL) {
        crew_signal(guest->crew, SIGKILL);
        crew_resume(guest->crew);
    }
    guest_settle_soon(guest);
}

static bool is_over(const struct guest *guest)
{
    if (guest->state == GUEST_GONE)
        return guest->letters.kept == NULL;
    return guest->state == GUEST_ENDING && (guest->crew == NULL || crew_quiet(guest->crew));
}

static void on_soon(evutil_socket_t fd, short what, void *argument)
{
    struct guest *guest = argument;

    (void)fd;
    (void)what;
    letters_settle(&guest->letters);
    if (is_over(guest))
        guest->over(guest->context, guest);
}

static void on_timer(evutil_socket_t fd, short what, void *argument)
{
    struct guest *guest = argument;

    (void)fd;
    (void)what;
    if (letters_in_vain(&guest->letters)) {
        log_write(LOG_INFO, guest->subject, "its guests end: its home %s: " LETTERS_SILENCE,
                  guest->nodes[0].name);
        guest_end(guest);
        return;
    }
    letters_tick(&guest->letters, clock_ms());
    timer_set(guest);
}

/* ---- making it ---- */

static int events_make(struct guest *guest, char error[JOB_ERROR_SIZE])
{
    guest->timer = evtimer_new(guest->place->base, on_timer, guest);
    guest->soon = event_new(guest->place->base, -1, 0, on_soon, guest);
    if (guest->timer != NULL && guest->soon != NULL)
        return 0;
    snprintf(error, JOB_ERROR_SIZE, "the daemon is out of memory");
    return -1;
}

struct guest *guest_create(const struct guests_settings *settings, const struct node_key *home,
                           const C4p__Peer *message, char error[JOB_ERROR_SIZE])
{
    const C4p__Prepare *prepare = message->prepare;
    struct guest *guest = calloc(1, sizeof(*guest));
    char text[CONTROL_ID_CHARS + 1];

    if (guest == NULL) {
        snprintf(error, JOB_ERROR_SIZE, "the daemon is out of memory");
        return NULL;
    }
    guest->key.home = *home;
    guest->key.job = prepare->job;
    guest->key.attempt = prepare->attempt;
    guest->place = settings->place;
    guest->incarnation = message->incarnation;
    guest->region_size = prepare->region_size;
    guest->input = prepare->input;
    control_id_format(prepare->job, text);
    snprintf(guest->subject, sizeof(guest->subject), "job %s", text);
    letters_init(&guest->letters, &settings->courier, home, prepare->job, prepare->attempt, false,
                 clock_ms());
    guest->nodes = span_read(prepare, settings->host.self(settings->host.context), &guest->pes,
                             &guest->identity, error);
    if (guest->nodes != NULL) {
        guest->node_count = (uint32_t)prepare->n_nodes;
        guest->node = prepare->node;
    }
    if (guest->nodes == NULL || events_make(guest, error) != 0) {
        guest_destroy(guest);
        return NULL;
    }
    return guest;
}

void guest_destroy(struct guest *guest)
{
    crew_destroy(guest->crew);
    provision_end(guest->provision);
    if (guest->timer != NULL)
        event_free(guest->timer);
    if (guest->soon != NULL)
        event_free(guest->soon);
    letters_free(&guest->letters);
    free(guest->nodes);
    free(guest);
}
