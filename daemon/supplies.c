#include "daemon/supplies.h"

#include <event2/event.h>
#include <stdlib.h>

#include "proto/clock.h"

struct supplies {
    struct bundles *bundles;
    struct event *evict;
};

static void on_evict(evutil_socket_t fd, short what, void *argument)
{
    struct supplies *supplies = argument;

    (void)fd, (void)what;
    bundles_evict(supplies->bundles, clock_day_ms());
    event_add(supplies->evict, &(struct timeval){SUPPLIES_EVICT_SECONDS, 0});
}

struct supplies *supplies_create(struct event_base *base, const struct bundles_settings *settings,
                                 char *error)
{
    struct supplies *supplies = calloc(1, sizeof(*supplies));

    if (supplies != NULL)
        supplies->evict = event_new(base, -1, 0, on_evict, supplies);
    if (supplies == NULL || supplies->evict == NULL) {
        snprintf(error, BUNDLE_ERROR_SIZE, "the daemon is out of memory");
        supplies_destroy(supplies);
        return NULL;
    }
    supplies->bundles = bundles_open(settings, error);
    if (supplies->bundles == NULL) {
        supplies_destroy(supplies);
        return NULL;
    }
    event_add(supplies->evict, &(struct timeval){SUPPLIES_EVICT_SECONDS, 0});
    return supplies;
}

void supplies_destroy(struct supplies *supplies)
{
    if (supplies == NULL)
        return;
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
