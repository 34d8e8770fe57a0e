/*
 * combine_values() and combine_finish() on arbitrary bytes: two values of exactly their size, so that
 * the sanitizer sees a byte too much. What is combined keeps the promises of combine.h.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/router/combine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t *copy_of(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);

    if (copy == NULL)
        abort();
    if (size > 0)
        memcpy(copy, data, size);
    return copy;
}

static void finish(const uint8_t *value, size_t size)
{
    struct combine_result result = {.size = 0};

    if (combine_finish(value, size, &result) == COMBINE_APART &&
        (result.size == 0 || result.size > COMBINE_SMALL))
        abort();
}

/* The operation, where the second value begins, then both. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct combine_result result = {.size = 0};
    enum combine_answer answer;
    uint8_t *first, *second, *before;
    enum reducer_op op;
    size_t first_size;

    if (size < 3)
        return 0;
    op = (enum reducer_op)(data[0] % OP_COUNT);
    first_size = (data[1] | (size_t)data[2] << 8) % (size - 2);
    data += 3;
    size -= 3;
    if (first_size > size)
        first_size = size;
    first = copy_of(data, first_size);
    before = copy_of(data, first_size);
    second = copy_of(data + first_size, size - first_size);
    finish(first, first_size);
    answer = combine_values(op, first, first_size, second, size - first_size, &result);
    if (answer != COMBINE_IN_PLACE && memcmp(first, before, first_size) != 0)
        abort();
    if (answer == COMBINE_IN_PLACE)
        finish(first, first_size);
    if (answer == COMBINE_APART) {
        if (result.size == 0 || result.size > COMBINE_SMALL)
            abort();
        finish(result.bytes, result.size);
    }
    free(first);
    free(second);
    free(before);
    return 0;
}
