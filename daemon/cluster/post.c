#include "daemon/cluster/post.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/log.h"

/* Numbers of the bodies of Peer are below. */
#define BODIES 64

struct post {
    struct cluster *cluster;
    struct {
        post_handler *handle;
        void *context;
    } handlers[BODIES];
    struct post_watch watches[POST_WATCHES];
    size_t watch_count;
    struct post_users users;
};

struct post *post_create(void)
{
    return calloc(1, sizeof(struct post));
}

void post_destroy(struct post *post)
{
    free(post);
}

void post_handle(struct post *post, C4p__Peer__BodyCase body, post_handler *handler, void *context)
{
    if ((size_t)body >= BODIES)
        abort();
    post->handlers[body].handle = handler;
    post->handlers[body].context = context;
}

int post_watch(struct post *post, const struct post_watch *watch)
{
    if (post->watch_count == POST_WATCHES) {
        errno = ENOSPC;
        return -1;
    }
    post->watches[post->watch_count++] = *watch;
    return 0;
}

/* ---- the cluster, if there is one ---- */

int post_send(struct post *post, const struct node_key *to, C4p__Peer *message)
{
    if (post->cluster != NULL)
        return cluster_send(post->cluster, to, message);
    errno = EHOSTUNREACH;
    return -1;
}

const struct member_record *post_self(const struct post *post)
{
    return post->cluster != NULL ? cluster_self(post->cluster) : NULL;
}

const struct member_record *post_find(const struct post *post, const struct node_key *key)
{
    return post->cluster != NULL ? cluster_find(post->cluster, key) : NULL;
}

size_t post_nodes(struct post *post, const struct member_record *const **nodes)
{
    *nodes = NULL;
    return post->cluster != NULL ? cluster_nodes(post->cluster, nodes) : 0;
}

struct cluster *post_cluster(struct post *post)
{
    return post->cluster;
}

void post_serve_users(struct post *post, const struct post_users *users)
{
    post->users = *users;
}

/* ---- what comes ---- */

void post_set_cluster(struct post *post, struct cluster *cluster)
{
    post->cluster = cluster;
}

void post_message(struct post *post, const struct node_key *from, const C4p__Peer *message)
{
    const unsigned body = (unsigned)message->body_case;

    if (body < BODIES && post->handlers[body].handle != NULL)
        post->handlers[body].handle(post->handlers[body].context, from, message);
    else
        log_write(LOG_DEBUG, "cluster", "nobody takes messages of kind %u", body);
}

void post_up(struct post *post, const struct member_record *node)
{
    for (size_t i = 0; i < post->watch_count; i++)
        if (post->watches[i].up != NULL)
            post->watches[i].up(post->watches[i].context, node);
}

void post_down(struct post *post, const struct node_key *key, const char *why)
{
    for (size_t i = 0; i < post->watch_count; i++)
        if (post->watches[i].down != NULL)
            post->watches[i].down(post->watches[i].context, key, why);
}

void post_user(struct post *post, const struct node_key *from, const void *identity,
               size_t identity_size, const void *data, size_t size)
{
    if (post->users.frame != NULL)
        post->users.frame(post->users.context, from, identity, identity_size, data, size);
    else
        log_write(LOG_DEBUG, "cluster", "nobody serves users of other hosts here");
}

void post_user_revoked(struct post *post, const struct node_key *key)
{
    if (post->users.revoked != NULL)
        post->users.revoked(post->users.context, key);
}
