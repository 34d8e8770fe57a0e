#define _GNU_SOURCE
#include "proto/path.h"

#include <stdio.h>
#include <string.h>

bool path_tidy(const char *base, const char *text, size_t length, char path[PATH_MAX])
{
    char whole[2 * PATH_MAX], *word, *rest = whole;
    bool absolute = length > 0 && text[0] == '/';
    size_t used = 0;

    if (length >= PATH_MAX || snprintf(whole, sizeof(whole), "%s/%.*s", absolute ? "" : base,
                                       (int)length, length > 0 ? text : "") >= (int)sizeof(whole))
        return false;
    path[0] = '\0';
    while ((word = strsep(&rest, "/")) != NULL) {
        if (*word == '\0' || strcmp(word, ".") == 0)
            continue;
        if (strcmp(word, "..") == 0) {
            while (used > 0 && path[--used] != '/')
                continue;
            path[used] = '\0';
            continue;
        }
        if (used + strlen(word) + 2 > PATH_MAX)
            return false;
        used += (size_t)snprintf(path + used, PATH_MAX - used, "/%s", word);
    }
    if (used == 0)
        memcpy(path, "/", 2);
    return true;
}

const char *path_below(const char *root, const char *path)
{
    size_t length = strlen(root);

    if (length == 1 && path[0] == '/')
        return path + 1;
    if (strncmp(path, root, length) != 0)
        return NULL;
    if (path[length] == '\0')
        return path + length;
    return path[length] == '/' ? path + length + 1 : NULL;
}
