#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "daemon/jobs/placing_parts.h"

static bool key_same(const struct node_key *one, const struct node_key *other)
{
    return memcmp(one, other, sizeof(*one)) == 0;
}

static void probing_end(struct placing *placing, struct probing *probing)
{
    DL_DELETE(placing->probing, probing);
    free(probing);
}

void probings_drop(struct placing *placing, const struct node_key *home)
{
    struct probing *probing, *next;

    DL_FOREACH_SAFE(placing->probing, probing, next)
    {
        if (home == NULL || key_same(&probing->home, home))
            probing_end(placing, probing);
    }
}

/* Attempts up to this one are over. */
static void probings_outdate(struct placing *placing, const struct node_key *home, uint64_t job,
                             uint64_t attempt)
{
    struct probing *probing, *next;

    DL_FOREACH_SAFE(placing->probing, probing, next)
    {
        if (key_same(&probing->home, home) && probing->job == job && probing->attempt <= attempt)
            probing_end(placing, probing);
    }
}

static bool is_probing(const struct placing *placing, const struct node_key *home, uint64_t job,
                       uint64_t attempt)
{
    const struct probing *probing;

    DL_FOREACH(placing->probing, probing)
    {
        if (key_same(&probing->home, home) && probing->job == job && probing->attempt == attempt)
            return true;
    }
    return false;
}

static void answer_send(struct placing *placing, const struct node_key *to, uint64_t job,
                        uint64_t attempt, uint32_t pes, bool unfit, const char *reason)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__Reserved answer = C4P__RESERVED__INIT;

    answer.job = job;
    answer.attempt = attempt;
    answer.pes = pes;
    answer.unfit = unfit;
    answer.reason = (char *)(uintptr_t)reason;
    answer.pes_free = placing->stopped ? 0 : ledger_free(placing->ledger);
    message.body_case = C4P__PEER__BODY_RESERVED;
    message.reserved = &answer;
    placing_send(placing, to, &message);
}

/* The slots are promised; now it is asked whether they are of any use. */
static void probing_begin(struct placing *placing, const struct node_key *from,
                          const C4p__Reserve *question)
{
    struct probing *probing = calloc(1, sizeof(*probing));

    if (probing == NULL) {
        ledger_withdraw(placing->ledger, from, question->job, question->attempt);
        answer_send(placing, from, question->job, question->attempt, 0, false,
                    "its daemon is out of memory");
        return;
    }
    probing->home = *from;
    probing->job = question->job;
    probing->attempt = question->attempt;
    probing->pes = question->pes;
    probing->number = ++placing->probes;
    DL_APPEND(placing->probing, probing);
    placing->host.probe(placing->host.context, probing->number, question->python);
}

void placing_reserve(struct placing *placing, const struct node_key *from,
                     const C4p__Reserve *question)
{
    bool known = ledger_has(placing->ledger, from, question->job, question->attempt);
    char reason[RESERVE_REASON_SIZE];

    if (question->attempt > 0)
        probings_outdate(placing, from, question->job, question->attempt - 1);
    if (ledger_promise(placing->ledger, from, question->job, question->attempt, question->pes,
                       question->lease_ms, placing_now(placing), reason) != 0)
        answer_send(placing, from, question->job, question->attempt, 0, false, reason);
    else if (known && is_probing(placing, from, question->job, question->attempt))
        return; /* the answer comes */
    else if (!known && question->python != NULL && placing->host.probe != NULL)
        probing_begin(placing, from, question);
    else
        answer_send(placing, from, question->job, question->attempt, question->pes, false, "");
}

void placing_release(struct placing *placing, const struct node_key *from,
                     const C4p__Release *release)
{
    probings_outdate(placing, from, release->job, release->attempt);
    if (ledger_withdraw(placing->ledger, from, release->job, release->attempt))
        answer_send(placing, from, release->job, release->attempt, 0, false, "");
}

void placing_probed(struct placing *placing, uint64_t number, const char *unfit)
{
    struct probing *probing;
    struct probing done;

    DL_SEARCH_SCALAR(placing->probing, probing, number, number);
    if (probing == NULL)
        return;
    done = *probing;
    probing_end(placing, probing);
    if (!ledger_has(placing->ledger, &done.home, done.job, done.attempt))
        return; /* it took too long */
    if (unfit != NULL && *unfit != '\0') {
        ledger_withdraw(placing->ledger, &done.home, done.job, done.attempt);
        answer_send(placing, &done.home, done.job, done.attempt, 0, true, unfit);
    } else {
        answer_send(placing, &done.home, done.job, done.attempt, done.pes, false, "");
    }
    placing_settled(placing);
}

bool placing_hold(struct placing *placing, const struct node_key *home, uint64_t job,
                  uint64_t attempt)
{
    bool held = ledger_hold(placing->ledger, home, job, attempt, placing_now(placing));

    placing_settled(placing);
    return held;
}

void placing_free(struct placing *placing, const struct node_key *home, uint64_t job)
{
    /* What the home has next need not wait until gossip has told it. */
    if (ledger_release(placing->ledger, home, job))
        answer_send(placing, home, job, 0, 0, false, "");
    placing_settled(placing);
}
