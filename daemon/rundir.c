#define _GNU_SOURCE
#include "daemon/rundir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define NAME "c4p-XXXXXX"
#define SOCKET "control"

/* The longest parent directory with which the socket's path is still one. */
#define PARENT_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - sizeof("/" NAME "/" SOCKET))

int rundir_create(struct rundir *rundir, char *error, size_t size)
{
    const char *parents[] = {getenv("XDG_RUNTIME_DIR"), getenv("TMPDIR"), "/tmp"};

    for (size_t i = 0; i < sizeof(parents) / sizeof(*parents); i++) {
        const char *parent = parents[i];

        if (parent == NULL || *parent == '\0' || strlen(parent) > PARENT_MAX ||
            access(parent, W_OK | X_OK) != 0)
            continue;
        snprintf(rundir->directory, sizeof(rundir->directory), "%s/" NAME, parent);
        if (mkdtemp(rundir->directory) != NULL) {
            snprintf(rundir->address, sizeof(rundir->address), "ipc://%.100s/" SOCKET,
                     rundir->directory);
            return 0;
        }
        snprintf(error, size,
                 "%.150s: cannot make a directory: %s (set TMPDIR to one that can "
                 "be written)",
                 parent, strerror(errno));
        rundir->directory[0] = '\0';
    }
    if (rundir->directory[0] == '\0')
        snprintf(error, size,
                 "/tmp: cannot be written (set TMPDIR to a directory that can be, "
                 "with a path of at most %zu bytes)",
                 PARENT_MAX);
    return -1;
}

void rundir_remove(struct rundir *rundir)
{
    if (rundir->directory[0] == '\0')
        return;
    unlink(rundir->address + strlen("ipc://"));
    rmdir(rundir->directory);
    rundir->directory[0] = '\0';
}
