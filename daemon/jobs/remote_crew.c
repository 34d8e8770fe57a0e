#define _GNU_SOURCE
#include "daemon/jobs/remote_crew.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "daemon/jobs/job.h"
#include "daemon/router/router.h"
#include "daemon/words.h"
#include "proto/clock.h"

enum remote_state { REMOTE_NEW = 0, REMOTE_PREPARING, REMOTE_READY, REMOTE_LAUNCHED, REMOTE_GONE };
enum remote_pe { REMOTE_PE_SPAWNED = 0, REMOTE_PE_STARTED, REMOTE_PE_DEAD };

/* Such letters of one node: what is beyond is not taken, and comes again. */
#define HELD_BYTES ((size_t)2 * LETTERS_WINDOW)
#define HELD_OVERHEAD 512

/* A letter that has come and waits for room for output, its own or that of one before it. */
struct held {
    struct held *prev, *next;
    size_t size; /* of memory, about */
    size_t put;  /* bytes of it that were put away */
    C4p__Peer *message;
};

struct remote_crew {
    struct crew crew;
    struct letters letters;
    char name[NODE_NAME_MAX + 1];
    enum remote_state state;
    uint64_t incarnation; /* of the node's daemon that has prepared */
    struct event *timer;
    struct event *settle;
    int64_t again_at, silent_at, limit_at; /* while it prepares */
    size_t prepare_size;
    uint8_t *prepare; /* a packed Peer */
    struct held *held;
    size_t held_bytes;
    uint64_t output;     /* bytes that have come */
    uint32_t input_room; /* for PE 0 */
    bool input_closed;
    bool spawned, exited, exited_badly;
    uint8_t *pes; /* enum remote_pe */
};

static struct remote_crew *remote_of(struct crew *crew)
{
    return (struct remote_crew *)crew;
}

static void timer_set(struct remote_crew *remote, int64_t at)
{
    int64_t wait = at - clock_ms();
    struct timeval delay;

    if (wait < 1)
        wait = 1;
    delay.tv_sec = wait / 1000;
    delay.tv_usec = wait % 1000 * 1000;
    event_add(remote->timer, &delay);
}

static void settle_soon(struct remote_crew *remote)
{
    event_add(remote->settle, &(struct timeval){0, 0});
}

/* ---- letters to the node ---- */

static void letter_write(struct remote_crew *remote, C4p__Peer *message, uint64_t *number)
{
    /* Without memory for an order nothing can be ordered any more: as if the node were lost. */
    if (letters_write(&remote->letters, message, number, clock_ms()) != 0)
        remote->crew.operations->node_down(&remote->crew, "the daemon is out of memory");
    else
        timer_set(remote, letters_wake_at(&remote->letters));
}

static void order_write(struct remote_crew *remote, C4p__Order *order)
{
    C4p__Peer message = C4P__PEER__INIT;

    if (remote->state != REMOTE_LAUNCHED)
        return;
    order->job = remote->letters.job;
    order->attempt = remote->letters.attempt;
    message.body_case = C4P__PEER__BODY_ORDER;
    message.order = order;
    letter_write(remote, &message, &order->number);
}

static void remote_stop_pes(struct crew *crew, uint32_t except)
{
    C4p__Order order = C4P__ORDER__INIT;

    order.stop = true;
    order.except = except;
    order_write(remote_of(crew), &order);
}

static void remote_signal(struct crew *crew, int number)
{
    C4p__Order order = C4P__ORDER__INIT;

    order.except = UINT32_MAX;
    order.signal = (uint32_t)number;
    order_write(remote_of(crew), &order);
}

static void remote_launch(struct crew *crew)
{
    struct remote_crew *remote = remote_of(crew);
    C4p__Peer message = C4P__PEER__INIT;
    C4p__Launch launch = C4P__LAUNCH__INIT;

    if (remote->state != REMOTE_READY)
        return;
    remote->state = REMOTE_LAUNCHED;
    for (uint32_t pe = crew->first_pe; pe < crew->first_pe + crew->pes; pe++)
        crew->listener.pe_spawned(crew->listener.context, pe);
    launch.job = remote->letters.job;
    launch.attempt = remote->letters.attempt;
    message.body_case = C4P__PEER__BODY_LAUNCH;
    message.launch = &launch;
    letter_write(remote, &message, &launch.number);
}

static int remote_input(struct crew *crew, const void *data, size_t size, bool eof)
{
    struct remote_crew *remote = remote_of(crew);
    C4p__Peer message = C4P__PEER__INIT;
    C4p__GuestInput input = C4P__GUEST_INPUT__INIT;

    if (size > remote->input_room && !remote->input_closed)
        return -1;
    if (remote->state != REMOTE_LAUNCHED || remote->input_closed)
        return 0; /* sent before the news of the end arrived */
    remote->input_room -= (uint32_t)size;
    remote->input_closed = eof;
    input.job = remote->letters.job;
    input.attempt = remote->letters.attempt;
    input.data = (ProtobufCBinaryData){size, (uint8_t *)(uintptr_t)data};
    input.eof = eof;
    message.body_case = C4P__PEER__BODY_GUEST_INPUT;
    message.guest_input = &input;
    letter_write(remote, &message, &input.number);
    return 0;
}

static uint32_t remote_input_room(const struct crew *crew, bool *closed)
{
    const struct remote_crew *remote = (const struct remote_crew *)crew;

    *closed = remote->input_closed;
    return remote->input_room;
}

/* ---- what happens there ---- */

/* Text of a report as a sentence of ours. */
static void sentence_copy(const ProtobufCBinaryData *text, char sentence[JOB_ERROR_SIZE])
{
    size_t size = text->len < JOB_ERROR_SIZE ? text->len : JOB_ERROR_SIZE - 1;

    if (size > 0)
        memcpy(sentence, text->data, size);
    sentence[size] = '\0';
    words_clean(sentence);
}

/* The state of a report's PE; NULL if it is none of these. */
static uint8_t *pe_of(struct remote_crew *remote, uint32_t pe)
{
    return pe - remote->crew.first_pe < remote->crew.pes ? &remote->pes[pe - remote->crew.first_pe]
                                                         : NULL;
}

typedef void report_handler(struct remote_crew *remote, const C4p__Report *report);

static void spawned_handle(struct remote_crew *remote, const C4p__Report *report)
{
    (void)report;
    if (remote->spawned)
        return;
    remote->spawned = true;
    remote->crew.listener.spawned(remote->crew.listener.context, &remote->crew);
}

static void spawn_failed_handle(struct remote_crew *remote, const C4p__Report *report)
{
    char why[JOB_ERROR_SIZE], sentence[JOB_ERROR_SIZE];

    sentence_copy(&report->text, why);
    snprintf(sentence, sizeof(sentence), "host %s: %.180s", remote->name, why);
    remote->crew.listener.spawn_failed(remote->crew.listener.context, sentence);
}

static void started_handle(struct remote_crew *remote, const C4p__Report *report)
{
    uint8_t *pe = pe_of(remote, report->pe);

    if (pe == NULL || *pe != REMOTE_PE_SPAWNED)
        return;
    *pe = REMOTE_PE_STARTED;
    remote->crew.listener.started(remote->crew.listener.context, report->pe);
}

static void exit_handle(struct remote_crew *remote, const C4p__Report *report)
{
    size_t size = report->text.len < ROUTER_MAX_TEXT ? report->text.len : ROUTER_MAX_TEXT;
    const char *text = size > 0 ? (const char *)report->text.data : "";
    bool *told = report->code == 0 ? &remote->exited : &remote->exited_badly;

    if (pe_of(remote, report->pe) == NULL || *told)
        return;
    *told = true;
    remote->crew.listener.exited(remote->crew.listener.context, report->pe, report->code, text,
                                 size);
}

static void pe_died(struct remote_crew *remote, uint32_t pe, int code, int number)
{
    uint8_t *state = pe_of(remote, pe);

    if (state == NULL || *state == REMOTE_PE_DEAD)
        return;
    *state = REMOTE_PE_DEAD;
    remote->crew.listener.died(remote->crew.listener.context, pe, remote->name, code, number);
}

static void died_handle(struct remote_crew *remote, const C4p__Report *report)
{
    int number = report->signal <= 64 ? (int)report->signal : 0;

    pe_died(remote, report->pe, report->code & 0xff, number);
}

static void broken_handle(struct remote_crew *remote, const C4p__Report *report)
{
    char why[JOB_ERROR_SIZE];

    sentence_copy(&report->text, why);
    remote->crew.listener.broken(remote->crew.listener.context, why);
}

static void gone_handle(struct remote_crew *remote, const C4p__Report *report)
{
    (void)report;
    /* Those that were not spawned at last have died as well. */
    for (uint32_t pe = remote->crew.first_pe; pe < remote->crew.first_pe + remote->crew.pes; pe++)
        pe_died(remote, pe, 0, 0);
    if (remote->state == REMOTE_LAUNCHED)
        remote->state = REMOTE_GONE;
    /* It is quiet now: that may have been the last thing that the job's end waited for. */
    remote->crew.listener.pump(remote->crew.listener.context);
}

static void input_handle(struct remote_crew *remote, const C4p__Report *report)
{
    uint32_t most = CONTROL_MAX_PIECE - remote->input_room;
    uint32_t bytes = report->bytes < most ? report->bytes : most;

    if (remote->input_closed)
        return;
    remote->input_room += bytes;
    remote->input_closed = report->closed;
    remote->crew.listener.input_credit(remote->crew.listener.context, bytes, report->closed);
}

static report_handler *const report_handlers[] = {
    [C4P__REPORT__KIND__SPAWNED] = spawned_handle,
    [C4P__REPORT__KIND__SPAWN_FAILED] = spawn_failed_handle,
    [C4P__REPORT__KIND__STARTED] = started_handle,
    [C4P__REPORT__KIND__EXIT] = exit_handle,
    [C4P__REPORT__KIND__DIED] = died_handle,
    [C4P__REPORT__KIND__CORRUPT] = broken_handle,
    [C4P__REPORT__KIND__GONE] = gone_handle,
    [C4P__REPORT__KIND__INPUT] = input_handle,
};
#define REPORT_KINDS (sizeof(report_handlers) / sizeof(*report_handlers))

/* Put away what there is room for: true if that is all of it. */
static bool output_put(struct remote_crew *remote, const C4p__GuestOutput *output, size_t *put)
{
    const struct crew_listener *listener = &remote->crew.listener;
    enum output_stream stream = output->stream == 0 ? OUTPUT_STDOUT : OUTPUT_STDERR;

    if (pe_of(remote, output->pe) == NULL || output->stream > 1) {
        letters_put_away(&remote->letters, output->data.len);
        return true;
    }
    while (*put < output->data.len) {
        size_t room, size = output->data.len - *put;
        char *buffer = listener->room(listener->context, output->pe, stream, &room);

        if (room == 0)
            return false;
        if (size > room)
            size = room;
        memcpy(buffer, output->data.data + *put, size);
        listener->filled(listener->context, output->pe, stream, size);
        letters_put_away(&remote->letters, size);
        *put += size;
    }
    if (output->end)
        listener->ended(listener->context, output->pe, stream);
    return true;
}

static bool letter_read(struct remote_crew *remote, const C4p__Peer *message, size_t *put)
{
    if (message->body_case == C4P__PEER__BODY_GUEST_OUTPUT)
        return output_put(remote, message->guest_output, put);
    if ((size_t)message->report->kind < REPORT_KINDS)
        report_handlers[message->report->kind](remote, message->report);
    return true;
}

static C4p__Peer *message_copy(const C4p__Peer *message)
{
    size_t size = c4p__peer__get_packed_size(message);
    uint8_t *packed = malloc(size + 1);
    C4p__Peer *copy = NULL;

    if (packed != NULL) {
        c4p__peer__pack(message, packed);
        copy = c4p__peer__unpack(NULL, size, packed);
    }
    free(packed);
    return copy;
}

static void held_free(struct remote_crew *remote, struct held *held)
{
    DL_DELETE(remote->held, held);
    remote->held_bytes -= held->size;
    c4p__peer__free_unpacked(held->message, NULL);
    free(held);
}

static void letter_hold(struct remote_crew *remote, const C4p__Peer *message, size_t put)
{
    struct held *held = calloc(1, sizeof(*held));

    if (held == NULL || (held->message = message_copy(message)) == NULL) {
        free(held);
        remote->crew.operations->node_down(&remote->crew, "the daemon is out of memory");
        return;
    }
    held->put = put;
    held->size = sizeof(*held) + HELD_OVERHEAD + c4p__peer__get_packed_size(message);
    DL_APPEND(remote->held, held);
    remote->held_bytes += held->size;
}

/* Pump in the middle of this may come back here: a letter is out of the list while it is read. */
static bool remote_resume(struct crew *crew)
{
    struct remote_crew *remote = remote_of(crew);
    bool any = false;

    while (remote->held != NULL) {
        struct held *held = remote->held;
        size_t before = held->put;
        bool done;

        DL_DELETE(remote->held, held);
        done = letter_read(remote, held->message, &held->put);
        any = any || done || held->put > before;
        if (!done) {
            DL_PREPEND(remote->held, held);
            break;
        }
        remote->held_bytes -= held->size;
        c4p__peer__free_unpacked(held->message, NULL);
        free(held);
    }
    if (any)
        settle_soon(remote);
    return any;
}

static void letter_handle(struct remote_crew *remote, const C4p__Peer *message, uint64_t number)
{
    uint64_t bytes = 0;
    size_t put = 0;

    if (remote->state == REMOTE_GONE)
        remote->letters.owes = true; /* it was not heard that the last one has come */
    settle_soon(remote);
    if (remote->state != REMOTE_LAUNCHED)
        return;
    if (message->body_case == C4P__PEER__BODY_GUEST_OUTPUT)
        bytes = message->guest_output->data.len;
    /* What is beyond the window is not taken: it comes again. */
    if (remote->output + bytes - remote->letters.taken > LETTERS_WINDOW ||
        remote->held_bytes > HELD_BYTES || !letters_take(&remote->letters, number, clock_ms()))
        return;
    remote->output += bytes;
    if (remote->held != NULL || !letter_read(remote, message, &put))
        letter_hold(remote, message, put);
    if (bytes > 0)
        remote->crew.listener.pump(remote->crew.listener.context);
}

/* ---- preparing ---- */

static void prepare_send(struct remote_crew *remote, int64_t now)
{
    C4p__Peer *message = c4p__peer__unpack(NULL, remote->prepare_size, remote->prepare);
    struct courier *courier = &remote->letters.courier;

    remote->again_at = now + REMOTE_PREPARE_AGAIN_MS;
    if (message != NULL)
        courier->send(courier->context, &remote->letters.to, message);
    c4p__peer__free_unpacked(message, NULL);
    timer_set(remote, remote->again_at);
}

static bool remote_prepare(struct crew *crew)
{
    struct remote_crew *remote = remote_of(crew);
    int64_t now = clock_ms();

    remote->state = REMOTE_PREPARING;
    remote->silent_at = now + REMOTE_SILENCE_MS;
    remote->limit_at = now + REMOTE_PREPARE_LIMIT_MS;
    prepare_send(remote, now);
    return false;
}

static void unprepared(struct remote_crew *remote, const char *why, bool unfit)
{
    event_del(remote->timer);
    remote->crew.listener.unprepared(remote->crew.listener.context, &remote->crew, why, unfit);
}

static void prepared_handle(struct remote_crew *remote, const C4p__Peer *message)
{
    const C4p__Prepared *prepared = message->prepared;
    char why[JOB_ERROR_SIZE];

    if (remote->state != REMOTE_PREPARING)
        return;
    if (*prepared->failed != '\0') {
        snprintf(why, sizeof(why), "%.200s", prepared->failed);
        words_clean(why);
        unprepared(remote, why, prepared->unfit);
        return;
    }
    remote->state = REMOTE_READY;
    remote->incarnation = message->incarnation;
    remote->letters.ask_at = clock_ms() + LETTERS_ASK_MS;
    timer_set(remote, letters_wake_at(&remote->letters));
    remote->crew.listener.prepared(remote->crew.listener.context, &remote->crew);
}

static void prepare_tick(struct remote_crew *remote, int64_t now)
{
    if (now >= remote->silent_at)
        unprepared(remote, "it does not answer", false);
    else if (now >= remote->limit_at)
        unprepared(remote, "it takes too long to get ready", false);
    else
        prepare_send(remote, now);
}

static void on_timer(evutil_socket_t fd, short what, void *argument)
{
    struct remote_crew *remote = argument;
    int64_t now = clock_ms();

    (void)fd;
    (void)what;
    if (remote->state == REMOTE_PREPARING)
        prepare_tick(remote, now);
    else if (remote->state != REMOTE_READY && remote->state != REMOTE_LAUNCHED)
        return;
    else if (letters_in_vain(&remote->letters))
        remote->crew.operations->node_down(&remote->crew, LETTERS_SILENCE);
    else
        timer_set(remote, letters_tick(&remote->letters, now));
}

static void on_settle(evutil_socket_t fd, short what, void *argument)
{
    struct remote_crew *remote = argument;

    (void)fd;
    (void)what;
    letters_settle(&remote->letters);
}

/* ---- what comes ---- */

static void remote_node_down(struct crew *crew, const char *why)
{
    struct remote_crew *remote = remote_of(crew);

    if (remote->state == REMOTE_PREPARING) {
        unprepared(remote, why, false);
    } else if (remote->state == REMOTE_READY || remote->state == REMOTE_LAUNCHED) {
        remote->state = REMOTE_GONE;
        memset(remote->pes, REMOTE_PE_DEAD, crew->pes);
        event_del(remote->timer);
        crew->listener.lost(crew->listener.context, crew, why);
    }
}

static void remote_node_up(struct crew *crew, uint64_t incarnation)
{
    const struct remote_crew *remote = remote_of(crew);

    if (remote->incarnation != 0 && incarnation > remote->incarnation)
        remote_node_down(crew, "its daemon was started anew");
}

static void ack_handle(struct remote_crew *remote, const C4p__GuestAck *ack)
{
    int64_t now = clock_ms();

    if (remote->state == REMOTE_PREPARING) {
        remote->silent_at = now + REMOTE_SILENCE_MS;
        return;
    }
    letters_acknowledged(&remote->letters, ack, now);
    if (ack->answer)
        settle_soon(remote);
}

static void report_handle(struct remote_crew *remote, const C4p__Peer *message)
{
    if (message->report->kind != C4P__REPORT__KIND__UNKNOWN)
        letter_handle(remote, message, message->report->number);
    else if (remote->state != REMOTE_PREPARING)
        remote_node_down(&remote->crew, "it knows nothing of this job any more");
}

static void remote_message(struct crew *crew, const C4p__Peer *message)
{
    struct remote_crew *remote = remote_of(crew);

    remote_node_up(crew, message->incarnation);
    if (remote->incarnation != 0 && message->incarnation != remote->incarnation)
        return;
    switch (message->body_case) {
    case C4P__PEER__BODY_PREPARED:
        prepared_handle(remote, message);
        break;
    case C4P__PEER__BODY_GUEST_ACK:
        ack_handle(remote, message->guest_ack);
        break;
    case C4P__PEER__BODY_GUEST_OUTPUT:
        letter_handle(remote, message, message->guest_output->number);
        break;
    case C4P__PEER__BODY_REPORT:
        report_handle(remote, message);
        break;
    default:
        break;
    }
}

/* ---- the end ---- */

static bool remote_quiet(const struct crew *crew)
{
    const struct remote_crew *remote = (const struct remote_crew *)crew;

    return remote->state != REMOTE_LAUNCHED && remote->held == NULL;
}

static bool remote_child_died(struct crew *crew, pid_t pid)
{
    (void)crew, (void)pid;
    return false;
}

/* They are told to end when the crew is destroyed; nobody waits for that. */
static void remote_finish(struct crew *crew)
{
    (void)crew;
}

/* Not kept: if it is lost the node asks after its guests, and hears that there is no such job. */
static void end_send(struct remote_crew *remote)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__Order order = C4P__ORDER__INIT;

    order.job = remote->letters.job;
    order.attempt = remote->letters.attempt;
    order.except = UINT32_MAX;
    order.end = true;
    message.body_case = C4P__PEER__BODY_ORDER;
    message.order = &order;
    remote->letters.courier.send(remote->letters.courier.context, &remote->letters.to, &message);
}

static void remote_destroy(struct crew *crew)
{
    struct remote_crew *remote = remote_of(crew);

    if (remote->state != REMOTE_NEW)
        end_send(remote);
    while (remote->held != NULL)
        held_free(remote, remote->held);
    if (remote->timer != NULL)
        event_free(remote->timer);
    if (remote->settle != NULL)
        event_free(remote->settle);
    letters_free(&remote->letters);
    free(remote->prepare);
    free(remote->pes);
    free(remote);
}

static const struct crew_operations remote_operations = {
    .prepare = remote_prepare,
    .launch = remote_launch,
    .stop_pes = remote_stop_pes,
    .signal = remote_signal,
    .resume = remote_resume,
    .quiet = remote_quiet,
    .input = remote_input,
    .input_room = remote_input_room,
    .child_died = remote_child_died,
    .finish = remote_finish,
    .message = remote_message,
    .node_down = remote_node_down,
    .node_up = remote_node_up,
    .destroy = remote_destroy,
};

/* ---- making it ---- */

static int prepare_pack(struct remote_crew *remote, const struct remote_crew_settings *settings)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__Prepare prepare = *settings->prepare;

    prepare.node = settings->node;
    message.body_case = C4P__PEER__BODY_PREPARE;
    message.prepare = &prepare;
    remote->prepare = malloc(c4p__peer__get_packed_size(&message));
    if (remote->prepare == NULL)
        return -1;
    remote->prepare_size = c4p__peer__pack(&message, remote->prepare);
    return 0;
}

struct crew *remote_crew_create(const struct remote_crew_settings *settings)
{
    struct remote_crew *remote = calloc(1, sizeof(*remote));

    if (remote == NULL)
        return NULL;
    remote->crew = (struct crew){.operations = &remote_operations,
                                 .node = settings->node,
                                 .first_pe = settings->first_pe,
                                 .pes = settings->pes,
                                 .listener = settings->listener};
    snprintf(remote->name, sizeof(remote->name), "%s", settings->name);
    letters_init(&remote->letters, &settings->courier, &settings->key, settings->prepare->job,
                 settings->prepare->attempt, true, clock_ms());
    remote->pes = calloc(settings->pes + 1, 1);
    remote->timer = evtimer_new(settings->base, on_timer, remote);
    remote->settle = event_new(settings->base, -1, 0, on_settle, remote);
    if (remote->pes == NULL || remote->timer == NULL || remote->settle == NULL ||
        prepare_pack(remote, settings) != 0) {
        remote_destroy(&remote->crew);
        errno = ENOMEM;
        return NULL;
    }
    return &remote->crew;
}
