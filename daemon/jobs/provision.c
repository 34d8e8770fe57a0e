#define _GNU_SOURCE
#include "daemon/jobs/provision.h"

#include <errno.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utlist.h>

#include "daemon/jobs/work.h"
#include "daemon/log.h"
#include "daemon/words.h"
#include "proto/clock.h"

#define REASON_SIZE 480

enum phase {
    FETCHES_MANIFEST, /* from the home, if it is not here */
    LOOKS,            /* are the files in place? */
    FETCHES,
    COPIES,
    PROBES,
    OVER
};

struct provision {
    struct provisions *provisions;
    struct node_key home;
    char home_name[NODE_NAME_MAX + 1];
    uint64_t job;
    struct bundle_hash bundle;
    C4p__Submit *submit; /* the command: ours */
    C4p__Python *python; /* what is needed: ours, or NULL */
    provision_told *told;
    void *context;

    enum phase phase;
    struct event *step;  /* go on, try again, or tell */
    struct fetch *fetch; /* until the files are here */
    struct bundle_copy *copy;
    struct probe *probe;
    uint64_t progress; /* of the fetch, when it was looked at last */
    unsigned tries;
    char directory[PATH_MAX]; /* empty: it needs none */
    char remark[PROBE_REASON_SIZE], failed[REASON_SIZE];
    bool permanent;
    bool keeps_cwd; /* if it is here */
    struct provision *prev, *next;
};

struct provisions {
    struct provisions_settings settings;
    struct provision *list;
};

/* ---- steps ---- */

static void step_after(struct provision *provision, unsigned ms)
{
    event_add(provision->step, &(struct timeval){ms / 1000, ms % 1000 * 1000});
}

/* What was done on the way is let go of; the end is told by the event loop. */
static void provision_finish(struct provision *provision)
{
    provision->phase = OVER;
    bundle_copy_destroy(provision->copy);
    fetch_destroy(provision->fetch);
    probe_cancel(provision->probe);
    provision->copy = NULL;
    provision->fetch = NULL;
    provision->probe = NULL;
    step_after(provision, 0);
}

static void provision_fail(struct provision *provision, bool permanent, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void provision_fail(struct provision *provision, bool permanent, const char *format, ...)
{
    va_list arguments;

    if (provision->phase == OVER)
        return;
    va_start(arguments, format);
    vsnprintf(provision->failed, sizeof(provision->failed), format, arguments);
    va_end(arguments);
    words_clean(provision->failed);
    provision->permanent = permanent;
    provision_finish(provision);
}

/* ---- the interpreter ---- */

static void on_checked(void *context, const struct probe_answer *answer)
{
    struct provision *provision = context;
    ProtobufCBinaryData *program = &provision->submit->argv[0];
    char *command;

    provision->probe = NULL;
    if (answer->unfit[0] != '\0') {
        provision_fail(provision, true, "%s", answer->unfit);
        return;
    }
    if (answer->command[0] != '\0') {
        command = strdup(answer->command);
        if (command == NULL) {
            provision_fail(provision, false, "the daemon is out of memory");
            return;
        }
        free(program->data);
        program->data = (uint8_t *)command;
        program->len = strlen(command);
    }
    snprintf(provision->remark, sizeof(provision->remark), "%s", answer->remark);
    provision_finish(provision);
}

static void probe_start(struct provision *provision)
{
    provision->phase = PROBES;
    fetch_destroy(provision->fetch);
    provision->fetch = NULL;
    provision->probe = probe_check(provision->provisions->settings.probes, provision->python,
                                   on_checked, provision);
    if (provision->probe == NULL)
        provision_fail(provision, false, "the daemon is out of memory");
}

/* ---- the files ---- */

static void copy_start(struct provision *provision)
{
    struct provisions *provisions = provision->provisions;
    char error[BUNDLE_ERROR_SIZE];
    bool looks = provision->phase == LOOKS;

    provision->copy = bundle_copy_create(provisions->settings.bundles, &provision->bundle,
                                         looks ? NULL : provision->directory, error);
    if (provision->copy == NULL)
        provision_fail(provision, true, "the job's files: %s", error);
    else
        step_after(provision, 0);
}

/* Is the directory here in which it runs? */
static bool cwd_is_here(const struct provision *provision)
{
    const ProtobufCBinaryData *cwd = &provision->submit->cwd;
    struct stat status;
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%.*s", (int)(cwd->len < PATH_MAX ? cwd->len : PATH_MAX - 1),
             cwd->len > 0 ? (const char *)cwd->data : "");
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode) && access(path, X_OK) == 0;
}

/* The files are other ones than those of the submission, on its own host. */
static void copy_use_files(struct provision *provision)
{
    char error[BUNDLE_ERROR_SIZE];

    if (bundle_rebase_files(provision->provisions->settings.bundles, &provision->bundle,
                            provision->directory, provision->submit, error) != 0)
        provision_fail(provision, true, "%s", error);
    else
        probe_start(provision);
}

/* The copy is there: now the command leads to it, and so does the directory in which it runs. */
static void copy_use(struct provision *provision)
{
    char error[BUNDLE_ERROR_SIZE], cwd[PATH_MAX];
    C4p__Submit *submit = provision->submit;

    if (provision->keeps_cwd && cwd_is_here(provision)) {
        copy_use_files(provision);
        return;
    }
    if (bundle_rebase(provision->provisions->settings.bundles, &provision->bundle,
                      provision->directory, submit, error) != 0) {
        provision_fail(provision, true, "%s", error);
        return;
    }
    snprintf(cwd, sizeof(cwd), "%.*s",
             (int)(submit->cwd.len < PATH_MAX ? submit->cwd.len : PATH_MAX - 1),
             (const char *)submit->cwd.data);
    if (work_make(provision->directory, cwd) != 0)
        provision_fail(provision, true, "the directory of the job: %s", strerror(errno));
    else
        probe_start(provision);
}

/* What the copy, or the look, came to. */
static void copy_end(struct provision *provision, enum bundle_step step, const char *error)
{
    bundle_copy_destroy(provision->copy);
    provision->copy = NULL;
    if (provision->phase == COPIES && step == BUNDLE_ENDED)
        copy_use(provision);
    else if (provision->phase == COPIES)
        /* What was damaged comes again the next time. */
        provision_fail(
            provision,
            bundles_complete(provision->provisions->settings.bundles, &provision->bundle),
            "the job's files: %s", error);
    else if (step == BUNDLE_ENDED)
        probe_start(provision);
    else {
        provision->phase = FETCHES;
        step_after(provision, 0);
    }
}

static void copy_step(struct provision *provision)
{
    char error[BUNDLE_ERROR_SIZE] = "";
    enum bundle_step step = bundle_copy_step(provision->copy, error);

    if (step == BUNDLE_MORE)
        step_after(provision, 0);
    else
        copy_end(provision,
                 provision->phase == LOOKS && step == BUNDLE_ENDED && !cwd_is_here(provision)
                     ? BUNDLE_OTHERWISE
                     : step,
                 error);
}

/* ---- fetching ---- */

static void ask(struct provision *provision, const struct fetch_action *action)
{
    struct provisions_settings *settings = &provision->provisions->settings;
    ProtobufCBinaryData hash = {BUNDLE_HASH_SIZE, (uint8_t *)(uintptr_t)action->hash.bytes};
    C4p__FetchManifest manifest = C4P__FETCH_MANIFEST__INIT;
    C4p__FetchBlob blob = C4P__FETCH_BLOB__INIT;
    C4p__Peer message = C4P__PEER__INIT;

    if (action->kind == FETCH_ASK_MANIFEST) {
        manifest.hash = hash;
        message.body_case = C4P__PEER__BODY_FETCH_MANIFEST;
        message.fetch_manifest = &manifest;
    } else {
        blob.hash = hash;
        blob.offset = action->offset;
        message.body_case = C4P__PEER__BODY_FETCH_BLOB;
        message.fetch_blob = &blob;
    }
    /* What is not sent is asked for again, or the home is lost, which is told otherwise. */
    if (settings->send(settings->context, &provision->home, &message) != 0)
        log_write(LOG_DEBUG, "bundles", "a question to %s is put off: %s", provision->home_name,
                  strerror(errno));
}

static void fetch_end(struct provision *provision, const struct fetch_action *action)
{
    if (action->kind == FETCH_FAILED) {
        provision_fail(provision, action->here, "the job's files: %s", action->reason);
        return;
    }
    provision->phase = COPIES;
    work_name(provision->provisions->settings.state_dir, &provision->home, provision->job,
              provision->directory);
    copy_start(provision);
}

static bool manifest_is_here(const struct provision *provision)
{
    char error[BUNDLE_ERROR_SIZE];
    size_t size;
    void *data =
        bundles_manifest(provision->provisions->settings.bundles, &provision->bundle, &size, error);

    free(data);
    return data != NULL;
}

/* Ask for what can be asked for; before that, when the manifest has come, look for the files. */
static void fetch_pump(struct provision *provision)
{
    struct fetch_action action;

    if (provision->phase == FETCHES_MANIFEST && manifest_is_here(provision)) {
        provision->phase = LOOKS;
        copy_start(provision);
        return;
    }
    while (fetch_next(provision->fetch, &action)) {
        if (action.kind == FETCH_DONE || action.kind == FETCH_FAILED) {
            fetch_end(provision, &action);
            return;
        }
        ask(provision, &action);
    }
    if (!event_pending(provision->step, EV_TIMEOUT, NULL))
        step_after(provision, provision->provisions->settings.retry_ms);
}

static void fetch_step(struct provision *provision)
{
    uint64_t progress = fetch_progress(provision->fetch);

    if (progress != provision->progress) {
        provision->progress = progress;
        provision->tries = 0;
    } else if (++provision->tries > PROVISION_TRIES) {
        provision_fail(provision, false, "the job's files: %s does not send them",
                       provision->home_name);
        return;
    } else {
        fetch_retry(provision->fetch);
    }
    fetch_pump(provision);
}

/* ---- life ---- */

static void provision_tell(struct provision *provision)
{
    const struct provision_result result = {
        .failed = provision->failed[0] != '\0' ? provision->failed : NULL,
        .permanent = provision->permanent,
        .submit = provision->submit,
        .remark = provision->remark,
    };

    provision->told(provision->context, &result); /* it may be gone now */
}

static void on_step(evutil_socket_t fd, short what, void *argument)
{
    struct provision *provision = argument;

    (void)fd, (void)what;
    switch (provision->phase) {
    case FETCHES_MANIFEST:
    case FETCHES:
        fetch_step(provision);
        break;
    case LOOKS:
    case COPIES:
        copy_step(provision);
        break;
    case OVER:
        provision_tell(provision);
        break;
    case PROBES:
        break;
    }
}

/* The command of a Prepare, and its own copy of what is needed. -1 with errno ENOMEM. */
static int request_copy(struct provision *provision, const C4p__Prepare *prepare)
{
    C4p__Submit submit = C4P__SUBMIT__INIT;
    size_t size, python_size = 0;
    uint8_t *bytes;

    submit.n_argv = prepare->n_argv;
    submit.argv = prepare->argv;
    submit.n_env = prepare->n_env;
    submit.env = prepare->env;
    submit.cwd = prepare->cwd;
    size = c4p__submit__get_packed_size(&submit);
    if (prepare->python != NULL)
        python_size = c4p__python__get_packed_size(prepare->python);
    bytes = malloc((size > python_size ? size : python_size) + 1);
    if (bytes == NULL)
        return -1;
    c4p__submit__pack(&submit, bytes);
    provision->submit = c4p__submit__unpack(NULL, size, bytes);
    if (prepare->python != NULL) {
        c4p__python__pack(prepare->python, bytes);
        provision->python = c4p__python__unpack(NULL, python_size, bytes);
    }
    free(bytes);
    errno = ENOMEM;
    return provision->submit == NULL || (prepare->python != NULL && provision->python == NULL) ? -1
                                                                                               : 0;
}

/* From here on the end is told, whatever it is. */
static void provision_begin(struct provision *provision, const C4p__Prepare *prepare)
{
    struct provisions *provisions = provision->provisions;

    if (provision->submit->n_argv == 0 || provision->submit->argv[0].len == 0) {
        provision_fail(provision, true, "the job has no command");
    } else if (prepare->bundle.len == 0 && !cwd_is_here(provision)) {
        provision_fail(provision, true,
                       "there is no directory %.*s there, and the job brings no files along",
                       prepare->cwd.len < 200 ? (int)prepare->cwd.len : 200,
                       prepare->cwd.len > 0 ? (const char *)prepare->cwd.data : "");
    } else if (prepare->bundle.len == 0) {
        probe_start(provision);
    } else if (!bundle_hash_read(&provision->bundle, &prepare->bundle)) {
        provision_fail(provision, true, "the name of the job's bundle makes no sense");
    } else {
        provision->fetch = fetch_create(provisions->settings.bundles, &provision->bundle);
        if (provision->fetch == NULL)
            provision_fail(provision, false, "the daemon is out of memory");
        else
            fetch_pump(provision);
    }
}

struct provision *provision_start(struct provisions *provisions, const struct node_key *home,
                                  const char *home_name, const C4p__Prepare *prepare,
                                  provision_told *told, void *context)
{
    struct provision *provision = calloc(1, sizeof(*provision));

    if (provision == NULL)
        return NULL;
    provision->provisions = provisions;
    provision->home = *home;
    snprintf(provision->home_name, sizeof(provision->home_name), "%s", home_name);
    provision->told = told;
    provision->context = context;
    DL_APPEND(provisions->list, provision);
    provision->step = event_new(provisions->settings.base, -1, 0, on_step, provision);
    if (provision->step == NULL || request_copy(provision, prepare) != 0) {
        provision_end(provision);
        errno = ENOMEM;
        return NULL;
    }
    provision->job = prepare->job;
    provision_begin(provision, prepare);
    return provision;
}

void provision_keep_cwd(struct provision *provision)
{
    provision->keeps_cwd = true;
}

void provision_end(struct provision *provision)
{
    if (provision == NULL)
        return;
    DL_DELETE(provision->provisions->list, provision);
    bundle_copy_destroy(provision->copy);
    fetch_destroy(provision->fetch);
    probe_cancel(provision->probe);
    if (provision->directory[0] != '\0')
        work_remove(provision->directory);
    if (provision->step != NULL)
        event_free(provision->step);
    if (provision->submit != NULL)
        c4p__submit__free_unpacked(provision->submit, NULL);
    if (provision->python != NULL)
        c4p__python__free_unpacked(provision->python, NULL);
    free(provision);
}

/* ---- all of them ---- */

struct provisions *provisions_create(const struct provisions_settings *settings)
{
    struct provisions *provisions = calloc(1, sizeof(*provisions));

    if (provisions == NULL)
        return NULL;
    provisions->settings = *settings;
    if (settings->retry_ms == 0)
        provisions->settings.retry_ms = PROVISION_RETRY_MS;
    if (work_clean(settings->state_dir) == 0)
        return provisions;
    free(provisions);
    return NULL;
}

void provisions_destroy(struct provisions *provisions)
{
    if (provisions == NULL)
        return;
    while (provisions->list != NULL)
        provision_end(provisions->list);
    free(provisions);
}

void provisions_down(struct provisions *provisions, const struct node_key *key, const char *why)
{
    struct provision *provision;

    DL_FOREACH(provisions->list, provision)
    {
        if (provision->fetch != NULL && memcmp(&provision->home, key, sizeof(*key)) == 0)
            provision_fail(provision, false, "the job's files: the home %s is lost: %s",
                           provision->home_name, why);
    }
}

/* ---- messages ---- */

static void reply(struct provisions *provisions, const struct node_key *to, C4p__Peer *message)
{
    /* Who asks asks again. */
    if (provisions->settings.send(provisions->settings.context, to, message) != 0)
        log_write(LOG_DEBUG, "bundles", "an answer is dropped: %s", strerror(errno));
}

static void manifest_serve(struct provisions *provisions, const struct node_key *from,
                           const C4p__FetchManifest *wanted)
{
    C4p__Manifest manifest = C4P__MANIFEST__INIT;
    C4p__Peer message = C4P__PEER__INIT;
    char error[BUNDLE_ERROR_SIZE] = "a name of a bundle has 32 bytes";
    struct bundle_hash hash;
    void *data = NULL;
    size_t size = 0;

    if (bundle_hash_read(&hash, &wanted->hash))
        data = bundles_manifest(provisions->settings.bundles, &hash, &size, error);
    manifest.hash = wanted->hash;
    manifest.data = (ProtobufCBinaryData){data != NULL ? size : 0, data};
    if (data == NULL)
        manifest.refused = error;
    message.body_case = C4P__PEER__BODY_MANIFEST;
    message.manifest = &manifest;
    reply(provisions, from, &message);
    free(data);
}

static void blob_serve(struct provisions *provisions, const struct node_key *from,
                       const C4p__FetchBlob *wanted)
{
    static uint8_t data[BUNDLE_PART];
    C4p__BlobPart part = C4P__BLOB_PART__INIT;
    C4p__Peer message = C4P__PEER__INIT;
    char error[BUNDLE_ERROR_SIZE] = "a name of a file has 32 bytes";
    struct bundle_hash hash;
    size_t size = 0;
    bool last = false;

    part.hash = wanted->hash;
    part.offset = wanted->offset;
    if (!bundle_hash_read(&hash, &wanted->hash) ||
        bundles_read(provisions->settings.bundles, &hash, wanted->offset, data, sizeof(data), &size,
                     &last, error) != 0)
        part.refused = error;
    part.data = (ProtobufCBinaryData){size, data};
    part.last = last;
    message.body_case = C4P__PEER__BODY_BLOB_PART;
    message.blob_part = &part;
    reply(provisions, from, &message);
}

static bool waits_for(const struct provision *provision, const struct node_key *from)
{
    return provision->fetch != NULL && memcmp(&provision->home, from, sizeof(*from)) == 0 &&
           (provision->phase == FETCHES_MANIFEST || provision->phase == FETCHES);
}

static void manifest_take(struct provisions *provisions, const struct node_key *from,
                          const C4p__Manifest *manifest)
{
    struct provision *provision, *next;
    struct bundle_hash hash;

    if (!bundle_hash_read(&hash, &manifest->hash))
        return;
    DL_FOREACH_SAFE(provisions->list, provision, next)
    {
        if (!waits_for(provision, from) || memcmp(&hash, &provision->bundle, sizeof(hash)) != 0)
            continue;
        fetch_manifest(provision->fetch, manifest->data.data, manifest->data.len,
                       manifest->refused);
        fetch_pump(provision);
    }
}

static void part_take(struct provisions *provisions, const struct node_key *from,
                      const C4p__BlobPart *part)
{
    struct provision *provision, *next;
    struct bundle_hash hash;

    if (!bundle_hash_read(&hash, &part->hash))
        return;
    DL_FOREACH_SAFE(provisions->list, provision, next)
    {
        if (!waits_for(provision, from))
            continue;
        fetch_part(provision->fetch, &hash, part->offset, part->data.data, part->data.len,
                   part->last, part->refused);
        fetch_pump(provision);
    }
}

bool provisions_message(struct provisions *provisions, const struct node_key *from,
                        const C4p__Peer *message)
{
    switch (message->body_case) {
    case C4P__PEER__BODY_FETCH_MANIFEST:
        manifest_serve(provisions, from, message->fetch_manifest);
        return true;
    case C4P__PEER__BODY_FETCH_BLOB:
        blob_serve(provisions, from, message->fetch_blob);
        return true;
    case C4P__PEER__BODY_MANIFEST:
        manifest_take(provisions, from, message->manifest);
        return true;
    case C4P__PEER__BODY_BLOB_PART:
        part_take(provisions, from, message->blob_part);
        return true;
    default:
        return false;
    }
}
