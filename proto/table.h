/*
 * Columns of text. Cells may be any bytes: what would disturb a screen is shown as '?'.
 */
#ifndef C4P_PROTO_TABLE_H
#define C4P_PROTO_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define TABLE_MAX_COLUMNS 8

struct table {
    size_t columns;
    unsigned right;                     /* bits of the columns that are aligned at the right */
    unsigned widths[TABLE_MAX_COLUMNS]; /* of what was printed */
    char **cells;
    size_t count, room;
    bool failed; /* memory is exhausted */
};

/* With a row of titles. */
void table_init(struct table *table, const char *const *titles, size_t columns, unsigned right);
void table_free(struct table *table);

/* The next cell, from the left. */
void table_add(struct table *table, const char *text);
void table_add_format(struct table *table, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * The rows that were added since the last time, which are forgotten by that: a long table is printed in
 * parts, and its columns only get wider. Lines are cut to so many columns of the screen; 0: not at all.
 */
void table_print(struct table *table, FILE *stream, unsigned width);

/* Columns of the terminal that standard output is; 0: it is none. */
unsigned table_screen_width(void);

#endif
