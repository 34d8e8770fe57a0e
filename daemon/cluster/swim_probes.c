/*
 * Probes: is it there?
 *
 * In each period one member is probed, in an order that is shuffled after each round. Without an
 * answer it is tried again, in all SWIM_TRIES times, and others are asked to try it; when the period is
 * over it is a suspect. Suspects that we have accused are probed without a pause, until they answer or
 * are lost. A period and its parts are longer by our health: who hears nothing from anybody, not even
 * from those that he asked for help, doubts himself first (Lifeguard).
 */
#include "daemon/cluster/swim_internal.h"

#include <string.h>

static uint32_t step_of(const struct swim *swim, const struct probe *probe)
{
    uint32_t rest = swim->settings.probe_ms - swim->settings.probe_timeout_ms;

    /* A helper is through before who asked it gives up. */
    if (probe->kind == PROBE_HELP)
        return rest / 3;
    return swim_health_scaled(swim, probe->tries == 1 ? swim->settings.probe_timeout_ms
                                                      : rest / (SWIM_TRIES - 1));
}

static bool probe_of(const struct swim *swim, const struct member *member)
{
    for (unsigned i = 0; i < swim->probes_top; i++) {
        const struct probe *probe = &swim->probes[i];

        if (probe->member == member && (probe->kind == PROBE_TURN || probe->kind == PROBE_CHECK))
            return true;
    }
    return false;
}

static struct probe *probe_find(struct swim *swim, uint64_t number)
{
    for (unsigned i = 0; i < swim->probes_top; i++)
        if (swim->probes[i].kind != PROBE_FREE && swim->probes[i].number == number)
            return &swim->probes[i];
    return NULL;
}

static void probe_end(struct swim *swim, struct probe *probe)
{
    if (probe->kind == PROBE_HELP)
        swim->probes_help--;
    if (probe->kind == PROBE_CHECK)
        swim->probes_check--;
    probe->kind = PROBE_FREE;
    probe->member = NULL;
    while (swim->probes_top > 0 && swim->probes[swim->probes_top - 1].kind == PROBE_FREE)
        swim->probes_top--;
}

/* The second try tells it who asks: it may not have heard of us. */
static void probe_send(struct swim *swim, struct probe *probe)
{
    struct outgoing *outgoing =
        swim_message_add(swim, SWIM_PROBE, &probe->member->record.key, probe->number);

    if (outgoing != NULL)
        outgoing->with_self = outgoing->with_facts = probe->tries > 0;
    probe->tries++;
    probe->next = swim->now + step_of(swim, probe);
    swim_wake_by(swim, probe->next);
}

static struct probe *probe_start(struct swim *swim, struct member *member, enum probe_kind kind)
{
    unsigned index = 0;
    struct probe *probe;

    if ((kind == PROBE_CHECK && swim->probes_check == SWIM_PROBES_CHECK) ||
        (kind == PROBE_HELP && swim->probes_help == SWIM_PROBES_HELP))
        return NULL;
    while (index < swim->probes_top && swim->probes[index].kind != PROBE_FREE)
        index++;
    if (index == SWIM_PROBES)
        return NULL;
    if (index == swim->probes_top)
        swim->probes_top++;
    probe = &swim->probes[index];
    memset(probe, 0, sizeof(*probe));
    probe->kind = kind;
    probe->member = member;
    probe->number = ++swim->number;
    swim->probes_help += kind == PROBE_HELP;
    swim->probes_check += kind == PROBE_CHECK;
    probe_send(swim, probe);
    return probe;
}

bool swim_probe_check(struct swim *swim, struct member *member)
{
    return probe_of(swim, member) || probe_start(swim, member, PROBE_CHECK) != NULL;
}

/* ---- help ---- */

static bool helper_asked(const struct probe *probe, const struct node_key *key)
{
    for (unsigned i = 0; i < probe->helpers; i++)
        if (swim_key_equal(&probe->helper[i], key))
            return true;
    return false;
}

static void helpers_ask(struct swim *swim, struct probe *probe)
{
    unsigned wanted = swim->settings.helpers;

    for (unsigned i = 0; i < 3 * wanted && probe->helpers < wanted; i++) {
        struct member *helper = swim_member_random(swim, probe->member);
        struct outgoing *outgoing;

        if (helper == NULL)
            return;
        if (helper->record.state != MEMBER_ALIVE || helper_asked(probe, &helper->record.key))
            continue;
        outgoing = swim_message_add(swim, SWIM_PROBE_FOR, &helper->record.key, probe->number);
        if (outgoing == NULL)
            return;
        outgoing->about = probe->member->record.key;
        probe->helper[probe->helpers++] = helper->record.key;
    }
}

static void help_answer(struct swim *swim, const struct node_key *asker, uint64_t number,
                        const struct node_key *about, bool failed)
{
    struct outgoing *outgoing = swim_message_add(swim, SWIM_PROBE_ANSWER, asker, number);

    if (outgoing == NULL)
        return;
    outgoing->failed = failed;
    outgoing->about = *about;
}

static void help_end(struct swim *swim, struct probe *probe, bool failed)
{
    help_answer(swim, &probe->asker, probe->asker_number, &probe->member->record.key, failed);
    probe_end(swim, probe);
}

/* ---- time ---- */

static void probe_failed(struct swim *swim, struct probe *probe)
{
    struct member *member = probe->member;

    if (probe->kind == PROBE_HELP) {
        help_end(swim, probe, true);
        return;
    }
    if (probe->helpers > 0 && probe->refusals == 0)
        swim_health_change(swim, 1);
    probe_end(swim, probe);
    if (member->record.state == MEMBER_ALIVE)
        swim_suspicion_begin(swim, member, &swim->self->record.key);
    else if (member->record.state == MEMBER_SUSPECT)
        swim_suspicion_failed(swim, member);
}

static void probe_step(struct swim *swim, struct probe *probe)
{
    unsigned tries = probe->kind == PROBE_HELP ? SWIM_TRIES - 1 : SWIM_TRIES;

    if (probe->tries >= tries) {
        probe_failed(swim, probe);
        return;
    }
    if (probe->tries == 1 && probe->kind != PROBE_HELP)
        helpers_ask(swim, probe);
    probe_send(swim, probe);
}

static struct member *turn_next(struct swim *swim)
{
    for (size_t i = 0; i < swim->count; i++) {
        struct member *member;

        if (swim->turn >= swim->count) {
            swim->turn = 0;
            swim_members_shuffle(swim);
        }
        member = swim->members[swim->turn++];
        if (member != swim->self && swim_member_reachable(member))
            return member;
    }
    return NULL;
}

static void turn_tick(struct swim *swim)
{
    struct member *member;

    if (swim->alive == 0)
        return;
    if (swim->next_probe <= swim->now) {
        swim->next_probe = swim->now + swim_health_scaled(swim, swim->settings.probe_ms);
        member = turn_next(swim);
        if (member != NULL && !probe_of(swim, member))
            probe_start(swim, member, PROBE_TURN);
    }
    swim_wake_by(swim, swim->next_probe);
}

void swim_probes_tick(struct swim *swim)
{
    for (unsigned i = 0; i < swim->probes_top; i++) {
        struct probe *probe = &swim->probes[i];

        if (probe->kind == PROBE_FREE)
            continue;
        if (probe->next <= swim->now)
            probe_step(swim, probe);
        else
            swim_wake_by(swim, probe->next);
    }
    turn_tick(swim);
}

void swim_probes_postpone(struct swim *swim, int64_t by)
{
    for (unsigned i = 0; i < swim->probes_top; i++)
        swim->probes[i].next += by;
}

void swim_probes_forget(struct swim *swim, const struct member *member)
{
    for (unsigned i = SWIM_PROBES; i-- > 0;)
        if (i < swim->probes_top && swim->probes[i].kind != PROBE_FREE &&
            swim->probes[i].member == member)
            probe_end(swim, &swim->probes[i]);
}

/* ---- messages ---- */

void swim_probe_receive(struct swim *swim, struct member *from, const struct swim_message *message)
{
    struct outgoing *outgoing =
        swim_message_add(swim, SWIM_PROBE_ANSWER, &from->record.key, message->number);

    if (outgoing == NULL)
        return;
    outgoing->with_self = swim->reply_self;
    outgoing->with_facts = swim->reply_facts;
}

/* Who cannot help says so at once: the asker learns that it is not deaf itself, and what we know. */
void swim_probe_for_receive(struct swim *swim, struct member *from,
                            const struct swim_message *message)
{
    struct member *member = swim_member_find(swim, &message->about);
    struct probe *probe = NULL;

    if (member != NULL && member != swim->self && swim_member_reachable(member))
        probe = probe_start(swim, member, PROBE_HELP);
    if (probe == NULL) {
        help_answer(swim, &from->record.key, message->number, &message->about, true);
        return;
    }
    probe->asker = from->record.key;
    probe->asker_number = message->number;
}

static void probe_succeeded(struct swim *swim, struct probe *probe, bool direct)
{
    probe->member->failures = 0;
    if (probe->kind == PROBE_HELP) {
        help_end(swim, probe, false);
        return;
    }
    if (direct)
        swim_health_change(swim, -1);
    probe_end(swim, probe);
}

void swim_probe_answer_receive(struct swim *swim, struct member *from,
                               const struct swim_message *message)
{
    struct probe *probe = probe_find(swim, message->number);

    if (probe == NULL)
        return;
    if (probe->member == from) {
        if (!message->failed)
            probe_succeeded(swim, probe, true);
    } else if (helper_asked(probe, &from->record.key)) {
        if (!message->failed)
            probe_succeeded(swim, probe, false);
        else if (probe->refusals < probe->helpers)
            probe->refusals++;
    }
}
