#include "proto/location.h"

#include <stdlib.h>

void location_begin(struct location *location, uint32_t self, uint32_t home)
{
    bool here = self == home;

    *location = (struct location){
        .home = home, .place = home, .here = here, .landed = here, .confirmed = here};
}

enum location_verdict location_route(const struct location *location, uint32_t self, uint32_t *pe)
{
    if (location->home == self) {
        *pe = location->place;
        return location->moving ? LOCATION_HOLD : LOCATION_TO;
    }
    *pe = location->route == ROUTE_DIRECT ? location->place : location->home;
    return location->route == ROUTE_SETTLING ? LOCATION_HOLD : LOCATION_TO;
}

/* ---- the home ---- */

static bool direct_known(const struct location *location, uint32_t pe)
{
    for (uint32_t i = 0; i < location->direct_count; i++)
        if (location->direct[i] == pe)
            return true;
    return false;
}

/* Without memory a sender is not told: it goes on by way of the home. */
static bool direct_add(struct location *location, uint32_t pe)
{
    if (location->direct_count == location->direct_room) {
        uint32_t room = location->direct_room ? location->direct_room * 2 : 4;
        uint32_t *direct = realloc(location->direct, room * sizeof(*direct));

        if (direct == NULL)
            return false;
        location->direct = direct;
        location->direct_room = room;
    }
    location->direct[location->direct_count++] = pe;
    return true;
}

static int home_tell(struct location *location, uint32_t origin,
                     const struct location_operations *operations)
{
    if (direct_known(location, origin) || !direct_add(location, origin))
        return 0;
    return operations->say(operations->context, location, origin, LOCATION_PLACE, location->place);
}

int location_arrive(struct location *location, uint32_t self, uint32_t origin, bool tell,
                    bool forwarded, const struct location_operations *operations,
                    enum location_verdict *verdict, uint32_t *pe)
{
    bool home = location->home == self;

    *pe = home ? location->place : location->home;
    if (home && location->away && !(forwarded && location->here))
        *verdict = LOCATION_HOLD;
    else if (location->here)
        *verdict = location->frozen ? LOCATION_KEEP : LOCATION_RUN;
    else
        *verdict = LOCATION_TO;
    if (*verdict == LOCATION_TO && home && tell && origin != self)
        return home_tell(location, origin, operations);
    return 0;
}

static int hear_move(struct location *location, uint32_t self, uint32_t source, uint32_t number,
                     const struct location_operations *operations)
{
    uint32_t count = location->direct_count;

    (void)number;
    if (location->home != self || location->moving || location->place != source)
        return 1;
    location->moving = true;
    location->away = source != self; /* here what comes is kept, until it leaves */
    location->direct_count = 0;
    for (uint32_t i = 0; i < count; i++)
        if (operations->say(operations->context, location, location->direct[i], LOCATION_RECALL,
                            source) != 0)
            return -1;
    return operations->say(operations->context, location, source, LOCATION_GO, count);
}

static int hear_here(struct location *location, uint32_t self, uint32_t source, uint32_t number,
                     const struct location_operations *operations)
{
    (void)number;
    if (location->home != self || !location->moving)
        return 1;
    location->moving = location->away = false;
    location->place = source;
    if (operations->say(operations->context, location, source, LOCATION_CONFIRM, 0) != 0)
        return -1;
    return operations->let_go(operations->context, location, source);
}

/* ---- a sender ---- */

static int hear_place(struct location *location, uint32_t self, uint32_t source, uint32_t number,
                      const struct location_operations *operations)
{
    if (source != location->home || self == location->home || location->route == ROUTE_DIRECT)
        return 1;
    location->place = number;
    location->recalled = false;
    if (location->route == ROUTE_SETTLING)
        return 0; /* one SETTLE is on its way: what was sent before it will have arrived */
    location->route = ROUTE_SETTLING;
    return operations->say(operations->context, location, location->home, LOCATION_SETTLE, 0);
}

static int hear_settled(struct location *location, uint32_t self, uint32_t source, uint32_t number,
                        const struct location_operations *operations)
{
    (void)source;
    (void)number;
    if (self == location->home || location->route != ROUTE_SETTLING)
        return 1;
    location->route = location->recalled ? ROUTE_HOME : ROUTE_DIRECT;
    location->recalled = false;
    return operations->let_go(operations->context, location,
                              location->route == ROUTE_DIRECT ? location->place : location->home);
}

static int hear_recall(struct location *location, uint32_t self, uint32_t source, uint32_t number,
                       const struct location_operations *operations)
{
    if (source != location->home || self == location->home || location->route == ROUTE_HOME ||
        location->recalled || location->place != number)
        return 1;
    if (location->route == ROUTE_SETTLING)
        location->recalled = true;
    else
        location->route = ROUTE_HOME;
    return operations->say(operations->context, location, number, LOCATION_RECALLED, 0);
}

/* ---- the PE where it lives ---- */

/* Nothing is on its way to it any more. */
static int leave(struct location *location, const struct location_operations *operations)
{
    uint32_t to = location->to;
    int rc;

    location->here = location->landed = location->frozen = location->granted = false;
    location->away = true;
    rc = operations->depart(operations->context, location, to);
    if (rc == 0)
        return operations->say(operations->context, location, to, LOCATION_LANDED, 0);
    if (rc < 0)
        return -1;
    location->here = location->landed = true;
    return operations->say(operations->context, location, location->home, LOCATION_HERE, 0);
}

static int leave_if_free(struct location *location, const struct location_operations *operations)
{
    return location->granted && location->recalls == 0 ? leave(location, operations) : 0;
}

int location_move(struct location *location, uint32_t to,
                  const struct location_operations *operations)
{
    location->to = to;
    if (location->frozen)
        return 0;
    location->frozen = true;
    /* Else the home still holds back: it is asked when it has heard that the element is here. */
    return location->landed
               ? operations->say(operations->context, location, location->home, LOCATION_MOVE, 0)
               : 0;
}

void location_install(struct location *location)
{
    location->here = true;
}

static int hear_landed(struct location *location, uint32_t self, uint32_t source, uint32_t number,
                       const struct location_operations *operations)
{
    (void)self;
    (void)source;
    (void)number;
    if (!location->here || location->landed)
        return 1;
    location->landed = true;
    if (operations->say(operations->context, location, location->home, LOCATION_HERE, 0) != 0)
        return -1;
    return location->frozen
               ? operations->say(operations->context, location, location->home, LOCATION_MOVE, 0)
               : 0;
}

static int hear_confirm(struct location *location, uint32_t self, uint32_t source, uint32_t number,
                        const struct location_operations *operations)
{
    (void)self;
    (void)number;
    (void)operations;
    if (source != location->home || !location->landed || location->confirmed)
        return 1;
    location->confirmed = true;
    return 0;
}

static int hear_go(struct location *location, uint32_t self, uint32_t source, uint32_t number,
                   const struct location_operations *operations)
{
    (void)self;
    if (source != location->home || !location->landed || !location->frozen || location->granted)
        return 1;
    location->granted = true;
    location->confirmed = false;
    location->recalls += (int32_t)number;
    return leave_if_free(location, operations);
}

static int hear_recalled(struct location *location, uint32_t self, uint32_t source, uint32_t number,
                         const struct location_operations *operations)
{
    (void)self;
    (void)source;
    (void)number;
    if (!location->landed || !location->frozen)
        return 1;
    location->recalls--;
    return leave_if_free(location, operations);
}

/* ---- */

typedef int hear(struct location *location, uint32_t self, uint32_t source, uint32_t number,
                 const struct location_operations *operations);

int location_hear(struct location *location, uint32_t self, uint32_t source,
                  enum location_word word, uint32_t number,
                  const struct location_operations *operations)
{
    static hear *const hears[LOCATION_WORDS] = {
        [LOCATION_MOVE] = hear_move,       [LOCATION_GO] = hear_go,
        [LOCATION_RECALL] = hear_recall,   [LOCATION_RECALLED] = hear_recalled,
        [LOCATION_PLACE] = hear_place,     [LOCATION_SETTLED] = hear_settled,
        [LOCATION_LANDED] = hear_landed,   [LOCATION_HERE] = hear_here,
        [LOCATION_CONFIRM] = hear_confirm,
    };

    if ((unsigned)word >= LOCATION_WORDS || hears[word] == NULL)
        return 1;
    return hears[word](location, self, source, number, operations);
}

/* ---- what is for all elements ---- */

enum location_verdict location_share(const struct location *location, uint32_t self, uint32_t *pe)
{
    *pe = location->place;
    if (location->moving)
        return LOCATION_HOLD;
    if (location->place == self)
        return location->frozen ? LOCATION_KEEP : LOCATION_RUN;
    return LOCATION_TO;
}

bool location_shares(const struct location *location)
{
    return location->here && location->confirmed;
}

bool location_is_idle(const struct location *location, uint32_t self)
{
    if (location->home == self)
        return location->here && location->landed && location->confirmed && !location->frozen &&
               !location->moving;
    return !location->here && location->route == ROUTE_HOME;
}

void location_clear(struct location *location)
{
    free(location->direct);
    location->direct = NULL;
    location->direct_count = location->direct_room = 0;
}
