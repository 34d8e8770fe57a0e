#define _GNU_SOURCE
#include "daemon/jobs/submission.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void strings_free(char **strings)
{
    for (char **string = strings; string != NULL && *string != NULL; string++)
        free(*string);
    free(strings);
}

static bool has_nul(const ProtobufCBinaryData *data, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (data[i].len > 0 && memchr(data[i].data, '\0', data[i].len) != NULL)
            return true;
    return false;
}

static char *string_create(const ProtobufCBinaryData *data)
{
    return data->len > 0 ? strndup((const char *)data->data, data->len) : strdup("");
}

static char **strings_create(const ProtobufCBinaryData *data, size_t count)
{
    char **strings = calloc(count + 1, sizeof(*strings));

    for (size_t i = 0; strings != NULL && i < count; i++) {
        strings[i] = string_create(&data[i]);
        if (strings[i] == NULL) {
            strings_free(strings);
            return NULL;
        }
    }
    return strings;
}

/* ---- a name ---- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

static bool is_python(const char *name)
{
    return strncmp(name, "python", 6) == 0 || strncmp(name, "pypy", 4) == 0;
}

/* What Python is to run: a module, a file, or nothing that has a name. */
static const char *python_subject(char *const *argv)
{
    for (argv++; *argv != NULL; argv++) {
        const char *option = *argv;

        if (option[0] != '-' || option[1] == '\0')
            return base_name(option);
        if (strcmp(option, "-m") == 0)
            return argv[1];
        if (strcmp(option, "-c") == 0)
            return NULL;
        if ((strcmp(option, "-W") == 0 || strcmp(option, "-X") == 0) && argv[1] != NULL)
            argv++;
    }
    return NULL;
}

void submission_name(char *const *argv, char name[SUBMISSION_MAX_NAME + 1])
{
    const char *program = base_name(argv[0]), *subject = NULL;

    if (is_python(program))
        subject = python_subject(argv);
    if (subject == NULL || *subject == '\0' || strcmp(subject, "-") == 0)
        subject = program;
    snprintf(name, SUBMISSION_MAX_NAME + 1, "%s", subject);
}

/* ---- all of it ---- */

static int strings_check(const C4p__Submit *submit, char error[JOB_ERROR_SIZE])
{
    if (submit->n_argv == 0 || submit->argv[0].len == 0) {
        snprintf(error, JOB_ERROR_SIZE, "the job has no command");
        return -1;
    }
    if (has_nul(submit->argv, submit->n_argv) || has_nul(submit->env, submit->n_env) ||
        has_nul(&submit->cwd, 1) || has_nul(&submit->name, 1)) {
        snprintf(error, JOB_ERROR_SIZE,
                 "there is a NUL in the job's arguments, environment, directory or name");
        return -1;
    }
    if (submit->name.len > SUBMISSION_MAX_NAME) {
        snprintf(error, JOB_ERROR_SIZE, "a name of %zu bytes is too long: at most %d",
                 submit->name.len, SUBMISSION_MAX_NAME);
        return -1;
    }
    if (submit->priority < -CONTROL_MAX_PRIORITY || submit->priority > CONTROL_MAX_PRIORITY) {
        snprintf(error, JOB_ERROR_SIZE, "priority %d is out of range: from %d to %d",
                 submit->priority, -CONTROL_MAX_PRIORITY, CONTROL_MAX_PRIORITY);
        return -1;
    }
    return 0;
}

int submission_init(struct submission *submission, const C4p__Submit *submit,
                    char error[JOB_ERROR_SIZE])
{
    memset(submission, 0, sizeof(*submission));
    if (strings_check(submit, error) != 0)
        return -1;
    submission->argv = strings_create(submit->argv, submit->n_argv);
    submission->env = strings_create(submit->env, submit->n_env);
    submission->cwd = string_create(&submit->cwd);
    if (submission->argv == NULL || submission->env == NULL || submission->cwd == NULL) {
        snprintf(error, JOB_ERROR_SIZE, "the daemon is out of memory");
        submission_free(submission);
        return -1;
    }
    if (submit->name.len > 0)
        memcpy(submission->name, submit->name.data, submit->name.len);
    else
        submission_name(submission->argv, submission->name);
    submission->request = (struct job_request){
        .argv = submission->argv,
        .env = submission->env,
        .cwd = submission->cwd,
        .pes = submit->pes,
        .region_size = submit->region_size,
        .time_limit_ms = submit->time_limit_ms,
        .input = submit->input,
        .nodes = submit->nodes,
    };
    return 0;
}

void submission_free(struct submission *submission)
{
    strings_free(submission->argv);
    strings_free(submission->env);
    free(submission->cwd);
    memset(submission, 0, sizeof(*submission));
}
