#define _GNU_SOURCE
#include "client/bundle.h"
#include "client/client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* ---- what is remembered ---- */

/* Jobs that are asked for in one go; the daemon sends fewer if they are long. */
#define LIST_PAGE 256

static bool is_repeatable(C4p__Request__BodyCase kind)
{
    return kind == C4P__REQUEST__BODY_SUBMIT || kind == C4P__REQUEST__BODY_OPEN;
}

struct request *request_find(struct c4p_client *client, uint64_t id)
{
    struct request *request;

    HASH_FIND(hh, client->requests, &id, sizeof(id), request);
    return request;
}

static void frame_drop(struct c4p_client *client, struct request *request)
{
    if (request->frame != NULL)
        client->requests_bytes -= request->size;
    free(request->frame);
    request->frame = NULL;
}

void request_forget(struct c4p_client *client, struct request *request)
{
    frame_drop(client, request);
    client->unsent -= !request->sent;
    client->doomed -= request->doomed;
    HASH_DEL(client->requests, request);
    free(request);
}

void requests_forget_all(struct c4p_client *client)
{
    struct request *request, *next;

    HASH_ITER(hh, client->requests, request, next)
    request_forget(client, request);
}

static void request_doom(struct c4p_client *client, struct request *request)
{
    struct followed *followed = followed_find(client, request->job);

    if (request->kind == C4P__REQUEST__BODY_UNFOLLOW && followed != NULL)
        followed_forget(client, followed); /* that is done, then */
    frame_drop(client, request);
    client->unsent -= !request->sent;
    client->doomed += !request->doomed;
    request->sent = true;
    request->doomed = true;
}

void requests_lose(struct c4p_client *client, bool forever)
{
    struct request *request, *next;

    HASH_ITER(hh, client->requests, request, next)
    {
        /* Nobody asked for a part but us. */
        if (request->kind == C4P__REQUEST__BODY_BLOB_PUT) {
            request_forget(client, request);
            continue;
        }
        if (forever || !is_repeatable(request->kind)) {
            request_doom(client, request);
            continue;
        }
        client->unsent += request->sent;
        request->sent = false;
    }
}

struct request *request_doomed(struct c4p_client *client)
{
    struct request *request = client->requests;

    while (client->doomed > 0 && request != NULL && !request->doomed)
        request = request->hh.next;
    return client->doomed > 0 ? request : NULL;
}

/* ---- sending ---- */

static bool request_transmit(struct c4p_client *client, struct request *request)
{
    if (link_send(client, request->frame, request->size) != 0)
        return false;
    request->sent = true;
    client->unsent--;
    if (!is_repeatable(request->kind))
        frame_drop(client, request);
    return true;
}

bool requests_flush(struct c4p_client *client)
{
    bool any = false;

    if (client->unsent == 0 || client->link != LINK_UP)
        return false;
    for (struct request *request = client->requests; request != NULL; request = request->hh.next) {
        if (request->sent)
            continue;
        if (!request_transmit(client, request))
            break;
        any = true;
    }
    return any;
}

/* The frame of a request, to be freed. NULL with errno. */
static uint8_t *frame_pack(uint64_t id, C4p__Request__BodyCase kind, void *message, size_t *size)
{
    C4p__Request request = C4P__REQUEST__INIT;
    uint8_t *frame;

    request.id = id;
    request.body_case = kind;
    request.hello = message; /* the members of the union are all pointers */
    *size = c4p__request__get_packed_size(&request);
    if (*size > CONTROL_MAX_MESSAGE) {
        errno = EMSGSIZE;
        return NULL;
    }
    frame = malloc(*size);
    if (frame != NULL)
        c4p__request__pack(&request, frame);
    return frame;
}

int request_send_once(struct c4p_client *client, uint64_t id, C4p__Request__BodyCase kind,
                      void *message)
{
    size_t size;
    uint8_t *frame = frame_pack(id, kind, message, &size);
    int rc = frame == NULL ? -1 : link_send(client, frame, size), saved = errno;

    free(frame);
    errno = saved;
    return rc;
}

/* Is there room for one more? -1 with errno. */
static int request_allow(const struct c4p_client *client, size_t size)
{
    if (client->link == LINK_OVER)
        errno = ENOTCONN;
    else if (HASH_COUNT(client->requests) >= REQUESTS_LIMIT ||
             client->requests_bytes + size > REQUESTS_BYTES_LIMIT)
        errno = EAGAIN;
    else
        return 0;
    return -1;
}

static bool request_keep(struct c4p_client *client, struct request *request)
{
    request->id = client->last_id + 1;
    HASH_ADD(hh, client->requests, id, sizeof(request->id), request);
    if (request->hh.tbl == NULL) {
        errno = ENOMEM;
        return false;
    }
    client->last_id++;
    return true;
}

/*
 * Ask, and remember it until the answer. While the daemon is away, what can wait for it waits, and
 * the rest is refused like what it did not get round to. NULL with errno.
 */
static struct request *request_make(struct c4p_client *client, C4p__Request__BodyCase kind,
                                    uint64_t job, void *message)
{
    struct request *request;
    size_t size;
    uint8_t *frame = frame_pack(client->last_id + 1, kind, message, &size);

    if (frame == NULL)
        return NULL;
    request = request_allow(client, size) == 0 ? calloc(1, sizeof(*request)) : NULL;
    if (request == NULL || !request_keep(client, request)) {
        free(request);
        free(frame);
        return NULL;
    }
    request->kind = kind;
    request->job = job;
    request->frame = frame;
    request->size = size;
    client->requests_bytes += size;
    client->unsent++;
    if (client->link != LINK_UP && !is_repeatable(kind))
        request_doom(client, request);
    else if (client->link == LINK_UP && client->unsent == 1)
        request_transmit(client, request); /* or when c4p_next() finds room */
    return request;
}

static int64_t id_of(const struct request *request)
{
    return request == NULL ? -1 : (int64_t)request->id;
}

/* ---- jobs as messages ---- */

static size_t list_length(const char *const *list)
{
    size_t length = 0;

    while (list != NULL && list[length] != NULL)
        length++;
    return length;
}

/* Borrow a list of strings as protobuf-c wants it. */
static ProtobufCBinaryData *list_borrow(const char *const *list, size_t length)
{
    ProtobufCBinaryData *data = calloc(length + 1, sizeof(*data));

    for (size_t i = 0; data != NULL && i < length; i++) {
        data[i].data = (uint8_t *)(uintptr_t)list[i];
        data[i].len = strlen(list[i]);
    }
    return data;
}

static ProtobufCBinaryData text_borrow(const char *text)
{
    return (ProtobufCBinaryData){text != NULL ? strlen(text) : 0, (uint8_t *)(uintptr_t)text};
}

/* A job with a key of its own. To be emptied, also after a failure. -1 with errno. */
static int submit_fill(C4p__Submit *submit, const struct c4p_job *job,
                       uint8_t key[CONTROL_KEY_SIZE])
{
    c4p__submit__init(submit);
    submit->n_argv = list_length(job->argv);
    submit->argv = list_borrow(job->argv, submit->n_argv);
    submit->n_env = list_length(job->env);
    submit->env = list_borrow(job->env, submit->n_env);
    submit->cwd = text_borrow(job->cwd);
    submit->name = text_borrow(job->name);
    submit->pes = job->pes;
    submit->region_size = job->region_size;
    submit->priority = job->priority;
    submit->time_limit_ms = job->time_limit_ms;
    submit->follow = job->follow;
    submit->input = job->input;
    submit->tied = job->tied;
    submit->nodes = job->nodes;
    submit->key = (ProtobufCBinaryData){CONTROL_KEY_SIZE, key};
    if (job->bundle != NULL) {
        submit->bundle.data = (uint8_t *)(uintptr_t)job->bundle->hash;
        submit->bundle.len = BUNDLE_HASH_SIZE;
    }
    if (submit->argv == NULL || submit->env == NULL)
        return -1;
    return getrandom(key, CONTROL_KEY_SIZE, 0) == CONTROL_KEY_SIZE ? 0 : -1;
}

static void submit_empty(C4p__Submit *submit)
{
    int saved = errno;

    free(submit->argv);
    free(submit->env);
    errno = saved;
}

/* ---- the requests ---- */

int64_t c4p_submit(struct c4p_client *client, const struct c4p_job *job)
{
    struct request *request = NULL;
    uint8_t key[CONTROL_KEY_SIZE];
    C4p__Submit submit;

    if (submit_fill(&submit, job, key) == 0)
        request = request_make(client, C4P__REQUEST__BODY_SUBMIT, 0, &submit);
    if (request != NULL) {
        request->follow = request->lossless = job->follow;
        request->input = job->input;
    }
    submit_empty(&submit);
    return id_of(request);
}

int64_t c4p_open(struct c4p_client *client, const struct c4p_session *session)
{
    struct request *request = NULL;
    uint8_t key[CONTROL_KEY_SIZE];
    C4p__Open open = C4P__OPEN__INIT;
    C4p__Submit submit;

    if (submit_fill(&submit, &session->job, key) == 0) {
        submit.follow = submit.tied = false;
        open.name = text_borrow(session->name);
        open.create = session->create;
        open.job = &submit;
        open.ttl_ms = session->ttl_ms;
        request = request_make(client, C4P__REQUEST__BODY_OPEN, 0, &open);
    }
    submit_empty(&submit);
    return id_of(request);
}

int64_t c4p_follow(struct c4p_client *client, uint64_t job,
                   const struct c4p_follow_options *options)
{
    static const struct c4p_follow_options none;
    C4p__Follow follow = C4P__FOLLOW__INIT;
    struct request *request;

    if (options == NULL)
        options = &none;
    follow.job = job;
    follow.from = options->from;
    follow.lossless = options->lossless;
    follow.input = options->input;
    follow.resume = options->resume;
    request = request_make(client, C4P__REQUEST__BODY_FOLLOW, job, &follow);
    if (request != NULL) {
        request->lossless = options->lossless;
        request->input = options->input;
    }
    return id_of(request);
}

int64_t c4p_unfollow(struct c4p_client *client, uint64_t job)
{
    C4p__Unfollow unfollow = C4P__UNFOLLOW__INIT;

    unfollow.job = job;
    return id_of(request_make(client, C4P__REQUEST__BODY_UNFOLLOW, job, &unfollow));
}

/* Not remembered: there is an answer only to what is wrong. */
int64_t c4p_input(struct c4p_client *client, uint64_t job, const void *data, size_t size, bool eof)
{
    C4p__Input input = C4P__INPUT__INIT;

    if (client->link != LINK_UP || client->unsent > 0) {
        errno = client->link == LINK_OVER ? ENOTCONN : EAGAIN;
        return -1;
    }
    if (size > CONTROL_MAX_PIECE) {
        errno = EMSGSIZE;
        return -1;
    }
    input.job = job;
    input.data = (ProtobufCBinaryData){size, (uint8_t *)(uintptr_t)data};
    input.eof = eof;
    if (request_send_once(client, client->last_id + 1, C4P__REQUEST__BODY_INPUT, &input) != 0)
        return -1;
    return (int64_t)++client->last_id;
}

int64_t c4p_cancel(struct c4p_client *client, uint64_t job, bool kill)
{
    C4p__Cancel cancel = C4P__CANCEL__INIT;

    cancel.job = job;
    cancel.kill = kill;
    return id_of(request_make(client, C4P__REQUEST__BODY_CANCEL, job, &cancel));
}

/* ---- lists ---- */

static void page_describe(C4p__List *list, const struct c4p_list_options *options, uint64_t after)
{
    c4p__list__init(list);
    list->ended = options->ended;
    list->sessions = options->sessions;
    list->last = after == 0 ? options->last : 0;
    list->after = after;
    list->page = options->last > 0 && options->last < LIST_PAGE ? options->last : LIST_PAGE;
}

int64_t c4p_list(struct c4p_client *client, const struct c4p_list_options *options)
{
    static const struct c4p_list_options none;
    struct request *request;
    C4p__List list;

    if (options == NULL)
        options = &none;
    page_describe(&list, options, 0);
    request = request_make(client, C4P__REQUEST__BODY_LIST, 0, &list);
    if (request != NULL)
        request->list = *options;
    return id_of(request);
}

/* Ask more under an id that has had an answer. -1 with errno. */
static int request_repeat(struct c4p_client *client, struct request *request, void *message)
{
    size_t size;
    uint8_t *frame = frame_pack(request->id, request->kind, message, &size);

    if (frame == NULL)
        return -1;
    frame_drop(client, request); /* it was answered before it was sent: by whoever that is */
    client->unsent += request->sent;
    request->sent = false;
    request->frame = frame;
    request->size = size;
    client->requests_bytes += size;
    if (client->link == LINK_UP && client->unsent == 1)
        request_transmit(client, request); /* or when c4p_next() finds room */
    return 0;
}

int request_list_next(struct c4p_client *client, uint64_t id, const C4p__Jobs *jobs)
{
    struct request *request = request_find(client, id);
    C4p__List list;

    if (jobs->next == 0 || request == NULL || request->kind != C4P__REQUEST__BODY_LIST)
        return 0;
    if (request->doomed)
        return 1; /* that it comes to nothing is told next */
    if (request->list.last > 0 && jobs->n_jobs >= request->list.last)
        return 0;
    if (jobs->n_jobs == 0 || jobs->next <= request->list_after) {
        errno = EBADMSG;
        return -1;
    }
    if (request->list.last > 0)
        request->list.last -= (uint32_t)jobs->n_jobs;
    request->list_after = jobs->next;
    page_describe(&list, &request->list, jobs->next);
    return request_repeat(client, request, &list) == 0 ? 1 : -1;
}

/* ---- questions and ends ---- */

int64_t c4p_find(struct c4p_client *client, const char *name)
{
    C4p__Find find = C4P__FIND__INIT;

    find.name = text_borrow(name);
    return id_of(request_make(client, C4P__REQUEST__BODY_FIND, 0, &find));
}

int64_t c4p_status(struct c4p_client *client)
{
    C4p__Status status = C4P__STATUS__INIT;

    return id_of(request_make(client, C4P__REQUEST__BODY_STATUS, 0, &status));
}

int64_t c4p_end(struct c4p_client *client, uint64_t job)
{
    C4p__Close close = C4P__CLOSE__INIT;

    close.job = job;
    return id_of(request_make(client, C4P__REQUEST__BODY_CLOSE, job, &close));
}

/* ---- files ---- */

int64_t request_offer(struct c4p_client *client, const void *manifest, size_t size)
{
    C4p__Offer offer = C4P__OFFER__INIT;

    offer.manifest = (ProtobufCBinaryData){size, (uint8_t *)(uintptr_t)manifest};
    return id_of(request_make(client, C4P__REQUEST__BODY_OFFER, 0, &offer));
}

int request_put(struct c4p_client *client, uint64_t offer, const uint8_t *hash, uint64_t offset,
                const void *data, size_t size, bool last)
{
    C4p__BlobPut put = C4P__BLOB_PUT__INIT;
    struct request *request;

    if (client->link != LINK_UP) {
        errno = ENOTCONN;
        return -1;
    }
    put.hash = (ProtobufCBinaryData){BUNDLE_HASH_SIZE, (uint8_t *)(uintptr_t)hash};
    put.offset = offset;
    put.data = (ProtobufCBinaryData){size, (uint8_t *)(uintptr_t)data};
    put.last = last;
    request = request_make(client, C4P__REQUEST__BODY_BLOB_PUT, 0, &put);
    if (request == NULL)
        return -1;
    request->offer = offer;
    return 0;
}
