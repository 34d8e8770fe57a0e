/*
 * Where an element is that may have left the place it was computed for (placement.h): how PEs find it,
 * and how it moves, so that nothing sent to it is lost, doubled, or overtaken by what the same PE sent
 * to it later.
 *
 * The PE of the computed place is the element's home, for ever. Who knows nothing sends there, and the
 * home forwards to where the element lives. It also tells who sent that it may send there directly. A
 * sender that is told so holds back what it sends from then on, and sends SETTLE the old way: when the
 * element's PE has that, all before it has arrived, and SETTLED says so; then the sender goes the
 * direct way. The home remembers whom it has told.
 *
 * An element that is to move is frozen where it lives: what comes for it waits there. Its PE asks the
 * home (MOVE), which from then on holds back what it would forward, takes the direct ways back (RECALL)
 * and answers how many those are (GO). Each of their owners says on its direct way that nothing comes
 * there any more (RECALLED). Then nothing is on its way to the element: it departs, what has waited for
 * it goes behind it, and LANDED behind that. At its new PE LANDED says that all this is there: the home
 * hears of it (HERE), sends what it has held back, and before that CONFIRM.
 *
 * Between CONFIRM and GO the home and the PE agree that the element lives there: whatever the home sends
 * to "all elements of mine that live with you" (a broadcast's copy) reaches just those for which it has
 * no copy of its own to keep.
 *
 * All this needs of the connections is that what one PE sends to another stays in order. The home is
 * the only one that forwards, so there are no chains of forwards and no circles. An element at home
 * costs nothing: senders compute where it is, and nobody has a struct location of it.
 *
 * The idea of a home that forwards and senders that remember is that of Lawlor and Kale, "Supporting
 * dynamic parallel object arrays" (2001); taking the direct ways back before a move is how directories
 * keep caches coherent (Censier and Feautrier, 1978).
 *
 * This is the part that decides; its caller sends, holds and moves. No function here fails by itself:
 * -1 is what an operation of the caller's returned.
 */
#ifndef C4P_PROTO_LOCATION_H
#define C4P_PROTO_LOCATION_H

#include <stdbool.h>
#include <stdint.h>

/* What PEs say to each other of an element; `number` is a PE, or how many. */
enum location_word {
    LOCATION_MOVE = 1, /* to its home: it is to leave me */
    LOCATION_GO,       /* from its home: it may; so many RECALLED will come */
    LOCATION_RECALL,   /* from its home: do not send directly any more; it lives on this PE */
    LOCATION_RECALLED, /* on what was the direct way: nothing comes here any more */
    LOCATION_PLACE,    /* from its home: it lives on this PE, you may send there */
    LOCATION_SETTLE,   /* to the element, like a message: has all that I sent before arrived? */
    LOCATION_SETTLED,  /* it has */
    LOCATION_LANDED,   /* behind an element and what has waited for it */
    LOCATION_HERE,     /* to its home: it lives with me now */
    LOCATION_CONFIRM,  /* from its home: I know */
    LOCATION_WORDS
};

/* What to do with a message for an element. */
enum location_verdict {
    LOCATION_RUN,  /* the element is here */
    LOCATION_KEEP, /* it is here and frozen: append it to what waits for it here */
    LOCATION_HOLD, /* append it to what is held back */
    LOCATION_TO    /* send it to that PE */
};

enum location_route { ROUTE_HOME = 0, ROUTE_SETTLING, ROUTE_DIRECT };

/* An element, as a PE knows it that has to know more than what can be computed; location_begin(). */
struct location {
    uint32_t home;
    uint32_t place; /* of its home: where it lives; of a sender: where the direct way leads */
    /* of its home */
    bool moving;      /* what this PE sends to it is held back */
    bool away;        /* so is what others send: it has left, and HERE has not come */
    uint32_t *direct; /* PEs that were told PLACE and not RECALL; malloc() */
    uint32_t direct_count, direct_room;
    /* of a sender that is not its home */
    uint8_t route; /* enum location_route */
    bool recalled; /* while settling: the way was taken back before it could be used */
    /* of the PE where it lives */
    bool here;
    bool landed;    /* all that was behind it has come */
    bool confirmed; /* its home knows that it is here, and does not hold back */
    bool frozen;    /* it is to go `to` another PE */
    bool granted;   /* its home has said GO */
    uint32_t to;
    int32_t recalls; /* RECALLED that are due; those that came before GO count as well */
};

/* Each returns 0, or -1: that ends what is going on, and is handed on. */
struct location_operations {
    int (*say)(void *context, struct location *location, uint32_t pe, enum location_word word,
               uint32_t number);
    /* Send what was held back, in its order; to this PE itself: before all that comes later. */
    int (*let_go)(void *context, struct location *location, uint32_t pe);
    /*
     * Send the element to `to`, and behind it what has waited for it, in order. 1: it cannot leave, or
     * `to` is this PE, so that it need not; what has waited for it is to be handled here, before all
     * that comes later.
     */
    int (*depart)(void *context, struct location *location, uint32_t to);
    void *context;
};

/* An element that nobody has moved. */
void location_begin(struct location *location, uint32_t self, uint32_t home);

/* How what this PE sends to the element goes: LOCATION_TO (may be this PE itself) or LOCATION_HOLD. */
enum location_verdict location_route(const struct location *location, uint32_t self, uint32_t *pe);

/*
 * A message for the element has come, SETTLE included, from `origin`, who first sent it; `tell`: a PE,
 * that may be told of the direct way; `forwarded`: another PE has sent it on, be it its own, or it has
 * waited here (but not: its sender has only held it back). At home that is what came behind the element:
 * it is for now, while what comes by itself is held back until all that is older is there. *verdict, and
 * with LOCATION_TO *pe.
 */
int location_arrive(struct location *location, uint32_t self, uint32_t origin, bool tell,
                    bool forwarded, const struct location_operations *operations,
                    enum location_verdict *verdict, uint32_t *pe);

/* The element, which is here, is to move. It goes as soon as nothing is on its way to it. */
int location_move(struct location *location, uint32_t to,
                  const struct location_operations *operations);

/* The element has come, by the departure of another PE (or of this one). */
void location_install(struct location *location);

/* Any word but SETTLE, which is a message, has come. 1: it makes no sense now; nothing was changed. */
int location_hear(struct location *location, uint32_t self, uint32_t source,
                  enum location_word word, uint32_t number,
                  const struct location_operations *operations);

/*
 * A message to all elements has come to the home, which has to see to this one: LOCATION_RUN and KEEP, it
 * is here; LOCATION_HOLD, a copy for it alone is to be held back; LOCATION_TO, a copy goes to *pe for all
 * that are there. There it is for those of this home for which location_shares() is true: they are run,
 * or get a copy of their own to keep if they are frozen.
 */
enum location_verdict location_share(const struct location *location, uint32_t self, uint32_t *pe);
bool location_shares(const struct location *location);

/* It says no more than what can be computed: it may be forgotten, if nothing waits and nothing is held. */
bool location_is_idle(const struct location *location, uint32_t self);

/* Free what belongs to it, but not itself. */
void location_clear(struct location *location);

#endif
