#define _GNU_SOURCE
#include "daemon/jobs/away.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "daemon/jobs/guests.h"
#include "daemon/log.h"

/* A question about Python that another node has asked. */
struct question {
    struct question *prev, *next;
    struct jobs *jobs;
    uint64_t number;
    struct probe *probe;
};

struct away {
    struct post *post; /* borrowed */
    struct guests *guests;
    struct question *questions;
    bool joined;
    struct node_key self; /* then */
    uint64_t incarnation;
};

/* ---- Python ---- */

static void on_need(void *context, const C4p__Python *need, const char *reason)
{
    struct entry *entry = context;
    struct jobs *jobs = entry->jobs;
    size_t size = need != NULL ? c4p__python__get_packed_size(need) : 0;
    uint8_t *packed = malloc(size + 1);

    entry->probe = NULL;
    if (need == NULL) {
        free(packed);
        /* What its own home cannot run, no other node can: it is not to wait for ever. */
        if (queue_remove(jobs->queue, entry->id))
            entry_end_unstarted(jobs, entry, JOB_FAILED, 1, reason);
        return;
    }
    if (packed != NULL) {
        c4p__python__pack(need, packed);
        entry->need = c4p__python__unpack(NULL, size, packed);
    }
    free(packed);
    placing_needed(jobs->placing, entry->id, entry->need,
                   entry->need == NULL ? "the daemon is out of memory" : NULL);
}

void away_need(void *context, uint64_t job)
{
    struct jobs *jobs = context;
    struct entry *entry = entry_find(jobs, job);
    char error[STORE_ERROR_SIZE] = "the daemon is out of memory";
    C4p__Submit *submit;
    bool later;

    if (entry == NULL || entry->probe != NULL)
        return;
    if (entry->need != NULL) {
        placing_needed(jobs->placing, job, entry->need, NULL);
        return;
    }
    submit = submit_fetch(jobs, entry, &later, error);
    if (submit != NULL) {
        entry->probe = probe_need(jobs->settings.probes, submit, on_need, entry);
        c4p__submit__free_unpacked(submit, NULL);
    }
    if (entry->probe == NULL)
        placing_needed(jobs->placing, job, NULL, error);
}

static void on_checked(void *context, const struct probe_answer *answer)
{
    struct question *question = context;
    struct jobs *jobs = question->jobs;
    uint64_t number = question->number;

    DL_DELETE(jobs->away->questions, question);
    free(question);
    placing_probed(jobs->placing, number, answer->unfit);
}

void away_probe(void *context, uint64_t number, const C4p__Python *need)
{
    struct jobs *jobs = context;
    struct question *question = calloc(1, sizeof(*question));

    if (question != NULL) {
        question->jobs = jobs;
        question->number = number;
        question->probe = probe_check(jobs->settings.probes, need, on_checked, question);
    }
    if (question == NULL || question->probe == NULL) {
        /* It cannot be found out now; the preparation will see. */
        free(question);
        placing_probed(jobs->placing, number, NULL);
        return;
    }
    DL_APPEND(jobs->away->questions, question);
}

/* ---- what comes ---- */

/* The only answer to a node that speaks of guests of a job that is over, or never was. */
static void end_tell(struct jobs *jobs, const struct node_key *to, uint64_t job, uint64_t attempt)
{
    C4p__Peer message = C4P__PEER__INIT;
    C4p__Order order = C4P__ORDER__INIT;

    order.job = job;
    order.attempt = attempt;
    order.except = UINT32_MAX;
    order.end = true;
    message.body_case = C4P__PEER__BODY_ORDER;
    message.order = &order;
    post_send(jobs->settings.post, to, &message);
}

/* To a job of ours: is it to be answered if there is no such job? False: it is to no job. */
static bool address_read(const C4p__Peer *message, uint64_t *job, uint64_t *attempt, bool *answer)
{
    switch (message->body_case) {
    case C4P__PEER__BODY_PREPARED:
        *job = message->prepared->job;
        *attempt = message->prepared->attempt;
        *answer = *message->prepared->failed == '\0';
        return true;
    case C4P__PEER__BODY_REPORT:
        *job = message->report->job;
        *attempt = message->report->attempt;
        *answer = message->report->kind != C4P__REPORT__KIND__UNKNOWN;
        return true;
    case C4P__PEER__BODY_GUEST_OUTPUT:
        *job = message->guest_output->job;
        *attempt = message->guest_output->attempt;
        *answer = true;
        return true;
    case C4P__PEER__BODY_GUEST_ACK:
        *job = message->guest_ack->job;
        *attempt = message->guest_ack->attempt;
        *answer = message->guest_ack->answer;
        return true;
    default:
        return false;
    }
}

static void on_message(void *context, const struct node_key *from, const C4p__Peer *message)
{
    struct jobs *jobs = context;
    struct away *away = jobs->away;
    uint64_t job, attempt;
    struct entry *entry;
    bool answer;

    away_look(jobs);
    if (placing_message(jobs->placing, from, message) ||
        guests_message(away->guests, from, message) ||
        !address_read(message, &job, &attempt, &answer))
        return;
    entry = entry_find(jobs, job);
    if (entry != NULL && entry->job != NULL && entry->attempt == attempt)
        job_message(entry->job, from, message);
    else if (answer)
        end_tell(jobs, from, job, attempt);
}

static void on_up(void *context, const struct member_record *node)
{
    struct jobs *jobs = context;
    struct entry *entry;

    away_look(jobs);
    placing_up(jobs->placing, node);
    guests_node_up(jobs->away->guests, &node->key, node->incarnation);
    DL_FOREACH(jobs->active, entry)
    {
        job_node_up(entry->job, &node->key, node->incarnation);
    }
}

static void on_down(void *context, const struct node_key *key, const char *why)
{
    struct jobs *jobs = context;
    struct entry *entry;

    placing_down(jobs->placing, key, why);
    guests_node_down(jobs->away->guests, key, why);
    DL_FOREACH(jobs->active, entry)
    {
        job_node_down(entry->job, key, why);
    }
}

/* ---- the cluster comes and goes ---- */

static size_t on_nodes(void *context, const struct member_record *const **nodes)
{
    struct jobs *jobs = context;

    return post_nodes(jobs->settings.post, nodes);
}

static int on_send(void *context, const struct node_key *to, C4p__Peer *message)
{
    struct jobs *jobs = context;

    return post_send(jobs->settings.post, to, message);
}

static void on_load(void *context, uint32_t pes, uint32_t pes_free, uint32_t queued, bool draining)
{
    struct jobs *jobs = context;

    cluster_set_load(post_cluster(jobs->settings.post),
                     &(struct cluster_load){pes, pes_free, queued, draining});
}

void away_look(struct jobs *jobs)
{
    struct away *away = jobs->away;
    const struct member_record *self = away != NULL ? post_self(away->post) : NULL;
    struct placing_peers peers = {
        .nodes = on_nodes, .send = on_send, .load = on_load, .context = jobs};

    if (away == NULL || (away->joined == (self != NULL) &&
                         (self == NULL || away->incarnation == self->incarnation)))
        return;
    /* Another incarnation: the node has left and joined since, or was overtaken. */
    away->joined = self != NULL;
    if (self != NULL) {
        away->self = peers.self = self->key;
        away->incarnation = peers.incarnation = self->incarnation;
    }
    placing_join(jobs->placing, self != NULL ? &peers : NULL);
}

/* ---- guests ---- */

static const struct node_key *on_self(void *context)
{
    const struct jobs *jobs = context;

    return jobs->away->joined ? &jobs->away->self : NULL;
}

static bool on_hold(void *context, const struct node_key *home, uint64_t job, uint64_t attempt)
{
    struct jobs *jobs = context;

    return placing_hold(jobs->placing, home, job, attempt);
}

static void on_free(void *context, const struct node_key *home, uint64_t job)
{
    struct jobs *jobs = context;

    placing_free(jobs->placing, home, job);
}

static void on_mark(void *context, uint64_t job, char mark[REMAINS_MARK_SIZE])
{
    const struct jobs *jobs = context;

    remains_mark(&jobs->remains, job, mark);
}

static void on_guests_ended(void *context)
{
    struct jobs *jobs = context;

    jobs->orphans = true;
    turn_soon(jobs);
}

bool away_child_died(struct jobs *jobs, pid_t pid)
{
    return jobs->away != NULL && guests_child_died(jobs->away->guests, pid);
}

bool away_have(struct jobs *jobs, uint64_t job)
{
    return jobs->away != NULL && guests_have(jobs->away->guests, job);
}

void away_stop(struct jobs *jobs, bool kill)
{
    if (jobs->away != NULL)
        guests_stop(jobs->away->guests, kill);
}

bool away_idle(const struct jobs *jobs)
{
    return jobs->away == NULL || guests_idle(jobs->away->guests);
}

/* ---- where a job of ours will be ---- */

bool away_alone(const struct jobs *jobs, const struct reservation_part *parts, size_t count)
{
    return jobs->away == NULL || !jobs->away->joined ||
           (count == 1 && memcmp(&parts[0].node, &jobs->away->self, sizeof(parts[0].node)) == 0);
}

static int node_fill(struct jobs *jobs, struct job_node *node, const struct node_key *key,
                     char error[JOBS_REASON_SIZE])
{
    const struct member_record *record = post_find(jobs->settings.post, key);

    if (record == NULL || !record->has_facts || record->state >= MEMBER_LOST)
        return jobs_refuse(error, "a node that had promised PEs is gone");
    node->key = *key;
    snprintf(node->name, sizeof(node->name), "%s", record->facts.name);
    snprintf(node->data, sizeof(node->data), "%s", record->facts.data);
    return 0;
}

/* The home is node 0, with PEs or without. */
static int nodes_fill(struct jobs *jobs, struct away_span *away,
                      const struct reservation_part *parts, size_t count,
                      char error[JOBS_REASON_SIZE])
{
    const struct node_key *self = &jobs->away->self;
    bool here = memcmp(&parts[0].node, self, sizeof(*self)) == 0;
    uint32_t first_pe = 0;

    away->span.count = (uint32_t)(here ? count : count + 1);
    if (away->span.count > CONTROL_MAX_NODES)
        return jobs_refuse(error, "a job has at most %d nodes", CONTROL_MAX_NODES);
    away->nodes = calloc(away->span.count, sizeof(*away->nodes));
    if (away->nodes == NULL)
        return jobs_refuse(error, "the daemon is out of memory");
    away->span.nodes = away->nodes;
    for (uint32_t i = 0; i < away->span.count; i++) {
        const struct reservation_part *part = here ? &parts[i] : i > 0 ? &parts[i - 1] : NULL;

        if (node_fill(jobs, &away->nodes[i], part != NULL ? &part->node : self, error) != 0)
            return -1;
        away->nodes[i].first_pe = first_pe;
        away->nodes[i].pes = part != NULL ? part->pes : 0;
        first_pe += away->nodes[i].pes;
    }
    return 0;
}

int away_span_make(struct jobs *jobs, struct away_span *away, const struct entry *entry,
                   const C4p__Submit *submit, const struct reservation_part *parts, size_t count,
                   char error[JOBS_REASON_SIZE])
{
    memset(away, 0, sizeof(*away));
    c4p__prepare__init(&away->prepare);
    away->prepare.n_argv = submit->n_argv;
    away->prepare.argv = submit->argv;
    away->prepare.n_env = submit->n_env;
    away->prepare.env = submit->env;
    away->prepare.cwd = submit->cwd;
    away->prepare.bundle = submit->bundle;
    away->prepare.session = entry->record.session;
    away->prepare.input = submit->input;
    away->prepare.python = entry->need;
    away->span.attempt = entry->attempt;
    away->span.courier = (struct courier){on_send, jobs};
    away->span.prepare = &away->prepare;
    return nodes_fill(jobs, away, parts, count, error);
}

void away_span_end(struct away_span *away)
{
    free(away->nodes);
    memset(away, 0, sizeof(*away));
}

/* ---- start and end ---- */

static const C4p__Peer__BodyCase bodies[] = {
    C4P__PEER__BODY_RESERVE,   C4P__PEER__BODY_RESERVED,    C4P__PEER__BODY_RELEASE,
    C4P__PEER__BODY_PREPARE,   C4P__PEER__BODY_PREPARED,    C4P__PEER__BODY_LAUNCH,
    C4P__PEER__BODY_ORDER,     C4P__PEER__BODY_REPORT,      C4P__PEER__BODY_GUEST_OUTPUT,
    C4P__PEER__BODY_GUEST_ACK, C4P__PEER__BODY_GUEST_INPUT,
};

static int guests_make(struct jobs *jobs, struct away *away)
{
    const struct guests_settings settings = {
        .place = jobs->place,
        .courier = {on_send, jobs},
        .provisions = jobs->settings.provisions,
        .host = {on_self, on_hold, on_free, on_mark, on_guests_ended, jobs},
    };

    away->guests = guests_create(&settings);
    return away->guests == NULL ? -1 : 0;
}

int away_open(struct jobs *jobs)
{
    const struct post_watch watch = {on_up, on_down, jobs};
    struct away *away;

    if (jobs->settings.post == NULL)
        return 0;
    away = jobs->away = calloc(1, sizeof(*away));
    if (away == NULL)
        return -1;
    away->post = jobs->settings.post;
    if (guests_make(jobs, away) != 0)
        return -1;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++)
        post_handle(away->post, bodies[i], on_message, jobs);
    return post_watch(away->post, &watch);
}

void away_close(struct jobs *jobs)
{
    struct away *away = jobs->away;
    struct question *question, *next;

    if (away == NULL)
        return;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++)
        post_handle(away->post, bodies[i], NULL, NULL);
    guests_destroy(away->guests);
    DL_FOREACH_SAFE(away->questions, question, next)
    {
        probe_cancel(question->probe);
        free(question);
    }
    free(away);
    jobs->away = NULL;
}
