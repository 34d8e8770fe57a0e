#include "client/cli/tail.h"

#include <stdlib.h>
#include <string.h>

struct tail_piece {
    struct tail_piece *next;
    struct c4p_event event;
    uint64_t lines; /* newlines in it */
    char data[];
};

void tail_init(struct tail *tail, uint64_t wanted)
{
    memset(tail, 0, sizeof(*tail));
    tail->wanted = wanted;
}

static void first_drop(struct tail *tail)
{
    struct tail_piece *first = tail->first;

    tail->first = first->next;
    if (tail->first == NULL)
        tail->last = NULL;
    tail->lines -= first->lines;
    free(first);
}

void tail_free(struct tail *tail)
{
    while (tail->first != NULL)
        first_drop(tail);
}

static struct tail_piece *piece_make(const struct c4p_event *event)
{
    struct tail_piece *piece = malloc(sizeof(*piece) + event->data_size);

    if (piece == NULL)
        return NULL;
    memcpy(piece->data, event->data, event->data_size);
    piece->next = NULL;
    piece->event = *event;
    piece->event.data = piece->data;
    piece->event.text = piece->event.tail = "";
    piece->lines = 0;
    for (size_t i = 0; i < event->data_size; i++)
        piece->lines += piece->data[i] == '\n';
    return piece;
}

bool tail_add(struct tail *tail, const struct c4p_event *event)
{
    struct tail_piece *piece = piece_make(event);

    if (piece == NULL)
        return false;
    if (tail->last != NULL)
        tail->last->next = piece;
    else
        tail->first = piece;
    tail->last = piece;
    tail->lines += piece->lines;
    while (tail->first != tail->last && tail->lines - tail->first->lines >= tail->wanted)
        first_drop(tail);
    return true;
}

/* Is there a line at the end that is not complete? */
static bool is_unfinished(const struct tail *tail)
{
    const struct c4p_event *last = &tail->last->event;

    return last->data_size > 0 && last->data[last->data_size - 1] != '\n';
}

/* Leave lines out at the start of a piece; how many are still to be left out. */
static uint64_t lines_skip(struct c4p_event *event, uint64_t excess)
{
    while (excess > 0 && event->data_size > 0) {
        const char *newline = memchr(event->data, '\n', event->data_size);
        size_t size = newline != NULL ? (size_t)(newline + 1 - event->data) : event->data_size;

        event->data += size;
        event->data_size -= size;
        excess -= newline != NULL;
    }
    return excess;
}

void tail_give(struct tail *tail, void (*take)(void *context, const struct c4p_event *piece),
               void *context)
{
    uint64_t lines, excess;

    if (tail->first == NULL)
        return;
    lines = tail->lines + is_unfinished(tail);
    excess = lines > tail->wanted ? lines - tail->wanted : 0;
    for (; tail->first != NULL; first_drop(tail)) {
        excess = lines_skip(&tail->first->event, excess);
        if (tail->first->event.data_size > 0)
            take(context, &tail->first->event);
    }
}
