#define _GNU_SOURCE
#include "daemon/jobs/probe.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utlist.h>

#include "daemon/jobs/bundle_internal.h"
#include "daemon/jobs/interpreter.h"
#include "daemon/jobs/spawn.h"
#include "daemon/jobs/submission.h"
#include "daemon/words.h"
#include "proto/path.h"

#ifndef C4P_PYTHON
#define C4P_PYTHON "python3"
#endif

/* The home's path, the same name in PATH, this node's own. */
#define CANDIDATES 3

extern char **environ;

struct probes {
    const struct job_place *place;
    struct bundles *bundles;
    struct interpreters *interpreters;
    struct probe *list;
    char name[64];
};

struct probe {
    struct probes *probes;
    probe_needs *needs; /* one of the two */
    probe_checked *checked;
    void *context;
    C4p__Python *python; /* what is needed; ours */
    char candidates[CANDIDATES][PATH_MAX];
    unsigned count, next;
    char reason[PROBE_REASON_SIZE]; /* of a need that cannot be told */
    struct probe_answer answer;
    unsigned rank; /* of answer.unfit: how near that interpreter was */
    struct interpreter_wait *wait;
    struct event *tell;
    struct probe *prev, *next_probe;
};

struct probes *probes_create(const struct job_place *place, struct bundles *bundles)
{
    struct probes *probes = calloc(1, sizeof(*probes));

    if (probes == NULL || (probes->interpreters = interpreters_create(place)) == NULL) {
        free(probes);
        return NULL;
    }
    probes->place = place;
    probes->bundles = bundles;
    probes_set_name(probes, place->host);
    return probes;
}

void probes_set_name(struct probes *probes, const char *name)
{
    snprintf(probes->name, sizeof(probes->name), "%s", name);
}

/* ---- one probe ---- */

static void probe_destroy(struct probe *probe)
{
    struct probes *probes = probe->probes;

    DL_DELETE2(probes->list, probe, prev, next_probe);
    interpreter_wait_cancel(probe->wait);
    if (probe->tell != NULL)
        event_free(probe->tell);
    if (probe->python != NULL)
        c4p__python__free_unpacked(probe->python, NULL);
    free(probe);
}

void probe_cancel(struct probe *probe)
{
    if (probe != NULL)
        probe_destroy(probe);
}

void probes_destroy(struct probes *probes)
{
    if (probes == NULL)
        return;
    while (probes->list != NULL)
        probe_destroy(probes->list);
    interpreters_destroy(probes->interpreters);
    free(probes);
}

static void on_tell(evutil_socket_t fd, short what, void *argument)
{
    struct probe *probe = argument;

    (void)fd, (void)what;
    if (probe->needs != NULL)
        probe->needs(probe->context, probe->reason[0] != '\0' ? NULL : probe->python,
                     probe->reason);
    else
        probe->checked(probe->context, &probe->answer);
    probe_destroy(probe);
}

static void probe_tell(struct probe *probe)
{
    event_add(probe->tell, &(struct timeval){0, 0});
}

static struct probe *probe_create(struct probes *probes)
{
    struct probe *probe = calloc(1, sizeof(*probe));

    if (probe == NULL)
        return NULL;
    probe->probes = probes;
    DL_APPEND2(probes->list, probe, prev, next_probe);
    probe->tell = event_new(probes->place->base, -1, 0, on_tell, probe);
    if (probe->tell != NULL)
        return probe;
    probe_destroy(probe);
    errno = ENOMEM;
    return NULL;
}

/* Ask an interpreter about all modules that are needed. */
static int probe_ask(struct probe *probe, const char *path, char *const *env,
                     interpreter_told *told)
{
    const C4p__Python *python = probe->python;
    char path_list[PROBE_MAX_PATH_LIST];
    const struct interpreter_question question = {
        .path = path,
        .env = env,
        .path_list = path_list,
        .modules = (const char *const *)python->modules,
        .count = python->n_modules,
    };

    snprintf(path_list, sizeof(path_list), "%.*s", (int)python->path.len,
             python->path.len > 0 ? (const char *)python->path.data : "");
    probe->wait = interpreters_ask(probe->probes->interpreters, &question, told, probe);
    return probe->wait != NULL ? 0 : -1;
}

/* ---- the home: what does it need? ---- */

static void python_keep_modules(C4p__Python *python, const struct interpreter_answer *answer)
{
    size_t kept = 0;

    for (size_t i = 0; i < python->n_modules; i++)
        if (interpreter_lists(answer->missing, python->modules[i]) ||
            interpreter_lists(answer->standard, python->modules[i]))
            free(python->modules[i]);
        else
            python->modules[kept++] = python->modules[i];
    python->n_modules = kept;
}

static void need_refuse(struct probe *probe, const char *path, const char *why)
{
    snprintf(probe->reason, sizeof(probe->reason), "%.140s: %.140s", path, why);
    words_clean(probe->reason);
}

static void on_home_answer(void *context, const struct interpreter_answer *answer)
{
    struct probe *probe = context;
    C4p__Python *python = probe->python;
    const char *path = probe->candidates[0];

    probe->wait = NULL;
    if (answer->trouble[0] != '\0') {
        need_refuse(probe, path, answer->trouble);
    } else if (answer->package[0] == '\0') {
        need_refuse(probe, path, "it cannot import c4py");
    } else {
        free(python->version);
        free(python->package);
        python->version = strdup(answer->version);
        python->package = strdup(answer->package);
        python_keep_modules(python, answer);
        if (python->version == NULL || python->package == NULL)
            need_refuse(probe, path, "the daemon is out of memory");
    }
    probe_tell(probe);
}

static bool is_python(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;

    return strncmp(name, "python", 6) == 0 || strncmp(name, "pypy", 4) == 0;
}

static int modules_copy(C4p__Python *python, const C4p__BundleManifest *message)
{
    python->modules = calloc(message->n_modules + 1, sizeof(*python->modules));
    if (python->modules == NULL)
        return -1;
    for (; python->n_modules < message->n_modules; python->n_modules++) {
        python->modules[python->n_modules] = strdup(message->modules[python->n_modules]);
        if (python->modules[python->n_modules] == NULL)
            return -1;
    }
    return 0;
}

/* Does it come with the bundle? Then there is nothing to look for on other hosts. */
static bool is_bundled(const struct manifest *manifest, const char *path)
{
    size_t length = manifest->root != NULL ? strlen(manifest->root) : 0;

    return length > 0 && strncmp(path, manifest->root, length) == 0 && path[length] == '/' &&
           manifest_has(manifest, path + length + 1, strlen(path + length + 1));
}

static int command_set(C4p__Python *python, const char *path)
{
    free(python->command.data);
    python->command.data = (uint8_t *)strdup(path);
    python->command.len = strlen(path);
    return python->command.data != NULL ? 0 : -1;
}

/* One directory of PYTHONPATH as other hosts see it; false: there it is another one, or comes along. */
static bool search_place(const struct submission *submission, const struct manifest *manifest,
                         const char *entry, size_t size, char place[PATH_MAX])
{
    const char *below;

    if (size == 0 || (*entry != '/' && manifest->root != NULL))
        return false; /* what is relative leads to the copies, or nowhere */
    if (!path_tidy(submission->cwd, entry, size, place) || strchr(place, ':') != NULL)
        return false;
    below = manifest->root != NULL ? path_below(manifest->root, place) : NULL;
    return below == NULL || (*below != '\0' && !manifest_has(manifest, below, strlen(below)));
}

/* Where the job's own PYTHONPATH leads, but for what travels with the bundle. -1: no memory. */
static int search_copy(struct probe *probe, const struct submission *submission,
                       const struct manifest *manifest)
{
    const char *list = NULL;
    char text[PROBE_MAX_PATH_LIST] = "", place[PATH_MAX];
    size_t used = 0;

    for (char *const *entry = submission->env; *entry != NULL; entry++)
        if (strncmp(*entry, "PYTHONPATH=", 11) == 0)
            list = *entry + 11;
    while (list != NULL && *list != '\0') {
        size_t size = strcspn(list, ":");

        if (search_place(submission, manifest, list, size, place) &&
            used + strlen(place) + 1 < sizeof(text))
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", used > 0 ? ":" : "",
                                     place);
        list += size + (list[size] == ':');
    }
    if (used == 0)
        return 0;
    probe->python->path.data = (uint8_t *)strdup(text);
    probe->python->path.len = used;
    return probe->python->path.data != NULL ? 0 : -1;
}

/* 0: asked, or known already; -1: errno. */
static int need_begin(struct probe *probe, const struct submission *submission,
                      const struct manifest *manifest)
{
    char found[PATH_MAX], *path = probe->candidates[0];

    if (spawn_find(submission->argv[0], submission->env, found, sizeof(found)) != 0) {
        need_refuse(probe, submission->argv[0], strerror(errno));
        probe_tell(probe);
        return 0;
    }
    if ((size_t)snprintf(path, PATH_MAX, "%s%s%s", *found == '/' ? "" : submission->cwd,
                         *found == '/' ? "" : "/", found) >= PATH_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (is_bundled(manifest, path)) {
        probe_tell(probe);
        return 0;
    }
    if (command_set(probe->python, path) != 0)
        return -1;
    if (is_python(path)) {
        if (search_copy(probe, submission, manifest) != 0)
            return -1;
        if (manifest->message != NULL && modules_copy(probe->python, manifest->message) != 0)
            return -1;
        return probe_ask(probe, path, submission->env, on_home_answer);
    }
    probe_tell(probe);
    return 0;
}

static C4p__Python *python_create(void)
{
    C4p__Python *python = malloc(sizeof(*python));

    if (python != NULL)
        c4p__python__init(python);
    return python;
}

/* Defaults of protobuf-c are not to be freed. */
static int python_own_texts(C4p__Python *python)
{
    python->version = strdup("");
    python->package = strdup("");
    return python->version != NULL && python->package != NULL ? 0 : -1;
}

struct probe *probe_need(struct probes *probes, const C4p__Submit *submit, probe_needs *told,
                         void *context)
{
    struct probe *probe = probe_create(probes);
    char error[BUNDLE_ERROR_SIZE];
    struct submission submission = {.argv = NULL};
    struct manifest manifest = {.message = NULL};
    struct bundle_hash hash;
    int rc = -1;

    if (probe == NULL)
        return NULL;
    probe->needs = told;
    probe->context = context;
    probe->python = python_create();
    if (probe->python != NULL && python_own_texts(probe->python) == 0 &&
        submission_init(&submission, submit, error) == 0) {
        if (probes->bundles != NULL && bundle_hash_read(&hash, &submit->bundle))
            bundle_load(probes->bundles, &hash, &manifest, error);
        rc = need_begin(probe, &submission, &manifest);
    }
    submission_free(&submission);
    manifest_free(&manifest);
    if (rc == 0)
        return probe;
    probe_destroy(probe);
    return NULL;
}

/* ---- another node: is it here? ---- */

/* The most that fits: "scipy", "scipy and pandas", "scipy, pandas and 3 more". */
static void missing_describe(const char *list, char *text, size_t size)
{
    unsigned count = 0, told = 0;
    size_t used = 0;

    for (const char *end = list; (end = strchr(end, '\n')) != NULL; end++)
        count++;
    for (const char *end; told < 4 && (end = strchr(list, '\n')) != NULL; list = end + 1) {
        const char *between = told == 0 ? "" : told + 1 == count ? " and " : ", ";

        used += (size_t)snprintf(text + used, size - used, "%s%.*s", between,
                                 (int)(end - list < 40 ? end - list : 40), list);
        told++;
    }
    if (told < count)
        snprintf(text + used, size - used, " and %u more", count - told);
}

/* How near an interpreter is to what is needed. */
enum { NOT_THERE = 1, NO_ANSWER, OTHER_VERSION, NO_PACKAGE, OTHER_PACKAGE, NO_MODULES, FITS };

static unsigned answer_judge(const struct probe *probe, const char *path,
                             const struct interpreter_answer *answer, char unfit[PROBE_REASON_SIZE])
{
    const C4p__Python *python = probe->python;
    const char *host = probe->probes->name;
    char names[200];

    unfit[0] = '\0';
    if (answer->trouble[0] != '\0') {
        snprintf(unfit, PROBE_REASON_SIZE, "host %s: %.80s: %s", host, path, answer->trouble);
        return NO_ANSWER;
    }
    if (strcmp(answer->version, python->version) != 0) {
        snprintf(unfit, PROBE_REASON_SIZE, "host %s: Python %s there, %.31s here", host,
                 answer->version, python->version);
        return OTHER_VERSION;
    }
    if (answer->package[0] == '\0') {
        snprintf(unfit, PROBE_REASON_SIZE, "host %s: %.120s cannot import c4py there", host, path);
        return NO_PACKAGE;
    }
    if (strcmp(answer->package, python->package) != 0) {
        snprintf(unfit, PROBE_REASON_SIZE, "host %s: c4py %s there, %.31s here", host,
                 answer->package, python->package);
        return OTHER_PACKAGE;
    }
    if (answer->missing[0] == '\0')
        return FITS;
    missing_describe(answer->missing, names, sizeof(names));
    snprintf(unfit, PROBE_REASON_SIZE, "host %s has no module%s %s", host,
             strchr(answer->missing, '\n')[1] != '\0' ? "s" : "", names);
    return NO_MODULES;
}

static const char *command_text(const struct probe *probe, char path[PATH_MAX])
{
    const ProtobufCBinaryData *command = &probe->python->command;

    snprintf(path, PATH_MAX, "%.*s", (int)(command->len < PATH_MAX ? command->len : PATH_MAX - 1),
             command->len > 0 ? (const char *)command->data : "");
    return path;
}

static void answer_accept(struct probe *probe, const char *path)
{
    struct probe_answer *answer = &probe->answer;
    char wanted[PATH_MAX];

    answer->unfit[0] = '\0';
    snprintf(answer->command, sizeof(answer->command), "%s", path);
    if (strcmp(command_text(probe, wanted), path) != 0)
        snprintf(answer->remark, sizeof(answer->remark),
                 "host %s runs it with %.90s, as %.90s is not there or is another Python",
                 probe->probes->name, path, wanted);
    words_clean(answer->remark);
}

static void candidate_next(struct probe *probe);

static void on_node_answer(void *context, const struct interpreter_answer *answer)
{
    struct probe *probe = context;
    const char *path = probe->candidates[probe->next - 1];
    char unfit[PROBE_REASON_SIZE];
    unsigned rank = answer_judge(probe, path, answer, unfit);

    probe->wait = NULL;
    if (rank > probe->rank) {
        probe->rank = rank;
        memcpy(probe->answer.unfit, unfit, sizeof(unfit));
        words_clean(probe->answer.unfit);
    }
    if (rank == FITS) {
        answer_accept(probe, path);
        probe_tell(probe);
        return;
    }
    candidate_next(probe);
}

static void candidate_next(struct probe *probe)
{
    if (probe->next == probe->count) {
        probe_tell(probe);
        return;
    }
    probe->next++;
    if (probe_ask(probe, probe->candidates[probe->next - 1], environ, on_node_answer) != 0) {
        snprintf(probe->answer.unfit, PROBE_REASON_SIZE,
                 "host %s cannot ask its Python just now: %s", probe->probes->name,
                 strerror(errno));
        probe_tell(probe);
    }
}

static bool is_program(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0;
}

static void candidate_add(struct probe *probe, const char *name)
{
    char *path = probe->candidates[probe->count];

    if (name == NULL || *name == '\0' || spawn_find(name, environ, path, PATH_MAX) != 0 ||
        *path != '/' || !is_program(path))
        return;
    for (unsigned i = 0; i < probe->count; i++)
        if (strcmp(probe->candidates[i], path) == 0)
            return;
    probe->count++;
}

static void candidates_find(struct probe *probe)
{
    char path[PATH_MAX];
    const char *command = command_text(probe, path), *slash = strrchr(command, '/');
    const char *own = getenv("C4P_PYTHON");

    candidate_add(probe, command);
    candidate_add(probe, slash != NULL ? slash + 1 : command);
    if (probe->python->version[0] != '\0')
        candidate_add(probe, own != NULL && *own != '\0' ? own : C4P_PYTHON);
}

static void check_begin(struct probe *probe)
{
    char path[PATH_MAX];

    if (probe->python == NULL || probe->python->command.len == 0) {
        probe_tell(probe);
        return;
    }
    candidates_find(probe);
    if (probe->count == 0)
        snprintf(probe->answer.unfit, PROBE_REASON_SIZE, "host %s has no program %.200s",
                 probe->probes->name, command_text(probe, path));
    else if (probe->python->version[0] == '\0')
        answer_accept(probe, probe->candidates[0]);
    if (probe->count == 0 || probe->python->version[0] == '\0') {
        words_clean(probe->answer.unfit);
        probe_tell(probe);
    } else {
        candidate_next(probe);
    }
}

/* A copy, checked: it came from another node. NULL with errno. */
static C4p__Python *python_copy(const C4p__Python *python)
{
    size_t size = c4p__python__get_packed_size(python);
    uint8_t *bytes = malloc(size + 1);
    C4p__Python *copy = NULL;

    if (bytes != NULL) {
        c4p__python__pack(python, bytes);
        copy = c4p__python__unpack(NULL, size, bytes);
    }
    free(bytes);
    errno = ENOMEM;
    return copy;
}

static bool holds_zero(const ProtobufCBinaryData *bytes)
{
    return bytes->len > 0 && memchr(bytes->data, '\0', bytes->len) != NULL;
}

static bool python_allowed(const C4p__Python *python)
{
    if (python->n_modules > BUNDLE_MAX_MODULES || strlen(python->version) >= 32 ||
        strlen(python->package) >= 32 || python->command.len >= PATH_MAX ||
        python->path.len >= PROBE_MAX_PATH_LIST || holds_zero(&python->command) ||
        holds_zero(&python->path))
        return false;
    for (size_t i = 0; i < python->n_modules; i++)
        if (!manifest_module_allowed(python->modules[i]))
            return false;
    return true;
}

struct probe *probe_check(struct probes *probes, const C4p__Python *need, probe_checked *told,
                          void *context)
{
    struct probe *probe = probe_create(probes);

    if (probe == NULL)
        return NULL;
    probe->checked = told;
    probe->context = context;
    if (need != NULL && !python_allowed(need)) {
        snprintf(probe->answer.unfit, PROBE_REASON_SIZE,
                 "host %s: what the job needs makes no sense there", probes->name);
        probe_tell(probe);
        return probe;
    }
    if (need != NULL && (probe->python = python_copy(need)) == NULL) {
        probe_destroy(probe);
        return NULL;
    }
    check_begin(probe);
    return probe;
}
