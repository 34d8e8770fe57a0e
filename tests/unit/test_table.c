/*
 * The runtime's hash table against a model: few keys, so that the model is an array; keys of every
 * pattern, so that chains form and wrap around the end.
 */
#include "tests/unit/unit.h"

#include "python/ext/table.c" /* the extension is no library that tests could link */

#define KEYS 300

/* Keys as they are used: counters, hashes, numbers with the interesting bits on top. */
static uint64_t key_of(unsigned i, unsigned pattern)
{
    switch (pattern) {
    case 0:
        return i;
    case 1:
        return (uint64_t)i << 32 | 1;
    case 2:
        return (uint64_t)i << 48;
    case 3: /* all in one place of a small table: what the multiplication undoes */
        return (uint64_t)i * 0xf1de83e19937733du;
    default: {
        struct dice dice = dice_seeded(i);

        return dice_throw(&dice);
    }
    }
}

static void table_agrees(const struct table *table, void *const *model, unsigned pattern)
{
    size_t count = 0;

    for (unsigned i = 0; i < KEYS; i++) {
        require(table_get(table, key_of(i, pattern)) == model[i]);
        count += model[i] != NULL;
    }
    require(table->count == count);
    require(table->entries == NULL || table->count * 2 <= table->mask + 2);
}

static void any_history_of_changes_agrees_with_a_model(void **state)
{
    unsigned long rounds = stress(20);

    (void)state;
    for (uint64_t seed = first_seed(); seed < first_seed() + rounds; seed++) {
        unsigned pattern = (unsigned)(seed % 5);
        struct dice dice = dice_seeded(seed);
        struct table table = {0};
        void *model[KEYS] = {NULL};

        seed_in_use = seed;
        for (unsigned step = 0; step < 4000; step++) {
            /* In waves, so that the table is now almost empty, now almost full. */
            bool grow = dice_below(&dice, 8) < (step / 500 % 2 ? 2 : 6);
            unsigned i = (unsigned)dice_below(&dice, KEYS);

            if (grow) {
                model[i] = (char *)model + 1 + dice_below(&dice, 1000);
                require(table_set(&table, key_of(i, pattern), model[i]) == 0);
            } else {
                require(table_remove(&table, key_of(i, pattern)) == model[i]);
                model[i] = NULL;
            }
            if (step % 50 == 0)
                table_agrees(&table, model, pattern);
        }
        table_agrees(&table, model, pattern);
        free(table.entries);
    }
}

static void a_zeroed_table_is_empty(void **state)
{
    struct table table = {0};

    (void)state;
    assert_null(table_get(&table, 0));
    assert_null(table_remove(&table, 0));
    assert_int_equal(table_set(&table, 0, &table), 0);
    assert_ptr_equal(table_remove(&table, 0), &table);
    assert_null(table_get(&table, 0));
    assert_null(table_remove(&table, 0));
    free(table.entries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        watched_test(a_zeroed_table_is_empty),
        watched_test(any_history_of_changes_agrees_with_a_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
