#define _GNU_SOURCE
#include "daemon/control/attach.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <uthash.h>

#include "daemon/log.h"
#include "proto/clock.h"
#include "proto/control.pb-c.h"

#define BACKLOG 128

/* Callers let in before the event loop gets its turn again; of packets it is one a connection. */
#define ACCEPTS_A_TURN 16

/* When there is no descriptor left for a caller, it waits, and the loop does not spin. */
#define PAUSE_MS 100

/* Lines in the log about who was refused: so many in such a time, then one with their number. */
#define LOGGED_AT_ONCE 5
#define LOGGED_EACH_MS 10000

#define DOOR_SIZE 2048

/* How far a connection has come. */
enum stage { SILENT, ATTACHED, GREETED };

struct visitor {
    UT_hash_handle hh;
    struct attach *attach;
    struct attach_who who;
    enum stage stage;
    bool lifeline; /* as old as the daemon: it may take its time */
    int fd;
    struct event *event;
    uint8_t ticket[CONTROL_TICKET_SIZE]; /* in ATTACHED */
    int64_t ticket_end;
};

struct attach {
    struct event_base *base;
    struct attach_settings settings;
    struct attach_listener listener;
    struct visitor *visitors; /* by who.id */
    uint64_t last_id;
    uint64_t refused;
    int socket;
    struct event *callers, *pause;
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)]; /* what is ours to remove */
    int64_t log_since;
    unsigned logged;
    uint8_t packet[CONTROL_MAX_PACKET];
};

struct attach *attach_create(struct event_base *base, const struct attach_settings *settings,
                             const struct attach_listener *listener)
{
    struct attach *attach = calloc(1, sizeof(*attach));

    if (attach == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    attach->base = base;
    attach->settings = *settings;
    attach->listener = *listener;
    attach->socket = -1;
    return attach;
}

uint64_t attach_refused(const struct attach *attach)
{
    return attach->refused;
}

uint32_t attach_count(const struct attach *attach)
{
    uint32_t count = 0;

    for (const struct visitor *visitor = attach->visitors; visitor != NULL;
         visitor = visitor->hh.next)
        count += visitor->stage != SILENT;
    return count;
}

/* ---- refusing ---- */

/* Count a refusal and write it down, unless there are too many to read. */
static void refusal_log(struct attach *attach, enum log_level level, const struct attach_who *who,
                        const char *reason)
{
    int64_t now = clock_ms();

    attach->refused++;
    if (now - attach->log_since >= LOGGED_EACH_MS) {
        if (attach->logged > LOGGED_AT_ONCE)
            log_write(LOG_WARNING, "attach", "%u more were refused",
                      attach->logged - LOGGED_AT_ONCE);
        attach->log_since = now;
        attach->logged = 0;
    }
    if (attach->logged++ < LOGGED_AT_ONCE)
        log_write(level, "attach", "refused process %d of user %u: %s", (int)who->pid,
                  (unsigned)who->uid, reason);
}

/* Answer with two descriptors or, fds NULL, none. -1 if the client is gone or does not read. */
static int door_send(int fd, const C4p__Door *door, const int *fds)
{
    union {
        char bytes[CMSG_SPACE(2 * sizeof(int))];
        struct cmsghdr aligned;
    } control = {.bytes = {0}};
    uint8_t packet[DOOR_SIZE];
    struct iovec part = {packet, c4p__door__get_packed_size(door)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    if (part.iov_len > sizeof(packet))
        return -1;
    c4p__door__pack(door, packet);
    if (fds != NULL) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof(control.bytes);
        control.aligned.cmsg_level = SOL_SOCKET;
        control.aligned.cmsg_type = SCM_RIGHTS;
        control.aligned.cmsg_len = CMSG_LEN(2 * sizeof(int));
        memcpy(CMSG_DATA(&control.aligned), fds, 2 * sizeof(int));
    }
    return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -1 : 0;
}

static int door_refuse(int fd, const char *reason)
{
    C4p__Door door = C4P__DOOR__INIT;

    door.refused = (char *)(uintptr_t)reason;
    return door_send(fd, &door, NULL);
}

/* ---- connections ---- */

static void visitor_free(struct visitor *visitor)
{
    HASH_DEL(visitor->attach->visitors, visitor);
    if (visitor->event != NULL)
        event_free(visitor->event);
    close(visitor->fd);
    explicit_bzero(visitor->ticket, sizeof(visitor->ticket));
    free(visitor);
}

static void visitor_gone(struct visitor *visitor)
{
    struct attach *attach = visitor->attach;
    uint64_t id = visitor->who.id;

    visitor_free(visitor);
    attach->listener.gone(attach->listener.context, id);
}

/* Say why, and close. */
static void visitor_refuse(struct visitor *visitor, const char *reason)
{
    refusal_log(visitor->attach, LOG_INFO, &visitor->who, reason);
    door_refuse(visitor->fd, reason);
    visitor_gone(visitor);
}

static struct visitor *visitor_find(struct attach *attach, uint64_t id)
{
    struct visitor *visitor;

    HASH_FIND(hh, attach->visitors, &id, sizeof(id), visitor);
    return visitor;
}

/* ---- packets ---- */

static void knock_attach(struct visitor *visitor, const C4p__Knock *knock)
{
    const struct attach *attach = visitor->attach;
    const struct timeval ticket_time = {ATTACH_TICKET_SECONDS, 0};
    C4p__Door door = C4P__DOOR__INIT;
    uint32_t min = knock->attach->min_version, max = knock->attach->max_version;
    char reason[ATTACH_ERROR_SIZE];

    if (control_version_choose(min, max) == 0) {
        snprintf(reason, sizeof(reason),
                 "this daemon speaks versions %d to %d of the control protocol, the client %u to "
                 "%u: use a client of the same release",
                 CONTROL_MIN_VERSION, CONTROL_MAX_VERSION, min, max);
        visitor_refuse(visitor, reason);
        return;
    }
    if (getrandom(visitor->ticket, sizeof(visitor->ticket), 0) != sizeof(visitor->ticket) ||
        (!visitor->lifeline && event_add(visitor->event, &ticket_time) != 0)) {
        visitor_refuse(visitor, "the daemon cannot make a ticket now: try again");
        return;
    }
    visitor->stage = ATTACHED;
    visitor->ticket_end = clock_ms() + ATTACH_TICKET_SECONDS * 1000;
    door.ticket.data = visitor->ticket;
    door.ticket.len = sizeof(visitor->ticket);
    door.address = (char *)(uintptr_t)attach->settings.address;
    door.host = (char *)(uintptr_t)attach->settings.host;
    if (door_send(visitor->fd, &door, NULL) != 0)
        visitor_gone(visitor);
}

/* The answer to who may come in: two descriptors, or what a bridge needs. */
static int entry_send(int fd, struct attach_entry *entry)
{
    C4p__Door door = C4P__DOOR__INIT;
    int rc;

    door.endpoint = entry->endpoint;
    if (!entry->remote)
        return door_send(fd, &door, entry->fds);
    door.address = (char *)(uintptr_t)entry->bridge.address;
    door.ticket.data = entry->bridge.ticket;
    door.ticket.len = sizeof(entry->bridge.ticket);
    door.epoch = entry->bridge.geometry.epoch;
    door.pes = entry->bridge.geometry.pes;
    door.cores = entry->bridge.geometry.cores;
    door.region_size = entry->bridge.geometry.region_size;
    rc = door_send(fd, &door, NULL);
    explicit_bzero(entry->bridge.ticket, sizeof(entry->bridge.ticket));
    return rc;
}

static void knock_segment(struct visitor *visitor, const C4p__Knock *knock)
{
    struct attach *attach = visitor->attach;
    struct attach_entry entry = {.remote = knock->segment->remote, .fds = {-1, -1}};
    char reason[ATTACH_ERROR_SIZE] = "";
    uint64_t id = visitor->who.id;
    int rc =
        attach->listener.segment(attach->listener.context, id, knock->segment->job, &entry, reason);

    visitor = visitor_find(attach, id);
    if (visitor == NULL)
        return; /* the listener has closed it */
    if (rc != 0) {
        attach->refused++;
        rc = door_refuse(visitor->fd, reason);
    } else {
        rc = entry_send(visitor->fd, &entry);
    }
    if (rc != 0)
        visitor_gone(visitor);
}

/* NULL: no memory. What does not fit becomes an apology. */
static uint8_t *admin_answer_pack(C4p__AdminAnswer *answer, size_t *size)
{
    uint8_t *packet;

    *size = c4p__admin_answer__get_packed_size(answer);
    if (*size > CONTROL_MAX_PACKET) {
        *answer = (C4p__AdminAnswer)C4P__ADMIN_ANSWER__INIT;
        answer->refused = (char *)(uintptr_t) "the answer does not fit into a packet";
        *size = c4p__admin_answer__get_packed_size(answer);
    }
    packet = malloc(*size + 1); /* an empty answer is one too */
    if (packet != NULL)
        c4p__admin_answer__pack(answer, packet);
    return packet;
}

static void knock_admin(struct visitor *visitor, const C4p__Knock *knock)
{
    struct attach *attach = visitor->attach;
    C4p__AdminAnswer answer = C4P__ADMIN_ANSWER__INIT;
    uint64_t id = visitor->who.id;
    uint8_t *packet;
    size_t size;

    if (attach->listener.admin == NULL) {
        visitor_refuse(visitor, "this daemon is private to one run, and in no cluster");
        return;
    }
    attach->listener.admin(attach->listener.context, knock->admin, &answer);
    packet = admin_answer_pack(&answer, &size);
    attach->refused += answer.refused[0] != '\0';
    visitor = visitor_find(attach, id);
    if (visitor != NULL && packet != NULL)
        send(visitor->fd, packet, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    free(packet);
    if (visitor != NULL)
        visitor_gone(visitor);
}

/* What a client may say, and when. */
static const struct knock_row {
    enum stage stage;
    void (*handle)(struct visitor *visitor, const C4p__Knock *knock);
    const char *otherwise;
} knocks[] = {
    [C4P__KNOCK__BODY_ATTACH] = {SILENT, knock_attach,
                                 "Attach came a second time: a connection is one client's"},
    [C4P__KNOCK__BODY_SEGMENT] = {GREETED, knock_segment,
                                  "Segment came too early: say Attach here, then Hello over ZeroMQ "
                                  "with the ticket"},
    [C4P__KNOCK__BODY_ADMIN] = {SILENT, knock_admin,
                                "Admin came after Attach: ask on a connection of its own"},
};

#define KNOCKS (sizeof(knocks) / sizeof(*knocks))

static void packet_handle(struct visitor *visitor, const uint8_t *packet, size_t size)
{
    C4p__Knock *knock = c4p__knock__unpack(NULL, size, packet);
    const struct knock_row *row;

    if (knock == NULL) {
        visitor_refuse(visitor, "the packet cannot be decoded: it is no Knock");
        return;
    }
    row = (size_t)knock->body_case < KNOCKS ? &knocks[knock->body_case] : &knocks[0];
    if (row->handle == NULL)
        visitor_refuse(visitor, "the packet asks for nothing that this daemon knows");
    else if (row->stage != visitor->stage)
        visitor_refuse(visitor, row->otherwise);
    else
        row->handle(visitor, knock);
    c4p__knock__free_unpacked(knock, NULL);
}

/* An empty packet looks like the end of the connection. */
static bool is_at_end(int fd)
{
    struct pollfd poller = {fd, POLLRDHUP, 0};

    return poll(&poller, 1, 0) > 0 && poller.revents != 0;
}

/* One packet a turn: who sends many waits for the others. */
static void packet_take(struct visitor *visitor)
{
    struct attach *attach = visitor->attach;
    struct iovec part = {attach->packet, sizeof(attach->packet)};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    ssize_t size = recvmsg(visitor->fd, &message, MSG_DONTWAIT);

    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (size < 0 || (size == 0 && is_at_end(visitor->fd)))
        visitor_gone(visitor);
    else if (message.msg_flags & MSG_TRUNC)
        visitor_refuse(visitor, "the packet is larger than the 64 KiB allowed");
    else if (message.msg_flags & MSG_CTRUNC)
        visitor_refuse(visitor, "the packet carries what no Knock carries");
    else
        packet_handle(visitor, attach->packet, (size_t)size);
}

static void visitor_on_event(evutil_socket_t fd, short what, void *argument)
{
    struct visitor *visitor = argument;

    (void)fd;
    if (what & EV_READ)
        packet_take(visitor);
    else if (visitor->stage == SILENT)
        visitor_refuse(visitor, "it connected and said nothing for too long");
    else
        visitor_refuse(visitor, "its ticket was not used in time");
}

/* ---- coming in ---- */

static int who_find(int fd, struct attach_who *who)
{
    struct ucred credentials;
    socklen_t size = sizeof(credentials);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
        return -1;
    who->uid = credentials.uid;
    who->pid = credentials.pid;
    return 0;
}

/* Keep a connection, which is taken over. -1 with errno: it stays the caller's. */
static int visitor_keep(struct attach *attach, int fd, const struct attach_who *who, bool lifeline)
{
    const struct timeval silence = {ATTACH_SILENCE_SECONDS, 0};
    struct visitor *visitor = calloc(1, sizeof(*visitor));

    if (visitor == NULL)
        return -1;
    visitor->attach = attach;
    visitor->who = *who;
    visitor->who.id = ++attach->last_id;
    visitor->lifeline = lifeline;
    visitor->fd = fd;
    visitor->event = event_new(attach->base, fd, EV_READ | EV_PERSIST, visitor_on_event, visitor);
    if (visitor->event == NULL || event_add(visitor->event, lifeline ? NULL : &silence) != 0) {
        if (visitor->event != NULL)
            event_free(visitor->event);
        free(visitor);
        errno = ENOMEM;
        return -1;
    }
    HASH_ADD(hh, attach->visitors, who.id, sizeof(visitor->who.id), visitor);
    return 0;
}

int attach_adopt(struct attach *attach, int fd)
{
    struct attach_who who = {0};

    if (who_find(fd, &who) != 0)
        return -1;
    return visitor_keep(attach, fd, &who, true);
}

/* May this caller come in? An empty sentence: yes. */
static enum log_level caller_judge(const struct attach *attach, const struct attach_who *who,
                                   char reason[ATTACH_ERROR_SIZE])
{
    reason[0] = '\0';
    if (who->uid != geteuid()) {
        snprintf(reason, ATTACH_ERROR_SIZE,
                 "this daemon serves user %u only, you are user %u: start one of your own",
                 (unsigned)geteuid(), (unsigned)who->uid);
        return LOG_WARNING;
    }
    if (HASH_COUNT(attach->visitors) >= attach->settings.max_clients)
        snprintf(reason, ATTACH_ERROR_SIZE,
                 "the daemon has %u clients and takes no more: try again when one has left",
                 attach->settings.max_clients);
    return LOG_INFO;
}

/* Taken over. */
static void caller_take(struct attach *attach, int fd)
{
    struct attach_who who = {0};
    char reason[ATTACH_ERROR_SIZE];
    enum log_level level;

    if (who_find(fd, &who) != 0) {
        close(fd);
        return;
    }
    level = caller_judge(attach, &who, reason);
    if (reason[0] == '\0' && visitor_keep(attach, fd, &who, false) == 0)
        return;
    if (reason[0] == '\0')
        snprintf(reason, sizeof(reason), "the daemon is out of memory");
    refusal_log(attach, level, &who, reason);
    door_refuse(fd, reason);
    close(fd);
}

static bool is_short_of_something(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void attach_on_caller(evutil_socket_t socket, short what, void *argument)
{
    const struct timeval pause = {0, PAUSE_MS * 1000};
    struct attach *attach = argument;

    (void)what;
    for (unsigned taken = 0; taken < ACCEPTS_A_TURN; taken++) {
        int fd = accept4(socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd >= 0) {
            caller_take(attach, fd);
            continue;
        }
        if (!is_short_of_something(errno))
            return;
        refusal_log(attach, LOG_ERROR, &(struct attach_who){0}, strerror(errno));
        if (event_add(attach->pause, &pause) == 0)
            event_del(attach->callers);
        return;
    }
}

static void attach_on_pause(evutil_socket_t socket, short what, void *argument)
{
    struct attach *attach = argument;

    (void)socket, (void)what;
    event_add(attach->callers, NULL);
}

/* ---- the socket ---- */

/* What is in the way is removed if it is a socket. */
static int old_socket_remove(const char *path)
{
    struct stat info;

    if (lstat(path, &info) != 0)
        return errno == ENOENT ? 0 : -1;
    if (!S_ISSOCK(info.st_mode)) {
        errno = EEXIST;
        return -1;
    }
    return unlink(path);
}

static int socket_bind(struct attach *attach, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    strcpy(address.sun_path, path);
    if (old_socket_remove(path) != 0)
        return -1;
    attach->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (attach->socket < 0)
        return -1;
    /* The file gets the mode of the descriptor: at no time can others open it. */
    if (fchmod(attach->socket, 0600) != 0 ||
        bind(attach->socket, (struct sockaddr *)&address, sizeof(address)) != 0)
        return -1;
    strcpy(attach->path, path);
    return listen(attach->socket, BACKLOG);
}

int attach_listen(struct attach *attach, const char *path, char error[ATTACH_ERROR_SIZE])
{
    if (strlen(path) >= sizeof(attach->path)) {
        snprintf(error, ATTACH_ERROR_SIZE,
                 "the path of a socket has at most %zu characters: %.150s... has more (choose "
                 "another state directory)",
                 sizeof(attach->path) - 1, path);
        return -1;
    }
    if (socket_bind(attach, path) != 0) {
        snprintf(error, ATTACH_ERROR_SIZE, "the socket %s cannot be made: %s%s", path,
                 strerror(errno), errno == EEXIST ? " and is no socket (remove it)" : "");
        return -1;
    }
    attach->callers =
        event_new(attach->base, attach->socket, EV_READ | EV_PERSIST, attach_on_caller, attach);
    attach->pause = event_new(attach->base, -1, 0, attach_on_pause, attach);
    if (attach->callers == NULL || attach->pause == NULL || event_add(attach->callers, NULL) != 0) {
        snprintf(error, ATTACH_ERROR_SIZE, "out of memory");
        return -1;
    }
    return 0;
}

void attach_stop(struct attach *attach)
{
    if (attach->callers != NULL)
        event_free(attach->callers);
    if (attach->pause != NULL)
        event_free(attach->pause);
    attach->callers = attach->pause = NULL;
    if (attach->path[0] != '\0')
        unlink(attach->path);
    attach->path[0] = '\0';
    if (attach->socket >= 0)
        close(attach->socket);
    attach->socket = -1;
}

void attach_destroy(struct attach *attach)
{
    struct visitor *visitor, *next;

    if (attach == NULL)
        return;
    attach_stop(attach);
    HASH_ITER(hh, attach->visitors, visitor, next)
    visitor_free(visitor);
    free(attach);
}

/* ---- tickets ---- */

/* In a time that does not tell how much of it was right. */
static bool ticket_equals(const uint8_t *one, const uint8_t *other)
{
    uint8_t difference = 0;

    for (size_t i = 0; i < CONTROL_TICKET_SIZE; i++)
        difference |= one[i] ^ other[i];
    __asm__ volatile("" : "+r"(difference)); /* no leaving the loop early */
    return difference == 0;
}

bool attach_redeem(struct attach *attach, const void *ticket, size_t size, struct attach_who *who)
{
    struct visitor *owner = NULL;

    if (size != CONTROL_TICKET_SIZE)
        return false;
    for (struct visitor *visitor = attach->visitors; visitor != NULL; visitor = visitor->hh.next)
        if (visitor->stage == ATTACHED && ticket_equals(visitor->ticket, ticket))
            owner = visitor;
    if (owner == NULL || clock_ms() >= owner->ticket_end)
        return false;
    owner->stage = GREETED;
    explicit_bzero(owner->ticket, sizeof(owner->ticket));
    event_remove_timer(owner->event);
    *who = owner->who;
    return true;
}

void attach_close(struct attach *attach, uint64_t id, const char *reason)
{
    struct visitor *visitor = visitor_find(attach, id);

    if (visitor == NULL)
        return;
    if (reason != NULL)
        door_refuse(visitor->fd, reason);
    visitor_free(visitor);
}
