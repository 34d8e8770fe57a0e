#define _GNU_SOURCE
#include "daemon/ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "proto/control.h"
#include "proto/place.h"

/* A daemon that says nothing for so long is stopped, or worse. */
#define PATIENCE_S 10

#define QUESTION_SIZE 4096

/* Whoever listens there is this user? Else it is not told anything. */
static bool daemon_is_ours(int fd)
{
    struct ucred credentials;
    socklen_t size = sizeof(credentials);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
        return false;
    errno = EPERM;
    return credentials.uid == geteuid();
}

static int door_open(const char *state_dir)
{
    const struct timeval patience = {PATIENCE_S, 0};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), reason;

    if (fd < 0)
        return -1;
    if (snprintf(address.sun_path, sizeof(address.sun_path), "%s/" PLACE_ATTACH, state_dir) >=
        (int)sizeof(address.sun_path))
        errno = ENAMETOOLONG;
    else if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0 &&
             setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) == 0 &&
             connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && daemon_is_ours(fd))
        return fd;
    reason = errno;
    close(fd);
    errno = reason;
    return -1;
}

static int question_send(int fd, C4p__Admin__BodyCase body, void *question)
{
    C4p__Knock knock = C4P__KNOCK__INIT;
    C4p__Admin admin = C4P__ADMIN__INIT;
    uint8_t packet[QUESTION_SIZE];
    size_t size;

    admin.body_case = body;
    admin.nodes = question; /* one of a union of pointers */
    knock.body_case = C4P__KNOCK__BODY_ADMIN;
    knock.admin = &admin;
    size = c4p__knock__get_packed_size(&knock);
    if (size > sizeof(packet)) {
        errno = EMSGSIZE;
        return -1;
    }
    c4p__knock__pack(&knock, packet);
    return send(fd, packet, size, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

static C4p__AdminAnswer *answer_take(int fd)
{
    uint8_t *packet = malloc(CONTROL_MAX_PACKET);
    C4p__AdminAnswer *answer = NULL;
    ssize_t size = -1;

    if (packet != NULL)
        size = recv(fd, packet, CONTROL_MAX_PACKET, 0);
    if (size == 0)
        errno = ECONNRESET;
    if (size > 0) {
        answer = c4p__admin_answer__unpack(NULL, (size_t)size, packet);
        errno = EPROTO;
    }
    free(packet);
    return answer;
}

C4p__AdminAnswer *ask(const char *state_dir, C4p__Admin__BodyCase body, void *question)
{
    C4p__AdminAnswer *answer = NULL;
    int fd = door_open(state_dir), reason;

    if (fd < 0)
        return NULL;
    if (question_send(fd, body, question) == 0)
        answer = answer_take(fd);
    reason = errno;
    close(fd);
    errno = reason;
    return answer;
}

void ask_free(C4p__AdminAnswer *answer)
{
    if (answer != NULL)
        c4p__admin_answer__free_unpacked(answer, NULL);
}

bool ask_found_nobody(void)
{
    return errno == ENOENT || errno == ECONNREFUSED;
}

static int failure_say(const char *state_dir)
{
    if (ask_found_nobody()) {
        fprintf(stderr, "c4pd: no daemon runs (%s): c4pd start\n", state_dir);
        return EXIT_CODE_NOT_RUNNING;
    }
    fprintf(stderr, "c4pd: %s: %s\n", state_dir,
            errno == EAGAIN ? "the daemon does not answer (is it stopped?)" : strerror(errno));
    return EXIT_CODE_FAILED;
}

C4p__AdminAnswer *ask_judge(const char *state_dir, C4p__AdminAnswer *answer, int *code)
{
    *code = EXIT_CODE_OK;
    if (answer == NULL) {
        *code = failure_say(state_dir);
    } else if (answer->refused[0] != '\0') {
        fprintf(stderr, "c4pd: %s\n", answer->refused);
        ask_free(answer);
        answer = NULL;
        *code = EXIT_CODE_FAILED;
    }
    return answer;
}

C4p__AdminAnswer *ask_or_say(const char *state_dir, C4p__Admin__BodyCase body, void *question,
                             int *code)
{
    return ask_judge(state_dir, ask(state_dir, body, question), code);
}
