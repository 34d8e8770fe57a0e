#define _GNU_SOURCE
#include "daemon/sessions.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>
#include <utlist.h>

#include "daemon/jobs/submission.h"
#include "daemon/log.h"
#include "daemon/router/router.h"
#include "daemon/words.h"
#include "proto/clock.h"
#include "proto/place.h"

/* Ten years: longer is for ever, and timers count in seconds. */
#define MAX_TTL_MS (10ull * 366 * 24 * 60 * 60 * 1000)

/* A client in a session. */
struct member {
    uint64_t client;
    uint32_t endpoint; /* 0: it has not entered the segment */
    struct member *prev, *next;
};

struct session {
    UT_hash_handle hh;
    struct sessions *sessions;
    uint64_t job;
    char name[SUBMISSION_MAX_NAME + 1]; /* empty: it ends with its clients */
    uint64_t ttl_ms;
    int64_t expires; /* time of day; 0: somebody is there, or it never does */
    bool closing;    /* nobody joins it any more, and its name is free */
    struct event *timer;
    struct member *members;
};

struct sessions {
    struct event_base *base;
    struct jobs *jobs;
    uint64_t ttl_ms;
    struct session *all; /* by job */
    struct bridge *bridge;
};

struct sessions *sessions_create(struct event_base *base, uint64_t ttl_ms, const char *state_dir,
                                 const struct bridge_listener *remote)
{
    struct sessions *sessions = calloc(1, sizeof(*sessions));
    char address[PLACE_MAX + sizeof("ipc:///" PLACE_DATA)];

    if (sessions == NULL)
        return NULL;
    sessions->base = base;
    sessions->ttl_ms = ttl_ms;
    if (state_dir != NULL)
        snprintf(address, sizeof(address), "ipc://%.*s/" PLACE_DATA, PLACE_MAX, state_dir);
    sessions->bridge = bridge_create(base, state_dir != NULL ? address : NULL, remote);
    if (sessions->bridge != NULL)
        return sessions;
    free(sessions);
    return NULL;
}

void sessions_set_jobs(struct sessions *sessions, struct jobs *jobs)
{
    sessions->jobs = jobs;
}

void sessions_set_ttl(struct sessions *sessions, uint64_t ttl_ms)
{
    sessions->ttl_ms = ttl_ms;
}

static struct session *session_find(const struct sessions *sessions, uint64_t job)
{
    struct session *session;

    HASH_FIND(hh, sessions->all, &job, sizeof(job), session);
    return session;
}

static struct session *session_named(const struct sessions *sessions, const char *name)
{
    struct session *session, *next;

    HASH_ITER(hh, sessions->all, session, next)
    {
        if (!session->closing && strcmp(session->name, name) == 0)
            return session;
    }
    return NULL;
}

static void session_destroy(struct session *session)
{
    struct member *member, *next;

    HASH_DEL(session->sessions->all, session);
    DL_FOREACH_SAFE(session->members, member, next)
    {
        free(member);
    }
    if (session->timer != NULL)
        event_free(session->timer);
    free(session);
}

void sessions_destroy(struct sessions *sessions)
{
    struct session *session, *next;

    if (sessions == NULL)
        return;
    HASH_ITER(hh, sessions->all, session, next)
    {
        session_destroy(session);
    }
    bridge_destroy(sessions->bridge);
    free(sessions);
}

void sessions_job_ended(struct sessions *sessions, uint64_t job)
{
    struct session *session = session_find(sessions, job);

    if (session != NULL)
        session_destroy(session);
}

/* ---- the end of a session that nobody is in ---- */

/* The session may be gone when this returns. */
static void session_end(struct session *session, const char *why)
{
    char reason[JOBS_REASON_SIZE];

    session->closing = true;
    if (jobs_close(session->sessions->jobs, session->job, why, reason) != 0)
        log_write(LOG_WARNING, "session", "cannot be closed: %s", reason);
}

static void session_on_timer(evutil_socket_t fd, short what, void *argument)
{
    struct session *session = argument;
    char why[WORDS_SIZE + 64], ttl[WORDS_SIZE];

    (void)fd;
    (void)what;
    snprintf(why, sizeof(why), "no client was in the session for %s",
             words_duration(session->ttl_ms, ttl));
    session_end(session, why);
}

/* The last client has left, perhaps. The session may be gone when this returns. */
static void session_settle(struct session *session)
{
    uint64_t ms = session->ttl_ms < MAX_TTL_MS ? session->ttl_ms : MAX_TTL_MS;
    const struct timeval delay = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};

    if (session->members != NULL || session->closing)
        return;
    if (session->name[0] == '\0') {
        session_end(session, "its last client went");
    } else if (ms != 0) {
        session->expires = clock_day_ms() + (int64_t)ms;
        event_add(session->timer, &delay);
    }
}

/* ---- members ---- */

static struct member *member_find(const struct session *session, uint64_t client)
{
    struct member *member;

    DL_FOREACH(session->members, member)
    {
        if (member->client == client)
            return member;
    }
    return NULL;
}

static struct member *member_add(struct session *session, uint64_t client)
{
    struct member *member = member_find(session, client);

    if (member != NULL)
        return member;
    member = calloc(1, sizeof(*member));
    if (member == NULL)
        return NULL;
    member->client = client;
    DL_APPEND(session->members, member);
    session->expires = 0;
    event_del(session->timer);
    return member;
}

static void member_leave_segment(struct session *session, struct member *member)
{
    struct router *router = jobs_router(session->sessions->jobs, session->job);

    if (member->endpoint != 0 && router != NULL)
        router_client_leave(router, member->endpoint);
    member->endpoint = 0;
}

/* The session may be gone when this returns. */
static void session_leave(struct session *session, uint64_t client)
{
    struct member *member = member_find(session, client);

    if (member == NULL)
        return;
    member_leave_segment(session, member);
    DL_DELETE(session->members, member);
    free(member);
    session_settle(session);
}

void sessions_leave(struct sessions *sessions, uint64_t client, uint64_t job)
{
    struct session *session = session_find(sessions, job);

    if (session != NULL)
        session_leave(session, client);
}

void sessions_client_gone(struct sessions *sessions, uint64_t client)
{
    struct session *session, *next;

    HASH_ITER(hh, sessions->all, session, next)
    {
        session_leave(session, client);
    }
}

/* 0 with the new endpoint, or -1 with a sentence. */
static int entry_make(struct sessions *sessions, struct router *router, uint64_t client,
                      struct attach_entry *entry, char sentence[BRIDGE_ERROR_SIZE])
{
    if (entry->remote) {
        if (bridge_admit(sessions->bridge, router, client, &entry->bridge, sentence) != 0)
            return -1;
        entry->endpoint = entry->bridge.endpoint;
        return 0;
    }
    entry->endpoint = router_client_enter(router);
    entry->fds[0] = router_segment_fd(router);
    entry->fds[1] = router_wake_fd(router);
    if (entry->endpoint != 0)
        return 0;
    snprintf(sentence, BRIDGE_ERROR_SIZE, "%s",
             errno == ENOSPC ? ROUTER_CLIENTS_FULL : strerror(errno));
    return -1;
}

int sessions_enter(struct sessions *sessions, uint64_t client, uint64_t job, bool follows,
                   struct attach_entry *entry, char reason[CONTROL_REASON_SIZE])
{
    struct session *session = session_find(sessions, job);
    struct router *router = jobs_router(sessions->jobs, job);
    char id[CONTROL_ID_CHARS + 1], sentence[BRIDGE_ERROR_SIZE];
    struct member *member;

    control_id_format(job, id);
    if (session == NULL)
        return control_refuse(reason, "there is no open session %s", id);
    if (!follows && member_find(session, client) == NULL)
        return control_refuse(reason, "open session %s or follow it before entering it", id);
    if (router == NULL)
        return control_refuse(reason, "session %s does not run: wait until it does", id);
    member = member_add(session, client);
    if (member == NULL)
        return control_refuse(reason, "the daemon is out of memory");
    member_leave_segment(session, member);
    if (entry_make(sessions, router, client, entry, sentence) != 0)
        return control_refuse(reason, "session %s: %.200s", id, sentence);
    member->endpoint = entry->endpoint;
    return 0;
}

/* ---- open and close ---- */

static struct session *session_create(struct sessions *sessions, const char *name, uint64_t ttl_ms)
{
    struct session *session = calloc(1, sizeof(*session));

    if (session == NULL)
        return NULL;
    session->sessions = sessions;
    session->ttl_ms = ttl_ms != 0 ? ttl_ms : sessions->ttl_ms;
    snprintf(session->name, sizeof(session->name), "%s", name);
    session->timer = evtimer_new(sessions->base, session_on_timer, session);
    if (session->timer == NULL) {
        free(session);
        return NULL;
    }
    return session;
}

/* Make it; a client that asks again, with the same key, gets what it made the first time. */
static struct session *session_make(struct sessions *sessions, const C4p__Open *open,
                                    const char *name, uint64_t *job,
                                    char reason[CONTROL_REASON_SIZE])
{
    C4p__Submit submit = *open->job;
    struct session *session = session_create(sessions, name, open->ttl_ms);
    struct session *known = NULL;
    enum job_state state;

    submit.name = open->name;
    if (session == NULL) {
        control_refuse(reason, "the daemon is out of memory");
        return NULL;
    }
    if (jobs_submit(sessions->jobs, &submit, JOBS_SESSION, job, reason) != 0)
        goto drop;
    known = session_find(sessions, *job);
    if (known == NULL && jobs_state(sessions->jobs, *job, &state, reason) &&
        !job_state_final(state)) {
        session->job = *job;
        HASH_ADD(hh, sessions->all, job, sizeof(session->job), session);
        return session;
    }
    if (known == NULL)
        control_refuse(reason, "the session that was opened with this key is over");
drop:
    event_free(session->timer);
    free(session);
    return known;
}

static int name_take(const C4p__Open *open, char name[SUBMISSION_MAX_NAME + 1],
                     char reason[CONTROL_REASON_SIZE])
{
    if (open->name.len > SUBMISSION_MAX_NAME)
        return control_refuse(reason, "a name of %zu bytes is too long: at most %d", open->name.len,
                              SUBMISSION_MAX_NAME);
    if (open->name.len > 0)
        memcpy(name, open->name.data, open->name.len);
    name[open->name.len] = '\0';
    if (strlen(name) != open->name.len)
        return control_refuse(reason, "there is a NUL in the name of the session");
    return 0;
}

int sessions_open(struct sessions *sessions, uint64_t client, const C4p__Open *open, uint64_t *job,
                  char reason[CONTROL_REASON_SIZE])
{
    char name[SUBMISSION_MAX_NAME + 1];
    struct session *session = NULL;

    if (name_take(open, name, reason) != 0)
        return -1;
    if (name[0] != '\0')
        session = session_named(sessions, name);
    if (session == NULL) {
        if (name[0] != '\0' && !open->create)
            return control_refuse(reason, "there is no session %s", name);
        if (open->job == NULL)
            return control_refuse(reason, "it is not said how the session's PEs are started");
        session = session_make(sessions, open, name, job, reason);
        if (session == NULL)
            return -1;
    }
    *job = session->job;
    if (member_add(session, client) != NULL)
        return 0;
    session_settle(session);
    return control_refuse(reason, "the daemon is out of memory");
}

int sessions_close(struct sessions *sessions, uint64_t job, char reason[CONTROL_REASON_SIZE])
{
    struct session *session = session_find(sessions, job);

    if (session != NULL)
        session->closing = true;
    return jobs_close(sessions->jobs, job, NULL, reason);
}

void sessions_describe(const struct sessions *sessions, uint64_t job, C4p__SessionInfo *info)
{
    const struct session *session = session_find(sessions, job);
    const struct member *member;

    if (session == NULL)
        return;
    DL_FOREACH(session->members, member)
    {
        info->clients++;
    }
    info->ttl_ms = session->ttl_ms;
    info->expires = (uint64_t)session->expires;
}
