/*
 * What jobs need beside PEs, files and Python. Clients bring files (Offer and BlobPut); they are kept
 * in the cache of bundles, which is cleared of what is old as long as the daemon runs; other nodes
 * fetch them from here, and guests of this node get theirs.
 */
#ifndef C4P_DAEMON_SUPPLIES_H
#define C4P_DAEMON_SUPPLIES_H

#include "daemon/control/control.h"
#include "daemon/jobs/bundle.h"

struct supplies;
struct job_place;
struct post;
struct probes;
struct provisions;

/* What is old is looked for so often. */
#define SUPPLIES_EVICT_SECONDS 600

/* `post` NULL: there never are other nodes. NULL with a sentence in `error` (BUNDLE_ERROR_SIZE).
 * Destroy is NULL-safe. */
struct supplies *supplies_create(const struct job_place *place,
                                 const struct bundles_settings *settings, struct post *post,
                                 char *error);
void supplies_destroy(struct supplies *supplies);
void supplies_configure(struct supplies *supplies, const struct bundles_settings *settings);
/* For the jobs. NULL where there are none. */
struct bundles *supplies_bundles(struct supplies *supplies);
struct probes *supplies_probes(struct supplies *supplies);
struct provisions *supplies_provisions(struct supplies *supplies);

/* As a control_handler. `supplies` NULL: a private daemon's, which has no place for files. */
int supplies_offer(struct supplies *supplies, struct control *control, struct control_peer *peer,
                   const C4p__Request *request, char reason[CONTROL_REASON_SIZE]);
int supplies_put(struct supplies *supplies, struct control *control, struct control_peer *peer,
                 const C4p__Request *request, char reason[CONTROL_REASON_SIZE]);

#endif
