#define _GNU_SOURCE
#include "proto/table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "proto/utf8.h"

#define GAP 2
#define CELL_SIZE 512

void table_init(struct table *table, const char *const *titles, size_t columns, unsigned right)
{
    memset(table, 0, sizeof(*table));
    table->columns = columns;
    table->right = right;
    for (size_t i = 0; i < columns; i++)
        table_add(table, titles[i]);
}

static void cells_forget(struct table *table)
{
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i]);
    table->count = 0;
}

void table_free(struct table *table)
{
    cells_forget(table);
    free(table->cells);
    memset(table, 0, sizeof(*table));
}

/* ---- cells ---- */

/* Columns that a character takes. */
static unsigned width_of(uint32_t character)
{
    int width = wcwidth((wchar_t)character);

    return width >= 0 ? (unsigned)width : 1; /* the locale may know ASCII only */
}

static bool is_disturbing(uint32_t character)
{
    return character < ' ' || (character >= 0x7f && character < 0xa0);
}

/* A copy in which everything is a visible character. */
static char *cell_make(const char *text)
{
    size_t size = strlen(text);
    char *cell = malloc(size + 1), *next = cell;

    while (cell != NULL && size > 0) {
        uint32_t character;
        size_t length = utf8_next(text, size, &character);

        if (length == 0 || is_disturbing(character)) {
            *next++ = '?';
            length = length == 0 ? 1 : length;
        } else {
            memcpy(next, text, length);
            next += length;
        }
        text += length;
        size -= length;
    }
    if (cell != NULL)
        *next = '\0';
    return cell;
}

void table_add(struct table *table, const char *text)
{
    char *cell = cell_make(text);

    if (cell != NULL && table->count == table->room) {
        size_t room = table->room != 0 ? 2 * table->room : 64;
        char **cells = realloc(table->cells, room * sizeof(*cells));

        if (cells != NULL) {
            table->cells = cells;
            table->room = room;
        }
    }
    if (cell == NULL || table->count == table->room) {
        table->failed = true;
        free(cell);
        return;
    }
    table->cells[table->count++] = cell;
}

void table_add_format(struct table *table, const char *format, ...)
{
    char text[CELL_SIZE];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    table_add(table, text);
}

/* ---- printing ---- */

static unsigned cell_width(const char *cell)
{
    size_t size = strlen(cell);
    unsigned width = 0;
    uint32_t character;

    for (size_t length; size > 0; cell += length, size -= length) {
        length = utf8_next(cell, size, &character);
        width += width_of(character);
    }
    return width;
}

/* Print as much as fits, and count what is left. */
static void put_cut(FILE *stream, const char *text, unsigned *left)
{
    size_t size = strlen(text);
    uint32_t character;

    for (size_t length; size > 0; text += length, size -= length) {
        length = utf8_next(text, size, &character);
        if (width_of(character) > *left) {
            *left = 0;
            return;
        }
        *left -= width_of(character);
        fwrite(text, 1, length, stream);
    }
}

static void put_spaces(FILE *stream, unsigned count, unsigned *left)
{
    for (; count > 0 && *left > 0; count--, --*left)
        fputc(' ', stream);
}

static void row_print(const struct table *table, char *const *cells, FILE *stream, unsigned left)
{
    size_t last = table->columns;

    while (last > 1 && cells[last - 1][0] == '\0')
        last--; /* no blanks at the end of a line */
    for (size_t i = 0; i < last; i++) {
        unsigned pad = table->widths[i] - cell_width(cells[i]);
        bool right = table->right >> i & 1;

        if (right)
            put_spaces(stream, pad, &left);
        put_cut(stream, cells[i], &left);
        if (i + 1 < last)
            put_spaces(stream, (right ? 0 : pad) + GAP, &left);
    }
    fputc('\n', stream);
}

void table_print(struct table *table, FILE *stream, unsigned width)
{
    for (size_t i = 0; i < table->count; i++) {
        unsigned this = cell_width(table->cells[i]);

        if (this > table->widths[i % table->columns])
            table->widths[i % table->columns] = this;
    }
    for (size_t i = 0; i + table->columns <= table->count; i += table->columns)
        row_print(table, table->cells + i, stream, width != 0 ? width : ~0u);
    cells_forget(table);
}

unsigned table_screen_width(void)
{
    struct winsize size;

    if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0)
        return 0;
    return size.ws_col;
}
