#define _GNU_SOURCE
#include "daemon/jobs/guests.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/jobs/guest.h"
#include "daemon/jobs/provision.h"
#include "daemon/log.h"
#include "proto/clock.h"

struct guests {
    struct guests_settings settings;
    struct guest *all; /* by key */
};

static struct guest_key key_make(const struct node_key *home, uint64_t job, uint64_t attempt)
{
    struct guest_key key;

    memset(&key, 0, sizeof(key)); /* the hash reads all of it */
    key.home = *home;
    key.job = job;
    key.attempt = attempt;
    return key;
}

static struct guest *guest_find(const struct guests *guests, const struct node_key *home,
                                uint64_t job, uint64_t attempt)
{
    struct guest_key key = key_make(home, job, attempt);
    struct guest *guest;

    HASH_FIND(hh, guests->all, &key, sizeof(key), guest);
    return guest;
}

static void send_to(struct guests *guests, const struct node_key *to, C4p__Peer *message)
{
    guests->settings.courier.send(guests->settings.courier.context, to, message);
}

/* The only answer to somebody who speaks of a guest that is not here; it is never answered. */
static void unknown_tell(struct guests *guests, const struct node_key *to, uint64_t job,
                         uint64_t attempt)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__Report report = C4P__REPORT__INIT;

    report.job = job;
    report.attempt = attempt;
    report.kind = C4P__REPORT__KIND__UNKNOWN;
    message.body_case = C4P__PEER__BODY_REPORT;
    message.report = &report;
    send_to(guests, to, &message);
}

/* ---- coming ---- */

static void on_empty(void *context, struct guest *guest)
{
    const struct guests_host *host = &((struct guests *)context)->settings.host;

    if (guest->freed)
        return;
    guest->freed = true;
    host->free(host->context, &guest->key.home, guest->key.job);
}

static void guest_forget(struct guests *guests, struct guest *guest)
{
    const struct guests_host *host = &guests->settings.host;

    HASH_DEL(guests->all, guest);
    on_empty(guests, guest);
    guest_destroy(guest);
    host->ended(host->context);
}

static void on_over(void *context, struct guest *guest)
{
    log_write(LOG_DEBUG, guest->subject, "its guests are gone");
    guest_forget(context, guest);
}

static void refused(struct guest *guest, const char *why, bool unfit)
{
    log_write(LOG_INFO, guest->subject, "cannot be a guest here: %s", why);
    guest_tell_prepared(guest, why, unfit);
    guest_end(guest);
}

static void guest_fit(struct guests *guests, struct guest *guest, const C4p__Submit *submit)
{
    const struct guests_host *host = &guests->settings.host;
    char mark[REMAINS_MARK_SIZE], error[JOB_ERROR_SIZE], why[2 * JOB_ERROR_SIZE];

    host->mark(host->context, guest->key.job, mark);
    if (guest_man(guest, submit, mark, error) == 0) {
        guest_tell_prepared(guest, NULL, false);
        return;
    }
    snprintf(why, sizeof(why), "host %s: %s", guest->nodes[guest->node].name, error);
    refused(guest, why, true);
}

static void on_provided(void *context, const struct provision_result *result)
{
    struct guest *guest = context;

    if (guest->state != GUEST_FITTING)
        return;
    if (result->failed != NULL) {
        refused(guest, result->failed, result->permanent);
        return;
    }
    if (result->remark != NULL && *result->remark != '\0')
        log_write(LOG_INFO, guest->subject, "%s", result->remark);
    guest_fit(guest->context, guest, result->submit);
}

/* The command as it comes, for a node that looks after no files. */
static C4p__Submit submit_of(const C4p__Prepare *prepare)
{
    C4p__Submit submit = C4P__SUBMIT__INIT;

    submit.n_argv = prepare->n_argv;
    submit.argv = prepare->argv;
    submit.n_env = prepare->n_env;
    submit.env = prepare->env;
    submit.cwd = prepare->cwd;
    return submit;
}

static void guest_provide(struct guests *guests, struct guest *guest, const C4p__Prepare *prepare)
{
    struct provisions *provisions = guests->settings.provisions;

    if (provisions == NULL) {
        C4p__Submit submit = submit_of(prepare);

        guest_fit(guests, guest, &submit);
        return;
    }
    guest->provision = provision_start(provisions, &guest->key.home, guest->nodes[0].name, prepare,
                                       on_provided, guest);
    if (guest->provision == NULL)
        refused(guest, "the daemon is out of memory", false);
}

/* One attempt at a time: what an earlier one has left is not wanted any more. */
static void attempts_end(struct guests *guests, const struct node_key *home, uint64_t job)
{
    struct guest *guest, *next;

    HASH_ITER(hh, guests->all, guest, next)
    {
        if (guest->key.job == job && memcmp(&guest->key.home, home, sizeof(*home)) == 0)
            guest_end(guest);
    }
}

static void prepare_refuse(struct guests *guests, const struct node_key *from,
                           const C4p__Prepare *prepare, const char *why)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__Prepared prepared = C4P__PREPARED__INIT;

    prepared.job = prepare->job;
    prepared.attempt = prepare->attempt;
    prepared.failed = (char *)(uintptr_t)why;
    message.body_case = C4P__PEER__BODY_PREPARED;
    message.prepared = &prepared;
    send_to(guests, from, &message);
}

static void prepare_again(struct guest *guest)
{
    if (guest->state == GUEST_FITTING) {
        guest->letters.owes = true; /* that is: we are at it */
        guest_settle_soon(guest);
    } else if (guest->state == GUEST_READY) {
        guest_tell_prepared(guest, NULL, false);
    }
}

static void guest_come(struct guests *guests, const struct node_key *from, const C4p__Peer *message)
{
    const struct guests_host *host = &guests->settings.host;
    const C4p__Prepare *prepare = message->prepare;
    char error[JOB_ERROR_SIZE];
    struct guest *guest;

    if (host->self(host->context) == NULL || HASH_COUNT(guests->all) >= GUESTS_MAX) {
        prepare_refuse(guests, from, prepare, "the node takes no more guests");
        return;
    }
    attempts_end(guests, from, prepare->job);
    if (!host->hold(host->context, from, prepare->job, prepare->attempt)) {
        prepare_refuse(guests, from, prepare,
                       "the slots that it had promised are not kept any more");
        return;
    }
    guest = guest_create(&guests->settings, from, message, error);
    if (guest == NULL) {
        host->free(host->context, from, prepare->job);
        prepare_refuse(guests, from, prepare, error);
        return;
    }
    guest->over = on_over;
    guest->empty = on_empty;
    guest->context = guests;
    HASH_ADD(hh, guests->all, key, sizeof(guest->key), guest);
    guest_provide(guests, guest, prepare);
}

static void prepare_handle(struct guests *guests, const struct node_key *from,
                           const C4p__Peer *message)
{
    struct guest *guest =
        guest_find(guests, from, message->prepare->job, message->prepare->attempt);

    if (guest != NULL)
        prepare_again(guest);
    else
        guest_come(guests, from, message);
}

/* ---- letters ---- */

/* The guest that a letter is for, if it is the next one: else what is to be said was said. */
static struct guest *letter_take(struct guests *guests, const struct node_key *from, uint64_t job,
                                 uint64_t attempt, uint64_t number)
{
    struct guest *guest = guest_find(guests, from, job, attempt);

    if (guest == NULL) {
        unknown_tell(guests, from, job, attempt);
        return NULL;
    }
    guest_settle_soon(guest);
    return letters_take(&guest->letters, number, clock_ms()) ? guest : NULL;
}

static void launch_handle(struct guests *guests, const struct node_key *from,
                          const C4p__Peer *message)
{
    const C4p__Launch *launch = message->launch;
    struct guest *guest = letter_take(guests, from, launch->job, launch->attempt, launch->number);

    if (guest != NULL)
        guest_launch(guest);
}

static void order_handle(struct guests *guests, const struct node_key *from,
                         const C4p__Peer *message)
{
    const C4p__Order *order = message->order;
    struct guest *guest;

    if (order->end && order->number == 0) {
        guest = guest_find(guests, from, order->job, order->attempt);
        if (guest != NULL)
            guest_end(guest);
        return;
    }
    guest = letter_take(guests, from, order->job, order->attempt, order->number);
    if (guest == NULL || guest->crew == NULL)
        return;
    if (order->stop)
        crew_stop_pes(guest->crew, order->except);
    if (order->signal == SIGTERM || order->signal == SIGKILL)
        crew_signal(guest->crew, (int)order->signal);
    if (order->end)
        guest_end(guest);
}

static void input_handle(struct guests *guests, const struct node_key *from,
                         const C4p__Peer *message)
{
    const C4p__GuestInput *input = message->guest_input;
    struct guest *guest = letter_take(guests, from, input->job, input->attempt, input->number);

    if (guest != NULL && guest->crew != NULL && guest->crew->first_pe == 0)
        crew_input(guest->crew, input->data.data, input->data.len, input->eof);
}

static void ack_handle(struct guests *guests, const struct node_key *from, const C4p__Peer *message)
{
    const C4p__GuestAck *ack = message->guest_ack;
    struct guest *guest = guest_find(guests, from, ack->job, ack->attempt);

    if (guest != NULL)
        guest_acknowledged(guest, ack);
    else if (ack->answer)
        unknown_tell(guests, from, ack->job, ack->attempt);
}

typedef void message_handler(struct guests *guests, const struct node_key *from,
                             const C4p__Peer *message);

static const struct {
    C4p__Peer__BodyCase body;
    message_handler *handle;
} handlers[] = {
    {C4P__PEER__BODY_PREPARE, prepare_handle}, {C4P__PEER__BODY_LAUNCH, launch_handle},
    {C4P__PEER__BODY_ORDER, order_handle},     {C4P__PEER__BODY_GUEST_INPUT, input_handle},
    {C4P__PEER__BODY_GUEST_ACK, ack_handle},
};

bool guests_message(struct guests *guests, const struct node_key *from, const C4p__Peer *message)
{
    if (message->body_case == C4P__PEER__BODY_GUEST_ACK && !message->guest_ack->home)
        return false;
    for (size_t i = 0; i < sizeof(handlers) / sizeof(*handlers); i++) {
        if (handlers[i].body != message->body_case)
            continue;
        guests_node_up(guests, from, message->incarnation);
        handlers[i].handle(guests, from, message);
        return true;
    }
    return false;
}

/* ---- nodes, and the end ---- */

void guests_node_down(struct guests *guests, const struct node_key *key, const char *why)
{
    struct guest *guest, *next;

    HASH_ITER(hh, guests->all, guest, next)
    {
        if (guest->state == GUEST_ENDING || memcmp(&guest->key.home, key, sizeof(*key)) != 0)
            continue;
        log_write(LOG_INFO, guest->subject, "its guests end: its home %s is lost: %s",
                  guest->nodes[0].name, why);
        guest_end(guest);
    }
}

void guests_node_up(struct guests *guests, const struct node_key *key, uint64_t incarnation)
{
    struct guest *guest, *next;

    HASH_ITER(hh, guests->all, guest, next)
    {
        if (guest->state == GUEST_ENDING || guest->incarnation >= incarnation ||
            memcmp(&guest->key.home, key, sizeof(*key)) != 0)
            continue;
        log_write(LOG_INFO, guest->subject, "its guests end: its home %s was started anew",
                  guest->nodes[0].name);
        guest_end(guest);
    }
}

bool guests_child_died(struct guests *guests, pid_t pid)
{
    struct guest *guest, *next;

    HASH_ITER(hh, guests->all, guest, next)
    {
        if (guest->crew != NULL && crew_child_died(guest->crew, pid))
            return true;
    }
    return false;
}

bool guests_have(const struct guests *guests, uint64_t job)
{
    for (const struct guest *guest = guests->all; guest != NULL; guest = guest->hh.next)
        if (guest->key.job == job)
            return true;
    return false;
}

void guests_stop(struct guests *guests, bool kill)
{
    struct guest *guest, *next;

    HASH_ITER(hh, guests->all, guest, next)
    {
        guest_tell_failed(guest, "its daemon was stopped");
        if (kill || guest->state != GUEST_LAUNCHED)
            guest_end(guest);
        else
            crew_signal(guest->crew, SIGTERM);
    }
}

bool guests_idle(const struct guests *guests)
{
    for (const struct guest *guest = guests->all; guest != NULL; guest = guest->hh.next)
        if (guest->state == GUEST_LAUNCHED || (guest->crew != NULL && !crew_quiet(guest->crew)))
            return false;
    return true;
}

unsigned guests_count(const struct guests *guests, uint32_t *pes)
{
    *pes = 0;
    for (const struct guest *guest = guests->all; guest != NULL; guest = guest->hh.next)
        *pes += guest->nodes[guest->node].pes;
    return HASH_COUNT(guests->all);
}

struct guests *guests_create(const struct guests_settings *settings)
{
    struct guests *guests = calloc(1, sizeof(*guests));

    if (guests == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    guests->settings = *settings;
    return guests;
}

void guests_destroy(struct guests *guests)
{
    struct guest *guest, *next;

    if (guests == NULL)
        return;
    HASH_ITER(hh, guests->all, guest, next)
    {
        HASH_DEL(guests->all, guest);
        guest_destroy(guest);
    }
    free(guests);
}
