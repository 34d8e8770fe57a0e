#include "client/client.h"

#include <stdlib.h>

/* Pieces of output acknowledged together: well inside the window. */
#define ACK_EVERY (CONTROL_OUTPUT_WINDOW / 4)

struct followed *followed_find(struct c4p_client *client, uint64_t job)
{
    struct followed *followed;

    HASH_FIND(hh, client->followed, &job, sizeof(job), followed);
    return followed;
}

struct followed *followed_by_request(struct c4p_client *client, uint64_t id)
{
    struct followed *followed = client->followed;

    while (id != 0 && followed != NULL && followed->follow_id != id)
        followed = followed->hh.next;
    return id != 0 ? followed : NULL;
}

struct followed *followed_keep(struct c4p_client *client, const struct request *request,
                               uint64_t job)
{
    struct followed *followed = followed_find(client, job);

    if (followed == NULL) {
        followed = calloc(1, sizeof(*followed));
        if (followed == NULL)
            return NULL;
        followed->job = job;
        HASH_ADD(hh, client->followed, job, sizeof(followed->job), followed);
        if (followed->hh.tbl == NULL) {
            free(followed);
            return NULL;
        }
    }
    followed->lossless = request->lossless;
    followed->input = request->input;
    followed->asked = true;
    followed->follow_id = request->id;
    followed->next = 0;
    followed->done = followed->acknowledged = 0;
    return followed;
}

/* ---- acknowledging ---- */

/* A refusal concerns nobody: the job may be over and forgotten. */
static int ack_send(struct c4p_client *client, uint64_t job, uint64_t sequence)
{
    C4p__OutputAck ack = C4P__OUTPUT_ACK__INIT;

    ack.job = job;
    ack.sequence = sequence;
    return request_send_once(client, OWN_ID | ++client->last_own_id, C4P__REQUEST__BODY_OUTPUT_ACK,
                             &ack);
}

static bool followed_acknowledge(struct c4p_client *client, struct followed *followed)
{
    if (client->link != LINK_UP || !followed->asked || followed->done <= followed->acknowledged ||
        ack_send(client, followed->job, followed->done) != 0)
        return false;
    followed->acknowledged = followed->done;
    return true;
}

int c4p_output_done(struct c4p_client *client, uint64_t job, uint64_t sequence)
{
    struct followed *followed = followed_find(client, job);

    if (followed == NULL) /* over: the daemon may remember it for the next one who follows */
        return client->link == LINK_UP ? ack_send(client, job, sequence) : 0;
    if (sequence > followed->done)
        followed->done = sequence;
    if (client->idle || followed->done - followed->acknowledged >= ACK_EVERY)
        followed_acknowledge(client, followed);
    return 0;
}

void followed_forget(struct c4p_client *client, struct followed *followed)
{
    followed_acknowledge(client, followed);
    HASH_DEL(client->followed, followed);
    free(followed);
}

void followed_forget_all(struct c4p_client *client)
{
    struct followed *followed, *next;

    HASH_ITER(hh, client->followed, followed, next)
    {
        HASH_DEL(client->followed, followed);
        free(followed);
    }
}

/* ---- again ---- */

void followed_lose(struct c4p_client *client)
{
    for (struct followed *followed = client->followed; followed != NULL;
         followed = followed->hh.next)
        followed->asked = false;
}

/* From behind the last piece that the caller got. */
static bool followed_ask(struct c4p_client *client, struct followed *followed)
{
    C4p__Follow follow = C4P__FOLLOW__INIT;
    uint64_t id = followed->follow_id;

    if (id == 0 || (id & OWN_ID) != 0)
        id = OWN_ID | ++client->last_own_id;
    follow.job = followed->job;
    follow.from = followed->next;
    follow.lossless = followed->lossless;
    follow.input = followed->input;
    if (request_send_once(client, id, C4P__REQUEST__BODY_FOLLOW, &follow) != 0)
        return false;
    followed->follow_id = id;
    followed->asked = true;
    return true;
}

bool followed_flush(struct c4p_client *client)
{
    bool any = false;

    if (client->link != LINK_UP)
        return false;
    for (struct followed *followed = client->followed; followed != NULL;
         followed = followed->hh.next) {
        if (!followed->asked)
            any = followed_ask(client, followed) || any;
        any = followed_acknowledge(client, followed) || any;
    }
    return any;
}
