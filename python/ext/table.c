#include "python/ext/table.h"

#include <stdlib.h>
#include <string.h>

static int table_grow(struct table *table)
{
    struct table old = *table;
    size_t room = old.entries ? (old.mask + 1) * 2 : 16;

    table->entries = calloc(room, sizeof(*table->entries));
    if (table->entries == NULL) {
        *table = old;
        return -1;
    }
    table->mask = room - 1;
    table->shift = 64u - (unsigned)__builtin_ctzll(room);
    table->count = 0;
    for (size_t i = 0; old.entries && i <= old.mask; i++)
        if (old.entries[i].value != NULL)
            table_set(table, old.entries[i].key, old.entries[i].value);
    free(old.entries);
    return 0;
}

int table_set(struct table *table, uint64_t key, void *value)
{
    size_t i;

    if (table->entries == NULL || table->count * 2 > table->mask)
        if (table_grow(table) != 0)
            return -1;
    for (i = table_place(table, key); table->entries[i].value != NULL; i = (i + 1) & table->mask)
        if (table->entries[i].key == key)
            break;
    if (table->entries[i].value == NULL)
        table->count++;
    table->entries[i] = (struct table_entry){key, value};
    return 0;
}

void *table_remove(struct table *table, uint64_t key)
{
    size_t hole, i;
    void *value;

    if (table->count == 0)
        return NULL;
    for (hole = table_place(table, key);
         table->entries[hole].key != key || table->entries[hole].value == NULL;
         hole = (hole + 1) & table->mask)
        if (table->entries[hole].value == NULL)
            return NULL;
    value = table->entries[hole].value;
    table->entries[hole].value = NULL;
    table->count--;
    /* Move back every later entry that the hole would hide from its search. */
    for (i = (hole + 1) & table->mask; table->entries[i].value != NULL; i = (i + 1) & table->mask) {
        size_t home = table_place(table, table->entries[i].key);

        if (((i - home) & table->mask) >= ((i - hole) & table->mask)) {
            table->entries[hole] = table->entries[i];
            table->entries[i].value = NULL;
            hole = i;
        }
    }
    return value;
}

void table_clear(struct table *table)
{
    free(table->entries);
    memset(table, 0, sizeof(*table));
}
