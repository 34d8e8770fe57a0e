/*
 * The PEs of a job at its own home, and the files that came along with it.
 *
 * Where they are in place with the content of the submission they are used there. If they are not, the
 * home runs a copy of them, as the other nodes do: so a job is one version of its program everywhere. A
 * program that was edited while its job waited still runs in its own directory, or what it writes there
 * would go with the copy; one that came from a machine that is no node has none here. To look takes a
 * while; meanwhile the job is out of the queue, and its PEs are promised.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/jobs/away.h"
#include "daemon/jobs/home.h"
#include "daemon/jobs/provision.h"
#include "daemon/log.h"
#include "proto/clock.h"

/* What may be there the next time. */
#define AGAIN_MS 1500

struct home {
    struct provision *provision;
    struct reservation_part *parts;
    size_t count;
};

void home_end(struct entry *entry)
{
    struct home *home = entry->home;

    if (home == NULL)
        return;
    entry->home = NULL;
    provision_end(home->provision);
    free(home->parts);
    free(home);
}

bool home_waits(const struct entry *entry)
{
    return entry->home != NULL && entry->job == NULL;
}

/* It goes back to where it was in the queue. */
static void home_give_back(struct jobs *jobs, struct entry *entry, const char *reason, int64_t at)
{
    snprintf(entry->back_reason, sizeof(entry->back_reason), "%s", reason);
    entry->back_at = at;
    jobs->running++; /* entry_back() takes one that runs */
    entry_back(jobs, entry);
}

/* The same job, with the command as it is here. */
static void home_go(struct jobs *jobs, struct entry *entry, const C4p__Submit *here)
{
    char error[STORE_ERROR_SIZE];
    const struct home *home = entry->home;
    C4p__Submit *submit, own;
    bool later;

    submit = submit_fetch(jobs, entry, &later, error);
    if (submit == NULL) {
        if (later)
            entry_postpone(jobs, entry, error);
        else
            entry_end_unstarted(jobs, entry, JOB_FAILED, 1, error);
        return;
    }
    own = *submit;
    own.n_argv = here->n_argv;
    own.argv = here->argv;
    own.n_env = here->n_env;
    own.env = here->env;
    own.cwd = here->cwd;
    entry_go(jobs, entry, submit, &own, home->parts, home->count);
    c4p__submit__free_unpacked(submit, NULL);
}

static void on_provided(void *context, const struct provision_result *result)
{
    struct entry *entry = context;
    struct jobs *jobs = entry->jobs;

    if (result->failed != NULL && result->permanent)
        entry_end_unstarted(jobs, entry, JOB_FAILED, 1, result->failed);
    else if (result->failed != NULL)
        home_give_back(jobs, entry, result->failed, clock_ms() + AGAIN_MS);
    else if (jobs->draining || jobs->store_down)
        home_give_back(jobs, entry, "the daemon started no more jobs", clock_ms());
    else
        home_go(jobs, entry, result->submit);
}

/* Are there PEs of it here? */
static bool has_pes(const struct jobs *jobs, const struct reservation_part *parts, size_t count)
{
    const struct member_record *self = post_self(jobs->settings.post);

    return away_alone(jobs, parts, count) ||
           (self != NULL && memcmp(&parts[0].node, &self->key, sizeof(self->key)) == 0);
}

bool home_begin(struct jobs *jobs, struct entry *entry, const C4p__Submit *submit,
                const struct reservation_part *parts, size_t count)
{
    static const struct node_key alone;
    const struct member_record *self;
    C4p__Prepare prepare = C4P__PREPARE__INIT;
    struct home *home;

    if (jobs->settings.provisions == NULL || submit->bundle.len == 0 ||
        !has_pes(jobs, parts, count))
        return false;
    self = post_self(jobs->settings.post);
    prepare.job = entry->id;
    prepare.n_argv = submit->n_argv;
    prepare.argv = submit->argv;
    prepare.n_env = submit->n_env;
    prepare.env = submit->env;
    prepare.cwd = submit->cwd;
    prepare.bundle = submit->bundle;
    home = entry->home = calloc(1, sizeof(*home));
    if (home != NULL && (home->parts = calloc(count + 1, sizeof(*parts))) != NULL) {
        memcpy(home->parts, parts, count * sizeof(*parts));
        home->count = count;
        home->provision =
            provision_start(jobs->settings.provisions, self != NULL ? &self->key : &alone,
                            jobs->place->host, &prepare, on_provided, entry);
    }
    if (home != NULL && home->provision != NULL && !submit->outside)
        provision_keep_cwd(home->provision);
    if (home == NULL || home->provision == NULL)
        entry_end_unstarted(jobs, entry, JOB_FAILED, 1, "the daemon is out of memory");
    return true;
}
