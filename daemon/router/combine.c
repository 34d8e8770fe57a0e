#include "daemon/router/combine.h"

#include <stdbool.h>
#include <string.h>

#include "daemon/router/combine_items.h"

/* Tags of args.md. */
enum {
    TAG_FALSE = 0x02,
    TAG_TRUE = 0x03,
    TAG_INT8 = 0x04,
    TAG_INT32 = 0x05,
    TAG_INT64 = 0x06,
    TAG_FLOAT = 0x08,
    TAG_COMPLEX = 0x09,
    TAG_NDARRAY = 0x23,
    TAG_SCALAR = 0x25
};

/* Buffers of so many bytes are aligned (ARGS_IN_PLACE). */
#define ALIGNED_FROM 2048
#define MOST_DIMENSIONS 64

enum value_class { VALUE_OTHER, VALUE_BOOL, VALUE_INT, VALUE_FLOAT, VALUE_COMPLEX, VALUE_ITEMS };

/* A value taken apart; of VALUE_ITEMS the items lie where they are. */
struct value {
    enum value_class class;
    int64_t integer; /* and truth */
    double real, imaginary;
    uint8_t code;   /* dtype */
    bool is_array;  /* else a scalar, or an array without dimensions, which is one to NumPy */
    uint64_t count; /* items */
    size_t items;   /* where they begin */
};

/* ---- reading ---- */

static bool int_read(const uint8_t *bytes, size_t size, struct value *value)
{
    int8_t small;
    int32_t medium;

    value->class = VALUE_INT;
    if (bytes[0] == TAG_INT8 && size == 2) {
        memcpy(&small, bytes + 1, sizeof(small));
        value->integer = small;
    } else if (bytes[0] == TAG_INT32 && size == 5) {
        memcpy(&medium, bytes + 1, sizeof(medium));
        value->integer = medium;
    } else if (bytes[0] == TAG_INT64 && size == 9) {
        memcpy(&value->integer, bytes + 1, sizeof(value->integer));
    } else {
        return false;
    }
    return true;
}

static bool scalar_read(const uint8_t *bytes, size_t size, struct value *value)
{
    if (size < 2)
        return false;
    value->class = VALUE_ITEMS;
    value->code = bytes[1];
    value->count = 1;
    value->items = 2;
    return items_size(value->code) != 0 && size == 2 + items_size(value->code);
}

/* Its extents, and what follows from them. */
static bool array_read(const uint8_t *bytes, size_t size, struct value *value)
{
    uint64_t item, length, extent;
    uint8_t head[4];

    if (size < sizeof(head))
        return false;
    memcpy(head, bytes, sizeof(head)); /* read once: tag, order, dimensions, code */
    value->class = VALUE_ITEMS;
    value->code = head[3];
    value->is_array = head[2] > 0;
    value->count = 1;
    value->items = sizeof(head) + (size_t)head[2] * 8;
    item = items_size(head[3]);
    if (item == 0 || head[1] > 1 || head[2] > MOST_DIMENSIONS || value->items > size)
        return false;
    for (unsigned i = 0; i < head[2]; i++) {
        memcpy(&extent, bytes + sizeof(head) + (size_t)i * 8, sizeof(extent));
        if (__builtin_mul_overflow(value->count, extent, &value->count))
            return false;
    }
    if (__builtin_mul_overflow(value->count, item, &length) || length > size)
        return false;
    if (length >= ALIGNED_FROM)
        value->items = (value->items + C4P_ENVELOPE_SIZE + 63) / 64 * 64 - C4P_ENVELOPE_SIZE;
    return value->items <= size && length == size - value->items;
}

static bool value_read(const uint8_t *bytes, size_t size, struct value *value)
{
    memset(value, 0, sizeof(*value));
    if (size == 0)
        return false;
    switch (bytes[0]) {
    case TAG_FALSE:
    case TAG_TRUE:
        value->class = VALUE_BOOL;
        value->integer = bytes[0] == TAG_TRUE;
        return size == 1;
    case TAG_FLOAT:
        value->class = VALUE_FLOAT;
        if (size == 9)
            memcpy(&value->real, bytes + 1, 8);
        return size == 9;
    case TAG_COMPLEX:
        value->class = VALUE_COMPLEX;
        if (size == 17)
            memcpy(&value->real, bytes + 1, 8), memcpy(&value->imaginary, bytes + 9, 8);
        return size == 17;
    case TAG_NDARRAY:
        return array_read(bytes, size, value);
    case TAG_SCALAR:
        return scalar_read(bytes, size, value);
    default:
        return int_read(bytes, size, value);
    }
}

/* ---- Python's own numbers ---- */

static enum combine_answer bool_write(bool truth, struct combine_result *result)
{
    result->bytes[0] = truth ? TAG_TRUE : TAG_FALSE;
    result->size = 1;
    return COMBINE_APART;
}

static enum combine_answer bools_combine(enum reducer_op op, bool a, bool b,
                                         struct combine_result *result)
{
    switch (op) {
    case OP_AND:
    case OP_MIN:
        return bool_write(a && b, result);
    case OP_OR:
    case OP_MAX:
        return bool_write(a || b, result);
    case OP_XOR:
        return bool_write(a != b, result);
    default:
        return COMBINE_CANNOT;
    }
}

/* In the shortest form, as PEs write it. */
static enum combine_answer int_write(int64_t value, struct combine_result *result)
{
    const int8_t small = (int8_t)value;
    const int32_t medium = (int32_t)value;

    if (small == value) {
        result->bytes[0] = TAG_INT8;
        result->size = 2;
        memcpy(result->bytes + 1, &small, sizeof(small));
    } else if (medium == value) {
        result->bytes[0] = TAG_INT32;
        result->size = 5;
        memcpy(result->bytes + 1, &medium, sizeof(medium));
    } else {
        result->bytes[0] = TAG_INT64;
        result->size = 9;
        memcpy(result->bytes + 1, &value, sizeof(value));
    }
    return COMBINE_APART;
}

static enum combine_answer ints_combine(enum reducer_op op, int64_t a, int64_t b,
                                        struct combine_result *result)
{
    int64_t value;
    bool fits = true;

    switch (op) {
    case OP_SUM:
        fits = !__builtin_add_overflow(a, b, &value);
        break;
    case OP_PRODUCT:
        fits = !__builtin_mul_overflow(a, b, &value);
        break;
    case OP_MAX:
        value = a >= b ? a : b;
        break;
    case OP_MIN:
        value = a <= b ? a : b;
        break;
    default:
        return COMBINE_CANNOT;
    }
    return fits ? int_write(value, result) : COMBINE_CANNOT;
}

static enum combine_answer floats_combine(enum reducer_op op, double a, double b,
                                          struct combine_result *result)
{
    double value;

    switch (op) {
    case OP_SUM:
        value = a + b;
        break;
    case OP_PRODUCT:
        value = a * b;
        break;
    case OP_MAX:
        value = a >= b ? a : b;
        break;
    case OP_MIN:
        value = a <= b ? a : b;
        break;
    default:
        return COMBINE_CANNOT;
    }
    result->bytes[0] = TAG_FLOAT;
    result->size = 9;
    memcpy(result->bytes + 1, &value, sizeof(value));
    return COMBINE_APART;
}

static enum combine_answer complexes_combine(enum reducer_op op, const struct value *a,
                                             const struct value *b, struct combine_result *result)
{
    double real, imaginary;

    if (op == OP_SUM) {
        real = a->real + b->real;
        imaginary = a->imaginary + b->imaginary;
    } else if (op == OP_PRODUCT) {
        real = a->real * b->real - a->imaginary * b->imaginary;
        imaginary = a->real * b->imaginary + a->imaginary * b->real;
    } else {
        return COMBINE_CANNOT;
    }
    result->bytes[0] = TAG_COMPLEX;
    result->size = 17;
    memcpy(result->bytes + 1, &real, sizeof(real));
    memcpy(result->bytes + 9, &imaginary, sizeof(imaginary));
    return COMBINE_APART;
}

/* ---- */

enum combine_answer combine_values(enum reducer_op op, uint8_t *first, size_t first_size,
                                   const uint8_t *second, size_t second_size,
                                   struct combine_result *result)
{
    struct value a, b;

    if (!value_read(first, first_size, &a) || !value_read(second, second_size, &b) ||
        a.class != b.class)
        return COMBINE_CANNOT;
    switch (a.class) {
    case VALUE_BOOL:
        return bools_combine(op, a.integer, b.integer, result);
    case VALUE_INT:
        return ints_combine(op, a.integer, b.integer, result);
    case VALUE_FLOAT:
        return floats_combine(op, a.real, b.real, result);
    case VALUE_COMPLEX:
        return complexes_combine(op, &a, &b, result);
    default:
        break;
    }
    /* Of arrays everything in front of the items must be the same: order, dtype, extents. */
    if (a.items != b.items || a.code != b.code || a.count != b.count ||
        memcmp(first, second, a.items) != 0)
        return COMBINE_CANNOT;
    return items_combine(op, a.code, first + a.items, second + b.items, a.count) ? COMBINE_IN_PLACE
                                                                                 : COMBINE_CANNOT;
}

enum combine_answer combine_finish(const uint8_t *value, size_t size, struct combine_result *result)
{
    struct value read;
    uint64_t extent = 1;

    if (!value_read(value, size, &read))
        return COMBINE_CANNOT;
    if (value[0] != TAG_NDARRAY || read.count != 1 || size > 12 + 32)
        return COMBINE_IN_PLACE;
    if (read.is_array)
        memcpy(&extent, value + 4, sizeof(extent));
    if (read.items > 12 || extent != 1)
        return COMBINE_IN_PLACE;
    result->bytes[0] = TAG_SCALAR;
    result->bytes[1] = read.code;
    result->size = 2 + items_size(read.code);
    memcpy(result->bytes + 2, value + read.items, items_size(read.code));
    return COMBINE_APART;
}
