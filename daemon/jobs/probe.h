/*
 * Does this host have the Python that a job needs?
 *
 * At the home, probe_need() asks the interpreter of the job: its version, the release of c4py, and which
 * of the modules that the bundle's files import are found outside the bundle. The answer travels in
 * Reserve and in Prepare. On another node, probe_check() asks an interpreter there. What a program
 * imports is guessed by who reads it (BundleManifest.modules); only what the home itself finds
 * counts, so a wrong guess refuses nothing. Both look where the job's own PYTHONPATH leads as well, but
 * for directories that travel with the bundle.
 *
 * The interpreter is that of the same absolute path; if there is none, or another version, the one of
 * the same name in PATH, and at last this node's own (C4P_PYTHON of the daemon, or what it was
 * built for). A command that is no Python must only exist.
 *
 * An interpreter is a child in the event loop, with a time limit; answers are kept for a minute, by
 * the program's path, its time of change, and the question.
 */
#ifndef C4P_DAEMON_JOBS_PROBE_H
#define C4P_DAEMON_JOBS_PROBE_H

#include <limits.h>
#include <stdbool.h>

#include "daemon/jobs/bundle.h"
#include "daemon/jobs/job.h"
#include "proto/cluster.pb-c.h"

#define PROBE_LIMIT_MS 10000
#define PROBE_KEEP_MS 60000
#define PROBE_REASON_SIZE 320
/* Of PYTHONPATH; directories that do not fit are not searched. */
#define PROBE_MAX_PATH_LIST (16u << 10)

struct probes;
struct probe;

/* NULL with errno. `place` and `bundles` (or NULL) are borrowed. Destroy kills what runs, tells
 * nobody, and is NULL-safe. */
struct probes *probes_create(const struct job_place *place, struct bundles *bundles);
void probes_destroy(struct probes *probes);
/* What this host is called in sentences; at first as `place` says. */
void probes_set_name(struct probes *probes, const char *name);

/*
 * What the job needs. `need` is good during the call; NULL: `reason` says why the home itself cannot
 * run it. Told once, by the event loop, never from within the call. NULL with errno ENOMEM.
 */
typedef void probe_needs(void *context, const C4p__Python *need, const char *reason);
struct probe *probe_need(struct probes *probes, const C4p__Submit *submit, probe_needs *told,
                         void *context);

struct probe_answer {
    /* Why this host cannot run it: "host b: Python 3.9 there, 3.11 here", "host b has no module
     * scipy". Empty: it can. */
    char unfit[PROBE_REASON_SIZE];
    char command[PATH_MAX];         /* the interpreter here; empty: argv[0] as it is */
    char remark[PROBE_REASON_SIZE]; /* another one than the home's: for the log; or empty */
};

/* Can this host run it? `need` NULL: yes. As probe_need(). */
typedef void probe_checked(void *context, const struct probe_answer *answer);
struct probe *probe_check(struct probes *probes, const C4p__Python *need, probe_checked *told,
                          void *context);

/* It is not to be told any more. NULL-safe; not after it was told. */
void probe_cancel(struct probe *probe);

#endif
