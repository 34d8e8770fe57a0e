/*
 * What a job's home and one of its guests write to each other: letters that arrive once and in order.
 *
 * Links lose what is under way when they are made anew. So each side numbers its letters (Launch, Order,
 * GuestInput one way, Report and GuestOutput the other), keeps them until GuestAck says that they
 * have come, and sends them again when that takes too long; who reads takes the next number only.
 * When nothing came for a while the other one is asked for a GuestAck: then what was lost is seen, and
 * who knows nothing of this guest (any more) says so. A node that is lost is told by membership; one
 * that others still reach, but not we, is known by its silence (letters_in_vain).
 *
 * Pure but for `send`: no clock, no timers. Memory is bounded by what is written: output by its
 * window, the rest by what can happen to a PE.
 */
#ifndef C4P_DAEMON_JOBS_LETTERS_H
#define C4P_DAEMON_JOBS_LETTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/cluster/swim.h"
#include "proto/cluster.pb-c.h"

/* Output of one guest that is under way or waits at the home: then its PEs' pipes are not read. */
#define LETTERS_WINDOW (1u << 20)
/* What is not acknowledged is sent again after this; twice as long each time, up to the second. */
#define LETTERS_RESEND_MS 1000
#define LETTERS_RESEND_MAX_MS 4000
/* Nothing came for so long: ask. */
#define LETTERS_ASK_MS 3000
/* So many questions without any answer: it is of no use to go on. They are counted, not the time: who
 * was stopped itself has asked once. */
#define LETTERS_QUESTIONS 7
#define LETTERS_SILENCE "it does not answer, though others reach it"
/* Letters that are under way at a time: a link drops what is too much for it. */
#define LETTERS_UNDER_WAY 256
/* Letters of output that wait to be acknowledged: then no more is read. */
#define LETTERS_KEPT 512

/* How letters travel, as cluster_send(): 0, or -1 with errno. What is lost is not told. */
struct courier {
    int (*send)(void *context, const struct node_key *to, C4p__Peer *message);
    void *context;
};

struct letter;

struct letters {
    struct courier courier;
    struct node_key to;
    uint64_t job, attempt;
    bool home;                            /* we are the home */
    struct letter *kept;                  /* not acknowledged, in order */
    uint64_t written, sent, acknowledged; /* numbers of the last ones */
    uint64_t read;                        /* of theirs */
    uint64_t taken;                       /* bytes of output that we have put away */
    int64_t resend_at;                    /* -1: nothing is kept */
    int64_t ask_at;
    uint32_t patience; /* until the next time, in ms */
    uint32_t asked;    /* questions since something came */
    bool owes;         /* an acknowledgement */
};

void letters_init(struct letters *letters, const struct courier *courier, const struct node_key *to,
                  uint64_t job, uint64_t attempt, bool home, int64_t now);
void letters_free(struct letters *letters);

/* Write one: `number` is its field in `message`. -1 with errno ENOMEM. */
int letters_write(struct letters *letters, C4p__Peer *message, uint64_t *number, int64_t now);

/* One has come with this number. True: it is the next one, and read now. */
bool letters_take(struct letters *letters, uint64_t number, int64_t now);
/* So much of output was put away. */
void letters_put_away(struct letters *letters, size_t bytes);
/* A GuestAck has come; what it says of output is for the caller. */
void letters_acknowledged(struct letters *letters, const C4p__GuestAck *ack, int64_t now);

/* After messages were dealt with: acknowledge them all at once. */
void letters_settle(struct letters *letters);
/* Send again, ask. The time to call it again. */
int64_t letters_tick(struct letters *letters, int64_t now);
int64_t letters_wake_at(const struct letters *letters);
/* Was there no answer for too long? */
static inline bool letters_in_vain(const struct letters *letters)
{
    return letters->asked > LETTERS_QUESTIONS;
}

#endif
