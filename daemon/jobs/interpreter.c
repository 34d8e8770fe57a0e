#define _GNU_SOURCE
#include "daemon/jobs/interpreter.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <uthash.h>
#include <utlist.h>

#include "daemon/jobs/probe.h"
#include "daemon/jobs/spawn.h"
#include "daemon/words.h"
#include "proto/clock.h"

#define KEY_SIZE 32
#define GREETING "c4p-probe 1"

struct interpreter_wait {
    struct inquest *inquest;
    interpreter_told *told;
    void *context;
    struct interpreter_wait *prev, *next;
};

/* A question that was asked, and its answer. */
struct inquest {
    UT_hash_handle hh;
    uint8_t key[KEY_SIZE];
    struct interpreters *interpreters;
    bool known, telling;
    int64_t since; /* on clock_ms() */
    int out;       /* of the child; -1: it is not running */
    int pidfd;
    struct event *readable, *due; /* due: it took too long; or, with an answer, tell it */
    char *text;
    size_t size;
    struct interpreter_answer answer;
    struct interpreter_wait *waits;
};

struct interpreters {
    const struct job_place *place;
    struct inquest *inquests;
};

/* ---- one inquest ---- */

static void child_end(struct inquest *inquest)
{
    if (inquest->readable != NULL)
        event_free(inquest->readable);
    inquest->readable = NULL;
    if (inquest->out >= 0)
        close(inquest->out);
    /* Whether it is over or not; and whoever reaps it, this is no other process. */
    if (inquest->pidfd >= 0) {
        syscall(SYS_pidfd_send_signal, inquest->pidfd, SIGKILL, NULL, 0);
        close(inquest->pidfd);
    }
    inquest->out = inquest->pidfd = -1;
}

static void inquest_destroy(struct inquest *inquest)
{
    struct interpreter_wait *wait, *next;

    child_end(inquest);
    HASH_DEL(inquest->interpreters->inquests, inquest);
    DL_FOREACH_SAFE(inquest->waits, wait, next)
    {
        free(wait);
    }
    if (inquest->due != NULL)
        event_free(inquest->due);
    free(inquest->text);
    free(inquest);
}

/* What the line says, if it is of this kind; else NULL. */
static const char *line_value(const char *line, const char *kind)
{
    size_t length = strlen(kind);

    return strncmp(line, kind, length) == 0 && line[length] == ' ' ? line + length + 1 : NULL;
}

/* One more at the end of a list: where the next one goes. */
static char *name_add(char *end, const char *name)
{
    return end + sprintf(end, "%s\n", name);
}

static void answer_word(char word[INTERPRETER_WORD_SIZE], const char *value)
{
    snprintf(word, INTERPRETER_WORD_SIZE, "%s", value);
    words_clean(word);
}

/* What was said, whatever else was written before and behind it. */
static bool answer_parse(struct inquest *inquest)
{
    struct interpreter_answer *answer = &inquest->answer;
    char *rest = inquest->text, *line, *missing, *standard;
    bool begun = false, ended = false;

    /* Each of the lists is shorter than the text. */
    missing = malloc(2 * (inquest->size + 2));
    if (missing == NULL)
        return false;
    standard = missing + inquest->size + 2;
    *missing = *standard = '\0';
    answer->missing = missing;
    answer->standard = standard;
    while (!ended && (line = strsep(&rest, "\n")) != NULL) {
        const char *value;

        if (!begun)
            begun = strcmp(line, GREETING) == 0;
        else if ((value = line_value(line, "version")) != NULL)
            answer_word(answer->version, value);
        else if ((value = line_value(line, "package")) != NULL)
            answer_word(answer->package, value);
        else if ((value = line_value(line, "missing")) != NULL)
            missing = name_add(missing, value);
        else if ((value = line_value(line, "standard")) != NULL)
            standard = name_add(standard, value);
        else
            ended = strcmp(line, "end") == 0;
    }
    free(inquest->text);
    inquest->text = (char *)(uintptr_t)answer->missing; /* both are in it from here on */
    return begun && ended && answer->version[0] != '\0';
}

static void inquest_tell(struct inquest *inquest)
{
    struct interpreter_wait *wait;

    /* Who is told may ask for others, and cancel some: this one stays meanwhile. */
    inquest->telling = true;
    while ((wait = inquest->waits) != NULL) {
        DL_DELETE(inquest->waits, wait);
        wait->told(wait->context, &inquest->answer);
        free(wait);
    }
    inquest->telling = false;
}

static void inquest_end(struct inquest *inquest, const char *trouble)
{
    child_end(inquest);
    event_del(inquest->due);
    if (trouble == NULL && (inquest->text == NULL || !answer_parse(inquest)))
        trouble = "it is no Python that answers";
    snprintf(inquest->answer.trouble, sizeof(inquest->answer.trouble), "%s",
             trouble != NULL ? trouble : "");
    if (inquest->answer.missing == NULL)
        inquest->answer.missing = inquest->answer.standard = "";
    inquest->known = true;
    inquest->since = clock_ms();
    inquest_tell(inquest);
}

static void on_due(evutil_socket_t fd, short what, void *argument)
{
    struct inquest *inquest = argument;
    char trouble[64];

    (void)fd, (void)what;
    if (inquest->known) {
        inquest_tell(inquest);
        return;
    }
    snprintf(trouble, sizeof(trouble), "it did not answer within %d s", PROBE_LIMIT_MS / 1000);
    inquest_end(inquest, trouble);
}

static void on_readable(evutil_socket_t fd, short what, void *argument)
{
    struct inquest *inquest = argument;
    ssize_t got = read(fd, inquest->text + inquest->size, INTERPRETER_MAX_ANSWER - inquest->size);

    (void)what;
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    inquest->size += got > 0 ? (size_t)got : 0;
    inquest->text[inquest->size] = '\0';
    if (got < 0)
        inquest_end(inquest, strerror(errno));
    else if (got == 0)
        inquest_end(inquest, NULL);
    else if (inquest->size == INTERPRETER_MAX_ANSWER)
        inquest_end(inquest, "it writes more than an answer has");
}

/* ---- the child ---- */

static bool is_left_out(const char *entry)
{
    static const char *const prefixes[] = {"C4P_",
                                           "PYTHONPATH=", "PYTHONINSPECT=", "PYTHONSTARTUP="};

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++)
        if (strncmp(entry, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

/* Where it looks for modules, as a PE of the job will: PYTHONPATH=... NULL: no memory. */
static char *search_make(const char *package_dir, const char *path_list)
{
    const bool both = package_dir != NULL && *path_list != '\0';
    char *entry;

    if (asprintf(&entry, "PYTHONPATH=%s%s%s", package_dir != NULL ? package_dir : "",
                 both ? ":" : "", path_list) < 0)
        return NULL;
    return entry;
}

/* To be freed, with its last entry. NULL: no memory. */
static char **environment_make(char *const *env, const char *search)
{
    size_t count = 0;
    char **result;

    while (env[count] != NULL)
        count++;
    result = calloc(count + 2, sizeof(*result));
    if (result == NULL)
        return NULL;
    for (count = 0; *env != NULL; env++)
        if (!is_left_out(*env))
            result[count++] = *env;
    result[count] = (char *)(uintptr_t)search;
    return result;
}

/* path [FILE | -m c4py._probe] module ... */
static char **words_make(const struct interpreter_question *question, const char *file)
{
    char **words = calloc(question->count + 4, sizeof(*words));
    size_t count = 0;

    if (words == NULL)
        return NULL;
    words[count++] = (char *)(uintptr_t)question->path;
    if (file == NULL)
        words[count++] = (char *)(uintptr_t) "-m";
    words[count++] = (char *)(uintptr_t)(file != NULL ? file : "c4py._probe");
    for (size_t i = 0; i < question->count; i++)
        words[count++] = (char *)(uintptr_t)question->modules[i];
    return words;
}

static pid_t child_spawn(const struct interpreters *interpreters,
                         const struct interpreter_question *question, int null, int out)
{
    const char *package_dir = interpreters->place->package_dir, *what;
    const bool searches = package_dir != NULL || *question->path_list != '\0';
    char *search = searches ? search_make(package_dir, question->path_list) : NULL;
    char file[PATH_MAX], **env = environment_make(question->env, search), **words;
    pid_t pid = -1;

    snprintf(file, sizeof(file), "%s/c4py/_probe.py", package_dir != NULL ? package_dir : "");
    words = words_make(question, package_dir != NULL ? file : NULL);
    if (env != NULL && words != NULL && (search != NULL || !searches)) {
        const struct spawn spawn = {
            .path = question->path,
            .argv = words,
            .env = env,
            .cwd = "/",
            .in = null,
            .out = out,
            .err = null,
            .segment = null,
            .wake = null,
            .files = interpreters->place->files,
        };

        pid = spawn_process(&spawn, &what);
    }
    free(words);
    free(env);
    free(search);
    return pid;
}

/* -1 with errno. */
static int child_begin(struct inquest *inquest, const struct interpreter_question *question)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), ends[2] = {-1, -1}, saved;
    pid_t pid = -1;

    if (null >= 0 && pipe2(ends, O_CLOEXEC) == 0 && fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0)
        pid = child_spawn(inquest->interpreters, question, null, ends[1]);
    saved = errno;
    if (null >= 0)
        close(null);
    if (ends[1] >= 0)
        close(ends[1]);
    inquest->out = ends[0];
    errno = saved;
    if (pid < 0)
        return -1;
    inquest->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    inquest->text = malloc(INTERPRETER_MAX_ANSWER + 1);
    inquest->readable = event_new(inquest->interpreters->place->base, inquest->out,
                                  EV_READ | EV_PERSIST, on_readable, inquest);
    if (inquest->text == NULL || inquest->readable == NULL ||
        event_add(inquest->readable, NULL) != 0) {
        errno = ENOMEM;
        return -1;
    }
    return 0;
}

/* ---- all of them ---- */

struct interpreters *interpreters_create(const struct job_place *place)
{
    struct interpreters *interpreters = calloc(1, sizeof(*interpreters));

    if (interpreters == NULL || sodium_init() < 0) {
        free(interpreters);
        return NULL;
    }
    interpreters->place = place;
    return interpreters;
}

void interpreters_destroy(struct interpreters *interpreters)
{
    struct inquest *inquest, *next;

    if (interpreters == NULL)
        return;
    HASH_ITER(hh, interpreters->inquests, inquest, next)
    {
        inquest_destroy(inquest);
    }
    free(interpreters);
}

static void key_add(crypto_generichash_state *state, const char *text)
{
    crypto_generichash_update(state, (const uint8_t *)text, strlen(text) + 1);
}

static void key_make(const struct interpreter_question *question, uint8_t key[KEY_SIZE])
{
    crypto_generichash_state state;
    struct stat status;

    crypto_generichash_init(&state, NULL, 0, KEY_SIZE);
    key_add(&state, question->path);
    if (stat(question->path, &status) == 0)
        crypto_generichash_update(&state, (const uint8_t *)&status.st_mtim, sizeof(status.st_mtim));
    for (char *const *entry = question->env; *entry != NULL; entry++)
        if (!is_left_out(*entry))
            key_add(&state, *entry);
    key_add(&state, "");
    key_add(&state, question->path_list);
    for (size_t i = 0; i < question->count; i++)
        key_add(&state, question->modules[i]);
    crypto_generichash_final(&state, key, KEY_SIZE);
}

/* What is too old, and one more if there are too many; not what somebody waits for. */
static void inquests_trim(struct interpreters *interpreters)
{
    struct inquest *inquest, *next;
    unsigned over = HASH_COUNT(interpreters->inquests) >= INTERPRETER_MAX_KEPT;
    int64_t now = clock_ms();

    HASH_ITER(hh, interpreters->inquests, inquest, next)
    {
        if (!inquest->known || inquest->waits != NULL || inquest->telling)
            continue;
        if (now - inquest->since < PROBE_KEEP_MS && over == 0)
            continue;
        over -= over > 0;
        inquest_destroy(inquest);
    }
}

/* NULL with errno. What cannot be started is an answer too. */
static struct inquest *inquest_begin(struct interpreters *interpreters, const uint8_t *key,
                                     const struct interpreter_question *question)
{
    const struct timeval limit = {PROBE_LIMIT_MS / 1000, PROBE_LIMIT_MS % 1000 * 1000}, now = {0};
    struct inquest *inquest = NULL;

    if (HASH_COUNT(interpreters->inquests) >= INTERPRETER_MAX_KEPT)
        errno = EAGAIN;
    else
        inquest = calloc(1, sizeof(*inquest));
    if (inquest == NULL)
        return NULL;
    inquest->interpreters = interpreters;
    inquest->out = inquest->pidfd = -1;
    memcpy(inquest->key, key, KEY_SIZE);
    inquest->due = event_new(interpreters->place->base, -1, 0, on_due, inquest);
    if (inquest->due == NULL) {
        free(inquest);
        return NULL;
    }
    HASH_ADD(hh, interpreters->inquests, key, KEY_SIZE, inquest);
    if (child_begin(inquest, question) == 0) {
        event_add(inquest->due, &limit);
        return inquest;
    }
    inquest_end(inquest, strerror(errno));
    event_add(inquest->due, &now);
    return inquest;
}

struct interpreter_wait *interpreters_ask(struct interpreters *interpreters,
                                          const struct interpreter_question *question,
                                          interpreter_told *told, void *context)
{
    struct interpreter_wait *wait = calloc(1, sizeof(*wait));
    struct inquest *inquest;
    uint8_t key[KEY_SIZE];

    if (wait == NULL)
        return NULL;
    inquests_trim(interpreters);
    key_make(question, key);
    HASH_FIND(hh, interpreters->inquests, key, KEY_SIZE, inquest);
    if (inquest == NULL)
        inquest = inquest_begin(interpreters, key, question);
    if (inquest == NULL) {
        free(wait);
        return NULL;
    }
    wait->inquest = inquest;
    wait->told = told;
    wait->context = context;
    DL_APPEND(inquest->waits, wait);
    if (inquest->known)
        event_add(inquest->due, &(struct timeval){0, 0});
    return wait;
}

void interpreter_wait_cancel(struct interpreter_wait *wait)
{
    if (wait == NULL)
        return;
    DL_DELETE(wait->inquest->waits, wait);
    free(wait);
}

bool interpreter_lists(const char *list, const char *module)
{
    size_t length = strlen(module);

    for (const char *end; (end = strchr(list, '\n')) != NULL; list = end + 1)
        if ((size_t)(end - list) == length && memcmp(list, module, length) == 0)
            return true;
    return false;
}
