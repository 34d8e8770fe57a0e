/*
 * Bundles: the files of a program, kept by their content, for hosts that do not share them.
 *
 * A bundle is a manifest (BundleManifest in control.proto), known by the BLAKE2b of its bytes: paths
 * below a root, modes, sizes, and the BLAKE2b of each file's content. Contents are blobs, one file
 * each, named by their hash, whoever brought them. In the state directory:
 *
 *   bundles/manifests/HASH     bundles/blobs/HASH      bundles/partial/HASH   (still coming)
 *
 * A job that runs where its files are (the manifest's files are at their root with the same content)
 * uses them there. Elsewhere it gets a directory of its own with copies (provision.h), which goes with
 * the job: a program may write beside itself without harm to the next one.
 *
 * The cache is limited in bytes and in age; what an open job needs is never evicted. Everything that
 * comes is checked against its hash before it counts.
 */
#ifndef C4P_DAEMON_JOBS_BUNDLE_H
#define C4P_DAEMON_JOBS_BUNDLE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/bundle.h"
#include "proto/control.pb-c.h"

#define BUNDLE_MAX_BUNDLES 4096
#define BUNDLE_ERROR_SIZE 320

struct bundles;

struct bundle_hash {
    uint8_t bytes[BUNDLE_HASH_SIZE];
};

struct bundles_settings {
    const char *state_dir;
    uint64_t limit;   /* bytes of the cache */
    uint64_t keep_ms; /* unused for so long: evicted */
};

/* NULL with a sentence. Close is NULL-safe. */
struct bundles *bundles_open(const struct bundles_settings *settings,
                             char error[BUNDLE_ERROR_SIZE]);
void bundles_close(struct bundles *bundles);
void bundles_configure(struct bundles *bundles, const struct bundles_settings *settings);

/* Functions that return 0, or -1 with a sentence. */

/* Take a manifest in, checked; *hash is its name. What is missing of it: `each` for each blob. */
int bundles_offer(struct bundles *bundles, const void *manifest, size_t size,
                  struct bundle_hash *hash,
                  void (*each)(void *context, const struct bundle_hash *blob), void *context,
                  char error[BUNDLE_ERROR_SIZE]);
/* A part of a blob of a manifest that is here; parts come in order. */
int bundles_put(struct bundles *bundles, const struct bundle_hash *blob, uint64_t offset,
                const void *data, size_t size, bool last, char error[BUNDLE_ERROR_SIZE]);
/* Is all of it here? */
bool bundles_complete(struct bundles *bundles, const struct bundle_hash *bundle);

/* For other nodes: the manifest (to be freed), and parts of blobs. */
void *bundles_manifest(struct bundles *bundles, const struct bundle_hash *bundle, size_t *size,
                       char error[BUNDLE_ERROR_SIZE]);
int bundles_read(struct bundles *bundles, const struct bundle_hash *blob, uint64_t offset,
                 void *data, size_t room, size_t *size, bool *last, char error[BUNDLE_ERROR_SIZE]);

/* The name of a bundle as it travels: false if it is none. */
bool bundle_hash_read(struct bundle_hash *hash, const ProtobufCBinaryData *data);
/* What comes is on the disk for good: all of this bundle, which must be complete. */
int bundles_secure(struct bundles *bundles, const struct bundle_hash *bundle,
                   char error[BUNDLE_ERROR_SIZE]);
/* A job needs it, or does not any more. One that is not here cannot be pinned. */
void bundles_pin(struct bundles *bundles, const struct bundle_hash *bundle);
void bundles_unpin(struct bundles *bundles, const struct bundle_hash *bundle);
void bundles_evict(struct bundles *bundles, int64_t day_ms);

struct bundles_figures {
    uint64_t bytes; /* taken, or promised to what is still coming */
    unsigned bundles, blobs, pinned;
};
struct bundles_figures bundles_figures(const struct bundles *bundles);

/*
 * The next two read or write all of the files, a piece at a time, so that nobody has to wait for the
 * end: a copy is stepped until it says something else than BUNDLE_MORE.
 */
struct bundle_copy;
enum bundle_step { BUNDLE_MORE, BUNDLE_ENDED, BUNDLE_OTHERWISE };
/* Are the files in place (`directory` NULL), or: copy them there. NULL with a sentence. */
struct bundle_copy *bundle_copy_create(struct bundles *bundles, const struct bundle_hash *bundle,
                                       const char *directory, char error[BUNDLE_ERROR_SIZE]);
/* ENDED: they are; OTHERWISE: they are not, or could not be copied, with a sentence. */
enum bundle_step bundle_copy_step(struct bundle_copy *copy, char error[BUNDLE_ERROR_SIZE]);
void bundle_copy_destroy(struct bundle_copy *copy);

/* Are its files at their root, all of them and with this content? */
bool bundle_in_place(struct bundles *bundles, const struct bundle_hash *bundle);
/* Copy it to `directory`, which is made (0700). */
int bundle_unpack(struct bundles *bundles, const struct bundle_hash *bundle, const char *directory,
                  char error[BUNDLE_ERROR_SIZE]);
/*
 * The same command somewhere else: paths below the root, in argv, cwd, PWD and PYTHONPATH, lead to
 * `directory`; a cwd outside of the root becomes `directory`. The program itself (argv[0]) is another
 * one only if it is in the bundle. `submit` is changed; what is new in it is malloc()ed, what it
 * replaces is free()d.
 */
int bundle_rebase(struct bundles *bundles, const struct bundle_hash *bundle, const char *directory,
                  C4p__Submit *submit, char error[BUNDLE_ERROR_SIZE]);

/*
 * The same command in its own place, where only the files of the bundle are other ones by now: they are
 * taken from `directory`, and what the program writes stays where it was submitted. (A module that is
 * run by `-m` is still looked for in the cwd first.)
 */
int bundle_rebase_files(struct bundles *bundles, const struct bundle_hash *bundle,
                        const char *directory, C4p__Submit *submit, char error[BUNDLE_ERROR_SIZE]);

/*
 * Fetching a bundle from another node: a pure core. Messages in and out are those of cluster.proto.
 * FETCH_WINDOW parts are asked for ahead; they are taken in order, and what comes out of it is asked
 * for again by fetch_retry(). The bundle is pinned until fetch_destroy().
 */
#define FETCH_WINDOW 4
struct fetch;
enum fetch_action_kind { FETCH_ASK_MANIFEST, FETCH_ASK_BLOB, FETCH_DONE, FETCH_FAILED };
struct fetch_action {
    enum fetch_action_kind kind;
    struct bundle_hash hash;
    uint64_t offset;
    const char *reason;
    bool here; /* of FETCH_FAILED: this host cannot keep it, whoever sends it */
};
struct fetch *fetch_create(struct bundles *bundles, const struct bundle_hash *bundle);
void fetch_destroy(struct fetch *fetch);
void fetch_manifest(struct fetch *fetch, const void *data, size_t size, const char *refused);
void fetch_part(struct fetch *fetch, const struct bundle_hash *blob, uint64_t offset,
                const void *data, size_t size, bool last, const char *refused);
/* Nothing came for a while: what was asked for and has not come is asked for again. */
void fetch_retry(struct fetch *fetch);
bool fetch_next(struct fetch *fetch, struct fetch_action *action);
/* Grows with everything of use that comes. */
uint64_t fetch_progress(const struct fetch *fetch);

#endif
