/*
 * envelope_check() on arbitrary bytes. The input is a block: an envelope and what follows it. What is
 * accepted keeps the promises of envelope.h, and its body can be read to the end.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/envelope.h"

#define EPOCH 7

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void body_read(const uint8_t *body, uint64_t size)
{
    uint8_t sum = 0;

    for (uint64_t i = 0; i < size; i++)
        sum ^= body[i];
    __asm__ volatile("" ::"r"(sum)); /* is not optimised away */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* Of exactly that size, so that the sanitizer sees a byte too much. */
    struct c4p_envelope *envelope = malloc(size ? size : 1), copy;
    enum c4p_envelope_error error;

    if (envelope == NULL)
        return 0;
    memcpy((void *)envelope, data, size);
    error = envelope_check(envelope, size, EPOCH, &copy);
    if (strcmp(envelope_error_text(error), "unknown error") == 0)
        abort();
    if (error == C4P_ENVELOPE_OK) {
        if (copy.version != C4P_ENVELOPE_VERSION || copy.kind == 0 || copy.kind >= C4P_KINDS ||
            copy.flags > C4P_FLAGS_ALL || copy.ndims > C4P_MAX_DIMS || copy.epoch != EPOCH ||
            memcmp((const void *)&copy, data, sizeof(copy)) != 0)
            abort();
        if (copy.body == 0)
            body_read((const uint8_t *)(envelope + 1), copy.body_size);
    }
    free(envelope);
    return 0;
}
