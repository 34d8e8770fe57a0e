/*
 * Open jobs hold on to the bundles of their files: from the submission, or from the start of the daemon
 * that finds them in the store, to their end.
 */
#include <stdlib.h>

#include "daemon/jobs/jobs_internal.h"

int submit_check_bundle(struct jobs *jobs, const C4p__Submit *submit, char reason[JOBS_REASON_SIZE])
{
    struct bundle_hash hash;

    if (submit->bundle.len == 0)
        return 0;
    if (jobs->settings.bundles == NULL)
        return jobs_refuse(reason, "a private daemon keeps no files: it runs where they are");
    if (!bundle_hash_read(&hash, &submit->bundle))
        return jobs_refuse(reason, "the name of a bundle has %zu bytes, not %d", submit->bundle.len,
                           BUNDLE_HASH_SIZE);
    return bundles_secure(jobs->settings.bundles, &hash, reason);
}

void entry_pin(struct jobs *jobs, struct entry *entry, const struct store_job *record)
{
    C4p__Submit *submit;
    struct bundle_hash hash;

    if (jobs->settings.bundles == NULL || record->request_size == 0 ||
        job_state_final(record->state))
        return;
    submit = c4p__submit__unpack(NULL, record->request_size, record->request);
    if (submit != NULL && bundle_hash_read(&hash, &submit->bundle))
        entry->bundle = malloc(sizeof(*entry->bundle));
    if (entry->bundle != NULL) {
        *entry->bundle = hash;
        bundles_pin(jobs->settings.bundles, &hash);
    }
    if (submit != NULL)
        c4p__submit__free_unpacked(submit, NULL);
}

void entry_unpin(struct jobs *jobs, struct entry *entry)
{
    if (entry->bundle != NULL)
        bundles_unpin(jobs->settings.bundles, entry->bundle);
    free(entry->bundle);
    entry->bundle = NULL;
}
