#include "daemon/router/combine_items.h"

typedef void combine_loop(uint8_t *first, const uint8_t *second, uint64_t count);

/* Items lie in messages, not always at multiples of their size. */
#define UNALIGNED __attribute__((aligned(1), may_alias))

/* Loops of this file are what large reductions do: worth the longer code. */
#if defined(__GNUC__) && !defined(__clang__)
#define FAST __attribute__((optimize("O3")))
#else
#define FAST
#endif

#define LOOP(name, type, expression)                                                               \
    FAST static void name(uint8_t *first, const uint8_t *second, uint64_t count)                   \
    {                                                                                              \
        typedef type UNALIGNED item;                                                               \
        item *a = (item *)(void *)first;                                                           \
        const item *b = (const item *)(const void *)second;                                        \
                                                                                                   \
        for (uint64_t i = 0; i < count; i++) {                                                     \
            type x = a[i], y = b[i];                                                               \
                                                                                                   \
            a[i] = (type)(expression);                                                             \
        }                                                                                          \
    }

/* Signed items wrap like unsigned ones of their size; `wide` does not overflow on the way. */
#define INTEGER_LOOPS(name, type, wide)                                                            \
    LOOP(name##_sum, type, (wide)x + (wide)y)                                                      \
    LOOP(name##_product, type, (wide)x *(wide)y)                                                   \
    LOOP(name##_max, type, x >= y ? x : y)                                                         \
    LOOP(name##_min, type, x <= y ? x : y)

/* x != x: NaN. */
#define FLOAT_LOOPS(name, type)                                                                    \
    LOOP(name##_sum, type, x + y)                                                                  \
    LOOP(name##_product, type, x *y)                                                               \
    LOOP(name##_max, type, x >= y || x != x ? x : y)                                               \
    LOOP(name##_min, type, x <= y || x != x ? x : y)

#define COMPLEX_LOOPS(name, type)                                                                  \
    static void name##_sum(uint8_t *first, const uint8_t *second, uint64_t count)                  \
    {                                                                                              \
        name##_part_sum(first, second, 2 * count);                                                 \
    }                                                                                              \
    FAST static void name##_product(uint8_t *first, const uint8_t *second, uint64_t count)         \
    {                                                                                              \
        typedef type UNALIGNED item;                                                               \
        item *a = (item *)(void *)first;                                                           \
        const item *b = (const item *)(const void *)second;                                        \
                                                                                                   \
        for (uint64_t i = 0; i < 2 * count; i += 2) {                                              \
            type xr = a[i], xi = a[i + 1], yr = b[i], yi = b[i + 1];                               \
                                                                                                   \
            a[i] = xr * yr - xi * yi;                                                              \
            a[i + 1] = xr * yi + xi * yr;                                                          \
        }                                                                                          \
    }

INTEGER_LOOPS(i8, int8_t, uint32_t)
INTEGER_LOOPS(u8, uint8_t, uint32_t)
INTEGER_LOOPS(i16, int16_t, uint32_t)
INTEGER_LOOPS(u16, uint16_t, uint32_t)
INTEGER_LOOPS(i32, int32_t, uint32_t)
INTEGER_LOOPS(u32, uint32_t, uint32_t)
INTEGER_LOOPS(i64, int64_t, uint64_t)
INTEGER_LOOPS(u64, uint64_t, uint64_t)
FLOAT_LOOPS(f32, float)
FLOAT_LOOPS(f64, double)
FLOAT_LOOPS(f80, long double)

LOOP(c64_part_sum, float, x + y)
LOOP(c128_part_sum, double, x + y)
LOOP(c256_part_sum, long double, x + y)
COMPLEX_LOOPS(c64, float)
COMPLEX_LOOPS(c128, double)
COMPLEX_LOOPS(c256, long double)

/* Any byte but 0 is true; what comes out is 1. */
LOOP(bool_and, uint8_t, x != 0 && y != 0)
LOOP(bool_or, uint8_t, x != 0 || y != 0)
LOOP(bool_xor, uint8_t, (x != 0) != (y != 0))

#define NUMBERS(name)                                                                              \
    {                                                                                              \
        [OP_SUM] = name##_sum, [OP_PRODUCT] = name##_product, [OP_MAX] = name##_max,               \
        [OP_MIN] = name##_min                                                                      \
    }

static const struct dtype {
    uint8_t code;
    uint8_t size;
    combine_loop *loops[OP_COUNT];
} dtypes[] = {
    {'?',
     1,
     {[OP_MAX] = bool_or,
      [OP_MIN] = bool_and,
      [OP_AND] = bool_and,
      [OP_OR] = bool_or,
      [OP_XOR] = bool_xor}},
    {'b', 1, NUMBERS(i8)},
    {'B', 1, NUMBERS(u8)},
    {'h', 2, NUMBERS(i16)},
    {'H', 2, NUMBERS(u16)},
    {'i', 4, NUMBERS(i32)},
    {'I', 4, NUMBERS(u32)},
    {'l', 8, NUMBERS(i64)},
    {'L', 8, NUMBERS(u64)},
    {'q', 8, NUMBERS(i64)},
    {'Q', 8, NUMBERS(u64)},
    {'f', sizeof(float), NUMBERS(f32)},
    {'d', sizeof(double), NUMBERS(f64)},
    {'g', sizeof(long double), NUMBERS(f80)},
    {'F', 2 * sizeof(float), {[OP_SUM] = c64_sum, [OP_PRODUCT] = c64_product}},
    {'D', 2 * sizeof(double), {[OP_SUM] = c128_sum, [OP_PRODUCT] = c128_product}},
    {'G', 2 * sizeof(long double), {[OP_SUM] = c256_sum, [OP_PRODUCT] = c256_product}},
};

static const struct dtype *dtype_find(uint8_t code)
{
    for (size_t i = 0; i < sizeof(dtypes) / sizeof(*dtypes); i++)
        if (dtypes[i].code == code)
            return &dtypes[i];
    return NULL;
}

size_t items_size(uint8_t code)
{
    const struct dtype *dtype = dtype_find(code);

    return dtype != NULL ? dtype->size : 0;
}

bool items_combine(enum reducer_op op, uint8_t code, uint8_t *first, const uint8_t *second,
                   uint64_t count)
{
    const struct dtype *dtype = dtype_find(code);

    if (dtype == NULL || op >= OP_COUNT || dtype->loops[op] == NULL)
        return false;
    dtype->loops[op](first, second, count);
    return true;
}
