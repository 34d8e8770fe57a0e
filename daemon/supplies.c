#include "daemon/supplies.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cluster/post.h"
#include "daemon/jobs/probe.h"
#include "daemon/jobs/provision.h"
#include "proto/clock.h"

struct supplies {
    struct bundles *bundles;
    struct event *evict;
    struct post *post; /* NULL: the next two are as well */
    struct probes *probes;
    struct provisions *provisions;
};

/* What other nodes say to provisions. */
static const C4p__Peer__BodyCase bodies[] = {C4P__PEER__BODY_FETCH_MANIFEST,
                                             C4P__PEER__BODY_MANIFEST, C4P__PEER__BODY_FETCH_BLOB,
                                             C4P__PEER__BODY_BLOB_PART};

static void on_evict(evutil_socket_t fd, short what, void *argument)
{
    struct supplies *supplies = argument;

    (void)fd, (void)what;
    bundles_evict(supplies->bundles, clock_day_ms());
    event_add(supplies->evict, &(struct timeval){SUPPLIES_EVICT_SECONDS, 0});
}

/* ---- other nodes ---- */

static int on_send(void *context, const struct node_key *to, C4p__Peer *message)
{
    struct supplies *supplies = context;

    return post_send(supplies->post, to, message);
}

static void on_message(void *context, const struct node_key *from, const C4p__Peer *message)
{
    struct supplies *supplies = context;

    provisions_message(supplies->provisions, from, message);
}

static void on_up(void *context, const struct member_record *node)
{
    struct supplies *supplies = context;
    const struct member_record *self = post_self(supplies->post);

    (void)node;
    if (self != NULL && self->has_facts)
        probes_set_name(supplies->probes, self->facts.name);
}

static void on_down(void *context, const struct node_key *key, const char *why)
{
    struct supplies *supplies = context;

    provisions_down(supplies->provisions, key, why);
}

static int nodes_open(struct supplies *supplies, const struct job_place *place,
                      const char *state_dir, char *error)
{
    const struct post_watch watch = {.up = on_up, .down = on_down, .context = supplies};
    struct provisions_settings settings = {.base = place->base,
                                           .bundles = supplies->bundles,
                                           .state_dir = state_dir,
                                           .send = on_send,
                                           .context = supplies};

    supplies->probes = probes_create(place, supplies->bundles);
    settings.probes = supplies->probes;
    if (supplies->probes != NULL)
        supplies->provisions = provisions_create(&settings);
    if (supplies->provisions == NULL || post_watch(supplies->post, &watch) != 0) {
        snprintf(error, BUNDLE_ERROR_SIZE, "files of jobs of other nodes cannot be kept: %s",
                 strerror(errno));
        return -1;
    }
    for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++)
        post_handle(supplies->post, bodies[i], on_message, supplies);
    return 0;
}

/* ---- life ---- */

static int supplies_open(struct supplies *supplies, const struct job_place *place,
                         const struct bundles_settings *settings, char *error)
{
    supplies->evict = event_new(place->base, -1, 0, on_evict, supplies);
    if (supplies->evict == NULL) {
        snprintf(error, BUNDLE_ERROR_SIZE, "the daemon is out of memory");
        return -1;
    }
    supplies->bundles = bundles_open(settings, error);
    if (supplies->bundles == NULL)
        return -1;
    event_add(supplies->evict, &(struct timeval){SUPPLIES_EVICT_SECONDS, 0});
    return supplies->post == NULL ? 0 : nodes_open(supplies, place, settings->state_dir, error);
}

struct supplies *supplies_create(const struct job_place *place,
                                 const struct bundles_settings *settings, struct post *post,
                                 char *error)
{
    struct supplies *supplies = calloc(1, sizeof(*supplies));

    if (supplies == NULL) {
        snprintf(error, BUNDLE_ERROR_SIZE, "the daemon is out of memory");
        return NULL;
    }
    supplies->post = post;
    if (supplies_open(supplies, place, settings, error) == 0)
        return supplies;
    supplies_destroy(supplies);
    return NULL;
}

void supplies_destroy(struct supplies *supplies)
{
    if (supplies == NULL)
        return;
    for (size_t i = 0; supplies->post != NULL && i < sizeof(bodies) / sizeof(*bodies); i++)
        post_handle(supplies->post, bodies[i], NULL, NULL);
    provisions_destroy(supplies->provisions);
    probes_destroy(supplies->probes);
    bundles_close(supplies->bundles);
    if (supplies->evict != NULL)
        event_free(supplies->evict);
    free(supplies);
}

void supplies_configure(struct supplies *supplies, const struct bundles_settings *settings)
{
    bundles_configure(supplies->bundles, settings);
    bundles_evict(supplies->bundles, clock_day_ms());
}

struct bundles *supplies_bundles(struct supplies *supplies)
{
    return supplies != NULL ? supplies->bundles : NULL;
}

struct probes *supplies_probes(struct supplies *supplies)
{
    return supplies != NULL ? supplies->probes : NULL;
}

struct provisions *supplies_provisions(struct supplies *supplies)
{
    return supplies != NULL ? supplies->provisions : NULL;
}

/* ---- requests ---- */

static int refuse_private(char reason[CONTROL_REASON_SIZE])
{
    return control_refuse(reason, "a private daemon keeps no files: it runs where they are");
}

struct list {
    ProtobufCBinaryData hashes[BUNDLE_MAX_FILES];
    struct bundle_hash bytes[BUNDLE_MAX_FILES];
    size_t count;
};

static void on_missing(void *context, const struct bundle_hash *blob)
{
    struct list *list = context;

    list->bytes[list->count] = *blob;
    list->hashes[list->count].data = list->bytes[list->count].bytes;
    list->hashes[list->count].len = BUNDLE_HASH_SIZE;
    list->count++;
}

int supplies_offer(struct supplies *supplies, struct control *control, struct control_peer *peer,
                   const C4p__Request *request, char reason[CONTROL_REASON_SIZE])
{
    const ProtobufCBinaryData *manifest = &request->offer->manifest;
    C4p__Missing missing = C4P__MISSING__INIT;
    struct bundle_hash bundle;
    struct list *list;
    int rc;

    if (supplies == NULL)
        return refuse_private(reason);
    list = calloc(1, sizeof(*list));
    if (list == NULL)
        return control_refuse(reason, "the daemon is out of memory");
    rc = bundles_offer(supplies->bundles, manifest->data, manifest->len, &bundle, on_missing, list,
                       reason);
    if (rc == 0) {
        missing.bundle = (ProtobufCBinaryData){BUNDLE_HASH_SIZE, bundle.bytes};
        missing.n_hashes = list->count;
        missing.hashes = list->hashes;
        control_answer(control, peer, request->id, C4P__EVENT__BODY_MISSING, &missing);
    }
    free(list);
    return rc;
}

int supplies_put(struct supplies *supplies, struct control *control, struct control_peer *peer,
                 const C4p__Request *request, char reason[CONTROL_REASON_SIZE])
{
    const C4p__BlobPut *put = request->blob_put;
    C4p__Done done = C4P__DONE__INIT;
    struct bundle_hash blob;

    if (supplies == NULL)
        return refuse_private(reason);
    if (!bundle_hash_read(&blob, &put->hash))
        return control_refuse(reason, "the name of a file has %zu bytes, not %d", put->hash.len,
                              BUNDLE_HASH_SIZE);
    if (bundles_put(supplies->bundles, &blob, put->offset, put->data.data, put->data.len, put->last,
                    reason) != 0)
        return -1;
    control_answer(control, peer, request->id, C4P__EVENT__BODY_DONE, &done);
    return 0;
}
