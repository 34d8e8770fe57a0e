#define _GNU_SOURCE
#include "client/cli/luggage.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/cli/ask.h"
#include "client/cli/progress.h"
#include "proto/clock.h"
#include "proto/path.h"

/* Nothing was heard of the daemon for so long. */
#define SILENCE_MS 10000
#define LOOK_MS 250

struct luggage {
    const struct options *options;
    const struct command *command;
    char root[PATH_MAX];
    char program[PATH_MAX];   /* tidy; empty: nothing is known of it */
    char directory[PATH_MAX]; /* whose Python files go along; empty: none */
};

/* ---- where the program is ---- */

static bool is_file(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

static void directory_of(const char *path, char directory[PATH_MAX])
{
    const char *slash = strrchr(path, '/');

    snprintf(directory, PATH_MAX, "%.*s", slash > path ? (int)(slash - path) : 1, path);
}

/* A word of the command as a file, if it is one. */
static bool program_is(struct luggage *luggage, const char *word)
{
    char path[PATH_MAX];

    if (!path_tidy(luggage->command->cwd, word, strlen(word), path) || !is_file(path))
        return false;
    memcpy(luggage->program, path, sizeof(path));
    directory_of(path, luggage->directory);
    return true;
}

static bool has_suffix(const char *text, const char *suffix)
{
    size_t length = strlen(text), end = strlen(suffix);

    return length > end && strcmp(text + length - end, suffix) == 0;
}

/* A command that is launched as it is: the program itself, if it is a path, or a Python file that it
 * is to run. */
static void command_find(struct luggage *luggage)
{
    char *const *words = luggage->options->command;

    for (size_t i = 0; words[i] != NULL; i++)
        if (has_suffix(words[i], ".py") && program_is(luggage, words[i]))
            return;
    /* What is elsewhere belongs to the system, and is no part of the program. */
    if (strchr(words[0], '/') == NULL || !program_is(luggage, words[0]) ||
        path_below(luggage->command->cwd, luggage->program) == NULL)
        luggage->program[0] = luggage->directory[0] = '\0';
}

/* A module in the current directory; any other one is installed. */
static void module_find(struct luggage *luggage)
{
    const char *cwd = luggage->command->cwd, *name = luggage->options->module;
    int length = (int)strcspn(name, ".");
    char path[PATH_MAX];
    struct stat status;

    if ((size_t)snprintf(path, sizeof(path), "%s/%.*s.py", cwd, length, name) >= sizeof(path))
        return;
    if (!is_file(path)) {
        path[strlen(path) - 3] = '\0';
        if (stat(path, &status) != 0 || !S_ISDIR(status.st_mode))
            return;
    }
    snprintf(luggage->directory, sizeof(luggage->directory), "%s", cwd);
}

static void program_find(struct luggage *luggage)
{
    const struct options *options = luggage->options;

    if (options->module != NULL)
        module_find(luggage);
    else if (options->exec || !program_is(luggage, options->command[0]))
        command_find(luggage);
}

/* ---- the root ---- */

/* Up to what both have in common. */
static void root_widen(struct luggage *luggage, const char *path)
{
    char whole[PATH_MAX];

    while (path_below(luggage->root, path) == NULL) {
        memcpy(whole, luggage->root, sizeof(whole));
        directory_of(whole, luggage->root);
    }
}

static int include_find(const char *include, char path[PATH_MAX])
{
    char *cwd = getcwd(NULL, 0);
    bool fits = cwd != NULL && path_tidy(cwd, include, strlen(include), path);

    free(cwd);
    return fits ? 0 : usage_error("--include", "%s: the path is too long", include);
}

/* A file's directory is in it, and a directory is as a whole. */
static int include_widen(struct luggage *luggage, const char *include)
{
    char path[PATH_MAX], directory[PATH_MAX];
    struct stat status;

    if (include_find(include, path) != 0)
        return EXIT_USAGE;
    if (stat(path, &status) != 0)
        return usage_error("--include", "%s: %s (give a file or a directory)", include,
                           strerror(errno));
    directory_of(path, directory);
    root_widen(luggage, S_ISDIR(status.st_mode) ? path : directory);
    return 0;
}

static int root_find(struct luggage *luggage)
{
    const char *cwd = luggage->command->cwd;
    int rc = 0;

    snprintf(luggage->root, sizeof(luggage->root), "%s",
             luggage->directory[0] == '\0' || path_below(cwd, luggage->directory) != NULL
                 ? cwd
                 : luggage->directory);
    for (size_t i = 0; rc == 0 && i < luggage->options->includes; i++)
        rc = include_widen(luggage, luggage->options->include[i]);
    if (rc == 0 && strcmp(luggage->root, "/") == 0)
        rc = usage_error("the program's files",
                         "have no directory in common but / (put them together, or use "
                         "--no-bundle if every host has them)");
    return rc;
}

/* ---- packing ---- */

static int includes_add(const struct luggage *luggage, struct c4p_bundle *bundle, char *error)
{
    char path[PATH_MAX];
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < luggage->options->includes; i++) {
        if (include_find(luggage->options->include[i], path) != 0)
            return EXIT_USAGE;
        rc = c4p_bundle_add(bundle, path_below(luggage->root, path), error);
    }
    return rc;
}

static int files_add(const struct luggage *luggage, struct c4p_bundle *bundle, char *error)
{
    int rc = 0;

    if (luggage->program[0] != '\0')
        rc = c4p_bundle_add(bundle, path_below(luggage->root, luggage->program), error);
    if (rc == 0 && luggage->directory[0] != '\0')
        rc = c4p_bundle_add_python(bundle, path_below(luggage->root, luggage->directory), error);
    if (rc == 0)
        rc = includes_add(luggage, bundle, error);
    return rc == 0 ? c4p_bundle_seal(bundle, error) : rc;
}

int luggage_pack(const struct options *options, const struct command *command, bool cluster,
                 struct c4p_bundle **bundle)
{
    struct luggage luggage = {.options = options, .command = command};
    char error[C4P_ERROR_SIZE];
    int rc;

    *bundle = NULL;
    if (options->no_bundle && options->includes > 0)
        return usage_error("--no-bundle", "does not go together with --include");
    if (options->no_bundle || (!cluster && options->includes == 0))
        return 0;
    program_find(&luggage);
    if (luggage.directory[0] == '\0' && options->includes == 0)
        return 0;
    if (root_find(&luggage) != 0)
        return EXIT_USAGE;
    *bundle = c4p_bundle_create(luggage.root, error);
    rc = *bundle != NULL ? files_add(&luggage, *bundle, error) : -1;
    if (rc == 0)
        return 0;
    c4p_bundle_free(*bundle);
    *bundle = NULL;
    return rc == EXIT_USAGE ? rc : usage_error("the program's files", "%s", error);
}

/* ---- sending ---- */

static void on_progress(void *context, const char *text, size_t size)
{
    (void)context;
    if (fwrite(text, 1, size, stderr) != size)
        return; /* nobody sees it, then */
    fflush(stderr);
}

static void progress_tell(struct progress *progress, const struct c4p_bundle *bundle)
{
    uint64_t sent, total;
    char text[96];

    c4p_bundle_progress(bundle, &sent, &total);
    snprintf(text, sizeof(text),
             "c4py: the program's files go to the daemon: %" PRIu64 " of %" PRIu64 " MiB",
             sent >> 20, (total + (1u << 20) - 1) >> 20);
    progress_wait(progress, text, clock_ms());
    progress_show(progress, clock_ms(), 80);
}

/* The answer to the offer: 0, or -1 with a sentence. */
static int answer_wait(struct c4p_client *client, int64_t request, const struct c4p_bundle *bundle,
                       struct progress *progress, char error[C4P_ERROR_SIZE])
{
    int64_t heard = clock_ms();
    struct c4p_event event;
    int rc;

    for (;;) {
        uint64_t before, after, total;

        c4p_bundle_progress(bundle, &before, &total);
        rc = c4p_next(client, &event);
        c4p_bundle_progress(bundle, &after, &total);
        if (rc == 1 && event.request == request) {
            snprintf(error, C4P_ERROR_SIZE, "%s", event.text);
            return event.kind == C4P_EVENT_DONE ? 0 : -1;
        }
        if (rc == 1 || after != before)
            heard = clock_ms();
        if (rc == 1)
            continue;
        if (clock_ms() - heard >= SILENCE_MS) {
            snprintf(error, C4P_ERROR_SIZE,
                     "the daemon has not answered for %d seconds (is it stopped, or very busy?)",
                     SILENCE_MS / 1000);
            return -1;
        }
        if (progress->terminal)
            progress_tell(progress, bundle);
        if (c4p_wait(client, LOOK_MS) != 0 && errno != EAGAIN && errno != EINTR) {
            snprintf(error, C4P_ERROR_SIZE, "waiting for the daemon: %s", strerror(errno));
            return -1;
        }
    }
}

static int offer(struct c4p_client *client, struct c4p_bundle *bundle, char error[C4P_ERROR_SIZE])
{
    int64_t request = c4p_offer(client, bundle);
    struct progress progress;
    int rc;

    if (request < 0) {
        snprintf(error, C4P_ERROR_SIZE, "the program's files cannot be offered: %s",
                 strerror(errno));
        return -1;
    }
    progress_init(&progress, isatty(STDERR_FILENO), on_progress, NULL);
    rc = answer_wait(client, request, bundle, &progress, error);
    progress_stop(&progress);
    return rc;
}

int luggage_send(struct c4p_client *client, struct c4p_bundle *bundle)
{
    char error[C4P_ERROR_SIZE];

    if (offer(client, bundle, error) == 0)
        return 0;
    /* Somebody may have saved a file in between: once more, as it is now. */
    if (!c4p_bundle_stale(bundle))
        return ask_failed(error);
    return c4p_bundle_seal(bundle, error) == 0 && offer(client, bundle, error) == 0
               ? 0
               : ask_failed(error);
}
