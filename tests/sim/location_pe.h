/*
 * What location_world.c (queues, chance, and what must be true in the end) and location_pe.c (what a PE
 * does with what comes) share.
 */
#ifndef C4P_TESTS_LOCATION_PE_H
#define C4P_TESTS_LOCATION_PE_H

#include "proto/location.h"
#include "tests/sim/location_world.h"

enum kind {
    CALL,      /* for an element */
    COPY,      /* of a broadcast, for one element */
    SETTLE,    /* for an element, but of its PE */
    WORD,      /* of a PE, about an element */
    ELEMENT,   /* it comes itself */
    BROADCAST, /* to the home of elements, for all of them */
    SHARE,     /* from the home of elements, for those that live here */
    KINDS
};

struct message {
    struct message *prev, *next;
    enum kind kind;
    unsigned source, origin; /* who sent it here, and at first */
    unsigned maker;          /* as a PE sees it: of a broadcast's copy, who has made that */
    bool forwarded;
    bool resumed,
        understood; /* has waited for a class, and is handled again; need not wait any more */
    unsigned element;
    unsigned sequence; /* of the origin's calls to the element, or of its broadcasts */
    enum location_word word;
    uint32_t number;
};

/* What a PE has to know of an element. */
struct known {
    struct location
        location; /* the first: a struct location of the core's callbacks is one of these */
    struct nomads *nomads;
    unsigned pe, element;
    struct message *held, *kept;
};

/* What is true of an element. */
struct nomad {
    unsigned home, pe;
    bool travels;
    unsigned *calls, *broadcasts; /* that it has handled, of each sender */
};

struct nomads {
    struct nomads_settings settings;
    struct nomads_figures figures;
    uint64_t random;
    unsigned senders; /* PEs, then clients */
    struct nomad *nomads;
    struct known **known;          /* [pe][element] */
    unsigned *calls, *broadcasts;  /* sent: [sender][element]; [sender] */
    unsigned sends_left, messages; /* that exist */
    bool settles;                  /* nobody wants to move any more */
    /* [source][target], and behind them [target] what has waited there, and is before all that comes */
    unsigned queue_count;
    struct message **queues;
    unsigned *laziness; /* of a thousand */
    unsigned *waiting, *position, waiting_count;
    /* [pe]: what waits for a class that the PE has asked for, and what has to wait behind that */
    struct message **parked;
    unsigned parked_count;
    char failure[NOMADS_FAILURE_SIZE];
};

/* The first thing that is found to be wrong is kept. */
void nomads_check(struct nomads *nomads, bool right, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
unsigned nomads_below(struct nomads *nomads, unsigned limit);
bool nomads_chance(struct nomads *nomads, unsigned of_thousand);
void *nomads_memory(void *memory);

struct message *message_create(struct nomads *nomads, enum kind kind, unsigned origin,
                               unsigned element);
void message_destroy(struct nomads *nomads, struct message *message);
void messages_destroy(struct nomads *nomads, struct message *messages);
/* Now owned by the queue. */
void nomads_put(struct nomads *nomads, unsigned source, unsigned target, struct message *message);
/* ... before all that has come: the rest of what waits there first has come later, too. */
void nomads_put_first(struct nomads *nomads, unsigned target, struct message **messages);
/* It waits for a class, or behind one that does. */
void nomads_park(struct nomads *nomads, unsigned pe, struct message *message);
/* A sender says something to somebody, or to all. */
void nomads_say_something(struct nomads *nomads, unsigned sender);
void nomads_wander(struct nomads *nomads, unsigned element);

struct known *known_find(const struct nomads *nomads, unsigned pe, unsigned element);
struct known *known_make(struct nomads *nomads, unsigned pe, unsigned element);
void known_destroy(struct known *known);

/* The PE handles a message, now its own. */
void pe_handle(struct nomads *nomads, unsigned pe, struct message *message);
/* It sends a call of its own. */
void pe_send(struct nomads *nomads, unsigned pe, struct message *message);
void pe_move(struct nomads *nomads, unsigned element, unsigned to);

#endif
