#define _GNU_SOURCE
#include "daemon/jobs/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/jobs/spawn.h"

static size_t list_length(char *const *list)
{
    size_t length = 0;

    while (list[length] != NULL)
        length++;
    return length;
}

static void list_free(char **list)
{
    for (char **entry = list; entry != NULL && *entry != NULL; entry++)
        free(*entry);
    free(list);
}

static char **list_copy(char *const *list)
{
    char **copy = calloc(list_length(list) + 1, sizeof(*copy));

    for (size_t i = 0; copy != NULL && list[i] != NULL; i++) {
        copy[i] = strdup(list[i]);
        if (copy[i] == NULL) {
            list_free(copy);
            return NULL;
        }
    }
    return copy;
}

static bool is_ours(const char *entry)
{
    return strncmp(entry, "C4P_PE=", 7) == 0 || strncmp(entry, "C4P_SEGMENT=", 12) == 0 ||
           strncmp(entry, "C4P_WAKE=", 9) == 0 || strncmp(entry, "C4P_JOB=", 8) == 0;
}

#define PE_VARIABLE_SIZE 32

/*
 * The job's environment with ours. Each entry is filled in before the next is
 * made, so that the list can be freed at any point.
 */
static char **environment_create(char *const *env, const char *package_dir, const char *mark)
{
    char **result = calloc(list_length(env) + 6, sizeof(*result));
    const char *path = "";
    size_t count = 0;

    if (result == NULL || (result[count++] = calloc(1, PE_VARIABLE_SIZE)) == NULL)
        goto error;
    if (asprintf(&result[count++], "C4P_JOB=%s", mark) < 0)
        goto undefined;
    for (; *env != NULL; env++) {
        if (is_ours(*env))
            continue;
        if (package_dir != NULL && strncmp(*env, "PYTHONPATH=", 11) == 0)
            path = *env + 11;
        else if ((result[count++] = strdup(*env)) == NULL)
            goto error;
    }
    if (package_dir != NULL && asprintf(&result[count++], "PYTHONPATH=%s%s%s", package_dir,
                                        *path != '\0' ? ":" : "", path) < 0)
        goto undefined;
    if (asprintf(&result[count++], "C4P_SEGMENT=%d", SPAWN_SEGMENT_FD) < 0 ||
        asprintf(&result[count++], "C4P_WAKE=%d", SPAWN_WAKE_FD) < 0)
        goto undefined;
    return result;
undefined:
    result[count - 1] = NULL; /* what asprintf() leaves when it fails */
error:
    list_free(result);
    return NULL;
}

int launch_find(const struct job_request *request, char path[PATH_MAX], char error[JOB_ERROR_SIZE])
{
    const char *name = request->argv[0];
    char found[PATH_MAX];

    if (spawn_find(name, request->env, found, sizeof(found)) != 0) {
        snprintf(error, JOB_ERROR_SIZE, "the program %.150s: %s", name, strerror(errno));
        return -1;
    }
    /* Where the job will run, not where we do. */
    if ((size_t)snprintf(path, PATH_MAX, "%s%s%s", *found == '/' ? "" : request->cwd,
                         *found == '/' ? "" : "/", found) >= PATH_MAX)
        errno = ENAMETOOLONG;
    else if (access(path, X_OK) == 0)
        return 0;
    snprintf(error, JOB_ERROR_SIZE, "the program %.150s: %s", name, strerror(errno));
    return -1;
}

int launch_init(struct launch *launch, const struct job_request *request,
                const struct job_place *place, char error[JOB_ERROR_SIZE])
{
    memset(launch, 0, sizeof(*launch));
    launch->null = -1;
    if (launch_find(request, launch->path, error) != 0)
        return -1;
    launch->input = request->input;
    launch->files = place->files;
    launch->argv = list_copy(request->argv);
    launch->env = environment_create(request->env, place->package_dir, request->mark);
    launch->cwd = strdup(request->cwd);
    launch->null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (launch->argv == NULL || launch->env == NULL || launch->cwd == NULL || launch->null < 0) {
        snprintf(error, JOB_ERROR_SIZE, "cannot prepare the job: %s", strerror(errno));
        launch_free(launch);
        return -1;
    }
    return 0;
}

void launch_free(struct launch *launch)
{
    list_free(launch->argv);
    list_free(launch->env);
    free(launch->cwd);
    if (launch->null > 0)
        close(launch->null);
    memset(launch, 0, sizeof(*launch));
    launch->null = -1;
}

/* ---- one PE ---- */

static void pair_close(int pair[2])
{
    for (int i = 0; i < 2; i++) {
        if (pair[i] >= 0)
            close(pair[i]);
        pair[i] = -1;
    }
}

/* A pipe whose end `ours` (0: the one to read) does not block. */
static int pipe_open(int pair[2], int ours)
{
    if (pipe2(pair, O_CLOEXEC) != 0)
        return -1;
    return fcntl(pair[ours], F_SETFL, fcntl(pair[ours], F_GETFL) | O_NONBLOCK);
}

/* What the user can do about a limit that was hit. */
static const char *remedy_of(int error)
{
    if (error == EMFILE || error == ENFILE)
        return " (raise the limit of open files: ulimit -n)";
    if (error == EAGAIN)
        return " (raise the limit of processes: ulimit -u)";
    return "";
}

pid_t launch_pe(struct launch *launch, uint32_t pe, int segment_fd, int wake_fd,
                struct launch_streams *streams, char error[JOB_ERROR_SIZE])
{
    int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1};
    const char *what = "pipes";
    pid_t pid = -1;

    snprintf(launch->env[0], PE_VARIABLE_SIZE, "C4P_PE=%u", pe);
    if ((pe != 0 || !launch->input || pipe_open(in, 1) == 0) && pipe_open(out, 0) == 0 &&
        pipe_open(err, 0) == 0) {
        const struct spawn spawn = {
            .path = launch->path,
            .argv = launch->argv,
            .env = launch->env,
            .cwd = launch->cwd,
            .in = in[0] >= 0 ? in[0] : launch->null,
            .out = out[1],
            .err = err[1],
            .segment = segment_fd,
            .wake = wake_fd,
            .files = launch->files,
        };

        pid = spawn_process(&spawn, &what);
    }
    if (pid < 0) {
        snprintf(error, JOB_ERROR_SIZE, "cannot start PE %u: %.120s: %s%s", pe, what,
                 strerror(errno), remedy_of(errno));
    } else {
        streams->in = in[1];
        streams->out = out[0];
        streams->err = err[0];
        in[1] = out[0] = err[0] = -1;
    }
    pair_close(in);
    pair_close(out);
    pair_close(err);
    return pid;
}
