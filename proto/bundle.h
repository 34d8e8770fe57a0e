/*
 * Numbers of bundles that client and daemon share; the messages are in control.proto.
 */
#ifndef C4P_PROTO_BUNDLE_H
#define C4P_PROTO_BUNDLE_H

/* Hashes are BLAKE2b (crypto_generichash of libsodium, without a key). */
#define BUNDLE_HASH_SIZE 32

#define BUNDLE_MAX_MANIFEST (768u << 10) /* bytes, packed */
#define BUNDLE_MAX_FILES 8192
#define BUNDLE_MAX_PATH 1024
#define BUNDLE_MAX_MODULES 1024
#define BUNDLE_MAX_MODULE 255

/* Largest `data` of BlobPut and BlobPart. */
#define BUNDLE_PART (256u << 10)

#endif
