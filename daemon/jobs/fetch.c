/*
 * Fetching a bundle: the manifest if it is not here, then the parts of what is missing, one behind the
 * other. Two cursors go over these parts: what was taken, and what was asked for.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/jobs/bundle_internal.h"

struct cursor {
    size_t blob;
    uint64_t offset;
};

struct fetch {
    struct bundles *bundles;
    struct bundle_hash bundle;
    enum { WANTS_MANIFEST, ASKED_MANIFEST, FETCHES, OVER } phase;
    bool pinned, told, here; /* told: how it ended */
    uint64_t progress;
    char failed[BUNDLE_ERROR_SIZE];
    struct bundle_hash *missing;
    size_t count, room;
    struct cursor taken, asked;
    unsigned flying; /* parts that were asked for and did not come */
};

static void fetch_fail(struct fetch *fetch, const char *reason)
{
    if (fetch->phase == OVER)
        return;
    fetch->phase = OVER;
    bundle_refuse(fetch->failed, "%s", reason);
}

/* ---- what is missing ---- */

static void missing_add(void *context, const struct bundle_hash *blob)
{
    struct fetch *fetch = context;

    if (fetch->count == fetch->room) {
        size_t room = fetch->room * 2 + 16;
        struct bundle_hash *more = realloc(fetch->missing, room * sizeof(*more));

        if (more == NULL) {
            fetch_fail(fetch, "the daemon is out of memory");
            return;
        }
        fetch->missing = more;
        fetch->room = room;
    }
    fetch->missing[fetch->count++] = *blob;
}

/* The manifest is here. */
static void fetch_plan(struct fetch *fetch, const void *data, size_t size)
{
    char error[BUNDLE_ERROR_SIZE];
    struct bundle_hash hash;

    fetch->phase = FETCHES;
    if (bundles_offer(fetch->bundles, data, size, &hash, missing_add, fetch, error) != 0) {
        fetch->here = true;
        fetch_fail(fetch, error);
        return;
    }
    bundles_pin(fetch->bundles, &fetch->bundle);
    fetch->pinned = true;
}

/* Others may have brought it meanwhile. */
static const struct blob *blob_at(const struct fetch *fetch, size_t i)
{
    return i < fetch->count ? blob_find(fetch->bundles, &fetch->missing[i]) : NULL;
}

static void present_skip(struct fetch *fetch)
{
    const struct blob *blob;

    while ((blob = blob_at(fetch, fetch->taken.blob)) != NULL && blob->here)
        fetch->taken = (struct cursor){fetch->taken.blob + 1, 0};
    if (fetch->asked.blob < fetch->taken.blob ||
        (fetch->asked.blob == fetch->taken.blob && fetch->asked.offset < fetch->taken.offset))
        fetch->asked = fetch->taken;
}

/* ---- life ---- */

struct fetch *fetch_create(struct bundles *bundles, const struct bundle_hash *bundle)
{
    struct fetch *fetch = calloc(1, sizeof(*fetch));
    char error[BUNDLE_ERROR_SIZE];
    size_t size;
    void *data;

    if (fetch == NULL)
        return NULL;
    fetch->bundles = bundles;
    fetch->bundle = *bundle;
    data = bundles_manifest(bundles, bundle, &size, error);
    if (data != NULL)
        fetch_plan(fetch, data, size);
    free(data);
    return fetch;
}

void fetch_destroy(struct fetch *fetch)
{
    if (fetch == NULL)
        return;
    if (fetch->pinned)
        bundles_unpin(fetch->bundles, &fetch->bundle);
    free(fetch->missing);
    free(fetch);
}

/* ---- answers ---- */

void fetch_manifest(struct fetch *fetch, const void *data, size_t size, const char *refused)
{
    struct bundle_hash hash;

    if (fetch->phase != ASKED_MANIFEST)
        return;
    if (refused != NULL && *refused != '\0') {
        fetch_fail(fetch, refused);
        return;
    }
    bundle_hash_of(&hash, data, size);
    if (memcmp(&hash, &fetch->bundle, sizeof(hash)) != 0)
        fetch_fail(fetch, "what came is not the manifest of the job's bundle");
    else
        fetch_plan(fetch, data, size);
    fetch->progress++;
}

void fetch_part(struct fetch *fetch, const struct bundle_hash *blob, uint64_t offset,
                const void *data, size_t size, bool last, const char *refused)
{
    char error[BUNDLE_ERROR_SIZE];

    if (fetch->phase != FETCHES)
        return;
    fetch->flying -= fetch->flying > 0;
    present_skip(fetch);
    /* Not the next one: one before it was lost, or it has come before. */
    if (fetch->taken.blob >= fetch->count || offset != fetch->taken.offset ||
        memcmp(blob, &fetch->missing[fetch->taken.blob], sizeof(*blob)) != 0)
        return;
    if (refused != NULL && *refused != '\0')
        fetch_fail(fetch, refused);
    else if (size == 0 && !last)
        fetch_fail(fetch, "a part of a file came without content");
    else if (bundles_put(fetch->bundles, blob, offset, data, size, last, error) != 0)
        fetch_fail(fetch, error);
    else if (!last)
        fetch->taken.offset += size;
    fetch->progress++;
    present_skip(fetch);
}

void fetch_retry(struct fetch *fetch)
{
    if (fetch->phase == ASKED_MANIFEST)
        fetch->phase = WANTS_MANIFEST;
    fetch->asked = fetch->taken;
    fetch->flying = 0;
}

/* ---- questions ---- */

static bool part_ask(struct fetch *fetch, struct fetch_action *action)
{
    const struct blob *blob = blob_at(fetch, fetch->asked.blob);

    if (blob == NULL || fetch->flying >= FETCH_WINDOW)
        return false;
    action->kind = FETCH_ASK_BLOB;
    action->hash = blob->hash;
    action->offset = fetch->asked.offset;
    fetch->flying++;
    if (blob->size - fetch->asked.offset > BUNDLE_PART)
        fetch->asked.offset += BUNDLE_PART;
    else
        fetch->asked = (struct cursor){fetch->asked.blob + 1, 0};
    return true;
}

static void end_tell(struct fetch *fetch, struct fetch_action *action)
{
    fetch->told = true;
    action->kind = fetch->failed[0] != '\0' ? FETCH_FAILED : FETCH_DONE;
    action->reason = fetch->failed;
    action->here = fetch->here;
}

uint64_t fetch_progress(const struct fetch *fetch)
{
    return fetch->progress;
}

bool fetch_next(struct fetch *fetch, struct fetch_action *action)
{
    memset(action, 0, sizeof(*action));
    action->hash = fetch->bundle;
    if (fetch->phase == WANTS_MANIFEST) {
        fetch->phase = ASKED_MANIFEST;
        action->kind = FETCH_ASK_MANIFEST;
        return true;
    }
    if (fetch->phase == FETCHES) {
        present_skip(fetch);
        if (fetch->taken.blob < fetch->count)
            return part_ask(fetch, action);
        fetch->phase = OVER;
    }
    if (fetch->phase != OVER || fetch->told)
        return false;
    end_tell(fetch, action);
    return true;
}
