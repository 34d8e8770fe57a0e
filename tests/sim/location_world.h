/*
 * Elements that wander among PEs, each PE with the real proto/location.c around which this is a model of
 * what a PE does: it sends, forwards, holds back, keeps, and hands elements over.
 *
 * From each PE, and each client, to each PE (itself included) there is a queue that keeps its order;
 * chance says which of them delivers next. A PE does one thing at a time. An element that handles a
 * message may send, and may ask to be moved; it may do so at any other time as well. What names a class
 * that a PE does not know waits there, and behind it what must not overtake it (broadcasts may: copies
 * of them come from several PEs).
 *
 * After every event: each element is at one place or on its way to one; it has handled the calls of each
 * sender in their order and each once, broadcasts as well; only its home has forwarded anything; no
 * word was senseless. nomads_settle() lets everything arrive, and then nobody may hold anything or know
 * anything that is wrong, two messages of everybody to everybody must arrive, and those of the second
 * time must go the direct way.
 */
#ifndef C4P_TESTS_LOCATION_WORLD_H
#define C4P_TESTS_LOCATION_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#define NOMADS_FAILURE_SIZE 256

struct nomads;

/* Chances are of a thousand. */
struct nomads_settings {
    uint64_t seed;
    unsigned pes, elements;
    unsigned clients;    /* senders who are told nothing */
    unsigned sends;      /* so many messages of nomads_live() */
    unsigned under_way;  /* no more of them than so many at a time */
    unsigned broadcasts; /* that one goes to all elements */
    unsigned hot;        /* that one goes to element 0, whatever the others */
    unsigned answers;    /* that an element that handles one sends another one */
    unsigned moves;      /* that an element that handles one wants to move */
    unsigned restless;   /* that an element wants to move between two events */
    unsigned homing;     /* that it wants to go home */
    unsigned staying;    /* that it wants to go where it is */
    unsigned refusals;   /* that it cannot leave when it may */
    unsigned strange;    /* that an element or a message names a class that the PE has to ask for */
};

struct nomads_figures {
    uint64_t events;
    uint64_t calls,
        runs;          /* sent by PEs; handled by an element, whoever sent them, and broadcasts */
    uint64_t forwards; /* of these calls, by a home, on their way or after they were held back */
    uint64_t words;    /* that PEs said to each other of elements, SETTLE included */
    uint64_t moves, refusals;
};

struct nomads *nomads_create(const struct nomads_settings *settings);
void nomads_destroy(struct nomads *nomads);

/* One call, from a PE, or from client `sender - pes`. */
void nomads_send(struct nomads *nomads, unsigned sender, unsigned element);
/* The element is where it can be asked to move, and was asked. */
bool nomads_move(struct nomads *nomads, unsigned element, unsigned pe);

/* All that the settings say, to its end; and what is under way, to its end. */
void nomads_live(struct nomads *nomads);
void nomads_drain(struct nomads *nomads);
void nomads_settle(struct nomads *nomads);

struct nomads_figures nomads_figures(const struct nomads *nomads);
/* What was found to be wrong, or empty. */
const char *nomads_failure(const struct nomads *nomads);

#endif
