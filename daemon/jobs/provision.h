/*
 * What a guest needs before its PEs start: the program's files and an interpreter.
 *
 * The files are at their root on this host with the same content, or those that are missing here are
 * fetched from the home (fetch.c) and all are copied to a directory of the job's own, work/HOME-JOB
 * in the state directory, to which argv, cwd and PYTHONPATH then lead. The directory goes with
 * provision_end(), or with the next start of a daemon that was killed.
 *
 * Also the other side: what other nodes fetch from here.
 */
#ifndef C4P_DAEMON_JOBS_PROVISION_H
#define C4P_DAEMON_JOBS_PROVISION_H

#include <stdbool.h>

#include "daemon/cluster/swim.h"
#include "daemon/jobs/bundle.h"
#include "daemon/jobs/probe.h"
#include "proto/cluster.pb-c.h"

/* A request that is not answered is sent again after this long, so often; then it failed. */
#define PROVISION_RETRY_MS 2000
#define PROVISION_TRIES 8

struct provisions;
struct provision;

struct provisions_settings {
    struct event_base *base;
    struct bundles *bundles;
    struct probes *probes;
    const char *state_dir; /* borrowed */
    unsigned retry_ms;     /* 0: PROVISION_RETRY_MS */
    /* To a node: 0, or -1 with errno, as cluster_send(). */
    int (*send)(void *context, const struct node_key *to, C4p__Peer *message);
    void *context;
};

/* NULL with errno. Removes what an earlier daemon left in work/. Destroy is NULL-safe, and ends what
 * is under way without telling. */
struct provisions *provisions_create(const struct provisions_settings *settings);
void provisions_destroy(struct provisions *provisions);

/* FetchManifest and FetchBlob are answered, Manifest and BlobPart go to who waits for them. False:
 * it is none of these. */
bool provisions_message(struct provisions *provisions, const struct node_key *from,
                        const C4p__Peer *message);
/* A node is lost: what waited for it fails, with `why`. */
void provisions_down(struct provisions *provisions, const struct node_key *key, const char *why);

struct provision_result {
    const char *failed; /* a sentence; NULL: all is there */
    bool permanent;     /* it is no use to try this host again for this job */
    /* argv, env and cwd as they are here; the rest is empty. For submission_init(). */
    const C4p__Submit *submit;
    const char *remark; /* for the job's log: another interpreter than the home's; or empty */
};

/* Told once, by the event loop, never from within the call. What is in the result is good during the
 * call. */
typedef void provision_told(void *context, const struct provision_result *result);

/* `prepare` is used during the call only. NULL with errno ENOMEM. */
struct provision *provision_start(struct provisions *provisions, const struct node_key *home,
                                  const char *home_name, const C4p__Prepare *prepare,
                                  provision_told *told, void *context);
/* Right after the start: this is the host of the submission. If the cwd is here the job runs there, so
 * that what it writes is kept, and a copy is used of its files only. */
void provision_keep_cwd(struct provision *provision);
/* The job is over, or is not wanted any more: the directory is removed. Call it for each, also after
 * a failure, also from within `told`. NULL-safe. */
void provision_end(struct provision *provision);

#endif
