/*
 * A hash table from 64-bit keys to pointers: open addressing, linear probing,
 * deletion by moving back what follows. Keys are counters and hashes already,
 * so one multiplication spreads them. Zeroed memory is an empty table.
 */
#ifndef C4P_EXT_TABLE_H
#define C4P_EXT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table_entry {
    uint64_t key;
    void *value; /* NULL: free */
};

struct table {
    struct table_entry *entries;
    size_t mask; /* room - 1; room is a power of two */
    size_t count;
    unsigned shift;
};

static inline size_t table_place(const struct table *table, uint64_t key)
{
    return (size_t)((key * 0x9e3779b97f4a7c15u) >> table->shift);
}

/* The value of a key, NULL if there is none. */
static inline void *table_get(const struct table *table, uint64_t key)
{
    if (table->count == 0)
        return NULL;
    for (size_t i = table_place(table, key);; i = (i + 1) & table->mask) {
        if (table->entries[i].value == NULL)
            return NULL;
        if (table->entries[i].key == key)
            return table->entries[i].value;
    }
}

/* Set a value, not NULL. Returns 0, or -1 without memory. */
int table_set(struct table *table, uint64_t key, void *value);

/* Remove everything, and give the memory back. */
void table_clear(struct table *table);

/* Remove a key; returns its value, NULL if it was not there. */
void *table_remove(struct table *table, uint64_t key);

#endif
