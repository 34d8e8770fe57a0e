#define _GNU_SOURCE
#include "daemon/followers.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>
#include <utlist.h>

/* A client that does not read is tried again after so long. */
#define RETRY_MS 200

/* Jobs that are over of which it is remembered how far a lossless follower got. */
#define MAX_REMEMBERED 1024

struct follower {
    struct followers_client *client;
    struct audience *audience;
    struct follower *prev, *next;               /* of the same job */
    struct follower *client_prev, *client_next; /* of the same client */
    bool flowing;                               /* Following has been sent */
    bool lossless;

    uint64_t cursor;                      /* the next piece to send */
    uint64_t acknowledged;                /* pieces up to this one are dealt with */
    uint64_t sent[CONTROL_OUTPUT_WINDOW]; /* a ring: those on their way */
    uint32_t sent_first, sent_count;

    /* what it has been told, and is to be told */
    enum job_state told;
    char told_reason[JOBS_REASON_SIZE];
    bool state_due;
    uint32_t credit;
    bool credit_closed;
};

/* The followers of one job. */
struct audience {
    UT_hash_handle hh;
    uint64_t job;
    struct follower *followers;
    struct follower *input;        /* who has standard input, or NULL */
    struct transcript *transcript; /* while there are followers */
    uint64_t resume;               /* what a lossless follower acknowledged last */
    bool over;
};

struct followers_client {
    struct control_peer *peer;
    struct follower *followers;
    uint32_t count, on_their_way;
    bool blocked, lost;
    struct followers_client *prev, *next;
};

struct followers {
    struct followers_listener listener;
    struct jobs *jobs;
    struct audience *audiences;
    struct followers_client *clients;
    struct event *retry;
};

/* ---- audiences ---- */

static struct audience *audience_find(const struct followers *followers, uint64_t job)
{
    struct audience *audience;

    HASH_FIND(hh, followers->audiences, &job, sizeof(job), audience);
    return audience;
}

static struct audience *audience_get(struct followers *followers, uint64_t job)
{
    struct audience *audience = audience_find(followers, job);

    if (audience != NULL)
        return audience;
    audience = calloc(1, sizeof(*audience));
    if (audience == NULL)
        return NULL;
    audience->job = job;
    HASH_ADD(hh, followers->audiences, job, sizeof(job), audience);
    return audience;
}

static void audience_destroy(struct followers *followers, struct audience *audience)
{
    HASH_DEL(followers->audiences, audience);
    free(audience);
}

/* Nobody follows the job: what is worth remembering is how far somebody got, for a while. */
static void audience_settle(struct followers *followers, struct audience *audience)
{
    struct audience *other, *next;
    unsigned remembered = 0;

    if (audience->followers != NULL)
        return;
    if (audience->transcript != NULL)
        jobs_release(followers->jobs, audience->job);
    audience->transcript = NULL;
    if (audience->resume == 0) {
        audience_destroy(followers, audience);
        return;
    }
    if (!audience->over)
        return;
    HASH_ITER(hh, followers->audiences, other, next)
    {
        remembered += other->over && other->followers == NULL;
    }
    HASH_ITER(hh, followers->audiences, other, next)
    {
        if (remembered <= MAX_REMEMBERED)
            return;
        if (!other->over || other->followers != NULL)
            continue;
        audience_destroy(followers, other);
        remembered--;
    }
}

static void follower_destroy(struct followers *followers, struct follower *follower)
{
    struct audience *audience = follower->audience;
    struct followers_client *client = follower->client;
    bool lossless = follower->lossless;

    DL_DELETE(audience->followers, follower);
    DL_DELETE2(client->followers, follower, client_prev, client_next);
    client->count--;
    client->on_their_way -= follower->sent_count;
    if (audience->input == follower)
        audience->input = NULL;
    free(follower);
    /* Perhaps it was who held the PEs back. */
    if (lossless && !audience->over)
        jobs_resume(followers->jobs, audience->job);
    audience_settle(followers, audience);
}

/* ---- sending: each returns false if nothing more can be sent now ---- */

static bool follower_send(struct followers *followers, struct follower *follower,
                          C4p__Event__BodyCase body, void *message)
{
    struct followers_client *client = follower->client;

    if (client->blocked || client->lost)
        return false;
    if (followers->listener.send(followers->listener.context, client->peer, body, message) == 0)
        return true;
    if (errno == EAGAIN) {
        client->blocked = true;
        event_add(followers->retry, &(struct timeval){0, RETRY_MS * 1000});
    } else {
        client->lost = true;
        followers->listener.lost(followers->listener.context, client->peer, errno);
    }
    return false;
}

static bool state_tell(struct followers *followers, struct follower *follower)
{
    C4p__State message = C4P__STATE__INIT;
    char reason[JOBS_REASON_SIZE];
    enum job_state state;

    if (!follower->state_due)
        return true;
    if (!jobs_state(followers->jobs, follower->audience->job, &state, reason) ||
        (state == follower->told && strcmp(reason, follower->told_reason) == 0)) {
        follower->state_due = false;
        return true;
    }
    message.job = follower->audience->job;
    message.state = (C4p__JobState)state;
    message.reason = reason;
    if (!follower_send(followers, follower, C4P__EVENT__BODY_STATE, &message))
        return false;
    follower->told = state;
    memcpy(follower->told_reason, reason, sizeof(reason));
    follower->state_due = false;
    return true;
}

static bool credit_tell(struct followers *followers, struct follower *follower)
{
    C4p__InputCredit message = C4P__INPUT_CREDIT__INIT;

    if (follower->credit == 0 && !follower->credit_closed)
        return true;
    message.job = follower->audience->job;
    message.bytes = follower->credit;
    message.closed = follower->credit_closed;
    if (!follower_send(followers, follower, C4P__EVENT__BODY_INPUT_CREDIT, &message))
        return false;
    follower->credit = 0;
    follower->credit_closed = false;
    return true;
}

static bool piece_tell(struct followers *followers, struct follower *follower,
                       const struct output_piece *piece, uint64_t sequence)
{
    C4p__Output message = C4P__OUTPUT__INIT;
    uint32_t place = (follower->sent_first + follower->sent_count) % CONTROL_OUTPUT_WINDOW;

    message.job = follower->audience->job;
    message.pe = piece->pe;
    message.stream = piece->stream == OUTPUT_STDERR ? C4P__STREAM__STDERR : C4P__STREAM__STDOUT;
    message.sequence = sequence;
    message.data.data = (uint8_t *)(uintptr_t)piece->data;
    message.data.len = piece->size;
    if (!follower_send(followers, follower, C4P__EVENT__BODY_OUTPUT, &message))
        return false;
    follower->sent[place] = sequence;
    follower->sent_count++;
    follower->client->on_their_way++;
    follower->cursor = sequence + 1;
    return true;
}

/* All that is there, as far as the windows allow. */
static bool output_tell(struct followers *followers, struct follower *follower)
{
    struct output_piece piece;
    uint64_t sequence = follower->cursor;

    while (transcript_read(follower->audience->transcript, &sequence, &piece)) {
        if (follower->sent_count == CONTROL_OUTPUT_WINDOW ||
            follower->client->on_their_way >= FOLLOWERS_CLIENT_WINDOW ||
            !piece_tell(followers, follower, &piece, sequence))
            return false;
        sequence = follower->cursor;
    }
    return true;
}

struct telling {
    struct followers *followers;
    struct follower *follower;
    bool told;
};

static void end_tell(void *context, const C4p__Ended *ended)
{
    struct telling *telling = context;

    telling->told = follower_send(telling->followers, telling->follower, C4P__EVENT__BODY_ENDED,
                                  (void *)(uintptr_t)ended);
}

/* Send what can be sent. After the end the follower is no more. */
static void follower_flush(struct followers *followers, struct follower *follower)
{
    struct telling telling = {followers, follower, false};

    if (!follower->flowing || !state_tell(followers, follower) ||
        !credit_tell(followers, follower) || !output_tell(followers, follower) ||
        !follower->audience->over)
        return;
    jobs_ended(followers->jobs, follower->audience->job, end_tell, &telling);
    if (telling.told)
        follower_destroy(followers, follower);
}

static void audience_flush(struct followers *followers, struct audience *audience)
{
    struct follower *follower, *next;

    if (audience == NULL)
        return;
    DL_FOREACH_SAFE(audience->followers, follower, next)
    {
        follower_flush(followers, follower);
    }
}

static void client_flush(struct followers *followers, struct followers_client *client)
{
    struct follower *follower, *next;

    client->blocked = false;
    DL_FOREACH_SAFE2(client->followers, follower, next, client_next)
    {
        follower_flush(followers, follower);
    }
}

static void followers_on_retry(evutil_socket_t fd, short what, void *argument)
{
    struct followers *followers = argument;
    struct followers_client *client;

    (void)fd;
    (void)what;
    DL_FOREACH(followers->clients, client)
    {
        if (client->blocked)
            client_flush(followers, client);
    }
}

/* ---- the set of them ---- */

struct followers *followers_create(struct event_base *base,
                                   const struct followers_listener *listener)
{
    struct followers *followers = calloc(1, sizeof(*followers));

    if (followers == NULL)
        return NULL;
    followers->listener = *listener;
    followers->retry = event_new(base, -1, 0, followers_on_retry, followers);
    if (followers->retry == NULL) {
        free(followers);
        errno = ENOMEM;
        return NULL;
    }
    return followers;
}

void followers_destroy(struct followers *followers)
{
    struct audience *audience, *next;

    if (followers == NULL)
        return;
    HASH_ITER(hh, followers->audiences, audience, next)
    {
        audience_destroy(followers, audience);
    }
    event_free(followers->retry);
    free(followers);
}

void followers_set_jobs(struct followers *followers, struct jobs *jobs)
{
    followers->jobs = jobs;
}

struct followers_client *followers_client_create(struct followers *followers,
                                                 struct control_peer *peer)
{
    struct followers_client *client = calloc(1, sizeof(*client));

    if (client == NULL)
        return NULL;
    client->peer = peer;
    DL_APPEND(followers->clients, client);
    return client;
}

void followers_client_destroy(struct followers *followers, struct followers_client *client)
{
    struct follower *follower, *next;

    if (client == NULL)
        return;
    DL_FOREACH_SAFE2(client->followers, follower, next, client_next)
    {
        follower_destroy(followers, follower);
    }
    DL_DELETE(followers->clients, client);
    free(client);
}

static struct follower *follower_find(const struct followers_client *client, uint64_t job)
{
    struct follower *follower;

    DL_FOREACH2(client->followers, follower, client_next)
    {
        if (follower->audience->job == job)
            return follower;
    }
    return NULL;
}

bool followers_has(const struct followers_client *client, uint64_t job)
{
    return follower_find(client, job) != NULL;
}

bool followers_has_input(const struct followers_client *client, uint64_t job)
{
    struct follower *follower = follower_find(client, job);

    return follower != NULL && follower->audience->input == follower;
}

/* ---- beginning to follow ---- */

static struct follower *follower_create(struct followers *followers,
                                        struct followers_client *client, uint64_t job)
{
    struct follower *follower = calloc(1, sizeof(*follower));
    struct audience *audience = audience_get(followers, job);

    if (audience != NULL && audience->transcript == NULL)
        audience->transcript = jobs_transcript(followers->jobs, job);
    if (follower == NULL || audience == NULL || audience->transcript == NULL) {
        free(follower);
        if (audience != NULL)
            audience_settle(followers, audience);
        return NULL;
    }
    follower->client = client;
    follower->audience = audience;
    follower->told = JOB_STATES;
    follower->state_due = true;
    DL_APPEND(audience->followers, follower);
    DL_APPEND2(client->followers, follower, client_prev, client_next);
    client->count++;
    return follower;
}

static void follower_place(struct follower *follower, const C4p__Follow *follow)
{
    const struct audience *audience = follower->audience;
    uint64_t first = transcript_first(audience->transcript);

    follower->cursor = follow->resume ? audience->resume + 1 : follow->from;
    if (follower->cursor < first)
        follower->cursor = first;
    follower->acknowledged = follower->cursor - 1;
    follower->lossless = follow->lossless;
}

static void follower_take_input(struct followers *followers, struct follower *follower)
{
    follower->audience->input = follower;
    /* Before the job runs there is none; at its start it is told. */
    follower->credit =
        jobs_input_room(followers->jobs, follower->audience->job, &follower->credit_closed);
}

int followers_add(struct followers *followers, struct followers_client *client,
                  const C4p__Follow *follow, C4p__Following *following,
                  char reason[CONTROL_REASON_SIZE])
{
    char ignored[JOBS_REASON_SIZE], id[CONTROL_ID_CHARS + 1] = "";
    struct follower *follower;
    enum job_state state;

    control_id_format(follow->job, id);
    if (!jobs_state(followers->jobs, follow->job, &state, ignored))
        snprintf(reason, CONTROL_REASON_SIZE, "there is no job %s", id);
    else if (followers_has(client, follow->job))
        snprintf(reason, CONTROL_REASON_SIZE, "job %s is followed already", id);
    else if (client->count >= FOLLOWERS_PER_CLIENT)
        snprintf(reason, CONTROL_REASON_SIZE,
                 "one client can follow %d jobs at a time: unfollow another, or attach once more",
                 FOLLOWERS_PER_CLIENT);
    else if ((follower = follower_create(followers, client, follow->job)) == NULL)
        snprintf(reason, CONTROL_REASON_SIZE, "job %s: its output cannot be read: %s", id,
                 strerror(errno));
    else {
        follower->audience->over = job_state_final(state);
        follower_place(follower, follow);
        if (follow->input && follower->audience->input == NULL)
            follower_take_input(followers, follower);
        following->job = follow->job;
        following->next = transcript_next(follower->audience->transcript);
        following->first = follower->cursor;
        following->input = follower->audience->input == follower;
        return 0;
    }
    return -1;
}

void followers_flow(struct followers *followers, struct followers_client *client, uint64_t job)
{
    struct follower *follower = follower_find(client, job);

    if (follower == NULL)
        return;
    follower->flowing = true;
    follower_flush(followers, follower);
}

bool followers_remove(struct followers *followers, struct followers_client *client, uint64_t job)
{
    struct follower *follower = follower_find(client, job);

    if (follower == NULL)
        return false;
    follower_destroy(followers, follower);
    client_flush(followers, client); /* its window may have been in the way of others */
    return true;
}

void followers_acknowledge(struct followers *followers, struct followers_client *client,
                           uint64_t job, uint64_t sequence)
{
    struct follower *follower = follower_find(client, job);
    struct audience *audience;

    if (follower == NULL)
        return;
    if (sequence >= follower->cursor)
        sequence = follower->cursor - 1;
    while (follower->sent_count > 0 && follower->sent[follower->sent_first] <= sequence) {
        follower->sent_first = (follower->sent_first + 1) % CONTROL_OUTPUT_WINDOW;
        follower->sent_count--;
        client->on_their_way--;
    }
    if (sequence <= follower->acknowledged)
        return;
    follower->acknowledged = sequence;
    audience = follower->audience;
    if (follower->lossless) {
        if (sequence > audience->resume)
            audience->resume = sequence;
        if (!audience->over)
            jobs_resume(followers->jobs, job);
    }
    client_flush(followers, client);
}

/* ---- from the jobs ---- */

static void audience_state_due(struct audience *audience)
{
    struct follower *follower;

    DL_FOREACH(audience->followers, follower)
    {
        follower->state_due = true;
    }
}

void followers_changed(struct followers *followers, uint64_t job)
{
    struct audience *audience = audience_find(followers, job);

    if (audience == NULL)
        return;
    audience_state_due(audience);
    audience_flush(followers, audience);
}

void followers_queue_moved(struct followers *followers)
{
    struct followers_client *client;
    struct follower *follower, *next;

    DL_FOREACH(followers->clients, client)
    {
        DL_FOREACH_SAFE2(client->followers, follower, next, client_next)
        {
            if (follower->told != JOB_QUEUED)
                continue;
            follower->state_due = true;
            follower_flush(followers, follower);
        }
    }
}

void followers_output(struct followers *followers, uint64_t job)
{
    audience_flush(followers, audience_find(followers, job));
}

void followers_input_credit(struct followers *followers, uint64_t job, uint32_t bytes, bool closed)
{
    struct audience *audience = audience_find(followers, job);
    struct follower *follower = audience != NULL ? audience->input : NULL;

    if (follower == NULL)
        return;
    follower->credit += bytes;
    follower->credit_closed = follower->credit_closed || closed;
    follower_flush(followers, follower);
}

bool followers_keep_up(struct followers *followers, uint64_t job)
{
    struct audience *audience = audience_find(followers, job);
    struct follower *follower;

    if (audience == NULL || audience->transcript == NULL)
        return true;
    DL_FOREACH(audience->followers, follower)
    {
        uint64_t wanted = follower->acknowledged + 1;

        if (follower->lossless && wanted < transcript_next(audience->transcript) &&
            transcript_would_drop(audience->transcript, wanted))
            return false;
    }
    return true;
}

void followers_ended(struct followers *followers, uint64_t job)
{
    struct audience *audience = audience_find(followers, job);

    if (audience == NULL)
        return;
    audience->over = true;
    if (audience->followers == NULL)
        audience_settle(followers, audience);
    else
        audience_flush(followers, audience);
}
