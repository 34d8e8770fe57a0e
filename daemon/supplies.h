/*
 * Files that clients bring for their jobs: Offer and BlobPut carried out on the cache of bundles, which
 * is cleared of what is old as long as the daemon runs.
 */
#ifndef C4P_DAEMON_SUPPLIES_H
#define C4P_DAEMON_SUPPLIES_H

#include "daemon/control/control.h"
#include "daemon/jobs/bundle.h"

struct supplies;
struct event_base;

/* What is old is looked for so often. */
#define SUPPLIES_EVICT_SECONDS 600

/* NULL with a sentence in `error` (BUNDLE_ERROR_SIZE). Destroy is NULL-safe. */
struct supplies *supplies_create(struct event_base *base, const struct bundles_settings *settings,
                                 char *error);
void supplies_destroy(struct supplies *supplies);
void supplies_configure(struct supplies *supplies, const struct bundles_settings *settings);
struct bundles *supplies_bundles(struct supplies *supplies);

/* As a control_handler. `supplies` NULL: a private daemon's, which has no place for files. */
int supplies_offer(struct supplies *supplies, struct control *control, struct control_peer *peer,
                   const C4p__Request *request, char reason[CONTROL_REASON_SIZE]);
int supplies_put(struct supplies *supplies, struct control *control, struct control_peer *peer,
                 const C4p__Request *request, char reason[CONTROL_REASON_SIZE]);

#endif
