#define _GNU_SOURCE
#include "proto/place.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int place_given_dir(const char *given, char directory[PATH_MAX], char error[PLACE_ERROR_SIZE])
{
    char here[PATH_MAX];
    int length;

    if (given[0] == '/') {
        length = snprintf(directory, PATH_MAX, "%s", given);
    } else if (getcwd(here, sizeof(here)) != NULL) {
        length = snprintf(directory, PATH_MAX, "%s/%s", here, given);
    } else {
        snprintf(error, PLACE_ERROR_SIZE, "the current directory: %s", strerror(errno));
        return -1;
    }
    while (length > 1 && length < PATH_MAX && directory[length - 1] == '/')
        directory[--length] = '\0';
    if (length <= PLACE_MAX)
        return 0;
    snprintf(error, PLACE_ERROR_SIZE,
             "the state directory %.100s... is too long: its sockets allow %d characters "
             "(choose another one: --state-dir, C4P_STATE_DIR)",
             directory, PLACE_MAX);
    return -1;
}

/* The home directory, in `buffer` if the environment does not tell it. */
static const char *home_find(char *buffer, size_t size)
{
    const char *home = getenv("HOME");
    struct passwd user, *found = NULL;

    if (home != NULL && home[0] == '/')
        return home;
    if (getpwuid_r(getuid(), &user, buffer, size, &found) != 0 || found == NULL)
        return NULL;
    return user.pw_dir;
}

int place_state_dir(char directory[PATH_MAX], char error[PLACE_ERROR_SIZE])
{
    const char *chosen = getenv("C4P_STATE_DIR"), *base = getenv("XDG_STATE_HOME");
    char host[HOST_NAME_MAX + 1] = "localhost", path[PATH_MAX], buffer[PATH_MAX];
    const char *home = home_find(buffer, sizeof(buffer));

    if (chosen != NULL && chosen[0] != '\0')
        return place_given_dir(chosen, directory, error);
    gethostname(host, sizeof(host));
    if (base != NULL && base[0] == '/') {
        snprintf(path, sizeof(path), "%.3800s/c4p/%s", base, host);
    } else if (home != NULL) {
        snprintf(path, sizeof(path), "%.3800s/.local/state/c4p/%s", home, host);
    } else {
        snprintf(error, PLACE_ERROR_SIZE,
                 "there is no home directory to keep the state in (set C4P_STATE_DIR)");
        return -1;
    }
    return place_given_dir(path, directory, error);
}
