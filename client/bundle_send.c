/*
 * A bundle goes to the daemon: it is offered, and what the daemon has not got is sent in parts, some of
 * them ahead of the answers. The caller sees the answer to its offer, nothing of what lies between.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <utlist.h>

#include "client/bundle.h"
#include "client/client.h"

/* Parts without an answer. */
#define WINDOW 8

struct upload {
    uint64_t offer; /* id of the request that is answered when it is done */
    struct c4p_bundle *bundle;
    bool *missing; /* by file; NULL: the daemon has not said yet */
    size_t next;   /* file */
    uint64_t offset;
    unsigned flying;
    char failed[C4P_ERROR_SIZE];
    struct upload *prev, *next_upload;
};

static struct upload *upload_find(const struct c4p_client *client, uint64_t offer)
{
    struct upload *upload;

    DL_FOREACH2(client->uploads, upload, next_upload)
    {
        if (upload->offer == offer)
            return upload;
    }
    return NULL;
}

void upload_forget(struct c4p_client *client, uint64_t offer)
{
    struct upload *upload = upload_find(client, offer);

    if (upload == NULL)
        return;
    DL_DELETE2(client->uploads, upload, prev, next_upload);
    free(upload->missing);
    free(upload);
}

void uploads_forget_all(struct c4p_client *client)
{
    while (client->uploads != NULL)
        upload_forget(client, client->uploads->offer);
}

int64_t c4p_offer(struct c4p_client *client, struct c4p_bundle *bundle)
{
    struct upload *upload;
    int64_t id;

    if (bundle->manifest == NULL) {
        errno = EINVAL;
        return -1;
    }
    upload = calloc(1, sizeof(*upload));
    if (upload == NULL)
        return -1;
    id = request_offer(client, bundle->manifest, bundle->manifest_size);
    if (id < 0) {
        free(upload);
        return -1;
    }
    upload->offer = (uint64_t)id;
    upload->bundle = bundle;
    bundle->sent = bundle->total = 0;
    DL_APPEND2(client->uploads, upload, prev, next_upload);
    return id;
}

/* ---- what is missing ---- */

static bool hash_listed(const C4p__Missing *missing, const uint8_t *hash)
{
    for (size_t i = 0; i < missing->n_hashes; i++)
        if (missing->hashes[i].len == BUNDLE_HASH_SIZE &&
            memcmp(missing->hashes[i].data, hash, BUNDLE_HASH_SIZE) == 0)
            return true;
    return false;
}

/* A content that several files have goes once. */
static bool sent_before(const struct upload *upload, size_t i)
{
    const struct bundle_entry *entries = upload->bundle->entries;

    for (size_t j = 0; j < i; j++)
        if (upload->missing[j] && memcmp(entries[j].hash, entries[i].hash, BUNDLE_HASH_SIZE) == 0)
            return true;
    return false;
}

enum upload_news upload_begin(struct c4p_client *client, uint64_t offer,
                              const C4p__Missing *missing)
{
    struct upload *upload = upload_find(client, offer);
    bool any = false;

    if (upload == NULL || upload->missing != NULL)
        return UPLOAD_NOTHING;
    upload->missing = calloc(upload->bundle->count, sizeof(*upload->missing));
    if (upload->missing == NULL) {
        bundle_fail(upload->failed, "there is no memory for the program's files");
        return UPLOAD_FAILED;
    }
    for (size_t i = 0; i < upload->bundle->count; i++) {
        const struct bundle_entry *entry = &upload->bundle->entries[i];

        upload->missing[i] = hash_listed(missing, entry->hash) && !sent_before(upload, i);
        any = any || upload->missing[i];
        if (upload->missing[i])
            upload->bundle->total += entry->size;
    }
    return any ? upload_go_on(client, offer) : UPLOAD_DONE;
}

/* ---- parts ---- */

/* The next part of a file: its size, or -1 with a sentence. */
static ssize_t part_read(struct upload *upload, const struct bundle_entry *entry, uint8_t *data)
{
    struct stat status;
    int fd = bundle_entry_open(upload->bundle, entry, &status);
    ssize_t got = -1;

    if (fd >= 0 && bundle_entry_same(entry, &status))
        got = pread(fd, data, BUNDLE_PART, (off_t)upload->offset);
    else if (fd >= 0)
        errno = EAGAIN;
    if (got < 0 || (got == 0 && entry->size > 0))
        bundle_fail(upload->failed, "%.150s/%.150s: %s", upload->bundle->root, entry->path,
                    got == 0 || errno == EAGAIN ? "was changed while it was sent"
                                                : strerror(errno));
    if (fd >= 0)
        close(fd);
    return got == 0 && entry->size > 0 ? -1 : got;
}

/* 1: sent; 0: not now; -1. */
static int part_send(struct c4p_client *client, struct upload *upload)
{
    const struct bundle_entry *entry = &upload->bundle->entries[upload->next];
    uint8_t *data = malloc(BUNDLE_PART);
    bool last;
    ssize_t got;
    int rc;

    if (data == NULL)
        return bundle_fail(upload->failed, "there is no memory for the program's files");
    got = part_read(upload, entry, data);
    if (got < 0) {
        free(data);
        return -1;
    }
    last = upload->offset + (uint64_t)got == entry->size;
    rc = request_put(client, upload->offer, entry->hash, upload->offset, data, (size_t)got, last);
    free(data);
    if (rc != 0)
        return errno == EAGAIN && upload->flying > 0
                   ? 0
                   : bundle_fail(upload->failed, "the program's files cannot be sent: %s",
                                 strerror(errno));
    upload->flying++;
    upload->offset += (uint64_t)got;
    upload->bundle->sent += (uint64_t)got;
    if (last) {
        upload->next++;
        upload->offset = 0;
    }
    return 1;
}

enum upload_news upload_go_on(struct c4p_client *client, uint64_t offer)
{
    struct upload *upload = upload_find(client, offer);
    int rc = 1;

    if (upload == NULL)
        return UPLOAD_NOTHING;
    while (rc == 1 && upload->flying < WINDOW) {
        while (upload->next < upload->bundle->count && !upload->missing[upload->next])
            upload->next++;
        if (upload->next == upload->bundle->count)
            break;
        rc = part_send(client, upload);
    }
    if (rc < 0)
        return UPLOAD_FAILED;
    return upload->flying > 0 ? UPLOAD_NOTHING : UPLOAD_DONE;
}

enum upload_news upload_put(struct c4p_client *client, uint64_t offer)
{
    struct upload *upload = upload_find(client, offer);

    if (upload == NULL)
        return UPLOAD_NOTHING;
    upload->flying--;
    return upload_go_on(client, offer);
}

const char *upload_failure(const struct c4p_client *client, uint64_t offer)
{
    const struct upload *upload = upload_find(client, offer);

    return upload != NULL ? upload->failed : "";
}
