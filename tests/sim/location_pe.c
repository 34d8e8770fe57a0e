#include "tests/sim/location_pe.h"

#include <stdlib.h>

#include <utlist.h>

/* ---- what a PE knows ---- */

static struct known **known_slot(const struct nomads *nomads, unsigned pe, unsigned element)
{
    return &nomads->known[pe * nomads->settings.elements + element];
}

struct known *known_find(const struct nomads *nomads, unsigned pe, unsigned element)
{
    return *known_slot(nomads, pe, element);
}

struct known *known_make(struct nomads *nomads, unsigned pe, unsigned element)
{
    struct known **slot = known_slot(nomads, pe, element);

    if (*slot != NULL)
        return *slot;
    *slot = nomads_memory(calloc(1, sizeof(**slot)));
    location_begin(&(*slot)->location, pe, nomads->nomads[element].home);
    (*slot)->nomads = nomads;
    (*slot)->pe = pe;
    (*slot)->element = element;
    return *slot;
}

void known_destroy(struct known *known)
{
    if (known == NULL)
        return;
    messages_destroy(known->nomads, known->held);
    messages_destroy(known->nomads, known->kept);
    location_clear(&known->location);
    *known_slot(known->nomads, known->pe, known->element) = NULL;
    free(known);
}

static void known_forget(struct known *known)
{
    if (known != NULL && known->held == NULL && known->kept == NULL &&
        location_is_idle(&known->location, known->pe))
        known_destroy(known);
}

/* ---- what the core wants to have done ---- */

static int say(void *context, struct location *location, uint32_t pe, enum location_word word,
               uint32_t number)
{
    struct nomads *nomads = context;
    const struct known *known = (struct known *)location;
    struct message *message =
        message_create(nomads, word == LOCATION_SETTLE ? SETTLE : WORD, known->pe, known->element);

    message->word = word;
    message->number = number;
    nomads->figures.words++;
    nomads_put(nomads, known->pe, pe, message);
    return 0;
}

/* What a sender has held back goes for the first time, what a home has is sent on. */
static int let_go(void *context, struct location *location, uint32_t pe)
{
    struct nomads *nomads = context;
    struct known *known = (struct known *)location;
    bool home = location->home == known->pe;
    struct message *message, *next;

    if (pe == known->pe) {
        nomads_put_first(nomads, pe, &known->held);
        return 0;
    }
    DL_FOREACH_SAFE(known->held, message, next)
    {
        DL_DELETE(known->held, message);
        message->forwarded = home;
        nomads->figures.forwards += home && message->kind == CALL && message->origin != known->pe &&
                                    message->origin < nomads->settings.pes;
        nomads_put(nomads, known->pe, pe, message);
    }
    return 0;
}

static int depart(void *context, struct location *location, uint32_t to)
{
    struct nomads *nomads = context;
    struct known *known = (struct known *)location;
    struct nomad *nomad = &nomads->nomads[known->element];
    bool stays = nomads_chance(nomads, nomads->settings.refusals);
    struct message *message, *next;

    nomads_check(nomads, nomad->pe == known->pe && !nomad->travels,
                 "element %u departs from PE %u, where it is not", known->element, known->pe);
    nomad->travels = !stays;
    nomads->figures.moves += !stays;
    nomads->figures.refusals += stays;
    if (!stays)
        nomads_put(nomads, known->pe, to,
                   message_create(nomads, ELEMENT, known->pe, known->element));
    DL_FOREACH(known->kept, message)
    message->forwarded = true;
    if (stays)
        nomads_put_first(nomads, known->pe, &known->kept);
    DL_FOREACH_SAFE(known->kept, message, next)
    {
        DL_DELETE(known->kept, message);
        nomads_put(nomads, known->pe, to, message);
    }
    return stays;
}

static struct location_operations operations_of(struct nomads *nomads)
{
    return (struct location_operations){say, let_go, depart, nomads};
}

/* ---- elements ---- */

static void element_check(struct nomads *nomads, unsigned pe, unsigned element, unsigned sender,
                          unsigned sequence, unsigned *handled, bool broadcast)
{
    const char *what = broadcast ? "broadcast" : "call";
    const struct nomad *nomad = &nomads->nomads[element];

    nomads_check(nomads, nomad->pe == pe && !nomad->travels,
                 "PE %u handles a %s for element %u, which is not there", pe, what, element);
    nomads_check(nomads, sequence == *handled || (nomads->settings.strange > 0 && broadcast),
                 "element %u on PE %u handles %s %u of sender %u when it should be %u", element, pe,
                 what, sequence, sender, *handled);
    ++*handled;
    nomads->figures.runs++;
}

/* What an element does because of a message. */
static void element_act(struct nomads *nomads, unsigned pe, unsigned element)
{
    if (nomads->settles)
        return;
    if (nomads_chance(nomads, nomads->settings.answers))
        nomads_say_something(nomads, pe);
    if (nomads_chance(nomads, nomads->settings.moves))
        nomads_wander(nomads, element);
    if (nomads_chance(nomads, nomads->settings.answers))
        nomads_say_something(nomads, pe);
}

static void element_share(struct nomads *nomads, unsigned pe, unsigned element, unsigned sender,
                          unsigned sequence)
{
    element_check(nomads, pe, element, sender, sequence,
                  &nomads->nomads[element].broadcasts[sender], true);
    element_act(nomads, pe, element);
}

static void element_run(struct nomads *nomads, unsigned pe, const struct message *message)
{
    unsigned element = message->element;
    struct known *known = known_find(nomads, pe, element);

    if (message->kind == COPY) {
        element_share(nomads, pe, element, message->origin, message->sequence);
    } else if (message->kind == SETTLE) {
        if (known == NULL)
            known = known_make(nomads, pe, element);
        say(nomads, &known->location, message->origin, LOCATION_SETTLED, 0);
    } else {
        element_check(nomads, pe, element, message->origin, message->sequence,
                      &nomads->nomads[element].calls[message->origin], false);
        element_act(nomads, pe, element);
    }
}

void pe_move(struct nomads *nomads, unsigned element, unsigned to)
{
    struct location_operations operations = operations_of(nomads);

    location_move(&known_make(nomads, nomads->nomads[element].pe, element)->location, to,
                  &operations);
}

/* ---- classes that are not known yet ---- */

/* What names one waits, but only once. A home has read what there are copies of. */
static bool is_strange(struct nomads *nomads, unsigned pe, struct message *message)
{
    if (message->understood || message->maker == pe ||
        (message->kind == COPY && nomads->nomads[message->element].home == pe))
        return false;
    message->understood = true;
    if (!nomads_chance(nomads, nomads->settings.strange))
        return false;
    nomads_park(nomads, pe, message);
    return true;
}

/* No word overtakes a message that waits, so that no element leaves without what is for it. */
static bool has_to_wait(const struct nomads *nomads, unsigned pe, const struct message *message)
{
    const struct message *other;

    if (message->kind == ELEMENT)
        return false;
    if (message->kind == WORD)
        return nomads->parked[pe] != NULL;
    DL_FOREACH(nomads->parked[pe], other)
    if (other->maker == message->maker ||
        (other->kind == ELEMENT && other->source == message->source))
        return true;
    return false;
}

/* ---- messages for one element ---- */

void pe_send(struct nomads *nomads, unsigned pe, struct message *message)
{
    struct known *known = known_find(nomads, pe, message->element);
    uint32_t to = nomads->nomads[message->element].home;

    if (known != NULL && location_route(&known->location, pe, &to) == LOCATION_HOLD)
        DL_APPEND(known->held, message);
    else
        nomads_put(nomads, pe, to, message);
}

static void send_on(struct nomads *nomads, unsigned pe, unsigned to, struct message *message)
{
    nomads_check(nomads, nomads->nomads[message->element].home == pe,
                 "PE %u forwards what is for element %u, and is not its home", pe,
                 message->element);
    nomads->figures.forwards += message->kind == CALL && message->origin < nomads->settings.pes;
    message->forwarded = true;
    nomads_put(nomads, pe, to, message);
}

static enum location_verdict judge(struct nomads *nomads, unsigned pe, struct message *message,
                                   uint32_t *to)
{
    struct location_operations operations = operations_of(nomads);
    struct known *known = known_find(nomads, pe, message->element);
    bool tell = message->origin < nomads->settings.pes && message->kind != COPY;
    enum location_verdict verdict;

    *to = nomads->nomads[message->element].home;
    if (known == NULL)
        return *to == pe ? LOCATION_RUN : LOCATION_TO;
    location_arrive(&known->location, pe, message->origin, tell, message->forwarded, &operations,
                    &verdict, to);
    return verdict;
}

static void handle_message(struct nomads *nomads, unsigned pe, struct message *message)
{
    struct known *known = known_find(nomads, pe, message->element);
    uint32_t to;

    switch (judge(nomads, pe, message, &to)) {
    case LOCATION_RUN:
        if (message->kind != SETTLE && is_strange(nomads, pe, message))
            break;
        element_run(nomads, pe, message);
        message_destroy(nomads, message);
        break;
    case LOCATION_KEEP:
        DL_APPEND(known->kept, message);
        break;
    case LOCATION_HOLD:
        DL_APPEND(known->held, message);
        break;
    default:
        send_on(nomads, pe, to, message);
    }
}

static void handle_word(struct nomads *nomads, unsigned pe, struct message *message)
{
    struct location_operations operations = operations_of(nomads);
    struct known *known = message->word == LOCATION_PLACE
                              ? known_make(nomads, pe, message->element)
                              : known_find(nomads, pe, message->element);

    nomads_check(nomads,
                 known != NULL && location_hear(&known->location, pe, message->source,
                                                message->word, message->number, &operations) == 0,
                 "word %d (%u) of element %u, from PE %u to PE %u, makes no sense",
                 (int)message->word, message->number, message->element, message->source, pe);
    message_destroy(nomads, message);
}

static void handle_element(struct nomads *nomads, unsigned pe, struct message *message)
{
    struct nomad *nomad = &nomads->nomads[message->element];

    if (is_strange(nomads, pe, message))
        return;
    nomad->pe = pe;
    nomad->travels = false;
    location_install(&known_make(nomads, pe, message->element)->location);
    message_destroy(nomads, message);
}

/* ---- messages for all ---- */

static void append_copy(struct message **chain, struct message *copy)
{
    DL_APPEND(*chain, copy);
}

static struct message *copy_of(struct nomads *nomads, unsigned pe, const struct message *message,
                               enum kind kind, unsigned element)
{
    struct message *copy = message_create(nomads, kind, message->origin, element);

    copy->maker = pe;
    copy->sequence = message->sequence;
    return copy;
}

static void handle_broadcast(struct nomads *nomads, unsigned pe, struct message *message)
{
    uint64_t others = 0;

    if (is_strange(nomads, pe, message))
        return;
    for (unsigned element = 0; element < nomads->settings.elements; element++) {
        struct known *known = known_find(nomads, pe, element);
        enum location_verdict verdict = LOCATION_RUN;
        uint32_t to = pe;

        if (nomads->nomads[element].home != pe)
            continue;
        if (known != NULL)
            verdict = location_share(&known->location, pe, &to);
        if (verdict == LOCATION_RUN)
            element_share(nomads, pe, element, message->origin, message->sequence);
        else if (verdict == LOCATION_KEEP)
            append_copy(&known->kept, copy_of(nomads, pe, message, COPY, element));
        else if (verdict == LOCATION_HOLD)
            append_copy(&known->held, copy_of(nomads, pe, message, COPY, element));
        else
            others |= 1ull << to;
    }
    for (unsigned to = 0; to < nomads->settings.pes; to++)
        if (others >> to & 1)
            nomads_put(nomads, pe, to, copy_of(nomads, pe, message, SHARE, 0));
    message_destroy(nomads, message);
}

static void handle_share(struct nomads *nomads, unsigned pe, struct message *message)
{
    if (is_strange(nomads, pe, message))
        return;
    for (unsigned element = 0; element < nomads->settings.elements; element++) {
        struct known *known = known_find(nomads, pe, element);

        if (known == NULL || known->location.home != message->source ||
            !location_shares(&known->location))
            continue;
        if (known->location.frozen)
            append_copy(&known->kept, copy_of(nomads, pe, message, COPY, element));
        else
            element_share(nomads, pe, element, message->origin, message->sequence);
    }
    message_destroy(nomads, message);
}

/* ---- */

void pe_handle(struct nomads *nomads, unsigned pe, struct message *message)
{
    static void (*const handles[KINDS])(struct nomads *, unsigned, struct message *) = {
        [CALL] = handle_message, [COPY] = handle_message,    [SETTLE] = handle_message,
        [WORD] = handle_word,    [ELEMENT] = handle_element, [BROADCAST] = handle_broadcast,
        [SHARE] = handle_share,
    };
    unsigned element = message->element;

    if (has_to_wait(nomads, pe, message))
        nomads_park(nomads, pe, message);
    else
        handles[message->kind](nomads, pe, message);
    known_forget(known_find(nomads, pe, element));
}
