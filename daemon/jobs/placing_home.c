#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/jobs/placing_parts.h"
#include "daemon/words.h"

/* Attempts of one start of the daemon, in bits: those of the next one are newer. */
#define ATTEMPT_BITS 24
/* After a failure that has nothing to do with other nodes. */
#define TROUBLE_MS 1000

static bool is_self(const struct placing *placing, const struct node_key *node)
{
    return memcmp(node, &placing->peers.self, sizeof(*node)) == 0;
}

static struct placement *placement_find(const struct placing *placing, uint64_t job)
{
    struct placement *placement;

    HASH_FIND(hh, placing->placements, &job, sizeof(job), placement);
    return placement;
}

void placement_free(struct placing *placing, struct placement *placement)
{
    HASH_DEL(placing->placements, placement);
    reservation_destroy(placement->reservation);
    if (placement->need != NULL)
        c4p__python__free_unpacked(placement->need, NULL);
    free(placement->unfit);
    free(placement->unfit_term);
    free(placement);
}

static struct placement *placement_make(struct placing *placing, uint64_t job)
{
    struct placement *placement = placement_find(placing, job);

    if (placement != NULL)
        return placement;
    placement = calloc(1, sizeof(*placement));
    if (placement == NULL)
        return NULL;
    placement->job = job;
    placement->wake = -1;
    HASH_ADD(hh, placing->placements, job, sizeof(placement->job), placement);
    return placement;
}

/* ---- messages ---- */

static void reserve_send(struct placing *placing, const struct placement *placement,
                         const struct node_key *to, uint32_t pes)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__Reserve question = C4P__RESERVE__INIT;

    question.job = placement->job;
    question.attempt = placement->attempt;
    question.pes = pes;
    question.lease_ms = RESERVE_LEASE_MS;
    question.priority = placement->request.priority;
    question.waited_ms = (uint64_t)placement->request.waited_ms;
    question.python = placement->need;
    message.body_case = C4P__PEER__BODY_RESERVE;
    message.reserve = &question;
    placing_send(placing, to, &message);
}

static void release_send(struct placing *placing, const struct node_key *to, uint64_t job,
                         uint64_t attempt)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__Release release = C4P__RELEASE__INIT;

    release.job = job;
    release.attempt = attempt;
    message.body_case = C4P__PEER__BODY_RELEASE;
    message.release = &release;
    placing_send(placing, to, &message);
}

/* ---- what a reservation asks for ---- */

static uint64_t incarnation_of(struct placing *placing, const struct node_key *node)
{
    const struct member_record *const *records = NULL;
    size_t known = placing->joined ? placing->peers.nodes(placing->peers.context, &records) : 0;

    for (size_t i = 0; i < known; i++)
        if (memcmp(&records[i]->key, node, sizeof(*node)) == 0)
            return records[i]->incarnation;
    return 0;
}

static void unfit_add(struct placing *placing, struct placement *placement,
                      const struct reservation_unfit *unfit, int64_t until)
{
    size_t count = placement->unfit_count;
    struct reservation_unfit *all = reallocarray(placement->unfit, count + 1, sizeof(*all));
    struct unfit_term *terms;

    if (all == NULL)
        return;
    placement->unfit = all;
    terms = reallocarray(placement->unfit_term, count + 1, sizeof(*terms));
    if (terms == NULL)
        return;
    placement->unfit_term = terms;
    all[count] = *unfit;
    terms[count] = (struct unfit_term){incarnation_of(placing, &unfit->node), until};
    placement->unfit_count++;
}

static void unfit_drop(struct placement *placement, size_t i)
{
    placement->unfit_count--;
    placement->unfit[i] = placement->unfit[placement->unfit_count];
    placement->unfit_term[i] = placement->unfit_term[placement->unfit_count];
}

void placements_forgive(struct placing *placing, const struct member_record *node)
{
    struct placement *placement, *next;

    HASH_ITER(hh, placing->placements, placement, next)
    {
        for (size_t i = placement->unfit_count; i-- > 0;)
            if (memcmp(&placement->unfit[i].node, &node->key, sizeof(node->key)) == 0 &&
                placement->unfit_term[i].incarnation != node->incarnation)
                unfit_drop(placement, i);
    }
}

int64_t placements_forgive_by(struct placing *placing, int64_t now)
{
    struct placement *placement, *next;
    int64_t first = INT64_MAX;
    bool any = false;

    HASH_ITER(hh, placing->placements, placement, next)
    {
        for (size_t i = placement->unfit_count; i-- > 0;) {
            int64_t until = placement->unfit_term[i].until;

            if (until > now) {
                first = until < first ? until : first;
                continue;
            }
            unfit_drop(placement, i);
            any = true;
        }
    }
    if (any)
        placing->host.changed(placing->host.context);
    return first < INT64_MAX ? first : -1;
}

static void ask(struct placing *placing, struct placement *placement,
                const struct reservation_action *action)
{
    uint32_t pes = action->pes;

    if (!is_self(placing, &action->node)) {
        reserve_send(placing, placement, &action->node, pes);
        return;
    }
    if (!ledger_take(placing->ledger, placement->job, pes))
        pes = 0;
    reservation_answer(placement->reservation, &action->node, action->attempt, pes, false,
                       "its PEs were taken meanwhile", placing_now(placing));
}

static void release(struct placing *placing, const struct placement *placement,
                    const struct reservation_action *action)
{
    if (is_self(placing, &action->node))
        ledger_release(placing->ledger, NULL, placement->job);
    else
        release_send(placing, &action->node, placement->job, action->attempt);
}

/* Only this node's: there is no lease to be renewed. */
static bool only_self(const struct placing *placing, const struct reservation_part *parts,
                      size_t count)
{
    return count == 1 && is_self(placing, &parts[0].node);
}

static void reservation_end(struct placement *placement)
{
    reservation_destroy(placement->reservation);
    placement->reservation = NULL;
    placement->wake = -1;
}

static void tell_placed(struct placing *placing, struct placement *placement,
                        const struct reservation_part *from, size_t count)
{
    struct reservation_part *parts = calloc(count, sizeof(*parts));
    uint64_t job = placement->job, attempt = placement->attempt;

    if (parts == NULL) {
        placing_back(placing, job);
        placing->host.not_now(placing->host.context, job, "the daemon is out of memory",
                              placing_now(placing) + TROUBLE_MS);
        return;
    }
    memcpy(parts, from, count * sizeof(*parts));
    placement->state = PLACEMENT_PLACED;
    placement->tries = 0;
    if (only_self(placing, parts, count))
        reservation_end(placement);
    placing_settled(placing);
    placing->host.placed(placing->host.context, job, attempt, parts, count);
    free(parts);
}

static void tell_not_now(struct placing *placing, struct placement *placement, const char *why,
                         int64_t at)
{
    uint64_t job = placement->job;
    char reason[RESERVE_REASON_SIZE];

    snprintf(reason, sizeof(reason), "%s", why);
    placement->state = PLACEMENT_WAITS;
    placement->tries++;
    reservation_end(placement);
    placing_settled(placing);
    placing->host.not_now(placing->host.context, job, reason, at);
}

static void failed(struct placing *placing, struct placement *placement,
                   const struct reservation_action *action)
{
    const struct reservation_unfit *unfit = reservation_unfit(placement->reservation);
    const struct node_key *blamed = reservation_blamed(placement->reservation);

    if (unfit != NULL) {
        unfit_add(placing, placement, unfit, INT64_MAX);
    } else if (blamed != NULL && !is_self(placing, blamed)) {
        /* One that has refused has said what it has; of one that is silent nothing is known. */
        if (!placement->refused)
            placing_believe(placing, blamed, 0, PLACING_SILENCE_MS);
    }
    tell_not_now(placing, placement, action->reason, action->at);
}

void placement_act(struct placing *placing, struct placement *placement)
{
    struct reservation_action action;

    while (reservation_next(placement->reservation, &action)) {
        switch (action.kind) {
        case RESERVATION_ASK:
            ask(placing, placement, &action);
            break;
        case RESERVATION_RELEASE:
            release(placing, placement, &action);
            break;
        case RESERVATION_WAKE_AT:
            placement->wake = action.at;
            break;
        case RESERVATION_DONE:
            tell_placed(placing, placement, action.parts, action.count);
            return;
        case RESERVATION_FAILED:
            failed(placing, placement, &action);
            return;
        }
    }
}

/* ---- a try ---- */

static void try_begin(struct placing *placing, struct placement *placement)
{
    struct reservation_request request = {
        .job = placement->job,
        .pes = placement->request.pes,
        .unfit = placement->unfit,
        .unfit_count = placement->unfit_count,
        .tries = placement->tries,
    };
    struct reservation_node *nodes;
    size_t count = 0;

    placement->attempt = (placing->peers.incarnation << ATTEMPT_BITS) + ++placing->attempts;
    request.attempt = placement->attempt;
    request.seed = reservation_mix(placing->seed ^ placement->attempt ^ placement->job);
    nodes = placing_nodes(placing, &count);
    if (nodes != NULL)
        placement->reservation = reservation_create(&request, nodes, count, placing_now(placing));
    free(nodes);
    if (placement->reservation == NULL) {
        tell_not_now(placing, placement, "the daemon is out of memory",
                     placing_now(placing) + TROUBLE_MS);
        return;
    }
    placement->state = PLACEMENT_ASKS;
    placement->refused = false;
    placement_act(placing, placement);
    placing_settled(placing);
}

void placing_try(struct placing *placing, const struct placing_request *request)
{
    struct placement *placement;

    placing_back(placing, request->job);
    placement = placement_make(placing, request->job);
    if (placement == NULL) {
        placing->host.not_now(placing->host.context, request->job, "the daemon is out of memory",
                              placing_now(placing) + TROUBLE_MS);
        return;
    }
    placement->request = *request;
    if (request->pes <= ledger_free(placing->ledger) || !placing->joined || placement->need_known ||
        placing->host.need == NULL) {
        try_begin(placing, placement);
        return;
    }
    placement->state = PLACEMENT_NEEDS;
    placing->host.need(placing->host.context, request->job);
}

static C4p__Python *need_copy(const C4p__Python *need)
{
    size_t size = c4p__python__get_packed_size(need);
    uint8_t *packed = malloc(size + 1);
    C4p__Python *copy;

    if (packed == NULL)
        return NULL;
    c4p__python__pack(need, packed);
    copy = c4p__python__unpack(NULL, size, packed);
    free(packed);
    return copy;
}

void placing_needed(struct placing *placing, uint64_t job, const C4p__Python *need,
                    const char *failed)
{
    struct placement *placement = placement_find(placing, job);

    if (placement == NULL || placement->state != PLACEMENT_NEEDS)
        return;
    if (failed != NULL && *failed == '\0')
        failed = NULL;
    if (failed == NULL && need != NULL && (placement->need = need_copy(need)) == NULL)
        failed = "the daemon is out of memory";
    if (failed != NULL) {
        tell_not_now(placing, placement, failed, placing_now(placing) + TROUBLE_MS);
        return;
    }
    placement->need_known = true;
    try_begin(placing, placement);
}

void placing_reserved(struct placing *placing, const struct node_key *from,
                      const C4p__Reserved *answer)
{
    struct placement *placement = placement_find(placing, answer->job);
    char reason[RESERVE_REASON_SIZE];
    bool asked = placement != NULL && placement->attempt == answer->attempt &&
                 placement->state >= PLACEMENT_ASKS;

    placing_believe(placing, from, answer->pes_free,
                    asked && answer->pes == 0 ? PLACING_DOUBT_MS : PLACING_WORD_MS);
    if (!asked) {
        /* Of a try that is given up: what it kept for us is not wanted. */
        if (answer->pes > 0)
            release_send(placing, from, answer->job, answer->attempt);
        return;
    }
    if (placement->state != PLACEMENT_ASKS)
        return; /* a lease was renewed */
    snprintf(reason, sizeof(reason), "%s", answer->reason);
    words_clean(reason);
    placement->refused = answer->pes == 0;
    reservation_answer(placement->reservation, from, answer->attempt, answer->pes, answer->unfit,
                       reason, placing_now(placing));
    placement_act(placing, placement);
}

/* ---- what becomes of it ---- */

static struct placement *placement_asking(const struct placing *placing)
{
    struct placement *placement, *next;

    HASH_ITER(hh, placing->placements, placement, next)
    {
        if (placement->state == PLACEMENT_ASKS)
            return placement;
    }
    return NULL;
}

void placements_lost(struct placing *placing, const struct node_key *node)
{
    struct placement *placement = placement_asking(placing);

    if (placement == NULL)
        return;
    reservation_lost(placement->reservation, node, placing_now(placing));
    placement_act(placing, placement);
}

void placements_abandon(struct placing *placing, const char *why)
{
    struct placement *placement = placement_asking(placing);
    uint64_t job;

    if (placement == NULL)
        return;
    job = placement->job;
    placing_back(placing, job);
    placing->host.not_now(placing->host.context, job, why, placing_now(placing));
}

void placing_unfit(struct placing *placing, uint64_t job, const struct node_key *node,
                   const char *reason)
{
    struct placement *placement = placement_find(placing, job);
    struct reservation_unfit unfit = {.node = *node};

    if (placement == NULL)
        return;
    snprintf(unfit.reason, sizeof(unfit.reason), "%s", reason);
    words_clean(unfit.reason);
    unfit_add(placing, placement, &unfit, placing_now(placing) + PLACING_UNFIT_MS);
    placing_settled(placing);
}

void placing_settle(struct placing *placing, uint64_t job)
{
    struct placement *placement = placement_find(placing, job);

    if (placement != NULL && placement->state == PLACEMENT_PLACED)
        reservation_end(placement);
    placing_settled(placing);
}

void placing_back(struct placing *placing, uint64_t job)
{
    struct placement *placement = placement_find(placing, job);

    if (placement == NULL)
        return;
    if (placement->reservation != NULL) {
        reservation_cancel(placement->reservation, placing_now(placing));
        placement_act(placing, placement);
        reservation_end(placement);
    }
    ledger_release(placing->ledger, NULL, job);
    placement->state = PLACEMENT_WAITS;
    placing_settled(placing);
}

void placing_end(struct placing *placing, uint64_t job)
{
    struct placement *placement = placement_find(placing, job);

    placing_back(placing, job);
    if (placement != NULL)
        placement_free(placing, placement);
}

enum queue_room placing_room(struct placing *placing, uint64_t job, uint32_t pes,
                             char reason[QUEUE_REASON_SIZE])
{
    const struct placement *placement = placement_find(placing, job);
    struct reservation_request request = {.job = job, .pes = pes};
    struct reservation_sum sum;
    struct reservation_node *nodes;
    size_t count = 0;

    if (placement != NULL && placement->unfit_count > 0) {
        request.unfit = placement->unfit;
        request.unfit_count = placement->unfit_count;
    }
    if (!placing->sum_known || request.unfit_count > 0) {
        nodes = placing_nodes(placing, &count);
        sum = reservation_sum(&request, nodes, nodes != NULL ? count : 0);
        free(nodes);
        if (request.unfit_count == 0) {
            placing->sum = sum;
            placing->sum_known = true;
        }
    } else {
        sum = placing->sum;
    }
    return reservation_room(&request, &sum, !placing->joined, reason);
}
