#define _GNU_SOURCE
#include "client/cli/command.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static int no_memory(void)
{
    return usage_error("memory", "is exhausted");
}

/* ---- directory and environment ---- */

/* Open the directory in which the program runs; `command->cwd` is its path. */
static int cwd_open(struct command *command, const char *chosen, int *directory)
{
    *directory = open(chosen != NULL ? chosen : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*directory < 0)
        return usage_error(chosen != NULL ? "--cwd" : "current directory",
                           "%s: %s (give a directory that exists)", chosen != NULL ? chosen : ".",
                           strerror(errno));
    if (faccessat(*directory, ".", X_OK, AT_EACCESS) != 0)
        return usage_error("--cwd", "%s: %s (give a directory that can be entered)",
                           chosen != NULL ? chosen : ".", strerror(errno));
    command->cwd = chosen != NULL ? realpath(chosen, NULL) : getcwd(NULL, 0);
    if (command->cwd == NULL)
        return usage_error("current directory", "%s (go to one that exists)", strerror(errno));
    return 0;
}

static bool is_set_by(const char *entry, const char *setting)
{
    size_t length = strcspn(setting, "=") + 1;

    return strncmp(entry, setting, length) == 0;
}

/* Our environment, with what --env says in the place of what it replaces. */
static int env_make(struct command *command, const struct options *options)
{
    size_t count = 0;

    for (char **entry = environ; *entry != NULL; entry++)
        count++;
    command->env = calloc(count + options->envs + 1, sizeof(*command->env));
    if (command->env == NULL)
        return no_memory();
    count = 0;
    for (char **entry = environ; *entry != NULL; entry++) {
        bool replaced = false;

        for (size_t i = 0; i < options->envs; i++)
            replaced = replaced || is_set_by(*entry, options->env[i]);
        if (!replaced)
            command->env[count++] = *entry;
    }
    for (size_t i = 0; i < options->envs; i++) {
        bool later = false;

        for (size_t j = i + 1; j < options->envs; j++)
            later = later || is_set_by(options->env[j], options->env[i]);
        if (!later)
            command->env[count++] = (char *)(uintptr_t)options->env[i];
    }
    return 0;
}

/* ---- programs ---- */

static bool is_program(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0;
}

/* Is there a program of this name in the job's PATH? */
static bool path_has(const struct command *command, const char *name)
{
    const char *directories = "/usr/local/bin:/usr/bin:/bin";
    char path[PATH_MAX];

    for (char **entry = command->env; *entry != NULL; entry++)
        if (strncmp(*entry, "PATH=", 5) == 0)
            directories = *entry + 5;
    for (;; directories++) {
        size_t length = strcspn(directories, ":");
        int written = snprintf(path, sizeof(path), "%.*s/%s", (int)length, directories, name);

        if (written > 0 && (size_t)written < sizeof(path) && is_program(path))
            return true;
        directories += length;
        if (*directories == '\0')
            return false;
    }
}

/* The interpreter, as a name in PATH or as an absolute path. */
static int python_make(struct command *command, const struct options *options)
{
    const char *chosen = options->python;
    const char *origin = "--python";
    char *path;

    if (chosen == NULL) {
        chosen = getenv("C4P_PYTHON");
        origin = "$C4P_PYTHON";
    }
    if (chosen == NULL || *chosen == '\0') {
        chosen = C4P_PYTHON;
        origin = "interpreter";
    }
    if (strchr(chosen, '/') == NULL ? !path_has(command, chosen) : !is_program(chosen))
        return usage_error(origin, "%s: %s (choose one with --python PATH)", chosen,
                           access(chosen, F_OK) == 0 ? "is not a program that can be run"
                                                     : "there is no such program");
    if (strchr(chosen, '/') == NULL || chosen[0] == '/') {
        command->python = strdup(chosen);
        return command->python == NULL ? no_memory() : 0;
    }
    /* Not realpath(): a virtual environment is known by the link to its interpreter. */
    path = getcwd(NULL, 0);
    if (path == NULL || asprintf(&command->python, "%s/%s", path, chosen) < 0) {
        free(path);
        return no_memory();
    }
    free(path);
    return 0;
}

/* ---- the command ---- */

/* argv = up to two words in front, and the list. */
static int argv_make(struct command *command, const char *first, const char *second,
                     char *const *rest)
{
    size_t count = 0, words = 0;

    while (rest[count] != NULL)
        count++;
    command->argv = calloc(count + 3, sizeof(*command->argv));
    if (command->argv == NULL)
        return no_memory();
    if (first != NULL)
        command->argv[words++] = (char *)(uintptr_t)first;
    if (second != NULL)
        command->argv[words++] = (char *)(uintptr_t)second;
    memcpy(command->argv + words, rest, count * sizeof(*rest));
    return 0;
}

static bool has_suffix(const char *text, const char *suffix)
{
    size_t length = strlen(text), end = strlen(suffix);

    return length > end && strcmp(text + length - end, suffix) == 0;
}

static bool is_interpreter_name(const char *name)
{
    return strchr(name, '/') == NULL &&
           (strncmp(name, "python", 6) == 0 || strncmp(name, "pypy", 4) == 0);
}

/* --exec: a path, which counts from the program's directory, or a name in PATH. */
static int exec_make(struct command *command, const struct options *options, int directory)
{
    const char *name = options->command[0];

    if (strchr(name, '/') == NULL ? !path_has(command, name)
                                  : faccessat(directory, name, X_OK, AT_EACCESS) != 0)
        return usage_error(name, "%s (--exec needs a program that can be run)",
                           strchr(name, '/') == NULL ? "there is no such program in $PATH"
                                                     : strerror(errno));
    return argv_make(command, NULL, NULL, options->command);
}

static int app_make(struct command *command, const struct options *options, int directory)
{
    const char *app = options->command[0];
    struct stat status;
    int rc;

    if (fstatat(directory, app, &status, 0) != 0) {
        if (errno == ENOENT && is_interpreter_name(app) && path_has(command, app))
            return argv_make(command, NULL, NULL, options->command);
        return usage_error(app, "%s (give the path of a Python program)", strerror(errno));
    }
    if (S_ISDIR(status.st_mode))
        return usage_error(app, "is a directory (give the path of a Python program)");
    if (!has_suffix(app, ".py") && S_ISREG(status.st_mode) &&
        faccessat(directory, app, X_OK, AT_EACCESS) == 0) {
        rc = argv_make(command, NULL, NULL, options->command);
        if (rc != 0 || strchr(app, '/') != NULL)
            return rc;
        /* A file here, not a name in PATH. */
        if (asprintf(&command->program, "./%s", app) < 0)
            return no_memory();
        command->argv[0] = command->program;
        return 0;
    }
    if (faccessat(directory, app, R_OK, AT_EACCESS) != 0)
        return usage_error(app, "%s (the program must be readable)", strerror(errno));
    rc = python_make(command, options);
    return rc != 0 ? rc : argv_make(command, command->python, NULL, options->command);
}

/* python -m NAME arguments */
static int module_make(struct command *command, const struct options *options)
{
    int rc = python_make(command, options);
    char **argv;

    if (rc != 0)
        return rc;
    rc = argv_make(command, "-m", options->module, options->command);
    if (rc != 0)
        return rc;
    argv = command->argv;
    rc = argv_make(command, command->python, NULL, argv);
    free(argv);
    return rc;
}

int command_make(struct command *command, const char *name, const struct options *options)
{
    int directory = -1;
    int rc;

    memset(command, 0, sizeof(*command));
    if (options->module == NULL && options->command[0] == NULL)
        return usage_error(name, "no program is given (c4py %s app.py; c4py %s --help)", name,
                           name);
    rc = cwd_open(command, options->cwd, &directory);
    if (rc == 0)
        rc = env_make(command, options);
    if (rc == 0 && options->module != NULL)
        rc = module_make(command, options);
    else if (rc == 0)
        rc = options->exec ? exec_make(command, options, directory)
                           : app_make(command, options, directory);
    if (directory >= 0)
        close(directory);
    return rc;
}

const char *command_submit_error(int error)
{
    return error == EMSGSIZE
               ? "the arguments and the environment are larger than 1 MiB (shorten them)"
               : strerror(error);
}

void command_free(struct command *command)
{
    free(command->argv);
    free(command->env);
    free(command->cwd);
    free(command->python);
    free(command->program);
    memset(command, 0, sizeof(*command));
}
