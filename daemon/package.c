#define _GNU_SOURCE
#include "daemon/package.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef C4P_PYTHON_DIR
#define C4P_PYTHON_DIR ""
#endif

static bool has_package(const char *directory)
{
    char module[PATH_MAX];
    int written = snprintf(module, sizeof(module), "%s/c4py/__init__.py", directory);

    return written > 0 && (size_t)written < sizeof(module) && access(module, R_OK) == 0;
}

bool package_find(char *directory, size_t size)
{
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash;

    /* .../build/bin/c4pd -> .../build/python */
    for (int levels = 0; length > 0 && levels < 2; levels++) {
        self[length] = '\0';
        slash = strrchr(self, '/');
        length = slash == NULL ? 0 : slash - self;
    }
    if (length > 0 && (size_t)snprintf(directory, size, "%.*s/python", (int)length, self) < size &&
        has_package(directory))
        return true;
    return C4P_PYTHON_DIR[0] != '\0' &&
           (size_t)snprintf(directory, size, "%s", C4P_PYTHON_DIR) < size && has_package(directory);
}
