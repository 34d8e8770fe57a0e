#include "tests/sim/location_pe.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <utlist.h>

/* Each event leads to a few others at most: a world that goes on for longer goes on for ever. */
#define EVENTS_OF_A_MESSAGE 10000

void nomads_check(struct nomads *nomads, bool right, const char *format, ...)
{
    va_list arguments;

    if (right || nomads->failure[0] != '\0')
        return;
    va_start(arguments, format);
    vsnprintf(nomads->failure, sizeof(nomads->failure), format, arguments);
    va_end(arguments);
}

void *nomads_memory(void *memory)
{
    if (memory != NULL)
        return memory;
    fprintf(stderr, "no memory for the elements\n");
    exit(2);
}

/* ---- chance ---- */

/* Marsaglia, "Xorshift RNGs" (2003), with Vigna's multiplier. */
unsigned nomads_below(struct nomads *nomads, unsigned limit)
{
    nomads->random ^= nomads->random >> 12;
    nomads->random ^= nomads->random << 25;
    nomads->random ^= nomads->random >> 27;
    return (unsigned)((nomads->random * 0x2545f4914f6cdd1dull >> 33) % limit);
}

bool nomads_chance(struct nomads *nomads, unsigned of_thousand)
{
    return of_thousand > 0 && nomads_below(nomads, 1000) < of_thousand;
}

/* ---- messages and queues ---- */

struct message *message_create(struct nomads *nomads, enum kind kind, unsigned origin,
                               unsigned element)
{
    struct message *message = nomads_memory(calloc(1, sizeof(*message)));

    message->kind = kind;
    message->origin = message->maker = origin;
    message->element = element;
    nomads->messages++;
    return message;
}

void message_destroy(struct nomads *nomads, struct message *message)
{
    nomads->messages--;
    free(message);
}

void messages_destroy(struct nomads *nomads, struct message *messages)
{
    struct message *message, *next;

    DL_FOREACH_SAFE(messages, message, next)
    message_destroy(nomads, message);
}

static void queue_put(struct nomads *nomads, unsigned queue, struct message *message)
{
    if (nomads->queues[queue] == NULL) {
        nomads->position[queue] = nomads->waiting_count;
        nomads->waiting[nomads->waiting_count++] = queue;
    }
    DL_APPEND(nomads->queues[queue], message);
}

static struct message *queue_take(struct nomads *nomads, unsigned queue)
{
    struct message *message = nomads->queues[queue];

    DL_DELETE(nomads->queues[queue], message);
    if (nomads->queues[queue] == NULL) {
        unsigned last = nomads->waiting[--nomads->waiting_count];

        nomads->waiting[nomads->position[queue]] = last;
        nomads->position[last] = nomads->position[queue];
    }
    return message;
}

void nomads_put(struct nomads *nomads, unsigned source, unsigned target, struct message *message)
{
    message->source = source;
    message->understood = false;
    queue_put(nomads, source * nomads->settings.pes + target, message);
}

void nomads_put_first(struct nomads *nomads, unsigned target, struct message **messages)
{
    unsigned queue = nomads->senders * nomads->settings.pes + target;
    struct message *rest = NULL, *message, *next;

    while ((message = nomads->queues[queue]) != NULL) {
        queue_take(nomads, queue);
        DL_APPEND(rest, message);
    }
    DL_CONCAT(*messages, rest);
    DL_FOREACH_SAFE(*messages, message, next)
    {
        DL_DELETE(*messages, message);
        queue_put(nomads, queue, message);
    }
}

void nomads_park(struct nomads *nomads, unsigned pe, struct message *message)
{
    DL_APPEND(nomads->parked[pe], message);
    nomads->parked_count++;
}

/* The class has come: a message like any other, so that what is before all that comes is before it. */
static void nomads_unpark(struct nomads *nomads, unsigned pe)
{
    unsigned first = nomads->senders * nomads->settings.pes + pe;
    struct message *message, *next;

    if (nomads->queues[first] != NULL)
        return;
    DL_FOREACH_SAFE(nomads->parked[pe], message, next)
    {
        DL_DELETE(nomads->parked[pe], message);
        nomads->parked_count--;
        queue_put(nomads, first, message);
    }
}

/* Lazy queues are passed over, so that some are behind others for long. */
static unsigned queue_choose(struct nomads *nomads)
{
    unsigned queue = 0;

    for (unsigned tries = 0; tries < 20; tries++) {
        queue = nomads->waiting[nomads_below(nomads, nomads->waiting_count)];
        if (!nomads_chance(nomads, nomads->laziness[queue]))
            break;
    }
    return queue;
}

/* An element is in one place: counted by what PEs believe. */
static void element_check_place(struct nomads *nomads, unsigned element)
{
    const struct nomad *nomad = &nomads->nomads[element];
    unsigned places = nomad->travels;

    for (unsigned pe = 0; pe < nomads->settings.pes; pe++) {
        const struct known *known = known_find(nomads, pe, element);

        places += known != NULL ? known->location.here : nomad->home == pe;
    }
    nomads_check(nomads, places == 1, "element %u is in %u places", element, places);
}

static void nomads_deliver(struct nomads *nomads)
{
    unsigned queue = queue_choose(nomads), target = queue % nomads->settings.pes;
    unsigned first = nomads->senders * nomads->settings.pes + target;
    struct message *message = queue_take(nomads, nomads->queues[first] != NULL ? first : queue);
    unsigned element = message->element;

    pe_handle(nomads, target, message);
    element_check_place(nomads, element);
}

static void nomads_step(struct nomads *nomads)
{
    nomads->figures.events++;
    if (nomads->waiting_count == 0 || (nomads->parked_count > 0 && nomads_chance(nomads, 50)))
        nomads_unpark(nomads, nomads_below(nomads, nomads->settings.pes));
    else
        nomads_deliver(nomads);
    if (!nomads->settles && nomads_chance(nomads, nomads->settings.restless))
        nomads_wander(nomads, nomads_below(nomads, nomads->settings.elements));
}

/* ---- what senders and elements do ---- */

void nomads_send(struct nomads *nomads, unsigned sender, unsigned element)
{
    struct message *message = message_create(nomads, CALL, sender, element);

    message->sequence = nomads->calls[sender * nomads->settings.elements + element]++;
    if (sender < nomads->settings.pes) {
        nomads->figures.calls++;
        pe_send(nomads, sender, message);
    } else {
        nomads_put(nomads, sender, nomads->nomads[element].home, message);
    }
}

static void nomads_broadcast(struct nomads *nomads, unsigned sender)
{
    unsigned sequence = nomads->broadcasts[sender]++;

    for (unsigned pe = 0; pe < nomads->settings.pes; pe++) {
        struct message *message = message_create(nomads, BROADCAST, sender, 0);

        message->sequence = sequence;
        nomads_put(nomads, sender, pe, message);
    }
}

void nomads_say_something(struct nomads *nomads, unsigned sender)
{
    if (nomads->sends_left == 0)
        return;
    nomads->sends_left--;
    if (nomads_chance(nomads, nomads->settings.broadcasts))
        nomads_broadcast(nomads, sender);
    else if (nomads_chance(nomads, nomads->settings.hot))
        nomads_send(nomads, sender, 0);
    else
        nomads_send(nomads, sender, nomads_below(nomads, nomads->settings.elements));
}

bool nomads_move(struct nomads *nomads, unsigned element, unsigned pe)
{
    if (nomads->nomads[element].travels)
        return false;
    pe_move(nomads, element, pe);
    return true;
}

void nomads_wander(struct nomads *nomads, unsigned element)
{
    const struct nomad *nomad = &nomads->nomads[element];

    if (nomads_chance(nomads, nomads->settings.homing))
        nomads_move(nomads, element, nomad->home);
    else if (nomads_chance(nomads, nomads->settings.staying))
        nomads_move(nomads, element, nomad->pe);
    else
        nomads_move(nomads, element, nomads_below(nomads, nomads->settings.pes));
}

/* ---- the whole ---- */

struct nomads *nomads_create(const struct nomads_settings *settings)
{
    static const unsigned lazinesses[] = {0, 0, 500, 900, 990};
    struct nomads *nomads = nomads_memory(calloc(1, sizeof(*nomads)));
    unsigned senders = settings->pes + settings->clients;
    unsigned queues = (senders + 1) * settings->pes;

    nomads->settings = *settings;
    nomads->random = (settings->seed + 1) * 0x9e3779b97f4a7c15ull;
    nomads->senders = senders;
    nomads->sends_left = settings->sends;
    nomads->queue_count = queues;
    nomads->queues = nomads_memory(calloc(queues, sizeof(*nomads->queues)));
    nomads->laziness = nomads_memory(calloc(queues, sizeof(*nomads->laziness)));
    nomads->waiting = nomads_memory(calloc(queues, sizeof(*nomads->waiting)));
    nomads->position = nomads_memory(calloc(queues, sizeof(*nomads->position)));
    nomads->nomads = nomads_memory(calloc(settings->elements, sizeof(*nomads->nomads)));
    nomads->known =
        nomads_memory(calloc((size_t)settings->pes * settings->elements, sizeof(*nomads->known)));
    nomads->calls =
        nomads_memory(calloc((size_t)senders * settings->elements, sizeof(*nomads->calls)));
    nomads->parked = nomads_memory(calloc(settings->pes, sizeof(*nomads->parked)));
    nomads->broadcasts = nomads_memory(calloc(senders, sizeof(*nomads->broadcasts)));
    for (unsigned i = 0; i < queues; i++)
        nomads->laziness[i] =
            lazinesses[nomads_below(nomads, sizeof(lazinesses) / sizeof(lazinesses[0]))];
    for (unsigned element = 0; element < settings->elements; element++) {
        struct nomad *nomad = &nomads->nomads[element];

        nomad->home = nomad->pe = nomads_below(nomads, settings->pes);
        nomad->calls = nomads_memory(calloc(senders, sizeof(*nomad->calls)));
        nomad->broadcasts = nomads_memory(calloc(senders, sizeof(*nomad->broadcasts)));
    }
    return nomads;
}

void nomads_destroy(struct nomads *nomads)
{
    while (nomads->waiting_count > 0)
        message_destroy(nomads, queue_take(nomads, nomads->waiting[0]));
    for (unsigned pe = 0; pe < nomads->settings.pes; pe++)
        messages_destroy(nomads, nomads->parked[pe]);
    for (unsigned element = 0; element < nomads->settings.elements; element++) {
        for (unsigned pe = 0; pe < nomads->settings.pes; pe++)
            known_destroy(known_find(nomads, pe, element));
        free(nomads->nomads[element].calls);
        free(nomads->nomads[element].broadcasts);
    }
    free(nomads->parked);
    free(nomads->broadcasts);
    free(nomads->calls);
    free(nomads->known);
    free(nomads->nomads);
    free(nomads->position);
    free(nomads->waiting);
    free(nomads->laziness);
    free(nomads->queues);
    free(nomads);
}

struct nomads_figures nomads_figures(const struct nomads *nomads)
{
    return nomads->figures;
}

const char *nomads_failure(const struct nomads *nomads)
{
    return nomads->failure;
}

void nomads_drain(struct nomads *nomads)
{
    uint64_t most = nomads->figures.events +
                    EVENTS_OF_A_MESSAGE * (uint64_t)(nomads->messages + nomads->settings.elements);

    while (nomads->waiting_count + nomads->parked_count > 0 && nomads->failure[0] == '\0') {
        nomads_step(nomads);
        nomads_check(nomads, nomads->figures.events < most, "it never comes to rest");
    }
}

void nomads_live(struct nomads *nomads)
{
    while (nomads->sends_left > 0 && nomads->failure[0] == '\0') {
        if (nomads->waiting_count == 0 ||
            (nomads->messages < nomads->settings.under_way && nomads_chance(nomads, 300)))
            nomads_say_something(nomads, nomads_below(nomads, nomads->senders));
        else
            nomads_step(nomads);
    }
    nomads->settles = true;
    nomads_drain(nomads);
}

/* ---- at rest ---- */

static void check_home(struct nomads *nomads, const struct known *known)
{
    const struct location *location = &known->location;
    unsigned place = nomads->nomads[known->element].pe;

    nomads_check(nomads, location->place == place && !location->moving && !location->away,
                 "home %u of element %u takes it to be %s PE %u, it is on PE %u", known->pe,
                 known->element, location->moving ? "on its way from" : "on", location->place,
                 place);
    nomads_check(nomads, place != known->pe, "home %u knows of element %u what could be computed",
                 known->pe, known->element);
    for (uint32_t i = 0; i < location->direct_count; i++) {
        const struct known *sender = known_find(nomads, location->direct[i], known->element);

        nomads_check(nomads,
                     sender != NULL && sender->location.route == ROUTE_DIRECT &&
                         sender->location.place == place,
                     "PE %u does not know the direct way to element %u on PE %u",
                     location->direct[i], known->element, place);
    }
}

static void check_rest(struct nomads *nomads, const struct known *known)
{
    const struct location *location = &known->location;
    const struct nomad *nomad = &nomads->nomads[known->element];

    nomads_check(nomads, known->held == NULL && known->kept == NULL,
                 "something for element %u is still %s on PE %u", known->element,
                 known->held != NULL ? "held back" : "kept", known->pe);
    nomads_check(nomads, location->here == (nomad->pe == known->pe) && !nomad->travels,
                 "PE %u does not know whether element %u is there", known->pe, known->element);
    if (location->here)
        nomads_check(nomads,
                     location->landed && location->confirmed && !location->frozen &&
                         !location->granted && location->recalls == 0,
                     "element %u does not come to rest on PE %u", known->element, known->pe);
    if (nomad->home == known->pe)
        check_home(nomads, known);
    else
        nomads_check(nomads,
                     location->route == ROUTE_HOME
                         ? location->here
                         : location->route == ROUTE_DIRECT && location->place == nomad->pe,
                     "PE %u has not settled how to reach element %u", known->pe, known->element);
}

static void check_arrived(struct nomads *nomads, unsigned element)
{
    const struct nomad *nomad = &nomads->nomads[element];

    for (unsigned sender = 0; sender < nomads->senders; sender++) {
        unsigned calls = nomads->calls[sender * nomads->settings.elements + element];

        nomads_check(nomads, nomad->calls[sender] == calls,
                     "%u of %u calls of sender %u came to element %u", nomad->calls[sender], calls,
                     sender, element);
        nomads_check(nomads, nomad->broadcasts[sender] == nomads->broadcasts[sender],
                     "%u of %u broadcasts of sender %u came to element %u",
                     nomad->broadcasts[sender], nomads->broadcasts[sender], sender, element);
    }
}

static void check_all(struct nomads *nomads)
{
    for (unsigned element = 0; element < nomads->settings.elements; element++) {
        check_arrived(nomads, element);
        for (unsigned pe = 0; pe < nomads->settings.pes; pe++)
            if (known_find(nomads, pe, element) != NULL)
                check_rest(nomads, known_find(nomads, pe, element));
    }
    nomads_check(nomads, nomads->messages == 0, "%u messages are somewhere", nomads->messages);
}

static void all_send(struct nomads *nomads)
{
    for (unsigned sender = 0; sender < nomads->senders; sender++) {
        for (unsigned element = 0; element < nomads->settings.elements; element++)
            nomads_send(nomads, sender, element);
        nomads_broadcast(nomads, sender);
    }
    nomads_drain(nomads);
    check_all(nomads);
}

void nomads_settle(struct nomads *nomads)
{
    uint64_t forwards;

    nomads->settles = true;
    nomads_drain(nomads);
    check_all(nomads);
    all_send(nomads);
    forwards = nomads->figures.forwards;
    all_send(nomads);
    /* A home knows where its own elements are: what it sends is never forwarded. */
    nomads_check(nomads, nomads->figures.forwards == forwards,
                 "%llu messages did not go the direct way, which everybody had been told",
                 (unsigned long long)(nomads->figures.forwards - forwards));
}
